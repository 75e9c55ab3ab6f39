//! Networks by name, and the model: a network, its parameters, and what its file says about them.
//!
//! Here a model is built, and images are put on a tape. Each use of a model has a file of its own: loading and saving ([`Model::load`]),
//! inference ([`Model::logits`]), evidence maps ([`Model::explain`]), gradients ([`Model::differentiate`]) and the list of its
//! operations ([`Model::plan`]).

mod evidence;
mod feature_space;
mod features;
mod file;
mod first_weights;
mod inception;
mod inference;
mod learning;
mod metadata;
mod monai;
mod onnx;
mod plan;
mod residual;
pub mod signature;
#[cfg(test)]
pub(crate) mod tests;
mod training_data;
mod transfer;
mod vgg;

pub use evidence::Explained;
pub use feature_space::{FeatureSpace, Sample};
pub(crate) use file::named_values;
pub use inception::Inception;
pub use inference::Inference;
pub use learning::{Differentiated, Objective};
pub use metadata::{
    FORMAT, FORMAT_VERSION, METADATA_HASH, Metadata, PROVENANCE, Process, Provenance, SimulatorVersion, Simulators, StudyCounts,
    TEMPERATURE, TRAINING_DATA, TRAINING_STUDIES,
};
pub use plan::{Layer, Memory};
pub use residual::{Residual, VARIANTS, Variant};
pub use training_data::{Quantiles, TrainingData, ValidatedPoint};
pub use vgg::{Pooling, Vgg};

use crate::autograd::{Context, Mode, ParameterId, Parameters, Tape, Var};
use crate::nn::Builder;
use crate::prepare::Preprocessing;
use crate::text::counted;
use crate::{Error, Result};
use std::fmt;
use std::sync::Mutex;

/// A network: from images to feature maps, and from these to logits.
pub trait Network: fmt::Debug + Send + Sync {
    /// From images (batch, rows, columns, 1) to the last feature maps (batch, rows, columns, channels).
    fn features(&self, tape: &mut Tape, x: Var) -> Result<Var>;
    /// From these to logits (batch, classes).
    fn head(&self, tape: &mut Tape, features: Var) -> Result<Var>;
    /// In training: logits, and after them those of auxiliary classifiers, if there are any, each with the share of its cross-entropy in
    /// the loss.
    fn outputs(&self, tape: &mut Tape, x: Var) -> Result<Vec<(Var, f32)>> {
        let features = self.features(tape, x)?;
        Ok(vec![(self.head(tape, features)?, 1.0)])
    }
    /// Weight and bias of the linear layer that gives the logits.
    fn last_layer(&self) -> [ParameterId; 2];
    /// The stages from the images up to the last feature maps, in the order in which they run: the beginnings of their parameters' names.
    fn stages(&self) -> &'static [&'static [&'static str]];
    /// The scale of the last batch normalisation of each residual branch, where the network has such.
    fn last_norms(&self) -> Vec<ParameterId> {
        Vec::new()
    }
    /// Weight and bias of each layer that a ReLU follows without a batch normalisation, in the order in which they run.
    fn plain_layers(&self) -> Vec<[ParameterId; 2]> {
        Vec::new()
    }
    /// The result of one of the [plain layers](Self::plain_layers), by its index, before its ReLU.
    fn before_relu(&self, _tape: &mut Tape, _x: Var, _layer: usize) -> Result<Var> {
        unreachable!("a network without plain layers")
    }
}

/// The names that [`Model::new`] knows.
pub fn architectures() -> Vec<&'static str> {
    VARIANTS.iter().map(|variant| variant.name).chain([vgg::NAME, inception::NAME]).collect()
}

/// Names that architectures had before, and theirs now.
const FORMER_NAMES: [(&str, &str); 3] = [
    ("attention-26", "inrac-no-residual"),
    ("residual-26", "inrac-no-attention"),
    ("plain-26", "inrac-no-residual-no-attention"),
];

/// The least side of an input: every network halves it five times.
pub const MIN_SIDE: usize = 32;

/// Refuses what is no batch of images that a network can take.
fn check_input(tape: &Tape, images: &Var) -> Result<()> {
    let shape = tape.shape(images);
    if matches!(shape[..], [_, rows, columns, 1] if rows.min(columns) >= MIN_SIDE) {
        return Ok(());
    }
    let needed = format!("at least {MIN_SIDE} rows and columns of one channel are needed");
    Err(Error::shape("input", format!("images of shape {shape} where {needed}")))
}

/// A network with its parameters.
#[derive(Debug)]
pub struct Model {
    metadata: Metadata,
    network: Box<dyn Network>,
    parameters: Parameters,
    /// Buffers of finished inference passes; a pass takes one out, so passes on several threads do not wait for each other.
    contexts: Mutex<Vec<Context>>,
    loaded_from: Option<LoadedFrom>,
}

/// Of the file that a model was loaded from.
#[derive(Debug)]
struct LoadedFrom {
    file_sha256: String,
    metadata_sha256: Option<String>,
}

impl Model {
    /// A network with initial weights drawn from `seed`: He normal (fan out) for convolutions, PyTorch's defaults elsewhere; He normal
    /// (fan in) for what has a bias and a ReLU of its own.
    ///
    /// # Errors
    /// An unknown architecture; classes or sizes that no network can have.
    pub fn new(
        architecture: &str,
        classes: &[String],
        input_size: [usize; 2],
        preprocessing: Preprocessing,
        seed: u64,
    ) -> Result<Self> {
        Model::initialised(Metadata::new(architecture, classes, input_size, preprocessing), seed)
    }

