//! What hybrid attention (CBAM, Woo et al. 2018) does with pixels besides convolutions: mean and maximum over the channels of
//! each pixel, and products with a factor for each channel or for each pixel.

use crate::elementwise::{MapChunk, PixelMap, PixelSums, add_pixels, chunk_pixels, map_pixels};
use crate::par;
use crate::reduce::ReduceShape;
use crate::simd::{Body, Isa, LANES, Simd};

/// Channels must be exact in f32, which carries their indices.
const MAX_CHANNELS: usize = 1 << 24;

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

/// [`channel_stats`] of what [`scale_channels`] would give, bit for bit, without writing it and without `argmax`.
pub fn scaled_channel_stats(
    isa: Isa,
    shape: ReduceShape,
    input: &[f32],      // (batch, pixels, channels)
    factor: &[f32],     // (batch, channels)
    output: &mut [f32], // (batch, pixels, 2): mean, maximum
) {
    shape.check(&[input.len()], &[factor.len()]);
    assert_eq!(output.len(), 2 * shape.batch * shape.pixels, "output length of {shape:?}");
    let (chunk, channels) = (chunk_pixels(shape.channels), shape.channels);
    par::bands_mut(output, 2 * shape.pixels, 2 * chunk, |n, i, output| {
        let input = &input[n * shape.image_len() + i * chunk * channels..];
        isa.run(ScaledStats { channels, input, factor: &factor[n * channels..][..channels], output });
    });
}

struct ScaledStats<'a> {
    channels: usize,
    input: &'a [f32],      // (pixels of the chunk and more, channels)
    factor: &'a [f32],     // (channels)
    output: &'a mut [f32], // (pixels of the chunk, 2)
}

impl Body for ScaledStats<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let share = 1.0 / self.channels as f32;
        for (pixel, output) in self.input.chunks_exact(self.channels).zip(self.output.chunks_exact_mut(2)) {
            let mut sum = simd.splat(0.0);
            let mut best = simd.splat(f32::NEG_INFINITY);
            for (x, factor) in pixel.chunks(LANES).zip(self.factor.chunks(LANES)) {
                let (factor, lowest) = (simd.load_part(factor, 1.0), simd.load_part(x, f32::NEG_INFINITY));
                sum = simd.add(sum, simd.mul(simd.load_part(x, 0.0), factor));
                best = simd.max(simd.mul(lowest, factor), best);
            }
            let sum = simd.sum(sum);
            output[0] = sum * share;
            // As in `ChannelStats`: comparisons lose NaN. The sum of infinities of both signs is NaN as well, of no channel.
            let is_nan = sum.is_nan() && pixel.iter().zip(self.factor).any(|(x, factor)| (x * factor).is_nan());
            output[1] = if is_nan { f32::NAN } else { simd.max_lane(best) };
        }
    }
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
        let lanes = simd.load(&std::array::from_fn::<f32, LANES, _>(|lane| lane as f32));
        let far = simd.splat(MAX_CHANNELS as f32);
        let pixels = self.input.chunks_exact(self.channels).zip(self.output.chunks_exact_mut(2)).zip(self.argmax);
        for ((pixel, output), argmax) in pixels {
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
        let grads = self.grad_output.chunks_exact(2).zip(self.argmax);
        for (pixel, (grad, &winner)) in self.grad_input.chunks_exact_mut(self.channels).zip(grads) {
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
        let segment = SEGMENT.div_ceil(channels) * channels;
        let arrays = input.chunks(segment).zip(grad_output.chunks(segment));
        for (to, (input, grad)) in grad_input.chunks_mut(segment).zip(arrays) {
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
        let pixels = self.input.chunks_exact(self.channels).zip(self.factor);
        for (output, (input, &factor)) in self.output.chunks_exact_mut(self.channels).zip(pixels) {
            let factor = simd.splat(factor);
            for (output, x) in output.chunks_mut(LANES).zip(input.chunks(LANES)) {
                simd.store_part(simd.mul(simd.load_part(x, 0.0), factor), output);
            }
        }
    }
}

/// `output = max(input * channel factor * pixel factor + shortcut, 0)`: what [`scale_channels`], [`scale_pixels`] and
/// [`add_relu`](crate::elementwise::add_relu) would give, bit for bit.
pub fn scale_add_relu(
    isa: Isa,
    shape: ReduceShape,
    input: &[f32],          // (batch, pixels, channels)
    channel_factor: &[f32], // (batch, channels)
    pixel_factor: &[f32],   // (batch, pixels)
    shortcut: &[f32],       // (batch, pixels, channels)
    output: &mut [f32],     // (batch, pixels, channels)
) {
    check_pixels(shape, &[input.len(), shortcut.len(), output.len()], &[pixel_factor.len()]);
    shape.check(&[], &[channel_factor.len()]);
    let (chunk, channels) = (chunk_pixels(shape.channels), shape.channels);
    par::bands_mut(output, shape.image_len(), chunk * channels, |n, i, output| {
        let first = n * shape.pixels + i * chunk;
        let [input, shortcut] = [input, shortcut].map(|values| &values[first * channels..][..output.len()]);
        let channel_factor = &channel_factor[n * channels..][..channels];
        isa.run(ScaleAddRelu { channels, input, channel_factor, pixel_factor: &pixel_factor[first..], shortcut, output });
    });
}

struct ScaleAddRelu<'a> {
    channels: usize,
    input: &'a [f32],          // (pixels of the chunk, channels)
    channel_factor: &'a [f32], // (channels)
    pixel_factor: &'a [f32],   // (pixels of the chunk and more)
    shortcut: &'a [f32],       // (pixels of the chunk, channels)
    output: &'a mut [f32],     // (pixels of the chunk, channels)
}

impl Body for ScaleAddRelu<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let zero = simd.splat(0.0);
        let inputs = self.input.chunks_exact(self.channels).zip(self.shortcut.chunks_exact(self.channels));
        let pixels = inputs.zip(self.pixel_factor);
        for (output, ((input, shortcut), &factor)) in self.output.chunks_exact_mut(self.channels).zip(pixels) {
            let factor = simd.splat(factor);
            let values = input.chunks(LANES).zip(self.channel_factor.chunks(LANES)).zip(shortcut.chunks(LANES));
            for (output, ((x, channel), shortcut)) in output.chunks_mut(LANES).zip(values) {
                let x = simd.mul(simd.mul(simd.load_part(x, 0.0), simd.load_part(channel, 0.0)), factor);
                simd.store_part(simd.max(zero, simd.add(x, simd.load_part(shortcut, 0.0))), output);
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
        let channels = self.channels;
        let inputs = self.input.chunks_exact(channels).zip(self.grad_output.chunks_exact(channels)).zip(self.factor);
        let outputs = self.grad_input.chunks_exact_mut(channels).zip(self.grad_factor);
        for ((grad_input, grad_factor), ((input, grad), &factor)) in outputs.zip(inputs) {
            let factor = simd.splat(factor);
            let mut sum = simd.splat(0.0);
            for ((to, x), g) in grad_input.chunks_mut(LANES).zip(input.chunks(LANES)).zip(grad.chunks(LANES)) {
                let g = simd.load_part(g, 0.0);
                sum = simd.mul_add(g, simd.load_part(x, 0.0), sum);
                simd.store_part(simd.mul(g, factor), to);
            }
            *grad_factor = simd.sum(sum);
        }
    }
}
