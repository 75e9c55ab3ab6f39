//! The paper's whole study: which networks are trained on which data, what the paper found, and the page that shows both.
//!
//! A [`Plan`] is a list of trainings, each with a folder of its own in the [`StudyFolder`]; [`paper`] holds the paper's results; [`page`] makes tables and
//! text of finished runs. Nothing here trains: `osteon reproduce` does, as `osteon train` would, so that each run of the study is a
//! run like any other, with its checkpoints, its record and its report.

pub mod folder;
pub mod page;
pub mod paper;
mod table;

pub use folder::StudyFolder;
pub use table::TextTable;

use crate::archive::datasets::DatasetKind;
use crate::archive::manifest::{ColumnNames, PAPER_CLASSES};
use crate::models::Model;
use crate::phantom::{PhantomOptions, SimulatorVersion};
use crate::prepare::Augmentation;
use crate::prepare::Preprocessing;
use crate::random::MOST_SEED;
use crate::train::{Recipe, Settings, Trainer};
use crate::{Error, Result, files};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

/// How large the study is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Minutes: few patients, tiny pictures. It shows that everything runs, and its scores mean nothing.
    Smoke,
    /// A quarter of the paper's rows and columns.
    Quarter,
    /// The paper's.
    Full,
}

impl Scale {
    /// Rows and columns of the networks' inputs.
    pub fn input_size(self) -> [usize; 2] {
        match self {
            Scale::Smoke => [64, 32],
            Scale::Quarter => [256, 64],
            Scale::Full => [1024, 256],
        }
    }

    /// Passes over the training images where nobody says. D2 and D3 have three copies of a patient, so that an epoch is three passes
    /// over the patients, of which 60 epochs do no better than 30 (`reference/recipes/README.md`).
    pub fn epochs(self, recipe: Recipe) -> usize {
        match (self, recipe) {
            (Scale::Smoke, _) => 2,
            (Scale::Quarter | Scale::Full, Recipe::Osteon) => 30,
            (Scale::Quarter | Scale::Full, Recipe::Paper) => recipe.settings().epochs,
        }
    }

    /// Phantoms in place of the paper's archive: 1011 images of 506 patients, 614 of NoMet, 237 of ADMet, 160 of nADMet.
    pub fn phantoms(self, seed: u64, simulator: SimulatorVersion) -> PhantomOptions {
        let mix = [614.0, 237.0, 160.0];
        let archive = PhantomOptions { studies: 506, seed, mix, simulator, ..PhantomOptions::default() };
        match self {
            Scale::Smoke => PhantomOptions { studies: 36, mix: [1.0; 3], rows: 256, columns: 64, ..archive },
            Scale::Quarter | Scale::Full => archive,
        }
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scale::Smoke => "smoke",
            Scale::Quarter => "quarter",
            Scale::Full => "full",
        })
    }
}

impl FromStr for Scale {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Scale::Smoke, Scale::Quarter, Scale::Full];
        all.into_iter().find(|scale| scale.to_string() == text).ok_or_else(|| "choose smoke, quarter or full".to_owned())
    }
}

/// What a study depends on; it is kept in its folder, so that one that goes on is the one that was begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// How large.
    pub scale: Scale,
    /// A hospital's archive; none: phantoms.
    pub data: Option<PathBuf>,
    /// SHA-256 of that manifest.
    pub data_sha256: Option<String>,
    /// Names that its columns have.
    #[serde(default, skip_serializing_if = "ColumnNames::is_empty")]
    pub columns: ColumnNames,
    /// Its scans were not looked at before anything was made, so that people under two pseudonyms are not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trust_scans: bool,
    /// Of the phantoms, where there is no archive. Records from before there was a second simulator do not say it.
    #[serde(default = "first_simulator", skip_serializing_if = "is_first_simulator")]
    pub simulator: SimulatorVersion,
    /// Of phantoms, datasets and, with 1, 2... added, of the networks' first weights.
    pub seed: u64,
    /// How often every network of the tables is trained, each time with other first weights and another order.
    pub seeds: usize,
    /// Folds of the cross-validation; 0: none.
    pub folds: usize,
    /// Whether inRAC is also trained on D3 by the paper's recipe to its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paper_recipe: bool,
    /// The training's settings but for size, epochs and seeds.
    pub recipe: Recipe,
    /// Passes over the training images.
    pub epochs: usize,
}

