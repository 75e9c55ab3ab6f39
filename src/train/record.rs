//! What a run writes down: what it is and what came of it ([`RunRecord`]), who computed it ([`Process`]), and a row an epoch ([`Epoch`]).

use super::settings::flatten;
use super::{ChooseBy, RunFolder, Settings};
use crate::archive::seen::Seen;
use crate::autograd::Context;
use crate::metrics::Epoch;
use crate::models::{Process, StudyCounts};
use crate::{Error, Result, files};
use osteon_kernels::par;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The version of `run.json` that this program writes and reads.
const FORMAT_VERSION: u32 = 1;

impl Process {
    /// This process, which begins in `epoch` after `steps` steps of it.
    pub(super) fn this(epoch: usize, steps: usize) -> Self {
        Process {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("OSTEON_COMMIT").to_owned(),
            target: env!("OSTEON_TARGET").to_owned(),
            isa: Context::default().isa.name().to_owned(),
            threads: par::workers(),
            epoch,
            steps,
        }
    }

    /// Whether the other has the same build and instruction set, so that it computes the same bits.
    pub fn computes_like(&self, other: &Process) -> bool {
        self.isa == other.isa && self.build() == other.build()
    }

    fn build(&self) -> [&str; 3] {
        [&self.version, &self.commit, &self.target]
    }

    /// What to say where a run that `self` worked on is to go on with `next`, which computes other bits: the problem and its remedy.
    pub(super) fn refusal(&self, next: &Process) -> (String, String) {
        let (isa, build) = (self.isa != next.isa, self.build() != next.build());
        let of = |process: &Process| {
            let [version, commit, target] = process.build();
            let commit = if commit.is_empty() { "unknown" } else { commit };
            let build = build.then(|| format!("osteon {version} (commit {commit}, {target})"));
            let isa = isa.then(|| format!("the instruction set {}", process.isa));
            isa.into_iter().chain(build).collect::<Vec<_>>().join(" and ")
        };
        let problem = format!("was made with {}, and would go on with {}, which may compute other bits", of(self), of(next));
        let same = isa.then(|| format!("--isa {}", self.isa)).into_iter().chain(build.then(|| "that build".to_owned()));
        let same = same.collect::<Vec<_>>().join(" and ");
        (problem, format!("resume with {same}, or with --allow-other-isa"))
    }
}

/// `run.json`: all that the weights of a run depend on, and their hash after each epoch. Two runs that agree in the configuration
/// and the hashes of their inputs give the same weights, as long as all their processes ran on the same instruction set; that makes a
/// run repeatable, and [`audit::compare`](crate::audit::compare) finds where one went another way. No times: they are in `metrics.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Of the file.
    pub format_version: u32,
    /// Of the program.
    pub version: String,
    /// That the program was built from, `-dirty` where its sources were changed; empty where it was not built from a clone.
    pub commit: String,
    /// That the program was built for, such as `x86_64-unknown-linux-gnu`.
    pub target: String,
    /// Instruction set of the kernels.
    pub isa: String,
    /// Worker threads.
    pub threads: usize,
    /// Every process that took part, in order; program, instruction set and threads above are those of the last. Empty in records
    /// from before it was kept.
    #[serde(default)]
    pub processes: Vec<Process>,
    /// Of the initial weights, the order of studies and augmentation; the configuration has it too.
    pub seed: u64,
    /// Every setting.
    pub configuration: Value,
    /// SHA-256 of the manifest.
    pub manifest: String,
    /// SHA-256 of every file that the manifest names, by the name it has there.
    pub inputs: BTreeMap<String, String>,
    /// By scan, as the manifest names it: its views, and what decided which is which (`anterior by view code`). Empty where nobody looked
    /// at the scans before the training.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub views: BTreeMap<String, String>,
    /// Pseudonyms that were found to be one person's, and were kept on one side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub same_people: Vec<Vec<String>>,
    /// Test files that held other bytes when the run was resumed than when it began, by the names that the manifest has for them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub mended: BTreeSet<String>,
    /// How many studies train, and how many of these are simulated; `None` in records from before this was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_studies: Option<StudyCounts>,
    /// SHA-256 of the weights after each epoch: [`Model::weights_hash`](crate::models::Model::weights_hash).
    pub weights: Vec<String>,
    /// The epoch whose weights the model file has: the last, or the best on validation patients; 0 before the first is over.
    #[serde(default)]
    pub chosen_epoch: usize,
}

