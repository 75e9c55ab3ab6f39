//! What a training run is told: a TOML file, the same names as flags, and the recipe's values where neither says.

use super::Regularisation;
use super::recipe::{ClassWeights, FAMILIES, Family, Recipe};
use crate::archive::manifest::{ColumnNames, Manifest};
use crate::image::Size;
use crate::models::Pooling;
use crate::nn::NormSettings;
use crate::optim::{Adam, Decay, Restart, Schedule};
use crate::prepare::{Augmentation, Preprocessing};
use crate::random::MOST_SEED;
use crate::{Error, Result, files, metrics};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every setting of a training run. The defaults are those of [`Recipe::Paper`] (PAPER.md names those that the paper leaves open); a
/// configuration, on the command line or in a file, begins with its recipe's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The manifest of the studies. On the command line it is an argument, and the argument wins.
    pub manifest: PathBuf,
    /// Names that the manifest's columns have there, such as `label=diagnosis`.
    pub columns: ColumnNames,
    /// Where the settings came from that were not given. It stands for nothing that the others do not say.
    pub recipe: Recipe,
    /// The network: a name that [`Model::new`](crate::models::Model::new) knows.
    pub architecture: String,
    /// What stands between feature maps and linear layers, where the network leaves a choice: VGG-11.
    pub pooling: Pooling,
    /// The network's input, rows x columns.
    pub input_size: Size,
    /// Passes over the training studies.
    pub epochs: usize,
    /// Studies a training step.
    pub batch: usize,
    /// Adam's learning rate, before the schedule.
    pub learning_rate: f32,
    /// How the learning rate goes from step to step.
    pub schedule: ScheduleName,
    /// Epochs in which the learning rate climbs from zero.
    pub warm_up_epochs: f32,
    /// Epochs between the steps of the step schedule.
    pub step_epochs: usize,
    /// What the step schedule multiplies the learning rate by.
    pub step_factor: f32,
    /// Epochs, rising, after which the schedule begins anew with the weights that the run has kept and with Adam's moments at zero
    /// (warm restarts).
    pub restarts: Vec<Restart>,
    /// Adam's decay of the first moment.
    pub beta1: f32,
    /// Adam's decay of the second moment.
    pub beta2: f32,
    /// Adam's epsilon.
    pub epsilon: f32,
    /// Weight decay: an L2 penalty on every parameter, as in PyTorch's Adam, or decoupled.
    pub weight_decay: f32,
    /// Whether weight decay passes Adam's moments by (AdamW: Loshchilov and Hutter 2019). It then takes from weights of convolutions
    /// and linear layers only, not from batch normalisation and biases.
    pub decoupled_decay: bool,
    /// What an image counts in the training loss, by its class.
    pub class_weights: ClassWeights,
    /// The largest l2 norm of a step's gradient, over all parameters together; a larger gradient is scaled down to it. 0: no limit.
    pub clip_norm: f32,
    /// The share of each target that is spread evenly over all classes (label smoothing), below 1.
    pub label_smoothing: f32,
    /// The most that an image gets of the next one of its batch (mixup), up to a half. 0: images are not mixed.
    pub mixup: f32,
    /// The chance that a training image gets the right part of another of its class in its batch, and the chance that it gets the lower
    /// part of one.
    pub stitch_chance: f32,
    /// Decay of the moving average of the weights, a step; the averaged weights are evaluated and kept. 0: those of the last step are.
    pub average_decay: f32,
    /// What follows a step whose loss or gradient is NaN or infinite.
    pub on_nan: OnNan,
    /// What batch normalisation adds to the variance.
    pub norm_epsilon: f32,
    /// Share of a new batch in batch normalisation's running statistics.
    pub norm_momentum: f32,
    /// Whether the running statistics are measured anew, over all training studies, before the network is tested: precise
    /// batch normalisation (Wu and Johnson 2021, section 3).
    pub precise_norm: bool,
    /// Whether the last batch normalisation of each residual branch begins with a scale of zero (Goyal et al. 2017, section 5.1);
    /// networks without residual connections have none.
    pub zero_init_last_norm: bool,
    /// Whether the first weights of layers without batch normalisation are fitted to the first training images:
    /// [`Model::standardise`](crate::models::Model::standardise).
    pub standardise_init: bool,
    /// A model file, or the folder of a run, whose weights the network begins with; empty: weights drawn from the seed.
    pub init: PathBuf,
    /// The hash of its weights, which a run writes down; a model with others is refused. Empty: any.
    pub init_weights: String,
    /// How many of the network's first stages keep the weights that they begin with.
    pub freeze: usize,
    /// Seed of the initial weights, of the order of studies and of augmentation.
    pub seed: u64,
    /// Share of each class's patients that train; the others test.
    pub train_share: f64,
    /// Seed of the split.
    pub split_seed: u64,
    /// Share of each class's training patients that do not train but choose the epoch whose weights are the model. 0: the model is
    /// the last epoch's, unless the manifest has the side validation. Test patients never choose.
    pub validation_share: f64,
    /// The class that counts as positive where none is called `NoMet`: it decides which threshold a model keeps. Empty: none.
    pub positive: String,
    /// Into how many parts the training patients are dealt, one of which validates in place of `validation_share`. 0: they are not.
    pub folds: usize,
    /// Which of these parts, from 1.
    pub fold: usize,
    /// What makes an epoch the best on the validation patients.
    pub choose_by: ChooseBy,
    /// Measured epochs without a new best after which training stops. 0: it never stops early.
    pub patience: usize,
    /// Whether the model's logits are divided by the temperature that makes the validation patients' loss least, where there are any.
    pub calibrate: bool,
    /// Epochs between measurements on the validation studies, or where there are none on the test studies; the last epoch is always
    /// measured.
    pub test_every: usize,
    /// Threads that decode, fuse and augment ahead of the training step.
    pub loader_threads: usize,
    /// Memory for fused inputs that need not be decoded again, in MB.
    pub cache_mb: usize,
    /// Minutes after which a checkpoint is written within an epoch; one is written after every epoch as well.
    pub checkpoint_minutes: f64,
    /// How training studies vary from epoch to epoch.
    pub augmentation: Augmentation,
    /// From two views to one input.
    pub preprocessing: Preprocessing,
}

