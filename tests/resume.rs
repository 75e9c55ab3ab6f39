//! Runs that are interrupted, damaged, refused a place to write, or driven to NaN: what is lost, what is said, and the same bits at
//! the end. `tests/kills.sh` does the rest: it kills real processes at random moments.

use osteon::archive::manifest::Manifest;
use osteon::audit;
use osteon::image::Size;
use osteon::models::Model;
use osteon::train::{self, ClassWeights, Epoch, Event, OnNan, RunFolder, RunRecord, ScheduleName, Settings, Start};
use osteon::{Error, Result};
use osteon_kernels::par::Pool;
use osteon_kernels::simd::Isa;
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use tempfile::TempDir;

const STUDIES: usize = 18;

/// The smallest network on the smallest inputs, with all that a run's bits can depend on: shuffling, augmentation, a schedule,
/// measured statistics. Thirteen training studies: three steps an epoch.
fn settings() -> Settings {
    Settings {
        architecture: "classifier-18".into(),
        input_size: Size { rows: 32, columns: 32 },
        batch: 5,
        epochs: 2,
        learning_rate: 0.001,
        schedule: ScheduleName::Cosine,
        precise_norm: true,
        ..Settings::default()
    }
}

/// The same as flags.
const FLAGS: &str = "--recipe paper --architecture classifier-18 --input-size 32x32 --batch 5 --epochs 2 --learning-rate 0.001 --schedule cosine \
                     --precise-norm true";

/// Phantoms, a run without interruption, and one that was interrupted in the second epoch, with two checkpoints. No test changes
/// them.
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
    /// A copy of the interrupted run. Its files may be replaced, but not written into: but for the checkpoints they are links.
    fn interrupted(&self, folder: &Path) -> PathBuf {
        let copy = folder.join("run");
        fs::create_dir(&copy).unwrap();
        for name in names(&self.path("interrupted")) {
            let (from, to) = (self.path("interrupted").join(&name), copy.join(&name));
            if name.starts_with("checkpoint") {
                fs::copy(from, to).unwrap();
            } else {
                fs::hard_link(from, to).unwrap();
            }
        }
        copy
    }
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let shared = Shared { folder: tempfile::tempdir().unwrap() };
    let studies = STUDIES.to_string();
    let phantoms = ["phantom", "--studies", &studies, "--seed", "5", "--output"];
    succeeds(osteon().args(phantoms).arg(shared.path("phantoms")).output().unwrap());
    let manifest = shared.manifest();
    run(&manifest, &settings(), 2, &shared.path("whole"), false, |_| false).unwrap();
    interrupted(run(&manifest, &settings(), 2, &shared.path("interrupted"), false, |event| step(event) == Some(4)));
    shared
});

fn osteon() -> Command {
    Command::new(env!("CARGO_BIN_EXE_osteon"))
}

/// `osteon train` with the settings of [`settings`], or those of the run with `--resume`.
fn command(manifest: &Path, output: &Path, more: &str) -> Command {
    let mut command = osteon();
    command.args(["--threads", "2", "train"]).arg(manifest).arg("--output").arg(output);
    if !more.contains("--resume") {
        command.args(FLAGS.split_whitespace());
    }
    command.args(more.split_whitespace());
    command
}

#[track_caller]
fn succeeds(output: Output) -> (String, String) {
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{}\n{stdout}{stderr}", output.status);
    (stdout, stderr)
}

/// One sentence on standard error with every part, and this exit code.
#[track_caller]
fn fails(output: Output, code: i32, parts: &[&str]) -> String {
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("osteon: ") || line.contains("panicked")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    for part in parts {
        assert!(errors[0].contains(part), "`{}` does not say `{part}`", errors[0]);
    }
    errors[0].to_owned()
}

/// Trains in this process until `stop` says so.
fn run(
    manifest: &Path,
    settings: &Settings,
    threads: usize,
    output: &Path,
    resume: bool,
    mut stop: impl FnMut(&Event) -> bool + Send,
) -> Result<()> {
    Pool::new(threads).unwrap().run(|| {
        let manifest = Manifest::read(manifest)?;
        let folder = if resume { RunFolder::resume(output)? } else { RunFolder::create(output, false)? };
        let mut watch = |event: Event| if stop(&event) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let start = if resume { Start::Resume { allow_other_isa: false } } else { Start::New };
        train::run(&manifest, settings, &folder, start, &mut watch).map(drop)
    })
}

fn step(event: &Event) -> Option<usize> {
    match event {
        Event::Step { done, .. } | Event::Skipped { done, .. } => Some(*done),
        _ => None,
    }
}

#[track_caller]
fn interrupted(result: Result<()>) {
    assert!(matches!(result, Err(Error::Interrupted { .. })), "{result:?}");
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The model's bytes, and the metrics without their two columns of seconds.
fn outcome(run: &Path) -> (Vec<u8>, Vec<String>) {
    let metrics = fs::read_to_string(run.join("metrics.csv")).unwrap();
    let untimed = |line: &str| line.rsplitn(3, ',').last().unwrap().to_owned();
    (fs::read(run.join("model.safetensors")).unwrap(), metrics.lines().map(untimed).collect())
}

#[track_caller]
fn expect_same(a: &Path, b: &Path) {
    let (model_a, metrics_a) = outcome(a);
    let (model_b, metrics_b) = outcome(b);
    assert_eq!(metrics_a, metrics_b);
    assert!(model_a == model_b, "the models differ");
    let comparison = audit::compare(a, b).unwrap();
    assert_eq!(comparison.differences, [""; 0]);
    assert_eq!((comparison.inputs, comparison.models), (STUDIES, true));
}

/// Every file of a folder with its bytes.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    names(folder).into_iter().map(|name| (name.clone(), fs::read(folder.join(&name)).unwrap())).collect()
}

// ---- the same bits -----------------------------------------------------------------------------------------------------

/// Stopped in mid-epoch, at an epoch's end, and while the network is tested; with other threads than the run that is compared.
#[track_caller]
fn stops_and_goes_on(threads: usize, loader_threads: usize) {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("run");
    let settings = Settings { loader_threads, ..settings() };
    let go_on = |resume, stop: &(dyn Fn(&Event) -> bool + Sync)| {
        run(&SHARED.manifest(), &settings, threads, &output, resume, |event| stop(event))
    };
    interrupted(go_on(false, &|event| step(event) == Some(2)));
    assert!(!output.join("model.safetensors").exists());
    interrupted(go_on(true, &|event| matches!(event, Event::Epoch(_))));
    interrupted(go_on(true, &|event| matches!(event, Event::Test { done: 0.., .. })));
    go_on(true, &|event| step(event).is_some_and(|done| done <= 3)).expect("no step is done again");
    expect_same(&SHARED.path("whole"), &output);
}

#[test]
fn stopped_and_resumed_with_one_thread() {
    stops_and_goes_on(1, 2);
}

#[test]
fn stopped_and_resumed_with_two_threads() {
    stops_and_goes_on(2, 1);
}

#[test]
fn stopped_and_resumed_with_three_threads() {
    stops_and_goes_on(3, 2);
}

