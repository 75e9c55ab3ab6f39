//! The operations of a network and what they cost: parameters, FLOPs and bytes.

use super::Model;
use crate::autograd::{Context, Mode, Node, Op, Origin, Tape};
use crate::image::Size;
use crate::tensor::Shape;
use crate::{Result, memory};
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

    /// The least bytes that a training step on `batch` images of the model's input size has in use at one time: weights, gradients and
    /// Adam's two moments, and every value that the forward pass leaves for the backward pass. The step needs more than that, for packed
    /// weights, workspace and gradients of values.
    ///
    /// # Errors
    /// An input size that is too small.
    pub fn training_bytes(&self, batch: usize) -> Result<u64> {
        let [rows, columns] = self.metadata.input_size;
        let mut context = Context::default();
        let mut tape = Tape::plan(Mode::Training, &self.parameters, &mut context);
        let x = tape.input([batch, rows, columns, 1], &[], false)?;
        for (output, _) in self.network.outputs(&mut tape, x)? {
            tape.release(output);
        }
        let parameters: usize = self.parameters.iter().map(|(_, parameter)| parameter.value.shape().len()).sum();
        Ok((4 * parameters + tape.kept_values()) as u64 * size_of::<f32>() as u64)
    }

    /// The least bytes that inference on `batch` images of the model's input size has in use at one time: the weights, and inputs and
    /// result of the operation that has the most.
    ///
    /// # Errors
    /// An input size that is too small.
    pub fn inference_bytes(&self, batch: usize) -> Result<u64> {
        let [rows, columns] = self.metadata.input_size;
        let nodes = self.plan([batch, rows, columns])?;
        let parameters: usize = self.parameters.iter().map(|(_, parameter)| parameter.value.shape().len()).sum();
        let computed = |node: &Node| if matches!(node.origin, Origin::Parameter(_)) { 0 } else { node.shape.len() };
        let of = |node: &Node| {
            node.operation().map(|_| computed(node) + node.inputs().iter().map(|&at| computed(&nodes[at])).max().unwrap_or(0))
        };
        let most = nodes.iter().filter_map(of).max().unwrap_or(0);
        Ok((parameters + most) as u64 * size_of::<f32>() as u64)
    }

    /// Refuses inference on `batch` images at a time where it cannot fit into the memory that the process may have.
    ///
    /// # Errors
    /// One sentence with what it needs and the limit; an input size that is too small.
    pub fn check_memory(&self, batch: usize) -> Result<()> {
        let size = Size::from(self.metadata.input_size);
        let what = format!("inference of {} at {size}", self.metadata.architecture);
        memory::check(&what, self.inference_bytes(self.images_a_pass(batch))?, "use a model of a smaller input size")
    }

    /// The least bytes that [`Model::explain`] has in use at one time: those of inference or, where they are more, the weights and what its
    /// backward passes read.
    ///
    /// # Errors
    /// An input size that is too small.
    pub fn explanation_bytes(&self) -> Result<u64> {
        let [rows, columns] = self.metadata.input_size;
        let mut context = Context::default();
        let mut tape = Tape::plan(Mode::Frozen, &self.parameters, &mut context);
        let x = tape.input([1, rows, columns, 1], &[], true)?;
        let output = self.forward(&mut tape, x)?;
        tape.release(output);
        let parameters: usize = self.parameters.iter().map(|(_, parameter)| parameter.value.shape().len()).sum();
        let kept = (parameters + tape.kept_values()) as u64 * size_of::<f32>() as u64;
        Ok(kept.max(self.inference_bytes(1)?))
    }

    /// Refuses [`Model::explain`] where it cannot fit into the memory that the process may have.
    ///
    /// # Errors
    /// One sentence with what is needed.
    pub fn check_explanation_memory(&self) -> Result<()> {
        let size = Size::from(self.metadata.input_size);
        let what = format!("a page with what speaks for the answers of {} at {size}", self.metadata.architecture);
        memory::check(&what, self.explanation_bytes()?, "leave --report out, or use a model of a smaller input size")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::Preprocessing;

    /// Of `osteon bench --only training --rounds 2 --json`, with AVX2: `peak_memory_bytes` of the process, which are more than what a step
    /// has in use, by workspace and by the program itself.
    #[test]
    fn a_step_is_said_to_need_most_of_what_it_took_and_never_more() {
        let measured: [(&str, [usize; 2], usize, u64); 8] = [
            ("inrac", [1024, 256], 8, 1_217_040_384),
            ("inrac", [1024, 256], 32, 3751 << 20),
            ("inrac", [256, 64], 16, 376_680_448),
            ("inrac", [64, 32], 32, 287_723_520),
            ("inrac-no-attention", [256, 64], 32, 494_002_176),
            ("classifier-34", [256, 64], 32, 650_862_592),
            ("inception-v1", [256, 64], 32, 508_755_968),
            ("vgg-11", [256, 64], 16, 1_143_500_800),
        ];
        for (name, size, batch, bytes) in measured {
            let classes = ["NoMet", "ADMet", "nADMet"].map(str::to_owned);
            let model = Model::new(name, &classes, size, Preprocessing::default(), 1).unwrap();
            let share = model.training_bytes(batch).unwrap() as f64 / bytes as f64;
            assert!((0.8..0.98).contains(&share), "{name} at {size:?}, batch {batch}: {share:.3} of what was measured");
            assert!(model.inference_bytes(batch).unwrap() < model.training_bytes(batch).unwrap());
            let explanation = model.explanation_bytes().unwrap();
            assert!(model.inference_bytes(1).unwrap() <= explanation && explanation < model.training_bytes(batch).unwrap());
        }
    }
}
