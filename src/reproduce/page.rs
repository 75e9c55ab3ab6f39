//! The study's page: each table and figure of the paper beside its own numbers, as HTML, Markdown, CSV and pictures.
//!
//! All that stands here is computed from finished runs' predictions; where the paper's ordering is not found, a sentence of the same
//! size says so.

use super::paper::{self, TABLES};
use super::{Data, Options, Table};
use crate::annotation::lesions;
use crate::archive::datasets::Counts;
use crate::archive::people::Demographics;
use crate::metrics::{self, Bootstrap, Comparison, Each, OperatingPoint, Panel, Predictions, Scores, Summary};
use crate::report::{self, Evaluation, Figure, html, pages};
use crate::{Result, files};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A finished training, tested.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// On all test images, copies too, as the paper tests.
    pub scores: Scores,
    /// On those that are no copies.
    pub unaugmented: Scores,
    /// What the first was made from.
    pub predictions: Predictions,
}

/// Everything that a page is made of.
#[derive(Clone, Debug)]
pub struct Study {
    /// What it was told.
    pub options: Options,
    /// The command that repeats it.
    pub command: String,
    /// Images by class of each dataset.
    pub counts: Vec<(Data, Vec<(String, Counts)>)>,
    /// Figure 5.
    pub demographics: Demographics,
    /// Figure 12; none without annotations.
    pub lesions: Option<lesions::Summary>,
    /// By the [name](super::Training::name) of the training.
    pub outcomes: BTreeMap<String, Outcome>,
    /// Of inRAC on D3, with its cases.
    pub main: Evaluation,
    /// Of inRAC on two classes.
    pub two_classes: Evaluation,
}

/// The training that most tables compare with.
pub const MAIN: &str = "d3-inrac";
/// That of two classes.
pub const TWO_CLASSES: &str = "d3-two-classes-inrac";

/// The page's file.
pub const PAGE: &str = "index.html";
/// The same as Markdown.
pub const MARKDOWN: &str = "study.md";

/// A part of the page under a heading.
struct Part {
    id: &'static str,
    heading: String,
    blocks: Vec<Block>,
}

enum Block {
    Text(String),
    Table(Table),
    Figure(&'static str, Box<Figure>),
    /// For the HTML page alone.
    Html(String),
}

impl Part {
    fn new(id: &'static str, heading: impl Into<String>) -> Self {
        Part { id, heading: heading.into(), blocks: Vec::new() }
    }

    fn text(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Text(text.into()));
        self
    }

    fn table(mut self, table: Table) -> Self {
        self.blocks.push(Block::Table(table));
        self
    }

    fn figure(mut self, name: &'static str, figure: Figure) -> Self {
        self.blocks.push(Block::Figure(name, Box::new(figure)));
        self
    }
}

impl Study {
    /// Whether the patients are simulated.
    fn phantoms(&self) -> bool {
        self.options.data.is_none()
    }

