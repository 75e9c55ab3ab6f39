//! The pages: an evaluation (and the demo's) and a prediction.

mod scans;
mod scores;
mod stress;

pub(crate) use scans::gallery;

use super::frame::{header, page, scroll, section};
use super::{Evaluation, ModelCard, Part, Prediction, caption};
use crate::metrics::{self, Scores};
use maud::{Markup, html};

/// The page of an evaluation, a whole HTML file.
pub fn evaluation_page(evaluation: &Evaluation, found: &Scores) -> String {
    let Evaluation { title, model, evaluated_on, evaluated_studies, .. } = evaluation;
    let tag = &caption::of_scores(model.training_studies(), *evaluated_studies);
    let facts = [("studies", found.studies.to_string()), ("evaluated on", evaluated_on.clone()), ("model", model.name.clone())];
    let body = html! {
        (header(title, &evaluation.caveat(), tag, &facts))
        main {
            @if let Some(scan) = &evaluation.scan {
                (section("scan", "One scan, classified", tag, &scans::article(scan, model, 0)))
            }
            (section("scores", "Scores", tag, &scores::headline(found)))
            (section("classes", "Class by class", tag, &scores::classes(evaluation, found)))
            @if let Some(inner) = scores::metastatic(evaluation, found) {
                (section("metastatic", &format!("{} against not", evaluation.positive_name().unwrap_or("Metastatic")), tag, &inner))
            }
            @if let Some(inner) = scores::calibration(evaluation, found) {
                (section("calibration", "Calibration", tag, &inner))
            }
            @if let Some(found) = &evaluation.localisation {
                (section("localisation", "Where the evidence lies", tag, &scores::localisation(evaluation, found)))
            }
            @if let Some(found) = &evaluation.stress {
                (section("stress", "On worse scans", tag, &stress::stress(evaluation, found)))
            }
            @if !evaluation.cases.is_empty() { (section("cases", "Cases", tag, &gallery(evaluation))) }
            @if !evaluation.history.is_empty() {
                @let curves = super::curves(&evaluation.history, "").inline();
                (section("training", "Training", tag, &html! { figure.panel { (curves) } }))
            }
            (section("patients", "Patients", tag, &patients(evaluation)))
            (section("model", "Model and configuration", "", &about_model(model, &evaluation.configuration)))
        }
    };
    page(title, &evaluation.caveat(), &body)
}

/// The page of a prediction, a whole HTML file.
pub fn prediction_page(prediction: &Prediction) -> String {
    part(prediction, Part { number: 1, total: 1 })
}

/// One of several pages of a prediction, with links to the others.
pub(super) fn part(prediction: &Prediction, part: Part) -> String {
    let Prediction { title, model, scans, unread } = prediction;
    let pages = part.count();
    let tag = &caption::of_network(model.training_studies());
    let shown = if pages > 1 { part.sentence() } else { (scans.len() + unread.len()).to_string() };
    // Those that stand before a scan, or behind the last.
    let unread_before = |scan: Option<usize>| {
        let here = unread
            .iter()
            .enumerate()
            .filter(move |(_, unread)| scan.map_or(unread.before >= scans.len(), |scan| unread.before == scan));
        html! {
            @for (number, unread) in here {
                @let card = html! { article.panel { p.verdict.wrong { strong { "not read" } } p { bdi { (unread.problem) } } } };
                (section(&format!("unread{number}"), &unread.name, tag, &card))
            }
        }
    };
    let facts = [(if pages > 1 { "" } else { "scans" }, shown), ("model", model.name.clone())];
    let links = |place: &str| {
        html! {
            @if pages > 1 {
                @let link = |name: &str, number: usize| html! { " " a href=(Part::file_name(number)) { (name) } };
                nav aria-label={ "Pages, " (place) } {
                    p {
                        (part.sentence())
                        @if part.number > 1 { (link("first", 1)) (link("previous", part.number - 1)) }
                        @if part.number < pages { (link("next", part.number + 1)) }
                    }
                }
            }
        }
    };
    let body = html! {
        (header(title, &prediction.caveat(), tag, &facts))
        main {
            (links("above"))
            @for (index, scan) in scans.iter().enumerate() {
                (unread_before(Some(index)))
                (section(&format!("scan{index}"), &scan.name, tag, &scans::article(scan, model, index)))
            }
            (unread_before(None))
            @if scans.is_empty() && pages > 1 { p { "None of these scans could be read." } }
            @else if scans.is_empty() { p { "No scan was given." } }
            (links("beneath"))
            (section("model", "Model", "", &about_model(model, "")))
        }
    };
    page(title, &prediction.caveat(), &body)
}

