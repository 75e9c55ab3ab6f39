//! Signals at real processes: every command ends within two seconds with exit code 1 and a sentence, and what it left is whole.
#![cfg(unix)]

use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Two seconds are promised, which `tests/study_kills.sh` holds it to; the machine of these tests may be busy. What does not heed a
/// signal would run for minutes.
const PROMISED: Duration = Duration::from_secs(20);

/// `osteon` with these arguments, split at spaces, and the signals as they are for a command in a terminal: who runs the tests in the
/// background may ignore some.
fn osteon(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osteon"));
    command.args(["--threads", "2"]).args(line.split_whitespace());
    with_default_signals(command)
}

fn with_default_signals(mut command: Command) -> Command {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    // SAFETY: between fork and exec it calls nothing but `signal`, which is safe there.
    unsafe {
        command.pre_exec(|| {
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        });
    }
    command
}

/// A process that does not outlive its test.
struct Process(Child);

impl Process {
    fn start(mut command: Command) -> Self {
        Process(command.spawn().unwrap())
    }

    fn signal(&self, signal: i32) {
        signal_to(self.0.id() as i32, signal);
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Its end, which must come in time, and what it said.
    #[track_caller]
    fn ends_within(&mut self, time: Duration) -> (ExitStatus, String) {
        let start = Instant::now();
        while self.is_running() {
            assert!(start.elapsed() < time, "still running after {:?}", start.elapsed());
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.0.wait().unwrap(), said)
    }

    /// Exit code 1, a sentence, no panic.
    #[track_caller]
    fn is_interrupted(&mut self) -> String {
        let (status, said) = self.ends_within(PROMISED);
        assert_eq!((status.code(), status.signal()), (Some(1), None), "{said}");
        assert!(said.contains("osteon: interrupted; ") && !said.contains("panicked"), "{said}");
        said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal_to(process: i32, signal: i32) {
    // SAFETY: sends a signal to a child of this test.
    assert_eq!(unsafe { libc::kill(process, signal) }, 0);
}

#[track_caller]
fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_there() {
        assert!(start.elapsed() < Duration::from_secs(120), "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

const TINY: &str =
    "--recipe paper --architecture classifier-18 --input-size 32x32 --batch 4 --learning-rate 0.001 --precise-norm true";

/// Phantoms and a run without interruption.
static SHARED: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    assert!(osteon(&format!("phantom --studies 18 --seed 5 --output {path}/phantoms")).status().unwrap().success());
    assert!(train(&folder.path().join("whole"), "--epochs 6", folder.path()).status().unwrap().success());
    folder
});

fn train(output: &Path, more: &str, shared: &Path) -> Command {
    osteon(&format!("train {}/phantoms/manifest.csv --output {} {TINY} {more}", shared.display(), output.display()))
}

#[test]
fn every_signal_ends_a_command_that_makes_files() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("phantoms");
        let mut process = Process::start(osteon(&format!("phantom --studies 9999 --output {}", output.display())));
        wait_for("a study", || fs::read_dir(&output).is_ok_and(|mut entries| entries.next().is_some()));
        process.signal(signal);
        process.is_interrupted();
        assert!(!output.exists(), "all of it or nothing");
    }
}

/// The arithmetic of `bench` asks nobody whether it should stop.
#[test]
fn what_does_not_notice_a_signal_is_ended_and_a_second_one_ends_at_once() {
    let bench = "bench --only layers --rounds 1000 --size 256x64";
    let mut process = Process::start(osteon(bench));
    std::thread::sleep(Duration::from_millis(500));
    process.signal(libc::SIGTERM);
    let said = process.is_interrupted();
    assert!(said.contains("osteon: stopping"), "{said}");

    // Sooner than one would end it, if the machine is not busy every time.
    let ends_at_once = || {
        let mut process = Process::start(osteon(bench));
        std::thread::sleep(Duration::from_millis(500));
        let start = Instant::now();
        process.signal(libc::SIGTERM);
        std::thread::sleep(Duration::from_millis(100));
        process.signal(libc::SIGTERM);
        process.is_interrupted();
        start.elapsed() < Duration::from_millis(1600)
    };
    assert!((0..10).any(|_| ends_at_once()));
}

/// Whenever it comes, also in the middle of a step; and the run that goes on has the bits of one that was never interrupted.
#[test]
fn a_training_that_is_told_to_stop_leaves_a_checkpoint_and_loses_no_bit() {
    let whole = SHARED.path().join("whole");
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let resume = format!("train {}/phantoms/manifest.csv --output {} --resume", SHARED.path().display(), run.display());
    let mut stops = 0;
    let mut process = Process::start(train(&run, "--epochs 6", SHARED.path()));
    wait_for("a checkpoint", || run.join("checkpoint").exists());
    // Moments without a pattern: while it reads, hashes, restores, steps, measures, writes.
    for (signal, wait) in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT].into_iter().cycle().zip([290, 130, 870, 410, 50, 1390]) {
        std::thread::sleep(Duration::from_millis(wait));
        if !process.is_running() {
            break;
        }
        process.signal(signal);
        let (status, said) = process.ends_within(PROMISED);
        assert!(status.success() || status.code() == Some(1), "{status}: {said}");
        assert!(status.success() || said.contains("--resume") || said.contains(osteon::interrupt::KEPT), "{said}");
        stops += u32::from(!status.success());
        process = Process::start(osteon(&resume));
    }
    let (status, said) = process.ends_within(Duration::from_secs(600));
    assert!(status.success() && stops > 0, "{stops} stops: {said}");
    let compare = osteon(&format!("audit compare {} {}", whole.display(), run.display())).status().unwrap();
    assert!(compare.success());
    assert!(fs::read(whole.join("model.safetensors")).unwrap() == fs::read(run.join("model.safetensors")).unwrap());
}

