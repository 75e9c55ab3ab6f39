//! What a network has learnt: named tensors, trained by gradients or followed by running averages.

use super::packed::{PackedCache, PackedConv, Source};
use crate::tensor::{Shape, Tensor};
use crate::{Result, files};
use osteon_kernels::conv::ConvShape;
use osteon_kernels::par;
use osteon_kernels::simd::Isa;
use std::sync::Arc;

/// Index of a parameter in its [`Parameters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParameterId(pub(crate) usize);

impl ParameterId {
    /// The index, by which other lists (gradients, moments) go too.
    pub fn index(self) -> usize {
        self.0
    }
}

/// What a parameter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// Weights of a convolution: trained; (kernel rows, kernel columns, in channels, out channels) in memory, PyTorch's
    /// (out, in, rows, columns) in files.
    Convolution,
    /// Trained; the same shape in memory and in files.
    Plain,
    /// Weights of a linear layer on flattened feature maps of so many pixels: trained; (out, pixels * channels) in memory, as maps lie
    /// there, PyTorch's (out, channels * pixels) in files.
    OfMaps(usize),
    /// A running statistic of batch normalisation: not trained.
    Statistic,
}

impl ParameterKind {
    /// The shape in a model file of what has this one in memory.
    pub fn file_shape(self, shape: Shape) -> Shape {
        match self {
            ParameterKind::Convolution => [shape[3], shape[2], shape[0], shape[1]].into(),
            ParameterKind::Plain | ParameterKind::OfMaps(_) | ParameterKind::Statistic => shape,
        }
    }
}

/// A named tensor of a network.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name in a model file, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// What it is for.
    pub kind: ParameterKind,
    /// Its values, as the kernels want them.
    pub value: Tensor,
    is_frozen: bool,
}

impl Parameter {
    /// Whether gradients change it.
    pub fn is_trained(&self) -> bool {
        self.kind != ParameterKind::Statistic && !self.is_frozen
    }

    /// Its shape in a model file: PyTorch's.
    pub fn file_shape(&self) -> Shape {
        self.kind.file_shape(self.value.shape())
    }

    /// SHA-256 of its values as they stand in a model file, little-endian, in hexadecimal digits.
    pub fn sha256(&self) -> String {
        let values = self.to_file(self.value.values());
        let mut bytes = vec![[0; 4]; values.len()];
        bytes.iter_mut().zip(values).for_each(|(bytes, value)| *bytes = value.to_le_bytes());
        files::sha256(bytes.as_flattened())
    }

    /// Values in this parameter's memory order (its own, or its gradient's) in the order of a model file.
    pub fn to_file(&self, values: &[f32]) -> Vec<f32> {
        let mut file = vec![0.0; values.len()];
        for_each_position(self.kind, self.value.shape(), |in_memory, in_file| file[in_file] = values[in_memory]);
        file
    }

    /// The inverse of [`to_file`](Self::to_file), from little-endian bytes.
    ///
    /// # Panics
    /// Where there are not as many as this parameter has.
    pub fn from_file(&self, values: &[[u8; 4]]) -> Vec<f32> {
        assert_eq!(values.len(), self.value.shape().len(), "number of values of {}", self.name);
        let mut memory = vec![0.0; values.len()];
        for_each_position(self.kind, self.value.shape(), |in_memory, in_file| {
            memory[in_memory] = f32::from_le_bytes(values[in_file]);
        });
        memory
    }

    /// Overwrites the values with those of a model file, in its order, as little-endian bytes.
    ///
    /// # Panics
    /// Where there are not as many.
    pub fn set_from_file(&mut self, values: &[[u8; 4]]) {
        let shape = self.value.shape();
        assert_eq!(values.len(), shape.len(), "number of values of a parameter {shape}");
        let memory = self.value.values_mut();
        for_each_position(self.kind, shape, |in_memory, in_file| memory[in_memory] = f32::from_le_bytes(values[in_file]));
    }
}

/// Out channels that are visited for one in channel before the next: in a file each lies in a cache line of its own, and these
/// lines stay in the L1 cache until all that they hold is taken.
const BLOCK: usize = 64;

