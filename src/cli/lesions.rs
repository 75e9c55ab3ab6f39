//! `osteon lesions`: what physicians outlined, measured.

use super::output::Overwrite;
use super::table::TableFlags;
use super::terminal::Terminal;
use crate::Result;
use crate::annotation::lesions::{self, MeasureOptions};
use crate::archive::manifest::Row;
use crate::files::Staging;
use crate::text::{Shown, counted};
use std::path::{Path, PathBuf};

/// Measure the lesions that are outlined beside the scans: shape, body region, area, uptake (the paper's figure 12).
///
/// Writes lesions.csv (a row for each lesion in each view), shapes.csv, regions.csv, uptake.csv, areas.csv, studies.csv (with the diagnostic
/// reports), and lesions.png and .svg. The annotations of SCAN.dcm are SCAN.anterior.json and SCAN.posterior.json beside it, or
/// SCAN.json where it is of one view; .xml as well.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  osteon phantom --annotations --output phantoms\n  osteon lesions phantoms/manifest.csv --output lesions"
)]
pub struct Lesions {
    /// The table of studies.
    manifest: PathBuf,
    /// Folder for the results.
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Height and width of a pixel in millimetres where a scan's file does not say them, from 0.01 to 100: one number, or
    /// two as HEIGHT,WIDTH.
    #[arg(long, value_name = "MM", value_parser = spacing)]
    pixel_spacing_mm: Option<[f64; 2]>,
    #[command(flatten)]
    table: TableFlags,
}

/// One size of a pixel or two.
pub fn spacing(text: &str) -> Result<[f64; 2], String> {
    let side = |text: &str| text.trim().parse().ok().filter(|side: &f64| (0.01..=100.0).contains(side));
    let (height, width) = text.split_once(',').unwrap_or((text, text));
    match (side(height), side(width)) {
        (Some(height), Some(width)) => Ok([height, width]),
        _ => Err(format!("`{text}` is no size of a pixel; write millimetres from 0.01 to 100, such as 2.26 or 2.3,2.26")),
    }
}

impl Lesions {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let manifest = self.table.read(terminal, &self.manifest)?;
        let options = MeasureOptions { pixel_spacing_mm: self.pixel_spacing_mm };
        let read: Vec<&Path> = manifest.rows.iter().flat_map(Row::files).chain([&*self.manifest]).collect();
        let output = self.overwrite.folder(&self.output, &lesions::FILES, &read)?;
        let lesions::Measured { lesions, notes } = lesions::measure(&manifest, &options)?;
        notes.iter().for_each(|note| terminal.note(note));
        let staging = Staging::new(output)?;
        let studies = manifest.study_counts(0..manifest.rows.len());
        let summary = staging.named(lesions::report(&lesions, studies, staging.file("")))?;
        staging.named(lesions::studies(&manifest, &lesions, staging.file("")))?;
        staging.commit(lesions::FILES[0])?;
        let sizeless = lesions.iter().filter(|lesion| lesion.area_mm2.is_none()).count();
        if sizeless > 0 {
            terminal.note(format_args!(
                "the scans of {sizeless} of {} do not say the size of a pixel: areas there are in pixels only and shapes are not \
                 classified; give --pixel-spacing-mm",
                counted(lesions.len(), "outlined lesion")
            ));
        }
        let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        terminal.line(format_args!(
            "{} in views, {} counted once",
            counted(lesions.len(), "lesion"),
            counted(summary.lesions(), "metastasis")
        ))?;
        for (what, table) in [("shape", &summary.shapes), ("region", &summary.regions), ("uptake", &summary.uptake)] {
            let each = table.iter().map(|(name, _)| format!("{name} {}", percent(summary.share(table, &[name]))));
            terminal.line(format_args!("{what:<8}{}", each.collect::<Vec<_>>().join("  ")))?;
        }
        terminal.line(self.output.join("lesions.png").shown())
    }
}
