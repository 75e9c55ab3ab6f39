//! How well maps point at lesions: the pointing game (Zhang et al. 2018), the share of a map on lesions, and the free-response ROC
//! (Bunch et al. 1978).

use super::{mean, wilson};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// False marks a scan at which a sensitivity is stated.
pub const FALSE_MARKS: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];

/// A mark counts as on a lesion, and a hottest pixel as pointing at one, where it is so many millimetres from it or nearer.
pub const NEAR_MM: f64 = 15.0;

/// How one map of one scan with lesions lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pointing {
    /// Whether its hottest pixel is near a lesion; not where the map is empty.
    pub is_near: bool,
    /// The share of the map that lies on lesions.
    pub on_lesions: f64,
}

/// How a kind of map lies over many scans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapScore {
    /// What map: `evidence`.
    pub map: String,
    /// Scans whose hottest pixel is near a lesion, as a share.
    pub pointing: Option<f64>,
    /// Its 95 % interval after Wilson (1927).
    pub pointing_interval: Option<[f64; 2]>,
    /// Mean share of a map on lesions.
    pub on_lesions: Option<f64>,
    /// At so many false marks a scan the share of lesions that are marked, in the order of [`FALSE_MARKS`]; none where the marks end
    /// before.
    pub sensitivity: Vec<Option<f64>>,
}

/// A mark on a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// How sure it is.
    pub score: f64,
    /// The lesions that it is near, as (scan, lesion).
    pub near: Vec<(usize, usize)>,
}

/// False marks a scan, and the share of lesions that are marked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrocPoint {
    /// Marks that are near no lesion, over scans.
    pub false_marks: f64,
    /// Lesions that some mark is near, over lesions.
    pub sensitivity: f64,
}

/// What is left of the maps where weights are drawn anew from the last layer downwards (Adebayo et al. 2018, section 4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Randomised {
    /// From here on upwards: `last layer`, `layer4`.
    pub from: String,
    /// Mean rank correlation (Spearman) with the maps of the network as it is, over the pixels of the body.
    pub correlation: Option<f64>,
    /// As [`MapScore::pointing`].
    pub pointing: Option<f64>,
    /// As [`MapScore::on_lesions`].
    pub on_lesions: Option<f64>,
}

/// How well the evidence of a network points at lesions, beside what guesses reach.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Localisation {
    /// Scans with an outlined lesion that the network calls metastatic: pointing and shares are of them.
    pub pointed: usize,
    /// All scans whose lesions are known, those without any among them: marks are of them.
    pub marked: usize,
    /// Their lesions.
    pub lesions: usize,
    /// Evidence first, then what guesses reach.
    pub maps: Vec<MapScore>,
    /// The curve of the evidence, up to the most of [`FALSE_MARKS`].
    pub froc: Vec<FrocPoint>,
    /// With fewer and fewer trained layers.
    pub randomised: Vec<Randomised>,
}

impl MapScore {
    /// Of a kind of map.
    pub fn new(map: impl Into<String>, pointings: &[Pointing], froc: &[FrocPoint]) -> Self {
        let near = pointings.iter().filter(|pointing| pointing.is_near).count();
        let sensitivity = |most: &f64| {
            let reached = froc.iter().rev().find(|point| point.false_marks <= *most);
            let goes_on = froc.last().is_some_and(|last| last.false_marks >= *most);
            goes_on.then(|| reached.map_or(0.0, |point| point.sensitivity))
        };
        MapScore {
            map: map.into(),
            pointing: mean(pointings.iter().map(|pointing| Some(f64::from(u8::from(pointing.is_near))))),
            pointing_interval: wilson(near as u64, pointings.len() as u64),
            on_lesions: mean(pointings.iter().map(|pointing| Some(pointing.on_lesions))),
            sensitivity: FALSE_MARKS.iter().map(sensitivity).collect(),
        }
    }
}

impl Randomised {
    /// Of the maps of some scans, each with its correlation with the map of the network as it is.
    pub fn new(from: impl Into<String>, pointings: &[Pointing], correlations: &[Option<f64>]) -> Self {
        let MapScore { pointing, on_lesions, .. } = MapScore::new("", pointings, &[]);
        Randomised { from: from.into(), correlation: mean(correlations.iter().copied()), pointing, on_lesions }
    }
}

