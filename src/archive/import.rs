//! Public archives of whole-body bone scans to ordinary manifests. Both have two classes, NoMet and Met, and a study a patient.
//!
//! Only names, label files and the first bytes of pictures are read here; what is in the pictures is [`crate::intake::picture`]'s. Whatever
//! cannot be used is left out and told with its reason, and no name makes a panic.
//!
//! # The Zenodo set (doi 10.5281/zenodo.13900966)
//! Known: 291 patients, 60 with metastases, two views each, 16-bit grey PNG; folders by class and view,
//! `images/CLASS/Anterior/A12.png` and `images/CLASS/Posterior/P12.png`, the number joining the views within a class. Assumed: the
//! words in the names of the class folders (any that says metastasis, with or without a no), and that the number counts within a
//! class, which the totals confirm: 582 images are twice 291, so that nobody is in both classes. Other depths of folders, and views
//! in file names (`12_ant.png`), are read too. Where no folder names a class, a CSV file in the archive may: a column
//! of files or patients (`file`, `filename`, `image`, `path`, `patient`, `id`) and one of classes (`label`, `class`, `diagnosis`, `metastasis`).
//!
//! # BS-80K (Huang and others, Computers in Biology and Medicine 2022, 151:106221)
//! Known: about 3247 patients; `wholeBodyANT/17.jpg` and `wholeBodyPOST/17.jpg` are one patient's views; `wholeBodyANT/wholeBodyANT.txt`
//! has a line a picture, `17.jpg` and 0 (normal) or 1 (abnormal), and so for the posterior views; `wholeBodyANT/ant/17.xml` and
//! `wholeBodyPOST/post/17.xml` hold boxes in Pascal VOC's form, named Normal or Abnormal. The folders of body parts beside them are
//! not read. Some scans are there under two patients. Assumed: that abnormal means metastasis, and that a study is metastatic where
//! either view is labelled so.

use super::manifest::{METASTATIC, Manifest, PAPER_CLASSES, Row};
use crate::image::View;
use crate::intake::picture;
use crate::intake::study::Cell;
use crate::{Error, Result, files};
use quick_xml::events::Event;
use quick_xml::{Reader, XmlVersion};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

const NO_METASTASIS: &str = PAPER_CLASSES[0];

/// Folders deeper than this are no archive's.
const MAX_DEPTH: usize = 8;
/// A label file or an annotation is smaller.
const MAX_TEXT: u64 = 16 << 20;

/// What an archive holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// A study a patient, named for the path that was asked for; not written yet.
    pub manifest: Manifest,
    /// Boxes that physicians drew.
    pub boxes: Vec<Hotspot>,
    /// What was left out.
    pub skipped: Skipped,
    /// Studies whose views are labelled differently; they count as metastatic.
    pub disagreements: usize,
}

/// A box around a spot of uptake, in pixels of its view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hotspot {
    /// Its patient in the manifest.
    pub patient: String,
    /// Its view.
    pub view: View,
    /// `Normal` or `Abnormal`, as the archive says.
    pub label: String,
    /// Left, top, right and bottom.
    pub bounds: [u32; 4],
}

/// What was left out, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped(BTreeMap<&'static str, Vec<String>>);

impl Skipped {
    fn add(&mut self, reason: &'static str, what: impl fmt::Display) {
        let what = what.to_string().replace(char::is_control, "\u{fffd}");
        self.0.entry(reason).or_default().push(what);
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

impl fmt::Display for Skipped {
    /// One sentence: `left out 3: 2 are no pictures (a.txt, b.txt); 1 names no class in its path (c.png)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        write!(f, "left out {}: ", self.count())?;
        for (at, (reason, names)) in self.0.iter().enumerate() {
            let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = if names.len() > SHOWN { ", ..." } else { "" };
            write!(f, "{}{} {reason} ({shown}{more})", if at > 0 { "; " } else { "" }, names.len())?;
        }
        Ok(())
    }
}

/// Studies under way, by patient.
#[derive(Default)]
struct Studies {
    of: BTreeMap<String, Found>,
    skipped: Skipped,
}

#[derive(Default)]
struct Found {
    /// Anterior and posterior: the file, and whether it is labelled metastatic.
    views: [Option<(PathBuf, bool)>; 2],
}

impl Studies {
    /// Puts a picture in its place, if a manifest can name it.
    fn put(&mut self, patient: String, view: View, path: PathBuf, metastatic: bool) {
        let writable = |text: &str| !text.is_empty() && text == text.trim() && !text.contains(char::is_control);
        let named = path.to_str().is_some_and(writable) && writable(&patient);
        if !named {
            return self.skipped.add("have a name that a manifest cannot hold", path.display());
        }
        if !picture::is_picture(&path) {
            return self.skipped.add("are no PNG or JPEG pictures", path.display());
        }
        let place = &mut self.of.entry(patient).or_default().views[usize::from(view == View::Posterior)];
        match place {
            Some(_) => self.skipped.add("are a second picture of a view", path.display()),
            None => *place = Some((path, metastatic)),
        }
    }

