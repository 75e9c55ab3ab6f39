//! `osteon model`: model files made, taken from elsewhere, and shown.

use super::settings::PreprocessingFlags;
use super::terminal::Terminal;
use crate::data::Size;
use crate::models::Model as Network;
use crate::{Error, Result};
use clap::Subcommand;
use std::path::PathBuf;

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
