//! `osteon train`: a manifest in, a run folder out.

use super::preflight::Preflight;
use super::settings::SettingFlags;
use super::table::TableFlags;
use super::terminal::{Progress, Terminal};
use crate::archive::manifest::{Classes, Manifest, ReadOptions, Row};
use crate::archive::side::Side;
use crate::files::{Output, Staging};
use crate::models::Process;
use crate::text::{self, Shown, counted, shell_word};
use crate::train::{self, Diagnosis, Epoch, Event, LayerState, RATE_STEPS, Recipe, RunFolder, Settings, Start};
use crate::{Error, Result, interrupt};
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Train a network on the studies of a manifest.
///
/// Patients are split into training and test patients, the same for the same seed, or as the manifest's column side says. The run
/// folder gets the model, the resolved configuration, the split and, after each epoch, a row of metrics and new curves. The model is the last
/// whole epoch's or, with --validation-share or the side validation, that of the epoch which did best on patients taken out of training; test patients never
/// choose. Ctrl-C, SIGTERM and SIGHUP stop within two seconds and leave the model whole and a checkpoint, from which --resume goes on.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  osteon train phantoms/manifest.csv --output runs/first --input-size 256x64\n  \
      osteon train hospital.csv --recipe paper --output runs/paper\n  \
      osteon train hospital.csv --config full.toml --output runs/full --validation-share 0.15 --patience 20\n  \
      osteon train hospital.csv --architecture vgg-11 --find-rate --output rates\n  \
      osteon train hospital.csv --architecture vgg-11 --diagnose")]
pub struct Train {
    /// CSV with the columns patient,anterior,posterior,label, or a dataset's with side and draws; with --resume and without --output, the
    /// folder of the run that is to go on.
    #[arg(value_name = "MANIFEST")]
    source: PathBuf,
    /// TOML file with settings; flags win over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The run folder to write.
    #[arg(long, value_name = "FOLDER", required_unless_present_any = ["resume", "diagnose"])]
    output: Option<PathBuf>,
    /// Replace a run that is in the output folder.
    #[arg(long)]
    force: bool,
    /// Find a learning rate in place of training: the rate rises over 100 steps from 1e-7 to 10, rates.csv and rates.png in the
    /// output folder show where the loss falls and where it diverges, and a rate is proposed.
    #[arg(long, conflicts_with = "resume")]
    find_rate: bool,
    /// Say what is wrong in place of training: at least 20 steps, at most 60, and norms of gradients and weights and the dead units
    /// of each layer. Nothing is written.
    #[arg(long, conflicts_with_all = ["resume", "find_rate"])]
    diagnose: bool,
    /// Go on with an interrupted run, with its settings: `osteon train --resume RUN`. Settings that differ from the run's are an error, but
    /// for more --epochs, with which a finished run goes on as well: with a constant rate as if it had not stopped, else with its schedule
    /// begun anew.
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Resume also where the run was begun with another instruction set or another build of osteon: its weights are then those of no
    /// single machine, and run.json names every process.
    #[arg(long, requires = "resume")]
    allow_other_isa: bool,
    #[command(flatten)]
    settings: SettingFlags,
    #[command(flatten)]
    table: TableFlags,
    #[command(flatten)]
    preflight: Preflight,
}

