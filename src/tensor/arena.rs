//! The memory behind a step's buffers: slabs, of which buffers are cut where they fit and to which they return when dropped.
//!
//! A shelf of buffers by length would keep, for each length, the most that were ever in use at once. Here the large early feature
//! maps of a network stand where its small late ones stood before, so a step needs little more than what lives at one time.
//! Places depend on nothing but the order of requests: a step that repeats the one before it touches no new memory.

use crate::memory::where_it_may_fail;
use std::alloc::{self, Layout};
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Values of a slab: 256 MiB of addresses. The system gives memory only for those that are touched.
const SLAB: usize = 64 << 20;

/// Buffers begin at multiples of a cache line.
const LINE: usize = 16;

/// Slabs that grow in number as buffers are asked for.
#[derive(Debug, Default)]
pub(super) struct Arena {
    slabs: Vec<Arc<Slab>>,
    growths: usize,
}

impl Arena {
    /// A buffer of `len` values, each whatever was there before, at first 0.
    pub fn take(&mut self, len: usize) -> Buffer {
        if len == 0 {
            return Buffer::default();
        }
        let room = len.next_multiple_of(LINE);
        // First where memory was touched before, then where it was not.
        let touched = self.slabs.iter().find_map(|slab| slab.cut(room, false).map(|place| (slab, place)));
        let found = touched.or_else(|| self.slabs.iter().find_map(|slab| slab.cut(room, true).map(|place| (slab, place))));
        let (slab, (place, grew)) = found.map(|(slab, place)| (slab.clone(), place)).unwrap_or_else(|| {
            let slab = Arc::new(Slab::new(room));
            let place = slab.cut(room, true).expect("a new slab has the room it was made for");
            self.slabs.push(slab.clone());
            (slab, place)
        });
        self.growths += usize::from(grew);
        Buffer { slab: Some(slab), place, len }
    }

    /// How often memory was asked of the system: how often new memory was touched.
    pub fn growths(&self) -> usize {
        self.growths
    }

    /// Bytes that were touched and are free.
    pub fn free_bytes(&self) -> usize {
        let free = self.slabs.iter().map(|slab| {
            let state = slab.state();
            state.touched - state.used
        });
        free.sum::<usize>() * size_of::<f32>()
    }

    /// Gives everything back to the system as soon as no buffer stands in it.
    pub fn clear(&mut self) {
        self.slabs.clear();
    }
}

/// One piece of the system's memory.
struct Slab {
    memory: NonNull<f32>,
    layout: Layout,
    first: usize, // value that begins a cache line
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    holes: Vec<Range<usize>>, // free, in order, none beside another
    touched: usize,           // values from the start on that buffers have had
    used: usize,              // values in buffers
}

// SAFETY: the memory is reached only by buffers, each of which alone has its place; the rest is behind a lock.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Slab {
    /// A slab with room for `room` values at least; only for these where the system refuses a whole one.
    fn new(room: usize) -> Self {
        let layout = |len: usize| Layout::array::<f32>(len + LINE).expect("a buffer's length fits the address space");
        // Zeroed with an alignment of four bytes, the pages are the system's own zeros, taken when they are touched.
        // SAFETY: the layout is not empty.
        let allocate = |len: usize| {
            NonNull::new(unsafe { alloc::alloc_zeroed(layout(len)) }.cast::<f32>()).map(|memory| (len, layout(len), memory))
        };
        let whole = where_it_may_fail(|| allocate(room.max(SLAB)));
        let (len, layout, memory) = whole.or_else(|| allocate(room)).unwrap_or_else(|| alloc::handle_alloc_error(layout(room)));
        let first = memory.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let state = State { holes: std::iter::once(0..len).collect(), touched: 0, used: 0 };
        Slab { memory, layout, first, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first place with that room, and whether it reaches where nothing was touched, which `fresh` allows.
    fn cut(&self, room: usize, fresh: bool) -> Option<(Range<usize>, bool)> {
        let mut state = self.state();
        let touched = state.touched;
        let end = |hole: &Range<usize>| if fresh { hole.end } else { hole.end.min(touched) };
        let index = state.holes.iter().position(|hole| hole.start + room <= end(hole))?;
        let start = state.holes[index].start;
        state.holes[index].start += room;
        if state.holes[index].is_empty() {
            state.holes.remove(index);
        }
        state.used += room;
        state.touched = touched.max(start + room);
        Some((start..start + room, state.touched > touched))
    }

    fn give_back(&self, place: Range<usize>) {
        let mut state = self.state();
        state.used -= place.len();
        let index = state.holes.partition_point(|hole| hole.end < place.start);
        let mut hole = place;
        // At most two neighbours touch it.
        while let Some(next) = state.holes.get(index).filter(|next| next.start <= hole.end) {
            hole = hole.start.min(next.start)..hole.end.max(next.end);
            state.holes.remove(index);
        }
        state.holes.insert(index, hole);
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and no buffer is left, since each holds the slab.
        unsafe { alloc::dealloc(self.memory.as_ptr().cast(), self.layout) }
    }
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab").field("bytes", &self.layout.size()).field("state", &*self.state()).finish()
    }
}

