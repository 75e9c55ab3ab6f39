//! Convolutions: by themselves, with a bias, and as inference fuses them with the batch normalisation that follows.

use super::{
    Backward, Description, Flops, Forward, Input, MAX_GRADIENTS, OnnxAttribute, OnnxNodes, Operand, Operation, Read, Run, Saved,
    expect, first, onnx_window, sizes, windowed, windows,
};
use crate::autograd::ParameterId;
use crate::tensor::Shape;
use osteon_kernels::conv::{self, Algorithm, ConvShape, Epilogue, Pass};
use osteon_kernels::reduce::ReduceShape;
use osteon_kernels::{attention, bias, elementwise};
use serde::{Deserialize, Serialize};

const SOURCE: &str = "Goodfellow et al. 2016, eq. 9.6 (cross-correlation)";
const GRADIENT_SOURCE: &str = "Goodfellow et al. 2016, eq. 9.11 (weight) and 9.13 (input)";

/// The most that is padded at a side. No network pads more than half its kernel.
const MAX_PADDING: usize = 1 << 20;

/// The convolution of x (batch, rows, columns, in) with a weight (kernel rows, kernel columns, in, out).
///
/// # Errors
/// What does not fit.
pub(crate) fn conv_shape(x: Shape, weight: Shape, stride: [usize; 2], padding: [usize; 2]) -> Result<ConvShape, String> {
    let [batch, rows, columns, in_channels] = sizes("an input", x)?;
    let [kernel_rows, kernel_columns, expected_channels, out_channels] = sizes("a weight", weight)?;
    if in_channels != expected_channels {
        return Err(format!("an input of {in_channels} channels where {expected_channels} were expected"));
    }
    let kernel = [kernel_rows, kernel_columns];
    let shape = ConvShape { batch, rows, columns, in_channels, out_channels, kernel, stride, padding };
    let room = !stride.contains(&0) && padding.iter().all(|&padding| padding < MAX_PADDING);
    if !room || [batch, out_channels, shape.out_rows(), shape.out_columns()].contains(&0) {
        return Err(format!("no room for a {kernel_rows}x{kernel_columns} kernel in {rows}x{columns} pixels"));
    }
    Ok(shape)
}

fn of(inputs: &[Shape], stride: [usize; 2], padding: [usize; 2]) -> ConvShape {
    conv_shape(inputs[0], inputs[1], stride, padding).expect("the shapes were checked")
}

fn of_operands(inputs: &[Operand], stride: [usize; 2], padding: [usize; 2]) -> ConvShape {
    of(&[inputs[0].shape, inputs[1].shape], stride, padding)
}

fn result(shape: ConvShape) -> Shape {
    [shape.batch, shape.out_rows(), shape.out_columns(), shape.out_channels].into()
}

/// What the gradients of x and weight have in common.
fn backward(shape: ConvShape, forward: &Forward, gradient: &[f32], gradients: &mut [&mut [f32]], run: &mut Run) {
    let [x, weight, ..] = gradients else { unreachable!("a convolution has gradients of x and weight") };
    let [data, weights] = [Pass::BackwardData, Pass::BackwardWeights].map(|pass| Algorithm::choose(pass, shape));
    let of_data = if x.is_empty() { 0 } else { data.backward_data_scratch_len(shape) };
    let of_weights = if weight.is_empty() { 0 } else { weights.backward_weights_scratch_len(shape) };
    let mut workspace = run.workspace(of_data.max(of_weights));
    if !x.is_empty() {
        let target = (&mut **x, forward.accumulate);
        data.backward_data(run.isa, shape, gradient, forward.inputs[1].values, target, &mut workspace);
    }
    if !weight.is_empty() {
        weights.backward_weights(run.isa, shape, forward.inputs[0].values, gradient, weight, &mut workspace);
    }
}

fn backward_writes(shape: ConvShape) -> Backward {
    Backward { in_place: false, accumulates: Algorithm::choose(Pass::BackwardData, shape).adds(), skips: true }
}

