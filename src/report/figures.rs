//! The figures of an evaluation: confusion matrix, ROC, reliability, distribution of probabilities, age and sex.

use super::Evaluation;
use super::figure::{Figure, Ink, key_width};
use crate::archive::people::{BySex, Demographics};
use crate::draw::{Anchor, Letters};
use crate::metrics::{self, BINS, CalibrationError, FALSE_MARKS, Localisation, RocPoint, Scores};
use crate::text::counted;

/// The plotting area of a chart with linear axes.
pub(super) struct Axes {
    pub left: f32,
    pub top: f32,
    pub width: f32,
    pub height: f32,
    pub x: [f64; 2],
    pub y: [f64; 2],
}

impl Axes {
    pub fn point(&self, x: f64, y: f64) -> [f32; 2] {
        let share = |value: f64, [low, high]: [f64; 2]| ((value - low) / (high - low)) as f32;
        // What lies outside runs along the edge; NaN stays NaN and breaks the line.
        [
            self.left + self.width * share(x, self.x).clamp(0.0, 1.0),
            self.top + self.height * (1.0 - share(y, self.y).clamp(0.0, 1.0)),
        ]
    }

    /// Grid, tick labels and axis names.
    pub fn draw(&self, figure: &mut Figure, x_ticks: &[f64], y_ticks: &[f64], names: [&str; 2]) {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        for &tick in y_ticks {
            let [_, y] = self.point(self.x[0], tick);
            figure.polyline(vec![[self.left, y], [right, y]], 1.0, Ink::Grid);
            figure.text(self.left - 8.0, y, label(tick, y_ticks), 11.0, Anchor::Right, Ink::Muted);
        }
        for &tick in x_ticks {
            let [x, _] = self.point(tick, self.y[0]);
            figure.polyline(vec![[x, bottom], [x, bottom + 4.0]], 1.0, Ink::Grid);
            figure.text(x, bottom + 14.0, label(tick, x_ticks), 11.0, Anchor::Center, Ink::Muted);
        }
        figure.polyline(vec![[self.left, bottom], [right, bottom]], 1.0, Ink::Muted);
        figure.text(self.left + self.width / 2.0, bottom + 33.0, names[0], 12.0, Anchor::Center, Ink::Text);
        if !names[1].is_empty() {
            figure.sideways(self.left - 44.0, self.top + self.height / 2.0, names[1], 12.0, Ink::Text);
        }
    }
}

/// About `count` round numbers from `low` to `high`: steps of 1, 2 or 5 times a power of ten.
pub(super) fn ticks([low, high]: [f64; 2], count: usize) -> Vec<f64> {
    let raw = (high - low) / count.max(1) as f64;
    if !(raw.is_finite() && raw > 0.0) {
        return vec![low];
    }
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|unit| unit * power).find(|step| *step >= raw * 0.999).unwrap_or(power);
    let (first, last) = ((low / step - 1e-6).ceil() as i64, (high / step + 1e-6).floor() as i64);
    (first..=last).map(|index| index as f64 * step).collect()
}

/// A tick with as many decimals as its neighbours need, or as a power of ten where there is no room.
fn label(tick: f64, ticks: &[f64]) -> String {
    if tick != 0.0 && ticks.iter().any(|tick| tick.abs() >= 1e6) {
        return format!("{tick:.1e}");
    }
    let step = ticks.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    let decimals = if step.is_finite() && step < 0.999 { (-step.log10()).ceil() as usize } else { 0 };
    format!("{tick:.decimals$}")
}

const SHARES: [f64; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];

