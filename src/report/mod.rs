//! Scores, curves and pictures to PNG, SVG and HTML.
//!
//! The caller fills an [`Evaluation`] or a [`Prediction`]; [`write_evaluation`] and [`write_prediction`] put everything that a
//! reader needs into a folder. The pages are single files: every picture inside, nothing fetched. Whatever comes from a file
//! (patient names, paths, settings) is escaped; where phantoms were learnt from or judged, the page says so beside the scores.

mod bars;
pub(crate) mod caption;
mod card;
mod curves;
mod evidence;
mod figure;
mod figures;
pub(crate) mod frame;
pub(crate) mod page;
mod palette;
mod stress;
mod verdict;

pub use bars::{Bars, bars};
pub(crate) use caption::caveat;
pub use card::{Origin, SideCounts, model_card};
pub use curves::{MOST_RUNS, RateStep, compared_curves, curves, loss_panels, rate_curve};
pub use evidence::{CELLS, SPOT};
pub use figure::Figure;
pub use figures::{confidence, confusion, demographics, distribution, froc, reliability, roc};
pub use page::{evaluation_page, prediction_page};
pub use stress::stress;
pub use verdict::{Trust, Verdict, spread};

use crate::draw::Raster;
use crate::image::{Image, View};
use crate::metrics::{self, Bootstrap, Ceilings, Epoch, Localisation, NetworkScores, Predictions, Scores, Stress};
use crate::models::{Simulators, StudyCounts};
use crate::text::{Shown, counted};
use crate::text::{guard, unguard};
use crate::{Error, Result, files};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What a reader must know of the network.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ModelCard {
    /// Its file, as the user named it.
    pub name: String,
    /// The network family: `inrac`.
    pub architecture: String,
    /// The classes, in the order of the probabilities.
    pub classes: Vec<String>,
    /// Rows and columns of its input.
    pub input_size: [usize; 2],
    /// How views become its input, in words.
    pub preprocessing: String,
    /// What it was trained on, in words.
    pub trained_on: String,
    /// How many studies that were, and how many of these are simulated; `None` of model files from before this was counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training_studies: Option<StudyCounts>,
    /// SHA-256 of the model file, in hexadecimal; of several networks that answer together those of all, with spaces between.
    pub sha256: String,
    /// How several looks or networks are averaged, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub averages: Option<String>,
    /// The number of trained parameters.
    pub parameters: usize,
}

/// One evaluated study.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PatientRow {
    /// The patient, as the manifest has it.
    pub patient: String,
    /// The true class.
    pub truth: usize,
    /// One a class.
    pub probabilities: Vec<f32>,
}

/// One study to show.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Patient or file name.
    pub name: String,
    /// The true class, where it is known.
    pub truth: Option<usize>,
    /// One a class.
    pub probabilities: Vec<f32>,
    /// Those of each network, where several answer together; else none.
    pub members: Vec<Vec<f32>>,
    /// Whether the scan is like those that the model was trained on; none where the model does not know.
    pub trust: Option<Trust>,
    /// On which side of the model's threshold it is; none where the model has none.
    pub verdict: Option<Verdict>,
    /// The fused picture in counts, before normalisation.
    pub fused: Image,
    /// The views as they were acquired, the posterior one not flipped; none where they are not to be shown.
    pub views: Vec<(View, Raster)>,
    /// What in the picture speaks for the answer.
    pub evidence: Option<Evidence>,
    /// What else to say of it, as (name, value): views, alignment, the like.
    pub facts: Vec<(String, String)>,
}

/// What in a picture speaks for an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// What each map is of, `any metastasis` or the name of a class, and the evidence of each pixel in nats, of any resolution over the
    /// picture's field. The first is the one that the regions are of.
    pub maps: Vec<(String, Image)>,
    /// The regions with the most evidence, the strongest first; none where the answer is no metastasis.
    pub regions: Vec<Region>,
    /// The network's own spatial attention, where it has such: the share that it leaves of each pixel.
    pub attention: Option<Image>,
}