impl Train {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        // Without a place to write, a long list of problems goes beside the working folder's files.
        let own_folder = if self.diagnose { Path::new("diagnosis") } else { &self.source };
        let output = self.output.as_deref().unwrap_or(own_folder);
        let folds = if self.resume && !RunFolder::can_resume(output) { RunFolder::folds(output) } else { Vec::new() };
        // Held before its settings are read, so that a folder without a run is called that.
        let held = (self.resume && folds.is_empty()).then(|| RunFolder::resume(output)).transpose()?;
        let own = held.as_ref().map(|folder| folder.file(RunFolder::CONFIG));
        let own = own.or_else(|| folds.iter().map(|fold| fold.join(RunFolder::CONFIG)).find(|file| file.is_file()));
        let mut flags = self.settings.table()?;
        if !folds.is_empty() {
            flags.insert("fold".to_owned(), 0.into());
        }
        if let Some(columns) = self.table.columns()? {
            flags.insert("columns".to_owned(), columns.texts().into());
        }
        let given = Settings::given(own.as_deref().into_iter().chain(self.config.as_deref()), flags)?;
        let of_recipe = Settings::of_given(given.clone())?;
        // What was begun has been asked about.
        let classes = if self.resume { Classes::Known } else { Classes::AskedAbout(self.table.classes().to_vec()) };
        let options = ReadOptions { columns: of_recipe.columns.clone(), classes };
        let path = if self.resume && self.output.is_none() { &of_recipe.manifest } else { &self.source };
        let mut manifest = self.preflight.read(terminal, path, &options, output)?;
        let first = folds.first().and_then(|fold| RunFolder::resume(fold).ok());
        if let Some(begun) = held.as_ref().or(first.as_ref()) {
            // The same patients train as before, whatever is known of them now.
            manifest.seen = train::seen_by(begun)?.of_resumed(manifest.seen);
        }
        drop(first);
        let tells_validation = manifest.rows.iter().any(|row| row.side == Some(Side::Validation));
        if let Some(flag) = self.settings.of_split(tells_validation).filter(|_| manifest.rows[0].side.is_some()) {
            return Err(Settings::refuse_split(&manifest, flag));
        }
        let studies = train::training_studies(&manifest, &of_recipe)?;
        let settings = of_recipe.clone().of_least_steps(studies, &given);
        if settings.epochs > of_recipe.epochs && !self.diagnose && !self.find_rate {
            let (studies, steps) = (counted(studies, "training study"), Recipe::LEAST_STEPS);
            terminal.note(format_args!(
                "{} of {studies}, at least {steps} steps; --epochs decides otherwise",
                counted(settings.epochs, "epoch")
            ));
        }
        if self.diagnose {
            return diagnose(terminal, &manifest, &settings);
        }
        let read: Vec<&Path> = manifest.rows.iter().flat_map(Row::files).chain([path.as_path()]).collect();
        let read: Vec<&Path> = read.into_iter().chain(self.config.as_deref()).collect();
        if self.find_rate {
            let output = Output::files_in(output, self.force, &[RATES, RATE_CURVE], &read)?;
            return find_rate(terminal, &manifest, &settings, output);
        }
        if settings.folds > 0 && settings.fold == 0 {
            return self.folds(terminal, &manifest, &settings, output, &read);
        }
        if held.is_none() {
            // What is there may be replaced where RunFolder says so; what is read, never.
            Output::files_in(output, true, &RunFolder::OWN, &read)?;
        }
        let folder = held.map_or_else(|| RunFolder::create(output, self.force), Ok)?;
        let start = if self.resume { Start::Resume { allow_other_isa: self.allow_other_isa } } else { Start::New };
        let epochs = train(terminal, &manifest, &settings, &folder, start)?;
        terminal.note(summary(&epochs, &settings, output));
        terminal.line(folder.file(RunFolder::MODEL).shown())
    }

    /// Trains a run for each fold, one after the other; with --resume those that are not whole.
    fn folds(&self, terminal: &Terminal, manifest: &Manifest, settings: &Settings, output: &Path, read: &[&Path]) -> Result<()> {
        let number = settings.folds;
        if RunFolder::model_of(output).is_file() {
            let problem = "has a run in it, which `osteon evaluate` would take in place of its folds";
            return Err(Error::file(output, problem, "choose another output folder"));
        }
        let beyond = RunFolder::fold(output, number + 1);
        if beyond.exists() {
            let problem = format!("would be taken for one of these {}", counted(number, "fold"));
            return Err(Error::file(beyond, problem, "remove it, or choose another output folder"));
        }
        for fold in 1..=number {
            let path = RunFolder::fold(output, fold);
            terminal.note(format_args!("fold {fold} of {number}: {}", path.shown()));
            let settings = Settings { fold, ..settings.clone() };
            let is_begun = self.resume && RunFolder::can_resume(&path);
            let (folder, start) = match is_begun {
                true => (RunFolder::resume(&path)?, Start::Resume { allow_other_isa: self.allow_other_isa }),
                false => {
                    Output::files_in(&path, true, &RunFolder::OWN, read)?;
                    // What was stopped before its first step holds nothing to lose.
                    let is_empty = self.resume && !RunFolder::model_of(&path).is_file();
                    (RunFolder::create(&path, self.force || is_empty)?, Start::New)
                }
            };
            let epochs = train(terminal, manifest, &settings, &folder, start)?;
            terminal.note(summary(&epochs, &settings, &path));
            terminal.line(folder.file(RunFolder::MODEL).shown())?;
        }
        terminal.note(format_args!("all together: osteon evaluate {}", shell_word(&output.to_string_lossy())));
        Ok(())
    }
}

/// The table of a learning-rate range test.
const RATES: &str = "rates.csv";
/// The same as a picture.
const RATE_CURVE: &str = "rates.png";

