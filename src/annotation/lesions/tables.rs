//! Lesions to tables and a figure.

use super::{Lesion, LesionShape};
use crate::annotation::{self, CodeKind};
use crate::archive::manifest::{Manifest, PAPER_CLASSES};
use crate::models::StudyCounts;
use crate::report::{self, Bars, Figure};
use crate::text::{counted, guard};
use crate::{Result, files};
use serde::{Serialize, Serializer};
use std::path::Path;

/// Edges of the uptake's intervals, counts a pixel: from none to 50, then (the paper's interval) from 50 to 100 with both ends,
/// then each without its lower and with its upper end, and above the last.
pub const UPTAKE_EDGES: [f64; 6] = [50.0, 100.0, 150.0, 200.0, 250.0, 300.0];

/// Edges of the areas' intervals, mm2.
const AREA_EDGES: [f64; 6] = [250.0, 500.0, 1000.0, 1500.0, 2000.0, 3000.0];

/// How many lesions of each disease fall where.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The diseases, as their codes: those of the paper's classes first, others by name.
    pub diseases: Vec<String>,
    /// By shape: name and lesions of each disease.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// By part of the body, the most frequent first.
    pub regions: Vec<(String, Vec<usize>)>,
    /// By uptake, in intervals of counts a pixel.
    pub uptake: Vec<(String, Vec<usize>)>,
    /// By area, in intervals of mm2.
    pub areas: Vec<(String, Vec<usize>)>,
}

/// Stands where something is not known of a lesion.
const UNKNOWN: &str = "not known";

impl Summary {
    /// Of the metastases among them, each counted once.
    pub fn of(lesions: &[Lesion]) -> Self {
        let counted: Vec<&Lesion> = metastases(lesions).collect();
        let mut diseases: Vec<String> = counted.iter().map(|lesion| lesion.disease.clone()).collect();
        let rank = |disease: &String| PAPER_CLASSES.iter().position(|class| class == disease).unwrap_or(PAPER_CLASSES.len());
        diseases.sort_by(|a, b| rank(a).cmp(&rank(b)).then(a.cmp(b)));
        diseases.dedup();
        let by = |names: &[String], name: &dyn Fn(&Lesion) -> String| -> Vec<(String, Vec<usize>)> {
            let mut table: Vec<(String, Vec<usize>)> = names.iter().map(|name| (name.clone(), vec![0; diseases.len()])).collect();
            for lesion in &counted {
                let name = name(lesion);
                let disease = diseases.iter().position(|disease| *disease == lesion.disease).unwrap_or(0);
                match table.iter_mut().find(|(other, _)| *other == name) {
                    Some((_, counts)) => counts[disease] += 1,
                    None => {
                        let mut counts = vec![0; diseases.len()];
                        counts[disease] = 1;
                        table.push((name, counts));
                    }
                }
            }
            table
        };
        let unknown = || UNKNOWN.to_owned();
        let shapes: Vec<String> = LesionShape::ALL.iter().map(|shape| shape.name().to_owned()).collect();
        let mut regions = by(&[], &|lesion| lesion.region.clone().unwrap_or_else(unknown));
        let total = |counts: &[usize]| counts.iter().sum::<usize>();
        regions.sort_by(|(a, m), (b, n)| total(n).cmp(&total(m)).then(a.cmp(b)));
        let [uptake, areas] =
            [&UPTAKE_EDGES, &AREA_EDGES].map(|edges| (0..=edges.len()).map(|at| interval(edges, at)).collect::<Vec<_>>());
        Summary {
            shapes: by(&shapes, &|lesion| lesion.shape.map_or_else(unknown, |shape| shape.name().to_owned())),
            regions,
            uptake: by(&uptake, &|lesion| interval(&UPTAKE_EDGES, place_of(&UPTAKE_EDGES, lesion.uptake))),
            areas: by(&areas, &|lesion| match lesion.area_mm2 {
                Some(area) => interval(&AREA_EDGES, place_of(&AREA_EDGES, area)),
                None => unknown(),
            }),
            diseases,
        }
    }

    /// The number of lesions.
    pub fn lesions(&self) -> usize {
        self.uptake.iter().flat_map(|(_, counts)| counts).sum()
    }

    /// The share of lesions in a row of one of the tables; `None` without lesions.
    pub fn share(&self, table: &[(String, Vec<usize>)], names: &[&str]) -> Option<f64> {
        let rows = table.iter().filter(|(name, _)| names.contains(&name.as_str()));
        let some: usize = rows.flat_map(|(_, counts)| counts).sum();
        (self.lesions() > 0).then(|| some as f64 / self.lesions() as f64)
    }
}

