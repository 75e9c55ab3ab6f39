//! Inception-v1 (GoogLeNet, Szegedy et al. 2015, table 1): a stem, nine inception blocks, and in training two auxiliary classifiers whose
//! losses count 0.3 each.
//!
//! Names, order and sizes are torchvision's `googlenet`, and as there every convolution is followed by batch normalisation in place of
//! the paper's local response normalisation in the stem: with it twenty-two layers train from random weights, and PyTorch has the same to
//! compare gradients with. What differs from torchvision: one input channel; the third branch has 5x5 kernels, as Szegedy et al. and
//! table 9 of Lin et al. have it, where torchvision has 3x3, a known mistake that its published weights need; batch normalisation's
//! epsilon is the model's setting (torchvision: 0.001); and first weights are He normal. Dropout is torchvision's, 0.2 before the last
//! layer and 0.7 in the auxiliary classifiers.
//!
//! Auxiliary classifiers begin with a mean over 4x4 windows that divide the maps, whatever their size: where the maps are smaller than
//! 4x4 (images below 64 pixels), windows repeat pixels, as PyTorch's do. They are in the model's file and in no pass but training.

use super::{Metadata, Network};
use crate::Result;
use crate::autograd::{Name, ParameterId, Tape, Var};
use crate::nn::{BatchNorm, Builder, Conv, Linear, NormSettings};

/// The name of the architecture.
pub(super) const NAME: &str = "inception-v1";

/// Share of an auxiliary classifier's loss in the loss (section 5).
const AUXILIARY_WEIGHT: f32 = 0.3;

/// Shares that a training step drops: before the last layer, and in the auxiliary classifiers.
const DROPOUT: f32 = 0.2;
const AUXILIARY_DROPOUT: f32 = 0.7;

/// Rows and columns that an auxiliary classifier sees.
const WINDOWS: [usize; 2] = [4, 4];

