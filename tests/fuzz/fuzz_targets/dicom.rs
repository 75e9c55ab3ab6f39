//! Bytes to the DICOM intake.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = osteon::dicom::read_bytes(bytes, "scan.dcm");
});
