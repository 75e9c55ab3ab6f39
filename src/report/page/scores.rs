//! The scores on the page of an evaluation: tiles, tables, and the figures beside them.

use super::super::frame::scroll;
use super::super::{Evaluation, Figure, figures};
use crate::metrics::{
    self, CalibrationError, Ceiling, Ceilings, Each, FALSE_MARKS, Intervals, Localisation, MapScore, NEAR_MM, OperatingPoint,
    Panel, Randomised, Scores, Statistics,
};
use crate::text::counted;
use maud::{Markup, html};

/// The ends of a 95 % interval.
type Ends = Option<[f64; 2]>;

fn percent(value: Option<f64>) -> Markup {
    html! {
        @if let Some(value) = value { (format_args!("{:.1}", 100.0 * value)) small { " %" } } @else { "–" }
    }
}

pub(super) fn decimal(value: Option<f64>) -> Markup {
    html! {
        @if let Some(value) = value { (format_args!("{value:.4}")) } @else { abbr title="undefined" { "–" } }
    }
}

/// Of a percentage.
fn percent_interval(ends: Ends) -> String {
    ends.map_or(String::new(), |[low, high]| format!("95 % interval {:.1} to {:.1}", 100.0 * low, 100.0 * high))
}

/// Of a value between 0 and 1.
fn decimal_interval(ends: Ends) -> String {
    ends.map_or(String::new(), |[low, high]| format!("95 % interval {low:.3} to {high:.3}"))
}

/// What stands beneath the value of a tile: the parts that there are.
fn joined<const N: usize>(parts: [String; N]) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// `of at most 88 %`; nothing where no ceiling is known.
fn at_most_percent(ceiling: Option<f64>) -> String {
    ceiling.map_or(String::new(), |ceiling| format!("of at most {:.0} %", 100.0 * ceiling))
}

/// A cell of a table: the value, and its interval beneath where there is one.
pub(super) fn cell(value: Option<f64>, ends: Ends) -> Markup {
    html! {
        td.n { (decimal(value)) @if let Some([low, high]) = ends { small { (format_args!("{low:.3} to {high:.3}")) } } }
    }
}

/// A table: what it is about, the heading over the rows' names where they have any, the headings over the values, and the rows.
pub(super) fn table(about: &str, names: &str, values: &[&str], body: &Markup, foot: &Markup) -> Markup {
    let table = html! {
        table {
            thead {
                tr {
                    @if !names.is_empty() { th scope="col" { (names) } }
                    @for name in values { th.n scope="col" { (name) } }
                }
            }
            tbody { (body) }
            (foot)
        }
    };
    scroll(about, "", &table)
}

pub(super) fn panel(caption: &str, figure: &Figure) -> Markup {
    html! { figure.panel { figcaption { (caption) } (figure.inline()) } }
}

/// The intervals of every score; none where they were not asked for.
fn intervals(scores: &Scores) -> Panel<Ends> {
    match &scores.statistics {
        Some(Statistics { intervals, .. }) => intervals.scores.clone(),
        None => Panel::of(scores).map(|_| None),
    }
}

/// How they were made.
fn about_intervals(scores: &Scores) -> Markup {
    html! {
        @if let Some(Statistics { intervals: Intervals { patients, bootstrap, .. }, .. }) = &scores.statistics {
            p.small {
                "95 % intervals: the middle of " (bootstrap.resamples) " resamples of the " (counted(*patients, "patient")) ", each with all of its \
                 studies (percentile bootstrap). A score that no resample changes, or that too many leave undefined, has none; the \
                 accuracy then has Wilson's."
            }
        }
    }
}