    fn patients(&self) -> &'static str {
        if self.phantoms() { "phantoms" } else { "patients" }
    }

    /// What must be said wherever a score stands.
    fn caveat(&self) -> String {
        self.main.caveat()
    }

    /// Writes the page, `study.md`, a CSV file a table under `tables` and the figures under `figures`, and returns the page's path.
    ///
    /// # Errors
    /// Predictions that cannot be compared; the operating system's.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let parts = self.parts()?;
        let (tables, figures) = (folder.join("tables"), folder.join("figures"));
        files::create_folder(&tables)?;
        files::create_folder(&figures)?;
        let title = "The paper's study, repeated";
        let tag = if self.phantoms() { "phantoms, not patients" } else { "" };
        let facts = self.facts();
        let mut html = pages::header(title, &self.caveat(), tag, &facts);
        let mut markdown = format!("# {title}\n\n**{}**\n\n", self.caveat());
        for (name, value) in &facts {
            markdown += &format!("* {name}: {value}\n");
        }
        html.push_str("<main>\n");
        for part in &parts {
            let mut inner = String::new();
            markdown += &format!("\n## {}\n", part.heading);
            for block in &part.blocks {
                match block {
                    Block::Text(text) => {
                        inner += &format!("<p>{}</p>\n", html::escape(text));
                        markdown += &format!("\n{text}\n");
                    }
                    Block::Table(table) => {
                        files::write(tables.join(format!("{}.csv", table.name)), &table.csv())?;
                        inner += &table.html();
                        markdown += &format!("\n{}", table.markdown());
                    }
                    Block::Figure(name, figure) => {
                        files::write(figures.join(format!("{name}.png")), &figure.png())?;
                        files::write(figures.join(format!("{name}.svg")), figure.svg().as_bytes())?;
                        inner += &format!("<figure class=\"panel\">{}</figure>\n", figure.inline());
                        markdown += &format!("\n![{name}](figures/{name}.png)\n");
                    }
                    Block::Html(own) => inner += own,
                }
            }
            html += &pages::section(part.id, &part.heading, tag, &inner);
        }
        html.push_str("</main>");
        files::write(folder.join(MARKDOWN), markdown.as_bytes())?;
        let page = folder.join(PAGE);
        files::write(&page, html::page(title, &self.caveat(), &html).as_bytes())?;
        Ok(page)
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let Options { scale, epochs, recipe, seeds, folds, .. } = &self.options;
        let [rows, columns] = scale.input_size();
        let commit = env!("OSTEON_COMMIT");
        let version = format!("{} {commit}", env!("CARGO_PKG_VERSION"));
        vec![
            ("scale", format!("{scale}, {rows} x {columns}")),
            ("epochs", epochs.to_string()),
            ("recipe", recipe.to_string()),
            ("seeds", seeds.to_string()),
            ("folds", if *folds == 0 { "none".to_owned() } else { folds.to_string() }),
            ("program", version.trim_end().to_owned()),
            ("command", self.command.clone()),
        ]
    }

    fn parts(&self) -> Result<Vec<Part>> {
        let main = &self.outcomes[MAIN].scores;
        let comparisons = self.comparisons()?;
        let mut parts = vec![self.ordering_in_short(&comparisons), self.archive(), self.datasets()];
        for table in &TABLES {
            let mut part = Part::new(table.name, table.title).table(self.scores(table));
            part = part.text(self.ordering(table, &comparisons));
            match table.name {
                "table4" => part = self.figures_6_to_8(part, main),
                paper::TWO_CLASSES => {
                    let scores = &self.outcomes[TWO_CLASSES].scores;
                    part = part.text("Figure 10: the confusion matrix.");
                    part = part.figure("figure10", report::confusion(&self.two_classes, scores));
                }
                "table10" => {
                    let text = "Table 9 of the paper: Inception-v1 has 9 inception blocks of 1x1, 3x3 and 5x5 filters, VGG-11 has 11 \
                                weight layers of 3x3 filters; both with ReLU and a learning rate of 0.01.";
                    part = part.text(text);
                }
                _ => {}
            }
            parts.push(part);
        }
        parts.push(self.misclassified());
        parts.extend(self.figure_12());
        parts.push(self.differences(&comparisons));
        parts.extend(self.cross_validation());
        parts.push(self.calibration(main));
        parts.push(operating_points(main));
        Ok(parts)
    }

    /// inRAC against every other network on the same test images.
    fn comparisons(&self) -> Result<BTreeMap<String, Comparison>> {
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
    fn repetitions(&self, name: &str) -> Vec<&Outcome> {
        let again = (2..=self.options.seeds).filter_map(|seed| self.outcomes.get(&format!("{name}-seed{seed}")));
        self.outcomes.get(name).into_iter().chain(again).collect()
    }

    /// The accuracy that tables are ordered by: the mean over the seeds.
    fn accuracy(&self, name: &str) -> Option<f64> {
        let all = self.repetitions(name);
        Summary::of(all.iter().map(|outcome| outcome.scores.accuracy)).map(|summary| summary.mean)
    }

    /// A table of the paper beside ours.
    fn scores(&self, of: &paper::Table) -> Table {
        let two = of.name == paper::TWO_CLASSES;
        let mut table = Table::new(
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
                Some(paper::Scores { accuracy, precision, recall, f1 }) => {
                    [accuracy, precision, recall, f1].map(|x| format!("{x:.4}"))
                }
                None => ["-"; 4].map(str::to_owned),
            };
            let Some(Outcome { scores, unaugmented, .. }) = self.outcomes.get(*name) else { continue };
            let panel = Panel::of(scores);
            let ends = scores.statistics.as_ref().map(|statistics| &statistics.intervals.scores);
            let (accuracy, each, ends) = match (&panel.metastatic, two) {
                (Some(merged), true) => {
                    let ends = ends.and_then(|ends| ends.metastatic.as_ref()).and_then(|merged| merged.accuracy);
                    (merged.accuracy, &merged.scores, ends)
                }
                _ => (panel.accuracy, &panel.mean, ends.and_then(|ends| ends.accuracy)),
            };
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
                decimal(accuracy) + &interval(ends),
                p,
                r,
                f,
                decimal(*auc),
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
    fn pairs(&self, of: &paper::Table, comparisons: &BTreeMap<String, Comparison>) -> Vec<(bool, String)> {
        let mut found = Vec::new();
        for (at, (better, better_name, high)) in of.rows.iter().enumerate() {
            for (at_other, (worse, worse_name, low)) in of.rows.iter().enumerate() {
                let is_above = match (high, low) {
                    (Some(high), Some(low)) => high.accuracy > low.accuracy,
                    // Figure 9 prints no numbers; its text has inRAC above both others.
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

    fn ordering(&self, of: &paper::Table, comparisons: &BTreeMap<String, Comparison>) -> String {
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

    fn ordering_in_short(&self, comparisons: &BTreeMap<String, Comparison>) -> Part {
        let mut table = Table::new("ordering", ["the paper's ordering in", "pairs", "found here", "not found"]);
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
            if self.phantoms() { "phantoms, which are simulated patients" } else { "the archive" },
        );
        let mut part = Part::new("ordering", "What holds").text(text);
        if self.options.scale == super::Scale::Smoke {
            part = part.text("This is the smoke scale: it shows that everything runs. Its scores mean nothing.");
        }
        part.table(table)
    }

    fn archive(&self) -> Part {
        let mut table = Table::new("figure5", ["age", "men", "women", "other", "sex unknown"]);
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

    fn datasets(&self) -> Part {
        let mut table = Table::new("table2", ["dataset", "class", "paper", "here", "train", "test"]);
        for (data, counts) in &self.counts {
            for (class, Counts { train, test }) in counts {
                let place = crate::archive::manifest::PAPER_CLASSES.iter().position(|known| known == class);
                let of = [Data::D1, Data::D2, Data::D3].iter().position(|known| known == data);
                let paper = of.zip(place).map_or(String::new(), |(of, place)| paper::IMAGES[of][place].to_string());
                let [all, train, test] = [train + test, *train, *test].map(|count| count.to_string());
                table.row([data.name(), class.clone(), paper, all, train, test]);
            }
        }
        let text = "Each dataset was written, read back and checked: no patient, no file, no bytes of a file and no copy of a scan is \
                    on both sides.";
        Part::new("table2", "Table 2: datasets").text(text).table(table)
    }

    fn figures_6_to_8(&self, part: Part, main: &Scores) -> Part {
        let mut classes = Table::new("figure8", ["class", "precision", "recall", "specificity", "F1", "AUC"]);
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
            decimal(main.mean.auc),
            paper::AUC[0]
        ))
        .figure("figure6", report::roc(&self.main, main))
        .text("Figure 7: the confusion matrix.")
        .figure("figure7", report::confusion(&self.main, main))
        .text("Figure 8: each class against the rest.")
        .table(classes)
    }

    fn misclassified(&self) -> Part {
        let wrong = |row: &&report::PatientRow| metrics::predicted(&row.probabilities) != row.truth;
        let mut table = Table::new("figure11", ["patient", "truth", "called", "probability"]);
        let classes = &self.main.model.classes;
        for row in self.main.patients.iter().filter(wrong) {
            let called = metrics::predicted(&row.probabilities);
            let probability = format!("{:.3}", row.probabilities[called]);
            table.row([row.patient.clone(), classes[row.truth].clone(), classes[called].clone(), probability]);
        }
        let text = format!(
            "{} of {} test images of D3 were misclassified by inRAC. The pictures show where the network looked (Grad-CAM of its last \
             stage).",
            table.rows.len(),
            self.main.patients.len()
        );
        let mut part = Part::new("figure11", "Figure 11: what was misclassified, and where the network looked").text(text);
        part.blocks.push(Block::Html(pages::gallery(&self.main)));
        part.table(table)
    }

    fn figure_12(&self) -> Option<Part> {
        let summary = self.lesions.as_ref()?;
        let mut table = Table::new("figure12", ["of", "what", "lesions", "share"]);
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
        let figure = lesions::figure(summary, self.phantoms());
        Some(Part::new("figure12", "Figure 12: lesions").text(text).figure("figure12", figure).table(table))
    }

    fn differences(&self, comparisons: &BTreeMap<String, Comparison>) -> Part {
        let columns = [
            "inRAC against",
            "difference of accuracy [95 %]",
            "p, bootstrap",
            "only inRAC right",
            "only the other",
            "p, McNemar",
        ];
        let mut table = Table::new("differences", columns);
        for (name, comparison) in comparisons {
            let accuracy = &comparison.scores.accuracy;
            let p = |p: f64| format!("{p:.3}");
            let [only_a, only_b] = [comparison.mcnemar.only_a, comparison.mcnemar.only_b].map(|count| count.to_string());
            table.row([
                name.trim_start_matches("d3-").to_owned(),
                decimal(accuracy.difference) + &interval(accuracy.interval),
                accuracy.p.map_or(String::new(), p),
                only_a,
                only_b,
                p(comparison.mcnemar.p),
            ]);
        }
        let text = "On the test images of D3, the first seed of each network. McNemar's test takes images as independent; copies of one \
                    scan are not, so the bootstrap over patients is the one to go by. Of twenty such p values one is below 0.05 by chance.";
        Part::new("differences", "Which differences are more than chance").text(text).table(table)
    }

    fn cross_validation(&self) -> Option<Part> {
        let folds: Vec<(String, &Scores)> = (0..self.options.folds)
            .filter_map(|fold| {
                let name = format!("{}-inrac", Data::Fold(fold).name());
                self.outcomes.get(&name).map(|outcome| (format!("fold {}", fold + 1), &outcome.scores))
            })
            .collect();
        if folds.is_empty() {
            return None;
        }
        let mut table = Table::new("folds", ["", "accuracy", "precision", "recall", "F1", "AUC"]);
        let panels: Vec<_> = folds.iter().map(|(_, scores)| Panel::of(scores)).collect();
        for ((name, _), panel) in folds.iter().zip(&panels) {
            let Each { precision, recall, f1, auc, .. } = &panel.mean;
            let [a, p, r, f, area] = [&panel.accuracy, precision, recall, f1, auc].map(|value| decimal(*value));
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

    fn calibration(&self, main: &Scores) -> Part {
        let mut part = Part::new("calibration", "Calibration of inRAC on D3");
        if let Some(statistics) = &main.statistics {
            let calibration = &statistics.calibration;
            let top = calibration.top_label.as_ref();
            part = part.text(format!(
                "Expected calibration error {} ({} bins of the most probable class), largest of a bin {}, classwise {}, log loss {}.",
                decimal(top.map(|error| error.expected)),
                calibration.bins,
                decimal(top.map(|error| error.maximum)),
                decimal(calibration.classwise),
                decimal(calibration.log_loss),
            ));
            let mut table = Table::new("calibration", ["bin", "images", "mean probability", "share that is right"]);
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

fn operating_points(main: &Scores) -> Part {
    let mut table = Table::new("operating-points", ["at no less than", "threshold", "sensitivity", "specificity", "PPV", "NPV"]);
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

/// Four decimals; a dash where it is undefined.
fn decimal(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.4}"))
}

/// ` [0.701, 0.802]`; nothing where there is none.
fn interval(ends: Option<[f64; 2]>) -> String {
    ends.map_or(String::new(), |[low, high]| format!(" [{low:.3}, {high:.3}]"))
}
