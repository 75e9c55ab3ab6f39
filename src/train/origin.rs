//! What is recorded of how a run's network came to be, for its card.

use super::{ChooseBy, Recipe, RunFolder, RunRecord, Settings};
use crate::archive::manifest::{Classes, Manifest, ReadOptions};
use crate::archive::split::Split;
use crate::models::Model;
use crate::report::{Origin, SideCounts};
use crate::text::quoted;
use std::collections::BTreeSet;

/// Of a run's model. What is gone or unreadable, such as the run's own manifest, is left out.
pub fn origin(folder: &RunFolder, model: &Model, settings: &Settings) -> Origin {
    let about = model.metadata();
    let record = RunRecord::read(folder.path()).ok();
    let provenance = about.provenance.as_ref();
    let paper = Recipe::Paper.settings_for(&settings.architecture);
    // Which random numbers, and which columns of a table, are no departures.
    let of_this_run = |key: &str| ["seed", "split_seed", "columns", "init_weights"].contains(&key);
    Origin {
        program: provenance.map_or_else(String::new, |run| {
            let commit = if run.commit.is_empty() { "unknown" } else { &run.commit };
            format!("osteon {}, commit {commit}, {}", run.version, run.isa)
        }),
        weights: model.weights_hash(),
        data: provenance.map(|run| run.data.clone()),
        split: provenance.and_then(|run| run.split.clone()),
        sides: sides(folder, settings, &about.classes).unwrap_or_default(),
        same_people: record.map_or(0, |record| record.same_people.len()),
        recipe: settings.recipe.to_string(),
        departures: settings
            .departures(&paper)
            .into_iter()
            .filter(|[key, ..]| !of_this_run(key))
            .map(|row| row.map(|value| value.trim_matches('"').to_owned()))
            .collect(),
        epochs: settings.epochs,
        choice: provenance.map_or_else(String::new, |run| choice(run.epochs, settings)),
        first_weights: first_weights(settings),
        class_weights: settings.class_weights.to_string(),
        temperature: about.temperature,
    }
}

/// Patients and studies by side.
fn sides(folder: &RunFolder, settings: &Settings, classes: &[String]) -> Option<Vec<SideCounts>> {
    let options = ReadOptions { columns: settings.columns.clone(), classes: Classes::Known };
    let manifest = Manifest::read_with(&settings.manifest, &options).ok()?.manifest;
    let split = Split::read(folder.file(RunFolder::SPLIT), &manifest).ok()?;
    let count = |(name, rows): (&str, &Vec<usize>)| {
        let patients: BTreeSet<(&str, &str)> =
            rows.iter().map(|&row| (manifest.person(row), &*manifest.rows[row].label)).collect();
        let of_class = classes.iter().map(|class| patients.iter().filter(|(_, label)| label == class).count());
        let people: BTreeSet<&str> = patients.iter().map(|(person, _)| *person).collect();
        SideCounts { name: name.to_owned(), patients: people.len(), studies: rows.len(), of_class: of_class.collect() }
    };
    let sides = [("training", &split.train), ("validation", &split.validation), ("test", &split.test)];
    Some(sides.into_iter().filter(|(_, rows)| !rows.is_empty()).map(count).collect())
}

/// Which epoch's weights the model has.
fn choice(epoch: usize, settings: &Settings) -> String {
    let best = match settings.choose_by {
        ChooseBy::Loss => "loss on the validation patients was least",
        ChooseBy::Auc => "AUC on the validation patients was greatest",
    };
    match settings.validation_share > 0.0 {
        true => format!("Those of epoch {epoch} of at most {}, whose {best}.", settings.epochs),
        false => format!("Those of epoch {epoch}, the last."),
    }
}

/// Where its training began.
fn first_weights(settings: &Settings) -> String {
    let fitted = if settings.standardise_init { ", fitted to the first images" } else { "" };
    match settings.init.file_name() {
        None => format!("Random, from seed {}{fitted}.", settings.seed),
        Some(file) => format!("Those of another model, {}, SHA-256 {}.", quoted(file), settings.init_weights),
    }
}
