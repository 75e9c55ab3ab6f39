//! What a classifier of two sides does where a clinic would set its threshold: at a wanted sensitivity or specificity.

use super::ranking::roc;
use serde::{Deserialize, Serialize};

/// Sensitivities and specificities that a report shows.
pub const TARGETS: [f64; 3] = [0.80, 0.90, 0.95];

/// A threshold and what it gives. It was chosen on the very studies that it is judged on: elsewhere expect a little less.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatingPoint {
    /// The sensitivity or specificity that was asked for.
    pub target: f64,
    /// Positive is called at or above this probability. None: nothing is called positive, since the highest probability already
    /// costs too much.
    pub threshold: Option<f64>,
    /// Of the positives, the share called positive.
    pub sensitivity: f64,
    /// Of the negatives, the share called negative.
    pub specificity: f64,
    /// Positive predictive value: of what is called positive, the share that is. It holds for this share of positives.
    pub ppv: Option<f64>,
    /// Negative predictive value: of what is called negative, the share that is. It holds for this share of positives.
    pub npv: Option<f64>,
}

/// Points at [`TARGETS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatingPoints {
    /// At no less than these sensitivities.
    pub sensitivity: Vec<OperatingPoint>,
    /// At no less than these specificities.
    pub specificity: Vec<OperatingPoint>,
}

impl OperatingPoints {
    /// Of samples (probability, whether positive); none without positives, without negatives, or with a NaN.
    pub fn new(samples: &[(f64, bool)]) -> Option<Self> {
        Some(OperatingPoints {
            sensitivity: TARGETS.into_iter().map(|target| at_sensitivity(samples, target)).collect::<Option<_>>()?,
            specificity: TARGETS.into_iter().map(|target| at_specificity(samples, target)).collect::<Option<_>>()?,
        })
    }
}

/// The highest threshold whose sensitivity is at least `target`, and so the greatest specificity. Samples of one probability are
/// called the same, so the sensitivity may be greater. None as [`roc`].
pub fn at_sensitivity(samples: &[(f64, bool)], target: f64) -> Option<OperatingPoint> {
    let points = roc(samples)?;
    let point = points.iter().find(|point| point.true_positive_rate >= target - ROUNDING)?;
    Some(judge(samples, target, point.threshold))
}

/// The lowest threshold whose specificity is at least `target`, and so the greatest sensitivity. None as [`roc`].
pub fn at_specificity(samples: &[(f64, bool)], target: f64) -> Option<OperatingPoint> {
    let points = roc(samples)?;
    let point = points.iter().rfind(|point| 1.0 - point.false_positive_rate >= target - ROUNDING)?;
    Some(judge(samples, target, point.threshold))
}

/// A share of studies differs from another by more; 0.95 of 20 must be 19.
const ROUNDING: f64 = 1e-9;

/// What a threshold gives, by counting; there are samples of both sides.
fn judge(samples: &[(f64, bool)], target: f64, threshold: f64) -> OperatingPoint {
    let mut counts = [[0u64; 2]; 2]; // [positive][called]
    for &(p, positive) in samples {
        counts[usize::from(positive)][usize::from(p >= threshold)] += 1;
    }
    let [[true_negatives, false_positives], [false_negatives, true_positives]] = counts;
    let share = |part: u64, other: u64| (part + other > 0).then(|| part as f64 / (part + other) as f64);
    OperatingPoint {
        target,
        threshold: Some(threshold).filter(|threshold| threshold.is_finite()),
        sensitivity: share(true_positives, false_negatives).unwrap_or_default(),
        specificity: share(true_negatives, false_positives).unwrap_or_default(),
        ppv: share(true_positives, false_positives),
        npv: share(true_negatives, false_negatives),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_are_called_together() {
        // Positives at .9 .8 .8 .3, negatives at .8 .5 .3 .1.
        let samples =
            [(0.9, true), (0.8, true), (0.8, true), (0.3, true), (0.8, false), (0.5, false), (0.3, false), (0.1, false)];
        let point = at_sensitivity(&samples, 0.5).unwrap();
        assert_eq!((point.threshold, point.sensitivity, point.specificity), (Some(0.8), 0.75, 0.75));
        assert_eq!((point.ppv, point.npv), (Some(0.75), Some(0.75)));
        let point = at_sensitivity(&samples, 0.80).unwrap();
        assert_eq!((point.threshold, point.sensitivity, point.specificity), (Some(0.3), 1.0, 0.25));
        let point = at_specificity(&samples, 0.80).unwrap();
        assert_eq!((point.threshold, point.sensitivity, point.specificity), (Some(0.9), 0.25, 1.0));
        let point = at_specificity(&samples, 0.75).unwrap();
        assert_eq!((point.threshold, point.sensitivity), (Some(0.8), 0.75));
    }

    #[test]
    fn where_the_highest_is_negative_nothing_is_called() {
        let samples = [(0.9, false), (0.5, true), (0.1, false)];
        let point = at_specificity(&samples, 0.95).unwrap();
        assert_eq!((point.threshold, point.sensitivity, point.specificity), (None, 0.0, 1.0));
        assert_eq!((point.ppv, point.npv), (None, Some(2.0 / 3.0)));
    }

    #[test]
    fn a_share_is_reached_despite_rounding() {
        for positives in 1..200u32 {
            let samples: Vec<(f64, bool)> =
                (0..positives).map(|i| (1.0 - f64::from(i) / 1000.0, true)).chain([(0.0, false)]).collect();
            for (target, tenths) in [(0.8, 16), (0.9, 18), (0.95, 19)] {
                let needed = (positives * tenths).div_ceil(20);
                let got = at_sensitivity(&samples, target).unwrap().sensitivity * f64::from(positives);
                assert_eq!(got.round() as u32, needed, "{target} of {positives}");
            }
        }
    }

    #[test]
    fn one_side_alone_has_no_points() {
        assert!(OperatingPoints::new(&[(0.5, true)]).is_none() && OperatingPoints::new(&[]).is_none());
        assert!(OperatingPoints::new(&[(0.5, true), (f64::NAN, false)]).is_none());
    }
}
