//! Prepares studies ahead of the training step, on its own threads and in bounded memory (a prefetching data loader), in an order
//! set by the seed alone.
//!
//! A study's input (decoded, fused, resized) is made once and kept while the cache has room; its augmentation is sampled anew in
//! each epoch. Which thread prepares what, how many there are, and what the cache holds changes no bit of any batch.

use super::{Augmentation, Input, Measures, Variation};
use crate::image::Image;
use crate::random::{Purpose, shuffle, stream};
use crate::{Error, Result, interrupt};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where inputs come from. Called from several threads at once; the same study must always give the same.
pub trait Source: Send + Sync {
    /// The network's input for a study, without augmentation: `rows` x `columns` as [`LoaderOptions::input_size`].
    ///
    /// # Errors
    /// Whatever is wrong with its files; the loader returns it instead of the study's batch.
    fn input(&self, study: usize) -> Result<Input>;

    /// The study's class.
    fn label(&self, study: usize) -> u32;
}

/// How a loader works.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// The network's input, rows and columns.
    pub input_size: [usize; 2],
    /// The most studies in a batch.
    pub batch: usize,
    /// What the order and the augmentation depend on, beside the epoch.
    pub seed: u64,
    /// Whether each epoch has its own order, as in training; else studies come as they were given.
    pub shuffled: bool,
    /// How much pictures vary; [`Augmentation::NONE`] outside training.
    pub augmentation: Augmentation,
    /// Threads that prepare studies, at least 1.
    pub threads: usize,
    /// Batches prefetched ahead of the one in use, at least 1.
    pub ahead: usize,
    /// Bytes of inputs kept for the next epochs; what does not fit is prepared again.
    pub cache_bytes: usize,
}

impl LoaderOptions {
    /// For training: shuffled, the paper's augmentation, two batches ahead, half a gigabyte of cache.
    pub fn training(input_size: [usize; 2], batch: usize, seed: u64) -> Self {
        let augmentation = Augmentation::default();
        LoaderOptions { input_size, batch, seed, shuffled: true, augmentation, threads: 2, ahead: 2, cache_bytes: 512 << 20 }
    }

    /// For evaluation: each study once, in the order given, as it is.
    pub fn evaluation(input_size: [usize; 2], batch: usize) -> Self {
        let training = LoaderOptions::training(input_size, batch, 0);
        LoaderOptions { shuffled: false, augmentation: Augmentation::NONE, cache_bytes: 0, ..training }
    }
}

/// Some studies, ready for the network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// (studies, rows, columns).
    pub images: Vec<f32>,
    /// The class of each.
    pub labels: Vec<u32>,
    /// Which each is: its index in the [`Source`].
    pub studies: Vec<usize>,
    /// What each is like, before it was varied.
    pub measures: Vec<Measures>,
}

/// Gives a set of studies in batches, epoch after epoch.
pub struct Loader {
    shared: Arc<Shared>,
}

struct Shared {
    source: Box<dyn Source>,
    studies: Vec<Listed>,
    options: LoaderOptions,
    cache: Vec<OnceLock<Input>>,
    cached_bytes: AtomicUsize,
}

/// A study in the loader's list.
struct Listed {
    study: usize,
    /// How often the list had it before: each time has its own transform.
    repeat: usize,
    /// Its index in the cache, the same each time.
    slot: usize,
}

impl Loader {
    /// A loader of `studies`, indices in `source`; one that is there several times comes as often in each epoch, with a
    /// transform of its own each time. Nothing is read yet.
    ///
    /// # Errors
    /// No studies; an option of zero where at least one is needed; an augmentation out of range.
    pub fn new(source: impl Source + 'static, studies: Vec<usize>, options: LoaderOptions) -> Result<Self> {
        let [rows, columns] = options.input_size;
        let counts = [("batch", options.batch), ("threads", options.threads), ("ahead", options.ahead)];
        for (name, value) in counts.into_iter().chain([("input rows", rows), ("input columns", columns)]) {
            if value == 0 {
                return Err(Error::setting(format!("the loader's {name} is 0"), "choose at least 1"));
            }
        }
        options.augmentation.check()?;
        if studies.is_empty() {
            return Err(Error::setting("the loader has no studies", "choose a split that leaves some"));
        }
        let mut times: HashMap<usize, Listed> = HashMap::new();
        let mut list = |study| {
            let slot = times.len();
            let last = times.entry(study).and_modify(|last| last.repeat += 1).or_insert(Listed { study, repeat: 0, slot });
            Listed { ..*last }
        };
        let studies: Vec<Listed> = studies.into_iter().map(&mut list).collect();
        let cache = times.iter().map(|_| OnceLock::new()).collect();
        let shared = Shared { source: Box::new(source), studies, options, cache, cached_bytes: AtomicUsize::new(0) };
        Ok(Loader { shared: Arc::new(shared) })
    }

