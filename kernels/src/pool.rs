//! Maximum and average over windows. A window's part outside the image does not exist for the maximum and counts as zeros for
//! the average (PyTorch's `count_include_pad=True`).
//!
//! Both backwards gather: each input pixel adds up what the windows over it give it, in the windows' order, so no two tasks
//! write the same value.

use crate::elementwise::{VECTORS, blocks};
use crate::par;
use crate::simd::{Body, Isa, Simd, zip};
use std::ops::Range;

/// Sizes are [rows, columns].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Images.
    pub batch: usize,
    /// Rows of an input image.
    pub rows: usize,
    /// Columns of an input image.
    pub columns: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// Size of a window.
    pub kernel: [usize; 2],
    /// Distance of neighbouring windows.
    pub stride: [usize; 2],
    /// How far windows reach over each edge; smaller than the kernel.
    pub padding: [usize; 2],
    /// Whether there is one more window where some pixels at the far edges would be in none: the number of strides is rounded up.
    /// The window's part outside does not exist. Of maxima only.
    pub ceil_mode: bool,
}

impl PoolShape {
    /// Rows of the output.
    pub fn out_rows(&self) -> usize {
        self.axis(0).output()
    }

    /// Columns of the output.
    pub fn out_columns(&self) -> usize {
        self.axis(1).output()
    }

    /// Values of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.rows * self.columns * self.channels
    }

    /// Values of the output, and of the argmax.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_rows() * self.out_columns() * self.channels
    }

    /// Rows of the input in the windows of a row of the output.
    pub(crate) fn window_rows(&self, row: usize) -> Range<usize> {
        self.axis(0).window(row)
    }

    fn axis(&self, axis: usize) -> Axis {
        let (kernel, stride, padding) = (self.kernel[axis], self.stride[axis], self.padding[axis]);
        Axis { input: [self.rows, self.columns][axis], kernel, stride, padding, ceil_mode: self.ceil_mode }
    }

    pub(crate) fn check(&self, input: usize, output: usize) {
        for axis in [self.axis(0), self.axis(1)] {
            assert!(axis.stride > 0 && axis.padding < axis.kernel, "no such pool: {self:?}");
            assert!(axis.input + 2 * axis.padding >= axis.kernel, "the window is larger than the image: {self:?}");
        }
        assert!(self.rows * self.columns <= u32::MAX as usize, "pixel indices exceed u32: {self:?}");
        assert_eq!(input, self.input_len(), "input length of {self:?}");
        assert_eq!(output, self.output_len(), "output length of {self:?}");
    }
}

/// Rows or columns.
#[derive(Clone, Copy)]
struct Axis {
    input: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    ceil_mode: bool,
}

impl Axis {
    fn output(self) -> usize {
        let room = self.input + 2 * self.padding - self.kernel;
        let strides = if self.ceil_mode { room.div_ceil(self.stride) } else { room / self.stride };
        // As PyTorch: no window begins beyond the image and the padding before it.
        strides + usize::from(!self.ceil_mode || strides * self.stride < self.input + self.padding)
    }

    /// Input positions in window `o`.
    #[inline(always)]
    fn window(self, o: usize) -> Range<usize> {
        let start = o * self.stride; // in the padded image
        start.saturating_sub(self.padding)..(start + self.kernel - self.padding).min(self.input)
    }

    /// Windows over input position `i`.
    #[inline(always)]
    fn covering(self, i: usize) -> Range<usize> {
        let padded = i + self.padding;
        let first = (padded + 1).saturating_sub(self.kernel).div_ceil(self.stride);
        first..(padded / self.stride + 1).min(self.output())
    }
}

/// Largest value of each window. `argmax` is its index within its image plane, row * columns + column. As PyTorch: of equal
/// values the first in scan order wins, and NaN wins over all.
pub fn max_pool(
    isa: Isa,
    shape: PoolShape,
    input: &[f32],      // (batch, rows, columns, channels)
    output: &mut [f32], // (batch, out_rows, out_columns, channels)
    argmax: &mut [u32], // as output
) {
    shape.check(input.len(), output.len());
    assert_eq!(argmax.len(), output.len(), "argmax and output of unequal lengths");
    let image = shape.rows * shape.columns * shape.channels;
    let out_rows = shape.out_rows();
    let row = (shape.out_columns() * shape.channels).max(1);
    par::chunks_mut2((output, row), (argmax, row), |i, output, argmax| {
        let input = &input[i / out_rows * image..][..image];
        isa.run(MaxRow { shape, row: i % out_rows, input, output, argmax });
    });
}

