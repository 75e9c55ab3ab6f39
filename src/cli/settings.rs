//! Every setting of a training run as a flag.

use super::numbers::seed;
use crate::image::Size;
use crate::optim::Restart;
use crate::prepare::Preprocessing;
use crate::{Error, Result};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Flags that win over the configuration file. Their names are the file's keys, so a set flag serialises to its line.
#[derive(Args, Serialize, Default)]
#[command(next_help_heading = "Settings (each also a key of the configuration file, with _ for -)")]
pub struct SettingFlags {
    /// Defaults of all settings that are not given: the paper's, or those that trained better on phantoms [default: osteon].
    #[arg(long, value_name = "paper|osteon", value_parser = ["paper", "osteon"])]
    recipe: Option<String>,
    /// The network [default: inrac].
    #[arg(long, value_name = "NAME")]
    architecture: Option<String>,
    /// What stands between feature maps and linear layers of vgg-11: every pixel by itself (flatten), each channel's mean (average), or
    /// the former where its weights take at most 512 MB (auto) [default: auto].
    #[arg(long, value_name = "NAME", value_parser = ["auto", "flatten", "average"])]
    pooling: Option<String>,
    /// The network's input, rows x columns, from 32x32 to 16384x16384 [default: 1024x256].
    #[arg(long, value_name = "ROWSxCOLUMNS")]
    input_size: Option<Size>,
    /// Passes over the training studies, from 1 to 1000000. Where it is not given, the recipe osteon takes as many times its passes,
    /// and its measurements as many times as far apart, as make 1500 steps [default: 60; paper: 300].
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Studies in a training step, from 2 to 4096 [default: 16; paper: 32].
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Adam's learning rate, before the schedule, above 0 [default: 0.001; paper: 0.01].
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// How the learning rate goes from step to step [default: cosine; paper: constant].
    #[arg(long, value_name = "NAME", value_parser = ["constant", "cosine", "step"])]
    schedule: Option<String>,
    /// Epochs in which the learning rate climbs from zero, from 0 to 1000000 [default: 1; paper: 0].
    #[arg(long, value_name = "N")]
    warm_up_epochs: Option<f64>,
    /// Epochs between the steps of the step schedule, from 1 to 1000000 [default: 100].
    #[arg(long, value_name = "N")]
    step_epochs: Option<usize>,
    /// What the step schedule multiplies the learning rate by, above 0 to 1 [default: 0.1].
    #[arg(long, value_name = "FACTOR")]
    step_factor: Option<f64>,
    /// Epochs after which the schedule begins anew, with the weights kept so far and Adam's moments at zero; 22/30 where the schedule
    /// before was made for 30 epochs [default: none].
    #[arg(long, value_name = "EPOCH,...", value_delimiter = ',')]
    restarts: Option<Vec<Restart>>,
    /// Adam's decay of the first moment, from 0 to below 1 [default: 0.9].
    #[arg(long, value_name = "X")]
    beta1: Option<f64>,
    /// Adam's decay of the second moment, from 0 to below 1 [default: 0.999].
    #[arg(long, value_name = "X")]
    beta2: Option<f64>,
    /// Adam's epsilon, above 0 [default: 1e-8].
    #[arg(long, value_name = "X")]
    epsilon: Option<f64>,
    /// Weight decay: an L2 penalty, as in PyTorch's Adam, or decoupled; 0 or above [default: 0.05; paper: 0].
    #[arg(long, value_name = "X")]
    weight_decay: Option<f64>,
    /// Decay weights beside Adam (AdamW), those of batch normalisation and biases not at all [default: true; paper: false].
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    decoupled_decay: Option<bool>,
    /// How much an image counts in the loss, by its class: none, balanced, or a value for each class, such as 1,1.5,2 [default: none].
    #[arg(long, value_name = "WEIGHTS")]
    class_weights: Option<String>,
    /// The largest l2 norm of a step's gradient, over all parameters; a larger one is scaled down to it. 0 or
    /// above; 0 is no limit [default: 0].
    #[arg(long, value_name = "X")]
    clip_norm: Option<f64>,
    /// The share of each target that is spread evenly over all classes (label smoothing), from 0 to below 1 [default: 0].
    #[arg(long, value_name = "SHARE")]
    label_smoothing: Option<f64>,
    /// The most that an image gets of another of its batch (mixup), from 0 to 0.5 [default: 0].
    #[arg(long, value_name = "SHARE")]
    mixup: Option<f64>,
    /// The chance that a training image gets the right part of another of its class in its batch, and the chance that it gets the lower part of one, from 0 to 1 [default: 0.5; paper: 0].
    #[arg(long, value_name = "CHANCE")]
    stitch_chance: Option<f64>,
    /// Decay a step of the moving average of the weights, which is what is evaluated and kept, from 0 (no average) to below 1 [default: 0.98; paper: 0].
    #[arg(long, value_name = "X")]
    average_decay: Option<f64>,
    /// What follows a step with NaN or infinity in loss or gradient: stop, or skip and count it [default: stop].
    #[arg(long, value_name = "stop|skip", value_parser = ["stop", "skip"])]
    on_nan: Option<String>,
    /// What batch normalisation adds to the variance, above 0 and below 1 [default: 1e-5].
    #[arg(long, value_name = "X")]
    norm_epsilon: Option<f64>,
    /// Share of a new batch in batch normalisation's running statistics, above 0 to 1 [default: 0.1].
    #[arg(long, value_name = "X")]
    norm_momentum: Option<f64>,
    /// Measure batch normalisation's statistics anew, over all training studies, before each test [default: true; paper: false].
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    precise_norm: Option<bool>,
    /// Begin with a scale of zero in the last batch normalisation of each residual branch [default: false].
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    zero_init_last_norm: Option<bool>,
    /// Fit the first weights of layers without batch normalisation (those of vgg-11) to the first training images: mean 0 and variance 1 in each channel; the recipe osteon does for vgg-11 [default: false].
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    standardise_init: Option<bool>,
    /// Begin with the weights of this model file, or of the model in this run's folder; with other classes the last layer is new [default: none].
    #[arg(long, value_name = "MODEL")]
    init: Option<PathBuf>,
    /// Refuse a model to begin with whose weights have another hash than this one (a run's configuration has it) [default: none].
    #[arg(long, value_name = "SHA256", hide = true)]
    init_weights: Option<String>,
    /// How many of the network's first stages keep their weights, from 0 to 5: 1 is the stem, 2 also the first stage of blocks, and so on
    /// [default: 0].
    #[arg(long, value_name = "N")]
    freeze: Option<usize>,
    /// Seed of the initial weights, the order of studies and the augmentation, from 0 to 2^63 - 1 [default: 1].
    #[arg(long, value_name = "N", value_parser = seed())]
    seed: Option<u64>,
    /// Share of each class's patients that train, above 0 and below 1 [default: 0.7].
    #[arg(long, value_name = "SHARE")]
    train_share: Option<f64>,
    /// Seed of the split into training and test patients, from 0 to 2^63 - 1 [default: 1].
    #[arg(long, value_name = "N", value_parser = seed())]
    split_seed: Option<u64>,
    /// Share of each class's training patients that choose the epoch to keep instead of training, from 0 to
    /// below 1; 0 keeps the last [default: 0.15; paper: 0].
    #[arg(long, value_name = "SHARE")]
    validation_share: Option<f64>,
    /// The class that counts as positive where none is called NoMet: the model keeps the threshold that finds 95 % of its validation
    /// patients [default: none].
    #[arg(long, value_name = "CLASS")]
    positive: Option<String>,
    /// Deal the training patients to so many parts, each of which validates one of as many runs, which are trained one after the other:
    /// OUTPUT/fold-1, OUTPUT/fold-2 and so on, from 2 to 100; `osteon predict OUTPUT` and `osteon evaluate OUTPUT` average
    /// them. 0 trains one run [default: 0].
    #[arg(long, value_name = "N")]
    folds: Option<usize>,
    /// Train one of the folds alone, from 1, with OUTPUT as its folder. 0 trains all of them [default: 0].
    #[arg(long, value_name = "N", requires = "folds")]
    fold: Option<usize>,
    /// What makes an epoch the best on the validation patients: the least loss, or the largest mean AUC [default: loss].
    #[arg(long, value_name = "loss|auc", value_parser = ["loss", "auc"])]
    choose_by: Option<String>,
    /// Stop after so many measured epochs without a new best on the validation patients, from 0 to 1000000; 0 never [default: 5; paper: 0].
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    /// Divide the model's logits by the temperature that fits the validation patients best, where there are any [default: true].
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    calibrate: Option<bool>,
    /// Epochs between measurements on the validation studies, or without those on the test studies, from 1 to 1000000 [default: 4; paper: 1].
    #[arg(long, value_name = "N")]
    test_every: Option<usize>,
    /// Threads that prepare studies ahead of the training step, from 1 to 256 [default: 1].
    #[arg(long, value_name = "N")]
    loader_threads: Option<usize>,
    /// Memory for prepared studies, in MB, from 0 to 1048576 [default: 1024].
    #[arg(long, value_name = "MB")]
    cache_mb: Option<usize>,
    /// Minutes after which a checkpoint is written within an epoch, above 0 to 1000000; there is one after every epoch too [default: 10].
    #[arg(long, value_name = "MINUTES")]
    checkpoint_minutes: Option<f64>,
    #[command(flatten)]
    augmentation: AugmentationFlags,
    #[command(flatten)]
    preprocessing: PreprocessingFlags,
}