    /// The manifest at `output`, without pictures that two patients have.
    fn finish(mut self, folder: &Path, output: &Path) -> Result<Imported> {
        // 2 before 10.
        let mut of: Vec<(String, Found)> = std::mem::take(&mut self.of).into_iter().collect();
        of.sort_by(|(one, _), (other, _)| (one.len(), one).cmp(&(other.len(), other)));
        let mut owner: HashMap<String, String> = HashMap::new();
        let mut disagreements = 0;
        let mut rows = Vec::new();
        for (patient, found) in of {
            let mut doubled = false;
            for (path, _) in found.views.iter().flatten() {
                let hash = files::sha256(&files::read_at_most(path, crate::dicom::MAX_FILE_BYTES)?);
                doubled |= *owner.entry(hash).or_insert_with(|| patient.clone()) != patient;
            }
            if doubled {
                self.skipped.add("are of patients with a picture that another patient has too", &patient);
                continue;
            }
            let labels: Vec<bool> = found.views.iter().flatten().map(|(_, metastatic)| *metastatic).collect();
            disagreements += usize::from(labels.iter().any(|label| *label != labels[0]));
            let label = if labels.contains(&true) { METASTATIC } else { NO_METASTASIS };
            let [anterior, posterior] = found.views.map(|view| view.map(|(path, _)| Cell { path, frame: None }));
            rows.push(Row::new(&patient, anterior, posterior, label));
        }
        if rows.is_empty() {
            let skipped = if self.skipped.count() > 0 { format!(" ({})", self.skipped) } else { String::new() };
            let problem = format!("holds no study that can be read{skipped}");
            return Err(Error::file(folder, problem, "give the folder that the archive was unpacked to"));
        }
        let manifest = Manifest::new(output, rows)?.moved_to(output)?;
        Ok(Imported { manifest, boxes: Vec::new(), skipped: self.skipped, disagreements })
    }
}

/// Reads the Zenodo set below `folder`; the manifest is for the path `output`, in a folder that exists. Hidden files do not count.
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
                studies.skipped.add("are one view by their folder and the other by their name", within.display());
                continue;
            }
            (one, other) => one.or(other),
        };
        let listed = || [&name, &stem, &number].into_iter().find_map(|key| table.get(key)).copied();
        let class = folders.iter().rev().find_map(|part| class_word(part)).or_else(listed);
        match (view, class) {
            _ if !picture::is_picture(&path) => studies.skipped.add("are no PNG or JPEG pictures", within.display()),
            (None, _) => studies.skipped.add("name no view in their path", within.display()),
            (_, None) => studies.skipped.add("name no class in their path", within.display()),
            (Some(view), Some(metastatic)) => {
                let class = if metastatic { METASTATIC } else { NO_METASTASIS };
                studies.put(format!("{class}-{number}"), view, path, metastatic);
            }
        }
    }
    studies.finish(folder, output)
}