/// Values of a [`Buffers`](super::Buffers). When it is dropped, its place is free for the next.
#[derive(Default)]
pub struct Buffer {
    slab: Option<Arc<Slab>>,
    place: Range<usize>,
    len: usize,
}

impl Buffer {
    fn start(&self) -> *mut f32 {
        match &self.slab {
            // SAFETY: `place` ends within the slab's length, before which `first` values were allocated in addition.
            Some(slab) => unsafe { slab.memory.as_ptr().add(slab.first + self.place.start) },
            None => NonNull::dangling().as_ptr(),
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `len` values from the start on belong to this buffer alone, and were zeroed when the slab was made.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(slab) = self.slab.take() {
            slab.give_back(self.place.clone());
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} values)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn buffers_never_overlap_and_leave_no_trace(requests in prop::collection::vec((0usize..5000, 0usize..8), 1..200)) {
            let mut arena = Arena::default();
            let mut held: Vec<(f32, Buffer)> = Vec::new();
            for (i, &(len, drops)) in requests.iter().enumerate() {
                let mut buffer = arena.take(len);
                prop_assert_eq!(buffer.len(), len);
                prop_assert!(len == 0 || buffer.as_ptr().addr().is_multiple_of(64));
                buffer.fill(i as f32);
                held.push((i as f32, buffer));
                for (mark, buffer) in &held {
                    prop_assert!(buffer.iter().all(|value| value == mark));
                }
                for _ in 0..drops.min(held.len()) / 2 {
                    held.swap_remove(len % held.len());
                }
            }
            held.clear();
            for slab in &arena.slabs {
                let state = slab.state();
                prop_assert!(state.used == 0 && state.holes.len() == 1 && state.holes[0].len() >= SLAB);
            }
        }
    }

    #[test]
    fn the_same_requests_again_touch_nothing_new() {
        let mut arena = Arena::default();
        let mut step = || {
            let (a, b) = (arena.take(1000), arena.take(5000));
            drop(a);
            let c = arena.take(3000);
            drop(b);
            let d = arena.take(700);
            drop((c, d));
            (arena.growths(), arena.free_bytes())
        };
        let first = step();
        assert_eq!(step(), first);
        arena.clear();
        assert_eq!(arena.free_bytes(), 0);
    }

    #[test]
    fn large_ones_stand_where_small_ones_stood() {
        let mut arena = Arena::default();
        let small: Vec<Buffer> = (0..8).map(|_| arena.take(1024)).collect();
        drop(small);
        let large = arena.take(8 * 1024);
        assert_eq!(arena.free_bytes(), 0, "{large:?}");
        let more = arena.take(SLAB + 1);
        assert_eq!((arena.slabs.len(), more.len()), (2, SLAB + 1));
    }
}
