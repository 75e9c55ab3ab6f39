//! The table of patients, their files and their labels: `patient,anterior,posterior,label`, one study a row, so that any
//! archive is one text file away.
//!
//! A cell is the path of a DICOM file or a picture, relative to the manifest; `scan.dcm#1` is the first frame of a file.
//! `posterior` may be empty: then the study is one view, or a file of both whose view codes tell them apart. `anterior` may be
//! empty: then the study is its posterior view. Reading checks the table and that the files are there; what is in them is
//! [`crate::intake::study`]'s.
//!
//! Datasets ([`super::datasets`]) have more columns, each of which may be missing: `side` (`train` or `test`) says which rows
//! train; `rotation_deg`, `shift_rows_px` and `shift_columns_px` are a [`Draw`] that the fused picture gets whenever it is read
//! (empty is 0), so that copies of a scan need no pixels of their own; `drawn` is `yes` where the file's pixels have it already.
//! `report` is the text of the diagnostic report, in one line.

use super::split::{Side, Split};
use crate::dicom;
use crate::intake::Study;
use crate::intake::study::{self, Cell};
use crate::prepare::{Augmentation, Draw};
use crate::{Error, Result, files};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{self, Component, Path, PathBuf};

/// The classes of the paper, in its order; a manifest's other labels follow in alphabetical order.
pub const PAPER_CLASSES: [&str; 3] = ["NoMet", "ADMet", "nADMet"];

/// A larger file is no table of studies: this is half a million rows.
const MAX_BYTES: u64 = 64 << 20;

/// The columns that every manifest has.
const COLUMNS: [&str; 4] = ["patient", "anterior", "posterior", "label"];
const HEADER: &str = "patient,anterior,posterior,label";
/// The columns that may be there.
const OPTIONAL: [&str; 6] = ["side", "rotation_deg", "shift_rows_px", "shift_columns_px", "drawn", "report"];

/// The class of a metastatic study where it is not told of which kind.
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
    pub draw: Draw,
    /// The files' pixels have the draw already.
    pub drawn: bool,
    /// The diagnostic report, where the manifest holds it.
    pub report: Option<String>,
}

impl Row {
    /// A study on no side, as it is.
    pub fn new(patient: &str, anterior: Option<Cell>, posterior: Option<Cell>, label: &str) -> Self {
        let (patient, label) = (patient.to_owned(), label.to_owned());
        Row { patient, anterior, posterior, label, side: None, draw: Draw::default(), drawn: false, report: None }
    }

    /// Reads its scans, without the draw.
    ///
    /// # Errors
    /// As [`study::read_manifest_row`].
    pub fn read(&self) -> Result<Study> {
        study::read_manifest_row(self.anterior.as_ref(), self.posterior.as_ref())
    }

    /// The draw that its fused picture is still to get.
    pub fn pending_draw(&self) -> Draw {
        if self.drawn { Draw::default() } else { self.draw }
    }

    /// Whether it is a copy that was turned or moved.
    pub fn is_augmented(&self) -> bool {
        self.draw != Draw::default()
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
}

impl Manifest {
    /// Reads and checks a manifest. Paths come back joined to the manifest's folder.
    ///
    /// # Errors
    /// One sentence naming file and line: not UTF-8 or CSV; a column unknown, missing or there twice; a row of another length;
    /// an empty patient or label, or no scan; a missing file; a scan that is listed twice under two patients or labels, or with
    /// one draw; a side or draw that is none; a patient on both sides, or under two kinds of metastasis (see [`Manifest::new`]);
    /// no row.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Manifest::parse(path, &files::read_at_most(path, MAX_BYTES)?, Path::exists)
    }

