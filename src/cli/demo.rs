//! `osteon demo`: everything once, from synthetic patients to a page with pictures, in a few minutes.

use super::evaluate::{self, Job};
use super::numbers::{count, seed};
use super::output::Overwrite;
use super::terminal::Terminal;
use super::{phantom, predict as lines, train};
use crate::archive::manifest::Manifest;
use crate::files::{Output, Staging};
use crate::image::Size;
use crate::phantom::{PhantomOptions, SimulatorVersion};
use crate::report::{self, Case};
use crate::text::Shown;
use crate::train::{Recipe, RunFolder, Settings, Start};
use crate::{Error, Result, files, predict};
use std::path::{self, PathBuf};
use std::time::Instant;

/// Show everything in a few minutes: make synthetic patients, train a network on some, evaluate it on the others, classify
/// one scan, and write a page with pictures.
///
/// The network is the paper's, the pictures are smaller and the epochs fewer than the paper's.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  osteon demo\n  osteon demo --seed 2 --output demo-2")]
pub struct Demo {
    /// Folder for everything that the demo makes.
    #[arg(long, value_name = "FOLDER", default_value = "osteon-demo")]
    output: PathBuf,
    /// Seed of patients, split and network, from 0 to 2^63 - 1.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seed())]
    seed: u64,
    /// Synthetic patients, from 1 to 1000000 [default: 600].
    #[arg(long, value_name = "N", value_parser = count(1..=PhantomOptions::MOST_STUDIES))]
    studies: Option<usize>,
    /// The simulator of the synthetic patients, from 1 to 2.
    #[arg(long, value_name = "N", default_value_t)]
    simulator: SimulatorVersion,
    /// Passes over the training patients, from 1 to 1000000 [default: 24].
    #[arg(long, value_name = "N", value_parser = count(1..=Settings::MOST_EPOCHS))]
    epochs: Option<usize>,
    /// The network's input, rows x columns [default: 192x48].
    #[arg(long, value_name = "ROWSxCOLUMNS")]
    size: Option<Size>,
    /// A few seconds instead of minutes: few patients, tiny pictures; the scores mean nothing.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    overwrite: Overwrite,
}

impl Demo {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let start = Instant::now();
        let (studies, epochs, size) = if self.quick { (24, 2, [64, 32]) } else { (600, 24, [192, 48]) };
        let settings = Settings {
            input_size: self.size.unwrap_or(size.into()),
            epochs: self.epochs.unwrap_or(epochs),
            // A measurement takes half the time of an epoch. There are too few of them for patience.
            test_every: 4,
            patience: 0,
            seed: self.seed,
            split_seed: self.seed,
            ..Recipe::Osteon.settings()
        };
        settings.validate()?;
        let names: Vec<&str> = [RUN, PHANTOMS].into_iter().chain(RunFolder::EVALUATION).collect();
        let staging = Staging::new(Output::files_in(&self.output, self.overwrite.force, &names, &[])?)?;
        let page = staging.named(self.make(terminal, &settings, studies, &staging)).map_err(|error| match error {
            Error::Interrupted { .. } => {
                Error::Interrupted { kept: "nothing of this demo is kept, and nothing else has changed".into() }
            }
            other => other,
        })?;
        staging.commit(RunFolder::REPORT)?;
        terminal.note(format_args!("\nAll in {:.0} s. The page with pictures:", start.elapsed().as_secs_f64()));
        terminal.line(page.shown())
    }

    /// Makes everything, aside, and gives the place that the page will have.
    fn make(&self, terminal: &Terminal, settings: &Settings, studies: usize, staging: &Staging) -> Result<PathBuf> {
        let folder = RunFolder::create(&staging.file(RUN), false)?;
        terminal.note("Synthetic patients");
        let (studies, simulator) = (self.studies.unwrap_or(studies), self.simulator);
        let options = PhantomOptions { studies, seed: self.seed, simulator, ..PhantomOptions::default() };
        let manifest = phantom::write(terminal, &options, Output::replacing(&staging.file(PHANTOMS)), false)?;

        terminal.note(format_args!("\nTraining the 26-layer network at {}", settings.input_size));
        train::train(terminal, &Manifest::read(&manifest)?, settings, &folder, Start::New)?;

        terminal.note("\nEvaluation on patients that it has not seen");
        let job = Job::test(folder.path())?;
        let mut evaluation = job.evaluate(terminal)?;
        let unseen = job.rows[0];
        let row = &job.manifest.rows[unseen];
        let scan = predict::case(&job.networks, &row.patient, &row.read()?, true)?;
        let scan = Case { truth: evaluation.model.classes.iter().position(|class| *class == row.label), ..scan };
        let file = row.files().next().unwrap_or(&manifest);
        let aside = path::absolute(staging.file("")).unwrap_or_default();
        let file = file.strip_prefix(aside).map_or_else(|_| file.to_owned(), |name| staging.target(name));
        let line = lines::line(&file, &evaluation.model.classes, &scan);
        evaluation.title = "Osteon: a demonstration on synthetic patients".to_owned();
        evaluation.scan = Some(scan);
        let (scores, _) = report::write_evaluation(&evaluation, staging.file(""))?;
        // What a run says of its data is where the data will be.
        let [from, to] = [staging.file(PHANTOMS), staging.target(PHANTOMS)].map(|path| path::absolute(&path).unwrap_or(path));
        for name in [RunFolder::CONFIG, RunFolder::RECORD] {
            let text = String::from_utf8_lossy(&files::read(folder.file(name))?)
                .replace(&*from.to_string_lossy(), &to.to_string_lossy());
            files::write(folder.file(name), text.as_bytes())?;
        }
        evaluate::print(terminal, &evaluation, &scores)?;
        terminal.line(line)?;
        Ok(staging.target(RunFolder::REPORT))
    }
}

/// What the demo makes beside the page.
const RUN: &str = "run";
const PHANTOMS: &str = "phantoms";
