//! A convolution, the maximum over windows of its outputs, and ReLU, in one pass and for inference: the convolution's outputs, several
//! for each maximum, never leave the cache. The same bits as of the three one after the other.
//!
//! A task takes a band of the maxima from top to bottom. It holds a few rows of the convolution's outputs; when a window reaches
//! below them, the rows above it make room for the next.

use super::implicit_gemm::{Band, Correlation};
use super::{ConvShape, Epilogue};
use crate::par::{self, WorkerScratch};
use crate::pool::{self, PoolShape};
use crate::simd::{Body, Isa, Simd};

/// Values of the convolution's outputs that a task holds, where its windows are not higher: 48 K * 4 = 192 KB of a 512 KB L2 cache.
const HELD: usize = 48 * 1024;

/// Tasks of an image. Each recomputes the rows that its first window shares with the task above: at 256 rows of windows, of 3
/// rows with stride 2, one of 65.
const TASKS: usize = 8;

/// Rows of the convolution's outputs that a task holds.
fn held_rows(shape: ConvShape, pool: PoolShape) -> usize {
    let line = (shape.out_columns() * shape.out_channels).max(1);
    (HELD / line).max(pool.kernel[0]).min(shape.out_rows().max(1))
}

/// Scratch of a worker: a padded band of the input, and the rows that are held.
fn worker_len(shape: ConvShape, pool: PoolShape) -> [usize; 2] {
    let held = held_rows(shape, pool);
    [Correlation::forward(shape).padded_len(held), held * shape.out_columns() * shape.out_channels]
}

pub(super) fn scratch_len(shape: ConvShape, pool: PoolShape) -> usize {
    par::workers() * worker_len(shape, pool).iter().sum::<usize>()
}

pub(super) fn forward(
    isa: Isa,
    (shape, pool): (ConvShape, PoolShape),
    input: &[f32],
    packed: &[f32],
    bias: &[f32],
    output: &mut [f32],
    scratch: &mut [f32],
) {
    let correlation = Correlation::forward(shape);
    let image_len = shape.rows * shape.columns * shape.in_channels;
    let line = pool.out_columns() * pool.channels;
    let rows = pool.out_rows().div_ceil(TASKS).max(1);
    let workers = WorkerScratch::new(scratch, worker_len(shape, pool).iter().sum());
    par::bands_mut(output, pool.out_rows() * line, rows * line, |image, band, output| {
        workers.with(|scratch| {
            let (padded, held) = scratch.split_at_mut(worker_len(shape, pool)[0]);
            let source = &input[image * image_len..][..image_len];
            let (correlation, first) = (&correlation, band * rows);
            isa.run(Task { correlation, pool, source, packed, bias, first, padded, held, output });
        });
    });
}

/// Some rows of maxima of one image.
struct Task<'a> {
    correlation: &'a Correlation,
    pool: PoolShape,
    source: &'a [f32], // (rows, columns, channels)
    packed: &'a [f32],
    bias: &'a [f32], // (out channels)
    first: usize,    // row of maxima
    padded: &'a mut [f32],
    held: &'a mut [f32],   // (held rows, columns, out channels)
    output: &'a mut [f32], // (rows of maxima, columns, channels)
}

impl Body for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Task { correlation, pool, source, packed, bias, first, padded, held, output } = self;
        let line = pool.columns * pool.channels;
        let room = held.len() / line;
        let maxima = pool.out_columns() * pool.channels;
        let last = pool.window_rows(first + output.len() / maxima - 1).end;
        let mut rows = 0..0; // of the convolution's outputs, which `held` begins with
        for (i, output) in output.chunks_exact_mut(maxima).enumerate() {
            let window = pool.window_rows(first + i);
            if window.end > rows.end {
                let from = window.start.min(rows.end);
                held.copy_within((from - rows.start) * line..(rows.end - rows.start) * line, 0);
                let start = window.start.max(rows.end);
                rows = window.start..(window.start + room).min(last);
                let output = &mut held[(start - rows.start) * line..(rows.end - rows.start) * line];
                let (padded, out_rows) = (&mut *padded, rows.end - start);
                let epilogue = Epilogue { bias: Some(bias), relu: false };
                Band { correlation, images: 1, source, packed, padded, first: start, out_rows, epilogue, output }.run(simd);
            }
            pool::max_relu_row(simd, pool, first + i, rows.start, held, output);
        }
    }
}
