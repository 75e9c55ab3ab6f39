//! The fully connected layer.

use super::elementwise::CHAIN_RULE;
use super::{
    Backward, Description, Flops, Forward, Input, OnnxAttribute, OnnxNodes, Operand, Operation, Read, Run, Saved, checked,
    expect, first, sizes,
};
use crate::tensor::Shape;
use osteon_kernels::linear::{self, LinearShape};
use serde::{Deserialize, Serialize};

/// `x W^T + b`: x (batch, in), weight (out, in), bias (out).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {}

fn linear_shape(x: Shape, weight: Shape) -> LinearShape {
    let ([batch, in_features], [out_features, _]) = (checked(x), checked(weight));
    LinearShape { batch, in_features, out_features }
}

impl Operation for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let [batch, _] = sizes("an input", inputs[0])?;
        let [out_features, in_features] = sizes("a weight", inputs[1])?;
        expect("an input", inputs[0], [batch, in_features])?;
        expect("a bias", inputs[2], [out_features])?;
        Ok([batch, out_features].into())
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let LinearShape { batch, in_features, out_features } = linear_shape(inputs[0], inputs[1]);
        let products = 2 * (batch * in_features * out_features) as u64;
        let results = (batch * out_features) as u64;
        Description {
            source: "Goodfellow et al. 2016, eq. 6.2; in the attention: Woo et al. 2018, eq. 2",
            gradient_source: CHAIN_RULE,
            inputs: const { &[Input::of("x", &[Read::Input(1)]), Input::of("weight", &[Read::Input(0)]), Input::of("bias", &[])] },
            reads: first::<3>(),
            gradients_read_output: false,
            retains_inputs: &[0, 1],
            retains_output: false,
            flops: Flops { products, rest: results, gradients: [products, products, results, 0] },
            convolution: None,
            backward: Backward::default(),
            recomputed: false,
            linear: true,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let [x, weight, bias] = [0, 1, 2].map(|k| inputs[k].values);
        linear::forward(run.isa, linear_shape(inputs[0].shape, inputs[1].shape), x, weight, bias, output);
        Saved::Nothing
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        let ([x, weight, _], [of_x, of_weight, of_bias]) = (forward.inputs, gradients) else { unreachable!("three inputs") };
        let shape = linear_shape(x.shape, weight.shape);
        linear::backward(run.isa, shape, x.values, weight.values, gradient, of_x, of_weight, of_bias);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        nodes.add("Gemm", inputs, output, &[("transB", OnnxAttribute::Integer(1))]);
        Some(())
    }
}
