//! The paper's three datasets from an archive's manifest: D1, single views; D2, D1 with augmented copies; D3, the views of D2
//! aggregated (paper: Table 2).
//!
//! A dataset is a manifest again, with a side and a draw on each row ([`super::manifest`]): a copy is the name of its scan and three
//! numbers, and the pixels are drawn when it is read. Everything is a function of the source manifest, the seed and the options.
//!
//! In this order: NoMet is subsampled, patients are split, then scans are copied, so that no copy can be on the other side. Proof
//! on what was written is [`check`]'s.
//!
//! # Counts
//! The paper's archive gives exactly the counts of Table 2. Another archive follows the rules that these counts come from:
//! * D1 has at most 226 images of NoMet for every 198.5 of a metastatic class (the mean of 237 and 160), so that an archive in
//!   which NoMet does not prevail stays whole.
//! * D2 has 1878/623 times as many images as D1, shared out over the classes as 614 : 624 : 640; D3 945/623 times as many rows as
//!   D1 has images, shared out as 307 : 318 : 320. A class that has more than its share keeps what it has. A class that the
//!   paper does not know counts as a third of the whole.
//! * Both sides of a class are augmented by the same factor; the paper's 284 test images are 30 % of D3.
//!
//! D3 has the copies of D2 with both views under the same draw; where it is larger than D2's pairs (the paper's 318 of 624 images)
//! it has a few further draws.

use super::manifest::{Manifest, PAPER_CLASSES, Row, seen_from};
use super::split::{PAPER_TRAIN_SHARE, Side, Split, split};
use crate::image::Image;
use crate::intake::picture;
use crate::intake::study::Cell;
use crate::prepare::{Augmentation, Draw, augment};
use crate::prepare::{Preprocessing, views};
use crate::random::{Purpose, shuffle, stream};
use crate::{Error, Result, files};
use osteon_kernels::par;
use serde::{Deserialize, Serialize};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

/// The manifest of a dataset's folder.
pub const MANIFEST: &str = "manifest.csv";
/// What it was made from: a [`Record`].
pub const RECORD: &str = "dataset.toml";
/// Where [`Dataset::materialise`] puts its pictures.
const PICTURES: &str = "pictures";

/// Images in Table 2, in the order of [`PAPER_CLASSES`].
const D1_IMAGES: [usize; 3] = [226, 237, 160];
const D2_IMAGES: [usize; 3] = [614, 624, 640];
const D3_IMAGES: [usize; 3] = [307, 318, 320];

/// Which of the paper's datasets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Single views.
    D1,
    /// D1 with augmented copies.
    D2,
    /// The views of D2 aggregated.
    D3,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::D1 => "d1",
            Kind::D2 => "d2",
            Kind::D3 => "d3",
        })
    }
}

/// What a dataset depends on beside its source.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Of subsampling, split and draws.
    pub seed: u64,
    /// Share of each class's patients that train.
    pub train_share: f64,
    /// How far copies are turned and moved.
    pub augmentation: Augmentation,
    /// Rows of the dataset by class, where they are not to follow the paper.
    pub counts: BTreeMap<String, usize>,
    /// Two classes: ADMet and nADMet become Met, when all else is done (paper: Table 8).
    pub merge_metastatic: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            seed: 1,
            train_share: PAPER_TRAIN_SHARE,
            augmentation: Augmentation::default(),
            counts: BTreeMap::new(),
            merge_metastatic: false,
        }
    }
}

/// A dataset that is not written yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Which.
    pub kind: Kind,
    /// Its rows, each with a side, under the path of the source.
    pub manifest: Manifest,
    /// What it was made with.
    pub options: Options,
    studies: usize,
}

/// `dataset.toml`: what was made from what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Of this file.
    pub format_version: u32,
    /// Of the program.
    pub version: String,
    /// That the program was built from.
    pub commit: String,
    /// Which of the paper's datasets.
    pub dataset: Kind,
    /// Of subsampling, split and draws.
    pub seed: u64,
    /// Share of each class's patients that train.
    pub train_share: f64,
    /// ADMet and nADMet are one class.
    pub merge_metastatic: bool,
    /// The copies' pixels are files.
    pub materialised: bool,
    /// How far copies are turned and moved.
    pub augmentation: Augmentation,
    /// The archive.
    pub source: Source,
    /// Counts that were asked for instead of the paper's.
    pub asked: BTreeMap<String, usize>,
    /// Rows by class.
    pub counts: BTreeMap<String, Counts>,
}

/// The manifest that a dataset was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its path, seen from the dataset's folder.
    pub manifest: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
    /// Its studies.
    pub studies: usize,
}

/// Rows of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// To train with.
    pub train: usize,
    /// To test with.
    pub test: usize,
}

const FORMAT_VERSION: u32 = 1;

/// A study of the source, with the views that D1 has of it.
struct Original {
    /// Its row in the source.
    number: usize,
    row: Row,
}

impl Original {
    fn views(&self) -> usize {
        self.row.cells().count()
    }
}

