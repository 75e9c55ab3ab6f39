//! What a model file says beside its weights.

use super::{MIN_SIDE, Pooling, TrainingData};
use crate::nn::{AttentionSettings, NormSettings};
use crate::prepare::Preprocessing;
use crate::text::{counted, is_hidden};
use crate::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

/// The version of the model file that this program writes. It reads this one and those before it.
pub const FORMAT_VERSION: u32 = 3;

/// From this version on a model file holds the hash of its weights.
pub(super) const WEIGHTS_HASHED_SINCE: u32 = 2;

/// From this version on it holds the hash of all that it says about itself.
pub(super) const HASHED_SINCE: u32 = 3;

/// Under this key: [`Model::weights_hash`](super::Model::weights_hash).
pub(super) const WEIGHTS_HASH: &str = "weights_sha256";

/// Under this key: SHA-256 of the rest of the text metadata, the hash of the weights among it, as compact JSON with sorted keys in
/// UTF-8. That is Python's `json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()`.
pub const METADATA_HASH: &str = "metadata_sha256";

/// Under this key: the version of the model file.
pub const FORMAT: &str = "format_version";

/// Under this key: [`StudyCounts`] of the training set; model files from before this was counted do not have it.
pub const TRAINING_STUDIES: &str = "training_studies";

/// Under this key: [`TrainingData`]; models that were not trained, or before this was kept, do not have it.
pub const TRAINING_DATA: &str = "training_data";

/// Under this key: what the logits were divided by; models that were not calibrated do not have it.
pub const TEMPERATURE: &str = "temperature";

/// Under this key: [`Provenance`].
pub const PROVENANCE: &str = "provenance";

/// A process that took part in a run: what the bits of its steps depend on, beside the run's configuration and inputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Of the program.
    pub version: String,
    /// That the program was built from; empty where that is not known.
    pub commit: String,
    /// That the program was built for.
    pub target: String,
    /// Instruction set of the kernels.
    pub isa: String,
    /// Worker threads; no bit depends on them.
    pub threads: usize,
    /// It began in this epoch, from 1,
    pub epoch: usize,
    /// after so many steps of it.
    pub steps: usize,
}

/// The run that a model comes from: enough to repeat it and to find its `run.json`, whose hash of weights after `epochs` epochs is
/// this model's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Of the program.
    pub version: String,
    /// That the program was built from; empty where that is not known.
    pub commit: String,
    /// Instruction set of the kernels.
    pub isa: String,
    /// Where processes with different builds or instruction sets took part in the run, all of them in order, as in its `run.json`; the
    /// fields above are the last one's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// SHA-256 of the data: of the lines `SHA256  NAME`, sorted by name, of the manifest and every file that it names.
    pub data: String,
    /// SHA-256 of the run's `split.csv`; `None` in model files from before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Every setting that the weights depend on.
    pub configuration: serde_json::Value,
    /// Epochs of training: all of the run's, or as many as validation patients found best.
    pub epochs: usize,
    /// Of the validation studies, or without those of the test studies, after the last of them, where they were measured: loss, accuracy,
    /// mean F1, mean AUC; those of validation studies say so in their names.
    pub scores: BTreeMap<String, f64>,
}

/// The version of the simulator that made a phantom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum SimulatorVersion {
    /// One camera, 1.6 to 6.1 million counts a view, joints and fractures as the only mimics.
    One,
    /// Several hospitals, 0.3 to 6 million counts a view, and what else real scans have.
    #[default]
    Two,
}

impl SimulatorVersion {
    /// From the first to the latest.
    pub const ALL: [SimulatorVersion; 2] = [SimulatorVersion::One, SimulatorVersion::Two];

    /// Its number, from 1.
    pub fn number(self) -> u32 {
        match self {
            SimulatorVersion::One => 1,
            SimulatorVersion::Two => 2,
        }
    }
}

/// Its number.
impl fmt::Display for SimulatorVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

impl FromStr for SimulatorVersion {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|version| version.to_string() == text).ok_or_else(|| "choose 1 or 2".to_owned())
    }
}

