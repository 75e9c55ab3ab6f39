//! Convolution as a blocked GEMM without a matrix of patches (after Dukhan, The Indirect Convolution Algorithm, 2019, and the
//! loops of BLIS): an output pixel is a row of A, an output channel a column of B, and the sum runs over kernel rows, kernel
//! columns and input channels.
//!
//! A task copies the band of the image that its output rows need, with the zeros of the padding, into its scratch. There the
//! values under one kernel row of one output pixel lie side by side (kernel columns times channels), so the register tile
//! reads them in place and no border needs a special case.
//!
//! * forward: one [`Correlation`] of the input.
//! * backward-data: for stride s the gradient splits into s * s phases, each a stride-1 correlation of `grad_output` with every
//!   s-th row and column of the rotated weights; nothing is multiplied by the zeros of a dilated gradient.
//! * backward-weights: for each kernel position a product of channels by channels, summed over pixels.

mod backward_weights;

use super::{ConvShape, Epilogue, Functions};
use crate::gemm::{Finish, KC, MR, NO_PREFETCH, NR, Place, Strip, strip_columns, tile};
use crate::par::{self, WorkerScratch};
use crate::simd::{Body, Isa, Simd, copy, zip};

/// What [`Algorithm::ImplicitGemm`](super::Algorithm::ImplicitGemm) is.
pub(super) const FUNCTIONS: Functions = Functions {
    name: "implicit-gemm",
    max_error: MAX_ERROR,
    adds: false,
    supports: |_, _| true,
    pays: |_, _| true,
    packed_len: |shape| Correlation::forward(shape).packed_len(),
    pack,
    forward_scratch_len,
    forward,
    backward_data_scratch_len,
    backward_data,
    backward_weights_scratch_len: backward_weights::scratch_len,
    backward_weights: backward_weights::backward_weights,
};

/// Relative l2 error of each pass against f64, claimed and tested: f32 rounds each product and sum to 6e-8; sums of up to 4608
/// values that are neither sorted nor of one sign stay ten times below this.
const MAX_ERROR: f64 = 2e-6;

/// Values that the padded band of a task may hold, and its outputs: 64 K * 4 = 256 KB, half of a 512 KB L2 cache.
const BAND: usize = 64 * 1024;

/// A band is not cut below this many pixels to make more tasks, and small images share one: fewer read the weights too often.
const MIN_BAND_PIXELS: usize = 48;

/// Weights of a block that stay in the L1 cache beside a strip of pixels: 4 K * 4 = 16 KB of 32 KB. A strip then takes all panels, one
/// after the other, so that its place is reckoned once.
const SMALL_BLOCK: usize = 4096;

/// Tasks to aim for, so that a few threads finish together.
const TASKS: usize = 16;

/// A correlation whose outputs lie on a grid of the output plane: forward, or one phase of backward-data.
#[derive(Clone, Copy)]
pub(super) struct Correlation {
    rows: usize, // of the source
    columns: usize,
    channels: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [isize; 2], // zeros above and left of the source; negative where source rows or columns are skipped
    out: [usize; 2],     // outputs computed
    out_channels: usize,
    origin: [usize; 2],   // where the first output lies in the output plane,
    step: [usize; 2],     // the distance to the next,
    plane_columns: usize, // and the plane's width
}

/// A convolution's weights as a correlation reads them: in place (forward), or rotated by half a turn, every stride-th one, with
/// input and output channels exchanged (a phase of backward-data).
struct Weights<'a> {
    shape: ConvShape,
    values: &'a [f32],
    phase: Option<[usize; 2]>,
}

