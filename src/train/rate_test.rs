//! A learning-rate range test (Smith 2017, section 3.3): the rate rises from step to step, and the loss says from where on a
//! network learns and from where on it diverges.
//!
//! Numbers of steps, range, smoothing, end and proposals are those of fastai's `lr_find`.

use super::prepared::Prepared;
use super::{Settings, Trainer};
use crate::archive::manifest::Manifest;
use crate::prepare::loader::Batch;
use crate::report::{self, Figure, RateStep};
use crate::{DISCLAIMER, Error, Result};
use serde::Serialize;

/// The most steps of a test.
pub const RATE_STEPS: usize = 100;

/// The first learning rate and, if the test does not end before it, the last.
const RATES: [f64; 2] = [1e-7, 10.0];

/// Decay of the mean that smooths the loss.
const SMOOTHING: f64 = 0.98;

/// The test ends where the smoothed loss is above this many times the least so far.
const DIVERGED: f64 = 4.0;

/// No rate is proposed that has fewer steps before it, where the mean is of few losses.
const SKIPPED_FIRST: usize = RATE_STEPS / 10;

/// Nor one that has fewer behind it, where the loss diverges.
const SKIPPED_LAST: usize = 5;

/// Steps on either side of one that its slope is measured over: a decade of rates together, since what falls from one batch to the
/// next is noise.
const AROUND: usize = 6;

/// The first steps, at rates up to 1e-5, whose mean loss is that of the network as it began.
const UNTRAINED: usize = RATE_STEPS / 4;

/// Later steps whose mean loss has to be below it.
const WINDOW: usize = 10;

/// By so many standard errors of the difference: batches differ, and the least of many means is compared.
const NOISE: f64 = 4.0;

/// And by this share of the loss.
const LEAST_FALL: f64 = 0.02;

/// One step of a test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RatePoint {
    /// The step's learning rate.
    pub learning_rate: f32,
    /// Its loss, before the step.
    pub loss: f32,
    /// The exponentially weighted mean of the losses so far, without the bias of its beginning (Kingma and Ba 2015, section 3).
    pub smoothed_loss: f64,
}

/// What a test found.
#[derive(Clone, Debug, PartialEq)]
pub struct RateTest {
    /// Every step, in the order of rising rates.
    pub points: Vec<RatePoint>,
    /// Where loss, gradient or a weight of the step after the last point was not finite.
    pub not_finite: Option<String>,
    /// The rates that the curve proposes; none where the loss falls at no rate.
    pub proposals: Option<Proposals>,
}

/// Learning rates that a curve proposes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposals {
    /// Where the smoothed loss falls fastest over the logarithm of the rate, on its way to the least.
    pub steepest: f64,
    /// A tenth of the rate at which the smoothed loss is least.
    pub tenth_of_minimum: f64,
}

impl Proposals {
    /// The one to begin with: the smaller, with one digit.
    pub fn learning_rate(&self) -> f64 {
        let text = format!("{:.0e}", self.steepest.min(self.tenth_of_minimum));
        text.parse().expect("a number that was just written")
    }
}

impl RateTest {
    /// The curve, with the proposals marked. `architecture` stands beneath.
    pub fn figure(&self, architecture: &str) -> Figure {
        let step = |point: &RatePoint| RateStep {
            rate: point.learning_rate.into(),
            loss: point.loss.into(),
            smoothed_loss: point.smoothed_loss,
        };
        let steps: Vec<RateStep> = self.points.iter().map(step).collect();
        let marks = |of: &Proposals| [("steepest", of.steepest), ("minimum / 10", of.tenth_of_minimum)];
        let marks = self.proposals.as_ref().map(marks);
        report::rate_curve(&steps, marks.as_ref().map_or(&[], |marks| marks), &format!("{architecture}. {DISCLAIMER}"))
    }
}

/// Trains the network of `settings` on its training batches with rising learning rates, without warm-up and schedule; where an
/// epoch has fewer batches than the test has steps, it is repeated. Nothing is kept. `watch` is told of every step.
///
/// # Errors
/// As those of a training before its first step; studies that cannot be read; [`Error::Interrupted`].
pub fn find_rate(manifest: &Manifest, settings: &Settings, watch: &mut dyn FnMut(&RatePoint)) -> Result<RateTest> {
    let Prepared { mut trainer, training, .. } = Prepared::new(manifest, settings)?;
    test(&mut trainer, (1..).flat_map(|epoch| training.epoch(epoch)), watch)
}