impl RunRecord {
    /// Of a run by these processes, of which there is one at least. `manifest` is the name that the manifest has among the `inputs`.
    pub(super) fn new(
        settings: &Settings,
        manifest: &str,
        mut inputs: BTreeMap<String, String>,
        processes: &[Process],
        training_studies: StudyCounts,
        weights: &[String],
        chosen_epoch: usize,
        seen: &Seen,
        mended: &BTreeSet<String>,
    ) -> Self {
        let Process { version, commit, target, isa, threads, .. } = processes.last().expect("a run has a process").clone();
        RunRecord {
            format_version: FORMAT_VERSION,
            version,
            commit,
            target,
            isa,
            threads,
            processes: processes.to_vec(),
            seed: settings.seed,
            configuration: settings.to_json(),
            manifest: inputs.remove(manifest).unwrap_or_default(),
            inputs,
            views: seen.views.clone(),
            same_people: seen.same_people.clone(),
            mended: mended.clone(),
            training_studies: Some(training_studies),
            weights: weights.to_vec(),
            chosen_epoch,
        }
    }

    /// Writes it into a run's folder.
    pub(super) fn write(&self, folder: &RunFolder) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).expect("plain values are JSON");
        text.push('\n');
        files::write(folder.file(RunFolder::RECORD), text.as_bytes())
    }

    /// Reads that of the run in the folder `path`.
    ///
    /// # Errors
    /// There is none, or it is not one that this program reads.
    pub fn read(path: &Path) -> Result<Self> {
        let file = path.join(RunFolder::RECORD);
        if !file.is_file() {
            let problem = format!("is not the folder of a run (it has no {})", RunFolder::RECORD);
            return Err(Error::file(path, problem, "give the --output folder of `osteon train`"));
        }
        let refused = |problem: String| Error::file(&file, problem, "restore it, or resume or repeat the run");
        let value: Value = serde_json::from_slice(&files::read(&file)?).map_err(|e| refused(format!("is not JSON ({e})")))?;
        match value.get("format_version").and_then(Value::as_u64) {
            Some(version) if version == u64::from(FORMAT_VERSION) => {}
            Some(version) => return Err(refused(format!("has version {version}, and this program reads {FORMAT_VERSION}"))),
            None => return Err(refused("is not the record of a run (it has no format_version)".to_owned())),
        }
        serde_json::from_value(value).map_err(|error| refused(format!("is not the record of a run ({error})")))
    }

    /// The processes that took part. Records from before these were kept know the last one; where it began they do not, and it counts
    /// as the first.
    pub fn processes(&self) -> Vec<Process> {
        let RunRecord { version, commit, target, isa, threads, processes, .. } = self.clone();
        if processes.is_empty() { vec![Process { version, commit, target, isa, threads, epoch: 1, steps: 0 }] } else { processes }
    }

    /// What the program and its machine were, with names for messages: each value that the last process has, and where other processes
    /// had others, all of them in order.
    pub fn machines(&self) -> [(&'static str, String); 4] {
        let all = |last: &str, of: fn(&Process) -> &String| {
            let mut values: Vec<&str> = self.processes.iter().map(|process| of(process).as_str()).collect();
            values.dedup();
            if values.len() > 1 { values.join(" and then ") } else { last.to_owned() }
        };
        [
            ("the version", all(&self.version, |process| &process.version)),
            ("the commit", all(&self.commit, |process| &process.commit)),
            ("the target", all(&self.target, |process| &process.target)),
            ("the instruction set", all(&self.isa, |process| &process.isa)),
        ]
    }

    /// Every setting by its key, `section.key` within sections.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        flatten("", &self.configuration, &mut values);
        values
    }
}

