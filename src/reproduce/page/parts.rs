//! What the page shows beside the paper's tables of scores: the archive, figures, misclassified cases, differences, calibration.

use super::{Block, Part, Reproduction, decimal};
use crate::annotation::lesions;
use crate::archive::datasets::Counts;
use crate::metrics::{self, Each, OperatingPoint, Panel, Scores, Summary};
use crate::report::{self, page};
use crate::reproduce::{Data, TextTable, paper};

impl Reproduction {
    pub(super) fn archive(&self) -> Part {
        let mut table = TextTable::new("figure5", ["age", "men", "women", "other", "sex unknown"]);
        let decades =
            self.demographics.decades.iter().map(|decade| (format!("{} to {}", decade.from, decade.from + 9), decade.patients));
        for (name, by) in decades.chain([("unknown".to_owned(), self.demographics.unknown_age)]) {
            let [men, women, other, unknown] = [by.male, by.female, by.other, by.unknown].map(|count| count.to_string());
            table.row([name, men, women, other, unknown]);
        }
        let note = self.demographics.note();
        let mut part = Part::new("figure5", "Figure 5: age and sex");
        if self.phantoms() {
            part = part.text("Ages and sexes are the simulator's, drawn to be plausible.");
        }
        if !note.is_empty() {
            part = part.text(note);
        }
        part.figure("figure5", report::demographics(&self.demographics, &self.caveat())).table(table)
    }

    pub(super) fn datasets(&self) -> Part {
        let mut table = TextTable::new("table2", ["dataset", "class", "paper", "here", "train", "test"]);
        for (data, counts) in &self.counts {
            for (name, Counts { train, test }) in counts {
                let class = crate::archive::manifest::PAPER_CLASSES.iter().position(|known| known == name);
                let of = [Data::D1, Data::D2, Data::D3].iter().position(|known| known == data);
                let paper = of.zip(class).map_or(String::new(), |(of, class)| paper::IMAGES[of][class].to_string());
                let [all, train, test] = [train + test, *train, *test].map(|count| count.to_string());
                table.row([data.name(), name.clone(), paper, all, train, test]);
            }
        }
        let text = "Each dataset was written, read back and checked: no patient, no file, no bytes of a file and no copy of a scan is \
                    on both sides.";
        Part::new("table2", "Table 2: datasets").text(text).table(table)
    }

    pub(super) fn figures_6_to_8(&self, part: Part, main: &Scores) -> Part {
        let mut classes = TextTable::new("figure8", ["class", "precision", "recall", "specificity", "F1", "AUC"]);
        for class in &Panel::of(main).classes {
            let Each { precision, recall, specificity, f1, auc } = &class.scores;
            let [p, r, s, f, a] = [precision, recall, specificity, f1, auc].map(|value| decimal(*value));
            classes.row([class.class.clone(), p, r, s, f, a]);
        }
        let adenocarcinoma = main.classes.iter().position(|class| class.class == "ADMet");
        let other = main.classes.iter().position(|class| class.class == "nADMet");
        let confused = adenocarcinoma.zip(other).map_or(String::new(), |(truth, called)| {
            format!(" {} ADMet images were called nADMet (paper: 22 of 284 test images).", main.confusion[truth][called])
        });
        part.text(format!(
            "Figure 6: the ROC curve of inRAC on D3, AUC {} (paper: {:.4}).{confused}",
            decimal(main.mean.auc) + &metrics::of_at_most(main.ceilings.map(|ceilings| ceilings.classes.auc)),
            paper::AUC[0]
        ))
        .figure("figure6", report::roc(&self.main, main))
        .text("Figure 7: the confusion matrix.")
        .figure("figure7", report::confusion(&self.main, main))
        .text("Figure 8: each class against the rest.")
        .table(classes)
    }

    pub(super) fn misclassified(&self) -> Part {
        let wrong = |row: &&report::PatientRow| metrics::predicted(&row.probabilities) != row.truth;
        let mut table = TextTable::new("figure11", ["patient", "truth", "called", "probability"]);
        let classes = &self.main.model.classes;
        for row in self.main.patients.iter().filter(wrong) {
            let called = metrics::predicted(&row.probabilities);
            let probability = format!("{:.3}", row.probabilities[called]);
            table.row([row.patient.clone(), classes[row.truth].clone(), classes[called].clone(), probability]);
        }
        let text = format!(
            "{} of {} test images of D3 were misclassified by inRAC. The pictures show what speaks for any metastasis, with the \
             regions that speak most.",
            table.rows.len(),
            self.main.patients.len()
        );
        let mut part = Part::new("figure11", "Figure 11: what was misclassified, and what spoke for it").text(text);
        part.blocks.push(Block::Html(page::gallery(&self.main)));
        part.table(table)
    }

