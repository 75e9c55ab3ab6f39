//! Files appear whole or not at all: written under a temporary name, flushed to disk, then renamed; then the folder is flushed, which
//! holds the new name. From the rename on the file is in its place, whatever comes of the folder's flush.
//!
//! [`output`] holds the rule about what may be written over, [`stage`] puts several files in place together, [`temporary`] names what
//! is unfinished, [`kind`] says what a file is that stands in another's place.

mod kind;
mod output;
mod stage;
mod temporary;

pub use kind::Kind;
pub use output::{Identity, Output, identity, is_empty_folder};
pub use stage::{NamedStaging, Staging, remove_left_over};
pub use temporary::{abandon_temporaries, hold_folder, is_temporary};

use crate::text::Shown;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind::NotFound, Read, Write};
use std::path::{Path, PathBuf};
use temporary::Temporary;

/// What becomes of a file that is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Existing {
    Replace,
    Refuse,
}

/// Writes `bytes` to `path`: through a link to what it leads to, which keeps its mode; a device or a FIFO stays what it is. On any failure
/// what stood there before is unchanged, but for one: where the error says that the file is written, it is, and a crash of the machine
/// may still undo it.
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    write_parts(path, &[bytes])
}

/// [`write`] of bytes that are not in one piece.
pub fn write_parts(path: impl AsRef<Path>, parts: &[&[u8]]) -> Result<()> {
    put(path.as_ref(), parts, Existing::Replace)
}

/// As [`write_parts`]; what stood at `path` is afterwards at `previous`, in the same folder. Whenever the process or the machine
/// dies, one of the two is whole.
pub fn write_keeping(path: impl AsRef<Path>, previous: impl AsRef<Path>, parts: &[&[u8]]) -> Result<()> {
    let (path, previous) = (path.as_ref(), previous.as_ref());
    let place = |temporary: &Path| keep(path, previous).and_then(|()| fs::rename(temporary, path));
    put_file(path, path, parts, Temporary::file, place, sync_folder)
}

/// A new file that nobody but its owner can read, where the system has such files.
pub fn write_secret(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    put_file(path, path, &[bytes], Temporary::secret, |temporary| place_new(temporary, path), sync_folder)
}

fn put(path: &Path, parts: &[&[u8]], existing: Existing) -> Result<()> {
    let failed = |error: io::Error| Error::io(path, "written", &error);
    match Target::of(path).map_err(failed)? {
        Target::Stream => write_through(path, parts).map_err(failed),
        Target::File(target) => {
            let place = |temporary: &Path| match existing {
                Existing::Replace => fs::rename(temporary, &target),
                Existing::Refuse => place_new(temporary, &target),
            };
            put_file(path, &target, parts, Temporary::file, place, sync_folder)
        }
    }
}

/// What a path leads to.
enum Target {
    /// A file at this path, which is no link, or where one is to be.
    File(PathBuf),
    /// A device, a FIFO, or what this process was given as its output.
    Stream,
}

impl Target {
    fn of(path: &Path) -> io::Result<Self> {
        const MOST_LINKS: usize = 40;
        if fs::metadata(path).is_ok_and(|about| !about.is_file() && !about.is_dir()) {
            return Ok(Target::Stream);
        }
        let mut target = path.to_owned();
        for _ in 0..MOST_LINKS {
            // Links of the process file system, as behind /dev/stdout, lead to what is open, not to a name.
            if cfg!(target_os = "linux") && target.starts_with("/proc") {
                return Ok(Target::Stream);
            }
            match fs::read_link(&target) {
                Ok(link) => target = folder_of(&target).join(link),
                Err(_) => return Ok(Target::File(target)),
            }
        }
        fs::metadata(path).map(|_| Target::File(target)) // a circle: the system says so
    }
}

/// Writes into what is open to be written, whose former content is not kept.
fn write_through(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    // A file here is this process's output, perhaps with something in it; a device may not take an end to append to.
    let is_file = fs::metadata(path)?.is_file();
    let mut stream = File::options().write(true).append(is_file).open(path)?;
    parts.iter().try_for_each(|part| stream.write_all(part))?;
    match stream.sync_all() {
        Err(error) if !cannot_be_flushed(&error) => Err(error),
        _ => Ok(()), // a pipe has nothing to flush
    }
}

