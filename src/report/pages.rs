//! The pages: an evaluation (and the demo's) and a prediction.

use super::figures;
use super::heat;
use super::html::{data_uri, escape, page};
use super::{Case, Evaluation, ModelCard, Prediction, is_phantom};
use crate::draw::{Raster, Tone};
use crate::metrics::{self, CalibrationError, Each, Intervals, OperatingPoint, Panel, Scores, Statistics};
use std::fmt::Write;

/// Rows of a picture in the gallery, twice what the page shows, and of a picture that stands alone.
const GALLERY_ROWS: usize = 640;
const SINGLE_ROWS: usize = 1024;

const TRAINED_ON_PHANTOMS: &str = "model trained on phantoms";

/// The page of an evaluation, a whole HTML file.
pub fn evaluation_page(evaluation: &Evaluation, scores: &Scores) -> String {
    let model = &evaluation.model;
    let tag = match (is_phantom(&evaluation.evaluated_on), is_phantom(&model.trained_on)) {
        (true, _) => "phantoms, not patients",
        (false, true) => TRAINED_ON_PHANTOMS,
        (false, false) => "",
    };
    let mut body = header(
        &evaluation.title,
        &evaluation.caveat(),
        tag,
        &[
            ("studies", scores.studies.to_string()),
            ("evaluated on", evaluation.evaluated_on.clone()),
            ("model", model.name.clone()),
        ],
    );
    body.push_str("<main>\n");
    if let Some(scan) = &evaluation.scan {
        let inner = scan_article(scan, model, 0);
        body.push_str(&section("scan", "One scan, classified", tag, &inner));
    }
    body.push_str(&section("scores", "Scores", tag, &headline(scores)));
    body.push_str(&section("classes", "Class by class", tag, &classes(evaluation, scores)));
    if let Some(inner) = metastatic(evaluation, scores) {
        body.push_str(&section("metastatic", "Metastatic against not", tag, &inner));
    }
    if let Some(inner) = calibration(evaluation, scores) {
        body.push_str(&section("calibration", "Calibration", tag, &inner));
    }
    if !evaluation.cases.is_empty() {
        body.push_str(&section("cases", "Cases", tag, &gallery(evaluation)));
    }
    if !evaluation.history.is_empty() {
        let curves = figures::curves(&evaluation.history, "").inline();
        body.push_str(&section("training", "Training", tag, &format!("<figure class=\"panel\">{curves}</figure>\n")));
    }
    body.push_str(&section("patients", "Patients", tag, &patients(evaluation)));
    body.push_str(&section("model", "Model and configuration", "", &provenance(model, &evaluation.configuration)));
    body.push_str("</main>");
    page(&evaluation.title, &evaluation.caveat(), &body)
}

/// The page of a prediction, a whole HTML file.
pub fn prediction_page(prediction: &Prediction) -> String {
    let model = &prediction.model;
    let tag = if is_phantom(&model.trained_on) { TRAINED_ON_PHANTOMS } else { "" };
    let mut body = header(
        &prediction.title,
        &prediction.caveat(),
        tag,
        &[("scans", prediction.scans.len().to_string()), ("model", model.name.clone())],
    );
    body.push_str("<main>\n");
    for (index, scan) in prediction.scans.iter().enumerate() {
        let inner = scan_article(scan, model, index);
        body.push_str(&section(&format!("scan{index}"), &scan.name, tag, &inner));
    }
    if prediction.scans.is_empty() {
        body.push_str("<p>No scan was given.</p>\n");
    }
    body.push_str(&section("model", "Model", "", &provenance(model, "")));
    body.push_str("</main>");
    page(&prediction.title, &prediction.caveat(), &body)
}

