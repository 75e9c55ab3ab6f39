//! What a forward pass saves for its backward pass beside inputs and result, by name.

use super::{IN, Read};
use crate::tensor::{Buffer, Buffers, Shape};

/// What an operation saved.
#[derive(Debug, Default)]
pub enum Saved {
    /// Nothing.
    #[default]
    Nothing,
    /// Of maxima: where each was, as its kernel counts. Inference needs none of them where they cost time; then it is empty.
    Argmax {
        /// One for each maximum.
        shape: Shape,
        /// An index each.
        indices: Vec<u32>,
    },
    /// Of batch normalisation over a batch.
    Statistics(BatchStatistics),
    /// Of batch normalisation over running statistics: gamma / sqrt(variance + epsilon), (channels).
    Factors(Buffer),
    /// Of dropout: what each value is multiplied by, in the result's shape.
    Mask {
        /// The result's.
        shape: Shape,
        /// 0, or 1 / (1 - rate).
        mask: Buffer,
    },
    /// Of a cross-entropy.
    Loss {
        /// Softmax of the logits, (batch, classes).
        probabilities: Buffer,
        /// A class for each image, (batch).
        labels: Vec<u32>,
        /// Of each image in a weighted mean, (batch); else empty.
        shares: Buffer,
    },
}

/// Mean, 1 / sqrt(variance + epsilon) and (biased) variance of each channel over a batch: (3, channels).
#[derive(Debug)]
pub struct BatchStatistics(Buffer);

impl BatchStatistics {
    /// To be overwritten: a buffer of three values a channel.
    pub fn new(buffer: Buffer) -> Self {
        assert!(buffer.len().is_multiple_of(3), "three values a channel");
        BatchStatistics(buffer)
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.0.len() / 3
    }

    /// (channels)
    pub fn mean(&self) -> &[f32] {
        &self.0[..self.channels()]
    }

    /// 1 / sqrt(variance + epsilon), (channels)
    pub fn inv_std(&self) -> &[f32] {
        &self.0[self.channels()..2 * self.channels()]
    }

    /// Biased, (channels)
    pub fn variance(&self) -> &[f32] {
        &self.0[2 * self.channels()..]
    }

    /// Mean, 1 / standard deviation and variance, to be overwritten.
    pub fn split_mut(&mut self) -> [&mut [f32]; 3] {
        let channels = self.channels();
        let (mean, rest) = self.0.split_at_mut(channels);
        let (inv_std, variance) = rest.split_at_mut(channels);
        [mean, inv_std, variance]
    }
}

/// One saved value as a trace writes it. Equations refer to it by its [number](Read::Saved).
#[derive(Debug)]
pub struct SavedValue<'a> {
    /// What it is.
    pub name: &'static str,
    /// Its shape.
    pub shape: Shape,
    /// Its values.
    pub values: SavedValues<'a>,
    /// How it comes about.
    pub origin: SavedOrigin,
}

/// How a saved value comes about.
#[derive(Debug)]
pub enum SavedOrigin {
    /// From outside.
    Given,
    /// By the operation itself.
    Operation {
        /// What its equation reads.
        reads: &'static [Read],
        /// Its work, from the number of values in the first input.
        flops: fn(usize) -> u64,
    },
    /// As softmax of the first input.
    Softmax {
        /// Its work.
        flops: u64,
    },
}

/// Values of a saved value.
#[derive(Clone, Copy, Debug)]
pub enum SavedValues<'a> {
    /// Numbers.
    Floats(&'a [f32]),
    /// Indices or labels.
    Indices(&'a [u32]),
}

impl Saved {
    /// What an auditor sees of it, numbered from 0. Factors follow from parameters, and are not shown.
    pub fn values(&self) -> Vec<SavedValue<'_>> {
        match self {
            Saved::Nothing | Saved::Factors(_) => Vec::new(),
            Saved::Argmax { indices, .. } if indices.is_empty() => Vec::new(),
            Saved::Argmax { shape, indices } => vec![SavedValue {
                name: "where the maximum is",
                shape: *shape,
                values: SavedValues::Indices(indices),
                origin: SavedOrigin::Operation { reads: &IN, flops: |_| 0 },
            }],
            Saved::Statistics(statistics) => vec![SavedValue {
                name: "batch norm: mean, 1/std, variance",
                shape: [3, statistics.channels()].into(),
                values: SavedValues::Floats(&statistics.0),
                origin: SavedOrigin::Operation { reads: &[Read::Input(0)], flops: |values| 4 * values as u64 },
            }],
            Saved::Mask { shape, mask } => vec![SavedValue {
                name: "what dropout keeps",
                shape: *shape,
                values: SavedValues::Floats(mask),
                origin: SavedOrigin::Operation { reads: &IN, flops: |_| 0 },
            }],
            Saved::Loss { probabilities, labels, .. } => {
                let batch = labels.len();
                let softmax = SavedOrigin::Softmax { flops: 4 * probabilities.len() as u64 };
                vec![
                    SavedValue {
                        name: "labels",
                        shape: [batch].into(),
                        values: SavedValues::Indices(labels),
                        origin: SavedOrigin::Given,
                    },
                    SavedValue {
                        name: "softmax",
                        shape: [batch, probabilities.len() / batch.max(1)].into(),
                        values: SavedValues::Floats(probabilities),
                        origin: softmax,
                    },
                ]
            }
        }
    }

    /// Labels of a loss.
    pub fn labels(&self) -> &[u32] {
        match self {
            Saved::Loss { labels, .. } => labels,
            _ => &[],
        }
    }

    /// Whether it says where maxima were.
    pub fn is_argmax(&self) -> bool {
        matches!(self, Saved::Argmax { .. })
    }

    /// Gives its buffers back.
    pub fn recycle(self, buffers: &mut Buffers) {
        if let Saved::Argmax { indices, .. } | Saved::Loss { labels: indices, .. } = self {
            buffers.give_indices(indices);
        }
    }

    /// Where maxima were.
    ///
    /// # Panics
    /// Of an operation that saves something else.
    pub(super) fn argmax(&self) -> &[u32] {
        match self {
            Saved::Argmax { indices, .. } => indices,
            other => panic!("maxima that saved {other:?}"),
        }
    }
}
