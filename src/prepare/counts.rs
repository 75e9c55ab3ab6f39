//! The counts behind the values of the network's input.

use super::Compression;

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
