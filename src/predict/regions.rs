//! Where a spot of a fused scan lies, in words: the region and side of the body from its critical points, and how hot the spot is beside
//! the mirrored side.

use super::evidence::disc;
use crate::image::{Image, Points};
use crate::prepare::views::Fused;
use crate::report::{CELLS, SPOT};

/// From the middle of the body, as a share of its height: what is nearer is in the midline.
const MIDLINE: f64 = 0.022;

/// Where the knees end, as a share of the body's height from the crown.
pub(super) const KNEES: f64 = 0.75;

/// Where the ankles begin.
pub(super) const ANKLES: f64 = 0.89;

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
    (KNEES, &[(1.0, "knee")]),
    (ANKLES, &[(1.0, "lower leg")]),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::SimulatorVersion;
    use crate::phantom::{PhantomOptions, Region, simulate};
    use crate::prepare::{Preprocessing, views};

    fn fused(phantom: crate::phantom::Phantom) -> Fused {
        let study = crate::intake::Study {
            anterior: Some(phantom.anterior),
            posterior: Some(phantom.posterior),
            sources: vec!["phantom".into()],
            ..Default::default()
        };
        views::fuse(&study, &Preprocessing::default()).unwrap()
    }

    /// Parts of the names of regions that a bone of the simulator may be called by.
    fn names(region: Region) -> &'static [&'static str] {
        match region {
            Region::Skull => &["skull", "cervical"],
            Region::Vertebrae => &["spine", "sacrum"],
            Region::Ribs => &["ribs", "sternum"],
            Region::Girdle => &["shoulder", "clavicle", "sternum"],
            Region::Pelvis => &["pelvis", "iliac", "sacrum", "hip"],
            Region::LongBones => &["thigh", "arm", "hip", "shoulder", "lower leg", "knee"],
            Region::Distal => &["knee", "hand", "arm", "foot", "leg"],
        }
    }

    /// What is known of each lesion beside what its place is called: nearly all agree, for bodies of both simulators.
    #[test]
    fn the_simulators_lesions_lie_where_they_are_said_to_lie() {
        for simulator in [SimulatorVersion::One, SimulatorVersion::Two] {
            let options = PhantomOptions { studies: 14, seed: 5, mix: [0.0, 1.0, 1.0], simulator, ..PhantomOptions::default() };
            let (mut lesions, mut right_region, mut sides, mut right_side) = (0, 0, 0, 0);
            for index in 0..options.studies {
                let phantom = simulate(&options, index);
                let truth = phantom.truth.clone();
                let fused = fused(phantom);
                for lesion in &truth.lesions {
                    let at = if lesion.anterior.excess >= lesion.posterior.excess {
                        [f64::from(lesion.anterior.row), f64::from(lesion.anterior.column)]
                    } else {
                        let column = truth.columns as f64 - 1.0 - f64::from(lesion.posterior.column);
                        let placed = |axis: usize, at: f64| fused.placement.scale[axis] * at + fused.placement.shift_px[axis];
                        [placed(0, f64::from(lesion.posterior.row)), placed(1, column)]
                    };
                    let place = place(&fused, at).unwrap();
                    lesions += 1;
                    right_region += usize::from(names(lesion.region).iter().any(|name| place.region.contains(name)));
                    let side = ["left", "right"].into_iter().find(|side| lesion.bone.contains(side));
                    if let (Some(side), Some(found)) = (side, place.side) {
                        sides += 1;
                        right_side += usize::from(side == found);
                    }
                }
            }
            let [region, side] = [right_region as f64 / lesions as f64, f64::from(right_side as u32) / f64::from(sides as u32)];
            assert!(lesions > 50 && region > 0.85 && side > 0.97, "simulator {simulator}: {lesions} lesions, {region}, {side}");
        }
    }

    #[test]
    fn a_hot_spot_is_hotter_than_the_other_side_and_seen_in_its_view() {
        let options =
            PhantomOptions { studies: 1, mix: [1.0, 0.0, 0.0], simulator: SimulatorVersion::One, ..PhantomOptions::default() };
        let mut phantom = simulate(&options, 0);
        let middle = {
            let Points { left, right, .. } = fused(phantom.clone()).anterior_points.unwrap();
            (left + right) / 2
        };
        // A rib of the patient's left, in the anterior view alone.
        for row in 250..262 {
            let at = row * phantom.anterior.columns + middle + 38;
            phantom.anterior.pixels[at..at + 12].iter_mut().for_each(|count| *count += 400.0);
        }
        let place = place(&fused(phantom), [256.0, middle as f64 + 44.0]).unwrap();
        assert_eq!((place.side, place.view), (Some("left"), Some("anterior")));
        assert!(place.ratio.unwrap() > 1.5, "{place:?}");
        let words = place.words();
        assert!(
            words.starts_with("left ") && words.contains(" times the right side, better seen in the anterior view"),
            "{words}"
        );
    }
}
