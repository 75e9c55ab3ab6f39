//! VGG-11 (Simonyan and Zisserman 2015, table 1, column A): eight 3x3 convolutions with biases, five pools, three linear layers, no
//! normalisation. Names and order are torchvision's.
//!
//! What differs from torchvision: one input channel; and before the classifier no average over 7x7 windows, which at 256x64 would make
//! 49 pixels of 8x2. [`Pooling`] says what stands there. First weights are He normal with fan in, for without normalisation they alone
//! keep the size of activations.

use super::Network;
use crate::autograd::{Name, ParameterId, Tape, Var};
use crate::nn::{BiasConv, Builder, Linear};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The name of the architecture.
pub(super) const NAME: &str = "vgg-11";

/// How the last feature maps become the values that linear layers read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// What the network's paper has, if it is one that fits into 512 MB, else the average.
    Auto,
    /// Every pixel of every channel by itself, as VGG's paper has it: for one size of images.
    Flatten,
    /// Each channel's mean, as the residual networks and Inception have it; of VGG's 129 million weights it leaves 28 million.
    Average,
}

/// The most memory that the weights of VGG's first linear layer may take. Training takes it four times, with gradient and Adam's moments:
/// 2 GB. It is enough for images of 512x128 (134 million weights), and for those of VGG's own paper, 224x224 (103 million). At 1024x256
/// there would be 537 million, 8.6 GB in training.
const MAX_FLATTENED_BYTES: usize = 512 << 20;

/// Values of the linear layers between features and classes.
const HIDDEN: usize = 4096;

/// Channels of the last feature maps.
const CHANNELS: usize = 512;

/// Share of the hidden values that a training step drops.
const DROPOUT: f32 = 0.5;

/// Each convolution: torchvision's index, channels, whether a pool follows.
const CONVOLUTIONS: [(usize, usize, bool); 8] = [
    (0, 64, true),
    (3, 128, true),
    (6, 256, false),
    (8, 256, true),
    (11, 512, false),
    (13, 512, true),
    (16, 512, false),
    (18, 512, true),
];

/// Rows and columns of the last feature maps: five pools halve each side, rounded down.
fn maps([rows, columns]: [usize; 2]) -> [usize; 2] {
    [rows / 32, columns / 32]
}

impl Pooling {
    /// The one that a network has, where this is asked for.
    pub(super) fn of(self, architecture: &str, input_size: [usize; 2]) -> Self {
        match self {
            Pooling::Auto if architecture == NAME && flattened_bytes(input_size) <= MAX_FLATTENED_BYTES => Pooling::Flatten,
            Pooling::Auto => Pooling::Average,
            chosen => chosen,
        }
    }

    /// Refuses what an architecture cannot have.
    pub(super) fn check(self, architecture: &str, input_size: [usize; 2]) -> Result<()> {
        if self != Pooling::Flatten {
            return Ok(());
        }
        if architecture != NAME {
            let problem = format!("`{architecture}` cannot have the pooling `flatten`, only {NAME} can");
            return Err(Error::setting(problem, "choose `auto` or `average`"));
        }
        let bytes = flattened_bytes(input_size);
        if bytes <= MAX_FLATTENED_BYTES {
            return Ok(());
        }
        let ([rows, columns], limit) = (input_size, MAX_FLATTENED_BYTES >> 20);
        let problem = format!(
            "the pooling `flatten` of images of {rows}x{columns} gives {NAME}'s first linear layer {} million weights, {} MB, and {limit} MB \
             are allowed",
            bytes / 4_000_000,
            bytes >> 20
        );
        Err(Error::setting(problem, "choose smaller images, or the pooling `average`"))
    }
}

/// Bytes of the first linear layer's weights; of a size that a file may claim, so that it may be any.
fn flattened_bytes(input_size: [usize; 2]) -> usize {
    let [rows, columns] = maps(input_size);
    (4 * HIDDEN * CHANNELS).saturating_mul(rows).saturating_mul(columns)
}

/// The network.
#[derive(Debug)]
pub struct Vgg {
    /// With the names of the ReLU and of the pool that may follow.
    convolutions: Vec<(BiasConv, Name, Option<Name>)>,
    pooling: Pooling,
    /// Of the last feature maps, where they are flattened.
    maps: [usize; 2],
    input: Name,
    pool: Name,
    /// Each with the name of the ReLU and of the dropout that follow.
    hidden: [(Linear, Name, Name); 2],
    classes: Linear,
}

