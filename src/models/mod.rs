//! Networks by name, and the model: a network, its parameters, and what its file says about them.

mod inception;
mod metadata;
mod onnx;
mod residual;
pub mod signature;
#[cfg(test)]
mod tests;
mod trainer;
mod vgg;

pub use inception::Inception;
pub use metadata::{FORMAT_VERSION, Metadata, PROVENANCE, Provenance};
use metadata::{HASHED_SINCE, WEIGHTS_HASH};
pub use residual::{Residual, VARIANTS, Variant};
pub use trainer::{Step, Trainer};
pub use vgg::{Pooling, Vgg};

use crate::autograd::{Context, Gradients, Mode, Node, Op, Origin, ParameterId, Parameters, Tape, Var, not_finite};
use crate::image::Image;
use crate::nn::Builder;
use crate::prepare::Preprocessing;
use crate::tensor::file::{self, TensorFile};
use crate::tensor::{Buffer, Shape};
use crate::{Error, Result, files};
use osteon_kernels::conv::ConvShape;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// What the tape runs: an image's features, and the logits that follow from them.
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
    /// The scale of the last batch normalisation of each residual branch, where the network has such.
    fn last_norms(&self) -> Vec<ParameterId> {
        Vec::new()
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

/// Images that one inference pass takes together: so many as have these pixels, since more only cost memory.
const PIXELS_A_PASS: usize = 8 * 1024 * 256;

/// The largest model file that is read. That of the largest residual network has about 90 MB, of VGG-11 at 512x128 640 MB; it does not
/// become larger (`vgg::MAX_FLATTENED_BYTES`).
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Bytes of buffers that a model keeps for its next inference.
const KEPT_BYTES: usize = 1 << 30;

/// A network with its parameters.
#[derive(Debug)]
pub struct Model {
    metadata: Metadata,
    network: Box<dyn Network>,
    parameters: Parameters,
    /// Buffers of finished inference passes; a pass takes one out, so passes on several threads do not wait for each other.
    contexts: Mutex<Vec<Context>>,
}

/// What a network says of a batch of images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inference {
    /// (batch, classes)
    pub logits: Vec<f32>,
    /// (batch, classes): softmax of the logits.
    pub probabilities: Vec<f32>,
}

/// What one forward and backward pass in training mode gives.
#[derive(Debug)]
pub struct Differentiated {
    /// Mean cross-entropy, and the shares of auxiliary classifiers'.
    pub loss: f32,
    /// Images whose largest logit is their label's.
    pub correct: usize,
    /// Of the loss, by every trained parameter.
    pub gradients: Gradients,
    /// The running statistics after this batch. The model's own have not changed.
    pub statistics: Vec<(ParameterId, Buffer)>,
}

/// One operation of a network, as `model info` and `bench` list it.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The layer's name.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// The shape of its result.
    pub output: Shape,
    /// Floating-point operations of its products with weights, one image.
    pub flops: u64,
    /// Trained parameters that it uses.
    pub parameters: usize,
}

