//! `osteon reproduce`: the paper's whole study, in one folder and on one page.

use super::evaluate::{Job, Side};
use super::networks::Together;
use super::numbers::{count, seed};
use super::phantom;
use super::preflight::Preflight;
use super::table::TableFlags;
use super::terminal::{Progress, Terminal};
use super::train::exploding;
use crate::annotation::{self, lesions};
use crate::archive::datasets::{self, Counts};
use crate::archive::manifest::Manifest;
use crate::archive::people;
use crate::intake::Study;
use crate::metrics::{Epoch, Scores};
use crate::phantom::{self as simulator, Phantom, PhantomOptions, SimulatorVersion};
use crate::prepare::{Preprocessing, views};
use crate::reproduce::folder::{StudyFolder, unwritten};
use crate::reproduce::page::{self, Outcome, Reproduction};
use crate::reproduce::{Data, Options, Plan, Scale, Speed, Training, images_in_training, speeds};
use crate::text::{Shown, counted};
use crate::train::{self, Event, Recipe, RunFolder, Settings, Start};
use crate::{Error, Result, files, interrupt, report};
use osteon_kernels::par;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Repeat the paper's whole study and write one page with its tables and figures beside the paper's.
///
/// Every network is trained and tested as `osteon train` and `osteon evaluate` do, in a folder of its own under OUTPUT/runs. A study
/// that was interrupted or killed goes on where it stopped when the same command is given again; more seeds or folds and
/// --paper-recipe add trainings to it. A folder that has something else in it is refused.
///
/// A study may be spread over machines or days: --only trains a part, and OUTPUT/runs of several can be copied together. Of a
/// training that is done, its model can be deleted: its results stay, but d3-inrac and d3-two-classes-inrac, of which the page shows
/// cases, are trained anew.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  osteon reproduce --scale smoke --output study\n  osteon reproduce --scale quarter --paper-recipe --output study\n  \
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
    /// The simulator of the phantoms, from 1 to 2.
    #[arg(long, value_name = "N", default_value_t, conflicts_with = "data")]
    simulator: SimulatorVersion,
    /// How often every network is trained, each time with other first weights, from 1 to 100.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = count(1..=Options::MOST_SEEDS))]
    seeds: usize,
    /// Folds of a cross-validation by patient, from 2 to 100; 0: none.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = count(0..=Options::MOST_FOLDS))]
    folds: usize,
    /// The training's recipe: paper or osteon.
    #[arg(long, value_name = "NAME", default_value = "osteon", value_parser = ["paper", "osteon"])]
    recipe: String,
    /// Passes over the training images, from 1 to 1000000 [default: 30, at the scale smoke 2; of the recipe paper 300].
    #[arg(long, value_name = "N", value_parser = count(1..=Settings::MOST_EPOCHS))]
    epochs: Option<usize>,
    /// Train inRAC on D3 also by the paper's recipe to its end, and show it as it is and with precise batch normalisation.
    #[arg(long)]
    paper_recipe: bool,
    /// Of the trainings, as --plan lists them, do these alone; the page is made once all are done.
    #[arg(long, value_name = "TRAINING,...", value_delimiter = ',')]
    only: Vec<String>,
    /// Go on also with a training that was begun with another instruction set or another build of osteon.
    #[arg(long)]
    allow_other_isa: bool,
    /// Print what would be trained and how long it takes, and end. Writes nothing.
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    table: TableFlags,
    #[command(flatten)]
    preflight: Preflight,
}

