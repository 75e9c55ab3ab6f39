//! Scans on a page: the views, the fused picture, what speaks for the answer, and what the network said.

use super::super::frame::data_uri;
use super::super::{Case, Evaluation, Evidence, ModelCard, Region, caption, evidence};
use crate::draw::{Raster, Tone};
use crate::image::View;
use crate::metrics;
use crate::text::counted;
use maud::{Markup, html};

/// Rows of a picture in the gallery, twice what the page shows, and of a picture that stands alone.
const GALLERY_ROWS: usize = 640;
const SINGLE_ROWS: usize = 1024;

/// What the colours of evidence mean.
fn key() -> Markup {
    html! { span.key { "evidence: none " i {} " " (evidence::FULL) " nats and more" } }
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
            (order.len()) " of " (counted(evaluation.patients.len(), "study")) ", the misclassified (" (misclassified) ") first. Beside the fused \
             views what speaks for any metastasis, or else for the class. " (key())
        }
        div.gallery {
            @for (index, case) in order {
                article.card.panel.wrong[wrong(case)] {
                    (strip(case, &format!("case{index}"), GALLERY_ROWS, 1))
                    div.about { h3 { bdi { (case.name) } } (verdict(case, model)) (doubts(case)) (bars(case, model)) }
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
            (strip(case, &format!("scan{index}-picture"), SINGLE_ROWS, usize::MAX))
            div.about {
                (verdict(case, model))
                (doubts(case))
                (bars(case, model))
                @if let Some(verdict) = &case.verdict { p.operating { (verdict.words(&model.classes)) "." } }
                @if let Some((p, is_split)) = metastatic {
                    p {
                        "Any metastasis: " strong { (format_args!("{:.1} %", 100.0 * p)) }
                        @if is_split { ": more probable than none, though no single kind is" }
                    }
                }
                @if let Some(evidence) = &case.evidence { (regions(evidence)) }
                @if let Some(warning) = caption::of_answer(model.training_studies()) { p.small { (warning) } }
            }
            div.given {
                dl {
                    dt { "Scan" } dd { bdi { (case.name) } }
                    @for (name, value) in &case.facts { dt { (name) } dd { bdi { (value) } } }
                    dt { "Preprocessing" } dd { (model.preprocessing) }
                }
                p.small {
                    "Black is high uptake. "
                    @if case.views.iter().any(|(view, _)| *view == View::Posterior) {
                        "The posterior view stands as it was acquired, the patient's left on its left; for the fused picture it is flipped. "
                    }
                    @if let Some(evidence) = &case.evidence {
                        @if evidence.attention.is_some() {
                            "Attention is the network's own, in blue from a half to all of a pixel, and no evidence. "
                        }
                        (key())
                    }
                }
            }
        }
    }
}

/// What of the scan is unlike the training scans, and how far several networks disagree.
fn doubts(case: &Case) -> Markup {
    let reasons = case.trust.iter().flat_map(|trust| &trust.reasons);
    html! {
        @if reasons.clone().next().is_some() {
            div.doubt role="note" {
                strong { "Unlike what the model was trained on. Do not rely on this answer." }
                ul { @for reason in reasons { li { (reason) } } }
            }
        }
        @if let Some(spread) = super::super::spread(&case.members) {
            @let [least, most] = spread[metrics::predicted(&case.probabilities)];
            p.small {
                "The mean of " (counted(case.members.len(), "network")) "; they say from "
                (format_args!("{:.1} to {:.1} %", 100.0 * least, 100.0 * most)) " for it."
            }
        }
    }
}

/// The regions with the most evidence, numbered as on the picture.
fn regions(evidence: &Evidence) -> Markup {
    let Some((of, _)) = evidence.maps.first().filter(|_| !evidence.regions.is_empty()) else { return html! {} };
    html! {
        h3 { "What speaks for " (of) }
        ol.regions {
            @for Region { evidence, words, .. } in &evidence.regions {
                li { (words) " " span.n { "(" (format_args!("{evidence:.2}")) " nats)" } }
            }
        }
    }
}

/// A picture of the strip: what it shows in a word or two, for who cannot see it in a few more, how wide it is for its height, and what is
/// drawn, in units of the raster's pixels.
struct Panel {
    caption: String,
    spoken: String,
    size: [usize; 2],
    drawn: Markup,
}

