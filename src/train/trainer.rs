//! One training step: forward, loss, backward, Adam, running statistics.

use crate::autograd::{Context, Drops, Gradients, ParameterId, Recorder, not_finite};
use crate::models::{Differentiated, Model, Objective, named_values};
use crate::optim::{Adam, Moments};
use crate::random::{Purpose, stream, unit};
use crate::tensor::Buffer;
use crate::tensor::file::TensorFile;
use crate::{Error, Result};
use osteon_kernels::par;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A model in training, with the optimiser's moments and the buffers of its step.
#[derive(Debug)]
pub struct Trainer {
    model: Model,
    adam: Adam,
    moments: Moments,
    regularisation: Regularisation,
    /// The seed of dropout and of mixing.
    seed: u64,
    /// The weights of the classes in the loss.
    class_weights: Option<Vec<f32>>,
    /// The moving average of the model.
    average: Option<Model>,
    context: Context,
}

/// What keeps a training from going astray or from learning its studies by heart. The default does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Regularisation {
    /// Gradients whose l2 norm over all parameters is above this are scaled down to it (Pascanu, Mikolov and Bengio 2013, algorithm 1).
    pub clip_norm: Option<f64>,
    /// The share of each target that is spread over all classes: [`Objective::smoothing`].
    pub label_smoothing: f32,
    /// Each step mixes every image with the next of its batch, by a share that is uniform from 0 to this, at most a half: mixup
    /// (Zhang et al. 2018) with a Beta(1, 1) distribution where it is a half, since the larger share is the first image's.
    pub mixup: f32,
    /// The chance that the part of an image to the right of a column, drawn from the middle half, is that of the next image of its class
    /// in the batch, and the chance that the part below a row is that of the one after: a body of two or three patients. The label
    /// stays, unlike in CutMix (Yun et al. 2019), since half a body with metastases beside half a body without is no patient of either
    /// class in part.
    pub stitch_chance: f32,
    /// Decay of the moving average of the weights, below 1, whose model is the one that is evaluated and kept (Polyak and Juditsky 1992).
    /// While there were few steps it is lower: step `t` has at most `(1 + t) / (10 + t)`. 0: no average.
    pub average_decay: f32,
}

/// What a step measured, before it changed the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepMetrics {
    /// Mean cross-entropy of the batch, weighted where classes have weights, with the shares of auxiliary classifiers', and of softened
    /// and mixed targets where there are such.
    pub loss: f32,
    /// Images whose largest logit was their label's.
    pub correct: usize,
    /// l2 norm of the gradient of all parameters, before it was clipped.
    pub gradient_norm: f64,
}

/// Values of a parameter that one thread averages at a time.
const AVERAGED_AT_A_TIME: usize = 1 << 16;

impl Trainer {
    /// Starts with this model.
    pub fn new(model: Model, adam: Adam) -> Self {
        let moments = Moments::new(model.parameters());
        let (regularisation, seed, class_weights, average) = Default::default();
        Trainer { model, adam, moments, regularisation, seed, class_weights, average, context: Context::default() }
    }

    /// Sets the seed of dropout and of mixing, which is 0 otherwise. What a step draws depends on the seed and on the number of
    /// [steps](Self::steps) before it.
    pub fn seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// From here on regularises like this; the moving average begins with the model as it is now.
    ///
    /// # Errors
    /// None for a model that could be built once.
    pub fn regularise(&mut self, regularisation: Regularisation) -> Result<()> {
        self.average = (regularisation.average_decay > 0.0).then(|| self.model.copy()).transpose()?;
        self.regularisation = regularisation;
        Ok(())
    }

    /// Weighs each image in the loss by its class, with weights above 0, as PyTorch's `CrossEntropyLoss(weight=weights)`.
    pub fn weigh_classes(&mut self, weights: Vec<f32>) {
        self.class_weights = Some(weights);
    }

    /// From here on tells `recorder` of every operation of a step.
    pub fn record(&mut self, recorder: Box<dyn Recorder>) {
        self.context.recorder = Some(recorder);
    }

