//! What a training step needs of a model: the loss, its gradient, and the statistics of a batch.

use super::Model;
use crate::Result;
use crate::autograd::{Context, Gradients, Mode, ParameterId, Tape, Var, not_finite};
use crate::tensor::Buffer;

/// The result of a forward and backward pass in training mode.
#[derive(Debug)]
pub struct Differentiated {
    /// Mean cross-entropy of the targets, plus the weighted losses of auxiliary classifiers.
    pub loss: f32,
    /// Images whose largest logit is their label's.
    pub correct: usize,
    /// Of the loss, by every trained parameter.
    pub gradients: Gradients,
    /// The running statistics after this batch. The model's own have not changed.
    pub statistics: Vec<(ParameterId, Buffer)>,
}

/// What a training step makes smaller, beside the images: the labels, and how they are weighed and softened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Objective<'a> {
    /// One an image.
    pub labels: &'a [u32],
    /// A weight for each class, where they differ, as PyTorch's `CrossEntropyLoss(weight=weights)`.
    pub class_weights: Option<&'a [f32]>,
    /// This share of a target is spread over all classes evenly (label smoothing: Szegedy et al. 2016, section 7), below 1. It is not
    /// weighed by class.
    pub smoothing: f32,
    /// A second label an image and its share, below 1, where images are mixed (mixup: Zhang et al. 2018, eq. 1).
    pub mixed: Option<(&'a [u32], f32)>,
}

impl<'a> Objective<'a> {
    /// Plain cross-entropy with these labels.
    pub fn of(labels: &'a [u32]) -> Self {
        Objective { labels, ..Objective::default() }
    }

    /// The share of the first labels' cross-entropy in the loss.
    fn first_share(&self) -> f32 {
        (1.0 - self.smoothing) * (1.0 - self.mixed.map_or(0.0, |(_, share)| share))
    }

    /// The loss of logits (batch, classes), over [`first_share`](Self::first_share): cross-entropies of the labels, of the second labels,
    /// and of each class as the label of every image, each with its share.
    fn loss(&self, tape: &mut Tape, logits: Var, classes: usize) -> Result<Var> {
        let mut terms = Vec::new();
        let first = self.first_share();
        if let Some((labels, share)) = self.mixed {
            let shared = tape.retain(&logits);
            terms.push((cross_entropy(tape, shared, labels, self.class_weights)?, (1.0 - self.smoothing) * share / first));
        }
        if self.smoothing > 0.0 {
            for class in 0..classes as u32 {
                let shared = tape.retain(&logits);
                let term = tape.cross_entropy(shared, &vec![class; self.labels.len()])?;
                terms.push((term, self.smoothing / classes as f32 / first));
            }
        }
        let mut loss = cross_entropy(tape, logits, self.labels, self.class_weights)?;
        for (term, share) in terms {
            loss = tape.add_scaled(loss, term, share)?;
        }
        Ok(loss)
    }
}

impl Model {
    /// The logits of images (batch, rows, columns, 1) on a tape for training, and the loss to minimise over the objective's
    /// [first share](Objective::first_share).
    fn loss(&self, tape: &mut Tape, images: Var, objective: &Objective) -> Result<(Var, Var)> {
        let classes = self.metadata.classes.len();
        let mut outputs = self.network.outputs(tape, images)?.into_iter();
        let (logits, _) = outputs.next().expect("a network has logits");
        let shared = tape.retain(&logits);
        let mut loss = objective.loss(tape, shared, classes)?;
        for (auxiliary, share) in outputs {
            let term = objective.loss(tape, auxiliary, classes)?;
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
        self.differentiate_objective(context, images, shape, &Objective::of(labels))
    }

    /// As [`differentiate`](Self::differentiate), of any objective.
    ///
    /// # Errors
    /// As [`differentiate`](Self::differentiate); another number of weights than classes.
    pub fn differentiate_objective(
        &self,
        context: &mut Context,
        images: &[f32],
        shape: [usize; 3],
        objective: &Objective,
    ) -> Result<Differentiated> {
        let (mut tape, x) = self.tape(Mode::Training, context, images, shape)?;
        let (logits, loss) = self.loss(&mut tape, x, objective)?;
        let rows = tape.value(&logits).chunks(self.metadata.classes.len());
        let correct = rows.zip(objective.labels).filter(|(row, label)| largest(row) == **label as usize).count();
        tape.release(logits);
        let share = objective.first_share();
        let value = share * tape.value(&loss)[0];
        let gradients = tape.backward(loss, &[share])?;
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
        objective: &Objective,
    ) -> Result<Option<String>> {
        let (mut tape, x) = self.tape(Mode::Training, context, images, shape)?;
        let parameters = self.parameters.iter().map(|(_, parameter)| (&*parameter.name, parameter.value.values()));
        for (name, values) in std::iter::once(("the input", images)).chain(parameters) {
            if let Some(count) = not_finite(values) {
                return Ok(Some(format!("{name} holds {count}")));
            }
        }
        tape.inspect();
        let (logits, loss) = self.loss(&mut tape, x, objective)?;
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
