//! `osteon phantom`: synthetic patients.

use super::numbers::{count, seed};
use super::terminal::Terminal;
use crate::phantom::{self, PhantomOptions};
use crate::text::Shown;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Make synthetic bone scans: two-frame DICOM files, a manifest, and the truth.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  osteon phantom --studies 1000 --seed 7 --output phantoms\n  osteon phantom --annotations --output phantoms"
)]
pub struct Phantom {
    /// Number of patients, one study each, from 1 to 1000000.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = count(1..=PhantomOptions::MOST_STUDIES))]
    studies: usize,
    /// Seed, from 0 to 2^63 - 1: the same seed makes the same patients.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seed())]
    seed: u64,
    /// Folder for the files.
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
    /// Write what physicians would add: outlines of every finding beside the scans (LabelMe), a report, and the table of codes.
    #[arg(long)]
    annotations: bool,
    /// Write over phantoms that are in the folder.
    #[arg(long)]
    force: bool,
}

impl Phantom {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let options = PhantomOptions { studies: self.studies, seed: self.seed, ..PhantomOptions::default() };
        let manifest = write(terminal, &options, &self.output, self.force)?;
        if self.annotations {
            phantom::annotate(&options, &self.output)?;
        }
        terminal.line(manifest.shown())
    }
}

/// Writes phantoms under a progress bar and returns the manifest's path.
pub fn write(terminal: &Terminal, options: &PhantomOptions, output: &Path, force: bool) -> Result<PathBuf> {
    if !force && output.join("manifest.csv").exists() {
        return Err(Error::file(output, "has a manifest in it", "choose another output folder, or write over it with --force"));
    }
    let progress = terminal.progress("phantoms", options.studies);
    let manifest = phantom::write(options, output, &|done| progress.set(done, ""))?;
    progress.finish(format_args!("{} patients", options.studies));
    Ok(manifest)
}
