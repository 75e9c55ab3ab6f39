//! The metrics against scikit-learn, SciPy and statsmodels, on the predictions that `reference/scripts/check_metrics.py` wrote with
//! their answers: ties, classes without studies, certainty that is wrong, a thousand studies of four hundred patients.

use osteon::metrics::{self, Bootstrap, CalibrationError, McNemar, Panel, Predictions, Scores, Statistics, compare};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Sums of the same numbers in another order.
const MAX_ERROR: f64 = 1e-12;

/// scikit-learn takes AUC as an area by trapezoids, and a mean of a thousand logarithms.
const MAX_ERROR_OF_SUMS: f64 = 1e-10;

#[derive(Deserialize)]
struct Golden {
    resamples: usize,
    seed: u64,
    draws: Vec<Vec<u64>>,
    cases: BTreeMap<String, Case>,
    comparison: Pair,
    mcnemar: Vec<Test>,
}

#[derive(Deserialize)]
struct Case {
    classes: Vec<String>,
    /// patient, truth, a probability a class
    studies: Vec<Vec<serde_json::Value>>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Expected {
    values: Vec<Option<f64>>,
    intervals: Vec<Option<[f64; 2]>>,
    log_loss: Option<f64>,
    top_label: Option<CalibrationError>,
    classes: Vec<OfClass>,
    metastatic: Option<OfClass>,
    operating_points: Option<metrics::OperatingPoints>,
}

#[derive(Deserialize)]
struct OfClass {
    calibration: Option<CalibrationError>,
    brier: Option<f64>,
}

#[derive(Deserialize)]
struct Pair {
    a: String,
    b: Vec<Vec<f32>>,
    expected: ExpectedPair,
}

#[derive(Deserialize)]
struct ExpectedPair {
    differences: Vec<Option<f64>>,
    intervals: Vec<Option<[f64; 2]>>,
    p: Vec<Option<f64>>,
    mcnemar: Answer,
    table: [[u64; 2]; 2],
}

#[derive(Deserialize)]
struct Answer {
    statistic: Option<f64>,
    p: f64,
}

#[derive(Deserialize)]
struct Test {
    only_a: usize,
    only_b: usize,
    #[serde(flatten)]
    answer: Answer,
}

fn golden() -> Golden {
    let text = include_str!("../../reference/goldens/metrics.json");
    serde_json::from_str(text).expect("the file that check_metrics.py wrote")
}

impl Case {
    fn predictions(&self) -> Predictions {
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        Predictions::new(
            "golden",
            self.classes.clone(),
            self.studies.iter().map(|study| study[0].as_str().expect("a patient").to_owned()).collect(),
            self.studies.iter().map(|study| number(&study[1]) as usize).collect(),
            self.studies.iter().map(|study| study[2..].iter().map(|p| number(p) as f32).collect()).collect(),
        )
        .expect("valid predictions")
    }
}

/// Compares, and keeps the worst error.
struct Worst(f64);

impl Worst {
    #[track_caller]
    fn hold(&mut self, what: &str, ours: Option<f64>, theirs: Option<f64>, allowed: f64) {
        match (ours, theirs) {
            (None, None) => {}
            (Some(ours), Some(theirs)) => {
                let error = (ours - theirs).abs() / theirs.abs().max(1.0);
                assert!(error <= allowed, "{what}: {ours} beside {theirs}");
                self.0 = self.0.max(error);
            }
            _ => panic!("{what}: {ours:?} beside {theirs:?}"),
        }
    }

    #[track_caller]
    fn hold_ends(&mut self, what: &str, ours: Option<[f64; 2]>, theirs: Option<[f64; 2]>) {
        for end in [0, 1] {
            self.hold(what, ours.map(|ends| ends[end]), theirs.map(|ends| ends[end]), MAX_ERROR_OF_SUMS);
        }
    }