    /// One step on images (batch, rows, columns) of the model's input size and their labels.
    ///
    /// # Errors
    /// Images or labels that do not fit; [`Error::Interrupted`]; [`Error::NotFinite`] where loss, gradient or a running statistic is not finite, or a gradient
    /// too large for Adam, whose second moment is its square. In each case neither the model nor anything that the next step depends on
    /// has changed.
    pub fn step(&mut self, images: &[f32], labels: &[u32], learning_rate: f32) -> Result<StepMetrics> {
        let [rows, columns] = self.model.metadata().input_size;
        self.context.dropout = Some(Drops { seed: self.seed, step: self.moments.steps() });
        let shape = [labels.len(), rows, columns];
        let images = self.stitched(images, labels);
        let share = self.share_to_mix();
        let (images, second) = match share {
            Some(share) => mixed(&images, labels, share),
            None => (images, Vec::new()),
        };
        let objective = Objective {
            labels,
            class_weights: self.class_weights.as_deref(),
            smoothing: self.regularisation.label_smoothing,
            mixed: share.map(|share| (&*second, share)),
        };
        let pass = self.model.differentiate_objective(&mut self.context, &images, shape, &objective)?;
        let Differentiated { loss, correct, mut gradients, statistics } = pass;
        let gradient_norm = gradients.norm();
        let statistics_are_finite = statistics.iter().all(|(_, values)| not_finite(values).is_none());
        if !loss.is_finite() || !gradient_norm.is_finite() || !statistics_are_finite {
            let place = self.model.first_not_finite(&mut self.context, &images, shape, &objective)?;
            let place = place.unwrap_or_else(|| self.first_gradient_not_finite(&gradients));
            return Err(Error::NotFinite { place });
        }
        let limit = self.regularisation.clip_norm;
        if let Some(limit) = limit.filter(|&limit| gradient_norm > limit) {
            gradients.scale((limit / gradient_norm) as f32);
        }
        let applied = limit.map_or(gradient_norm, |limit| gradient_norm.min(limit));
        if applied * applied > f64::from(f32::MAX) {
            let place = format!("the gradient has the norm {gradient_norm:.1e}, too large to be squared");
            return Err(Error::NotFinite { place });
        }
        self.moments.step(self.context.isa, &self.adam, self.model.parameters_mut(), &gradients, learning_rate);
        adopt(&mut self.model, statistics);
        self.update_average();
        Ok(StepMetrics { loss, correct, gradient_norm })
    }

    /// Begins anew with the values of `model`: the moments and the number of steps are zero, and the average is the model.
    pub fn restart(&mut self, model: &Model) {
        self.model.copy_values(model);
        self.moments = Moments::new(self.model.parameters());
        if let Some(average) = &mut self.average {
            average.copy_values(model);
        }
    }

    /// The share of the second image in this step, where images are mixed.
    fn share_to_mix(&self) -> Option<f32> {
        let most = self.regularisation.mixup;
        (most > 0.0).then(|| most * unit(&mut stream(Purpose::Mixup, self.seed, self.moments.steps(), 0)))
    }

