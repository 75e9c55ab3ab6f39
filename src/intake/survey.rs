//! What is in a file, folder or ZIP archive, object by object, for someone who wonders why a scan is not read: no pixels of an object that
//! is no scan are decoded, and nothing that identifies a person is told.

use super::container::{Container, is_zip};
use super::search::{Seen, look};
use super::study::{self, StudyOptions};
use super::{checks, kind, picture};
use crate::dicom::{self, FrameView, Header};
use crate::image::{Image, Points, View, critical_points};
use crate::text::{Shown, counted};
use crate::{Error, Result, files, interrupt};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// One object.
#[derive(Clone, Debug, Serialize)]
pub struct Object {
    /// Its path within what was surveyed; empty for that itself.
    pub name: String,
    /// What it is: `whole-body scan`, `picture`, `CT image`.
    pub kind: String,
    /// It may be a scan, or a view of one.
    pub is_candidate: bool,
    /// Rows and columns.
    pub size: Option<[usize; 2]>,
    /// Frames.
    pub frames: usize,
    /// A sentence a frame: which view, and how that is known.
    pub views: Vec<String>,
    /// Sum of the counts of each frame, where they can be read.
    pub counts: Vec<f64>,
    /// The body in each frame: first and last row, first and last column.
    pub body: Vec<Option<Points>>,
    /// Height and width of a pixel in millimetres.
    pub spacing_mm: Option<[f64; 2]>,
    /// What speaks against its being read, or is missing, or was noticed; in sentences.
    pub remarks: Vec<String>,
}

/// All that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Survey {
    /// `file`, `folder` or `ZIP archive`.
    pub place: &'static str,
    /// Candidates first, then others; both by name. At most a hundred of each kind are told one by one.
    pub objects: Vec<Object>,
    /// Objects beyond these, by kind.
    pub more: BTreeMap<String, usize>,
    /// The flags behind `osteon predict MODEL PATH` with which it is read; none where there are no such.
    pub flags: Option<Vec<String>>,
    /// Why it is not read without flags.
    pub refusal: Option<String>,
}

/// Objects of a kind that are told one by one.
const MOST_OF_A_KIND: usize = 100;

/// The share of the body's level from which on a pixel is body: as in view aggregation, whose critical points are told.
pub(super) const BODY_THRESHOLD: f32 = 0.15;

/// Looks at everything in a file, folder or ZIP archive.
///
/// # Errors
/// It cannot be read.
pub fn survey(path: &Path) -> Result<Survey> {
    let is_container = is_container(path);
    let (mut objects, mut more) = (Vec::new(), BTreeMap::new());
    if is_container {
        let container = Container::open(path)?;
        let mut of_kind: BTreeMap<String, usize> = BTreeMap::new();
        for entry in &container.files {
            interrupt::check()?;
            let name = entry.name.shown();
            let mut object = match look(&container, entry, dicom::MAX_FILE_BYTES) {
                Ok(Seen::Object(header)) => of_header(&header),
                Ok(Seen::Picture) => Object { kind: "picture".to_owned(), is_candidate: true, frames: 1, ..nothing() },
                Ok(Seen::Other(what)) => Object { kind: what.to_owned(), ..nothing() },
                Err(Error::File { problem, .. }) => Object { kind: "unreadable".to_owned(), remarks: vec![problem], ..nothing() },
                Err(error) => return Err(error),
            };
            let so_far = of_kind.entry(object.kind.clone()).or_default();
            *so_far += 1;
            if *so_far > MOST_OF_A_KIND {
                *more.entry(object.kind).or_default() += 1;
                continue;
            }
            if object.is_candidate {
                let path = container.path_of(entry);
                let bytes = container.bytes(entry, dicom::MAX_FILE_BYTES);
                bytes
                    .and_then(|bytes| add_pixels(&mut object, &path, &bytes))
                    .unwrap_or_else(|error| object.remarks.push(problem_of(error)));
            }
            objects.push(Object { name, ..object });
        }
    } else {
        let bytes = files::read_at_most(path, dicom::MAX_FILE_BYTES)?;
        let mut object = if picture::begins_as_picture(&bytes) {
            Object { kind: "picture".to_owned(), is_candidate: true, frames: 1, ..nothing() }
        } else {
            of_header(&dicom::header_of(path, bytes.len() as u64, &bytes[..])?)
        };
        if object.is_candidate {
            add_pixels(&mut object, path, &bytes).unwrap_or_else(|error| object.remarks.push(problem_of(error)));
        }
        objects.push(object);
    }
    objects.sort_by_key(|object| !object.is_candidate); // stable
    let place = match (path.is_dir(), is_container) {
        (true, _) => "folder",
        (_, true) => "ZIP archive",
        _ => "file",
    };
    let (flags, refusal) = flags_of(path);
    Ok(Survey { place, objects, more, flags, refusal })
}

/// Whether a path is a folder or a ZIP archive.
pub fn is_container(path: &Path) -> bool {
    path.is_dir() || is_zip(path)
}

fn problem_of(error: Error) -> String {
    match error {
        Error::File { problem, .. } => problem,
        other => other.to_string(),
    }
}