/// The table of every study.
fn patients(evaluation: &Evaluation) -> Markup {
    let model = &evaluation.model;
    let names = ["Patient", "Truth", "Predicted", "Right"].map(str::to_owned).into_iter();
    let columns = names.map(|name| (name, false)).chain(model.classes.iter().map(|class| (format!("p({class})"), true)));
    let table = html! {
        table.sortable id="patients-table" {
            thead {
                tr {
                    @for (name, is_numeric) in columns {
                        th class=[is_numeric.then_some("n")] scope="col" aria-sort="none" { button type="button" { (name) } }
                    }
                }
            }
            tbody {
                @for row in &evaluation.patients {
                    @let predicted = metrics::predicted(&row.probabilities);
                    @let is_wrong = row.truth != predicted;
                    tr class=[is_wrong.then_some("wrong")] {
                        th scope="row" { bdi { (row.patient) } }
                        td { (scans::class_name(model, row.truth)) }
                        td { (scans::class_name(model, predicted)) }
                        td { @if is_wrong { "no" } @else { "yes" } }
                        @for (class, &p) in row.probabilities.iter().enumerate() {
                            @let percent = format!("{:.1}", (100.0 * p).clamp(0.0, 100.0));
                            td.n.p.{ "c" (class % 6) } style={ "--p:" (percent) "%" } { (format_args!("{p:.4}")) }
                        }
                    }
                }
            }
        }
    };
    html! {
        p.controls {
            label { input type="checkbox" id="only-wrong"; " only misclassified" } " "
            label { "find " input type="search" id="find" placeholder="patient"; } " "
            output id="shown" for="only-wrong find" {}
        }
        (scroll("Every patient", "tall", &table))
    }
}

/// Where the scores come from.
fn about_model(model: &ModelCard, configuration: &str) -> Markup {
    let [rows, columns] = model.input_size;
    let facts = [
        ("File", model.name.clone()),
        ("SHA-256", model.sha256.clone()),
        ("Network", model.architecture.clone()),
        ("Parameters", if model.parameters > 0 { grouped(model.parameters) } else { String::new() }),
        ("Classes", model.classes.join(", ")),
        ("Input", format!("{rows} x {columns} (rows x columns)")),
        ("Preprocessing", model.preprocessing.clone()),
        ("Trained on", model.trained_on.clone()),
    ];
    html! {
        div.panel {
            dl {
                @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
                    dt { (name) } dd class=[(*name == "SHA-256").then_some("hash")] { bdi { (value) } }
                }
            }
        }
        @if !configuration.is_empty() { details { summary { "Configuration" } pre tabindex="0" role="group" aria-label="Configuration" { (configuration) } } }
    }
}