/// The figures that one reads first: a row of tiles for the classes, a row for metastatic against not.
pub(super) fn headline(scores: &Scores) -> Markup {
    let three = |value: Option<f64>| html! { @if let Some(value) = value { (format_args!("{value:.3}")) } @else { "–" } };
    let ends = intervals(scores);
    let interval = percent_interval(ends.accuracy.or(scores.accuracy_interval));
    let accuracy = |ceiling: Ceiling| ceiling.accuracy;
    let at_most = |ceiling: Option<Ceiling>| metrics::of_at_most(ceiling.map(|ceiling| ceiling.auc)).trim_start().to_owned();
    let ceiling = scores.ceilings.map(|ceilings| ceilings.classes);
    let mut rows = vec![(
        counted(scores.classes.len(), "class"),
        [
            ("Accuracy", percent(scores.accuracy), joined([at_most_percent(ceiling.map(accuracy)), interval])),
            ("Macro recall", percent(scores.mean.recall), percent_interval(ends.mean.recall)),
            ("Macro F1", percent(scores.mean.f1), percent_interval(ends.mean.f1)),
            ("Macro AUC", three(scores.mean.auc), joined([at_most(ceiling), decimal_interval(ends.mean.auc)])),
        ],
    )];
    if let Some(metastatic) = &scores.metastatic {
        let positives = metastatic.scores.support;
        let negatives = scores.studies as u64 - positives;
        let merged = ends.metastatic.as_ref();
        let each = |of: fn(&Each<Ends>) -> Ends| merged.and_then(|merged| of(&merged.scores));
        let of = |about: String, ends: Ends| joined([about, percent_interval(ends)]);
        let positive = metastatic.positive.as_deref();
        let sensitivity = of(format!("of {positives} with {}", positive.unwrap_or("metastasis")), each(|each| each.recall));
        let specificity = of(format!("of {negatives} without"), each(|each| each.specificity));
        let interval = percent_interval(merged.and_then(|merged| merged.accuracy).or(metastatic.accuracy_interval));
        let ceiling = scores.ceilings.and_then(|ceilings| ceilings.metastatic);
        rows.push((
            format!("{} or not", positive.unwrap_or("Metastatic")),
            [
                ("Accuracy", percent(metastatic.accuracy), joined([at_most_percent(ceiling.map(accuracy)), interval])),
                ("Sensitivity", percent(metastatic.scores.recall), sensitivity),
                ("Specificity", percent(metastatic.scores.specificity), specificity),
                ("AUC", three(metastatic.auc), joined([at_most(ceiling), decimal_interval(each(|each| each.auc))])),
            ],
        ));
    }
    html! {
        @for (name, tiles) in rows {
            h3.row { (name) }
            div.tiles {
                @for (name, value, about) in tiles { div.tile { h4 { (name) } p.value { (value) } p { (about) } } }
            }
        }
        @if scores.ceilings.is_some() { p.small { (Ceilings::MEANING) } }
        @if !scores.networks.is_empty() {
            p.small {
                "The networks alone, by accuracy: "
                @for (at, network) in scores.networks.iter().enumerate() {
                    @if at > 0 { ", " }
                    bdi { (network.run) } " " (network.accuracy.map_or("-".to_owned(), |accuracy| format!("{accuracy:.3}")))
                }
                "."
            }
        }
        @if let Some(unlike) = scores.unlike_training {
            p.small {
                "Unlike what the model was trained on: " (unlike) " of " (counted(scores.studies, "scan")) "; of training scans it would be about 1 of 100."
            }
        }
        (about_intervals(scores))
        @if !scores.notes.is_empty() {
            ul.notes { @for note in &scores.notes { li { (note) } } }
        }
    }
}

/// The table of classes, the confusion matrix and the ROC.
pub(super) fn classes(evaluation: &Evaluation, scores: &Scores) -> Markup {
    let ends = intervals(scores);
    let cells = |values: [Option<f64>; 5], ends: &Each<Ends>| html! { @for (value, ends) in values.into_iter().zip(ends.values()) { (cell(value, *ends)) } };
    let rows = html! {
        @for (index, named) in scores.classes.iter().enumerate() {
            @let class = &named.scores;
            tr {
                th scope="row" { i.dot.{ "c" (index % 6) } {} (named.class) }
                td.n { (class.support) }
                (cells([class.precision, class.recall, class.specificity, class.f1, named.auc], &ends.classes[index].scores))
            }
        }
    };
    let mean = &scores.mean;
    let foot = html! {
        tfoot {
            tr {
                th scope="row" { "Macro mean" }
                td.n { (scores.studies) }
                (cells([mean.precision, mean.recall, mean.specificity, mean.f1, mean.auc], &ends.mean))
            }
        }
    };
    html! {
        (table("Scores of each class", "Class", &["Studies", "Precision", "Recall", "Specificity", "F1", "AUC"], &rows, &foot))
        div.pair {
            (panel("Confusion matrix", &figures::confusion(evaluation, scores)))
            (panel("Receiver operating characteristic", &figures::roc(evaluation, scores)))
        }
    }
}