/// The schedules of [`Schedule`], without their parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleName {
    /// The same learning rate throughout.
    Constant,
    /// Down to zero along half a cosine.
    Cosine,
    /// Multiplied by a factor after every so many epochs.
    Step,
}

/// What makes an epoch the best on the validation patients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChooseBy {
    /// The least mean cross-entropy.
    Loss,
    /// The largest mean over the classes of the AUC, one against rest.
    Auc,
}

/// What follows a step whose loss or gradient is NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnNan {
    /// Training stops, with the last checkpoint as it was.
    Stop,
    /// The step is left out and counted: weights, moments and running statistics stay as they were before it.
    Skip,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            manifest: PathBuf::new(),
            columns: ColumnNames::default(),
            recipe: Recipe::Paper,
            architecture: "inrac".into(),
            pooling: Pooling::Auto,
            input_size: Size { rows: 1024, columns: 256 },
            epochs: 300,
            batch: 32,
            learning_rate: 0.01,
            schedule: ScheduleName::Constant,
            warm_up_epochs: 0.0,
            step_epochs: 100,
            step_factor: 0.1,
            restarts: Vec::new(),
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            decoupled_decay: false,
            class_weights: ClassWeights::None,
            clip_norm: 0.0,
            label_smoothing: 0.0,
            mixup: 0.0,
            stitch_chance: 0.0,
            average_decay: 0.0,
            on_nan: OnNan::Stop,
            norm_epsilon: 1e-5,
            norm_momentum: 0.1,
            precise_norm: false,
            zero_init_last_norm: false,
            standardise_init: false,
            init: PathBuf::new(),
            init_weights: String::new(),
            freeze: 0,
            seed: 1,
            train_share: 0.7,
            split_seed: 1,
            validation_share: 0.0,
            positive: String::new(),
            folds: 0,
            fold: 0,
            choose_by: ChooseBy::Loss,
            patience: 0,
            calibrate: true,
            test_every: 1,
            loader_threads: 1,
            cache_mb: 1024,
            checkpoint_minutes: 10.0,
            augmentation: Augmentation::default(),
            preprocessing: Preprocessing::default(),
        }
    }
}

const REMEDY: &str = "see `osteon train --help`";

