//! The network's input, and the counts behind its values.

use super::{Compression, Measures};
use crate::image::Image;

/// The network's input, and how many counts its values stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// As [`network_input`](super::views::network_input).
    pub image: Image,
    /// Of each value; a level of 0 where there are no counts.
    pub counts: CountScale,
    /// What the study is like that it was made of.
    pub measures: Measures,
}

/// How many counts a value of the network's input stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CountScale {
    /// Counts of an input pixel at the body's level.
    pub level: f32,
    /// How counts over the level became values.
    pub compression: Compression,
}

impl CountScale {
    /// The counts that a value stands for.
    pub(super) fn counts(&self, value: f32) -> f32 {
        self.level * self.compression.inverse(value)
    }

    /// The value that counts have.
    pub(super) fn value(&self, counts: f32) -> f32 {
        self.compression.apply(counts / self.level)
    }
}
