//! The training loop: epochs of steps, an evaluation on the held-out studies, and the run folder written after each epoch.

use super::beginning::Beginning;
use super::checkpoint::{self, Progress, State};
use super::consistency::hash_of_data;
use super::event::{Event, Start};
use super::prepared::{BegunWith, Prepared, with_init_known};
use super::settings::positive_class;
use super::{Epoch, OnNan, RunFolder, RunRecord, ScheduleName, Settings, Trainer, events};
use crate::archive::manifest::Manifest;
use crate::archive::seen::Seen;
use crate::archive::split::Split;
use crate::interrupt::Keeping;
use crate::metrics::{self, Scores};
use crate::models::{Model, Process, Provenance, TrainingData};
use crate::optim::{Position, Restart};
use crate::predict::{self, Judged};
use crate::prepare::loader::{Batch, Loader};
use crate::report::{self, caption};
use crate::text::Shown;
use crate::{Error, Result, files};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path;
use std::time::{Duration, Instant, SystemTime};

/// Trains a network on `manifest`, writes the run into `folder` and returns the metrics of every epoch. `watch` is called with each
/// [`Event`].
///
/// The same manifest and settings give the same model, bit for bit, whatever the number of threads, and whether the run was
/// interrupted and then resumed, however often.
///
/// # Errors
/// Studies that cannot be read, that are on two sides, or whose files are replaced while the run reads them; a folder that cannot be
/// written, or that was renamed meanwhile; NaN or infinity in loss or gradients, if the settings say stop, and then the checkpoints stay
/// as they are; to resume, no checkpoint, or one of other settings or data, or of another instruction set or
/// build that is not allowed; and [`Error::Interrupted`] when `watch` breaks off: then the folder holds the last whole epoch and a
/// checkpoint of the step. After any error but that, a run that was to replace another and has no whole epoch yet is removed.
pub fn run(
    manifest: &Manifest,
    settings: &Settings,
    folder: &RunFolder,
    start: Start,
    watch: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Vec<Epoch>> {
    let result = with_init_known(settings).and_then(|mut settings| {
        let restarted = match start {
            Start::New => None,
            Start::Resume { .. } => restart_for_more_epochs(&mut settings, folder)?,
        };
        train(manifest, &settings, folder, start, restarted, watch)
    });
    if !matches!(result, Ok(_) | Err(Error::Interrupted { .. })) {
        folder.abandon_aside()?;
    }
    result
}

/// Whether a run with these epochs behind it is over: all of its settings' epochs are done, or early stopping ends it.
pub fn is_over(done: &[Epoch], settings: &Settings) -> bool {
    let Settings { epochs, choose_by, patience, ref restarts, .. } = *settings;
    // After a restart the patience begins anew.
    let restart = restarts.iter().rfind(|restart| restart.after <= done.len()).map_or(0, |restart| restart.after);
    done.len() >= epochs || Epoch::are_enough(done, choose_by, patience, restart)
}

/// Where a run is to go on for more epochs than it was begun for: one with a constant rate goes on as it is; of any other the schedule
/// begins anew, and the epochs that are over are given.
fn restart_for_more_epochs(settings: &mut Settings, folder: &RunFolder) -> Result<Option<usize>> {
    let (archive, state, _) = checkpoint::read(folder)?;
    let (own, done) = (state.own_settings(archive.path())?, state.epochs.len());
    let is_longer = settings.epochs > own.epochs && settings.restarts == own.restarts;
    if !is_longer || settings.schedule == ScheduleName::Constant {
        return Ok(None);
    }
    if done == 0 {
        let problem = "has no whole epoch yet, after which its schedule could begin anew for more epochs";
        return Err(Error::file(folder.path(), problem, "resume it without --epochs first"));
    }
    settings.restarts.push(Restart { after: done, planned: own.epochs });
    Ok(Some(done))
}

fn train(
    manifest: &Manifest,
    settings: &Settings,
    folder: &RunFolder,
    start: Start,
    restarted: Option<usize>,
    watch: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Vec<Epoch>> {
    let (mut session, split, begun_with) = Session::begin(manifest, settings, folder)?;
    let resumed = match start {
        Start::New => None,
        Start::Resume { allow_other_isa } => Some(session.restore(allow_other_isa)?),
    };
    session.announce(&split)?;
    let ready = Event::Ready {
        train: session.training.studies(),
        validation: session.validation.as_ref().map_or(0, Loader::studies),
        test: session.test.studies(),
        parameters: session.trainer.model().parameter_count(),
        steps: session.training.batches(),
    };
    if watch(ready).is_break() {
        return Err(session.interrupted());
    }
    if let Some(begun_with) = &begun_with
        && watch(Event::BegunWith(begun_with)).is_break()
    {
        return Err(session.interrupted());
    }
    if let Some((problem, other)) = resumed {
        let (epoch, steps) = (session.state.epochs.len() + 1, session.state.under_way.steps);
        let (problem, other, mended) = (problem.as_ref(), other.as_ref(), &session.mended);
        let _ = watch(Event::Resumed { steps, epoch, restarted, problem, other, mended }); // the next event can stop it
        // The checkpoint of an epoch's end comes before the other files; one within an epoch comes after those of the epoch before it,
        // and holds other weights than that epoch's.
        if !session.state.epochs.is_empty() && (session.best.is_some() || session.state.under_way.steps == 0) {
            session.save()?;
            folder.settle()?;
        }
    } else {
        session.checkpoint()?;
    }
    while !session.is_over() {
        match session.epoch(&mut |event| watch(event)) {
            Err(Error::Interrupted { .. }) => {
                // A measurement that was under way begins anew.
                if session.saved_at.get() != Some(session.position()) {
                    session.checkpoint()?;
                }
                return Err(session.interrupted());
            }
            result => result?,
        }
        session.checkpoint()?;
        session.save()?;
        folder.settle()?;
        let epoch = session.state.epochs.last().expect("just pushed");
        if watch(Event::Epoch(epoch)).is_break() {
            return Err(session.interrupted());
        }
    }
    session.remember(watch)?;
    session.finish()?;
    Ok(session.state.epochs)
}

/// What was known of its scans when the run in a folder began, or went on last.
///
/// # Errors
/// Its record cannot be read.
pub fn seen_by(folder: &RunFolder) -> Result<Seen> {
    let record = record_of(folder)?;
    Ok(record.map(|RunRecord { views, same_people, .. }| Seen { views, same_people }).unwrap_or_default())
}

/// The record of the run in a folder, if it has one yet.
fn record_of(folder: &RunFolder) -> Result<Option<RunRecord>> {
    let file = folder.file(RunFolder::RECORD);
    let there = file.is_file().then(|| RunRecord::read(files::folder_of(&file)));
    there.transpose()
}

/// The state of a run.
struct Session<'a> {
    manifest: &'a Manifest,
    settings: &'a Settings,
    folder: &'a RunFolder,
    trainer: Trainer,
    training: Loader,
    validation: Option<Loader>,
    test: Loader,
    /// The studies of the training and validation patients, as they are.
    learnt: Loader,
    /// Rows of the validation patients.
    validates: BTreeSet<usize>,
    /// The class that counts as positive, where one is named.
    positive: Option<usize>,
    /// What the chosen model is to remember of them; none before the run's last epoch is over.
    known: Option<TrainingData>,
    state: State,
    /// SHA-256 of `split.csv`.
    split: String,
    /// Files that only test studies have, by the names that the manifest has for them.
    test_only: BTreeSet<String>,
    /// Those of them that held other bytes when the run was resumed.
    mended: BTreeSet<String>,
    /// The network of the best epoch so far, where validation patients choose.
    best: Option<Model>,
    /// The losses of the first epoch, in a run that this process began.
    beginning: Option<Beginning>,
    /// When the last checkpoint was written.
    saved: Cell<Instant>,
    /// Of the folder's newest checkpoint: epochs that were over, and steps of the next.
    saved_at: Cell<Option<[usize; 2]>>,
}

type Watch<'a> = &'a mut dyn FnMut(Event) -> ControlFlow<()>;

/// Calls `watch`. Where it breaks off, the error has no message yet: [`run`] writes it.
fn tell(watch: Watch, event: Event) -> Result<()> {
    match watch(event) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Interrupted { kept: String::new() }),
    }
}

