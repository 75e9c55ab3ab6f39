//! `osteon curves`: how several runs trained, in one picture.

use super::output::Overwrite;
use super::scan;
use super::terminal::Terminal;
use crate::metrics::Epoch;
use crate::models::{Model, StudyCounts};
use crate::train::RunFolder;
use crate::{Error, Result, report};
use std::path::{Path, PathBuf};

/// Draw the curves of several runs beside each other: training loss, held-out loss, held-out AUC.
///
/// Reads their metrics.csv; a run's name is its folder's.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  osteon curves runs/paper runs/osteon --output curves.png")]
pub struct Curves {
    /// Folders that `osteon train` wrote.
    #[arg(required = true, num_args = 1..=report::MOST_RUNS, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The picture to write: PNG or SVG, by its name.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    overwrite: Overwrite,
}

impl Curves {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let is = |name: &str| self.output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(name));
        if !is("png") && !is("svg") {
            let problem = format!("--output {} is neither PNG nor SVG", self.output.display());
            return Err(Error::setting(problem, "give a name that ends in .png or .svg"));
        }
        let read = [RunFolder::METRICS, RunFolder::MODEL].map(|name| self.runs.iter().map(move |run| run.join(name))).into_iter();
        let read: Vec<PathBuf> = read.flatten().collect();
        let output = self.overwrite.file(&self.output, &read.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
        let runs = self.runs.iter().map(|run| history(run)).collect::<Result<Vec<_>>>()?;
        // Folders of one name, as in a/run and b/run, are told apart by their paths.
        let names = self.runs.iter().map(|run| scan::name(run)).collect::<Vec<_>>();
        let is_twice = |name: &String| names.iter().filter(|other| *other == name).count() > 1;
        let name = |(name, run): (&String, &PathBuf)| if is_twice(name) { run.display().to_string() } else { name.clone() };
        let named = names.iter().zip(&self.runs).map(name);
        let note = report::caveat(&[("trained", runs.iter().map(|(_, trained_on)| *trained_on).sum())]);
        let runs: Vec<(String, Vec<Epoch>)> = named.zip(runs).map(|(name, (rows, _))| (name, rows)).collect();
        let figure = report::compared_curves(&runs, &note);
        let bytes = if is("svg") { figure.svg().into_bytes() } else { figure.png() };
        output.write(&bytes)?;
        terminal.line(self.output.display())
    }
}

/// The epochs of a run, and what it was trained on.
fn history(run: &Path) -> Result<(Vec<Epoch>, StudyCounts)> {
    let folder = RunFolder::open(run)?;
    let rows = Epoch::read_all(&folder.file(RunFolder::METRICS))?;
    Ok((rows, Model::load(folder.file(RunFolder::MODEL))?.metadata().training_studies()))
}
