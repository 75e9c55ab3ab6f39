//! What hybrid attention (CBAM, Woo et al. 2018) does with pixels besides convolutions: mean and maximum over the channels of
//! each pixel, and products with a factor for each channel or for each pixel.

mod scale_add_relu;

pub use scale_add_relu::{scale_add_relu, scale_add_relu_backward};

use crate::elementwise::{self, MapChunk, PIXELS, PixelMap, PixelSums, VECTORS, add_pixels, blocks, chunk_pixels, map_pixels};
use crate::par;
use crate::reduce::ReduceShape;
use crate::simd::{Body, Isa, LANES, Simd, zip};
use std::ops::Range;

/// Channels must be exact in f32, which carries their indices.
const MAX_CHANNELS: usize = 1 << 24;

/// The most roundings that one product of a sum over the channels of a pixel goes through, for bounds of the errors of
/// [`scale_pixels_backward`] and [`scale_add_relu_backward`]: its own and those of the sum of its lane, `ceil(channels / 8)`, and 3 of
/// the eight lanes in pairs.
pub fn channel_sum_roundings(channels: usize) -> usize {
    channels.div_ceil(LANES) + LANES.ilog2() as usize
}

/// The same of the mean in [`channel_stats`], whose terms are no products, so that the first addition, to 0, is exact; and 2 of the
/// share and the product with it. `ceil(channels / 8) - 1 + 3 + 2`.
pub fn channel_mean_roundings(channels: usize) -> usize {
    channel_sum_roundings(channels) + 1
}

/// The most roundings that one product of a sum over the pixels of an image goes through, for bounds of the errors of
/// [`scaled_channel_stats_backward`] and [`scale_add_relu_backward`]: its own and those of its group of 16 pixels, and of
/// the groups. `min(pixels, 16) + ceil(pixels / 16) - 1`.
pub fn pixel_sum_roundings(pixels: usize) -> usize {
    elementwise::pixel_sum_roundings(pixels)
}

/// The same of [`scale_channels_backward`], which sums segments of `s = ceil(2048 / channels)` pixels, each in groups of 16 or fewer:
/// `min(pixels, s, 16)`, and the groups of all segments but one.
pub fn scale_channels_sum_roundings(pixels: usize, channels: usize) -> usize {
    let segment = segment_pixels(channels);
    let groups = pixels / segment * segment.div_ceil(PIXELS) + (pixels % segment).div_ceil(PIXELS);
    (PIXELS.min(segment).min(pixels) + groups).saturating_sub(1)
}

/// Mean and maximum over the channels of each pixel. `argmax` is the channel of the maximum: the first of equal ones; NaN wins
/// over all.
pub fn channel_stats(
    isa: Isa,
    shape: ReduceShape,
    input: &[f32],      // (batch, pixels, channels)
    output: &mut [f32], // (batch, pixels, 2): mean, maximum
    argmax: &mut [u32], // (batch, pixels)
) {
    let pixels = check_pixels(shape, &[input.len()], &[argmax.len()]);
    assert_eq!(output.len(), 2 * pixels, "output length of {shape:?}");
    assert!(shape.channels <= MAX_CHANNELS, "too many channels: {shape:?}");
    let (chunk, channels) = (chunk_pixels(shape.channels), shape.channels);
    par::chunks_mut2((output, 2 * chunk), (argmax, chunk), |i, output, argmax| {
        let input = &input[i * chunk * channels..][..argmax.len() * channels];
        isa.run(ChannelStats { channels, input, output, argmax });
    });
}