/// A spot with much evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Row and column of its hottest pixel, as shares of the picture's.
    pub at: [f64; 2],
    /// Nats in all of it.
    pub evidence: f64,
    /// Where it is, and what it looks like.
    pub words: String,
}

/// What `evaluate` found; `demo` adds `history` and `scan`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// The page's heading.
    pub title: String,
    /// The network.
    pub model: ModelCard,
    /// What it was evaluated on, in words.
    pub evaluated_on: String,
    /// How many studies that were, and how many of these are simulated.
    pub evaluated_studies: StudyCounts,
    /// Every study.
    pub patients: Vec<PatientRow>,
    /// Those to show (see [`pick_cases`]); shown misclassified first.
    pub cases: Vec<Case>,
    /// Training's epochs; may be empty.
    pub history: Vec<Epoch>,
    /// The resolved configuration as text; may be empty.
    pub configuration: String,
    /// One more scan that was classified, shown on top.
    pub scan: Option<Case>,
    /// How intervals are made.
    pub bootstrap: Bootstrap,
    /// What its scores could be at most, where that is known.
    pub ceilings: Option<Ceilings>,
    /// The class that counts as positive, an index; without one every class but [`metrics::NO_METASTASIS`] does.
    pub positive: Option<usize>,
    /// Where several networks answered together, each by itself.
    pub networks: Vec<NetworkScores>,
    /// How many of the studies are unlike what the model was trained on; none where it does not know.
    pub unlike_training: Option<usize>,
    /// How what speaks for a metastasis lies beside known lesions, where that was asked.
    pub localisation: Option<Localisation>,
    /// How its scores hold up on worse scans, where that was asked.
    pub stress: Option<Stress>,
    /// How its network came to be, for the model's card; where it is not known the card says so.
    pub origin: Option<Origin>,
}

/// What `predict` found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prediction {
    /// The page's heading.
    pub title: String,
    /// The network.
    pub model: ModelCard,
    /// The studies, in the order given.
    pub scans: Vec<Case>,
    /// Those among them that could not be read, in the order given.
    pub unread: Vec<Unread>,
}

/// A study that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// File name.
    pub name: String,
    /// Why, and what to do, in a sentence.
    pub problem: String,
    /// How many of the prediction's scans stand before it.
    pub before: usize,
}

/// Which part of many scans a page shows: up to [`Part::MOST_SCANS`] are on one page, more are on several, that name each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The page, from 1.
    pub number: usize,
    /// Scans on all pages.
    pub total: usize,
}

impl Part {
    /// The most scans on a page.
    pub const MOST_SCANS: usize = 100;

    /// How many pages there are.
    pub fn count(&self) -> usize {
        self.total.div_ceil(Self::MOST_SCANS).max(1)
    }

    /// The file name of a page: `report.html`, `report-2.html`, `report-3.html`...
    pub fn file_name(number: usize) -> String {
        if number > 1 { format!("report-{number}.html") } else { "report.html".to_owned() }
    }

    /// `scans 101 to 200 of 1000`
    pub fn sentence(&self) -> String {
        let first = (self.number - 1) * Self::MOST_SCANS + 1;
        format!("scans {first} to {} of {}", self.total.min(self.number * Self::MOST_SCANS), self.total)
    }
}

impl ModelCard {
    /// What must be said wherever one of its probabilities stands.
    pub fn caveat(&self) -> String {
        caveat(&[("trained", self.training_studies())])
    }

    /// How many studies it was trained on, and how many of these are simulated.
    pub fn training_studies(&self) -> StudyCounts {
        StudyCounts::of_training(self.training_studies, &self.trained_on)
    }
}

impl Evaluation {
    /// The scores of its patients, with their ceilings, intervals and all other [`metrics::Statistics`].
    ///
    /// # Errors
    /// As [`Scores::with_statistics`].
    pub fn scores(&self) -> Result<Scores> {
        let (ceilings, networks, unlike_training) = (self.ceilings, self.networks.clone(), self.unlike_training);
        Ok(Scores { ceilings, networks, unlike_training, ..Scores::with_statistics(&self.predictions()?, self.bootstrap)? })
    }

