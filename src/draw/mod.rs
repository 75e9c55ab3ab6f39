//! Drawing: a raster with text, lines and pictures.

mod aggregation;
mod letters;
mod raster;

pub use aggregation::aggregation;
pub use letters::{BASELINE, Letters};
pub use raster::{Anchor, Color, Raster, Tone};