/// Tests learning rates and writes table and picture; says which rate to train with.
fn find_rate(terminal: &Terminal, manifest: &Manifest, settings: &Settings, output: Output) -> Result<()> {
    let staging = Staging::new(output)?;
    let progress = terminal.progress("steps", RATE_STEPS);
    let mut done = 0;
    let test = train::find_rate(manifest, settings, &mut |point| {
        done += 1;
        progress.set(done, format_args!("rate {:.1e}, loss {:.4}", point.learning_rate, point.loss));
    })?;
    progress.finish("done");
    let mut table = csv::Writer::from_writer(Vec::new());
    for point in &test.points {
        table.serialize(point).expect("a flat row, written to memory");
    }
    staging.write(RATES, &table.into_inner().expect("written to memory"))?;
    staging.write(RATE_CURVE, &test.figure(&settings.architecture).png())?;
    let written = [RATE_CURVE, RATES].map(|name| staging.target(name));
    staging.commit(RATES)?;
    if let Some(place) = &test.not_finite {
        terminal.line(format_args!("step {} was not finite and ended the test: {place}", test.points.len() + 1))?;
    }
    match &test.proposals {
        None => terminal.line(format_args!(
            "at no rate does the loss fall within these steps, so none is proposed; `osteon train --diagnose` looks for the cause"
        ))?,
        Some(proposals) => {
            let rate = format!("{:e}", proposals.learning_rate());
            terminal.line(format_args!(
                "the loss falls fastest at {:.1e}; a tenth of the rate where it is least is {:.1e}",
                proposals.steepest, proposals.tenth_of_minimum
            ))?;
            terminal.line(format_args!("proposed is the smaller, {rate}:"))?;
            terminal.line(format_args!("  {}", command_with(std::env::args_os(), &rate)))?;
        }
    }
    written.iter().try_for_each(|file| terminal.line(file.shown()))
}

/// The command line of a test, with which the training itself is begun at this rate.
fn command_with(arguments: impl Iterator<Item = OsString>, rate: &str) -> String {
    let mut words = vec!["osteon".to_owned()];
    let mut rest = arguments.skip(1);
    while let Some(word) = rest.next() {
        match &*word.to_string_lossy() {
            "--find-rate" | "--force" => {}
            "--output" | "--learning-rate" => drop(rest.next()),
            word if word.starts_with("--output=") || word.starts_with("--learning-rate=") => {}
            word => words.push(text::shell_word(word)),
        }
    }
    words.extend(["--learning-rate", rate, "--output", "RUN"].map(str::to_owned));
    words.join(" ")
}

/// Watches some steps and prints what was seen, and what is wrong.
fn diagnose(terminal: &Terminal, manifest: &Manifest, settings: &Settings) -> Result<()> {
    let mut progress: Option<Progress> = None;
    let diagnosis = train::diagnose(manifest, settings, &mut |done, of, loss| {
        let progress = progress.get_or_insert_with(|| terminal.progress("steps", of));
        progress.set(done, format_args!("loss {loss:.4}"));
    })?;
    if let Some(progress) = progress {
        progress.finish("done");
    }
    let Diagnosis { first, last, steps, guessing, findings, verdict } = &diagnosis;
    terminal.line(format_args!(
        "{}: loss {:.4} in the first step, {:.4} in the last; cross-entropy {:.4} and {:.4}, where guessing gives {guessing:.4}\n",
        counted(*steps, "step"),
        first.loss,
        last.loss,
        first.cross_entropy,
        last.cross_entropy
    ))?;
    terminal.line(format_args!("{:<40}{:>38}{:>44}", "", "in the first step", "in the last step"))?;
    let head = format!("{:>10}{:>10}{:>10}{:>8}", "gradient", "weights", "ratio", "dead");
    terminal.line(format_args!("{:<40}{head}      {head}", "layer"))?;
    for (at, layer) in first.layers.iter().enumerate() {
        let mark = match at {
            0 => " (the first)",
            at if at == first.last_layer => " (the last)",
            _ => "",
        };
        let after = last.layers.get(at).map(numbers).unwrap_or_default();
        let line = format!("{:<40}{:<44}{after}", format!("{}{mark}", layer.layer), numbers(layer));
        terminal.line(line.trim_end())?;
    }
    terminal.line("")?;
    findings.iter().chain(Some(verdict).filter(|verdict| !verdict.is_empty())).try_for_each(|finding| terminal.line(finding))
}

