//! One patient: build, posture, metabolism, and the outline of the soft tissue.
//!
//! Anatomy is written down once, for a person of 172 cm lying on the back, in centimetres: `x` to the patient's left from the
//! midline, `y` from the vertex to the feet, `z` to the front from the middle of the chest. [`Patient::place`] takes such a point
//! to where this patient has it on the table.

use super::hospital::{Bodies, Protocol};
use super::random::Random;
use std::f32::consts::PI;

/// A point in centimetres.
pub(super) type Point = [f32; 3];

/// Left and right, as signs of `x`.
pub(super) const SIDES: [(f32, &str); 2] = [(1.0, "left"), (-1.0, "right")];

/// The stature that the anatomy is written for.
const STATURE_CM: f32 = 172.0;

/// Joints of one arm, before [`Patient::place`].
#[derive(Clone, Copy)]
pub(super) struct Arm {
    pub shoulder: Point,
    pub elbow: Point,
    pub wrist: Point,
    pub fingertip: Point,
}

/// Joints of one leg, before [`Patient::place`].
#[derive(Clone, Copy)]
pub(super) struct Leg {
    pub hip: Point,
    pub knee: Point,
    pub ankle: Point,
    pub toes: Point,
}

/// Where the tracer was injected.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Injection {
    Elbow,
    Wrist,
    Hand,
}

/// What differs from patient to patient without being a disease.
pub(super) struct Patient {
    pub age_years: f32,
    pub male: bool,
    pub stature_cm: f32,
    /// Soft tissue against that of the template: 1 is slim-normal, 1.4 obese.
    pub girth: f32,
    tall: f32,
    broad: f32,
    deep: f32,
    pub arms: [Arm; 2],
    pub legs: [Leg; 2],
    /// Roll about the long axis, and what the head turns beyond it.
    roll: f32,
    head_turn: f32,
    /// Rotation in the image's plane about the pelvis.
    lean: f32,
    scoliosis_cm: f32,
    scoliosis_bends: f32,
    shift_cm: f32,
    /// Uptake of bone, of joints, and what the blood and soft tissue kept, against the template's.
    pub bone: f32,
    pub joints: f32,
    pub soft: f32,
    /// Density of left and right kidney and of the bladder, against tissue's unit.
    pub kidneys: [f32; 2],
    /// Lengths of left and right kidney against the template's.
    pub kidney_size: [f32; 2],
    /// The leg (index into [`SIDES`]) that ends below the knee.
    pub missing_leg: Option<usize>,
    pub bladder: f32,
    pub bladder_size: f32,
    /// Side (index into [`SIDES`]), place and strength; `None` where it cannot be seen.
    pub injection: Option<(usize, Injection, f32)>,
    /// Counts a view.
    pub counts: f32,
}

