//! Winograd's F(4x4, 3x3) (Lavin and Gray 2016, section 4.1): 4x4 outputs of a 3x3 kernel from a 6x6 window by 36
//! multiplications a channel pair in place of 144.
//!
//! With window d, kernel g and outputs y: `y = A' [(G g G') . (B' d B)] A`, where `.` multiplies position by position and `'`
//! transposes. Summed over channels, each of the 36 positions is a matrix product of tiles by channels.
//!
//! * forward: a task takes a few tiles, small enough that windows and products stay in a core's cache.
//! * backward-data: the same, of `grad_output` with the rotated weights, input and output channels exchanged.
//! * backward-weights: `dg = G' [sum over tiles of (B' d B) . (A dy A')] G`; the sum of each position is a matrix product over
//!   tiles. A block of tiles is transformed, then added, position by position, to all sums.
//!
//! The points 0, 1, -1, 2, -2 and infinity cost precision: [`MAX_ERROR`].

use super::ConvShape;
use crate::gemm::{KC, MR, NR, Strip, tile};
use crate::par::{self, WorkerScratch};
use crate::simd::{Body, Isa, LANES, Simd};
use std::marker::PhantomData;

/// Relative l2 error of each pass against f64, claimed and tested. The matrices' largest row sums are 10 (B'), 1 (G) and 18
/// (A'), so rounding errors of 6e-8 may grow a hundredfold; measured, they grow tenfold.
pub const MAX_ERROR: f64 = 1e-5;

/// Side of a tile of outputs.
const TILE: usize = 4;

/// Side of the window under it.
const WINDOW: usize = TILE + 2;

/// Products of a tile.
const POSITIONS: usize = WINDOW * WINDOW;

/// Tiles of a task to aim for: 4 strips of MR share each panel of weights that is read; windows and products of 64 channels
/// are 36 * 24 * 128 * 4 = 442 KB, of a 512 KB L2 cache.
const TASK_TILES: usize = 4 * MR;

/// A position's values are followed by a cache line: their length is often a multiple of 4 KB, and then the lines of all
/// positions of a tile would share one set of the L1 cache.
const GAP: usize = 16;

/// Tiles a segment of backward-weights: what one task transforms.
const SEGMENT: usize = 16;

/// Segments of a block of backward-weights: the sums, 36 * in * out, are read and written once for 128 tiles, so they cost a
/// product of depth 128 little; windows and gradients of 64 channels are 36 * 128 * 128 * 4 = 2.4 MB, of the L3 cache.
const SEGMENTS: usize = 8;

/// Whether this algorithm can compute a convolution.
pub(super) fn supports(shape: ConvShape) -> bool {
    let vectors = shape.in_channels % LANES == 0 && shape.out_channels % LANES == 0;
    shape.kernel == [3, 3] && shape.stride == [1, 1] && shape.padding.iter().all(|&p| p <= 2) && vectors
}

/// Multiplications of a pass, as many as are computed: whole tiles, of which some reach beyond the output.
pub(super) fn multiplications(shape: ConvShape) -> usize {
    tiles(shape) * POSITIONS * shape.in_channels * shape.out_channels
}

/// Tiles of all images.
pub(super) fn tiles(shape: ConvShape) -> usize {
    shape.batch * Grid::forward(shape).tiles()
}

/// The source of a correlation with a 3x3 kernel, and the tiles of its output.
#[derive(Clone, Copy)]
struct Grid {
    batch: usize,
    rows: usize, // of the source
    columns: usize,
    channels: usize,
    padding: [usize; 2],
    out: [usize; 2],
    out_channels: usize,
}

impl Grid {
    fn forward(shape: ConvShape) -> Self {
        Grid {
            batch: shape.batch,
            rows: shape.rows,
            columns: shape.columns,
            channels: shape.in_channels,
            padding: shape.padding,
            out: [shape.out_rows(), shape.out_columns()],
            out_channels: shape.out_channels,
        }
    }

    fn backward_data(shape: ConvShape) -> Self {
        Grid {
            batch: shape.batch,
            rows: shape.out_rows(),
            columns: shape.out_columns(),
            channels: shape.out_channels,
            padding: shape.padding.map(|padding| 2 - padding),
            out: [shape.rows, shape.columns],
            out_channels: shape.in_channels,
        }
    }

    /// Rows and columns of tiles.
    fn tile_rows(&self) -> [usize; 2] {
        self.out.map(|size| size.div_ceil(TILE))
    }

