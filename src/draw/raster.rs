//! An RGB raster to draw on: smooth lines and letters, pictures of counts; it becomes PNG bytes.
//!
//! Figures of the data and of the reports are made here. It leaves files to [`crate::intake::picture`] and [`crate::files`].

use super::letters::{BASELINE, Letters};
use crate::image::Image;
use image::ImageEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};

/// Red, green, blue.
pub type Color = [u8; 3];

/// Eight bits a channel, row-major, row 0 at the top. Never empty: at least one pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raster {
    rows: usize,
    columns: usize,
    rgb: Vec<u8>, // (rows, columns, 3)
}

/// How counts become gray levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tone {
    /// The share of the non-zero pixels that lie below full level; the few above (bladder, injection point) saturate.
    pub window: f32,
    /// Level = (count / top)^gamma: below one lifts faint bone.
    pub gamma: f32,
    /// Hot is black on white, as physicians read bone scans; else hot is white on black.
    pub inverse: bool,
}

impl Default for Tone {
    /// Black on white, the window of a reading room.
    fn default() -> Self {
        Tone { window: 0.995, gamma: 0.7, inverse: true }
    }
}

/// Where a text lies beside its anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The anchor is the text's left end.
    Left,
    /// The anchor is the text's middle.
    Center,
    /// The anchor is the text's right end.
    Right,
}

impl Anchor {
    /// Where a text of this width begins, beside its anchor.
    fn start(self, width: f32) -> f32 {
        match self {
            Anchor::Left => 0.0,
            Anchor::Center => -width / 2.0,
            Anchor::Right => -width,
        }
    }
}

impl Raster {
    /// A raster of one colour. A side of zero becomes one pixel.
    pub fn new(rows: usize, columns: usize, color: Color) -> Self {
        let (rows, columns) = (rows.max(1), columns.max(1));
        Raster { rows, columns, rgb: color.repeat(rows * columns) }
    }

    /// The picture of an image: counts windowed and put through `tone`. NaN and negative counts are zero.
    pub fn from_image(image: &Image, tone: &Tone) -> Self {
        let top = window_top(&image.pixels, tone.window);
        let mut raster = Raster::new(image.rows, image.columns, [if tone.inverse { 255 } else { 0 }; 3]);
        for (rgb, &count) in raster.rgb.chunks_exact_mut(3).zip(&image.pixels) {
            // f32::max gives 0 for NaN.
            let level = (count.max(0.0) / top).min(1.0).powf(tone.gamma);
            rgb.fill((255.0 * if tone.inverse { 1.0 - level } else { level }).round() as u8);
        }
        raster
    }