/// `y[n, i, j, k] = sum over r, s, c of x[n, i * stride - padding + r, j * stride - padding + s, c] * w[r, s, c, k]`: x (batch, rows,
/// columns, in), weight (kernel rows, kernel columns, in, out).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv {
    /// Step between outputs, in input rows and columns.
    pub stride: [usize; 2],
    /// Zeros at the top and bottom, and left and right.
    pub padding: [usize; 2],
}

impl Operation for Conv {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        conv_shape(inputs[0], inputs[1], self.stride, self.padding).map(result)
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let shape = of(inputs, self.stride, self.padding);
        Description {
            source: SOURCE,
            gradient_source: GRADIENT_SOURCE,
            inputs: const { &[Input::of("x", &[Read::Input(1)]), Input::of("weight", &[Read::Input(0)])] },
            reads: first::<2>(),
            gradients_read_output: false,
            retains_inputs: &[0, 1],
            retains_output: false,
            flops: Flops { products: shape.flops(), rest: 0, gradients: [shape.flops(), shape.flops(), 0, 0] },
            convolution: Some(shape),
            backward: backward_writes(shape),
            recomputed: false,
            linear: true,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let shape = of_operands(inputs, self.stride, self.padding);
        convolve(shape, inputs, Epilogue::default(), output, run)
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        backward(of_operands(forward.inputs, self.stride, self.padding), forward, gradient, gradients, run);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        // The kernel's sides follow from the weight.
        nodes.add("Conv", inputs, output, &onnx_strides(self.stride, self.padding));
        Some(())
    }
}

/// A convolution whose weights are packed here, or kept packed.
fn convolve(shape: ConvShape, inputs: &[Operand], epilogue: Epilogue, output: &mut [f32], run: &mut Run) -> Saved {
    let algorithm = Algorithm::choose(Pass::Forward, shape);
    let mut workspace = run.workspace(algorithm.forward_scratch_len(shape));
    let packed = run.packed(shape, &inputs[1]);
    algorithm.forward(run.isa, shape, inputs[0].values, &packed, epilogue, output, &mut workspace);
    Saved::Nothing
}

fn onnx_strides(stride: [usize; 2], padding: [usize; 2]) -> [(&'static str, OnnxAttribute); 2] {
    let [_, strides, pads] = onnx_window([0; 2], stride, padding);
    [strides, pads]
}

/// As [`Conv`], plus a bias (out); with `relu` the larger of that and 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvBias {
    /// Step between outputs, in input rows and columns.
    pub stride: [usize; 2],
    /// Zeros at the top and bottom, and left and right.
    pub padding: [usize; 2],
    /// Whether ReLU follows.
    pub relu: bool,
}

impl Operation for ConvBias {
    fn name(&self) -> &'static str {
        if self.relu { "conv, bias, relu" } else { "conv, bias" }
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let shape = conv_shape(inputs[0], inputs[1], self.stride, self.padding)?;
        expect("a bias", inputs[2], [shape.out_channels])?;
        Ok(result(shape))
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let shape = of(inputs, self.stride, self.padding);
        Description {
            source: "Goodfellow et al. 2016, eq. 9.6 (cross-correlation), and section 9.5 on biases",
            gradient_source: GRADIENT_SOURCE,
            inputs: const { &[Input::of("x", &[Read::Input(1)]), Input::of("weight", &[Read::Input(0)]), Input::of("bias", &[])] },
            reads: first::<3>(),
            gradients_read_output: self.relu,
            retains_inputs: &[0, 1],
            retains_output: self.relu,
            flops: Flops {
                products: shape.flops(),
                rest: shape.output_len() as u64,
                gradients: [shape.flops(), shape.flops(), shape.output_len() as u64, 0],
            },
            convolution: Some(shape),
            backward: backward_writes(shape),
            recomputed: false,
            linear: !self.relu,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let shape = of_operands(inputs, self.stride, self.padding);
        convolve(shape, inputs, Epilogue { bias: Some(inputs[2].values), relu: self.relu }, output, run)
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        if self.relu {
            elementwise::relu_backward(run.isa, forward.output, gradient);
        }
        let shape = of_operands(forward.inputs, self.stride, self.padding);
        backward(shape, forward, gradient, gradients, run);
        if let [_, _, of_bias] = gradients
            && !of_bias.is_empty()
        {
            let mut workspace = run.workspace(bias::scratch_len(gradient.len() / shape.out_channels, shape.out_channels));
            bias::backward(run.isa, gradient, of_bias, &mut workspace);
        }
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        nodes.add_relu(self.relu, "Conv", inputs, output, &onnx_strides(self.stride, self.padding));
        Some(())
    }
}

