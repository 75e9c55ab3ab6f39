//! What varies in a training picture from epoch to epoch: fewer counts, a part that the camera missed, rotation, translation, size,
//! side and brightness. The seed, the epoch and the study decide all of it.
//!
//! It acts on the network's input, so that a study is read and fused once. Counts are thinned first, as a shorter scan would have had
//! fewer, then the picture is moved.

use super::augment::{self, Motion, Transform, check_limits};
use super::counts::CountScale;
use super::input::Input;
use crate::Result;
use crate::image::Image;
use crate::random::{Purpose, stream, symmetric, unit};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How much training pictures vary; the section `[augmentation]` of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// The largest rotation to either side, r_T in the paper, in degrees.
    pub rotation_deg: f32,
    /// The largest translation in either direction, t_T in the paper, in pixels of a 1024x256 picture.
    pub translation_px: f32,
    /// The largest change of size, as a share of it: the factor is uniform from 1 less this to 1 more this.
    pub scale_share: f32,
    /// The chance that left and right change places.
    pub mirror_chance: f32,
    /// The largest share of the counts that is left out; the share is uniform from 0 to this, and each count is left out by itself
    /// (binomial thinning), so that the picture is what a scan with fewer counts would have been.
    pub thinning_share: f32,
    /// The largest change of brightness, as a share of it.
    pub intensity_share: f32,
    /// The chance that the camera missed the feet or one arm.
    pub crop_chance: f32,
}

impl Default for Augmentation {
    /// The paper's: [`Motion::default`] alone.
    fn default() -> Self {
        let Motion { rotation_deg, translation_px } = Motion::default();
        Augmentation { rotation_deg, translation_px, ..Augmentation::NONE }
    }
}

/// The largest part of the body's length that is missing where the feet are, and of its width where an arm is.
const MOST_CROPPED: [f32; 2] = [0.15, 0.12];

impl Augmentation {
    /// Nothing varies.
    pub const NONE: Augmentation = Augmentation {
        rotation_deg: 0.0,
        translation_px: 0.0,
        scale_share: 0.0,
        mirror_chance: 0.0,
        thinning_share: 0.0,
        intensity_share: 0.0,
        crop_chance: 0.0,
    };

    /// How far pictures are turned and moved.
    pub fn motion(&self) -> Motion {
        Motion { rotation_deg: self.rotation_deg, translation_px: self.translation_px }
    }

    /// Refuses limits that are negative, not numbers, or beyond any use.
    ///
    /// # Errors
    /// One sentence naming the first such setting.
    pub fn check(&self) -> Result<()> {
        self.motion().check()?;
        check_limits(&[
            ("scale_share", self.scale_share, 0.5),
            ("mirror_chance", self.mirror_chance, 1.0),
            ("thinning_share", self.thinning_share, 0.75),
            ("intensity_share", self.intensity_share, 0.9),
            ("crop_chance", self.crop_chance, 1.0),
        ])
    }
}

/// Which extremity the camera missed, and how much of the body's length or width that is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Crop {
    Feet(f32),
    Left(f32),
    Right(f32),
}

/// What one study goes through in one epoch.
#[derive(Clone, Debug)]
pub struct Variation {
    transform: Transform,
    scale: f32,
    mirrored: bool,
    kept: f32,
    brightness: f32,
    crop: Option<Crop>,
    /// For the counts that are left out.
    random: ChaCha8Rng,
}

impl Variation {
    /// That of a study in an epoch: the same for any order of studies and number of threads.
    pub fn new(augmentation: &Augmentation, seed: u64, epoch: u64, study: u64) -> Self {
        let mut random = stream(Purpose::Augmentation, seed, epoch, study);
        let transform = Transform::from_stream(&augmentation.motion(), &mut random);
        let scale = 1.0 + augmentation.scale_share * symmetric(&mut random);
        let mirrored = unit(&mut random) < augmentation.mirror_chance;
        let kept = 1.0 - augmentation.thinning_share * unit(&mut random);
        let brightness = 1.0 + augmentation.intensity_share * symmetric(&mut random);
        let is_cropped = unit(&mut random) < augmentation.crop_chance;
        let (which, share) = (unit(&mut random), unit(&mut random));
        let crop = is_cropped.then(|| match which {
            ..0.5 => Crop::Feet(MOST_CROPPED[0] * share),
            ..0.75 => Crop::Left(MOST_CROPPED[1] * share),
            _ => Crop::Right(MOST_CROPPED[1] * share),
        });
        Variation { transform, scale, mirrored, kept, brightness, crop, random }
    }

