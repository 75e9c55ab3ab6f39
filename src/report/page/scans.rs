//! Scans on a page: the fused picture, where the network looked, and what it said.

use super::super::frame::data_uri;
use super::super::{Case, Evaluation, ModelCard, caption, heat};
use crate::draw::{Raster, Tone};
use crate::metrics;
use crate::text::counted;
use maud::{Markup, html};

/// Rows of a picture in the gallery, twice what the page shows, and of a picture that stands alone.
const GALLERY_ROWS: usize = 640;
const SINGLE_ROWS: usize = 1024;

/// What the colours of attention mean.
fn key() -> Markup {
    html! { span.key { "attention " i {} " little to much" } }
}

/// The name of a class. A page is shown whatever the class is.
pub(super) fn class_name(model: &ModelCard, class: usize) -> &str {
    model.classes.get(class).map_or("?", String::as_str)
}

/// Cases as cards, the misclassified first.
pub(crate) fn gallery(evaluation: &Evaluation) -> Markup {
    let model = &evaluation.model;
    let wrong = |case: &Case| case.truth.is_some_and(|truth| truth != metrics::predicted(&case.probabilities));
    let mut order: Vec<(usize, &Case)> = evaluation.cases.iter().enumerate().collect();
    order.sort_by_key(|(_, case)| !wrong(case)); // stable
    let misclassified = order.iter().filter(|(_, case)| wrong(case)).count();
    html! {
        p.small {
            (order.len()) " of " (counted(evaluation.patients.len(), "study")) ", the misclassified (" (misclassified) ") first. Left the fused \
             views, right where the network looked. " (key())
        }
        div.gallery {
            @for (index, case) in order {
                article.card.panel.wrong[wrong(case)] {
                    (picture(case, &format!("case{index}"), GALLERY_ROWS))
                    div.about { h3 { bdi { (case.name) } } (verdict(case, model)) (bars(case, model)) }
                }
            }
        }
    }
}

/// One scan, large.
pub(super) fn article(case: &Case, model: &ModelCard, index: usize) -> Markup {
    let metastatic = metrics::no_metastasis(&model.classes).filter(|_| model.classes.len() > 2).map(|negative| {
        let p = metrics::metastatic_probability(&case.probabilities, negative);
        (p, p > 0.5 && metrics::predicted(&case.probabilities) == negative)
    });
    html! {
        article.scan.panel {
            (picture(case, &format!("scan{index}-picture"), SINGLE_ROWS))
            div.about {
                (verdict(case, model))
                (bars(case, model))
                @if let Some((p, is_split)) = metastatic {
                    p {
                        "Any metastasis: " strong { (format_args!("{:.1} %", 100.0 * p)) }
                        @if is_split { ": more probable than none, though no single kind is" }
                    }
                }
                @if let Some(warning) = caption::of_answer(model.training_studies()) { p.small { (warning) } }
                dl {
                    dt { "Scan" } dd { bdi { (case.name) } }
                    @for (name, value) in &case.facts { dt { (name) } dd { bdi { (value) } } }
                    dt { "Preprocessing" } dd { (model.preprocessing) }
                }
                p.small {
                    "Black is high uptake."
                    @if case.heat.is_some() { " Right: where the network looked for its answer. " (key()) }
                }
            }
        }
    }
}

/// The fused picture, and beside it the same with attention over it; the pixels are stored once.
fn picture(case: &Case, id: &str, most_rows: usize) -> Markup {
    let mut raster = Raster::from_image(&case.fused, &Tone::default());
    if raster.rows() > most_rows {
        let columns = (raster.columns() * most_rows / raster.rows()).max(1);
        raster = raster.resized(most_rows, columns);
    }
    let (width, height) = (raster.columns(), raster.rows());
    let beside = width + (width / 24).max(1);
    // The map is coarse: 256 rows hold it, and the browser smooths them.
    let rows = height.min(256);
    let layer = case.heat.as_ref().map(|heat| heat::layer(heat, rows, (width * rows / height).max(1)));
    let total = if layer.is_some() { beside + width } else { width };
    html! {
        // The style sheet chooses the height; the width follows.
        svg.film style={ "--ratio:" (format_args!("{:.4}", total as f64 / height as f64)) } viewBox={ "0 0 " (total) " " (height) }
            role="img" aria-label={ "Fused bone scan of " (case.name) @if layer.is_some() { "; beside it where the network looked" } }
        {
            image id=(id) href=(data_uri(&raster.png())) width=(width) height=(height) {}
            @if let Some(layer) = layer {
                use href={ "#" (id) } x=(beside) {}
                image href=(data_uri(&layer)) x=(beside) width=(width) height=(height) preserveAspectRatio="none" {}
            }
        }
    }
}

/// What was said, and what is true where it is known.
fn verdict(case: &Case, model: &ModelCard) -> Markup {
    let predicted = metrics::predicted(&case.probabilities);
    let name = class_name(model, predicted);
    match case.truth {
        Some(truth) if truth == predicted => html! { p.verdict.right { strong { (name) " ✓" } " correct" } },
        Some(truth) => html! { p.verdict.wrong { strong { (name) " ✗" } " truth: " (class_name(model, truth)) } },
        None => html! { p.verdict { strong { (name) } } },
    }
}

/// Probabilities as bars.
fn bars(case: &Case, model: &ModelCard) -> Markup {
    html! {
        ul.bars {
            @for (class, (name, &p)) in model.classes.iter().zip(&case.probabilities).enumerate() {
                @let percent = format!("{:.1}", (100.0 * p).clamp(0.0, 100.0));
                li {
                    span { (name) @if case.truth == Some(class) { " " span.truth { "truth" } } }
                    span.n { (percent) " %" }
                    i.{ "c" (class % 6) } style={ "width:" (percent) "%" } {}
                }
            }
        }
    }
}