#[test]
fn stopped_and_resumed_with_eight_threads() {
    stops_and_goes_on(8, 1);
}

/// Checkpoints between steps, and what a killed process leaves, change nothing.
#[test]
fn checkpoints_in_time_and_unfinished_files_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = SHARED.interrupted(folder.path());
    for name in [".osteon-0123456789abcdef.tmp", ".osteon-fedcba9876543210.tmp"] {
        fs::write(run.join(name), "half of a file").unwrap();
    }
    let (_, said) = succeeds(command(&SHARED.manifest(), &run, "--resume --checkpoint-minutes 1e-9").output().unwrap());
    assert!(said.contains("going on after step 1 of epoch 2"), "{said}");
    assert_eq!(names(&run), names(&SHARED.path("whole")));
    expect_same(&SHARED.path("whole"), &run);
}

/// Validation patients choose the epoch; a resumed run chooses the same one, and has its weights though they are long gone.
#[test]
fn the_best_epoch_survives_an_interruption() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // Steps so large that the last epoch is hardly the best.
    let settings = Settings {
        learning_rate: 0.05,
        schedule: ScheduleName::Constant,
        epochs: 6,
        validation_share: 0.3,
        patience: 2,
        weight_decay: 0.1,
        decoupled_decay: true,
        class_weights: ClassWeights::Balanced,
        zero_init_last_norm: true,
        ..settings()
    };
    let go_on = |name: &str, resume, stop: &(dyn Fn(&Event) -> bool + Sync)| {
        run(&SHARED.manifest(), &settings, 2, &at(name), resume, |event| stop(event))
    };
    go_on("whole", false, &|_| false).unwrap();
    interrupted(go_on("other", false, &|event| matches!(event, Event::Epoch(epoch) if epoch.epoch == 1)));
    // Within the second epoch, after its validation, and after it.
    interrupted(go_on("other", true, &|event| step(event) == Some(3)));
    interrupted(go_on("other", true, &|event| matches!(event, Event::Test { done: 1.., .. })));
    interrupted(go_on("other", true, &|event| matches!(event, Event::Epoch(_))));
    go_on("other", true, &|_| false).unwrap();
    expect_same(&at("whole"), &at("other"));

    let epochs = Epoch::read_all(&at("whole").join("metrics.csv")).unwrap();
    let losses: Vec<f64> = epochs.iter().map(|epoch| epoch.validation_loss.unwrap()).collect();
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let chosen = Epoch::chosen(&epochs, settings.choose_by);
    assert_eq!(losses[chosen - 1], least, "{losses:?}");
    assert!(epochs.len() == 6 || epochs.len() == chosen + 2, "{losses:?} end after {} epochs", epochs.len());
    let record = RunRecord::read(&at("other")).unwrap();
    assert_eq!(record.chosen_epoch, chosen);
    let model = Model::load(at("other").join("model.safetensors")).unwrap();
    assert_eq!(model.weights_hash(), record.weights[chosen - 1]);
    assert_eq!(model.metadata().provenance.as_ref().unwrap().epochs, chosen);
    let split = fs::read_to_string(at("other").join("split.csv")).unwrap();
    assert_eq!(split.matches(",validation\n").count(), 4, "{split}");
}

/// First weights that are fitted to the first training images do not depend on threads, nor on whether the run was interrupted.
#[test]
fn standardised_first_weights_survive_an_interruption() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let settings = Settings { architecture: "vgg-11".to_owned(), standardise_init: true, ..settings() };
    let go_on = |name: &str, threads, resume, stop: &(dyn Fn(&Event) -> bool + Sync)| {
        run(&SHARED.manifest(), &settings, threads, &at(name), resume, |event| stop(event))
    };
    go_on("whole", 2, false, &|_| false).unwrap();
    interrupted(go_on("other", 1, false, &|event| step(event) == Some(1)));
    go_on("other", 3, true, &|_| false).unwrap();
    expect_same(&at("whole"), &at("other"));
}

/// A run that was begun for fewer epochs goes on for more: with a constant rate it ends with the bits of a run that was begun for as many.
#[test]
fn a_finished_run_with_a_constant_rate_goes_on_as_if_it_had_not_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let settings = |epochs| Settings { schedule: ScheduleName::Constant, average_decay: 0.9, epochs, ..settings() };
    run(&SHARED.manifest(), &settings(3), 2, &at("whole"), false, |_| false).unwrap();
    run(&SHARED.manifest(), &settings(1), 2, &at("other"), false, |_| false).unwrap();
    assert!(!names(&at("other")).contains(&"checkpoint.previous".to_owned()));
    let (_, said) = succeeds(osteon().args(["train", "--resume"]).arg(at("other")).args(["--epochs", "3"]).output().unwrap());
    assert!(said.contains("going on after step 0 of epoch 2") && said.contains("all 3 epochs are done"), "{said}");
    expect_same(&at("whole"), &at("other"));
}

/// With any other schedule it begins anew, which is said and written down: the configuration gives the same weights in one go. The
/// checkpoints of a finished run are gone but for a few kilobytes.
#[test]
fn a_finished_run_with_another_schedule_begins_it_anew() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (validation_share, average_decay) in [(0.0, 0.0), (0.3, 0.9)] {
        let settings = Settings { validation_share, average_decay, epochs: 2, ..settings() };
        let _ = fs::remove_dir_all(at("run"));
        let _ = fs::remove_dir_all(at("again"));
        run(&SHARED.manifest(), &settings, 2, &at("run"), false, |_| false).unwrap();
        let size = |name: &str| fs::metadata(at("run").join(name)).map_or(0, |file| file.len());
        assert!((1..64 << 10).contains(&size("checkpoint")) && size("checkpoint.previous") == 0);

        let more = |more: &[&str]| succeeds(osteon().args(["train", "--resume"]).arg(at("run")).args(more).output().unwrap());
        let before = outcome(&at("run"));
        let (_, said) = more(&[]);
        assert!(said.contains("all 2 epochs are done") && outcome(&at("run")) == before, "{said}");
        let (_, said) = more(&["--epochs", "4"]);
        assert!(said.contains("going on with epoch 3: the schedule begins anew"), "{said}");
        let config = fs::read_to_string(at("run").join("config.toml")).unwrap();
        assert!(config.contains("restarts = [\"2\"]") && config.contains("epochs = 4"), "{config}");
        // In one go, with an interruption after the restart and one before it.
        let settings = Settings { epochs: 4, restarts: vec!["2".parse().unwrap()], ..settings };
        let again = |resume, stop: usize| {
            run(&SHARED.manifest(), &settings, 2, &at("again"), resume, move |event| step(event) == Some(stop))
        };
        let steps = if validation_share > 0.0 { 2 } else { 3 };
        interrupted(again(false, 1));
        interrupted(again(true, 2 * steps + 1));
        again(true, usize::MAX).unwrap();
        expect_same(&at("run"), &at("again"));

        // The model that the run would go on from must be its own.
        let model = fs::read(SHARED.path("whole").join("model.safetensors")).unwrap();
        fs::write(at("run").join("model.safetensors"), model).unwrap();
        let resumed = osteon().args(["train", "--resume"]).arg(at("run")).args(["--epochs", "6"]).output().unwrap();
        fails(resumed, 1, &["model.safetensors", "is not the model that this run has kept", "--force"]);
    }
}

