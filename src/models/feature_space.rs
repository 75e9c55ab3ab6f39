//! Where the features of training scans lie, and how far from there another scan's are.

use crate::random::{Purpose, stream, symmetric};
use serde::{Deserialize, Serialize};

/// The features of a set of scans: a mean for each class, and how the scans of a class vary about it.
///
/// For features see [`Model::predict_with_features`](super::Model::predict_with_features). The distance is that of Mahalanobis within the classes (Lee et al. 2018,
/// "A simple unified framework for detecting out-of-distribution samples", eq. 2), with a covariance of the largest principal
/// components and one variance for all that is left, since there are fewer scans than a whole covariance needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureSpace {
    /// One for each class that has scans: (classes, features).
    means: Vec<Vec<f32>>,
    /// Unit vectors, the one with the greatest variance first: (components, features).
    components: Vec<Vec<f32>>,
    /// Of the features along each component.
    variances: Vec<f64>,
    /// Of what no component has, the sum over all other directions.
    rest: f64,
    /// A distance that 99 of 100 scans stay below that the space was not fitted to.
    limit: f64,
}

/// Features of one scan, what it is, and whose it is.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Of the scan.
    pub features: Vec<f32>,
    /// An index.
    pub class: usize,
    /// A number for each patient.
    pub patient: usize,
}

/// The most principal components.
const MOST_COMPONENTS: usize = 8;

/// A component is estimated from at least so many patients.
const PATIENTS_A_COMPONENT: usize = 5;

/// The fewest patients that a space is fitted to.
const FEWEST_PATIENTS: usize = 20;

/// The parts of the patients, each of which is held against the space of the others for the limit.
const PARTS: usize = 5;

/// The share of scans within the limit.
const WITHIN: f64 = 0.99;

/// The steps of the iteration that finds components. It need not converge: every direction that is not a component counts as rest.
const ITERATIONS: usize = 40;

impl FeatureSpace {
    /// The space of some scans; none of too few patients to say what is usual.
    pub fn fit(samples: &[Sample]) -> Option<Self> {
        let mut patients: Vec<usize> = samples.iter().map(|sample| sample.patient).collect();
        patients.sort_unstable();
        patients.dedup();
        if patients.len() < FEWEST_PATIENTS {
            return None;
        }
        let part = |sample: &Sample| patients.binary_search(&sample.patient).map_or(0, |at| at % PARTS);
        let mut distances = Vec::with_capacity(samples.len());
        for number in 0..PARTS {
            let (held_out, others): (Vec<&Sample>, Vec<&Sample>) = samples.iter().partition(|sample| part(sample) == number);
            let space = Self::of(&others, patients.len() * (PARTS - 1) / PARTS);
            distances.extend(held_out.iter().map(|sample| space.raw_distance(&sample.features)));
        }
        distances.sort_unstable_by(f64::total_cmp);
        let limit = distances[((distances.len() as f64 * WITHIN).ceil() as usize).clamp(1, distances.len()) - 1];
        let space = Self::of(&samples.iter().collect::<Vec<_>>(), patients.len());
        (limit > 0.0 && limit.is_finite()).then_some(FeatureSpace { limit, ..space })
    }

    /// How far features lie from those of the nearest class, in units of a distance that 99 of 100 training scans stay below; infinite where
    /// they are not finite, or not of this network.
    pub fn distance(&self, features: &[f32]) -> f64 {
        self.raw_distance(features) / self.limit
    }

    /// Without a limit.
    fn of(samples: &[&Sample], patients: usize) -> Self {
        let channels = samples.first().map_or(0, |sample| sample.features.len());
        let classes = samples.iter().map(|sample| sample.class + 1).max().unwrap_or(0);
        let mut sums = vec![(vec![0.0; channels], 0usize); classes];
        for sample in samples {
            let (sum, count) = &mut sums[sample.class];
            sum.iter_mut().zip(&sample.features).for_each(|(sum, feature)| *sum += f64::from(*feature));
            *count += 1;
        }
        let mean =
            |(sum, count): &(Vec<f64>, usize)| -> Vec<f32> { sum.iter().map(|sum| (sum / *count as f64) as f32).collect() };
        let by_class: Vec<Vec<f32>> = sums.iter().map(mean).collect();
        let residuals: Vec<Vec<f64>> =
            samples.iter().map(|sample| difference(&sample.features, &by_class[sample.class])).collect();
        let count = samples.len().max(1) as f64;
        let total = residuals.iter().flatten().map(|value| value * value).sum::<f64>() / count;
        let wanted = MOST_COMPONENTS.min(patients / PATIENTS_A_COMPONENT).min(channels.saturating_sub(1));
        let (components, variances) = principal_components(&residuals, channels, wanted);
        let rest = (total - variances.iter().sum::<f64>()).max(0.0);
        let means = by_class.into_iter().zip(&sums).filter(|(_, (_, count))| *count > 0).map(|(mean, _)| mean).collect();
        FeatureSpace { means, components, variances, rest, limit: 1.0 }
    }

    /// The larger of two mean squares of the nearest class: along the components, each in units of its variance, and of what is left, in
    /// units of its own. Both are 1 on average over the scans that the space is of.
    fn raw_distance(&self, features: &[f32]) -> f64 {
        if features.iter().any(|feature| !feature.is_finite()) || self.means.iter().any(|mean| mean.len() != features.len()) {
            return f64::INFINITY;
        }
        let of_class = |mean: &Vec<f32>| {
            let residual = difference(features, mean);
            let mut left = residual.iter().map(|value| value * value).sum::<f64>();
            let mut along = 0.0;
            for (component, variance) in self.components.iter().zip(&self.variances) {
                let part: f64 = component.iter().zip(&residual).map(|(unit, value)| f64::from(*unit) * value).sum();
                left -= part * part;
                along += part * part / variance;
            }
            let along = along / self.components.len().max(1) as f64;
            let left = if self.rest > 0.0 { left.max(0.0) / self.rest } else { 0.0 };
            along.max(left).sqrt()
        };
        self.means.iter().map(of_class).fold(f64::INFINITY, f64::min)
    }
}