/// 15100000 as 15 100 000, with spaces that do not break.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202F}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::StudyCounts;
    use crate::report::Unread;
    use crate::report::tests::example;

    const HOSTILE: &str = "\"><script>alert('x')</script><img src=x onerror=alert(1)>{}&\u{202E}";

    /// Everything that a browser could fetch stands in one of these.
    fn assert_self_contained(html: &str) {
        for address in ["http://", "https://", "url(", "@import", "<link", "<iframe", "srcset", "fetch("] {
            assert!(!html.contains(address), "{address}");
        }
        for attribute in [" src=\"", " href=\""] {
            for value in html.split(attribute).skip(1) {
                assert!(value.starts_with("data:image/png;base64,") || value.starts_with('#'), "{attribute}{:.40}", value);
            }
        }
    }

    /// Opened and closed elements match: nothing hostile or forgotten broke the page.
    fn assert_balanced(html: &str) {
        let body = &html[html.find("<body>").unwrap()..html.find("<script>").unwrap()];
        for element in
            ["section", "article", "div", "table", "tr", "td", "th", "dl", "ul", "li", "svg", "figure", "p", "span", "bdi", "h2"]
        {
            let opened = body.matches(&format!("<{element}>")).count() + body.matches(&format!("<{element} ")).count();
            assert_eq!(opened, body.matches(&format!("</{element}>")).count(), "{element}");
        }
    }

    fn prediction() -> Prediction {
        let evaluation = example(3);
        let mut scans = evaluation.cases;
        scans.iter_mut().for_each(|scan| scan.truth = None);
        scans[1].evidence = None;
        Prediction { title: "Prediction".to_owned(), model: evaluation.model, scans, unread: Vec::new() }
    }

    #[test]
    fn pages_fetch_nothing() {
        let mut evaluation = example(3);
        evaluation.scan = Some(evaluation.cases[0].clone());
        for html in [evaluation_page(&evaluation, &evaluation.scores().unwrap()), prediction_page(&prediction())] {
            assert_self_contained(&html);
            assert_balanced(&html);
            assert!(html.contains("default-src 'none'"));
            let pictures = html.split("data:image/png;base64,").skip(1).count();
            assert!(pictures >= 15, "{pictures}");
        }
    }

    #[test]
    fn both_views_stand_beside_the_fused_picture() {
        let html = prediction_page(&prediction());
        let article = html.split("<article").nth(1).unwrap();
        let captions: Vec<&str> =
            article.split("<figcaption>").skip(1).map(|caption| caption.split('<').next().unwrap()).collect();
        assert_eq!(captions, ["Anterior", "Posterior, not flipped", "Fused", "For any metastasis"]);
        assert!(article.contains("the patient's left on its left; for the fused picture it is flipped"));
        assert_eq!(article.matches("data:image/png;base64,").count(), 4, "the fused pixels are stored once");
    }

    #[test]
    fn names_from_files_cannot_become_html() {
        let mut evaluation = example(3);
        let hostile = || HOSTILE.to_owned();
        evaluation.title = hostile();
        evaluation.evaluated_on = hostile();
        evaluation.configuration = format!("</pre>{HOSTILE}");
        evaluation.model.classes = vec!["NoMet".to_owned(), hostile(), hostile()];
        let model = &mut evaluation.model;
        for field in
            [&mut model.name, &mut model.architecture, &mut model.preprocessing, &mut model.trained_on, &mut model.sha256]
        {
            *field = hostile();
        }
        evaluation.patients.iter_mut().for_each(|row| row.patient = hostile());
        for case in &mut evaluation.cases {
            case.name = hostile();
            case.facts = vec![(hostile(), hostile())];
        }
        evaluation.scan = evaluation.cases.first().cloned();
        let scores = evaluation.scores().unwrap();
        let unread = vec![Unread { name: hostile(), problem: hostile(), before: 0 }];
        let prediction =
            Prediction { title: hostile(), model: evaluation.model.clone(), scans: evaluation.cases.clone(), unread };
        for html in [evaluation_page(&evaluation, &scores), prediction_page(&prediction)] {
            assert!(!html.contains("<script>alert") && !html.contains("<img") && !html.contains('\u{202E}'));
            assert_eq!(html.matches("<script").count(), 1);
            assert!(html.contains("&lt;script&gt;alert('x')"));
            assert_self_contained(&html);
            assert_balanced(&html);
        }
        for svg in [crate::report::confusion(&evaluation, &scores).svg(), crate::report::roc(&evaluation, &scores).svg()] {
            assert!(!svg.contains("<script") && !svg.contains("<img"));
        }
    }

    #[test]
    fn scores_of_phantoms_say_so_everywhere() {
        let mut evaluation = example(3);
        let parts = |html: &str| html.matches("<section").count();
        let tags = |html: &str, tag: &str| html.matches(&format!("<span class=\"tag\">{tag}</span>")).count();
        let html = evaluation_page(&evaluation, &evaluation.scores().unwrap());
        assert_eq!(tags(&html, "phantoms of simulator 2, not patients"), parts(&html) - 1, "every part but the model's");
        assert!(html.contains(
            "Trained and evaluated on phantoms (simulated patients, simulator 2). Research software, not a medical device."
        ));
        evaluation.evaluated_studies.simulated_studies = 59;
        let html = evaluation_page(&evaluation, &evaluation.scores().unwrap());
        assert_eq!(
            tags(&html, "59 of 60 studies are simulated by simulator 2"),
            parts(&html) - 1,
            "one patient makes them no patients' scores"
        );
        evaluation.evaluated_studies.simulated_studies = 0;
        evaluation.evaluated_on = "the archive".to_owned();
        let html = evaluation_page(&evaluation, &evaluation.scores().unwrap());
        assert_eq!(tags(&html, "model trained on phantoms of simulator 2"), parts(&html) - 1);
        evaluation.model.training_studies = Some(StudyCounts { studies: 140, ..StudyCounts::default() });
        evaluation.model.trained_on = "another archive".to_owned();
        let html = evaluation_page(&evaluation, &evaluation.scores().unwrap());
        assert!(!html.contains("<span class=\"tag\">") && !html.contains("phantom") && html.contains(crate::DISCLAIMER));
        assert!(prediction_page(&prediction()).contains("Trained on phantoms (simulated patients, simulator 2)."));
    }

    #[test]
    fn pages_name_each_other_and_one_alone_is_as_ever() {
        let prediction = prediction();
        let of = |number, total| part(&prediction, Part { number, total });
        assert_eq!(of(1, 100), prediction_page(&prediction));
        assert!(!of(1, 100).contains("<nav "));
        let names = |number| {
            ["report.html", "report-2.html", "report-3.html"].map(|name| {
                of(number, 201).matches(&format!("<a href=\"{name}\">")).count() / 2 // above and below the scans
            })
        };
        assert_eq!([names(1), names(2), names(3)], [[0, 1, 0], [2, 0, 1], [1, 1, 0]]);
        assert!(of(2, 201).contains("scans 101 to 200 of 201") && of(3, 201).contains("scans 201 to 201 of 201"));
        assert_balanced(&of(2, 201));
        assert_eq!((Part { number: 1, total: 100 }.count(), Part { number: 1, total: 101 }.count()), (1, 2));
    }

    #[test]
    fn a_split_decision_is_explained() {
        let mut prediction = prediction();
        prediction.scans.truncate(1);
        prediction.scans[0].probabilities = vec![0.4, 0.35, 0.25];
        assert!(prediction_page(&prediction).contains("<strong>60.0 %</strong>: more probable than none"));
        prediction.scans[0].probabilities = vec![0.6, 0.25, 0.15];
        assert!(prediction_page(&prediction).contains("<strong>40.0 %</strong></p>"));
    }

    #[test]
    fn the_misclassified_come_first() {
        let mut evaluation = example(3);
        evaluation.cases.reverse();
        let html = evaluation_page(&evaluation, &evaluation.scores().unwrap());
        let cards: Vec<bool> = html.split("<article class=\"card panel").skip(1).map(|card| card.starts_with(" wrong")).collect();
        assert_eq!(cards.len(), 8);
        assert!(cards[0] && !cards[7] && cards.is_sorted_by(|a, b| a >= b), "{cards:?}");
    }

    #[test]
    fn edges() {
        // No study at all, one class alone, a perfect score, classes that do not merge, one that a study's picture lacks.
        let mut none = example(3);
        (none.patients, none.cases, none.history) = (Vec::new(), Vec::new(), Vec::new());
        let mut one = example(3);
        one.patients.retain(|row| row.truth == 1);
        let mut perfect = example(2);
        perfect.patients.iter_mut().for_each(|row| row.truth = metrics::predicted(&row.probabilities));
        let mut other = example(3);
        other.model.classes[0] = "benign".to_owned();
        let mut blank = example(3);
        blank.cases[0].fused = crate::image::Image::zeros(0, 0);
        for evaluation in [none, one, perfect, other, blank] {
            let html = evaluation_page(&evaluation, &evaluation.scores().unwrap());
            assert_self_contained(&html);
            assert_balanced(&html);
            assert!(!html.contains("NaN") && !html.contains("inf "));
        }
        let empty = Prediction::default();
        assert!(prediction_page(&empty).contains("No scan was given."));
    }
}