    pub(super) fn figure_12(&self) -> Option<Part> {
        let summary = self.lesions.as_ref()?;
        let mut table = TextTable::new("figure12", ["of", "what", "lesions", "share"]);
        let panels = [
            ("shape", &summary.shapes),
            ("region", &summary.regions),
            ("uptake", &summary.uptake),
            ("area, mm2", &summary.areas),
        ];
        for (of, rows) in panels {
            for (name, counts) in rows {
                let count: usize = counts.iter().sum();
                let share = count as f64 / summary.lesions().max(1) as f64;
                table.row([of.to_owned(), name.clone(), count.to_string(), format!("{share:.3}")]);
            }
        }
        let text = "Paper: mottled, patchy and punctate lesions dominate, most are in the chest (vertebrae and ribs), and 44 % have an \
                    uptake of 50 to 100 counts.";
        let figure = lesions::figure(summary, self.studies);
        Some(Part::new("figure12", "Figure 12: lesions").text(text).figure("figure12", figure).table(table))
    }

    pub(super) fn cross_validation(&self) -> Option<Part> {
        let folds: Vec<(String, &Scores)> = (0..self.options.folds)
            .filter_map(|fold| {
                let name = format!("{}-inrac", Data::Fold(fold).name());
                self.outcomes.get(&name).map(|outcome| (format!("fold {}", fold + 1), &outcome.scores))
            })
            .collect();
        if folds.is_empty() {
            return None;
        }
        let mut table = TextTable::new("folds", ["", "accuracy", "precision", "recall", "F1", "AUC"]);
        let panels: Vec<_> = folds.iter().map(|(_, scores)| Panel::of(scores)).collect();
        for ((name, scores), panel) in folds.iter().zip(&panels) {
            let Each { precision, recall, f1, auc, .. } = &panel.mean;
            let [a, p, r, f, area] = [&panel.accuracy, precision, recall, f1, auc].map(|value| decimal(*value));
            let ceiling = scores.ceilings.map(|ceilings| ceilings.classes);
            let a = a + &metrics::of_at_most(ceiling.map(|ceiling| ceiling.accuracy));
            let area = area + &metrics::of_at_most(ceiling.map(|ceiling| ceiling.auc));
            table.row([name.clone(), a, p, r, f, area]);
        }
        if let Some(all) = metrics::summarise(&panels) {
            let Each { precision, recall, f1, auc, .. } = &all.mean;
            let say = |summary: &Option<Summary>| summary.map_or(String::new(), |summary| summary.to_string());
            let [a, p, r, f, area] = [&all.accuracy, precision, recall, f1, auc].map(say);
            table.row(["mean and deviation".to_owned(), a, p, r, f, area]);
        }
        let text = "inRAC on the archive's studies with their views aggregated, every patient tested once; training images are \
                    rotated and moved at random on the fly.";
        Some(Part::new("folds", format!("{}-fold cross-validation by patient", self.options.folds)).text(text).table(table))
    }

    pub(super) fn calibration(&self, main: &Scores) -> Part {
        let mut part = Part::new("calibration", "Calibration of inRAC on D3");
        if let Some(statistics) = &main.statistics {
            let calibration = &statistics.calibration;
            let top = calibration.top_label.as_ref();
            part = part.text(format!(
                "Expected calibration error {} ({} bins of the most probable class), of which probabilities that mean what they say \
                 would have {} by chance, with these few patients; largest of a bin {}, classwise {}, log loss {}.",
                decimal(top.map(|error| error.expected)),
                calibration.bins,
                decimal(calibration.by_chance),
                decimal(top.map(|error| error.maximum)),
                decimal(calibration.classwise),
                decimal(calibration.log_loss),
            ));
            let mut table = TextTable::new("calibration", ["bin", "images", "mean probability", "share that is right"]);
            for (at, bin) in top.into_iter().flat_map(|error| &error.bins).enumerate() {
                let [predicted, observed] = [bin.predicted, bin.observed].map(|value| format!("{value:.4}"));
                table.row([(at + 1).to_string(), bin.count.to_string(), predicted, observed]);
            }
            part = part.table(table);
        }
        for (name, figure) in [("confidence", report::confidence(&self.main)), ("reliability", report::reliability(&self.main))] {
            if let Some(figure) = figure {
                part = part.figure(name, figure);
            }
        }
        part
    }
}

pub(super) fn operating_points(main: &Scores) -> Part {
    let mut table =
        TextTable::new("operating-points", ["at no less than", "threshold", "sensitivity", "specificity", "PPV", "NPV"]);
    let points = main.statistics.as_ref().and_then(|statistics| statistics.operating_points.as_ref());
    let mut add = |what: &str, points: &[OperatingPoint]| {
        for point in points {
            table.row([
                format!("{what} {:.2}", point.target),
                decimal(point.threshold),
                decimal(Some(point.sensitivity)),
                decimal(Some(point.specificity)),
                decimal(point.ppv),
                decimal(point.npv),
            ]);
        }
    };
    if let Some(points) = points {
        add("sensitivity", &points.sensitivity);
        add("specificity", &points.specificity);
    }
    let text = "Metastatic or not, inRAC on D3. Thresholds were chosen on the images that they are judged on: elsewhere expect a little \
                less. Predictive values hold for this share of metastatic images.";
    Part::new("operating-points", "Operating points").text(text).table(table)
}
