//! Every kernel, forward and backward.

use crate::compare::{Goldens, Ledger, to_hwio, to_nchw, to_nhwc, to_oihw};
use osteon_kernels::adam::{self, AdamStep};
use osteon_kernels::adaptive::{self, AdaptiveShape};
use osteon_kernels::attention;
use osteon_kernels::concat::{self, ConcatShape};
use osteon_kernels::conv::{Algorithm, ConvShape, Epilogue, Pass};
use osteon_kernels::elementwise;
use osteon_kernels::gemm::{self, GemmShape};
use osteon_kernels::linear::{self, LinearShape};
use osteon_kernels::norm::{self, NormShape};
use osteon_kernels::pool::{self, PoolShape};
use osteon_kernels::reduce::{self, ReduceShape};
use osteon_kernels::simd::Isa;
use osteon_kernels::softmax;
use osteon_reference::golden;

/// Of one operation, forward or backward: a fifth of what the logits may have after 26 layers. An f32 sum of 4608 products
/// has 1e-7 to 1e-6; the rest is room for algorithms that multiply less and round more, such as Winograd's. Adam's second
/// moment has 1.3e-5, since `1 - beta2` is formed from an f32 `beta2`; the bias correction divides by the same factor.
const MAX_OPERATION_ERROR: f64 = 2e-5;

/// Compares results of one case with the file, each under `CASE.NAME`.
struct Case<'a> {
    isa: Isa,
    goldens: &'a Goldens,
    ledger: &'a mut Ledger,
    name: String,
}

impl Case<'_> {
    fn input(&self, name: &str, len: usize) -> Vec<f32> {
        self.goldens.input(&format!("{}.{name}", self.name), len)
    }

    fn check(&mut self, name: &str, actual: &[f32]) {
        let operation = self.name.split('.').next().unwrap_or_default();
        let pass = if name.starts_with("grad_") { "backward" } else { "forward" };
        let (row, name) = (format!("{operation} {pass}"), format!("{}.{name}", self.name));
        self.ledger.compare(self.isa, &row, MAX_OPERATION_ERROR, self.goldens, &name, actual);
    }
}

fn blank(len: usize) -> Vec<f32> {
    vec![f32::NAN; len] // every kernel overwrites its outputs
}

#[test]
fn every_operation_is_pytorchs() {
    let goldens = Goldens::read("operations.safetensors");
    let mut ledger = Ledger::default();
    type Operation = (&'static str, fn(&mut Case));
    let operations: &[Operation] = &[
        ("adaptive_average", adaptive_average),
        ("ceil_max_pool", ceil_max_pool),
        ("concat", concat),
        ("conv2d", conv2d),
        ("gemm", gemm),
        ("batch_norm", batch_norm),
        ("relu", relu),
        ("sigmoid", sigmoid),
        ("add", add),
        ("max_pool", max_pool),
        ("average_pool", average_pool),
        ("global_average", global_average),
        ("global_max", global_max),
        ("channel_stats", channel_stats),
        ("scale_channels", scale_channels),
        ("scale_pixels", scale_pixels),
        ("linear", linear),
        ("cross_entropy", cross_entropy),
        ("adam", adam),
        ("softmax", softmax),
    ];
    for isa in Isa::all() {
        for &(operation, run) in operations {
            let cases = if operation == "softmax" { "cross_entropy" } else { operation };
            for name in goldens.cases(cases) {
                run(&mut Case { isa, goldens: &goldens, ledger: &mut ledger, name });
            }
        }
    }
    ledger.finish("operations");
    let known = |case: &String| operations.iter().any(|(operation, _)| case.split('.').next() == Some(*operation));
    assert!(goldens.all_cases().iter().all(known), "each case of the file is of an operation above: {:?}", goldens.all_cases());
}

fn conv2d(case: &mut Case) {
    let [batch, in_channels, rows, columns, out_channels, kh, kw, sh, sw, ph, pw] = case.goldens.shape(&case.name);
    let (kernel, stride, padding) = ([kh, kw], [sh, sw], [ph, pw]);
    let shape = ConvShape { batch, rows, columns, in_channels, out_channels, kernel, stride, padding };
    let (nchw, oihw) = ([batch, in_channels, rows, columns], [out_channels, in_channels, kh, kw]);
    let out = [batch, out_channels, shape.out_rows(), shape.out_columns()];
    let input = to_nhwc(&case.input("input", shape.input_len()), nchw);
    let weights = to_hwio(&case.input("weight", shape.weight_len()), oihw);
    let grad_output = to_nhwc(&case.input("grad_output", shape.output_len()), out);

    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.supports(Pass::Forward, shape)) {
        let mut packed = blank(algorithm.packed_len(shape));
        algorithm.pack(case.isa, shape, &weights, &mut packed);
        let (mut output, mut scratch) = (blank(shape.output_len()), blank(algorithm.forward_scratch_len(shape)));
        algorithm.forward(case.isa, shape, &input, &packed, Epilogue::default(), &mut output, &mut scratch);
        case.check("output", &to_nchw(&output, out));

        if !algorithm.supports(Pass::BackwardData, shape) {
            continue;
        }
        let (mut grad_input, mut scratch) = (blank(shape.input_len()), blank(algorithm.backward_data_scratch_len(shape)));
        algorithm.backward_data(case.isa, shape, &grad_output, &weights, (&mut grad_input, false), &mut scratch);
        case.check("grad_input", &to_nchw(&grad_input, nchw));

        let mut grad_weights = blank(shape.weight_len());
        let mut scratch = blank(algorithm.backward_weights_scratch_len(shape));
        algorithm.backward_weights(case.isa, shape, &input, &grad_output, &mut grad_weights, &mut scratch);
        case.check("grad_weight", &to_oihw(&grad_weights, oihw));
    }
}