impl<'a> Session<'a> {
    /// Splits the studies and makes the network. Writes nothing.
    fn begin(manifest: &'a Manifest, settings: &'a Settings, folder: &'a RunFolder) -> Result<(Self, Split, Option<BegunWith>)> {
        let Prepared { trainer, training, validation, test, learnt, split, inputs, begun_with } =
            Prepared::new(manifest, settings)?;
        let state = State::new(settings, inputs);
        let named = Some(&*settings.positive).filter(|name| !name.is_empty());
        let positive = named.map(|name| positive_class(name, &manifest.classes)).transpose()?;
        let (best, saved, saved_at) = (None, Cell::new(Instant::now()), Cell::default());
        let beginning = Some(Beginning::new(manifest.classes.len()));
        let files_of = |rows: &[usize]| -> BTreeSet<String> {
            rows.iter().flat_map(|&row| manifest.rows[row].files()).map(|file| manifest.name_of(file)).collect()
        };
        let test_only = &files_of(&split.test) - &(&files_of(&split.train) | &files_of(&split.validation));
        let split_hash = files::sha256(&split.to_csv(manifest)?);
        let session = Session {
            manifest,
            settings,
            folder,
            trainer,
            training,
            validation,
            test,
            learnt,
            validates: split.validation.iter().copied().collect(),
            positive,
            known: None,
            state,
            split: split_hash,
            test_only,
            mended: BTreeSet::new(),
            best,
            beginning,
            saved,
            saved_at,
        };
        session.resolved()?;
        Ok((session, split, begun_with))
    }