fn difference(features: &[f32], mean: &[f32]) -> Vec<f64> {
    features.iter().zip(mean).map(|(feature, mean)| f64::from(*feature) - f64::from(*mean)).collect()
}

/// The directions of the greatest variance of rows whose mean is zero, by orthogonal iteration, and these variances; no direction
/// without any.
fn principal_components(rows: &[Vec<f64>], channels: usize, wanted: usize) -> (Vec<Vec<f32>>, Vec<f64>) {
    let mut random = stream(Purpose::FeatureSpace, 0, 0, 0);
    let mut basis: Vec<Vec<f64>> =
        (0..wanted).map(|_| (0..channels).map(|_| f64::from(symmetric(&mut random))).collect()).collect();
    let dot = |left: &[f64], right: &[f64]| left.iter().zip(right).map(|(left, right)| left * right).sum::<f64>();
    for _ in 0..ITERATIONS {
        let mut next = vec![vec![0.0; channels]; basis.len()];
        for row in rows {
            for (vector, sum) in basis.iter().zip(&mut next) {
                let part = dot(row, vector);
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += part * value);
            }
        }
        // Gram and Schmidt, in the order of the vectors.
        basis.clear();
        for mut vector in next {
            let before = dot(&vector, &vector).sqrt();
            for earlier in &basis {
                let part = dot(&vector, earlier);
                vector.iter_mut().zip(earlier).for_each(|(value, unit)| *value -= part * unit);
            }
            let length = dot(&vector, &vector).sqrt();
            if length > 1e-9 * before && length.is_normal() {
                vector.iter_mut().for_each(|value| *value /= length);
                basis.push(vector);
            }
        }
    }
    let variance = |vector: &Vec<f64>| rows.iter().map(|row| dot(row, vector).powi(2)).sum::<f64>() / rows.len().max(1) as f64;
    let mut found: Vec<(f64, Vec<f64>)> = basis.into_iter().map(|vector| (variance(&vector), vector)).collect();
    found.retain(|(variance, _)| *variance > 0.0);
    found.sort_by(|left, right| right.0.total_cmp(&left.0));
    let single = |vector: Vec<f64>| vector.into_iter().map(|value| value as f32).collect();
    found.into_iter().map(|(variance, vector)| (single(vector), variance)).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans of two classes with means at (0, 0, ...) and (4, 0, ...), whose second channel varies by 2 and whose others by 0.1.
    fn samples(count: usize, seed: u64) -> Vec<Sample> {
        let mut random = stream(Purpose::Order, seed, 0, 0);
        let mut normal = || (0..12).map(|_| symmetric(&mut random)).sum::<f32>() / 2.0;
        (0..count)
            .map(|patient| {
                let class = patient % 2;
                let mut features: Vec<f32> = (0..10).map(|_| 0.1 * normal()).collect();
                features[0] += 4.0 * class as f32;
                features[1] += 2.0 * normal();
                Sample { features, class, patient }
            })
            .collect()
    }

    #[test]
    fn components_are_the_directions_of_greatest_variance() {
        let space = FeatureSpace::of(&samples(400, 1).iter().collect::<Vec<_>>(), 400);
        assert!(space.components[0][1].abs() > 0.999, "{:?}", space.components[0]);
        assert!((space.variances[0] / 4.0 - 1.0).abs() < 0.2, "{:?}", space.variances);
        let total = space.rest + space.variances.iter().sum::<f64>();
        assert!((total - (4.0 + 9.0 * 0.01)).abs() < 0.8, "{total}");
        let [first, second] = [&space.components[0], &space.components[1]];
        let product: f32 = first.iter().zip(second).map(|(left, right)| left * right).sum();
        assert!(product.abs() < 1e-6);
    }

    #[test]
    fn what_is_like_the_samples_is_within_the_limit_and_what_is_not_is_beyond() {
        let space = FeatureSpace::fit(&samples(400, 1)).unwrap();
        let others = samples(1000, 2);
        let beyond = others.iter().filter(|sample| space.distance(&sample.features) > 1.0).count();
        assert!((2..=40).contains(&beyond), "{beyond} of 1000 where 10 are expected");
        // Far along the second channel is usual, as far along a quiet one is not.
        let with = |channel: usize, value: f32| {
            let mut features = vec![0.0; 10];
            features[channel] = value;
            space.distance(&features)
        };
        assert!(with(1, 3.0) < 1.0);
        assert!(with(5, 3.0) > 3.0);
        assert!(with(0, 4.0) < 1.0, "the other class's mean");
        assert!(with(0, 2.0) > 1.0, "between the classes");
        assert_eq!(with(3, f32::NAN), f64::INFINITY);
        assert_eq!(space.distance(&[0.0; 9]), f64::INFINITY);
    }

    #[test]
    fn copies_of_a_patient_are_no_patients() {
        let few = samples(10, 1);
        let copies: Vec<Sample> = (0..30).flat_map(|_| few.clone()).collect();
        assert!(FeatureSpace::fit(&copies).is_none());
        assert!(FeatureSpace::fit(&[]).is_none());
        let alike = vec![Sample { features: vec![1.0; 4], class: 0, patient: 0 }; 40];
        let alike: Vec<Sample> = alike.into_iter().enumerate().map(|(patient, sample)| Sample { patient, ..sample }).collect();
        assert!(FeatureSpace::fit(&alike).is_none(), "nothing varies");
    }
}
