//! What real scans have beside disease and wear: spilt urine, catheters, metal, patients who move, implants, what surgeons took
//! away, kidneys of two sizes, superscans, growth plates, and uptake outside bone.
//!
//! Nothing here depends on the label but for one: a diffuse superscan is metastatic, so only patients with metastases have it,
//! those of both classes with the same chance. A metabolic superscan, which looks much like it, every patient may have.

use super::Label;
use super::body::{Patient, Point, SIDES, between, shift};
use super::camera::{Blob, Field, Foci, Metal, Movement, Patch};
use super::random::Random;
use super::skeleton::{Bead, Region, Skeleton};
use serde::{Deserialize, Serialize};

/// What an artefact is, in the word's widest sense: whatever a reader has to tell from metastases and from wear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Artefact {
    /// Drops of urine on skin, clothes or sheet.
    UrineContamination,
    /// A tube from the bladder to a bag.
    UrinaryCatheter,
    /// A medallion or a belt buckle: a cold spot in the anterior view.
    Metal,
    /// A forearm that lay at two places while the detectors passed.
    ArmTwice,
    /// Head or legs that moved.
    Motion,
    /// Feet that were taken separately and put beneath the sweep.
    PatchedFeet,
    /// An artificial hip, knee or shoulder: cold, with some uptake at its edge.
    Prosthesis,
    /// A part of a rib, a leg or a kidney that was taken away.
    SurgicalAbsence,
    /// A shrunken kidney, or one whose urine is held up.
    UnequalKidneys,
    /// Metastases everywhere: bone takes up nearly all tracer, kidneys hardly show.
    DiffuseSuperscan,
    /// The same by the parathyroids or the kidneys: skull, jaw and limbs take part.
    MetabolicSuperscan,
    /// Of patients who still grow.
    GrowthPlates,
    /// Of a woman's breasts.
    Breasts,
    /// Elsewhere outside bone: effusions, lymph nodes, muscle, glands.
    SoftTissue,
}

/// The share of patients that has each; of [`GrowthPlates`](Artefact::GrowthPlates) of those under 19, of
/// [`Breasts`](Artefact::Breasts) of women, of [`DiffuseSuperscan`](Artefact::DiffuseSuperscan) of those with metastases, of
/// [`Prosthesis`](Artefact::Prosthesis) at the age of 62.
///
/// Figures are published for few of them. Prostheses: 2.3 % (hip) and 4.6 % (knee) of Americans from 50 on (Kremers et al., J Bone
/// Joint Surg Am 2015). That growth plates are hot in every child, that urine contamination is the commonest artefact, and that
/// metal, motion, catheters and uptake in breasts and other soft tissue are everyday findings, reviews say without counting
/// (Gnanasegaran et al., Semin Nucl Med 2009; SNMMI procedure standard for bone scintigraphy 4.0). Of these the shares are guesses:
/// such that some among a hundred scans have each, and rare things (superscans, amputations) one or two.
const PREVALENCE: [(Artefact, f32); 14] = [
    (Artefact::UrineContamination, 0.08),
    (Artefact::UrinaryCatheter, 0.04),
    (Artefact::Metal, 0.06),
    (Artefact::ArmTwice, 0.03),
    (Artefact::Motion, 0.06),
    (Artefact::PatchedFeet, 0.04),
    (Artefact::Prosthesis, 0.07),
    (Artefact::SurgicalAbsence, 0.05),
    (Artefact::UnequalKidneys, 0.10),
    (Artefact::DiffuseSuperscan, 0.025),
    (Artefact::MetabolicSuperscan, 0.02),
    (Artefact::GrowthPlates, 1.0),
    (Artefact::Breasts, 0.15),
    (Artefact::SoftTissue, 0.12),
];

/// One of them, and what it adds to the picture; what it takes away is elsewhere.
pub(super) struct Found {
    pub kind: Artefact,
    pub place: String,
    pub foci: Option<Foci>,
    /// Index into [`Artefacts::metal`].
    pub metal: Option<usize>,
}