    /// The epoch whose weights are the model's.
    fn chosen(&self) -> usize {
        Epoch::chosen(&self.state.epochs, self.settings.choose_by)
    }

    /// Whether all epochs are done, or early stopping ends the run.
    fn is_over(&self) -> bool {
        is_over(&self.state.epochs, self.settings)
    }

    /// Writes into the model what its training scans are like, unless it says so already.
    fn remember(&mut self, watch: Watch) -> Result<()> {
        if self.known.is_some() {
            return Ok(());
        }
        let people: BTreeMap<&str, usize> = {
            let names: BTreeSet<&str> = (0..self.manifest.rows.len()).map(|row| self.manifest.person(row)).collect();
            names.into_iter().enumerate().map(|(number, name)| (name, number)).collect()
        };
        let (patient, validates) = (|row: usize| people[self.manifest.person(row)], |row: usize| self.validates.contains(&row));
        let model = self.best.as_ref().unwrap_or(self.trainer.model());
        let of = self.learnt.studies();
        let known = predict::training_data(model, &self.learnt, &patient, &validates, self.positive, &mut |done| {
            tell(watch, Event::Test { done, of })
        });
        self.known = Some(match known {
            Err(Error::Interrupted { .. }) => return Err(self.interrupted()),
            known => known?,
        });
        self.save()
    }

    /// Removes what a finished run does not need: the checkpoints, unless the rate is constant, so that more epochs would go on from
    /// Adam's moments as they are; then the newest stays.
    fn finish(&self) -> Result<()> {
        self.folder.check_place()?;
        match self.settings.schedule {
            ScheduleName::Constant => checkpoint::remove_previous(self.folder),
            ScheduleName::Cosine | ScheduleName::Step => checkpoint::write_finished(self.folder, &self.state),
        }
    }

    /// What an interrupted run leaves behind, in words.
    fn interrupted(&self) -> Error {
        let model = match self.chosen() {
            0 if self.folder.is_aside() => "no epoch was finished, and the run that was there before is unchanged".to_owned(),
            0 => "no epoch was finished, so there is no model".to_owned(),
            epoch => format!("{} is whole, as epoch {epoch} left it", self.folder.file(RunFolder::MODEL).shown()),
        };
        let has_checkpoint = self.folder.file(RunFolder::CHECKPOINT).is_file();
        let resume = match has_checkpoint {
            true if self.folder.is_aside() => ", and `osteon train --resume` goes on with the new one",
            true => ", and `osteon train --resume` goes on",
            false => "",
        };
        Error::Interrupted { kept: format!("{model}{resume}") }
    }