impl Recipe {
    /// All settings, as the recipe has them for the network that is trained where none is given.
    pub fn settings(self) -> Settings {
        self.settings_for(Self::ARCHITECTURE)
    }

    /// All settings, as the recipe has them for this network.
    pub fn settings_for(self, architecture: &str) -> Settings {
        let paper = Settings { architecture: architecture.to_owned(), ..Settings::default() };
        match self {
            Recipe::Paper => paper,
            Recipe::Osteon => {
                let family = FAMILIES.iter().find(|family| family.names.contains(&architecture)).unwrap_or(&FAMILIES[0]);
                let Family { learning_rate, clip_norm, standardise_init, .. } = *family;
                Settings { learning_rate, clip_norm, standardise_init, ..osteon(paper) }
            }
        }
    }
}

/// What all families have.
fn osteon(paper: Settings) -> Settings {
    Settings {
        recipe: Recipe::Osteon,
        epochs: 60,
        batch: 16,
        schedule: ScheduleName::Cosine,
        warm_up_epochs: 1.0,
        weight_decay: 0.05,
        decoupled_decay: true,
        average_decay: 0.98,
        stitch_chance: 0.5,
        precise_norm: true,
        validation_share: 0.15,
        patience: 5,
        test_every: 4,
        augmentation: Augmentation {
            rotation_deg: 5.0,
            translation_px: 8.0,
            scale_share: 0.08,
            mirror_chance: 0.5,
            thinning_share: 0.2,
            ..Augmentation::NONE
        },
        ..paper
    }
}

impl Settings {
    /// The most epochs, and the most of whatever is counted in epochs.
    pub const MOST_EPOCHS: usize = 1_000_000;
    /// The most parts that training patients are dealt to.
    pub const MOST_FOLDS: usize = 100;
    /// The most studies in a training step.
    pub const MOST_BATCH: usize = 4096;
    /// The most threads, of workers as of those that prepare studies.
    pub const MOST_THREADS: usize = 256;
    /// The most memory for prepared studies: a terabyte.
    pub const MOST_CACHE_MB: usize = 1 << 20;

    /// Keys that no bit of the weights depends on; the manifest counts by what it holds, the recipe by the other settings, the model
    /// to begin with by the hash of its weights.
    pub const WITHOUT_EFFECT: [&str; 7] =
        ["cache_mb", "checkpoint_minutes", "init", "loader_threads", "manifest", "positive", "recipe"];

    /// The settings of a TOML file, if there is one, with `overrides` on top: a table of the same keys. Keys that neither has are the
    /// recipe's, which is a key too; without it [`Recipe::DEFAULT`]'s.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML, an unknown key, a value that makes no sense.
    pub fn resolve(file: Option<&Path>, overrides: toml::Table) -> Result<Self> {
        Settings::of_given(Settings::given(file, overrides)?)
    }

