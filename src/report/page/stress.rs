//! How scores hold up on worse scans, on the page of an evaluation.

use super::super::{Evaluation, stress as figure};
use super::scores::{cell, panel, table};
use crate::metrics::{Change, Stress, Stressed, StressedMerged};
use maud::{Markup, html};

/// A score's change, signed, with its interval; nothing of the scans as they are.
fn change(change: Option<Change>) -> Markup {
    html! {
        td.n {
            @if let Some(Change { by: Some(by), interval }) = change {
                @let words = format!("{by:+.4}").replace('-', "−");
                @if change.is_some_and(|change| change.is_clear()) { strong { (words) } } @else { (words) }
                @if let Some([low, high]) = interval {
                    small { (format!("{low:+.3} to {high:+.3}").replace('-', "−")) }
                }
            }
        }
    }
}

/// The table and the figure.
pub(super) fn stress(evaluation: &Evaluation, found: &Stress) -> Markup {
    let has_merged = found.conditions.iter().any(|one| one.metastatic.is_some());
    let mut columns = vec!["Studies", "Accuracy", "Difference", "Macro AUC", "Difference"];
    if has_merged {
        columns.extend(["Metastatic or not", "Difference", "Its AUC", "Difference"]);
    }
    columns.extend(["Calibration error", "Other answers"]);
    let rows = html! {
        @for one in &found.conditions {
            @let Stressed { condition, studies, accuracy, accuracy_interval, auc, calibration_error, changed, .. } = one;
            tr {
                th scope="row" { (condition) }
                td.n { (studies) }
                (cell(*accuracy, *accuracy_interval)) (change(one.accuracy_change))
                (cell(*auc, None)) (change(one.auc_change))
                @if let Some(StressedMerged { accuracy, accuracy_interval, auc, accuracy_change, auc_change }) = &one.metastatic {
                    (cell(*accuracy, *accuracy_interval)) (change(*accuracy_change))
                    (cell(*auc, None)) (change(*auc_change))
                }
                (cell(*calibration_error, None))
                td.n { @if let Some(share) = changed { (format_args!("{:.1} %", 100.0 * share)) } }
            }
        }
    };
    html! {
        (panel("Accuracy on worse scans", &figure(evaluation, found)))
        (table("Condition", &columns, &rows, &html! {}))
        p.small {
            "The same scans, made worse. Counts: each is kept with that chance by itself, in both views, as a shorter scan would have had. \
             Without feet, or lower legs and feet: the lowest 11 or 25 % of the body's height are empty in each view. One view alone, and \
             another alignment: of studies with two views. Turned (clockwise is right), moved (shares of the picture's height or width), and larger or smaller: the \
             sum of both views. Accuracies have Wilson's intervals; a difference is that from the same scans as they are, its interval from "
            (found.bootstrap.resamples) " resamples of the patients, in bold where it does not reach 0. Of so many comparisons one in \
             twenty is so by chance. Calibration error: expected, of the predicted class. Other answers: studies that get another class than as they are."
        }
    }
}
