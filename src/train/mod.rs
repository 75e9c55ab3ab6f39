//! The training loop and the run's record.
