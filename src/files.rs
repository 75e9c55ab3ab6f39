//! Files appear whole or not at all: written under a temporary name, flushed to disk, then renamed.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{Read, Write};
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

/// Reads a whole file of at most `limit` bytes. Anything but a file, and a larger one, is an error before anything is read.
pub fn read_at_most(path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let unreadable = |error| Error::io(path, "read", &error);
    let about = fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err(Error::file(path, "is not a file", "give the path of a file"));
    }
    let too_large = || Error::file(path, format!("has more than {} MB", limit >> 20), "give a planar scan, which is smaller");
    if about.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(about.len() as usize);
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}