/// Makes a dataset of an archive. Reads no file: each cell stands for one image, so the frames of files with several must be named
/// ([`Manifest::with_frames_named`]).
///
/// # Errors
/// A manifest that is a dataset already; options out of range; a class that is asked for and not there, in a number that cannot
/// be; a class with too few patients to split; copies without a rotation or translation.
pub fn build(kind: Kind, source: &Manifest, options: &Options) -> Result<Dataset> {
    options.augmentation.check()?;
    if source.rows.iter().any(|row| row.side.is_some() || row.is_augmented()) {
        let problem = "is a dataset already: it has sides or draws";
        return Err(Error::file(&source.path, problem, "give the manifest that it was made from"));
    }
    for (class, count) in &options.counts {
        if !source.classes.contains(class) {
            let problem = format!("has no class {class}, of which {count} are asked for: its classes are ");
            return Err(Error::file(&source.path, problem + &source.classes.join(", "), "correct the counts"));
        }
    }
    let originals = originals(kind, source, options)?;
    let base = Manifest::new(&source.path, originals.iter().map(|original| original.row.clone()).collect())?;
    let split = split(&base, options.train_share, options.seed)?;
    split.check_classes(&base)?;

    let images = originals.iter().map(Original::views).sum();
    let mut rows: Vec<(usize, usize, Row)> = Vec::new(); // number in the source, copy, row
    for (index, class) in base.classes.iter().enumerate() {
        let of_class = |side: &[usize]| -> Vec<usize> {
            side.iter().copied().filter(|&original| originals[original].row.label == *class).collect()
        };
        let sides = [(Side::Train, of_class(&split.train)), (Side::Test, of_class(&split.test))];
        let units = |studies: &[usize]| match kind {
            Kind::D3 => studies.len(),
            _ => studies.iter().map(|&study| originals[study].views()).sum(),
        };
        let own = sides.each_ref().map(|(_, studies)| units(studies));
        let all = own[0] + own[1];
        let target = target(kind, class, &base.classes, images, all, options)?;
        let train = (target as f64 * own[0] as f64 / all as f64).round() as usize;
        for ((side, studies), target) in sides.into_iter().zip([train, target - train]) {
            let mut order = studies.clone();
            shuffle(&mut stream(Purpose::CopyOrder, options.seed, index as u64, side as u64), &mut order);
            let mut copies = Copies { options, path: &source.path, drawn: HashMap::new() };
            let mut made = 0;
            for place in 0.. {
                if made == target {
                    break;
                }
                let copy = place / studies.len();
                let study = if copy == 0 { studies[place] } else { order[place % studies.len()] };
                let Original { number, row } = &originals[study];
                let row = Row { side: Some(side), draw: copies.draw(*number, copy)?, ..row.clone() };
                let parts = if kind == Kind::D3 { vec![row] } else { single_views(row) };
                let room = target - made;
                made += parts.len().min(room);
                rows.extend(parts.into_iter().take(room).map(|row| (*number, copy, row)));
            }
        }
    }
    rows.sort_by_key(|&(number, copy, _)| (number, copy)); // stable: anterior first
    let manifest = Manifest::new(&source.path, rows.into_iter().map(|(_, _, row)| row).collect())?;
    let manifest = if options.merge_metastatic { manifest.merged()? } else { manifest };
    Ok(Dataset { kind, manifest, options: options.clone(), studies: source.rows.len() })
}

/// The draws of copies, by study: copy 0 is the scan as it is, and no two are the same.
struct Copies<'a> {
    options: &'a Options,
    path: &'a Path,
    drawn: HashMap<usize, Vec<Draw>>,
}

impl Copies<'_> {
    fn draw(&mut self, study: usize, copy: usize) -> Result<Draw> {
        let drawn = self.drawn.entry(study).or_insert_with(|| vec![Draw::default()]);
        for next in drawn.len()..=copy {
            let mut random = stream(Purpose::Copies, self.options.seed, study as u64, next as u64);
            // In hundredths, so that a table of them can be read.
            let hundredths = |value: f32| (value * 100.0).round() / 100.0;
            let attempts = std::iter::repeat_with(|| {
                let Draw { angle_deg, shift_rows_px, shift_columns_px } =
                    Draw::from_stream(&self.options.augmentation, &mut random);
                Draw {
                    angle_deg: hundredths(angle_deg),
                    shift_rows_px: hundredths(shift_rows_px),
                    shift_columns_px: hundredths(shift_columns_px),
                }
            });
            let Some(draw) = attempts.take(1000).find(|draw| !drawn.contains(draw)) else {
                let Augmentation { rotation_deg, translation_px } = self.options.augmentation;
                let limits = format!("a rotation of {rotation_deg} degrees and a translation of {translation_px} pixels at most");
                let problem = format!("needs {copy} copies of a scan, and {limits} give no such number of different ones");
                return Err(Error::file(self.path, problem, "allow more, or ask for fewer copies"));
            };
            drawn.push(draw);
        }
        Ok(drawn[copy])
    }
}

/// A study's rows with one view each.
fn single_views(row: Row) -> Vec<Row> {
    let Row { anterior, posterior, .. } = &row;
    let views = [(anterior.is_some(), (anterior.clone(), None)), (posterior.is_some(), (None, posterior.clone()))];
    let there = views.into_iter().filter_map(|(there, view)| there.then_some(view));
    there.map(|(anterior, posterior)| Row { anterior, posterior, ..row.clone() }).collect()
}

