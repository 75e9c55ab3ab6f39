//! What the room writes for invented studies, and the examples that its modules share in their tests.

use super::*;
use crate::models::SimulatorVersion;

/// A bone-scan-like picture: a bright trunk with a hot spot.
fn picture(seed: usize) -> Image {
    let mut image = Image::zeros(256, 64);
    for (index, pixel) in image.pixels.iter_mut().enumerate() {
        let (row, column) = (index / 64, index % 64);
        let body = (row > 16 && row < 240 && column.abs_diff(32) < 12) as usize;
        let spot = (row.abs_diff(60 + 9 * seed) < 4 && column.abs_diff(30) < 4) as usize;
        *pixel = (body * (20 + (index * 7919) % 23) + spot * 200) as f32;
    }
    image
}

/// A page's worth of invented studies of 2 or 3 classes.
pub(crate) fn example(classes: usize) -> Evaluation {
    let names = if classes == 2 { vec!["NoMet", "Met"] } else { vec!["NoMet", "ADMet", "nADMet"] };
    let patients: Vec<PatientRow> = (0..60)
        .map(|index| {
            let truth = index % classes;
            let noise = |class: usize| ((index * 31 + class * 17 + 7) % 29) as f32 / 29.0;
            let scores: Vec<f32> =
                (0..classes).map(|class| (2.2 * noise(class) + if class == truth { 1.6 } else { 0.0 }).exp()).collect();
            let sum: f32 = scores.iter().sum();
            let probabilities = scores.iter().map(|score| score / sum).collect();
            PatientRow { patient: format!("P{index:04}"), truth, probabilities }
        })
        .collect();
    let cases = pick_cases(&patients, 8)
        .into_iter()
        .map(|index| Case {
            name: patients[index].patient.clone(),
            truth: Some(patients[index].truth),
            probabilities: patients[index].probabilities.clone(),
            members: Vec::new(),
            trust: None,
            verdict: None,
            fused: picture(index % 12),
            views: [View::Anterior, View::Posterior].map(|view| (view, Raster::new(64, 16, [90; 3]))).into(),
            evidence: Some(Evidence {
                maps: vec![("any metastasis".to_owned(), Image { rows: 8, columns: 2, pixels: vec![3.0; 16] })],
                regions: vec![Region { at: [0.25, 0.5], evidence: 0.31, words: "left ribs".to_owned() }],
                attention: None,
            }),
            facts: vec![("Views".to_owned(), "anterior + posterior".to_owned())],
        })
        .collect();
    let history = (1..=30)
        .map(|epoch| {
            let t = epoch as f64;
            Epoch {
                epoch,
                learning_rate: 0.01,
                train_loss: 1.1 * (-t / 12.0).exp() + 0.1,
                train_accuracy: 0.9 - 0.5 * (-t / 9.0).exp(),
                test_loss: Some(1.1 * (-t / 14.0).exp() + 0.25 + 0.05 * (t * 1.7).sin()),
                test_accuracy: Some(0.82 - 0.45 * (-t / 8.0).exp() + 0.02 * (t * 2.3).sin()),
                test_f1: None,
                test_auc: Some(0.91 - 0.4 * (-t / 6.0).exp()),
                validation_loss: Some(1.1 * (-t / 13.0).exp() + 0.2),
                ..Epoch::default()
            }
        })
        .collect();
    let two: Simulators = [SimulatorVersion::Two].into_iter().collect();
    Evaluation {
        title: "Evaluation".to_owned(),
        model: ModelCard {
            name: "run/model.safetensors".to_owned(),
            architecture: "inrac".to_owned(),
            classes: names.into_iter().map(str::to_owned).collect(),
            input_size: [256, 64],
            preprocessing: "both views, aligned by translation and scale".to_owned(),
            trained_on: "140 phantom studies of simulator 2".to_owned(),
            training_studies: Some(StudyCounts { studies: 140, simulated_studies: 140, simulators: two }),
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
            averages: None,
            parameters: 15_100_000,
        },
        evaluated_on: "60 phantom studies of simulator 2 never trained on".to_owned(),
        evaluated_studies: StudyCounts { studies: 60, simulated_studies: 60, simulators: two },
        patients,
        cases,
        history,
        configuration: "learning_rate = 0.01\nbatch = 32\n".to_owned(),
        scan: None,
        bootstrap: Bootstrap { resamples: 200, seed: 1 },
        ceilings: None,
        positive: None,
        networks: Vec::new(),
        unlike_training: None,
        localisation: None,
        stress: None,
        origin: None,
    }
}

