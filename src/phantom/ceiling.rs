//! How well phantoms could be told apart, looked up in what `reference/scripts/ceilings.py` measured.
//!
//! The figures hold for a simulator, a size of picture, a number of training patients and the shares of the classes. Between sizes and
//! numbers they are interpolated; where nothing was measured there is no ceiling.

use super::Label;
use crate::archive::manifest::METASTATIC;
use crate::metrics::{Ceiling, Ceilings};
use crate::models::{SimulatorVersion, StudyCounts};
use serde::Deserialize;
use std::sync::LazyLock;

/// What was measured, a file a simulator.
const MEASURED: [&str; 2] =
    [include_str!("../../reference/ceilings/simulator1.json"), include_str!("../../reference/ceilings/simulator2.json")];

/// A file of `reference/ceilings`.
#[derive(Deserialize)]
struct Measured {
    /// Version of the simulator.
    simulator: u32,
    figures: Vec<Figure>,
}

#[derive(Deserialize)]
struct Figure {
    /// What the observer had: pictures of `ROWSxCOLUMNS`, or `list`, which is the truth.
    seen: String,
    /// The classes, with a comma between.
    task: String,
    /// Shares of [`Label::ALL`] among the training patients, and among the studies that were tested.
    trained_on: String,
    tested_on: String,
    /// Training patients.
    patients: usize,
    #[serde(flatten)]
    ceiling: Ceiling,
}

static CEILINGS: LazyLock<Vec<Measured>> =
    LazyLock::new(|| MEASURED.iter().map(|text| serde_json::from_str(text).expect("a test reads each file")).collect());

/// An evaluation, as far as its ceiling depends on it.
#[derive(Clone, Debug)]
pub struct Trial<'a> {
    /// Studies that the network was trained on.
    pub trained: StudyCounts,
    /// Studies that it is evaluated on.
    pub evaluated: StudyCounts,
    /// Rows and columns of its input.
    pub input_size: [usize; 2],
    /// Its classes.
    pub classes: &'a [String],
    /// Training patients of each class; copies of a study add none.
    pub patients: &'a [usize],
    /// Evaluated studies of each class.
    pub tested: &'a [usize],
}

/// The version of the simulator that made all of these studies, where one made them all.
fn simulator(counts: StudyCounts) -> Option<u32> {
    let mut versions = counts.simulators.versions().filter(|_| counts.all_simulated());
    versions.next().filter(|_| versions.next().is_none()).map(SimulatorVersion::number)
}

/// The ceilings of an evaluation; none where patients are among its studies, where its classes are not the simulator's, or where
/// nothing like it was measured.
pub fn ceilings(trial: &Trial) -> Option<Ceilings> {
    let version = simulator(trial.trained).filter(|version| simulator(trial.evaluated) == Some(*version))?;
    let figures = &CEILINGS.iter().find(|measured| measured.simulator == version)?.figures;
    let [no_met, ad_met, n_ad_met] = Label::ALL.map(Label::name);
    let merged = [no_met, METASTATIC];
    let of = |task: &[&str], classes: &[&str]| -> Option<Ceiling> {
        // Counts in the order of `classes`, of which every one has to be there and no other.
        let counts = |counts: &[usize]| -> Option<Vec<f64>> {
            let at = |class: &&str| trial.classes.iter().position(|own| own == class);
            let places: Vec<usize> = classes.iter().map(at).collect::<Option<_>>()?;
            (trial.classes.len() == classes.len()).then(|| places.into_iter().map(|at| counts[at] as f64).collect())
        };
        let task = if task == merged { format!("{no_met}, metastatic") } else { task.join(", ") };
        let patients = counts(trial.patients)?;
        let [trained_on, tested_on] = Mix::nearest(classes, [&patients, &counts(trial.tested)?])?.map(Mix::name);
        let is_meant = |figure: &&Figure| figure.task == task && figure.trained_on == trained_on && figure.tested_on == tested_on;
        interpolated(&figures.iter().filter(is_meant).collect::<Vec<_>>(), trial.input_size, patients.iter().sum())
    };
    let all = [no_met, ad_met, n_ad_met];
    let metastatic = of(&merged, &all).or_else(|| of(&merged, &merged));
    let classes = of(&all, &all).or(metastatic).or_else(|| of(&all[1..], &all[1..]))?;
    Some(Ceilings { classes, metastatic })
}

/// Shares of the classes for which ceilings were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mix {
    /// As `osteon phantom` makes studies.
    Even,
    /// As in the archive of `osteon reproduce`.
    Archive,
}

impl Mix {
    /// A share may be so far from a mix. A tenth of another class changes a ceiling by about 0.01.
    const MOST_OFF: f64 = 0.1;

