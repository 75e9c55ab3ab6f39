//! `osteon phantom`: synthetic patients.

use super::numbers::{count, seed};
use super::output::Overwrite;
use super::terminal::Terminal;
use crate::annotation::codes::{self, Codes};
use crate::archive::manifest::Manifest;
use crate::files::{self, Kind, Output, Staging};
use crate::intake::statistics::{Statistics, ViewStatistics};
use crate::phantom::{self, PhantomOptions, SimulatorVersion};
use crate::text::{Shown, counted};
use crate::{Error, Result, interrupt};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Make synthetic bone scans: two-frame DICOM files, a manifest, and the truth. Or print what the pixels of scans are like, simulated
/// or real.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  osteon phantom --studies 1000 --seed 7 --output phantoms\n  osteon phantom --simulator 1 --mix 614,237,160 --output first\n  osteon phantom --hospital 2 --output second\n  osteon phantom --statistics phantoms hospital.csv scans\n  osteon phantom --annotations --output phantoms"
)]
pub struct Phantom {
    /// Number of patients, one study each, from 1 to 1000000.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = count(1..=PhantomOptions::MOST_STUDIES))]
    studies: usize,
    /// Seed, from 0 to 2^63 - 1: the same seed makes the same patients.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seed())]
    seed: u64,
    /// The simulator, from 1 to 2: 1 is of one camera, 2 of several hospitals and with more of what real scans have.
    #[arg(long, value_name = "N", default_value_t)]
    simulator: SimulatorVersion,
    /// Shares of the classes NoMet, ADMet and nADMet; their sum may be anything above zero.
    #[arg(long, value_name = "NOMET,ADMET,NADMET", default_value = "1,1,1", value_parser = mix)]
    mix: [f64; 3],
    /// Where simulator 2 scans: a hospital from 1 to 4, each with its own camera, dose, speed and patients; 0 makes one up for every
    /// study.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = count(0..=PhantomOptions::MOST_HOSPITALS as usize))]
    hospital: usize,
    /// Folder for the files.
    #[arg(long, value_name = "FOLDER", required_unless_present = "statistics")]
    output: Option<PathBuf>,
    /// Write what physicians would add: outlines of every finding beside the scans (LabelMe), a report, and the table of codes.
    #[arg(long)]
    annotations: bool,
    /// Make nothing; print counts, pixels and bodies of the scans in folders, manifests or files. Of a folder, its manifest.csv or every
    /// scan in it.
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = ["output", "annotations", "studies", "seed", "simulator", "mix", "hospital"])]
    statistics: Vec<PathBuf>,
    /// Print the statistics as JSON, every view by itself.
    #[arg(long, requires = "statistics")]
    json: bool,
    #[command(flatten)]
    overwrite: Overwrite,
}

impl Phantom {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let Some(folder) = &self.output else { return statistics(terminal, &self.statistics, self.json) };
        let Phantom { studies, seed, mix, simulator, .. } = *self;
        let hospital = self.hospital as u32;
        let options = PhantomOptions { studies, seed, mix, simulator, hospital, ..PhantomOptions::default() };
        options.check()?;
        let manifest = write(terminal, &options, output(folder, self.overwrite.force)?, self.annotations)?;
        terminal.line(manifest.shown())
    }
}

/// Prints what the pixels of all scans are like, a table a path.
fn statistics(terminal: &Terminal, paths: &[PathBuf], as_json: bool) -> Result<()> {
    let mut all = Vec::new();
    for path in paths {
        let found = statistics_of(path)?;
        if !as_json {
            print_statistics(terminal, path, &found)?;
        }
        all.push(json!({ "path": path.shown(), "statistics": found }));
    }
    if as_json { terminal.json(&format!("{:#}", json!(all))) } else { Ok(()) }
}

/// Of a manifest's scans, where the path is one or a folder with one; else of the scans there.
fn statistics_of(path: &Path) -> Result<Statistics> {
    if !path.exists() {
        return Err(Error::file(path, "is not there", "check the path"));
    }
    let mut found = Statistics::default();
    let inside = path.join(MANIFEST);
    let manifest = match path.is_dir() {
        true => inside.is_file().then_some(inside),
        false => (Kind::of_file(path) == Some(Kind::Text)).then(|| path.to_owned()),
    };
    let Some(manifest) = manifest else {
        found.add_path(path)?;
        return Ok(found);
    };
    for row in Manifest::read(&manifest)?.rows {
        interrupt::check()?;
        found.add(&row.read()?);
    }
    Ok(found)
}

fn print_statistics(terminal: &Terminal, path: &Path, found: &Statistics) -> Result<()> {
    let Statistics { studies, views, left_out } = found;
    terminal.line(format_args!("{}: {}, {}", path.shown(), counted(*studies, "study"), counted(views.len(), "view")))?;
    terminal.line(format_args!("  {:32} {:>10} {:>10} {:>10}", "", "smallest", "median", "largest"))?;
    type Value = fn(&ViewStatistics) -> Option<f64>;
    let rows: [(&str, usize, Value); 7] = [
        ("counts a view", 0, |view| Some(view.counts)),
        ("largest pixel", 0, |view| Some(view.largest)),
        ("99th percentile above zero", 0, |view| Some(view.percentile_99)),
        ("pixels above zero, %", 1, |view| Some(100.0 * view.share_above_zero)),
        ("pixel, mm", 2, |view| view.pixel_mm),
        ("body, rows", 0, |view| view.body_rows.map(|rows| rows as f64)),
        ("body, columns", 0, |view| view.body_columns.map(|columns| columns as f64)),
    ];
    for (name, digits, value) in rows {
        let mut values: Vec<f64> = views.iter().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        let cells = match (values.first(), values.last()) {
            (Some(first), Some(last)) => {
                let middle = 0.5 * (values[(values.len() - 1) / 2] + values[values.len() / 2]);
                [*first, middle, *last].map(|value| format!("{value:.digits$}"))
            }
            _ => ["-"; 3].map(str::to_owned),
        };
        terminal.line(format_args!("  {name:32} {:>10} {:>10} {:>10}", cells[0], cells[1], cells[2]))?;
    }
    if let Some((file, problem)) = left_out.first() {
        let more = if left_out.len() > 1 { format!(", and {} more", left_out.len() - 1) } else { String::new() };
        terminal.line(format_args!("  left out: {} ({problem}){more}", file.shown()))?;
    }
    Ok(())
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
