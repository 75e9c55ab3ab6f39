//! candle: built by hand, for candle-onnx cannot read the ONNX file.

use std::collections::HashMap;

use candle_core::{D, Device, Result, Tensor, Var};
use candle_nn::{AdamW, BatchNorm, Conv2d, Conv2dConfig, Module, Optimizer, ParamsAdamW, loss::cross_entropy, ops::sigmoid};

use crate::{
    Given, Work,
    weights::{BLOCKS, EPSILON, Weights},
};

/// Its tensors by PyTorch's names; in inference without `norms`, which are in the convolutions.
struct Network {
    tensors: HashMap<String, Tensor>,
    norms: HashMap<String, BatchNorm>,
}

pub fn work(given: Given) -> crate::Result<Work> {
    let weights = Weights::read(&given.model)?;
    let images = Tensor::from_vec(given.images, &given.shape, &Device::Cpu)?;
    if !given.training {
        let network = Network { tensors: tensors(weights.fold()?)?, norms: HashMap::new() };
        return Ok(Box::new(move || Ok(network.forward(&images)?.flatten_all()?.to_vec1()?)));
    }
    let (network, variables) = Network::to_train(weights)?;
    let labels = Tensor::from_iter((0..given.shape[0] as u32).map(|image| image % 3), &Device::Cpu)?;
    let adam = ParamsAdamW { lr: 1e-4, weight_decay: 0.0, ..Default::default() };
    let mut optimizer = AdamW::new(variables, adam)?;
    Ok(Box::new(move || {
        let loss = cross_entropy(&network.forward(&images)?, &labels)?;
        optimizer.backward_step(&loss)?;
        Ok(vec![loss.to_scalar()?])
    }))
}

fn tensors(weights: Weights) -> Result<HashMap<String, Tensor>> {
    weights.0.into_iter().map(|(name, (shape, values))| Ok((name, Tensor::from_vec(values, shape, &Device::Cpu)?))).collect()
}

impl Network {
    fn to_train(weights: Weights) -> Result<(Self, Vec<Var>)> {
        let names = weights.norms();
        let (mut tensors, mut variables) = (tensors(weights)?, Vec::new());
        for (name, tensor) in &mut tensors {
            if !name.contains(".running_") {
                let variable = Var::from_tensor(tensor)?;
                *tensor = variable.as_tensor().clone();
                variables.push(variable);
            }
        }
        let mut norms = HashMap::new();
        for (norm, _) in names {
            let tensor = |name: &str| tensors[&format!("{norm}.{name}")].clone();
            let (mean, variance) = (tensor("running_mean"), tensor("running_var"));
            let made = BatchNorm::new(mean.elem_count(), mean, variance, tensor("weight"), tensor("bias"), EPSILON)?;
            norms.insert(norm, made);
        }
        Ok((Self { tensors, norms }, variables))
    }

    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = self.pool(&self.conv_norm("conv1", "bn1", images, 2)?.relu()?)?;
        for (stage, count) in BLOCKS.into_iter().enumerate() {
            for block in 0..count {
                x = self.block(&format!("layer{}.{block}", stage + 1), &x, if stage > 0 && block == 0 { 2 } else { 1 })?;
            }
        }
        self.linear("fc", &x.mean((2, 3))?)
    }

    fn block(&self, name: &str, x: &Tensor, stride: usize) -> Result<Tensor> {
        let y = self.conv_norm(&format!("{name}.conv1"), &format!("{name}.bn1"), x, stride)?.relu()?;
        let y = self.conv_norm(&format!("{name}.conv2"), &format!("{name}.bn2"), &y, 1)?;
        let y = self.attention(&format!("{name}.attention"), &y)?;
        if stride == 1 {
            return (x + y)?.relu();
        }
        let shortcut = self.conv_norm(&format!("{name}.downsample.0"), &format!("{name}.downsample.1"), x, stride)?;
        (shortcut + y)?.relu()
    }

    fn attention(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let mlp = |x: &Tensor| {
            let hidden = self.linear(&format!("{name}.channel.fc1"), x)?.relu()?;
            self.linear(&format!("{name}.channel.fc2"), &hidden)
        };
        let pixels = x.flatten_from(2)?;
        let channels = sigmoid(&(mlp(&pixels.mean(D::Minus1)?)? + mlp(&pixels.max(D::Minus1)?)?)?)?;
        let x = x.broadcast_mul(&channels.unsqueeze(2)?.unsqueeze(3)?)?;
        let statistics = Tensor::cat(&[x.mean_keepdim(1)?, x.max_keepdim(1)?], 1)?;
        x.broadcast_mul(&sigmoid(&self.conv(&format!("{name}.spatial.conv"), &statistics, 1)?)?)
    }

    fn conv_norm(&self, conv: &str, norm: &str, x: &Tensor, stride: usize) -> Result<Tensor> {
        let y = self.conv(conv, x, stride)?;
        self.norms.get(norm).map_or(Ok(y.clone()), |norm| norm.forward_train(&y))
    }

    fn conv(&self, name: &str, x: &Tensor, stride: usize) -> Result<Tensor> {
        let weight = self.tensors[&format!("{name}.weight")].clone();
        let config = Conv2dConfig { padding: weight.dim(2)? / 2, stride, ..Default::default() };
        Conv2d::new(weight, self.tensors.get(&format!("{name}.bias")).cloned(), config).forward(x)
    }

    fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.tensors[&format!("{name}.weight")].t()?)?.broadcast_add(&self.tensors[&format!("{name}.bias")])
    }

    /// The largest of 3x3 with a stride of 2. Nothing is below 0 here, so that 0 may be padded.
    fn pool(&self, x: &Tensor) -> Result<Tensor> {
        if self.norms.is_empty() {
            return x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?.max_pool2d_with_stride(3, 2);
        }
        // candle's own has no gradient for a stride other than its size: of rows, then of columns, by `maximum`.
        let mut x = x.clone();
        for dim in [2, 3] {
            let (mut shape, half) = (x.dims().to_vec(), x.dim(dim)? / 2);
            shape.splice(dim..=dim, [half, 2]);
            let pairs = x.reshape(shape)?;
            let (even, odd) = (pairs.narrow(dim + 1, 0, 1)?.squeeze(dim + 1)?, pairs.narrow(dim + 1, 1, 1)?.squeeze(dim + 1)?);
            let before = odd.narrow(dim, 0, half - 1)?.pad_with_zeros(dim, 1, 0)?;
            x = even.maximum(&odd)?.maximum(&before)?;
        }
        Ok(x)
    }
}
