//! An RGB raster to draw on: `embedded-graphics` sets text on it, it draws smooth lines itself, and it becomes PNG bytes.
//!
//! Figures of the data and of the reports are made here. It leaves files to [`crate::intake::picture`] and [`crate::files`].

use crate::image::Image;
use embedded_graphics::Pixel;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle, iso_8859_1};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::prelude::{DrawTarget, Drawable, OriginDimensions, Point, Size};
use embedded_graphics::text::{Alignment, Baseline, Text};
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

/// The sizes of text, in pixels of width x height a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Font {
    /// 6 x 10.
    Small,
    /// 8 x 13.
    Medium,
    /// 10 x 20.
    Large,
}

impl Font {
    fn mono(self) -> &'static MonoFont<'static> {
        match self {
            Font::Small => &iso_8859_1::FONT_6X10,
            Font::Medium => &iso_8859_1::FONT_8X13,
            Font::Large => &iso_8859_1::FONT_10X20,
        }
    }

    /// The width of `text` in pixels.
    pub fn width(self, text: &str) -> usize {
        let width = match self {
            Font::Small => 6,
            Font::Medium => 8,
            Font::Large => 10,
        };
        width * text.chars().count()
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

    /// Text, its upper edge at `y`. Characters outside Latin-1 become question marks.
    pub fn text(&mut self, x: i64, y: i64, text: &str, font: Font, anchor: Anchor, color: Color) {
        let style = MonoTextStyle::new(font.mono(), Rgb888::new(color[0], color[1], color[2]));
        let alignment = match anchor {
            Anchor::Left => Alignment::Left,
            Anchor::Center => Alignment::Center,
            Anchor::Right => Alignment::Right,
        };
        let layout = embedded_graphics::text::TextStyleBuilder::new().alignment(alignment).baseline(Baseline::Top).build();
        let _: Result<Point, std::convert::Infallible> =
            Text::with_text_style(text, Point::new(x as i32, y as i32), style, layout).draw(self);
    }

    /// Smooth text of any size: capitals are 0.72 `size` high, their middle at `y`. The large font's pixels are interpolated and
    /// sharpened again, so that edges are round. `bold` thickens; `upright` false turns it to read upwards.
    pub fn lettering(
        &mut self,
        [x, y]: [f32; 2],
        text: &str,
        size: f32,
        anchor: Anchor,
        color: Color,
        bold: bool,
        upright: bool,
    ) {
        const CAPITALS: [f32; 2] = [3.0, 16.0]; // rows of FONT_10X20 that capitals fill
        let scale = 0.72 * size / (CAPITALS[1] - CAPITALS[0]);
        // The fonts have Latin-1 alone.
        let text = &text.replace(['\u{2212}', '\u{2013}'], "-").replace('\u{2026}', "...").replace('\u{202F}', "\u{A0}");
        let (length, count) = (Font::Large.width(text) as f32, text.chars().count());
        let mut mask = Raster::new(22, 10 * count + 2, [0; 3]); // one pixel of margin
        mask.text(1, 1, text, Font::Large, Anchor::Left, [255; 3]);
        let ink = |row: i64, column: i64| match row < 0 || column < 0 {
            true => 0.0,
            false => f32::from(mask.get(row as usize, column as usize).map_or(0, |rgb| rgb[0])) / 255.0,
        };
        let start = match anchor {
            Anchor::Left => 0.0,
            Anchor::Center => -length * scale / 2.0,
            Anchor::Right => -length * scale,
        };
        let middle = (CAPITALS[0] + CAPITALS[1]) / 2.0 * scale;
        let threshold = if bold { 0.3 } else { 0.5 };
        for down in 0..(20.0 * scale).ceil() as i64 {
            for right in 0..(length * scale).ceil() as i64 {
                // The mask's point under this pixel's centre, pixel centres at whole numbers.
                let (row, column) = ((down as f32 + 0.5) / scale + 0.5, (right as f32 + 0.5) / scale + 0.5);
                let (top, left) = (row.floor(), column.floor());
                let (weights_down, weights_right) = (cubic(row - top), cubic(column - left));
                let mut value = 0.0;
                for (i, weight_down) in weights_down.iter().enumerate() {
                    for (j, weight_right) in weights_right.iter().enumerate() {
                        value += weight_down * weight_right * ink(top as i64 + i as i64 - 1, left as i64 + j as i64 - 1);
                    }
                }
                let alpha = ((value - threshold) * 1.6 * scale.max(1.0) + 0.5).clamp(0.0, 1.0);
                if alpha > 0.0 {
                    let (dx, dy) = (start + right as f32, down as f32 - middle);
                    let (px, py) = if upright { (x + dx, y + dy) } else { (x + dy, y - dx) };
                    self.blend(py.round() as i64, px.round() as i64, color, alpha);
                }
            }
        }
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

/// Weights of the four samples about a point `t` after the second: the cubic B-spline, which never rings.
fn cubic(t: f32) -> [f32; 4] {
    let u = 1.0 - t;
    [u * u * u, 4.0 - 6.0 * t * t + 3.0 * t * t * t, 4.0 - 6.0 * u * u + 3.0 * u * u * u, t * t * t].map(|weight| weight / 6.0)
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

impl OriginDimensions for Raster {
    fn size(&self) -> Size {
        Size::new(self.columns as u32, self.rows as u32)
    }
}

impl DrawTarget for Raster {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Self::Error> {
        for Pixel(point, color) in pixels {
            self.blend(point.y.into(), point.x.into(), [color.r(), color.g(), color.b()], 1.0);
        }
        Ok(())
    }
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
        raster.text(-40, -40, "outside \u{1F9B4}", Font::Large, Anchor::Center, [0; 3]);
        assert_eq!(raster.get(0, 0), Some([255; 3]));
        assert_eq!(raster.get(1, 0), None);
    }

    #[test]
    fn text_and_lines_leave_marks() {
        let mut raster = Raster::new(40, 200, [255; 3]);
        raster.text(5, 5, "µ 1.0", Font::Large, Anchor::Left, [0; 3]);
        let marks = |raster: &Raster| raster.rgb().iter().filter(|value| **value < 128).count();
        let text = marks(&raster);
        assert!(text > 100, "{text}");
        raster.line([100.0, 20.0], [150.0, 20.0], 3.0, [0; 3]);
        assert!(marks(&raster) - text >= 3 * 150, "{}", marks(&raster) - text);
        assert_eq!(raster.get(20, 120), Some([0; 3]));
    }

    #[test]
    fn lettering_keeps_its_size_and_anchor() {
        let bounds = |size: f32, anchor: Anchor, upright: bool| {
            let mut raster = Raster::new(200, 200, [255; 3]);
            raster.lettering([100.0, 100.0], "HIH", size, anchor, [0; 3], false, upright);
            let dark: Vec<(usize, usize)> = (0..200)
                .flat_map(|row| (0..200).map(move |column| (row, column)))
                .filter(|&(row, column)| raster.get(row, column).is_some_and(|rgb| rgb[0] < 128))
                .collect();
            let rows = dark.iter().map(|at| at.0);
            let columns = dark.iter().map(|at| at.1);
            [rows.clone().min(), rows.max(), columns.clone().min(), columns.max()].map(|edge| edge.expect("some ink"))
        };
        for size in [18.0, 24.0, 40.0] {
            let [top, bottom, left, right] = bounds(size, Anchor::Center, true);
            assert!((0.6..0.85).contains(&((bottom - top) as f32 / size)), "capitals of {size}: rows {top} to {bottom}");
            assert!((top + bottom).abs_diff(200) <= 4 && (left + right).abs_diff(200) <= 6, "{top} {bottom} {left} {right}");
            assert!(bounds(size, Anchor::Left, true)[2] >= 99 && bounds(size, Anchor::Right, true)[3] <= 101);
            let [top, bottom, left, right] = bounds(size, Anchor::Center, false);
            assert!(bottom - top > right - left, "it reads upwards");
        }
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
    }
}