pub(crate) fn header(title: &str, caveat: &str, tag: &str, facts: &[(&str, String)]) -> String {
    let mut html = format!(
        "<header>\n<p class=\"brand\"><svg viewBox=\"0 0 24 24\" aria-hidden=\"true\"><circle cx=\"12\" cy=\"12\" r=\"10.5\"/>\
         <path d=\"M12 3.5v17M8 7.2c1.2-1 6.800-1 8 0M7 10.600c1.500-1.100 8.500-1.100 10 0M7.300 14c1.400-1 8-1 9.400 0M9 17.500c1-.7 \
         5-.7 6 0\"/></svg>Osteon</p>\n<h1>{}</h1>\n<ul class=\"facts\">",
        escape(title)
    );
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = write!(html, "<li><span>{name}</span> <bdi>{}</bdi></li>", escape(value));
    }
    let kind = if tag.is_empty() { "caveat" } else { "caveat simulated" };
    let _ = write!(html, "</ul>\n<p class=\"{kind}\" role=\"note\">{}</p>\n</header>\n", escape(caveat));
    html
}

/// A part of the page. `tag` stands beside its heading wherever scores follow that do not speak of patients.
pub(crate) fn section(id: &str, heading: &str, tag: &str, inner: &str) -> String {
    let tag = if tag.is_empty() { String::new() } else { format!(" <span class=\"tag\">{tag}</span>") };
    format!(
        "<section aria-labelledby=\"h-{id}\">\n<h2 id=\"h-{id}\"><bdi>{}</bdi>{tag}</h2>\n{inner}</section>\n",
        escape(heading)
    )
}

fn percent(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{:.1}<small> %</small>", 100.0 * value))
}

fn decimal(value: Option<f64>) -> String {
    value.map_or("<abbr title=\"undefined\">–</abbr>".to_owned(), |value| format!("{value:.4}"))
}

/// Of a percentage.
fn interval(interval: Option<[f64; 2]>) -> String {
    interval.map_or(String::new(), |[low, high]| format!("95 % interval {:.1} to {:.1}", 100.0 * low, 100.0 * high))
}

/// Of a number between 0 and 1.
fn decimal_interval(interval: Option<[f64; 2]>) -> String {
    interval.map_or(String::new(), |[low, high]| format!("95 % interval {low:.3} to {high:.3}"))
}

/// A cell of a table: the value, and its interval beneath where there is one.
fn cell(value: Option<f64>, interval: Option<[f64; 2]>) -> String {
    let ends = interval.map_or(String::new(), |[low, high]| format!("<small>{low:.3} to {high:.3}</small>"));
    format!("<td class=\"n\">{}{ends}</td>", decimal(value))
}

/// The intervals of every score; none where they were not asked for.
fn intervals(scores: &Scores) -> Panel<Option<[f64; 2]>> {
    match &scores.statistics {
        Some(Statistics { intervals, .. }) => intervals.scores.clone(),
        None => Panel::of(scores).map(|_| None),
    }
}

/// How they were made.
fn about_intervals(scores: &Scores) -> String {
    let Some(Statistics { intervals: Intervals { patients, bootstrap, .. }, .. }) = &scores.statistics else {
        return String::new();
    };
    format!(
        "<p class=\"small\">95 % intervals: the middle of {} resamples of the {patients} patients, each with all of its studies \
         (percentile bootstrap). A score that no resample changes, or that too many leave undefined, has none; the accuracy then has \
         Wilson's.</p>\n",
        bootstrap.resamples
    )
}

