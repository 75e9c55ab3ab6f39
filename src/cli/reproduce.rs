//! `osteon reproduce`: the paper's whole study, in one folder and on one page.

use super::evaluate::{Job, Side};
use super::numbers::{count, seed};
use super::terminal::{Progress, Terminal};
use super::{interrupt, phantom};
use crate::annotation::{self, lesions};
use crate::archive::datasets::{self, Counts};
use crate::archive::manifest::Manifest;
use crate::archive::people;
use crate::archive::split::{self, Split};
use crate::metrics::Scores;
use crate::phantom as simulator;
use crate::prepare::{Preprocessing, views};
use crate::reproduce::{
    self,
    page::{self, Outcome, Reproduction},
};
use crate::reproduce::{Data, Options, Plan, Scale, Speed, Training, speeds};
use crate::text::Shown;
use crate::train::{self, Event, Recipe, RunFolder, Settings, Start};
use crate::{Error, Result, files, report};
use osteon_kernels::par;
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Repeat the paper's whole study and write one page with its tables and figures beside the paper's.
///
/// Every network is trained and tested as `osteon train` and `osteon evaluate` do, in a folder of its own under OUTPUT/runs. A study
/// that was interrupted goes on where it stopped when the same command is given again; more seeds or folds add trainings to it.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  osteon reproduce --scale smoke --output study\n  osteon reproduce --scale quarter --seeds 3 --output study\n  \
                  osteon reproduce --scale full --data hospital.csv --folds 5 --output study"
)]
pub struct Reproduce {
    /// smoke (minutes; the scores mean nothing), quarter (256x64, hours) or full (1024x256, as the paper: days).
    #[arg(long, value_name = "SCALE", default_value = "quarter")]
    scale: Scale,
    /// The manifest of an archive, instead of phantoms.
    #[arg(long, value_name = "MANIFEST")]
    data: Option<PathBuf>,
    /// The study's folder.
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
    /// Seed of phantoms, datasets and networks, from 0 to 2^63 - 1.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seed())]
    seed: u64,
    /// How often the networks of Tables 4, 6 and 10 are trained, each time with other first weights, from 1 to 100.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(1..=Options::MOST_SEEDS))]
    seeds: usize,
    /// Folds of a cross-validation by patient, from 2 to 100; 0: none.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = count(0..=Options::MOST_FOLDS))]
    folds: usize,
    /// The training's recipe: paper or osteon.
    #[arg(long, value_name = "NAME", default_value = "paper", value_parser = ["paper", "osteon"])]
    recipe: String,
    /// Passes over the training images, from 1 to 1000000 [default: 2, 36 or 300 by the scale].
    #[arg(long, value_name = "N", value_parser = count(1..=Settings::MOST_EPOCHS))]
    epochs: Option<usize>,
    /// Go on also with a training that was begun with another instruction set or another build of osteon.
    #[arg(long)]
    allow_other_isa: bool,
    /// Print what would be trained and how long it takes, and end.
    #[arg(long)]
    plan: bool,
}

impl Reproduce {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        interrupt::watch()?;
        let options = self.options()?;
        options.check()?;
        files::create_folder(&self.output)?;
        let _held = files::hold_folder(&self.output)?;
        options.check_folder(&self.output)?;

        let source = self.source(terminal, &options)?.with_frames_named()?;
        let plan = Plan::new(&options);
        let folder = Folder(&self.output);
        // All that can be wrong with the archive is said before any training starts.
        let counts =
            plan.data().into_iter().map(|data| Ok((data, folder.make(data, &source, &options)?))).collect::<Result<Vec<_>>>()?;
        let sides: BTreeMap<Data, [usize; 2]> = counts.iter().map(|(data, counts)| (*data, sum(counts))).collect();
        for training in &plan.trainings {
            folder.refuse_other(training, &options)?;
        }
        options.write(&self.output)?;