impl Vgg {
    /// Builds its layers and their parameters, for so many classes and images of this size.
    pub fn new(builder: &mut Builder, classes: usize, input_size: [usize; 2], pooling: Pooling) -> Self {
        let name = |part: &str, index: usize| Name::from(format!("{part}.{index}"));
        let mut inputs = 1;
        let convolutions = CONVOLUTIONS.map(|(index, channels, pool)| {
            let conv = builder.within("features", |builder, _| BiasConv::new(builder, &index.to_string(), [inputs, channels], 3));
            inputs = channels;
            (conv, name("features", index + 1), pool.then(|| name("features", index + 2)))
        });
        let maps = maps(input_size);
        let pixels = if pooling == Pooling::Flatten { maps[0] * maps[1] } else { 1 };
        let (hidden, classes) = builder.within("classifier", |builder, _| {
            let first = Linear::hidden(builder, "0", pixels, CHANNELS * pixels, HIDDEN);
            let second = Linear::hidden(builder, "3", 1, HIDDEN, HIDDEN);
            let hidden = [(first, 0), (second, 3)];
            let hidden = hidden.map(|(linear, index)| (linear, name("classifier", index + 1), name("classifier", index + 2)));
            (hidden, Linear::new(builder, "6", HIDDEN, classes))
        });
        Vgg {
            convolutions: convolutions.into(),
            pooling,
            maps,
            input: Name::from("input"),
            pool: Name::from("avgpool"),
            hidden,
            classes,
        }
    }
}

impl Vgg {
    /// Through the first `count` convolutions, each with its ReLU and pool but for the last one's pool, which is the head's.
    fn convolved(&self, tape: &mut Tape, x: Var, count: usize) -> Result<Var> {
        let last = self.convolutions.len() - 1;
        self.convolutions[..count].iter().enumerate().try_fold(x, |x, (i, (conv, relu, pool))| match pool {
            // ReLU keeps the order of values, so it may follow the maximum: the same result and gradient, and the largest activations
            // of the network need not be kept.
            Some(pool) if i < last => {
                let x = conv.forward(tape, x, false)?;
                tape.enter(pool);
                let x = tape.max_pool(x, [2, 2], [2, 2], [0, 0])?;
                tape.enter(relu);
                tape.relu(x)
            }
            _ => conv.forward(tape, x, true),
        })
    }

    /// The last feature maps as what the first linear layer reads.
    fn pooled(&self, tape: &mut Tape, features: Var) -> Result<Var> {
        if let Some((_, _, Some(pool))) = self.convolutions.last() {
            tape.enter(pool);
        }
        let x = tape.max_pool(features, [2, 2], [2, 2], [0, 0])?;
        tape.enter(&self.pool);
        let shape = tape.shape(&x);
        if self.pooling != Pooling::Flatten {
            tape.global_average(x)
        } else if shape[1..3] == self.maps {
            tape.flatten(x)
        } else {
            let ([rows, columns], [expected_rows, expected_columns]) = ([shape[1], shape[2]], self.maps);
            let needed =
                format!("{expected_rows}x{expected_columns}, those of the size that the model was made for, are flattened");
            Err(Error::shape("classifier.0", format!("feature maps of {rows}x{columns} pixels where {needed}")))
        }
    }

    /// Through the first `count` hidden layers, each with its ReLU and dropout.
    fn hidden(&self, tape: &mut Tape, x: Var, count: usize) -> Result<Var> {
        self.hidden[..count].iter().try_fold(x, |x, (linear, relu, dropout)| {
            let y = linear.forward(tape, x)?;
            tape.enter(relu);
            let y = tape.relu(y)?;
            tape.enter(dropout);
            tape.dropout(y, DROPOUT)
        })
    }
}

impl Network for Vgg {
    /// Up to the last ReLU. The last pool is the head's, so that a picture of what the network looked at is as fine as its maps.
    fn features(&self, tape: &mut Tape, x: Var) -> Result<Var> {
        tape.enter(&self.input);
        super::check_input(tape, &x)?;
        self.convolved(tape, x, self.convolutions.len())
    }

    fn head(&self, tape: &mut Tape, features: Var) -> Result<Var> {
        let x = self.pooled(tape, features)?;
        let x = self.hidden(tape, x, self.hidden.len())?;
        self.classes.forward(tape, x)
    }

    fn plain_layers(&self) -> Vec<[ParameterId; 2]> {
        let convolutions = self.convolutions.iter().map(|(conv, ..)| conv.parameters());
        convolutions.chain(self.hidden.iter().map(|(linear, ..)| linear.parameters())).collect()
    }

    fn before_relu(&self, tape: &mut Tape, x: Var, layer: usize) -> Result<Var> {
        let convolutions = self.convolutions.len();
        let x = self.convolved(tape, x, layer.min(convolutions))?;
        if let Some((conv, ..)) = self.convolutions.get(layer) {
            return conv.forward(tape, x, false);
        }
        let x = self.pooled(tape, x)?;
        let x = self.hidden(tape, x, layer - convolutions)?;
        self.hidden[layer - convolutions].0.forward(tape, x)
    }

    fn stages(&self) -> &'static [&'static [&'static str]] {
        &[
            &["features.0."],
            &["features.3."],
            &["features.6.", "features.8."],
            &["features.11.", "features.13."],
            &["features.16.", "features.18."],
        ]
    }

    fn last_layer(&self) -> [ParameterId; 2] {
        self.classes.parameters()
    }
}
