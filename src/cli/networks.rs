//! Which networks answer: a model, the folder of a run, a folder of folds, or several of these.

use crate::files::Kind;
use crate::models::Model;
use crate::predict::Ensemble;
use crate::text::Shown;
use crate::train::RunFolder;
use crate::{Error, Result};
use clap::Args;
use std::path::{Path, PathBuf};

/// How networks answer together.
#[derive(Args, Default)]
pub struct Together {
    /// Average the answers for each picture and for its mirror image.
    #[arg(long)]
    pub mirror: bool,
}

/// The runs that a path stands for: a folder of folds for each of its runs, all else for itself.
///
/// # Errors
/// A folder of folds one of which has no model yet.
pub fn runs_of(path: &Path) -> Result<Vec<PathBuf>> {
    if RunFolder::model_of(path).is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let folds = RunFolder::folds(path);
    if folds.is_empty() {
        return Ok(vec![path.to_owned()]);
    }
    match folds.iter().find(|fold| !RunFolder::model_of(fold).is_file()) {
        None => Ok(folds),
        Some(fold) => {
            let remedy = format!("go on with `osteon train --resume {}`, or name the runs that are whole", path.shown());
            Err(Error::file(fold, "has no model yet", remedy))
        }
    }
}

/// Whether a path is a model, or the folder of one or of several.
pub fn is_networks(path: &Path) -> bool {
    let is_model = |path: &Path| Kind::of_file(path) == Some(Kind::Safetensors);
    is_model(&RunFolder::model_of(path)) || path.is_dir() && !RunFolder::folds(path).is_empty()
}

/// Loads the networks of `paths`. With a key, only those that its owner signed.
///
/// # Errors
/// Models that cannot be loaded, or that cannot answer together.
pub fn load(paths: &[PathBuf], together: &Together, key: Option<&Path>) -> Result<Ensemble> {
    let mut models = Vec::new();
    for path in paths {
        for run in runs_of(path)? {
            let file = RunFolder::model_of(&run);
            let model = match key {
                Some(key) => Model::load_signed(&file, key)?,
                None => Model::load(&file)?,
            };
            models.push((file, model));
        }
    }
    Ensemble::new(models, together.mirror)
}
