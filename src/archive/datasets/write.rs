//! A dataset in its folder: the manifest, the record of what it was made from, and perhaps its pixels.

use super::{Counts, Dataset, DatasetKind, MANIFEST, RECORD};
use crate::archive::manifest::{Manifest, Row, seen_from};
use crate::image::Image;
use crate::intake::picture;
use crate::intake::study::Cell;
use crate::prepare::{Augmentation, Preprocessing, augment, views};
use crate::{Error, Result, files, interrupt};
use osteon_kernels::par;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where [`Dataset::materialise`] puts its pictures.
const PICTURES: &str = "pictures";

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
    /// How far copies are turned and moved.
    pub augmentation: Augmentation,
    /// The archive.
    pub source: SourceManifest,
    /// Counts that were asked for instead of the paper's.
    pub asked: BTreeMap<String, usize>,
    /// Rows by class.
    pub counts: BTreeMap<String, Counts>,
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

const FORMAT_VERSION: u32 = 1;

impl Dataset {
    /// Writes `manifest.csv` and `dataset.toml` into a folder. Returns the manifest's path.
    ///
    /// # Errors
    /// The source cannot be read, or is what would be written over; the folder cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<PathBuf> {
        let folder = folder.as_ref();
        self.prepare(folder)?;
        self.put(folder, &self.manifest.moved_to(folder.join(MANIFEST))?, false)
    }

    /// As [`write`](Self::write), with the pixels of every row as a grey PNG of 16 bits below `pictures`. Its picture is what the
    /// loader makes of the row before it is resized, in whole counts: fused with the default preprocessing (the sum as the
    /// anterior view), turned and moved. A single posterior view stays unflipped, in its column. Counts beyond 16 bits make a
    /// picture be scaled down. The rows keep their transforms and say that the files have them. Several are made at a time;
    /// `progress` is called with how many are done.
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
        let record = DatasetRecord {
            format_version: FORMAT_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("OSTEON_COMMIT").to_owned(),
            dataset: self.kind,
            seed: self.options.seed,
            train_share: self.options.train_share,
            merge_metastatic: self.options.merge_metastatic,
            materialised,
            augmentation: self.options.augmentation,
            source: SourceManifest {
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
    interrupt::check()?;
    let fused = views::fuse(&row.read()?, &Preprocessing::default())?;
    let mut image = augment::apply(&fused.image, &row.pending_transform());
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
    let text = String::from_utf8(files::read_at_most(&path, 1 << 20)?).map_err(|_| refused("is not text".to_owned()))?;
    let record: DatasetRecord =
        toml::from_str(&text).map_err(|error| refused(format!("is no record of a dataset ({})", error.message())))?;
    if record.format_version != FORMAT_VERSION {
        let problem = format!("has version {}, and this program reads {FORMAT_VERSION}", record.format_version);
        return Err(refused(problem));
    }
    Ok(record)
}