/// An interrupted run whose schedule is to begin anew does so with the weights of its last whole epoch, or, without any, says what to do.
#[test]
fn an_interrupted_run_goes_on_for_more_epochs_from_its_last_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let interrupted = SHARED.interrupted(folder.path());
    let (_, said) = succeeds(osteon().args(["train", "--resume"]).arg(&interrupted).args(["--epochs", "3"]).output().unwrap());
    assert!(said.contains("going on with epoch 2: the schedule begins anew"), "{said}");
    let again = folder.path().join("again");
    let settings = Settings { epochs: 3, restarts: vec!["1/2".parse().unwrap()], ..settings() };
    run(&SHARED.manifest(), &settings, 2, &again, false, |_| false).unwrap();
    expect_same(&interrupted, &again);

    let early = folder.path().join("early");
    let stopped = run(&SHARED.manifest(), &self::settings(), 2, &early, false, |event| step(event) == Some(1));
    self::interrupted(stopped);
    let refused = osteon().args(["train", "--resume"]).arg(&early).args(["--epochs", "3"]).output().unwrap();
    fails(refused, 1, &["has no whole epoch yet", "without --epochs"]);
    let fewer = osteon().args(["train", "--resume"]).arg(&again).args(["--epochs", "1"]).output().unwrap();
    fails(fewer, 1, &["epochs is 1 here and 3 there"]);
}

/// A network begins with another's weights, whose hash the run keeps; what is frozen stays.
#[test]
fn a_run_begins_with_another_model_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let from = SHARED.path("whole");
    let more = format!("--epochs 1 --init {} --freeze 2", from.display());
    let (_, said) = succeeds(command(&SHARED.manifest(), &at("run"), &more).output().unwrap());
    assert!(said.contains("beginning with the weights of ") && said.contains("these do not train: conv1, bn1, layer1"), "{said}");
    assert!(!said.contains("new last layer"), "{said}");
    let [before, after] = [&from, &at("run")].map(|run| Model::load(run.join("model.safetensors")).unwrap());
    let value = |model: &Model, name: &str| {
        model.parameters().iter().find(|(_, parameter)| parameter.name == name).unwrap().1.value.clone()
    };
    assert_eq!(value(&before, "layer1.0.conv1.weight"), value(&after, "layer1.0.conv1.weight"));
    assert_ne!(value(&before, "layer2.0.conv1.weight"), value(&after, "layer2.0.conv1.weight"));
    // Both have learnt from what they say.
    let studies = |model: &Model| model.metadata().training_studies().studies;
    assert_eq!(studies(&after), 2 * studies(&before));
    let config = fs::read_to_string(at("run").join("config.toml")).unwrap();
    assert!(config.contains(&format!("init_weights = \"{}\"", before.weights_hash())), "{config}");

    // Its configuration asks for that very model.
    let mut again = osteon();
    again.arg("train").arg(SHARED.manifest()).arg("--output").arg(at("again")).arg("--config").arg(at("run/config.toml"));
    let other = again.arg("--init").arg(at("run")).output().unwrap();
    fails(other, 1, &["is not the model that this training began with"]);
    let other = command(&SHARED.manifest(), &at("third"), &format!("--init {} --architecture vgg-11", from.display()));
    fails({ other }.output().unwrap(), 1, &["model.safetensors", "cannot be begun with", "--architecture classifier-18"]);
    let missing = command(&SHARED.manifest(), &at("third"), "--init nowhere.safetensors").output().unwrap();
    fails(missing, 1, &["nowhere.safetensors", "cannot be read"]);
    let deep = command(&SHARED.manifest(), &at("third"), "--freeze 9").output().unwrap();
    fails(deep, 2, &["5 stages that can be frozen", "--freeze from 0 to 5"]);
    assert!(!at("third").join("model.safetensors").exists());
}

// ---- damaged checkpoints -----------------------------------------------------------------------------------------------

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let run_folder = SHARED.interrupted(folder.path());
    let path = run_folder.join("checkpoint");
    let [whole, previous] = ["checkpoint", "checkpoint.previous"].map(|name| fs::read(run_folder.join(name)).unwrap());
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        Some(bytes)
    };
    let cases = [
        (Some(whole[..whole.len() / 2].to_vec()), "is damaged or cut off"),
        (Some(Vec::new()), "is not a checkpoint, or is cut off"),
        (flipped(3), "is not a checkpoint"),
        (flipped(20), "its checksum"),
        (flipped(whole.len() / 2), "its checksum"),
        (flipped(whole.len() - 1), "its checksum"),
        (None, "is missing"),
    ];
    for (bytes, expected) in cases {
        fs::write(run_folder.join("checkpoint.previous"), &previous).unwrap();
        match bytes {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let mut told = None;
        interrupted(run(&SHARED.manifest(), &settings(), 2, &run_folder, true, |event| {
            if let Event::Resumed { steps, epoch, problem, .. } = event {
                told = Some((*steps, *epoch, problem.map(ToString::to_string).unwrap_or_default()));
            }
            told.is_some() && step(event).is_some()
        }));
        let (steps, epoch, problem) = told.unwrap();
        assert_eq!((steps, epoch), (0, 2), "from the end of the first epoch, not after its first step");
        assert!(problem.contains(expected) && problem.contains("checkpoint: "), "{problem}");
        assert!(fs::read(run_folder.join("checkpoint.previous")).unwrap() == previous, "the one that was used is kept");
    }
    // And to the end, by the program.
    fs::write(&path, flipped(whole.len() / 3).unwrap()).unwrap();
    let (_, said) = succeeds(command(&SHARED.manifest(), &run_folder, "--resume").output().unwrap());
    assert!(said.contains("checkpoint: is damaged or cut off") && said.contains("going on after step 0 of epoch 2"), "{said}");
    expect_same(&SHARED.path("whole"), &run_folder);
}

#[test]
fn without_a_whole_checkpoint_nothing_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let run = SHARED.interrupted(folder.path());
    for name in ["checkpoint", "checkpoint.previous"] {
        fs::write(run.join(name), b"OSTEONCP and nothing else").unwrap();
    }
    let before = contents(&run);
    let resume = |output: &Path| command(&SHARED.manifest(), output, "--resume").output().unwrap();
    fails(resume(&run), 1, &["checkpoint: ", "and checkpoint.previous is not a checkpoint", "--force"]);
    assert!(contents(&run) == before);
    fails(resume(&folder.path().join("nothing")), 1, &["nothing: has no checkpoint to resume from"]);
    fails(resume(&SHARED.path("phantoms")), 1, &["phantoms: has no checkpoint to resume from"]);
    let both = command(&SHARED.manifest(), &run, "--resume --force").output().unwrap();
    assert_eq!(both.status.code(), Some(2));
}

