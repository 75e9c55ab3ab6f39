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

mod transforms;

use super::{ConvShape, Epilogue, Pass};
use crate::gemm::{
    Ahead, Every, Finish, KC, MR, NR, Place, SHORT, Strip, TALL, part_of, prefetch_sums, strip_columns, strip_rows, tile,
};
use crate::par::{self, WorkerScratch};
use crate::simd::{Body, Isa, LANES, Simd};
use transforms::{
    GradientTransform, KernelTransform, OutputTransform, Square, StridedKernel, StridedOutput, StridedWindow, Transform,
    WeightTransform, WindowTransform, both_ways,
};

/// Relative l2 error of each pass against f64, claimed and tested. The matrices' largest row sums are 10 (B'), 1 (G) and 18
/// (A'), so rounding errors of 6e-8 may grow a hundredfold; measured, they grow tenfold.
pub const MAX_ERROR: f64 = 1e-5;

/// Side of a tile of outputs.
const TILE: usize = 4;

/// Side of the window under a tile of outputs.
const fn window(stride: usize) -> usize {
    (TILE - 1) * stride + 3
}

/// Products of a tile: 36, or 81 with stride 2.
const fn positions(stride: usize) -> usize {
    window(stride) * window(stride)
}

/// Those of stride 1.
const POSITIONS: usize = positions(1);
const WINDOW: usize = window(1);

/// Tiles of a fused task to aim for, and of a segment of a block: 4 strips of MR, or 3 of TALL, share each panel of weights that is
/// read; windows and products of 64 channels are 36 * 24 * 128 * 4 = 442 KB, of a 512 KB L2 cache.
const TASK_TILES: usize = 4 * MR;

/// Packed weights, in values, that each fused task may read from a shared cache again: those of stride 2 from 64 to 128 channels,
/// 2.7 MB; of stride 1 with 128 channels they are 2.4 MB.
const FUSED_WEIGHTS: usize = positions(2) * 64 * 128;

/// Tiles of a block to aim for. Windows and products of 256 channels are 36 * 128 * 512 * 4 = 9.4 MB, as much as the weights that
/// are read once for all of them, and together they fit an L3 cache of 32 MB.
const BLOCK_TILES: usize = 128;

/// A position's values are followed by a cache line: their length is often a multiple of 4 KB, and then the lines of all
/// positions of a tile would share one set of the L1 cache.
const GAP: usize = 16;

/// Rows that a strip may read beyond the last tile, and forget: even steps make addresses cheap, and reckoning them took a tenth of a
/// product of depth 64.
const BEYOND: usize = SHORT - 1;

/// Tiles a segment of backward-weights: what one task transforms.
const SEGMENT: usize = 16;

/// Segments of a block of backward-weights: the sums, 36 * in * out, are read and written once for 128 tiles, so they cost a
/// product of depth 128 little; windows and gradients of 64 channels are 36 * 128 * 128 * 4 = 2.4 MB, of the L3 cache.
const SEGMENTS: usize = 8;

/// Whether this algorithm can compute a convolution; of stride 2 only its forward pass.
pub(super) fn supports(pass: Pass, shape: ConvShape) -> bool {
    let vectors = shape.in_channels.is_multiple_of(LANES) && shape.out_channels.is_multiple_of(LANES);
    let stride = shape.stride == [1, 1] || (shape.stride == [2, 2] && pass == Pass::Forward);
    shape.kernel == [3, 3] && stride && shape.padding.iter().all(|&p| p <= 2) && vectors
}

