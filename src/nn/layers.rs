//! The layers with parameters of their own: convolution, with a bias or without, batch normalisation, linear.

use super::Builder;
use crate::Result;
use crate::autograd::{ConvLayer, Name, NormLayer, ParameterId, ParameterKind, Tape, Var};
use serde::{Deserialize, Serialize};

/// A convolution without bias; its output has the size of its input, divided by the stride and rounded up.
#[derive(Clone, Debug)]
pub struct Conv(ConvLayer);

impl Conv {
    /// Square kernel and stride; padding is half the kernel. The parameter is `NAME.weight`.
    pub fn new(builder: &mut Builder, name: &str, channels: [usize; 2], kernel: usize, stride: usize) -> Self {
        builder.within(name, |builder, name| {
            let weight = builder.convolution("weight", [kernel, kernel, channels[0], channels[1]]);
            Conv(ConvLayer { name, weight, stride: [stride; 2], padding: [kernel / 2; 2] })
        })
    }

    /// x (batch, rows, columns, in) to (batch, rows / stride, columns / stride, out).
    pub fn forward(&self, tape: &mut Tape, x: Var) -> Result<Var> {
        tape.enter(&self.0.name);
        let weight = tape.parameter(self.0.weight);
        tape.conv(x, weight, self.0.stride, self.0.padding)
    }

    /// [`forward`](Self::forward) and then `norm`, with ReLU or without.
    pub fn forward_norm(&self, tape: &mut Tape, x: Var, norm: &BatchNorm, relu: bool) -> Result<Var> {
        tape.conv_norm(x, &self.0, &norm.0, relu)
    }

    /// [`forward`](Self::forward), `norm`, ReLU and the maximum of `window` (kernel, stride, padding).
    pub fn forward_norm_pool(&self, tape: &mut Tape, x: Var, norm: &BatchNorm, window: [[usize; 2]; 3]) -> Result<Var> {
        tape.conv_norm_pool(x, &self.0, &norm.0, window)
    }
}

/// A convolution with bias, of stride 1; its output has the size of its input.
#[derive(Clone, Debug)]
pub struct BiasConv {
    name: Name,
    weight: ParameterId,
    bias: ParameterId,
    kernel: usize,
}

impl BiasConv {
    /// Square kernel of an odd side; padding is half of it. The parameters are `NAME.weight`, He normal with fan in, and `NAME.bias`, 0.
    pub fn new(builder: &mut Builder, name: &str, channels: [usize; 2], kernel: usize) -> Self {
        let [inputs, outputs] = channels;
        builder.within(name, |builder, name| BiasConv {
            name,
            weight: builder.he_fan_in(
                "weight",
                ParameterKind::Convolution,
                [kernel, kernel, inputs, outputs],
                kernel * kernel * inputs,
            ),
            bias: builder.constant("bias", ParameterKind::Plain, [outputs], 0.0),
            kernel,
        })
    }

    /// `NAME.weight` and `NAME.bias`.
    pub fn parameters(&self) -> [ParameterId; 2] {
        [self.weight, self.bias]
    }

    /// x (batch, rows, columns, in) to (batch, rows, columns, out), with ReLU or without.
    pub fn forward(&self, tape: &mut Tape, x: Var, relu: bool) -> Result<Var> {
        tape.enter(&self.name);
        let (weight, bias) = (tape.parameter(self.weight), tape.parameter(self.bias));
        tape.conv_bias(x, weight, bias, [1; 2], [self.kernel / 2; 2], relu)
    }
}

/// The two constants of batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NormSettings {
    /// Added to the variance.
    pub epsilon: f32,
    /// Share of a new batch in the running statistics.
    pub momentum: f32,
}

impl Default for NormSettings {
    fn default() -> Self {
        NormSettings { epsilon: 1e-5, momentum: 0.1 }
    }
}

/// Batch normalisation (Ioffe and Szegedy 2015).
#[derive(Clone, Debug)]
pub struct BatchNorm(NormLayer);

impl BatchNorm {
    /// The parameters are `NAME.weight`, `bias`, `running_mean` and `running_var`.
    pub fn new(builder: &mut Builder, name: &str, channels: usize, settings: NormSettings) -> Self {
        builder.within(name, |builder, name| {
            let mut constant = |name: &str, kind, value| builder.constant(name, kind, [channels], value);
            let affine = [constant("weight", ParameterKind::Plain, 1.0), constant("bias", ParameterKind::Plain, 0.0)];
            let statistic = ParameterKind::Statistic;
            let running = [constant("running_mean", statistic, 0.0), constant("running_var", statistic, 1.0)];
            BatchNorm(NormLayer { name, affine, running, epsilon: settings.epsilon, momentum: settings.momentum })
        })
    }

    /// The parameter `NAME.weight`.
    pub fn scale(&self) -> ParameterId {
        self.0.affine[0]
    }

    /// x (batch, rows, columns, channels), normalised.
    pub fn forward(&self, tape: &mut Tape, x: Var) -> Result<Var> {
        tape.batch_norm(x, &self.0, false)
    }
}

/// A fully connected layer.
#[derive(Clone, Debug)]
pub struct Linear {
    name: Name,
    weight: ParameterId,
    bias: ParameterId,
}

impl Linear {
    /// The parameters are `NAME.weight` (out, in) and `NAME.bias`.
    pub fn new(builder: &mut Builder, name: &str, in_features: usize, out_features: usize) -> Self {
        builder.within(name, |builder, name| {
            let weight = builder.uniform("weight", [out_features, in_features], in_features);
            Linear { name, weight, bias: builder.uniform("bias", [out_features], in_features) }
        })
    }

    /// One that a ReLU follows: `NAME.weight` is He normal with fan in, `NAME.bias` 0. Its input is of flattened feature maps of
    /// `pixels` pixels, or of single values where that is 1.
    pub fn hidden(builder: &mut Builder, name: &str, pixels: usize, in_features: usize, out_features: usize) -> Self {
        builder.within(name, |builder, name| {
            let kind = if pixels > 1 { ParameterKind::OfMaps(pixels) } else { ParameterKind::Plain };
            let weight = builder.he_fan_in("weight", kind, [out_features, in_features], in_features);
            Linear { name, weight, bias: builder.constant("bias", ParameterKind::Plain, [out_features], 0.0) }
        })
    }

    /// `NAME.weight` and `NAME.bias`.
    pub fn parameters(&self) -> [ParameterId; 2] {
        [self.weight, self.bias]
    }

    /// x (batch, in) to (batch, out).
    pub fn forward(&self, tape: &mut Tape, x: Var) -> Result<Var> {
        tape.enter(&self.name);
        let (weight, bias) = (tape.parameter(self.weight), tape.parameter(self.bias));
        tape.linear(x, weight, bias)
    }
}
