//! The training loop and the run's record.

mod step;

pub use step::{Step, Trainer};