fn nothing() -> Object {
    Object {
        name: String::new(),
        kind: String::new(),
        is_candidate: false,
        size: None,
        frames: 0,
        views: Vec::new(),
        counts: Vec::new(),
        body: Vec::new(),
        spacing_mm: None,
        remarks: Vec::new(),
    }
}

/// What a header tells.
fn of_header(header: &Header) -> Object {
    let other = kind::other_than_bone_scan(header);
    let is_candidate = other.is_none() && header.has_pixels;
    let mut remarks = header.notes.clone();
    if is_candidate {
        let missing = [
            ("Modality", header.modality.is_none()),
            ("Image Type", header.image_type.iter().all(String::is_empty)),
            ("Pixel Spacing", header.spacing_mm.is_none()),
            ("Patient ID", header.patient.is_none()),
            ("Study Instance UID", header.study.is_none()),
            ("the radiopharmaceutical", header.tracer.is_none()),
        ];
        let missing: Vec<&str> = missing.iter().filter(|(_, missing)| *missing).map(|(name, _)| *name).collect();
        if !missing.is_empty() {
            remarks.push(format!("does not say {}", missing.join(", ")));
        }
    }
    if header.windows.len() > 1 {
        let name = |window: &dicom::EnergyWindow| {
            let ranges = window.ranges_kev.iter().map(|[lower, upper]| format!("{lower:.0}-{upper:.0} keV")).collect::<Vec<_>>();
            format!("{} {}", window.name, ranges.join(" and ")).trim().to_owned()
        };
        remarks.push(format!(
            "has {}: {}",
            counted(header.windows.len(), "energy window"),
            header.windows.iter().map(name).collect::<Vec<_>>().join(", ")
        ));
    }
    let view = |said: &FrameView| match said {
        FrameView::Said(view, source) => format!("{view} by {source}"),
        FrameView::Other(what) => format!("`{what}`, another view"),
        FrameView::Contradiction(problem) => format!("unknown: {problem}"),
        FrameView::Unsaid => "not said".to_owned(),
    };
    let kind = match other {
        None if !header.has_pixels => "object without pixels".to_owned(),
        None if header.image_type.iter().any(|value| value == "WHOLE BODY") => "whole-body scan".to_owned(),
        None => "gamma camera image".to_owned(),
        Some(other) => other,
    };
    let views = if is_candidate { header.views.iter().map(view).collect() } else { Vec::new() };
    Object {
        kind,
        is_candidate,
        size: header.size,
        frames: header.frames,
        views,
        spacing_mm: header.spacing_mm,
        remarks,
        ..nothing()
    }
}

/// What the pixels tell: a frame at a time, so that one that cannot be read does not hide the others.
fn add_pixels(object: &mut Object, path: &Path, bytes: &[u8]) -> Result<()> {
    let spacing = object.spacing_mm;
    let mut add = |image: &Image, remarks: &mut Vec<String>| {
        object.counts.push(image.pixels.iter().map(|count| f64::from(*count)).sum());
        object.body.push(critical_points(image, BODY_THRESHOLD));
        if let Some(finding) = checks::finding(image, spacing) {
            remarks.push(finding.problem().to_owned());
        }
    };
    let mut remarks = Vec::new();
    let size = if picture::begins_as_picture(bytes) {
        let picture = picture::read_bytes(bytes, path)?;
        add(&picture.image, &mut remarks);
        remarks.extend(picture.applied.into_iter().chain(picture.warnings));
        Some([picture.image.rows, picture.image.columns])
    } else {
        let contents = dicom::read_bytes(bytes, path)?;
        contents.frames.iter().for_each(|frame| add(&frame.image, &mut remarks));
        remarks.extend(contents.applied);
        let said = contents.header.counts.map(|counts| counts as f64);
        let sum: f64 = object.counts.iter().sum();
        if let Some(said) = said.filter(|said| *said > 0.0 && (said - sum).abs() > 0.5) {
            remarks.push(format!("says {said} counts in all, and holds {sum}"));
        }
        object.size
    };
    object.size = size;
    remarks.retain(|remark| !object.remarks.contains(remark));
    remarks.dedup();
    object.remarks.extend(remarks);
    Ok(())
}

/// The flags with which a study is read, found by trying, and why it is not without.
fn flags_of(path: &Path) -> (Option<Vec<String>>, Option<String>) {
    let views = Some([View::Anterior, View::Posterior]);
    let mut refusal = None;
    for inverted in [false, true] {
        for (single_view, views) in [(false, None), (false, views), (true, None), (true, views)] {
            let options = StudyOptions { views, single_view, inverted, ..StudyOptions::default() };
            match study::read(&[path.to_owned()], &options) {
                Ok(_) => {
                    let flags = [
                        (views.is_some(), "--views anterior,posterior"),
                        (single_view, "--single-view"),
                        (inverted, "--inverted"),
                    ];
                    return (
                        Some(flags.iter().filter(|(needed, _)| *needed).map(|(_, flag)| (*flag).to_owned()).collect()),
                        refusal,
                    );
                }
                Err(error) => refusal = refusal.or_else(|| Some(error.to_string())),
            }
        }
    }
    (None, refusal)
}