impl TryFrom<u32> for SimulatorVersion {
    type Error = String;
    fn try_from(number: u32) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|version| version.number() == number);
        known.ok_or_else(|| format!("there is no simulator {number} in this version of osteon"))
    }
}

impl From<SimulatorVersion> for u32 {
    fn from(version: SimulatorVersion) -> u32 {
        version.number()
    }
}

/// The simulators that some phantoms are of; in files a list of their versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<SimulatorVersion>", into = "Vec<SimulatorVersion>")]
pub struct Simulators([bool; SimulatorVersion::ALL.len()]);

impl Simulators {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Simulators::default()
    }

    /// From the first to the latest.
    pub fn versions(self) -> impl Iterator<Item = SimulatorVersion> {
        SimulatorVersion::ALL.into_iter().zip(self.0).filter_map(|(version, is_there)| is_there.then_some(version))
    }
}

impl FromIterator<SimulatorVersion> for Simulators {
    fn from_iter<I: IntoIterator<Item = SimulatorVersion>>(versions: I) -> Self {
        let mut simulators = Simulators::default();
        versions.into_iter().for_each(|version| simulators.0[version as usize] = true);
        simulators
    }
}

impl From<Vec<SimulatorVersion>> for Simulators {
    fn from(versions: Vec<SimulatorVersion>) -> Self {
        versions.into_iter().collect()
    }
}

impl From<Simulators> for Vec<SimulatorVersion> {
    fn from(simulators: Simulators) -> Self {
        simulators.versions().collect()
    }
}

/// `simulator 2`, or `simulators 1 and 2`.
impl fmt::Display for Simulators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.versions().map(|version| version.to_string()).collect();
        write!(f, "simulator{} {}", if numbers.len() == 1 { "" } else { "s" }, numbers.join(" and "))
    }
}

/// How many studies there are, and how many of them are simulated: phantoms in place of patients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StudyCounts {
    /// All of them; augmented copies count.
    pub studies: usize,
    /// Those that are simulated.
    pub simulated_studies: usize,
    /// By which simulators. Files from before there was a second one do not say it; their phantoms are of the first.
    #[serde(default, skip_serializing_if = "Simulators::is_empty")]
    pub simulators: Simulators,
}

impl StudyCounts {
    /// Those of a model's training set. Model files from before there were counts have only the text `trained_on`; there, "phantom"
    /// in the text means that all studies are simulated.
    pub fn of_training(counts: Option<StudyCounts>, trained_on: &str) -> Self {
        counts.unwrap_or_else(|| {
            let studies = trained_on.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(1);
            let simulated = trained_on.to_ascii_lowercase().contains("phantom");
            StudyCounts { studies, simulated_studies: if simulated { studies } else { 0 }, ..StudyCounts::default() }
        })
    }

    /// Whether any study is simulated.
    pub fn any_simulated(&self) -> bool {
        self.simulated_studies > 0
    }

    /// Whether there are studies, and all of them are simulated.
    pub fn all_simulated(&self) -> bool {
        self.any_simulated() && self.simulated_studies >= self.studies
    }

    /// The simulators of those that are simulated.
    pub fn simulators(&self) -> Simulators {
        let is_told = !self.any_simulated() || !self.simulators.is_empty();
        if is_told { self.simulators } else { [SimulatorVersion::One].into_iter().collect() }
    }

    /// `999 of 1000 studies are simulated by simulator 2`
    pub fn sentence(&self) -> String {
        let verb = if self.simulated_studies == 1 { "is" } else { "are" };
        let by = if self.any_simulated() { format!(" by {}", self.simulators()) } else { String::new() };
        format!("{} of {} {verb} simulated{by}", self.simulated_studies, counted(self.studies, "study"))
    }
}

impl Sum for StudyCounts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(StudyCounts::default(), |sum, counts| StudyCounts {
            studies: sum.studies + counts.studies,
            simulated_studies: sum.simulated_studies + counts.simulated_studies,
            simulators: sum.simulators().versions().chain(counts.simulators().versions()).collect(),
        })
    }
}

