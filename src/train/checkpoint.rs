//! Checkpoints: everything that a run needs to resume at a step, in a file with a checksum.
//!
//! The file: eight bytes [`MAGIC`], the SHA-256 of all that follows, then a safetensors file of the parameters (`model.NAME`), of
//! Adam's moments (`adam.first.NAME`, `adam.second.NAME`) and, where validation patients choose, of the best epoch's parameters
//! (`best.NAME`), with [`State`] as JSON in its metadata.
//!
//! Random generators have no state to save: the order of an epoch and the augmentation of a study are streams seeded by seed, epoch
//! and study (`crate::random`), so epoch and step are enough.

use super::{Epoch, RunFolder, RunRecord, Settings, Trainer};
use crate::autograd::not_finite;
use crate::models::{Model, Process};
use crate::tensor::file::{self, TensorFile};
use crate::{Error, Result, files};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const MAGIC: &[u8; 8] = b"OSTEONCP";
const DIGEST: usize = 32;

/// The version of the file that this program writes and reads.
const FORMAT_VERSION: u32 = 1;

/// Before the names of the best epoch's parameters.
pub(super) const BEST: &str = "best.";

/// The state of a run, beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub format_version: u32,
    /// Every setting, as TOML.
    pub settings: String,
    /// Hash of the manifest and of every file that it names:
    /// [`Fingerprints::by_name`](crate::archive::fingerprints::Fingerprints::by_name).
    pub inputs: BTreeMap<String, String>,
    /// Every process that has written a checkpoint of this run, in order, and the one that goes on; empty in checkpoints from before
    /// they were kept.
    #[serde(default)]
    pub processes: Vec<Process>,
    /// Adam's steps.
    pub adam_steps: u64,
    /// The epochs that are over.
    pub epochs: Vec<Epoch>,
    /// Hash of the weights after each of them.
    pub weights: Vec<String>,
    /// The epoch under way, as far as it went.
    pub under_way: Progress,
}

impl State {
    /// The state before the first step.
    pub fn new(settings: &Settings, inputs: BTreeMap<String, String>) -> Self {
        State {
            format_version: FORMAT_VERSION,
            settings: settings.to_toml(),
            inputs,
            processes: vec![Process::this(1, 0)],
            adam_steps: 0,
            epochs: Vec::new(),
            weights: Vec::new(),
            under_way: Progress::default(),
        }
    }

    /// The settings it was made with.
    pub fn own_settings(&self, path: &Path) -> Result<Settings> {
        toml::from_str(&self.settings)
            .map_err(|_| Error::file(path, "has settings that this program does not know", "resume it with the one that made it"))
    }

    /// Refuses to go on, from the checkpoint at `path`, with settings or data other than those it was made with.
    pub fn check(
        &self,
        settings: &Settings,
        inputs: &BTreeMap<String, String>,
        test_only: &BTreeSet<String>,
        path: &Path,
    ) -> Result<BTreeSet<String>> {
        let own = self.own_settings(path)?;
        // As long as no step was skipped, `on_nan` has had no effect.
        let skipped = self.under_way.skipped + self.epochs.iter().map(|epoch| epoch.skipped_steps).sum::<usize>();
        let own = if skipped == 0 { Settings { on_nan: settings.on_nan, ..own } } else { own };
        // A run may go on for longer than it was begun for, and wait for longer; a restart after what was done so far changes nothing of it.
        let (epochs, done) = (own.epochs.max(settings.epochs), self.epochs.len());
        let restarts = match settings.restarts.split_last() {
            Some((&last, before)) if last.after >= done && before == own.restarts => settings.restarts.clone(),
            _ => own.restarts.clone(),
        };
        let own = Settings { epochs, patience: settings.patience, restarts, ..own };
        let mut differences = settings.differences(&own);
        if settings.recipe != own.recipe {
            differences.push(format!("recipe is {} here and {} there", settings.recipe, own.recipe));
        }
        if !differences.is_empty() {
            let problem = format!("was made with other settings: {}", differences.join("; "));
            return Err(Error::file(path, problem, "resume with its settings, or start the run anew with --force"));
        }
        let mut mended = BTreeSet::new();
        let names: BTreeSet<&String> = self.inputs.keys().chain(inputs.keys()).collect();
        let change = names.into_iter().find_map(|name| match (self.inputs.get(name), inputs.get(name)) {
            (Some(then), Some(now)) if then == now => None,
            (Some(_), Some(_)) if test_only.contains(name) => {
                mended.insert(name.clone());
                None
            }
            (Some(_), Some(_)) => Some(format!("{name} has changed")),
            (Some(_), None) => Some(format!("{name} is missing")),
            (None, _) => Some(format!("{name} is new")),
        });
        match change {
            None => Ok(mended),
            Some(change) => {
                let problem = format!("was made with other data: {change}");
                Err(Error::file(path, problem, "resume with the same data, or start the run anew with --force"))
            }
        }
    }
}

