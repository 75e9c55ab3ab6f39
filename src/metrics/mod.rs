//! Counts and probabilities to scores; knows no network.
//!
//! [`Confusion`] counts decisions, [`auc`] and [`roc`] judge rankings, [`Calibration`] probabilities; [`Scores`] is everything that
//! `evaluate` writes to `scores.json`. [`Intervals`] say how sure the scores are, [`compare`] whether two networks differ,
//! [`compare_seeds`] whether two kinds of networks do, each trained with several seeds, [`summarise`] how much seeds or folds do, [`Stress`] how scores hold up on worse scans; a
//! [`Panel`] holds any of these for all scores. An [`Epoch`] is a row of `metrics.csv`.
//!
//! # Where a score is undefined
//! A score whose denominator is empty is `None` (`null` in JSON), stands in [`Scores::notes`], and is left out of the macro mean:
//! recall of a class that no study belongs to, specificity of a class that every study belongs to, AUC of either. One case is
//! decided otherwise: a class that has studies but is never predicted has precision 0, not none, or a classifier could raise its
//! macro precision by giving up on a class.

mod bootstrap;
mod calibration;
mod ceiling;
mod compare;
mod confusion;
mod epoch;
mod localisation;
mod mcnemar;
mod operating;
mod panel;
mod predictions;
mod ranking;
mod seeds;
mod stress;
mod summary;

pub use bootstrap::{Bootstrap, Intervals, LEVEL, MOST_UNDEFINED, quantile};
pub use calibration::{
    BINS, Bin, Calibration, CalibrationError, ClassCalibration, brier, calibration_error, cross_entropy, error_by_chance,
    log_loss, reliability, temperature, top_label,
};
pub use ceiling::{Ceiling, Ceilings, of_at_most};
pub use compare::{Comparison, Difference, compare};
pub use confusion::{ClassScores, Confusion};
pub use epoch::Epoch;
pub use localisation::{FALSE_MARKS, FrocPoint, Localisation, MapScore, Mark, NEAR_MM, Pointing, Randomised, froc, spearman};
pub use mcnemar::{EXACT_BELOW, McNemar};
pub use operating::{OperatingPoint, OperatingPoints, TARGETS, at_sensitivity, at_specificity};
pub use panel::{Each, Merged, NamedEach, Panel};
pub use predictions::Predictions;
pub use ranking::{RocPoint, auc, roc};
pub use seeds::{Estimate, Order, Pairing, compare_seeds, mean_accuracy};
pub use stress::{Change, Stress, Stressed, StressedMerged, Trial};
pub use summary::{Summary, summarise};

use crate::text::counted;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The class that means no metastasis; every other class is metastatic.
pub const NO_METASTASIS: &str = "NoMet";

/// Everything measured on a set of studies: `scores.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// The number of studies.
    pub studies: usize,
    /// The share of studies whose most probable class is the truth.
    pub accuracy: Option<f64>,
    /// Its 95 % interval after Wilson (1927).
    pub accuracy_interval: Option<[f64; 2]>,
    /// Means over the classes where the score is defined (`auc`: one against rest).
    #[serde(rename = "macro")]
    pub mean: MeanScores,
    /// The same, class by class.
    pub classes: Vec<NamedScores>,
    /// Counts: a row a true class, a column a predicted class.
    pub confusion: Vec<Vec<u64>>,
    /// All classes but [`NO_METASTASIS`] merged; none where the classes do not name it or name nothing else.
    pub metastatic: Option<BinaryScores>,
    /// What they could be at most, where that is known. No statistics of the predictions: the caller sets it.
    #[serde(default, rename = "ceiling", skip_serializing_if = "Option::is_none")]
    pub ceilings: Option<Ceilings>,
    /// Where several networks answered together, each by itself. The caller sets it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<NetworkScores>,
    /// How many of the studies are unlike what the model was trained on; none where it does not know. The caller sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlike_training: Option<usize>,
    /// What is undefined, and why, in words.
    pub notes: Vec<String>,
    /// How sure the scores are, and more of the probabilities; see [`Scores::with_statistics`].
    #[serde(flatten)]
    pub statistics: Option<Statistics>,
}

