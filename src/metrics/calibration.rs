//! Whether probabilities mean what they say: Brier score, log loss, reliability and how far it is off. A sample is (predicted
//! probability, whether it came true).

use super::{Predictions, one_against_rest, predicted};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::f64::consts::FRAC_2_PI;

/// Bins of a reliability diagram and of the calibration errors in a report: tenths.
pub const BINS: usize = 10;

/// Studies of similar predicted probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// How many.
    pub count: usize,
    /// The mean of their predicted probabilities.
    pub predicted: f64,
    /// The share that is positive.
    pub observed: f64,
}

/// How far observed shares are from predicted probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationError {
    /// Expected calibration error: the mean over the samples of their bin's |observed - predicted|.
    pub expected: f64,
    /// Maximum calibration error: the largest of any bin.
    pub maximum: f64,
    /// The bins that have samples, from low probability to high.
    pub bins: Vec<Bin>,
}

/// The calibration of a set of predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// How many equal parts 0..=1 was divided into.
    pub bins: usize,
    /// The mean of -ln p(true class); none without studies.
    pub log_loss: Option<f64>,
    /// Of the predicted class: its probability (confidence) against whether it is right. None without studies.
    pub top_label: Option<CalibrationError>,
    /// The expected error of the predicted class that probabilities would have which mean what they say, with so few patients:
    /// [`error_by_chance`].
    #[serde(default)]
    pub by_chance: Option<f64>,
    /// Of each class's probability against whether it is the truth.
    pub classes: Vec<ClassCalibration>,
    /// The mean of the classes' expected errors: the classwise error of Kull et al. (NeurIPS 2019), section 2.
    pub classwise: Option<f64>,
    /// Of the probability of metastasis; none where the classes do not merge.
    pub metastatic: Option<CalibrationError>,
}

/// The calibration of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassCalibration {
    /// Its name.
    pub class: String,
    /// None without studies.
    #[serde(flatten)]
    pub error: Option<CalibrationError>,
    /// The mean squared difference between its probability and whether it is the truth.
    pub brier: Option<f64>,
}

impl Calibration {
    /// Of predictions that [`super::Scores::new`] accepts, in `bins` bins.
    pub fn new(predictions: &Predictions, bins: usize) -> Self {
        let Predictions { classes, truths, probabilities, .. } = predictions;
        let of_classes: Vec<ClassCalibration> = classes
            .iter()
            .enumerate()
            .map(|(class, name)| {
                let samples = one_against_rest(truths, probabilities, class);
                ClassCalibration { class: name.clone(), error: calibration_error(&samples, bins), brier: brier(&samples) }
            })
            .collect();
        let top = top_label(truths, probabilities);
        Calibration {
            bins: bins.max(1),
            log_loss: log_loss(truths, probabilities),
            top_label: calibration_error(&top, bins),
            by_chance: error_by_chance(&top, &predictions.numbered_patients().0, bins),
            classwise: super::mean(of_classes.iter().map(|class| class.error.as_ref().map(|error| error.expected))),
            metastatic: predictions.ranking().and_then(|ranked| calibration_error(&ranked, bins)),
            classes: of_classes,
        }
    }
}

/// The mean squared difference between probability and outcome (Brier 1950); none without samples.
pub fn brier(samples: &[(f64, bool)]) -> Option<f64> {
    let sum: f64 = samples.iter().map(|&(p, positive)| (p - f64::from(u8::from(positive))).powi(2)).sum();
    (!samples.is_empty()).then(|| sum / samples.len() as f64)
}

/// Negative log likelihood: the mean of -ln p(true class), none without studies. Probabilities below the resolution of `f32` near 1
/// (1.2e-7) count as that much, as in scikit-learn, so that one study that was surely something else costs 15.9 and not infinity.
pub fn log_loss(truths: &[usize], probabilities: &[Vec<f32>]) -> Option<f64> {
    const LEAST: f32 = f32::EPSILON;
    let loss = |(&truth, row): (&usize, &Vec<f32>)| -f64::from(row[truth].clamp(LEAST, 1.0 - LEAST)).ln();
    (!truths.is_empty()).then(|| truths.iter().zip(probabilities).map(loss).sum::<f64>() / truths.len() as f64)
}

