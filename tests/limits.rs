//! What the program does at its limits, from the outside: many scans, numbers out of range, no more memory, and names of every kind.

use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use tempfile::TempDir;

fn osteon() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osteon"));
    command.args(["--threads", "2"]);
    command
}

fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    osteon().args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn succeeds(output: Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The exit code, and one line of the program's own that has all parts.
#[track_caller]
fn fails(output: &Output, code: i32, parts: &[&str]) {
    let text = said(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("osteon: ") || line.starts_with("error: ")).collect();
    let [line] = lines[..] else { panic!("not one sentence: {text}") };
    parts.iter().for_each(|part| assert!(line.contains(part), "`{line}` does not say `{part}`"));
}

/// Phantoms, a model, and a run of two epochs, which no test changes.
struct Shared {
    folder: TempDir,
}

impl Shared {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    fn scan(&self) -> PathBuf {
        self.path("phantoms/studies/0001.dcm")
    }
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let shared = Shared { folder: tempfile::tempdir().unwrap() };
    let path = |name| shared.path(name).into_os_string();
    succeeds(run(["phantom", "--studies", "18", "--seed", "5", "--output"]
        .map(OsString::from)
        .into_iter()
        .chain([path("phantoms")])));
    succeeds(run(["model", "new", "--input-size", "32x32", "--output"].map(OsString::from).into_iter().chain([path("model")])));
    let train =
        "--recipe paper --input-size 64x32 --batch 4 --epochs 2 --learning-rate 0.001 --architecture classifier-18 --output";
    let train = train.split(' ').map(OsString::from);
    succeeds(run([OsString::from("train"), path("phantoms/manifest.csv")].into_iter().chain(train).chain([path("run")])));
    shared
});

#[test]
fn a_number_out_of_range_is_a_usage_error_on_every_command() {
    for line in [
        "--threads 257 tasks",
        "--threads 1000000 tasks",
        "phantom --output x --studies 0",
        "phantom --output x --studies 1000001",
        "phantom --output x --seed 9223372036854775808",
        "demo --studies 1000001",
        "demo --epochs 1000001",
        "demo --seed 9223372036854775808",
        "dataset d1 m.csv --output x --seed 9223372036854775808",
        "dataset d1 m.csv --output x --counts NoMet=1000001",
        "train m.csv --output x --epochs 1000001",
        "train m.csv --output x --batch 4097",
        "train m.csv --output x --seed 9223372036854775808",
        "train m.csv --output x --split-seed 9223372036854775808",
        "train m.csv --output x --loader-threads 257",
        "train m.csv --output x --cache-mb 1048577",
        "train m.csv --output x --patience 1000001 --validation-share 0.1",
        "train m.csv --output x --step-epochs 1000001",
        "train m.csv --output x --test-every 1000001",
        "train m.csv --output x --checkpoint-minutes inf",
        "train m.csv --output x --warm-up-epochs 1000001",
        "evaluate x --resamples 1000001",
        "evaluate x --resample-seed 9223372036854775808",
        "compare a b --resamples 99",
        "reproduce --output x --seeds 101",
        "reproduce --output x --folds 101",
        "reproduce --output x --epochs 1000001",
        "reproduce --output x --seed 9223372036854775808",
        "reproduce --output x --seed 9223372036854775807 --seeds 2",
        "predict m s --max-file-size 1048577",
        "model new --output x --seed 9223372036854775808",
        "audit gradcheck m --batch 0",
        "audit gradcheck m --seed 9223372036854775808",
        "audit verify t --operation 1000001",
        "bench --batch 1025",
        "bench --rounds 1001",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = osteon().current_dir(folder.path()).args(line.split(' ')).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {}", said(&output));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{line} left something");
    }
}