/// Multiplications of a pass, as many as are computed: whole tiles, of which some reach beyond the output.
pub(super) fn multiplications(shape: ConvShape) -> usize {
    tiles(shape) * positions(shape.stride[0]) * shape.in_channels * shape.out_channels
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
    stride: usize,
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
            stride: shape.stride[0],
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
            stride: 1,
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

    /// Whether tasks transform, multiply and transform back a few tiles each, or all tiles of a block take each step together.
    fn is_fused(&self) -> bool {
        self.tiles() >= TASK_TILES && self.packed_len() <= FUSED_WEIGHTS
    }

    /// Rows of tiles of a fused task; at least two tasks.
    fn task_rows(&self) -> usize {
        let [rows, columns] = self.tile_rows();
        TASK_TILES.div_ceil(columns.max(1)).min(rows.div_ceil(2)).max(1)
    }

    /// Images of a block.
    fn block_images(&self) -> usize {
        (BLOCK_TILES / self.tiles().max(1)).clamp(1, self.batch.max(1))
    }

    /// Layout of the windows of a task or block, and of its products.
    fn windows(&self) -> Tiles {
        let [tiles, segment] = if self.is_fused() {
            [self.task_rows() * self.tile_rows()[1]; 2]
        } else {
            [self.block_images() * self.tiles(), TASK_TILES]
        };
        Tiles { window: window(self.stride), tiles, segment, channels: self.channels }
    }

    /// Length of the windows, with what strips read beyond them.
    fn windows_len(&self) -> usize {
        self.windows().len() + BEYOND * self.channels
    }

    fn products(&self) -> Tiles {
        let tiles = self.windows().tiles;
        Tiles { window: window(self.stride), tiles, segment: tiles, channels: self.out_channels }
    }

    fn patch_len(&self) -> usize {
        patch_len(self.stride, self.channels, self.out_channels)
    }

    /// Scratch that each worker has of its own, and scratch that all share.
    fn scratch_len(&self) -> [usize; 2] {
        let shared = self.windows_len() + self.products().len();
        if self.is_fused() { [self.patch_len() + shared, 0] } else { [self.patch_len(), shared] }
    }

    fn image_len(&self) -> usize {
        self.rows * self.columns * self.channels
    }

    /// The rows of the source that a fused task reads whose first tile is this one, but for those that the task before it reads too.
    fn source_rows<'a>(&self, source: &'a [f32], first: usize) -> &'a [f32] {
        let (image, [row, _]) = self.tile(first);
        let line = self.columns * self.channels;
        let begin = image * self.image_len() + (row * self.stride + 3 - self.stride).saturating_sub(self.padding[0]) * line;
        let rows = source.get(begin..).unwrap_or_default();
        &rows[..rows.len().min(self.task_rows() * TILE * self.stride * line)]
    }

    fn out_image_len(&self) -> usize {
        self.out[0] * self.out[1] * self.out_channels
    }

    /// Packed weights: (positions, panels, channels, NR).
    fn packed_len(&self) -> usize {
        self.out_channels.div_ceil(NR) * positions(self.stride) * self.channels * NR
    }
}

/// Pixels of `channels` values, as many as `size` has rows and columns.
#[derive(Clone, Copy)]
struct Plane {
    size: [usize; 2],
    channels: usize,
}

impl Plane {
    fn square(&self, row: usize, column: usize) -> Square {
        let line = self.size[1] * self.channels;
        Square { first: row * line + column * self.channels, row: line, column: self.channels }
    }

    /// The square of `side` pixels whose corner is at (row, column): in place where it lies inside the plane, else as a copy in
    /// `patch` with zeros for what lies outside.
    #[inline(always)]
    fn window<'a>(&self, pixels: &'a [f32], [row, column]: [isize; 2], side: usize, patch: &'a mut [f32]) -> (&'a [f32], Square) {
        let inside = |first: isize, size: usize| first >= 0 && first as usize + side <= size;
        if inside(row, self.size[0]) && inside(column, self.size[1]) {
            return (pixels, self.square(row as usize, column as usize));
        }
        for (i, patch) in patch[..side * side * self.channels].chunks_exact_mut(self.channels).enumerate() {
            let (row, column) = (row + (i / side) as isize, column + (i % side) as isize);
            if row >= 0 && column >= 0 && (row as usize) < self.size[0] && (column as usize) < self.size[1] {
                patch.copy_from_slice(&pixels[self.square(row as usize, column as usize).first..][..self.channels]);
            } else {
                patch.fill(0.0);
            }
        }
        (patch, Square::dense(side, self.channels))
    }
}

/// Where the values of tiles lie: (segments, positions, tiles of a segment, channels), with a gap after each position.
#[derive(Clone, Copy)]
struct Tiles {
    window: usize, // side of a square of positions
    tiles: usize,
    segment: usize,
    channels: usize,
}

impl Tiles {
    /// From one position of a segment to the next.
    fn position_len(&self) -> usize {
        self.segment * self.channels + GAP
    }

