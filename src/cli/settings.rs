//! Every setting of a training run as a flag.

use clap::Args;
use serde::Serialize;

/// Flags that win over the configuration file. Their names are the file's keys, so a set flag serialises to its line.
#[derive(Args, Serialize, Default)]
#[command(next_help_heading = "Settings (each also a key of the configuration file, with _ for -)")]
pub struct SettingFlags {
    /// The network.
    #[arg(long, value_name = "NAME")]
    architecture: Option<String>,
    /// The network's input, rows x columns [default: 1024x256].
    #[arg(long, value_name = "ROWSxCOLUMNS")]
    input_size: Option<crate::data::Size>,
    /// Passes over the training studies [default: 300].
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Studies a training step [default: 32].
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Adam's learning rate, before the schedule [default: 0.01].
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// How the learning rate goes from step to step [default: constant].
    #[arg(long, value_name = "NAME", value_parser = ["constant", "cosine", "step"])]
    schedule: Option<String>,
    /// Epochs in which the learning rate climbs from zero [default: 0].
    #[arg(long, value_name = "N")]
    warm_up_epochs: Option<f64>,
    /// Epochs between the steps of the step schedule [default: 100].
    #[arg(long, value_name = "N")]
    step_epochs: Option<usize>,
    /// What the step schedule multiplies the learning rate by [default: 0.1].
    #[arg(long, value_name = "FACTOR")]
    step_factor: Option<f64>,
    /// Adam's decay of the first moment [default: 0.9].
    #[arg(long, value_name = "X")]
    beta1: Option<f64>,
    /// Adam's decay of the second moment [default: 0.999].
    #[arg(long, value_name = "X")]
    beta2: Option<f64>,
    /// Adam's epsilon [default: 1e-8].
    #[arg(long, value_name = "X")]
    epsilon: Option<f64>,
    /// L2 penalty on the weights [default: 0].
    #[arg(long, value_name = "X")]
    weight_decay: Option<f64>,
    /// Seed of the initial weights, the order of studies and the augmentation [default: 1].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Share of each class's patients that train [default: 0.7].
    #[arg(long, value_name = "SHARE")]
    train_share: Option<f64>,
    /// Seed of the split into training and test patients [default: 1].
    #[arg(long, value_name = "N")]
    split_seed: Option<u64>,
    /// Epochs between measurements on the test studies [default: 1].
    #[arg(long, value_name = "N")]
    test_every: Option<usize>,
    /// Threads that prepare studies ahead of the training step [default: 1].
    #[arg(long, value_name = "N")]
    loader_threads: Option<usize>,
    /// Memory for prepared studies, in MB [default: 1024].
    #[arg(long, value_name = "MB")]
    cache_mb: Option<usize>,
}
