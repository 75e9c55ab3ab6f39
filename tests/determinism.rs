//! The whole network gives the same bits for any number of threads, forward and backward.

use osteon::autograd::{Context, Drops};
use osteon::models::Model;
use osteon::prepare::Preprocessing;

use osteon_kernels::par::Pool;
use osteon_kernels::simd::Isa;

/// Logits, loss, every gradient and every running statistic, as bits.
fn run(isa: Isa, threads: usize, model: &Model, images: &[f32], shape: [usize; 3]) -> Vec<u32> {
    Pool::new(threads).unwrap().run(|| {
        let labels: Vec<u32> = (0..shape[0] as u32).map(|i| i % 3).collect();
        let mut context = Context::new(isa);
        context.dropout = Some(Drops { seed: 1, step: 7 });
        let pass = model.differentiate(&mut context, images, shape, &labels).unwrap();
        let gradients = model.parameters().trained().into_iter().map(|id| pass.gradients.get(id).unwrap().to_vec());
        let statistics = pass.statistics.iter().map(|(_, values)| values.to_vec());
        let outputs = [model.infer(&mut context, images, shape).unwrap().logits, vec![pass.loss]];
        outputs.into_iter().chain(gradients).chain(statistics).flatten().map(f32::to_bits).collect()
    })
}

#[test]
fn threads_do_not_change_a_bit() {
    let classes = ["NoMet", "ADMet", "nADMet"].map(str::to_owned);
    // Sizes that no tile divides, so that every kernel has remainders to split.
    let shape = [3, 97, 70];
    let images: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| (i * 7919 % 1009) as f32 / 504.0 - 1.0).collect();
    for architecture in ["inrac", "vgg-11", "inception-v1"] {
        let model = Model::new(architecture, &classes, [97, 70], Preprocessing::default(), 1).unwrap();
        for isa in Isa::all() {
            let one = run(isa, 1, &model, &images, shape);
            assert!(one.iter().all(|&bits| f32::from_bits(bits).is_finite()), "{architecture} {isa:?}");
            for threads in [2, 3] {
                let same = run(isa, threads, &model, &images, shape) == one;
                assert!(same, "{architecture} {isa:?} with {threads} threads differs from one");
            }
        }
    }
}

/// What is packed for one instruction set is not what another reads: a model that was used with one gives with the next what a fresh
/// model gives.
#[test]
fn a_model_gives_the_bits_of_the_instruction_set_that_it_runs_on() {
    let classes = ["NoMet", "ADMet", "nADMet"].map(str::to_owned);
    let shape = [2, 97, 70];
    let images: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| (i * 7919 % 1009) as f32 / 504.0 - 1.0).collect();
    let logits = |model: &Model, isa: Isa| -> Vec<u32> {
        let inference = model.infer(&mut Context::new(isa), &images, shape).unwrap();
        inference.logits.into_iter().map(f32::to_bits).collect()
    };
    for architecture in ["inrac", "vgg-11", "inception-v1"] {
        let fresh = || Model::new(architecture, &classes, [97, 70], Preprocessing::default(), 1).unwrap();
        let used = fresh();
        for isa in Isa::all().into_iter().chain(Isa::all().into_iter().rev()) {
            assert!(logits(&used, isa) == logits(&fresh(), isa), "{architecture} on {isa:?}, used before");
        }
    }
}
