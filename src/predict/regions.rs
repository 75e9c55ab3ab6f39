//! Where a spot of a fused scan lies, in words: the region and side of the body from its critical points, and how hot the spot is beside
//! the mirrored side.

use super::evidence::disc;
use crate::image::{Image, Points};
use crate::prepare::views::Fused;
use crate::report::{CELLS, SPOT};

/// From the middle of the body, as a share of its height: what is nearer is in the midline.
const MIDLINE: f64 = 0.022;

/// Regions of a body that lies straight with its arms at its sides, as `osteon phantom` makes them and as people are scanned: shares of
/// the body's height from the crown, and of its height from the midline outwards, up to which a region reaches.
const REGIONS: &[(f64, &[(f64, &str)])] = &[
    (0.105, &[(1.0, "skull")]),
    (0.155, &[(0.05, "cervical spine"), (1.0, "shoulder")]),
    (0.21, &[(MIDLINE, "upper thoracic spine or sternum"), (0.07, "upper ribs, clavicle or shoulder blade"), (1.0, "shoulder")]),
    (0.315, &[(MIDLINE, "thoracic spine or sternum"), (0.09, "ribs"), (1.0, "upper arm")]),
    (0.37, &[(0.03, "lumbar spine"), (0.09, "lower ribs"), (1.0, "elbow or forearm")]),
    (0.405, &[(MIDLINE, "lumbar spine"), (0.09, "iliac bone"), (1.0, "forearm")]),
    (0.45, &[(MIDLINE, "sacrum or lower lumbar spine"), (0.09, "pelvis"), (1.0, "forearm or hand")]),
    (0.51, &[(0.05, "pelvis"), (0.09, "hip"), (1.0, "hand")]),
    (0.65, &[(0.1, "thigh"), (1.0, "hand")]),
    (0.75, &[(1.0, "knee")]),
    (0.89, &[(1.0, "lower leg")]),
    (1.0, &[(1.0, "ankle or foot")]),
];

/// Where a spot lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// `ribs`
    pub region: &'static str,
    /// `left`, `right`: the patient's; `None` in the midline.
    pub side: Option<&'static str>,
    /// Its mean counts over those of the same place on the other side, or in the midline over those above and below. `None` where there
    /// are no counts.
    pub ratio: Option<f64>,
    /// The view that shows it better, `anterior` or `posterior`; `None` where both show it alike or there is one view.
    pub view: Option<&'static str>,
}

impl Place {
    /// `left ribs, 2.1 times the right side, better seen in the posterior view`
    pub fn words(&self) -> String {
        let mut words = self.side.map_or_else(|| self.region.to_owned(), |side| format!("{side} {}", self.region));
        if let Some(ratio) = self.ratio {
            let other = match self.side {
                Some("left") => "the right side",
                Some(_) => "the left side",
                None => "what is above and below",
            };
            words += &format!(", {ratio:.1} times {other}");
        }
        if let Some(view) = self.view {
            words += &format!(", better seen in the {view} view");
        }
        words
    }
}

/// Where the pixel `at` (row, column) of a fused scan lies. `None` where the scan has no body.
pub fn place(fused: &Fused, at: [f64; 2]) -> Option<Place> {
    let Points { ceil, floor, left, right } = fused.anterior_points.or(fused.posterior_points)?;
    let [row, column] = at;
    let (height, middle) = ((floor + 1 - ceil) as f64, (left + right) as f64 / 2.0);
    let (down, across) = ((row - ceil as f64) / height, (column - middle) / height);
    let (_, outwards) = REGIONS.iter().find(|(end, _)| down < *end).or(REGIONS.last())?;
    let (_, region) = outwards.iter().find(|(end, _)| across.abs() < *end).or(outwards.last())?;
    let side = (across.abs() >= MIDLINE).then_some(if across < 0.0 { "right" } else { "left" });
    let reach = SPOT * fused.image.columns as f32 / CELLS;
    let mean = |image: &Image, [row, column]: [f64; 2]| {
        let counts: Vec<f64> = disc(image, [row as f32, column as f32], reach).map(|at| f64::from(image.pixels[at])).collect();
        (!counts.is_empty()).then(|| counts.iter().sum::<f64>() / counts.len() as f64)
    };
    let apart = 3.0 * f64::from(reach);
    let other = match side {
        Some(_) => mean(&fused.image, [row, 2.0 * middle - column]),
        None => {
            let [above, below] = [-apart, apart].map(|by| mean(&fused.image, [row + by, column]));
            above.zip(below).map(|(above, below)| (above + below) / 2.0)
        }
    };
    let ratio = mean(&fused.image, at).zip(other.filter(|other| *other > 0.0)).map(|(spot, other)| spot / other);
    Some(Place { region, side, ratio, view: view(fused, at, apart, &mean) })
}

/// The view in which the spot stands out more from what is around it.
fn view(
    fused: &Fused,
    [row, column]: [f64; 2],
    apart: f64,
    mean: &dyn Fn(&Image, [f64; 2]) -> Option<f64>,
) -> Option<&'static str> {
    /// Less than this is the noise of counts.
    const CLEARLY: f64 = 1.15;
    let (anterior, posterior) = (fused.anterior.as_ref()?, fused.posterior.as_ref()?);
    let contrast = |view: &Image| {
        let around = [[-apart, 0.0], [apart, 0.0], [0.0, -apart], [0.0, apart]];
        let around = around.iter().filter_map(|by| mean(view, [row + by[0], column + by[1]]));
        let around: Vec<f64> = around.collect();
        let around = around.iter().sum::<f64>() / around.len() as f64;
        Some(mean(view, [row, column])? / around).filter(|contrast| contrast.is_finite())
    };
    let (front, back) = (contrast(anterior)?, contrast(&fused.placement.apply(posterior))?);
    if front > CLEARLY * back {
        Some("anterior")
    } else if back > CLEARLY * front {
        Some("posterior")
    } else {
        None
    }
}
