//! Hybrid attention: first which channels, then which pixels (CBAM, Woo et al. 2018).
//!
//! `F' = fC(F) * F` and `F'' = fS(F') * F'`, with `fC = sigmoid(MLP(average) + MLP(maximum))` over pixels and
//! `fS = sigmoid(conv([mean; maximum]))` over channels.

use super::{BatchNorm, Builder, Conv, Linear, NormSettings};
use crate::Result;
use crate::autograd::{Name, Tape, Var};
use serde::{Deserialize, Serialize};

/// What the paper leaves open of the attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttentionSettings {
    /// The shared MLP is C -> C / reduction -> C.
    pub reduction: usize,
    /// Side of the spatial convolution's kernel.
    pub kernel: usize,
    /// Batch normalisation after the spatial convolution: CBAM's published code has it, the paper's equation does not.
    pub spatial_norm: bool,
}

impl Default for AttentionSettings {
    fn default() -> Self {
        AttentionSettings { reduction: 16, kernel: 7, spatial_norm: false }
    }
}

/// Channel attention, then spatial attention.
#[derive(Clone, Debug)]
pub struct Attention {
    channel: ChannelAttention,
    spatial: SpatialAttention,
}

impl Attention {
    /// The parameters are those of `NAME.channel` and `NAME.spatial`.
    pub fn new(builder: &mut Builder, name: &str, channels: usize, settings: AttentionSettings, norm: NormSettings) -> Self {
        builder.within(name, |builder, _| Attention {
            channel: ChannelAttention::new(builder, "channel", channels, settings.reduction),
            spatial: SpatialAttention::new(builder, "spatial", settings, norm),
        })
    }

    /// x (batch, rows, columns, channels), weighed.
    pub fn forward(&self, tape: &mut Tape, x: Var) -> Result<Var> {
        let x = self.channel.forward(tape, x)?;
        self.spatial.forward(tape, x)
    }

    /// The factors alone, for each channel and for each pixel; x weighed by its channels is never written.
    pub fn factors(&self, tape: &mut Tape, x: &Var) -> Result<[Var; 2]> {
        let channels = self.channel.factor(tape, x)?;
        let (x, factor) = (tape.retain(x), tape.retain(&channels));
        tape.enter(&self.spatial.name);
        let stats = tape.scaled_stats(x, factor)?;
        let pixels = self.spatial.factor(tape, stats)?;
        Ok([channels, pixels])
    }
}

/// One factor for each image and channel.
#[derive(Clone, Debug)]
pub struct ChannelAttention {
    name: Name,
    fc1: Linear,
    fc2: Linear,
}

impl ChannelAttention {
    /// The parameters are those of `NAME.fc1` and `NAME.fc2`.
    pub fn new(builder: &mut Builder, name: &str, channels: usize, reduction: usize) -> Self {
        let hidden = (channels / reduction.max(1)).max(1);
        builder.within(name, |builder, name| ChannelAttention {
            name,
            fc1: Linear::new(builder, "fc1", channels, hidden),
            fc2: Linear::new(builder, "fc2", hidden, channels),
        })
    }

    /// x (batch, rows, columns, channels), each channel weighed.
    pub fn forward(&self, tape: &mut Tape, x: Var) -> Result<Var> {
        let factor = self.factor(tape, &x)?;
        tape.scale_channels(x, factor)
    }

    fn factor(&self, tape: &mut Tape, x: &Var) -> Result<Var> {
        tape.enter(&self.name);
        let again = tape.retain(x);
        let sum = tape.sum_over_average_and_max(again, |tape, pooled| self.mlp(tape, pooled))?;
        tape.sigmoid(sum)
    }

    fn mlp(&self, tape: &mut Tape, x: Var) -> Result<Var> {
        let hidden = self.fc1.forward(tape, x)?;
        let hidden = tape.relu(hidden)?;
        self.fc2.forward(tape, hidden)
    }
}

/// One factor for each pixel.
#[derive(Clone, Debug)]
pub struct SpatialAttention {
    name: Name,
    conv: Conv,
    norm: Option<BatchNorm>,
}

impl SpatialAttention {
    /// The parameters are those of `NAME.conv` (its inputs are mean, maximum) and, as an option, `NAME.bn`.
    pub fn new(builder: &mut Builder, name: &str, settings: AttentionSettings, norm: NormSettings) -> Self {
        builder.within(name, |builder, name| SpatialAttention {
            name,
            conv: Conv::new(builder, "conv", [2, 1], settings.kernel, 1),
            norm: settings.spatial_norm.then(|| BatchNorm::new(builder, "bn", 1, norm)),
        })
    }

    /// x (batch, rows, columns, channels), each pixel weighed.
    pub fn forward(&self, tape: &mut Tape, x: Var) -> Result<Var> {
        tape.enter(&self.name);
        let again = tape.retain(&x);
        let stats = tape.channel_stats(again)?;
        let factor = self.factor(tape, stats)?;
        tape.scale_pixels(x, factor)
    }

    /// From mean and maximum over channels.
    fn factor(&self, tape: &mut Tape, stats: Var) -> Result<Var> {
        let mut map = self.conv.forward(tape, stats)?;
        if let Some(norm) = &self.norm {
            map = norm.forward(tape, map)?;
        }
        tape.enter(&self.name);
        tape.sigmoid(map)
    }
}
