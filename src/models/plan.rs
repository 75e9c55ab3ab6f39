//! The operations of a network and what they cost: parameters, FLOPs and bytes.

use super::Model;
use crate::Result;
use crate::autograd::{Context, Mode, Node, Op, Origin, Tape};
use crate::tensor::Shape;
use osteon_kernels::conv::ConvShape;
use serde::Serialize;

/// One operation of a network, as `model info` and `bench` list it.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The layer's name.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// The shape of its result.
    pub output: Shape,
    /// Floating-point operations of its products with weights, one image.
    pub flops: u64,
    /// Trained parameters that it uses.
    pub parameters: usize,
}

/// Bytes that a model takes, as `model info` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Parameters and running statistics.
    pub weights: usize,
    /// The convolutions' weights again, in the order in which the kernels read them, transformed where they do (Winograd).
    pub packed: usize,
    /// Feature maps and workspace of one image.
    pub buffers: usize,
}

impl Model {
    /// The operations that inference runs on images (batch, rows, columns), without computing them.
    ///
    /// # Errors
    /// Images that are too small.
    pub fn plan(&self, [batch, rows, columns]: [usize; 3]) -> Result<Vec<Node>> {
        let mut context = Context::default();
        let mut tape = Tape::plan(Mode::Inference, &self.parameters, &mut context);
        let x = tape.input([batch, rows, columns, 1], &[], false)?;
        let [logits, probabilities] = self.classify(&mut tape, x)?;
        tape.release(logits);
        tape.release(probabilities);
        Ok(tape.nodes().to_vec())
    }

    /// The operations for one image of `size`, first to last.
    ///
    /// # Errors
    /// A size that is too small.
    pub fn layers(&self, [rows, columns]: [usize; 2]) -> Result<Vec<Layer>> {
        let nodes = self.plan([1, rows, columns])?;
        let trained = |node: &Node| match node.origin {
            Origin::Parameter(id) if self.parameters.get(id).is_trained() => node.shape.len(),
            _ => 0,
        };
        let layer = |node: &Node| {
            let (op, description) = node.operation()?;
            Some(Layer {
                name: node.layer.to_string(),
                op: *op,
                output: node.shape,
                flops: description.flops.products,
                parameters: node.inputs().iter().map(|&input| trained(&nodes[input])).sum(),
            })
        };
        Ok(nodes.iter().filter_map(layer).collect())
    }

    /// The convolutions of a forward pass on `batch` images of the model's input size: layer and shape.
    ///
    /// # Errors
    /// An input size that is too small.
    pub fn convolutions(&self, batch: usize) -> Result<Vec<(String, ConvShape)>> {
        let [rows, columns] = self.metadata.input_size;
        let nodes = self.plan([batch, rows, columns])?;
        let convolution = |node: &Node| Some((node.layer.to_string(), node.operation()?.1.convolution?));
        Ok(nodes.iter().filter_map(convolution).collect())
    }

    /// Number of trained parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().filter(|(_, parameter)| parameter.is_trained()).map(|(_, p)| p.value.shape().len()).sum()
    }

    /// The memory that inference on one image of the model's input size takes, measured by running it on zeros.
    ///
    /// # Errors
    /// An input size that is too small.
    pub fn memory(&self) -> Result<Memory> {
        let [rows, columns] = self.metadata.input_size;
        let mut context = Context::default();
        self.infer(&mut context, &vec![0.0; rows * columns], [1, rows, columns])?;
        let weights = self.parameters.iter().map(|(_, parameter)| size_of_val(parameter.value.values())).sum();
        Ok(Memory { weights, packed: self.parameters.packed_bytes(), buffers: context.free_bytes() })
    }
}
