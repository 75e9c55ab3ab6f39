//! Adam.

use super::*;

/// Gradients that weight decay (here at most 0.1) cannot cancel: a first step is gradient / |gradient|, noise where it is.
fn gradients(len: usize, seed: u64) -> Vec<f32> {
    values(len, seed).into_iter().map(|x| x + 0.2_f32.copysign(x)).collect()
}

pub fn adam_steps(isa: Isa, len: usize, weight_decay: f32, decoupled: bool, seed: u64) -> [Vec<f32>; 3] {
    let (mut parameter, mut first, mut second) = (values(len, seed), vec![0.0; len], vec![0.0; len]);
    for step in 1..=3 {
        let adam = AdamStep { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay, decoupled, step };
        adam::step(isa, &adam, &gradients(len, seed + step), &mut parameter, &mut first, &mut second);
    }
    [parameter, first, second]
}

fn check_adam(len: usize, weight_decay: f32, decoupled: bool, seed: u64) {
    let mut expected = [wide(&values(len, seed)), vec![0.0; len], vec![0.0; len]];
    for step in 1..=3 {
        let adam = reference::adam::AdamStep {
            learning_rate: f64::from(0.01_f32),
            beta1: f64::from(0.9_f32),
            beta2: f64::from(0.999_f32),
            epsilon: 1e-8,
            weight_decay: f64::from(weight_decay),
            decoupled,
            step,
        };
        let gradient = wide(&gradients(len, seed + step));
        expected = reference::adam::step(&adam, &gradient, &expected[0], &expected[1], &expected[2]);
    }
    for isa in Isa::all() {
        let [parameter, first, second] = adam_steps(isa, len, weight_decay, decoupled, seed);
        // Gradients of about 1 and of either sign may cancel in these two, of which a single one may be all there is.
        assert_near(&parameter, &expected[0], 1.0, MAX_SUM_ERROR, "adam, parameter", isa);
        assert_near(&first, &expected[1], 0.1, MAX_SUM_ERROR, "adam, first moment", isa);
        assert_close(&second, &expected[2], MAX_SUM_ERROR, "adam, second moment", isa);
    }
}

proptest! {
    #[test]
    fn adam_is_as_the_reference(len in 1usize..60, weight_decay in 0f32..0.1, decoupled: bool, seed in 0u64..1000) {
        check_adam(len, weight_decay, decoupled, seed);
    }
}

#[test]
fn adam_of_many_chunks() {
    check_adam(100_003, 0.0, false, 1);
}

/// Three steps of `torch.optim.AdamW(lr=0.01, weight_decay=0.1)` in float64 (PyTorch 2.15) from and with the values below.
#[test]
fn decoupled_decay_is_pytorchs() {
    let gradients = [[0.5, -0.25, 2.0], [-0.125, 0.75, 1.0], [1.5, -1.0, 0.25]];
    let expected = [0.975112708776, -1.98631894256, 0.471337512985];
    for isa in Isa::all() {
        let (mut parameter, mut first, mut second) = (vec![1.0, -2.0, 0.5], vec![0.0; 3], vec![0.0; 3]);
        for (step, gradient) in (1..).zip(&gradients) {
            let adam = AdamStep {
                learning_rate: 0.01,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.1,
                decoupled: true,
                step,
            };
            adam::step(isa, &adam, gradient, &mut parameter, &mut first, &mut second);
        }
        assert_close(&parameter, &expected, MAX_ROUNDING_ERROR, "parameter", isa);
    }
}
