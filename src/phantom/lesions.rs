//! Metastases: how many, where, of which shape, how hot.
//!
//! Each patient draws five latent quantities (number, spread, size, heat, lysis) and the patient's lesions follow from them. The
//! two metastatic classes shift the means of the latents by about one deviation, the hospital shifts them for both classes alike, and
//! nothing else changes. So the classes overlap
//! whatever one measures, and many lesions in one patient tell no more about the class than the latents do.
//!
//! Shapes, regions and uptake follow the paper's figure 12: mottled, patchy and punctate lesions dominate, vertebrae and ribs
//! are hit most, and 44 % of the lesions reach 50 to 100 counts.

use super::Label;
use super::body::Point;
use super::camera::{Blob, Field, Foci};
use super::hospital::Bodies;
use super::random::Random;
use super::skeleton::{Bone, Region, Skeleton};
use serde::{Deserialize, Serialize};
use std::f32::consts::PI;

/// What a lesion looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SimulatedShape {
    /// One small round spot.
    Punctate,
    /// An area with a ragged edge.
    Patchy,
    /// Several spots beside each other, with normal bone between.
    Mottled,
    /// A stripe along a rib or a long bone.
    Linear,
    /// A hot rim around a cold centre, as lytic lesions have.
    Ring,
}

/// A lesion before the camera sees it.
pub(super) struct Lesion {
    pub region: Region,
    pub bone: String,
    pub shape: SimulatedShape,
    /// Largest distance between its blobs' centres plus one blob's width.
    pub size_cm: f32,
    pub foci: Foci,
}

/// How a class shifts the latents, in deviations.
struct Shifts {
    number: f32,
    spread: f32,
    size: f32,
    heat: f32,
    lysis: f32,
}

const ADMET: Shifts = Shifts { number: -0.80, spread: -0.85, size: -0.45, heat: 0.50, lysis: -0.25 };
const NADMET: Shifts = Shifts { number: 0.80, spread: 0.85, size: 0.45, heat: -0.50, lysis: 0.25 };

/// Median number of lesions and deviation of its logarithm.
const NUMBER: (f32, f32) = (11.0, 0.60);
const MOST_LESIONS: usize = 45;
/// Share of metastatic patients whose scan shows next to nothing yet.
const EARLY: f32 = 0.05;
/// Median excess of a lesion (counts a reference pixel), its spread from lesion to lesion, and what a deviation of heat adds.
const EXCESS: (f32, f32, f32) = (58.0, 0.42, 0.24);

/// Region, its weight in a patient of average spread, and the power with which spread acts on it.
const REGIONS: [(Region, f32, f32); 6] = [
    (Region::Vertebrae, 0.34, -0.25),
    (Region::Ribs, 0.32, -0.45),
    (Region::Girdle, 0.08, 0.0),
    (Region::Pelvis, 0.15, 0.75),
    (Region::Skull, 0.04, 0.75),
    (Region::LongBones, 0.07, 0.85),
];

/// The lesions of a patient with this label.
pub(super) fn draw(label: Label, bodies: &Bodies, skeleton: &Skeleton, field: Field, random: &mut Random) -> Vec<Lesion> {
    let shifts = match label {
        Label::NoMet => return Vec::new(),
        Label::ADMet => ADMET,
        Label::NAdMet => NADMET,
    };
    let mut latent = |shift: f32| random.normal(shift, 1.0).clamp(-3.0, 3.0);
    let mut latent = |shift: f32, more: f32| latent(bodies.separation * shift + more);
    let [number, spread, size, heat] = bodies.lesions;
    let (number, spread) = (latent(shifts.number, number), latent(shifts.spread, spread));
    let (size, heat) = (latent(shifts.size, size), latent(shifts.heat, heat));
    let lysis = latent(shifts.lysis, 0.0);
    let early = random.chance(EARLY);
    let count = match early {
        true => 1 + random.index(2),
        false => ((NUMBER.0 * (NUMBER.1 * number).exp()).round() as usize).clamp(1, MOST_LESIONS),
    };
    let regions: Vec<f32> = REGIONS.iter().map(|&(_, weight, power)| weight * (power * spread).exp()).collect();
    let grow = (0.16 * size).exp();
    let ring = 0.06 * (0.7 * lysis).exp();
    let shapes = [
        (SimulatedShape::Punctate, 0.30 * (-0.35 * size).exp()),
        (SimulatedShape::Patchy, 0.28 * (0.3 * size).exp()),
        (SimulatedShape::Mottled, 0.26 * (0.2 * size).exp()),
        (SimulatedShape::Linear, 0.10),
        (SimulatedShape::Ring, ring),
    ];
    let weights = shapes.map(|(_, weight)| weight);
    let mut lesions = Vec::with_capacity(count);
    for _ in 0..count {
        let (region, ..) = REGIONS[random.weighted(&regions)];
        let mut shape = if early { SimulatedShape::Punctate } else { shapes[random.weighted(&weights)].0 };
        if shape == SimulatedShape::Linear && !matches!(region, Region::Ribs | Region::LongBones) {
            shape = SimulatedShape::Patchy;
        }
        // A thin bone has no room for a rim.
        if shape == SimulatedShape::Ring && matches!(region, Region::Ribs | Region::Girdle) {
            shape = SimulatedShape::Punctate;
        }
        let excess = EXCESS.0 * (EXCESS.2 * heat).exp() * random.factor(if early { 0.35 } else { 1.0 }, EXCESS.1);
        lesions.extend(place(region, shape, grow, excess, skeleton, field, random));
    }
    lesions
}

