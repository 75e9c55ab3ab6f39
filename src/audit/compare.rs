//! Whether two runs are the same, and where they first differ: from what they were told to what came of it.

use crate::models::{FORMAT, METADATA_HASH, PROVENANCE, TRAINING_STUDIES};
use crate::tensor::file::TensorFile;
use crate::text::{Shown, counted};
use crate::train::{RunFolder, RunRecord, Settings};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What two runs have in common, and what not. Each difference is a line that says where it is and names both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Causes before effects: keys of the configuration, inputs, the program, the first epoch with other weights, the models. Empty
    /// where the runs are the same.
    pub differences: Vec<String>,
    /// What differs and changes no bit.
    pub without_effect: Vec<String>,
    /// Input files that both have, equal in every byte.
    pub inputs: usize,
    /// Epochs from the first on after which both had the same weights.
    pub epochs: usize,
    /// Whether both have a model, equal in every bit.
    pub models: bool,
}

/// Compares the records and models of two run folders.
///
/// # Errors
/// A folder that is no run's, a record or model that cannot be read.
pub fn compare(run_a: impl AsRef<Path>, run_b: impl AsRef<Path>) -> Result<Comparison> {
    let paths = [run_a.as_ref(), run_b.as_ref()];
    let [a, b] = [RunRecord::read(paths[0])?, RunRecord::read(paths[1])?];
    let names = paths.map(|path| path.shown());
    let told = |what: &str, sides: [Option<&str>; 2]| {
        let [a, b] = sides.map(|value| value.unwrap_or("nothing"));
        format!("{what} is {a} in {} and {b} in {}", names[0], names[1])
    };
    let (mut differences, mut without_effect) = (Vec::new(), Vec::new());

    let epochs = a.weights.iter().zip(&b.weights).take_while(|(a, b)| a == b).count();
    let same_weights = epochs == a.weights.len().max(b.weights.len());

    for (key, sides) in unequal(&a.settings(), &b.settings()) {
        let harmless = Settings::WITHOUT_EFFECT.contains(&key) || key == "on_nan" && same_weights;
        let place = if harmless { &mut without_effect } else { &mut differences };
        place.push(told(key, sides));
    }

    let inputs = unequal(&a.inputs, &b.inputs);
    if let Some((first, sides)) = inputs.first() {
        let more = if inputs.len() > 1 { format!(", as {} more", inputs.len() - 1) } else { String::new() };
        differences.push(match sides {
            [Some(_), Some(_)] => format!("the input {first} is not the same in both{more}"),
            [Some(_), None] => format!("the input {first} is only in {}{more}", names[0]),
            [None, _] => format!("the input {first} is only in {}{more}", names[1]),
        });
    }
    if a.manifest != b.manifest {
        differences.push(told("the hash of the manifest", [Some(&a.manifest), Some(&b.manifest)]));
    }

    // A program or processor is to blame only if something came out differently.
    let program = if same_weights { &mut without_effect } else { &mut differences };
    for ((what, a), (_, b)) in a.machines().iter().zip(&b.machines()) {
        if a != b {
            program.push(told(what, [a, b].map(|text| Some(text.as_str()).filter(|text| !text.is_empty()))));
        }
    }
    let threads = [&a, &b].map(|record| record.threads.to_string());
    if threads[0] != threads[1] {
        without_effect.push(told("the number of threads", [Some(&threads[0]), Some(&threads[1])]));
    }

    if !same_weights {
        let lengths = [a.weights.len(), b.weights.len()];
        differences.push(if epochs < lengths[0].min(lengths[1]) {
            format!("the weights after epoch {} are the first that are not the same", epochs + 1)
        } else {
            format!("{} has {} and {} has {}", names[0], counted(lengths[0], "epoch"), names[1], lengths[1])
        });
    }
    let models = paths.map(|path| path.join(RunFolder::MODEL));
    let there = models.each_ref().map(|model| model.is_file());
    match there {
        [true, true] => differences.extend(between_models(&TensorFile::read(&models[0])?, &TensorFile::read(&models[1])?)?),
        [false, false] => {}
        [only_a, _] => differences.push(format!("only {} has a {}", names[usize::from(!only_a)], RunFolder::MODEL)),
    }
    let inputs = a.inputs.len() - a.inputs.iter().filter(|(name, hash)| b.inputs.get(*name) != Some(hash)).count();
    let models = there == [true, true] && differences.is_empty();
    Ok(Comparison { differences, without_effect, inputs, epochs, models })
}

/// The entries of two tables that are not the same in both.
fn unequal<'a>(a: &'a BTreeMap<String, String>, b: &'a BTreeMap<String, String>) -> Vec<(&'a str, [Option<&'a str>; 2])> {
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let sides = |key: &'a String| (key.as_str(), [a, b].map(|table| table.get(key).map(String::as_str)));
    keys.into_iter().map(sides).filter(|(_, [a, b])| a != b).collect()
}

/// The first tensor by name that two models do not share bit for bit, and how much of it; else what they say about themselves.
fn between_models(a: &TensorFile, b: &TensorFile) -> Result<Option<String>> {
    let names: BTreeSet<&str> = a.names().chain(b.names()).collect();
    let (mut tensors, mut first) = (0, None);
    for name in names {
        let difference = match [a, b].map(|archive| archive.names().any(|own| own == name)) {
            [true, true] => {
                let [(shape_a, values_a), (shape_b, values_b)] = [a.float_bytes(name)?, b.float_bytes(name)?];
                let different = values_a.iter().zip(values_b).filter(|(a, b)| a != b).count();
                if shape_a != shape_b {
                    format!("`{name}` of the models has shape {shape_a:?} and {shape_b:?}")
                } else if different > 0 {
                    format!("`{name}` of the models differs in {different} of {} values", values_a.len())
                } else {
                    continue;
                }
            }
            [only_a, _] => format!("`{name}` is only in {}", if only_a { a } else { b }.path().shown()),
        };
        tensors += 1;
        first.get_or_insert(difference);
    }
    Ok(match (first, tensors) {
        (Some(first), 1) => Some(first),
        (Some(first), more) => Some(format!("{first}, the first of {more} such tensors")),
        // Of how the models came about the runs' records tell, and the hash of all that they say is another then; an older file does not
        // have the counts, and has an older format.
        (None, _) => unequal(a.metadata(), b.metadata())
            .iter()
            .find(|(key, [a, b])| match *key {
                PROVENANCE | METADATA_HASH | FORMAT => false,
                key => key != TRAINING_STUDIES || a.is_some() && b.is_some(),
            })
            .map(|(key, [a, b])| format!("the models' `{key}` is {} and {}", a.unwrap_or("missing"), b.unwrap_or("missing"))),
    })
}

impl Comparison {
    /// That the runs are the same.
    ///
    /// # Errors
    /// They are not; says where they first differ.
    pub fn expect_same(&self) -> Result<()> {
        match self.differences.first() {
            None => Ok(()),
            Some(first) => Err(Error::failed("the runs are not the same", format!("the first difference: {first}"))),
        }
    }
}
