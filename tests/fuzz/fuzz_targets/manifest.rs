//! Bytes to the manifest reader.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = osteon::archive::manifest::Manifest::from_bytes("manifest.csv", bytes);
});
