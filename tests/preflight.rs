//! What is found before work begins: every bad scan at once, people under two names, and what a batch, a resumed run and the doctor say.

mod scan;

use dicom_core::{DataElement, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use osteon::archive::manifest::Manifest;
use scan::{bytes_of, text};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;
use tempfile::TempDir;

fn run(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_osteon")).args(["--threads", "2"]).args(arguments).current_dir(folder).output().unwrap()
}

/// Exit code, standard output, standard error.
fn said(output: Output) -> (Option<i32>, String, String) {
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(!err.contains("panicked"), "{err}");
    (output.status.code(), out, err)
}

#[track_caller]
fn succeeds(arguments: &[&str], folder: &Path) -> String {
    let (code, out, err) = said(run(arguments, folder));
    assert_eq!(code, Some(0), "{arguments:?}\n{out}{err}");
    out + &err
}

/// Eight phantoms, in `studies`.
static PHANTOMS: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    succeeds(&["phantom", "--studies", "8", "--seed", "3", "--output", "."], folder.path());
    folder
});

/// A folder with copies of the phantoms, `1.dcm` to `8.dcm`, and a manifest with these further lines.
fn archive(more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for number in 1..=8 {
        fs::copy(PHANTOMS.path().join(format!("studies/{number:04}.dcm")), folder.path().join(format!("{number}.dcm"))).unwrap();
    }
    let rows: String = (1..=8).map(|number| format!("p{number},{number}.dcm,,{}\n", ["NoMet", "ADMet"][number % 2])).collect();
    fs::write(folder.path().join("m.csv"), format!("patient,anterior,posterior,label\n{rows}{more}")).unwrap();
    folder
}

/// Changes a file's elements.
fn change(path: &Path, elements: Vec<DataElement<InMemDicomObject>>) {
    let mut object = dicom_object::open_file(path).unwrap().into_inner();
    elements.into_iter().for_each(|element| drop(object.put(element)));
    fs::write(path, bytes_of(object, uids::EXPLICIT_VR_LITTLE_ENDIAN)).unwrap();
}

const TRAIN: [&str; 12] = [
    "train",
    "m.csv",
    "--output",
    "run",
    "--architecture",
    "inception-v1",
    "--input-size",
    "64x32",
    "--batch",
    "2",
    "--epochs",
    "1",
];

#[test]
fn every_bad_scan_is_named_before_the_first_step_and_the_old_run_stays() {
    let bad = "q1,cut.dcm,,NoMet\nq2,text.dcm,,ADMet\nq3,gone.dcm,,NoMet\nq4,ct.dcm,,ADMet\n";
    let folder = archive("");
    let path = folder.path();
    succeeds(&TRAIN, path);
    let model = fs::read(path.join("run/model.safetensors")).unwrap();
    let whole = fs::read(path.join("1.dcm")).unwrap();
    fs::write(path.join("cut.dcm"), &whole[..whole.len() / 2]).unwrap();
    fs::write(path.join("text.dcm"), "no scan").unwrap();
    fs::copy(path.join("2.dcm"), path.join("ct.dcm")).unwrap();
    change(&path.join("ct.dcm"), vec![text(tags::MODALITY, VR::CS, "CT"), text(tags::PATIENT_ID, VR::LO, "q4")]);
    let table = fs::read_to_string(path.join("m.csv")).unwrap();
    fs::write(path.join("m.csv"), table.clone() + bad).unwrap();
    for command in [
        &[&TRAIN[..], &["--force"]].concat()[..],
        &["dataset", "d1", "m.csv", "--output", "d1"],
        &["reproduce", "--data", "m.csv", "--scale", "smoke", "--output", "study"],
    ] {
        let (code, out, err) = said(run(command, path));
        assert_eq!(code, Some(1), "{command:?} {out}{err}");
        for words in [
            "cut.dcm: is cut short",
            "text.dcm: is not a DICOM file",
            "gone.dcm, which does not exist",
            "ct.dcm: is a CT image",
            "m.csv: has 4 problems, as listed above",
        ] {
            assert!(err.contains(words), "{command:?}: {words} not in: {err}");
        }
        assert!(!err.contains("train loss") && !path.join("d1").exists() && !path.join("study").exists());
    }
    assert_eq!(fs::read(path.join("run/model.safetensors")).unwrap(), model);
    // More than a screen: all are in a file, and what was there stays.
    let many: String = (0..25).map(|number| format!("r{number},none{number}.dcm,,NoMet\n")).collect();
    fs::write(path.join("m.csv"), table.clone() + &many).unwrap();
    fs::write(path.join("other-problems.txt"), "mine").unwrap();
    let (code, _, err) = said(run(&["dataset", "d1", "m.csv", "--output", "other"], path));
    assert_eq!((code, err.matches("does not exist").count()), (Some(1), 20), "{err}");
    assert!(err.contains("has 25 problems, of which the first 20 are above and all are in other-problems-2.txt"), "{err}");
    assert_eq!(fs::read_to_string(path.join("other-problems-2.txt")).unwrap().lines().count(), 25);
    assert_eq!(fs::read_to_string(path.join("other-problems.txt")).unwrap(), "mine");
    // The remedy: their lines taken out; or nobody looks, and it is found when its turn comes.
    fs::write(path.join("m.csv"), table.clone()).unwrap();
    succeeds(&["dataset", "d1", "m.csv", "--output", "d1"], path);
    fs::write(path.join("m.csv"), table + "q4,ct.dcm,,ADMet\n").unwrap();
    for flag in ["--trust-scans", "--any-image"] {
        succeeds(&["dataset", "d1", "m.csv", "--output", "d1", "--force", flag], path);
    }
}

