//! The program from the outside: commands end to end on tiny phantoms, and what bad input is told.

use osteon::train::Recipe;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A fast network: one input is 64x32 pixels.
const TINY: &[&str] =
    &["--recipe", "paper", "--input-size", "64x32", "--batch", "4", "--epochs", "2", "--learning-rate", "0.001"];

fn osteon() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osteon"));
    command.args(["--threads", "2"]);
    command
}

/// Phantoms of the shared folder.
const STUDIES: usize = 18;

/// Runs the program; arguments are split at spaces, so paths without spaces only.
fn run(line: &str) -> Output {
    osteon().args(line.split_whitespace()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Exit code 0, or the test fails with what the program said. Returns standard output.
#[track_caller]
fn succeeds(output: Output) -> String {
    assert!(output.status.success(), "{}\n{}{}", output.status, stdout(&output), stderr(&output));
    stdout(&output)
}

/// The given exit code and one sentence on standard error that holds every part; never a panic.
#[track_caller]
fn fails(output: Output, code: i32, parts: &[&str]) {
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    let last = said.lines().rfind(|line| line.starts_with("osteon: ")).unwrap_or_else(|| panic!("no error line in {said}"));
    for part in parts {
        assert!(last.contains(part), "`{last}` does not say `{part}`");
    }
}

/// A usage error about a number.
#[track_caller]
fn is_out_of_range(output: Output, what: &str) {
    let said = stderr(&output);
    assert!(output.status.code() == Some(2) && said.contains(what), "{said}");
}

/// Phantoms and a trained run that tests read and none changes.
struct Shared {
    folder: TempDir,
}

impl Shared {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    fn manifest(&self) -> PathBuf {
        self.path("phantoms/manifest.csv")
    }
    fn run(&self) -> PathBuf {
        self.path("run")
    }
    fn model(&self) -> PathBuf {
        self.path("run/model.safetensors")
    }
    /// The DICOM file of the first phantom.
    fn scan(&self) -> PathBuf {
        let manifest = fs::read_to_string(self.manifest()).unwrap();
        let row = manifest.lines().nth(1).unwrap();
        let cell = row.split(',').nth(1).unwrap();
        self.path("phantoms").join(cell.split('#').next().unwrap())
    }
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let shared = Shared { folder: tempfile::tempdir().unwrap() };
    succeeds(
        osteon()
            .args(["phantom", "--studies", &STUDIES.to_string(), "--seed", "5", "--output"])
            .arg(shared.path("phantoms"))
            .output()
            .unwrap(),
    );
    succeeds(train(&shared.manifest(), &shared.run(), &[]).output().unwrap());
    shared
});

fn train(manifest: &Path, output: &Path, more: &[&str]) -> Command {
    let mut command = osteon();
    command.arg("train").arg(manifest).arg("--output").arg(output).args(TINY).args(more);
    command
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

// ---- usage -------------------------------------------------------------------------------------------------------------

#[test]
fn usage_errors_have_exit_code_2() {
    for line in [
        "",
        "nonsense",
        "train",
        "train m.csv",
        "predict",
        "audit",
        "audit forward",
        "model",
        "phantom --output x --studies many",
    ] {
        assert_eq!(run(line).status.code(), Some(2), "{line}");
    }
    fails(run("--isa mmx model info x"), 2, &["mmx", "portable"]);
    for size in ["256", "0x9", "64x"] {
        let output = run(&format!("train m.csv --output x --input-size {size}"));
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("rows x columns"), "{}", stderr(&output));
    }
    fails(run("train m.csv --output x --epochs 0"), 2, &["epochs is 0"]);
    fails(run("train m.csv --output x --input-size 16x64"), 2, &["32x32"]);
}

#[test]
fn help_and_version_succeed() {
    for command in [
        "",
        "demo",
        "phantom",
        "dataset d1",
        "dataset d2",
        "dataset d3",
        "dataset check",
        "dataset import zenodo",
        "dataset import bs80k",
        "fuse",
        "train",
        "evaluate",
        "compare",
        "predict",
        "annotation convert",
        "annotation check",
        "annotation codes",
        "lesions",
        "model new",
        "model import",
        "model info",
        "model export",
        "model keygen",
        "model sign",
        "model verify",
        "audit trace",
        "audit verify",
        "audit gradcheck",
        "audit forward",
        "audit gradients",
        "audit compare",
        "bench",
        "tasks",
        "completions",
        "man",
    ] {
        let help = succeeds(run(&format!("{command} --help")));
        assert!(help.contains("--threads"), "{command}");
    }
    assert!(succeeds(run("--version")).starts_with("osteon "));
}

#[test]
fn shells_and_man_know_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = succeeds(run(&format!("completions {shell}")));
        assert!(script.contains("gradcheck") && script.contains("max-file-size"), "{shell}: {script}");
    }
    let unknown = run("completions tcsh");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("bash, elvish, fish, powershell, zsh"), "{}", stderr(&unknown));

    let folder = tempfile::tempdir().unwrap();
    let printed = succeeds(osteon().args(["man", "--output"]).arg(folder.path().join("man1")).output().unwrap());
    let pages = names(&folder.path().join("man1"));
    assert!(printed.starts_with(&format!("{} manual pages in ", pages.len())), "{printed}");
    for name in ["osteon.1", "osteon-train.1", "osteon-dataset-import-zenodo.1", "osteon-man.1"] {
        assert!(pages.iter().any(|page| page == name), "{name}: {pages:?}");
    }
    let read = |name: &str| fs::read_to_string(folder.path().join("man1").join(name)).unwrap();
    assert!(read("osteon-train.1").contains(r"\-\-warm\-up\-epochs"), "{}", read("osteon-train.1"));
    assert_eq!(succeeds(run("man train")).trim_end(), read("osteon-train.1").trim_end());
    assert_eq!(succeeds(run("man dataset import zenodo")).trim_end(), read("osteon-dataset-import-zenodo.1").trim_end());
    fails(run("man dataset export"), 2, &["`osteon dataset` has no command `export`", "osteon --help"]);
}

#[test]
fn the_commands_by_task_are_printed() {
    let text = include_str!("../src/cli/COMMANDS.md");
    assert_eq!(succeeds(run("tasks")).trim_end(), text.trim_end());
    let help = succeeds(run("help tasks"));
    assert!(help.contains("osteon dataset check d3") && help.contains("# Runs that are interrupted"), "{help}");
}

/// One patient among phantoms: every warning stays, and counts. What decides is a column of the manifest, not a name.
#[test]
fn one_patient_among_phantoms_does_not_silence_the_warning() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    succeeds(osteon().args(["phantom", "--studies", "18", "--seed", "5", "--output"]).arg(at("data")).output().unwrap());
    let manifest = fs::read_to_string(at("data/manifest.csv")).unwrap();
    let (mut table, mut seen) = (String::new(), BTreeMap::new());
    let (mut studies, mut tested) = (0, 0);
    for (number, line) in manifest.lines().enumerate() {
        let class = line.split(',').nth(3).unwrap();
        let of_class = seen.entry(class).or_insert(0);
        *of_class += 1;
        let side = if number == 0 { "side" } else { ["test", "train", "train"][*of_class % 3] };
        (studies, tested) = (studies + usize::from(side == "train"), tested + usize::from(side == "test"));
        let patient = if side == "train" && studies == 1 { "hospital-1," } else { line.split_inclusive(',').next().unwrap() };
        let rest = &line[line.find(',').unwrap() + 1..];
        let rest = if patient == "hospital-1," { rest.replace(",2", ",no") } else { rest.to_owned() };
        table += &format!("{patient}{rest},{side}\n");
    }
    fs::write(at("data/mixed.csv"), &table).unwrap();
    let told = format!("{} of {studies} studies are simulated by simulator 2", studies - 1);
    let tiny = ["--recipe", "paper", "--architecture", "classifier-18", "--input-size", "32x32", "--epochs", "1"];
    let (run, data) = (at("run"), at("data/mixed.csv"));
    succeeds(osteon().arg("train").arg(&data).arg("--output").arg(&run).args(tiny).output().unwrap());
    let json = |path: PathBuf| -> serde_json::Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let counts = serde_json::json!({ "studies": studies, "simulated_studies": studies - 1, "simulators": [2] });
    assert_eq!(json(run.join("run.json"))["training_studies"], counts);

    let said = succeeds(osteon().arg("evaluate").arg(&run).args(["--resamples", "100"]).output().unwrap());
    let caveat = format!("Evaluated on phantoms (simulated patients, simulator 2). Trained partly on phantoms: {told}.");
    assert!(said.contains(&caveat), "{said}");
    let scores = json(run.join("scores.json"));
    assert!(scores["caveat"].as_str().unwrap().starts_with(&caveat), "{}", scores["caveat"]);
    assert_eq!((&scores["simulated_studies"], &scores["model"]["training_studies"]), (&tested.into(), &counts));
    let said = succeeds(osteon().args(["model", "info"]).arg(run.join("model.safetensors")).output().unwrap());
    assert!(said.contains(&format!("{studies} studies, {} of them phantoms of simulator 2", studies - 1)), "{said}");

    // The training studies, among them the patient's.
    succeeds(osteon().arg("evaluate").arg(&run).args(["--split", "train", "--output"]).arg(at("train")).output().unwrap());
    let page = fs::read_to_string(at("train/report.html")).unwrap();
    assert!(page.contains(&format!("<span class=\"tag\">{told}</span>")), "every part of the page counts");
    let scan = at("data/studies/0001.dcm");
    succeeds(osteon().arg("predict").arg(&run).arg(scan).arg("--report").arg(at("page")).output().unwrap());
    let page = fs::read_to_string(at("page/report.html")).unwrap();
    assert!(page.contains(&format!("Trained partly on phantoms: {told}.")) && page.contains(&format!("patients too ({told})")));
}

