//! What happens to each value by itself: ReLU, sigmoid, sums, dropout.

use super::{
    Backward, Description, Flops, Forward, Input, OnnxNodes, Operand, Operation, Read, Run, Saved, expect, first, sizes,
};
use crate::tensor::Shape;
use osteon_kernels::{dropout, elementwise};
use serde::{Deserialize, Serialize};

/// Where the gradient of an equation without a source of its own is written.
pub(super) const CHAIN_RULE: &str = "the chain rule (Goodfellow et al. 2016, eq. 6.47) of its equation";

const IN_PLACE: Backward = Backward { in_place: true, accumulates: false, skips: false };

/// Two terms of one shape.
fn terms(inputs: &[Shape]) -> Result<Shape, String> {
    expect("a second term", inputs[1], inputs[0])?;
    Ok(inputs[0])
}

/// `max(x, 0)`; NaN stays NaN. x of any shape.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relu {}

impl Operation for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        Ok(inputs[0])
    }

    fn describe(&self, _: &[Shape]) -> Description {
        Description {
            source: "Glorot et al. 2011, section 3.1",
            gradient_source: CHAIN_RULE,
            inputs: const { &[Input::of("x", &[])] },
            reads: first::<1>(),
            gradients_read_output: true,
            retains_inputs: &[],
            retains_output: true,
            flops: Flops::default(),
            convolution: None,
            backward: IN_PLACE,
            recomputed: false,
            linear: false,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        elementwise::relu(run.isa, inputs[0].values, output);
        Saved::Nothing
    }

    fn backward(&self, forward: &Forward, _: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        elementwise::relu_backward(run.isa, forward.output, gradients[0]);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        nodes.add("Relu", inputs, output, &[]);
        Some(())
    }
}

/// `1 / (1 + e^-x)`, x of any shape.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sigmoid {}

impl Operation for Sigmoid {
    fn name(&self) -> &'static str {
        "sigmoid"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        Ok(inputs[0])
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let values = inputs[0].len();
        Description {
            source: "Goodfellow et al. 2016, eq. 3.30; in the attention: Woo et al. 2018, eq. 2 and 3",
            gradient_source: CHAIN_RULE,
            inputs: const { &[Input::of("x", &[])] },
            reads: first::<1>(),
            gradients_read_output: true,
            retains_inputs: &[],
            retains_output: true,
            flops: Flops::new(3 * values, [3 * values, 0, 0, 0]),
            convolution: None,
            backward: Backward::default(),
            recomputed: false,
            linear: false,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        elementwise::sigmoid(run.isa, inputs[0].values, output);
        Saved::Nothing
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        elementwise::sigmoid_backward(run.isa, forward.output, gradient, gradients[0]);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        nodes.add("Sigmoid", inputs, output, &[]);
        Some(())
    }
}

/// A sum of two terms, with ReLU or without. Both terms have its gradient: one in its buffer, one as a copy.
fn describe_sum(source: &'static str, term: Shape, relu: bool) -> Description {
    Description {
        source,
        gradient_source: CHAIN_RULE,
        inputs: const { &[Input::of("a", &[]), Input::of("b", &[])] },
        reads: first::<2>(),
        gradients_read_output: relu,
        retains_inputs: &[],
        retains_output: relu,
        flops: Flops::new(term.len(), [0; 4]),
        convolution: None,
        backward: IN_PLACE,
        recomputed: false,
        linear: !relu,
    }
}

/// `a + b`, of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add {}

impl Operation for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        terms(inputs)
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        describe_sum("Woo et al. 2018, eq. 2", inputs[0], false)
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        elementwise::add(run.isa, inputs[0].values, inputs[1].values, output);
        Saved::Nothing
    }

    fn backward(&self, _: &Forward, _: &mut [f32], gradients: &mut [&mut [f32]], _: &mut Run) {
        let [a, b] = gradients else { unreachable!("two terms") };
        b.copy_from_slice(a);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        nodes.add("Add", inputs, output, &[]);
        Some(())
    }
}

/// `max(a + b, 0)`, of one shape; NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRelu {}

impl Operation for AddRelu {
    fn name(&self) -> &'static str {
        "add, relu"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        terms(inputs)
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        describe_sum("He et al. 2016, eq. 1", inputs[0], true)
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        elementwise::add_relu(run.isa, inputs[0].values, inputs[1].values, output);
        Saved::Nothing
    }

    fn backward(&self, forward: &Forward, _: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        let [a, b] = gradients else { unreachable!("two terms") };
        elementwise::relu_backward_both(run.isa, forward.output, a, b);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        nodes.add_relu(true, "Add", inputs, output, &[]);
        Some(())
    }
}