    fn segment_len(&self) -> usize {
        self.window * self.window * self.position_len()
    }

    fn len(&self) -> usize {
        self.tiles.div_ceil(self.segment.max(1)) * self.segment_len()
    }

    fn offset(&self, position: usize, tile: usize) -> usize {
        tile / self.segment * self.segment_len() + position * self.position_len() + tile % self.segment * self.channels
    }

    /// The square of all positions of one tile.
    fn square(&self, tile: usize) -> Square {
        Square { first: self.offset(0, tile), row: self.window * self.position_len(), column: self.position_len() }
    }
}

/// Transforms the windows of `count` tiles from `first` on, of the batch in `source`, into the first of `windows`.
#[inline(always)]
fn transform_windows<S: Simd>(
    simd: S,
    grid: Grid,
    source: &[f32],
    [first, count]: [usize; 2],
    patch: &mut [f32],
    layout: Tiles,
    windows: &mut [f32],
) {
    let plane = Plane { size: [grid.rows, grid.columns], channels: grid.channels };
    for t in 0..count {
        let (image, corner) = grid.tile(first + t);
        let image = &source[image * grid.image_len()..][..grid.image_len()];
        let corner = [0, 1].map(|axis| (corner[axis] * grid.stride) as isize - grid.padding[axis] as isize);
        let from = plane.window(image, corner, layout.window, patch);
        let to = (&mut *windows, layout.square(t));
        match grid.stride {
            1 => both_ways(simd, WindowTransform, grid.channels, from, to),
            _ => both_ways(simd, StridedWindow, grid.channels, from, to),
        }
    }
}

/// The product of one position's windows of `count` tiles with its weights: `products` (tiles, out channels). The memory is asked for
/// `meanwhile`, values that come next. The bias is the sum's first term at the position that each output of a tile takes as it is: for
/// the point 1, both rows of A' have ones.
#[inline(always)]
fn multiply<S: Simd>(
    simd: S,
    grid: Grid,
    (position, count): (usize, usize),
    (windows, layout): (&[f32], Tiles),
    packed: &[f32],
    bias: Option<&[f32]>,
    meanwhile: &[f32],
    products: &mut [f32],
) {
    let Grid { channels, out_channels, .. } = grid;
    let bias = bias.filter(|_| position == layout.window + 1);
    if let Some(bias) = bias {
        products.chunks_exact_mut(out_channels).take(count).for_each(|products| products.copy_from_slice(bias));
    }
    let panels_len = packed.len() / (layout.window * layout.window);
    let panels = &packed[position * panels_len..][..panels_len];
    for depth in (0..channels).step_by(KC) {
        let length = KC.min(channels - depth);
        let mut column = 0;
        while column < out_channels {
            let width = strip_columns::<S>(out_channels - column);
            let (b, next) = panels[column * channels..].split_at(width.next_multiple_of(NR) * channels);
            let add = depth > 0 || bias.is_some();
            let strips = Strips { windows, channels, length, b: &b[depth * NR..], columns: [column, width], out_channels, add };
            let next = &next[..next.len().min(b.len())];
            // A strip lies in one segment.
            for first in (0..count).step_by(layout.segment) {
                let end = count.min(first + layout.segment);
                let (mut tile, mut start) = (first, layout.offset(position, first) + depth);
                while tile < end {
                    let [strip, all] = [tile, count].map(|tiles| tiles.div_ceil(strip_rows::<S>(usize::MAX)));
                    let [column_strip, columns] = [column, out_channels].map(|channels| channels.div_ceil(width));
                    let ahead = [part_of(next, [strip, all]), part_of(meanwhile, [column_strip * all + strip, columns * all])];
                    let taken = match strip_rows::<S>(end - tile) {
                        TALL => strips.multiply::<S, TALL>(simd, start, [tile, end], ahead, products),
                        MR => strips.multiply::<S, MR>(simd, start, [tile, end], ahead, products),
                        _ => strips.multiply::<S, SHORT>(simd, start, [tile, end], ahead, products),
                    };
                    (tile, start) = (tile + taken, start + taken * channels);
                }
            }
            column += width;
        }
    }
}