/// All of one patient.
#[derive(Default)]
pub(super) struct Artefacts {
    pub found: Vec<Found>,
    pub metal: Vec<Metal>,
    pub movement: Option<Movement>,
    pub patch: Option<Patch>,
    absent_rib: Option<String>,
}

impl Artefact {
    /// In words, as a report would have it.
    pub fn name(self) -> &'static str {
        match self {
            Artefact::UrineContamination => "urine contamination",
            Artefact::UrinaryCatheter => "urinary catheter",
            Artefact::Metal => "metal",
            Artefact::ArmTwice => "arm seen twice",
            Artefact::Motion => "motion",
            Artefact::PatchedFeet => "feet taken separately",
            Artefact::Prosthesis => "prosthesis",
            Artefact::SurgicalAbsence => "surgical absence",
            Artefact::UnequalKidneys => "unequal kidneys",
            Artefact::DiffuseSuperscan => "diffuse superscan",
            Artefact::MetabolicSuperscan => "metabolic superscan",
            Artefact::GrowthPlates => "growth plates",
            Artefact::Breasts => "uptake of the breasts",
            Artefact::SoftTissue => "soft-tissue uptake",
        }
    }

    fn share(self) -> f32 {
        PREVALENCE.iter().find(|(kind, _)| *kind == self).map_or(0.0, |(_, share)| *share)
    }

    fn occurs(self, random: &mut Random) -> bool {
        random.chance(self.share())
    }
}

impl Artefacts {
    /// Draws what changes the patient, before the skeleton is built.
    pub fn draw(label: Label, patient: &mut Patient, random: &mut Random) -> Artefacts {
        let mut all = Artefacts::default();
        if Artefact::UnequalKidneys.occurs(random) {
            let side = random.index(2);
            let small = random.chance(0.55);
            let (size, uptake) =
                if small { (random.between(0.50, 0.75), 0.45) } else { (random.between(1.15, 1.4), random.factor(2.0, 0.3)) };
            patient.kidney_size[side] *= size;
            patient.kidneys[side] *= uptake;
            let what = if small { "small" } else { "its urine held up" };
            all.note(Artefact::UnequalKidneys, format!("{} kidney, {what}", SIDES[side].1));
        }
        if Artefact::SurgicalAbsence.occurs(random) {
            let side = random.index(2);
            let name = SIDES[side].1;
            match random.weighted(&[0.55, 0.30, 0.15]) {
                0 => all.absent_rib = Some(format!("{name} rib {}", 3 + random.index(4))),
                1 => {
                    patient.kidneys[side] = 0.0;
                    // The other grows.
                    patient.kidney_size[1 - side] *= 1.12;
                    all.note(Artefact::SurgicalAbsence, format!("{name} kidney"));
                }
                _ => patient.missing_leg = Some(side),
            }
        }
        let metabolic = Artefact::MetabolicSuperscan.occurs(random);
        let diffuse = Artefact::DiffuseSuperscan.occurs(random) && label != Label::NoMet;
        if metabolic || diffuse {
            let kidney = random.between(0.08, 0.35);
            patient.kidneys = patient.kidneys.map(|uptake| uptake * kidney);
            patient.soft *= random.between(0.45, 0.7);
            patient.bladder *= random.between(0.2, 0.6);
            let kind = if diffuse { Artefact::DiffuseSuperscan } else { Artefact::MetabolicSuperscan };
            all.note(kind, "skeleton".to_owned());
        }
        all
    }