/// Gradient, weights, their ratio and the share of dead units, under the head of [`diagnose`]'s table.
fn numbers(layer: &LayerState) -> String {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2e}"));
    let dead = layer.dead_share().map_or("-".to_owned(), |share| format!("{:.0} %", 100.0 * share));
    let ratio = layer.gradient.map(|gradient| gradient / layer.weights);
    let [gradient, weights, ratio] = [layer.gradient, Some(layer.weights), ratio].map(number);
    format!("{gradient:>10}{weights:>10}{ratio:>10}{dead:>8}")
}

/// Trains under a progress bar, stopped by a signal. Returns the epochs' record.
pub fn train(
    terminal: &Terminal,
    manifest: &Manifest,
    settings: &Settings,
    folder: &RunFolder,
    start: Start,
) -> Result<Vec<Epoch>> {
    let mut progress: Option<Progress> = None;
    let mut training_studies = 0;
    let mut work = Work::default();
    let epochs = train::run(manifest, settings, folder, start, &mut |event| {
        match event {
            Event::Ready { train, validation, test, parameters, steps } => {
                let chosen_by =
                    if validation > 0 { format!("{}, ", counted(validation, "validation study")) } else { String::new() };
                terminal.note(format_args!(
                    "{parameters} parameters; {}, {chosen_by}{}",
                    counted(train, "training study"),
                    counted(test, "test study")
                ));
                training_studies = train;
                work = Work::new(settings, steps, train, if validation > 0 { validation } else { test });
                progress =
                    Some(terminal.weighed_progress("steps", steps * settings.epochs, work.of_steps(steps * settings.epochs)));
            }
            Event::BegunWith(begun) => {
                let (file, frozen) = (begun.file.shown(), begun.frozen.join(", "));
                let last = if begun.same_classes { "" } else { ", with a new last layer, since its classes are others" };
                let frozen = if frozen.is_empty() { frozen } else { format!("; these do not train: {frozen}") };
                terminal.note(format_args!("beginning with the weights of {file}{last}{frozen}"));
            }
            Event::Resumed { steps, epoch, restarted, problem, other, mended } => {
                if !mended.is_empty() {
                    let names = mended.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                    terminal.note(format_args!("test scans that have changed since the run began, as run.json says: {names}"));
                }
                if let Some(problem) = problem {
                    terminal.note(format_args!("the newest checkpoint is not used: {problem}"));
                }
                if let Some(Process { isa, version, .. }) = other {
                    terminal.note(format_args!(
                        "the run was made with osteon {version} on {isa}: its weights are those of no single machine"
                    ));
                }
                match restarted {
                    Some(done) => terminal.note(format_args!(
                        "going on with epoch {}: the schedule begins anew, with the weights that the run has kept and Adam's moments at zero",
                        done + 1
                    )),
                    None => terminal.note(format_args!("going on after step {steps} of epoch {epoch}")),
                }
            }
            Event::Step { done, epoch, loss } => {
                if let Some(progress) = &progress {
                    progress.set_weighed(done, work.of_steps(done), format_args!("epoch {epoch}, loss {loss:.4}"));
                }
            }
            Event::Exploding { loss, guessing } => {
                if let Some(progress) = &progress {
                    progress
                        .note(format_args!("{}; stop with Ctrl-C, and try osteon train --find-rate", exploding(loss, guessing)));
                }
            }
            Event::Skipped { done, epoch, problem } => {
                if let Some(progress) = &progress {
                    progress.set_weighed(done, work.of_steps(done), format_args!("epoch {epoch}"));
                    progress.note(format_args!("left out: {problem}"));
                }
            }
            Event::Test { done, of } => {
                if let Some(progress) = &progress {
                    progress.message(format_args!("held-out study {done} of {of}"));
                }
            }
            Event::Epoch(epoch) => {
                if let Some(progress) = &progress {
                    progress.note(epoch_line(epoch, settings.epochs, training_studies));
                }
            }
        }
        interrupt::check().map_or(ControlFlow::Break(()), ControlFlow::Continue)
    })?;
    if let Some(progress) = progress {
        let memory = train::peak_bytes().map_or(String::new(), |bytes| format!(", peak memory {} MB", bytes >> 20));
        progress.finish(format_args!("done: {}{memory}", counted(epochs.len(), "epoch")));
    }
    Ok(epochs)
}

/// How much work a training is, in training steps, with the measurements between its epochs.
#[derive(Default)]
struct Work {
    /// Steps an epoch.
    steps: usize,
    epochs: usize,
    test_every: usize,
    /// What a measurement takes.
    measurement: f64,
}

impl Work {
    /// Of the time of a training step, what a forward pass over as many studies takes.
    const FORWARD: f64 = 0.3;

