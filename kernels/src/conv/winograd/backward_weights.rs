//! The gradient with respect to the weights.

use super::grid::{GAP, Grid, POSITIONS, Plane, TILE, Tiles, WINDOW, patch_len, transform_windows};
use super::transforms::{GradientTransform, Square, WeightTransform, both_ways};
use super::super::ConvShape;
use crate::gemm::{Prefetch, Every, Finish, MR, NR, Place, SHORT, Strip, TALL, part_of, prefetch_sums, strip_columns, strip_rows, tile};
use crate::par::{self, WorkerScratch};
use crate::simd::{Body, Isa, Simd, copy};

/// Tiles a segment of backward-weights: what one task transforms.
const SEGMENT: usize = 16;

/// Segments of a block of backward-weights: the sums, 36 * in * out, are read and written once for 128 tiles, so they cost a
/// product of depth 128 little; windows and gradients of 64 channels are 36 * 128 * 128 * 4 = 2.4 MB, of the L3 cache.
const SEGMENTS: usize = 8;

/// The parts of the scratch of backward-weights: sums (positions, in, out), then of each segment windows (positions, SEGMENT,
/// in) and gradients (positions, panels, SEGMENT, NR), and a patch of each worker.
fn gradient_len(shape: ConvShape) -> [usize; 4] {
    let segments = SEGMENTS.min((shape.batch * Grid::forward(shape).tiles()).div_ceil(SEGMENT));
    let (inputs, outputs) = (shape.in_channels, shape.out_channels);
    let [windows, gradients] = segment_len(shape);
    let patches = par::workers() * patch_len(1, inputs, outputs);
    [POSITIONS * inputs * outputs, segments * windows, segments * gradients, patches]
}

/// Lengths of a segment's windows and gradients.
fn segment_len(shape: ConvShape) -> [usize; 2] {
    [shape.in_channels, shape.out_channels.next_multiple_of(NR)].map(|channels| POSITIONS * (SEGMENT * channels + GAP))
}

pub(in crate::conv) fn scratch_len(shape: ConvShape) -> usize {
    gradient_len(shape).iter().sum()
}

pub(in crate::conv) fn backward_weights(
    isa: Isa,
    shape: ConvShape,
    input: &[f32],
    grad_output: &[f32],
    grad_weights: &mut [f32],
    scratch: &mut [f32],
) {
    let grid = Grid::forward(shape);
    let (inputs, outputs) = (shape.in_channels, shape.out_channels);
    let all = shape.batch * grid.tiles();
    if all == 0 || grad_weights.is_empty() {
        grad_weights.fill(0.0);
        return;
    }
    let lens = gradient_len(shape);
    let (sums, scratch) = scratch.split_at_mut(lens[0]);
    let (windows, scratch) = scratch.split_at_mut(lens[1]);
    let (gradients, patches) = scratch.split_at_mut(lens[2]);
    let patches = WorkerScratch::new(patches, patch_len(1, inputs, outputs));
    let segment_len = segment_len(shape);
    let block = windows.len() / segment_len[0] * SEGMENT;
    for first in (0..all).step_by(block) {
        let segments = block.min(all - first).div_ceil(SEGMENT);
        let windows = &mut windows[..segments * segment_len[0]];
        let gradients = &mut gradients[..segments * segment_len[1]];
        par::chunks_mut2((windows, segment_len[0]), (gradients, segment_len[1]), |segment, windows, gradients| {
            let first = first + segment * SEGMENT;
            let tiles = SEGMENT.min(all - first);
            patches.with(|patch| isa.run(Segment { grid, input, grad_output, first, tiles, patch, windows, gradients }));
        });
        let (windows, gradients) = (&*windows, &*gradients);
        // While it multiplies, each position prefetches its share of what the next block transforms.
        let share = [first / block + 1, all.div_ceil(block)].map(|blocks| blocks * POSITIONS);
        par::chunks_mut(sums, inputs * outputs, |position, sums| {
            let prefetch = [input, grad_output].map(|values| part_of(values, [share[0] + position, share[1]]));
            let channels = [inputs, outputs];
            isa.run(AddProducts { channels, position, segments, windows, gradients, prefetch, sums, add: first > 0 });
        });
    }
    let sums = &*sums;
    let mut rest = grad_weights;
    let kernel: [&mut [f32]; 9] = std::array::from_fn(|_| {
        let (plane, after) = std::mem::take(&mut rest).split_at_mut(inputs * outputs);
        rest = after;
        plane
    });
    par::chunks_mut_each(kernel, [outputs; 9], |channel, kernel| {
        isa.run(WeightRow { channel, channels: [inputs, outputs], sums, kernel });
    });
}

/// Transforms the windows and gradients of a segment's tiles; the tiles beyond the last are zero.
struct Segment<'a> {
    grid: Grid,
    input: &'a [f32],
    grad_output: &'a [f32],
    first: usize,
    tiles: usize,
    patch: &'a mut [f32],
    windows: &'a mut [f32],   // (positions, SEGMENT, in)
    gradients: &'a mut [f32], // (positions, panels, SEGMENT, NR)
}