#[test]
fn scans_beyond_a_hundred_are_on_pages_of_a_hundred_and_the_list_is_json_whatever_fails() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page");
    fs::create_dir(&page).unwrap();
    fs::write(page.join("report-3.html"), "of an earlier prediction").unwrap();
    let mut scans = vec![SHARED.scan(); 101];
    scans[1] = folder.path().join("none.dcm");
    let predict = |scans: &[PathBuf]| {
        let line = ["--json", "--force", "--report"];
        osteon().arg("predict").arg(SHARED.path("model")).args(scans).args(line).arg(&page).output().unwrap()
    };
    let output = predict(&scans);
    fails(&output, 1, &["none.dcm"]);
    let list: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list.len(), 101);
    assert!(list.iter().all(|object| object["model_sha256"].as_str().is_some_and(|hash| hash.len() == 64)), "{:?}", list[0]);
    assert!(list[1]["error"].is_string() && list[100]["class"].is_string());
    let mut names: Vec<_> = fs::read_dir(&page).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["report-2.html", "report.html"], "the earlier page is not of this prediction");
    let [first, second] = ["report.html", "report-2.html"].map(|name| fs::read_to_string(page.join(name)).unwrap());
    let scans_on = |page: &str| page.matches("<article class=\"scan").count();
    assert_eq!([scans_on(&first), scans_on(&second)], [99, 1]);
    assert!(first.contains("scans 1 to 100 of 101") && first.contains("href=\"report-2.html\""));
    assert!(second.contains("scans 101 to 101 of 101") && second.contains("href=\"report.html\""));
    // As many as one page holds are on one.
    succeeds(predict(&scans[2..]));
    assert_eq!(fs::read_dir(&page).unwrap().count(), 1);
    assert_eq!(scans_on(&fs::read_to_string(page.join("report.html")).unwrap()), 99);
    // All of them fail: a list, and no page.
    let none = tempfile::tempdir().unwrap();
    let output = predict(&[none.path().join("none.dcm")]);
    assert_eq!(serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap().len(), 1);
}

#[cfg(target_os = "linux")]
fn with_limit(kilobytes: usize, arguments: &[&str]) -> Output {
    let script = format!("ulimit -v {kilobytes}; exec \"$0\" --threads 2 \"$@\"");
    Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_osteon")]).args(arguments).output().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_fit_is_told_before_it_begins_with_the_settings_to_lower() {
    let run = SHARED.path("too-large");
    let manifest = SHARED.path("phantoms/manifest.csv");
    let train = ["train", manifest.to_str().unwrap(), "--output", run.to_str().unwrap()];
    let output = with_limit(2 << 20, &[&train[..], &["--input-size", "2048x512", "--batch", "16"]].concat());
    fails(&output, 2, &["needs at least", "ulimit -v", "2048 MB", "--batch", "--input-size", "--cache-mb"]);
    let output = with_limit(1 << 20, &["bench", "--only", "training", "--batch", "32"]);
    fails(&output, 2, &["needs at least", "--batch", "--size"]);
}

#[cfg(target_os = "linux")]
#[test]
fn where_memory_ends_one_sentence_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    let new = ["model", "new", "--input-size", "64x32", "--output", model.to_str().unwrap()];
    let mut ended = 0;
    // From what the program itself needs to what the command needs: where it lies depends on the machine.
    for megabytes in (60..400).step_by(20) {
        let output = with_limit(megabytes << 10, &new);
        let text = said(&output);
        assert!(
            !text.contains("panicked") && output.status.code().is_some_and(|code| code <= 2),
            "{megabytes} MB: {:?} {text}",
            output.status
        );
        if text.contains("out of memory") {
            fails(&output, 1, &["MB more were asked for", "give smaller inputs or more memory"]);
            ended += 1;
            assert!(!model.exists());
        } else if output.status.success() {
            break;
        }
    }
    assert!(ended > 0);
}

/// A name that tries to print a verdict of its own.
const HOSTILE: &str = "a\u{1b}[31m\nosteon: all is well\u{202e}.dcm";

