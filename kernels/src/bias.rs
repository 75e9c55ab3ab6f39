//! The gradient of a bias: a sum over all pixels for each channel. Adding the bias itself is an
//! [`Epilogue`](crate::conv::Epilogue) of the convolution.

use crate::elementwise::{PixelSums, add_pixels, chunk_pixels, pixel_sum_roundings};
use crate::par;
use crate::simd::{Body, Isa, Simd};

/// Length of the scratch of [`backward`].
pub fn scratch_len(pixels: usize, channels: usize) -> usize {
    pixels.div_ceil(chunk_pixels(channels)) * channels
}

/// The most roundings that one term of [`backward`]'s sum goes through, for bounds of its error: those of the f32 sum of a chunk
/// of `n` pixels, in groups of 16, and the total's from f64. `(min(n, 16) + ceil(n / 16) - 1) + 1`.
pub fn backward_roundings(pixels: usize, channels: usize) -> usize {
    pixel_sum_roundings(pixels.min(chunk_pixels(channels))) + 1
}

/// `grad_bias[c] = sum over p of grad_output[p][c]`, in fixed chunks of pixels whose sums are added in f64.
pub fn backward(
    isa: Isa,
    grad_output: &[f32],   // (pixels, channels)
    grad_bias: &mut [f32], // (channels)
    scratch: &mut [f32],
) {
    let channels = grad_bias.len();
    assert!(channels > 0 && grad_output.len().is_multiple_of(channels), "grad_output is not of {channels} channels");
    let sums = &mut scratch[..scratch_len(grad_output.len() / channels, channels)];
    let chunk = chunk_pixels(channels) * channels;
    par::chunks_mut(sums, channels, |i, sum| {
        let grad = &grad_output[i * chunk..grad_output.len().min((i + 1) * chunk)];
        isa.run(ChunkSum { grad, sum });
    });
    for (c, total) in grad_bias.iter_mut().enumerate() {
        *total = sums[c..].iter().step_by(channels).map(|&sum| f64::from(sum)).sum::<f64>() as f32;
    }
}

/// The sums of one chunk.
struct ChunkSum<'a> {
    grad: &'a [f32],    // (pixels of the chunk, channels)
    sum: &'a mut [f32], // (channels)
}

impl Body for ChunkSum<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.sum.fill(0.0);
        add_pixels(simd, Values, self.sum.len(), [self.grad], [], [self.sum]);
    }
}

/// `sum g`
#[derive(Clone, Copy)]
struct Values;
impl PixelSums<1, 0, 1> for Values {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, [g]: [S::F32; 1], []: [S::F32; 0], [sum]: [S::F32; 1]) -> [S::F32; 1] {
        [simd.add(sum, g)]
    }
}
