//! `osteon predict`: scans in, classes out.

use super::networks::{self, Together};
use super::output::Overwrite;
use super::scan::{self, ScanOptions};
use super::terminal::Terminal;
use crate::files::{Output, Staging};
use crate::intake::Intake;
use crate::report::{self, Case, ModelCard, Part, Prediction, Region, Trust, Unread};
use crate::text::{self, Shown};
use crate::train::RunFolder;
use crate::{Error, Result, interrupt, metrics, predict};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Classify scans with a trained model, or with several that answer together: a line for each study.
///
/// A model that knows what its training scans are like says of each scan what is unlike them, and where its threshold for a metastasis
/// lies. With --strict the exit code is 3 where a scan is unlike them.
///
/// A scan that cannot be read is reported, the others are still classified, and the exit code is 1. Any number of scans takes the memory
/// of one, with --report of a hundred.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  osteon predict runs/first/model.safetensors scan.dcm folder front.png,back.png \\
      --views anterior,posterior --report page")]
pub struct Predict {
    /// The model file, the folder of a run, or that of `osteon train --folds`. Further models may follow it: their probabilities are averaged.
    model: PathBuf,
    /// Studies: each a two-frame DICOM file, a folder or ZIP archive, or two files as A,B.
    #[arg(required = true, value_name = "SCAN")]
    scans: Vec<PathBuf>,
    #[command(flatten)]
    together: Together,
    /// Exit with code 3 where a scan is unlike what the model was trained on; refuse a model that does not know.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    options: ScanOptions,
    /// Use the model only if the owner of this public key signed it (`osteon model sign`).
    #[arg(long, value_name = "KEY")]
    require_signature: Option<PathBuf>,
    /// Print JSON: a list with an object for each study, each printed when its study is done.
    #[arg(long)]
    json: bool,
    /// Print CSV: a row for each study, each printed when its study is done.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Write a page with the pictures and what speaks for the answers into this folder: report.html, and for every further
    /// hundred scans report-2.html, report-3.html and so on.
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
}

