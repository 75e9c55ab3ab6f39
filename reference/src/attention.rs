//! Mean and maximum over channels, and products with a factor for each channel or pixel, as nested loops.

use crate::elementwise;
use crate::reduce::{Place, ReduceShape};

/// `y[n, p] = (sum over c of x[n, p, c] / channels, max over c of x[n, p, c])`, and the first channel that has the maximum; NaN is above all.
pub fn channel_stats(shape: ReduceShape, input: &[f64]) -> (Vec<f64>, Vec<u32>) {
    let pixels = shape.batch * shape.pixels;
    let (mut output, mut argmax) = (vec![0.0; 2 * pixels], vec![0; pixels]);
    shape.each(|Place { x, pixel, c, .. }| {
        output[2 * pixel] += input[x] / shape.channels as f64;
        let best = output[2 * pixel + 1];
        if c == 0 || input[x] > best || (input[x].is_nan() && !best.is_nan()) {
            (output[2 * pixel + 1], argmax[pixel]) = (input[x], c as u32);
        }
    });
    (output, argmax)
}

/// `grad_x[n, p, c] = g[n, p, 0] / channels`, plus `g[n, p, 1]` for the winning channel.
pub fn channel_stats_backward(shape: ReduceShape, argmax: &[u32], grad_output: &[f64]) -> Vec<f64> {
    let mut grad_input = vec![0.0; shape.len()];
    shape.each(|Place { x, pixel, c, .. }| {
        grad_input[x] = grad_output[2 * pixel] / shape.channels as f64;
        if argmax[pixel] == c as u32 {
            grad_input[x] += grad_output[2 * pixel + 1];
        }
    });
    grad_input
}

/// `y[n, p, c] = x[n, p, c] f[n, c]`
pub fn scale_channels(shape: ReduceShape, input: &[f64], factor: &[f64]) -> Vec<f64> {
    let mut output = vec![0.0; shape.len()];
    shape.each(|Place { x, vector, .. }| output[x] = input[x] * factor[vector]);
    output
}

/// `grad_x[n, p, c] = g[n, p, c] f[n, c]`, `grad_f[n, c] = sum over p of g[n, p, c] x[n, p, c]`
pub fn scale_channels_backward(shape: ReduceShape, input: &[f64], factor: &[f64], grad_output: &[f64]) -> [Vec<f64>; 2] {
    let (mut grad_input, mut grad_factor) = (vec![0.0; shape.len()], vec![0.0; factor.len()]);
    shape.each(|Place { x, vector, .. }| {
        grad_input[x] = grad_output[x] * factor[vector];
        grad_factor[vector] += grad_output[x] * input[x];
    });
    [grad_input, grad_factor]
}

/// `y[n, p, c] = x[n, p, c] f[n, p]`
pub fn scale_pixels(shape: ReduceShape, input: &[f64], factor: &[f64]) -> Vec<f64> {
    let mut output = vec![0.0; shape.len()];
    shape.each(|Place { x, pixel, .. }| output[x] = input[x] * factor[pixel]);
    output
}

/// `grad_x[n, p, c] = g[n, p, c] f[n, p]`, `grad_f[n, p] = sum over c of g[n, p, c] x[n, p, c]`
pub fn scale_pixels_backward(shape: ReduceShape, input: &[f64], factor: &[f64], grad_output: &[f64]) -> [Vec<f64>; 2] {
    let (mut grad_input, mut grad_factor) = (vec![0.0; shape.len()], vec![0.0; factor.len()]);
    shape.each(|Place { x, pixel, .. }| {
        grad_input[x] = grad_output[x] * factor[pixel];
        grad_factor[pixel] += grad_output[x] * input[x];
    });
    [grad_input, grad_factor]
}

/// [`channel_stats`] of `x[n, p, c] f[n, c]`.
pub fn scaled_channel_stats(shape: ReduceShape, input: &[f64], factor: &[f64]) -> (Vec<f64>, Vec<u32>) {
    channel_stats(shape, &scale_channels(shape, input, factor))
}

/// Gradients of `x` and `f`.
pub fn scaled_channel_stats_backward(
    shape: ReduceShape,
    input: &[f64],
    factor: &[f64],
    argmax: &[u32],
    grad_output: &[f64],
) -> [Vec<f64>; 2] {
    scale_channels_backward(shape, input, factor, &channel_stats_backward(shape, argmax, grad_output))
}

/// `y[n, p, c] = max(x[n, p, c] f[n, c] h[n, p] + s[n, p, c], 0)`
pub fn scale_add_relu(shape: ReduceShape, input: &[f64], channels: &[f64], pixels: &[f64], shortcut: &[f64]) -> Vec<f64> {
    let scaled = scale_pixels(shape, &scale_channels(shape, input, channels), pixels);
    elementwise::relu(&elementwise::add(&scaled, shortcut))
}

/// Gradients of `x`, `f`, `h` and `s`, of the gradient `g` where the output is above 0.
pub fn scale_add_relu_backward(
    shape: ReduceShape,
    input: &[f64],
    channels: &[f64],
    pixels: &[f64],
    output: &[f64],
    grad_output: &[f64],
) -> [Vec<f64>; 4] {
    let grad_shortcut = elementwise::relu_backward(output, grad_output);
    let [grad_scaled, grad_pixels] =
        scale_pixels_backward(shape, &scale_channels(shape, input, channels), pixels, &grad_shortcut);
    let [grad_input, grad_channels] = scale_channels_backward(shape, input, channels, &grad_scaled);
    [grad_input, grad_channels, grad_pixels, grad_shortcut]
}
