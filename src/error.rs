//! Every failure a user can meet, each a sentence that names the file or setting, what is wrong, and what to do.

use crate::text::{Shown, counted, without_hidden};
use std::path::{Path, PathBuf};

/// `Result` with Osteon's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. The fields force each message to say where, what, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be used.
    #[error("{}: {}; {}", path.shown(), one_line(problem), one_line(remedy))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// A command-line option, configuration value or argument of the library cannot be used.
    #[error("{}; {}", one_line(problem), one_line(remedy))]
    Setting {
        /// What is wrong, naming the setting.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// Shapes that do not fit, found where the tape is built.
    #[error("{}: {}", one_line(layer), one_line(problem))]
    Shape {
        /// The layer or operation.
        layer: String,
        /// The shapes, and what was expected.
        problem: String,
    },
    /// A computation that cannot go on, whatever its files and settings seemed worth.
    #[error("{}; {}", one_line(problem), one_line(remedy))]
    Failed {
        /// What happened.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// NaN or infinity in a training step; the model has not changed.
    #[error("{}; choose a smaller learning rate, a warm-up, or a limit for the gradient's norm", one_line(place))]
    NotFinite {
        /// The layer or parameter where it came up first, and what it was.
        place: String,
    },
    /// A scan is unlike what the model was trained on, and that was not to pass.
    #[error("{}: {count} of {} unlike what the model was trained on; read what is said of each, and do not rely on the answer", path.shown(), format!("{}{}", counted(*of, "scan"), if *count == 1 { " is" } else { " are" }))]
    Unlike {
        /// The first of them.
        path: PathBuf,
        /// How many.
        count: usize,
        /// Of how many scans.
        of: usize,
    },
    /// The work was [asked to stop](crate::interrupt): Ctrl-C, a signal.
    #[error("interrupted; {}", one_line(kept))]
    Interrupted {
        /// What is whole on disk.
        kept: String,
    },
}

/// A problem may quote what a file holds: a line break would make it two sentences, and an escape would speak to the terminal.
fn one_line(text: &str) -> String {
    without_hidden(text, &[])
}

impl Error {
    /// A file or folder that cannot be used.
    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Error::File { path: path.as_ref().to_owned(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A setting that cannot be used.
    pub fn setting(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Error::Setting { problem: problem.into(), remedy: remedy.into() }
    }

    /// A computation that cannot go on.
    pub fn failed(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Error::Failed { problem: problem.into(), remedy: remedy.into() }
    }

    /// Shapes that do not fit.
    pub fn shape(layer: impl Into<String>, problem: impl Into<String>) -> Self {
        Error::Shape { layer: layer.into(), problem: problem.into() }
    }

    /// An operating-system error. `action` completes "cannot be …": "read", "written", "created".
    pub fn io(path: impl AsRef<Path>, action: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind::*;
        let remedy = match error.kind() {
            NotFound => "check the path",
            PermissionDenied => "check its permissions",
            StorageFull | QuotaExceeded => "free some space and run again",
            ReadOnlyFilesystem => "choose a place that can be written",
            FileTooLarge => "raise the limit on file sizes",
            _ => "check the disk and the path",
        };
        Error::file(path, format!("cannot be {action} ({error})"), remedy)
    }
}
