//! `osteon bench`: how fast this machine runs the network, convolution by convolution and as a whole.

use super::model::pooling;
use super::terminal::Terminal;
use crate::autograd::Context;
use crate::image::Size;
use crate::models::{Metadata, Model, Pooling, architectures};
use crate::optim::Adam;
use crate::prepare::Preprocessing;
use crate::train::Trainer;
use crate::{Error, Result, memory};
use osteon_kernels::conv::{Algorithm, ConvShape, Epilogue, Pass};
use osteon_kernels::simd::Isa;
use osteon_kernels::{par, peak};
use serde::Serialize;
use std::hint::black_box;
use std::time::Instant;

/// Measure the network's convolutions, its forward pass and its training step on this machine.
///
/// Every figure is the median of several rounds. The FMA peak is measured in the same run, by the same threads, in registers.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon bench --threads 2 --batch 8 --size 1024x256\n  osteon bench --architecture all --size 256x64"
)]
pub struct Bench {
    /// Images in a batch, from 1 to 1024.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
    /// The network's input, rows x columns.
    #[arg(long, value_name = "ROWSxCOLUMNS", default_value = "1024x256")]
    size: Size,
    /// The network, or `all` for a row of each network, without its convolutions.
    #[arg(long, value_name = "NAME", default_value = "inrac")]
    architecture: String,
    /// Of vgg-11: flatten, average, or auto.
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = pooling)]
    pooling: Pooling,
    /// Rounds of which the median is taken, from 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Measure one part alone: then the peak memory is its own.
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Each convolution by itself.
    Layers,
    /// The forward pass of a trained network.
    Inference,
    /// Forward, loss, backward and Adam.
    Training,
}

/// All figures of a run.
#[derive(Serialize)]
struct Figures {
    isa: &'static str,
    threads: usize,
    architecture: String,
    size: Size,
    batch: usize,
    rounds: usize,
    peak_gflops: f64,
    networks: Vec<Network>,
    convolutions: Vec<Convolution>,
    /// Of the first network, which mostly is the only one.
    forward_seconds_per_image: Option<f64>,
    training_step_seconds_per_image: Option<f64>,
    peak_memory_bytes: Option<u64>,
}

/// A network's size, work, and time for an image of a batch.
#[derive(Serialize)]
struct Network {
    architecture: String,
    /// Of [`Pooling`]; its one where there is no choice.
    pooling: Pooling,
    /// Trained parameters.
    weights: usize,
    /// Of one image in use: two operations a multiplication and addition, in convolutions and linear layers.
    gflop: f64,
    forward_seconds_per_image: Option<f64>,
    training_step_seconds_per_image: Option<f64>,
}

/// A convolution's shape and how long its three kernels take.
#[derive(Serialize)]
struct Convolution {
    /// The first layer that has this shape.
    layer: String,
    /// Layers that have it.
    count: usize,
    shape: String,
    flops: u64,
    passes: Vec<Timing>,
}

/// One of a convolution's kernels, by one algorithm.
#[derive(Serialize)]
struct Timing {
    pass: &'static str,
    algorithm: &'static str,
    /// Whether the network computes it so.
    used: bool,
    milliseconds: f64,
    /// Multiplications and additions of the definition, however many the algorithm needs, over the time.
    gflops: f64,
    share_of_peak: f64,
    /// The time of the algorithm that the network uses over this one's: above 1, this one was faster.
    speed_over_used: f64,
}

/// A rejected algorithm is said to be faster from this ratio on; less is the noise of a few rounds.
const FASTER: f64 = 1.03;

impl Bench {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let (batch, rounds) = (usize::from(self.batch), usize::from(self.rounds));
        let isa = Context::default().isa;
        let names = if self.architecture == "all" { architectures() } else { vec![&*self.architecture] };
        let peak = peak::measure(isa, 10);

        let of_layers = names.len() == 1 && self.measures(Part::Layers);
        let layers = if of_layers { distinct(self.model(names[0])?.convolutions(batch)?) } else { Vec::new() };
        let progress = terminal.progress("measuring", layers.len() + names.len());
        let mut convolutions = Vec::new();
        for (i, (layer, count, shape)) in layers.into_iter().enumerate() {
            progress.set(i, &layer);
            convolutions.push(Convolution::measure(isa, layer, count, shape, rounds, peak));
        }

        let mut networks = Vec::new();
        for name in names {
            progress.set(convolutions.len() + networks.len(), name);
            networks.push(self.network(self.model(name)?)?);
        }
        progress.finish("done");

