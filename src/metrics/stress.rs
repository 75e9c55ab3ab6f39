//! How a network's scores hold up on worse scans than those that it was evaluated on: `stress.json`.

use super::bootstrap::Bootstrap;
use super::{BINS, Panel, Predictions, Scores, calibration_error, compare, predicted, top_label};
use crate::Result;
use serde::{Deserialize, Serialize};

/// Scores on the same scans under several conditions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stress {
    /// Their patients.
    pub patients: usize,
    /// How the intervals of differences were made.
    pub bootstrap: Bootstrap,
    /// The accuracy of calling every study what most of them are.
    pub chance: Option<f64>,
    /// The same of metastatic or not; none where the classes do not merge.
    pub chance_metastatic: Option<f64>,
    /// The scans as they are first.
    pub conditions: Vec<Stressed>,
}

/// The scores under one condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stressed {
    /// What is other about the scans: `none`, `counts`, `views`, `feet`, `alignment`, `rotation`, `shift`, `scale` or
    /// `orientation`.
    pub kind: String,
    /// And how, in words: `half of the counts`.
    pub condition: String,
    /// The studies that it can be made of; the scores and their differences are of these.
    pub studies: usize,
    /// The share of studies whose most probable class is the truth.
    pub accuracy: Option<f64>,
    /// Its 95 % interval after Wilson (1927).
    pub accuracy_interval: Option<[f64; 2]>,
    /// How it differs from that of the same scans as they are; none of those.
    pub accuracy_change: Option<Change>,
    /// Mean over the classes, each against the rest.
    pub auc: Option<f64>,
    /// As `accuracy_change`.
    pub auc_change: Option<Change>,
    /// Metastatic or not; none where the classes do not merge.
    pub metastatic: Option<StressedMerged>,
    /// Expected calibration error of the predicted class.
    pub calibration_error: Option<f64>,
    /// The share of studies that get another class than as they are.
    pub changed: Option<f64>,
    /// The share of studies that are said to be unlike what the network was trained on; none where it does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlike: Option<f64>,
}

/// [`Stressed`] of metastatic or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StressedMerged {
    /// The share decided rightly.
    pub accuracy: Option<f64>,
    /// Its 95 % interval after Wilson (1927).
    pub accuracy_interval: Option<[f64; 2]>,
    /// As [`Stressed::accuracy_change`].
    pub accuracy_change: Option<Change>,
    /// Of the probability of any metastasis.
    pub auc: Option<f64>,
    /// As [`Stressed::accuracy_change`].
    pub auc_change: Option<Change>,
}

/// By how much a score is higher under a condition than without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The score less that of the same scans as they are.
    pub by: Option<f64>,
    /// Its 95 % interval: the percentile bootstrap over patients, both on each resample; none where no resample differs.
    pub interval: Option<[f64; 2]>,
}

/// What a network said under one condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// [`Stressed::kind`]
    pub kind: &'static str,
    /// [`Stressed::condition`]
    pub condition: String,
    /// For each study its probabilities; none where the condition cannot be made of it.
    pub probabilities: Vec<Option<Vec<f32>>>,
    /// For each study of which the condition can be made, whether it is said to be unlike what the network was trained on; empty where it does
    /// not know.
    pub unlike: Vec<bool>,
}

impl Change {
    /// Whether there is more than chance in it.
    pub fn is_clear(&self) -> bool {
        self.interval.is_some_and(|[low, high]| low > 0.0 || high < 0.0)
    }
}

