//! Drawing: a raster with text, lines and pictures.

mod raster;

pub use raster::{Anchor, Color, Font, Raster, Tone};
