//! Every gradient of a model against central differences in f64.
//!
//! The network takes a training step, and a backward pass over its running statistics, on images of random numbers. Each operation's
//! gradient `dx`, as it was computed from the gradient `g` of its result, is held against the equation alone: for a random direction
//! `v` of -1 and 1, `<dx, v>` must be the slope at 0 of `<g, f(x + t v)>`, with `f` the plain f64 loops of `osteon_reference`. No
//! reference of a backward pass has a part in it. Then the loss of the whole network, computed in f64 from the image on, along
//! directions in which all parameters move, against the gradients that the step gave them.
//!
//! `<dx, v>` is a sum of values with random signs, so its error is relative to `|dx|`, the l2 norm (of a sigmoid `|g y|`): that is what is
//! reported. How far it
//! may be off follows from the kernels' claims.

use super::trace::input_name;
use super::verify::U;
use crate::Result;
use crate::autograd::{Event, Mode, Op, ParameterId, Recorder, Tape};
use crate::models::Model;
use crate::tensor::{Context, Drops};
use osteon_kernels::adaptive;
use osteon_kernels::concat::ConcatShape;
use osteon_kernels::conv::{self, Algorithm, Pass};
use osteon_kernels::dropout::Dropout;
use osteon_kernels::pool;
use osteon_kernels::reduce;
use osteon_kernels::{par, simd};
use osteon_reference as reference;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// What to check a model on.
#[derive(Clone, Copy, Debug)]
pub struct GradcheckOptions {
    /// Images: random numbers.
    pub batch: usize,
    /// Rows and columns of an image.
    pub input_size: [usize; 2],
    /// Of images, labels and directions.
    pub seed: u64,
}

/// One gradient along one direction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slope {
    /// The layer; of the whole network `network`.
    pub layer: String,
    /// What it does, and in which mode.
    pub operation: String,
    /// Of which input.
    pub input: &'static str,
    /// How a convolution's gradient was computed.
    pub algorithm: Option<&'static str>,
    /// `<dx, v>`, of our gradient.
    pub gradient: f64,
    /// The central difference.
    pub difference: f64,
    /// How far they are apart, relative to `|dx|`.
    pub error: f64,
    /// How far they may be.
    pub allowed: f64,
}

impl Slope {
    /// Whether the gradient is that of its equation.
    pub fn holds(&self) -> bool {
        self.error <= self.allowed
    }
}

/// Standard deviations that a sum of errors with random signs may have: beyond these lies one in 10^9.
const DEVIATIONS: f64 = 6.0;

/// Of the whole network. Its values in f32 and f64 are about 1e-6 apart, so that of its millions of values some lie on different sides
/// of a ReLU's kink, and each of these adds or takes off a term: 4e-6 to 4e-3 were measured, over four architectures.
const NETWORK: f64 = 1e-2;

/// Images that an operation is tried on. Where a value lies so near to the kink of a ReLU or maximum that f32 and f64 see it on
/// different sides, the slopes differ and both are right: then another image decides. A wrong gradient is wrong on each.
const TRIES: u64 = 3;

/// Checks every operation of a model that has a gradient, in the order of the forward pass, then the network as a whole.
///
/// # Errors
/// Images that are too small or too few for the network.
pub fn gradcheck(model: &Model, options: &GradcheckOptions) -> Result<Vec<Slope>> {
    let mut slopes = attempt(model, options, 0, &|_| true)?;
    for number in 1..TRIES {
        let wrong: Vec<bool> = slopes.iter().map(|slope| slope.as_ref().is_some_and(|slope| !slope.holds())).collect();
        if !wrong.contains(&true) {
            break;
        }
        let again = attempt(model, options, number, &|i| wrong[i])?;
        for (slope, again) in slopes.iter_mut().zip(again).filter(|(_, again)| again.is_some()) {
            *slope = again;
        }
    }
    Ok(slopes.into_iter().flatten().collect())
}