        let open: Vec<&Training> = plan.trainings.iter().filter(|training| !folder.is_done(training)).collect();
        terminal.note(format_args!(
            "{} trainings of {} epochs, {} of them done",
            plan.trainings.len(),
            options.epochs,
            plan.trainings.len() - open.len()
        ));
        let estimate =
            if open.is_empty() { None } else { Some(Estimate::new(terminal, (&plan, &open), &options, &sides, &self.output)?) };
        if self.plan {
            return Ok(());
        }
        if let Some(estimate) = estimate {
            let resume = Start::Resume { allow_other_isa: self.allow_other_isa };
            train_all(terminal, &folder, &open, &options, &sides, &estimate, resume).map_err(|error| match error {
                Error::Interrupted { .. } => Error::Interrupted { kept: "the same command goes on from here".to_owned() },
                other => other,
            })?;
        }

        terminal.note("The page");
        let page = self.reproduction(&source, &plan, &options, counts)?.write(&self.output)?;
        terminal.line(page.shown())
    }

    fn options(&self) -> Result<Options> {
        let data = self
            .data
            .as_ref()
            .map(|path| std::path::absolute(path).map_err(|error| Error::io(path, "found", &error)))
            .transpose()?;
        let data_sha256 = data.as_ref().map(|path| Ok::<_, Error>(files::sha256(&files::read(path)?))).transpose()?;
        let recipe = if self.recipe == "osteon" { Recipe::Osteon } else { Recipe::Paper };
        let epochs = self.epochs.unwrap_or(self.scale.epochs());
        Ok(Options {
            scale: self.scale,
            data,
            data_sha256,
            seed: self.seed,
            seeds: self.seeds,
            folds: self.folds,
            recipe,
            epochs,
        })
    }

    /// The archive: a hospital's, or phantoms that are made where they are not there yet.
    fn source(&self, terminal: &Terminal, options: &Options) -> Result<Manifest> {
        if let Some(data) = &options.data {
            return Manifest::read(data);
        }
        let folder = self.output.join("phantoms");
        let manifest = folder.join("manifest.csv");
        // A study without a record was not begun, and its phantoms may be of other options, or not all there.
        if !self.output.join(reproduce::OPTIONS_FILE).exists() {
            let phantoms = options.scale.phantoms(options.seed);
            phantom::write(terminal, &phantoms, &folder, true)?;
            simulator::annotate(&phantoms, &folder)?;
        }
        Manifest::read(manifest)
    }

    /// What the page is made of.
    fn reproduction(
        &self,
        source: &Manifest,
        plan: &Plan,
        options: &Options,
        counts: Vec<(Data, Vec<(String, Counts)>)>,
    ) -> Result<Reproduction> {
        let folder = Folder(&self.output);
        let outcome = |training: &Training| -> Result<(String, Outcome)> {
            let run = folder.run(training);
            let scores = |folder: &Path| -> Result<Scores> { report::read_scores(folder.join(RunFolder::SCORES)) };
            let outcome = Outcome {
                scores: scores(&run)?,
                unaugmented: scores(&run.join(UNAUGMENTED))?,
                predictions: report::read_patients(&run)?,
            };
            Ok((training.name(), outcome))
        };
        let evaluation = |name: &str| -> Result<report::Evaluation> {
            Job::test(&folder.0.join(RUNS).join(name))?.evaluate(&Terminal::silent())
        };
        let annotated =
            source.rows.iter().map(annotation::beside).collect::<Result<Vec<_>>>()?.iter().any(|beside| !beside.is_empty());
        let studies = source.study_counts(0..source.rows.len());
        let lesions = match annotated {
            true => Some(lesions::report(
                &lesions::measure(source, &lesions::MeasureOptions::default())?,
                studies,
                self.output.join("lesions"),
            )?),
            false => None,
        };
        let mut command = format!("osteon reproduce --scale {} --seed {} --seeds {}", options.scale, options.seed, options.seeds);
        command += &format!(" --folds {} --recipe {} --epochs {} --output STUDY", options.folds, options.recipe, options.epochs);
        if options.data.is_some() {
            command += " --data MANIFEST";
        }
        Ok(Reproduction {
            options: options.clone(),
            command,
            studies,
            counts: counts.into_iter().filter(|(data, _)| data.kind().is_some()).collect(),
            demographics: people::demographics(source)?,
            lesions,
            outcomes: plan.trainings.iter().map(outcome).collect::<Result<_>>()?,
            main: evaluation(page::MAIN)?,
            two_classes: evaluation(page::TWO_CLASSES)?,
        })
    }
}

