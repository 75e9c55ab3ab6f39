//! Tiles of outputs, the windows under them, and where both lie in the scratch.

use super::transforms::{StridedWindow, WindowTransform, both_ways, Square};
use super::ConvShape;
use crate::gemm::{MR, NR, SHORT};
use crate::simd::{Simd, copy};

/// Side of a tile of outputs.
pub(super) const TILE: usize = 4;

/// Side of the window under a tile of outputs.
pub(super) const fn window(stride: usize) -> usize {
    (TILE - 1) * stride + 3
}

/// Products of a tile: 36, or 81 with stride 2.
pub(super) const fn positions(stride: usize) -> usize {
    window(stride) * window(stride)
}

/// Those of stride 1.
pub(super) const POSITIONS: usize = positions(1);
pub(super) const WINDOW: usize = window(1);

/// Tiles of a fused task to aim for, and of a segment of a block: 4 strips of MR, or 3 of TALL, share each panel of weights that is
/// read; windows and products of 64 channels are 36 * 24 * 128 * 4 = 442 KB, of a 512 KB L2 cache.
pub(super) const TASK_TILES: usize = 4 * MR;

/// Packed weights, in values, that each fused task may read from a shared cache again: those of stride 2 from 64 to 128 channels,
/// 2.7 MB; of stride 1 with 128 channels they are 2.4 MB.
pub(super) const FUSED_WEIGHTS: usize = positions(2) * 64 * 128;

/// Tiles of a block to aim for. Windows and products of 256 channels are 36 * 128 * 512 * 4 = 9.4 MB, as much as the weights that
/// are read once for all of them, and together they fit an L3 cache of 32 MB.
pub(super) const BLOCK_TILES: usize = 128;

/// A position's values are followed by a cache line: their length is often a multiple of 4 KB, and then the lines of all
/// positions of a tile would share one set of the L1 cache.
pub(super) const GAP: usize = 16;

/// Rows that a strip may read beyond the last tile, and forget: rows an even step apart need no
/// address each.
pub(super) const BEYOND: usize = SHORT - 1;

/// The source of a correlation with a 3x3 kernel, and the tiles of its output.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub(super) batch: usize,
    pub(super) rows: usize, // of the source
    pub(super) columns: usize,
    pub(super) channels: usize,
    pub(super) padding: [usize; 2],
    pub(super) stride: usize,
    pub(super) out: [usize; 2],
    pub(super) out_channels: usize,
}

impl Grid {
    pub(super) fn forward(shape: ConvShape) -> Self {
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

    pub(super) fn backward_data(shape: ConvShape) -> Self {
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
    pub(super) fn tile_rows(&self) -> [usize; 2] {
        self.out.map(|size| size.div_ceil(TILE))
    }

    /// Tiles of an image.
    pub(super) fn tiles(&self) -> usize {
        let [rows, columns] = self.tile_rows();
        rows * columns
    }

    /// Image and first output of a tile, counted through the batch.
    pub(super) fn tile(&self, index: usize) -> (usize, [usize; 2]) {
        let [_, columns] = self.tile_rows();
        let (image, tile) = (index / self.tiles(), index % self.tiles());
        (image, [tile / columns * TILE, tile % columns * TILE])
    }

    /// Whether tasks transform, multiply and transform back a few tiles each, or all tiles of a block take each step together.
    pub(super) fn is_fused(&self) -> bool {
        self.tiles() >= TASK_TILES && self.packed_len() <= FUSED_WEIGHTS
    }

    /// Rows of tiles of a fused task; at least two tasks.
    pub(super) fn task_rows(&self) -> usize {
        let [rows, columns] = self.tile_rows();
        TASK_TILES.div_ceil(columns.max(1)).min(rows.div_ceil(2)).max(1)
    }

    /// Images of a block.
    pub(super) fn block_images(&self) -> usize {
        (BLOCK_TILES / self.tiles().max(1)).clamp(1, self.batch.max(1))
    }

    /// Layout of the windows of a task or block, and of its products.
    pub(super) fn windows(&self) -> Tiles {
        let [tiles, segment] = if self.is_fused() {
            [self.task_rows() * self.tile_rows()[1]; 2]
        } else {
            [self.block_images() * self.tiles(), TASK_TILES]
        };
        Tiles { window: window(self.stride), tiles, segment, channels: self.channels }
    }

    /// Length of the windows, with what strips read beyond them.
    pub(super) fn windows_len(&self) -> usize {
        self.windows().len() + BEYOND * self.channels
    }

    pub(super) fn products(&self) -> Tiles {
        let tiles = self.windows().tiles;
        Tiles { window: window(self.stride), tiles, segment: tiles, channels: self.out_channels }
    }

    pub(super) fn patch_len(&self) -> usize {
        patch_len(self.stride, self.channels, self.out_channels)
    }

    /// Scratch that each worker has of its own, and scratch that all share.
    pub(super) fn scratch_len(&self) -> [usize; 2] {
        let shared = self.windows_len() + self.products().len();
        if self.is_fused() { [self.patch_len() + shared, 0] } else { [self.patch_len(), shared] }
    }

    pub(super) fn image_len(&self) -> usize {
        self.rows * self.columns * self.channels
    }

    /// The rows of the source that a fused task reads whose first tile is this one, but for those that the task before it reads too.
    pub(super) fn source_rows<'a>(&self, source: &'a [f32], first: usize) -> &'a [f32] {
        let (image, [row, _]) = self.tile(first);
        let line = self.columns * self.channels;
        let begin = image * self.image_len() + (row * self.stride + 3 - self.stride).saturating_sub(self.padding[0]) * line;
        let rows = source.get(begin..).unwrap_or_default();
        &rows[..rows.len().min(self.task_rows() * TILE * self.stride * line)]
    }

