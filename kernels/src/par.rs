//! One way to split work over threads. Splits depend on shapes only, never on the number of threads, and each part writes
//! its own piece of the output or its own row of partial sums; so the result is the same bits for any number of threads.

use rayon::prelude::*;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A pool of worker threads. Everything inside [`Pool::run`] uses these workers.
///
/// What a caller owes it, and what it does to the caller:
///
/// * Kernels, and what asks for the length of their scratch, are called inside [`run`](Pool::run). Outside they would use rayon's
///   own pool, in which denormal numbers are kept: other bits, and slow.
/// * The workers flush denormal numbers to zero (x86-64: of f32 and f64 alike), so all that runs inside `run` sees none, the caller's
///   closure included. The thread that calls `run` waits for a worker and never computes: its own floating-point settings are neither
///   read nor changed.
/// * The workers belong to the pool: they start with it and end when it is dropped. Other pools and rayon's own are left alone.
/// * Several threads may call `run` at once; the bits of none depend on the others.
pub struct Pool {
    pool: rayon::ThreadPool,
    spinning: Arc<Spinning>,
    /// Whether workers wait for tasks without falling asleep: where there are more of them than cores, each would keep a core from
    /// another that has work.
    spins: bool,
}

impl Pool {
    /// A pool of `threads` workers (0: one per core). In each of them denormal results are flushed to zero.
    ///
    /// # Errors
    /// The operating system's, if the threads cannot be made.
    pub fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("osteon-{i}"));
        let pool = builder.start_handler(|_| flush_denormals()).build()?;
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let spins = pool.current_num_threads() <= cores;
        Ok(Pool { pool, spinning: Arc::default(), spins })
    }

    /// Number of workers.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` on a worker of the pool, also when the pool has one thread, and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(|| {
            let before = LEADER_OF.replace(self.spins.then(|| self.spinning.clone()));
            let result = work();
            LEADER_OF.set(before);
            result
        })
    }
}

/// How many workers of a pool wait for tasks without falling asleep.
#[derive(Default)]
struct Spinning(AtomicUsize);

