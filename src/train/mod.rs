//! Training: its settings ([`Settings`]), a single step ([`Trainer`]), the loop ([`run`]), and what a run writes ([`RunFolder`],
//! [`RunRecord`], [`Epoch`]).
//!
//! The model that a run keeps is the last epoch's, or the best on validation patients: training patients that do not train. Keeping
//! the one that tests best would choose it by the test studies, and their score would no longer be that of patients never seen.

mod beginning;
mod checkpoint;
mod consistency;
mod diagnosis;
mod event;
mod events;
mod folder;
mod memory;
mod origin;
mod prepared;
mod rate_test;
mod recipe;
mod record;
mod run;
mod settings;
mod trainer;

pub use crate::metrics::Epoch;
pub use checkpoint::check_checkpoint;
pub use consistency::{check_data, check_folder};
pub use diagnosis::{Diagnosis, LayerState, Snapshot, diagnose};
pub use event::{Event, Start};
pub use folder::RunFolder;
pub use memory::peak_bytes;
pub use origin::origin;
pub use prepared::{BegunWith, training_studies};
pub use rate_test::{Proposals, RATE_STEPS, RatePoint, RateTest, find_rate};
pub use recipe::{ClassWeights, FAMILIES, Family, Recipe};
pub use record::RunRecord;
pub use run::{is_over, run, seen_by};
pub use settings::{ChooseBy, OnNan, ScheduleName, Settings, positive_class};
pub use trainer::{Regularisation, StepMetrics, Trainer};