    /// Tiles of an image.
    fn tiles(&self) -> usize {
        let [rows, columns] = self.tile_rows();
        rows * columns
    }

    /// Image and first output of a tile, counted through the batch.
    fn tile(&self, index: usize) -> (usize, [usize; 2]) {
        let [_, columns] = self.tile_rows();
        let (image, tile) = (index / self.tiles(), index % self.tiles());
        (image, [tile / columns * TILE, tile % columns * TILE])
    }

    /// What a task of a correlation computes: so many images, or so many rows of tiles of one image.
    fn task(&self) -> (usize, usize) {
        let [rows, _] = self.tile_rows();
        if self.tiles() >= TASK_TILES || self.batch == 1 {
            // At least two tasks; of equal length, or nearly.
            let bands = (self.tiles() / TASK_TILES).max(2);
            (1, rows.div_ceil(bands).max(1))
        } else {
            let images = TASK_TILES.div_ceil(self.tiles().max(1)).next_power_of_two();
            (images.min(self.batch.div_ceil(2)), rows)
        }
    }

    /// The most tiles of a task.
    fn task_tiles(&self) -> usize {
        let (images, rows) = self.task();
        images * rows * self.tile_rows()[1]
    }

    /// Scratch of a task: zeros for windows that reach beyond the source, windows, products.
    fn task_len(&self) -> [usize; 3] {
        let tiles = self.task_tiles();
        [self.channels, POSITIONS * (tiles * self.channels + GAP), POSITIONS * (tiles * self.out_channels + GAP)]
    }

    fn image_len(&self) -> usize {
        self.rows * self.columns * self.channels
    }

    fn out_image_len(&self) -> usize {
        self.out[0] * self.out[1] * self.out_channels
    }

    /// Packed weights: (panels, positions, channels, NR).
    fn packed_len(&self) -> usize {
        self.out_channels.div_ceil(NR) * POSITIONS * self.channels * NR
    }
}

/// B' d of one column of a window.
#[derive(Clone, Copy)]
struct WindowTransform;
impl Transform<WINDOW, WINDOW> for WindowTransform {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, d: [S::F32; WINDOW]) -> [S::F32; WINDOW] {
        let [two, four, five] = [2.0, 4.0, -5.0].map(|x| simd.splat(x));
        let negative_four = simd.splat(-4.0);
        let (a, b) = (simd.mul_add(negative_four, d[2], d[4]), simd.mul_add(negative_four, d[1], d[3]));
        let (c, e) = (simd.sub(d[4], d[2]), simd.mul(two, simd.sub(d[3], d[1])));
        [
            simd.mul_add(four, d[0], simd.mul_add(five, d[2], d[4])),
            simd.add(a, b),
            simd.sub(a, b),
            simd.add(c, e),
            simd.sub(c, e),
            simd.mul_add(four, d[1], simd.mul_add(five, d[3], d[5])),
        ]
    }
}

/// A' m of one column of products.
#[derive(Clone, Copy)]
struct OutputTransform;
impl Transform<WINDOW, TILE> for OutputTransform {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, m: [S::F32; WINDOW]) -> [S::F32; TILE] {
        let [two, four, eight] = [simd.splat(2.0), simd.splat(4.0), simd.splat(8.0)];
        let (s, d) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
        let (s2, d2) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
        [
            simd.add(simd.add(m[0], s), s2),
            simd.mul_add(two, d2, d),
            simd.mul_add(four, s2, s),
            simd.add(simd.mul_add(eight, d2, d), m[5]),
        ]
    }
}

/// A y of one column of a tile.
#[derive(Clone, Copy)]
struct GradientTransform;
impl Transform<TILE, WINDOW> for GradientTransform {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, y: [S::F32; TILE]) -> [S::F32; WINDOW] {
        let [two, four, eight] = [simd.splat(2.0), simd.splat(4.0), simd.splat(8.0)];
        let (even, odd) = (simd.add(y[0], y[2]), simd.add(y[1], y[3]));
        let (even2, odd2) = (simd.mul_add(four, y[2], y[0]), simd.mul_add(eight, y[3], simd.mul(two, y[1])));
        [y[0], simd.add(even, odd), simd.sub(even, odd), simd.add(even2, odd2), simd.sub(even2, odd2), y[3]]
    }
}