#[test]
fn an_evaluation_fills_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let evaluation = example(3);
    let (scores, page) = write_evaluation(&evaluation, folder.path().join("a/b")).unwrap();
    let read = |name: &str| files::read(folder.path().join("a/b").join(name)).unwrap();
    assert!(page.ends_with("report.html") && read("report.html").starts_with(b"<!doctype html>"));
    for name in ["confusion", "roc"] {
        assert!(image::load_from_memory(&read(&format!("{name}.png"))).is_ok());
        assert!(read(&format!("{name}.svg")).starts_with(b"<svg xmlns="));
    }
    assert_eq!(String::from_utf8(read("model_card.md")).unwrap(), model_card(&evaluation, &scores));
    assert!(!folder.path().join("a/b/stress.json").exists(), "only where it was asked for");
    let json: serde_json::Value = serde_json::from_slice(&read("scores.json")).unwrap();
    assert_eq!(json["accuracy"], serde_json::json!(scores.accuracy));
    assert_eq!(json["model"]["sha256"], serde_json::json!(evaluation.model.sha256));
    assert!(json["caveat"].as_str().unwrap().contains("phantoms"));
    assert_eq!((&json["simulated_studies"], &json["simulators"]), (&60.into(), &serde_json::json!([2])));
    let counts = serde_json::json!({ "studies": 140, "simulated_studies": 140, "simulators": [2] });
    assert_eq!(json["model"]["training_studies"], counts);
    assert!(json["macro"]["f1"].is_f64() && json["metastatic"]["auc"].is_f64() && json["classes"][2]["recall"].is_f64());

    let csv = read("patients.csv");
    let mut reader = csv::Reader::from_reader(csv.as_slice());
    let heads = reader.headers().unwrap().clone();
    assert_eq!(
        heads.iter().collect::<Vec<_>>(),
        ["patient", "truth", "predicted", "correct", "p(NoMet)", "p(ADMet)", "p(nADMet)", "model_sha256"]
    );
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), evaluation.patients.len());
    let right = rows.iter().filter(|row| &row[3] == "yes").count();
    assert_eq!(right as f64 / rows.len() as f64, scores.accuracy.unwrap());
    // Probabilities survive the file to the last bit.
    assert_eq!(rows[7][5].parse::<f32>().unwrap(), evaluation.patients[7].probabilities[1]);
    let read = read_patients(folder.path().join("a/b")).unwrap();
    assert_eq!(Predictions { name: evaluation.title.clone(), ..read.clone() }, evaluation.predictions().unwrap());
    assert!(read.name.ends_with("a/b/patients.csv"));

    let statistics = scores.statistics.unwrap();
    let [low, high] = statistics.intervals.scores.mean.recall.unwrap();
    assert_eq!(json["intervals"]["macro"]["recall"], serde_json::json!([low, high]));
    assert!(low < scores.mean.recall.unwrap() && scores.mean.recall.unwrap() < high);
    // The example ranks without an error, which resampling cannot change.
    assert!(scores.mean.auc == Some(1.0) && json["intervals"]["macro"]["auc"].is_null());
    assert_eq!((json["intervals"]["patients"].as_u64(), json["intervals"]["resamples"].as_u64()), (Some(60), Some(200)));
    // Nor any other score that is without a fault.
    let metastatic = scores.metastatic.unwrap().scores.recall;
    for (ends, score) in [
        (&json["intervals"]["classes"][2]["f1"], scores.classes[2].scores.f1),
        (&json["intervals"]["metastatic"]["recall"], metastatic),
    ] {
        assert_eq!(ends.is_array(), score.unwrap() < 1.0, "{ends} of {score:?}");
    }
    assert!(json["calibration"]["top_label"]["expected"].is_f64() && json["calibration"]["log_loss"].is_f64());
    assert!(json["operating_points"]["sensitivity"][1]["ppv"].is_f64() && json["statistics"].is_null());
}

/// Beside a score stands what it could be at most, on the page and in the file, where that is known.
#[test]
fn a_class_that_is_named_counts_as_positive() {
    let mut evaluation = example(2);
    evaluation.model.classes = ["benign", "malignant"].map(str::to_owned).to_vec();
    assert_eq!(evaluation.scores().unwrap().metastatic, None);
    evaluation.positive = Some(1);
    let folder = tempfile::tempdir().unwrap();
    let (scores, page) = write_evaluation(&evaluation, folder.path()).unwrap();
    let binary = scores.metastatic.as_ref().unwrap();
    assert_eq!(binary.positive.as_deref(), Some("malignant"));
    assert_eq!((binary.scores.recall, binary.accuracy), (scores.classes[1].scores.recall, scores.accuracy));
    assert!(scores.statistics.unwrap().operating_points.is_some());
    let page = std::fs::read_to_string(page).unwrap();
    for words in ["malignant or not", "malignant against not", "Probability of malignant by true class"] {
        assert!(page.contains(words), "{words}");
    }
    // What it would have been the other way round.
    let other = Evaluation { positive: Some(0), ..evaluation }.scores().unwrap().metastatic.unwrap();
    assert_eq!((other.scores.recall, other.scores.specificity), (binary.scores.specificity, binary.scores.recall));
}