/// The figures that one reads first: a row of tiles for the classes, a row for metastatic against not.
fn headline(scores: &Scores) -> String {
    let three = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
    let ends = intervals(scores);
    let mut rows = vec![(
        format!("{} classes", scores.classes.len()),
        [
            ("Accuracy", percent(scores.accuracy), interval(ends.accuracy.or(scores.accuracy_interval))),
            ("Macro recall", percent(scores.mean.recall), interval(ends.mean.recall)),
            ("Macro F1", percent(scores.mean.f1), interval(ends.mean.f1)),
            ("Macro AUC", three(scores.mean.auc), decimal_interval(ends.mean.auc)),
        ],
    )];
    if let Some(metastatic) = &scores.metastatic {
        let positives = metastatic.scores.support;
        let negatives = scores.studies as u64 - positives;
        let merged = ends.metastatic.as_ref();
        type Ends = Option<[f64; 2]>;
        let each = |of: fn(&Each<Ends>) -> Ends| merged.and_then(|merged| of(&merged.scores));
        let of = |about: String, ends: Option<[f64; 2]>| match interval(ends) {
            ends if ends.is_empty() => about,
            ends => format!("{about}; {ends}"),
        };
        let accuracy = merged.and_then(|merged| merged.accuracy).or(metastatic.accuracy_interval);
        rows.push((
            "Metastatic or not".to_owned(),
            [
                ("Accuracy", percent(metastatic.accuracy), interval(accuracy)),
                (
                    "Sensitivity",
                    percent(metastatic.scores.recall),
                    of(format!("of {positives} with metastasis"), each(|each| each.recall)),
                ),
                (
                    "Specificity",
                    percent(metastatic.scores.specificity),
                    of(format!("of {negatives} without"), each(|each| each.specificity)),
                ),
                ("AUC", three(metastatic.auc), decimal_interval(each(|each| each.auc))),
            ],
        ));
    }
    let mut html = String::new();
    for (name, tiles) in rows {
        let _ = writeln!(html, "<h3 class=\"row\">{name}</h3>\n<div class=\"tiles\">");
        for (name, value, about) in tiles {
            let _ = writeln!(html, "<div class=\"tile\"><h4>{name}</h4><p class=\"value\">{value}</p><p>{about}</p></div>");
        }
        html.push_str("</div>\n");
    }
    html.push_str(&about_intervals(scores));
    if !scores.notes.is_empty() {
        html.push_str("<ul class=\"notes\">");
        for note in &scores.notes {
            let _ = write!(html, "<li>{}</li>", escape(note));
        }
        html.push_str("</ul>\n");
    }
    html
}

/// The table of classes, the confusion matrix and the ROC.
fn classes(evaluation: &Evaluation, scores: &Scores) -> String {
    let mut html =
        "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Class</th><th scope=\"col\" class=\"n\">Studies</th>\
                    <th scope=\"col\" class=\"n\">Precision</th><th scope=\"col\" class=\"n\">Recall</th>\
                    <th scope=\"col\" class=\"n\">Specificity</th><th scope=\"col\" class=\"n\">F1</th>\
                    <th scope=\"col\" class=\"n\">AUC</th></tr></thead>\n<tbody>\n"
            .to_owned();
    let ends = intervals(scores);
    let cells = |values: [Option<f64>; 5], ends: &Each<Option<[f64; 2]>>| {
        values.into_iter().zip(ends.values()).map(|(value, ends)| cell(value, *ends)).collect::<String>()
    };
    for (index, named) in scores.classes.iter().enumerate() {
        let class = &named.scores;
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\"><i class=\"dot c{}\"></i>{}</th><td class=\"n\">{}</td>{}</tr>",
            index % 6,
            escape(&named.class),
            class.support,
            cells([class.precision, class.recall, class.specificity, class.f1, named.auc], &ends.classes[index].scores)
        );
    }
    let mean = &scores.mean;
    let _ = write!(
        html,
        "</tbody>\n<tfoot><tr><th scope=\"row\">Macro mean</th><td class=\"n\">{}</td>{}</tr></tfoot>\n</table></div>\n\
         <div class=\"pair\"><figure class=\"panel\"><figcaption>Confusion matrix</figcaption>{}</figure>\
         <figure class=\"panel\"><figcaption>Receiver operating characteristic</figcaption>{}</figure></div>\n",
        scores.studies,
        cells([mean.precision, mean.recall, mean.specificity, mean.f1, mean.auc], &ends.mean),
        figures::confusion(evaluation, scores).inline(),
        figures::roc(evaluation, scores).inline()
    );
    html
}

