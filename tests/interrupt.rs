//! The wish to stop is the process's and for good: this file is one test, alone in its process.

use osteon::models::Model;
use osteon::optim::Adam;
use osteon::prepare::Preprocessing;
use osteon::train::Trainer;
use osteon::{Error, Pool, interrupt};
use std::time::{Duration, Instant};

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
    let (error, steps, before, after, whole, stopped) = Pool::new(2).unwrap().run(|| {
        let mut trainer = Trainer::new(model, Adam::default());
        let start = Instant::now();
        trainer.step(&images, &labels, 1e-3).unwrap();
        let whole = start.elapsed();
        assert!(!interrupt::requested() && interrupt::check().is_ok());
        let before = bits(&trainer);
        // Behind the forward pass, which is a third of a step.
        let alarm = std::thread::spawn(move || {
            std::thread::sleep(whole / 2);
            interrupt::request();
        });
        let start = Instant::now();
        let error = trainer.step(&images, &labels, 1e-3).unwrap_err();
        let stopped = start.elapsed();
        alarm.join().unwrap();
        (error, trainer.steps(), before, bits(&trainer), whole, stopped)
    });
    assert!(matches!(&error, Error::Interrupted { kept } if kept == interrupt::KEPT), "{error}");
    assert!(steps == 1 && before == after, "the step has changed something");
    assert!(stopped < whole * 9 / 10 + Duration::from_millis(50), "{stopped:?} of {whole:?}");
    assert!(interrupt::noticed() && interrupt::check().is_err(), "it is for good");
}
