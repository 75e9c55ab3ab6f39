//! The residual block of two 3x3 convolutions (He et al. 2016), with hybrid attention inside or outside its branch.

use super::{Attention, AttentionSettings, BatchNorm, Builder, Conv, NormSettings};
use crate::Result;
use crate::autograd::{Name, ParameterId, Tape, Var};

/// Where a block has its attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// `relu(shortcut + attention(branch))`: the paper's inRAC.
    Inside,
    /// `attention(relu(shortcut + branch))`: outRAC.
    Outside,
    /// Nowhere.
    None,
}

/// What all blocks of a network have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockSettings {
    /// Where the attention is.
    pub placement: Placement,
    /// Whether there is a residual connection.
    pub shortcut: bool,
    /// The attention's own settings.
    pub attention: AttentionSettings,
    /// Of every batch normalisation.
    pub norm: NormSettings,
}

/// `relu(shortcut + branch)`, where the branch is `bn2(conv2(relu(bn1(conv1(x)))))`.
#[derive(Clone, Debug)]
pub struct Block {
    name: Name,
    conv1: Conv,
    bn1: BatchNorm,
    conv2: Conv,
    bn2: BatchNorm,
    downsample: Option<(Conv, BatchNorm)>,
    attention: Option<Attention>,
    placement: Placement,
    shortcut: bool,
}

impl Block {
    /// From `channels[0]` to `channels[1]`; the first convolution has the stride. Where the shape changes, the shortcut is a
    /// 1x1 convolution with batch normalisation, `NAME.downsample`.
    pub fn new(builder: &mut Builder, name: &str, channels: [usize; 2], stride: usize, settings: BlockSettings) -> Self {
        let BlockSettings { placement, shortcut, attention, norm } = settings;
        let [inputs, outputs] = channels;
        let changes = stride != 1 || inputs != outputs;
        builder.within(name, |builder, name| Block {
            name,
            conv1: Conv::new(builder, "conv1", [inputs, outputs], 3, stride),
            bn1: BatchNorm::new(builder, "bn1", outputs, norm),
            conv2: Conv::new(builder, "conv2", [outputs, outputs], 3, 1),
            bn2: BatchNorm::new(builder, "bn2", outputs, norm),
            attention: (placement != Placement::None).then(|| Attention::new(builder, "attention", outputs, attention, norm)),
            downsample: (shortcut && changes).then(|| {
                builder.within("downsample", |builder, _| {
                    (Conv::new(builder, "0", [inputs, outputs], 1, stride), BatchNorm::new(builder, "1", outputs, norm))
                })
            }),
            placement,
            shortcut,
        })
    }

    /// The scale of the residual branch's last batch normalisation; none where there is no residual connection. At zero the block
    /// begins as its shortcut: attention inside the branch scales what is zero. The scale's own gradient is not zero.
    pub fn last_norm(&self) -> Option<ParameterId> {
        self.shortcut.then(|| self.bn2.scale())
    }

    /// x (batch, rows, columns, in) to (batch, rows / stride, columns / stride, out).
    pub fn forward(&self, tape: &mut Tape, x: Var) -> Result<Var> {
        let shortcut = if self.shortcut { Some(tape.retain(&x)) } else { None };
        let y = self.conv1.forward_norm(tape, x, &self.bn1, true)?;
        let mut y = self.conv2.forward_norm(tape, y, &self.bn2, false)?;
        let shortcut = match (shortcut, &self.downsample) {
            (Some(shortcut), Some((conv, norm))) => Some(conv.forward_norm(tape, shortcut, norm, false)?),
            (shortcut, _) => shortcut,
        };
        let inside = self.attention.as_ref().filter(|_| self.placement == Placement::Inside);
        y = match (inside, shortcut) {
            (Some(attention), Some(shortcut)) => {
                let [channels, pixels] = attention.factors(tape, &y)?;
                tape.enter(&self.name);
                tape.scale_add_relu(y, channels, pixels, shortcut)?
            }
            (inside, shortcut) => {
                if let Some(attention) = inside {
                    y = attention.forward(tape, y)?;
                }
                tape.enter(&self.name);
                match shortcut {
                    Some(shortcut) => tape.add_relu(y, shortcut)?,
                    None => tape.relu(y)?,
                }
            }
        };
        match (self.placement, &self.attention) {
            (Placement::Outside, Some(attention)) => attention.forward(tape, y),
            _ => Ok(y),
        }
    }
}
