//! Two networks on the same studies: by how much their scores differ, and whether that is more than chance.

use super::bootstrap::{Bootstrap, Columns, Resampler, SAME};
use super::{McNemar, Panel, Predictions, Scores, predicted};
use crate::{Error, Result, interrupt};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// One score of two networks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Of the first.
    pub a: Option<f64>,
    /// Of the second.
    pub b: Option<f64>,
    /// `a - b`.
    pub difference: Option<f64>,
    /// Its 95 % interval: the percentile bootstrap over patients, both networks on each resample.
    pub interval: Option<[f64; 2]>,
    /// Two-sided: twice the share of resamples on the rarer side of no difference, `2 (1 + k) / (1 + n)` and at most 1 (Davison
    /// and Hinkley 1997, section 4.2; Efron and Tibshirani 1993, section 15.4: the level at which the interval reaches 0).
    pub p: Option<f64>,
}

/// What [`compare`] found. Each p value is of one comparison: of twenty, one is below 0.05 by chance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Where the first network's predictions come from.
    pub a: String,
    /// Where the second's come from.
    pub b: String,
    /// The studies.
    pub studies: usize,
    /// Their patients.
    pub patients: usize,
    /// How the intervals were made.
    pub bootstrap: Bootstrap,
    /// Every score.
    #[serde(flatten)]
    pub scores: Panel<Difference>,
    /// Of the predicted class, right or wrong.
    pub mcnemar: McNemar,
    /// Of metastatic or not; none where the classes do not merge.
    pub mcnemar_metastatic: Option<McNemar>,
}

impl Comparison {
    /// McNemar's test takes studies as independent: where patients have several, the bootstrap over patients is the one to go by.
    pub fn clustered(&self) -> bool {
        self.patients < self.studies
    }
}

/// Compares two networks' predictions of the same studies, whose order does not matter. A patient's studies are paired in the order
/// in which each side lists them.
///
/// # Errors
/// The classes differ, a study is in one only, or its truth differs; no study; as [`Bootstrap::check`].
pub fn compare(a: &Predictions, b: &Predictions, bootstrap: Bootstrap) -> Result<Comparison> {
    bootstrap.check()?;
    let b = &aligned(a, b)?;
    let scores = |side: &Predictions| Scores::new(&side.classes, &side.truths, &side.probabilities);
    let values = [Panel::of(&scores(a)?), Panel::of(&scores(b)?)];
    let resamplers = [Resampler::new(a, &values[0]), Resampler::new(b, &values[1])];
    let patients = resamplers[0].patients;
    let mut columns = Columns::new(values[0].values().len(), bootstrap.resamples);
    for resample in 0..bootstrap.resamples {
        interrupt::check()?;
        let times = bootstrap.draw(resample, patients);
        let [of_a, of_b] = [0, 1].map(|side| resamplers[side].measure(&times));
        columns.push(&of_a.iter().zip(of_b).map(|(a, b)| a - b).collect::<Vec<_>>());
    }
    let intervals = columns.intervals();
    let of_b = values[1].values();
    let mut score = 0..;
    let scores = values[0].map(|&a| {
        let at = score.next().unwrap_or_default();
        let b = *of_b[at];
        let difference = a.zip(b).map(|(a, b)| a - b);
        let defined = difference.and(columns.column(at));
        Difference { a, b, difference, interval: difference.and(intervals[at]), p: defined.map(p_value) }
    });

    let right = |side: &Predictions| -> Vec<bool> {
        side.truths.iter().zip(&side.probabilities).map(|(&truth, row)| predicted(row) == truth).collect()
    };
    let right_merged = |side: &Predictions| -> Option<Vec<bool>> {
        let ranked = side.ranking()?;
        Some(ranked.into_iter().map(|(p, positive)| (p > 0.5) == positive).collect())
    };
    Ok(Comparison {
        a: a.name.clone(),
        b: b.name.clone(),
        studies: a.truths.len(),
        patients,
        bootstrap,
        scores,
        mcnemar: McNemar::new(right(a).into_iter().zip(right(b))),
        mcnemar_metastatic: right_merged(a).zip(right_merged(b)).map(|(a, b)| McNemar::new(a.into_iter().zip(b))),
    })
}

/// See [`Difference::p`].
pub(super) fn p_value(differences: &[f64]) -> f64 {
    let side = |of: fn(&f64) -> bool| differences.iter().filter(|difference| of(difference)).count();
    let rarer = side(|difference| *difference < SAME).min(side(|difference| *difference > -SAME));
    (2.0 * (1 + rarer) as f64 / (1 + differences.len()) as f64).min(1.0)
}

