//! Networks that were trained with several seeds: accuracy and difference of accuracies, averaged over the seeds, with intervals that
//! contain both the test patients' and the seeds' variation.
//!
//! Patients and seeds are crossed: the network of every seed is tested on every patient. A resample draws both with replacement,
//! independently of each other (the pigeonhole bootstrap: Owen, Annals of Applied Statistics 2007, 1:386, where it is shown to err
//! towards wide intervals). Of n seeds n - 1 are drawn, so that the variance over the resamples is that of a mean of n (Rao and Wu,
//! JASA 1988, 83:231): drawing all of three would make the seeds' part of it a third too small. One seed says nothing of how seeds
//! vary, and its interval is the patients' alone.

use super::bootstrap::{Bootstrap, Columns};
use super::compare::{Difference, aligned, p_value};
use super::{Predictions, predicted};
use crate::{Error, Result, interrupt};

/// A value with its 95 % interval, which is none where no resample changes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// The ends of its interval.
    pub interval: Option<[f64; 2]>,
}

/// Whether two kinds of networks were tested on the same studies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// On the same: a resample has the same patients for both.
    SameStudies,
    /// Each on its own: the patients of each are drawn on their own.
    OwnStudies,
}

/// What the interval of a difference says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first is better: the interval is above zero.
    Above,
    /// The second is better: the interval is below zero.
    Below,
    /// The interval holds zero, or there is none.
    NotDistinguishable,
}

impl Difference {
    /// What its interval says.
    pub fn order(&self) -> Order {
        match self.interval {
            Some([low, _]) if low > 0.0 => Order::Above,
            Some([_, high]) if high < 0.0 => Order::Below,
            _ => Order::NotDistinguishable,
        }
    }
}

/// Keeps these streams apart from that of patients.
const SEEDS: [u64; 2] = [u64::from_le_bytes(*b"seedsofa"), u64::from_le_bytes(*b"seedsofb")];
/// That of the second's patients, where they are drawn on their own.
const OWN_PATIENTS: u64 = u64::from_le_bytes(*b"patientb");

/// The mean accuracy of the networks of several seeds on the same studies.
///
/// # Errors
/// No run; runs of other studies or classes; as [`Bootstrap::check`].
pub fn mean_accuracy(seeds: &[&Predictions], bootstrap: Bootstrap) -> Result<Estimate> {
    bootstrap.check()?;
    let tally = Tally::new(first(seeds)?, seeds)?;
    let mut columns = Columns::new(1, bootstrap.resamples);
    for resample in 0..bootstrap.resamples {
        interrupt::check()?;
        let patients = bootstrap.draw(resample, tally.studies.len());
        columns.push(&[tally.accuracy(&patients, &tally.draw_seeds(bootstrap, SEEDS[0], resample))]);
    }
    Ok(Estimate { value: tally.mean(), interval: columns.intervals()[0] })
}

/// The difference of the mean accuracies of two kinds of networks, `a - b`, each trained with several seeds.
///
/// # Errors
/// No run; runs of one kind, or of both where they are said to have the same studies, whose studies or classes differ; as
/// [`Bootstrap::check`].
pub fn compare_seeds(a: &[&Predictions], b: &[&Predictions], pairing: Pairing, bootstrap: Bootstrap) -> Result<Difference> {
    bootstrap.check()?;
    let reference = match pairing {
        Pairing::SameStudies => first(a)?,
        Pairing::OwnStudies => first(b)?,
    };
    let (a, b) = (Tally::new(first(a)?, a)?, Tally::new(reference, b)?);
    let mut columns = Columns::new(1, bootstrap.resamples);
    for resample in 0..bootstrap.resamples {
        interrupt::check()?;
        let of_a = bootstrap.draw(resample, a.studies.len());
        let own = b.studies.len();
        let of_b = match pairing {
            Pairing::SameStudies => of_a.clone(),
            Pairing::OwnStudies => bootstrap.draw_for(OWN_PATIENTS, resample, own, own),
        };
        let [seeds_of_a, seeds_of_b] =
            [(&a, SEEDS[0]), (&b, SEEDS[1])].map(|(of, purpose)| of.draw_seeds(bootstrap, purpose, resample));
        columns.push(&[a.accuracy(&of_a, &seeds_of_a) - b.accuracy(&of_b, &seeds_of_b)]);
    }
    let interval = columns.intervals()[0];
    let (of_a, of_b) = (a.mean(), b.mean());
    Ok(Difference { a: Some(of_a), b: Some(of_b), difference: Some(of_a - of_b), interval, p: columns.column(0).map(p_value) })
}

