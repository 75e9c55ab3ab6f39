//! Paths of a manifest seen from another folder.

use super::{Manifest, Row};
use crate::intake::study::Cell;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{self, Component, Path, PathBuf};

impl Manifest {
    /// The same table for a file at another `path`, in a folder that exists. Files are named relative to that folder, also where
    /// they lie elsewhere, so that a dataset and its scans can be moved together.
    ///
    /// # Errors
    /// The folder cannot be found.
    pub fn moved_to(&self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut seen: BTreeMap<&Path, PathBuf> = BTreeMap::new();
        for file in self.rows.iter().flat_map(Row::files) {
            let parent = file.parent().unwrap_or(Path::new(""));
            if let Entry::Vacant(entry) = seen.entry(parent) {
                entry.insert(seen_from(parent, folder)?);
            }
        }
        let change = |cell: &Cell| {
            let parent = &seen[cell.path.parent().unwrap_or(Path::new(""))];
            let name = cell.path.file_name().map_or_else(|| parent.clone(), |name| parent.join(name));
            Cell { path: folder.join(name), frame: cell.frame }
        };
        let rows = self.rows.iter().map(|row| row.with_cells(change)).collect();
        Ok(Manifest { path: path.to_owned(), rows, classes: self.classes.clone(), seen: self.seen.clone() })
    }
}

/// The path of a file or folder relative to a folder that exists; absolute where there is no such path.
pub(in crate::archive) fn seen_from(path: &Path, folder: &Path) -> Result<PathBuf> {
    let here = |path: &Path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
    let (path, folder) = (here(path), here(folder));
    let from = folder.canonicalize().map_err(|error| Error::io(&folder, "found", &error))?;
    // What is not there cannot be a link.
    let to = path.canonicalize().or_else(|_| path::absolute(&path)).map_err(|error| Error::io(&path, "found", &error))?;
    Ok(relative(&to, &from).unwrap_or(to))
}

/// `path` relative to the folder `from`, both absolute; `None` where there is no such path (another drive).
fn relative(path: &Path, from: &Path) -> Option<PathBuf> {
    let common = path.components().zip(from.components()).take_while(|(one, other)| one == other).count();
    if common == 0 {
        return None;
    }
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    Some(up.chain(path.components().skip(common)).collect())
}
