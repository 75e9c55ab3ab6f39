//! The folder of a study: phantoms, datasets, a folder a training under `runs`, and which of them are done.
//!
//! Of phantoms, datasets and trainings each has one file that is written last and stands for all of it, so that whatever moment a
//! process dies at, the next one goes on from there.

use super::page;
use super::{Data, Options, Plan, Training};
use crate::archive::datasets::{self, Counts, DatasetOptions};
use crate::archive::manifest::Manifest;
use crate::archive::split::{self, Split};
use crate::models::Model;
use crate::train::{RunFolder, RunRecord, Settings};
use crate::{Error, Result, files, interrupt};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the trainings' folders.
const RUNS: &str = "runs";
/// In a run's folder, its evaluation without copies.
const UNAUGMENTED: &str = "unaugmented";
/// In a run's folder, written when all of its results are there: a [`Tested`].
const TESTED: &str = "tested.toml";
/// Trainings of which the page shows cases, which takes the model.
const WITH_CASES: [&str; 2] = [page::MAIN, page::TWO_CLASSES];
/// The folder of the phantoms.
const PHANTOMS: &str = "phantoms";

/// A study's folder.
pub struct StudyFolder(PathBuf);

impl StudyFolder {
    /// The one at this path, which need not be there yet.
    pub fn new(path: &Path) -> Self {
        StudyFolder(path.to_owned())
    }

    /// The folder of the phantoms.
    pub fn phantoms(&self) -> PathBuf {
        self.0.join(PHANTOMS)
    }

    /// The folder of the trainings' folders.
    pub fn runs(&self) -> PathBuf {
        self.0.join(RUNS)
    }

    /// The run folder of a training.
    pub fn run(&self, training: &Training) -> PathBuf {
        self.runs().join(training.name())
    }

    /// Where the evaluation of a training without copies is.
    pub fn unaugmented(&self, training: &Training) -> PathBuf {
        self.run(training).join(UNAUGMENTED)
    }

    /// The training's settings, with the folder of the run that it begins with.
    pub fn settings(&self, training: &Training, options: &Options) -> Settings {
        let init = training.begins_with().map(|first| self.run(&first)).unwrap_or_default();
        Settings { init, ..training.settings(options) }
    }

    /// The manifest of what a training is of.
    pub fn manifest(&self, data: Data) -> PathBuf {
        self.0.join("datasets").join(data.name()).join(datasets::MANIFEST)
    }

    /// Writes a dataset that is not there, proves that it does not leak, and counts its images.
    ///
    /// # Errors
    /// One that is there and is another; patients on two sides; the operating system's.
    pub fn make(&self, data: Data, dataset: Unwritten) -> Result<Vec<(String, Counts)>> {
        interrupt::check()?;
        let path = self.manifest(data);
        let folder = path.parent().unwrap_or(&self.0);
        files::remove_left_over(folder);
        if path.is_file() {
            let rows = |manifest: &Manifest| -> Vec<_> {
                manifest.rows.iter().map(|row| (row.patient.clone(), row.label.clone(), row.side, row.transform)).collect()
            };
            if rows(&Manifest::read_known(&path)?) != rows(dataset.manifest()) {
                let problem = "is not what this study makes of its archive: it may be of another number of folds";
                return Err(Error::file(&path, problem, "give the options that it was made with, or another output folder"));
            }
        } else {
            match dataset {
                Unwritten::Dataset(dataset) => drop(dataset.write(folder)?),
                Unwritten::Fold(manifest) => {
                    files::create_folder(folder)?;
                    manifest.moved_to(&path)?.write()?;
                }
            }
        }
        if data.kind().is_some() {
            return Ok(datasets::check(folder)?.counts);
        }
        let written = Manifest::read_known(&path)?;
        Split::of_sides(&written).unwrap_or_default().check(&written)?;
        Ok(datasets::counts(&written))
    }

