//! The figures of a training: losses and scores over the epochs, of one run or several, and a learning-rate range test.

use super::figure::{Figure, Ink, key_width};
use super::figures::{Axes, percent, short, ticks};
use super::palette::SERIES;
use crate::draw::Anchor;
use crate::metrics::Epoch;
use crate::text::counted;

/// The width of a curve.
const CURVE: f32 = 2.0;

/// One curve over the epochs.
struct Curve {
    name: &'static str,
    ink: Ink,
    measure: fn(&Epoch) -> Option<f64>,
}

const LOSSES: [Curve; 2] = [
    Curve { name: "training", ink: Ink::Series(4), measure: |row| Some(row.train_loss) },
    Curve { name: "held out", ink: Ink::Series(0), measure: Epoch::held_out_loss },
];

const SHARES_RIGHT: [Curve; 4] = [
    Curve { name: "training", ink: Ink::Series(4), measure: |row| Some(row.train_accuracy) },
    Curve { name: "held out", ink: Ink::Series(0), measure: Epoch::held_out_accuracy },
    Curve { name: "its F1", ink: Ink::Series(1), measure: |row| row.test_f1 },
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
                shown += figure.key(left + shown, 18.0, name, CURVE, ink);
            }
        }
    }
    figure
}

/// The most runs of [`compared_curves`]: as many as there are colours that can be told apart.
pub const MOST_RUNS: usize = SERIES;

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
    let (most, mut left) = (872.0 / runs.len().max(1) as f32, 62.0);
    for (run, (name, _)) in runs.iter().enumerate() {
        let fits = |length: &usize| key_width(&short(name, *length)) <= most;
        let length = (1..=name.chars().count()).rev().find(fits).unwrap_or(1);
        left += figure.key(left, 18.0, &short(name, length), CURVE, Ink::Series(run));
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
    figure.curve(line(|step| step.smoothed_loss), 2.5, Ink::Text);
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
        figure.text(x, bottom - 12.0 - 17.0 * at as f32, text, 12.0, anchor, Ink::Text);
    }
    let smoothed = 62.0 + figure.key(62.0, 18.0, "each step", 1.0, Ink::Muted);
    figure.key(smoothed, 18.0, "smoothed", 2.5, Ink::Text);
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
        left += figure.key(left, 16.0, name, CURVE, ink);
    }
    figure.dashes([left, 16.0], [left + 30.0, 16.0], 1.25, Ink::Muted);
    figure.text(left + 38.0, 16.0, "of guessing", 12.0, Anchor::Left, Ink::Text);
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
    // Dots would hide the gaps of a line that is not whole.
    if measured.len() <= 40 && ink.dash().is_empty() {
        measured.iter().filter(|point| point[1].is_finite()).for_each(|&point| figure.disc(point, 2.25, ink));
    }
    figure.curve(measured, CURVE, ink);
    if end[1].is_finite() {
        figure.disc(end, 3.5, ink);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::figure::tests::assert_legible;
    use super::*;

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
        let figure = compared_curves(&runs, "");
        assert_legible(&figure);
        let svg = figure.svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains(">paper<") && svg.contains("2 runs"), "{svg}");
        let networks: Vec<(String, Vec<&[Epoch]>)> =
            (0..7).map(|at| (format!("network {at}"), runs.iter().map(|(_, history)| &**history).collect())).collect();
        for networks in [&networks[..], &[]] {
            let figure = loss_panels(networks, 1.1, "");
            assert_legible(&figure);
            let svg = figure.svg();
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
        let figure = rate_curve(&steps, &[("steepest", 1e-4), ("minimum / 10", 2e-3)], "note");
        assert_legible(&figure);
        let svg = figure.svg();
        assert!(svg.contains(">steepest 1.0e-4<") && svg.contains(">minimum / 10 2.0e-3<"), "{svg}");
        assert!(svg.contains(">1e-7<") && svg.contains(">1e0<") && svg.contains("21 steps"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        for steps in [&[][..], &steps[..1]] {
            let svg = rate_curve(steps, &[], "").svg();
            assert!(svg.contains("No rate is proposed.") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