/// The classes merged to metastatic or not.
pub(super) fn metastatic(evaluation: &Evaluation, scores: &Scores) -> Option<Markup> {
    let metastatic = scores.metastatic.as_ref()?;
    let class = &metastatic.scores;
    let ends = intervals(scores).metastatic;
    let [precision, recall, specificity, f1, auc] =
        ends.as_ref().map_or([None; 5], |ends| ends.scores.values().map(|ends| *ends));
    let measures = [
        ("Accuracy", metastatic.accuracy, ends.as_ref().and_then(|ends| ends.accuracy)),
        ("Precision", class.precision, precision),
        ("Recall (sensitivity)", class.recall, recall),
        ("Specificity", class.specificity, specificity),
        ("F1", class.f1, f1),
        ("AUC", metastatic.auc, auc),
        ("Brier score", metastatic.brier, None),
    ];
    let row = html! { tr { @for (_, value, ends) in measures { (cell(value, ends)) } } };
    let points = scores.statistics.as_ref().and_then(|statistics| statistics.operating_points.as_ref());
    Some(html! {
        (table(&format!("Scores of {} against not", metastatic.positive.as_deref().unwrap_or("metastatic")), "", &measures.map(|(name, ..)| name), &row, &html! {}))
        p.small {
            @match &metastatic.positive {
                Some(name) => { "Positive is " bdi { (name) } ": a study is called so where it is more probable than not. Of " }
                None => {
                    "Positive is every class but " (metrics::NO_METASTASIS) ": a study is called metastatic where those classes together are \
                     more probable. Of "
                }
            }
            (class.support) " with " (evaluation.sought()) " " (metastatic.confusion[1][1]) " were called so; of "
            (scores.studies as u64 - class.support) " without, " (metastatic.confusion[0][1]) " were."
        }
        @if let (Some(distribution), Some(reliability)) = (figures::distribution(evaluation), figures::reliability(evaluation)) {
            div.pair {
                (panel(&format!("Probability of {} by true class", evaluation.sought()), &distribution))
                (panel("Calibration", &reliability))
            }
        }
        @if let Some(points) = points {
            (operating_points(&points.sensitivity, &points.specificity, class.support, scores.studies as u64))
        }
    })
}

/// What other thresholds give.
fn operating_points(sensitivity: &[OperatingPoint], specificity: &[OperatingPoint], positives: u64, studies: u64) -> Markup {
    let rows = html! {
        @for (what, points) in [("sensitivity", sensitivity), ("specificity", specificity)] {
            @for point in points {
                tr {
                    th scope="row" { (what) (format_args!(" {:.0}\u{a0}%", 100.0 * point.target)) }
                    td.n {
                        @if let Some(threshold) = point.threshold { (format_args!("{threshold:.4}")) } @else { "nothing is called" }
                    }
                    @for value in [Some(point.sensitivity), Some(point.specificity), point.ppv, point.npv] { (cell(value, None)) }
                }
            }
        }
    };
    let columns =
        ["Called from a probability of", "Sensitivity", "Specificity", "Positive predictive value", "Negative predictive value"];
    html! {
        h3.row { "At other thresholds" }
        (table("Other thresholds", "Wanted", &columns, &rows, &html! {}))
        p.small {
            "Thresholds were chosen on these very studies: on others expect a little less. Predictive values hold where "
            (format_args!("{:.0}", 100.0 * positives as f64 / studies.max(1) as f64)) " % of the studies are positive, as here."
        }
    }
}