    fn name(self) -> &'static str {
        match self {
            Mix::Even => "1:1:1",
            Mix::Archive => "614:237:160",
        }
    }

    /// Share of a class, not yet divided by the sum.
    fn share(self, class: &str) -> f64 {
        let shares = match self {
            Mix::Even => [1.0; 3],
            Mix::Archive => [614.0, 237.0, 160.0],
        };
        let of_class = |label: &Label| label.name() == class || class == METASTATIC && *label != Label::NoMet;
        Label::ALL.iter().zip(shares).filter(|(label, _)| of_class(label)).map(|(_, share)| share).sum()
    }

    /// How far the shares of `counts` are from the mix; `None` of nothing.
    fn off(self, classes: &[&str], counts: &[f64]) -> Option<f64> {
        let shares: Vec<f64> = classes.iter().map(|class| self.share(class)).collect();
        let [counted, all] = [counts, &shares].map(|values| values.iter().sum::<f64>());
        let each = counts.iter().zip(shares).map(|(count, share)| (count / counted - share / all).abs());
        (counted > 0.0).then(|| each.fold(0.0, f64::max))
    }

    /// The measured mixes that the counts of training patients and of tested studies are nearest to.
    fn nearest(classes: &[&str], counts: [&[f64]; 2]) -> Option<[Mix; 2]> {
        const MEASURED: [[Mix; 2]; 3] = [[Mix::Even, Mix::Even], [Mix::Archive, Mix::Even], [Mix::Archive, Mix::Archive]];
        let off = |[trained, tested]: [Mix; 2]| {
            let off = [trained.off(classes, counts[0])?, tested.off(classes, counts[1])?];
            off.iter().all(|off| *off <= Self::MOST_OFF).then(|| off[0] + off[1])
        };
        let mixes = MEASURED.into_iter().filter_map(|mixes| Some((off(mixes)?, mixes)));
        mixes.min_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, mixes)| mixes)
    }
}

/// The ceiling for pictures of a size and so many training patients: linear in the logarithms of pixels and of patients. Larger pictures
/// show no more than the simulator's own size, and more patients than were tried teach hardly more.
fn interpolated(figures: &[&Figure], [rows, columns]: [usize; 2], patients: f64) -> Option<Ceiling> {
    let pixels = |figure: &Figure| {
        let (rows, columns) = figure.seen.split_once('x')?;
        Some((rows.parse::<f64>().ok()? * columns.parse::<f64>().ok()?).ln())
    };
    let mut sizes: Vec<f64> = figures.iter().filter_map(|figure| pixels(figure)).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let at_size = |size: f64| {
        let of_size = figures.iter().filter(|figure| pixels(figure) == Some(size));
        let mut points: Vec<(f64, Ceiling)> = of_size.map(|figure| ((figure.patients as f64).ln(), figure.ceiling)).collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        between(&points, patients.ln())
    };
    let points: Option<Vec<(f64, Ceiling)>> = sizes.into_iter().map(|size| Some((size, at_size(size)?))).collect();
    between(&points?, (rows as f64 * columns as f64).ln())
}

