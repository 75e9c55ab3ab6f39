//! Where arithmetic happens: an instruction set, and the buffers that one step hands to the next.

use osteon_kernels::simd::Isa;
use std::collections::HashMap;
use std::sync::OnceLock;

/// An instruction set and a pool of buffers. Every buffer of a forward or backward pass is taken here and given back, so a
/// step that repeats the one before it finds each buffer it needs.
#[derive(Debug)]
pub struct Context {
    /// The instruction set that every kernel is called with.
    pub isa: Isa,
    floats: Shelf<f32>,
    indices: Shelf<u32>,
    scratch: Vec<f32>,
    allocations: usize,
}

/// Free buffers by length. Lengths must match exactly: then the same sequence of requests is served by the same buffers
/// for ever, where a looser fit could lend a large buffer to a small request and find it missing later.
type Shelf<T> = HashMap<usize, Vec<Vec<T>>>;

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
        Context { isa, floats: Shelf::new(), indices: Shelf::new(), scratch: Vec::new(), allocations: 0 }
    }

    /// A buffer of `len` values, to be overwritten: what they are is not said.
    pub fn take(&mut self, len: usize) -> Vec<f32> {
        // In debug builds NaN, so that a value that nobody wrote is seen.
        take(&mut self.floats, len, &mut self.allocations, f32::NAN)
    }

    /// Gives a buffer back.
    pub fn give(&mut self, buffer: Vec<f32>) {
        give(&mut self.floats, buffer);
    }

    /// A buffer of `len` indices, to be overwritten.
    pub fn take_indices(&mut self, len: usize) -> Vec<u32> {
        take(&mut self.indices, len, &mut self.allocations, u32::MAX)
    }

    /// Gives a buffer of indices back.
    pub fn give_indices(&mut self, buffer: Vec<u32>) {
        give(&mut self.indices, buffer);
    }

    /// The one scratch buffer, of at least `len` values, for the duration of a kernel.
    pub(crate) fn take_scratch(&mut self, len: usize) -> Vec<f32> {
        if self.scratch.len() < len {
            self.allocations += 1;
            self.scratch = vec![0.0; len];
        }
        std::mem::take(&mut self.scratch)
    }

    /// Gives the scratch buffer back.
    pub(crate) fn give_scratch(&mut self, scratch: Vec<f32>) {
        self.scratch = scratch;
    }

    /// Frees every buffer that is not in use.
    pub fn clear(&mut self) {
        self.floats.clear();
        self.indices.clear();
        self.scratch = Vec::new();
    }

    /// Bytes of the buffers that are not in use.
    pub fn free_bytes(&self) -> usize {
        fn bytes<T>(shelf: &Shelf<T>) -> usize {
            shelf.iter().map(|(len, buffers)| len * buffers.len() * size_of::<T>()).sum()
        }
        bytes(&self.floats) + bytes(&self.indices) + self.scratch.len() * size_of::<f32>()
    }

    /// How often memory was asked of the system since this context was made.
    pub fn allocations(&self) -> usize {
        self.allocations
    }
}

fn take<T: Copy + Default>(shelf: &mut Shelf<T>, len: usize, allocations: &mut usize, poison: T) -> Vec<T> {
    if len == 0 {
        return Vec::new();
    }
    let mut buffer = shelf.get_mut(&len).and_then(Vec::pop).unwrap_or_else(|| {
        *allocations += 1;
        vec![T::default(); len]
    });
    if cfg!(debug_assertions) {
        buffer.fill(poison);
    }
    buffer
}

fn give<T>(shelf: &mut Shelf<T>, buffer: Vec<T>) {
    if !buffer.is_empty() {
        shelf.entry(buffer.len()).or_default().push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_step_allocates_nothing() {
        let mut context = Context::default();
        let mut step = || {
            let (a, b, c) = (context.take(10), context.take(20), context.take(10));
            context.give(a);
            let d = context.take(10);
            for buffer in [b, c, d] {
                context.give(buffer);
            }
            context.allocations()
        };
        assert_eq!(step(), 3);
        assert_eq!(step(), 3);
        assert_eq!(context.free_bytes(), 4 * (10 + 10 + 20));
        context.clear();
        assert_eq!(context.free_bytes(), 0);
    }
}