impl Epoch {
    /// How good it is on the validation patients, more being better; none where they were not measured.
    fn merit(&self, by: ChooseBy) -> Option<f64> {
        match by {
            ChooseBy::Loss => self.validation_loss.map(|loss| -loss),
            ChooseBy::Auc => self.validation_auc,
        }
    }

    /// The number of the epoch whose weights are the model: the first of the best on validation patients; without such the last; 0 of
    /// none.
    pub fn chosen(epochs: &[Epoch], by: ChooseBy) -> usize {
        let mut best: Option<(f64, usize)> = None;
        for epoch in epochs {
            if let Some(merit) = epoch.merit(by).filter(|&merit| best.is_none_or(|(most, _)| merit > most)) {
                best = Some((merit, epoch.epoch));
            }
        }
        best.map(|(_, epoch)| epoch).or(epochs.last().map(|epoch| epoch.epoch)).unwrap_or(0)
    }

    /// Whether so many measured epochs have passed since the chosen one that training stops early.
    pub(super) fn are_enough(epochs: &[Epoch], by: ChooseBy, patience: usize) -> bool {
        let chosen = Epoch::chosen(epochs, by);
        let since = epochs.iter().filter(|epoch| epoch.epoch > chosen && epoch.merit(by).is_some()).count();
        patience > 0 && since >= patience
    }

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
            validation_loss: Some(1.125),
            validation_accuracy: None,
            validation_auc: None,
            temperature: Some(1.5),
            gradient_norm: 2.0,
            skipped_steps: 0,
            train_seconds: 0.0625,
            seconds: 0.125,
        };
        let skipped = Epoch { epoch: 2, test_loss: None, test_accuracy: None, test_f1: None, ..measured };
        Epoch::write_all(&path, &[measured, skipped]).unwrap();
        assert_eq!(Epoch::read_all(&path).unwrap(), [measured, skipped]);
        // Before there were validation patients.
        let columns = "epoch,learning_rate,train_loss,train_accuracy,test_loss,test_accuracy,test_f1,test_auc,gradient_norm,\
                       skipped_steps,train_seconds,seconds";
        std::fs::write(&path, format!("{columns}\n1,0.01,1.5,0.25,1.25,0.5,0.375,,2,0,0.0625,0.125\n")).unwrap();
        assert_eq!(Epoch::read_all(&path).unwrap(), [Epoch { validation_loss: None, temperature: None, ..measured }]);
        std::fs::write(&path, "a,b\n1,2\n").unwrap();
        assert!(Epoch::read_all(&path).unwrap_err().to_string().contains("metrics.csv"));
    }

    #[test]
    fn validation_chooses_the_first_of_the_best() {
        let epoch = |number: usize, loss: f64, auc: f64| Epoch {
            epoch: number,
            learning_rate: 0.01,
            train_loss: 1.0,
            train_accuracy: 0.5,
            test_loss: None,
            test_accuracy: None,
            test_f1: None,
            test_auc: None,
            validation_loss: (loss > 0.0).then_some(loss),
            validation_accuracy: None,
            validation_auc: (auc > 0.0).then_some(auc),
            temperature: None,
            gradient_norm: 1.0,
            skipped_steps: 0,
            train_seconds: 1.0,
            seconds: 1.0,
        };
        let epochs = [epoch(1, 1.0, 0.5), epoch(2, 0.0, 0.0), epoch(3, 0.8, 0.7), epoch(4, 0.8, 0.6), epoch(5, 0.9, 0.75)];
        assert_eq!((Epoch::chosen(&epochs, ChooseBy::Loss), Epoch::chosen(&epochs, ChooseBy::Auc)), (3, 5));
        assert_eq!(Epoch::chosen(&[], ChooseBy::Loss), 0);
        assert_eq!(Epoch::chosen(&[epoch(1, 0.0, 0.0), epoch(2, 0.0, 0.0)], ChooseBy::Loss), 2, "the last");
        let enough = |patience| Epoch::are_enough(&epochs, ChooseBy::Loss, patience);
        assert!(enough(2) && !enough(3) && !enough(0));
        assert!(!Epoch::are_enough(&epochs, ChooseBy::Auc, 1));
    }
}
