//! What a run writes down: what it is and what came of it ([`RunRecord`]), and a row an epoch ([`Epoch`]).

use super::settings::flatten;
use super::{ChooseBy, RunFolder, Settings};
use crate::autograd::Context;
use crate::report::EpochRow;
use crate::{Error, Result, files};
use osteon_kernels::par;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The version of `run.json` that this program writes and reads.
const FORMAT_VERSION: u32 = 1;

/// `run.json`: all that the weights of a run depend on, and their hash after each epoch. Two runs that agree in the configuration
/// and the hashes of their inputs give the same weights, as long as they ran on the same instruction set; that makes a run
/// repeatable, and [`audit::compare`](crate::audit::compare) finds where one went another way. No times: they are in `metrics.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Of the file.
    pub format_version: u32,
    /// Of the program.
    pub version: String,
    /// That the program was built from, `-dirty` where its sources were changed; empty where it was not built from a clone.
    pub commit: String,
    /// That the program was built for, such as `x86_64-unknown-linux-gnu`.
    pub target: String,
    /// Instruction set of the kernels.
    pub isa: String,
    /// Worker threads, of the last process that worked on the run.
    pub threads: usize,
    /// Of the initial weights, the order of studies and augmentation; the configuration has it too.
    pub seed: u64,
    /// Every setting.
    pub configuration: Value,
    /// SHA-256 of the manifest.
    pub manifest: String,
    /// SHA-256 of every file that the manifest names, by the name it has there.
    pub inputs: BTreeMap<String, String>,
    /// SHA-256 of the weights after each epoch: [`Model::weights_hash`](crate::models::Model::weights_hash).
    pub weights: Vec<String>,
    /// The epoch whose weights the model file has: the last, or the best on validation patients; 0 before the first is over.
    #[serde(default)]
    pub chosen_epoch: usize,
}

impl RunRecord {
    /// Of a run by this program on this machine. `manifest` is the name that the manifest has among the `inputs`.
    pub(super) fn new(
        settings: &Settings,
        manifest: &str,
        mut inputs: BTreeMap<String, String>,
        weights: &[String],
        chosen_epoch: usize,
    ) -> Self {
        RunRecord {
            format_version: FORMAT_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("OSTEON_COMMIT").to_owned(),
            target: env!("OSTEON_TARGET").to_owned(),
            isa: Context::default().isa.name().to_owned(),
            threads: par::workers(),
            seed: settings.seed,
            configuration: settings.to_json(),
            manifest: inputs.remove(manifest).unwrap_or_default(),
            inputs,
            weights: weights.to_vec(),
            chosen_epoch,
        }
    }

    /// Writes it into a run's folder.
    pub(super) fn write(&self, folder: &RunFolder) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).expect("plain values are JSON");
        text.push('\n');
        files::write(folder.file(RunFolder::RECORD), text.as_bytes())
    }

    /// Reads that of the run in the folder `path`.
    ///
    /// # Errors
    /// There is none, or it is not one that this program reads.
    pub fn read(path: &Path) -> Result<Self> {
        let file = path.join(RunFolder::RECORD);
        if !file.is_file() {
            let problem = format!("is not the folder of a run (it has no {})", RunFolder::RECORD);
            return Err(Error::file(path, problem, "give the --output folder of `osteon train`"));
        }
        let refused = |problem: String| Error::file(&file, problem, "restore it, or resume or repeat the run");
        let value: Value = serde_json::from_slice(&files::read(&file)?).map_err(|e| refused(format!("is not JSON ({e})")))?;
        match value.get("format_version").and_then(Value::as_u64) {
            Some(version) if version == u64::from(FORMAT_VERSION) => {}
            Some(version) => return Err(refused(format!("has version {version}, and this program reads {FORMAT_VERSION}"))),
            None => return Err(refused("is not the record of a run (it has no format_version)".to_owned())),
        }
        serde_json::from_value(value).map_err(|error| refused(format!("is not the record of a run ({error})")))
    }

    /// Every setting by its key, `section.key` within sections.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        flatten("", &self.configuration, &mut values);
        values
    }
}

/// One epoch, a row of `metrics.csv`. Test columns are empty for an epoch that was not measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Of the epoch's last step.
    pub learning_rate: f32,
    /// Mean cross-entropy over the training studies, each as its step found it; weighted where classes have weights.
    pub train_loss: f64,
    /// Share of training studies classified right, each as its step found it.
    pub train_accuracy: f64,
    /// Mean cross-entropy over the test studies, in inference mode after the epoch.
    pub test_loss: Option<f64>,
    /// Share of test studies classified right.
    pub test_accuracy: Option<f64>,
    /// Mean over the classes of the test studies' F1.
    pub test_f1: Option<f64>,
    /// Mean over the classes of the test studies' AUC, one against rest.
    pub test_auc: Option<f64>,
    /// As `test_loss`, over the validation studies, where there are any.
    pub validation_loss: Option<f64>,
    /// Share of validation studies classified right.
    pub validation_accuracy: Option<f64>,
    /// Mean over the classes of the validation studies' AUC, one against rest.
    pub validation_auc: Option<f64>,
    /// Mean over the steps of the l2 norm of all gradients.
    pub gradient_norm: f64,
    /// Steps that were left out, NaN or infinity being in their loss or gradient; no other column counts them.
    #[serde(default)]
    pub skipped_steps: usize,
    /// Wall-clock time of the training steps.
    pub train_seconds: f64,
    /// Wall-clock time of training and measuring.
    pub seconds: f64,
}

