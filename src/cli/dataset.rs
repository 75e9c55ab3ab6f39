//! `osteon dataset`: the paper's three datasets, their check, and public archives.

use super::numbers::seed;
use super::output::Overwrite;
use super::preflight::{self, Preflight};
use super::table::{self, TableFlags};
use super::terminal::Terminal;
use crate::archive::datasets::{self, Counts, DatasetKind, DatasetOptions};
use crate::archive::import::{self, Imported, Pictures};
use crate::archive::manifest::{Manifest, ReadOptions, Row, Survey};
use crate::archive::scans::Scans;
use crate::archive::side::Side;
use crate::archive::split::PAPER_TRAIN_SHARE;
use crate::files::Staging;
use crate::models::MIN_SIDE;
use crate::prepare::Motion;
use crate::text::{Shown, counted, shell_word};
use crate::{Error, Result, files};
use clap::Subcommand;
use std::cell::RefCell;
use std::collections::BTreeSet;
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
    /// List all that is wrong with a manifest, or prove that nothing in a dataset's folder is on both sides: no patient, no file, no copy.
    ///
    /// Every line of a manifest and every scan is looked at, and each problem is a sentence; the exit code is 1 if there is one. People are
    /// compared by what their files say and by their pixels.
    #[command(after_help = "Example:\n  osteon dataset check hospital.csv\n  osteon dataset check d3")]
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
    #[arg(long, value_name = "DEGREES", default_value_t = Motion::default().rotation_deg)]
    rotation_deg: f32,
    /// Copies are moved by up to this, in pixels of a 1024x256 picture, along rows and columns, from 0
    /// to 1024.
    #[arg(long, value_name = "PIXELS", default_value_t = Motion::default().translation_px)]
    translation_px: f32,
    /// Two classes, NoMet and Met: ADMet and nADMet are merged (the paper's Table 8).
    #[arg(long)]
    merge_metastatic: bool,
    /// Write the pixels of every row as 16-bit PNG, instead of drawing copies when they are read.
    #[arg(long)]
    materialise: bool,
    #[command(flatten)]
    overwrite: Overwrite,
    #[command(flatten)]
    table: TableFlags,
    #[command(flatten)]
    preflight: Preflight,
}

/// What to check.
#[derive(clap::Args)]
pub struct Check {
    /// A manifest, or the folder that `osteon dataset` wrote.
    path: PathBuf,
    /// Write all problems of a manifest into this file, a line each.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
    #[command(flatten)]
    table: TableFlags,
    #[command(flatten)]
    preflight: Preflight,
}

/// Problems that fit a screen.
const SHOWN: usize = 20;

/// The archives that can be imported.
#[derive(Subcommand)]
pub enum Import {
    /// The Zenodo set 10.5281/zenodo.13900966: PNG in folders by class and view.
    #[command(after_help = "Example:\n  osteon dataset import zenodo bone-scans --output bone-scans.csv")]
    Zenodo(Archive),
    /// BS-80K: JPEG in wholeBodyANT and wholeBodyPOST, labels in text files, boxes in XML.
    #[command(after_help = "Example:\n  osteon dataset import bs80k BS-80K --output bs80k.csv")]
    Bs80k(Archive),
    /// MedMNIST: the pictures of an .npz file as PNG, on the sides that it has (train, validation, test). Grey sets with one label a picture.
    #[command(after_help = "Example:\n  osteon dataset import medmnist breastmnist.npz --output breast\n  \
                            osteon train breast/manifest.csv --any-image --input-size 32x32 --output runs/breast")]
    Medmnist(Medmnist),
}

/// A file of MedMNIST.
#[derive(clap::Args)]
pub struct Medmnist {
    /// The file, such as breastmnist.npz.
    file: PathBuf,
    /// Folder for manifest.csv and the pictures.
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
    #[command(flatten)]
    overwrite: Overwrite,
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
            Dataset::Check(check) => check.run(terminal),
            Dataset::Import(Import::Zenodo(archive)) => archive.import(terminal, import::zenodo),
            Dataset::Import(Import::Bs80k(archive)) => archive.import(terminal, import::bs80k),
            Dataset::Import(Import::Medmnist(file)) => file.import(terminal),
        }
    }
}

impl Check {
    fn run(&self, terminal: &Terminal) -> Result<()> {
        if self.path.is_file() {
            return self.manifest(terminal);
        }
        if self.output.is_some() || !self.table.is_empty() {
            let problem = "--output, --column and --class are about a manifest";
            return Err(Error::setting(problem, "leave them out, or give the path of a manifest"));
        }
        let path = self.path.join(datasets::MANIFEST);
        let record = datasets::check(&self.path);
        // People are compared also where a file is not what the dataset was made with: that may be why.
        let faults = match Manifest::survey(&path, &ReadOptions::default())?.manifest.filter(|_| !self.preflight.trust_scans) {
            None => Vec::new(),
            Some(manifest) => {
                let Scans { faults, notes, .. } = self.preflight.look(terminal, &manifest)?;
                preflight::tell(terminal, &path, &notes);
                faults
            }
        };
        faults.iter().take(SHOWN).for_each(|fault| terminal.error(fault));
        let found = record?;
        if !faults.is_empty() {
            let problem = format!("has {}", counted(faults.len(), "problem"));
            return Err(Error::file(&path, problem, "mend the scans and make the dataset anew"));
        }
        print(terminal, &found.counts)?;
        terminal.line(found)
    }