impl Stress {
    /// Scores of `trials` beside those of the predictions for the same studies as they are, of which `unlike` says what [`Trial::unlike`] says of
    /// others.
    ///
    /// # Errors
    /// As [`compare`]; another number of studies.
    pub fn new(unchanged: &Predictions, unlike: Vec<bool>, trials: &[Trial], bootstrap: Bootstrap) -> Result<Self> {
        let all = Trial {
            kind: "none",
            condition: "as they are".to_owned(),
            probabilities: unchanged.probabilities.iter().cloned().map(Some).collect(),
            unlike,
        };
        let first = Stressed { accuracy_change: None, auc_change: None, ..Stressed::new(unchanged, &all, bootstrap)? };
        let metastatic = first.metastatic.map(|merged| StressedMerged { accuracy_change: None, auc_change: None, ..merged });
        let mut conditions = vec![Stressed { metastatic, ..first }];
        for trial in trials.iter().filter(|trial| trial.probabilities.iter().any(Option::is_some)) {
            conditions.push(Stressed::new(unchanged, trial, bootstrap)?);
        }
        let ranked = unchanged.ranking();
        Ok(Stress {
            patients: unchanged.numbered_patients().1,
            bootstrap,
            chance: commonest(unchanged.truths.iter().copied()),
            chance_metastatic: ranked
                .and_then(|ranked| commonest(ranked.iter().map(|(_, is_positive)| usize::from(*is_positive)))),
            conditions,
        })
    }
}

impl Stressed {
    fn new(unchanged: &Predictions, trial: &Trial, bootstrap: Bootstrap) -> Result<Self> {
        let there: Vec<usize> = (0..trial.probabilities.len()).filter(|&at| trial.probabilities[at].is_some()).collect();
        let of_these = |name: &str, probabilities: Vec<Vec<f32>>| {
            let (patients, truths) = there.iter().map(|&at| (unchanged.patients[at].clone(), unchanged.truths[at])).unzip();
            let these = Predictions::new(name, unchanged.classes.clone(), patients, truths, probabilities)?;
            Ok::<_, crate::Error>(Predictions { positive: unchanged.positive, ..these })
        };
        let before = of_these("as they are", there.iter().map(|&at| unchanged.probabilities[at].clone()).collect())?;
        let after = of_these(&trial.condition, trial.probabilities.iter().flatten().cloned().collect())?;
        let scores = Scores::of(&after)?;
        let changes = match after.truths.is_empty() {
            true => Panel::of(&scores).map(|_| Change::default()),
            false => compare(&after, &before, bootstrap)?.scores.map(|d| Change { by: d.difference, interval: d.interval }),
        };
        let other = after.probabilities.iter().zip(&before.probabilities).filter(|(a, b)| predicted(a) != predicted(b)).count();
        Ok(Stressed {
            kind: trial.kind.to_owned(),
            condition: trial.condition.clone(),
            studies: there.len(),
            accuracy: scores.accuracy,
            accuracy_interval: scores.accuracy_interval,
            accuracy_change: Some(changes.accuracy),
            auc: scores.mean.auc,
            auc_change: Some(changes.mean.auc),
            metastatic: scores.metastatic.zip(changes.metastatic).map(|(binary, changes)| StressedMerged {
                accuracy: binary.accuracy,
                accuracy_interval: binary.accuracy_interval,
                accuracy_change: Some(changes.accuracy),
                auc: binary.auc,
                auc_change: Some(changes.scores.auc),
            }),
            calibration_error: calibration_error(&top_label(&after.truths, &after.probabilities), BINS)
                .map(|error| error.expected),
            changed: (!there.is_empty()).then(|| other as f64 / there.len() as f64),
            unlike: (!trial.unlike.is_empty())
                .then(|| trial.unlike.iter().filter(|is_unlike| **is_unlike).count() as f64 / trial.unlike.len() as f64),
        })
    }
}

