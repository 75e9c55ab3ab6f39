//! `osteon predict`: scans in, classes out.

use super::scan::{self, ScanOptions};
use super::terminal::Terminal;
use crate::models::Model;
use crate::predict::{self, Predicted};
use crate::report::{self, Case, Prediction};
use crate::train::RunFolder;
use crate::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Classify scans with a trained model: a line a study.
///
/// A scan that cannot be read is reported, the others are still classified, and the exit code is 1.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  osteon predict runs/first/model.safetensors scan.dcm folder front.png,back.png \\
      --views anterior,posterior --report page")]
pub struct Predict {
    /// The model file, or the folder of a run.
    model: PathBuf,
    /// Studies: each a two-frame DICOM file, a folder, or two files as A,B.
    #[arg(required = true)]
    scans: Vec<PathBuf>,
    #[command(flatten)]
    options: ScanOptions,
    /// Print JSON: a list with an object a study.
    #[arg(long)]
    json: bool,
    /// Write a page with the fused pictures and where the network looked into this folder.
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
}

impl Predict {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        Ok(())
    }
}
