//! A manifest as a file of separated values: read with the line of each fault, or of every fault, and written.

use super::header::{COLUMNS, ColumnNames, Header, OPTIONAL, known_columns};
use super::likeness::{doubtful_classes, quoted, similar_patients};
use super::sheet::{self, Lines, SEPARATORS};
use super::{METASTATIC, Manifest, PAPER_CLASSES, Row, checks};
use crate::archive::side::Side;
use crate::intake::study::Cell;
use crate::models::SimulatorVersion;
use crate::prepare::{Motion, Transform};
use crate::text::Shown;
use crate::text::{guard, unguard};
use crate::{Error, Result, files, interrupt};
use std::collections::HashSet;
use std::path::Path;

/// A larger file is no table of studies: this is half a million rows.
const MAX_BYTES: u64 = 64 << 20;

/// Faults that [`Manifest::survey`] keeps; the others are counted.
const MOST_PROBLEMS: usize = 100_000;

/// Pairs of pseudonyms that a note lists.
const MOST_SIMILAR: usize = 5;

/// How a table is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Names that its columns have.
    pub columns: ColumnNames,
    /// Whether its classes are asked about.
    pub classes: Classes,
}

/// Whether a class that is a letter from another is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Classes {
    /// Every one but these, which are meant.
    AskedAbout(Vec<String>),
    /// None: the table is a program's, or what comes of it was begun.
    Known,
}

impl Default for Classes {
    fn default() -> Self {
        Classes::AskedAbout(Vec::new())
    }
}

/// A manifest that was read, and what its user should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The table.
    pub manifest: Manifest,
    /// A sentence each, without the file's name: columns that were passed over, pseudonyms that may be one person's.
    pub notes: Vec<String>,
}

/// Everything that is wrong with a table.
#[derive(Debug)]
pub struct Survey {
    /// The rows without a fault of their own; `None` where there is none. Between rows there may be faults.
    pub manifest: Option<Manifest>,
    /// A sentence each: of the table as a whole, line by line, then between lines.
    pub problems: Vec<Error>,
    /// How many more there are, in a table with more than a hundred thousand.
    pub more: usize,
    /// As [`Reading::notes`].
    pub notes: Vec<String>,
}

/// What is called with each fault, and stops the reading by an error.
type Fault<'a> = &'a mut dyn FnMut(Error) -> Result<()>;

