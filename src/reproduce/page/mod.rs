//! The page of the repeated study: each table and figure of the paper beside ours, as HTML, Markdown, CSV and pictures.
//!
//! All that stands here is computed from finished runs' predictions; where the paper's ordering is not found, a sentence of the same
//! size says so.

mod learning;
mod parts;
mod tables;

use super::paper::{self, TABLES};
use super::{Data, Options, TextTable};
use crate::annotation::lesions;
use crate::archive::datasets::Counts;
use crate::archive::people::Demographics;
use crate::metrics::{Epoch, Predictions, Scores};
use crate::models::StudyCounts;
use crate::report::{self, Evaluation, Figure, caption, frame};
use crate::text::counted;
use crate::{Result, files};
use maud::{Markup, html};
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
    /// The instruction set that it was trained with; empty where that is not known.
    pub isa: String,
    /// Its epochs.
    pub history: Vec<Epoch>,
    /// The epoch whose weights are the model's.
    pub chosen: usize,
}

impl Outcome {
    /// The expected calibration error of the most probable class.
    fn calibration_error(&self) -> Option<f64> {
        self.scores.statistics.as_ref()?.calibration.top_label.as_ref().map(|error| error.expected)
    }
}

/// The repeated study: everything that its page is made of.
#[derive(Clone, Debug)]
pub struct Reproduction {
    /// The options that it was run with.
    pub options: Options,
    /// The command that repeats it.
    pub command: String,
    /// Of the archive, and how many of them are simulated.
    pub studies: StudyCounts,
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
    Table(TextTable),
    Figure(&'static str, Box<Figure>),
    /// For the HTML page alone.
    Html(Markup),
}

impl Part {
    fn new(id: &'static str, heading: impl Into<String>) -> Self {
        Part { id, heading: heading.into(), blocks: Vec::new() }
    }

    fn text(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Text(text.into()));
        self
    }

    fn table(mut self, table: TextTable) -> Self {
        self.blocks.push(Block::Table(table));
        self
    }

    fn figure(mut self, name: &'static str, figure: Figure) -> Self {
        self.blocks.push(Block::Figure(name, Box::new(figure)));
        self
    }

    fn html(&self) -> Markup {
        html! {
            @for block in &self.blocks {
                @match block {
                    Block::Text(text) => { p { (text) } }
                    Block::Table(table) => { (table.html()) }
                    Block::Figure(_, figure) => { figure.panel { (figure.inline()) } }
                    Block::Html(own) => { (own) }
                }
            }
        }
    }
}