/// Learning rate of a step, from 0.
fn rate(step: usize) -> f64 {
    let [first, last] = RATES;
    first * (last / first).powf(step as f64 / (RATE_STEPS - 1) as f64)
}

fn test(
    trainer: &mut Trainer,
    batches: impl Iterator<Item = Result<Batch>>,
    watch: &mut dyn FnMut(&RatePoint),
) -> Result<RateTest> {
    let (mut points, mut not_finite) = (Vec::new(), None);
    let (mut mean, mut best) = (0.0, f64::INFINITY);
    for (step, batch) in batches.take(RATE_STEPS).enumerate() {
        let batch = batch?;
        let learning_rate = rate(step) as f32;
        let loss = match trainer.step(&batch.images, &batch.labels, learning_rate) {
            Err(Error::NotFinite { place }) => {
                not_finite = Some(place);
                break;
            }
            step => step?.loss,
        };
        mean = SMOOTHING * mean + (1.0 - SMOOTHING) * f64::from(loss);
        let smoothed_loss = mean / (1.0 - SMOOTHING.powi(step as i32 + 1));
        let point = RatePoint { learning_rate, loss, smoothed_loss };
        points.push(point);
        watch(&point);
        best = smoothed_loss.min(best);
        if smoothed_loss > DIVERGED * best {
            break;
        }
    }
    let proposals = propose(&points);
    Ok(RateTest { points, not_finite, proposals })
}

/// What a curve proposes, if its loss falls.
fn propose(points: &[RatePoint]) -> Option<Proposals> {
    let judged = points.get(SKIPPED_FIRST..points.len().checked_sub(SKIPPED_LAST)?)?;
    let (untrained, trained) = points[..points.len() - SKIPPED_LAST].split_at_checked(UNTRAINED)?;
    let mean = |points: &[RatePoint]| points.iter().map(|point| f64::from(point.loss)).sum::<f64>() / points.len() as f64;
    let level = mean(untrained);
    let variance = untrained.iter().map(|point| (f64::from(point.loss) - level).powi(2)).sum::<f64>() / (UNTRAINED - 1) as f64;
    let error = (variance * (1.0 / UNTRAINED as f64 + 1.0 / WINDOW as f64)).sqrt();
    let least = trained.windows(WINDOW).map(mean).min_by(f64::total_cmp)?;
    if least > level - (NOISE * error).max(LEAST_FALL * level) {
        return None;
    }
    let (at, least) = judged.iter().enumerate().min_by(|(_, a), (_, b)| a.smoothed_loss.total_cmp(&b.smoothed_loss))?;
    // Up to its least: behind it, what falls is what a rate that is too high has made rise before.
    let falling = &judged[..=at];
    let slope = |at: &usize| slope(&falling[at.saturating_sub(AROUND)..falling.len().min(at + AROUND + 1)]);
    let steepest = (0..falling.len()).min_by(|a, b| slope(a).total_cmp(&slope(b)))?;
    Some(Proposals { steepest: falling[steepest].learning_rate.into(), tenth_of_minimum: f64::from(least.learning_rate) / 10.0 })
}

