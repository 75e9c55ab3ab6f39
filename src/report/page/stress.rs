//! How scores hold up on worse scans, on the page of an evaluation.

use super::super::{Evaluation, stress as figure};
use super::scores::{cell, decimal, panel, table};
use crate::metrics::{Change, Stress, Stressed};
use maud::{Markup, html};

/// `−0.011 (−0.054 to +0.032)`, in bold where that is more than chance; nothing of the scans as they are.
fn change(change: Option<Change>) -> Markup {
    html! {
        @if let Some(Change { by: Some(by), interval }) = change {
            @let interval = interval.map_or(String::new(), |[low, high]| format!(" ({low:+.3} to {high:+.3})"));
            @let words = format!("{by:+.3}{interval}").replace("-0.000", "+0.000").replace('-', "−");
            small { @if change.is_some_and(|change| change.is_clear()) { strong { (words) } } @else { (words) } }
        }
    }
}

/// The figure and the tables.
pub(super) fn stress(evaluation: &Evaluation, found: &Stress) -> Markup {
    let name = |one: &Stressed| html! { th scope="row" style="white-space:nowrap" { (one.condition) } };
    let share = |share: Option<f64>| html! { @if let Some(share) = share { (format_args!("{:.1} %", 100.0 * share)) } };
    let knows = found.conditions.iter().any(|one| one.unlike.is_some());
    let rows = html! {
        @for one in &found.conditions {
            tr {
                (name(one))
                td.n { (one.studies) }
                (cell(one.accuracy, one.accuracy_interval))
                td.n { (change(one.accuracy_change)) }
                td.n { (decimal(one.auc)) (change(one.auc_change)) }
                (cell(one.calibration_error, None))
                td.n { (share(one.changed)) }
                @if knows { td.n { (share(one.unlike)) } }
            }
        }
    };
    let merged = html! {
        @for one in &found.conditions {
            @if let Some(merged) = &one.metastatic {
                tr {
                    (name(one))
                    (cell(merged.accuracy, merged.accuracy_interval))
                    td.n { (change(merged.accuracy_change)) }
                    td.n { (decimal(merged.auc)) (change(merged.auc_change)) }
                }
            }
        }
    };
    let columns = ["Studies", "Accuracy", "Difference", "Macro AUC", "Calibration", "Other answers", "Unlike"];
    let columns = if knows { &columns[..] } else { &columns[..columns.len() - 1] };
    html! {
        (panel("Accuracy on worse scans", &figure(evaluation, found)))
        (table("Scores on worse scans", "Condition", columns, &rows, &html! {}))
        @if found.conditions.iter().any(|one| one.metastatic.is_some()) {
            h3.row { (evaluation.positive_name().unwrap_or("Metastatic")) " or not, on worse scans" }
            (table("Two classes on worse scans", "Condition", &["Accuracy", "Difference", "AUC"], &merged, &html! {}))
        }
        p.small {
            "The same scans, made worse. Counts: each is kept with that chance by itself, in both views, as a shorter scan would have had. \
             Without feet, or lower legs and feet: the lowest 11 or 25 % of the body's height are empty in each view. One view alone, and \
             another alignment: of studies with two views. Turned (clockwise is right), moved (shares of the picture's height or width), and larger or smaller: the \
             sum of both views. Upside down: turned by half a circle. Beneath the accuracy stands Wilson's interval; a difference is that from the same scans as they are, with its 95 % interval from "
            (found.bootstrap.resamples) " resamples of the patients, in bold where it does not reach 0. Of so many comparisons one in \
             twenty is so by chance. Calibration error: expected, of the predicted class. Other answers: studies that get another class than as they are."
            @if knows { " Unlike: those that are said to be unlike what the model was trained on." }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::report::page::evaluation_page;
    use crate::report::stress::tests::example_stress;
    use crate::report::tests::example;

    #[test]
    fn a_row_a_condition_and_its_differences() {
        let mut evaluation = example(3);
        let scores = evaluation.scores().unwrap();
        assert!(!evaluation_page(&evaluation, &scores).contains("On worse scans"));
        evaluation.stress = Some(example_stress(&evaluation));
        let page = evaluation_page(&evaluation, &scores);
        let section = page.split("id=\"h-stress\"").nth(1).unwrap().split("</section>").next().unwrap();
        assert!(section.contains("phantoms of simulator 2, not patients"), "{section}");
        assert_eq!(section.matches("<tr>").count(), 6, "a head and two conditions, twice");
        assert_eq!(section.matches("<strong>−").count(), 4, "accuracy and AUC, twice: {section}");
    }
}
