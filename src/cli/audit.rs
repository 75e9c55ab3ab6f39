//! `osteon audit`: the network's arithmetic operation by operation, and on tensors from a file for comparison with other engines.

use super::numbers::{count, seed};
use super::output::Overwrite;
use super::predict::refuse_swapped;
use super::scan::{self, ScanOptions};
use super::terminal::Terminal;
use crate::audit::{self, Bound, Comparison, GradcheckOptions, Slope, TraceOptions, TrainOptions, Verdict};
use crate::image::Size;
use crate::models::Model;
use crate::text::{Shown, counted};
use crate::train::RunFolder;
use crate::{Error, Result};
use clap::Subcommand;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Inspect every operation of a run, compute it again, compare with other engines.
#[derive(Subcommand)]
pub enum Audit {
    /// Run one study and write every operation: inputs, result, time, statistics, hash, as JSON lines and as a page.
    #[command(after_help = "Example:\n  osteon audit trace runs/first/model.safetensors scan.dcm --output trace\n  \
                            osteon audit trace runs/first/model.safetensors scan.dcm --train --label ADMet --output step")]
    Trace(Trace),
    /// Compute each operation of a trace again in float64 and compare; exit code 1 when one is off by more than its bound.
    #[command(after_help = "Example:\n  osteon audit verify trace\n  osteon audit verify trace --operation 42")]
    Verify {
        /// The folder that `osteon audit trace` wrote.
        trace: PathBuf,
        /// Only the operation of this number, from 0 to 1000000.
        #[arg(long, value_name = "N", value_parser = count(0..=1_000_000))]
        operation: Option<usize>,
    },
    /// Compare every gradient of a model with central differences in float64; exit code 1 when one is off by more than its bound.
    #[command(after_help = "Example:\n  osteon audit gradcheck runs/first/model.safetensors")]
    Gradcheck(Gradcheck),
    /// Inference: reads `input` (N,1,H,W f32), writes `logits` and `probabilities`.
    #[command(after_help = "Example:\n  osteon audit forward --model M.safetensors --input X.safetensors --output Y.safetensors")]
    Forward(Files),
    /// Training mode, forward and backward: reads `input` and `labels` (N, i64), writes `loss`, `grad.NAME` for every
    /// parameter, and the updated running statistics.
    #[command(
        after_help = "Example:\n  osteon audit gradients --model M.safetensors --input X.safetensors --output Y.safetensors"
    )]
    Gradients(Files),
    /// Say whether two runs are the same to the last bit, and where they first differ: configuration, inputs, program, the weights
    /// after each epoch, model. Exit code 0 if they are the same, 1 if not.
    #[command(after_help = "Example:\n  osteon audit compare runs/first runs/again")]
    Compare {
        /// The --output folder of `osteon train`.
        run_a: PathBuf,
        /// Another.
        run_b: PathBuf,
    },
}

/// What both read and write.
#[derive(clap::Args)]
pub struct Files {
    /// The model.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The tensors to run on, safetensors.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where the results go, safetensors.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    overwrite: Overwrite,
}

impl Audit {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        match self {
            Audit::Trace(trace) => trace.run(terminal),
            Audit::Verify { trace, operation } => verify(terminal, trace, *operation),
            Audit::Gradcheck(gradcheck) => gradcheck.run(terminal),
            Audit::Forward(files) => files.run(audit::forward),
            Audit::Gradients(files) => files.run(audit::gradients),
            Audit::Compare { run_a, run_b } => compare(terminal, run_a, run_b),
        }
    }
}

impl Files {
    fn run(&self, work: fn(&Path, &Path) -> Result<Vec<u8>>) -> Result<()> {
        let output = self.overwrite.file(&self.output, &[&self.model, &self.input])?;
        output.write(&work(&self.model, &self.input)?)
    }
}

/// What to trace.
#[derive(clap::Args)]
pub struct Trace {
    /// The model file, or the folder of a run.
    model: PathBuf,
    /// The study: a two-frame DICOM file, a folder or ZIP archive, or two files as A,B.
    scan: PathBuf,
    /// The folder to write.
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
    #[command(flatten)]
    overwrite: Overwrite,
    #[command(flatten)]
    options: ScanOptions,
    /// Input of the network, rows x columns; without it the model's own.
    #[arg(long, value_name = "ROWSxCOLUMNS")]
    input_size: Option<Size>,
    /// Write all feature maps in full size, a PNG for each operation.
    #[arg(long)]
    pictures: bool,
    /// A training step on the study in place of inference: forward, loss, every gradient, Adam's first step.
    #[arg(long)]
    train: bool,
    /// The study's class; without it the one that the model predicts.
    #[arg(long, value_name = "CLASS", requires = "train")]
    label: Option<String>,
    /// Adam's learning rate, above 0.
    #[arg(long, value_name = "RATE", default_value_t = 0.01, requires = "train")]
    learning_rate: f32,
}