/// G g of one column of a kernel.
#[derive(Clone, Copy)]
struct KernelTransform;
impl Transform<3, WINDOW> for KernelTransform {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, g: [S::F32; 3]) -> [S::F32; WINDOW] {
        let [quarter, sixth, twelfth, last] =
            [simd.splat(1.0 / 4.0), simd.splat(1.0 / 6.0), simd.splat(1.0 / 12.0), simd.splat(1.0 / 24.0)];
        let (a, b) = (simd.mul(sixth, simd.add(g[0], g[2])), simd.mul(sixth, g[1]));
        let (c, d) = (simd.mul_add(last, g[0], simd.mul(sixth, g[2])), simd.mul(twelfth, g[1]));
        let zero = simd.splat(0.0);
        [simd.mul(quarter, g[0]), simd.sub(zero, simd.add(a, b)), simd.sub(b, a), simd.add(c, d), simd.sub(c, d), g[2]]
    }
}

/// G' m of one column of sums.
#[derive(Clone, Copy)]
struct WeightTransform;
impl Transform<WINDOW, 3> for WeightTransform {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, m: [S::F32; WINDOW]) -> [S::F32; 3] {
        let [quarter, sixth, twelfth, last] =
            [simd.splat(1.0 / 4.0), simd.splat(1.0 / 6.0), simd.splat(1.0 / 12.0), simd.splat(1.0 / 24.0)];
        let (s, d) = (simd.mul(sixth, simd.add(m[1], m[2])), simd.sub(m[2], m[1]));
        let (s2, d2) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
        [
            simd.mul_add(quarter, m[0], simd.mul_add(last, s2, simd.sub(simd.splat(0.0), s))),
            simd.mul_add(sixth, d, simd.mul(twelfth, d2)),
            simd.add(simd.mul_add(sixth, s2, simd.sub(simd.splat(0.0), s)), m[5]),
        ]
    }
}

/// L: multiplies a column of N vectors to M. A trait, and loops below, because a closure would lose the instruction set.
trait Transform<const N: usize, const M: usize>: Copy {
    fn apply<S: Simd>(self, simd: S, column: [S::F32; N]) -> [S::F32; M];
}

/// N x N slices of one length, to be transformed together.
struct Square<'a, const N: usize> {
    starts: [[*const f32; N]; N],
    len: usize,
    slices: PhantomData<&'a [f32]>,
}

impl<'a, const N: usize> Square<'a, N> {
    /// `slice(row, column)` has `len` values or more.
    fn new(len: usize, slice: impl Fn(usize, usize) -> &'a [f32]) -> Self {
        let start = |row, column| {
            let slice = slice(row, column);
            assert!(slice.len() >= len);
            slice.as_ptr()
        };
        let starts = std::array::from_fn(|row| std::array::from_fn(|column| start(row, column)));
        Square { starts, len, slices: PhantomData }
    }
}

/// `L x L'` of the vectors at `offset` in each slice.
#[inline(always)]
fn both_ways<S: Simd, T: Transform<N, M>, const N: usize, const M: usize>(
    simd: S,
    transform: T,
    square: &Square<N>,
    offset: usize,
) -> [[S::F32; M]; M] {
    assert!(offset + LANES <= square.len);
    let zero = simd.splat(0.0);
    let mut half = [[zero; N]; M]; // L x
    for column in 0..N {
        let mut x = [zero; N];
        for row in 0..N {
            // SAFETY: every slice has `len` values, and the vector at `offset` lies within them.
            x[row] = unsafe { simd.load_ptr(square.starts[row][column].add(offset)) };
        }
        let done = transform.apply(simd, x);
        for row in 0..M {
            half[row][column] = done[row];
        }
    }
    let mut whole = [[zero; M]; M];
    for row in 0..M {
        whole[row] = transform.apply(simd, half[row]);
    }
    whole
}

/// Transforms the windows of `tiles` tiles from `first` on, of the batch in `source`, into `windows` (positions, tiles and
/// more, channels).
#[inline(always)]
fn transform_windows<S: Simd>(
    simd: S,
    grid: Grid,
    source: &[f32],
    first: usize,
    tiles: usize,
    zeros: &[f32],
    windows: &mut [f32],
) {
    let Grid { rows, columns, channels, padding, .. } = grid;
    let position_len = windows.len() / POSITIONS;
    assert!(zeros.len() >= channels && channels % LANES == 0 && position_len >= tiles * channels);
    for (t, index) in (first..first + tiles).enumerate() {
        let (image, [top, left]) = grid.tile(index);
        let image = &source[image * grid.image_len()..][..grid.image_len()];
        let window = Square::<WINDOW>::new(channels, |i, j| {
            match (top + i).checked_sub(padding[0]).zip((left + j).checked_sub(padding[1])) {
                Some((row, column)) if row < rows && column < columns => &image[(row * columns + column) * channels..],
                _ => zeros,
            }
        });
        for c in (0..channels).step_by(LANES) {
            let transformed = both_ways(simd, WindowTransform, &window, c);
            for (p, value) in transformed.as_flattened().iter().enumerate() {
                // SAFETY: p is below POSITIONS, t below `tiles`, and c + LANES at most `channels`.
                unsafe { simd.store_ptr(*value, windows.as_mut_ptr().add(p * position_len + t * channels + c)) };
            }
        }
    }
}