// ---- other machines ----------------------------------------------------------------------------------------------------

/// Rewrites the state in a run's checkpoints, which stays as long as it is.
fn alter_checkpoints(run: &Path, alter: impl Fn(&str) -> String) {
    for name in ["checkpoint", "checkpoint.previous"] {
        let mut bytes = fs::read(run.join(name)).unwrap();
        let length = u64::from_le_bytes(bytes[HEAD..][..8].try_into().unwrap()) as usize;
        let header = &mut bytes[HEAD + 8..][..length];
        let altered = alter(str::from_utf8(header).unwrap());
        assert_ne!(altered.as_bytes(), header);
        header.copy_from_slice(altered.as_bytes());
        fs::write(run.join(name), with_digest(bytes)).unwrap();
    }
}

/// The record of a run with something changed, in a file of its own: the folder's may be a link.
fn alter_record(run: &Path, alter: impl Fn(&mut serde_json::Value)) {
    let path = run.join("run.json");
    let mut record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    alter(&mut record);
    fs::remove_file(&path).unwrap();
    fs::write(path, record.to_string()).unwrap();
}

#[test]
fn another_instruction_set_is_refused_unless_it_is_allowed_and_every_process_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let run = SHARED.interrupted(folder.path());
    let own = Isa::detect().name();
    // The last has other bits than the first; AVX-512 has those of AVX2.
    let Some(other) = Isa::all().into_iter().map(|isa| isa.name()).rfind(|name| *name != own) else { return };
    let before = contents(&run);
    let resume = |more: &str| command(&SHARED.manifest(), &run, &format!("--resume {more}")).output().unwrap();
    let parts = [
        &format!("run/checkpoint: was made with the instruction set {own}, and would go on with the instruction set {other}"),
        &*format!("; resume with --isa {own}, or with --allow-other-isa"),
    ];
    fails(resume(&format!("--isa {other}")), 1, &parts);
    assert!(contents(&run) == before, "nothing was touched");

    let (_, said) = succeeds(resume(&format!("--isa {other} --allow-other-isa")));
    assert!(said.contains(&format!(" on {own}: its weights are those of no single machine")), "{said}");
    let record = RunRecord::read(&run).unwrap();
    let [first, second] = &record.processes[..] else { panic!("{:?}", record.processes) };
    assert_eq!((&*first.isa, first.epoch, first.steps, first.threads), (own, 1, 0, 2));
    assert_eq!((&*second.isa, second.epoch, second.steps, second.threads), (other, 2, 1, 2));
    assert_eq!((&*record.isa, &record.commit), (other, &first.commit));
    let model = Model::load(run.join("model.safetensors")).unwrap();
    let provenance = model.metadata().provenance.clone().unwrap();
    assert_eq!((provenance.isa, provenance.processes), (other.to_owned(), record.processes.clone()));
    let comparison = audit::compare(SHARED.path("whole"), &run).unwrap();
    let told = format!("{own} and then {other} in ");
    assert!(comparison.differences.iter().any(|line| line.contains(&told)), "{:?}", comparison.differences);

    let alone = command(&SHARED.manifest(), &run, "--allow-other-isa").output().unwrap();
    assert_eq!(alone.status.code(), Some(2), "only with --resume");
}

#[test]
fn another_build_is_refused_unless_it_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let run = SHARED.interrupted(folder.path());
    let version = env!("CARGO_PKG_VERSION");
    let other = format!("9{}", &version[1..]);
    alter_checkpoints(&run, |header| {
        header.replace(&format!("\\\"version\\\":\\\"{version}"), &format!("\\\"version\\\":\\\"{other}"))
    });
    let resume = |more: &str| command(&SHARED.manifest(), &run, &format!("--resume {more}")).output().unwrap();
    let parts = [
        &*format!("was made with osteon {other} (commit "),
        &*format!(" and would go on with osteon {version} (commit "),
        "; resume with that build, or with --allow-other-isa",
    ];
    fails(resume(""), 1, &parts);
    succeeds(resume("--allow-other-isa"));
    let versions: Vec<String> = RunRecord::read(&run).unwrap().processes.into_iter().map(|process| process.version).collect();
    assert_eq!(versions, [other.as_str(), version]);
}

/// Checkpoints and records from before processes were kept.
#[test]
fn a_run_from_before_processes_were_kept_is_resumed_by_what_its_record_says() {
    let folder = tempfile::tempdir().unwrap();
    let run = SHARED.interrupted(folder.path());
    alter_checkpoints(&run, |header| {
        let start = header.find("\\\"processes\\\":").unwrap();
        let end = start + header[start..].find("],").unwrap() + "],".len();
        format!("{}{}{}", &header[..start], " ".repeat(end - start), &header[end..])
    });
    alter_record(&run, |record| drop(record.as_object_mut().unwrap().remove("processes")));
    assert_eq!(RunRecord::read(&run).unwrap().processes, []);
    alter_record(&run, |record| record["isa"] = "another".into());
    let resume = || command(&SHARED.manifest(), &run, "--resume").output().unwrap();
    fails(resume(), 1, &["was made with the instruction set another, and would go on with"]);
    alter_record(&run, |record| record["isa"] = Isa::detect().name().into());
    succeeds(resume());
    let processes = RunRecord::read(&run).unwrap().processes;
    assert_eq!(processes.iter().map(|process| (process.epoch, process.steps)).collect::<Vec<_>>(), [(1, 0), (2, 1)]);
    expect_same(&SHARED.path("whole"), &run);
}

// ---- what belongs together ---------------------------------------------------------------------------------------------

/// A copy of the phantoms, which a test may change. Returns its manifest.
fn copied_phantoms(folder: &Path) -> PathBuf {
    let phantoms = folder.join("phantoms");
    fs::create_dir_all(phantoms.join("studies")).unwrap();
    for name in names(&SHARED.path("phantoms/studies")) {
        fs::copy(SHARED.path("phantoms/studies").join(&name), phantoms.join("studies").join(&name)).unwrap();
    }
    fs::copy(SHARED.manifest(), phantoms.join("manifest.csv")).unwrap();
    phantoms.join("manifest.csv")
}

/// A copy of a finished or interrupted run, whose files may be changed.
fn copied_run(name: &str, folder: &Path) -> PathBuf {
    let copy = folder.join(name);
    fs::create_dir(&copy).unwrap();
    for file in names(&SHARED.path(name)) {
        fs::copy(SHARED.path(name).join(&file), copy.join(&file)).unwrap();
    }
    copy
}

fn evaluate(run: &Path, more: &str) -> Output {
    osteon()
        .args(["--threads", "2", "evaluate"])
        .arg(run)
        .args("--force --resamples 100".split(' '))
        .args(more.split_whitespace())
        .output()
        .unwrap()
}