    /// The manifest that a file of these bytes at `path` is; that the files it names exist is not checked.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        Manifest::parse(path.as_ref(), bytes, |_| true)
    }

    fn parse(path: &Path, bytes: &[u8], exists: impl Fn(&Path) -> bool) -> Result<Self> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(Error::file(path, "is not UTF-8 text", "save it as CSV in UTF-8"));
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text); // as Excel begins its files
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
        let not_csv = |error: csv::Error| {
            Error::file(path, format!("is not CSV ({error})"), "write it with a spreadsheet or as UTF-8 text")
        };
        let header = reader.headers().map_err(not_csv)?;
        let (columns, optional, width) = (columns(path, header)?, optional_columns(path, header)?, header.len());

        let folder = path.parent().unwrap_or(Path::new(""));
        let (mut rows, mut lines) = (Vec::new(), Vec::new());
        for record in reader.records() {
            let record = record.map_err(not_csv)?;
            // A record's position is before the blank lines above it.
            let line = record.position().map_or(0, |position| {
                let blank = text.bytes().skip(position.byte() as usize).take_while(|byte| matches!(byte, b'\r' | b'\n'));
                position.line() as usize + blank.filter(|byte| *byte == b'\n').count()
            });
            if record.iter().any(|cell| cell.contains(char::is_control)) {
                let problem = format!("line {line} has a cell with a line break or another control character");
                return Err(Error::file(path, problem, "remove it; an open quote may have swallowed a line"));
            }
            if record.len() != width {
                let problem = format!("line {line} has {} cells instead of {width}", record.len());
                return Err(Error::file(path, problem, "write one study a line, and quote a cell that holds a comma"));
            }
            let [patient, anterior, posterior, label] = columns.map(|column| record.get(column).unwrap_or_default());
            for (name, cell) in [("patient", patient), ("anterior", anterior), ("label", label)] {
                if cell.is_empty() && (name != "anterior" || posterior.is_empty()) {
                    let remedy = match name {
                        "patient" => "write the patient's pseudonym, so that a split can keep patients apart",
                        "label" => "write the study's class, or remove the line",
                        _ => "write the path of the scan, or remove the line",
                    };
                    return Err(Error::file(path, format!("line {line} has an empty {name}"), remedy));
                }
            }
            let scan = |cell: &str| -> Result<Cell> {
                let Ok(scan) = cell.parse::<Cell>() else {
                    let problem = format!("line {line} names `{cell}`, but no file has such a frame");
                    return Err(Error::file(path, problem, "count frames from 1, as in file.dcm#1"));
                };
                let scan = scan.within(folder);
                if !exists(&scan.path) {
                    let problem = format!("line {line} names {}, which does not exist", scan.path.display());
                    return Err(Error::file(path, problem, "correct the path; it is relative to the manifest"));
                }
                Ok(scan)
            };
            let [anterior, posterior] = [anterior, posterior].map(|cell| (!cell.is_empty()).then(|| scan(cell)).transpose());
            let row = Row::new(patient, anterior?, posterior?, label);
            rows.push(with_optional(
                path,
                line,
                row,
                optional.map(|column| column.map(|at| record.get(at).unwrap_or_default())),
            )?);
            lines.push(line);
        }
        Manifest::checked(path, rows, |row| format!("line {}", lines[row]))
    }

    /// A manifest of rows made by a program; everything but the existence of files is checked.
    ///
    /// The same patient may have scans of two classes where a disease can take that course: none before, metastasis later.
    /// But lung cancer has one kind, so a patient under both ADMet and nADMet is an error. Of other labels nothing is known, and
    /// a patient may have any.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn new(path: impl AsRef<Path>, rows: Vec<Row>) -> Result<Self> {
        Manifest::checked(path.as_ref(), rows, |row| format!("row {}", row + 1))
    }

    fn checked(path: &Path, rows: Vec<Row>, place: impl Fn(usize) -> String) -> Result<Self> {
        if rows.is_empty() {
            return Err(Error::file(path, "lists no study", format!("write one study a line below the header {HEADER}")));
        }
        refuse_repeated_scans(path, &rows, &place)?;
        refuse_two_kinds(path, &rows, &place)?;
        refuse_two_sides(path, &rows, &place)?;
        let mut labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
        labels.sort_unstable();
        labels.dedup();
        let known = PAPER_CLASSES.into_iter().filter(|class| labels.contains(class));
        let other = labels.iter().copied().filter(|label| !PAPER_CLASSES.contains(label));
        let classes = known.chain(other).map(str::to_owned).collect();
        Ok(Manifest { path: path.to_owned(), rows, classes })
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
        Manifest::new(&self.path, self.rows.iter().map(merge).collect())
    }

    /// The same with the side of a split on every row.
    ///
    /// # Errors
    /// As [`Split::check`]; a row that is on no side, or for validation, which no manifest tells.
    pub fn with_sides(&self, split: &Split) -> Result<Self> {
        split.check(self)?;
        let mut rows = self.rows.clone();
        rows.iter_mut().for_each(|row| row.side = None);
        for (side, on) in [(Side::Train, &split.train), (Side::Test, &split.test)] {
            on.iter().for_each(|&row| rows[row].side = Some(side));
        }
        if rows.iter().any(|row| row.side.is_none()) {
            return Err(Error::file(&self.path, "has rows that the split puts on no side", "split it again"));
        }
        Manifest::new(&self.path, rows)
    }

    /// The same with the frame of every view named (`scan.dcm#1`) where a file has several, so that each cell is one image.
    ///
    /// # Errors
    /// A file that cannot be read, or as [`study::read_manifest_row`].
    pub fn with_frames_named(&self) -> Result<Self> {
        let name = |row: &Row| {
            let [anterior, posterior] = study::named_frames(row.anterior.as_ref(), row.posterior.as_ref())?;
            Ok(Row { anterior, posterior, ..row.clone() })
        };
        Manifest::new(&self.path, self.rows.iter().map(name).collect::<Result<_>>()?)
    }

    /// The same table for a file at another `path`, in a folder that exists. Files are named relative to that folder, also where
    /// they lie elsewhere, so that a dataset and its scans can be moved together.
    ///
    /// # Errors
    /// The folder cannot be found.
    pub fn moved_to(&self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut places: BTreeMap<&Path, PathBuf> = BTreeMap::new();
        for file in self.rows.iter().flat_map(Row::files) {
            let parent = file.parent().unwrap_or(Path::new(""));
            if let Entry::Vacant(place) = places.entry(parent) {
                place.insert(seen_from(parent, folder)?);
            }
        }
        let change = |cell: &Cell| {
            let place = &places[cell.path.parent().unwrap_or(Path::new(""))];
            let name = cell.path.file_name().map_or_else(|| place.clone(), |name| place.join(name));
            Cell { path: folder.join(name), frame: cell.frame }
        };
        let rows = self.rows.iter().map(|row| row.with_cells(change)).collect();
        Ok(Manifest { path: path.to_owned(), rows, classes: self.classes.clone() })
    }

    /// A file as the manifest names it: relative to the manifest where it is in or below its folder.
    pub fn name_of(&self, path: &Path) -> String {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        path.strip_prefix(folder).unwrap_or(path).display().to_string()
    }

    /// SHA-256 of the manifest (under its file name) and of every file that it names, as it names them.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn hashes(&self) -> Result<BTreeMap<String, String>> {
        let files = self.rows.iter().flat_map(Row::cells).map(|cell| &cell.path).chain([&self.path]);
        let mut hashes = BTreeMap::new();
        for path in files {
            if let Entry::Vacant(hash) = hashes.entry(self.name_of(path)) {
                hash.insert(files::sha256(&files::read_at_most(path, dicom::MAX_FILE_BYTES)?));
            }
        }
        Ok(hashes)
    }

    /// Writes the table to its [`path`](Manifest::path). Files in or below its folder are written relative to it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&self) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let cell = |cell: &Cell| {
            let path = cell.path.strip_prefix(folder).unwrap_or(&cell.path).to_owned();
            Cell { path, frame: cell.frame }.to_string()
        };
        let sides = self.rows.iter().any(|row| row.side.is_some());
        let drawn = self.rows.iter().any(|row| row.drawn);
        let draws = drawn || self.rows.iter().any(Row::is_augmented);
        let reports = self.rows.iter().any(|row| row.report.is_some());
        let used = [sides, draws, draws, draws, drawn, reports];
        let mut table = csv::Writer::from_writer(Vec::new());
        let mut write = |required: [&str; 4], optional: [&str; OPTIONAL.len()]| {
            let optional = optional.into_iter().zip(used).filter_map(|(cell, used)| used.then_some(cell));
            table.write_record(required.into_iter().chain(optional)).expect("as many cells each, written to memory");
        };
        write(COLUMNS, OPTIONAL);
        for row in &self.rows {
            let [anterior, posterior] = [&row.anterior, &row.posterior].map(|view| view.as_ref().map(cell).unwrap_or_default());
            // The shortest digits that read back to the same value; no -0.
            let [angle, down, right] =
                [row.draw.angle_deg, row.draw.shift_rows_px, row.draw.shift_columns_px].map(|value| (value + 0.0).to_string());
            let (side, drawn) = (row.side.map_or("", Side::name), if row.drawn { "yes" } else { "no" });
            let optional = [side, &angle, &down, &right, drawn, row.report.as_deref().unwrap_or_default()];
            write([&row.patient, &anterior, &posterior, &row.label], optional);
        }
        files::write(&self.path, &table.into_inner().expect("written to memory"))
    }
}