    /// The trainings that are not done, in the plan's order. One that was done and whose model was deleted is
    /// among them where the model is needed: for the page's cases, or by a training that begins with it.
    ///
    /// # Errors
    /// A file that says so and cannot be read.
    pub fn open<'p>(&self, plan: &'p Plan) -> Result<Vec<&'p Training>> {
        let mut needed = WITH_CASES.map(str::to_owned).to_vec();
        let mut open = Vec::new();
        // What a training begins with comes before it.
        for training in plan.trainings.iter().rev() {
            let lacks_model = needed.contains(&training.name()) && !self.run(training).join(RunFolder::MODEL).is_file();
            if lacks_model || !self.is_done(training)? {
                needed.extend(training.begins_with().map(|first| first.name()));
                open.push(training);
            }
        }
        open.reverse();
        Ok(open)
    }

    /// Whether a training is over and tested: its results are there, of the model that is there, or that was there and was deleted.
    ///
    /// # Errors
    /// A file that says so and cannot be read.
    pub fn is_done(&self, training: &Training) -> Result<bool> {
        interrupt::check()?;
        let run = self.run(training);
        if !run.join(TESTED).is_file() {
            return Ok(false);
        }
        let tested = Tested::read(&run)?;
        let model = run.join(RunFolder::MODEL);
        let is_of_the_model = !model.exists() || tested.model_sha256 == sha256_of(&model)?;
        // What the study's page is made of, and the training's own page where the model is there to make it anew.
        let report = model.exists().then_some(RunFolder::REPORT);
        let results = [RunFolder::SCORES, RunFolder::PATIENTS].into_iter().chain(report);
        let whole = |folder: &Path| results.clone().all(|name| folder.join(name).is_file());
        let is_tested = whole(&run) && whole(&run.join(UNAUGMENTED)) && run.join(RunFolder::METRICS).is_file();
        Ok(is_tested && is_of_the_model && self.began_with_what_is_there(training)?)
    }

    /// Whether a run, if it began with the network of another, began with the one that is there now, or that was there and was deleted.
    ///
    /// # Errors
    /// A file that says so and cannot be read.
    pub fn began_with_what_is_there(&self, training: &Training) -> Result<bool> {
        let Some(first) = training.begins_with().map(|first| self.run(&first)) else { return Ok(true) };
        let config = self.run(training).join(RunFolder::CONFIG);
        if !config.is_file() {
            return Ok(false);
        }
        let weights = match (first.join(RunFolder::MODEL), first.join(TESTED)) {
            (model, _) if model.is_file() => Model::load(model)?.weights_hash(),
            (_, tested) if tested.is_file() => Tested::read(&first)?.weights_sha256,
            _ => return Ok(false),
        };
        Ok(Settings::resolve(Some(&config), toml::Table::new())?.init_weights == weights)
    }

    /// The instruction set of a training that is done; empty where that was not kept.
    ///
    /// # Errors
    /// It is not done.
    pub fn isa(&self, training: &Training) -> Result<String> {
        Ok(Tested::read(&self.run(training))?.isa)
    }

    /// Marks a training as done, when all of its results are there.
    ///
    /// # Errors
    /// Its model or record cannot be read; the operating system's.
    pub fn mark_tested(&self, training: &Training) -> Result<()> {
        let run = self.run(training);
        Tested::of(&run)?.write(&run)
    }

    /// Takes the mark away: what results there are will not be of the network that comes.
    ///
    /// # Errors
    /// The operating system's.
    pub fn unmark(&self, training: &Training) -> Result<()> {
        remove_those_there(&[self.run(training).join(TESTED)])
    }

    /// Removes all that a training could go on from.
    ///
    /// # Errors
    /// The operating system's.
    pub fn remove_checkpoints(&self, training: &Training) -> Result<()> {
        let run = self.run(training);
        remove_those_there(&[RunFolder::CHECKPOINT, RunFolder::PREVIOUS_CHECKPOINT].map(|name| run.join(name)))
    }

    /// Refuses a run that was trained in another way than it would be now.
    ///
    /// # Errors
    /// One sentence with the first setting that differs.
    pub fn refuse_other(&self, training: &Training, options: &Options) -> Result<()> {
        let path = self.run(training).join(RunFolder::CONFIG);
        if !path.exists() {
            return Ok(());
        }
        let table = |settings: &Settings| -> toml::Table {
            let mut table = toml::Table::try_from(settings).unwrap_or_default();
            Settings::WITHOUT_EFFECT.iter().for_each(|key| drop(table.remove(*key)));
            // Known only when the run begins, and looked at when it is asked whether it is done.
            table.remove("init_weights");
            table
        };
        let there = table(&Settings::resolve(Some(&path), toml::Table::new())?);
        let own = table(&training.settings(options));
        match own.iter().find(|(key, value)| there.get(*key) != Some(value)) {
            None => Ok(()),
            Some((key, value)) => {
                let other = there.get(key).map_or("nothing".to_owned(), ToString::to_string);
                let problem = format!("is of a run with {key} = {other}, where this study has {value}");
                Err(Error::file(&path, problem, "give the options that it was begun with, or another output folder"))
            }
        }
    }
}

/// A dataset or a fold in memory.
pub enum Unwritten {
    /// One of the paper's.
    Dataset(datasets::Dataset),
    /// A fold of a cross-validation.
    Fold(Manifest),
}

