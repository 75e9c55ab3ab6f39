//! Times an engine in Rust on Osteon's network, and prints the figures as JSON. `compare.py` starts it; see ../README.md.

mod burn;
#[cfg(feature = "candle")]
mod candle;
mod rten;
mod tract;
mod weights;

use std::{error::Error, fs, path::PathBuf, time::Instant};

use clap::{Parser, ValueEnum};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// One call: a batch's logits, or, of a training step, its loss.
type Work = Box<dyn FnMut() -> Result<Vec<f32>>>;

/// What is given to an engine: its model and a batch of images, (images, 1, rows, columns).
struct Given {
    model: PathBuf,
    images: Vec<f32>,
    shape: [usize; 4],
    threads: usize,
    training: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Engine {
    Tract,
    Rten,
    #[cfg(feature = "candle")]
    Candle,
    Burn,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    Inference,
    Training,
}

#[derive(Parser)]
#[command(about = "Times an engine in Rust on Osteon's network")]
struct Arguments {
    #[arg(long)]
    engine: Engine,
    /// ONNX for tract and rten; the weights as safetensors for candle and burn
    #[arg(long)]
    model: PathBuf,
    /// The images: `input` in a safetensors file
    #[arg(long)]
    input: PathBuf,
    #[arg(long)]
    threads: usize,
    /// Calls to measure, after one to warm up
    #[arg(long)]
    rounds: usize,
    #[arg(long, default_value = "inference")]
    part: Part,
    /// Write the last call's logits (of training: its loss) to this safetensors file
    #[arg(long)]
    output: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // candle and burn ask rayon's variable; nothing else runs yet that might read it meanwhile.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", arguments.threads.to_string()) };

    let bytes = fs::read(&arguments.input)?;
    let input = SafeTensors::deserialize(&bytes)?.tensor("input")?;
    let shape = input.shape().try_into()?;
    let training = arguments.part == Part::Training;
    let given = Given { model: arguments.model, images: weights::floats(&input), shape, threads: arguments.threads, training };
    let (package, make): (_, fn(Given) -> Result<Work>) = match arguments.engine {
        Engine::Tract => ("tract-onnx", tract::work),
        Engine::Rten => ("rten", rten::work),
        #[cfg(feature = "candle")]
        Engine::Candle => ("candle-nn", candle::work),
        Engine::Burn => ("burn", burn::work),
    };
    let mut work = make(given)?;

    let mut values = work()?; // warms up
    let mut seconds = Vec::new();
    for _ in 0..arguments.rounds {
        let start = Instant::now();
        values = work()?;
        seconds.push(start.elapsed().as_secs_f64() / shape[0] as f64);
    }
    if let Some(path) = arguments.output {
        let (name, shape) = if training { ("loss", vec![1]) } else { ("logits", vec![shape[0], values.len() / shape[0]]) };
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        safetensors::serialize_to_file([(name, TensorView::new(Dtype::F32, shape, &bytes)?)], None, &path)?;
    }
    println!("{}", json!({"seconds": seconds, "peak_bytes": peak_bytes()?, "version": version(package)?}));
    Ok(())
}

/// The most memory that this process has had.
fn peak_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// The version of a package that this program was built with.
fn version(package: &str) -> Result<&'static str> {
    let lock = include_str!("../Cargo.lock");
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \"")).ok_or("not in Cargo.lock")?;
    Ok(rest.split('"').next().unwrap_or_default())
}
