//! Training, validation and test patients: by patient, stratified by class, seeded (paper: Experimental setup; 70:30, and no
//! patient on both sides).

use super::fingerprints::Fingerprints;
use super::manifest::Manifest;
use super::side::Side;
use crate::random::{Purpose, shuffle, stream};
use crate::text::{Shown, counted};
use crate::text::{guard, unguard};
use crate::{Error, Result, files};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// The share of patients for training in the paper.
pub const PAPER_TRAIN_SHARE: f64 = 0.7;

/// Rows of a manifest, each on one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Rows to train with, in the manifest's order.
    pub train: Vec<usize>,
    /// Rows that choose the epoch, in the manifest's order: of training patients that do not train. Most splits have none.
    pub validation: Vec<usize>,
    /// Rows to test with, in the manifest's order.
    pub test: Vec<usize>,
}

/// Divides a manifest's patients. Each class gives `train_share` of its patients, to the nearest patient, and where it has two
/// or more at least one to either side. A patient with scans of several classes counts as the last of them in the manifest's
/// order, the metastatic one. Pseudonyms that are known to be one person's ([`Manifest::seen`]) count as one patient. The order of rows
/// does not matter.
///
/// # Errors
/// A share that is not between 0 and 1; a manifest whose patients cannot fill both sides.
pub fn split(manifest: &Manifest, train_share: f64, seed: u64) -> Result<Split> {
    if !(train_share > 0.0 && train_share < 1.0) {
        return Err(Error::setting(
            format!("the share for training is {train_share}"),
            "choose one between 0 and 1, such as 0.7",
        ));
    }
    let rows: Vec<usize> = (0..manifest.rows.len()).collect();
    let [train, test] = divide(manifest, &rows, train_share, Purpose::Split, seed)?;
    let split = Split { train, test, ..Split::default() };
    if split.train.is_empty() || split.test.is_empty() {
        let patients: HashSet<&str> = manifest.rows.iter().map(|row| row.patient.as_str()).collect();
        let problem = format!("has too few patients ({}) for a training and a test side", patients.len());
        return Err(Error::file(&manifest.path, problem, "add patients, or choose another share"));
    }
    split.check(manifest)?;
    Ok(split)
}

/// Divides `rows` by patient: those of about `share` of each class's patients, and the others.
fn divide(manifest: &Manifest, rows: &[usize], share: f64, purpose: Purpose, seed: u64) -> Result<[Vec<usize>; 2]> {
    let mut is_first: HashMap<&str, bool> = HashMap::new();
    // Rounding errors are carried from class to class, so that the whole comes out at the share too.
    let mut owed = 0.0;
    for (class, mut patients) in patients_by_class(manifest, rows)?.into_iter().enumerate() {
        shuffle(&mut stream(purpose, seed, class as u64, 0), &mut patients);
        let wanted = patients.len() as f64 * share + owed;
        let (least, most) = if patients.len() > 1 { (1, patients.len() - 1) } else { (0, patients.len()) };
        let count = (wanted.round().max(0.0) as usize).clamp(least, most);
        owed = (wanted - count as f64).clamp(-0.5, 0.5);
        is_first.extend(patients.iter().enumerate().map(|(at, patient)| (*patient, at < count)));
    }
    let (first, others) = rows.iter().partition(|row| is_first[manifest.person(**row)]);
    Ok([first, others])
}

/// The patients of each class, by name, among those of `rows`. A patient with scans of several classes counts as the last of them
/// in the order of classes.
fn patients_by_class<'a>(manifest: &'a Manifest, rows: &[usize]) -> Result<Vec<Vec<&'a str>>> {
    let labels = manifest.labels(&manifest.classes)?;
    let mut class_of: BTreeMap<&str, u32> = BTreeMap::new();
    for &row in rows {
        let label = labels[row];
        class_of.entry(manifest.person(row)).and_modify(|class| *class = label.max(*class)).or_insert(label);
    }
    let mut patients = vec![Vec::new(); manifest.classes.len()];
    class_of.into_iter().for_each(|(patient, class)| patients[class as usize].push(patient));
    Ok(patients)
}

