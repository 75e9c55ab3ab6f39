//! The three steps of a correlation, which the forward pass and backward-data share: windows, products, outputs.

use super::grid::{Grid, Plane, TILE, Tiles, positions, transform_windows};
use super::transforms::{OutputTransform, Square, StridedOutput, Transform, both_ways};
use crate::gemm::{Prefetch, Every, Finish, KC, MR, NR, Place, SHORT, Strip, TALL, part_of, strip_columns, strip_rows, tile};
use crate::par::{self, WorkerScratch};
use crate::simd::{Body, Isa, Simd, copy, zip};

/// The product of one position's windows of `count` tiles with its weights: `products` (tiles, out channels). Meanwhile it
/// prefetches values that come next. The bias is the sum's first term at the position that each output of a tile takes as it is: for
/// the point 1, both rows of A' have ones.
#[inline(always)]
fn multiply<S: Simd>(
    simd: S,
    grid: Grid,
    (position, count): (usize, usize),
    (windows, layout): (&[f32], Tiles),
    packed: &[f32],
    bias: Option<&[f32]>,
    prefetch: &[f32],
    products: &mut [f32],
) {
    let Grid { channels, out_channels, .. } = grid;
    let bias = bias.filter(|_| position == layout.window + 1);
    if let Some(bias) = bias {
        for products in products[..count * out_channels].chunks_exact_mut(out_channels) {
            copy(bias, products);
        }
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
                    let rows = strip_rows::<S>(usize::MAX);
                    let (strip, all) = (tile.div_ceil(rows), count.div_ceil(rows));
                    let part = [column.div_ceil(width) * all + strip, out_channels.div_ceil(width) * all];
                    let prefetch = [part_of(next, [strip, all]), part_of(prefetch, part)];
                    let taken = match strip_rows::<S>(end - tile) {
                        TALL => strips.multiply::<S, TALL>(simd, start, [tile, end], prefetch, products),
                        MR => strips.multiply::<S, MR>(simd, start, [tile, end], prefetch, products),
                        _ => strips.multiply::<S, SHORT>(simd, start, [tile, end], prefetch, products),
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
        prefetch: Prefetch,
        products: &mut [f32],
    ) -> usize {
        let (channels, height) = (self.channels, R.min(end - first));
        let rows = Every { first: start, step: channels };
        // Where there is nothing else to prefetch, the next strip: its rows are too short for the processor to predict it.
        let next = self.windows.get(start + R * channels..start + 2 * R * channels).unwrap_or_default();
        let prefetch = if prefetch[1].is_empty() { [prefetch[0], next] } else { prefetch };
        let strip = Strip {
            a: self.windows,
            rows,
            step: 1,
            segments: 1,
            length: self.length,
            segment: 0,
            b_segment: 0,
            b_panel: channels * NR,
            prefetch,
        };
        let [column, width] = self.columns;
        let place = Place { rows: Every { first: first * self.out_channels + column, step: self.out_channels }, height, width };
        tile::<S, R>(simd, &strip, self.b, products, &place, Finish { add: self.add, ..Finish::default() });
        height
    }
}

/// What becomes of an output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
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
        // A row of the tile that lies inside: in the patch and in the output.
        let len = width * channels;
        if T::ADDS {
            for i in 0..height {
                copy(&output[plane.square(row + i, left).first..][..len], &mut patch[i * TILE * channels..][..len]);
            }
        }
        both_ways(simd, transform, channels, from, (&mut *patch, Square::dense(TILE, channels)));
        for i in 0..height {
            copy(&patch[i * TILE * channels..][..len], &mut output[plane.square(row + i, left).first..][..len]);
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
        // The products keep the core busy and the memory idle: what this task writes and the next one reads is prefetched meanwhile.
        let next = grid.source_rows(source, first + count);
        for (position, products) in zip(0.., products.chunks_exact_mut(product_layout.position_len())) {
            let part = [position / 2, positions(grid.stride).div_ceil(2)];
            let prefetch = part_of(if position % 2 == 0 { next } else { output }, part);
            multiply(simd, grid, (position, count), (windows, layout), packed, bias, prefetch, products);
        }
        transform_products(simd, grid, [first, 0], (products, product_layout), patch, then, output);
    }
}

/// One of the three steps, for a part of a block.
enum BlockStep<'a> {
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

impl Body for BlockStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self {
            BlockStep::Windows { grid, source, tiles, patch, layout, windows } => {
                transform_windows(simd, grid, source, tiles, patch, layout, windows)
            }
            BlockStep::Multiply { grid, place, windows, packed, bias, products } => {
                multiply(simd, grid, place, windows, packed, bias, &[], products)
            }
            BlockStep::Outputs { grid, tiles, products, patch, then, output } => {
                transform_products(simd, grid, tiles, products, patch, then, output)
            }
        }
    }
}

pub(super) fn correlate(
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
                workers.with(|patch| isa.run(BlockStep::Windows { grid, source, tiles, patch, layout, windows }));
            },
        );
        let windows = (&*windows, layout);
        par::chunks_mut(&mut products[..product_layout.len()], product_layout.position_len(), |position, products| {
            isa.run(BlockStep::Multiply { grid, place: (position, count), windows, packed, bias, products });
        });
        let products = (&*products, product_layout);
        par::bands_mut(output, grid.out_image_len(), TILE * line, |image, band, output| {
            let from = image * grid.tiles() + band * tile_columns;
            workers.with(|patch| isa.run(BlockStep::Outputs { grid, tiles: [first + from, from], products, patch, then, output }));
        });
    }
}

