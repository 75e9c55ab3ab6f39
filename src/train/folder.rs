//! The folder of a run: which file holds what, and that a run is never overwritten by accident.

use crate::files::{Kind, NamedStaging};
use crate::{Error, Result, files};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A folder with the files of one training run and of its evaluation. One that was made to write a run locks the folder against other
/// processes.
///
/// A run that replaces another is kept aside, in a hidden folder within, until its first epoch is whole; up to then the folder holds
/// the other.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Of the folder that this process writes: whether the path still leads to it.
    own: Option<Arc<Own>>,
    /// The run is still aside.
    is_aside: Arc<AtomicBool>,
}

/// A folder that this process writes a run into.
#[derive(Debug)]
struct Own {
    identity: files::Identity,
    _lock: Option<File>,
}

impl RunFolder {
    /// The network after the last whole epoch, or after the best one by the validation patients.
    pub const MODEL: &str = "model.safetensors";
    /// Every setting, as TOML.
    pub const CONFIG: &str = "config.toml";
    /// One row an epoch.
    pub const METRICS: &str = "metrics.csv";
    /// [`RunFolder::METRICS`] as a picture.
    pub const CURVES: &str = "curves.png";
    /// [`RunFolder::METRICS`] as TensorBoard reads it.
    pub const EVENTS: &str = "events.out.tfevents.osteon";
    /// All that `--resume` needs.
    pub const CHECKPOINT: &str = "checkpoint";
    /// The one before, kept until the next is whole.
    pub const PREVIOUS_CHECKPOINT: &str = "checkpoint.previous";
    /// What the run is: [`RunRecord`](super::RunRecord).
    pub const RECORD: &str = "run.json";
    /// The side of each study: training, validation or test.
    pub const SPLIT: &str = "split.csv";
    /// Scores of an evaluation.
    pub const SCORES: &str = "scores.json";
    /// The predictions of an evaluation, one row a study.
    pub const PATIENTS: &str = "patients.csv";
    /// An evaluation's page.
    pub const REPORT: &str = "report.html";
    /// What is known of the model, for those who are to judge it.
    pub const CARD: &str = "model_card.md";
    /// All that training writes.
    pub(crate) const OWN: [&str; 9] = [
        Self::MODEL,
        Self::CONFIG,
        Self::RECORD,
        Self::METRICS,
        Self::CURVES,
        Self::EVENTS,
        Self::SPLIT,
        Self::CHECKPOINT,
        Self::PREVIOUS_CHECKPOINT,
    ];
    /// All that an evaluation writes.
    pub const EVALUATION: [&str; 14] = [
        Self::SCORES,
        Self::PATIENTS,
        Self::REPORT,
        Self::CARD,
        "confusion.png",
        "confusion.svg",
        "roc.png",
        "roc.svg",
        Self::LOCALISATION[0],
        Self::LOCALISATION[1],
        Self::LOCALISATION[2],
        Self::STRESS[0],
        Self::STRESS[1],
        Self::STRESS[2],
    ];
    /// Of these what it writes only where lesions were looked for.
    pub const LOCALISATION: [&str; 3] = ["localisation.json", "froc.png", "froc.svg"];
    /// And what only where it was repeated on worse scans.
    pub const STRESS: [&str; 3] = ["stress.json", "stress.png", "stress.svg"];
    /// Where a run is kept that replaces another.
    const ASIDE: &str = ".replacing";

    /// A folder for a new run. With `force` it may hold a run, which stays as it is until the new one has [settled](Self::settle).
    ///
    /// # Errors
    /// It holds a run or an evaluation and `force` is off; another process writes to it; it cannot be made or written.
    pub fn create(path: &Path, force: bool) -> Result<Self> {
        let has_run = |folder: &RunFolder| {
            let aside = [Self::CHECKPOINT, Self::PREVIOUS_CHECKPOINT].map(|name| folder.aside().file(name));
            let own = Self::OWN.into_iter().chain(Self::EVALUATION).map(|name| folder.file(name));
            own.chain(aside).any(|file| file.exists())
        };
        let folder = RunFolder::at(path);
        if path.exists() && !path.is_dir() {
            return Err(Error::file(path, "is a file, not a folder", "choose another output folder"));
        }
        if !force && has_run(&folder) {
            return Err(Error::file(path, "has a run in it", "choose another output folder, or replace the run with --force"));
        }
        files::create_folder(path)?;
        let folder = folder.hold()?;
        let replaces = has_run(&folder);
        folder.aside().remove()?;
        if replaces {
            folder.aside().begin()?;
            folder.is_aside.store(true, Relaxed);
        }
        Ok(folder)
    }