impl Spinning {
    /// Makes it `workers`, if it was 0: of several threads that try at once, one succeeds.
    fn start(&self, workers: usize) -> bool {
        // The plain look first: it is what nearly every split does, and it writes nothing.
        let mine = || self.0.compare_exchange(0, workers, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        self.0.load(Ordering::Relaxed) == 0 && mine()
    }

    /// One of them is done.
    fn end_one(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

thread_local! {
    /// Of a worker that runs the work of [`Pool::run`]: its pool's.
    static LEADER_OF: RefCell<Option<Arc<Spinning>>> = const { RefCell::new(None) };
}

/// How long a worker that has run out of tasks spins before it may sleep: longer than the last task of a split takes on another worker.
const SPIN_TIME: Duration = Duration::from_micros(500);

/// Keeps the other workers from falling asleep between two splits. Called where the leading worker splits work.
fn keep_awake() {
    LEADER_OF.with_borrow(|spinning| {
        let (Some(spinning), Some(leader)) = (spinning, rayon::current_thread_index()) else { return };
        let others = rayon::current_num_threads() - 1;
        if others == 0 || !spinning.start(others) {
            return;
        }
        // Each of the others runs this once and takes itself off the count, which nobody starts anew before it is 0: so there are as
        // many subtractions as were added, and the count never passes 0.
        let spinning = spinning.clone();
        rayon::spawn_broadcast(move |worker| {
            if worker.index() != leader {
                spin();
                spinning.end_one();
            }
        });
    });
}

/// Takes up tasks until there have been none for a while. Now and then another program may have the core.
fn spin() {
    let (mut last, mut rounds) = (Instant::now(), 0_u32);
    while last.elapsed() < SPIN_TIME {
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

/// Makes this thread, a worker that has just been started, treat denormal numbers as zero until it ends: one would cost a hundred times an
/// ordinary multiplication.
fn flush_denormals() {
    #[cfg(target_arch = "x86_64")]
    {
        const FLUSH_TO_ZERO: u32 = 1 << 15;
        const DENORMALS_ARE_ZERO: u32 = 1 << 6;
        let mut control: u32 = 0;
        // SAFETY: MXCSR is a register of this thread alone, which every x86-64 has, and `Pool::new` alone calls this, on threads that
        // it owns: no other code's thread is left with these flags, so nothing is to be restored. Rounding mode and exception masks
        // stay as they are. Rust and LLVM assume the flags unset, which they use for nothing but to compute constants and to choose
        // among instructions with equal results: at worst a denormal result is kept where the processor would give 0. What is done
        // with either is arithmetic: no index, length or address comes from a float that may be denormal. Lanes that carry indices
        // by their bits are denormal numbers, but they are only loaded, stored, selected and compared as integers, which the
        // flags leave alone.
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &mut control, options(nostack, preserves_flags));
            control |= FLUSH_TO_ZERO | DENORMALS_ARE_ZERO;
            std::arch::asm!("ldmxcsr [{}]", in(reg) &control, options(nostack, preserves_flags, readonly));
        }
    }
}

thread_local! {
    /// Of a thread in [`abandonable`]: what tells its splits to stop.
    static STOP: Cell<Option<&'static AtomicBool>> = const { Cell::new(None) };
}

/// Runs `work`. Once `stop` is set, the splits that this thread makes in it leave out every part that has not begun, so that it soon
/// returns; what it has computed is then worth nothing. So `stop` must stay set, and the caller must look at it before it uses a
/// value that `work` gave or wrote.
pub fn abandonable<T>(stop: &'static AtomicBool, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<&'static AtomicBool>);
    impl Drop for Restore {
        fn drop(&mut self) {
            STOP.set(self.0);
        }
    }
    let _restore = Restore(STOP.replace(Some(stop)));
    work()
}

/// Asked by each part of a split that this thread makes: whether it is to be done.
fn goes_on() -> impl Fn() -> bool + Sync + Send {
    let stop = STOP.get();
    move || !stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
}

/// Calls `work(i)` for every `i` below `count`, in any order, on any worker.
pub fn for_each(count: usize, work: impl Fn(usize) + Sync + Send) {
    keep_awake();
    let goes_on = goes_on();
    (0..count).into_par_iter().with_max_len(1).filter(|_| goes_on()).for_each(work);
}

/// Splits `output` into chunks of `chunk` values (the last may be shorter) and calls `work(i, chunk i)`.
pub fn chunks_mut<T: Send>(output: &mut [T], chunk: usize, work: impl Fn(usize, &mut [T]) + Sync + Send) {
    keep_awake();
    let goes_on = goes_on();
    output.par_chunks_mut(chunk).with_max_len(1).enumerate().filter(|_| goes_on()).for_each(|(i, part)| work(i, part));
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
    let goes_on = goes_on();
    parts.with_max_len(1).enumerate().filter(|_| goes_on()).for_each(|(i, (a, b))| work(i, a, b));
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
        let goes_on = goes_on();
        let work = |i: usize, parts: [&mut [T]; N]| {
            if goes_on() {
                work(i, parts);
            }
        };
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
    let goes_on = goes_on();
    output.par_chunks_mut(image).with_max_len(1).enumerate().for_each(|(n, image)| {
        let bands = image.par_chunks_mut(band).with_max_len(1).enumerate();
        bands.filter(|_| goes_on()).for_each(|(i, part)| work(n, i, part));
    });
}

/// Number of workers that may run parts at once: as many scratch areas are needed.
pub fn workers() -> usize {
    rayon::current_num_threads()
}

/// Workers for whose areas [`WorkerScratch`] can keep account.
const MOST_WORKERS: usize = 1024;

/// One scratch area for each worker, cut from one slice.
pub(crate) struct WorkerScratch<'a> {
    start: *mut f32,
    length: usize,
    areas: usize,
    in_use: [AtomicU64; MOST_WORKERS / 64], // a bit for each area
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: `with` gives an area to one caller at a time, whose bit it holds.
unsafe impl Sync for WorkerScratch<'_> {}

impl<'a> WorkerScratch<'a> {
    /// Areas of `length` values, as many as fit into `scratch`; asserts that every worker has one.
    pub fn new(scratch: &'a mut [f32], length: usize) -> Self {
        assert!(workers() <= MOST_WORKERS, "{} workers: at most {MOST_WORKERS} have scratch", workers());
        assert!(scratch.len() >= workers() * length, "scratch was measured in another thread pool");
        let areas = scratch.len().checked_div(length).map_or(MOST_WORKERS, |areas| areas.min(MOST_WORKERS));
        WorkerScratch { start: scratch.as_mut_ptr(), length, areas, in_use: Default::default(), slice: PhantomData }
    }

    /// Calls `work` with this worker's area. Panics where the area is in use: `work` must not split work or wait for other tasks, for
    /// while it waited, the worker could take up a task that needs the same area.
    pub fn with<T>(&self, work: impl FnOnce(&mut [f32]) -> T) -> T {
        // A single part runs on the calling thread, which need not be a worker.
        let worker = rayon::current_thread_index().unwrap_or(0);
        assert!(worker < self.areas, "worker {worker} has no scratch: there are {} areas", self.areas);
        let (word, bit) = (&self.in_use[worker / 64], 1 << (worker % 64));
        let before = word.fetch_or(bit, Ordering::Acquire);
        assert!(before & bit == 0, "scratch of worker {worker} is in use: what uses it may not split work or wait for tasks");
        let _in_use = InUse { word, bit };
        // SAFETY: the area lies inside the slice that `new` borrowed, and its bit was not set: no second reference to it exists until
        // `InUse` is dropped, after `work`.
        work(unsafe { std::slice::from_raw_parts_mut(self.start.add(worker * self.length), self.length) })
    }
}

/// Holds the bit of an area, also while a panic unwinds.
struct InUse<'a> {
    word: &'a AtomicU64,
    bit: u64,
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.word.fetch_and(!self.bit, Ordering::Release);
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
        let spinning = |threads| Pool { spins: true, ..Pool::new(threads).unwrap() };
        assert_eq!(expected[999..1002], [2 + 9, 0, 1]);
        for threads in [2, 3, 5] {
            let (pool, other) = (spinning(threads), spinning(2));
            for pause in [0, 0, 2 * SPIN_TIME.as_micros() as u64, SPIN_TIME.as_micros() as u64] {
                pool.run(|| {
                    assert_eq!(visits(), expected);
                    std::thread::sleep(Duration::from_micros(pause));
                    assert_eq!(other.run(visits), expected, "in another pool");
                    assert_eq!(visits(), expected, "after {pause} us");
                });
            }
        }
    }

