//! Weights of another model as a beginning (transfer learning), and stages that do not train.

use super::Model;
use crate::text::counted;
use crate::{Error, Result};

impl Model {
    /// Takes over the weights and running statistics of a model of the same network. The layer that gives the logits stays as it is where
    /// that one has other classes; whether it was taken over is the answer.
    ///
    /// # Errors
    /// Another architecture; weights of another shape, as where maps of another input size are flattened; inputs that are prepared in
    /// another way.
    pub fn begin_with(&mut self, from: &Model) -> Result<bool> {
        let [own, other] = [&self.metadata, &from.metadata];
        if own.architecture != other.architecture {
            let problem = format!("its network is {}, and {} is to be trained", other.architecture, own.architecture);
            return Err(Error::setting(problem, format!("train with --architecture {}", other.architecture)));
        }
        if own.preprocessing != other.preprocessing {
            let problem = "its inputs are prepared in another way than those of this training";
            return Err(Error::setting(problem, "give the same --alignment, --threshold, --ceiling and --compression"));
        }
        let same_classes = own.classes == other.classes;
        let last = self.network.last_layer();
        // Other classes change the shape of every layer that has an output for each.
        let may_differ = own.classes.len() != other.classes.len();
        for (id, parameter) in from.parameters.iter() {
            let (name, values) = (&parameter.name, parameter.value.values());
            if last.contains(&id) && !same_classes {
                continue;
            }
            let shape = self.parameters.get(id).value.shape();
            if shape == parameter.value.shape() {
                self.parameters.values_mut(id).copy_from_slice(values);
            } else if !may_differ {
                let problem = format!("its {name} has the shape {}, and {shape} is needed", parameter.value.shape());
                let [rows, columns] = from.metadata.input_size;
                return Err(Error::setting(problem, format!("train with --input-size {rows}x{columns}")));
            }
        }
        Ok(same_classes)
    }

    /// From here on the first `stages` stages of the network do not train: weights, batch normalisation's parameters and its running
    /// statistics stay, and in training too they are normalised by the latter. Gives their names.
    ///
    /// # Errors
    /// More stages than the network has.
    pub fn freeze(&mut self, stages: usize) -> Result<Vec<&'static str>> {
        let all = self.network.stages();
        let Some(frozen) = all.get(..stages) else {
            let problem =
                format!("{} has {} that can be frozen, not {stages}", self.metadata.architecture, counted(all.len(), "stage"));
            return Err(Error::setting(problem, format!("choose --freeze from 0 to {}", all.len())));
        };
        let prefixes = frozen.concat();
        self.parameters.freeze(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        Ok(prefixes.iter().map(|prefix| prefix.trim_end_matches('.')).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::architectures;
    use crate::optim::Adam;
    use crate::prepare::Preprocessing;
    use crate::train::Trainer;

    fn model(architecture: &str, classes: &[&str], seed: u64) -> Model {
        let classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
        Model::new(architecture, &classes, [64, 32], Preprocessing::default(), seed).unwrap()
    }

    #[test]
    fn all_but_the_last_layer_comes_from_a_model_of_other_classes() {
        for architecture in architectures() {
            let from = model(architecture, &["NoMet", "ADMet", "nADMet"], 1);
            let mut same = model(architecture, &["NoMet", "ADMet", "nADMet"], 2);
            assert!(same.begin_with(&from).unwrap());
            assert_eq!(same.weights_hash(), from.weights_hash(), "{architecture}");
            let (mut two, fresh) = (model(architecture, &["NoMet", "Met"], 2), model(architecture, &["NoMet", "Met"], 2));
            assert!(!two.begin_with(&from).unwrap());
            let last = two.network.last_layer();
            for (id, parameter) in two.parameters.iter() {
                let [theirs, first] = [&from, &fresh].map(|model| model.parameters.get(id).value.clone());
                let has_an_output_a_class = theirs.shape() != parameter.value.shape();
                let expected = if last.contains(&id) || has_an_output_a_class { first } else { theirs };
                assert_eq!(parameter.value, expected, "{architecture}: {}", parameter.name);
            }
        }
    }

    #[test]
    fn another_network_or_size_is_refused_with_what_to_do() {
        let from = model("inrac", &["NoMet", "Met"], 1);
        let said = model("vgg-11", &["NoMet", "Met"], 1).begin_with(&from).unwrap_err().to_string();
        assert!(said.contains("--architecture inrac"), "{said}");
        let large = Model::new("vgg-11", &["NoMet".into(), "Met".into()], [96, 64], Preprocessing::default(), 1).unwrap();
        let said = model("vgg-11", &["NoMet", "Met"], 1).begin_with(&large).unwrap_err().to_string();
        assert!(said.contains("--input-size 96x64"), "{said}");
        let other = Preprocessing { ceiling: 8.0, ..Preprocessing::default() };
        let other = Model::new("inrac", &["NoMet".into(), "Met".into()], [64, 32], other, 1).unwrap();
        assert!(model("inrac", &["NoMet", "Met"], 1).begin_with(&other).unwrap_err().to_string().contains("--ceiling"));
    }

    #[test]
    fn frozen_stages_stay_and_the_others_train() {
        let images: Vec<f32> = (0..2 * 64 * 32).map(|i| (i * i % 97) as f32 / 97.0).collect();
        for architecture in architectures() {
            let mut model = model(architecture, &["NoMet", "Met"], 1);
            let stages = model.network.stages().len();
            assert!(model.freeze(stages + 1).unwrap_err().to_string().contains("--freeze"), "{architecture}");
            for stage in model.network.stages() {
                for prefix in *stage {
                    assert!(model.parameters.iter().any(|(_, p)| p.name.starts_with(prefix)), "{architecture}: {prefix}");
                }
            }
            let frozen = model.freeze(2).unwrap();
            let is_frozen = |name: &str| {
                frozen.iter().any(|stage| {
                    name.starts_with(&format!("{stage}.")) || (stage.starts_with("inception") && name.starts_with(stage))
                })
            };
            let before: Vec<_> = model.parameters.iter().map(|(_, parameter)| parameter.value.clone()).collect();
            let mut trainer = Trainer::new(model, Adam::default());
            trainer.step(&images, &[0, 1], 1e-2).unwrap();
            for ((_, parameter), before) in trainer.model().parameters.iter().zip(before) {
                let is_weight = parameter.name.ends_with("weight");
                if is_frozen(&parameter.name) {
                    assert_eq!(parameter.value, before, "{architecture}: {}", parameter.name);
                } else if is_weight && parameter.name.contains("fc") {
                    assert_ne!(parameter.value, before, "{architecture}: {}", parameter.name);
                }
            }
        }
    }
}
