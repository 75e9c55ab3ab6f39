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
pub(crate) mod tests {
    use super::*;
    use crate::models::SimulatorVersion;

    /// A bone-scan-like picture: a bright trunk with a hot spot.
    fn picture(seed: usize) -> Image {
        let mut image = Image::zeros(256, 64);
        for (index, pixel) in image.pixels.iter_mut().enumerate() {
            let (row, column) = (index / 64, index % 64);
            let body = (row > 16 && row < 240 && column.abs_diff(32) < 12) as usize;
            let spot = (row.abs_diff(60 + 9 * seed) < 4 && column.abs_diff(30) < 4) as usize;
            *pixel = (body * (20 + (index * 7919) % 23) + spot * 200) as f32;
        }
        image
    }

    /// A page's worth of invented studies of 2 or 3 classes.
    pub(crate) fn example(classes: usize) -> Evaluation {
        let names = if classes == 2 { vec!["NoMet", "Met"] } else { vec!["NoMet", "ADMet", "nADMet"] };
        let patients: Vec<PatientRow> = (0..60)
            .map(|index| {
                let truth = index % classes;
                let noise = |class: usize| ((index * 31 + class * 17 + 7) % 29) as f32 / 29.0;
                let scores: Vec<f32> =
                    (0..classes).map(|class| (2.2 * noise(class) + if class == truth { 1.6 } else { 0.0 }).exp()).collect();
                let sum: f32 = scores.iter().sum();
                let probabilities = scores.iter().map(|score| score / sum).collect();
                PatientRow { patient: format!("P{index:04}"), truth, probabilities }
            })
            .collect();
        let cases = pick_cases(&patients, 8)
            .into_iter()
            .map(|index| Case {
                name: patients[index].patient.clone(),
                truth: Some(patients[index].truth),
                probabilities: patients[index].probabilities.clone(),
                members: Vec::new(),
                trust: None,
                verdict: None,
                fused: picture(index % 12),
                views: [View::Anterior, View::Posterior].map(|view| (view, Raster::new(64, 16, [90; 3]))).into(),
                evidence: Some(Evidence {
                    maps: vec![("any metastasis".to_owned(), Image { rows: 8, columns: 2, pixels: vec![3.0; 16] })],
                    regions: vec![Region { at: [0.25, 0.5], evidence: 0.31, words: "left ribs".to_owned() }],
                    attention: None,
                }),
                facts: vec![("Views".to_owned(), "anterior + posterior".to_owned())],
            })
            .collect();
        let history = (1..=30)
            .map(|epoch| {
                let t = epoch as f64;
                Epoch {
                    epoch,
                    learning_rate: 0.01,
                    train_loss: 1.1 * (-t / 12.0).exp() + 0.1,
                    train_accuracy: 0.9 - 0.5 * (-t / 9.0).exp(),
                    test_loss: Some(1.1 * (-t / 14.0).exp() + 0.25 + 0.05 * (t * 1.7).sin()),
                    test_accuracy: Some(0.82 - 0.45 * (-t / 8.0).exp() + 0.02 * (t * 2.3).sin()),
                    test_f1: None,
                    test_auc: Some(0.91 - 0.4 * (-t / 6.0).exp()),
                    validation_loss: Some(1.1 * (-t / 13.0).exp() + 0.2),
                    ..Epoch::default()
                }
            })
            .collect();
        let two: Simulators = [SimulatorVersion::Two].into_iter().collect();
        Evaluation {
            title: "Evaluation".to_owned(),
            model: ModelCard {
                name: "run/model.safetensors".to_owned(),
                architecture: "inrac".to_owned(),
                classes: names.into_iter().map(str::to_owned).collect(),
                input_size: [256, 64],
                preprocessing: "both views, aligned by translation and scale".to_owned(),
                trained_on: "140 phantom studies of simulator 2".to_owned(),
                training_studies: Some(StudyCounts { studies: 140, simulated_studies: 140, simulators: two }),
                sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
                averages: None,
                parameters: 15_100_000,
            },
            evaluated_on: "60 phantom studies of simulator 2 never trained on".to_owned(),
            evaluated_studies: StudyCounts { studies: 60, simulated_studies: 60, simulators: two },
            patients,
            cases,
            history,
            configuration: "learning_rate = 0.01\nbatch = 32\n".to_owned(),
            scan: None,
            bootstrap: Bootstrap { resamples: 200, seed: 1 },
            ceilings: None,
            positive: None,
            networks: Vec::new(),
            unlike_training: None,
            localisation: None,
            stress: None,
            origin: None,
        }
    }

