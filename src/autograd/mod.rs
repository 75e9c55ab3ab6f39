//! Differentiation: operations run as they are called, and are recorded where a gradient will be asked for.
//!
//! * [`ops`]: every operation, one file a family
//! * `tape`: records them, and releases each value when nothing needs it any more
//! * `backward`: walks back over what was recorded
//! * `build`: what layers call, one method an operation; `fuse`: what inference computes in one pass
//! * `parameters`, `gradients`: what a network has learnt, and how its loss changes with it; `packed`: weights as kernels read them
//! * `context`: instruction set, buffers, recorder, dropout; `record`: what a recorder hears

mod backward;
mod build;
mod context;
mod fuse;
mod gradients;
pub mod ops;
mod packed;
mod parameters;
mod record;
mod tape;

pub use build::{ConvLayer, NormLayer};
pub use context::{Context, Drops, use_isa};
pub use gradients::{Gradients, not_finite};
pub use ops::{Op, Operation, Saved};
pub use parameters::{Parameter, ParameterId, ParameterKind, Parameters};
pub use record::{Recorder, TapeEvent};
pub use tape::{Mode, Node, Origin, Tape, Var};

use std::sync::Arc;

/// The name of a layer, such as `layer1.0.conv1`.
pub type Name = Arc<str>;