    #[track_caller]
    fn hold_calibration(&mut self, what: &str, ours: Option<&CalibrationError>, theirs: Option<&CalibrationError>) {
        let each = |of: Option<&CalibrationError>, value: fn(&CalibrationError) -> f64| of.map(value);
        self.hold(what, each(ours, |of| of.expected), each(theirs, |of| of.expected), MAX_ERROR_OF_SUMS);
        self.hold(what, each(ours, |of| of.maximum), each(theirs, |of| of.maximum), MAX_ERROR_OF_SUMS);
        let bins = |of: Option<&CalibrationError>| of.map_or(Vec::new(), |of| of.bins.clone());
        let (ours, theirs) = (bins(ours), bins(theirs));
        assert_eq!(ours.len(), theirs.len(), "{what}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours.count, theirs.count, "{what}");
            self.hold(what, Some(ours.predicted), Some(theirs.predicted), MAX_ERROR_OF_SUMS);
            self.hold(what, Some(ours.observed), Some(theirs.observed), MAX_ERROR);
        }
    }
}

#[test]
fn scores_intervals_and_calibration_are_scikit_learns() {
    let golden = golden();
    let bootstrap = Bootstrap { resamples: golden.resamples, seed: golden.seed };
    for (resample, draw) in golden.draws.iter().enumerate() {
        assert_eq!(bootstrap.draw(resample, draw.len()), *draw, "resample {resample}");
    }
    for (name, case) in &golden.cases {
        let Expected { values, intervals, log_loss, top_label, classes, metastatic, operating_points } = &case.expected;
        let predictions = case.predictions();
        let scores = Scores::with_statistics(&predictions, bootstrap).expect("valid predictions");
        let Statistics { intervals: ours, calibration, operating_points: our_points } =
            scores.statistics.as_ref().expect("with statistics");
        let (mut worst, mut worst_end) = (Worst(0.0), Worst(0.0));

        let panel = Panel::of(&scores);
        assert_eq!(panel.values().len(), values.len(), "{name}");
        for (((what, ours), theirs), (ends, their_ends)) in
            panel.named().into_iter().zip(values).zip(ours.scores.values().into_iter().zip(intervals))
        {
            worst.hold(&format!("{name}: {what}"), *ours, *theirs, MAX_ERROR_OF_SUMS);
            worst_end.hold_ends(&format!("{name}: interval of {what}"), *ends, *their_ends);
        }
        worst.hold(&format!("{name}: log loss"), calibration.log_loss, *log_loss, MAX_ERROR_OF_SUMS);
        worst.hold_calibration(&format!("{name}: top label"), calibration.top_label.as_ref(), top_label.as_ref());
        for (ours, theirs) in calibration.classes.iter().zip(classes) {
            worst.hold_calibration(&format!("{name}: {}", ours.class), ours.error.as_ref(), theirs.calibration.as_ref());
            worst.hold(&format!("{name}: Brier of {}", ours.class), ours.brier, theirs.brier, MAX_ERROR);
        }
        assert_eq!(scores.metastatic.is_some(), metastatic.is_some(), "{name}");
        if let (Some(ours), Some(theirs)) = (&scores.metastatic, metastatic) {
            worst.hold(&format!("{name}: Brier"), ours.brier, theirs.brier, MAX_ERROR);
            let what = format!("{name}: probability of metastasis");
            worst.hold_calibration(&what, calibration.metastatic.as_ref(), theirs.calibration.as_ref());
        }
        assert_eq!(our_points, operating_points, "{name}");
        println!(
            "{name}: {} studies, worst error of a score {:.1e}, of an interval's end {:.1e}",
            scores.studies, worst.0, worst_end.0
        );
    }
}

#[test]
fn comparisons_are_scipys_and_statsmodels() {
    let golden = golden();
    let a = golden.cases[&golden.comparison.a].predictions();
    let b = Predictions { probabilities: golden.comparison.b, ..a.clone() };
    let bootstrap = Bootstrap { resamples: golden.resamples, seed: golden.seed };
    let found = compare(&a, &b, bootstrap).expect("the same studies");
    let ExpectedPair { differences, intervals, p, mcnemar, table } = golden.comparison.expected;
    let mut worst = Worst(0.0);
    for (at, (what, score)) in found.scores.named().into_iter().enumerate() {
        worst.hold(&what, score.difference, differences[at], MAX_ERROR_OF_SUMS);
        worst.hold_ends(&what, score.interval, intervals[at]);
        worst.hold(&format!("p of {what}"), score.p, p[at], MAX_ERROR);
    }
    let ours = &found.mcnemar;
    assert_eq!([[ours.both, ours.only_a], [ours.only_b, ours.neither]], table);
    worst.hold("McNemar", Some(ours.p), Some(mcnemar.p), MAX_ERROR);
    worst.hold("McNemar", ours.statistic, mcnemar.statistic, MAX_ERROR);

    for Test { only_a, only_b, answer } in golden.mcnemar {
        let pairs = vec![(true, false); only_a].into_iter().chain(vec![(false, true); only_b]);
        let ours = McNemar::new(pairs);
        let what = format!("McNemar of {only_a} and {only_b}");
        worst.hold(&what, Some(ours.p), Some(answer.p), MAX_ERROR);
        worst.hold(&what, ours.statistic, answer.statistic, MAX_ERROR);
    }
    println!("comparison: worst error {:.1e}", worst.0);
}