    /// The class that counts as positive, where one was named.
    pub(crate) fn positive_name(&self) -> Option<&str> {
        self.model.classes.get(self.positive?).map(String::as_str)
    }

    /// What is looked for: `metastasis`, or the class that counts as positive.
    pub(crate) fn sought(&self) -> &str {
        self.positive_name().unwrap_or("metastasis")
    }

    /// What the network said of its patients.
    ///
    /// # Errors
    /// As [`Predictions::new`].
    pub fn predictions(&self) -> Result<Predictions> {
        let rows = &self.patients;
        let predictions = Predictions::new(
            &self.title,
            self.model.classes.clone(),
            rows.iter().map(|row| row.patient.clone()).collect(),
            rows.iter().map(|row| row.truth).collect(),
            rows.iter().map(|row| row.probabilities.clone()).collect(),
        )?;
        Ok(Predictions { positive: self.positive, ..predictions })
    }

    /// What must be said wherever a score stands.
    pub fn caveat(&self) -> String {
        caveat(&[("trained", self.model.training_studies()), ("evaluated", self.evaluated_studies)])
    }
}

impl Prediction {
    /// What must be said wherever a probability stands.
    pub fn caveat(&self) -> String {
        self.model.caveat()
    }
}

/// Which of the patients to show, at most `limit`: the wrong ones first, the surest first; then of each class in turn the rightly
/// classified, the surest first. The order that the page keeps.
pub fn pick_cases(patients: &[PatientRow], limit: usize) -> Vec<usize> {
    let sureness = |index: &usize| patients[*index].probabilities.iter().copied().fold(0f32, f32::max);
    let surest_first = |a: &usize, b: &usize| sureness(b).total_cmp(&sureness(a)).then(a.cmp(b));
    let right = |index: &usize| metrics::predicted(&patients[*index].probabilities) == patients[*index].truth;
    let (mut correct, mut picked): (Vec<usize>, Vec<usize>) = (0..patients.len()).partition(right);
    picked.sort_by(surest_first);
    correct.sort_by(surest_first);
    // At least a third of the cases were classified rightly, where there are so many.
    picked.truncate(limit - (limit / 3).min(correct.len()));
    let classes = correct.iter().map(|&index| patients[index].truth + 1).max().unwrap_or(0);
    let mut queues: Vec<_> =
        (0..classes).map(|class| correct.iter().copied().filter(move |&index| patients[index].truth == class)).collect();
    while picked.len() < limit {
        let before = picked.len();
        for queue in &mut queues {
            picked.extend(queue.next().filter(|_| picked.len() < limit));
        }
        if picked.len() == before {
            break;
        }
    }
    picked
}

/// Writes `scores.json`, `patients.csv`, `confusion.{png,svg}`, `roc.{png,svg}`, `report.html`, `model_card.md`, where lesions were looked for
/// `localisation.json` and `froc.{png,svg}`, and where it was repeated on worse scans `stress.{json,png,svg}` into `folder`, which is made
/// where it is missing. Gives the scores and the page's path.
///
/// # Errors
/// Where the patients do not fit the classes or the folder cannot be written.
pub fn write_evaluation(evaluation: &Evaluation, folder: impl AsRef<Path>) -> Result<(Scores, PathBuf)> {
    let folder = folder.as_ref();
    let scores = evaluation.scores()?;
    files::create_folder(folder)?;
    files::write(folder.join("scores.json"), &Measured::json(evaluation, &scores, folder)?)?;
    files::write(folder.join("patients.csv"), &patients_csv(evaluation, folder)?)?;
    let froc = evaluation.localisation.as_ref().map(|found| ("froc", froc(evaluation, found)));
    let figures = [("confusion", confusion(evaluation, &scores)), ("roc", roc(evaluation, &scores))];
    let stress = evaluation.stress.as_ref().map(|found| ("stress", stress(evaluation, found)));
    for (name, figure) in figures.into_iter().chain(froc).chain(stress) {
        files::write(folder.join(format!("{name}.png")), &figure.png())?;
        files::write(folder.join(format!("{name}.svg")), figure.svg().as_bytes())?;
    }
    if let Some(found) = &evaluation.localisation {
        files::write(folder.join("localisation.json"), &Measured::json(evaluation, found, folder)?)?;
    }
    if let Some(found) = &evaluation.stress {
        files::write(folder.join("stress.json"), &Measured::json(evaluation, found, folder)?)?;
    }
    files::write(folder.join("model_card.md"), model_card(evaluation, &scores).as_bytes())?;
    let page = folder.join("report.html");
    files::write(&page, evaluation_page(evaluation, &scores).as_bytes())?;
    Ok((scores, page))
}