    /// The folder of a run that was interrupted: of the newer one, where it was to replace another.
    ///
    /// # Errors
    /// There is no checkpoint in it; another process writes to it; it cannot be written.
    pub fn resume(path: &Path) -> Result<Self> {
        let folder = RunFolder::at(path);
        if !Self::can_resume(path) {
            let remedy = match folder.file(Self::CONFIG).exists() {
                true => "it was stopped before its first step: begin it anew with --force in place of --resume",
                false => "give the --output folder of an interrupted run",
            };
            return Err(Error::file(path, "has no checkpoint to resume from", remedy));
        }
        let folder = folder.hold()?;
        let aside = [Self::CHECKPOINT, Self::PREVIOUS_CHECKPOINT].map(|name| folder.aside().file(name));
        folder.is_aside.store(aside.iter().any(|file| file.is_file()), Relaxed);
        Ok(folder)
    }

    /// Whether [`resume`](Self::resume) has something to go on from.
    pub fn can_resume(path: &Path) -> bool {
        let folder = RunFolder::at(path);
        [Self::CHECKPOINT, Self::PREVIOUS_CHECKPOINT]
            .iter()
            .any(|name| folder.file(name).is_file() || folder.aside().file(name).is_file())
    }

    fn at(path: &Path) -> Self {
        RunFolder { path: path.to_owned(), own: None, is_aside: Arc::default() }
    }

    fn aside(&self) -> NamedStaging {
        NamedStaging::new(&self.path, Self::ASIDE)
    }

    /// Takes hold of the folder, and ends a replacement in the middle of which a process died.
    fn hold(self) -> Result<Self> {
        let lock = files::hold_folder(&self.path)?;
        let identity = files::identity(&self.path).ok_or_else(|| self.is_lost())?;
        files::remove_left_over(&self.path);
        if self.aside().is_due() {
            self.aside().finish()?;
        }
        Ok(RunFolder { own: Some(Arc::new(Own { identity, _lock: lock })), ..self })
    }

    /// Whether another run still has the folder's own names.
    pub fn is_aside(&self) -> bool {
        self.is_aside.load(Relaxed)
    }

    /// Puts a run that was kept aside, and has all of its files now, in the place of the other, with whose evaluation nothing is left of
    /// that. Does nothing where the run is in its place.
    ///
    /// # Errors
    /// The operating system's: the next process that writes the folder goes on.
    pub fn settle(&self) -> Result<()> {
        if !self.is_aside() {
            return Ok(());
        }
        self.check_place()?;
        self.aside().commit(Self::MODEL, Self::OWN.into_iter().chain(Self::EVALUATION))?;
        self.is_aside.store(false, Relaxed);
        Ok(())
    }

    /// Removes a run that was to replace another and will not. In a folder that is another's now nothing is removed.
    ///
    /// # Errors
    /// The operating system's.
    pub fn abandon_aside(&self) -> Result<()> {
        if self.is_aside() && self.check_place().is_ok() { self.aside().remove() } else { Ok(()) }
    }

    /// Refuses to go on where the folder that this run is written to has been renamed or replaced: what now has its path is not the
    /// run's. To be asked before each write.
    ///
    /// # Errors
    /// One sentence.
    pub fn check_place(&self) -> Result<()> {
        match &self.own {
            Some(own) if files::identity(&self.path).as_ref() != Some(&own.identity) => Err(self.is_lost()),
            _ => Ok(()),
        }
    }

    fn is_lost(&self) -> Error {
        let problem = "is no longer the folder that this run began to write: it was renamed, removed or replaced";
        Error::file(&self.path, problem, "give its new name to `osteon train --resume`, which goes on from its last checkpoint")
    }

    /// Removes what an evaluation has written, of a model that is to be replaced.
    ///
    /// # Errors
    /// The operating system's.
    pub fn remove_evaluation(&self) -> Result<()> {
        for file in Self::EVALUATION.map(|name| self.file(name)).iter().filter(|file| file.exists()) {
            fs::remove_file(file).map_err(|error| Error::io(file, "removed", &error))?;
        }
        Ok(())
    }

