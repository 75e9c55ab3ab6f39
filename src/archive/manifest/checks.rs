//! What no table of studies may say: a scan twice, a patient on two sides or with two kinds of cancer.

use super::header::HEADER;
use super::{PAPER_CLASSES, Row};
use crate::archive::side::Side;
use crate::{Error, Result};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
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
struct Listed {
    /// The first.
    first: usize,
    /// The first of another patient or label.
    other: Option<usize>,
    /// The first with each transform that is not that of the first row.
    draws: HashMap<Draw, usize>,
}

impl Listed {
    /// The first row that lists it and is no copy of `row`: one of another patient or label, or with the same transform.
    fn clash(&self, rows: &[Row], row: &Row) -> Option<usize> {
        let others = [Some(self.first), self.other].into_iter().flatten();
        let other = others.into_iter().find(|before| is_other(&rows[*before], row));
        let draw = draw_of(row);
        let same = if draw == draw_of(&rows[self.first]) { Some(self.first) } else { self.draws.get(&draw).copied() };
        other.into_iter().chain(same).min()
    }

    fn put(entry: Entry<impl Eq + Hash, Listed>, rows: &[Row], at: usize) {
        match entry {
            Entry::Vacant(entry) => drop(entry.insert(Listed { first: at, other: None, draws: HashMap::new() })),
            Entry::Occupied(mut entry) => {
                let listed = entry.get_mut();
                if is_other(&rows[listed.first], &rows[at]) {
                    listed.other.get_or_insert(at);
                }
                let draw = draw_of(&rows[at]);
                if draw != draw_of(&rows[listed.first]) {
                    listed.draws.entry(draw).or_insert(at);
                }
            }
        }
    }
}

fn draw_of(row: &Row) -> Draw {
    [row.transform.angle_deg, row.transform.shift_rows_px, row.transform.shift_columns_px].map(|value| (value + 0.0).to_bits())
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
    // By components, `./a` is `a`. Files by the order in which they are found; a whole file is its frame `None`.
    let mut files: HashMap<PathBuf, usize> = HashMap::new();
    let mut any: HashMap<usize, Listed> = HashMap::new();
    let mut framed: HashMap<(usize, Option<usize>), Listed> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
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
            let next = files.len();
            let file = *files.entry(cell.path.components().collect()).or_insert(next);
            // A whole file is all of its frames.
            let clash = match cell.frame {
                None => any.get(&file).and_then(|listed| listed.clash(rows, row)),
                Some(_) => {
                    let overlapping = [None, cell.frame].into_iter().filter_map(|frame| framed.get(&(file, frame)));
                    overlapping.filter_map(|listed| listed.clash(rows, row)).min()
                }
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
            Listed::put(framed.entry((file, cell.frame)), rows, at);
            Listed::put(any.entry(file), rows, at);
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