/// The section `[augmentation]`.
#[derive(Args, Serialize, Default)]
struct AugmentationFlags {
    /// Training studies are rotated by up to this angle, either way, from 0 to 180 [default: 5].
    #[arg(long, value_name = "DEGREES")]
    rotation_deg: Option<f64>,
    /// Training studies are moved by up to this, in pixels of a 1024x256 picture, along rows and columns, from 0 to
    /// 1024 [default: 8; paper: 6].
    #[arg(long, value_name = "PIXELS")]
    translation_px: Option<f64>,
    /// Training studies are made smaller or larger by up to this share, from 0 to 0.5 [default: 0.08; paper: 0].
    #[arg(long, value_name = "SHARE")]
    scale_share: Option<f64>,
    /// The chance that left and right of a training study change places, from 0 to 1 [default: 0.5; paper: 0].
    #[arg(long, value_name = "CHANCE")]
    mirror_chance: Option<f64>,
    /// Up to this share of a training study's counts is left out at random, as in a shorter scan, from 0 to 0.75 [default: 0.2; paper: 0].
    #[arg(long, value_name = "SHARE")]
    thinning_share: Option<f64>,
    /// Training studies are made brighter or darker by up to this share, from 0 to 0.9 [default: 0].
    #[arg(long, value_name = "SHARE")]
    intensity_share: Option<f64>,
    /// The chance that feet or an arm of a training study are cut off, from 0 to 1 [default: 0].
    #[arg(long, value_name = "CHANCE")]
    crop_chance: Option<f64>,
}