// ---- the commands end to end -------------------------------------------------------------------------------------------

#[test]
fn train_writes_a_whole_run() {
    let run = SHARED.run();
    assert_eq!(
        names(&run),
        [
            "checkpoint",
            "config.toml",
            "curves.png",
            "events.out.tfevents.osteon",
            "metrics.csv",
            "model.safetensors",
            "run.json",
            "split.csv"
        ]
    );
    let metrics = fs::read_to_string(run.join("metrics.csv")).unwrap();
    let mut lines = metrics.lines();
    let header = "epoch,learning_rate,train_loss,train_accuracy,test_loss,test_accuracy,test_f1,test_auc,validation_loss,validation_accuracy,validation_auc,temperature,gradient_norm,skipped_steps,train_seconds,seconds";
    assert_eq!(lines.next(), Some(header));
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), ["1", "2"]);
    // The AUC of a class that no test patient has is not defined, and its cell empty.
    for cell in rows.iter().flat_map(|row| &row[1..]).filter(|cell| !cell.is_empty()) {
        assert!(cell.parse::<f64>().unwrap().is_finite(), "{metrics}");
    }
    let split = fs::read_to_string(run.join("split.csv")).unwrap();
    assert_eq!(split.lines().count(), 1 + STUDIES);
}

/// The resolved configuration is a configuration: it gives the same weights again, also for another number of threads.
#[test]
fn the_same_configuration_gives_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let again = folder.path().join("again");
    let mut command = Command::new(env!("CARGO_BIN_EXE_osteon"));
    command.args(["--threads", "1", "train"]).arg(SHARED.manifest()).arg("--output").arg(&again);
    succeeds(command.arg("--config").arg(SHARED.run().join("config.toml")).output().unwrap());
    assert!(fs::read(SHARED.model()).unwrap() == fs::read(again.join("model.safetensors")).unwrap(), "the models differ");
}

/// A recipe is a set of defaults: what is given wins, and the run's configuration holds every value.
#[test]
fn a_recipe_gives_way_to_flags_and_is_written_out() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("run");
    let more = ["--recipe", "osteon", "--learning-rate", "0.002", "--validation-share", "0.3", "--choose-by", "loss"];
    let said = stderr(&train(&SHARED.manifest(), &output, &more).output().unwrap());
    assert!(
        said.contains(" validation studies, ")
            && said.contains("the model is that of epoch ")
            && said.contains("next: osteon evaluate "),
        "{said}"
    );
    let config: toml::Table = fs::read_to_string(output.join("config.toml")).unwrap().parse().unwrap();
    let recipe = toml::Table::try_from(Recipe::Osteon.settings()).unwrap();
    assert_eq!(config.keys().collect::<Vec<_>>(), recipe.keys().collect::<Vec<_>>());
    for (key, value) in [("recipe", "\"osteon\""), ("learning_rate", "0.002"), ("validation_share", "0.3"), ("epochs", "2")] {
        assert_eq!(config[key].to_string(), value, "{key}");
    }
    assert_eq!(config["schedule"], recipe["schedule"]);
    let scores = succeeds(osteon().arg("evaluate").arg(&output).args(["--split", "validation"]).output().unwrap());
    assert!(scores.contains("that chose its epoch"), "{scores}");

    for (more, part) in [
        (["--patience", "3"], "patience needs validation patients"),
        (["--validation-share", "1"], "validation_share is not"),
        (["--class-weights", "1,2"], "2 numbers for 3 classes"),
        (["--class-weights", "heavy"], "none, balanced, or a number above 0"),
    ] {
        let other = folder.path().join("other");
        fails(train(&SHARED.manifest(), &other, &more).arg("--force").output().unwrap(), 2, &[part]);
    }
    assert_eq!(run("train m.csv --output x --recipe secret").status.code(), Some(2));
}

/// A set of MedMNIST of four classes: squares, the lower the higher the class, of 28x28 pixels.
fn medmnist(sides: [(&str, usize); 3]) -> Vec<u8> {
    let npy = |shape: String, values: &[u8]| {
        let text = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
        [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), values].concat()
    };
    let mut bytes = Vec::new();
    let mut archive = rawzip::ZipArchiveWriter::new(&mut bytes);
    for (number, (side, count)) in sides.into_iter().enumerate() {
        let labels: Vec<u8> = (0..count).map(|at| (at % 4) as u8).collect();
        let pixel = |at: usize, place: usize| {
            let (row, column) = (place / 28, place % 28);
            let square = (2 + 6 * (at % 4)..8 + 6 * (at % 4)).contains(&row) && (4..24).contains(&column);
            // The rest tells pictures apart.
            if square { 220 } else { ((place * (at + 7 * number + 3)) % 41) as u8 }
        };
        let pixels: Vec<u8> = (0..count * 784).map(|at| pixel(at / 784, at % 784)).collect();
        for (what, content) in
            [("images", npy(format!("({count}, 28, 28)"), &pixels)), ("labels", npy(format!("({count}, 1)"), &labels))]
        {
            let (mut entry, config) = archive.new_file(format!("{side}_{what}.npy")).start().unwrap();
            let mut writer = config.wrap(&mut entry);
            writer.write_all(&content).unwrap();
            let (_, descriptor) = writer.finish().unwrap();
            entry.finish(descriptor).unwrap();
        }
    }
    archive.finish().unwrap();
    bytes
}

/// What the importer says to do next works as it stands, and the set's own validation side chooses the epoch.
#[test]
fn a_set_of_medmnist_is_imported_trained_with_and_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("squares.npz"), medmnist([("train", 16), ("val", 8), ("test", 12)])).unwrap();
    let here = |line: &str| osteon().current_dir(folder.path()).args(line.split_whitespace()).output().unwrap();
    let output = here("dataset import medmnist squares.npz --output squares");
    let printed = succeeds(output.clone());
    assert!(printed.starts_with("36 pictures of 28x28: 16 train, 8 validation, 12 test; 9 class-0, "), "{printed}");
    let said = stderr(&output);
    let next = said.lines().find_map(|line| line.strip_prefix("train on it: osteon ")).expect(&said);
    assert_eq!(next, "train squares/manifest.csv --any-image --input-size 32x32 --output runs/squares");
    let output = here(&format!("{next} --epochs 2 --batch 4"));
    let said = stderr(&output);
    succeeds(output);
    assert!(said.contains("16 training studies, 8 validation studies, 12 test studies"), "{said}");
    assert!(said.contains("the model is that of epoch "), "{said}");
    let printed = succeeds(here("evaluate runs/squares --resamples 100"));
    assert!(printed.contains("4 classes: accuracy ") && !printed.contains("at most"), "{printed}");
    assert!(fs::read_to_string(folder.path().join("runs/squares/report.html")).unwrap().contains("class-3"));

    fails(here("dataset import medmnist squares.npz --output squares"), 1, &["squares: ", "--force"]);
    succeeds(here("dataset import medmnist squares.npz --output squares --force"));
    let share = format!("{} --validation-share 0.2", next.replace("runs/squares", "runs/other"));
    fails(here(&share), 1, &["has a column side, which says who trains, so that --validation-share has no say"]);
    fails(here("dataset import medmnist squares/manifest.csv --output other"), 1, &["is no .npz file"]);
    assert!(!folder.path().join("other").exists());
}

#[test]
fn curves_of_runs_stand_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let draw = |runs: &[&Path], name: &str| {
        let output = osteon().arg("curves").args(runs).arg("--output").arg(folder.path().join(name)).output().unwrap();
        (output, folder.path().join(name))
    };
    let run = SHARED.run();
    let (output, svg) = draw(&[&run, &run], "two.svg");
    succeeds(output);
    let text = fs::read_to_string(svg).unwrap();
    assert!(text.contains("Held-out AUC") && text.contains("phantoms"), "{text}");
    let (output, png) = draw(&[&run], "one.png");
    succeeds(output);
    assert!(fs::read(png).unwrap().starts_with(b"\x89PNG"));
    fails(draw(&[&run], "one.jpg").0, 2, &["neither PNG nor SVG"]);
    fails(draw(&[&SHARED.path("phantoms")], "none.png").0, 1, &["phantoms: is not the folder of a run"]);
}

#[test]
fn evaluate_writes_scores_pictures_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let output = osteon().arg("evaluate").arg(SHARED.run()).arg("--output").arg(folder.path()).output().unwrap();
    let printed = succeeds(output);
    assert!(printed.contains("accuracy"), "{printed}");
    for name in ["scores.json", "patients.csv", "confusion.png", "roc.png", "report.html", "model_card.md"] {
        assert!(folder.path().join(name).is_file(), "{name} is missing");
    }
    let scores: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("scores.json")).unwrap()).unwrap();
    assert!(scores.is_object());
    let split = fs::read_to_string(SHARED.run().join("split.csv")).unwrap();
    let tests = split.lines().filter(|line| line.contains("test")).count();
    let predictions = fs::read_to_string(folder.path().join("patients.csv")).unwrap();
    assert_eq!(predictions.lines().count(), 1 + tests, "a row a study\n{predictions}");
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(!page.contains("http://") || !page.contains("src=\"http"), "the page must not need a network");
    let card = fs::read_to_string(folder.path().join("model_card.md")).unwrap();
    let hash = scores["model"]["sha256"].as_str().unwrap();
    for said in [
        hash,
        "| training | ",
        "| test | ",
        "Random, from seed ",
        "not measured: `osteon evaluate RUN --stress`",
        "| 27c | ",
        "| 44 | ",
    ] {
        assert!(card.contains(said), "{said}\n{card}");
    }
    assert!(card.contains("not measured: `osteon evaluate RUN --localise`") && card.contains("phantoms"), "{card}");
}