impl Manifest {
    /// Reads and checks a manifest as a spreadsheet saves it. Paths come back joined to the manifest's folder; a file of a cell's very
    /// name wins over a frame (`IM#2`).
    ///
    /// UTF-8 and UTF-16 are read; commas, semicolons or tabs part the cells, by the header. Capitals and blanks in column names, empty
    /// rows, and empty cells behind the last column do not count; a column that no manifest has is passed over.
    ///
    /// # Errors
    /// One sentence naming file and line: another encoding; a column missing or there twice; a row of another length; an empty
    /// patient or label, or no scan; a missing file; a scan that is listed twice under two patients or labels, or with one transform; a
    /// side or transform that is none; a patient on both sides, or under two kinds of metastasis (see [`Manifest::new`]); a class that
    /// is another but for a letter; no row.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Manifest::read_with(path, &ReadOptions::default())?.manifest)
    }

    /// As [`read`](Self::read), of a table that was accepted before: its classes are not asked about.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_known(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Manifest::read_with(path, &ReadOptions { classes: Classes::Known, ..ReadOptions::default() })?.manifest)
    }

    /// As [`read`](Self::read), with what the user says of the table, and what the user should know of it.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_with(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Reading> {
        let path = path.as_ref();
        Table::parse(path, &bytes_of(path)?, options, true, &mut Err)?.reading(path, options)
    }

    /// The manifest that a file of these bytes at `path` is; that the files it names exist is not checked.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        let options = ReadOptions::default();
        Ok(Table::parse(path.as_ref(), bytes, &options, false, &mut Err)?.reading(path.as_ref(), &options)?.manifest)
    }

    /// Every fault of a table, in place of the first, which [`Manifest::read_with`] refuses it for. Patients on two sides whose pseudonyms
    /// differ only by case, blanks or leading zeros are faults here.
    ///
    /// # Errors
    /// It was asked to stop.
    pub fn survey(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Survey> {
        let path = path.as_ref();
        let (mut problems, mut more) = (Vec::new(), 0);
        let mut keep = |error| {
            match problems.len() < MOST_PROBLEMS {
                true => problems.push(error),
                false => more += 1,
            }
            Ok(())
        };
        let table = bytes_of(path).and_then(|bytes| {
            let table = Table::parse(path, &bytes, options, true, &mut keep)?;
            table.check(path, options, &mut keep)?;
            table.sides_of_similar(path).into_iter().try_for_each(&mut keep)?;
            Ok(table)
        });
        match table {
            Ok(table) => {
                let notes = table.notes();
                let rows: Vec<Row> =
                    table.rows.into_iter().zip(table.faulty).filter(|(_, faulty)| !faulty).map(|(row, _)| row).collect();
                let manifest = (!rows.is_empty()).then(|| Manifest::of(path, rows));
                Ok(Survey { manifest, problems, more, notes })
            }
            Err(error @ Error::Interrupted { .. }) => Err(error),
            Err(error) => {
                problems.push(error);
                Ok(Survey { manifest: None, problems, more, notes: Vec::new() })
            }
        }
    }

    /// Writes the table to its [`path`](Manifest::path).
    ///
    /// # Errors
    /// The path of a scan is not UTF-8; the operating system's.
    pub fn write(&self) -> Result<()> {
        files::write(&self.path, &self.to_csv()?)
    }

    /// The file that [`write`](Self::write) writes. Files in or below its folder are named relative to it. A spreadsheet computes none of its
    /// text: see [`guard`].
    ///
    /// # Errors
    /// The path of a scan is not UTF-8.
    pub fn to_csv(&self) -> Result<Vec<u8>> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let cell = |cell: &Cell| {
            let path = cell.path.strip_prefix(folder).unwrap_or(&cell.path);
            if path.to_str().is_none() {
                let remedy = "rename the file or the folder it is in, or write the manifest in that folder";
                return Err(Error::file(path, "has a name that is not UTF-8, which a manifest cannot hold", remedy));
            }
            let text = cell.unmistakable();
            Ok(text.strip_prefix(folder).unwrap_or(&text).display().to_string())
        };
        let sides = self.rows.iter().any(|row| row.side.is_some());
        let drawn = self.rows.iter().any(|row| row.drawn);
        let draws = drawn || self.rows.iter().any(Row::is_augmented);
        let reports = self.rows.iter().any(|row| row.report.is_some());
        let simulated = self.rows.iter().any(|row| row.simulated.is_some() || is_named_as_phantom(&row.patient));
        let inverted = self.rows.iter().any(|row| row.inverted);
        let used = [sides, draws, draws, draws, drawn, reports, simulated, inverted];
        let mut table = csv::Writer::from_writer(Vec::new());
        let mut write = |required: [&str; 4], optional: [&str; OPTIONAL.len()]| {
            let optional = optional.into_iter().zip(used).filter_map(|(cell, used)| used.then_some(cell));
            table.write_record(required.into_iter().chain(optional)).expect("as many cells each, written to memory");
        };
        write(COLUMNS, OPTIONAL);
        for row in &self.rows {
            let [anterior, posterior] = [&row.anterior, &row.posterior].map(|view| view.as_ref().map_or(Ok(String::new()), cell));
            let (anterior, posterior) = (anterior?, posterior?);
            // The shortest digits that read back to the same value; no -0.
            let [angle, down, right] = [row.transform.angle_deg, row.transform.shift_rows_px, row.transform.shift_columns_px]
                .map(|value| (value + 0.0).to_string());
            let side = row.side.map_or("", Side::name);
            let [drawn, inverted] = [row.drawn, row.inverted].map(|holds| if holds { "yes" } else { "no" });
            let simulated = match row.simulated {
                None => "no",
                // The only simulator when the column had no versions yet.
                Some(SimulatorVersion::One) => "yes",
                Some(SimulatorVersion::Two) => "2",
            };
            let report = guard(row.report.as_deref().unwrap_or_default());
            let optional = [side, &angle, &down, &right, drawn, &report, simulated, inverted];
            write(
                [&row.patient, &anterior, &posterior, &row.label].map(|cell| guard(cell)).each_ref().map(|cell| &**cell),
                optional,
            );
        }
        Ok(table.into_inner().expect("written to memory"))
    }
}

/// A table's rows as they were read, before they are held against each other.
struct Table {
    rows: Vec<Row>,
    /// The line of each row.
    lines: Vec<usize>,
    /// Whether a row has a fault of its own, such as a file that is missing.
    faulty: Vec<bool>,
    /// Rows were left out, or have no patient and label.
    lacks_rows: bool,
    /// About its columns.
    notes: Vec<String>,
}