/// Inputs of a convolution whose batch normalisation is folded into its weights.
const fn folded(x: Input) -> [Input; 6] {
    [
        x,
        Input::fixed("weight"),
        Input::fixed("gamma"),
        Input::fixed("beta"),
        Input::fixed("running mean"),
        Input::fixed("running variance"),
    ]
}

fn folded_shape(inputs: &[Shape], stride: [usize; 2], padding: [usize; 2]) -> Result<ConvShape, String> {
    let shape = conv_shape(inputs[0], inputs[1], stride, padding)?;
    inputs[2..6].iter().try_for_each(|&parameter| expect("a parameter", parameter, [shape.out_channels]))?;
    Ok(shape)
}

/// The parameters whose packed form is kept: weight, and gamma, beta, running mean, running variance.
fn folded_parameters(inputs: &[Operand]) -> (ParameterId, [ParameterId; 4]) {
    let parameter = |k: usize| inputs[k].parameter.expect("a folded batch normalisation is one of parameters");
    (parameter(1), [2, 3, 4, 5].map(parameter))
}

/// A convolution and batch normalisation over running statistics, in one pass: x, weight, gamma, beta, running mean, running variance, of
/// which all but x are parameters. `y = (w factor) * x + (beta - mean factor)`, `factor = gamma / sqrt(variance + epsilon)`. Only x has a
/// gradient: `of_x = w * (g factor)`, transposed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvNorm {
    /// Of the convolution.
    pub stride: [usize; 2],
    /// Of the convolution.
    pub padding: [usize; 2],
    /// Of the batch normalisation.
    pub epsilon: f32,
    /// Whether ReLU follows.
    pub relu: bool,
}

impl Operation for ConvNorm {
    fn name(&self) -> &'static str {
        if self.relu { "conv, batch norm, relu" } else { "conv, batch norm" }
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        folded_shape(inputs, self.stride, self.padding).map(result)
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let shape = of(inputs, self.stride, self.padding);
        let outputs = shape.output_len() as u64;
        Description {
            source: "Goodfellow et al. 2016, eq. 9.6; Ioffe and Szegedy 2015, algorithm 2",
            gradient_source: "Goodfellow et al. 2016, eq. 9.13 (input), of the gradient times the normalisation's factor",
            inputs: const { &folded(Input::of("x", &[Read::Input(1), Read::Input(2), Read::Input(5)])) },
            reads: first::<6>(),
            gradients_read_output: self.relu,
            retains_inputs: &[1, 2, 5],
            retains_output: self.relu,
            flops: Flops { products: shape.flops(), rest: outputs, gradients: [shape.flops() + outputs, 0, 0, 0] },
            convolution: Some(shape),
            backward: backward_writes(shape),
            recomputed: false,
            linear: false,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let shape = of_operands(inputs, self.stride, self.padding);
        let algorithm = Algorithm::choose(Pass::Forward, shape);
        let mut workspace = run.workspace(algorithm.forward_scratch_len(shape));
        let (weight, norm) = folded_parameters(inputs);
        let packed = run.parameters.packed(weight, Some((norm, self.epsilon)), shape, run.isa);
        let epilogue = Epilogue { bias: Some(&packed.bias), relu: self.relu };
        algorithm.forward(run.isa, shape, inputs[0].values, &packed.weights, epilogue, output, &mut workspace);
        Saved::Nothing
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        if self.relu {
            elementwise::relu_backward(run.isa, forward.output, gradient);
        }
        let shape = of_operands(forward.inputs, self.stride, self.padding);
        let [gamma, variance] = [2, 5].map(|k| forward.inputs[k].values);
        let mut factors = run.buffer(shape.out_channels);
        for ((factor, gamma), variance) in factors.iter_mut().zip(gamma).zip(variance) {
            *factor = gamma / (variance + self.epsilon).sqrt();
        }
        // A factor a channel, of one image of all pixels.
        let of_factors = ReduceShape { batch: 1, pixels: gradient.len() / shape.out_channels, channels: shape.out_channels };
        let mut scaled = run.buffer(gradient.len());
        attention::scale_channels(run.isa, of_factors, gradient, &factors, &mut scaled);
        backward(shape, forward, &scaled, &mut [&mut *gradients[0], &mut []], run);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        let convolved = format!("{output}.conv");
        nodes.add("Conv", &inputs[..2], &convolved, &onnx_strides(self.stride, self.padding));
        let norm = [&[&*convolved], &inputs[2..]].concat();
        nodes.add_relu(self.relu, "BatchNormalization", &norm, output, &[("epsilon", OnnxAttribute::Float(self.epsilon))]);
        Some(())
    }
}