/// The views as they were acquired, the fused picture with its numbered regions, and the same with evidence over it, of at most `most_maps`
/// maps; the pixels are stored once.
fn strip(case: &Case, id: &str, most_rows: usize, most_maps: usize) -> Markup {
    let whole = |png: &[u8], [height, width]: [usize; 2]| html! { image href=(data_uri(png)) width=(width) height=(height) {} };
    let view = |(view, raster): &(View, Raster)| {
        let (caption, spoken) = match view {
            View::Anterior => ("Anterior", "Anterior view"),
            View::Posterior => ("Posterior, not flipped", "Posterior view, not flipped"),
        };
        let size = [raster.rows(), raster.columns()];
        Panel { caption: caption.to_owned(), spoken: spoken.to_owned(), size, drawn: whole(&raster.png(), size) }
    };
    let mut panels: Vec<Panel> = case.views.iter().map(view).collect();
    let fused = Raster::from_image(&case.fused, &Tone::default()).no_higher(most_rows);
    let size @ [height, width] = [fused.rows(), fused.columns()];
    let evidence = case.evidence.as_ref();
    let regions = evidence.map_or(&[][..], |evidence| &evidence.regions);
    let marks = html! {
        @for (number, region) in regions.iter().enumerate() { (mark(region, number + 1, [height as f64, width as f64])) }
    };
    let marked = match regions.len() {
        0 => String::new(),
        count => format!(", with {}", counted(count, "numbered region")),
    };
    let drawn = html! { image id=(id) href=(data_uri(&fused.png())) width=(width) height=(height) {} (marks) };
    panels.push(Panel { caption: "Fused".to_owned(), spoken: format!("Fused picture{marked}"), size, drawn });
    // The maps are smooth: 256 rows hold them, and the browser smooths them.
    let rows = height.min(256);
    let columns = (width * rows / height).max(1);
    let maps = evidence.iter().flat_map(|evidence| &evidence.maps);
    let maps = maps.map(|(of, map)| (format!("For {of}"), format!("What speaks for {of}"), evidence::layer(map, rows, columns)));
    let attention = evidence.and_then(|evidence| evidence.attention.as_ref());
    let attention = attention.map(|map| {
        let spoken = "The network's spatial attention".to_owned();
        ("Attention".to_owned(), spoken, evidence::attention_layer(map, rows, columns))
    });
    for (caption, spoken, layer) in maps.chain(attention).take(most_maps) {
        let drawn = html! {
            use href={ "#" (id) } {}
            image href=(data_uri(&layer)) width=(width) height=(height) preserveAspectRatio="none" {}
        };
        panels.push(Panel { caption, spoken: format!("{spoken}, over the fused picture"), size, drawn });
    }
    html! {
        div.pictures {
            div.strip data-name=(case.name) {
                @for Panel { caption, spoken, size: [height, width], drawn } in panels {
                    // The style sheet chooses the height; the width follows.
                    figure style={ "--ratio:" (format_args!("{:.4}", width as f64 / height as f64)) } {
                        svg.film viewBox={ "0 0 " (width) " " (height) } role="img" aria-label={ (spoken) ": " (case.name) } { (drawn) }
                        figcaption { (caption) }
                    }
                }
            }
        }
    }
}

/// A ring around a region, and its number outside of it, on the side where there is more room.
fn mark(region: &Region, number: usize, [height, width]: [f64; 2]) -> Markup {
    let [y, x] = [region.at[0] * height, region.at[1] * width];
    let radius = f64::from(evidence::SPOT / evidence::CELLS) * width;
    let outwards = if region.at[1] < 0.5 { -1.0 } else { 1.0 };
    let at = (x + outwards * 2.2 * radius).clamp(radius, width - radius);
    html! {
        circle.mark cx=(format_args!("{x:.1}")) cy=(format_args!("{y:.1}")) r=(format_args!("{radius:.1}")) {}
        text.mark x=(format_args!("{at:.1}")) y=(format_args!("{:.1}", y + 0.8 * radius)) font-size=(format_args!("{:.1}", 2.2 * radius)) { (number) }
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
