//! The residual family (paper: Classifier-inRAC, its ablations and depths): a stem, four stages of blocks, one linear layer.

use super::{Metadata, Network};
use crate::Result;
use crate::autograd::{Name, ParameterId, Tape, Var};
use crate::nn::{BatchNorm, Block, BlockSettings, Builder, Conv, Linear, Placement};

/// What distinguishes the members of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The name of the architecture.
    pub name: &'static str,
    /// Blocks of each stage: the network has `2 + 2 * sum` weight layers.
    pub blocks: [usize; 4],
    /// Where the blocks have attention.
    pub attention: Placement,
    /// Whether the blocks have residual connections.
    pub shortcuts: bool,
}

/// Channels of the four stages.
const CHANNELS: [usize; 4] = [64, 128, 256, 512];

const fn variant(name: &'static str, blocks: [usize; 4], attention: Placement, shortcuts: bool) -> Variant {
    Variant { name, blocks, attention, shortcuts }
}

/// Every member of the family.
pub const VARIANTS: [Variant; 7] = [
    variant("inrac", [2, 3, 5, 2], Placement::Inside, true),
    variant("outrac", [2, 3, 5, 2], Placement::Outside, true),
    variant("classifier-18", [2, 2, 2, 2], Placement::Inside, true),
    variant("classifier-34", [3, 4, 6, 3], Placement::Inside, true),
    variant("inrac-no-residual", [2, 3, 5, 2], Placement::Inside, false),
    variant("inrac-no-attention", [2, 3, 5, 2], Placement::None, true),
    variant("inrac-no-residual-no-attention", [2, 3, 5, 2], Placement::None, false),
];

/// A network of the family.
#[derive(Debug)]
pub struct Residual {
    input: Name,
    conv1: Conv,
    bn1: BatchNorm,
    blocks: Vec<Block>,
    pool: Name,
    fc: Linear,
}

impl Residual {
    /// Builds its layers and their parameters.
    pub fn new(builder: &mut Builder, variant: Variant, metadata: &Metadata) -> Self {
        let (norm, attention) = (metadata.norm, metadata.attention);
        let settings = BlockSettings { placement: variant.attention, shortcut: variant.shortcuts, attention, norm };
        let conv1 = Conv::new(builder, "conv1", [1, CHANNELS[0]], 7, 2);
        let bn1 = BatchNorm::new(builder, "bn1", CHANNELS[0], norm);
        let (mut blocks, mut channels) = (Vec::new(), CHANNELS[0]);
        for (stage, (&count, width)) in variant.blocks.iter().zip(CHANNELS).enumerate() {
            builder.within(&format!("layer{}", stage + 1), |builder, _| {
                for block in 0..count {
                    let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                    blocks.push(Block::new(builder, &block.to_string(), [channels, width], stride, settings));
                    channels = width;
                }
            });
        }
        let fc = Linear::new(builder, "fc", channels, metadata.classes.len());
        Residual { input: Name::from("input"), conv1, bn1, blocks, pool: Name::from("avgpool"), fc }
    }
}

impl Network for Residual {
    fn features(&self, tape: &mut Tape, x: Var) -> Result<Var> {
        tape.enter(&self.input);
        super::check_input(tape, &x)?;
        let x = self.conv1.forward_norm_pool(tape, x, &self.bn1, [[3, 3], [2, 2], [1, 1]])?;
        self.blocks.iter().try_fold(x, |x, block| block.forward(tape, x))
    }

    fn head(&self, tape: &mut Tape, features: Var) -> Result<Var> {
        tape.enter(&self.pool);
        let x = tape.global_average(features)?;
        self.fc.forward(tape, x)
    }

    fn stages(&self) -> &'static [&'static [&'static str]] {
        &[&["conv1.", "bn1."], &["layer1."], &["layer2."], &["layer3."], &["layer4."]]
    }

    fn last_layer(&self) -> [ParameterId; 2] {
        self.fc.parameters()
    }

    fn last_norms(&self) -> Vec<ParameterId> {
        self.blocks.iter().filter_map(Block::last_norm).collect()
    }
}
