//! Of every sum, how many roundings a term goes through is what its kernel says, on every instruction set.
//!
//! The first term is 2^24 and each other makes what it joins larger by 1, half of the last place: each of its additions is lost, to the
//! even neighbour. So many ones are missing in the result as the first term went through additions.

use osteon_kernels::adaptive::{self, AdaptiveShape};
use osteon_kernels::attention;
use osteon_kernels::bias;
use osteon_kernels::linear::{self, LinearShape};
use osteon_kernels::norm::{self, NormShape};
use osteon_kernels::pool::{self, PoolShape};
use osteon_kernels::reduce::{self, ReduceShape};
use osteon_kernels::simd::Isa;

/// 2^24: added to it, 1 is rounded away.
const LARGE: f32 = 16_777_216.0;

/// Pixels: fewer and more than a group and a segment have, and no more than a chunk.
const PIXELS: [usize; 9] = [1, 2, 15, 16, 17, 128, 129, 256, 500];

/// The `ones` that were lost: all of them.
fn lost(sum: f32, ones: usize) -> usize {
    assert_eq!(sum, LARGE, "a one was not lost");
    ones
}

/// Pixel 0 is large; so are 1 those of its own group and the first of each other group. Returns pixels by channels, and the ones.
fn grouped(pixels: usize, channels: usize, group: usize) -> (Vec<f32>, usize) {
    let is_one = |p: usize| p > 0 && (p < group || p.is_multiple_of(group));
    let value = |p: usize| if p == 0 { LARGE } else { f32::from(u8::from(is_one(p))) };
    let values = (0..pixels * channels).map(|i| value(i / channels)).collect();
    (values, (0..pixels).filter(|&p| is_one(p)).count())
}

#[test]
fn sums_over_pixels() {
    for isa in Isa::all() {
        for pixels in PIXELS {
            for channels in [1, 8, 37, 64] {
                let what = format!("{isa:?} {pixels} {channels}");
                let (x, ones) = grouped(pixels, channels, 16);
                let unit = vec![1.0; x.len()];

                let mut sums = vec![f32::NAN; channels];
                bias::backward(isa, &x, &mut sums, &mut vec![0.0; bias::scratch_len(pixels, channels)]);
                // No product, and the total is an f32 already.
                assert_eq!(lost(sums[0], ones) + 2, bias::backward_roundings(pixels, channels), "bias {what}");

                let shape = NormShape { pixels, channels, relu: false };
                let (zero, one) = (vec![0.0; channels], vec![1.0; channels]);
                let (mut gamma, mut beta, mut scratch) = (zero.clone(), zero.clone(), vec![0.0; norm::scratch_len(shape)]);
                norm::backward(isa, shape, &unit, &one, &zero, &zero, &one, &mut x.clone(), &mut gamma, &mut beta, &mut scratch);
                for sum in [gamma[0], beta[0]] {
                    assert_eq!(lost(sum, ones) + 1, norm::sum_roundings(shape), "norm {what}");
                }

                let shape = ReduceShape { batch: 1, pixels, channels };
                // The mean's gradient is multiplied with its share, exactly where that is a power of two.
                let grad: Vec<f32> = (0..pixels).flat_map(|p| [x[p * channels] * channels as f32, 0.0]).collect();
                let mut factor = vec![f32::NAN; channels];
                if channels.is_power_of_two() {
                    let (unit, argmax) = (&unit, &vec![0; pixels]);
                    attention::scaled_channel_stats_backward(
                        isa,
                        shape,
                        unit,
                        &one,
                        argmax,
                        &grad,
                        &mut x.clone(),
                        &mut factor,
                        false,
                    );
                    assert_eq!(lost(factor[0], ones) + 1, attention::pixel_sum_roundings(pixels), "channel stats {what}");
                }
                let [mut by_channel, mut by_pixel, mut shortcut] = [zero.clone(), vec![0.0; pixels], unit.clone()];
                let (input, pixel_factor) = (&unit, &vec![1.0; pixels]);
                attention::scale_add_relu_backward(
                    isa,
                    shape,
                    input,
                    &one,
                    pixel_factor,
                    &unit,
                    &mut x.clone(),
                    &mut by_channel,
                    &mut by_pixel,
                    &mut shortcut,
                );
                assert_eq!(lost(by_channel[0], ones) + 1, attention::pixel_sum_roundings(pixels), "scale, add, ReLU {what}");
            }
        }
    }
}