/// The slopes of one image that are wanted, by their number, which is the same in each attempt.
fn attempt(
    model: &Model,
    options: &GradcheckOptions,
    number: u64,
    wanted: &(dyn Fn(usize) -> bool + Sync),
) -> Result<Vec<Option<Slope>>> {
    let Runs { training, gradients, frozen } = Runs::new(model, options, number)?;
    let each = [(&training, "training"), (&frozen, "running statistics")]
        .into_iter()
        .flat_map(|(run, mode)| run.gradients.iter().map(move |gradient| (run, mode, gradient)));
    let work: Vec<_> = each.map(Some).chain([None; DIRECTIONS]).collect();
    let mut slopes: Vec<Option<Slope>> = work.iter().map(|_| None).collect();
    par::chunks_mut(&mut slopes, 1, |i, slope| {
        if wanted(i) {
            let mut signs = random(options.seed, number, 1 + i as u64);
            slope[0] = Some(match work[i] {
                Some((run, mode, gradient)) => run.slope(mode, gradient, &mut signs),
                None => training.network_slope(&gradients, &mut signs),
            });
        }
    });
    Ok(slopes)
}

/// Random numbers for one purpose.
fn random(seed: u64, number: u64, purpose: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, number, purpose]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// What the network computed on one batch.
struct Runs {
    /// A step, up to the gradients of all parameters.
    training: Run,
    gradients: HashMap<ParameterId, Vec<f64>>,
    /// As the network predicts, back to the image itself; here batch normalisation is that of inference.
    frozen: Run,
}

impl Runs {
    fn new(model: &Model, options: &GradcheckOptions, number: u64) -> Result<Self> {
        let [rows, columns] = options.input_size;
        let shape = [options.batch, rows, columns];
        let classes = model.metadata().classes.len();
        let mut numbers = random(options.seed, number, 0);
        let images = (0..shape.iter().product()).map(|_| (numbers.next_u32() >> 8) as f32 / (1 << 24) as f32);
        let images: Vec<f32> = images.collect();
        let labels: Vec<u32> = (0..options.batch).map(|_| numbers.next_u32() % classes as u32).collect();
        let mut gradients = HashMap::new();
        let training = record(|context| {
            context.dropout = Some(Drops { seed: options.seed, step: number });
            let pass = model.differentiate(context, &images, shape, &labels)?;
            let trained = model.parameters().trained().into_iter();
            gradients = trained.filter_map(|id| Some((id, wide(pass.gradients.get(id)?)))).collect();
            Ok(())
        })?;
        let frozen = record(|context| {
            let mut tape = Tape::new(Mode::Frozen, model.parameters(), context);
            let x = tape.input([options.batch, rows, columns, 1], &images, true)?;
            let logits = model.forward(&mut tape, x)?;
            let seed: Vec<f32> = (0..options.batch * classes).map(|i| if i % classes == 0 { 1.0 } else { -0.5 }).collect();
            tape.backward(logits, &seed)?;
            Ok(())
        })?;
        Ok(Runs { training, gradients, frozen })
    }
}

/// Directions in which all parameters move together.
const DIRECTIONS: usize = 2;

/// All that a forward and a backward pass computed.
#[derive(Debug, Default)]
struct Run {
    /// By slot of the tape, which keeps all of them.
    values: BTreeMap<usize, Value>,
    gradients: Vec<Gradient>,
    /// The gradient of a slot so far.
    newest: HashMap<usize, Arc<Vec<f64>>>,
}

#[derive(Debug)]
struct Value {
    op: Op,
    layer: String,
    inputs: Vec<usize>,
    values: Vec<f64>,
    /// Of cross-entropy.
    labels: Vec<u32>,
}

/// One gradient as its operation gave it.
#[derive(Debug)]
struct Gradient {
    /// The slot of the operation's result.
    of: usize,
    /// Which input it is of.
    input: usize,
    values: Vec<f64>,
    /// The gradient of the result.
    from: Arc<Vec<f64>>,
}

/// A run as a tape sees it.
#[derive(Debug)]
struct Handle(Arc<Mutex<Run>>);

impl Recorder for Handle {
    fn record(&mut self, event: Event) {
        let mut run = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Forward { op, layer, inputs, output, value, saved, .. } => {
                let labels = match op {
                    Op::CrossEntropy { .. } | Op::WeightedCrossEntropy { .. } => saved.indices.clone(),
                    _ => Vec::new(),
                };
                let value = Value { op: *op, layer: layer.to_owned(), inputs: inputs.to_vec(), values: wide(value), labels };
                run.values.insert(output, value);
            }
            Event::Seed { slot, gradient } | Event::Sum { slot, gradient, .. } => {
                run.newest.insert(slot, Arc::new(wide(gradient)));
            }
            Event::Backward { of, gradients, .. } => {
                let from = run.newest[&of].clone();
                for (input, (slot, values)) in gradients.into_iter().enumerate().filter(|(_, (_, values))| !values.is_empty()) {
                    // A second one is followed by their sum.
                    run.newest.entry(slot).or_insert_with(|| Arc::new(wide(values)));
                    run.gradients.push(Gradient { of, input, values: wide(values), from: from.clone() });
                }
            }
            Event::Statistics { .. } | Event::Parameter { .. } => {}
        }
    }
}

