//! Softmax, and its cross-entropy with labels. Small (batch * classes), so on one thread.

use crate::simd::{self, Body, Isa, LANES, Simd};

/// The most roundings that one exponential of [`softmax`]'s sum goes through, for bounds of its error: `ceil(classes / 8) - 1` in its
/// lane and 3 of the eight lanes in pairs, or one for each other class where those are fewer.
pub fn sum_roundings(classes: usize) -> usize {
    (classes.div_ceil(LANES) + LANES.ilog2() as usize).min(classes).saturating_sub(1)
}

/// `probabilities = e^(logits - largest) / sum`, row by row.
pub fn softmax(
    isa: Isa,
    batch: usize,
    classes: usize,
    logits: &[f32],            // (batch, classes)
    probabilities: &mut [f32], // (batch, classes)
) {
    assert!(classes > 0, "no classes");
    assert!(logits.len() == batch * classes && probabilities.len() == logits.len(), "not {batch} rows of {classes}");
    for (logits, probabilities) in logits.chunks_exact(classes).zip(probabilities.chunks_exact_mut(classes)) {
        isa.run(SoftmaxRow { logits, probabilities });
    }
}

/// Returns the logarithm of the sum of `e^logit`.
struct SoftmaxRow<'a> {
    logits: &'a [f32],
    probabilities: &'a mut [f32],
}

impl Body for SoftmaxRow<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        // A NaN that is passed over here still makes the sum NaN, and with it the whole row.
        let mut largest = f32::NEG_INFINITY;
        for &logit in self.logits {
            largest = if logit > largest { logit } else { largest };
        }
        let mut sum = simd.splat(0.0);
        for c in (0..self.logits.len()).step_by(LANES) {
            let x = simd.load_part(&self.logits[c..], f32::NEG_INFINITY);
            let e = simd::exp(simd, simd.sub(x, simd.splat(largest)));
            sum = simd.add(sum, e);
            simd.store_part(e, &mut self.probabilities[c..]);
        }
        let sum = simd.sum(sum);
        let inverse = simd.splat(1.0 / sum);
        for p in self.probabilities.chunks_mut(LANES) {
            simd.store_part(simd.mul(simd.load_part(p, 0.0), inverse), p);
        }
        f64::from(largest) + f64::from(sum).ln()
    }
}

/// [`softmax`], and the mean over the batch of `-ln probability[label]`, from the logits: a probability too small for an f32
/// still has a finite loss.
pub fn cross_entropy(
    isa: Isa,
    batch: usize,
    classes: usize,
    logits: &[f32],            // (batch, classes)
    labels: &[u32],            // (batch)
    probabilities: &mut [f32], // (batch, classes)
) -> f32 {
    assert!(batch > 0 && classes > 0, "no rows or no classes");
    assert!(logits.len() == batch * classes && probabilities.len() == logits.len(), "not {batch} rows of {classes}");
    assert!(labels.len() == batch && labels.iter().all(|&label| (label as usize) < classes), "labels outside the classes");
    let rows = logits.chunks_exact(classes).zip(probabilities.chunks_exact_mut(classes));
    let mut loss = 0.0;
    for ((logits, probabilities), &label) in rows.zip(labels) {
        loss += isa.run(SoftmaxRow { logits, probabilities }) - f64::from(logits[label as usize]);
    }
    (loss / batch as f64) as f32
}

/// `grad_logits = grad_loss / batch * (probabilities - 1 at the label)`
pub fn cross_entropy_backward(
    batch: usize,
    classes: usize,
    probabilities: &[f32], // (batch, classes)
    labels: &[u32],        // (batch)
    grad_loss: f32,
    grad_logits: &mut [f32], // (batch, classes)
) {
    assert!(probabilities.len() == batch * classes && grad_logits.len() == probabilities.len(), "not {batch} rows of {classes}");
    assert!(labels.len() == batch && labels.iter().all(|&label| (label as usize) < classes), "labels outside the classes");
    let share = grad_loss / batch as f32;
    let rows = grad_logits.chunks_exact_mut(classes).zip(probabilities.chunks_exact(classes));
    for ((grad, probabilities), &label) in rows.zip(labels) {
        for (c, (grad, &p)) in grad.iter_mut().zip(probabilities).enumerate() {
            *grad = share * if c == label as usize { p - 1.0 } else { p };
        }
    }
}

/// [`cross_entropy`] as a weighted mean, PyTorch's `CrossEntropyLoss(weight=weights)`: row n counts with the share
/// `weights[label[n]] / sum over the rows of weights[label]`, and `shares` keeps these.
pub fn weighted_cross_entropy(
    isa: Isa,
    batch: usize,
    classes: usize,
    logits: &[f32],            // (batch, classes)
    labels: &[u32],            // (batch)
    weights: &[f32],           // (classes), those of the labels with a sum above 0
    probabilities: &mut [f32], // (batch, classes)
    shares: &mut [f32],        // (batch)
) -> f32 {
    assert!(batch > 0 && classes > 0, "no rows or no classes");
    assert!(logits.len() == batch * classes && probabilities.len() == logits.len(), "not {batch} rows of {classes}");
    assert!(labels.len() == batch && labels.iter().all(|&label| (label as usize) < classes), "labels outside the classes");
    assert!(weights.len() == classes && shares.len() == batch, "not {classes} weights, or not {batch} shares");
    let weight = |label: u32| f64::from(weights[label as usize]);
    let total: f64 = labels.iter().map(|&label| weight(label)).sum();
    let rows = logits.chunks_exact(classes).zip(probabilities.chunks_exact_mut(classes));
    let mut loss = 0.0;
    for (((logits, probabilities), &label), share) in rows.zip(labels).zip(shares) {
        loss += weight(label) * (isa.run(SoftmaxRow { logits, probabilities }) - f64::from(logits[label as usize]));
        *share = (weight(label) / total) as f32;
    }
    (loss / total) as f32
}

/// `grad_logits = grad_loss * share * (probabilities - 1 at the label)`, row by row.
pub fn weighted_cross_entropy_backward(
    batch: usize,
    classes: usize,
    probabilities: &[f32], // (batch, classes)
    labels: &[u32],        // (batch)
    shares: &[f32],        // (batch)
    grad_loss: f32,
    grad_logits: &mut [f32], // (batch, classes)
) {
    assert!(probabilities.len() == batch * classes && grad_logits.len() == probabilities.len(), "not {batch} rows of {classes}");
    assert!(labels.len() == batch && shares.len() == batch, "not {batch} labels and shares");
    let rows = grad_logits.chunks_exact_mut(classes).zip(probabilities.chunks_exact(classes));
    for (((grad, probabilities), &label), share) in rows.zip(labels).zip(shares) {
        for (c, (grad, &p)) in grad.iter_mut().zip(probabilities).enumerate() {
            *grad = grad_loss * share * if c == label as usize { p - 1.0 } else { p };
        }
    }
}
