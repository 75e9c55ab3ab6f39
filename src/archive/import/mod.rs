//! Public archives to ordinary manifests. Two are of whole-body bone scans and have two classes, NoMet and Met, and a study a patient;
//! MedMNIST's have pictures of other kinds.
//!
//! Of the bone scans only names, label files and the first bytes of pictures are read here; what is in the pictures is
//! [`crate::intake::picture`]'s. Whatever cannot be used is left out and reported with its reason; no file name makes it panic.

mod bs80k;
mod medmnist;
mod zenodo;

pub use bs80k::bs80k;
pub use medmnist::{MEDMNIST_FILES, Pictures, medmnist};
pub use zenodo::zenodo;

use super::manifest::{METASTATIC, Manifest, PAPER_CLASSES, Row};
use crate::image::View;
use crate::intake::study::Cell;
use crate::intake::{checks, picture};
use crate::text::Shown;
use crate::text::guard;
use crate::{Error, Result, dicom, files};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

const NO_METASTASIS: &str = PAPER_CLASSES[0];

/// Folders deeper than this are no archive's.
const MAX_DEPTH: usize = 8;
/// A label file or an annotation is smaller.
const MAX_TEXT: u64 = 16 << 20;

/// What an archive holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// A study a patient, named for the path that was asked for; not written yet.
    pub manifest: Manifest,
    /// Boxes that physicians drew.
    pub boxes: Vec<Hotspot>,
    /// What was left out.
    pub skipped: Skipped,
    /// Studies whose views are labelled differently; they count as metastatic.
    pub disagreements: usize,
    /// How many pictures were looked at for being black on white, and what they are.
    pub polarity: Polarity,
}

/// Whether an archive's pictures are black on white, by a sample of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Polarity {
    /// Pictures that were looked at: at most 64, spread over the archive.
    pub sampled: usize,
    /// Those that are black on white.
    pub black_on_white: usize,
}

/// Pictures looked at in an archive: a second's work.
const SAMPLE: usize = 64;

impl Polarity {
    /// Looks at a sample of the pictures. One that cannot be read is not counted: reading it tells what is wrong.
    fn of(pictures: &[&Path]) -> Polarity {
        let every = pictures.len().div_ceil(SAMPLE).max(1);
        let read = pictures.iter().step_by(every).filter_map(|path| picture::read(path).ok());
        read.fold(Polarity::default(), |Polarity { sampled, black_on_white }, image| Polarity {
            sampled: sampled + 1,
            black_on_white: black_on_white + usize::from(checks::is_inverted(&image)),
        })
    }

    /// Whether the archive is black on white: nine in ten of its pictures are.
    pub fn is_inverted(self) -> bool {
        self.sampled > 0 && 10 * self.black_on_white >= 9 * self.sampled
    }
}

impl fmt::Display for Polarity {
    /// `64 of 64 pictures looked at are black on white: the manifest says so in the column inverted`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Polarity { sampled, black_on_white } = self;
        let are = if *black_on_white == 1 { "is" } else { "are" };
        write!(f, "{black_on_white} of {sampled} pictures looked at {are} black on white: ")?;
        match (self.is_inverted(), black_on_white) {
            (true, _) => f.write_str("the manifest says so in the column inverted"),
            (false, 0) => f.write_str("hot is bright"),
            (false, _) => {
                f.write_str("write yes in the manifest's column inverted for the studies that are, which reading them names")
            }
        }
    }
}

/// A box around a spot of uptake, in pixels of its view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hotspot {
    /// Its patient in the manifest.
    pub patient: String,
    /// Its view.
    pub view: View,
    /// `Normal` or `Abnormal`, as the archive says.
    pub label: String,
    /// Left, top, right and bottom.
    pub bounds: [u32; 4],
}

/// What was left out, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped(BTreeMap<&'static str, Vec<String>>);