/// Where each of [`COLUMNS`] stands in the header.
fn columns(path: &Path, header: &csv::StringRecord) -> Result<[usize; 4]> {
    let remedy = format!("write the header {HEADER}");
    if header.len() == 1 && header.iter().any(|cell| cell.contains([';', '\t'])) {
        return Err(Error::file(path, "is not separated by commas", "save it as CSV with commas"));
    }
    if let Some(unknown) = header.iter().find(|name| !COLUMNS.contains(name) && !OPTIONAL.contains(name)) {
        return Err(Error::file(path, format!("has an unknown column `{unknown}`"), remedy));
    }
    let mut columns = [0; 4];
    for (name, at) in COLUMNS.iter().zip(&mut columns) {
        let mut found = header.iter().enumerate().filter(|(_, cell)| cell == name);
        match (found.next(), found.next()) {
            (Some((column, _)), None) => *at = column,
            (None, _) => return Err(Error::file(path, format!("lacks the column `{name}`"), remedy)),
            _ => return Err(Error::file(path, format!("has the column `{name}` twice"), remedy)),
        }
    }
    Ok(columns)
}

/// Where each of [`OPTIONAL`] stands in the header, if it does.
fn optional_columns(path: &Path, header: &csv::StringRecord) -> Result<[Option<usize>; OPTIONAL.len()]> {
    let mut columns = [None; OPTIONAL.len()];
    for (name, at) in OPTIONAL.iter().zip(&mut columns) {
        let mut found = header.iter().enumerate().filter(|(_, cell)| cell == name);
        *at = found.next().map(|(column, _)| column);
        if found.next().is_some() {
            return Err(Error::file(path, format!("has the column `{name}` twice"), "leave one of them"));
        }
    }
    Ok(columns)
}

