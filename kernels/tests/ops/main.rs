//! Every kernel beside convolution against the plain f64 loops, on every instruction set, and the same bits for any number of
//! threads.

mod adams;
mod between;
#[path = "../common/mod.rs"]
mod common;
mod elements;
mod linears;
mod losses;
mod norms;
mod pools;
mod reductions;
mod threads;

use adams::adam_steps;
use between::drop_out;
use common::{error, values, wide};
use linears::Linear;
use norms::Norm;
use osteon_kernels::adam::{self, AdamStep};
use osteon_kernels::adaptive::{self, AdaptiveShape};
use osteon_kernels::concat::{self, ConcatShape};
use osteon_kernels::dropout::{self, Dropout};
use osteon_kernels::linear::{self, LinearShape};
use osteon_kernels::norm::{self, NormShape};
use osteon_kernels::par::Pool;
use osteon_kernels::pool::{self, PoolShape};
use osteon_kernels::reduce::{self, ReduceShape};
use osteon_kernels::simd::Isa;
use osteon_kernels::{attention, bias, elementwise, softmax};
use osteon_reference as reference;
use pools::max_pool;
use proptest::prelude::*;
use reductions::{channel_stats, global_max, scale_add_relu_backward, scaled_channel_stats};

/// Relative l2 error of sums of products: f32 rounds each step to 6e-8, and the sums here are short or split.
const MAX_SUM_ERROR: f64 = 2e-6;
/// Relative l2 error of one value after a handful of roundings.
const MAX_ROUNDING_ERROR: f64 = 3e-7;
/// Relative error of a variance when the mean is 1000 times the standard deviation: the input's own rounding moves values by
/// 6e-5 standard deviations, but both sides see the same rounded input.
const MAX_SHIFTED_VARIANCE_ERROR: f64 = 2e-5;
/// The same for the normalised values: the f32 mean itself is off by up to 3e-5 standard deviations.
const MAX_SHIFTED_OUTPUT_ERROR: f64 = 1e-4;
/// Relative l2 error of a gradient that is the rest after its own mean and slope are taken away.
const MAX_NORM_GRADIENT_ERROR: f64 = 1e-5;

/// Values on a grid of 1/4, so that many are equal.
fn ties(len: usize, seed: u64) -> Vec<f32> {
    values(len, seed).into_iter().map(|x| (x * 4.0).round() / 4.0).collect()
}

/// A buffer whose old content must not matter.
fn dirty(len: usize) -> Vec<f32> {
    vec![f32::NAN; len]
}

/// A length of `len` written by `work`.
fn filled(len: usize, work: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut output = dirty(len);
    work(&mut output);
    output
}

/// The reference value is exact, so rounding it once must give the kernel's bits (zeros of either sign are equal).
fn assert_exact(actual: &[f32], expected: &[f64], what: &str, isa: Isa) {
    assert_eq!(actual.len(), expected.len(), "{what} {isa:?}");
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        assert!(a == e as f32, "{what} {isa:?}: [{i}] is {a}, not {e}");
    }
}

fn assert_close(actual: &[f32], expected: &[f64], bound: f64, what: &str, isa: Isa) {
    let error = error(actual, expected);
    assert!(error < bound, "{what} {isa:?}: {error:e}");
}

/// For sums that may happen to be near zero: the error compared with `size`, that of a sum of as many random terms.
fn assert_near(actual: &[f32], expected: &[f64], size: f64, bound: f64, what: &str, isa: Isa) {
    assert_eq!(actual.len(), expected.len(), "{what} {isa:?}");
    let worst = actual.iter().zip(expected).map(|(&a, e)| (f64::from(a) - e).abs() / size).fold(0.0, f64::max);
    assert!(worst < bound, "{what} {isa:?}: {worst:e}");
}