/// The tiles that one or two panels of a position's weights are multiplied with.
struct Strips<'a> {
    windows: &'a [f32],
    channels: usize,
    length: usize,       // of the sums
    b: &'a [f32],        // (panels, channels, NR), from the first channel of the sums on
    columns: [usize; 2], // the first out channel, and how many
    out_channels: usize,
    add: bool, // to the products
}

impl Strips<'_> {
    /// R tiles from `first` on, whose windows begin at `start`, or those before `end`; returns how many.
    #[inline(always)]
    fn multiply<S: Simd, const R: usize>(
        &self,
        simd: S,
        start: usize,
        [first, end]: [usize; 2],
        ahead: Ahead,
        products: &mut [f32],
    ) -> usize {
        let (channels, height) = (self.channels, R.min(end - first));
        let rows = Every { first: start, step: channels };
        // Where there is nothing else to ask for, the next strip: its rows are too short for the processor to see that it should.
        let next = self.windows.get(start + R * channels..start + 2 * R * channels).unwrap_or_default();
        let ahead = if ahead[1].is_empty() { [ahead[0], next] } else { ahead };
        let strip = Strip {
            a: self.windows,
            rows,
            step: 1,
            segments: 1,
            length: self.length,
            segment: 0,
            b_segment: 0,
            b_panel: channels * NR,
            ahead,
        };
        let [column, width] = self.columns;
        let place = Place { rows: Every { first: first * self.out_channels + column, step: self.out_channels }, height, width };
        tile::<S, R>(simd, &strip, self.b, products, &place, Finish { add: self.add, ..Finish::default() });
        height
    }
}

/// What becomes of an output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Store,
    /// It is stored where it is above 0, else 0.
    Relu,
    /// It is added to what is there. Of stride 1 only.
    Add,
}

/// Transforms the products of the tiles from `from` of `products` on into the outputs of the tiles from `first` on: whole rows
/// of tiles, whose pixels begin at `output`.
#[inline(always)]
fn transform_products<S: Simd>(
    simd: S,
    grid: Grid,
    tiles: [usize; 2],
    products: (&[f32], Tiles),
    patch: &mut [f32],
    then: Then,
    output: &mut [f32],
) {
    match (grid.stride, then) {
        (1, Then::Store) => transform_outputs(simd, OutputTransform::<false, false>, grid, tiles, products, patch, output),
        (1, Then::Relu) => transform_outputs(simd, OutputTransform::<true, false>, grid, tiles, products, patch, output),
        (1, Then::Add) => transform_outputs(simd, OutputTransform::<false, true>, grid, tiles, products, patch, output),
        (_, Then::Relu) => transform_outputs(simd, StridedOutput::<true>, grid, tiles, products, patch, output),
        (_, Then::Store) => transform_outputs(simd, StridedOutput::<false>, grid, tiles, products, patch, output),
        (_, Then::Add) => unreachable!("of stride 2 there is a forward pass alone, which overwrites"),
    }
}

/// [`transform_products`] with one of the two transforms.
#[inline(always)]
fn transform_outputs<S: Simd, T: Transform<N, TILE>, const N: usize>(
    simd: S,
    transform: T,
    grid: Grid,
    [first, from]: [usize; 2],
    (products, layout): (&[f32], Tiles),
    patch: &mut [f32],
    output: &mut [f32],
) {
    let channels = grid.out_channels;
    let plane = Plane { size: grid.out, channels };
    let rows = output.len() / (grid.out[1] * channels);
    let (_, [first_row, _]) = grid.tile(first);
    for t in 0..rows.div_ceil(TILE) * grid.tile_rows()[1] {
        let (_, [top, left]) = grid.tile(first + t);
        let row = top - first_row;
        let from = (products, layout.square(from + t));
        let (height, width) = (TILE.min(rows - row), TILE.min(grid.out[1] - left));
        if height == TILE && width == TILE {
            both_ways(simd, transform, channels, from, (&mut *output, plane.square(row, left)));
            continue;
        }
        let lines = |i: usize| (i * TILE * channels, plane.square(row + i, left).first, width * channels);
        if T::ADDS {
            for (inside, outside, len) in (0..height).map(lines) {
                patch[inside..][..len].copy_from_slice(&output[outside..][..len]);
            }
        }
        both_ways(simd, transform, channels, from, (&mut *patch, Square::dense(TILE, channels)));
        for (inside, outside, len) in (0..height).map(lines) {
            output[outside..][..len].copy_from_slice(&patch[inside..][..len]);
        }
    }
}

