//! One training step: forward, loss, backward, Adam, running statistics.

use super::{Differentiated, Model};
use crate::autograd::{Context, Drops};
use crate::autograd::{Gradients, Parameter, ParameterId, not_finite};
use crate::optim::{Adam, Moments};
use crate::tensor::Buffer;
use crate::tensor::file::TensorFile;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// A model in training, with the optimiser's moments and the buffers of its step.
#[derive(Debug)]
pub struct Trainer {
    model: Model,
    adam: Adam,
    moments: Moments,
    /// The largest l2 norm of a gradient that a step takes as it is.
    clip_norm: Option<f64>,
    /// Of dropout.
    seed: u64,
    /// In the loss, by class.
    class_weights: Option<Vec<f32>>,
    context: Context,
}

/// What a step measured, before it changed the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Mean cross-entropy of the batch, weighted where classes have weights, and the shares of auxiliary classifiers'.
    pub loss: f32,
    /// Images whose largest logit was their label's.
    pub correct: usize,
    /// l2 norm of the gradient of all parameters, before it was clipped.
    pub gradient_norm: f64,
}

impl Trainer {
    /// Starts with this model.
    pub fn new(model: Model, adam: Adam) -> Self {
        let moments = Moments::new(model.parameters());
        let (seed, class_weights) = (0, None);
        Trainer { model, adam, moments, clip_norm: None, seed, class_weights, context: Context::default() }
    }

    /// From now on dropout draws from this seed; before, from 0. What a step drops depends on it and on the number of
    /// [steps](Self::steps) before.
    pub fn seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// From now on a gradient whose l2 norm, over all parameters together, is above `norm` is scaled down to it (Pascanu, Mikolov and
    /// Bengio 2013, algorithm 1).
    pub fn clip_norm(&mut self, norm: f64) {
        self.clip_norm = Some(norm);
    }

    /// From now on an image counts in the loss by its class's weight, above 0: the mean is that of PyTorch's
    /// `CrossEntropyLoss(weight=weights)`.
    pub fn weigh_classes(&mut self, weights: Vec<f32>) {
        self.class_weights = Some(weights);
    }

    /// One step on images (batch, rows, columns) of the model's input size and their labels.
    ///
    /// # Errors
    /// Images or labels that do not fit; [`Error::NotFinite`] where loss, gradient or a running statistic is not finite, or a gradient
    /// too large for Adam, whose second moment is its square: then the model has not changed.
    pub fn step(&mut self, images: &[f32], labels: &[u32], learning_rate: f32) -> Result<Step> {
        let [rows, columns] = self.model.metadata().input_size;
        self.context.dropout = Some(Drops { seed: self.seed, step: self.moments.steps() });
        let (shape, weights) = ([labels.len(), rows, columns], self.class_weights.as_deref());
        let pass = self.model.differentiate_weighted(&mut self.context, images, shape, labels, weights)?;
        let Differentiated { loss, correct, mut gradients, statistics } = pass;
        let gradient_norm = gradients.norm();
        let statistics_are_finite = statistics.iter().all(|(_, values)| not_finite(values).is_none());
        if !loss.is_finite() || !gradient_norm.is_finite() || !statistics_are_finite {
            let place = self.model.first_not_finite(&mut self.context, images, shape, labels, weights)?;
            let place = place.unwrap_or_else(|| self.first_gradient_not_finite(&gradients));
            return Err(Error::NotFinite { place });
        }
        if let Some(limit) = self.clip_norm.filter(|&limit| gradient_norm > limit) {
            gradients.scale((limit / gradient_norm) as f32);
        }
        let applied = self.clip_norm.map_or(gradient_norm, |limit| gradient_norm.min(limit));
        if applied * applied > f64::from(f32::MAX) {
            let place = format!("the gradient has the norm {gradient_norm:.1e}, too large to be squared");
            return Err(Error::NotFinite { place });
        }
        self.moments.step(self.context.isa, &self.adam, self.model.parameters_mut(), &gradients, learning_rate);
        self.adopt(statistics);
        Ok(Step { loss, correct, gradient_norm })
    }

    /// In the order of the backward pass, from the last parameter.
    fn first_gradient_not_finite(&self, gradients: &Gradients) -> String {
        let ids = self.model.parameters().trained();
        let found = ids.into_iter().rev().find_map(|id| Some((id, not_finite(gradients.get(id)?)?)));
        found.map_or("the gradient is not finite".to_owned(), |(id, count)| {
            format!("the gradient of {} has {count}", self.model.parameters().get(id).name)
        })
    }

