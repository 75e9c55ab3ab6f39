//! A dataset in its folder: the manifest, the record of what it was made from, and perhaps its pixels.

use super::check::prove;
use super::record::{DatasetRecord, FORMAT_VERSION, SourceManifest};
use super::{Check, Dataset, MANIFEST, PICTURES, RECORD};
use crate::archive::manifest::{Manifest, Row, seen_from};
use crate::files::{Output, Staging};
use crate::image::Image;
use crate::intake::picture;
use crate::intake::study::Cell;
use crate::prepare::{Preprocessing, augment, views};
use crate::{Error, Result, dicom, files, interrupt};
use osteon_kernels::par;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

/// Makes a picture for each row; called with how many are done.
type Progress<'a> = Option<&'a dyn Fn(usize)>;

impl Dataset {
    /// Writes `manifest.csv` and `dataset.toml` into a folder, once they have passed [`check`](super::check). Returns the manifest's path.
    ///
    /// # Errors
    /// The source cannot be read, or is what would be written over; what [`check`](super::check) finds; the folder cannot be written. It
    /// is then as it was before.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<PathBuf> {
        self.put(Output::replacing(folder.as_ref()), None).map(|(path, _)| path)
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
        self.put(Output::replacing(folder.as_ref()), Some(progress)).map(|(path, _)| path)
    }

    /// Writes the dataset, all of it or nothing, with pictures where there is a `progress` to tell of them.
    pub(crate) fn put(&self, output: Output, progress: Progress) -> Result<(PathBuf, Check)> {
        let folder = output.path().to_owned();
        self.refuse_sources(&folder)?;
        let staging = Staging::new(output)?.without(vec![PICTURES.to_owned()]);
        let target = folder.join(MANIFEST);
        let manifest = match progress {
            None => self.manifest.moved_to(&target)?,
            Some(progress) => Manifest::new(&target, self.draw(&staging, progress)?)?,
        };
        let own = folder.join(PICTURES);
        // Where a file is as long as the dataset is not in its place.
        let now =
            |path: &Path| path.strip_prefix(&own).map_or_else(|_| path.to_owned(), |name| staging.file(PICTURES).join(name));
        let table = manifest.to_csv()?;
        let mut record = self.record(&folder, progress.is_some())?;
        record.manifest_sha256 = Some(files::sha256(&table));
        record.files = hashes(&manifest, &now)?;
        let found = prove(&manifest, &record, &now)?;
        staging.write(MANIFEST, &table)?;
        let text = toml::to_string(&record).map_err(|error| {
            Error::file(folder.join(RECORD), format!("cannot be made ({error})"), "choose a seed below 2^63 and paths in UTF-8")
        })?;
        staging.write(RECORD, text.as_bytes())?;
        staging.commit(MANIFEST)?;
        Ok((target, found))
    }

    /// Makes the pictures and returns the rows that name them.
    fn draw(&self, staging: &Staging, progress: &dyn Fn(usize)) -> Result<Vec<Row>> {
        /// Pictures made at a time by all threads together.
        const GROUP: usize = 16;
        staging.create_folder(PICTURES)?;
        let mut rows = Vec::with_capacity(self.manifest.rows.len());
        for (group, sources) in self.manifest.rows.chunks(GROUP).enumerate() {
            let mut made: Vec<Result<Row>> = sources.iter().map(|row| Ok(row.clone())).collect();
            par::chunks_mut(&mut made, 1, |at, row| {
                let name = format!("{PICTURES}/{:05}.png", group * GROUP + at + 1);
                let written = staging.named(write_picture(&sources[at], &staging.file(&name)));
                row[0] = written.map(|cells| cells(staging.target(name)));
            });
            for row in made {
                rows.push(row?);
            }
            progress(rows.len());
        }
        Ok(rows)
    }

    /// Refuses a folder whose files the source is made of.
    fn refuse_sources(&self, folder: &Path) -> Result<()> {
        let real = |path: &Path| path.canonicalize().ok();
        let refuse = |path: &Path| Err(Error::file(path, "is what the dataset is made from", "choose another output folder"));
        let target = folder.join(MANIFEST);
        if real(&target).is_some() && real(&target) == real(&self.manifest.path) {
            return refuse(&target);
        }
        let Some(pictures) = real(&folder.join(PICTURES)) else { return Ok(()) };
        match self
            .manifest
            .rows
            .iter()
            .flat_map(Row::files)
            .find(|file| real(file).is_some_and(|file| file.starts_with(&pictures)))
        {
            Some(file) => refuse(file),
            None => Ok(()),
        }
    }

    fn record(&self, folder: &Path, materialised: bool) -> Result<DatasetRecord> {
        let source = &self.manifest.path;
        Ok(DatasetRecord {
            format_version: FORMAT_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("OSTEON_COMMIT").to_owned(),
            dataset: self.kind,
            seed: self.options.seed,
            train_share: self.options.train_share,
            merge_metastatic: self.options.merge_metastatic,
            materialised,
            manifest_sha256: None,
            augmentation: self.options.augmentation,
            source: SourceManifest {
                manifest: seen_from(source, folder)?,
                sha256: files::sha256(&files::read(source)?),
                studies: self.studies,
            },
            asked: self.options.counts.clone(),
            counts: self.counts().into_iter().collect(),
            files: BTreeMap::new(),
        })
    }
}

/// SHA-256 of every file that a manifest names, as it names them; `now` says where a file is.
pub(super) fn hashes(manifest: &Manifest, now: &dyn Fn(&Path) -> PathBuf) -> Result<BTreeMap<String, String>> {
    let mut hashes = BTreeMap::new();
    for path in manifest.rows.iter().flat_map(Row::files) {
        interrupt::check()?;
        if let Entry::Vacant(hash) = hashes.entry(manifest.name_of(path)) {
            hash.insert(files::sha256(&files::read_at_most(now(path), dicom::MAX_FILE_BYTES)?));
        }
    }
    Ok(hashes)
}

/// Makes the picture of a row. Returns the row that names it, once its name is known.
fn write_picture<'a>(row: &'a Row, path: &Path) -> Result<impl FnOnce(PathBuf) -> Row + use<'a>> {
    interrupt::check()?;
    let fused = views::fuse(&row.read()?, &Preprocessing::default())?;
    let mut image = augment::apply(&fused.image, &row.pending_transform());
    let posterior = row.anterior.is_none();
    if posterior {
        image.mirror();
    }
    let Image { rows, columns, pixels } = &image;
    let most = pixels.iter().copied().fold(0.0, f32::max);
    let scale = if most > 65535.0 { 65535.0 / most } else { 1.0 };
    let counts: Vec<u16> = pixels.iter().map(|count| (count * scale).round() as u16).collect(); // saturates
    picture::write_gray16(path, *rows, *columns, &counts)?;
    Ok(move |path| {
        let cell = Some(Cell { path, frame: None });
        let (anterior, posterior) = if posterior { (None, cell) } else { (cell, None) };
        Row { anterior, posterior, drawn: true, inverted: false, ..row.clone() }
    })
}