#[test]
fn one_person_under_two_names_is_shown_and_kept_on_one_side() {
    let folder = archive("");
    let path = folder.path();
    let id = |value: &str| text(tags::PATIENT_ID, VR::LO, value);
    // One Patient ID; one name and birth date; one picture under two UIDs, with two labels.
    change(&path.join("1.dcm"), vec![id("same")]);
    change(&path.join("3.dcm"), vec![id("same")]);
    for (number, own) in [("5", "a"), ("7", "b")] {
        let born = text(tags::PATIENT_BIRTH_DATE, VR::DA, "19500101");
        change(&path.join(format!("{number}.dcm")), vec![id(own), text(tags::PATIENT_NAME, VR::PN, "Doe^Jane"), born]);
    }
    fs::copy(path.join("2.dcm"), path.join("9.dcm")).unwrap();
    change(
        &path.join("9.dcm"),
        vec![id("c"), text(tags::STUDY_INSTANCE_UID, VR::UI, "2.25.9"), text(tags::SOP_INSTANCE_UID, VR::UI, "2.25.91")],
    );
    let table = fs::read_to_string(path.join("m.csv")).unwrap() + "p9,9.dcm,,ADMet\n";
    fs::write(path.join("m.csv"), &table).unwrap();
    let told = succeeds(&["dataset", "check", "m.csv"], path);
    for words in [
        "patients p1, p3 are one person: their files have the same Patient ID",
        "patients p5, p7 are one person: their files have the same name and birth date",
        "patients p2, p9 are one person: their files have the same pixels",
        "the same pixels have two labels: 2.dcm is NoMet, 9.dcm is ADMet",
    ] {
        assert!(told.contains(words), "{words} not in: {told}");
    }
    assert!(!told.contains("Doe") && !told.contains("same,"), "{told}");
    for seed in ["1", "2", "3", "4"] {
        succeeds(&["dataset", "d1", "m.csv", "--output", "d1", "--seed", seed, "--force"], path);
        let manifest = Manifest::read_known(path.join("d1/manifest.csv")).unwrap();
        let sides =
            |patient: &str| manifest.rows.iter().filter(|row| row.patient == patient).map(|row| row.side).collect::<Vec<_>>();
        for [one, other] in [["p1", "p3"], ["p5", "p7"], ["p2", "p9"]] {
            let both = [sides(one), sides(other)].concat();
            assert!(both.iter().all(|side| *side == both[0]), "seed {seed}: {one} and {other} on {both:?}");
        }
        succeeds(&["dataset", "check", "d1"], path);
    }
    // Put on two sides by hand: found, in the table and in the folder.
    let sided: String = table
        .lines()
        .enumerate()
        .map(|(at, line)| {
            format!(
                "{line},{}\n",
                match at {
                    0 => "side",
                    1..=2 => "train",
                    _ => "test",
                }
            )
        })
        .collect();
    fs::write(path.join("sided.csv"), sided).unwrap();
    for command in [&["dataset", "check", "sided.csv"][..], &["train", "sided.csv", "--output", "run"]] {
        let (code, _, err) = said(run(command, path));
        assert!(
            code == Some(1)
                && err
                    .contains("patients p1 (train), p3 (test) are one person on two sides: their files have the same Patient ID"),
            "{err}"
        );
    }
    // An anonymiser's value in every file tells nothing.
    for number in 1..=9 {
        change(&path.join(format!("{number}.dcm")), vec![id("ANONYMOUS"), text(tags::PATIENT_NAME, VR::PN, "ANONYMOUS")]);
    }
    let told = succeeds(&["dataset", "check", "m.csv"], path);
    assert!(
        told.contains("9 of 9 patients have the same Patient ID in their files, which tells nothing of them")
            && told.contains("p2, p9"),
        "{told}"
    );
}