    /// Draws all others, and changes the skeleton by what there is.
    pub fn add(&mut self, patient: &Patient, skeleton: &mut Skeleton, field: Field, random: &mut Random) {
        self.superscan(skeleton, random);
        self.growth_plates(patient, field, random);
        self.absence(patient, skeleton, random);
        // Nobody has one at 40, and twice as many have at 84 as at 62.
        let wear = ((patient.age_years - 40.0) / 22.0).max(0.0);
        if random.chance(Artefact::Prosthesis.share() * wear) {
            self.prosthesis(patient, skeleton, field, random);
        }
        if Artefact::UrineContamination.occurs(random) {
            self.urine(patient, field, random);
        }
        if Artefact::UrinaryCatheter.occurs(random) {
            self.catheter(patient, field, random);
        }
        if Artefact::Metal.occurs(random) {
            let (place, at, half) = match random.chance(0.5) {
                true => {
                    let radius = random.between(1.1, 2.0);
                    ("medallion", [random.typical(0.0, 1.2), random.between(30.0, 46.0), 11.5], [radius, radius * 1.15])
                }
                false => ("belt buckle", [random.typical(0.0, 1.5), random.between(61.5, 66.0), 12.0], [3.0, 1.8]),
            };
            let through = [random.between(0.08, 0.35), 1.0];
            let at = patient.place(at);
            if field.sees(at, 2.0) {
                self.metal.push(Metal { at, half, tilt: random.typical(0.0, 0.2), through });
                let metal = Some(self.metal.len() - 1);
                self.found.push(Found { kind: Artefact::Metal, place: place.to_owned(), foci: None, metal });
            }
        }
        if Artefact::ArmTwice.occurs(random) {
            self.arm_twice(patient, skeleton, random);
        }
        if Artefact::Motion.occurs(random) {
            let upwards = random.chance(0.5);
            let (place, from, by) = if upwards { ("head", 24.0, (1.2, 3.0)) } else { ("legs", 92.0, (1.5, 4.0)) };
            let by_cm = random.sign() * random.between(by.0, by.1);
            let movement = Movement { from_cm: from * patient.scale()[1], upwards, by_cm, time: random.between(0.25, 0.5) };
            self.movement = Some(movement);
            self.note(Artefact::Motion, place.to_owned());
        }
        if Artefact::PatchedFeet.occurs(random) {
            let from = patient.place([0.0, random.between(126.0, 146.0), 0.0]);
            if field.sees(from, 8.0) {
                let rows = |cm: f32| (cm / field.pixel_cm).round();
                let brightness = random.factor(1.0, 0.15) * if random.chance(0.5) { 1.5 } else { 0.6 };
                let right = rows(random.sign() * random.between(0.5, 3.0)) as isize;
                let patch = Patch { row: field.row(from), down: rows(random.between(0.5, 5.0)) as usize, right, brightness };
                self.patch = Some(patch);
                self.note(Artefact::PatchedFeet, "below the knees".to_owned());
            }
        }
        if Artefact::Breasts.occurs(random) && !patient.male && patient.age_years > 15.0 {
            let excess = random.factor(15.0, 0.35);
            let blobs = SIDES.into_iter().filter(|_| random.chance(0.9)).collect::<Vec<_>>();
            let blobs = blobs.into_iter().flat_map(|(side, _)| {
                let sag = random.between(0.0, 4.0);
                [(8.8, 43.0, 3.0), (9.6, 46.0, 2.4), (7.4, 45.0, 2.4)].map(|(x, y, sigma)| Blob {
                    at: patient.place([side * x, y + sag, 10.0]),
                    sigma: sigma * patient.girth,
                    weight: 1.0,
                })
            });
            self.stamp(Artefact::Breasts, "breasts", blobs.collect(), excess, field);
        }
        if Artefact::SoftTissue.occurs(random) {
            self.soft_tissue(patient, field, random);
        }
    }

    fn note(&mut self, kind: Artefact, place: String) {
        self.found.push(Found { kind, place, foci: None, metal: None });
    }

    fn has(&self, kind: Artefact) -> bool {
        self.found.iter().any(|found| found.kind == kind)
    }

    /// Adds uptake where the field holds all of it.
    fn stamp(&mut self, kind: Artefact, place: impl Into<String>, blobs: Vec<Blob>, excess: f32, field: Field) {
        if !blobs.is_empty() && blobs.iter().all(|blob| field.sees(blob.at, 0.5)) {
            self.found.push(Found { kind, place: place.into(), foci: Some(Foci { blobs, excess }), metal: None });
        }
    }