    /// Writes what is known before the first step.
    fn announce(&self, split: &Split) -> Result<()> {
        self.folder.check_place()?;
        files::write(self.folder.file(RunFolder::CONFIG), self.resolved()?.to_toml().as_bytes())?;
        split.write(self.folder.file(RunFolder::SPLIT), self.manifest)?;
        self.record()
    }

    /// The settings, with a manifest that can be found from anywhere.
    fn resolved(&self) -> Result<Settings> {
        let manifest = &self.manifest.path;
        let manifest = path::absolute(manifest).map_err(|error| Error::io(manifest, "found", &error))?;
        if manifest.to_str().is_none() {
            let problem = "has a path that is not UTF-8, which the record of a run cannot hold";
            return Err(Error::file(manifest, problem, "rename its folder, or give the manifest by another path"));
        }
        Ok(Settings { manifest, ..self.settings.clone() })
    }

    fn record(&self) -> Result<()> {
        let State { inputs, processes, weights, .. } = &self.state;
        let manifest = self.manifest.name_of(&self.manifest.path);
        let studies = self.trainer.model().metadata().training_studies();
        let (seen, chosen) = (&self.manifest.seen, self.chosen());
        let inputs = inputs.clone();
        RunRecord::new(&self.resolved()?, &manifest, inputs, processes, studies, weights, chosen, seen, &self.mended)
            .write(self.folder)
    }

    /// Goes on from the folder's checkpoint. Returns what was wrong with a newer one, if this is the older; and the process that made it,
    /// if that computed other bits than this one.
    fn restore(&mut self, allow_other_isa: bool) -> Result<(Option<Error>, Option<Process>)> {
        let (archive, mut state, problem) = checkpoint::read(self.folder)?;
        let is_finished = !checkpoint::has_tensors(&archive);
        self.mended = record_of(self.folder)?.map(|record| record.mended).unwrap_or_default();
        self.mended.extend(state.check(self.settings, &self.state.inputs, &self.test_only, archive.path())?);
        let other = state.go_on(self.folder, archive.path(), allow_other_isa)?;
        let has_chosen = self.validation.is_some() && state.epochs.iter().any(|epoch| epoch.validation_loss.is_some());
        if is_finished {
            // Only a restart, or nothing, follows: both need what the run has kept.
            self.trainer.restart(&self.kept(&state)?);
            state.adam_steps = 0;
        } else {
            self.trainer.restore(&archive, state.adam_steps)?;
        }
        if has_chosen {
            let mut best = self.trainer.model().copy()?;
            if !is_finished {
                best.restore(&archive, checkpoint::BEST)?;
            }
            let chosen = Epoch::chosen(&state.epochs, self.settings.choose_by);
            if let Some(temperature) = state.epochs.iter().find(|epoch| epoch.epoch == chosen).and_then(|epoch| epoch.temperature)
            {
                best.set_temperature(temperature);
            }
            self.best = Some(best);
        }
        let begins_anew = |settings: &Settings| settings.restarts_after(state.epochs.len());
        let is_new = begins_anew(self.settings) && !begins_anew(&state.own_settings(archive.path())?);
        if is_new && state.under_way.steps > 0 {
            // The epoch under way began under the schedule that ends here.
            if self.best.is_none() {
                self.trainer.restart(&self.kept(&state)?);
            }
            state.under_way = Progress::default();
        }
        if problem.is_some() {
            checkpoint::discard_newest(self.folder)?;
        }
        // Of a run that was over, which only more epochs change.
        self.known = self.kept(&state).ok().and_then(|kept| kept.metadata().training_data.clone());
        let (settings, inputs) = (self.state.settings.clone(), self.state.inputs.clone());
        self.state = State { settings, inputs, ..state };
        self.beginning = self.beginning.take().filter(|_| self.position() == [0, 0]);
        self.saved_at.set(Some(self.position()));
        Ok((problem, other))
    }

