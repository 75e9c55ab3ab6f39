//! Training: what it leaves behind.

mod folder;
mod memory;

pub use folder::RunFolder;
pub use memory::peak_bytes;