/// Reads BS-80K in `folder`, or in a folder in it; the manifest is for the path `output`, in a folder that exists.
///
/// # Errors
/// Neither `wholeBodyANT` nor `wholeBodyPOST`, or one without its label file; a folder that cannot be read; no study.
pub fn bs80k(folder: &Path, output: &Path) -> Result<Imported> {
    const PARTS: [(View, &str, &str); 2] = [(View::Anterior, "wholeBodyANT", "ant"), (View::Posterior, "wholeBodyPOST", "post")];
    let has_part = |folder: &Path| PARTS.iter().any(|(_, part, _)| folder.join(part).is_dir());
    let mut within = vec![folder.to_owned()];
    if !has_part(folder) {
        within.extend(entries(folder)?);
    }
    let Some(root) = within.iter().find(|folder| has_part(folder)) else {
        let problem = "has no folder wholeBodyANT or wholeBodyPOST";
        return Err(Error::file(folder, problem, "give the folder that BS-80K was unpacked to"));
    };
    let mut studies = Studies::default();
    let mut boxes = Vec::new();
    for (view, part, annotations) in PARTS {
        let part_folder = root.join(part);
        if !part_folder.is_dir() {
            continue;
        }
        let mut labels = labels_of(&part_folder.join(format!("{part}.txt")), &mut studies.skipped)?;
        for path in entries(&part_folder)? {
            let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
                studies.skipped.add("have a name that a manifest cannot hold", path.display());
                continue;
            };
            if path.is_dir() || name.ends_with(".txt") || name.starts_with('.') {
                continue;
            }
            let patient = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match labels.remove(&name) {
                Some(metastatic) => studies.put(patient, view, path, metastatic),
                None => studies.skipped.add("have no label", format_args!("{part}/{name}")),
            }
        }
        labels.into_keys().for_each(|name| studies.skipped.add("have a label and no picture", format_args!("{part}/{name}")));
        let annotations = part_folder.join(annotations);
        if annotations.is_dir() {
            for path in entries(&annotations)?.into_iter().filter(|path| path.extension().is_some_and(|of| of == "xml")) {
                boxes_of(&path, view, &mut boxes, &mut studies.skipped)?;
            }
        }
    }
    let mut imported = studies.finish(root, output)?;
    let patients: HashMap<&str, &Row> = imported.manifest.rows.iter().map(|row| (row.patient.as_str(), row)).collect();
    boxes.retain(|hotspot: &Hotspot| {
        let has_view = |row: &&Row| match hotspot.view {
            View::Anterior => row.anterior.is_some(),
            View::Posterior => row.posterior.is_some(),
        };
        let known = patients.get(hotspot.patient.as_str()).is_some_and(has_view);
        if !known {
            imported.skipped.add("are boxes in no picture that is read", format_args!("{} {}", hotspot.patient, hotspot.view));
        }
        known
    });
    imported.boxes = boxes;
    Ok(imported)
}

/// The boxes as a table: `patient,view,label,left,top,right,bottom`, in pixels.
pub fn boxes_csv(boxes: &[Hotspot]) -> Vec<u8> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let mut write = |cells: [&str; 7]| table.write_record(cells).expect("seven cells each, written to memory");
    write(["patient", "view", "label", "left", "top", "right", "bottom"]);
    for Hotspot { patient, view, label, bounds } in boxes {
        let [left, top, right, bottom] = bounds.map(|side| side.to_string());
        write([patient, &view.to_string(), label, &left, &top, &right, &bottom]);
    }
    table.into_inner().expect("written to memory")
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error| Error::io(folder, "read", &error);
    let paths: Result<Vec<PathBuf>> =
        fs::read_dir(folder).map_err(unreadable)?.map(|entry| entry.map(|entry| entry.path()).map_err(unreadable)).collect();
    let mut paths = paths?;
    paths.sort();
    Ok(paths)
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

/// The labels in a file of `NAME 0` and `NAME 1` lines, by picture.
fn labels_of(path: &Path, skipped: &mut Skipped) -> Result<BTreeMap<String, bool>> {
    let bytes = files::read_at_most(path, MAX_TEXT)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut labels = BTreeMap::new();
    let mut contradicted = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty()) {
        let label = match line.rsplit_once(char::is_whitespace) {
            Some((name, "0")) => Some((name.trim(), false)),
            Some((name, "1")) => Some((name.trim(), true)),
            _ => None,
        };
        match label {
            None => skipped.add("are lines of labels without 0 or 1", line.chars().take(40).collect::<String>()),
            Some((name, label)) => {
                if labels.insert(name.to_owned(), label).is_some_and(|other| other != label) {
                    contradicted.push(name.to_owned());
                }
            }
        }
    }
    for name in contradicted {
        if labels.remove(&name).is_some() {
            skipped.add("are labelled both 0 and 1", &name);
        }
    }
    Ok(labels)
}

