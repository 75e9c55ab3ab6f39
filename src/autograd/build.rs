//! What layers and networks call: one method an operation. Shapes and equations are said where the operation is, in [`ops`](super::ops).

use super::ops::{
    AdaptiveAverage, Add, AddRelu, AddScaled, AveragePool, BatchNorm, ChannelStats, Concat, Conv, ConvBias, CrossEntropy,
    Dropout, Flatten, FrozenNorm, GlobalAverage, GlobalMax, Linear, MaxPool, Relu, Saved, ScaleAddRelu, ScaleChannels,
    ScalePixels, ScaledStats, Sigmoid, Softmax, WeightedCrossEntropy, check_labels,
};
use super::{Mode, Name, ParameterId, Tape, TapeEvent, Var};
use crate::Result;
use osteon_kernels::concat::MAX_PARTS;
use osteon_kernels::norm;

/// A convolution without bias as layers have it.
#[derive(Clone, Debug)]
pub struct ConvLayer {
    /// The layer's name.
    pub name: Name,
    /// (kernel rows, kernel columns, in, out)
    pub weight: ParameterId,
    /// Step between outputs, in input rows and columns.
    pub stride: [usize; 2],
    /// Zeros at the top and bottom, and left and right.
    pub padding: [usize; 2],
}

/// A batch normalisation as layers have it.
#[derive(Clone, Debug)]
pub struct NormLayer {
    /// The layer's name.
    pub name: Name,
    /// gamma and beta, (channels)
    pub affine: [ParameterId; 2],
    /// running mean and variance, (channels)
    pub running: [ParameterId; 2],
    /// Added to the variance.
    pub epsilon: f32,
    /// Share of a new batch in the running statistics.
    pub momentum: f32,
}

/// Kernel, stride and padding of windows, in rows and columns.
pub(super) type Window = [[usize; 2]; 3];

