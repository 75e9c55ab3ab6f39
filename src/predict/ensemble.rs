//! Several networks that answer together: the folds or the seeds of one training, whose probabilities are averaged.

use super::trust;
use crate::image::Image;
use crate::models::{Explained, Metadata, Model, ValidatedPoint};
use crate::prepare::Measures;
use crate::prepare::loader::Loader;
use crate::report::Trust;
use crate::text::{Shown, counted};
use crate::{Error, Result};
use std::path::PathBuf;

/// One network or several, and whether each also looks at the picture with left and right exchanged.
pub struct Ensemble {
    members: Vec<Model>,
    files: Vec<PathBuf>,
    mirror: bool,
}

/// What an ensemble says of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// One a class: the mean of the members'.
    pub probabilities: Vec<f32>,
    /// Those of each member; of one network alone, its own.
    pub members: Vec<Vec<f32>>,
    /// What each member's middle stage sees.
    pub features: Vec<Vec<f32>>,
}

/// The answer for a labelled study.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Its index in the loader's source.
    pub study: usize,
    /// Its class.
    pub label: u32,
    /// What the networks say.
    pub answer: Answer,
    /// Whether it is like what they were trained on.
    pub trust: Option<Trust>,
}

/// What speaks for an answer: the means over the members.
pub(super) struct Reasons {
    /// A gradient for each set of classes.
    pub gradients: Vec<Image>,
    pub attention: Vec<Image>,
}

/// One network, of no file.
impl From<Model> for Ensemble {
    fn from(model: Model) -> Self {
        Ensemble::one("model", model)
    }
}

impl Ensemble {
    /// Of models and the files that they were loaded from.
    ///
    /// # Errors
    /// No model; models that differ in classes, input size, or in how their input is prepared.
    pub fn new(models: Vec<(PathBuf, Model)>, mirror: bool) -> Result<Self> {
        let (files, members): (Vec<PathBuf>, Vec<Model>) = models.into_iter().unzip();
        let Some(first) = members.first().map(Model::metadata) else {
            return Err(Error::setting("there is no model", "give at least one"));
        };
        for (file, member) in files.iter().zip(&members).skip(1) {
            let about = member.metadata();
            let differs = [
                (about.classes != first.classes, "other classes"),
                (about.input_size != first.input_size, "another input size"),
                (about.preprocessing != first.preprocessing, "another preprocessing"),
            ];
            if let Some((_, what)) = differs.iter().find(|(differs, _)| *differs) {
                let problem = format!("has {what} than {}, and their answers cannot be averaged", files[0].shown());
                return Err(Error::file(file, problem, "give runs of one training set with one configuration"));
            }
        }
        if let Some((at, member)) = members
            .iter()
            .enumerate()
            .skip(1)
            .find(|(at, member)| members[..*at].iter().any(|earlier| earlier.weights_hash() == member.weights_hash()))
        {
            let problem = format!("has the weights {} of a model before it", &member.weights_hash()[..12]);
            return Err(Error::file(&files[at], problem, "give each model once"));
        }
        Ok(Ensemble { members, files, mirror })
    }

    /// One network, as it is.
    pub fn one(file: impl Into<PathBuf>, model: Model) -> Self {
        Ensemble { members: vec![model], files: vec![file.into()], mirror: false }
    }

    /// Its files and networks.
    pub fn into_models(self) -> Vec<(PathBuf, Model)> {
        self.files.into_iter().zip(self.members).collect()
    }

    /// Its networks.
    pub fn members(&self) -> &[Model] {
        &self.members
    }

    /// Their files.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Of the first of its networks; classes, input size and preprocessing are those of all.
    pub fn metadata(&self) -> &Metadata {
        self.members[0].metadata()
    }

    /// How it answers, in words; none of one look of one network.
    pub fn words(&self) -> Option<String> {
        let networks = format!("the mean of {}", counted(self.members.len(), "network"));
        match (self.members.len(), self.mirror) {
            (1, false) => None,
            (1, true) => Some("the mean of the picture and of its mirror image".to_owned()),
            (_, false) => Some(networks),
            (_, true) => Some(format!("{networks}, each of the picture and of its mirror image")),
        }
    }

    /// Refuses what does not fit into the memory that the process may have: answers for `batch` images at a time and, with `explain`, what
    /// speaks for one.
    ///
    /// # Errors
    /// One sentence with what is needed.
    pub fn check_memory(&self, batch: usize, explain: bool) -> Result<()> {
        self.members.iter().try_for_each(|member| {
            member.check_memory(batch)?;
            if explain { member.check_explanation_memory() } else { Ok(()) }
        })
    }