/// [`channel_stats`] of what [`scale_channels`] would give, bit for bit, without writing it. `argmax` may be empty where nobody
/// asks.
pub fn scaled_channel_stats(
    isa: Isa,
    shape: ReduceShape,
    input: &[f32],      // (batch, pixels, channels)
    factor: &[f32],     // (batch, channels)
    output: &mut [f32], // (batch, pixels, 2): mean, maximum
    argmax: &mut [u32], // (batch, pixels) or empty
) {
    let pixels = check_pixels(shape, &[input.len()], &[]);
    shape.check(&[], &[factor.len()]);
    assert_eq!(output.len(), 2 * pixels, "output length of {shape:?}");
    assert!(argmax.is_empty() || argmax.len() == pixels, "argmax length of {shape:?}");
    assert!(shape.channels <= MAX_CHANNELS, "too many channels: {shape:?}");
    let (chunk, channels) = (chunk_pixels(shape.channels), shape.channels);
    let chunk_of =
        |n: usize, i: usize| (&input[n * shape.image_len() + i * chunk * channels..], &factor[n * channels..][..channels]);
    if argmax.is_empty() {
        par::bands_mut(output, 2 * shape.pixels, 2 * chunk, |n, i, output| {
            let (input, factor) = chunk_of(n, i);
            isa.run(ScaledStats::<false> { channels, input, factor, output, argmax: &mut [] });
        });
        return;
    }
    par::chunks_mut2((output, 2 * shape.pixels), (argmax, shape.pixels), |n, output, argmax| {
        par::chunks_mut2((output, 2 * chunk), (argmax, chunk), |i, output, argmax| {
            let (input, factor) = chunk_of(n, i);
            isa.run(ScaledStats::<true> { channels, input, factor, output, argmax });
        });
    });
}

/// With or without the argmax.
struct ScaledStats<'a, const ARGMAX: bool> {
    channels: usize,
    input: &'a [f32],      // (pixels of the chunk and more, channels)
    factor: &'a [f32],     // (channels)
    output: &'a mut [f32], // (pixels of the chunk, 2)
    argmax: &'a mut [u32], // (pixels of the chunk) or empty
}

impl<const ARGMAX: bool> Body for ScaledStats<'_, ARGMAX> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let share = 1.0 / self.channels as f32;
        let (lanes, far) = (lane_indices(simd), simd.splat(MAX_CHANNELS as f32));
        let pixels = zip(self.input.chunks_exact(self.channels), self.output.chunks_exact_mut(2));
        for (i, (pixel, output)) in zip(0.., pixels) {
            let mut sum = simd.splat(0.0);
            let mut best = simd.splat(f32::NEG_INFINITY);
            let (mut me, mut winner) = (lanes, lanes);
            for (x, factor) in zip(pixel.chunks(LANES), self.factor.chunks(LANES)) {
                let (factor, lowest) = (simd.load_part(factor, 1.0), simd.load_part(x, f32::NEG_INFINITY));
                sum = simd.add(sum, simd.mul(simd.load_part(x, 0.0), factor));
                let product = simd.mul(lowest, factor);
                if ARGMAX {
                    winner = simd.select_gt(product, best, me, winner);
                    me = simd.add(me, simd.splat(LANES as f32));
                }
                best = simd.max(product, best);
            }
            let sum = simd.sum(sum);
            output[0] = sum * share;
            output[1] = simd.max_lane(best);
            if ARGMAX {
                self.argmax[i] = simd.min_lane(simd.select_gt(simd.splat(output[1]), best, far, winner)) as u32;
            }
            // As in `ChannelStats`: comparisons lose NaN. The sum of infinities of both signs is NaN as well, of no channel.
            if sum.is_nan()
                && let Some(channel) = pixel.iter().zip(self.factor).position(|(x, factor)| (x * factor).is_nan())
            {
                output[1] = f32::NAN;
                if ARGMAX {
                    self.argmax[i] = channel as u32;
                }
            }
        }
    }
}

/// The indices of the lanes.
#[inline(always)]
fn lane_indices<S: Simd>(simd: S) -> S::F32 {
    let mut indices = [0.0; LANES];
    for lane in 0..LANES {
        indices[lane] = lane as f32;
    }
    simd.load(&indices)
}