    /// The picture after it.
    pub fn apply(self, input: &Input) -> Image {
        let Variation { transform, scale, mirrored, kept, brightness, crop, mut random } = self;
        let moved = |image: &Image| augment::apply_scaled(image, &transform, scale);
        let is_thinned = kept < 1.0 && input.counts.level > 0.0;
        let mut image = if is_thinned || crop.is_some() {
            let mut image = input.image.clone();
            if is_thinned {
                thin(&mut image, input.counts, kept, &mut random);
            }
            crop.iter().for_each(|crop| crop.apply(&mut image));
            moved(&image)
        } else {
            moved(&input.image)
        };
        if mirrored {
            image.mirror();
        }
        if brightness != 1.0 {
            image.pixels.iter_mut().for_each(|value| *value *= brightness);
        }
        image
    }
}

impl Crop {
    /// Sets what was missed to zero.
    fn apply(self, image: &mut Image) {
        let columns = image.columns;
        let mean = image.pixels.iter().sum::<f32>() / image.pixels.len().max(1) as f32;
        let is_body = |value: &f32| *value > mean;
        let rows = |image: &Image| -> Vec<bool> { image.pixels.chunks(columns).map(|row| row.iter().any(is_body)).collect() };
        let extent = |lit: &[bool]| Some((lit.iter().position(|lit| *lit)?, lit.iter().rposition(|lit| *lit)? + 1));
        let part = |(first, end): (usize, usize), share: f32| (share * (end - first) as f32).round() as usize;
        match self {
            Crop::Feet(share) => {
                if let Some(body) = extent(&rows(image)) {
                    image.pixels[(body.1 - part(body, share)) * columns..].fill(0.0);
                }
            }
            Crop::Left(share) | Crop::Right(share) => {
                let lit: Vec<bool> =
                    (0..columns).map(|column| image.pixels.iter().skip(column).step_by(columns).any(is_body)).collect();
                let Some(body) = extent(&lit) else { return };
                let missed = match self {
                    Crop::Left(_) => 0..body.0 + part(body, share),
                    _ => body.1 - part(body, share)..columns,
                };
                image.pixels.chunks_exact_mut(columns).for_each(|row| row[missed.clone()].fill(0.0));
            }
        }
    }
}

/// Keeps each count with the chance `kept`, and divides by it, so that the level stays.
fn thin(image: &mut Image, scale: CountScale, kept: f32, random: &mut ChaCha8Rng) {
    for value in image.pixels.iter_mut().filter(|value| **value > 0.0) {
        let counts = scale.counts(*value).round();
        *value = scale.value(binomial(counts as u32, kept, random) as f32 / kept);
    }
}

/// A view as the camera would have had it in the share `kept` (at least a quarter) of the time: each count is kept with that chance by
/// itself. Whole numbers stay whole; what a value has beyond them, as those of pictures do, is multiplied by `kept`. Negative values, which
/// no count is, become zero.
pub(crate) fn thinned(view: &Image, kept: f32, random: &mut ChaCha8Rng) -> Image {
    let mut thinned = view.clone();
    for value in &mut thinned.pixels {
        let whole = value.max(0.0).floor();
        *value = binomial(whole as u32, kept, random) as f32 + kept * (value.max(0.0) - whole);
    }
    thinned
}

/// Counts that are left out on average up to which they are drawn exactly; above, a normal distribution is as good.
const EXACT: f64 = 32.0;

