//! What in a picture speaks for an answer: gradients of the answer by the picture's pixels, from the pass that gives the answer.

use super::features::hearing_features;
use super::{Inference, Model, check_images};
use crate::autograd::{Context, Mode, Op, Tape};
use crate::image::Image;
use crate::{Error, Result};
use osteon_kernels::softmax;

/// An answer and what it depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// The answer, the same bits as [`Model::predict`] gives.
    pub inference: Inference,
    /// For each of the sets of classes, the gradient of `-ln(1 - p)` by the image's pixels, where p is the probability that
    /// the class is one of the set: (rows, columns) of the image. It is the gradient of the log-odds of the set, times p: where the network
    /// does not believe in the set, it is small.
    pub gradients: Vec<Image>,
    /// As [`Model::predict_with_features`] gives them.
    pub features: Vec<f32>,
    /// The spatial attention (Woo et al. 2018, eq. 3) of each block that has it, from 0 to 1, in the order in which the blocks run.
    pub attention: Vec<Image>,
}

impl Model {
    /// Classifies one image of the model's input size, and says what speaks for each of the sets of classes that `sets` gives for the
    /// answer.
    ///
    /// # Errors
    /// An image of another size; a set that names a class that the model does not have, names none, or names all.
    pub fn explain(&self, image: &[f32], sets: impl FnOnce(&Inference) -> Vec<Vec<usize>>) -> Result<Explained> {
        let [rows, columns] = self.metadata.input_size;
        let classes = self.metadata.classes.len();
        check_images(image, [1, rows, columns])?;
        let check = |set: &Vec<usize>| {
            if let Some(class) = set.iter().find(|class| **class >= classes) {
                return Err(Error::setting(format!("there is no class {class}"), format!("choose one below {classes}")));
            }
            if set.is_empty() || (0..classes).all(|class| set.contains(&class)) {
                let problem = format!("nothing speaks for {} of {classes} classes", set.len());
                return Err(Error::setting(problem, "choose at least one class, and not all"));
            }
            Ok(())
        };
        let explain = |context: &mut Context| {
            let isa = context.isa;
            let mut tape = Tape::new(Mode::Frozen, &self.parameters, context);
            let input = tape.input([1, rows, columns, 1], image, true)?;
            let again = tape.retain(&input);
            let output = self.forward(&mut tape, again)?;
            let logits = tape.value(&output).to_vec();
            let mut probabilities = vec![0.0; classes];
            softmax::softmax(isa, 1, classes, &logits, &mut probabilities);
            let inference = Inference { logits, probabilities };
            let sets = sets(&inference);
            sets.iter().try_for_each(check)?;
            let attention = spatial_attention(&tape);
            tape.keep_values();
            let mut gradients = Vec::with_capacity(sets.len());
            for set in &sets {
                let again = tape.retain(&output);
                tape.backward(again, &slopes(&inference.logits, set))?;
                let pixels = tape.take_gradient(&input).map_or_else(Vec::new, |gradient| gradient.to_vec());
                gradients.push(Image { rows, columns, pixels });
            }
            Ok(Explained { inference, gradients, features: Vec::new(), attention })
        };
        self.with_context(|context| {
            let (explained, features) = hearing_features(&*self.network, context, explain)?;
            Ok(Explained { features: features.into_iter().next().unwrap_or_default(), ..explained })
        })
    }
}

impl Model {
    /// The stages that [`randomised`](Self::randomised) counts, from the last to the first: the beginnings of their parameters' names.
    pub fn stages(&self) -> Vec<String> {
        let name = |stage: &&[&str]| stage.iter().map(|begin| begin.trim_end_matches('.')).collect::<Vec<_>>().join(", ");
        self.network.stages().iter().rev().map(name).collect()
    }

    /// A copy whose last layers and last `stages` stages have initial weights, drawn from `seed`: what such a network shows owes nothing to
    /// training there (Adebayo et al. 2018, section 4).
    ///
    /// # Errors
    /// None for a model that could be built once.
    pub fn randomised(&self, stages: usize, seed: u64) -> Result<Model> {
        let fresh = Model::initialised(self.metadata.clone(), seed)?;
        let mut copy = self.copy()?;
        let all = self.network.stages();
        let kept: Vec<&str> = all[..all.len().saturating_sub(stages)].iter().copied().flatten().copied().collect();
        for (id, parameter) in fresh.parameters.iter() {
            if !kept.iter().any(|begin| parameter.name.starts_with(begin)) {
                copy.parameters.values_mut(id).copy_from_slice(parameter.value.values());
            }
        }
        Ok(copy)
    }
}

/// The derivative of `-ln(1 - p)` by each logit, where p is the probability of the classes of `set`: the softmax over all classes minus the
/// softmax over those outside of the set.
fn slopes(logits: &[f32], set: &[usize]) -> Vec<f32> {
    let largest = |of: &dyn Fn(usize) -> bool| {
        let chosen = logits.iter().enumerate().filter(|(class, _)| of(*class));
        chosen.fold(f64::NEG_INFINITY, |most, (_, logit)| most.max(f64::from(*logit)))
    };
    let softmax = |of: &dyn Fn(usize) -> bool| -> Vec<f64> {
        let most = largest(of);
        let each = logits.iter().enumerate();
        let powers: Vec<f64> =
            each.map(|(class, logit)| if of(class) { (f64::from(*logit) - most).exp() } else { 0.0 }).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect()
    };
    let (all, outside) = (softmax(&|_| true), softmax(&|class| !set.contains(&class)));
    all.iter().zip(outside).map(|(all, outside)| (all - outside) as f32).collect()
}