    fn superscan(&mut self, skeleton: &mut Skeleton, random: &mut Random) {
        let diffuse = self.has(Artefact::DiffuseSuperscan);
        if !diffuse && !self.has(Artefact::MetabolicSuperscan) {
            return;
        }
        let strength = random.between(1.6, 2.5);
        // Metastases are where red marrow is; what the blood carries reaches all bones.
        let factor = |region: Region| match (region, diffuse) {
            (Region::Vertebrae | Region::Ribs | Region::Girdle | Region::Pelvis, _) => strength,
            (Region::LongBones, true) => 0.5 + 0.5 * strength,
            (Region::Skull | Region::Distal, true) => 1.0,
            (Region::Skull, false) => 1.2 * strength,
            (Region::LongBones | Region::Distal, false) => strength,
        };
        let uneven = if diffuse { 0.22 } else { 0.05 };
        for bone in &mut skeleton.bones {
            let factor = factor(bone.region) * random.factor(1.0, uneven);
            bone.beads.iter_mut().for_each(|bead| bead.mass *= factor);
        }
        for shell in skeleton.organs.iter_mut().filter(|organ| organ.wall.is_some()) {
            shell.activity *= factor(Region::Skull);
        }
    }

    fn growth_plates(&mut self, patient: &Patient, field: Field, random: &mut Random) {
        if patient.age_years >= 19.0 || !Artefact::GrowthPlates.occurs(random) {
            return;
        }
        let strength = 22.0 * (20.5 - patient.age_years).clamp(1.5, 7.0).sqrt() * random.factor(1.0, 0.2);
        for (index, (_, side)) in SIDES.into_iter().enumerate() {
            let (arm, leg) = (patient.arms[index], patient.legs[index]);
            for (bone, centre, half, share) in [
                ("distal femur", shift(leg.knee, -2.8), 3.0, 1.0),
                ("proximal tibia", shift(leg.knee, 2.7), 2.8, 0.9),
                ("distal tibia", shift(leg.ankle, -1.4), 1.7, 0.6),
                ("proximal humerus", shift(arm.shoulder, 2.4), 1.8, 0.6),
                ("distal radius", shift(arm.wrist, -1.6), 1.3, 0.5),
            ] {
                let blobs = (0..7).map(|k| {
                    let x = half * (k as f32 / 3.0 - 1.0);
                    Blob { at: patient.place([centre[0] + x, centre[1], centre[2]]), sigma: 0.35, weight: 1.0 }
                });
                let excess = strength * share * random.factor(1.0, 0.1);
                self.stamp(Artefact::GrowthPlates, format!("{side} {bone}"), blobs.collect(), excess, field);
            }
        }
    }

    fn absence(&mut self, patient: &Patient, skeleton: &mut Skeleton, random: &mut Random) {
        if let Some(name) = self.absent_rib.take()
            && let Some(bone) = skeleton.bones.iter_mut().find(|bone| bone.name == name)
        {
            let count = bone.beads.len() as f32;
            let from = random.between(0.12, 0.4);
            let (first, end) = ((from * count) as usize, ((from + random.between(0.3, 0.5)) * count) as usize);
            bone.beads.drain(first..end.min(bone.beads.len()));
            self.note(Artefact::SurgicalAbsence, format!("part of the {name}"));
        }
        if let Some(side) = patient.missing_leg {
            let name = SIDES[side].1;
            let below = ["tibia", "fibula", "ankle", "calcaneus", "foot", "first toe joint"].map(|part| format!("{name} {part}"));
            let end = patient.place(shift(patient.legs[side].knee, 5.5))[1];
            for bone in skeleton.bones.iter_mut().filter(|bone| below.contains(&bone.name)) {
                bone.beads.retain(|bead| bead.at[1] < end);
            }
            self.note(Artefact::SurgicalAbsence, format!("{name} lower leg"));
        }
        // A lesion is put on a bone that has beads.
        skeleton.bones.retain(|bone| !bone.beads.is_empty());
    }

