//! Bytes to the reader of headers, which sees a file's beginning first.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = osteon::dicom::header_of("scan.dcm", bytes.len() as u64, bytes);
    let _ = osteon::dicom::begins_as_dicom(bytes);
});