/// The share of the class that most studies are of.
fn commonest(truths: impl Iterator<Item = usize>) -> Option<f64> {
    let (mut counts, mut all) = (Vec::new(), 0usize);
    for truth in truths {
        counts.resize(counts.len().max(truth + 1), 0usize);
        counts[truth] += 1;
        all += 1;
    }
    (all > 0).then(|| counts.into_iter().max().unwrap_or(0) as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::super::bootstrap::tests::invented;
    use super::*;

    const QUICK: Bootstrap = Bootstrap { resamples: 300, seed: 1 };

    fn trial(probabilities: Vec<Option<Vec<f32>>>) -> Trial {
        Trial { kind: "counts", condition: "half of the counts".to_owned(), unlike: vec![true, false], probabilities }
    }

    #[test]
    fn nothing_changed_changes_nothing() {
        let all = invented(60, 1, 1.0, 1);
        let same = trial(all.probabilities.iter().cloned().map(Some).collect());
        let found = Stress::new(&all, Vec::new(), &[same], QUICK).unwrap();
        let [before, after] = &found.conditions[..] else { panic!("{found:?}") };
        let scores = Scores::new(&all.classes, &all.truths, &all.probabilities).unwrap();
        assert_eq!((before.accuracy, before.auc, before.studies), (scores.accuracy, scores.mean.auc, 60));
        assert_eq!((&*before.kind, &before.accuracy_change, &before.changed), ("none", &None, &Some(0.0)));
        assert_eq!((after.accuracy, after.changed), (before.accuracy, Some(0.0)));
        assert_eq!((before.unlike, after.unlike), (None, Some(0.5)));
        let change = after.accuracy_change.unwrap();
        assert_eq!((change.by, change.interval, change.is_clear()), (Some(0.0), None, false));
        assert_eq!((found.patients, found.chance, found.chance_metastatic), (60, Some(1.0 / 3.0), Some(2.0 / 3.0)));
    }

    #[test]
    fn what_a_condition_costs_is_seen() {
        let all = invented(150, 1, 3.0, 1);
        let worse = invented(150, 1, 0.3, 2).probabilities;
        let found = Stress::new(&all, Vec::new(), &[trial(worse.iter().cloned().map(Some).collect())], QUICK).unwrap();
        let [before, after] = &found.conditions[..] else { panic!("{found:?}") };
        let change = after.accuracy_change.unwrap();
        assert_eq!(change.by, after.accuracy.zip(before.accuracy).map(|(a, b)| a - b));
        assert!(change.by.unwrap() < -0.2 && change.is_clear() && change.interval.unwrap()[1] < 0.0, "{change:?}");
        let other = (0..150).filter(|&at| predicted(&worse[at]) != predicted(&all.probabilities[at])).count();
        assert_eq!(after.changed, Some(other as f64 / 150.0));
        let merged = after.metastatic.as_ref().unwrap();
        assert!(merged.auc < before.metastatic.as_ref().unwrap().auc && merged.auc_change.unwrap().is_clear());
    }

    /// One view alone cannot be made of a study that has one.
    #[test]
    fn a_condition_is_compared_with_its_own_studies_alone() {
        let all = invented(60, 1, 1.0, 1);
        let half = all.probabilities.iter().enumerate().map(|(at, row)| (at % 2 == 0).then(|| row.clone())).collect();
        let found = Stress::new(&all, Vec::new(), &[trial(half), trial(vec![None; 60])], QUICK).unwrap();
        let [_, after] = &found.conditions[..] else { panic!("one without studies is left out") };
        assert_eq!((after.studies, after.accuracy_change.unwrap().by, after.changed), (30, Some(0.0), Some(0.0)));
    }

    #[test]
    fn classes_that_do_not_merge_and_no_study() {
        let mut all = invented(30, 1, 1.0, 1);
        all.classes[0] = "benign".to_owned();
        let found = Stress::new(&all, Vec::new(), &[], QUICK).unwrap();
        assert_eq!((found.chance_metastatic, &found.conditions[0].metastatic), (None, &None));
        let none = Predictions::new("", all.classes.clone(), vec![], vec![], vec![]).unwrap();
        let found = Stress::new(&none, Vec::new(), &[], QUICK).unwrap();
        assert_eq!((found.chance, found.conditions[0].accuracy, found.conditions[0].changed), (None, None, None));
    }
}