/// The factors of spatial attention on a tape: (1, rows, columns, 1).
fn spatial_attention(tape: &Tape) -> Vec<Image> {
    let nodes = tape.nodes().iter().enumerate();
    let factors = nodes.filter_map(|(index, node)| match (node.operation()?.0, &node.shape[..]) {
        (Op::Sigmoid(_), &[1, rows, columns, 1]) => Some(Image { rows, columns, pixels: tape.node_value(index).to_vec() }),
        _ => None,
    });
    factors.filter(|factor| !factor.pixels.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::architectures;
    use crate::models::tests::model_of;
    use crate::random::{Purpose, stream, symmetric};

    fn picture() -> Vec<f32> {
        let mut random = stream(Purpose::Order, 5, 0, 0);
        (0..64 * 32).map(|_| 1.0 + symmetric(&mut random)).collect()
    }

    #[test]
    fn the_answer_has_the_bits_of_inference() {
        for architecture in architectures() {
            let model = model_of(architecture, 6);
            let image = picture();
            let explained = model.explain(&image, |_| vec![vec![1, 2], vec![0]]).unwrap();
            assert_eq!(explained.inference, model.predict(&image, [1, 64, 32]).unwrap(), "{architecture}");
            let blocks = match architecture {
                "classifier-18" => 8,
                "classifier-34" => 16,
                "inrac" | "outrac" | "inrac-no-residual" => 12,
                _ => 0,
            };
            assert_eq!(explained.attention.len(), blocks, "{architecture}");
            let [first, last] = [explained.attention.first(), explained.attention.last()];
            assert!(first.is_none_or(|map| (map.rows, map.columns) == (16, 8)), "{architecture}");
            assert!(last.is_none_or(|map| map.pixels.iter().all(|factor| (0.0..=1.0).contains(factor))), "{architecture}");
        }
    }

    /// `-ln(1 - p)` by finite differences along the gradient, of both sets; the second pass is of the same tape as the first.
    #[test]
    fn gradients_are_those_of_the_answer() {
        for architecture in architectures() {
            let mut model = model_of(architecture, 6);
            let image = picture();
            let sets = [vec![1, 2], vec![2]];
            // With initial weights an answer may hardly depend on the image (attention halves what passes, block after block): logits
            // of 3 have more to tell than rounding has.
            let [weight, bias] = model.network.last_layer();
            model.parameters.values_mut(bias).fill(0.0);
            let most = model.logits(&image, 1).unwrap().iter().fold(0f32, |most, logit| most.max(logit.abs()));
            model.parameters.values_mut(weight).iter_mut().for_each(|value| *value *= 3.0 / most);
            let explained = model.explain(&image, |_| sets.to_vec()).unwrap();
            for (set, gradient) in sets.iter().zip(&explained.gradients) {
                let surprise = |image: &[f32]| -> f64 {
                    let logits = model.logits(image, 1).unwrap();
                    let sum = |of: &dyn Fn(&usize) -> bool| -> f64 {
                        (0..3).filter(|class| of(class)).map(|class| f64::from(logits[class]).exp()).sum()
                    };
                    (sum(&|_| true) / sum(&|class| !set.contains(class))).ln()
                };
                let norm = gradient.pixels.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
                let step = 0.05;
                let [up, down] = [step, -step].map(|by| {
                    let moved: Vec<f32> =
                        image.iter().zip(&gradient.pixels).map(|(x, g)| x + (by * f64::from(*g) / norm) as f32).collect();
                    surprise(&moved)
                });
                let slope = (up - down) / (2.0 * step);
                // Two logits of 3, each a few roundings off.
                let rounding = 4e-6 / step;
                assert!(norm > 4.0 * rounding, "{architecture} {set:?}: a gradient of {norm} is lost in rounding");
                let off = (slope - norm).abs();
                assert!(off < 0.05 * norm + rounding, "{architecture} {set:?}: {slope} along a gradient of {norm}");
            }
        }
    }

    #[test]
    fn the_slopes_of_an_answer() {
        let near = |found: Vec<f32>, expected: [f64; 3]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6), "{found:?} {expected:?}");
        };
        let logits = [1.0, 3f32.ln() + 1.0, 1.0]; // probabilities 0.2, 0.6, 0.2
        near(slopes(&logits, &[1, 2]), [-0.8, 0.6, 0.2]);
        near(slopes(&logits, &[1]), [-0.3, 0.6, -0.3]);
        near(slopes(&[-1000.0, 1000.0, 0.0], &[1]), [0.0, 1.0, -1.0]);
    }

    #[test]
    fn a_set_of_no_class_or_of_all_is_refused() {
        let model = model_of("inrac", 6);
        for sets in [vec![vec![]], vec![vec![0, 1, 2]], vec![vec![3]]] {
            assert!(model.explain(&picture(), |_| sets.clone()).is_err(), "{sets:?}");
        }
        assert!(model.explain(&[0.0; 7], |_| vec![vec![0]]).is_err());
    }
}