#[test]
fn evaluate_holds_evidence_against_the_lesions_that_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let evaluate = |more: &[&str]| {
        osteon().arg("evaluate").arg(SHARED.run()).args(more).arg("--output").arg(folder.path()).output().unwrap()
    };
    let files = ["localisation.json", "froc.png", "froc.svg"].map(|name| folder.path().join(name));
    let printed = succeeds(evaluate(&["--localise", "--split", "all"]));
    assert!(
        printed.contains("  any pixel of the body: ") && printed.contains("weights drawn anew from last layers on"),
        "{printed}"
    );
    assert!(files.iter().all(|file| file.is_file()));
    let found: serde_json::Value = serde_json::from_slice(&fs::read(&files[0]).unwrap()).unwrap();
    assert!(found["caveat"].as_str().unwrap().contains("phantoms") && found["model"]["sha256"].is_string(), "{found}");
    let names: Vec<&str> = found["maps"].as_array().unwrap().iter().map(|map| map["map"].as_str().unwrap()).collect();
    assert_eq!(names, ["evidence", "uptake", "any pixel of the body"]);
    let marked = found["maps"][0]["sensitivity"].as_array().unwrap();
    assert!(found["lesions"].as_u64().unwrap() > 10 && marked.len() == 5, "{found}");
    assert!(fs::read_to_string(folder.path().join("report.html")).unwrap().contains("Where the evidence lies"));
    // They are of that evaluation alone.
    succeeds(evaluate(&["--split", "all", "--force"]));
    assert!(files.iter().all(|file| !file.exists()));
    assert_eq!(evaluate(&["--pixel-spacing-mm", "2", "--force"]).status.code(), Some(2), "it is of --localise");
}

#[test]
fn evaluate_says_how_scores_hold_up_on_worse_scans() {
    let folder = tempfile::tempdir().unwrap();
    let evaluate = |more: &[&str]| {
        let command = ["--resamples", "100", "--output"];
        osteon().arg("evaluate").arg(SHARED.run()).args(more).args(command).arg(folder.path()).output().unwrap()
    };
    let files = ["stress.json", "stress.png", "stress.svg"].map(|name| folder.path().join(name));
    let read = |name: &str| serde_json::from_slice::<serde_json::Value>(&fs::read(folder.path().join(name)).unwrap()).unwrap();
    let printed = succeeds(evaluate(&["--stress"]));
    for said in [
        "on worse scans, ",
        "  half of the counts ",
        "  posterior view alone ",
        "  without lower legs and feet ",
        "  upside down ",
        "  other answers ",
        "  unlike ",
    ] {
        assert!(printed.contains(said), "{said}\n{printed}");
    }
    let found = read("stress.json");
    assert!(found["caveat"].as_str().unwrap().contains("phantoms") && found["model"]["sha256"].is_string(), "{found}");
    let conditions = found["conditions"].as_array().unwrap();
    let kinds: std::collections::BTreeSet<&str> = conditions.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    let expected = ["alignment", "counts", "feet", "none", "orientation", "rotation", "scale", "shift", "views"];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
    let [scores, first] = [read("scores.json"), conditions[0].clone()];
    assert_eq!((&first["accuracy"], &first["auc"]), (&scores["accuracy"], &scores["macro"]["auc"]));
    assert_eq!(first["accuracy_interval"], scores["accuracy_interval"]);
    assert_eq!(first["metastatic"]["auc"], scores["metastatic"]["auc"]);
    assert_eq!(first["calibration_error"], scores["calibration"]["top_label"]["expected"]);
    assert!(first["accuracy_change"].is_null() && conditions[1]["accuracy_change"]["by"].is_f64(), "{found}");
    assert!(fs::read_to_string(folder.path().join("report.html")).unwrap().contains("On worse scans"));
    // The same bits again.
    let before = files.each_ref().map(|file| fs::read(file).unwrap());
    assert!(!evaluate(&["--stress"]).status.success(), "not without --force");
    succeeds(evaluate(&["--stress", "--force"]));
    assert!(files.iter().zip(&before).all(|(file, before)| fs::read(file).unwrap() == *before));
    // They are of that evaluation alone.
    succeeds(evaluate(&["--force"]));
    assert!(files.iter().all(|file| !file.exists()));
}

#[test]
fn a_study_that_cannot_be_is_refused_before_any_training() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("study");
    let reproduce = |more: &[&str]| {
        let mut command = osteon();
        command.args(["reproduce", "--scale", "smoke", "--output"]).arg(&output).args(more);
        command.output().unwrap()
    };
    fails(reproduce(&["--folds", "1"]), 2, &["1 fold", "at least 2"]);
    is_out_of_range(reproduce(&["--seeds", "0"]), "0 is not in 1..=100");
    assert_eq!(reproduce(&["--scale", "huge"]).status.code(), Some(2));
    assert!(!output.exists(), "nothing was written");
    let manifest = SHARED.manifest();
    let archive = ["--data", manifest.to_str().unwrap(), "--folds", "7"];
    fails(reproduce(&archive), 1, &["patients of", "too few for 7 folds"]);
    assert!(!output.join("runs").exists() && !output.join("study.toml").exists(), "nothing was trained, and no study begun");
}

#[test]
fn evaluations_have_intervals_and_can_be_compared() {
    let folder = tempfile::tempdir().unwrap();
    let evaluate = |name: &str, more: &[&str]| {
        let mut command = osteon();
        command.arg("evaluate").arg(SHARED.run()).args(more).arg("--output").arg(folder.path().join(name)).output().unwrap()
    };
    let printed = succeeds(evaluate("a", &["--split", "all", "--resamples", "300"]));
    assert!(printed.contains("300 resamples of 18 patients") && printed.contains("log loss"), "{printed}");
    let scores = fs::read_to_string(folder.path().join("a/scores.json")).unwrap();
    let scores: serde_json::Value = serde_json::from_str(&scores).unwrap();
    assert_eq!(scores["intervals"]["resamples"], 300);
    assert!(scores["calibration"]["top_label"]["bins"].is_array() && scores["operating_points"]["sensitivity"].is_array());
    is_out_of_range(evaluate("x", &["--resamples", "5"]), "5 is not in 100..=1000000");

    // With itself; with one that is right by decree; with other patients.
    let compare = |a: &str, b: &str, more: &[&str]| {
        osteon().arg("compare").args([a, b].map(|name| folder.path().join(name))).args(more).output().unwrap()
    };
    let printed = succeeds(compare("a", "a/patients.csv", &[]));
    assert!(printed.contains("18 studies of 18 patients") && printed.contains("McNemar"), "{printed}");
    let table = fs::read_to_string(folder.path().join("a/patients.csv")).unwrap();
    let right: String = table
        .lines()
        .enumerate()
        .map(|(at, line)| {
            let cells: Vec<&str> = line.split(',').collect();
            let sure = |class: &str| if cells[1] == class { "1" } else { "0" };
            let row = ["NoMet", "ADMet", "nADMet"].map(sure).join(",");
            if at == 0 { format!("{line}\n") } else { format!("{},{row},{}\n", cells[..4].join(","), cells[7]) }
        })
        .collect();
    fs::write(folder.path().join("right.csv"), &right).unwrap();
    let json: serde_json::Value = serde_json::from_str(&succeeds(compare("right.csv", "a", &["--json"]))).unwrap();
    assert_eq!(json["accuracy"]["a"], 1.0);
    assert!(json["mcnemar"]["only_a"].as_u64().unwrap() > 0 && json["mcnemar"]["only_b"] == 0, "{json}");
    succeeds(evaluate("test", &[]));
    fails(compare("a", "test", &[]), 1, &["a/patients.csv", "has patient phantom-", "compare evaluations of the same patients"]);
    fails(compare("a", "none", &[]), 1, &["none"]);
    fails(compare("a", "a/scores.json", &[]), 1, &["scores.json"]);
}