/// The folder of the trainings' folders.
const RUNS: &str = "runs";
/// In a run's folder, its evaluation without copies.
const UNAUGMENTED: &str = "unaugmented";

/// Training and test images of all classes.
fn sum(counts: &[(String, Counts)]) -> [usize; 2] {
    counts.iter().fold([0; 2], |[train, test], (_, counts)| [train + counts.train, test + counts.test])
}

/// A study's folder.
struct Folder<'a>(&'a Path);

impl Folder<'_> {
    fn run(&self, training: &Training) -> PathBuf {
        self.0.join(RUNS).join(training.name())
    }

    fn manifest(&self, data: Data) -> PathBuf {
        self.0.join("datasets").join(data.name()).join(datasets::MANIFEST)
    }

    /// Makes a dataset, proves that it does not leak, and counts its images.
    fn make(&self, data: Data, source: &Manifest, options: &Options) -> Result<Vec<(String, Counts)>> {
        let path = self.manifest(data);
        let folder = path.parent().unwrap_or(self.0);
        if let Some((kind, merge_metastatic)) = data.kind() {
            let made = datasets::DatasetOptions { seed: options.seed, merge_metastatic, ..datasets::DatasetOptions::default() };
            datasets::build(kind, source, &made)?.write(folder)?;
            return Ok(datasets::check(folder)?.counts);
        }
        let Data::Fold(fold) = data else { return Ok(Vec::new()) };
        let folds = split::folds(source, options.folds, options.seed)?;
        files::create_folder(folder)?;
        let manifest = folds[fold].with_sides(source)?.moved_to(&path)?;
        manifest.write()?;
        let written = Manifest::read(&path)?;
        Split::of_sides(&written).unwrap_or_default().check(&written)?;
        Ok(datasets::counts(&written))
    }

    /// Whether a training is over and tested.
    fn is_done(&self, training: &Training) -> bool {
        let run = self.run(training);
        [run.join(RunFolder::SCORES), run.join(UNAUGMENTED).join(RunFolder::SCORES)].iter().all(|file| file.is_file())
    }

    /// Refuses a run that was trained in another way than it would be now.
    fn refuse_other(&self, training: &Training, options: &Options) -> Result<()> {
        let path = self.run(training).join(RunFolder::CONFIG);
        if !path.exists() {
            return Ok(());
        }
        let table = |settings: &Settings| -> toml::Table {
            let mut table = toml::Table::try_from(settings).unwrap_or_default();
            Settings::WITHOUT_EFFECT.iter().for_each(|key| drop(table.remove(*key)));
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

/// Studies that are read to see how long that takes.
const STUDIES_TO_TIME: usize = 16;

/// How long the trainings take that are not done.
struct Estimate {
    speeds: BTreeMap<&'static str, Speed>,
    /// Seconds in which a study is read and fused, which the first epoch does, while all cores train.
    study: f64,
}

impl Estimate {
    /// Measures every architecture and says what comes.
    fn new(
        terminal: &Terminal,
        (plan, open): (&Plan, &[&Training]),
        options: &Options,
        sides: &BTreeMap<Data, [usize; 2]>,
        folder: &Path,
    ) -> Result<Self> {
        let first = open.first().map_or(Data::D3, |training| training.data);
        let rows = Manifest::read(Folder(folder).manifest(first))?.rows;
        let rows = &rows[..rows.len().min(STUDIES_TO_TIME)];
        let start = Instant::now();
        for row in rows {
            views::fuse(&row.read()?, &Preprocessing::default())?;
        }
        let study = start.elapsed().as_secs_f64() / (rows.len() * par::workers()) as f64;
        let estimate = Estimate { speeds: speeds(plan, options, folder)?, study };
        let seconds = |training: &Training| {
            let images = sides[&training.data];
            estimate.speeds[training.architecture].training(images, &training.settings(options))
                + estimate.study * (images[0] + images[1]) as f64
        };
        for training in open {
            let [train, test] = sides[&training.data];
            let name = training.name();
            let time = duration(seconds(training));
            terminal.note(format_args!("  {name:40} {train:>5} training images, {test:>4} test images, about {time}"));
        }
        let all = open.iter().map(|training| seconds(training)).sum();
        terminal.note(format_args!("Estimated time: {}", duration(all)));
        Ok(estimate)
    }
}

/// `2 h 05 min`, `3 min 20 s`.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Trains and tests what is not done, under one line of progress.
fn train_all(
    terminal: &Terminal,
    folder: &Folder,
    open: &[&Training],
    options: &Options,
    sides: &BTreeMap<Data, [usize; 2]>,
    estimate: &Estimate,
    resume: Start,
) -> Result<()> {
    let steps = |training: &Training| options.epochs * sides[&training.data][0].div_ceil(training.settings(options).batch);
    let progress = terminal.progress("steps", open.iter().map(|training| steps(training)).sum());
    let mut before = 0;
    for (at, training) in open.iter().enumerate() {
        let title = format!("{} of {}, {}", at + 1, open.len(), training.name());
        let images = sides[&training.data][0];
        let expected = estimate.speeds[training.architecture].epoch(images, &training.settings(options));
        let expected = expected + estimate.study * images as f64;
        let start = Instant::now();
        train_one(folder, training, options, resume, &progress, (before, &title, expected, at == 0))?;
        test_one(folder, training)?;
        before += steps(training);
        progress.note(format_args!("{title}: done in {}", duration(start.elapsed().as_secs_f64())));
    }
    progress.finish(format_args!("{} trainings done", open.len()));
    Ok(())
}

/// Trains one network, from its checkpoint where it was interrupted.
fn train_one(
    folder: &Folder,
    training: &Training,
    options: &Options,
    resume: Start,
    progress: &Progress,
    (before, title, expected, is_first): (usize, &str, f64, bool),
) -> Result<()> {
    let run = folder.run(training);
    let has_checkpoint = [RunFolder::CHECKPOINT, RunFolder::PREVIOUS_CHECKPOINT].iter().any(|name| run.join(name).is_file());
    let (run_folder, start) = match has_checkpoint {
        true => (RunFolder::resume(&run)?, resume),
        false => (RunFolder::create(&run, true)?, Start::New),
    };
    let manifest = Manifest::read(folder.manifest(training.data))?;
    let settings = training.settings(options);
    train::run(&manifest, &settings, &run_folder, start, &mut |event| {
        match event {
            Event::Step { done, epoch, loss } => {
                progress.set(before + done, format_args!("{title}, epoch {epoch} of {}, loss {loss:.4}", settings.epochs));
            }
            Event::Skipped { done, problem, .. } => {
                progress.set(before + done, title);
                progress.note(format_args!("left out: {problem}"));
            }
            Event::Resumed { steps, epoch, problem, .. } => {
                if let Some(problem) = problem {
                    progress.note(format_args!("the newest checkpoint is not used: {problem}"));
                }
                progress.note(format_args!("{title}: going on after step {steps} of epoch {epoch}"));
            }
            Event::Epoch(epoch) if is_first && epoch.epoch == 1 => {
                let took = epoch.train_seconds;
                progress.note(format_args!("the first epoch took {took:.1} s, estimated {expected:.1} s"));
            }
            Event::Ready { .. } | Event::Test { .. } | Event::Epoch(_) => {}
        }
        if interrupt::pressed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(())
}

/// Tests one network, with and without copies, and removes the checkpoints that it no longer needs.
fn test_one(folder: &Folder, training: &Training) -> Result<()> {
    let run = folder.run(training);
    let terminal = Terminal::silent();
    for (unaugmented, output) in [(true, run.join(UNAUGMENTED)), (false, run.clone())] {
        let job = Job::open(&run, None, Side::Test, unaugmented)?;
        report::write_evaluation(&job.evaluate(&terminal)?, output)?;
    }
    for name in [RunFolder::CHECKPOINT, RunFolder::PREVIOUS_CHECKPOINT] {
        let path = run.join(name);
        if path.exists() {
            fs::remove_file(&path).map_err(|error| Error::io(&path, "removed", &error))?;
        }
    }
    Ok(())
}