    /// Number of batches in an epoch.
    pub fn batches(&self) -> usize {
        self.shared.studies.len().div_ceil(self.shared.options.batch)
    }

    /// Number of studies in an epoch.
    pub fn studies(&self) -> usize {
        self.shared.studies.len()
    }

    /// Starts an epoch: its threads begin at once and stop when the iterator is dropped.
    ///
    /// The batches of an epoch differ in size by at most one study, so that no batch of one or two upsets batch
    /// normalisation. After an error the iterator ends.
    pub fn epoch(&self, epoch: u64) -> Epoch {
        self.epoch_from(epoch, 0)
    }

    /// [`epoch`](Self::epoch) without its first batches, the others as they would have come.
    pub fn epoch_from(&self, epoch: u64, first: usize) -> Epoch {
        let count = self.studies();
        let mut order: Vec<usize> = (0..count).collect();
        if self.shared.options.shuffled {
            shuffle(&mut stream(Purpose::Order, self.shared.options.seed, epoch, 0), &mut order);
        }
        let batches = self.batches();
        let first = first.min(batches);
        let plan = Plan { epoch, order, bounds: (0..=batches).map(|batch| batch * count / batches).collect() };
        let queue = Queue { next: plan.bounds[first], taken: first, ..Queue::default() };
        let work = Arc::new(Work { plan, queue: Mutex::new(queue), prepared: Condvar::new(), wanted: Condvar::new() });
        let mut threads = Vec::new();
        let mut failed = None;
        for number in 0..self.shared.options.threads.min(count) {
            let (shared, work) = (self.shared.clone(), work.clone());
            let builder = std::thread::Builder::new().name(format!("osteon-loader-{number}"));
            match builder.spawn(move || prepare(&shared, &work)) {
                Ok(thread) => threads.push(thread),
                Err(error) => failed = Some(error),
            }
        }
        // One thread is enough, if slower.
        let failed = failed.filter(|_| threads.is_empty()).map(|error| {
            Error::setting(format!("no thread can be started to load studies ({error})"), "end other programs or raise the limit")
        });
        Epoch { shared: self.shared.clone(), work, threads, next: first, failed }
    }
}

impl Shared {
    /// The augmented input of the study at a position in `studies`.
    fn input(&self, position: usize, epoch: u64) -> Result<(Image, Measures)> {
        let Listed { study, repeat, slot } = self.studies[position];
        let name = study as u64 ^ (repeat as u64) << 40;
        let variation = Variation::new(&self.options.augmentation, self.options.seed, epoch, name);
        if let Some(cached) = self.cache[slot].get() {
            return Ok((variation.apply(cached), cached.measures));
        }
        let input = self.source.input(study)?;
        let [rows, columns] = self.options.input_size;
        let image = &input.image;
        if (image.rows, image.columns, image.pixels.len()) != (rows, columns, rows * columns) {
            let problem = format!("study {study} is {}x{}, not {rows}x{columns}", image.rows, image.columns);
            return Err(Error::shape("input", problem));
        }
        let bytes = size_of_val(&image.pixels[..]);
        let augmented = (variation.apply(&input), input.measures);
        let room = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.options.cache_bytes);
        if self.cached_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok() {
            // Another thread may have been as fast with a repeated study; it holds the same values.
            if self.cache[slot].set(input).is_err() {
                self.cached_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
        }
        Ok(augmented)
    }
}

/// What an epoch consists of.
struct Plan {
    epoch: u64,
    /// Positions in `studies`.
    order: Vec<usize>,
    /// Batch `b` is `order[bounds[b]..bounds[b + 1]]`.
    bounds: Vec<usize>,
}

impl Plan {
    fn batches(&self) -> usize {
        self.bounds.len() - 1
    }

    fn range(&self, batch: usize) -> Range<usize> {
        self.bounds[batch]..self.bounds[batch + 1]
    }
}

/// What the threads of an epoch and its iterator share.
struct Work {
    plan: Plan,
    queue: Mutex<Queue>,
    /// A batch is complete, or a thread gave up.
    prepared: Condvar,
    /// A batch was taken, or the iterator is gone.
    wanted: Condvar,
}

