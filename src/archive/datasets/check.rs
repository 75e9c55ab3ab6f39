//! The proof, on what was written, that training and test have nothing in common.

use super::{Counts, DatasetRecord, MANIFEST, RECORD, counts, read_record};
use crate::archive::manifest::Manifest;
use crate::archive::side::Side;
use crate::archive::split::Split;
use crate::text::{Shown, counted};
use crate::{Error, Result, dicom, files, interrupt};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

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
            format!(
                "{}, {}, {} without a change and {}",
                counted(patients, "patient"),
                counted(files, "file"),
                counted(scans, "scan"),
                counted(copies, "copy")
            )
        };
        write!(f, "train: {}; test: {}; no patient, no file and no copy is on both sides", side(0), side(1))
    }
}

/// Reads a written dataset back and proves that nothing is on both sides: no patient, no file by whatever name, no bytes of a
/// file, no copy of a scan; that both sides have every class; and that counts, manifest and every file are those of its record.
///
/// # Errors
/// One sentence about the first leak or difference; a folder that is no dataset.
pub fn check(folder: impl AsRef<Path>) -> Result<Check> {
    let folder = folder.as_ref();
    let record = read_record(folder)?;
    prove(&Manifest::read_known(folder.join(MANIFEST))?, &record, &Path::to_owned)
}

/// The proof of [`check`] on a manifest and its record; `now` says where a file is.
pub(super) fn prove(manifest: &Manifest, record: &DatasetRecord, now: &dyn Fn(&Path) -> PathBuf) -> Result<Check> {
    let refuse = |problem: String| Error::file(&manifest.path, problem, "make the dataset anew");
    let split = Split::of_sides(manifest).ok_or_else(|| refuse("has no column side".to_owned()))?;
    split.check(manifest)?;
    split.check_classes(manifest)?;

    let mut patients: BTreeMap<&str, Side> = BTreeMap::new();
    let mut files: BTreeMap<PathBuf, Side> = BTreeMap::new();
    let mut contents: HashMap<String, (PathBuf, Side)> = HashMap::new();
    let mut scans: HashMap<(PathBuf, Option<usize>), Side> = HashMap::new();
    let mut known: BTreeMap<&Path, PathBuf> = BTreeMap::new();
    let mut hashes: BTreeMap<String, String> = BTreeMap::new();
    for row in &manifest.rows {
        interrupt::check()?;
        let side = row.side.ok_or_else(|| refuse("has a row without a side".to_owned()))?;
        if *patients.entry(&row.patient).or_insert(side) != side {
            return Err(refuse(format!("has patient {} on both sides", row.patient)));
        }
        for cell in row.cells() {
            if let Entry::Vacant(entry) = known.entry(&*cell.path) {
                let real = now(&cell.path).canonicalize().map_err(|error| Error::io(&cell.path, "found", &error))?;
                let hash = files::sha256(&files::read_at_most(&real, dicom::MAX_FILE_BYTES)?);
                hashes.insert(manifest.name_of(&cell.path), hash.clone());
                let (other, other_side) = contents.entry(hash).or_insert_with(|| (real.clone(), side));
                if *other_side != side {
                    let names = [&cell.path, other].map(|path| path.shown());
                    return Err(refuse(format!("has the same bytes on both sides, in {} and {}", names[0], names[1])));
                }
                entry.insert(real);
            }
            let real = &known[&*cell.path];
            if *files.entry(real.clone()).or_insert(side) != side {
                return Err(refuse(format!("has the file {} on both sides", cell.path.shown())));
            }
            if *scans.entry((real.clone(), cell.frame)).or_insert(side) != side {
                return Err(refuse(format!("has copies of the scan {cell} on both sides")));
            }
        }
    }
    let found = counts(manifest);
    if found.iter().cloned().collect::<BTreeMap<_, _>>() != record.counts {
        return Err(refuse(format!("has other numbers of rows than {RECORD} says")));
    }
    if let Some((name, _)) = record.files.iter().find(|(name, hash)| hashes.get(*name) != Some(*hash)) {
        return Err(refuse(format!("names {name}, which is not the file that the dataset was made with")));
    }
    // A record from before hashes were kept has none.
    let table = record.manifest_sha256.is_some().then(|| Ok(files::sha256(&manifest.to_csv()?))).transpose()?;
    if record.manifest_sha256.as_ref().is_some_and(|hash| table.as_ref() != Some(hash)) {
        return Err(refuse(format!("is not the one that {RECORD} was written with")));
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
