//! How a training is begun, and what it tells its caller on the way.

use super::Epoch;
use super::prepared::BegunWith;
use crate::Error;
use crate::models::Process;
use std::collections::BTreeSet;

/// Where a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first step.
    New,
    /// From the checkpoint in its folder.
    Resume {
        /// Also where the checkpoint was made with another instruction set or another build, so that the run's bits are those of no
        /// single machine.
        allow_other_isa: bool,
    },
}

/// What a run reports to its caller, who can stop it at any event.
#[derive(Debug)]
pub enum Event<'a> {
    /// Training begins.
    Ready {
        /// Training studies.
        train: usize,
        /// Validation studies.
        validation: usize,
        /// Test studies.
        test: usize,
        /// Trained values of the network.
        parameters: usize,
        /// Steps an epoch.
        steps: usize,
    },
    /// The weights are another model's.
    BegunWith(&'a BegunWith),
    /// An interrupted run goes on.
    Resumed {
        /// Steps of the epoch under way that are done.
        steps: usize,
        /// The epoch under way, from 1.
        epoch: usize,
        /// The epochs after which the schedule begins anew, since the run goes on for more of them than it was begun for.
        restarted: Option<usize>,
        /// What was wrong with a newer checkpoint that could not be used.
        problem: Option<&'a Error>,
        /// The process that made the checkpoint, where it computed other bits than this one.
        other: Option<&'a Process>,
        /// Files of test studies that held other bytes when the run began.
        mended: &'a BTreeSet<String>,
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
    /// The loss has risen far above that of guessing and stays there. Sent once, in the first epoch.
    Exploding {
        /// Its mean over the last steps.
        loss: f64,
        /// The loss of equal probabilities for all classes.
        guessing: f64,
    },
    /// A training step was skipped because its loss or gradient is not finite.
    Skipped {
        /// Steps since the run began, with this one.
        done: usize,
        /// The epoch under way, from 1.
        epoch: usize,
        /// The first layer or parameter that is not finite, and the files of the batch.
        problem: &'a str,
    },
    /// Validation and test studies have been measured.
    Test {
        /// Studies evaluated in this epoch.
        done: usize,
        /// Studies to evaluate.
        of: usize,
    },
    /// An epoch is over, and the folder holds its model and record.
    Epoch(&'a Epoch),
}
