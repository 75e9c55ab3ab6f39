//! Batch normalisation: over a batch's own statistics, and over the running ones.

use super::{
    Backward, BatchStatistics, Description, Flops, Forward, Input, OnnxAttribute, OnnxNodes, Operand, Operation, Read, Run,
    Saved, expect, first, pixels, sizes,
};
use crate::tensor::Shape;
use osteon_kernels::norm::{self, NormShape};
use osteon_kernels::reduce::ReduceShape;
use osteon_kernels::{attention, elementwise};
use serde::{Deserialize, Serialize};

/// That all parameters are (channels), and the result's shape.
fn check(inputs: &[Shape]) -> Result<Shape, String> {
    let [_, _, _, channels] = sizes("an input", inputs[0])?;
    inputs[1..5].iter().try_for_each(|&parameter| expect("a parameter", parameter, [channels]))?;
    Ok(inputs[0])
}

fn norm_shape(x: Shape, relu: bool) -> NormShape {
    let ReduceShape { batch, pixels, channels } = pixels(x);
    NormShape { pixels: batch * pixels, channels, relu }
}

fn onnx(epsilon: f32, relu: bool, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
    nodes.add_relu(relu, "BatchNormalization", inputs, output, &[("epsilon", OnnxAttribute::Float(epsilon))]);
    Some(())
}

/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta`, over the statistics of the batch, and with `relu` the larger of that and 0: x
/// (batch, rows, columns, channels); gamma, beta, and the running mean and variance that [`Tape::batch_norm`] moves, which it does not
/// read, (channels).
///
/// [`Tape::batch_norm`]: crate::autograd::Tape::batch_norm
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether ReLU follows.
    pub relu: bool,
}

impl Operation for BatchNorm {
    fn name(&self) -> &'static str {
        if self.relu { "batch norm, relu" } else { "batch norm" }
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let shape = check(inputs)?;
        if norm_shape(shape, false).pixels < 2 {
            let problem = "a batch of one pixel a channel has no variance to train with; take larger images, or a --batch that leaves no \
                           single image over";
            return Err(problem.into());
        }
        Ok(shape)
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        const READS: &[Read] = &[Read::Input(0), Read::Input(1), Read::Saved(0)];
        let values = inputs[0].len();
        Description {
            source: "Ioffe and Szegedy 2015, algorithm 1",
            gradient_source: "Ioffe and Szegedy 2015, section 3",
            inputs: const {
                &[
                    Input::of("x", READS),
                    Input::of("gamma", READS),
                    Input::of("beta", READS),
                    Input::fixed("running mean"),
                    Input::fixed("running variance"),
                ]
            },
            reads: &[Read::Input(0), Read::Input(1), Read::Input(2), Read::Saved(0)],
            gradients_read_output: self.relu,
            // Where the ReLU was at work is computed from x.
            retains_inputs: &[0, 1, 2],
            retains_output: false,
            flops: Flops::new(3 * values, [6 * values, 3 * values, values, 0]),
            convolution: None,
            backward: Backward { in_place: true, ..Backward::default() },
            // Of the two normalisations of a block only that without a ReLU: that is what keeps a training step below half of PyTorch's
            // memory at the least cost in time.
            recomputed: !self.relu,
            linear: false,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let shape = norm_shape(inputs[0].shape, self.relu);
        let mut statistics = BatchStatistics::new(run.buffer(3 * shape.channels));
        let mut workspace = run.workspace(norm::scratch_len(shape));
        let [mean, inv_std, variance] = statistics.split_mut();
        let [x, gamma, beta] = [0, 1, 2].map(|k| inputs[k].values);
        norm::forward_training(run.isa, shape, self.epsilon, x, gamma, beta, output, mean, inv_std, variance, &mut workspace);
        Saved::Statistics(statistics)
    }

    fn backward(&self, forward: &Forward, _: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        let (Saved::Statistics(statistics), [of_x, of_gamma, of_beta]) = (forward.saved, gradients) else {
            unreachable!("batch norm saves statistics, and has three gradients")
        };
        let shape = norm_shape(forward.inputs[0].shape, self.relu);
        let mut workspace = run.workspace(norm::scratch_len(shape));
        let [x, gamma, beta] = [0, 1, 2].map(|k| forward.inputs[k].values);
        let (mean, inv_std) = (statistics.mean(), statistics.inv_std());
        norm::backward(run.isa, shape, x, gamma, beta, mean, inv_std, of_x, of_gamma, of_beta, &mut workspace);
    }

    fn recompute(&self, inputs: &[Operand], saved: &Saved, output: &mut [f32], run: &mut Run) {
        let Saved::Statistics(statistics) = saved else { unreachable!("batch norm saves statistics") };
        let shape = norm_shape(inputs[0].shape, self.relu);
        let mut workspace = run.workspace(norm::scratch_len(shape));
        let [x, gamma, beta] = [0, 1, 2].map(|k| inputs[k].values);
        norm::recompute(run.isa, shape, x, gamma, beta, statistics.mean(), statistics.inv_std(), output, &mut workspace);
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        onnx(self.epsilon, self.relu, inputs, output, nodes)
    }
}

/// As [`BatchNorm`], over the running statistics.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenNorm {
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether ReLU follows.
    pub relu: bool,
}

impl Operation for FrozenNorm {
    fn name(&self) -> &'static str {
        if self.relu { "batch norm, running statistics, relu" } else { "batch norm, running statistics" }
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        check(inputs)
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let values = inputs[0].len();
        Description {
            source: "Ioffe and Szegedy 2015, algorithm 2",
            gradient_source: "the chain rule (Goodfellow et al. 2016, eq. 6.47) of its equation",
            // Only the input's gradient: what is frozen does not learn.
            inputs: const {
                &[
                    Input::of("x", &[Read::Input(1), Read::Input(4)]),
                    Input::fixed("gamma"),
                    Input::fixed("beta"),
                    Input::fixed("running mean"),
                    Input::fixed("running variance"),
                ]
            },
            reads: first::<5>(),
            gradients_read_output: self.relu,
            retains_inputs: &[],
            retains_output: self.relu,
            flops: Flops::new(3 * values, [values, 0, 0, 0]),
            convolution: None,
            backward: Backward::default(),
            recomputed: false,
            linear: false,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let shape = norm_shape(inputs[0].shape, self.relu);
        let mut factors = run.buffer(shape.channels);
        let mut workspace = run.workspace(norm::scratch_len(shape));
        let [x, gamma, beta, mean, variance] = [0, 1, 2, 3, 4].map(|k| inputs[k].values);
        norm::forward_inference(run.isa, shape, self.epsilon, x, gamma, beta, mean, variance, output, &mut workspace);
        for ((factor, gamma), variance) in factors.iter_mut().zip(gamma).zip(variance) {
            *factor = gamma / (variance + self.epsilon).sqrt();
        }
        Saved::Factors(factors)
    }

    /// A factor a channel, of one image of all pixels.
    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run) {
        let Saved::Factors(factors) = forward.saved else { unreachable!("saves its factors") };
        let NormShape { pixels, channels, .. } = norm_shape(forward.inputs[0].shape, self.relu);
        attention::scale_channels(run.isa, ReduceShape { batch: 1, pixels, channels }, gradient, factors, gradients[0]);
        if self.relu {
            elementwise::relu_backward(run.isa, forward.output, gradients[0]);
        }
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        onnx(self.epsilon, self.relu, inputs, output, nodes)
    }
}
