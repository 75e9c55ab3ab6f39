//! Osteon reads whole-body bone scans, fuses their two views and says whether they show metastasis of lung cancer, and of
//! which kind. Research software, not a medical device.
//!
//! ```
//! use osteon::{intake::Study, models::Model, phantom, predict, prepare::Preprocessing};
//!
//! # fn main() -> osteon::Result<()> {
//! let patient = phantom::simulate(&phantom::PhantomOptions::default(), 0);
//! let study = Study { anterior: Some(patient.anterior), posterior: Some(patient.posterior), ..Study::default() };
//! let classes = ["NoMet", "ADMet", "nADMet"].map(String::from);
//! let model = Model::new("inrac", &classes, [64, 32], Preprocessing::default(), 1)?;
//! let case = predict::case(&model.into(), "patient 1", &study, true)?;
//! assert!((case.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
//! assert!(case.evidence.is_some(), "what speaks for the answer");
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//!
//! Work is split over the threads of the [`Pool`] that [runs](Pool::run) it, and gives the same bits for any number of them. Outside of
//! one it runs on rayon's global pool, whose threads keep denormal values as they are: then results that are nearly zero may have other
//! bits than those of the program, which runs everything in a pool. A caller that compares bits runs in a pool too.

pub mod annotation;
pub mod archive;
pub mod audit;
pub mod autograd;
mod cli;
pub mod dicom;
pub mod draw;
pub mod error;
mod files;
mod huge_pages;
pub mod image;
pub mod intake;
pub mod interrupt;
mod memory;
pub mod metrics;
pub mod models;
pub mod nn;
pub mod optim;
pub mod phantom;
pub mod predict;
pub mod prepare;
mod random;
pub mod report;
pub mod reproduce;
pub mod tensor;
mod text;
pub mod train;

#[doc(hidden)] // of the program
pub use cli::main;
pub use error::{Error, Result};
pub use huge_pages::HugePages;
/// The arithmetic on slices, whose shapes some signatures name.
pub use osteon_kernels as kernels;
pub use osteon_kernels::{par::Pool, simd::Isa};

/// Stands on every page, picture and model that leaves the program.
pub const DISCLAIMER: &str = "Research software, not a medical device.";

/// The README's Rust compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