/// The classes merged to metastatic or not.
fn metastatic(evaluation: &Evaluation, scores: &Scores) -> Option<String> {
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
    let mut html = "<div class=\"scroll\"><table>\n<thead><tr>".to_owned();
    measures.iter().for_each(|(name, ..)| html.push_str(&format!("<th scope=\"col\" class=\"n\">{name}</th>")));
    html.push_str("</tr></thead>\n<tbody><tr>");
    measures.iter().for_each(|(_, value, ends)| html.push_str(&cell(*value, *ends)));
    let _ = write!(
        html,
        "</tr></tbody>\n</table></div>\n<p class=\"small\">Positive is every class but {}: a study is called metastatic where those \
         classes together are more probable. Of {} with metastasis {} were called so; of {} without, {} were.</p>\n",
        metrics::NO_METASTASIS,
        class.support,
        metastatic.confusion[1][1],
        scores.studies as u64 - class.support,
        metastatic.confusion[0][1],
    );
    if let (Some(distribution), Some(reliability)) = (figures::distribution(evaluation), figures::reliability(evaluation)) {
        let _ = writeln!(
            html,
            "<div class=\"pair\"><figure class=\"panel\"><figcaption>Probability of metastasis by true class</figcaption>{}</figure>\
             <figure class=\"panel\"><figcaption>Calibration</figcaption>{}</figure></div>",
            distribution.inline(),
            reliability.inline()
        );
    }
    if let Some(points) = scores.statistics.as_ref().and_then(|statistics| statistics.operating_points.as_ref()) {
        html.push_str(&operating_points(&points.sensitivity, &points.specificity, class.support, scores.studies as u64));
    }
    Some(html)
}

/// What other thresholds give.
fn operating_points(sensitivity: &[OperatingPoint], specificity: &[OperatingPoint], positives: u64, studies: u64) -> String {
    let mut html =
        "<h3 class=\"row\">At other thresholds</h3>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Wanted</th>"
            .to_owned();
    for name in
        ["Called from a probability of", "Sensitivity", "Specificity", "Positive predictive value", "Negative predictive value"]
    {
        let _ = write!(html, "<th scope=\"col\" class=\"n\">{name}</th>");
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    let rows = [("sensitivity", sensitivity), ("specificity", specificity)];
    for (what, point) in rows.into_iter().flat_map(|(what, points)| points.iter().map(move |point| (what, point))) {
        let threshold = point.threshold.map_or("nothing is called".to_owned(), |threshold| format!("{threshold:.4}"));
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{what} {:.0} %</th><td class=\"n\">{threshold}</td>{}{}{}{}</tr>",
            100.0 * point.target,
            cell(Some(point.sensitivity), None),
            cell(Some(point.specificity), None),
            cell(point.ppv, None),
            cell(point.npv, None)
        );
    }
    let _ = writeln!(
        html,
        "</tbody>\n</table></div>\n<p class=\"small\">Thresholds were chosen on these very studies: on others expect a little less. \
         Predictive values hold where {:.0} % of the studies are metastatic, as here.</p>",
        100.0 * positives as f64 / studies.max(1) as f64
    );
    html
}

