//! Intervals by resampling patients (Efron, Annals of Statistics 1979, 7:1; for clustered data Davison and Hinkley 1997, section 3.8).
//! Written here rather than taken from a crate, because a patient is drawn with all studies and one resample gives every score.
//!
//! Studies of one patient are alike, so patients are drawn, with replacement and as many as there are, and each brings all of its
//! studies. An interval goes from the 2.5 % to the 97.5 % quantile of a score over the resamples: the **percentile** method (Efron
//! and Tibshirani 1993, chapter 13). It stays within 0..=1, does not change when a score is transformed, and needs nothing of a
//! score but that it can be computed. BCa would correct bias and skewness from a normal quantile of the share of resamples below
//! the score, but accuracy and recall have few distinct values and many ties, where that share is arbitrary, and a score that is
//! undefined in some resamples has no jackknife. The price: with few patients the interval is somewhat too narrow.
//!
//! A resample that lacks a class leaves some scores undefined; it is left out of their quantiles. A macro mean is over the classes
//! where the score is defined in the data: a resample that loses one is left out too, or it would measure something else. A score
//! that more than [`MOST_UNDEFINED`] of the resamples leave undefined has no interval, and neither has one that no resample
//! changes: 5 of 5 right does not mean certainty.

use super::ranking::Ranking;
use super::{Confusion, Panel, Predictions, Scores, predicted};
use crate::text::counted;
use crate::{Error, Result, interrupt};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// What an interval covers.
pub const LEVEL: f64 = 0.95;

/// The largest share of resamples that may leave a score undefined.
pub const MOST_UNDEFINED: f64 = 1.0 - LEVEL;

/// Sums of the same values in another order differ by less.
pub(super) const SAME: f64 = 1e-12;

/// How to resample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// How often.
    pub resamples: usize,
    /// The same seed, the same resamples.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Bootstrap { resamples: 2000, seed: 1 }
    }
}

/// 95 % intervals of every score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    /// How they were made, in words.
    pub method: String,
    /// What they cover.
    pub level: f64,
    /// The patients that were resampled.
    pub patients: usize,
    /// How often, and from which seed.
    #[serde(flatten)]
    pub bootstrap: Bootstrap,
    /// Their ends; none where the score or its interval is undefined.
    #[serde(flatten)]
    pub scores: Panel<Option<[f64; 2]>>,
}

impl Intervals {
    /// The intervals of `scores`, which are those of `predictions`.
    ///
    /// # Errors
    /// As [`Bootstrap::check`]; the [wish to stop](interrupt).
    pub fn new(predictions: &Predictions, scores: &Scores, bootstrap: Bootstrap) -> Result<Self> {
        bootstrap.check()?;
        let values = Panel::of(scores);
        let resampler = Resampler::new(predictions, &values);
        let mut columns = Columns::new(values.values().len(), bootstrap.resamples);
        for resample in 0..bootstrap.resamples {
            interrupt::check()?;
            columns.push(&resampler.measure(&bootstrap.draw(resample, resampler.patients)));
        }
        let mut intervals = columns.intervals().into_iter();
        Ok(Intervals {
            method: "percentile bootstrap over patients".to_owned(),
            level: LEVEL,
            patients: resampler.patients,
            bootstrap,
            scores: values.map(|value| intervals.next().flatten().filter(|_| value.is_some())),
        })
    }
}

impl Bootstrap {
    /// How many resamples there may be.
    pub const RESAMPLES: RangeInclusive<usize> = 100..=1_000_000;

    /// Between 100 resamples, below which the outer 2.5 % are two or three of them, and a million.
    ///
    /// # Errors
    /// Another number.
    pub fn check(&self) -> Result<()> {
        if Self::RESAMPLES.contains(&self.resamples) {
            return Ok(());
        }
        let problem = format!("no interval is made from {}", counted(self.resamples, "resample"));
        Err(Error::setting(problem, "choose between 100 and 1000000, such as 2000"))
    }

    /// How often each of the patients stands in resample number `resample`: a function of the seed, the number and nothing else.
    pub fn draw(&self, resample: usize, patients: usize) -> Vec<u64> {
        self.draw_for(PURPOSE, resample, patients, patients)
    }

    /// The same of so many draws from `of` things, in the stream of another purpose.
    pub(super) fn draw_for(&self, purpose: u64, resample: usize, draws: usize, of: usize) -> Vec<u64> {
        let mut times = vec![0; of];
        let mut state = mix(mix(self.seed ^ purpose).wrapping_add(resample as u64));
        for _ in 0..draws {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            // The high half of a 64 x 64 bit product is uniform but for a bias below of / 2^64.
            let at = (u128::from(mix(state)) * of as u128) >> 64;
            times[at as usize] += 1;
        }
        times
    }
}