/// Writes `report.html` into `folder`, which is made where it is missing, and gives its path.
///
/// # Errors
/// Where a scan's probabilities do not fit the classes or the folder cannot be written.
pub fn write_prediction(prediction: &Prediction, folder: impl AsRef<Path>) -> Result<PathBuf> {
    write_prediction_part(prediction, Part { number: 1, total: 1 }, folder)
}

/// As [`write_prediction`], of one page of several, whose scans are those of the `prediction`.
///
/// # Errors
/// As [`write_prediction`].
pub fn write_prediction_part(prediction: &Prediction, part: Part, folder: impl AsRef<Path>) -> Result<PathBuf> {
    let folder = folder.as_ref();
    let classes = prediction.model.classes.len();
    if let Some(scan) = prediction.scans.iter().find(|scan| scan.probabilities.len() != classes) {
        let problem =
            format!("{} has {} for {}", scan.name, counted(scan.probabilities.len(), "probability"), counted(classes, "class"));
        return Err(Error::setting(problem, "give one probability a class"));
    }
    files::create_folder(folder)?;
    let page = folder.join(Part::file_name(part.number));
    files::write(&page, page::part(prediction, part).as_bytes())?;
    Ok(page)
}

/// What was measured of an evaluation, and beside it what it is of.
#[derive(Serialize)]
struct Measured<'a, T> {
    caveat: String,
    evaluated_on: &'a str,
    /// Of the `studies` that the scores count.
    simulated_studies: usize,
    /// That these are of.
    #[serde(skip_serializing_if = "Simulators::is_empty")]
    simulators: Simulators,
    model: &'a ModelCard,
    #[serde(flatten)]
    measured: &'a T,
}

impl<T: Serialize> Measured<'_, T> {
    /// As JSON, for a file in `folder`.
    fn json(evaluation: &Evaluation, measured: &T, folder: &Path) -> Result<Vec<u8>> {
        let Evaluation { evaluated_on, evaluated_studies, model, .. } = evaluation;
        let (simulated_studies, simulators) = (evaluated_studies.simulated_studies, evaluated_studies.simulators());
        let file = Measured { caveat: evaluation.caveat(), evaluated_on, simulated_studies, simulators, model, measured };
        let mut bytes = serde_json::to_vec_pretty(&file)
            .map_err(|error| Error::file(folder, format!("scores cannot be written as JSON ({error})"), "report this"))?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// `patient,truth,predicted,correct,p(CLASS)...,model_sha256`, a row a study; the last column only where the model has a file.
fn patients_csv(evaluation: &Evaluation, folder: &Path) -> Result<Vec<u8>> {
    let classes = &evaluation.model.classes;
    let failed = |error: String| Error::file(folder, format!("patients.csv cannot be composed ({error})"), "report this");
    let mut writer = csv::Writer::from_writer(Vec::new());
    let heads = ["patient", "truth", "predicted", "correct"].map(str::to_owned);
    let heads = heads.into_iter().chain(classes.iter().map(|class| format!("p({class})")));
    let model = Some(evaluation.model.sha256.clone()).filter(|hash| !hash.is_empty());
    let heads = heads.chain(model.iter().map(|_| OF_MODEL.to_owned()));
    writer.write_record(heads).map_err(|error| failed(error.to_string()))?;
    for row in &evaluation.patients {
        let predicted = metrics::predicted(&row.probabilities);
        let about = [
            guard(&row.patient).into_owned(),
            guard(&classes[row.truth]).into_owned(),
            guard(&classes[predicted]).into_owned(),
            if row.truth == predicted { "yes" } else { "no" }.to_owned(),
        ];
        let record = about.into_iter().chain(row.probabilities.iter().map(f32::to_string)).chain(model.clone());
        writer.write_record(record).map_err(|error| failed(error.to_string()))?;
    }
    writer.into_inner().map_err(|error| failed(error.to_string()))
}

/// Reads what [`write_evaluation`] wrote as `scores.json`.
///
/// # Errors
/// The file cannot be read or is none of that kind.
pub fn read_scores(path: impl AsRef<Path>) -> Result<Scores> {
    let path = path.as_ref();
    let bytes = files::read_at_most(path, MAX_TABLE_BYTES)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::file(path, format!("holds no scores ({error})"), "remove it, and evaluate again"))
}