/// `k` splits for a cross-validation by patient: each patient is tested in exactly one. Stratified by class as [`split`] is; the
/// counts of patients that two folds test differ by at most one. The order of rows does not matter.
///
/// # Errors
/// `k` below 2; a class with fewer than `k` patients; a manifest of one class, or a fold that would train or test without one
/// (where all scans of a class are of patients who count as another).
pub fn folds(manifest: &Manifest, k: usize, seed: u64) -> Result<Vec<Split>> {
    if k < 2 {
        return Err(Error::setting(
            format!("a cross-validation of {k} folds has nothing to train with"),
            "choose at least 2 folds",
        ));
    }
    let rows: Vec<usize> = (0..manifest.rows.len()).collect();
    let fold_of = dealt(manifest, &rows, k, Purpose::Folds, seed)?;
    let fold = |fold: usize| {
        let (test, train) = (0..manifest.rows.len()).partition(|&row| fold_of[manifest.person(row)] == fold);
        let split = Split { train, test, ..Split::default() };
        split.check(manifest)?;
        split.check_classes(manifest)?;
        Ok(split)
    };
    (0..k).map(fold).collect()
}

/// The patients of `rows` dealt to `k` folds, each class by itself.
fn dealt<'a>(manifest: &'a Manifest, rows: &[usize], k: usize, purpose: Purpose, seed: u64) -> Result<HashMap<&'a str, usize>> {
    let mut fold_of: HashMap<&str, usize> = HashMap::new();
    for (class, mut patients) in patients_by_class(manifest, rows)?.into_iter().enumerate() {
        if patients.len() < k {
            let problem =
                format!("has {} of {}, too few for {k} folds", counted(patients.len(), "patient"), manifest.classes[class]);
            return Err(Error::file(&manifest.path, problem, "choose fewer folds, or add patients"));
        }
        shuffle(&mut stream(purpose, seed, class as u64, 0), &mut patients);
        // Dealt on where the class before stopped, so that the sizes of folds are even.
        patients.into_iter().for_each(|patient| {
            let next = fold_of.len() % k;
            fold_of.insert(patient, next);
        });
    }
    Ok(fold_of)
}

/// The sides of a split by the names that a file has for them.
const SIDES: [&str; 3] = ["train", "validation", "test"];

impl Split {
    /// Takes `share` of each class's training patients out of training, to the nearest patient, for validation. Test patients
    /// stay what they are.
    ///
    /// # Errors
    /// A share that is not between 0 and 1; training patients that cannot fill both sides.
    pub fn with_validation(self, manifest: &Manifest, share: f64, seed: u64) -> Result<Self> {
        if !(share > 0.0 && share < 1.0) {
            return Err(Error::setting(
                format!("the share for validation is {share}"),
                "choose one between 0 and 1, such as 0.15",
            ));
        }
        let [validation, train] = divide(manifest, &self.train, share, Purpose::Validation, seed)?;
        if train.is_empty() || validation.is_empty() {
            let problem = format!("leaves too few training patients for a share of {share} to choose the epoch by");
            return Err(Error::file(&manifest.path, problem, "add patients, or train with --validation-share 0"));
        }
        let split = Split { train, validation, ..self };
        split.check(manifest)?;
        Ok(split)
    }

    /// Takes one of `folds` parts of the training patients, from 1, out of training for validation. Each patient is in one of the parts;
    /// test patients stay what they are.
    ///
    /// # Errors
    /// A part that there is not; a class with fewer training patients than parts.
    pub fn with_fold(self, manifest: &Manifest, fold: usize, folds: usize, seed: u64) -> Result<Self> {
        if folds < 2 || !(1..=folds).contains(&fold) {
            return Err(Error::setting(format!("there is no fold {fold} of {folds}"), "choose one from 1, and at least 2 folds"));
        }
        let fold_of = dealt(manifest, &self.train, folds, Purpose::Validation, seed)?;
        let (validation, train) = self.train.iter().partition(|row| fold_of[manifest.person(**row)] == fold - 1);
        let split = Split { train, validation, ..self };
        split.check(manifest)?;
        Ok(split)
    }

    /// Rows of each of the [`SIDES`].
    fn sides(&self) -> [&Vec<usize>; 3] {
        [&self.train, &self.validation, &self.test]
    }

