//! burn with its backend for CPUs, burn-flex: built by hand, for burn-onnx makes its code when this program is built, from a file of
//! one size and batch that is only exported later.

use burn::{
    module::Param,
    nn::{
        Linear, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        pool::MaxPool2dConfig,
    },
    tensor::{
        Device, Tensor, TensorData,
        activation::{relu, sigmoid},
    },
};

use crate::{
    Given, Result, Work,
    weights::{BLOCKS, Weights},
};

struct Network {
    stem: Conv2d,
    blocks: Vec<Block>,
    fc: Linear,
}

/// Each normalisation is in the convolution before it.
struct Block {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    spatial: Conv2d,
    shortcut: Option<Conv2d>,
}

pub fn work(given: Given) -> Result<Work> {
    if given.training {
        return Err("training is not built here for burn; see Cargo.toml".into());
    }
    let device = Device::flex();
    let network = Loader(&Weights::read(&given.model)?.fold()?, &device).network()?;
    let images = Tensor::<4>::from_data(TensorData::new(given.images, given.shape), &device);
    Ok(Box::new(move || network.forward(images.clone()).into_data().try_to_vec().map_err(|error| format!("{error:?}").into())))
}

struct Loader<'a>(&'a Weights, &'a Device);

impl Loader<'_> {
    fn network(&self) -> Result<Network> {
        let mut blocks = Vec::new();
        for (stage, count) in BLOCKS.into_iter().enumerate() {
            for block in 0..count {
                let name = |part: &str| format!("layer{}.{block}.{part}", stage + 1);
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                blocks.push(Block {
                    conv1: self.conv(&name("conv1"), stride)?,
                    conv2: self.conv(&name("conv2"), 1)?,
                    fc1: self.linear(&name("attention.channel.fc1"))?,
                    fc2: self.linear(&name("attention.channel.fc2"))?,
                    spatial: self.conv(&name("attention.spatial.conv"), 1)?,
                    shortcut: if stride == 1 { None } else { Some(self.conv(&name("downsample.0"), stride)?) },
                });
            }
        }
        Ok(Network { stem: self.conv("conv1", 2)?, blocks, fc: self.linear("fc")? })
    }

    fn tensor<const N: usize>(&self, name: &str) -> Result<Tensor<N>> {
        let (shape, values) = self.0.0.get(name).ok_or_else(|| format!("no {name} in the weights"))?;
        Ok(Tensor::from_data(TensorData::new(values.clone(), shape.clone()), self.1))
    }

    fn linear(&self, name: &str) -> Result<Linear> {
        let (weight, bias) = (self.tensor::<2>(&format!("{name}.weight"))?, self.tensor(&format!("{name}.bias"))?);
        Ok(Linear { weight: Param::from_tensor(weight.transpose()), bias: Some(Param::from_tensor(bias)) })
    }

    fn conv(&self, name: &str, stride: usize) -> Result<Conv2d> {
        let weight = self.tensor::<4>(&format!("{name}.weight"))?;
        let [outputs, inputs, kernel, _] = weight.dims();
        let half = kernel / 2;
        let config = Conv2dConfig::new([inputs, outputs], [kernel, kernel])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(half, half, half, half))
            .with_bias(false);
        let mut conv = config.init(self.1);
        conv.weight = Param::from_tensor(weight);
        conv.bias = self.tensor(&format!("{name}.bias")).ok().map(Param::from_tensor);
        Ok(conv)
    }
}

impl Network {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let pool = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init();
        let stem = pool.forward(relu(self.stem.forward(images)));
        let x = self.blocks.iter().fold(stem, |x, block| block.forward(x));
        self.fc.forward(x.flatten::<3>(2, 3).mean_dim(2).flatten(1, 2))
    }
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branch = self.conv2.forward(relu(self.conv1.forward(x.clone())));
        let shortcut = match &self.shortcut {
            Some(conv) => conv.forward(x),
            None => x,
        };
        relu(shortcut + self.attention(branch))
    }

    fn attention(&self, x: Tensor<4>) -> Tensor<4> {
        let mlp = |x: Tensor<3>| self.fc2.forward(relu(self.fc1.forward(x.flatten::<2>(1, 2))));
        let pixels = x.clone().flatten::<3>(2, 3);
        let channels = sigmoid(mlp(pixels.clone().mean_dim(2)) + mlp(pixels.max_dim(2)));
        let x = x * channels.unsqueeze_dims::<4>(&[2, 3]);
        let statistics = Tensor::cat(vec![x.clone().mean_dim(1), x.clone().max_dim(1)], 1);
        x * sigmoid(self.spatial.forward(statistics))
    }
}
