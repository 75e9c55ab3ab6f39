//! The fully connected layer: `output = input W^T + bias`, with PyTorch's weight (out_features, in_features).
//!
//! Batches are small here, so the weights are what costs: they are read once for `ROWS` rows of the batch.

use crate::elementwise::{VECTORS, blocks};
use crate::par;
use crate::simd::{Body, Isa, LANES, Simd, zip};

/// Sizes of a fully connected layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinearShape {
    /// Rows of input and output.
    pub batch: usize,
    /// Values of an input row.
    pub in_features: usize,
    /// Values of an output row.
    pub out_features: usize,
}

/// Rows of the batch that share one reading of the weights.
const ROWS: usize = 4;

/// Multiplications below which a second thread costs more than it saves.
const SERIAL: usize = 1 << 16;

impl LinearShape {
    /// Rows of `count` that make one task.
    fn task_rows(&self, count: usize) -> usize {
        let serial = self.batch * self.in_features * self.out_features < SERIAL;
        if serial { count.max(1) } else { ROWS }
    }

    fn check(&self, input: &[f32], weight: &[f32], bias: &[f32], output: &[f32]) {
        assert!(self.in_features > 0 && self.out_features > 0, "no features: {self:?}");
        assert_eq!(input.len(), self.batch * self.in_features, "input length of {self:?}");
        assert_eq!(weight.len(), self.out_features * self.in_features, "weight length of {self:?}");
        assert_eq!(bias.len(), self.out_features, "bias length of {self:?}");
        assert_eq!(output.len(), self.batch * self.out_features, "output length of {self:?}");
    }
}

/// The most roundings that one product of [`forward`] goes through, for bounds of its error: its own and those of the sum of its lane,
/// `ceil(in_features / 32)` with 4 vectors of 8 lanes beside each other, 2 of the four vectors in pairs, 3 of the eight lanes in
/// pairs, and the bias.
pub fn forward_roundings(in_features: usize) -> usize {
    in_features.div_ceil(SUMS * LANES) + (SUMS * LANES).ilog2() as usize + 1
}

/// The most roundings that one product of a gradient of [`backward`] goes through, where it is a sum of `terms` in order.
pub fn backward_roundings(terms: usize) -> usize {
    terms
}

/// `output[n][o] = bias[o] + sum over i of input[n][i] weight[o][i]`
pub fn forward(
    isa: Isa,
    shape: LinearShape,
    input: &[f32],      // (batch, in_features)
    weight: &[f32],     // (out_features, in_features)
    bias: &[f32],       // (out_features)
    output: &mut [f32], // (batch, out_features)
) {
    shape.check(input, weight, bias, output);
    let rows = shape.task_rows(shape.batch);
    par::chunks_mut(output, rows * shape.out_features, |i, output| {
        isa.run(Forward { shape, input: &input[i * rows * shape.in_features..], weight, bias, output });
    });
}

/// Some rows of the output.
struct Forward<'a> {
    shape: LinearShape,
    input: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    output: &'a mut [f32],
}

impl Body for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let LinearShape { in_features, out_features, .. } = self.shape;
        for (weight, (o, bias)) in zip(self.weight.chunks_exact(in_features), self.bias.iter().enumerate()) {
            for (output, input) in zip(self.output.chunks_exact_mut(out_features), self.input.chunks_exact(in_features)) {
                output[o] = dot(simd, weight, input) + bias;
            }
        }
    }
}

/// Sums of vectors beside each other in [`dot`]: independent, so that one need not wait for the other.
const SUMS: usize = 4;

/// Four sums of vectors, then one.
#[inline(always)]
fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [simd.splat(0.0); SUMS];
    let whole = a.len() - a.len() % (SUMS * LANES);
    for first in (0..whole).step_by(SUMS * LANES) {
        let (a, b) = (simd.load_block::<SUMS>(&a[first..], 0.0), simd.load_block::<SUMS>(&b[first..], 0.0));
        for i in 0..SUMS {
            sums[i] = simd.mul_add(a[i], b[i], sums[i]);
        }
    }
    for (i, first) in zip(0.., (whole..a.len()).step_by(LANES)) {
        sums[i] = simd.mul_add(simd.load_part(&a[first..], 0.0), simd.load_part(&b[first..], 0.0), sums[i]);
    }
    simd.sum(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])))
}

/// `grad_input = grad_output W`, `grad_weight = grad_output^T input`, `grad_bias = sum over the batch of grad_output`.
pub fn backward(
    isa: Isa,
    shape: LinearShape,
    input: &[f32],           // (batch, in_features)
    weight: &[f32],          // (out_features, in_features)
    grad_output: &[f32],     // (batch, out_features)
    grad_input: &mut [f32],  // (batch, in_features)
    grad_weight: &mut [f32], // (out_features, in_features)
    grad_bias: &mut [f32],   // (out_features)
) {
    let LinearShape { batch, in_features, out_features } = shape;
    shape.check(input, weight, grad_bias, grad_output);
    assert_eq!(grad_input.len(), input.len(), "grad_input length of {shape:?}");
    assert_eq!(grad_weight.len(), weight.len(), "grad_weight length of {shape:?}");
    let rows = shape.task_rows(batch);
    par::chunks_mut(grad_input, rows * in_features, |i, to| {
        isa.run(Combine {
            columns: in_features,
            from: weight,
            factor: &grad_output[i * rows * out_features..],
            strides: (out_features, 1),
            to,
        });
    });
    let rows = shape.task_rows(out_features);
    par::chunks_mut(grad_weight, rows * in_features, |i, to| {
        isa.run(Combine { columns: in_features, from: input, factor: &grad_output[i * rows..], strides: (1, out_features), to });
    });
    grad_bias.fill(0.0);
    for row in grad_output.chunks_exact(out_features) {
        for (sum, grad) in grad_bias.iter_mut().zip(row) {
            *sum += grad;
        }
    }
}

/// `to[r] = sum over k of factor[r * strides.0 + k * strides.1] * from[k]`, rows of `columns` values.
struct Combine<'a> {
    columns: usize,
    from: &'a [f32],
    factor: &'a [f32],
    strides: (usize, usize),
    to: &'a mut [f32],
}

impl Body for Combine<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.to.fill(0.0);
        let (large, small) = blocks(self.columns);
        for (k, from) in zip(0.., self.from.chunks_exact(self.columns)) {
            for (r, to) in zip(0.., self.to.chunks_exact_mut(self.columns)) {
                let factor = simd.splat(self.factor[r * self.strides.0 + k * self.strides.1]);
                for c in large.clone() {
                    add_product::<S, VECTORS>(simd, factor, &from[c..], &mut to[c..]);
                }
                for c in small.clone() {
                    add_product::<S, 1>(simd, factor, &from[c..], &mut to[c..]);
                }
            }
        }
    }
}

/// `to += factor * from` of `V` vectors.
#[inline(always)]
fn add_product<S: Simd, const V: usize>(simd: S, factor: S::F32, from: &[f32], to: &mut [f32]) {
    let (from, mut sum) = (simd.load_block::<V>(from, 0.0), simd.load_block::<V>(to, 0.0));
    for i in 0..V {
        sum[i] = simd.mul_add(factor, from[i], sum[i]);
    }
    simd.store_block(sum, to);
}
