//! Batch normalisation computed again.

use super::{Allowed, Audited, Bound, Check, Expected, FLUSHED, Part, U, Wide};
use crate::Result;
use crate::autograd::ops::{BatchNorm, FrozenNorm};
use osteon_kernels::norm::{self, NormShape};
use osteon_reference as reference;

impl Audited for BatchNorm {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        let [x, gamma, beta] = [0, 1, 2].map(|k| inputs[k].values);
        let output = reference::norm::forward_training(self.epsilon.into(), x, gamma, beta).output;
        if self.relu { reference::elementwise::relu(&output) } else { output }
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        match at.part() {
            Part::Saved => statistics(at, self.epsilon),
            Part::Gradient(k) => gradient(at, k, self.relu),
            Part::Output => {
                let channels = *at.shape(0)?.last().ok_or_else(|| at.misfit())?;
                let (x, gamma, beta) = (at.exactly(0, at.len())?, at.exactly(1, channels)?, at.exactly(2, channels)?);
                let statistics = at.exactly(3, 3 * channels)?;
                let (mean, inv_std) = (&statistics[..channels], &statistics[channels..2 * channels]);
                let values = reference::norm::normalise(&x, &gamma, &beta, mean, inv_std);
                // The difference, the scale, and their product with the shift.
                let size = |(i, x): (usize, &f64)| {
                    let c = i % channels;
                    ((x - mean[c]) * inv_std[c] * gamma[c]).abs() + beta[c].abs()
                };
                let sizes: Vec<f64> = x.iter().enumerate().map(size).collect();
                Ok(Expected::within(Bound::Rounding, 4.0, values, &sizes).relu(self.relu))
            }
        }
    }

    /// A mean and a slope are taken off the gradient, which may leave little of it.
    fn gradient_claim(&self) -> f64 {
        2e-6
    }
}

fn of(pixels: usize, channels: usize) -> NormShape {
    NormShape { pixels, channels, relu: false }
}

/// Mean, 1/std and variance of a batch.
fn statistics(at: &Check, epsilon: f32) -> Result<Expected> {
    let x = at.floats(0)?;
    let channels = *at.shape(0)?.last().ok_or_else(|| at.misfit())?;
    let (shape, epsilon) = (of(x.len() / channels, channels), f64::from(epsilon));
    let ones = vec![1.0; channels];
    let normalised = reference::norm::forward_training(epsilon, &x, &ones, &ones);
    let (steps, growth) = (norm::sum_roundings(shape) as f64, norm::pilot_growth(shape));
    let of_mean = |mean: f64, variance: f64| 2.0 * U * mean.abs() + steps * U * (growth * variance).sqrt();
    let (mut means, mut variances, mut inverses) = (Vec::new(), Vec::new(), Vec::new());
    for (&mean, &variance) in normalised.mean.iter().zip(&normalised.variance) {
        let moved = of_mean(mean, variance);
        let of_variance = (steps + 4.0) * U * growth * variance + 2.0 * moved * variance.sqrt() + moved * moved + FLUSHED;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        means.push(moved + FLUSHED);
        inverses.push(inverse * (0.5 * of_variance / (variance + epsilon) + 2.0 * U));
        variances.push(of_variance);
    }
    let values = [normalised.mean, normalised.inv_std, normalised.variance].concat();
    let allowed = Allowed::Each([means, inverses, variances].concat());
    Ok(Expected { bound: Bound::Statistics, values, allowed })
}

/// Gradient of x, gamma or beta, from g, x, gamma, statistics and, with ReLU, the output.
fn gradient(at: &Check, k: usize, relu: bool) -> Result<Expected> {
    let (mut g, x) = (at.floats(0)?, at.floats(1)?);
    let channels = *at.shape(1)?.last().ok_or_else(|| at.misfit())?;
    let (gamma, statistics) = (at.exactly(2, channels)?, at.exactly(3, 3 * channels)?);
    at.ensure(g.len() == x.len())?;
    if relu {
        g = reference::elementwise::relu_backward(&at.exactly(4, x.len())?, &g);
    }
    let (mean, inv_std) = (&statistics[..channels], &statistics[channels..2 * channels]);
    let gradients = reference::norm::backward(&x, &g, &gamma, mean, inv_std);
    let pixels = x.len() / channels;
    let steps = norm::sum_roundings(of(pixels, channels)) as f64;
    // Per channel: the sums of |g| and of |g x'|.
    let (mut sum, mut product) = (vec![0.0; channels], vec![0.0; channels]);
    let normal = |i: usize| ((x[i] - mean[i % channels]) * inv_std[i % channels]).abs();
    for (i, g) in g.iter().enumerate() {
        sum[i % channels] += g.abs();
        product[i % channels] += g.abs() * normal(i);
    }
    let values = gradients.into_iter().nth(k).ok_or_else(|| at.misfit())?;
    Ok(match k {
        0 => {
            let size = |(i, g): (usize, &f64)| {
                let c = i % channels;
                (gamma[c] * inv_std[c]).abs() * (g.abs() + (sum[c] + normal(i) * product[c]) / pixels as f64)
            };
            let sizes: Vec<f64> = g.iter().enumerate().map(size).collect();
            Expected::within(Bound::NormGradient, steps + 10.0, values, &sizes)
        }
        1 => Expected::within(Bound::NormGradient, steps + 3.0, values, &product),
        _ => Expected::within(Bound::Sum, steps + 1.0, values, &sum),
    })
}

impl Audited for FrozenNorm {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        let [x, gamma, beta, mean, variance] = [0, 1, 2, 3, 4].map(|k| inputs[k].values);
        let output = reference::norm::forward_inference(self.epsilon.into(), x, gamma, beta, mean, variance);
        if self.relu { reference::elementwise::relu(&output) } else { output }
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        let epsilon = f64::from(self.epsilon);
        match at.part() {
            Part::Output => {
                let [(_, x), (_, gamma), (_, beta), (_, mean), (_, variance)] = at.operands(self)?;
                let channels = beta.len();
                let norm = |beta: &[f64]| reference::norm::forward_inference(epsilon, &x, &gamma, beta, &mean, &variance);
                let (values, scaled) = (norm(&beta), norm(&vec![0.0; channels]));
                let sizes: Vec<f64> = scaled.iter().enumerate().map(|(i, y)| y.abs() + beta[i % channels].abs()).collect();
                Ok(Expected::within(Bound::Rounding, 5.0, values, &sizes).relu(self.relu))
            }
            Part::Gradient(0) => {
                let (channels, len) = (at.channels()?, at.len());
                let (mut g, gamma, variance) = (at.exactly(0, len)?, at.exactly(1, channels)?, at.exactly(2, channels)?);
                if self.relu {
                    g = reference::elementwise::relu_backward(&at.exactly(3, len)?, &g);
                }
                let zeros = vec![0.0; channels];
                let values = reference::norm::forward_inference(epsilon, &g, &gamma, &zeros, &zeros, &variance);
                Ok(Expected::rounded(5.0, values))
            }
            _ => Err(at.misfit()),
        }
    }
}