/// The first patient of one side, and the file of the patient's scan.
fn scan_of_side(run: &Path, manifest: &Path, side: &str) -> PathBuf {
    let split = fs::read_to_string(run.join("split.csv")).unwrap();
    let patient = split.lines().find_map(|line| line.strip_suffix(&format!(",{side}"))).unwrap();
    let table = fs::read_to_string(manifest).unwrap();
    let row = table.lines().find(|line| line.starts_with(&format!("{patient},"))).unwrap();
    manifest.parent().unwrap().join(row.split(',').nth(1).unwrap().split('#').next().unwrap())
}

#[test]
fn a_scan_that_is_replaced_during_training_stops_it() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = copied_phantoms(folder.path());
    let scan = scan_of_side(&SHARED.path("whole"), &manifest, "train");
    let whole = fs::read(&scan).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    // Nothing is kept in memory: every epoch reads every file.
    let settings = Settings { cache_mb: 0, ..settings() };
    let output = folder.path().join("run");
    let train = |resume, bytes: &[u8]| {
        run(&manifest, &settings, 2, &output, resume, |event| {
            if step(event) == Some(1) {
                fs::write(scan.with_extension("new"), bytes).unwrap();
                fs::rename(scan.with_extension("new"), &scan).unwrap();
            }
            false
        })
    };
    let said = train(false, &changed).unwrap_err().to_string();
    let name = scan.file_name().unwrap().to_str().unwrap();
    assert!(said.contains(&format!("{name}: has changed since the training began (")) && said.contains("other bytes"), "{said}");
    let said = run(&manifest, &settings, 2, &output, true, |_| false).unwrap_err().to_string();
    assert!(said.contains("was made with other data") && said.contains(&format!("{name} has changed")), "{said}");
    // As the remedy says.
    fs::write(&scan, &whole).unwrap();
    run(&manifest, &settings, 2, &output, true, |_| false).unwrap();
    expect_same(&SHARED.path("whole"), &output);

    // The same bytes, written anew, are the same scan.
    fs::remove_dir_all(&output).unwrap();
    train(false, &whole).unwrap();
    expect_same(&SHARED.path("whole"), &output);
}

#[test]
fn the_same_bytes_on_two_sides_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = copied_phantoms(folder.path());
    let [trained, tested] = ["train", "test"].map(|side| scan_of_side(&SHARED.path("whole"), &manifest, side));
    let (whole, table) = (fs::read(&tested).unwrap(), fs::read_to_string(&manifest).unwrap());
    let output = folder.path().join("run");
    let names = [&trained, &tested].map(|path| format!("studies/{}", path.file_name().unwrap().to_str().unwrap()));
    let refused = || {
        let parts = ["manifest.csv: has the same bytes on two sides: ", &names[0], "(train)", &names[1], "(test)"];
        fails(command(&manifest, &output, "--trust-scans").output().unwrap(), 1, &parts);
        assert!(!output.join("model.safetensors").exists() && !output.join("checkpoint").exists());
    };
    fs::copy(&trained, &tested).unwrap();
    refused();
    fs::remove_file(&tested).unwrap();
    fs::hard_link(&trained, &tested).unwrap();
    refused();
    // Where scans are looked at, they are known to be of one person, who is on one side.
    succeeds(command(&manifest, &folder.path().join("grouped"), "--epochs 1").output().unwrap());
    let split = fs::read_to_string(folder.path().join("grouped/split.csv")).unwrap();
    let side_of = |name: &str| {
        let patient = name.replace("studies/", "phantom-").replace(".dcm", "");
        split.lines().find_map(|line| line.strip_prefix(&format!("{patient},")).map(str::to_owned)).unwrap()
    };
    assert_eq!(side_of(&names[0]), side_of(&names[1]), "{split}");
    // As the remedy says: one of them left out.
    let shorter: String = table.split_inclusive('\n').filter(|line| !line.contains(&*names[1])).collect();
    fs::write(&manifest, shorter).unwrap();
    succeeds(command(&manifest, &folder.path().join("other"), "--epochs 1").output().unwrap());
    fs::remove_file(&tested).unwrap();
    fs::write(&tested, whole).unwrap();
    fs::write(&manifest, table).unwrap();
    succeeds(command(&manifest, &folder.path().join("restored"), "--epochs 1").output().unwrap());
}

/// Each file of a run's folder, put there from another run.
#[test]
fn an_evaluation_of_files_of_two_runs_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = copied_run("whole", folder.path());
    succeeds(command(&SHARED.manifest(), &at("other"), "--split-seed 2 --seed 2").output().unwrap());
    succeeds(evaluate(&run, ""));
    let before = contents(&run);
    let swapped = |name: &str, parts: &[&str]| {
        let own = fs::read(run.join(name)).unwrap();
        fs::copy(at("other").join(name), run.join(name)).unwrap();
        let said = fails(evaluate(&run, ""), 1, parts);
        fs::write(run.join(name), own).unwrap();
        said
    };
    swapped(
        "split.csv",
        &["whole/split.csv: is not the split of this run's model", "; restore it", "or evaluate with --split all"],
    );
    swapped("config.toml", &["whole/config.toml: is not the configuration of this run's model: seed is 2, and 1 in the model"]);
    swapped(
        "model.safetensors",
        &["whole/model.safetensors: is not the model of this run: run.json has other weights after epoch 2"],
    );
    swapped("run.json", &["whole/model.safetensors: is not the model of this run"]);
    assert!(contents(&run) == before, "a refusal changes nothing");
    // As the remedies say.
    fs::copy(at("other/split.csv"), run.join("split.csv")).unwrap();
    succeeds(evaluate(&run, "--split all"));
    succeeds(command(&SHARED.manifest(), &run, "--resume").output().unwrap());
    succeeds(evaluate(&run, ""));
    fs::copy(at("other/model.safetensors"), run.join("model.safetensors")).unwrap();
    fails(evaluate(&run, "--split all"), 1, &["model.safetensors: is not the model of this run", "restore whichever"]);
    let resumed = command(&SHARED.manifest(), &run, "--resume").output().unwrap();
    fails(resumed, 1, &["model.safetensors: is not the model that this run has kept", "restore it"]);
    fs::copy(SHARED.path("whole/model.safetensors"), run.join("model.safetensors")).unwrap();
    succeeds(evaluate(&run, ""));
    expect_same(&SHARED.path("whole"), &run);
    // Where the studies are is no setting of the weights, and what they were is in the record.
    alter_record(&run, |record| record["inputs"]["studies/0001.dcm"] = "00".into());
    fails(evaluate(&run, ""), 1, &["whole/run.json: is not the record of this run's model, which was trained on other data"]);
    fs::remove_file(run.join("run.json")).unwrap();
    fails(evaluate(&run, ""), 1, &["it has no run.json"]);
}