/// Writes a temporary file beside `target`, has `place` give it its name, and flushes the folder. Errors name `path`.
fn put_file(
    path: &Path,
    target: &Path,
    parts: &[&[u8]],
    create: impl Fn(&Path) -> io::Result<Temporary>,
    place: impl FnOnce(&Path) -> io::Result<()>,
    sync_folder: impl Fn(&Path) -> io::Result<()>,
) -> Result<()> {
    let before = fs::metadata(target).ok();
    stage::remove_left_over(folder_of(target));
    let written = create(folder_of(target)).and_then(|temporary| {
        let mut file = temporary.file.as_ref().expect("a file is open");
        parts.iter().try_for_each(|part| file.write_all(part))?;
        if let Some(before) = &before {
            take_over(file, before)?;
        }
        file.sync_all()?;
        place(temporary.path())?;
        temporary.keep();
        Ok(())
    });
    written.map_err(|error| match Error::io(path, "written", &error) {
        _ if error.kind() == io::ErrorKind::AlreadyExists => output::exists(path),
        Error::File { path, problem, remedy } if before.is_some() => {
            Error::File { path, problem, remedy: format!("{remedy}; what was there before is unchanged") }
        }
        other => other,
    })?;
    flush_folder(target, "written", sync_folder)
}

/// Gives a file the mode of the one that it replaces, and its owner, where that is allowed.
fn take_over(file: &File, before: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            let _ = fchown(file, Some(before.uid()), Some(before.gid())); // only an administrator may
        }
    }
    file.set_permissions(before.permissions())
}

/// Gives a temporary file its name, where nothing has it.
fn place_new(temporary: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, path) {
        Ok(()) => fs::remove_file(temporary),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // A file system where a file has one name only.
        Err(_) if path.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(temporary, path),
    }
}

/// Gives what stands at `path`, if anything, the name `previous` as well, or, on file systems where a file has one name only, instead.
fn keep(path: &Path, previous: &Path) -> io::Result<()> {
    let absent_is_fine = |result: io::Result<()>| result.or_else(|e| if e.kind() == NotFound { Ok(()) } else { Err(e) });
    if !path.try_exists()? {
        return Ok(());
    }
    absent_is_fine(fs::remove_file(previous))?;
    fs::hard_link(path, previous).or_else(|_| fs::rename(path, previous))
}

/// Gives a file another name in its folder, in place of what has that name.
pub fn rename(path: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    fs::rename(path, to).map_err(|error| Error::io(path, "renamed", &error))?;
    flush_folder(path, "renamed", sync_folder)
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Flushes a folder to disk, on systems where one can be opened.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Whether this is what a file system or a device answers that does not flush.
fn cannot_be_flushed(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, IsADirectory, PermissionDenied, Unsupported};
    /// `EBADF`, by which some network drives refuse: the folder is open for reading only.
    const BAD_DESCRIPTOR: Option<i32> = Some(9);
    matches!(error.kind(), InvalidInput | Unsupported | IsADirectory | PermissionDenied) || error.raw_os_error() == BAD_DESCRIPTOR
}

/// Makes the name of a file that was just `done` ("written", "renamed") last through a crash of the machine. A folder that cannot be
/// flushed, on a file system that does not flush folders or without the right to read it, is passed over.
///
/// # Errors
/// The disk's: one sentence that says what is done and what is in doubt.
fn flush_folder(path: &Path, done: &str, sync_folder: impl Fn(&Path) -> io::Result<()>) -> Result<()> {
    let folder = folder_of(path);
    match sync_folder(folder) {
        Err(error) if cannot_be_flushed(&error) => Ok(()),
        Err(error) => {
            let problem = format!("is {done}, but {} could not be flushed to disk ({error})", folder.shown());
            Err(Error::file(path, problem, "check the disk, and the file after a crash of the machine"))
        }
        Ok(()) => Ok(()),
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
    let (file, length) = open_at_most(path, limit)?;
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| Error::io(path, "read", &error))?;
    // It may have grown meanwhile.
    if bytes.len() as u64 > limit { Err(too_large(path, limit)) } else { Ok(bytes) }
}

/// Opens a file of at most `limit` bytes, and says how many it has. Anything but a file, and a larger one, is an error.
pub fn open_at_most(path: impl AsRef<Path>, limit: u64) -> Result<(File, u64)> {
    let path = path.as_ref();
    let unreadable = |error| Error::io(path, "read", &error);
    let about = fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err(Error::file(path, "is not a file", "give the path of a file"));
    }
    if about.len() > limit {
        return Err(too_large(path, limit));
    }
    Ok((File::open(path).map_err(unreadable)?, about.len()))
}