/// Some tiles of a correlation, whole images or rows of tiles of one.
struct Task<'a> {
    grid: Grid,
    source: &'a [f32], // (batch, rows, columns, channels)
    first: usize,      // tile
    packed: &'a [f32], // (panels, positions, channels, NR)
    scratch: &'a mut [f32],
    output: &'a mut [f32], // (rows, columns, out_channels) of the task's outputs
}

impl Body for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Task { grid, source, first, packed, scratch, output } = self;
        let Grid { channels, out_channels, .. } = grid;
        let [tile_rows, tile_columns] = grid.tile_rows();
        let out_rows = output.len() / (grid.out[1] * out_channels);
        let tiles = match out_rows / grid.out[0] {
            0 => out_rows.div_ceil(TILE) * tile_columns,
            images => images * tile_rows * tile_columns,
        };
        let (zeros, scratch) = scratch.split_at_mut(channels);
        let [window_len, product_len] = [tiles * channels + GAP, tiles * out_channels + GAP];
        let (windows, products) = scratch.split_at_mut(POSITIONS * window_len);
        zeros.fill(0.0);
        transform_windows(simd, grid, source, first, tiles, zeros, windows);
        for position in 0..POSITIONS {
            let a = &windows[position * window_len..][..window_len];
            let c = &mut products[position * product_len..][..product_len];
            for depth in (0..channels).step_by(KC) {
                let length = KC.min(channels - depth);
                for (panel, b) in packed.chunks_exact(POSITIONS * channels * NR).enumerate() {
                    let b = &b[(position * channels + depth) * NR..][..length * NR];
                    for tile_index in (0..tiles).step_by(MR) {
                        let row = |i: usize| (tile_index + i).min(tiles - 1);
                        let offsets = std::array::from_fn(|i| row(i) * channels + depth);
                        let strip = Strip { a, offsets, step: 1, segments: 1, length, segment: 0, b_segment: 0 };
                        let rows = std::array::from_fn(|i| {
                            (tile_index + i < tiles).then_some((tile_index + i) * out_channels + panel * NR)
                        });
                        tile(simd, &strip, b, c, rows, NR.min(out_channels - panel * NR), depth > 0);
                    }
                }
            }
        }
        // Where the first output row lies in its image; a task of several images begins with one.
        let (first_image, [first_row, _]) = grid.tile(first);
        for t in 0..tiles {
            let (image, [top, left]) = grid.tile(first + t);
            let row = (image - first_image) * grid.out[0] + top - first_row;
            let (height, width) = (TILE.min(grid.out[0] - top), TILE.min(grid.out[1] - left));
            let square =
                Square::<WINDOW>::new(out_channels, |i, j| &products[(i * WINDOW + j) * product_len + t * out_channels..]);
            for k in (0..out_channels).step_by(LANES) {
                let outputs = both_ways(simd, OutputTransform, &square, k);
                for (i, outputs) in outputs.iter().enumerate().take(height) {
                    for (j, value) in outputs.iter().enumerate().take(width) {
                        simd.store(*value, &mut output[((row + i) * grid.out[1] + left + j) * out_channels + k..]);
                    }
                }
            }
        }
    }
}

/// Weights (3, 3, in, out), or their rotation with channels exchanged, transformed and packed as (panels, positions, in, NR).
struct PackPanel<'a> {
    panel: usize,
    channels: [usize; 2],
    weights: &'a [f32],
    packed: &'a mut [f32], // (positions, in, NR) of one panel
}

