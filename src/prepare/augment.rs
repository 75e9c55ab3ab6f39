//! Rotation and translation of a picture by random amounts (paper: Data augmentation): the seed, the epoch and the study decide
//! them. What else training varies is in [`super::vary`].
//!
//! It acts on the fused picture, so both views of a study are moved alike.

use crate::image::Image;
use crate::random::{Purpose, stream, symmetric};
use crate::{Error, Result};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The picture size in whose pixels translations are given: that of the paper's scans, rows x columns.
pub const REFERENCE_SIZE: [usize; 2] = [1024, 256];

/// How far a picture may be turned and moved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Motion {
    /// The largest rotation to either side, r_T in the paper, in degrees.
    pub rotation_deg: f32,
    /// The largest translation in either direction, t_T in the paper, in pixels of a 1024x256 picture.
    pub translation_px: f32,
}

impl Default for Motion {
    /// The values of the authors' sister paper, 5 degrees and 6 pixels.
    fn default() -> Self {
        Motion { rotation_deg: 5.0, translation_px: 6.0 }
    }
}

impl Motion {
    /// Nothing is turned or moved.
    pub const NONE: Motion = Motion { rotation_deg: 0.0, translation_px: 0.0 };
    /// The largest limits that are of any use.
    pub const MOST: Motion = Motion { rotation_deg: 180.0, translation_px: 1024.0 };

    /// Refuses limits that are negative, not numbers, or beyond any use.
    ///
    /// # Errors
    /// One sentence naming the first such setting.
    pub fn check(&self) -> Result<()> {
        let Motion { rotation_deg: rotation, translation_px: translation } = Self::MOST;
        check_limits(&[("rotation_deg", self.rotation_deg, rotation), ("translation_px", self.translation_px, translation)])
    }
}

/// Refuses settings of the section `[augmentation]`, each with its value and the largest one, that are not from 0 to that.
pub(super) fn check_limits(settings: &[(&str, f32, f32)]) -> Result<()> {
    match settings.iter().find(|(_, value, most)| !(0.0..=*most).contains(value)) {
        None => Ok(()),
        Some((name, value, most)) => {
            let problem = format!("augmentation.{name} is {value}");
            Err(Error::setting(problem, format!("choose a value from 0 (none) to {most}")))
        }
    }
}

/// One rotation and translation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Transform {
    /// Degrees about the centre of the picture, positive to the right (clockwise).
    pub angle_deg: f32,
    /// Downwards, in pixels of a 1024x256 picture.
    pub shift_rows_px: f32,
    /// To the right, in pixels of a 1024x256 picture.
    pub shift_columns_px: f32,
}

impl Transform {
    /// The transform of a study in an epoch: uniform within the limits, the same for any order of studies and number of threads.
    pub fn new(motion: &Motion, seed: u64, epoch: u64, study: u64) -> Self {
        Transform::from_stream(motion, &mut stream(Purpose::Augmentation, seed, epoch, study))
    }

    /// The next sample of a stream: uniform within the limits.
    pub(crate) fn from_stream(motion: &Motion, random: &mut ChaCha8Rng) -> Self {
        Transform {
            angle_deg: motion.rotation_deg * symmetric(random),
            shift_rows_px: motion.translation_px * symmetric(random),
            shift_columns_px: motion.translation_px * symmetric(random),
        }
    }
}

/// The picture rotated about its centre, then moved: bilinear, zero outside. The identity copies it.
///
/// The picture may have any size; its pixels are taken to be those of a 1024x256 picture resized to it, so a transform means the
/// same at every size, and a rotation stays one where rows and columns were resized unequally.
pub fn apply(image: &Image, transform: &Transform) -> Image {
    apply_scaled(image, transform, 1.0)
}

