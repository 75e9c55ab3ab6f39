//! From files to batches: DICOM and pictures, view aggregation, augmentation, the phantom, manifest, split, loader.

pub mod annotation;
pub mod archives;
pub mod augment;
pub mod datasets;
pub mod demographics;
pub mod dicom;
pub mod loader;
pub mod manifest;
pub mod phantom;
pub mod picture;
mod random;
pub mod raster;
pub mod size;
pub mod split;
pub mod study;
pub mod views;

pub use size::Size;
use std::path::PathBuf;

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

/// The views of one examination, as decoded; at least one is there.
#[derive(Clone, Debug)]
pub struct Study {
    /// The anterior view.
    pub anterior: Option<Image>,
    /// The posterior view, not flipped.
    pub posterior: Option<Image>,
    /// The files it was read from.
    pub sources: Vec<PathBuf>,
}
