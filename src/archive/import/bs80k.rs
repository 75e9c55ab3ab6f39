//! BS-80K (Huang and others, Computers in Biology and Medicine 2022, 151:106221).
//!
//! Known: about 3247 patients; `wholeBodyANT/17.jpg` and `wholeBodyPOST/17.jpg` are one patient's views;
//! `wholeBodyANT/wholeBodyANT.txt` has a line a picture, `17.jpg` and 0 (normal) or 1 (abnormal), and so for the posterior views;
//! `wholeBodyANT/ant/17.xml` and `wholeBodyPOST/post/17.xml` hold boxes in Pascal VOC's form, named Normal or Abnormal. The
//! folders of body parts beside them are not read. Some scans are there under two patients. Assumed: that abnormal means
//! metastasis, and that a study is metastatic where either view is labelled so.

use super::{Hotspot, Imported, MAX_DEPTH, MAX_TEXT, Skipped, Studies, entries};
use crate::archive::manifest::Row;
use crate::image::View;
use crate::text::Shown;
use crate::{Error, Result, files};
use quick_xml::events::Event;
use quick_xml::{Reader, XmlVersion};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

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
                studies.skipped.add("name that a manifest cannot hold", path.shown());
                continue;
            };
            if path.is_dir() || name.ends_with(".txt") || name.starts_with('.') {
                continue;
            }
            let patient = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match labels.remove(&name) {
                Some(metastatic) => studies.put(patient, view, path, metastatic),
                None => studies.skipped.add("no label", format_args!("{part}/{name}")),
            }
        }
        labels.into_keys().for_each(|name| studies.skipped.add("label without a picture", format_args!("{part}/{name}")));
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
            imported.skipped.add("box in no picture that is read", format_args!("{} {}", hotspot.patient, hotspot.view));
        }
        known
    });
    imported.boxes = boxes;
    Ok(imported)
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
            None => skipped.add("line of labels without 0 or 1", line.chars().take(40).collect::<String>()),
            Some((name, label)) => {
                if labels.insert(name.to_owned(), label).is_some_and(|other| other != label) {
                    contradicted.push(name.to_owned());
                }
            }
        }
    }
    for name in contradicted {
        if labels.remove(&name).is_some() {
            skipped.add("labelled both 0 and 1", &name);
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
        skipped.add("annotation that is no XML", path.shown());
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
            _ => skipped.add("box of no size or outside its picture", path.shown()),
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
