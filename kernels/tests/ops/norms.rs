//! Batch normalisation.

use super::*;

pub struct Norm {
    pub output: Vec<f32>,
    pub mean: Vec<f32>,
    pub inv_std: Vec<f32>,
    pub variance: Vec<f32>,
    pub inference: Vec<f32>,
    /// input, gamma, beta
    pub grads: [Vec<f32>; 3],
}

impl Norm {
    pub fn run(isa: Isa, shape: NormShape, input: &[f32], gamma: &[f32], beta: &[f32], grad_output: &[f32]) -> Norm {
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
