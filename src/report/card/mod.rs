//! The card of a model, `model_card.md`: what it is, what it is for, what it learnt from, how well it does and where that ends, from what
//! is recorded alone; and the items of two reporting guidelines, with what only a person can say marked so. The same record gives the same
//! bytes.

mod claim;
mod facts;
mod items;
mod markdown;
mod tripod;

use super::Evaluation;
use crate::DISCLAIMER;
use crate::metrics::{Ceilings, Change, FALSE_MARKS, NEAR_MM, OperatingPoint, Panel, Scores, Stressed};
use crate::text::counted;
use facts::{Facts, NO_LOCALISATION, NO_STRESS, score};
use markdown::{cell, name};

/// What is recorded of how a network came to be; whatever is not is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    /// The program that trained it: `osteon 0.1.0, commit abc, avx512`.
    pub program: String,
    /// SHA-256 of its weights.
    pub weights: String,
    /// SHA-256 of its data: manifest and every file that it names.
    pub data: Option<String>,
    /// SHA-256 of its split.
    pub split: Option<String>,
    /// Training, validation and test.
    pub sides: Vec<SideCounts>,
    /// Groups of pseudonyms that were found to be one person's.
    pub same_people: usize,
    /// The name of its recipe.
    pub recipe: String,
    /// The settings that differ from the paper's: name, its own value, the paper's.
    pub departures: Vec<[String; 3]>,
    /// How many epochs it was to be trained for.
    pub epochs: usize,
    /// Which epoch's weights it has, and how that was chosen, in a sentence.
    pub choice: String,
    /// What its first weights were, in a sentence.
    pub first_weights: String,
    /// `none`, `balanced` or numbers.
    pub class_weights: String,
    /// What its logits are divided by.
    pub temperature: Option<f64>,
}

/// One side of a split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SideCounts {
    /// `training`
    pub name: String,
    /// How many patients.
    pub patients: usize,
    /// How many studies, with augmented copies.
    pub studies: usize,
    /// Patients of each class.
    pub of_class: Vec<usize>,
}

/// The card of an evaluated network, as Markdown.
pub fn model_card(evaluation: &Evaluation, scores: &Scores) -> String {
    let facts = Facts { evaluation, scores, origin: evaluation.origin.clone().unwrap_or_default() };
    let parts: [(&str, String); 12] = [
        ("What it is", what(&facts)),
        ("Intended use", use_of(&facts)),
        ("Training data", data(&facts)),
        ("How it was trained", training(&facts)),
        ("How well it does", scored(&facts)),
        ("Calibration", calibration(&facts)),
        ("Operating points", operating_points(&facts)),
        ("Where the evidence lies", localised(&facts)),
        ("On worse scans", stressed(&facts)),
        ("Limits", limits(&facts)),
        ("TRIPOD+AI", guideline(&facts, TRIPOD, &tripod::TRIPOD)),
        ("CLAIM", guideline(&facts, CLAIM, &claim::CLAIM)),
    ];
    let mut text = format!(
        "# Model card: {}\n\nWritten by `osteon evaluate` {} from what is recorded. What only a person can say is marked so: fill it in, in a copy under another name, since the next evaluation writes this file again and a training that goes on removes it.\n",
        name(&evaluation.model.name),
        env!("CARGO_PKG_VERSION")
    );
    for (heading, part) in parts {
        text += &format!("\n## {heading}\n\n{}\n{part}", facts.caveat());
    }
    text
}

const TRIPOD: &str = "The items of TRIPOD+AI (Collins et al., BMJ 2024, 385:e078378), in other words than the guideline's, which is to be read beside.";

const CLAIM: &str = "The items of CLAIM in its update of 2024 (Tejani et al., Radiology: Artificial Intelligence 2024, 6:e240300), in other words than the \
                     checklist's, which is to be read beside.";

fn guideline(facts: &Facts, about: &str, items: &[items::Item]) -> String {
    format!("{about}\n\n{}", items::table(items, facts))
}

/// Lines `* name: value`, without those that have no value.
fn list(lines: &[(&str, String)]) -> String {
    lines.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("* {name}: {value}\n")).collect()
}

/// A table: headings and rows.
fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|text| cell(text)).collect();
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}

