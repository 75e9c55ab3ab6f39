//! The kernels once more, as plain f64 loops: slow, obvious, and what the fast ones are compared with.

pub mod golden;