impl From<&Epoch> for EpochRow {
    fn from(epoch: &Epoch) -> Self {
        EpochRow {
            epoch: epoch.epoch,
            learning_rate: epoch.learning_rate.into(),
            train_loss: epoch.train_loss,
            train_accuracy: Some(epoch.train_accuracy),
            test_loss: epoch.test_loss,
            test_accuracy: epoch.test_accuracy,
            test_f1: epoch.test_f1,
            test_auc: epoch.test_auc,
            validation_loss: epoch.validation_loss,
        }
    }
}

impl Epoch {
    /// How good it is on the validation patients, more being better; none where they were not measured.
    fn merit(&self, by: ChooseBy) -> Option<f64> {
        match by {
            ChooseBy::Loss => self.validation_loss.map(|loss| -loss),
            ChooseBy::Auc => self.validation_auc,
        }
    }

    /// The number of the epoch whose weights are the model: the first of the best on validation patients; without such the last; 0 of
    /// none.
    pub fn chosen(epochs: &[Epoch], by: ChooseBy) -> usize {
        let mut best: Option<(f64, usize)> = None;
        for epoch in epochs {
            if let Some(merit) = epoch.merit(by).filter(|&merit| best.is_none_or(|(most, _)| merit > most)) {
                best = Some((merit, epoch.epoch));
            }
        }
        best.map(|(_, epoch)| epoch).or(epochs.last().map(|epoch| epoch.epoch)).unwrap_or(0)
    }

    /// Whether so many measured epochs have passed since the chosen one that training stops early.
    pub(super) fn are_enough(epochs: &[Epoch], by: ChooseBy, patience: usize) -> bool {
        let chosen = Epoch::chosen(epochs, by);
        let since = epochs.iter().filter(|epoch| epoch.epoch > chosen && epoch.merit(by).is_some()).count();
        patience > 0 && since >= patience
    }

    /// Writes a run's record as a whole.
    pub(super) fn write_all(path: &Path, epochs: &[Epoch]) -> Result<()> {
        let mut table = csv::Writer::from_writer(Vec::new());
        for epoch in epochs {
            table.serialize(epoch).expect("a flat row, written to memory");
        }
        files::write(path, &table.into_inner().expect("written to memory"))
    }

    /// Reads a run's record.
    ///
    /// # Errors
    /// It cannot be read, or is no such record.
    pub fn read_all(path: &Path) -> Result<Vec<Epoch>> {
        let bytes = files::read(path)?;
        let rows: Result<Vec<Epoch>, csv::Error> = csv::Reader::from_reader(&bytes[..]).deserialize().collect();
        rows.map_err(|error| Error::file(path, format!("is not the record of a run ({error})"), "restore it, or train again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let measured = Epoch {
            epoch: 1,
            learning_rate: 0.01,
            train_loss: 1.5,
            train_accuracy: 0.25,
            test_loss: Some(1.25),
            test_accuracy: Some(0.5),
            test_f1: Some(0.375),
            test_auc: None,
            validation_loss: Some(1.125),
            validation_accuracy: None,
            validation_auc: None,
            gradient_norm: 2.0,
            skipped_steps: 0,
            train_seconds: 0.0625,
            seconds: 0.125,
        };
        let skipped = Epoch { epoch: 2, test_loss: None, test_accuracy: None, test_f1: None, ..measured };
        Epoch::write_all(&path, &[measured, skipped]).unwrap();
        assert_eq!(Epoch::read_all(&path).unwrap(), [measured, skipped]);
        // Before there were validation patients.
        let columns = "epoch,learning_rate,train_loss,train_accuracy,test_loss,test_accuracy,test_f1,test_auc,gradient_norm,\
                       skipped_steps,train_seconds,seconds";
        std::fs::write(&path, format!("{columns}\n1,0.01,1.5,0.25,1.25,0.5,0.375,,2,0,0.0625,0.125\n")).unwrap();
        assert_eq!(Epoch::read_all(&path).unwrap(), [Epoch { validation_loss: None, ..measured }]);
        std::fs::write(&path, "a,b\n1,2\n").unwrap();
        assert!(Epoch::read_all(&path).unwrap_err().to_string().contains("metrics.csv"));
    }

    #[test]
    fn validation_chooses_the_first_of_the_best() {
        let epoch = |number: usize, loss: f64, auc: f64| Epoch {
            epoch: number,
            learning_rate: 0.01,
            train_loss: 1.0,
            train_accuracy: 0.5,
            test_loss: None,
            test_accuracy: None,
            test_f1: None,
            test_auc: None,
            validation_loss: (loss > 0.0).then_some(loss),
            validation_accuracy: None,
            validation_auc: (auc > 0.0).then_some(auc),
            gradient_norm: 1.0,
            skipped_steps: 0,
            train_seconds: 1.0,
            seconds: 1.0,
        };
        let epochs = [epoch(1, 1.0, 0.5), epoch(2, 0.0, 0.0), epoch(3, 0.8, 0.7), epoch(4, 0.8, 0.6), epoch(5, 0.9, 0.75)];
        assert_eq!((Epoch::chosen(&epochs, ChooseBy::Loss), Epoch::chosen(&epochs, ChooseBy::Auc)), (3, 5));
        assert_eq!(Epoch::chosen(&[], ChooseBy::Loss), 0);
        assert_eq!(Epoch::chosen(&[epoch(1, 0.0, 0.0), epoch(2, 0.0, 0.0)], ChooseBy::Loss), 2, "the last");
        let enough = |patience| Epoch::are_enough(&epochs, ChooseBy::Loss, patience);
        assert!(enough(2) && !enough(3) && !enough(0));
        assert!(!Epoch::are_enough(&epochs, ChooseBy::Auc, 1));
    }
}
