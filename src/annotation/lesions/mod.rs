//! Lesions as physicians outlined them, measured: shape, region, area and uptake; the paper's figure 12.
//!
//! [`measure`] reads the annotations beside a manifest's scans ([`crate::annotation`]) and the scans' pixels; [`report`] makes
//! tables and a figure of what it found. An annotation is of one view, so a lesion that both views show is measured twice; where
//! its outlines have one label and one group in both views, it is known to be one lesion, and figures count it once, in the view
//! that shows it hotter.

mod shape;
mod tables;

pub use shape::{LesionShape, MOTTLED_SOLIDITY, PUNCTATE_AREA_MM2, PUNCTATE_ELONGATION, SPOT_MM};
pub use tables::{FILES, Summary, UPTAKE_EDGES, figure, report, studies};

use crate::annotation::{self, Annotation, Beside, CodeKind, Codes, Form, Mask};
use crate::archive::manifest::{Manifest, Row};
use crate::dicom;
use crate::image::{Image, Size, View};
use crate::intake::{Study, picture};
use crate::{Error, Result, interrupt};
use osteon_kernels::par;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// What the files do not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeasureOptions {
    /// Height and width of a pixel where a scan's file has none, as pictures have none; without it areas are in pixels alone and
    /// shapes, whose rule is in millimetres, are not known.
    pub pixel_spacing_mm: Option<[f64; 2]>,
}

/// One lesion in one view.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesion {
    /// The study's row in the manifest, from 0.
    pub study: usize,
    /// The patient, as the manifest has it.
    pub patient: String,
    /// The study's class, as the manifest has it.
    pub class: String,
    /// The annotation, as the manifest would name it.
    pub file: String,
    /// The view.
    pub view: View,
    /// The lesion's number in the study, from 1: the same in both views where it is known to be one lesion.
    pub number: usize,
    /// Whether figures count it: not where the other view shows the same lesion hotter.
    pub counted: bool,
    /// The code of its disease.
    pub disease: String,
    /// Whether that is a metastasis or a benign finding.
    pub kind: CodeKind,
    /// The code of the part of the body: of its label, or else of the body part's outline that most of it lies in.
    pub region: Option<String>,
    /// Its shape; `None` where an outline is a box, circle or spot, which say where it is and not how it looks, or the size of a
    /// pixel is not known.
    pub shape: Option<LesionShape>,
    /// Outlines that it is made of.
    pub outlines: usize,
    /// Centre of its pixels: row and column.
    pub centre: [f64; 2],
    /// Pixels that it covers.
    pub pixels: usize,
    /// Their area; `None` where the size of a pixel is not known.
    pub area_mm2: Option<f64>,
    /// Uptake in counts a pixel: the highest mean of 3 x 3 pixels about a pixel of it, so that one noisy pixel does not decide.
    pub uptake: f64,
    /// Mean of its pixels.
    pub mean: f64,
    /// Its highest pixel.
    pub max: f64,
}

/// What [`measure`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// In the order of the manifest.
    pub lesions: Vec<Lesion>,
    /// What was cut off at pictures' edges, a sentence an outline.
    pub notes: Vec<String>,
}

/// The lesions that are outlined beside the scans of a manifest, in its order: of a study the anterior view's before the
/// posterior's, in the order of the outlines. Outlines of parts of the body are no lesions. Studies without an annotation are
/// passed over, and a scan that several rows name counts once.
///
/// # Errors
/// The first problem: no annotation at all; a table of codes, an annotation or a scan that cannot be read; an annotation that
/// does not fit its scan or the codes (see [`Annotation::check`]), is of a view that the scan lacks, or does not say of which
/// view it is.
pub fn measure(manifest: &Manifest, options: &MeasureOptions) -> Result<Measured> {
    let codes = Codes::beside(&manifest.path)?;
    let mut seen = HashSet::new();
    let mut studies: Vec<(usize, Vec<Beside>, Result<Measured>)> = Vec::new();
    for (at, row) in manifest.rows.iter().enumerate() {
        let mut beside = annotation::beside(row)?;
        beside.retain(|beside| seen.insert(beside.path.clone()));
        if !beside.is_empty() {
            studies.push((at, beside, Ok(Measured::default())));
        }
    }
    if studies.is_empty() {
        let problem = "lists no scan with an annotation beside it";
        let remedy = "save LabelMe's files as SCAN.anterior.json and SCAN.posterior.json beside the scans";
        return Err(Error::file(&manifest.path, problem, remedy));
    }
    par::chunks_mut(&mut studies, 1, |_, study| {
        let (at, beside, measured) = &mut study[0];
        *measured = measure_study(manifest, *at, beside, &codes, options);
    });
    let mut all = Measured::default();
    for (_, _, measured) in studies {
        let Measured { lesions, notes } = measured?;
        all.lesions.extend(lesions);
        all.notes.extend(notes);
    }
    Ok(all)
}

