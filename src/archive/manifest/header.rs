//! The columns of a table: which is which, under their own names or under those that the user gives.

use super::likeness::{letters_between, quoted};
use crate::text::shell_word;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The columns that every manifest has.
pub(super) const COLUMNS: [&str; 4] = ["patient", "anterior", "posterior", "label"];
pub(super) const HEADER: &str = "patient,anterior,posterior,label";
/// The columns that may be there.
pub(super) const OPTIONAL: [&str; 8] =
    ["side", "rotation_deg", "shift_rows_px", "shift_columns_px", "drawn", "report", "simulated", "inverted"];

/// A name with as many letters to change as this may be meant as a column.
const A_SLIP: usize = 2;

/// Names that a message lists.
const MOST_NAMED: usize = 12;

/// Other names that the columns of a table have: `label=diagnosis`, each column once. `posterior=` says that there is none, which every
/// column but patient and label may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct ColumnNames(BTreeMap<&'static str, String>);

impl ColumnNames {
    /// Of texts such as `label=diagnosis`, as `--column` takes them.
    ///
    /// # Errors
    /// A text without `=`; a column that no manifest has, that cannot be left out, or that is named twice; a name for two columns.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self> {
        let mut names = BTreeMap::new();
        for text in texts {
            let text = text.as_ref();
            let refuse = |problem: &str, remedy: &str| {
                Err(Error::setting(format!("--column {}: {problem}", shell_word(text)), remedy.to_owned()))
            };
            let Some((column, name)) = text.split_once('=').map(|(column, name)| (plain(column), name.trim())) else {
                return refuse("has no =", "write COLUMN=NAME, such as label=diagnosis");
            };
            let Some(column) = COLUMNS.into_iter().chain(OPTIONAL).find(|known| *known == column) else {
                let known = [&COLUMNS[..], &OPTIONAL].concat().join(", ");
                return refuse("names a column that no manifest has", &format!("write one of {known} before the ="));
            };
            if name.is_empty() && ["patient", "label"].contains(&column) {
                return refuse("leaves out a column that every manifest has", "write its name in the table behind the =");
            }
            if names.values().any(|other| !name.is_empty() && other == name) {
                return refuse("gives a name that another column has", "name each column of the table once");
            }
            if names.insert(column, name.to_owned()).is_some() {
                return refuse("names the column a second time", "name each column once");
            }
        }
        if ["anterior", "posterior"].iter().all(|view| names.get(view).is_some_and(String::is_empty)) {
            return Err(Error::setting("--column leaves out both views", "name the column of one of them"));
        }
        Ok(ColumnNames(names))
    }

    /// Whether every column has its own name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As `--column` takes them.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(|(column, name)| format!("{column}={name}")).collect()
    }
}

impl TryFrom<Vec<String>> for ColumnNames {
    type Error = Error;

    fn try_from(texts: Vec<String>) -> Result<Self> {
        ColumnNames::parse(texts)
    }
}

impl From<ColumnNames> for Vec<String> {
    fn from(names: ColumnNames) -> Self {
        names.texts()
    }
}

/// A column's name as it is compared: in small letters, with `_` for blanks and hyphens within it.
fn plain(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '-'], "_")
}

/// Where the columns of a table stand.
pub(super) struct Header {
    /// Those of [`COLUMNS`]; `None` for one that the user leaves out, or whose fault was told.
    pub(super) required: [Option<usize>; COLUMNS.len()],
    /// Those of [`OPTIONAL`] that are there.
    pub(super) optional: [Option<usize>; OPTIONAL.len()],
    /// Up to the last that has a name.
    pub(super) width: usize,
    /// All of [`COLUMNS`] that there should be are there.
    pub(super) is_whole: bool,
    /// Columns without a name before the last that has one.
    nameless: BTreeSet<usize>,
    /// A sentence about the columns that are passed over.
    pub(super) note: Option<String>,
}

/// How much of a manifest's header these cells are: columns that each must have, all that it knows, and cells.
pub(super) fn known_columns(header: &csv::StringRecord, names: &ColumnNames) -> [usize; 3] {
    let plains: Vec<String> = header.iter().map(plain).collect();
    let has = |column: &&&str| {
        let name = names.0.get(**column).map_or(**column, |name| name);
        plains.iter().any(|own| *own == plain(name))
    };
    let required = COLUMNS.iter().filter(has).count();
    [required, required + OPTIONAL.iter().filter(has).count(), header.len()]
}

