//! `osteon phantom`: synthetic patients.

use super::numbers::{count, seed};
use super::output::Overwrite;
use super::terminal::Terminal;
use crate::Result;
use crate::annotation::codes::{self, Codes};
use crate::files::{self, Output, Staging};
use crate::phantom::{self, PhantomOptions};
use crate::text::{Shown, counted};
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
    #[command(flatten)]
    overwrite: Overwrite,
}

impl Phantom {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let options = PhantomOptions { studies: self.studies, seed: self.seed, ..PhantomOptions::default() };
        options.check()?;
        let manifest = write(terminal, &options, output(&self.output, self.overwrite.force)?, self.annotations)?;
        terminal.line(manifest.shown())
    }
}

/// The table of studies; it stands for all of them.
const MANIFEST: &str = "manifest.csv";

/// A folder for phantoms.
pub fn output(folder: &Path, force: bool) -> Result<Output> {
    Output::folder(folder, force, &[MANIFEST], &[])
}

/// Writes phantoms under a progress bar, all of them or none, and returns the manifest's path.
pub fn write(terminal: &Terminal, options: &PhantomOptions, output: Output, annotated: bool) -> Result<PathBuf> {
    // A table of codes of the user's own stays; Osteon's goes with the outlines that it is of.
    let has_own_codes =
        files::read(output.path().join(codes::FILE)).is_ok_and(|table| table == Codes::default().to_csv().as_bytes());
    let obsolete = if has_own_codes { vec![codes::FILE.to_owned()] } else { Vec::new() };
    let staging = Staging::new(output)?.without(obsolete);
    let progress = terminal.progress("phantoms", options.studies);
    staging.named(phantom::write(options, staging.file(""), &|done| progress.set(done, "")))?;
    if annotated {
        staging.named(phantom::annotate(options, staging.file("")))?;
    }
    progress.finish(counted(options.studies, "patient"));
    let manifest = staging.target(MANIFEST);
    staging.commit(MANIFEST)?;
    Ok(manifest)
}