/// [`ConvNorm`], the maximum over windows, and the larger of that and 0, in one pass. In inference only, and of shapes whose algorithm is
/// implicit GEMM.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvNormPool {
    /// Of the convolution.
    pub stride: [usize; 2],
    /// Of the convolution.
    pub padding: [usize; 2],
    /// Of the batch normalisation.
    pub epsilon: f32,
    /// Rows and columns of the windows.
    pub pool: [usize; 2],
    /// Of the windows.
    pub pool_stride: [usize; 2],
    /// Of the windows.
    pub pool_padding: [usize; 2],
}

impl ConvNormPool {
    /// Kernel, stride and padding of the windows.
    pub fn window(&self) -> [[usize; 2]; 3] {
        [self.pool, self.pool_stride, self.pool_padding]
    }
}

impl Operation for ConvNormPool {
    fn name(&self) -> &'static str {
        "conv, batch norm, max pool, relu"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let shape = folded_shape(inputs, self.stride, self.padding)?;
        windowed(result(shape), self.window(), false)
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let source = "Goodfellow et al. 2016, eq. 9.6; Ioffe and Szegedy 2015, algorithm 2; Lin et al. 2022, table of \
                      Classifier-inRAC, `Pool`";
        let shape = of(inputs, self.stride, self.padding);
        let flops = Flops { products: shape.flops(), rest: 0, gradients: [0; MAX_GRADIENTS] };
        let inputs = const { &folded(Input::fixed("x")) };
        Description::without_gradient(source, inputs, first::<6>(), flops, Some(shape))
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let shape = of_operands(inputs, self.stride, self.padding);
        let pool = windows(result(shape), self.window(), false);
        let mut workspace = run.workspace(conv::forward_max_pool_scratch_len(shape, pool));
        let (weight, norm) = folded_parameters(inputs);
        let packed = run.parameters.packed(weight, Some((norm, self.epsilon)), shape, run.isa);
        let (x, weights, bias) = (inputs[0].values, &packed.weights, &packed.bias);
        conv::forward_max_pool(run.isa, shape, pool, x, weights, bias, output, &mut workspace);
        Saved::Nothing
    }

    fn backward(&self, _: &Forward, _: &mut [f32], _: &mut [&mut [f32]], _: &mut Run) {
        unreachable!("in inference only")
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        let Self { stride, padding, epsilon, .. } = *self;
        let normalised = format!("{output}.norm");
        ConvNorm { stride, padding, epsilon, relu: false }.onnx(inputs, &normalised, nodes)?;
        nodes.add_relu(true, "MaxPool", &[&normalised], output, &onnx_window(self.pool, self.pool_stride, self.pool_padding));
        Some(())
    }
}