/// Whether probabilities mean what they say.
fn calibration(evaluation: &Evaluation, scores: &Scores) -> Option<String> {
    let calibration = &scores.statistics.as_ref()?.calibration;
    let figure = figures::confidence(evaluation)?;
    let mut html = "<div class=\"pair\"><figure class=\"panel\"><figcaption>Predicted class</figcaption>".to_owned();
    let _ = writeln!(
        html,
        "{}</figure>\n<div><div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Probability of</th>\
         <th scope=\"col\" class=\"n\">Expected error</th><th scope=\"col\" class=\"n\">Largest error</th>\
         <th scope=\"col\" class=\"n\">Brier score</th></tr></thead>\n<tbody>",
        figure.inline()
    );
    let row = |html: &mut String, name: &str, error: Option<&CalibrationError>, brier: Option<f64>| {
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{}</th>{}{}{}</tr>",
            escape(name),
            cell(error.map(|error| error.expected), None),
            cell(error.map(|error| error.maximum), None),
            cell(brier, None)
        );
    };
    row(&mut html, "the predicted class", calibration.top_label.as_ref(), None);
    for class in &calibration.classes {
        row(&mut html, &class.class, class.error.as_ref(), class.brier);
    }
    let brier = scores.metastatic.as_ref().and_then(|metastatic| metastatic.brier);
    if calibration.metastatic.is_some() {
        row(&mut html, "any metastasis", calibration.metastatic.as_ref(), brier);
    }
    let _ = writeln!(
        html,
        "</tbody>\n</table></div>\n<p class=\"small\">In {} bins of equal width: the expected error is the mean distance of a study's bin \
         from the diagonal, the largest error that of the worst bin, which may hold few studies. Log loss (mean of -ln p of the truth): \
         {}; a network that knows nothing of {} classes has {:.4}.</p></div></div>",
        calibration.bins,
        decimal(calibration.log_loss),
        scores.classes.len(),
        (scores.classes.len() as f64).ln()
    );
    Some(html)
}

/// Cases as cards, the misclassified first.
pub(crate) fn gallery(evaluation: &Evaluation) -> String {
    let model = &evaluation.model;
    let wrong = |case: &Case| case.truth.is_some_and(|truth| truth != metrics::predicted(&case.probabilities));
    let mut order: Vec<(usize, &Case)> = evaluation.cases.iter().enumerate().collect();
    order.sort_by_key(|(_, case)| !wrong(case)); // stable
    let misclassified = order.iter().filter(|(_, case)| wrong(case)).count();
    let mut html = format!(
        "<p class=\"small\">{} of {} studies, the misclassified ({misclassified}) first. Left the fused views, right where the \
         network looked. {KEY}</p>\n<div class=\"gallery\">\n",
        order.len(),
        evaluation.patients.len(),
    );
    for (index, case) in order {
        let _ = writeln!(
            html,
            "<article class=\"card panel{}\">{}<div class=\"about\"><h3><bdi>{}</bdi></h3>{}{}</div></article>",
            if wrong(case) { " wrong" } else { "" },
            scan_picture(case, &format!("case{index}"), GALLERY_ROWS),
            escape(&case.name),
            verdict(case, model),
            bars(case, model)
        );
    }
    html.push_str("</div>\n");
    html
}

/// What the colours of attention mean.
const KEY: &str = "<span class=\"key\">attention <i></i> little to much</span>";

/// One scan, large.
fn scan_article(case: &Case, model: &ModelCard, index: usize) -> String {
    let mut html = format!(
        "<article class=\"scan panel\">{}<div class=\"about\">{}{}",
        scan_picture(case, &format!("scan{index}-picture"), SINGLE_ROWS),
        verdict(case, model),
        bars(case, model)
    );
    if let Some(negative) = metrics::no_metastasis(&model.classes).filter(|_| model.classes.len() > 2) {
        let p = metrics::metastatic_probability(&case.probabilities, negative);
        let split = p > 0.5 && metrics::predicted(&case.probabilities) == negative;
        let but = if split { ": more probable than none, though no single kind is" } else { "" };
        let _ = write!(html, "<p>Any metastasis: <strong>{:.1} %</strong>{but}</p>", 100.0 * p);
    }
    if is_phantom(&model.trained_on) {
        html.push_str(
            "<p class=\"small\">The network has seen simulated patients only: on a real scan its probabilities mean nothing.</p>",
        );
    }
    html.push_str("<dl>");
    let file = [("Scan".to_owned(), case.name.clone())];
    for (name, value) in file.iter().chain(&case.facts) {
        let _ = write!(html, "<dt>{}</dt><dd><bdi>{}</bdi></dd>", escape(name), escape(value));
    }
    let _ = write!(
        html,
        "<dt>Preprocessing</dt><dd>{}</dd></dl>\n<p class=\"small\">Black is high uptake.{}</p></div></article>\n",
        escape(&model.preprocessing),
        if case.heat.is_some() { format!(" Right: where the network looked for its answer. {KEY}") } else { String::new() }
    );
    html
}