/// `1 study`, `60 studies`, `60 phantom studies of simulator 2`, or `60 studies, 59 of them phantoms of simulator 2`.
impl fmt::Display for StudyCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StudyCounts { studies, simulated_studies, .. } = self;
        let simulators = self.simulators();
        match (self.any_simulated(), self.all_simulated()) {
            (false, _) => f.write_str(&counted(*studies, "study")),
            (true, true) => write!(f, "{} of {simulators}", counted(*studies, "phantom study")),
            (true, false) => {
                write!(f, "{}, {simulated_studies} of them phantoms of {simulators}", counted(*studies, "study"))
            }
        }
    }
}

/// The largest side of an input.
const MAX_SIDE: usize = 16384;

/// The most classes.
const MAX_CLASSES: usize = 1000;

/// What a model is, beside its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// The network's name.
    pub architecture: String,
    /// Its classes, in the order of its logits.
    pub classes: Vec<String>,
    /// Rows and columns of the images it was made for.
    pub input_size: [usize; 2],
    /// From two views to its input.
    pub preprocessing: Preprocessing,
    /// Version of the model file.
    pub format_version: u32,
    /// What it was trained on, in a few words, such as `phantoms`; empty if it was not.
    pub trained_on: String,
    /// How many studies it was trained on, and how many of these are simulated; `None` in files from before this was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_studies: Option<StudyCounts>,
    /// The run it comes from, if this program trained it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// Of its attention, where it has any.
    pub attention: AttentionSettings,
    /// Of its batch normalisations.
    pub norm: NormSettings,
    /// What its logits were divided by, in its last layer, so that the probabilities of its validation patients were calibrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// What the scans that it was trained on are like; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_data: Option<TrainingData>,
    /// What stands between feature maps and linear layers; in a model [`Pooling::Auto`] has become one of the others.
    pub pooling: Pooling,
}

impl Metadata {
    /// A model with the paper's settings, not trained.
    pub fn new(architecture: &str, classes: &[String], input_size: [usize; 2], preprocessing: Preprocessing) -> Self {
        Metadata {
            architecture: architecture.into(),
            classes: classes.to_vec(),
            input_size,
            preprocessing,
            format_version: FORMAT_VERSION,
            trained_on: String::new(),
            training_studies: None,
            provenance: None,
            attention: AttentionSettings::default(),
            norm: NormSettings::default(),
            temperature: None,
            training_data: None,
            pooling: Pooling::Auto,
        }
    }

    /// How many studies it was trained on, and how many of these are simulated.
    pub fn training_studies(&self) -> StudyCounts {
        StudyCounts::of_training(self.training_studies, &self.trained_on)
    }

    /// Refuses what no network can have.
    ///
    /// # Errors
    /// One sentence about the first such setting.
    pub fn check(&self) -> Result<()> {
        let [rows, columns] = self.input_size;
        let sides = MIN_SIDE..=MAX_SIDE;
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.classes.iter().find(|class| !seen.insert(*class)) {
            let problem = format!("`{twice}` stands twice in the list of classes");
            return Err(Error::setting(problem, "name every class once"));
        }
        let rules = [
            (sides.contains(&rows) && sides.contains(&columns), "the input size", "choose sides from 32 to 16384 pixels"),
            ((2..=MAX_CLASSES).contains(&self.classes.len()), "the list of classes", "give from 2 to 1000 classes"),
            (self.classes.iter().all(|class| !class.trim().is_empty()), "the list of classes", "give every class a name"),
            (
                !self.classes.iter().any(|class| class.contains(is_hidden)),
                "the list of classes",
                "give classes names without control characters and without characters that are not seen",
            ),
            ((1..=512).contains(&self.attention.reduction), "the attention's reduction", "choose one from 1 to 512"),
            (
                self.attention.kernel % 2 == 1 && self.attention.kernel <= 31,
                "the attention's kernel",
                "choose an odd side up to 31",
            ),
            (self.norm.epsilon > 0.0 && self.norm.epsilon < 1.0, "batch normalisation's epsilon", "choose one between 0 and 1"),
            ((0.0..=1.0).contains(&self.norm.momentum), "batch normalisation's momentum", "choose one from 0 to 1"),
        ];
        match rules.iter().find(|(holds, ..)| !holds) {
            Some((_, what, remedy)) => Err(Error::setting(format!("{what} cannot be used"), *remedy)),
            None => self.pooling.check(&self.architecture, self.input_size).and_then(|()| self.preprocessing.check()),
        }
    }