    /// The answers for images of the networks' input size, (batch, rows, columns). Of one look of one network they have the bits of
    /// [`Model::predict`].
    ///
    /// # Errors
    /// A number of values that is not `batch` images.
    pub fn answer(&self, images: &[f32], batch: usize) -> Result<Vec<Answer>> {
        let ([rows, columns], classes) = (self.metadata().input_size, self.metadata().classes.len());
        let mirrored = self.mirror.then(|| mirrored(images, columns));
        let mut answers = vec![Answer { probabilities: Vec::new(), members: Vec::new(), features: Vec::new() }; batch];
        for member in &self.members {
            let (inference, features) = member.predict_with_features(images, [batch, rows, columns])?;
            let other = mirrored.as_ref().map(|images| member.predict(images, [batch, rows, columns])).transpose()?;
            let each = inference.probabilities.chunks_exact(classes).zip(features);
            for (at, (answer, (probabilities, features))) in answers.iter_mut().zip(each).enumerate() {
                let probabilities = match &other {
                    None => probabilities.to_vec(),
                    Some(other) => mean(&[probabilities, &other.probabilities[at * classes..][..classes]]),
                };
                answer.members.push(probabilities);
                answer.features.push(features);
            }
        }
        for answer in &mut answers {
            answer.probabilities = mean(&answer.members.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
        Ok(answers)
    }

    /// The answers for one epoch of a loader, in the loader's order. `progress` is called with how many studies are done, and stops the
    /// work by an error.
    ///
    /// # Errors
    /// Studies that cannot be read; whatever `progress` returns.
    pub fn answers(&self, loader: &Loader, progress: &mut dyn FnMut(usize) -> Result<()>) -> Result<Vec<Answered>> {
        let mut all = Vec::with_capacity(loader.studies());
        for batch in loader.epoch(0) {
            let batch = batch?;
            let answers = self.answer(&batch.images, batch.labels.len())?;
            let each = batch.studies.iter().zip(&batch.labels).zip(&batch.measures).zip(answers);
            all.extend(each.map(|(((&study, &label), measures), answer)| Answered {
                study,
                label,
                trust: self.trust(measures, &answer),
                answer,
            }));
            progress(all.len())?;
        }
        Ok(all)
    }

    /// The answer for one image, and what speaks for the sets of classes that `sets` gives for it.
    ///
    /// # Errors
    /// As [`answer`](Self::answer) and [`Model::explain`].
    pub(super) fn explain(&self, image: &[f32], sets: &mut dyn FnMut(&[f32]) -> Vec<Vec<usize>>) -> Result<(Answer, Reasons)> {
        if let ([only], false) = (&self.members[..], self.mirror) {
            let Explained { inference, gradients, attention, features } =
                only.explain(image, |answer| sets(&answer.probabilities))?;
            let probabilities = inference.probabilities;
            let answer = Answer { members: vec![probabilities.clone()], probabilities, features: vec![features] };
            return Ok((answer, Reasons { gradients, attention }));
        }
        let answer = self.answer(image, 1)?.remove(0);
        let asked = sets(&answer.probabilities);
        let columns = self.metadata().input_size[1];
        let mut looks = Vec::new();
        for member in &self.members {
            let Explained { gradients, attention, .. } = member.explain(image, |_| asked.clone())?;
            looks.push((gradients, attention));
            if self.mirror {
                let Explained { mut gradients, mut attention, .. } =
                    member.explain(&mirrored(image, columns), |_| asked.clone())?;
                let maps = gradients.iter_mut().chain(&mut attention);
                maps.for_each(|map| map.pixels = mirrored(&map.pixels, map.columns));
                looks.push((gradients, attention));
            }
        }
        let (gradients, attention): (Vec<_>, Vec<_>) = looks.into_iter().unzip();
        Ok((answer, Reasons { gradients: mean_maps(&gradients), attention: mean_maps(&attention) }))
    }

    /// Whether an answer should be trusted, as far as the networks know what they were trained on.
    pub fn trust(&self, scan: &Measures, answer: &Answer) -> Option<Trust> {
        let each = self.members.iter().zip(&answer.features);
        let judged = each.filter_map(|(member, features)| {
            member.metadata().training_data.as_ref().map(|known| trust::judge(known, scan, features))
        });
        trust::together(judged.collect())
    }

    /// The networks' operating points, as one: means of thresholds and rates, and of validation scans the sums. None where a network has
    /// none.
    pub fn operating_point(&self) -> Option<ValidatedPoint> {
        let point = |member: &Model| member.metadata().training_data.as_ref()?.operating_point.clone();
        let points: Vec<ValidatedPoint> = self.members.iter().map(point).collect::<Option<_>>()?;
        let first = points.first()?;
        let mean = |of: &dyn Fn(&ValidatedPoint) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
        (points.iter().all(|point| point.positive == first.positive)).then(|| ValidatedPoint {
            threshold: mean(&|point| point.threshold),
            sensitivity: mean(&|point| point.sensitivity),
            specificity: mean(&|point| point.specificity),
            positives: points.iter().map(|point| point.positives).sum(),
            negatives: points.iter().map(|point| point.negatives).sum(),
            ..first.clone()
        })
    }
}

/// The mean of rows; of one row that row.
fn mean(rows: &[&[f32]]) -> Vec<f32> {
    match rows {
        [only] => only.to_vec(),
        _ => {
            let of = |at: usize| rows.iter().map(|row| f64::from(row[at])).sum::<f64>() / rows.len() as f64;
            (0..rows.first().map_or(0, |row| row.len())).map(|at| of(at) as f32).collect()
        }
    }
}

/// The means of the first, the second, ... map of each look.
fn mean_maps(looks: &[Vec<Image>]) -> Vec<Image> {
    let Some(first) = looks.first() else { return Vec::new() };
    let of = |(at, map): (usize, &Image)| {
        let pixels = mean(&looks.iter().map(|maps| &*maps[at].pixels).collect::<Vec<_>>());
        Image { pixels, ..*map }
    };
    first.iter().enumerate().map(of).collect()
}

/// Images whose rows have `columns` pixels, each row backwards.
fn mirrored(images: &[f32], columns: usize) -> Vec<f32> {
    let mut mirrored = images.to_vec();
    mirrored.chunks_exact_mut(columns).for_each(<[f32]>::reverse);
    mirrored
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::model_of;
    use crate::random::{Purpose, stream, symmetric};

    fn ensemble(seeds: &[u64], mirror: bool) -> Result<Ensemble> {
        let of = |seed: &u64| (PathBuf::from(format!("{seed}.safetensors")), model_of("inrac", *seed));
        Ensemble::new(seeds.iter().map(of).collect(), mirror)
    }

    fn images(count: usize) -> Vec<f32> {
        let mut random = stream(Purpose::Order, 3, 0, 0);
        (0..count * 64 * 32).map(|_| 1.0 + symmetric(&mut random)).collect()
    }

    #[test]
    fn one_network_has_its_own_bits_and_several_their_mean() {
        let images = images(3);
        let alone = ensemble(&[1], false).unwrap().answer(&images, 3).unwrap();
        let expected = model_of("inrac", 1).probabilities(&images, 3).unwrap();
        assert!(alone.iter().zip(&expected).all(|(answer, expected)| answer.probabilities == *expected));
        let all = ensemble(&[1, 2, 3], false).unwrap().answer(&images, 3).unwrap();
        for (at, answer) in all.iter().enumerate() {
            assert_eq!(answer.members[0], expected[at]);
            let mean = answer.members.iter().map(|member| f64::from(member[2])).sum::<f64>() / 3.0;
            assert_eq!(answer.probabilities[2], mean as f32);
            assert!((answer.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn with_its_mirror_image_a_picture_and_its_mirror_image_have_one_answer() {
        let (image, both) = (images(1), ensemble(&[1, 2], true).unwrap());
        let (straight, turned) = (both.answer(&image, 1).unwrap(), both.answer(&mirrored(&image, 32), 1).unwrap());
        assert_eq!(straight[0].probabilities, turned[0].probabilities);
        let plain = ensemble(&[1, 2], false).unwrap().answer(&image, 1).unwrap();
        assert_ne!(straight[0].probabilities, plain[0].probabilities);
        let mut sets = |_: &[f32]| vec![vec![1, 2]];
        let (answer, reasons) = both.explain(&image, &mut sets).unwrap();
        assert_eq!(answer.probabilities, straight[0].probabilities);
        let (_, other) = both.explain(&mirrored(&image, 32), &mut sets).unwrap();
        assert_eq!(reasons.gradients[0].pixels, mirrored(&other.gradients[0].pixels, 32));
    }

    #[test]
    fn networks_that_cannot_answer_together_are_refused() {
        let message = |models: Vec<(PathBuf, Model)>| Ensemble::new(models, false).err().unwrap().to_string();
        let one = || ("one".into(), model_of("inrac", 1));
        assert!(message(vec![one(), ("two".into(), model_of("inrac", 1))]).starts_with("two: has the weights"));
        let mut about = model_of("inrac", 2).metadata().clone();
        about.input_size = [64, 64];
        let other = Model::initialised(about, 2).unwrap();
        assert!(message(vec![one(), ("two".into(), other)]).starts_with("two: has another input size than one"));
        assert!(message(Vec::new()).starts_with("there is no model"));
    }
}