/// A lesion on a random bone of the region; none where the field holds no bone of it.
fn place(
    region: Region,
    shape: SimulatedShape,
    grow: f32,
    excess: f32,
    skeleton: &Skeleton,
    field: Field,
    random: &mut Random,
) -> Option<Lesion> {
    const MARGIN_CM: f32 = 1.5;
    let bones: Vec<&Bone> = skeleton.bones.iter().filter(|bone| bone.region == region).collect();
    // Long bones have most red marrow, and so metastases, in their upper part; beads are in order from the trunk outwards.
    let candidates = |bone: &Bone| if region == Region::LongBones { bone.beads.len().div_ceil(2) } else { bone.beads.len() };
    let weights: Vec<f32> = bones.iter().map(|bone| candidates(bone) as f32).collect();
    let (bone, index) = (0..20).find_map(|_| {
        let bone = bones[random.weighted(&weights)];
        let index = random.index(candidates(bone));
        field.sees(bone.beads[index].at, MARGIN_CM).then_some((bone, index))
    })?;
    let centre = bone.beads[index].at;
    let near = |reach: f32| -> Vec<Point> {
        let beads = bones.iter().flat_map(|bone| &bone.beads).map(|bead| bead.at);
        beads.filter(|&at| distance(at, centre) < reach && field.sees(at, MARGIN_CM)).collect()
    };
    let mut blobs = Vec::new();
    match shape {
        SimulatedShape::Punctate => blobs.push(Blob { at: centre, sigma: grow * random.between(0.5, 0.8), weight: 1.0 }),
        SimulatedShape::Patchy => {
            let sites = near(grow * random.between(1.6, 2.8));
            for _ in 0..4 + random.index(5) {
                let at = jitter(sites[random.index(sites.len())], 0.5, random);
                blobs.push(Blob { at, sigma: grow * random.between(0.6, 1.0), weight: random.between(0.5, 1.0) });
            }
        }
        SimulatedShape::Mottled => {
            let sites = near(grow * random.between(3.0, 5.0));
            for _ in 0..4 + random.index(5) {
                let at = jitter(sites[random.index(sites.len())], 0.3, random);
                blobs.push(Blob { at, sigma: grow * random.between(0.4, 0.65), weight: random.between(0.6, 1.2) });
            }
        }
        SimulatedShape::Linear => {
            let beads = (grow * random.between(7.0, 16.0)) as usize;
            let first = index.saturating_sub(beads / 2);
            let end = (first + beads).min(bone.beads.len());
            for bead in &bone.beads[first..end] {
                blobs.push(Blob { at: bead.at, sigma: bead.sigma.max(0.4), weight: random.between(0.7, 1.0) });
            }
        }
        SimulatedShape::Ring => {
            let radius = grow * random.between(1.2, 1.9);
            let gap = random.between(0.0, 2.0 * PI);
            for k in 0..10 {
                let angle = gap + k as f32 * PI / 5.0;
                let at = [centre[0] + radius * angle.cos(), centre[1] + radius * angle.sin(), centre[2]];
                let at = jitter(at, 0.15 * radius, random);
                // The rim is uneven, not closed all around, and of bone.
                let bony =
                    near(2.0 * radius + 1.0).into_iter().map(|bone| distance([bone[0], bone[1], at[2]], at)).fold(9.0, f32::min);
                let weight = if k < 2 { 0.2 } else { random.between(0.3, 1.0) } * (-bony * bony).exp();
                blobs.push(Blob { at, sigma: random.between(0.45, 0.65), weight });
            }
            let brightest = blobs.iter().map(|blob| blob.weight).fold(0.0, f32::max);
            blobs.push(Blob { at: centre, sigma: 0.6 * radius, weight: -0.35 * brightest });
        }
    }
    let hot = || blobs.iter().filter(|blob| blob.weight > 0.0);
    let size_cm = hot().flat_map(|a| hot().map(move |b| distance(a.at, b.at) + 2.0 * (a.sigma + b.sigma))).fold(0.0, f32::max);
    Some(Lesion { region, bone: bone.name.clone(), shape, size_cm, foci: Foci { blobs, excess } })
}

fn distance(a: Point, b: Point) -> f32 {
    (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum::<f32>().sqrt()
}

fn jitter(at: Point, reach: f32, random: &mut Random) -> Point {
    at.map(|value| value + random.normal(0.0, reach))
}
