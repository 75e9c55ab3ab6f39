//! Where evidence lies, held against lesions that are known: those that physicians outlined beside a scan, or a phantom's own.

use super::evidence::{self, Spot};
use crate::annotation::lesions::{Outlined, outlined, spacing};
use crate::annotation::{CodeKind, Codes, Mask};
use crate::archive::manifest::{Manifest, Row};
use crate::image::{Image, View, body_pixels};
use crate::intake::Study;
use crate::metrics::{self, FALSE_MARKS, Localisation, MapScore, Mark, NEAR_MM, Pointing, Randomised};
use crate::models::Model;
use crate::phantom::Truth;
use crate::prepare::views::{self, Fused};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// The most marks on a scan.
const MOST_MARKS: usize = 12;

/// How many scans are explained again with weights that are drawn anew.
const RANDOMISED_SCANS: usize = 20;

/// Drawn from it.
const RANDOMISED_SEED: u64 = 1;

/// A scan whose lesions are known.
struct Scene {
    input: Image,
    body: Vec<bool>,
    /// Its lesions, as pixels of the fused scan.
    lesions: Vec<Mask>,
    /// The share of each pixel of the input that lesions cover.
    cover: Vec<f32>,
    /// Rows and columns of the fused scan.
    size: [usize; 2],
    /// Height and width of its pixels.
    pixel_mm: [f64; 2],
}

impl Scene {
    /// `None` where nothing is known of the scan's lesions.
    fn of(row: &Row, model: &Model, codes: &Codes, pixel_mm: Option<[f64; 2]>) -> Result<Option<Scene>> {
        let about = model.metadata();
        let study = row.read()?;
        let Some((outlined, truth_mm)) = lesions(row, &study, codes)? else { return Ok(None) };
        let of_file = || spacing(row, if study.anterior.is_some() { View::Anterior } else { View::Posterior });
        let known = truth_mm.map_or_else(of_file, |known| Ok(Some(known)))?.or(pixel_mm);
        let pixel_mm = known.ok_or_else(|| {
            let file = row.files().next().unwrap_or(std::path::Path::new("")).to_owned();
            Error::file(file, "does not say how large its pixels are", "give --pixel-spacing-mm")
        })?;
        let fused = views::fuse(&study, &about.preprocessing)?;
        let input = views::network_input(&fused.image, about.input_size, &about.preprocessing);
        let body = body_pixels(&input, about.preprocessing.body_value());
        let mut by_number: BTreeMap<usize, Vec<Mask>> = BTreeMap::new();
        for Outlined { view, number, mask, .. } in outlined.iter().filter(|outlined| outlined.kind == CodeKind::Disease) {
            by_number.entry(*number).or_default().push(placed(mask, *view, &fused));
        }
        let lesions: Vec<Mask> = by_number.into_values().map(|masks| Mask::union(&masks)).collect();
        let size = [fused.image.rows, fused.image.columns];
        let mut cover = vec![0.0; input.pixels.len()];
        let scale = [input.rows as f64 / size[0] as f64, input.columns as f64 / size[1] as f64];
        for (row, column) in Mask::union(&lesions).pixels() {
            let [r, c] = [(row, scale[0]), (column, scale[1])].map(|(at, scale)| ((at as f64 + 0.5) * scale) as usize);
            let of_pixel = &mut cover[r.min(input.rows - 1) * input.columns + c.min(input.columns - 1)];
            *of_pixel = (*of_pixel + (scale[0] * scale[1]) as f32).min(1.0);
        }
        Ok(Some(Scene { input, body, lesions, cover, size, pixel_mm }))
    }

