//! Transforms weights and packs them as the products read them.

use super::transforms::{Square, Transform, both_ways};
use crate::gemm::NR;
use crate::par;
use crate::simd::{Body, Isa, Simd, copy, zip};

/// One panel of weights (3, 3, in, out), or of their rotation with channels exchanged, transformed and packed as (positions, panels,
/// in, NR).
struct PackPanel<'a, T, const N: usize, const P: usize> {
    transform: T,
    rotated: bool,
    panel: usize,
    channels: [usize; 2], // as packed: in, out
    weights: &'a [f32],
    packed: [&'a mut [f32]; P], // (in, NR) of one panel
}

/// In channels that are transformed before they are copied to the positions: each position then gets 8 * 16 * 4 = 512 bytes at a time,
/// and those of 81 positions, 41 KB, stay in the L2 cache.
const PACKED_CHANNELS: usize = 8;

impl<T: Transform<3, N>, const N: usize, const P: usize> Body for PackPanel<'_, T, N, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PackPanel { transform, rotated, panel, channels: [inputs, outputs], weights, mut packed } = self;
        let width = NR.min(outputs - panel * NR);
        let matrix = inputs * outputs;
        let mut turned = [[[0.0; NR]; PACKED_CHANNELS]; 9];
        let mut transformed = [[[0.0; NR]; PACKED_CHANNELS]; P];
        for first in (0..inputs).step_by(PACKED_CHANNELS) {
            let count = PACKED_CHANNELS.min(inputs - first);
            if rotated {
                for tap in 0..9 {
                    for j in 0..width {
                        let row = &weights[tap * matrix + (panel * NR + j) * inputs + first..][..count];
                        for c in 0..count {
                            turned[8 - tap][c][j] = row[c];
                        }
                    }
                }
            }
            for c in 0..count {
                let at = |side: usize| Square { first: c * NR, row: side * PACKED_CHANNELS * NR, column: PACKED_CHANNELS * NR };
                let from = if rotated {
                    (turned.as_flattened().as_flattened(), at(3))
                } else {
                    (weights, Square { first: (first + c) * outputs + panel * NR, row: 3 * matrix, column: matrix })
                };
                both_ways(simd, transform, width, from, (transformed.as_flattened_mut().as_flattened_mut(), at(N)));
            }
            for (packed, transformed) in zip(&mut packed, &transformed) {
                copy(transformed[..count].as_flattened(), &mut packed[first * NR..][..count * NR]);
            }
        }
    }
}

/// Packs weights with a transform to N * N = P positions.
pub(super) fn pack_weights<T: Transform<3, N>, const N: usize, const P: usize>(
    isa: Isa,
    transform: T,
    rotated: bool,
    channels: [usize; 2],
    weights: &[f32],
    packed: &mut [f32],
) {
    let position_len = packed.len() / P;
    let mut rest = packed;
    let positions: [&mut [f32]; P] = std::array::from_fn(|_| {
        let (position, after) = std::mem::take(&mut rest).split_at_mut(position_len);
        rest = after;
        position
    });
    par::chunks_mut_each(positions, [channels[0] * NR; P], |panel, packed| {
        isa.run(PackPanel { transform, rotated, panel, channels, weights, packed });
    });
}

