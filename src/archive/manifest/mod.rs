//! The table of patients, their files and their labels: `patient,anterior,posterior,label`, one study a row, so that any
//! archive is one text file away.
//!
//! A cell is the path of a DICOM file or a picture, relative to the manifest; `scan.dcm#1` is the first frame of a file.
//! `posterior` may be empty: then the study is one view, or a file of both whose view codes tell them apart. `anterior` may be
//! empty: then the study is its posterior view. Reading checks the table and that the files are there; what is in them is
//! [`crate::intake::study`]'s.
//!
//! Datasets ([`super::datasets`]) have more columns, each of which may be missing: `side` (`train`, `validation` or `test`)
//! says what a row is for; `rotation_deg`, `shift_rows_px` and `shift_columns_px` are a [`Transform`] of the fused picture, applied whenever it is
//! read (empty is 0), so that copies of a scan need no pixels of their own; `drawn` is `yes` where the file's pixels are
//! transformed already. `report` is the text of the diagnostic report, in one line. `simulated` is the version of the
//! simulator where the study is a phantom, not a patient; `yes` is simulator 1. `inverted` is `yes` where the study's pictures are black on white.

//!
//! A table of a department has other names for its columns ([`ColumnNames`]) and what its spreadsheet made of it: see [`Manifest::read`].

mod checks;
mod header;
mod likeness;
mod moved;
mod sheet;
mod table;

pub use header::ColumnNames;
pub(in crate::archive) use moved::seen_from;
pub use table::{Classes, ReadOptions, Reading, Survey};

use super::seen::Seen;
use super::side::Side;
use crate::intake::Study;
use crate::intake::study::{self, Cell, RowOptions};
use crate::models::{SimulatorVersion, Simulators, StudyCounts};
use crate::prepare::Transform;
use crate::{Error, Result, interrupt};
use std::path::{Path, PathBuf};

/// The classes of the paper, in its order; a manifest's other labels follow in alphabetical order.
pub const PAPER_CLASSES: [&str; 3] = ["NoMet", "ADMet", "nADMet"];

/// The class of a metastatic study where its kind is not known.
pub const METASTATIC: &str = "Met";

/// One study, or an augmented copy of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Who: studies of one patient are never on both sides of a split.
    pub patient: String,
    /// The anterior view, or a file that holds both.
    pub anterior: Option<Cell>,
    /// The posterior view. One of the two is there.
    pub posterior: Option<Cell>,
    /// The class.
    pub label: String,
    /// The side that the manifest puts it on: all of its rows have one, or none.
    pub side: Option<Side>,
    /// How the fused picture is turned and moved; the identity leaves it as it is.
    pub transform: Transform,
    /// The files' pixels are turned and moved already.
    pub drawn: bool,
    /// The diagnostic report, where the manifest holds it.
    pub report: Option<String>,
    /// The simulator of a phantom; `None` of a patient. Manifests from before this column name their phantoms' patients
    /// `phantom-...`.
    pub simulated: Option<SimulatorVersion>,
    /// The study's pictures are black on white.
    pub inverted: bool,
}

impl Row {
    /// A study on no side, as it is.
    pub fn new(patient: &str, anterior: Option<Cell>, posterior: Option<Cell>, label: &str) -> Self {
        let (patient, label) = (patient.to_owned(), label.to_owned());
        Row {
            patient,
            anterior,
            posterior,
            label,
            side: None,
            transform: Transform::default(),
            drawn: false,
            report: None,
            simulated: None,
            inverted: false,
        }
    }

    /// Reads its scans as they are in the files.
    ///
    /// # Errors
    /// As [`study::read_manifest_row`].
    pub fn read(&self) -> Result<Study> {
        study::read_manifest_row(
            self.anterior.as_ref(),
            self.posterior.as_ref(),
            RowOptions { inverted: self.inverted, is_checked: false },
        )
    }

    /// As [`read`](Self::read), of a scan that nobody has looked at: what is no whole-body bone scan is refused, unless `any_image`.
    ///
    /// # Errors
    /// As [`study::read_manifest_row`].
    pub fn read_checked(&self, any_image: bool) -> Result<Study> {
        let options = RowOptions { inverted: self.inverted, is_checked: !any_image };
        study::read_manifest_row(self.anterior.as_ref(), self.posterior.as_ref(), options)
    }

    /// How its fused picture is still to be turned and moved.
    pub fn pending_transform(&self) -> Transform {
        if self.drawn { Transform::default() } else { self.transform }
    }

    /// Whether it is a copy that was turned or moved.
    pub fn is_augmented(&self) -> bool {
        self.transform != Transform::default()
    }

    /// The files of its scans, anterior first.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.cells().map(|cell| &*cell.path)
    }

    /// Its one or two cells, anterior first.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.anterior.iter().chain(&self.posterior)
    }

    /// The same with other cells: `change` of each.
    pub(super) fn with_cells(&self, change: impl Fn(&Cell) -> Cell) -> Row {
        let [anterior, posterior] = [&self.anterior, &self.posterior].map(|cell| cell.as_ref().map(&change));
        Row { anterior, posterior, ..self.clone() }
    }
}