/// The three steps for a few rows of tiles of one image.
struct Fused<'a> {
    grid: Grid,
    source: &'a [f32], // (batch, rows, columns, channels)
    first: usize,      // tile
    packed: &'a [f32], // (positions, panels, channels, NR)
    bias: Option<&'a [f32]>,
    then: Then,
    scratch: &'a mut [f32],
    output: &'a mut [f32], // (rows, columns, out_channels) of the task's outputs
}

impl Body for Fused<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Fused { grid, source, first, packed, bias, then, scratch, output } = self;
        let [layout, product_layout] = [grid.windows(), grid.products()];
        let (patch, scratch) = scratch.split_at_mut(grid.patch_len());
        let (windows, products) = scratch.split_at_mut(grid.windows_len());
        let rows = output.len() / (grid.out[1] * grid.out_channels);
        let count = rows.div_ceil(TILE) * grid.tile_rows()[1];
        transform_windows(simd, grid, source, [first, count], patch, layout, windows);
        // The products keep the core busy and the memory idle: meanwhile come what this task writes and the next one reads.
        let next = grid.source_rows(source, first + count);
        for (position, products) in products.chunks_exact_mut(product_layout.position_len()).enumerate() {
            let part = [position / 2, positions(grid.stride).div_ceil(2)];
            let meanwhile = part_of(if position % 2 == 0 { next } else { output }, part);
            multiply(simd, grid, (position, count), (windows, layout), packed, bias, meanwhile, products);
        }
        transform_products(simd, grid, [first, 0], (products, product_layout), patch, then, output);
    }
}

/// One of the three steps, for a part of a block.
enum Step<'a> {
    Windows {
        grid: Grid,
        source: &'a [f32],
        tiles: [usize; 2],
        patch: &'a mut [f32],
        layout: Tiles,
        windows: &'a mut [f32],
    },
    Multiply {
        grid: Grid,
        place: (usize, usize),
        windows: (&'a [f32], Tiles),
        packed: &'a [f32],
        bias: Option<&'a [f32]>,
        products: &'a mut [f32],
    },
    Outputs {
        grid: Grid,
        tiles: [usize; 2],
        products: (&'a [f32], Tiles),
        patch: &'a mut [f32],
        then: Then,
        output: &'a mut [f32],
    },
}

impl Body for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self {
            Step::Windows { grid, source, tiles, patch, layout, windows } => {
                transform_windows(simd, grid, source, tiles, patch, layout, windows)
            }
            Step::Multiply { grid, place, windows, packed, bias, products } => {
                multiply(simd, grid, place, windows, packed, bias, &[], products)
            }
            Step::Outputs { grid, tiles, products, patch, then, output } => {
                transform_products(simd, grid, tiles, products, patch, then, output)
            }
        }
    }
}

/// Length of the patch that holds a window, or a tile, which reaches beyond its plane.
fn patch_len(stride: usize, in_channels: usize, out_channels: usize) -> usize {
    (positions(stride) * in_channels).max(TILE * TILE * out_channels)
}

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

/// In channels that are transformed before they are put in their places: each position then gets 512 bytes at a time, not 64, at 36
/// places of memory, and those of 81 positions, 41 KB, stay in the L2 cache.
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
                for (turned, matrix) in turned.iter_mut().rev().zip(weights.chunks_exact(matrix)) {
                    for (j, row) in matrix.chunks_exact(inputs).skip(panel * NR).take(width).enumerate() {
                        turned.iter_mut().zip(&row[first..first + count]).for_each(|(turned, value)| turned[j] = *value);
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
            for (packed, transformed) in packed.iter_mut().zip(&transformed) {
                packed[first * NR..][..count * NR].copy_from_slice(transformed[..count].as_flattened());
            }
        }
    }
}