    /// The model in the folder, whose weights are those that `state` has chosen.
    fn kept(&self, state: &State) -> Result<Model> {
        let path = self.folder.file(RunFolder::MODEL);
        let kept = Model::load(&path)?;
        let chosen = Epoch::chosen(&state.epochs, self.settings.choose_by);
        if chosen.checked_sub(1).and_then(|epoch| state.weights.get(epoch)) != Some(&kept.weights_hash()) {
            let problem = "is not the model that this run has kept, so that it cannot go on from it";
            return Err(Error::file(&path, problem, "restore it, or start the run anew with --force"));
        }
        Ok(kept)
    }

    fn checkpoint(&self) -> Result<()> {
        self.folder.check_place()?;
        let _keeping = Keeping::begin();
        checkpoint::write(self.folder, &self.trainer, self.best.as_ref(), &self.state)?;
        self.saved.set(Instant::now());
        self.saved_at.set(Some(self.position()));
        Ok(())
    }

    /// Epochs that are over, and steps of the next.
    fn position(&self) -> [usize; 2] {
        [self.state.epochs.len(), self.state.under_way.steps]
    }

    /// Writes a checkpoint if the last one is older than `checkpoint_minutes`.
    fn checkpoint_in_time(&self) -> Result<()> {
        let pause = Duration::from_secs_f64((60.0 * self.settings.checkpoint_minutes).min(1e9));
        if self.saved.get().elapsed() >= pause { self.checkpoint() } else { Ok(()) }
    }

    /// Runs the rest of the epoch under way, and the evaluation where one is due.
    fn epoch(&mut self, watch: Watch) -> Result<()> {
        let number = self.state.epochs.len() + 1;
        if self.settings.restarts_after(number - 1) && self.state.under_way.steps == 0 {
            self.restart()?;
        }
        let (schedule, steps) = (self.settings.schedule(), self.training.batches());
        let before = self.state.under_way.seconds;
        let start = Instant::now();
        for batch in self.training.epoch_from(number as u64, self.state.under_way.steps) {
            let batch = batch?;
            let done = (number - 1) * steps + self.state.under_way.steps;
            let Position { step, of } = Position::new(done, steps, self.settings.epochs, &self.settings.restarts);
            let learning_rate = schedule.learning_rate(step, of, steps as u64);
            let step = match self.trainer.step(&batch.images, &batch.labels, learning_rate) {
                Err(Error::NotFinite { place }) => Err(self.place_in_run(done + 1, &batch, &place)),
                step => Ok(step?),
            };
            let sums = &mut self.state.under_way;
            sums.steps += 1;
            sums.learning_rate = learning_rate;
            sums.seconds = before + start.elapsed().as_secs_f64();
            let event = match &step {
                Ok(step) => {
                    sums.studies += batch.labels.len();
                    sums.loss += f64::from(step.loss) * batch.labels.len() as f64;
                    sums.correct += step.correct;
                    sums.norm += step.gradient_norm;
                    Event::Step { done: done + 1, epoch: number, loss: step.loss }
                }
                Err(problem) if self.settings.on_nan == OnNan::Skip => {
                    sums.skipped += 1;
                    Event::Skipped { done: done + 1, epoch: number, problem }
                }
                Err(problem) => return Err(self.stopped(problem)),
            };
            self.state.adam_steps = self.trainer.steps();
            self.checkpoint_in_time()?;
            tell(watch, event)?;
            if let (Some(beginning), Ok(step)) = (&mut self.beginning, &step)
                && let Some(loss) = beginning.explodes(step.loss.into())
            {
                let guessing = beginning.guessing;
                self.beginning = None;
                tell(watch, Event::Exploding { loss, guessing })?;
            }
        }
        // An epoch of few batches says too little.
        self.beginning = self.beginning.take().filter(|beginning| beginning.losses.len() < 2 * Beginning::WINDOW);
        let sums = self.state.under_way;
        if sums.skipped == steps {
            return Err(self.stopped(&format!("epoch {number}: every step of it had to be left out")));
        }
        let studies = sums.studies as f64;
        let mut epoch = Epoch {
            epoch: number,
            learning_rate: sums.learning_rate,
            train_loss: sums.loss / studies,
            train_accuracy: sums.correct as f64 / studies,
            test_loss: None,
            test_accuracy: None,
            test_f1: None,
            test_auc: None,
            validation_loss: None,
            validation_accuracy: None,
            validation_auc: None,
            temperature: None,
            gradient_norm: sums.norm / (steps - sums.skipped) as f64,
            skipped_steps: sums.skipped,
            train_seconds: sums.seconds,
            seconds: 0.0,
        };
        let mut candidate = None;
        if number.is_multiple_of(self.settings.test_every) || number == self.settings.epochs {
            if self.settings.precise_norm {
                for (i, batch) in self.training.epoch(number as u64).enumerate() {
                    let batch = batch?;
                    tell(watch, Event::Test { done: 0, of: self.held_out().studies() })?;
                    self.trainer.measure_statistics(i, &batch.images, batch.labels.len())?;
                    self.checkpoint_in_time()?; // a resumed run starts this measurement again
                }
            }
            candidate = self.measure(&mut epoch, watch)?;
        }
        epoch.seconds = before + start.elapsed().as_secs_f64();
        self.known = None;
        self.state.epochs.push(epoch);
        self.state.weights.push(candidate.as_ref().unwrap_or(self.trainer.model()).weights_hash());
        if candidate.is_some() && self.chosen() == number {
            self.best = candidate;
        }
        self.state.under_way = Progress::default();
        Ok(())
    }

