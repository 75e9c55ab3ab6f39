//! What a network said of studies whose truth and patient are known: what intervals and comparisons are made from.

use super::{check, metastatic_probability, metastatic_ranking};
use crate::text::counted;
use crate::{Error, Result};
use std::collections::HashMap;

/// Studies with their patients, true classes and predicted probabilities.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// Where they come from, for messages: a file's path.
    pub name: String,
    /// The classes, in the order of the probabilities.
    pub classes: Vec<String>,
    /// Each study's patient.
    pub patients: Vec<String>,
    /// Each study's class, an index into `classes`.
    pub truths: Vec<usize>,
    /// Each study's probabilities, one a class.
    pub probabilities: Vec<Vec<f32>>,
    /// The class that counts as positive against all others. Without it, where there is [`NO_METASTASIS`](super::NO_METASTASIS), every
    /// other class does.
    pub positive: Option<usize>,
}

impl Predictions {
    /// Checked.
    ///
    /// # Errors
    /// Where the lengths differ, a truth is no class, or a probability is not a number in 0..=1.
    pub fn new(
        name: impl Into<String>,
        classes: Vec<String>,
        patients: Vec<String>,
        truths: Vec<usize>,
        probabilities: Vec<Vec<f32>>,
    ) -> Result<Self> {
        check(&classes, &truths, &probabilities)?;
        if patients.len() != truths.len() {
            let problem = format!("{} came with {}", counted(patients.len(), "patient"), counted(truths.len(), "study"));
            return Err(Error::setting(problem, "give every study its patient"));
        }
        Ok(Predictions { name: name.into(), classes, patients, truths, probabilities, positive: None })
    }

    /// Each study as (probability that it is positive, whether it is); none where no class counts as positive.
    pub fn ranking(&self) -> Option<Vec<(f64, bool)>> {
        let Predictions { classes, truths, probabilities, positive, .. } = self;
        match *positive {
            None => metastatic_ranking(classes, truths, probabilities),
            Some(positive) => {
                let p = |row: &Vec<f32>| 1.0 - metastatic_probability(row, positive);
                Some(truths.iter().zip(probabilities).map(|(truth, row)| (p(row), *truth == positive)).collect())
            }
        }
    }

    /// Each study's patient as a number, in the order of their first study, and how many patients there are.
    pub(super) fn numbered_patients(&self) -> (Vec<usize>, usize) {
        let mut indices: HashMap<&str, usize> = HashMap::new();
        let of_study = self
            .patients
            .iter()
            .map(|patient| {
                let next = indices.len();
                *indices.entry(patient).or_insert(next)
            })
            .collect();
        (of_study, indices.len())
    }
}
