//! One training step: forward, loss, backward, Adam, running statistics.

use super::{Differentiated, Model};
use crate::autograd::{Parameter, ParameterId};
use crate::optim::{Adam, Moments};
use crate::tensor::archive::Archive;
use crate::tensor::{Buffer, Context};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// A model in training, with the optimiser's moments and the buffers of its step.
#[derive(Debug)]
pub struct Trainer {
    model: Model,
    adam: Adam,
    moments: Moments,
    context: Context,
}

/// What a step measured, before it changed the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Mean cross-entropy of the batch.
    pub loss: f32,
    /// Images whose largest logit was their label's.
    pub correct: usize,
    /// l2 norm of the gradient of all parameters.
    pub gradient_norm: f64,
}

impl Trainer {
    /// Starts with this model.
    pub fn new(model: Model, adam: Adam) -> Self {
        let moments = Moments::new(model.parameters());
        Trainer { model, adam, moments, context: Context::default() }
    }

    /// One step on images (batch, rows, columns) of the model's input size and their labels.
    ///
    /// # Errors
    /// Images or labels that do not fit; a loss or gradient that is not finite, and then the model has not changed.
    pub fn step(&mut self, images: &[f32], labels: &[u32], learning_rate: f32) -> Result<Step> {
        let [rows, columns] = self.model.metadata().input_size;
        let pass = self.model.differentiate(&mut self.context, images, [labels.len(), rows, columns], labels)?;
        let Differentiated { loss, correct, gradients, statistics } = pass;
        let gradient_norm = gradients.norm();
        if !loss.is_finite() || !gradient_norm.is_finite() {
            let problem = format!("training diverged in step {}: its loss is {loss}", self.moments.steps() + 1);
            return Err(Error::failed(problem, "choose a smaller learning rate, or a warm-up"));
        }
        self.moments.step(self.context.isa, &self.adam, self.model.parameters_mut(), &gradients, learning_rate);
        self.adopt(statistics);
        Ok(Step { loss, correct, gradient_norm })
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
    pub fn restore(&mut self, archive: &Archive, steps: u64) -> Result<()> {
        let read = |prefix: &str, parameter: &Parameter| {
            let name = format!("{prefix}{}", parameter.name);
            let (shape, values) = archive.float_bytes(&name)?;
            let expected = parameter.file_shape();
            if shape == &*expected {
                return Ok(values);
            }
            let problem = format!("`{name}` has shape {shape:?} where {:?} was expected", &*expected);
            Err(Error::file(archive.path(), problem, "start the run anew with --force"))
        };
        let mut moments = Vec::new();
        for (_, parameter) in self.model.parameters().iter() {
            let mut both = [Vec::new(), Vec::new()];
            if parameter.is_trained() {
                for (values, prefix) in both.iter_mut().zip(["adam.first.", "adam.second."]) {
                    *values = parameter.from_file(read(prefix, parameter)?);
                }
            }
            moments.push(both);
        }
        self.model.parameters_mut().change_each(|parameter| {
            parameter.set_from_file(read("model.", parameter)?);
            Ok(())
        })?;
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