#[test]
fn predict_prints_a_line_a_study_or_json_or_a_page() {
    let (model, scan) = (SHARED.model(), SHARED.scan());
    let printed = succeeds(osteon().arg("predict").arg(&model).args([&scan, &scan]).output().unwrap());
    assert_eq!(printed.lines().count(), 2, "{printed}");
    assert!(printed.lines().all(|line| line.contains("NoMet") && line.contains("nADMet")), "{printed}");

    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page");
    let json =
        succeeds(osteon().arg("predict").arg(&model).arg(&scan).arg("--json").arg("--report").arg(&page).output().unwrap());
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let probabilities = value[0]["probabilities"].as_object().unwrap();
    let sum: f64 = probabilities.values().map(|p| p.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{json}");
    assert!(names(&page).iter().any(|name| name.ends_with(".html")), "{:?}", names(&page));
    // Who answers, and what was read.
    let sha256 =
        |path: &Path| -> String { Sha256::digest(fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect() };
    let hash = sha256(&scan);
    assert_eq!(value[0]["files_sha256"], serde_json::json!({ scan.file_name().unwrap().to_str().unwrap(): hash }));
    assert_eq!(value[0]["model_sha256"], sha256(&model));
    assert!(value[0]["caveat"].as_str().unwrap().contains("not a medical device") && value[0]["version"].is_string(), "{json}");
    assert!(value[0]["regions"].is_array(), "{json}");

    // The same as a table; a scan that is not read has a row too.
    let output =
        osteon().arg("predict").arg(&model).arg(&scan).arg(folder.path().join("none.dcm")).arg("--csv").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    let heads: Vec<String> = rows.headers().unwrap().iter().map(str::to_owned).collect();
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    let cell = |row: usize, name: &str| rows[row][heads.iter().position(|head| head == name).unwrap()].to_owned();
    assert_eq!((rows.len(), cell(0, "class")), (2, value[0]["class"].as_str().unwrap().to_owned()));
    assert_eq!(cell(0, "p(NoMet)").parse::<f32>().unwrap(), probabilities["NoMet"].as_f64().unwrap() as f32);
    assert!(cell(0, "files_sha256").ends_with(&hash) && cell(0, "error").is_empty(), "{table}");
    assert!(cell(1, "class").is_empty() && cell(1, "error").contains("none.dcm"), "{table}");

    // Two scans of one name are told apart.
    let twin = folder.path().join("other").join(scan.file_name().unwrap());
    fs::create_dir(twin.parent().unwrap()).unwrap();
    fs::copy(&scan, &twin).unwrap();
    let page = folder.path().join("twins");
    succeeds(osteon().arg("predict").arg(&model).args([&scan, &twin]).arg("--report").arg(&page).output().unwrap());
    let html = fs::read_to_string(page.join("report.html")).unwrap();
    assert!([&scan, &twin].iter().all(|path| html.contains(&*path.to_string_lossy())));
}

#[test]
fn folds_answer_together_and_know_what_is_unlike_their_training_scans() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (folds, manifest, scan) = (at("folds"), SHARED.manifest(), SHARED.scan().display().to_string());
    let more = ["--folds", "2", "--train-share", "0.67"];
    let printed = succeeds(train(&manifest, Path::new(&folds), &more).output().unwrap());
    let models = [1, 2].map(|fold| format!("{folds}/fold-{fold}/model.safetensors"));
    assert_eq!(printed.lines().collect::<Vec<_>>(), models);

    // Each training patient validates once, and all runs test the same.
    let sides = |fold: usize, side: &str| -> Vec<String> {
        let split = fs::read_to_string(format!("{folds}/fold-{fold}/split.csv")).unwrap();
        split.lines().filter_map(|line| line.strip_suffix(&format!(",{side}"))).map(str::to_owned).collect()
    };
    assert_eq!(sides(1, "test"), sides(2, "test"));
    assert_eq!((sides(1, "train"), sides(1, "validation")), (sides(2, "validation"), sides(2, "train")));

    // A run that is gone is trained again, the same; the other stays as it is.
    let hashes = || models.clone().map(|model| fs::read(model).unwrap());
    let before = hashes();
    fs::remove_dir_all(format!("{folds}/fold-2")).unwrap();
    fs::create_dir(format!("{folds}/fold-2")).unwrap();
    fails(run(&format!("predict {folds} {scan}")), 1, &["fold-2", "has no model yet", "osteon train --resume"]);
    succeeds(run(&format!("train --resume {folds}")));
    assert!(hashes() == before);

    succeeds(run(&format!("evaluate {folds}")));
    let scores: serde_json::Value = serde_json::from_slice(&fs::read(format!("{folds}/scores.json")).unwrap()).unwrap();
    assert_eq!(scores["networks"].as_array().map(Vec::len), Some(2), "{scores}");
    assert!(scores["unlike_training"].is_u64(), "{scores}");
    fails(run(&format!("evaluate {} {}", models[0], models[1])), 1, &["is a model file, not the folder of a run"]);
    fails(run(&format!("evaluate {folds}/fold-1 {folds}/fold-2")), 2, &["give --output"]);
    fails(run(&format!("evaluate {folds} --split train --output {}", at("e"))), 1, &["fold-2", "has other patients"]);
    fails(run(&format!("evaluate {folds} --positive ADMet --force")), 2, &["with NoMet every other", "leave --positive out"]);
    fails(run(&format!("predict {folds} {}", models[1])), 2, &["give the scans after the models"]);
    fails(run(&format!("predict {folds} {} {scan}", models[1])), 1, &["fold-2", "give each model once"]);

    // The mean of both.
    let answer = |line: String| -> serde_json::Value {
        serde_json::from_str::<serde_json::Value>(&succeeds(run(&line))).unwrap()[0].clone()
    };
    let both = answer(format!("predict {folds} {scan} --json"));
    let each = models.clone().map(|model| answer(format!("predict {model} {scan} --json"))["probabilities"].clone());
    assert_eq!(both["networks"], serde_json::json!(each));
    for (class, p) in both["probabilities"].as_object().unwrap() {
        let mean = each.iter().map(|each| each[class].as_f64().unwrap()).sum::<f64>() / 2.0;
        assert!((p.as_f64().unwrap() - mean).abs() < 1e-6, "{both}");
    }
    assert_eq!(both["thresholds"][0]["positive"], serde_json::json!(["ADMet", "nADMet"]), "{both}");
    assert!(answer(format!("predict {folds} {scan} --mirror --json"))["averages"].as_str().unwrap().contains("mirror"));

    // One view alone, where training had two.
    let one = format!("{scan}#1 --single-view");
    let trust = &answer(format!("predict {folds} {one} --json"))["trust"];
    assert_eq!(trust["is_like_training"], false);
    assert!(trust["unlike"][0].as_str().unwrap().starts_with("the anterior view alone, where"), "{trust}");
    fails(run(&format!("predict {folds} {one} --strict")), 3, &["unlike what the model was trained on"]);
    assert!(succeeds(run(&format!("predict {folds} {one}"))).contains("unlike what the model was trained on: the anterior"));
    let untrained = at("new.safetensors");
    succeeds(run(&format!("model new --input-size 64x32 --output {untrained}")));
    fails(run(&format!("predict {untrained} {scan} --strict")), 1, &["new.safetensors", "does not say what its training scans"]);
    assert!(answer(format!("predict {untrained} {scan} --json"))["trust"].is_null());
}

#[test]
fn fuse_writes_a_picture_and_a_figure() {
    let folder = tempfile::tempdir().unwrap();
    let fused = folder.path().join("fused.png");
    succeeds(osteon().arg("fuse").arg(SHARED.scan()).arg("--output").arg(&fused).output().unwrap());
    assert_eq!(names(folder.path()), ["fused-figure.png", "fused.png"]);
}

#[test]
fn what_is_no_model_is_told_by_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (model, weights) = (at("m.safetensors"), at("w.safetensors"));
    let new = |classes: &str, path: &str| {
        let mut command = osteon();
        command.args(["model", "new", "--input-size", "64x32", "--force", "--classes", classes, "--output", path]);
        command.output().unwrap()
    };
    // Blanks are no part of a class's name.
    succeeds(new(" A,  B b ,\tC", &model));
    let classes = |path: &str| {
        let about: serde_json::Value = serde_json::from_str(&succeeds(run(&format!("model info {path} --json")))).unwrap();
        about["classes"].clone()
    };
    assert_eq!(classes(&model), serde_json::json!(["A", "B b", "C"]));
    let said = new("A, ,C", &at("x"));
    assert_eq!(said.status.code(), Some(2));
    assert!(stderr(&said).contains("a class has no name"), "{}", stderr(&said));
    fails(new("A,B, A", &at("x")), 2, &["`A` stands twice in the list of classes; name every class once"]);

    // Every command that reads a model or weights.
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    let scan = SHARED.scan().display().to_string();
    for (bytes, parts) in [
        (&b"PK\x03\x04\x14\0archive/data.pkl"[..], &["torch.save", "save_file"][..]),
        (b"<!doctype html><title>Sign in</title>", &["is an HTML page", "raw"]),
        (lfs, &["is a git-lfs pointer", "git lfs pull"]),
        (b"", &["is empty"]),
        (b"\x89PNG\r\n\x1a\n", &["is a PNG picture", "give the model first"]),
    ] {
        fs::write(&weights, bytes).unwrap();
        for command in [
            format!("model import {weights} --output {}", at("x")),
            format!("model info {weights}"),
            format!("model export {weights} --format onnx --output {}", at("x")),
            format!("predict {weights} {scan}"),
            format!("audit gradcheck {weights}"),
        ] {
            fails(run(&command), 1, &[&["w.safetensors: "], parts].concat());
        }
    }
    // Arguments in another's place.
    let first = &["give the model first"][..];
    fails(run(&format!("predict {scan} {model}")), 1, &[first, &["is no model, and"]].concat());
    fails(run(&format!("predict {} {model}", folder.path().display())), 1, first);
    fails(run(&format!("predict {scan} {scan}")), 1, &[first, &["is a DICOM file"]].concat());
    fails(run(&format!("audit trace {scan} {model} --output {}", at("x"))), 1, first);
    let manifest = &["m.safetensors: is a model file (safetensors), and a manifest is wanted here"][..];
    fails(run(&format!("train {model} --output {}", at("x"))), 1, manifest);
    fails(run(&format!("lesions {model} --output {}", at("x"))), 1, manifest);
    fails(run(&format!("dataset d1 {scan} --output {}", at("x"))), 1, &["is a DICOM file, and a manifest is wanted here"]);
    fails(run(&format!("evaluate {model}")), 1, &["is a model file, not the folder of a run; give the folder that it lies in"]);
}

