//! A file, a folder or pictures become a [`Study`]: what is read, which image is which view, what is left out and why.

pub mod checks;
pub mod picture;
pub mod study;

pub use study::Study;