#[test]
fn ceilings_stand_beside_the_scores() {
    let folder = tempfile::tempdir().unwrap();
    let of = |ceilings: Option<Ceilings>, name: &str| {
        let place = folder.path().join(name);
        let (scores, page) = write_evaluation(&Evaluation { ceilings, ..example(3) }, &place).unwrap();
        assert_eq!(read_scores(place.join("scores.json")).unwrap(), scores);
        (scores, files::read(page).unwrap(), files::read(place.join("scores.json")).unwrap())
    };
    let classes = metrics::Ceiling { accuracy: 0.8449, auc: 0.942 };
    let metastatic = metrics::Ceiling { accuracy: 0.947, auc: 0.977 };
    let known = Ceilings { classes, metastatic: Some(metastatic) };
    let (scores, page, json) = of(Some(known), "known");
    assert_eq!(scores.ceilings, Some(known));
    let page = String::from_utf8(page).unwrap();
    for said in ["<p>of at most 84 %; 95 % interval", "<p>of at most 0.94", "<p>of at most 95 %; 95 %", "<p>of at most 0.98"] {
        assert_eq!(page.matches(said).count(), 1, "{said}");
    }
    assert!(page.contains("is what one reaches who learns from as many simulated patients"));
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let metastatic = serde_json::json!({ "accuracy": 0.947, "auc": 0.977 });
    assert_eq!(json["ceiling"], serde_json::json!({ "accuracy": 0.8449, "auc": 0.942, "metastatic": metastatic }));
    let (_, page, json) = of(None, "unknown");
    assert!(!String::from_utf8(page).unwrap().contains("at most") && !String::from_utf8(json).unwrap().contains("ceiling"));
}

/// A run that went on leaves no table of the model before it unnoticed.
#[test]
fn a_table_by_another_model_than_that_beside_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut evaluation = example(3);
    evaluation.model.sha256 = files::sha256(b"a model");
    write_evaluation(&evaluation, folder.path()).unwrap();
    let table = std::fs::read_to_string(folder.path().join("patients.csv")).unwrap();
    assert!(table.starts_with("patient,truth,predicted,correct,p(NoMet),p(ADMet),p(nADMet),model_sha256\n"), "{table}");
    assert_eq!(table.matches(&format!(",{}\n", evaluation.model.sha256)).count(), 60);
    read_patients(folder.path()).expect("no model lies beside it");
    let model = folder.path().join("model.safetensors");
    files::write(&model, b"a model").unwrap();
    assert_eq!(read_patients(folder.path()).unwrap().patients.len(), 60);
    files::write(&model, b"another model").unwrap();
    let said = read_patients(folder.path().join("patients.csv")).unwrap_err().to_string();
    assert!(said.contains("patients.csv: line 2 is by another model than the model.safetensors beside it; evaluate"), "{said}");
    // Of before the column was there, or of a model in memory.
    evaluation.model.sha256.clear();
    write_evaluation(&evaluation, folder.path()).unwrap();
    read_patients(folder.path()).unwrap();
}

#[test]
fn what_is_no_table_of_patients_is_refused_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("patients.csv");
    let said = |text: &str| {
        files::write(&path, text.as_bytes()).unwrap();
        read_patients(folder.path()).unwrap_err().to_string()
    };
    for (text, part) in [
        ("", "patients.csv: has no column `patient`"),
        ("patient,truth\n", "has no column `p(CLASS)`"),
        ("patient,p(a)\nx,1\n", "has no column `truth`"),
        ("patient,truth,p(a)\nx,b,1\n", "line 2 has the class `b`, which no column has"),
        ("patient,truth,p(a)\nx,a,1\ny,a,NaN\n", "line 3 has `NaN`, which is no probability"),
        ("patient,truth,p(a)\nx,a,1.5\n", "line 2 has `1.5`"),
        ("patient,truth,p(a)\nx,a\n", "is not CSV"),
    ] {
        let said = said(text);
        assert!(said.contains(part) && said.contains("osteon evaluate"), "{text}: {said}");
    }
    assert!(read_patients(folder.path().join("none")).is_err());
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut evaluation = example(3);
    evaluation.patients[3].probabilities.pop();
    assert!(write_evaluation(&evaluation, folder.path().join("new")).is_err());
    let mut prediction = Prediction { scans: example(3).cases, model: example(3).model, ..Prediction::default() };
    prediction.scans[0].probabilities.pop();
    assert!(write_prediction(&prediction, folder.path().join("new")).is_err());
    assert!(!folder.path().join("new").exists());
}

#[test]
fn the_pick_shows_errors_first_and_every_class() {
    let sure = |truth: usize, class: usize, p: f32| {
        let mut probabilities = vec![(1.0 - p) / 2.0; 3];
        probabilities[class] = p;
        PatientRow { patient: String::new(), truth, probabilities }
    };
    let patients = [sure(0, 0, 0.9), sure(1, 0, 0.6), sure(2, 2, 0.8), sure(2, 1, 0.95), sure(0, 0, 0.99), sure(1, 1, 0.7)];
    assert_eq!(pick_cases(&patients, 9), [3, 1, 4, 5, 2, 0]);
    assert_eq!(pick_cases(&patients, 3), [3, 1, 4]);
    assert_eq!(pick_cases(&patients, 0), [0usize; 0]);
    assert_eq!(pick_cases(&[], 5), [0usize; 0]);
    let all_wrong: Vec<PatientRow> = (0..9).map(|_| sure(0, 1, 0.9)).collect();
    assert_eq!(pick_cases(&all_wrong, 6).len(), 6);
}
