use super::*;
use crate::prepare::{Compression, CountScale, Measure};
use proptest::prelude::*;

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
    fn input(&self, study: usize) -> Result<Input> {
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
        let counts = CountScale { level: 10.0, compression: Compression::Sqrt };
        let measures = Measures { values: [Some(study as f64); Measure::ALL.len()], ..Measures::default() };
        Ok(Input { image: Image { rows: SIZE[0], columns: SIZE[1], pixels }, counts, measures })
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
fn useless_options_are_refused() {
    let refused = |studies: Vec<usize>, options: LoaderOptions| Loader::new(Memory::default(), studies, options).err().unwrap();
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