    /// The split that a manifest's rows tell themselves, if they do.
    pub fn of_sides(manifest: &Manifest) -> Option<Self> {
        let on_side = |side| (0..manifest.rows.len()).filter(|&row| manifest.rows[row].side == Some(side)).collect();
        let [train, validation, test] = [Side::Train, Side::Validation, Side::Test].map(on_side);
        let split = Split { train, validation, test };
        let is_told = split.sides().iter().any(|rows| !rows.is_empty());
        is_told.then_some(split)
    }

    /// The manifest with the side that this split puts each of its rows on.
    ///
    /// # Errors
    /// As [`Split::check`]; a row that is on no side.
    pub fn with_sides(&self, manifest: &Manifest) -> Result<Manifest> {
        self.check(manifest)?;
        let mut rows = manifest.rows.clone();
        rows.iter_mut().for_each(|row| row.side = None);
        for (side, on) in [Side::Train, Side::Validation, Side::Test].into_iter().zip(self.sides()) {
            on.iter().for_each(|&row| rows[row].side = Some(side));
        }
        if rows.iter().any(|row| row.side.is_none()) {
            return Err(Error::file(
                &manifest.path,
                "has rows that the split puts on no side",
                "give the manifest that was split",
            ));
        }
        Manifest::new(&manifest.path, rows)
    }