/// With `g = grad_mean / channels`, and the maximum's gradient on top for the winning channel: `grad_input = g * factor`,
/// `grad_factor = sum over pixels of g * input`.
pub fn scaled_channel_stats_backward(
    isa: Isa,
    shape: ReduceShape,
    input: &[f32],           // (batch, pixels, channels)
    factor: &[f32],          // (batch, channels)
    argmax: &[u32],          // (batch, pixels)
    grad_output: &[f32],     // (batch, pixels, 2)
    grad_input: &mut [f32],  // (batch, pixels, channels)
    grad_factor: &mut [f32], // (batch, channels)
    add: bool,               // to what grad_input holds
) {
    let pixels = check_pixels(shape, &[input.len(), grad_input.len()], &[argmax.len()]);
    shape.check(&[], &[factor.len(), grad_factor.len()]);
    assert_eq!(grad_output.len(), 2 * pixels, "grad_output length of {shape:?}");
    let (image, channels) = (shape.image_len(), shape.channels);
    par::chunks_mut2((grad_input, image), (grad_factor, channels), |n, grad_input, grad_factor| {
        let (input, factor) = (&input[n * image..][..image], &factor[n * channels..][..channels]);
        let (argmax, grad_output) = (&argmax[n * shape.pixels..], &grad_output[2 * n * shape.pixels..]);
        let body = ScaledStatsBackward { channels, input, factor, argmax, grad_output, grad_input, grad_factor, add };
        isa.run(body);
    });
}

/// One image.
struct ScaledStatsBackward<'a> {
    channels: usize,
    input: &'a [f32],           // (pixels, channels)
    factor: &'a [f32],          // (channels)
    argmax: &'a [u32],          // (pixels) and more
    grad_output: &'a [f32],     // (pixels, 2) and more
    grad_input: &'a mut [f32],  // (pixels, channels)
    grad_factor: &'a mut [f32], // (channels)
    add: bool,
}

impl Body for ScaledStatsBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        self.grad_factor.fill(0.0);
        let (large, small) = blocks(self.channels);
        let pixels = self.input.len() / self.channels;
        for first in (0..pixels).step_by(PIXELS) {
            let group = first..pixels.min(first + PIXELS);
            for c in large.clone() {
                self.block::<S, VECTORS>(simd, group.clone(), c);
            }
            for c in small.clone() {
                self.block::<S, 1>(simd, group.clone(), c);
            }
        }
    }
}

impl ScaledStatsBackward<'_> {
    /// `V` vectors of channels from `c` on, of a group of pixels.
    #[inline(always)]
    fn block<S: Simd, const V: usize>(&mut self, simd: S, group: Range<usize>, c: usize) {
        let share = 1.0 / self.channels as f32;
        let factor = simd.load_block::<V>(&self.factor[c..], 0.0);
        let mut sums = [simd.splat(0.0); V];
        let mut me = [lane_indices(simd); V];
        for i in 0..V {
            me[i] = simd.add(me[i], simd.splat((c + i * LANES) as f32));
        }
        for pixel in group {
            let equal = self.grad_output[2 * pixel] * share;
            let both = simd.splat(equal + self.grad_output[2 * pixel + 1]);
            let (equal, winner) = (simd.splat(equal), simd.splat(self.argmax[pixel] as f32));
            let x = simd.load_block::<V>(&self.input[pixel * self.channels..][..self.channels][c..], 0.0);
            let target = &mut self.grad_input[pixel * self.channels..][..self.channels][c..];
            let before = if self.add { simd.load_block::<V>(target, 0.0) } else { [simd.splat(0.0); V] };
            let mut grad = [simd.splat(0.0); V];
            for i in 0..V {
                let g = simd.select_same_bits(me[i], winner, both, equal);
                sums[i] = simd.mul_add(g, x[i], sums[i]);
                grad[i] = simd.mul(g, factor[i]);
                if self.add {
                    grad[i] = simd.add(before[i], grad[i]);
                }
            }
            simd.store_block(grad, target);
        }
        add_block_to(simd, sums, &mut self.grad_factor[c..]);
    }
}

/// `target += block`
#[inline(always)]
fn add_block_to<S: Simd, const V: usize>(simd: S, block: [S::F32; V], target: &mut [f32]) {
    let mut sum = simd.load_block::<V>(target, 0.0);
    for i in 0..V {
        sum[i] = simd.add(sum[i], block[i]);
    }
    simd.store_block(sum, target);
}