/// The lesions that figure 12 is of.
fn metastases(lesions: &[Lesion]) -> impl Iterator<Item = &Lesion> {
    lesions.iter().filter(|lesion| lesion.counted && lesion.kind == CodeKind::Disease)
}

/// Which interval a value is in.
fn place_of(edges: &[f64], value: f64) -> usize {
    match edges.iter().position(|&edge| value <= edge) {
        // The first interval is without its upper end, which the second has.
        Some(0) if value == edges[0] => 1,
        Some(interval) => interval,
        None => edges.len(),
    }
}

/// An interval's name.
fn interval(edges: &[f64], at: usize) -> String {
    match at {
        0 => format!("below {}", edges[0]),
        at if at == edges.len() => format!("above {}", edges[at - 1]),
        at => format!("{} to {}", edges[at - 1], edges[at]),
    }
}

/// The files that [`report`] and [`studies`] write; the first stands for all of them.
pub const FILES: [&str; 8] =
    ["lesions.csv", "shapes.csv", "regions.csv", "uptake.csv", "areas.csv", "studies.csv", "lesions.png", "lesions.svg"];

/// Writes into `folder`, which is made where it is missing: `lesions.csv`, a row a lesion a view; of the metastases, each counted
/// once, `shapes.csv`, `regions.csv`, `uptake.csv` and `areas.csv`; and [`figure`] as `lesions.png` and `lesions.svg`. Returns
/// what the tables say. `studies` are those that the lesions are of.
///
/// # Errors
/// The operating system's.
pub fn report(lesions: &[Lesion], studies: StudyCounts, folder: impl AsRef<Path>) -> Result<Summary> {
    let folder = folder.as_ref();
    files::create_folder(folder)?;
    let summary = Summary::of(lesions);
    files::write(folder.join("lesions.csv"), &table(lesions.iter().map(LesionRow::of)))?;
    for (name, rows) in
        [("shapes", &summary.shapes), ("regions", &summary.regions), ("uptake", &summary.uptake), ("areas", &summary.areas)]
    {
        files::write(folder.join(format!("{name}.csv")), &table(summary.rows(rows)))?;
    }
    let figure = figure(&summary, studies);
    files::write(folder.join("lesions.png"), &figure.png())?;
    files::write(folder.join("lesions.svg"), figure.svg().as_bytes())?;
    Ok(summary)
}

/// Figure 12 of the paper: shares of lesions by shape, region and uptake; and by area. It says how many of the `studies` that they are
/// of are simulated.
pub fn figure(summary: &Summary, studies: StudyCounts) -> Figure {
    let panel =
        |title: &str, categories: &[(String, Vec<usize>)]| Bars { title: title.to_owned(), categories: categories.to_vec() };
    let panels = [
        panel("(a) Shape", &summary.shapes),
        panel("(b) Body region", &summary.regions),
        panel("(c) Uptake, counts a pixel (the paper: 44 % in 50 to 100)", &summary.uptake),
        panel("(d) Area, mm\u{b2}", &summary.areas),
    ];
    let heading = format!("Lesions by shape, region, uptake and area \u{b7} {}", counted(summary.lesions(), "lesion"));
    report::bars(&summary.diseases, &panels, &heading, &report::caveat(&[("measured", studies)]))
}

/// Writes `studies.csv` into `folder`: a row a study of the manifest, with its lesions, each counted once, and the text of its
/// diagnostic report where there is one.
///
/// # Errors
/// A report that cannot be read, or the operating system's.
pub fn studies(manifest: &Manifest, lesions: &[Lesion], folder: impl AsRef<Path>) -> Result<()> {
    #[derive(Serialize)]
    struct StudyRow<'a> {
        study: usize,
        #[serde(serialize_with = "text")]
        patient: &'a str,
        #[serde(serialize_with = "text")]
        class: &'a str,
        #[serde(serialize_with = "text")]
        scan: String,
        metastases: usize,
        benign: usize,
        #[serde(serialize_with = "text")]
        report: String,
    }
    let mut counts = vec![[0; 2]; manifest.rows.len()];
    for lesion in lesions.iter().filter(|lesion| lesion.counted) {
        if let Some(counts) = counts.get_mut(lesion.study) {
            counts[usize::from(lesion.kind != CodeKind::Disease)] += 1;
        }
    }
    let reports = annotation::reports(&manifest.rows)?;
    let rows =
        manifest.rows.iter().zip(counts).zip(reports).enumerate().map(|(at, ((row, [metastases, benign]), report))| StudyRow {
            study: at + 1,
            patient: &row.patient,
            class: &row.label,
            scan: row.files().next().map(|scan| manifest.name_of(scan)).unwrap_or_default(),
            metastases,
            benign,
            report: report.unwrap_or_default(),
        });
    let folder = folder.as_ref();
    files::create_folder(folder)?;
    files::write(folder.join("studies.csv"), &table(rows))
}