impl Patient {
    pub fn draw(bodies: &Bodies, random: &mut Random) -> Self {
        let usual_age = random.typical(62.0, 10.0);
        let age_years = bodies.age.unwrap_or(usual_age);
        let male = random.chance(0.64);
        let grown_cm = if male { random.typical(170.0, 6.0) } else { random.typical(159.0, 5.5) };
        // A child of 11 has 86 % of the stature it will have.
        let stature_cm = grown_cm * (0.86 + 0.14 * (age_years - 11.0) / 7.0).min(1.0);
        let girth = random.factor(if male { 1.04 } else { 1.02 }, 0.13) * bodies.girth;
        let tall = stature_cm / STATURE_CM;
        let broad = tall.powf(0.6) * random.factor(if male { 1.0 } else { 0.96 }, 0.03);
        let deep = broad * random.factor(1.0, 0.04);

        // A broad trunk pushes the arms outwards.
        let push = 0.06 + 0.30 * (girth - 1.0).max(0.0);
        let arms = SIDES.map(|(side, _)| {
            let shoulder = [side * 16.0, 29.0 + random.typical(0.0, 0.5), -0.8];
            let abduction = push + random.typical(0.11, 0.035);
            let bend = random.typical(0.02, 0.06) - 0.3 * push;
            let elbow = reach(shoulder, 30.0, side * abduction, -1.0);
            let wrist = reach(elbow, 24.5, side * bend, 0.5);
            Arm { shoulder, elbow, wrist, fingertip: reach(wrist, 17.5, side * (bend + random.typical(-0.04, 0.08)), 1.0) }
        });
        let spread = random.typical(0.015, 0.012);
        let legs = SIDES.map(|(side, _)| {
            let hip = [side * 8.6, 79.0, 0.5];
            let knee = reach(hip, 42.0, side * (spread - 0.025 + random.typical(0.0, 0.008)), 0.5);
            let ankle = reach(knee, 38.5, side * (spread - 0.01 + random.typical(0.0, 0.010)), -1.5);
            let toes = reach(ankle, random.typical(14.0, 1.5), side * random.typical(0.2, 0.15), 5.0);
            Leg { hip, knee, ankle, toes }
        });
        let turn = random.typical(0.0, 0.03);
        let injected = random.chance(0.85).then(|| {
            let place = [Injection::Elbow, Injection::Wrist, Injection::Hand][random.weighted(&[0.45, 0.2, 0.35])];
            (random.index(2), place, random.factor(1.0, 0.9))
        });
        let kidney = random.factor(1.0, 0.35);
        Patient {
            age_years,
            male,
            stature_cm,
            girth,
            tall,
            broad,
            deep,
            arms,
            legs,
            roll: turn,
            head_turn: random.typical(0.0, 0.12),
            lean: random.typical(0.0, 0.012),
            scoliosis_cm: random.typical(0.0, 0.6),
            scoliosis_bends: random.between(0.8, 2.2),
            shift_cm: random.typical(0.0, 0.9),
            bone: random.factor(1.0, 0.16),
            joints: random.factor(0.85 + 0.006 * (age_years - 50.0).max(0.0), 0.15),
            soft: random.factor(1.0, 0.2) * (1.0 + 0.5 * (girth - 1.0)),
            kidneys: [kidney * random.factor(1.0, 0.15), kidney * random.factor(1.0, 0.15)],
            kidney_size: [1.0; 2],
            missing_leg: None,
            bladder: random.factor(1.0, 0.7),
            bladder_size: random.factor(1.0, 0.2),
            injection: injected,
            counts: random.factor(2.7e6, 0.22).clamp(1.6e6, 4.3e6),
        }
    }

    /// What dose, time, speed and camera make of uptake and counts.
    pub fn scan_by(&mut self, protocol: &Protocol, random: &mut Random) {
        self.soft *= protocol.retention();
        self.kidneys = self.kidneys.map(|kidney| kidney * protocol.retention());
        // Emptied just before the scan, or not at all.
        self.bladder *= protocol.bladder * random.factor(0.9, 0.45);
        self.kidney_size = [0; 2].map(|_| random.factor(1.0, 0.07));
        // Fewer photons leave a stout patient.
        let build = self.girth.powf(-0.7) * random.factor(1.0, 0.10);
        self.counts = (protocol.counts() * build).clamp(0.3e6, 5.0e6);
    }

    /// Where this patient has a point of the template, `y` counted from the vertex.
    pub fn place(&self, [x, y, z]: Point) -> Point {
        let along = ((y - 20.0) / 56.0).clamp(0.0, 1.0);
        let bend = self.scoliosis_cm * (PI * along).sin() * (2.0 * PI * self.scoliosis_bends * along).sin();
        let head = 1.0 - ((y - 14.0) / 12.0).clamp(0.0, 1.0);
        let (sin, cos) = (self.roll + head * self.head_turn).sin_cos();
        let (x, z) = (x * self.broad, z * self.deep);
        let (x, z) = (x * cos + z * sin, z * cos - x * sin);
        let (x, y) = (x + bend, (y - 78.0) * self.tall);
        let (sin, cos) = self.lean.sin_cos();
        [x * cos - y * sin + self.shift_cm, x * sin + y * cos + 78.0 * self.tall, z]
    }

    /// Lengths along `x`, `y` and `z` of this patient against the template's.
    pub fn scale(&self) -> Point {
        [self.broad, self.tall, self.deep]
    }

