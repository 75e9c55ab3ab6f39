//! Adam and learning-rate schedules.