/// How many of `counts` are kept, each with the chance `kept` (at least a quarter) by itself.
fn binomial(counts: u32, kept: f32, random: &mut ChaCha8Rng) -> u32 {
    let (n, p) = (f64::from(counts), f64::from(kept));
    let q = 1.0 - p;
    if n * q > EXACT {
        // The number of ones in 64 fair bits has the mean 32 and the deviation 4; the uniform part smooths its steps.
        let ones = rand::Rng::next_u64(random).count_ones();
        let normal = (f64::from(ones) - 32.0 + 0.5 * f64::from(symmetric(random))) / 4.0;
        return (n * p + (n * p * q).sqrt() * normal).round().clamp(0.0, n) as u32;
    }
    // Inversion: walk along the distribution of those left out until it has passed a uniform number.
    let mut rest = f64::from(unit(random));
    let mut chance = p.powi(counts as i32);
    let mut left_out = 0;
    while rest >= chance && left_out < counts {
        rest -= chance;
        chance *= (n - f64::from(left_out)) / f64::from(left_out + 1) * (q / p);
        left_out += 1;
    }
    counts - left_out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::{Compression, Measures};
    use proptest::prelude::*;

    const ALL: Augmentation = Augmentation {
        rotation_deg: 5.0,
        translation_px: 6.0,
        scale_share: 0.1,
        mirror_chance: 0.5,
        thinning_share: 0.5,
        intensity_share: 0.1,
        crop_chance: 0.3,
    };

    fn input(rows: usize, columns: usize, level: f32) -> Input {
        let pixels = (0..rows * columns).map(|at| (at * 7 % 31) as f32 / 15.0).collect();
        Input {
            image: Image { rows, columns, pixels },
            counts: CountScale { level, compression: Compression::Sqrt },
            measures: Measures::default(),
        }
    }

    /// Runs of before there was anything but motion have the same pictures.
    #[test]
    fn motion_alone_is_what_it_was() {
        let input = input(64, 32, 20.0);
        for study in 0..20 {
            let transform = Transform::new(&Motion::default(), 7, 3, study);
            let expected = augment::apply(&input.image, &transform);
            assert_eq!(Variation::new(&Augmentation::default(), 7, 3, study).apply(&input), expected);
        }
        assert_eq!(Variation::new(&Augmentation::NONE, 7, 3, 1).apply(&input), input.image);
    }

    #[test]
    fn a_study_varies_by_epoch_and_by_nothing_else() {
        let input = input(64, 32, 20.0);
        let picture = |epoch, study| Variation::new(&ALL, 1, epoch, study).apply(&input);
        assert_eq!(picture(1, 2), picture(1, 2));
        assert_ne!(picture(1, 2), picture(2, 2));
        assert_ne!(picture(1, 2), picture(1, 3));
    }

    #[test]
    fn each_part_does_what_it_says() {
        let input = input(64, 32, 20.0);
        let only = |augmentation: Augmentation| Variation::new(&augmentation, 1, 1, 1).apply(&input);
        let mirrored = only(Augmentation { mirror_chance: 1.0, ..Augmentation::NONE });
        assert_eq!(mirrored.row(5)[0], input.image.row(5)[31]);
        let brighter = only(Augmentation { intensity_share: 0.5, ..Augmentation::NONE });
        let ratio = brighter.pixels[3] / input.image.pixels[3];
        assert!((0.5..1.5).contains(&ratio) && brighter.pixels.iter().zip(&input.image.pixels).all(|(a, b)| *a == b * ratio));
    }

    /// A body of ones in the middle third of rows and columns.
    fn block() -> Image {
        let mut image = Image::zeros(30, 30);
        image
            .pixels
            .iter_mut()
            .enumerate()
            .filter(|(at, _)| (10..20).contains(&(at / 30)) && (10..20).contains(&(at % 30)))
            .for_each(|(_, value)| *value = 1.0);
        image
    }

    #[test]
    fn a_crop_takes_an_edge_of_the_body_and_no_more() {
        for (crop, lost) in [(Crop::Feet(0.1), 19 * 30 + 12), (Crop::Left(0.1), 15 * 30 + 10), (Crop::Right(0.1), 15 * 30 + 19)] {
            let mut image = block();
            crop.apply(&mut image);
            assert_eq!(image.pixels[lost], 0.0, "{crop:?}");
            assert_eq!(image.pixels.iter().sum::<f32>(), 90.0, "{crop:?}");
            let mut nothing = Image::zeros(4, 4);
            crop.apply(&mut nothing);
        }
    }

    #[test]
    fn a_larger_picture_covers_more() {
        let counts = CountScale { level: 1.0, compression: Compression::Sqrt };
        let input = Input { image: block(), counts, measures: Measures::default() };
        let area = |scale| augment::apply_scaled(&input.image, &Transform::default(), scale).pixels.iter().sum::<f32>();
        assert!((area(1.2) / 144.0 - 1.0).abs() < 0.05 && (area(0.8) / 64.0 - 1.0).abs() < 0.1, "{} {}", area(1.2), area(0.8));
    }

    /// Mean and variance of a binomial distribution, on both sides of where the exact method ends.
    #[test]
    fn thinned_counts_are_binomial() {
        const DRAWS: u32 = 40_000;
        let mut random = stream(Purpose::Augmentation, 1, 2, 3);
        for (counts, kept) in [(0, 0.5), (1, 0.3), (7, 0.25), (40, 0.5), (60, 0.5), (70, 0.5), (400, 0.9), (5000, 0.6)] {
            let draws: Vec<f64> = (0..DRAWS).map(|_| f64::from(binomial(counts, kept, &mut random))).collect();
            let mean = draws.iter().sum::<f64>() / f64::from(DRAWS);
            let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / f64::from(DRAWS);
            let (n, p) = (f64::from(counts), f64::from(kept));
            let expected = n * p * (1.0 - p);
            // Five standard errors of the mean; of the variance 4 %, which are more than five of its own, and what rounding adds.
            assert!((mean - n * p).abs() <= 5.0 * (expected / f64::from(DRAWS)).sqrt(), "{counts} {kept}: {mean}");
            assert!((variance - expected).abs() <= 0.04 * expected + 1.0 / 12.0, "{counts} {kept}: {variance} of {expected}");
        }
    }

    /// Thinning leaves the mean and adds the noise that a scan of fewer counts has: with half of the counts, as much again as it had.
    #[test]
    fn a_thinned_picture_has_the_noise_of_fewer_counts() {
        let scale = CountScale { level: 25.0, compression: Compression::Sqrt };
        let mut image = Image { rows: 200, columns: 200, pixels: vec![1.0; 40_000] };
        thin(&mut image, scale, 0.5, &mut stream(Purpose::Augmentation, 1, 1, 1));
        let counts: Vec<f64> = image.pixels.iter().map(|value| f64::from(scale.counts(*value))).collect();
        let mean = counts.iter().sum::<f64>() / 40_000.0;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 40_000.0;
        assert!((mean - 25.0).abs() < 0.15 && (variance / 25.0 - 1.0).abs() < 0.05, "{mean} {variance}");
    }

    #[test]
    fn a_thinned_view_has_the_share_of_its_counts_in_whole_numbers() {
        let view = Image { rows: 100, columns: 50, pixels: (0..5000).map(|at| (at % 90) as f32).collect() };
        let sum = |image: &Image| image.pixels.iter().map(|count| f64::from(*count)).sum::<f64>();
        for kept in [0.5, 0.25] {
            let of = |study| thinned(&view, kept, &mut stream(Purpose::Stress, 1, 2, study));
            let fewer = of(3);
            assert!(fewer.pixels.iter().zip(&view.pixels).all(|(few, all)| few.fract() == 0.0 && (0.0..=*all).contains(few)));
            // Four deviations of the sum of 222500 counts.
            let (expected, share) = (f64::from(kept) * sum(&view), f64::from(kept));
            let deviation = (sum(&view) * share * (1.0 - share)).sqrt();
            assert!((sum(&fewer) - expected).abs() < 4.0 * deviation, "{kept}: {} of {expected}", sum(&fewer));
            assert_eq!((of(3) == fewer, of(4) == fewer), (true, false), "named by its study alone");
        }
        // What no camera counted.
        let picture = Image { rows: 1, columns: 3, pixels: vec![0.25, -3.0, 0.0] };
        assert_eq!(thinned(&picture, 0.5, &mut stream(Purpose::Stress, 1, 1, 1)).pixels, [0.125, 0.0, 0.0]);
    }

    #[test]
    fn limits_are_checked() {
        ALL.check().unwrap();
        for (name, wrong) in [
            ("scale_share", Augmentation { scale_share: 0.6, ..ALL }),
            ("mirror_chance", Augmentation { mirror_chance: 1.1, ..ALL }),
            ("thinning_share", Augmentation { thinning_share: f32::NAN, ..ALL }),
            ("intensity_share", Augmentation { intensity_share: -0.1, ..ALL }),
            ("crop_chance", Augmentation { crop_chance: 2.0, ..ALL }),
            ("rotation_deg", Augmentation { rotation_deg: 181.0, ..ALL }),
        ] {
            let said = wrong.check().unwrap_err().to_string();
            assert!(said.starts_with(&format!("augmentation.{name} is ")), "{said}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_size_stays_finite_and_above_zero(rows in 1usize..40, columns in 1usize..40, level in 0f32..100.0, study in 0u64..1000) {
            let picture = Variation::new(&ALL, 1, 1, study).apply(&input(rows, columns, level));
            prop_assert_eq!(picture.pixels.len(), rows * columns);
            prop_assert!(picture.pixels.iter().all(|value| value.is_finite() && *value >= -1e-5));
        }
    }
}