impl State {
    /// Adds this process, which goes on from the checkpoint at `path` in `folder`. Returns the one before, where it computed other bits:
    /// that is refused unless it is `allowed`.
    ///
    /// # Errors
    /// The process before had another instruction set or another build.
    pub fn go_on(&mut self, folder: &RunFolder, path: &Path, allowed: bool) -> Result<Option<Process>> {
        if self.processes.is_empty() {
            // A checkpoint from before processes were kept: the run's record names the last one, if it is there.
            self.processes = RunRecord::read(folder.path()).map(|record| record.processes()).unwrap_or_default();
        }
        let this = Process::this(self.epochs.len() + 1, self.under_way.steps);
        let other = self.processes.last().filter(|before| !before.computes_like(&this)).cloned();
        if let Some(before) = other.as_ref().filter(|_| !allowed) {
            let (problem, remedy) = before.refusal(&this);
            return Err(Error::file(path, problem, remedy));
        }
        self.processes.push(this);
        Ok(other)
    }
}

/// The sums over the steps of an epoch under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    /// Steps that are done.
    pub steps: usize,
    /// Steps among them that were skipped.
    pub skipped: usize,
    /// Studies of the steps that were not skipped.
    pub studies: usize,
    /// Sum over these studies of their loss.
    pub loss: f64,
    /// Studies classified right.
    pub correct: usize,
    /// Sum over the steps of the gradients' norm.
    pub norm: f64,
    /// Of the last step.
    pub learning_rate: f32,
    /// Wall-clock time.
    pub seconds: f64,
}

/// Writes the checkpoint of a run; the one before it stays beside it under another name.
///
/// # Errors
/// A folder that cannot be written, or a value that is not finite; then the checkpoints that were there are still there.
pub(super) fn write(folder: &RunFolder, trainer: &Trainer, best: Option<&Model>, state: &State) -> Result<()> {
    let metadata = BTreeMap::from([("state".to_owned(), serde_json::to_string(state).expect("plain values are JSON"))]);
    let mut tensors = trainer.tensors();
    tensors.extend(best.into_iter().flat_map(|model| model.tensors(BEST)));
    if let Some((name, count)) = tensors.iter().find_map(|(name, (_, values))| Some((name, not_finite(values)?))) {
        let problem = format!("training went astray before step {}: {name} holds {count}", trainer.steps() + 1);
        let remedy = "the last checkpoint is as it was: start anew with a lower --learning-rate, --warm-up-epochs or --clip-norm";
        return Err(Error::failed(problem, remedy));
    }
    let body = file::to_bytes(&metadata, &tensors);
    let [path, previous] = [RunFolder::CHECKPOINT, RunFolder::PREVIOUS_CHECKPOINT].map(|name| folder.file(name));
    files::write_keeping(path, previous, &[MAGIC, &Sha256::digest(&body), &body])
}

