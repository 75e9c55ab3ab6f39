//! Trained networks on studies: one study's way from its views to probabilities, and many through the loader.

use crate::data::loader::Loader;
use crate::data::views::{self, Fused};
use crate::data::{Image, Study};
use crate::metrics;
use crate::models::Model;
use crate::{Result};

/// What a network says of one study.
#[derive(Clone, Debug)]
pub struct Predicted {
    /// One a class, in the order of the model's classes.
    pub probabilities: Vec<f32>,
    /// The views and their sum.
    pub fused: Fused,
    /// The network's input.
    pub input: Image,
}

impl Predicted {
    /// Index of the most probable class.
    pub fn class(&self) -> usize {
        metrics::predicted(&self.probabilities)
    }
}

/// Fuses a study's views as the model was trained, and classifies it.
///
/// # Errors
/// Views that cannot be fused.
pub fn study(model: &Model, study: &Study) -> Result<Predicted> {
    let about = model.metadata();
    let fused = views::fuse(study, &about.preprocessing)?;
    let input = views::network_input(&fused.image, about.input_size, &about.preprocessing);
    let probabilities = model.probabilities(&input.pixels, 1)?.remove(0);
    Ok(Predicted { probabilities, fused, input })
}
