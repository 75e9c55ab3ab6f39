//! Prepares studies ahead of the training step, on its own threads and in bounded memory, in an order set by the seed alone.
//!
//! A study's input (decoded, fused, resized) is made once and kept while the cache has room; its augmentation is drawn anew in
//! each epoch. Which thread prepares what, how many there are, and what the cache holds changes no bit of any batch.

use super::augment::{self, Augmentation, Draw};
use super::views::{self, Preprocessing};
use crate::archive::manifest::{Manifest, Row};
use crate::image::Image;
use crate::random::{Purpose, shuffle, stream};
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// Where inputs come from. Called from several threads at once; the same study must always give the same.
pub trait Source: Send + Sync {
    /// The network's input for a study, without augmentation: `rows` x `columns` as the loader was told.
    ///
    /// # Errors
    /// Whatever is wrong with its files; it comes out of the loader in place of the study's batch.
    fn input(&self, study: usize) -> Result<Image>;

    /// The study's class.
    fn label(&self, study: usize) -> u32;
}

/// The studies of a manifest: read, fused, turned and moved as their rows say, resized and normalised.
struct Listing {
    rows: Vec<Row>,
    labels: Vec<u32>,
    input_size: [usize; 2],
    preprocessing: Preprocessing,
}

impl Source for Listing {
    fn input(&self, study: usize) -> Result<Image> {
        let row = &self.rows[study];
        let fused = views::fuse(&row.read()?, &self.preprocessing)?;
        // At the scan's own size: the same as if the copy were a file.
        let copy = augment::apply(&fused.image, &row.pending_draw());
        Ok(views::network_input(&copy, self.input_size, &self.preprocessing))
    }

    fn label(&self, study: usize) -> u32 {
        self.labels[study]
    }
}

/// How a loader works.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// The network's input, rows and columns.
    pub input_size: [usize; 2],
    /// The most studies in a batch.
    pub batch: usize,
    /// What the order and the draws depend on, beside the epoch.
    pub seed: u64,
    /// Whether each epoch has its own order, as in training; else studies come as they were given.
    pub shuffled: bool,
    /// How far pictures are turned and moved; [`Augmentation::NONE`] outside training.
    pub augmentation: Augmentation,
    /// Threads that prepare studies, at least 1.
    pub threads: usize,
    /// Batches prepared ahead of the one in use, at least 1.
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
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// (studies, rows, columns).
    pub images: Vec<f32>,
    /// The class of each.
    pub labels: Vec<u32>,
    /// Which each is: the numbers that the [`Source`] knows them by.
    pub studies: Vec<usize>,
}

/// Gives a set of studies in batches, epoch after epoch.
pub struct Loader {
    shared: Arc<Shared>,
}

struct Shared {
    source: Box<dyn Source>,
    studies: Vec<Listed>,
    options: LoaderOptions,
    cache: Vec<OnceLock<Image>>,
    cached_bytes: AtomicUsize,
}

/// A study in the loader's list.
struct Listed {
    study: usize,
    /// How often the list had it before: each time has its own draw.
    repeat: usize,
    /// Its place in the cache, the same each time.
    slot: usize,
}

impl Loader {
    /// A loader of `studies`, numbers that `source` knows; one that is there several times comes as often in each epoch, with a
    /// draw of its own each time. Nothing is read yet.
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