    fn prosthesis(&mut self, patient: &Patient, skeleton: &mut Skeleton, field: Field, random: &mut Random) {
        let index = random.index(2);
        let (side, name) = SIDES[index];
        let (arm, leg) = (patient.arms[index], patient.legs[index]);
        let [wide, tall, _] = patient.scale();
        let mut thin = |part: &str, left: f32, first_beads: f32| {
            for bone in skeleton.bones.iter_mut().filter(|bone| bone.name == format!("{name} {part}")) {
                let beads = (first_beads * bone.beads.len() as f32) as usize;
                bone.beads[..beads].iter_mut().for_each(|bead| bead.mass *= left);
            }
        };
        let out = |point: Point, out: f32, down: f32| [point[0] + side * out, point[1] + down, point[2]];
        // Cobalt chrome and titanium some centimetres thick; scatter fills in.
        let through = random.between(0.35, 0.6);
        // An ellipse from one point of the template to another, `half` wide.
        let rod = |from: Point, to: Point, half: f32| {
            let (from, to) = (patient.place(from), patient.place(to));
            let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
            Metal {
                at: between(from, to, 0.5),
                half: [half * wide, 0.5 * dx.hypot(dy)],
                tilt: (-dx).atan2(dy),
                through: [through; 2],
            }
        };
        let ball = |at: Point, half: [f32; 2]| Metal {
            at: patient.place(at),
            half: [half[0] * wide, half[1] * tall],
            tilt: 0.0,
            through: [through; 2],
        };
        let (joint, metal, rim): (&str, Vec<Metal>, Vec<Point>) = match random.weighted(&[0.34, 0.58, 0.08]) {
            0 => {
                thin("femoral head", 0.1, 1.0);
                thin("acetabulum", 0.55, 1.0);
                thin("trochanter", 0.6, 1.0);
                thin("femur", 0.75, 0.35);
                let (top, tip) = (out(leg.hip, 3.0, 0.5), out(between(leg.hip, leg.knee, 0.4), 2.4, 0.0));
                let neck = rod(leg.hip, out(leg.hip, 3.2, 3.0), 1.0);
                ("hip", vec![ball(leg.hip, [2.6, 2.6]), neck, rod(top, tip, 0.8)], vec![shift(tip, 0.3), out(leg.hip, 4.2, 2.0)])
            }
            1 => {
                ["medial femoral condyle", "lateral femoral condyle"].iter().for_each(|part| thin(part, 0.25, 1.0));
                ["medial tibial plateau", "lateral tibial plateau"].iter().for_each(|part| thin(part, 0.5, 1.0));
                thin("patella", 0.4, 1.0);
                let femoral = ball(shift(leg.knee, -1.6), [3.6, 2.3]);
                let tray = ball(shift(leg.knee, 1.7), [3.6, 0.8]);
                let stem = rod(shift(leg.knee, 1.7), shift(leg.knee, 6.0), 0.8);
                let rim = [-3.4, -2.0, 2.0, 3.4].map(|x| out(leg.knee, x, 3.4)).to_vec();
                ("knee", vec![femoral, tray, stem], rim)
            }
            _ => {
                thin("humeral head", 0.15, 1.0);
                thin("humerus", 0.75, 0.4);
                let stem = rod(shift(arm.shoulder, 1.0), between(arm.shoulder, arm.elbow, 0.4), 0.6);
                ("shoulder", vec![ball(arm.shoulder, [2.4, 2.4]), stem], vec![out(arm.shoulder, -2.6, 0.0)])
            }
        };
        let first = self.metal.len();
        self.metal.extend(metal);
        let foci =
            rim.into_iter().map(|at| Blob { at: patient.place(at), sigma: 0.7, weight: random.between(0.3, 1.0) }).collect();
        let excess = random.factor(14.0, 0.5);
        let place = format!("{name} {joint}");
        self.found.push(Found { kind: Artefact::Prosthesis, place: place.clone(), foci: None, metal: Some(first) });
        self.stamp(Artefact::Prosthesis, format!("{place}, its edge"), foci, excess, field);
    }