        let figures = Figures {
            isa: isa.name(),
            threads: par::workers(),
            architecture: self.architecture.clone(),
            size: self.size,
            batch,
            rounds,
            peak_gflops: peak / 1e9,
            forward_seconds_per_image: networks.first().and_then(|network| network.forward_seconds_per_image),
            training_step_seconds_per_image: networks.first().and_then(|network| network.training_step_seconds_per_image),
            networks,
            convolutions,
            peak_memory_bytes: crate::train::peak_bytes(),
        };
        if self.json {
            let text = serde_json::to_string_pretty(&figures).map_err(|error| Error::setting(error.to_string(), "report it"))?;
            return terminal.json(&text);
        }
        figures.print(terminal)
    }

    fn measures(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }

    fn model(&self, architecture: &str) -> Result<Model> {
        let classes = ["NoMet", "ADMet", "nADMet"].map(str::to_owned);
        // Where there is no choice, the default is what there is.
        let pooling = if self.architecture == "all" && architecture != "vgg-11" { Pooling::Auto } else { self.pooling };
        let metadata = Metadata::new(architecture, &classes, self.size.array(), Preprocessing::default());
        Model::initialised(Metadata { pooling, ..metadata }, 1)
    }

    /// Measures a network's forward pass and its training step.
    fn network(&self, model: Model) -> Result<Network> {
        let (batch, rounds, classes) = (usize::from(self.batch), usize::from(self.rounds), model.metadata().classes.len());
        let images: Vec<f32> = values(batch * self.size.pixels());
        let labels: Vec<u32> = (0..batch as u32).map(|i| i % classes as u32).collect();
        let [least, most] = [model.inference_bytes(1)?, model.training_bytes(batch)?];
        let need = if self.measures(Part::Training) { most } else { least };
        memory::check(
            &format!("{} at {} with a batch of {batch}", self.architecture, self.size),
            need,
            "lower --batch or --size",
        )?;
        let layers = model.layers(self.size.array())?;
        let (architecture, pooling) = (model.metadata().architecture.clone(), model.metadata().pooling);
        let (weights, flops) = (model.parameter_count(), layers.iter().map(|layer| layer.flops).sum::<u64>());
        let mut failed = None;
        let mut note = |result: Result<()>| failed = failed.take().or(result.err());
        let forward = self
            .measures(Part::Inference)
            .then(|| median(rounds, || note(model.logits(&images, batch).map(|logits| drop(black_box(logits))))));
        let mut trainer = Trainer::new(model, Adam::default());
        let step = self.measures(Part::Training).then(|| {
            median(rounds, || {
                note(trainer.step(&images, &labels, 1e-4).map(|step| {
                    black_box(step);
                }))
            })
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(Network {
                architecture,
                pooling,
                weights,
                gflop: flops as f64 / 1e9,
                forward_seconds_per_image: forward.map(|seconds| seconds / batch as f64),
                training_step_seconds_per_image: step.map(|seconds| seconds / batch as f64),
            }),
        }
    }
}

impl Figures {
    fn print(&self, terminal: &Terminal) -> Result<()> {
        let (isa, threads, peak) = (self.isa, self.threads, self.peak_gflops);
        terminal
            .line(format_args!("{isa}, threads: {threads}, FMA peak {peak:.1} GFLOP/s, medians of {} rounds", self.rounds))?;
        terminal.line(format_args!("{} at {}, batch {}", self.architecture, self.size, self.batch))?;
        if !self.convolutions.is_empty() {
            self.print_layers(terminal)?;
        }
        let head = ["network", "pooling", "million weights", "GFLOP", "forward, s an image", "training step, s an image"];
        terminal.line(format_args!(
            "{:<31} {:<8} {:>15} {:>8} {:>20} {:>26}",
            head[0], head[1], head[2], head[3], head[4], head[5]
        ))?;
        for network in &self.networks {
            let Network { architecture, weights, gflop, .. } = network;
            let pooling = if network.pooling == Pooling::Flatten { "flatten" } else { "average" };
            let [forward, step] = [network.forward_seconds_per_image, network.training_step_seconds_per_image]
                .map(|seconds| seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.4}")));
            let millions = *weights as f64 / 1e6;
            terminal
                .line(format_args!("{architecture:<31} {pooling:<8} {millions:>15.2} {gflop:>8.2} {forward:>20} {step:>26}"))?;
        }
        if let Some(bytes) = self.peak_memory_bytes {
            terminal.line(format_args!("peak memory    {} MB", bytes >> 20))?;
        }
        Ok(())
    }

    fn print_layers(&self, terminal: &Terminal) -> Result<()> {
        terminal.line("")?;
        let head = ["layer", "count", "shape", "pass", "algorithm", "ms", "GFLOP/s", "of peak"];
        terminal.line(format_args!(
            "{:<28} {:>5}  {:<36} {:<16} {:<15} {:>9} {:>9} {:>8}",
            head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7]
        ))?;
        for convolution in &self.convolutions {
            let mut left = (convolution.layer.as_str(), convolution.count.to_string(), convolution.shape.as_str());
            for timing in &convolution.passes {
                terminal.line(format_args!(
                    "{:<28} {:>5}  {:<36} {:<16} {:<15} {:>9.2} {:>9.1} {:>7.0}%",
                    left.0,
                    left.1,
                    left.2,
                    timing.pass,
                    format!("{}{}", if timing.used { "*" } else { " " }, timing.algorithm),
                    timing.milliseconds,
                    timing.gflops,
                    100.0 * timing.share_of_peak
                ))?;
                left = ("", String::new(), "");
            }
        }
        terminal.line("\n* the network's choice; GFLOP/s count the operations of a direct convolution\n")?;
        let timings = self.convolutions.iter().flat_map(|convolution| convolution.passes.iter().map(move |t| (convolution, t)));
        let faster: Vec<_> = timings.filter(|(_, timing)| timing.speed_over_used > FASTER).collect();
        if faster.is_empty() {
            terminal.line("No rejected algorithm was faster by more than 3 %.")?;
        }
        for (convolution, timing) in faster {
            let (layer, shape) = (&convolution.layer, &convolution.shape);
            let (pass, algorithm, speed) = (timing.pass, timing.algorithm, timing.speed_over_used);
            terminal
                .line(format_args!("Rejected, yet faster: {algorithm}, {pass} of {layer} ({shape}), {speed:.2} times as fast"))?;
        }
        terminal.line("")
    }
}