    /// A loader of a manifest's rows `studies`, labelled by their index in `classes`.
    ///
    /// # Errors
    /// As [`Loader::new`]; a label that `classes` lacks; preprocessing out of range; a row that the manifest lacks.
    pub fn of_manifest(
        manifest: &Manifest,
        classes: &[String],
        studies: Vec<usize>,
        preprocessing: &Preprocessing,
        options: LoaderOptions,
    ) -> Result<Self> {
        preprocessing.check()?;
        if let Some(unknown) = studies.iter().find(|study| **study >= manifest.rows.len()) {
            let problem = format!("has {} studies, but number {} is wanted", manifest.rows.len(), unknown + 1);
            return Err(Error::file(&manifest.path, problem, "split it again"));
        }
        let (rows, labels) = (manifest.rows.clone(), manifest.labels(classes)?);
        let source = Listing { rows, labels, input_size: options.input_size, preprocessing: preprocessing.clone() };
        Loader::new(source, studies, options)
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
    fn input(&self, position: usize, epoch: u64) -> Result<Image> {
        let Listed { study, repeat, slot } = self.studies[position];
        let name = study as u64 ^ (repeat as u64) << 40;
        let draw = Draw::new(&self.options.augmentation, self.options.seed, epoch, name);
        if let Some(cached) = self.cache[slot].get() {
            return Ok(augment::apply(cached, &draw));
        }
        let input = self.source.input(study)?;
        let [rows, columns] = self.options.input_size;
        if (input.rows, input.columns, input.pixels.len()) != (rows, columns, rows * columns) {
            let problem = format!("study {study} is {}x{}, not {rows}x{columns}", input.rows, input.columns);
            return Err(Error::shape("input", problem));
        }
        let bytes = size_of_val(&input.pixels[..]);
        let augmented = augment::apply(&input, &draw);
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
    /// The next place in the order to prepare.
    next: usize,
    /// Batches that the iterator has taken.
    taken: usize,
    /// Prepared studies of batches not yet taken, by batch and place in it.
    batches: BTreeMap<usize, Pending>,
    /// No more is wanted.
    stopped: bool,
    /// A thread died of a panic.
    broken: bool,
}

#[derive(Default)]
struct Pending {
    inputs: Vec<Option<Result<Image>>>,
    prepared: usize,
}

impl Work {
    /// The queue; a panic elsewhere leaves it usable, and is passed on by [`Epoch::next`].
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread's life: takes the next study within reach, prepares it, puts it in its batch.
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
        let (place, batch) = loop {
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

        let input = shared.input(plan.order[place], plan.epoch);
        let range = plan.range(batch);
        let mut queue = work.lock();
        let pending = queue.batches.entry(batch).or_default();
        pending.inputs.resize_with(range.len(), || None);
        pending.inputs[place - range.start] = Some(input);
        pending.prepared += 1;
        if pending.prepared == range.len() {
            work.prepared.notify_all();
        }
    }
}

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
            queue = self.work.prepared.wait(queue).unwrap_or_else(PoisonError::into_inner);
        };
        queue.taken += 1;
        drop(queue);
        self.work.wanted.notify_all();
        self.next += 1;
        // Of several errors in a batch the first in order counts, whichever thread met its own first.
        let inputs: Result<Vec<Image>> = pending.inputs.into_iter().flatten().collect();
        if inputs.is_err() {
            self.stop();
        }
        Some(inputs.map(|inputs| {
            let listed: Vec<&Listed> = self.work.plan.order[range].iter().map(|&at| &self.shared.studies[at]).collect();
            Batch {
                images: inputs.iter().flat_map(|input| &input.pixels).copied().collect(),
                labels: listed.iter().map(|listed| self.shared.source.label(listed.study)).collect(),
                studies: listed.iter().map(|listed| listed.study).collect(),
            }
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.work.plan.batches() - self.next))
    }
}

impl Epoch {
    /// Lets the threads finish the study in their hands, and waits for that.
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const SIZE: [usize; 2] = [16, 8];

    /// Studies in memory: study `n` is a picture of its number and a corner; some take longer, some cannot be read.
    #[derive(Default)]
    struct Memory {
        broken: Vec<usize>,
        slow: bool,
        reads: Arc<AtomicUsize>,
        panics: bool,
    }

    impl Source for Memory {
        fn input(&self, study: usize) -> Result<Image> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            if self.slow {
                std::thread::sleep(Duration::from_micros((study * 7919 % 13) as u64 * 100));
            }
            assert!(!self.panics || study != 3, "study 3 panics, as the test wants");
            if self.broken.contains(&study) {
                return Err(Error::file(format!("{study}.dcm"), "is truncated", "copy it again"));
            }
            let mut pixels = vec![1.0 + study as f32; SIZE[0] * SIZE[1]];
            pixels[0] = 0.5;
            Ok(Image { rows: SIZE[0], columns: SIZE[1], pixels })
        }

