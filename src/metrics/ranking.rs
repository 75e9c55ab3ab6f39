//! Probabilities, judged without a threshold: AUC, ROC, calibration. A sample is (score, whether it is positive).

use serde::{Deserialize, Serialize};

/// What a threshold on the score would give.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RocPoint {
    /// Positive is called at or above this score; infinite for the first point, which calls nothing positive.
    pub threshold: f64,
    /// Of the negatives, the share called positive: 1 - specificity.
    pub false_positive_rate: f64,
    /// Of the positives, the share called positive: sensitivity.
    pub true_positive_rate: f64,
}

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

/// The probability that a random positive outranks a random negative, ties counting half: the Mann-Whitney statistic over all
/// pairs, in O(n log n) and exact integers. `None` without positives, without negatives, or with a score that is NaN.
pub fn auc(samples: &[(f64, bool)]) -> Option<f64> {
    // Twice the number of pairs won: a tie adds one, a win two.
    let (mut doubled_wins, mut positives, mut negatives) = (0u128, 0u128, 0u128);
    for (_, tied_positives, tied_negatives) in levels(samples)?.into_iter().rev() {
        doubled_wins += tied_positives as u128 * (2 * negatives + tied_negatives as u128);
        positives += tied_positives as u128;
        negatives += tied_negatives as u128;
    }
    let pairs = positives * negatives;
    (pairs > 0).then(|| doubled_wins as f64 / (2 * pairs) as f64)
}

/// The receiver operating characteristic from (0, 0) to (1, 1), a point a distinct score. `None` as [`auc`].
pub fn roc(samples: &[(f64, bool)]) -> Option<Vec<RocPoint>> {
    let levels = levels(samples)?;
    let positives: usize = levels.iter().map(|level| level.1).sum();
    let negatives: usize = levels.iter().map(|level| level.2).sum();
    if positives == 0 || negatives == 0 {
        return None;
    }
    let mut points = vec![RocPoint { threshold: f64::INFINITY, false_positive_rate: 0.0, true_positive_rate: 0.0 }];
    let (mut true_positives, mut false_positives) = (0, 0);
    for (threshold, tied_positives, tied_negatives) in levels {
        true_positives += tied_positives;
        false_positives += tied_negatives;
        points.push(RocPoint {
            threshold,
            false_positive_rate: false_positives as f64 / negatives as f64,
            true_positive_rate: true_positives as f64 / positives as f64,
        });
    }
    Some(points)
}

/// The mean squared difference between probability and outcome (Brier 1950); none without samples.
pub fn brier(samples: &[(f64, bool)]) -> Option<f64> {
    let sum: f64 = samples.iter().map(|&(p, positive)| (p - f64::from(u8::from(positive))).powi(2)).sum();
    (!samples.is_empty()).then(|| sum / samples.len() as f64)
}

/// Predicted against observed probability in `bins` equal parts of 0..=1; parts without samples are left out.
pub fn reliability(samples: &[(f64, bool)], bins: usize) -> Vec<Bin> {
    let bins = bins.max(1);
    let mut sums = vec![(0usize, 0f64, 0usize); bins];
    for &(p, positive) in samples {
        // A cast saturates: NaN lands in the first bin, 1.0 belongs to the last.
        let (count, predicted, observed) = &mut sums[((p * bins as f64) as usize).min(bins - 1)];
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

/// Distinct scores from the highest down: (score, positives, negatives). `None` with a NaN.
fn levels(samples: &[(f64, bool)]) -> Option<Vec<(f64, usize, usize)>> {
    if samples.iter().any(|(score, _)| score.is_nan()) {
        return None;
    }
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    // -0.0 == 0.0 and total_cmp puts them side by side.
    Some(
        sorted
            .chunk_by(|a, b| a.0 == b.0)
            .map(|tied| {
                let positives = tied.iter().filter(|(_, positive)| *positive).count();
                (tied[0].0, positives, tied.len() - positives)
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, over all pairs.
    fn auc_by_pairs(samples: &[(f64, bool)]) -> Option<f64> {
        let of = |wanted: bool| samples.iter().filter(move |(_, positive)| *positive == wanted).map(|(score, _)| *score);
        let (mut wins, mut pairs) = (0.0, 0.0);
        for positive in of(true) {
            for negative in of(false) {
                pairs += 1.0;
                wins += if positive > negative { 1.0 } else { f64::from(u8::from(positive == negative)) / 2.0 };
            }
        }
        (pairs > 0.0).then(|| wins / pairs)
    }

    fn area(points: &[RocPoint]) -> f64 {
        let step = |pair: &[RocPoint]| {
            let [a, b] = [pair[0], pair[1]];
            (b.false_positive_rate - a.false_positive_rate) * (a.true_positive_rate + b.true_positive_rate) / 2.0
        };
        points.windows(2).map(step).sum()
    }

    proptest! {
        #[test]
        fn auc_is_its_definition_and_the_area_under_the_curve(
            samples in prop::collection::vec((prop_oneof![0..6i32, -1000..1000], any::<bool>()), 0..60)
        ) {
            let samples: Vec<(f64, bool)> = samples.into_iter().map(|(score, positive)| (f64::from(score) / 8.0, positive)).collect();
            let exact = auc_by_pairs(&samples);
            prop_assert_eq!(auc(&samples), exact);
            prop_assert_eq!(roc(&samples).is_some(), exact.is_some());
            if let (Some(points), Some(exact)) = (roc(&samples), exact) {
                prop_assert!((area(&points) - exact).abs() < 1e-12);
                let last = points.last().expect("at least one level");
                prop_assert_eq!((last.false_positive_rate, last.true_positive_rate), (1.0, 1.0));
            }
        }
    }

    #[test]
    fn ties_and_signed_zeros_count_half() {
        assert_eq!(auc(&[(0.0, true), (-0.0, false)]), Some(0.5));
        assert_eq!(auc(&[(0.9, true), (0.1, false)]), Some(1.0));
        assert_eq!(auc(&[(0.1, true), (0.9, false)]), Some(0.0));
    }

    #[test]
    fn one_sided_or_broken_samples_have_no_curve() {
        for samples in [vec![], vec![(0.5, true)], vec![(0.5, false), (0.1, false)], vec![(f64::NAN, true), (0.1, false)]] {
            assert_eq!((auc(&samples), roc(&samples)), (None, None));
        }
    }

    #[test]
    fn a_million_samples_do_not_overflow() {
        let samples: Vec<(f64, bool)> = (0..1_000_000).map(|i| (f64::from(i), i % 2 == 0)).collect();
        assert!((auc(&samples).unwrap() - 0.5).abs() < 1e-5);
    }

    #[test]
    fn reliability_bins_by_hand() {
        let samples = [(0.05, false), (0.15, false), (0.15, true), (1.0, true)];
        let bins = reliability(&samples, 10);
        assert_eq!(bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), [1, 2, 1]);
        assert_eq!((bins[1].observed, bins[2].predicted), (0.5, 1.0));
        assert_eq!(brier(&[(0.5, true), (0.5, false)]), Some(0.25));
    }
}
