//! What stands beside an answer: on which side of the model's threshold it is, whether the scan is like the training scans, and how far
//! several networks agree.

use crate::metrics;
use crate::models::ValidatedPoint;
use crate::text::counted;
use serde_json::{Value, json};

/// Whether a scan is like those that a model was trained on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trust {
    /// What of it is unlike them, each in words; none where it is like them.
    pub reasons: Vec<String>,
    /// How far what the network sees in it is from the training scans, where 99 of 100 of these are below 1; none of a model of few
    /// patients.
    pub distance: Option<f64>,
}

impl Trust {
    /// `unlike what the model was trained on: 0.10 million counts a view, where training scans have 2.00 to 3.96`; none where it is like
    /// that.
    pub fn warning(&self) -> Option<String> {
        (!self.reasons.is_empty()).then(|| format!("unlike what the model was trained on: {}", self.reasons.join("; ")))
    }

    /// As `predict --json` has it.
    pub fn json(&self) -> Value {
        // JSON has no infinity.
        let distance = self.distance.filter(|distance| distance.is_finite());
        json!({ "is_like_training": self.reasons.is_empty(), "unlike": self.reasons, "distance": distance })
    }
}

/// A probability beside the threshold at which the model found most of the validation patients that have the disease.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The threshold, and what it gave.
    pub point: ValidatedPoint,
    /// Of the positive classes together.
    pub probability: f64,
}

impl Verdict {
    /// Of an answer; none where the model's classes have no such point.
    pub fn new(point: ValidatedPoint, classes: &[String], probabilities: &[f32]) -> Option<Self> {
        let each = || classes.iter().zip(probabilities);
        let sum = |is_positive: bool| -> f64 {
            each().filter(|(class, _)| point.positive.contains(class) == is_positive).map(|(_, p)| f64::from(*p)).sum()
        };
        let (positive, others) = (sum(true), sum(false));
        let is_known = point.positive.iter().all(|class| classes.contains(class)) && positive + others > 0.0;
        is_known.then(|| Verdict { probability: positive / (positive + others), point })
    }

    /// Whether the probability reaches the threshold.
    pub fn is_positive(&self) -> bool {
        self.probability >= self.point.threshold
    }

    /// `metastasis likely: 0.83 is at or above 0.31, the threshold that found 95 % of the 14 validation patients with it ...`
    pub fn words(&self, classes: &[String]) -> String {
        let ValidatedPoint { positive, threshold, sensitivity, specificity, positives, negatives, .. } = &self.point;
        let what = match (metrics::no_metastasis(classes), &positive[..]) {
            (Some(_), _) => "metastasis".to_owned(),
            (None, names) => names.join(" or "),
        };
        let (likely, side) = if self.is_positive() { ("likely", "at or above") } else { ("not likely", "below") };
        // As many digits as tell the two apart.
        let written = |decimals: usize| [self.probability, *threshold].map(|number| format!("{number:.decimals$}"));
        let [probability, threshold] =
            (2..8).map(written).find(|[probability, threshold]| probability != threshold).unwrap_or_else(|| written(8));
        format!(
            "{what} {likely}: {probability} is {side} {threshold}, the threshold that found {:.0} % of {} with it, and called {:.0} % of {} without \
             it rightly",
            100.0 * sensitivity,
            counted(*positives, "validation scan"),
            100.0 * specificity,
            negatives
        )
    }

    /// As `predict --json` has it.
    pub fn json(&self) -> Value {
        let ValidatedPoint { positive, target, threshold, sensitivity, specificity, positives, negatives } = &self.point;
        json!({
            "positive": positive,
            "probability": self.probability,
            "threshold": threshold,
            "is_positive": self.is_positive(),
            "target_sensitivity": target,
            "validation": {
                "sensitivity": sensitivity, "specificity": specificity, "positives": positives, "negatives": negatives
            },
        })
    }
}

/// How far several networks agree: for each class the least and the greatest of their probabilities; none of one network.
pub fn spread(members: &[Vec<f32>]) -> Option<Vec<[f32; 2]>> {
    let first = members.first().filter(|_| members.len() > 1)?;
    let of = |class: usize| {
        let each = members.iter().map(|member| member[class]);
        [each.clone().fold(f32::INFINITY, f32::min), each.fold(f32::NEG_INFINITY, f32::max)]
    };
    Some((0..first.len()).map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(probability: f32, threshold: f64) -> Verdict {
        let classes = ["NoMet", "ADMet", "nADMet"].map(str::to_owned);
        let point = ValidatedPoint {
            positive: classes[1..].to_vec(),
            target: 0.95,
            threshold,
            sensitivity: 13.0 / 14.0,
            specificity: 0.8,
            positives: 14,
            negatives: 10,
        };
        Verdict::new(point, &classes, &[1.0 - probability, probability, 0.0]).unwrap()
    }

    #[test]
    fn a_verdict_says_its_side_and_what_the_side_is_worth() {
        let classes = ["NoMet", "ADMet", "nADMet"].map(str::to_owned);
        assert_eq!(
            verdict(0.75, 0.31).words(&classes),
            "metastasis likely: 0.75 is at or above 0.31, the threshold that found 93 % of 14 validation scans with it, and called 80 % of 10 \
             without it rightly"
        );
        assert!(verdict(0.25, 0.2504).words(&classes).starts_with("metastasis not likely: 0.2500 is below 0.2504,"));
        assert!(verdict(0.5, 0.5).is_positive());
        let other = ["a", "b"].map(str::to_owned);
        let point = ValidatedPoint { positive: vec!["b".to_owned()], ..verdict(0.5, 0.5).point };
        assert!(Verdict::new(point.clone(), &other, &[0.2, 0.8]).unwrap().words(&other).starts_with("b likely: 0.80"));
        assert!(Verdict::new(point, &["a", "c"].map(str::to_owned), &[0.2, 0.8]).is_none());
    }

    #[test]
    fn a_spread_is_from_the_least_to_the_greatest() {
        assert_eq!(spread(&[vec![0.25, 0.75], vec![0.5, 0.5]]), Some(vec![[0.25, 0.5], [0.5, 0.75]]));
        assert_eq!(spread(&[vec![0.25, 0.75]]), None);
    }
}
