//! Dropout (Srivastava et al. 2014), inverted: what stays is scaled by `1 / (1 - rate)`, so that a network in use drops nothing and
//! scales nothing (Goodfellow et al. 2016, section 7.12).
//!
//! The mask is a function of seed, step, place in the network and index: no state, so any thread can compute any part of it, and a
//! run that is resumed draws what it would have drawn.

use crate::elementwise::{self, CHUNK};
use crate::par;
use crate::simd::Isa;

/// Which values are dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Share of the values, in 0..1.
    pub rate: f32,
    /// Of the run.
    pub seed: u64,
    /// Of the training.
    pub step: u64,
    /// Which of the network's dropouts, counted from 0.
    pub place: u32,
}

impl Dropout {
    /// Where the stream of [`kept`](Self::kept) begins.
    fn state(&self) -> u64 {
        [self.step, u64::from(self.place)].into_iter().fold(mix(self.seed), |state, word| mix(state ^ word))
    }

    /// What a value that stays is multiplied by.
    fn scale(&self) -> f32 {
        1.0 / (1.0 - self.rate)
    }
}

/// 2^64 over the golden ratio, odd: the step of SplitMix64 (Steele, Lea and Flood 2014).
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's next number after `state`.
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(STEP);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// `output = input * mask`. `mask[i]` is `1 / (1 - rate)` where number `i` of the SplitMix64 stream, its upper 24 bits as a
/// number in 0..1, is at least the rate, and 0 elsewhere.
pub fn forward(isa: Isa, dropout: Dropout, input: &[f32], mask: &mut [f32], output: &mut [f32]) {
    assert!((0.0..1.0).contains(&dropout.rate), "no such rate: {dropout:?}");
    assert_eq!(input.len(), mask.len(), "input and mask of unequal lengths");
    let (state, scale) = (dropout.state(), dropout.scale());
    par::chunks_mut(mask, CHUNK, |chunk, mask| {
        for (i, value) in mask.iter_mut().enumerate() {
            let bits = mix(state.wrapping_add(STEP.wrapping_mul((chunk * CHUNK + i) as u64)));
            let uniform = (bits >> 40) as f32 / (1 << 24) as f32;
            *value = if uniform >= dropout.rate { scale } else { 0.0 };
        }
    });
    elementwise::multiply(isa, input, mask, output);
}

/// `grad_input = grad_output * mask`.
pub fn backward(isa: Isa, mask: &[f32], grad_output: &[f32], grad_input: &mut [f32]) {
    elementwise::multiply(isa, grad_output, mask, grad_input);
}
