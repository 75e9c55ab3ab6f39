//! The paper's three datasets from an archive's manifest: D1, single views; D2, D1 with augmented copies; D3, the views of D2
//! aggregated (paper: Table 2).
//!
//! A dataset is a manifest again, with a side and a transform on each row ([`super::manifest`]): a copy is the path of its scan,
//! a rotation and a translation, which are applied when it is read. Everything is a function of the source manifest, the seed and
//! the options.
//!
//! In this order: NoMet is subsampled, patients are split, then scans are copied, so that no copy can be on the other side. Proof
//! on what was written is [`check`]'s.
//!
//! # Counts
//! The paper's archive gives exactly the counts of Table 2. Another archive follows the rules that these counts come from:
//! * D1 has at most 226 images of NoMet for every 198.5 of a metastatic class (the mean of 237 and 160), so that an archive in
//!   which NoMet does not prevail stays whole.
//! * D2 has 1878/623 times as many images as D1, shared out over the classes as 614 : 624 : 640; D3 945/623 times as many rows as
//!   D1 has images, shared out as 307 : 318 : 320. A class that has more than its share keeps what it has. A class that the
//!   paper does not know counts as a third of the whole.
//! * Both sides of a class are augmented by the same factor; the paper's 284 test images are 30 % of D3.
//!
//! D3 has the copies of D2 with both views under the same transform; where it is larger than D2's pairs (the paper's 318 of 624
//! images) it has a few further copies.

mod build;
mod check;
mod record;
mod write;

pub use build::build;
pub use check::{Check, check};
pub use record::{DatasetRecord, SourceManifest, read_record};

use super::manifest::Manifest;
use super::side::Side;
use super::split::PAPER_TRAIN_SHARE;
use crate::prepare::Motion;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The manifest of a dataset's folder.
pub const MANIFEST: &str = "manifest.csv";
/// What it was made from: a [`DatasetRecord`].
pub const RECORD: &str = "dataset.toml";
/// Where the pixels of its rows are, if they are files of its own.
const PICTURES: &str = "pictures";
/// All that may be in its folder.
pub const FILES: [&str; 3] = [MANIFEST, RECORD, PICTURES];
/// Which of the paper's datasets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatasetKind {
    /// Single views.
    D1,
    /// D1 with augmented copies.
    D2,
    /// The views of D2 aggregated.
    D3,
}

impl fmt::Display for DatasetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DatasetKind::D1 => "d1",
            DatasetKind::D2 => "d2",
            DatasetKind::D3 => "d3",
        })
    }
}

/// What a dataset depends on beside its source.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetOptions {
    /// Of subsampling, split and transforms.
    pub seed: u64,
    /// Share of each class's patients that train.
    pub train_share: f64,
    /// How far copies are turned and moved.
    pub augmentation: Motion,
    /// Rows of the dataset by class, where they are not to follow the paper.
    pub counts: BTreeMap<String, usize>,
    /// Two classes: ADMet and nADMet become Met, when all else is done (paper: Table 8).
    pub merge_metastatic: bool,
}

impl Default for DatasetOptions {
    fn default() -> Self {
        DatasetOptions {
            seed: 1,
            train_share: PAPER_TRAIN_SHARE,
            augmentation: Motion::default(),
            counts: BTreeMap::new(),
            merge_metastatic: false,
        }
    }
}

/// A dataset that is not written yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Which.
    pub kind: DatasetKind,
    /// Its rows, each with a side, under the path of the source.
    pub manifest: Manifest,
    /// What it was made with.
    pub options: DatasetOptions,
    studies: usize,
}

/// Rows of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// To train with.
    pub train: usize,
    /// To test with.
    pub test: usize,
}

impl Dataset {
    /// Rows by class, in the manifest's order of classes.
    pub fn counts(&self) -> Vec<(String, Counts)> {
        counts(&self.manifest)
    }
}

/// Rows by class of a manifest whose rows have sides, in its order of classes.
pub fn counts(manifest: &Manifest) -> Vec<(String, Counts)> {
    let of = |class: &String| {
        let on = |side| manifest.rows.iter().filter(|row| row.label == *class && row.side == Some(side)).count();
        (class.clone(), Counts { train: on(Side::Train), test: on(Side::Test) })
    };
    manifest.classes.iter().map(of).collect()
}

/// Counts by class as a flag writes them: `NoMet=614,ADMet=624`.
///
/// # Errors
/// What is not of that form.
pub fn parse_counts(text: &str) -> Result<BTreeMap<String, usize>> {
    let refuse = |part: &str| {
        Error::setting(
            format!("--counts has `{part}`"),
            "write CLASS=NUMBER,CLASS=NUMBER, each class once, with numbers from 1 to 1000000",
        )
    };
    let mut counts = BTreeMap::new();
    for part in text.split(',') {
        let (class, count) = part.split_once('=').ok_or_else(|| refuse(part))?;
        let count = count.trim().parse().ok().filter(|count| (1..=1_000_000).contains(count)).ok_or_else(|| refuse(part))?;
        if counts.insert(class.trim().to_owned(), count).is_some() {
            return Err(refuse(part));
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests;