/// The gradients of a product are products too: `grad_a = grad b^T`, `grad_b = a^T grad`, each transposed if its operand is.
fn gemm(case: &mut Case) {
    let [m, n, k, transpose_a, transpose_b] = case.goldens.shape(&case.name);
    let (ta, tb) = (transpose_a == 1, transpose_b == 1);
    let (a, b, grad) = (case.input("a", m * k), case.input("b", k * n), case.input("grad_output", m * n));
    let isa = case.isa;
    let mut product = |name, m, n, k, (a, transpose_a): (&[f32], bool), (b, transpose_b): (&[f32], bool)| {
        let shape = GemmShape { m, n, k, transpose_a, transpose_b };
        let (mut c, mut scratch) = (blank(m * n), blank(gemm::scratch_len(shape)));
        gemm::gemm(isa, shape, a, b, &mut c, &mut scratch);
        case.check(name, &c);
    };
    product("output", m, n, k, (&a, ta), (&b, tb));
    match ta {
        false => product("grad_a", m, k, n, (&grad, false), (&b, !tb)),
        true => product("grad_a", k, m, n, (&b, tb), (&grad, true)),
    }
    match tb {
        false => product("grad_b", k, n, m, (&a, !ta), (&grad, false)),
        true => product("grad_b", n, k, m, (&grad, true), (&a, ta)),
    }
}

fn batch_norm(case: &mut Case) {
    let (isa, nchw @ [batch, channels, rows, columns]) = (case.isa, case.goldens.shape(&case.name));
    let shape = NormShape { pixels: batch * rows * columns, channels, relu: false };
    let input = to_nhwc(&golden::fill(&format!("{}.input", case.name), shape.len(), 3.0, 2.0), nchw);
    let grad_output = to_nhwc(&case.input("grad_output", shape.len()), nchw);
    let parameter = |name: &str| golden::parameter(&format!("{}.{name}", case.name), &[channels]);
    let (gamma, beta) = (parameter("weight"), parameter("bias"));
    let (mut running_mean, mut running_var) = (parameter("running_mean"), parameter("running_var"));
    let (mut output, mut scratch) = (blank(shape.len()), blank(norm::scratch_len(shape)));

    norm::forward_inference(isa, shape, 1e-5, &input, &gamma, &beta, &running_mean, &running_var, &mut output, &mut scratch);
    case.check("inference", &to_nchw(&output, nchw));

    let [mut mean, mut inv_std, mut variance] = [(); 3].map(|()| blank(channels));
    norm::forward_training(
        isa,
        shape,
        1e-5,
        &input,
        &gamma,
        &beta,
        &mut output,
        &mut mean,
        &mut inv_std,
        &mut variance,
        &mut scratch,
    );
    case.check("output", &to_nchw(&output, nchw));
    norm::update_running(0.1, shape.pixels, &mean, &variance, &mut running_mean, &mut running_var);
    case.check("running_mean", &running_mean);
    case.check("running_var", &running_var);

    let (mut grad, mut grad_gamma, mut grad_beta) = (grad_output, blank(channels), blank(channels));
    norm::backward(isa, shape, &input, &gamma, &beta, &mean, &inv_std, &mut grad, &mut grad_gamma, &mut grad_beta, &mut scratch);
    case.check("grad_input", &to_nchw(&grad, nchw));
    case.check("grad_weight", &grad_gamma);
    case.check("grad_bias", &grad_beta);
}

