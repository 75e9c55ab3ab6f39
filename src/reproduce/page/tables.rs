//! The paper's tables beside ours, and whether the paper's ordering of networks is found.

use super::{Outcome, Part, Reproduction, decimal, interval};
use crate::Result;
use crate::metrics::{
    self, Bootstrap, Ceiling, Ceilings, Difference, Each, Estimate, Order, Pairing, Panel, Predictions, Summary, of_at_most,
};
use crate::reproduce::paper::{self, PaperScores, PaperTable, TABLES};
use crate::reproduce::{Scale, TextTable};

/// Two rows of a table of which the paper has one above the other.
pub(super) struct Pair {
    /// The table's name.
    table: &'static str,
    /// What the paper calls the one that it has above.
    better: &'static str,
    /// And the other.
    worse: &'static str,
    /// The difference of the paper's accuracies, where it prints both.
    in_paper: Option<f64>,
    /// The difference here, over all seeds.
    pub found: Difference,
}

impl Pair {
    /// `inRAC 0.8123 against outRAC 0.7801 (difference 0.0322 [0.010, 0.055])`
    fn sentence(&self) -> String {
        let Difference { a, b, difference, interval: ends, .. } = self.found;
        let [a, b, difference] = [a, b, difference].map(decimal);
        format!("{} {a} against {} {b} (difference {difference}{})", self.better, self.worse, interval(ends))
    }
}

/// The answers that a difference may give, in the order of the page.
const ANSWERS: [(Order, &str); 3] = [
    (Order::Above, "as in the paper"),
    (Order::Below, "the other way round"),
    (Order::NotDistinguishable, "not distinguishable"),
];

/// A network's scores of one seed, as its table has them: of two classes those of the metastatic one, else macro means.
struct Row {
    accuracy: Option<f64>,
    each: Each<Option<f64>>,
    ceiling: Option<Ceiling>,
}

impl Row {
    fn of(outcome: &Outcome, two_classes: bool) -> Row {
        let Outcome { scores, .. } = outcome;
        let (panel, ceilings) = (Panel::of(scores), scores.ceilings);
        match panel.metastatic {
            Some(merged) if two_classes => {
                Row { accuracy: merged.accuracy, each: merged.scores, ceiling: ceilings.and_then(|ceilings| ceilings.metastatic) }
            }
            _ => Row { accuracy: panel.accuracy, each: panel.mean, ceiling: ceilings.map(|ceilings| ceilings.classes) },
        }
    }
}

/// The mean over the seeds.
fn mean<'a>(seeds: &[&'a Outcome], of: impl Fn(&'a Outcome) -> Option<f64>) -> Option<f64> {
    Summary::of(seeds.iter().map(|outcome| of(outcome))).map(|summary| summary.mean)
}

fn predictions<'a>(seeds: &[&'a Outcome]) -> Vec<&'a Predictions> {
    seeds.iter().map(|outcome| &outcome.predictions).collect()
}

impl Reproduction {
    /// A network with every seed.
    pub(super) fn repetitions(&self, name: &str) -> Vec<&Outcome> {
        let again = (2..=self.options.seeds).filter_map(|seed| self.outcomes.get(&format!("{name}-seed{seed}")));
        self.outcomes.get(name).into_iter().chain(again).collect()
    }

    /// The mean accuracy of a network over its seeds.
    pub(super) fn accuracy(&self, name: &str) -> Result<Option<Estimate>> {
        let seeds = self.repetitions(name);
        (!seeds.is_empty()).then(|| metrics::mean_accuracy(&predictions(&seeds), Bootstrap::default())).transpose()
    }