/// What takes more than the blink of an eye to compute, so that training's epochs go without.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// 95 % intervals by bootstrap over patients.
    pub intervals: Intervals,
    /// Whether probabilities mean what they say.
    pub calibration: Calibration,
    /// Metastatic or not at wanted sensitivities and specificities; none where the classes do not merge or one side is empty.
    pub operating_points: Option<OperatingPoints>,
}

/// One of several networks that answered together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkScores {
    /// The name of its run's folder.
    pub run: String,
    /// The share of studies whose most probable class is the truth.
    pub accuracy: Option<f64>,
    /// The mean over the classes of the AUC, one against rest.
    pub auc: Option<f64>,
}

/// Macro means.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeanScores {
    /// Of what was called a class, the share that is.
    pub precision: Option<f64>,
    /// Of what is a class, the share that was called so (sensitivity).
    pub recall: Option<f64>,
    /// Of what is not a class, the share that was not called so.
    pub specificity: Option<f64>,
    /// Harmonic mean of precision and recall, averaged over the classes.
    pub f1: Option<f64>,
    /// The probability that a random study of a class outranks a random study of the rest.
    pub auc: Option<f64>,
}

/// One class against the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedScores {
    /// Its name.
    pub class: String,
    /// Its scores.
    #[serde(flatten)]
    pub scores: ClassScores,
    /// The probability that a random study of the class outranks a random study of the rest.
    pub auc: Option<f64>,
}

/// Metastatic (positive) against not. A study is called metastatic where the metastatic classes together are more probable than
/// [`NO_METASTASIS`]; this can differ from its single most probable class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BinaryScores {
    /// The class that counts as positive, where it was named; else every class but [`NO_METASTASIS`] does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,
    /// The share decided rightly.
    pub accuracy: Option<f64>,
    /// Its 95 % interval after Wilson (1927).
    pub accuracy_interval: Option<[f64; 2]>,
    /// Precision, recall, specificity, F1 and support of the positive class.
    #[serde(flatten)]
    pub scores: ClassScores,
    /// The probability that a random metastatic study outranks a random other study.
    pub auc: Option<f64>,
    /// Mean squared difference between probability and truth; 0 is perfect, 0.25 is a coin.
    pub brier: Option<f64>,
    /// [[true negative, false positive], [false negative, true positive]].
    pub confusion: Vec<Vec<u64>>,
}

impl Scores {
    /// Scores of `probabilities` (one a class, for each study) against `truths` (indices into `classes`).
    ///
    /// # Errors
    /// Where the lengths differ, a truth is no class, or a probability is not a number in 0..=1.
    pub fn new(classes: &[String], truths: &[usize], probabilities: &[Vec<f32>]) -> Result<Scores> {
        check(classes, truths, probabilities)?;
        let mut confusion = Confusion::new(classes.len());
        for (&truth, row) in truths.iter().zip(probabilities) {
            confusion.add(truth, predicted(row));
        }
        let named: Vec<NamedScores> = classes
            .iter()
            .enumerate()
            .map(|(class, name)| NamedScores {
                class: name.clone(),
                scores: confusion.class(class),
                auc: auc(&one_against_rest(truths, probabilities, class)),
            })
            .collect();
        let metastatic = metastatic_ranking(classes, truths, probabilities).map(|ranked| BinaryScores::new(&ranked));
        let mean = MeanScores {
            precision: mean(named.iter().map(|class| class.scores.precision)),
            recall: mean(named.iter().map(|class| class.scores.recall)),
            specificity: mean(named.iter().map(|class| class.scores.specificity)),
            f1: mean(named.iter().map(|class| class.scores.f1)),
            auc: mean(named.iter().map(|class| class.auc)),
        };
        let notes = notes(&named, truths.len());
        Ok(Scores {
            studies: truths.len(),
            accuracy: confusion.accuracy(),
            accuracy_interval: wilson(confusion.correct(), confusion.total()),
            mean,
            classes: named,
            confusion: confusion.rows(),
            metastatic,
            ceilings: None,
            networks: Vec::new(),
            unlike_training: None,
            notes,
            statistics: None,
        })
    }

