//! `osteon audit`: the network's arithmetic on tensors from a file, for comparison with other engines.

use super::terminal::Terminal;
use crate::{Result, audit};
use clap::Subcommand;
use std::path::PathBuf;

/// Run a model on tensors from a file and write what comes out, for comparison with other engines.
#[derive(Subcommand)]
pub enum Audit {
    /// Inference: reads `input` (N,1,H,W f32), writes `logits` and `probabilities`.
    #[command(after_help = "Example:\n  osteon audit forward --model M.safetensors --input X.safetensors --output Y.safetensors")]
    Forward(Files),
    /// Training mode, forward and backward: reads `input` and `labels` (N, i64), writes `loss`, `grad.NAME` for every
    /// parameter, and the updated running statistics.
    #[command(
        after_help = "Example:\n  osteon audit gradients --model M.safetensors --input X.safetensors --output Y.safetensors"
    )]
    Gradients(Files),
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
}

impl Audit {
    pub fn run(&self, _terminal: &Terminal) -> Result<()> {
        match self {
            Audit::Forward(files) => audit::forward(&files.model, &files.input, &files.output),
            Audit::Gradients(files) => audit::gradients(&files.model, &files.input, &files.output),
        }
    }
}