/// One row of the output.
struct MaxRow<'a> {
    shape: PoolShape,
    row: usize,
    input: &'a [f32],      // (rows, columns, channels)
    output: &'a mut [f32], // (out_columns, channels)
    argmax: &'a mut [u32], // (out_columns, channels)
}

impl Body for MaxRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PoolShape { columns, channels, .. } = self.shape;
        let rows = self.shape.axis(0).window(self.row);
        let axis = self.shape.axis(1);
        let (large, small) = blocks(channels);
        let pixels = zip(self.output.chunks_exact_mut(channels), self.argmax.chunks_exact_mut(channels));
        for (column, (output, argmax)) in zip(0.., pixels) {
            let window = Window { rows: rows.clone(), columns: axis.window(column), width: columns, channels };
            for c in large.clone() {
                window.max::<S, VECTORS>(simd, c, self.input, output, argmax);
            }
            for c in small.clone() {
                window.max::<S, 1>(simd, c, self.input, output, argmax);
            }
        }
    }
}

/// The larger of 0 and each maximum, in row `row` of the output, of an input whose rows are there from `first` on.
#[inline(always)]
pub(crate) fn max_relu_row<S: Simd>(simd: S, shape: PoolShape, row: usize, first: usize, input: &[f32], output: &mut [f32]) {
    let Range { start, end } = shape.window_rows(row);
    let axis = shape.axis(1);
    let (large, small) = blocks(shape.channels);
    for (column, output) in zip(0.., output.chunks_exact_mut(shape.channels)) {
        let columns = axis.window(column);
        let window = Window { rows: start - first..end - first, columns, width: shape.columns, channels: shape.channels };
        for c in large.clone() {
            window.max_relu::<S, VECTORS>(simd, c, input, output);
        }
        for c in small.clone() {
            window.max_relu::<S, 1>(simd, c, input, output);
        }
    }
}

/// A rectangle of pixels in an image of `width` columns.
struct Window {
    rows: Range<usize>,
    columns: Range<usize>,
    width: usize,
    channels: usize,
}

impl Window {
    /// Index of the first pixel of the window's part in `row`, and one past the last.
    #[inline(always)]
    fn line(&self, row: usize) -> Range<usize> {
        row * self.width + self.columns.start..row * self.width + self.columns.end
    }

    /// The range of the channels of `pixel` from `c` on.
    #[inline(always)]
    fn range(&self, pixel: usize, c: usize) -> Range<usize> {
        pixel * self.channels + c..(pixel + 1) * self.channels
    }

    /// Maximum and its pixel, of `V` vectors of channels from `c` on.
    #[inline(always)]
    fn max<S: Simd, const V: usize>(&self, simd: S, c: usize, input: &[f32], output: &mut [f32], argmax: &mut [u32]) {
        let mut best = [simd.splat(f32::NEG_INFINITY); V];
        let mut winner = [simd.splat_bits(self.line(self.rows.start).start as u32); V];
        for row in self.rows.clone() {
            for pixel in self.line(row) {
                let x = simd.load_block::<V>(&input[self.range(pixel, c)], 0.0);
                let me = simd.splat_bits(pixel as u32);
                for i in 0..V {
                    winner[i] = simd.select_gt_or_nan(x[i], best[i], me, winner[i]);
                    best[i] = simd.select_gt_or_nan(x[i], best[i], x[i], best[i]);
                }
            }
        }
        simd.store_block(best, &mut output[c..]);
        simd.store_bits_block(winner, &mut argmax[c..]);
    }

