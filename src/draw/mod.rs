//! Drawing: a raster with text, lines and pictures.

mod aggregation;
mod raster;

pub use aggregation::aggregation;
pub use raster::{Anchor, Color, Font, Raster, Tone};