    /// The images (batch, rows, columns), some with the right or the lower part of others of their class.
    fn stitched<'a>(&self, images: &'a [f32], labels: &[u32]) -> Cow<'a, [f32]> {
        let chance = self.regularisation.stitch_chance;
        let [rows, columns] = self.model.metadata().input_size;
        if chance == 0.0 || images.len() != labels.len() * rows * columns {
            return Cow::Borrowed(images);
        }
        let mut stitched = images.to_vec();
        for (at, image) in stitched.chunks_exact_mut(rows * columns).enumerate() {
            let mut random = stream(Purpose::Stitch, self.seed, self.moments.steps(), at as u64);
            let mut cut = |size: usize| {
                let (is_stitched, place) = (unit(&mut random) < chance, unit(&mut random));
                is_stitched.then_some(((0.25 + 0.5 * place) * size as f32) as usize)
            };
            let cuts = [cut(columns), cut(rows)];
            let mut others =
                (1..labels.len()).map(|step| (at + step) % labels.len()).filter(|&other| labels[other] == labels[at]);
            let mut partner = || others.next().map(|other| &images[other * rows * columns..][..rows * columns]);
            if let Some((column, other)) = cuts[0].and_then(|column| Some((column, partner()?))) {
                for (row, other) in image.chunks_exact_mut(columns).zip(other.chunks_exact(columns)) {
                    row[column..].copy_from_slice(&other[column..]);
                }
            }
            if let Some((row, other)) = cuts[1].and_then(|row| Some((row, partner()?))) {
                image[row * columns..].copy_from_slice(&other[row * columns..]);
            }
        }
        Cow::Owned(stitched)
    }

    /// Moves the average towards the model after a step.
    fn update_average(&mut self) {
        let Some(average) = &mut self.average else { return };
        let steps = self.moments.steps() as f64;
        let decay = f64::from(self.regularisation.average_decay).min((1.0 + steps) / (10.0 + steps));
        let share = (1.0 - decay) as f32;
        for (id, parameter) in self.model.parameters().iter() {
            let new = parameter.value.values();
            par::chunks_mut(average.parameters_mut().values_mut(id), AVERAGED_AT_A_TIME, |chunk, values| {
                let new = &new[chunk * AVERAGED_AT_A_TIME..];
                values.iter_mut().zip(new).for_each(|(value, new)| *value += share * (new - *value));
            });
        }
    }

    /// In the order of the backward pass, from the last parameter.
    fn first_gradient_not_finite(&self, gradients: &Gradients) -> String {
        let ids = self.model.parameters().trained();
        let found = ids.into_iter().rev().find_map(|id| Some((id, not_finite(gradients.get(id)?)?)));
        found.map_or("the gradient is not finite".to_owned(), |(id, count)| {
            format!("the gradient of {} has {count}", self.model.parameters().get(id).name)
        })
    }

    /// Precise batch normalisation (Wu and Johnson 2021, section 3): makes the running statistics the plain average of those
    /// of batches 0, 1, 2... of the network that is evaluated, as it now is. Moving averages mix in statistics of earlier weights; with few and small batches
    /// the network then predicts worse than it could.
    ///
    /// # Errors
    /// Images that do not fit.
    pub fn measure_statistics(&mut self, batch: usize, images: &[f32], count: usize) -> Result<()> {
        let [rows, columns] = self.model.metadata().input_size;
        let share = 1.0 / (batch + 1) as f32;
        let model = self.average.as_mut().unwrap_or(&mut self.model);
        let statistics = model.statistics(&mut self.context, images, [count, rows, columns], share)?;
        adopt(model, statistics);
        Ok(())
    }

    /// The model that is evaluated and kept: the moving average where there is one, else the model of the last step.
    pub fn model(&self) -> &Model {
        self.average.as_ref().unwrap_or(&self.model)
    }

    /// The same, to change what it says about itself.
    pub fn model_mut(&mut self) -> &mut Model {
        self.average.as_mut().unwrap_or(&mut self.model)
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.moments.steps()
    }

    /// Parameters (`model.NAME`), Adam's moments (`adam.first.NAME`, `adam.second.NAME`) and the moving average, where there is one
    /// (`average.NAME`), as a file has them: with [`steps`](Self::steps) all that the next step depends on.
    pub fn tensors(&self) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
        let mut tensors = BTreeMap::new();
        for (id, parameter) in self.model.parameters().iter() {
            let [first, second] = self.moments.of(id);
            let parts = [("model.", parameter.value.values()), ("adam.first.", first), ("adam.second.", second)];
            for (prefix, values) in parts.into_iter().filter(|(_, values)| !values.is_empty()) {
                let name = format!("{prefix}{}", parameter.name);
                tensors.insert(name, (parameter.file_shape().to_vec(), parameter.to_file(values)));
            }
        }
        tensors.extend(self.average.iter().flat_map(|average| average.tensors(AVERAGE)));
        tensors
    }

    /// Goes on after `steps` steps with what [`tensors`](Self::tensors) gave.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape.
    pub fn restore(&mut self, archive: &TensorFile, steps: u64) -> Result<()> {
        let mut moments = Vec::new();
        for (_, parameter) in self.model.parameters().iter() {
            let mut both = [Vec::new(), Vec::new()];
            if parameter.is_trained() {
                for (values, prefix) in both.iter_mut().zip(["adam.first.", "adam.second."]) {
                    *values = parameter.from_file(named_values(archive, prefix, parameter)?);
                }
            }
            moments.push(both);
        }
        self.model.restore(archive, "model.")?;
        if let Some(average) = &mut self.average {
            average.restore(archive, AVERAGE)?;
        }
        self.moments.restore(steps, moments);
        Ok(())
    }

    /// Ends the training.
    pub fn into_model(self) -> Model {
        self.average.unwrap_or(self.model)
    }

    /// How often a step had to ask the system for memory; in a steady training it stays the same.
    pub fn allocations(&self) -> usize {
        self.context.allocations()
    }
}

