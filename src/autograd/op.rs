//! Every operation of the tape: what it computes, and beneath it how its gradient flows back.
//!
//! Inputs and outputs are slices whose lengths the tape has checked; here operations only meet their kernels.

use super::ParameterId;
use crate::tensor::Buffer;
use osteon_kernels::adaptive::{self, AdaptiveShape};
use osteon_kernels::attention;
use osteon_kernels::bias;
use osteon_kernels::concat::{self, ConcatShape};
use osteon_kernels::conv::{self, Algorithm, ConvShape, Epilogue, Pass};
use osteon_kernels::dropout::{self, Dropout};
use osteon_kernels::elementwise;
use osteon_kernels::linear::{self, LinearShape};
use osteon_kernels::norm::{self, NormShape};
use osteon_kernels::pool::{self, PoolShape};
use osteon_kernels::reduce::{self, ReduceShape};
use osteon_kernels::simd::Isa;
use osteon_kernels::softmax;

/// An operation and its sizes. The comment lists its inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// A tensor from outside.
    Input,
    /// A parameter of the network.
    Parameter(ParameterId),
    /// x, weight
    Conv(ConvShape),
    /// x, weight, bias: a convolution with a bias, or the larger of that and 0.
    ConvBias {
        /// Of the convolution.
        shape: ConvShape,
        /// Whether ReLU follows.
        relu: bool,
    },
    /// x, weight, gamma, beta, running mean, running variance: a convolution and batch normalisation over the running
    /// statistics in one pass. In inference only.
    ConvNorm {
        /// Of the convolution.
        shape: ConvShape,
        /// Of the batch normalisation.
        epsilon: f32,
        /// Whether ReLU follows.
        relu: bool,
    },
    /// The same inputs; then the maximum over windows, and the larger of that and 0. In inference only.
    ConvNormPool {
        /// Of the convolution.
        shape: ConvShape,
        /// Of the batch normalisation.
        epsilon: f32,
        /// Of the windows.
        pool: PoolShape,
    },
    /// x, gamma, beta, running mean, running variance; over the batch's own statistics.
    BatchNorm(NormShape, f32),
    /// The same inputs; over the running statistics.
    FrozenNorm(NormShape, f32),
    /// x
    Relu,
    /// x
    Sigmoid,
    /// a, b
    Add,
    /// a, b; the larger of their sum and 0.
    AddRelu,
    /// a, b; `a + weight * b`
    AddScaled(f32),
    /// Up to four arrays of pixels, whose channels are joined.
    Concat(ConcatShape),
    /// x (batch, rows, columns, channels), as (batch, rows * columns * channels)
    Flatten,
    /// x; in training only.
    Dropout(Dropout),
    /// x
    MaxPool(PoolShape),
    /// x
    AveragePool(PoolShape),
    /// x
    AdaptiveAverage(AdaptiveShape),
    /// x
    GlobalAverage(ReduceShape),
    /// x
    GlobalMax(ReduceShape),
    /// x; means over the pixels of all images, then maxima: (2 * batch, channels). In inference only.
    GlobalStats(ReduceShape),
    /// x (2 * n, channels); the sum of its halves. In inference only.
    AddHalves,
    /// x; mean and maximum over channels.
    ChannelStats(ReduceShape),
    /// x, a factor for each image and channel
    ScaleChannels(ReduceShape),
    /// x, a factor for each pixel
    ScalePixels(ReduceShape),
    /// x, a factor for each image and channel; mean and maximum over the scaled channels.
    ScaledStats(ReduceShape),
    /// x, a factor for each image and channel, a factor for each pixel, shortcut; the larger of 0 and the sum of the shortcut and
    /// x times both factors.
    ScaleAddRelu(ReduceShape),
    /// x, weight, bias
    Linear(LinearShape),
    /// logits (batch, classes); the labels are in [`Saved::indices`]. The mean over the batch.
    CrossEntropy {
        /// Images.
        batch: usize,
        /// Logits an image.
        classes: usize,
    },
    /// logits (batch, classes), a weight for each class; the labels are in [`Saved::indices`]. The weighted mean over the batch.
    WeightedCrossEntropy {
        /// Images.
        batch: usize,
        /// Logits an image.
        classes: usize,
    },
}