impl Body for Segment<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Segment { grid, input, grad_output, first, tiles, patch, windows, gradients } = self;
        let outputs = grid.out_channels;
        if tiles < SEGMENT || outputs % NR > 0 {
            windows.fill(0.0);
            gradients.fill(0.0);
        }
        let layout = Tiles { window: WINDOW, tiles: SEGMENT, segment: SEGMENT, channels: grid.channels };
        transform_windows(simd, grid, input, [first, tiles], patch, layout, windows);
        let position_len = gradients.len() / POSITIONS;
        let plane = Plane { size: grid.out, channels: outputs };
        for t in 0..tiles {
            let (image, corner) = grid.tile(first + t);
            let image = &grad_output[image * grid.out_image_len()..][..grid.out_image_len()];
            let corner = [corner[0] as isize, corner[1] as isize];
            let (pixels, from) = plane.window(image, corner, TILE, patch);
            for k in (0..outputs).step_by(NR) {
                let from = Square { first: from.first + k, ..from };
                let to = Square { first: (k * SEGMENT) + t * NR, row: WINDOW * position_len, column: position_len };
                both_ways(simd, GradientTransform, NR.min(outputs - k), (pixels, from), (&mut *gradients, to));
            }
        }
    }
}

/// Adds the products of a block of tiles to the sums of one position.
struct AddProducts<'a> {
    channels: [usize; 2],
    position: usize,
    segments: usize,
    windows: &'a [f32],   // (segments, positions, SEGMENT, in)
    gradients: &'a [f32], // (segments, positions, panels, SEGMENT, NR)
    prefetch: Prefetch<'a>,
    sums: &'a mut [f32],  // (in, out)
    add: bool,
}

impl Body for AddProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let AddProducts { channels: [inputs, outputs], position, gradients, .. } = self;
        let columns = outputs.next_multiple_of(NR);
        let mut column = 0;
        while column < outputs {
            let width = strip_columns::<S>(outputs - column);
            let b = &gradients[position * (SEGMENT * columns + GAP) + column * SEGMENT..];
            let mut first = 0;
            while first < inputs {
                first += match strip_rows::<S>(inputs - first) {
                    TALL => self.strip::<S, TALL>(simd, first, [column, width], b),
                    MR => self.strip::<S, MR>(simd, first, [column, width], b),
                    _ => self.strip::<S, SHORT>(simd, first, [column, width], b),
                };
            }
            column += width;
        }
    }
}

impl AddProducts<'_> {
    /// R input channels from `first` on by `width` output channels from `column` on.
    #[inline(always)]
    fn strip<S: Simd, const R: usize>(&mut self, simd: S, first: usize, [column, width]: [usize; 2], b: &[f32]) -> usize {
        let [inputs, outputs] = self.channels;
        let columns = outputs.next_multiple_of(NR);
        let segment_len = |channels: usize| POSITIONS * (SEGMENT * channels + GAP);
        let start = self.position * (SEGMENT * inputs + GAP);
        let strips = inputs.div_ceil(R);
        let part = [column / width * strips + first / R, outputs.div_ceil(width) * strips];
        let strip = Strip {
            a: self.windows,
            // A strip beyond the last channel reads what follows: the next tile, or the gap.
            rows: Every { first: start + first, step: 1 },
            step: inputs,
            segments: self.segments,
            length: SEGMENT,
            segment: segment_len(inputs),
            b_segment: segment_len(columns),
            b_panel: SEGMENT * NR,
            prefetch: [part_of(self.prefetch[0], part), part_of(self.prefetch[1], part)],
        };
        let rows = Every { first: first * outputs + column, step: outputs };
        let place = Place { rows, height: R.min(inputs - first), width };
        prefetch_sums::<S, R>(simd, self.sums, &place);
        tile::<S, R>(simd, &strip, b, self.sums, &place, Finish { add: self.add, ..Finish::default() });
        R
    }
}

/// The weights' gradients of one input channel, from the sums of all positions.
struct WeightRow<'a> {
    channel: usize,
    channels: [usize; 2],
    sums: &'a [f32],            // (positions, in, out)
    kernel: [&'a mut [f32]; 9], // (out) each
}

impl Body for WeightRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let WeightRow { channel, channels: [inputs, outputs], sums, kernel } = self;
        let matrix = inputs * outputs;
        let mut weights = [0.0; 9 * BLOCK];
        for k in (0..outputs).step_by(BLOCK) {
            let len = BLOCK.min(outputs - k);
            let from = Square { first: channel * outputs + k, row: WINDOW * matrix, column: matrix };
            both_ways(simd, WeightTransform, len, (sums, from), (&mut weights, Square::dense(3, len)));
            for tap in 0..9 {
                copy(&weights[tap * len..][..len], &mut kernel[tap][k..k + len]);
            }
        }
    }
}

/// Output channels whose gradients are computed before they are copied to the kernel's positions.
const BLOCK: usize = 64;