/// As `nohup` starts one, or a shell in the background.
#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut command = train(&run, "--epochs 100000", SHARED.path());
    // SAFETY: as in `with_default_signals`, behind which it runs.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_IGN);
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            Ok(())
        });
    }
    let mut process = Process::start(command);
    wait_for("a checkpoint", || run.join("checkpoint").exists());
    for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGINT] {
        process.signal(signal);
    }
    std::thread::sleep(Duration::from_millis(2500));
    assert!(process.is_running(), "it heeded a signal that it should ignore");
    process.signal(libc::SIGTERM);
    process.is_interrupted();
}

/// In a container: the system gives process 1 no signal that it has no handler for.
#[test]
#[cfg(target_os = "linux")]
fn process_1_heeds_sigterm() {
    let unshare = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"]).args(arguments);
        with_default_signals(command)
    };
    if !unshare(&["true"]).status().is_ok_and(|status| status.success()) {
        return; // the system does not let this user be alone
    }
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let train = train(&run, "--epochs 100000", SHARED.path());
    let mut line = vec![train.get_program().to_str().unwrap()];
    line.extend(train.get_args().map(|argument| argument.to_str().unwrap()));
    let mut process = Process::start(unshare(&line));
    wait_for("a checkpoint", || run.join("checkpoint").exists());
    let outer = process.0.id();
    let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap();
    signal_to(children.trim().parse().unwrap(), libc::SIGTERM);
    let said = process.is_interrupted();
    assert!(said.contains("--resume"), "{said}");
}

/// Every file below a folder, with its bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_plan_writes_nothing_and_a_folder_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let study = folder.path().join("study");
    let reproduce = |more: &str| {
        let output = osteon(&format!("reproduce --scale smoke --folds 2 --output {} {more}", study.display())).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = reproduce("--plan");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("38 trainings of 2 epochs, 0 of them done") && said.contains("Estimated time"), "{said}");
    assert!(said.contains("  d3-inrac ") && said.contains("  fold2-inrac "), "{said}");
    assert!(!study.exists(), "a plan makes no folder");
    // A user's own phantoms.
    fs::create_dir_all(study.join("phantoms")).unwrap();
    fs::write(study.join("phantoms/manifest.csv"), "patient,anterior,posterior,label\n").unwrap();
    let before = contents(&study);
    for more in ["--plan", ""] {
        let (code, said) = reproduce(more);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("holds something that is not this study's; choose another output folder"), "{said}");
        assert_eq!(contents(&study), before);
    }
}

/// While it makes phantoms, while it measures, and while it trains.
#[test]
fn a_study_is_stopped_in_every_phase() {
    let folder = tempfile::tempdir().unwrap();
    let study = folder.path().join("study");
    let phases = [study.join("phantoms/truth"), study.join("datasets/d3/manifest.csv"), study.join("runs/d3-inrac/checkpoint")];
    for phase in phases {
        let mut process = Process::start(osteon(&format!("reproduce --scale smoke --output {}", study.display())));
        wait_for("the phase", || phase.exists());
        process.signal(libc::SIGTERM);
        let said = process.is_interrupted();
        assert!(said.contains("the same command goes on from here"), "{said}");
    }
    assert!(study.join("study.toml").exists() && study.join("phantoms/codes.csv").exists());
}