/// Chunks are combined in f64: beyond the first, pixels make no more roundings.
#[test]
fn sums_of_chunks() {
    let roundings = |pixels| norm::sum_roundings(NormShape { pixels, channels: 64, relu: false });
    assert_eq!([roundings(511), roundings(512), roundings(513), roundings(1 << 20)], [47; 4]);
    assert_eq!([512, 1 << 20].map(|pixels| bias::backward_roundings(pixels, 64)), [48; 2]);
}

/// The segments of channels' factors are shorter than a group where a pixel has many channels.
#[test]
fn sums_of_segments() {
    for isa in Isa::all() {
        for (pixels, channels) in [(1, 512), (256, 512), (255, 300), (100, 100), (1000, 64), (1000, 3), (70, 5000)] {
            let segment = 2048_usize.div_ceil(channels);
            // The first pixel of each group within its segment.
            let starts_group = |p: usize| (p % segment).is_multiple_of(16);
            let is_one = |p: usize| p > 0 && (p < segment.min(16) || starts_group(p));
            let value = |p: usize| if p == 0 { LARGE } else { f32::from(u8::from(is_one(p))) };
            let grad: Vec<f32> = (0..pixels * channels).map(|i| value(i / channels)).collect();
            let ones = (0..pixels).filter(|&p| is_one(p)).count();
            let (unit, factor) = (vec![1.0; grad.len()], vec![1.0; channels]);
            let (mut x, mut sums) = (unit.clone(), factor.clone());
            let shape = ReduceShape { batch: 1, pixels, channels };
            attention::scale_channels_backward(isa, shape, &unit, &factor, &grad, &mut x, &mut sums);
            let claimed = attention::scale_channels_sum_roundings(pixels, channels);
            assert_eq!(lost(sums[0], ones) + 1, claimed, "{isa:?} {pixels} {channels}");
        }
    }
}

#[test]
fn averages_over_pixels() {
    for isa in Isa::all() {
        for pixels in PIXELS {
            let (x, ones) = grouped(pixels, 8, 128);
            let mut average = [f32::NAN; 8];
            reduce::global_average(isa, ReduceShape { batch: 1, pixels, channels: 8 }, &x, &mut average);
            let share = 1.0 / pixels as f32;
            assert_eq!(average, [LARGE * share; 8]);
            assert_eq!(ones + 2, reduce::average_roundings(pixels), "{isa:?} {pixels}");
        }
    }
}

/// One in every vector of lane 0, in lane 4, in lane 2 and in lane 1, each of which joins the sum by itself.
fn lanes(len: usize, vectors: usize) -> (Vec<f32>, usize) {
    let first = |i: usize| i.is_multiple_of(8 * vectors) || [4, 2, 1].contains(&i);
    let values = (0..len).map(|i| if i == 0 { LARGE } else { f32::from(u8::from(first(i))) }).collect();
    (values, (1..len).filter(|&i| first(i)).count())
}

#[test]
fn sums_over_channels() {
    for isa in Isa::all() {
        for channels in [8, 16, 37, 64, 512] {
            let (x, ones) = lanes(channels, 1);
            let shape = ReduceShape { batch: 1, pixels: 1, channels };
            let unit = vec![1.0; channels];
            let what = format!("{isa:?} {channels}");
            let claimed = attention::channel_sum_roundings(channels);

            let (mut grad, mut sum) = (unit.clone(), [f32::NAN]);
            attention::scale_pixels_backward(isa, shape, &unit, &[1.0], &x, &mut grad, &mut sum);
            assert_eq!(lost(sum[0], ones) + 1, claimed, "{what}");

            let (mut by_channel, mut shortcut) = (unit.clone(), unit.clone());
            let (factor, y) = (&unit, &unit);
            attention::scale_add_relu_backward(
                isa,
                shape,
                &unit,
                factor,
                &[1.0],
                y,
                &mut x.clone(),
                &mut by_channel,
                &mut sum,
                &mut shortcut,
            );
            assert_eq!(lost(sum[0], ones) + 1, claimed, "{what}");

            let mut stats = [f32::NAN; 2];
            attention::channel_stats(isa, shape, &x, &mut stats, &mut [0]);
            assert_eq!(stats[0], LARGE * (1.0 / channels as f32), "{what}");
            assert_eq!(ones + 2, attention::channel_mean_roundings(channels), "{what}");
        }
    }
}

