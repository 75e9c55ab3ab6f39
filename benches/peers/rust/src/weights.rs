//! The network's weights by PyTorch's names, for the engines in which it is built by hand.

use std::{collections::HashMap, fs, path::Path};

use safetensors::{SafeTensors, tensor::TensorView};

use crate::Result;

/// Blocks in each of the four stages.
pub const BLOCKS: [usize; 4] = [2, 3, 5, 2];

pub const EPSILON: f64 = 1e-5;

pub struct Weights(pub HashMap<String, (Vec<usize>, Vec<f32>)>);

impl Weights {
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path)?;
        let tensors = SafeTensors::deserialize(&bytes)?;
        Ok(Self(tensors.iter().map(|(name, tensor)| (name.to_string(), (tensor.shape().to_vec(), floats(&tensor)))).collect()))
    }

    /// The names of the normalisations, each with that of the convolution before it.
    pub fn norms(&self) -> Vec<(String, String)> {
        let norms = self.0.keys().filter_map(|name| name.strip_suffix(".running_var"));
        norms.map(|norm| (norm.to_string(), norm.replace("bn", "conv").replace("downsample.1", "downsample.0"))).collect()
    }

    /// Puts each normalisation into the convolution before it, as the ONNX file has it.
    pub fn fold(mut self) -> Result<Self> {
        for (norm, conv) in self.norms() {
            let mut take = |name: &str| self.0.remove(&format!("{norm}.{name}")).ok_or_else(|| format!("no {norm}.{name}"));
            let (gamma, beta, mean, variance) = (take("weight")?, take("bias")?, take("running_mean")?, take("running_var")?);
            let scales: Vec<f32> = gamma.1.iter().zip(&variance.1).map(|(g, v)| g / (v + EPSILON as f32).sqrt()).collect();
            let (shape, weight) = self.0.get_mut(&format!("{conv}.weight")).ok_or_else(|| format!("no {conv}.weight"))?;
            let inputs = shape[1..].iter().product();
            for (filter, scale) in weight.chunks_mut(inputs).zip(&scales) {
                filter.iter_mut().for_each(|value| *value *= scale);
            }
            let bias = beta.1.iter().zip(&mean.1).zip(&scales).map(|((b, m), s)| b - m * s).collect();
            self.0.insert(format!("{conv}.bias"), (gamma.0, bias));
        }
        Ok(self)
    }
}

pub fn floats(tensor: &TensorView) -> Vec<f32> {
    tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}