impl Weights<'_> {
    /// Copies, for the channels from `channels[0]` on, `width` out channels from `channels[1]` on to rows of NR values.
    fn copy(&self, [row, column]: [usize; 2], [channel, out_channel]: [usize; 2], width: usize, target: &mut [f32]) {
        let (inputs, outputs) = (self.shape.in_channels, self.shape.out_channels);
        let matrix = &self.values[(row * self.shape.kernel[1] + column) * inputs * outputs..][..inputs * outputs];
        if self.phase.is_none() {
            let rows = matrix[channel * outputs..].chunks_exact(outputs);
            for (target, source) in zip(target.chunks_exact_mut(NR), rows) {
                if width == NR {
                    copy(&source[out_channel..out_channel + NR], &mut target[..NR]);
                } else {
                    copy(&source[out_channel..out_channel + width], &mut target[..width]);
                }
            }
        } else {
            for k in 0..width {
                let source = &matrix[(out_channel + k) * outputs..][..outputs][channel..];
                for (target, value) in zip(target.chunks_exact_mut(NR), source) {
                    target[k] = *value;
                }
            }
        }
    }
}

/// A part of the sum: `segments` kernel rows from `kernel_row` on, of each the values `first..first + length`.
struct Block {
    kernel_row: usize,
    segments: usize,
    first: usize,
    length: usize,
    depth_before: usize, // values of all blocks before this one
}

impl Correlation {
    pub(super) fn forward(shape: ConvShape) -> Self {
        Correlation {
            rows: shape.rows,
            columns: shape.columns,
            channels: shape.in_channels,
            kernel: shape.kernel,
            stride: shape.stride,
            padding: shape.padding.map(|p| p as isize),
            out: [shape.out_rows(), shape.out_columns()],
            out_channels: shape.out_channels,
            origin: [0, 0],
            step: [1, 1],
            plane_columns: shape.out_columns(),
        }
    }

    /// The phases of backward-data. An input row h meets kernel row r and output row o where h + padding = o * stride + r. So
    /// the rows with (h + padding) mod stride = q, taken in order as h = origin + i * stride, meet kernel rows q + j * stride
    /// (j below `kernel`) at o = first + i - j: a correlation with the kernel rows in reverse.
    fn backward_data(shape: ConvShape) -> impl Iterator<Item = (Self, [usize; 2])> {
        let size = [shape.rows, shape.columns];
        let [row_phases, column_phases] = shape.stride;
        let phases = (0..row_phases).flat_map(move |row| (0..column_phases).map(move |column| [row, column]));
        phases.map(move |phase| {
            let each = |axis: usize| {
                let (q, stride, padding) = (phase[axis], shape.stride[axis], shape.padding[axis]);
                let origin = (q + stride - padding % stride) % stride;
                let kernel = shape.kernel[axis].saturating_sub(q).div_ceil(stride);
                let first = (origin + padding - q) as isize / stride as isize;
                (origin, kernel, kernel as isize - 1 - first, size[axis].saturating_sub(origin).div_ceil(stride))
            };
            let (rows, columns) = (each(0), each(1));
            let correlation = Correlation {
                rows: shape.out_rows(),
                columns: shape.out_columns(),
                channels: shape.out_channels,
                kernel: [rows.1, columns.1],
                stride: [1, 1],
                padding: [rows.2, columns.2],
                out: [rows.3, columns.3],
                out_channels: shape.in_channels,
                origin: [rows.0, columns.0],
                step: shape.stride,
                plane_columns: shape.columns,
            };
            (correlation, phase)
        })
    }

    /// Values under one kernel row.
    fn run(&self) -> usize {
        self.kernel[1] * self.channels
    }

    /// Length of the sum.
    fn depth(&self) -> usize {
        self.kernel[0] * self.run()
    }

    fn packed_len(&self) -> usize {
        self.depth() * self.out_channels.next_multiple_of(NR)
    }

    /// The sum in blocks of at most KC values: several kernel rows where they are short, pieces of one where they are long.
    fn blocks(&self) -> impl Iterator<Item = Block> + use<> {
        let (run, kernel_rows) = (self.run(), self.kernel[0]);
        let pieces = run.div_ceil(KC).max(1);
        let length = run.div_ceil(pieces).max(1);
        let group = if pieces > 1 { 1 } else { (KC / length).clamp(1, kernel_rows.max(1)) };
        (0..if run == 0 { 0 } else { kernel_rows }).step_by(group).flat_map(move |kernel_row| {
            (0..run).step_by(length).map(move |first| {
                let segments = group.min(kernel_rows - kernel_row);
                Block { kernel_row, segments, first, length: length.min(run - first), depth_before: kernel_row * run + first }
            })
        })
    }

