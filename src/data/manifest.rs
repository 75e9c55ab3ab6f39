//! The table of patients, their files and their labels: `patient,anterior,posterior,label`, one study a row, so that any
//! archive is one text file away.
//!
//! A cell is the path of a DICOM file or a picture, relative to the manifest; `scan.dcm#1` is the first frame of a file.
//! `posterior` may be empty: then the study is one view, or a file of both whose view codes tell them apart. Reading checks the
//! table and that the files are there; what is in them is [`super::study`]'s.

use super::study::{self, Cell};
use super::{Study, dicom};
use crate::{Error, Result, files};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// The classes of the paper, in its order; a manifest's other labels follow in alphabetical order.
pub const PAPER_CLASSES: [&str; 3] = ["NoMet", "ADMet", "nADMet"];

/// A larger file is no table of studies: this is half a million rows.
const MAX_BYTES: u64 = 64 << 20;

const COLUMNS: [&str; 4] = ["patient", "anterior", "posterior", "label"];
const HEADER: &str = "patient,anterior,posterior,label";

/// One study.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who: studies of one patient are never on both sides of a split.
    pub patient: String,
    /// The anterior view, or a file that holds both.
    pub anterior: Cell,
    /// The posterior view.
    pub posterior: Option<Cell>,
    /// The class.
    pub label: String,
}

impl Row {
    /// Reads its scans.
    ///
    /// # Errors
    /// As [`study::read_manifest_row`].
    pub fn read(&self) -> Result<Study> {
        study::read_manifest_row(&self.anterior, self.posterior.as_ref())
    }

    /// The files of its scans, anterior first.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.cells().map(|cell| &*cell.path)
    }

    /// Its one or two cells, anterior first.
    fn cells(&self) -> impl Iterator<Item = &Cell> {
        std::iter::once(&self.anterior).chain(&self.posterior)
    }
}

/// A checked table of studies; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// an empty patient, anterior cell or label; a missing file; a scan that is listed twice, under whatever patient or label;
    /// a patient under two kinds of metastasis (see [`Manifest::new`]); no row.
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
        let columns = columns(path, reader.headers().map_err(not_csv)?)?;

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
            if record.len() != COLUMNS.len() {
                let problem = format!("line {line} has {} cells instead of 4", record.len());
                return Err(Error::file(path, problem, "write one study a line, and quote a cell that holds a comma"));
            }
            let [patient, anterior, posterior, label] = columns.map(|column| record.get(column).unwrap_or_default());
            for (name, cell) in [("patient", patient), ("anterior", anterior), ("label", label)] {
                if cell.is_empty() {
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
            let posterior = (!posterior.is_empty()).then(|| scan(posterior)).transpose()?;
            rows.push(Row { patient: patient.to_owned(), anterior: scan(anterior)?, posterior, label: label.to_owned() });
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
        let mut table = csv::Writer::from_writer(Vec::new());
        let mut write = |cells: [&str; 4]| table.write_record(cells).expect("four cells each, written to memory");
        write(COLUMNS);
        for row in &self.rows {
            let posterior = row.posterior.as_ref().map(cell).unwrap_or_default();
            write([&row.patient, &cell(&row.anterior), &posterior, &row.label]);
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
    if let Some(unknown) = header.iter().find(|name| !COLUMNS.contains(name)) {
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

/// A scan that is listed twice would be trained on and tested with, or count double, or contradict itself.
fn refuse_repeated_scans(path: &Path, rows: &[Row], place: impl Fn(usize) -> String) -> Result<()> {
    let mut seen: HashMap<PathBuf, Vec<(Option<usize>, usize)>> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        for cell in row.cells() {
            // By components, `./a` is `a`.
            let others = seen.entry(cell.path.components().collect()).or_default();
            // A whole file is all of its frames.
            let clash = |other: &Option<usize>| other.is_none() || cell.frame.is_none() || *other == cell.frame;
            if let Some(&(_, before)) = others.iter().find(|(other, _)| clash(other)) {
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
        let expected = Row {
            patient: "p2".into(),
            anterior: Cell { path: folder.path().join("two.dcm"), frame: Some(1) },
            posterior: Some(Cell { path: folder.path().join("two.dcm"), frame: Some(2) }),
            label: "NoMet".into(),
        };
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
                .map(|row| (row.patient.clone(), row.anterior.path.file_name().unwrap().to_owned(), row.label.clone()))
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
            (format!("{OK}1,,a.png,NoMet\n"), "line 2 has an empty anterior"),
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
                rows.push(Row { patient: name.trim().to_owned(), anterior, posterior, label: "NoMet".into() });
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
