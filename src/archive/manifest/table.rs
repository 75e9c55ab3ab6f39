//! A manifest as a file of comma-separated values: read with the line of each fault, and written.

use super::{Manifest, Row};
use crate::archive::side::Side;
use crate::intake::study::Cell;
use crate::prepare::{Augmentation, Transform};
use crate::text::Shown;
use crate::text::{guard, unguard};
use crate::{Error, Result, files};
use std::path::Path;

/// A larger file is no table of studies: this is half a million rows.
const MAX_BYTES: u64 = 64 << 20;

/// The columns that every manifest has.
const COLUMNS: [&str; 4] = ["patient", "anterior", "posterior", "label"];
pub(super) const HEADER: &str = "patient,anterior,posterior,label";
/// The columns that may be there.
const OPTIONAL: [&str; 8] =
    ["side", "rotation_deg", "shift_rows_px", "shift_columns_px", "drawn", "report", "simulated", "inverted"];

impl Manifest {
    /// Reads and checks a manifest. Paths come back joined to the manifest's folder.
    ///
    /// # Errors
    /// One sentence naming file and line: not UTF-8 or CSV; a column unknown, missing or there twice; a row of another length;
    /// an empty patient or label, or no scan; a missing file; a scan that is listed twice under two patients or labels, or with
    /// one transform; a side or transform that is none; a patient on both sides, or under two kinds of metastasis (see
    /// [`Manifest::new`]); no row.
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
            let [patient, anterior, posterior, label] = columns.map(|column| unguard(record.get(column).unwrap_or_default()));
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
                    let problem = format!("line {line} names {}, which does not exist", scan.path.shown());
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
            let path = cell.path.strip_prefix(folder).unwrap_or(&cell.path).to_owned();
            if path.to_str().is_none() {
                let remedy = "rename the file or the folder it is in, or write the manifest in that folder";
                return Err(Error::file(&path, "has a name that is not UTF-8, which a manifest cannot hold", remedy));
            }
            Ok(Cell { path, frame: cell.frame }.to_string())
        };
        let sides = self.rows.iter().any(|row| row.side.is_some());
        let drawn = self.rows.iter().any(|row| row.drawn);
        let draws = drawn || self.rows.iter().any(Row::is_augmented);
        let reports = self.rows.iter().any(|row| row.report.is_some());
        let simulated = self.rows.iter().any(|row| row.simulated || is_named_as_phantom(&row.patient));
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
            let [drawn, simulated, inverted] =
                [row.drawn, row.simulated, row.inverted].map(|holds| if holds { "yes" } else { "no" });
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

/// Whether a manifest from before there was the column `simulated` has a phantom under this name.
fn is_named_as_phantom(patient: &str) -> bool {
    patient.starts_with("phantom-")
}

/// The row with what its optional cells say; `None` where there is no such column.
fn with_optional(path: &Path, line: usize, row: Row, cells: [Option<&str>; OPTIONAL.len()]) -> Result<Row> {
    let [side, angle, down, right, drawn, report, simulated, inverted] = cells;
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
    let transform = Transform {
        angle_deg: value(OPTIONAL[1], angle, limits.rotation_deg)?,
        shift_rows_px: value(OPTIONAL[2], down, limits.translation_px)?,
        shift_columns_px: value(OPTIONAL[3], right, limits.translation_px)?,
    };
    let yes = |name: &str, cell: &str| match cell {
        "yes" => Ok(true),
        "" | "no" => Ok(false),
        other => Err(refuse(format!("says `{other}` under {name}"), "write yes or no")),
    };
    let drawn = yes(OPTIONAL[4], drawn.unwrap_or_default())?;
    let simulated = match simulated {
        Some(cell) => yes(OPTIONAL[6], cell)?,
        None => is_named_as_phantom(&row.patient),
    };
    let inverted = yes(OPTIONAL[7], inverted.unwrap_or_default())?;
    let report = report.filter(|report| !report.is_empty()).map(|report| unguard(report).to_owned());
    Ok(Row { side, transform, drawn, report, simulated, inverted, ..row })
}
