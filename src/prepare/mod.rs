//! From studies to batches: view aggregation, augmentation, the loader.

pub mod augment;
pub mod loader;
pub mod views;

pub use augment::{Augmentation, Draw};
pub use views::{Alignment, Compression, Preprocessing};
