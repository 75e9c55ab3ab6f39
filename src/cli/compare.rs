//! `osteon compare`: whether two networks differ on the same patients, by more than chance.

use super::evaluate::{Resampling, figure};
use super::terminal::Terminal;
use crate::metrics::{self, McNemar};
use crate::text::counted;
use crate::{Error, Result, report};
use std::path::PathBuf;

/// Compare two evaluations of the same patients: the difference of every score with its 95 % interval, and McNemar's test.
///
/// Reads what `osteon evaluate` wrote as patients.csv. Intervals and p values come from resampling the patients, both networks on each
/// resample; McNemar's test counts the studies that only one network has right.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  osteon compare runs/first runs/second\n  osteon compare a/patients.csv b/patients.csv --json"
)]
pub struct Compare {
    /// The folder of an evaluation, or its patients.csv.
    a: PathBuf,
    /// Another, of the same patients.
    b: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    resampling: Resampling,
}

impl Compare {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let bootstrap = self.resampling.bootstrap()?;
        let [a, b] = [report::read_patients(&self.a)?, report::read_patients(&self.b)?];
        let found = metrics::compare(&a, &b, bootstrap)?;
        if self.json {
            let json = serde_json::to_string_pretty(&found)
                .map_err(|error| Error::failed(format!("the comparison cannot be written as JSON ({error})"), "report this"))?;
            return terminal.json(&json);
        }
        terminal.line(format_args!("A {}\nB {}", found.a, found.b))?;
        terminal.line(format_args!("{} of {}\n", counted(found.studies, "study"), counted(found.patients, "patient")))?;
        let names: Vec<String> = found.scores.named().into_iter().map(|(name, _)| name).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        terminal.line(format_args!("{:width$}       A       B    A - B  95 % interval            p", ""))?;
        for (name, score) in found.scores.named() {
            let difference = score.difference.map_or("-".to_owned(), |difference| format!("{difference:+.4}"));
            let ends = score.interval.map_or("-".to_owned(), |[low, high]| format!("[{low:+.4}, {high:+.4}]"));
            let p = score.p.map_or("-".to_owned(), |p| format!("{p:.4}"));
            let [a, b] = [score.a, score.b].map(figure);
            terminal.line(format_args!("{name:width$}  {a:>6}  {b:>6}  {difference:>7}  {ends:18}  {p:>6}"))?;
        }
        terminal.line("")?;
        let merged = found.mcnemar_metastatic.as_ref().map(|test| ("metastatic or not", test));
        for (what, test) in std::iter::once(("predicted class", &found.mcnemar)).chain(merged) {
            let McNemar { only_a, only_b, method, p, .. } = test;
            let statistic = test.statistic.map_or(String::new(), |statistic| format!(" {statistic:.3}"));
            terminal.line(format_args!(
                "McNemar, {what}: only A right {only_a}, only B right {only_b}; {method}{statistic}, p {p:.4}"
            ))?;
        }
        terminal.line(format_args!(
            "Intervals and p from {} resamples of the patients. Each p is of one comparison: of twenty, one is below 0.05 by chance.",
            found.bootstrap.resamples
        ))?;
        if found.clustered() {
            terminal
                .line("Some patients have several studies, which McNemar's test takes as independent: go by the intervals.")?;
        }
        Ok(())
    }
}
