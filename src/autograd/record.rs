//! What a tape tells of each operation as it runs, to whoever asked for it.

use super::ParameterId;
use super::ops::{Description, MAX_GRADIENTS, Op, Saved};
use crate::tensor::Shape;
use std::fmt;
use std::time::Duration;

/// Hears of every operation of the tapes that run with a [`Context`](super::Context), in order. It sees values and changes none, so a
/// run has the same bits with it and without.
pub trait Recorder: fmt::Debug + Send {
    /// Something was computed. A slot names a value of the tape; where the tape is not kept, later values use dead slots again.
    fn record(&mut self, event: TapeEvent);
}

/// One thing that a tape did.
#[derive(Debug)]
pub enum TapeEvent<'a> {
    /// A tensor came from outside, or a parameter was read.
    Leaf {
        /// The parameter, if it is one.
        parameter: Option<ParameterId>,
        /// The layer that asked for it; of a parameter its own name.
        layer: &'a str,
        /// Its slot.
        slot: usize,
        /// Its shape.
        shape: Shape,
        /// Its values.
        value: &'a [f32],
    },
    /// An operation was computed.
    Forward {
        /// What was done.
        op: &'a Op,
        /// What the operation says of itself.
        description: &'a Description,
        /// The layer that did it.
        layer: &'a str,
        /// The slots of its inputs.
        inputs: &'a [usize],
        /// The slot of the result.
        output: usize,
        /// The shape of the result.
        shape: Shape,
        /// The result.
        value: &'a [f32],
        /// What was saved for the backward pass.
        saved: &'a Saved,
        /// How long it took.
        time: Duration,
    },
    /// A batch moved the running statistics of its batch normalisation.
    Statistics {
        /// The slot of the normalisation's result.
        of: usize,
        /// The share of the batch's.
        momentum: f32,
        /// Pixels of the batch.
        pixels: usize,
        /// Mean and variance.
        running: [ParameterId; 2],
        /// Their new values.
        moved: [&'a [f32]; 2],
    },
    /// The backward pass begins with this gradient of the value in a slot.
    Seed {
        /// The slot.
        slot: usize,
        /// Its gradient.
        gradient: &'a [f32],
    },
    /// The gradient of a slot became those of its operation's inputs.
    Backward {
        /// The operation.
        op: &'a Op,
        /// What the operation says of itself.
        description: &'a Description,
        /// The layer that did it.
        layer: &'a str,
        /// The slot of the operation's result.
        of: usize,
        /// The slots of the inputs that can have a gradient, and their gradients as this operation gives them; empty where
        /// none is wanted.
        gradients: [(usize, &'a [f32]); MAX_GRADIENTS],
        /// How long it took.
        time: Duration,
    },
    /// A second gradient reached a slot and was added to the one that it had.
    Sum {
        /// The slot.
        slot: usize,
        /// The sum.
        gradient: &'a [f32],
        /// How long it took.
        time: Duration,
    },
    /// The gradient of a slot became a parameter's.
    Parameter {
        /// The slot.
        slot: usize,
        /// The parameter that it holds.
        id: ParameterId,
        /// The parameter's gradient so far, this one included.
        gradient: &'a [f32],
        /// How long it took.
        time: Duration,
    },
}
