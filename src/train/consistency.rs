//! Whether the files of a run's folder, and the data that it names, are of one run.
//!
//! The model says what it comes from ([`Provenance`]): all else is held against that. A folder of a run that was killed between two of
//! its files passes, since `run.json` is written before the model and lists the weights of every epoch.

use super::settings::flatten;
use super::{RunFolder, RunRecord, Settings};
use crate::archive::manifest::{Manifest, Row};
use crate::models::{Model, Provenance};
use crate::text::Shown;
use crate::{Error, Result, dicom, files};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// SHA-256 of data: of the lines `SHA256  NAME`, sorted by name.
pub(super) fn hash_of_data<'a>(inputs: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let lines: BTreeSet<(&String, &String)> = inputs.into_iter().collect();
    files::sha256(lines.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect::<String>().as_bytes())
}

/// Refuses a folder whose `run.json`, `config.toml` or, where it is `used`, `split.csv` is not of the run that its `model` comes from.
/// What an older or imported model does not say is passed over.
///
/// # Errors
/// One sentence about the first file that is of another run; a model that says its run, without a `run.json`.
pub fn check_folder(folder: &RunFolder, model: &Model, settings: &Settings, split_is_used: bool) -> Result<()> {
    let provenance = model.metadata().provenance.as_ref();
    let Some(record) = record_of(folder, provenance.is_some())? else { return Ok(()) };
    let weights = model.weights_hash();
    let is_listed = match provenance.and_then(|provenance| provenance.epochs.checked_sub(1)) {
        Some(epoch) => record.weights.get(epoch) == Some(&weights),
        None => record.weights.contains(&weights),
    };
    let restore = "restore it, or write it anew with `osteon train --resume`";
    let refuse = |name: &str, problem: String, remedy: &str| Err(Error::file(folder.file(name), problem, remedy));
    if !is_listed {
        let of = provenance.map_or(String::new(), |provenance| format!(" after epoch {}", provenance.epochs));
        let problem = format!("is not the model of this run: {} has other weights{of}", RunFolder::RECORD);
        let remedy = "restore whichever of the two is of another run, or train anew with --force";
        return refuse(RunFolder::MODEL, problem, remedy);
    }
    let Some(Provenance { data, configuration, split, .. }) = provenance else { return Ok(()) };
    if let Some(difference) = difference(configuration, settings) {
        let problem = format!("is not the configuration of this run's model: {difference}");
        return refuse(RunFolder::CONFIG, problem, "restore it as `osteon model info` shows it");
    }
    let manifest = record.configuration.get("manifest").and_then(|path| Path::new(path.as_str()?).file_name()?.to_str());
    let manifest = manifest.unwrap_or_default().to_owned();
    if hash_of_data(record.inputs.iter().chain([(&manifest, &record.manifest)])) != *data {
        let problem = "is not the record of this run's model, which was trained on other data".to_owned();
        return refuse(RunFolder::RECORD, problem, restore);
    }
    if let Some(split) = split.as_ref().filter(|_| split_is_used)
        && files::sha256(&files::read(folder.file(RunFolder::SPLIT))?) != *split
    {
        let problem = "is not the split of this run's model: other patients would count as not trained with".to_owned();
        return refuse(RunFolder::SPLIT, problem, &format!("{restore}, or evaluate with --split all"));
    }
    Ok(())
}

/// The first setting that the weights depend on and that a model says otherwise. Settings from after the model's time are passed over.
fn difference(configuration: &serde_json::Value, settings: &Settings) -> Option<String> {
    let [theirs, ours] = [configuration, &settings.to_json_of_weights()].map(|settings| {
        let mut values = BTreeMap::new();
        flatten("", settings, &mut values);
        values
    });
    let (key, theirs, ours) = theirs.iter().find_map(|(key, theirs)| {
        let ours = ours.get(key).filter(|ours| *ours != theirs)?;
        Some((key, theirs, ours))
    })?;
    Some(format!("{key} is {ours}, and {theirs} in the model"))
}

/// Refuses a manifest, or a file that one of these rows of it names, that does not hold what it held when the folder's run was trained,
/// by its `run.json`; without one everything is passed over. `watch` is called before each file is read, and stops by an error.
///
/// # Errors
/// One sentence about the first such file; a file that cannot be read; whatever `watch` returns.
pub fn check_data(folder: &RunFolder, manifest: &Manifest, rows: &[usize], watch: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    let Some(record) = record_of(folder, false)? else { return Ok(()) };
    let again = format!("evaluate what is there now with --manifest {}", manifest.path.shown());
    let refuse = |path: &Path, problem: &str| Err(Error::file(path, problem, format!("restore it, or {again}")));
    if files::sha256(&files::read(&manifest.path)?) != record.manifest {
        return refuse(&manifest.path, "is not the manifest that the run was trained on: it has changed since");
    }
    // By components, as paths compare, since the manifest may have been named in another way then.
    let here = manifest.path.parent().unwrap_or(Path::new(""));
    let then: BTreeMap<PathBuf, &String> = record.inputs.iter().map(|(name, hash)| (here.join(name), hash)).collect();
    let used: BTreeSet<&Path> = rows.iter().flat_map(|&row| Row::files(&manifest.rows[row])).collect();
    for path in used {
        watch()?;
        let now = files::sha256(&files::read_at_most(path, dicom::MAX_FILE_BYTES)?);
        if then.get(path).is_none_or(|then| **then != now) {
            return refuse(path, "does not hold the scan that the run was trained or tested with: it has changed since");
        }
    }
    Ok(())
}

/// The folder's `run.json`; none where there is none and it is not `needed`.
fn record_of(folder: &RunFolder, needed: bool) -> Result<Option<RunRecord>> {
    let there = needed || folder.file(RunFolder::RECORD).exists();
    there.then(|| RunRecord::read(folder.path())).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_setting_that_differs_is_named() {
        let settings = Settings::default();
        let mut configuration = settings.to_json_of_weights();
        assert_eq!(difference(&configuration, &settings), None);
        // Of before there was such a setting, and what changes no weight.
        configuration.as_object_mut().unwrap().remove("patience");
        let other = Settings { cache_mb: settings.cache_mb + 1, patience: 3, ..settings.clone() };
        assert_eq!(difference(&configuration, &other), None);
        configuration["augmentation"]["rotation_deg"] = json!(2.5);
        let said = difference(&configuration, &settings).unwrap();
        assert_eq!(said, "augmentation.rotation_deg is 5.0, and 2.5 in the model");
    }

    #[test]
    fn the_hash_of_data_is_of_lines_by_name() {
        let inputs = BTreeMap::from([("b".to_owned(), "02".to_owned()), ("a".to_owned(), "01".to_owned())]);
        let manifest = ("ab".to_owned(), "03".to_owned());
        let hash = hash_of_data(inputs.iter().chain([(&manifest.0, &manifest.1)]));
        assert_eq!(hash, files::sha256(b"01  a\n03  ab\n02  b\n"));
    }
}
