//! Several files that belong together: written beside what they replace, and put in its place when all of them are whole.
//!
//! A staging folder holds `new`, what is to come; `old`, what had to give way; and, once everything in `new` is whole, `commit`, which
//! says how it is put in its place. From then on any process can [`finish`] the work of one that died.

use super::output::is_of_a_result;
use super::temporary::{self, Temporary};
use super::{Output, flush_folder, take_over, write_parts};
use crate::{Error, Result, interrupt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

const NEW: &str = "new";
const OLD: &str = "old";
const COMMIT: &str = "commit";

/// Files and folders that are to be put into a folder together. Dropped before [`commit`](Self::commit), nothing of them is left.
#[derive(Debug)]
pub struct Staging {
    output: Output,
    temporary: Temporary,
    /// The folder was made for this.
    is_first: bool,
    /// Names that have no place beside what is new, unless it has them.
    may_be_obsolete: Vec<String>,
}

/// How a staging folder is put in its place.
#[derive(Serialize, Deserialize)]
struct Commit {
    /// The file that stands for the whole: it goes first and comes last.
    marker: OsString,
    /// Names that have no place beside what is new.
    obsolete: Vec<OsString>,
}

impl Staging {
    /// Files for the folder of `output`, which is made where it is missing.
    pub fn new(output: Output) -> Result<Self> {
        let folder = output.path();
        let is_first = !folder.exists();
        super::create_folder(folder)?;
        remove_left_over(folder);
        let temporary = Temporary::folder(folder).and_then(|temporary| {
            fs::create_dir(temporary.path().join(NEW))?;
            Ok(temporary)
        });
        let temporary = temporary.map_err(|error| Error::io(folder, "written", &error))?;
        Ok(Staging { output, temporary, is_first, may_be_obsolete: Vec::new() })
    }

    /// What has one of these names will be taken away, where nothing new has it.
    pub fn without(mut self, names: Vec<String>) -> Self {
        self.may_be_obsolete = names;
        self
    }

    /// Where the new file or folder `name` is written.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.temporary.path().join(NEW).join(name)
    }

    /// Where the file or folder `name` will be.
    pub fn target(&self, name: impl AsRef<Path>) -> PathBuf {
        self.output.path().join(name)
    }

    /// Makes a folder among the new ones.
    pub fn create_folder(&self, name: impl AsRef<Path>) -> Result<()> {
        self.named(super::create_folder(self.file(name)))
    }

    /// Writes the new file `name`.
    pub fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        self.named(write_parts(self.file(name), &[bytes]))
    }

    /// An error under the name that its file will have.
    pub fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match error {
            Error::File { path, problem, remedy } => {
                let path = path.strip_prefix(self.file("")).map(|name| self.target(name)).unwrap_or(path);
                Error::File { path, problem, remedy }
            }
            other => other,
        })
    }

    /// Puts everything in its place. `marker`, the file that stands for the whole, goes first and comes last: a reader who finds it
    /// finds all of it. In folders, what is numbered or called as results are gives way, and what has another name stays. Whenever the process or the machine
    /// dies, the next one that writes into the folder finishes.
    ///
    /// # Errors
    /// The wish to [stop](interrupt); something has come to be there that may not be replaced; the operating system's.
    pub fn commit(mut self, marker: impl AsRef<OsStr>) -> Result<()> {
        interrupt::check()?;
        let folder = self.output.path().to_owned();
        // Others that put their files in place here are done in no time. A training or a study that holds the folder for long does
        // not write under the same names.
        let held = File::open(&folder).ok().filter(|_| cfg!(unix));
        if let Some(held) = &held {
            for _ in 0..200 {
                if !matches!(held.try_lock(), Err(fs::TryLockError::WouldBlock)) {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        for entry in entries(&self.file(""))? {
            self.output.within(&entry).refuse_existing()?;
        }
        self.is_first = false;
        commit(self.temporary.path(), marker.as_ref(), self.may_be_obsolete.iter().map(String::as_str))?;
        self.temporary.keep();
        finish(self.temporary.path(), &folder)?;
        remove(self.temporary.path())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.is_first {
            let folder = self.output.path();
            let _ = fs::remove_dir_all(self.temporary.path());
            let _ = fs::remove_dir(folder); // only where nothing is in it
        }
    }
}

/// From now on the staging folder is to be put in its place: everything in `new` is whole. Files of the names in `may_be_obsolete` that
/// `new` does not have are taken away.
pub(super) fn commit<'a>(
    staging: &Path,
    marker: impl AsRef<OsStr>,
    may_be_obsolete: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let obsolete = may_be_obsolete.into_iter().filter(|name| !staging.join(NEW).join(name).exists());
    let how = Commit { marker: marker.as_ref().to_owned(), obsolete: obsolete.map(OsString::from).collect() };
    super::create_folder(staging.join(OLD))?;
    write_parts(staging.join(COMMIT), &[&serde_json::to_vec(&how).expect("names of this system")])
}

/// Whether a staging folder was left with everything whole and not yet, or not all, in its place.
pub(super) fn is_due(staging: &Path) -> bool {
    staging.join(COMMIT).is_file()
}

/// Puts a staging folder in its place, or what is left of it; again and again, if need be.
pub(super) fn finish(staging: &Path, folder: &Path) -> Result<()> {
    let [new, old] = [NEW, OLD].map(|name| staging.join(name));
    let bytes = super::read(staging.join(COMMIT))?;
    let Commit { marker, obsolete } = serde_json::from_slice(&bytes)
        .map_err(|error| Error::file(staging, format!("cannot be put in its place ({error})"), "remove it"))?;
    let put_away = |name: &OsStr| -> Result<()> {
        let path = folder.join(name);
        // A file stands there under one of both names, whenever the process dies.
        if path.symlink_metadata().is_ok() {
            fs::rename(&path, old.join(name)).map_err(|error| Error::io(&path, "replaced", &error))
        } else {
            Ok(())
        }
    };
    if new.join(&marker).exists() {
        // Where the marker is written through, it is as good as gone when the rest is replaced.
        if is_plain_file(&folder.join(&marker)) {
            put_away(&marker)?;
        }
        obsolete.iter().try_for_each(|name| put_away(name))?;
        flush_folder(&folder.join(&marker), "removed", super::sync_folder)?;
        for name in entries(&new)?.iter().filter(|name| **name != marker) {
            let (from, to) = (new.join(name), folder.join(name));
            if from.is_dir() {
                if to.is_dir() {
                    keep_others(&to, &from).map_err(|error| Error::io(&to, "replaced", &error))?;
                    put_away(name)?;
                }
                fs::rename(&from, &to).map_err(|error| Error::io(&to, "replaced", &error))?;
            } else {
                put_file(&from, &to, &to)?;
            }
        }
        put_file(&new.join(&marker), &folder.join(&marker), &old.join(&marker))?;
        flush_folder(&folder.join(&marker), "written", super::sync_folder)?;
    }
    Ok(())
}

/// Moves what is not a result's from a folder that gives way into the one that takes its place.
fn keep_others(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        if !is_of_a_result(&name) && to.join(&name).symlink_metadata().is_err() {
            fs::rename(from.join(&name), to.join(&name))?;
        }
    }
    Ok(())
}

