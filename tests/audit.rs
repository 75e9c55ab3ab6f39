//! `osteon audit trace` and `verify` from the outside: a study traced, verified, tampered with, and what bad input is told.

use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use tempfile::TempDir;

fn osteon(threads: usize) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osteon"));
    command.args(["--threads", &threads.to_string()]);
    command
}

#[track_caller]
fn succeeds(output: Output) -> String {
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The given exit code and one sentence on standard error that holds every part; never a panic. Returns standard output.
#[track_caller]
fn fails(output: Output, code: i32, parts: &[&str]) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let sentence = said.lines().rfind(|line| line.starts_with("osteon: ")).unwrap_or_else(|| panic!("no error line in {said}"));
    assert!(!said.contains("panicked") && parts.iter().all(|part| sentence.contains(part)), "{sentence}");
    String::from_utf8(output.stdout).unwrap()
}

/// A model, a scan, and a trace of each kind, which tests copy before they change them.
struct Shared {
    folder: TempDir,
}

impl Shared {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn scan(&self) -> PathBuf {
        let studies = self.path("phantoms/studies");
        fs::read_dir(studies).unwrap().next().unwrap().unwrap().path()
    }

    fn trace(&self, threads: usize, output: &Path, more: &[&str]) -> Output {
        let mut command = osteon(threads);
        command.args(["audit", "trace"]).arg(self.path("m.safetensors")).arg(self.scan()).arg("--output").arg(output);
        command.args(["--input-size", "64x32"]).args(more).output().unwrap()
    }
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let shared = Shared { folder: tempfile::tempdir().unwrap() };
    succeeds(osteon(2).args(["phantom", "--studies", "1", "--output"]).arg(shared.path("phantoms")).output().unwrap());
    succeeds(osteon(2).args(["model", "new", "--seed", "3", "--output"]).arg(shared.path("m.safetensors")).output().unwrap());
    let said = succeeds(shared.trace(2, &shared.path("trace"), &["--pictures"]));
    assert!(said.contains("inference") && said.contains("operations") && said.contains("the same bits"), "{said}");
    let said = succeeds(shared.trace(2, &shared.path("step"), &["--train", "--label", "ADMet"]));
    assert!(said.contains("training step") && said.contains("loss"), "{said}");
    shared
});

fn verify(trace: &Path, more: &[&str]) -> Output {
    osteon(2).args(["audit", "verify"]).arg(trace).args(more).output().unwrap()
}

fn lines(trace: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(trace.join("trace.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in ["trace.json", "trace.jsonl", "tensors.safetensors"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn traces_verify() {
    for name in ["trace", "step"] {
        let trace = SHARED.path(name);
        let said = succeeds(verify(&trace, &[]));
        let records = lines(&trace);
        assert!(said.contains(&format!("{} operations verified", records.len())), "{said}");
        for bound in ["implicit GEMM, l2", "Winograd, l2", "exponential", "sum", "rounding", "exact"] {
            assert!(said.contains(bound), "no `{bound}` in {said}");
        }
        let one = succeeds(verify(&trace, &["--operation", "6"]));
        assert!(one.contains("1 operation verified") && !one.contains("\n    7  "), "{one}");
    }
}

#[test]
fn the_portable_instruction_set_verifies_too() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, more) in [("trace", &["--isa", "portable"][..]), ("step", &["--isa", "portable", "--train"])] {
        let trace = folder.path().join(kind);
        succeeds(SHARED.trace(2, &trace, more));
        assert!(succeeds(verify(&trace, &[])).contains("on portable"));
    }
}

