//! What a training step needs of a model: the loss, its gradient, and the statistics of a batch.

use super::Model;
use crate::Result;
use crate::autograd::{Context, Gradients, Mode, ParameterId, Tape, Var, not_finite};
use crate::tensor::Buffer;

/// The result of a forward and backward pass in training mode.
#[derive(Debug)]
pub struct Differentiated {
    /// Mean cross-entropy, plus the weighted losses of auxiliary classifiers.
    pub loss: f32,
    /// Images whose largest logit is their label's.
    pub correct: usize,
    /// Of the loss, by every trained parameter.
    pub gradients: Gradients,
    /// The running statistics after this batch. The model's own have not changed.
    pub statistics: Vec<(ParameterId, Buffer)>,
}

impl Model {
    /// The logits of images (batch, rows, columns, 1) on a tape for training, and the loss to minimise.
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
        let (mut tape, x) = self.tape(Mode::Training, context, images, shape)?;
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
        let (mut tape, x) = self.tape(Mode::Training, context, images, shape)?;
        tape.set_momentum(momentum);
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
        let (mut tape, x) = self.tape(Mode::Training, context, images, shape)?;
        let parameters = self.parameters.iter().map(|(_, parameter)| (&*parameter.name, parameter.value.values()));
        for (name, values) in std::iter::once(("the input", images)).chain(parameters) {
            if let Some(count) = not_finite(values) {
                return Ok(Some(format!("{name} holds {count}")));
            }
        }
        tape.inspect();
        let (logits, loss) = self.loss(&mut tape, x, labels, class_weights)?;
        tape.release(logits);
        tape.release(loss);
        Ok(tape.first_not_finite().map(str::to_owned))
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