    /// A table of the paper beside ours, and a second one with its other scores.
    pub(super) fn scores(&self, of: &PaperTable) -> Result<[TextTable; 2]> {
        let two = of.name == paper::TWO_CLASSES;
        let columns = ["", "paper: accuracy", "paper: F1", "here: accuracy [95 %]", "deviation over seeds", "F1", "AUC", "ECE"];
        let mut table = TextTable::new(of.name, columns);
        let columns =
            ["", "paper: precision", "paper: recall", "here: precision", "recall", "accuracy without copies", "epoch kept"];
        let mut rest = TextTable::new(&format!("{}-more", of.name), columns);
        for (label, name, in_paper) in of.rows {
            let seeds = self.repetitions(name);
            let Some(accuracy) = self.accuracy(name)? else { continue };
            let theirs = |score: fn(&PaperScores) -> f64| decimal(in_paper.as_ref().map(score));
            let rows: Vec<Row> = seeds.iter().map(|outcome| Row::of(outcome, two)).collect();
            let ours = |score: fn(&Row) -> Option<f64>| decimal(Summary::of(rows.iter().map(score)).map(|summary| summary.mean));
            let ceiling = rows[0].ceiling;
            let over_seeds = Summary::of(rows.iter().map(|row| row.accuracy)).and_then(|summary| summary.deviation);
            table.row([
                (*label).to_owned(),
                theirs(|paper| paper.accuracy),
                theirs(|paper| paper.f1),
                decimal(Some(accuracy.value))
                    + &of_at_most(ceiling.map(|ceiling| ceiling.accuracy))
                    + &interval(accuracy.interval),
                decimal(over_seeds),
                ours(|row| row.each.f1),
                ours(|row| row.each.auc) + &of_at_most(ceiling.map(|ceiling| ceiling.auc)),
                decimal(mean(&seeds, Outcome::calibration_error)),
            ]);
            let kept: Vec<String> = seeds.iter().map(|outcome| outcome.chosen.to_string()).collect();
            rest.row([
                (*label).to_owned(),
                theirs(|paper| paper.precision),
                theirs(|paper| paper.recall),
                ours(|row| row.each.precision),
                ours(|row| row.each.recall),
                decimal(mean(&seeds, |outcome| outcome.unaugmented.accuracy)),
                kept.join(", "),
            ]);
        }
        Ok([table, rest])
    }

    /// Every pair of rows that the paper orders, and the difference here.
    pub(super) fn pairs(&self) -> Result<Vec<Pair>> {
        let mut pairs = Vec::new();
        for PaperTable { name: table, rows, .. } in &TABLES {
            for (better, better_name, high) in *rows {
                for (worse, worse_name, low) in *rows {
                    let is_above = match (high, low) {
                        (Some(high), Some(low)) => high.accuracy > low.accuracy,
                        // Figure 9 prints no values; its text has inRAC above both others.
                        (Some(_), None) => true,
                        _ => false,
                    };
                    let sides = [better_name, worse_name].map(|name| self.repetitions(name));
                    if !is_above || sides.iter().any(Vec::is_empty) {
                        continue;
                    }
                    // D1, D2 and D3 have test images of their own.
                    let dataset = |name: &'static str| name.split('-').next();
                    let pairing =
                        if dataset(better_name) == dataset(worse_name) { Pairing::SameStudies } else { Pairing::OwnStudies };
                    let [ours, others] = sides.map(|seeds| predictions(&seeds));
                    let in_paper = high.zip(*low).map(|(high, low)| high.accuracy - low.accuracy);
                    let found = metrics::compare_seeds(&ours, &others, pairing, Bootstrap::default())?;
                    pairs.push(Pair { table, better, worse, in_paper, found });
                }
            }
        }
        Ok(pairs)
    }

    /// What the pairs of one table say.
    pub(super) fn ordering(&self, of: &PaperTable, pairs: &[Pair]) -> String {
        let sentence = |(order, answer): (Order, &str)| {
            let same = pairs.iter().filter(|pair| pair.table == of.name && pair.found.order() == order);
            let said: Vec<String> = same.map(Pair::sentence).collect();
            let answer = format!("{}{}", answer[..1].to_uppercase(), &answer[1..]);
            if said.is_empty() { String::new() } else { format!("{answer}: {}. ", said.join("; ")) }
        };
        ANSWERS.map(sentence).concat().trim_end().to_owned()
    }