#[test]
fn a_line_says_all_that_is_promised() {
    for record in lines(&SHARED.path("trace")).into_iter().chain(lines(&SHARED.path("step"))) {
        for key in "number name layer source inputs shape algorithm isa flops bytes microseconds min max mean nan infinite sha256"
            .split(' ')
        {
            assert!(record.get(key).is_some(), "no `{key}` in {record}");
        }
        let is_conv = record["name"].as_str().unwrap().starts_with("conv");
        assert_eq!(record["algorithm"].is_string(), is_conv, "{record}");
        assert!(record["source"].as_str().is_some_and(|source| !source.is_empty()));
        assert_eq!((&record["nan"], &record["infinite"]), (&serde_json::json!(0), &serde_json::json!(0)));
    }
    let head: serde_json::Value = serde_json::from_slice(&fs::read(SHARED.path("trace/trace.json")).unwrap()).unwrap();
    let sha256 =
        |path: &Path| Sha256::digest(fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(head["model_sha256"], sha256(&SHARED.path("m.safetensors")));
    let scan = SHARED.scan();
    assert_eq!(head["scan"][scan.file_name().unwrap().to_str().unwrap()], sha256(&scan));
    let page = fs::read_to_string(SHARED.path("trace/index.html")).unwrap();
    assert!(page.contains("Research software, not a medical device"));
    assert!(!page.contains("http://") && !page.contains("https://"), "the page fetches nothing");
    // The pictures that the page names are there.
    let pictures = fs::read_dir(SHARED.path("trace/pictures")).unwrap().count();
    assert_eq!(pictures, page.matches("\"file\":\"pictures/").count());
    assert!(pictures > 50 && !SHARED.path("step/pictures").exists());
}

/// Any safetensors reader gets the values.
#[test]
fn the_tensors_are_a_safetensors_file_with_the_hashes_of_the_lines() {
    let bytes = fs::read(SHARED.path("trace/tensors.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let records = lines(&SHARED.path("trace"));
    assert_eq!(file.len(), records.len());
    for record in records {
        let tensor = file.tensor(&record["number"].to_string()).unwrap();
        let hash: String = Sha256::digest(tensor.data()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(record["sha256"], hash);
        assert_eq!(record["shape"], serde_json::json!(tensor.shape()));
    }
}

#[test]
fn the_trace_predicts_what_predict_predicts() {
    let folder = tempfile::tempdir().unwrap();
    let (model, trace) = (folder.path().join("m"), folder.path().join("t"));
    let new = ["model", "new", "--seed", "3", "--input-size", "64x32", "--output"];
    succeeds(osteon(2).args(new).arg(&model).output().unwrap());
    let scan = SHARED.scan();
    succeeds(osteon(2).args(["audit", "trace"]).arg(&model).arg(&scan).arg("--output").arg(&trace).output().unwrap());
    let head: serde_json::Value = serde_json::from_slice(&fs::read(trace.join("trace.json")).unwrap()).unwrap();
    let said = succeeds(osteon(1).args(["predict", "--json"]).arg(&model).arg(&scan).output().unwrap());
    let predicted: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(head["probabilities"], predicted[0]["probabilities"]);
}

#[test]
fn threads_change_no_hash() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, more) in [("trace", &[][..]), ("step", &["--train", "--label", "ADMet"])] {
        let hashes = |trace: &Path| lines(trace).iter().map(|record| record["sha256"].clone()).collect::<Vec<_>>();
        let two = hashes(&SHARED.path(kind));
        for threads in [1, 3] {
            let output = folder.path().join(format!("{kind}{threads}"));
            succeeds(SHARED.trace(threads, &output, more));
            assert!(hashes(&output) == two, "{kind} on {threads} threads");
        }
    }
}

#[test]
fn what_was_changed_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("flipped");
    copy(&SHARED.path("trace"), &trace);
    let conv = lines(&trace).iter().rposition(|record| record["algorithm"] == "winograd").unwrap();
    let mut bytes = fs::read(trace.join("tensors.safetensors")).unwrap();
    let at = {
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let data = file.tensor(&conv.to_string()).unwrap().data();
        let values: Vec<f32> = data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let largest = (0..values.len()).max_by(|&a, &b| values[a].abs().total_cmp(&values[b].abs())).unwrap();
        data.as_ptr().addr() - bytes.as_ptr().addr() + 4 * largest
    };
    bytes[at + 2] ^= 0x40; // the value's second bit after the leading one: a quarter to an eighth of it
    fs::write(trace.join("tensors.safetensors"), &bytes).unwrap();
    let said = fails(verify(&trace, &[]), 1, &["flipped", "are not what it says", &conv.to_string()]);
    let line = said.lines().find(|line| line.trim_start().starts_with(&format!("{conv} "))).unwrap();
    assert!(line.contains("above its bound") && line.contains("hash"), "{line}");
    fails(verify(&trace, &["--operation", &conv.to_string()]), 1, &["1 of 1 operation is not"]);
    succeeds(verify(&trace, &["--operation", "6"]));

    // A line that says something else, with and without its own hash.
    let trace = folder.path().join("line");
    copy(&SHARED.path("trace"), &trace);
    let mut records = lines(&trace);
    records[conv]["max"] = serde_json::json!(123.5);
    let text: String = records.iter().map(|record| format!("{record}\n")).collect();
    fs::write(trace.join("trace.jsonl"), &text).unwrap();
    fails(verify(&trace, &[]), 1, &["trace.jsonl", "cut off or changed"]);
    let mut head: serde_json::Value = serde_json::from_slice(&fs::read(trace.join("trace.json")).unwrap()).unwrap();
    head["operations_sha256"] = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    fs::write(trace.join("trace.json"), head.to_string()).unwrap();
    let said = fails(verify(&trace, &[]), 1, &["1 of", "is not what it says"]);
    assert!(said.contains("not as described"), "{said}");
}

#[test]
fn bad_input_is_told_in_a_sentence() {
    let trace = SHARED.path("trace");
    fails(verify(&trace, &["--operation", "99999"]), 2, &["--operation 99999", "operations", "give one from 0 to"]);
    fails(verify(SHARED.folder.path(), &[]), 1, &["is not a trace"]);
    fails(verify(Path::new("/nowhere"), &[]), 1, &["/nowhere", "is not a trace"]);
    fails(SHARED.trace(2, &trace, &[]), 1, &["trace", "exists already"]);
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("new");
    fails(SHARED.trace(2, &new, &["--train", "--label", "nonsense"]), 2, &["nonsense", "NoMet"]);
    fails(SHARED.trace(2, &new, &["--train", "--learning-rate", "nan"]), 2, &["--learning-rate"]);
    fails(SHARED.trace(2, &new, &["--input-size", "16x16"]), 1, &["at least 32"]);
    let output = SHARED.trace(2, &new, &["--label", "ADMet"]);
    assert_eq!(output.status.code(), Some(2), "a label without --train is a usage error");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
    let cut = folder.path().join("cut");
    copy(&trace, &cut);
    let bytes = fs::read(cut.join("tensors.safetensors")).unwrap();
    fs::write(cut.join("tensors.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    fails(verify(&cut, &[]), 1, &["tensors.safetensors", "is cut off", "again"]);
}

/// What has no end is not read, and errors name the folder that was asked for.
#[test]
#[cfg(target_os = "linux")]
fn a_model_is_a_file_and_a_trace_goes_where_files_can_be_made() {
    let folder = tempfile::tempdir().unwrap();
    // With a limit on memory, so that a program that does read on stops.
    let line = format!(
        "ulimit -v 8000000; exec {} audit trace /dev/zero {} --output {}",
        env!("CARGO_BIN_EXE_osteon"),
        SHARED.scan().display(),
        folder.path().join("trace").display()
    );
    fails(Command::new("sh").args(["-c", &line]).output().unwrap(), 1, &["/dev/zero: is not a file"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
    fails(SHARED.trace(2, Path::new("/proc/trace"), &[]), 1, &["osteon: /proc/trace: cannot be created"]);
}

/// `ulimit -f` lets no file grow: what a full disk does.
#[test]
#[cfg(unix)]
fn a_full_disk_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let line = format!(
        "trap '' XFSZ; ulimit -f 4096; exec {} audit trace {} {} --output {} --input-size 64x32",
        env!("CARGO_BIN_EXE_osteon"),
        SHARED.path("m.safetensors").display(),
        SHARED.scan().display(),
        folder.path().join("trace").display()
    );
    fails(Command::new("sh").args(["-c", &line]).output().unwrap(), 1, &["cannot be written"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
}