/// The curve as marks are taken in from the surest on, those of one score together. A lesion counts once, and a second mark near it is
/// neither true nor false. None where there are no scans or no lesions.
pub fn froc(scans: usize, lesions: usize, marks: &[Mark]) -> Vec<FrocPoint> {
    let mut order: Vec<&Mark> = marks.iter().filter(|mark| !mark.score.is_nan()).collect();
    order.sort_by(|one, other| other.score.total_cmp(&one.score));
    let (mut found, mut false_marks, mut curve) = (HashSet::new(), 0usize, Vec::new());
    for (at, mark) in order.iter().enumerate() {
        false_marks += usize::from(mark.near.is_empty());
        found.extend(mark.near.iter().copied());
        let is_last = order.get(at + 1).is_none_or(|next| next.score < mark.score);
        if is_last && scans > 0 && lesions > 0 {
            let sensitivity = found.len() as f64 / lesions as f64;
            curve.push(FrocPoint { false_marks: false_marks as f64 / scans as f64, sensitivity });
        }
    }
    curve
}

/// The rank correlation of Spearman; equal values share the mean of their ranks. None of fewer than two values, or where all are equal.
pub fn spearman(a: &[f32], b: &[f32]) -> Option<f64> {
    let (a, b) = (ranks(a), ranks(b));
    let middle = (a.len() as f64 + 1.0) / 2.0;
    let sum = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - middle) * (y - middle)).sum::<f64>();
    let spread = (sum(&a, &a) * sum(&b, &b)).sqrt();
    (spread > 0.0).then(|| sum(&a, &b) / spread)
}

/// The rank of each value, from 1.
fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut ranks = vec![0.0; values.len()];
    for equal in order.chunk_by(|one, other| values[*one] == values[*other]) {
        let first = equal[0];
        let before = order.partition_point(|at| values[*at].total_cmp(&values[first]).is_lt());
        equal.iter().for_each(|at| ranks[*at] = before as f64 + (equal.len() as f64 + 1.0) / 2.0);
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(score: f64, near: &[(usize, usize)]) -> Mark {
        Mark { score, near: near.to_vec() }
    }

    /// Two scans with three lesions; by hand.
    #[test]
    fn marks_are_taken_in_from_the_surest_on() {
        let marks = [
            mark(0.9, &[(0, 0)]),
            mark(0.8, &[]),
            mark(0.7, &[(0, 0)]),
            mark(0.6, &[(1, 0), (0, 1)]),
            mark(0.6, &[]),
            mark(0.1, &[]),
        ];
        let curve: Vec<[f64; 2]> = froc(2, 3, &marks).iter().map(|point| [point.false_marks, point.sensitivity]).collect();
        let third = 1.0 / 3.0;
        assert_eq!(curve, [[0.0, third], [0.5, third], [0.5, third], [1.0, 1.0], [1.5, 1.0]]);
        let score = MapScore::new("evidence", &[], &froc(2, 3, &marks));
        assert_eq!(score.sensitivity, [Some(third), Some(third), Some(1.0), None, None]);
        assert!(froc(0, 3, &marks).is_empty() && froc(2, 0, &marks).is_empty() && froc(2, 3, &[]).is_empty());
    }

    #[test]
    fn pointing_is_a_share_with_an_interval() {
        let of = |is_near, on_lesions| Pointing { is_near, on_lesions };
        let score = MapScore::new("evidence", &[of(true, 0.5), of(true, 0.3), of(false, 0.1)], &[]);
        assert_eq!((score.pointing, score.pointing_interval), (Some(2.0 / 3.0), wilson(2, 3)));
        assert!((score.on_lesions.unwrap() - 0.3).abs() < 1e-12);
        assert_eq!(MapScore::new("evidence", &[], &[]).pointing, None);
    }

    /// Of scipy.stats.spearmanr.
    #[test]
    fn rank_correlation() {
        let near = |found: Option<f64>, expected: f64| assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?}");
        near(spearman(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0, 30.0, 31.0]), 1.0);
        near(spearman(&[1.0, 2.0, 2.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0]), 0.763_157_894_736_842_1);
        near(spearman(&[0.0, 0.0, 1.0], &[1.0, 1.0, 0.0]), -1.0);
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[], &[]), None);
    }
}