    fn urine(&mut self, patient: &Patient, field: Field, random: &mut Random) {
        let (place, centre, spread) = match random.weighted(&[0.45, 0.35, 0.2]) {
            0 => ("groin", [random.typical(0.0, 2.5), random.between(85.0, 93.0), 6.0], 2.5),
            1 => {
                let side = random.sign();
                ("thigh", [side * random.between(5.0, 13.0), random.between(90.0, 112.0), 7.0], 3.5)
            }
            _ => {
                let arm = patient.arms[random.index(2)];
                ("hand", between(arm.wrist, arm.fingertip, random.between(0.2, 1.0)), 1.5)
            }
        };
        let blobs = (0..1 + random.index(5)).map(|drop| {
            let away = if drop == 0 { 0.0 } else { spread };
            let at = [centre[0] + random.typical(0.0, away), centre[1] + random.typical(0.0, away), centre[2]];
            Blob { at: patient.place(at), sigma: random.factor(0.5, 0.5), weight: random.factor(0.6, 0.6) }
        });
        let blobs = blobs.collect();
        self.stamp(Artefact::UrineContamination, place, blobs, random.factor(70.0, 0.8), field);
    }

    fn catheter(&mut self, patient: &Patient, field: Field, random: &mut Random) {
        let side = random.sign();
        let leg = patient.legs[usize::from(side < 0.0)];
        let between_legs = random.chance(0.35);
        let bag_y = random.between(112.0, 130.0);
        let bag =
            if between_legs { [side * 0.5, bag_y, 0.0] } else { [leg.hip[0] + side * random.between(9.5, 12.0), bag_y, -2.0] };
        let start = [0.0, if patient.male { 91.0 } else { 87.0 }, 5.5];
        let over = if between_legs { [side * 1.5, 99.0, 4.0] } else { [leg.hip[0] + side * 1.0, 97.0, 9.0] };
        let mut blobs = Vec::new();
        for (from, to) in [(start, over), (over, bag)] {
            let length = (0..3).map(|axis| (to[axis] - from[axis]).powi(2)).sum::<f32>().sqrt();
            let steps = (length / 0.7).ceil();
            for k in 0..steps as usize {
                let share = (k as f32 + 0.5) / steps;
                let [x, y, z] = between(from, to, share);
                // A tube hangs in curves, and urine stands in its lower parts.
                let bend = 1.4 * (share * 3.1).sin();
                let full = 0.5 + 0.5 * (share * 7.0 + bag_y).sin().abs();
                blobs.push(Blob { at: patient.place([x + side * bend, y, z]), sigma: 0.28, weight: 2.2 * full });
            }
        }
        // The bag is half full: more at its bottom.
        for row in 0..5 {
            for column in -1..=1 {
                let at = [bag[0] + 1.9 * column as f32, bag[1] + 2.0 * row as f32, bag[2]];
                blobs.push(Blob { at: patient.place(at), sigma: 1.15, weight: 0.35 + 0.16 * row as f32 });
            }
        }
        let place = if between_legs { "bag between the legs" } else { "bag beside the leg" };
        self.stamp(Artefact::UrinaryCatheter, place, blobs, random.factor(90.0, 0.5), field);
    }

    fn arm_twice(&mut self, patient: &Patient, skeleton: &mut Skeleton, random: &mut Random) {
        let index = random.index(2);
        let (side, name) = SIDES[index];
        let arm = patient.arms[index];
        let elbow = patient.place(arm.elbow);
        // Onto the pelvis, or onto the thigh: away from the body there is no field left.
        let onto_pelvis = random.chance(0.5);
        let angle = side * if onto_pelvis { random.between(0.6, 0.95) } else { random.between(0.25, 0.45) };
        let (sin, cos) = angle.sin_cos();
        let turned = |[x, y, z]: Point| {
            let (dx, dy) = (x - elbow[0], y - elbow[1]);
            [elbow[0] + dx * cos - dy * sin, elbow[1] + dx * sin + dy * cos, z.max(9.0)]
        };
        let time = random.between(0.4, 0.65);
        let parts = ["forearm", "wrist", "hand"].map(|part| format!("{name} {part}"));
        for bone in skeleton.bones.iter_mut().filter(|bone| parts.contains(&bone.name)) {
            for bead in &mut bone.beads {
                skeleton.strays.push(Bead { at: turned(bead.at), mass: bead.mass * time, ..*bead });
                bead.mass *= 1.0 - time;
            }
        }
        // The soft tissue of the forearm at its other place.
        let (wrist, tip) = (patient.place(arm.wrist), patient.place(arm.fingertip));
        for (from, to, radius) in [(elbow, wrist, 3.4), (wrist, tip, 2.2)] {
            for k in 0..8 {
                let at = turned(between(from, to, (k as f32 + 0.5) / 8.0));
                let volume = std::f32::consts::PI * radius * radius * 3.0;
                skeleton.strays.push(Bead { at, sigma: radius / 2.0, mass: 2.4 * patient.soft * volume * time });
            }
        }
        let place = format!("{name} forearm, {}", if onto_pelvis { "on the pelvis too" } else { "on the thigh too" });
        self.note(Artefact::ArmTwice, place);
    }

