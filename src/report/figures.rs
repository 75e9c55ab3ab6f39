//! The figures: confusion matrix, ROC, reliability, distribution of probabilities, training curves, age and sex.

use super::Evaluation;
use super::figure::{Figure, Ink};
use crate::archive::people::{BySex, Demographics};
use crate::draw::Anchor;
use crate::metrics::{self, BINS, CalibrationError, Epoch, RocPoint, Scores};
use crate::text::counted;

/// The plotting area of a chart with linear axes.
struct Axes {
    left: f32,
    top: f32,
    width: f32,
    height: f32,
    x: [f64; 2],
    y: [f64; 2],
}

impl Axes {
    fn point(&self, x: f64, y: f64) -> [f32; 2] {
        let share = |value: f64, [low, high]: [f64; 2]| ((value - low) / (high - low)) as f32;
        // What lies outside runs along the edge; NaN stays NaN and breaks the line.
        [
            self.left + self.width * share(x, self.x).clamp(0.0, 1.0),
            self.top + self.height * (1.0 - share(y, self.y).clamp(0.0, 1.0)),
        ]
    }

    /// Grid, tick labels and axis names.
    fn draw(&self, figure: &mut Figure, x_ticks: &[f64], y_ticks: &[f64], names: [&str; 2]) {
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

/// A tick with as many decimals as its neighbours need.
fn label(tick: f64, ticks: &[f64]) -> String {
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

fn percent(value: Option<f64>) -> String {
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
            figure.rectangle(x, y, cell_width, cell_height, Ink::Accent, (0.06 + 0.94 * share) as f32);
            let ink = if share > 0.45 { Ink::White } else { Ink::Text };
            let (x, y) = (x + cell_width / 2.0, y + cell_height / 2.0);
            figure.bold(x, y - 8.0, studies.to_string(), 20.0, Anchor::Center, ink);
            figure.text(x, y + 15.0, format!("{:.1} %", 100.0 * share), 11.0, Anchor::Center, ink);
        }
    }
    for (class, name) in classes.iter().enumerate() {
        let x = left + class as f32 * (cell_width + gap) + cell_width / 2.0;
        figure.bold(x, 40.0, short(name, 13), 13.0, Anchor::Center, Ink::Text);
        figure.text(x, bottom + 18.0, percent(scores.classes[class].scores.precision), 12.0, Anchor::Center, Ink::Muted);
    }
    figure
}

/// A key: for each curve its colour, name and figure, lines downwards from (`x`, `y`).
fn key(figure: &mut Figure, x: f32, y: f32, lines: &[(Ink, String)]) {
    let longest = lines.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0) as f32;
    figure.rectangle(x - 8.0, y - 13.0, 38.0 + 7.0 * longest, 19.0 * lines.len() as f32 + 7.0, Ink::Ground, 0.85);
    for (line, (ink, text)) in lines.iter().enumerate() {
        let y = y + 19.0 * line as f32;
        figure.polyline(vec![[x, y], [x + 18.0, y]], 3.0, *ink);
        figure.text(x + 26.0, y, text, 12.0, Anchor::Left, Ink::Text);
    }
}