    #[test]
    fn an_evaluation_fills_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let evaluation = example(3);
        let (scores, page) = write_evaluation(&evaluation, folder.path().join("a/b")).unwrap();
        let read = |name: &str| files::read(folder.path().join("a/b").join(name)).unwrap();
        assert!(page.ends_with("report.html") && read("report.html").starts_with(b"<!doctype html>"));
        for name in ["confusion", "roc"] {
            assert!(image::load_from_memory(&read(&format!("{name}.png"))).is_ok());
            assert!(read(&format!("{name}.svg")).starts_with(b"<svg xmlns="));
        }
        assert_eq!(String::from_utf8(read("model_card.md")).unwrap(), model_card(&evaluation, &scores));
        assert!(!folder.path().join("a/b/stress.json").exists(), "only where it was asked for");
        let json: serde_json::Value = serde_json::from_slice(&read("scores.json")).unwrap();
        assert_eq!(json["accuracy"], serde_json::json!(scores.accuracy));
        assert_eq!(json["model"]["sha256"], serde_json::json!(evaluation.model.sha256));
        assert!(json["caveat"].as_str().unwrap().contains("phantoms"));
        assert_eq!((&json["simulated_studies"], &json["simulators"]), (&60.into(), &serde_json::json!([2])));
        let counts = serde_json::json!({ "studies": 140, "simulated_studies": 140, "simulators": [2] });
        assert_eq!(json["model"]["training_studies"], counts);
        assert!(json["macro"]["f1"].is_f64() && json["metastatic"]["auc"].is_f64() && json["classes"][2]["recall"].is_f64());

        let csv = read("patients.csv");
        let mut reader = csv::Reader::from_reader(csv.as_slice());
        let heads = reader.headers().unwrap().clone();
        assert_eq!(
            heads.iter().collect::<Vec<_>>(),
            ["patient", "truth", "predicted", "correct", "p(NoMet)", "p(ADMet)", "p(nADMet)", "model_sha256"]
        );
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        assert_eq!(rows.len(), evaluation.patients.len());
        let right = rows.iter().filter(|row| &row[3] == "yes").count();
        assert_eq!(right as f64 / rows.len() as f64, scores.accuracy.unwrap());
        // Probabilities survive the file to the last bit.
        assert_eq!(rows[7][5].parse::<f32>().unwrap(), evaluation.patients[7].probabilities[1]);
        let read = read_patients(folder.path().join("a/b")).unwrap();
        assert_eq!(Predictions { name: evaluation.title.clone(), ..read.clone() }, evaluation.predictions().unwrap());
        assert!(read.name.ends_with("a/b/patients.csv"));