fn first_simulator() -> SimulatorVersion {
    SimulatorVersion::One
}

fn is_first_simulator(version: &SimulatorVersion) -> bool {
    *version == SimulatorVersion::One
}

/// The file of the [`Options`] in the folder of a repeated study.
pub const OPTIONS_FILE: &str = "study.toml";

impl Options {
    /// The most seeds.
    pub const MOST_SEEDS: usize = 100;
    /// The most folds.
    pub const MOST_FOLDS: usize = 100;

    /// Refuses what no study can have.
    ///
    /// # Errors
    /// One sentence about the first such option.
    pub fn check(&self) -> Result<()> {
        let refuse = |problem: &str, remedy: &str| Err(Error::setting(problem, remedy));
        match self {
            Options { seeds: 0, .. } => refuse("a study of no seeds trains nothing", "ask for at least one, or for 3"),
            Options { epochs: 0, .. } => refuse("a study of no epochs trains nothing", "ask for at least one"),
            Options { folds: 1, .. } => {
                refuse("a cross-validation of 1 fold has nothing to train with", "choose 0 (none) or at least 2 folds")
            }
            Options { seeds, .. } if *seeds > Self::MOST_SEEDS => refuse("a study has at most 100 seeds", "ask for fewer"),
            Options { folds, .. } if *folds > Self::MOST_FOLDS => {
                refuse("a cross-validation has at most 100 folds", "ask for fewer")
            }
            Options { epochs, .. } if *epochs > Settings::MOST_EPOCHS => {
                refuse("a training has at most 1000000 epochs", "ask for fewer")
            }
            Options { data: Some(data), .. } if data.to_str().is_none() => {
                let problem = "has a path that is not UTF-8, which the record of a study cannot hold";
                Err(Error::file(data, problem, "rename its folder, or give it by another path"))
            }
            // Each repetition has the next seed.
            Options { seed, seeds, .. } if *seed > MOST_SEED - *seeds as u64 => {
                refuse("the seeds go beyond 2^63 - 1, the largest", "choose a smaller --seed")
            }
            _ => Ok(()),
        }
    }

    fn text(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::setting(error.to_string(), "choose other options"))
    }

    /// Writes them into the folder of a repeated study.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::write(folder.join(OPTIONS_FILE), self.text()?.as_bytes())
    }

    /// Refuses a folder that has a study of other options, or no study but something else. More seeds or folds and the paper's recipe
    /// only add trainings: a study may grow by them, and be shown with fewer.
    ///
    /// # Errors
    /// One sentence with the first option that differs; a folder that cannot be read.
    pub fn check_folder(&self, folder: &Path) -> Result<()> {
        let path = folder.join(OPTIONS_FILE);
        if !path.exists() {
            return if is_free(folder)? {
                Ok(())
            } else {
                Err(Error::file(folder, "holds something that is not this study's", "choose another output folder"))
            };
        }
        let text = self.text()?;
        let there = String::from_utf8(files::read_at_most(&path, 1 << 20)?).unwrap_or_default();
        let grows = |line: &&str| ["seeds ", "folds ", "paper_recipe "].iter().any(|key| line.starts_with(key));
        let lines = |text: &str| text.lines().filter(|line| !grows(line)).map(str::to_owned).collect::<Vec<_>>();
        let (there, own) = (lines(&there), lines(&text));
        let differs = |from: &[String], to: &[String]| from.iter().find(|line| !to.contains(line)).cloned();
        match (differs(&there, &own), differs(&own, &there)) {
            (None, None) => Ok(()),
            (there, own) => {
                let said = |line: Option<String>| line.unwrap_or_else(|| "nothing of the kind".to_owned());
                let problem = format!("is of another study: it says `{}` where this one has `{}`", said(there), said(own));
                Err(Error::file(&path, problem, "give the options that it was begun with, or another output folder"))
            }
        }
    }
}