    /// Height in pixels.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Width in pixels.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The colours, three bytes a pixel, row after row.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The colour of a pixel; `None` outside.
    pub fn get(&self, row: usize, column: usize) -> Option<Color> {
        let at = 3 * (row * self.columns + column);
        (row < self.rows && column < self.columns).then(|| [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]])
    }

    /// Mixes `color` over a pixel: `alpha` 1 replaces it. Outside nothing happens.
    pub fn blend(&mut self, row: i64, column: i64, color: Color, alpha: f32) {
        if row < 0 || column < 0 || row >= self.rows as i64 || column >= self.columns as i64 {
            return;
        }
        let at = 3 * (row as usize * self.columns + column as usize);
        for (below, above) in self.rgb[at..at + 3].iter_mut().zip(color) {
            *below = (*below as f32 + (above as f32 - *below as f32) * alpha.clamp(0.0, 1.0)).round() as u8;
        }
    }

    /// Fills the rectangle from (`row`, `column`), clipped to the raster.
    pub fn fill(&mut self, row: usize, column: usize, rows: usize, columns: usize, color: Color) {
        let (left, right) = (column.min(self.columns), (column + columns).min(self.columns));
        for row in row..(row + rows).min(self.rows) {
            for rgb in self.rgb[3 * (row * self.columns + left)..3 * (row * self.columns + right)].chunks_exact_mut(3) {
                rgb.copy_from_slice(&color);
            }
        }
    }

    /// Lays another raster on this one, its corner at (`row`, `column`), clipped.
    pub fn paste(&mut self, row: usize, column: usize, other: &Raster) {
        let columns = other.columns.min(self.columns.saturating_sub(column));
        for from in 0..other.rows.min(self.rows.saturating_sub(row)) {
            let to = 3 * ((row + from) * self.columns + column);
            self.rgb[to..to + 3 * columns].copy_from_slice(&other.rgb[3 * from * other.columns..][..3 * columns]);
        }
    }

    /// A smooth line of `width` pixels between two points (x to the right, y down; pixel centres at whole numbers).
    pub fn line(&mut self, from: [f32; 2], to: [f32; 2], width: f32, color: Color) {
        self.polyline(&[from, to], width, color);
    }

    /// A smooth line through all `points`; joints do not darken. Points that are not finite break the line.
    pub fn polyline(&mut self, points: &[[f32; 2]], width: f32, color: Color) {
        let half = width / 2.0;
        let reach = |values: [f32; 2], limit: usize| {
            let low = (values[0].min(values[1]) - half - 1.0).max(0.0) as usize;
            let high = (values[0].max(values[1]) + half + 2.0).clamp(0.0, limit as f32) as usize;
            low.min(limit)..high
        };
        let segments =
            || points.windows(2).map(|pair| [pair[0], pair[1]]).filter(|pair| pair.as_flattened().iter().all(|v| v.is_finite()));
        let reaches = |[from, to]: [[f32; 2]; 2]| (reach([from[1], to[1]], self.rows), reach([from[0], to[0]], self.columns));
        // Every segment's coverage first, its maximum where they meet, then one blend; all within the line's bounds.
        let (mut rows, mut columns) = (self.rows..0, self.columns..0);
        for (down, right) in segments().map(reaches) {
            rows = rows.start.min(down.start)..rows.end.max(down.end);
            columns = columns.start.min(right.start)..columns.end.max(right.end);
        }
        let mut coverage = vec![0f32; rows.len() * columns.len()];
        for segment in segments() {
            let [[x0, y0], [x1, y1]] = segment;
            let (dx, dy) = (x1 - x0, y1 - y0);
            let length_squared = dx * dx + dy * dy;
            let (down, right) = reaches(segment);
            for row in down {
                for column in right.clone() {
                    let (px, py) = (column as f32 - x0, row as f32 - y0);
                    let along = if length_squared > 0.0 { ((px * dx + py * dy) / length_squared).clamp(0.0, 1.0) } else { 0.0 };
                    let distance = (px - along * dx).hypot(py - along * dy);
                    let cell = &mut coverage[(row - rows.start) * columns.len() + column - columns.start];
                    *cell = cell.max((half + 0.5 - distance).clamp(0.0, 1.0));
                }
            }
        }
        for (at, &alpha) in coverage.iter().enumerate().filter(|(_, alpha)| **alpha > 0.0) {
            let (row, column) = (rows.start + at / columns.len(), columns.start + at % columns.len());
            self.blend(row as i64, column as i64, color, alpha);
        }
    }

    /// A smooth disc.
    pub fn disc(&mut self, [x, y]: [f32; 2], radius: f32, color: Color) {
        self.polyline(&[[x, y], [x, y]], 2.0 * radius, color);
    }

    /// Lines through all `points`, broken by `dash`: lengths of strokes and gaps in turn, in pixels; ends are round. Points that are not
    /// finite break the line, and the pattern begins anew.
    pub fn dashed(&mut self, points: &[[f32; 2]], width: f32, dash: &[f32], color: Color) {
        // A step of the pattern would be lost in the rounding of points that far out.
        let is_far = points.as_flattened().iter().any(|value| value.is_finite() && value.abs() > 1e5);
        if dash.is_empty() || is_far || dash.iter().any(|length| *length < 0.01) {
            return self.polyline(points, width, color);
        }
        let (mut stroke, mut part, mut left): (Vec<[f32; 2]>, usize, f32) = (Vec::new(), 0, dash[0]);
        for pair in points.windows(2) {
            let [from, to] = [pair[0], pair[1]];
            if pair.as_flattened().iter().any(|value| !value.is_finite()) {
                self.polyline(&std::mem::take(&mut stroke), width, color);
                (part, left) = (0, dash[0]);
                continue;
            }
            let length = (to[0] - from[0]).hypot(to[1] - from[1]);
            let at =
                |along: f32| [0, 1].map(|axis| from[axis] + (to[axis] - from[axis]) * (along / length.max(f32::MIN_POSITIVE)));
            let mut along = 0.0;
            if part % 2 == 0 && stroke.is_empty() {
                stroke.push(from);
            }
            while along + left < length {
                along += left;
                stroke.push(at(along));
                if part % 2 == 0 {
                    self.polyline(&std::mem::take(&mut stroke), width, color);
                }
                part = (part + 1) % (2 * dash.len()); // twice through it, should its number be odd
                left = dash[part % dash.len()];
            }
            left -= length - along;
            if part % 2 == 0 {
                stroke.push(to);
            }
        }
        self.polyline(&stroke, width, color);
    }

    /// Text that reads to the right, the middle of its capitals at `y` (pixel centres at whole numbers). A character that the font lacks
    /// is a box.
    pub fn text(&mut self, [x, y]: [f32; 2], text: &str, letters: Letters, anchor: Anchor, color: Color) {
        let start = [x + 0.5 + anchor.start(letters.width(text)), baseline(y, letters)];
        letters.fill(start, text, |column, row, coverage| self.blend(row, column, color, coverage));
    }

    /// Text that reads upwards, the middle of its capitals at `x`, else as [`Raster::text`].
    pub fn sideways(&mut self, [x, y]: [f32; 2], text: &str, letters: Letters, anchor: Anchor, color: Color) {
        // The text's own columns run up the raster's rows.
        let start = [-(y + 0.5) + anchor.start(letters.width(text)), baseline(x, letters)];
        letters.fill(start, text, |column, row, coverage| self.blend(-1 - column, row, color, coverage));
    }

    /// The same, where it is higher than `most_rows` reduced to so many.
    pub fn no_higher(self, most_rows: usize) -> Raster {
        if self.rows <= most_rows {
            return self;
        }
        self.resized(most_rows, (self.columns * most_rows / self.rows).max(1))
    }

    /// A copy of `rows` x `columns`, each pixel the mean of the area that it covers (or the nearest, where it grows).
    pub fn resized(&self, rows: usize, columns: usize) -> Raster {
        let mut raster = Raster::new(rows, columns, [0; 3]);
        let spans = |from: usize, to: usize| -> Vec<(usize, usize)> {
            let start = |at: usize| at * from / to;
            (0..to).map(|at| (start(at), start(at + 1).max(start(at) + 1))).collect()
        };
        let across = spans(self.columns, raster.columns);
        for (row, &(top, bottom)) in spans(self.rows, raster.rows).iter().enumerate() {
            for (column, &(left, right)) in across.iter().enumerate() {
                let mut sums = [0u32; 3];
                for line in top..bottom {
                    for rgb in self.rgb[3 * (line * self.columns + left)..3 * (line * self.columns + right)].chunks_exact(3) {
                        sums.iter_mut().zip(rgb).for_each(|(sum, &value)| *sum += u32::from(value));
                    }
                }
                let count = ((bottom - top) * (right - left)) as u32;
                let at = 3 * (row * raster.columns + column);
                raster.rgb[at..at + 3].iter_mut().zip(sums).for_each(|(to, sum)| *to = ((sum + count / 2) / count) as u8);
            }
        }
        raster
    }

    /// The raster as a PNG file's bytes; gray rasters take one channel.
    pub fn png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let gray = self.rgb.chunks_exact(3).all(|rgb| rgb[0] == rgb[1] && rgb[1] == rgb[2]);
        let (pixels, color) = match gray {
            true => (self.rgb.iter().step_by(3).copied().collect(), image::ExtendedColorType::L8),
            false => (self.rgb.clone(), image::ExtendedColorType::Rgb8),
        };
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
            .write_image(&pixels, self.columns as u32, self.rows as u32, color)
            .expect("a raster holds rows x columns pixels and memory takes them");
        bytes
    }
}