/// Of the straight line through the smoothed losses over the logarithms of the rates, by least squares; 0 of a single point.
fn slope(points: &[RatePoint]) -> f64 {
    let mean = |of: &dyn Fn(&RatePoint) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    let rate = |point: &RatePoint| f64::from(point.learning_rate).ln();
    let (rates, losses) = (mean(&rate), mean(&|point| point.smoothed_loss));
    let both = mean(&|point| (rate(point) - rates) * (point.smoothed_loss - losses));
    let square = mean(&|point| (rate(point) - rates).powi(2));
    if square > 0.0 { both / square } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::model_of;
    use crate::optim::Adam;

    /// Bright above against bright below, again and again; nothing but dark images of both labels where nothing `is_learnable`.
    fn batches(is_learnable: bool) -> impl Iterator<Item = Result<Batch>> {
        let image = |i: i32| f32::from(is_learnable && (i / 32 % 64 < 32) == (i / (64 * 32) % 2 == 0));
        let images: Vec<f32> = (0..2 * 64 * 32).map(image).collect();
        std::iter::repeat_with(move || {
            Ok(Batch { images: images.clone(), labels: vec![0, 2], studies: vec![0, 1], ..Batch::default() })
        })
    }

    #[test]
    fn rates_rise_by_one_factor_and_the_loss_that_diverges_ends_the_test() {
        let mut trainer = Trainer::new(model_of("vgg-11", 5), Adam::default());
        let mut told = 0;
        let RateTest { points, not_finite, proposals } = test(&mut trainer, batches(true), &mut |_| told += 1).unwrap();
        assert!(points.len() < RATE_STEPS && told == points.len(), "{} steps", points.len());
        let best = points.iter().map(|point| point.smoothed_loss).fold(f64::INFINITY, f64::min);
        assert!(not_finite.is_some() || points.last().unwrap().smoothed_loss > DIVERGED * best);
        assert_eq!(points[0].learning_rate, 1e-7);
        assert_eq!(points[0].smoothed_loss as f32, points[0].loss, "without the bias of its beginning");
        assert!((rate(RATE_STEPS - 1) - 10.0).abs() < 1e-9);
        for pair in points.windows(2) {
            assert!((pair[1].learning_rate / pair[0].learning_rate - 1.204_503_5).abs() < 1e-4, "1e8 to the power 1 / 99");
        }
        let proposals = proposals.expect("what is above and what is below can be learnt");
        assert!((1e-6..1e-3).contains(&proposals.learning_rate()), "{proposals:?}");
    }

    #[test]
    fn what_cannot_be_learnt_has_no_proposal() {
        // The same image has both labels, as often, and the network says that already: no loss is less than a coin's.
        let mut model = model_of("inrac-no-attention", 5);
        for (name, values) in [("fc.weight", vec![0.0; 3 * 512]), ("fc.bias", vec![0.0, -100.0, 0.0])] {
            let id = model.parameters().iter().find(|(_, parameter)| parameter.name == name).unwrap().0;
            model.parameters_mut().values_mut(id).copy_from_slice(&values);
        }
        let mut trainer = Trainer::new(model, Adam::default());
        let test = test(&mut trainer, batches(false), &mut |_| {}).unwrap();
        assert_eq!(test.points[0].loss, 2f32.ln());
        assert_eq!(test.proposals, None, "{:?}", test.points);
        assert!(test.figure("").svg().contains("No rate is proposed."));
    }

    #[test]
    fn the_proposals_are_where_the_curve_says() {
        // Level to 1e-5, down by a half until 1e-2, up behind that; the fall is fastest at 1e-4.
        let curve = |step: usize| {
            let power = rate(step).log10();
            let loss = 1.1 - 0.25 * ((power + 4.0) / 0.5).tanh() + if power > -2.0 { (power + 2.0).powi(2) } else { 0.0 };
            RatePoint { learning_rate: rate(step) as f32, loss: loss as f32, smoothed_loss: loss }
        };
        let points: Vec<RatePoint> = (0..RATE_STEPS).map(curve).collect();
        let mut bumpy = points.clone();
        bumpy[20].smoothed_loss += 0.2; // one batch, and the next takes it back
        assert!((propose(&bumpy).unwrap().steepest.log10() + 4.0).abs() < 0.1, "a single step is noise");
        let proposals = propose(&points).unwrap();
        assert!((proposals.steepest.log10() + 4.0).abs() < 0.1, "{proposals:?}");
        assert!((proposals.tenth_of_minimum.log10() + 3.0).abs() < 0.1, "{proposals:?}");
        // The same fall is none where batches differ as much.
        let mut noisy = points.clone();
        noisy.iter_mut().enumerate().for_each(|(step, point)| point.loss += if step % 2 == 0 { 1.0 } else { -1.0 });
        assert_eq!(propose(&noisy), None);
        assert_eq!(Proposals { steepest: 3.4e-4, tenth_of_minimum: 9.7e-4 }.learning_rate(), 3e-4);
        assert_eq!(Proposals { steepest: 3.4e-4, tenth_of_minimum: 9.6e-5 }.learning_rate(), 1e-4);
        for few in [0, 1, SKIPPED_LAST, SKIPPED_FIRST + SKIPPED_LAST, UNTRAINED + SKIPPED_LAST, UNTRAINED + WINDOW] {
            assert_eq!(propose(&points[..few]), None, "{few} steps say nothing");
        }
    }
}
