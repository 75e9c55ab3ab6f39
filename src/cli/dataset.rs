//! `osteon dataset`: the paper's three datasets, their check, and public archives.

use super::numbers::seed;
use super::output::Overwrite;
use super::terminal::Terminal;
use crate::archive::datasets::{self, Counts, DatasetKind, DatasetOptions};
use crate::archive::import::{self, Imported};
use crate::archive::manifest::{Manifest, Row};
use crate::archive::split::PAPER_TRAIN_SHARE;
use crate::files::Staging;
use crate::prepare::Augmentation;
use crate::text::Shown;
use crate::{Result, files};
use clap::Subcommand;
use std::path::{Path, PathBuf};

/// Make the paper's datasets from an archive, check them, or import a public archive.
#[derive(Subcommand)]
pub enum Dataset {
    /// Make D1: each view an image of its own, NoMet subsampled, patients split.
    ///
    /// The paper's archive gives 226 NoMet, 237 ADMet and 160 nADMet. In another, NoMet keeps at most 1.14 times the mean of the
    /// other classes' images.
    #[command(
        after_help = "Example:\n  osteon dataset d1 hospital.csv --output d1\n  osteon train d1/manifest.csv --output runs/d1"
    )]
    D1(Make),
    /// Make D2: D1 with augmented copies, up to 3 times as many images, the classes about even.
    ///
    /// The paper's archive gives 614 NoMet, 624 ADMet and 640 nADMet. Copies are a rotation and a translation each, drawn when they are
    /// read, and on their patient's side.
    #[command(
        after_help = "Example:\n  osteon dataset d2 hospital.csv --output d2 --seed 1 --counts NoMet=614,ADMet=624,nADMet=640"
    )]
    D2(Make),
    /// Make D3: the two views of each copy in D2 aggregated.
    ///
    /// The paper's archive gives 307 NoMet, 318 ADMet and 320 nADMet.
    #[command(
        after_help = "Example:\n  osteon dataset d3 hospital.csv --output d3\n  osteon dataset d3 hospital.csv --output two-classes --merge-metastatic"
    )]
    D3(Make),
    /// Prove that nothing in a dataset's folder is on both sides: no patient, no file, no copy.
    #[command(after_help = "Example:\n  osteon dataset check d3")]
    Check(Check),
    /// Write the manifest of a public archive.
    #[command(subcommand)]
    Import(Import),
}

/// What makes a dataset.
#[derive(clap::Args)]
pub struct Make {
    /// The archive: CSV with the columns patient,anterior,posterior,label.
    manifest: PathBuf,
    /// Folder for manifest.csv and dataset.toml.
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
    /// Seed of subsampling, split and copies, from 0 to 2^63 - 1.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seed())]
    seed: u64,
    /// Share of each class's patients that train, above 0 and below 1.
    #[arg(long, value_name = "SHARE", default_value_t = PAPER_TRAIN_SHARE)]
    train_share: f64,
    /// How many rows some classes get, from 1 to 1000000 each, in place of what the paper would give.
    #[arg(long, value_name = "CLASS=N,...")]
    counts: Option<String>,
    /// Copies are rotated by up to this angle, either way, from 0 to 180.
    #[arg(long, value_name = "DEGREES", default_value_t = Augmentation::default().rotation_deg)]
    rotation_deg: f32,
    /// Copies are moved by up to this, in pixels of a 1024x256 picture, along rows and columns, from 0
    /// to 1024.
    #[arg(long, value_name = "PIXELS", default_value_t = Augmentation::default().translation_px)]
    translation_px: f32,
    /// Two classes, NoMet and Met: ADMet and nADMet are merged (the paper's Table 8).
    #[arg(long)]
    merge_metastatic: bool,
    /// Write the pixels of every row as 16-bit PNG, instead of drawing copies when they are read.
    #[arg(long)]
    materialise: bool,
    #[command(flatten)]
    overwrite: Overwrite,
}

/// The folder to check.
#[derive(clap::Args)]
pub struct Check {
    /// The folder that `osteon dataset` wrote.
    folder: PathBuf,
}

/// The archives that can be imported.
#[derive(Subcommand)]
pub enum Import {
    /// The Zenodo set 10.5281/zenodo.13900966: PNG in folders by class and view.
    #[command(after_help = "Example:\n  osteon dataset import zenodo bone-scans --output bone-scans.csv")]
    Zenodo(Archive),
    /// BS-80K: JPEG in wholeBodyANT and wholeBodyPOST, labels in text files, boxes in XML.
    #[command(after_help = "Example:\n  osteon dataset import bs80k BS-80K --output bs80k.csv")]
    Bs80k(Archive),
}