/// A block's name, its inputs, and the channels of its branches: 1x1; 1x1 and then 3x3; 1x1 and then 5x5; pool and then 1x1.
type Sizes = (&'static str, usize, usize, [usize; 2], [usize; 2], usize);

/// Table 1 of the paper.
const BLOCKS: [Sizes; 9] = [
    ("inception3a", 192, 64, [96, 128], [16, 32], 32),
    ("inception3b", 256, 128, [128, 192], [32, 96], 64),
    ("inception4a", 480, 192, [96, 208], [16, 48], 64),
    ("inception4b", 512, 160, [112, 224], [24, 64], 64),
    ("inception4c", 512, 128, [128, 256], [24, 64], 64),
    ("inception4d", 512, 112, [144, 288], [32, 64], 64),
    ("inception4e", 528, 256, [160, 320], [32, 128], 128),
    ("inception5a", 832, 256, [160, 320], [32, 128], 128),
    ("inception5b", 832, 384, [192, 384], [48, 128], 128),
];

/// Channels of the last feature maps.
const CHANNELS: usize = 384 + 384 + 128 + 128;

/// Convolution, batch normalisation, ReLU.
#[derive(Debug)]
struct Basic {
    conv: Conv,
    norm: BatchNorm,
}

impl Basic {
    /// The parameters are those of `NAME.conv` and `NAME.bn`.
    fn new(builder: &mut Builder, name: &str, channels: [usize; 2], kernel: usize, stride: usize, norm: NormSettings) -> Self {
        builder.within(name, |builder, _| Basic {
            conv: Conv::new(builder, "conv", channels, kernel, stride),
            norm: BatchNorm::new(builder, "bn", channels[1], norm),
        })
    }

    fn forward(&self, tape: &mut Tape, x: Var, relu: bool) -> Result<Var> {
        self.conv.forward_norm(tape, x, &self.norm, relu)
    }
}

/// Four branches of one input, joined.
#[derive(Debug)]
struct Block {
    name: Name,
    /// Each branch's convolutions.
    branches: [Vec<Basic>; 4],
    pool: Name,
}

impl Block {
    fn new(builder: &mut Builder, sizes: Sizes, norm: NormSettings) -> Self {
        let (name, inputs, one, three, five, pooled) = sizes;
        builder.within(name, |builder, name| {
            let mut pair = |branch: &str, [middle, outputs]: [usize; 2], kernel| {
                builder.within(branch, |builder, _| {
                    let first = Basic::new(builder, "0", [inputs, middle], 1, 1, norm);
                    vec![first, Basic::new(builder, "1", [middle, outputs], kernel, 1, norm)]
                })
            };
            let (second, third) = (pair("branch2", three, 3), pair("branch3", five, 5));
            let first = vec![Basic::new(builder, "branch1", [inputs, one], 1, 1, norm)];
            let fourth = builder.within("branch4", |builder, _| vec![Basic::new(builder, "1", [inputs, pooled], 1, 1, norm)]);
            let pool = Name::from(format!("{name}.branch4.0"));
            Block { name, branches: [first, second, third, fourth], pool }
        })
    }

    /// x (batch, rows, columns, in) to (batch, rows, columns, channels of all branches).
    fn forward(&self, tape: &mut Tape, x: Var) -> Result<Var> {
        let run = |tape: &mut Tape, x: Var, branch: &[Basic]| branch.iter().try_fold(x, |x, basic| basic.forward(tape, x, true));
        let [first, second, third, fourth] = &self.branches;
        let again = [tape.retain(&x), tape.retain(&x), tape.retain(&x)];
        let mut joined = Vec::with_capacity(4);
        for (x, branch) in again.into_iter().zip([first, second, third]) {
            joined.push(run(tape, x, branch)?);
        }
        tape.enter(&self.pool);
        let x = tape.max_pool(x, [3, 3], [1, 1], [1, 1])?;
        joined.push(run(tape, x, fourth)?);
        tape.enter(&self.name);
        let joined = <[Var; 4]>::try_from(joined).expect("four branches");
        tape.concat(joined)
    }
}

/// A classifier of feature maps half-way, for training.
#[derive(Debug)]
struct Auxiliary {
    name: Name,
    conv: Basic,
    fc1: Linear,
    fc2: Linear,
}

impl Auxiliary {
    fn new(builder: &mut Builder, name: &str, channels: usize, classes: usize, norm: NormSettings) -> Self {
        let [rows, columns] = WINDOWS;
        builder.within(name, |builder, name| Auxiliary {
            name,
            conv: Basic::new(builder, "conv", [channels, 128], 1, 1, norm),
            fc1: Linear::hidden(builder, "fc1", rows * columns, 128 * rows * columns, 1024),
            fc2: Linear::new(builder, "fc2", 1024, classes),
        })
    }

    /// x (batch, rows, columns, channels) to logits (batch, classes).
    fn forward(&self, tape: &mut Tape, x: Var) -> Result<Var> {
        tape.enter(&self.name);
        let x = tape.adaptive_average(x, WINDOWS)?;
        let x = self.conv.forward(tape, x, true)?;
        tape.enter(&self.name);
        let x = tape.flatten(x)?;
        let x = self.fc1.forward(tape, x)?;
        tape.enter(&self.name);
        let x = tape.relu(x)?;
        let x = tape.dropout(x, AUXILIARY_DROPOUT)?;
        self.fc2.forward(tape, x)
    }
}

/// The network.
#[derive(Debug)]
pub struct Inception {
    input: Name,
    /// conv1, conv2, conv3
    stem: [Basic; 3],
    blocks: Vec<Block>,
    pools: [Name; 4],
    auxiliary: [Auxiliary; 2],
    average: Name,
    dropout: Name,
    fc: Linear,
}

impl Inception {
    /// Builds its layers and their parameters.
    pub fn new(builder: &mut Builder, metadata: &Metadata) -> Self {
        let (norm, classes) = (metadata.norm, metadata.classes.len());
        let mut basic = |name, channels, kernel, stride| Basic::new(builder, name, channels, kernel, stride, norm);
        let stem = [basic("conv1", [1, 64], 7, 2), basic("conv2", [64, 64], 1, 1), basic("conv3", [64, 192], 3, 1)];
        let blocks = BLOCKS.into_iter().map(|sizes| Block::new(builder, sizes, norm)).collect();
        Inception {
            input: Name::from("input"),
            stem,
            blocks,
            pools: ["maxpool1", "maxpool2", "maxpool3", "maxpool4"].map(Name::from),
            auxiliary: [("aux1", 512), ("aux2", 528)]
                .map(|(name, channels)| Auxiliary::new(builder, name, channels, classes, norm)),
            average: Name::from("avgpool"),
            dropout: Name::from("dropout"),
            fc: Linear::new(builder, "fc", CHANNELS, classes),
        }
    }

    /// From images to the last feature maps; `seen` hears of each block's output by the block's number.
    fn maps(&self, tape: &mut Tape, x: Var, mut seen: impl FnMut(&mut Tape, usize, &Var) -> Result<()>) -> Result<Var> {
        tape.enter(&self.input);
        super::check_input(tape, &x)?;
        let [conv1, conv2, conv3] = &self.stem;
        let [pool1, pool2, pool3, pool4] = &self.pools;
        // Before a pool the ReLU waits: as in the residual networks, the same from fewer pixels.
        let x = conv1.forward(tape, x, false)?;
        tape.enter(pool1);
        let x = tape.ceil_max_pool(x, [3, 3], [2, 2], [0, 0])?;
        let x = tape.relu(x)?;
        let x = conv2.forward(tape, x, true)?;
        let x = conv3.forward(tape, x, false)?;
        tape.enter(pool2);
        let x = tape.ceil_max_pool(x, [3, 3], [2, 2], [0, 0])?;
        let mut x = tape.relu(x)?;
        for (i, block) in self.blocks.iter().enumerate() {
            // Before 4a and 5a.
            let pool = [(2, pool3, 3), (7, pool4, 2)].into_iter().find(|(at, ..)| *at == i);
            if let Some((_, pool, kernel)) = pool {
                tape.enter(pool);
                x = tape.ceil_max_pool(x, [kernel; 2], [2, 2], [0, 0])?;
            }
            x = block.forward(tape, x)?;
            seen(tape, i, &x)?;
        }
        Ok(x)
    }
}

impl Network for Inception {
    fn features(&self, tape: &mut Tape, x: Var) -> Result<Var> {
        self.maps(tape, x, |_, _, _| Ok(()))
    }

    fn head(&self, tape: &mut Tape, features: Var) -> Result<Var> {
        tape.enter(&self.average);
        let x = tape.global_average(features)?;
        tape.enter(&self.dropout);
        let x = tape.dropout(x, DROPOUT)?;
        self.fc.forward(tape, x)
    }

    fn stages(&self) -> &'static [&'static [&'static str]] {
        &[&["conv1.", "conv2.", "conv3."], &["inception3"], &["inception4"], &["inception5"]]
    }

    fn last_layer(&self) -> [ParameterId; 2] {
        self.fc.parameters()
    }

    fn outputs(&self, tape: &mut Tape, x: Var) -> Result<Vec<(Var, f32)>> {
        let mut outputs = Vec::with_capacity(3);
        let [first, second] = &self.auxiliary;
        let maps = self.maps(tape, x, |tape, block, x| {
            // After 4a and 4d.
            if let Some((_, classifier)) = [(2, first), (5, second)].into_iter().find(|(at, _)| *at == block) {
                let x = tape.retain(x);
                outputs.push((classifier.forward(tape, x)?, AUXILIARY_WEIGHT));
            }
            Ok(())
        })?;
        let logits = self.head(tape, maps)?;
        outputs.insert(0, (logits, 1.0));
        Ok(outputs)
    }
}