/// `a + weight * b`, of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddScaled {
    /// Of the second term.
    pub weight: f32,
}

impl Operation for AddScaled {
    fn name(&self) -> &'static str {
        "add, scaled"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        terms(inputs)
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let values = inputs[0].len();
        Description {
            source: "Szegedy et al. 2015, section 5 (the loss of auxiliary classifiers)",
            gradient_source: CHAIN_RULE,
            inputs: const { &[Input::of("a", &[]), Input::of("b", &[])] },
            reads: first::<2>(),
            gradients_read_output: false,
            retains_inputs: &[],
            retains_output: false,
            flops: Flops::new(2 * values, [0, values, 0, 0]),
            convolution: None,
            backward: Backward::default(),
            recomputed: false,
            linear: true,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        elementwise::add_scaled(run.isa, self.weight, inputs[0].values, inputs[1].values, output);
        Saved::Nothing
    }

    fn backward(&self, _: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        let [a, b] = gradients else { unreachable!("two terms") };
        a.copy_from_slice(gradient);
        elementwise::scale(run.isa, self.weight, gradient, b);
    }

    /// Only a loss has it.
    fn onnx(&self, _: &[&str], _: &str, _: &mut OnnxNodes) -> Option<()> {
        None
    }
}

/// The sum of the halves of x (2 * n, channels): (n, channels). In inference only.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddHalves {}

impl Operation for AddHalves {
    fn name(&self) -> &'static str {
        "add halves"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let [rows, channels] = sizes("an input", inputs[0])?;
        expect("halves", inputs[0], [rows / 2 * 2, channels])?;
        Ok([rows / 2, channels].into())
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let flops = Flops::new(inputs[0].len() / 2, [0; 4]);
        Description::without_gradient("Woo et al. 2018, eq. 2", const { &[Input::fixed("x")] }, first::<1>(), flops, None)
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let (a, b) = inputs[0].values.split_at(output.len());
        elementwise::add(run.isa, a, b, output);
        Saved::Nothing
    }

    fn backward(&self, _: &Forward, _: &mut [f32], _: &mut [&mut [f32]], _: &mut Run) {
        unreachable!("in inference only")
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        let halves = ["first", "second"].map(|half| format!("{output}.{half}"));
        nodes.split(inputs[0], &halves);
        nodes.add("Add", &[&halves[0], &halves[1]], output, &[]);
        Some(())
    }
}

/// Each value 0 with the probability `rate` and else divided by `1 - rate`; what is dropped is a function of the attributes and a value's
/// index. x of any shape, in training only.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropout {
    /// Share of the values, in 0..1.
    pub rate: f32,
    /// Of the run.
    pub seed: u64,
    /// Of the training.
    pub step: u64,
    /// Which of the network's dropouts, counted from 0.
    pub place: u32,
}

impl Operation for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let rate = self.rate;
        if !(0.0..1.0).contains(&rate) {
            return Err(format!("a dropout of {rate}, which is not from 0 to below 1"));
        }
        Ok(inputs[0])
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let values = inputs[0].len();
        Description {
            source: "Srivastava et al. 2014, section 4; scaled as Goodfellow et al. 2016, section 7.12",
            gradient_source: CHAIN_RULE,
            inputs: const { &[Input::of("x", &[Read::Saved(0)])] },
            reads: &[Read::Input(0), Read::Saved(0)],
            gradients_read_output: false,
            retains_inputs: &[],
            retains_output: false,
            flops: Flops::new(values, [values, 0, 0, 0]),
            convolution: None,
            backward: Backward::default(),
            recomputed: false,
            linear: true,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let Dropout { rate, seed, step, place } = *self;
        let mut mask = run.buffer(output.len());
        dropout::forward(run.isa, dropout::Dropout { rate, seed, step, place }, inputs[0].values, &mut mask, output);
        Saved::Mask { shape: inputs[0].shape, mask }
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        let Saved::Mask { mask, .. } = forward.saved else { unreachable!("dropout saves its mask") };
        dropout::backward(run.isa, mask, gradient, gradients[0]);
    }

    /// In use nothing is dropped.
    fn onnx(&self, _: &[&str], _: &str, _: &mut OnnxNodes) -> Option<()> {
        None
    }
}
