//! What is wrong with a training that does not learn: some steps of it, watched layer by layer. Norms of gradients and weights,
//! units that are dead, and the loss beside that of guessing; and a sentence for each thing that stands out.

use super::prepared::Prepared;
use super::{ClassWeights, Settings, Trainer};
use crate::archive::manifest::Manifest;
use crate::autograd::{Op, ParameterId, Recorder, TapeEvent};
use crate::metrics;
use crate::prepare::loader::Batch;
use crate::text::counted;
use crate::{Error, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// As many steps as an epoch has are watched, from so many to so many.
const STEPS: [usize; 2] = [20, 60];

/// The steps whose mean loss is that of the end.
const LAST_STEPS: usize = 5;

/// The loss explodes where it ends above this many times the first one or that of guessing.
const EXPLODED: f64 = 3.0;

/// It also does where a single step's is this many times that of guessing. A rate that is merely high makes it ten times that.
const BURST: f64 = 50.0;

/// The loss is that of guessing where it ends above this share of it.
const GUESSED: f64 = 0.97;

/// The answers are the same where no class's probability differs by more than this between two images of a batch.
const SAME: f64 = 0.01;

/// Gradients vanish or explode where the first layer's norm differs from the last layer's by more than this factor.
const FAR_APART: f64 = 1e4;

/// Classes are very unequal where the largest has more than this many times the studies of the smallest.
const UNEQUAL: usize = 5;

/// One layer with weights, at one step.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerState {
    /// Its name.
    pub layer: String,
    /// l2 norm of its weights, without biases, before the step.
    pub weights: f64,
    /// l2 norm of their gradient; none where they are not trained.
    pub gradient: Option<f64>,
    /// Where the layer ends in a ReLU, as many units as it has (channels, or features of a linear layer), and how many of them are
    /// dead: zero for every image and pixel of the batch.
    pub dead: Option<[usize; 2]>,
}

impl LayerState {
    /// The share of its units that are dead.
    pub fn dead_share(&self) -> Option<f64> {
        self.dead.map(|[units, dead]| dead as f64 / units as f64)
    }

    /// More than half of the units are dead, and more than that by chance: a unit of a new network is dead with a probability of up
    /// to a half, for images resemble each other. Two standard deviations of the number, `sqrt(units / 4)` each, are chance.
    fn is_mostly_dead(&self) -> bool {
        self.dead.is_some_and(|[units, dead]| {
            dead as f64 > units as f64 / 2.0 + (units as f64).sqrt() || (dead == units && units >= 8)
        })
    }
}

/// One step that was watched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The learning rate.
    pub learning_rate: f32,
    /// The loss, before the step.
    pub loss: f64,
    /// Mean cross-entropy of the labels, without what else is in the loss: weights of classes, auxiliary classifiers, softened
    /// targets.
    pub cross_entropy: f64,
    /// The largest difference of a class's probability between two images of the batch.
    pub spread: f64,
    /// In the order in which images pass them.
    pub layers: Vec<LayerState>,
    /// Which of them gives the logits.
    pub last_layer: usize,
}

/// What was seen in some steps of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// The first step.
    pub first: Snapshot,
    /// The last whole step.
    pub last: Snapshot,
    /// Whole steps.
    pub steps: usize,
    /// The least mean cross-entropy of an answer that is the same for every image: the entropy of the classes' shares.
    pub guessing: f64,
    /// What is wrong, a sentence each with what to try.
    pub findings: Vec<String>,
    /// Why nothing is wrong, where nothing is.
    pub verdict: String,
}

/// Watches the first steps of a training with these settings: an epoch's, at least 20 and at most 60, over which a short epoch is
/// repeated. Nothing is kept. `watch` is told of every step: how many are done, of how many, and its loss.
///
/// # Errors
/// As those of a training before its first step; studies that cannot be read; [`Error::Interrupted`].
pub fn diagnose(manifest: &Manifest, settings: &Settings, watch: &mut dyn FnMut(usize, usize, f32)) -> Result<Diagnosis> {
    let Prepared { mut trainer, training, split, .. } = Prepared::new(manifest, settings)?;
    let labels = manifest.labels(&manifest.classes)?;
    let mut counts = vec![0; manifest.classes.len()];
    split.train.iter().for_each(|&row| counts[labels[row] as usize] += 1);
    let batches = training.batches();
    let steps = batches.clamp(STEPS[0], STEPS[1]);
    let (schedule, all) = (settings.schedule(), (settings.epochs * batches).max(steps));
    let rate = |step: usize| schedule.learning_rate(step as u64, all as u64, batches as u64);
    let epochs = (1..).flat_map(|epoch| training.epoch(epoch)).take(steps);
    let mut seen = watch_steps(&mut trainer, epochs, rate, &mut |done, loss| watch(done, steps, loss))?;
    seen.counts = counts;
    seen.is_weighted = settings.class_weights != ClassWeights::None;
    Ok(seen.judge(&manifest.classes))
}