impl Predict {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let (models, scans) = self.parted()?;
        let files: Vec<PathBuf> = models.iter().map(|model| networks::runs_of(model)).collect::<Result<Vec<_>>>()?.concat();
        let files: Vec<PathBuf> = files.iter().map(|run| RunFolder::model_of(run)).collect();
        let output = self.report.as_deref().map(|folder| self.output(folder, &files, scans)).transpose()?;
        let networks = networks::load(&models, &self.together, self.require_signature.as_deref())?;
        if self.strict {
            let each = networks.members().iter().zip(networks.files());
            each.into_iter().try_for_each(|(model, file)| predict::check_known(model, file))?;
        }
        networks.check_memory(1, self.report.is_some())?;
        let card = predict::card(&networks);
        let about = About { model_sha256: card.sha256.clone(), averages: card.averages.clone(), caveat: card.caveat() };
        let mut report = output.map(|output| Report::new(output, card)).transpose()?;
        let mut list = List::begin(terminal, self, &about, &networks.metadata().classes)?;
        let names = names(scans);
        let progress = terminal.progress("scans", scans.len());
        let classes = &networks.metadata().classes;
        let (mut failed, mut unlike): (Option<Error>, Vec<usize>) = (None, Vec::new());
        let mut classify = |(at, scan): (usize, &PathBuf)| -> Result<()> {
            interrupt::check()?;
            progress.set(at, scan.shown());
            let study = self.options.read(scan);
            if let Ok(study) = &study {
                scan::notes(&study.intake).iter().for_each(|note| progress.note(note));
            }
            let case = study.and_then(|study| {
                let case = predict::case(&networks, &names[at], &study, report.is_some())?;
                let hashes = if list.is_some() { study.hashes()? } else { BTreeMap::new() };
                Ok((case, study.intake, hashes))
            });
            match (&case, &mut list) {
                (Ok((case, intake, hashes)), Some(list)) => {
                    progress.hidden(|| list.push(Record::of(scan, case, intake, hashes)))?;
                }
                (Ok((case, ..)), None) => progress.hidden(|| terminal.line(line(scan, classes, case)))?,
                (Err(Error::Interrupted { .. }), _) => {}
                (Err(error), Some(list)) => {
                    progress.hidden(|| list.push(Record::failed(scan, error)))?;
                }
                // A scan alone has its sentence on standard error.
                (Err(_), None) if scans.len() == 1 => {}
                (Err(error), None) => progress.hidden(|| terminal.line(format_args!("{}  not read: {error}", scan.shown())))?,
            }
            match case {
                Ok((case, ..)) => {
                    if case.trust.as_ref().is_some_and(|trust| !trust.reasons.is_empty()) {
                        unlike.push(at);
                    }
                    if let Some(report) = &mut report {
                        report.cases.push(case);
                    }
                }
                Err(stop @ Error::Interrupted { .. }) => return Err(stop),
                Err(error) => {
                    if let Some(report) = &mut report {
                        let unread = Unread { name: names[at].clone(), problem: error.to_string(), before: report.cases.len() };
                        report.unread.push(unread);
                    }
                    if let Some(earlier) = failed.replace(error) {
                        progress.hidden(|| terminal.error(&earlier));
                    }
                }
            }
            report.as_mut().map_or(Ok(()), |report| report.page_after(at + 1, scans.len()))
        };
        let outcome = scans.iter().enumerate().try_for_each(&mut classify);
        drop(progress);
        // A list that was begun is ended, whatever ended the work.
        let ended = list.map_or(Ok(()), List::end);
        outcome.and(ended)?;
        for page in report.map(Report::finish).transpose()?.unwrap_or_default() {
            if self.json || self.csv { terminal.note(page.shown()) } else { terminal.line(page.shown())? }
        }
        failed.map_or(Ok(()), Err)?;
        match &unlike[..] {
            [first, ..] if self.strict => {
                Err(Error::Unlike { path: scans[*first].clone(), count: unlike.len(), of: scans.len() })
            }
            _ => Ok(()),
        }
    }

    /// The models, and the scans behind them.
    fn parted(&self) -> Result<(Vec<PathBuf>, &[PathBuf])> {
        refuse_swapped(&self.model, &self.scans)?;
        let more = self.scans.iter().take_while(|path| networks::is_networks(path)).count();
        let (models, scans) = self.scans.split_at(more);
        if scans.is_empty() {
            return Err(Error::setting("only models are given, and no scan", "give the scans after the models"));
        }
        Ok(([std::slice::from_ref(&self.model), models].concat(), scans))
    }

    /// The folder of the report.
    fn output(&self, folder: &Path, models: &[PathBuf], scans: &[PathBuf]) -> Result<Output> {
        // One that names no files is refused when its turn comes.
        let read: Vec<PathBuf> = scans.iter().flat_map(|scan| scan::paths(scan).unwrap_or_default()).collect();
        let read: Vec<&Path> = read.iter().chain(models).map(PathBuf::as_path).collect();
        let mut pages: Vec<String> = (1..=Part { number: 1, total: scans.len() }.count()).map(Part::file_name).collect();
        pages.extend(pages_in(folder));
        self.overwrite.folder(folder, &pages, &read)
    }
}

/// What a page calls each scan: the last part of its path, or all of it where several have that.
fn names(scans: &[PathBuf]) -> Vec<String> {
    let mut alike: HashMap<String, HashSet<&PathBuf>> = HashMap::new();
    for path in scans {
        alike.entry(scan::name(path)).or_default().insert(path);
    }
    let name = |path: &PathBuf| match scan::name(path) {
        name if alike[&name].len() > 1 => text::plain(path),
        name => name,
    };
    scans.iter().map(name).collect()
}

/// What all answers of one call have in common.
struct About {
    model_sha256: String,
    averages: Option<String>,
    caveat: String,
}

/// What is known of one study, beside what its call has in common.
struct Record<'a> {
    scan: String,
    answer: Result<(&'a Case, &'a Intake, &'a BTreeMap<String, String>), String>,
}

