//! What a network sees in a picture, in a few numbers: the means of a stage's channels above and below, from the pass that gives the
//! answer.

use super::{Inference, Model, Network};
use crate::Result;
use crate::autograd::{Context, Recorder, TapeEvent};
use std::sync::{Arc, Mutex, PoisonError};

impl Model {
    /// As [`predict`](Self::predict), with the same bits, and for each image the means of the channels of the network's middle stage, over the
    /// upper half of the rows and over the lower one: (batch, 2 channels). A middle stage sees bones and their texture, and not yet only what
    /// tells classes apart; a body has its head above.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_with_features(&self, images: &[f32], shape: [usize; 3]) -> Result<(Inference, Vec<Vec<f32>>)> {
        let pixels = super::check_images(images, shape)?;
        let (mut all, mut features) = (Inference::default(), Vec::with_capacity(shape[0]));
        for images in images.chunks(self.images_a_pass(shape[0]) * pixels) {
            let shape = [images.len() / pixels, shape[1], shape[2]];
            let (Inference { logits, probabilities }, means) = self.with_context(|context| {
                hearing_features(&*self.network, context, |context| self.infer(context, images, shape))
            })?;
            all.logits.extend(logits);
            all.probabilities.extend(probabilities);
            features.extend(means);
        }
        Ok((all, features))
    }
}

/// Calls `work`, and gives the features of the images of the pass that it runs.
pub(super) fn hearing_features<T>(
    network: &dyn Network,
    context: &mut Context,
    work: impl FnOnce(&mut Context) -> Result<T>,
) -> Result<(T, Vec<Vec<f32>>)> {
    let stages = network.stages();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let before = context.recorder.replace(Box::new(Listener { stage: stages[(stages.len() - 1) / 2], heard: heard.clone() }));
    let result = work(context);
    context.recorder = before;
    let heard = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((result?, heard))
}

/// Keeps the means of the last maps of a stage.
#[derive(Debug)]
struct Listener {
    /// The beginnings of its parameters' names.
    stage: &'static [&'static str],
    heard: Arc<Mutex<Vec<Vec<f32>>>>,
}

impl Recorder for Listener {
    fn record(&mut self, event: TapeEvent) {
        let TapeEvent::Forward { layer, shape, value, .. } = event else { return };
        // A layer's parameters have its name and a dot before their own.
        let is_of_stage = |begin: &&str| layer.starts_with(begin) || begin.strip_suffix('.') == Some(layer);
        if let (&[_, rows, columns, channels], true) = (&shape[..], self.stage.iter().any(is_of_stage)) {
            let of = |maps: &[f32]| {
                let (above, below) = maps.split_at(rows / 2 * columns * channels);
                [means(above, channels), means(below, channels)].concat()
            };
            let images = value.chunks_exact(rows * columns * channels);
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = images.map(of).collect();
        }
    }
}

/// The means of channels, of maps (pixels, channels).
fn means(maps: &[f32], channels: usize) -> Vec<f32> {
    /// So few values that their sum in f32 is as good as one in f64.
    const ROWS: usize = 64;
    let mut sums = vec![0.0f64; channels];
    for rows in maps.chunks(ROWS * channels) {
        let mut part = vec![0.0f32; channels];
        rows.chunks_exact(channels).for_each(|pixel| part.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value));
        sums.iter_mut().zip(&part).for_each(|(sum, part)| *sum += f64::from(*part));
    }
    let pixels = (maps.len() / channels).max(1) as f64;
    sums.into_iter().map(|sum| (sum / pixels) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::architectures;
    use crate::models::tests::model_of;
    use crate::random::{Purpose, stream, symmetric};

    #[test]
    fn every_network_has_features_and_the_bits_of_inference() {
        let mut random = stream(Purpose::Order, 5, 0, 0);
        let images: Vec<f32> = (0..2 * 64 * 32).map(|_| 1.0 + symmetric(&mut random)).collect();
        for architecture in architectures() {
            let model = model_of(architecture, 6);
            let (inference, features) = model.predict_with_features(&images, [2, 64, 32]).unwrap();
            assert_eq!(inference, model.predict(&images, [2, 64, 32]).unwrap(), "{architecture}");
            assert_eq!(features.len(), 2);
            let channels = match architecture {
                "vgg-11" => 256,
                "inception-v1" => 480,
                _ => 128,
            };
            assert!(features.iter().all(|means| means.len() == 2 * channels), "{architecture}: {}", features[0].len());
            assert!(features[0] != features[1] && features[0].iter().any(|mean| *mean != 0.0));
            let (_, alone) = model.predict_with_features(&images[64 * 32..], [1, 64, 32]).unwrap();
            assert_eq!(alone[0], features[1], "{architecture}: an image has the same features in any batch");
            let explained = model.explain(&images[64 * 32..], |_| vec![vec![0]]).unwrap();
            assert_eq!(explained.features, features[1], "{architecture}");
        }
    }

    #[test]
    fn means_are_of_each_channel() {
        let maps: Vec<f32> = (0..1000).flat_map(|pixel| [pixel as f32, 2.0]).collect();
        assert_eq!(means(&maps, 2), [499.5, 2.0]);
    }
}
