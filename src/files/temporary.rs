//! Unfinished files and folders, under names that no other process has.
//!
//! A name is `.osteon-` and sixteen random digits, so it fits wherever the finished name fits, and two machines or containers on one
//! volume do not meet. Its process holds a lock on it for as long as it lives: what can be locked by another is left over.

use crate::{Error, Result};
use rand::TryRng;
use rand::rngs::SysRng;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

const PREFIX: &str = ".osteon-";
const SUFFIX: &str = ".tmp";
const DIGITS: usize = 16;

/// What this process has not finished.
static OWN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

pub(super) fn locked(paths: &Mutex<BTreeSet<PathBuf>>) -> MutexGuard<'_, BTreeSet<PathBuf>> {
    paths.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a file or folder of this name is unfinished.
pub fn is_temporary(name: &OsStr) -> bool {
    let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// An unfinished file or folder of this process. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    /// Holds the lock; of a folder none where the system opens no folders.
    pub file: Option<File>,
}

impl Temporary {
    /// A new, empty file in `folder`.
    pub fn file(folder: &Path) -> io::Result<Self> {
        Temporary::new(folder, |path| File::options().write(true).create_new(true).open(path).map(Some))
    }

    /// A new file in `folder` that only its owner can read, where the system has such files.
    pub fn secret(folder: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Temporary::new(folder, |path| options.open(path).map(Some))
    }

    /// A new, empty folder in `folder`.
    pub fn folder(folder: &Path) -> io::Result<Self> {
        Temporary::new(folder, |path| {
            fs::create_dir(path)?;
            if cfg!(unix) { File::open(path).map(Some) } else { Ok(None) }
        })
    }

    fn new(folder: &Path, create: impl Fn(&Path) -> io::Result<Option<File>>) -> io::Result<Self> {
        loop {
            let mut random = [0; DIGITS / 2];
            SysRng.try_fill_bytes(&mut random).map_err(io::Error::other)?;
            let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            let path = folder.join(format!("{PREFIX}{digits}{SUFFIX}"));
            let file = match create(&path) {
                // Taken, or a process that looks for what is left over came before the lock.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                file => file?,
            };
            let is_free = file.as_ref().is_none_or(|file| !matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
            if is_free && path.exists() {
                locked(&OWN).insert(path.clone());
                return Ok(Temporary { path, file });
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It is finished, or will be by a process that comes later: it is not removed.
    pub fn keep(&self) {
        locked(&OWN).remove(&self.path);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if locked(&OWN).remove(&self.path) {
            remove(&self.path);
        }
    }
}

/// Removes what this process has not finished. It is about to end, whatever its other threads do.
pub fn abandon_temporaries() {
    std::mem::take(&mut *locked(&OWN)).iter().for_each(|path| remove(path));
}

/// What cannot be removed stays, for the next process.
pub(super) fn remove(path: &Path) {
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

/// Keeps other processes that ask for the same from a folder, until what is returned is dropped or this process ends in whatever
/// way. `None` where the system has no such locks.
///
/// # Errors
/// Another has it.
pub fn hold_folder(path: &Path) -> Result<Option<File>> {
    if !cfg!(unix) {
        return Ok(None);
    }
    let folder = File::open(path).map_err(|error| Error::io(path, "opened", &error))?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => Err(Error::file(
            path,
            "is in use: another process of osteon writes to it",
            "wait for its end, or choose another folder",
        )),
        Err(TryLockError::Error(_)) => Ok(None), // a network drive without locks
    }
}