/// The boxes of an annotation in Pascal VOC's form.
fn boxes_of(path: &Path, view: View, boxes: &mut Vec<Hotspot>, skipped: &mut Skipped) -> Result<()> {
    let bytes = files::read_at_most(path, MAX_TEXT)?;
    let text = String::from_utf8_lossy(&bytes);
    let patient = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let Some(Annotation { size, objects }) = pascal_voc(text.trim_start_matches('\u{feff}')) else {
        skipped.add("are annotations that are no XML", path.display());
        return Ok(());
    };
    let [width, height] = size.map(|side| side.filter(|side| *side > 0.0).unwrap_or(f64::MAX));
    for (label, bounds) in objects {
        match bounds {
            [Some(left), Some(top), Some(right), Some(bottom)]
                if left < right && top < bottom && right <= width && bottom <= height =>
            {
                let bounds = [left, top, right, bottom].map(|side| side.round() as u32);
                boxes.push(Hotspot { patient: patient.clone(), view, label, bounds });
            }
            _ => skipped.add("are boxes of no size or outside their picture", path.display()),
        }
    }
    Ok(())
}

/// What an annotation says, where it says a number of pixels.
#[derive(Default)]
struct Annotation {
    /// Width and height of the picture.
    size: [Option<f64>; 2],
    /// The name of each object, and its xmin, ymin, xmax and ymax.
    objects: Vec<(String, [Option<f64>; 4])>,
}

