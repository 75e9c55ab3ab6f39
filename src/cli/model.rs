//! `osteon model`: model files made, taken from elsewhere, shown, and signed.

use super::numbers::seed;
use super::output::Overwrite;
use super::settings::PreprocessingFlags;
use super::terminal::Terminal;
use crate::files::Staging;
use crate::image::Size;
use crate::models::{Memory, Metadata, Model as Network, Pooling, Quantiles, TrainingData, ValidatedPoint, signature};
use crate::prepare::Measure;
use crate::text::{Shown, counted};
use crate::train::RunFolder;
use crate::{Error, Result, predict};
use clap::Subcommand;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Make, import, show, export, sign or verify a model file.
#[derive(Subcommand)]
pub enum Model {
    /// Make a model with random weights.
    #[command(after_help = "Example:\n  osteon model new --seed 1 --output M.safetensors")]
    New {
        /// Seed of the weights, from 0 to 2^63 - 1.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = seed())]
        seed: u64,
        #[command(flatten)]
        network: NetworkFlags,
    },
    /// Make a model of weights in PyTorch's shapes under torchvision's names; extras and gaps are errors.
    #[command(after_help = "Example:\n  osteon model import W.safetensors --architecture inrac --classes NoMet,ADMet,nADMet \\
      --input-size 1024x256 --output M.safetensors")]
    Import {
        /// The weights, safetensors.
        weights: PathBuf,
        /// Take only the tensors whose names begin with this, and take it from their names: module. of DataParallel, _orig_mod. of
        /// torch.compile, or what else a checkpoint has before the network's names.
        #[arg(long, value_name = "PREFIX")]
        strip_prefix: Option<String>,
        #[command(flatten)]
        network: NetworkFlags,
    },
    /// Show what a model is: layers, work, memory, the run it comes from, and every tensor in it with its hash.
    #[command(after_help = "Example:\n  osteon model info runs/first/model.safetensors --json")]
    Info {
        /// The model.
        model: PathBuf,
        /// Print JSON instead of tables.
        #[arg(long)]
        json: bool,
    },
    /// Write a model in the format of other engines: any size of input, `logits` and `probabilities` as outputs.
    #[command(after_help = "Example:\n  osteon model export runs/first/model.safetensors --format onnx --output model.onnx")]
    Export {
        /// The model.
        model: PathBuf,
        /// The format.
        #[arg(long, value_name = "NAME")]
        format: Format,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        /// Write also metadata.json into the same folder, which describes the file as a MONAI bundle does. Not by default: its name is fixed,
        /// and of several models in one folder it could describe only one.
        #[arg(long)]
        monai: bool,
        #[command(flatten)]
        overwrite: Overwrite,
    },
    /// Make a pair of ed25519 keys: NAME.pem signs and stays secret, NAME.pub.pem verifies.
    #[command(after_help = "Example:\n  osteon model keygen --output clinic")]
    Keygen {
        /// The name of both files, without extension.
        #[arg(long, value_name = "NAME")]
        output: PathBuf,
    },
    /// Sign a model: 64 bytes beside it, in a file with .sig after its name; over another signature only with --force.
    #[command(after_help = "Example:\n  osteon model sign runs/first/model.safetensors --key clinic.pem")]
    Sign {
        /// The model.
        model: PathBuf,
        /// The private key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        overwrite: Overwrite,
    },
    /// Check a model's signature; exit code 1 if it is missing or another's, or the model has changed.
    #[command(after_help = "Example:\n  osteon model verify runs/first/model.safetensors --key clinic.pub.pem")]
    Verify {
        /// The model.
        model: PathBuf,
        /// The public key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

/// What other engines read.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Format {
    /// Opset 17.
    Onnx,
}

/// The network that a model is of.
#[derive(clap::Args)]
pub struct NetworkFlags {
    /// The network.
    #[arg(long, value_name = "NAME", default_value = "inrac")]
    architecture: String,
    /// Of vgg-11: every pixel of the last maps by itself (flatten), each channel's mean (average), or the former where its weights take
    /// at most 512 MB (auto).
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = pooling)]
    pooling: Pooling,
    /// The classes, in the order of the outputs; blanks around a name are no part of it.
    #[arg(long, value_name = "A,B,...", value_delimiter = ',', default_value = "NoMet,ADMet,nADMet", value_parser = class)]
    classes: Vec<String>,
    /// The network's input, rows x columns.
    #[arg(long, value_name = "ROWSxCOLUMNS", default_value = "1024x256")]
    input_size: Size,
    /// The model file to write.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    overwrite: Overwrite,
    // Last, since its heading is that of all flags after it.
    #[command(flatten)]
    preprocessing: PreprocessingFlags,
}

impl NetworkFlags {
    fn metadata(&self) -> Result<Metadata> {
        let metadata = Metadata::new(&self.architecture, &self.classes, self.input_size.array(), self.preprocessing.resolve()?);
        Ok(Metadata { pooling: self.pooling, ..metadata })
    }