impl Reproduction {
    /// Whether all patients are simulated.
    fn phantoms(&self) -> bool {
        self.studies.all_simulated()
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
        let tag = &caption::of_scores(self.studies, self.studies);
        let facts = self.facts();
        let mut markdown = format!("# {title}\n\n**{}**\n\n", self.caveat());
        for (name, value) in &facts {
            markdown += &format!("* {name}: {value}\n");
        }
        let mut sections = Vec::new();
        for part in &parts {
            markdown += &format!("\n## {}\n", part.heading);
            for block in &part.blocks {
                match block {
                    Block::Text(text) => markdown += &format!("\n{text}\n"),
                    Block::Table(table) => {
                        files::write(tables.join(format!("{}.csv", table.name)), &table.csv())?;
                        markdown += &format!("\n{}", table.markdown());
                    }
                    Block::Figure(name, figure) => {
                        files::write(figures.join(format!("{name}.png")), &figure.png())?;
                        files::write(figures.join(format!("{name}.svg")), figure.svg().as_bytes())?;
                        markdown += &format!("\n![{name}](figures/{name}.png)\n");
                    }
                    Block::Html(_) => {}
                }
            }
            sections.push(frame::section(part.id, &part.heading, tag, &part.html()));
        }
        let body = html! {
            (frame::header(title, &self.caveat(), tag, &facts))
            main { @for section in &sections { (section) } }
        };
        files::write(folder.join(MARKDOWN), markdown.as_bytes())?;
        let path = folder.join(PAGE);
        files::write(&path, frame::page(title, &self.caveat(), &body).as_bytes())?;
        Ok(path)
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
            ("trained with", self.instruction_sets()),
            ("program", version.trim_end().to_owned()),
            ("command", self.command.clone()),
        ]
    }

    /// `avx2+fma (12 trainings), avx512 (26 trainings)`: a study may be spread over machines.
    fn instruction_sets(&self) -> String {
        let mut trainings = BTreeMap::<&str, usize>::new();
        for outcome in self.outcomes.values() {
            *trainings.entry(if outcome.isa.is_empty() { "unknown" } else { &outcome.isa }).or_default() += 1;
        }
        let said = trainings.into_iter().map(|(isa, count)| format!("{isa} ({})", counted(count, "training")));
        said.collect::<Vec<_>>().join(", ")
    }

    fn parts(&self) -> Result<Vec<Part>> {
        let main = &self.outcomes[MAIN].scores;
        let pairs = self.pairs()?;
        let mut parts = vec![self.ordering_in_short(&pairs), self.learning()?, self.archive(), self.datasets()];
        for table in &TABLES {
            let [scores, rest] = self.scores(table)?;
            let mut part = Part::new(table.name, table.title).table(scores).text(self.ordering(table, &pairs)).table(rest);
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
        parts.push(self.differences(&pairs));
        parts.extend(self.paper_recipe()?);
        parts.extend(self.cross_validation());
        parts.push(self.calibration(main));
        parts.push(parts::operating_points(main));
        parts.push(self.trainings());
        Ok(parts)
    }
}

/// Four decimals; a dash where it is undefined.
fn decimal(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.4}"))
}

