//! From images to logits and probabilities.

use super::{Model, check_images};
use crate::Result;
use crate::autograd::{Mode, Tape, Var};
use crate::tensor::Context;
use osteon_kernels::softmax;
use std::sync::PoisonError;

/// Images that one inference pass takes together: so many as have these pixels, since more only cost memory.
const PIXELS_A_PASS: usize = 8 * 1024 * 256;

/// Bytes of buffers that a model keeps for its next inference.
const KEPT_BYTES: usize = 1 << 30;

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

    /// Logits (batch, classes) of images (batch, rows, columns) of any size from 32x32; where the network [flattens](Pooling::Flatten) its
    /// maps, of the model's own.
    ///
    /// # Errors
    /// A number of values that is not the shape's, or images that the network cannot take.
    pub fn logits_of(&self, images: &[f32], [batch, rows, columns]: [usize; 3]) -> Result<Vec<f32>> {
        let pixels = check_images(images, [batch, rows, columns])?;
        let mut logits = Vec::with_capacity(batch * self.metadata.classes.len());
        for images in images.chunks((PIXELS_A_PASS / pixels).max(1) * pixels) {
            let shape = [images.len() / pixels, rows, columns];
            logits.extend(self.with_context(|context| self.infer(context, images, shape))?);
        }
        Ok(logits)
    }

    /// As [`logits_of`](Self::logits_of), in one pass, with these buffers.
    ///
    /// # Errors
    /// As [`logits_of`](Self::logits_of).
    pub fn infer(&self, context: &mut Context, images: &[f32], shape: [usize; 3]) -> Result<Vec<f32>> {
        let (mut tape, x) = self.tape(Mode::Inference, context, images, shape)?;
        let output = self.forward(&mut tape, x)?;
        Ok(tape.value(&output).to_vec())
    }

    /// Probabilities of the classes for each image of the model's input size, (batch, rows, columns).
    ///
    /// # Errors
    /// A number of values that is not `batch` images.
    pub fn probabilities(&self, images: &[f32], batch: usize) -> Result<Vec<Vec<f32>>> {
        Ok(self.softmax(&self.logits(images, batch)?))
    }

    /// The probabilities that logits (batch, classes) mean.
    pub fn softmax(&self, logits: &[f32]) -> Vec<Vec<f32>> {
        let classes = self.metadata.classes.len();
        let mut probabilities = vec![0.0; logits.len()];
        self.with_context(|context| softmax::softmax(context.isa, logits.len() / classes, classes, logits, &mut probabilities));
        probabilities.chunks(classes).map(<[f32]>::to_vec).collect()
    }

    /// Calls `work` with buffers that an earlier call may have left.
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
