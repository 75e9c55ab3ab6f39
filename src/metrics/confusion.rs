//! Counts of decisions: true class by predicted class.

use serde::{Deserialize, Serialize};

/// Counts of (true class, predicted class).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u64>, // (true, predicted)
}

/// One class against the rest, from counts. `None` where the denominator is empty (see [`crate::metrics`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Studies of the class.
    pub support: u64,
    /// Studies called the class.
    pub predicted: u64,
    /// TP / (TP + FP); 0 for a class that has studies and was never predicted.
    pub precision: Option<f64>,
    /// TP / (TP + FN), sensitivity.
    pub recall: Option<f64>,
    /// TN / (TN + FP).
    pub specificity: Option<f64>,
    /// 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall.
    pub f1: Option<f64>,
}

impl Confusion {
    /// No studies yet.
    pub fn new(classes: usize) -> Self {
        Confusion { classes, counts: vec![0; classes * classes] }
    }

    /// Counts pairs (true class, predicted class), both below `classes`.
    pub fn from_pairs(classes: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut confusion = Confusion::new(classes);
        pairs.into_iter().for_each(|(truth, predicted)| confusion.add(truth, predicted));
        confusion
    }

    /// From rows of counts, a row a true class.
    ///
    /// # Panics
    /// Where the rows are not square.
    pub fn from_rows<Row: AsRef<[u64]>>(rows: &[Row]) -> Self {
        let counts: Vec<u64> = rows.iter().flat_map(|row| row.as_ref()).copied().collect();
        assert!(rows.iter().all(|row| row.as_ref().len() == rows.len()), "a confusion matrix is square");
        Confusion { classes: rows.len(), counts }
    }

    /// One more study.
    ///
    /// # Panics
    /// Where a class is out of range.
    pub fn add(&mut self, truth: usize, predicted: usize) {
        self.add_times(truth, predicted, 1);
    }

    /// As many studies of one kind.
    ///
    /// # Panics
    /// As [`Confusion::add`].
    pub fn add_times(&mut self, truth: usize, predicted: usize, times: u64) {
        assert!(truth < self.classes && predicted < self.classes, "classes {truth}, {predicted} of {}", self.classes);
        self.counts[truth * self.classes + predicted] += times;
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Studies of class `truth` called `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * self.classes + predicted]
    }

    /// The counts, a row a true class.
    pub fn rows(&self) -> Vec<Vec<u64>> {
        (0..self.classes).map(|truth| (0..self.classes).map(|predicted| self.count(truth, predicted)).collect()).collect()
    }

    /// All studies.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Studies called what they are.
    pub fn correct(&self) -> u64 {
        (0..self.classes).map(|class| self.count(class, class)).sum()
    }

    /// Their share.
    pub fn accuracy(&self) -> Option<f64> {
        share(self.correct(), self.total())
    }

    /// One class against the rest.
    pub fn class(&self, class: usize) -> ClassScores {
        let support: u64 = (0..self.classes).map(|predicted| self.count(class, predicted)).sum();
        let predicted: u64 = (0..self.classes).map(|truth| self.count(truth, class)).sum();
        let both = self.count(class, class);
        let negatives = self.total() - support;
        ClassScores {
            support,
            predicted,
            precision: share(both, predicted).or((support > 0).then_some(0.0)),
            recall: share(both, support),
            specificity: share(negatives - (predicted - both), negatives),
            f1: share(2 * both, support + predicted),
        }
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_hand() {
        // Class 1: TP 3, FN 1, FP 2, TN 4.
        let confusion = Confusion::from_rows(&[[4, 2], [1, 3]]);
        let class = confusion.class(1);
        assert_eq!((class.support, class.predicted), (4, 5));
        assert_eq!((class.precision, class.recall, class.specificity), (Some(0.6), Some(0.75), Some(4.0 / 6.0)));
        assert_eq!(class.f1, Some(6.0 / 9.0));
        assert_eq!(confusion.accuracy(), Some(0.7));
        assert_eq!(Confusion::from_pairs(2, [(0, 0), (0, 1), (1, 1)]).rows(), [[1, 1], [0, 1]]);
    }

    #[test]
    #[should_panic(expected = "square")]
    fn a_ragged_matrix_is_refused() {
        Confusion::from_rows(&[vec![1, 2], vec![3]]);
    }
}
