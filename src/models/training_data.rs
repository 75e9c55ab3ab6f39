//! What a model knows of the scans that it was trained on, so that it can say which scans are unlike them.

use super::feature_space::FeatureSpace;
use crate::prepare::{Measure, Measures};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Of the scans of the training and validation patients: how they were measured, and where their features lie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingData {
    /// How many scans.
    pub studies: usize,
    /// Those of both views, of the anterior view alone, and of the posterior view alone.
    pub views: [usize; 3],
    /// Of each measure, over the scans where it is known.
    pub measures: BTreeMap<Measure, Quantiles>,
    /// Where the features of the network's middle stage lie; none of too few patients.
    pub features: Option<FeatureSpace>,
    /// Where validation patients were told apart; none without such, or where no class means none.
    pub operating_point: Option<ValidatedPoint>,
}

/// How a number is distributed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The least.
    pub least: f64,
    /// Exceeded by 95 of 100.
    pub q05: f64,
    /// Exceeded by half.
    pub median: f64,
    /// Exceeded by 5 of 100.
    pub q95: f64,
    /// The greatest.
    pub most: f64,
}

/// A threshold of the probability of any positive class, and what it gave on validation patients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidatedPoint {
    /// The classes that count as positive.
    pub positive: Vec<String>,
    /// The share of positive scans that was wanted.
    pub target: f64,
    /// Positive is called at or above it.
    pub threshold: f64,
    /// Of the positive scans, the share called so.
    pub sensitivity: f64,
    /// Of the other scans, the share not called so.
    pub specificity: f64,
    /// Validation scans of a positive class.
    pub positives: usize,
    /// Those of the other.
    pub negatives: usize,
}

impl Quantiles {
    /// Of some numbers; none of none.
    pub fn of(values: &mut [f64]) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |share: f64| values[(share * last as f64).round() as usize];
        Some(Quantiles { least: at(0.0), q05: at(0.05), median: at(0.5), q95: at(0.95), most: at(1.0) })
    }

    /// Whether a number lies among them, or beyond them by no more than a quarter of the range from the 5th to the 95th percentile, since of
    /// few scans the extremes are not the last word, or by no more than a tenth of the median, which no network minds. What spans more than one
    /// power of two is compared as its logarithm.
    pub fn holds(&self, value: f64) -> bool {
        const SMALL: f64 = 0.1;
        let is_wide = self.least > 0.0 && self.most > 2.0 * self.least;
        let scale = |number: f64| if is_wide { number.max(f64::MIN_POSITIVE).ln() } else { number };
        let small = if is_wide { SMALL } else { SMALL * self.median.abs() };
        let margin = small.max((scale(self.q95) - scale(self.q05)) / 4.0);
        (scale(self.least) - margin..=scale(self.most) + margin).contains(&scale(value))
    }
}

impl TrainingData {
    /// Of these scans.
    pub fn new(scans: &[Measures], features: Option<FeatureSpace>, operating_point: Option<ValidatedPoint>) -> Self {
        let mut views = [0; 3];
        scans.iter().for_each(|scan| views[scan.only.map_or(0, |view| 1 + view as usize)] += 1);
        let of = |measure: Measure| {
            let mut values: Vec<f64> = scans.iter().filter_map(|scan| scan.get(measure)).collect();
            Some((measure, Quantiles::of(&mut values)?))
        };
        let measures = Measure::ALL.into_iter().filter_map(of).collect();
        TrainingData { studies: scans.len(), views, measures, features, operating_point }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::View;

    #[test]
    fn a_number_is_held_by_the_range_and_a_quarter_of_its_width() {
        let quantiles = |mut values: Vec<f64>| Quantiles::of(&mut values).unwrap();
        // From 100 to 120, and a tenth of 110.
        let narrow = quantiles((0..=100).map(|at| 100.0 + 0.2 * f64::from(at)).collect());
        assert!(narrow.holds(100.0) && narrow.holds(130.0) && narrow.holds(90.0));
        assert!(!narrow.holds(132.0) && !narrow.holds(88.0) && !narrow.holds(f64::NAN));
        // From 1 to 16 evenly in octaves: a quarter of 3.6 octaves further.
        let wide = quantiles((0..=100).map(|at| 2f64.powf(0.04 * f64::from(at))).collect());
        assert!(wide.holds(0.6) && wide.holds(28.0) && !wide.holds(0.5) && !wide.holds(32.0) && !wide.holds(0.0));
        // All the same.
        let constant = quantiles(vec![1024.0; 9]);
        assert!(constant.holds(1024.0) && constant.holds(950.0) && !constant.holds(512.0));
        assert!(Quantiles::of(&mut []).is_none());
    }

    #[test]
    fn views_and_known_numbers_are_counted() {
        let scan = |only, counts| {
            let mut values = [None; Measure::ALL.len()];
            values[Measure::Counts as usize] = counts;
            Measures { only, values }
        };
        let scans = [scan(None, Some(2.0)), scan(None, None), scan(Some(View::Posterior), Some(4.0))];
        let data = TrainingData::new(&scans, None, None);
        assert_eq!((data.studies, data.views), (3, [2, 0, 1]));
        assert_eq!(data.measures.keys().collect::<Vec<_>>(), [&Measure::Counts]);
        let text = serde_json::to_string(&data).unwrap();
        assert_eq!(serde_json::from_str::<TrainingData>(&text).unwrap(), data);
    }
}