    fn new(settings: &Settings, steps: usize, train: usize, held_out: usize) -> Self {
        let batch = train as f64 / steps.max(1) as f64;
        let precise = if settings.precise_norm { steps as f64 } else { 0.0 };
        let measurement = Self::FORWARD * (held_out as f64 / batch.max(1.0) + precise);
        Work { steps, epochs: settings.epochs, test_every: settings.test_every, measurement }
    }

    /// What so many steps take, with the measurements before them, and after the last step all.
    fn of_steps(&self, done: usize) -> f64 {
        let epochs = done / self.steps.max(1);
        let is_last = epochs >= self.epochs && !self.epochs.is_multiple_of(self.test_every.max(1));
        let measured = epochs / self.test_every.max(1) + usize::from(is_last);
        done as f64 + measured as f64 * self.measurement
    }
}

/// Why a run is over, whose weights it has kept and how good they are, and what comes next.
fn summary(epochs: &[Epoch], settings: &Settings, run: &Path) -> String {
    let (done, chosen) = (epochs.len(), Epoch::chosen(epochs, settings.choose_by));
    let reason = match done >= settings.epochs {
        true => format!("all {} are done", counted(settings.epochs, "epoch")),
        false => {
            format!("stopped early: no new best on the validation patients in {}", counted(settings.patience, "measured epoch"))
        }
    };
    let kept = epochs.get(chosen.saturating_sub(1)).filter(|epoch| epoch.validation_loss.is_some());
    let kept = kept.map_or("the model is that of the last epoch".to_owned(), |epoch| {
        let value = |name: &str, value: Option<f64>| value.map(|value| format!("{name} {value:.3}"));
        let scores = [
            value("loss", epoch.validation_loss),
            value("accuracy", epoch.validation_accuracy),
            value("AUC", epoch.validation_auc),
        ];
        let scores = scores.into_iter().flatten().collect::<Vec<_>>().join(", ");
        format!("the model is that of epoch {chosen}, the best on the validation patients ({scores})")
    });
    format!("{reason}; {kept}\nnext: osteon evaluate {}", shell_word(&run.to_string_lossy()))
}

/// What is said of a loss that [explodes](Event::Exploding).
pub fn exploding(loss: f64, guessing: f64) -> String {
    format!("the loss has risen to {loss:.4}, where guessing gives {guessing:.2}: the learning rate is probably too high")
}

fn epoch_line(epoch: &Epoch, epochs: usize, training_studies: usize) -> String {
    let mut line = format!(
        "epoch {:>3}/{epochs}  rate {:.2e}  train loss {:.4} accuracy {:.3}",
        epoch.epoch, epoch.learning_rate, epoch.train_loss, epoch.train_accuracy
    );
    if let (Some(loss), Some(auc)) = (epoch.validation_loss, epoch.validation_auc) {
        line += &format!("  validation loss {loss:.4} AUC {auc:.3}");
    }
    if let (Some(loss), Some(accuracy), Some(f1)) = (epoch.test_loss, epoch.test_accuracy, epoch.test_f1) {
        line += &format!("  test loss {loss:.4} accuracy {accuracy:.3} F1 {f1:.3}");
    }
    if epoch.skipped_steps > 0 {
        line += &format!("  {} left out", counted(epoch.skipped_steps, "step"));
    }
    line + &format!("  {:.1} s, {:.3} a training study", epoch.seconds, epoch.train_seconds / training_studies as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten steps an epoch of ten studies each: a measurement of 20 studies and of precise statistics takes as long as 3.6 steps.
    #[test]
    fn the_time_left_has_the_measurements_in_it() {
        let settings = Settings { epochs: 5, test_every: 2, precise_norm: true, ..Settings::default() };
        let work = Work::new(&settings, 10, 100, 20);
        for (steps, expected) in [(0, 0.0), (19, 19.0), (20, 23.6), (39, 42.6), (49, 56.2), (50, 60.8)] {
            assert!((work.of_steps(steps) - expected).abs() < 1e-9, "{steps}: {}", work.of_steps(steps));
        }
    }

    #[test]
    fn the_command_of_a_test_becomes_that_of_the_training() {
        let given = "/usr/bin/osteon train m.csv --find-rate --output=rates --learning-rate 0.01 --force --batch 8";
        let words = given.split(' ').chain(["--config", "my file"]).map(OsString::from);
        let expected = "osteon train m.csv --batch 8 --config 'my file' --learning-rate 3e-4 --output RUN";
        assert_eq!(command_with(words, "3e-4"), expected);
    }
}