impl Trace {
    fn run(&self, terminal: &Terminal) -> Result<()> {
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return Err(Error::setting(format!("--learning-rate {} is no rate", self.learning_rate), "give one above 0"));
        }
        let train = self.train.then(|| TrainOptions { label: self.label.clone(), learning_rate: self.learning_rate });
        let options = TraceOptions {
            input_size: self.input_size.map(Size::array),
            train,
            pictures: self.pictures,
            force: self.overwrite.force,
        };
        let model = RunFolder::model_of(&self.model);
        refuse_swapped(&model, std::slice::from_ref(&self.scan))?;
        let study = self.options.read(&self.scan)?;
        scan::notes(&study.intake).iter().for_each(|note| terminal.note(note));
        let header = audit::trace(&model, &study, &options, &self.output)?;
        let probabilities = header.probabilities.iter().map(|(class, probability)| format!("{class} {probability:.4}"));
        let loss = header.loss.map(|loss| format!(", loss {loss:.6}")).unwrap_or_default();
        terminal.line(format_args!(
            "{}: {}{loss}  ({})",
            header.run,
            counted(header.operations, "operation"),
            probabilities.collect::<Vec<_>>().join(", ")
        ))?;
        terminal.line(format_args!(
            "{:.1} ms without recording, {:.1} ms with it, the same bits",
            header.milliseconds, header.recorded_milliseconds
        ))?;
        terminal.line(self.output.join("index.html").shown())
    }
}

/// A line an operation, then a line a kind of operation with the one that came nearest to its bound.
fn verify(terminal: &Terminal, trace: &Path, operation: Option<usize>) -> Result<()> {
    let progress = OnceLock::new();
    let begin = |total| terminal.progress("operations", total);
    let (header, verdicts) = audit::verify(trace, operation, &|done, total| progress.get_or_init(|| begin(total)).set(done, ""))?;
    drop(progress);
    terminal.line(format_args!(
        "{} of {} (SHA-256 {}), {} on {}",
        header.run,
        header.model,
        header.model_sha256,
        counted(header.threads, "thread"),
        header.isa
    ))?;
    terminal.line("    #  error     allowed   bound              operation")?;
    let mut kinds: BTreeMap<_, (usize, &Verdict)> = BTreeMap::new();
    for verdict in &verdicts {
        let (holds, what) = (if verdict.holds() { "" } else { "  <-- " }, verdict.damage.as_deref().unwrap_or_default());
        let above = if verdict.error <= verdict.allowed { "" } else { "above its bound " };
        terminal.line(format_args!(
            "{:5}  {:<8.1e}  {:<8.1e}  {:<17}  {}: {}{holds}{above}{what}",
            verdict.number,
            verdict.error,
            verdict.allowed,
            verdict.bound.name(),
            verdict.layer,
            verdict.name,
        ))?;
        let worst = kinds.entry((verdict.bound, &*verdict.name)).or_insert((0, verdict));
        worst.0 += 1;
        if verdict.share() > worst.1.share() {
            worst.1 = verdict;
        }
    }
    terminal.line("")?;
    terminal.line("nearest to its bound, of each kind of operation\n    #  error     allowed   bound              operations")?;
    for ((bound, name), (count, worst)) in kinds.into_iter().filter(|((bound, _), _)| *bound != Bound::Recorded) {
        let Verdict { number, error, allowed, .. } = worst;
        terminal.line(format_args!("{number:5}  {error:<8.1e}  {allowed:<8.1e}  {:<17}  {count} x {name}", bound.name()))?;
    }
    let failed: Vec<String> = verdicts.iter().filter(|verdict| !verdict.holds()).map(|v| v.number.to_string()).collect();
    match &failed[..] {
        [] => terminal.line(format_args!("{} verified", counted(verdicts.len(), "operation"))),
        [..] => {
            let some = if failed.len() > 8 { format!("{} and others", failed[..8].join(", ")) } else { failed.join(", ") };
            let verb = if failed.len() == 1 { "is" } else { "are" };
            let of = counted(verdicts.len(), "operation");
            let problem = format!("{} of {of} {verb} not what it says: {some}", failed.len());
            Err(Error::file(trace, problem, "do not rely on it; run `osteon audit trace` again"))
        }
    }
}

