//! Gradients of blocks against central differences of their own forward pass, the names of parameters, and liveness.

use super::*;
use crate::Result;
use crate::autograd::{Context, Mode, ParameterId, ParameterKind, Parameters, Tape, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SETTINGS: BlockSettings = BlockSettings {
    placement: Placement::Inside,
    shortcut: true,
    attention: AttentionSettings { reduction: 4, kernel: 3, spatial_norm: true },
    norm: NormSettings { epsilon: 1e-5, momentum: 0.1 },
};

/// Step of the central differences, along directions of length about one.
const STEP: f32 = 1e-3;
/// Of a gradient's norm: curvature, and kinks of ReLU and maxima that lie within a step.
const MAX_DIFFERENCE: f64 = 1e-2;
/// What f32 rounding of the block's output may add to a difference, in units of the output's norm.
const ROUNDING: f64 = 4.0 * 6e-8 / STEP as f64;

fn noise(random: &mut ChaCha8Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// Checks the gradients of `weights . forward(x)` by every parameter and by x, each along a random direction.
fn check(mode: Mode, shape: [usize; 4], parameters: &mut Parameters, forward: impl Fn(&mut Tape, Var) -> Result<Var>) {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut context = Context::default();
    // Statistics and biases that are not 0 and 1, so that nothing hides behind them.
    let ids: Vec<ParameterId> = parameters.iter().map(|(id, _)| id).collect();
    for &id in &ids {
        if parameters.get(id).kind != ParameterKind::Convolution {
            parameters.values_mut(id).iter_mut().for_each(|value| *value += random.random_range(0.1..0.5));
        }
    }
    let x = noise(&mut random, shape.iter().product());
    let run = |parameters: &Parameters, context: &mut Context, x: &[f32], weights: Option<&[f32]>| {
        let mut tape = Tape::new(mode, parameters, context);
        let input = tape.input(shape, x, false).unwrap();
        let output = forward(&mut tape, input).unwrap();
        let values = tape.value(&output);
        match weights {
            Some(weights) => values.iter().zip(weights).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum(),
            None => values.len() as f64,
        }
    };
    let output_len = run(parameters, &mut context, &x, None) as usize;
    let weights = noise(&mut random, output_len);

    let mut tape = Tape::new(mode, parameters, &mut context);
    let input = tape.input(shape, &x, true).unwrap();
    let again = tape.retain(&input);
    let output = forward(&mut tape, again).unwrap();
    let output_norm = tape.value(&output).iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let gradients = tape.backward(output, &weights).unwrap();
    let input_gradient = tape.gradient(&input).unwrap().to_vec();
    drop(tape);

    let along = |gradient: &[f32], direction: &[f32]| -> f64 {
        gradient.iter().zip(direction).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    let agree = |name: &str, gradient: f64, difference: f64, scale: f64| {
        let bound = MAX_DIFFERENCE * scale + ROUNDING * output_norm;
        assert!((gradient - difference).abs() < bound, "{name}: gradient {gradient}, difference {difference}, bound {bound:e}");
    };
    let moved = |values: &[f32], direction: &[f32], by: f32| -> Vec<f32> {
        values.iter().zip(direction).map(|(value, direction)| value + by * direction).collect()
    };
    let norm = |values: &[f32]| values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    // Half along the gradient, where the difference is large against the noise, half along a direction that knows nothing of it.
    let mut direction_for = |gradient: &[f32]| -> Vec<f32> {
        let other = noise(&mut random, gradient.len());
        let [along, aside] = [norm(gradient), norm(&other)].map(|norm| 1.0 / norm.max(1e-9) as f32);
        gradient.iter().zip(&other).map(|(g, o)| g * along + o * aside).collect()
    };

    let direction = direction_for(&input_gradient);
    let [up, down] = [STEP, -STEP].map(|by| run(parameters, &mut context, &moved(&x, &direction, by), Some(&weights)));
    agree("input", along(&input_gradient, &direction), (up - down) / f64::from(2.0 * STEP), norm(&input_gradient));
    for id in ids {
        let Some(gradient) = gradients.get(id) else { continue };
        let before = parameters.get(id).value.values().to_vec();
        let direction = direction_for(gradient);
        let [up, down] = [STEP, -STEP].map(|by| {
            parameters.values_mut(id).copy_from_slice(&moved(&before, &direction, by));
            run(parameters, &mut context, &x, Some(&weights))
        });
        parameters.values_mut(id).copy_from_slice(&before);
        let name = &parameters.get(id).name;
        agree(name, along(gradient, &direction), (up - down) / f64::from(2.0 * STEP), norm(gradient));
    }
}

#[test]
fn gradients_of_blocks() {
    for (placement, shortcut) in
        [(Placement::Inside, true), (Placement::Outside, true), (Placement::None, true), (Placement::Inside, false)]
    {
        for (channels, stride) in [([8, 8], 1), ([4, 12], 2)] {
            for mode in [Mode::Training, Mode::Frozen] {
                let mut builder = Builder::seeded(3);
                let settings = BlockSettings { placement, shortcut, ..SETTINGS };
                let block = Block::new(&mut builder, "block", channels, stride, settings);
                let mut parameters = builder.finish().unwrap();
                check_block(mode, channels[0], &mut parameters, &block);
            }
        }
    }
}

fn check_block(mode: Mode, channels: usize, parameters: &mut Parameters, block: &Block) {
    check(mode, [2, 6, 5, channels], parameters, |tape, x| block.forward(tape, x));
}

#[test]
fn gradients_of_pools_and_loss() {
    let mut builder = Builder::seeded(5);
    let conv = Conv::new(&mut builder, "conv", [3, 6], 5, 2);
    let norm = BatchNorm::new(&mut builder, "bn", 6, NormSettings::default());
    let (wide, narrow) = (BiasConv::new(&mut builder, "wide", [6, 5], 3), BiasConv::new(&mut builder, "narrow", [6, 2], 1));
    let hidden = Linear::hidden(&mut builder, "hidden", 9, 9 * 19, 6);
    let linear = Linear::new(&mut builder, "fc", 6, 4);
    let mut parameters = builder.finish().unwrap();
    check(Mode::Training, [3, 11, 9, 3], &mut parameters, |tape, x| {
        let x = conv.forward(tape, x)?;
        let x = norm.forward(tape, x)?;
        let x = tape.max_pool(x, [3, 3], [2, 2], [1, 1])?;
        let x = tape.average_pool(x, [2, 2], [1, 1], [1, 1])?;
        let again = [tape.retain(&x), tape.retain(&x), tape.retain(&x)];
        let [a, b, c] = again;
        let parts = [wide.forward(tape, a, true)?, narrow.forward(tape, b, false)?, c, x];
        let x = tape.concat(parts)?;
        let x = tape.adaptive_average(x, [3, 3])?;
        let x = tape.flatten(x)?;
        let x = hidden.forward(tape, x)?;
        let x = tape.relu(x)?;
        let x = linear.forward(tape, x)?;
        let again = tape.retain(&x);
        let loss = tape.cross_entropy(x, &[3, 0, 2])?;
        let other = tape.cross_entropy(again, &[1, 1, 0])?;
        tape.add_scaled(loss, other, 0.3)
    });
}

#[test]
fn gradients_of_a_weighted_loss() {
    let mut builder = Builder::seeded(6);
    let linear = Linear::new(&mut builder, "fc", 6, 4);
    let mut parameters = builder.finish().unwrap();
    check(Mode::Training, [3, 5, 4, 6], &mut parameters, |tape, x| {
        let x = tape.global_average(x)?;
        let x = linear.forward(tape, x)?;
        let weights = tape.input([4], &[0.5, 1.0, 2.5, 4.0], false)?;
        tape.weighted_cross_entropy(x, weights, &[3, 0, 2])
    });
}

#[test]
fn names_of_a_block() {
    let mut builder = Builder::zeros();
    Block::new(&mut builder, "b", [4, 16], 2, SETTINGS);
    let parameters = builder.finish().unwrap();
    let names: Vec<&str> = parameters.iter().map(|(_, parameter)| &*parameter.name).collect();
    for name in
        ["b.downsample.0.weight", "b.downsample.1.running_var", "b.attention.channel.fc1.bias", "b.attention.spatial.bn.weight"]
    {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
}

#[test]
fn values_die_when_nothing_needs_them() {
    let mut builder = Builder::seeded(1);
    let block = Block::new(&mut builder, "block", [16, 16], 1, SETTINGS);
    let parameters = builder.finish().unwrap();
    let shape = [2, 64, 32, 16];
    let input = vec![0.5; shape.iter().product()];
    let buffers = |mode| {
        let mut context = Context::default();
        for _ in 0..3 {
            let mut tape = Tape::new(mode, &parameters, &mut context);
            let x = tape.input(shape, &input, false).unwrap();
            let y = block.forward(&mut tape, x).unwrap();
            if mode == Mode::Training {
                tape.backward(y, &input).unwrap();
            }
        }
        (context.allocations(), context.free_bytes() / (4 * input.len()))
    };
    let (once, inference) = buffers(Mode::Inference);
    assert!(inference <= 3 + 1, "{inference} activations at once in inference");
    let (_, training) = buffers(Mode::Training);
    assert!(training <= 9 + 1, "{training} activations at once in training");
    assert_eq!(buffers(Mode::Inference).0, once);
}

#[test]
fn misfits_name_the_layer() {
    let mut builder = Builder::zeros();
    let block = Block::new(&mut builder, "layer1.0", [4, 8], 2, SETTINGS);
    let parameters = builder.finish().unwrap();
    let mut context = Context::default();
    let mut tape = Tape::new(Mode::Inference, &parameters, &mut context);
    let x = tape.input([1, 5, 5, 3], &[0.0; 75], false).unwrap();
    let error = block.forward(&mut tape, x).unwrap_err().to_string();
    assert!(error.starts_with("layer1.0.conv1: ") && error.contains("3 channels"), "{error}");
}

#[test]
fn what_has_no_gradient_is_refused_where_one_may_be_asked_for() {
    let parameters = Builder::zeros().finish().unwrap();
    let mut context = Context::default();
    let mut tape = Tape::new(Mode::Training, &parameters, &mut context);
    let x = tape.input([1, 2, 2, 3], &[1.0; 12], true).unwrap();
    let error = tape.apply(crate::autograd::ops::GlobalStats {}, [x]).unwrap_err().to_string();
    assert!(error.contains("without a gradient") && error.contains("Training"), "{error}");
}