/// The section `[preprocessing]`: part of a model, so commands that make one take these flags.
#[derive(Args, Serialize, Default)]
#[command(next_help_heading = "Preprocessing (section [preprocessing] of the configuration file)")]
pub struct PreprocessingFlags {
    /// How the posterior view is laid on the anterior one [default: translate].
    #[arg(long, value_name = "NAME", value_parser = ["translate", "translate-scale"])]
    alignment: Option<String>,
    /// A pixel is body from this share of the body's level on, above 0 and below 1 [default: 0.15].
    #[arg(long, value_name = "SHARE")]
    threshold: Option<f64>,
    /// Pixels are clamped to this many times the body's level, 1 or above [default: 16].
    #[arg(long, value_name = "X")]
    ceiling: Option<f64>,
    /// What follows the clamp [default: sqrt].
    #[arg(long, value_name = "NAME", value_parser = ["sqrt", "log", "linear"])]
    compression: Option<String>,
}

impl SettingFlags {
    /// The flags that were given, as the table of a configuration file.
    pub fn table(&self) -> Result<toml::Table> {
        table(self)
    }

    /// The first flag given that has no say where a manifest tells the sides itself, also that of validation or not.
    pub fn of_split(&self, tells_validation: bool) -> Option<&'static str> {
        let flags = [
            ("--train-share", self.train_share.is_some()),
            ("--split-seed", self.split_seed.is_some()),
            ("--validation-share", tells_validation && self.validation_share.is_some()),
            ("--folds", tells_validation && self.folds.is_some()),
        ];
        flags.into_iter().find_map(|(name, given)| given.then_some(name))
    }
}