        let statistics = scores.statistics.unwrap();
        let [low, high] = statistics.intervals.scores.mean.recall.unwrap();
        assert_eq!(json["intervals"]["macro"]["recall"], serde_json::json!([low, high]));
        assert!(low < scores.mean.recall.unwrap() && scores.mean.recall.unwrap() < high);
        // The example ranks without an error, which resampling cannot change.
        assert!(scores.mean.auc == Some(1.0) && json["intervals"]["macro"]["auc"].is_null());
        assert_eq!((json["intervals"]["patients"].as_u64(), json["intervals"]["resamples"].as_u64()), (Some(60), Some(200)));
        // Nor any other score that is without a fault.
        let metastatic = scores.metastatic.unwrap().scores.recall;
        for (ends, score) in [
            (&json["intervals"]["classes"][2]["f1"], scores.classes[2].scores.f1),
            (&json["intervals"]["metastatic"]["recall"], metastatic),
        ] {
            assert_eq!(ends.is_array(), score.unwrap() < 1.0, "{ends} of {score:?}");
        }
        assert!(json["calibration"]["top_label"]["expected"].is_f64() && json["calibration"]["log_loss"].is_f64());
        assert!(json["operating_points"]["sensitivity"][1]["ppv"].is_f64() && json["statistics"].is_null());
    }

    /// Beside a score stands what it could be at most, on the page and in the file, where that is known.
    #[test]
    fn a_class_that_is_named_counts_as_positive() {
        let mut evaluation = example(2);
        evaluation.model.classes = ["benign", "malignant"].map(str::to_owned).to_vec();
        assert_eq!(evaluation.scores().unwrap().metastatic, None);
        evaluation.positive = Some(1);
        let folder = tempfile::tempdir().unwrap();
        let (scores, page) = write_evaluation(&evaluation, folder.path()).unwrap();
        let binary = scores.metastatic.as_ref().unwrap();
        assert_eq!(binary.positive.as_deref(), Some("malignant"));
        assert_eq!((binary.scores.recall, binary.accuracy), (scores.classes[1].scores.recall, scores.accuracy));
        assert!(scores.statistics.unwrap().operating_points.is_some());
        let page = std::fs::read_to_string(page).unwrap();
        for words in ["malignant or not", "malignant against not", "Probability of malignant by true class"] {
            assert!(page.contains(words), "{words}");
        }
        // What it would have been the other way round.
        let other = Evaluation { positive: Some(0), ..evaluation }.scores().unwrap().metastatic.unwrap();
        assert_eq!((other.scores.recall, other.scores.specificity), (binary.scores.specificity, binary.scores.recall));
    }

    #[test]
    fn ceilings_stand_beside_the_scores() {
        let folder = tempfile::tempdir().unwrap();
        let of = |ceilings: Option<Ceilings>, name: &str| {
            let place = folder.path().join(name);
            let (scores, page) = write_evaluation(&Evaluation { ceilings, ..example(3) }, &place).unwrap();
            assert_eq!(read_scores(place.join("scores.json")).unwrap(), scores);
            (scores, files::read(page).unwrap(), files::read(place.join("scores.json")).unwrap())
        };
        let classes = metrics::Ceiling { accuracy: 0.8449, auc: 0.942 };
        let metastatic = metrics::Ceiling { accuracy: 0.947, auc: 0.977 };
        let known = Ceilings { classes, metastatic: Some(metastatic) };
        let (scores, page, json) = of(Some(known), "known");
        assert_eq!(scores.ceilings, Some(known));
        let page = String::from_utf8(page).unwrap();
        for said in ["<p>of at most 84 %; 95 % interval", "<p>of at most 0.94", "<p>of at most 95 %; 95 %", "<p>of at most 0.98"]
        {
            assert_eq!(page.matches(said).count(), 1, "{said}");
        }
        assert!(page.contains("is what one reaches who learns from as many simulated patients"));
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let metastatic = serde_json::json!({ "accuracy": 0.947, "auc": 0.977 });
        assert_eq!(json["ceiling"], serde_json::json!({ "accuracy": 0.8449, "auc": 0.942, "metastatic": metastatic }));
        let (_, page, json) = of(None, "unknown");
        assert!(!String::from_utf8(page).unwrap().contains("at most") && !String::from_utf8(json).unwrap().contains("ceiling"));
    }

    /// A run that went on leaves no table of the model before it unnoticed.
    #[test]
    fn a_table_by_another_model_than_that_beside_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut evaluation = example(3);
        evaluation.model.sha256 = files::sha256(b"a model");
        write_evaluation(&evaluation, folder.path()).unwrap();
        let table = std::fs::read_to_string(folder.path().join("patients.csv")).unwrap();
        assert!(table.starts_with("patient,truth,predicted,correct,p(NoMet),p(ADMet),p(nADMet),model_sha256\n"), "{table}");
        assert_eq!(table.matches(&format!(",{}\n", evaluation.model.sha256)).count(), 60);
        read_patients(folder.path()).expect("no model lies beside it");
        let model = folder.path().join("model.safetensors");
        files::write(&model, b"a model").unwrap();
        assert_eq!(read_patients(folder.path()).unwrap().patients.len(), 60);
        files::write(&model, b"another model").unwrap();
        let said = read_patients(folder.path().join("patients.csv")).unwrap_err().to_string();
        assert!(
            said.contains("patients.csv: line 2 is by another model than the model.safetensors beside it; evaluate"),
            "{said}"
        );
        // Of before the column was there, or of a model in memory.
        evaluation.model.sha256.clear();
        write_evaluation(&evaluation, folder.path()).unwrap();
        read_patients(folder.path()).unwrap();
    }

    #[test]
    fn what_is_no_table_of_patients_is_refused_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("patients.csv");
        let said = |text: &str| {
            files::write(&path, text.as_bytes()).unwrap();
            read_patients(folder.path()).unwrap_err().to_string()
        };
        for (text, part) in [
            ("", "patients.csv: has no column `patient`"),
            ("patient,truth\n", "has no column `p(CLASS)`"),
            ("patient,p(a)\nx,1\n", "has no column `truth`"),
            ("patient,truth,p(a)\nx,b,1\n", "line 2 has the class `b`, which no column has"),
            ("patient,truth,p(a)\nx,a,1\ny,a,NaN\n", "line 3 has `NaN`, which is no probability"),
            ("patient,truth,p(a)\nx,a,1.5\n", "line 2 has `1.5`"),
            ("patient,truth,p(a)\nx,a\n", "is not CSV"),
        ] {
            let said = said(text);
            assert!(said.contains(part) && said.contains("osteon evaluate"), "{text}: {said}");
        }
        assert!(read_patients(folder.path().join("none")).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut evaluation = example(3);
        evaluation.patients[3].probabilities.pop();
        assert!(write_evaluation(&evaluation, folder.path().join("new")).is_err());
        let mut prediction = Prediction { scans: example(3).cases, model: example(3).model, ..Prediction::default() };
        prediction.scans[0].probabilities.pop();
        assert!(write_prediction(&prediction, folder.path().join("new")).is_err());
        assert!(!folder.path().join("new").exists());
    }

    #[test]
    fn the_pick_shows_errors_first_and_every_class() {
        let sure = |truth: usize, class: usize, p: f32| {
            let mut probabilities = vec![(1.0 - p) / 2.0; 3];
            probabilities[class] = p;
            PatientRow { patient: String::new(), truth, probabilities }
        };
        let patients = [sure(0, 0, 0.9), sure(1, 0, 0.6), sure(2, 2, 0.8), sure(2, 1, 0.95), sure(0, 0, 0.99), sure(1, 1, 0.7)];
        assert_eq!(pick_cases(&patients, 9), [3, 1, 4, 5, 2, 0]);
        assert_eq!(pick_cases(&patients, 3), [3, 1, 4]);
        assert_eq!(pick_cases(&patients, 0), [0usize; 0]);
        assert_eq!(pick_cases(&[], 5), [0usize; 0]);
        let all_wrong: Vec<PatientRow> = (0..9).map(|_| sure(0, 1, 0.9)).collect();
        assert_eq!(pick_cases(&all_wrong, 6).len(), 6);
    }
}
