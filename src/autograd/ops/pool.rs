//! Maxima and means over windows of pixels, and over all of them.

use super::elementwise::CHAIN_RULE;
use super::{
    Backward, Description, Flops, Forward, Input, OnnxAttribute, OnnxNodes, Operand, Operation, Read, Run, Saved, checked, first,
    onnx_window, pixels, sizes, windowed, windows,
};
use crate::tensor::Shape;
use osteon_kernels::adaptive::{self, AdaptiveShape};
use osteon_kernels::{pool, reduce};
use serde::{Deserialize, Serialize};

const ACCUMULATES: Backward = Backward { in_place: false, accumulates: true, skips: false };

/// Maps (batch, rows, columns, channels) to (batch, channels).
fn vectors(x: Shape) -> Result<Shape, String> {
    let [batch, _, _, channels] = sizes("an input", x)?;
    Ok([batch, channels].into())
}

/// Maximum of windows of x (batch, rows, columns, channels); the first of equals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxPool {
    /// Rows and columns of a window.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Pixels at each edge that are less than any value.
    pub padding: [usize; 2],
    /// Whether there is one more window where pixels at the far edges would be in none (PyTorch's `ceil_mode`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ceil_mode: bool,
}

impl MaxPool {
    /// Kernel, stride and padding of the windows.
    pub fn window(&self) -> [[usize; 2]; 3] {
        [self.kernel, self.stride, self.padding]
    }
}

impl Operation for MaxPool {
    fn name(&self) -> &'static str {
        "max pool"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        windowed(inputs[0], self.window(), self.ceil_mode)
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let results = windows(inputs[0], self.window(), self.ceil_mode).output_len();
        Description {
            source: "Lin et al. 2022, table of Classifier-inRAC, `Pool`; Goodfellow et al. 2016, section 9.3",
            gradient_source: CHAIN_RULE,
            inputs: const { &[Input::of("x", &[Read::Saved(0)])] },
            reads: first::<1>(),
            gradients_read_output: false,
            retains_inputs: &[],
            retains_output: false,
            flops: Flops::new(0, [results, 0, 0, 0]),
            convolution: None,
            backward: Backward::default(),
            recomputed: false,
            linear: false,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let shape = windows(inputs[0].shape, self.window(), self.ceil_mode);
        let mut indices = run.indices(output.len());
        pool::max_pool(run.isa, shape, inputs[0].values, output, &mut indices);
        let shape = [shape.batch, shape.out_rows(), shape.out_columns(), shape.channels].into();
        Saved::Argmax { shape, indices }
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        let shape = windows(forward.inputs[0].shape, self.window(), self.ceil_mode);
        pool::max_pool_backward(run.isa, shape, forward.saved.argmax(), gradient, gradients[0]);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        let mut attributes = onnx_window(self.kernel, self.stride, self.padding).to_vec();
        attributes.extend(self.ceil_mode.then_some(("ceil_mode", OnnxAttribute::Integer(1))));
        nodes.add("MaxPool", inputs, output, &attributes);
        Some(())
    }
}

/// Mean of windows of x (batch, rows, columns, channels); padding counts as zeros.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AveragePool {
    /// Rows and columns of a window.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Zeros at each edge.
    pub padding: [usize; 2],
}

impl AveragePool {
    /// Kernel, stride and padding of the windows.
    pub fn window(&self) -> [[usize; 2]; 3] {
        [self.kernel, self.stride, self.padding]
    }
}

impl Operation for AveragePool {
    fn name(&self) -> &'static str {
        "average pool"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        windowed(inputs[0], self.window(), false)
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let results = windows(inputs[0], self.window(), false).output_len();
        Description {
            source: "Goodfellow et al. 2016, section 9.3",
            gradient_source: CHAIN_RULE,
            inputs: const { &[Input::of("x", &[])] },
            reads: first::<1>(),
            gradients_read_output: false,
            retains_inputs: &[],
            retains_output: false,
            flops: Flops::new(self.kernel[0] * self.kernel[1] * results, [results, 0, 0, 0]),
            convolution: None,
            backward: Backward::default(),
            recomputed: false,
            linear: true,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        pool::average_pool(run.isa, windows(inputs[0].shape, self.window(), false), inputs[0].values, output);
        Saved::Nothing
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        let shape = windows(forward.inputs[0].shape, self.window(), false);
        pool::average_pool_backward(run.isa, shape, gradient, gradients[0]);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        let mut attributes = onnx_window(self.kernel, self.stride, self.padding).to_vec();
        attributes.push(("count_include_pad", OnnxAttribute::Integer(1)));
        nodes.add("AveragePool", inputs, output, &attributes);
        Some(())
    }
}

/// Mean of the windows that divide x (batch, rows, columns, channels) into so many rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveAverage {
    /// Rows and columns of the result. Traces of before did not say them.
    #[serde(default)]
    pub windows: [usize; 2],
}

impl AdaptiveAverage {
    fn of(&self, x: Shape) -> AdaptiveShape {
        let [batch, rows, columns, channels] = checked(x);
        AdaptiveShape { batch, size: [rows, columns], channels, windows: self.windows }
    }
}

