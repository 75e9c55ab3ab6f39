//! Makes the parameters of a network as its layers are built: their names, and their first values.

use crate::autograd::{Name, ParameterId, ParameterKind, Parameters};
use crate::tensor::{Shape, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Uniform};
use std::collections::BTreeMap;

/// Collects the parameters of layers under a path of names.
#[derive(Debug)]
pub struct Builder {
    parameters: Parameters,
    path: Vec<String>,
    values: Values,
    /// Why the network is not that of a file.
    problem: Option<String>,
}

/// Where first values come from.
#[derive(Debug)]
enum Values {
    /// Drawn.
    Random(Box<ChaCha8Rng>),
    /// Zeros.
    Zeros,
    /// Zeros, to be filled from a file with these tensors, in its shapes, that the network has not asked for yet.
    File(BTreeMap<String, Vec<usize>>),
}

impl Builder {
    /// Parameters drawn at random; the same for the same seed and layers.
    pub fn seeded(seed: u64) -> Self {
        Builder::new(Values::Random(Box::new(ChaCha8Rng::seed_from_u64(seed))))
    }

    /// Weights of zeros, for values that come from elsewhere.
    pub fn zeros() -> Self {
        Builder::new(Values::Zeros)
    }

    /// Weights of zeros, for values from a file that has tensors of these names and shapes. No memory is taken for a parameter that
    /// the file does not have: what is said elsewhere in the file cannot ask for more than the file is long.
    pub fn of_file(tensors: BTreeMap<String, Vec<usize>>) -> Self {
        Builder::new(Values::File(tensors))
    }

    fn new(values: Values) -> Self {
        Builder { parameters: Parameters::new(), path: Vec::new(), values, problem: None }
    }

    /// Builds something whose parameters' names begin with `name` and a dot. Gives it the whole path.
    pub fn within<T>(&mut self, name: &str, build: impl FnOnce(&mut Builder, Name) -> T) -> T {
        self.path.push(name.to_owned());
        let path = Name::from(self.path.join("."));
        let built = build(self, path);
        self.path.pop();
        built
    }

    /// The finished parameters.
    ///
    /// # Errors
    /// What a file has too much or too little, or in another shape, in words that follow its name.
    pub fn finish(self) -> Result<Parameters, String> {
        let extra = match &self.values {
            Values::File(tensors) => tensors.keys().next().map(|name| format!("has a tensor `{name}` too many")),
            Values::Random(_) | Values::Zeros => None,
        };
        self.problem.or(extra).map_or(Ok(self.parameters), Err)
    }

    /// Weights of a convolution (kernel rows, kernel columns, in, out): normal with variance 2 / (out * rows * columns),
    /// He et al. 2015 with fan out.
    pub fn convolution(&mut self, name: &str, shape: [usize; 4]) -> ParameterId {
        let [rows, columns, _, outputs] = shape;
        let deviation = (2.0 / (rows * columns * outputs) as f32).sqrt();
        let normal = Normal::new(0.0, deviation).expect("a finite deviation");
        self.draw(name, ParameterKind::Convolution, shape.into(), normal)
    }

    /// Weights of any layer: normal with variance 2 / fan in, He et al. 2015, eq. 10. Without batch normalisation it is what keeps the
    /// size of activations from layer to layer.
    pub fn he_fan_in(&mut self, name: &str, kind: ParameterKind, shape: impl Into<Shape>, fan_in: usize) -> ParameterId {
        let normal = Normal::new(0.0, (2.0 / fan_in as f32).sqrt()).expect("a finite deviation");
        self.draw(name, kind, shape.into(), normal)
    }

    /// Weight or bias of a linear layer: uniform within 1 / sqrt(fan in), PyTorch's default for both.
    pub fn uniform(&mut self, name: &str, shape: impl Into<Shape>, fan_in: usize) -> ParameterId {
        let bound = 1.0 / (fan_in as f32).sqrt();
        let uniform = Uniform::new_inclusive(-bound, bound).expect("finite bounds");
        self.draw(name, ParameterKind::Plain, shape.into(), uniform)
    }

    /// A constant, trained or a statistic.
    pub fn constant(&mut self, name: &str, kind: ParameterKind, shape: impl Into<Shape>, value: f32) -> ParameterId {
        self.add(name, kind, shape.into(), |_, shape| Tensor::full(shape, value))
    }

    fn draw(&mut self, name: &str, kind: ParameterKind, shape: Shape, distribution: impl Distribution<f32>) -> ParameterId {
        self.add(name, kind, shape, |random, shape| match random {
            Some(random) => Tensor::new(shape, distribution.sample_iter(random).take(shape.len()).collect()),
            None => Tensor::full(shape, 0.0),
        })
    }

    fn add(
        &mut self,
        name: &str,
        kind: ParameterKind,
        mut shape: Shape,
        value: impl FnOnce(Option<&mut ChaCha8Rng>, Shape) -> Tensor,
    ) -> ParameterId {
        let name = self.path.iter().map(|part| format!("{part}.")).collect::<String>() + name;
        let random = match &mut self.values {
            Values::Random(random) => Some(&mut **random),
            Values::Zeros => None,
            Values::File(tensors) => {
                let expected = kind.file_shape(shape);
                let problem = match tensors.remove(&name) {
                    None => Some(format!("has no tensor `{name}`")),
                    Some(own) if own != *expected => {
                        Some(format!("`{name}` has shape {own:?} where {:?} was expected", &*expected))
                    }
                    Some(_) => None,
                };
                if problem.is_some() {
                    shape = [0].into();
                    self.problem = self.problem.take().or(problem);
                }
                None
            }
        };
        self.parameters.add(name, kind, value(random, shape))
    }
}