impl Body for PackPanel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PackPanel { panel, channels: [inputs, outputs], weights, packed } = self;
        let width = NR.min(outputs - panel * NR);
        if width < NR {
            packed.fill(0.0);
        }
        for c in 0..inputs {
            let kernel = Square::<3>::new(width, |r, s| &weights[((r * 3 + s) * inputs + c) * outputs + panel * NR..]);
            for k in (0..width).step_by(LANES) {
                let transformed = both_ways(simd, KernelTransform, &kernel, k);
                for (p, value) in transformed.as_flattened().iter().enumerate() {
                    simd.store(*value, &mut packed[(p * inputs + c) * NR + k..]);
                }
            }
        }
    }
}

fn pack_weights(isa: Isa, channels: [usize; 2], weights: &[f32], packed: &mut [f32]) {
    par::chunks_mut(packed, POSITIONS * channels[0] * NR, |panel, packed| {
        isa.run(PackPanel { panel, channels, weights, packed });
    });
}

fn correlate(isa: Isa, grid: Grid, source: &[f32], packed: &[f32], output: &mut [f32], scratch: &mut [f32]) {
    if output.is_empty() {
        return;
    }
    let (images, rows) = grid.task();
    let line = grid.out[1] * grid.out_channels;
    let task_len = images * grid.out[0].min(rows * TILE) * line;
    let workers = WorkerScratch::new(scratch, grid.task_len().iter().sum());
    par::bands_mut(output, images * grid.out_image_len(), task_len, |group, band, output| {
        let first = group * images * grid.tiles() + band * rows * grid.tile_rows()[1];
        workers.with(|scratch| isa.run(Task { grid, source, first, packed, scratch, output }));
    });
}

pub(super) fn packed_len(shape: ConvShape) -> usize {
    Grid::forward(shape).packed_len()
}

pub(super) fn pack(isa: Isa, shape: ConvShape, weights: &[f32], packed: &mut [f32]) {
    pack_weights(isa, [shape.in_channels, shape.out_channels], weights, packed);
}

pub(super) fn forward_scratch_len(shape: ConvShape) -> usize {
    par::workers() * Grid::forward(shape).task_len().iter().sum::<usize>()
}

pub(super) fn forward(isa: Isa, shape: ConvShape, input: &[f32], packed: &[f32], output: &mut [f32], scratch: &mut [f32]) {
    correlate(isa, Grid::forward(shape), input, packed, output, scratch);
}

pub(super) fn backward_data_scratch_len(shape: ConvShape) -> usize {
    let grid = Grid::backward_data(shape);
    shape.weight_len() + grid.packed_len() + par::workers() * grid.task_len().iter().sum::<usize>()
}

pub(super) fn backward_data(
    isa: Isa,
    shape: ConvShape,
    grad_output: &[f32],
    weights: &[f32],
    grad_input: &mut [f32],
    scratch: &mut [f32],
) {
    let grid = Grid::backward_data(shape);
    let (inputs, outputs) = (shape.in_channels, shape.out_channels);
    let (rotated, scratch) = scratch.split_at_mut(shape.weight_len());
    let (packed, scratch) = scratch.split_at_mut(grid.packed_len());
    // Kernel position by kernel position, blocks of out channels: a cache line of the source is read whole.
    par::bands_mut(rotated, inputs * outputs, NR * inputs, |position, block, rotated| {
        let source = &weights[(8 - position) * inputs * outputs..][..inputs * outputs];
        for (c, source) in source.chunks_exact(outputs).enumerate() {
            for (target, value) in rotated[c..].iter_mut().step_by(inputs).zip(&source[block * NR..]) {
                *target = *value;
            }
        }
    });
    pack_weights(isa, [outputs, inputs], rotated, packed);
    correlate(isa, grid, grad_output, packed, grad_input, scratch);
}

/// The parts of the scratch of backward-weights: sums (positions, in, out), then of each segment windows (positions, SEGMENT,
/// in) and gradients (positions, panels, SEGMENT, NR), and zeros.
fn gradient_len(shape: ConvShape) -> [usize; 4] {
    let segments = SEGMENTS.min((shape.batch * Grid::forward(shape).tiles()).div_ceil(SEGMENT));
    let (inputs, outputs) = (shape.in_channels, shape.out_channels);
    let [windows, gradients] = segment_len(shape);
    [POSITIONS * inputs * outputs, segments * windows, segments * gradients, inputs.max(outputs)]
}

/// Lengths of a segment's windows and gradients.
fn segment_len(shape: ConvShape) -> [usize; 2] {
    [shape.in_channels, shape.out_channels.next_multiple_of(NR)].map(|channels| POSITIONS * (SEGMENT * channels + GAP))
}

pub(super) fn backward_weights_scratch_len(shape: ConvShape) -> usize {
    gradient_len(shape).iter().sum()
}

