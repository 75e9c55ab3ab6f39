//! First weights that are fitted to the first images of a training, for layers without batch normalisation.

use super::Model;
use crate::Result;
use crate::autograd::{Context, Mode};

impl Model {
    /// Scales and shifts the weights of every layer that has no batch normalisation and is followed by a ReLU so that, over these images
    /// (batch, rows, columns), each of its channels has mean 0 and variance 1 before the ReLU: the initialisation by data of Salimans
    /// and Kingma (2016), section 3. Without it what all images have in common outgrows, from layer to layer, what tells them apart.
    /// Networks with batch normalisation throughout stay as they are. A channel that is the same everywhere is only shifted.
    ///
    /// # Errors
    /// Images that do not fit.
    pub fn standardise(&mut self, context: &mut Context, images: &[f32], shape: [usize; 3]) -> Result<()> {
        for (layer, [weight, bias]) in self.network.plain_layers().into_iter().enumerate() {
            let channels = self.parameters.get(bias).value.shape().len();
            let moments = {
                let (mut tape, x) = self.tape(Mode::Inference, context, images, shape)?;
                let result = self.network.before_relu(&mut tape, x, layer)?;
                let moments = moments(tape.value(&result), channels);
                tape.release(result);
                moments
            };
            let factor = |channel: usize| match moments[channel] {
                [_, variance] if variance > 0.0 => 1.0 / variance.sqrt(),
                _ => 1.0,
            };
            // The channels are the last dimension of a convolution's weights, and the first of a linear layer's.
            let is_convolution = self.parameters.get(weight).value.shape().iter().len() == 4;
            let values = self.parameters.values_mut(weight);
            let inputs = values.len() / channels;
            for (index, value) in values.iter_mut().enumerate() {
                let channel = if is_convolution { index % channels } else { index / inputs };
                *value = (f64::from(*value) * factor(channel)) as f32;
            }
            for (channel, value) in self.parameters.values_mut(bias).iter_mut().enumerate() {
                *value = ((f64::from(*value) - moments[channel][0]) * factor(channel)) as f32;
            }
        }
        Ok(())
    }
}

/// Mean and variance of each channel, the last dimension of `values`.
fn moments(values: &[f32], channels: usize) -> Vec<[f64; 2]> {
    let pixels = (values.len() / channels) as f64;
    let mut moments = vec![[0.0; 2]; channels];
    for row in values.chunks(channels) {
        moments.iter_mut().zip(row).for_each(|([sum, _], &value)| *sum += f64::from(value));
    }
    moments.iter_mut().for_each(|[sum, _]| *sum /= pixels);
    for row in values.chunks(channels) {
        moments.iter_mut().zip(row).for_each(|([mean, sum], &value)| *sum += (f64::from(value) - *mean).powi(2));
    }
    moments.iter_mut().for_each(|[_, sum]| *sum /= pixels);
    moments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::model_of;
    use crate::models::{Metadata, Pooling, architectures};

    #[test]
    fn standardised_layers_have_mean_0_and_variance_1_and_normalised_networks_stay() {
        let images: Vec<f32> =
            (0..24 * 64 * 32usize).map(|i| ((i % 1013 * (i % 977) + i / 2048 * 31) % 97) as f32 / 97.0).collect();
        let shape = [24, 64, 32];
        let mut context = Context::default();
        for architecture in architectures() {
            for pooling in [Pooling::Auto, Pooling::Average] {
                let metadata = Metadata { pooling, ..model_of(architecture, 1).metadata.clone() };
                let mut model = Model::initialised(metadata, 1).unwrap();
                let before = model.weights_hash();
                model.standardise(&mut context, &images, shape).unwrap();
                let layers = model.network.plain_layers();
                assert_eq!(layers.len(), if architecture == "vgg-11" { 10 } else { 0 }, "{architecture}");
                assert_eq!(model.weights_hash() == before, layers.is_empty(), "{architecture}");
                for (layer, [_, bias]) in layers.into_iter().enumerate() {
                    let (mut tape, x) = model.tape(Mode::Inference, &mut context, &images, shape).unwrap();
                    let result = model.network.before_relu(&mut tape, x, layer).unwrap();
                    let channels = model.parameters.get(bias).value.values().len();
                    for [mean, variance] in moments(tape.value(&result), channels) {
                        // A unit that no image reaches differently keeps its variance of 0.
                        assert!(
                            mean.abs() < 1e-3 && ((variance - 1.0).abs() < 1e-3 || variance < 1e-9),
                            "layer {layer}: {mean}, {variance}"
                        );
                    }
                    tape.release(result);
                }
            }
        }
    }
}