fn relu(case: &mut Case) {
    let [len] = case.goldens.shape(&case.name);
    let (mut output, mut grad) = (blank(len), case.input("grad_output", len));
    elementwise::relu(case.isa, &case.input("input", len), &mut output);
    case.check("output", &output);
    elementwise::relu_backward(case.isa, &output, &mut grad);
    case.check("grad_input", &grad);
}

fn sigmoid(case: &mut Case) {
    let [len] = case.goldens.shape(&case.name);
    let (mut output, mut grad_input) = (blank(len), blank(len));
    let input = golden::fill(&format!("{}.input", case.name), len, 0.0, 8.0);
    elementwise::sigmoid(case.isa, &input, &mut output);
    case.check("output", &output);
    elementwise::sigmoid_backward(case.isa, &output, &case.input("grad_output", len), &mut grad_input);
    case.check("grad_input", &grad_input);
}

/// Its backward passes the gradient on as it is; where a value is used twice, gradients are added.
fn add(case: &mut Case) {
    let [len] = case.goldens.shape(&case.name);
    let (a, b, grad) = (case.input("a", len), case.input("b", len), case.input("grad_output", len));
    let mut output = blank(len);
    elementwise::add(case.isa, &a, &b, &mut output);
    case.check("output", &output);
    let mut sum = a.clone();
    elementwise::add_assign(case.isa, &mut sum, &b);
    case.check("output", &sum);
    case.check("grad_a", &grad);
    case.check("grad_b", &grad);
}

fn max_pool(case: &mut Case) {
    pooling(case, false, |isa, shape, input, output, grad_output, grad_input| {
        let mut argmax = vec![u32::MAX; output.len()];
        pool::max_pool(isa, shape, input, output, &mut argmax);
        pool::max_pool_backward(isa, shape, &argmax, grad_output, grad_input);
    });
}

fn ceil_max_pool(case: &mut Case) {
    pooling(case, true, |isa, shape, input, output, grad_output, grad_input| {
        let mut argmax = vec![u32::MAX; output.len()];
        pool::max_pool(isa, shape, input, output, &mut argmax);
        pool::max_pool_backward(isa, shape, &argmax, grad_output, grad_input);
    });
}

fn average_pool(case: &mut Case) {
    pooling(case, false, |isa, shape, input, output, grad_output, grad_input| {
        pool::average_pool(isa, shape, input, output);
        pool::average_pool_backward(isa, shape, grad_output, grad_input);
    });
}

fn pooling(case: &mut Case, ceil_mode: bool, run: impl Fn(Isa, PoolShape, &[f32], &mut [f32], &[f32], &mut [f32])) {
    let [batch, channels, rows, columns, kh, kw, sh, sw, ph, pw] = case.goldens.shape(&case.name);
    let shape = PoolShape { batch, rows, columns, channels, kernel: [kh, kw], stride: [sh, sw], padding: [ph, pw], ceil_mode };
    let (nchw, out) = ([batch, channels, rows, columns], [batch, channels, shape.out_rows(), shape.out_columns()]);
    let input = to_nhwc(&case.input("input", shape.input_len()), nchw);
    let grad_output = to_nhwc(&case.input("grad_output", shape.output_len()), out);
    let (mut output, mut grad_input) = (blank(shape.output_len()), blank(shape.input_len()));
    run(case.isa, shape, &input, &mut output, &grad_output, &mut grad_input);
    case.check("output", &to_nchw(&output, out));
    case.check("grad_input", &to_nchw(&grad_input, nchw));
}

fn adaptive_average(case: &mut Case) {
    let [batch, channels, rows, columns, over, across] = case.goldens.shape(&case.name);
    let shape = AdaptiveShape { batch, size: [rows, columns], channels, windows: [over, across] };
    let (nchw, out) = ([batch, channels, rows, columns], [batch, channels, over, across]);
    let input = to_nhwc(&case.input("input", shape.input_len()), nchw);
    let grad_output = to_nhwc(&case.input("grad_output", shape.output_len()), out);
    let (mut output, mut grad_input) = (blank(shape.output_len()), blank(shape.input_len()));
    adaptive::forward(case.isa, shape, &input, &mut output);
    adaptive::backward(case.isa, shape, &grad_output, &mut grad_input);
    case.check("output", &to_nchw(&output, out));
    case.check("grad_input", &to_nchw(&grad_input, nchw));
}

