//! Global pooling: (batch, pixels, channels) to (batch, channels), by mean or by maximum over the pixels of an image.

use crate::elementwise::{BLOCK, CHUNK, VECTORS, blocks, chunk_pixels};
use crate::par;
use crate::simd::{Body, Isa, LANES, Simd};
use std::ops::Range;

/// `pixels` is rows * columns of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReduceShape {
    /// Images.
    pub batch: usize,
    /// Pixels of one image.
    pub pixels: usize,
    /// Channels of a pixel.
    pub channels: usize,
}

impl ReduceShape {
    /// Values of the input.
    pub fn len(&self) -> usize {
        self.batch * self.pixels * self.channels
    }

    /// Whether there is nothing to reduce.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values of one image.
    pub(crate) fn image_len(&self) -> usize {
        self.pixels * self.channels
    }

    /// Asserts the lengths of (batch, pixels, channels) arrays and of (batch, channels) arrays.
    pub(crate) fn check(&self, pixels: &[usize], vectors: &[usize]) {
        assert!(!self.is_empty(), "nothing to reduce: {self:?}");
        assert!(self.pixels <= u32::MAX as usize && self.channels <= u32::MAX as usize, "indices exceed u32: {self:?}");
        assert!(pixels.iter().all(|&len| len == self.len()), "an array's length is not that of {self:?}");
        assert!(vectors.iter().all(|&len| len == self.batch * self.channels), "a vector's length is not that of {self:?}");
    }
}

/// Pixels that are summed before they join the total, so that the total adds few terms.
const SEGMENT: usize = 128;

/// The most roundings that one term of [`global_average`] goes through, for bounds of its error: 127 additions in a segment of 128
/// pixels (the first, to 0, is exact), `ceil(pixels / 128) - 1` of segments, the share's own and the product with it.
/// `min(pixels, 128) - 1 + ceil(pixels / 128) - 1 + 2`.
pub fn average_roundings(pixels: usize) -> usize {
    SEGMENT.min(pixels) + pixels.div_ceil(SEGMENT)
}

/// Mean over the pixels.
pub fn global_average(
    isa: Isa,
    shape: ReduceShape,
    input: &[f32],      // (batch, pixels, channels)
    output: &mut [f32], // (batch, channels)
) {
    shape.check(&[input.len()], &[output.len()]);
    par::bands_mut(output, shape.channels, BLOCK, |n, i, output| {
        let input = &input[n * shape.image_len()..][..shape.image_len()];
        let channels = i * BLOCK..i * BLOCK + output.len();
        isa.run(Reduce::<true, false, false> { shape, channels, input, means: output, maxima: &mut [], argmax: &mut [] });
    });
}

/// Mean, maximum or argmax of some channels of one image, as the constants say; the slices of what is not asked for are empty.
struct Reduce<'a, const MEAN: bool, const MAX: bool, const ARGMAX: bool> {
    shape: ReduceShape,
    channels: Range<usize>, // at most BLOCK
    input: &'a [f32],       // (pixels, channels of the shape)
    means: &'a mut [f32],   // (channels)
    maxima: &'a mut [f32],  // (channels)
    argmax: &'a mut [u32],  // (channels)
}

impl<const MEAN: bool, const MAX: bool, const ARGMAX: bool> Body for Reduce<'_, MEAN, MAX, ARGMAX> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (large, small) = blocks(self.channels.len());
        for c in large {
            self.block::<S, VECTORS>(simd, c);
        }
        for c in small {
            self.block::<S, 1>(simd, c);
        }
    }
}

impl<const MEAN: bool, const MAX: bool, const ARGMAX: bool> Reduce<'_, MEAN, MAX, ARGMAX> {
    /// `V` vectors from the c-th of the channels on.
    #[inline(always)]
    fn block<S: Simd, const V: usize>(&mut self, simd: S, c: usize) {
        let channels = self.channels.start + c..self.channels.end;
        let mut total = [simd.splat(0.0); V];
        let mut best = [simd.splat(f32::NEG_INFINITY); V];
        let mut winner = [simd.splat_bits(0); V];
        let mut p = 0;
        for segment in self.input.chunks(SEGMENT * self.shape.channels) {
            let mut sum = [simd.splat(0.0); V];
            for pixel in segment.chunks_exact(self.shape.channels) {
                let x = simd.load_block::<V>(&pixel[channels.clone()], 0.0);
                let me = simd.splat_bits(p);
                for i in 0..V {
                    if MEAN {
                        sum[i] = simd.add(sum[i], x[i]);
                    }
                    if ARGMAX {
                        winner[i] = simd.select_gt_or_nan(x[i], best[i], me, winner[i]);
                    }
                    if MAX {
                        best[i] = simd.select_gt_or_nan(x[i], best[i], x[i], best[i]);
                    }
                }
                p += 1;
            }
            if MEAN {
                for i in 0..V {
                    total[i] = simd.add(total[i], sum[i]);
                }
            }
        }
        if MEAN {
            let share = simd.splat(1.0 / self.shape.pixels as f32);
            for i in 0..V {
                total[i] = simd.mul(total[i], share);
            }
            simd.store_block(total, &mut self.means[c..]);
        }
        if MAX {
            simd.store_block(best, &mut self.maxima[c..]);
        }
        if ARGMAX {
            simd.store_bits_block(winner, &mut self.argmax[c..]);
        }
    }
}