impl Table {
    /// Reads the rows. Where the scans are `on_disk`, each has to be there.
    fn parse(path: &Path, bytes: &[u8], options: &ReadOptions, on_disk: bool, fault: Fault) -> Result<Table> {
        let text = sheet::text(path, bytes)?;
        let not_csv = |error: csv::Error| {
            Error::file(path, format!("is not CSV ({error})"), "write it with a spreadsheet or as UTF-8 text")
        };
        let (declared, start) = sheet::declared_separator(&text).map_or((None, 0), |(separator, start)| (Some(separator), start));
        let body = &text[start..];
        let mut record = csv::StringRecord::new();
        let mut separators =
            SEPARATORS.into_iter().filter(|(separator, _)| declared.is_none_or(|declared| declared == *separator));
        let first = separators.next().unwrap_or(SEPARATORS[0]);
        let mut best = (known_columns(&header_of(body, first.0).map_err(not_csv)?, &options.columns), first);
        for separator in separators {
            let known = known_columns(&header_of(body, separator.0).map_err(not_csv)?, &options.columns);
            if known > best.0 {
                best = (known, separator);
            }
        }
        let (_, (separator, separator_name)) = best;
        let mut reader = sheet::reader(body, separator);
        while reader.read_record(&mut record).map_err(not_csv)? && record.iter().all(str::is_empty) {}
        let header = Header::read(path, &record, &options.columns, fault)?;

        let folder = path.parent().unwrap_or(Path::new(""));
        let mut table =
            Table { rows: Vec::new(), lines: Vec::new(), faulty: Vec::new(), lacks_rows: !header.is_whole, notes: Vec::new() };
        table.notes.extend(header.note.clone());
        let mut lines = Lines::of(&text);
        // Rows that end before their optional columns, with the cells that each has.
        let mut short: Vec<(usize, usize)> = Vec::new();
        let mut nameless = false;
        let is_known = |at: usize| header.required.contains(&Some(at)) || header.optional.contains(&Some(at));
        while reader.read_record(&mut record).map_err(not_csv)? {
            interrupt::check()?;
            let Some(last) = (0..record.len()).rev().find(|at| !record[*at].is_empty()) else { continue };
            let line = lines.of_record(start + record.position().map_or(0, |position| position.byte() as usize));
            let mut found = 0;
            let mut tell = |problem: String, remedy: &str| {
                found += 1;
                fault(Error::file(path, format!("line {line} {problem}"), remedy))
            };
            // A line break in a column that is passed over is meant, unless what it holds looks like a row.
            let swallows = |cell: &str| {
                let parts = |line: &str| line.bytes().filter(|byte| *byte == separator).count();
                cell.contains(['\n', '\r']) && cell.split(['\n', '\r']).skip(1).any(|line| parts(line) + 1 >= COLUMNS.len())
            };
            if record.iter().enumerate().any(|(at, cell)| match is_known(at) {
                true => cell.contains(char::is_control),
                false => swallows(cell),
            }) {
                let problem = "has a cell with a line break or another control character".to_owned();
                tell(problem, "remove it; an open quote may have swallowed a line")?;
                table.lacks_rows = true;
                continue;
            }
            let is_short = record.len() < header.width;
            let needed = header.required.iter().chain(&header.optional[..1]).flatten();
            let lacks = is_short && needed.copied().any(|at| at >= record.len());
            if last >= header.width || lacks {
                let cells = if lacks { record.len() } else { last + 1 };
                let problem = format!("has {cells} cells instead of {}", header.width);
                tell(problem, &format!("write one study a line, and quote a cell that holds a {separator_name}"))?;
                table.lacks_rows = true;
                continue;
            }
            nameless |= record.iter().enumerate().any(|(at, cell)| !cell.is_empty() && header.is_nameless(at));
            let cell = |column: Option<usize>| column.and_then(|at| record.get(at)).unwrap_or_default();
            let [patient, anterior, posterior, label] = header.required.map(|column| unguard(cell(column)));
            let [patient_at, anterior_at, posterior_at, label_at] = header.required;
            if patient.is_empty() && patient_at.is_some() {
                tell(
                    "has an empty patient".to_owned(),
                    "write the patient's pseudonym, so that a split can keep patients apart",
                )?;
            }
            if anterior.is_empty() && posterior.is_empty() && (header.is_whole || anterior_at.is_some() && posterior_at.is_some())
            {
                let view = if anterior_at.is_some() { "anterior" } else { "posterior" };
                tell(format!("has an empty {view}"), "write the path of the scan, or remove the line")?;
            }
            if label.is_empty() && label_at.is_some() {
                tell("has an empty label".to_owned(), "write the study's class, or remove the line")?;
            }
            let mut scan = |name: &str| -> Result<Option<Cell>> {
                if name.is_empty() {
                    return Ok(None);
                }
                let cell = match on_disk {
                    true => Cell::existing(&folder.join(name)),
                    false => name.parse::<Cell>().map(|cell| cell.within(folder)),
                };
                let Ok(cell) = cell else {
                    let problem = format!("names {}, but no file has such a frame", quoted(name));
                    tell(problem, "count frames from 1, as in file.dcm#1")?;
                    return Ok(None);
                };
                if on_disk && !cell.path.exists() {
                    let problem = format!("names {}, which does not exist", cell.path.shown());
                    tell(problem, "correct the path; it is relative to the manifest")?;
                }
                Ok(Some(cell))
            };
            let row = Row::new(patient, scan(anterior)?, scan(posterior)?, label);
            let is_row = !patient.is_empty() && !label.is_empty() && row.cells().next().is_some();
            let row =
                with_optional(row, header.optional.map(|column| column.map(|at| record.get(at).unwrap_or_default())), &mut tell)?;
            // What a row without a side would be held against is not known.
            if !is_row || header.optional[0].is_some() && row.side.is_none() {
                table.lacks_rows = true;
                continue;
            }
            if is_short && (record.len()..header.width).any(is_known) {
                short.push((table.rows.len(), record.len()));
            }
            table.rows.push(row);
            table.lines.push(line);
            table.faulty.push(found > 0);
        }
        if nameless {
            table.notes.push("passes over what stands in columns without a name".to_owned());
        }
        table.refuse_shifted(path, header.width, &short, fault)?;
        Ok(table)
    }

