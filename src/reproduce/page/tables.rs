//! The paper's tables beside ours, and whether the paper's ordering of networks is found.

use super::{MAIN, Outcome, Part, Reproduction, decimal, interval};
use crate::Result;
use crate::metrics::{self, Bootstrap, Ceiling, Ceilings, Comparison, Each, Panel, Summary, of_at_most};
use crate::reproduce::paper::{self, TABLES};
use crate::reproduce::{Scale, TextTable};
use std::collections::BTreeMap;

impl Reproduction {
    /// inRAC against every other network on the same test images.
    pub(super) fn comparisons(&self) -> Result<BTreeMap<String, Comparison>> {
        let main = &self.outcomes[MAIN].predictions;
        let others = self.outcomes.iter().filter(|(name, outcome)| {
            name.starts_with("d3-") && *name != MAIN && !name.contains("-seed") && outcome.predictions.classes == main.classes
        });
        let compared = |(name, other): (&String, &Outcome)| {
            Ok((name.clone(), metrics::compare(main, &other.predictions, Bootstrap::default())?))
        };
        others.map(compared).collect()
    }

    /// A network's scores with every seed.
    pub(super) fn repetitions(&self, name: &str) -> Vec<&Outcome> {
        let again = (2..=self.options.seeds).filter_map(|seed| self.outcomes.get(&format!("{name}-seed{seed}")));
        self.outcomes.get(name).into_iter().chain(again).collect()
    }

    /// The accuracy that tables are ordered by: the mean over the seeds.
    pub(super) fn accuracy(&self, name: &str) -> Option<f64> {
        let all = self.repetitions(name);
        Summary::of(all.iter().map(|outcome| outcome.scores.accuracy)).map(|summary| summary.mean)
    }

    /// A table of the paper beside ours.
    pub(super) fn scores(&self, of: &paper::PaperTable) -> TextTable {
        let two = of.name == paper::TWO_CLASSES;
        let mut table = TextTable::new(
            of.name,
            [
                "",
                "paper: accuracy",
                "precision",
                "recall",
                "F1",
                "here: accuracy [95 %]",
                "precision",
                "recall",
                "F1",
                "AUC",
                "without copies",
                "over seeds",
            ],
        );
        let several = self.options.seeds > 1;
        for (label, name, in_paper) in of.rows {
            let theirs = match in_paper {
                Some(paper::PaperScores { accuracy, precision, recall, f1 }) => {
                    [accuracy, precision, recall, f1].map(|x| format!("{x:.4}"))
                }
                None => ["-"; 4].map(str::to_owned),
            };
            let Some(Outcome { scores, unaugmented, .. }) = self.outcomes.get(*name) else { continue };
            let panel = Panel::of(scores);
            let ends = scores.statistics.as_ref().map(|statistics| &statistics.intervals.scores);
            let (accuracy, each, ends, ceiling) = match (&panel.metastatic, two) {
                (Some(merged), true) => {
                    let ends = ends.and_then(|ends| ends.metastatic.as_ref()).and_then(|merged| merged.accuracy);
                    (merged.accuracy, &merged.scores, ends, scores.ceilings.and_then(|ceilings| ceilings.metastatic))
                }
                _ => {
                    let ceiling = scores.ceilings.map(|ceilings| ceilings.classes);
                    (panel.accuracy, &panel.mean, ends.and_then(|ends| ends.accuracy), ceiling)
                }
            };
            let of_at_most = |score: fn(Ceiling) -> f64| of_at_most(ceiling.map(score));
            let Each { precision, recall, f1, auc, .. } = each;
            let over_seeds = Summary::of(self.repetitions(name).iter().map(|outcome| outcome.scores.accuracy));
            let [p, r, f] = [precision, recall, f1].map(|value| decimal(*value));
            let [theirs_accuracy, theirs_precision, theirs_recall, theirs_f1] = theirs;
            table.row([
                (*label).to_owned(),
                theirs_accuracy,
                theirs_precision,
                theirs_recall,
                theirs_f1,
                decimal(accuracy) + &of_at_most(|ceiling| ceiling.accuracy) + &interval(ends),
                p,
                r,
                f,
                decimal(*auc) + &of_at_most(|ceiling| ceiling.auc),
                decimal(unaugmented.accuracy),
                over_seeds.map_or(String::new(), |summary| summary.to_string()),
            ]);
        }
        if !several {
            table.columns.pop();
            table.rows.iter_mut().for_each(|row| drop(row.pop()));
        }
        table
    }