    /// The keys that are given, with their values: those of several TOML files, the later over the earlier, with `overrides` on top.
    ///
    /// # Errors
    /// A file that cannot be read, is not TOML or has a value that makes no sense.
    pub fn given<'a>(files: impl IntoIterator<Item = &'a Path>, overrides: toml::Table) -> Result<toml::Table> {
        let mut table = toml::Table::new();
        for path in files {
            let own = table_of(path)?;
            // On its own first: then a mistake is the file's, not the command line's.
            let at_fault = |problem: String| Error::file(path, problem, "correct the file");
            from_table(own.clone()).and_then(|settings| settings.check()).map_err(at_fault)?;
            merge(&mut table, own);
        }
        merge(&mut table, overrides);
        Ok(table)
    }

    /// The settings with these keys; the others are the recipe's.
    ///
    /// # Errors
    /// An unknown key, a value that makes no sense.
    pub fn of_given(given: toml::Table) -> Result<Self> {
        let settings = from_table(given).map_err(|problem| Error::setting(problem, REMEDY))?;
        settings.validate()?;
        Ok(settings)
    }

    /// With so many times the recipe's epochs that `studies` training studies make [`Recipe::LEAST_STEPS`], and as many times the
    /// warm-up and the interval of measurements, but for what is given. As it is where epochs are given, and by the paper's recipe.
    #[must_use]
    pub fn of_least_steps(self, studies: usize, given: &toml::Table) -> Self {
        let steps = self.epochs * studies.div_ceil(self.batch);
        let times = Recipe::LEAST_STEPS.div_ceil(steps.max(1));
        if self.recipe == Recipe::Paper || given.contains_key("epochs") || times < 2 {
            return self;
        }
        let unless_given = |key: &str| if given.contains_key(key) { 1 } else { times };
        Settings {
            epochs: self.epochs * times,
            warm_up_epochs: self.warm_up_epochs * unless_given("warm_up_epochs") as f32,
            test_every: self.test_every * unless_given("test_every"),
            ..self
        }
    }

    /// Why a setting of the split cannot be had with a manifest that says itself who trains and who tests.
    pub fn refuse_split(manifest: &Manifest, setting: &str) -> Error {
        let problem = format!("has a column side, which says who trains, so that {setting} has no say");
        Error::file(&manifest.path, problem, format!("leave {setting} out, or make the dataset anew with it"))
    }

    /// Refuses values that make no sense.
    ///
    /// # Errors
    /// One sentence about the first of them.
    pub fn validate(&self) -> Result<()> {
        self.check().map_err(|problem| Error::setting(problem, REMEDY))
    }

    /// As TOML that [`Settings::resolve`] reads back to the same values.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("settings are plain values and tables")
    }

    /// As JSON.
    pub(super) fn to_json(&self) -> serde_json::Value {
        // By way of text, which has an f32 in its own few digits.
        let text = serde_json::to_string(self).expect("settings are plain values");
        serde_json::from_str(&text).expect("text that was just made")
    }

    /// As JSON, without those that no bit of the weights depends on.
    pub(super) fn to_json_of_weights(&self) -> serde_json::Value {
        let mut all = self.to_json();
        if let Some(settings) = all.as_object_mut() {
            settings.retain(|key, _| !Self::WITHOUT_EFFECT.contains(&key.as_str()));
        }
        all
    }

    /// Where two runs' settings differ in what their weights depend on, in words.
    pub fn differences(&self, other: &Settings) -> Vec<String> {
        let differences = self.departures(other).into_iter();
        differences.map(|[key, ours, theirs]| format!("{key} is {ours} here and {theirs} there")).collect()
    }

    /// Where two runs' settings differ in what their weights depend on: key, ours, theirs.
    pub(super) fn departures(&self, other: &Settings) -> Vec<[String; 3]> {
        let [ours, theirs] = [self, other].map(|settings| {
            let mut values = BTreeMap::new();
            flatten("", &settings.to_json_of_weights(), &mut values);
            values
        });
        let differs = |(key, ours): (&String, &String)| {
            let theirs = theirs.get(key).filter(|theirs| *theirs != ours)?;
            Some([key, ours, theirs].map(String::clone))
        };
        ours.iter().filter_map(differs).collect()
    }

    /// The learning-rate schedule.
    pub fn schedule(&self) -> Schedule {
        let decay = match self.schedule {
            ScheduleName::Constant => Decay::Constant,
            ScheduleName::Cosine => Decay::Cosine,
            ScheduleName::Step => Decay::Step { epochs: self.step_epochs, factor: self.step_factor },
        };
        Schedule { learning_rate: self.learning_rate, warm_up_epochs: self.warm_up_epochs, decay }
    }

    /// Adam's constants.
    pub fn adam(&self) -> Adam {
        let Settings { beta1, beta2, epsilon, weight_decay, decoupled_decay: decoupled, .. } = *self;
        Adam { beta1, beta2, epsilon, weight_decay, decoupled }
    }

    /// Whether the schedule begins anew after so many epochs.
    pub(super) fn restarts_after(&self, epochs: usize) -> bool {
        self.restarts.iter().any(|restart| restart.after == epochs)
    }

    /// What keeps the training from going astray or from learning its studies by heart.
    pub fn regularisation(&self) -> Regularisation {
        Regularisation {
            clip_norm: (self.clip_norm > 0.0).then(|| self.clip_norm.into()),
            label_smoothing: self.label_smoothing,
            mixup: self.mixup,
            stitch_chance: self.stitch_chance,
            average_decay: self.average_decay,
        }
    }

    /// Batch normalisation's constants.
    pub fn norm(&self) -> NormSettings {
        NormSettings { epsilon: self.norm_epsilon, momentum: self.norm_momentum }
    }

    /// What is wrong with the values, if anything.
    fn check(&self) -> Result<(), String> {
        let counts = [
            ("epochs", self.epochs, 1, Self::MOST_EPOCHS),
            ("batch", self.batch, 0, Self::MOST_BATCH),
            ("step_epochs", self.step_epochs, 1, Self::MOST_EPOCHS),
            ("patience", self.patience, 0, Self::MOST_EPOCHS),
            ("folds", self.folds, 0, Self::MOST_FOLDS),
            ("fold", self.fold, 0, self.folds),
            ("test_every", self.test_every, 1, Self::MOST_EPOCHS),
            ("loader_threads", self.loader_threads, 1, Self::MOST_THREADS),
            ("cache_mb", self.cache_mb, 0, Self::MOST_CACHE_MB),
        ];
        if let Some((name, value, least, most)) = counts.into_iter().find(|(_, value, least, most)| value < least || value > most)
        {
            return Err(format!("{name} is {value}, not from {least} to {most}"));
        }
        for (name, seed) in [("seed", self.seed), ("split_seed", self.split_seed)] {
            if seed > MOST_SEED {
                return Err(format!("{name} is {seed}, not from 0 to 2^63 - 1"));
            }
        }
        let most = Self::MOST_EPOCHS as f64;
        let rules = [
            (self.input_size.rows >= 32 && self.input_size.columns >= 32, "input_size is below 32x32"),
            (self.folds != 1, "folds is 1, which leaves nobody to train with"),
            (self.batch > 1, "batch is below 2, too few for batch normalisation"),
            (self.learning_rate > 0.0 && self.learning_rate.is_finite(), "learning_rate is not a positive number"),
            ((0.0..=most as f32).contains(&self.warm_up_epochs), "warm_up_epochs is not from 0 to 1000000"),
            (self.step_factor > 0.0 && self.step_factor <= 1.0, "step_factor is not above 0 and at most 1"),
            (self.restarts.is_sorted_by(|a, b| a.after < b.after), "restarts are not in the order of their epochs"),
            ((0.0..1.0).contains(&self.beta1), "beta1 is not from 0 to below 1"),
            ((0.0..1.0).contains(&self.beta2), "beta2 is not from 0 to below 1"),
            (self.epsilon > 0.0 && self.epsilon.is_finite(), "epsilon is not a positive number"),
            (self.weight_decay >= 0.0 && self.weight_decay.is_finite(), "weight_decay is negative or not a number"),
            (self.clip_norm >= 0.0 && self.clip_norm.is_finite(), "clip_norm is negative or not a number"),
            ((0.0..1.0).contains(&self.label_smoothing), "label_smoothing is not from 0 to below 1"),
            ((0.0..=0.5).contains(&self.mixup), "mixup is not from 0 to 0.5"),
            ((0.0..=1.0).contains(&self.stitch_chance), "stitch_chance is not from 0 to 1"),
            ((0.0..1.0).contains(&self.average_decay), "average_decay is not from 0 to below 1"),
            (self.norm_epsilon > 0.0 && self.norm_epsilon < 1.0, "norm_epsilon is not between 0 and 1"),
            (self.norm_momentum > 0.0 && self.norm_momentum <= 1.0, "norm_momentum is not above 0 and at most 1"),
            (self.train_share > 0.0 && self.train_share < 1.0, "train_share is not between 0 and 1"),
            ((0.0..1.0).contains(&self.validation_share), "validation_share is not from 0 to below 1"),
            (
                self.checkpoint_minutes > 0.0 && self.checkpoint_minutes <= most,
                "checkpoint_minutes is not above 0 and at most 1000000",
            ),
            (self.init.to_str().is_some(), "init has a path that is not UTF-8, which no configuration can hold"),
            (self.manifest.to_str().is_some(), "manifest has a path that is not UTF-8, which no configuration can hold"),
        ];
        if let Some((_, problem)) = rules.iter().find(|(holds, _)| !holds) {
            return Err((*problem).to_owned());
        }
        let sections = self.augmentation.check().and_then(|()| self.preprocessing.check());
        sections.map_err(|error| error.to_string())
    }
}