pub(super) fn backward_weights(
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
    let (gradients, zeros) = scratch.split_at_mut(lens[2]);
    zeros[..lens[3]].fill(0.0);
    let zeros = &zeros[..lens[3]];
    let segment_len = segment_len(shape);
    let block = windows.len() / segment_len[0] * SEGMENT;
    for first in (0..all).step_by(block) {
        let segments = block.min(all - first).div_ceil(SEGMENT);
        let windows = &mut windows[..segments * segment_len[0]];
        let gradients = &mut gradients[..segments * segment_len[1]];
        par::chunks_mut2((windows, segment_len[0]), (gradients, segment_len[1]), |segment, windows, gradients| {
            let first = first + segment * SEGMENT;
            isa.run(Segment { grid, input, grad_output, first, tiles: SEGMENT.min(all - first), zeros, windows, gradients });
        });
        let (windows, gradients) = (&*windows, &*gradients);
        par::chunks_mut(sums, inputs * outputs, |position, sums| {
            isa.run(AddProducts { channels: [inputs, outputs], position, segments, windows, gradients, sums, add: first > 0 });
        });
    }
    let sums = &*sums;
    let mut rest = grad_weights;
    let kernel: [&mut [f32]; 9] = std::array::from_fn(|_| {
        let (plane, after) = std::mem::take(&mut rest).split_at_mut(inputs * outputs);
        rest = after;
        plane
    });
    par::chunks_mut_each(kernel, outputs, |channel, kernel| {
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
    zeros: &'a [f32],
    windows: &'a mut [f32],   // (positions, SEGMENT, in)
    gradients: &'a mut [f32], // (positions, panels, SEGMENT, NR)
}

impl Body for Segment<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Segment { grid, input, grad_output, first, tiles, zeros, windows, gradients } = self;
        let outputs = grid.out_channels;
        if tiles < SEGMENT || outputs % NR > 0 {
            windows.fill(0.0);
            gradients.fill(0.0);
        }
        transform_windows(simd, grid, input, first, tiles, zeros, windows);
        let position_len = gradients.len() / POSITIONS;
        for (t, index) in (first..first + tiles).enumerate() {
            let (image, [top, left]) = grid.tile(index);
            let image = &grad_output[image * grid.out_image_len()..][..grid.out_image_len()];
            let pixels = Square::<TILE>::new(outputs, |i, j| match (top + i, left + j) {
                (row, column) if row < grid.out[0] && column < grid.out[1] => &image[(row * grid.out[1] + column) * outputs..],
                _ => zeros,
            });
            for k in (0..outputs).step_by(LANES) {
                let transformed = both_ways(simd, GradientTransform, &pixels, k);
                let place = (k / NR * SEGMENT + t) * NR + k % NR;
                for (p, value) in transformed.as_flattened().iter().enumerate() {
                    simd.store(*value, &mut gradients[p * position_len + place..]);
                }
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
    sums: &'a mut [f32],  // (in, out)
    add: bool,
}

impl Body for AddProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let AddProducts { channels: [inputs, outputs], position, segments, windows, gradients, sums, add } = self;
        let columns = outputs.next_multiple_of(NR);
        let [segment, b_segment] = [inputs, columns].map(|channels| POSITIONS * (SEGMENT * channels + GAP));
        for panel in (0..outputs).step_by(NR) {
            let b = &gradients[position * (SEGMENT * columns + GAP) + panel * SEGMENT..];
            for first in (0..inputs).step_by(MR) {
                let offsets = std::array::from_fn(|i| position * (SEGMENT * inputs + GAP) + (first + i).min(inputs - 1));
                let strip = Strip { a: windows, offsets, step: inputs, segments, length: SEGMENT, segment, b_segment };
                let rows = std::array::from_fn(|i| (first + i < inputs).then_some((first + i) * outputs + panel));
                tile(simd, &strip, b, sums, rows, NR.min(outputs - panel), add);
            }
        }
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
        let sums = Square::<WINDOW>::new(outputs, |i, j| &sums[((i * WINDOW + j) * inputs + channel) * outputs..]);
        for k in (0..outputs).step_by(LANES) {
            let weights = both_ways(simd, WeightTransform, &sums, k);
            for (r, weights) in weights.iter().enumerate() {
                for (s, value) in weights.iter().enumerate() {
                    simd.store(*value, &mut kernel[r * 3 + s][k..]);
                }
            }
        }
    }
}