/// The row with what its optional cells say; `None` where there is no such column.
fn with_optional(path: &Path, line: usize, row: Row, cells: [Option<&str>; OPTIONAL.len()]) -> Result<Row> {
    let [side, angle, down, right, drawn, report] = cells;
    let refuse = |problem: String, remedy: &str| Error::file(path, format!("line {line} {problem}"), remedy);
    let side = match side {
        None => None,
        Some(name) => Some(Side::named(name).ok_or_else(|| refuse(format!("has the side `{name}`"), "write train or test"))?),
    };
    let limits = Augmentation::MOST;
    let value = |name: &str, cell: Option<&str>, most: f32| match cell.unwrap_or_default() {
        "" => Ok(0.0),
        text => text.parse().ok().filter(|value: &f32| value.abs() <= most).ok_or_else(|| {
            refuse(format!("has the {name} `{text}`"), &format!("write a number from -{most} to {most}, or nothing for 0"))
        }),
    };
    let draw = Draw {
        angle_deg: value(OPTIONAL[1], angle, limits.rotation_deg)?,
        shift_rows_px: value(OPTIONAL[2], down, limits.translation_px)?,
        shift_columns_px: value(OPTIONAL[3], right, limits.translation_px)?,
    };
    let drawn = match drawn.unwrap_or_default() {
        "yes" => true,
        "" | "no" => false,
        other => return Err(refuse(format!("says `{other}` under drawn"), "write yes or no")),
    };
    let report = report.filter(|report| !report.is_empty()).map(str::to_owned);
    Ok(Row { side, draw, drawn, report, ..row })
}

/// The way from a folder that exists to a file or folder, from the root where there is none.
pub(super) fn seen_from(path: &Path, folder: &Path) -> Result<PathBuf> {
    let here = |path: &Path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
    let (path, folder) = (here(path), here(folder));
    let from = folder.canonicalize().map_err(|error| Error::io(&folder, "found", &error))?;
    // What is not there cannot be a link.
    let to = path.canonicalize().or_else(|_| path::absolute(&path)).map_err(|error| Error::io(&path, "found", &error))?;
    Ok(relative(&to, &from).unwrap_or(to))
}

