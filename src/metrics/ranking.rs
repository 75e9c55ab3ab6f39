//! Scores, judged without a threshold: AUC and ROC. A sample is (score, whether it is positive).

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

/// The probability that a random positive outranks a random negative, ties counting half: the Mann-Whitney statistic over all
/// pairs, in O(n log n) and exact integers. `None` without positives, without negatives, or with a score that is NaN.
pub fn auc(samples: &[(f64, bool)]) -> Option<f64> {
    Ranking::new(samples)?.auc(|_| 1)
}

/// Samples in order, sorted once for AUCs under many weights.
pub(super) struct Ranking {
    /// Samples from the lowest score up: its number, whether it is positive.
    order: Vec<(usize, bool)>,
    /// Where in it each distinct score ends.
    ends: Vec<usize>,
}

impl Ranking {
    /// None with a score that is NaN.
    pub fn new(samples: &[(f64, bool)]) -> Option<Self> {
        if samples.iter().any(|(score, _)| score.is_nan()) {
            return None;
        }
        let mut sorted: Vec<usize> = (0..samples.len()).collect();
        sorted.sort_unstable_by(|&a, &b| samples[a].0.total_cmp(&samples[b].0));
        // -0.0 == 0.0 and total_cmp puts them side by side.
        let tied = sorted.chunk_by(|&a, &b| samples[a].0 == samples[b].0);
        let ends = tied.scan(0, |end, tied| {
            *end += tied.len();
            Some(*end)
        });
        let ends = ends.collect();
        Some(Ranking { order: sorted.into_iter().map(|sample| (sample, samples[sample].1)).collect(), ends })
    }

    /// [`auc`] with each sample standing so many times. None where all the weight is on one side.
    pub fn auc(&self, weight: impl Fn(usize) -> u64) -> Option<f64> {
        // Twice the number of pairs won: a tie adds one, a win two.
        let (mut doubled_wins, mut positives, mut negatives, mut start) = (0u128, 0u128, 0u128, 0);
        for &end in &self.ends {
            let mut tied = [0u128; 2];
            for &(sample, positive) in &self.order[start..end] {
                tied[usize::from(positive)] += u128::from(weight(sample));
            }
            doubled_wins += tied[1] * (2 * negatives + tied[0]);
            negatives += tied[0];
            positives += tied[1];
            start = end;
        }
        let pairs = positives * negatives;
        (pairs > 0).then(|| doubled_wins as f64 / (2 * pairs) as f64)
    }
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
}