/// What some steps left.
#[derive(Default)]
struct Seen {
    steps: Vec<Snapshot>,
    /// What was not finite in the step after them.
    not_finite: Option<String>,
    /// Training studies of each class.
    counts: Vec<usize>,
    /// Whether classes have weights in the loss.
    is_weighted: bool,
}

/// Trains on the batches and takes a snapshot of each step.
fn watch_steps(
    trainer: &mut Trainer,
    batches: impl Iterator<Item = Result<Batch>>,
    rate: impl Fn(usize) -> f32,
    watch: &mut dyn FnMut(usize, f32),
) -> Result<Seen> {
    let log = Arc::new(Mutex::new(Log::default()));
    trainer.record(Box::new(Handle(log.clone())));
    let mut seen = Seen::default();
    for (step, batch) in batches.enumerate() {
        let (batch, learning_rate) = (batch?, rate(step));
        *lock(&log) = Log::default();
        match trainer.step(&batch.images, &batch.labels, learning_rate) {
            Err(Error::NotFinite { place }) => {
                seen.not_finite = Some(place);
                break;
            }
            metrics => {
                let loss = metrics?.loss;
                seen.steps.push(lock(&log).snapshot(trainer, &batch.labels, learning_rate, loss));
                watch(step + 1, loss);
            }
        }
    }
    Ok(seen)
}

/// What the tape told of one step.
#[derive(Debug, Default)]
struct Log {
    layers: Vec<Layer>,
    /// The parameter in a slot.
    parameters: HashMap<usize, ParameterId>,
    /// The index of the last layer with weights that a slot's value has passed.
    passed: HashMap<usize, usize>,
    /// l2 norms of parameters, and of their gradients.
    weights: HashMap<ParameterId, f64>,
    gradients: HashMap<ParameterId, f64>,
    /// Results of linear layers, by slot.
    linear: HashMap<usize, Vec<f32>>,
    /// Those that the loss reads first, and the layer that they are of.
    logits: Option<(Vec<f32>, usize)>,
}

/// A layer with weights, in one step.
#[derive(Debug)]
struct Layer {
    name: String,
    weight: ParameterId,
    /// Of each unit behind the ReLU, whether it was ever above zero.
    alive: Vec<bool>,
}

#[derive(Debug)]
struct Handle(Arc<Mutex<Log>>);

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    // A poisoned lock only means that a test panicked.
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

impl Recorder for Handle {
    fn record(&mut self, event: TapeEvent) {
        let mut log = lock(&self.0);
        match event {
            // Biases and what normalises have one dimension.
            TapeEvent::Leaf { parameter: Some(id), slot, shape, value, .. } if shape.iter().len() > 1 => {
                log.parameters.insert(slot, id);
                log.weights.insert(id, norm(value));
            }
            TapeEvent::Forward { op, layer, inputs, output, shape, value, .. } => {
                log.forward(op, layer, inputs, output, shape.last().copied().unwrap_or(1), value);
            }
            TapeEvent::Parameter { id, gradient, .. } => {
                log.gradients.insert(id, norm(gradient));
            }
            _ => {}
        }
    }
}

impl Log {
    fn forward(&mut self, op: &Op, name: &str, inputs: &[usize], output: usize, units: usize, value: &[f32]) {
        let weight = inputs.iter().find_map(|slot| self.parameters.get(slot).copied());
        let layer = match weight {
            Some(weight) => {
                // A layer that is used twice is one.
                let at = self.layers.iter().position(|layer| layer.weight == weight);
                at.unwrap_or_else(|| {
                    self.layers.push(Layer { name: name.to_owned(), weight, alive: Vec::new() });
                    self.layers.len() - 1
                })
            }
            None => match self.passed.get(&inputs[0]) {
                Some(&layer) => layer,
                None => return,
            },
        };
        self.passed.insert(output, layer);
        if matches!(op, Op::Linear(_)) {
            self.linear.insert(output, value.to_owned());
        }
        if op.name().ends_with("cross-entropy") && self.logits.is_none() {
            self.logits = self.linear.remove(&inputs[0]).map(|logits| (logits, layer));
        }
        if op.name().ends_with("relu") {
            let alive = &mut self.layers[layer].alive;
            alive.resize(units, false);
            for values in value.chunks(units) {
                alive.iter_mut().zip(values).for_each(|(alive, &value)| *alive |= value > 0.0);
            }
        }
    }

