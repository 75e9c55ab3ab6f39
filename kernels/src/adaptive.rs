//! Mean over windows that divide an image of any size into so many rows and columns (PyTorch's `AdaptiveAvgPool2d`).
//!
//! Window `o` of `n`, over `m` pixels, is `floor(o m / n) .. ceil((o + 1) m / n)`: where `n` does not divide `m` neighbours share a
//! pixel, and where there are fewer pixels than windows, windows repeat.

use crate::par;
use crate::simd::{Body, Isa, LANES, Simd, zip};
use std::ops::Range;

/// Sizes are [rows, columns].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdaptiveShape {
    /// Images.
    pub batch: usize,
    /// Size of an input image.
    pub size: [usize; 2],
    /// Channels of a pixel.
    pub channels: usize,
    /// Windows along rows and columns: the size of an output image.
    pub windows: [usize; 2],
}

impl AdaptiveShape {
    /// Values of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.size[0] * self.size[1] * self.channels
    }

    /// Values of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.windows[0] * self.windows[1] * self.channels
    }

    fn check(&self, input: usize, output: usize) {
        assert!(input > 0 && output > 0, "nothing to average: {self:?}");
        assert_eq!(input, self.input_len(), "input length of {self:?}");
        assert_eq!(output, self.output_len(), "output length of {self:?}");
    }
}

/// Part `k` of `n` equal parts of `0..m`, rounded outwards: the pixels of a window, and also the windows over a pixel.
fn part(k: usize, n: usize, m: usize) -> Range<usize> {
    k * m / n..((k + 1) * m).div_ceil(n)
}

/// The most roundings that one product of [`forward`] goes through, for bounds of its error: its share's own, then one with each product
/// of the largest window, in order.
pub fn forward_roundings(shape: AdaptiveShape) -> usize {
    1 + largest_part(shape.windows, shape.size)
}

/// The same of [`backward`], with the most windows over a pixel.
pub fn backward_roundings(shape: AdaptiveShape) -> usize {
    1 + largest_part(shape.size, shape.windows)
}

/// Pixels of the largest of `parts` of `size`, along both axes.
fn largest_part(parts: [usize; 2], size: [usize; 2]) -> usize {
    let largest = |axis: usize| (0..parts[axis]).map(|k| part(k, parts[axis], size[axis]).len()).max().unwrap_or(0);
    largest(0) * largest(1)
}

/// Mean of each window.
pub fn forward(
    isa: Isa,
    shape: AdaptiveShape,
    input: &[f32],      // (batch, rows, columns, channels)
    output: &mut [f32], // (batch, windows, windows, channels)
) {
    shape.check(input.len(), output.len());
    let share = |pixels: &Range<usize>, line: &Range<usize>, _: usize, _: usize| 1.0 / (pixels.len() * line.len()) as f32;
    sums(isa, shape.channels, [shape.windows, shape.size], share, input, output);
}

/// Gives each pixel its share of every window over it.
pub fn backward(
    isa: Isa,
    shape: AdaptiveShape,
    grad_output: &[f32],    // (batch, windows, windows, channels)
    grad_input: &mut [f32], // (batch, rows, columns, channels)
) {
    shape.check(grad_input.len(), grad_output.len());
    let AdaptiveShape { size, windows, .. } = shape;
    let share = |_: &Range<usize>, _: &Range<usize>, i: usize, j: usize| {
        1.0 / (part(i, windows[0], size[0]).len() * part(j, windows[1], size[1]).len()) as f32
    };
    sums(isa, shape.channels, [size, windows], share, grad_output, grad_input);
}

/// Each pixel of `to`, the sum over the pixels (i, j) of its part of `from` of `share(rows of the part, its columns, i, j)` times
/// their values.
fn sums(
    isa: Isa,
    channels: usize,
    [to_size, from_size]: [[usize; 2]; 2],
    share: impl Fn(&Range<usize>, &Range<usize>, usize, usize) -> f32 + Sync + Send,
    from: &[f32],
    to: &mut [f32],
) {
    let image = from_size[0] * from_size[1] * channels;
    par::chunks_mut(to, to_size[1] * channels, |i, to| {
        let from = &from[i / to_size[0] * image..][..image];
        let rows = part(i % to_size[0], to_size[0], from_size[0]);
        for (column, to) in to.chunks_exact_mut(channels).enumerate() {
            let columns = part(column, to_size[1], from_size[1]);
            to.fill(0.0);
            for i in rows.clone() {
                for j in columns.clone() {
                    let from = &from[(i * from_size[1] + j) * channels..][..channels];
                    isa.run(AddShare { share: share(&rows, &columns, i, j), from, to });
                }
            }
        }
    });
}

/// `to += share * from`
struct AddShare<'a> {
    share: f32,
    from: &'a [f32],
    to: &'a mut [f32],
}

impl Body for AddShare<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let share = simd.splat(self.share);
        for (to, from) in zip(self.to.chunks_mut(LANES), self.from.chunks(LANES)) {
            simd.store_part(simd.mul_add(share, simd.load_part(from, 0.0), simd.load_part(to, 0.0)), to);
        }
    }
}
