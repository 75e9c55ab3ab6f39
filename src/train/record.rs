//! What a run writes down: a row an epoch, and which study trained.

use crate::Result;
use crate::files;
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
    /// Mean over the steps of the l2 norm of all gradients.
    pub gradient_norm: f64,
    /// Wall-clock time of training and measuring.
    pub seconds: f64,
}

/// Rows as CSV with a header, the file replaced as a whole.
pub(super) fn write_csv<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).expect("rows are flat and go to memory");
    }
    files::write(path, &writer.into_inner().expect("writing to memory"))
}