    /// The soft tissue: each stack of ellipses is a trunk or a limb.
    pub fn soft_tissue(&self) -> Vec<Stack> {
        // Fat lies on the trunk, less on the limbs, hardly on the head.
        let limb = 1.0 + 0.6 * (self.girth - 1.0);
        let hips = if self.male { 1.0 } else { 1.04 };
        let head = self.stack(1.0, 1.0, |_| 0.0, &HEAD);
        // A belly grows to the front.
        let belly = |y: f32| 0.45 * 10.0 * (self.girth - 1.0) * (1.0 - ((y - 62.0) / 22.0).powi(2)).max(0.0);
        let trunk: Vec<[f32; 5]> =
            TRUNK.iter().map(|&[x, y, z, a, b]| [x, y, z, a * if y > 66.0 { hips } else { 1.0 }, b]).collect();
        let mut stacks = vec![head, self.stack(0.35 + 0.65 * self.girth, self.girth, belly, &trunk)];
        for (index, ((side, _), arm, leg)) in [0, 1].map(|i| (SIDES[i], self.arms[i], self.legs[i])).into_iter().enumerate() {
            let out = |p: Point, amount: f32| [p[0] + side * amount, p[1], p[2]];
            stacks.push(self.limb(
                limb,
                &[
                    (shift(out(arm.shoulder, -0.6), -4.8), 0.6, 1.0),
                    (shift(out(arm.shoulder, -0.4), -3.2), 3.4, 3.6),
                    (out(arm.shoulder, 0.0), 5.0, 5.6),
                    (between(arm.shoulder, arm.elbow, 0.35), 4.7, 5.2),
                    (between(arm.shoulder, arm.elbow, 0.8), 4.2, 4.6),
                    (arm.elbow, 4.1, 4.3),
                    (between(arm.elbow, arm.wrist, 0.3), 4.1, 4.2),
                    (between(arm.elbow, arm.wrist, 0.75), 3.1, 3.2),
                    (arm.wrist, 2.7, 2.4),
                    (between(arm.wrist, arm.fingertip, 0.4), 3.6, 2.2),
                    (between(arm.wrist, arm.fingertip, 0.75), 3.1, 1.7),
                    (arm.fingertip, 1.4, 1.0),
                ],
            ));
            let knots = [
                (shift(leg.hip, 1.0), 6.5, 7.5),
                (shift(leg.hip, 7.0), 8.3 * hips, 8.8),
                (between(leg.hip, leg.knee, 0.45), 7.8 * hips, 8.2),
                (between(leg.hip, leg.knee, 0.75), 6.6, 6.9),
                (leg.knee, 5.5, 6.0),
                (between(leg.knee, leg.ankle, 0.15), 5.2, 5.6),
                (between(leg.knee, leg.ankle, 0.35), 5.3, 5.8),
                (between(leg.knee, leg.ankle, 0.7), 4.0, 4.2),
                (between(leg.knee, leg.ankle, 0.93), 3.5, 3.8),
                (shift(leg.ankle, 2.0), 3.9, 5.5),
                (between(leg.ankle, leg.toes, 0.55), 4.3, 4.6),
                (between(leg.ankle, leg.toes, 0.9), 4.2, 2.6),
                (shift(leg.toes, 1.2), 2.4, 1.2),
            ];
            if self.missing_leg == Some(index) {
                // The thigh and the knee, and the stump's round end.
                let ends = [(0.20, 4.2, 4.4), (0.225, 2.6, 2.8), (0.235, 0.8, 0.8)];
                let stump = ends.map(|(share, wide, deep)| (between(leg.knee, leg.ankle, share), wide, deep));
                stacks.push(self.limb(limb, &[&knots[..6], &stump[..]].concat()));
            } else {
                stacks.push(self.limb(limb, &knots));
            }
        }
        stacks
    }

    fn limb(&self, girth: f32, knots: &[(Point, f32, f32)]) -> Stack {
        let knots: Vec<[f32; 5]> = knots.iter().map(|&([x, y, z], a, b)| [x, y, z, a, b]).collect();
        self.stack(girth, girth, |_| 0.0, &knots)
    }

    /// `knots` hold `x, y, z` of the centre, half width and half depth.
    fn stack(&self, wide: f32, thick: f32, forward: impl Fn(f32) -> f32, knots: &[[f32; 5]]) -> Stack {
        let knots = knots.iter().map(|&[x, y, z, a, b]| {
            let [px, py, pz] = self.place([x, y, z]);
            Ellipse { x: px, y: py, z: pz + forward(y), half_width: a * self.broad * wide, half_depth: b * self.deep * thick }
        });
        Stack(knots.collect())
    }

    /// Activity of soft tissue at a height of the template: blood and viscera, more in the trunk than in the legs.
    pub fn soft_density(&self, y_cm: f32) -> f32 {
        let y = y_cm / self.tall;
        let at = SOFT_DENSITY.partition_point(|&(knot, _)| knot <= y).clamp(1, SOFT_DENSITY.len() - 1);
        let ((y0, d0), (y1, d1)) = (SOFT_DENSITY[at - 1], SOFT_DENSITY[at]);
        self.soft * (d0 + (d1 - d0) * ((y - y0) / (y1 - y0)).clamp(0.0, 1.0))
    }
}

/// Height on the template (cm) and activity of the soft tissue there.
const SOFT_DENSITY: [(f32, f32); 9] =
    [(0.0, 2.0), (16.0, 3.2), (26.0, 4.0), (38.0, 4.3), (60.0, 4.4), (78.0, 4.0), (96.0, 2.6), (125.0, 2.2), (172.0, 2.3)];

