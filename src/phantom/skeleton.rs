//! The bones of one patient, and the organs that hold tracer.
//!
//! A bone is a string of beads: Gaussian blobs close enough together to look like one bone. A bead's projection through any
//! camera is again a Gaussian, so bones need no ray tracing and no blurring afterwards. Only what is hollow or big (skull cap,
//! kidneys, bladder) is an [`Ellipsoid`]. Coordinates are those of [`super::body`]; lengths are centimetres, activities are
//! counts a reference pixel and centimetre of bone, which the camera later scales to the counts of the view.

use super::body::{Injection, Leg, Patient, Point, SIDES, between, catmull_rom, shift};
use super::random::Random;
use serde::{Deserialize, Serialize};
use std::f32::consts::PI;

/// Where in the body a lesion is, as the paper's figure 12 divides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Region {
    /// Skull cap, face and jaw.
    Skull,
    /// Cervical, thoracic and lumbar vertebrae.
    Vertebrae,
    /// Ribs.
    Ribs,
    /// Sternum, clavicles and scapulae.
    Girdle,
    /// Hip bones and sacrum.
    Pelvis,
    /// Humerus and femur.
    LongBones,
    /// Forearm, hand, lower leg and foot, where metastases are exceptions.
    Distal,
}

/// A Gaussian blob of activity.
#[derive(Clone, Copy)]
pub(super) struct Bead {
    pub at: Point,
    /// Standard deviation.
    pub sigma: f32,
    /// Activity times volume.
    pub mass: f32,
}

/// One bone or part of a bone.
pub(super) struct Bone {
    pub name: String,
    pub region: Region,
    pub beads: Vec<Bead>,
}

/// A solid or hollow ellipsoid, axes along the coordinates but for `tilt`.
pub(super) struct Ellipsoid {
    pub centre: Point,
    pub half: Point,
    /// Rotation in the plane of the image, radians.
    pub tilt: f32,
    /// Thickness of the wall; `None` for a solid.
    pub wall: Option<f32>,
    pub activity: f32,
}

/// Everything inside the patient that holds more tracer than soft tissue.
pub(super) struct Skeleton {
    pub bones: Vec<Bone>,
    pub organs: Vec<Ellipsoid>,
    /// Beads that no lesion can sit on: an arm where it was for a part of the time.
    pub strays: Vec<Bead>,
}

/// Distance between beads; below the camera's blur, so that no string of beads shows.
const BEAD_STEP: f32 = 0.45;

/// Width of the chest at each rib's level, drop of the rib from spine to front end, azimuth where its bone ends (0 is the spine,
/// pi the sternum).
const RIBS: [(f32, f32, f32); 12] = [
    (5.2, 4.2, 2.55),
    (8.4, 6.4, 2.62),
    (10.6, 8.6, 2.62),
    (12.0, 10.2, 2.58),
    (12.9, 11.4, 2.52),
    (13.5, 12.2, 2.45),
    (13.9, 12.6, 2.36),
    (14.1, 12.4, 2.20),
    (14.0, 11.8, 2.02),
    (13.7, 10.6, 1.80),
    (13.0, 8.6, 1.50),
    (11.6, 5.4, 0.98),
];

/// Height of a vertebra's centre: 0 is C1, 7 is T1, 19 is L1.
fn vertebra_height(level: usize) -> f32 {
    match level {
        0..7 => 14.8 + 1.62 * level as f32,
        7..19 => 26.6 + 2.28 * (level - 7) as f32,
        _ => 54.6 + 3.45 * (level - 19) as f32,
    }
}

/// Depth of the spine's vertebral bodies along its curves.
fn spine_depth(y: f32) -> f32 {
    const CURVE: [(f32, f32); 6] = [(14.0, -1.5), (24.0, -3.2), (40.0, -5.6), (52.0, -5.0), (64.0, -3.2), (72.0, -4.6)];
    let i = CURVE.partition_point(|&(knot, _)| knot <= y).clamp(1, CURVE.len() - 1) - 1;
    let ((y0, z0), (y1, z1)) = (CURVE[i], CURVE[i + 1]);
    z0 + (z1 - z0) * ((y - y0) / (y1 - y0)).clamp(0.0, 1.0)
}

