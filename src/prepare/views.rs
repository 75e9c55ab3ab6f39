//! View aggregation (paper: View aggregation): flip the posterior view, sweep both for the body's critical points, align,
//! add; then resize to the network's input and normalise.
//!
//! Pictures in, pictures out: reading files is [`crate::intake::study`]'s, random variation [`super::augment`]'s.

use super::counts::CountScale;
use super::resample::{Taps, resized, sample};
use super::{Alignment, Preprocessing};
use crate::image::{Image, Points, body_level, critical_points};
use crate::intake::Study;
use crate::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Where a picture comes to lie: along each axis, edge coordinate `x` (pixel `i` spans `i` to `i + 1`) goes to
/// `scale * x + shift`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Placement {
    /// Rows, columns.
    pub scale: [f64; 2],
    /// Rows, columns, in pixels.
    pub shift_px: [f64; 2],
}

impl Placement {
    /// Stays where it is.
    pub const IDENTITY: Placement = Placement { scale: [1.0; 2], shift_px: [0.0; 2] };

    /// The picture so placed on a canvas of its own size: linear interpolation, zero outside. A placement by whole pixels
    /// copies them.
    pub fn apply(&self, image: &Image) -> Image {
        let taps = |axis: usize, length: usize| {
            let source = |at: usize| (at as f64 + 0.5 - self.shift_px[axis]) / self.scale[axis] - 0.5;
            Taps::linear(length, (0..length).map(source))
        };
        sample(image, &taps(0, image.rows), &taps(1, image.columns))
    }
}

/// The views of a study, and their sum.
#[derive(Clone, Debug)]
pub struct Fused {
    /// The sum of the aligned views, on the anterior view's grid; of a single view, that view.
    pub image: Image,
    /// The anterior view.
    pub anterior: Option<Image>,
    /// The posterior view, flipped, before it is aligned.
    pub posterior: Option<Image>,
    /// The body in the anterior view.
    pub anterior_points: Option<Points>,
    /// The body in the flipped posterior view.
    pub posterior_points: Option<Points>,
    /// How the flipped posterior view came to lie on the anterior one.
    pub placement: Placement,
}

/// Flips the posterior view, finds the critical points, aligns and adds (paper: Eq. 1; the sum is of floats and cannot
/// saturate). A single view is its own sum, and flipped if it is posterior, so that the patient's right is always on the left.
///
/// # Errors
/// A view that is empty, all zero, or holds NaN; two views of unequal size.
pub fn fuse(study: &Study, preprocessing: &Preprocessing) -> Result<Fused> {
    let source =
        |view: usize| study.sources.get(view).or(study.sources.first()).cloned().unwrap_or_else(|| PathBuf::from("study"));
    let anterior = study.anterior.as_ref().map(|view| counts(view, "anterior", &source(0))).transpose()?;
    let posterior = study.posterior.as_ref().map(|view| counts(view, "posterior", &source(1))).transpose()?;
    let posterior = posterior.map(flipped);
    let points = |view: &Option<Image>| view.as_ref().and_then(|view| critical_points(view, preprocessing.threshold));
    let (anterior_points, posterior_points) = (points(&anterior), points(&posterior));

    let mut placement = Placement::IDENTITY;
    let image = match (&anterior, &posterior) {
        (None, None) => {
            return Err(Error::file(source(0), "the study has no view", "give at least one view, anterior or posterior"));
        }
        (Some(only), None) | (None, Some(only)) => only.clone(),
        (Some(below), Some(above)) => {
            if (below.rows, below.columns) != (above.rows, above.columns) {
                let sizes = [below, above].map(|view| format!("{}x{}", view.rows, view.columns));
                let problem = format!("the anterior view is {} and the posterior {}", sizes[0], sizes[1]);
                return Err(Error::file(source(1), problem, "give two views of one examination"));
            }
            if let (Some(to), Some(from)) = (anterior_points, posterior_points) {
                placement = align(to, from, [below.rows, below.columns], preprocessing.alignment);
            }
            let mut sum = placement.apply(above);
            sum.pixels.iter_mut().zip(&below.pixels).for_each(|(sum, below)| *sum += below);
            sum
        }
    };
    Ok(Fused { image, anterior, posterior, anterior_points, posterior_points, placement })
}

/// The network's input: the fused picture resized and normalised. The body lies around 1 and the background at 0, which is
/// also what the network's padding and [`super::augment`] fill in.
///
/// Each pixel is the mean of the area that it covers, so counts survive a smaller size; a larger size interpolates. Both
/// sides are scaled on their own. Then counts are divided by the body's level, clamped and compressed.
pub fn network_input(fused: &Image, size: [usize; 2], preprocessing: &Preprocessing) -> Image {
    counted_input(fused, size, preprocessing).0
}