/// Asserts the lengths of (batch, pixels, channels) and (batch, pixels) arrays; returns batch * pixels.
fn check_pixels(shape: ReduceShape, arrays: &[usize], maps: &[usize]) -> usize {
    shape.check(arrays, &[]);
    let pixels = shape.batch * shape.pixels;
    assert!(maps.iter().all(|&len| len == pixels), "a map's length is not that of {shape:?}");
    pixels
}

struct ChannelStats<'a> {
    channels: usize,
    input: &'a [f32],      // (pixels of the chunk, channels)
    output: &'a mut [f32], // (pixels of the chunk, 2)
    argmax: &'a mut [u32], // (pixels of the chunk)
}

impl Body for ChannelStats<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let share = 1.0 / self.channels as f32;
        let (lanes, far) = (lane_indices(simd), simd.splat(MAX_CHANNELS as f32));
        let pixels = zip(self.input.chunks_exact(self.channels), self.output.chunks_exact_mut(2));
        for ((pixel, output), argmax) in zip(pixels, self.argmax) {
            let mut sum = simd.splat(0.0);
            let mut best = simd.splat(f32::NEG_INFINITY);
            let (mut me, mut winner) = (lanes, lanes);
            for x in pixel.chunks(LANES) {
                sum = simd.add(sum, simd.load_part(x, 0.0));
                let x = simd.load_part(x, f32::NEG_INFINITY);
                winner = simd.select_gt(x, best, me, winner);
                best = simd.max(x, best);
                me = simd.add(me, simd.splat(LANES as f32));
            }
            let sum = simd.sum(sum);
            output[0] = sum * share;
            output[1] = simd.max_lane(best);
            *argmax = simd.min_lane(simd.select_gt(simd.splat(output[1]), best, far, winner)) as u32;
            // Only where the sum is NaN a channel may be, which the comparisons above lose.
            if sum.is_nan()
                && let Some(channel) = pixel.iter().position(|x| x.is_nan())
            {
                (output[1], *argmax) = (f32::NAN, channel as u32);
            }
        }
    }
}

/// Each channel gets an equal share of the mean's gradient, the winning channel the maximum's on top.
pub fn channel_stats_backward(
    isa: Isa,
    shape: ReduceShape,
    argmax: &[u32],         // (batch, pixels)
    grad_output: &[f32],    // (batch, pixels, 2)
    grad_input: &mut [f32], // (batch, pixels, channels)
    add: bool,              // to what grad_input holds
) {
    let pixels = check_pixels(shape, &[grad_input.len()], &[argmax.len()]);
    assert_eq!(grad_output.len(), 2 * pixels, "grad_output length of {shape:?}");
    let (chunk, channels) = (chunk_pixels(shape.channels), shape.channels);
    par::chunks_mut(grad_input, chunk * channels, |i, grad_input| {
        let (argmax, grad_output) = (&argmax[i * chunk..], &grad_output[i * chunk * 2..]);
        isa.run(ChannelStatsBackward { channels, argmax, grad_output, grad_input, add });
    });
}

struct ChannelStatsBackward<'a> {
    channels: usize,
    argmax: &'a [u32],         // (pixels of the chunk)
    grad_output: &'a [f32],    // (pixels of the chunk, 2)
    grad_input: &'a mut [f32], // (pixels of the chunk, channels)
    add: bool,
}

impl Body for ChannelStatsBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let share = 1.0 / self.channels as f32;
        let grads = zip(self.grad_output.chunks_exact(2), self.argmax);
        for (pixel, (grad, &winner)) in zip(self.grad_input.chunks_exact_mut(self.channels), grads) {
            let equal = grad[0] * share;
            let before = if self.add { pixel[winner as usize] } else { 0.0 };
            let vector = simd.splat(equal);
            for x in pixel.chunks_mut(LANES) {
                simd.store_part(if self.add { simd.add(simd.load_part(x, 0.0), vector) } else { vector }, x);
            }
            pixel[winner as usize] = before + (equal + grad[1]);
        }
    }
}

