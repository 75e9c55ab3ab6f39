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

use super::verify::{AuditedOp, Wide};
use crate::Result;
use crate::autograd::ops::Description;
use crate::autograd::{Context, Drops, Mode, Op, ParameterId, Recorder, Tape, TapeEvent};
use crate::models::Model;
use crate::tensor::Shape;
use osteon_kernels::conv::{Algorithm, Pass};
use osteon_kernels::par;
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
    origin: Origin,
    layer: String,
    shape: Shape,
    values: Vec<f64>,
}

/// Where a value of a run comes from.
#[derive(Debug)]
enum Origin {
    Input,
    Parameter(ParameterId),
    Operation(Box<Computed>),
}

/// An operation of a run.
#[derive(Debug)]
struct Computed {
    op: Op,
    about: Description,
    inputs: Vec<usize>,
    /// Of a loss.
    labels: Vec<u32>,
    /// Whether its result holds maxima.
    has_maxima: bool,
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
    fn record(&mut self, event: TapeEvent) {
        let mut run = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            TapeEvent::Leaf { parameter, layer, slot, shape, value } => {
                let origin = parameter.map_or(Origin::Input, Origin::Parameter);
                let value = Value { origin, layer: layer.to_owned(), shape, values: wide(value) };
                run.values.insert(slot, value);
            }
            TapeEvent::Forward { op, description, layer, inputs, output, shape, value, saved, .. } => {
                let (labels, has_maxima) = (saved.labels().to_vec(), saved.is_argmax());
                let computed = Computed { op: *op, about: *description, inputs: inputs.to_vec(), labels, has_maxima };
                let origin = Origin::Operation(Box::new(computed));
                run.values.insert(output, Value { origin, layer: layer.to_owned(), shape, values: wide(value) });
            }
            TapeEvent::Seed { slot, gradient } | TapeEvent::Sum { slot, gradient, .. } => {
                run.newest.insert(slot, Arc::new(wide(gradient)));
            }
            TapeEvent::Backward { of, gradients, .. } => {
                let from = run.newest[&of].clone();
                for (input, (slot, values)) in gradients.into_iter().enumerate().filter(|(_, (_, values))| !values.is_empty()) {
                    // A second one is followed by their sum.
                    run.newest.entry(slot).or_insert_with(|| Arc::new(wide(values)));
                    run.gradients.push(Gradient { of, input, values: wide(values), from: from.clone() });
                }
            }
            TapeEvent::Statistics { .. } | TapeEvent::Parameter { .. } => {}
        }
    }
}

/// What `pass` computes with a context that is listened to.
fn record(pass: impl FnOnce(&mut Context) -> Result<()>) -> Result<Run> {
    let run = Arc::new(Mutex::new(Run::default()));
    let mut context = Context { recorder: Some(Box::new(Handle(run.clone()))), ..Context::default() };
    pass(&mut context)?;
    drop(context);
    let run = Arc::into_inner(run).expect("the recorder is gone, and no other has the run");
    Ok(run.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl Run {
    /// The slope along a direction in which one input of one operation moves.
    fn slope(&self, mode: &str, gradient: &Gradient, signs: &mut ChaCha8Rng) -> Slope {
        let value = &self.values[&gradient.of];
        let Origin::Operation(computed) = &value.origin else { unreachable!("a leaf gives no gradient") };
        let about = &computed.about;
        let x = &self.values[&computed.inputs[gradient.input]].values;
        let mut direction = random_signs(signs, x.len());
        if computed.has_maxima && gradient.input == 0 {
            // Of equal maxima the first has the gradient, and any share of it would be right. A ReLU leaves many zeros, and what is
            // computed of zeros alone is the same everywhere.
            let mut seen: HashMap<u64, usize> = HashMap::new();
            x.iter().for_each(|x| *seen.entry((x + 0.0).to_bits()).or_default() += 1);
            direction.iter_mut().zip(x).filter(|(_, x)| seen[&(*x + 0.0).to_bits()] > 1).for_each(|(v, _)| *v = 0.0);
        }
        let along = |t: f64| {
            let moved: Vec<f64> = x.iter().zip(&direction).map(|(x, v)| x + t * v).collect();
            dot(&gradient.from, &self.again(computed, |k, values| if k == gradient.input { &moved } else { values }))
        };
        let pass = if gradient.input == 0 { Pass::BackwardData } else { Pass::BackwardWeights };
        let algorithm = about.convolution.filter(|_| gradient.input < 2).map(|shape| Algorithm::choose(pass, shape));
        let ours = dot(&gradient.values, &direction);
        let audited = AuditedOp(&computed.op);
        let (claim, size) = (audited.gradient_claim(), audited.gradient_size(&gradient.values, &gradient.from, &value.values));
        let allowed = DEVIATIONS * algorithm.map_or(claim, Algorithm::max_error);
        // A result of terms that cancel is as exact as they are.
        let noise = norm(&gradient.from) * norm(&value.values) * f64::EPSILON;
        let difference = slope_at_0(along, size_of(x), noise, allowed * size, about.linear);
        Slope {
            layer: value.layer.clone(),
            operation: format!("{}, {mode}", computed.op.name()),
            input: about.inputs[gradient.input].name,
            algorithm: algorithm.map(Algorithm::name),
            gradient: ours,
            difference,
            error: relative(ours - difference, size),
            allowed,
        }
    }

    /// An operation's result by plain loops, from its inputs in this run or what `input` gives in their place.
    fn again<'a>(&'a self, computed: &Computed, input: impl Fn(usize, &'a [f64]) -> &'a [f64]) -> Vec<f64> {
        let wide = |(k, slot): (usize, &usize)| {
            let value = &self.values[slot];
            Wide { shape: value.shape, values: input(k, &value.values) }
        };
        let inputs: Vec<Wide> = computed.inputs.iter().enumerate().map(wide).collect();
        AuditedOp(&computed.op).reference(&inputs, &computed.labels)
    }

    /// The slope of the loss along a direction in which all parameters move, each by its own size.
    fn network_slope(&self, gradients: &HashMap<ParameterId, Vec<f64>>, signs: &mut ChaCha8Rng) -> Slope {
        let parameters = self.values.values().filter_map(|value| match value.origin {
            Origin::Parameter(id) => gradients.contains_key(&id).then_some((id, &value.values)),
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
                let computed = match &value.origin {
                    Origin::Input => value.values.clone(),
                    Origin::Parameter(id) => match directions.get(&id.index()) {
                        Some((_, direction)) => value.values.iter().zip(direction).map(|(x, v)| x + t * v).collect(),
                        None => value.values.clone(),
                    },
                    Origin::Operation(computed) => {
                        let wide = |slot| Wide { shape: self.values[slot].shape, values: &values[slot][..] };
                        let inputs: Vec<Wide> = computed.inputs.iter().map(wide).collect();
                        AuditedOp(&computed.op).reference(&inputs, &computed.labels)
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
                let Origin::Operation(computed) = &run.values[&of].origin else { panic!("a leaf gives no gradient") };
                if !seen.insert((computed.op.name(), input)) {
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