    /// Begins the schedule anew with the weights that the run has kept: those of the best epoch, or of the last.
    fn restart(&mut self) -> Result<()> {
        let kept = match &self.best {
            Some(best) => best.copy()?,
            None => self.trainer.model().copy()?,
        };
        self.trainer.restart(&kept);
        self.state.adam_steps = self.trainer.steps();
        Ok(())
    }

    /// Where a step was not finite, with the files that it was made of.
    fn place_in_run(&self, step: usize, batch: &Batch, place: &str) -> String {
        let files = batch.studies.iter().flat_map(|&study| self.manifest.rows[study].files());
        let files: BTreeSet<String> = files.map(|file| self.manifest.name_of(file)).collect();
        let files = files.into_iter().collect::<Vec<_>>().join(", ");
        format!("step {step} (epoch {}): {place}, on {files}", self.state.epochs.len() + 1)
    }

    /// Why training cannot go on, and what is left.
    fn stopped(&self, problem: &str) -> Error {
        let checkpoint = self.folder.file(RunFolder::CHECKPOINT);
        let skip = match self.settings.on_nan {
            OnNan::Stop => ", or --resume with --on-nan skip",
            OnNan::Skip => "",
        };
        if self.folder.is_aside() {
            let remedy = "the run that was there before is unchanged: start the new one with a lower --learning-rate, --warm-up-epochs or \
                          --clip-norm";
            return Error::failed(format!("training stopped in {problem}"), remedy);
        }
        let remedy = format!(
            "{} is from before it: start anew with a lower --learning-rate, --warm-up-epochs or --clip-norm{skip}",
            checkpoint.shown()
        );
        Error::failed(format!("training stopped in {problem}"), remedy)
    }

    /// The studies that are measured in training: the validation studies or, without those, the test studies. Where validation patients
    /// choose, the test patients' scores stay unknown until the run is evaluated.
    fn held_out(&self) -> &Loader {
        self.validation.as_ref().unwrap_or(&self.test)
    }

    /// Evaluates on the studies that are held out and sets their columns. Where validation patients choose, gives the model that they
    /// would choose: the present one, calibrated on them if the settings say so.
    fn measure(&self, epoch: &mut Epoch, watch: Watch) -> Result<Option<Model>> {
        let mut judged = self.judge(epoch.epoch, watch)?;
        if self.validation.is_none() {
            let (loss, scores) = self.scores(&judged)?;
            epoch.test_loss = Some(loss);
            epoch.test_accuracy = scores.accuracy;
            epoch.test_f1 = scores.mean.f1;
            epoch.test_auc = scores.mean.auc;
            return Ok(None);
        }
        let mut candidate = self.trainer.model().copy()?;
        if self.settings.calibrate {
            let studies: Vec<_> = judged.iter().map(|judged| (&*judged.logits, judged.label as usize)).collect();
            let temperature = metrics::temperature(&studies);
            judged.iter_mut().for_each(|judged| judged.calibrate(temperature));
            candidate.divide_logits(temperature);
            epoch.temperature = Some(temperature);
        }
        let (loss, scores) = self.scores(&judged)?;
        epoch.validation_loss = Some(loss);
        epoch.validation_accuracy = scores.accuracy;
        epoch.validation_auc = scores.mean.auc;
        Ok(Some(candidate))
    }

