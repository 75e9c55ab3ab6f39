//! What no table of studies may say: a scan twice, a patient on two sides or with two kinds of cancer.

use super::header::HEADER;
use super::{PAPER_CLASSES, Row};
use crate::archive::side::Side;
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Holds rows against each other; each fault is one call of `fault`. `row_name` is where a row is, for messages.
///
/// # Errors
/// Those of `fault`.
pub(super) fn check(
    path: &Path,
    rows: &[Row],
    row_name: impl Fn(usize) -> String,
    fault: &mut dyn FnMut(Error) -> Result<()>,
) -> Result<()> {
    if rows.is_empty() {
        return fault(Error::file(path, "lists no study", format!("write one study a line below the header {HEADER}")));
    }
    refuse_repeated_scans(path, rows, &row_name, fault)?;
    refuse_two_kinds(path, rows, &row_name, fault)?;
    refuse_two_sides(path, rows, &row_name, fault)
}

/// A transform's bits, without -0.
type Draw = [u32; 3];

/// The rows that list one image, or one file with any of its frames.
#[derive(Default)]
struct Listed {
    /// The first, and the first of another patient or label.
    firsts: Vec<usize>,
    /// The first with each transform.
    draws: HashMap<Draw, usize>,
}

impl Listed {
    /// The first row that lists it and is no copy of `row`: one of another patient or label, or with the same transform.
    fn clash(&self, rows: &[Row], row: &Row, draw: &Draw) -> Option<usize> {
        let other = self.firsts.iter().copied().find(|before| is_other(&rows[*before], row));
        other.into_iter().chain(self.draws.get(draw).copied()).min()
    }

    fn put(&mut self, rows: &[Row], at: usize, draw: Draw) {
        if self.firsts.first().is_none_or(|first| self.firsts.len() == 1 && is_other(&rows[*first], &rows[at])) {
            self.firsts.push(at);
        }
        self.draws.entry(draw).or_insert(at);
    }
}

fn is_other(one: &Row, other: &Row) -> bool {
    (&one.patient, &one.label) != (&other.patient, &other.label)
}

/// A scan that is listed twice would be trained on and tested with, or count double, or contradict itself; copies of it that
/// were drawn differently are of the same patient and class.
fn refuse_repeated_scans(
    path: &Path,
    rows: &[Row],
    row_name: impl Fn(usize) -> String,
    fault: &mut dyn FnMut(Error) -> Result<()>,
) -> Result<()> {
    /// Of a file: under no frame the cells of the whole file, and those of any frame beside them.
    #[derive(Default)]
    struct OfFile {
        frames: HashMap<Option<usize>, Listed>,
        any: Listed,
    }
    let mut seen: HashMap<PathBuf, OfFile> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        let transform = [row.transform.angle_deg, row.transform.shift_rows_px, row.transform.shift_columns_px];
        let draw = transform.map(|value| (value + 0.0).to_bits());
        let is_twice = match (&row.anterior, &row.posterior) {
            (Some(one), Some(other)) => {
                let overlaps = one.frame.is_none() || other.frame.is_none() || one.frame == other.frame;
                overlaps && one.path.components().eq(other.path.components())
            }
            _ => false,
        };
        for (view, cell) in row.cells().enumerate() {
            if view == 1 && is_twice {
                let problem = format!("{} has {cell} as both views", row_name(at));
                fault(Error::file(path, problem, "name two files or frames, or leave posterior empty"))?;
                continue;
            }
            // By components, `./a` is `a`.
            let of_file = seen.entry(cell.path.components().collect()).or_default();
            // A whole file is all of its frames.
            let clash = match cell.frame {
                None => of_file.any.clash(rows, row, &draw),
                Some(_) => [None, cell.frame].iter().filter_map(|frame| of_file.frames.get(frame)?.clash(rows, row, &draw)).min(),
            };
            if let Some(before) = clash {
                let other = &rows[before];
                let under = match (row.patient == other.patient, row.label == other.label) {
                    (false, _) => format!(" under two patients, {} and {}", other.patient, row.patient),
                    (true, false) => format!(" under two labels, {} and {}", other.label, row.label),
                    (true, true) => String::new(),
                };
                let problem = format!("{} and {} list the scan {cell}{under}", row_name(before), row_name(at));
                fault(Error::file(path, problem, "list each scan once"))?;
            }
            of_file.frames.entry(cell.frame).or_default().put(rows, at, draw);
            of_file.any.put(rows, at, draw);
        }
    }
    Ok(())
}

/// A patient on both sides would be trained on and tested with; a row without a side would be on neither.
fn refuse_two_sides(
    path: &Path,
    rows: &[Row],
    row_name: impl Fn(usize) -> String,
    fault: &mut dyn FnMut(Error) -> Result<()>,
) -> Result<()> {
    let mut sides: HashMap<&str, usize> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        if row.side.is_some() != rows[0].side.is_some() {
            let (with, without) = if row.side.is_some() { (at, 0) } else { (0, at) };
            let problem = format!("{} has a side and {} has none", row_name(with), row_name(without));
            fault(Error::file(path, problem, "give every row a side, or none"))?;
            continue;
        }
        let first = *sides.entry(&row.patient).or_insert(at);
        if rows[first].side != row.side {
            let [one, two] = [first, at].map(|at| rows[at].side.map_or("", Side::name));
            let problem =
                format!("patient {} is on the side {one} in {} and {two} in {}", row.patient, row_name(first), row_name(at));
            fault(Error::file(path, problem, "put all scans of a patient on one side"))?;
        }
    }
    Ok(())
}

/// A patient's cancer is an adenocarcinoma or another, not both.
fn refuse_two_kinds(
    path: &Path,
    rows: &[Row],
    row_name: impl Fn(usize) -> String,
    fault: &mut dyn FnMut(Error) -> Result<()>,
) -> Result<()> {
    let metastatic = &PAPER_CLASSES[1..];
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate().filter(|(_, row)| metastatic.contains(&row.label.as_str())) {
        let first = *kinds.entry(&row.patient).or_insert(at);
        if rows[first].label != row.label {
            let (one, two) = (&rows[first].label, &row.label);
            let problem = format!(
                "patient {} is {one} in {} and {two} in {}, which cannot both be",
                row.patient,
                row_name(first),
                row_name(at)
            );
            fault(Error::file(path, problem, "correct the patient or the label"))?;
        }
    }
    Ok(())
}
