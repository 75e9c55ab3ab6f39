//! The items of TRIPOD+AI (Collins et al., BMJ 2024, 385:e078378), in this program's words, and what is recorded of each.

use super::items::{Item, and, of_patients, person, recorded};

/// All of them: 27, some of them in parts.
pub(super) const TRIPOD: [Item; 52] = [
    Item("1", "Title: developed or evaluated, in whom, what is predicted", |f| {
        and(
            format!("Development and evaluation of a network that tells {} apart on whole-body bone scans.", f.classes()),
            "whom it is for",
        )
    }),
    Item("2", "Abstract, by the guideline's own list", |_| person("the abstract; this card has what it needs")),
    Item("3a", "Medical context, diagnostic or prognostic, and earlier models", |_| {
        and(
            "Diagnostic: what one examination shows. The network is that of Lin et al. 2022, or one that they compare.",
            "why it is needed, and other models",
        )
    }),
    Item("3b", "Whom it is for, and where in their care", |_| person("target patients, place in the pathway of care, and users")),
    Item("3c", "Known inequalities in health between groups", |_| person("what is known of the patients that it is for")),
    Item("4", "Objectives", |f| {
        and(format!("Development of a network, and its evaluation on {}.", f.evaluated()), "the question of the study")
    }),
    Item("5a", "Sources of data, and whether they represent the patients", |f| {
        and(f.sources(), "why these, and whom they represent")
    }),
    Item("5b", "Dates of the data", |f| of_patients(f, "from when to when the scans were taken")),
    Item("6a", "Setting: kind and number of centres", |f| of_patients(f, "hospitals, their number and place")),
    Item("6b", "Who could take part", |f| of_patients(f, "criteria of inclusion and exclusion")),
    Item("6c", "Treatments", |f| of_patients(f, "treatments before the scan, and how they were handled")),
    Item("7", "How data were prepared and checked", |f| {
        and(
            format!(
                "{} Scans that are no whole-body bone scans are refused before a training, unless `--trust-scans` skipped that.",
                f.preparation()
            ),
            "whether this was alike for all groups",
        )
    }),
    Item("8a", "Outcome: what it is, how and when it was found", |f| {
        if f.all_simulated() {
            recorded(format!("One of {}: the simulator's own truth.", f.classes()))
        } else {
            and(
                format!("One of {}, as the manifest labels each study.", f.classes()),
                "how and when the labels were made, and why so",
            )
        }
    }),
    Item("8b", "Who judged the outcome", |f| of_patients(f, "qualifications of those who labelled the studies")),
    Item("8c", "Blinding of that judgement", |f| of_patients(f, "what they knew when they labelled")),
    Item("9a", "Choice of predictors", |_| recorded("The scan's pixels alone; none was left out beforehand.")),
    Item("9b", "Predictors: what they are, how and when measured", |f| {
        let views = format!("Anterior and posterior whole-body view. {}", f.preparation());
        if f.all_simulated() { recorded(views) } else { and(views, "cameras, tracer, time after injection") }
    }),
    Item("9c", "Who measured predictors", |_| recorded("Nobody's judgement is in them: they are counts of a camera.")),
    Item("10", "Size of the study, and why", |f| and(f.sides(), "why so many, and whether they are enough")),
    Item("11", "Missing data", |_| {
        and(
            "A study with one view is its own sum; one that cannot be read is refused by name, none is left out in silence.",
            "what was left out before",
        )
    }),
    Item("12a", "How the data were divided and used", |f| {
        recorded(format!("By patient, before any augmentation. {}", f.sides()))
    }),
    Item("12b", "How predictors enter", |f| recorded(f.preparation())),
    Item("12c", "Kind of model, how it was made, tuned and validated", |f| {
        and(format!("{} {}", f.network(), f.training()), "what was tried before, and on which data")
    }),
    Item("12d", "Differences between clusters such as hospitals", |_| {
        person("scores by hospital, where there are several; not measured here")
    }),
    Item("12e", "Measures of performance", |_| {
        recorded(
            "Accuracy, precision, recall, specificity, F1, AUC (discrimination); calibration errors, log loss, Brier score (calibration); \
                  operating points; 95 % intervals by bootstrap over patients.",
        )
    }),
    Item("12f", "Updating of the model after evaluation", |_| recorded("None.")),
    Item("12g", "How predictions were calculated", |f| {
        recorded(format!(
            "`osteon evaluate`, from the model file with the SHA-256 {}; each study's probabilities are in `patients.csv`.",
            f.hash()
        ))
    }),
    Item("13", "Class imbalance", |f| recorded(f.imbalance())),
    Item("14", "Fairness", |_| person("what was done for it; nothing is recorded of groups of patients")),
    Item("15", "Output, and thresholds", |f| {
        and(
            format!(
                "A probability for each of {}. The class is the most probable one; metastatic is above one half.",
                f.classes()
            ),
            "the threshold that is used, and why; operating points are above",
        )
    }),
    Item("16", "Differences between training and evaluation data", |f| {
        and(format!("Trained on {}; evaluated on {}.", f.trained(), f.evaluated()), "differences in setting, patients and labels")
    }),
    Item("17", "Ethics and consent", |f| of_patients(f, "the committee that approved it, and consent or its waiver")),
    Item("18a", "Funding", |_| person("who paid, and their part in it")),
    Item("18b", "Conflicts of interest", |_| person("those of all authors")),
    Item("18c", "Protocol", |_| person("where it is, or that there is none")),
    Item("18d", "Registration", |_| person("register and number, or that there is none")),
    Item("18e", "Availability of data", |f| {
        and(format!("Recognisable by hash: {}.", f.data_hash()), "whether and where they can be had")
    }),
    Item("18f", "Availability of code", |f| and(format!("Made by {}.", f.program()), "where the program can be had")),
    Item("19", "Part of patients and the public", |_| person("what it was, or that there was none")),
    Item("20a", "Flow of participants", |f| and(f.sides(), "how many were looked at before, and why some were left out")),
    Item("20b", "Characteristics of participants", |f| of_patients(f, "age, sex, disease and dates")),
    Item("20c", "The same beside the training data", |f| of_patients(f, "how both differ")),
    Item("21", "Participants and outcomes in each analysis", |f| recorded(f.sides())),
    Item("22", "The model itself, so that others can use it", |f| {
        and(
            format!("The model file, SHA-256 {}; `osteon model export` writes it as ONNX.", f.hash()),
            "where it can be had, and on what terms",
        )
    }),
    Item("23a", "Performance with intervals, in groups too", |f| {
        and(f.scores(), "scores of groups of patients, such as sex and age")
    }),
    Item("23b", "Differences in performance between clusters", |_| {
        person("scores by hospital, where there are several; not measured here")
    }),
    Item("24", "Results of updating", |_| recorded("None: the model was not updated.")),
    Item("25", "Interpretation", |_| person("what the results mean beside the objectives, earlier studies and fairness")),
    Item("26", "Limitations", |_| and("See *Limits* above.", "those of the data and the study")),
    Item("27a", "Poor or missing input in use", |f| and(f.robustness(), "what is done with scans that it should not judge")),
    Item("27b", "What users do, and what they must know", |_| {
        and(
            "Nothing is chosen by hand in a scan; which view is which comes from the file or a flag.",
            "the expertise that users need",
        )
    }),
    Item("27c", "Next steps", |_| person("what is to be studied before it could be used")),
];