    /// The lesions that a pixel of a map is near.
    fn near(&self, row: usize, column: usize) -> Vec<usize> {
        let at = [(row, self.input.rows, self.size[0]), (column, self.input.columns, self.size[1])]
            .map(|(at, map, scan)| (at as f64 + 0.5) * scan as f64 / map as f64 - 0.5);
        let is_near = |mask: &Mask| {
            mask.pixels().any(|(row, column)| {
                let [down, right] = [row as f64 - at[0], column as f64 - at[1]];
                (down * self.pixel_mm[0]).hypot(right * self.pixel_mm[1]) <= NEAR_MM
            })
        };
        (0..self.lesions.len()).filter(|lesion| is_near(&self.lesions[*lesion])).collect()
    }

    /// How a map of it lies.
    fn pointing(&self, map: &Image) -> Pointing {
        let hottest = (0..map.pixels.len()).fold(0, |best, at| if map.pixels[at] > map.pixels[best] { at } else { best });
        let all: f64 = map.pixels.iter().map(|value| f64::from(*value)).sum();
        let on: f64 = map.pixels.iter().zip(&self.cover).map(|(value, cover)| f64::from(*value) * f64::from(*cover)).sum();
        let is_lit = map.pixels[hottest] > 0.0;
        let is_near = is_lit && !self.near(hottest / map.columns, hottest % map.columns).is_empty();
        Pointing { is_near, on_lesions: if all > 0.0 { on / all } else { 0.0 } }
    }

    /// The shares of the body's pixels that are near a lesion, and that lesions cover.
    fn by_chance(&self) -> [f64; 2] {
        let body = || (0..self.body.len()).filter(|at| self.body[*at]);
        let near = body().filter(|at| !self.near(at / self.input.columns, at % self.input.columns).is_empty()).count();
        let covered: f64 = body().map(|at| f64::from(self.cover[at])).sum();
        let pixels = body().count().max(1) as f64;
        [near as f64 / pixels, covered / pixels]
    }

    /// The body's pixels of the input, as a map of uptake alone.
    fn uptake(&self) -> Image {
        let pixels = self.input.pixels.iter().zip(&self.body).map(|(value, inside)| if *inside { *value } else { 0.0 });
        Image { pixels: pixels.collect(), ..self.input }
    }
}

/// The outlines beside a scan; else what a phantom's truth says, with the size of its pixels.
#[allow(clippy::type_complexity)]
fn lesions(row: &Row, study: &Study, codes: &Codes) -> Result<Option<(Vec<Outlined>, Option<[f64; 2]>)>> {
    if let Some(outlined) = outlined(row, study, codes)? {
        return Ok(Some((outlined, None)));
    }
    let truth = row.files().next().map(Truth::beside).transpose()?.flatten();
    Ok(truth.map(|truth| (truth.outlined(), Some([f64::from(truth.pixel_mm); 2]))))
}

/// A view's pixels where they lie in the fused scan.
fn placed(mask: &Mask, view: View, fused: &Fused) -> Mask {
    let (rows, columns) = (fused.image.rows, fused.image.columns);
    if view == View::Anterior {
        return mask.clone();
    }
    let flipped = mask.runs().iter().map(|&[row, first, length]| [row, columns as u32 - first - length, length]);
    if fused.anterior.is_none() {
        return Mask::from_runs(flipped);
    }
    let edge = |axis: usize, at: u32, size: usize| {
        let moved = fused.placement.scale[axis] * f64::from(at) + fused.placement.shift_px[axis];
        moved.round().clamp(0.0, size as f64) as u32
    };
    Mask::from_runs(flipped.flat_map(|[row, first, length]| {
        let [left, right] = [first, first + length].map(|at| edge(1, at, columns));
        (edge(0, row, rows)..edge(0, row + 1, rows)).map(move |row| [row, left, right - left])
    }))
}

/// What is asked of each scan: the evidence for any metastasis.
fn evidence(model: &Model, scene: &Scene, positive: &[usize]) -> Result<(Vec<f32>, Image)> {
    let explained = model.explain(&scene.input.pixels, |_| vec![positive.to_vec()])?;
    let map = evidence::map(&scene.input, &explained.gradients[0], &scene.body);
    Ok((explained.inference.probabilities, map))
}