/// The index of the class that counts as positive.
///
/// # Errors
/// There is no such class, or there is `NoMet`, which decides.
pub fn positive_class(name: &str, classes: &[String]) -> Result<usize> {
    let all = classes.join(", ");
    if metrics::no_metastasis(classes).is_some() {
        let problem = format!("--positive names {name}, and with {} every other of {all} is positive", metrics::NO_METASTASIS);
        return Err(Error::setting(problem, "leave --positive out"));
    }
    let found = classes.iter().position(|class| class == name);
    found.ok_or_else(|| Error::setting(format!("--positive names {name}, and the classes are {all}"), "name one of them"))
}

/// A TOML file as a table.
pub(super) fn table_of(path: &Path) -> Result<toml::Table> {
    let text = String::from_utf8(files::read(path)?).map_err(|_| Error::file(path, "is not text", "give a TOML file"))?;
    text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        Error::file(path, format!("is not TOML in line {line} ({})", one_line(error.message())), "correct the line")
    })
}

/// The settings of a table over those of its recipe.
fn from_table(table: toml::Table) -> Result<Settings, String> {
    let refused = |error: toml::de::Error| one_line(&error.to_string());
    let recipe = table.get("recipe").map_or(Ok(Recipe::DEFAULT), |recipe| recipe.clone().try_into().map_err(refused))?;
    let architecture = table.get("architecture").and_then(toml::Value::as_str).unwrap_or(Recipe::ARCHITECTURE);
    let mut all = toml::Table::try_from(recipe.settings_for(architecture)).expect("settings are plain values and tables");
    // Without validation patients nobody can be patient; who asks for none need not ask twice.
    let is_zero = |value: &toml::Value| value.as_float() == Some(0.0) || value.as_integer() == Some(0);
    if table.get("validation_share").is_some_and(is_zero) && !table.contains_key("patience") {
        all.insert("patience".to_owned(), 0.into());
    }
    merge(&mut all, table);
    all.try_into().map_err(refused)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every value by its key, `section.key` within sections, as text.
pub(super) fn flatten(key: &str, value: &serde_json::Value, values: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(section) => {
            let dot = if key.is_empty() { "" } else { "." };
            section.iter().for_each(|(inner, value)| flatten(&format!("{key}{dot}{inner}"), value, values));
        }
        value => drop(values.insert(key.to_owned(), value.to_string())),
    }
}

