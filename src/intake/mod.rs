//! A file, a folder or pictures become a [`Study`]: what is read, which image is which view, what is left out and why.

pub mod checks;
pub(crate) mod container;
pub mod kind;
pub mod picture;
mod search;
pub mod statistics;
pub mod study;
pub mod survey;

pub use search::LeftOut;
pub use study::{Decided, Intake, Study};