#[test]
fn a_run_whose_test_scan_was_mended_goes_on_and_one_whose_training_scan_changed_does_not() {
    let folder = archive("");
    let path = folder.path();
    let sided: String = (1..=8)
        .map(|n| format!("p{n},{n}.dcm,,{},{}\n", ["NoMet", "ADMet"][n % 2], if n > 4 { "test" } else { "train" }))
        .collect();
    fs::write(path.join("m.csv"), format!("patient,anterior,posterior,label,side\n{sided}")).unwrap();
    succeeds(&TRAIN, path);
    let record = || -> serde_json::Value { serde_json::from_slice(&fs::read(path.join("run/run.json")).unwrap()).unwrap() };
    assert_eq!(record()["views"]["1.dcm"], "anterior by view code, posterior by view code");
    assert!(record().get("mended").is_none());
    let resume = ["train", "m.csv", "--output", "run", "--resume"];
    // Another Study Date, as a mended header has.
    change(&path.join("8.dcm"), vec![text(tags::STUDY_DATE, VR::DA, "20240101")]);
    let told = succeeds(&resume, path);
    assert!(told.contains("test scans that have changed since the run began, as run.json says: 8.dcm"), "{told}");
    assert_eq!(record()["mended"], serde_json::json!(["8.dcm"]));
    succeeds(&["evaluate", "run"], path);
    change(&path.join("1.dcm"), vec![text(tags::STUDY_DATE, VR::DA, "20240101")]);
    let (code, _, err) = said(run(&resume, path));
    assert!(code == Some(1) && err.contains("was made with other data: 1.dcm has changed"), "{err}");
}

/// An archive of pictures, and the same black on white: imported, both train to the same bits.
#[test]
fn an_archive_that_is_black_on_white_is_recognised_and_trains_as_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for number in 1..=6 {
        let class = if number > 3 { "No bone metastases" } else { "Bone metastases" };
        let frames = osteon::dicom::read(PHANTOMS.path().join(format!("studies/{number:04}.dcm"))).unwrap();
        for (frame, view) in frames.iter().zip(["Anterior", "Posterior"]) {
            let most = frame.image.pixels.iter().copied().fold(0.0, f32::max);
            let pixels: Vec<u8> = frame.image.pixels.iter().map(|count| ((count / most).sqrt() * 255.0).round() as u8).collect();
            let white: Vec<u8> = pixels.iter().map(|value| 255 - value).collect();
            for (archive, pixels) in [("black", &pixels), ("white", &white)] {
                let place = path.join(archive).join("images").join(class).join(view);
                fs::create_dir_all(&place).unwrap();
                let name = place.join(format!("{}{number}.png", &view[..1]));
                osteon::intake::picture::write_gray8(name, frame.image.rows, frame.image.columns, pixels).unwrap();
            }
        }
    }
    let weights = ["black", "white"].map(|archive| {
        let table = format!("{archive}.csv");
        let told = succeeds(&["dataset", "import", "zenodo", archive, "--output", &table], path);
        assert_eq!(told.contains("12 of 12 pictures looked at are black on white"), archive == "white", "{told}");
        let run = format!("run-{archive}");
        let mut train = TRAIN;
        (train[1], train[3]) = (&table, &run);
        succeeds(&train, path);
        let record: serde_json::Value = serde_json::from_slice(&fs::read(path.join(run).join("run.json")).unwrap()).unwrap();
        record["weights"].to_string()
    });
    assert_eq!(weights[0], weights[1]);
    // Made into pictures of its own, it is so no longer.
    succeeds(&["dataset", "d3", "white.csv", "--output", "d3", "--materialise"], path);
    assert!(Manifest::read_known(path.join("d3/manifest.csv")).unwrap().rows.iter().all(|row| !row.inverted));
    succeeds(
        &[
            "train",
            "d3/manifest.csv",
            "--output",
            "run-d3",
            "--architecture",
            "inception-v1",
            "--input-size",
            "64x32",
            "--epochs",
            "1",
        ],
        path,
    );
}