/// The studies of D1: all but what is too many of a class.
fn originals(kind: Kind, source: &Manifest, options: &Options) -> Result<Vec<Original>> {
    let images =
        |class: &str| -> usize { source.rows.iter().filter(|row| row.label == class).map(|row| row.cells().count()).sum() };
    let [no_metastasis, ..] = PAPER_CLASSES;
    let metastatic: Vec<usize> =
        source.classes.iter().filter(|class| *class != no_metastasis).map(|class| images(class)).collect();
    let mut originals = Vec::new();
    for (index, class) in source.classes.iter().enumerate() {
        let there = images(class);
        let asked = options.counts.get(class).filter(|_| kind == Kind::D1);
        if let Some(&asked) = asked.filter(|asked| !(1..=there).contains(*asked)) {
            let problem = format!("has {there} images of {class}, and {asked} are asked for");
            return Err(Error::file(&source.path, problem, format!("ask for 1 to {there}, or for copies in d2")));
        }
        let most = if class == no_metastasis && !metastatic.is_empty() {
            let mean = metastatic.iter().sum::<usize>() as f64 / metastatic.len() as f64;
            let [none, kinds @ ..] = D1_IMAGES;
            (mean * none as f64 * kinds.len() as f64 / kinds.iter().sum::<usize>() as f64).round().max(1.0) as usize
        } else {
            there
        };
        let mut left = asked.copied().unwrap_or(most.min(there));
        let mut order: Vec<usize> = (0..source.rows.len()).filter(|&row| source.rows[row].label == *class).collect();
        if left < there {
            shuffle(&mut stream(Purpose::Subsample, options.seed, index as u64, 0), &mut order);
        }
        let mut too_large = None;
        for number in order {
            let original = Original { number, row: source.rows[number].clone() };
            match left.checked_sub(original.views()) {
                Some(rest) => {
                    left = rest;
                    originals.push(original);
                }
                None => too_large = too_large.or(Some(original)),
            }
        }
        // One image is missing, and only studies of two views are left.
        if let (1, Some(Original { number, row })) = (left, too_large) {
            originals.push(Original { number, row: Row { posterior: None, ..row } });
        }
    }
    originals.sort_by_key(|original| original.number);
    Ok(originals)
}

/// How many rows of a class a dataset has; D1 had `images` of all classes and has `own` of it.
fn target(kind: Kind, class: &str, classes: &[String], images: usize, own: usize, options: &Options) -> Result<usize> {
    let table = match kind {
        Kind::D1 => return Ok(own),
        Kind::D2 => D2_IMAGES,
        Kind::D3 => D3_IMAGES,
    };
    if let Some(&asked) = options.counts.get(class) {
        if asked < own {
            let problem = format!("{class}={asked} is fewer than the {own} without copies");
            return Err(Error::setting(problem, format!("ask for {own} or more; only d1 leaves scans out")));
        }
        if asked > own.saturating_mul(MOST_COPIES) {
            let problem = format!("{class}={asked} is more than {MOST_COPIES} times the {own} without copies");
            return Err(Error::setting(problem, "ask for fewer"));
        }
        return Ok(asked);
    }
    let all = table.iter().sum::<usize>() as f64;
    let weight = |class: &str| {
        let known = PAPER_CLASSES.iter().position(|name| *name == class).map(|at| table[at] as f64);
        known.unwrap_or(all / table.len() as f64)
    };
    let factor = all / D1_IMAGES.iter().sum::<usize>() as f64;
    let weights: f64 = classes.iter().map(|class| weight(class)).sum();
    let share = images as f64 * factor * weight(class) / weights;
    Ok((share.round() as usize).clamp(own, own * MOST_COPIES))
}

/// More copies of a scan are no use: the paper has four.
const MOST_COPIES: usize = 100;

impl Dataset {
    /// Rows by class, in the manifest's order of classes.
    pub fn counts(&self) -> Vec<(String, Counts)> {
        counts(&self.manifest)
    }

    /// Writes `manifest.csv` and `dataset.toml` into a folder. Returns the manifest's path.
    ///
    /// # Errors
    /// The source cannot be read, or is what would be written over; the folder cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<PathBuf> {
        let folder = folder.as_ref();
        self.prepare(folder)?;
        self.put(folder, &self.manifest.moved_to(folder.join(MANIFEST))?, false)
    }

    /// As [`write`](Self::write), with the pixels of every row as a grey PNG of 16 bits below `pictures`. Its picture is what the loader
    /// makes of the row before it is resized, in whole counts: fused with the default preprocessing (the sum as the anterior view),
    /// turned and moved. A single posterior view stays unflipped, in its column. Counts beyond 16 bits make a picture be scaled down.
    /// The rows keep their draws and say that the files have them. Several are made at a time; `progress` hears how many are done.
    ///
    /// # Errors
    /// As [`write`](Self::write); scans that cannot be read or fused.
    pub fn materialise(&self, folder: impl AsRef<Path>, progress: &dyn Fn(usize)) -> Result<PathBuf> {
        /// Pictures made at a time by all threads together.
        const GROUP: usize = 16;
        let folder = folder.as_ref();
        self.prepare(folder)?;
        files::create_folder(folder.join(PICTURES))?;
        let mut rows = Vec::with_capacity(self.manifest.rows.len());
        for (group, sources) in self.manifest.rows.chunks(GROUP).enumerate() {
            let mut made: Vec<Result<Row>> = sources.iter().map(|row| Ok(row.clone())).collect();
            par::chunks_mut(&mut made, 1, |at, row| {
                let name = format!("{PICTURES}/{:05}.png", group * GROUP + at + 1);
                row[0] = write_picture(&sources[at], folder.join(name));
            });
            for row in made {
                rows.push(row?);
            }
            progress(rows.len());
        }
        self.put(folder, &Manifest::new(folder.join(MANIFEST), rows)?, true)
    }

    /// Makes the folder, and refuses the one that the source is in.
    fn prepare(&self, folder: &Path) -> Result<()> {
        files::create_folder(folder)?;
        let same = |path: &Path| path.canonicalize().ok();
        let target = folder.join(MANIFEST);
        if same(&target).is_some() && same(&target) == same(&self.manifest.path) {
            return Err(Error::file(&target, "is what the dataset is made from", "choose another output folder"));
        }
        Ok(())
    }

    /// The manifest last: it stands for a whole dataset.
    fn put(&self, folder: &Path, manifest: &Manifest, materialised: bool) -> Result<PathBuf> {
        let source = &self.manifest.path;
        let record = Record {
            format_version: FORMAT_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("OSTEON_COMMIT").to_owned(),
            dataset: self.kind,
            seed: self.options.seed,
            train_share: self.options.train_share,
            merge_metastatic: self.options.merge_metastatic,
            materialised,
            augmentation: self.options.augmentation,
            source: Source {
                manifest: seen_from(source, folder)?,
                sha256: files::sha256(&files::read(source)?),
                studies: self.studies,
            },
            asked: self.options.counts.clone(),
            counts: self.counts().into_iter().collect(),
        };
        let text = toml::to_string(&record).map_err(|error| {
            Error::file(folder.join(RECORD), format!("cannot be made ({error})"), "choose a seed below 2^63 and paths in UTF-8")
        })?;
        files::write(folder.join(RECORD), text.as_bytes())?;
        manifest.write()?;
        Ok(manifest.path.clone())
    }
}

