//! Random numbers by name: each stream is a ChaCha key spelled out of its purpose and indices, so that no draw depends on how
//! many were made before it or on which thread.
//!
//! The few functions here are spelled out, because `rand` may change how it turns bits into values between versions, and a
//! split or an epoch's order must not.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The largest seed: what TOML, whose integers are signed, can hold.
pub(crate) const MOST_SEED: u64 = i64::MAX as u64;

/// What a stream is for; two purposes never share a stream.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Purpose {
    /// How one study varies in one epoch.
    Augmentation = 1,
    /// The order of studies in one epoch.
    Order = 2,
    /// Which patients are for training.
    Split = 3,
    /// Which patients each fold of a cross-validation tests.
    Folds = 4,
    /// Which studies of a class a dataset has.
    Subsample = 5,
    /// Which studies of a dataset are copied first.
    CopyOrder = 6,
    /// The draws of a dataset's copies of one study.
    Copies = 7,
    /// Which of the patients for training choose the epoch instead.
    Validation = 8,
    /// The share by which a training step mixes its images.
    Mixup = 9,
    /// Which images of a training step get the right part of another, and where it begins.
    Stitch = 10,
    /// The directions that the search for principal components begins with.
    FeatureSpace = 11,
    /// Which counts of a scan are left out where a network is tested with fewer.
    Stress = 12,
}

/// The stream of `purpose` under a seed; `first` and `second` are the purpose's own indices.
pub(crate) fn stream(purpose: Purpose, seed: u64, first: u64, second: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, first, second, purpose as u64]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Uniform in [-1, 1).
pub(crate) fn symmetric(random: &mut ChaCha8Rng) -> f32 {
    (random.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// Uniform in [0, 1).
pub(crate) fn unit(random: &mut ChaCha8Rng) -> f32 {
    (random.next_u32() >> 8) as f32 / (1 << 24) as f32
}

/// Puts the values in a random order (Fisher and Yates).
pub(crate) fn shuffle<T>(random: &mut ChaCha8Rng, values: &mut [T]) {
    for last in (1..values.len()).rev() {
        // The high half of a 64 x 64 bit product is uniform on 0..=last but for a bias below last / 2^64.
        let at = (random.next_u64() as u128 * (last as u128 + 1)) >> 64;
        values.swap(last, at as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_every_part_of_their_name() {
        let first = |purpose, seed, a, b| stream(purpose, seed, a, b).next_u64();
        let mut draws = vec![first(Purpose::Order, 0, 0, 0), first(Purpose::Split, 0, 0, 0), first(Purpose::Order, 1, 0, 0)];
        draws.extend([first(Purpose::Order, 0, 1, 0), first(Purpose::Order, 0, 0, 1)]);
        draws.sort_unstable();
        draws.dedup();
        assert_eq!(draws.len(), 5);
    }

    /// Measured when the streams were fixed: a change here changes every run's split and order.
    #[test]
    fn streams_are_frozen() {
        let mut values: Vec<u32> = (0..8).collect();
        shuffle(&mut stream(Purpose::Order, 7, 1, 0), &mut values);
        assert_eq!(values, [2, 4, 7, 0, 1, 6, 5, 3]);
    }

    #[test]
    fn values_fill_their_range_evenly() {
        let mut random = stream(Purpose::Augmentation, 3, 0, 0);
        let values: Vec<f32> = (0..40_000).map(|_| symmetric(&mut random)).collect();
        assert!(values.iter().all(|value| (-1.0..1.0).contains(value)));
        let mean = values.iter().sum::<f32>() / 40_000.0;
        assert!(mean.abs() < 0.02, "{mean}"); // 7 standard errors
        let mut first = [0; 5];
        for draw in 0..10_000 {
            let mut values = [0, 1, 2, 3, 4];
            shuffle(&mut stream(Purpose::Order, draw, 0, 0), &mut values);
            first[values[0]] += 1;
        }
        assert!(first.iter().all(|count| (1850..2150).contains(count)), "{first:?}");
    }
}
