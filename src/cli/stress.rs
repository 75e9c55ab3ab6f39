//! How scores hold up on worse scans, as lines.

use crate::metrics::{Change, Stress, Stressed, StressedMerged};
use crate::text::counted;

/// A line a condition, its scores beneath each other.
pub fn lines(found: &Stress, positive: Option<&str>) -> Vec<String> {
    let positive = positive.unwrap_or("metastatic");
    let widest = found.conditions.iter().map(|one| one.condition.chars().count()).max().unwrap_or(0);
    let studies = found.conditions.first().map_or(0, |one| one.studies);
    let line = |one: &Stressed| {
        let Stressed { condition, accuracy, accuracy_change, auc, auc_change, calibration_error, changed, .. } = one;
        let [accuracy, auc] = [score(*accuracy, *accuracy_change), score(*auc, *auc_change)];
        let mut line = format!("  {condition:<widest$}  accuracy {accuracy}  AUC {auc}");
        if let Some(StressedMerged { accuracy, accuracy_change, auc, auc_change, .. }) = &one.metastatic {
            let [accuracy, auc] = [score(*accuracy, *accuracy_change), score(*auc, *auc_change)];
            line += &format!("  {positive} or not {accuracy}  AUC {auc}");
        }
        line += &format!("  calibration error {}", three(*calibration_error));
        if let Some(share) = changed.filter(|_| one.accuracy_change.is_some()) {
            line += &format!("  other answers {:.1} %", 100.0 * share);
        }
        if let Some(unlike) = one.unlike {
            line += &format!("  unlike {:.1} %", 100.0 * unlike);
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

/// Three decimals; a dash where a score is undefined.
fn three(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.3}"))
}

/// `0.613 (-0.011 [-0.054, +0.032])`, as wide as the widest.
fn score(value: Option<f64>, change: Option<Change>) -> String {
    let signed = |value: f64| format!("{:+.3}", value + 0.0).replace("-0.000", "+0.000");
    let change = match change {
        Some(Change { by: Some(by), interval: Some([low, high]) }) => {
            format!("({} [{}, {}])", signed(by), signed(low), signed(high))
        }
        Some(Change { by: Some(by), interval: None }) => format!("({})", signed(by)),
        _ => String::new(),
    };
    format!("{:<31}", format!("{} {change}", three(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_stand_beneath_each_other() {
        let change = |by, interval| Some(Change { by: Some(by), interval });
        for (value, change, said) in [
            (Some(0.61290), change(-0.01075, Some([-0.0538, 0.0323])), "0.613 (-0.011 [-0.054, +0.032])"),
            (Some(0.5), change(-0.0001, None), "0.500 (+0.000)                 "),
            (Some(0.62366), None, "0.624                          "),
            (None, None, "-                              "),
        ] {
            assert_eq!(score(value, change), said);
        }
    }
}
