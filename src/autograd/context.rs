//! Where arithmetic happens: an instruction set, and the buffers that one step leaves to the next.

use super::Recorder;
use crate::tensor::{Arena, Buffer};
use osteon_kernels::simd::Isa;
use std::collections::HashMap;
use std::sync::OnceLock;

/// An instruction set and a pool of buffers. Every buffer of a forward or backward pass is taken here and returns when it is
/// dropped, so a step that repeats the one before it finds each buffer it needs.
#[derive(Debug)]
pub struct Context {
    /// The instruction set that every kernel is called with.
    pub isa: Isa,
    /// Hears of each operation that runs here; usually there is none.
    pub recorder: Option<Box<dyn Recorder>>,
    /// What dropouts draw in training; without it they drop nothing.
    pub dropout: Option<Drops>,
    floats: Arena,
    indices: Shelf,
    allocations: usize,
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

/// Free buffers of indices by length, which must match exactly: then the same sequence of requests is served by the same buffers
/// for ever. They are few.
type Shelf = HashMap<usize, Vec<Vec<u32>>>;

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
        Context { isa, recorder: None, dropout: None, floats: Arena::default(), indices: Shelf::new(), allocations: 0 }
    }

    /// A buffer of `len` values, to be overwritten: what they are is not said.
    pub fn take(&mut self, len: usize) -> Buffer {
        let mut buffer = self.take_scratch(len);
        // In debug builds NaN, so that a value that nobody wrote is seen.
        if cfg!(debug_assertions) {
            buffer.fill(f32::NAN);
        }
        buffer
    }

    /// As [`take`](Self::take), without NaN: for kernels that do not write all of their scratch.
    pub(crate) fn take_scratch(&mut self, len: usize) -> Buffer {
        self.floats.take(len)
    }

    /// A buffer of `len` indices, to be overwritten.
    pub fn take_indices(&mut self, len: usize) -> Vec<u32> {
        if len == 0 {
            return Vec::new();
        }
        let mut buffer = self.indices.get_mut(&len).and_then(Vec::pop).unwrap_or_else(|| {
            self.allocations += 1;
            vec![0; len]
        });
        if cfg!(debug_assertions) {
            buffer.fill(u32::MAX);
        }
        buffer
    }

    /// Gives a buffer of indices back.
    pub fn give_indices(&mut self, buffer: Vec<u32>) {
        if !buffer.is_empty() {
            self.indices.entry(buffer.len()).or_default().push(buffer);
        }
    }

    /// Frees every buffer that is not in use.
    pub fn clear(&mut self) {
        self.floats.clear();
        self.indices.clear();
    }

    /// Bytes of the buffers that are not in use.
    pub fn free_bytes(&self) -> usize {
        let indices: usize = self.indices.iter().map(|(len, buffers)| len * buffers.len() * size_of::<u32>()).sum();
        self.floats.free_bytes() + indices
    }

    /// How often memory was asked of the system since this context was made.
    pub fn allocations(&self) -> usize {
        self.floats.growths() + self.allocations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_step_allocates_nothing() {
        let mut context = Context::default();
        let mut step = || {
            let (a, b, indices) = (context.take(64), context.take(32), context.take_indices(10));
            drop(a);
            let c = context.take(48);
            drop((b, c));
            context.give_indices(indices);
            context.allocations()
        };
        assert_eq!(step(), 3);
        assert_eq!(step(), 3);
        assert_eq!(context.free_bytes(), 4 * (64 + 32 + 10));
        context.clear();
        assert_eq!(context.free_bytes(), 0);
    }
}