/// A checked table of studies; at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The file, for messages.
    pub path: PathBuf,
    /// One study each, in the file's order.
    pub rows: Vec<Row>,
    /// The classes that occur: [`PAPER_CLASSES`] first, then others by name.
    pub classes: Vec<String>,
    /// What a look at the scans has told; empty where nobody looked.
    pub seen: Seen,
}

impl Manifest {
    /// A manifest of rows made by a program; everything but the existence of files is checked.
    ///
    /// The same patient may have scans of two classes where a disease can take that course: none before, metastasis later.
    /// But lung cancer has one kind, so a patient under both ADMet and nADMet is an error. Of other labels nothing is known, and
    /// a patient may have any.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn new(path: impl AsRef<Path>, rows: Vec<Row>) -> Result<Self> {
        let path = path.as_ref();
        checks::check(path, &rows, |row| format!("row {}", row + 1), &mut Err)?;
        Ok(Manifest::of(path, rows))
    }

    /// Of rows that were checked.
    fn of(path: &Path, rows: Vec<Row>) -> Self {
        Manifest { path: path.to_owned(), classes: classes_of(&rows), rows, seen: Seen::default() }
    }

    /// The person that a row's patient is, as far as is known: two pseudonyms may be one person's.
    pub fn person(&self, row: usize) -> &str {
        self.seen.person(&self.rows[row].patient)
    }

    /// With what is known of the scans of another manifest of the same patients.
    pub fn with_seen(self, seen: &Seen) -> Self {
        Manifest { seen: seen.clone(), ..self }
    }

    /// How many studies these rows are, and how many of them are simulated.
    pub fn study_counts(&self, rows: impl IntoIterator<Item = usize>) -> StudyCounts {
        let of = |row: usize| {
            let simulators: Simulators = self.rows[row].simulated.into_iter().collect();
            StudyCounts { studies: 1, simulated_studies: (!simulators.is_empty()).into(), simulators }
        };
        rows.into_iter().map(of).sum()
    }

    /// Each row's label as an index into `classes`, which may be this manifest's or a model's.
    ///
    /// # Errors
    /// A label that `classes` lacks.
    pub fn labels(&self, classes: &[String]) -> Result<Vec<u32>> {
        let index = |row: &Row| {
            classes.iter().position(|class| *class == row.label).map(|at| at as u32).ok_or_else(|| {
                let problem = format!("has the label {} but the classes are {}", row.label, classes.join(", "));
                Error::file(&self.path, problem, "correct the label, or use a model that was trained with it")
            })
        };
        self.rows.iter().map(index).collect()
    }

    /// The same studies in two classes (paper: Table 8): every label but NoMet becomes [`METASTATIC`].
    ///
    /// # Errors
    /// There is no NoMet, or nothing else.
    pub fn merged(&self) -> Result<Self> {
        if !self.classes.iter().any(|class| class == PAPER_CLASSES[0]) || self.classes.len() < 2 {
            let problem = format!("has the classes {}, which do not merge into NoMet and Met", self.classes.join(", "));
            return Err(Error::file(&self.path, problem, "give one with NoMet and a kind of metastasis"));
        }
        let merge = |row: &Row| match row.label == PAPER_CLASSES[0] {
            true => row.clone(),
            false => Row { label: METASTATIC.to_owned(), ..row.clone() },
        };
        Ok(Manifest::new(&self.path, self.rows.iter().map(merge).collect())?.with_seen(&self.seen))
    }

    /// The same with the frame of every view named (`scan.dcm#1`) where a file has several, so that each cell is one image.
    ///
    /// # Errors
    /// A file that cannot be read, or as [`study::read_manifest_row`].
    pub fn with_frames_named(&self) -> Result<Self> {
        let name = |row: &Row| {
            interrupt::check()?;
            let [anterior, posterior] = study::named_frames(row.anterior.as_ref(), row.posterior.as_ref())?;
            Ok(Row { anterior, posterior, ..row.clone() })
        };
        Ok(Manifest::new(&self.path, self.rows.iter().map(name).collect::<Result<_>>()?)?.with_seen(&self.seen))
    }

    /// A file as the manifest names it: relative to the manifest where it is in or below its folder.
    pub fn name_of(&self, path: &Path) -> String {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        path.strip_prefix(folder).unwrap_or(path).display().to_string()
    }

    /// A cell as the manifest names it.
    pub fn name_of_cell(&self, cell: &Cell) -> String {
        let name = self.name_of(&cell.path);
        cell.frame.map_or(name.clone(), |frame| format!("{name}#{frame}"))
    }
}

/// The labels of rows: [`PAPER_CLASSES`] first, then others by name.
fn classes_of(rows: &[Row]) -> Vec<String> {
    let mut labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
    labels.sort_unstable();
    labels.dedup();
    let known = PAPER_CLASSES.into_iter().filter(|class| labels.contains(class));
    let other = labels.iter().copied().filter(|label| !PAPER_CLASSES.contains(label));
    known.chain(other).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
