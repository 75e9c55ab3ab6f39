//! The cache of packed weights: a convolution's weights in the order in which its kernel reads them, kept while the parameters stay as
//! they are. Inference alone uses it; weights in training change with every step.

use osteon_kernels::conv::{Algorithm, ConvShape, Pass};
use osteon_kernels::simd::Isa;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The weights of a convolution as [`Algorithm::forward`] reads them; with batch normalisation in them, and then also its bias.
#[derive(Debug)]
pub(super) struct PackedConv {
    pub weights: Vec<f32>,
    /// Empty without batch normalisation.
    pub bias: Vec<f32>,
}

/// All that the packed values depend on beside the values of the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    weight: usize,
    /// Batch normalisation that is folded in: gamma, beta, running mean, running variance, and the bits of epsilon.
    norm: Option<([usize; 4], u32)>,
    algorithm: Algorithm,
    /// The layout may follow the widths of its registers, and transforms round as it multiplies and adds.
    isa: &'static str,
    /// A transform may be that of one stride.
    stride: [usize; 2],
}

/// A parameter: its number among the parameters, and its values.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub id: usize,
    pub values: &'a [f32],
}

/// Packed weights by what they depend on.
#[derive(Debug, Default)]
pub(super) struct PackedCache(Mutex<HashMap<Key, Arc<PackedConv>>>);

impl PackedCache {
    /// Forgets all: values have changed, or may change.
    pub fn clear(&mut self) {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Bytes of all that is kept.
    pub fn bytes(&self) -> usize {
        let packed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        packed.values().map(|conv| size_of_val(&conv.weights[..]) + size_of_val(&conv.bias[..])).sum()
    }

    /// The weights of a convolution, packed once. With `norm` (gamma, beta, running mean, running variance; epsilon) they hold the batch normalisation that follows:
    /// `(w * x - mean) * factor + beta = (w * factor) * x + (beta - mean * factor)`, `factor = gamma / sqrt(variance + epsilon)`.
    pub fn get(&self, weight: Source, norm: Option<([Source; 4], f32)>, shape: ConvShape, isa: Isa) -> Arc<PackedConv> {
        let algorithm = Algorithm::choose(Pass::Forward, shape);
        let folded = norm.map(|(sources, epsilon)| (sources.map(|source| source.id), epsilon.to_bits()));
        let key = Key { weight: weight.id, norm: folded, algorithm, isa: isa.name(), stride: shape.stride };
        // A poisoned lock only means that another thread panicked while it held finished entries.
        let cache = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(packed) = cache().get(&key) {
            return packed.clone();
        }
        let mut packed = PackedConv { weights: vec![0.0; algorithm.packed_len(shape)], bias: Vec::new() };
        let weights = weight.values;
        match norm {
            None => algorithm.pack(isa, shape, weights, &mut packed.weights),
            Some((sources, epsilon)) => {
                let [gamma, beta, mean, variance] = sources.map(|source| source.values);
                let factors: Vec<f64> = gamma
                    .iter()
                    .zip(variance)
                    .map(|(&gamma, &variance)| f64::from(gamma) / (f64::from(variance) + f64::from(epsilon)).sqrt())
                    .collect();
                let folded = weights.iter().zip(factors.iter().cycle()).map(|(&w, factor)| (f64::from(w) * factor) as f32);
                algorithm.pack(isa, shape, &folded.collect::<Vec<f32>>(), &mut packed.weights);
                let biases = beta.iter().zip(mean).zip(&factors);
                packed.bias = biases.map(|((&b, &mean), factor)| (f64::from(b) - f64::from(mean) * factor) as f32).collect();
            }
        }
        cache().entry(key).or_insert(Arc::new(packed)).clone()
    }
}