/// Whether a folder is not there yet, or has nothing in it but what a process has left that was killed while it wrote the first file.
fn is_free(folder: &Path) -> Result<bool> {
    let unreadable = |error| Error::io(folder, "read", &error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        entries => entries.map_err(unreadable)?,
    };
    for entry in entries {
        if entry.map_err(unreadable)?.path().extension().is_none_or(|ending| ending != "tmp") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What a network is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// Single views.
    D1,
    /// Single views and copies.
    D2,
    /// Aggregated views and copies.
    D3,
    /// D3 with the metastatic classes merged.
    D3TwoClasses,
    /// The archive's studies, of which fold so many, from 0, tests; augmented on the fly, since its copies would be others in each fold.
    Fold(usize),
}

impl Data {
    /// The name of its folder.
    pub fn name(self) -> String {
        match self {
            Data::D1 => "d1".to_owned(),
            Data::D2 => "d2".to_owned(),
            Data::D3 => "d3".to_owned(),
            Data::D3TwoClasses => "d3-two-classes".to_owned(),
            Data::Fold(fold) => format!("fold{}", fold + 1),
        }
    }

    /// Which of the paper's datasets it is, and whether two classes are merged; none for a fold.
    pub fn kind(self) -> Option<(DatasetKind, bool)> {
        match self {
            Data::D1 => Some((DatasetKind::D1, false)),
            Data::D2 => Some((DatasetKind::D2, false)),
            Data::D3 => Some((DatasetKind::D3, false)),
            Data::D3TwoClasses => Some((DatasetKind::D3, true)),
            Data::Fold(_) => None,
        }
    }
}

/// By what recipe a network is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The study's.
    Study,
    /// The paper's, for as many epochs as the paper.
    Paper,
    /// The paper's; then the statistics of batch normalisation are measured over all training images (precise batch normalisation),
    /// with the weights as they are.
    PaperPrecise,
}

/// One network to be trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// What on.
    pub data: Data,
    /// Its architecture.
    pub architecture: &'static str,
    /// Which of the seeds, from 0.
    pub repetition: usize,
    /// By what recipe.
    pub by: By,
}

impl Training {
    /// The name of its folder: `d3-inrac`, `d3-inrac-seed2`, `d3-inrac-paper`.
    pub fn name(&self) -> String {
        let by = match self.by {
            By::Study => "",
            By::Paper => "-paper",
            By::PaperPrecise => "-paper-precise",
        };
        let first = format!("{}-{}{by}", self.data.name(), self.architecture);
        match self.repetition {
            0 => first,
            repetition => format!("{first}-seed{}", repetition + 1),
        }
    }

    /// The training whose network this one begins with, if any.
    pub fn begins_with(&self) -> Option<Training> {
        (self.by == By::PaperPrecise).then(|| Training { by: By::Paper, ..self.clone() })
    }

    /// Its settings, but for the folder of the training that it [begins with](Self::begins_with).
    pub fn settings(&self, options: &Options) -> Settings {
        /// A learning rate that changes no weight which an f32 tells from zero: a step of Adam is about as large as the rate.
        const STANDSTILL: f32 = 1e-30;
        let (recipe, epochs) = match self.by {
            By::Study => (options.recipe, options.epochs),
            By::Paper | By::PaperPrecise => (Recipe::Paper, options.scale.epochs(Recipe::Paper)),
        };
        let of_recipe = recipe.settings_for(self.architecture);
        // What the paper augments has its copies; its D1 is without.
        let augmentation = match (recipe, self.data) {
            (Recipe::Paper, Data::D1 | Data::D2 | Data::D3 | Data::D3TwoClasses) => Augmentation::NONE,
            _ => of_recipe.augmentation,
        };
        // Curves of thirty points, or of what early stopping needs: a measurement costs a tenth of an epoch, with precise batch
        // normalisation two thirds of one.
        let test_every = match recipe {
            Recipe::Paper => epochs.div_ceil(30),
            Recipe::Osteon => of_recipe.test_every.min(epochs.div_ceil(5)),
        };
        let settings = Settings {
            architecture: self.architecture.to_owned(),
            input_size: options.scale.input_size().into(),
            epochs,
            seed: options.seed + self.repetition as u64,
            test_every,
            augmentation,
            ..of_recipe
        };
        match self.by {
            By::Study | By::Paper => settings,
            By::PaperPrecise => Settings { epochs: 1, test_every: 1, learning_rate: STANDSTILL, precise_norm: true, ..settings },
        }
    }
}