fn what(facts: &Facts) -> String {
    let (model, origin) = (&facts.evaluation.model, &facts.origin);
    let [rows, columns] = model.input_size;
    let code = |hash: &str| if hash.is_empty() { String::new() } else { format!("`{hash}`") };
    list(&[
        ("File", name(&model.name)),
        ("SHA-256 of the file", facts.hash()),
        ("SHA-256 of the weights", code(&origin.weights)),
        ("Trained by", facts.program()),
        ("Network", format!("{}, {} trained values", name(&model.architecture), model.parameters)),
        ("Input", format!("{rows} x {columns} (rows x columns), one channel: the fused views of a whole-body bone scan")),
        ("Preprocessing", name(&model.preprocessing)),
        ("Output", format!("a probability for each of {}", facts.classes())),
    ])
}

fn use_of(facts: &Facts) -> String {
    let simulated = if facts.evaluation.model.training_studies().any_simulated() {
        "* It has learnt from phantoms (simulated patients): on a scan of a patient its probabilities mean little or nothing.\n"
    } else {
        ""
    };
    format!(
        "* For research on how networks read whole-body bone scans, and for checking this program.\n* Out of scope: {DISCLAIMER} No diagnosis, triage or \
         treatment of anyone may rest on it; no other examinations than whole-body planar bone scans, no other tracers, no children unless they \
         were among those it was trained with.\n{simulated}* **To be filled in by a person:** who is to use it, for whom, and under whose \
         responsibility.\n"
    )
}

fn data(facts: &Facts) -> String {
    let origin = &facts.origin;
    let code = |hash: &Option<String>| hash.as_ref().map_or_else(|| "not recorded".to_owned(), |hash| format!("`{hash}`"));
    let rows: Vec<Vec<String>> = origin
        .sides
        .iter()
        .map(|side| {
            let counts = [side.patients, side.studies].into_iter().chain(side.of_class.iter().copied());
            std::iter::once(side.name.clone()).chain(counts.map(|count| count.to_string())).collect()
        })
        .collect();
    let classes: Vec<String> = facts.evaluation.model.classes.iter().map(|class| cell(&name(class))).collect();
    let heads: Vec<&str> = ["Side", "Patients", "Studies"].into_iter().chain(classes.iter().map(String::as_str)).collect();
    let sides = match rows.is_empty() {
        true => "How many patients are on which side is not recorded here.\n".to_owned(),
        false => format!("{}\nStudies with augmented copies; classes in patients.\n", table(&heads, &rows)),
    };
    list(&[
        ("Trained on", facts.trained()),
        ("Split", facts.disjoint()),
        ("SHA-256 of the data (manifest and every file that it names)", code(&origin.data)),
        ("SHA-256 of the split", code(&origin.split)),
    ]) + "\n"
        + &sides
}

fn training(facts: &Facts) -> String {
    let origin = &facts.origin;
    if origin.recipe.is_empty() {
        return "How it was trained is not recorded here.\n".to_owned();
    }
    let temperature =
        origin.temperature.map_or_else(|| "none".to_owned(), |temperature| format!("logits divided by {temperature:.3}"));
    let rows: Vec<Vec<String>> = origin.departures.iter().map(|row| row.iter().map(|value| name(value)).collect()).collect();
    let departures = match rows.is_empty() {
        true => {
            "No setting departs from the paper's (Lin et al. 2022), as this program has them in the recipe `paper`.\n".to_owned()
        }
        false => format!(
            "Where it departs from the paper (Lin et al. 2022), as this program has it in the recipe `paper`:\n\n{}",
            table(&["Setting", "Here", "Paper"], &rows)
        ),
    };
    list(&[
        ("Recipe", name(&origin.recipe)),
        ("Epochs", origin.epochs.to_string()),
        ("Weights", facts.choice()),
        ("First weights", facts.first_weights()),
        ("Classes", facts.imbalance()),
        ("Calibration", temperature),
    ]) + "\n"
        + &departures
}