    /// Packs weights as (blocks, panels, segments, length, NR).
    fn pack(&self, weights: &Weights, packed: &mut [f32]) {
        let columns = self.out_channels.next_multiple_of(NR);
        let mut rest = packed;
        for block in self.blocks() {
            let depth = block.segments * block.length;
            let (part, after) = rest.split_at_mut(depth * columns);
            rest = after;
            par::chunks_mut(part, depth * NR, |panel, part| {
                let out_channel = panel * NR;
                let width = NR.min(self.out_channels - out_channel);
                for (segment, part) in part.chunks_exact_mut(block.length * NR).enumerate() {
                    let mut value = block.first;
                    let mut rest = part;
                    while !rest.is_empty() {
                        // As many channels of one kernel position as this piece of the run has.
                        let (column, channel) = (value / self.channels, value % self.channels);
                        let count = (self.channels - channel).min(rest.len() / NR);
                        let (part, after) = rest.split_at_mut(count * NR);
                        let position = self.weights_position(weights, block.kernel_row + segment, column);
                        if width < NR {
                            part.fill(0.0);
                        }
                        weights.copy(position, [channel, out_channel], width, part);
                        (value, rest) = (value + count, after);
                    }
                }
            });
        }
    }

    /// Kernel row and column of the convolution that this correlation's are.
    fn weights_position(&self, weights: &Weights, row: usize, column: usize) -> [usize; 2] {
        match weights.phase {
            None => [row, column],
            Some(phase) => {
                let last = [0, 1].map(|axis| phase[axis] + (self.kernel[axis] - 1) * self.step[axis]);
                [last[0] - row * self.step[0], last[1] - column * self.step[1]]
            }
        }
    }

    /// Output rows of a task.
    fn band_rows(&self, batch: usize) -> usize {
        let row = self.padded_columns() * self.channels * self.stride[0];
        let fits = (BAND / row.max(1)).saturating_sub(self.kernel[0] / self.stride[0]);
        let fits = fits.min(BAND / (self.out[1] * self.out_channels).max(1)).clamp(1, self.out[0].max(1));
        let bands = self.out[0].div_ceil(fits).max(TASKS.div_ceil(batch.max(1)));
        let shortest = MIN_BAND_PIXELS.div_ceil(self.out[1].max(1));
        self.out[0].div_ceil(bands).max(shortest).clamp(1, self.out[0].max(1))
    }

    /// Images of a task.
    fn band_images(&self, batch: usize) -> usize {
        let pixels = (self.out[0] * self.out[1]).max(1);
        (MIN_BAND_PIXELS / pixels).clamp(1, batch.div_ceil(2).max(1))
    }

    fn padded_columns(&self) -> usize {
        self.out[1].saturating_sub(1) * self.stride[1] + self.kernel[1]
    }

    fn padded_rows(&self, out_rows: usize) -> usize {
        out_rows.saturating_sub(1) * self.stride[0] + self.kernel[0]
    }

    pub(super) fn padded_len(&self, out_rows: usize) -> usize {
        self.padded_rows(out_rows) * self.padded_columns() * self.channels
    }

    /// Copies the source values under `out_rows` output rows from `first` on, with zeros where there is no source.
    #[inline(always)]
    fn copy_band(&self, source: &[f32], first: usize, out_rows: usize, padded: &mut [f32]) {
        let width = self.padded_columns() * self.channels;
        let line = self.columns * self.channels;
        // Values of the padded line before the source begins; source values skipped where padding is negative.
        let zeros = (self.padding[1].max(0) as usize * self.channels).min(width);
        let skipped = ((-self.padding[1]).max(0) as usize * self.channels).min(line);
        let copied = (width - zeros).min(line - skipped);
        for (r, target) in padded[..self.padded_rows(out_rows) * width].chunks_exact_mut(width).enumerate() {
            let row = (first * self.stride[0] + r) as isize - self.padding[0];
            if row < 0 || row >= self.rows as isize {
                target.fill(0.0);
                continue;
            }
            target[..zeros].fill(0.0);
            copy(&source[row as usize * line + skipped..][..copied], &mut target[zeros..zeros + copied]);
            target[zeros + copied..].fill(0.0);
        }
    }
}