    /// Scores of predictions, whose positive class counts.
    ///
    /// # Errors
    /// As [`Scores::new`].
    pub fn of(predictions: &Predictions) -> Result<Scores> {
        let Predictions { classes, truths, probabilities, .. } = predictions;
        let mut scores = Scores::new(classes, truths, probabilities)?;
        if let (Some(positive), Some(ranked)) = (predictions.positive, predictions.ranking()) {
            let positive = classes.get(positive).cloned();
            scores.metastatic = Some(BinaryScores { positive, ..BinaryScores::new(&ranked) });
        }
        Ok(scores)
    }

    /// Scores of predictions, with [`Statistics`].
    ///
    /// # Errors
    /// As [`Scores::new`] and [`Bootstrap::check`].
    pub fn with_statistics(predictions: &Predictions, bootstrap: Bootstrap) -> Result<Scores> {
        let mut scores = Scores::of(predictions)?;
        scores.statistics = Some(Statistics {
            intervals: Intervals::new(predictions, &scores, bootstrap)?,
            calibration: Calibration::new(predictions, BINS),
            operating_points: predictions.ranking().and_then(|ranked| OperatingPoints::new(&ranked)),
        });
        Ok(scores)
    }
}

impl BinaryScores {
    /// Scores of pairs (probability of the positive class, whether it is); positive is called above one half.
    pub fn new(ranked: &[(f64, bool)]) -> BinaryScores {
        let confusion =
            Confusion::from_pairs(2, ranked.iter().map(|&(p, positive)| (usize::from(positive), usize::from(p > 0.5))));
        BinaryScores {
            positive: None,
            accuracy: confusion.accuracy(),
            accuracy_interval: wilson(confusion.correct(), confusion.total()),
            scores: confusion.class(1),
            auc: auc(ranked),
            brier: brier(ranked),
            confusion: confusion.rows(),
        }
    }
}

/// The most probable class; the first of equals.
pub fn predicted(probabilities: &[f32]) -> usize {
    let better = |best: usize, class: usize| if probabilities[class] > probabilities[best] { class } else { best };
    (1..probabilities.len()).fold(0, better)
}

/// Pairs (probability of `class`, whether the study is of it).
pub fn one_against_rest(truths: &[usize], probabilities: &[Vec<f32>], class: usize) -> Vec<(f64, bool)> {
    truths.iter().zip(probabilities).map(|(&truth, row)| (f64::from(row[class]), truth == class)).collect()
}

/// Pairs (probability of any metastasis, whether there is); none where `classes` lacks [`NO_METASTASIS`] or has nothing else.
pub fn metastatic_ranking(classes: &[String], truths: &[usize], probabilities: &[Vec<f32>]) -> Option<Vec<(f64, bool)>> {
    let negative = no_metastasis(classes)?;
    let ranked = truths.iter().zip(probabilities).map(|(&truth, row)| (metastatic_probability(row, negative), truth != negative));
    (classes.len() > 1).then(|| ranked.collect())
}

/// The index of [`NO_METASTASIS`] among the classes.
pub fn no_metastasis(classes: &[String]) -> Option<usize> {
    classes.iter().position(|class| class.eq_ignore_ascii_case(NO_METASTASIS))
}

/// 1 - p(`negative`), from the other classes' sum: in f32, 1 - p would tie all that are nearly certain.
pub fn metastatic_probability(probabilities: &[f32], negative: usize) -> f64 {
    let all: f64 = probabilities.iter().map(|&p| f64::from(p)).sum();
    let others: f64 = probabilities.iter().enumerate().filter(|(class, _)| *class != negative).map(|(_, &p)| f64::from(p)).sum();
    if all > 0.0 { others / all } else { 0.5 }
}