    /// What the network says of the studies that are held out.
    fn judge(&self, epoch: usize, watch: Watch) -> Result<Vec<Judged>> {
        let (model, studies) = (self.trainer.model(), self.held_out());
        let judged = predict::judge(model, studies, &mut |done| {
            self.checkpoint_in_time()?;
            tell(watch, Event::Test { done, of: studies.studies() })
        })?;
        if let Some(judged) = judged.iter().find(|judged| !judged.loss.is_finite()) {
            let row = &self.manifest.rows[judged.study];
            let study = row.files().map(|file| self.manifest.name_of(file)).next().unwrap_or_default();
            let side = if self.validation.is_some() { "validation" } else { "test" };
            return Err(self.stopped(&format!("epoch {epoch}: the loss of {side} study {study} is not finite")));
        }
        Ok(judged)
    }

    /// Mean loss and scores.
    fn scores(&self, judged: &[Judged]) -> Result<(f64, Scores)> {
        let truths: Vec<usize> = judged.iter().map(|judged| judged.label as usize).collect();
        let probabilities: Vec<Vec<f32>> = judged.iter().map(|judged| judged.probabilities.clone()).collect();
        let scores = Scores::new(&self.manifest.classes, &truths, &probabilities)?;
        Ok((judged.iter().map(|judged| judged.loss).sum::<f64>() / judged.len() as f64, scores))
    }

    /// The provenance that is written into the model file.
    fn provenance(&self) -> Provenance {
        let State { inputs, epochs, processes, .. } = &self.state;
        let Process { version, commit, isa, .. } = processes.last().expect("this process").clone();
        let mixed = processes.iter().any(|process| !process.computes_like(&processes[0]));
        let chosen = epochs.iter().find(|epoch| epoch.epoch == self.chosen());
        let score = |name: &str, value: Option<f64>| value.map(|value| (name.to_owned(), value));
        let scores = chosen.into_iter().flat_map(|epoch| {
            [
                ("loss", epoch.test_loss),
                ("accuracy", epoch.test_accuracy),
                ("f1", epoch.test_f1),
                ("auc", epoch.test_auc),
                ("validation loss", epoch.validation_loss),
                ("validation accuracy", epoch.validation_accuracy),
                ("validation auc", epoch.validation_auc),
            ]
        });
        Provenance {
            version,
            commit,
            isa,
            processes: if mixed { processes.clone() } else { Vec::new() },
            data: hash_of_data(inputs),
            split: Some(self.split.clone()),
            configuration: self.settings.to_json_of_weights(),
            epochs: self.chosen(),
            scores: scores.filter_map(|(name, value)| score(name, value)).collect(),
        }
    }

    /// Writes record, metrics, curves and model. Each file is replaced as a whole, the model last: the record lists the weights of the
    /// model before it too, so that whatever two of them a killed process leaves belong together. An evaluation of the model before it
    /// goes first.
    fn save(&mut self) -> Result<()> {
        let _keeping = Keeping::begin();
        let provenance = self.provenance();
        let model = self.best.as_mut().unwrap_or(self.trainer.model_mut());
        model.set_provenance(provenance);
        model.set_training_data(self.known.clone());
        let (bytes, note) = (model.to_bytes(), caption::of_curves(&model.metadata().trained_on));
        let (folder, epochs) = (self.folder, &self.state.epochs);
        folder.check_place()?;
        self.record()?;
        Epoch::write_all(&folder.file(RunFolder::METRICS), epochs)?;
        files::write(folder.file(RunFolder::CURVES), &report::curves(epochs, &note).png())?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        files::write(folder.file(RunFolder::EVENTS), &events::bytes(epochs, now.as_secs_f64()))?;
        let path = folder.file(RunFolder::MODEL);
        if !files::read(&path).is_ok_and(|there| there == bytes) {
            folder.remove_evaluation()?;
        }
        files::write(path, &bytes)
    }
}