fn scored(facts: &Facts) -> String {
    let scores = facts.scores;
    let panel = Panel::of(scores);
    let ends = scores.statistics.as_ref().map_or_else(|| panel.map(|_| None), |statistics| statistics.intervals.scores.clone());
    let (classes, metastatic) = (scores.ceilings.map(|all| all.classes), scores.ceilings.and_then(|all| all.metastatic));
    let named = panel.named().into_iter().zip(ends.values()).map(|((what, value), ends)| {
        // Of few studies a bootstrap may have no interval; the accuracy has Wilson's.
        let wilson = match &*what {
            "accuracy" => scores.accuracy_interval,
            "metastatic accuracy" => scores.metastatic.as_ref().and_then(|binary| binary.accuracy_interval),
            _ => None,
        };
        let ceiling = match &*what {
            "accuracy" => classes.map(|ceiling| ceiling.accuracy),
            "macro AUC" => classes.map(|ceiling| ceiling.auc),
            "metastatic accuracy" => metastatic.map(|ceiling| ceiling.accuracy),
            "metastatic AUC" => metastatic.map(|ceiling| ceiling.auc),
            _ => None,
        };
        let interval = ends.or(wilson).map_or("-".to_owned(), |[low, high]| format!("{low:.3} to {high:.3}"));
        vec![name(&what), score(*value, None, None), interval, ceiling.map_or("-".to_owned(), |ceiling| format!("{ceiling:.2}"))]
    });
    let rows: Vec<Vec<String>> = named.collect();
    let ceilings = if scores.ceilings.is_some() { format!("\n{}\n", Ceilings::MEANING) } else { String::new() };
    let notes: String = scores.notes.iter().map(|note| format!("\n{}\n", name(note))).collect();
    format!(
        "Evaluated on {}: {}.\n\n{}\n95 % intervals: percentile bootstrap over patients, {}.\n{ceilings}{notes}",
        facts.evaluated(),
        counted(scores.studies, "study"),
        table(&["Score", "Value", "95 % interval", "At most"], &rows),
        facts.resamples()
    )
}

fn calibration(facts: &Facts) -> String {
    let Some(statistics) = &facts.scores.statistics else { return "not measured\n".to_owned() };
    let calibration = &statistics.calibration;
    let figure = |value: Option<f64>| score(value, None, None);
    list(&[
        ("Expected calibration error of the predicted class", figure(calibration.top_label.as_ref().map(|error| error.expected))),
        ("By chance, of probabilities that mean what they say, with so few patients", figure(calibration.by_chance)),
        ("Log loss", figure(calibration.log_loss)),
        ("Brier score of metastatic or not", figure(facts.scores.metastatic.as_ref().and_then(|binary| binary.brier))),
    ])
}

fn operating_points(facts: &Facts) -> String {
    let points = facts.scores.statistics.as_ref().and_then(|statistics| statistics.operating_points.as_ref());
    let Some(points) = points else {
        return "The classes do not merge to metastatic or not, or one of both has no study.\n".to_owned();
    };
    let row = |what: &str, point: &OperatingPoint| {
        let threshold = point.threshold.map_or("nothing is called".to_owned(), |threshold| format!("{threshold:.4}"));
        let figures =
            [Some(point.sensitivity), Some(point.specificity), point.ppv, point.npv].map(|value| score(value, None, None));
        [format!("{what} {:.0} %", 100.0 * point.target), threshold].into_iter().chain(figures).collect()
    };
    let rows: Vec<Vec<String>> = (points.sensitivity.iter().map(|point| row("sensitivity", point)))
        .chain(points.specificity.iter().map(|point| row("specificity", point)))
        .collect();
    format!(
        "{}\nThresholds were chosen on these very studies: on others expect a little less. Predictive values hold for their share of metastatic studies.\n",
        table(&["Wanted", "Called metastatic from", "Sensitivity", "Specificity", "PPV", "NPV"], &rows)
    )
}

fn localised(facts: &Facts) -> String {
    let Some(found) = &facts.evaluation.localisation else { return format!("{NO_LOCALISATION}\n") };
    let marked: Vec<String> = FALSE_MARKS.iter().map(|marks| format!("Marked at {marks}")).collect();
    let heads: Vec<&str> =
        ["Map of", "Points at a lesion", "On lesions"].into_iter().chain(marked.iter().map(String::as_str)).collect();
    let figure = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    let rows: Vec<Vec<String>> = found
        .maps
        .iter()
        .map(|map| {
            let pointing = map.pointing.map_or("-".to_owned(), |_| score(map.pointing, map.pointing_interval, None));
            [name(&map.map), pointing, figure(map.on_lesions)]
                .into_iter()
                .chain(map.sensitivity.iter().map(|found| figure(*found)))
                .collect()
        })
        .collect();
    format!(
        "{}\nPoints at a lesion: the hottest pixel is at most {NEAR_MM} mm from one, of {} with lesions that are called metastatic. Marked: the share of {} in {} \
         with a mark so near, at so many false marks a scan.\n",
        table(&heads, &rows),
        counted(found.pointed, "scan"),
        counted(found.lesions, "lesion"),
        counted(found.marked, "scan")
    )
}

