//! Evidence maps: which pixels speak for a class (Grad-CAM).

use super::Model;
use crate::autograd::{Mode, Tape};
use crate::image::Image;
use crate::{Error, Result};

impl Model {
    /// Where the network looked for evidence of `class` in one image of the model's input size: Grad-CAM (Selvaraju et al.
    /// 2017) of the last stage, from 0 to 1, a pixel for each of its pixels.
    ///
    /// # Errors
    /// An image of another size, or a class that the model does not have.
    pub fn explain(&self, image: &[f32], class: usize) -> Result<Image> {
        let [rows, columns] = self.metadata.input_size;
        let classes = self.metadata.classes.len();
        if class >= classes {
            return Err(Error::setting(format!("there is no class {class}"), format!("choose one below {classes}")));
        }
        self.with_context(|context| {
            let (mut tape, x) = self.tape(Mode::Inference, context, image, [1, rows, columns])?;
            let features = self.network.features(&mut tape, x)?;
            let (shape, maps) = (tape.shape(&features), tape.value(&features).to_vec());
            drop(tape);
            // Only the head is differentiated.
            let mut tape = Tape::new(Mode::Frozen, &self.parameters, context);
            let features = tape.input(shape, &maps, true)?;
            let again = tape.retain(&features);
            let logits = self.network.head(&mut tape, again)?;
            let seed: Vec<f32> = (0..classes).map(|other| f32::from(other == class)).collect();
            tape.backward(logits, &seed)?;
            let gradient = tape.gradient(&features).unwrap_or_default();
            let channels = shape[3];
            let mut importance = vec![0.0; channels]; // mean of the gradient over pixels
            for pixel in gradient.chunks(channels) {
                importance.iter_mut().zip(pixel).for_each(|(sum, gradient)| *sum += gradient);
            }
            let weighed = |pixel: &[f32]| pixel.iter().zip(&importance).map(|(map, weight)| map * weight).sum::<f32>().max(0.0);
            let mut pixels: Vec<f32> = maps.chunks(channels).map(weighed).collect();
            let largest = pixels.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
            pixels.iter_mut().for_each(|pixel| *pixel /= largest);
            drop(tape);
            Ok(Image { rows: shape[1], columns: shape[2], pixels })
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::models::tests::model_of;

    #[test]
    fn explanations_show_where_the_evidence_is() {
        for (architecture, size) in [("inrac", (2, 1)), ("vgg-11", (4, 2)), ("inception-v1", (2, 1))] {
            let model = model_of(architecture, 6);
            let mut image = vec![0.0; 64 * 32];
            image[10 * 32 + 8] = 50.0;
            let map = model.explain(&image, 0).unwrap();
            assert_eq!((map.rows, map.columns), size, "{architecture}");
            assert!(map.pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
            // The sum of all classes' gradient maps would be a check by linearity; here: for some class there is evidence.
            assert!((0..3).any(|class| model.explain(&image, class).unwrap().pixels.contains(&1.0)), "{architecture}");
        }
    }
}