fn compare(terminal: &Terminal, run_a: &Path, run_b: &Path) -> Result<()> {
    let comparison = audit::compare(run_a, run_b)?;
    for difference in &comparison.differences {
        terminal.line(format_args!("different: {difference}"))?;
    }
    for difference in &comparison.without_effect {
        terminal.line(format_args!("without effect: {difference}"))?;
    }
    comparison.expect_same()?;
    let Comparison { inputs, epochs, models, .. } = comparison;
    let models = if models { ", the models" } else { "; no models yet" };
    let (inputs, epochs) = (counted(inputs, "input"), counted(epochs, "epoch"));
    terminal.line(format_args!("the same: the configuration, {inputs}, the weights after each of {epochs}{models}"))
}

/// What to check gradients on: images of random values.
#[derive(clap::Args)]
pub struct Gradcheck {
    /// The model file, or the folder of a run.
    model: PathBuf,
    /// Rows x columns of the images.
    #[arg(long, value_name = "ROWSxCOLUMNS", default_value = "64x64")]
    input_size: Size,
    /// Images, from 1 to 255.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    batch: u8,
    /// Of images, labels and directions, from 0 to 2^63 - 1.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seed())]
    seed: u64,
    /// Print JSON: a list with an object a gradient.
    #[arg(long)]
    json: bool,
}

impl Gradcheck {
    fn run(&self, terminal: &Terminal) -> Result<()> {
        let path = RunFolder::model_of(&self.model);
        let options = GradcheckOptions { batch: self.batch.into(), input_size: self.input_size.array(), seed: self.seed };
        let slopes = audit::gradcheck(&Model::load(&path)?, &options)?;
        if self.json {
            terminal.json(&serde_json::to_string_pretty(&slopes).expect("plain values are JSON"))?;
        } else {
            print(terminal, &slopes)?;
        }
        let wrong: Vec<String> = slopes.iter().filter(|slope| !slope.holds()).map(of).collect();
        match wrong.first() {
            None => Ok(()),
            Some(first) => {
                let problem =
                    format!("{} of {} are not those of their equations: {first}", wrong.len(), counted(slopes.len(), "gradient"));
                Err(Error::failed(problem, "do not train with this build, and report it"))
            }
        }
    }
}

/// `layer: operation: gradient of input`
fn of(slope: &Slope) -> String {
    format!("{}: {}: gradient of {}", slope.layer, slope.operation, slope.input)
}

/// Those that do not hold, then a line a kind of gradient with the one that came nearest to its bound.
fn print(terminal: &Terminal, slopes: &[Slope]) -> Result<()> {
    for slope in slopes.iter().filter(|slope| !slope.holds()) {
        let Slope { gradient, difference, error, allowed, .. } = slope;
        let wrong = format!("{gradient:e} where the central difference is {difference:e}: {error:.1e} above {allowed:.1e}");
        terminal.line(format_args!("{}  {wrong}", of(slope)))?;
    }
    let mut kinds: BTreeMap<(&str, &str, &str), Vec<&Slope>> = BTreeMap::new();
    for slope in slopes {
        kinds.entry((&slope.operation, slope.input, slope.algorithm.unwrap_or_default())).or_default().push(slope);
    }
    terminal.line("error     allowed   number  gradient, and the layer that came nearest to what is allowed")?;
    for ((operation, input, algorithm), slopes) in kinds {
        let share = |slope: &&&Slope| slope.error / slope.allowed;
        let Some(worst) = slopes.iter().max_by(|a, b| share(a).total_cmp(&share(b))) else { continue };
        let algorithm = if algorithm.is_empty() { String::new() } else { format!(" ({algorithm})") };
        let (Slope { layer, error, allowed, .. }, number) = (worst, slopes.len());
        terminal
            .line(format_args!("{error:<8.1e}  {allowed:<8.1e}  {number:6}  {operation}{algorithm}: of {input}  [{layer}]"))?;
    }
    let held = slopes.iter().filter(|slope| slope.holds()).count();
    terminal.line(format_args!("{held} of {} gradients are those of their equations", slopes.len()))
}
