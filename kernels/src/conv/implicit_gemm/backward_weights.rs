//! The gradient with respect to the weights.

use super::{Correlation, TASKS};
use super::super::ConvShape;
use crate::gemm::{Every, Finish, MR, NO_PREFETCH, NR, Place, SHORT, Strip, TALL, strip_columns, strip_rows, tile};
use crate::par::{self, WorkerScratch};
use crate::simd::{Body, Isa, Simd, copy, zip};

/// Output channels of a task of backward-weights: 4 panels.
const CHANNEL_BLOCK: usize = 4 * NR;

/// Output pixels of a band: a panel of grad_output is 256 * 16 * 4 = 16 KB, in L1 while every kernel position uses it.
const GRADIENT_BAND_PIXELS: usize = 256;

/// Pixels that a chunk of backward-weights has at least.
const CHUNK_PIXELS: usize = 256;

/// How backward-weights splits its work, by the shape alone.
struct Gradient {
    shape: ConvShape,
    /// Few channels fill no strip: then strips run over the whole patch under a pixel, kernel rows, kernel columns and channels.
    whole_patch: bool,
    input: Correlation,
    band_rows: usize,
    bands: usize, // of an image
    channel_blocks: usize,
    channel_block: usize, // output channels of a task, a multiple of NR
    pixel_chunks: usize,  // parts of the sum over images and bands; combined in order
}

impl Gradient {
    fn new(shape: ConvShape) -> Self {
        let band_rows = (GRADIENT_BAND_PIXELS / shape.out_columns().max(1)).clamp(1, shape.out_rows().max(1));
        let bands = shape.out_rows().div_ceil(band_rows);
        let channel_block = CHANNEL_BLOCK.min(shape.out_channels.next_multiple_of(NR)).max(NR);
        let channel_blocks = shape.out_channels.div_ceil(channel_block);
        // Each chunk has sums of its own, to be written and read again: many pixels make up for that.
        let most = (shape.batch * shape.out_rows() * shape.out_columns() / CHUNK_PIXELS).clamp(1, (shape.batch * bands).max(1));
        let pixel_chunks = TASKS.div_ceil(channel_blocks.max(1)).min(most);
        let (whole_patch, input) = (shape.in_channels < MR, Correlation::forward(shape));
        Gradient { shape, whole_patch, input, band_rows, bands, channel_blocks, channel_block, pixel_chunks }
    }

    /// Rows of A: values that strips run over.
    fn strip_values(&self) -> usize {
        if self.whole_patch { self.input.depth() } else { self.shape.in_channels }
    }

    /// Kernel rows and columns that the strips leave to the pixel offset.
    fn taps(&self) -> [usize; 2] {
        if self.whole_patch { [1, 1] } else { self.shape.kernel }
    }

    fn panel_len(&self) -> usize {
        self.band_rows * self.shape.out_columns() * NR
    }

    /// Scratch of a worker: padded band, with what a strip may read beyond its last value; panels.
    fn worker_len(&self) -> [usize; 2] {
        [self.input.padded_len(self.band_rows) + TALL, self.channel_block / NR * self.panel_len()]
    }

    /// One task's sum: (taps, strip values, channel_block).
    fn partial_len(&self) -> usize {
        let [rows, columns] = self.taps();
        rows * columns * self.strip_values() * self.channel_block
    }

    fn tasks(&self) -> usize {
        self.pixel_chunks * self.channel_blocks
    }
}

pub(in crate::conv) fn scratch_len(shape: ConvShape) -> usize {
    let gradient = Gradient::new(shape);
    gradient.tasks() * gradient.partial_len() + par::workers() * gradient.worker_len().iter().sum::<usize>()
}

pub(in crate::conv) fn backward_weights(
    isa: Isa,
    shape: ConvShape,
    input: &[f32],
    grad_output: &[f32],
    grad_weights: &mut [f32],
    scratch: &mut [f32],
) {
    if grad_weights.is_empty() {
        return;
    }
    if grad_output.is_empty() {
        grad_weights.fill(0.0);
        return;
    }
    let gradient = Gradient::new(shape);
    let (partials, scratch) = scratch.split_at_mut(gradient.tasks() * gradient.partial_len());
    let workers = WorkerScratch::new(scratch, gradient.worker_len().iter().sum());
    par::chunks_mut(partials, gradient.partial_len(), |task, partial| {
        workers.with(|scratch| isa.run(GradientTask { gradient: &gradient, task, input, grad_output, partial, scratch }));
    });
    let block = gradient.channel_block;
    let partials = &*partials;
    let row_len = shape.out_channels;
    par::chunks_mut(grad_weights, row_len * 32, |chunk, values| {
        for (i, row) in values.chunks_exact_mut(row_len).enumerate() {
            let value = chunk * 32 + i; // (kernel row, kernel column, channel), flat
            for (b, target) in row.chunks_mut(block).enumerate() {
                for chunk in 0..gradient.pixel_chunks {
                    let task = chunk * gradient.channel_blocks + b;
                    let part = &partials[task * gradient.partial_len() + value * block..][..target.len()];
                    for (target, part) in target.iter_mut().zip(part) {
                        *target = if chunk == 0 { *part } else { *target + *part };
                    }
                }
            }
        }
    });
}

