//! Osteon reads whole-body bone scans, fuses their two views and says whether they show metastasis of lung cancer, and of
//! which kind. Research software, not a medical device.

pub mod audit;
pub mod autograd;
pub mod cli;
pub mod data;
pub mod error;
pub mod files;
pub mod metrics;
pub mod models;
pub mod nn;
pub mod optim;
pub mod predict;
pub mod report;
pub mod tensor;
pub mod train;

pub use error::{Error, Result};
