//! How a manifest is read, for every command that reads one, and what its user is told of it.

use super::terminal::Terminal;
use crate::Result;
use crate::archive::manifest::{Classes, ColumnNames, Manifest, ReadOptions, Reading};
use crate::text::{Shown, shell_word};
use std::path::Path;

/// What the user says of a manifest.
#[derive(clap::Args, Clone, Default)]
pub struct TableFlags {
    /// A column of the manifest that has another name there: --column label=diagnosis. May be given again; --column posterior= says
    /// that there is none.
    #[arg(long = "column", value_name = "COLUMN=NAME", help_heading = "Manifest")]
    columns: Vec<String>,
    /// A class that is meant as it is written, though it is a letter from another. May be given again.
    #[arg(long = "class", value_name = "CLASS", help_heading = "Manifest")]
    classes: Vec<String>,
}

impl TableFlags {
    /// Whether none is given.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty() && self.classes.is_empty()
    }

    /// The columns' names; none where none is given.
    pub fn columns(&self) -> Result<Option<ColumnNames>> {
        (!self.columns.is_empty()).then(|| ColumnNames::parse(&self.columns)).transpose()
    }

    /// Classes that are meant.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// As the words of a command line, each with a blank before it.
    pub fn words(&self) -> String {
        let word = |flag: &str, text: &String| format!(" {flag} {}", shell_word(text));
        let columns = self.columns.iter().map(|text| word("--column", text));
        columns.chain(self.classes.iter().map(|text| word("--class", text))).collect()
    }

    /// How to read a manifest that no run has read before.
    pub fn options(&self) -> Result<ReadOptions> {
        let columns = self.columns()?.unwrap_or_default();
        Ok(ReadOptions { columns, classes: Classes::AskedAbout(self.classes.clone()) })
    }

    /// Reads such a manifest, with a note for each thing to know of it.
    pub fn read(&self, terminal: &Terminal, path: &Path) -> Result<Manifest> {
        read(terminal, path, &self.options()?)
    }
}

/// Reads a manifest, with a note for each thing to know of it.
pub fn read(terminal: &Terminal, path: &Path, options: &ReadOptions) -> Result<Manifest> {
    let Reading { manifest, notes } = Manifest::read_with(path, options)?;
    tell(terminal, path, &notes);
    Ok(manifest)
}

/// A line for each note about a manifest.
pub fn tell(terminal: &Terminal, path: &Path, notes: &[String]) {
    notes.iter().for_each(|note| terminal.note(format_args!("{}: {note}", path.shown())));
}
