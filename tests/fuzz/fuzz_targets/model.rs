//! Bytes to the model reader.
#![no_main]

use osteon::models::Model;
use std::path::Path;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Model::from_bytes(Path::new("model.safetensors"), bytes.to_vec());
});