/// Each pixel gets an equal share.
pub fn global_average_backward(
    isa: Isa,
    shape: ReduceShape,
    grad_output: &[f32],    // (batch, channels)
    grad_input: &mut [f32], // (batch, pixels, channels)
    add: bool,              // to what grad_input holds
) {
    shape.check(&[grad_input.len()], &[grad_output.len()]);
    let (chunk, share) = (chunk_pixels(shape.channels) * shape.channels, 1.0 / shape.pixels as f32);
    par::bands_mut(grad_input, shape.image_len(), chunk, |n, _, grad_input| {
        let grad_output = &grad_output[n * shape.channels..][..shape.channels];
        isa.run(Shares { share, grad_output, grad_input, add });
    });
}

/// The pixels of a chunk get a share of a vector.
struct Shares<'a> {
    share: f32,
    grad_output: &'a [f32],    // (channels)
    grad_input: &'a mut [f32], // (pixels, channels)
    add: bool,
}

impl Body for Shares<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let share = simd.splat(self.share);
        for pixel in self.grad_input.chunks_exact_mut(self.grad_output.len()) {
            for c in (0..self.grad_output.len()).step_by(LANES) {
                let (x, grad) = (&mut pixel[c..], simd.mul(simd.load_part(&self.grad_output[c..], 0.0), share));
                simd.store_part(if self.add { simd.add(simd.load_part(x, 0.0), grad) } else { grad }, x);
            }
        }
    }
}

/// Largest value over the pixels, and which pixel has it: the first of equal ones; NaN wins over all.
pub fn global_max(
    isa: Isa,
    shape: ReduceShape,
    input: &[f32],      // (batch, pixels, channels)
    output: &mut [f32], // (batch, channels)
    argmax: &mut [u32], // (batch, channels)
) {
    shape.check(&[input.len()], &[output.len(), argmax.len()]);
    par::chunks_mut2((output, shape.channels), (argmax, shape.channels), |n, output, argmax| {
        let input = &input[n * shape.image_len()..][..shape.image_len()];
        par::chunks_mut2((output, BLOCK), (argmax, BLOCK), |i, output, argmax| {
            let channels = i * BLOCK..i * BLOCK + output.len();
            isa.run(Reduce::<false, true, true> { shape, channels, input, means: &mut [], maxima: output, argmax });
        });
    });
}

/// Mean and largest value over the pixels, in one pass: the bits of [`global_average`] and of [`global_max`].
pub fn global_stats(
    isa: Isa,
    shape: ReduceShape,
    input: &[f32],      // (batch, pixels, channels)
    output: &mut [f32], // (2, batch, channels): means, maxima
) {
    assert_eq!(output.len(), 2 * shape.batch * shape.channels, "output length of {shape:?}");
    let (means, maxima) = output.split_at_mut(shape.batch * shape.channels);
    shape.check(&[input.len()], &[means.len()]);
    par::chunks_mut2((means, shape.channels), (maxima, shape.channels), |n, means, maxima| {
        let input = &input[n * shape.image_len()..][..shape.image_len()];
        par::chunks_mut2((means, BLOCK), (maxima, BLOCK), |i, means, maxima| {
            let channels = i * BLOCK..i * BLOCK + means.len();
            isa.run(Reduce::<true, true, false> { shape, channels, input, means, maxima, argmax: &mut [] });
        });
    });
}

/// The winning pixel gets the whole gradient, the others none.
pub fn global_max_backward(
    _isa: Isa,
    shape: ReduceShape,
    argmax: &[u32],         // (batch, channels)
    grad_output: &[f32],    // (batch, channels)
    grad_input: &mut [f32], // (batch, pixels, channels)
    add: bool,              // to what grad_input holds
) {
    shape.check(&[grad_input.len()], &[grad_output.len(), argmax.len()]);
    if !add {
        par::chunks_mut(grad_input, CHUNK, |_, part| part.fill(0.0));
    }
    par::chunks_mut(grad_input, shape.image_len(), |n, image| {
        let vectors = n * shape.channels..(n + 1) * shape.channels;
        for (c, (&pixel, &grad)) in argmax[vectors.clone()].iter().zip(&grad_output[vectors]).enumerate() {
            image[pixel as usize * shape.channels + c] += grad;
        }
    });
}