impl<'a> Record<'a> {
    fn of(scan: &Path, case: &'a Case, intake: &'a Intake, hashes: &'a BTreeMap<String, String>) -> Self {
        Record { scan: text::plain(scan), answer: Ok((case, intake, hashes)) }
    }

    fn failed(scan: &Path, error: &Error) -> Self {
        Record { scan: text::plain(scan), answer: Err(error.to_string()) }
    }

    fn json(&self, about: &About, classes: &[String]) -> Value {
        let mut object = match &self.answer {
            Err(error) => json!({ "scan": self.scan, "error": error }),
            Ok((case, intake, hashes)) => {
                let probabilities: serde_json::Map<String, Value> =
                    classes.iter().zip(&case.probabilities).map(|(class, p)| (class.clone(), json!(p))).collect();
                let views: serde_json::Map<String, Value> =
                    intake.views().map(|(view, decided)| (view.to_string(), json!(decided.to_string()))).collect();
                let left_out: Vec<String> =
                    intake.left_out.iter().map(|(folder, left_out)| format!("{}: {left_out}", text::plain(folder))).collect();
                let mut object = json!({
                    "scan": self.scan,
                    "class": classes[metrics::predicted(&case.probabilities)],
                    "probabilities": probabilities,
                    "views": views,
                    "applied": intake.applied,
                    "notes": intake.notes,
                    "left_out": left_out,
                    "files_sha256": hashes,
                });
                object["trust"] = case.trust.as_ref().map_or(Value::Null, Trust::json);
                object["thresholds"] = case.verdict.as_ref().map_or(json!([]), |verdict| json!([verdict.json()]));
                if !case.members.is_empty() {
                    let of_member =
                        |member: &Vec<f32>| -> Value { classes.iter().cloned().zip(member.iter().map(|p| json!(p))).collect() };
                    object["networks"] = case.members.iter().map(of_member).collect();
                }
                if let Some(evidence) = &case.evidence {
                    let regions = evidence.regions.iter();
                    object["regions"] = regions
                        .map(|Region { at: [row, column], evidence, words }| {
                            json!({ "row": row, "column": column, "nats": evidence, "place": words })
                        })
                        .collect();
                }
                object
            }
        };
        object["model_sha256"] = json!(about.model_sha256);
        if let Some(averages) = &about.averages {
            object["averages"] = json!(averages);
        }
        object["version"] = json!(VERSION);
        object["caveat"] = json!(about.caveat);
        object
    }

    /// The cells of [`columns`].
    fn cells(&self, about: &About, classes: &[String]) -> Vec<String> {
        let mut cells = vec![self.scan.clone()];
        match &self.answer {
            Err(error) => {
                cells.push(String::new());
                cells.extend(classes.iter().map(|_| String::new()));
                cells.extend([
                    String::new(),
                    String::new(),
                    String::new(),
                    error.clone(),
                    String::new(),
                    String::new(),
                    String::new(),
                ]);
            }
            Ok((case, intake, hashes)) => {
                cells.push(classes[metrics::predicted(&case.probabilities)].clone());
                cells.extend(case.probabilities.iter().map(f32::to_string));
                let views = intake.views().map(|(view, decided)| format!("{view} by {decided}"));
                let left_out =
                    intake.left_out.iter().map(|(folder, left_out)| format!("{}: left out {left_out}", text::plain(folder)));
                let notes = intake.applied.iter().chain(&intake.notes).cloned().chain(left_out);
                let each = hashes.iter().map(|(name, hash)| format!("{name} {hash}"));
                cells.extend([
                    views.collect::<Vec<_>>().join("; "),
                    notes.collect::<Vec<_>>().join("; "),
                    each.collect::<Vec<_>>().join("; "),
                    String::new(),
                    case.trust.as_ref().map_or_else(String::new, |trust| match trust.warning() {
                        Some(_) => trust.reasons.join("; "),
                        None => "like training".to_owned(),
                    }),
                    case.verdict.as_ref().map_or_else(String::new, |verdict| verdict.point.threshold.to_string()),
                    case.verdict.as_ref().map_or_else(String::new, |verdict| verdict.is_positive().to_string()),
                ]);
            }
        }
        cells.extend([about.model_sha256.clone(), VERSION.to_owned(), about.caveat.clone()]);
        cells
    }
}

