//! What a run writes down: a row an epoch.

use crate::report::EpochRow;
use crate::{Error, Result, files};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One epoch, a row of `metrics.csv`. Test columns are empty for an epoch that was not measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Of the epoch's last step.
    pub learning_rate: f32,
    /// Mean cross-entropy over the training studies, each as its step found it.
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
    /// Mean over the steps of the l2 norm of all gradients.
    pub gradient_norm: f64,
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
        }
    }
}

impl Epoch {
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
            gradient_norm: 2.0,
            train_seconds: 0.0625,
            seconds: 0.125,
        };
        let skipped = Epoch { epoch: 2, test_loss: None, test_accuracy: None, test_f1: None, ..measured };
        Epoch::write_all(&path, &[measured, skipped]).unwrap();
        assert_eq!(Epoch::read_all(&path).unwrap(), [measured, skipped]);
        std::fs::write(&path, "a,b\n1,2\n").unwrap();
        assert!(Epoch::read_all(&path).unwrap_err().to_string().contains("metrics.csv"));
    }
}