/// Text cut to `most` characters.
pub(super) fn short(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

pub(super) fn percent(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{:.1} %", 100.0 * value))
}

/// The confusion matrix: a row a true class, shaded by its share of the row, with recall and precision at the margins.
pub fn confusion(evaluation: &Evaluation, scores: &Scores) -> Figure {
    let classes = &evaluation.model.classes;
    let count = classes.len();
    let (cell_width, cell_height, gap) = (104.0, 66.0, 4.0);
    let (left, top) = (118.0, 58.0);
    let (right, bottom) = (left + count as f32 * (cell_width + gap), top + count as f32 * (cell_height + gap));
    let spoken = format!(
        "Confusion matrix of {}, accuracy {}. {}",
        counted(scores.studies, "study"),
        percent(scores.accuracy),
        scores
            .confusion
            .iter()
            .enumerate()
            .map(|(truth, row)| format!(
                "True {}: {}.",
                classes[truth],
                row.iter().zip(classes).map(|(count, class)| format!("{count} called {class}")).collect::<Vec<_>>().join(", ")
            ))
            .collect::<Vec<_>>()
            .join(" ")
    );
    let heading = format!("Confusion matrix · {}", counted(scores.studies, "study"));
    let mut figure = Figure::new(right + 76.0, bottom + 44.0, spoken).framed(heading, evaluation.caveat());
    figure.text((left + right - gap) / 2.0, 14.0, "Predicted", 12.0, Anchor::Center, Ink::Text);
    figure.text(right + 36.0, 40.0, "Recall", 12.0, Anchor::Center, Ink::Muted);
    figure.sideways(14.0, (top + bottom - gap) / 2.0, "Truth", 12.0, Ink::Text);
    figure.text(left - 12.0, bottom + 18.0, "Precision", 12.0, Anchor::Right, Ink::Muted);
    for (truth, row) in scores.confusion.iter().enumerate() {
        let y = top + truth as f32 * (cell_height + gap);
        let support: u64 = row.iter().sum();
        figure.bold(left - 12.0, y + cell_height / 2.0, short(&classes[truth], 11), 13.0, Anchor::Right, Ink::Text);
        figure.text(
            right + 36.0,
            y + cell_height / 2.0,
            percent(scores.classes[truth].scores.recall),
            12.0,
            Anchor::Center,
            Ink::Muted,
        );
        for (predicted, &studies) in row.iter().enumerate() {
            let x = left + predicted as f32 * (cell_width + gap);
            let share = if support > 0 { studies as f64 / support as f64 } else { 0.0 };
            figure.rectangle(x, y, cell_width, cell_height, Ink::Shade, (0.06 + 0.94 * share) as f32);
            let (x, y) = (x + cell_width / 2.0, y + cell_height / 2.0);
            figure.bold(x, y - 8.0, studies.to_string(), 20.0, Anchor::Center, Ink::Text);
            figure.text(x, y + 15.0, format!("{:.1} %", 100.0 * share), 11.0, Anchor::Center, Ink::Text);
        }
    }
    for (class, name) in classes.iter().enumerate() {
        let x = left + class as f32 * (cell_width + gap) + cell_width / 2.0;
        figure.bold(x, 40.0, short(name, 13), 13.0, Anchor::Center, Ink::Text);
        figure.text(x, bottom + 18.0, percent(scores.classes[class].scores.precision), 12.0, Anchor::Center, Ink::Muted);
    }
    figure
}

/// Curves by name, lines downwards, the last at `y`, all ending before `right`.
fn key(figure: &mut Figure, right: f32, y: f32, lines: &[(Ink, f32, String)]) {
    let longest = lines.iter().map(|(.., text)| key_width(text)).fold(0.0, f32::max);
    let (x, first) = (right - longest, y - 19.0 * lines.len().saturating_sub(1) as f32);
    figure.rectangle(x - 8.0, first - 13.0, longest, 19.0 * lines.len() as f32 + 7.0, Ink::Ground, 0.85);
    for (line, (ink, width, text)) in lines.iter().enumerate() {
        figure.key(x, first + 19.0 * line as f32, text, *width, *ink);
    }
}

/// Receiver operating characteristic: each class against the rest, and metastatic against not.
pub fn roc(evaluation: &Evaluation, scores: &Scores) -> Figure {
    let classes = &evaluation.model.classes;
    let (truths, probabilities) = columns(evaluation);
    let mut curves = Vec::new();
    if let Some(ranked) = ranking(evaluation) {
        let auc = scores.metastatic.as_ref().and_then(|metastatic| metastatic.auc);
        let name = evaluation.positive_name().map_or_else(|| "Metastatic".to_owned(), |name| short(name, 16));
        curves.push((name, Ink::Text, 3.0, auc, metrics::roc(&ranked)));
    }
    // Of two classes each is the other's mirror: one curve says it.
    let single = if classes.len() == 2 && !curves.is_empty() { 0 } else { classes.len() };
    for (class, name) in classes.iter().enumerate().take(single) {
        let ranked = metrics::one_against_rest(&truths, &probabilities, class);
        curves.push((short(name, 16), Ink::Series(class), 2.0, scores.classes[class].auc, metrics::roc(&ranked)));
    }
    let said = |auc: Option<f64>| auc.map_or("undefined".to_owned(), |auc| format!("{auc:.3}"));
    let spoken = curves.iter().map(|(name, _, _, auc, _)| format!("{name}: AUC {}.", said(*auc))).collect::<Vec<_>>().join(" ");
    let mut figure = Figure::new(452.0, 432.0, format!("Receiver operating characteristic. {spoken}"))
        .framed(format!("Receiver operating characteristic · {}", counted(scores.studies, "study")), evaluation.caveat());
    let axes = Axes { left: 62.0, top: 12.0, width: 364.0, height: 364.0, x: [0.0, 1.0], y: [0.0, 1.0] };
    axes.draw(&mut figure, &SHARES, &SHARES, ["1 − specificity", "Sensitivity"]);
    figure.dashes(axes.point(0.0, 0.0), axes.point(1.0, 1.0), 1.25, Ink::Muted);
    for (_, ink, width, _, points) in curves.iter().rev() {
        let rates = |point: &RocPoint| [point.false_positive_rate, point.true_positive_rate];
        let corners = corners(points.iter().flatten().map(rates).collect());
        figure.curve(corners.into_iter().map(|[x, y]| axes.point(x, y)).collect(), *width, *ink);
    }
    let lines: Vec<(Ink, f32, String)> =
        curves.iter().map(|(name, ink, width, auc, _)| (*ink, *width, format!("{name}: AUC {}", said(*auc)))).collect();
    key(&mut figure, 434.0, 354.0, &lines);
    figure
}

/// Free-response receiver operating characteristic of the evidence: the share of lesions that are marked, over false marks a scan.
pub fn froc(evaluation: &Evaluation, found: &Localisation) -> Figure {
    let most = FALSE_MARKS[FALSE_MARKS.len() - 1];
    let title = format!("Lesions marked, of {} in {}", found.lesions, counted(found.marked, "scan"));
    let spoken = found.maps.first().map_or_else(String::new, |score| {
        let each = FALSE_MARKS.iter().zip(&score.sensitivity);
        let each = each.filter_map(|(marks, found)| Some(format!("{:.2} at {marks} false marks a scan", (*found)?)));
        each.collect::<Vec<_>>().join(", ")
    });
    let mut figure = Figure::new(452.0, 432.0, format!("{title}: {spoken}.")).framed(title, evaluation.caveat());
    let axes = Axes { left: 62.0, top: 12.0, width: 364.0, height: 364.0, x: [0.0, most], y: [0.0, 1.0] };
    axes.draw(&mut figure, &ticks(axes.x, 4), &SHARES, ["False marks a scan", "Sensitivity"]);
    let shown = found.froc.iter().filter(|point| point.false_marks <= most);
    let points = shown.map(|point| axes.point(point.false_marks, point.sensitivity));
    figure.polyline(points.collect(), 3.0, Ink::Accent);
    figure
}

/// A staircase without the points inside its straight steps.
fn corners(points: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    let inside = |at: usize| {
        let [before, here, after] = [points[at - 1], points[at], points[at + 1]];
        (0..2).any(|axis| before[axis] == here[axis] && here[axis] == after[axis])
    };
    let last = points.len().saturating_sub(1);
    (0..points.len()).filter(|&at| at == 0 || at == last || !inside(at)).map(|at| points[at]).collect()
}

fn columns(evaluation: &Evaluation) -> (Vec<usize>, Vec<Vec<f32>>) {
    evaluation.patients.iter().map(|row| (row.truth, row.probabilities.clone())).unzip()
}

/// Each study as (probability that it is positive, whether it is); none where no class counts as positive.
fn ranking(evaluation: &Evaluation) -> Option<Vec<(f64, bool)>> {
    evaluation.predictions().ok()?.ranking()
}

/// Predicted probability of metastasis against the observed share, in tenths; `None` where the classes do not merge or no study
/// is there.
pub fn reliability(evaluation: &Evaluation) -> Option<Figure> {
    let ranked = ranking(evaluation)?;
    let brier = metrics::brier(&ranked)?;
    let error = metrics::calibration_error(&ranked, BINS)?;
    let what = short(evaluation.sought(), 16);
    let (title, name) = (format!("Calibration: probability of {what}"), format!("Predicted probability of {what}"));
    let names = [name.as_str(), "Observed share"];
    Some(diagram(&title, names, &error, format!("Brier score {brier:.3}"), evaluation))
}

/// Probability of the predicted class against the share of studies where it is right, in tenths (Guo et al. 2017, figure 1); `None`
/// without studies.
pub fn confidence(evaluation: &Evaluation) -> Option<Figure> {
    let (truths, probabilities) = columns(evaluation);
    let error = metrics::calibration_error(&metrics::top_label(&truths, &probabilities), BINS)?;
    let loss = metrics::log_loss(&truths, &probabilities)?;
    let names = ["Probability of the predicted class", "Share that is right"];
    Some(diagram("Calibration: predicted class", names, &error, format!("log loss {loss:.3}"), evaluation))
}

/// A reliability diagram: a disc a bin, and for each how far it is from the diagonal.
fn diagram(heading: &str, names: [&str; 2], error: &CalibrationError, score: String, evaluation: &Evaluation) -> Figure {
    let errors = format!("expected error {:.3}, largest {:.3}", error.expected, error.maximum);
    let mut figure = Figure::new(452.0, 432.0, format!("{heading}: {score}, {errors}.")).framed(heading, evaluation.caveat());
    let axes = Axes { left: 62.0, top: 12.0, width: 364.0, height: 364.0, x: [0.0, 1.0], y: [0.0, 1.0] };
    axes.draw(&mut figure, &SHARES, &SHARES, names);
    for bin in &error.bins {
        let [from, to] = [axes.point(bin.predicted, bin.predicted), axes.point(bin.predicted, bin.observed)];
        figure.polyline(vec![from, to], 5.0, Ink::Grid);
    }
    figure.dashes(axes.point(0.0, 0.0), axes.point(1.0, 1.0), 1.25, Ink::Muted);
    figure.polyline(error.bins.iter().map(|bin| axes.point(bin.predicted, bin.observed)).collect(), 1.75, Ink::Accent);
    let studies: usize = error.bins.iter().map(|bin| bin.count).sum();
    for bin in &error.bins {
        // A disc's area grows with the number of studies.
        let share = bin.count as f32 / studies as f32;
        figure.disc(axes.point(bin.predicted, bin.observed), 3.0 + 14.0 * share.sqrt(), Ink::Accent);
    }
    let words = [(score, 12.0, Ink::Text), (errors, 12.0, Ink::Text), ("disc area: studies".to_owned(), 11.0, Ink::Muted)];
    let longest = words.iter().map(|(text, size, _)| Letters::regular(*size).width(text)).fold(0.0, f32::max);
    figure.rectangle(412.0 - longest, 319.0, longest + 8.0, 53.0, Ink::Ground, 0.85);
    for (line, (text, size, ink)) in words.into_iter().enumerate() {
        figure.text(416.0, 330.0 + 17.0 * line as f32, text, size, Anchor::Right, ink);
    }
    figure
}

/// Patients by decade of age and sex (the paper's figure 5). `note` stands beneath.
pub fn demographics(demographics: &Demographics, note: &str) -> Figure {
    type Count = fn(&BySex) -> usize;
    const SEXES: [(&str, Ink, Count); 4] = [
        ("men", Ink::Series(4), |patients| patients.male),
        ("women", Ink::Series(1), |patients| patients.female),
        ("other", Ink::Series(2), |patients| patients.other),
        ("sex unknown", Ink::Series(5), |patients| patients.unknown),
    ];
    let mut groups: Vec<(String, BySex)> =
        demographics.decades.iter().map(|decade| (format!("{}–{}", decade.from, decade.from + 9), decade.patients)).collect();
    if demographics.unknown_age.total() > 0 {
        groups.push(("unknown".to_owned(), demographics.unknown_age));
    }
    let total = |count: Count| groups.iter().map(|(_, patients)| count(patients)).sum::<usize>();
    let shown: Vec<(&str, Ink, Count)> =
        SEXES.into_iter().enumerate().filter(|(at, (.., count))| *at < 2 || total(*count) > 0).map(|(_, sex)| sex).collect();
    let spoken = groups
        .iter()
        .map(|(age, patients)| {
            let counts = shown.iter().map(|(name, _, count)| format!("{} {name}", count(patients)));
            format!("Age {age}: {}.", counts.collect::<Vec<_>>().join(", "))
        })
        .collect::<Vec<_>>()
        .join(" ");
    let patients = counted(demographics.patients(), "patient");
    let mut figure = Figure::new(596.0, 372.0, format!("Age and sex of {patients}. {spoken}"))
        .framed(format!("Age and sex · {patients}"), note);
    let tallest = groups.iter().flat_map(|(_, patients)| shown.iter().map(|(.., count)| count(patients))).max().unwrap_or(0);
    let axes = Axes { left: 62.0, top: 40.0, width: 516.0, height: 280.0, x: [0.0, 1.0], y: [0.0, tallest.max(1) as f64 * 1.05] };
    let mut counts = ticks(axes.y, 5);
    counts.retain(|tick| tick.fract() == 0.0);
    axes.draw(&mut figure, &[], &counts, ["Age in years", "Patients"]);
    let (bottom, group) = (axes.top + axes.height, axes.width / groups.len().max(1) as f32);
    let bar = group * 0.8 / shown.len() as f32;
    for (at, (age, patients)) in groups.iter().enumerate() {
        let left = axes.left + group * at as f32;
        figure.text(left + group / 2.0, bottom + 14.0, age, 11.0, Anchor::Center, Ink::Muted);
        for (sex, (_, ink, count)) in shown.iter().enumerate().filter(|(_, (.., count))| count(patients) > 0) {
            let [_, y] = axes.point(0.0, count(patients) as f64);
            let x = left + group * 0.1 + bar * sex as f32;
            figure.rectangle(x + 0.75, y, bar - 1.5, bottom - y, *ink, 0.9);
            figure.text(x + bar / 2.0, y - 8.0, count(patients).to_string(), 10.0, Anchor::Center, Ink::Muted);
        }
    }
    let mut x = axes.left;
    for (name, ink, count) in shown {
        let text = format!("{name} {}", total(count));
        figure.rectangle(x, 13.0, 11.0, 11.0, ink, 0.9);
        x += 17.0;
        figure.text(x, 18.5, &text, 12.0, Anchor::Left, Ink::Text);
        x += Letters::regular(12.0).width(&text) + 18.0;
    }
    figure
}

/// How the probability of metastasis is distributed in each true class: one histogram a class.
pub fn distribution(evaluation: &Evaluation) -> Option<Figure> {
    const BINS: usize = 25;
    let classes = &evaluation.model.classes;
    let ranked = ranking(evaluation).filter(|ranked| !ranked.is_empty())?;
    let mut counts = vec![[0usize; BINS]; classes.len()];
    for (row, (p, _)) in evaluation.patients.iter().zip(ranked) {
        counts[row.truth][((p * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let tallest = counts.iter().flatten().copied().max().unwrap_or(1).max(1);
    let (left, top, width, row_height) = (92.0, 12.0, 334.0, 364.0 / classes.len() as f32);
    let what = format!("redicted probability of {}", short(evaluation.sought(), 16));
    let mut figure = Figure::new(452.0, 432.0, format!("Histograms of the p{what}, one a true class."))
        .framed(format!("P{what} by true class"), evaluation.caveat());
    let axes = Axes { left, top, width, height: 364.0, x: [0.0, 1.0], y: [0.0, 1.0] };
    axes.draw(&mut figure, &SHARES, &[], [&format!("P{what}"), ""]);
    for (class, counts) in counts.iter().enumerate() {
        let base = top + row_height * (class + 1) as f32;
        figure.polyline(vec![[left, base], [left + width, base]], 1.0, Ink::Grid);
        figure.bold(left - 10.0, base - row_height / 2.0 - 8.0, short(&classes[class], 10), 12.0, Anchor::Right, Ink::Text);
        let studies: usize = counts.iter().sum();
        figure.text(left - 10.0, base - row_height / 2.0 + 9.0, format!("n = {studies}"), 11.0, Anchor::Right, Ink::Muted);
        for (bin, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let height = (row_height - 16.0) * count as f32 / tallest as f32;
            let bar = width / BINS as f32;
            figure.rectangle(left + bar * bin as f32 + 0.75, base - height, bar - 1.5, height, Ink::Series(class), 0.9);
        }
    }
    figure.dashes(axes.point(0.5, 0.0), axes.point(0.5, 1.0), 1.25, Ink::Muted);
    Some(figure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::{Person, Sex};
    use crate::report::figure::tests::assert_legible;
    use crate::report::tests::example;
    use crate::report::{compared_curves, curves, loss_panels};

    fn size(figure: &Figure) -> (u32, u32) {
        let decoded = image::load_from_memory(&figure.png()).unwrap();
        (decoded.width(), decoded.height())
    }

    #[test]
    fn pictures_decode_to_twice_their_size() {
        let evaluation = example(3);
        let scores = evaluation.scores().unwrap();
        for figure in [
            confusion(&evaluation, &scores),
            roc(&evaluation, &scores),
            reliability(&evaluation).unwrap(),
            confidence(&evaluation).unwrap(),
            distribution(&evaluation).unwrap(),
            curves(&evaluation.history, ""),
            compared_curves(&[("a".to_owned(), evaluation.history.clone()), ("b".to_owned(), Vec::new())], "note"),
            loss_panels(&[("a".to_owned(), vec![&*evaluation.history, &[]]), ("b".to_owned(), Vec::new())], 1.1, "note"),
            demographics(&Demographics::count([]), ""),
        ] {
            assert_legible(&figure);
            let svg = figure.svg();
            let wanted = |name: &str| {
                let from = svg.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
                svg[from..].split('"').next().unwrap().parse::<f32>().unwrap()
            };
            let (width, height) = size(&figure);
            assert_eq!((width as f32, height as f32), (2.0 * wanted("width"), 2.0 * wanted("height")));
        }
    }

    #[test]
    fn corners_keep_the_shape() {
        let stairs = vec![[0.0, 0.0], [0.0, 0.1], [0.0, 0.2], [0.1, 0.2], [0.2, 0.3], [0.2, 1.0], [0.5, 1.0], [1.0, 1.0]];
        assert_eq!(corners(stairs), [[0.0, 0.0], [0.0, 0.2], [0.1, 0.2], [0.2, 0.3], [0.2, 1.0], [1.0, 1.0]]);
        assert_eq!(corners(vec![]), [[0f64; 2]; 0]);
        assert_eq!(corners(vec![[0.5, 0.5]]).len(), 1);
    }

    #[test]
    fn ticks_are_round() {
        let labels = |range, count| {
            let ticks = ticks(range, count);
            ticks.iter().map(|&tick| label(tick, &ticks)).collect::<Vec<_>>()
        };
        assert_eq!(labels([0.0, 1.0], 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels([0.0, 0.13], 5), ["0.00", "0.05", "0.10"]);
        assert_eq!(labels([0.0, 2.1e30], 3), ["0", "1.0e30", "2.0e30"]);
        assert_eq!(ticks([1.0, 300.0], 7), [50.0, 100.0, 150.0, 200.0, 250.0, 300.0]);
        assert_eq!(ticks([2.0, 2.0], 5), [2.0]);
    }

    #[test]
    fn an_empty_evaluation_still_draws() {
        let mut evaluation = example(3);
        evaluation.patients.clear();
        let scores = evaluation.scores().unwrap();
        confusion(&evaluation, &scores).png();
        assert!(roc(&evaluation, &scores).svg().contains("undefined"));
        assert!(reliability(&evaluation).is_none() && distribution(&evaluation).is_none() && confidence(&evaluation).is_none());
    }

    #[test]
    fn every_patient_has_a_bar() {
        let person = |age: Option<f64>, sex| Some(Person { age_years: age, sex });
        let people = [
            person(Some(61.0), Some(Sex::Male)),
            person(Some(68.0), Some(Sex::Male)),
            person(Some(45.0), Some(Sex::Female)),
            person(Some(72.0), None),
            None,
        ];
        let figure = demographics(&Demographics::count(people), "note");
        let svg = figure.svg();
        assert!(svg.contains("Age and sex · 5 patients") && svg.contains("Age 60–69: 2 men, 0 women, 0 sex unknown."), "{svg}");
        for text in [">men 2<", ">women 1<", ">sex unknown 2<", ">50–59<", ">unknown<"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert!(!svg.contains("other") && !svg.contains("NaN"));
        assert_legible(&figure);
    }

    #[test]
    fn two_classes_share_one_curve() {
        let evaluation = example(2);
        let svg = roc(&evaluation, &evaluation.scores().unwrap()).svg();
        assert!(svg.contains("Metastatic") && svg.matches("AUC").count() == 2, "the key and the spoken title");
    }
}