/// The baseline of letters whose capitals have their middle at `middle`: on the edge of a pixel, where letters are sharp.
fn baseline(middle: f32, letters: Letters) -> f32 {
    (middle + 0.5 + BASELINE * letters.size).round()
}

/// The count at the upper end of the window: the `window` quantile of the positive pixels, or 1 where none is.
fn window_top(pixels: &[f32], window: f32) -> f32 {
    let mut counts: Vec<f32> = pixels.iter().copied().filter(|count| *count > 0.0 && count.is_finite()).collect();
    if counts.is_empty() {
        return 1.0;
    }
    let at = ((counts.len() - 1) as f32 * window.clamp(0.0, 1.0)).round() as usize;
    *counts.select_nth_unstable_by(at, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn png_decodes_to_the_same_pixels() {
        let mut raster = Raster::new(5, 7, [10, 20, 30]);
        raster.fill(1, 2, 2, 100, [200, 0, 0]);
        for raster in [raster, Raster::new(3, 4, [7; 3])] {
            let decoded = image::load_from_memory(&raster.png()).unwrap().to_rgb8();
            assert_eq!((decoded.height() as usize, decoded.width() as usize), (raster.rows(), raster.columns()));
            assert_eq!(decoded.as_raw(), raster.rgb());
        }
    }

    #[test]
    fn nothing_is_drawn_outside_and_nothing_panics() {
        let mut raster = Raster::new(0, 0, [255; 3]);
        assert_eq!((raster.rows(), raster.columns(), raster.png().is_empty()), (1, 1, false));
        raster.fill(5, 5, 9, 9, [0; 3]);
        raster.paste(3, 3, &Raster::new(4, 4, [0; 3]));
        raster.line([f32::NAN, 0.0], [9.0, 9.0], 2.0, [0; 3]);
        raster.line([-1e9, 5.0], [1e9, 5.0], 2.0, [0; 3]);
        raster.dashed(&[[f32::NAN, 0.0], [2.0, 2.0], [2.0, 2.0], [1e4, 2.0]], 2.0, &[3.0, 2.0, 1.0], [0; 3]);
        raster.text([-40.0, -40.0], "outside \u{1F9B4}", Letters::bold(20.0), Anchor::Center, [0; 3]);
        raster.sideways([f32::NAN, 1e30], "outside", Letters::bold(20.0), Anchor::Center, [0; 3]);
        assert_eq!(raster.get(0, 0), Some([255; 3]));
        assert_eq!(raster.get(1, 0), None);
    }

    #[test]
    fn text_and_lines_leave_marks() {
        let mut raster = Raster::new(40, 200, [255; 3]);
        raster.text([5.0, 15.0], "µ 1.0", Letters::regular(20.0), Anchor::Left, [0; 3]);
        let marks = |raster: &Raster| raster.rgb().iter().filter(|value| **value < 128).count();
        let text = marks(&raster);
        assert!(text > 100, "{text}");
        raster.line([100.0, 20.0], [150.0, 20.0], 3.0, [0; 3]);
        assert!(marks(&raster) - text >= 3 * 150, "{}", marks(&raster) - text);
        assert_eq!(raster.get(20, 120), Some([0; 3]));
    }

    /// Rows and columns that are more than half covered, first and last.
    fn bounds(raster: &Raster) -> [usize; 4] {
        let dark: Vec<(usize, usize)> = (0..raster.rows())
            .flat_map(|row| (0..raster.columns()).map(move |column| (row, column)))
            .filter(|&(row, column)| raster.get(row, column).is_some_and(|rgb| rgb[0] < 128))
            .collect();
        let (rows, columns) = (dark.iter().map(|at| at.0), dark.iter().map(|at| at.1));
        [rows.clone().min(), rows.max(), columns.clone().min(), columns.max()].map(|edge| edge.expect("some ink"))
    }

    #[test]
    fn letters_keep_their_size_and_anchor() {
        type Write = fn(&mut Raster, [f32; 2], &str, Letters, Anchor, Color);
        let drawn = |write: Write, letters: Letters, anchor: Anchor| {
            let mut raster = Raster::new(200, 200, [255; 3]);
            write(&mut raster, [100.0, 100.0], "HIH", letters, anchor, [0; 3]);
            bounds(&raster)
        };
        for letters in [Letters::regular(18.0), Letters::bold(24.0), Letters::regular(40.0)] {
            let [top, bottom, left, right] = drawn(Raster::text, letters, Anchor::Center);
            let capitals = (bottom - top + 1) as f32 / letters.size;
            assert!((capitals - 0.69).abs() < 1.0 / letters.size, "{letters:?}: rows {top} to {bottom}");
            assert!((top + bottom).abs_diff(200) <= 2 && (left + right).abs_diff(200) <= 1, "{top} {bottom} {left} {right}");
            assert!(
                drawn(Raster::text, letters, Anchor::Left)[2] >= 100 && drawn(Raster::text, letters, Anchor::Right)[3] <= 100
            );
            // Sideways it is the same, a quarter of a turn about the same point.
            let [up, down, near, far] = drawn(Raster::sideways, letters, Anchor::Left);
            let [top, bottom, left, right] = drawn(Raster::text, letters, Anchor::Left);
            assert_eq!([near, far, 200 - down, 200 - up], [top, bottom, left, right], "{letters:?}");
        }
    }

    #[test]
    fn dashes_follow_a_line_around_its_corners() {
        let dark =
            |raster: &Raster, row: usize| (0..60).filter(|&column| raster.get(row, column) == Some([0; 3])).collect::<Vec<_>>();
        let mut raster = Raster::new(60, 60, [255; 3]);
        // Along a row and down the last column; round ends are half a pixel long.
        raster.dashed(&[[0.0, 10.0], [30.0, 10.0], [30.0, 50.0]], 1.0, &[8.0, 6.0], [0; 3]);
        assert_eq!(dark(&raster, 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 14, 15, 16, 17, 18, 19, 20, 21, 22, 28, 29, 30]);
        let down: Vec<usize> = (11..60).filter(|&row| raster.get(row, 30) == Some([0; 3])).collect();
        assert_eq!(down, [11, 12, 13, 14, 15, 16, 22, 23, 24, 25, 26, 27, 28, 29, 30, 36, 37, 38, 39, 40, 41, 42, 43, 44]);
        let mut solid = Raster::new(60, 60, [255; 3]);
        solid.dashed(&[[0.0, 10.0], [30.0, 10.0]], 1.0, &[], [0; 3]);
        assert_eq!(dark(&solid, 10).len(), 31);
    }

    #[test]
    fn tone_saturates_above_the_window_and_survives_nan() {
        let mut pixels = vec![10.0; 999];
        pixels.extend([1e6, f32::NAN, -3.0, 0.0, f32::INFINITY]);
        let image = Image { rows: 4, columns: 251, pixels };
        let raster = Raster::from_image(&image, &Tone::default());
        let last = |back: usize| raster.rgb()[3 * (1004 - back)];
        assert_eq!([last(5), last(4), last(3), last(2), last(1)], [0, 255, 255, 255, 0]);
        assert_eq!(raster.rgb()[0], 0, "the bulk reaches full level, not 10 / 1e6");
        let zeros = Raster::from_image(&Image::zeros(3, 3), &Tone { inverse: false, ..Tone::default() });
        assert!(zeros.rgb().iter().all(|value| *value == 0));
    }

    #[test]
    fn resizing_keeps_the_mean() {
        let mut raster = Raster::new(8, 8, [0; 3]);
        raster.fill(0, 0, 8, 4, [200; 3]);
        let small = raster.resized(2, 1);
        assert_eq!((small.get(0, 0), small.get(1, 0)), (Some([100; 3]), Some([100; 3])));
        assert_eq!(small.resized(4, 4).get(3, 3), Some([100; 3]));
        let sizes = [2, 8, 9].map(|most| raster.clone().no_higher(most)).map(|raster| [raster.rows(), raster.columns()]);
        assert_eq!(sizes, [[2, 2], [8, 8], [8, 8]]);
    }
}