/// The ceiling at `place` between points in order; beyond the last one that, before the first one none.
fn between(points: &[(f64, Ceiling)], place: f64) -> Option<Ceiling> {
    let (last, ceiling) = points.last()?;
    if place >= *last {
        return Some(*ceiling);
    }
    let (low, high) = points.iter().zip(&points[1..]).find(|(low, high)| (low.0..high.0).contains(&place))?;
    let share = (place - low.0) / (high.0 - low.0);
    let of = |value: fn(&Ceiling) -> f64| value(&low.1) + share * (value(&high.1) - value(&low.1));
    Some(Ceiling { accuracy: of(|ceiling| ceiling.accuracy), auc: of(|ceiling| ceiling.auc) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulated(studies: usize) -> StudyCounts {
        StudyCounts { studies: 600, simulated_studies: studies, simulators: [SimulatorVersion::One].into_iter().collect() }
    }

    fn measured(seen: &str, task: &str, mixes: [&str; 2], patients: usize) -> Ceiling {
        let is_meant = |figure: &&Figure| {
            figure.seen == seen
                && figure.task == task
                && [&*figure.trained_on, &figure.tested_on] == mixes
                && figure.patients == patients
        };
        CEILINGS[0].figures.iter().find(is_meant).expect("a figure that was measured").ceiling
    }

    fn of(classes: &[&str], input_size: [usize; 2], patients: &[usize], tested: &[usize]) -> Option<Ceilings> {
        let classes: Vec<String> = classes.iter().map(|class| class.to_string()).collect();
        let (trained, evaluated) = (simulated(600), simulated(600));
        ceilings(&Trial { trained, evaluated, input_size, classes: &classes, patients, tested })
    }

    const THREE: [&str; 3] = ["NoMet", "ADMet", "nADMet"];
    const EVEN: [&str; 2] = ["1:1:1", "1:1:1"];

    #[test]
    fn every_file_is_read_and_its_scores_are_scores() {
        for (at, measured) in CEILINGS.iter().enumerate() {
            assert_eq!(measured.simulator, at as u32 + 1);
            // Six pictures or lists, three tasks, three pairs of mixes, five numbers of patients.
            assert_eq!(measured.figures.len(), 6 * 3 * 3 * 5);
            for Figure { ceiling: Ceiling { accuracy, auc }, .. } in &measured.figures {
                assert!((0.5..=1.0).contains(accuracy) && (0.5..=1.0).contains(auc), "{accuracy} {auc}");
            }
        }
    }

    #[test]
    fn what_was_measured_is_what_is_found() {
        let found = of(&THREE, [256, 64], &[67, 67, 66], &[30, 28, 32]).unwrap();
        assert_eq!(found.classes, measured("256x64", "NoMet, ADMet, nADMet", EVEN, 200));
        assert_eq!(found.metastatic, Some(measured("256x64", "NoMet, metastatic", EVEN, 200)));
        // The order of a model's classes is its own.
        let turned = of(&["nADMet", "NoMet", "ADMet"], [256, 64], &[63, 243, 94], &[26, 100, 39]).unwrap();
        let archive = ["614:237:160"; 2];
        assert_eq!(turned.classes, measured("256x64", "NoMet, ADMet, nADMet", archive, 400));
        let copied = of(&THREE, [1024, 256], &[243, 94, 63], &[90, 90, 90]).unwrap();
        assert_eq!(copied.classes, measured("1024x256", "NoMet, ADMet, nADMet", ["614:237:160", "1:1:1"], 400));
        let two = of(&["NoMet", "Met"], [192, 48], &[33, 67], &[10, 20]).unwrap();
        assert_eq!(two.classes, measured("192x48", "NoMet, metastatic", EVEN, 100));
        assert_eq!(two.metastatic, Some(two.classes));
        let kinds = of(&["ADMet", "nADMet"], [192, 48], &[400, 400], &[50, 40]).unwrap();
        assert_eq!((kinds.classes, kinds.metastatic), (measured("192x48", "ADMet, nADMet", EVEN, 800), None));
    }

    #[test]
    fn between_what_was_measured_it_is_between() {
        let of = |size, patients: usize| of(&THREE, size, &[patients / 3; 3], &[50; 3]).map(|found| found.classes);
        let [low, high] = [200, 400].map(|patients| measured("512x128", "NoMet, ADMet, nADMet", EVEN, patients).accuracy);
        let middle = of([512, 128], 282).unwrap().accuracy;
        assert!((middle - (low + high) / 2.0).abs() < 0.002, "{low} {middle} {high}");
        let [small, large] = [[192, 48], [256, 64]].map(|size| of(size, 400).unwrap().auc);
        let size = of([256, 48], 400).unwrap().auc;
        assert!((small.min(large)..=small.max(large)).contains(&size), "{small} {size} {large}");
        assert_eq!(of([2048, 512], 1600), of([1024, 256], 1600));
        assert_eq!(of([1024, 256], 90_000), of([1024, 256], 1602));
    }

    #[test]
    fn where_nothing_was_measured_there_is_no_ceiling() {
        assert_eq!(of(&THREE, [64, 32], &[100; 3], &[50; 3]), None, "smaller than any size that was measured");
        assert_eq!(of(&THREE, [256, 64], &[33, 33, 32], &[50; 3]), None, "fewer patients than 100");
        assert_eq!(of(&["NoMet", "ADMet", "other"], [256, 64], &[100; 3], &[50; 3]), None);
        assert_eq!(of(&["class-0", "class-1"], [256, 64], &[100; 2], &[50; 2]), None);
        assert_eq!(of(&THREE, [256, 64], &[300, 10, 10], &[50; 3]), None, "a mix that was not measured");
        assert_eq!(of(&THREE, [256, 64], &[100; 3], &[0; 3]), None);
        let classes = THREE.map(str::to_owned);
        let one_patient = simulated(599);
        for (trained, evaluated) in [(one_patient, simulated(600)), (simulated(600), one_patient)] {
            let trial =
                Trial { trained, evaluated, input_size: [256, 64], classes: &classes, patients: &[100; 3], tested: &[50; 3] };
            assert_eq!(ceilings(&trial), None);
        }
    }
}
