//! Many studies: manifests, the people in them, splits, datasets, and importers of public archives.

pub mod datasets;
pub mod fingerprints;
pub mod import;
mod loading;
pub mod manifest;
pub mod people;
pub mod scans;
pub mod seen;
pub mod side;
pub mod split;
