//! Every kernel beside convolution against the plain f64 loops, on every instruction set, and the same bits for any number of
//! threads.

mod common;

use common::{error, values, wide};
use osteon_kernels::adam::{self, AdamStep};
use osteon_kernels::adaptive::{self, AdaptiveShape};
use osteon_kernels::concat::{self, ConcatShape};
use osteon_kernels::dropout::{self, Dropout};
use osteon_kernels::linear::{self, LinearShape};
use osteon_kernels::norm::{self, NormShape};
use osteon_kernels::par::Pool;
use osteon_kernels::pool::{self, PoolShape};
use osteon_kernels::reduce::{self, ReduceShape};
use osteon_kernels::simd::Isa;
use osteon_kernels::{attention, bias, elementwise, softmax};
use osteon_reference as reference;
use proptest::prelude::*;

/// Relative l2 error of sums of products: f32 rounds each step to 6e-8, and the sums here are short or split.
const MAX_SUM_ERROR: f64 = 2e-6;
/// Relative l2 error of one value after a handful of roundings.
const MAX_ROUNDING_ERROR: f64 = 3e-7;
/// Relative error of a variance when the mean is 1000 times the standard deviation: the input's own rounding moves values by
/// 6e-5 standard deviations, but both sides see the same rounded input.
const MAX_SHIFTED_VARIANCE_ERROR: f64 = 2e-5;
/// The same for the normalised values: the f32 mean itself is off by up to 3e-5 standard deviations.
const MAX_SHIFTED_OUTPUT_ERROR: f64 = 1e-4;
/// Relative l2 error of a gradient that is the rest after its own mean and slope are taken away.
const MAX_NORM_GRADIENT_ERROR: f64 = 1e-5;

/// Values on a grid of 1/4, so that many are equal.
fn ties(len: usize, seed: u64) -> Vec<f32> {
    values(len, seed).into_iter().map(|x| (x * 4.0).round() / 4.0).collect()
}

/// A buffer whose old content must not matter.
fn dirty(len: usize) -> Vec<f32> {
    vec![f32::NAN; len]
}

/// A length of `len` written by `work`.
fn filled(len: usize, work: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut output = dirty(len);
    work(&mut output);
    output
}

/// The reference value is exact, so rounding it once must give the kernel's bits (zeros of either sign are equal).
fn assert_exact(actual: &[f32], expected: &[f64], what: &str, isa: Isa) {
    assert_eq!(actual.len(), expected.len(), "{what} {isa:?}");
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        assert!(a == e as f32, "{what} {isa:?}: [{i}] is {a}, not {e}");
    }
}

fn assert_close(actual: &[f32], expected: &[f64], bound: f64, what: &str, isa: Isa) {
    let error = error(actual, expected);
    assert!(error < bound, "{what} {isa:?}: {error:e}");
}

/// For sums that may happen to be near zero: the error compared with `size`, that of a sum of as many random terms.
fn assert_near(actual: &[f32], expected: &[f64], size: f64, bound: f64, what: &str, isa: Isa) {
    assert_eq!(actual.len(), expected.len(), "{what} {isa:?}");
    let worst = actual.iter().zip(expected).map(|(&a, e)| (f64::from(a) - e).abs() / size).fold(0.0, f64::max);
    assert!(worst < bound, "{what} {isa:?}: {worst:e}");
}

// ---- batch norm ----

struct Norm {
    output: Vec<f32>,
    mean: Vec<f32>,
    inv_std: Vec<f32>,
    variance: Vec<f32>,
    inference: Vec<f32>,
    /// input, gamma, beta
    grads: [Vec<f32>; 3],
}

impl Norm {
    fn run(isa: Isa, shape: NormShape, input: &[f32], gamma: &[f32], beta: &[f32], grad_output: &[f32]) -> Norm {
        let c = shape.channels;
        let (mut output, mut scratch) = (dirty(input.len()), dirty(norm::scratch_len(shape)));
        let (mut mean, mut inv_std, mut variance) = (dirty(c), dirty(c), dirty(c));
        norm::forward_training(
            isa,
            shape,
            EPSILON,
            input,
            gamma,
            beta,
            &mut output,
            &mut mean,
            &mut inv_std,
            &mut variance,
            &mut scratch,
        );
        let mut inference = dirty(input.len());
        scratch.fill(f32::NAN);
        norm::forward_inference(isa, shape, EPSILON, input, gamma, beta, &mean, &variance, &mut inference, &mut scratch);
        let mut grads = [grad_output.to_vec(), dirty(c), dirty(c)];
        let [grad_input, grad_gamma, grad_beta] = &mut grads;
        scratch.fill(f32::NAN);
        norm::backward(isa, shape, input, gamma, beta, &mean, &inv_std, grad_input, grad_gamma, grad_beta, &mut scratch);
        let mut again = dirty(input.len());
        scratch.fill(f32::NAN);
        norm::recompute(isa, shape, input, gamma, beta, &mean, &inv_std, &mut again, &mut scratch);
        assert_eq!(output, again, "{isa:?}");
        Norm { output, mean, inv_std, variance, inference, grads }
    }
}

const EPSILON: f32 = 1e-5;
/// Standard deviation of [`values`]: 1 / sqrt(3).
const SPREAD: f64 = 0.577;

fn check_norm(pixels: usize, channels: usize, seed: u64) {
    for relu in [false, true] {
        check_norm_with(pixels, channels, seed, relu);
    }
}