    fn snapshot(&self, trainer: &Trainer, labels: &[u32], learning_rate: f32, loss: f32) -> Snapshot {
        let trained = trainer.model().parameters();
        let state = |layer: &Layer| LayerState {
            layer: layer.name.clone(),
            weights: self.weights[&layer.weight],
            gradient: trained.get(layer.weight).is_trained().then(|| self.gradients.get(&layer.weight).copied().unwrap_or(0.0)),
            dead: (!layer.alive.is_empty()).then(|| [layer.alive.len(), layer.alive.iter().filter(|&&alive| !alive).count()]),
        };
        let (logits, last_layer) = self.logits.as_ref().expect("a loss of logits");
        let rows: Vec<&[f32]> = logits.chunks(logits.len() / labels.len()).collect();
        let cross_entropies = rows.iter().zip(labels).map(|(row, &label)| metrics::cross_entropy(row, label as usize, 1.0));
        let probabilities: Vec<Vec<f64>> = rows
            .iter()
            .map(|row| (0..row.len()).map(|class| (-metrics::cross_entropy(row, class, 1.0)).exp()).collect())
            .collect();
        let range = |class: usize| {
            let of = || probabilities.iter().map(|row| row[class]);
            of().fold(0.0, f64::max) - of().fold(1.0, f64::min)
        };
        Snapshot {
            learning_rate,
            loss: loss.into(),
            cross_entropy: cross_entropies.sum::<f64>() / labels.len() as f64,
            spread: (0..rows[0].len()).map(range).fold(0.0, f64::max),
            layers: self.layers.iter().map(state).collect(),
            last_layer: *last_layer,
        }
    }
}

const LOWER_RATE: &str = "lower --learning-rate (osteon train --find-rate proposes one)";

/// The loss of an answer that is the same for every image and knows the classes' shares.
fn guessing(counts: &[usize]) -> f64 {
    let all: usize = counts.iter().sum();
    let shares = counts.iter().filter(|&&count| count > 0).map(|&count| count as f64 / all as f64);
    -shares.map(|share| share * share.ln()).sum::<f64>()
}

impl Seen {
    fn judge(self, classes: &[String]) -> Diagnosis {
        let guessing = guessing(&self.counts);
        let findings: Vec<String> = [
            self.explosion(guessing),
            self.guesses(guessing),
            self.dead_from_the_start(),
            self.died(),
            self.without_gradient(),
            self.far_apart(),
            self.unequal(classes),
        ]
        .into_iter()
        .flatten()
        .collect();
        let (first, last) = (self.steps.first().cloned().unwrap_or_default(), self.steps.last().cloned().unwrap_or_default());
        let verdict = match findings.is_empty() {
            true => format!(
                "nothing is wrong: the cross-entropy fell from {:.2} to {:.2}, where guessing gives {guessing:.2}, and every layer \
                 gets a gradient",
                first.cross_entropy,
                self.end(|step| step.cross_entropy)
            ),
            false => String::new(),
        };
        Diagnosis { first, last, steps: self.steps.len(), guessing, findings, verdict }
    }

    /// The mean over the last steps.
    fn end(&self, of: fn(&Snapshot) -> f64) -> f64 {
        let last = &self.steps[self.steps.len().saturating_sub(LAST_STEPS)..];
        last.iter().map(of).sum::<f64>() / last.len() as f64
    }

    /// The step, from 1, of the largest loss, and that loss.
    fn peak(&self) -> (usize, f64) {
        let losses = self.steps.iter().map(|step| step.loss).enumerate();
        losses.fold((0, f64::MIN), |most, (step, loss)| if loss > most.1 { (step + 1, loss) } else { most })
    }