/// Bytes that a model takes, as `model info` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Parameters and running statistics.
    pub weights: usize,
    /// The convolutions' weights again, in the order in which the kernels read them, transformed where they do (Winograd).
    pub packed: usize,
    /// Feature maps and workspace of one image.
    pub buffers: usize,
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
            vgg::NAME => Box::new(Vgg::new(&mut builder, &metadata)),
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
        Ok(Model { metadata, network, parameters, contexts: Mutex::default() })
    }

    /// Sets the scale of the last batch normalisation of every residual branch to zero, so that each block begins as its shortcut
    /// (Goyal et al. 2017, section 5.1). A network without residual connections stays as it is.
    pub fn zero_last_norms(&mut self) {
        for id in self.network.last_norms() {
            self.parameters.values_mut(id).fill(0.0);
        }
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

    /// Reads a model file.
    ///
    /// # Errors
    /// A file that is not a model of this program, or whose weights are not those of its architecture, or not those that were written.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Model::from_bytes(path, Model::read(path)?)
    }

    /// Reads a model file that the owner of a public `key` has [signed](signature). What was checked is what is used.
    ///
    /// # Errors
    /// As [`load`](Self::load); a signature that is missing or not this file's, or a key that is none.
    pub fn load_signed(path: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = Model::read(path)?;
        signature::verify(path, &bytes, key.as_ref())?;
        Model::from_bytes(path, bytes)
    }

    /// The bytes of a model file.
    ///
    /// # Errors
    /// Not a file, too large for a model, or it cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
        files::read_at_most(path, MAX_FILE_BYTES)
    }

    /// A model file that is in memory already; `path` is what errors name.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let archive = &TensorFile::from_bytes(path, bytes)?;
        let metadata = Metadata::from_text(archive.metadata()).map_err(|problem| {
            Error::file(archive.path(), problem, "give a model file, or make one with `osteon model import`")
        })?;
        let hashed = metadata.format_version >= HASHED_SINCE;
        let model = Model::from_tensor_file(archive, metadata)?;
        let refuse = |problem: &str| Err(Error::file(archive.path(), problem, "copy it again from where it came from"));
        match archive.metadata().get(WEIGHTS_HASH) {
            Some(hash) if *hash != model.weights_hash() => {
                refuse("holds other weights than were written: its hash does not fit them")
            }
            None if hashed => refuse("does not hold the hash of its weights"),
            Some(_) | None => Ok(model),
        }
    }

    /// Takes PyTorch's weights, in torchvision's names and shapes. Counters of batches (`num_batches_tracked`) are passed over.
    ///
    /// # Errors
    /// Tensors that are missing, left over, misshapen, of another type than float32, or not finite.
    pub fn import(
        weights: impl AsRef<Path>,
        architecture: &str,
        classes: &[String],
        input_size: [usize; 2],
        preprocessing: Preprocessing,
    ) -> Result<Self> {
        Model::import_as(weights, Metadata::new(architecture, classes, input_size, preprocessing))
    }

    /// As [`import`](Self::import), with every setting of the network.
    ///
    /// # Errors
    /// As [`import`](Self::import).
    pub fn import_as(weights: impl AsRef<Path>, metadata: Metadata) -> Result<Self> {
        Model::from_tensor_file(&TensorFile::read(weights)?, metadata)
    }

    fn from_tensor_file(archive: &TensorFile, metadata: Metadata) -> Result<Self> {
        let named = |error| match error {
            Error::Setting { problem, remedy } => Error::file(archive.path(), problem, remedy),
            other => other,
        };
        let tensors = archive.shapes().filter(|(name, _)| !name.ends_with("num_batches_tracked"));
        let tensors = tensors.map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
        let mut model = Model::build(metadata, Builder::of_file(tensors)).map_err(named)?;
        model.parameters.change_each(|parameter| {
            let (_, values) = archive.float_bytes(&parameter.name)?;
            if parameter.name.ends_with("running_var") && values.iter().any(|&variance| f32::from_le_bytes(variance) < 0.0) {
                let problem = format!("`{}` holds a negative variance", parameter.name);
                return Err(Error::file(archive.path(), problem, "export it again from a network that was trained"));
            }
            parameter.set_from_file(values);
            Ok(())
        })?;
        Ok(model)
    }

    /// Writes a model file: safetensors with PyTorch's shapes and torchvision's names. The same model is the same bytes.
    ///
    /// # Errors
    /// A file that cannot be written; what stood there before is unchanged.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let tensors = self.parameters.iter().map(|(_, parameter)| {
            let values = parameter.to_file(parameter.value.values());
            (parameter.name.clone(), (parameter.file_shape().to_vec(), values))
        });
        file::write(path, &self.text(), &tensors.collect::<BTreeMap<_, _>>())
    }

    /// What its file says beside the weights.
    fn text(&self) -> BTreeMap<String, String> {
        let mut text = self.metadata.to_text();
        text.insert(WEIGHTS_HASH.to_owned(), self.weights_hash());
        text
    }

    /// What its file says about it.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Says which run the model comes from.
    pub fn set_provenance(&mut self, provenance: Provenance) {
        self.metadata.provenance = Some(provenance);
    }

    /// Says what the model was trained on.
    pub fn set_trained_on(&mut self, text: impl Into<String>) {
        self.metadata.trained_on = text.into();
    }

    /// Its parameters and running statistics.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Its parameters, to change.
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// SHA-256 of all parameters and running statistics, in hexadecimal digits: of the lines `SHA256  NAME SHAPE`, sorted by name, that
    /// hold the [hash of each tensor](Parameter::sha256) and its shape as a model file has it, such as `(64, 1, 7, 7)`.
    pub fn weights_hash(&self) -> String {
        let hashes = self.parameters.hashes();
        let all = self.parameters.iter().zip(hashes);
        let by_name: BTreeMap<_, _> =
            all.map(|((_, parameter), hash)| (&parameter.name, (parameter.file_shape(), hash))).collect();
        let lines = by_name.iter().map(|(name, (shape, hash))| format!("{hash}  {name} {shape}\n"));
        files::sha256(lines.collect::<String>().as_bytes())
    }

    /// What inference on one image of the model's input size takes in memory. It is tried, on an image of zeros.
    ///
    /// # Errors
    /// An input size that is too small.
    pub fn memory(&self) -> Result<Memory> {
        let [rows, columns] = self.metadata.input_size;
        let mut context = Context::default();
        self.infer(&mut context, &vec![0.0; rows * columns], [1, rows, columns])?;
        let weights = self.parameters.iter().map(|(_, parameter)| size_of_val(parameter.value.values())).sum();
        Ok(Memory { weights, packed: self.parameters.packed_bytes(), buffers: context.free_bytes() })
    }

    /// Runs the network on a tape: images (batch, rows, columns, 1) to logits (batch, classes).
    ///
    /// # Errors
    /// Images of another shape, or too small.
    pub fn forward(&self, tape: &mut Tape, images: Var) -> Result<Var> {
        let features = self.network.features(tape, images)?;
        self.network.head(tape, features)
    }

    /// Logits (batch, classes) of images of the model's input size, (batch, rows, columns).
    ///
    /// # Errors
    /// A number of values that is not `batch` images.
    pub fn logits(&self, images: &[f32], batch: usize) -> Result<Vec<f32>> {
        let [rows, columns] = self.metadata.input_size;
        self.logits_of(images, [batch, rows, columns])
    }

    /// Logits (batch, classes) of images (batch, rows, columns) of any size that [`predict`](Self::predict) takes.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn logits_of(&self, images: &[f32], shape: [usize; 3]) -> Result<Vec<f32>> {
        Ok(self.predict(images, shape)?.logits)
    }

    /// Probabilities of the classes for each image of the model's input size, (batch, rows, columns).
    ///
    /// # Errors
    /// A number of values that is not `batch` images.
    pub fn probabilities(&self, images: &[f32], batch: usize) -> Result<Vec<Vec<f32>>> {
        let [rows, columns] = self.metadata.input_size;
        let inference = self.predict(images, [batch, rows, columns])?;
        Ok(inference.probabilities.chunks(self.metadata.classes.len()).map(<[f32]>::to_vec).collect())
    }

    /// What the network says of images (batch, rows, columns) of any size from 32x32; where it [flattens](Pooling::Flatten) its maps, of
    /// the model's own.
    ///
    /// # Errors
    /// A number of values that is not the shape's, or images that the network cannot take.
    pub fn predict(&self, images: &[f32], [batch, rows, columns]: [usize; 3]) -> Result<Inference> {
        let pixels = check_images(images, [batch, rows, columns])?;
        let mut all = Inference::default();
        for images in images.chunks((PIXELS_A_PASS / pixels).max(1) * pixels) {
            let shape = [images.len() / pixels, rows, columns];
            let Inference { logits, probabilities } = self.with_context(|context| self.infer(context, images, shape))?;
            all.logits.extend(logits);
            all.probabilities.extend(probabilities);
        }
        Ok(all)
    }

    /// As [`predict`](Self::predict), in one pass, with these buffers.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn infer(&self, context: &mut Context, images: &[f32], shape: [usize; 3]) -> Result<Inference> {
        check_images(images, shape)?;
        let [batch, rows, columns] = shape;
        let mut tape = Tape::new(Mode::Inference, &self.parameters, context);
        let x = tape.input([batch, rows, columns, 1], images, false)?;
        let [logits, probabilities] = self.classify(&mut tape, x)?;
        Ok(Inference { logits: tape.value(&logits).to_vec(), probabilities: tape.value(&probabilities).to_vec() })
    }

    /// Images (batch, rows, columns, 1) to logits and probabilities (batch, classes).
    fn classify(&self, tape: &mut Tape, images: Var) -> Result<[Var; 2]> {
        let logits = self.forward(tape, images)?;
        tape.enter(&"probabilities".into());
        let again = tape.retain(&logits);
        Ok([logits, tape.softmax(again)?])
    }

    /// Where the network looked for evidence of `class` in one image of the model's input size: Grad-CAM (Selvaraju et al.
    /// 2017) of the last stage, from 0 to 1, a pixel for each of its pixels.
    ///
    /// # Errors
    /// An image of another size, or a class that the model does not have.
    pub fn explain(&self, image: &[f32], class: usize) -> Result<Image> {
        let [rows, columns] = self.metadata.input_size;
        check_images(image, [1, rows, columns])?;
        let classes = self.metadata.classes.len();
        if class >= classes {
            return Err(Error::setting(format!("there is no class {class}"), format!("choose one below {classes}")));
        }
        self.with_context(|context| {
            let mut tape = Tape::new(Mode::Inference, &self.parameters, context);
            let x = tape.input([1, rows, columns, 1], image, false)?;
            let features = self.network.features(&mut tape, x)?;
            let (shape, maps) = (tape.shape(&features), tape.value(&features).to_vec());
            drop(tape);
            // Only the head is differentiated.
            let mut tape = Tape::new(Mode::Frozen, &self.parameters, context);
            let features = tape.input(shape, &maps, true)?;
            let again = tape.retain(&features);
            let logits = self.network.head(&mut tape, again)?;
            let seed: Vec<f32> = (0..classes).map(|other| f32::from(other == class)).collect();
            tape.backward(logits, &seed)?;
            let gradient = tape.gradient(&features).unwrap_or_default();
            let channels = shape[3];
            let mut importance = vec![0.0; channels]; // mean of the gradient over pixels
            for pixel in gradient.chunks(channels) {
                importance.iter_mut().zip(pixel).for_each(|(sum, gradient)| *sum += gradient);
            }
            let weighed = |pixel: &[f32]| pixel.iter().zip(&importance).map(|(map, weight)| map * weight).sum::<f32>().max(0.0);
            let mut pixels: Vec<f32> = maps.chunks(channels).map(weighed).collect();
            let largest = pixels.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
            pixels.iter_mut().for_each(|pixel| *pixel /= largest);
            drop(tape);
            Ok(Image { rows: shape[1], columns: shape[2], pixels })
        })
    }

    /// The logits of images (batch, rows, columns, 1) on a tape for training, and the loss that is to become smaller.
    fn loss(&self, tape: &mut Tape, images: Var, labels: &[u32], class_weights: Option<&[f32]>) -> Result<(Var, Var)> {
        let mut outputs = self.network.outputs(tape, images)?.into_iter();
        let (logits, _) = outputs.next().expect("a network has logits");
        let shared = tape.retain(&logits);
        let mut loss = cross_entropy(tape, shared, labels, class_weights)?;
        for (auxiliary, share) in outputs {
            let term = cross_entropy(tape, auxiliary, labels, class_weights)?;
            loss = tape.add_scaled(loss, term, share)?;
        }
        Ok((logits, loss))
    }

    /// Forward and backward in training mode: images (batch, rows, columns), one label each. Changes nothing in the model. Dropout drops
    /// what the [context](Context::dropout) says.
    ///
    /// # Errors
    /// Images or labels that do not fit.
    pub fn differentiate(
        &self,
        context: &mut Context,
        images: &[f32],
        shape: [usize; 3],
        labels: &[u32],
    ) -> Result<Differentiated> {
        self.differentiate_weighted(context, images, shape, labels, None)
    }

    /// As [`differentiate`](Self::differentiate), with a weight for each class in the loss, where there are any.
    ///
    /// # Errors
    /// As [`differentiate`](Self::differentiate); another number of weights than classes.
    pub fn differentiate_weighted(
        &self,
        context: &mut Context,
        images: &[f32],
        shape: [usize; 3],
        labels: &[u32],
        class_weights: Option<&[f32]>,
    ) -> Result<Differentiated> {
        check_images(images, shape)?;
        let [batch, rows, columns] = shape;
        let mut tape = Tape::new(Mode::Training, &self.parameters, context);
        let x = tape.input([batch, rows, columns, 1], images, false)?;
        let (logits, loss) = self.loss(&mut tape, x, labels, class_weights)?;
        let rows = tape.value(&logits).chunks(self.metadata.classes.len());
        let correct = rows.zip(labels).filter(|(row, label)| largest(row) == **label as usize).count();
        tape.release(logits);
        let value = tape.value(&loss)[0];
        let gradients = tape.backward(loss, &[1.0])?;
        Ok(Differentiated { loss: value, correct, gradients, statistics: tape.take_statistics() })
    }

    /// The running statistics of batch normalisation after a forward pass in training mode that moves them by `momentum`.
    /// Changes nothing in the model.
    ///
    /// # Errors
    /// Images that do not fit.
    pub fn statistics(
        &self,
        context: &mut Context,
        images: &[f32],
        shape: [usize; 3],
        momentum: f32,
    ) -> Result<Vec<(ParameterId, Buffer)>> {
        check_images(images, shape)?;
        let [batch, rows, columns] = shape;
        let mut tape = Tape::new(Mode::Training, &self.parameters, context);
        tape.set_momentum(momentum);
        let x = tape.input([batch, rows, columns, 1], images, false)?;
        for (output, _) in self.network.outputs(&mut tape, x)? {
            tape.release(output);
        }
        Ok(tape.take_statistics())
    }

    /// Where a forward pass in training mode first meets NaN or infinity, in words: images, a parameter, or a layer. `None` where the
    /// loss and all that leads to it is finite.
    ///
    /// # Errors
    /// Images or labels that do not fit.
    pub fn first_not_finite(
        &self,
        context: &mut Context,
        images: &[f32],
        shape: [usize; 3],
        labels: &[u32],
        class_weights: Option<&[f32]>,
    ) -> Result<Option<String>> {
        check_images(images, shape)?;
        let parameters = self.parameters.iter().map(|(_, parameter)| (&*parameter.name, parameter.value.values()));
        for (name, values) in std::iter::once(("the input", images)).chain(parameters) {
            if let Some(count) = not_finite(values) {
                return Ok(Some(format!("{name} holds {count}")));
            }
        }
        let [batch, rows, columns] = shape;
        let mut tape = Tape::new(Mode::Training, &self.parameters, context);
        tape.inspect();
        let x = tape.input([batch, rows, columns, 1], images, false)?;
        let (logits, loss) = self.loss(&mut tape, x, labels, class_weights)?;
        tape.release(logits);
        tape.release(loss);
        Ok(tape.first_not_finite().map(str::to_owned))
    }

    /// The operations that inference runs on images (batch, rows, columns), without computing them.
    ///
    /// # Errors
    /// Images that are too small.
    pub fn plan(&self, [batch, rows, columns]: [usize; 3]) -> Result<Vec<Node>> {
        let mut context = Context::default();
        let mut tape = Tape::plan(Mode::Inference, &self.parameters, &mut context);
        let x = tape.input([batch, rows, columns, 1], &[], false)?;
        let [logits, probabilities] = self.classify(&mut tape, x)?;
        tape.release(logits);
        tape.release(probabilities);
        Ok(tape.nodes().to_vec())
    }

    /// The operations for one image of `size`, first to last.
    ///
    /// # Errors
    /// A size that is too small.
    pub fn layers(&self, [rows, columns]: [usize; 2]) -> Result<Vec<Layer>> {
        let nodes = self.plan([1, rows, columns])?;
        let trained = |node: &Node| match node.origin {
            Origin::Parameter(id) if self.parameters.get(id).is_trained() => node.shape.len(),
            _ => 0,
        };
        let layer = |node: &Node| {
            let (op, description) = node.operation()?;
            Some(Layer {
                name: node.layer.to_string(),
                op: *op,
                output: node.shape,
                flops: description.flops.products,
                parameters: node.inputs().iter().map(|&input| trained(&nodes[input])).sum(),
            })
        };
        Ok(nodes.iter().filter_map(layer).collect())
    }

    /// The convolutions of a forward pass on `batch` images of the model's input size: layer and shape.
    ///
    /// # Errors
    /// An input size that is too small.
    pub fn convolutions(&self, batch: usize) -> Result<Vec<(String, ConvShape)>> {
        let [rows, columns] = self.metadata.input_size;
        let nodes = self.plan([batch, rows, columns])?;
        let convolution = |node: &Node| Some((node.layer.to_string(), node.operation()?.1.convolution?));
        Ok(nodes.iter().filter_map(convolution).collect())
    }

    /// Number of trained parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().filter(|(_, parameter)| parameter.is_trained()).map(|(_, p)| p.value.shape().len()).sum()
    }

    fn with_context<T>(&self, work: impl FnOnce(&mut Context) -> T) -> T {
        let contexts = || self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut context = contexts().pop().unwrap_or_default();
        let result = work(&mut context);
        if context.free_bytes() > KEPT_BYTES {
            context.clear();
        }
        contexts().push(context);
        result
    }
}

/// Mean cross-entropy, weighted where there are weights.
fn cross_entropy(tape: &mut Tape, logits: Var, labels: &[u32], class_weights: Option<&[f32]>) -> Result<Var> {
    match class_weights {
        None => tape.cross_entropy(logits, labels),
        Some(weights) => {
            let weights = tape.input([weights.len()], weights, false)?;
            tape.weighted_cross_entropy(logits, weights, labels)
        }
    }
}

/// Index of the largest value, the first of equals.
fn largest(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// Checks the number of values, and gives the pixels of an image.
fn check_images(images: &[f32], [batch, rows, columns]: [usize; 3]) -> Result<usize> {
    let pixels = rows.saturating_mul(columns);
    if batch == 0 || pixels == 0 || images.len() != batch.saturating_mul(pixels) {
        return Err(Error::shape("input", format!("{} values for {batch} images of {rows}x{columns} pixels", images.len())));
    }
    Ok(pixels)
}