impl Convolution {
    fn measure(isa: Isa, layer: String, count: usize, shape: ConvShape, rounds: usize, peak: f64) -> Self {
        let (input, weights) = (values(shape.input_len()), values(shape.weight_len()));
        let grad_output = values(shape.output_len());
        let mut target = vec![0.0; shape.output_len().max(shape.input_len()).max(shape.weight_len())];
        let mut passes = Vec::new();
        for (algorithm, pass) in Algorithm::ALL.into_iter().flat_map(|algorithm| Pass::ALL.map(|pass| (algorithm, pass))) {
            if !algorithm.supports(pass, shape) {
                continue;
            }
            let seconds = match pass {
                Pass::Forward => {
                    let mut packed = vec![0.0; algorithm.packed_len(shape)];
                    algorithm.pack(isa, shape, &weights, &mut packed);
                    let (output, mut scratch) =
                        (&mut target[..shape.output_len()], vec![0.0; algorithm.forward_scratch_len(shape)]);
                    let epilogue = Epilogue::default();
                    median(rounds, || algorithm.forward(isa, shape, &input, &packed, epilogue, output, &mut scratch))
                }
                Pass::BackwardData => {
                    let (grad, mut scratch) =
                        (&mut target[..shape.input_len()], vec![0.0; algorithm.backward_data_scratch_len(shape)]);
                    median(rounds, || {
                        algorithm.backward_data(isa, shape, &grad_output, &weights, (&mut *grad, false), &mut scratch)
                    })
                }
                Pass::BackwardWeights => {
                    let (grad, mut scratch) =
                        (&mut target[..shape.weight_len()], vec![0.0; algorithm.backward_weights_scratch_len(shape)]);
                    median(rounds, || algorithm.backward_weights(isa, shape, &input, &grad_output, grad, &mut scratch))
                }
            };
            let flops = shape.flops() as f64 / seconds;
            passes.push(Timing {
                pass: pass.name(),
                algorithm: algorithm.name(),
                used: algorithm == Algorithm::choose(pass, shape),
                milliseconds: 1e3 * seconds,
                gflops: flops / 1e9,
                share_of_peak: flops / peak,
                speed_over_used: 1.0,
            });
        }
        let used: Vec<_> = passes.iter().filter(|timing| timing.used).map(|timing| (timing.pass, timing.milliseconds)).collect();
        for timing in &mut passes {
            let used = used.iter().find(|(pass, _)| *pass == timing.pass);
            timing.speed_over_used = used.map_or(1.0, |(_, milliseconds)| milliseconds / timing.milliseconds);
        }
        // The algorithms of a pass side by side.
        passes.sort_by_key(|timing| Pass::ALL.iter().position(|pass| pass.name() == timing.pass));
        Convolution { layer, count, shape: describe(&shape), flops: shape.flops(), passes }
    }
}

/// `3x3/2 64>128 at 256x64`: kernel, stride, channels in and out, input.
fn describe(shape: &ConvShape) -> String {
    let [rows, columns] = shape.kernel;
    let stride = if shape.stride == [1, 1] { String::new() } else { format!("/{}", shape.stride[0]) };
    let (inputs, outputs) = (shape.in_channels, shape.out_channels);
    format!("{rows}x{columns}{stride} {inputs}>{outputs} at {}x{}", shape.rows, shape.columns)
}

/// Each shape once, in the order of first appearance: the first layer with it, how many have it.
fn distinct(layers: Vec<(String, ConvShape)>) -> Vec<(String, usize, ConvShape)> {
    let mut distinct: Vec<(String, usize, ConvShape)> = Vec::new();
    for (layer, shape) in layers {
        match distinct.iter_mut().find(|(_, _, known)| *known == shape) {
            Some((_, count, _)) => *count += 1,
            None => distinct.push((layer, 1, shape)),
        }
    }
    distinct
}

/// Values like activations: of either sign and about one, the same in every run.
fn values(len: usize) -> Vec<f32> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// The median time of `rounds` calls in seconds, after one that warms caches and buffers.
fn median(rounds: usize, mut work: impl FnMut()) -> f64 {
    work();
    let mut seconds: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[rounds / 2]
}