/// The outputs of one correlation in one band, of each of a few images.
pub(super) struct Band<'a> {
    pub(super) correlation: &'a Correlation,
    pub(super) images: usize,
    pub(super) source: &'a [f32],     // (images, rows, columns, channels)
    pub(super) packed: &'a [f32],     // (blocks, panels, segments, length, NR)
    pub(super) padded: &'a mut [f32], // (images, padded rows, padded columns, channels)
    pub(super) first: usize,          // output row
    pub(super) out_rows: usize,
    pub(super) epilogue: Epilogue<'a>,
    pub(super) output: &'a mut [f32], // (images, plane rows of the band, plane_columns, out_channels)
}

impl Body for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Band { correlation, images, source, packed, padded, first, out_rows, epilogue, output } = self;
        let c = *correlation;
        let (source_len, padded_len) = (c.rows * c.columns * c.channels, c.padded_len(out_rows));
        let plane_len = output.len() / images;
        for image in 0..images {
            c.copy_band(&source[image * source_len..], first, out_rows, &mut padded[image * padded_len..]);
        }
        let width = c.padded_columns() * c.channels;
        let pixels = out_rows * c.out[1];
        let columns = c.out_channels.next_multiple_of(NR);
        for block in c.blocks() {
            let depth = block.segments * block.length;
            let panels = &packed[block.depth_before * columns..][..depth * columns];
            let start = block.kernel_row * width + block.first;
            let bias = epilogue.bias.filter(|_| block.depth_before + depth == c.depth());
            let group = if panels.len() <= SMALL_BLOCK { c.out_channels } else { strip_columns::<S>(c.out_channels) };
            for group_start in (0..c.out_channels).step_by(group) {
                let group_end = c.out_channels.min(group_start + group);
                let (mut image, mut i, mut j) = (0, 0, 0);
                for pixel in (0..images * pixels).step_by(MR) {
                    let mut offsets = [start; MR];
                    let mut first = [0; MR];
                    let height = MR.min(images * pixels - pixel);
                    for m in 0..height {
                        offsets[m] = start + image * padded_len + i * c.stride[0] * width + j * c.stride[1] * c.channels;
                        let place = (c.origin[0] + i * c.step[0]) * c.plane_columns + c.origin[1] + j * c.step[1];
                        first[m] = image * plane_len + place * c.out_channels;
                        j += 1;
                        if j == c.out[1] {
                            (i, j) = (i + 1, 0);
                        }
                        if i == out_rows {
                            (image, i) = (image + 1, 0);
                        }
                    }
                    let mut channel = group_start;
                    while channel < group_end {
                        let strip = Strip {
                            a: padded,
                            rows: offsets,
                            step: 1,
                            segments: block.segments,
                            length: block.length,
                            segment: width,
                            b_segment: block.length * NR,
                            b_panel: depth * NR,
                            prefetch: NO_PREFETCH,
                        };
                        let mut rows = first;
                        for row in &mut rows {
                            *row += channel;
                        }
                        let place = Place { rows, height, width: strip_columns::<S>(group_end - channel) };
                        let finish =
                            Finish { add: block.depth_before > 0, bias: bias.map(|bias| &bias[channel..]), relu: epilogue.relu };
                        tile::<S, MR>(simd, &strip, &panels[channel * depth..], output, &place, finish);
                        channel += place.width;
                    }
                }
            }
        }
    }
}

fn pack(_isa: Isa, shape: ConvShape, weights: &[f32], packed: &mut [f32]) {
    Correlation::forward(shape).pack(&Weights { shape, values: weights, phase: None }, packed);
}