/// Calls `visit(position in memory, position in a file)` for every value of a parameter of this kind and shape.
fn for_each_position(kind: ParameterKind, shape: Shape, mut visit: impl FnMut(usize, usize)) {
    let (pixels, inputs, outputs) = match kind {
        ParameterKind::Convolution => (shape[0] * shape[1], shape[2], shape[3]),
        // A convolution whose kernel is a map, but for where the outputs stand.
        ParameterKind::OfMaps(pixels) => {
            let inputs = shape[1] / pixels;
            for output in 0..shape[0] {
                for input in 0..inputs {
                    for pixel in 0..pixels {
                        visit((output * pixels + pixel) * inputs + input, (output * inputs + input) * pixels + pixel);
                    }
                }
            }
            return;
        }
        ParameterKind::Plain | ParameterKind::Statistic => {
            return (0..shape.len()).for_each(|position| visit(position, position));
        }
    };
    for first in (0..outputs).step_by(BLOCK) {
        for input in 0..inputs {
            for pixel in 0..pixels {
                for output in first..outputs.min(first + BLOCK) {
                    visit((pixel * inputs + input) * outputs + output, (output * inputs + input) * pixels + pixel);
                }
            }
        }
    }
}

/// The parameters of one network, in the order its layers were built.
#[derive(Debug, Default)]
pub struct Parameters {
    all: Vec<Parameter>,
    packed: PackedCache,
}

impl Parameters {
    /// None yet.
    pub fn new() -> Self {
        Parameters::default()
    }

    /// Adds one.
    pub fn add(&mut self, name: impl Into<String>, kind: ParameterKind, value: Tensor) -> ParameterId {
        self.all.push(Parameter { name: name.into(), kind, value, is_frozen: false });
        ParameterId(self.all.len() - 1)
    }

    /// The parameter `id`.
    pub fn get(&self, id: ParameterId) -> &Parameter {
        &self.all[id.0]
    }

    /// The values of `id`, to change.
    pub fn values_mut(&mut self, id: ParameterId) -> &mut [f32] {
        self.packed.clear();
        self.all[id.0].value.values_mut()
    }

    /// From here on gradients change none of those whose names are told.
    pub fn freeze(&mut self, is_frozen: impl Fn(&str) -> bool) {
        self.all.iter_mut().filter(|parameter| is_frozen(&parameter.name)).for_each(|parameter| parameter.is_frozen = true);
    }

    /// Calls `change` for each of them, on several threads.
    ///
    /// # Errors
    /// That of the first parameter, in their order, for which there was one.
    pub fn change_each(&mut self, change: impl Fn(&mut Parameter) -> Result<()> + Sync + Send) -> Result<()> {
        self.packed.clear();
        let mut results: Vec<Result<()>> = self.all.iter().map(|_| Ok(())).collect();
        par::chunks_mut2((&mut self.all, 1), (&mut results, 1), |_, parameter, result| result[0] = change(&mut parameter[0]));
        results.into_iter().collect()
    }

    /// [`Parameter::sha256`] of each, in their order, on several threads.
    pub fn hashes(&self) -> Vec<String> {
        let mut hashes = vec![String::new(); self.all.len()];
        par::chunks_mut(&mut hashes, 1, |i, hash| hash[0] = self.all[i].sha256());
        hashes
    }

    /// All of them with their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ParameterId, &Parameter)> {
        self.all.iter().enumerate().map(|(i, parameter)| (ParameterId(i), parameter))
    }

    /// The ids of those that gradients change.
    pub fn trained(&self) -> Vec<ParameterId> {
        self.iter().filter(|(_, parameter)| parameter.is_trained()).map(|(id, _)| id).collect()
    }

    /// Bytes of all weights that were packed for the kernels.
    pub fn packed_bytes(&self) -> usize {
        self.packed.bytes()
    }

    /// The weights of a convolution as its forward pass reads them, packed once and kept until values change; with the batch
    /// normalisation that follows in them, where one is given (gamma, beta, running mean, running variance; epsilon).
    pub(super) fn packed(
        &self,
        weight: ParameterId,
        norm: Option<([ParameterId; 4], f32)>,
        shape: ConvShape,
        isa: Isa,
    ) -> Arc<PackedConv> {
        let source = |id: ParameterId| Source { id: id.0, values: self.get(id).value.values() };
        self.packed.get(source(weight), norm.map(|(ids, epsilon)| (ids.map(source), epsilon)), shape, isa)
    }
}
