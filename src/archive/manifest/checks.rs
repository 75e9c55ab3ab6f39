//! What no table of studies may say: a scan twice, a patient on two sides or with two kinds of cancer.

use super::{PAPER_CLASSES, Row};
use crate::archive::side::Side;
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// A scan that is listed twice would be trained on and tested with, or count double, or contradict itself; copies of it that
/// were drawn differently are of the same patient and class.
pub(super) fn refuse_repeated_scans(path: &Path, rows: &[Row], row_name: impl Fn(usize) -> String) -> Result<()> {
    let mut seen: HashMap<PathBuf, Vec<(Option<usize>, usize)>> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        for cell in row.cells() {
            // By components, `./a` is `a`.
            let others = seen.entry(cell.path.components().collect()).or_default();
            let clash = |&&(frame, before): &&(Option<usize>, usize)| {
                let other = &rows[before];
                // A whole file is all of its frames.
                let overlaps = frame.is_none() || cell.frame.is_none() || frame == cell.frame;
                let copy = before != at
                    && (&other.patient, &other.label) == (&row.patient, &row.label)
                    && other.transform != row.transform;
                overlaps && !copy
            };
            if let Some(&(_, before)) = others.iter().find(clash) {
                let other = &rows[before];
                if before == at {
                    let problem = format!("{} has {cell} as both views", row_name(at));
                    return Err(Error::file(path, problem, "name two files or frames, or leave posterior empty"));
                }
                let under = match (row.patient == other.patient, row.label == other.label) {
                    (false, _) => format!(" under two patients, {} and {}", other.patient, row.patient),
                    (true, false) => format!(" under two labels, {} and {}", other.label, row.label),
                    (true, true) => String::new(),
                };
                let problem = format!("{} and {} list the scan {cell}{under}", row_name(before), row_name(at));
                return Err(Error::file(path, problem, "list each scan once"));
            }
            others.push((cell.frame, at));
        }
    }
    Ok(())
}

/// A patient on both sides would be trained on and tested with; a row without a side would be on neither.
pub(super) fn refuse_two_sides(path: &Path, rows: &[Row], row_name: impl Fn(usize) -> String) -> Result<()> {
    let mut sides: HashMap<&str, usize> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        if row.side.is_some() != rows[0].side.is_some() {
            let (with, without) = if row.side.is_some() { (at, 0) } else { (0, at) };
            let problem = format!("{} has a side and {} has none", row_name(with), row_name(without));
            return Err(Error::file(path, problem, "give every row a side, or none"));
        }
        let first = *sides.entry(&row.patient).or_insert(at);
        if rows[first].side != row.side {
            let [one, two] = [first, at].map(|at| rows[at].side.map_or("", Side::name));
            let problem =
                format!("patient {} is on the side {one} in {} and {two} in {}", row.patient, row_name(first), row_name(at));
            return Err(Error::file(path, problem, "put all scans of a patient on one side"));
        }
    }
    Ok(())
}

/// A patient's cancer is an adenocarcinoma or another, not both.
pub(super) fn refuse_two_kinds(path: &Path, rows: &[Row], row_name: impl Fn(usize) -> String) -> Result<()> {
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
            return Err(Error::file(path, problem, "correct the patient or the label"));
        }
    }
    Ok(())
}
