//! The one rule about what a command may write over: never what it reads, and what exists only where it was told to.

use super::{Existing, Target, is_temporary, put};
use crate::text::Shown;
use crate::{Error, Result};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

/// A file or folder that a command was told to write, and whether it may replace what is there.
#[derive(Clone, Debug)]
pub struct Output {
    path: PathBuf,
    force: bool,
}

/// Files by which a folder is known to hold a result, and what that is.
const RESULTS: [(&str, &str); 11] = [
    ("model.safetensors", "a run"),
    ("run.json", "a run"),
    ("checkpoint", "a run"),
    ("study.toml", "a study"),
    ("dataset.toml", "a dataset"),
    ("manifest.csv", "a manifest"),
    ("trace.json", "a trace"),
    ("scores.json", "an evaluation"),
    ("patients.csv", "an evaluation"),
    ("lesions.csv", "a measurement of lesions"),
    ("report.html", "a report"),
];

/// What else a run or an evaluation has in its folder.
const PARTS: [&str; 17] = [
    "checkpoint.previous",
    "config.toml",
    "confusion.png",
    "confusion.svg",
    "curves.png",
    "events.out.tfevents.osteon",
    "froc.png",
    "froc.svg",
    "localisation.json",
    "metrics.csv",
    "model_card.md",
    "roc.png",
    "roc.svg",
    "split.csv",
    "stress.json",
    "stress.png",
    "stress.svg",
];

/// Whether a file of this name in a folder of results is one of them: it is called so, or numbered.
pub(super) fn is_of_a_result(name: &OsStr) -> bool {
    let mut names = RESULTS.iter().map(|(name, _)| *name).chain(PARTS);
    name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) || names.any(|other| name == other)
}

impl Output {
    /// A file to be written by a command that reads `inputs`: files, or folders whose files it reads.
    ///
    /// # Errors
    /// It is one of the inputs, by whatever name; it is a folder; it exists and `force` is off. Devices, FIFOs and the like hold nothing
    /// that could be lost.
    pub fn file(path: &Path, force: bool, inputs: &[&Path]) -> Result<Self> {
        let output = Output { path: path.to_owned(), force };
        if path.is_dir() {
            return Err(Error::file(path, "is a folder", "give the name of a file"));
        }
        output.refuse_inputs(inputs)?;
        output.refuse_existing()?;
        Ok(output)
    }

    /// A folder of results to be written by a command that reads `inputs`; the command writes the files or folders `names` into it.
    ///
    /// # Errors
    /// One of them is an input; it is no folder; without `force`, one of them exists, or the folder holds a result of any kind.
    pub fn folder(path: &Path, force: bool, names: &[impl AsRef<Path>], inputs: &[&Path]) -> Result<Self> {
        if let Some((_, what)) = RESULTS.iter().find(|(name, _)| !force && path.join(name).exists()) {
            let remedy = "choose another output folder, or write into it with --force";
            return Err(Error::file(path, format!("has {what} in it"), remedy));
        }
        Output::files_in(path, force, names, inputs)
    }

    /// As [`folder`](Self::folder), for results that have their place beside what else the folder holds.
    ///
    /// # Errors
    /// One of them is an input; it is no folder; without `force`, one of them exists.
    pub fn files_in(path: &Path, force: bool, names: &[impl AsRef<Path>], inputs: &[&Path]) -> Result<Self> {
        let output = Output { path: path.to_owned(), force };
        if path.exists() && !path.is_dir() {
            return Err(Error::file(path, "is a file, not a folder", "choose another output folder"));
        }
        for name in names {
            let file = output.within(name);
            file.refuse_inputs(inputs)?;
            file.refuse_existing()?;
        }
        Ok(output)
    }

    /// One that replaces whatever is there.
    pub fn replacing(path: &Path) -> Self {
        Output { path: path.to_owned(), force: true }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file or folder `name` in this folder, under the same rule.
    pub fn within(&self, name: impl AsRef<Path>) -> Self {
        Output { path: self.path.join(name), force: self.force }
    }

    /// Writes the file, whole or not at all. Without force it is an error that another process has written it meanwhile.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        put(&self.path, &[bytes], if self.force { Existing::Replace } else { Existing::Refuse })
    }

