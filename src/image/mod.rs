//! Pictures of counts and the sides that they show: what every other room passes around. It reads and writes no file.

mod blur;
mod body;
mod jpeg;
mod size;

pub(crate) use blur::blur;
pub use body::{Points, body_level, body_pixels, critical_points};
pub use jpeg::jpeg_is_whole;
pub use size::Size;

use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// One planar view or fused picture: row-major counts, `rows` x `columns`, row 0 at the head.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Height in pixels.
    pub rows: usize,
    /// Width in pixels.
    pub columns: usize,
    /// `rows * columns` values, row after row.
    pub pixels: Vec<f32>,
}

impl Image {
    /// An image of zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Image { rows, columns, pixels: vec![0.0; rows * columns] }
    }

    /// Exchanges left and right (paper: "Image flipping").
    pub fn mirror(&mut self) {
        self.pixels.chunks_exact_mut(self.columns).for_each(<[f32]>::reverse);
    }

    /// One row of pixels.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.pixels[row * self.columns..][..self.columns]
    }
}

/// The side of the patient that a gamma camera faced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum View {
    /// From the front: the patient's right is on the image's left.
    Anterior,
    /// From the back.
    Posterior,
}

impl FromStr for View {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.trim() {
            "anterior" => Ok(View::Anterior),
            "posterior" => Ok(View::Posterior),
            other => Err(Error::setting(format!("there is no view `{other}`"), "say anterior or posterior")),
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            View::Anterior => "anterior",
            View::Posterior => "posterior",
        })
    }
}