    /// As [`new`](Self::new), with every setting of the network.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn initialised(metadata: Metadata, seed: u64) -> Result<Self> {
        Model::build(metadata, Builder::seeded(seed))
    }

    fn build(mut metadata: Metadata, mut builder: Builder) -> Result<Self> {
        if let Some((_, name)) = FORMER_NAMES.iter().find(|(former, _)| *former == metadata.architecture) {
            metadata.architecture = (*name).to_owned();
        }
        metadata.pooling = metadata.pooling.of(&metadata.architecture, metadata.input_size);
        metadata.check()?;
        let network: Box<dyn Network> = match &*metadata.architecture {
            vgg::NAME => Box::new(Vgg::new(&mut builder, metadata.classes.len(), metadata.input_size, metadata.pooling)),
            inception::NAME => Box::new(Inception::new(&mut builder, &metadata)),
            name => match VARIANTS.iter().find(|variant| variant.name == name) {
                Some(variant) => Box::new(Residual::new(&mut builder, *variant, &metadata)),
                None => {
                    let problem = format!("there is no architecture `{name}`");
                    return Err(Error::setting(problem, format!("choose one of {}", architectures().join(", "))));
                }
            },
        };
        let parameters = builder.finish().map_err(|problem| {
            let remedy = "with these classes; `osteon model info` lists their names";
            Error::setting(problem, format!("give the weights of `{}` {remedy}", metadata.architecture))
        })?;
        Ok(Model { metadata, network, parameters, contexts: Mutex::default(), loaded_from: None })
    }

    /// Sets the scale of the last batch normalisation of every residual branch to zero, so that each block begins as its shortcut
    /// (Goyal et al. 2017, section 5.1). A network without residual connections stays as it is.
    pub fn zero_last_norms(&mut self) {
        for id in self.network.last_norms() {
            self.parameters.values_mut(id).fill(0.0);
        }
    }

    /// Divides the logits by a temperature (Guo et al. 2017, section 4.2), within the last layer, so that whoever has the weights has
    /// calibrated probabilities. Which class has the largest does not change.
    pub fn divide_logits(&mut self, temperature: f64) {
        for id in self.network.last_layer() {
            self.parameters.values_mut(id).iter_mut().for_each(|value| *value = (f64::from(*value) / temperature) as f32);
        }
        self.set_temperature(temperature);
    }

    /// Says what the logits were divided by.
    pub fn set_temperature(&mut self, temperature: f64) {
        self.metadata.temperature = Some(temperature);
    }

    /// A second model of the same network and values.
    ///
    /// # Errors
    /// None for a model that could be built once.
    pub fn copy(&self) -> Result<Self> {
        let mut copy = Model::build(self.metadata.clone(), Builder::zeros())?;
        copy.copy_values(self);
        Ok(copy)
    }

    /// Takes over all values of a model of the same network.
    ///
    /// # Panics
    /// Where it is of another.
    pub fn copy_values(&mut self, from: &Model) {
        for (id, parameter) in from.parameters.iter() {
            self.parameters.values_mut(id).copy_from_slice(parameter.value.values());
        }
    }

    /// What its file says about it.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Says which run the model comes from.
    pub fn set_provenance(&mut self, provenance: Provenance) {
        self.metadata.provenance = Some(provenance);
    }

    /// Says how many studies the model was trained on, and how many of these are simulated.
    pub fn set_training_studies(&mut self, counts: StudyCounts) {
        self.metadata.trained_on = counts.to_string();
        self.metadata.training_studies = Some(counts);
    }

    /// Says what the model was trained on, in words. Whether it is simulated, [counts](Self::set_training_studies) say.
    pub fn set_trained_on(&mut self, text: impl Into<String>) {
        self.metadata.trained_on = text.into();
    }

    /// Says what the scans that it was trained on are like, or that this is not known.
    pub fn set_training_data(&mut self, data: Option<TrainingData>) {
        self.metadata.training_data = data;
    }

    /// Its parameters and running statistics.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Its parameters, to change.
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// A tape over the model's parameters with images (batch, rows, columns) as its input.
    ///
    /// # Errors
    /// A number of values that is not the shape's.
    fn tape<'a>(
        &'a self,
        mode: Mode,
        context: &'a mut Context,
        images: &[f32],
        [batch, rows, columns]: [usize; 3],
    ) -> Result<(Tape<'a>, Var)> {
        check_images(images, [batch, rows, columns])?;
        let mut tape = Tape::new(mode, &self.parameters, context);
        let input = tape.input([batch, rows, columns, 1], images, false)?;
        Ok((tape, input))
    }
}

/// Checks the number of values, and gives the pixels of an image.
fn check_images(images: &[f32], [batch, rows, columns]: [usize; 3]) -> Result<usize> {
    let pixels = rows.saturating_mul(columns);
    if batch == 0 || pixels == 0 || images.len() != batch.saturating_mul(pixels) {
        return Err(Error::shape(
            "input",
            format!("{} for {} of {rows}x{columns} pixels", counted(images.len(), "value"), counted(batch, "image")),
        ));
    }
    Ok(pixels)
}
