//! Both products with a factor, the shortcut's sum and ReLU in one pass.

use super::{add_block_to, check_pixels};
use crate::elementwise::{PIXELS, VECTORS, blocks, chunk_pixels};
use crate::par;
use crate::reduce::ReduceShape;
use crate::simd::{Body, Isa, Simd, zip};
use std::ops::Range;

/// `output = max(input * channel factor * pixel factor + shortcut, 0)`: what [`scale_channels`](super::scale_channels), [`scale_pixels`](super::scale_pixels) and
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
        let (large, small) = blocks(self.channels);
        let mut pixel = 0..0;
        for (output, &factor) in zip(self.output.chunks_exact_mut(self.channels), self.pixel_factor) {
            pixel = pixel.end..pixel.end + self.channels;
            let (input, shortcut) = (&self.input[pixel.clone()], &self.shortcut[pixel.clone()]);
            for c in large.clone() {
                scale_add_relu_block::<S, VECTORS>(simd, c, factor, [input, self.channel_factor, shortcut], output);
            }
            for c in small.clone() {
                scale_add_relu_block::<S, 1>(simd, c, factor, [input, self.channel_factor, shortcut], output);
            }
        }
    }
}

/// `V` vectors of a pixel's channels from `c` on.
#[inline(always)]
fn scale_add_relu_block<S: Simd, const V: usize>(
    simd: S,
    c: usize,
    factor: f32,
    [input, channel_factor, shortcut]: [&[f32]; 3],
    output: &mut [f32],
) {
    let (zero, factor) = (simd.splat(0.0), simd.splat(factor));
    let mut x = simd.load_block::<V>(&input[c..], 0.0);
    let channel = simd.load_block::<V>(&channel_factor[c..], 0.0);
    let shortcut = simd.load_block::<V>(&shortcut[c..], 0.0);
    for i in 0..V {
        x[i] = simd.max(zero, simd.add(simd.mul(simd.mul(x[i], channel[i]), factor), shortcut[i]));
    }
    simd.store_block(x, &mut output[c..]);
}

/// With `g` the gradient of the output where that is above 0, else 0: `grad_shortcut = g`,
/// `grad_input = g * channel factor * pixel factor`, and the gradient of each factor the sum of `g * input * the other factor` over
/// the pixels or the channels that it scales.
pub fn scale_add_relu_backward(
    isa: Isa,
    shape: ReduceShape,
    input: &[f32],             // (batch, pixels, channels)
    channel_factor: &[f32],    // (batch, channels)
    pixel_factor: &[f32],      // (batch, pixels)
    output: &[f32],            // (batch, pixels, channels)
    grad: &mut [f32],          // (batch, pixels, channels): of the output, which becomes that of the input
    grad_channels: &mut [f32], // (batch, channels)
    grad_pixels: &mut [f32],   // (batch, pixels)
    grad_shortcut: &mut [f32], // (batch, pixels, channels)
) {
    let arrays = [input.len(), output.len(), grad.len(), grad_shortcut.len()];
    check_pixels(shape, &arrays, &[pixel_factor.len(), grad_pixels.len()]);
    shape.check(&[], &[channel_factor.len(), grad_channels.len()]);
    let (image, channels, pixels) = (shape.image_len(), shape.channels, shape.pixels);
    let grads = [grad, grad_shortcut, grad_channels, grad_pixels];
    par::chunks_mut_each(grads, [image, image, channels, pixels], |n, [grad, grad_shortcut, grad_channels, grad_pixels]| {
        isa.run(ScaleAddReluBackward {
            channels,
            input: &input[n * image..][..image],
            channel_factor: &channel_factor[n * channels..][..channels],
            pixel_factor: &pixel_factor[n * pixels..],
            output: &output[n * image..],
            grad,
            grad_channels,
            grad_pixels,
            grad_shortcut,
        });
    });
}

/// One image.
struct ScaleAddReluBackward<'a> {
    channels: usize,
    input: &'a [f32],             // (pixels, channels)
    channel_factor: &'a [f32],    // (channels)
    pixel_factor: &'a [f32],      // (pixels) and more
    output: &'a [f32],            // (pixels, channels) and more
    grad: &'a mut [f32],          // (pixels, channels)
    grad_channels: &'a mut [f32], // (channels)
    grad_pixels: &'a mut [f32],   // (pixels)
    grad_shortcut: &'a mut [f32], // (pixels, channels)
}

impl Body for ScaleAddReluBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        self.grad_channels.fill(0.0);
        let (large, small) = blocks(self.channels);
        let pixels = self.input.len() / self.channels;
        for first in (0..pixels).step_by(PIXELS) {
            let group = first..pixels.min(first + PIXELS);
            let mut sums = [simd.splat(0.0); PIXELS];
            for c in large.clone() {
                self.block::<S, VECTORS>(simd, group.clone(), c, &mut sums);
            }
            for c in small.clone() {
                self.block::<S, 1>(simd, group.clone(), c, &mut sums);
            }
            for (grad, sum) in zip(&mut self.grad_pixels[group], sums) {
                *grad = simd.sum(sum);
            }
        }
    }
}

impl ScaleAddReluBackward<'_> {
    /// `V` vectors of channels from `c` on, of a group of pixels, of which each has a sum.
    #[inline(always)]
    fn block<S: Simd, const V: usize>(&mut self, simd: S, group: Range<usize>, c: usize, pixel_sums: &mut [S::F32; PIXELS]) {
        let zero = simd.splat(0.0);
        let channel = simd.load_block::<V>(&self.channel_factor[c..], 0.0);
        let mut sums = [zero; V];
        for (pixel, pixel_sum) in zip(group, pixel_sums) {
            let values = pixel * self.channels..(pixel + 1) * self.channels;
            let factor = simd.splat(self.pixel_factor[pixel]);
            let x = simd.load_block::<V>(&self.input[values.clone()][c..], 0.0);
            let y = simd.load_block::<V>(&self.output[values.clone()][c..], 0.0);
            let grad = &mut self.grad[values.clone()][c..];
            let mut g = simd.load_block::<V>(grad, 0.0);
            let mut scaled = [zero; V];
            for i in 0..V {
                g[i] = simd.keep_gt(y[i], zero, g[i]);
                let product = simd.mul(g[i], x[i]);
                *pixel_sum = simd.mul_add(product, channel[i], *pixel_sum);
                sums[i] = simd.mul_add(product, factor, sums[i]);
                scaled[i] = simd.mul(simd.mul(g[i], channel[i]), factor);
            }
            simd.store_block(scaled, grad);
            simd.store_block(g, &mut self.grad_shortcut[values][c..]);
        }
        add_block_to(simd, sums, &mut self.grad_channels[c..]);
    }
}
