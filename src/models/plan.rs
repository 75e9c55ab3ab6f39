//! What a network consists of and what it takes: its operations, parameters and bytes.

use super::Model;
use crate::Result;
use crate::autograd::{Mode, Node, Op};
use crate::tensor::{Context, Shape};
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
    /// The recorded operations of a forward pass on images (batch, rows, columns), without computing it.
    ///
    /// # Errors
    /// Images that are too small.
    pub fn plan(&self, shape: [usize; 3]) -> Result<Vec<Node>> {
        let mut context = Context::default();
        let (mut tape, x) = self.tape(Mode::Plan, &mut context, &[], shape)?;
        let logits = self.forward(&mut tape, x)?;
        tape.release(logits);
        Ok(tape.nodes().to_vec())
    }

    /// The operations for one image of `size`, first to last.
    ///
    /// # Errors
    /// A size that is too small.
    pub fn layers(&self, [rows, columns]: [usize; 2]) -> Result<Vec<Layer>> {
        let nodes = self.plan([1, rows, columns])?;
        let trained = |node: &Node| match node.op {
            Op::Parameter(id) if self.parameters.get(id).is_trained() => node.shape.len(),
            _ => 0,
        };
        let operations = nodes.iter().filter(|node| !matches!(node.op, Op::Input | Op::Parameter(_)));
        let layers = operations.map(|node| Layer {
            name: node.layer.to_string(),
            op: node.op,
            output: node.shape,
            parameters: node.inputs().iter().map(|&input| trained(&nodes[input])).sum(),
        });
        Ok(layers.collect())
    }

    /// The convolutions of a forward pass on `batch` images of the model's input size: layer and shape.
    ///
    /// # Errors
    /// An input size that is too small.
    pub fn convolutions(&self, batch: usize) -> Result<Vec<(String, ConvShape)>> {
        let [rows, columns] = self.metadata.input_size;
        let nodes = self.plan([batch, rows, columns])?;
        let convolution = |node: &Node| match node.op {
            Op::Conv(shape) | Op::ConvBias { shape, .. } => Some((node.layer.to_string(), shape)),
            _ => None,
        };
        Ok(nodes.iter().filter_map(convolution).collect())
    }

    /// Number of trained parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().filter(|(_, parameter)| parameter.is_trained()).map(|(_, p)| p.value.shape().len()).sum()
    }

    /// What inference on one image of the model's input size takes in memory. It is tried, on an image of zeros.
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
