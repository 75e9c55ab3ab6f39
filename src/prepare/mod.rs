//! From studies to batches: view aggregation, augmentation, the loader.

pub mod augment;
pub mod loader;
mod resample;
mod settings;
mod vary;
pub mod views;

pub use augment::{Motion, Transform};
pub use settings::{Alignment, Compression, Preprocessing};
pub use vary::{Augmentation, CountScale, Variation};