/// Makes the picture of a row and returns the row that names it.
fn write_picture(row: &Row, path: PathBuf) -> Result<Row> {
    let fused = views::fuse(&row.read()?, &Preprocessing::default())?;
    let mut image = augment::apply(&fused.image, &row.pending_draw());
    let posterior = row.anterior.is_none();
    if posterior {
        image.pixels.chunks_exact_mut(image.columns).for_each(<[f32]>::reverse);
    }
    let Image { rows, columns, pixels } = &image;
    let most = pixels.iter().copied().fold(0.0, f32::max);
    let scale = if most > 65535.0 { 65535.0 / most } else { 1.0 };
    let counts: Vec<u16> = pixels.iter().map(|count| (count * scale).round() as u16).collect(); // saturates
    picture::write_gray16(&path, *rows, *columns, &counts)?;
    let cell = Some(Cell { path, frame: None });
    let (anterior, posterior) = if posterior { (None, cell) } else { (cell, None) };
    Ok(Row { anterior, posterior, drawn: true, ..row.clone() })
}

/// Rows by class of a manifest whose rows have sides, in its order of classes.
pub fn counts(manifest: &Manifest) -> Vec<(String, Counts)> {
    let of = |class: &String| {
        let on = |side| manifest.rows.iter().filter(|row| row.label == *class && row.side == Some(side)).count();
        (class.clone(), Counts { train: on(Side::Train), test: on(Side::Test) })
    };
    manifest.classes.iter().map(of).collect()
}

/// What [`check`] found on each side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Rows by class.
    pub counts: Vec<(String, Counts)>,
    /// Patients who train and who test.
    pub patients: [usize; 2],
    /// Files that train and that test.
    pub files: [usize; 2],
    /// Rows that are scans as they are.
    pub scans: [usize; 2],
    /// Rows that are augmented copies.
    pub copies: [usize; 2],
}

impl fmt::Display for Check {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Check { patients, files, scans, copies, .. } = self;
        let side = |side: usize| {
            let [patients, files, scans, copies] = [patients, files, scans, copies].map(|count| count[side]);
            format!("{patients} patients, {files} files, {scans} scans as they are and {copies} copies")
        };
        write!(f, "train: {}; test: {}; no patient, no file and no copy is on both sides", side(0), side(1))
    }
}

/// Reads a written dataset back and proves that nothing is on both sides: no patient, no file by whatever name, no bytes of a file,
/// no copy of a scan; that both sides have every class; and that the counts are those of its record.
///
/// # Errors
/// One sentence about the first leak or difference; a folder that is no dataset.
pub fn check(folder: impl AsRef<Path>) -> Result<Check> {
    let folder = folder.as_ref();
    let record = read_record(folder)?;
    let manifest = Manifest::read(folder.join(MANIFEST))?;
    let refuse = |problem: String| Error::file(&manifest.path, problem, "make the dataset anew");
    let split = Split::of_sides(&manifest).ok_or_else(|| refuse("has no column side".to_owned()))?;
    split.check(&manifest)?;
    split.check_classes(&manifest)?;

    let mut patients: BTreeMap<&str, Side> = BTreeMap::new();
    let mut files: BTreeMap<PathBuf, Side> = BTreeMap::new();
    let mut contents: HashMap<String, (PathBuf, Side)> = HashMap::new();
    let mut scans: HashMap<(PathBuf, Option<usize>), Side> = HashMap::new();
    let mut known: BTreeMap<&Path, PathBuf> = BTreeMap::new();
    for row in &manifest.rows {
        let side = row.side.ok_or_else(|| refuse("has a row without a side".to_owned()))?;
        if *patients.entry(&row.patient).or_insert(side) != side {
            return Err(refuse(format!("has patient {} on both sides", row.patient)));
        }
        for cell in row.cells() {
            if let Entry::Vacant(entry) = known.entry(&*cell.path) {
                let place = cell.path.canonicalize().map_err(|error| Error::io(&cell.path, "found", &error))?;
                let hash = files::sha256(&files::read_at_most(&place, crate::dicom::MAX_FILE_BYTES)?);
                let (other, other_side) = contents.entry(hash).or_insert_with(|| (place.clone(), side));
                if *other_side != side {
                    let names = [&cell.path, other].map(|path| path.display().to_string());
                    return Err(refuse(format!("has the same bytes on both sides, in {} and {}", names[0], names[1])));
                }
                entry.insert(place);
            }
            let place = &known[&*cell.path];
            if *files.entry(place.clone()).or_insert(side) != side {
                return Err(refuse(format!("has the file {} on both sides", cell.path.display())));
            }
            if *scans.entry((place.clone(), cell.frame)).or_insert(side) != side {
                return Err(refuse(format!("has copies of the scan {cell} on both sides")));
            }
        }
    }
    let found = counts(&manifest);
    if found.iter().cloned().collect::<BTreeMap<_, _>>() != record.counts {
        return Err(refuse(format!("has other numbers of rows than {RECORD} says")));
    }
    let both = |count: &dyn Fn(Side) -> usize| [count(Side::Train), count(Side::Test)];
    let rows = |augmented: bool, side| {
        manifest.rows.iter().filter(|row| row.side == Some(side) && row.is_augmented() == augmented).count()
    };
    Ok(Check {
        patients: both(&|side| patients.values().filter(|of| **of == side).count()),
        files: both(&|side| files.values().filter(|of| **of == side).count()),
        scans: both(&|side| rows(false, side)),
        copies: both(&|side| rows(true, side)),
        counts: found,
    })
}