/// Puts one whole file in its place, with the mode of the one `before`; a link or a device is written through.
fn put_file(from: &Path, to: &Path, before: &Path) -> Result<()> {
    let failed = |error: io::Error| Error::io(to, "replaced", &error);
    match to.symlink_metadata() {
        Ok(about) if !about.is_file() => {
            super::write(to, &super::read(from)?)?;
            fs::remove_file(from).map_err(failed)
        }
        _ => {
            if let Ok(before) = fs::metadata(before) {
                File::open(from).and_then(|file| take_over(&file, &before)).map_err(failed)?;
            }
            fs::rename(from, to).map_err(failed)
        }
    }
}

fn is_plain_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|about| about.is_file())
}

/// The names in a folder, in order, without unfinished files.
fn entries(folder: &Path) -> Result<Vec<OsString>> {
    let unreadable = |error| Error::io(folder, "read", &error);
    let names = fs::read_dir(folder).map_err(unreadable)?.map(|entry| Ok(entry.map_err(unreadable)?.file_name()));
    let names = names.filter(|name: &Result<_>| !name.as_ref().is_ok_and(|name| super::is_temporary(name)));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

pub(super) fn remove(staging: &Path) -> Result<()> {
    fs::remove_dir_all(staging).map_err(|error| Error::io(staging, "removed", &error))
}

/// A staging folder with a name of its own, which a later process can go on with.
#[derive(Clone, Debug)]
pub struct NamedStaging {
    folder: PathBuf,
    root: PathBuf,
}

impl NamedStaging {
    /// That of this name in `folder`, whether it is there or not.
    pub fn new(folder: &Path, name: &str) -> Self {
        NamedStaging { folder: folder.to_owned(), root: folder.join(name) }
    }

    /// Where the new file `name` is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(NEW).join(name)
    }

    /// Begins with nothing in it.
    pub fn begin(&self) -> Result<()> {
        self.remove()?;
        super::create_folder(self.root.join(NEW))
    }

    /// Whether everything in it is whole, and not yet in its place.
    pub fn is_due(&self) -> bool {
        is_due(&self.root)
    }

    /// As [`Staging::commit`]. Files of the names in `may_be_obsolete` that are not in it are taken away.
    pub fn commit<'a>(&self, marker: &str, may_be_obsolete: impl IntoIterator<Item = &'a str>) -> Result<()> {
        commit(&self.root, marker, may_be_obsolete)?;
        self.finish()
    }

    /// Puts it in its place, also where another process died while it did so.
    pub fn finish(&self) -> Result<()> {
        finish(&self.root, &self.folder)?;
        self.remove()
    }

    /// Removes it, if it is there.
    pub fn remove(&self) -> Result<()> {
        if self.root.exists() { remove(&self.root) } else { Ok(()) }
    }
}

