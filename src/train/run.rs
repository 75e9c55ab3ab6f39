//! The loop: epochs of steps, a measurement on the test studies, and the folder brought up to date after each epoch.

use super::{Epoch, RunFolder, Settings};
use crate::data::loader::{Loader, LoaderOptions};
use crate::data::manifest::Manifest;
use crate::data::split::{Split, split};
use crate::metrics::Scores;
use crate::models::{Metadata, Model, Trainer};
use crate::predict::{self, Judged};
use crate::report::{self, EpochRow};
use crate::{Error, Result, files};
use std::ops::ControlFlow;
use std::path;
use std::time::Instant;

/// What a run tells its caller, who can stop it after any of them.
#[derive(Debug)]
pub enum Event<'a> {
    /// Training begins.
    Ready {
        /// Training studies.
        train: usize,
        /// Test studies.
        test: usize,
        /// Trained values of the network.
        parameters: usize,
        /// Steps an epoch.
        steps: usize,
    },
    /// A training step is over.
    Step {
        /// Steps since the run began.
        done: usize,
        /// The epoch under way, from 1.
        epoch: usize,
        /// The step's loss.
        loss: f32,
    },
    /// Test studies have been measured.
    Test {
        /// So many in this epoch,
        done: usize,
        /// of so many.
        of: usize,
    },
    /// An epoch is over, and the folder holds its model and record.
    Epoch(&'a Epoch),
}

/// Trains a network on `manifest` into `folder` and returns the record of every epoch. `watch` sees each [`Event`].
///
/// The same manifest and settings give the same model, bit for bit, whatever the number of threads.
///
/// # Errors
/// Studies that cannot be read; a folder that cannot be written; a loss that is no longer a number; and
/// [`Error::Interrupted`] when `watch` breaks off: then the folder holds the last whole epoch.
pub fn run(
    manifest: &Manifest,
    settings: &Settings,
    folder: &RunFolder,
    watch: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Vec<Epoch>> {
    let mut session = Session::begin(manifest, settings, folder)?;
    let ready = Event::Ready {
        train: session.training.studies(),
        test: session.test.studies(),
        parameters: session.trainer.model().parameter_count(),
        steps: session.training.batches(),
    };
    let mut watch = |event: Event, epochs: &[Epoch]| match watch(event) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Interrupted { kept: kept(folder, epochs) }),
    };
    watch(ready, &[])?;
    let mut epochs = Vec::with_capacity(settings.epochs);
    for number in 1..=settings.epochs {
        let epoch = session.epoch(number, &mut |event| watch(event, &epochs))?;
        epochs.push(epoch);
        session.save(folder, &epochs)?;
        watch(Event::Epoch(&epoch), &epochs)?;
    }
    Ok(epochs)
}

/// What lives from epoch to epoch.
struct Session<'a> {
    settings: &'a Settings,
    trainer: Trainer,
    training: Loader,
    test: Loader,
}

type Watch<'a> = &'a mut dyn FnMut(Event) -> Result<()>;

impl<'a> Session<'a> {
    /// Splits the studies, makes the network, and writes what is known before the first step.
    fn begin(manifest: &Manifest, settings: &'a Settings, folder: &RunFolder) -> Result<Self> {
        let Settings { preprocessing, .. } = settings;
        let input_size = settings.input_size.array();
        let split = split(manifest, settings.train_share, settings.split_seed)?;
        let metadata = Metadata::new(&settings.architecture, &manifest.classes, input_size, preprocessing.clone());
        let mut model = Model::initialised(Metadata { norm: settings.norm(), ..metadata }, settings.seed)?;
        model.set_trained_on(predict::describe(manifest, split.train.len()));

        let (training, test) = loaders(manifest, &split, settings)?;
        if training.studies() < 2 {
            return Err(Error::file(&manifest.path, "leaves fewer than two studies for training", "add studies"));
        }

        let manifest_path = path::absolute(&manifest.path).map_err(|error| Error::io(&manifest.path, "found", &error))?;
        let resolved = Settings { manifest: manifest_path, ..settings.clone() };
        files::write(folder.file(RunFolder::CONFIG), resolved.to_toml().as_bytes())?;
        split.write(folder.file(RunFolder::SPLIT), manifest)?;
        Ok(Session { settings, trainer: Trainer::new(model, settings.adam()), training, test })
    }

