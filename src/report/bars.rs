//! Bars in panels: how many of each group fall into each category.

use super::figure::{Figure, Ink};
use super::figures::{short, ticks};
use crate::draw::{Anchor, Letters};

/// One panel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bars {
    /// What stands above it.
    pub title: String,
    /// Each category and the count of each group in it, downwards.
    pub categories: Vec<(String, Vec<usize>)>,
}

const PANEL_WIDTH: f32 = 456.0;
/// Room for a category's name.
const NAMES: f32 = 112.0;
/// Room for the figures behind the longest bar.
const FIGURES: f32 = 84.0;
const BAR: f32 = 13.0;
const GAP: f32 = 9.0;
const TITLE: f32 = 34.0;

/// Panels, two beside each other: a bar a group in each category, as long as its share of its group, with the share and the count
/// behind it. `heading` and `note` stand in a file above and beneath.
pub fn bars(groups: &[String], panels: &[Bars], heading: &str, note: &str) -> Figure {
    let totals = |panel: &Bars| -> Vec<usize> {
        (0..groups.len()).map(|group| panel.categories.iter().map(|(_, counts)| counts.get(group).unwrap_or(&0)).sum()).collect()
    };
    let spoken = |panel: &Bars| {
        let each = panel.categories.iter().map(|(name, counts)| format!("{name} {}", counts.iter().sum::<usize>()));
        format!("{}: {}.", panel.title, each.collect::<Vec<_>>().join(", "))
    };
    let row_height = BAR * groups.len().max(1) as f32 + GAP;
    let height = |panel: &Bars| TITLE + row_height * panel.categories.len() as f32 + 26.0;
    let heights: Vec<f32> = panels.chunks(2).map(|pair| pair.iter().map(height).fold(0.0, f32::max)).collect();
    let spoken = panels.iter().map(spoken).collect::<Vec<_>>().join(" ");
    let mut figure = Figure::new(2.0 * PANEL_WIDTH + 24.0, 36.0 + heights.iter().sum::<f32>(), spoken).framed(heading, note);
    let mut x = 16.0;
    for (group, name) in groups.iter().enumerate() {
        let count = panels.first().map_or(0, |panel| totals(panel)[group]);
        let text = format!("{} (n = {count})", short(name, 24));
        figure.rectangle(x, 9.0, 14.0, 12.0, ink(group), 1.0);
        figure.text(x + 21.0, 15.0, &text, 12.0, Anchor::Left, Ink::Text);
        x += 48.0 + Letters::regular(12.0).width(&text);
    }
    let mut top = 36.0;
    for (pair, height) in panels.chunks(2).zip(heights) {
        for (side, panel) in pair.iter().enumerate() {
            draw(&mut figure, panel, &totals(panel), 12.0 + side as f32 * PANEL_WIDTH, top, row_height);
        }
        top += height;
    }
    figure
}

/// The classes' colours in the other figures: the first metastatic class is the second class.
fn ink(group: usize) -> Ink {
    Ink::Series(group + 1)
}

fn draw(figure: &mut Figure, panel: &Bars, totals: &[usize], left: f32, top: f32, row_height: f32) {
    let share = |count: usize, group: usize| if totals[group] > 0 { count as f64 / totals[group] as f64 } else { 0.0 };
    let shares =
        || panel.categories.iter().flat_map(|(_, counts)| counts.iter().enumerate().map(|(at, &count)| share(count, at)));
    let longest = shares().fold(0.0, f64::max).max(0.01);
    let (start, width) = (left + NAMES, PANEL_WIDTH - NAMES - FIGURES - 12.0);
    let at = |share: f64| start + width * (share / longest) as f32;
    let (first, end) = (top + TITLE, top + TITLE + row_height * panel.categories.len() as f32);
    figure.bold(left + 4.0, top + 14.0, &panel.title, 13.0, Anchor::Left, Ink::Text);
    for tick in ticks([0.0, longest], 4) {
        figure.polyline(vec![[at(tick), first - 4.0], [at(tick), end]], 1.0, Ink::Grid);
        figure.text(at(tick), end + 11.0, format!("{:.0} %", 100.0 * tick), 11.0, Anchor::Center, Ink::Muted);
    }
    for (row, (name, counts)) in panel.categories.iter().enumerate() {
        let y = first + row_height * row as f32;
        let bars = BAR * counts.len() as f32;
        figure.text(start - 8.0, y + bars / 2.0, short(name, 17), 12.0, Anchor::Right, Ink::Text);
        for (group, &count) in counts.iter().enumerate() {
            let (y, end) = (y + BAR * group as f32, at(share(count, group)));
            if count > 0 {
                figure.rectangle(start, y + 0.5, (end - start).max(1.0), BAR - 1.0, ink(group), 1.0);
            }
            let text = format!("{:.1} % ({count})", 100.0 * share(count, group));
            figure.text(end + 6.0, y + BAR / 2.0, text, 10.5, Anchor::Left, Ink::Muted);
        }
    }
    figure.polyline(vec![[start, first - 4.0], [start, end]], 1.0, Ink::Muted);
}

#[cfg(test)]
mod tests {
    use super::super::figure::tests::assert_legible;
    use super::*;

    #[test]
    fn bars_of_anything_are_drawn() {
        bars(&[], &[], "", "").png();
        bars(&["A".into()], &[Bars::default()], "", "").png();
        let panel = Bars { title: "(a)".into(), categories: vec![("some <name>".into(), vec![0, 3]), ("x".into(), vec![0, 1])] };
        let figure = bars(&["A".into(), "B".into()], &[panel.clone(), panel.clone(), panel], "Lesions", "note");
        assert_legible(&figure);
        let svg = figure.svg();
        assert!(svg.contains("75.0 % (3)") && svg.contains("some &lt;name&gt;") && !svg.contains("NaN"), "{svg}");
    }
}