/// What a forward pass remembers for its backward pass beside inputs and output.
#[derive(Debug, Default)]
pub struct Saved {
    /// Batch norm: mean, 1/std and variance of each channel. Frozen norm: the factor of each channel. Cross-entropy:
    /// probabilities, and where it is weighted each image's share. Dropout: what each value is multiplied by.
    pub floats: Buffer,
    /// Maxima: where they were. Cross-entropy: labels.
    pub indices: Vec<u32>,
}

impl Op {
    /// Its name, as a trace shows it.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Parameter(_) => "parameter",
            Op::Conv(_) => "conv",
            Op::ConvBias { relu: false, .. } => "conv, bias",
            Op::ConvBias { relu: true, .. } => "conv, bias, relu",
            Op::ConvNorm { relu: false, .. } => "conv, batch norm",
            Op::ConvNorm { relu: true, .. } => "conv, batch norm, relu",
            Op::ConvNormPool { .. } => "conv, batch norm, max pool, relu",
            Op::BatchNorm(s, _) if s.relu => "batch norm, relu",
            Op::BatchNorm(..) => "batch norm",
            Op::FrozenNorm(s, _) if s.relu => "batch norm, running statistics, relu",
            Op::FrozenNorm(..) => "batch norm, running statistics",
            Op::Relu => "relu",
            Op::Sigmoid => "sigmoid",
            Op::Add => "add",
            Op::AddRelu => "add, relu",
            Op::AddScaled(_) => "add, scaled",
            Op::Concat(_) => "join channels",
            Op::Flatten => "flatten",
            Op::Dropout(_) => "dropout",
            Op::MaxPool(_) => "max pool",
            Op::AveragePool(_) => "average pool",
            Op::AdaptiveAverage(_) => "adaptive average pool",
            Op::GlobalAverage(_) => "global average",
            Op::GlobalMax(_) => "global max",
            Op::GlobalStats(_) => "global average and max",
            Op::AddHalves => "add halves",
            Op::ChannelStats(_) => "channel mean and max",
            Op::ScaleChannels(_) => "scale channels",
            Op::ScalePixels(_) => "scale pixels",
            Op::ScaledStats(_) => "scale channels, mean and max",
            Op::ScaleAddRelu(_) => "scale channels and pixels, add, relu",
            Op::Linear(_) => "linear",
            Op::CrossEntropy { .. } => "cross-entropy",
            Op::WeightedCrossEntropy { .. } => "weighted cross-entropy",
        }
    }

    /// Where its equation is written.
    pub fn source(&self) -> &'static str {
        match self {
            Op::Input => "from outside",
            Op::Parameter(_) => "the model file",
            Op::Conv(_) => "Goodfellow et al. 2016, eq. 9.6 (cross-correlation)",
            Op::ConvBias { .. } => "Goodfellow et al. 2016, eq. 9.6 (cross-correlation), and section 9.5 on biases",
            Op::ConvNorm { .. } => "Goodfellow et al. 2016, eq. 9.6; Ioffe and Szegedy 2015, algorithm 2",
            Op::ConvNormPool { .. } => {
                "Goodfellow et al. 2016, eq. 9.6; Ioffe and Szegedy 2015, algorithm 2; Lin et al. 2022, table of Classifier-inRAC, `Pool`"
            }
            Op::BatchNorm(..) => "Ioffe and Szegedy 2015, algorithm 1",
            Op::FrozenNorm(..) => "Ioffe and Szegedy 2015, algorithm 2",
            Op::Relu => "Glorot et al. 2011, section 3.1",
            Op::Sigmoid => "Goodfellow et al. 2016, eq. 3.30; in the attention: Woo et al. 2018, eq. 2 and 3",
            Op::Add | Op::AddHalves => "Woo et al. 2018, eq. 2",
            Op::AddRelu => "He et al. 2016, eq. 1",
            Op::AddScaled(_) => "Szegedy et al. 2015, section 5 (the loss of auxiliary classifiers)",
            Op::Concat(_) => "Szegedy et al. 2015, figure 2",
            Op::Flatten => "Simonyan and Zisserman 2015, section 2.1",
            Op::Dropout(_) => "Srivastava et al. 2014, section 4; scaled as Goodfellow et al. 2016, section 7.12",
            Op::MaxPool(_) => "Lin et al. 2022, table of Classifier-inRAC, `Pool`; Goodfellow et al. 2016, section 9.3",
            Op::AveragePool(_) => "Goodfellow et al. 2016, section 9.3",
            Op::AdaptiveAverage(_) => "Goodfellow et al. 2016, section 9.3, over PyTorch's windows of AdaptiveAvgPool2d",
            Op::GlobalAverage(_) => "Lin, Chen and Yan 2014, section 3.2; in the attention: Woo et al. 2018, eq. 2",
            Op::GlobalMax(_) | Op::GlobalStats(_) => "Woo et al. 2018, eq. 2",
            Op::ChannelStats(_) => "Woo et al. 2018, eq. 3",
            Op::ScaleChannels(_) | Op::ScalePixels(_) => "Woo et al. 2018, eq. 1",
            Op::ScaledStats(_) => "Woo et al. 2018, eq. 1 and 3",
            Op::ScaleAddRelu(_) => "Woo et al. 2018, eq. 1; He et al. 2016, eq. 1; Lin et al. 2022, inRAC",
            Op::Linear(_) => "Goodfellow et al. 2016, eq. 6.2; in the attention: Woo et al. 2018, eq. 2",
            Op::CrossEntropy { .. } => "Goodfellow et al. 2016, eq. 6.29 and 6.30",
            Op::WeightedCrossEntropy { .. } => {
                "Goodfellow et al. 2016, eq. 6.29 and 6.30, weighted as PyTorch's CrossEntropyLoss"
            }
        }
    }

    /// Where the equation of its gradient is written.
    pub fn gradient_source(&self) -> &'static str {
        match self {
            Op::Conv(_) | Op::ConvBias { .. } => "Goodfellow et al. 2016, eq. 9.11 (weight) and 9.13 (input)",
            Op::BatchNorm(..) => "Ioffe and Szegedy 2015, section 3",
            _ => "the chain rule (Goodfellow et al. 2016, eq. 6.47) of its equation",
        }
    }

    /// Floating-point operations of the forward pass that are multiplications with weights: convolutions and linear layers.
    pub fn flops(&self) -> u64 {
        match self {
            Op::Conv(shape) | Op::ConvNorm { shape, .. } | Op::ConvNormPool { shape, .. } | Op::ConvBias { shape, .. } => {
                shape.flops()
            }
            Op::Linear(s) => 2 * (s.batch * s.in_features * s.out_features) as u64,
            _ => 0,
        }
    }

    /// How many of the inputs, from the first, can have a gradient.
    pub(super) fn differentiates(&self) -> usize {
        match self {
            Op::Input | Op::Parameter(_) => 0,
            Op::ConvNorm { .. } | Op::ConvNormPool { .. } => 0,
            Op::GlobalStats(_) | Op::AddHalves => 0,
            Op::Conv(_) | Op::Add | Op::AddRelu | Op::AddScaled(_) => 2,
            Op::ScaleChannels(_) | Op::ScalePixels(_) | Op::ScaledStats(_) => 2,
            Op::BatchNorm(..) | Op::Linear(_) | Op::ConvBias { .. } => 3,
            Op::ScaleAddRelu(_) => 4,
            Op::Concat(s) => s.channels.iter().filter(|&&channels| channels > 0).count(),
            _ => 1,
        }
    }

    /// Of how many inputs, from the first, the backward pass reads the values, and whether it reads the output's.
    pub(super) fn rereads(&self) -> (usize, bool) {
        match self {
            Op::ConvBias { relu, .. } => (2, *relu),
            Op::Conv(_) | Op::ScaleChannels(_) | Op::ScalePixels(_) | Op::ScaledStats(_) | Op::Linear(_) => (2, false),
            Op::BatchNorm(..) => (3, false),
            Op::ScaleAddRelu(_) => (3, true),
            Op::FrozenNorm(s, _) => (0, s.relu),
            Op::Relu | Op::AddRelu | Op::Sigmoid => (0, true),
            _ => (0, false),
        }
    }

    /// Lengths of the buffers of [`Saved`], where a backward pass may follow or not.
    pub(super) fn saved_len(&self, output: usize, records: bool) -> (usize, usize) {
        match *self {
            Op::BatchNorm(s, _) => (3 * s.channels, 0),
            Op::FrozenNorm(s, _) => (s.channels, 0),
            Op::MaxPool(_) | Op::GlobalMax(_) => (0, output),
            Op::ChannelStats(s) => (0, s.batch * s.pixels),
            // Without places it is faster.
            Op::ScaledStats(s) => (0, if records { s.batch * s.pixels } else { 0 }),
            Op::CrossEntropy { batch, classes } => (batch * classes, batch),
            Op::Dropout(_) => (output, 0),
            Op::WeightedCrossEntropy { batch, classes } => (batch * classes + batch, batch),
            _ => (0, 0),
        }
    }

    /// Length of the scratch of forward.
    pub(super) fn forward_scratch_len(&self) -> usize {
        match *self {
            Op::Conv(s) | Op::ConvBias { shape: s, .. } | Op::ConvNorm { shape: s, .. } => {
                Algorithm::choose(Pass::Forward, s).forward_scratch_len(s)
            }
            Op::ConvNormPool { shape, pool, .. } => conv::forward_max_pool_scratch_len(shape, pool),
            Op::BatchNorm(s, _) | Op::FrozenNorm(s, _) => norm::scratch_len(s),
            _ => 0,
        }
    }

    /// Length of the scratch of backward.
    pub(super) fn backward_scratch_len(&self) -> usize {
        match *self {
            Op::Conv(s) | Op::ConvBias { shape: s, .. } => {
                let [data, weights] = [Pass::BackwardData, Pass::BackwardWeights].map(|pass| Algorithm::choose(pass, s));
                let of_bias = match self {
                    Op::ConvBias { .. } => bias::scratch_len(s.output_len() / s.out_channels, s.out_channels),
                    _ => 0,
                };
                data.backward_data_scratch_len(s).max(weights.backward_weights_scratch_len(s)).max(of_bias)
            }
            Op::BatchNorm(s, _) => norm::scratch_len(s),
            _ => 0,
        }
    }

    /// Overwrites `output`. A convolution's second input is its *packed* weight; batch normalisation is folded into it, and the
    /// third input is then the bias, as it is where a convolution has one of its own.
    pub(super) fn forward(&self, isa: Isa, inputs: &[&[f32]], output: &mut [f32], saved: &mut Saved, scratch: &mut [f32]) {
        match *self {
            Op::Input | Op::Parameter(_) => unreachable!("a leaf has its value"),
            Op::Conv(s) => convolve(isa, s, inputs, Epilogue::default(), output, scratch),
            Op::ConvBias { shape, relu } | Op::ConvNorm { shape, relu, .. } => {
                convolve(isa, shape, inputs, Epilogue { bias: Some(inputs[2]), relu }, output, scratch);
            }
            Op::ConvNormPool { shape, pool, .. } => {
                conv::forward_max_pool(isa, shape, pool, inputs[0], inputs[1], inputs[2], output, scratch);
            }
            Op::BatchNorm(s, epsilon) => {
                let (mean, rest) = saved.floats.split_at_mut(s.channels);
                let (inv_std, variance) = rest.split_at_mut(s.channels);
                let [x, gamma, beta] = [inputs[0], inputs[1], inputs[2]];
                norm::forward_training(isa, s, epsilon, x, gamma, beta, output, mean, inv_std, variance, scratch);
            }
            Op::FrozenNorm(s, epsilon) => {
                let [x, gamma, beta, mean, variance] = [inputs[0], inputs[1], inputs[2], inputs[3], inputs[4]];
                norm::forward_inference(isa, s, epsilon, x, gamma, beta, mean, variance, output, scratch);
                for ((factor, gamma), variance) in saved.floats.iter_mut().zip(gamma).zip(variance) {
                    *factor = gamma / (variance + epsilon).sqrt();
                }
            }
            Op::Relu => elementwise::relu(isa, inputs[0], output),
            Op::Sigmoid => elementwise::sigmoid(isa, inputs[0], output),
            Op::Add => elementwise::add(isa, inputs[0], inputs[1], output),
            Op::AddRelu => elementwise::add_relu(isa, inputs[0], inputs[1], output),
            Op::AddScaled(weight) => elementwise::add_scaled(isa, weight, inputs[0], inputs[1], output),
            Op::Concat(s) => concat::forward(s, inputs, output),
            Op::Flatten => output.copy_from_slice(inputs[0]),
            Op::Dropout(dropout) => dropout::forward(isa, dropout, inputs[0], &mut saved.floats, output),
            Op::MaxPool(s) => pool::max_pool(isa, s, inputs[0], output, &mut saved.indices),
            Op::AveragePool(s) => pool::average_pool(isa, s, inputs[0], output),
            Op::AdaptiveAverage(s) => adaptive::forward(isa, s, inputs[0], output),
            Op::GlobalAverage(s) => reduce::global_average(isa, s, inputs[0], output),
            Op::GlobalMax(s) => reduce::global_max(isa, s, inputs[0], output, &mut saved.indices),
            Op::GlobalStats(s) => reduce::global_stats(isa, s, inputs[0], output),
            Op::AddHalves => {
                let (a, b) = inputs[0].split_at(output.len());
                elementwise::add(isa, a, b, output);
            }
            Op::ChannelStats(s) => attention::channel_stats(isa, s, inputs[0], output, &mut saved.indices),
            Op::ScaleChannels(s) => attention::scale_channels(isa, s, inputs[0], inputs[1], output),
            Op::ScalePixels(s) => attention::scale_pixels(isa, s, inputs[0], inputs[1], output),
            Op::ScaledStats(s) => {
                attention::scaled_channel_stats(isa, s, inputs[0], inputs[1], output, &mut saved.indices);
            }
            Op::ScaleAddRelu(s) => {
                attention::scale_add_relu(isa, s, inputs[0], inputs[1], inputs[2], inputs[3], output);
            }
            Op::Linear(s) => linear::forward(isa, s, inputs[0], inputs[1], inputs[2], output),
            Op::CrossEntropy { batch, classes } => {
                let Saved { floats: probabilities, indices: labels } = saved;
                output[0] = softmax::cross_entropy(isa, batch, classes, inputs[0], labels, probabilities);
            }
            Op::WeightedCrossEntropy { batch, classes } => {
                let (probabilities, shares) = saved.floats.split_at_mut(batch * classes);
                let [logits, weights] = [inputs[0], inputs[1]];
                output[0] =
                    softmax::weighted_cross_entropy(isa, batch, classes, logits, &saved.indices, weights, probabilities, shares);
            }
        }
    }

    /// Whether backward turns the output's gradient into the first input's in the same buffer.
    pub(super) fn is_in_place(&self) -> bool {
        matches!(self, Op::BatchNorm(..) | Op::Relu | Op::AddRelu | Op::ScaleAddRelu(_) | Op::Flatten)
    }

    /// Whether backward can add the first input's gradient to one that is there already: then it is neither written by itself nor read.
    pub(super) fn adds(&self) -> bool {
        match *self {
            Op::Conv(shape) | Op::ConvBias { shape, .. } => Algorithm::choose(Pass::BackwardData, shape).adds(),
            Op::GlobalAverage(_) | Op::GlobalMax(_) | Op::ChannelStats(_) | Op::ScaledStats(_) => true,
            _ => false,
        }
    }

    /// What is done to the output's gradient, in its place, before [`backward`](Self::backward) gets it.
    pub(super) fn prepare(&self, isa: Isa, output: &[f32], grad: &mut [f32]) {
        if let Op::ConvBias { relu: true, .. } = self {
            elementwise::relu_backward(isa, output, grad);
        }
    }

    /// Whether the output is let go of and computed a second time, by [`forward_again`](Self::forward_again), at the cost of one
    /// pass. Of the two normalisations of a block only that without a ReLU: with both computed again a step of 8 full-size images has
    /// a peak of 1100 MB, with one 1157, with none 1318, which is above half of PyTorch's; and each costs about a hundredth of the step.
    pub(super) fn is_had_again(&self) -> bool {
        matches!(self, Op::BatchNorm(NormShape { relu: false, .. }, _) | Op::ScaleChannels(_))
    }

    /// Overwrites `output` with what [`forward`](Self::forward) made of the same inputs, bit for bit.
    pub(super) fn forward_again(&self, isa: Isa, inputs: &[&[f32]], saved: &Saved, output: &mut [f32], scratch: &mut [f32]) {
        match *self {
            Op::BatchNorm(s, _) => {
                let (mean, rest) = saved.floats.split_at(s.channels);
                let [x, gamma, beta] = [inputs[0], inputs[1], inputs[2]];
                norm::recompute(isa, s, x, gamma, beta, mean, &rest[..s.channels], output, scratch);
            }
            Op::ScaleChannels(s) => attention::scale_channels(isa, s, inputs[0], inputs[1], output),
            _ => unreachable!("{} is not computed twice", self.name()),
        }
    }

    /// Overwrites `grads`, the gradients of the inputs, from `grad`, that of the output. Values that
    /// [`rereads`](Self::rereads) does not ask for are empty slices. A convolution skips a gradient that is empty. `grad` is
    /// [prepared](Self::prepare). Where the
    /// operation is [`in place`](Self::is_in_place), `grad` is empty, and the first input's gradient holds the output's. With `add`,
    /// which only what [`adds`](Self::adds) may be asked for, the first input's gradient is not overwritten but added to.
    pub(super) fn backward(
        &self,
        isa: Isa,
        (inputs, output): (&[&[f32]], &[f32]),
        saved: &Saved,
        grad: &[f32],
        (grads, add): (&mut [&mut [f32]], bool),
        scratch: &mut [f32],
    ) {
        debug_assert!(!add || self.adds());
        match (*self, grads) {
            (Op::Conv(s), [x, weight]) => conv_backward(isa, s, inputs, grad, (x, add), weight, scratch),
            (Op::ConvBias { shape, .. }, [x, weight, bias]) => {
                conv_backward(isa, shape, inputs, grad, (x, add), weight, scratch);
                if !bias.is_empty() {
                    bias::backward(isa, grad, bias, scratch);
                }
            }
            (Op::BatchNorm(s, _), [x, gamma, beta]) => {
                let (mean, rest) = saved.floats.split_at(s.channels);
                let inv_std = &rest[..s.channels];
                let [values, weight, bias] = [inputs[0], inputs[1], inputs[2]];
                norm::backward(isa, s, values, weight, bias, mean, inv_std, x, gamma, beta, scratch);
            }
            // Only the input's gradient: what is frozen does not learn. It is a factor a channel, of one image of all pixels.
            (Op::FrozenNorm(s, _), [x]) => {
                let shape = ReduceShape { batch: 1, pixels: s.pixels, channels: s.channels };
                attention::scale_channels(isa, shape, grad, &saved.floats, x);
                if s.relu {
                    x.iter_mut().zip(output).for_each(|(x, &output)| *x = if output > 0.0 { *x } else { 0.0 });
                }
            }
            (Op::Relu, [x]) => elementwise::relu_backward(isa, output, x),
            (Op::AddRelu, [a, b]) => elementwise::relu_backward_both(isa, output, a, b),
            (Op::Sigmoid, [x]) => elementwise::sigmoid_backward(isa, output, grad, x),
            (Op::Add, [a, b]) => {
                a.copy_from_slice(grad);
                b.copy_from_slice(grad);
            }
            (Op::AddScaled(weight), [a, b]) => {
                a.copy_from_slice(grad);
                elementwise::scale(isa, weight, grad, b);
            }
            (Op::Concat(s), parts) => {
                parts.iter_mut().enumerate().for_each(|(k, part)| concat::backward(s, k, grad, part));
            }
            (Op::Flatten, [_]) => {} // the same values in the same buffer
            (Op::Dropout(_), [x]) => dropout::backward(isa, &saved.floats, grad, x),
            (Op::MaxPool(s), [x]) => pool::max_pool_backward(isa, s, &saved.indices, grad, x),
            (Op::AveragePool(s), [x]) => pool::average_pool_backward(isa, s, grad, x),
            (Op::AdaptiveAverage(s), [x]) => adaptive::backward(isa, s, grad, x),
            (Op::GlobalAverage(s), [x]) => reduce::global_average_backward(isa, s, grad, x, add),
            (Op::GlobalMax(s), [x]) => reduce::global_max_backward(isa, s, &saved.indices, grad, x, add),
            (Op::ChannelStats(s), [x]) => attention::channel_stats_backward(isa, s, &saved.indices, grad, x, add),
            (Op::ScaleChannels(s), [x, factor]) => {
                attention::scale_channels_backward(isa, s, inputs[0], inputs[1], grad, x, factor);
            }
            (Op::ScalePixels(s), [x, factor]) => attention::scale_pixels_backward(isa, s, inputs[0], inputs[1], grad, x, factor),
            (Op::ScaledStats(s), [x, factor]) => {
                let [values, weights] = [inputs[0], inputs[1]];
                attention::scaled_channel_stats_backward(isa, s, values, weights, &saved.indices, grad, x, factor, add);
            }
            (Op::ScaleAddRelu(s), [x, channels, pixels, shortcut]) => {
                let [values, of_channels, of_pixels] = [inputs[0], inputs[1], inputs[2]];
                attention::scale_add_relu_backward(isa, s, values, of_channels, of_pixels, output, x, channels, pixels, shortcut);
            }
            (Op::Linear(s), [x, weight, bias]) => linear::backward(isa, s, inputs[0], inputs[1], grad, x, weight, bias),
            (Op::CrossEntropy { batch, classes }, [logits]) => {
                softmax::cross_entropy_backward(batch, classes, &saved.floats, &saved.indices, grad[0], logits);
            }
            (Op::WeightedCrossEntropy { batch, classes }, [logits]) => {
                let (probabilities, shares) = saved.floats.split_at(batch * classes);
                let labels = &saved.indices;
                softmax::weighted_cross_entropy_backward(batch, classes, probabilities, labels, shares, grad[0], logits);
            }
            (op, grads) => unreachable!("{} with {} gradients", op.name(), grads.len()),
        }
    }
}

fn convolve(isa: Isa, shape: ConvShape, inputs: &[&[f32]], epilogue: Epilogue, output: &mut [f32], scratch: &mut [f32]) {
    Algorithm::choose(Pass::Forward, shape).forward(isa, shape, inputs[0], inputs[1], epilogue, output, scratch);
}

fn conv_backward(
    isa: Isa,
    shape: ConvShape,
    inputs: &[&[f32]],
    grad: &[f32],
    (x, add): (&mut [f32], bool),
    weight: &mut [f32],
    scratch: &mut [f32],
) {
    if !x.is_empty() {
        Algorithm::choose(Pass::BackwardData, shape).backward_data(isa, shape, grad, inputs[1], (x, add), scratch);
    }
    if !weight.is_empty() {
        Algorithm::choose(Pass::BackwardWeights, shape).backward_weights(isa, shape, inputs[0], grad, weight, scratch);
    }
}