fn too_large(path: &Path, limit: u64) -> Error {
    Error::file(path, format!("has more than {} MB", limit >> 20), "give a smaller one")
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
            let place = |temporary: &Path| keep(&path, &previous).and_then(|()| fs::rename(temporary, &path));
            put_file(&path, &path, &[content.as_bytes()], Temporary::file, place, fails).map_err(|error| error.to_string())
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

    #[cfg(unix)]
    #[test]
    fn links_are_followed_modes_are_kept_and_a_fifo_stays_one() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("far")).unwrap();
        fs::write(at("far/target"), "0").unwrap();
        fs::set_permissions(at("far/target"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("far/target", at("link")).unwrap();
        symlink("link", at("again")).unwrap();
        symlink("far/new", at("dangling")).unwrap();
        symlink("circle", at("circle")).unwrap();
        write(at("again"), b"1").unwrap();
        write(at("dangling"), b"2").unwrap();
        assert!(write(at("circle"), b"3").is_err());
        let content = |name: &str| fs::read_to_string(at(name)).unwrap();
        assert_eq!([content("far/target"), content("far/new")], ["1", "2"]);
        assert_eq!(fs::metadata(at("far/target")).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(
            [fs::read_link(at("again")).unwrap(), fs::read_link(at("link")).unwrap()].map(|l| l.shown()),
            ["link", "far/target"]
        );
        assert_eq!(names(&at("far")), ["new", "target"]);

        assert!(std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
        let fifo = at("fifo");
        let reader = std::thread::spawn(move || fs::read_to_string(fifo).unwrap());
        write_parts(at("fifo"), &[b"4", b"5"]).unwrap();
        assert_eq!(reader.join().unwrap(), "45");
        assert!(fs::symlink_metadata(at("fifo")).unwrap().file_type().is_fifo());
    }

    #[test]
    fn a_name_of_any_length_that_the_system_takes_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n".repeat(250));
        write(&path, b"x").unwrap();
        write_secret(folder.path().join("s".repeat(250)), b"x").unwrap();
        assert_eq!(names(folder.path()).len(), 2);
    }

    /// A staging folder is put in its place by whoever comes, from every state that a kill can leave.
    #[test]
    fn what_was_staged_comes_together_also_after_every_way_to_die() {
        let old = |folder: &Path| {
            fs::create_dir_all(folder.join("parts")).unwrap();
            for (name, text) in
                [("manifest", "old"), ("other", "old"), ("parts/0001.a", "old"), ("parts/0002.a", "old"), ("parts/notes", "mine")]
            {
                fs::write(folder.join(name), text).unwrap();
            }
        };
        let fill = |staging: &Staging| {
            staging.create_folder("parts").unwrap();
            for name in ["manifest", "other", "parts/0001.a"] {
                staging.write(name, b"new").unwrap();
            }
        };
        let check = |folder: &Path| {
            let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
            assert_eq!(["manifest", "other", "parts/0001.a", "parts/notes"].map(read), ["new", "new", "new", "mine"]);
            assert_eq!(
                [names(folder), names(&folder.join("parts"))],
                [vec!["manifest", "other", "parts"], vec!["0001.a", "notes"]]
            );
        };
        let folder = tempfile::tempdir().unwrap();
        old(folder.path());
        let staging = Staging::new(Output::replacing(folder.path())).unwrap();
        fill(&staging);
        drop(staging);
        assert_eq!(fs::read_to_string(folder.path().join("other")).unwrap(), "old");
        assert_eq!(names(folder.path()), ["manifest", "other", "parts"], "nothing is left of what was not finished");
        let staging = Staging::new(Output::replacing(folder.path())).unwrap();
        fill(&staging);
        staging.commit("manifest").unwrap();
        check(folder.path());

        // After each of the steps of `finish`, as another process finds it.
        for steps in 0..7 {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            old(folder.path());
            let staging = NamedStaging::new(folder.path(), ".next");
            staging.begin().unwrap();
            fs::create_dir(staging.file("parts")).unwrap();
            for name in ["manifest", "other", "parts/0001.a"] {
                write(staging.file(name), b"new").unwrap();
            }
            stage::commit(&at(".next"), "manifest", ["extra"]).unwrap();
            let rename = |from: &str, to: &str| fs::rename(at(from), at(to)).unwrap();
            let all: [&dyn Fn(); 6] = [
                &|| rename("manifest", ".next/old/manifest"),
                &|| rename(".next/new/other", "other"),
                &|| rename("parts/notes", ".next/new/parts/notes"),
                &|| rename("parts", ".next/old/parts"),
                &|| rename(".next/new/parts", "parts"),
                &|| rename(".next/new/manifest", "manifest"),
            ];
            all[..steps].iter().for_each(|step| step());
            assert!(staging.is_due());
            staging.finish().unwrap();
            assert!(!staging.is_due());
            check(folder.path());
        }
    }
}