/// Each method ends this use of the values that it is given, and errs where shapes do not fit.
impl Tape<'_> {
    /// [`Conv`]
    pub fn conv(&mut self, x: Var, weight: Var, stride: [usize; 2], padding: [usize; 2]) -> Result<Var> {
        self.apply(Conv { stride, padding }, [x, weight])
    }

    /// [`ConvBias`]
    pub fn conv_bias(
        &mut self,
        x: Var,
        weight: Var,
        bias: Var,
        stride: [usize; 2],
        padding: [usize; 2],
        relu: bool,
    ) -> Result<Var> {
        self.apply(ConvBias { stride, padding, relu }, [x, weight, bias])
    }

    /// [`BatchNorm`] in training, which also moves the running statistics by the layer's momentum; [`FrozenNorm`] otherwise, and where the
    /// layer does not train.
    pub fn batch_norm(&mut self, x: Var, layer: &NormLayer, relu: bool) -> Result<Var> {
        let NormLayer { affine: [gamma, beta], running, epsilon, momentum, .. } = *layer;
        self.enter(&layer.name);
        let is_trained = self.parameters.get(gamma).is_trained();
        let [gamma, beta, mean, variance] = [gamma, beta, running[0], running[1]].map(|id| self.parameter(id));
        let inputs = [x, gamma, beta, mean, variance];
        if self.mode != Mode::Training || !is_trained {
            return self.apply(FrozenNorm { epsilon, relu }, inputs);
        }
        let output = self.apply(BatchNorm { epsilon, relu }, inputs)?;
        if self.computes {
            self.move_statistics(&output, running, momentum);
        }
        Ok(output)
    }

    /// Moves running statistics by what the batch normalisation that gave `output` saved.
    fn move_statistics(&mut self, output: &Var, running: [ParameterId; 2], momentum: f32) {
        let [mut mean, mut variance] = running.map(|id| {
            let values = self.parameters.get(id).value.values();
            let mut moved = self.context.take(values.len());
            moved.copy_from_slice(values);
            moved
        });
        let slot = &self.slots[output.0];
        let Saved::Statistics(batch) = &slot.saved else { unreachable!("batch norm saves statistics") };
        let momentum = self.momentum.unwrap_or(momentum);
        let pixels = slot.shape.len() / batch.channels();
        norm::update_running(momentum, pixels, batch.mean(), batch.variance(), &mut mean, &mut variance);
        if let Some(recorder) = &mut self.context.recorder {
            let moved = [&mean[..], &variance[..]];
            recorder.record(TapeEvent::Statistics { of: output.0, momentum, pixels, running, moved });
        }
        self.look("running mean", &mean);
        self.look("running variance", &variance);
        self.statistics.extend([(running[0], mean), (running[1], variance)]);
    }

    /// [`Relu`]
    pub fn relu(&mut self, x: Var) -> Result<Var> {
        self.apply(Relu {}, [x])
    }

    /// [`Sigmoid`]
    pub fn sigmoid(&mut self, x: Var) -> Result<Var> {
        self.apply(Sigmoid {}, [x])
    }

    /// [`Add`]
    pub fn add(&mut self, a: Var, b: Var) -> Result<Var> {
        self.apply(Add {}, [a, b])
    }

    /// [`AddRelu`]
    pub fn add_relu(&mut self, a: Var, b: Var) -> Result<Var> {
        self.apply(AddRelu {}, [a, b])
    }

    /// [`AddScaled`]
    pub fn add_scaled(&mut self, a: Var, b: Var, weight: f32) -> Result<Var> {
        self.apply(AddScaled { weight }, [a, b])
    }

    /// [`Concat`]
    pub fn concat(&mut self, parts: [Var; MAX_PARTS]) -> Result<Var> {
        self.apply(Concat {}, parts)
    }

    /// [`Flatten`]
    pub fn flatten(&mut self, x: Var) -> Result<Var> {
        self.apply(Flatten {}, [x])
    }

    /// [`Dropout`] in training, where the [context](super::Context::dropout) has drops; elsewhere x itself.
    pub fn dropout(&mut self, x: Var, rate: f32) -> Result<Var> {
        if !(0.0..1.0).contains(&rate) {
            return Err(self.misfit(format!("a dropout of {rate}, which is not from 0 to below 1")));
        }
        let Some(drops) = self.context.dropout.filter(|_| self.mode == Mode::Training && rate > 0.0) else { return Ok(x) };
        let place = self.dropouts;
        self.dropouts += 1;
        self.apply(Dropout { rate, seed: drops.seed, step: drops.step, place }, [x])
    }

    /// [`MaxPool`]
    pub fn max_pool(&mut self, x: Var, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Result<Var> {
        self.apply(MaxPool { kernel, stride, padding, ceil_mode: false }, [x])
    }

    /// [`MaxPool`] with one more window where pixels at the far edges would be in none (PyTorch's `ceil_mode`).
    pub fn ceil_max_pool(&mut self, x: Var, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Result<Var> {
        self.apply(MaxPool { kernel, stride, padding, ceil_mode: true }, [x])
    }

    /// [`AveragePool`]
    pub fn average_pool(&mut self, x: Var, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Result<Var> {
        self.apply(AveragePool { kernel, stride, padding }, [x])
    }

    /// [`AdaptiveAverage`]
    pub fn adaptive_average(&mut self, x: Var, windows: [usize; 2]) -> Result<Var> {
        self.apply(AdaptiveAverage { windows }, [x])
    }

    /// [`GlobalAverage`]
    pub fn global_average(&mut self, x: Var) -> Result<Var> {
        self.apply(GlobalAverage {}, [x])
    }

    /// [`GlobalMax`]
    pub fn global_max(&mut self, x: Var) -> Result<Var> {
        self.apply(GlobalMax {}, [x])
    }

    /// [`ChannelStats`]
    pub fn channel_stats(&mut self, x: Var) -> Result<Var> {
        self.apply(ChannelStats {}, [x])
    }

    /// [`ScaleChannels`]
    pub fn scale_channels(&mut self, x: Var, factor: Var) -> Result<Var> {
        self.apply(ScaleChannels {}, [x, factor])
    }

    /// [`ScalePixels`]
    pub fn scale_pixels(&mut self, x: Var, factor: Var) -> Result<Var> {
        self.apply(ScalePixels {}, [x, factor])
    }

    /// [`ScaledStats`]
    pub fn scaled_stats(&mut self, x: Var, factor: Var) -> Result<Var> {
        self.apply(ScaledStats {}, [x, factor])
    }

    /// [`ScaleAddRelu`]
    pub fn scale_add_relu(&mut self, x: Var, channels: Var, pixels: Var, shortcut: Var) -> Result<Var> {
        self.apply(ScaleAddRelu {}, [x, channels, pixels, shortcut])
    }

    /// [`Linear`]
    pub fn linear(&mut self, x: Var, weight: Var, bias: Var) -> Result<Var> {
        self.apply(Linear {}, [x, weight, bias])
    }

    /// [`Softmax`]
    pub fn softmax(&mut self, logits: Var) -> Result<Var> {
        self.apply(Softmax {}, [logits])
    }

    /// [`CrossEntropy`] with a label for each image.
    pub fn cross_entropy(&mut self, logits: Var, labels: &[u32]) -> Result<Var> {
        check_labels(self.shape(&logits), labels).map_err(|problem| self.misfit(problem))?;
        self.apply_labelled(CrossEntropy {}, [logits], labels)
    }

    /// [`WeightedCrossEntropy`] with a label for each image.
    pub fn weighted_cross_entropy(&mut self, logits: Var, weights: Var, labels: &[u32]) -> Result<Var> {
        check_labels(self.shape(&logits), labels).map_err(|problem| self.misfit(problem))?;
        self.apply_labelled(WeightedCrossEntropy {}, [logits, weights], labels)
    }
}
