//! What moves values and computes none: channels joined, maps flattened.

use super::elementwise::CHAIN_RULE;
use super::{
    Backward, Description, Flops, Forward, Input, MAX_GRADIENTS, OnnxAttribute, OnnxNodes, Operand, Operation, Read, Run, Saved,
    checked, expect, first, sizes,
};
use crate::tensor::Shape;
use osteon_kernels::concat::{self, ConcatShape, MAX_PARTS};
use serde::{Deserialize, Serialize};

/// Four maps (batch, rows, columns, channels), of any channels each, joined: (batch, rows, columns, all channels).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concat {}

fn concat_shape(inputs: impl IntoIterator<Item = Shape>) -> ConcatShape {
    let mut shape = ConcatShape { pixels: 0, channels: [0; MAX_PARTS] };
    for (channels, part) in shape.channels.iter_mut().zip(inputs) {
        let [batch, rows, columns, own] = checked(part);
        (shape.pixels, *channels) = (batch * rows * columns, own);
    }
    shape
}

impl Operation for Concat {
    fn name(&self) -> &'static str {
        "join channels"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let [batch, rows, columns, _] = sizes("an input", inputs[0])?;
        let mut all = 0;
        for &part in inputs {
            let [.., channels] = sizes::<4>("an input", part)?;
            expect("a part", part, [batch, rows, columns, channels])?;
            all += channels;
        }
        Ok([batch, rows, columns, all].into())
    }

    fn describe(&self, _: &[Shape]) -> Description {
        // The parts' shapes tell which channels are whose.
        const PARTS: &[Read] = first::<MAX_PARTS>();
        Description {
            source: "Szegedy et al. 2015, figure 2",
            gradient_source: CHAIN_RULE,
            inputs: const {
                &[Input::of("part 1", PARTS), Input::of("part 2", PARTS), Input::of("part 3", PARTS), Input::of("part 4", PARTS)]
            },
            reads: PARTS,
            gradients_read_output: false,
            retains_inputs: &[],
            retains_output: false,
            flops: Flops::default(),
            convolution: None,
            backward: Backward::default(),
            recomputed: false,
            linear: true,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], _: &mut Run) -> Saved {
        let parts: [&[f32]; MAX_PARTS] = std::array::from_fn(|k| inputs.get(k).map_or(&[][..], |part| part.values));
        concat::forward(concat_shape(inputs.iter().map(|part| part.shape)), &parts, output);
        Saved::Nothing
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], _: &mut Run) {
        let shape = concat_shape(forward.inputs.iter().map(|part| part.shape));
        gradients.iter_mut().enumerate().for_each(|(k, part)| concat::backward(shape, k, gradient, part));
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        nodes.add("Concat", inputs, output, &[("axis", OnnxAttribute::Integer(1))]);
        Some(())
    }
}

const _: () = assert!(MAX_PARTS == MAX_GRADIENTS);

/// x (batch, rows, columns, channels) as (batch, rows * columns * channels).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flatten {}

impl Operation for Flatten {
    fn name(&self) -> &'static str {
        "flatten"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let [batch, rows, columns, channels] = sizes("an input", inputs[0])?;
        Ok([batch, rows * columns * channels].into())
    }

    fn describe(&self, _: &[Shape]) -> Description {
        Description {
            source: "Simonyan and Zisserman 2015, section 2.1",
            gradient_source: CHAIN_RULE,
            inputs: const { &[Input::of("x", &[])] },
            reads: first::<1>(),
            gradients_read_output: false,
            retains_inputs: &[],
            retains_output: false,
            flops: Flops::default(),
            convolution: None,
            backward: Backward { in_place: true, ..Backward::default() },
            recomputed: false,
            linear: true,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], _: &mut Run) -> Saved {
        output.copy_from_slice(inputs[0].values);
        Saved::Nothing
    }

    /// The same values in the same buffer.
    fn backward(&self, _: &Forward, _: &mut [f32], _: &mut [&mut [f32]], _: &mut Run) {}

    /// Channels first, as the weights are that read it.
    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        nodes.add("Flatten", inputs, output, &[("axis", OnnxAttribute::Integer(1))]);
        Some(())
    }
}