    /// A row may end before its optional columns where it has a class that others have as well: else one of its cells was left out, and
    /// those behind it stand under other columns.
    fn refuse_shifted(&mut self, path: &Path, width: usize, short: &[(usize, usize)], fault: Fault) -> Result<()> {
        let ends: HashSet<usize> = short.iter().map(|(row, _)| *row).collect();
        let whole = self.rows.iter().enumerate().filter(|(row, _)| !ends.contains(row)).map(|(_, row)| row.label.as_str());
        let classes: HashSet<&str> = whole.chain(PAPER_CLASSES).chain([METASTATIC]).collect();
        for &(row, cells) in short {
            if !classes.contains(self.rows[row].label.as_str()) {
                self.faulty[row] = true;
                let problem = format!("line {} has {cells} cells instead of {width}", self.lines[row]);
                fault(Error::file(path, problem, "write one study a line, with a separator for each empty cell"))?;
            }
        }
        Ok(())
    }

    /// Holds the rows against each other.
    fn check(&self, path: &Path, options: &ReadOptions, fault: Fault) -> Result<()> {
        let line = |row: usize| format!("line {}", self.lines[row]);
        if !self.rows.is_empty() || !self.lacks_rows {
            checks::check(path, &self.rows, line, fault)?;
        }
        match &options.classes {
            Classes::AskedAbout(meant) => doubtful_classes(path, &self.rows, meant, line).into_iter().try_for_each(fault),
            Classes::Known => Ok(()),
        }
    }

    /// The manifest, if there is nothing wrong with it.
    fn reading(self, path: &Path, options: &ReadOptions) -> Result<Reading> {
        self.check(path, options, &mut Err)?;
        let notes = self.notes();
        Ok(Reading { manifest: Manifest::of(path, self.rows), notes })
    }

