//! Where the network looked, as colour over the scan.

use crate::draw::{Color, Raster, Tone};
use crate::image::Image;

/// Opacity where the network looked most; the bone beneath must stay readable.
const MAX_OPACITY: f32 = 0.62;

/// The colours of attention from little to much; on an inverse-gray scan they must not be gray.
const RAMP: [Color; 4] = [[0xff, 0xd5, 0x4a], [0xff, 0x9b, 0x21], [0xf0, 0x4e, 0x23], [0xc2, 0x12, 0x4a]];

/// The scan in inverse gray with attention `heat` (0..=1, any resolution, the same field) over it.
pub fn overlay(fused: &Image, heat: &Image) -> Raster {
    let (mut raster, heat) = (Raster::from_image(fused, &Tone::default()), &relative(heat));
    for row in 0..raster.rows() {
        for column in 0..raster.columns() {
            let at = [(row as f32 + 0.5) / raster.rows() as f32, (column as f32 + 0.5) / raster.columns() as f32];
            let (color, opacity) = paint(sample(heat, at));
            raster.blend(row as i64, column as i64, color, opacity);
        }
    }
    raster
}

/// The attention alone as a PNG file with transparency, to lay over any picture of the scan.
pub(super) fn layer(heat: &Image, rows: usize, columns: usize) -> Vec<u8> {
    use image::ImageEncoder;
    let heat = &relative(heat);
    let mut rgba = Vec::with_capacity(4 * rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let at = [(row as f32 + 0.5) / rows as f32, (column as f32 + 0.5) / columns as f32];
            let (color, opacity) = paint(sample(heat, at));
            rgba.extend(color);
            rgba.push((255.0 * opacity).round() as u8);
        }
    }
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(&rgba, columns as u32, rows as u32, image::ExtendedColorType::Rgba8)
        .expect("rows x columns x 4 bytes were made, and memory takes them");
    bytes
}

/// The map from its own least to its own most. A map of few cells is high everywhere, and a veil over the whole body would not say
/// where the network looked; but differences below a quarter of the scale are not blown up, and NaN is the least.
fn relative(heat: &Image) -> Image {
    const LEAST_SPAN: f32 = 0.25;
    let low = heat.pixels.iter().copied().fold(1.0, f32::min).max(0.0);
    let high = heat.pixels.iter().copied().fold(0.0, f32::max).min(1.0);
    let span = (high - low).max(LEAST_SPAN);
    let level = |value: &f32| if value.is_nan() { 0.0 } else { ((value - low) / span).clamp(0.0, 1.0) };
    let pixels = heat.pixels.iter().map(level).collect();
    Image { pixels, ..*heat }
}

/// Colour and opacity of an attention in 0..=1.
fn paint(heat: f32) -> (Color, f32) {
    let at = heat * (RAMP.len() - 1) as f32;
    let low = (at as usize).min(RAMP.len() - 2);
    let color = [0, 1, 2].map(|channel| {
        let [from, to] = [low, low + 1].map(|stop| f32::from(RAMP[stop][channel]));
        (from + (to - from) * (at - low as f32)) as u8
    });
    // Little attention is none: a veil over the whole body would say nothing.
    let shown = ((heat - 0.12) / 0.5).clamp(0.0, 1.0);
    (color, MAX_OPACITY * shown * shown * (3.0 - 2.0 * shown))
}

/// The map at a point of the field (row and column as shares of its size), between pixel centres linear.
fn sample(map: &Image, [down, right]: [f32; 2]) -> f32 {
    if map.pixels.is_empty() {
        return 0.0;
    }
    let axis = |share: f32, length: usize| {
        let at = (share * length as f32 - 0.5).clamp(0.0, (length - 1) as f32);
        (at as usize, (at as usize + 1).min(length - 1), at.fract())
    };
    let (top, bottom, down) = axis(down, map.rows);
    let (left, right_column, right) = axis(right, map.columns);
    let mix = |row: usize| {
        let [near, far] = [left, right_column].map(|column| map.row(row)[column]);
        near + (far - near) * right
    };
    mix(top) + (mix(bottom) - mix(top)) * down
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlay_colours_only_where_the_network_looked() {
        let fused = Image { rows: 64, columns: 16, pixels: vec![3.0; 64 * 16] };
        let mut heat = Image::zeros(8, 2);
        heat.pixels[0] = 1.0; // upper left
        let raster = overlay(&fused, &heat);
        let gray = |row, column| raster.get(row, column).is_some_and(|[r, g, b]| r == g && g == b);
        assert!(!gray(3, 3) && gray(60, 3) && gray(60, 14));
        assert_eq!((raster.rows(), raster.columns()), (64, 16));
    }

    #[test]
    fn a_flat_map_is_no_veil() {
        let opacity = |pixels: Vec<f32>| {
            let heat = Image { rows: pixels.len(), columns: 1, pixels };
            let decoded = image::load_from_memory(&layer(&heat, 64, 4)).unwrap().to_rgba8();
            [decoded.get_pixel(1, 0)[3], decoded.get_pixel(1, 63)[3]]
        };
        assert_eq!(opacity(vec![0.9, 0.9]), [0, 0]);
        let [most, least] = opacity(vec![1.0, 0.6]);
        assert!(most > 140 && least == 0, "{most} {least}");
        let [most, least] = opacity(vec![1.0, 0.97]);
        assert!(most < 40 && least == 0, "small differences stay small: {most} {least}");
        let [out_of_range, least] = opacity(vec![7.0, -3.0]);
        assert!(out_of_range > 140 && least == 0);
    }

    #[test]
    fn the_layer_is_transparent_where_nothing_is_and_survives_nan() {
        let heat = Image { rows: 1, columns: 3, pixels: vec![1.0, f32::NAN, 0.0] };
        let decoded = image::load_from_memory(&layer(&heat, 4, 12)).unwrap().to_rgba8();
        assert_eq!((decoded.width(), decoded.height()), (12, 4));
        assert!(decoded.get_pixel(0, 0)[3] > 140);
        assert_eq!((decoded.get_pixel(5, 0)[3], decoded.get_pixel(11, 0)[3]), (0, 0));
        assert!(layer(&Image::zeros(0, 0), 2, 2).len() > 20);
    }
}
