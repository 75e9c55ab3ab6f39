//! One way to split work over threads. Splits depend on shapes only, never on the number of threads, and each part writes
//! its own piece of the output or its own row of partial sums; so the result is the same bits for any number of threads.

use rayon::prelude::*;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A pool of worker threads. Everything inside [`Pool::run`] uses these workers.
pub struct Pool {
    pool: rayon::ThreadPool,
    lookouts: Arc<AtomicUsize>,
}

impl Pool {
    /// A pool of `threads` workers (0: one per core). In each of them denormal results are flushed to zero.
    ///
    /// # Errors
    /// The operating system's, if the threads cannot be made.
    pub fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("osteon-{i}"));
        let pool = builder.start_handler(|_| flush_denormals()).build()?;
        Ok(Pool { pool, lookouts: Arc::default() })
    }

    /// Number of workers.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` inside the pool, also when the pool has one thread.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(|| {
            let before = LEADS.replace(Some(self.lookouts.clone()));
            let result = work();
            LEADS.set(before);
            result
        })
    }
}

thread_local! {
    /// Of the worker that runs the work of [`Pool::run`]: how many of the others look out for tasks.
    static LEADS: RefCell<Option<Arc<AtomicUsize>>> = const { RefCell::new(None) };
}

/// How long a worker that has run out of tasks looks out for more. By itself it would sleep after some 30 microseconds, less than
/// the last task of a split takes on another worker; to wake it took 50 more, a thousand times in a training step.
const PATIENCE: Duration = Duration::from_micros(500);

/// Keeps the other workers from falling asleep between two splits. Called where the leading worker splits work.
fn keep_awake() {
    LEADS.with_borrow(|lookouts| {
        let others = rayon::current_num_threads() - 1;
        let Some(lookouts) = lookouts.as_ref().filter(|_| others > 0) else { return };
        // The plain look first: it is what nearly every split does, and it writes nothing. Of two leaders one wins.
        let mine = || lookouts.compare_exchange(0, others, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if lookouts.load(Ordering::Relaxed) > 0 || !mine() {
            return;
        }
        let (lookouts, leader) = (lookouts.clone(), rayon::current_thread_index());
        rayon::spawn_broadcast(move |worker| {
            if Some(worker.index()) != leader {
                look_out();
                lookouts.fetch_sub(1, Ordering::Relaxed);
            }
        });
    });
}

/// Takes up tasks until there have been none for a while. Now and then another program may have the core.
fn look_out() {
    let (mut last, mut rounds) = (Instant::now(), 0_u32);
    while last.elapsed() < PATIENCE {
        if rayon::yield_now() == Some(rayon::Yield::Executed) {
            last = Instant::now();
        } else if rounds.is_multiple_of(16) {
            std::thread::yield_now();
        } else {
            (0..16).for_each(|_| std::hint::spin_loop());
        }
        rounds = rounds.wrapping_add(1);
    }
}

/// Makes this thread treat denormal numbers as zero: one would cost a hundred times an ordinary multiplication.
fn flush_denormals() {
    #[cfg(target_arch = "x86_64")]
    {
        const FLUSH_TO_ZERO: u32 = 1 << 15;
        const DENORMALS_ARE_ZERO: u32 = 1 << 6;
        let mut control: u32 = 0;
        // SAFETY: reads and writes only the control bits of this thread's SSE unit, which every x86-64 has; rounding mode and
        // exception masks stay as they are.
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &mut control, options(nostack));
            control |= FLUSH_TO_ZERO | DENORMALS_ARE_ZERO;
            std::arch::asm!("ldmxcsr [{}]", in(reg) &control, options(nostack, readonly));
        }
    }
}

/// Calls `work(i)` for every `i` below `count`, in any order, on any worker.
pub fn for_each(count: usize, work: impl Fn(usize) + Sync + Send) {
    keep_awake();
    (0..count).into_par_iter().with_max_len(1).for_each(work);
}

/// Splits `output` into chunks of `chunk` values (the last may be shorter) and calls `work(i, chunk i)`.
pub fn chunks_mut<T: Send>(output: &mut [T], chunk: usize, work: impl Fn(usize, &mut [T]) + Sync + Send) {
    keep_awake();
    output.par_chunks_mut(chunk).with_max_len(1).enumerate().for_each(|(i, part)| work(i, part));
}

/// As [`chunks_mut`] for two outputs that are split alike: chunk `i` of both goes to one call.
pub fn chunks_mut2<T: Send, U: Send>(
    (first, first_chunk): (&mut [T], usize),
    (second, second_chunk): (&mut [U], usize),
    work: impl Fn(usize, &mut [T], &mut [U]) + Sync + Send,
) {
    assert_eq!(first.len().div_ceil(first_chunk), second.len().div_ceil(second_chunk), "outputs split into unequal counts");
    keep_awake();
    let parts = first.par_chunks_mut(first_chunk).zip(second.par_chunks_mut(second_chunk));
    parts.with_max_len(1).enumerate().for_each(|(i, (a, b))| work(i, a, b));
}