    /// One pass over the training studies, and the measurement that is due.
    fn epoch(&mut self, number: usize, watch: Watch) -> Result<Epoch> {
        let start = Instant::now();
        let (schedule, steps) = (self.settings.schedule(), self.training.batches());
        let (mut loss, mut correct, mut norm, mut learning_rate) = (0.0, 0, 0.0, 0.0);
        for (i, batch) in self.training.epoch(number as u64).enumerate() {
            let batch = batch?;
            let done = (number - 1) * steps + i;
            learning_rate = schedule.learning_rate(done as u64, (self.settings.epochs * steps) as u64, steps as u64);
            let step = self.trainer.step(&batch.images, &batch.labels, learning_rate)?;
            loss += f64::from(step.loss) * batch.labels.len() as f64;
            correct += step.correct;
            norm += step.gradient_norm;
            watch(Event::Step { done: done + 1, epoch: number, loss: step.loss })?;
        }
        let studies = self.training.studies() as f64;
        let mut epoch = Epoch {
            epoch: number,
            learning_rate,
            train_loss: loss / studies,
            train_accuracy: correct as f64 / studies,
            test_loss: None,
            test_accuracy: None,
            test_f1: None,
            test_auc: None,
            gradient_norm: norm / steps as f64,
            train_seconds: start.elapsed().as_secs_f64(),
            seconds: 0.0,
        };
        if number.is_multiple_of(self.settings.test_every) || number == self.settings.epochs {
            if self.settings.precise_norm {
                for (i, batch) in self.training.epoch(number as u64).enumerate() {
                    let batch = batch?;
                    watch(Event::Test { done: 0, of: self.test.studies() })?;
                    self.trainer.measure_statistics(i, &batch.images, batch.labels.len())?;
                }
            }
            self.measure(&mut epoch, watch)?;
        }
        epoch.seconds = start.elapsed().as_secs_f64();
        Ok(epoch)
    }

    /// Fills in the test columns.
    fn measure(&self, epoch: &mut Epoch, watch: Watch) -> Result<()> {
        let model = self.trainer.model();
        let judged = predict::judge(model, &self.test, &mut |done| watch(Event::Test { done, of: self.test.studies() }))?;
        let truths: Vec<usize> = judged.iter().map(|judged| judged.label as usize).collect();
        let probabilities: Vec<Vec<f32>> = judged.iter().map(|judged| judged.probabilities.clone()).collect();
        let scores = Scores::new(&model.metadata().classes, &truths, &probabilities)?;
        epoch.test_loss = Some(judged.iter().map(|judged: &Judged| judged.loss).sum::<f64>() / judged.len() as f64);
        epoch.test_accuracy = scores.accuracy;
        epoch.test_f1 = scores.mean.f1;
        epoch.test_auc = scores.mean.auc;
        Ok(())
    }

    /// Brings the folder up to date. Each file is replaced as a whole, the model first.
    fn save(&self, folder: &RunFolder, epochs: &[Epoch]) -> Result<()> {
        let model = self.trainer.model();
        model.save(folder.file(RunFolder::MODEL))?;
        Epoch::write_all(&folder.file(RunFolder::METRICS), epochs)?;
        let rows: Vec<EpochRow> = epochs.iter().map(EpochRow::from).collect();
        // A score says what it was made with: phantoms are named beneath the curves.
        let note = format!("Trained on {}. {}", model.metadata().trained_on, report::DISCLAIMER);
        files::write(folder.file(RunFolder::CURVES), &report::curves(&rows, &note).png())
    }
}

/// Loaders of both sides. The cache is shared out by their studies.
fn loaders(manifest: &Manifest, split: &Split, settings: &Settings) -> Result<(Loader, Loader)> {
    let (size, all) = (settings.input_size.array(), split.train.len() + split.test.len());
    let cache = |side: &[usize]| (settings.cache_mb << 20) / all * side.len();
    let training = LoaderOptions {
        augmentation: settings.augmentation,
        threads: settings.loader_threads,
        cache_bytes: cache(&split.train),
        ..LoaderOptions::training(size, settings.batch, settings.seed)
    };
    let test = LoaderOptions {
        threads: settings.loader_threads,
        cache_bytes: cache(&split.test),
        ..LoaderOptions::evaluation(size, settings.batch)
    };
    let loader = |side: &[usize], options| {
        Loader::of_manifest(manifest, &manifest.classes, side.to_vec(), &settings.preprocessing, options)
    };
    Ok((loader(&split.train, training)?, loader(&split.test, test)?))
}

/// What an interrupted run leaves behind, in words.
fn kept(folder: &RunFolder, epochs: &[Epoch]) -> String {
    match epochs.len() {
        0 => "no epoch was finished, so there is no model".to_owned(),
        count => format!("{} is whole, as epoch {count} left it", folder.file(RunFolder::MODEL).display()),
    }
}