/// Puts `overrides` over `table`, section by section.
fn merge(table: &mut toml::Table, overrides: toml::Table) {
    for (key, value) in overrides {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => merge(below, above),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_what_a_run_can_use_and_know_their_name() {
        for recipe in [Recipe::Paper, Recipe::Osteon] {
            let settings = recipe.settings();
            settings.validate().unwrap();
            assert_eq!(settings.recipe, recipe);
        }
        let paper = Recipe::Paper.settings();
        assert_eq!((paper.learning_rate, paper.batch, paper.epochs, paper.schedule), (0.01, 32, 300, ScheduleName::Constant));
    }

    fn resolve(text: &str, overrides: &str) -> Result<Settings> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(&file, text).unwrap();
        Settings::resolve(Some(&file), overrides.parse().unwrap())
    }

    #[test]
    fn an_empty_file_gives_the_default_recipe_and_the_papers_is_a_word_away() {
        assert_eq!(resolve("", "").unwrap(), Recipe::DEFAULT.settings());
        let settings = resolve("", "recipe = \"paper\"").unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!((settings.epochs, settings.batch, settings.learning_rate, settings.train_share), (300, 32, 0.01, 0.7));
        assert_eq!(settings.input_size.to_string(), "1024x256");
        assert_eq!(settings.augmentation, Augmentation { rotation_deg: 5.0, translation_px: 6.0, ..Augmentation::NONE });
    }

    #[test]
    fn a_small_set_gets_more_epochs_unless_they_are_given() {
        let osteon = Recipe::Osteon.settings();
        let none = toml::Table::new();
        // 85 studies are 6 steps: 60 epochs are 360, and five times as many 1800.
        let small = osteon.clone().of_least_steps(85, &none);
        let times = |n: usize| (n * osteon.epochs, n * osteon.test_every, n as f32 * osteon.warm_up_epochs);
        assert_eq!((small.epochs, small.test_every, small.warm_up_epochs), times(5));
        assert_eq!(Settings { epochs: 60, test_every: 4, warm_up_epochs: 1.0, ..small }, osteon);
        assert_eq!(osteon.clone().of_least_steps(800, &none), osteon, "1500 steps as it is");
        let given = |text: &str| osteon.clone().of_least_steps(85, &text.parse().unwrap());
        assert_eq!(given("epochs = 60"), osteon);
        let own = given("test_every = 4");
        assert_eq!((own.epochs, own.test_every, own.warm_up_epochs), (times(5).0, 4, times(5).2));
        let paper = Recipe::Paper.settings();
        assert_eq!(paper.clone().of_least_steps(2, &none), paper);
    }

    #[test]
    fn overrides_win_key_by_key_also_inside_sections() {
        let file = "epochs = 3\nbatch = 4\n[augmentation]\nrotation_deg = 1.0\ntranslation_px = 2.0";
        let settings = resolve(file, "batch = 5\n[augmentation]\nrotation_deg = 0").unwrap();
        assert_eq!((settings.epochs, settings.batch), (3, 5));
        let recipe = Recipe::DEFAULT.settings().augmentation;
        assert_eq!(settings.augmentation, Augmentation { rotation_deg: 0.0, translation_px: 2.0, ..recipe });
    }

    #[test]
    fn a_recipe_gives_way_wherever_it_stands() {
        let both = "recipe = \"paper\"\nbatch = 4";
        let paper = Settings { batch: 4, ..Recipe::Paper.settings() };
        assert_eq!(resolve(both, "").unwrap(), paper);
        assert_eq!(resolve("batch = 4", "recipe = \"paper\"").unwrap(), paper);
        assert_eq!(resolve(both, "recipe = \"osteon\"").unwrap(), Settings { batch: 4, ..Recipe::Osteon.settings() });
        let said = resolve("recipe = \"secret\"", "").unwrap_err().to_string();
        assert!(said.contains("c.toml") && said.contains("paper") && said.contains("osteon"), "{said}");
    }

    #[test]
    fn what_is_written_reads_back() {
        let settings = Settings { learning_rate: 0.003, schedule: ScheduleName::Cosine, seed: 7, ..Settings::default() };
        let text = settings.to_toml();
        assert_eq!(resolve(&text, "").unwrap(), settings);
        assert!(text.contains("learning_rate = 0.003\n"), "{text}");
    }

    #[test]
    fn mistakes_are_the_files_or_the_flags() {
        for (text, part) in [
            ("epohcs = 3", "epohcs"),
            ("\nepochs = ", "line 2"),
            ("epochs = \"many\"", "epochs"),
            ("batch = 0", "batch is below 2"),
            ("batch = 4097", "batch is 4097, not from"),
            ("epochs = 1000001", "epochs is 1000001, not from 1 to 1000000"),
            ("step_epochs = 1000001", "step_epochs"),
            ("patience = 1000001", "patience is 1000001"),
            ("test_every = 0", "test_every"),
            ("loader_threads = 257", "loader_threads is 257, not from 1 to 256"),
            ("cache_mb = 1048577", "cache_mb"),
            ("warm_up_epochs = inf", "warm_up_epochs"),
            ("checkpoint_minutes = inf", "checkpoint_minutes"),
            ("seed = 9223372036854775808", "line 1"),
            ("seed = -1", "-1"),
            ("input_size = \"16x64\"", "32x32"),
            ("input_size = \"big\"", "rows x columns"),
            ("schedule = \"sudden\"", "sudden"),
            ("class_weights = \"1,0\"", "number above 0"),
            ("validation_share = 1.0", "validation_share"),
            ("[preprocessing]\nthreshold = 2.0", "threshold"),
            ("[preprocessing]\ntreshold = 2.0", "treshold"),
        ] {
            let said = resolve(text, "").unwrap_err();
            assert!(matches!(said, Error::File { .. }), "{said:?}");
            let said = said.to_string();
            assert!(said.contains("c.toml") && said.contains(part) && !said.contains('\n'), "{said}");
        }
        let said = resolve("", "epochs = 0").unwrap_err();
        assert!(matches!(said, Error::Setting { .. }), "{said:?}");
    }
}