/// The lesions of one study.
fn measure_study(manifest: &Manifest, at: usize, beside: &[Beside], codes: &Codes, options: &MeasureOptions) -> Result<Measured> {
    interrupt::check()?;
    let row = &manifest.rows[at];
    let study = row.read()?;
    let (mut lesions, mut notes, mut numbers) = (Vec::new(), Vec::new(), Numbers::default());
    for beside in beside {
        let (view, image) = beside.image(&study)?;
        let path = &beside.path;
        let pixel_mm = spacing(row, view)?.or(options.pixel_spacing_mm);
        for found in Found::all(path, image, codes, &mut numbers, &mut notes)? {
            lesions.push(Lesion {
                study: at,
                patient: row.patient.clone(),
                class: row.label.clone(),
                file: manifest.name_of(path),
                view,
                ..found.measure(image, pixel_mm)
            });
        }
    }
    count_once(&mut lesions);
    Ok(Measured { lesions, notes })
}

/// A lesion's outlines in one view.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlined {
    /// The view.
    pub view: View,
    /// The lesion's number in the study, from 1: the same in both views where it is known to be one lesion.
    pub number: usize,
    /// Whether it is a metastasis or a benign finding.
    pub kind: CodeKind,
    /// Its pixels in the view.
    pub mask: Mask,
}

/// The lesions that are outlined beside the scan of a row, in the views that the row has; none where no annotation is.
///
/// # Errors
/// As [`measure`].
pub fn outlined(row: &Row, study: &Study, codes: &Codes) -> Result<Option<Vec<Outlined>>> {
    let beside = annotation::beside(row)?;
    let (mut lesions, mut numbers) = (Vec::new(), Numbers::default());
    for beside in &beside {
        let of_view = |view| if view == View::Anterior { &study.anterior } else { &study.posterior };
        if beside.view.is_some_and(|view| of_view(view).is_none()) {
            continue;
        }
        let (view, image) = beside.image(study)?;
        let found = Found::all(&beside.path, image, codes, &mut numbers, &mut Vec::new())?;
        lesions.extend(found.into_iter().map(|Found { number, kind, mask, .. }| Outlined { view, number, kind, mask }));
    }
    Ok((!beside.is_empty()).then_some(lesions))
}

/// Height and width of a pixel of a view, as its file says it.
///
/// # Errors
/// A file that cannot be read.
pub fn spacing(row: &Row, view: View) -> Result<Option<[f64; 2]>> {
    let mut files: Vec<&Path> = row.files().collect();
    if view == View::Anterior {
        files.truncate(1);
    }
    // A file of both views is the only one.
    match files.last() {
        Some(path) if !picture::is_picture(path) => dicom::pixel_spacing_mm(path),
        _ => Ok(None),
    }
}

/// Numbers of a study's lesions, by label and group.
#[derive(Default)]
struct Numbers {
    grouped: HashMap<(String, u32), usize>,
    last: usize,
}

impl Numbers {
    fn of(&mut self, label: &str, group: Option<u32>) -> usize {
        let last = &mut self.last;
        let mut next = || {
            *last += 1;
            *last
        };
        match group {
            Some(group) => *self.grouped.entry((label.to_owned(), group)).or_insert_with(next),
            None => next(),
        }
    }
}

/// A lesion's outlines in one view.
struct Found<'a> {
    number: usize,
    disease: &'a str,
    kind: CodeKind,
    region: Option<&'a str>,
    /// Whether every outline was drawn around what is seen.
    drawn: bool,
    outlines: usize,
    mask: Mask,
}

