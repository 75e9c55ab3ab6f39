//! The folder of a run: which file holds what, and that a run is never overwritten by accident.

use crate::{Error, Result, files};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder with the files of one training run and of its evaluation. One that was made to write a run locks the folder against other
/// processes.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    _held: Option<Arc<File>>,
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
    /// All that training writes.
    const OWN: [&str; 8] = [
        Self::MODEL,
        Self::CONFIG,
        Self::RECORD,
        Self::METRICS,
        Self::CURVES,
        Self::SPLIT,
        Self::CHECKPOINT,
        Self::PREVIOUS_CHECKPOINT,
    ];
    /// All that an evaluation writes.
    const EVALUATION: [&str; 7] =
        [Self::SCORES, Self::PATIENTS, Self::REPORT, "confusion.png", "confusion.svg", "roc.png", "roc.svg"];

    /// A folder for a new run; `force` removes a run that it holds (and no other file).
    ///
    /// # Errors
    /// It holds a run and `force` is off; another process writes to it; it cannot be made or written.
    pub fn create(path: &Path, force: bool) -> Result<Self> {
        let mut folder = RunFolder { path: path.to_owned(), _held: None };
        if path.exists() && !path.is_dir() {
            return Err(Error::file(path, "is a file, not a folder", "choose another output folder"));
        }
        if !force && Self::OWN.iter().any(|name| folder.file(name).exists()) {
            return Err(Error::file(path, "has a run in it", "choose another output folder, or replace the run with --force"));
        }
        files::create_folder(path)?;
        folder._held = files::hold_folder(path)?.map(Arc::new);
        for stale in
            Self::OWN.into_iter().chain(Self::EVALUATION).map(|name| folder.file(name)).filter(|file| force && file.exists())
        {
            fs::remove_file(&stale).map_err(|error| Error::io(&stale, "removed", &error))?;
        }
        folder.remove_unfinished()?;
        Ok(folder)
    }

    /// The folder of a run that was interrupted. What a killed process has left half written is removed.
    ///
    /// # Errors
    /// There is no checkpoint in it; another process writes to it; it cannot be written.
    pub fn resume(path: &Path) -> Result<Self> {
        let mut folder = RunFolder { path: path.to_owned(), _held: None };
        if [Self::CHECKPOINT, Self::PREVIOUS_CHECKPOINT].iter().any(|name| folder.file(name).is_file()) {
            folder._held = files::hold_folder(path)?.map(Arc::new);
            folder.remove_unfinished()?;
            return Ok(folder);
        }
        Err(Error::file(path, "has no checkpoint to resume from", "give the --output folder of an interrupted run"))
    }

    fn remove_unfinished(&self) -> Result<()> {
        Self::OWN.iter().try_for_each(|name| files::remove_unfinished(self.file(name)))
    }

    /// Removes the results of an evaluation, if there are any: they are of a model that is not there any more.
    ///
    /// # Errors
    /// One of them cannot be removed.
    pub(super) fn remove_evaluation(&self) -> Result<()> {
        for stale in Self::EVALUATION.map(|name| self.file(name)).iter().filter(|file| file.exists()) {
            fs::remove_file(stale).map_err(|error| Error::io(stale, "removed", &error))?;
        }
        Ok(())
    }

    /// The folder of a run that trained at least one epoch.
    ///
    /// # Errors
    /// There is no such folder, or no model in it.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = RunFolder { path: path.to_owned(), _held: None };
        if !folder.file(Self::MODEL).is_file() {
            let problem = format!("is not the folder of a run (it has no {})", Self::MODEL);
            return Err(Error::file(path, problem, "give the --output folder of `osteon train`"));
        }
        Ok(folder)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
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

        files::write(folder.file("checkpoint.77.tmp"), b"x").unwrap();
        drop(folder);
        let folder = RunFolder::create(&path, true).unwrap();
        assert!(!folder.file("checkpoint.77.tmp").exists());
        assert!(!folder.file(RunFolder::MODEL).exists() && !folder.file(RunFolder::REPORT).exists());
        assert!(folder.file("notes.txt").exists());
    }
}