    /// Refuses a split that cannot be trained or tested with: a manifest of one class, a class without a scan on one side.
    ///
    /// # Errors
    /// One sentence about the first such class.
    pub fn check_classes(&self, manifest: &Manifest) -> Result<()> {
        if let [only] = &manifest.classes[..] {
            let problem = format!("has the one class {only}, which leaves nothing to tell apart");
            return Err(Error::file(&manifest.path, problem, "add studies of another class"));
        }
        for class in &manifest.classes {
            let of_class = |row: &&usize| manifest.rows[**row].label == *class;
            for (name, rows) in [("train with", &self.train), ("test with", &self.test)] {
                if !rows.iter().any(|row| of_class(&row)) {
                    let patients: HashSet<&str> =
                        manifest.rows.iter().filter(|row| row.label == *class).map(|row| row.patient.as_str()).collect();
                    let problem =
                        format!("leaves no study of {class} to {name}: the class has {}", counted(patients.len(), "patient"));
                    return Err(Error::file(
                        &manifest.path,
                        problem,
                        "add patients, choose another share, or leave the class out",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Refuses a split that could flatter a test: a patient or a row on both sides, a row that the manifest lacks.
    ///
    /// # Errors
    /// One sentence naming the first such patient or row.
    pub fn check(&self, manifest: &Manifest) -> Result<()> {
        let mut side_of: HashMap<&str, &str> = HashMap::new();
        let mut seen = vec![false; manifest.rows.len()];
        let sides = SIDES.into_iter().zip(self.sides());
        for (side, row) in sides.flat_map(|(side, rows)| rows.iter().map(move |row| (side, *row))) {
            let fail = |problem: String| {
                Err(Error::file(&manifest.path, problem, "give the manifest and the split that belong together"))
            };
            let Some(study) = manifest.rows.get(row) else {
                return fail(format!("has {} but the split names number {}", counted(manifest.rows.len(), "study"), row + 1));
            };
            if *side_of.entry(manifest.person(row)).or_insert(side) != side {
                return fail(format!("the split has patient {} on both sides", study.patient));
            }
            if std::mem::replace(&mut seen[row], true) {
                return fail(format!("the split has study {} of patient {} twice", row + 1, study.patient));
            }
        }
        Ok(())
    }

    /// Refuses a split with the same bytes on two sides: a scan that was copied or linked under another name or another patient would
    /// be trained on and tested with.
    ///
    /// # Errors
    /// One sentence naming the first such files and their sides.
    pub fn check_files(&self, manifest: &Manifest, fingerprints: &Fingerprints) -> Result<()> {
        let mut seen: HashMap<&str, (&str, &Path, &str)> = HashMap::new();
        for (side, rows) in SIDES.into_iter().zip(self.sides()) {
            for row in rows.iter().map(|&row| &manifest.rows[row]) {
                for (file, hash) in row.files().filter_map(|file| Some((file, fingerprints.sha256(file)?))) {
                    let (other_side, other, patient) = *seen.entry(hash).or_insert((side, file, &row.patient));
                    if other_side != side {
                        let [one, two] = [other, file].map(|file| manifest.name_of(file));
                        let problem = format!(
                            "has the same bytes on two sides: {one} of patient {patient} ({other_side}) and {two} of patient {} ({side})",
                            row.patient
                        );
                        let remedy = "list both under the same patient, or leave one of them out";
                        return Err(Error::file(&manifest.path, problem, remedy));
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes `patient,side` with a line a patient, so that an evaluation tests exactly those that training did not see.
    ///
    /// # Errors
    /// As [`Split::check`]; the operating system's.
    pub fn write(&self, path: impl AsRef<Path>, manifest: &Manifest) -> Result<()> {
        files::write(path, &self.to_csv(manifest)?)
    }

    /// The bytes that [`write`](Self::write) writes.
    ///
    /// # Errors
    /// As [`Split::check`].
    pub fn to_csv(&self, manifest: &Manifest) -> Result<Vec<u8>> {
        self.check(manifest)?;
        let mut side_of: BTreeMap<&str, &str> = BTreeMap::new();
        for (side, rows) in SIDES.into_iter().zip(self.sides()) {
            side_of.extend(rows.iter().map(|&row| (manifest.rows[row].patient.as_str(), side)));
        }
        let mut table = csv::Writer::from_writer(Vec::new());
        let mut write = |cells: [&str; 2]| table.write_record(cells).expect("two cells each, written to memory");
        write(["patient", "side"]);
        side_of.iter().for_each(|(patient, side)| write([&guard(patient), side]));
        Ok(table.into_inner().expect("written to memory"))
    }

    /// Reads what [`Split::write`] wrote, for the same patients.
    ///
    /// # Errors
    /// One sentence naming file and patient: not such a table, a patient on both sides, a patient of the manifest without a
    /// side, a patient that the manifest lacks.
    pub fn read(path: impl AsRef<Path>, manifest: &Manifest) -> Result<Self> {
        let path = path.as_ref();
        let bytes = files::read(path)?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(&bytes[..]);
        let fail = |problem: String, remedy: &str| Err(Error::file(path, problem, remedy));
        let header = reader.headers().map(|header| header.iter().collect::<Vec<_>>() == ["patient", "side"]);
        if !matches!(header, Ok(true)) {
            return fail("is no split".into(), "give a CSV file with the columns patient,side");
        }
        let mut side_of: BTreeMap<String, usize> = BTreeMap::new();
        for record in reader.records() {
            let Ok(record) = record else { return fail("is not CSV".into(), "give the split.csv of a run") };
            let (patient, side) = (unguard(&record[0]), &record[1]);
            let Some(side) = SIDES.into_iter().position(|name| name == side) else {
                return fail(format!("patient {patient} is on the side `{side}`"), "write train, validation or test");
            };
            if side_of.insert(patient.to_owned(), side).is_some_and(|other| other != side) {
                return fail(format!("patient {patient} is on both sides"), "keep one of the two lines");
            }
        }
        let mut split = Split::default();
        for (at, row) in manifest.rows.iter().enumerate() {
            match side_of.get(&row.patient) {
                Some(0) => split.train.push(at),
                Some(1) => split.validation.push(at),
                Some(_) => split.test.push(at),
                None => {
                    let problem = format!("lacks patient {} of {}", row.patient, manifest.path.shown());
                    return fail(problem, "evaluate with the manifest that the run was trained on");
                }
            }
        }
        let patients: HashSet<&str> = manifest.rows.iter().map(|row| row.patient.as_str()).collect();
        if let Some(unknown) = side_of.keys().find(|patient| !patients.contains(patient.as_str())) {
            let problem = format!("names patient {unknown}, who is not in {}", manifest.path.shown());
            return fail(problem, "evaluate with the manifest that the run was trained on");
        }
        Ok(split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::manifest::Row;
    use proptest::prelude::*;

    #[test]
    fn a_spreadsheet_computes_nothing_of_a_split() {
        let folder = tempfile::tempdir().unwrap();
        let row = |at: usize, patient: &str| Row::new(patient, Some(format!("{at}.png").parse().unwrap()), None, "NoMet");
        let rows = ["=a", "'=a", "-1", "b"].into_iter().enumerate().map(|(at, patient)| row(at, patient)).collect();
        let manifest = Manifest::new(folder.path().join("m.csv"), rows).unwrap();
        let split = Split { train: vec![0, 3], test: vec![1, 2], ..Split::default() };
        let path = folder.path().join("split.csv");
        split.write(&path, &manifest).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("'=a,train\n") && text.contains("''=a,test\n") && text.contains("\n'-1,test\n"), "{text}");
        assert_eq!(Split::read(&path, &manifest).unwrap(), split);
    }

    /// A manifest of studies given as (patient, class).
    fn manifest(studies: &[(usize, usize)]) -> Manifest {
        let row = |(at, &(patient, class)): (usize, &(usize, usize))| {
            let scan = format!("{at}.png").parse().unwrap();
            Row::new(&format!("p{patient:03}"), Some(scan), None, ["NoMet", "ADMet", "nADMet"][class])
        };
        Manifest::new("manifest.csv", studies.iter().enumerate().map(row).collect()).unwrap()
    }

    fn patients<'a>(manifest: &'a Manifest, rows: &[usize]) -> Vec<&'a str> {
        let mut patients: Vec<&str> = rows.iter().map(|&row| manifest.rows[row].patient.as_str()).collect();
        patients.sort_unstable();
        patients.dedup();
        patients
    }

    #[test]
    fn the_papers_share_in_every_class() {
        // 226 NoMet, 237 ADMet, 160 nADMet: the paper's D1.
        let studies: Vec<_> = (0..623)
            .map(|at| {
                (
                    at,
                    if at < 226 {
                        0
                    } else if at < 463 {
                        1
                    } else {
                        2
                    },
                )
            })
            .collect();
        let manifest = manifest(&studies);
        let split = split(&manifest, PAPER_TRAIN_SHARE, 1).unwrap();
        assert_eq!((split.train.len(), split.test.len()), (436, 187));
        for (class, count) in [("NoMet", 226.0), ("ADMet", 237.0), ("nADMet", 160.0)] {
            let train = split.train.iter().filter(|&&row| manifest.rows[row].label == class).count() as f64;
            assert!((train - 0.7 * count).abs() <= 1.0, "{class}: {train} of {count}");
        }
    }

    #[test]
    fn seeds_differ_and_row_order_does_not_matter() {
        let studies: Vec<_> = (0..60).map(|at| (at, at % 3)).collect();
        let forward = manifest(&studies);
        let mut rows = forward.rows.clone();
        rows.reverse();
        let backward = Manifest::new("manifest.csv", rows).unwrap();
        let one = split(&forward, 0.7, 1).unwrap();
        assert_eq!(one, split(&forward, 0.7, 1).unwrap());
        assert_ne!(one, split(&forward, 0.7, 2).unwrap());
        assert_eq!(patients(&forward, &one.test), patients(&backward, &split(&backward, 0.7, 1).unwrap().test));
    }

    #[test]
    fn a_patient_on_both_sides_is_an_error() {
        let manifest = manifest(&[(1, 0), (2, 0), (1, 0), (3, 1)]);
        let message = |train: &[usize], test: &[usize]| {
            let split = Split { train: train.to_vec(), test: test.to_vec(), ..Split::default() };
            split.check(&manifest).map_err(|error| error.to_string())
        };
        assert!(message(&[0, 2], &[1, 3]).is_ok());
        assert!(message(&[0, 1], &[2, 3]).unwrap_err().contains("patient p001 on both sides"));
        assert!(message(&[0, 0], &[1]).unwrap_err().contains("study 1 of patient p001 twice"));
        assert!(message(&[0, 4], &[1]).unwrap_err().contains("has 4 studies but the split names number 5"));
    }

    /// A copy, a hard link, two frames of one file: whatever the names and the patients.
    #[test]
    fn the_same_bytes_on_two_sides_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a.dcm", "b.dcm", "c.dcm", "d.dcm"] {
            std::fs::write(at(name), name).unwrap();
        }
        std::fs::write(at("copy.dcm"), "a.dcm").unwrap();
        std::fs::hard_link(at("b.dcm"), at("link.dcm")).unwrap();
        let said = |rows: [&str; 4], sides: [&[usize]; 3]| {
            let rows: String = rows.map(|row| format!("{row},NoMet\n")).concat();
            std::fs::write(at("m.csv"), format!("patient,anterior,posterior,label\n{rows}")).unwrap();
            let manifest = Manifest::read(at("m.csv")).unwrap();
            let [train, validation, test] = sides.map(<[usize]>::to_vec);
            let split = Split { train, validation, test };
            split.check(&manifest).unwrap();
            split.check_files(&manifest, &manifest.fingerprints().unwrap()).map_err(|error| error.to_string())
        };
        let copied = ["1,a.dcm,", "2,b.dcm,", "3,c.dcm,copy.dcm", "4,d.dcm,"];
        assert_eq!(said(copied, [&[0, 2], &[1], &[3]]), Ok(()));
        let error = said(copied, [&[0, 1], &[], &[2, 3]]).unwrap_err();
        let part =
            "m.csv: has the same bytes on two sides: a.dcm of patient 1 (train) and copy.dcm of patient 3 (test); list both";
        assert!(error.contains(part), "{error}");
        // As the remedy says.
        let together = ["1,a.dcm,", "2,b.dcm,", "1,c.dcm,copy.dcm", "4,d.dcm,"];
        assert_eq!(said(together, [&[0, 2], &[1], &[3]]), Ok(()));
        let linked = ["1,a.dcm,", "2,b.dcm,", "3,c.dcm,", "4,link.dcm,"];
        let error = said(linked, [&[0], &[1], &[2, 3]]).unwrap_err();
        assert!(error.contains("b.dcm of patient 2 (validation) and link.dcm of patient 4 (test)"), "{error}");
        let frames = ["1,a.dcm#1,", "2,b.dcm,", "3,c.dcm,", "4,copy.dcm#2,"];
        assert!(said(frames, [&[0, 1, 2], &[], &[3]]).unwrap_err().contains("a.dcm of patient 1 (train)"));
    }

    #[test]
    fn what_cannot_be_split_is_an_error() {
        let studies = manifest(&[(1, 0), (2, 1), (3, 2), (4, 2)]);
        for share in [0.0, 1.0, -1.0, f64::NAN] {
            assert!(split(&studies, share, 0).unwrap_err().to_string().contains("the share for training"));
        }
        let message = split(&manifest(&[(1, 0), (1, 0)]), 0.7, 0).unwrap_err().to_string();
        assert!(message.contains("too few patients (1)"), "{message}");
    }

    #[test]
    fn validation_patients_are_training_patients_of_every_class() {
        // Two studies a patient.
        let studies: Vec<_> = (0..240).map(|at| (at / 2, at / 2 % 3)).collect();
        let manifest = manifest(&studies);
        let whole = split(&manifest, 0.7, 3).unwrap();
        let parted = whole.clone().with_validation(&manifest, 0.15, 3).unwrap();
        assert_eq!(parted.test, whole.test);
        let mut both = [parted.train.clone(), parted.validation.clone()].concat();
        both.sort_unstable();
        assert_eq!(both, whole.train);
        assert_eq!(patients(&manifest, &parted.validation).len(), 13, "0.15 of 84");
        for class in ["NoMet", "ADMet", "nADMet"] {
            let count = parted.validation.iter().filter(|&&row| manifest.rows[row].label == class).count();
            assert!((8..=10).contains(&count), "{class}: {count}");
        }
        assert_eq!(parted, whole.clone().with_validation(&manifest, 0.15, 3).unwrap());
        assert_ne!(parted.validation, whole.clone().with_validation(&manifest, 0.15, 4).unwrap().validation);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("split.csv");
        parted.write(&path, &manifest).unwrap();
        assert_eq!(Split::read(&path, &manifest).unwrap(), parted);
        let flattering = Split { train: whole.train.clone(), ..parted };
        assert!(flattering.check(&manifest).unwrap_err().to_string().contains("on both sides"));
        assert!(whole.clone().with_validation(&manifest, 1.0, 3).unwrap_err().to_string().contains("share for validation"));
        let few = Split { train: vec![0, 1], ..Split::default() };
        assert!(few.with_validation(&manifest, 0.15, 3).unwrap_err().to_string().contains("too few training patients"));
    }

    #[test]
    fn a_manifest_keeps_all_three_sides() {
        let manifest = manifest(&[(1, 0), (2, 1), (3, 0), (4, 1), (5, 0), (6, 1)]);
        let split = Split { train: vec![0, 1], validation: vec![2, 3], test: vec![4, 5] };
        let told = split.with_sides(&manifest).unwrap();
        assert_eq!(told.rows[3].side, Some(Side::Validation));
        assert_eq!(Split::of_sides(&told), Some(split));
        assert_eq!(Split::of_sides(&manifest), None);
    }

    #[test]
    fn a_written_split_is_read_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("split.csv");
        let studies: Vec<_> = (0..40).map(|at| (at / 2, at / 2 % 3)).collect();
        let manifest = manifest(&studies);
        let split = split(&manifest, 0.7, 3).unwrap();
        split.write(&path, &manifest).unwrap();
        assert_eq!(Split::read(&path, &manifest).unwrap(), split);

        let text = std::fs::read_to_string(&path).unwrap();
        let cases = [
            ("patient,age\n".to_owned(), "is no split"),
            (text.replace("p003,", "p777,"), "lacks patient p003"),
            (format!("{text}zoe,test\n"), "names patient zoe"),
            (format!("{text}p000,train\np000,test\n"), "patient p000 is on both sides"),
            (format!("{text}p000,left\n"), "on the side `left`"),
            (format!("{text}p000\n"), "is not CSV"),
        ];
        for (text, problem) in cases {
            std::fs::write(&path, text).unwrap();
            let message = Split::read(&path, &manifest).unwrap_err().to_string();
            assert!(message.starts_with(&path.shown()) && message.contains(problem), "{problem} not in: {message}");
        }
    }

    #[test]
    fn folds_test_each_patient_once_and_every_class() {
        let studies: Vec<_> = (0..70).map(|at| (at / 2, at / 2 % 3)).collect();
        let manifest = manifest(&studies);
        let folds = folds(&manifest, 5, 7).unwrap();
        let mut tested: Vec<usize> = folds.iter().flat_map(|fold| fold.test.clone()).collect();
        tested.sort_unstable();
        assert_eq!(tested, (0..70).collect::<Vec<_>>());
        for fold in &folds {
            fold.check(&manifest).unwrap();
            assert_eq!(patients(&manifest, &fold.test).len(), 7);
            for class in 0..3 {
                let count = fold.test.iter().filter(|row| studies[**row].1 == class).count() / 2;
                assert!((2..=3).contains(&count), "{count} patients of class {class}");
            }
        }
        assert_eq!(folds, super::folds(&manifest, 5, 7).unwrap());
        assert_ne!(folds, super::folds(&manifest, 5, 8).unwrap());
    }

    #[test]
    fn folds_that_cannot_be_are_one_sentence() {
        let message = |studies: &[(usize, usize)], k| folds(&manifest(studies), k, 1).unwrap_err().to_string();
        let three = [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1)];
        assert!(message(&three, 0).contains("of 0 folds") && message(&three, 1).contains("at least 2 folds"));
        assert!(message(&three, 3).contains("has 2 patients of NoMet, too few for 3 folds"));
        assert!(message(&[(1, 0), (2, 0), (3, 0)], 2).contains("has the one class NoMet"));
        // The only scan of NoMet is of a patient who counts as ADMet.
        assert!(message(&[(1, 0), (1, 1), (2, 1), (3, 1)], 2).contains("has 0 patients of NoMet, too few"));
    }

    #[test]
    fn a_class_on_one_side_only_is_one_sentence() {
        let manifest = manifest(&[(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)]);
        let message = split(&manifest, 0.7, 1).unwrap().check_classes(&manifest).unwrap_err().to_string();
        assert!(message.contains("no study of nADMet to t") && message.contains("has 1 patient;"), "{message}");
    }

    proptest! {
        #[test]
        fn every_row_on_one_side_and_no_patient_on_two(
            studies in prop::collection::vec((0usize..40, 0usize..2), 2..120), share in 0.05f64..0.95, seed: u64,
        ) {
            // Patients of NoMet may turn ADMet.
            let manifest = manifest(&studies);
            let count = patients(&manifest, &(0..studies.len()).collect::<Vec<_>>()).len();
            match split(&manifest, share, seed) {
                Err(_) => prop_assert!(count < 4, "{count} patients"),
                Ok(split) => {
                    let mut rows = [split.train.clone(), split.test.clone()].concat();
                    rows.sort_unstable();
                    prop_assert_eq!(rows, (0..studies.len()).collect::<Vec<_>>());
                    prop_assert!(split.check(&manifest).is_ok());
                    let train = patients(&manifest, &split.train).len() as f64;
                    prop_assert!((train - share * count as f64).abs() <= 2.0, "{train} of {count}");
                }
            }
        }
    }
}