/// How the evidence for any metastasis lies beside the lesions of these rows of a manifest; copies among them are left out, and scans
/// whose lesions are not known. `pixel_mm` is the height and width of a pixel where a file does not say it. `progress` is called with how
/// many rows are done, and stops the work by an error.
///
/// # Errors
/// A model without the class `NoMet`; no row whose lesions are known; scans and outlines that cannot be read; whatever `progress` returns.
pub fn localise(
    model: &Model,
    manifest: &Manifest,
    rows: &[usize],
    pixel_mm: Option<[f64; 2]>,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Localisation> {
    let classes = &model.metadata().classes;
    let negative = metrics::no_metastasis(classes).ok_or_else(|| {
        let problem = format!("--localise asks for metastases, and the model's classes are {}", classes.join(", "));
        Error::setting(problem, format!("give a model with the class {}", metrics::NO_METASTASIS))
    })?;
    let positive: Vec<usize> = (0..classes.len()).filter(|class| *class != negative).collect();
    let codes = Codes::beside(&manifest.path)?;
    let mut again: Vec<(Scene, Image)> = Vec::new();
    let mut pointings: [Vec<Pointing>; 2] = Default::default();
    // Of a guess that takes any pixel of the body, and what lesions cover of it.
    let mut by_chance: Vec<[f64; 2]> = Vec::new();
    let mut marks: [Vec<Mark>; 2] = Default::default();
    let (mut marked, mut lesions) = (0, 0);
    for (done, &at) in rows.iter().enumerate() {
        progress(done)?;
        let row = &manifest.rows[at];
        if row.is_augmented() {
            continue;
        }
        let Some(scene) = Scene::of(row, model, &codes, pixel_mm)? else { continue };
        let (probabilities, map) = evidence(model, &scene, &positive)?;
        let uptake = scene.uptake();
        for (marks, map) in marks.iter_mut().zip([&map, &uptake]) {
            marks.extend(evidence::spots(map, 0.0, MOST_MARKS).into_iter().map(|Spot { row, column, evidence }| {
                let near = scene.near(row, column).into_iter().map(|lesion| (marked, lesion)).collect();
                Mark { score: evidence, near }
            }));
        }
        marked += 1;
        lesions += scene.lesions.len();
        if scene.lesions.is_empty() || metrics::predicted(&probabilities) == negative {
            continue;
        }
        by_chance.push(scene.by_chance());
        for (pointings, map) in pointings.iter_mut().zip([&map, &uptake]) {
            pointings.push(scene.pointing(map));
        }
        if again.len() < RANDOMISED_SCANS {
            again.push((scene, map));
        }
    }
    progress(rows.len())?;
    if marked == 0 {
        let problem = "lists no scan whose lesions are known";
        let remedy = "outline them beside the scans (SCAN.anterior.json, SCAN.posterior.json), or evaluate on phantoms";
        return Err(Error::file(&manifest.path, problem, remedy));
    }
    let [of_evidence, of_uptake] = marks.each_ref().map(|marks| metrics::froc(marked, lesions, marks));
    let [evidence, uptake] = &pointings;
    let [near, covered] = [0, 1].map(|k| {
        let sum: f64 = by_chance.iter().map(|shares| shares[k]).sum();
        (!by_chance.is_empty()).then(|| sum / by_chance.len() as f64)
    });
    let any_pixel = MapScore { pointing: near, on_lesions: covered, ..MapScore::new("any pixel of the body", &[], &[]) };
    Ok(Localisation {
        pointed: evidence.len(),
        marked,
        lesions,
        maps: vec![MapScore::new("evidence", evidence, &of_evidence), MapScore::new("uptake", uptake, &of_uptake), any_pixel],
        froc: of_evidence.into_iter().take_while(|point| point.false_marks <= FALSE_MARKS[FALSE_MARKS.len() - 1]).collect(),
        randomised: randomised(model, &again, &positive)?,
    })
}

/// The maps of some scans again, with weights drawn anew from the last layer downwards.
fn randomised(model: &Model, scenes: &[(Scene, Image)], positive: &[usize]) -> Result<Vec<Randomised>> {
    let names = std::iter::once("last layers".to_owned()).chain(model.stages());
    let mut all = Vec::new();
    for (stages, name) in names.enumerate().filter(|_| !scenes.is_empty()) {
        let network = model.randomised(stages, RANDOMISED_SEED)?;
        let (mut pointings, mut correlations) = (Vec::new(), Vec::new());
        for (scene, before) in scenes {
            let (_, map) = evidence(&network, scene, positive)?;
            let of_body = |map: &Image| -> Vec<f32> {
                map.pixels.iter().zip(&scene.body).filter(|(_, inside)| **inside).map(|(value, _)| *value).collect()
            };
            correlations.push(metrics::spearman(&of_body(before), &of_body(&map)));
            pointings.push(scene.pointing(&map));
        }
        all.push(Randomised::new(name, &pointings, &correlations));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::views::Placement;

    fn fused(placement: Placement, anterior: bool) -> Fused {
        Fused {
            image: Image::zeros(10, 8),
            anterior: anterior.then(|| Image::zeros(10, 8)),
            posterior: Some(Image::zeros(10, 8)),
            anterior_points: None,
            posterior_points: None,
            placement,
        }
    }

    #[test]
    fn a_posterior_outline_is_mirrored_and_moved_as_its_view() {
        let mask = Mask::from_runs([[2, 1, 2]]);
        let moved = fused(Placement { shift_px: [1.0, -1.0], ..Placement::IDENTITY }, true);
        assert_eq!(placed(&mask, View::Posterior, &moved), Mask::from_runs([[3, 4, 2]]));
        assert_eq!(placed(&mask, View::Anterior, &moved), mask);
        // The posterior view alone is where it is; off the picture there is nothing.
        assert_eq!(placed(&mask, View::Posterior, &fused(moved.placement, false)), Mask::from_runs([[2, 5, 2]]));
        let away = fused(Placement { shift_px: [20.0, 0.0], ..Placement::IDENTITY }, true);
        assert!(placed(&mask, View::Posterior, &away).is_empty());
        let twice = fused(Placement { scale: [2.0, 1.0], ..Placement::IDENTITY }, true);
        assert_eq!(placed(&mask, View::Posterior, &twice), Mask::from_runs([[4, 5, 2], [5, 5, 2]]));
    }

    /// A map of a quarter of the scan's rows and columns, pixels of 5 mm.
    #[test]
    fn distances_are_in_millimetres_of_the_scan() {
        let scene = Scene {
            input: Image::zeros(8, 8),
            body: vec![true; 64],
            lesions: vec![Mask::from_runs([[0, 0, 4], [1, 0, 4]]), Mask::from_runs([[31, 31, 1]])],
            cover: vec![0.0; 64],
            size: [32, 32],
            pixel_mm: [5.0; 2],
        };
        // The centre of the pixel (0, 0) of the map is at 1.5 of the scan, that of (1, 0) at 5.5: 4.5 pixels below the first lesion.
        assert_eq!(scene.near(0, 0), [0]);
        assert!(scene.near(1, 0).is_empty());
        // 1.5 pixels to each side of the other lesion: 10.6 mm.
        assert_eq!(scene.near(7, 7), [1]);
        let [near, covered] = scene.by_chance();
        // (0, 1) too: 2.5 pixels beside the first lesion.
        assert_eq!((near, covered), (3.0 / 64.0, 0.0));
        let mut map = Image::zeros(8, 8);
        assert!(!scene.pointing(&map).is_near);
        map.pixels[63] = 1.0;
        assert!(scene.pointing(&map).is_near);
    }
}