/// Before the names of the moving average's parameters.
const AVERAGE: &str = "average.";

/// Every image mixed with the next of its batch, the last with the first, and the label of that.
fn mixed<'a>(images: &[f32], labels: &[u32], share: f32) -> (Cow<'a, [f32]>, Vec<u32>) {
    let pixels = images.len() / labels.len().max(1);
    let next = images.iter().cycle().skip(pixels);
    let mixture = images.iter().zip(next).map(|(first, second)| first + share * (second - first)).collect();
    let mut second = labels.to_vec();
    second.rotate_left(1.min(labels.len()));
    (Cow::Owned(mixture), second)
}

fn adopt(model: &mut Model, statistics: Vec<(ParameterId, Buffer)>) {
    for (id, values) in statistics {
        model.parameters_mut().values_mut(id).copy_from_slice(&values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::{model, model_of};
    use crate::prepare::Preprocessing;
    use crate::tensor::file;

    #[test]
    fn training_learns_and_settles() {
        for (architecture, rate) in [("inrac", 1e-3), ("vgg-11", 1e-4), ("inception-v1", 1e-3)] {
            learns_and_settles(architecture, rate);
        }
    }

    fn learns_and_settles(architecture: &str, rate: f32) {
        let mut trainer = Trainer::new(model_of(architecture, 5), crate::optim::Adam::default());
        // Bright above against bright below.
        let images: Vec<f32> = (0..4 * 64 * 32).map(|i| f32::from((i / 32 % 64 < 32) == (i / (64 * 32) % 2 == 0))).collect();
        let labels = [0, 2, 0, 2];
        let first = trainer.step(&images, &labels, rate).unwrap();
        let mut allocations = 0;
        for step in 0..12 {
            trainer.step(&images, &labels, rate).unwrap();
            if step == 0 {
                allocations = trainer.allocations();
            }
        }
        let last = trainer.step(&images, &labels, rate).unwrap();
        assert!(last.loss < 0.5 * first.loss && last.correct == 4, "{architecture}: {first:?} {last:?}");
        assert_eq!(trainer.allocations(), allocations, "{architecture}: a steady step asks for no memory");
        let before = trainer.model().parameters().get(trainer.model().parameters().trained()[0]).value.clone();
        let error = trainer.step(&vec![f32::NAN; images.len()], &labels, rate).unwrap_err().to_string();
        assert!(error.contains("the input holds 8192 NaN"), "{error}");
        assert_eq!(trainer.model().parameters().get(trainer.model().parameters().trained()[0]).value, before);
    }

    /// What a step drops is a function of seed and step: a training that is restored goes on as if it had not stopped.
    #[test]
    fn a_restored_training_drops_what_it_would_have_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let images: Vec<f32> = (0..2 * 64 * 32).map(|i| (i * i % 97) as f32 / 97.0).collect();
        let losses = |trainer: &mut Trainer, steps: usize| -> Vec<f32> {
            (0..steps).map(|_| trainer.step(&images, &[0, 1], 1e-3).unwrap().loss).collect()
        };
        let start = |seed| {
            let mut trainer = Trainer::new(model_of("inception-v1", 5), crate::optim::Adam::default());
            trainer.seed(seed);
            trainer
        };
        let mut whole = start(7);
        let expected = losses(&mut whole, 4);
        let mut first = start(7);
        assert_eq!(losses(&mut first, 2), expected[..2]);
        file::write(&path, &BTreeMap::new(), &first.tensors()).unwrap();
        let mut second = start(7);
        second.restore(&TensorFile::read(&path).unwrap(), first.steps()).unwrap();
        assert_eq!(losses(&mut second, 2), expected[2..]);
        assert_ne!(losses(&mut start(8), 1), expected[..1], "another seed drops others");
        // The same with all that a step can draw, and an average beside the model.
        let all =
            Regularisation { mixup: 0.4, stitch_chance: 0.5, average_decay: 0.9, label_smoothing: 0.1, clip_norm: Some(1.0) };
        let start = |seed| {
            let mut trainer = start(seed);
            trainer.regularise(all).unwrap();
            trainer
        };
        let mut whole = start(7);
        let expected = losses(&mut whole, 4);
        let mut first = start(7);
        losses(&mut first, 2);
        file::write(&path, &BTreeMap::new(), &first.tensors()).unwrap();
        let mut second = start(7);
        second.restore(&TensorFile::read(&path).unwrap(), first.steps()).unwrap();
        assert_eq!(losses(&mut second, 2), expected[2..]);
        assert_eq!(second.model().weights_hash(), whole.model().weights_hash());
        // Nobody who does not ask for it has anything dropped.
        let pass = || {
            let model = model_of("inception-v1", 5);
            model.differentiate(&mut Context::default(), &images, [2, 64, 32], &[0, 1]).unwrap().loss
        };
        assert!(pass() == pass() && pass() != expected[0]);
    }

    /// What is said of a step by a model whose parameters were changed as told, and that the step changed nothing.
    fn refusal(changes: &[(&str, f32)]) -> String {
        let mut model =
            Model::new("inrac-no-attention", &model(5).metadata().classes, [64, 32], Preprocessing::default(), 5).unwrap();
        for &(name, factor) in changes {
            let id = model.parameters().iter().find(|(_, parameter)| parameter.name == name).unwrap().0;
            model.parameters_mut().values_mut(id).iter_mut().for_each(|value| *value *= factor);
        }
        let mut trainer = Trainer::new(model, crate::optim::Adam::default());
        let bits = |trainer: &Trainer| -> Vec<u32> {
            trainer.tensors().values().flat_map(|(_, values)| values.iter().map(|value| value.to_bits())).collect()
        };
        let before = bits(&trainer);
        let images: Vec<f32> = (0..2 * 64 * 32).map(|i| (i * i % 97) as f32 / 97.0).collect();
        let error = trainer.step(&images, &[0, 1], 1e-3).unwrap_err();
        assert!(matches!(error, Error::NotFinite { .. }), "{error:?}");
        assert!(bits(&trainer) == before && trainer.steps() == 0, "the model has changed");
        error.to_string()
    }

    #[test]
    fn the_first_place_that_is_not_finite_is_named() {
        for (changes, expected) in [
            (&[("layer2.0.bn1.weight", f32::NAN)][..], "layer2.0.bn1.weight holds 128 NaN and 0 infinite of 128 values"),
            // Products beyond the largest f32.
            (&[("layer1.1.conv2.weight", 1e38), ("layer1.1.bn1.weight", 1e3)], "layer1.1.conv2 (conv) gave"),
            // Finite values whose variance is not.
            (&[("layer3.0.conv2.weight", 1e25)], "layer3.0.bn2"),
            (&[("fc.weight", 1e38), ("fc.bias", 1e38), ("layer4.1.bn2.weight", 1e3)], "fc (linear) gave"),
            // A finite loss, but a normalisation of tiny values makes gradients large.
            (
                &[("layer4.1.conv2.weight", 1e-10), ("layer4.1.bn2.weight", 1e20), ("fc.weight", 1e21)],
                "the gradient of layer4.1.conv2.weight has",
            ),
        ] {
            let said = refusal(changes);
            assert!(said.starts_with(expected), "`{said}` in place of `{expected}`");
        }
    }

    #[test]
    fn a_gradient_above_the_limit_is_scaled_to_it() {
        let images: Vec<f32> = (0..2 * 64 * 32).map(|i| (i * i % 97) as f32 / 97.0).collect();
        // After one step Adam's first moment is a tenth of the gradient.
        let applied = |limit: Option<f64>| {
            let mut trainer = Trainer::new(model(5), crate::optim::Adam::default());
            trainer.regularise(Regularisation { clip_norm: limit, ..Regularisation::default() }).unwrap();
            let step = trainer.step(&images, &[0, 1], 1e-3).unwrap();
            let tensors = trainer.tensors();
            let moments = tensors.iter().filter(|(name, _)| name.starts_with("adam.first."));
            let squares = moments.flat_map(|(_, (_, values))| values.iter().map(|&value| f64::from(value).powi(2)));
            (step.gradient_norm, 10.0 * squares.sum::<f64>().sqrt())
        };
        let (norm, whole) = applied(None);
        assert!((whole / norm - 1.0).abs() < 1e-5, "{whole} {norm}");
        assert_eq!(applied(Some(2.0 * norm)), (norm, whole), "a limit that is not reached changes nothing");
        let (same, clipped) = applied(Some(0.25 * norm));
        assert_eq!(same, norm, "the norm before");
        assert!((clipped / (0.25 * norm) - 1.0).abs() < 1e-5, "{clipped} {norm}");
    }

    #[test]
    fn measured_statistics_are_the_plain_average_of_the_batches() {
        let mut trainer = Trainer::new(model(5), crate::optim::Adam::default());
        let batches = [1.0, 3.0].map(|size| (0..2 * 64 * 32).map(|i| size * f32::from(i * i % 97 < 40)).collect::<Vec<f32>>());
        let mut alone = Vec::new();
        for images in &batches {
            trainer.measure_statistics(0, images, 2).unwrap();
            alone.push(statistics(trainer.model()));
        }
        for (i, images) in batches.iter().enumerate() {
            trainer.measure_statistics(i, images, 2).unwrap();
        }
        let both = statistics(trainer.model());
        assert_ne!(alone[0], alone[1]);
        for ((both, a), b) in both.iter().zip(&alone[0]).zip(&alone[1]) {
            assert!((both - (a + b) / 2.0).abs() <= 1e-6 * (a.abs() + b.abs()), "{both} is not between {a} and {b}");
        }
        let trained = |model: &Model| model.parameters().get(model.parameters().trained()[0]).value.clone();
        assert_eq!(trained(trainer.model()), trained(&model(5)), "weights stay as they are");
    }

    /// The loss of softened and mixed targets is the sum of the plain ones by their shares.
    #[test]
    fn softened_and_mixed_targets_are_sums_of_plain_ones() {
        let images: Vec<f32> = (0..2 * 64 * 32).map(|i| (i * i % 97) as f32 / 97.0).collect();
        for architecture in ["inrac", "inception-v1"] {
            let model = model_of(architecture, 5);
            let classes = model.metadata().classes.len() as u32;
            let pass = |objective: &Objective| {
                let pass = model.differentiate_objective(&mut Context::default(), &images, [2, 64, 32], objective).unwrap();
                (f64::from(pass.loss), pass.gradients.norm())
            };
            let plain = |labels: &[u32]| pass(&Objective::of(labels)).0;
            let (own, other) = ([0, 2], [1, 0]);
            let uniform = (0..classes).map(|class| plain(&[class; 2])).sum::<f64>() / f64::from(classes);
            let soft = Objective { smoothing: 0.1, mixed: Some((&other, 0.3)), ..Objective::of(&own) };
            let expected = 0.9 * (0.7 * plain(&own) + 0.3 * plain(&other)) + 0.1 * uniform;
            assert!((pass(&soft).0 - expected).abs() < 1e-5, "{architecture}: {:?} {expected}", pass(&soft));
            // Half of each of two equal labels is the whole of one.
            let (halves, whole) =
                (pass(&Objective { mixed: Some((&own, 0.5)), ..Objective::of(&own) }), pass(&Objective::of(&own)));
            assert!(
                (halves.0 - whole.0).abs() < 1e-6 && (halves.1 / whole.1 - 1.0).abs() < 1e-4,
                "{architecture}: {halves:?} {whole:?}"
            );
        }
    }

    #[test]
    fn the_average_follows_the_model_and_is_what_is_kept() {
        let images: Vec<f32> = (0..2 * 64 * 32).map(|i| (i * i % 97) as f32 / 97.0).collect();
        let mut trainer = Trainer::new(model(5), crate::optim::Adam::default());
        trainer.regularise(Regularisation { average_decay: 0.15, ..Regularisation::default() }).unwrap();
        let mut plain = Trainer::new(model(5), crate::optim::Adam::default());
        let weights = |model: &Model| model.parameters().get(model.parameters().trained()[0]).value.values().to_vec();
        let mut expected = weights(plain.model());
        for step in 1..4 {
            trainer.step(&images, &[0, 1], 1e-3).unwrap();
            plain.step(&images, &[0, 1], 1e-3).unwrap();
            let decay = 0.15f64.min((1.0 + f64::from(step)) / (10.0 + f64::from(step)));
            expected.iter_mut().zip(weights(plain.model())).for_each(|(old, new)| *old += (1.0 - decay) as f32 * (new - *old));
        }
        let worst = weights(trainer.model()).iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{worst}");
        assert_ne!(weights(trainer.model()), weights(plain.model()));
        assert_eq!(trainer.model().weights_hash(), trainer.into_model().weights_hash());
    }

    #[test]
    fn an_image_is_stitched_with_one_of_its_class_alone() {
        let mut trainer = Trainer::new(model(5), crate::optim::Adam::default());
        // Image `n` holds n everywhere.
        let images: Vec<f32> = (0..6 * 64 * 32).map(|at| (at / (64 * 32)) as f32).collect();
        let labels = [0, 1, 2, 0, 1, 0];
        assert!(matches!(trainer.stitched(&images, &labels), Cow::Borrowed(_)));
        trainer.regularise(Regularisation { stitch_chance: 1.0, ..Regularisation::default() }).unwrap();
        let stitched = trainer.stitched(&images, &labels);
        // The next two of the class, or as many as there are.
        let partners = [vec![3, 5], vec![4], vec![], vec![5, 0], vec![1], vec![0, 3]];
        for (image, (pixels, partners)) in stitched.chunks(64 * 32).zip(partners).enumerate() {
            let differs = |value: &f32| *value != image as f32;
            let column = pixels[..32].iter().position(differs).unwrap_or(32);
            let row = pixels.iter().step_by(32).position(differs).unwrap_or(64);
            assert!((8..=24).contains(&column) || partners.is_empty(), "{image}: {column}");
            assert!((16..=48).contains(&row) || partners.len() < 2, "{image}: {row}");
            for (at, value) in pixels.iter().enumerate() {
                let expected = match (at / 32 >= row, at % 32 >= column) {
                    (true, _) => partners[1],
                    (false, true) => partners[0],
                    (false, false) => image,
                };
                assert_eq!(*value, expected as f32, "{image} at {at}");
            }
        }
    }

    fn statistics(model: &Model) -> Vec<f32> {
        let all = model.parameters().iter().filter(|(_, parameter)| !parameter.is_trained());
        all.flat_map(|(_, parameter)| parameter.value.values().to_vec()).collect()
    }
}