    fn soft_tissue(&mut self, patient: &Patient, field: Field, random: &mut Random) {
        let side = random.sign();
        let name = SIDES[usize::from(side < 0.0)].1;
        // Fibroids only women have.
        let kind = random.index(if patient.male { 6 } else { 7 });
        let (place, blobs, excess) = match kind {
            0 => {
                let spots = [38.0, 42.5, 47.0, 51.5].map(|y| ([side * 8.0, y, -3.0], 3.6));
                (format!("{name} pleural effusion"), blobs_of(patient, &spots, random), random.factor(9.0, 0.35))
            }
            1 => {
                let x = side * random.between(15.0, 17.0);
                let spots: Vec<(Point, f32)> =
                    (0..1 + random.index(3)).map(|k| ([x + 0.4 * k as f32, 32.0 + 1.5 * k as f32, 0.0], 0.5)).collect();
                (format!("{name} axillary lymph nodes"), blobs_of(patient, &spots, random), random.factor(24.0, 0.5))
            }
            2 => {
                let spots = [([1.6 * side, 25.3, 3.6], 0.8), ([-1.6 * side, 25.3, 3.6], 0.8)];
                ("thyroid".to_owned(), blobs_of(patient, &spots, random), random.factor(14.0, 0.4))
            }
            3 => {
                let spots = [([5.5, 51.0, 4.0], 2.4), ([7.0, 54.0, 4.0], 2.4), ([4.0, 57.0, 5.0], 2.0)];
                ("stomach".to_owned(), blobs_of(patient, &spots, random), random.factor(10.0, 0.4))
            }
            4 => {
                let spots =
                    [([-8.5, 49.5, 2.0], 3.6), ([-4.0, 49.5, 4.0], 3.2), ([-8.0, 54.0, 2.0], 3.4), ([0.5, 49.0, 5.0], 2.4)];
                ("liver".to_owned(), blobs_of(patient, &spots, random), random.factor(9.0, 0.35))
            }
            5 => {
                let spots = [([side * 8.0, 79.0, -9.0], 1.8), ([side * 9.5, 82.0, -9.0], 1.6)];
                (format!("{name} gluteal muscle"), blobs_of(patient, &spots, random), random.factor(16.0, 0.4))
            }
            _ => {
                let spots = [([side * random.between(0.5, 4.0), random.between(72.0, 75.5), 3.0], random.between(1.2, 2.4))];
                ("uterus".to_owned(), blobs_of(patient, &spots, random), random.factor(20.0, 0.4))
            }
        };
        self.stamp(Artefact::SoftTissue, place, blobs, excess, field);
    }
}

/// A blob at each point of the template, with its standard deviation; they differ a little.
fn blobs_of(patient: &Patient, spots: &[(Point, f32)], random: &mut Random) -> Vec<Blob> {
    let blob = |&(at, sigma): &(Point, f32)| Blob {
        at: patient.place(at),
        sigma: sigma * random.factor(1.0, 0.1),
        weight: random.between(0.7, 1.0),
    };
    spots.iter().map(blob).collect()
}