/// The way from the folder `from` to `path`, both from the root; `None` where there is none (another drive).
fn relative(path: &Path, from: &Path) -> Option<PathBuf> {
    let common = path.components().zip(from.components()).take_while(|(one, other)| one == other).count();
    if common == 0 {
        return None;
    }
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    Some(up.chain(path.components().skip(common)).collect())
}

/// A scan that is listed twice would be trained on and tested with, or count double, or contradict itself; copies of it that
/// were drawn differently are of the same patient and class.
fn refuse_repeated_scans(path: &Path, rows: &[Row], place: impl Fn(usize) -> String) -> Result<()> {
    let mut seen: HashMap<PathBuf, Vec<(Option<usize>, usize)>> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        for cell in row.cells() {
            // By components, `./a` is `a`.
            let others = seen.entry(cell.path.components().collect()).or_default();
            let clash = |&&(frame, before): &&(Option<usize>, usize)| {
                let other = &rows[before];
                // A whole file is all of its frames.
                let overlaps = frame.is_none() || cell.frame.is_none() || frame == cell.frame;
                let copy = before != at && (&other.patient, &other.label) == (&row.patient, &row.label) && other.draw != row.draw;
                overlaps && !copy
            };
            if let Some(&(_, before)) = others.iter().find(clash) {
                let other = &rows[before];
                if before == at {
                    let problem = format!("{} has {cell} as both views", place(at));
                    return Err(Error::file(path, problem, "name two files or frames, or leave posterior empty"));
                }
                let under = match (row.patient == other.patient, row.label == other.label) {
                    (false, _) => format!(" under two patients, {} and {}", other.patient, row.patient),
                    (true, false) => format!(" under two labels, {} and {}", other.label, row.label),
                    (true, true) => String::new(),
                };
                let problem = format!("{} and {} list the scan {cell}{under}", place(before), place(at));
                return Err(Error::file(path, problem, "list each scan once"));
            }
            others.push((cell.frame, at));
        }
    }
    Ok(())
}

/// A patient on both sides would be trained on and tested with; a row without a side would be on neither.
fn refuse_two_sides(path: &Path, rows: &[Row], place: impl Fn(usize) -> String) -> Result<()> {
    let mut sides: HashMap<&str, usize> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        if row.side.is_some() != rows[0].side.is_some() {
            let (with, without) = if row.side.is_some() { (at, 0) } else { (0, at) };
            let problem = format!("{} has a side and {} has none", place(with), place(without));
            return Err(Error::file(path, problem, "give every row a side, or none"));
        }
        let first = *sides.entry(&row.patient).or_insert(at);
        if rows[first].side != row.side {
            let [one, two] = [first, at].map(|at| rows[at].side.map_or("", Side::name));
            let problem = format!("patient {} is on the side {one} in {} and {two} in {}", row.patient, place(first), place(at));
            return Err(Error::file(path, problem, "put all scans of a patient on one side"));
        }
    }
    Ok(())
}