    /// The larger of 0 and the maximum, of `V` vectors of channels from `c` on; NaN wins, as in [`max`](Self::max).
    #[inline(always)]
    fn max_relu<S: Simd, const V: usize>(&self, simd: S, c: usize, input: &[f32], output: &mut [f32]) {
        let mut best = [simd.splat(f32::NEG_INFINITY); V];
        for row in self.rows.clone() {
            for pixel in self.line(row) {
                let x = simd.load_block::<V>(&input[self.range(pixel, c)], 0.0);
                for i in 0..V {
                    best[i] = simd.select_gt_or_nan(x[i], best[i], x[i], best[i]);
                }
            }
        }
        for best in &mut best {
            *best = simd.max(simd.splat(0.0), *best);
        }
        simd.store_block(best, &mut output[c..]);
    }

    /// Sum of the gradients of those windows that `me` won, of `V` vectors of channels from `c` on.
    #[inline(always)]
    fn won<S: Simd, const V: usize>(&self, simd: S, c: usize, me: u32, argmax: &[u32], grad: &[f32], to: &mut [f32]) {
        let (me, zero) = (simd.splat_bits(me), simd.splat(0.0));
        let mut sum = [zero; V];
        for row in self.rows.clone() {
            for pixel in self.line(row) {
                let winner = simd.load_bits_block::<V>(&argmax[self.range(pixel, c)]);
                let grad = simd.load_block::<V>(&grad[self.range(pixel, c)], 0.0);
                for i in 0..V {
                    sum[i] = simd.add(sum[i], simd.select_same_bits(winner[i], me, grad[i], zero));
                }
            }
        }
        simd.store_block(sum, &mut to[c..]);
    }

    /// Sum times `share`, of `V` vectors of channels from `c` on.
    #[inline(always)]
    fn sum<S: Simd, const V: usize>(&self, simd: S, c: usize, share: f32, from: &[f32], to: &mut [f32]) {
        let mut sum = [simd.splat(0.0); V];
        for row in self.rows.clone() {
            for pixel in self.line(row) {
                let x = simd.load_block::<V>(&from[self.range(pixel, c)], 0.0);
                for i in 0..V {
                    sum[i] = simd.add(sum[i], x[i]);
                }
            }
        }
        for sum in &mut sum {
            *sum = simd.mul(*sum, simd.splat(share));
        }
        simd.store_block(sum, &mut to[c..]);
    }
}

/// Gives each window's gradient to the pixel that won it.
pub fn max_pool_backward(
    isa: Isa,
    shape: PoolShape,
    argmax: &[u32],         // (batch, out_rows, out_columns, channels)
    grad_output: &[f32],    // as argmax
    grad_input: &mut [f32], // (batch, rows, columns, channels)
) {
    shape.check(grad_input.len(), grad_output.len());
    assert_eq!(argmax.len(), grad_output.len(), "argmax and grad_output of unequal lengths");
    gather(shape, grad_output, grad_input, |row, image, grad, grad_input| {
        let argmax = &argmax[image];
        isa.run(MaxRowBackward { shape, row, argmax, grad, grad_input });
    });
}

/// Calls `work(row, range of the image in grad_output, that image's grad_output, that row of grad_input)` for each input row.
fn gather(
    shape: PoolShape,
    grad_output: &[f32],
    grad_input: &mut [f32],
    work: impl Fn(usize, Range<usize>, &[f32], &mut [f32]) + Sync + Send,
) {
    let image = shape.out_rows() * shape.out_columns() * shape.channels;
    par::chunks_mut(grad_input, (shape.columns * shape.channels).max(1), |i, grad_input| {
        let start = i / shape.rows * image;
        work(i % shape.rows, start..start + image, &grad_output[start..start + image], grad_input);
    });
}

/// One row of the input's gradient.
struct MaxRowBackward<'a> {
    shape: PoolShape,
    row: usize,
    argmax: &'a [u32],         // (out_rows, out_columns, channels)
    grad: &'a [f32],           // (out_rows, out_columns, channels)
    grad_input: &'a mut [f32], // (columns, channels)
}

