//! Files appear whole or not at all: written under a temporary name, flushed to disk, then renamed.

use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

/// Writes `bytes` to `path`. On any failure what stood there before is unchanged.
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    write_parts(path, &[bytes])
}

/// [`write`] of bytes that are not in one piece.
pub fn write_parts(path: impl AsRef<Path>, parts: &[&[u8]]) -> Result<()> {
    let path = path.as_ref();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary)
        .and_then(|mut file| parts.iter().try_for_each(|part| file.write_all(part)).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| flush_folder(path));
    written.map_err(|error| {
        // The temporary file may not exist, and the first error is the one to report.
        let _ = fs::remove_file(&temporary);
        Error::io(path, "written", &error)
    })
}

/// Gives a file another name in its folder, in place of what has that name.
pub fn rename(path: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    fs::rename(path, to).and_then(|()| flush_folder(path)).map_err(|error| Error::io(path, "renamed", &error))
}

/// Makes the names in a file's folder last, where the system has folders that can be flushed.
fn flush_folder(path: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
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

/// SHA-256, in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
