//! `split.csv`: every study of a run, as a manifest has it, and whether it trained or tests.

use super::record;
use crate::data::manifest::Manifest;
use crate::data::split::Split;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The side of the split that a study is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Its patient trained the network.
    Train,
    /// Its patient is unseen.
    Test,
}

/// A study of a run. Its paths are absolute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitRow {
    /// The patient.
    pub patient: String,
    /// The anterior view's file, or `file#frame`.
    pub anterior: String,
    /// The posterior view's; empty if there is none.
    pub posterior: String,
    /// The class.
    pub label: String,
    /// Training or test.
    pub part: Part,
}

/// The rows of a run's `split.csv`.
///
/// # Errors
/// It cannot be read or is no such file.
pub fn read_split(path: &Path) -> Result<Vec<SplitRow>> {
    let bytes = crate::files::read(path)?;
    let rows: Result<Vec<SplitRow>, csv::Error> = csv::Reader::from_reader(bytes.as_slice()).deserialize().collect();
    rows.map_err(|error| Error::file(path, format!("is not the split of a run ({error})"), "train again, or restore the file"))
}
