//! What hybrid attention does to maps (CBAM, Woo et al. 2018): means and maxima over channels, and factors for channels and pixels.

use super::elementwise::CHAIN_RULE;
use super::{
    Backward, Description, Flops, Forward, Input, OnnxAttribute, OnnxNodes, Operand, Operation, Read, Run, Saved, checked,
    expect, first, pixels, sizes,
};
use crate::tensor::Shape;
use osteon_kernels::attention;
use serde::{Deserialize, Serialize};

/// Maps (batch, rows, columns, channels) to (batch, rows, columns, 2).
fn over_channels(x: Shape) -> Result<Shape, String> {
    let [batch, rows, columns, _] = sizes("an input", x)?;
    Ok([batch, rows, columns, 2].into())
}

/// That a factor is (batch, channels) of x.
fn expect_channels(x: Shape, factor: Shape) -> Result<(), String> {
    let [batch, _, _, channels] = sizes("an input", x)?;
    expect("a factor", factor, [batch, channels])
}

/// That a factor is (batch, rows, columns, 1) of x.
fn expect_pixels(x: Shape, factor: Shape) -> Result<(), String> {
    let [batch, rows, columns, _] = sizes("an input", x)?;
    expect("a factor", factor, [batch, rows, columns, 1])
}

/// (batch, rows, columns) of x.
fn maps(x: Shape) -> Shape {
    let [batch, rows, columns, _] = checked(x);
    [batch, rows, columns].into()
}

/// Mean and maximum over the channels of x (batch, rows, columns, channels): (batch, rows, columns, 2).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelStats {}

impl Operation for ChannelStats {
    fn name(&self) -> &'static str {
        "channel mean and max"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        over_channels(inputs[0])
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        Description {
            source: "Woo et al. 2018, eq. 3",
            gradient_source: CHAIN_RULE,
            inputs: const { &[Input::of("x", &[Read::Saved(0)])] },
            reads: first::<1>(),
            gradients_read_output: false,
            retains_inputs: &[],
            retains_output: false,
            flops: Flops::new(inputs[0].len(), [2 * maps(inputs[0]).len(), 0, 0, 0]),
            convolution: None,
            backward: Backward { accumulates: true, ..Backward::default() },
            recomputed: false,
            linear: false,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let shape = maps(inputs[0].shape);
        let mut indices = run.indices(shape.len());
        attention::channel_stats(run.isa, pixels(inputs[0].shape), inputs[0].values, output, &mut indices);
        Saved::Argmax { shape, indices }
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        let (shape, argmax) = (pixels(forward.inputs[0].shape), forward.saved.argmax());
        attention::channel_stats_backward(run.isa, shape, argmax, gradient, gradients[0], forward.accumulate);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        nodes.channel_stats(inputs[0], output);
        Some(())
    }
}

/// x times a factor: for each channel, whose result is recomputed, or for each pixel.
fn describe_scale(x: Shape, recomputed: bool) -> Description {
    Description {
        source: "Woo et al. 2018, eq. 1",
        gradient_source: CHAIN_RULE,
        inputs: const { &[Input::of("x", &[Read::Input(1)]), Input::of("factor", &[Read::Input(0)])] },
        reads: first::<2>(),
        gradients_read_output: false,
        retains_inputs: &[0, 1],
        retains_output: false,
        flops: Flops::new(x.len(), [x.len(), 2 * x.len(), 0, 0]),
        convolution: None,
        backward: Backward::default(),
        recomputed,
        linear: true,
    }
}

/// x (batch, rows, columns, channels) times a factor (batch, channels).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleChannels {}

impl Operation for ScaleChannels {
    fn name(&self) -> &'static str {
        "scale channels"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        expect_channels(inputs[0], inputs[1])?;
        Ok(inputs[0])
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        describe_scale(inputs[0], true)
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        attention::scale_channels(run.isa, pixels(inputs[0].shape), inputs[0].values, inputs[1].values, output);
        Saved::Nothing
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        let ([x, factor], [of_x, of_factor]) = (forward.inputs, gradients) else { unreachable!("two inputs") };
        let shape = pixels(x.shape);
        attention::scale_channels_backward(run.isa, shape, x.values, factor.values, gradient, of_x, of_factor);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        nodes.scale_channels(inputs[0], inputs[1], output);
        Some(())
    }
}

/// x (batch, rows, columns, channels) times a factor (batch, rows, columns, 1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScalePixels {}

impl Operation for ScalePixels {
    fn name(&self) -> &'static str {
        "scale pixels"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        expect_pixels(inputs[0], inputs[1])?;
        Ok(inputs[0])
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        describe_scale(inputs[0], false)
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        attention::scale_pixels(run.isa, pixels(inputs[0].shape), inputs[0].values, inputs[1].values, output);
        Saved::Nothing
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        let ([x, factor], [of_x, of_factor]) = (forward.inputs, gradients) else { unreachable!("two inputs") };
        let shape = pixels(x.shape);
        attention::scale_pixels_backward(run.isa, shape, x.values, factor.values, gradient, of_x, of_factor);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        nodes.add("Mul", inputs, output, &[]);
        Some(())
    }
}

/// [`ChannelStats`] of [`ScaleChannels`], in one pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaledStats {}