    fn explosion(&self, guessing: f64) -> Option<String> {
        let remedy = format!("{LOWER_RATE}, raise --warm-up-epochs, or limit the gradient's norm with --clip-norm 1");
        if let Some(place) = &self.not_finite {
            return Some(format!("the loss explodes: step {} is not finite ({place}); {remedy}", self.steps.len() + 1));
        }
        let (first, end) = (self.steps.first()?.loss, self.end(|step| step.loss));
        let (step, most) = self.peak();
        let way = match end > EXPLODED * first.max(guessing) {
            true => format!("ends at {end:.2}"),
            false if most > BURST * first.max(guessing) => format!("rises to {most:.2} in step {step}"),
            false => return None,
        };
        Some(format!("the loss explodes: it {way}, where it began at {first:.2} and guessing gives {guessing:.2}; {remedy}"))
    }

    fn guesses(&self, guessing: f64) -> Option<String> {
        let (last, end) = (self.steps.last()?, self.end(|step| step.cross_entropy));
        if end < GUESSED * guessing || self.steps.len() < LAST_STEPS {
            return None;
        }
        let (step, most) = self.peak();
        let rose = match most > EXPLODED * guessing {
            true => format!(", after it rose to {most:.1} in step {step}"),
            false => String::new(),
        };
        let (answers, remedy) = match last.spread < SAME {
            true => (
                format!("all images get the same answer: their probabilities differ by {:.4} at most", last.spread),
                format!("{LOWER_RATE}, or raise --warm-up-epochs"),
            ),
            false => (
                "the answers differ from image to image, but not as the labels do".to_owned(),
                "train for more steps before judging, or try osteon train --find-rate".to_owned(),
            ),
        };
        Some(format!(
            "the loss stays at that of guessing{rose}: after {} it is {end:.2}, where the classes' shares alone give \
             {guessing:.2}, and {answers}; {remedy}",
            counted(self.steps.len(), "step")
        ))
    }

    /// The layers that are mostly dead in the last step, each with the first step, from 0, from which on it was.
    fn dead(&self) -> Vec<(&LayerState, usize)> {
        let Some(last) = self.steps.last() else { return Vec::new() };
        let since = |at: usize| {
            let living = self.steps.iter().rposition(|step| step.layers.get(at).is_none_or(|layer| !layer.is_mostly_dead()));
            living.map_or(0, |step| step + 1)
        };
        let dead = last.layers.iter().enumerate().filter(|(_, layer)| layer.is_mostly_dead());
        dead.map(|(at, layer)| (layer, since(at))).collect()
    }

    fn dead_from_the_start(&self) -> Option<String> {
        let dead = self.dead().into_iter().filter(|(_, since)| *since == 0);
        let names = listed(dead.map(|(layer, _)| format!("{} {:.0} %", layer.layer, 100.0 * layer.dead_share().unwrap_or(0.0))))?;
        Some(format!(
            "units are dead from the first step on, which is their initialisation: {names}; begin with other weights (--seed or \
             --init), or choose a network with batch normalisation"
        ))
    }

    fn died(&self) -> Option<String> {
        let names = listed(self.dead().into_iter().filter(|(_, since)| *since > 0).map(|(layer, since)| {
            let step = &self.steps[since - 1];
            let share = 100.0 * layer.dead_share().unwrap_or(0.0);
            format!("{} {share:.0} %, by step {since} of the rate {:.1e}", layer.layer, step.learning_rate)
        }))?;
        Some(format!("training has killed units, so its rate is too high: {names}; {LOWER_RATE}, or raise --warm-up-epochs"))
    }

    fn without_gradient(&self) -> Option<String> {
        let last = self.steps.last()?;
        let is_without = |layer: &&LayerState| layer.gradient == Some(0.0);
        let names = listed(last.layers.iter().filter(is_without).map(|layer| layer.layer.clone()))?;
        let cause = match last.layers.get(last.last_layer).filter(is_without) {
            Some(_) => "the probabilities of the batch are 0 or 1 to the last digit, as a rate that is too high makes them",
            None if self.dead().is_empty() => "nothing of the loss reaches them; begin with other weights (--seed or --init)",
            None => "behind dead units nothing learns; see there",
        };
        Some(format!("the gradient is zero in {names}: {cause}"))
    }

