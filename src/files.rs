//! Files appear whole or not at all: written under a temporary name, flushed to disk, then renamed; then the folder is flushed, which
//! holds the new name. From the rename on the file is in its place, whatever comes of the folder's flush.

use crate::text::Shown;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind::NotFound, Read, Write};
use std::path::Path;

/// Writes `bytes` to `path`. On any failure what stood there before is unchanged, but for one: where the error says that the file is
/// written, it is, and a crash of the machine may still undo it.
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    write_parts(path, &[bytes])
}

/// [`write`] of bytes that are not in one piece.
pub fn write_parts(path: impl AsRef<Path>, parts: &[&[u8]]) -> Result<()> {
    put(path.as_ref(), None, parts, sync_folder)
}

/// As [`write_parts`]; what stood at `path` is afterwards at `previous`, in the same folder. Whenever the process or the machine
/// dies, one of the two is whole.
pub fn write_keeping(path: impl AsRef<Path>, previous: impl AsRef<Path>, parts: &[&[u8]]) -> Result<()> {
    put(path.as_ref(), Some(previous.as_ref()), parts, sync_folder)
}

fn put(path: &Path, previous: Option<&Path>, parts: &[&[u8]], sync_folder: impl Fn(&Path) -> io::Result<()>) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}{TEMPORARY}", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary)
        .and_then(|mut file| parts.iter().try_for_each(|part| file.write_all(part)).and_then(|()| file.sync_all()))
        .and_then(|()| previous.map_or(Ok(()), |previous| keep(path, previous)))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        // The temporary file may not exist, and the first error is the one to report.
        let _ = fs::remove_file(&temporary);
        Error::io(path, "written", &error)
    })?;
    flush_folder(path, "written", sync_folder)
}

/// Writes a new file that nobody but its owner can read, where the system has such files. One that exists is an error.
pub fn write_secret(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| Error::io(path, "written", &error))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        // It is this call's own, and not whole; the first error is the one to report.
        let _ = fs::remove_file(path);
        Error::io(path, "written", &error)
    })?;
    flush_folder(path, "written", sync_folder)
}

/// What the names of unfinished files end with.
const TEMPORARY: &str = ".tmp";

/// Gives what stands at `path`, if anything, the name `previous` as well, or, on file systems where a file has one name only, instead.
fn keep(path: &Path, previous: &Path) -> io::Result<()> {
    let absent_is_fine = |result: io::Result<()>| result.or_else(|e| if e.kind() == NotFound { Ok(()) } else { Err(e) });
    if !path.try_exists()? {
        return Ok(());
    }
    absent_is_fine(fs::remove_file(previous))?;
    fs::hard_link(path, previous).or_else(|_| fs::rename(path, previous))
}

/// Removes what a process that was killed while it wrote the file `path` has left: `path.PROCESS.tmp`.
pub fn remove_unfinished(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let (folder, name) = (folder_of(path), path.file_name().unwrap_or_default().to_string_lossy());
    let is_unfinished = |other: &str| {
        let process = other.strip_prefix(&*name).and_then(|rest| rest.strip_prefix('.')?.strip_suffix(TEMPORARY));
        process.is_some_and(|process| !process.is_empty() && process.bytes().all(|digit| digit.is_ascii_digit()))
    };
    for entry in fs::read_dir(folder).map_err(|error| Error::io(folder, "read", &error))? {
        let file = entry.map_err(|error| Error::io(folder, "read", &error))?;
        if file.file_name().to_str().is_some_and(is_unfinished) {
            fs::remove_file(file.path()).map_err(|error| Error::io(file.path(), "removed", &error))?;
        }
    }
    Ok(())
}

