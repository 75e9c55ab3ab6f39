//! Where a scan is made: the camera, how much is injected, how fast and when the table moves, how patients are laid on it, and
//! which patients come.
//!
//! Simulator 1 knows one place. Simulator 2 has four hospitals with a number, and makes up one for every study where none is asked
//! for. Nothing here depends on the label: a hospital's patients have more or fewer, smaller or larger, fainter or hotter lesions
//! in every class alike.

use super::random::Random;
use serde::{Deserialize, Serialize};

/// What a detector does to the photons.
#[derive(Clone, Copy)]
pub(super) struct Camera {
    /// Side of a pixel of a view with 1024 rows.
    pub pixel_cm: f32,
    /// Full width at half maximum of the collimator's blur at the skin, and what a centimetre of depth adds.
    pub blur_cm: f32,
    pub blur_per_cm: f32,
    /// This share of the counts comes back as a broad haze.
    pub scatter: f32,
    /// Counts a reference pixel without a patient's photons, in a scan with the reference counts.
    pub background: f32,
    /// The most columns of one blob. Simulator 1 cuts wider ones, which only pictures of more than 3000 rows have.
    pub widest_blob: usize,
}

/// How a patient is laid into the field of view. Lengths in centimetres; pairs are ranges.
#[derive(Clone, Copy)]
pub(super) struct Laying {
    /// From the first row to the vertex.
    pub above: (f32, f32),
    /// Share of sweeps that end before the feet do.
    pub cut: f32,
    /// Half the width that the detectors see.
    pub half_width: f32,
}

/// What a hospital's patients are like, beside the label.
#[derive(Clone, Copy)]
pub(super) struct Bodies {
    /// Factor on the soft tissue's girth.
    pub girth: f32,
    /// Age in years, where it is not drawn from those of usual patients.
    pub age: Option<f32>,
    /// Factor on how far the metastatic classes lie apart in their latents.
    pub separation: f32,
    /// Added to the latents of a patient's lesions, in deviations: number, spread, size, heat.
    pub lesions: [f32; 4],
}

/// One study's place, and what was done there.
#[derive(Clone, Copy)]
pub(super) struct Scanning {
    pub camera: Camera,
    pub laying: Laying,
    pub bodies: Bodies,
    /// What simulator 2 draws beyond this; `None` in simulator 1.
    pub protocol: Option<Protocol>,
}

/// Dose, time and speed of one scan.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// The hospital's number, from 1; 0 is one that was made up for this study.
    pub hospital: u32,
    /// Injected activity.
    pub dose_mbq: f32,
    /// Speed of the table.
    pub speed_cm_min: f32,
    /// From injection to scan.
    pub delay_h: f32,
    /// Counts a time and activity against those of the camera that lengths and activities of simulator 1 are written for.
    pub sensitivity: f32,
    /// What is left in the bladder, against simulator 1.
    pub bladder: f32,
}

/// What is fixed in one hospital.
struct Hospital {
    camera: Camera,
    laying: Laying,
    girth: f32,
    lesions: [f32; 4],
    dose_mbq: f32,
    speed_cm_min: f32,
    delay_h: f32,
    sensitivity: f32,
    bladder: f32,
}

impl Camera {
    /// Simulator 1's.
    const FIRST: Camera =
        Camera { pixel_cm: 0.226, blur_cm: 0.70, blur_per_cm: 0.042, scatter: 0.10, background: 0.35, widest_blob: 160 };

    const fn new(pixel_cm: f32, blur_cm: f32, blur_per_cm: f32, scatter: f32, background: f32) -> Camera {
        Camera { pixel_cm, blur_cm, blur_per_cm, scatter, background, widest_blob: usize::MAX }
    }
}

impl Laying {
    /// Simulator 1's.
    const FIRST: Laying = Laying { above: (8.0, 24.0), cut: 0.12, half_width: 26.3 };
}

