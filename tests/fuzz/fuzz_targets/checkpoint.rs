//! Bytes to the checkpoint reader: as they are, and behind a checksum that fits them, which no fuzzer would find.
#![no_main]

use osteon::train::check_checkpoint;
use sha2::{Digest, Sha256};
use std::path::Path;

/// What stands before a checkpoint's contents: eight bytes that name the format, and their SHA-256.
const MAGIC: &[u8] = b"OSTEONCP";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("checkpoint");
    let _ = check_checkpoint(path, bytes);
    let body = bytes.get(MAGIC.len() + 32..).filter(|_| bytes.starts_with(MAGIC)).unwrap_or(bytes);
    let _ = check_checkpoint(path, &[MAGIC, &Sha256::digest(body), body].concat());
});