/// Gives a file another name in its folder, in place of what has that name.
pub fn rename(path: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    fs::rename(path, to).map_err(|error| Error::io(path, "renamed", &error))?;
    flush_folder(path, "renamed", sync_folder)
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Flushes a folder to disk, on systems where one can be opened.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Makes the name of a file that was just `done` ("written", "renamed") last through a crash of the machine. A folder that cannot be
/// flushed, on a file system that does not flush folders or without the right to read it, is passed over.
///
/// # Errors
/// The disk's: one sentence that says what is done and what is in doubt.
fn flush_folder(path: &Path, done: &str, sync_folder: impl Fn(&Path) -> io::Result<()>) -> Result<()> {
    use io::ErrorKind::{InvalidInput, IsADirectory, PermissionDenied, Unsupported};
    /// `EBADF`, by which some network drives refuse: the folder is open for reading only.
    const BAD_DESCRIPTOR: Option<i32> = Some(9);
    let folder = folder_of(path);
    match sync_folder(folder) {
        Err(error)
            if matches!(error.kind(), InvalidInput | Unsupported | IsADirectory | PermissionDenied)
                || error.raw_os_error() == BAD_DESCRIPTOR =>
        {
            Ok(())
        }
        Err(error) => {
            let problem = format!("is {done}, but {} could not be flushed to disk ({error})", folder.shown());
            Err(Error::file(path, problem, "check the disk, and the file after a crash of the machine"))
        }
        Ok(()) => Ok(()),
    }
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
        Err(TryLockError::WouldBlock) => {
            Err(Error::file(path, "is in use: another training run writes to it", "wait for its end, or choose another folder"))
        }
        Err(TryLockError::Error(_)) => Ok(None), // a network drive without locks
    }
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
    let too_large = || Error::file(path, format!("has more than {} MB", limit >> 20), "give a smaller one");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_one_before_is_kept_also_after_every_way_to_die() {
        let folder = tempfile::tempdir().unwrap();
        let [path, previous] = ["now", "before"].map(|name| folder.path().join(name));
        let put = |content: &[u8]| write_keeping(&path, &previous, &[content, b"!"]).unwrap();
        let content = || [&path, &previous].map(|path| fs::read_to_string(path).unwrap_or_default());
        put(b"1");
        assert_eq!(content(), ["1!", ""]);
        put(b"2");
        put(b"3");
        assert_eq!(content(), ["3!", "2!"]);
        // Died when both names were the same file's, and where only one of them was there.
        fs::remove_file(&previous).unwrap();
        fs::hard_link(&path, &previous).unwrap();
        put(b"4");
        assert_eq!(content(), ["4!", "3!"]);
        fs::remove_file(&path).unwrap();
        put(b"5");
        assert_eq!(content(), ["5!", "3!"]);
        assert_eq!(names(folder.path()), ["before", "now"]);
    }

    #[test]
    fn a_failed_write_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let [path, previous] = ["now", "before"].map(|name| folder.path().join(name));
        // A folder cannot be replaced by a file.
        fs::create_dir_all(path.join("inner")).unwrap();
        assert!(write(&path, b"x").unwrap_err().to_string().contains("now: cannot be written"));
        assert_eq!(names(folder.path()), ["now"]);
        fs::write(&previous, "old").unwrap();
        assert!(write_keeping(folder.path().join("no/now"), &previous, &[b"x"]).is_err());
        assert_eq!(fs::read_to_string(&previous).unwrap(), "old");
    }

    /// After the rename the new file is there: only what the disk says of itself is an error then, and is not called a failed write.
    #[cfg(unix)]
    #[test]
    fn a_folder_that_cannot_be_flushed_is_no_failed_write() {
        let folder = tempfile::tempdir().unwrap();
        let [path, previous] = ["now", "before"].map(|name| folder.path().join(name));
        fs::write(&path, "0").unwrap();
        let put = |content: &str, errno| {
            let fails = |synced: &Path| {
                assert_eq!(synced, folder.path());
                assert_eq!(fs::read_to_string(&path).unwrap(), content, "the folder is flushed after the rename");
                Err(io::Error::from_raw_os_error(errno))
            };
            put(&path, Some(&previous), &[content.as_bytes()], fails).map_err(|error| error.to_string())
        };
        // EBADF, EACCES, EISDIR, EINVAL, and ENOTSUP of Linux or of macOS: this file system does not flush folders.
        let not_supported = if cfg!(target_os = "macos") { 45 } else { 95 };
        for (errno, content) in [(9, "1"), (13, "2"), (21, "3"), (22, "4"), (not_supported, "5")] {
            assert_eq!(put(content, errno), Ok(()), "{}", io::Error::from_raw_os_error(errno));
        }
        let said = put("6", 5).unwrap_err(); // EIO
        assert!(said.contains("now: is written, but") && said.contains("could not be flushed to disk (Input/output"), "{said}");
        assert_eq!([&path, &previous].map(|path| fs::read_to_string(path).unwrap()), ["6", "5"]);
        assert_eq!(names(folder.path()), ["before", "now"]);
    }

    #[test]
    fn only_what_this_program_left_unfinished_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let stays = ["now", "now..tmp", "now.1.tmp.old", "now.12x.tmp", "now.old.tmp", "then.1.tmp"];
        for name in stays.iter().chain(&["now.1.tmp", "now.4242.tmp"]) {
            fs::write(folder.path().join(name), "").unwrap();
        }
        remove_unfinished(folder.path().join("now")).unwrap();
        assert_eq!(names(folder.path()), stays);
    }
}
