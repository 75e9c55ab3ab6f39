//! The wish to stop is the process's and for good: this file is one test, alone in its process.

use osteon::models::Model;
use osteon::optim::Adam;
use osteon::prepare::Preprocessing;
use osteon::train::Trainer;
use osteon::{Error, Pool, interrupt};
use std::time::{Duration, Instant};

/// Steps before the one that is stopped.
const STEPS: u64 = 4;

/// A step that is told to stop ends in its middle, and has changed nothing: the next one, in another process, begins where it began.
#[test]
fn a_step_that_is_stopped_has_changed_nothing() {
    let classes = ["NoMet", "ADMet", "nADMet"].map(str::to_owned);
    let size = [256, 64];
    let model = Model::new("inrac", &classes, size, Preprocessing::default(), 5).unwrap();
    let batch = 16;
    let images: Vec<f32> = (0..batch * size[0] * size[1]).map(|i| (i * i % 97) as f32 / 97.0).collect();
    let labels: Vec<u32> = (0..batch as u32).map(|i| i % 3).collect();
    let bits = |trainer: &Trainer| -> Vec<(String, Vec<u32>)> {
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
        trainer.tensors().into_iter().map(|(name, (_, values))| (name, bits(values))).collect()
    };
    let (error, steps, before, after, took) = Pool::new(2).unwrap().run(|| {
        let mut trainer = Trainer::new(model, Adam::default());
        // The fastest of some: the first allocates, and on a busy machine any may take twice as long as the one that is stopped.
        let step = |trainer: &mut Trainer| {
            let start = Instant::now();
            trainer.step(&images, &labels, 1e-3).unwrap();
            start.elapsed()
        };
        let whole = (0..STEPS).map(|_| step(&mut trainer)).min().unwrap();
        assert!(!interrupt::requested() && interrupt::check().is_ok());
        let before = bits(&trainer);
        // Behind the forward pass, which is a third of a step.
        let alarm = std::thread::spawn(move || {
            std::thread::sleep(whole / 2);
            interrupt::request();
            Instant::now()
        });
        let error = trainer.step(&images, &labels, 1e-3).unwrap_err();
        let stopped = Instant::now();
        let asked = alarm.join().unwrap();
        (error, trainer.steps(), before, bits(&trainer), stopped.saturating_duration_since(asked))
    });
    assert!(matches!(&error, Error::Interrupted { kept } if kept == interrupt::KEPT), "{error}");
    assert!(steps == STEPS && before == after, "the step has changed something");
    // An operation of this step takes milliseconds; a busy machine may hold it up.
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(interrupt::noticed() && interrupt::check().is_err(), "it is for good");
}
