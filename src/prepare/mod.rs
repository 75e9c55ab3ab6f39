//! From studies to batches: view aggregation, augmentation, the loader.

pub mod augment;
pub mod loader;
mod resample;
mod settings;
pub mod views;

pub use augment::{Augmentation, Transform};
pub use settings::{Alignment, Compression, Preprocessing};