impl Skipped {
    fn add(&mut self, reason: &'static str, what: impl fmt::Display) {
        let what = what.to_string().replace(char::is_control, "\u{fffd}");
        self.0.entry(reason).or_default().push(what);
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

impl fmt::Display for Skipped {
    /// One sentence: `left out 3: a.txt, b.txt (no PNG or JPEG picture); c.png (no class in its path)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        write!(f, "left out {}: ", self.count())?;
        for (at, (reason, names)) in self.0.iter().enumerate() {
            let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = names.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            write!(f, "{}{shown}{more} ({reason})", if at > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

/// Studies under way, by patient.
#[derive(Default)]
struct Studies {
    of: BTreeMap<String, Found>,
    skipped: Skipped,
}

#[derive(Default)]
struct Found {
    /// Anterior and posterior: the file, and whether it is labelled metastatic.
    views: [Option<(PathBuf, bool)>; 2],
}

impl Studies {
    /// Adds a picture as a view of its patient, if a manifest can name it.
    fn put(&mut self, patient: String, view: View, path: PathBuf, metastatic: bool) {
        let writable = |text: &str| !text.is_empty() && text == text.trim() && !text.contains(char::is_control);
        let named = path.to_str().is_some_and(writable) && writable(&patient);
        if !named {
            return self.skipped.add("name that a manifest cannot hold", path.shown());
        }
        if !picture::is_picture(&path) {
            return self.skipped.add("no PNG or JPEG picture", path.shown());
        }
        let slot = &mut self.of.entry(patient).or_default().views[usize::from(view == View::Posterior)];
        match slot {
            Some(_) => self.skipped.add("second picture of a view", path.shown()),
            None => *slot = Some((path, metastatic)),
        }
    }

    /// The manifest at `output`, without pictures that two patients have.
    fn finish(mut self, folder: &Path, output: &Path) -> Result<Imported> {
        // 2 before 10.
        let mut of: Vec<(String, Found)> = std::mem::take(&mut self.of).into_iter().collect();
        of.sort_by(|(one, _), (other, _)| (one.len(), one).cmp(&(other.len(), other)));
        let mut owner: HashMap<String, String> = HashMap::new();
        let mut disagreements = 0;
        let mut rows = Vec::new();
        for (patient, found) in of {
            let mut doubled = false;
            for (path, _) in found.views.iter().flatten() {
                let hash = files::sha256(&files::read_at_most(path, dicom::MAX_FILE_BYTES)?);
                doubled |= *owner.entry(hash).or_insert_with(|| patient.clone()) != patient;
            }
            if doubled {
                self.skipped.add("patient with a picture that another patient has too", &patient);
                continue;
            }
            let labels: Vec<bool> = found.views.iter().flatten().map(|(_, metastatic)| *metastatic).collect();
            disagreements += usize::from(labels.iter().any(|label| *label != labels[0]));
            let label = if labels.contains(&true) { METASTATIC } else { NO_METASTASIS };
            let [anterior, posterior] = found.views.map(|view| view.map(|(path, _)| Cell { path, frame: None }));
            rows.push(Row::new(&patient, anterior, posterior, label));
        }
        if rows.is_empty() {
            let skipped = if self.skipped.count() > 0 { format!(" ({})", self.skipped) } else { String::new() };
            let problem = format!("holds no study that can be read{skipped}");
            return Err(Error::file(folder, problem, "give the folder that the archive was unpacked to"));
        }
        let pictures: Vec<&Path> = rows.iter().flat_map(Row::files).collect();
        let polarity = Polarity::of(&pictures);
        rows.iter_mut().for_each(|row| row.inverted = polarity.is_inverted());
        let manifest = Manifest::new(output, rows)?.moved_to(output)?;
        Ok(Imported { manifest, boxes: Vec::new(), skipped: self.skipped, disagreements, polarity })
    }
}

/// The boxes as a table: `patient,view,label,left,top,right,bottom`, in pixels.
pub fn boxes_csv(boxes: &[Hotspot]) -> Vec<u8> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let mut write = |cells: [&str; 7]| table.write_record(cells).expect("seven cells each, written to memory");
    write(["patient", "view", "label", "left", "top", "right", "bottom"]);
    for Hotspot { patient, view, label, bounds } in boxes {
        let [left, top, right, bottom] = bounds.map(|side| side.to_string());
        write([&guard(patient), &view.to_string(), &guard(label), &left, &top, &right, &bottom]);
    }
    table.into_inner().expect("written to memory")
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error| Error::io(folder, "read", &error);
    let paths: Result<Vec<PathBuf>> =
        fs::read_dir(folder).map_err(unreadable)?.map(|entry| entry.map(|entry| entry.path()).map_err(unreadable)).collect();
    let mut paths = paths?;
    paths.retain(|path| !path.file_name().is_some_and(files::is_temporary));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests;
