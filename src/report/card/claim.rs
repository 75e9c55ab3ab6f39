//! The items of CLAIM, the checklist for artificial intelligence in medical imaging, in its update of 2024 (Tejani et al., Radiology:
//! Artificial Intelligence 2024, 6:e240300), in this program's words, and what is recorded of each.

use super::items::{Item, and, of_patients, person, recorded};

/// All of them.
pub(super) const CLAIM: [Item; 44] = [
    Item("1", "Title or abstract: that it is about AI, and of what kind", |f| recorded(f.network())),
    Item("2", "Abstract: design, methods, results, conclusions", |_| person("the abstract; this card has what it needs")),
    Item("3", "Background, intended use and role", |_| and("See *Intended use* above.", "the clinical background")),
    Item("4", "Aims and hypotheses", |_| person("the question of the study")),
    Item("5", "Prospective or retrospective", |f| of_patients(f, "which of both")),
    Item("6", "Goal of the study", |f| {
        and(format!("Development of a network, and its evaluation on {}.", f.evaluated()), "what follows from it")
    }),
    Item("7", "Sources of data", |f| and(f.sources(), "where the data come from")),
    Item("8", "Inclusion and exclusion", |f| of_patients(f, "the criteria")),
    Item("9", "Preprocessing", |f| recorded(f.preparation())),
    Item("10", "Choice of parts of the data", |f| {
        and(format!("Evaluated on {}.", f.evaluated()), "what was left out before, and why")
    }),
    Item("11", "De-identification", |f| of_patients(f, "how; pages and tables here have the manifest's pseudonyms")),
    Item("12", "Missing data", |_| {
        and(
            "A study with one view is its own sum; one that cannot be read is refused by name, none is left out in silence.",
            "what was missing",
        )
    }),
    Item("13", "Acquisition of the images", |f| {
        of_patients(f, "camera, collimator, tracer, activity, time after injection, speed")
    }),
    Item("14", "Reference standard: how it was obtained", |f| {
        if f.all_simulated() {
            recorded("The simulator's own truth.")
        } else {
            and("The label of each study in the manifest.", "how it was found")
        }
    }),
    Item("15", "Why this standard", |f| of_patients(f, "why, and what it misses")),
    Item("16", "Who annotated", |f| of_patients(f, "their number and qualifications")),
    Item("17", "Annotation of the test set", |f| of_patients(f, "how the test studies were labelled")),
    Item("18", "Agreement between and within readers", |f| of_patients(f, "as measured, or that it was not")),
    Item("19", "How data were assigned to sides", |f| {
        recorded(format!(
            "At random by patient within each class, before any augmentation, or as the manifest says. {}",
            f.sides()
        ))
    }),
    Item("20", "Level at which sides are disjoint", |f| recorded(f.disjoint())),
    Item("21", "Intended size of the test set", |f| {
        and(format!("Evaluated on {}.", f.evaluated()), "how many were intended, and why")
    }),
    Item("22", "The model in detail", |f| recorded(format!("{} Every layer is in `osteon model info`.", f.network()))),
    Item("23", "Software", |f| recorded(format!("{}; no other framework.", f.program()))),
    Item("24", "First weights", |f| recorded(f.first_weights())),
    Item("25", "Training: augmentation, settings, number of models", |f| {
        and(format!("{} All settings are in `config.toml`.", f.training()), "how many models were trained before this one")
    }),
    Item("26", "How the final model was chosen", |f| recorded(f.choice())),
    Item("27", "Ensembles", |facts| match &facts.evaluation.model.averages {
        Some(averages) => recorded(format!("The answer is {averages}.")),
        None => recorded("None: one network."),
    }),
    Item("28", "Measures of performance", |_| {
        recorded(
            "Accuracy, precision, recall, specificity, F1, AUC, calibration errors, log loss, Brier score, operating points.",
        )
    }),
    Item("29", "Significance and uncertainty", |f| {
        recorded(format!("95 % intervals: percentile bootstrap over patients, {}.", f.resamples()))
    }),
    Item("30", "Robustness", |f| recorded(f.robustness())),
    Item("31", "Explanations", |f| recorded(f.explanations())),
    Item("32", "Evaluation on internal data", |f| {
        and(f.scores(), "whether the patients are of the same place as those trained with")
    }),
    Item("33", "Testing on external data", |_| {
        person("scores on another hospital's patients: `osteon evaluate RUN --manifest elsewhere.csv --split all`")
    }),
    Item("34", "Registration of a trial", |_| person("register and number, or that it is none")),
    Item("35", "Numbers included and excluded", |f| and(f.sides(), "how many were looked at before, and why some were left out")),
    Item("36", "Patients by side: age, sex, disease", |f| of_patients(f, "for each side")),
    Item("37", "Performance and its uncertainty", |f| recorded(f.scores())),
    Item("38", "Diagnostic performance and its precision", |f| recorded(f.metastatic())),
    Item("39", "Failure analysis", |f| and(f.failures(), "what the wrong answers have in common")),
    Item("40", "Limitations", |_| and("See *Limits* above.", "those of the data and the study")),
    Item("41", "What follows for practice", |_| {
        and("Nothing: this is research software, not a medical device.", "what would have to be shown first")
    }),
    Item("42", "Protocol or further technical details", |_| {
        and("`config.toml`, `run.json` and `osteon tasks`.", "where the protocol is")
    }),
    Item("43", "Availability of software, model and data", |f| {
        and(format!("Made by {}; the model's SHA-256 is {}; {}.", f.program(), f.hash(), f.data_hash()), "where they can be had")
    }),
    Item("44", "Funding", |_| person("who paid, and their part in it")),
];
