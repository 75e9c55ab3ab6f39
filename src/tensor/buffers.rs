//! The buffers of a pass: every value of a forward or backward pass is taken here and returns when it is dropped, so a step that repeats
//! the one before it finds each buffer that it needs.

use super::arena::{Arena, Buffer};
use std::collections::HashMap;

/// Pools of buffers of values and of indices.
#[derive(Debug, Default)]
pub struct Buffers {
    floats: Arena,
    indices: Shelf,
    allocations: usize,
}

/// Free buffers of indices by length, which must match exactly: then the same sequence of requests is served by the same buffers
/// for ever. They are few.
type Shelf = HashMap<usize, Vec<Vec<u32>>>;

impl Buffers {
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
    pub fn take_scratch(&mut self, len: usize) -> Buffer {
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

    /// How often memory was asked of the system since these were made.
    pub fn allocations(&self) -> usize {
        self.floats.growths() + self.allocations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_step_allocates_nothing() {
        let mut buffers = Buffers::default();
        let mut step = || {
            let (a, b, indices) = (buffers.take(64), buffers.take(32), buffers.take_indices(10));
            drop(a);
            let c = buffers.take(48);
            drop((b, c));
            buffers.give_indices(indices);
            buffers.allocations()
        };
        assert_eq!(step(), 3);
        assert_eq!(step(), 3);
        assert_eq!(buffers.free_bytes(), 4 * (64 + 32 + 10));
        buffers.clear();
        assert_eq!(buffers.free_bytes(), 0);
    }
}