/// Keeps these streams apart from those of other purposes under the same seed.
const PURPOSE: u64 = u64::from_le_bytes(*b"resample");

/// SplitMix64's output function (Steele, Lea and Flood 2014).
fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Predictions, prepared for being weighted by patient.
pub(super) struct Resampler {
    /// How many patients.
    pub patients: usize,
    patient_of: Vec<usize>, // a study
    classes: usize,
    decisions: Vec<(usize, usize)>, // a study: truth, predicted
    merged: Vec<(usize, usize)>,    // the same of metastatic or not; empty where the classes do not merge
    rankings: Vec<Option<Ranking>>, // a class, then metastatic where they do
    /// For precision, recall, specificity, F1, AUC the classes that the macro mean is over.
    averaged: [Vec<usize>; 5],
}

impl Resampler {
    /// `values` are the scores of the predictions.
    pub fn new(predictions: &Predictions, values: &Panel<Option<f64>>) -> Self {
        let Predictions { classes, truths, probabilities, .. } = predictions;
        let (patient_of, patients) = predictions.numbered_patients();
        let mut rankings: Vec<Option<Ranking>> =
            (0..classes.len()).map(|class| Ranking::new(&super::one_against_rest(truths, probabilities, class))).collect();
        let mut merged = Vec::new();
        if let Some(ranked) = predictions.ranking() {
            merged = ranked.iter().map(|&(p, positive)| (usize::from(positive), usize::from(p > 0.5))).collect();
            rankings.push(Ranking::new(&ranked));
        }
        let averaged = std::array::from_fn(|score| {
            (0..classes.len()).filter(|&class| values.classes[class].scores.values()[score].is_some()).collect()
        });
        let decisions = truths.iter().zip(probabilities).map(|(&truth, row)| (truth, predicted(row))).collect();
        Resampler { patients, patient_of, classes: classes.len(), decisions, merged, rankings, averaged }
    }

    /// Every score with each patient standing `times` over, in the order of [`Panel::values`]; NaN where it is undefined.
    pub fn measure(&self, times: &[u64]) -> Vec<f64> {
        let weight = |study: usize| times[self.patient_of[study]];
        let count = |classes: usize, decisions: &[(usize, usize)]| {
            let mut confusion = Confusion::new(classes);
            for (study, &(truth, predicted)) in decisions.iter().enumerate() {
                confusion.add_times(truth, predicted, weight(study));
            }
            confusion
        };
        let scores = |confusion: &Confusion, class: usize, ranking: &Option<Ranking>| {
            let class = confusion.class(class);
            let auc = ranking.as_ref().and_then(|ranking| ranking.auc(weight));
            [class.precision, class.recall, class.specificity, class.f1, auc].map(|score| score.unwrap_or(f64::NAN))
        };
        let confusion = count(self.classes, &self.decisions);
        let classes: Vec<[f64; 5]> = (0..self.classes).map(|class| scores(&confusion, class, &self.rankings[class])).collect();

        let mut values = vec![confusion.accuracy().unwrap_or(f64::NAN)];
        values.extend(self.averaged.iter().enumerate().map(|(score, averaged)| {
            // Of no class the mean is 0 / 0.
            averaged.iter().map(|&class| classes[class][score]).sum::<f64>() / averaged.len() as f64
        }));
        values.extend(classes.iter().flatten());
        if let Some(ranking) = self.rankings.get(self.classes) {
            let confusion = count(2, &self.merged);
            values.push(confusion.accuracy().unwrap_or(f64::NAN));
            values.extend(scores(&confusion, 1, ranking));
        }
        values
    }
}

/// Values over the resamples, a column a score.
pub(super) struct Columns {
    columns: Vec<Vec<f64>>,
    resamples: usize,
}

impl Columns {
    pub fn new(scores: usize, resamples: usize) -> Self {
        Columns { columns: vec![Vec::with_capacity(resamples); scores], resamples }
    }

    /// One resample's values; NaN is left out.
    pub fn push(&mut self, values: &[f64]) {
        for (column, &value) in self.columns.iter_mut().zip(values) {
            if !value.is_nan() {
                column.push(value);
            }
        }
    }

    /// The values of one score, of those resamples that define it; none where too few do.
    pub fn column(&self, score: usize) -> Option<&[f64]> {
        let undefined = (self.resamples - self.columns[score].len()) as f64;
        (undefined <= MOST_UNDEFINED * self.resamples as f64).then_some(&self.columns[score][..])
    }