fn forward_scratch_len(shape: ConvShape) -> usize {
    let correlation = Correlation::forward(shape);
    let images = correlation.band_images(shape.batch);
    par::workers() * images * correlation.padded_len(correlation.band_rows(shape.batch))
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
    if output.is_empty() {
        return;
    }
    let correlation = Correlation::forward(shape);
    if correlation.depth() == 0 {
        let values = epilogue.bias.unwrap_or(&[0.0]).iter().map(|&b| if epilogue.relu { b.max(0.0) } else { b });
        output.iter_mut().zip(values.cycle()).for_each(|(output, value)| *output = value);
        return;
    }
    let [out_rows, out_columns] = correlation.out;
    let band = correlation.band_rows(shape.batch);
    let line = out_columns * shape.out_channels;
    let source_len = shape.rows * shape.columns * shape.in_channels;
    let images = correlation.band_images(shape.batch);
    let workers = WorkerScratch::new(scratch, images * correlation.padded_len(band));
    par::bands_mut(output, images * out_rows * line, images * band * line, |group, i, output| {
        workers.with(|padded| {
            let first_image = group * images;
            let images = images.min(shape.batch - first_image);
            let source = &input[first_image * source_len..];
            let out_rows = output.len() / (images * line);
            let (correlation, first) = (&correlation, i * band);
            isa.run(Band { correlation, images, source, packed, padded, first, out_rows, epilogue, output });
        });
    });
}

/// How backward-data splits its work: input rows of a task over `stride`, as many outputs of each phase; images of a task; and
/// the scratch of a task.
fn backward_data_task(shape: ConvShape) -> (usize, usize, usize) {
    let phases = || Correlation::backward_data(shape).map(|(phase, _)| phase);
    let band = phases().map(|phase| phase.band_rows(shape.batch)).min().unwrap_or(1);
    let whole = band * shape.stride[0] >= shape.rows;
    let images = if whole { phases().map(|phase| phase.band_images(shape.batch)).min().unwrap_or(1) } else { 1 };
    (band, images, images * phases().map(|phase| phase.padded_len(band)).max().unwrap_or(0))
}

fn backward_data_scratch_len(shape: ConvShape) -> usize {
    let packed: usize = Correlation::backward_data(shape).map(|(phase, _)| phase.packed_len()).sum();
    packed + par::workers() * backward_data_task(shape).2
}

fn backward_data(
    isa: Isa,
    shape: ConvShape,
    grad_output: &[f32],
    weights: &[f32],
    (grad_input, _): (&mut [f32], bool), // overwritten
    scratch: &mut [f32],
) {
    if grad_input.is_empty() {
        return;
    }
    let (band, images, padded_len) = backward_data_task(shape);
    let packed_len: usize = Correlation::backward_data(shape).map(|(phase, _)| phase.packed_len()).sum();
    let (packed, scratch) = scratch.split_at_mut(packed_len);
    let mut rest = &mut *packed;
    for (correlation, phase) in Correlation::backward_data(shape) {
        let (part, after) = rest.split_at_mut(correlation.packed_len());
        rest = after;
        correlation.pack(&Weights { shape, values: weights, phase: Some(phase) }, part);
    }
    let packed = &*packed;
    let line = shape.columns * shape.in_channels;
    let source_len = shape.out_rows() * shape.out_columns() * shape.out_channels;
    let workers = WorkerScratch::new(scratch, padded_len);
    let rows = shape.rows.min(band * shape.stride[0]);
    par::bands_mut(grad_input, images * shape.rows * line, images * rows * line, |group, i, grad_input| {
        workers.with(|padded| {
            let first_image = group * images;
            let images = images.min(shape.batch - first_image);
            let source = &grad_output[first_image * source_len..];
            let rows = grad_input.len() / (images * line);
            if Correlation::backward_data(shape).any(|(phase, _)| phase.depth() == 0) {
                grad_input.fill(0.0);
            }
            let mut packed = packed;
            for (correlation, _) in Correlation::backward_data(shape) {
                let (part, after) = packed.split_at(correlation.packed_len());
                packed = after;
                let out_rows = rows.saturating_sub(correlation.origin[0]).div_ceil(shape.stride[0]);
                if correlation.depth() > 0 && out_rows > 0 && correlation.out[1] > 0 {
                    let (padded, output, correlation) = (&mut *padded, &mut *grad_input, &correlation);
                    let (first, epilogue) = (i * band, Epilogue::default());
                    isa.run(Band { correlation, images, source, packed: part, padded, first, out_rows, epilogue, output });
                }
            }
        });
    });
}