    /// Lists what is wrong with a manifest.
    fn manifest(&self, terminal: &Terminal) -> Result<()> {
        let path = &self.path;
        let Survey { manifest, mut problems, more, notes } = Manifest::survey(path, &self.table.options()?)?;
        let scans = manifest.iter().flat_map(|manifest| manifest.rows.iter().flat_map(Row::files));
        let read: Vec<&Path> = scans.chain([path.as_path()]).collect();
        let output = self.output.as_ref().map(|output| self.overwrite.file(output, &read)).transpose()?;
        table::tell(terminal, path, &notes);
        if let Some(manifest) = manifest.as_ref().filter(|_| !self.preflight.trust_scans) {
            let Scans { faults, notes, .. } = self.preflight.look(terminal, manifest)?;
            table::tell(terminal, path, &notes);
            problems.extend(faults);
        }
        problems.iter().take(SHOWN).for_each(|problem| terminal.error(problem));
        let all = problems.len() + more;
        if let Some(output) = output {
            let lines = problems.iter().map(|problem| format!("{problem}\n"));
            let uncounted = (more > 0).then(|| format!("and {more} more\n"));
            output.write(lines.chain(uncounted).collect::<String>().as_bytes())?;
        }
        if all > SHOWN {
            let place =
                self.output.as_ref().map_or("--output FILE writes all".to_owned(), |file| format!("all are in {}", file.shown()));
            terminal.note(format_args!("and {} more; {place}", all - SHOWN));
        }
        match (all, &manifest) {
            (0, Some(manifest)) => {
                let patients: BTreeSet<&str> = manifest.rows.iter().map(|row| row.patient.as_str()).collect();
                let (studies, patients) = (manifest.rows.len(), patients.len());
                let each = class_counts(manifest);
                terminal.line(format_args!(
                    "{} of {}: {each}; nothing is wrong with the table and its scans",
                    counted(studies, "study"),
                    counted(patients, "patient")
                ))
            }
            _ => Err(Error::file(path, format!("has {}", counted(all, "problem")), "correct the table and check it again")),
        }
    }
}

/// `3 NoMet, 2 ADMet`: the studies of each class.
fn class_counts(manifest: &Manifest) -> String {
    let classes = manifest.classes.iter().map(|class| {
        let count = manifest.rows.iter().filter(|row| row.label == *class).count();
        format!("{count} {class}")
    });
    classes.collect::<Vec<_>>().join(", ")
}

impl Make {
    fn run(&self, terminal: &Terminal, kind: DatasetKind) -> Result<()> {
        let options = DatasetOptions {
            seed: self.seed,
            train_share: self.train_share,
            augmentation: Motion { rotation_deg: self.rotation_deg, translation_px: self.translation_px },
            counts: self.counts.as_deref().map(datasets::parse_counts).transpose()?.unwrap_or_default(),
            merge_metastatic: self.merge_metastatic,
        };
        let output = self.overwrite.folder(&self.output, &datasets::FILES, &[&self.manifest])?;
        let source = self.preflight.read(terminal, &self.manifest, &self.table.options()?, &self.output)?.with_frames_named()?;
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

impl Medmnist {
    fn import(&self, terminal: &Terminal) -> Result<()> {
        let output = self.overwrite.folder(&self.output, &import::MEDMNIST_FILES, &[&self.file])?;
        let progress = RefCell::new(None);
        let watch = |done: usize, of: usize| {
            progress.borrow_mut().get_or_insert_with(|| terminal.progress("pictures", of)).set(done, "");
        };
        let Pictures { manifest, size, left_out } = import::medmnist(&self.file, output, &watch)?;
        if let Some(progress) = progress.into_inner() {
            progress.finish(format_args!("{} written", manifest.rows.len()));
        }
        let sides = [Side::Train, Side::Validation, Side::Test].map(|side| {
            let count = manifest.rows.iter().filter(|row| row.side == Some(side)).count();
            format!("{count} {}", side.name())
        });
        let [rows, columns] = size;
        let pictures = counted(manifest.rows.len(), "picture");
        terminal.line(format_args!("{pictures} of {rows}x{columns}: {}; {}", sides.join(", "), class_counts(&manifest)))?;
        if left_out > 0 {
            terminal.line(format_args!(
                "left out {} of train or validation that another side has too",
                counted(left_out, "picture")
            ))?;
        }
        terminal.line(manifest.path.shown())?;
        let [rows, columns] = size.map(|side| side.max(MIN_SIDE));
        let name = self.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let [table, run] = [manifest.path.to_string_lossy().into_owned(), format!("runs/{name}")].map(|word| shell_word(&word));
        terminal.note(format_args!("train on it: osteon train {table} --any-image --input-size {rows}x{columns} --output {run}"));
        Ok(())
    }
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
        let single = manifest.rows.iter().filter(|row| row.cells().count() == 1).count();
        let classes = class_counts(&manifest);
        terminal.line(format_args!("{}: {classes}; {single} of them of one view", counted(manifest.rows.len(), "study")))?;
        if disagreements > 0 {
            terminal.line(format_args!(
                "one view alone is labelled metastatic in {}, which is taken for Met",
                counted(disagreements, "study")
            ))?;
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