    /// Parts that have begun are done, the others are left out, in every kind of split; and none outside of `abandonable`.
    #[test]
    fn a_split_that_is_told_to_stop_leaves_out_what_has_not_begun() {
        static STOP_NOW: AtomicBool = AtomicBool::new(false);
        let pool = Pool::new(2).unwrap();
        let whole = pool.run(visits);
        assert_eq!(pool.run(|| abandonable(&STOP_NOW, visits)), whole, "nobody said stop");
        let begun = AtomicUsize::new(0);
        pool.run(|| {
            abandonable(&STOP_NOW, || {
                for_each(1000, |_| {
                    begun.fetch_add(1, Ordering::SeqCst);
                    STOP_NOW.store(true, Ordering::SeqCst);
                });
            });
        });
        assert!((1..=2).contains(&begun.into_inner()), "one a worker");
        assert!(pool.run(|| abandonable(&STOP_NOW, visits)).iter().all(|&visits| visits == 0));
        assert_eq!(pool.run(visits), whole);
    }

    /// Of two leaders that see the count at 0 at the same time, one makes it what it subtracts later.
    #[test]
    fn of_two_leaders_one_starts_the_spinning() {
        let (spinning, arrived, started) = (Spinning::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let begin = Instant::now();
        let lead = |first: bool| {
            for round in 1.. {
                let end = begin.elapsed() > Duration::from_millis(500);
                if first {
                    spinning.0.store(0, Ordering::SeqCst);
                    started.store(0, Ordering::SeqCst);
                }
                let meet = |meeting: usize| {
                    arrived.fetch_add(1, Ordering::SeqCst);
                    while arrived.load(Ordering::SeqCst) < 2 * meeting {
                        std::hint::spin_loop();
                    }
                };
                meet(3 * round - 2);
                started.fetch_add(usize::from(spinning.start(2)), Ordering::SeqCst);
                meet(3 * round - 1);
                assert_eq!(started.load(Ordering::SeqCst), 1, "round {round}");
                if end {
                    arrived.fetch_add(1 << 40, Ordering::SeqCst);
                }
                meet(3 * round);
                if arrived.load(Ordering::SeqCst) >= 1 << 40 {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| lead(true));
            scope.spawn(|| lead(false));
        });
    }

    /// Two leaders of one pool that split at the same time, again and again: the count of spinning workers comes back to 0.
    #[test]
    fn as_many_workers_end_spinning_as_have_started() {
        let (pool, arrived) = (Pool { spins: true, ..Pool::new(3).unwrap() }, AtomicUsize::new(0));
        let count = || pool.spinning.0.load(Ordering::Relaxed);
        // Not a barrier: where the count is wrong, the other thread must not wait for ever.
        let wait = |what: &dyn Fn() -> bool| {
            let start = Instant::now();
            while !what() {
                assert!(start.elapsed() < Duration::from_secs(5), "{} of 2 other workers spin", count());
                std::thread::yield_now();
            }
        };
        let meet = |meeting: usize| {
            arrived.fetch_add(1, Ordering::SeqCst);
            wait(&|| arrived.load(Ordering::SeqCst) >= 2 * meeting);
        };
        let lead = || {
            for round in 0..100 {
                wait(&|| count() == 0);
                meet(2 * round + 1);
                pool.run(|| {
                    meet(2 * round + 2);
                    for_each(2, |_| ());
                });
            }
            wait(&|| count() == 0);
        };
        std::thread::scope(|scope| {
            scope.spawn(lead);
            scope.spawn(lead);
        });
    }

    /// With more workers than any machine of today has cores.
    #[test]
    fn workers_beyond_the_cores_do_not_spin() {
        let pool = Pool::new(1000).unwrap();
        let splits = || {
            pool.run(|| {
                for_each(4, |_| ());
                pool.spinning.0.load(Ordering::Relaxed)
            })
        };
        assert!((0..20).all(|_| splits() == 0));
        let cores = std::thread::available_parallelism().unwrap().get();
        assert!(Pool::new(cores).unwrap().spins && !Pool::new(cores + 1).unwrap().spins);
    }

    /// A second reference to an area that is in use is refused, and the area can be used again afterwards.
    #[test]
    fn an_area_that_is_in_use_is_not_given_out_again() {
        let pool = Pool::new(1).unwrap();
        pool.run(|| {
            let mut scratch = [0.0; 4];
            let areas = WorkerScratch::new(&mut scratch, 4);
            let nested = || {
                areas.with(|outer| {
                    outer[0] = 1.0;
                    for_each(1, |_| areas.with(|inner| inner[0] = 2.0));
                    outer[0]
                })
            };
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(nested)).unwrap_err();
            let message = panic.downcast_ref::<String>().unwrap();
            assert!(message.starts_with("scratch of worker 0 is in use"), "{message}");
            assert_eq!(areas.with(|area| area[0]), 1.0);
        });
    }

    /// Workers flush denormal numbers; the thread that calls them keeps its own.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn denormal_numbers_are_flushed_in_the_pool_and_nowhere_else() {
        let half = || std::hint::black_box(f32::MIN_POSITIVE) * std::hint::black_box(0.5);
        let pool = Pool::new(2).unwrap();
        for _ in 0..2 {
            assert_eq!(pool.run(half), 0.0);
            assert_eq!(pool.run(|| rayon::join(half, half)), (0.0, 0.0));
            assert!(half() > 0.0);
            assert!(rayon::broadcast(|_| half() > 0.0).into_iter().all(|kept| kept), "rayon's own pool");
        }
    }
}