fn check_norm_with(pixels: usize, channels: usize, seed: u64, relu: bool) {
    let shape = NormShape { pixels, channels, relu };
    let (input, mut grad_output) = (values(pixels * channels, seed), values(pixels * channels, seed + 1));
    let (gamma, beta) = (values(channels, seed + 2), values(channels, seed + 3));
    let mut expected = reference::norm::forward_training(f64::from(EPSILON), &wide(&input), &wide(&gamma), &wide(&beta));
    let mut backward = [&input, &grad_output, &gamma].map(|x| wide(x));
    if relu {
        // A value that f32 rounds to the other side of 0 would pass or stop its gradient: those so near get none.
        for (i, y) in expected.output.iter().enumerate().filter(|(_, y)| y.abs() < 1e-5) {
            assert!(y.is_finite());
            (grad_output[i], backward[1][i]) = (0.0, 0.0);
        }
        expected.output = reference::elementwise::relu(&expected.output);
        backward[1] = reference::elementwise::relu_backward(&expected.output, &backward[1]);
    }
    let grads = reference::norm::backward(&backward[0], &backward[1], &backward[2], &expected.mean, &expected.inv_std);
    for isa in Isa::all() {
        let actual = Norm::run(isa, shape, &input, &gamma, &beta, &grad_output);
        let random = (pixels as f64).sqrt();
        assert_near(&actual.mean, &expected.mean, SPREAD, MAX_ROUNDING_ERROR, "mean", isa);
        assert_close(&actual.variance, &expected.variance, MAX_SUM_ERROR, "variance", isa);
        assert_close(&actual.inv_std, &expected.inv_std, MAX_SUM_ERROR, "inv_std", isa);
        // Scale and shift may cancel, and the ReLU may leave little beside what cancels.
        assert_near(&actual.output, &expected.output, 1.0, MAX_SUM_ERROR, "output", isa);
        assert_near(&actual.inference, &expected.output, 1.0, MAX_SUM_ERROR, "inference", isa);
        assert_close(&actual.grads[0], &grads[0], MAX_NORM_GRADIENT_ERROR, "grad_input", isa);
        assert_near(&actual.grads[1], &grads[1], random, MAX_SUM_ERROR, "grad_gamma", isa);
        assert_near(&actual.grads[2], &grads[2], random, MAX_SUM_ERROR, "grad_beta", isa);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn norm_is_as_the_reference(pixels in 9usize..200, channels in 1usize..40, seed in 0u64..1000) {
        check_norm(pixels, channels, seed);
    }
}

#[test]
fn norm_of_many_chunks() {
    check_norm(2 * 1024 + 3, 64, 1);
    check_norm(200, 521, 2);
    check_norm(70_001, 1, 3);
}

#[test]
fn norm_of_a_large_mean_does_not_cancel() {
    let (pixels, channels) = (4099, 24);
    let shape = NormShape { pixels, channels, relu: false };
    // The first pixels of each chunk are far from the rest, the worst case for the pilot.
    let mut input: Vec<f32> = values(pixels * channels, 1).iter().map(|x| 577.0 + x).collect();
    input[..40 * channels].fill(560.0);
    let ones = vec![1.0; channels];
    let expected = reference::norm::forward_training(f64::from(EPSILON), &wide(&input), &wide(&ones), &wide(&ones));
    for isa in Isa::all() {
        let actual = Norm::run(isa, shape, &input, &ones, &ones, &input);
        assert_close(&actual.variance, &expected.variance, MAX_SHIFTED_VARIANCE_ERROR, "variance", isa);
        assert_close(&actual.output, &expected.output, MAX_SHIFTED_OUTPUT_ERROR, "output", isa);
    }
}

#[test]
fn norm_of_a_constant_is_beta() {
    let shape = NormShape { pixels: 1000, channels: 3, relu: false };
    let input = vec![123.456; 3000];
    for isa in Isa::all() {
        let actual = Norm::run(isa, shape, &input, &[1.0; 3], &[0.5; 3], &input);
        assert!(actual.variance.iter().all(|&v| v < 1e-9), "{isa:?} {:?}", actual.variance);
        assert!(actual.output.iter().all(|&y| (y - 0.5).abs() < 1e-2), "{isa:?}");
    }
}

#[test]
fn running_averages_move_as_the_reference() {
    let [mean, variance] = [values(9, 1), values(9, 2).iter().map(|x| x.abs()).collect()];
    let (mut running_mean, mut running_var) = (values(9, 3), vec![1.0; 9]);
    let expected = reference::norm::update_running(
        f64::from(0.1_f32),
        7,
        &wide(&mean),
        &wide(&variance),
        &wide(&running_mean),
        &wide(&running_var),
    );
    norm::update_running(0.1, 7, &mean, &variance, &mut running_mean, &mut running_var);
    assert!(error(&running_mean, &expected[0]) < MAX_ROUNDING_ERROR);
    assert!(error(&running_var, &expected[1]) < MAX_ROUNDING_ERROR);
}

// ---- elementwise ----

proptest! {
    #[test]
    fn elementwise_is_as_the_reference(len in 1usize..100, seed in 0u64..1000) {
        check_elementwise(len, seed);
    }
}

#[test]
fn elementwise_of_many_chunks() {
    check_elementwise(3 * 32768 + 5, 1);
}

fn check_elementwise(len: usize, seed: u64) {
    let (a, b) = (ties(len, seed), values(len, seed + 1));
    let scaled: Vec<f32> = b.iter().map(|x| x * 30.0).collect();
    let (wide_a, wide_b) = (wide(&a), wide(&b));
    for isa in Isa::all() {
        let relu = filled(len, |y| elementwise::relu(isa, &a, y));
        assert_exact(&relu, &reference::elementwise::relu(&wide_a), "relu", isa);
        let grad = {
            let mut grad = b.clone();
            elementwise::relu_backward(isa, &relu, &mut grad);
            grad
        };
        assert_exact(&grad, &reference::elementwise::relu_backward(&wide(&relu), &wide_b), "relu_backward", isa);
        let (mut first, mut copy) = (b.to_vec(), dirty(b.len()));
        elementwise::relu_backward_both(isa, &relu, &mut first, &mut copy);
        assert_eq!([&first, &copy], [&grad, &grad], "relu_backward_both {isa:?}");
        let sum = reference::elementwise::add(&wide_a, &wide_b);
        assert_exact(&filled(len, |y| elementwise::add(isa, &a, &b, y)), &sum, "add", isa);
        let mut target = a.clone();
        elementwise::add_assign(isa, &mut target, &b);
        assert_exact(&target, &sum, "add_assign", isa);
        let sum = reference::elementwise::add_scaled(f64::from(0.3_f32), &wide_b, &wide_a);
        let actual = filled(len, |y| elementwise::add_scaled(isa, 0.3, &b, &a, y));
        assert_near(&actual, &sum, 1.0, MAX_ROUNDING_ERROR, "add_scaled", isa);
        let product = reference::elementwise::scale(f64::from(0.3_f32), &wide_b);
        assert_exact(&filled(len, |y| elementwise::scale(isa, 0.3, &b, y)), &product, "scale", isa);
        let sigmoid = filled(len, |y| elementwise::sigmoid(isa, &scaled, y));
        let expected = reference::elementwise::sigmoid(&wide(&scaled));
        assert_close(&sigmoid, &expected, MAX_ROUNDING_ERROR, "sigmoid", isa);
        let grad = filled(len, |y| elementwise::sigmoid_backward(isa, &sigmoid, &a, y));
        let expected = reference::elementwise::sigmoid_backward(&wide(&sigmoid), &wide_a);
        assert_close(&grad, &expected, MAX_ROUNDING_ERROR, "sigmoid_backward", isa);
    }
}

#[test]
fn not_a_number_stays() {
    let input = [f32::NAN, 1.0, -1.0];
    for isa in Isa::all() {
        assert!(filled(3, |y| elementwise::relu(isa, &input, y))[0].is_nan(), "{isa:?}");
        assert!(filled(3, |y| elementwise::sigmoid(isa, &input, y))[0].is_nan(), "{isa:?}");
        assert!(filled(3, |y| softmax::softmax(isa, 1, 3, &input, y)).iter().all(|p| p.is_nan()), "{isa:?}");
        let shape = ReduceShape { batch: 1, pixels: 1, channels: 3 };
        let (stats, argmax) = channel_stats(isa, shape, &[1.0, f32::NAN, 2.0]);
        assert!(stats.iter().all(|y| y.is_nan()) && argmax == [1], "{isa:?}");
        let (scaled, argmax) = scaled_channel_stats(isa, shape, &[1.0, f32::INFINITY, 2.0], &[1.0, 0.0, 1.0]);
        assert!(scaled.iter().all(|y| y.is_nan()) && argmax == [1], "{isa:?}");
        // An infinity of each sign makes the mean NaN, not the maximum.
        let (stats, argmax) = channel_stats(isa, shape, &[1.0, f32::NEG_INFINITY, f32::INFINITY]);
        assert!(stats[0].is_nan() && stats[1] == f32::INFINITY && argmax == [2], "{isa:?}");
        let shape = ReduceShape { batch: 1, pixels: 3, channels: 1 };
        let (maximum, argmax) = global_max(isa, shape, &[1.0, f32::NAN, 2.0]);
        assert!(maximum[0].is_nan() && argmax == [1], "{isa:?}");
        let stats = filled(2, |y| reduce::global_stats(isa, shape, &[1.0, f32::NAN, 2.0], y));
        assert!(stats.iter().all(|y| y.is_nan()), "{isa:?}");
        let shape = PoolShape {
            batch: 1,
            rows: 1,
            columns: 3,
            channels: 1,
            kernel: [1, 3],
            stride: [1, 1],
            padding: [0, 0],
            ceil_mode: false,
        };
        let (maximum, argmax) = max_pool(isa, shape, &[1.0, f32::NAN, 2.0]);
        assert!(maximum[0].is_nan() && argmax == [1], "{isa:?}");
    }
}

// ---- pools ----

fn max_pool(isa: Isa, shape: PoolShape, input: &[f32]) -> (Vec<f32>, Vec<u32>) {
    let (mut output, mut argmax) = (dirty(shape.output_len()), vec![u32::MAX; shape.output_len()]);
    pool::max_pool(isa, shape, input, &mut output, &mut argmax);
    (output, argmax)
}

fn check_pool(shape: PoolShape, seed: u64) {
    let PoolShape { batch, rows, columns, channels, kernel, stride, padding, ceil_mode } = shape;
    let plain = reference::pool::PoolShape { batch, rows, columns, channels, kernel, stride, padding, ceil_mode };
    assert_eq!([shape.out_rows(), shape.out_columns()], plain.out());
    let (input, grad_output) = (ties(shape.input_len(), seed), values(shape.output_len(), seed + 1));
    let (maximum, winners) = reference::pool::max_pool(plain, &wide(&input));
    let max_grad = reference::pool::max_pool_backward(plain, &winners, &wide(&grad_output));
    for isa in Isa::all() {
        let (output, argmax) = max_pool(isa, shape, &input);
        assert_exact(&output, &maximum, "max_pool", isa);
        assert_eq!(argmax, winners, "{isa:?} {shape:?}");
        let grad = filled(input.len(), |x| pool::max_pool_backward(isa, shape, &argmax, &grad_output, x));
        assert_near(&grad, &max_grad, 1.0, MAX_SUM_ERROR, "max_pool_backward", isa);
        if ceil_mode {
            continue; // of maxima only
        }
        let average = reference::pool::average_pool(plain, &wide(&input));
        let average_grad = reference::pool::average_pool_backward(plain, &wide(&grad_output));
        let window = (kernel[0] * kernel[1]) as f64;
        let output = filled(grad_output.len(), |y| pool::average_pool(isa, shape, &input, y));
        assert_near(&output, &average, 1.0 / window.sqrt(), MAX_SUM_ERROR, "average_pool", isa);
        let grad = filled(input.len(), |x| pool::average_pool_backward(isa, shape, &grad_output, x));
        assert_near(&grad, &average_grad, 1.0 / window.sqrt(), MAX_SUM_ERROR, "average_pool_backward", isa);
    }
}

fn pools() -> impl Strategy<Value = PoolShape> {
    let kernel = (1usize..5, 1usize..5);
    let steps = ((1usize..4, 1usize..4), (0usize..4, 0usize..4), any::<bool>());
    let shape = (1usize..3, 4usize..14, 4usize..14, 1usize..20, kernel, steps);
    shape.prop_map(|(batch, rows, columns, channels, kernel, (stride, padding, ceil_mode))| PoolShape {
        batch,
        rows,
        columns,
        channels,
        kernel: [kernel.0, kernel.1],
        stride: [stride.0, stride.1],
        padding: [padding.0 % kernel.0, padding.1 % kernel.1],
        ceil_mode,
    })
}

proptest! {
    #[test]
    fn pools_are_as_the_reference(shape in pools(), seed in 0u64..1000) {
        check_pool(shape, seed);
    }
}

#[test]
fn pools_of_the_networks() {
    let shape = |kernel, stride, padding| PoolShape {
        batch: 2,
        rows: 32,
        columns: 16,
        channels: 64,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [padding; 2],
        ceil_mode: false,
    };
    check_pool(shape(3, 2, 1), 1); // the residual networks'
    check_pool(shape(2, 2, 0), 2); // VGG's
    check_pool(shape(3, 1, 1), 3); // inside an inception block
    check_pool(PoolShape { ceil_mode: true, ..shape(3, 2, 0) }, 4); // between them
}

fn check_adaptive(shape: AdaptiveShape, seed: u64) {
    let AdaptiveShape { batch, size, channels, windows } = shape;
    let plain = reference::adaptive::AdaptiveShape { batch, size, channels, windows };
    let (input, grad_output) = (values(shape.input_len(), seed), values(shape.output_len(), seed + 1));
    let average = reference::adaptive::forward(plain, &wide(&input));
    let grad_input = reference::adaptive::backward(plain, &wide(&grad_output));
    for isa in Isa::all() {
        let output = filled(grad_output.len(), |y| adaptive::forward(isa, shape, &input, y));
        assert_near(&output, &average, 1.0, MAX_SUM_ERROR, "adaptive average", isa);
        let grad = filled(input.len(), |x| adaptive::backward(isa, shape, &grad_output, x));
        let windows = (windows[0] * windows[1]) as f64;
        assert_near(&grad, &grad_input, windows.sqrt(), MAX_SUM_ERROR, "adaptive average, backward", isa);
    }
}

proptest! {
    #[test]
    fn adaptive_averages_are_as_the_reference(
        batch in 1usize..3, rows in 1usize..20, columns in 1usize..20, channels in 1usize..20, over in 1usize..6, across in 1usize..6,
        seed in 0u64..1000,
    ) {
        check_adaptive(AdaptiveShape { batch, size: [rows, columns], channels, windows: [over, across] }, seed);
    }
}

// ---- what lies between the layers of VGG and Inception ----

fn check_concat(pixels: usize, channels: [usize; 4], seed: u64) {
    let shape = ConcatShape { pixels, channels };
    let parts: Vec<Vec<f32>> = channels.iter().map(|channels| values(pixels * channels, seed + *channels as u64)).collect();
    let own: Vec<&[f32]> = parts.iter().filter(|part| !part.is_empty()).map(Vec::as_slice).collect();
    let wide_parts: Vec<(Vec<f64>, usize)> =
        parts.iter().map(|part| wide(part)).zip(channels).filter(|part| part.1 > 0).collect();
    let plain: Vec<(&[f64], usize)> = wide_parts.iter().map(|(part, channels)| (&part[..], *channels)).collect();
    let output = filled(pixels * shape.out_channels(), |y| concat::forward(shape, &own, y));
    let expected = reference::concat::forward(&plain);
    assert!(output.iter().zip(&expected).all(|(&a, &e)| f64::from(a) == e) && output.len() == expected.len(), "{shape:?}");
    // The gradients of a joining are the parts again.
    for (k, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_empty()) {
        assert_eq!(&filled(part.len(), |x| concat::backward(shape, k, &output, x)), part, "part {k} of {shape:?}");
        assert_eq!(reference::concat::backward(&channels, k, &expected), wide(part));
    }
}

fn check_bias(pixels: usize, channels: usize, seed: u64) {
    let grad = values(pixels * channels, seed);
    let expected = reference::bias::backward(channels, &wide(&grad));
    for isa in Isa::all() {
        let mut scratch = dirty(bias::scratch_len(pixels, channels));
        let sums = filled(channels, |sums| bias::backward(isa, &grad, sums, &mut scratch));
        assert_near(&sums, &expected, (pixels as f64).sqrt(), MAX_SUM_ERROR, "bias", isa);
    }
}

fn drop_out(isa: Isa, dropout: Dropout, input: &[f32]) -> [Vec<f32>; 2] {
    let mut mask = dirty(input.len());
    let output = filled(input.len(), |y| dropout::forward(isa, dropout, input, &mut mask, y));
    [mask, output]
}

fn check_dropout(dropout: Dropout, len: usize) {
    let Dropout { rate, seed, step, place } = dropout;
    let expected = reference::dropout::mask(reference::dropout::Dropout { rate: rate.into(), seed, step, place }, len);
    let (input, grad) = (values(len, seed), values(len, seed + 1));
    for isa in Isa::all() {
        let [mask, output] = drop_out(isa, dropout, &input);
        assert_near(&mask, &expected, 1.0 / (1.0 - f64::from(rate)), MAX_ROUNDING_ERROR, "mask", isa);
        assert!(mask.iter().zip(&expected).all(|(&a, &e)| (a == 0.0) == (e == 0.0)), "{isa:?} {dropout:?}");
        let mask = wide(&mask);
        assert_exact(&output, &reference::dropout::apply(&mask, &wide(&input)), "dropout", isa);
        let mask: Vec<f32> = mask.iter().map(|&x| x as f32).collect();
        let actual = filled(len, |x| dropout::backward(isa, &mask, &grad, x));
        assert_exact(&actual, &reference::dropout::apply(&wide(&mask), &wide(&grad)), "dropout, backward", isa);
    }
}

proptest! {
    #[test]
    fn joined_channels_are_as_the_reference(
        pixels in 1usize..40, mut channels in [1usize..20, 0usize..20, 0usize..20, 0usize..20], seed in 0u64..1000,
    ) {
        channels.sort_by(|a, b| b.cmp(a)); // parts that are there come first
        check_concat(pixels, channels, seed);
    }

    #[test]
    fn gradients_of_biases_are_as_the_reference(pixels in 1usize..200, channels in 1usize..70, seed in 0u64..1000) {
        check_bias(pixels, channels, seed);
    }

    #[test]
    fn dropout_is_as_the_reference(
        rate in 0f32..0.95, seed in any::<u64>(), step in 0u64..100, place in 0u32..4, len in 1usize..300,
    ) {
        check_dropout(Dropout { rate, seed: seed >> 1, step, place }, len);
    }
}

#[test]
fn several_chunks_of_channels_biases_and_drops() {
    check_concat(3000, [64, 128, 32, 32], 1);
    check_bias(40_001, 64, 1);
    check_dropout(Dropout { rate: 0.5, seed: 3, step: 2, place: 1 }, 70_001);
}

/// Each of the four things that a mask depends on makes it another one, and the share of what is dropped is the rate.
#[test]
fn masks_depend_on_seed_step_place_and_index() {
    let dropout = Dropout { rate: 0.3, seed: 1, step: 1, place: 1 };
    let mask = |dropout| drop_out(Isa::detect(), dropout, &[1.0; 40_000])[0].iter().map(|&x| x == 0.0).collect::<Vec<bool>>();
    let first = mask(dropout);
    assert_eq!(first, mask(dropout));
    let others = [Dropout { seed: 2, ..dropout }, Dropout { step: 2, ..dropout }, Dropout { place: 2, ..dropout }].map(mask);
    let mut shifted = first.clone();
    shifted.rotate_left(1);
    for other in others.iter().chain([&shifted]) {
        // Of independent masks a share of 0.3^2 + 0.7^2 agrees: 0.58, give or take 0.0025.
        let same = first.iter().zip(other).filter(|(a, b)| a == b).count() as f64 / 4e4;
        assert!((same - 0.58).abs() < 0.0125, "{same}");
        let dropped = other.iter().filter(|&&dropped| dropped).count() as f64 / 4e4;
        assert!((dropped - 0.3).abs() < 0.0125, "{dropped}");
    }
}

// ---- global pools and attention ----

fn global_max(isa: Isa, shape: ReduceShape, input: &[f32]) -> (Vec<f32>, Vec<u32>) {
    let len = shape.batch * shape.channels;
    let (mut output, mut argmax) = (dirty(len), vec![u32::MAX; len]);
    reduce::global_max(isa, shape, input, &mut output, &mut argmax);
    (output, argmax)
}

fn channel_stats(isa: Isa, shape: ReduceShape, input: &[f32]) -> (Vec<f32>, Vec<u32>) {
    let pixels = shape.batch * shape.pixels;
    let (mut output, mut argmax) = (dirty(2 * pixels), vec![u32::MAX; pixels]);
    attention::channel_stats(isa, shape, input, &mut output, &mut argmax);
    (output, argmax)
}

fn scaled_channel_stats(isa: Isa, shape: ReduceShape, input: &[f32], factor: &[f32]) -> (Vec<f32>, Vec<u32>) {
    let pixels = shape.batch * shape.pixels;
    let (mut output, mut argmax) = (dirty(2 * pixels), vec![u32::MAX; pixels]);
    attention::scaled_channel_stats(isa, shape, input, factor, &mut output, &mut argmax);
    (output, argmax)
}

/// Of input, channel factor, pixel factor, output and its gradient.
fn scale_add_relu_backward(isa: Isa, shape: ReduceShape, arrays: [&[f32]; 5]) -> [Vec<f32>; 4] {
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

// ---- linear ----

struct Linear {
    output: Vec<f32>,
    /// input, weight, bias
    grads: [Vec<f32>; 3],
}

impl Linear {
    fn run(isa: Isa, shape: LinearShape, seed: u64) -> (Linear, [Vec<f32>; 4]) {
        let LinearShape { batch, in_features, out_features } = shape;
        let (input, weight) = (values(batch * in_features, seed), values(out_features * in_features, seed + 1));
        let (bias, grad) = (values(out_features, seed + 2), values(batch * out_features, seed + 3));
        let output = filled(grad.len(), |y| linear::forward(isa, shape, &input, &weight, &bias, y));
        let mut grads = [dirty(input.len()), dirty(weight.len()), dirty(bias.len())];
        let [grad_input, grad_weight, grad_bias] = &mut grads;
        linear::backward(isa, shape, &input, &weight, &grad, grad_input, grad_weight, grad_bias);
        (Linear { output, grads }, [input, weight, bias, grad])
    }
}

fn check_linear(shape: LinearShape, seed: u64) {
    for isa in Isa::all() {
        let (actual, arguments) = Linear::run(isa, shape, seed);
        let [input, weight, bias, grad] = arguments.map(|x| wide(&x));
        let output = reference::linear::forward(shape.in_features, &input, &weight, &bias);
        let random = |terms: usize| (terms as f64).sqrt();
        assert_near(&actual.output, &output, random(shape.in_features), MAX_SUM_ERROR, "linear", isa);
        let grads = reference::linear::backward(shape.in_features, &input, &weight, &grad);
        let [grad_input, grad_weight, grad_bias] = &actual.grads;
        assert_near(grad_input, &grads[0], random(shape.out_features), MAX_SUM_ERROR, "grad_input", isa);
        assert_near(grad_weight, &grads[1], random(shape.batch), MAX_SUM_ERROR, "grad_weight", isa);
        assert_near(grad_bias, &grads[2], random(shape.batch), MAX_SUM_ERROR, "grad_bias", isa);
    }
}

proptest! {
    #[test]
    fn linear_is_as_the_reference(batch in 1usize..12, in_features in 1usize..90, out_features in 1usize..20, seed in 0u64..1000) {
        check_linear(LinearShape { batch, in_features, out_features }, seed);
    }
}

#[test]
fn linear_of_several_tasks() {
    check_linear(LinearShape { batch: 9, in_features: 777, out_features: 131 }, 1);
}

// ---- softmax ----

proptest! {
    #[test]
    fn softmax_is_as_the_reference(batch in 1usize..6, classes in 1usize..20, scale in 0.1f32..60.0, seed in 0u64..1000) {
        let logits: Vec<f32> = values(batch * classes, seed).iter().map(|x| x * scale).collect();
        let labels: Vec<u32> = (0..batch).map(|n| ((n as u64 + seed) % classes as u64) as u32).collect();
        let expected = reference::softmax::softmax(classes, &wide(&logits));
        let loss = reference::softmax::cross_entropy(classes, &wide(&logits), &labels);
        let grad = reference::softmax::cross_entropy_backward(classes, &expected, &labels, 0.7);
        for isa in Isa::all() {
            let plain = filled(logits.len(), |p| softmax::softmax(isa, batch, classes, &logits, p));
            assert_close(&plain, &expected, MAX_SUM_ERROR, "softmax", isa);
            let mut probabilities = dirty(logits.len());
            let actual = softmax::cross_entropy(isa, batch, classes, &logits, &labels, &mut probabilities);
            assert_eq!(plain, probabilities);
            assert!((f64::from(actual) - loss).abs() < MAX_SUM_ERROR * loss.max(1.0), "{isa:?}: {actual} {loss}");
            let actual = filled(logits.len(), |g| {
                softmax::cross_entropy_backward(batch, classes, &probabilities, &labels, 0.7, g);
            });
            let worst = actual.iter().zip(&grad).map(|(&a, e)| (f64::from(a) - e).abs()).fold(0.0, f64::max);
            assert!(worst < MAX_ROUNDING_ERROR, "{isa:?}: {worst:e}");
        }
    }
}

proptest! {
    #[test]
    fn weighted_cross_entropy_is_as_the_reference(
        batch in 1usize..6, classes in 1usize..20, scale in 0.1f32..60.0, seed in 0u64..1000,
    ) {
        let logits: Vec<f32> = values(batch * classes, seed).iter().map(|x| x * scale).collect();
        let labels: Vec<u32> = (0..batch).map(|n| ((n as u64 * 3 + seed) % classes as u64) as u32).collect();
        let weights: Vec<f32> = values(classes, seed + 1).iter().map(|x| x.abs() + 0.05).collect();
        let loss = reference::softmax::weighted_cross_entropy(classes, &wide(&logits), &labels, &wide(&weights));
        let expected = reference::softmax::softmax(classes, &wide(&logits));
        let grad =
            reference::softmax::weighted_cross_entropy_backward(classes, &expected, &labels, &wide(&weights), 0.7);
        for isa in Isa::all() {
            let (mut probabilities, mut shares) = (dirty(logits.len()), dirty(batch));
            let actual = softmax::weighted_cross_entropy(
                isa, batch, classes, &logits, &labels, &weights, &mut probabilities, &mut shares,
            );
            prop_assert_eq!(&probabilities, &filled(logits.len(), |p| softmax::softmax(isa, batch, classes, &logits, p)));
            prop_assert!((f64::from(actual) - loss).abs() < MAX_SUM_ERROR * loss.max(1.0), "{:?}: {} {}", isa, actual, loss);
            let actual = filled(logits.len(), |g| {
                softmax::weighted_cross_entropy_backward(batch, classes, &probabilities, &labels, &shares, 0.7, g);
            });
            let worst = actual.iter().zip(&grad).map(|(&a, e)| (f64::from(a) - e).abs()).fold(0.0, f64::max);
            prop_assert!(worst < MAX_ROUNDING_ERROR, "{:?}: {:e}", isa, worst);
        }
    }
}

/// `torch.nn.CrossEntropyLoss(weight=[0.5, 1, 3], reduction='mean')` in float64 (PyTorch 2.15) on the logits below, and its gradient.
#[test]
fn weighted_cross_entropy_is_pytorchs() {
    let logits = [1.5, -0.25, 0.75, -2.0, 0.5, 3.0, 0.25, 0.125, -1.0, 2.0, 2.0, 2.0];
    let (labels, weights) = ([2, 0, 1, 2], [0.5, 1.0, 3.0]);
    let loss = 1.3977270491700946;
    #[rustfmt::skip]
    let grad = [
        0.242992624825, 0.0422257866452, -0.28521841147, -0.0662541143151, 0.00502591653087, 0.0612281977843,
        0.061472212478, -0.0790842962265, 0.0176120837485, 0.133333333333, 0.133333333333, -0.266666666667,
    ];
    for isa in Isa::all() {
        let (mut probabilities, mut shares, mut actual) = (dirty(12), dirty(4), dirty(12));
        let value = softmax::weighted_cross_entropy(isa, 4, 3, &logits, &labels, &weights, &mut probabilities, &mut shares);
        assert!((f64::from(value) - loss).abs() < 4e-7, "{isa:?}: {value}");
        softmax::weighted_cross_entropy_backward(4, 3, &probabilities, &labels, &shares, 1.0, &mut actual);
        assert_close(&actual, &grad, MAX_ROUNDING_ERROR, "gradient", isa);
    }
}

/// Equal weights are none, whatever they are.
#[test]
fn equal_weights_change_nothing() {
    let (logits, labels) = (values(15, 3), [0, 1, 2, 1, 0]);
    for isa in Isa::all() {
        let (mut plain, mut weighted, mut shares) = (dirty(15), dirty(15), dirty(5));
        let a = softmax::cross_entropy(isa, 5, 3, &logits, &labels, &mut plain);
        let b = softmax::weighted_cross_entropy(isa, 5, 3, &logits, &labels, &[0.25; 3], &mut weighted, &mut shares);
        assert_eq!((a, &plain), (b, &weighted), "{isa:?}");
        let [mut a, mut b] = [dirty(15), dirty(15)];
        softmax::cross_entropy_backward(5, 3, &plain, &labels, 0.5, &mut a);
        softmax::weighted_cross_entropy_backward(5, 3, &plain, &labels, &shares, 0.5, &mut b);
        assert_close(&b, &wide(&a), MAX_ROUNDING_ERROR, "gradient", isa);
    }
}

#[test]
fn the_loss_of_a_hopeless_label_is_finite() {
    for isa in Isa::all() {
        let loss = softmax::cross_entropy(isa, 1, 2, &[500.0, -500.0], &[1], &mut [0.0; 2]);
        assert_eq!(loss, 1000.0, "{isa:?}");
    }
}

// ---- Adam ----

/// Gradients that weight decay (here at most 0.1) cannot cancel: a first step is gradient / |gradient|, noise where it is.
fn gradients(len: usize, seed: u64) -> Vec<f32> {
    values(len, seed).into_iter().map(|x| x + 0.2_f32.copysign(x)).collect()
}

fn adam_steps(isa: Isa, len: usize, weight_decay: f32, decoupled: bool, seed: u64) -> [Vec<f32>; 3] {
    let (mut parameter, mut first, mut second) = (values(len, seed), vec![0.0; len], vec![0.0; len]);
    for step in 1..=3 {
        let adam = AdamStep { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay, decoupled, step };
        adam::step(isa, &adam, &gradients(len, seed + step), &mut parameter, &mut first, &mut second);
    }
    [parameter, first, second]
}

fn check_adam(len: usize, weight_decay: f32, decoupled: bool, seed: u64) {
    let mut expected = [wide(&values(len, seed)), vec![0.0; len], vec![0.0; len]];
    for step in 1..=3 {
        let adam = reference::adam::AdamStep {
            learning_rate: f64::from(0.01_f32),
            beta1: f64::from(0.9_f32),
            beta2: f64::from(0.999_f32),
            epsilon: 1e-8,
            weight_decay: f64::from(weight_decay),
            decoupled,
            step,
        };
        let gradient = wide(&gradients(len, seed + step));
        expected = reference::adam::step(&adam, &gradient, &expected[0], &expected[1], &expected[2]);
    }
    for isa in Isa::all() {
        let [parameter, first, second] = adam_steps(isa, len, weight_decay, decoupled, seed);
        // Gradients of about 1 and of either sign may cancel in these two, of which a single one may be all there is.
        assert_near(&parameter, &expected[0], 1.0, MAX_SUM_ERROR, "adam, parameter", isa);
        assert_near(&first, &expected[1], 0.1, MAX_SUM_ERROR, "adam, first moment", isa);
        assert_close(&second, &expected[2], MAX_SUM_ERROR, "adam, second moment", isa);
    }
}

proptest! {
    #[test]
    fn adam_is_as_the_reference(len in 1usize..60, weight_decay in 0f32..0.1, decoupled: bool, seed in 0u64..1000) {
        check_adam(len, weight_decay, decoupled, seed);
    }
}

#[test]
fn adam_of_many_chunks() {
    check_adam(100_003, 0.0, false, 1);
}

/// Three steps of `torch.optim.AdamW(lr=0.01, weight_decay=0.1)` in float64 (PyTorch 2.15) from and with the values below.
#[test]
fn decoupled_decay_is_pytorchs() {
    let gradients = [[0.5, -0.25, 2.0], [-0.125, 0.75, 1.0], [1.5, -1.0, 0.25]];
    let expected = [0.975112708776, -1.98631894256, 0.471337512985];
    for isa in Isa::all() {
        let (mut parameter, mut first, mut second) = (vec![1.0, -2.0, 0.5], vec![0.0; 3], vec![0.0; 3]);
        for (step, gradient) in (1..).zip(&gradients) {
            let adam = AdamStep {
                learning_rate: 0.01,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.1,
                decoupled: true,
                step,
            };
            adam::step(isa, &adam, gradient, &mut parameter, &mut first, &mut second);
        }
        assert_close(&parameter, &expected, MAX_ROUNDING_ERROR, "parameter", isa);
    }
}

// ---- threads ----

/// Every kernel's outputs at sizes of several chunks.
fn everything(isa: Isa) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    for channels in [64, 13] {
        let shape = ReduceShape { batch: 3, pixels: 1500, channels };
        let (input, grad) = (values(shape.len(), 1), values(shape.len(), 2));
        let (vectors, maps) = (values(3 * channels, 3), values(2 * 3 * 1500, 4));
        let bits = |argmax: Vec<u32>| argmax.into_iter().map(f32::from_bits).collect::<Vec<_>>();
        let mut map = |work: &dyn Fn(&mut [f32])| all.push(filled(shape.len(), work));
        map(&|y| elementwise::relu(isa, &input, y));
        map(&|y| {
            y.copy_from_slice(&grad);
            elementwise::relu_backward(isa, &input, y);
        });
        map(&|y| elementwise::add(isa, &input, &grad, y));
        map(&|y| elementwise::sigmoid(isa, &input, y));
        map(&|y| elementwise::sigmoid_backward(isa, &input, &grad, y));
        map(&|y| reduce::global_average_backward(isa, shape, &vectors, y, false));
        map(&|y| attention::scale_channels(isa, shape, &input, &vectors, y));
        map(&|y| attention::scale_pixels(isa, shape, &input, &maps[..maps.len() / 2], y));
        all.push(filled(vectors.len(), |y| reduce::global_average(isa, shape, &input, y)));
        all.push(filled(2 * vectors.len(), |y| reduce::global_stats(isa, shape, &input, y)));
        let (maximum, argmax) = global_max(isa, shape, &input);
        all.push(filled(shape.len(), |x| reduce::global_max_backward(isa, shape, &argmax, &vectors, x, false)));
        all.extend([maximum, bits(argmax)]);
        let (stats, argmax) = channel_stats(isa, shape, &input);
        all.push(filled(shape.len(), |x| attention::channel_stats_backward(isa, shape, &argmax, &maps, x, false)));
        all.extend([stats, bits(argmax)]);
        let (stats, argmax) = scaled_channel_stats(isa, shape, &input, &vectors);
        let [mut x, mut factor] = [dirty(input.len()), dirty(vectors.len())];
        attention::scaled_channel_stats_backward(isa, shape, &input, &vectors, &argmax, &maps, &mut x, &mut factor, false);
        all.extend([stats, bits(argmax), x, factor]);
        all.extend(scale_add_relu_backward(isa, shape, [&input, &vectors, &maps[..maps.len() / 2], &input, &grad]));
        let [mut x, mut factor] = [dirty(input.len()), dirty(vectors.len())];
        attention::scale_channels_backward(isa, shape, &input, &vectors, &grad, &mut x, &mut factor);
        all.extend([x, factor]);
        let [mut x, mut factor] = [dirty(input.len()), dirty(maps.len() / 2)];
        attention::scale_pixels_backward(isa, shape, &input, &maps[..maps.len() / 2], &grad, &mut x, &mut factor);
        all.extend([x, factor]);
        let shape = NormShape { pixels: 4500, channels, relu: true };
        let (gamma, beta) = (values(channels, 5), values(channels, 6));
        let norm = Norm::run(isa, shape, &input, &gamma, &beta, &grad);
        all.extend([norm.output, norm.mean, norm.inv_std, norm.variance, norm.inference]);
        all.extend(norm.grads);
        let shape = PoolShape {
            batch: 3,
            rows: 50,
            columns: 30,
            channels,
            kernel: [3; 2],
            stride: [2; 2],
            padding: [1; 2],
            ceil_mode: false,
        };
        let (maximum, argmax) = max_pool(isa, shape, &input);
        all.push(filled(input.len(), |x| pool::max_pool_backward(isa, shape, &argmax, &maximum, x)));
        all.push(filled(input.len(), |x| pool::average_pool_backward(isa, shape, &maximum, x)));
        all.push(filled(maximum.len(), |y| pool::average_pool(isa, shape, &input, y)));
        all.extend([maximum, bits(argmax)]);
    }
    let (input, shape) = (values(3 * 50 * 30 * 64, 7), ConcatShape { pixels: 1500, channels: [64, 64, 64, 0] });
    let joined = filled(input.len(), |y| concat::forward(shape, &input.chunks(1500 * 64).collect::<Vec<_>>(), y));
    all.push(filled(1500 * 64, |x| concat::backward(shape, 1, &joined, x)));
    all.extend(drop_out(isa, Dropout { rate: 0.5, seed: 1, step: 1, place: 0 }, &input));
    all.push(filled(64, |sums| bias::backward(isa, &input, sums, &mut dirty(bias::scratch_len(4500, 64)))));
    let shape = AdaptiveShape { batch: 3, size: [50, 30], channels: 64, windows: [4, 4] };
    let averages = filled(shape.output_len(), |y| adaptive::forward(isa, shape, &input, y));
    all.push(filled(input.len(), |x| adaptive::backward(isa, shape, &averages, x)));
    all.extend([joined, averages]);
    let (linear, _) = Linear::run(isa, LinearShape { batch: 9, in_features: 300, out_features: 70 }, 1);
    all.push(linear.output);
    all.extend(linear.grads);
    all.extend(adam_steps(isa, 50_000, 0.01, false, 1));
    all.extend(adam_steps(isa, 50_000, 0.01, true, 1));
    all
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    for isa in Isa::all() {
        let runs = [1, 2, 3].map(|threads| Pool::new(threads).expect("threads").run(|| everything(isa)));
        for (i, one) in runs[0].iter().enumerate() {
            for other in &runs[1..] {
                let same = one.iter().zip(&other[i]).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same && one.len() == other[i].len(), "{isa:?}: output {i} differs");
            }
        }
    }
}
