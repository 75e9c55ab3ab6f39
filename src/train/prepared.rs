//! What a training needs before its first step: the split, the network with its first weights, and the loaders. Nothing is written.

use super::{ChooseBy, RunFolder, Settings, Trainer};
use crate::archive::fingerprints::Fingerprints;
use crate::archive::manifest::Manifest;
use crate::archive::split::{Split, split};
use crate::autograd::Context;
use crate::models::{Metadata, Model};
use crate::prepare::loader::{Loader, LoaderOptions};
use crate::{Error, Result, memory};
use std::collections::BTreeMap;
use std::path::{self, PathBuf};
use std::sync::Arc;

/// What a training consists of before its first step.
pub(super) struct Prepared {
    pub trainer: Trainer,
    pub training: Loader,
    pub validation: Option<Loader>,
    pub test: Loader,
    /// The scans of the training and validation patients, as they are.
    pub learnt: Loader,
    pub split: Split,
    /// Hash of the manifest and of every file that it names, by the names that the manifest has for them.
    pub inputs: BTreeMap<String, String>,
    /// Where the weights come from, if not from a seed.
    pub begun_with: Option<BegunWith>,
}

/// The model that a training began with.
#[derive(Clone, Debug, PartialEq)]
pub struct BegunWith {
    /// Its file.
    pub file: PathBuf,
    /// Whether its classes are those of this training, so that its last layer was taken over too.
    pub same_classes: bool,
    /// The stages that do not train, by the beginnings of their parameters' names.
    pub frozen: Vec<&'static str>,
}

impl Prepared {
    /// Splits the studies and makes the network. Writes nothing.
    pub fn new(manifest: &Manifest, settings: &Settings) -> Result<Self> {
        let Settings { preprocessing, .. } = settings;
        let input_size = settings.input_size.array();
        let split = split_of(manifest, settings)?;
        let metadata = Metadata::new(&settings.architecture, &manifest.classes, input_size, preprocessing.clone());
        let mut model =
            Model::initialised(Metadata { norm: settings.norm(), pooling: settings.pooling, ..metadata }, settings.seed)?;
        check_memory(&model, manifest.rows.len(), settings)?;
        model.set_training_studies(manifest.study_counts(split.train.iter().copied()));
        if settings.zero_init_last_norm {
            model.zero_last_norms();
        }
        let begun_with = begin_with(&mut model, settings)?;
        if split.train.len() < 2 {
            return Err(Error::file(&manifest.path, "leaves fewer than two studies for training", "add studies"));
        }
        let fingerprints = manifest.fingerprints()?;
        split.check_files(manifest, &fingerprints)?;
        let inputs = fingerprints.by_name.clone();
        let [training, validation, test, learnt] = loaders(manifest, &split, settings, fingerprints)?;
        let [training, test, learnt] = [training, test, learnt].map(|loader| loader.expect("a split has training and test rows"));
        if settings.standardise_init && begun_with.is_none() {
            standardise(&mut model, &training)?;
        }
        let mut trainer = Trainer::new(model, settings.adam());
        trainer.seed(settings.seed);
        trainer.regularise(settings.regularisation())?;
        let labels = manifest.labels(&manifest.classes)?;
        let labels: Vec<u32> = split.train.iter().map(|&row| labels[row]).collect();
        let weights = settings.class_weights.of(&labels, manifest.classes.len());
        let remedy = || format!("give one for each of {}, or none, or balanced", manifest.classes.join(", "));
        if let Some(weights) = weights.map_err(|problem| Error::setting(problem, remedy()))? {
            trainer.weigh_classes(weights);
        }
        Ok(Prepared { trainer, training, validation, test, learnt, split, inputs, begun_with })
    }
}

/// Fits a model's first weights to the first images of a training.
fn standardise(model: &mut Model, training: &Loader) -> Result<()> {
    /// A linear layer's unit has one value an image, and its deviation is known to an eighth from so many.
    const IMAGES: usize = 64;
    let (mut images, mut count) = (Vec::new(), 0);
    for batch in training.epoch(1) {
        let batch = batch?;
        images.extend_from_slice(&batch.images);
        count += batch.labels.len();
        if count >= IMAGES {
            break;
        }
    }
    let [rows, columns] = model.metadata().input_size;
    model.standardise(&mut Context::default(), &images, [count, rows, columns])
}

/// Gives a model the weights of the one that the settings name, and freezes its first stages.
fn begin_with(model: &mut Model, settings: &Settings) -> Result<Option<BegunWith>> {
    let frozen = model.freeze(settings.freeze)?;
    if settings.init.as_os_str().is_empty() {
        return Ok(None);
    }
    let file = RunFolder::model_of(&settings.init);
    let from = Model::load(&file)?;
    let weights = from.weights_hash();
    if !settings.init_weights.is_empty() && settings.init_weights != weights {
        let problem = format!("is not the model that this training began with, whose weights are {}", settings.init_weights);
        return Err(Error::file(&file, problem, "restore it, or start the run anew with --force"));
    }
    let same_classes = model
        .begin_with(&from)
        .map_err(|error| Error::file(&file, format!("cannot be begun with: {error}"), "or train without --init"))?;
    let own = model.metadata().training_studies();
    model.set_training_studies([own, from.metadata().training_studies()].into_iter().sum());
    Ok(Some(BegunWith { file, same_classes, frozen }))
}

