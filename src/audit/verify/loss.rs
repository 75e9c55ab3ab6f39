//! Softmax and its cross-entropies computed again.

use super::{Audited, Bound, Check, Expected, Part, U, Wide, spread};
use crate::Result;
use crate::autograd::ops::{CrossEntropy, Softmax, WeightedCrossEntropy};
use osteon_kernels::{simd, softmax as kernel};
use osteon_reference::softmax;

/// Its exponential, and as many roundings as it takes to sum the classes.
const CLAIM: f64 = simd::MAX_EXP_ERROR + 8.0 * U;

impl Check<'_> {
    /// Labels that are classes.
    fn labels(&self, k: usize, batch: usize, classes: usize) -> Result<Vec<u32>> {
        let labels = self.indices(k, batch)?;
        self.ensure(labels.iter().all(|&label| (label as usize) < classes))?;
        Ok(labels)
    }

    /// Weights of classes, all of which are above 0.
    fn weights(&self, k: usize, classes: usize) -> Result<Vec<f64>> {
        let weights = self.exactly(k, classes)?;
        self.ensure(weights.iter().all(|&weight| weight > 0.0))?;
        Ok(weights)
    }

    /// (batch, classes) of the record.
    fn probabilities(&self) -> Result<[usize; 2]> {
        self.result()?[..].try_into().map_err(|_| self.misfit())
    }
}

/// The relative error of a sum of exponentials in units of U: theirs with that of their arguments, and the sum's.
fn sum_error(classes: usize, logits: &[f64]) -> f64 {
    simd::MAX_EXP_ERROR / U + spread(classes, logits) + kernel::sum_roundings(classes) as f64
}

/// A loss: ln moves by its argument's relative error; the rest is f64, rounded once.
fn loss(classes: usize, logits: &[f64], loss: f64) -> Expected {
    Expected::within(Bound::Exponential, 1.0, vec![loss], &[sum_error(classes, logits) + loss.abs()])
}

impl Audited for Softmax {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        softmax::softmax(inputs[0].shape[1], inputs[0].values)
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        at.ensure(at.part() == Part::Output)?;
        let [(shape, logits)] = at.operands(self)?;
        let classes = shape[1];
        let values = softmax::softmax(classes, &logits);
        // The exponential above, the sum below, the inverse and the product.
        let steps = simd::MAX_EXP_ERROR / U + spread(classes, &logits) + sum_error(classes, &logits) + 2.0;
        Ok(Expected::within(Bound::Exponential, steps, values.clone(), &values))
    }

    fn gradient_claim(&self) -> f64 {
        CLAIM
    }
}

impl Audited for CrossEntropy {
    fn reference(&self, inputs: &[Wide], labels: &[u32]) -> Vec<f64> {
        vec![softmax::cross_entropy(inputs[0].shape[1], inputs[0].values, labels)]
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        match at.part() {
            Part::Output => {
                let [batch, classes] = at.sizes(0)?;
                let (logits, labels) = (at.floats(0)?, at.labels(1, batch, classes)?);
                Ok(loss(classes, &logits, softmax::cross_entropy(classes, &logits, &labels)))
            }
            Part::Gradient(0) => {
                let [batch, classes] = at.probabilities()?;
                let (g, probabilities) = (at.exactly(0, 1)?, at.exactly(1, batch * classes)?);
                let labels = at.labels(2, batch, classes)?;
                Ok(Expected::rounded(3.0, softmax::cross_entropy_backward(classes, &probabilities, &labels, g[0])))
            }
            _ => Err(at.misfit()),
        }
    }

    fn gradient_claim(&self) -> f64 {
        CLAIM
    }
}

impl Audited for WeightedCrossEntropy {
    fn reference(&self, inputs: &[Wide], labels: &[u32]) -> Vec<f64> {
        vec![softmax::weighted_cross_entropy(inputs[0].shape[1], inputs[0].values, labels, inputs[1].values)]
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        match at.part() {
            // Each term counts by its share.
            Part::Output => {
                let [batch, classes] = at.sizes(0)?;
                let (logits, weights) = (at.floats(0)?, at.weights(1, classes)?);
                let labels = at.labels(2, batch, classes)?;
                Ok(loss(classes, &logits, softmax::weighted_cross_entropy(classes, &logits, &labels, &weights)))
            }
            Part::Gradient(0) => {
                let [batch, classes] = at.probabilities()?;
                let (g, probabilities) = (at.exactly(0, 1)?, at.exactly(1, batch * classes)?);
                let (labels, weights) = (at.labels(2, batch, classes)?, at.weights(3, classes)?);
                let values = softmax::weighted_cross_entropy_backward(classes, &probabilities, &labels, &weights, g[0]);
                Ok(Expected::rounded(4.0, values))
            }
            _ => Err(at.misfit()),
        }
    }

    fn gradient_claim(&self) -> f64 {
        CLAIM
    }
}