#[derive(Default)]
struct Queue {
    /// The next position in the order to prepare.
    next: usize,
    /// Batches that the iterator has taken.
    taken: usize,
    /// Prepared studies of batches not yet taken, by batch and position in it.
    batches: BTreeMap<usize, Pending>,
    /// No more is wanted.
    stopped: bool,
    /// A thread died of a panic.
    broken: bool,
}

#[derive(Default)]
struct Pending {
    inputs: Vec<Option<Result<(Image, Measures)>>>,
    prepared: usize,
}

impl Work {
    /// The queue; a panic elsewhere leaves it usable, and is passed on by [`Epoch::next`].
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What each thread runs: takes the next study within reach, prepares it, puts it in its batch.
fn prepare(shared: &Shared, work: &Work) {
    /// Tells the iterator that this thread died, or it would wait for ever.
    struct Alarm<'a>(&'a Work);
    impl Drop for Alarm<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.lock().broken = true;
                self.0.prepared.notify_all();
            }
        }
    }
    let _alarm = Alarm(work);
    let plan = &work.plan;
    loop {
        let mut queue = work.lock();
        let (position, batch) = loop {
            if queue.stopped || queue.next == plan.order.len() {
                return;
            }
            let batch = plan.bounds.partition_point(|bound| *bound <= queue.next) - 1;
            // The batch in use by the training step is `taken - 1`; those up to `ahead` beyond it may be in memory.
            if batch < queue.taken + shared.options.ahead {
                break (queue.next, batch);
            }
            queue = work.wanted.wait(queue).unwrap_or_else(PoisonError::into_inner);
        };
        queue.next += 1;
        drop(queue);

        let input = shared.input(plan.order[position], plan.epoch);
        let range = plan.range(batch);
        let mut queue = work.lock();
        let pending = queue.batches.entry(batch).or_default();
        pending.inputs.resize_with(range.len(), || None);
        pending.inputs[position - range.start] = Some(input);
        pending.prepared += 1;
        if pending.prepared == range.len() {
            work.prepared.notify_all();
        }
    }
}

/// How long the wait for a batch may keep the [wish to stop](interrupt) waiting.
const HEED_AFTER: Duration = Duration::from_millis(100);

/// The batches of one epoch, prepared ahead.
pub struct Epoch {
    shared: Arc<Shared>,
    work: Arc<Work>,
    threads: Vec<JoinHandle<()>>,
    next: usize,
    failed: Option<Error>,
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        let plan = &self.work.plan;
        if self.next == plan.batches() || self.threads.is_empty() {
            return None;
        }
        let (number, range) = (self.next, plan.range(self.next));
        let mut queue = self.work.lock();
        let pending = loop {
            if queue.broken {
                drop(queue);
                self.stop();
                panic!("a loader thread panicked; its message is above");
            }
            match queue.batches.remove(&number) {
                Some(whole) if whole.prepared == range.len() => break whole,
                Some(partial) => queue.batches.insert(number, partial),
                None => None,
            };
            if let Err(stop) = interrupt::check() {
                drop(queue);
                self.stop();
                return Some(Err(stop));
            }
            queue = self.work.prepared.wait_timeout(queue, HEED_AFTER).unwrap_or_else(PoisonError::into_inner).0;
        };
        queue.taken += 1;
        drop(queue);
        self.work.wanted.notify_all();
        self.next += 1;
        // Of several errors in a batch the first in order counts, whichever thread met its own first.
        let inputs: Result<Vec<(Image, Measures)>> = pending.inputs.into_iter().flatten().collect();
        if inputs.is_err() {
            self.stop();
        }
        Some(inputs.map(|inputs| {
            let listed: Vec<&Listed> = self.work.plan.order[range].iter().map(|&at| &self.shared.studies[at]).collect();
            Batch {
                images: inputs.iter().flat_map(|(image, _)| &image.pixels).copied().collect(),
                labels: listed.iter().map(|listed| self.shared.source.label(listed.study)).collect(),
                studies: listed.iter().map(|listed| listed.study).collect(),
                measures: inputs.iter().map(|(_, measures)| *measures).collect(),
            }
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.work.plan.batches() - self.next))
    }
}

impl Epoch {
    /// Lets each thread finish the study that it is preparing, and waits for them.
    fn stop(&mut self) {
        self.work.lock().stopped = true;
        self.work.wanted.notify_all();
        for thread in self.threads.drain(..) {
            // A panic in it has been reported by `next`, or nobody waits for its work any more.
            let _ = thread.join();
        }
        self.work.lock().batches.clear();
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
