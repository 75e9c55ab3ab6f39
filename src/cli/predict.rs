//! `osteon predict`: scans in, classes out.

use super::output::Overwrite;
use super::scan::{self, ScanOptions};
use super::terminal::Terminal;
use crate::files::{Kind, Output, Staging};
use crate::intake::Intake;
use crate::models::Model;
use crate::report::{self, Case, ModelCard, Part, Prediction, Unread};
use crate::text::{self, Shown};
use crate::train::RunFolder;
use crate::{Error, Result, interrupt, metrics, predict};
use serde_json::{Value, json};
use std::fs;
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
    /// Studies: each a two-frame DICOM file, a folder or ZIP archive, or two files as A,B.
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
    /// Write a page with the fused pictures and what speaks for the answers into this folder: report.html, and for every further
    /// hundred scans report-2.html, report-3.html and so on.
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
}

impl Predict {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let path = RunFolder::model_of(&self.model);
        refuse_swapped(&path, &self.scans)?;
        let output = self.report.as_deref().map(|folder| self.output(folder, &path)).transpose()?;
        let model = match &self.require_signature {
            Some(key) => Model::load_signed(&path, key)?,
            None => Model::load(&path)?,
        };
        model.check_memory(1)?;
        let model_sha256 = model.file_sha256().unwrap_or_default().to_owned();
        let mut report = output.map(|output| Report::new(output, predict::card(&model, &path))).transpose()?;
        let mut list = self.json.then_some(List { terminal, model_sha256, is_empty: true });
        let progress = terminal.progress("scans", self.scans.len());
        let classes = &model.metadata().classes;
        let mut failed: Option<Error> = None;
        let mut classify = |(at, scan): (usize, &PathBuf)| -> Result<()> {
            interrupt::check()?;
            progress.set(at, scan.shown());
            let study = self.options.read(scan);
            if let Ok(study) = &study {
                scan::notes(&study.intake).iter().for_each(|note| progress.note(note));
            }
            let case = study.and_then(|study| {
                let case = predict::case(&model, &scan::name(scan), &study, report.is_some())?;
                Ok((case, study.intake))
            });
            match (&case, &mut list) {
                (Ok((case, intake)), Some(list)) => progress.hidden(|| list.push(object(scan, classes, case, intake)))?,
                (Ok((case, _)), None) => progress.hidden(|| terminal.line(line(scan, classes, case)))?,
                (Err(Error::Interrupted { .. }), _) => {}
                (Err(error), Some(list)) => {
                    progress.hidden(|| list.push(json!({ "scan": text::plain(scan), "error": error.to_string() })))?;
                }
                // A scan alone has its sentence on standard error.
                (Err(_), None) if self.scans.len() == 1 => {}
                (Err(error), None) => progress.hidden(|| terminal.line(format_args!("{}  not read: {error}", scan.shown())))?,
            }
            match case {
                Ok((case, _)) => {
                    if let Some(report) = &mut report {
                        report.cases.push(case);
                    }
                }
                Err(stop @ Error::Interrupted { .. }) => return Err(stop),
                Err(error) => {
                    if let Some(report) = &mut report {
                        let unread = Unread { name: scan::name(scan), problem: error.to_string(), before: report.cases.len() };
                        report.unread.push(unread);
                    }
                    if let Some(earlier) = failed.replace(error) {
                        progress.hidden(|| terminal.error(&earlier));
                    }
                }
            }
            report.as_mut().map_or(Ok(()), |report| report.page_after(at + 1, self.scans.len()))
        };
        let outcome = self.scans.iter().enumerate().try_for_each(&mut classify);
        drop(progress);
        // A list that was begun is ended, whatever ended the work.
        let ended = list.map_or(Ok(()), List::end);
        outcome.and(ended)?;
        for page in report.map(Report::finish).transpose()?.unwrap_or_default() {
            if self.json { terminal.note(page.shown()) } else { terminal.line(page.shown())? }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The folder of the report.
    fn output(&self, folder: &Path, model: &Path) -> Result<Output> {
        // One that names no files is refused when its turn comes.
        let scans: Vec<PathBuf> = self.scans.iter().flat_map(|scan| scan::paths(scan).unwrap_or_default()).collect();
        let read: Vec<&Path> = scans.iter().map(PathBuf::as_path).chain([model]).collect();
        let mut pages: Vec<String> = (1..=Part { number: 1, total: self.scans.len() }.count()).map(Part::file_name).collect();
        pages.extend(pages_in(folder));
        self.overwrite.folder(folder, &pages, &read)
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
struct Report {
    staging: Staging,
    model: ModelCard,
    cases: Vec<Case>,
    unread: Vec<Unread>,
    pages: Vec<PathBuf>,
}

impl Report {
    fn new(output: Output, model: ModelCard) -> Result<Self> {
        // A report of more scans than these has pages that this one lacks.
        let before = pages_in(output.path());
        Ok(Report {
            staging: Staging::new(output)?.without(before),
            model,
            cases: Vec::new(),
            unread: Vec::new(),
            pages: Vec::new(),
        })
    }

    /// Writes the page that is full after `done` of the `total` scans, if there is one.
    fn page_after(&mut self, done: usize, total: usize) -> Result<()> {
        let is_full = done.is_multiple_of(Part::MOST_SCANS) || done == total;
        let part = Part { number: done.div_ceil(Part::MOST_SCANS), total };
        // A page alone of which no scan could be read is none.
        if !is_full || self.cases.is_empty() && part.count() == 1 {
            return Ok(());
        }
        let (scans, unread) = (std::mem::take(&mut self.cases), std::mem::take(&mut self.unread));
        let shown = if part.count() == 1 { scans.len() + unread.len() } else { total };
        let title = if shown == 1 { "One scan".to_owned() } else { format!("{shown} scans") };
        let prediction = Prediction { title, model: self.model.clone(), scans, unread };
        let page = self.staging.named(report::write_prediction_part(&prediction, part, self.staging.file("")))?;
        self.pages.push(self.staging.target(page.file_name().unwrap_or_default()));
        Ok(())
    }

    /// Puts all pages in their place and gives their paths.
    fn finish(self) -> Result<Vec<PathBuf>> {
        if !self.pages.is_empty() {
            self.staging.commit(RunFolder::REPORT)?;
        }
        Ok(self.pages)
    }
}

/// The pages of a report in a folder.
fn pages_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let is_page = |name: &String| {
        let number = name.strip_prefix("report-").and_then(|name| name.strip_suffix(".html")?.parse().ok());
        number.is_some_and(|number| *name == Part::file_name(number))
    };
    names.filter(is_page).collect()
}

/// Refuses a scan in the model's place, where that shows by a model among the scans; what else is no model is told as it is read.
pub fn refuse_swapped(model: &Path, scans: &[PathBuf]) -> Result<()> {
    let is_model = |path: &Path| Kind::of_file(path) == Some(Kind::Safetensors);
    match scans.iter().find(|scan| is_model(&RunFolder::model_of(scan))) {
        Some(scan) if !is_model(model) => {
            let problem = format!("is no model, and {} is one", scan.shown());
            Err(Error::file(model, problem, "give the model first, then the scans"))
        }
        _ => Ok(()),
    }
}

/// `scan.dcm  ADMet  (NoMet 0.1000, ADMet 0.8000, nADMet 0.1000)`
pub fn line(scan: &Path, classes: &[String], case: &Case) -> String {
    let each = classes.iter().zip(&case.probabilities).map(|(class, probability)| format!("{class} {probability:.4}"));
    let class = &classes[metrics::predicted(&case.probabilities)];
    format!("{}  {class}  ({})", scan.shown(), each.collect::<Vec<_>>().join(", "))
}

fn object(scan: &Path, classes: &[String], case: &Case, intake: &Intake) -> Value {
    let probabilities: serde_json::Map<String, Value> =
        classes.iter().zip(&case.probabilities).map(|(class, probability)| (class.clone(), json!(probability))).collect();
    let views: serde_json::Map<String, Value> =
        intake.views().map(|(view, decided)| (view.to_string(), json!(decided.to_string()))).collect();
    let left_out: Vec<String> =
        intake.left_out.iter().map(|(folder, left_out)| format!("{}: {left_out}", text::plain(folder))).collect();
    json!({
        "scan": text::plain(scan),
        "class": classes[metrics::predicted(&case.probabilities)],
        "probabilities": probabilities,
        "views": views,
        "applied": intake.applied,
        "notes": intake.notes,
        "left_out": left_out,
    })
}
