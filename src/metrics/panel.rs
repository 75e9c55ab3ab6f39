//! One form for something of every score: its value, its interval, its spread over seeds, its difference between two networks.

use super::Scores;
use serde::{Deserialize, Serialize};

/// A `T` for each score of a set of studies, in the names and the nesting of `scores.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Panel<T> {
    /// Of the accuracy.
    pub accuracy: T,
    /// Of the macro means.
    #[serde(rename = "macro")]
    pub mean: Each<T>,
    /// Of every class against the rest.
    pub classes: Vec<NamedEach<T>>,
    /// Of metastatic against not; none where the classes do not merge.
    pub metastatic: Option<Merged<T>>,
}

/// A `T` for each score of one class, or of the macro mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Each<T> {
    /// Of the precision.
    pub precision: T,
    /// Of the recall (sensitivity).
    pub recall: T,
    /// Of the specificity.
    pub specificity: T,
    /// Of the F1 score.
    pub f1: T,
    /// Of the area under the ROC curve.
    pub auc: T,
}

/// [`Each`] of a class that has a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedEach<T> {
    /// The class.
    pub class: String,
    /// Its scores.
    #[serde(flatten)]
    pub scores: Each<T>,
}

/// Accuracy and [`Each`] of metastatic against not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Merged<T> {
    /// Of the accuracy.
    pub accuracy: T,
    /// Of the scores of the metastatic class.
    #[serde(flatten)]
    pub scores: Each<T>,
}

impl Panel<Option<f64>> {
    /// The values; none where a score is undefined.
    pub fn of(scores: &Scores) -> Self {
        let mean = &scores.mean;
        Panel {
            accuracy: scores.accuracy,
            mean: Each {
                precision: mean.precision,
                recall: mean.recall,
                specificity: mean.specificity,
                f1: mean.f1,
                auc: mean.auc,
            },
            classes: scores
                .classes
                .iter()
                .map(|named| NamedEach { class: named.class.clone(), scores: Each::of(&named.scores, named.auc) })
                .collect(),
            metastatic: scores
                .metastatic
                .as_ref()
                .map(|binary| Merged { accuracy: binary.accuracy, scores: Each::of(&binary.scores, binary.auc) }),
        }
    }
}

impl Each<Option<f64>> {
    fn of(class: &super::ClassScores, auc: Option<f64>) -> Self {
        let super::ClassScores { precision, recall, specificity, f1, .. } = *class;
        Each { precision, recall, specificity, f1, auc }
    }
}

impl<T> Panel<T> {
    /// The same of something else, asked for in the order of [`Panel::values`].
    pub fn map<'a, U>(&'a self, mut of: impl FnMut(&'a T) -> U) -> Panel<U> {
        Panel {
            accuracy: of(&self.accuracy),
            mean: self.mean.map(&mut of),
            classes: self
                .classes
                .iter()
                .map(|named| NamedEach { class: named.class.clone(), scores: named.scores.map(&mut of) })
                .collect(),
            metastatic: self
                .metastatic
                .as_ref()
                .map(|merged| Merged { accuracy: of(&merged.accuracy), scores: merged.scores.map(&mut of) }),
        }
    }

    /// All of them: accuracy, macro means, class after class, metastatic.
    pub fn values(&self) -> Vec<&T> {
        let mut values = Vec::new();
        self.map(|value| values.push(value));
        values
    }

    /// All of them with what they are of: `accuracy`, `macro recall`, `NoMet F1`, `metastatic AUC`.
    pub fn named(&self) -> Vec<(String, &T)> {
        let each = |of: &str| Each::<T>::NAMES.map(|score| format!("{of} {score}"));
        let mut names = vec!["accuracy".to_owned()];
        names.extend(each("macro"));
        self.classes.iter().for_each(|named| names.extend(each(&named.class)));
        names.push("metastatic accuracy".to_owned());
        names.extend(each("metastatic"));
        names.into_iter().zip(self.values()).collect()
    }
}

impl<T> Each<T> {
    /// What each is, in the order of [`Each::values`].
    pub const NAMES: [&str; 5] = ["precision", "recall", "specificity", "F1", "AUC"];

    /// All five.
    pub fn values(&self) -> [&T; 5] {
        [&self.precision, &self.recall, &self.specificity, &self.f1, &self.auc]
    }

    fn map<'a, U>(&'a self, of: &mut impl FnMut(&'a T) -> U) -> Each<U> {
        let [precision, recall, specificity, f1, auc] = self.values().map(of);
        Each { precision, recall, specificity, f1, auc }
    }
}