/// The hospitals with a number. The first is like the one that a public scan is from (NM1: 2.26 mm pixels, 3.6 million counts), the
/// second like a camera with 2.40 mm pixels of which four acquisitions have 359,000 to 679,000 counts a view; the others stand
/// between and beyond. Doses, speeds and delays are within those of EANM's and SNMMI's procedure guidelines for bone scintigraphy (500
/// to 1110 MBq; 2 to 5 h) and of manufacturers' protocols (8 to 30 cm/min).
const HOSPITALS: [Hospital; 4] = [
    Hospital {
        camera: Camera::new(0.226, 0.70, 0.042, 0.10, 0.35),
        laying: Laying { above: (8.0, 24.0), cut: 0.10, half_width: 26.0 },
        girth: 1.0,
        lesions: [0.0, 0.0, 0.0, 0.0],
        dose_mbq: 740.0,
        speed_cm_min: 12.0,
        delay_h: 3.0,
        sensitivity: 1.1,
        bladder: 1.0,
    },
    Hospital {
        camera: Camera::new(0.240, 0.60, 0.038, 0.10, 0.40),
        laying: Laying { above: (4.0, 14.0), cut: 0.25, half_width: 26.6 },
        girth: 0.97,
        lesions: [-0.2, 0.1, 0.1, -0.2],
        dose_mbq: 700.0,
        speed_cm_min: 24.0,
        delay_h: 4.0,
        sensitivity: 0.42,
        bladder: 0.9,
    },
    Hospital {
        camera: Camera::new(0.280, 0.82, 0.050, 0.17, 0.60),
        laying: Laying { above: (16.0, 40.0), cut: 0.06, half_width: 27.0 },
        girth: 1.08,
        lesions: [0.25, 0.2, -0.2, 0.1],
        dose_mbq: 555.0,
        speed_cm_min: 15.0,
        delay_h: 4.3,
        sensitivity: 0.85,
        bladder: 1.5,
    },
    Hospital {
        camera: Camera::new(0.221, 0.74, 0.044, 0.08, 0.30),
        laying: Laying { above: (4.0, 12.0), cut: 0.15, half_width: 25.2 },
        girth: 0.93,
        lesions: [0.1, -0.2, 0.2, 0.2],
        dose_mbq: 925.0,
        speed_cm_min: 10.0,
        delay_h: 2.4,
        sensitivity: 0.9,
        bladder: 0.8,
    },
];

/// The most that a hospital's number can be.
pub(super) const MOST_HOSPITALS: u32 = HOSPITALS.len() as u32;

impl Hospital {
    /// One that no number has; its quantities span those of the others.
    fn made_up(random: &mut Random) -> Hospital {
        // A collimator that resolves more lets less through.
        let openness = random.between(0.0, 1.0);
        let camera = Camera::new(
            random.between(0.220, 0.280),
            0.60 + 0.22 * openness + random.typical(0.0, 0.02),
            random.between(0.038, 0.052),
            random.between(0.07, 0.18),
            random.between(0.25, 0.60),
        );
        let above = random.between(4.0, 26.0);
        Hospital {
            camera,
            laying: Laying {
                above: (above, above + 10.0),
                cut: random.between(0.0, 0.3),
                half_width: random.between(25.0, 27.2),
            },
            girth: random.between(0.92, 1.10),
            lesions: [0; 4].map(|_| random.typical(0.0, 0.2)),
            dose_mbq: random.between(500.0, 950.0),
            speed_cm_min: 9.0 * (28.0_f32 / 9.0).powf(random.between(0.0, 1.0)),
            delay_h: random.between(2.3, 4.5),
            sensitivity: 0.38 * (1.2_f32 / 0.38).powf(openness),
            bladder: random.factor(1.0, 0.4),
        }
    }
}

impl Scanning {
    /// Simulator 1's only one.
    pub const FIRST: Scanning = Scanning {
        camera: Camera::FIRST,
        laying: Laying::FIRST,
        bodies: Bodies { girth: 1.0, age: None, separation: 1.0, lesions: [0.0; 4] },
        protocol: None,
    };

    /// A study at a hospital; 0 makes one up.
    pub fn draw(number: u32, random: &mut Random) -> Scanning {
        let made_up = Hospital::made_up(random);
        let hospital = (number as usize).checked_sub(1).and_then(|at| HOSPITALS.get(at)).unwrap_or(&made_up);
        let age = random.chance(YOUNG).then(|| random.between(11.0, 19.0));
        // From here on what differs from patient to patient within a hospital.
        let protocol = Protocol {
            hospital: number,
            dose_mbq: hospital.dose_mbq * random.factor(1.0, 0.06),
            speed_cm_min: hospital.speed_cm_min,
            delay_h: hospital.delay_h + random.typical(0.0, 0.3),
            sensitivity: hospital.sensitivity,
            bladder: hospital.bladder,
        };
        let bodies = Bodies { girth: hospital.girth, age, separation: SEPARATION, lesions: hospital.lesions };
        Scanning { camera: hospital.camera, laying: hospital.laying, bodies, protocol: Some(protocol) }
    }
}

/// Keeps a logistic regression on the true lists of lesions at 0.90 of three classes.
const SEPARATION: f32 = 0.94;
/// Share of patients who still grow.
const YOUNG: f32 = 0.025;

impl Protocol {
    /// Counts a view of a patient of usual build.
    pub fn counts(&self) -> f32 {
        /// Half-life of Tc-99m.
        const HALF_LIFE_H: f32 = 6.01;
        let left = (-(self.delay_h - USUAL_DELAY_H) / HALF_LIFE_H).exp2();
        2.7e6 * self.sensitivity * (self.dose_mbq / 740.0) * (12.0 / self.speed_cm_min) * left
    }

    /// What soft tissue and kidneys still hold, against a scan after the usual delay: the tracer leaves blood and tissue with a
    /// half-life of some two hours while bone keeps it, so late scans have more contrast.
    pub fn retention(&self) -> f32 {
        (USUAL_DELAY_H / self.delay_h).powf(0.8)
    }
}

const USUAL_DELAY_H: f32 = 3.0;