/// A cell of text, which no spreadsheet computes.
fn text<S: Serializer>(text: &impl AsRef<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&guard(text.as_ref()))
}

fn table<T: Serialize>(rows: impl Iterator<Item = T>) -> Vec<u8> {
    let mut table = csv::Writer::from_writer(Vec::new());
    rows.for_each(|row| table.serialize(row).expect("cells of text and numbers, written to memory"));
    table.into_inner().expect("written to memory")
}

/// A row of `lesions.csv`. Counts and lengths have two decimals.
#[derive(Serialize)]
struct LesionRow<'a> {
    study: usize,
    #[serde(serialize_with = "text")]
    patient: &'a str,
    #[serde(serialize_with = "text")]
    class: &'a str,
    #[serde(serialize_with = "text")]
    annotation: &'a str,
    view: String,
    lesion: usize,
    counted: &'static str,
    #[serde(serialize_with = "text")]
    disease: &'a str,
    kind: CodeKind,
    #[serde(serialize_with = "text")]
    region: &'a str,
    shape: &'static str,
    outlines: usize,
    row: String,
    column: String,
    pixels: usize,
    area_mm2: String,
    uptake: String,
    mean: String,
    max: String,
}

impl<'a> LesionRow<'a> {
    fn of(lesion: &'a Lesion) -> Self {
        let decimals = |value: f64| format!("{value:.2}");
        LesionRow {
            study: lesion.study + 1,
            patient: &lesion.patient,
            class: &lesion.class,
            annotation: &lesion.file,
            view: lesion.view.to_string(),
            lesion: lesion.number,
            counted: if lesion.counted { "yes" } else { "no" },
            disease: &lesion.disease,
            kind: lesion.kind,
            region: lesion.region.as_deref().unwrap_or_default(),
            shape: lesion.shape.map_or("", LesionShape::name),
            outlines: lesion.outlines,
            row: decimals(lesion.centre[0]),
            column: decimals(lesion.centre[1]),
            pixels: lesion.pixels,
            area_mm2: lesion.area_mm2.map(decimals).unwrap_or_default(),
            uptake: decimals(lesion.uptake),
            mean: decimals(lesion.mean),
            max: decimals(lesion.max),
        }
    }
}

/// A row of a summary table.
#[derive(Serialize)]
struct SummaryRow<'a> {
    #[serde(serialize_with = "text")]
    name: &'a str,
    #[serde(serialize_with = "text")]
    disease: &'a str,
    lesions: usize,
    /// Of the lesions of the disease.
    share: String,
}

impl Summary {
    /// A row a category and disease, and one of all diseases together.
    fn rows<'a>(&'a self, categories: &'a [(String, Vec<usize>)]) -> impl Iterator<Item = SummaryRow<'a>> {
        let total = |disease: usize| categories.iter().map(|(_, counts)| counts[disease]).sum::<usize>();
        let totals: Vec<usize> = (0..self.diseases.len()).map(total).collect();
        categories.iter().flat_map(move |(name, counts)| {
            let share = |lesions: usize, of: usize| format!("{:.4}", lesions as f64 / of.max(1) as f64);
            let row = |disease, lesions, of| SummaryRow { name, disease, lesions, share: share(lesions, of) };
            let each = (0..counts.len()).map(|at| row(self.diseases[at].as_str(), counts[at], totals[at]));
            let all = row("all", counts.iter().sum(), totals.iter().sum());
            each.chain([all]).collect::<Vec<_>>()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_and_a_hundred_are_in_the_papers_interval() {
        let name = |uptake: f64| interval(&UPTAKE_EDGES, place_of(&UPTAKE_EDGES, uptake));
        for (uptake, wanted) in [
            (0.0, "below 50"),
            (49.99, "below 50"),
            (50.0, "50 to 100"),
            (100.0, "50 to 100"),
            (100.01, "100 to 150"),
            (9e9, "above 300"),
        ] {
            assert_eq!(name(uptake), wanted, "{uptake}");
        }
    }
}
