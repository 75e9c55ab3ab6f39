//! Global pools and attention.

use super::*;

pub fn global_max(isa: Isa, shape: ReduceShape, input: &[f32]) -> (Vec<f32>, Vec<u32>) {
    let len = shape.batch * shape.channels;
    let (mut output, mut argmax) = (dirty(len), vec![u32::MAX; len]);
    reduce::global_max(isa, shape, input, &mut output, &mut argmax);
    (output, argmax)
}

pub fn channel_stats(isa: Isa, shape: ReduceShape, input: &[f32]) -> (Vec<f32>, Vec<u32>) {
    let pixels = shape.batch * shape.pixels;
    let (mut output, mut argmax) = (dirty(2 * pixels), vec![u32::MAX; pixels]);
    attention::channel_stats(isa, shape, input, &mut output, &mut argmax);
    (output, argmax)
}

pub fn scaled_channel_stats(isa: Isa, shape: ReduceShape, input: &[f32], factor: &[f32]) -> (Vec<f32>, Vec<u32>) {
    let pixels = shape.batch * shape.pixels;
    let (mut output, mut argmax) = (dirty(2 * pixels), vec![u32::MAX; pixels]);
    attention::scaled_channel_stats(isa, shape, input, factor, &mut output, &mut argmax);
    (output, argmax)
}

/// Of input, channel factor, pixel factor, output and its gradient.
pub fn scale_add_relu_backward(isa: Isa, shape: ReduceShape, arrays: [&[f32]; 5]) -> [Vec<f32>; 4] {
    let [input, channels, pixels, output, grad] = arrays;
    let mut grads = [grad.to_vec(), dirty(channels.len()), dirty(pixels.len()), dirty(input.len())];
    let [x, by_channel, by_pixel, shortcut] = &mut grads;
    attention::scale_add_relu_backward(isa, shape, input, channels, pixels, output, x, by_channel, by_pixel, shortcut);
    grads
}

/// A gradient that `backward` overwrites; where it adds, each value is the sum with that gradient, bit for bit.
fn both_ways(len: usize, mut backward: impl FnMut(&mut [f32], bool)) -> Vec<f32> {
    let gradient = filled(len, |x| backward(x, false));
    let before = values(len, 77);
    let mut sum = before.clone();
    backward(&mut sum, true);
    let expected: Vec<f32> = before.iter().zip(&gradient).map(|(a, b)| a + b).collect();
    assert_eq!(sum, expected, "added");
    gradient
}

fn check_reductions(shape: ReduceShape, seed: u64) {
    let ReduceShape { batch, pixels, channels } = shape;
    let plain = reference::reduce::ReduceShape { batch, pixels, channels };
    let input = ties(shape.len(), seed);
    let (grad_vectors, grad_maps) = (values(batch * channels, seed + 1), values(2 * batch * pixels, seed + 2));
    let wide_input = wide(&input);
    let average = reference::reduce::global_average(plain, &wide_input);
    let average_grad = reference::reduce::global_average_backward(plain, &wide(&grad_vectors));
    let (maximum, winners) = reference::reduce::global_max(plain, &wide_input);
    let max_grad = reference::reduce::global_max_backward(plain, &winners, &wide(&grad_vectors));
    let (stats, best) = reference::attention::channel_stats(plain, &wide_input);
    let stats_grad = reference::attention::channel_stats_backward(plain, &best, &wide(&grad_maps));
    for isa in Isa::all() {
        let averages = filled(average.len(), |y| reduce::global_average(isa, shape, &input, y));
        assert_near(&averages, &average, 1.0 / (pixels as f64).sqrt(), MAX_SUM_ERROR, "global_average", isa);
        let grad = both_ways(input.len(), |x, add| reduce::global_average_backward(isa, shape, &grad_vectors, x, add));
        assert_close(&grad, &average_grad, MAX_ROUNDING_ERROR, "global_average_backward", isa);
        let (output, argmax) = global_max(isa, shape, &input);
        assert_exact(&output, &maximum, "global_max", isa);
        assert_eq!(argmax, winners, "{isa:?} {shape:?}");
        let both = filled(2 * average.len(), |y| reduce::global_stats(isa, shape, &input, y));
        assert_eq!(both, [averages, output].concat(), "{isa:?} {shape:?}: in one pass");
        let grad = both_ways(input.len(), |x, add| reduce::global_max_backward(isa, shape, &argmax, &grad_vectors, x, add));
        assert_exact(&grad, &max_grad, "global_max_backward", isa);
        let (output, argmax) = channel_stats(isa, shape, &input);
        assert_near(&output, &stats, 1.0 / (channels as f64).sqrt(), MAX_SUM_ERROR, "channel_stats", isa);
        assert_eq!(argmax, best, "{isa:?} {shape:?}");
        let grad = both_ways(input.len(), |x, add| attention::channel_stats_backward(isa, shape, &argmax, &grad_maps, x, add));
        assert_close(&grad, &stats_grad, MAX_ROUNDING_ERROR, "channel_stats_backward", isa);
    }
}

