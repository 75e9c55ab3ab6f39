//! What happens to a study before the network: the settings, which a model file keeps.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How the posterior view is laid on the anterior one.
///
/// The paper leaves it open. `Translate` is the default: with `TranslateScale` each critical point's error goes into the scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alignment {
    /// Moved by whole pixels until the middles of the two bodies meet; no pixel is interpolated.
    #[default]
    Translate,
    /// Moved and scaled, rows and columns apart, until the four critical points meet.
    TranslateScale,
}

impl Alignment {
    /// Each of them.
    pub const ALL: [Alignment; 2] = [Alignment::Translate, Alignment::TranslateScale];

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Alignment::Translate => "translate",
            Alignment::TranslateScale => "translate-scale",
        }
    }
}

/// How counts, in units of the body's level, become the network's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Square root: makes the noise of counts (Poisson) equally strong everywhere.
    #[default]
    Sqrt,
    /// ln(1 + x).
    Log,
    /// As they are.
    Linear,
}

impl Compression {
    /// A count in units of the body's level to a value of the network's input.
    pub(super) fn apply(self, count: f32) -> f32 {
        match self {
            Compression::Sqrt => count.sqrt(),
            Compression::Log => count.ln_1p(),
            Compression::Linear => count,
        }
    }

    /// The inverse of [`apply`](Self::apply).
    pub(super) fn inverse(self, value: f32) -> f32 {
        match self {
            Compression::Sqrt => value * value,
            Compression::Log => value.exp_m1(),
            Compression::Linear => value,
        }
    }
}

/// What happens to a study between its files and the network. Part of a model: at prediction it must be what it was in training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preprocessing {
    /// How the two views are aligned.
    pub alignment: Alignment,
    /// A pixel belongs to the body where its smoothed count reaches this share of the body's level.
    pub threshold: f32,
    /// Pixels hotter than this many times the body's level (bladder, injection point) are clamped to it.
    pub ceiling: f32,
    /// What follows the clamp.
    pub compression: Compression,
}

impl Default for Preprocessing {
    fn default() -> Self {
        Preprocessing { alignment: Alignment::default(), threshold: 0.15, ceiling: 16.0, compression: Compression::default() }
    }
}

impl Preprocessing {
    /// The value from which on a pixel of the network's input is the body.
    pub fn body_value(&self) -> f32 {
        self.compression.apply(self.threshold)
    }

    /// The highest value of the network's input; the lowest is 0.
    pub fn highest_value(&self) -> f32 {
        self.compression.apply(self.ceiling)
    }

    /// Refuses values that no study could be prepared with.
    ///
    /// # Errors
    /// One sentence naming the first such setting.
    pub fn check(&self) -> Result<()> {
        let refuse = |name: &str, value: f32, range: &str| {
            Err(Error::setting(format!("preprocessing.{name} is {value}"), format!("choose a value {range}")))
        };
        if !(self.threshold > 0.0 && self.threshold < 1.0) {
            return refuse("threshold", self.threshold, "between 0 and 1");
        }
        if !(self.ceiling >= 1.0 && self.ceiling.is_finite()) {
            return refuse("ceiling", self.ceiling, "of at least 1");
        }
        Ok(())
    }
}
