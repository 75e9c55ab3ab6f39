//! The record of what a dataset was made from.

use super::{Counts, DatasetKind, RECORD};
use crate::prepare::Motion;
use crate::{Error, Result, files};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `dataset.toml`: what was made from what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetRecord {
    /// Of this file.
    pub format_version: u32,
    /// Of the program.
    pub version: String,
    /// That the program was built from.
    pub commit: String,
    /// Which of the paper's datasets.
    pub dataset: DatasetKind,
    /// Of subsampling, split and transforms.
    pub seed: u64,
    /// Share of each class's patients that train.
    pub train_share: f64,
    /// ADMet and nADMet are one class.
    pub merge_metastatic: bool,
    /// The copies' pixels are files.
    pub materialised: bool,
    /// SHA-256 of the manifest; none in records from before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
    /// How far copies are turned and moved.
    pub augmentation: Motion,
    /// The archive.
    pub source: SourceManifest,
    /// Counts that were asked for instead of the paper's.
    pub asked: BTreeMap<String, usize>,
    /// Rows by class.
    pub counts: BTreeMap<String, Counts>,
    /// SHA-256 of every file that the manifest names, as it names them; none in records from before it was kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// The manifest that a dataset was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceManifest {
    /// Its path, seen from the dataset's folder.
    pub manifest: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
    /// Its studies.
    pub studies: usize,
}

/// The version that is written. Those before it are read.
pub(super) const FORMAT_VERSION: u32 = 2;

/// A record with half a million files is smaller.
const MAX_BYTES: u64 = 64 << 20;

/// Reads the record of the dataset in a folder.
///
/// # Errors
/// There is none, or it is not one that this program reads.
pub fn read_record(folder: &Path) -> Result<DatasetRecord> {
    let path = folder.join(RECORD);
    if !path.is_file() {
        let problem = format!("is not the folder of a dataset (it has no {RECORD})");
        return Err(Error::file(folder, problem, "give the --output folder of `osteon dataset`"));
    }
    let refused = |problem: String| Error::file(&path, problem, "make the dataset anew");
    let text = String::from_utf8(files::read_at_most(&path, MAX_BYTES)?).map_err(|_| refused("is not text".to_owned()))?;
    let record: DatasetRecord =
        toml::from_str(&text).map_err(|error| refused(format!("is no record of a dataset ({})", error.message())))?;
    if !(1..=FORMAT_VERSION).contains(&record.format_version) {
        let problem = format!("has version {}, and this program reads those up to {FORMAT_VERSION}", record.format_version);
        return Err(refused(problem));
    }
    Ok(record)
}