/// Of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The columns of the CSV.
fn columns(classes: &[String]) -> Vec<String> {
    let first = ["scan", "class"].map(str::to_owned).into_iter();
    let last =
        ["views", "notes", "files_sha256", "error", "trust", "threshold", "above_threshold", "model_sha256", "version", "caveat"]
            .map(str::to_owned);
    first.chain(classes.iter().map(|class| format!("p({class})"))).chain(last).collect()
}

/// The list on standard output, an object or a row as soon as it is there.
struct List<'a> {
    terminal: &'a Terminal,
    about: &'a About,
    classes: &'a [String],
    is_csv: bool,
    is_empty: bool,
}

impl<'a> List<'a> {
    /// `None` where lines were asked for.
    fn begin(terminal: &'a Terminal, asked: &Predict, about: &'a About, classes: &'a [String]) -> Result<Option<Self>> {
        let list = List { terminal, about, classes, is_csv: asked.csv, is_empty: true };
        if asked.csv {
            list.row(&columns(classes))?;
        }
        Ok((asked.json || asked.csv).then_some(list))
    }

    fn push(&mut self, record: Record) -> Result<()> {
        if self.is_csv {
            return self.row(&record.cells(self.about, self.classes));
        }
        let object = record.json(self.about, self.classes);
        let before = if std::mem::take(&mut self.is_empty) { "[\n" } else { ",\n" };
        let lines: Vec<String> = format!("{object:#}").lines().map(|line| format!("  {line}")).collect();
        self.terminal.json_part(&format!("{before}{}", lines.join("\n")))
    }

    fn row(&self, cells: &[String]) -> Result<()> {
        let failed = |error: String| Error::failed(format!("a row of CSV cannot be composed ({error})"), "report this");
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
        let guarded = cells.iter().map(|cell| text::guard(cell).into_owned());
        writer.write_record(guarded).map_err(|error| failed(error.to_string()))?;
        let bytes = writer.into_inner().map_err(|error| failed(error.to_string()))?;
        self.terminal.line(String::from_utf8_lossy(&bytes).trim_end_matches('\n'))
    }

    fn end(self) -> Result<()> {
        match (self.is_csv, self.is_empty) {
            (true, _) => Ok(()),
            (false, is_empty) => self.terminal.json(if is_empty { "[]" } else { "\n]" }),
        }
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
    match scans.iter().find(|scan| networks::is_networks(scan)) {
        Some(scan) if !networks::is_networks(model) => {
            let problem = format!("is no model, and {} is one", scan.shown());
            Err(Error::file(model, problem, "give the model first, then the scans"))
        }
        _ => Ok(()),
    }
}

/// `scan.dcm  ADMet  (NoMet 0.1000, ADMet 0.8000, nADMet 0.1000)`, of several networks with the range of their probabilities, and
/// behind that what of the scan is unlike the training scans.
pub fn line(scan: &Path, classes: &[String], case: &Case) -> String {
    let spread = report::spread(&case.members);
    let range = |class: usize| {
        let ends = spread.as_ref().map(|ends| ends[class]);
        ends.map_or_else(String::new, |[least, most]| format!(" from {least:.2} to {most:.2}"))
    };
    let each = classes.iter().zip(&case.probabilities).enumerate();
    let each = each.map(|(at, (class, probability))| format!("{class} {probability:.4}{}", range(at)));
    let class = &classes[metrics::predicted(&case.probabilities)];
    let warning = case.trust.as_ref().and_then(Trust::warning).map_or_else(String::new, |warning| format!("  {warning}"));
    format!("{}  {class}  ({}){warning}", scan.shown(), each.collect::<Vec<_>>().join(", "))
}