    pub(super) fn ordering_in_short(&self, pairs: &[Pair]) -> Part {
        let [(_, above), (_, below), (_, neither)] = ANSWERS;
        let mut table = TextTable::new("ordering", ["the paper's ordering in", "pairs", above, below, neither]);
        let mut row = |title: &str, pairs: &[&Pair]| {
            let counts = ANSWERS.map(|(order, _)| pairs.iter().filter(|pair| pair.found.order() == order).count());
            let [above, below, neither] = counts.map(|count| count.to_string());
            table.row([title.to_owned(), pairs.len().to_string(), above, below, neither]);
        };
        for of in &TABLES {
            let of_table: Vec<&Pair> = pairs.iter().filter(|pair| pair.table == of.name).collect();
            if !of_table.is_empty() {
                row(of.title, &of_table);
            }
        }
        row("all tables", &pairs.iter().collect::<Vec<_>>());
        let text = format!(
            "Trained and tested on {}. Scores are means over {} of macro means over the classes, which are the paper's; all copies of a \
             scan are on one side of the split. 95 % intervals are from 2000 resamples of the test patients{}. One network counts as \
             better than another only where the interval of their difference excludes zero.",
            match (self.phantoms(), self.studies.any_simulated()) {
                (true, _) => format!("phantoms, which are simulated patients ({})", self.studies.simulators()),
                (false, true) => format!("the archive, of which {}", self.studies.sentence()),
                (false, false) => "the archive".to_owned(),
            },
            crate::text::counted(self.options.seeds, "seed"),
            match self.options.seeds {
                1 => ", and say nothing of how another seed would differ",
                _ => " and, within each, of the seeds",
            },
        );
        let mut part = Part::new("ordering", "What holds").text(text);
        if self.outcomes.values().any(|outcome| outcome.scores.ceilings.is_some()) {
            part = part.text(Ceilings::MEANING);
        }
        if self.options.scale == Scale::Smoke {
            part = part.text("This is the smoke scale: it shows that everything runs. Its scores mean nothing.");
        }
        part.table(table)
    }

    pub(super) fn differences(&self, pairs: &[Pair]) -> Part {
        let columns =
            ["in the paper above", "and below it", "paper: difference", "here: difference [95 %]", "p, bootstrap", "answer"];
        let mut table = TextTable::new("differences", columns);
        for pair in pairs {
            let Difference { difference, interval: ends, p, .. } = pair.found;
            let answer = ANSWERS.iter().find(|(order, _)| *order == pair.found.order()).map_or("", |(_, answer)| answer);
            table.row([
                pair.better.to_owned(),
                pair.worse.to_owned(),
                decimal(pair.in_paper),
                decimal(difference) + &interval(ends),
                p.map_or(String::new(), |p| format!("{p:.3}")),
                answer.to_owned(),
            ]);
        }
        let text = "Differences of accuracy, averaged over the seeds. A resample has the same patients for two networks that were tested \
                    on the same images; D1, D2 and D3 have images of their own, and their patients are drawn on their own. Of twenty \
                    such differences one excludes zero by chance. `osteon compare` compares two of the runs, with McNemar's test.";
        Part::new("differences", "Which differences are more than chance").text(text).table(table)
    }

    /// Every training by itself.
    pub(super) fn trainings(&self) -> Part {
        let columns = ["training", "accuracy", "precision", "recall", "F1", "AUC", "ECE", "without copies"];
        let mut table = TextTable::new("trainings", columns);
        for (name, outcome) in &self.outcomes {
            let Row { accuracy, each: Each { precision, recall, f1, auc, .. }, .. } = Row::of(outcome, false);
            let unaugmented = outcome.unaugmented.accuracy;
            let [a, p, r, f, area, error, without] =
                [accuracy, precision, recall, f1, auc, outcome.calibration_error(), unaugmented].map(decimal);
            table.row([name.clone(), a, p, r, f, area, error, without]);
        }
        let text = "On their test images; macro means over the classes. The tables above have means over the seeds.";
        Part::new("trainings", "Every training").text(text).table(table)
    }
}