/// `output[n][p][c] = input[n][p][c] * factor[n][c]`
pub fn scale_channels(
    isa: Isa,
    shape: ReduceShape,
    input: &[f32],      // (batch, pixels, channels)
    factor: &[f32],     // (batch, channels)
    output: &mut [f32], // (batch, pixels, channels)
) {
    shape.check(&[input.len(), output.len()], &[factor.len()]);
    par::chunks_mut(output, shape.image_len(), |n, output| {
        let factor = &factor[n * shape.channels..][..shape.channels];
        map_pixels(isa, Scale, shape.channels, [&input[n * shape.image_len()..][..shape.image_len()]], [factor], output);
    });
}

#[derive(Clone, Copy)]
struct Scale;
impl PixelMap<1, 1> for Scale {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [x]: [S::F32; 1], [factor]: [S::F32; 1]) -> S::F32 {
        simd.mul(x, factor)
    }
}

/// `grad_input = grad_output * factor`, `grad_factor = sum over pixels of grad_output * input`.
pub fn scale_channels_backward(
    isa: Isa,
    shape: ReduceShape,
    input: &[f32],           // (batch, pixels, channels)
    factor: &[f32],          // (batch, channels)
    grad_output: &[f32],     // (batch, pixels, channels)
    grad_input: &mut [f32],  // (batch, pixels, channels)
    grad_factor: &mut [f32], // (batch, channels)
) {
    shape.check(&[input.len(), grad_output.len(), grad_input.len()], &[factor.len(), grad_factor.len()]);
    let (image, channels) = (shape.image_len(), shape.channels);
    par::chunks_mut2((grad_input, image), (grad_factor, channels), |n, grad_input, grad_factor| {
        let (input, grad_output) = (&input[n * image..][..image], &grad_output[n * image..][..image]);
        let factor = &factor[n * channels..][..channels];
        isa.run(ScaleChannelsBackward { channels, input, factor, grad_output, grad_input, grad_factor });
    });
}

/// Values of which the products are summed before the gradient is written: 2048 * 4 = 8 KB of each array, still in the L1 cache
/// for the second pass.
const SEGMENT: usize = 1 << 11;

/// Pixels of a segment.
fn segment_pixels(channels: usize) -> usize {
    SEGMENT.div_ceil(channels.max(1))
}

/// One image.
struct ScaleChannelsBackward<'a> {
    channels: usize,
    input: &'a [f32],           // (pixels, channels)
    factor: &'a [f32],          // (channels)
    grad_output: &'a [f32],     // (pixels, channels)
    grad_input: &'a mut [f32],  // (pixels, channels)
    grad_factor: &'a mut [f32], // (channels)
}

impl Body for ScaleChannelsBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let ScaleChannelsBackward { channels, input, factor, grad_output, grad_input, grad_factor } = self;
        grad_factor.fill(0.0);
        let segment = segment_pixels(channels) * channels;
        let arrays = zip(input.chunks(segment), grad_output.chunks(segment));
        for (to, (input, grad)) in zip(grad_input.chunks_mut(segment), arrays) {
            add_pixels(simd, Products, channels, [input, grad], [], [&mut *grad_factor]);
            MapChunk { function: Scale, channels, inputs: [grad], vectors: [factor], output: to }.run(simd);
        }
    }
}

/// `sum g x`
#[derive(Clone, Copy)]
struct Products;
impl PixelSums<2, 0, 1> for Products {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, [x, g]: [S::F32; 2], []: [S::F32; 0], [sum]: [S::F32; 1]) -> [S::F32; 1] {
        [simd.mul_add(g, x, sum)]
    }
}

/// `output[n][p][c] = input[n][p][c] * factor[n][p]`
pub fn scale_pixels(
    isa: Isa,
    shape: ReduceShape,
    input: &[f32],      // (batch, pixels, channels)
    factor: &[f32],     // (batch, pixels)
    output: &mut [f32], // (batch, pixels, channels)
) {
    check_pixels(shape, &[input.len(), output.len()], &[factor.len()]);
    let (chunk, channels) = (chunk_pixels(shape.channels), shape.channels);
    par::chunks_mut(output, chunk * channels, |i, output| {
        isa.run(ScalePixels { channels, input: &input[i * chunk * channels..], factor: &factor[i * chunk..], output });
    });
}