/// Whether probabilities mean what they say.
pub(super) fn calibration(evaluation: &Evaluation, scores: &Scores) -> Option<Markup> {
    let calibration = &scores.statistics.as_ref()?.calibration;
    let figure = figures::confidence(evaluation)?;
    let row = |name: &str, error: Option<&CalibrationError>, brier: Option<f64>| {
        let values = [error.map(|error| error.expected), error.map(|error| error.maximum), brier];
        html! { tr { th scope="row" { (name) } @for value in values { (cell(value, None)) } } }
    };
    let brier = scores.metastatic.as_ref().and_then(|metastatic| metastatic.brier);
    let rows = html! {
        (row("the predicted class", calibration.top_label.as_ref(), None))
        @for class in &calibration.classes { (row(&class.class, class.error.as_ref(), class.brier)) }
        @if let Some(error) = &calibration.metastatic { (row(evaluation.positive_name().unwrap_or("any metastasis"), Some(error), brier)) }
    };
    Some(html! {
        div.pair {
            (panel("Predicted class", &figure))
            div {
                (table("Calibration errors", "Probability of", &["Expected error", "Largest error", "Brier score"], &rows, &html! {}))
                p.small {
                    "In " (calibration.bins) " bins of equal width: the expected error is the mean distance of a study's bin from the \
                     diagonal, the largest error that of the worst bin, which may hold few studies. Probabilities that mean what they \
                     say would have an expected error of " (decimal(calibration.by_chance)) " for the predicted class, by chance, \
                     with these few patients. Log loss (mean of -ln p of the \
                     truth): " (decimal(calibration.log_loss)) "; a network that knows nothing of " (scores.classes.len())
                    " classes has " (format_args!("{:.4}", (scores.classes.len() as f64).ln())) "."
                }
            }
        }
    })
}

/// How what speaks for a metastasis lies beside lesions that are known.
pub(super) fn localisation(evaluation: &Evaluation, found: &Localisation) -> Markup {
    let marks: Vec<String> = FALSE_MARKS.iter().map(|marks| format!("Marked at {marks}")).collect();
    let columns: Vec<&str> = ["Points at a lesion", "On lesions"].into_iter().chain(marks.iter().map(String::as_str)).collect();
    let rows = html! {
        @for MapScore { map, pointing, pointing_interval, on_lesions, sensitivity } in &found.maps {
            tr {
                th scope="row" { (map) }
                (cell(*pointing, *pointing_interval))
                (cell(*on_lesions, None))
                @if sensitivity.iter().all(Option::is_none) {
                    @for _ in sensitivity { td {} }
                } @else {
                    @for marked in sensitivity { (cell(*marked, None)) }
                }
            }
        }
    };
    let again = html! {
        @for Randomised { from, correlation, pointing, on_lesions } in &found.randomised {
            tr { th scope="row" { (from) } (cell(*correlation, None)) (cell(*pointing, None)) (cell(*on_lesions, None)) }
        }
    };
    html! {
        (table("Where the evidence lies", "Map of", &columns, &rows, &html! {}))
        p.small {
            "Points at a lesion: the hottest pixel is at most " (NEAR_MM) " mm from one; on lesions: the share of the map that lies on them; \
             both of " (counted(found.pointed, "scan")) " with lesions that the network calls metastatic. At so many false marks a scan: the \
             share of " (counted(found.lesions, "lesion")) " with a mark so near, in all " (counted(found.marked, "scan"))
            " whose lesions are known, those without any among them."
        }
        div.pair {
            (panel("Lesions marked", &figures::froc(evaluation, found)))
            @if !found.randomised.is_empty() {
                div {
                    (table("Weights drawn anew", "Weights drawn anew from", &["Correlation", "Pointing", "On lesions"], &again, &html! {}))
                    p.small {
                        "A map that owes nothing to training would stay as it is where weights are drawn anew. Correlation: of ranks, with the \
                         map of the network as it is, over the body (Adebayo et al. 2018)."
                    }
                }
            }
        }
    }
}