/// Reads an annotation; `None` of what is no XML.
fn pascal_voc(text: &str) -> Option<Annotation> {
    const SIDES: [&str; 4] = ["xmin", "ymin", "xmax", "ymax"];
    let mut reader = Reader::from_str(text);
    let mut annotation = Annotation::default();
    let mut object = (String::new(), [None; 4]);
    let mut way: Vec<String> = Vec::new(); // the elements that are open, the root first
    let mut said = String::new(); // the text since the last tag
    let mut rooted = false;
    loop {
        let event = reader.read_event().ok()?;
        match &event {
            Event::Start(element) | Event::Empty(element) => {
                rooted = true;
                said.clear();
                way.push(element.name().as_ref().to_owned());
            }
            Event::Text(text) => said.push_str(&text.xml_content(XmlVersion::Implicit1_0)),
            Event::Eof => return (rooted && way.is_empty()).then_some(annotation),
            _ => {}
        }
        if way.len() > MAX_DEPTH {
            return None;
        }
        if matches!(event, Event::End(_) | Event::Empty(_)) {
            let pixels = || said.trim().parse().ok().filter(|side| (0.0..=65535.0).contains(side));
            match way.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                [_, "size", "width"] => annotation.size[0] = pixels(),
                [_, "size", "height"] => annotation.size[1] = pixels(),
                [_, "object", "name"] => object.0 = said.trim().to_owned(),
                [_, "object", "bndbox", name] => {
                    if let Some(at) = SIDES.iter().position(|side| *side == name) {
                        object.1[at] = pixels();
                    }
                }
                [_, "object"] => annotation.objects.push(std::mem::take(&mut object)),
                _ => {}
            }
            way.pop();
            said.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(path: &Path, value: u16) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture::write_gray16(path, 4, 2, &[0, value, 3, 40_000, 5, 6, 7, 8]).unwrap();
    }

    fn jpeg(path: &Path, value: u8) {
        use image::ImageEncoder;
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bytes = Vec::new();
        let pixels: Vec<u8> = (0..64u8).map(|at| at.wrapping_mul(3).wrapping_add(value)).collect();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
        encoder.write_image(&pixels, 8, 8, image::ExtendedColorType::L8).unwrap();
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_miniature_of_the_zenodo_set() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("archive");
        let mut value = 0;
        for (class, numbers) in [("Bone metastases", 1..=3), ("No bone metastases", 1..=12)] {
            for number in numbers {
                for (view, letter) in [("Anterior", 'A'), ("Posterior", 'P')] {
                    value += 1;
                    png(&root.join(format!("images/{class}/{view}/{letter}{number}.png")), value);
                }
            }
        }
        fs::remove_file(root.join("images/No bone metastases/Posterior/P12.png")).unwrap();
        fs::remove_file(root.join("images/No bone metastases/Anterior/A11.png")).unwrap();
        png(&root.join("images/Bone metastases/Posterior/A9.png"), 901);
        png(&root.join("images/unsorted/A9.png"), 902);
        png(&root.join("images/Bone metastases/9.png"), 903);
        png(&root.join("images/Bone metastases/Anterior/line\nbreak.png"), 904);
        // A copy of metastatic patient 3, as a thirteenth without.
        fs::copy(root.join("images/Bone metastases/Anterior/A3.png"), root.join("images/No bone metastases/Anterior/A13.png"))
            .unwrap();
        fs::write(root.join("images/Bone metastases/Anterior/A10.png"), "no picture").unwrap();
        fs::write(root.join("README.txt"), "hello").unwrap();
        fs::write(root.join(".DS_Store"), "hidden").unwrap();

        let output = folder.path().join("manifest.csv");
        let imported = zenodo(&root, &output).unwrap();
        imported.manifest.write().unwrap();
        let manifest = Manifest::read(&output).unwrap();
        assert_eq!(manifest, imported.manifest);
        assert_eq!(manifest.classes, ["NoMet", "Met"]);
        let labels = manifest.labels(&manifest.classes).unwrap();
        assert_eq!([0, 1].map(|class| labels.iter().filter(|label| **label == class).count()), [12, 3]);
        let single = |patient: &str| {
            let row = manifest.rows.iter().find(|row| row.patient == patient).unwrap();
            (row.anterior.is_some(), row.posterior.is_some())
        };
        assert_eq!((single("NoMet-12"), single("NoMet-11"), single("Met-1")), ((true, false), (false, true), (true, true)));
        assert!(manifest.rows.iter().all(|row| row.read().is_ok()));
        let said = imported.skipped.to_string();
        for part in [
            "left out 7",
            "2 are no PNG or JPEG pictures (",
            "1 are one view by their folder and the other by their name (images/Bone metastases/Posterior/A9.png)",
            "1 name no class in their path (",
            "1 name no view in their path (",
            "1 have a name that a manifest cannot hold (",
            "1 are of patients with a picture that another patient has too (NoMet-13)",
        ] {
            assert!(said.contains(part), "no `{part}` in {said}");
        }
        assert!(!said.contains('\n'));
    }

    #[test]
    fn a_table_of_classes_does_where_folders_name_none() {
        let folder = tempfile::tempdir().unwrap();
        for number in 1..=4 {
            png(&folder.path().join(format!("{number:03}_ant.png")), number);
            png(&folder.path().join(format!("{number:03}_post.png")), 100 + number);
        }
        fs::write(folder.path().join("labels.csv"), "ID,Metastasis\n001,yes\n002,0\n003,No\nnobody,1\n,\n").unwrap();
        let imported = zenodo(folder.path(), &folder.path().join("m.csv")).unwrap();
        let rows: Vec<_> = imported.manifest.rows.iter().map(|row| (row.patient.as_str(), row.cells().count())).collect();
        assert_eq!(rows, [("Met-001", 2), ("NoMet-002", 2), ("NoMet-003", 2)]);
        assert!(imported.skipped.to_string().contains("2 name no class"), "{}", imported.skipped);
    }

    /// The archive's layout, with `faulty` what goes wrong in it.
    fn miniature_of_bs80k(root: &Path, faulty: bool) {
        for (part, shift) in [("wholeBodyANT", 0), ("wholeBodyPOST", 100)] {
            let mut labels = String::new();
            for patient in 1..=12u8 {
                jpeg(&root.join(format!("{part}/{patient}.jpg")), 7 * patient + shift);
                labels += &format!("{patient}.jpg\t{}\n", u8::from(patient > 8 || shift > 0 && patient == 8));
            }
            let annotation = "<annotation><size><width>256</width><height>1024</height></size><object><name>Abnormal</name><bndbox>\
                <xmin>10</xmin><ymin>20</ymin><xmax>30</xmax><ymax>45</ymax></bndbox></object>OBJECT</annotation>";
            let inner = root.join(part).join(if shift == 0 { "ant" } else { "post" });
            fs::create_dir_all(&inner).unwrap();
            fs::write(inner.join("9.xml"), annotation.replace("OBJECT", "")).unwrap();
            if faulty {
                labels += "77.jpg\t1\n3.jpg 1\nnonsense\n\n4.jpg\t2\n";
                jpeg(&root.join(format!("{part}/unlisted.jpg")), 3);
                let flat = "<object><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>5</xmax><ymax>9</ymax></bndbox></object>";
                fs::write(inner.join("10.xml"), annotation.replace("OBJECT", flat)).unwrap();
                fs::write(inner.join("11.xml"), "<annotation>").unwrap();
                fs::write(inner.join("99.xml"), annotation.replace("OBJECT", "<object/>")).unwrap();
                fs::copy(root.join(format!("{part}/5.jpg")), root.join(format!("{part}/6.jpg"))).unwrap();
            }
            fs::write(root.join(part).join(format!("{part}.txt")), labels).unwrap();
        }
        jpeg(&root.join("kneeLANT/1.jpg"), 1);
    }

    #[test]
    fn a_miniature_of_bs80k() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("BS-80K");
        miniature_of_bs80k(&root, false);
        let output = folder.path().join("manifest.csv");
        let imported = bs80k(folder.path(), &output).unwrap();
        imported.manifest.write().unwrap();
        let manifest = Manifest::read(&output).unwrap();
        assert_eq!(manifest, imported.manifest);
        assert_eq!((manifest.rows.len(), imported.skipped.count(), imported.disagreements), (12, 0, 1));
        let metastatic: Vec<&str> =
            manifest.rows.iter().filter(|row| row.label == "Met").map(|row| row.patient.as_str()).collect();
        assert_eq!(metastatic, ["8", "9", "10", "11", "12"]);
        let study = manifest.rows[0].read().unwrap();
        assert!(study.anterior.is_some() && study.posterior.is_some());
        let expected = Hotspot { patient: "9".into(), view: View::Anterior, label: "Abnormal".into(), bounds: [10, 20, 30, 45] };
        assert_eq!((imported.boxes.len(), &imported.boxes[0]), (2, &expected));
        let table = String::from_utf8(boxes_csv(&imported.boxes)).unwrap();
        assert_eq!(table.lines().nth(1), Some("9,anterior,Abnormal,10,20,30,45"));
    }

    #[test]
    fn what_is_odd_in_bs80k_is_left_out_and_told() {
        let folder = tempfile::tempdir().unwrap();
        miniature_of_bs80k(folder.path(), true);
        let imported = bs80k(folder.path(), &folder.path().join("m.csv")).unwrap();
        let patients: Vec<&str> = imported.manifest.rows.iter().map(|row| row.patient.as_str()).collect();
        // 3 is labelled twice; 4 was right once.
        assert_eq!(patients, ["1", "2", "4", "5", "7", "8", "9", "10", "11", "12"]);
        let said = imported.skipped.to_string();
        for part in [
            "1 are of patients with a picture that another patient has too (6)",
            "4 are lines of labels without 0 or 1",
            "2 are labelled both 0 and 1",
            "4 have no label (wholeBodyANT/3.jpg, ",
            "2 have a label and no picture (wholeBodyANT/77.jpg, wholeBodyPOST/77.jpg)",
            "2 are annotations that are no XML",
            "4 are boxes of no size or outside their picture",
            "2 are boxes in no picture that is read (99 anterior, 99 posterior)",
        ] {
            assert!(said.contains(part), "no `{part}` in {said}");
        }
        assert!(!said.contains('\n'));
        assert_eq!(imported.boxes.len(), 4);
    }

    #[test]
    fn folders_of_something_else_are_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("m.csv");
        let message = |result: Result<Imported>| result.unwrap_err().to_string();
        assert!(message(zenodo(folder.path(), &output)).contains("holds no study that can be read; give the folder"));
        assert!(message(bs80k(folder.path(), &output)).contains("has no folder wholeBodyANT or wholeBodyPOST"));
        assert!(message(zenodo(&folder.path().join("gone"), &output)).contains("cannot be read"));
        fs::create_dir(folder.path().join("wholeBodyANT")).unwrap();
        assert!(message(bs80k(folder.path(), &output)).contains("wholeBodyANT.txt: cannot be read"));
        png(&folder.path().join("whatever.png"), 5);
        let said = message(zenodo(folder.path(), &output));
        assert!(said.contains("1 name no view in their path (whatever.png)"), "{said}");
    }

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
