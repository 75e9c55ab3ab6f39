//! `osteon model`: model files made, taken from elsewhere, and shown.

use super::settings::PreprocessingFlags;
use super::terminal::Terminal;
use crate::data::Size;
use crate::models::Model as Network;
use crate::{Result, predict};
use clap::Subcommand;
use std::path::{Path, PathBuf};

/// Make, import or show a model file.
#[derive(Subcommand)]
pub enum Model {
    /// Make a model with random weights.
    #[command(after_help = "Example:\n  osteon model new --seed 1 --output M.safetensors")]
    New {
        #[command(flatten)]
        network: NetworkFlags,
        /// Seed of the weights.
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
    },
    /// Make a model of weights in PyTorch's shapes under torchvision's names; extras and gaps are errors.
    #[command(after_help = "Example:\n  osteon model import W.safetensors --architecture inrac --classes NoMet,ADMet,nADMet \\
      --input-size 1024x256 --output M.safetensors")]
    Import {
        /// The weights, safetensors.
        weights: PathBuf,
        #[command(flatten)]
        network: NetworkFlags,
    },
    /// Show what a model is and every tensor in it.
    #[command(after_help = "Example:\n  osteon model info runs/first/model.safetensors")]
    Info {
        /// The model.
        model: PathBuf,
    },
}

/// The network that a model is of.
#[derive(clap::Args)]
pub struct NetworkFlags {
    /// The network.
    #[arg(long, value_name = "NAME", default_value = "inrac")]
    architecture: String,
    /// The classes, in the order of the outputs.
    #[arg(long, value_name = "A,B,...", value_delimiter = ',', default_value = "NoMet,ADMet,nADMet")]
    classes: Vec<String>,
    /// The network's input, rows x columns.
    #[arg(long, value_name = "ROWSxCOLUMNS", default_value = "1024x256")]
    input_size: Size,
    #[command(flatten)]
    preprocessing: PreprocessingFlags,
    /// The model file to write.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

impl Model {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        match self {
            Model::New { network: n, seed } => {
                let preprocessing = n.preprocessing.resolve()?;
                let model = Network::new(&n.architecture, &n.classes, n.input_size.array(), preprocessing, *seed)?;
                save(terminal, &model, &n.output)
            }
            Model::Import { weights, network: n } => {
                let preprocessing = n.preprocessing.resolve()?;
                let model = Network::import(weights, &n.architecture, &n.classes, n.input_size.array(), preprocessing)?;
                save(terminal, &model, &n.output)
            }
            Model::Info { model } => info(terminal, &Network::load(model)?),
        }
    }
}

fn save(terminal: &Terminal, model: &Network, output: &Path) -> Result<()> {
    model.save(output)?;
    terminal.line(output.display())
}

fn info(terminal: &Terminal, model: &Network) -> Result<()> {
    let about = model.metadata();
    let preprocessing = predict::preprocessing(about);
    let trained_on = if about.trained_on.is_empty() { "nothing yet" } else { &about.trained_on };
    for (name, value) in [
        ("architecture", about.architecture.clone()),
        ("classes", about.classes.join(", ")),
        ("input size", Size::from(about.input_size).to_string()),
        ("preprocessing", preprocessing),
        ("trained on", trained_on.to_owned()),
        ("format version", about.format_version.to_string()),
        ("parameters", model.parameter_count().to_string()),
    ] {
        terminal.line(format_args!("{name:<16}{value}"))?;
    }
    terminal.line("")?;
    for (_, parameter) in model.parameters().iter() {
        let kind = if parameter.is_trained() { "" } else { "  (running statistic)" };
        terminal.line(format_args!("{:<48}{}{kind}", parameter.name, parameter.file_shape()))?;
    }
    Ok(())
}
