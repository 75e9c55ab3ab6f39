//! Named sets of defaults, and the weights of classes, which a recipe may have.

use crate::text::counted;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A named set of defaults of a training run: any setting that is given wins over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipe {
    /// The paper's: Adam at 0.01, the same throughout, batches of 32.
    Paper,
    /// What trained better on the phantoms that were tried, by [`FAMILIES`] for the network at hand.
    Osteon,
}

impl Recipe {
    /// That of `osteon train` where none is given.
    pub const DEFAULT: Recipe = Recipe::Osteon;
    /// Steps of a training by [`Recipe::Osteon`] at least, where epochs are not given: of a hundred studies the recipe's epochs are 360
    /// steps, in which a network learns less than it could (`reference/recipes/README.md`).
    pub const LEAST_STEPS: usize = 1500;
    /// The network where none is given.
    pub const ARCHITECTURE: &str = "inrac";
}

/// What [`Recipe::Osteon`] has for a family of networks.
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Its networks; of the first family all that no other names.
    pub names: &'static [&'static str],
    /// Adam's learning rate, before the schedule.
    pub learning_rate: f32,
    /// The largest norm of a gradient; 0: no limit.
    pub clip_norm: f32,
    /// Whether first weights are fitted to the first images.
    pub standardise_init: bool,
}

/// The recipe by family. The runs that justify each entry, on phantoms of another seed than those whose scores are reported, are in
/// `reference/recipes/README.md`.
pub const FAMILIES: [Family; 3] = [
    Family { name: "residual", names: &[], learning_rate: 1e-3, clip_norm: 0.0, standardise_init: false },
    Family { name: "inception", names: &["inception-v1"], learning_rate: 1e-3, clip_norm: 0.0, standardise_init: false },
    Family { name: "vgg", names: &["vgg-11"], learning_rate: 1e-4, clip_norm: 0.0, standardise_init: true },
];

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Recipe::Paper => "paper",
            Recipe::Osteon => "osteon",
        })
    }
}

/// What an image counts in the training loss, by its class. Written `none`, `balanced`, or as numbers: `1,1.5,2`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ClassWeights {
    /// All the same.
    None,
    /// The inverse of the class's share of the training studies, over the number of classes: each class as a whole counts the same.
    Balanced,
    /// These, in the order of the classes.
    Given(Vec<f32>),
}

impl ClassWeights {
    /// The weight of each class, for a training set with these labels; none where all are the same.
    ///
    /// # Errors
    /// Other than one weight a class, in words.
    pub fn of(&self, labels: &[u32], classes: usize) -> Result<Option<Vec<f32>>, String> {
        match self {
            ClassWeights::None => Ok(None),
            ClassWeights::Balanced => {
                let mut counts = vec![0usize; classes];
                labels.iter().for_each(|&label| counts[label as usize] += 1);
                // A class without studies is never weighed.
                let weight = |&count: &usize| labels.len() as f32 / (classes * count.max(1)) as f32;
                Ok(Some(counts.iter().map(weight).collect()))
            }
            ClassWeights::Given(weights) if weights.len() == classes => Ok(Some(weights.clone())),
            ClassWeights::Given(weights) => {
                Err(format!("class_weights has {} for {}", counted(weights.len(), "number"), counted(classes, "class")))
            }
        }
    }
}

impl fmt::Display for ClassWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClassWeights::None => f.write_str("none"),
            ClassWeights::Balanced => f.write_str("balanced"),
            ClassWeights::Given(weights) => f.write_str(&weights.iter().map(f32::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

impl FromStr for ClassWeights {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(ClassWeights::None),
            "balanced" => Ok(ClassWeights::Balanced),
            _ => {
                let weight = |part: &str| part.trim().parse().ok().filter(|weight: &f32| *weight > 0.0 && weight.is_finite());
                let weights: Option<Vec<f32>> = text.split(',').map(weight).collect();
                weights.map(ClassWeights::Given).ok_or_else(|| {
                    format!(
                        "class_weights is `{text}`; write none, balanced, or a number above 0 for each class, such as 1,1.5,2"
                    )
                })
            }
        }
    }
}

impl From<ClassWeights> for String {
    fn from(weights: ClassWeights) -> String {
        weights.to_string()
    }
}

impl TryFrom<String> for ClassWeights {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_classes_count_the_same_as_a_whole() {
        let labels = [0, 0, 0, 0, 1, 1, 2, 2];
        let weights = ClassWeights::Balanced.of(&labels, 3).unwrap().unwrap();
        assert_eq!(weights, [8.0 / 12.0, 8.0 / 6.0, 8.0 / 6.0]);
        assert_eq!(ClassWeights::Balanced.of(&[1, 1], 2).unwrap().unwrap(), [1.0, 0.5]);
        assert_eq!(ClassWeights::None.of(&labels, 3).unwrap(), None);
    }

    #[test]
    fn weights_are_written_as_they_are_read() {
        for text in ["none", "balanced", "1,1.5,2"] {
            assert_eq!(text.parse::<ClassWeights>().unwrap().to_string(), text);
        }
        for text in ["", "even", "1,,2", "1,0", "1,-2", "1,inf", "1,NaN"] {
            assert!(text.parse::<ClassWeights>().unwrap_err().contains("number above 0"), "{text}");
        }
        assert!(ClassWeights::Given(vec![1.0, 2.0]).of(&[0], 3).unwrap_err().contains("2 numbers for 3 classes"));
    }
}
