//! What a training step does beside operations of the tape: running statistics, and Adam.

use super::{Bound, Check, Expected, Part};
use crate::Result;
use crate::audit::log::OtherEquation;
use osteon_reference as reference;

impl OtherEquation {
    /// What a record of it should hold, and how far that may be off.
    ///
    /// # Errors
    /// Inputs that do not fit.
    pub(super) fn expected(&self, at: &Check) -> Result<Expected> {
        at.ensure(at.part() == Part::Output)?;
        match *self {
            OtherEquation::Given => Err(at.misfit()),
            OtherEquation::RunningMean { momentum } => moved(at, momentum, 2, false),
            OtherEquation::RunningVariance { momentum, pixels } => moved(at, momentum, pixels, true),
            OtherEquation::Adam { learning_rate, beta1, beta2, epsilon, weight_decay } => {
                let (g, p) = (at.exactly(0, at.len())?, at.exactly(1, at.len())?);
                let [learning_rate, beta1, beta2, epsilon, weight_decay] =
                    [learning_rate, beta1, beta2, epsilon, weight_decay].map(f64::from);
                let adam =
                    reference::adam::AdamStep { learning_rate, beta1, beta2, epsilon, weight_decay, decoupled: false, step: 1 };
                let zeros = vec![0.0; at.len()];
                let [values, first, second] = reference::adam::step(&adam, &g, &p, &zeros, &zeros);
                let size = |i: usize| {
                    let denominator = (second[i] / (1.0 - beta2)).sqrt() + epsilon;
                    let moment = (first[i].abs() + weight_decay * p[i].abs() * (1.0 - beta1)) / (1.0 - beta1);
                    p[i].abs() + learning_rate * moment / denominator
                };
                Ok(Expected::within(Bound::Adam, 16.0, values, &(0..at.len()).map(size).collect::<Vec<_>>()))
            }
        }
    }
}

/// A running statistic after a batch of so many pixels: the mean, or the variance.
fn moved(at: &Check, momentum: f32, pixels: usize, variance: bool) -> Result<Expected> {
    let len = at.len();
    at.ensure(pixels > 1)?;
    let (statistics, running) = (at.exactly(0, 3 * len)?, at.exactly(1, len)?);
    let (means, variances) = (&statistics[..len], &statistics[2 * len..]);
    let [mean, var] = reference::norm::update_running(f64::from(momentum), pixels, means, variances, &running, &running);
    let (values, batch) = if variance { (var, variances) } else { (mean, means) };
    // The unbiased variance is at most twice the biased one.
    let sizes: Vec<f64> = running.iter().zip(batch).map(|(running, batch)| running.abs() + 2.0 * batch.abs()).collect();
    Ok(Expected::within(Bound::Rounding, 1.0, values, &sizes))
}