    /// Writes the model that `make` makes of `inputs`.
    fn save(&self, terminal: &Terminal, inputs: &[&Path], make: impl FnOnce(Metadata) -> Result<Network>) -> Result<()> {
        let output = self.overwrite.file(&self.output, inputs)?;
        output.write(&make(self.metadata()?)?.to_bytes())?;
        terminal.line(self.output.shown())
    }
}

/// One name of a list of classes.
fn class(name: &str) -> Result<String, String> {
    match name.trim() {
        "" => Err("a class has no name; name each between two commas".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// A flag's value as a [`Pooling`].
pub fn pooling(name: &str) -> Result<Pooling, String> {
    let problem = |_| "choose auto, flatten or average".to_owned();
    serde_json::from_value(name.into()).map_err(problem)
}

impl Model {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        match self {
            Model::New { network, seed } => network.save(terminal, &[], |metadata| Network::initialised(metadata, *seed)),
            Model::Import { weights, strip_prefix, network } => {
                network.save(terminal, &[weights], |metadata| Network::import_as(weights, metadata, strip_prefix.as_deref()))
            }
            Model::Info { model, json } => {
                let about = About::of(&RunFolder::model_of(model))?;
                if *json { terminal.json(&json_text(&about)) } else { about.print(terminal) }
            }
            Model::Export { model, format: Format::Onnx, output, monai, overwrite } => {
                let path = RunFolder::model_of(model);
                if *monai {
                    return export_bundle(terminal, &path, output, overwrite);
                }
                let file = overwrite.file(output, &[&path])?;
                file.write(&Network::load(path)?.to_onnx()?)?;
                terminal.line(output.shown())
            }
            Model::Keygen { output } => {
                let [private, public] = signature::keygen(output)?;
                terminal.line(format_args!("{} signs: keep it secret", private.shown()))?;
                terminal.line(format_args!("{} verifies: give it to whoever uses your models", public.shown()))
            }
            Model::Sign { model, key, overwrite } => {
                let model = RunFolder::model_of(model);
                overwrite.file(&signature::signature_path(&model), &[&model, key])?;
                terminal.line(signature::sign(&model, key)?.shown())
            }
            Model::Verify { model, key } => {
                let path = RunFolder::model_of(model);
                let weights = Network::load_signed(&path, key)?.weights_hash();
                terminal.line(format_args!("{}: signed by the owner of {}; weights {weights}", path.shown(), key.shown()))
            }
        }
    }
}

/// What describes a MONAI bundle.
const BUNDLE: &str = "metadata.json";

/// Writes a model as ONNX with the file that describes it as a MONAI bundle: both or none.
fn export_bundle(terminal: &Terminal, path: &Path, output: &Path, overwrite: &Overwrite) -> Result<()> {
    let Some(name) = output.file_name().filter(|name| *name != BUNDLE) else {
        return Err(Error::file(output, "is no name for the ONNX file beside metadata.json", "give another, such as model.onnx"));
    };
    if output.exists() && !output.is_file() {
        return Err(Error::file(output, "is no file, so that metadata.json has no place beside it", "give the name of a file"));
    }
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let staging = Staging::new(overwrite.files_in(folder, &[Path::new(name), Path::new(BUNDLE)], &[path])?)?;
    let networks = predict::Ensemble::one(path, Network::load(path)?);
    let (card, model) = (predict::card(&networks), &networks.members()[0]);
    staging.write(name, &model.to_onnx()?)?;
    staging.write(BUNDLE, &model.to_monai(&card.caveat()))?;
    staging.commit(name)?;
    terminal.line(output.shown())?;
    terminal.line(output.with_file_name(BUNDLE).shown())
}

fn json_text(about: &About) -> String {
    serde_json::to_string_pretty(about).expect("plain values are JSON")
}

/// All that `model info` says.
#[derive(Serialize)]
struct About {
    /// SHA-256 of the file.
    file_sha256: String,
    /// [`Network::weights_hash`]
    weights_sha256: String,
    /// [`Network::metadata_sha256`]
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_sha256: Option<String>,
    #[serde(flatten)]
    metadata: Metadata,
    parameters: usize,
    /// Of one image: two operations a multiplication and addition, in convolutions and linear layers.
    gflop: f64,
    memory: Memory,
    layers: Vec<LayerRow>,
    tensors: Vec<TensorRow>,
}

#[derive(Serialize)]
struct LayerRow {
    layer: String,
    operation: &'static str,
    output: Vec<usize>,
    parameters: usize,
    mflop: f64,
}

#[derive(Serialize)]
struct TensorRow {
    name: String,
    shape: Vec<usize>,
    trained: bool,
    sha256: String,
}

impl About {
    fn of(path: &Path) -> Result<Self> {
        let model = Network::load(path)?;
        let mega = |flops: u64| flops as f64 / 1e6;
        let layers: Vec<LayerRow> = model
            .layers(model.metadata().input_size)?
            .into_iter()
            .map(|layer| LayerRow {
                operation: layer.op.name(),
                mflop: mega(layer.flops),
                output: layer.output.to_vec(),
                parameters: layer.parameters,
                layer: layer.name,
            })
            .collect();
        let parameters = model.parameters();
        let tensors = parameters.iter().zip(parameters.hashes()).map(|((_, parameter), sha256)| TensorRow {
            name: parameter.name.clone(),
            shape: parameter.file_shape().to_vec(),
            trained: parameter.is_trained(),
            sha256,
        });
        Ok(About {
            file_sha256: model.file_sha256().unwrap_or_default().to_owned(),
            weights_sha256: model.weights_hash(),
            metadata_sha256: model.metadata_sha256().map(str::to_owned),
            metadata: model.metadata().clone(),
            parameters: model.parameter_count(),
            gflop: layers.iter().map(|layer| layer.mflop).sum::<f64>() / 1e3,
            memory: model.memory()?,
            tensors: tensors.collect(),
            layers,
        })
    }

    fn print(&self, terminal: &Terminal) -> Result<()> {
        let about = &self.metadata;
        let megabytes = |bytes: usize| bytes as f64 / 1e6;
        let Memory { weights, packed, buffers } = self.memory;
        let [weights, packed, buffers] = [weights, packed, buffers].map(megabytes);
        let pooling = if about.pooling == Pooling::Flatten { "flatten" } else { "average" };
        let trained_on = if about.trained_on.is_empty() { "nothing yet" } else { &about.trained_on };
        let mut lines = vec![
            ("architecture", about.architecture.clone()),
            ("classes", about.classes.join(", ")),
            ("input size", Size::from(about.input_size).to_string()),
            ("pooling", pooling.to_owned()),
            ("preprocessing", predict::preprocessing(about)),
            ("parameters", self.parameters.to_string()),
            ("work", format!("{:.3} GFLOP an image", self.gflop)),
            (
                "memory",
                format!("{weights:.1} MB weights, {packed:.1} MB packed for the kernels, {buffers:.1} MB buffers for one image"),
            ),
            ("trained on", trained_on.to_owned()),
        ];
        if let Some(data) = &about.training_data {
            lines.push(("training scans", training_scans(data)));
        }
        if let Some(run) = &about.provenance {
            let scores = run.scores.iter().map(|(name, score)| format!("{name} {score:.4}")).collect::<Vec<_>>().join(", ");
            let scores = if scores.is_empty() { "not measured after the last epoch".to_owned() } else { scores };
            let commit = if run.commit.is_empty() { "unknown" } else { &run.commit };
            lines.extend([
                ("epochs", run.epochs.to_string()),
                ("test scores", scores),
                ("data", run.data.clone()),
                ("program", format!("osteon {}, commit {commit}, {}", run.version, run.isa)),
                ("configuration", run.configuration.to_string()),
            ]);
        }
        lines.extend([("format version", about.format_version.to_string()), ("weights SHA-256", self.weights_sha256.clone())]);
        lines.extend(self.metadata_sha256.clone().map(|hash| ("metadata SHA-256", hash)));
        lines.push(("file SHA-256", self.file_sha256.clone()));
        for (name, value) in lines {
            terminal.line(format_args!("{name:<17}{value}"))?;
        }
        terminal.line(format_args!("\n{:<32}{:<38}{:<20}{:>11}{:>9}", "layer", "operation", "output", "parameters", "MFLOP"))?;
        for LayerRow { layer, operation, output, parameters, mflop } in &self.layers {
            let output = format!("{output:?}");
            terminal.line(format_args!("{layer:<32}{operation:<38}{output:<20}{parameters:>11}{mflop:>9.1}"))?;
        }
        terminal.line(format_args!("\n{:<44}{:<20}SHA-256", "tensor", "shape"))?;
        for TensorRow { name, shape, trained, sha256 } in &self.tensors {
            let (shape, kind) = (format!("{shape:?}"), if *trained { "" } else { "  running statistic" });
            terminal.line(format_args!("{name:<44}{shape:<20}{sha256}{kind}"))?;
        }
        Ok(())
    }
}

/// What a model remembers of its training scans, in a line.
fn training_scans(data: &TrainingData) -> String {
    let range = |measure: Measure| data.measures.get(&measure).map(|Quantiles { least, most, .. }| [*least, *most]);
    let counts =
        range(Measure::Counts).map(|[least, most]| format!("{:.2} to {:.2} million counts a view", least / 1e6, most / 1e6));
    let sizes = [Measure::Rows, Measure::Columns].map(|measure| {
        range(measure)
            .map_or("?".to_owned(), |[least, most]| if least == most { format!("{least}") } else { format!("{least} to {most}") })
    });
    let known =
        if data.features.is_some() { "what the network sees in them" } else { "too few to know what the network sees in them" };
    let threshold = data.operating_point.as_ref().map(|ValidatedPoint { threshold, sensitivity, positives, .. }| {
        format!("threshold {threshold:.4} found {:.0} % of {positives} validation scans", 100.0 * sensitivity)
    });
    let parts = [
        Some(counted(data.studies, "scan")),
        counts,
        Some(format!("{} pixels", sizes.join(" x "))),
        Some(known.to_owned()),
        threshold,
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