/// An archive on disk.
#[derive(clap::Args)]
pub struct Archive {
    /// The folder that the archive was unpacked to.
    folder: PathBuf,
    /// The manifest to write; boxes, if there are any, go beside it, with -boxes in their name.
    #[arg(long, value_name = "FILE.csv")]
    output: PathBuf,
    #[command(flatten)]
    overwrite: Overwrite,
}

impl Dataset {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        match self {
            Dataset::D1(make) => make.run(terminal, DatasetKind::D1),
            Dataset::D2(make) => make.run(terminal, DatasetKind::D2),
            Dataset::D3(make) => make.run(terminal, DatasetKind::D3),
            Dataset::Check(Check { folder }) => {
                let found = datasets::check(folder)?;
                print(terminal, &found.counts)?;
                terminal.line(found)
            }
            Dataset::Import(Import::Zenodo(archive)) => archive.import(terminal, import::zenodo),
            Dataset::Import(Import::Bs80k(archive)) => archive.import(terminal, import::bs80k),
        }
    }
}

impl Make {
    fn run(&self, terminal: &Terminal, kind: DatasetKind) -> Result<()> {
        let options = DatasetOptions {
            seed: self.seed,
            train_share: self.train_share,
            augmentation: Augmentation { rotation_deg: self.rotation_deg, translation_px: self.translation_px },
            counts: self.counts.as_deref().map(datasets::parse_counts).transpose()?.unwrap_or_default(),
            merge_metastatic: self.merge_metastatic,
        };
        let output = self.overwrite.folder(&self.output, &datasets::FILES, &[&self.manifest])?;
        let source = Manifest::read(&self.manifest)?.with_frames_named()?;
        let dataset = datasets::build(kind, &source, &options)?;
        let (path, found) = if self.materialise {
            let progress = terminal.progress("pictures", dataset.manifest.rows.len());
            let made = dataset.put(output, Some(&|done| progress.set(done, "")))?;
            progress.finish(format_args!("{} written", dataset.manifest.rows.len()));
            made
        } else {
            dataset.put(output, None)?
        };
        print(terminal, &found.counts)?;
        terminal.line(found)?;
        terminal.line(path.shown())
    }
}

/// A line a class, and their sum.
fn print(terminal: &Terminal, counts: &[(String, Counts)]) -> Result<()> {
    let sum = counts
        .iter()
        .fold(Counts::default(), |sum, (_, counts)| Counts { train: sum.train + counts.train, test: sum.test + counts.test });
    let lines = counts.iter().map(|(class, counts)| (class.as_str(), counts)).chain([("all", &sum)]);
    let lines: Vec<_> = lines.collect();
    let width = lines.iter().map(|(class, _)| class.chars().count()).max().unwrap_or_default();
    for (class, Counts { train, test }) in lines {
        terminal.line(format_args!("{class:width$} {:>5}: {train:>5} train, {test:>5} test", train + test))?;
    }
    Ok(())
}

impl Archive {
    fn import(&self, terminal: &Terminal, read: fn(&Path, &Path) -> Result<Imported>) -> Result<()> {
        let folder = files::folder_of(&self.output);
        let (name, mut boxes_name) =
            (self.output.file_name().unwrap_or_default(), self.output.file_stem().unwrap_or_default().to_owned());
        boxes_name.push("-boxes.csv");
        let output = self.overwrite.files_in(folder, &[name, &*boxes_name], &[&self.folder])?;
        files::create_folder(folder)?;
        let Imported { manifest, boxes, skipped, disagreements, polarity } = read(&self.folder, &self.output)?;
        let scans: Vec<&Path> = manifest.rows.iter().flat_map(Row::files).collect();
        self.overwrite.files_in(folder, &[name, &*boxes_name], &scans)?;
        let staging = Staging::new(output)?;
        staging.write(name, &manifest.to_csv()?)?;
        if !boxes.is_empty() {
            staging.write(&boxes_name, &import::boxes_csv(&boxes))?;
        }
        staging.commit(name)?;
        let classes = manifest.classes.iter().map(|class| {
            let count = manifest.rows.iter().filter(|row| row.label == *class).count();
            format!("{count} {class}")
        });
        let single = manifest.rows.iter().filter(|row| row.cells().count() == 1).count();
        let classes = classes.collect::<Vec<_>>().join(", ");
        terminal.line(format_args!("{} studies: {classes}; {single} of them of one view", manifest.rows.len()))?;
        if disagreements > 0 {
            terminal.line(format_args!("{disagreements} studies have one view labelled metastatic: they count as Met"))?;
        }
        if polarity.black_on_white > 0 {
            terminal.line(polarity)?;
        }
        if skipped.count() > 0 {
            terminal.line(skipped)?;
        }
        if !boxes.is_empty() {
            terminal.line(format_args!("{} boxes: {}", boxes.len(), folder.join(boxes_name).shown()))?;
        }
        terminal.line(manifest.path.shown())
    }
}