    /// For each pair of rows of a table: what the paper found, and whether it is found here.
    pub(super) fn pairs(&self, of: &paper::PaperTable, comparisons: &BTreeMap<String, Comparison>) -> Vec<(bool, String)> {
        let mut found = Vec::new();
        for (at, (better, better_name, high)) in of.rows.iter().enumerate() {
            for (at_other, (worse, worse_name, low)) in of.rows.iter().enumerate() {
                let is_above = match (high, low) {
                    (Some(high), Some(low)) => high.accuracy > low.accuracy,
                    // Figure 9 prints no values; its text has inRAC above both others.
                    (Some(_), None) => true,
                    _ => false,
                };
                let (Some(ours), Some(others)) = (self.accuracy(better_name), self.accuracy(worse_name)) else { continue };
                if at == at_other || !is_above {
                    continue;
                }
                let comparison = comparisons.get(*worse_name).map(|of| (of, 1.0)).filter(|_| *better_name == MAIN);
                let comparison =
                    comparison.or_else(|| comparisons.get(*better_name).map(|of| (of, -1.0)).filter(|_| *worse_name == MAIN));
                let chance = comparison.map_or(String::new(), |(comparison, sign)| {
                    let accuracy = &comparison.scores.accuracy;
                    let ends = accuracy.interval.map(|[low, high]| if sign > 0.0 { [low, high] } else { [-high, -low] });
                    let difference = accuracy.difference.map(|difference| sign * difference);
                    format!(
                        " (first seed: difference {}{}, McNemar p = {:.3})",
                        decimal(difference),
                        interval(ends),
                        comparison.mcnemar.p
                    )
                });
                found.push((ours > others, format!("{better} {ours:.4} against {worse} {others:.4}{chance}")));
            }
        }
        found
    }

    pub(super) fn ordering(&self, of: &paper::PaperTable, comparisons: &BTreeMap<String, Comparison>) -> String {
        let pairs = self.pairs(of, comparisons);
        let say = |wanted: bool| pairs.iter().filter(|(same, _)| *same == wanted).map(|(_, text)| &**text).collect::<Vec<_>>();
        let (same, other) = (say(true), say(false));
        let here = format!("{}{}", self.patients()[..1].to_uppercase(), &self.patients()[1..]);
        match (same.is_empty(), other.is_empty()) {
            (true, true) => String::new(),
            (_, true) => format!("{here} show the paper's ordering: {}.", same.join("; ")),
            (true, false) => format!("{here} do not show the paper's ordering: {}.", other.join("; ")),
            (false, false) => format!(
                "{here} do not show all of the paper's ordering. As in the paper: {}. Equal or the other way round: {}.",
                same.join("; "),
                other.join("; ")
            ),
        }
    }

    pub(super) fn ordering_in_short(&self, comparisons: &BTreeMap<String, Comparison>) -> Part {
        let mut table = TextTable::new("ordering", ["the paper's ordering in", "pairs", "found here", "not found"]);
        for of in &TABLES {
            let pairs = self.pairs(of, comparisons);
            if !pairs.is_empty() {
                let same = pairs.iter().filter(|(same, _)| *same).count();
                let [all, same, other] = [pairs.len(), same, pairs.len() - same].map(|count| count.to_string());
                table.row([of.title.to_owned(), all, same, other]);
            }
        }
        let text = format!(
            "Trained and tested on {}. Scores are macro means over the classes, as the paper's; 95 % intervals are from 2000 resamples of \
             the test patients; all copies of a scan are on one side of the split. Networks are ordered by accuracy, the mean over \
             the seeds.",
            match (self.phantoms(), self.studies.any_simulated()) {
                (true, _) => format!("phantoms, which are simulated patients ({})", self.studies.simulators()),
                (false, true) => format!("the archive, of which {}", self.studies.sentence()),
                (false, false) => "the archive".to_owned(),
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
}