/// All trainings, in the order in which they are done: every network once before any a second time.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The trainings.
    pub trainings: Vec<Training>,
}

/// Every architecture that is trained on D3, in the order of the paper's tables.
const ON_D3: [&str; 9] = [
    "inrac",
    "outrac",
    "inrac-no-residual-no-attention",
    "inrac-no-residual",
    "inrac-no-attention",
    "classifier-18",
    "classifier-34",
    "inception-v1",
    "vgg-11",
];

impl Plan {
    /// The study's trainings.
    pub fn new(options: &Options) -> Self {
        let training = |data, architecture, repetition| Training { data, architecture, repetition, by: By::Study };
        let mut trainings = Vec::new();
        for repetition in 0..options.seeds {
            trainings.extend(ON_D3.map(|architecture| training(Data::D3, architecture, repetition)));
            trainings.extend([Data::D3TwoClasses, Data::D2, Data::D1].map(|data| training(data, "inrac", repetition)));
        }
        trainings.extend((0..options.folds).map(|fold| training(Data::Fold(fold), "inrac", 0)));
        if options.paper_recipe {
            trainings.extend([By::Paper, By::PaperPrecise].map(|by| Training { by, ..training(Data::D3, "inrac", 0) }));
        }
        Plan { trainings }
    }

    /// What they are trained on, each once.
    pub fn data(&self) -> Vec<Data> {
        let mut data: Vec<Data> = self.trainings.iter().map(|training| training.data).collect();
        data.sort_unstable();
        data.dedup();
        data
    }
}

/// How many of a dataset's training and test images train, and how many are measured in training: those that choose the epoch, or the
/// test images where none do. Validation patients are a share of the patients, so that it is about as many.
pub fn images_in_training([train, test]: [usize; 2], settings: &Settings) -> [usize; 2] {
    match (train as f64 * settings.validation_share).round() as usize {
        0 => [train, test],
        validation => [train - validation, validation],
    }
}

/// Seconds that one network takes, measured on pictures of noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// A training step, an image of its batch.
    pub step: f64,
    /// Inference on one image.
    pub image: f64,
    /// Writing the model and a checkpoint, with their hashes, after an epoch.
    pub files: f64,
}

impl Speed {
    /// Measures an architecture at the size and batch of `settings`; it takes a few steps. `written` is how many bytes a second are
    /// hashed and reach the disk; infinity leaves that out.
    ///
    /// # Errors
    /// Settings that no network can have.
    pub fn measure(settings: &Settings, written: f64) -> Result<Self> {
        /// At the paper's size a smaller batch than its 32 gives the same time an image, in a quarter of the time.
        const MOST_PIXELS: usize = 8 * 1024 * 256;
        let size = settings.input_size.array();
        let pixels = size[0] * size[1];
        let batch = settings.batch.min((MOST_PIXELS / pixels).max(1));
        let classes = PAPER_CLASSES.map(str::to_owned);
        let model = Model::new(&settings.architecture, &classes, size, Preprocessing::default(), settings.seed)?;
        let mut trainer = Trainer::new(model, settings.adam());
        // Noise enough for batch normalisation.
        let images: Vec<f32> = (0..batch * pixels).map(|at| ((at * 2_654_435_761) % 1000) as f32 / 1000.0).collect();
        let labels: Vec<u32> = (0..batch).map(|at| (at % classes.len()) as u32).collect();
        let timed = |work: &mut dyn FnMut() -> Result<()>| -> Result<f64> {
            work()?;
            let mut seconds = [0.0; 3];
            for seconds in &mut seconds {
                let start = Instant::now();
                work()?;
                *seconds = start.elapsed().as_secs_f64();
            }
            seconds.sort_by(f64::total_cmp);
            Ok(seconds[1])
        };
        // A learning rate of zero: how long a step takes does not depend on it.
        let step = timed(&mut || trainer.step(&images, &labels, 0.0).map(|_| ()))?;
        let image = timed(&mut || trainer.model().logits(&images, batch).map(|_| ()))? / batch as f64;
        // A checkpoint has weights and two moments; the model's file has the weights again.
        let files = (4 * size_of::<f32>() * trainer.model().parameter_count()) as f64 / written;
        Ok(Speed { step: step / batch as f64, image, files })
    }