#[test]
fn an_evaluation_of_data_that_changed_since_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = copied_run("whole", folder.path());
    let manifest = copied_phantoms(folder.path());
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    let moved = config.replace(SHARED.manifest().to_str().unwrap(), manifest.to_str().unwrap());
    assert_ne!(moved, config);
    fs::write(run.join("config.toml"), moved).unwrap();
    succeeds(evaluate(&run, ""));
    let [trained, tested] = ["train", "test"].map(|side| scan_of_side(&run, &manifest, side));
    let change = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    };
    change(&trained);
    succeeds(evaluate(&run, ""));
    fails(evaluate(&run, "--split train"), 1, &[trained.to_str().unwrap(), "has changed since; restore it, or evaluate"]);
    change(&tested);
    fails(evaluate(&run, ""), 1, &[tested.to_str().unwrap(), "has changed since; restore it, or evaluate"]);
    change(&tested);
    let text = fs::read_to_string(&manifest).unwrap();
    let swapped = text.replace("NoMet", "AbMet").replacen("nADMet", "NoMet", 1).replace("AbMet", "NoMet");
    assert_ne!(text, swapped);
    fs::write(&manifest, swapped).unwrap();
    let said = fails(evaluate(&run, ""), 1, &["phantoms/manifest.csv: is not the manifest that the run was trained on"]);
    // As the remedy says.
    let (_, remedy) = said.split_once("what is there now with ").unwrap();
    succeeds(evaluate(&run, remedy));
    fs::write(&manifest, text).unwrap();
    succeeds(evaluate(&run, ""));
}

#[test]
fn an_evaluation_of_an_earlier_epoch_goes_when_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let run = copied_run("interrupted", folder.path());
    let before = names(&run);
    succeeds(evaluate(&run, ""));
    let compare = || osteon().arg("compare").args([&run, &run]).output().unwrap();
    succeeds(compare());
    let stale = fs::read(run.join("patients.csv")).unwrap();
    let evaluated = names(&run);
    assert_eq!(evaluated.len(), before.len() + 8, "{evaluated:?}");
    // The same model is written again: its evaluation stays.
    interrupted(self::run(&SHARED.manifest(), &settings(), 2, &run, true, |event| step(event).is_some()));
    assert_eq!(names(&run), evaluated);
    succeeds(compare());
    succeeds(command(&SHARED.manifest(), &run, "--resume").output().unwrap());
    let after: Vec<String> = before.into_iter().filter(|name| name != "checkpoint.previous").collect();
    assert_eq!(names(&run), after, "the results of the first epoch's model are gone, and what a finished run does not need");
    expect_same(&SHARED.path("whole"), &run);
    fs::write(run.join("patients.csv"), stale).unwrap();
    fails(compare(), 1, &["patients.csv: line 2 is by another model than the model.safetensors beside it; evaluate again"]);
    succeeds(evaluate(&run, ""));
    succeeds(compare());
}

/// What a process leaves that is killed before it replaces the model: `run.json` of the second epoch, the model of the first.
#[test]
fn a_folder_between_two_epochs_belongs_together() {
    let folder = tempfile::tempdir().unwrap();
    let run = copied_run("interrupted", folder.path());
    let (model, first) = (run.join("model.safetensors"), folder.path().join("first"));
    let result = self::run(&SHARED.manifest(), &settings(), 2, &run, true, |event| {
        if step(event).is_some() && !first.exists() {
            fs::rename(&model, &first).unwrap();
            fs::create_dir(&model).unwrap(); // so that nothing can be written there
            fs::write(model.join("inside"), "").unwrap();
        }
        false
    });
    assert!(result.unwrap_err().to_string().contains("model.safetensors: cannot be written"));
    fs::remove_dir_all(&model).unwrap();
    fs::rename(&first, &model).unwrap();
    assert_eq!(RunRecord::read(&run).unwrap().weights.len(), 2);
    assert_eq!(Epoch::read_all(&run.join("metrics.csv")).unwrap().len(), 2);
    assert_eq!(Model::load(&model).unwrap().metadata().provenance.as_ref().unwrap().epochs, 1);
    succeeds(evaluate(&run, ""));
    succeeds(command(&SHARED.manifest(), &run, "--resume").output().unwrap());
    expect_same(&SHARED.path("whole"), &run);
}

// ---- other settings, other data ----------------------------------------------------------------------------------------

#[test]
fn other_settings_or_data_are_refused_with_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    let run = SHARED.interrupted(folder.path());
    let before = contents(&run);
    let resume = |manifest: &Path, more: &str| command(manifest, &run, &format!("--resume {more}")).output().unwrap();
    for (more, difference) in [
        ("--learning-rate 0.01", "learning_rate is 0.01 here and 0.001 there"),
        ("--seed 2", "seed is 2 here and 1 there"),
        ("--recipe osteon", "recipe is osteon here and paper there"),
        ("--rotation-deg 4 --batch 4", "augmentation.rotation_deg is 4.0 here and 5.0 there; batch is 4 here and 5 there"),
        ("--epochs 1", "epochs is 1 here and 2 there"),
    ] {
        fails(resume(&SHARED.manifest(), more), 1, &["checkpoint: was made with other settings", difference]);
    }
    // The same studies elsewhere, then with one pixel changed, then with one less.
    let phantoms = folder.path().join("moved");
    fs::create_dir_all(phantoms.join("studies")).unwrap();
    for name in names(&SHARED.path("phantoms/studies")) {
        fs::copy(SHARED.path("phantoms/studies").join(&name), phantoms.join("studies").join(&name)).unwrap();
    }
    let manifest = phantoms.join("manifest.csv");
    fs::copy(SHARED.manifest(), &manifest).unwrap();
    let study = scan_of_side(&run, &manifest, "train");
    let name = format!("studies/{}", study.file_name().unwrap().to_str().unwrap());
    let whole = fs::read(&study).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&study, changed).unwrap();
    fails(resume(&manifest, ""), 1, &["was made with other data", &format!("{name} has changed")]);
    fs::write(&study, whole).unwrap();
    let text = fs::read_to_string(&manifest).unwrap();
    let (shorter, _) = text.trim_end().rsplit_once('\n').unwrap();
    fs::write(&manifest, shorter).unwrap();
    fails(resume(&manifest, ""), 1, &["was made with other data", "manifest.csv has changed"]);
    assert!(contents(&run) == before, "a refusal changes nothing");
    // Where the data are, and how fast they are read, is no difference.
    fs::write(&manifest, text).unwrap();
    succeeds(resume(&manifest, "--loader-threads 2 --cache-mb 1 --checkpoint-minutes 3"));
    expect_same(&SHARED.path("whole"), &run);
}

// ---- nowhere to write --------------------------------------------------------------------------------------------------