/// `-ln softmax(logits / temperature)[label]`, from the logits so that a hopeless case has a finite loss.
pub fn cross_entropy(logits: &[f32], label: usize, temperature: f64) -> f64 {
    let largest = logits.iter().copied().fold(f32::MIN, f32::max);
    let scaled = |logit: f32| f64::from(logit - largest) / temperature;
    let sum: f64 = logits.iter().map(|&logit| scaled(logit).exp()).sum();
    sum.ln() - scaled(logits[label])
}

/// The temperatures that [`temperature`] chooses from. Below a half, a few validation studies that happen to be all right would make a
/// network nearly certain of everything.
const TEMPERATURES: [f64; 2] = [0.5, 20.0];

/// What logits are divided by so that their mean cross-entropy is least (temperature scaling: Guo et al. 2017, section 4.2), from 0.5 to
/// 20; 1 without studies. Each item is a study's logits and its label.
pub fn temperature(studies: &[(&[f32], usize)]) -> f64 {
    // The derivative of the sum of losses by 1 / temperature: what the logits are on average, less the label's. The loss is convex in it.
    let slope = |inverse: f64| -> f64 {
        let of = |&(logits, label): &(&[f32], usize)| {
            let largest = logits.iter().copied().fold(f32::MIN, f32::max);
            let weights = logits.iter().map(|&logit| (f64::from(logit - largest) * inverse).exp());
            let (sum, mean) = logits
                .iter()
                .zip(weights)
                .fold((0.0, 0.0), |(sum, mean), (&logit, weight)| (sum + weight, mean + weight * f64::from(logit)));
            mean / sum - f64::from(logits[label])
        };
        studies.iter().map(of).sum()
    };
    if studies.is_empty() {
        return 1.0;
    }
    let [mut low, mut high] = [1.0 / TEMPERATURES[1], 1.0 / TEMPERATURES[0]];
    for _ in 0..60 {
        let middle = (low * high).sqrt();
        if slope(middle) > 0.0 { high = middle } else { low = middle }
    }
    1.0 / (low * high).sqrt()
}

/// Pairs (probability of the predicted class, whether it is the true one).
pub fn top_label(truths: &[usize], probabilities: &[Vec<f32>]) -> Vec<(f64, bool)> {
    let pair = |(&truth, row): (&usize, &Vec<f32>)| {
        let class = predicted(row);
        (f64::from(row[class]), class == truth)
    };
    truths.iter().zip(probabilities).map(pair).collect()
}

/// Predicted against observed probability in `bins` equal parts of 0..=1; parts without samples are left out. As in Guo et al.
/// (ICML 2017), equation 2, bin m of M is ((m - 1) / M, m / M]; 0 belongs to the first.
pub fn reliability(samples: &[(f64, bool)], bins: usize) -> Vec<Bin> {
    let bins = bins.max(1);
    let mut sums = vec![(0usize, 0f64, 0usize); bins];
    for &(p, positive) in samples {
        let (count, predicted, observed) = &mut sums[bin_of(p, bins)];
        *count += 1;
        *predicted += p;
        *observed += usize::from(positive);
    }
    sums.into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, predicted, observed)| Bin {
            count,
            predicted: predicted / count as f64,
            observed: observed as f64 / count as f64,
        })
        .collect()
}

/// The bin of a probability, from 0: from about the right edge to exactly that which it lies at or below; NaN is in the first.
fn bin_of(p: f64, bins: usize) -> usize {
    let width = 1.0 / bins as f64;
    let mut bin = ((p * bins as f64) as usize).min(bins - 1);
    while bin > 0 && p <= bin as f64 * width {
        bin -= 1;
    }
    bin
}

