//! Evidence as colour over the scan, on one absolute scale for all scans: where little speaks for an answer there is little colour.

use crate::draw::Color;
use crate::image::Image;

/// Opacity where there is most; the bone beneath must stay readable.
const MAX_OPACITY: f32 = 0.62;

/// The colours of evidence from little to much; on an inverse-gray scan they must not be gray.
const RAMP: [Color; 4] = [[0xff, 0xd5, 0x4a], [0xff, 0x9b, 0x21], [0xf0, 0x4e, 0x23], [0xc2, 0x12, 0x4a]];

/// Cells across a picture's width. Evidence is shown for the area of a cell, so that it does not depend on the size of the picture.
pub const CELLS: f32 = 64.0;

/// The reach of a spot of evidence in cells: about 2 cm of a body.
pub const SPOT: f32 = 2.5;

/// The colours of attention, which is no evidence.
const ATTENTION: [Color; 4] = [[0xd6, 0xe8, 0xf7], [0x9c, 0xc9, 0xe8], [0x4f, 0x98, 0xcb], [0x0b, 0x55, 0x9c]];

/// The nats of a cell that have the last colour. The hottest cell of a phantom with metastases
/// has 0.04 to 0.2.
pub(super) const FULL: f32 = 0.1;

/// Evidence, in nats a pixel, as a PNG file with transparency, to lay over any picture of the scan.
pub(super) fn layer(map: &Image, rows: usize, columns: usize) -> Vec<u8> {
    let pixels_a_cell = (map.columns as f32 / CELLS).powi(2);
    png(map, rows, columns, &RAMP, &|nats| nats * pixels_a_cell / FULL)
}

/// Spatial attention, the share that it leaves of each pixel, in colours of its own: from a half on, which is what a sigmoid leaves that
/// has learnt nothing.
pub(super) fn attention_layer(map: &Image, rows: usize, columns: usize) -> Vec<u8> {
    png(map, rows, columns, &ATTENTION, &|share| 2.0 * share - 1.0)
}

/// A map in colours, from its values as shares of the scale.
fn png(map: &Image, rows: usize, columns: usize, ramp: &[Color; 4], share: &dyn Fn(f32) -> f32) -> Vec<u8> {
    use image::ImageEncoder;
    let mut rgba = Vec::with_capacity(4 * rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let at = [(row as f32 + 0.5) / rows as f32, (column as f32 + 0.5) / columns as f32];
            let (color, opacity) = paint(ramp, share(sample(map, at)));
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

/// Colour and opacity of a share of the scale; NaN is none, and more than all is all.
fn paint(ramp: &[Color; 4], share: f32) -> (Color, f32) {
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    let at = share * (ramp.len() - 1) as f32;
    let low = (at as usize).min(ramp.len() - 2);
    let color = [0, 1, 2].map(|channel| {
        let [from, to] = [low, low + 1].map(|stop| f32::from(ramp[stop][channel]));
        (from + (to - from) * (at - low as f32)) as u8
    });
    let shown = ((share - 0.05) / 0.45).clamp(0.0, 1.0);
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

    fn opacities(map: &Image, rows: usize, columns: usize) -> Vec<u8> {
        let decoded = image::load_from_memory(&layer(map, rows, columns)).unwrap().to_rgba8();
        assert_eq!((decoded.width() as usize, decoded.height() as usize), (columns, rows));
        decoded.pixels().map(|pixel| pixel[3]).collect()
    }

    /// Half of the scale is opaque, a fortieth of it is nothing, whatever else is in the map.
    #[test]
    fn the_scale_is_absolute() {
        let mut map = Image::zeros(128, 64);
        map.pixels[70 * 64 + 20] = FULL / 2.0;
        map.pixels[90 * 64 + 20] = FULL / 40.0;
        let found = opacities(&map, 128, 64);
        assert!(found[70 * 64 + 20] > 150 && found[90 * 64 + 20] == 0 && found[0] == 0);
        map.pixels[70 * 64 + 20] = 0.0;
        assert!(opacities(&map, 128, 64).iter().all(|opacity| *opacity == 0), "a map of little is not blown up");
    }

    /// Twice as many pixels across have a quarter of the nats each.
    #[test]
    fn the_size_of_the_map_does_not_matter() {
        let [small, large] = [64, 128].map(|columns| {
            let share = FULL / 4.0 * (64.0 / columns as f32).powi(2);
            let map = Image { rows: 2 * columns, columns, pixels: vec![share; 2 * columns * columns] };
            opacities(&map, 4, 2)
        });
        assert!(small == large && small[0] > 50, "{small:?} {large:?}");
    }

    #[test]
    fn the_layer_survives_nan_and_nothing() {
        let map = Image { rows: 1, columns: 4, pixels: vec![700.0, 0.0, f32::NAN, -1.0] };
        let found = opacities(&map, 1, 4);
        assert!(found[0] > 140 && found[1..].iter().all(|opacity| *opacity == 0), "{found:?}");
        assert!(layer(&Image::zeros(0, 0), 2, 2).len() > 20);
    }
}
