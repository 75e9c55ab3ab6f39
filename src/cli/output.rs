//! Where a command writes, by the one rule of [`crate::files::Output`].

use crate::Result;
use crate::files;
use std::path::Path;

/// The flag of every command that writes a result.
#[derive(clap::Args)]
pub struct Overwrite {
    /// Write over results that are there. What the command reads is never written over.
    #[arg(long)]
    pub force: bool,
}

impl Overwrite {
    /// A file that the command will write, reading `inputs`. Asked before the work.
    pub fn file(&self, path: &Path, inputs: &[&Path]) -> Result<files::Output> {
        files::Output::file(path, self.force, inputs)
    }

    /// A folder of results with these `names` in it.
    pub fn folder(&self, path: &Path, names: &[impl AsRef<Path>], inputs: &[&Path]) -> Result<files::Output> {
        files::Output::folder(path, self.force, names, inputs)
    }

    /// Results with these `names`, in a folder where other things have their place.
    pub fn files_in(&self, path: &Path, names: &[impl AsRef<Path>], inputs: &[&Path]) -> Result<files::Output> {
        files::Output::files_in(path, self.force, names, inputs)
    }
}
