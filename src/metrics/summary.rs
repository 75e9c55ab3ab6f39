//! One score of several runs: seeds or folds.

use super::Panel;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Mean and spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation, with n - 1; none of one value.
    pub deviation: Option<f64>,
    /// How many values there are.
    pub n: usize,
}

impl Summary {
    /// Of the values that are there; none where none is.
    pub fn of(values: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().flatten().collect();
        let n = values.len();
        let mean = super::mean(values.iter().copied().map(Some))?;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Summary { mean, deviation: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()), n })
    }
}

/// `0.7782 ± 0.0123 (n = 3)`; `0.7782 (n = 1)`.
impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{:.4}", self.mean)?;
        if let Some(deviation) = self.deviation {
            write!(formatter, " ± {deviation:.4}")?;
        }
        write!(formatter, " (n = {})", self.n)
    }
}

/// Every score over runs of the same classes. A run where a score is undefined is left out of it, which `n` shows. None of no runs.
///
/// # Panics
/// Where the runs have different classes.
pub fn summarise(runs: &[Panel<Option<f64>>]) -> Option<Panel<Option<Summary>>> {
    let first = runs.first()?;
    let names = |panel: &Panel<Option<f64>>| panel.named().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert!(runs.iter().all(|run| names(run) == names(first)), "runs of the same classes");
    let columns: Vec<Vec<&Option<f64>>> = runs.iter().map(Panel::values).collect();
    let mut score = 0..;
    Some(first.map(|_| {
        let at = score.next().unwrap_or_default();
        Summary::of(columns.iter().map(|run| *run[at]))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scores;

    #[test]
    fn mean_and_sample_deviation() {
        let summary = Summary::of([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0].map(Some)).unwrap();
        assert_eq!((summary.mean, summary.n), (5.0, 8));
        assert!((summary.deviation.unwrap() - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!(summary.to_string(), "5.0000 ± 2.1381 (n = 8)");
        let one = Summary::of([Some(0.5), None]).unwrap();
        assert_eq!((one.deviation, one.to_string().as_str()), (None, "0.5000 (n = 1)"));
        assert_eq!(Summary::of([None]), None);
    }

    #[test]
    fn every_score_over_three_seeds() {
        let classes = ["NoMet", "Met"].map(str::to_owned);
        let run =
            |p: f32, truths: [usize; 2]| Panel::of(&Scores::new(&classes, &truths, &[vec![0.9, 0.1], vec![1.0 - p, p]]).unwrap());
        let summary = summarise(&[run(0.9, [0, 1]), run(0.2, [0, 1]), run(0.9, [1, 1])]).unwrap();
        let accuracy = summary.accuracy.unwrap();
        assert!((accuracy.mean - 2.0 / 3.0).abs() < 1e-12 && accuracy.n == 3);
        assert_eq!(summary.classes[0].scores.recall.unwrap().n, 2, "no study is NoMet in the third");
        assert_eq!(summarise(&[]), None);
    }
}