impl Unwritten {
    /// Its images.
    pub fn manifest(&self) -> &Manifest {
        match self {
            Unwritten::Dataset(dataset) => &dataset.manifest,
            Unwritten::Fold(manifest) => manifest,
        }
    }
}

/// All that the trainings of a plan are of.
///
/// # Errors
/// An archive that cannot be divided so.
pub fn unwritten(plan: &Plan, source: &Manifest, options: &Options) -> Result<Vec<(Data, Unwritten)>> {
    let of = |data: Data| match (data, data.kind()) {
        (_, Some((kind, merge_metastatic))) => {
            let made = DatasetOptions { seed: options.seed, merge_metastatic, ..DatasetOptions::default() };
            Ok((data, Unwritten::Dataset(datasets::build(kind, source, &made)?)))
        }
        (Data::Fold(fold), _) => {
            let folds = split::folds(source, options.folds, options.seed)?;
            Ok((data, Unwritten::Fold(folds[fold].with_sides(source)?)))
        }
        _ => unreachable!("all but folds have a kind"),
    };
    plan.data().into_iter().map(of).collect()
}

/// What [`TESTED`] says of the network that a training's results are of.
#[derive(Serialize, Deserialize)]
struct Tested {
    /// Of the model file.
    model_sha256: String,
    /// Of its weights, by which a training names the network that it began with.
    #[serde(default)]
    weights_sha256: String,
    /// The instruction set that it was trained with, the last where there were several. Empty in files from before it was kept.
    #[serde(default)]
    isa: String,
}

impl Tested {
    /// Of the run in a folder.
    fn of(run: &Path) -> Result<Self> {
        let model = run.join(RunFolder::MODEL);
        let weights_sha256 = Model::load(&model)?.weights_hash();
        Ok(Tested { model_sha256: sha256_of(&model)?, weights_sha256, isa: RunRecord::read(run)?.isa })
    }

    fn read(run: &Path) -> Result<Self> {
        let path = run.join(TESTED);
        let damaged = |error: toml::de::Error| {
            Error::file(&path, format!("is damaged: {}", error.message()), "delete it: the training is tested anew")
        };
        toml::from_str(&String::from_utf8_lossy(&files::read_at_most(&path, 1 << 10)?)).map_err(damaged)
    }

    fn write(&self, run: &Path) -> Result<()> {
        let text = toml::to_string(self).expect("three texts");
        files::write(run.join(TESTED), text.as_bytes())
    }
}

fn sha256_of(path: &Path) -> Result<String> {
    Ok(files::sha256(&files::read(path)?))
}

fn remove_those_there(files: &[PathBuf]) -> Result<()> {
    let mut there = files.iter().filter(|path| path.exists());
    there.try_for_each(|path| fs::remove_file(path).map_err(|error| Error::io(path, "removed", &error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::By;

    /// The last file that testing writes decides, and only for the model that it names.
    #[test]
    fn a_training_is_done_when_its_last_file_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let training = Training { data: Data::D3, architecture: "inrac", repetition: 0, by: By::Study };
        let study = StudyFolder::new(folder.path());
        let run = study.run(&training);
        let is_done = || study.is_done(&training).unwrap();
        files::create_folder(run.join(UNAUGMENTED)).unwrap();
        assert!(!is_done());
        for name in [RunFolder::MODEL, RunFolder::METRICS, RunFolder::SCORES, RunFolder::PATIENTS, RunFolder::REPORT] {
            files::write(run.join(name), b"1").unwrap();
            files::write(run.join(UNAUGMENTED).join(name), b"1").unwrap();
        }
        assert!(!is_done(), "killed after its last result, before its mark");
        let model_sha256 = sha256_of(&run.join(RunFolder::MODEL)).unwrap();
        Tested { model_sha256, weights_sha256: String::new(), isa: String::new() }.write(&run).unwrap();
        assert!(is_done());
        files::write(run.join(RunFolder::MODEL), b"2").unwrap();
        assert!(!is_done(), "the model is another");

        let plan = Plan { trainings: vec![training.clone(), Training { repetition: 1, ..training.clone() }] };
        let open = || study.open(&plan).unwrap().len();
        assert_eq!(open(), 2);
        fs::remove_file(run.join(RunFolder::MODEL)).unwrap();
        assert!(is_done() && open() == 2, "its results are there, and of this one the page shows cases");
        fs::rename(&run, study.run(&plan.trainings[1])).unwrap();
        assert_eq!(open(), 1, "of the other it shows none");
        fs::remove_file(study.run(&plan.trainings[1]).join(UNAUGMENTED).join(RunFolder::PATIENTS)).unwrap();
        assert_eq!(open(), 2, "a result is gone");
    }
}