    /// Refuses what exists, unless it may be replaced.
    pub(super) fn refuse_existing(&self) -> Result<()> {
        let loses_something = || self.path.exists() && !matches!(Target::of(&self.path), Ok(Target::Stream));
        if !self.force && loses_something() { Err(exists(&self.path)) } else { Ok(()) }
    }

    fn refuse_inputs(&self, inputs: &[&Path]) -> Result<()> {
        let Some(own) = identity(&self.path) else { return Ok(()) };
        let is_input = |input: &Path| identity(input).is_some_and(|other| other == own);
        for input in inputs {
            let inside = || fs::read_dir(input).into_iter().flatten().flatten().map(|entry| entry.path());
            if is_input(input) || inside().any(|file| is_input(&file)) {
                let problem = format!("is what this command reads ({})", input.shown());
                return Err(Error::file(&self.path, problem, "choose another output"));
            }
        }
        Ok(())
    }
}

/// What is said of a file that is not to be replaced.
pub(super) fn exists(path: &Path) -> Error {
    Error::file(path, "is there already", "choose another output, or write over it with --force")
}

/// Which file or folder it is, whatever its name: device and inode.
#[cfg(unix)]
pub type Identity = (u64, u64);
/// Which file or folder it is, whatever its name.
#[cfg(not(unix))]
pub type Identity = PathBuf;

/// That of the file or folder that a path leads to; none where it leads nowhere or to a device.
pub fn identity(path: &Path) -> Option<Identity> {
    let about = fs::metadata(path).ok().filter(|about| about.is_file() || about.is_dir())?;
    identity_of(path, &about)
}

#[cfg(unix)]
fn identity_of(_: &Path, about: &Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    Some((about.dev(), about.ino()))
}

#[cfg(not(unix))]
fn identity_of(path: &Path, _: &Metadata) -> Option<Identity> {
    path.canonicalize().ok()
}

/// Whether a folder has nothing in it but what is unfinished.
pub fn is_empty_folder(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|entries| entries.flatten().all(|entry| is_temporary(&entry.file_name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_never_written_and_what_exists_only_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (input, other, link) = (at("in.png"), at("other.png"), at("link.png"));
        for path in [&input, &other] {
            fs::write(path, "x").unwrap();
        }
        fs::hard_link(&input, &link).unwrap();
        let said = |path: &Path, force, inputs: &[&Path]| Output::file(path, force, inputs).map(drop).map_err(|e| e.to_string());
        for same in [&input, &link, &folder.path().join("./in.png")] {
            for inputs in [&[&*other, &*input][..], &[folder.path()]] {
                let said = said(same, true, inputs).unwrap_err();
                assert!(said.contains("is what this command reads") && said.contains("another output"), "{said}");
            }
        }
        let refused = said(&other, false, &[&input]).unwrap_err();
        assert!(refused.contains("is there already") && refused.contains("--force"), "{refused}");
        said(&other, true, &[&input]).unwrap();
        said(&at("new.png"), false, &[&input]).unwrap();
        assert!(said(folder.path(), true, &[]).unwrap_err().contains("is a folder"));
    }

    #[test]
    fn a_folder_of_another_result_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let said = |force, names: &[&str]| Output::folder(folder.path(), force, names, &[]).map(drop).map_err(|e| e.to_string());
        fs::write(at("notes.txt"), "x").unwrap();
        said(false, &["report.html"]).expect("a file of the user's own is in nobody's way");
        fs::write(at("run.json"), "x").unwrap();
        let refused = said(false, &["report.html"]).unwrap_err();
        assert!(refused.contains("has a run in it") && refused.contains("--force"), "{refused}");
        said(true, &["report.html"]).unwrap();
        let only = |name: &str| Output::files_in(folder.path(), false, &[name], &[]).map(drop).map_err(|error| error.to_string());
        assert!(only("notes.txt").unwrap_err().contains("notes.txt: is there already"));
        assert!(Output::files_in(folder.path(), false, &["report.html"], &[]).is_ok());
    }

    #[test]
    fn one_of_two_writers_of_a_new_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let [one, other] = [(), ()].map(|()| Output::file(&path, false, &[]).unwrap());
        one.write(b"one").unwrap();
        assert!(other.write(b"other").unwrap_err().to_string().contains("is there already"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