    /// The folder of a run that trained at least one epoch.
    ///
    /// # Errors
    /// There is no such folder, or no model in it.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = RunFolder::at(path);
        if folder.aside().is_due() {
            let problem = "was left while a new run took the place of the one before";
            return Err(Error::file(path, problem, "`osteon train --resume` with it as --output puts the new one in its place"));
        }
        if !folder.file(Self::MODEL).is_file() {
            let (problem, remedy) = match Kind::of_file(path) {
                Some(Kind::Safetensors) => {
                    ("is a model file, not the folder of a run".to_owned(), "give the folder that it lies in")
                }
                _ if path.is_file() => {
                    ("is a file, not the folder of a run".to_owned(), "give the --output folder of `osteon train` first")
                }
                _ => (
                    format!("is not the folder of a run (it has no {})", Self::MODEL),
                    "give the --output folder of `osteon train`",
                ),
            };
            return Err(Error::file(path, problem, remedy));
        }
        Ok(folder)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model file that a path stands for: itself, or that of a run's folder.
    pub fn model_of(path: &Path) -> PathBuf {
        if path.is_dir() { path.join(Self::MODEL) } else { path.to_owned() }
    }

    /// The folder of one of several runs that were begun together, each with other validation patients: `fold-1`, `fold-2`, ...
    pub fn fold(path: &Path, number: usize) -> PathBuf {
        path.join(format!("fold-{number}"))
    }

    /// The folders of such runs that are there, from the first on.
    pub fn folds(path: &Path) -> Vec<PathBuf> {
        (1..).map(|number| Self::fold(path, number)).take_while(|fold| fold.is_dir()).collect()
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        if self.is_aside() { self.aside().file(name) } else { self.path.join(name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_not_overwritten_and_force_leaves_strangers_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a/run");
        let folder = RunFolder::create(&path, false).unwrap();
        if cfg!(unix) {
            let refusal = RunFolder::create(&path, true).unwrap_err().to_string();
            assert!(refusal.contains("is in use"), "{refusal}");
        }
        drop(folder);
        let folder = RunFolder::create(&path, false).expect("an empty folder has no run in it");
        assert!(RunFolder::open(&path).is_err());

        for name in [RunFolder::MODEL, RunFolder::REPORT, "notes.txt"] {
            files::write(folder.file(name), b"x").unwrap();
        }
        RunFolder::open(&path).unwrap();
        let refusal = RunFolder::create(&path, false).unwrap_err().to_string();
        assert!(refusal.contains("run in it") && refusal.contains("--force"), "{refusal}");
        assert!(folder.file(RunFolder::MODEL).exists());

        drop(folder);
        let folder = RunFolder::create(&path, true).unwrap();
        let here = |name: &str| path.join(name).exists();
        assert!(here(RunFolder::MODEL) && here(RunFolder::REPORT), "until the new run has a model");
        assert!(folder.is_aside() && folder.file(RunFolder::CHECKPOINT) != path.join(RunFolder::CHECKPOINT));
        for name in [RunFolder::MODEL, RunFolder::CHECKPOINT] {
            files::write(folder.file(name), b"new").unwrap();
        }
        folder.settle().unwrap();
        assert!(!folder.is_aside() && !here(RunFolder::REPORT) && here("notes.txt") && !here(RunFolder::ASIDE));
        assert_eq!(fs::read(folder.file(RunFolder::MODEL)).unwrap(), b"new");
        assert_eq!(fs::read(path.join(RunFolder::CHECKPOINT)).unwrap(), b"new");
    }

    #[test]
    fn a_run_that_was_to_replace_another_is_resumed_abandoned_or_begun_anew() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("run");
        let folder = RunFolder::create(&path, false).unwrap();
        for name in [RunFolder::MODEL, RunFolder::CHECKPOINT] {
            files::write(folder.file(name), b"old").unwrap();
        }
        drop(folder);
        let begin = || {
            let folder = RunFolder::create(&path, true).unwrap();
            files::write(folder.file(RunFolder::CHECKPOINT), b"new").unwrap();
            folder
        };
        drop(begin());
        let folder = RunFolder::resume(&path).unwrap();
        assert_eq!(fs::read(folder.file(RunFolder::CHECKPOINT)).unwrap(), b"new");
        folder.abandon_aside().unwrap();
        drop(folder);
        let folder = RunFolder::resume(&path).unwrap();
        assert_eq!(fs::read(folder.file(RunFolder::CHECKPOINT)).unwrap(), b"old");
        drop(folder);
        drop(begin());
        let folder = RunFolder::create(&path, true).unwrap();
        assert!(!folder.file(RunFolder::CHECKPOINT).exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_was_renamed_is_not_written() {
        let temporary = tempfile::tempdir().unwrap();
        let [path, away] = ["run", "away"].map(|name| temporary.path().join(name));
        let folder = RunFolder::create(&path, false).unwrap();
        folder.check_place().unwrap();
        fs::rename(&path, &away).unwrap();
        assert!(folder.check_place().unwrap_err().to_string().contains("was renamed"));
        let _other = RunFolder::create(&path, false).expect("another run can have the name");
        assert!(folder.check_place().is_err());
    }
}
