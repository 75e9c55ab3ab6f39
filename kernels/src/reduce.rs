//! Global pooling: (batch, pixels, channels) to (batch, channels), by mean or by maximum over the pixels of an image.

use crate::elementwise::{CHUNK, PixelMap, map_pixels};
use crate::par;
use crate::simd::{Body, Isa, LANES, Simd};

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

/// Channels that one task reduces: 32 * 4 = two cache lines of each pixel, and sums that stay in registers.
const BLOCK: usize = 4 * LANES;

/// Pixels that are summed before they join the total, so that the total adds few terms.
const SEGMENT: usize = 128;

/// Mean over the pixels.
pub fn global_average(
    isa: Isa,
    shape: ReduceShape,
    input: &[f32],      // (batch, pixels, channels)
    output: &mut [f32], // (batch, channels)
) {
    shape.check(&[input.len()], &[output.len()]);
    par::chunks_mut(output, shape.channels, |n, output| {
        let input = &input[n * shape.image_len()..][..shape.image_len()];
        par::chunks_mut(output, BLOCK, |i, output| {
            isa.run(Average { shape, first: i * BLOCK, input, output });
        });
    });
}

/// The mean of some channels of one image.
struct Average<'a> {
    shape: ReduceShape,
    first: usize,
    input: &'a [f32],      // (pixels, channels)
    output: &'a mut [f32], // the channels from `first` on, at most BLOCK
}

impl Body for Average<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.output.len();
        let share = simd.splat(1.0 / self.shape.pixels as f32);
        let mut total = [simd.splat(0.0); BLOCK / LANES];
        for segment in self.input.chunks(SEGMENT * self.shape.channels) {
            let mut sum = [simd.splat(0.0); BLOCK / LANES];
            for pixel in segment.chunks_exact(self.shape.channels) {
                let pixel = &pixel[self.first..][..width];
                if let Ok(pixel) = <&[f32; BLOCK]>::try_from(pixel) {
                    for (sum, x) in sum.iter_mut().zip(pixel.chunks_exact(LANES)) {
                        *sum = simd.add(*sum, simd.load(x));
                    }
                } else {
                    for (sum, x) in sum.iter_mut().zip(pixel.chunks(LANES)) {
                        *sum = simd.add(*sum, simd.load_part(x, 0.0));
                    }
                }
            }
            for (total, sum) in total.iter_mut().zip(sum) {
                *total = simd.add(*total, sum);
            }
        }
        for (output, total) in self.output.chunks_mut(LANES).zip(total) {
            simd.store_part(simd.mul(total, share), output);
        }
    }
}

/// Each pixel gets an equal share.
pub fn global_average_backward(
    isa: Isa,
    shape: ReduceShape,
    grad_output: &[f32],    // (batch, channels)
    grad_input: &mut [f32], // (batch, pixels, channels)
) {
    shape.check(&[grad_input.len()], &[grad_output.len()]);
    let share = Share(1.0 / shape.pixels as f32);
    par::chunks_mut(grad_input, shape.image_len(), |n, grad_input| {
        let grad_output = &grad_output[n * shape.channels..][..shape.channels];
        map_pixels(isa, share, shape.channels, [], [grad_output], grad_input);
    });
}

#[derive(Clone, Copy)]
struct Share(f32);
impl PixelMap<0, 1> for Share {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, []: [S::F32; 0], [grad]: [S::F32; 1]) -> S::F32 {
        simd.mul(grad, simd.splat(self.0))
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
            isa.run(Maximum { shape, first: i * BLOCK, input, output, argmax });
        });
    });
}

/// The maximum of some channels of one image.
struct Maximum<'a> {
    shape: ReduceShape,
    first: usize,
    input: &'a [f32],      // (pixels, channels)
    output: &'a mut [f32], // the channels from `first` on, at most BLOCK
    argmax: &'a mut [u32], // as output
}

impl Body for Maximum<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.output.len();
        let mut best = [simd.splat(f32::NEG_INFINITY); BLOCK / LANES];
        let mut winner = [simd.splat_bits(0); BLOCK / LANES];
        for (p, pixel) in self.input.chunks_exact(self.shape.channels).enumerate() {
            let me = simd.splat_bits(p as u32);
            let pixel = &pixel[self.first..][..width];
            for ((best, winner), x) in best.iter_mut().zip(&mut winner).zip(pixel.chunks(LANES)) {
                let x = simd.load_part(x, f32::NEG_INFINITY);
                *winner = simd.select_gt_or_nan(x, *best, me, *winner);
                *best = simd.select_gt_or_nan(x, *best, x, *best);
            }
        }
        let outputs = self.output.chunks_mut(LANES).zip(self.argmax.chunks_mut(LANES));
        for ((output, argmax), (best, winner)) in outputs.zip(best.into_iter().zip(winner)) {
            simd.store_part(best, output);
            simd.store_bits_part(winner, argmax);
        }
    }
}

/// The winning pixel gets the whole gradient, the others none.
pub fn global_max_backward(
    _isa: Isa,
    shape: ReduceShape,
    argmax: &[u32],         // (batch, channels)
    grad_output: &[f32],    // (batch, channels)
    grad_input: &mut [f32], // (batch, pixels, channels)
) {
    shape.check(&[grad_input.len()], &[grad_output.len(), argmax.len()]);
    par::chunks_mut(grad_input, CHUNK, |_, part| part.fill(0.0));
    let images = grad_input.chunks_exact_mut(shape.image_len());
    let vectors = argmax.chunks_exact(shape.channels).zip(grad_output.chunks_exact(shape.channels));
    for (image, (argmax, grad)) in images.zip(vectors) {
        for (c, (&pixel, &grad)) in argmax.iter().zip(grad).enumerate() {
            image[pixel as usize * shape.channels + c] = grad;
        }
    }
}