#[test]
fn an_exported_model_is_described_as_a_monai_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let export = |output: &str, more: &str| {
        let model = SHARED.run().join("model.safetensors").display().to_string();
        run(&format!("model export {model} --format onnx --output {output} {more}"))
    };
    succeeds(export(&at("plain.onnx"), ""));
    assert!(!folder.path().join("metadata.json").exists(), "not unless it is asked for");
    let printed = succeeds(export(&at("a.onnx"), "--monai"));
    assert!(printed.contains("a.onnx") && printed.contains("metadata.json"), "{printed}");
    assert_eq!(fs::read(at("a.onnx")).unwrap(), fs::read(at("plain.onnx")).unwrap());
    let before = fs::read(at("metadata.json")).unwrap();
    let found: serde_json::Value = serde_json::from_slice(&before).unwrap();
    assert!(found["description"].as_str().unwrap().contains("phantoms"), "{found}");
    assert!(found["eval_metrics"]["caveat"].as_str().unwrap().contains("phantoms"), "{found}");
    // The description of another file stays, and with it nothing is written.
    fails(export(&at("b.onnx"), "--monai"), 1, &["metadata.json: is there already; ", "--force"]);
    assert!(!folder.path().join("b.onnx").exists() && fs::read(at("metadata.json")).unwrap() == before);
    succeeds(export(&at("b.onnx"), "--monai --force"));
    assert!(folder.path().join("a.onnx").is_file() && folder.path().join("b.onnx").is_file());
    fails(
        export(&at("metadata.json"), "--monai --force"),
        1,
        &["is no name for the ONNX file beside metadata.json; give another"],
    );
    fails(
        export(&folder.path().display().to_string(), "--monai --force"),
        1,
        &["is no file, so that metadata.json has no place beside it"],
    );
    assert_eq!(fs::read(at("metadata.json")).unwrap(), before);
}

#[test]
fn weights_under_a_prefix_are_imported_as_the_sentence_says() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let make = format!("model new --architecture inception-v1 --classes A,B --input-size 64x32 --output {}", at("m.safetensors"));
    succeeds(run(&make));
    let bytes = fs::read(at("m.safetensors")).unwrap();
    let model = SafeTensors::deserialize(&bytes).unwrap();
    let prefixed = model.tensors().into_iter().map(|(name, tensor)| (format!("module.{name}"), tensor));
    safetensors::serialize_to_file(prefixed, None, Path::new(&at("w.safetensors"))).unwrap();
    let import = format!(
        "model import {} --architecture inception-v1 --classes A,B --input-size 64x32 --output {}",
        at("w.safetensors"),
        at("again.safetensors")
    );
    let output = run(&import);
    let said = stderr(&output);
    fails(
        output,
        1,
        &["all begin with `module.` (of torch.nn.DataParallel)", "add `--strip-prefix module.` to `osteon model import`"],
    );
    let flag = said.split('`').nth(3).unwrap();
    succeeds(run(&format!("{import} {flag}")));
    assert!(fs::read(at("again.safetensors")).unwrap() == bytes);
    fails(run(&format!("{import} --strip-prefix net. --force")), 1, &["no tensor whose name begins with `net.`"]);
}

#[test]
fn lesions_are_measured_from_annotations_beside_the_scans() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    succeeds(run(&format!("phantom --studies 4 --seed 5 --annotations --output {}", at("p"))));
    let studies = names(&folder.path().join("p/studies"));
    assert_eq!(studies[..4], ["0001.anterior.json", "0001.dcm", "0001.posterior.json", "0001.report.txt"]);
    assert_eq!(names(&folder.path().join("p")), ["codes.csv", "manifest.csv", "studies", "truth"]);
    let checked = succeeds(run(&format!("annotation check {}", at("p/manifest.csv"))));
    assert!(checked.starts_with("8 annotations, ") && checked.contains("of metastases"), "{checked}");
    let printed = succeeds(run(&format!("lesions {} --output {}", at("p/manifest.csv"), at("l"))));
    assert!(printed.contains("metastases counted once") && printed.contains("ribs"), "{printed}");
    let files =
        ["areas.csv", "lesions.csv", "lesions.png", "lesions.svg", "regions.csv", "shapes.csv", "studies.csv", "uptake.csv"];
    assert_eq!(names(&folder.path().join("l")), files);
    assert!(fs::read_to_string(folder.path().join("l/studies.csv")).unwrap().contains("Impression:"));

    let (json, xml, again) = (at("p/studies/0002.anterior.json"), at("a.xml"), at("a.json"));
    succeeds(run(&format!("annotation convert {json} --output {xml}")));
    succeeds(run(&format!("annotation convert {xml} --output {again}")));
    let checked = |path: &str| succeeds(run(&format!("annotation check {path}"))).split_once(": ").unwrap().1.to_owned();
    assert!(checked(&json).contains("outlines on a picture of 1024x256 pixels"), "{}", checked(&json));
    assert_eq!(checked(&json), checked(&again));
    fails(run(&format!("annotation convert {json} --output {}", at("a.txt"))), 1, &["a.txt", "neither .json nor .xml"]);

    let codes = succeeds(run("annotation codes"));
    fs::write(at("codes.csv"), codes.replace("ribs,region", "rib,region").replace("vertebrae,region", "spine,region")).unwrap();
    fails(run(&format!("annotation check {json} --codes {}", at("codes.csv"))), 1, &["does not know", "codes.csv"]);
    fails(
        run(&format!("annotation check {} --codes {}", at("p/manifest.csv"), at("codes.csv"))),
        1,
        &["manifest.csv: has", "cannot be used"],
    );
    fs::remove_file(at("codes.csv")).unwrap();
    fs::write(at("bad.json"), r#"{"shapes":[{"label":"ribs","points":[[1,1],[1,5]],"shape_type":"rectangle"}]}"#).unwrap();
    fails(run(&format!("annotation check {}", at("bad.json"))), 1, &["outline 1 (ribs) is a box of zero size; draw it again"]);
    let over = r#"{"shapes": [{"label": "ribs", "points": [[20, 1], [33, 9]], "shape_type": "rectangle"}], "imageHeight": 64, "imageWidth": 32}"#;
    fs::write(at("over.json"), over).unwrap();
    let output = run(&format!("annotation check {}", at("over.json")));
    assert!(
        stderr(&output).contains("over.json: outline 1 (ribs) reaches x 33, y 9, outside the picture"),
        "{}",
        stderr(&output)
    );
    assert!(succeeds(output).contains("1 outline on a picture of 64x32 pixels"));
    fails(run(&format!("lesions {} --output {}", SHARED.manifest().display(), at("none"))), 1, &["no scan with an annotation"]);
    assert!(!folder.path().join("none").exists());
    assert_eq!(run("lesions m.csv --output x --pixel-spacing-mm 0").status.code(), Some(2));
}

#[test]
fn a_model_can_be_made_shown_imported_and_audited() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let make = format!("model new --classes A,B --input-size 64x32 --seed 3 --output {}", at("m.safetensors"));
    succeeds(run(&make));
    let info = succeeds(run(&format!("model info {}", at("m.safetensors"))));
    assert!(info.contains("64x32") && info.contains("A, B") && info.contains("conv1.weight"), "{info}");
    succeeds(run(&format!(
        "model import {} --architecture inrac --classes A,B --input-size 64x32 --output {}",
        at("m.safetensors"),
        at("imported.safetensors")
    )));
    // Three classes do not fit a last layer of two.
    fails(
        run(&format!(
            "model import {} --architecture inrac --classes A,B,C --input-size 64x32 --output {}",
            at("m.safetensors"),
            at("x")
        )),
        1,
        &["m.safetensors", "fc.weight"],
    );
    assert!(!folder.path().join("x").exists());
}

/// What `model info` says of a trained model leads back to the run's record, and to the data by means of other programs.
#[test]
fn a_trained_model_says_where_it_comes_from() {
    let info = succeeds(osteon().args(["model", "info", "--json"]).arg(SHARED.model()).output().unwrap());
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&fs::read(SHARED.run().join("run.json")).unwrap()).unwrap();
    assert_eq!(&info["weights_sha256"], record["weights"].as_array().unwrap().last().unwrap());
    let hex = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let bytes = fs::read(SHARED.model()).unwrap();
    assert_eq!(info["file_sha256"], hex(&bytes));
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut text: BTreeMap<String, String> = header.metadata().clone().unwrap().into_iter().collect();
    assert_eq!(info["metadata_sha256"], text.remove("metadata_sha256").unwrap());
    assert_eq!(info["metadata_sha256"], hex(serde_json::to_string(&text).unwrap().as_bytes()));
    let run = &info["provenance"];
    assert_eq!(run["split"], hex(&fs::read(SHARED.run().join("split.csv")).unwrap()));
    assert_eq!(run["configuration"]["batch"], 4);
    assert_eq!(run["commit"], record["commit"]);
    assert_eq!(run["epochs"], 2);
    assert!((0.0..=1.0).contains(&run["scores"]["accuracy"].as_f64().unwrap()), "{run}");
    let manifest = serde_json::json!({ "manifest.csv": record["manifest"] });
    let mut lines: Vec<(String, String)> = [&record["inputs"], &manifest]
        .into_iter()
        .flat_map(|table| table.as_object().unwrap())
        .map(|(name, hash)| (name.clone(), hash.as_str().unwrap().to_owned()))
        .collect();
    lines.sort();
    let text: String = lines.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect();
    let hash: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(run["data"], hash);
    // Average and maximum go through the same two layers of the channel attention: these are listed twice, and count once.
    let mut of_layer = BTreeMap::new();
    for layer in info["layers"].as_array().unwrap() {
        let parameters: &mut u64 = of_layer.entry(layer["layer"].as_str().unwrap()).or_default();
        *parameters = layer["parameters"].as_u64().unwrap().max(*parameters);
    }
    assert_eq!(of_layer.values().sum::<u64>(), info["parameters"].as_u64().unwrap());
    assert!(info["gflop"].as_f64().unwrap() > 0.1 && info["memory"]["buffers"].as_u64().unwrap() > 0);
    assert!(info["trained_on"].as_str().unwrap().contains("phantom"));
}

