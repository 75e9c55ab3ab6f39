//! Benign findings that take up tracer as metastases do: worn joints and discs, healing fractures, teeth and sinuses.
//!
//! Every class has them alike; older patients have more.

use super::body::{Patient, Point, SIDES};
use super::camera::{Blob, Field, Foci};
use super::random::Random;
use super::skeleton::{Bone, Skeleton};
use serde::{Deserialize, Serialize};

/// What a benign finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Benign {
    /// Arthritis of a knee.
    Knee,
    /// Arthritis of a shoulder.
    Shoulder,
    /// Arthritis of a hip.
    Hip,
    /// Arthritis of hand, foot or sternoclavicular joint.
    SmallJoint,
    /// Osteophytes and worn facet joints of the spine.
    Spine,
    /// Healing or healed fractures of ribs.
    RibFracture,
    /// Teeth and jaw.
    Dental,
    /// Inflamed sinuses.
    Sinus,
}

/// A benign finding before the camera sees it.
pub(super) struct Finding {
    pub kind: Benign,
    pub bone: String,
    pub foci: Foci,
}

/// The benign findings of a patient.
pub(super) fn draw(patient: &Patient, skeleton: &Skeleton, field: Field, random: &mut Random) -> Vec<Finding> {
    let mut findings = Findings { skeleton, field, found: Vec::new() };
    let wear = ((patient.age_years - 40.0) / 25.0).clamp(0.2, 1.8);

    for (_, side) in SIDES {
        if random.chance(0.34 * wear) {
            let compartment = if random.chance(0.7) { "medial" } else { "lateral" };
            let excess = random.factor(24.0, 0.6);
            findings.joint(Benign::Knee, &format!("{side} {compartment} tibial plateau"), 0.9, 3, excess, random);
            if random.chance(0.6) {
                findings.joint(Benign::Knee, &format!("{side} {compartment} femoral condyle"), 0.8, 2, excess * 0.8, random);
            }
        }
        if random.chance(0.18 * wear) {
            findings.joint(Benign::Knee, &format!("{side} patella"), 1.0, 2, random.factor(18.0, 0.5), random);
        }
        if random.chance(0.25 * wear) {
            let site = if random.chance(0.5) { "acromion" } else { "humeral head" };
            findings.joint(Benign::Shoulder, &format!("{side} {site}"), 0.8, 2, random.factor(26.0, 0.45), random);
        }
        if random.chance(0.08 * wear) {
            findings.joint(Benign::Hip, &format!("{side} acetabulum"), 1.0, 3, random.factor(20.0, 0.4), random);
        }
        for (site, odds, excess) in [
            ("wrist", 0.12, 22.0),
            ("ankle", 0.10, 18.0),
            ("first toe joint", 0.22, 20.0),
            ("foot", 0.12, 18.0),
            ("sternoclavicular joint", 0.15, 30.0),
        ] {
            if random.chance(odds * wear) {
                findings.joint(
                    Benign::SmallJoint,
                    &format!("{side} {site}"),
                    0.6,
                    1 + random.index(2),
                    random.factor(excess, 0.4),
                    random,
                );
            }
        }
    }

    // Wear of the spine: at the edges of the lower lumbar and neck vertebrae, to one side.
    for (level, odds) in
        [("L2", 0.05), ("L3", 0.09), ("L4", 0.16), ("L5", 0.18), ("C5", 0.08), ("C6", 0.08), ("T8", 0.03), ("T10", 0.03)]
    {
        if random.chance(odds * wear) {
            let reach = if level.starts_with('C') { 1.2 } else { 2.3 };
            let side = random.sign() * reach;
            let excess = random.factor(22.0, 0.45);
            if let Some(at) = skeleton.find(level) {
                let sigma = random.between(0.5, 0.8);
                let at = [at[0] + side, at[1] + random.typical(1.2, 0.3), at[2] - 0.5];
                findings.add(Benign::Spine, level, vec![Blob { at, sigma, weight: 1.0 }], excess);
            }
        }
    }

    if random.chance(0.10) {
        // One blow breaks neighbouring ribs at the same place.
        let side = SIDES[random.index(2)].1;
        let (first, share) = (3 + random.index(6), random.between(0.35, 0.95));
        for rib in first..first + [1, 2, 3][random.weighted(&[0.5, 0.3, 0.2])] {
            let name = format!("{side} rib {rib}");
            let excess = random.factor(24.0, 0.4);
            let share = (share + random.typical(0.0, 0.02)).clamp(0.0, 0.99);
            if let Some(bone) = bone(skeleton, &name) {
                let at = bone.beads[(share * bone.beads.len() as f32) as usize].at;
                findings.add(
                    Benign::RibFracture,
                    &name,
                    vec![Blob { at, sigma: random.between(0.4, 0.55), weight: 1.0 }],
                    excess,
                );
            }
        }
    }

    for (kind, name, odds, sigma) in
        [(Benign::Dental, "mandible", 0.14, 0.6), (Benign::Dental, "maxilla", 0.12, 0.6), (Benign::Sinus, "maxilla", 0.12, 1.0)]
    {
        if random.chance(odds) {
            findings.joint(kind, name, sigma, 1 + random.index(2), random.factor(26.0, 0.4), random);
        }
    }
    findings.found
}

fn bone<'a>(skeleton: &'a Skeleton, name: &str) -> Option<&'a Bone> {
    skeleton.bones.iter().find(|bone| bone.name == name)
}

struct Findings<'a> {
    skeleton: &'a Skeleton,
    field: Field,
    found: Vec<Finding>,
}

impl Findings<'_> {
    /// `spots` blobs on a bone, about `sigma` wide.
    fn joint(&mut self, kind: Benign, name: &str, sigma: f32, spots: usize, excess: f32, random: &mut Random) {
        let Some(bone) = bone(self.skeleton, name) else { return };
        let blobs = (0..spots).map(|_| {
            let at: Point = bone.beads[random.index(bone.beads.len())].at;
            let at = at.map(|value| value + random.normal(0.0, 0.4));
            Blob { at, sigma: sigma * random.between(0.75, 1.2), weight: random.between(0.6, 1.0) }
        });
        self.add(kind, name, blobs.collect(), excess);
    }

    fn add(&mut self, kind: Benign, name: &str, blobs: Vec<Blob>, excess: f32) {
        if blobs.iter().all(|blob| self.field.sees(blob.at, 0.5)) {
            self.found.push(Finding { kind, bone: name.to_owned(), foci: Foci { blobs, excess } });
        }
    }
}