    /// Seconds of one epoch of training steps on so many images.
    pub fn epoch(&self, images: usize) -> f64 {
        // The last batch of an epoch is smaller, and so is its step, nearly.
        self.step * images as f64
    }

    /// Seconds of a whole training with so many training and test images that does not stop early.
    pub fn training(&self, images: [usize; 2], settings: &Settings) -> f64 {
        let [train, held_out] = images_in_training(images, settings);
        let measured = settings.epochs.div_ceil(settings.test_every);
        let precise = if settings.precise_norm { train as f64 * 2.0 * self.image } else { 0.0 };
        settings.epochs as f64 * (self.epoch(train) + self.files) + measured as f64 * (held_out as f64 * self.image + precise)
    }
}

/// The speed of every architecture of some trainings, whose files go to `folder`; without one nothing is written, and the time that files take
/// is left out.
///
/// # Errors
/// As [`Speed::measure`]; the folder cannot be written.
pub fn speeds(trainings: &[&Training], options: &Options, folder: Option<&Path>) -> Result<BTreeMap<&'static str, Speed>> {
    let written = folder.map_or(Ok(f64::INFINITY), bytes_a_second)?;
    let mut speeds = BTreeMap::new();
    for training in trainings {
        if !speeds.contains_key(training.architecture) {
            speeds.insert(training.architecture, Speed::measure(&training.settings(options), written)?);
        }
    }
    Ok(speeds)
}