fn stressed(facts: &Facts) -> String {
    let Some(found) = &facts.evaluation.stress else { return format!("{NO_STRESS}\n") };
    let change = |change: Option<Change>| match change {
        Some(Change { by: Some(by), interval }) => {
            let interval = interval.map_or(String::new(), |[low, high]| format!(" [{low:+.3}, {high:+.3}]"));
            format!("{by:+.3}{interval}")
        }
        _ => "-".to_owned(),
    };
    let has_merged = found.conditions.iter().any(|one| one.metastatic.is_some());
    let mut heads = vec!["Scans", "Studies", "Accuracy", "Difference", "Macro AUC", "Difference"];
    if has_merged {
        heads.extend(["Metastatic or not", "AUC"]);
    }
    heads.extend(["Calibration error", "Other answers"]);
    let row = |one: &Stressed| {
        let mut row = vec![
            name(&one.condition),
            one.studies.to_string(),
            score(one.accuracy, one.accuracy_interval, None),
            change(one.accuracy_change),
            score(one.auc, None, None),
            change(one.auc_change),
        ];
        row.extend(
            one.metastatic
                .iter()
                .flat_map(|merged| [score(merged.accuracy, merged.accuracy_interval, None), score(merged.auc, None, None)]),
        );
        row.extend([
            score(one.calibration_error, None, None),
            one.changed.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share)),
        ]);
        row
    };
    let rows: Vec<Vec<String>> = found.conditions.iter().map(row).collect();
    format!(
        "{}\nAccuracies with Wilson's intervals; differences from the same scans as they are, with 95 % intervals by bootstrap over {}. Other answers: \
         studies that get another class.\n",
        table(&heads, &rows),
        counted(found.patients, "patient")
    )
}