/// The column of [`ModelCard::sha256`].
const OF_MODEL: &str = "model_sha256";

/// The model of a run, beside which its results may lie.
const MODEL: &str = "model.safetensors";

/// Reads what [`write_evaluation`] wrote as `patients.csv`; a folder means the file in it. Other columns may stand among these.
///
/// # Errors
/// One sentence naming file and line: not such a table, a class that no column has, a probability that is none; rows by another model
/// than the one that lies in the same folder.
pub fn read_patients(path: impl AsRef<Path>) -> Result<Predictions> {
    let path = path.as_ref();
    let path = &if path.is_dir() { path.join("patients.csv") } else { path.to_owned() };
    let bytes = files::read_at_most(path, MAX_TABLE_BYTES)?;
    let refuse = |problem: String| Error::file(path, problem, "give the patients.csv of `osteon evaluate`, or its folder");
    let not_csv = |error: csv::Error| refuse(format!("is not CSV ({error})"));
    let mut reader = csv::Reader::from_reader(&bytes[..]);
    let heads = reader.headers().map_err(not_csv)?.clone();
    let column = |name: &str| heads.iter().position(|head| head == name).ok_or_else(|| refuse(format!("has no column `{name}`")));
    let [of_patient, of_truth] = [column("patient")?, column("truth")?];
    let beside = path.with_file_name(MODEL);
    let of_model = heads.iter().position(|head| head == OF_MODEL).filter(|_| beside.is_file());
    let of_model = of_model.map(|at| Ok::<_, Error>((at, files::sha256(&files::read(&beside)?)))).transpose()?;
    let class_of = |head: &str| Some(head.strip_prefix("p(")?.strip_suffix(')')?.to_owned());
    let (of_classes, classes): (Vec<usize>, Vec<String>) =
        heads.iter().enumerate().filter_map(|(at, head)| Some((at, class_of(head)?))).unzip();
    if classes.is_empty() {
        return Err(refuse("has no column `p(CLASS)`".to_owned()));
    }
    let (mut patients, mut truths, mut probabilities) = (Vec::new(), Vec::new(), Vec::new());
    for record in reader.records() {
        let record = record.map_err(not_csv)?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |at: usize| record.get(at).unwrap_or_default();
        let truth = classes.iter().position(|class| class == unguard(cell(of_truth)));
        truths.push(truth.ok_or_else(|| refuse(format!("line {line} has the class `{}`, which no column has", cell(of_truth))))?);
        let row = of_classes.iter().map(|&at| {
            let p = cell(at).parse().ok().filter(|p| (0.0..=1.00001).contains(p));
            p.ok_or_else(|| refuse(format!("line {line} has `{}`, which is no probability", cell(at))))
        });
        probabilities.push(row.collect::<Result<Vec<f32>>>()?);
        if of_model.as_ref().is_some_and(|(at, model)| cell(*at) != model) {
            let problem = format!("line {line} is by another model than the {MODEL} beside it");
            return Err(Error::file(path, problem, "evaluate again, since the run has gone on or was replaced"));
        }
        patients.push(unguard(cell(of_patient)).to_owned());
    }
    Predictions::new(path.shown(), classes, patients, truths, probabilities)
}

/// A larger file is no table of patients.
const MAX_TABLE_BYTES: u64 = 64 << 20;

#[cfg(test)]
pub(crate) mod tests;