fn concat(case: &mut Case) {
    let [batch, rows, columns, channels @ ..] = case.goldens.shape::<7>(&case.name);
    let shape = ConcatShape { pixels: batch * rows * columns, channels };
    let nchw = |channels| [batch, channels, rows, columns];
    let part = |k: usize| case.input(&format!("part_{k}"), shape.pixels * channels[k]);
    let parts: Vec<Vec<f32>> = (0..channels.len()).map(|k| to_nhwc(&part(k), nchw(channels[k]))).collect();
    let parts: Vec<&[f32]> = parts.iter().map(Vec::as_slice).collect();
    let out = nchw(shape.out_channels());
    let mut output = blank(shape.pixels * shape.out_channels());
    concat::forward(shape, &parts, &mut output);
    case.check("output", &to_nchw(&output, out));
    let grad_output = to_nhwc(&case.input("grad_output", output.len()), out);
    for (k, &channels) in channels.iter().enumerate() {
        let mut grad = blank(shape.pixels * channels);
        concat::backward(shape, k, &grad_output, &mut grad);
        case.check(&format!("grad_part_{k}"), &to_nchw(&grad, nchw(channels)));
    }
}

fn global_average(case: &mut Case) {
    reduction(case, |isa, shape, input, output, grad_output, grad_input| {
        reduce::global_average(isa, shape, input, output);
        reduce::global_average_backward(isa, shape, grad_output, grad_input, false);
    });
}

fn global_max(case: &mut Case) {
    reduction(case, |isa, shape, input, output, grad_output, grad_input| {
        let mut argmax = vec![u32::MAX; output.len()];
        reduce::global_max(isa, shape, input, output, &mut argmax);
        reduce::global_max_backward(isa, shape, &argmax, grad_output, grad_input, false);
    });
}

fn reduction(case: &mut Case, run: impl Fn(Isa, ReduceShape, &[f32], &mut [f32], &[f32], &mut [f32])) {
    let (nchw, shape) = sizes(case);
    let input = to_nhwc(&case.input("input", shape.len()), nchw);
    let grad_output = case.input("grad_output", shape.batch * shape.channels);
    let (mut output, mut grad_input) = (blank(grad_output.len()), blank(shape.len()));
    run(case.isa, shape, &input, &mut output, &grad_output, &mut grad_input);
    case.check("output", &output);
    case.check("grad_input", &to_nchw(&grad_input, nchw));
}

/// PyTorch's sizes of a case, and what the kernels make of them.
fn sizes(case: &Case) -> ([usize; 4], ReduceShape) {
    let nchw @ [batch, channels, rows, columns] = case.goldens.shape(&case.name);
    (nchw, ReduceShape { batch, pixels: rows * columns, channels })
}

fn channel_stats(case: &mut Case) {
    let (nchw @ [batch, _, rows, columns], shape) = sizes(case);
    let out = [batch, 2, rows, columns];
    let input = to_nhwc(&case.input("input", shape.len()), nchw);
    let grad_output = to_nhwc(&case.input("grad_output", out.iter().product()), out);
    let (mut output, mut argmax) = (blank(grad_output.len()), vec![u32::MAX; batch * shape.pixels]);
    let mut grad_input = blank(shape.len());
    attention::channel_stats(case.isa, shape, &input, &mut output, &mut argmax);
    case.check("output", &to_nchw(&output, out));
    attention::channel_stats_backward(case.isa, shape, &argmax, &grad_output, &mut grad_input, false);
    case.check("grad_input", &to_nchw(&grad_input, nchw));
}

fn scale_channels(case: &mut Case) {
    let (nchw, shape) = sizes(case);
    let input = to_nhwc(&case.input("input", shape.len()), nchw);
    let factor = case.input("factor", shape.batch * shape.channels);
    let grad_output = to_nhwc(&case.input("grad_output", shape.len()), nchw);
    let (mut output, mut grad_input, mut grad_factor) = (blank(shape.len()), blank(shape.len()), blank(factor.len()));
    attention::scale_channels(case.isa, shape, &input, &factor, &mut output);
    case.check("output", &to_nchw(&output, nchw));
    attention::scale_channels_backward(case.isa, shape, &input, &factor, &grad_output, &mut grad_input, &mut grad_factor);
    case.check("grad_input", &to_nchw(&grad_input, nchw));
    case.check("grad_factor", &grad_factor);
}

