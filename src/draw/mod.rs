//! Drawing: a raster with text, lines and pictures.

mod aggregation;
mod letters;
mod raster;

pub use aggregation::aggregation;
pub use letters::{BASELINE, Letters};
pub use raster::{Anchor, Color, Raster, Tone};

#[cfg(test)]
pub(crate) mod tests {
    use super::Color;

    /// Linear shares of sRGB's red, green and blue (IEC 61966-2-1).
    pub fn linear(color: Color) -> [f64; 3] {
        color.map(|value| {
            let share = f64::from(value) / 255.0;
            if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        })
    }

    /// WCAG 2.1's contrast ratio: 1 to 21.
    pub fn contrast(one: Color, other: Color) -> f64 {
        let [one, other] = [one, other].map(|color| {
            let [red, green, blue] = linear(color);
            0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05
        });
        one.max(other) / one.min(other)
    }
}