    /// What the user should know.
    fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        let groups = similar_patients(&self.rows);
        for group in groups.iter().take(MOST_SIMILAR) {
            let names: Vec<String> = group.iter().take(MOST_SIMILAR).map(|row| self.patient(*row)).collect();
            let others = if group.len() > names.len() { " and others" } else { "" };
            notes.push(format!(
                "patients {}{others} differ only by case, blanks or leading zeros; if they are one person, write them alike",
                names.join(", ")
            ));
        }
        if groups.len() > MOST_SIMILAR {
            notes.push(format!("so do {} more groups of patients", groups.len() - MOST_SIMILAR));
        }
        notes
    }

    /// Patients on two sides who may be one: a sentence for each.
    fn sides_of_similar(&self, path: &Path) -> Vec<Error> {
        let problem = |group: Vec<usize>| {
            let one = *group.first()?;
            let other = *group.iter().find(|row| self.rows[**row].side != self.rows[one].side)?;
            let [side, other_side] = [one, other].map(|row| self.rows[row].side.map_or("", Side::name));
            let problem = format!(
                "patient {} is on the side {side} and {} on the side {other_side}, and they differ only by case, blanks or leading zeros",
                self.patient(one),
                self.patient(other)
            );
            Some(Error::file(path, problem, "write them alike if they are one person, or put both on one side"))
        };
        similar_patients(&self.rows).into_iter().filter_map(problem).collect()
    }

    fn patient(&self, row: usize) -> String {
        format!("{} (line {})", quoted(&self.rows[row].patient), self.lines[row])
    }
}

/// The first row of a table that is not empty.
fn header_of(text: &str, separator: u8) -> Result<csv::StringRecord, csv::Error> {
    let mut reader = sheet::reader(text, separator);
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record)? && record.iter().all(str::is_empty) {}
    Ok(record)
}

/// The bytes of a table. A file of another kind is refused by what it is.
fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    match files::Kind::of_file(path).and_then(|kind| kind.refuse_as_manifest(path)) {
        Some(error) => Err(error),
        None => files::read_at_most(path, MAX_BYTES),
    }
}

/// Whether a manifest from before there was the column `simulated` has a phantom under this name.
fn is_named_as_phantom(patient: &str) -> bool {
    patient.starts_with("phantom-")
}

/// The row with what its optional cells say; `None` where there is no such column. Each fault is one call of `tell`, with problem and
/// remedy.
fn with_optional(
    row: Row,
    cells: [Option<&str>; OPTIONAL.len()],
    tell: &mut impl FnMut(String, &str) -> Result<()>,
) -> Result<Row> {
    let [side, angle, down, right, drawn, report, simulated, inverted] = cells;
    let side = match side {
        None => None,
        Some(name) => {
            let side = Side::named(&name.to_lowercase());
            if side.is_none() {
                tell(format!("has the side {}", quoted(name)), "write train, validation or test, or leave the column out")?;
            }
            side
        }
    };
    let limits = Motion::MOST;
    let mut value = |name: &str, cell: Option<&str>, most: f32| {
        let text = cell.unwrap_or_default();
        if text.is_empty() {
            return Ok(0.0);
        }
        let value = decimal(text).filter(|value: &f32| value.abs() <= most);
        if value.is_none() {
            let remedy = format!("write a number from -{most} to {most}, or nothing for 0");
            tell(format!("has the {name} {}", quoted(text)), &remedy)?;
        }
        Ok(value.unwrap_or_default())
    };
    let transform = Transform {
        angle_deg: value(OPTIONAL[1], angle, limits.rotation_deg)?,
        shift_rows_px: value(OPTIONAL[2], down, limits.translation_px)?,
        shift_columns_px: value(OPTIONAL[3], right, limits.translation_px)?,
    };
    let mut yes = |name: &str, cell: &str| match cell.to_lowercase().as_str() {
        "yes" => Ok(true),
        "" | "no" => Ok(false),
        _ => tell(format!("says {} under {name}", quoted(cell)), "write yes or no").map(|()| false),
    };
    let drawn = yes(OPTIONAL[4], drawn.unwrap_or_default())?;
    let inverted = yes(OPTIONAL[7], inverted.unwrap_or_default())?;
    let simulated = match simulated.map(str::to_lowercase).as_deref() {
        None => is_named_as_phantom(&row.patient).then_some(SimulatorVersion::One),
        Some("" | "no") => None,
        Some("yes") => Some(SimulatorVersion::One),
        Some(cell) => {
            let version = cell.parse().ok();
            if version.is_none() {
                let remedy = "write yes or no, or the simulator's version, 1 or 2";
                tell(format!("says {} under {}", quoted(cell), OPTIONAL[6]), remedy)?;
            }
            version
        }
    };
    let report = report.filter(|report| !report.is_empty()).map(|report| unguard(report).to_owned());
    Ok(Row { side, transform, drawn, report, simulated, inverted, ..row })
}

/// A number, with a comma for the point where it cannot part thousands: `1,5`.
fn decimal(text: &str) -> Option<f32> {
    match text.split_once(',') {
        Some((whole, digits)) if digits.len() != 3 && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            format!("{whole}.{digits}").parse().ok()
        }
        _ => text.parse().ok(),
    }
}
