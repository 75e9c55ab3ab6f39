//! `osteon predict`: scans in, classes out.

use super::scan::{self, ScanOptions};
use super::terminal::Terminal;
use crate::models::{Model, signature};
use crate::report::{self, Case, ModelCard, Part, Prediction};
use crate::text::{self, Shown};
use crate::train::RunFolder;
use crate::{Error, Result, files, metrics, predict};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Classify scans with a trained model: a line for each study.
///
/// A scan that cannot be read is reported, the others are still classified, and the exit code is 1. Any number of scans takes the memory
/// of one, with --report of a hundred.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  osteon predict runs/first/model.safetensors scan.dcm folder front.png,back.png \\
      --views anterior,posterior --report page")]
pub struct Predict {
    /// The model file, or the folder of a run.
    model: PathBuf,
    /// Studies: each a two-frame DICOM file, a folder, or two files as A,B.
    #[arg(required = true, value_name = "SCAN")]
    scans: Vec<PathBuf>,
    #[command(flatten)]
    options: ScanOptions,
    /// Use the model only if the owner of this public key signed it (`osteon model sign`).
    #[arg(long, value_name = "KEY")]
    require_signature: Option<PathBuf>,
    /// Print JSON: a list with an object for each study, each printed when its study is done.
    #[arg(long)]
    json: bool,
    /// Write a page with the fused pictures and where the network looked into this folder: report.html, and for every further
    /// hundred scans report-2.html, report-3.html and so on.
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
}

impl Predict {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let path = model_path(&self.model);
        let bytes = Model::read(&path)?;
        let model_sha256 = files::sha256(&bytes);
        if let Some(key) = &self.require_signature {
            signature::verify(&path, &bytes, key)?;
        }
        let model = Model::from_bytes(&path, bytes)?;
        model.check_memory(1)?;
        let report = self.report.as_deref().map(|folder| Ok::<_, Error>(Report::new(folder, predict::card(&model, &path)?)));
        let mut report = report.transpose()?;
        let mut list = self.json.then_some(List { terminal, model_sha256, is_empty: true });
        let progress = terminal.progress("scans", self.scans.len());
        let classes = &model.metadata().classes;
        let mut failed: Option<Error> = None;
        let mut classify = |(at, scan): (usize, &PathBuf)| -> Result<()> {
            progress.set(at, scan.shown());
            let study = self.options.read(scan);
            let case = study.and_then(|study| predict::case(&model, &scan::name(scan), &study, report.is_some()));
            match (&case, &mut list) {
                (Ok(case), Some(list)) => progress.hidden(|| list.push(object(scan, classes, case)))?,
                (Ok(case), None) => progress.hidden(|| terminal.line(line(scan, classes, case)))?,
                (Err(error), Some(list)) => {
                    progress.hidden(|| list.push(json!({ "scan": text::plain(scan), "error": error.to_string() })))?;
                }
                (Err(_), None) => {}
            }
            match case {
                Ok(case) => {
                    if let Some(report) = &mut report {
                        report.cases.push(case);
                    }
                }
                // The last one ends the command.
                Err(error) => {
                    if let Some(earlier) = failed.replace(error) {
                        progress.hidden(|| terminal.error(&earlier));
                    }
                }
            }
            let Some(report) = &mut report else { return Ok(()) };
            let Some(page) = report.page_after(at + 1, self.scans.len())? else { return Ok(()) };
            progress.hidden(|| match self.json {
                // The list alone is the result.
                true => {
                    terminal.note(page.shown());
                    Ok(())
                }
                false => terminal.line(page.shown()),
            })
        };
        let outcome = self.scans.iter().enumerate().try_for_each(&mut classify);
        drop(progress);
        // A list that was begun is ended, whatever ended the work.
        let ended = list.map_or(Ok(()), List::end);
        outcome.and(ended)?;
        failed.map_or(Ok(()), Err)
    }
}

/// The list of objects on standard output, an object as soon as it is there.
struct List<'a> {
    terminal: &'a Terminal,
    model_sha256: String,
    is_empty: bool,
}

impl List<'_> {
    fn push(&mut self, mut object: Value) -> Result<()> {
        object["model_sha256"] = json!(self.model_sha256);
        let before = if std::mem::take(&mut self.is_empty) { "[\n" } else { ",\n" };
        let lines: Vec<String> = format!("{object:#}").lines().map(|line| format!("  {line}")).collect();
        self.terminal.json_part(&format!("{before}{}", lines.join("\n")))
    }

    fn end(self) -> Result<()> {
        self.terminal.json(if self.is_empty { "[]" } else { "\n]" })
    }
}

/// The pages under way: the cases of one page at most are held.
struct Report<'a> {
    folder: &'a Path,
    model: ModelCard,
    cases: Vec<Case>,
}

impl<'a> Report<'a> {
    fn new(folder: &'a Path, model: ModelCard) -> Self {
        Report { folder, model, cases: Vec::new() }
    }

    /// Writes the page that is full after `done` of the `total` scans, if there is one, and gives its path.
    fn page_after(&mut self, done: usize, total: usize) -> Result<Option<PathBuf>> {
        let is_full = done.is_multiple_of(Part::MOST_SCANS) || done == total;
        let part = Part { number: done.div_ceil(Part::MOST_SCANS), total };
        // A page alone of which no scan could be read is none.
        if !is_full || self.cases.is_empty() && part.count() == 1 {
            return Ok(None);
        }
        let scans = std::mem::take(&mut self.cases);
        let shown = if part.count() == 1 { scans.len() } else { total };
        let title = if shown == 1 { "One scan".to_owned() } else { format!("{shown} scans") };
        let prediction = Prediction { title, model: self.model.clone(), scans };
        report::write_prediction_part(&prediction, part, self.folder).map(Some)
    }
}

/// The model of a run's folder, or the file itself.
pub fn model_path(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(RunFolder::MODEL) } else { path.to_owned() }
}

/// `scan.dcm  ADMet  (NoMet 0.1000, ADMet 0.8000, nADMet 0.1000)`
pub fn line(scan: &Path, classes: &[String], case: &Case) -> String {
    let each = classes.iter().zip(&case.probabilities).map(|(class, probability)| format!("{class} {probability:.4}"));
    let class = &classes[metrics::predicted(&case.probabilities)];
    format!("{}  {class}  ({})", scan.shown(), each.collect::<Vec<_>>().join(", "))
}

fn object(scan: &Path, classes: &[String], case: &Case) -> Value {
    let probabilities: serde_json::Map<String, Value> =
        classes.iter().zip(&case.probabilities).map(|(class, probability)| (class.clone(), json!(probability))).collect();
    json!({ "scan": text::plain(scan), "class": classes[metrics::predicted(&case.probabilities)], "probabilities": probabilities })
}
