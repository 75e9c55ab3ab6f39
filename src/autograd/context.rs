//! Where arithmetic happens: an instruction set, and the buffers that one step leaves to the next.

use super::Recorder;
use crate::tensor::Buffers;
use osteon_kernels::simd::Isa;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

/// An instruction set, and the [`Buffers`] of its passes, to which it dereferences.
#[derive(Debug)]
pub struct Context {
    /// The instruction set that every kernel is called with.
    pub isa: Isa,
    /// Hears of each operation that runs here; usually there is none.
    pub recorder: Option<Box<dyn Recorder>>,
    /// What dropouts draw in training; without it they drop nothing.
    pub dropout: Option<Drops>,
    /// Of its passes.
    pub buffers: Buffers,
}

/// What a training step's dropouts draw, beside their place in the network and the index of a value: so a step that is taken again, or
/// on other threads, drops the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drops {
    /// Of the run.
    pub seed: u64,
    /// Steps taken before.
    pub step: u64,
}

static ISA: OnceLock<Isa> = OnceLock::new();

/// Chooses the instruction set of every [`Context`] that is made by default, for the whole program; the first call decides.
/// Without it, that is the fastest of this machine.
pub fn use_isa(isa: Isa) {
    ISA.get_or_init(|| isa);
}

impl Default for Context {
    fn default() -> Self {
        Context::new(*ISA.get_or_init(Isa::detect))
    }
}

impl Context {
    /// An empty pool and this instruction set.
    pub fn new(isa: Isa) -> Self {
        Context { isa, recorder: None, dropout: None, buffers: Buffers::default() }
    }
}

impl Deref for Context {
    type Target = Buffers;
    fn deref(&self) -> &Buffers {
        &self.buffers
    }
}

impl DerefMut for Context {
    fn deref_mut(&mut self) -> &mut Buffers {
        &mut self.buffers
    }
}
