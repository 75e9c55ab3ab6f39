//! `osteon predict`: scans in, classes out.

use super::scan::{self, ScanOptions};
use super::terminal::Terminal;
use crate::models::Model;
use crate::report::{self, Case, Prediction};
use crate::train::RunFolder;
use crate::{Error, Result, interrupt, metrics, predict};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Classify scans with a trained model: a line for each study.
///
/// A scan that cannot be read is reported, the others are still classified, and the exit code is 1.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  osteon predict runs/first/model.safetensors scan.dcm folder front.png,back.png \\
      --views anterior,posterior --report page")]
pub struct Predict {
    /// The model file, or the folder of a run.
    model: PathBuf,
    /// Studies: each a two-frame DICOM file, a folder, or two files as A,B.
    #[arg(required = true, value_name = "SCAN")]
    scans: Vec<PathBuf>,
    #[command(flatten)]
    options: ScanOptions,
    /// Use the model only if the owner of this public key signed it (`osteon model sign`).
    #[arg(long, value_name = "KEY")]
    require_signature: Option<PathBuf>,
    /// Print JSON: a list with an object for each study.
    #[arg(long)]
    json: bool,
    /// Write a page with the fused pictures and where the network looked into this folder.
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
}

impl Predict {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let path = model_path(&self.model);
        let model = match &self.require_signature {
            Some(key) => Model::load_signed(&path, key)?,
            None => Model::load(&path)?,
        };
        let classes = &model.metadata().classes;
        let progress = terminal.progress("scans", self.scans.len());
        let (mut cases, mut objects, mut failed) = (Vec::new(), Vec::new(), None);
        for (done, scan) in self.scans.iter().enumerate() {
            interrupt::check()?;
            progress.set(done, scan.display());
            let study = self.options.read(scan);
            match study.and_then(|study| predict::case(&model, &scan::name(scan), &study, self.report.is_some())) {
                Ok(case) if self.json => {
                    objects.push(object(scan, classes, &case));
                    cases.push(case);
                }
                Ok(case) => {
                    progress.hidden(|| terminal.line(line(scan, classes, &case)))?;
                    cases.push(case);
                }
                Err(stop @ Error::Interrupted { .. }) => return Err(stop),
                Err(error) => {
                    objects.push(json!({ "scan": scan, "error": error.to_string() }));
                    // The last one ends the command.
                    if let Some(earlier) = failed.replace(error) {
                        progress.hidden(|| terminal.error(&earlier));
                    }
                }
            }
        }
        drop(progress);
        if self.json {
            terminal.line(format_args!("{:#}", Value::from(objects)))?;
        }
        if let Some(folder) = self.report.as_ref().filter(|_| !cases.is_empty()) {
            let title = if cases.len() == 1 { "One scan".to_owned() } else { format!("{} scans", cases.len()) };
            let prediction = Prediction { title, model: predict::card(&model, &path), scans: cases };
            let page = report::write_prediction(&prediction, folder)?;
            if self.json { terminal.note(page.display()) } else { terminal.line(page.display())? }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// The model of a run's folder, or the file itself.
pub fn model_path(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(RunFolder::MODEL) } else { path.to_owned() }
}

/// `scan.dcm  ADMet  (NoMet 0.1000, ADMet 0.8000, nADMet 0.1000)`
pub fn line(scan: &Path, classes: &[String], case: &Case) -> String {
    let each = classes.iter().zip(&case.probabilities).map(|(class, probability)| format!("{class} {probability:.4}"));
    let class = &classes[metrics::predicted(&case.probabilities)];
    format!("{}  {class}  ({})", scan.display(), each.collect::<Vec<_>>().join(", "))
}

fn object(scan: &Path, classes: &[String], case: &Case) -> Value {
    let probabilities: serde_json::Map<String, Value> =
        classes.iter().zip(&case.probabilities).map(|(class, probability)| (class.clone(), json!(probability))).collect();
    json!({ "scan": scan, "class": classes[metrics::predicted(&case.probabilities)], "probabilities": probabilities })
}