#[test]
fn products_of_linear_layers() {
    for isa in Isa::all() {
        for in_features in [32, 64, 100, 512] {
            let (x, mut ones) = lanes(in_features, 4);
            // The second vector joins the first, and the third and fourth join both.
            let x: Vec<f32> = x.iter().enumerate().map(|(i, &x)| if i == 8 || i == 16 { 1.0 } else { x }).collect();
            ones += 2;
            let shape = LinearShape { batch: 1, in_features, out_features: 1 };
            let (weight, mut output) = (vec![1.0; in_features], [f32::NAN]);
            linear::forward(isa, shape, &x, &weight, &[1.0], &mut output);
            assert_eq!(lost(output[0], ones + 1) + 1, linear::forward_roundings(in_features), "{isa:?} {in_features}");

            // A gradient is a sum in order.
            let (grad, _) = grouped(in_features, 1, in_features);
            let shape = LinearShape { batch: 1, in_features: 1, out_features: in_features };
            let [mut x, mut w, mut b] = [vec![0.0], weight.clone(), weight.clone()];
            linear::backward(isa, shape, &[1.0], &weight, &grad, &mut x, &mut w, &mut b);
            assert_eq!(lost(x[0], in_features - 1) + 1, linear::backward_roundings(in_features), "{isa:?} {in_features}");
        }
    }
}

#[test]
fn averages_over_windows() {
    for isa in Isa::all() {
        for kernel in [[1, 1], [2, 2], [3, 3], [2, 5]] {
            let pixels = kernel[0] * kernel[1];
            let (x, ones) = grouped(pixels, 1, pixels);
            let [rows, columns] = kernel;
            let shape =
                PoolShape { batch: 1, rows, columns, channels: 1, kernel, stride: [1; 2], padding: [0; 2], ceil_mode: false };
            let mut average = [f32::NAN];
            pool::average_pool(isa, shape, &x, &mut average);
            assert_eq!(average[0], LARGE * (1.0 / pixels as f32));
            assert_eq!(ones + 2, pool::average_roundings(kernel), "{isa:?} {kernel:?}");

            // Every window is won by the last pixel but one in rows and columns, which all of them have.
            let (rows, columns) = (2 * rows - 1, 2 * columns - 1);
            let shape = PoolShape { rows, columns, ..shape };
            let argmax = vec![((kernel[0] - 1) * columns + kernel[1] - 1) as u32; pixels];
            let mut grad = vec![f32::NAN; rows * columns];
            pool::max_pool_backward(isa, shape, &argmax, &x, &mut grad);
            let sum = grad[argmax[0] as usize];
            assert_eq!(lost(sum, ones), pool::max_backward_roundings(kernel, [1; 2]), "{isa:?} {kernel:?}");
        }
        let shape = AdaptiveShape { batch: 1, size: [8, 4], channels: 1, windows: [1, 1] };
        let (x, ones) = grouped(32, 1, 32);
        let mut average = [f32::NAN];
        adaptive::forward(isa, shape, &x, &mut average);
        assert_eq!(average[0], LARGE / 32.0);
        assert_eq!(ones + 2, adaptive::forward_roundings(shape), "{isa:?}");
        let shape = AdaptiveShape { size: shape.windows, windows: shape.size, ..shape };
        let mut grad = [f32::NAN];
        adaptive::backward(isa, shape, &x, &mut grad);
        assert_eq!(lost(grad[0], ones) + 2, adaptive::backward_roundings(shape), "{isa:?}");
        assert_eq!(adaptive::forward_roundings(AdaptiveShape { size: [7, 7], windows: [2, 3], ..shape }), 1 + 4 * 3);
    }
}