    /// Precise batch normalisation (Wu and Johnson 2021, section 3): makes the running statistics the plain average of those
    /// of batches 0, 1, 2... of the network as it now is. Averages that run along with training are, in part, those of
    /// weights that are gone; with few and small batches the network then predicts worse than it has learnt.
    ///
    /// # Errors
    /// Images that do not fit.
    pub fn measure_statistics(&mut self, batch: usize, images: &[f32], count: usize) -> Result<()> {
        let [rows, columns] = self.model.metadata().input_size;
        let share = 1.0 / (batch + 1) as f32;
        let statistics = self.model.statistics(&mut self.context, images, [count, rows, columns], share)?;
        self.adopt(statistics);
        Ok(())
    }

    fn adopt(&mut self, statistics: Vec<(ParameterId, Buffer)>) {
        for (id, values) in statistics {
            self.model.parameters_mut().values_mut(id).copy_from_slice(&values);
        }
    }

    /// The model as it is now.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model, to change what it says about itself.
    pub fn model_mut(&mut self) -> &mut Model {
        &mut self.model
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.moments.steps()
    }

    /// Parameters (`model.NAME`) and Adam's moments (`adam.first.NAME`, `adam.second.NAME`), as a file has them: with
    /// [`steps`](Self::steps) all that the next step depends on.
    pub fn tensors(&self) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
        let mut tensors = BTreeMap::new();
        for (id, parameter) in self.model.parameters().iter() {
            let [first, second] = self.moments.of(id);
            let parts = [("model.", parameter.value.values()), ("adam.first.", first), ("adam.second.", second)];
            for (prefix, values) in parts.into_iter().filter(|(_, values)| !values.is_empty()) {
                let name = format!("{prefix}{}", parameter.name);
                tensors.insert(name, (parameter.file_shape().to_vec(), parameter.to_file(values)));
            }
        }
        tensors
    }

    /// Goes on after `steps` steps with what [`tensors`](Self::tensors) gave.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape.
    pub fn restore(&mut self, archive: &TensorFile, steps: u64) -> Result<()> {
        let mut moments = Vec::new();
        for (_, parameter) in self.model.parameters().iter() {
            let mut both = [Vec::new(), Vec::new()];
            if parameter.is_trained() {
                for (values, prefix) in both.iter_mut().zip(["adam.first.", "adam.second."]) {
                    *values = parameter.from_file(stored(archive, prefix, parameter)?);
                }
            }
            moments.push(both);
        }
        self.model.restore(archive, "model.")?;
        self.moments.restore(steps, moments);
        Ok(())
    }

    /// Ends the training.
    pub fn into_model(self) -> Model {
        self.model
    }

    /// How often a step had to ask the system for memory; in a steady training it stays the same.
    pub fn allocations(&self) -> usize {
        self.context.allocations()
    }
}

/// The values of a parameter in a checkpoint, under its name with `prefix`.
fn stored<'a>(archive: &'a TensorFile, prefix: &str, parameter: &Parameter) -> Result<&'a [[u8; 4]]> {
    let name = format!("{prefix}{}", parameter.name);
    let (shape, values) = archive.float_bytes(&name)?;
    let expected = parameter.file_shape();
    if shape == &*expected {
        return Ok(values);
    }
    let problem = format!("`{name}` has shape {shape:?} where {:?} was expected", &*expected);
    Err(Error::file(archive.path(), problem, "start the run anew with --force"))
}

impl Model {
    /// Its parameters as a file has them, under their names with `prefix`.
    pub fn tensors(&self, prefix: &str) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
        let tensor = |parameter: &Parameter| (parameter.file_shape().to_vec(), parameter.to_file(parameter.value.values()));
        self.parameters().iter().map(|(_, parameter)| (format!("{prefix}{}", parameter.name), tensor(parameter))).collect()
    }

    /// Takes over the values that [`tensors`](Self::tensors) gave.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape.
    pub fn restore(&mut self, archive: &TensorFile, prefix: &str) -> Result<()> {
        self.parameters_mut().change_each(|parameter| {
            parameter.set_from_file(stored(archive, prefix, parameter)?);
            Ok(())
        })
    }
}