#[test]
fn gradients_are_checked_from_outside() {
    // Of 32x32 the last stage has a pixel an image: a batch normalisation of two values makes of them +1 and -1, whatever they are, and
    // the loss bends so sharply that its slope is not found (2e-3 to 6e-2 over 10 seeds, where 64x32 gives 2e-6 to 4e-3).
    let check = |arguments: &[&str]| {
        osteon().args(["audit", "gradcheck", "--input-size", "64x32"]).args(arguments).arg(SHARED.model()).output().unwrap()
    };
    let lines = succeeds(check(&[]));
    assert!(lines.contains("network") && lines.trim_end().ends_with("gradients are those of their equations"), "{lines}");
    let slopes: serde_json::Value = serde_json::from_str(&succeeds(check(&["--json", "--seed", "2"]))).unwrap();
    assert!(slopes.as_array().unwrap().iter().all(|slope| slope["error"].as_f64() <= slope["allowed"].as_f64()), "{slopes}");
    fails(osteon().args(["audit", "gradcheck", "--input-size", "8x8"]).arg(SHARED.model()).output().unwrap(), 1, &["8"]);
}

#[test]
fn a_scan_is_classified_by_a_signed_model_only() {
    let folder = tempfile::tempdir().unwrap();
    let (model, key) = (folder.path().join("model.safetensors"), folder.path().join("key"));
    fs::copy(SHARED.model(), &model).unwrap();
    succeeds(osteon().args(["model", "keygen", "--output"]).arg(&key).output().unwrap());
    let [private, public] = ["key.pem", "key.pub.pem"].map(|name| folder.path().join(name));
    let predict =
        || osteon().arg("predict").arg(&model).arg(SHARED.scan()).arg("--require-signature").arg(&public).output().unwrap();
    fails(predict(), 1, &["model.safetensors: is not signed", "ask its maker"]);
    succeeds(osteon().args(["model", "sign"]).arg(&model).arg("--key").arg(&private).output().unwrap());
    assert!(succeeds(predict()).contains("NoMet"));
    succeeds(osteon().args(["model", "verify"]).arg(&model).arg("--key").arg(&public).output().unwrap());
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    fails(predict(), 1, &["is not what the owner of", "key.pub.pem signed", "do not use it"]);
    fails(osteon().args(["model", "verify"]).arg(&model).arg("--key").arg(&public).output().unwrap(), 1, &["do not use it"]);
    // Without the demand it is refused all the same: these are not the weights that were written.
    fails(
        osteon().arg("predict").arg(&model).arg(SHARED.scan()).output().unwrap(),
        1,
        &["holds other weights", "get it anew from its maker"],
    );
}

/// Labels of two classes and an image each, in the shapes that the audit commands read.
#[test]
fn audits_read_and_write_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    succeeds(run(&format!("model new --classes A,B --input-size 64x32 --output {}", at("m.safetensors"))));
    let pixels: Vec<u8> = (0..2 * 64 * 32).flat_map(|i| ((i % 31) as f32 / 31.0).to_le_bytes()).collect();
    let labels: Vec<u8> = [0i64, 1].iter().flat_map(|label| label.to_le_bytes()).collect();
    let tensors = [
        ("input", TensorView::new(Dtype::F32, vec![2, 1, 64, 32], &pixels).unwrap()),
        ("labels", TensorView::new(Dtype::I64, vec![2], &labels).unwrap()),
    ];
    safetensors::serialize_to_file(tensors, None, &folder.path().join("x.safetensors")).unwrap();
    for (command, some) in [
        ("forward", &["logits", "probabilities"][..]),
        ("gradients", &["loss", "grad.conv1.weight", "grad.layer4.1.attention.spatial.conv.weight", "bn1.running_mean"]),
    ] {
        let (model, input, output) = (at("m.safetensors"), at("x.safetensors"), at(command));
        succeeds(run(&format!("audit {command} --model {model} --input {input} --output {output}")));
        let bytes = fs::read(output).unwrap();
        let written = SafeTensors::deserialize(&bytes).unwrap();
        for name in some {
            assert!(written.tensor(name).is_ok(), "{command}: no {name} in {:?}", written.names());
        }
    }
    let (model, output) = (at("m.safetensors"), at("y"));
    fails(run(&format!("audit forward --model {model} --input {model} --output {output}")), 1, &["m.safetensors", "input"]);
}

#[test]
fn a_dataset_is_made_checked_trained_with_and_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let make = |kind: &str, more: &[&str]| {
        osteon().args(["dataset", kind]).arg(SHARED.manifest()).arg("--output").arg(at(kind)).args(more).output().unwrap()
    };
    for kind in ["d1", "d2", "d3"] {
        let printed = succeeds(make(kind, &["--seed", "3"]));
        let checked = succeeds(osteon().args(["dataset", "check"]).arg(at(kind)).output().unwrap());
        assert!(
            printed.starts_with(&checked) && checked.contains("no patient, no file and no copy is on both sides"),
            "{printed}"
        );
        assert_eq!(names(&at(kind)), ["dataset.toml", "manifest.csv"]);
        fails(make(kind, &[]), 1, &["has a dataset in it", "--force"]);
    }
    fails(make("d1", &["--force", "--counts", "NoMet"]), 2, &["--counts has `NoMet`"]);
    fails(make("d2", &["--force", "--rotation-deg", "0", "--translation-px", "0"]), 1, &["no such number of different ones"]);

    let manifest = at("d2").join("manifest.csv");
    let training = |run: &str, more: &[&str]| train(&manifest, &at(run), &[&["--epochs", "1"], more].concat()).output().unwrap();
    for (flag, value) in [("--train-share", "0.7"), ("--split-seed", "1")] {
        fails(training("run", &[flag, value]), 1, &["manifest.csv: has a column side", flag, "leave"]);
    }
    fs::write(at("c.toml"), "train_share = 0.5").unwrap();
    let config = at("c.toml").display().to_string();
    fails(training("other", &["--config", &config]), 1, &["has a column side", "train_share has no say"]);
    succeeds(training("run", &[]));
    succeeds(training("run", &["--resume"]));
    let table = fs::read_to_string(&manifest).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let split = fs::read_to_string(at("run/split.csv")).unwrap();
    assert!(rows.iter().all(|row| split.contains(&format!("{},{}\n", row[0], row[4]))), "{split}");
    let record: serde_json::Value = serde_json::from_slice(&fs::read(at("run/run.json")).unwrap()).unwrap();
    assert_eq!(record["inputs"].as_object().unwrap().len(), STUDIES);

    let tests = |plain: bool| rows.iter().filter(|row| row[4] == "test" && (!plain || row[5..8] == ["0"; 3])).count();
    let evaluate = |flags: &[&str]| osteon().arg("evaluate").arg(at("run")).args(flags).output().unwrap();
    for (flags, expected) in [(&[][..], tests(false)), (&["--unaugmented", "--force"], tests(true))] {
        succeeds(evaluate(flags));
        fails(evaluate(&["--unaugmented"]), 1, &["is there already", "--force"]);
        let patients = fs::read_to_string(at("run/patients.csv")).unwrap();
        assert_eq!(patients.lines().count(), 1 + expected, "{patients}");
    }
    assert!(tests(true) < tests(false));
}

#[test]
fn two_classes_are_trained_and_scored() {
    let folder = tempfile::tempdir().unwrap();
    let [set, run] = ["set", "run"].map(|name| folder.path().join(name));
    let make =
        osteon().args(["dataset", "d3"]).arg(SHARED.manifest()).arg("--output").arg(&set).arg("--merge-metastatic").output();
    let printed = succeeds(make.unwrap());
    assert!(printed.starts_with("NoMet ") && printed.lines().nth(1).unwrap().starts_with("Met "), "{printed}");
    succeeds(train(&set.join("manifest.csv"), &run, &["--epochs", "1"]).output().unwrap());
    let printed = succeeds(osteon().arg("evaluate").arg(&run).output().unwrap());
    assert!(printed.contains("2 classes: accuracy") && printed.contains("metastatic or not: accuracy"), "{printed}");
}

#[test]
fn a_class_that_cannot_be_split_is_told_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = SHARED.path("phantoms").join("few.csv");
    let table = fs::read_to_string(SHARED.manifest()).unwrap();
    let mut seen = 0;
    let few: Vec<&str> =
        table.lines().filter(|line| !line.contains(",nADMet,") || std::mem::replace(&mut seen, 1) == 0).collect();
    fs::write(&manifest, few.join("\n")).unwrap();
    let run = folder.path().join("run");
    fails(train(&manifest, &run, &[]).output().unwrap(), 1, &["few.csv: leaves no study of nADMet to t", "1 patient"]);
    assert!(!run.join("model.safetensors").exists() && !run.join("config.toml").exists());
    let one: Vec<&str> = table.lines().filter(|line| line.contains(",label,") || line.contains(",NoMet,")).collect();
    fs::write(&manifest, one.join("\n")).unwrap();
    fails(train(&manifest, &run, &[]).output().unwrap(), 1, &["has the one class NoMet"]);
}