/// A patient's cancer is an adenocarcinoma or another, not both.
fn refuse_two_kinds(path: &Path, rows: &[Row], place: impl Fn(usize) -> String) -> Result<()> {
    let metastatic = &PAPER_CLASSES[1..];
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate().filter(|(_, row)| metastatic.contains(&row.label.as_str())) {
        let first = *kinds.entry(&row.patient).or_insert(at);
        if rows[first].label != row.label {
            let (one, two) = (&rows[first].label, &row.label);
            let problem =
                format!("patient {} is {one} in {} and {two} in {}, which cannot both be", row.patient, place(first), place(at));
            return Err(Error::file(path, problem, "correct the patient or the label"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    /// A folder with a manifest of `text` and the files that it may name.
    fn folder(text: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.png", "c.png", "d.png", "e.png", "two.dcm"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let path = folder.path().join("manifest.csv");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn read(text: impl AsRef<[u8]>) -> Result<Manifest> {
        let (_folder, path) = folder(text);
        Manifest::read(path)
    }

    #[test]
    fn reads_what_an_archive_looks_like() {
        let (folder, path) =
            folder("patient,anterior,posterior,label\np1,a.png,b.png,nADMet\np2,two.dcm#1,two.dcm#2,NoMet\np2,c.png,,ADMet\n");
        let manifest = Manifest::read(&path).unwrap();
        assert_eq!(manifest.classes, ["NoMet", "ADMet", "nADMet"]);
        assert_eq!(manifest.labels(&manifest.classes).unwrap(), [2, 0, 1]);
        let frame = |frame| Some(Cell { path: folder.path().join("two.dcm"), frame: Some(frame) });
        let expected = Row::new("p2", frame(1), frame(2), "NoMet");
        assert_eq!(manifest.rows[1], expected);
        assert_eq!(manifest.rows[2].cells().count(), 1);
    }

    #[test]
    fn spreadsheets_write_it_their_way() {
        let plain = read("patient,anterior,posterior,label\np1,a.png,,NoMet\np2,b.png,,ADMet\n").unwrap();
        let excel = read("\u{feff}patient,anterior,posterior,label\r\np1,a.png,,NoMet\r\n\r\np2, b.png ,,ADMet").unwrap();
        let reordered = read("label,patient,\"posterior\",anterior\nNoMet,\"p1\",,a.png\nADMet,p2,,b.png\n").unwrap();
        let rows = |manifest: &Manifest| -> Vec<_> {
            manifest
                .rows
                .iter()
                .map(|row| (row.patient.clone(), row.files().next().unwrap().file_name().unwrap().to_owned(), row.label.clone()))
                .collect()
        };
        assert_eq!(rows(&plain), rows(&excel));
        assert_eq!(rows(&plain), rows(&reordered));
    }

    #[test]
    fn other_classes_are_sorted_behind_the_papers() {
        let manifest = read("patient,anterior,posterior,label\n1,a.png,,zeta\n2,b.png,,ADMet\n3,c.png,,Alpha\n").unwrap();
        assert_eq!(manifest.classes, ["ADMet", "Alpha", "zeta"]);
        let message = manifest.labels(&["NoMet".into(), "ADMet".into()]).unwrap_err().to_string();
        assert!(message.contains("has the label zeta but the classes are NoMet, ADMet"), "{message}");
    }

    #[test]
    fn each_error_is_a_sentence_with_its_place() {
        const OK: &str = "patient,anterior,posterior,label\n";
        let cases: Vec<(String, &str)> = vec![
            ("patient,anterior,posterior,label,age\n".into(), "has an unknown column `age`"),
            ("patient,anterior,label\n".into(), "lacks the column `posterior`"),
            ("patient,anterior,posterior,label,label\n".into(), "has the column `label` twice"),
            ("patient;anterior;posterior;label\n".into(), "is not separated by commas"),
            ("".into(), "lacks the column `patient`"),
            (OK.into(), "lists no study"),
            (format!("{OK}1,a.png,,\n"), "line 2 has an empty label"),
            (format!("{OK}1,a.png,,NoMet\n,b.png,,NoMet\n"), "line 3 has an empty patient"),
            (format!("{OK}1,,,NoMet\n"), "line 2 has an empty anterior"),
            (format!("{OK}1,a.png,,\"No\nMet\"\n"), "line 2 has a cell with a line break or another control character"),
            (format!("{OK}1,a.png,,\u{1b}[2J\n"), "line 2 has a cell with a line break or another control character"),
            ("patient,\u{1b}[2J\n".into(), "has an unknown column `\u{fffd}[2J`"),
            (format!("{OK}\n\n1,a.png,NoMet\n"), "line 4 has 3 cells instead of 4"),
            (format!("{OK}1,a.png,,NoMet\n2,gone.png,,NoMet\n"), "gone.png, which does not exist"),
            (format!("{OK}1,a.png,gone.dcm#2,NoMet\n"), "line 2 names "),
            (
                format!("{OK}1,a.png,,ADMet\n2,b.png,,NoMet\n1,c.png,,nADMet\n"),
                "patient 1 is ADMet in line 2 and nADMet in line 4",
            ),
            (format!("{OK}1,a.png,,NoMet\n1,./a.png,,ADMet\n"), "a.png under two labels, NoMet and ADMet"),
            (format!("{OK}1,a.png,b.png,NoMet\n2,c.png,b.png,NoMet\n"), "b.png under two patients, 1 and 2"),
            (format!("{OK}1,a.png,,NoMet\n1,a.png,,NoMet\n"), "line 2 and line 3 list the scan "),
            (format!("{OK}1,a.png,a.png,NoMet\n"), "as both views"),
            (format!("{OK}1,two.dcm#1,two.dcm#1,NoMet\n"), "two.dcm#1 as both views"),
            (format!("{OK}1,two.dcm#1,two.dcm,NoMet\n"), "as both views"),
            (format!("{OK}1,two.dcm#0,,NoMet\n"), "line 2 names `two.dcm#0`"),
            (format!("{OK}1,two.dcm,,NoMet\n1,two.dcm#2,,NoMet\n"), "list the scan "),
        ];
        for (text, problem) in cases {
            let (_folder, path) = folder(&text);
            let message = Manifest::read(&path).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{}: ", path.display())), "{message}");
            assert!(
                message.contains(problem) && message.contains("; ") && !message.contains('\n'),
                "{problem} not in: {message}"
            );
        }
        assert!(read([0xff, 0xfe, b'p', 0]).unwrap_err().to_string().contains("is not UTF-8 text"));
        let missing = Manifest::read("nowhere/manifest.csv").unwrap_err().to_string();
        assert!(missing.contains("cannot be read"), "{missing}");
    }

    #[test]
    fn sides_and_draws_are_read() {
        const HEADER: &str = "patient,anterior,posterior,label,drawn,side,rotation_deg,shift_columns_px,shift_rows_px\n";
        let table = "1,a.png,,NoMet,,train,,,\n1,a.png,,NoMet,no,train,-1.5,2,0\n2,,b.png,ADMet,yes,test,1e1,0,3.25\n";
        let (_folder, path) = folder(format!("{HEADER}{table}"));
        let manifest = Manifest::read(&path).unwrap();
        let [scan, copy, drawn] = &manifest.rows[..] else { panic!("{manifest:?}") };
        assert_eq!((scan.side, scan.is_augmented(), copy.is_augmented()), (Some(Side::Train), false, true));
        assert_eq!(copy.pending_draw(), Draw { angle_deg: -1.5, shift_rows_px: 0.0, shift_columns_px: 2.0 });
        assert_eq!((drawn.side, drawn.draw.shift_rows_px, drawn.pending_draw()), (Some(Side::Test), 3.25, Draw::default()));
        assert!(drawn.anterior.is_none() && drawn.posterior.is_some());
        manifest.write().unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), manifest);
    }

    #[test]
    fn reports_are_kept() {
        let table = "patient,report,anterior,posterior,label\n1,\"Foci in ribs, spine.\",a.png,,ADMet\n2,,b.png,,NoMet\n";
        let (_folder, path) = folder(table);
        let manifest = Manifest::read(&path).unwrap();
        let reports: Vec<_> = manifest.rows.iter().map(|row| row.report.as_deref()).collect();
        assert_eq!(reports, [Some("Foci in ribs, spine."), None]);
        manifest.write().unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), manifest);
        let lines = read("patient,anterior,posterior,label,report\n1,a.png,,NoMet,\"two\nlines\"\n").unwrap_err().to_string();
        assert!(lines.contains("line break"), "{lines}");
    }

    #[test]
    fn wrong_sides_and_draws_are_one_sentence() {
        const SIDED: &str = "patient,anterior,posterior,label,side,rotation_deg,shift_rows_px,shift_columns_px\n";
        for (rows, problem) in [
            ("1,a.png,,NoMet,,,,\n", "line 2 has the side ``"),
            ("1,a.png,,NoMet,left,,,\n", "line 2 has the side `left`"),
            ("1,a.png,,NoMet,train,,,\n1,b.png,,NoMet,test,,,\n", "patient 1 is on the side train in line 2 and test in line 3"),
            ("1,a.png,,NoMet,train,NaN,,\n", "line 2 has the rotation_deg `NaN`"),
            ("1,a.png,,NoMet,train,,inf,\n", "line 2 has the shift_rows_px `inf`"),
            ("1,a.png,,NoMet,train,,,1025\n", "line 2 has the shift_columns_px `1025`"),
            ("1,a.png,,NoMet,train,x,,\n", "line 2 has the rotation_deg `x`"),
            ("1,a.png,,NoMet,train,1,,\n1,a.png,,NoMet,train,1.0,0,\n", "line 2 and line 3 list the scan "),
            ("1,a.png,,NoMet,train,1,,\n1,a.png,,ADMet,train,2,,\n", "under two labels"),
            ("1,a.png,,NoMet,train,1,,\n2,a.png,,NoMet,train,2,,\n", "under two patients"),
        ] {
            let message = read(format!("{SIDED}{rows}")).unwrap_err().to_string();
            assert!(message.contains(problem) && message.contains("; ") && !message.contains('\n'), "{problem}: {message}");
        }
        let twice = read("patient,anterior,posterior,label,side,side\n").unwrap_err().to_string();
        assert!(twice.contains("has the column `side` twice"), "{twice}");
        let word = read("patient,anterior,posterior,label,drawn\n1,a.png,,NoMet,maybe\n").unwrap_err().to_string();
        assert!(word.contains("line 2 says `maybe` under drawn"), "{word}");
        let rows = ["train", ""]
            .map(|side| Row { side: Side::named(side), ..Row::new(side, format!("{side}.png").parse().ok(), None, "x") });
        let mixed = Manifest::new("m.csv", rows.to_vec());
        assert!(mixed.unwrap_err().to_string().contains("row 1 has a side and row 2 has none"));
    }

    #[test]
    fn a_table_can_stand_elsewhere() {
        let (folder, path) = folder("patient,anterior,posterior,label\n1,a.png,,NoMet\n2,two.dcm#1,two.dcm#2,ADMet\n");
        let manifest = Manifest::read(path).unwrap();
        let inner = folder.path().join("deep/er");
        fs::create_dir_all(&inner).unwrap();
        let moved = manifest.moved_to(inner.join("m.csv")).unwrap();
        moved.write().unwrap();
        let text = fs::read_to_string(inner.join("m.csv")).unwrap();
        let parent = Path::new("..").join("..");
        assert!(text.contains(&format!("2,{0}#1,{0}#2,ADMet", parent.join("two.dcm").display())), "{text}");
        assert_eq!(Manifest::read(inner.join("m.csv")).unwrap(), moved);
        assert_eq!(moved.name_of(moved.rows[0].files().next().unwrap()), parent.join("a.png").display().to_string());
        // Both can be moved together.
        fs::rename(folder.path(), folder.path().with_extension("elsewhere")).unwrap();
        let there = folder.path().with_extension("elsewhere");
        assert!(Manifest::read(there.join("deep/er/m.csv")).is_ok());
        fs::remove_dir_all(there).unwrap();
        fs::create_dir_all(folder.path()).unwrap();
    }

    #[test]
    fn kinds_of_metastasis_merge() {
        let manifest = read("patient,anterior,posterior,label\n1,a.png,,NoMet\n2,b.png,,ADMet\n3,c.png,,nADMet\n").unwrap();
        let merged = manifest.merged().unwrap();
        assert_eq!(merged.classes, ["NoMet", "Met"]);
        assert_eq!(merged.labels(&merged.classes).unwrap(), [0, 1, 1]);
        let one = read("patient,anterior,posterior,label\n1,a.png,,NoMet\n").unwrap();
        assert!(one.merged().unwrap_err().to_string().contains("has the classes NoMet, which do not merge"));
    }

    #[test]
    fn what_may_be_is_no_error() {
        assert!(read("patient,anterior,posterior,label\n1,a.png,,NoMet\n1,b.png,,ADMet\n1,c.png,,ADMet\n").is_ok());
        assert!(read("patient,anterior,posterior,label\n1,a.png,,normal\n1,b.png,,abnormal\n").is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_written_is_read(names in prop::collection::btree_set("[ -~]{0,6}[!-.0-~]", 1..6), posterior: bool) {
            let folder = tempfile::tempdir().unwrap();
            let mut rows = Vec::new();
            for (at, name) in names.iter().enumerate() {
                let files = [format!("a {at},\"é.png"), format!("b{at}.png")].map(|file| folder.path().join(file));
                files.iter().for_each(|file| fs::write(file, "").unwrap());
                let [anterior, other] = files.map(|path| Cell { path, frame: None });
                let posterior = posterior.then_some(other);
                rows.push(Row::new(name.trim(), Some(anterior), posterior, "NoMet"));
            }
            let manifest = Manifest::new(folder.path().join("m.csv"), rows).unwrap();
            manifest.write().unwrap();
            prop_assert_eq!(Manifest::read(folder.path().join("m.csv")).unwrap(), manifest);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut text = b"patient,anterior,posterior,label\n".to_vec();
            text.extend(&bytes);
            prop_assert!(read(bytes).is_err());
            let _ = read(text);
        }
    }
}
