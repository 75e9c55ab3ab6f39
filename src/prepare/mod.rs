//! From studies to batches: view aggregation, augmentation, the loader.

pub mod augment;
mod counts;
mod input;
pub mod loader;
mod measures;
mod resample;
mod settings;
mod vary;
pub mod views;

pub use augment::{Motion, Transform};
pub use counts::CountScale;
pub use input::Input;
pub use measures::{Measure, Measures};
pub use settings::{Alignment, Compression, Preprocessing};
pub(crate) use vary::thinned;
pub use vary::{Augmentation, Variation};
