//! Logits to probabilities, and to the loss that training makes smaller.

use super::elementwise::CHAIN_RULE;
use super::{
    Backward, Description, Flops, Forward, Input, OnnxAttribute, OnnxNodes, Operand, Operation, Read, Run, Saved, checked,
    expect, first, sizes,
};
use crate::tensor::{Buffer, Shape};
use crate::text::counted;
use osteon_kernels::softmax;
use serde::{Deserialize, Serialize};

/// That logits (batch, classes) have a class each.
///
/// # Errors
/// Another number of labels than of images; a label that is no class.
pub(crate) fn check_labels(logits: Shape, labels: &[u32]) -> Result<(), String> {
    let [batch, classes] = sizes("an input", logits)?;
    if labels.len() != batch {
        return Err(format!("{} for {}", counted(labels.len(), "label"), counted(batch, "image")));
    }
    match labels.iter().find(|&&label| label as usize >= classes) {
        Some(label) => Err(format!("the label {label} where there are {classes} classes")),
        None => Ok(()),
    }
}

/// Copies the labels of this run.
fn labels(run: &mut Run) -> Vec<u32> {
    let mut labels = run.indices(run.labels.len());
    labels.copy_from_slice(run.labels);
    labels
}

/// `e^(logit - largest) / sum` of each image: logits (batch, classes) to probabilities. In inference only: a loss has its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {}

impl Operation for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        match sizes("an input", inputs[0])? {
            [_, 0] => Err("logits of no class".into()),
            [_, _] => Ok(inputs[0]),
        }
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        let flops = Flops::new(4 * inputs[0].len(), [0; 4]);
        let inputs = const { &[Input::fixed("logits")] };
        Description::without_gradient("Goodfellow et al. 2016, eq. 6.29", inputs, first::<1>(), flops, None)
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let [batch, classes] = checked(inputs[0].shape);
        softmax::softmax(run.isa, batch, classes, inputs[0].values, output);
        Saved::Nothing
    }

    fn backward(&self, _: &Forward, _: &mut [f32], _: &mut [&mut [f32]], _: &mut Run) {
        unreachable!("in inference only")
    }

    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()> {
        nodes.add("Softmax", inputs, output, &[("axis", OnnxAttribute::Integer(1))]);
        Some(())
    }
}

/// Mean over the batch of `-log softmax(logits)[label]`: logits (batch, classes) to a scalar. The labels are those of the [`Run`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossEntropy {}

impl Operation for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        sizes::<2>("an input", inputs[0])?;
        Ok([].into())
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        Description {
            source: "Goodfellow et al. 2016, eq. 6.29 and 6.30",
            gradient_source: CHAIN_RULE,
            inputs: const { &[Input::of("logits", &[Read::Saved(1), Read::Saved(0)])] },
            reads: &[Read::Input(0), Read::Saved(0)],
            gradients_read_output: false,
            retains_inputs: &[],
            retains_output: false,
            flops: Flops::new(0, [3 * inputs[0].len(), 0, 0, 0]),
            convolution: None,
            backward: Backward::default(),
            recomputed: false,
            linear: false,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let [batch, classes] = checked(inputs[0].shape);
        let (mut probabilities, labels) = (run.buffer(batch * classes), labels(run));
        output[0] = softmax::cross_entropy(run.isa, batch, classes, inputs[0].values, &labels, &mut probabilities);
        Saved::Loss { probabilities, labels, shares: Buffer::default() }
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], _: &mut Run) {
        let Saved::Loss { probabilities, labels, .. } = forward.saved else { unreachable!("a loss saves its labels") };
        let [batch, classes] = checked(forward.inputs[0].shape);
        softmax::cross_entropy_backward(batch, classes, probabilities, labels, gradient[0], gradients[0]);
    }

    /// Only training has a loss.
    fn onnx(&self, _: &[&str], _: &str, _: &mut OnnxNodes) -> Option<()> {
        None
    }
}

/// [`CrossEntropy`] as a weighted mean, in which each image counts by its class's weight: logits (batch, classes), weights (classes), all
/// above 0. PyTorch's `CrossEntropyLoss(weight=weights)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightedCrossEntropy {}

impl Operation for WeightedCrossEntropy {
    fn name(&self) -> &'static str {
        "weighted cross-entropy"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let [_, classes] = sizes("an input", inputs[0])?;
        expect("a list of weights", inputs[1], [classes])?;
        Ok([].into())
    }

    fn describe(&self, inputs: &[Shape]) -> Description {
        Description {
            source: "Goodfellow et al. 2016, eq. 6.29 and 6.30, weighted as PyTorch's CrossEntropyLoss",
            gradient_source: CHAIN_RULE,
            inputs: const { &[Input::of("logits", &[Read::Saved(1), Read::Saved(0), Read::Input(1)]), Input::fixed("weights")] },
            reads: &[Read::Input(0), Read::Input(1), Read::Saved(0)],
            gradients_read_output: false,
            retains_inputs: &[],
            retains_output: false,
            flops: Flops::new(0, [3 * inputs[0].len(), 0, 0, 0]),
            convolution: None,
            backward: Backward::default(),
            recomputed: false,
            linear: false,
        }
    }

    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved {
        let [batch, classes] = checked(inputs[0].shape);
        let (mut probabilities, mut shares, labels) = (run.buffer(batch * classes), run.buffer(batch), labels(run));
        let [logits, weights] = [0, 1].map(|k| inputs[k].values);
        output[0] =
            softmax::weighted_cross_entropy(run.isa, batch, classes, logits, &labels, weights, &mut probabilities, &mut shares);
        Saved::Loss { probabilities, labels, shares }
    }

    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], _: &mut Run) {
        let Saved::Loss { probabilities, labels, shares } = forward.saved else { unreachable!("a loss saves its labels") };
        let [batch, classes] = checked(forward.inputs[0].shape);
        softmax::weighted_cross_entropy_backward(batch, classes, probabilities, labels, shares, gradient[0], gradients[0]);
    }

    /// Only training has a loss.
    fn onnx(&self, _: &[&str], _: &str, _: &mut OnnxNodes) -> Option<()> {
        None
    }
}
