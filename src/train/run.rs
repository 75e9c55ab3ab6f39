//! The loop: epochs of steps, a measurement on the test studies, and the folder brought up to date after each epoch.

use super::record::{Epoch, write_csv};
use super::{RunFolder, Settings, measure, split};
use crate::data::loader::Loader;
use crate::data::manifest::Manifest;
use crate::metrics::Scores;
use crate::models::{Model, Trainer};
use crate::{Error, Result, files, report};
use std::ops::ControlFlow;
use std::time::Instant;

/// What a run tells its caller, who can stop it after any of them.
pub enum Event<'a> {
    /// Training begins.
    Ready {
        /// Training studies.
        train: usize,
        /// Test studies.
        test: usize,
        /// Trained values of the network.
        parameters: usize,
        /// Steps an epoch.
        steps: usize,
    },
    /// A training step is over.
    Step {
        /// Steps since the run began.
        done: usize,
        /// The epoch under way, from 1.
        epoch: usize,
        /// The step's loss.
        loss: f32,
    },
    /// An epoch is over, and the folder holds its model and record.
    Epoch(&'a Epoch),
}

/// Trains a network on `manifest` into `folder` and returns the record of every epoch. `watch` sees each [`Event`].
///
/// # Errors
/// Studies that cannot be read; a folder that cannot be written; a loss that is no longer a number; and
/// [`Error::Interrupted`] when `watch` breaks off: then the folder holds the last whole epoch.
pub fn run(
    manifest: &Manifest,
    settings: &Settings,
    folder: &RunFolder,
    watch: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Vec<Epoch>> {
    todo!()
}