impl<'a> Found<'a> {
    /// The lesions of an annotation of `image`.
    fn all(path: &Path, image: &Image, codes: &'a Codes, numbers: &mut Numbers, notes: &mut Vec<String>) -> Result<Vec<Self>> {
        let annotation = Annotation::read(path)?;
        let checked = annotation.check(path, Some(Size { rows: image.rows, columns: image.columns }), codes)?;
        notes.extend(checked.notes);
        let masks = checked.masks;
        let mut lesions: Vec<Found> = Vec::new();
        let mut parts: Vec<(&str, &Mask)> = Vec::new();
        let mut index_of: HashMap<usize, usize> = HashMap::new();
        for (outline, mask) in annotation.outlines.iter().zip(&masks) {
            // The check has read every label.
            let Ok(finding) = codes.finding(&outline.label) else { continue };
            let region = finding.region.map(|region| region.code.as_str());
            let Some(disease) = finding.disease else {
                parts.extend(region.map(|region| (region, mask)));
                continue;
            };
            let number = numbers.of(&outline.label, outline.group);
            let drawn = matches!(outline.form, Form::Polygon(_) | Form::Mask(_));
            match index_of.get(&number).map(|&index| &mut lesions[index]) {
                Some(lesion) => {
                    lesion.mask = Mask::union([&lesion.mask, mask]);
                    lesion.drawn &= drawn;
                    lesion.outlines += 1;
                }
                None => {
                    index_of.insert(number, lesions.len());
                    let (disease, kind) = (disease.code.as_str(), disease.kind);
                    lesions.push(Found { number, disease, kind, region, drawn, outlines: 1, mask: mask.clone() });
                }
            }
        }
        for lesion in lesions.iter_mut().filter(|lesion| lesion.region.is_none()) {
            let shared = parts.iter().map(|&(region, part)| (lesion.mask.overlap(part), region));
            let most = shared.max_by_key(|(pixels, _)| *pixels);
            lesion.region = most.filter(|(pixels, _)| 2 * pixels > lesion.mask.area()).map(|(_, region)| region);
        }
        Ok(lesions)
    }

    /// What its pixels hold. Whose it is, the caller says.
    fn measure(&self, image: &Image, pixel_mm: Option<[f64; 2]>) -> Lesion {
        let (mut uptake, mut max) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        let (mut sum, mut centre, pixels) = (0.0, [0.0; 2], self.mask.area());
        for (row, column) in self.mask.pixels() {
            let count = f64::from(image.row(row)[column]);
            uptake = uptake.max(mean_about(image, row, column));
            max = max.max(count);
            sum += count;
            centre = [centre[0] + row as f64, centre[1] + column as f64];
        }
        Lesion {
            study: 0,
            patient: String::new(),
            class: String::new(),
            file: String::new(),
            view: View::Anterior,
            number: self.number,
            counted: true,
            disease: self.disease.to_owned(),
            kind: self.kind,
            region: self.region.map(str::to_owned),
            shape: pixel_mm.filter(|_| self.drawn).and_then(|pixel_mm| LesionShape::of(&self.mask, pixel_mm)),
            outlines: self.outlines,
            centre: centre.map(|sum| sum / pixels as f64),
            pixels,
            area_mm2: pixel_mm.map(|[height, width]| pixels as f64 * height * width),
            uptake,
            mean: sum / pixels as f64,
            max,
        }
    }
}

/// The mean of the 3 x 3 pixels about one, or of those of them that the picture has.
fn mean_about(image: &Image, row: usize, column: usize) -> f64 {
    let around = |at: usize, count: usize| at.saturating_sub(1)..(at + 2).min(count);
    let columns = around(column, image.columns);
    let rows = around(row, image.rows);
    let count = rows.len() * columns.len();
    let sum: f64 = rows.map(|row| image.row(row)[columns.clone()].iter().map(|&count| f64::from(count)).sum::<f64>()).sum();
    sum / count as f64
}

/// Leaves of the views of one lesion the hottest in the count; of two alike, the first.
fn count_once(lesions: &mut [Lesion]) {
    let mut hottest: HashMap<usize, usize> = HashMap::new();
    for at in 0..lesions.len() {
        let best = *hottest.entry(lesions[at].number).or_insert(at);
        if best != at {
            let loser = if lesions[at].uptake > lesions[best].uptake { best } else { at };
            lesions[loser].counted = false;
            hottest.insert(lesions[at].number, best + at - loser);
        }
    }
}

#[cfg(test)]
mod tests;