impl Operation for AdaptiveAverage {
    fn name(&self) -> &'static str {
        "adaptive average pool"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let [batch, rows, columns, channels] = sizes("an input", inputs[0])?;
        let [over, across] = self.windows;
        if [batch, rows, columns, channels, over, across].contains(&0) {
            return Err(format!("no division of {rows}x{columns} pixels into {over}x{across} windows"));
        }
        Ok([batch, over, across, channels].into())
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let results = self.of(inputs[0]).output_len();
        Description {
            source: "Goodfellow et al. 2016, section 9.3, over PyTorch's windows of AdaptiveAvgPool2d",
            gradient_source: CHAIN_RULE,
            inputs: const { &[Input::of("x", &[])] },
            reads: first::<1>(),
            gradients_read_output: false,
            retains_inputs: &[],
            retains_output: false,
            flops: Flops::new(inputs[0].len().max(results), [results, 0, 0, 0]),
            convolution: None,
            backward: Backward::default(),
            recomputed: false,
            linear: true,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        adaptive::forward(run.isa, self.of(inputs[0].shape), inputs[0].values, output);
        Saved::Nothing
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        adaptive::backward(run.isa, self.of(forward.inputs[0].shape), gradient, gradients[0]);
    }

    /// Only auxiliary classifiers have it.
    fn onnx(&self, _: &[&str], _: &str, _: &mut OnnxNodes) -> Option<()> {
        None
    }
}

/// Mean over the pixels of x (batch, rows, columns, channels): (batch, channels).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalAverage {}

impl Operation for GlobalAverage {
    fn name(&self) -> &'static str {
        "global average"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        vectors(inputs[0])
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let values = inputs[0].len();
        Description {
            source: "Lin, Chen and Yan 2014, section 3.2; in the attention: Woo et al. 2018, eq. 2",
            gradient_source: CHAIN_RULE,
            inputs: const { &[Input::of("x", &[])] },
            reads: first::<1>(),
            gradients_read_output: false,
            retains_inputs: &[],
            retains_output: false,
            flops: Flops::new(values, [values, 0, 0, 0]),
            convolution: None,
            backward: ACCUMULATES,
            recomputed: false,
            linear: true,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        reduce::global_average(run.isa, pixels(inputs[0].shape), inputs[0].values, output);
        Saved::Nothing
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        let shape = pixels(forward.inputs[0].shape);
        reduce::global_average_backward(run.isa, shape, gradient, gradients[0], forward.accumulate);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        nodes.global("GlobalAveragePool", inputs[0], output);
        Some(())
    }
}

/// Maximum over the pixels of x (batch, rows, columns, channels), the first of equals: (batch, channels).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalMax {}

impl Operation for GlobalMax {
    fn name(&self) -> &'static str {
        "global max"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        vectors(inputs[0])
    }

    fn describe(&self, _: &[Shape]) -> Description {
        Description {
            source: "Woo et al. 2018, eq. 2",
            gradient_source: CHAIN_RULE,
            inputs: const { &[Input::of("x", &[Read::Saved(0)])] },
            reads: first::<1>(),
            gradients_read_output: false,
            retains_inputs: &[],
            retains_output: false,
            flops: Flops::default(),
            convolution: None,
            backward: ACCUMULATES,
            recomputed: false,
            linear: false,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let shape = pixels(inputs[0].shape);
        let mut indices = run.indices(output.len());
        reduce::global_max(run.isa, shape, inputs[0].values, output, &mut indices);
        Saved::Argmax { shape: [shape.batch, shape.channels].into(), indices }
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        let (shape, argmax) = (pixels(forward.inputs[0].shape), forward.saved.argmax());
        reduce::global_max_backward(run.isa, shape, argmax, gradient, gradients[0], forward.accumulate);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        nodes.global("GlobalMaxPool", inputs[0], output);
        Some(())
    }
}

/// Means over the pixels of x (batch, rows, columns, channels), and then maxima, in one pass: (2 * batch, channels). In inference only.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalStats {}

impl Operation for GlobalStats {
    fn name(&self) -> &'static str {
        "global average and max"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let [batch, _, _, channels] = sizes("an input", inputs[0])?;
        Ok([2 * batch, channels].into())
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let flops = Flops::new(inputs[0].len(), [0; 4]);
        Description::without_gradient("Woo et al. 2018, eq. 2", const { &[Input::fixed("x")] }, first::<1>(), flops, None)
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        reduce::global_stats(run.isa, pixels(inputs[0].shape), inputs[0].values, output);
        Saved::Nothing
    }

    fn backward(&self, _: &Forward, _: &mut [f32], _: &mut [&mut [f32]], _: &mut Run) {
        unreachable!("in inference only")
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        let [mean, maximum] = ["mean", "maximum"].map(|what| format!("{output}.{what}"));
        nodes.global("GlobalAveragePool", inputs[0], &mean);
        nodes.global("GlobalMaxPool", inputs[0], &maximum);
        nodes.add("Concat", &[&mean, &maximum], output, &[("axis", OnnxAttribute::Integer(0))]);
        Some(())
    }
}