    /// Of the first step, or of the last.
    fn far_apart(&self) -> Option<String> {
        [(self.steps.first()?, "first"), (self.steps.last()?, "last")].into_iter().find_map(|(step, name)| {
            let norms = || step.layers.iter().enumerate().filter_map(|(at, layer)| Some((at, layer, layer.gradient?)));
            let (_, first, norm) = norms().next()?;
            let (_, last, from) = norms().find(|(at, ..)| *at == step.last_layer)?;
            let factor = norm / from;
            let (verb, remedy) = match factor {
                // A gradient of zero is said elsewhere.
                factor if factor > 0.0 && factor < 1.0 / FAR_APART => {
                    ("vanish", "begin with other weights (--init), or choose a network with batch normalisation (inrac)")
                }
                factor if factor.is_finite() && factor > FAR_APART => ("explode", "limit their norm with --clip-norm 1"),
                _ => return None,
            };
            let (last, first) = (&last.layer, &first.layer);
            Some(format!(
                "gradients {verb} from the last layer to the first: in the {name} step {from:.1e} in {last} and {norm:.1e} in \
                 {first}; {remedy}"
            ))
        })
    }

    fn unequal(&self, classes: &[String]) -> Option<String> {
        let with_count = || classes.iter().zip(&self.counts);
        let (most, least) = (with_count().max_by_key(|(_, count)| **count)?, with_count().min_by_key(|(_, count)| **count)?);
        let is_unequal = *most.1 > UNEQUAL * *least.1 && !self.is_weighted;
        is_unequal.then(|| {
            format!(
                "classes are very unequal: {} training studies of {} and {} of {}; try --class-weights balanced",
                most.1, most.0, least.1, least.0
            )
        })
    }
}