/// How many studies train.
///
/// # Errors
/// A manifest that cannot be split.
pub fn training_studies(manifest: &Manifest, settings: &Settings) -> Result<usize> {
    Ok(split_of(manifest, settings)?.train.len())
}

/// The settings with the hash of the weights that the network begins with, and a path to them that can be found from anywhere.
pub(super) fn with_init_known(settings: &Settings) -> Result<Settings> {
    let mut settings = settings.clone();
    if !settings.init.as_os_str().is_empty() {
        let file = RunFolder::model_of(&settings.init);
        if settings.init_weights.is_empty() {
            settings.init_weights = Model::load(&file)?.weights_hash();
        }
        settings.init = path::absolute(&settings.init).map_err(|error| Error::io(&file, "found", &error))?;
        settings.validate()?;
    }
    Ok(settings)
}

/// Refuses a training that cannot fit into the memory that the process may have: by a step of the network, the batches that are
/// loaded, and what the cache holds of the `studies`.
fn check_memory(model: &Model, studies: usize, settings: &Settings) -> Result<()> {
    let Settings { architecture, input_size, batch, cache_mb, .. } = settings;
    let batch = (*batch).min(studies);
    let image = input_size.pixels() * size_of::<f32>();
    let cache = (cache_mb << 20).min(studies * image);
    let need = model.training_bytes(batch)? + (batch * image + cache) as u64;
    let what = format!("training {architecture} at {input_size} with a batch of {batch} and a cache of {} MB", cache >> 20);
    memory::check(&what, need, "lower --batch, --input-size or --cache-mb")
}

/// The split by the manifest's column `side`, or else by the settings. Training and test have studies of every class.
fn split_of(manifest: &Manifest, settings: &Settings) -> Result<Split> {
    let split = match Split::of_sides(manifest) {
        None => split(manifest, settings.train_share, settings.split_seed)?,
        Some(split) => {
            let default = Settings::default();
            for (name, as_told) in [
                ("train_share", settings.train_share == default.train_share),
                ("split_seed", settings.split_seed == default.split_seed),
            ] {
                if !as_told {
                    return Err(Settings::refuse_split(manifest, name));
                }
            }
            split
        }
    };
    split.check(manifest)?;
    // Where the manifest says who chooses, the share has no say.
    let split = match settings.validation_share {
        _ if settings.folds > 0 && !split.validation.is_empty() => {
            let problem = "says itself which patients validate, so that there is nothing to deal to folds";
            return Err(Error::file(&manifest.path, problem, "leave --folds out, or the side validation"));
        }
        _ if settings.folds > 0 => split.with_fold(manifest, settings.fold.max(1), settings.folds, settings.split_seed)?,
        share if share == 0.0 || !split.validation.is_empty() => split,
        share => split.with_validation(manifest, share, settings.split_seed)?,
    };
    split.check_classes(manifest)?;
    if settings.patience > 0 && split.validation.is_empty() {
        let problem = "patience needs validation patients, and validation_share is 0";
        return Err(Error::setting(problem, "set validation_share, or leave patience out"));
    }
    if !split.validation.is_empty() && settings.choose_by == ChooseBy::Auc {
        let has = |class: &String| split.validation.iter().any(|&row| manifest.rows[row].label == *class);
        if let Some(class) = manifest.classes.iter().find(|class| !has(class)) {
            let problem = format!("leaves no patient of {class} for validation, whose AUC is to choose");
            return Err(Error::file(&manifest.path, problem, "raise --validation-share, or --choose-by loss"));
        }
    }
    Ok(split)
}

/// Loaders of training, validation and test, where they have rows, and of the first two together as they are. Each of the sides gets a share of the cache in proportion to its studies, and
/// refuses files that do not hold what the fingerprints say.
fn loaders(manifest: &Manifest, split: &Split, settings: &Settings, fingerprints: Fingerprints) -> Result<[Option<Loader>; 4]> {
    let fingerprints = Arc::new(fingerprints);
    let size = settings.input_size.array();
    let all = split.train.len() + split.validation.len() + split.test.len();
    let cache = |side: &[usize]| (settings.cache_mb << 20) / all * side.len();
    let training = LoaderOptions {
        augmentation: settings.augmentation,
        threads: settings.loader_threads,
        cache_bytes: cache(&split.train),
        ..LoaderOptions::training(size, settings.batch, settings.seed)
    };
    let once = || LoaderOptions { threads: settings.loader_threads, ..LoaderOptions::evaluation(size, settings.batch) };
    let held_out = |side: &[usize]| LoaderOptions { cache_bytes: cache(side), ..once() };
    let loader = |side: &[usize], options| {
        let (classes, unchanged) = (&manifest.classes, Some(fingerprints.clone()));
        let loader = || manifest.loader_of(classes, side.to_vec(), &settings.preprocessing, options, unchanged);
        (!side.is_empty()).then(loader).transpose()
    };
    let Split { train, validation, test } = split;
    // Each scan once, as it is; copies are turned and moved, and count only where there is nothing else.
    let mut learnt = [&train[..], validation].concat();
    if learnt.iter().any(|row| !manifest.rows[*row].is_augmented()) {
        learnt.retain(|row| !manifest.rows[*row].is_augmented());
    }
    learnt.sort_unstable();
    Ok([
        loader(train, training)?,
        loader(validation, held_out(validation))?,
        loader(test, held_out(test))?,
        loader(&learnt, once())?,
    ])
}