/// A limit on the size of files that the model stays below and a checkpoint does not.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_checkpoints_that_were_there() {
    let folder = tempfile::tempdir().unwrap();
    let run = SHARED.interrupted(folder.path());
    let before = contents(&run);
    let limited = |output: &Path, more: &str| {
        let inner = command(&SHARED.manifest(), output, more);
        let mut shell = Command::new("sh");
        // In blocks of 512 bytes, or 1024 for some shells: 61 or 123 MB between a model of 45 MB and a checkpoint of 135 MB.
        shell.args(["-c", "ulimit -f 120000; exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
        shell.output().unwrap()
    };
    let parts = ["checkpoint: cannot be written (File too large", "what was there before is unchanged"];
    fails(limited(&run, "--resume"), 1, &parts);
    let checkpoints = |contents: &[(String, Vec<u8>)]| -> Vec<(String, Vec<u8>)> {
        contents.iter().filter(|(name, _)| name.starts_with("checkpoint")).cloned().collect()
    };
    assert!(checkpoints(&contents(&run)) == checkpoints(&before));
    assert_eq!(names(&run), names(&SHARED.path("interrupted")), "no part of a file is left");
    succeeds(command(&SHARED.manifest(), &run, "--resume").output().unwrap());
    expect_same(&SHARED.path("whole"), &run);

    let new = folder.path().join("new");
    let said = fails(limited(&new, ""), 1, &parts[..1]);
    assert!(!said.contains("unchanged"), "nothing was there before: {said}");
    assert_eq!(names(&new), ["config.toml", "run.json", "split.csv"]);
}

/// The superuser may write everywhere, so the program runs as somebody else if these tests do not.
#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_left_as_it_is() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    let folder = tempfile::tempdir().unwrap();
    let run = SHARED.interrupted(folder.path());
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let superuser = fs::metadata(&run).unwrap().uid() == 0;
    let program = folder.path().join("osteon");
    if superuser {
        fs::copy(env!("CARGO_BIN_EXE_osteon"), &program).unwrap();
        [folder.path(), SHARED.folder.path()].iter().for_each(|path| mode(path, 0o755));
    }
    mode(&run, 0o555);
    let before = contents(&run);
    let train = |output: &Path, more: &str| {
        let mut train = command(&SHARED.manifest(), output, more);
        if superuser {
            const NOBODY: u32 = 65534;
            let arguments: Vec<_> = train.get_args().map(ToOwned::to_owned).collect();
            train = Command::new(&program);
            train.args(arguments).uid(NOBODY).gid(NOBODY);
        }
        train.output().unwrap()
    };
    fails(train(&run, "--resume"), 1, &["config.toml: cannot be written (Permission denied", "check its permissions"]);
    fails(train(&run.join("inner"), ""), 1, &["inner: cannot be created (Permission denied", "check its permissions"]);
    mode(&run, 0o755);
    assert!(contents(&run) == before);
}

#[cfg(unix)]
#[test]
fn two_processes_cannot_write_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = SHARED.interrupted(folder.path());
    let held = RunFolder::resume(&run).unwrap();
    for more in ["--resume", "--force"] {
        fails(command(&SHARED.manifest(), &run, more).output().unwrap(), 1, &["is in use"]);
    }
    assert_eq!(names(&run), names(&SHARED.path("interrupted")));
    drop(held);
    RunFolder::resume(&run).unwrap();
}

// ---- run.json and compare ----------------------------------------------------------------------------------------------

#[test]
fn compare_finds_where_runs_part() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let compare = |a: &Path, b: &Path| osteon().args(["audit", "compare"]).arg(a).arg(b).output().unwrap();
    let whole = SHARED.path("whole");
    let text = fs::read_to_string(whole.join("run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    for key in ["version", "target", "isa", "manifest"] {
        assert!(record[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {text}");
    }
    assert!(record["commit"].is_string() && record["threads"] == 2 && record["seed"] == 1, "{text}");
    assert_eq!(record["configuration"]["learning_rate"].to_string(), "0.001");
    assert_eq!(record["inputs"].as_object().unwrap().len(), STUDIES);
    assert_eq!(record["weights"].as_array().unwrap().len(), 2);

    // As the other run, but for these changes to its record.
    let altered = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let path = at(name);
        fs::create_dir(&path).unwrap();
        fs::hard_link(whole.join("model.safetensors"), path.join("model.safetensors")).unwrap();
        let mut record = record.clone();
        change(&mut record);
        fs::write(path.join("run.json"), record.to_string()).unwrap();
        path
    };
    let said = |a: &Path, b: &Path, parts: &[&str]| {
        let output = compare(a, b);
        let stdout = String::from_utf8(output.stdout.clone()).unwrap();
        let first = stdout.lines().next().unwrap_or_default().strip_prefix("different: ").unwrap_or_default().to_owned();
        fails(output, 1, &["the runs are not the same", &first]);
        for (line, part) in stdout.lines().zip(parts) {
            assert!(line.contains(part), "`{line}` does not say `{part}`");
        }
        assert_eq!(stdout.lines().count(), parts.len(), "{stdout}");
    };
    let (same, _) = succeeds(compare(&whole, &whole));
    assert_eq!(same, "the same: the configuration, 18 inputs, the weights after each of 2 epochs, the models\n");

    let harmless = altered("harmless", &|record| {
        record["threads"] = 5.into();
        record["isa"] = "portable".into();
        record["configuration"]["cache_mb"] = 7.into();
    });
    let (same, _) = succeeds(compare(&whole, &harmless));
    let lines: Vec<&str> = same.lines().collect();
    assert_eq!(lines.len(), 4, "{same}");
    assert!(lines[0].starts_with("without effect: cache_mb is 1024 in ") && lines[2].contains("threads is 2 in "), "{same}");

    let told = altered("told", &|record| {
        record["configuration"]["seed"] = 9.into();
        record["inputs"]["studies/0003.dcm"] = "0".into();
        record["weights"][1] = "0".into();
    });
    let parts = ["different: seed is 1 in ", "studies/0003.dcm is not the same in both", "weights after epoch 2 are the first"];
    said(&whole, &told, &parts);
    let shorter = altered("shorter", &|record| drop(record["weights"].as_array_mut().unwrap().pop()));
    said(&whole, &shorter, &["has 2 epochs and"]);

    // A model of a program that did not yet count its studies.
    let older = altered("older", &|_| ());
    let model = fs::read(whole.join("model.safetensors")).unwrap();
    let start = model.windows(18).position(|word| word == b"\"training_studies\"").unwrap();
    let end = start + model[start..].windows(3).position(|word| word == b"}\",").unwrap() + 3;
    fs::remove_file(older.join("model.safetensors")).unwrap();
    fs::write(older.join("model.safetensors"), [&model[..start], &vec![b' '; end - start], &model[end..]].concat()).unwrap();
    succeeds(compare(&whole, &older));

    // One value of one tensor, by one bit.
    let bit = altered("bit", &|_| ());
    let mut model = fs::read(whole.join("model.safetensors")).unwrap();
    *model.last_mut().unwrap() ^= 1;
    fs::remove_file(bit.join("model.safetensors")).unwrap();
    fs::write(bit.join("model.safetensors"), model).unwrap();
    said(&whole, &bit, &["of the models differs in 1 of "]);

    fails(compare(&whole, &at("nothing")), 1, &["nothing: is not the folder of a run (it has no run.json)"]);
    for (text, problem) in [("{", "is not JSON"), ("{}", "no format_version"), ("{\"format_version\":9}", "version 9")] {
        fs::remove_file(bit.join("run.json")).unwrap();
        fs::write(bit.join("run.json"), text).unwrap();
        fails(compare(&bit, &whole), 1, &["run.json: ", problem]);
    }
}

// ---- NaN ---------------------------------------------------------------------------------------------------------------

#[test]
fn nan_stops_a_run_before_it_harms_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("run");
    // Steps so large that the second meets infinity.
    let flags = "--learning-rate 1e30 --schedule constant --precise-norm false";
    let said = fails(
        command(&SHARED.manifest(), &output, flags).output().unwrap(),
        1,
        &[
            "training stopped in step 2 (epoch 1): ",
            ") gave ",
            "infinite of",
            "studies/",
            ".dcm",
            "--learning-rate",
            "--clip-norm",
        ],
    );
    assert_eq!(said.matches(".dcm").count(), 4, "the files of the batch: {said}");
    assert_eq!(names(&output), ["checkpoint", "config.toml", "run.json", "split.csv"]);
    let checkpoint = fs::read(output.join("checkpoint")).unwrap();
    // Again, from the checkpoint: the same step.
    let again = fails(command(&SHARED.manifest(), &output, "--resume").output().unwrap(), 1, &["training stopped in step 2"]);
    assert_eq!(again, said);
    assert!(fs::read(output.join("checkpoint")).unwrap() == checkpoint);
    // Leave to skip does not help weights of 1e30.
    let output = command(&SHARED.manifest(), &output, "--resume --on-nan skip").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(stderr.matches("left out: step ").count(), 2, "{stderr}");
    fails(output, 1, &["training stopped in epoch 1: the loss of test study studies/", " is not finite"]);
}