fn check_scales(shape: ReduceShape, seed: u64) {
    let ReduceShape { batch, pixels, channels } = shape;
    let plain = reference::reduce::ReduceShape { batch, pixels, channels };
    let (input, grad_output) = (values(shape.len(), seed), values(shape.len(), seed + 1));
    let (vectors, maps) = (values(batch * channels, seed + 2), values(batch * pixels, seed + 3));
    let (grad_output_of_stats, before) = (values(2 * batch * pixels, seed + 4), values(shape.len(), seed + 5));
    let (wide_input, wide_grad) = (wide(&input), wide(&grad_output));
    let by_channel = reference::attention::scale_channels(plain, &wide_input, &wide(&vectors));
    let by_channel_grads = reference::attention::scale_channels_backward(plain, &wide_input, &wide(&vectors), &wide_grad);
    let by_pixel = reference::attention::scale_pixels(plain, &wide_input, &wide(&maps));
    let by_pixel_grads = reference::attention::scale_pixels_backward(plain, &wide_input, &wide(&maps), &wide_grad);
    for isa in Isa::all() {
        let output = filled(input.len(), |y| attention::scale_channels(isa, shape, &input, &vectors, y));
        assert_exact(&output, &by_channel, "scale_channels", isa);
        let [mut x, mut factor] = [dirty(input.len()), dirty(vectors.len())];
        attention::scale_channels_backward(isa, shape, &input, &vectors, &grad_output, &mut x, &mut factor);
        assert_exact(&x, &by_channel_grads[0], "scale_channels_backward, input", isa);
        assert_near(&factor, &by_channel_grads[1], (pixels as f64).sqrt(), MAX_SUM_ERROR, "scale_channels_backward, factor", isa);
        let output = filled(input.len(), |y| attention::scale_pixels(isa, shape, &input, &maps, y));
        assert_exact(&output, &by_pixel, "scale_pixels", isa);
        let [mut x, mut factor] = [dirty(input.len()), dirty(maps.len())];
        attention::scale_pixels_backward(isa, shape, &input, &maps, &grad_output, &mut x, &mut factor);
        assert_exact(&x, &by_pixel_grads[0], "scale_pixels_backward, input", isa);
        assert_near(&factor, &by_pixel_grads[1], (channels as f64).sqrt(), MAX_SUM_ERROR, "scale_pixels_backward, factor", isa);
        // What is done in one pass has the bits of what is done step by step.
        let scaled = filled(input.len(), |y| attention::scale_channels(isa, shape, &input, &vectors, y));
        let (stats, places) = channel_stats(isa, shape, &scaled);
        let fused = filled(stats.len(), |y| attention::scaled_channel_stats(isa, shape, &input, &vectors, y, &mut []));
        assert_eq!(fused, stats, "scaled_channel_stats {isa:?} {shape:?}");
        assert_eq!(scaled_channel_stats(isa, shape, &input, &vectors), (stats, places.clone()), "with places {isa:?} {shape:?}");
        let expected = reference::attention::scaled_channel_stats_backward(
            plain,
            &wide_input,
            &wide(&vectors),
            &places,
            &wide(&grad_output_of_stats),
        );
        let mut factor = dirty(vectors.len());
        let mut of_sum = dirty(vectors.len());
        let x = both_ways(input.len(), |x, add| {
            let factor = if add { &mut of_sum } else { &mut factor };
            let (grad, places) = (&grad_output_of_stats, &places);
            attention::scaled_channel_stats_backward(isa, shape, &input, &vectors, places, grad, x, factor, add);
        });
        assert_close(&x, &expected[0], MAX_ROUNDING_ERROR, "scaled_channel_stats_backward, input", isa);
        assert_near(&factor, &expected[1], (pixels as f64).sqrt(), MAX_SUM_ERROR, "scaled_channel_stats_backward, factor", isa);
        assert_eq!(factor, of_sum, "{isa:?} {shape:?}: whether the input's gradient is added");
        let scaled = filled(input.len(), |y| attention::scale_pixels(isa, shape, &scaled, &maps, y));
        let sum = filled(input.len(), |y| elementwise::add_relu(isa, &scaled, &grad_output, y));
        let fused = filled(input.len(), |y| attention::scale_add_relu(isa, shape, &input, &vectors, &maps, &grad_output, y));
        assert_eq!(fused, sum, "scale_add_relu {isa:?} {shape:?}");
        let expected = reference::attention::scale_add_relu_backward(
            plain,
            &wide_input,
            &wide(&vectors),
            &wide(&maps),
            &wide(&fused),
            &wide(&before),
        );
        let [x, by_channel, by_pixel, shortcut] = scale_add_relu_backward(isa, shape, [&input, &vectors, &maps, &fused, &before]);
        assert_exact(&shortcut, &expected[3], "scale_add_relu_backward, shortcut", isa);
        assert_close(&x, &expected[0], MAX_ROUNDING_ERROR, "scale_add_relu_backward, input", isa);
        let name = "scale_add_relu_backward, channels";
        assert_near(&by_channel, &expected[1], (pixels as f64).sqrt(), MAX_SUM_ERROR, name, isa);
        let name = "scale_add_relu_backward, pixels";
        assert_near(&by_pixel, &expected[2], (channels as f64).sqrt(), MAX_SUM_ERROR, name, isa);
    }
}