/// The fused picture, and beside it the same with attention over it; the pixels are stored once.
fn scan_picture(case: &Case, id: &str, most_rows: usize) -> String {
    let mut raster = Raster::from_image(&case.fused, &Tone::default());
    if raster.rows() > most_rows {
        let columns = (raster.columns() * most_rows / raster.rows()).max(1);
        raster = raster.resized(most_rows, columns);
    }
    let (width, height) = (raster.columns(), raster.rows());
    let gap = (width / 24).max(1);
    let seen = if case.heat.is_some() { "; beside it where the network looked" } else { "" };
    let total = if case.heat.is_some() { 2 * width + gap } else { width };
    let mut svg = format!(
        "<svg class=\"film\" style=\"--ratio:{:.4}\" viewBox=\"0 0 {total} {height}\" role=\"img\" aria-label=\"Fused bone scan of {}{seen}\">\
         <image id=\"{id}\" href=\"{}\" width=\"{width}\" height=\"{height}\"/>",
        // The style sheet chooses the height; the width follows.
        total as f64 / height as f64,
        escape(&case.name),
        data_uri(&raster.png())
    );
    if let Some(heat) = &case.heat {
        // The map is coarse: 256 rows hold it, and the browser smooths them.
        let rows = height.min(256);
        let layer = heat::layer(heat, rows, (width * rows / height).max(1));
        let _ = write!(
            svg,
            "<use href=\"#{id}\" x=\"{x}\"/><image href=\"{}\" x=\"{x}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\"/>",
            data_uri(&layer),
            x = width + gap,
        );
    }
    svg.push_str("</svg>");
    svg
}

/// What was said, and what is true where it is known.
fn verdict(case: &Case, model: &ModelCard) -> String {
    let name = |class: usize| escape(model.classes.get(class).map_or("?", String::as_str));
    let predicted = metrics::predicted(&case.probabilities);
    match case.truth {
        Some(truth) if truth == predicted => {
            format!("<p class=\"verdict right\"><strong>{} ✓</strong> correct</p>", name(predicted))
        }
        Some(truth) => format!("<p class=\"verdict wrong\"><strong>{} ✗</strong> truth: {}</p>", name(predicted), name(truth)),
        None => format!("<p class=\"verdict\"><strong>{}</strong></p>", name(predicted)),
    }
}

/// Probabilities as bars.
fn bars(case: &Case, model: &ModelCard) -> String {
    let mut html = "<ul class=\"bars\">".to_owned();
    for (class, (name, &p)) in model.classes.iter().zip(&case.probabilities).enumerate() {
        let percent = (100.0 * p).clamp(0.0, 100.0);
        let truth = if case.truth == Some(class) { " <span class=\"truth\">truth</span>" } else { "" };
        let _ = write!(
            html,
            "<li><span>{}{truth}</span><span class=\"n\">{percent:.1} %</span><i class=\"c{}\" style=\"width:{percent:.1}%\"></i></li>",
            escape(name),
            class % 6
        );
    }
    html.push_str("</ul>");
    html
}

