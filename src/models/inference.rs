//! From images to logits and probabilities.

use super::{Model, check_images};
use crate::Result;
use crate::autograd::{Context, Mode, Tape, Var};
use std::sync::PoisonError;

/// The pixels of the images that one pass takes as a batch; larger batches cost memory and save no time.
const PIXELS_A_PASS: usize = 8 * 1024 * 256;

/// How many images of so many pixels one pass takes.
fn images_a_pass(pixels: usize) -> usize {
    (PIXELS_A_PASS / pixels).max(1)
}

/// The most bytes of buffers that a model keeps between inference passes.
const KEPT_BYTES: usize = 1 << 30;

/// The outputs of a network for a batch of images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inference {
    /// (batch, classes)
    pub logits: Vec<f32>,
    /// (batch, classes): softmax of the logits.
    pub probabilities: Vec<f32>,
}

impl Model {
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

    /// Logits and probabilities of images (batch, rows, columns) of any size from 32x32; where it [flattens](super::Pooling::Flatten) its maps, of
    /// the model's own.
    ///
    /// # Errors
    /// A number of values that is not the shape's, or images that the network cannot take.
    pub fn predict(&self, images: &[f32], [batch, rows, columns]: [usize; 3]) -> Result<Inference> {
        let pixels = check_images(images, [batch, rows, columns])?;
        let mut all = Inference::default();
        for images in images.chunks(images_a_pass(pixels) * pixels) {
            let shape = [images.len() / pixels, rows, columns];
            let Inference { logits, probabilities } = self.with_context(|context| self.infer(context, images, shape))?;
            all.logits.extend(logits);
            all.probabilities.extend(probabilities);
        }
        Ok(all)
    }

    /// How many of `batch` images of the model's input size one pass of [`predict`](Self::predict) takes.
    pub(super) fn images_a_pass(&self, batch: usize) -> usize {
        batch.min(images_a_pass(self.metadata.input_size.iter().product()))
    }

    /// As [`predict`](Self::predict), in one pass, with these buffers.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn infer(&self, context: &mut Context, images: &[f32], shape: [usize; 3]) -> Result<Inference> {
        let (mut tape, x) = self.tape(Mode::Inference, context, images, shape)?;
        let [logits, probabilities] = self.classify(&mut tape, x)?;
        Ok(Inference { logits: tape.value(&logits).to_vec(), probabilities: tape.value(&probabilities).to_vec() })
    }

    /// Images (batch, rows, columns, 1) to logits and probabilities (batch, classes).
    pub(super) fn classify(&self, tape: &mut Tape, images: Var) -> Result<[Var; 2]> {
        let logits = self.forward(tape, images)?;
        tape.enter(&"probabilities".into());
        let again = tape.retain(&logits);
        Ok([logits, tape.softmax(again)?])
    }

    /// Calls `work` with a context whose buffers earlier calls may have allocated.
    pub(super) fn with_context<T>(&self, work: impl FnOnce(&mut Context) -> T) -> T {
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