fn limits(facts: &Facts) -> String {
    let mut lines = vec![DISCLAIMER.to_owned()];
    if facts.evaluation.evaluated_studies.any_simulated() {
        lines.push(format!("Scores ({}) say how well the network reads a simulator's scans.", facts.whose()));
    }
    if facts.evaluation.model.training_studies().any_simulated() {
        lines.push(
            "It has learnt from phantoms, which have fewer kinds of disease, camera and patient than a hospital.".to_owned(),
        );
    }
    lines.push(format!(
        "It was evaluated on {}: intervals are as wide as that makes them.",
        counted(facts.scores.studies, "study")
    ));
    lines.push(format!(
        "Another hospital, camera, tracer or dose than those of its data: {}.",
        match &facts.evaluation.stress {
            Some(_) => "what was tried of it stands under *On worse scans*".to_owned(),
            None => NO_STRESS.to_owned(),
        }
    ));
    lines.push(match facts.scores.unlike_training {
        Some(unlike) => format!(
            "The model says of each scan what is unlike those that it was trained on: here of {unlike} of {}. Of what is like them it says a class.",
            counted(facts.scores.studies, "scan")
        ),
        None => "The model does not know what its training scans are like, and answers as surely to any other.".to_owned(),
    });
    lines.push("Whatever goes in gets a class: that it is no whole-body bone scan, or a disease that the classes do not name, is not among them.".to_owned());
    lines.iter().map(|line| format!("* {line}\n")).collect::<String>()
        + "* **To be filled in by a person:** the limits of the data and of the study.\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Localisation, MapScore, Pointing};
    use crate::models::StudyCounts;
    use crate::report::stress::tests::example_stress;
    use crate::report::tests::example;

    fn card(evaluation: &Evaluation) -> String {
        model_card(evaluation, &evaluation.scores().unwrap())
    }

    fn full() -> Evaluation {
        let mut evaluation = example(3);
        let side = |name: &str, patients| SideCounts {
            name: name.into(),
            patients,
            studies: 3 * patients,
            of_class: vec![patients, 0, 0],
        };
        evaluation.origin = Some(Origin {
            program: "osteon 0.1.0, commit abc, avx2".into(),
            weights: "77aa".into(),
            data: Some("88bb".into()),
            split: Some("99cc".into()),
            sides: vec![side("training", 120), side("validation", 20), side("test", 60)],
            same_people: 2,
            recipe: "osteon".into(),
            departures: vec![["epochs".into(), "30".into(), "300".into()]],
            epochs: 30,
            choice: "Those of epoch 12, whose loss on the validation patients is least.".into(),
            first_weights: "Random, from seed 1.".into(),
            class_weights: "none".into(),
            temperature: Some(1.2345),
        });
        evaluation.stress = Some(example_stress(&evaluation));
        let map = MapScore::new("evidence", &[Pointing { is_near: true, on_lesions: 0.5 }], &[]);
        evaluation.localisation =
            Some(Localisation { pointed: 1, marked: 1, lesions: 3, maps: vec![map], ..Localisation::default() });
        evaluation
    }

    /// The parts by their headings.
    fn parts(card: &str) -> Vec<(&str, &str)> {
        card.split("\n## ").skip(1).map(|part| part.split_once('\n').unwrap()).collect()
    }

    /// The first cells of a part's table.
    fn numbers(part: &str) -> Vec<&str> {
        part.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).skip(1).collect()
    }

    /// Numbers as in the guidelines: TRIPOD+AI's expanded list of 11 January 2024, and CLAIM 2024.
    #[test]
    fn every_item_stands_once_and_says_something() {
        let tripod = "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 18a 18b 18c 18d 18e 18f 19 \
                      20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c";
        let claim: Vec<String> = (1..=44).map(|number| number.to_string()).collect();
        for evaluation in [full(), example(2), example(3)] {
            let card = card(&evaluation);
            let parts = parts(&card);
            let of = |heading: &str| parts.iter().find(|(name, _)| *name == heading).unwrap().1;
            assert_eq!(numbers(of("TRIPOD+AI")), tripod.split_whitespace().collect::<Vec<_>>());
            assert_eq!(numbers(of("CLAIM")), claim);
            for line in [of("TRIPOD+AI"), of("CLAIM")].iter().flat_map(|part| part.lines()).filter(|line| line.starts_with("| "))
            {
                let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
                assert!(cells.len() == 3 && cells[2].trim().len() > 4, "{line}");
            }
        }
    }

    #[test]
    fn phantoms_are_named_in_every_part() {
        for (heading, part) in parts(&card(&full())) {
            assert!(
                part.contains("phantoms (simulated patients, simulator 2)") && part.contains("not a medical device"),
                "{heading}"
            );
        }
        let mut patients = full();
        patients.evaluated_on = "60 studies of a hospital".into();
        patients.evaluated_studies = StudyCounts { studies: 60, ..StudyCounts::default() };
        patients.model.training_studies = Some(StudyCounts { studies: 140, ..StudyCounts::default() });
        patients.model.trained_on = "140 studies".into();
        let text = card(&patients);
        assert!(!text.contains("phantom") && text.contains(DISCLAIMER));
        // What is nothing for phantoms is a person's to say of patients.
        let [of_phantoms, of_patients] = [card(&full()), text].map(|card| card.matches("To be filled in by a person").count());
        assert!(of_phantoms > 20 && of_patients > of_phantoms + 15, "{of_phantoms} {of_patients}");
    }

    #[test]
    fn what_was_not_measured_is_said_with_its_command() {
        let without = card(&example(3));
        let parts = parts(&without);
        let of = |heading: &str| parts.iter().find(|(name, _)| *name == heading).unwrap().1;
        assert!(of("On worse scans").contains("not measured: `osteon evaluate RUN --stress`"));
        assert!(of("Where the evidence lies").contains("not measured: `osteon evaluate RUN --localise`"));
        assert!(of("CLAIM").contains("| not measured: `osteon evaluate RUN --stress` |"));
        assert!(of("How it was trained").contains("not recorded"));
        assert!(!card(&full()).contains("not measured: "));
    }

    #[test]
    fn the_record_is_in_it() {
        let evaluation = full();
        let text = card(&evaluation);
        assert_eq!(text, card(&evaluation));
        for said in [
            "SHA-256 of the weights: `77aa`",
            "SHA-256 of the data (manifest and every file that it names): `88bb`",
            "| training | 120 | 360 | 120 | 0 | 0 |",
            "| epochs | 30 | 300 |",
            "logits divided by 1.234",
            "2 groups of pseudonyms were found to be of one person each",
            "| anterior view alone | 60 |",
            "| evidence | 1.000 [0.207, 1.000] | 0.500 |",
            &evaluation.model.sha256,
        ] {
            assert!(text.contains(said), "{said}\n{text}");
        }
        let scores = evaluation.scores().unwrap();
        assert!(text.contains(&format!("| accuracy | {:.3} | ", scores.accuracy.unwrap())));
    }

    #[test]
    fn names_from_files_are_no_markup() {
        let mut evaluation = full();
        let hostile = "a|b`<script>\n## x *y* [z](http://q)\u{202e}";
        evaluation.model.classes = vec!["NoMet".into(), hostile.into(), hostile.into()];
        (evaluation.model.name, evaluation.evaluated_on) = (hostile.into(), hostile.into());
        let text = card(&evaluation);
        assert!(
            !text.contains("<script") && !text.contains("\n## x") && !text.contains('\u{202e}') && !text.contains("[z]"),
            "{text}"
        );
        let columns = |line: &&str| line.replace("\\|", "").matches('|').count();
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| training") || line.starts_with("| Side")).collect();
        assert_eq!(rows.iter().map(columns).collect::<Vec<_>>(), [7, 7]);
    }
}
