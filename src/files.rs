//! Files appear whole or not at all: written under a temporary name, flushed to disk, then renamed.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Writes `bytes` to `path`. On any failure what stood there before is unchanged.
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        // The temporary file may not exist, and the first error is the one to report.
        let _ = fs::remove_file(&temporary);
        Error::io(path, "written", &error)
    })
}

/// Creates a folder and those above it.
pub fn create_folder(path: impl AsRef<Path>) -> Result<()> {
    fs::create_dir_all(&path).map_err(|error| Error::io(path, "created", &error))
}

/// Reads a whole file.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    fs::read(&path).map_err(|error| Error::io(path, "read", &error))
}
