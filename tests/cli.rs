//! The program from the outside: commands end to end on tiny phantoms, and what bad input is told.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A fast network: one input is 64x32 pixels.
const TINY: &[&str] = &["--input-size", "64x32", "--batch", "4", "--epochs", "2", "--learning-rate", "0.001"];

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
        "fuse",
        "train",
        "evaluate",
        "predict",
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
    ] {
        let help = succeeds(run(&format!("{command} --help")));
        assert!(help.contains("--threads"), "{command}");
    }
    assert!(succeeds(run("--version")).starts_with("osteon "));
}

// ---- the commands end to end -------------------------------------------------------------------------------------------

#[test]
fn train_writes_a_whole_run() {
    let run = SHARED.run();
    assert_eq!(
        names(&run),
        [
            "checkpoint",
            "checkpoint.previous",
            "config.toml",
            "curves.png",
            "metrics.csv",
            "model.safetensors",
            "run.json",
            "split.csv"
        ]
    );
    let metrics = fs::read_to_string(run.join("metrics.csv")).unwrap();
    let mut lines = metrics.lines();
    let header = "epoch,learning_rate,train_loss,train_accuracy,test_loss,test_accuracy,test_f1,test_auc,gradient_norm,skipped_steps,train_seconds,seconds";
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

#[test]
fn evaluate_writes_scores_pictures_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let output = osteon().arg("evaluate").arg(SHARED.run()).arg("--output").arg(folder.path()).output().unwrap();
    let printed = succeeds(output);
    assert!(printed.contains("accuracy"), "{printed}");
    for name in ["scores.json", "patients.csv", "confusion.png", "roc.png", "report.html"] {
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
}

#[test]
fn fuse_writes_a_picture_and_a_figure() {
    let folder = tempfile::tempdir().unwrap();
    let fused = folder.path().join("fused.png");
    succeeds(osteon().arg("fuse").arg(SHARED.scan()).arg("--output").arg(&fused).output().unwrap());
    assert_eq!(names(folder.path()), ["fused-figure.png", "fused.png"]);
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
    let run = &info["provenance"];
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
    let check = |arguments: &[&str]| {
        osteon().args(["audit", "gradcheck", "--input-size", "32x32"]).args(arguments).arg(SHARED.model()).output().unwrap()
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
    fails(osteon().arg("predict").arg(&model).arg(SHARED.scan()).output().unwrap(), 1, &["holds other weights", "copy it again"]);
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
    assert_eq!(stdout(&output).lines().count(), 1);
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
        ("patient,anterior,posterior,label,color\nA,a.png,,NoMet,red\n".to_owned(), "color"),
        (format!("patient,anterior,posterior,label\nA,{scan}#1,{scan}#2,\n"), "label"),
        ("patient,anterior,posterior,label\nA,missing.png,,NoMet\nB,missing.png,,ADMet\n".to_owned(), "missing.png"),
        ("patient,anterior,posterior,label\n".to_owned(), "m.csv"),
        (String::new(), "m.csv"),
    ];
    for (text, part) in cases {
        fs::write(&manifest, &text).unwrap();
        let output = train(&manifest, &folder.path().join("run"), &[]).output().unwrap();
        fails(output, 1, &[part]);
        assert!(!folder.path().join("run/model.safetensors").exists());
    }
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
        "trap '' XFSZ; ulimit -f 8; exec {program} model new --classes A,B --input-size 64x32 --output {}",
        target.display()
    );
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    fails(output, 1, &["m.safetensors", "cannot be written"]);
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