impl Reproduce {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let options = self.options()?;
        options.check()?;
        options.check_folder(&self.output)?;
        let plan = Plan::new(&options);
        let folder = StudyFolder::new(&self.output);
        self.check_only(&plan)?;
        for training in &plan.trainings {
            folder.refuse_other(training, &options)?;
        }
        if self.plan {
            return self.print_plan(terminal, &folder, &plan, &options);
        }
        self.study(terminal, &folder, &plan, &options).map_err(|error| match error {
            Error::Interrupted { .. } => Error::Interrupted { kept: "the same command goes on from here".to_owned() },
            other => other,
        })
    }

    /// What would be trained, and how long it takes, from what can be known without making anything.
    fn print_plan(&self, terminal: &Terminal, folder: &StudyFolder, plan: &Plan, options: &Options) -> Result<()> {
        let source = self.source(terminal, options)?;
        let datasets = unwritten(plan, &source, options)?;
        let sides = datasets.iter().map(|(data, dataset)| (*data, sum(&datasets::counts(dataset.manifest())))).collect();
        let open = self.chosen(&self.open(terminal, folder, plan, options)?);
        if !open.is_empty() {
            let study = match options.data {
                Some(_) => seconds_a_study(&source)?,
                None => seconds_a_phantom(&options.scale.phantoms(options.seed, options.simulator))?,
            };
            Estimate::new(terminal, &open, options, &sides, study, None)?;
        }
        Ok(())
    }

    /// The whole study, or what is left of it. Whatever moment a process dies at, the next one goes on from there: the record of the
    /// options comes first, and of phantoms, datasets and trainings each has one file that is written last and stands for all of it.
    fn study(&self, terminal: &Terminal, folder: &StudyFolder, plan: &Plan, options: &Options) -> Result<()> {
        // All that can be wrong with archive and options is said before anything is made.
        let source = self.source(terminal, options)?;
        let datasets = unwritten(plan, &source, options)?;
        files::create_folder(&self.output)?;
        let _held = files::hold_folder(&self.output)?;
        options.check_folder(&self.output)?;
        options.write(&self.output)?;

        if options.data.is_none() {
            self.make_phantoms(terminal, options)?;
        }
        let make = |(data, dataset)| Ok((data, folder.make(data, dataset)?));
        let counts = datasets.into_iter().map(make).collect::<Result<Vec<_>>>()?;
        let sides: BTreeMap<Data, [usize; 2]> = counts.iter().map(|(data, counts)| (*data, sum(counts))).collect();

        let all_open = self.open(terminal, folder, plan, options)?;
        let open = self.chosen(&all_open);
        if !open.is_empty() {
            let study = seconds_a_study(&source)?;
            let estimate = Estimate::new(terminal, &open, options, &sides, study, Some(&self.output))?;
            let resume = Start::Resume { allow_other_isa: self.allow_other_isa };
            train_all(terminal, folder, &open, options, &sides, &estimate, resume)?;
        }
        // Those of a training whose process died when all else was done.
        plan.trainings.iter().try_for_each(|training| folder.remove_checkpoints(training))?;
        if open.len() < all_open.len() {
            let left = counted(all_open.len() - open.len(), "training");
            terminal.note(format_args!(
                "{left} of the study left: the page is made when all are done, by the same command without --only"
            ));
            return terminal.line(folder.runs().shown());
        }

        terminal.note("The page");
        let page = self.reproduction(terminal, &source, plan, options, counts)?.write(&self.output)?;
        terminal.line(page.shown())
    }

    fn options(&self) -> Result<Options> {
        let data = self
            .data
            .as_ref()
            .map(|path| std::path::absolute(path).map_err(|error| Error::io(path, "found", &error)))
            .transpose()?;
        let data_sha256 = data.as_ref().map(|path| Ok::<_, Error>(files::sha256(&files::read(path)?))).transpose()?;
        if self.data.is_none() && !self.table.is_empty() {
            let problem = "--column and --class are about the manifest of --data, and phantoms need neither";
            return Err(Error::setting(problem, "give --data, or leave them out"));
        }
        let recipe = if self.recipe == "osteon" { Recipe::Osteon } else { Recipe::Paper };
        let epochs = self.epochs.unwrap_or(self.scale.epochs(recipe));
        Ok(Options {
            scale: self.scale,
            data,
            data_sha256,
            columns: self.table.columns()?.unwrap_or_default(),
            trust_scans: self.preflight.trust_scans,
            // An archive has no simulator, and a study of one records none.
            simulator: if self.data.is_some() { SimulatorVersion::One } else { self.simulator },
            seed: self.seed,
            seeds: self.seeds,
            folds: self.folds,
            paper_recipe: self.paper_recipe,
            recipe,
            epochs,
        })
    }

    /// The trainings that are not done; says how many there are.
    fn open<'p>(
        &self,
        terminal: &Terminal,
        folder: &StudyFolder,
        plan: &'p Plan,
        options: &Options,
    ) -> Result<Vec<&'p Training>> {
        let open = folder.open(plan)?;
        let (all, epochs) = (counted(plan.trainings.len(), "training"), counted(options.epochs, "epoch"));
        terminal.note(format_args!("{all} of {epochs}, {} of them done", plan.trainings.len() - open.len()));
        Ok(open)
    }

    /// Refuses names that no training of the plan has.
    fn check_only(&self, plan: &Plan) -> Result<()> {
        let names: Vec<String> = plan.trainings.iter().map(Training::name).collect();
        match self.only.iter().find(|name| !names.contains(name)) {
            None => Ok(()),
            Some(name) => {
                let problem = format!("--only names `{}`, and no training of this study is called that", name.shown());
                Err(Error::setting(problem, "choose from what --plan lists"))
            }
        }
    }

    /// Those that `--only` names, and what they begin with; all without it.
    fn chosen<'p>(&self, open: &[&'p Training]) -> Vec<&'p Training> {
        let named = |training: &Training| self.only.is_empty() || self.only.contains(&training.name());
        let begun: Vec<Training> =
            open.iter().filter(|training| named(training)).filter_map(|training| training.begins_with()).collect();
        open.iter().copied().filter(|training| named(training) || begun.contains(training)).collect()
    }

    /// The archive, with the frame of every view named: a hospital's, or the phantoms, which may not be there yet.
    fn source(&self, terminal: &Terminal, options: &Options) -> Result<Manifest> {
        let Some(data) = &options.data else {
            let text = simulator::manifest(&options.scale.phantoms(options.seed, options.simulator));
            return Manifest::from_bytes(StudyFolder::new(&self.output).phantoms().join(datasets::MANIFEST), text.as_bytes());
        };
        self.preflight.read(terminal, data, &self.table.options()?, &self.output)?.with_frames_named()
    }

    /// Makes the phantoms and what physicians would add to them, where they are not there.
    fn make_phantoms(&self, terminal: &Terminal, options: &Options) -> Result<()> {
        let (folder, phantoms) =
            (StudyFolder::new(&self.output).phantoms(), options.scale.phantoms(options.seed, options.simulator));
        // A process that died when all was in its place has left the folder that it came from.
        files::remove_left_over(&folder);
        if !folder.join(datasets::MANIFEST).is_file() {
            phantom::write(terminal, &phantoms, files::Output::replacing(&folder), true)?;
        }
        Ok(())
    }

    /// What the page is made of.
    fn reproduction(
        &self,
        terminal: &Terminal,
        source: &Manifest,
        plan: &Plan,
        options: &Options,
        counts: Vec<(Data, Vec<(String, Counts)>)>,
    ) -> Result<Reproduction> {
        let folder = StudyFolder::new(&self.output);
        let outcome = |training: &Training| -> Result<(String, Outcome)> {
            let run = folder.run(training);
            let scores = |folder: &Path| -> Result<Scores> { report::read_scores(folder.join(RunFolder::SCORES)) };
            let history = Epoch::read_all(&run.join(RunFolder::METRICS))?;
            let outcome = Outcome {
                scores: scores(&run)?,
                unaugmented: scores(&folder.unaugmented(training))?,
                predictions: report::read_patients(&run)?,
                isa: folder.isa(training)?,
                chosen: Epoch::chosen(&history, training.settings(options).choose_by),
                history,
            };
            Ok((training.name(), outcome))
        };
        let evaluation =
            |name: &str| -> Result<report::Evaluation> { Job::test(&folder.runs().join(name))?.evaluate(&Terminal::silent()) };
        let annotated =
            source.rows.iter().map(annotation::beside).collect::<Result<Vec<_>>>()?.iter().any(|beside| !beside.is_empty());
        let studies = source.study_counts(0..source.rows.len());
        let lesions = match annotated {
            true => {
                let measured = lesions::measure(source, &lesions::MeasureOptions::default())?;
                measured.notes.iter().for_each(|note| terminal.note(note));
                Some(lesions::report(&measured.lesions, studies, self.output.join("lesions"))?)
            }
            false => None,
        };
        let mut command = format!("osteon reproduce --scale {} --seed {} --seeds {}", options.scale, options.seed, options.seeds);
        command += &format!(" --folds {} --recipe {} --epochs {} --output STUDY", options.folds, options.recipe, options.epochs);
        if options.paper_recipe {
            command += " --paper-recipe";
        }
        if options.data.is_none() {
            command += &format!(" --simulator {}", options.simulator);
        } else {
            command += &format!(" --data MANIFEST{}", self.table.words());
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

/// Training and test images of all classes.
fn sum(counts: &[(String, Counts)]) -> [usize; 2] {
    counts.iter().fold([0; 2], |[train, test], (_, counts)| [train + counts.train, test + counts.test])
}

/// Studies that are read to see how long that takes.
const STUDIES_TO_TIME: usize = 16;

/// Seconds in which a study of an archive is read and fused while all cores do.
fn seconds_a_study(source: &Manifest) -> Result<f64> {
    let rows = &source.rows[..source.rows.len().min(STUDIES_TO_TIME)];
    let start = Instant::now();
    for row in rows {
        interrupt::check()?;
        views::fuse(&row.read()?, &Preprocessing::default())?;
    }
    Ok(start.elapsed().as_secs_f64() / (rows.len() * par::workers()) as f64)
}

/// The same of phantoms that no file has yet: the time in which they are fused, which is most of it.
fn seconds_a_phantom(options: &PhantomOptions) -> Result<f64> {
    let Phantom { anterior, posterior, .. } = simulator::simulate(options, 0);
    let study = Study { anterior: Some(anterior), posterior: Some(posterior), ..Study::default() };
    let start = Instant::now();
    views::fuse(&study, &Preprocessing::default())?;
    Ok(start.elapsed().as_secs_f64() / par::workers() as f64)
}

/// How long the trainings take that are not done.
struct Estimate {
    speeds: BTreeMap<&'static str, Speed>,
    /// Seconds in which a study is read and fused, which the first epoch does, while all cores train.
    study: f64,
}

impl Estimate {
    /// Measures every architecture that is still to be trained and says what comes. Without the folder that files go to, the time that they take is left out.
    fn new(
        terminal: &Terminal,
        open: &[&Training],
        options: &Options,
        sides: &BTreeMap<Data, [usize; 2]>,
        study: f64,
        folder: Option<&Path>,
    ) -> Result<Self> {
        let estimate = Estimate { speeds: speeds(open, options, folder)?, study };
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
        let without = if folder.is_some() { "" } else { ", without that of writing models and checkpoints" };
        let may_stop_early = |training: &&Training| {
            let Settings { patience, test_every, epochs, .. } = training.settings(options);
            patience > 0 && patience * test_every < epochs
        };
        let early = if open.iter().any(may_stop_early) { "; less where a training stops early" } else { "" };
        terminal.note(format_args!("Estimated time: {}{without}{early}", duration(all)));
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
    folder: &StudyFolder,
    open: &[&Training],
    options: &Options,
    sides: &BTreeMap<Data, [usize; 2]>,
    estimate: &Estimate,
    resume: Start,
) -> Result<()> {
    let train = |training: &Training, settings: &Settings| images_in_training(sides[&training.data], settings)[0];
    let steps = |training: &Training| {
        let settings = training.settings(options);
        settings.epochs * train(training, &settings).div_ceil(settings.batch)
    };
    let progress = terminal.progress("steps", open.iter().map(|training| steps(training)).sum());
    let mut before = 0;
    for (at, training) in open.iter().enumerate() {
        let title = format!("{} of {}, {}", at + 1, open.len(), training.name());
        let settings = training.settings(options);
        let images = train(training, &settings);
        let expected = estimate.speeds[training.architecture].epoch(images) + estimate.study * images as f64;
        let start = Instant::now();
        train_one(folder, training, options, resume, &progress, (before, &title, expected, at == 0))?;
        test_one(folder, training)?;
        before += steps(training);
        progress.note(format_args!("{title}: done in {}", duration(start.elapsed().as_secs_f64())));
    }
    progress.finish(format_args!("{} done", counted(open.len(), "training")));
    Ok(())
}

/// Trains one network, from its checkpoint where it was interrupted. One that is whole is left as it is.
fn train_one(
    folder: &StudyFolder,
    training: &Training,
    options: &Options,
    resume: Start,
    progress: &Progress,
    (before, title, expected, is_first): (usize, &str, f64, bool),
) -> Result<()> {
    let run = folder.run(training);
    let settings = folder.settings(training, options);
    let has_checkpoint = RunFolder::can_resume(&run);
    if !has_checkpoint && is_trained(&run, &settings) && folder.began_with_what_is_there(training)? {
        return Ok(());
    }
    let (run_folder, start) = match has_checkpoint {
        true => (RunFolder::resume(&run)?, resume),
        false => {
            // Results of before, if any, are not of the network that comes.
            folder.unmark(training)?;
            (RunFolder::create(&run, true)?, Start::New)
        }
    };
    let manifest = Manifest::read_known(folder.manifest(training.data))?;
    train::run(&manifest, &settings, &run_folder, start, &mut |event| {
        match event {
            Event::Step { done, epoch, loss } => {
                progress.set(before + done, format_args!("{title}, epoch {epoch} of {}, loss {loss:.4}", settings.epochs));
            }
            Event::Skipped { done, problem, .. } => {
                progress.set(before + done, title);
                progress.note(format_args!("left out: {problem}"));
            }
            Event::Exploding { loss, guessing } => progress.note(format_args!("{title}: {}", exploding(loss, guessing))),
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
            Event::Ready { .. } | Event::BegunWith(_) | Event::Test { .. } | Event::Epoch(_) => {}
        }
        interrupt::check().map_or(ControlFlow::Break(()), ControlFlow::Continue)
    })?;
    Ok(())
}

/// Whether a run has its model and all of its epochs: one without a checkpoint was not interrupted.
fn is_trained(run: &Path, settings: &Settings) -> bool {
    let epochs = Epoch::read_all(&run.join(RunFolder::METRICS));
    run.join(RunFolder::MODEL).is_file() && epochs.is_ok_and(|epochs| train::is_over(&epochs, settings))
}

/// Tests one network, with and without copies, marks it as done, and removes the checkpoints that it no longer needs.
fn test_one(folder: &StudyFolder, training: &Training) -> Result<()> {
    let run = folder.run(training);
    let terminal = Terminal::silent();
    for (unaugmented, output) in [(true, folder.unaugmented(training)), (false, run.clone())] {
        let job = Job::open(std::slice::from_ref(&run), &Together::default(), None, Side::Test, unaugmented)?;
        report::write_evaluation(&job.evaluate(&terminal)?, output)?;
    }
    folder.mark_tested(training)?;
    folder.remove_checkpoints(training)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Model;
    use crate::reproduce::By;
    use std::fs;

    /// The second training of the paper's recipe measures statistics and leaves the weights of the first as they are.
    #[test]
    fn precise_normalisation_changes_no_weight_of_the_papers_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let study = StudyFolder::new(folder.path());
        let options =
            Options { seed: 1, seeds: 1, folds: 0, recipe: Recipe::Osteon, epochs: 1, ..crate::reproduce::tests::options() };
        let phantoms = study.phantoms();
        let made = options.scale.phantoms(options.seed, options.simulator);
        phantom::write(&Terminal::silent(), &made, files::Output::replacing(&phantoms), true).unwrap();
        let source = Manifest::read_known(phantoms.join(datasets::MANIFEST)).unwrap().with_frames_named().unwrap();
        let mut plan = Plan::new(&options);
        plan.trainings.retain(|training| training.by != By::Study);
        for (data, dataset) in unwritten(&plan, &source, &options).unwrap() {
            study.make(data, dataset).unwrap();
        }
        let progress = Terminal::silent().progress("steps", 0);
        for training in &plan.trainings {
            let resume = Start::Resume { allow_other_isa: false };
            train_one(&study, training, &options, resume, &progress, (0, "", 0.0, false)).unwrap();
            test_one(&study, training).unwrap();
            study.refuse_other(training, &options).unwrap();
            assert!(study.is_done(training).unwrap(), "{}", training.name());
        }
        let [paper, precise] = [0, 1].map(|at| study.run(&plan.trainings[at]).join(RunFolder::MODEL));
        let [before, after] = [&paper, &precise].map(|path| Model::load(path).unwrap().tensors(""));
        let (mut statistics, mut moved) = (0, 0);
        for (name, (_, before)) in &before {
            let farthest = before.iter().zip(&after[name].1).map(|(before, after)| (before - after).abs()).fold(0.0, f32::max);
            if name.contains("running_") {
                statistics += 1;
                moved += usize::from(farthest > 1e-4);
            } else {
                assert!(farthest <= 1e-25, "{name} has moved by {farthest}");
            }
        }
        assert!(statistics > 40 && moved > statistics / 2, "{moved} of {statistics} statistics have moved");
        fs::remove_file(paper).unwrap();
        let open = || study.open(&plan).unwrap().len();
        assert_eq!(open(), 0, "the results of both are there");
        fs::remove_file(precise).unwrap();
        assert_eq!(open(), 0, "the same without models");
        study.unmark(&plan.trainings[1]).unwrap();
        assert_eq!(open(), 2, "the second needs the network of the first");
        study.unmark(&plan.trainings[0]).unwrap();
        assert!(!study.is_done(&plan.trainings[1]).unwrap(), "nothing tells what it began with");
    }
}