/// As [`apply`], and `scale` times as large about the centre before it is moved.
pub fn apply_scaled(image: &Image, transform: &Transform, scale: f32) -> Image {
    let (rows, columns) = (image.rows, image.columns);
    if (*transform == Transform::default() && scale == 1.0) || image.pixels.is_empty() {
        return image.clone();
    }
    // A frame of zeros, so that sampling needs no case for the border: one row and column before, two behind.
    let stride = columns + 3;
    let mut framed = vec![0f32; (rows + 3) * stride];
    for (framed, line) in framed[stride..].chunks_exact_mut(stride).zip(image.pixels.chunks_exact(columns)) {
        framed[1..=columns].copy_from_slice(line);
    }

    // The inverse map, from an output pixel to its source, in reference pixels about the centre with y down:
    //   x = (x' - shift_x) cos + (y' - shift_y) sin,   y = (y' - shift_y) cos - (x' - shift_x) sin,   both over the scale
    let (sin, cos) = (transform.angle_deg as f64).to_radians().sin_cos();
    let (sin, cos) = (sin / scale as f64, cos / scale as f64);
    let tall = REFERENCE_SIZE[0] as f64 / rows as f64; // reference pixels a row
    let wide = REFERENCE_SIZE[1] as f64 / columns as f64;
    let (middle_row, middle_column) = ((rows - 1) as f64 / 2.0, (columns - 1) as f64 / 2.0);
    let (row_step, column_step) = ((-sin * wide / tall) as f32, cos as f32); // in the source, an output column on

    let mut output = Image::zeros(rows, columns);
    let (row_limit, column_limit) = ((rows + 1) as f32, (columns + 1) as f32);
    for (row, line) in output.pixels.chunks_exact_mut(columns).enumerate() {
        let y = (row as f64 - middle_row) * tall - transform.shift_rows_px as f64;
        let x = -middle_column * wide - transform.shift_columns_px as f64;
        // In the framed picture, at column 0 of this line.
        let from_row = ((y * cos - x * sin) / tall + middle_row + 1.0) as f32;
        let from_column = ((x * cos + y * sin) / wide + middle_column + 1.0) as f32;
        for (column, pixel) in line.iter_mut().enumerate() {
            let source_row = (from_row + column as f32 * row_step).clamp(0.0, row_limit);
            let source_column = (from_column + column as f32 * column_step).clamp(0.0, column_limit);
            let (above, left) = (source_row as usize, source_column as usize);
            let (down, right) = (source_row - above as f32, source_column - left as f32);
            let upper = &framed[above * stride + left..][..2];
            let lower = &framed[(above + 1) * stride + left..][..2];
            let top = upper[0] + right * (upper[1] - upper[0]);
            let bottom = lower[0] + right * (lower[1] - lower[0]);
            *pixel = top + down * (bottom - top);
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A smooth picture whose counts die out before the border.
    fn blobs(rows: usize, columns: usize) -> Image {
        let mut image = Image::zeros(rows, columns);
        for (at, pixel) in image.pixels.iter_mut().enumerate() {
            let y = (at / columns) as f64 / rows as f64 - 0.5;
            let x = (at % columns) as f64 / columns as f64 - 0.5;
            let blob = |cy: f64, cx: f64, r: f64| (-((y - cy) * (y - cy) + (x - cx) * (x - cx) / 4.0) / (r * r)).exp();
            *pixel = (10.0 * blob(-0.2, 0.05, 0.05) + 5.0 * blob(0.15, -0.1, 0.08)) as f32;
        }
        image
    }

    fn transform(angle_deg: f32, shift_rows_px: f32, shift_columns_px: f32) -> Transform {
        Transform { angle_deg, shift_rows_px, shift_columns_px }
    }

    fn centre(image: &Image) -> [f64; 2] {
        let (mut sum, mut rows, mut columns) = (0.0, 0.0, 0.0);
        for (at, pixel) in image.pixels.iter().enumerate() {
            sum += *pixel as f64;
            rows += *pixel as f64 * (at / image.columns) as f64;
            columns += *pixel as f64 * (at % image.columns) as f64;
        }
        [rows / sum, columns / sum]
    }

    #[test]
    fn nothing_drawn_nothing_changed() {
        let image = blobs(128, 32);
        assert_eq!(apply(&image, &Transform::new(&Motion::NONE, 1, 2, 3)), image);
        // Not only by the shortcut: a shift too small to see goes through the sampling.
        let near = apply(&image, &transform(0.0, 1e-30, 0.0));
        assert_eq!(near, image);
    }

    #[test]
    fn whole_pixels_are_copied_and_zero_comes_in() {
        let image = Image { rows: 1024, columns: 256, pixels: (0..1024 * 256).map(|at| 1.0 + (at % 977) as f32).collect() };
        let moved = apply(&image, &transform(0.0, 3.0, -2.0));
        for (row, column) in [(3, 0), (500, 100), (1023, 253), (10, 17)] {
            assert_eq!(moved.row(row)[column], image.row(row - 3)[column + 2]);
        }
        assert!(moved.row(2).iter().all(|pixel| *pixel == 0.0));
        assert!((0..1024).all(|row| moved.row(row)[254] == 0.0 && moved.row(row)[255] == 0.0));
    }

    #[test]
    fn positive_turns_right_and_moves_down_and_right() {
        let mut image = Image::zeros(1024, 256);
        image.pixels[412 * 256 + 128] = 100.0; // 100 above the centre
        let [row, column] = centre(&apply(&image, &transform(5.0, 0.0, 0.0)));
        assert!(column > 135.0 && row > 411.0, "{row} {column}"); // 100 sin 5 = 8.7
        let [row, column] = centre(&apply(&image, &transform(0.0, 6.0, 4.0)));
        assert!((row - 418.0).abs() < 1e-3 && (column - 132.0).abs() < 1e-3, "{row} {column}");
    }

    #[test]
    fn a_quarter_turn_by_reference_pixels() {
        // In a square picture of a square reference the quarter turn is a permutation; here it tests unequal scales: a point
        // 64 reference pixels above the centre comes to lie 64 to its right, whatever the rows and columns are.
        for (rows, columns) in [(1024, 256), (256, 256), (512, 64)] {
            let (tall, wide) = (1024.0 / rows as f64, 256.0 / columns as f64);
            let mut image = Image::zeros(rows, columns);
            let row = ((rows as f64 - 1.0) / 2.0 - 64.0 / tall).round() as usize;
            for dy in 0..3 {
                for dx in 0..3 {
                    image.pixels[(row - 1 + dy) * columns + columns / 2 - 1 + dx] = 1.0;
                }
            }
            let [row, column] = centre(&apply(&image, &transform(90.0, 0.0, 0.0)));
            let (y, x) = ((row - (rows as f64 - 1.0) / 2.0) * tall, (column - (columns as f64 - 1.0) / 2.0) * wide);
            assert!((x - 64.0).abs() < 4.0 && y.abs() < 4.0, "{rows}x{columns}: {y} {x}");
        }
    }

    #[test]
    fn draws_have_names_and_fill_their_limits() {
        let augmentation = Motion::default();
        let one = Transform::new(&augmentation, 7, 3, 40);
        assert_eq!(one, Transform::new(&augmentation, 7, 3, 40));
        for other in [
            Transform::new(&augmentation, 8, 3, 40),
            Transform::new(&augmentation, 7, 4, 40),
            Transform::new(&augmentation, 7, 3, 41),
        ] {
            assert_ne!(one, other);
        }
        let transforms: Vec<Transform> = (0..2000).map(|study| Transform::new(&augmentation, 7, 0, study)).collect();
        let most = |value: fn(&Transform) -> f32| transforms.iter().map(|transform| value(transform).abs()).fold(0.0, f32::max);
        let [angle, rows, columns] = [
            most(|transform| transform.angle_deg),
            most(|transform| transform.shift_rows_px),
            most(|transform| transform.shift_columns_px),
        ];
        assert!((4.9..=5.0).contains(&angle) && (5.9..=6.0).contains(&rows) && (5.9..=6.0).contains(&columns));
        assert!(
            transforms.iter().any(|transform| transform.angle_deg < -4.0)
                && transforms.iter().any(|transform| transform.angle_deg > 4.0)
        );
    }

    #[test]
    fn limits_are_checked() {
        assert!(Motion::default().check().is_ok() && Motion::NONE.check().is_ok());
        for wrong in [-1.0, f32::NAN, f32::INFINITY] {
            let message = Motion { rotation_deg: wrong, ..Motion::NONE }.check().unwrap_err().to_string();
            assert!(message.starts_with("augmentation.rotation_deg is "), "{message}");
            assert!(Motion { translation_px: wrong, ..Motion::NONE }.check().is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn there_and_back(angle in -5f32..5.0, rows in -6f32..6.0, columns in -6f32..6.0) {
            let image = blobs(256, 64);
            let turned = apply(&image, &transform(angle, 0.0, 0.0));
            let moved = apply(&image, &transform(0.0, rows, columns));
            for back in [apply(&turned, &transform(-angle, 0.0, 0.0)), apply(&moved, &transform(0.0, -rows, -columns))] {
                let worst = back.pixels.iter().zip(&image.pixels).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                prop_assert!(worst < 0.7, "{worst} of 10"); // twice interpolated
            }
        }

        #[test]
        fn counts_stay_within_their_range_and_sum(angle in -5f32..5.0, rows in -6f32..6.0, columns in -6f32..6.0) {
            let image = blobs(256, 64);
            let output = apply(&image, &transform(angle, rows, columns));
            let sum = |image: &Image| image.pixels.iter().map(|pixel| *pixel as f64).sum::<f64>();
            prop_assert!((sum(&output) / sum(&image) - 1.0).abs() < 0.02);
            let most = image.pixels.iter().copied().fold(0.0, f32::max);
            prop_assert!(output.pixels.iter().all(|pixel| (0.0..=most * 1.0001).contains(pixel)));
        }

        #[test]
        fn any_size_and_draw(rows in 1usize..40, columns in 1usize..40, angle in -180f32..180.0, shift in -2000f32..2000.0) {
            let image = Image { rows, columns, pixels: vec![1.0; rows * columns] };
            let output = apply(&image, &transform(angle, shift, -shift));
            prop_assert!(output.pixels.iter().all(|pixel| (-1e-6..=1.00001).contains(pixel)));
        }
    }
}