    /// As the text metadata of a model file.
    pub(super) fn to_text(&self) -> BTreeMap<String, String> {
        let json = |value: serde_json::Result<String>| value.expect("plain values are JSON");
        let [rows, columns] = self.input_size;
        let entries = [
            ("architecture", self.architecture.clone()),
            ("attention", json(serde_json::to_string(&self.attention))),
            ("batch_norm", json(serde_json::to_string(&self.norm))),
            ("classes", json(serde_json::to_string(&self.classes))),
            (FORMAT, FORMAT_VERSION.to_string()),
            ("input_size", format!("{rows}x{columns}")),
            ("pooling", json(serde_json::to_string(&self.pooling))),
            ("preprocessing", json(serde_json::to_string(&self.preprocessing))),
            ("trained_on", self.trained_on.clone()),
        ];
        let provenance = self.provenance.as_ref().map(|provenance| (PROVENANCE, json(serde_json::to_string(provenance))));
        let studies = self.training_studies.map(|counts| (TRAINING_STUDIES, json(serde_json::to_string(&counts))));
        let temperature = self.temperature.map(|temperature| (TEMPERATURE, json(serde_json::to_string(&temperature))));
        let data = self.training_data.as_ref().map(|data| (TRAINING_DATA, json(serde_json::to_string(data))));
        entries
            .into_iter()
            .chain(provenance)
            .chain(studies)
            .chain(temperature)
            .chain(data)
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    /// The inverse of [`to_text`](Self::to_text); the error says what is wrong.
    pub(super) fn from_text(text: &BTreeMap<String, String>) -> Result<Self, String> {
        let get = |key: &str| text.get(key).ok_or_else(|| format!("is not a model of osteon: its metadata has no `{key}`"));
        fn json<T: DeserializeOwned>(key: &str, text: &str) -> Result<T, String> {
            serde_json::from_str(text).map_err(|error| format!("has metadata `{key}` that cannot be used ({error})"))
        }
        let format_version: u32 = json(FORMAT, get(FORMAT)?)?;
        if !(1..=FORMAT_VERSION).contains(&format_version) {
            return Err(format!("has format version {format_version}, and this program reads those up to {FORMAT_VERSION}"));
        }
        let size = get("input_size")?;
        let sides = size.split_once('x').and_then(|(rows, columns)| Some([rows.parse().ok()?, columns.parse().ok()?]));
        Ok(Metadata {
            architecture: get("architecture")?.clone(),
            classes: json("classes", get("classes")?)?,
            input_size: sides.ok_or_else(|| format!("has the input size `{size}`, which is not rows x columns"))?,
            preprocessing: json("preprocessing", get("preprocessing")?)?,
            format_version,
            trained_on: text.get("trained_on").cloned().unwrap_or_default(),
            training_studies: text.get(TRAINING_STUDIES).map(|text| json(TRAINING_STUDIES, text)).transpose()?,
            provenance: text.get(PROVENANCE).map(|text| json(PROVENANCE, text)).transpose()?,
            attention: json("attention", get("attention")?)?,
            norm: json("batch_norm", get("batch_norm")?)?,
            temperature: text.get(TEMPERATURE).map(|text| json(TEMPERATURE, text)).transpose()?,
            training_data: text.get(TRAINING_DATA).map(|text| json(TRAINING_DATA, text)).transpose()?,
            // The networks of before there was a choice have one alone.
            pooling: text.get("pooling").map_or(Ok(Pooling::Auto), |text| json("pooling", text))?,
        })
    }
}