/// [`network_input`] with its counts.
pub fn counted_input(fused: &Image, [rows, columns]: [usize; 2], preprocessing: &Preprocessing) -> (Image, CountScale) {
    let compression = preprocessing.compression;
    let mut image = resized(fused, rows, columns);
    let Some(level) = body_level(&image.pixels) else { return (image, CountScale { level: 0.0, compression }) };
    for pixel in &mut image.pixels {
        *pixel = compression.apply((*pixel / level).clamp(0.0, preprocessing.ceiling));
    }
    let area = (fused.rows * fused.columns) as f32 / (rows * columns) as f32;
    (image, CountScale { level: level * area, compression })
}

/// Two views of one body differ in size by less than this; a larger difference says that a sweep was misled.
const MAX_SCALE: f64 = 1.1;

/// How the body with points `from` comes to lie on that with points `to`.
///
/// A critical point on the border of its picture is where the picture ends, not the body; then the opposite point of both
/// views decides alone, and nothing is scaled along that axis.
fn align(to: Points, from: Points, size: [usize; 2], alignment: Alignment) -> Placement {
    let along = |axis: usize| {
        let ([to_first, to_end], [from_first, from_end]) = (to.extent(axis), from.extent(axis));
        let cut_first = to_first == 0.0 || from_first == 0.0;
        let cut_end = to_end == size[axis] as f64 || from_end == size[axis] as f64;
        let scale = (to_end - to_first) / (from_end - from_first);
        if alignment == Alignment::TranslateScale && !cut_first && !cut_end && (1.0 / MAX_SCALE..=MAX_SCALE).contains(&scale) {
            return (scale, to_first - scale * from_first);
        }
        let shift = match (cut_first, cut_end) {
            (true, false) => to_end - from_end,
            (false, true) => to_first - from_first,
            _ => (to_first + to_end - from_first - from_end) / 2.0,
        };
        // Half a pixel is one edge found a pixel off: not enough to move. Adding 0 makes -0 0.
        (1.0, shift.signum() * (shift.abs() - 0.5).ceil().max(0.0) + 0.0)
    };
    let ((tall, down), (wide, right)) = (along(0), along(1));
    Placement { scale: [tall, wide], shift_px: [down, right] }
}

/// The view as counts: negative values, which rescaling can make, are zero.
fn counts(view: &Image, name: &str, path: &Path) -> Result<Image> {
    let fail = |problem: &str, remedy: &str| Err(Error::file(path, format!("the {name} view {problem}"), remedy));
    if view.pixels.len() != view.rows * view.columns || view.pixels.is_empty() {
        return fail("has no pixels", "give a scan that has");
    }
    // Branch-free, so that these are a few passes of vector instructions.
    if !view.pixels.iter().fold(true, |finite, count| finite & count.is_finite()) {
        return fail("holds values that are not numbers", "give the scan as the camera stored it, in counts");
    }
    let pixels: Vec<f32> = view.pixels.iter().map(|count| count.max(0.0)).collect();
    if pixels.iter().fold(0.0, |most: f32, count| most.max(*count)) == 0.0 {
        return fail("is all zero", "give the other view alone with --single-view, or a scan with counts in both");
    }
    Ok(Image { rows: view.rows, columns: view.columns, pixels })
}