#[test]
fn archives_are_imported() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut pictures = 0;
    for (number, class) in [(1, "Bone metastases"), (2, "Bone metastases"), (1, "No bone metastases"), (2, "No bone metastases")]
    {
        for view in ["Anterior", "Posterior"] {
            let path = at(&format!("archive/images/{class}/{view}/{}{number}.png", &view[..1]));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            pictures += 1; // each another one
            let body = |at: u16| if (64..960).contains(&at) { 40 + at * pictures % 97 } else { 0 };
            let pixels: Vec<u16> = (0..64 * 16).map(body).collect();
            osteon::intake::picture::write_gray16(&path, 64, 16, &pixels).unwrap();
        }
    }
    fs::write(at("archive/notes.txt"), "x").unwrap();
    let import = |kind: &str| {
        osteon().args(["dataset", "import", kind]).arg(at("archive")).arg("--output").arg(at("tables/m.csv")).output().unwrap()
    };
    let printed = succeeds(import("zenodo"));
    assert!(printed.contains("4 studies: 2 NoMet, 2 Met; 0 of them of one view"), "{printed}");
    assert!(printed.contains("left out 1: notes.txt (no PNG or JPEG picture)"), "{printed}");
    fails(import("zenodo"), 1, &["m.csv: is there already", "--force"]);
    fs::remove_file(at("tables/m.csv")).unwrap();
    fails(import("bs80k"), 1, &["has no folder wholeBodyANT or wholeBodyPOST"]);
    succeeds(import("zenodo"));
    // These pictures show no bodies, which is said before anything is made.
    let make = |more: &[&str]| {
        osteon().args(["dataset", "d3"]).arg(at("tables/m.csv")).arg("--output").arg(at("d3")).args(more).output().unwrap()
    };
    fails(make(&[]), 1, &["m.csv: has 4 problems, as listed above"]);
    succeeds(make(&["--any-image"]));
    succeeds(train(&at("d3/manifest.csv"), &at("run"), &["--epochs", "1", "--any-image"]).output().unwrap());
}

#[test]
fn demo_ends_with_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let demo = |more: &[&str]| osteon().args(["demo", "--quick", "--output"]).arg(folder.path()).args(more).output().unwrap();
    let printed = succeeds(demo(&["--studies", "12", "--epochs", "1"]));
    let page = PathBuf::from(printed.lines().last().unwrap());
    assert!(page.ends_with("report.html") && fs::read_to_string(&page).unwrap().contains("data:image/png"), "{printed}");
    assert!(printed.contains("metastatic or not: accuracy"), "{printed}");
    fails(demo(&[]), 1, &["--force"]);
}

/// A real whole-body scan in three encodings; where the data are not there, this says so and tests nothing.
#[test]
fn a_real_scan_is_the_same_in_every_encoding() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = std::env::var_os("OSTEON_SHARED_DATA").map_or(root.join("../shared/data"), PathBuf::from).join("nm1");
    if !data.is_dir() {
        println!("skipped: {} is not there", data.display());
        return;
    }
    let scans = ["NM1_UNC", "NM1_RLE", "NM1_JPLL"].map(|name| data.join(name));
    let predict = |scans: &[PathBuf]| {
        osteon().arg("predict").arg(SHARED.model()).args(["--single-view", "--json"]).args(scans).output().unwrap()
    };
    let json: serde_json::Value = serde_json::from_str(&succeeds(predict(&scans))).unwrap();
    let first = &json[0]["probabilities"];
    assert!(first.is_object());
    assert!(json.as_array().unwrap().iter().all(|study| study["probabilities"] == *first), "{json}");
    fails(osteon().arg("predict").arg(SHARED.model()).arg(&scans[0]).output().unwrap(), 1, &["NM1_UNC", "--single-view"]);
    fails(predict(&[data.join("JPGExtended.dcm")]), 1, &["JPGExtended.dcm"]);
}

#[test]
fn bench_prints_every_convolution_and_json() {
    let printed = succeeds(run("bench --batch 1 --size 64x32 --rounds 1"));
    for part in ["GFLOP/s", "peak", "layer1", "forward", "training step"] {
        assert!(printed.contains(part), "no {part} in {printed}");
    }
    let json: serde_json::Value = serde_json::from_str(&succeeds(run("bench --batch 1 --size 64x32 --rounds 1 --json"))).unwrap();
    for key in ["forward_seconds_per_image", "training_step_seconds_per_image", "batch", "threads"] {
        assert!(json[key].as_f64().unwrap() > 0.0, "{key}: {json}");
    }
    assert!(json["networks"][0]["weights"].as_u64().unwrap() > 15_000_000, "{json}");
}

#[test]
fn bench_has_a_row_of_every_network() {
    let printed = succeeds(run("bench --architecture all --batch 2 --size 32x32 --rounds 1"));
    for name in osteon::models::architectures() {
        let row =
            printed.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}: {printed}"));
        let numbers: Vec<f64> = row.split_whitespace().skip(2).map(|number| number.parse().unwrap()).collect();
        assert!(numbers.len() == 4 && numbers.iter().all(|&number| number >= 0.0), "{row}");
    }
    fails(
        run("bench --architecture vgg-11 --pooling flatten --size 1024x256"),
        2,
        &["536 million weights", "512 MB", "`average`"],
    );
}

// ---- bad input ---------------------------------------------------------------------------------------------------------

#[test]
fn a_folder_with_a_run_is_refused_without_force() {
    let before = fs::read(SHARED.model()).unwrap();
    fails(train(&SHARED.manifest(), &SHARED.run(), &[]).output().unwrap(), 1, &["run in it", "--force"]);
    assert!(before == fs::read(SHARED.model()).unwrap());
}

#[test]
fn bad_scans_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let whole = fs::read(SHARED.scan()).unwrap();
    let cases = [
        (folder.path().join("missing.dcm"), "missing.dcm"),
        (put("empty.dcm", b""), "empty.dcm"),
        (put("text.dcm", b"this is no DICOM file at all, only some words in a row"), "text.dcm"),
        (put("header.dcm", &whole[..200]), "header.dcm"),
        (put("truncated.dcm", &whole[..whole.len() / 2]), "truncated.dcm"),
    ];
    for (path, name) in cases {
        fails(osteon().arg("predict").arg(SHARED.model()).arg(&path).output().unwrap(), 1, &[name, ";"]);
    }
}

/// One bad scan does not keep the others from being read.
#[test]
fn a_bad_scan_among_good_ones_fails_at_the_end() {
    let output = osteon().arg("predict").arg(SHARED.model()).arg("missing.dcm").arg(SHARED.scan()).output().unwrap();
    let printed = stdout(&output);
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("missing.dcm  not read: missing.dcm: cannot be read"), "{printed}");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("missing.dcm"));
}

#[test]
fn bad_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let mut bytes = fs::read(SHARED.model()).unwrap();
    let predict = || osteon().arg("predict").arg(&path).arg(SHARED.scan()).output().unwrap();
    fails(predict(), 1, &["m.safetensors", "check the path"]);
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    fails(predict(), 1, &["m.safetensors"]);
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    fails(predict(), 1, &["m.safetensors", "NaN"]);
}

#[test]
fn bad_manifests_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("m.csv");
    let scan = SHARED.scan();
    let scan = scan.display();
    let cases = [
        ("patient,anterior,posterior,lable\nA,a.png,,NoMet\n".to_owned(), "did you mean --column label=lable"),
        (format!("patient,anterior,posterior,label\nA,{scan}#1,{scan}#2,nADmet\n"), "--class nADmet"),
        (format!("patient,anterior,posterior,label\nA,{scan}#1,{scan}#2,\n"), "label"),
        ("patient,anterior,posterior,label\nA,missing.png,,NoMet\nB,missing.png,,ADMet\n".to_owned(), "missing.png"),
        ("patient,anterior,posterior,label\n".to_owned(), "m.csv"),
        (String::new(), "m.csv"),
    ];
    for (text, part) in cases {
        fs::write(&manifest, &text).unwrap();
        let output = train(&manifest, &folder.path().join("run"), &[]).output().unwrap();
        let said = stderr(&output);
        assert!(said.contains(part), "{part} not in: {said}");
        fails(output, 1, &["m.csv"]);
        assert!(!folder.path().join("run/model.safetensors").exists());
    }
}

/// The shared phantoms as a department's spreadsheet has them: UTF-16, tabs, other columns, what follows the table.
fn department(path: &Path) {
    let studies = SHARED.path("phantoms");
    let mut table = "\u{feff}Nr\tPatID\tAnt\tPOSTERIOR\tDiagnosis\t\t\n".to_owned();
    for (number, line) in fs::read_to_string(SHARED.manifest()).unwrap().lines().enumerate().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [anterior, posterior] = [cells[1], cells[2]].map(|cell| match cell {
            "" => String::new(),
            cell => studies.join(cell).display().to_string(),
        });
        table += &format!("{number}\t{}\t{anterior}\t{posterior}\t{}\t\t\n\t\t\t\t\t\t\n", cells[0], cells[3]);
    }
    fs::write(path, table.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).unwrap();
}

const DEPARTMENT: [&str; 6] = ["--column", "patient=PatID", "--column", "anterior=ant", "--column", "label=Diagnosis"];

