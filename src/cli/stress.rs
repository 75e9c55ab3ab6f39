//! How scores hold up on worse scans, as lines.

use super::evaluate::figure;
use crate::metrics::{Change, Stress, Stressed, StressedMerged};
use crate::text::counted;

/// A line a condition.
pub fn lines(found: &Stress) -> Vec<String> {
    let widest = found.conditions.iter().map(|one| one.condition.chars().count()).max().unwrap_or(0);
    let studies = found.conditions.first().map_or(0, |one| one.studies);
    let of = |score: Option<f64>, by: Option<Change>| figure(score) + &change(by);
    let line = |one: &Stressed| {
        let Stressed { condition, accuracy, accuracy_change, auc, auc_change, calibration_error, changed, .. } = one;
        let mut line =
            format!("  {condition:<widest$}  accuracy {}  AUC {}", of(*accuracy, *accuracy_change), of(*auc, *auc_change));
        if let Some(StressedMerged { accuracy, accuracy_change, auc, auc_change, .. }) = &one.metastatic {
            line += &format!("  metastatic or not {}  AUC {}", of(*accuracy, *accuracy_change), of(*auc, *auc_change));
        }
        line += &format!("  calibration error {}", figure(*calibration_error));
        if let Some(share) = changed.filter(|_| accuracy_change.is_some()) {
            line += &format!("  other answers {:.1} %", 100.0 * share);
        }
        if one.studies != studies {
            line += &format!("  ({})", counted(one.studies, "study"));
        }
        line
    };
    let heading = format!(
        "on worse scans, {} of {}; in brackets the difference from the same scans as they are and its 95 % interval:",
        counted(studies, "study"),
        counted(found.patients, "patient")
    );
    std::iter::once(heading).chain(found.conditions.iter().map(line)).collect()
}

/// ` (-0.0323 [-0.086, 0.022])`; nothing of the scans as they are.
fn change(change: Option<Change>) -> String {
    let Some(Change { by: Some(by), interval }) = change else { return String::new() };
    let interval = interval.map_or(String::new(), |[low, high]| format!(" [{low:+.3}, {high:+.3}]"));
    format!(" ({by:+.4}{interval})")
}
