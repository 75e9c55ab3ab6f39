//! Seeded draws: what a patient, a disease and a camera ask of chance.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// What a stream of chance is spent on. Each has its own stream, so that more lesions do not change the patient who has them.
#[derive(Clone, Copy)]
pub(super) enum Stream {
    Patient,
    Benign,
    Disease,
    Noise,
    Label,
    /// Hospital, dose and time, of simulator 2.
    Scanning,
    /// What else real scans have, of simulator 2.
    Artefacts,
}

/// Above this mean a Poisson number is drawn as a corrected normal number.
const LARGE_MEAN: f32 = 12.0;

/// A stream of chance that depends on the seed, the study and its purpose, and on nothing else.
pub(super) struct Random(ChaCha8Rng);

impl Random {
    pub fn new(seed: u64, study: u64, stream: Stream) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(study * 8 + stream as u64);
        Random(generator)
    }

    /// Uniform in `[low, high)`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.0.random::<f32>()
    }

    /// Uniform among `0..count`.
    pub fn index(&mut self, count: usize) -> usize {
        self.0.random_range(0..count as u64) as usize
    }

    pub fn chance(&mut self, probability: f32) -> bool {
        self.0.random::<f32>() < probability
    }

    /// -1 or 1.
    pub fn sign(&mut self) -> f32 {
        if self.chance(0.5) { -1.0 } else { 1.0 }
    }

    pub fn normal(&mut self, mean: f32, deviation: f32) -> f32 {
        mean + deviation * self.0.sample::<f32, _>(StandardNormal)
    }

    /// A normal number no further than two deviations from the mean.
    pub fn typical(&mut self, mean: f32, deviation: f32) -> f32 {
        mean + deviation * self.normal(0.0, 1.0).clamp(-2.0, 2.0)
    }

    /// A log-normal factor: `median`, and `spread` the deviation of its logarithm, cut at 2.5 deviations.
    pub fn factor(&mut self, median: f32, spread: f32) -> f32 {
        median * (spread * self.normal(0.0, 1.0).clamp(-2.5, 2.5)).exp()
    }

    /// An index, each as likely as its weight; the weights' sum is positive.
    pub fn weighted(&mut self, weights: &[f32]) -> usize {
        let mut left = self.between(0.0, weights.iter().sum());
        for (index, &weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0)
    }

    /// A Poisson number.
    ///
    /// Small means invert the distribution function. Large ones use Cornish and Fisher's expansion of its inverse to second
    /// order, `mean + sqrt(mean) z + (z^2 - 1) / 6` with `z` normal, rounded: mean and variance are right, and the skewness is.
    pub fn poisson(&mut self, mean: f32) -> f32 {
        if mean >= LARGE_MEAN {
            let z: f32 = self.0.sample(StandardNormal);
            let count = mean + mean.sqrt() * z + (z * z - 1.0) / 6.0;
            // Rounds without a call into the mathematical library.
            return (count + 0.5) as u32 as f32;
        }
        let mut left: f32 = self.0.random();
        // Most of an empty background: exp(-mean) is at least 1 - mean.
        if left < 1.0 - mean {
            return 0.0;
        }
        let mut probability = (-mean).exp();
        let mut count = 0.0;
        // The tail past 60 is far below what an f32 can tell from nothing; the bound keeps rounding from running on.
        while left >= probability && count < 60.0 {
            left -= probability;
            count += 1.0;
            probability *= mean / count;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poisson_has_its_mean_variance_and_skewness() {
        let mut random = Random::new(1, 0, Stream::Noise);
        for mean in [0.02_f32, 0.05, 0.3, 1.0, 5.0, 11.9, 12.1, 40.0, 300.0] {
            const DRAWS: usize = 200_000;
            let draws: Vec<f64> = (0..DRAWS).map(|_| f64::from(random.poisson(mean))).collect();
            let average = draws.iter().sum::<f64>() / DRAWS as f64;
            let moment = |power| draws.iter().map(|x| (x - average).powi(power)).sum::<f64>() / DRAWS as f64;
            let (mean, variance) = (f64::from(mean), moment(2));
            // Five standard errors of the mean and of the variance; the rounding of the normal draw adds 1/12 to the variance.
            assert!((average - mean).abs() < 5.0 * (mean / DRAWS as f64).sqrt(), "mean {mean}: {average}");
            let error = 5.0 * ((mean + 2.0 * mean * mean) / DRAWS as f64).sqrt();
            assert!((variance - mean).abs() < error + 0.15, "variance for {mean}: {variance}");
            let skewness = moment(3) / variance.powf(1.5);
            assert!((skewness * mean.sqrt() - 1.0).abs() < 0.3 + 0.02 * mean.sqrt(), "skewness for {mean}: {skewness}");
        }
    }

    #[test]
    fn streams_and_studies_differ() {
        let draw = |seed, study, stream| Random::new(seed, study, stream).between(0.0, 1.0);
        let first = draw(1, 0, Stream::Patient);
        assert_eq!(first, draw(1, 0, Stream::Patient));
        assert!(
            [draw(2, 0, Stream::Patient), draw(1, 1, Stream::Patient), draw(1, 0, Stream::Noise)].iter().all(|&x| x != first)
        );
    }
}
