//! What is recorded of a network and its evaluation, in sentences that the card and the items of guidelines share.

use super::markdown::name;
use super::{Origin, SideCounts};
use crate::metrics::{Ceiling, Scores, Stressed, of_at_most};
use crate::report::{Evaluation, caption};
use crate::text::counted;

/// The record behind a card.
pub(super) struct Facts<'a> {
    pub evaluation: &'a Evaluation,
    pub scores: &'a Scores,
    pub origin: Origin,
}

/// Where nothing is known.
const UNKNOWN: &str = "not recorded";

/// `0.624 [0.527, 0.720] of at most 0.83`
pub(super) fn score(value: Option<f64>, interval: Option<[f64; 2]>, ceiling: Option<f64>) -> String {
    let Some(value) = value else { return "undefined".to_owned() };
    let interval = interval.map_or(String::new(), |[low, high]| format!(" [{low:.3}, {high:.3}]"));
    format!("{value:.3}{interval}{}", of_at_most(ceiling))
}

impl Facts<'_> {
    /// Whether no scan of a patient was used anywhere.
    pub fn all_simulated(&self) -> bool {
        self.evaluation.model.training_studies().all_simulated() && self.evaluation.evaluated_studies.all_simulated()
    }

    /// What stands above everything with a score: the caveat, and whose scores they are.
    pub fn caveat(&self) -> String {
        format!("> {}\n", self.evaluation.caveat())
    }

    pub fn classes(&self) -> String {
        self.evaluation.model.classes.iter().map(|class| name(class)).collect::<Vec<_>>().join(", ")
    }

    pub fn hash(&self) -> String {
        let hash = &self.evaluation.model.sha256;
        if hash.is_empty() { UNKNOWN.to_owned() } else { format!("`{hash}`") }
    }

    pub fn data_hash(&self) -> String {
        self.origin
            .data
            .as_ref()
            .map_or_else(|| format!("hash of the data {UNKNOWN}"), |hash| format!("SHA-256 of the data `{hash}`"))
    }

    pub fn program(&self) -> String {
        if self.origin.program.is_empty() { format!("osteon, version {UNKNOWN}") } else { name(&self.origin.program) }
    }

    /// What it was trained on.
    pub fn trained(&self) -> String {
        let model = &self.evaluation.model;
        match (&model.training_studies, &*model.trained_on) {
            (Some(studies), _) => studies.to_string(),
            (None, "") => "what is not recorded".to_owned(),
            (None, words) => name(words),
        }
    }

    /// What it was evaluated on.
    pub fn evaluated(&self) -> String {
        name(&self.evaluation.evaluated_on)
    }

    pub fn sources(&self) -> String {
        let simulated = if self.all_simulated() { " No scan is a patient's." } else { "" };
        format!("Trained on {}; evaluated on {}.{simulated}", self.trained(), self.evaluated())
    }

    /// `By side: training 186 patients (...), 558 studies; ...`
    pub fn sides(&self) -> String {
        if self.origin.sides.is_empty() {
            return format!("How many patients trained is {UNKNOWN}; evaluated: {}.", counted(self.scores.studies, "study"));
        }
        let side = |side: &SideCounts| {
            let classes = self.evaluation.model.classes.iter().zip(&side.of_class);
            let classes: Vec<String> = classes.map(|(class, count)| format!("{count} {}", name(class))).collect();
            let [patients, studies] = [counted(side.patients, "patient"), counted(side.studies, "study")];
            format!("{} {patients} ({}), {studies}", side.name, classes.join(", "))
        };
        let sides: Vec<String> = self.origin.sides.iter().map(side).collect();
        let kind = if self.all_simulated() { " All patients are phantoms." } else { "" };
        format!("By side: {}.{kind}", sides.join("; "))
    }

    pub fn disjoint(&self) -> String {
        let people = match self.origin.same_people {
            0 => String::new(),
            some => format!(" {} of pseudonyms were found to be of one person each, and kept together.", counted(some, "group")),
        };
        format!("The patient: no scan, copy or file of one is on two sides; `split.csv` has each side.{people}")
    }

    pub fn preparation(&self) -> String {
        let [rows, columns] = self.evaluation.model.input_size;
        format!(
            "Views are flipped, aligned and added, resized to {rows} x {columns} pixels, divided by the body's level, clamped and compressed ({}).",
            name(&self.evaluation.model.preprocessing)
        )
    }

    pub fn network(&self) -> String {
        let model = &self.evaluation.model;
        format!("A convolutional network, {}, with {} trained values.", name(&model.architecture), model.parameters)
    }

    pub fn training(&self) -> String {
        let Origin { recipe, epochs, .. } = &self.origin;
        match recipe.is_empty() {
            true => format!("How it was trained is {UNKNOWN}."),
            false => format!(
                "Trained by the recipe {}, {} epochs; where it departs from the paper's stands above.",
                name(recipe),
                epochs
            ),
        }
    }

    pub fn first_weights(&self) -> String {
        if self.origin.first_weights.is_empty() { format!("First weights: {UNKNOWN}.") } else { name(&self.origin.first_weights) }
    }

    pub fn choice(&self) -> String {
        if self.origin.choice.is_empty() { format!("How the epoch was chosen is {UNKNOWN}.") } else { name(&self.origin.choice) }
    }

    pub fn imbalance(&self) -> String {
        match &*self.origin.class_weights {
            "" => format!("Weights of classes: {UNKNOWN}."),
            "none" => "Classes were not weighed.".to_owned(),
            weights => format!("Weights of classes in the loss: {}.", name(weights)),
        }
    }

    pub fn resamples(&self) -> String {
        counted(self.evaluation.bootstrap.resamples, "resample")
    }

    /// Accuracy and AUC, of the classes and of metastatic or not.
    pub fn scores(&self) -> String {
        let scores = self.scores;
        let ends = scores.statistics.as_ref().map(|statistics| &statistics.intervals.scores);
        let ceiling = scores.ceilings.map(|ceilings| ceilings.classes);
        let [accuracy, auc] = [ceiling.map(|ceiling| ceiling.accuracy), ceiling.map(|ceiling| ceiling.auc)];
        let [of_accuracy, of_auc] = [ends.and_then(|ends| ends.accuracy), ends.and_then(|ends| ends.mean.auc)];
        format!(
            "{}: accuracy {}, macro AUC {} ({}). {}",
            counted(scores.classes.len(), "class"),
            score(scores.accuracy, of_accuracy.or(scores.accuracy_interval), accuracy),
            score(scores.mean.auc, of_auc, auc),
            self.whose(),
            self.metastatic()
        )
    }

    /// Metastatic or not.
    pub fn metastatic(&self) -> String {
        let Some(binary) = &self.scores.metastatic else { return "The classes do not merge to metastatic or not.".to_owned() };
        let ends = self.scores.statistics.as_ref().and_then(|statistics| statistics.intervals.scores.metastatic.as_ref());
        let ceiling = self.scores.ceilings.and_then(|ceilings| ceilings.metastatic);
        let of = |get: fn(&Ceiling) -> f64| ceiling.as_ref().map(get);
        format!(
            "Metastatic or not: accuracy {}, sensitivity {}, specificity {}, AUC {} ({}).",
            score(
                binary.accuracy,
                ends.and_then(|ends| ends.accuracy).or(binary.accuracy_interval),
                of(|ceiling| ceiling.accuracy)
            ),
            score(binary.scores.recall, ends.and_then(|ends| ends.scores.recall), None),
            score(binary.scores.specificity, ends.and_then(|ends| ends.scores.specificity), None),
            score(binary.auc, ends.and_then(|ends| ends.scores.auc), of(|ceiling| ceiling.auc)),
            self.whose()
        )
    }

    /// Whose scores they are, in a few words.
    pub fn whose(&self) -> String {
        let model = &self.evaluation.model;
        let tag = caption::of_scores(model.training_studies(), self.evaluation.evaluated_studies);
        if tag.is_empty() { "patients".to_owned() } else { tag }
    }

    pub fn failures(&self) -> String {
        let wrong =
            self.scores.studies as u64 - self.scores.confusion.iter().enumerate().map(|(class, row)| row[class]).sum::<u64>();
        format!(
            "{wrong} of {} are wrong ({}); the page shows the surest of them first.",
            counted(self.scores.studies, "study"),
            self.whose()
        )
    }

    pub fn robustness(&self) -> String {
        let Some(found) = &self.evaluation.stress else { return NO_STRESS.to_owned() };
        let change = |one: &Stressed| one.accuracy_change.and_then(|change| change.by).unwrap_or(0.0);
        let worst = found.conditions.iter().min_by(|a, b| change(a).total_cmp(&change(b))).filter(|one| change(one) < 0.0);
        let worst = worst.map_or(String::new(), |one| {
            let score = score(one.accuracy, one.accuracy_interval, None);
            format!("; the largest fall of accuracy: {}, {score}", name(&one.condition))
        });
        format!("Evaluated again under {}{worst} ({}).", counted(found.conditions.len() - 1, "condition"), self.whose())
    }

    pub fn explanations(&self) -> String {
        let Some(found) = &self.evaluation.localisation else { return NO_LOCALISATION.to_owned() };
        let evidence =
            found.maps.first().map_or_else(|| "undefined".to_owned(), |map| score(map.pointing, map.pointing_interval, None));
        format!(
            "Maps of what speaks for the answer: of {} with known lesions the hottest pixel is near one in {evidence} ({}).",
            counted(found.pointed, "scan"),
            self.whose()
        )
    }
}

/// Said where the evaluation was not repeated on worse scans.
pub(super) const NO_STRESS: &str = "not measured: `osteon evaluate RUN --stress`";

/// Said where maps were not held against lesions.
pub(super) const NO_LOCALISATION: &str = "not measured: `osteon evaluate RUN --localise`";