impl Body for MaxRowBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PoolShape { columns, channels, .. } = self.shape;
        let (rows, axis) = (self.shape.axis(0).covering(self.row), self.shape.axis(1));
        let width = self.shape.out_columns();
        let (large, small) = blocks(channels);
        for (column, to) in zip(0.., self.grad_input.chunks_exact_mut(channels)) {
            let windows = Window { rows: rows.clone(), columns: axis.covering(column), width, channels };
            let me = (self.row * columns + column) as u32;
            for c in large.clone() {
                windows.won::<S, VECTORS>(simd, c, me, self.argmax, self.grad, to);
            }
            for c in small.clone() {
                windows.won::<S, 1>(simd, c, me, self.argmax, self.grad, to);
            }
        }
    }
}

/// The most roundings that one term of [`average_pool`] and of its backward goes through, for bounds of their errors: the additions of a
/// window (the first, to 0, is exact), the share's own and the product with it. `rows * columns - 1 + 2`.
pub fn average_roundings(kernel: [usize; 2]) -> usize {
    kernel[0] * kernel[1] + 1
}

/// The most roundings that one gradient of [`max_pool_backward`] goes through, for bounds of its error: a pixel is in
/// `ceil(kernel / stride)` windows along each axis, whose sum begins with 0.
pub fn max_backward_roundings(kernel: [usize; 2], stride: [usize; 2]) -> usize {
    kernel[0].div_ceil(stride[0]) * kernel[1].div_ceil(stride[1]) - 1
}

/// Mean of each window; positions outside the image count as zeros.
pub fn average_pool(
    isa: Isa,
    shape: PoolShape,
    input: &[f32],      // (batch, rows, columns, channels)
    output: &mut [f32], // (batch, out_rows, out_columns, channels)
) {
    shape.check(input.len(), output.len());
    assert!(!shape.ceil_mode, "no mean of windows that reach out: {shape:?}");
    let image = shape.rows * shape.columns * shape.channels;
    let out_rows = shape.out_rows();
    par::chunks_mut(output, (shape.out_columns() * shape.channels).max(1), |i, output| {
        let input = &input[i / out_rows * image..][..image];
        let (rows, axis) = (shape.axis(0).window(i % out_rows), shape.axis(1));
        isa.run(SumWindows { shape, rows, windows: |o| axis.window(o), columns: shape.columns, from: input, to: output });
    });
}

/// Gives each pixel the mean share of every window over it.
pub fn average_pool_backward(
    isa: Isa,
    shape: PoolShape,
    grad_output: &[f32],    // (batch, out_rows, out_columns, channels)
    grad_input: &mut [f32], // (batch, rows, columns, channels)
) {
    shape.check(grad_input.len(), grad_output.len());
    assert!(!shape.ceil_mode, "no mean of windows that reach out: {shape:?}");
    let columns = shape.out_columns();
    gather(shape, grad_output, grad_input, |row, _, grad, grad_input| {
        let (rows, axis) = (shape.axis(0).covering(row), shape.axis(1));
        isa.run(SumWindows { shape, rows, windows: |i| axis.covering(i), columns, from: grad, to: grad_input });
    });
}

/// One row of `to`: each pixel the sum over `rows` and its columns `windows(column)` of `from`, over the kernel's area.
struct SumWindows<'a, W> {
    shape: PoolShape,
    rows: Range<usize>,
    windows: W,
    columns: usize,    // of `from`
    from: &'a [f32],   // (rows, columns, channels) of one image
    to: &'a mut [f32], // (columns, channels)
}

impl<W: Fn(usize) -> Range<usize>> Body for SumWindows<'_, W> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let channels = self.shape.channels;
        let share = 1.0 / (self.shape.kernel[0] * self.shape.kernel[1]) as f32;
        let (large, small) = blocks(channels);
        for (column, to) in zip(0.., self.to.chunks_exact_mut(channels)) {
            let window = Window { rows: self.rows.clone(), columns: (self.windows)(column), width: self.columns, channels };
            for c in large.clone() {
                window.sum::<S, VECTORS>(simd, c, share, self.from, to);
            }
            for c in small.clone() {
                window.sum::<S, 1>(simd, c, share, self.from, to);
            }
        }
    }
}