struct GradientTask<'a> {
    gradient: &'a Gradient,
    task: usize,
    input: &'a [f32],
    grad_output: &'a [f32],
    partial: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl Body for GradientTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let GradientTask { gradient: g, task, input, grad_output, partial, scratch } = self;
        let shape = g.shape;
        let (chunk, block) = (task / g.channel_blocks, task % g.channel_blocks);
        let first_channel = block * g.channel_block;
        let (padded, panels) = scratch.split_at_mut(g.worker_len()[0]);
        let (image_len, gradient_len) = (input.len() / shape.batch, grad_output.len() / shape.batch);
        let all = shape.batch * g.bands;
        let bands = chunk * all / g.pixel_chunks..(chunk + 1) * all / g.pixel_chunks;
        for band in bands.clone() {
            let (image, first) = (band / g.bands, band % g.bands * g.band_rows);
            let out_rows = g.band_rows.min(shape.out_rows() - first);
            g.input.copy_band(&input[image * image_len..][..image_len], first, out_rows, padded);
            let pixels = out_rows * shape.out_columns();
            let source = &grad_output[image * gradient_len..][first * shape.out_columns() * shape.out_channels..];
            let panels = &mut panels[..g.channel_block * pixels];
            pack_panels(&source[..pixels * shape.out_channels], shape.out_channels, first_channel, panels);

            let mut band = GradientBand { gradient: g, out_rows, padded, panels, partial, add: band > bands.start };
            let mut value = 0;
            while value < g.strip_values() {
                value += match strip_rows::<S>(g.strip_values() - value) {
                    TALL => band.strip::<S, TALL>(simd, value),
                    MR => band.strip::<S, MR>(simd, value),
                    _ => band.strip::<S, SHORT>(simd, value),
                };
            }
        }
    }
}

/// The sums over one band.
struct GradientBand<'a> {
    gradient: &'a Gradient,
    out_rows: usize,
    padded: &'a [f32],      // (padded rows, padded columns, channels)
    panels: &'a [f32],      // (panels, pixels, NR)
    partial: &'a mut [f32], // (taps, strip values, channel_block)
    add: bool,              // to the sums over the bands before
}

impl<'a> GradientBand<'a> {
    /// Those of R strip values from `first` on, which the tiles read from the band in place; returns how many.
    #[inline(always)]
    fn strip<S: Simd, const R: usize>(&mut self, simd: S, first: usize) -> usize {
        let g = self.gradient;
        let (channels, values) = (g.shape.in_channels, g.strip_values());
        let width = g.input.padded_columns() * channels;
        let pixels = self.out_rows * g.shape.out_columns();
        let height = R.min(values - first);
        let [tap_rows, tap_columns] = g.taps();
        let mut channel = 0;
        while channel < g.channel_block {
            let columns = strip_columns::<S>(g.channel_block - channel);
            let b = &self.panels[channel * pixels..];
            for tap in 0..tap_rows * tap_columns {
                let start = tap / tap_columns * width + tap % tap_columns * channels;
                let rows = Every { first: (tap * values + first) * g.channel_block + channel, step: g.channel_block };
                let place = Place { rows, height, width: columns };
                let finish = Finish { add: self.add, ..Finish::default() };
                if g.whole_patch {
                    // Value v of the patch lies v / run rows down and v % run values to the right.
                    let run = g.input.run();
                    let mut rows = [0; R];
                    for i in 0..R {
                        let value = (first + i).min(values - 1);
                        rows[i] = value / run * width + value % run;
                    }
                    tile(simd, &self.rows(rows), b, self.partial, &place, finish);
                } else {
                    let rows = Every { first: start + first, step: 1 };
                    tile::<S, R>(simd, &self.rows(rows), b, self.partial, &place, finish);
                }
            }
            channel += columns;
        }
        height
    }

    /// A strip of the band, from pixel to pixel of the output.
    #[inline(always)]
    fn rows<A>(&self, rows: A) -> Strip<'a, A> {
        let (shape, out_columns) = (self.gradient.shape, self.gradient.shape.out_columns());
        Strip {
            a: self.padded,
            rows,
            step: shape.stride[1] * shape.in_channels,
            segments: self.out_rows,
            length: out_columns,
            segment: shape.stride[0] * self.gradient.input.padded_columns() * shape.in_channels,
            b_segment: out_columns * NR,
            b_panel: self.out_rows * out_columns * NR,
            prefetch: NO_PREFETCH,
        }
    }
}

/// Packs channels from `first` on of `source` (pixels, channels) as (panels, pixels, NR), with zeros beyond the last channel.
#[inline(always)]
fn pack_panels(source: &[f32], channels: usize, first: usize, panels: &mut [f32]) {
    let pixels = source.len() / channels;
    for (p, panel) in zip(0.., panels.chunks_exact_mut(pixels * NR)) {
        let first = first + p * NR;
        let count = channels.saturating_sub(first).min(NR);
        for (values, pixel) in zip(panel.chunks_exact_mut(NR), source.chunks_exact(channels)) {
            if count == NR {
                copy(&pixel[first..first + NR], &mut values[..NR]);
            } else {
                values.fill(0.0);
                copy(&pixel[first.min(channels)..][..count], &mut values[..count]);
            }
        }
    }
}