        fn label(&self, study: usize) -> u32 {
            study as u32 % 3
        }
    }

    fn options(batch: usize) -> LoaderOptions {
        LoaderOptions::training(SIZE, batch, 5)
    }

    fn load(source: Memory, studies: Vec<usize>, options: LoaderOptions, epoch: u64) -> Result<Vec<Batch>> {
        Loader::new(source, studies, options).unwrap().epoch(epoch).collect()
    }

    fn order(batches: &[Batch]) -> Vec<usize> {
        batches.iter().flat_map(|batch| batch.studies.clone()).collect()
    }

    #[test]
    fn each_study_once_in_batches_of_almost_one_size() {
        let loader = Loader::new(Memory::default(), (10..43).collect(), options(8)).unwrap();
        assert_eq!((loader.batches(), loader.studies()), (5, 33));
        let batches: Vec<Batch> = loader.epoch(0).collect::<Result<_>>().unwrap();
        assert_eq!(batches.iter().map(|batch| batch.studies.len()).collect::<Vec<_>>(), [6, 7, 6, 7, 7]);
        let mut studies = order(&batches);
        assert_ne!(studies, (10..43).collect::<Vec<_>>(), "shuffled");
        studies.sort_unstable();
        assert_eq!(studies, (10..43).collect::<Vec<_>>());
        for batch in &batches {
            assert_eq!(batch.images.len(), batch.studies.len() * SIZE[0] * SIZE[1]);
            assert!(batch.labels.iter().zip(&batch.studies).all(|(label, study)| *label == *study as u32 % 3));
        }
    }

    #[test]
    fn evaluation_is_as_given_and_unchanged() {
        let batches = load(Memory::default(), vec![4, 2, 9], LoaderOptions::evaluation(SIZE, 2), 7).unwrap();
        assert_eq!(order(&batches), [4, 2, 9]);
        assert_eq!(batches[0].images[..2], [0.5, 5.0]);
        assert_eq!(batches[1].images[SIZE[0] * SIZE[1] + 1], 10.0);
    }

    #[test]
    fn epochs_and_seeds_differ_and_come_again() {
        let with_seed =
            |seed, epoch| load(Memory::default(), (0..20).collect(), LoaderOptions { seed, ..options(4) }, epoch).unwrap();
        assert_eq!(with_seed(1, 0), with_seed(1, 0));
        assert_ne!(order(&with_seed(1, 0)), order(&with_seed(1, 1)));
        assert_ne!(order(&with_seed(1, 0)), order(&with_seed(2, 0)));
    }

    #[test]
    fn an_epoch_can_begin_anywhere() {
        let loader = Loader::new(Memory::default(), (0..20).collect(), options(3)).unwrap();
        let whole: Vec<Batch> = loader.epoch(5).collect::<Result<_>>().unwrap();
        for first in 0..=whole.len() + 1 {
            let rest: Vec<Batch> = loader.epoch_from(5, first).collect::<Result<_>>().unwrap();
            assert_eq!(rest, whole[first.min(whole.len())..]);
        }
    }

    #[test]
    fn the_cache_saves_reading_within_its_budget_and_changes_nothing() {
        let image_bytes = 4 * SIZE[0] * SIZE[1];
        let run = |cache_bytes: usize| {
            let source = Memory::default();
            let reads = source.reads.clone();
            let loader = Loader::new(source, (0..10).collect(), LoaderOptions { cache_bytes, ..options(4) }).unwrap();
            let epochs: Vec<Vec<Batch>> = (0..3).map(|epoch| loader.epoch(epoch).collect::<Result<_>>().unwrap()).collect();
            (epochs, reads.load(Ordering::Relaxed))
        };
        let (without, reads) = run(0);
        assert_eq!(reads, 30);
        let (some, reads) = run(4 * image_bytes + 1);
        assert_eq!(reads, 10 + 6 + 6);
        let (all, reads) = run(usize::MAX);
        assert_eq!(reads, 10);
        assert!(without == some && some == all);
    }

    #[test]
    fn repeated_studies_have_their_own_draws_and_share_the_cache() {
        let source = Memory::default();
        let reads = source.reads.clone();
        let loader = Loader::new(source, vec![1, 1, 1], LoaderOptions { threads: 1, ..options(8) }).unwrap();
        let batch = loader.epoch(0).next().unwrap().unwrap();
        let images: Vec<&[f32]> = batch.images.chunks(SIZE[0] * SIZE[1]).collect();
        assert!(images[0] != images[1] && images[1] != images[2] && images[0] != images[2]);
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn no_more_than_the_wanted_batches_are_prepared() {
        let source = Memory::default();
        let reads = source.reads.clone();
        let loader = Loader::new(source, (0..100).collect(), LoaderOptions { ahead: 2, threads: 3, ..options(5) }).unwrap();
        let mut epoch = loader.epoch(0);
        for taken in 0..4 {
            std::thread::sleep(Duration::from_millis(30));
            assert!(reads.load(Ordering::Relaxed) <= (taken + 2) * 5, "{taken}");
            epoch.next().unwrap().unwrap();
        }
        // And no fewer, once the threads had time.
        let patience = std::time::Instant::now() + Duration::from_secs(60);
        while reads.load(Ordering::Relaxed) < 6 * 5 && std::time::Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(reads.load(Ordering::Relaxed), 6 * 5);
    }

    #[test]
    fn the_first_error_in_order_comes_out_and_ends_the_epoch() {
        for threads in [1, 4] {
            let source = Memory { broken: vec![5, 6, 7, 30], slow: true, ..Memory::default() };
            let options = LoaderOptions { threads, ..LoaderOptions::evaluation(SIZE, 4) };
            let loader = Loader::new(source, (0..40).rev().filter(|study| *study != 30).collect(), options).unwrap();
            let mut epoch = loader.epoch(0);
            let whole = epoch.by_ref().take_while(Result::is_ok).count();
            assert_eq!(whole, 8, "study 7 is at place 31 of 39, in batch 8, 31..35");
            assert!(epoch.next().is_none());
            let message = loader.epoch(1).find_map(Result::err).unwrap().to_string();
            assert_eq!(message, "7.dcm: is truncated; copy it again");
        }
    }

    #[test]
    fn a_wrong_size_is_an_error() {
        let message = load(Memory::default(), vec![1], LoaderOptions::evaluation([8, 8], 1), 0).unwrap_err().to_string();
        assert_eq!(message, "input: study 1 is 16x8, not 8x8");
    }

    #[test]
    fn dropping_an_epoch_stops_its_threads() {
        let loader = Loader::new(Memory { slow: true, ..Memory::default() }, (0..200).collect(), options(4)).unwrap();
        for taken in [0, 1, 3] {
            let mut epoch = loader.epoch(0);
            epoch.by_ref().take(taken).for_each(|batch| drop(batch.unwrap()));
            let work = Arc::downgrade(&epoch.work);
            drop(epoch);
            assert!(work.upgrade().is_none(), "threads still hold their work");
        }
    }

    #[test]
    fn a_panic_in_a_thread_is_passed_on_instead_of_hanging() {
        let epoch = Loader::new(Memory { panics: true, ..Memory::default() }, (0..9).collect(), options(3)).unwrap().epoch(0);
        let passed_on = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| epoch.count()));
        assert!(passed_on.is_err());
    }

    #[test]
    fn a_manifest_becomes_batches() {
        use crate::phantom;
        let folder = tempfile::tempdir().unwrap();
        let made = phantom::PhantomOptions { studies: 6, rows: 256, columns: 64, ..Default::default() };
        let path = phantom::write(&made, folder.path(), &|_| ()).unwrap();
        let manifest = Manifest::read(path).unwrap();
        let loader = |classes: &[String], studies: Vec<usize>, threads| {
            let options = LoaderOptions { threads, ..LoaderOptions::training([64, 32], 4, 1) };
            Loader::of_manifest(&manifest, classes, studies, &Preprocessing::default(), options)
        };
        let batches = |threads| -> Vec<Batch> {
            loader(&manifest.classes, vec![5, 1, 3], threads).unwrap().epoch(0).collect::<Result<_>>().unwrap()
        };
        assert_eq!(batches(1), batches(3));
        let batch = &batches(2)[0];
        let labels = manifest.labels(&manifest.classes).unwrap();
        assert!(batch.studies.iter().zip(&batch.labels).all(|(study, label)| *label == labels[*study]));
        let mean = batch.images.iter().sum::<f32>() / batch.images.len() as f32;
        assert!((0.2..0.8).contains(&mean), "bodies around 1 on a background of 0, mean {mean}");

        assert!(loader(&["NoMet".into()], vec![0], 1).err().unwrap().to_string().contains("but the classes are NoMet"));
        assert!(loader(&manifest.classes, vec![6], 1).err().unwrap().to_string().contains("has 6 studies, but number 7"));
        std::fs::write(folder.path().join("studies/0004.dcm"), "").unwrap();
        let message = loader(&manifest.classes, vec![5, 1, 3], 2).unwrap().epoch(0).find_map(Result::err).unwrap().to_string();
        assert!(message.contains("0004.dcm"), "{message}");
    }

    #[test]
    fn useless_options_are_refused() {
        let refused =
            |studies: Vec<usize>, options: LoaderOptions| Loader::new(Memory::default(), studies, options).err().unwrap();
        assert!(refused(vec![], options(4)).to_string().contains("has no studies"));
        assert!(refused(vec![1], options(0)).to_string().contains("batch is 0"));
        assert!(refused(vec![1], LoaderOptions { threads: 0, ..options(1) }).to_string().contains("threads is 0"));
        assert!(refused(vec![1], LoaderOptions { ahead: 0, ..options(1) }).to_string().contains("ahead is 0"));
        assert!(refused(vec![1], LoaderOptions { input_size: [0, 4], ..options(1) }).to_string().contains("input rows is 0"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn threads_queue_and_cache_change_no_bit(
            count in 1usize..40, batch in 1usize..9, threads in 1usize..6, ahead in 1usize..4, cached in 0usize..20, epoch: u64,
        ) {
            let plain = LoaderOptions { threads: 1, ahead: 1, cache_bytes: 0, ..options(batch) };
            let other = LoaderOptions { threads, ahead, cache_bytes: cached * 4 * SIZE[0] * SIZE[1], ..options(batch) };
            let one = load(Memory::default(), (0..count).collect(), plain, epoch).unwrap();
            let two = load(Memory { slow: true, ..Memory::default() }, (0..count).collect(), other, epoch).unwrap();
            prop_assert_eq!(one, two);
        }
    }
}
