//! The Zenodo set (doi 10.5281/zenodo.13900966).
//!
//! Known: 291 patients, 60 with metastases, two views each, 16-bit grey PNG; folders by class and view,
//! `images/CLASS/Anterior/A12.png` and `images/CLASS/Posterior/P12.png`, the number joining the views within a class. Assumed:
//! the words in the names of the class folders (any that says metastasis, with or without a no), and that the number counts
//! within a class, which the totals confirm: 582 images are twice 291, so that nobody is in both classes. Other depths of
//! folders, and views in file names (`12_ant.png`), are read too. Where no folder names a class, a CSV file in the archive may: a
//! column of files or patients (`file`, `filename`, `image`, `path`, `patient`, `id`) and one of classes (`label`, `class`,
//! `diagnosis`, `metastasis`).

use super::{Imported, MAX_DEPTH, MAX_TEXT, NO_METASTASIS, Studies, entries};
use crate::archive::manifest::METASTATIC;
use crate::image::View;
use crate::intake::picture;
use crate::text::Shown;
use crate::{Error, Result, files};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Reads the Zenodo set below `folder`; the manifest is for the path `output`, in a folder that exists. Hidden files do not
/// count.
///
/// # Errors
/// A folder that cannot be read; no study in it.
pub fn zenodo(folder: &Path, output: &Path) -> Result<Imported> {
    let mut studies = Studies::default();
    let mut pictures = Vec::new();
    walk(folder, 0, &mut pictures)?;
    let table = class_table(folder)?;
    for path in pictures {
        let within = path.strip_prefix(folder).unwrap_or(&path);
        let folders: Vec<String> = within
            .parent()
            .into_iter()
            .flat_map(|parent| parent.components())
            .map(|part| part.as_os_str().to_string_lossy().to_lowercase())
            .collect();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if name.ends_with(".csv") && within.components().count() == 1 {
            continue; // read as the table of classes
        }
        let (in_name, number) = view_in_name(&stem);
        let in_folder = folders.iter().rev().find_map(|part| view_word(part));
        let view = match (in_folder, in_name) {
            (Some(one), Some(other)) if one != other => {
                studies.skipped.add("one view by its folder and the other by its name", within.shown());
                continue;
            }
            (one, other) => one.or(other),
        };
        let listed = || [&name, &stem, &number].into_iter().find_map(|key| table.get(key)).copied();
        let class = folders.iter().rev().find_map(|part| class_word(part)).or_else(listed);
        match (view, class) {
            _ if !picture::is_picture(&path) => studies.skipped.add("no PNG or JPEG picture", within.shown()),
            (None, _) => studies.skipped.add("no view in its path", within.shown()),
            (_, None) => studies.skipped.add("no class in its path", within.shown()),
            (Some(view), Some(metastatic)) => {
                let class = if metastatic { METASTATIC } else { NO_METASTASIS };
                studies.put(format!("{class}-{number}"), view, path, metastatic);
            }
        }
    }
    studies.finish(folder, output)
}

/// Every file below a folder that is not hidden, by name. Links to folders are not followed.
fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "__MACOSX" {
            continue;
        }
        let about = path.symlink_metadata().map_err(|error| Error::io(&path, "read", &error))?;
        if !about.is_dir() {
            found.push(path);
        } else if depth < MAX_DEPTH {
            walk(&path, depth + 1, found)?;
        }
    }
    Ok(())
}

/// The words of a name: runs of letters, in lower case.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphabetic()).filter(|word| !word.is_empty())
}

/// Whether a name in lower case says metastasis (`true`) or none; `None` where it says neither.
fn class_word(text: &str) -> Option<bool> {
    const NONE: [&str; 13] =
        ["no", "non", "not", "none", "without", "sin", "normal", "negative", "healthy", "control", "benign", "nomet", "nonmet"];
    const SOME: [&str; 6] = ["positive", "abnormal", "malignant", "yes", "si", "true"];
    let mut says = None;
    for word in words(text) {
        if NONE.contains(&word) || word.starts_with("nomet") || word.starts_with("nonmet") || word == "false" {
            return Some(false);
        }
        if SOME.contains(&word) || word.starts_with("met") {
            says = Some(true);
        }
    }
    says
}

/// The view that a name in lower case says.
fn view_word(text: &str) -> Option<View> {
    words(text).find_map(|word| match word {
        "anterior" | "ant" => Some(View::Anterior),
        "posterior" | "post" => Some(View::Posterior),
        _ => None,
    })
}

/// The view in a file's name without extension, and what is left: `a12`, `12_ant` and `anterior-12` are the anterior view of 12.
fn view_in_name(stem: &str) -> (Option<View>, String) {
    for (letter, view) in [('a', View::Anterior), ('p', View::Posterior)] {
        if let Some(rest) = stem.strip_prefix(letter).filter(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        {
            return (Some(view), rest.to_owned());
        }
    }
    let part = |character: char| !character.is_alphanumeric();
    let rest: Vec<&str> = stem.split(part).filter(|part| !part.is_empty() && view_word(part).is_none()).collect();
    match view_word(stem) {
        Some(view) => (Some(view), rest.join("-")),
        None => (None, stem.to_owned()),
    }
}

/// Classes by file or patient, in lower case, of the CSV files in a folder that have such columns.
fn class_table(folder: &Path) -> Result<HashMap<String, bool>> {
    let mut table = HashMap::new();
    for path in entries(folder)? {
        if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) || !path.is_file() {
            continue;
        }
        let bytes = files::read_at_most(&path, MAX_TEXT)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
        let Ok(header) = reader.headers().cloned() else { continue };
        let column = |names: &[&str]| {
            header.iter().position(|cell| names.contains(&cell.trim_start_matches('\u{feff}').to_lowercase().as_str()))
        };
        let key = column(&["file", "filename", "image", "path", "patient", "id"]);
        let class = column(&["label", "class", "diagnosis", "metastasis", "metastases"]);
        let (Some(key), Some(class)) = (key, class) else { continue };
        for record in reader.records().flatten() {
            let cell = |at: usize| record.get(at).unwrap_or_default().to_lowercase();
            let says = match cell(class).as_str() {
                "0" => Some(false),
                "1" => Some(true),
                word => class_word(word),
            };
            if let (Some(says), Some(name)) = (says, cell(key).rsplit(['/', '\\']).next().filter(|name| !name.is_empty())) {
                table.insert(name.to_owned(), says);
            }
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_many_ways() {
        for (name, class) in [
            ("bone metastases", Some(true)),
            ("no bone metastases", Some(false)),
            ("sin metastasis", Some(false)),
            ("metastasis_no", Some(false)),
            ("nomet", Some(false)),
            ("met", Some(true)),
            ("normal", Some(false)),
            ("images", None),
            ("anterior", None),
        ] {
            assert_eq!(class_word(name), class, "{name}");
        }
        for (stem, view, number) in [
            ("a12", Some(View::Anterior), "12"),
            ("p7", Some(View::Posterior), "7"),
            ("12_ant", Some(View::Anterior), "12"),
            ("post-patient 12", Some(View::Posterior), "patient-12"),
            ("a", None, "a"),
            ("", None, ""),
            ("12", None, "12"),
        ] {
            assert_eq!(view_in_name(stem), (view, number.to_owned()), "{stem}");
        }
    }
}