/// `x, y, z` of the centre, half width, half depth.
const HEAD: [[f32; 5]; 13] = [
    [0.0, 0.0, 0.0, 0.3, 0.3],
    [0.0, 0.6, 0.0, 3.2, 4.0],
    [0.0, 2.0, 0.0, 5.5, 6.8],
    [0.0, 4.5, 0.0, 7.1, 8.8],
    [0.0, 8.0, 0.0, 7.9, 9.7],
    [0.0, 12.0, 0.3, 7.8, 9.7],
    [0.0, 16.0, 0.8, 7.0, 8.8],
    [0.0, 19.0, 0.8, 6.1, 7.6],
    [0.0, 21.5, 0.0, 5.6, 6.6],
    [0.0, 24.0, -1.0, 5.8, 6.0],
    [0.0, 27.0, -1.0, 6.5, 6.4],
    [0.0, 30.0, -1.0, 6.5, 6.6],
    [0.0, 33.0, -1.0, 6.0, 6.0],
];

/// As [`HEAD`].
const TRUNK: [[f32; 5]; 16] = [
    [0.0, 21.5, -1.5, 4.0, 4.0],
    [0.0, 23.5, -1.5, 6.6, 5.2],
    [0.0, 25.2, -1.2, 10.2, 6.2],
    [0.0, 27.0, -1.0, 14.2, 7.2],
    [0.0, 30.0, -0.6, 16.4, 8.4],
    [0.0, 34.0, 0.0, 16.6, 9.6],
    [0.0, 40.0, 0.0, 16.2, 10.4],
    [0.0, 48.0, 0.0, 15.4, 10.6],
    [0.0, 55.0, 0.0, 14.6, 10.2],
    [0.0, 61.0, 0.0, 14.5, 9.8],
    [0.0, 67.0, -0.2, 15.6, 9.8],
    [0.0, 73.0, -0.4, 16.8, 10.0],
    [0.0, 79.0, -0.6, 17.4, 9.9],
    [0.0, 83.0, -0.8, 17.0, 9.2],
    [0.0, 86.5, -0.8, 14.0, 7.0],
    [0.0, 89.0, -0.8, 7.0, 3.0],
];

/// A horizontal section of a trunk or limb, centimetres.
#[derive(Clone, Copy)]
pub(super) struct Ellipse {
    pub x: f32,
    pub y: f32,
    pub z: f32,
    pub half_width: f32,
    pub half_depth: f32,
}

/// Sections of a trunk or limb from the top down.
pub(super) struct Stack(Vec<Ellipse>);

impl Stack {
    /// First and last height.
    pub fn span(&self) -> (f32, f32) {
        (self.0[0].y, self.0[self.0.len() - 1].y)
    }

    /// The section at a height within the span, on a Catmull-Rom curve through the knots.
    pub fn at(&self, y: f32) -> Ellipse {
        let knots = &self.0;
        let i = knots.partition_point(|knot| knot.y <= y).clamp(1, knots.len() - 1) - 1;
        let t = ((y - knots[i].y) / (knots[i + 1].y - knots[i].y)).clamp(0.0, 1.0);
        let around = [i.saturating_sub(1), i, i + 1, (i + 2).min(knots.len() - 1)];
        let curve = |value: fn(&Ellipse) -> f32| catmull_rom(around.map(|k| value(&knots[k])), t);
        Ellipse {
            x: curve(|k| k.x),
            y,
            z: curve(|k| k.z),
            half_width: curve(|k| k.half_width).max(0.05),
            half_depth: curve(|k| k.half_depth).max(0.05),
        }
    }
}

/// The curve through `b` (at 0) and `c` (at 1) with slopes from their neighbours.
pub(super) fn catmull_rom([a, b, c, d]: [f32; 4], t: f32) -> f32 {
    b + 0.5 * t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))
}

/// The point `share` of the way from `a` to `b`.
pub(super) fn between(a: Point, b: Point, share: f32) -> Point {
    [0, 1, 2].map(|i| a[i] + (b[i] - a[i]) * share)
}

/// `point` moved down by `down` centimetres.
pub(super) fn shift([x, y, z]: Point, down: f32) -> Point {
    [x, y + down, z]
}

/// `length` below `from`, at `angle` (radians from straight down, positive to the patient's left), `forward` towards the front.
fn reach([x, y, z]: Point, length: f32, angle: f32, forward: f32) -> Point {
    [x + length * angle.sin(), y + length * angle.cos(), z + forward]
}
