//! What is measured of one epoch of training: the row that training writes and that curves are drawn from.

use serde::{Deserialize, Serialize};

/// One epoch, a row of `metrics.csv`. Columns are empty for what was not measured: where validation patients choose, those of test
/// studies, whose scores stay unknown until the run is evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// What the logits were divided by, so that the validation studies' loss is least; the validation columns are of those.
    #[serde(default)]
    pub temperature: Option<f64>,
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

/// Of the studies that are held out from training and measured in it: validation studies where there are any, else test studies.
impl Epoch {
    /// Their mean cross-entropy.
    pub fn held_out_loss(&self) -> Option<f64> {
        self.validation_loss.or(self.test_loss)
    }

    /// Share of them classified right.
    pub fn held_out_accuracy(&self) -> Option<f64> {
        self.validation_accuracy.or(self.test_accuracy)
    }

    /// Mean over the classes of their AUC, one against rest.
    pub fn held_out_auc(&self) -> Option<f64> {
        self.validation_auc.or(self.test_auc)
    }
}