fn first<'a>(seeds: &[&'a Predictions]) -> Result<&'a Predictions> {
    seeds
        .first()
        .copied()
        .ok_or_else(|| Error::setting("a network of no seeds has no accuracy", "give the predictions of at least one"))
}

/// Right decisions of the networks of several seeds by patient.
struct Tally {
    studies: Vec<u64>,    // (patients)
    right: Vec<Vec<u64>>, // (seeds, patients)
}

impl Tally {
    /// Of networks that were tested on the studies of `reference`, in the order of its patients.
    fn new(reference: &Predictions, seeds: &[&Predictions]) -> Result<Self> {
        let (patient_of, patients) = reference.numbered_patients();
        let count = |is_counted: &dyn Fn(usize) -> bool| {
            let mut counts = vec![0; patients];
            patient_of.iter().enumerate().filter(|(study, _)| is_counted(*study)).for_each(|(_, &patient)| counts[patient] += 1);
            counts
        };
        let right = |run: &&Predictions| -> Result<Vec<u64>> {
            let Predictions { truths, probabilities, .. } = aligned(reference, run)?;
            Ok(count(&|study| predicted(&probabilities[study]) == truths[study]))
        };
        Ok(Tally { studies: count(&|_| true), right: seeds.iter().map(right).collect::<Result<_>>()? })
    }

    /// How often each seed stands in a resample.
    fn draw_seeds(&self, bootstrap: Bootstrap, purpose: u64, resample: usize) -> Vec<u64> {
        let seeds = self.right.len();
        bootstrap.draw_for(purpose, resample, (seeds - 1).max(1), seeds)
    }

    /// The accuracy with each patient and each seed standing so many times over.
    fn accuracy(&self, patients: &[u64], seeds: &[u64]) -> f64 {
        let sum = |counts: &[u64]| -> u64 { counts.iter().zip(patients).map(|(count, times)| count * times).sum() };
        let right: u64 = self.right.iter().zip(seeds).map(|(right, times)| times * sum(right)).sum();
        right as f64 / (sum(&self.studies) * seeds.iter().sum::<u64>()) as f64
    }

