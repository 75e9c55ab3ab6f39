//! Dropout as a loop; the mask is a function of seed, step, place and index.

use crate::golden::Bits;

/// As `osteon_kernels::dropout::Dropout`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Dropout {
    pub rate: f64,
    pub seed: u64,
    pub step: u64,
    pub place: u32,
}

/// `mask[i] = [u_i >= rate] / (1 - rate)`, with `u_i` the upper 24 bits, as a number in 0..1, of entry `i` of the SplitMix64 stream
/// (Steele, Lea and Flood 2014) from the state `m(m(m(seed) xor step) xor place)`, where `m(s)` is the first number of the stream
/// from `s`.
pub fn mask(dropout: Dropout, len: usize) -> Vec<f64> {
    let first = |state: u64| Bits::from_state(state).next().expect("a stream has no end");
    let state = first(first(first(dropout.seed) ^ dropout.step) ^ u64::from(dropout.place));
    let uniform = |z: u64| (z >> 40) as f64 / (1u64 << 24) as f64;
    let kept = |z| if uniform(z) >= dropout.rate { 1.0 / (1.0 - dropout.rate) } else { 0.0 };
    Bits::from_state(state).take(len).map(kept).collect()
}

/// `y[i] = x[i] mask[i]`; backward: `grad_x[i] = g[i] mask[i]`.
pub fn apply(mask: &[f64], values: &[f64]) -> Vec<f64> {
    values.iter().zip(mask).map(|(x, mask)| x * mask).collect()
}