    /// Their quantiles.
    pub fn intervals(&mut self) -> Vec<Option<[f64; 2]>> {
        self.columns.iter_mut().for_each(|column| column.sort_unstable_by(f64::total_cmp));
        let outside = (1.0 - LEVEL) / 2.0;
        let ends = |sorted: &[f64]| [outside, 1.0 - outside].map(|share| quantile(sorted, share));
        let differ = |[low, high]: &[f64; 2]| high - low > SAME;
        (0..self.columns.len()).map(|score| self.column(score).map(ends).filter(differ)).collect()
    }
}

/// The quantile of sorted values, between two of them by proportion: definition 7 of Hyndman and Fan, The American Statistician
/// 1996, 50:361. NaN of no values.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let position = share.clamp(0.0, 1.0) * last as f64;
    let below = position as usize;
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    low + (high - low) * (position - below as f64)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(classes: &[&str]) -> Vec<String> {
        classes.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Invented predictions of three classes, right more often than not, `each` studies a patient.
    pub(in crate::metrics) fn invented(studies: usize, each: usize, sharpness: f64, seed: u64) -> Predictions {
        let draw =
            |study: usize, class: usize| mix(seed.wrapping_mul(7919) + (study * 3 + class) as u64) as f64 / u64::MAX as f64;
        let truths: Vec<usize> = (0..studies).map(|study| study / each % 3).collect();
        let probabilities = (0..studies)
            .map(|study| {
                let hint = |class: usize| if class == truths[study] { sharpness } else { 0.0 };
                let scores = [0, 1, 2].map(|class| (3.0 * draw(study, class) + hint(class)).exp());
                scores.iter().map(|score| (score / scores.iter().sum::<f64>()) as f32).collect()
            })
            .collect();
        let patients = (0..studies).map(|study| format!("p{}", study / each)).collect();
        Predictions::new("invented", names(&["NoMet", "ADMet", "nADMet"]), patients, truths, probabilities).unwrap()
    }

    fn scores(predictions: &Predictions) -> Scores {
        Scores::new(&predictions.classes, &predictions.truths, &predictions.probabilities).unwrap()
    }

    fn intervals(predictions: &Predictions, bootstrap: Bootstrap) -> Intervals {
        Intervals::new(predictions, &scores(predictions), bootstrap).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn weights_are_copies(
            studies in prop::collection::vec((0..2usize, 0..3usize, [0..5u8, 0..5, 0..5]), 1..12),
            times in prop::collection::vec(0..4u64, 12),
        ) {
            // Each study is a patient's; `times` copies of it must score as that weight.
            let row = |weights: &[u8; 3]| -> Vec<f32> {
                let sum: f32 = weights.iter().map(|&weight| f32::from(weight) + 1.0).sum();
                weights.iter().map(|&weight| (f32::from(weight) + 1.0) / sum).collect()
            };
            let predictions = |copies: &dyn Fn(usize) -> usize| {
                let chosen: Vec<usize> = (0..studies.len()).flat_map(|at| vec![at; copies(at)]).collect();
                Predictions::new(
                    "",
                    names(&["NoMet", "ADMet", "nADMet"]),
                    chosen.iter().map(|at| at.to_string()).collect(),
                    chosen.iter().map(|&at| studies[at].1).collect(),
                    chosen.iter().map(|&at| row(&studies[at].2)).collect(),
                )
                .unwrap()
            };
            let once = predictions(&|_| 1);
            let values = Panel::of(&scores(&once));
            let resampler = Resampler::new(&once, &values);
            let same = |measured: f64, expected: Option<f64>| measured.is_nan() && expected.is_none() || Some(measured) == expected;
            for (measured, expected) in resampler.measure(&vec![1; studies.len()]).into_iter().zip(values.values()) {
                prop_assert!(same(measured, *expected), "{} {:?}", measured, expected);
            }
            let copied = Panel::of(&scores(&predictions(&|at| times[at] as usize)));
            let measured = resampler.measure(&times[..studies.len()]);
            for (at, ((name, expected), measured)) in copied.named().into_iter().zip(measured).enumerate() {
                // Macro means, 1 to 5, are over the classes of the whole.
                prop_assert!((1..6).contains(&at) || same(measured, *expected), "{} {} {:?}", name, measured, expected);
            }
        }
    }

    #[test]
    fn the_seed_and_the_number_decide_a_resample() {
        let bootstrap = Bootstrap::default();
        let draws: Vec<Vec<u64>> = (0..300).map(|resample| bootstrap.draw(resample, 50)).collect();
        assert_eq!(draws[7], bootstrap.draw(7, 50));
        assert_ne!(draws[7], Bootstrap { seed: 2, ..bootstrap }.draw(7, 50));
        assert!(draws.iter().all(|times| times.iter().sum::<u64>() == 50));
        assert_eq!(draws.iter().collect::<std::collections::HashSet<_>>().len(), 300);
        // A patient is absent from 1/e of the resamples: 0.98^50 = 0.364 of these 15000 draws.
        let absent = draws.iter().flatten().filter(|times| **times == 0).count() as f64 / 15_000.0;
        assert!((absent - 0.364).abs() < 0.02, "{absent}");
        assert!(bootstrap.draw(0, 0).is_empty());
    }

    /// Measured when the streams were fixed: a change here changes every interval.
    #[test]
    fn streams_are_frozen() {
        assert_eq!(Bootstrap::default().draw(0, 8), [0, 0, 0, 0, 3, 2, 1, 2]);
    }

    #[test]
    fn an_interval_is_about_as_wide_as_the_binomials() {
        let predictions = invented(400, 1, 1.0, 1);
        let interval = intervals(&predictions, Bootstrap::default()).scores.accuracy.unwrap();
        let scores = scores(&predictions);
        let accuracy = scores.accuracy.unwrap();
        let normal = 1.96 * (accuracy * (1.0 - accuracy) / 400.0).sqrt();
        assert!((interval[0] - (accuracy - normal)).abs() < 0.01, "{interval:?} {accuracy} +- {normal}");
        assert!((interval[1] - (accuracy + normal)).abs() < 0.01, "{interval:?} {accuracy} +- {normal}");
    }

    #[test]
    fn studies_of_one_patient_are_not_independent() {
        // Four copies of each study: four times the studies, not the knowledge.
        let once = invented(60, 1, 1.0, 3);
        let mut copied = once.clone();
        for _ in 0..3 {
            copied.patients.extend(once.patients.clone());
            copied.truths.extend(once.truths.clone());
            copied.probabilities.extend(once.probabilities.clone());
        }
        assert_eq!(intervals(&once, Bootstrap::default()).scores, intervals(&copied, Bootstrap::default()).scores);
    }

    #[test]
    fn what_is_undefined_or_never_changes_has_no_interval() {
        // One study of nADMet among 30: a third of the resamples lack it.
        let mut predictions = invented(31, 1, 1.0, 5);
        predictions.truths.iter_mut().for_each(|truth| *truth %= 2);
        predictions.truths[30] = 2;
        let scores = intervals(&predictions, Bootstrap::default()).scores;
        assert!(scores.accuracy.is_some() && scores.classes[0].scores.auc.is_some());
        assert_eq!((scores.classes[2].scores.recall, scores.classes[2].scores.auc, scores.mean.recall), (None, None, None));
        // No study of it at all: the macro mean is over the two others, always.
        predictions.truths[30] = 1;
        let scores = intervals(&predictions, Bootstrap::default()).scores;
        assert!(scores.mean.recall.is_some() && scores.classes[2].scores.recall.is_none());
        // All right: nothing to resample.
        let sure = invented(30, 1, 50.0, 1);
        assert_eq!(intervals(&sure, Bootstrap::default()).scores.accuracy, None);
        // No study, one patient.
        let none = invented(0, 1, 1.0, 1);
        assert!(intervals(&none, Bootstrap::default()).scores.values().iter().all(|interval| interval.is_none()));
        let one = invented(3, 3, 1.0, 1);
        assert!(intervals(&one, Bootstrap::default()).scores.values().iter().all(|interval| interval.is_none()));
    }

    #[test]
    fn too_few_resamples_are_refused() {
        for resamples in [0, 99, 1_000_001] {
            let error = Bootstrap { resamples, seed: 1 }.check().unwrap_err().to_string();
            assert!(error.contains(&format!("{resamples} resamples")), "{error}");
        }
    }

    // numpy.quantile([1, 2, 4, 8], q) for q = 0.025, 0.5, 0.975.
    #[test]
    fn quantiles_lie_between_values() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        let near = |share: f64, expected: f64| assert!((quantile(&sorted, share) - expected).abs() < 1e-12);
        near(0.025, 1.075);
        near(0.5, 3.0);
        near(0.975, 7.7);
        near(1.0, 8.0);
        assert_eq!(quantile(&[3.0], 0.4), 3.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