/// Reads the record of the dataset in a folder.
///
/// # Errors
/// There is none, or it is not one that this program reads.
pub fn read_record(folder: &Path) -> Result<Record> {
    let path = folder.join(RECORD);
    if !path.is_file() {
        let problem = format!("is not the folder of a dataset (it has no {RECORD})");
        return Err(Error::file(folder, problem, "give the --output folder of `osteon dataset`"));
    }
    let refused = |problem: String| Error::file(&path, problem, "make the dataset anew");
    let text = String::from_utf8(files::read_at_most(&path, 1 << 20)?).map_err(|_| refused("is not text".to_owned()))?;
    let record: Record =
        toml::from_str(&text).map_err(|error| refused(format!("is no record of a dataset ({})", error.message())))?;
    if record.format_version != FORMAT_VERSION {
        let problem = format!("has version {}, and this program reads {FORMAT_VERSION}", record.format_version);
        return Err(refused(problem));
    }
    Ok(record)
}

/// Numbers by class as a flag writes them: `NoMet=614,ADMet=624`.
///
/// # Errors
/// What is not of that form.
pub fn parse_counts(text: &str) -> Result<BTreeMap<String, usize>> {
    let refuse =
        |part: &str| Error::setting(format!("--counts has `{part}`"), "write CLASS=NUMBER,CLASS=NUMBER, each class once");
    let mut counts = BTreeMap::new();
    for part in text.split(',') {
        let (class, count) = part.split_once('=').ok_or_else(|| refuse(part))?;
        let count = count.trim().parse().ok().filter(|count| *count > 0).ok_or_else(|| refuse(part))?;
        if counts.insert(class.trim().to_owned(), count).is_some() {
            return Err(refuse(part));
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phantom::{self, PhantomOptions};
    use crate::prepare::loader::{Batch, Loader, LoaderOptions};
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::fs;

    /// The paper's archive: 506 patients with a study each, 1011 images, of which 614 are NoMet, 237 ADMet and 160 nADMet. One patient
    /// of ADMet has one view.
    fn paper() -> String {
        let mut table = String::from("patient,anterior,posterior,label\n");
        for patient in 0..506 {
            let label = match patient {
                0..307 => "NoMet",
                307..426 => "ADMet",
                _ => "nADMet",
            };
            let posterior = if patient == 400 { String::new() } else { format!("s/{patient}-b.png") };
            table += &format!("p{patient},s/{patient}-a.png,{posterior},{label}\n");
        }
        table
    }

    fn manifest(text: &str) -> Manifest {
        Manifest::from_bytes("archive/manifest.csv", text.as_bytes()).unwrap()
    }

    fn totals(dataset: &Dataset) -> Vec<usize> {
        dataset.counts().iter().map(|(_, counts)| counts.train + counts.test).collect()
    }

    /// No patient, scan or copy of `manifest` on both sides, found in another way than [`check`]'s.
    fn no_leak(manifest: &Manifest) {
        let on = |side, of: &dyn Fn(&Row) -> Vec<String>| -> BTreeSet<String> {
            manifest.rows.iter().filter(|row| row.side == Some(side)).flat_map(of).collect()
        };
        for of in [
            &|row: &Row| vec![row.patient.clone()] as _,
            &|row: &Row| row.cells().map(Cell::to_string).collect(),
            &|row: &Row| row.files().map(|file| file.display().to_string()).collect(),
        ] as [&dyn Fn(&Row) -> Vec<String>; 3]
        {
            let [train, test] = [Side::Train, Side::Test].map(|side| on(side, of));
            assert!(!train.is_empty() && !test.is_empty() && train.is_disjoint(&test));
        }
    }

    #[test]
    fn the_papers_archive_gives_table_2() {
        let archive = manifest(&paper());
        assert_eq!(archive.rows.iter().map(|row| row.cells().count()).sum::<usize>(), 1011);
        for seed in [1, 2, 3] {
            let options = Options { seed, ..Options::default() };
            for (kind, expected) in [(Kind::D1, [226, 237, 160]), (Kind::D2, [614, 624, 640]), (Kind::D3, [307, 318, 320])] {
                let dataset = build(kind, &archive, &options).unwrap();
                assert_eq!(dataset.manifest.classes, PAPER_CLASSES);
                assert_eq!(totals(&dataset), expected, "{kind}");
                no_leak(&dataset.manifest);
                for (class, counts) in dataset.counts() {
                    let share = counts.train as f64 / (counts.train + counts.test) as f64;
                    assert!((share - 0.7).abs() < 0.02, "{kind} {class}: {counts:?}");
                }
                assert_eq!(dataset, build(kind, &archive, &options).unwrap());
            }
            // Table 8.
            let options = Options { merge_metastatic: true, ..options };
            let two = build(Kind::D3, &archive, &options).unwrap();
            assert_eq!((&two.manifest.classes[..], totals(&two)), (&["NoMet".to_owned(), "Met".to_owned()][..], vec![307, 638]));
        }
        let test: usize =
            build(Kind::D3, &archive, &Options::default()).unwrap().counts().iter().map(|(_, counts)| counts.test).sum();
        assert!(test.abs_diff(284) <= 4, "{test} test images, the paper's are 284");
    }

    #[test]
    fn the_three_have_the_same_sides_scans_and_draws() {
        let archive = manifest(&paper());
        let [d1, d2, d3] =
            [Kind::D1, Kind::D2, Kind::D3].map(|kind| build(kind, &archive, &Options::default()).unwrap().manifest);
        let sides = |manifest: &Manifest| -> BTreeMap<String, Side> {
            manifest.rows.iter().map(|row| (row.patient.clone(), row.side.unwrap())).collect()
        };
        assert_eq!(sides(&d1), sides(&d2));
        assert_eq!(sides(&d1), sides(&d3));
        assert!(d1.rows.iter().all(|row| !row.is_augmented() && row.cells().count() == 1));
        assert!(d2.rows.iter().all(|row| row.cells().count() == 1));
        // The scans of D2 that are as they are are D1.
        let plain: Vec<&Row> = d2.rows.iter().filter(|row| !row.is_augmented()).collect();
        assert_eq!(plain, d1.rows.iter().collect::<Vec<_>>());
        // A copy in D3 is two views of D2 with one draw, but for the few in which the paper's numbers differ.
        let key = |cell: &Cell, row: &Row| format!("{cell} {:?}", row.draw);
        let of_d2: BTreeSet<String> = d2.rows.iter().flat_map(|row| row.cells().map(|cell| key(cell, row))).collect();
        let strangers = d3.rows.iter().filter(|row| row.cells().any(|cell| !of_d2.contains(&key(cell, row)))).count();
        assert!(strangers <= 14, "{strangers} of {}", d3.rows.len());
        assert!(d3.rows.iter().all(|row| row.cells().count() == 2 || row.patient == "p400"));
        // Copies are within their limits, and readable.
        for Draw { angle_deg, shift_rows_px, shift_columns_px } in d2.rows.iter().map(|row| row.draw) {
            assert!(angle_deg.abs() <= 5.0 && shift_rows_px.abs() <= 6.0 && shift_columns_px.abs() <= 6.0);
            assert!(angle_deg.to_string().len() <= 5, "{angle_deg}");
        }
        let other = build(Kind::D2, &archive, &Options { seed: 2, ..Options::default() }).unwrap().manifest;
        assert_ne!(sides(&d2), sides(&other));
    }

    /// An archive of `counts` patients of NoMet, ADMet and nADMet, two views each.
    fn archive(counts: [usize; 3]) -> String {
        let mut table = String::from("patient,anterior,posterior,label\n");
        for (label, count) in PAPER_CLASSES.iter().zip(counts) {
            for patient in 0..count {
                table += &format!("{label}{patient},{label}{patient}.dcm#1,{label}{patient}.dcm#2,{label}\n");
            }
        }
        table
    }

    #[test]
    fn other_archives_follow_the_rules() {
        let totals = |counts, kind| totals(&build(kind, &manifest(&archive(counts)), &Options::default()).unwrap());
        // Balanced: nothing is left out, and all grow alike.
        assert_eq!(totals([20, 20, 20], Kind::D1), [40, 40, 40]);
        assert_eq!(totals([20, 20, 20], Kind::D2), [118, 120, 123]);
        assert_eq!(totals([20, 20, 20], Kind::D3), [59, 61, 62]);
        // NoMet prevails: as in the paper.
        assert_eq!(totals([300, 20, 20], Kind::D1), [46, 40, 40]);
        // ADMet prevails: the others grow to its size.
        assert_eq!(totals([10, 100, 10], Kind::D2), [237, 240, 247]);
        assert_eq!(totals([4, 200, 4], Kind::D3), [205, 212, 214]);
        assert_eq!(totals([2, 2, 2], Kind::D1), [4, 4, 4]);
        let two = manifest(&archive([30, 10, 0]));
        assert_eq!(super::tests::totals(&build(Kind::D1, &two, &Options::default()).unwrap()), [23, 20]);
        // With one view each, a class that has more than its share keeps what it has.
        let mut single = manifest(&archive([9, 90, 9]));
        single.rows.iter_mut().for_each(|row| row.posterior = None);
        assert_eq!(super::tests::totals(&build(Kind::D3, &single, &Options::default()).unwrap()), [53, 90, 55]);
    }

    #[test]
    fn counts_can_be_asked_for() {
        let source = manifest(&archive([20, 20, 20]));
        let with =
            |kind, text: &str| build(kind, &source, &Options { counts: parse_counts(text).unwrap(), ..Options::default() });
        assert_eq!(totals(&with(Kind::D1, "NoMet=15,nADMet=4").unwrap()), [15, 40, 4]);
        assert_eq!(totals(&with(Kind::D2, "NoMet=41, ADMet = 400").unwrap()), [41, 400, 123]);
        assert_eq!(totals(&with(Kind::D3, "NoMet=20").unwrap())[0], 20);
        for (kind, text, problem) in [
            (Kind::D1, "NoMet=41", "has 40 images of NoMet, and 41 are asked for"),
            (Kind::D2, "NoMet=39", "NoMet=39 is fewer than the 40 without copies"),
            (Kind::D3, "NoMet=9999", "NoMet=9999 is more than 100 times the 20"),
            (Kind::D3, "Met=9", "has no class Met"),
            (Kind::D1, "NoMet=1", "leaves no study of NoMet to"),
        ] {
            let message = with(kind, text).unwrap_err().to_string();
            assert!(message.contains(problem) && !message.contains('\n'), "{message}");
        }
        for text in ["", "NoMet", "NoMet=", "NoMet=x", "NoMet=0", "NoMet=1,NoMet=2", "NoMet=-1"] {
            assert!(parse_counts(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_made_is_one_sentence() {
        let options = Options::default();
        let message = |table: &str, options: &Options| build(Kind::D2, &manifest(table), options).unwrap_err().to_string();
        assert!(message(&archive([9, 9, 1]), &options).contains("leaves no study of nADMet to t"));
        assert!(message(&archive([9, 0, 0]), &options).contains("has the one class NoMet"));
        assert!(
            message(&archive([9, 9, 9]), &Options { train_share: 1.0, ..options.clone() }).contains("share for training is 1")
        );
        let still = Options { augmentation: Augmentation::NONE, ..options.clone() };
        assert!(message(&archive([9, 9, 9]), &still).contains("give no such number of different ones; allow more"));
        let wild = Options { augmentation: Augmentation { rotation_deg: f32::NAN, translation_px: 1.0 }, ..options.clone() };
        assert!(message(&archive([9, 9, 9]), &wild).contains("rotation_deg is NaN"));
        let made = build(Kind::D1, &manifest(&archive([9, 9, 9])), &options).unwrap().manifest;
        let again = build(Kind::D2, &made, &options).unwrap_err().to_string();
        assert!(again.contains("is a dataset already"), "{again}");
        let merged = Options { merge_metastatic: true, ..options };
        let other = message(&archive([0, 9, 9]), &merged);
        assert!(other.contains("do not merge into NoMet and Met"), "{other}");
    }

    /// Phantoms, and a manifest in which every sixth has lost a view: one is there for each column.
    fn phantoms() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let made = PhantomOptions { studies: 18, rows: 128, columns: 32, ..Default::default() };
        let path = phantom::write(&made, folder.path().join("phantoms"), &|_| ()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let odd = text.replace("studies/0003.dcm#1,studies/0003.dcm#2", "studies/0003.dcm#1,");
        // A whole file of both views, and the posterior one of a whole file.
        let odd = odd.replace("studies/0005.dcm#1,studies/0005.dcm#2", "studies/0005.dcm,");
        fs::write(&path, odd.replace("studies/0009.dcm#1,studies/0009.dcm#2", ",studies/0009.dcm")).unwrap();
        (folder, path)
    }

    #[test]
    fn nothing_is_on_both_sides_of_what_is_written() {
        let (folder, path) = phantoms();
        let source = Manifest::read(&path).unwrap().with_frames_named().unwrap();
        assert_eq!(source.rows.iter().map(|row| row.cells().count()).sum::<usize>(), 34);
        for kind in [Kind::D1, Kind::D2, Kind::D3] {
            let dataset = build(kind, &source, &Options::default()).unwrap();
            let target = folder.path().join("sets").join(kind.to_string());
            let written = dataset.write(&target).unwrap();
            let manifest = Manifest::read(&written).unwrap();
            no_leak(&manifest);
            let found = check(&target).unwrap();
            assert_eq!(found.counts, dataset.counts());
            assert_eq!(found.patients[0] + found.patients[1], 18);
            assert_eq!(found.scans.iter().chain(&found.copies).sum::<usize>(), manifest.rows.len());
            assert_eq!(found.copies[0] > 0, kind != Kind::D1);
            let text = fs::read_to_string(&written).unwrap();
            assert!(text.contains("../../phantoms/studies/0001.dcm#1") && !text.contains(folder.path().to_str().unwrap()));
            let record = read_record(&target).unwrap();
            assert_eq!((record.dataset, record.source.studies, record.seed), (kind, 18, 1));
            assert_eq!(record.source.manifest, Path::new("../../phantoms/manifest.csv"));
            assert_eq!(record.source.sha256, files::sha256(&fs::read(&path).unwrap()));
            let moved: Vec<_> = manifest.rows.iter().map(|row| (&row.patient, row.side, row.draw, &row.label)).collect();
            let built: Vec<_> = dataset.manifest.rows.iter().map(|row| (&row.patient, row.side, row.draw, &row.label)).collect();
            assert_eq!(moved, built);
        }
        let over = build(Kind::D1, &source, &Options::default()).unwrap().write(folder.path().join("phantoms"));
        assert!(over.unwrap_err().to_string().contains("is what the dataset is made from"));
    }

    #[test]
    fn a_leak_is_found() {
        let (folder, path) = phantoms();
        let source = Manifest::read(&path).unwrap().with_frames_named().unwrap();
        let target = folder.path().join("d2");
        let written = build(Kind::D2, &source, &Options::default()).unwrap().write(&target).unwrap();
        let text = fs::read_to_string(&written).unwrap();
        let message = |text: &str| {
            fs::write(&written, text).unwrap();
            check(&target).unwrap_err().to_string()
        };
        let rows: Vec<&str> = text.lines().skip(1).collect();
        let [train, test] = ["train", "test"].map(|side| rows.iter().find(|row| row.contains(&format!(",{side},"))).unwrap());
        // A row of a training patient among the tests.
        assert!(message(&text.replacen(train, &train.replace(",train,", ",test,"), 1)).contains("is on the side t"));
        // A copy of a training scan under a test patient's name.
        let patient = |row: &str| row.split(',').next().unwrap().to_owned();
        let disguised = train.replace(&patient(train), &patient(test)).replace(",train,", ",test,");
        assert!(message(&format!("{text}{disguised}\n")).contains("under two"));
        // The same file by another name, and as a copy of its bytes.
        let file = train.split(',').find(|cell| cell.contains(".dcm")).unwrap().split('#').next().unwrap();
        let real = target.join(file);
        fs::copy(&real, target.join("copy.dcm")).unwrap();
        assert!(
            message(&format!("{text}{}\n", disguised.replace(file, "copy.dcm"))).contains("has the same bytes on both sides")
        );
        let around = file.replace("../phantoms", "../d2/../phantoms");
        assert!(message(&format!("{text}{}\n", disguised.replace(file, &around))).contains("on both sides"));
        // A row that is lost.
        assert!(
            message(&text.replacen(&format!("{train}\n"), "", 1)).contains("has other numbers of rows than dataset.toml says")
        );
        let sideless = message("patient,anterior,posterior,label\n1,copy.dcm#1,,NoMet\n");
        assert!(sideless.contains("has no column side"), "{sideless}");
        fs::write(&written, &text).unwrap();
        check(&target).unwrap();
        fs::write(target.join(RECORD), "x = 1").unwrap();
        assert!(check(&target).unwrap_err().to_string().contains("is no record of a dataset"));
        assert!(check(folder.path()).unwrap_err().to_string().contains("is not the folder of a dataset"));
    }

    /// The network's inputs of every row.
    fn inputs(manifest: &Manifest) -> Vec<Vec<f32>> {
        const SIZE: [usize; 2] = [64, 32];
        let all = (0..manifest.rows.len()).collect();
        let options = LoaderOptions::evaluation(SIZE, 8);
        let loader = Loader::of_manifest(manifest, &manifest.classes, all, &Preprocessing::default(), options).unwrap();
        let batches: Vec<Batch> = loader.epoch(0).collect::<Result<_>>().unwrap();
        batches.iter().flat_map(|batch| batch.images.chunks(SIZE[0] * SIZE[1]).map(<[f32]>::to_vec)).collect()
    }

    #[test]
    fn materialised_pictures_are_what_is_drawn_on_the_fly() {
        let (folder, path) = phantoms();
        let source = Manifest::read(&path).unwrap().with_frames_named().unwrap();
        for kind in [Kind::D1, Kind::D2, Kind::D3] {
            let dataset = build(kind, &source, &Options::default()).unwrap();
            let [fly, files] = ["fly", "files"].map(|name| folder.path().join(format!("{kind}-{name}")));
            let drawn = Manifest::read(dataset.write(&fly).unwrap()).unwrap();
            let written = Manifest::read(dataset.materialise(&files, &|_| ()).unwrap()).unwrap();
            check(&files).unwrap();
            assert!(written.rows.iter().all(|row| row.drawn && row.cells().count() == 1));
            let augmented = |manifest: &Manifest| manifest.rows.iter().map(Row::is_augmented).collect::<Vec<_>>();
            assert_eq!(augmented(&drawn), augmented(&written));
            let [one, two] = [&drawn, &written].map(inputs);
            assert_eq!(one.len(), dataset.manifest.rows.len());
            for (at, (one, two)) in one.iter().zip(&two).enumerate() {
                // Pictures hold whole counts, and those of a hot bladder at this size are scaled to fit 16 bits.
                let mean = one.iter().zip(two).map(|(a, b)| (a - b).abs()).sum::<f32>() / one.len() as f32;
                assert!(mean < 1e-3, "{kind} row {at}: {mean}");
            }
            // Copies differ from their scan, and the views of a study from each other.
            let copies: BTreeSet<Vec<u32>> =
                one.iter().map(|input| input.iter().map(|value| value.to_bits()).collect()).collect();
            assert_eq!(copies.len(), one.len(), "{kind}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Patients with several studies of several classes, one view or two.
        #[test]
        fn no_archive_leaks(
            studies in prop::collection::vec((0usize..30, 0usize..2, 0usize..3), 4..90), seed: u64, share in 0.2f64..0.8,
        ) {
            let mut table = String::from("patient,anterior,posterior,label\n");
            for (at, (patient, class, views)) in studies.iter().enumerate() {
                let (front, back) = (format!("{at}a.png"), format!("{at}b.png"));
                let cells = [format!("{front},{back}"), format!("{front},"), format!(",{back}")];
                table += &format!("p{patient},{},{}\n", cells[*views], PAPER_CLASSES[*class]);
            }
            let source = manifest(&table);
            let options = Options { seed, train_share: share, ..Options::default() };
            for kind in [Kind::D1, Kind::D2, Kind::D3] {
                match build(kind, &source, &options) {
                    Err(error) => prop_assert!(error.to_string().contains("; "), "{error}"),
                    Ok(dataset) => {
                        no_leak(&dataset.manifest);
                        let scans = dataset.manifest.rows.iter().filter(|row| !row.is_augmented()).count();
                        prop_assert!(scans > 0 && scans <= 2 * studies.len());
                    }
                }
            }
        }
    }
}