/// Folders in which this process has looked for what others left.
static CLEANED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Removes from a folder, once for each process, what processes that are gone left unfinished, and finishes what they had begun to put
/// in its place. What cannot be removed or read stays.
pub fn remove_left_over(folder: &Path) {
    if !temporary::locked(&CLEANED).insert(folder.to_owned()) {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| super::is_temporary(&entry.file_name())) {
        let is_plain = entry.file_type().is_ok_and(|kind| kind.is_file() || kind.is_dir());
        let (path, locks) = (entry.path(), |file: &File| file.try_lock().is_ok());
        let Some(_lock) = is_plain.then(|| File::open(&path).ok()).flatten().filter(locks) else { continue };
        if !is_due(&path) || finish(&path, folder).is_ok() {
            temporary::remove(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_process_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let stays = [
            ".osteon-0123456789abcdef.tmp.old",
            ".osteon-0123.tmp",
            "osteon-0123456789abcdef.tmp",
            ".osteon-0123456789abcdez.tmp",
        ];
        for name in stays.iter().chain(&[".osteon-0123456789abcdef.tmp"]) {
            fs::write(at(name), "").unwrap();
        }
        fs::create_dir_all(at(".osteon-fedcba9876543210.tmp/new/inner")).unwrap();
        // As another process that lives.
        let other = File::create(at(".osteon-aaaaaaaaaaaaaaaa.tmp")).unwrap();
        other.lock().unwrap();

        remove_left_over(folder.path());
        let own = Temporary::file(folder.path()).unwrap();
        let here = |name: &str| at(name).exists();
        assert!(stays.iter().all(|name| here(name)) && here(".osteon-aaaaaaaaaaaaaaaa.tmp") && own.path().exists());
        assert!(!here(".osteon-0123456789abcdef.tmp") && !here(".osteon-fedcba9876543210.tmp"));

        let path = own.path().to_owned();
        assert!(super::super::is_temporary(path.file_name().unwrap()));
        drop(own);
        assert!(!path.exists());
        let own = Temporary::folder(folder.path()).unwrap();
        fs::write(own.path().join("x"), "").unwrap();
        let path = own.path().to_owned();
        drop(own);
        assert!(!path.exists());
        let own = Temporary::file(folder.path()).unwrap();
        own.keep();
        let path = own.path().to_owned();
        drop(own);
        assert!(path.exists());
    }
}