/// ` [0.701, 0.802]`; nothing where there is none.
fn interval(ends: Option<[f64; 2]>) -> String {
    ends.map_or(String::new(), |[low, high]| format!(" [{low:.3}, {high:.3}]"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Bootstrap;
    use crate::report::tests::example;
    use crate::reproduce::{By, Plan, Scale, Training};
    use crate::train::Recipe;

    /// How many in a hundred test images a network gets right, on average over the seeds.
    fn right_of_hundred(training: &Training) -> usize {
        match (training.data, training.architecture, training.by) {
            (_, _, By::Paper) => 40,
            (_, _, By::PaperPrecise) => 85,
            (Data::D1, ..) => 60,
            (Data::D2, ..) => 62,
            (_, "inrac" | "vgg-11" | "classifier-18" | "inception-v1", _) => 90,
            (_, "inrac-no-residual-no-attention", _) => 100,
            (_, "inrac-no-attention", _) => 60,
            (_, "classifier-34", _) => 45,
            _ => 75,
        }
    }

    /// A made-up outcome: 300 patients with a test image each, and a loss that falls for ten epochs.
    fn outcome(training: &Training) -> Outcome {
        let names: &[&str] = if training.data == Data::D3TwoClasses { &["NoMet", "Met"] } else { &["NoMet", "ADMet", "nADMet"] };
        let right = right_of_hundred(training) + 2 * training.repetition - 2;
        let truths: Vec<usize> = (0..300).map(|patient| patient % names.len()).collect();
        let row = |patient: usize| {
            let is_right = patient * 37 % 100 < right;
            let called = if is_right { truths[patient] } else { (truths[patient] + 1) % names.len() };
            (0..names.len()).map(|class| if class == called { 0.8 } else { 0.2 / (names.len() - 1) as f32 }).collect()
        };
        let patients = (0..300).map(|patient| format!("{}{patient}", training.data.name())).collect();
        let classes = names.iter().map(|name| (*name).to_owned()).collect();
        let predictions =
            Predictions::new(training.name(), classes, patients, truths.clone(), (0..300).map(row).collect()).unwrap();
        let scores = Scores::with_statistics(&predictions, Bootstrap { resamples: 100, seed: 1 }).unwrap();
        let history: Vec<Epoch> = (1..=10)
            .map(|epoch| Epoch {
                epoch,
                train_loss: 1.1 / epoch as f64,
                train_accuracy: 0.09 * epoch as f64,
                test_loss: Some(1.3 / epoch as f64 + 0.2),
                test_accuracy: Some(0.3 + 0.01 * epoch as f64),
                ..Epoch::default()
            })
            .collect();
        Outcome { unaugmented: scores.clone(), scores, predictions, chosen: history.len(), history, isa: "avx2+fma".to_owned() }
    }

    fn made_up(seeds: usize) -> Reproduction {
        let options = Options {
            scale: Scale::Quarter,
            seed: 1,
            seeds,
            folds: 2,
            recipe: Recipe::Osteon,
            epochs: 10,
            ..crate::reproduce::tests::options()
        };
        let main = example(3);
        Reproduction {
            command: "osteon reproduce".to_owned(),
            studies: main.evaluated_studies,
            counts: Vec::new(),
            demographics: Demographics::count([]),
            lesions: None,
            outcomes: Plan::new(&options).trainings.iter().map(|training| (training.name(), outcome(training))).collect(),
            main,
            two_classes: example(2),
            options,
        }
    }

    #[test]
    fn a_page_says_what_is_found_and_what_cannot_be_told() {
        let folder = tempfile::tempdir().unwrap();
        let page = made_up(3).write(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join(MARKDOWN)).unwrap();
        let holds = |line: &str| assert!(text.contains(line), "{line}\n{text}");
        holds("| the paper's ordering in | pairs | as in the paper | the other way round | not distinguishable |");
        holds("| Table 4: attention inside or outside the residual branch | 1 | 1 | 0 | 0 |");
        // D1 and D2 are 2 points apart, on patients of their own.
        holds("| Table 5: single views, augmented, aggregated | 3 | 2 | 0 | 1 |");
        // "Neither" was made the best, and "attention only" better than "residual only".
        holds("| Table 6: without residual connections, without attention | 6 | 2 | 4 | 0 |");
        holds("| Table 7 and figure 9: depth | 2 | 1 | 0 | 1 |");
        holds("| Tables 9 and 10: other networks | 3 | 0 | 0 | 3 |");
        holds("| all tables | 15 | 6 | 4 | 5 |");
        holds("As in the paper: inRAC 0.9000 against outRAC 0.7500 (difference 0.1500 [");
        holds("| attention only | neither | 0.0105 | -0.2433 [");
        // A gain of 45 % - 33 % beside one of 90 % - 33 %.
        holds("| classifier-34 | 0.4500 [");
        holds("| 0.1167 | 21 % | no |");
        holds("classifier-34 (21 %): its training loss ends at 0.110, and its held-out loss is 0.330 at its least");
        holds("| vgg-11 | 0.9000 [");
        holds("After 10 epochs its training loss is 0.110 and 90 % of the training images are right");
        holds("accuracy is 0.3800, with precise batch normalisation 0.8300: better by more than chance (difference 0.4500 [");
        holds(
            "Among its 10 measurements of the test images the worst has an accuracy of 0.310 after epoch 1, the best of 0.400 after",
        );
        holds("| d3-vgg-11-seed3 | 0.9200 |");
        for line in text.lines().filter(|line| line.starts_with("|---")) {
            assert!(line.matches("---").count() <= 8, "a table too wide for a page: {line}");
        }
        assert!(folder.path().join("figures/losses.png").is_file() && folder.path().join("tables/table4-more.csv").is_file());
        assert!(std::fs::read_to_string(page).unwrap().contains("<small>["));
    }

    #[test]
    fn one_seed_does_not_pretend_to_know_the_others() {
        let folder = tempfile::tempdir().unwrap();
        made_up(1).write(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join(MARKDOWN)).unwrap();
        assert!(text.contains("say nothing of how another seed would differ"), "{text}");
    }
}