/// The parts of a checkpoint: [`train`]'s documentation of the file. Its state, and its tensors by name.
fn parts(checkpoint: &[u8]) -> (serde_json::Value, BTreeMap<String, Vec<u8>>) {
    let (_, metadata) = SafeTensors::read_metadata(&checkpoint[HEAD..]).unwrap();
    let state = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["state"]).unwrap();
    let tensors = SafeTensors::deserialize(&checkpoint[HEAD..]).unwrap();
    (state, tensors.iter().map(|(name, tensor)| (name.to_owned(), tensor.data().to_vec())).collect())
}

/// Eight bytes that name the file, and the SHA-256 of the rest.
const HEAD: usize = 8 + 32;

/// The checkpoint with the first convolution's weights multiplied, as if training had come there.
fn with_larger_weights(checkpoint: &[u8], factor: f32) -> Vec<u8> {
    let mut bytes = checkpoint.to_vec();
    let (header, metadata) = SafeTensors::read_metadata(&bytes[HEAD..]).unwrap();
    let (from, to) = metadata.info("model.conv1.weight").unwrap().data_offsets;
    for value in bytes[HEAD + 8 + header..][from..to].as_chunks_mut::<4>().0 {
        *value = (f32::from_le_bytes(*value) * factor).to_le_bytes();
    }
    with_digest(bytes)
}

/// The checkpoint with the digest of what it holds.
fn with_digest(mut bytes: Vec<u8>) -> Vec<u8> {
    let digest = Sha256::digest(&bytes[HEAD..]);
    bytes[8..HEAD].copy_from_slice(&digest);
    bytes
}

/// A network whose first layer gives values with a variance just above the largest f32 for some batches, just below it for others.
#[test]
fn skipped_steps_are_counted_and_leave_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let stop = Settings { precise_norm: false, ..settings() };
    let skip = Settings { on_nan: OnNan::Skip, checkpoint_minutes: 1e-9, ..stop.clone() };
    interrupted(run(&SHARED.manifest(), &stop, 2, &at("start"), false, |event| step(event) == Some(1)));
    let start = fs::read(at("start").join("checkpoint")).unwrap();
    let go_on = |name: &str, factor: f32, settings: &Settings, stop: &mut (dyn FnMut(&Event) -> bool + Send)| {
        fs::create_dir_all(at(name)).unwrap();
        fs::write(at(name).join("checkpoint"), with_larger_weights(&start, factor)).unwrap();
        run(&SHARED.manifest(), settings, 2, &at(name), true, stop)
    };
    // More batches are left out the larger the weights. Looks for a size at which some are, not all: in the second epoch.
    let (mut below, mut above) = (17.0f32, 21.0f32);
    let factor = loop {
        let factor = 10f32.powf((below + above) / 2.0);
        assert!(above - below > 1e-3, "no batch differs from the others");
        let mut skipped = [0, 0];
        let result = go_on("probe", factor, &Settings { checkpoint_minutes: 1e9, ..skip.clone() }, &mut |event| {
            if let Event::Skipped { epoch, .. } = event {
                skipped[epoch - 1] += 1;
            }
            skipped[1] > 0
        });
        match (result, skipped) {
            (Ok(()), [_, 0]) => below = factor.log10(),
            (Err(Error::Interrupted { .. }), [0 | 1, 1]) => break factor,
            _ => above = factor.log10(),
        }
    };

    let mut problems = Vec::new();
    go_on("whole", factor, &skip, &mut |event| {
        if let Event::Skipped { problem, .. } = event {
            // One checkpoint a step: the last is from after the step that was left out, the one before from before it.
            let [after, before] = ["checkpoint", "checkpoint.previous"].map(|name| fs::read(at("whole").join(name)).unwrap());
            let ([state_after, state_before], tensors) =
                ([parts(&after).0, parts(&before).0], [parts(&after).1, parts(&before).1]);
            assert!(tensors[0] == tensors[1], "weights, moments or statistics have changed");
            assert_eq!(state_after["adam_steps"], state_before["adam_steps"]);
            let sum = |state: &serde_json::Value, key: &str| state["under_way"][key].as_f64().unwrap();
            assert_eq!(sum(&state_after, "skipped"), sum(&state_before, "skipped") + 1.0);
            assert_eq!(sum(&state_after, "steps"), sum(&state_before, "steps") + 1.0);
            problems.push((*problem).to_owned());
        }
        false
    })
    .expect("an epoch in which some steps are left out goes to its end");
    assert!(problems.iter().all(|problem| problem.contains("bn1 (") && problem.contains(".dcm")), "{problems:?}");
    let rows = Epoch::read_all(&at("whole").join("metrics.csv")).unwrap();
    assert_eq!(rows.iter().map(|row| row.skipped_steps).sum::<usize>(), problems.len());
    assert!(rows.iter().all(|row| row.train_loss.is_finite() && row.gradient_norm.is_finite()), "{rows:?}");

    // Told to stop, the same run stops at the first of these steps; with leave to skip it goes on, and ends as if it had had it.
    let error = go_on("other", factor, &stop, &mut |_| false).unwrap_err().to_string();
    assert!(error.starts_with(&format!("training stopped in {}; ", problems[0])), "{error} {problems:?}");
    interrupted(run(&SHARED.manifest(), &skip, 1, &at("other"), true, |event| matches!(event, Event::Skipped { .. })));
    let error = run(&SHARED.manifest(), &stop, 2, &at("other"), true, |_| false).unwrap_err().to_string();
    assert!(error.contains("on_nan is \"stop\" here and \"skip\" there"), "after a skip the two are not the same: {error}");
    run(&SHARED.manifest(), &skip, 3, &at("other"), true, |_| false).unwrap();
    expect_same(&at("whole"), &at("other"));
}
