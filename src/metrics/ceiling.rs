//! What scores could be at most.

use serde::{Deserialize, Serialize};

/// Scores that one who sees all that a network's input shows would reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// The share of studies that he decides rightly.
    pub accuracy: f64,
    /// The mean over the classes; of two classes, of either.
    pub auc: f64,
}

/// The ceilings of one evaluation, where they are known: of simulated patients. They are estimates, and chance may lift a score above
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Of the classes.
    #[serde(flatten)]
    pub classes: Ceiling,
    /// Of metastatic or not, where the classes merge into these.
    pub metastatic: Option<Ceiling>,
}

impl Ceilings {
    /// What a ceiling is, in one sentence, wherever one is shown.
    pub const MEANING: &str = "\"At most\" is what one reaches who learns from as many simulated patients and sees, in pictures of the \
                               network's input size, each finding that stands out of bone and noise, metastatic and benign alike, but \
                               not which it is.";
}

/// ` of at most 0.88`; nothing where no ceiling is known.
pub fn of_at_most(ceiling: Option<f64>) -> String {
    ceiling.map_or(String::new(), |ceiling| format!(" of at most {ceiling:.2}"))
}