#[test]
fn a_bad_scan_of_a_batch_has_its_own_line_and_card() {
    let folder = archive("");
    let path = folder.path();
    succeeds(&["model", "new", "--architecture", "inception-v1", "--input-size", "64x32", "--output", "m.safetensors"], path);
    fs::write(path.join("bad.dcm"), "no scan").unwrap();
    let scans = ["1.dcm", "bad.dcm", "x,y,z", "2.dcm"];
    let (code, out, err) = said(run(&[&["predict", "m.safetensors"][..], &scans, &["--report", "page"]].concat(), path));
    assert_eq!(code, Some(1), "{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines[0].starts_with("1.dcm  ")
            && lines[1] == "bad.dcm  not read: bad.dcm: is not a DICOM file; give a DICOM file, or a PNG or JPEG picture",
        "{out}"
    );
    assert!(
        lines[2].starts_with("x,y,z  not read: x,y,z: names no two files that are there; ") && lines[3].starts_with("2.dcm  "),
        "{out}"
    );
    let page = fs::read_to_string(path.join("page/report.html")).unwrap();
    assert!(
        page.contains("not read") && page.contains("bad.dcm: is not a DICOM file") && page.contains("anterior by view code"),
        "the card of bad.dcm"
    );
    let (code, out, _) = said(run(&[&["predict", "m.safetensors"][..], &scans, &["--json"]].concat(), path));
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, list.as_array().unwrap().len()), (Some(1), 4));
    assert_eq!(list[0]["views"], serde_json::json!({ "anterior": "view code", "posterior": "view code" }));
    assert!(list[1]["error"].as_str().unwrap().contains("is not a DICOM file") && list[3]["applied"] == serde_json::json!([]));
}

#[test]
fn the_doctor_says_what_to_run_next() {
    let folder = archive("");
    let path = folder.path();
    let told = succeeds(&["doctor", "1.dcm"], path);
    assert!(
        told.contains("whole-body scan  1024x256  2") && told.contains("anterior by view code; posterior by view code"),
        "{told}"
    );
    assert!(told.contains("Next: osteon predict MODEL 1.dcm\n"), "{told}");
    let told = succeeds(&["doctor", "m.csv"], path);
    assert!(told.contains("manifest of 8 studies") && told.contains("Next: osteon train m.csv --output RUN"), "{told}");
    assert!(told.contains("8 scans: anterior by view code, posterior by view code"), "{told}");
    let json: serde_json::Value = serde_json::from_str(&succeeds(&["doctor", "1.dcm", "--json"], path)).unwrap();
    assert_eq!(json["objects"][0]["frames"], 2);
    let json: serde_json::Value = serde_json::from_str(&succeeds(&["doctor", "m.csv", "--json"], path)).unwrap();
    assert_eq!((&json["studies"], &json["classes"]["ADMet"], &json["problems"]), (&8.into(), &4.into(), &serde_json::json!([])));
    fs::create_dir(path.join("all")).unwrap();
    for name in ["1.dcm", "2.dcm"] {
        fs::copy(path.join(name), path.join("all").join(name)).unwrap();
    }
    let told = succeeds(&["doctor", "all"], path);
    assert!(told.contains("folder of 2 files") && told.contains("holds scans of two patients"), "{told}");
    fs::write(path.join("bad.csv"), "patient,anterior,posterior,label\np1,none.dcm,,NoMet\n").unwrap();
    let told = succeeds(&["doctor", "bad.csv"], path);
    assert!(
        told.contains("1 problem in all") && told.contains("Next: osteon dataset check bad.csv --output problems.txt"),
        "{told}"
    );
    let (code, _, err) = said(run(&["doctor", "nowhere"], path));
    assert!(code == Some(1) && err.contains("nowhere: is not there; check the path"), "{err}");
}
