//! Winograd's F(4x4, 3x3) (Lavin and Gray 2016, section 4.1): 4x4 outputs of a 3x3 kernel from a 6x6 window by 36
//! multiplications a channel pair in place of 144.
//!
//! With window d, kernel g and outputs y: `y = A' [(G g G') . (B' d B)] A`, where `.` multiplies position by position and `'`
//! transposes. Summed over channels, each of the 36 positions is a matrix product of tiles by channels.
//!
//! * forward: where the weights are few, a task takes all three steps (windows, products, outputs) for a few tiles, whose windows
//!   and products stay in a core's cache. Where they are many, a block of tiles takes each step together: the products of a
//!   position are one task, so each weight is read once for the whole block.
//! * forward with stride 2: the same steps with 9x9 windows and 81 positions: of each axis the even rows meet the first and last kernel
//!   row as F(4, 2), with five products, and the odd rows the middle one, with four (`StridedWindow`).
//! * backward-data: the same, of `grad_output` with the rotated weights, input and output channels exchanged.
//! * backward-weights: `dg = G' [sum over tiles of (B' d B) . (A dy A')] G`; the sum of each position is a matrix product over
//!   tiles. A block of tiles is transformed, then added, position by position, to all sums.
//!
//! The points 0, 1, -1, 2, -2 and infinity cost precision: [`MAX_ERROR`].

mod backward_weights;
mod correlate;
mod grid;
mod pack;
mod transforms;

use super::{ConvShape, Epilogue, Functions, Pass};
use crate::par;
use crate::simd::{Isa, LANES};
use correlate::{Then, correlate};
use grid::{Grid, POSITIONS, WINDOW, positions, window};
use pack::pack_weights;
use transforms::{KernelTransform, StridedKernel};

/// What [`Algorithm::Winograd`](super::Algorithm::Winograd) is.
pub(super) const FUNCTIONS: Functions = Functions {
    name: "winograd",
    max_error: MAX_ERROR,
    adds: true,
    supports,
    pays,
    packed_len: |shape| Grid::forward(shape).packed_len(),
    pack,
    forward_scratch_len: |shape| scratch_len(Grid::forward(shape)),
    forward,
    backward_data_scratch_len,
    backward_data,
    backward_weights_scratch_len: backward_weights::scratch_len,
    backward_weights: backward_weights::backward_weights,
};

/// Relative l2 error of each pass against f64, claimed and tested. The matrices' largest row sums are 10 (B'), 1 (G) and 18
/// (A'), so rounding errors of 6e-8 may grow a hundredfold; measured, they grow tenfold.
const MAX_ERROR: f64 = 1e-5;

/// Whether this algorithm can compute a convolution; of stride 2 only its forward pass.
fn supports(pass: Pass, shape: ConvShape) -> bool {
    let vectors = shape.in_channels.is_multiple_of(LANES) && shape.out_channels.is_multiple_of(LANES);
    let stride = shape.stride == [1, 1] || (shape.stride == [2, 2] && pass == Pass::Forward);
    shape.kernel == [3, 3] && stride && shape.padding.iter().all(|&p| p <= 2) && vectors
}

/// Tiles whose multiplications cost as much as rotating and transforming the weights, which backward-data does in each step:
/// direct wins up to 16 tiles at 256 channels, Winograd from 32.
const PACKING_TILES: usize = 75;

/// Tiles whose multiplications cost as much as the sums of backward-weights, which are written and transformed in each step:
/// direct wins up to 16 tiles at 128 channels, up to 8 at 256 channels.
const SUMS_TILES: usize = 40;

/// Tiles of an image from which Winograd with stride 2 pays for weights that are nine times as many.
const STRIDED_TILES: usize = 16;

/// Whether it is faster than the direct algorithm, by the multiplications of whole tiles, of which some reach beyond the output.
fn pays(pass: Pass, shape: ConvShape) -> bool {
    let image = ConvShape { batch: 1, ..shape };
    let tiles = Grid::forward(image).tiles();
    let tile = positions(shape.stride[0]) * shape.in_channels * shape.out_channels;
    let (winograd, direct) = (tiles * tile, image.flops() as usize / 2);
    // Weights are packed for all forward passes together; the backward passes treat them anew.
    let pays_with = |once: usize| 3 * shape.batch * winograd / 2 + once * tile.min(winograd) <= shape.batch * direct;
    match pass {
        Pass::Forward if shape.stride == [1, 1] => 2 * winograd <= direct,
        // The fewer multiplications are saved, the more the transforms count.
        Pass::Forward => 3 * winograd <= 2 * direct && tiles >= STRIDED_TILES,
        Pass::BackwardData => pays_with(PACKING_TILES) && 2 * winograd <= direct,
        Pass::BackwardWeights => pays_with(SUMS_TILES) && 2 * winograd <= direct,
    }
}

fn pack(isa: Isa, shape: ConvShape, weights: &[f32], packed: &mut [f32]) {
    let channels = [shape.in_channels, shape.out_channels];
    match shape.stride[0] {
        1 => pack_weights::<_, WINDOW, POSITIONS>(isa, KernelTransform, false, channels, weights, packed),
        _ => pack_weights::<_, { window(2) }, { positions(2) }>(isa, StridedKernel, false, channels, weights, packed),
    }
}

fn scratch_len(grid: Grid) -> usize {
    let [own, shared] = grid.scratch_len();
    par::workers() * own + shared
}

fn forward(
    isa: Isa,
    shape: ConvShape,
    input: &[f32],
    packed: &[f32],
    epilogue: Epilogue,
    output: &mut [f32],
    scratch: &mut [f32],
) {
    let then = if epilogue.has_relu() { Then::Relu } else { Then::Store };
    correlate(isa, Grid::forward(shape), input, packed, (epilogue.bias, then), output, scratch);
}

fn backward_data_scratch_len(shape: ConvShape) -> usize {
    let grid = Grid::backward_data(shape);
    grid.packed_len() + scratch_len(grid)
}

fn backward_data(
    isa: Isa,
    shape: ConvShape,
    grad_output: &[f32],
    weights: &[f32],
    (grad_input, add): (&mut [f32], bool),
    scratch: &mut [f32],
) {
    let grid = Grid::backward_data(shape);
    let (packed, scratch) = scratch.split_at_mut(grid.packed_len());
    let channels = [shape.out_channels, shape.in_channels];
    pack_weights::<_, WINDOW, POSITIONS>(isa, KernelTransform, true, channels, weights, packed);
    let then = if add { Then::Add } else { Then::Store };
    correlate(isa, grid, grad_output, packed, (None, then), grad_input, scratch);
}