impl Skeleton {
    pub fn build(patient: &Patient, random: &mut Random) -> Self {
        let mut builder = Builder { patient, random, bones: Vec::new(), organs: Vec::new() };
        builder.head();
        builder.spine();
        builder.ribs();
        builder.shoulders();
        builder.pelvis();
        for side in 0..2 {
            builder.arm(side);
            builder.leg(side);
        }
        builder.organs();
        Skeleton { bones: builder.bones, organs: builder.organs, strays: Vec::new() }
    }

    /// The middle bead of the bone with this name.
    pub fn find(&self, name: &str) -> Option<Point> {
        self.bones.iter().find(|bone| bone.name == name).map(|bone| bone.beads[bone.beads.len() / 2].at)
    }
}

struct Builder<'a> {
    patient: &'a Patient,
    random: &'a mut Random,
    bones: Vec<Bone>,
    organs: Vec<Ellipsoid>,
}

impl Builder<'_> {
    /// Starts a bone; strings that follow belong to it. Its activity differs a little from its neighbours'.
    fn bone(&mut self, name: impl Into<String>, region: Region) -> f32 {
        self.bones.push(Bone { name: name.into(), region, beads: Vec::new() });
        self.patient.bone * self.random.factor(1.0, 0.07)
    }

    /// Beads along a smooth curve through `points` (`x, y, z, radius`).
    fn string(&mut self, activity: f32, points: &[[f32; 4]]) {
        let [wide, _, _] = self.patient.scale();
        let point = |i: usize| points[i.min(points.len() - 1)];
        let bone = self.bones.last_mut().expect("bone() comes before string()");
        for i in 0..points.len() - 1 {
            let around = [point(i.saturating_sub(1)), point(i), point(i + 1), point(i + 2)];
            let length = (0..3).map(|axis| (around[2][axis] - around[1][axis]).powi(2)).sum::<f32>().sqrt();
            let beads = (length / BEAD_STEP).ceil().max(1.0);
            for k in 0..beads as usize {
                let t = (k as f32 + 0.5) / beads;
                let [x, y, z, radius] = [0, 1, 2, 3].map(|axis| catmull_rom(around.map(|p| p[axis]), t));
                let radius = radius.max(0.1) * wide;
                // A disc of radius r has a standard deviation of r / 2 along each axis.
                bone.beads.push(Bead {
                    at: self.patient.place([x, y, z]),
                    sigma: radius / 2.0,
                    mass: activity * PI * radius * radius * length / beads,
                });
            }
        }
    }

    /// A single bead, as big as a ball (`x, y, z, radius`).
    fn bead(&mut self, activity: f32, [x, y, z, radius]: [f32; 4]) {
        let bead = Bead {
            at: self.patient.place([x, y, z]),
            // A ball of radius r has a standard deviation of r / sqrt(5) along each axis.
            sigma: radius * 0.447,
            mass: activity * 4.0 / 3.0 * PI * radius.powi(3),
        };
        self.bones.last_mut().expect("bone() comes before bead()").beads.push(bead);
    }

    fn head(&mut self) {
        let [wide, tall, deep] = self.patient.scale();
        let cap = self.bone("skull cap", Region::Skull);
        // Activity of the cap is the ellipsoid's; beads mark where a lesion can sit, about as many on each part of its surface.
        for ring in 1..8 {
            let polar = ring as f32 * 0.22;
            let around = (18.0 * polar.sin()).ceil();
            for k in 0..around as usize {
                let azimuth = 2.0 * PI * k as f32 / around;
                let (x, z) = (6.7 * polar.sin() * azimuth.cos(), 8.4 * polar.sin() * azimuth.sin());
                self.bead(0.0, [x, 8.7 - 7.5 * polar.cos(), z, 0.4]);
            }
        }
        self.organs.push(Ellipsoid {
            centre: self.patient.place([0.0, 8.7, 0.0]),
            half: [7.5 * wide, 8.4 * tall, 9.2 * deep],
            tilt: 0.0,
            wall: Some(0.75),
            activity: 17.0 * cap,
        });
        let base = self.bone("skull base", Region::Skull);
        self.string(
            26.0 * base,
            &[[-5.2, 13.6, -1.0, 1.0], [-2.0, 13.2, 0.5, 1.1], [2.0, 13.2, 0.5, 1.1], [5.2, 13.6, -1.0, 1.0]],
        );
        self.string(24.0 * base, &[[-3.6, 14.4, -7.0, 0.9], [0.0, 15.2, -7.8, 1.0], [3.6, 14.4, -7.0, 0.9]]);
        let face = self.bone("maxilla", Region::Skull) * self.random.factor(1.0, 0.25);
        self.string(48.0 * face, &[[0.0, 11.8, 8.4, 0.6], [0.0, 13.2, 8.4, 1.1], [0.0, 16.4, 7.2, 1.3]]);
        for (y, half) in [(14.4, 2.3), (16.8, 2.9)] {
            self.string(
                26.0 * face,
                &[[-half, y, 5.8, 1.0], [-0.5 * half, y, 7.2, 1.1], [0.5 * half, y, 7.2, 1.1], [half, y, 5.8, 1.0]],
            );
        }
        for (side, _) in SIDES {
            let cheek = 20.0 * face;
            self.string(cheek, &[[side * 1.2, 14.0, 7.6, 0.8], [side * 3.4, 13.2, 7.0, 0.8], [side * 5.6, 12.4, 4.6, 0.6]]);
            let rim: Vec<[f32; 4]> = (0..9)
                .map(|k| {
                    let (sin, cos) = (k as f32 * PI / 4.0).sin_cos();
                    [side * (3.2 + 1.9 * cos), 11.0 + 1.7 * sin, 7.6 - 0.4 * cos.abs(), 0.45]
                })
                .collect();
            self.string(16.0 * face, &rim);
        }
        let jaw = self.bone("mandible", Region::Skull) * self.random.factor(1.0, 0.15);
        let half = |side: f32| {
            [
                [side * 5.3, 13.8, 1.2, 0.8],
                [side * 5.1, 16.2, 1.6, 0.8],
                [side * 4.7, 18.2, 2.6, 0.9],
                [side * 3.2, 19.8, 5.4, 0.8],
                [side * 1.2, 20.6, 7.0, 0.9],
            ]
        };
        let mut arc = half(-1.0).to_vec();
        arc.extend(half(1.0).iter().rev());
        self.string(26.0 * jaw, &arc);
        let neck = self.bone("thyroid cartilage", Region::Distal) * self.random.factor(1.0, 0.4);
        self.string(8.0 * neck, &[[0.0, 22.6, 3.8, 0.9], [0.0, 25.2, 3.4, 1.0]]);
    }

    fn spine(&mut self) {
        // The lower spine bears more load and has more surface.
        for level in 0..24 {
            let y = vertebra_height(level);
            let z = spine_depth(y);
            let (name, half_width, radius, activity) = match level {
                0..7 => (format!("C{}", level + 1), 1.0, 0.75, 32.0),
                7..19 => (format!("T{}", level - 6), 1.0 + 0.03 * (level - 7) as f32, 0.85, 30.0),
                _ => (format!("L{}", level - 18), 1.5, 1.02, 31.0),
            };
            let activity = activity * self.bone(name, Region::Vertebrae);
            // A body is two strings, below its upper and above its lower plate.
            let plate = 0.66 * radius;
            for y in [y - plate, y + plate] {
                self.string(
                    activity,
                    &[
                        [-half_width - radius * 0.5, y, z, radius * 0.9],
                        [0.0, y, z + 0.2, radius],
                        [half_width + radius * 0.5, y, z, radius * 0.9],
                    ],
                );
            }
            // Arch and spinous process: what the posterior camera sees best.
            let (reach, drop) = if level < 7 { (2.6, 0.5) } else { (3.6, 1.1) };
            self.string(activity * 0.7, &[[0.0, y + drop * 0.4, z - 2.0, 0.6], [0.0, y + drop, z - reach, 0.55]]);
            let facet = half_width + 0.5;
            for (side, _) in SIDES {
                self.string(activity * 0.7, &[[side * facet, y - 0.2, z - 1.8, 0.6], [side * facet, y + 0.8, z - 2.2, 0.6]]);
                if level >= 7 {
                    let tip = facet + if level < 19 { 1.4 } else { 2.2 };
                    self.string(activity * 0.5, &[[side * facet, y, z - 2.0, 0.5], [side * tip, y - 0.2, z - 2.6, 0.4]]);
                }
            }
        }
    }

    fn ribs(&mut self) {
        let flare = self.random.typical(1.0, 0.03);
        let steep = self.random.typical(1.0, 0.07);
        for (side, side_name) in SIDES {
            for (index, &(width, drop, end)) in RIBS.iter().enumerate() {
                let level = 7 + index;
                let (y0, z0) = (vertebra_height(level) - 0.6, spine_depth(vertebra_height(level)) - 1.6);
                let width = width * if index > 2 { flare } else { 1.0 };
                let drop = drop * steep + self.random.typical(0.0, 0.2);
                // The lower ribs carry less.
                let activity =
                    if index < 6 { 30.0 } else { 25.0 } * self.bone(format!("{side_name} rib {}", index + 1), Region::Ribs);
                let start = 0.16;
                let depth = 5.2 + 0.28 * width;
                let points: Vec<[f32; 4]> = (0..=12)
                    .map(|k| {
                        let share = k as f32 / 12.0;
                        let azimuth = start + (end - start) * share;
                        // The back of the chest is flat: the angle of the rib lies almost as far back as the spinous process.
                        let x = width * azimuth.sin().max(0.0).powf(0.85);
                        let z = -depth * azimuth.cos() * if azimuth < PI / 2.0 { 1.0 } else { 1.08 };
                        let blend = (share * 6.0).min(1.0);
                        let y = y0 + drop * (0.12 * share.sqrt() + 0.88 * share.powf(1.25));
                        [side * x, y, z0 + (z - z0) * blend, if index == 0 { 0.5 } else { 0.46 }]
                    })
                    .collect();
                // Head and neck of the rib.
                self.string(activity, &[[side * 1.6, y0, z0 + 0.6, 0.5], points[0]]);
                self.string(activity, &points);
                if index < 7 {
                    // Growth of cartilage to bone at the front end.
                    let [x, y, z, _] = points[12];
                    self.bead(activity * 0.8, [x, y, z, 0.6]);
                }
            }
        }
    }

    fn shoulders(&mut self) {
        let sternum = self.bone("manubrium", Region::Girdle);
        for row in 0..3 {
            let (y, half) = (32.4 + 1.3 * row as f32, 2.4 - 0.35 * row as f32);
            self.string(44.0 * sternum, &[[-half, y, 7.8, 0.62], [0.0, y, 8.1, 0.62], [half, y, 7.8, 0.62]]);
        }
        let sternum = self.bone("sternum", Region::Girdle);
        for x in [-0.9, 0.0, 0.9] {
            self.string(34.0 * sternum, &[[x, 35.6, 8.3, 0.62], [x, 41.0, 8.8, 0.68], [x * 1.1, 45.6, 8.9, 0.66]]);
        }
        self.string(22.0 * sternum, &[[0.0, 45.6, 8.9, 0.6], [0.0, 48.0, 8.8, 0.35]]);
        for (index, (side, name)) in SIDES.into_iter().enumerate() {
            let joints = self.patient.joints;
            let activity = self.bone(format!("{name} clavicle"), Region::Girdle);
            self.string(
                24.0 * activity,
                &[
                    [side * 3.0, 31.4, 6.6, 0.62],
                    [side * 7.0, 30.0, 7.0, 0.55],
                    [side * 11.0, 28.6, 4.2, 0.55],
                    [side * 15.2, 26.9, 0.8, 0.6],
                ],
            );
            let activity = self.bone(format!("{name} sternoclavicular joint"), Region::Girdle);
            self.bead(52.0 * activity * joints, [side * 2.6, 31.6, 7.0, 1.0]);
            let activity = self.bone(format!("{name} acromion"), Region::Girdle) * joints;
            self.string(30.0 * activity, &[[side * 14.8, 26.8, -0.6, 0.7], [side * 17.6, 26.9, -0.4, 0.8]]);
            let activity = self.bone(format!("{name} scapula"), Region::Girdle);
            let (top, tip, glenoid) = ([side * 6.8, 29.6, -8.0], [side * 7.6, 43.0, -8.8], [side * 14.2, 29.8, -2.6]);
            let edge = |p: Point, radius: f32| [p[0], p[1], p[2], radius];
            self.string(
                30.0 * activity,
                &[[side * 6.9, 31.6, -8.4, 0.5], [side * 11.5, 29.0, -7.2, 0.6], [side * 16.2, 27.2, -2.6, 0.6]],
            );
            self.string(18.0 * activity, &[edge(top, 0.5), [side * 6.6, 36.0, -8.9, 0.5], edge(tip, 0.6)]);
            self.string(16.0 * activity, &[edge(tip, 0.7), [side * 11.2, 36.4, -6.6, 0.65], edge(glenoid, 0.8)]);
            self.string(22.0 * activity, &[edge(top, 0.45), [side * 10.5, 28.4, -6.0, 0.45], [side * 13.0, 28.6, 1.8, 0.6]]);
            self.bead(18.0 * activity, edge(glenoid, 1.3));
            for share in [0.25, 0.5, 0.75] {
                let (from, to) = (between(top, tip, share), between(glenoid, tip, share));
                self.string(5.0 * activity, &[edge(from, 0.8), edge(to, 0.8)]);
            }
            let head = self.patient.arms[index].shoulder;
            let activity = self.bone(format!("{name} humeral head"), Region::LongBones) * (0.5 + 0.5 * joints);
            self.bead(9.0 * activity, edge(head, 2.5));
            self.bead(7.5 * activity, [head[0] + side * 1.2, head[1] - 0.4, head[2] + 0.6, 2.0]);
            self.bead(7.0 * activity, edge(shift(head, 2.2), 2.1));
        }
    }

    fn arm(&mut self, index: usize) {
        let (side, name) = SIDES[index];
        let arm = self.patient.arms[index];
        let along = |a: Point, b: Point, share: f32, radius: f32, out: f32| {
            let p = between(a, b, share);
            [p[0] + side * out, p[1], p[2], radius]
        };
        let activity = self.bone(format!("{name} humerus"), Region::LongBones);
        let (s, e, w, f) = (arm.shoulder, arm.elbow, arm.wrist, arm.fingertip);
        self.string(
            8.0 * activity,
            &[
                along(s, e, 0.04, 2.0, 0.3),
                along(s, e, 0.16, 1.6, 0.2),
                along(s, e, 0.5, 1.45, 0.0),
                along(s, e, 0.86, 1.4, 0.0),
                along(s, e, 0.97, 1.7, 0.0),
            ],
        );
        let joints = self.patient.joints;
        let activity = self.bone(format!("{name} elbow"), Region::Distal) * joints;
        self.string(9.0 * activity, &[along(e, w, -0.03, 1.2, -2.0), along(e, w, 0.0, 1.3, 0.0), along(e, w, 0.0, 1.2, 2.0)]);
        let activity = self.bone(format!("{name} forearm"), Region::Distal);
        self.string(
            11.0 * activity,
            &[along(e, w, -0.04, 0.9, -1.0), along(e, w, 0.2, 0.65, -1.2), along(e, w, 0.97, 0.5, -1.2)],
        );
        self.string(11.0 * activity, &[along(e, w, 0.05, 0.7, 1.2), along(e, w, 0.4, 0.6, 1.5), along(e, w, 0.98, 0.85, 1.0)]);
        let activity = self.bone(format!("{name} wrist"), Region::Distal) * joints;
        self.string(11.0 * activity, &[along(w, f, 0.03, 0.95, -1.2), along(w, f, 0.07, 0.95, 1.2)]);
        self.string(11.0 * activity, &[along(w, f, 0.16, 0.9, -1.2), along(w, f, 0.16, 0.9, 1.3)]);
        let activity = self.bone(format!("{name} hand"), Region::Distal);
        for finger in 0..5 {
            let fan = finger as f32 - 2.0;
            // The thumb is short and stands off to the body's side.
            let (root, length, spread) =
                if finger == 0 { (0.16, 0.62, -2.4) } else { (0.18, 0.97 - 0.05 * (fan - 0.5).abs(), 1.0) };
            self.string(
                9.0 * activity,
                &[
                    along(w, f, root, 0.5, fan * 0.55),
                    along(w, f, 0.48, 0.42, fan * (0.7 + 0.12 * spread)),
                    along(w, f, length, 0.32, fan * (0.8 + 0.16 * spread)),
                ],
            );
            self.bead(8.0 * activity * joints, along(w, f, 0.5, 0.7, fan * 0.85));
        }
    }

    fn pelvis(&mut self) {
        for (index, (side, name)) in SIDES.into_iter().enumerate() {
            let joints = self.patient.joints;
            let activity = self.bone(format!("{name} iliac crest"), Region::Pelvis);
            let crest = [
                [side * 4.6, 69.6, -7.4, 0.8],
                [side * 7.4, 66.4, -5.6, 0.9],
                [side * 10.8, 65.2, -1.6, 1.0],
                [side * 13.0, 66.8, 2.6, 1.0],
                [side * 12.9, 69.8, 5.8, 0.9],
                [side * 11.4, 72.6, 6.2, 0.7],
            ];
            self.string(13.0 * activity, &crest);
            let activity = self.bone(format!("{name} ilium"), Region::Pelvis);
            let hub = [side * 7.8, 76.0, -0.6, 1.1];
            for (k, [x, y, z, _]) in crest[..5].iter().enumerate() {
                let root = [side * (6.2 + 0.8 * k as f32), 75.6 - 0.3 * k as f32, -2.4 + 1.2 * k as f32, 1.2];
                self.string(6.0 * activity, &[root, [*x, *y, *z, 1.2]]);
            }
            self.string(14.0 * activity, &[crest[5], [side * 10.2, 74.6, 4.6, 0.8], [side * 9.0, 76.6, 2.0, 1.0]]);
            self.string(17.0 * activity, &[crest[0], [side * 4.6, 72.6, -6.6, 0.9], [side * 6.4, 75.4, -3.2, 1.0], hub]);
            let activity = self.bone(format!("{name} sacroiliac joint"), Region::Pelvis);
            self.string(
                46.0 * activity,
                &[[side * 3.5, 69.4, -6.2, 0.75], [side * 3.9, 72.0, -6.6, 0.85], [side * 4.0, 75.0, -7.0, 0.6]],
            );
            let activity = self.bone(format!("{name} acetabulum"), Region::Pelvis);
            let hip = self.patient.legs[index].hip;
            // From the roof, over the inner wall, to the lower edge; open to the side.
            let ring: Vec<[f32; 4]> = (0..8)
                .map(|k| {
                    let (sin, cos) = (0.5 + k as f32 * 0.55).sin_cos();
                    [hip[0] + side * 2.9 * cos, hip[1] - 2.9 * sin, hip[2], 0.7]
                })
                .collect();
            self.string(19.0 * activity * (0.6 + 0.4 * joints), &ring);
            let activity = self.bone(format!("{name} pubis"), Region::Pelvis);
            self.string(
                22.0 * activity,
                &[[side * 6.6, 79.6, 3.0, 0.8], [side * 3.6, 80.8, 5.6, 0.7], [side * 1.0, 82.0, 6.0, 0.95]],
            );
            self.string(
                20.0 * activity,
                &[[side * 1.0, 82.6, 5.8, 0.85], [side * 2.6, 84.8, 3.6, 0.65], [side * 4.8, 86.2, -1.0, 0.8]],
            );
            let activity = self.bone(format!("{name} ischium"), Region::Pelvis);
            self.string(
                22.0 * activity,
                &[[side * 5.2, 86.6, -2.6, 1.15], [side * 6.2, 84.2, -3.2, 1.0], [side * 7.2, 80.8, -2.6, 0.9]],
            );
        }
        let activity = self.bone("sacrum", Region::Pelvis);
        for x in [-1.0, -0.4, 0.4, 1.0_f32] {
            let rows = [(70.6, -5.4, 2.9, 0.95), (73.0, -6.8, 2.6, 0.9), (75.6, -7.8, 2.0, 0.8), (78.6, -8.0, 1.0, 0.6)];
            self.string(22.0 * activity, &rows.map(|(y, z, half, radius)| [x * half, y, z, radius]));
        }
        self.string(18.0 * activity, &[[0.0, 78.6, -8.0, 0.7], [0.0, 82.0, -7.0, 0.4]]);
    }

    fn leg(&mut self, index: usize) {
        let (side, name) = SIDES[index];
        let Leg { hip, knee, ankle, toes } = self.patient.legs[index];
        let joints = self.patient.joints;
        let at =
            |p: Point, out: f32, down: f32, forward: f32, radius: f32| [p[0] + side * out, p[1] + down, p[2] + forward, radius];
        let mid = |a: Point, b: Point, share: f32, out: f32, forward: f32, radius: f32| {
            at(between(a, b, share), out, 0.0, forward, radius)
        };

        let activity = self.bone(format!("{name} femoral head"), Region::LongBones) * (0.6 + 0.4 * joints);
        self.bead(11.0 * activity, at(hip, 0.0, 0.0, 0.0, 2.4));
        let activity = self.bone(format!("{name} trochanter"), Region::LongBones);
        self.string(11.0 * activity, &[at(hip, 0.8, 0.6, 0.0, 1.6), at(hip, 3.2, 3.0, -0.6, 1.6)]);
        self.string(16.0 * activity, &[at(hip, 3.9, 0.6, -1.2, 1.1), at(hip, 3.8, 3.6, -1.0, 1.5), at(hip, 3.2, 6.2, -0.6, 1.5)]);
        self.bead(11.0 * activity, at(hip, 1.5, 6.0, -1.2, 1.2));
        let activity = self.bone(format!("{name} femur"), Region::LongBones);
        let shaft = [(0.13, 3.1, 0.0, 1.8), (0.35, 2.4, 1.2, 1.8), (0.65, 1.2, 1.4, 1.8), (0.85, 0.4, 0.6, 2.1)];
        self.string(9.0 * activity, &shaft.map(|(share, out, forward, radius)| mid(hip, knee, share, out, forward, radius)));
        for (out, part) in [(-2.1, "medial"), (2.1, "lateral")] {
            let activity = self.bone(format!("{name} {part} femoral condyle"), Region::Distal) * joints;
            self.string(4.5 * activity, &[mid(hip, knee, 0.86, out * 0.5, 0.2, 1.8), mid(hip, knee, 0.95, out, 0.0, 2.0)]);
            self.bead(3.5 * activity, mid(hip, knee, 0.955, out * 1.15, -0.4, 2.6));
            self.bead(6.0 * activity, mid(hip, knee, 0.99, out * 1.2, 0.0, 1.5));
            let activity = self.bone(format!("{name} {part} tibial plateau"), Region::Distal) * joints;
            self.bead(6.0 * activity, at(knee, out * 1.1, 1.9, -0.2, 2.2));
            self.string(4.5 * activity, &[at(knee, out * 0.9, 2.4, 0.0, 1.9), at(knee, out * 0.3 - 0.4, 6.5, 0.4, 2.0)]);
        }
        let activity = self.bone(format!("{name} patella"), Region::Distal) * joints;
        self.bead(3.0 * activity, at(knee, 0.2, -1.4, 4.4, 2.8));
        let activity = self.bone(format!("{name} tibia"), Region::Distal);
        let shaft = [(0.13, -0.5, 0.8, 2.1), (0.35, -0.5, 1.2, 1.75), (0.7, -0.4, 0.8, 1.6), (0.97, -0.5, 0.0, 1.9)];
        self.string(6.6 * activity, &shaft.map(|(share, out, forward, radius)| mid(knee, ankle, share, out, forward, radius)));
        let activity = self.bone(format!("{name} fibula"), Region::Distal);
        let shaft = [(0.09, 3.3, -1.6, 0.9), (0.3, 2.7, -1.4, 0.6), (0.75, 2.0, -1.0, 0.55), (1.02, 2.3, -0.6, 0.9)];
        self.string(8.0 * activity, &shaft.map(|(share, out, forward, radius)| mid(knee, ankle, share, out, forward, radius)));
        let activity = self.bone(format!("{name} ankle"), Region::Distal) * joints;
        self.string(6.0 * activity, &[at(ankle, -2.0, 0.4, 0.4, 1.6), at(ankle, 2.0, 0.6, 0.2, 1.6)]);
        self.bead(4.0 * activity, at(ankle, 0.0, 2.8, 0.0, 3.0));
        let activity = self.bone(format!("{name} calcaneus"), Region::Distal);
        self.string(5.0 * activity, &[at(ankle, 0.0, 2.4, -1.0, 2.2), at(ankle, 0.2, 4.8, -3.6, 2.2)]);
        let activity = self.bone(format!("{name} foot"), Region::Distal);
        self.string(7.0 * activity, &[mid(ankle, toes, 0.28, -1.5, 1.0, 1.8), mid(ankle, toes, 0.28, 1.5, 0.6, 1.8)]);
        self.string(7.5 * activity, &[mid(ankle, toes, 0.45, -1.9, 1.0, 1.5), mid(ankle, toes, 0.45, 1.9, 0.4, 1.5)]);
        for ray in 0..5 {
            let fan = ray as f32 - 2.0;
            let radius = if ray == 0 { 0.75 } else { 0.55 };
            let length = 0.98 - 0.02 * ray as f32;
            let bones = [(0.48, 0.75, 0.6, radius), (0.78, 0.95, 0.2, radius), (length, 1.05, 0.2, 0.8 * radius)];
            self.string(
                8.0 * activity,
                &bones.map(|(share, out, forward, radius)| mid(ankle, toes, share, fan * out, forward, radius)),
            );
        }
        let activity = self.bone(format!("{name} first toe joint"), Region::Distal) * joints;
        self.bead(8.0 * activity, mid(ankle, toes, 0.76, -1.9, 0.2, 1.0));
    }

    fn organs(&mut self) {
        let [wide, tall, deep] = self.patient.scale();
        for (index, (side, _)) in SIDES.into_iter().enumerate() {
            // The liver pushes the right kidney down.
            let y = if index == 0 { 56.2 } else { 57.6 } + self.random.typical(0.0, 0.7);
            let x = side * self.random.typical(6.4, 0.4);
            let size = self.patient.kidney_size[index];
            self.organs.push(Ellipsoid {
                centre: self.patient.place([x, y, -5.2]),
                half: [2.5 * wide * size, 4.9 * tall * size, 2.2 * deep * size],
                tilt: -side * 0.2,
                wall: None,
                activity: 9.0 * self.patient.kidneys[index],
            });
            self.organs.push(Ellipsoid {
                centre: self.patient.place([x - side * 0.7, y + 0.2, -4.8]),
                half: [1.0, 1.7, 1.0].map(|half: f32| half * size),
                tilt: 0.0,
                wall: None,
                activity: 16.0 * self.patient.kidneys[index] * self.random.factor(1.0, 0.6),
            });
        }
        let size = self.patient.bladder_size;
        let centre = self.patient.place([self.random.typical(0.0, 0.5), 78.2 - 1.2 * size, 2.6]);
        let half = [3.3 * size, 2.3 * size * self.random.factor(1.0, 0.15), 2.4 * size];
        self.organs.push(Ellipsoid { centre, half, tilt: 0.0, wall: None, activity: 85.0 * self.patient.bladder / size });
        // Liver, and the blood in the heart: hardly above their surroundings.
        let liver = 1.2 * self.patient.soft * self.random.factor(1.0, 0.4);
        self.organs.push(Ellipsoid {
            centre: self.patient.place([-6.0, 51.0, 1.5]),
            half: [7.0, 5.5, 6.5],
            tilt: 0.3,
            wall: None,
            activity: liver,
        });
        let heart = 1.0 * self.patient.soft * self.random.factor(1.0, 0.3);
        self.organs.push(Ellipsoid {
            centre: self.patient.place([3.2, 43.0, 3.0]),
            half: [5.0, 5.0, 4.0],
            tilt: 0.5,
            wall: None,
            activity: heart,
        });
        if self.patient.male {
            let centre = self.patient.place([self.random.typical(0.0, 0.6), 90.5, 4.5]);
            let activity = 5.0 * self.patient.soft * self.random.factor(1.0, 0.3);
            self.organs.push(Ellipsoid {
                centre,
                half: [2.3, 4.4, 2.6],
                tilt: self.random.typical(0.0, 0.2),
                wall: None,
                activity,
            });
        }
        if let Some((side, place, strength)) = self.patient.injection {
            let arm = self.patient.arms[side];
            let out = SIDES[side].0;
            let (at, size) = match place {
                Injection::Elbow => {
                    ([arm.elbow[0] + out * self.random.typical(-0.5, 0.6), arm.elbow[1] - 1.0, arm.elbow[2] + 3.0], 0.9)
                }
                Injection::Wrist => (shift(arm.wrist, -1.0), 0.7),
                Injection::Hand => (between(arm.wrist, arm.fingertip, 0.35), 0.7),
            };
            let size = size * self.random.factor(1.0, 0.2);
            self.organs.push(Ellipsoid {
                centre: self.patient.place(at),
                half: [size, size * self.random.factor(1.4, 0.3), size],
                tilt: self.random.typical(0.0, 0.3),
                wall: None,
                activity: 60.0 * strength,
            });
        }
    }
}