/// Replaces the checkpoints of a finished run by one without tensors, of a few kilobytes: the run's model has the weights from which more
/// epochs would begin.
///
/// # Errors
/// A folder that cannot be written.
pub(super) fn write_finished(folder: &RunFolder, state: &State) -> Result<()> {
    let metadata = BTreeMap::from([("state".to_owned(), serde_json::to_string(state).expect("plain values are JSON"))]);
    let body = file::to_bytes(&metadata, &BTreeMap::new());
    let bytes = [&MAGIC[..], &Sha256::digest(&body), &body].concat();
    files::write(folder.file(RunFolder::CHECKPOINT), &bytes)?;
    remove_previous(folder)
}

/// Removes the older checkpoint.
///
/// # Errors
/// The operating system's.
pub(super) fn remove_previous(folder: &RunFolder) -> Result<()> {
    let previous = folder.file(RunFolder::PREVIOUS_CHECKPOINT);
    match std::fs::remove_file(&previous) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&previous, "removed", &error)),
        _ => Ok(()),
    }
}

/// Whether a checkpoint has tensors: that of a finished run has none.
pub(super) fn has_tensors(archive: &TensorFile) -> bool {
    archive.names().next().is_some()
}

/// The newest checkpoint of a run that is whole, and what was wrong with the newer one if it is the older.
///
/// # Errors
/// None is there, none is whole, or one that may be whole cannot be read.
pub(super) fn read(folder: &RunFolder) -> Result<(TensorFile, State, Option<Error>)> {
    let [newest, older] = [RunFolder::CHECKPOINT, RunFolder::PREVIOUS_CHECKPOINT].map(|name| folder.file(name));
    let problem = if newest.exists() || !older.exists() {
        match parse(&newest, &files::read(&newest)?) {
            Ok((archive, state)) => return Ok((archive, state, None)),
            Err(problem) => problem,
        }
    } else {
        "is missing".to_owned()
    };
    let refused = |problem: String| Error::file(&newest, problem, "start the run anew with --force");
    if !older.exists() {
        return Err(refused(problem));
    }
    match parse(&older, &files::read(&older)?) {
        Ok((archive, state)) => Ok((archive, state, Some(Error::file(&newest, problem, "the one before it is used")))),
        Err(older) => Err(refused(format!("{problem}, and {} {older}", RunFolder::PREVIOUS_CHECKPOINT))),
    }
}

/// Makes the older checkpoint the newest, in place of one that [`read`] could not use: the next [`write`] must not keep that one.
///
/// # Errors
/// It cannot be renamed.
pub(super) fn discard_newest(folder: &RunFolder) -> Result<()> {
    files::rename(folder.file(RunFolder::PREVIOUS_CHECKPOINT), folder.file(RunFolder::CHECKPOINT))
}

/// Whether a file of these bytes at `path` is a checkpoint that this program can use.
///
/// # Errors
/// It is not: one sentence that says what is wrong.
pub fn check_checkpoint(path: &Path, bytes: &[u8]) -> Result<()> {
    let refused = |problem| Error::file(path, problem, "use the one before it, or start the run anew with --force");
    let (_, state) = parse(path, bytes).map_err(refused)?;
    state.own_settings(path).map(drop)
}

/// What a checkpoint of these bytes holds, or what is wrong with it.
fn parse(path: &Path, bytes: &[u8]) -> Result<(TensorFile, State), String> {
    let Some((head, body)) = bytes.split_at_checked(MAGIC.len() + DIGEST).filter(|(head, _)| head.starts_with(MAGIC)) else {
        return Err("is not a checkpoint, or is cut off".to_owned());
    };
    if head[MAGIC.len()..] != Sha256::digest(body)[..] {
        return Err("is damaged or cut off: its checksum is not that of its contents".to_owned());
    }
    let archive = TensorFile::from_bytes(path, body.to_vec()).map_err(|error| error.to_string())?;
    let text = archive.metadata().get("state").ok_or("has no state")?;
    let state: State = serde_json::from_str(text).map_err(|error| format!("has a state that cannot be used ({error})"))?;
    if state.format_version != FORMAT_VERSION {
        return Err(format!("has version {}, and this program reads {FORMAT_VERSION}", state.format_version));
    }
    Ok((archive, state))
}