#[test]
fn a_departments_table_is_trained_with_resumed_and_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    department(&at("m.csv"));
    let without = train(&at("m.csv"), &at("run"), &[]).output().unwrap();
    let parts = ["lacks the columns `patient`, `anterior` and `label`", "with a NAME of `Nr`, `PatID`, `Ant` and `Diagnosis`"];
    fails(without, 1, &parts);
    let done = train(&at("m.csv"), &at("run"), &DEPARTMENT).output().unwrap();
    assert!(stderr(&done).contains("m.csv: passes over the column `Nr`\n"), "{}", stderr(&done));
    succeeds(done);
    let record: serde_json::Value = serde_json::from_slice(&fs::read(at("run/run.json")).unwrap()).unwrap();
    let shared: serde_json::Value = serde_json::from_slice(&fs::read(SHARED.path("run/run.json")).unwrap()).unwrap();
    assert_eq!(record["weights"], shared["weights"], "the table is another, the studies are not");
    let config = fs::read_to_string(at("run/config.toml")).unwrap();
    assert!(config.contains("columns = [\"anterior=ant\", \"label=Diagnosis\", \"patient=PatID\"]\n"), "{config}");

    // Neither needs the flags again; other names are another run's settings.
    succeeds(train(&at("m.csv"), &at("run"), &["--resume"]).output().unwrap());
    let other = [&["--resume"], &DEPARTMENT[..], &["--column", "posterior="]].concat();
    fails(train(&at("m.csv"), &at("run"), &other).output().unwrap(), 1, &["made with other settings: columns is"]);
    let evaluate = |more: &[&str]| osteon().arg("evaluate").arg(at("run")).args(more).output().unwrap();
    let printed = succeeds(evaluate(&[]));
    let [all, plain, table, shared] =
        [at("all"), at("plain"), at("m.csv"), SHARED.manifest()].map(|path| path.display().to_string());
    succeeds(evaluate(&["--split", "all", "--output", &all, "--manifest", &table]));
    let plain = ["--output", &plain, "--manifest", &shared];
    assert_eq!(succeeds(evaluate(&plain)).lines().nth(1), printed.lines().nth(1));
    let lacks = "manifest.csv: lacks the columns `PatID` and `Diagnosis`, which --column names for patient and label";
    fails(evaluate(&[&plain[..], &["--force"], &DEPARTMENT[..2], &DEPARTMENT[4..]].concat()), 1, &[lacks, "`label`"]);
    fails(evaluate(&["--column", "label=Nr"]), 2, &["--column and --class are about the manifest of --manifest"]);

    // The other commands that read a manifest.
    let read = |command: &str, more: &[&str]| {
        let words: Vec<String> = command.split(' ').map(|word| word.replace("HERE", folder.path().to_str().unwrap())).collect();
        osteon().args(words).args(more).output().unwrap()
    };
    let d1 =
        |table: &str, output: &str, more: &[&str]| succeeds(read(&format!("dataset d1 {table} --output HERE/{output}"), more));
    let counts = d1("HERE/m.csv", "d1", &DEPARTMENT);
    let plain = d1(SHARED.manifest().to_str().unwrap(), "plain-d1", &[]);
    assert_eq!(counts.lines().take(5).collect::<Vec<_>>(), plain.lines().take(5).collect::<Vec<_>>());
    succeeds(read("dataset check HERE/d1", &[]));
    succeeds(read("dataset check HERE/m.csv", &DEPARTMENT));
    fails(read("dataset check HERE/d1", &DEPARTMENT), 2, &["are about a manifest"]);
    fails(read("lesions HERE/m.csv --output HERE/l", &DEPARTMENT), 1, &["no scan with an annotation"]);
    fails(read("annotation check HERE/m.csv", &DEPARTMENT), 1, &["no scan with an annotation"]);
    let plan = "reproduce --plan --scale smoke --output HERE/study";
    succeeds(read(&format!("{plan} --data HERE/m.csv"), &DEPARTMENT));
    fails(read(plan, &DEPARTMENT), 2, &["phantoms need neither"]);
    fails(read("dataset check HERE/m.csv --column labl=x", &[]), 2, &["--column labl=x: names a column that no manifest has"]);
}

#[test]
fn a_class_that_is_meant_goes_through_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let studies = SHARED.path("phantoms");
    let table = fs::read_to_string(SHARED.manifest()).unwrap();
    let table = table.replace("NoMet", "No-Met").replace("studies/", &format!("{}/studies/", studies.display()));
    fs::write(at("m.csv"), table).unwrap();
    let d3 = |more: &[&str]| {
        osteon().args(["dataset", "d3"]).arg(at("m.csv")).arg("--output").arg(at("d3")).args(more).output().unwrap()
    };
    fails(d3(&[]), 1, &["which differs from `NoMet` only by case, blanks or hyphens", "with --class No-Met"]);
    succeeds(d3(&["--class", "No-Met"]));
    succeeds(osteon().args(["dataset", "check"]).arg(at("d3")).output().unwrap());
    let meant = ["--epochs", "1", "--class", "No-Met"];
    fails(train(&at("d3/manifest.csv"), &at("run"), &meant[..2]).output().unwrap(), 1, &["--class No-Met"]);
    succeeds(train(&at("d3/manifest.csv"), &at("run"), &meant).output().unwrap());
    succeeds(train(&at("d3/manifest.csv"), &at("run"), &["--epochs", "1", "--resume"]).output().unwrap());
    let elsewhere =
        ["--manifest", &at("m.csv").display().to_string(), "--split", "all", "--output", &at("e").display().to_string()];
    succeeds(osteon().arg("evaluate").arg(at("run")).args(elsewhere).output().unwrap());
}

#[test]
fn every_problem_of_a_manifest_is_listed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let check = |more: &[&str]| osteon().args(["dataset", "check"]).arg(at("m.csv")).args(more).output().unwrap();
    let scan = SHARED.scan();
    let good = format!("patient,anterior,posterior,label\nP1,{0}#1,{0}#2,NoMet\n", scan.display());
    fs::write(at("m.csv"), &good).unwrap();
    assert_eq!(succeeds(check(&[])), "1 study of 1 patient: 1 NoMet; nothing is wrong with the table and its scans\n");

    let bad: String = (0..30).map(|row| format!("p{row},gone{row}.png,,ADMet\n")).collect();
    fs::write(at("m.csv"), format!("{good}{bad},,x.png,nADmet\n")).unwrap();
    let listed = check(&[]);
    let said = stderr(&listed);
    assert!(said.contains("line 3 names ") && said.contains("gone18.png") && !said.contains("gone20.png"), "{said}");
    assert!(said.contains("m.csv: patients `P1` (line 2), `p1` (line 4) differ only by case"), "{said}");
    assert!(said.contains("\nand 12 more; --output FILE writes all\n"), "{said}");
    fails(listed, 1, &["m.csv: has 32 problems; correct the table and check it again"]);

    let all = at("all.txt");
    let output = ["--output", all.to_str().unwrap()];
    fails(check(&output), 1, &["has 32 problems"]);
    let written = fs::read_to_string(&all).unwrap();
    assert!(written.lines().count() == 32 && written.contains("gone29.png") && written.contains("an empty patient"), "{written}");
    fails(check(&output), 1, &["--force"]);
    fails(check(&["--force", "--output", at("m.csv").to_str().unwrap()]), 1, &["m.csv"]);
    fs::write(at("m.csv"), &good).unwrap();
    succeeds(check(&["--force", "--output", all.to_str().unwrap()]));
    assert_eq!(fs::read(&all).unwrap(), b"");
    assert_eq!(fs::read_to_string(at("m.csv")).unwrap(), good);
    fails(osteon().args(["dataset", "check"]).arg(at("none")).output().unwrap(), 1, &["is not the folder of a dataset"]);
}

#[test]
fn bad_configuration_names_file_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.toml");
    for (text, part) in
        [("epohcs = 3", "epohcs"), ("epochs = ", "line 1"), ("epochs = \"many\"", "epochs"), ("batch = 0", "batch")]
    {
        fs::write(&config, text).unwrap();
        let mut command = train(&SHARED.manifest(), &folder.path().join("run"), &[]);
        fails(command.arg("--config").arg(&config).output().unwrap(), 1, &["c.toml", part]);
    }
}

/// `ulimit -f 0` lets no file grow: what a full disk does, for any user.
#[test]
#[cfg(unix)]
fn a_full_disk_fails_cleanly_and_keeps_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m.safetensors");
    fs::write(&target, b"precious").unwrap();
    let program = env!("CARGO_BIN_EXE_osteon");
    let line = format!(
        "trap '' XFSZ; ulimit -f 8; exec {program} model new --classes A,B --input-size 64x32 --force --output {}",
        target.display()
    );
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    fails(output, 1, &["m.safetensors", "cannot be written", "what was there before is unchanged"]);
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert_eq!(names(folder.path()), ["m.safetensors"], "a temporary file stayed behind");
}

/// A place where no user, not even root, can make a file.
#[test]
#[cfg(target_os = "linux")]
fn a_place_that_cannot_be_written_is_named() {
    let line = "model new --classes A,B --input-size 64x32 --output /proc/m.safetensors";
    fails(run(line), 1, &["/proc/m.safetensors", "cannot be written"]);
    fails(run("phantom --studies 1 --output /proc/phantoms"), 1, &["/proc/phantoms", "cannot be created"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = osteon().arg("model").arg("info").arg(SHARED.model()).stdout(full).output().unwrap();
    fails(output, 1, &["standard output"]);
}

/// Ctrl-C after the first epoch: exit code 1, and the model that is there is whole and usable.
#[test]
#[cfg(unix)]
fn ctrl_c_keeps_the_last_epochs_model() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut child = train(&SHARED.manifest(), &run, &["--epochs", "10000"]).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let model = run.join("model.safetensors");
    while !model.exists() {
        assert!(Instant::now() < deadline, "no epoch ended in a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("interrupted") && said.contains("model.safetensors") && said.contains("--resume"), "{said}");
    succeeds(osteon().arg("model").arg("info").arg(&model).output().unwrap());
    assert!(names(&run).iter().all(|name| !name.ends_with(".tmp")), "{:?}", names(&run));
}