fn reductions() -> impl Strategy<Value = ReduceShape> {
    let shape = (1usize..4, 1usize..150, 1usize..80);
    shape.prop_map(|(batch, pixels, channels)| ReduceShape { batch, pixels, channels })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn reductions_are_as_the_reference(shape in reductions(), seed in 0u64..1000) {
        check_reductions(shape, seed);
    }

    #[test]
    fn scales_are_as_the_reference(shape in reductions(), seed in 0u64..1000) {
        check_scales(shape, seed);
    }
}

#[test]
fn reductions_and_scales_of_many_chunks() {
    for (pixels, channels) in [(1030, 64), (515, 128), (259, 256), (131, 512), (67, 528), (40_000, 1)] {
        let shape = ReduceShape { batch: 2, pixels, channels };
        check_reductions(shape, 1);
        check_scales(shape, 2);
    }
}

#[test]
fn maxima_of_negative_values() {
    let shape = ReduceShape { batch: 2, pixels: 37, channels: 5 };
    let plain = reference::reduce::ReduceShape { batch: 2, pixels: 37, channels: 5 };
    let input: Vec<f32> = values(shape.len(), 1).iter().map(|x| x - 2.0).collect();
    let expected = reference::attention::channel_stats(plain, &wide(&input));
    for isa in Isa::all() {
        // The lanes beyond the fifth channel must not win with their zeros.
        let (stats, argmax) = channel_stats(isa, shape, &input);
        assert_close(&stats, &expected.0, MAX_SUM_ERROR, "channel_stats", isa);
        assert_eq!(argmax, expected.1);
        assert_exact(
            &global_max(isa, shape, &input).0,
            &reference::reduce::global_max(plain, &wide(&input)).0,
            "global_max",
            isa,
        );
    }
}
