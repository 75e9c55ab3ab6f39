//! The gradients that a backward pass gives, and what training asks of them.

use super::ParameterId;
use crate::tensor::Buffer;
use osteon_kernels::par;

/// The gradients of a network's parameters, by [`ParameterId`].
#[derive(Debug)]
pub struct Gradients {
    pub(super) of: Vec<Option<Buffer>>,
}

impl Gradients {
    /// The gradient of one, in its parameter's memory order; none where the parameter took no part.
    pub fn get(&self, id: ParameterId) -> Option<&[f32]> {
        self.of[id.index()].as_deref()
    }

    /// The l2 norm of all of them together.
    pub fn norm(&self) -> f64 {
        const CHUNK: usize = 1 << 16;
        // Sixteen running sums, so that the loop is not one chain of additions.
        let square = |values: &[f32]| {
            let mut sums = [0.0f64; 16];
            for chunk in values.chunks(sums.len()) {
                for (sum, &x) in sums.iter_mut().zip(chunk) {
                    *sum += f64::from(x) * f64::from(x);
                }
            }
            sums.iter().sum::<f64>()
        };
        let chunks: Vec<&[f32]> = self.of.iter().flatten().flat_map(|gradient| gradient.chunks(CHUNK)).collect();
        let mut squares = vec![0.0; chunks.len()];
        par::chunks_mut(&mut squares, 1, |i, sum| sum[0] = square(chunks[i]));
        squares.iter().sum::<f64>().sqrt()
    }

    /// Multiplies all of them.
    pub fn scale(&mut self, factor: f32) {
        for gradient in self.of.iter_mut().flatten() {
            gradient.iter_mut().for_each(|value| *value *= factor);
        }
    }
}

/// How many of the values are NaN and how many infinite, in words; `None` where all are finite.
pub fn not_finite(values: &[f32]) -> Option<String> {
    // Free of branches: nearly always there is nothing to count.
    if values.iter().fold(true, |finite, value| finite & value.is_finite()) {
        return None;
    }
    let nan = values.iter().filter(|value| value.is_nan()).count();
    let infinite = values.iter().filter(|value| value.is_infinite()).count();
    Some(format!("{nan} NaN and {infinite} infinite of {} values", values.len()))
}