/// Packs weights with a transform to N * N = P positions.
fn pack_weights<T: Transform<3, N>, const N: usize, const P: usize>(
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

fn correlate(
    isa: Isa,
    grid: Grid,
    source: &[f32],
    packed: &[f32],
    (bias, then): (Option<&[f32]>, Then),
    output: &mut [f32],
    scratch: &mut [f32],
) {
    if output.is_empty() {
        return;
    }
    let (own, shared) = scratch.split_at_mut(par::workers() * grid.scratch_len()[0]);
    let workers = WorkerScratch::new(own, grid.scratch_len()[0]);
    let line = grid.out[1] * grid.out_channels;
    let tile_columns = grid.tile_rows()[1];
    if grid.is_fused() {
        par::bands_mut(output, grid.out_image_len(), grid.task_rows() * TILE * line, |image, band, output| {
            let first = image * grid.tiles() + band * grid.task_rows() * tile_columns;
            workers.with(|scratch| isa.run(Fused { grid, source, first, packed, bias, then, scratch, output }));
        });
        return;
    }
    let [layout, product_layout] = [grid.windows(), grid.products()];
    let (windows, products) = shared.split_at_mut(grid.windows_len());
    for (block, output) in output.chunks_mut(grid.block_images() * grid.out_image_len()).enumerate() {
        let first = block * layout.tiles;
        let count = output.len() / grid.out_image_len() * grid.tiles();
        par::chunks_mut(
            &mut windows[..count.div_ceil(layout.segment) * layout.segment_len()],
            layout.segment_len(),
            |segment, windows| {
                let begin = segment * layout.segment;
                let tiles = [first + begin, layout.segment.min(count - begin)];
                workers.with(|patch| isa.run(Step::Windows { grid, source, tiles, patch, layout, windows }));
            },
        );
        let windows = (&*windows, layout);
        par::chunks_mut(&mut products[..product_layout.len()], product_layout.position_len(), |position, products| {
            isa.run(Step::Multiply { grid, place: (position, count), windows, packed, bias, products });
        });
        let products = (&*products, product_layout);
        par::bands_mut(output, grid.out_image_len(), TILE * line, |image, band, output| {
            let from = image * grid.tiles() + band * tile_columns;
            workers.with(|patch| isa.run(Step::Outputs { grid, tiles: [first + from, from], products, patch, then, output }));
        });
    }
}

pub(super) fn packed_len(shape: ConvShape) -> usize {
    Grid::forward(shape).packed_len()
}

pub(super) fn pack(isa: Isa, shape: ConvShape, weights: &[f32], packed: &mut [f32]) {
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

pub(super) fn forward_scratch_len(shape: ConvShape) -> usize {
    scratch_len(Grid::forward(shape))
}

pub(super) fn forward(
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

pub(super) fn backward_data_scratch_len(shape: ConvShape) -> usize {
    let grid = Grid::backward_data(shape);
    grid.packed_len() + scratch_len(grid)
}

pub(super) fn backward_data(
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
        // While it multiplies, each position asks for its share of what the next block transforms.
        let share = [first / block + 1, all.div_ceil(block)].map(|blocks| blocks * POSITIONS);
        par::chunks_mut(sums, inputs * outputs, |position, sums| {
            let meanwhile = [input, grad_output].map(|values| part_of(values, [share[0] + position, share[1]]));
            let channels = [inputs, outputs];
            isa.run(AddProducts { channels, position, segments, windows, gradients, meanwhile, sums, add: first > 0 });
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
            let (pixels, from) = plane.window(image, corner.map(|place| place as isize), TILE, patch);
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
    meanwhile: Ahead<'a>, // asked of the memory
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
        let [segment, b_segment] = [inputs, columns].map(|channels| POSITIONS * (SEGMENT * channels + GAP));
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
            segment,
            b_segment,
            b_panel: SEGMENT * NR,
            ahead: self.meanwhile.map(|values| part_of(values, part)),
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
        let WeightRow { channel, channels: [inputs, outputs], sums, mut kernel } = self;
        let matrix = inputs * outputs;
        let mut weights = [0.0; 9 * BLOCK];
        for k in (0..outputs).step_by(BLOCK) {
            let len = BLOCK.min(outputs - k);
            let from = Square { first: channel * outputs + k, row: WINDOW * matrix, column: matrix };
            both_ways(simd, WeightTransform, len, (sums, from), (&mut weights, Square::dense(3, len)));
            for (plane, weights) in kernel.iter_mut().zip(weights.chunks_exact(len)) {
                plane[k..k + len].copy_from_slice(weights);
            }
        }
    }
}

/// Output channels whose gradients are computed before they are put in their places.
const BLOCK: usize = 64;