impl Header {
    /// The columns of a header's cells, which have no blanks around them. Each fault is one call of `fault`.
    ///
    /// # Errors
    /// Those of `fault`.
    pub(super) fn read(
        path: &Path,
        header: &csv::StringRecord,
        names: &ColumnNames,
        fault: &mut dyn FnMut(Error) -> Result<()>,
    ) -> Result<Header> {
        let cells: Vec<(usize, &str)> = header.iter().enumerate().filter(|(_, cell)| !cell.is_empty()).collect();
        let plains: Vec<String> = header.iter().map(plain).collect();
        let mut taken: BTreeSet<usize> = BTreeSet::new();
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        let mut missing: Vec<&str> = Vec::new();
        let mut absent: Vec<(&str, &str)> = Vec::new();
        let mut is_whole = true;
        // Columns that the user names first: another of the column's own name is then no column of a manifest.
        let known = || COLUMNS.into_iter().chain(OPTIONAL);
        let named = known().filter(|column| names.0.contains_key(column));
        let own = known().filter(|column| !names.0.contains_key(column));
        for column in named.chain(own) {
            let given = names.0.get(column);
            let name = given.map_or(column, String::as_str);
            if name.is_empty() {
                continue;
            }
            let mut at: Vec<usize> = cells.iter().filter(|(_, cell)| *cell == name).map(|(at, _)| *at).collect();
            if at.is_empty() || given.is_none() {
                at = cells.iter().filter(|(at, _)| plains[*at] == plain(name)).map(|(at, _)| *at).collect();
            }
            at.retain(|at| !taken.contains(at));
            match (&at[..], given) {
                ([one], _) => {
                    taken.insert(*one);
                    found.insert(column, *one);
                }
                ([], None) if OPTIONAL.contains(&column) => {}
                ([], None) => missing.push(column),
                ([], Some(name)) => absent.push((column, name.as_str())),
                (several, _) => {
                    let problem = format!("has the column {} twice", quoted(name));
                    let different = several.iter().map(|at| &header[*at]).find(|cell| &header[several[0]] != *cell);
                    let remedy = match different {
                        Some(other) => format!(
                            "remove one of them, or say which it is with --column {} or --column {}",
                            shell_word(&format!("{column}={}", &header[several[0]])),
                            shell_word(&format!("{column}={other}"))
                        ),
                        None => "remove one of them".to_owned(),
                    };
                    fault(Error::file(path, problem, remedy))?;
                    taken.extend(several);
                    is_whole &= !COLUMNS.contains(&column);
                }
            }
        }
        let unknown: Vec<&str> = cells.iter().filter(|(at, _)| !taken.contains(at)).map(|(_, cell)| *cell).collect();
        if !absent.is_empty() {
            let [columns, names] = [|(column, _): &(&str, &str)| column.to_string(), |(_, name): &(&str, &str)| quoted(name)]
                .map(|part| joined(&absent.iter().map(part).collect::<Vec<_>>()));
            let several = if absent.len() > 1 { "s" } else { "" };
            let problem = format!("lacks the column{several} {names}, which --column names for {columns}");
            let there = listed(cells.iter().map(|(_, cell)| *cell));
            fault(Error::file(path, problem, format!("give --column with a name that is there: {there}")))?;
            is_whole &= !absent.iter().any(|(column, _)| COLUMNS.contains(column));
        }
        // The unknown name that is nearest to a column's.
        let meant = |column: &str| {
            let letters = |name: &&&str| letters_between(&plain(name), column, A_SLIP.min(column.len() - 3));
            unknown.iter().filter(|name| letters(name).is_some()).min_by_key(|name| letters(name)).copied()
        };
        if !missing.is_empty() {
            let names = missing.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>();
            let problem = format!("lacks the column{} {}", if names.len() > 1 { "s" } else { "" }, joined(&names));
            fault(Error::file(path, problem, remedy(&missing, &unknown, meant)))?;
        }
        let note = (!unknown.is_empty()).then(|| {
            let slips = known().filter(|column| !found.contains_key(column) && !missing.contains(column));
            let slips = slips.filter(|column| !names.0.contains_key(column));
            let slips = slips.filter_map(|column| {
                let name = meant(column)?;
                Some(format!("; did you mean --column {}", shell_word(&format!("{column}={name}"))))
            });
            let columns = if unknown.len() > 1 { "columns" } else { "column" };
            format!("passes over the {columns} {}{}", listed(unknown.iter().copied()), slips.collect::<String>())
        });
        Ok(Header {
            required: COLUMNS.map(|column| found.get(column).copied()),
            optional: OPTIONAL.map(|column| found.get(column).copied()),
            width: cells.last().map_or(0, |(at, _)| at + 1),
            is_whole: is_whole && missing.is_empty(),
            nameless: (0..header.len()).filter(|at| header[*at].is_empty()).collect(),
            note,
        })
    }

    /// Whether a column has no name, though one behind it has.
    pub(super) fn is_nameless(&self, at: usize) -> bool {
        at < self.width && self.nameless.contains(&at)
    }
}

/// What to do about columns that are missing where a table has `unknown` ones, of which some may be `meant`.
fn remedy<'a>(missing: &[&str], unknown: &[&str], meant: impl Fn(&str) -> Option<&'a str>) -> String {
    let none = match missing {
        [view @ ("anterior" | "posterior")] => format!(", or give --column {view}= where there is none"),
        _ => String::new(),
    };
    if unknown.is_empty() {
        return format!("write the header {HEADER}{none}");
    }
    let flag = |column: &&str| format!(" --column {}", shell_word(&format!("{column}={}", meant(column).unwrap_or("NAME"))));
    let flags: String = missing.iter().map(flag).collect();
    let names = || format!(", with a NAME of {}", listed(unknown.iter().copied()));
    match missing.iter().filter(|column| meant(column).is_some()).count() {
        0 => format!("say which is which with{flags}{}{none}", names()),
        slips if slips < missing.len() => format!("did you mean{flags}{}", names()),
        _ => format!("did you mean{flags}"),
    }
}

/// Names in quotes, not all of very many.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(quoted).collect();
    match names.len().saturating_sub(MOST_NAMED) {
        0 => joined(&names),
        more => format!("{} and {more} more", names[..MOST_NAMED].join(", ")),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn joined(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}