/// The table of every study.
fn patients(evaluation: &Evaluation) -> String {
    let classes = &evaluation.model.classes;
    let name = |class: usize| escape(classes.get(class).map_or("?", String::as_str));
    let mut html = "<p class=\"controls\"><label><input type=\"checkbox\" id=\"only-wrong\"> only misclassified</label> \
                    <label>find <input type=\"search\" id=\"find\" placeholder=\"patient\"></label> \
                    <output id=\"shown\" for=\"only-wrong find\"></output></p>\n\
                    <div class=\"scroll tall\" tabindex=\"0\" role=\"region\" aria-labelledby=\"h-patients\"><table class=\"sortable\" \
                    id=\"patients-table\">\n<thead><tr>"
        .to_owned();
    let column = |html: &mut String, name: &str, numeric: bool| {
        let class = if numeric { " class=\"n\"" } else { "" };
        let _ = write!(html, "<th scope=\"col\"{class} aria-sort=\"none\"><button type=\"button\">{name}</button></th>");
    };
    ["Patient", "Truth", "Predicted", "Right"].iter().for_each(|name| column(&mut html, name, false));
    classes.iter().for_each(|class| column(&mut html, &format!("p({})", escape(class)), true));
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in &evaluation.patients {
        let predicted = metrics::predicted(&row.probabilities);
        let wrong = row.truth != predicted;
        let _ = write!(
            html,
            "<tr{}><th scope=\"row\"><bdi>{}</bdi></th><td>{}</td><td>{}</td><td>{}</td>",
            if wrong { " class=\"wrong\"" } else { "" },
            escape(&row.patient),
            name(row.truth),
            name(predicted),
            if wrong { "no" } else { "yes" }
        );
        for (class, &p) in row.probabilities.iter().enumerate() {
            let percent = (100.0 * p).clamp(0.0, 100.0);
            let _ = write!(html, "<td class=\"n p c{}\" style=\"--p:{percent:.1}%\">{p:.4}</td>", class % 6);
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n");
    html
}

/// Where the scores come from.
fn provenance(model: &ModelCard, configuration: &str) -> String {
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
    let mut html = "<div class=\"panel\"><dl>".to_owned();
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        let class = if *name == "SHA-256" { " class=\"hash\"" } else { "" };
        let _ = write!(html, "<dt>{name}</dt><dd{class}><bdi>{}</bdi></dd>", escape(value));
    }
    html.push_str("</dl></div>\n");
    if !configuration.is_empty() {
        let _ = writeln!(html, "<details><summary>Configuration</summary><pre>{}</pre></details>", escape(configuration));
    }
    html
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
        scans[1].heat = None;
        Prediction { title: "Prediction".to_owned(), model: evaluation.model, scans }
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
        let prediction = Prediction { title: hostile(), model: evaluation.model.clone(), scans: evaluation.cases.clone() };
        for html in [evaluation_page(&evaluation, &scores), prediction_page(&prediction)] {
            assert!(!html.contains("<script>alert") && !html.contains("<img") && !html.contains('\u{202E}'));
            assert_eq!(html.matches("<script").count(), 1);
            assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)"));
            assert_self_contained(&html);
            assert_balanced(&html);
        }
        for svg in [figures::confusion(&evaluation, &scores).svg(), figures::roc(&evaluation, &scores).svg()] {
            assert!(!svg.contains("<script") && !svg.contains("<img"));
        }
    }

    #[test]
    fn scores_of_phantoms_say_so_everywhere() {
        let mut evaluation = example(3);
        let parts = |html: &str| html.matches("<section").count();
        let tags = |html: &str, tag: &str| html.matches(&format!("<span class=\"tag\">{tag}</span>")).count();
        let html = evaluation_page(&evaluation, &evaluation.scores().unwrap());
        assert_eq!(tags(&html, "phantoms, not patients"), parts(&html) - 1, "every part but the model's");
        assert!(
            html.contains("Trained and evaluated on phantoms (simulated patients). Research software, not a medical device.")
        );
        evaluation.evaluated_on = "the archive".to_owned();
        let html = evaluation_page(&evaluation, &evaluation.scores().unwrap());
        assert_eq!(tags(&html, TRAINED_ON_PHANTOMS), parts(&html) - 1);
        evaluation.model.trained_on = "another archive".to_owned();
        let html = evaluation_page(&evaluation, &evaluation.scores().unwrap());
        assert!(!html.contains("<span class=\"tag\">") && !html.contains("phantom") && html.contains(super::super::DISCLAIMER));
        assert!(prediction_page(&prediction()).contains("Trained on phantoms (simulated patients)."));
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