    pub(super) fn out_image_len(&self) -> usize {
        self.out[0] * self.out[1] * self.out_channels
    }

    /// Packed weights: (positions, panels, channels, NR).
    pub(super) fn packed_len(&self) -> usize {
        self.out_channels.div_ceil(NR) * positions(self.stride) * self.channels * NR
    }
}

/// Pixels of `channels` values, as many as `size` has rows and columns.
#[derive(Clone, Copy)]
pub(super) struct Plane {
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
}

impl Plane {
    pub(super) fn square(&self, row: usize, column: usize) -> Square {
        let line = self.size[1] * self.channels;
        Square { first: row * line + column * self.channels, row: line, column: self.channels }
    }

    /// The square of `side` pixels whose corner is at (row, column): in place where it lies inside the plane, else as a copy in
    /// `patch` with zeros for what lies outside.
    #[inline(always)]
    pub(super) fn window<'a>(&self, pixels: &'a [f32], [row, column]: [isize; 2], side: usize, patch: &'a mut [f32]) -> (&'a [f32], Square) {
        let inside = |first: isize, size: usize| first >= 0 && first as usize + side <= size;
        if inside(row, self.size[0]) && inside(column, self.size[1]) {
            return (pixels, self.square(row as usize, column as usize));
        }
        for i in 0..side * side {
            let patch = &mut patch[i * self.channels..][..self.channels];
            let (row, column) = (row + (i / side) as isize, column + (i % side) as isize);
            if row >= 0 && column >= 0 && (row as usize) < self.size[0] && (column as usize) < self.size[1] {
                copy(&pixels[self.square(row as usize, column as usize).first..][..self.channels], patch);
            } else {
                patch.fill(0.0);
            }
        }
        (patch, Square::dense(side, self.channels))
    }
}

/// Where the values of tiles lie: (segments, positions, tiles of a segment, channels), with a gap after each position.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub(super) window: usize, // side of a square of positions
    pub(super) tiles: usize,
    pub(super) segment: usize,
    pub(super) channels: usize,
}

impl Tiles {
    /// From one position of a segment to the next.
    pub(super) fn position_len(&self) -> usize {
        self.segment * self.channels + GAP
    }

    pub(super) fn segment_len(&self) -> usize {
        self.window * self.window * self.position_len()
    }

    pub(super) fn len(&self) -> usize {
        self.tiles.div_ceil(self.segment.max(1)) * self.segment_len()
    }

    pub(super) fn offset(&self, position: usize, tile: usize) -> usize {
        tile / self.segment * self.segment_len() + position * self.position_len() + tile % self.segment * self.channels
    }

    /// The square of all positions of one tile.
    pub(super) fn square(&self, tile: usize) -> Square {
        Square { first: self.offset(0, tile), row: self.window * self.position_len(), column: self.position_len() }
    }
}

/// Length of the patch that holds a window, or a tile, which reaches beyond its plane.
pub(super) fn patch_len(stride: usize, in_channels: usize, out_channels: usize) -> usize {
    (positions(stride) * in_channels).max(TILE * TILE * out_channels)
}

/// Transforms the windows of `count` tiles from `first` on, of the batch in `source`, into the first of `windows`.
#[inline(always)]
pub(super) fn transform_windows<S: Simd>(
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
        let [row, column] = corner;
        let corner = [(row * grid.stride) as isize - grid.padding[0] as isize, (column * grid.stride) as isize - grid.padding[1] as isize];
        let from = plane.window(image, corner, layout.window, patch);
        let to = (&mut *windows, layout.square(t));
        match grid.stride {
            1 => both_ways(simd, WindowTransform, grid.channels, from, to),
            _ => both_ways(simd, StridedWindow, grid.channels, from, to),
        }
    }
}

