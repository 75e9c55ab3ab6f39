//! `osteon curves`: how several runs trained, in one picture.

use super::terminal::Terminal;
use crate::metrics::Epoch;
use crate::models::{Model, StudyCounts};
use crate::text::Shown;
use crate::train::RunFolder;
use crate::{Error, Result, files, report, text};
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
}

impl Curves {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let is = |name: &str| self.output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(name));
        if !is("png") && !is("svg") {
            let problem = format!("--output {} is neither PNG nor SVG", self.output.shown());
            return Err(Error::setting(problem, "give a name that ends in .png or .svg"));
        }
        let runs = self.runs.iter().map(|run| history(run)).collect::<Result<Vec<_>>>()?;
        let named = self.runs.iter().map(|run| short_name(run, &self.runs));
        let note = report::caveat(&[("trained", runs.iter().map(|(_, trained_on)| *trained_on).sum())]);
        let runs: Vec<(String, Vec<Epoch>)> = named.zip(runs).map(|(name, (rows, _))| (name, rows)).collect();
        let figure = report::compared_curves(&runs, &note);
        let bytes = if is("svg") { figure.svg().into_bytes() } else { figure.png() };
        files::write(&self.output, &bytes)?;
        terminal.line(self.output.shown())
    }
}

/// A run's name in the picture, which is handed on: its folder's or, of several that have it, as in a/run and b/run, with as many folders
/// before it as tell it from the others of `all`.
fn short_name(run: &Path, all: &[PathBuf]) -> String {
    let last = |path: &Path, count: usize| {
        let parts: Vec<_> = path.components().collect();
        parts[parts.len().saturating_sub(count)..].iter().collect::<PathBuf>()
    };
    let is_single = |count: &usize| all.iter().filter(|other| last(other, *count) == last(run, *count)).count() <= 1;
    let count = (1..run.components().count()).find(is_single).unwrap_or(1);
    text::plain(&last(run, count))
}

/// The epochs of a run, and what it was trained on.
fn history(run: &Path) -> Result<(Vec<Epoch>, StudyCounts)> {
    let folder = RunFolder::open(run)?;
    let rows = Epoch::read_all(&folder.file(RunFolder::METRICS))?;
    Ok((rows, Model::load(folder.file(RunFolder::MODEL))?.metadata().training_studies()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_name_are_told_apart_by_no_more_folders_than_that_takes() {
        let runs = ["/data/me/a/run", "/data/me/b/run", "/data/other", "/data/other"].map(PathBuf::from);
        assert_eq!(runs.each_ref().map(|run| short_name(run, &runs)), ["a/run", "b/run", "other", "other"]);
    }
}