#[cfg(unix)]
#[test]
fn a_file_name_prints_no_line_and_no_escape_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let scan = folder.path().join(HOSTILE);
    fs::copy(SHARED.scan(), &scan).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let model = SHARED.path("model");
    let [here, missing] = [scan.as_path(), Path::new(HOSTILE)].map(Path::as_os_str);
    let mut outputs = vec![run([OsStr::new("predict"), model.as_os_str(), here])];
    assert!(said(&outputs[0]).contains("a\\033[31m\\nosteon: all is well\\342\\200\\256.dcm\"  "), "{}", said(&outputs[0]));
    let json = run([OsStr::new("predict"), model.as_os_str(), here, OsStr::new("--json")]);
    let list: Vec<Value> = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(list[0]["scan"].as_str(), scan.to_str(), "JSON says the name itself, escaped");
    outputs.push(json);
    for arguments in [
        vec!["predict", "MODEL", HOSTILE],
        vec!["model", "info", HOSTILE],
        vec!["train", HOSTILE, "--output", "x"],
        vec!["evaluate", HOSTILE],
        vec!["audit", "verify", HOSTILE],
        vec!["dataset", "check", HOSTILE],
        vec!["annotation", "check", HOSTILE],
        vec!["compare", HOSTILE, HOSTILE],
        vec!["curves", HOSTILE, "--output", HOSTILE],
        vec!["fuse", HOSTILE, "--output", HOSTILE],
        vec!["lesions", HOSTILE, "--output", "x"],
        vec!["bench", "--architecture", HOSTILE],
        vec!["man", HOSTILE],
        vec!["model", "new", "--classes", "NoMet,\u{1b}[31mMet", "--output", "x"],
        vec![HOSTILE],
        vec!["--threads", HOSTILE, "tasks"],
    ] {
        let arguments: Vec<&OsStr> =
            arguments.iter().map(|word| if *word == "MODEL" { model.as_os_str() } else { OsStr::new(word) }).collect();
        let output = osteon().current_dir(elsewhere.path()).args(arguments).output().unwrap();
        assert!(!output.status.success());
        outputs.push(output);
    }
    outputs.push(run([OsStr::new("predict"), model.as_os_str(), missing]));
    for output in outputs {
        let text = said(&output);
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("osteon: all is well")), "{text}");
    }
}

/// Every command with names that are not UTF-8 wherever it takes one: it works or says one sentence.
#[cfg(unix)]
#[test]
fn names_that_are_not_utf8_panic_nowhere() {
    use std::os::unix::ffi::OsStrExt;
    let outer = tempfile::tempdir().unwrap();
    let odd = outer.path().join(OsStr::from_bytes(b"\xff"));
    fs::create_dir(&odd).unwrap();
    succeeds(run([
        OsStr::new("phantom"),
        OsStr::new("--studies"),
        OsStr::new("18"),
        OsStr::new("--annotations"),
        OsStr::new("--output"),
        odd.join("phantoms").as_os_str(),
    ]));
    fs::copy(SHARED.path("model"), odd.join("model")).unwrap();
    fs::copy(SHARED.scan(), odd.join(OsStr::from_bytes(b"\xfe.dcm"))).unwrap();
    fs::write(odd.join("config.toml"), "epochs = 1\n").unwrap();
    let copied = Command::new("cp").arg("-r").arg(SHARED.path("run")).arg(odd.join("run")).status().unwrap();
    assert!(copied.success());
    let words = |line: &str| -> Vec<OsString> {
        let word = |word: &str| match word.split_once("ODD/") {
            Some((before, rest)) => {
                let mut path = OsString::from(before);
                path.push(odd.join(rest));
                match rest {
                    "SCAN" => path = odd.join(OsStr::from_bytes(b"\xfe.dcm")).into_os_string(),
                    "PICTURE" => path = odd.join(OsStr::from_bytes(b"\xfd.png")).into_os_string(),
                    _ => {}
                }
                path
            }
            None => match word.strip_prefix("SHARED/") {
                Some(rest) => SHARED.path(rest).into_os_string(),
                None => word.into(),
            },
        };
        line.split(' ').map(word).collect()
    };
    let tiny = "--recipe paper --input-size 32x32 --batch 4 --epochs 1 --architecture classifier-18";
    for (line, works) in [
        ("predict ODD/model ODD/SCAN", true),
        ("predict ODD/model ODD/SCAN --json", true),
        ("predict ODD/model ODD/SCAN --report ODD/page", true),
        ("predict ODD/model ODD/none.dcm,ODD/none2.dcm --json", false),
        ("predict ODD/run ODD/SCAN", true),
        ("fuse ODD/SCAN --output ODD/fused.png", true),
        ("fuse ODD/SCAN --output ODD/PICTURE", true),
        // Under the very name that was asked for: it can be read, and is not written a second time.
        ("fuse ODD/PICTURE --single-view --views anterior,posterior --output ODD/again.png", true),
        ("fuse ODD/SCAN --output ODD/PICTURE", false),
        (&format!("train ODD/phantoms/manifest.csv --output SHARED/never {tiny}"), false),
        (&format!("train SHARED/phantoms/manifest.csv --output ODD/trained {tiny} --config ODD/config.toml"), true),
        ("train SHARED/phantoms/manifest.csv --output ODD/trained --resume", true),
        ("evaluate ODD/run", true),
        ("evaluate SHARED/run --manifest ODD/phantoms/manifest.csv --split all --output ODD/evaluated", true),
        ("compare ODD/evaluated ODD/evaluated", true),
        ("compare ODD/evaluated ODD/evaluated --json", true),
        ("curves ODD/run ODD/run --output ODD/curves.svg", true),
        ("dataset d3 ODD/phantoms/manifest.csv --output ODD/d3", true),
        ("dataset check ODD/d3", true),
        ("dataset d1 ODD/phantoms/manifest.csv --output SHARED/never-d1", false),
        ("dataset d1 ODD/phantoms/manifest.csv --output ODD/d1 --materialise", true),
        ("dataset import zenodo ODD/phantoms --output ODD/zenodo.csv", false),
        ("lesions ODD/phantoms/manifest.csv --output ODD/lesions", true),
        ("annotation check ODD/phantoms/manifest.csv", true),
        ("model info ODD/model", true),
        ("model info ODD/model --json", true),
        ("model export ODD/model --format onnx --output ODD/model.onnx", true),
        ("model new --input-size 32x32 --output ODD/new", true),
        ("model keygen --output ODD/key", true),
        ("model sign ODD/model --key ODD/key.pem", true),
        ("model verify ODD/model --key ODD/key.pub.pem", true),
        ("predict ODD/model ODD/SCAN --require-signature ODD/key.pub.pem", true),
        ("audit trace ODD/model ODD/SCAN --output ODD/trace", true),
        ("audit verify ODD/trace", true),
        ("audit compare ODD/run ODD/run", true),
        ("audit forward --model ODD/model --input ODD/model --output ODD/forward", false),
        ("reproduce --plan --scale smoke --data ODD/phantoms/manifest.csv --output ODD/study", false),
        ("man --output ODD/man", true),
    ] {
        let output = run(words(line));
        let text = said(&output);
        assert!(
            !text.contains("panicked") && output.status.code().is_some_and(|code| code <= 2),
            "{line}: {:?} {text}",
            output.status
        );
        assert_eq!(output.status.success(), works, "{line}: {text}");
        if line.ends_with("--json") {
            serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|error| panic!("{line}: {error}: {text}"));
        }
        if !works && !line.contains("--json") {
            assert_eq!(text.lines().filter(|line| line.starts_with("osteon: ")).count(), 1, "{line}: {text}");
        }
    }
}