/// The interval that holds the true proportion with 95 % confidence after `successes` of `trials` (Wilson, JASA 1927, 22:209);
/// none without trials.
pub fn wilson(successes: u64, trials: u64) -> Option<[f64; 2]> {
    const Z: f64 = 1.959_963_984_540_054; // the normal distribution's 0.975 quantile
    if trials == 0 {
        return None;
    }
    let n = trials as f64;
    let p = successes as f64 / n;
    let center = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some([(center - half).max(0.0), (center + half).min(1.0)])
}

/// The mean of the values that are there; none where none is.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) = values.flatten().fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

fn check(classes: &[String], truths: &[usize], probabilities: &[Vec<f32>]) -> Result<()> {
    let wrong = |problem: String| Err(Error::setting(problem, "give every study one true class and one probability a class"));
    if truths.len() != probabilities.len() {
        return wrong(format!(
            "{} came with {}",
            counted(truths.len(), "true class"),
            counted(probabilities.len(), "prediction")
        ));
    }
    for (study, (&truth, row)) in truths.iter().zip(probabilities).enumerate() {
        if truth >= classes.len() {
            return wrong(format!("study {study} has class number {truth} of {}", classes.len()));
        }
        if row.len() != classes.len() {
            return wrong(format!(
                "study {study} has {} for {}",
                counted(row.len(), "probability"),
                counted(classes.len(), "class")
            ));
        }
        if let Some(p) = row.iter().find(|p| !(0.0..=1.00001).contains(*p)) {
            return wrong(format!("study {study} has the probability {p}"));
        }
    }
    Ok(())
}