struct ScalePixels<'a> {
    channels: usize,
    input: &'a [f32],      // (pixels of the chunk, channels)
    factor: &'a [f32],     // (pixels of the chunk)
    output: &'a mut [f32], // (pixels of the chunk, channels)
}

impl Body for ScalePixels<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let pixels = zip(self.input.chunks_exact(self.channels), self.factor);
        for (output, (input, &factor)) in zip(self.output.chunks_exact_mut(self.channels), pixels) {
            let factor = simd.splat(factor);
            for c in (0..self.channels).step_by(LANES) {
                simd.store_part(simd.mul(simd.load_part(&input[c..], 0.0), factor), &mut output[c..]);
            }
        }
    }
}

/// `grad_input = grad_output * factor`, `grad_factor = sum over channels of grad_output * input`.
pub fn scale_pixels_backward(
    isa: Isa,
    shape: ReduceShape,
    input: &[f32],           // (batch, pixels, channels)
    factor: &[f32],          // (batch, pixels)
    grad_output: &[f32],     // (batch, pixels, channels)
    grad_input: &mut [f32],  // (batch, pixels, channels)
    grad_factor: &mut [f32], // (batch, pixels)
) {
    check_pixels(shape, &[input.len(), grad_output.len(), grad_input.len()], &[factor.len(), grad_factor.len()]);
    let (chunk, channels) = (chunk_pixels(shape.channels), shape.channels);
    par::chunks_mut2((grad_input, chunk * channels), (grad_factor, chunk), |i, grad_input, grad_factor| {
        let (input, grad_output) = (&input[i * chunk * channels..], &grad_output[i * chunk * channels..]);
        let factor = &factor[i * chunk..];
        isa.run(ScalePixelsBackward { channels, input, factor, grad_output, grad_input, grad_factor });
    });
}

struct ScalePixelsBackward<'a> {
    channels: usize,
    input: &'a [f32],           // (pixels of the chunk, channels)
    factor: &'a [f32],          // (pixels of the chunk)
    grad_output: &'a [f32],     // (pixels of the chunk, channels)
    grad_input: &'a mut [f32],  // (pixels of the chunk, channels)
    grad_factor: &'a mut [f32], // (pixels of the chunk)
}

impl Body for ScalePixelsBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (large, small) = blocks(self.channels);
        let mut pixel = 0..0;
        for (grad_factor, &factor) in zip(self.grad_factor, self.factor) {
            pixel = pixel.end..pixel.end + self.channels;
            let (input, grad) = (&self.input[pixel.clone()], &self.grad_output[pixel.clone()]);
            let grad_input = &mut self.grad_input[pixel.clone()];
            let mut sum = simd.splat(0.0);
            for c in large.clone() {
                sum = scale_pixel_backward::<S, VECTORS>(simd, c, factor, [input, grad], grad_input, sum);
            }
            for c in small.clone() {
                sum = scale_pixel_backward::<S, 1>(simd, c, factor, [input, grad], grad_input, sum);
            }
            *grad_factor = simd.sum(sum);
        }
    }
}

/// `V` vectors of a pixel's channels from `c` on; returns the sum with their products.
#[inline(always)]
fn scale_pixel_backward<S: Simd, const V: usize>(
    simd: S,
    c: usize,
    factor: f32,
    [input, grad]: [&[f32]; 2],
    grad_input: &mut [f32],
    mut sum: S::F32,
) -> S::F32 {
    let factor = simd.splat(factor);
    let x = simd.load_block::<V>(&input[c..], 0.0);
    let mut g = simd.load_block::<V>(&grad[c..], 0.0);
    for i in 0..V {
        sum = simd.mul_add(g[i], x[i], sum);
        g[i] = simd.mul(g[i], factor);
    }
    simd.store_block(g, &mut grad_input[c..]);
    sum
}