    fn mean(&self) -> f64 {
        self.accuracy(&vec![1; self.studies.len()], &vec![1; self.right.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::super::bootstrap::tests::invented;
    use super::*;

    const QUICK: Bootstrap = Bootstrap { resamples: 2000, seed: 1 };

    /// `each` studies of every patient, of which the given decisions are right.
    fn decided(patients: usize, each: usize, is_right: impl Fn(usize, usize) -> bool) -> Predictions {
        let studies = || (0..patients).flat_map(|patient| (0..each).map(move |study| (patient, study)));
        let row = |(patient, study)| if is_right(patient, study) { vec![0.9, 0.1] } else { vec![0.1, 0.9] };
        let classes = ["NoMet", "Met"].map(str::to_owned).to_vec();
        let names = studies().map(|(patient, _)| format!("p{patient}")).collect();
        Predictions::new("made up", classes, names, vec![0; patients * each], studies().map(row).collect()).unwrap()
    }

    fn all(seeds: &[Predictions]) -> Vec<&Predictions> {
        seeds.iter().collect()
    }

    #[test]
    fn better_worse_and_alike_are_told_apart() {
        let kind = |sharpness: f64, from: u64| [0, 1, 2].map(|seed| invented(150, 1, sharpness, from + seed));
        let (good, poor, alike) = (kind(2.5, 1), kind(0.7, 11), kind(2.5, 21));
        let compared =
            |a: &[Predictions], b: &[Predictions]| compare_seeds(&all(a), &all(b), Pairing::SameStudies, QUICK).unwrap();
        let clear = compared(&good, &poor);
        assert_eq!((clear.order(), compared(&poor, &good).order()), (Order::Above, Order::Below));
        assert!(clear.p.unwrap() < 0.01 && clear.difference.unwrap() > 0.1, "{clear:?}");
        assert_eq!(compared(&good, &alike).order(), Order::NotDistinguishable);
        let same = compared(&good, &good);
        assert_eq!((same.difference, same.order()), (Some(0.0), Order::NotDistinguishable));
        assert_eq!(clear, compared(&good, &poor), "the same seed, the same resamples");
    }

    /// Every patient has 10 studies, of which a seed gets the same number right: then patients do not vary, and the outermost means of
    /// two of three seeds, which a ninth of the resamples have each, are the ends.
    #[test]
    fn an_interval_has_the_variation_of_the_seeds() {
        let seeds = [5, 7, 9].map(|right| decided(20, 10, |_, study| study < right));
        let Estimate { value, interval } = mean_accuracy(&all(&seeds), QUICK).unwrap();
        assert!((value - 0.7).abs() < 1e-12);
        let [low, high] = interval.unwrap();
        assert!((low - 0.5).abs() < 1e-12 && (high - 0.9).abs() < 1e-12, "{low} {high}");
        let one = [decided(20, 10, |_, study| study < 7)];
        assert_eq!(mean_accuracy(&all(&one), QUICK).unwrap().interval, None, "nothing varies");
        // The same mean, above 0.6 with every seed.
        let steady = [7, 7, 7].map(|right| decided(20, 10, |_, study| study < right));
        let other = [5, 6].map(|of_first| decided(20, 10, |patient, study| study < if patient == 0 { of_first } else { 6 }));
        let order = |a: &[Predictions]| compare_seeds(&all(a), &all(&other), Pairing::SameStudies, QUICK).unwrap().order();
        assert_eq!((order(&seeds), order(&steady)), (Order::NotDistinguishable, Order::Above));
    }

    /// Both fail on the hard patients and b on a tenth of the others too: on the same patients that is seen.
    #[test]
    fn the_same_patients_are_paired() {
        let a = [decided(100, 1, |patient, _| patient % 2 == 0)];
        let b = [decided(100, 1, |patient, _| patient % 2 == 0 && patient % 20 != 0)];
        let compared = |pairing| compare_seeds(&all(&a), &all(&b), pairing, QUICK).unwrap();
        let (paired, own) = (compared(Pairing::SameStudies), compared(Pairing::OwnStudies));
        assert_eq!(paired.difference, own.difference);
        let width = |of: &Difference| of.interval.map(|[low, high]| high - low).unwrap();
        // Standard errors of 0.05 (0.95 * 0.05 / 100) and of two independent halves: 0.0218 and 0.0704.
        assert!((width(&paired) - 2.0 * 1.96 * 0.0218).abs() < 0.02, "{paired:?}");
        assert!((width(&own) - 2.0 * 1.96 * 0.0704).abs() < 0.03, "{own:?}");
        assert_eq!((paired.order(), own.order()), (Order::Above, Order::NotDistinguishable));
    }

    #[test]
    fn other_studies_are_refused_where_they_are_to_be_the_same() {
        let (a, b) = ([decided(10, 1, |_, _| true)], [decided(12, 1, |patient, _| patient > 3)]);
        let said = compare_seeds(&all(&a), &all(&b), Pairing::SameStudies, QUICK).unwrap_err().to_string();
        assert!(said.contains("patient p10"), "{said}");
        compare_seeds(&all(&a), &all(&b), Pairing::OwnStudies, QUICK).unwrap();
        assert!(mean_accuracy(&[&a[0], &b[0]], QUICK).is_err());
        assert!(mean_accuracy(&[], QUICK).unwrap_err().to_string().contains("no seeds"));
    }

    // The quantiles of 400000 resamples by numpy, with its own random numbers: patients of `rng.multinomial(60, [1/60] * 60)`, seeds of
    // `rng.multinomial(2, [1/3] * 3)`, and `(times @ right.T * seeds).sum(1) / (2 * 120)` of each side.
    #[test]
    fn intervals_are_those_of_a_plain_computation() {
        let kind = |thresholds: [usize; 3], shift: usize| {
            [0, 1, 2]
                .map(|seed| decided(60, 2, |p, study| (p * 7 + study * 3 + seed * 5 + shift * p * p) % 11 < thresholds[seed]))
        };
        let (a, b) = (kind([8, 9, 7], 0), kind([6, 8, 6], 1));
        let many = Bootstrap { resamples: 20_000, seed: 3 };
        // 20000 resamples have a tail's quantile to about 0.004, and accuracies come in steps of 1 / 240.
        let near = |interval: Option<[f64; 2]>, expected: [f64; 2]| {
            let interval = interval.unwrap();
            assert!(
                interval.iter().zip(expected).all(|(end, expected)| (end - expected).abs() < 0.009),
                "{interval:?} {expected:?}"
            );
        };
        let paired = compare_seeds(&all(&a), &all(&b), Pairing::SameStudies, many).unwrap();
        assert!((paired.difference.unwrap() - 0.130_555_6).abs() < 1e-6);
        near(paired.interval, [-0.0833, 0.3625]);
        near(compare_seeds(&all(&a), &all(&b), Pairing::OwnStudies, many).unwrap().interval, [-0.0792, 0.3625]);
        near(mean_accuracy(&all(&a), many).unwrap().interval, [0.6, 0.8583]);
    }
}
