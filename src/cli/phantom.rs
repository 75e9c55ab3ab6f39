//! `osteon phantom`: synthetic patients.

use super::numbers::{count, seed};
use super::output::Overwrite;
use super::terminal::Terminal;
use crate::Result;
use crate::annotation::codes::{self, Codes};
use crate::files::{self, Output, Staging};
use crate::phantom::{self, PhantomOptions, SimulatorVersion};
use crate::text::{Shown, counted};
use std::path::{Path, PathBuf};

/// Make synthetic bone scans: two-frame DICOM files, a manifest, and the truth.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  osteon phantom --studies 1000 --seed 7 --output phantoms\n  osteon phantom --simulator 1 --mix 614,237,160 --output first\n  osteon phantom --annotations --output phantoms"
)]
pub struct Phantom {
    /// Number of patients, one study each, from 1 to 1000000.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = count(1..=PhantomOptions::MOST_STUDIES))]
    studies: usize,
    /// Seed, from 0 to 2^63 - 1: the same seed makes the same patients.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seed())]
    seed: u64,
    /// The simulator: 1, of one camera, or 2, of several hospitals and with more of what real scans have.
    #[arg(long, value_name = "N", default_value_t)]
    simulator: SimulatorVersion,
    /// Shares of the classes NoMet, ADMet and nADMet; their sum may be anything above zero.
    #[arg(long, value_name = "NOMET,ADMET,NADMET", default_value = "1,1,1", value_parser = mix)]
    mix: [f64; 3],
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
        let Phantom { studies, seed, mix, simulator, .. } = *self;
        let options = PhantomOptions { studies, seed, mix, simulator, ..PhantomOptions::default() };
        options.check()?;
        let manifest = write(terminal, &options, output(&self.output, self.overwrite.force)?, self.annotations)?;
        terminal.line(manifest.shown())
    }
}

/// Three numbers with commas between.
fn mix(text: &str) -> std::result::Result<[f64; 3], String> {
    let shares: Vec<f64> = text.split(',').filter_map(|share| share.trim().parse().ok()).collect();
    match <[f64; 3]>::try_from(shares) {
        Ok(shares) if text.split(',').count() == 3 => Ok(shares),
        _ => Err("give three shares such as 1,1,1".to_owned()),
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