/// Sentences on what is undefined.
fn notes(classes: &[NamedScores], studies: usize) -> Vec<String> {
    if studies == 0 {
        return vec!["No studies: every score is undefined.".to_owned()];
    }
    let mut notes = Vec::new();
    for class in classes {
        let NamedScores { class: name, scores, .. } = class;
        if scores.support == 0 {
            let undefined = if scores.predicted == 0 { "precision, recall, F1 and AUC" } else { "recall and AUC" };
            notes.push(format!("No study is {name}: its {undefined} are undefined and left out of the means."));
        } else if scores.support == studies as u64 {
            notes.push(format!("Every study is {name}: its specificity and AUC are undefined and left out of the means."));
        }
        if scores.predicted == 0 && scores.support > 0 {
            notes.push(format!("{name} was never predicted: its precision counts as 0."));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(classes: &[&str]) -> Vec<String> {
        classes.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Truths and sure predictions that give a confusion matrix.
    fn predictions(matrix: &[&[u64]]) -> (Vec<usize>, Vec<Vec<f32>>) {
        let mut pairs = (Vec::new(), Vec::new());
        for (truth, row) in matrix.iter().enumerate() {
            for (class, &count) in row.iter().enumerate() {
                for _ in 0..count {
                    pairs.0.push(truth);
                    pairs.1.push((0..row.len()).map(|other| f32::from(u8::from(other == class))).collect());
                }
            }
        }
        pairs
    }

    fn rounded(value: Option<f64>) -> f64 {
        (value.expect("defined") * 1e4).round() / 1e4
    }

    // Lin et al. 2022, table 4, first row; the matrix from figure 7 by arithmetic.
    #[test]
    fn the_papers_three_classes() {
        let (truths, probabilities) = predictions(&[&[76, 10, 5], &[15, 63, 22], &[4, 7, 82]]);
        let scores = Scores::new(&names(&["NoMet", "ADMet", "nADMet"]), &truths, &probabilities).unwrap();
        assert_eq!(rounded(scores.accuracy), 0.7782);
        assert_eq!(rounded(scores.mean.precision), 0.7799);
        assert_eq!(rounded(scores.mean.recall), 0.7823);
        assert_eq!(rounded(scores.mean.f1), 0.7764);
        assert_eq!(scores.confusion, [[76, 10, 5], [15, 63, 22], [4, 7, 82]]);
        assert!(scores.notes.is_empty(), "{:?}", scores.notes);
        let metastatic = scores.metastatic.unwrap();
        assert_eq!(metastatic.confusion, [[76, 15], [19, 174]]);
    }

    // Lin et al. 2022, table 8.
    #[test]
    fn the_papers_two_classes() {
        let (truths, probabilities) = predictions(&[&[76, 24], &[24, 160]]);
        let scores = Scores::new(&names(&["NoMet", "Met"]), &truths, &probabilities).unwrap();
        let metastatic = scores.metastatic.unwrap();
        assert_eq!(rounded(metastatic.accuracy), 0.8310);
        for score in [metastatic.scores.precision, metastatic.scores.recall, metastatic.scores.f1] {
            assert_eq!(rounded(score), 0.8696);
        }
        assert_eq!(rounded(metastatic.scores.specificity), 0.76);
        // Decisions alone rank in two levels: AUC = (sensitivity + specificity) / 2, and the paper prints .8147 = (.8696 + .76) / 2.
        assert!((metastatic.auc.unwrap() - (160.0 / 184.0 + 0.76) / 2.0).abs() < 1e-12);
        assert_eq!(metastatic.confusion, [[76, 24], [24, 160]]);
        assert_eq!(scores.accuracy, metastatic.accuracy);
    }

    #[test]
    fn a_perfect_classifier() {
        let (truths, probabilities) = predictions(&[&[3, 0], &[0, 2]]);
        let scores = Scores::new(&names(&["NoMet", "Met"]), &truths, &probabilities).unwrap();
        let one = Some(1.0);
        assert_eq!(
            (scores.accuracy, scores.mean.precision, scores.mean.recall, scores.mean.f1, scores.mean.auc),
            (one, one, one, one, one)
        );
        assert_eq!(scores.metastatic.unwrap().brier, Some(0.0));
        let [low, high] = scores.accuracy_interval.unwrap();
        assert!(low < 0.6 && high == 1.0, "five studies prove little: {low} {high}");
    }

    #[test]
    fn an_empty_class_is_left_out_and_said() {
        let (truths, probabilities) = predictions(&[&[8, 2, 0], &[1, 9, 0], &[0, 0, 0]]);
        let scores = Scores::new(&names(&["NoMet", "ADMet", "nADMet"]), &truths, &probabilities).unwrap();
        let empty = &scores.classes[2];
        assert_eq!((empty.scores.precision, empty.scores.recall, empty.scores.f1, empty.auc), (None, None, None, None));
        assert_eq!(empty.scores.specificity, Some(1.0));
        assert_eq!(rounded(scores.mean.recall), 0.85);
        assert_eq!(scores.mean.auc, Some(0.85));
        assert_eq!(
            scores.notes,
            ["No study is nADMet: its precision, recall, F1 and AUC are undefined and left out of the means."]
        );
    }

    #[test]
    fn a_class_given_up_costs_precision() {
        let (truths, probabilities) = predictions(&[&[10, 0], &[10, 0]]);
        let scores = Scores::new(&names(&["NoMet", "Met"]), &truths, &probabilities).unwrap();
        assert_eq!(scores.mean.precision, Some(0.25));
        assert_eq!(scores.metastatic.unwrap().auc, Some(0.5));
        assert_eq!(scores.notes, ["Met was never predicted: its precision counts as 0."]);
    }

    #[test]
    fn one_class_alone() {
        let (truths, probabilities) = predictions(&[&[4, 0], &[0, 0]]);
        let scores = Scores::new(&names(&["NoMet", "Met"]), &truths, &probabilities).unwrap();
        assert_eq!((scores.accuracy, scores.mean.auc, scores.mean.recall), (Some(1.0), None, Some(1.0)));
        assert_eq!(scores.classes[0].scores.specificity, None);
        assert_eq!(scores.notes.len(), 2);
    }

    #[test]
    fn nothing_at_all() {
        let scores = Scores::new(&names(&["NoMet", "Met"]), &[], &[]).unwrap();
        assert_eq!((scores.accuracy, scores.accuracy_interval, scores.mean.f1), (None, None, None));
        assert_eq!(scores.notes, ["No studies: every score is undefined."]);
    }

    #[test]
    fn classes_without_the_negative_one_do_not_merge() {
        let (truths, probabilities) = predictions(&[&[1, 0], &[0, 1]]);
        assert_eq!(Scores::new(&names(&["a", "b"]), &truths, &probabilities).unwrap().metastatic, None);
        let (truths, probabilities) = predictions(&[&[1]]);
        assert_eq!(Scores::new(&names(&["NoMet"]), &truths, &probabilities).unwrap().metastatic, None);
    }

    #[test]
    fn the_merged_decision_follows_the_sum() {
        let classes = names(&["NoMet", "ADMet", "nADMet"]);
        let scores = Scores::new(&classes, &[1], &[vec![0.4, 0.3, 0.3]]).unwrap();
        assert_eq!((scores.accuracy, scores.metastatic.unwrap().accuracy), (Some(0.0), Some(1.0)));
    }

    #[test]
    fn near_certainty_still_ranks() {
        let sure = metastatic_probability(&[1.0, 1e-12, 0.0], 0);
        let surer = metastatic_probability(&[1.0, 1e-13, 0.0], 0);
        assert!(sure > surer && surer > 0.0);
        assert!(metastatic_probability(&[1e-12, 1.0, 0.0], 0) < metastatic_probability(&[1e-13, 1.0, 0.0], 0));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let classes = names(&["NoMet", "Met"]);
        for (truths, probabilities) in [
            (vec![0], vec![]),
            (vec![2], vec![vec![0.5, 0.5]]),
            (vec![0], vec![vec![1.0]]),
            (vec![0], vec![vec![f32::NAN, 0.0]]),
            (vec![0], vec![vec![-0.5, 1.5]]),
        ] {
            assert!(Scores::new(&classes, &truths, &probabilities).is_err(), "{truths:?} {probabilities:?}");
        }
    }

    // Brown, Cai and DasGupta, Statistical Science 2001, and R's prop.test(236, 284, correct = FALSE).
    #[test]
    fn wilsons_interval() {
        let [low, high] = wilson(236, 284).unwrap();
        assert!((low - 0.7830).abs() < 1e-3 && (high - 0.8702).abs() < 1e-3, "{low} {high}");
        assert_eq!(wilson(0, 10).unwrap()[0], 0.0);
        assert!((wilson(0, 10).unwrap()[1] - 0.2775).abs() < 1e-4);
    }

    #[test]
    fn scores_survive_json() {
        let (truths, probabilities) = predictions(&[&[8, 2, 0], &[1, 9, 0], &[0, 0, 0]]);
        let scores = Scores::new(&names(&["NoMet", "ADMet", "nADMet"]), &truths, &probabilities).unwrap();
        let json = serde_json::to_string_pretty(&scores).unwrap();
        assert!(json.contains("\"macro\"") && json.contains("\"recall\": null"), "{json}");
        let read: Scores = serde_json::from_str(&json).unwrap();
        assert_eq!((&read.notes, &read.confusion, &read.classes[2]), (&scores.notes, &scores.confusion, &scores.classes[2]));
        // serde_json reads the last digit of an f64 to one unit.
        assert!((read.mean.f1.unwrap() - scores.mean.f1.unwrap()).abs() < 1e-15);
        assert!(read.statistics.is_none() && !json.contains("intervals"));
        let predictions = bootstrap::tests::invented(40, 2, 1.0, 1);
        let scores = Scores::with_statistics(&predictions, Bootstrap { resamples: 100, seed: 7 }).unwrap();
        let read: Scores = serde_json::from_str(&serde_json::to_string(&scores).unwrap()).unwrap();
        let statistics = read.statistics.expect("written");
        assert_eq!((statistics.intervals.bootstrap.seed, statistics.calibration.bins), (7, BINS));
        assert_eq!(statistics.intervals.scores.classes[1].class, "ADMet");
        assert!(statistics.intervals.scores.metastatic.is_some() && statistics.operating_points.is_some());
    }
}