/// The [`expected`](CalibrationError::expected) error to be expected of probabilities that mean what they say, since a bin's share of so few
/// patients differs from its probability by chance; none without samples. `patients` has the patient of each sample. Those of one
/// patient in one bin count as right or wrong together, so the number in a bin that is right has the variance
/// `sum over its patients of count^2 * p * (1 - p)`; the mean distance of a normal variable from its mean is `sqrt(2 / pi)` deviations.
pub fn error_by_chance(samples: &[(f64, bool)], patients: &[usize], bins: usize) -> Option<f64> {
    let bins = bins.max(1);
    let mut sums: BTreeMap<(usize, usize), (f64, f64)> = BTreeMap::new();
    for (&(p, _), &patient) in samples.iter().zip(patients) {
        let (count, sum) = sums.entry((bin_of(p, bins), patient)).or_default();
        *count += 1.0;
        *sum += p;
    }
    let mut variances = vec![0.0; bins];
    for ((bin, _), (count, sum)) in sums {
        let p = sum / count;
        variances[bin] += count * count * p * (1.0 - p);
    }
    let distances = variances.iter().map(|variance| (FRAC_2_PI * variance).sqrt());
    (!samples.is_empty()).then(|| distances.sum::<f64>() / samples.len() as f64)
}

/// Expected and maximum calibration error over `bins` bins of equal width (Naeini et al., AAAI 2015; Guo et al. 2017, equations 3
/// and 5); none without samples. Of [`top_label`] it is Guo's error of a classifier of many classes, of a ranking that of two.
pub fn calibration_error(samples: &[(f64, bool)], bins: usize) -> Option<CalibrationError> {
    let bins = reliability(samples, bins);
    let gap = |bin: &Bin| (bin.observed - bin.predicted).abs();
    (!samples.is_empty()).then(|| CalibrationError {
        expected: bins.iter().map(|bin| bin.count as f64 * gap(bin)).sum::<f64>() / samples.len() as f64,
        maximum: bins.iter().map(gap).fold(0.0, f64::max),
        bins,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream, unit};

    #[test]
    fn reliability_bins_by_hand() {
        let samples = [(0.05, false), (0.15, false), (0.15, true), (1.0, true)];
        let bins = reliability(&samples, 10);
        assert_eq!(bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), [1, 2, 1]);
        assert_eq!((bins[1].observed, bins[2].predicted), (0.5, 1.0));
        assert_eq!(brier(&[(0.5, true), (0.5, false)]), Some(0.25));
    }

    /// Against simulation: probabilities that mean what they say, patients with one to four studies that are right or wrong together.
    #[test]
    fn the_error_by_chance_is_that_of_true_probabilities() {
        let mut random = stream(Purpose::Order, 3, 0, 0);
        for patients in [30, 100, 400] {
            let each: Vec<(f64, usize)> =
                (0..patients).map(|patient| (0.35 + 0.6 * f64::from(unit(&mut random)), 1 + patient % 4)).collect();
            let of = |right: &[bool]| -> Vec<(f64, bool)> {
                each.iter().zip(right).flat_map(|(&(p, studies), &right)| vec![(p, right); studies]).collect()
            };
            let numbers: Vec<usize> =
                each.iter().enumerate().flat_map(|(patient, &(_, studies))| vec![patient; studies]).collect();
            let mut sum = 0.0;
            for _ in 0..2000 {
                let right: Vec<bool> = each.iter().map(|&(p, _)| f64::from(unit(&mut random)) < p).collect();
                sum += calibration_error(&of(&right), BINS).unwrap().expected;
            }
            let (simulated, reckoned) = (sum / 2000.0, error_by_chance(&of(&vec![true; patients]), &numbers, BINS).unwrap());
            assert!((simulated - reckoned).abs() < 0.05 * simulated, "{patients}: {simulated} and {reckoned}");
        }
        assert_eq!(error_by_chance(&[], &[], 10), None);
    }

    #[test]
    fn an_edge_belongs_to_the_bin_below_it() {
        let bin_of = |p: f64, bins: usize| {
            let all: Vec<(f64, bool)> =
                (0..bins).map(|bin| ((bin as f64 + 0.5) / bins as f64, false)).chain([(p, true)]).collect();
            reliability(&all, bins).iter().position(|bin| bin.count == 2).unwrap()
        };
        assert_eq!([0.0, 0.1, 0.100001, 0.3, 0.5, 0.7, 0.9, 1.0].map(|p| bin_of(p, 10)), [0, 0, 1, 2, 4, 6, 8, 9]);
        for bins in 1..40 {
            for edge in 0..=bins {
                let p = edge as f64 * (1.0 / bins as f64);
                assert_eq!(bin_of(p, bins), edge.max(1) - 1, "{edge} of {bins}");
                if edge < bins {
                    assert_eq!(bin_of(p.next_up(), bins), edge, "above {edge} of {bins}");
                }
            }
        }
    }

    #[test]
    fn errors_by_hand() {
        // Bin (0.5, 0.6]: 3 of 4 right at 0.6, 0.15 off. Bin (0.9, 1]: 1 of 2 at 1, 0.5 off.
        let samples = [(0.6, true), (0.6, true), (0.6, true), (0.6, false), (1.0, true), (1.0, false)];
        let error = calibration_error(&samples, 10).unwrap();
        assert!((error.expected - (4.0 * 0.15 + 2.0 * 0.5) / 6.0).abs() < 1e-12 && (error.maximum - 0.5).abs() < 1e-12);
        assert_eq!(error.bins.len(), 2);
        // In one bin the two errors make up for each other in part.
        assert!((calibration_error(&samples, 1).unwrap().expected - (4.0 / 6.0 - 4.4 / 6.0_f64).abs()).abs() < 1e-12);
        assert_eq!(calibration_error(&[], 10), None);
    }

    #[test]
    fn the_log_loss_of_a_surely_wrong_answer_is_finite() {
        assert!((log_loss(&[0, 1], &[vec![0.5, 0.5], vec![0.75, 0.25]]).unwrap() - 8f64.ln() / 2.0).abs() < 1e-12);
        let wrong = log_loss(&[1], &[vec![1.0, 0.0]]).unwrap();
        assert!((wrong - 15.94).abs() < 0.01, "{wrong}");
        assert_eq!(log_loss(&[], &[]), None);
    }

    #[test]
    fn the_temperature_makes_the_loss_least() {
        let logits: Vec<[f32; 3]> = (0..60).map(|i| [4.0 * ((i * 7 % 11) as f32 / 11.0), (i % 5) as f32, 1.0]).collect();
        let studies: Vec<(&[f32], usize)> = logits.iter().enumerate().map(|(i, row)| (&row[..], i * i % 3)).collect();
        let loss = |temperature| studies.iter().map(|&(row, label)| cross_entropy(row, label, temperature)).sum::<f64>();
        let best = temperature(&studies);
        assert!((0.5..20.0).contains(&best) && loss(best) < loss(1.0), "{best}");
        assert!(loss(best) <= loss(best * 1.01) && loss(best) <= loss(best / 1.01), "{best}");
        // Logits that are ten times too large are made ten times smaller.
        let tenfold: Vec<[f32; 3]> = logits.iter().map(|row| row.map(|logit| 10.0 * logit)).collect();
        let studies: Vec<(&[f32], usize)> = tenfold.iter().enumerate().map(|(i, row)| (&row[..], i * i % 3)).collect();
        assert!((temperature(&studies).min(20.0) / (10.0 * best).min(20.0) - 1.0).abs() < 1e-3);
        assert_eq!(temperature(&[]), 1.0);
        // Always right: the surer the better. Always wrong: the less sure.
        assert!(temperature(&[(&[3.0, 0.0], 0)]) < 0.51 && temperature(&[(&[3.0, 0.0], 1)]) > 19.0);
    }

    #[test]
    fn the_top_label_is_the_predicted_one() {
        let pairs = top_label(&[0, 2], &[vec![0.5, 0.25, 0.25], vec![0.25, 0.5, 0.25]]);
        assert_eq!(pairs, [(0.5, true), (0.5, false)]);
    }
}