/// As [`chunks_mut`] for several outputs, each split by its own chunk into as many parts: chunk `i` of each goes to one call.
pub fn chunks_mut_each<T: Send, const N: usize>(
    outputs: [&mut [T]; N],
    chunks: [usize; N],
    work: impl Fn(usize, [&mut [T]; N]) + Sync + Send,
) {
    let count = |i: usize| outputs[i].len().div_ceil(chunks[i]);
    let parts = if N == 0 { 0 } else { count(0) };
    assert!((1..N).all(|i| count(i) == parts), "outputs split into unequal counts");
    if parts > 0 {
        keep_awake();
        halve(outputs, chunks, 0..parts, &work);
    }
}

/// Parts `range` of all outputs, which begin with the first of them.
fn halve<T: Send, const N: usize>(
    mut outputs: [&mut [T]; N],
    chunks: [usize; N],
    range: Range<usize>,
    work: &(impl Fn(usize, [&mut [T]; N]) + Sync + Send),
) {
    if range.len() == 1 {
        return work(range.start, outputs);
    }
    let middle = range.start + range.len() / 2;
    let first = std::array::from_fn(|i| {
        let (first, second) = std::mem::take(&mut outputs[i]).split_at_mut((middle - range.start) * chunks[i]);
        outputs[i] = second;
        first
    });
    rayon::join(|| halve(first, chunks, range.start..middle, work), || halve(outputs, chunks, middle..range.end, work));
}

/// As [`chunks_mut`] for each of the equal images in `output`: `work(image, band, part)`, where no part crosses two images.
pub fn bands_mut<T: Send>(output: &mut [T], image: usize, band: usize, work: impl Fn(usize, usize, &mut [T]) + Sync + Send) {
    keep_awake();
    output.par_chunks_mut(image).with_max_len(1).enumerate().for_each(|(n, image)| {
        image.par_chunks_mut(band).with_max_len(1).enumerate().for_each(|(i, part)| work(n, i, part));
    });
}

/// Number of workers that may run parts at once: as many scratch areas are needed.
pub fn workers() -> usize {
    rayon::current_num_threads()
}

/// One scratch area for each worker, cut from one slice.
pub(crate) struct WorkerScratch<'a> {
    start: *mut f32,
    length: usize,
    areas: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: `with` hands each worker only its own area.
unsafe impl Sync for WorkerScratch<'_> {}

impl<'a> WorkerScratch<'a> {
    /// Areas of `length` values, as many as fit into `scratch`; asserts that every worker has one.
    pub fn new(scratch: &'a mut [f32], length: usize) -> Self {
        assert!(scratch.len() >= workers() * length, "scratch was measured in another thread pool");
        let areas = scratch.len().checked_div(length).unwrap_or(usize::MAX);
        WorkerScratch { start: scratch.as_mut_ptr(), length, areas, slice: PhantomData }
    }

    /// Calls `work` with this worker's area. `work` must not wait for other tasks: while it waited, the worker could take up
    /// a task that uses the same area.
    pub fn with<T>(&self, work: impl FnOnce(&mut [f32]) -> T) -> T {
        // A single part runs on the calling thread, which need not be a worker: then no worker runs.
        let worker = rayon::current_thread_index().unwrap_or(0);
        assert!(worker < self.areas);
        // SAFETY: the area lies inside the slice that `new` borrowed; a worker runs one task at a time, and no task of this
        // crate waits for others, so no second reference to this area exists.
        work(unsafe { std::slice::from_raw_parts_mut(self.start.add(worker * self.length), self.length) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Once to every part of four splits, one of them inside another.
    fn visits() -> Vec<u32> {
        let (mut a, mut b, mut c) = (vec![0; 1000], vec![0; 100], vec![0; 1000]);
        chunks_mut(&mut a, 7, |_, part| part.iter_mut().for_each(|x| *x += 1));
        chunks_mut2((&mut a, 10), (&mut b, 1), |i, part, one| {
            one[0] += i as u32;
            chunks_mut(part, 3, |_, part| part.iter_mut().for_each(|x| *x += 1));
        });
        chunks_mut_each([&mut a, &mut b], [100, 10], |i, parts| parts.into_iter().flatten().for_each(|x| *x += i as u32));
        bands_mut(&mut c, 100, 30, |n, i, part| part.iter_mut().for_each(|x| *x += (10 * n + i) as u32));
        [a, b, c].concat()
    }

    #[test]
    fn every_part_is_visited_once_whatever_the_workers_did_before() {
        let expected = Pool::new(1).unwrap().run(visits);
        assert_eq!(expected[999..1002], [2 + 9, 0, 1]);
        for threads in [2, 3, 5] {
            let (pool, other) = (Pool::new(threads).unwrap(), Pool::new(2).unwrap());
            for pause in [0, 0, 2 * PATIENCE.as_micros() as u64, PATIENCE.as_micros() as u64] {
                pool.run(|| {
                    assert_eq!(visits(), expected);
                    std::thread::sleep(Duration::from_micros(pause));
                    assert_eq!(other.run(visits), expected, "in another pool");
                    assert_eq!(visits(), expected, "after {pause} us");
                });
            }
        }
    }
}