/// The studies of `b` in the order of those of `a`.
pub(super) fn aligned(a: &Predictions, b: &Predictions) -> Result<Predictions> {
    let refuse = |problem: String| Err(Error::file(&a.name, problem, "compare evaluations of the same patients"));
    if a.classes != b.classes {
        return refuse(format!("has the classes {}, and {} has {}", a.classes.join(", "), b.name, b.classes.join(", ")));
    }
    if a.truths.is_empty() {
        return refuse("has no study".to_owned());
    }
    let mut of_patient: HashMap<&str, Vec<usize>> = HashMap::new();
    for (study, patient) in b.patients.iter().enumerate().rev() {
        of_patient.entry(patient).or_default().push(study); // the last study at the bottom
    }
    let mut order = Vec::with_capacity(a.truths.len());
    for (patient, &truth) in a.patients.iter().zip(&a.truths) {
        let Some(study) = of_patient.get_mut(patient.as_str()).and_then(Vec::pop) else {
            let more = if b.patients.contains(patient) { "more studies of " } else { "" };
            return refuse(format!("has {more}patient {patient} that {} has not", b.name));
        };
        let other = b.truths[study];
        if other != truth {
            let (class, other) = (&a.classes[truth], &b.classes[other]);
            return refuse(format!("says that a study of patient {patient} is {class}, and {} that it is {other}", b.name));
        }
        order.push(study);
    }
    if let Some(left) = b.patients.iter().find(|patient| of_patient.get(patient.as_str()).is_some_and(|left| !left.is_empty())) {
        let what = if a.patients.contains(left) { "all studies of" } else { "the" };
        return refuse(format!("lacks {what} patient {left} that {} has", b.name));
    }
    Ok(Predictions {
        name: b.name.clone(),
        classes: b.classes.clone(),
        patients: a.patients.clone(),
        truths: a.truths.clone(),
        probabilities: order.iter().map(|&study| b.probabilities[study].clone()).collect(),
        positive: b.positive,
    })
}

#[cfg(test)]
mod tests {
    use super::super::bootstrap::tests::invented;
    use super::*;

    const QUICK: Bootstrap = Bootstrap { resamples: 500, seed: 1 };

    #[test]
    fn a_network_does_not_differ_from_itself() {
        let a = invented(90, 1, 1.0, 1);
        let same = compare(&a, &a, QUICK).unwrap();
        assert!(same.scores.values().iter().all(|score| score.difference == Some(0.0) && score.p == Some(1.0)));
        assert_eq!((same.mcnemar.p, same.mcnemar.only_a, same.studies, same.clustered()), (1.0, 0, 90, false));
    }

    #[test]
    fn a_better_network_is_seen_and_an_equal_one_not() {
        let (a, b) = (invented(150, 1, 2.5, 1), invented(150, 1, 0.7, 2));
        let clear = compare(&a, &b, QUICK).unwrap();
        let accuracy = clear.scores.accuracy;
        assert!(accuracy.difference.unwrap() > 0.1 && accuracy.interval.unwrap()[0] > 0.0 && accuracy.p.unwrap() < 0.01);
        assert!(clear.mcnemar.p < 0.01 && clear.mcnemar.only_a > clear.mcnemar.only_b);
        let turned = compare(&b, &a, QUICK).unwrap();
        assert_eq!((turned.mcnemar.p, turned.scores.accuracy.p), (clear.mcnemar.p, accuracy.p));
        assert!((turned.scores.accuracy.difference.unwrap() + accuracy.difference.unwrap()).abs() < 1e-15);
        let equal = compare(&invented(150, 1, 1.0, 3), &invented(150, 1, 1.0, 4), QUICK).unwrap();
        assert!(equal.scores.accuracy.p.unwrap() > 0.05 && equal.mcnemar.p > 0.05, "{equal:?}");
    }

    #[test]
    fn the_order_of_studies_does_not_matter() {
        let (a, b) = (invented(60, 2, 1.0, 1), invented(60, 2, 1.0, 2));
        let mut moved = b.clone();
        // Whole patients, so that each one's studies stay in order.
        moved.patients.rotate_left(14);
        moved.truths.rotate_left(14);
        moved.probabilities.rotate_left(14);
        assert_eq!(compare(&a, &b, QUICK).unwrap(), compare(&a, &moved, QUICK).unwrap());
        assert!(compare(&a, &b, QUICK).unwrap().clustered());
    }

    #[test]
    fn other_studies_are_refused_by_name() {
        let a = Predictions { name: "a.csv".into(), ..invented(12, 2, 1.0, 1) };
        let b = Predictions { name: "b.csv".into(), ..a.clone() };
        let said = |a: &Predictions, b: &Predictions| compare(a, b, QUICK).unwrap_err().to_string();
        let mut other = b.clone();
        other.patients[11] = "x".into();
        assert!(said(&a, &other).starts_with("a.csv: has more studies of patient p5 that b.csv has not"), "{}", said(&a, &other));
        other.patients[10] = "x".into();
        assert!(said(&a, &other).starts_with("a.csv: has patient p5 that b.csv has not"));
        let mut longer = b.clone();
        longer.patients.push("y".into());
        longer.truths.push(0);
        longer.probabilities.push(vec![1.0, 0.0, 0.0]);
        assert!(said(&a, &longer).starts_with("a.csv: lacks the patient y that b.csv has"));
        *longer.patients.last_mut().unwrap() = "p2".into();
        assert!(said(&a, &longer).starts_with("a.csv: lacks all studies of patient p2 that b.csv has"), "{}", said(&a, &longer));
        let mut relabelled = b.clone();
        relabelled.truths[0] = 2;
        assert!(said(&a, &relabelled).contains("patient p0 is NoMet, and b.csv that it is nADMet"), "{}", said(&a, &relabelled));
        let mut renamed = b;
        renamed.classes[1] = "Met".into();
        assert!(said(&a, &renamed).contains("has the classes NoMet, ADMet, nADMet, and b.csv has NoMet, Met, nADMet"));
        let none = invented(0, 1, 1.0, 1);
        assert!(said(&none, &none).contains("has no study"));
    }
}