/// How many bytes a second are hashed and reach the disk in a folder.
fn bytes_a_second(folder: &Path) -> Result<f64> {
    let bytes = vec![1; 64 << 20];
    let path = folder.join("speed.tmp");
    let start = Instant::now();
    files::write(&path, &bytes)?;
    files::sha256(&bytes);
    let written = bytes.len() as f64 / start.elapsed().as_secs_f64();
    fs::remove_file(&path).map_err(|error| Error::io(&path, "removed", &error))?;
    Ok(written)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::models::architectures;
    use std::collections::HashSet;

    pub(crate) fn options() -> Options {
        Options {
            scale: Scale::Smoke,
            data: None,
            data_sha256: None,
            columns: ColumnNames::default(),
            trust_scans: false,
            simulator: SimulatorVersion::Two,
            seed: 5,
            seeds: 3,
            folds: 5,
            paper_recipe: true,
            recipe: Recipe::Paper,
            epochs: 20,
        }
    }

    #[test]
    fn the_plan_trains_all_that_the_tables_show_and_nothing_twice() {
        let plan = Plan::new(&options());
        assert_eq!(plan.trainings.len(), 3 * (9 + 3) + 5 + 2);
        let names: HashSet<String> = plan.trainings.iter().map(Training::name).collect();
        assert_eq!(names.len(), plan.trainings.len());
        for row in paper::TABLES.iter().flat_map(|table| table.rows) {
            for again in ["", "-seed2", "-seed3"] {
                assert!(names.contains(&format!("{}{again}", row.1)), "{}{again} of the paper is not trained", row.1);
            }
        }
        for training in &plan.trainings {
            assert!(architectures().contains(&training.architecture), "{}", training.architecture);
            training.settings(&options()).validate().unwrap();
        }
        assert!(names.contains("d3-vgg-11-seed3") && names.contains("fold5-inrac"));
        let last: Vec<String> = plan.trainings[41..].iter().map(Training::name).collect();
        assert_eq!(last, ["d3-inrac-paper", "d3-inrac-paper-precise"], "the first is the model of the second");
        assert_eq!(plan.data().len(), 4 + 5);
    }

    #[test]
    fn copies_are_not_augmented_again_and_repetitions_begin_differently() {
        let options = options();
        let of = |data, repetition| Training { data, architecture: "inrac", repetition, by: By::Study }.settings(&options);
        assert_eq!(of(Data::D3, 0).augmentation, Augmentation::NONE);
        assert_eq!(of(Data::Fold(0), 0).augmentation, Augmentation::default());
        assert_eq!((of(Data::D3, 0).seed, of(Data::D3, 2).seed, of(Data::D3, 0).test_every), (5, 7, 1));
        assert_eq!((of(Data::D3, 0).learning_rate, of(Data::D3, 0).batch), (0.01, 32));
    }

    #[test]
    fn the_papers_recipe_goes_to_its_end_whatever_the_studys_is() {
        let options =
            Options { scale: Scale::Quarter, recipe: Recipe::Osteon, epochs: Scale::Quarter.epochs(Recipe::Osteon), ..options() };
        let [study, paper, precise] = [By::Study, By::Paper, By::PaperPrecise].map(|by| {
            let training = Training { data: Data::D3, architecture: "inrac", repetition: 0, by };
            (training.settings(&options), training.begins_with().map(|first| first.name()))
        });
        let recipe = Recipe::Osteon.settings();
        assert_eq!((study.0.epochs, study.0.test_every, study.0.patience), (30, recipe.test_every, recipe.patience));
        let expected = Settings {
            architecture: "inrac".to_owned(),
            input_size: Scale::Quarter.input_size().into(),
            seed: 5,
            test_every: 10,
            augmentation: Augmentation::NONE,
            ..Settings::default()
        };
        assert_eq!((paper.0.epochs, &paper.0, paper.1), (300, &expected, None));
        assert_eq!((precise.0.epochs, precise.0.precise_norm), (1, true));
        assert_eq!(precise.1.as_deref(), Some("d3-inrac-paper"));
        assert_eq!(Scale::Smoke.epochs(Recipe::Paper), 2);
    }

    #[test]
    fn a_study_of_other_options_is_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        options().check_folder(folder.path()).unwrap();
        options().write(folder.path()).unwrap();
        options().check_folder(folder.path()).unwrap();
        let other = Options { epochs: 21, ..options() };
        let said = other.check_folder(folder.path()).unwrap_err().to_string();
        assert!(said.contains("`epochs = 20` where this one has `epochs = 21`"), "{said}");
        Options { seeds: 1, folds: 0, paper_recipe: false, ..options() }.check_folder(folder.path()).unwrap();
        let before = Options { paper_recipe: false, ..options() }.text().unwrap();
        assert!(!before.contains("paper_recipe"), "a folder from before there was a choice is one without: {before}");
        let first = Options { simulator: SimulatorVersion::One, ..options() };
        let said = first.check_folder(folder.path()).unwrap_err().to_string();
        assert!(said.contains("simulator = 2"), "{said}");
        assert!(!first.text().unwrap().contains("simulator"), "a folder from before there was a choice is one of simulator 1");
        assert_eq!(toml::from_str::<Options>(&first.text().unwrap()).unwrap(), first);
        let own = tempfile::tempdir().unwrap();
        options().check_folder(&own.path().join("absent")).unwrap();
        fs::write(own.path().join("study.toml.77.tmp"), "sca").unwrap();
        options().check_folder(own.path()).unwrap();
        fs::create_dir(own.path().join("phantoms")).unwrap();
        let said = options().check_folder(own.path()).unwrap_err().to_string();
        assert!(said.contains("holds something that is not this study's; choose another"), "{said}");
        for (wrong, word) in [
            (Options { seeds: 0, ..options() }, "no seeds"),
            (Options { epochs: 0, ..options() }, "no epochs"),
            (Options { folds: 1, ..options() }, "1 fold"),
        ] {
            assert!(wrong.check().unwrap_err().to_string().contains(word));
        }
    }

    #[test]
    fn a_speed_is_of_whole_epochs() {
        let settings = Settings { epochs: 10, test_every: 5, batch: 32, ..Settings::default() };
        let speed = Speed { step: 0.1, image: 0.01, files: 0.5 };
        assert!((speed.epoch(320) - 32.0).abs() < 1e-9);
        assert!((speed.training([320, 100], &settings) - 327.0).abs() < 1e-9);
        let half = Settings { validation_share: 0.5, ..settings.clone() };
        assert_eq!(images_in_training([320, 100], &half), [160, 160]);
        let training = Training { data: Data::D3, architecture: "classifier-18", repetition: 0, by: By::Study };
        let Speed { step, image, files } = Speed::measure(&training.settings(&options()), 1e9).unwrap();
        assert!(step > 0.0 && image > 0.0 && (0.1..0.3).contains(&files), "a model of 11 million weights: {files}");
    }
}