/// A page, a picture or scores that are handed on do not say where on this machine their run was.
#[test]
fn what_is_handed_on_has_no_path_of_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).into_os_string();
    let own = |name: &str| SHARED.path(name).into_os_string();
    let word = |word: &str| OsString::from(word);
    succeeds(run([word("evaluate"), own("run"), word("--output"), path("evaluation")]));
    succeeds(run([word("predict"), own("run"), SHARED.scan().into_os_string(), word("--report"), path("prediction")]));
    succeeds(run([word("audit"), word("trace"), own("run"), SHARED.scan().into_os_string(), word("--output"), path("trace")]));
    fs::create_dir(folder.path().join("figures")).unwrap();
    let runs = ["a/run", "b/run"].map(|name| folder.path().join(name));
    for run in &runs {
        fs::create_dir(run.parent().unwrap()).unwrap();
        assert!(Command::new("cp").arg("-r").arg(SHARED.path("run")).arg(run).status().unwrap().success());
    }
    let [one, other] = runs.map(PathBuf::into_os_string);
    succeeds(run([word("curves"), one, other, word("--output"), path("figures/curves.svg")]));
    let (mut files, mut hidden) = (0, Vec::new());
    for part in ["evaluation", "prediction", "trace", "figures"] {
        for entry in fs::read_dir(folder.path().join(part)).unwrap().map(|entry| entry.unwrap().path()) {
            if !entry.is_file() {
                continue;
            }
            files += 1;
            let bytes = fs::read(&entry).unwrap();
            for place in [folder.path(), SHARED.folder.path()] {
                let place = place.file_name().unwrap().as_encoded_bytes();
                if bytes.windows(place.len()).any(|window| window == place) {
                    hidden.push(entry.clone());
                }
            }
        }
    }
    assert!(files >= 10 && hidden.is_empty(), "{files} files; {hidden:?}");
}