/// What there is, with commas, at most eight; none where there is nothing.
fn listed(items: impl Iterator<Item = String>) -> Option<String> {
    const SHOWN: usize = 8;
    let items: Vec<String> = items.collect();
    let more = items.len().saturating_sub(SHOWN);
    let rest = (more > 0).then(|| format!("and {more} more"));
    (!items.is_empty()).then(|| items.into_iter().take(SHOWN).chain(rest).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Model;
    use crate::models::tests::model_of;
    use crate::optim::Adam;

    /// What is said of some steps on bright above against bright below.
    fn diagnosed(model: Model, rate: f32, counts: &[usize]) -> Diagnosis {
        let images: Vec<f32> = (0..4 * 64 * 32).map(|i| f32::from((i / 32 % 64 < 32) == (i / (64 * 32) % 2 == 0))).collect();
        let batch =
            || Ok(Batch { images: images.clone(), labels: vec![0, 2, 0, 2], studies: vec![0, 1, 2, 3], ..Batch::default() });
        let mut trainer = Trainer::new(model, Adam::default());
        let seen = watch_steps(&mut trainer, std::iter::repeat_with(batch).take(20), |_| rate, &mut |_, _| {}).unwrap();
        Seen { counts: counts.to_vec(), ..seen }.judge(&["NoMet", "ADMet", "nADMet"].map(str::to_owned))
    }

    #[test]
    fn a_network_that_learns_has_nothing_wrong() {
        for (architecture, rate) in [("inrac", 1e-3), ("vgg-11", 1e-4), ("inception-v1", 1e-3)] {
            let diagnosis = diagnosed(model_of(architecture, 5), rate, &[30, 20, 30]);
            assert!(diagnosis.findings.is_empty(), "{architecture}: {:?}", diagnosis.findings);
            assert!(diagnosis.verdict.starts_with("nothing is wrong"), "{}", diagnosis.verdict);
            let (layers, last) = (&diagnosis.first.layers, diagnosis.first.last_layer);
            let names = [&layers[0].layer, &layers[last].layer];
            let expected = match architecture {
                "inrac" => ["conv1", "fc"],
                "vgg-11" => ["features.0", "classifier.6"],
                _ => ["conv1.conv", "fc"],
            };
            assert_eq!(names, expected);
            assert_eq!(layers[last].dead, None, "no ReLU follows");
            assert!(layers[0].dead.is_some_and(|[units, dead]| units == 64 && dead < 64));
        }
    }

    /// The norms beside those of the trainer's own gradient and of the model.
    #[test]
    fn the_norms_are_those_of_weights_and_gradients() {
        let model = model_of("vgg-11", 5);
        let weight = model.parameters().iter().find(|(_, parameter)| parameter.name == "features.3.weight").unwrap().0;
        let square = |values: &[f32]| values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        let expected = square(model.parameters().get(weight).value.values()).sqrt();
        let images: Vec<f32> = (0..4 * 64 * 32).map(|i| f32::from((i / 32 % 64 < 32) == (i / (64 * 32) % 2 == 0))).collect();
        let pass = model.differentiate(&mut crate::autograd::Context::default(), &images, [4, 64, 32], &[0, 2, 0, 2]).unwrap();
        let gradient = square(pass.gradients.get(weight).unwrap()).sqrt();
        let batch = Batch { images, labels: vec![0, 2, 0, 2], studies: vec![0, 1, 2, 3], ..Batch::default() };
        let mut trainer = Trainer::new(model, Adam::default());
        trainer.seed(3);
        let seen = watch_steps(&mut trainer, [Ok(batch)].into_iter(), |_| 1e-4, &mut |_, _| {}).unwrap();
        let layer = seen.steps[0].layers.iter().find(|layer| layer.layer == "features.3").unwrap();
        assert!((layer.weights / expected - 1.0).abs() < 1e-9, "{layer:?}, {expected}");
        // Training drops half of the classifier's values, so that the gradient is another, but of that size.
        assert!((0.2..5.0).contains(&(layer.gradient.unwrap() / gradient)), "{layer:?}, {gradient}");
    }

    #[test]
    fn a_dead_layer_is_named() {
        let mut model = model_of("vgg-11", 5);
        let bias = model.parameters().iter().find(|(_, parameter)| parameter.name == "features.6.bias").unwrap().0;
        model.parameters_mut().values_mut(bias).fill(-100.0);
        let diagnosis = diagnosed(model, 1e-5, &[30, 30, 30]);
        let said = diagnosis.findings.join("\n");
        assert!(said.contains("dead from the first step on") && said.contains("features.6 100 %"), "{said}");
        assert!(!said.contains("features.3 ") && !said.contains("has killed"), "{said}");
        assert!(said.contains("the gradient is zero in features.0, features.3, features.6"), "{said}");
        assert!(said.contains("all images get the same answer"), "{said}");
        assert!(diagnosis.verdict.is_empty());
    }

    #[test]
    fn a_rate_that_is_far_too_high_explodes() {
        for architecture in ["inrac", "vgg-11"] {
            let said = diagnosed(model_of(architecture, 5), 1e3, &[30, 30, 30]).findings.join("\n");
            assert!(said.contains("the loss explodes") && said.contains("--find-rate"), "{architecture}: {said}");
        }
    }

    #[test]
    fn guessing_is_the_entropy_of_the_shares_and_unequal_classes_are_told() {
        assert!((guessing(&[7, 7, 7]) - 3f64.ln()).abs() < 1e-12);
        assert!((guessing(&[1, 3, 0]) - (0.25 * 4f64.ln() + 0.75 * (4f64 / 3.0).ln())).abs() < 1e-12);
        let said = diagnosed(model_of("inrac", 5), 1e-3, &[600, 30, 90]).findings;
        let expected = "classes are very unequal: 600 training studies of NoMet and 30 of ADMet; try --class-weights balanced";
        assert_eq!(said, [expected]);
    }

    #[test]
    fn gradients_that_vanish_are_told() {
        // A step whose norms fall by ten from layer to layer.
        let layer =
            |at: i32| LayerState { layer: format!("l{at}"), weights: 1.0, gradient: Some(10f64.powi(at - 6)), dead: None };
        let step =
            Snapshot { loss: 0.5, cross_entropy: 0.5, layers: (0..7).map(layer).collect(), last_layer: 6, ..Snapshot::default() };
        let judge = |step: &Snapshot| {
            let seen = Seen { steps: vec![step.clone(); 5], not_finite: None, counts: vec![3, 3], is_weighted: false };
            seen.judge(&["a", "b"].map(str::to_owned)).findings
        };
        let said = judge(&step).join("\n");
        assert!(
            said.starts_with("gradients vanish from the last layer to the first: in the first step 1.0e0 in l6 and 1.0e-6 in l0"),
            "{said}"
        );
        let mut turned = step.clone();
        turned.layers.iter_mut().for_each(|layer| layer.gradient = layer.gradient.map(|norm| 1.0 / norm));
        assert!(judge(&turned).join("\n").starts_with("gradients explode"), "{:?}", judge(&turned));
        turned.layers.truncate(3);
        turned.last_layer = 2;
        assert_eq!(judge(&turned), [""; 0], "a factor of a hundred is none");
    }
}