impl Operation for ScaledStats {
    fn name(&self) -> &'static str {
        "scale channels, mean and max"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        expect_channels(inputs[0], inputs[1])?;
        over_channels(inputs[0])
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let values = inputs[0].len();
        Description {
            source: "Woo et al. 2018, eq. 1 and 3",
            gradient_source: CHAIN_RULE,
            inputs: const {
                &[Input::of("x", &[Read::Input(1), Read::Saved(0)]), Input::of("factor", &[Read::Input(0), Read::Saved(0)])]
            },
            reads: first::<2>(),
            gradients_read_output: false,
            retains_inputs: &[0, 1],
            retains_output: false,
            flops: Flops::new(2 * values, [3 * values, 2 * values, 0, 0]),
            convolution: None,
            backward: Backward { accumulates: true, ..Backward::default() },
            recomputed: false,
            linear: false,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let shape = maps(inputs[0].shape);
        // Without indices it is faster.
        let mut indices = run.indices(if run.differentiable { shape.len() } else { 0 });
        let [x, factor] = [0, 1].map(|k| inputs[k].values);
        attention::scaled_channel_stats(run.isa, pixels(inputs[0].shape), x, factor, output, &mut indices);
        Saved::Argmax { shape, indices }
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        let ([x, factor], [of_x, of_factor]) = (forward.inputs, gradients) else { unreachable!("two inputs") };
        let (shape, argmax, accumulate) = (pixels(x.shape), forward.saved.argmax(), forward.accumulate);
        let (x, factor) = (x.values, factor.values);
        attention::scaled_channel_stats_backward(run.isa, shape, x, factor, argmax, gradient, of_x, of_factor, accumulate);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        let scaled = nodes.scaled(inputs[0], inputs[1]);
        nodes.channel_stats(&scaled, output);
        Some(())
    }
}

/// `max(x * channels * pixels + shortcut, 0)`, with factors `channels` (batch, channels) and `pixels` (batch, rows, columns, 1), in one
/// pass; x and shortcut are (batch, rows, columns, channels).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleAddRelu {}

impl Operation for ScaleAddRelu {
    fn name(&self) -> &'static str {
        "scale channels and pixels, add, relu"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        expect_channels(inputs[0], inputs[1])?;
        expect_pixels(inputs[0], inputs[2])?;
        expect("a shortcut", inputs[3], inputs[0])?;
        Ok(inputs[0])
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let values = inputs[0].len();
        Description {
            source: "Woo et al. 2018, eq. 1; He et al. 2016, eq. 1; Lin et al. 2022, inRAC",
            gradient_source: CHAIN_RULE,
            inputs: const {
                &[
                    Input::of("x", &[Read::Input(1), Read::Input(2)]),
                    Input::of("channel factor", &[Read::Input(0), Read::Input(2)]),
                    Input::of("pixel factor", &[Read::Input(0), Read::Input(1)]),
                    Input::of("shortcut", &[]),
                ]
            },
            reads: first::<4>(),
            gradients_read_output: true,
            retains_inputs: &[0, 1, 2],
            retains_output: true,
            flops: Flops::new(3 * values, [2 * values, 3 * values, 3 * values, 0]),
            convolution: None,
            backward: Backward { in_place: true, ..Backward::default() },
            recomputed: false,
            linear: false,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let [x, channels, of_pixels, shortcut] = [0, 1, 2, 3].map(|k| inputs[k].values);
        attention::scale_add_relu(run.isa, pixels(inputs[0].shape), x, channels, of_pixels, shortcut, output);
        Saved::Nothing
    }

    fn backward(&self, forward: &Forward, _: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        let [of_x, of_channels, of_pixels, of_shortcut] = gradients else { unreachable!("four inputs") };
        let [x, channels, by_pixel] = [0, 1, 2].map(|k| forward.inputs[k].values);
        attention::scale_add_relu_backward(
            run.isa,
            pixels(forward.inputs[0].shape),
            x,
            channels,
            by_pixel,
            forward.output,
            of_x,
            of_channels,
            of_pixels,
            of_shortcut,
        );
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        let scaled = nodes.scaled(inputs[0], inputs[1]);
        let weighed = format!("{output}.weighed");
        nodes.add("Mul", &[&scaled, inputs[2]], &weighed, &[]);
        nodes.add_relu(true, "Add", &[&weighed, inputs[3]], output, &[]);
        Some(())
    }
}

impl OnnxNodes {
    /// Mean and maximum over channels.
    fn channel_stats(&mut self, input: &str, output: &str) {
        let [mean, maximum] = ["mean", "maximum"].map(|what| format!("{output}.{what}"));
        for (kind, name) in [("ReduceMean", &mean), ("ReduceMax", &maximum)] {
            let axes = [("axes", OnnxAttribute::Integers(vec![1])), ("keepdims", OnnxAttribute::Integer(1))];
            self.add(kind, &[input], name, &axes);
        }
        self.add("Concat", &[&mean, &maximum], output, &[("axis", OnnxAttribute::Integer(1))]);
    }

    /// `input` times a factor for each channel.
    fn scale_channels(&mut self, input: &str, factor: &str, output: &str) {
        let spread = format!("{output}.factor");
        self.add("Unsqueeze", &[factor, Self::ROWS_AND_COLUMNS], &spread, &[]);
        self.add("Mul", &[input, &spread], output, &[]);
    }

    /// The name of `input` times a factor for each channel, which two operations may need: it is computed once.
    fn scaled(&mut self, input: &str, factor: &str) -> String {
        let output = format!("{input} * {factor}");
        if !self.has(&output) {
            self.scale_channels(input, factor, &output);
        }
        output
    }
}