/// What `pass` computes with a context that is listened to.
fn record(pass: impl FnOnce(&mut Context) -> Result<()>) -> Result<Run> {
    let run = Arc::new(Mutex::new(Run::default()));
    let mut context = Context::default();
    context.recorder = Some(Box::new(Handle(run.clone())));
    pass(&mut context)?;
    drop(context);
    let run = Arc::into_inner(run).expect("the recorder is gone, and no other has the run");
    Ok(run.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl Run {
    /// The slope along a direction in which one input of one operation moves.
    fn slope(&self, mode: &str, gradient: &Gradient, signs: &mut ChaCha8Rng) -> Slope {
        let value = &self.values[&gradient.of];
        let inputs: Vec<&[f64]> = value.inputs.iter().map(|input| &self.values[input].values[..]).collect();
        let x = inputs[gradient.input];
        let mut direction = random_signs(signs, x.len());
        let is_maximum = matches!(value.op, Op::MaxPool(_) | Op::GlobalMax(_) | Op::ChannelStats(_) | Op::ScaledStats(_));
        if is_maximum && gradient.input == 0 {
            // Of equal maxima the first has the gradient, and any share of it would be right. A ReLU leaves many zeros, and what is
            // computed of zeros alone is the same everywhere.
            let mut seen: HashMap<u64, usize> = HashMap::new();
            x.iter().for_each(|x| *seen.entry((x + 0.0).to_bits()).or_default() += 1);
            direction.iter_mut().zip(x).filter(|(_, x)| seen[&(*x + 0.0).to_bits()] > 1).for_each(|(v, _)| *v = 0.0);
        }
        let along = |t: f64| {
            let moved: Vec<f64> = x.iter().zip(&direction).map(|(x, v)| x + t * v).collect();
            let mut inputs = inputs.clone();
            inputs[gradient.input] = &moved;
            dot(&gradient.from, &forward(&value.op, &inputs, &value.labels))
        };
        let (pass, claim) = (if gradient.input == 0 { Pass::BackwardData } else { Pass::BackwardWeights }, claim(&value.op));
        let algorithm = match value.op {
            Op::Conv(shape) | Op::ConvBias { shape, .. } if gradient.input < 2 => Some(Algorithm::choose(pass, shape)),
            _ => None,
        };
        let ours = dot(&gradient.values, &direction);
        let size = match value.op {
            // dx = g y (1 - y), and of a y near 1 the difference is as exact as 1 is.
            Op::Sigmoid => gradient.from.iter().zip(&value.values).map(|(g, y)| (g * y).powi(2)).sum::<f64>().sqrt(),
            _ => norm(&gradient.values),
        };
        let allowed = DEVIATIONS * algorithm.map_or(claim, Algorithm::max_error);
        // A result of terms that cancel is as exact as they are.
        let noise = norm(&gradient.from) * norm(&value.values) * f64::EPSILON;
        let difference = slope_at_0(along, size_of(x), noise, allowed * size, is_linear(&value.op));
        Slope {
            layer: value.layer.clone(),
            operation: format!("{}, {mode}", value.op.name()),
            input: input_name(&value.op, gradient.input),
            algorithm: algorithm.map(Algorithm::name),
            gradient: ours,
            difference,
            error: relative(ours - difference, size),
            allowed,
        }
    }

    /// The slope of the loss along a direction in which all parameters move, each by its own size.
    fn network_slope(&self, gradients: &HashMap<ParameterId, Vec<f64>>, signs: &mut ChaCha8Rng) -> Slope {
        let parameters = self.values.values().filter_map(|value| match value.op {
            Op::Parameter(id) => gradients.contains_key(&id).then_some((id, &value.values)),
            _ => None,
        });
        let mut directions: BTreeMap<usize, (ParameterId, Vec<f64>)> = BTreeMap::new();
        for (id, values) in parameters {
            directions.entry(id.index()).or_insert_with(|| {
                let size = size_of(values);
                (id, random_signs(signs, values.len()).into_iter().map(|sign| sign * size).collect())
            });
        }
        let (mut ours, mut size) = (0.0, 0.0);
        for (id, direction) in directions.values() {
            ours += dot(&gradients[id], direction);
            size += gradients[id].iter().zip(direction).map(|(g, v)| (g * v).powi(2)).sum::<f64>();
        }
        let along = |t: f64| {
            let mut values: HashMap<usize, Vec<f64>> = HashMap::new();
            let mut loss = 0.0;
            for (&slot, value) in &self.values {
                let moved = match value.op {
                    Op::Parameter(id) => directions.get(&id.index()),
                    _ => None,
                };
                let computed = match (moved, value.op) {
                    (Some((_, direction)), _) => value.values.iter().zip(direction).map(|(x, v)| x + t * v).collect(),
                    (None, Op::Input | Op::Parameter(_)) => value.values.clone(),
                    (None, op) => {
                        let inputs: Vec<&[f64]> = value.inputs.iter().map(|input| &values[input][..]).collect();
                        forward(&op, &inputs, &value.labels)
                    }
                };
                loss = computed[0];
                values.insert(slot, computed);
            }
            loss
        };
        let size = size.sqrt();
        let difference = slope_at_0(along, 1.0, f64::EPSILON, NETWORK * size, false);
        Slope {
            layer: "network".into(),
            operation: "loss, training".into(),
            input: "all parameters",
            algorithm: None,
            gradient: ours,
            difference,
            error: relative(ours - difference, size),
            allowed: NETWORK,
        }
    }
}

/// The slope of `along` at 0, for an argument of the size `scale` and values that rounding moves by `noise`. Where the function is not
/// linear, steps become smaller until two agree within a share of `tolerance`: then neither curvature nor a kink has a part in them.
/// No step is so small that rounding would have one.
fn slope_at_0(along: impl Fn(f64) -> f64, scale: f64, noise: f64, tolerance: f64, linear: bool) -> f64 {
    let central = |step: f64| (along(step) - along(-step)) / (2.0 * step);
    if linear {
        return central(scale);
    }
    let least = if tolerance > 0.0 { 32.0 * noise / tolerance } else { 0.0 };
    let mut step = (1e-5 * scale).max(least);
    let mut slope = central(step);
    for _ in 0..4 {
        step = (step / 8.0).max(least);
        let smaller = central(step);
        let agree = (smaller - slope).abs() <= tolerance / 16.0;
        slope = smaller;
        if agree || step == least {
            break;
        }
    }
    slope
}

/// Whether the result is linear in each of the inputs.
fn is_linear(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv(_)
            | Op::ConvBias { relu: false, .. }
            | Op::Add
            | Op::AddScaled(_)
            | Op::Concat(_)
            | Op::Flatten
            | Op::Dropout(_)
            | Op::AveragePool(_)
            | Op::AdaptiveAverage(_)
            | Op::GlobalAverage(_)
            | Op::ScaleChannels(_)
            | Op::ScalePixels(_)
            | Op::Linear(_)
    )
}

/// The error that an operation's gradient may have, relative to its l2 norm.
fn claim(op: &Op) -> f64 {
    match op {
        // A mean and a slope are taken off the gradient, which may leave little of it.
        Op::BatchNorm(..) => 2e-6,
        // Its exponential, and as many roundings as it takes to sum the classes.
        Op::CrossEntropy { .. } | Op::WeightedCrossEntropy { .. } | Op::Sigmoid => simd::MAX_EXP_ERROR + 8.0 * U,
        // Sums in groups, of terms with signs: their roundings add up as the root of their number.
        _ => 16.0 * U,
    }
}

/// An operation's result, by plain loops.
fn forward(op: &Op, inputs: &[&[f64]], labels: &[u32]) -> Vec<f64> {
    let relu = |values: Vec<f64>, relu: bool| if relu { reference::elementwise::relu(&values) } else { values };
    match *op {
        Op::Conv(shape) => reference::conv::forward(conv(shape), inputs[0], inputs[1]),
        Op::ConvBias { shape, relu: with } => {
            let sum = reference::bias::forward(&reference::conv::forward(conv(shape), inputs[0], inputs[1]), inputs[2]);
            relu(sum, with)
        }
        Op::BatchNorm(shape, epsilon) => {
            let normalised = reference::norm::forward_training(epsilon.into(), inputs[0], inputs[1], inputs[2]);
            relu(normalised.output, shape.relu)
        }
        Op::FrozenNorm(shape, epsilon) => {
            let [x, gamma, beta, mean, variance] = [0, 1, 2, 3, 4].map(|k| inputs[k]);
            relu(reference::norm::forward_inference(epsilon.into(), x, gamma, beta, mean, variance), shape.relu)
        }
        Op::Relu => reference::elementwise::relu(inputs[0]),
        Op::Sigmoid => reference::elementwise::sigmoid(inputs[0]),
        Op::Add => reference::elementwise::add(inputs[0], inputs[1]),
        Op::AddRelu => reference::elementwise::relu(&reference::elementwise::add(inputs[0], inputs[1])),
        Op::AddScaled(weight) => reference::elementwise::add_scaled(weight.into(), inputs[0], inputs[1]),
        Op::Concat(ConcatShape { channels, .. }) => {
            reference::concat::forward(&inputs.iter().copied().zip(channels).collect::<Vec<_>>())
        }
        Op::Flatten => inputs[0].to_vec(),
        Op::Dropout(Dropout { rate, seed, step, place }) => {
            let dropout = reference::dropout::Dropout { rate: rate.into(), seed, step, place };
            reference::dropout::apply(&reference::dropout::mask(dropout, inputs[0].len()), inputs[0])
        }
        Op::MaxPool(shape) => reference::pool::max_pool(windows(shape), inputs[0]).0,
        Op::AveragePool(shape) => reference::pool::average_pool(windows(shape), inputs[0]),
        Op::AdaptiveAverage(adaptive::AdaptiveShape { batch, size, channels, windows }) => {
            reference::adaptive::forward(reference::adaptive::AdaptiveShape { batch, size, channels, windows }, inputs[0])
        }
        Op::GlobalAverage(shape) => reference::reduce::global_average(pixels(shape), inputs[0]),
        Op::GlobalMax(shape) => reference::reduce::global_max(pixels(shape), inputs[0]).0,
        Op::ChannelStats(shape) => reference::attention::channel_stats(pixels(shape), inputs[0]).0,
        Op::ScaleChannels(shape) => reference::attention::scale_channels(pixels(shape), inputs[0], inputs[1]),
        Op::ScalePixels(shape) => reference::attention::scale_pixels(pixels(shape), inputs[0], inputs[1]),
        Op::ScaledStats(shape) => reference::attention::scaled_channel_stats(pixels(shape), inputs[0], inputs[1]).0,
        Op::ScaleAddRelu(shape) => {
            reference::attention::scale_add_relu(pixels(shape), inputs[0], inputs[1], inputs[2], inputs[3])
        }
        Op::Linear(shape) => reference::linear::forward(shape.in_features, inputs[0], inputs[1], inputs[2]),
        Op::CrossEntropy { classes, .. } => vec![reference::softmax::cross_entropy(classes, inputs[0], labels)],
        Op::WeightedCrossEntropy { classes, .. } => {
            vec![reference::softmax::weighted_cross_entropy(classes, inputs[0], labels, inputs[1])]
        }
        Op::Input | Op::Parameter(_) => unreachable!("leaves have no equation"),
        Op::ConvNorm { .. } | Op::ConvNormPool { .. } => unreachable!("in inference only, which has no gradient"),
        Op::GlobalStats(_) | Op::AddHalves => unreachable!("in inference only, which has no gradient"),
    }
}

fn conv(shape: conv::ConvShape) -> reference::conv::ConvShape {
    let conv::ConvShape { batch, rows, columns, in_channels, out_channels, kernel, stride, padding } = shape;
    reference::conv::ConvShape { batch, rows, columns, in_channels, out_channels, kernel, stride, padding }
}

fn windows(shape: pool::PoolShape) -> reference::pool::PoolShape {
    let pool::PoolShape { batch, rows, columns, channels, kernel, stride, padding, ceil_mode } = shape;
    reference::pool::PoolShape { batch, rows, columns, channels, kernel, stride, padding, ceil_mode }
}

fn pixels(shape: reduce::ReduceShape) -> reference::reduce::ReduceShape {
    let reduce::ReduceShape { batch, pixels, channels } = shape;
    reference::reduce::ReduceShape { batch, pixels, channels }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}

fn random_signs(random: &mut ChaCha8Rng, len: usize) -> Vec<f64> {
    (0..len).map(|_| if random.next_u32() & 1 == 0 { 1.0 } else { -1.0 }).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(values: &[f64]) -> f64 {
    dot(values, values).sqrt()
}

/// Root of the mean square, and 1 of zeros.
fn size_of(values: &[f64]) -> f64 {
    let size = norm(values) / (values.len() as f64).sqrt();
    if size > 0.0 { size } else { 1.0 }
}

/// Of a size; of nothing only nothing is right.
fn relative(difference: f64, size: f64) -> f64 {
    if difference == 0.0 { 0.0 } else { difference.abs() / size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::trace::tests::model;
    use std::collections::BTreeSet;

    const OPTIONS: GradcheckOptions = GradcheckOptions { batch: 2, input_size: [64, 40], seed: 1 };

    fn load(architecture: &str, spatial_norm: bool) -> Model {
        let folder = tempfile::tempdir().unwrap();
        Model::load(model(folder.path(), architecture, spatial_norm)).unwrap()
    }

    #[test]
    fn the_gradients_of_every_kind_of_operation_hold() {
        let mut kinds = BTreeSet::new();
        for (architecture, spatial_norm) in [
            ("inrac", true),
            ("outrac", false),
            ("inrac-no-residual-no-attention", false),
            ("vgg-11", false),
            ("inception-v1", false),
        ] {
            for slope in gradcheck(&load(architecture, spatial_norm), &OPTIONS).unwrap() {
                assert!(slope.holds(), "{architecture}: {slope:?}");
                assert!(slope.difference != 0.0 || slope.gradient == 0.0, "{slope:?}");
                kinds.insert((slope.operation, slope.input));
            }
        }
        let of = |what: &str| kinds.iter().filter(|(operation, _)| operation.starts_with(what)).count();
        for what in
            ["add", "batch norm", "channel mean and max", "conv", "cross-entropy", "global average", "global max", "linear"]
        {
            assert!(of(what) > 0, "{what}: {kinds:?}");
        }
        for what in ["adaptive average", "add, scaled", "conv, bias", "dropout", "flatten", "join channels"] {
            assert!(of(what) > 0, "{what}: {kinds:?}");
        }
        for what in ["loss", "max pool", "relu", "scale channels", "scale pixels", "sigmoid"] {
            assert!(of(what) > 0, "{what}: {kinds:?}");
        }
    }

    #[test]
    fn a_gradient_that_is_a_little_wrong_is_seen() {
        let mut runs = Runs::new(&load("inrac", false), &OPTIONS, 0).unwrap();
        let mut seen = BTreeSet::new();
        for (i, run) in [&mut runs.training, &mut runs.frozen].into_iter().enumerate() {
            for k in 0..run.gradients.len() {
                let (of, input) = (run.gradients[k].of, run.gradients[k].input);
                if !seen.insert((run.values[&of].op.name(), input)) {
                    continue;
                }
                let mut slope = |change: &dyn Fn(&mut Vec<f64>)| {
                    let whole = run.gradients[k].values.clone();
                    change(&mut run.gradients[k].values);
                    let slope = run.slope("", &run.gradients[k], &mut random(1, 2, (1000 * i + k) as u64));
                    run.gradients[k].values = whole;
                    slope
                };
                assert!(slope(&|_| ()).holds());
                let scaled = slope(&|values| values.iter_mut().for_each(|value| *value *= 1.02));
                assert!(!scaled.holds(), "{scaled:?}");
                let largest = slope(&|values| {
                    let largest = values.iter_mut().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap();
                    *largest = -*largest;
                });
                assert!(!largest.holds(), "{largest:?}");
            }
        }
        assert!(seen.len() > 25, "{seen:?}");
        // One parameter's gradient, of 120, twice as large.
        let size = |gradient: &Vec<f64>| norm(gradient) * (gradient.len() as f64).sqrt();
        let id = *runs.gradients.iter().max_by(|a, b| size(a.1).total_cmp(&size(b.1))).unwrap().0;
        assert!(runs.training.network_slope(&runs.gradients, &mut random(1, 2, 3)).holds());
        runs.gradients.get_mut(&id).unwrap().iter_mut().for_each(|value| *value *= 2.0);
        let slope = runs.training.network_slope(&runs.gradients, &mut random(1, 2, 3));
        assert!(!slope.holds(), "{slope:?}");
    }
}
