//! How scores hold up on worse scans, as a figure: a dot a condition with its interval, beside the scans as they are and chance.

use super::Evaluation;
use super::figure::Figure;
use super::figures::{Axes, percent, short, ticks};
use super::palette::Ink;
use crate::draw::Anchor;
use crate::metrics::{Change, Stress, Stressed};
use crate::text::counted;

/// One score of a condition.
struct Dot {
    value: Option<f64>,
    interval: Option<[f64; 2]>,
    change: Option<Change>,
}

/// The accuracies under each condition: of the classes, and beside it of metastatic or not where they merge.
pub fn stress(evaluation: &Evaluation, found: &Stress) -> Figure {
    const ROW: f32 = 21.0;
    const GAP: f32 = 9.0;
    const NAMES: f32 = 204.0;
    const PANEL: f32 = 230.0;
    const VALUES: f32 = 62.0;
    let of_classes = |one: &Stressed| Dot { value: one.accuracy, interval: one.accuracy_interval, change: one.accuracy_change };
    let mut panels = vec![(
        counted(evaluation.model.classes.len(), "class"),
        found.chance,
        found.conditions.iter().map(of_classes).collect::<Vec<Dot>>(),
    )];
    let merged = found.conditions.iter().map(|one| {
        let merged = one.metastatic.as_ref()?;
        Some(Dot { value: merged.accuracy, interval: merged.accuracy_interval, change: merged.accuracy_change })
    });
    if let Some(dots) = merged.collect::<Option<Vec<Dot>>>() {
        panels.push((format!("{} or not", evaluation.positive_name().unwrap_or("Metastatic")), found.chance_metastatic, dots));
    }
    // The height of each row; a little space where another kind begins.
    let mut y = 34.0;
    let heights: Vec<f32> = (0..found.conditions.len())
        .map(|at| {
            let is_new = at > 0 && found.conditions[at].kind != found.conditions[at - 1].kind;
            y += if is_new { ROW + GAP } else { ROW };
            y
        })
        .collect();
    let bottom = y + ROW / 2.0 + 3.0;
    let each = found.conditions.iter().map(|one| format!("{}: {}.", one.condition, percent(one.accuracy)));
    let spoken = format!("Accuracy under each condition. {}", each.collect::<Vec<_>>().join(" "));
    let studies = found.conditions.first().map_or(0, |one| one.studies);
    let width = NAMES + panels.len() as f32 * (PANEL + VALUES);
    let mut figure = Figure::new(width, bottom + 62.0, spoken)
        .framed(format!("Accuracy on worse scans · {}", counted(studies, "study")), evaluation.caveat());
    for (one, &y) in found.conditions.iter().zip(&heights) {
        figure.text(NAMES - 12.0, y, short(&one.condition, 30), 12.0, Anchor::Right, Ink::Text);
    }
    let lowest = panels.iter().flat_map(|(_, chance, dots)| {
        dots.iter().flat_map(|dot| dot.interval.map(|[low, _]| low).into_iter().chain(dot.value)).chain(*chance)
    });
    let lowest = (lowest.fold(0.9, f64::min) * 10.0 - 0.2).floor().max(0.0) / 10.0;
    for (at, (heading, chance, dots)) in panels.iter().enumerate() {
        let left = NAMES + at as f32 * (PANEL + VALUES);
        let axes = Axes { left, top: 34.0, width: PANEL, height: bottom - 34.0, x: [lowest, 1.0], y: [0.0, 1.0] };
        figure.bold(left, 14.0, heading, 13.0, Anchor::Left, Ink::Text);
        axes.draw(&mut figure, &ticks(axes.x, 4), &[], ["Accuracy", ""]);
        let line = |value: f64| [axes.point(value, 0.0), axes.point(value, 1.0)];
        if let Some(chance) = chance {
            let [from, to] = line(*chance);
            figure.dashes(from, to, 1.25, Ink::Muted);
        }
        if let Some(unchanged) = dots.first().and_then(|dot| dot.value) {
            figure.polyline(line(unchanged).to_vec(), 1.25, Ink::Muted);
        }
        for (dot, &y) in dots.iter().zip(&heights) {
            let Some(value) = dot.value else { continue };
            let x = |value: f64| axes.point(value, 0.0)[0];
            if let Some([low, high]) = dot.interval {
                figure.polyline(vec![[x(low), y], [x(high), y]], 2.0, Ink::Series(0));
            }
            figure.disc([x(value), y], 4.5, Ink::Series(0));
            let (beside, words) = (left + PANEL + 10.0, percent(Some(value)));
            match dot.change.is_some_and(|change| change.is_clear()) {
                true => figure.bold(beside, y, words, 11.0, Anchor::Left, Ink::Text),
                false => figure.text(beside, y, words, 11.0, Anchor::Left, Ink::Muted),
            }
        }
    }
    let key = "line: as they are · dashes: always the commonest class · bold: differs by more than chance";
    figure.text(width / 2.0, bottom + 52.0, key, 11.0, Anchor::Center, Ink::Muted);
    figure
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::metrics::Trial;
    use crate::report::tests::example;

    /// The example's patients, as they are and with all probabilities moved to the next class.
    pub(in crate::report) fn example_stress(evaluation: &Evaluation) -> Stress {
        let rotated = |row: &Vec<f32>| {
            let mut row = row.clone();
            row.rotate_right(1);
            Some(row)
        };
        let predictions = evaluation.predictions().unwrap();
        let probabilities = predictions.probabilities.iter().map(rotated).collect();
        let trial = Trial { kind: "views", condition: "anterior view alone".to_owned(), probabilities, unlike: vec![true] };
        Stress::new(&predictions, Vec::new(), &[trial], evaluation.bootstrap).unwrap()
    }

    #[test]
    fn the_figure_has_a_panel_for_each_question() {
        for (classes, names) in [(3, ["3 classes", "Metastatic or not"]), (2, ["2 classes", "Metastatic or not"])] {
            let evaluation = example(classes);
            let found = example_stress(&evaluation);
            let svg = stress(&evaluation, &found).svg();
            assert!(names.iter().all(|name| svg.contains(name)) && svg.contains("anterior view alone"), "{svg}");
            assert!(svg.matches("<circle").count() == 4 && svg.contains("phantoms"));
        }
        let mut other = example(3);
        other.model.classes[0] = "benign".to_owned();
        let svg = stress(&other, &example_stress(&other)).svg();
        assert!(!svg.contains("Metastatic") && svg.matches("<circle").count() == 2);
        let none = Evaluation { patients: Vec::new(), ..example(3) };
        let found = Stress::new(&none.predictions().unwrap(), Vec::new(), &[], none.bootstrap).unwrap();
        assert_eq!(stress(&none, &found).svg().matches("<circle").count(), 0);
    }
}