/// Receiver operating characteristic: each class against the rest, and metastatic against not.
pub fn roc(evaluation: &Evaluation, scores: &Scores) -> Figure {
    let classes = &evaluation.model.classes;
    let (truths, probabilities) = columns(evaluation);
    let mut curves = Vec::new();
    if let Some(ranked) = metrics::metastatic_ranking(classes, &truths, &probabilities) {
        let auc = scores.metastatic.as_ref().and_then(|metastatic| metastatic.auc);
        curves.push(("Metastatic".to_owned(), Ink::Accent, 3.0, auc, metrics::roc(&ranked)));
    }
    // Of two classes each is the other's mirror: one curve says it.
    let single = if classes.len() == 2 && !curves.is_empty() { 0 } else { classes.len() };
    for (class, name) in classes.iter().enumerate().take(single) {
        let ranked = metrics::one_against_rest(&truths, &probabilities, class);
        curves.push((short(name, 16), Ink::Series(class), 1.75, scores.classes[class].auc, metrics::roc(&ranked)));
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
        figure.polyline(corners.into_iter().map(|[x, y]| axes.point(x, y)).collect(), *width, *ink);
    }
    let lines: Vec<(Ink, String)> =
        curves.iter().map(|(name, ink, _, auc, _)| (*ink, format!("{name}  AUC {}", said(*auc)))).collect();
    key(&mut figure, 232.0, 364.0 - 19.0 * lines.len() as f32, &lines);
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

/// Predicted probability of metastasis against the observed share, in tenths; `None` where the classes do not merge or no study
/// is there.
pub fn reliability(evaluation: &Evaluation) -> Option<Figure> {
    let (truths, probabilities) = columns(evaluation);
    let ranked = metrics::metastatic_ranking(&evaluation.model.classes, &truths, &probabilities)?;
    let brier = metrics::brier(&ranked)?;
    let error = metrics::calibration_error(&ranked, BINS)?;
    let names = ["Predicted probability of metastasis", "Observed share"];
    Some(diagram("Calibration: probability of metastasis", names, &error, format!("Brier score {brier:.3}"), evaluation))
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
    for (line, (text, size, ink)) in
        [(score, 12.0, Ink::Text), (errors, 12.0, Ink::Text), ("disc area: studies".to_owned(), 11.0, Ink::Muted)]
            .into_iter()
            .enumerate()
    {
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
        ("sex unknown", Ink::Muted, |patients| patients.unknown),
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
        x += 7.0 * text.chars().count() as f32 + 18.0;
    }
    figure
}

/// How the probability of metastasis is distributed in each true class: one histogram a class.
pub fn distribution(evaluation: &Evaluation) -> Option<Figure> {
    const BINS: usize = 25;
    let classes = &evaluation.model.classes;
    let negative = metrics::no_metastasis(classes).filter(|_| classes.len() > 1 && !evaluation.patients.is_empty())?;
    let mut counts = vec![[0usize; BINS]; classes.len()];
    for row in &evaluation.patients {
        let p = metrics::metastatic_probability(&row.probabilities, negative);
        counts[row.truth][((p * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let tallest = counts.iter().flatten().copied().max().unwrap_or(1).max(1);
    let (left, top, width, row_height) = (92.0, 12.0, 334.0, 364.0 / classes.len() as f32);
    let mut figure = Figure::new(452.0, 432.0, "Histograms of the predicted probability of metastasis, one a true class.")
        .framed("Predicted probability of metastasis by true class", evaluation.caveat());
    let axes = Axes { left, top, width, height: 364.0, x: [0.0, 1.0], y: [0.0, 1.0] };
    axes.draw(&mut figure, &SHARES, &[], ["Predicted probability of metastasis", ""]);
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

/// One curve over the epochs.
struct Curve {
    name: &'static str,
    ink: Ink,
    measure: fn(&Epoch) -> Option<f64>,
}

const LOSSES: [Curve; 2] = [
    Curve { name: "training", ink: Ink::Series(4), measure: |row| Some(row.train_loss) },
    Curve { name: "held out", ink: Ink::Series(1), measure: Epoch::held_out_loss },
];

const SHARES_RIGHT: [Curve; 4] = [
    Curve { name: "training", ink: Ink::Series(4), measure: |row| Some(row.train_accuracy) },
    Curve { name: "held out", ink: Ink::Series(1), measure: Epoch::held_out_accuracy },
    Curve { name: "its F1", ink: Ink::Series(0), measure: |row| row.test_f1 },
    Curve { name: "its AUC", ink: Ink::Series(2), measure: Epoch::held_out_auc },
];

/// Loss on the left; accuracy, F1 and AUC, as far as measured, on the right; over the epochs. `note` stands beneath.
pub fn curves(history: &[Epoch], note: &str) -> Figure {
    let last = |curve: &Curve| history.iter().rev().find_map(curve.measure);
    let spoken = format!(
        "Training curves over {}. Last training loss {}, last held-out accuracy {}.",
        counted(history.len(), "epoch"),
        last(&LOSSES[0]).map_or("none".to_owned(), |loss| format!("{loss:.3}")),
        percent(last(&SHARES_RIGHT[1])),
    );
    let mut figure = Figure::new(936.0, 372.0, spoken).framed("Training", note);
    let (epochs, epoch_ticks) = epoch_axis(history.iter().map(|row| row.epoch), 7);
    let ceiling = ceiling(history.iter().flat_map(|row| LOSSES.map(|curve| (curve.measure)(row))).flatten().collect(), 0.9);
    let panels = [
        (62.0, "Loss (cross-entropy)", [0.0, ceiling], LOSSES.as_slice()),
        (536.0, "Accuracy", [0.0, 1.0], SHARES_RIGHT.as_slice()),
    ];
    for (left, name, range, curves) in panels {
        let axes = Axes { left, top: 40.0, width: 378.0, height: 280.0, x: epochs, y: range };
        axes.draw(&mut figure, &epoch_ticks, &ticks(range, 5), ["Epoch", name]);
        let mut shown = 0.0;
        for &Curve { name, ink, measure } in curves {
            if line(&mut figure, &axes, history, measure, ink) {
                figure.polyline(vec![[left + shown, 18.0], [left + shown + 18.0, 18.0]], 3.0, ink);
                figure.text(left + shown + 25.0, 18.0, name, 12.0, Anchor::Left, Ink::Text);
                shown += 42.0 + 6.6 * name.len() as f32;
            }
        }
    }
    figure
}

/// The most runs of [`compared_curves`]: as many as there are colours that can be told apart.
pub const MOST_RUNS: usize = 6;

/// Several runs, each by its name: training loss, held-out loss and held-out AUC over the epochs, a panel each, a colour a run.
/// `note` stands beneath.
pub fn compared_curves(runs: &[(String, Vec<Epoch>)], note: &str) -> Figure {
    let last = |measure: fn(&Epoch) -> Option<f64>, rows: &[Epoch]| match rows.iter().rev().find_map(measure) {
        Some(value) => format!("{value:.3}"),
        None => "none".to_owned(),
    };
    let each = runs.iter().map(|(name, rows)| {
        let (loss, auc) = (last(Epoch::held_out_loss, rows), last(Epoch::held_out_auc, rows));
        format!("{name}: {}, last held-out loss {loss}, AUC {auc}.", counted(rows.len(), "epoch"))
    });
    let spoken = format!("Training curves of {}. {}", counted(runs.len(), "run"), each.collect::<Vec<_>>().join(" "));
    let mut figure = Figure::new(936.0, 352.0, spoken).framed("Training", note);
    let rows = || runs.iter().flat_map(|(_, rows)| rows);
    let (epochs, epoch_ticks) = epoch_axis(rows().map(|row| row.epoch), 5);
    // Runs are compared where they are good: what the worse half of the measurements shows may run along the edge.
    let losses = |measure: fn(&Epoch) -> Option<f64>| [0.0, ceiling(rows().filter_map(measure).collect(), 0.5)];
    type Panel = (f32, &'static str, [f64; 2], fn(&Epoch) -> Option<f64>);
    let panels: [Panel; 3] = [
        (62.0, "Training loss", losses(|row| Some(row.train_loss)), |row| Some(row.train_loss)),
        (375.0, "Held-out loss", losses(Epoch::held_out_loss), Epoch::held_out_loss),
        (688.0, "Held-out AUC", [0.4, 1.0], Epoch::held_out_auc),
    ];
    for (left, name, range, measure) in panels {
        let axes = Axes { left, top: 40.0, width: 230.0, height: 260.0, x: epochs, y: range };
        let is_cut = rows().filter_map(measure).any(|value| value > range[1]);
        let name = if is_cut { format!("{name} (more runs along the edge)") } else { name.to_owned() };
        axes.draw(&mut figure, &epoch_ticks, &ticks(range, 6), ["Epoch", &name]);
        for (run, (_, rows)) in runs.iter().enumerate() {
            line(&mut figure, &axes, rows, measure, Ink::Series(run));
        }
    }
    let (most, mut left) = ((856.0 / runs.len().max(1) as f32 - 42.0) / 6.6, 62.0);
    for (run, (name, _)) in runs.iter().enumerate() {
        let name = short(name, most as usize);
        figure.polyline(vec![[left, 18.0], [left + 18.0, 18.0]], 3.0, Ink::Series(run));
        let width = 42.0 + 6.6 * name.chars().count() as f32;
        figure.text(left + 25.0, 18.0, name, 12.0, Anchor::Left, Ink::Text);
        left += width;
    }
    figure
}

/// One step of a learning-rate range test, as [`rate_curve`] draws it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateStep {
    /// Learning rate.
    pub rate: f64,
    /// The step's loss.
    pub loss: f64,
    /// The mean of the losses so far.
    pub smoothed_loss: f64,
}

/// A learning-rate range test: loss over the logarithm of the rate, and a mark on the smoothed curve for each rate that is
/// proposed, by its name. `note` stands beneath.
pub fn rate_curve(steps: &[RateStep], proposals: &[(&str, f64)], note: &str) -> Figure {
    let said = proposals.iter().map(|(name, rate)| format!("{name}: {rate:.1e}.")).collect::<Vec<_>>().join(" ");
    let said = if said.is_empty() { "No rate is proposed.".to_owned() } else { said };
    let spoken = format!("Loss over the learning rate, {}. {said}", counted(steps.len(), "step"));
    let mut figure = Figure::new(596.0, 392.0, spoken).framed("Learning-rate range test", note);
    let powers = |pick: fn(f64, f64) -> f64, empty| steps.iter().map(|step| step.rate.log10()).reduce(pick).unwrap_or(empty);
    let (first, last) = ((powers(f64::min, -1.0) + 1e-3).floor(), (powers(f64::max, 0.0) - 1e-3).ceil());
    let last = last.max(first + 1.0);
    // What diverges runs along the edge.
    let begin = steps.first().map_or(1.0, |step| step.smoothed_loss);
    let most = steps.iter().map(|step| step.smoothed_loss).fold(begin, f64::max).min(2.0 * begin);
    let axes = Axes { left: 62.0, top: 40.0, width: 516.0, height: 300.0, x: [first, last], y: [0.0, 1.05 * most.max(1e-6)] };
    axes.draw(&mut figure, &[], &ticks(axes.y, 6), ["Learning rate", "Loss"]);
    let bottom = axes.top + axes.height;
    for power in first as i32..=last as i32 {
        let [x, _] = axes.point(f64::from(power), 0.0);
        figure.polyline(vec![[x, axes.top], [x, bottom + 4.0]], 1.0, Ink::Grid);
        figure.text(x, bottom + 14.0, format!("1e{power}"), 11.0, Anchor::Center, Ink::Muted);
    }
    let line = |value: fn(&RateStep) -> f64| steps.iter().map(|step| axes.point(step.rate.log10(), value(step))).collect();
    figure.polyline(line(|step| step.loss), 1.0, Ink::Muted);
    figure.polyline(line(|step| step.smoothed_loss), 2.5, Ink::Series(4));
    for (at, &(name, rate)) in proposals.iter().enumerate() {
        let Some(step) = steps.iter().min_by(|a, b| (a.rate / rate).ln().abs().total_cmp(&(b.rate / rate).ln().abs())) else {
            continue;
        };
        let point @ [x, _] = axes.point(rate.log10(), step.smoothed_loss);
        let ink = Ink::Series([1, 2][at % 2]);
        figure.dashes([x, axes.top], [x, bottom], 1.25, ink);
        figure.disc(point, 5.0, ink);
        // Above each other, so that they can be read where the rates are close; on the side where there is room.
        let (x, anchor) = if x > axes.left + axes.width / 2.0 { (x - 8.0, Anchor::Right) } else { (x + 8.0, Anchor::Left) };
        let text = format!("{name} {rate:.1e}");
        figure.text(x, bottom - 12.0 - 17.0 * at as f32, text, 12.0, anchor, ink);
    }
    for (x, name, ink, width) in [(62.0, "each step", Ink::Muted, 1.0), (170.0, "smoothed", Ink::Series(4), 3.0)] {
        figure.polyline(vec![[x, 18.0], [x + 18.0, 18.0]], width, ink);
        figure.text(x + 25.0, 18.0, name, 12.0, Anchor::Left, Ink::Text);
    }
    figure
}

/// Training and held-out loss over the epochs: a panel a network by its name, three in a row, with a line for each of its runs. `guess`
/// is the loss of a network that guesses, a dashed line. `note` stands beneath.
pub fn loss_panels(networks: &[(String, Vec<&[Epoch]>)], guess: f64, note: &str) -> Figure {
    const ACROSS: usize = 3;
    let least = |runs: &[&[Epoch]]| runs.iter().copied().flatten().filter_map(Epoch::held_out_loss).min_by(f64::total_cmp);
    let each = networks.iter().map(|(name, runs)| {
        let least = least(runs).map_or("none".to_owned(), |loss| format!("{loss:.3}"));
        format!("{name}: {}, least held-out loss {least}.", counted(runs.len(), "run"))
    });
    let spoken = format!("Losses of {}. {}", counted(networks.len(), "network"), each.collect::<Vec<_>>().join(" "));
    let (top, high, pitch) = (56.0, 140.0, 214.0);
    let height = top + pitch * networks.len().div_ceil(ACROSS).max(1) as f32 - 18.0;
    let mut figure = Figure::new(936.0, height, spoken).framed("Losses", note);
    let rows = || networks.iter().flat_map(|(_, runs)| runs.iter().copied().flatten());
    let (epochs, epoch_ticks) = epoch_axis(rows().map(|row| row.epoch), 5);
    let losses = rows().flat_map(|row| LOSSES.map(|curve| (curve.measure)(row))).flatten().chain([guess]).collect();
    let range = [0.0, ceiling(losses, 0.9).max(1.2 * guess)];
    for (at, (name, runs)) in networks.iter().enumerate() {
        let (left, top) = (62.0 + 313.0 * (at % ACROSS) as f32, top + pitch * (at / ACROSS) as f32);
        let axes = Axes { left, top, width: 230.0, height: high, x: epochs, y: range };
        axes.draw(&mut figure, &epoch_ticks, &ticks(range, 4), ["Epoch", "Loss"]);
        figure.bold(left, top - 12.0, short(name, 34), 12.0, Anchor::Left, Ink::Text);
        figure.dashes(axes.point(epochs[0], guess), axes.point(epochs[1], guess), 1.25, Ink::Muted);
        for run in runs {
            for Curve { measure, ink, .. } in LOSSES {
                line(&mut figure, &axes, run, measure, ink);
            }
        }
    }
    let mut left = 62.0;
    for Curve { name, ink, .. } in LOSSES {
        figure.polyline(vec![[left, 16.0], [left + 18.0, 16.0]], 3.0, ink);
        figure.text(left + 25.0, 16.0, name, 12.0, Anchor::Left, Ink::Text);
        left += 42.0 + 6.6 * name.len() as f32;
    }
    figure.dashes([left, 16.0], [left + 18.0, 16.0], 1.25, Ink::Muted);
    figure.text(left + 25.0, 16.0, "of guessing", 12.0, Anchor::Left, Ink::Text);
    figure
}

/// From the first epoch to the last, and about `count` whole numbers between.
fn epoch_axis(epochs: impl Iterator<Item = usize> + Clone, count: usize) -> ([f64; 2], Vec<f64>) {
    let range = match (epochs.clone().min(), epochs.max()) {
        (Some(first), Some(last)) if first < last => [first as f64, last as f64],
        (Some(only), _) => [only as f64 - 1.0, only as f64 + 1.0],
        (None, _) => [0.0, 1.0],
    };
    let mut ticks = ticks(range, count);
    ticks.retain(|tick| tick.fract() == 0.0);
    (range, ticks)
}

/// Where an axis of losses ends. A first epoch that explodes must not flatten the rest: it is at most twice the loss that this share
/// of them stays below.
fn ceiling(mut losses: Vec<f64>, share: f64) -> f64 {
    losses.retain(|loss| loss.is_finite());
    losses.sort_unstable_by(f64::total_cmp);
    match losses.as_slice() {
        [] => 1.0,
        sorted => {
            let most = sorted.len() - 1;
            sorted[most].min(2.0 * sorted[(most as f64 * share) as usize]).max(1e-6) * 1.05
        }
    }
}

/// What was measured over the epochs, as a line with a dot at its end. Whether there was anything.
fn line(figure: &mut Figure, axes: &Axes, rows: &[Epoch], measure: fn(&Epoch) -> Option<f64>, ink: Ink) -> bool {
    let measured: Vec<[f32; 2]> =
        rows.iter().filter_map(|row| measure(row).map(|value| axes.point(row.epoch as f64, value))).collect();
    let Some(&end) = measured.last() else { return false };
    if measured.len() <= 40 {
        measured.iter().filter(|point| point[1].is_finite()).for_each(|&point| figure.disc(point, 2.25, ink));
    }
    figure.polyline(measured, 2.0, ink);
    if end[1].is_finite() {
        figure.disc(end, 3.5, ink);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::{Person, Sex};
    use crate::report::tests::example;

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
        assert_eq!(ticks([1.0, 300.0], 7), [50.0, 100.0, 150.0, 200.0, 250.0, 300.0]);
        assert_eq!(ticks([2.0, 2.0], 5), [2.0]);
    }

    #[test]
    fn curves_of_anything_are_drawn() {
        curves(&[], "").png();
        let one = Epoch { epoch: 1, train_loss: f64::NAN, ..Epoch::default() };
        curves(&[one], "note").png();
        let exploding = [1e30, 2.0, f64::INFINITY, 0.5].iter().enumerate();
        let history: Vec<Epoch> =
            exploding.map(|(epoch, &train_loss)| Epoch { epoch: epoch + 1, train_loss, ..Epoch::default() }).collect();
        let svg = curves(&history, "").svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        compared_curves(&[], "").png();
        let runs =
            [("paper".to_owned(), history), ("a name that is much too long for its place in the key ".repeat(9), vec![one])];
        let svg = compared_curves(&runs, "").svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains(">paper<") && svg.contains("2 runs"), "{svg}");
        let networks: Vec<(String, Vec<&[Epoch]>)> =
            (0..7).map(|at| (format!("network {at}"), runs.iter().map(|(_, history)| &**history).collect())).collect();
        for networks in [&networks[..], &[]] {
            let svg = loss_panels(networks, 1.1, "").svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert_eq!(svg.matches(">network ").count(), networks.len());
        }
    }

    #[test]
    fn a_range_test_has_a_mark_for_each_proposal() {
        let step = |at: i32| {
            let loss = if at > 15 { f64::from(at - 14) } else { 1.1 - 0.02 * f64::from(at) };
            RateStep { rate: 1e-7 * 10f64.powf(f64::from(at) / 3.0), loss, smoothed_loss: loss }
        };
        let steps: Vec<RateStep> = (0..=20).map(step).collect();
        let svg = rate_curve(&steps, &[("steepest", 1e-4), ("minimum / 10", 2e-3)], "note").svg();
        assert!(svg.contains(">steepest 1.0e-4<") && svg.contains(">minimum / 10 2.0e-3<"), "{svg}");
        assert!(svg.contains(">1e-7<") && svg.contains(">1e0<") && svg.contains("21 steps"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        for steps in [&[][..], &steps[..1]] {
            let svg = rate_curve(steps, &[], "").svg();
            assert!(svg.contains("No rate is proposed.") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
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
        figure.png();
    }

    #[test]
    fn two_classes_share_one_curve() {
        let evaluation = example(2);
        let svg = roc(&evaluation, &evaluation.scores().unwrap()).svg();
        assert!(svg.contains("Metastatic") && svg.matches("AUC").count() == 2, "the key and the spoken title");
    }
}