fn scale_pixels(case: &mut Case) {
    let (nchw, shape) = sizes(case);
    let input = to_nhwc(&case.input("input", shape.len()), nchw);
    let factor = case.input("factor", shape.batch * shape.pixels);
    let grad_output = to_nhwc(&case.input("grad_output", shape.len()), nchw);
    let (mut output, mut grad_input, mut grad_factor) = (blank(shape.len()), blank(shape.len()), blank(factor.len()));
    attention::scale_pixels(case.isa, shape, &input, &factor, &mut output);
    case.check("output", &to_nchw(&output, nchw));
    attention::scale_pixels_backward(case.isa, shape, &input, &factor, &grad_output, &mut grad_input, &mut grad_factor);
    case.check("grad_input", &to_nchw(&grad_input, nchw));
    case.check("grad_factor", &grad_factor);
}

fn linear(case: &mut Case) {
    let [batch, in_features, out_features] = case.goldens.shape(&case.name);
    let shape = LinearShape { batch, in_features, out_features };
    let (input, bias) = (case.input("input", batch * in_features), case.input("bias", out_features));
    let weight = case.input("weight", out_features * in_features);
    let grad_output = case.input("grad_output", batch * out_features);
    let mut output = blank(batch * out_features);
    linear::forward(case.isa, shape, &input, &weight, &bias, &mut output);
    case.check("output", &output);
    let (mut grad_input, mut grad_weight, mut grad_bias) = (blank(input.len()), blank(weight.len()), blank(bias.len()));
    linear::backward(case.isa, shape, &input, &weight, &grad_output, &mut grad_input, &mut grad_weight, &mut grad_bias);
    case.check("grad_input", &grad_input);
    case.check("grad_weight", &grad_weight);
    case.check("grad_bias", &grad_bias);
}

/// Sizes and logits of a case of cross-entropy.
fn logits(case: &Case) -> (usize, usize, Vec<f32>) {
    let [batch, classes] = case.goldens.shape(&case.name);
    let scale = case.goldens.get(&format!("{}.scale", case.name))[0];
    (batch, classes, golden::fill(&format!("{}.input", case.name), batch * classes, 0.0, scale))
}

fn cross_entropy(case: &mut Case) {
    let (batch, classes, logits) = logits(case);
    let labels = case.goldens.get(&format!("{}.labels", case.name));
    let labels: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
    let (mut probabilities, mut grad_input) = (blank(logits.len()), blank(logits.len()));
    let loss = softmax::cross_entropy(case.isa, batch, classes, &logits, &labels, &mut probabilities);
    case.check("output", &[loss]);
    case.check("probabilities", &probabilities);
    softmax::cross_entropy_backward(batch, classes, &probabilities, &labels, 1.0, &mut grad_input);
    case.check("grad_input", &grad_input);
}

fn softmax(case: &mut Case) {
    let (batch, classes, logits) = logits(case);
    let mut probabilities = blank(logits.len());
    softmax::softmax(case.isa, batch, classes, &logits, &mut probabilities);
    case.check("probabilities", &probabilities);
}

fn adam(case: &mut Case) {
    let [len, steps] = case.goldens.shape(&case.name);
    let settings: Vec<f32> = case.goldens.get(&format!("{}.settings", case.name)).iter().map(|&x| x as f32).collect();
    let &[learning_rate, beta1, beta2, epsilon, weight_decay] = &settings[..] else { panic!("five settings") };
    let (mut parameter, mut first_moment, mut second_moment) = (case.input("parameter", len), vec![0.0; len], vec![0.0; len]);
    for step in 0..steps {
        let gradient = golden::fill(&format!("{}.gradient.{step}", case.name), len, 0.1, 1.0);
        let adam = AdamStep { learning_rate, beta1, beta2, epsilon, weight_decay, decoupled: false, step: step as u64 + 1 };
        adam::step(case.isa, &adam, &gradient, &mut parameter, &mut first_moment, &mut second_moment);
    }
    case.check("output", &parameter);
    case.check("first_moment", &first_moment);
    case.check("second_moment", &second_moment);
}