/// Mirrored about the vertical middle line (paper: "Image flipping").
fn flipped(mut image: Image) -> Image {
    image.mirror();
    image
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::Compression;
    use proptest::prelude::*;

    /// A body of ellipses: head, trunk, arms and legs, in a picture of 256x64 or a multiple, moved and scaled in edge
    /// coordinates. Counts of 20 and a little structure.
    fn body(size: usize, shift: [f64; 2], scale: [f64; 2]) -> Image {
        let (rows, columns) = (256 * size, 64 * size);
        let mut image = Image::zeros(rows, columns);
        let parts = [[30.0, 32.0, 14.0, 8.0], [90.0, 32.0, 50.0, 15.0], [100.0, 13.0, 45.0, 4.0], [100.0, 51.0, 45.0, 4.0]];
        let legs = [[185.0, 26.0, 55.0, 6.0], [185.0, 38.0, 55.0, 6.0]];
        for row in 0..rows {
            for column in 0..columns {
                let y = ((row as f64 + 0.5 - shift[0]) / scale[0]) / size as f64;
                let x = ((column as f64 + 0.5 - shift[1]) / scale[1]) / size as f64;
                let inside =
                    parts.iter().chain(&legs).any(|[cy, cx, ry, rx]| ((y - cy) / ry).powi(2) + ((x - cx) / rx).powi(2) <= 1.0);
                if inside {
                    image.pixels[row * columns + column] = 20.0 + 5.0 * ((y / 4.0).sin() * (x / 3.0).cos()) as f32;
                }
            }
        }
        image
    }

    fn study(anterior: Option<Image>, posterior: Option<Image>) -> Study {
        Study { anterior, posterior, sources: vec![PathBuf::from("scan.dcm")], ..Study::default() }
    }

    fn points(image: &Image) -> Points {
        critical_points(image, Preprocessing::default().threshold).unwrap()
    }

    fn near(points: Points, expected: [usize; 4], tolerance: usize) {
        let found = [points.ceil, points.floor, points.left, points.right];
        assert!(found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= tolerance), "{found:?}, expected {expected:?}");
    }

    #[test]
    fn sweeps_stop_at_the_body() {
        near(points(&body(4, [0.0; 2], [1.0; 2])), [64, 959, 36, 219], 2);
        near(points(&body(1, [0.0; 2], [1.0; 2])), [16, 239, 9, 54], 1);
    }

    #[test]
    fn hot_pixels_spills_and_a_hot_bladder_do_not_move_the_points() {
        let clean = body(4, [0.0; 2], [1.0; 2]);
        let expected = points(&clean);
        let mut image = clean.clone();
        for at in [3 * 256 + 5, 1020 * 256 + 250, 500 * 256 + 1] {
            image.pixels[at] = 60_000.0;
        }
        for row in 560..580 {
            image.pixels[row * 256 + 236..row * 256 + 250].fill(3000.0); // spilt beside the arm
            image.pixels[(row - 60) * 256 + 120..(row - 60) * 256 + 140].fill(9000.0); // bladder
        }
        let found = points(&image);
        near(found, [expected.ceil, expected.floor, expected.left, expected.right], 1);
    }

    #[test]
    fn background_counts_and_noise_do_not_move_the_points() {
        let clean = body(4, [0.0; 2], [1.0; 2]);
        let expected = points(&clean);
        let mut random = crate::random::stream(crate::random::Purpose::Order, 1, 0, 0);
        let mut image = clean;
        for pixel in &mut image.pixels {
            // Noise of a variance like that of counts, on a background of 1.
            let noise: f32 = (0..3).map(|_| crate::random::symmetric(&mut random)).sum();
            *pixel = (*pixel + 1.0 + noise * (*pixel + 1.0).sqrt()).max(0.0).round();
        }
        near(points(&image), [expected.ceil, expected.floor, expected.left, expected.right], 2);
    }

    /// Where the body lies in the real scan was read off its picture: from the crown at row 90 to the toes at row 853, the arms
    /// cut off at the borders of the detector.
    #[test]
    fn the_real_scan() {
        let shared = std::env::var_os("OSTEON_SHARED_DATA").map(PathBuf::from);
        let shared = shared.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"));
        let path = shared.join("nm1/NM1_UNC");
        if !path.exists() {
            println!("skipped: {} is missing", path.display());
            return;
        }
        let options = crate::intake::study::StudyOptions { single_view: true, ..Default::default() };
        let fused = fuse(&crate::intake::study::read(&[path], &options).unwrap(), &Preprocessing::default()).unwrap();
        near(fused.anterior_points.unwrap(), [90, 853, 12, 243], 2);
        assert_eq!(fused.image.pixels.iter().map(|count| *count as f64).sum::<f64>(), 3_596_452.0);
        let input = network_input(&fused.image, [256, 64], &Preprocessing::default());
        let body = &input.row(80)[28..36]; // the thorax
        assert!(
            body.iter().all(|pixel| (0.5..2.5).contains(pixel)) && input.row(250).iter().all(|pixel| *pixel == 0.0),
            "{body:?}"
        );
    }

    #[test]
    fn no_body_no_points() {
        assert_eq!(critical_points(&Image::zeros(64, 16), 0.15), None);
        let full = Image { rows: 64, columns: 16, pixels: vec![3.0; 1024] };
        assert_eq!(critical_points(&full, 0.15), Some(Points { ceil: 0, floor: 63, left: 0, right: 15 }));
        let mut dot = Image::zeros(200, 200);
        dot.pixels[777] = 9.0;
        assert!(critical_points(&dot, 0.15).is_none_or(|points| points.floor - points.ceil < 5));
    }

    #[test]
    fn equal_views_add_to_twice_their_counts() {
        let anterior = body(2, [0.0; 2], [1.0; 2]);
        let fused = fuse(&study(Some(anterior.clone()), Some(flipped(anterior.clone()))), &Preprocessing::default()).unwrap();
        assert_eq!(fused.placement, Placement::IDENTITY);
        assert!(fused.image.pixels.iter().zip(&anterior.pixels).all(|(sum, one)| *sum == 2.0 * one));
        assert_eq!(fused.posterior.as_ref(), Some(&anterior), "flipped");
        assert_eq!(fused.anterior_points, fused.posterior_points);
    }

    #[test]
    fn one_view_is_its_own_sum_and_right_stays_left() {
        let view = body(1, [0.0, 4.0], [1.0; 2]);
        let preprocessing = Preprocessing::default();
        let anterior = fuse(&study(Some(view.clone()), None), &preprocessing).unwrap();
        let posterior = fuse(&study(None, Some(flipped(view.clone()))), &preprocessing).unwrap();
        assert_eq!((&anterior.image, &posterior.image), (&view, &view));
        assert!(anterior.posterior.is_none() && posterior.anterior_points.is_none());
    }

    #[test]
    fn a_cut_off_edge_does_not_pull_the_views_apart() {
        // Feet cut off in both views, the posterior 6 pixels higher: only the heads tell.
        let cut = |image: Image| Image { rows: 430, columns: 128, pixels: image.pixels[..430 * 128].to_vec() };
        let anterior = cut(body(2, [0.0; 2], [1.0; 2]));
        let posterior = cut(body(2, [-6.0, 0.0], [1.0; 2]));
        for alignment in [Alignment::Translate, Alignment::TranslateScale] {
            let preprocessing = Preprocessing { alignment, ..Preprocessing::default() };
            let fused = fuse(&study(Some(anterior.clone()), Some(flipped(posterior.clone()))), &preprocessing).unwrap();
            assert_eq!((fused.placement.scale[0], fused.placement.shift_px[0]), (1.0, 6.0));
        }
    }

    #[test]
    fn a_misled_sweep_does_not_stretch_the_body() {
        let to = Points { ceil: 10, floor: 200, left: 10, right: 50 };
        let from = Points { ceil: 10, floor: 120, left: 10, right: 50 }; // the legs were not found
        assert_eq!(align(to, from, [256, 64], Alignment::TranslateScale).scale, [1.0, 1.0]);
    }

    #[test]
    fn bad_views_are_one_sentence() {
        let good = body(1, [0.0; 2], [1.0; 2]);
        let mut nan = good.clone();
        nan.pixels[5] = f32::NAN;
        let small = body(2, [0.0; 2], [1.0; 2]);
        let negative = Image { rows: 2, columns: 2, pixels: vec![-1.0; 4] };
        let cases = [
            (study(None, None), "has no view"),
            (study(Some(good.clone()), Some(Image::zeros(256, 64))), "the posterior view is all zero"),
            (study(Some(negative), None), "the anterior view is all zero"),
            (study(Some(nan), Some(good.clone())), "the anterior view holds values that are not numbers"),
            (study(Some(Image::zeros(0, 0)), None), "the anterior view has no pixels"),
            (study(Some(good), Some(small)), "the anterior view is 256x64 and the posterior 512x128"),
        ];
        for (study, problem) in cases {
            let message = fuse(&study, &Preprocessing::default()).unwrap_err().to_string();
            assert!(message.starts_with("scan.dcm: ") && message.contains(problem) && message.contains("; "), "{message}");
        }
    }

    #[test]
    fn input_does_not_depend_on_the_activity_given() {
        let image = body(4, [0.0; 2], [1.0; 2]);
        let mut twice = image.clone();
        twice.pixels.iter_mut().for_each(|pixel| *pixel *= 2.0);
        let preprocessing = Preprocessing::default();
        let inputs = [&image, &twice].map(|image| network_input(image, [256, 64], &preprocessing));
        assert_eq!((inputs[0].rows, inputs[0].columns), (256, 64));
        let worst = inputs[0].pixels.iter().zip(&inputs[1].pixels).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{worst}");
        assert_eq!(inputs[0].pixels[0], 0.0, "background");
        assert!((inputs[0].pixels[90 * 64 + 32] - 1.0).abs() < 0.2, "body {}", inputs[0].pixels[90 * 64 + 32]);
    }

    #[test]
    fn hot_spots_are_clamped_and_compressed() {
        let mut image = body(1, [0.0; 2], [1.0; 2]);
        image.pixels[90 * 64 + 32] = 1e6;
        for (compression, top) in [(Compression::Sqrt, 4.0), (Compression::Log, 17f32.ln()), (Compression::Linear, 16.0)] {
            let preprocessing = Preprocessing { compression, ..Preprocessing::default() };
            let input = network_input(&image, [256, 64], &preprocessing);
            assert_eq!(input.pixels.iter().copied().fold(0.0, f32::max), top);
        }
        assert_eq!(network_input(&Image::zeros(8, 8), [4, 4], &Preprocessing::default()), Image::zeros(4, 4));
    }

    #[test]
    fn settings_are_read_and_checked() {
        let read: Preprocessing = toml::from_str("alignment = \"translate-scale\"\ncompression = \"log\"").unwrap();
        let expected =
            Preprocessing { alignment: Alignment::TranslateScale, compression: Compression::Log, ..Preprocessing::default() };
        assert_eq!(read, expected);
        assert!(toml::from_str::<Preprocessing>("treshold = 0.1").is_err());
        assert!(Preprocessing::default().check().is_ok());
        for wrong in [0.0, 1.0, f32::NAN] {
            assert!(Preprocessing { threshold: wrong, ..Preprocessing::default() }.check().is_err());
            assert_eq!(Preprocessing { ceiling: wrong, ..Preprocessing::default() }.check().is_err(), wrong != 1.0);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_known_shift_is_recovered(rows in -12i32..12, columns in -6i32..6) {
            let anterior = body(2, [0.0; 2], [1.0; 2]);
            let moved = body(2, [rows as f64, columns as f64], [1.0; 2]);
            let fused = fuse(&study(Some(anterior.clone()), Some(flipped(moved))), &Preprocessing::default()).unwrap();
            prop_assert_eq!(fused.placement.shift_px, [-rows as f64, -columns as f64]);
            let aligned = fused.image.pixels.iter().zip(&anterior.pixels).all(|(sum, one)| (sum - 2.0 * one).abs() < 1e-3);
            prop_assert!(aligned, "the moved view did not come to lie on the other");
        }

        #[test]
        fn a_known_scale_is_recovered(tall in 0.95f64..1.05, wide in 0.95f64..1.05, rows in -8.0f64..8.0) {
            let anterior = body(4, [0.0; 2], [1.0; 2]);
            let moved = body(4, [rows, 0.0], [tall, wide]);
            let preprocessing = Preprocessing { alignment: Alignment::TranslateScale, ..Preprocessing::default() };
            let fused = fuse(&study(Some(anterior), Some(flipped(moved))), &preprocessing).unwrap();
            let (to, placement) = (fused.anterior_points.unwrap(), fused.placement);
            prop_assert!((placement.scale[0] * tall - 1.0).abs() < 0.005, "{placement:?}");
            prop_assert!((placement.scale[1] * wide - 1.0).abs() < 0.02, "{placement:?}");
            let aligned = points(&placement.apply(fused.posterior.as_ref().unwrap()));
            prop_assert!(aligned.ceil.abs_diff(to.ceil) <= 1 && aligned.floor.abs_diff(to.floor) <= 1);
            prop_assert!(aligned.left.abs_diff(to.left) <= 1 && aligned.right.abs_diff(to.right) <= 1);
        }

        #[test]
        fn shrinking_keeps_the_counts(from in (1usize..40, 1usize..40), to in (1usize..40, 1usize..40), seed: u64) {
            let mut random = crate::random::stream(crate::random::Purpose::Order, seed, 0, 0);
            let pixels: Vec<f32> = (0..from.0 * from.1).map(|_| 1.0 + crate::random::symmetric(&mut random)).collect();
            let image = Image { rows: from.0, columns: from.1, pixels };
            let small = resized(&image, to.0, to.1);
            prop_assert_eq!(small.pixels.len(), to.0 * to.1);
            prop_assert!(small.pixels.iter().all(|pixel| (0.0..=2.0001).contains(pixel)));
            if to.0 <= from.0 && to.1 <= from.1 {
                let mean = |image: &Image| image.pixels.iter().map(|pixel| *pixel as f64).sum::<f64>() / image.pixels.len() as f64;
                prop_assert!((mean(&image) - mean(&small)).abs() < 1e-5);
            }
            prop_assert_eq!(resized(&image, from.0, from.1), image);
        }
    }
}