impl PreprocessingFlags {
    /// The flags that were given over the defaults.
    pub fn resolve(&self) -> Result<Preprocessing> {
        let preprocessing: Preprocessing = table(self)?.try_into().map_err(refused)?;
        preprocessing.check()?;
        Ok(preprocessing)
    }
}

fn table(flags: &impl Serialize) -> Result<toml::Table> {
    toml::Table::try_from(flags).map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::setting(error.to_string().split_whitespace().collect::<Vec<_>>().join(" "), "see --help")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Recipe, Settings};
    use clap::{Args, Command};

    /// Every key of a configuration file is a flag of the same name, and the default in its help is the default; where the other
    /// recipe has another, its help tells that too.
    #[test]
    fn every_setting_is_a_flag_and_its_help_tells_the_default() {
        let command = SettingFlags::augment_args(Command::new("train"));
        let other = if Recipe::DEFAULT == Recipe::Paper { Recipe::Osteon } else { Recipe::Paper };
        let [defaults, others] = [Recipe::DEFAULT, other].map(|recipe| toml::Table::try_from(recipe.settings()).unwrap());
        let mut keys = 0;
        let mut check = |key: &str, value: &toml::Value, others: &toml::Table| {
            let flag = command.get_arguments().find(|argument| argument.get_long() == Some(&key.replace('_', "-")));
            let help =
                flag.unwrap_or_else(|| panic!("no flag for {key}")).get_help().map(ToString::to_string).unwrap_or_default();
            let is = |told: &str, value: &toml::Value| {
                let value = match value {
                    toml::Value::String(text) if text.is_empty() => "none".to_owned(),
                    toml::Value::Array(all) if all.is_empty() => "none".to_owned(),
                    toml::Value::String(text) => text.clone(),
                    toml::Value::Float(float) => (*float as f32).to_string(),
                    other => other.to_string(),
                };
                told == value || told.parse::<f32>().ok().is_some_and(|told| Ok(told) == value.parse())
            };
            let told = help.rsplit_once("[default: ").and_then(|(_, rest)| rest.strip_suffix(']')).unwrap_or_default();
            let (told, of_other) = told.split_once(&format!("; {other}: ")).map_or((told, None), |(told, of)| (told, Some(of)));
            assert!(is(told, value), "--{key}: the help says `{told}`, the default is {value}");
            match others.get(key).filter(|of| key != "recipe" && *of != value) {
                Some(of) => {
                    assert!(of_other.is_some_and(|told| is(told, of)), "--{key}: {other} has {of}, the help {of_other:?}")
                }
                None => assert_eq!(of_other, None, "--{key}"),
            }
            keys += 1;
        };
        for (key, value) in defaults.iter().filter(|(key, _)| !["manifest", "columns"].contains(&key.as_str())) {
            match value {
                toml::Value::Table(section) => {
                    let others = others[key].as_table().unwrap();
                    section.iter().for_each(|(key, value)| check(key, value, others));
                }
                value => check(key, value, &others),
            }
        }
        assert_eq!(keys, command.get_arguments().count(), "a flag is no setting");
    }

    #[test]
    fn flags_that_are_not_given_leave_no_key() {
        let flags = SettingFlags { epochs: Some(3), ..SettingFlags::default() };
        let table = flags.table().unwrap();
        assert_eq!(table["epochs"].as_integer(), Some(3));
        assert_eq!(Settings::resolve(None, table).unwrap(), Settings { epochs: 3, ..Recipe::DEFAULT.settings() });
    }
}
