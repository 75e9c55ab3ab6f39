//! Makes the parameters of a network as its layers are built: their names, and their first values.

use crate::autograd::{Kind, Name, ParameterId, Parameters};
use crate::tensor::{Shape, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Uniform};

/// Collects the parameters of layers under a path of names.
#[derive(Debug)]
pub struct Builder {
    parameters: Parameters,
    path: Vec<String>,
    /// None: zeros, to be filled from a file.
    random: Option<ChaCha8Rng>,
}

impl Builder {
    /// Parameters drawn at random; the same for the same seed and layers.
    pub fn seeded(seed: u64) -> Self {
        Builder { parameters: Parameters::new(), path: Vec::new(), random: Some(ChaCha8Rng::seed_from_u64(seed)) }
    }

    /// Weights of zeros, for values that come from elsewhere.
    pub fn zeros() -> Self {
        Builder { parameters: Parameters::new(), path: Vec::new(), random: None }
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
    pub fn finish(self) -> Parameters {
        self.parameters
    }

    /// Weights of a convolution (kernel rows, kernel columns, in, out): normal with variance 2 / (out * rows * columns),
    /// He et al. 2015 with fan out.
    pub fn convolution(&mut self, name: &str, shape: [usize; 4]) -> ParameterId {
        let [rows, columns, _, outputs] = shape;
        let deviation = (2.0 / (rows * columns * outputs) as f32).sqrt();
        let normal = Normal::new(0.0, deviation).expect("a finite deviation");
        self.draw(name, Kind::Convolution, shape.into(), normal)
    }

    /// Weight or bias of a linear layer: uniform within 1 / sqrt(fan in), PyTorch's default for both.
    pub fn uniform(&mut self, name: &str, shape: impl Into<Shape>, fan_in: usize) -> ParameterId {
        let bound = 1.0 / (fan_in as f32).sqrt();
        let uniform = Uniform::new_inclusive(-bound, bound).expect("finite bounds");
        self.draw(name, Kind::Plain, shape.into(), uniform)
    }

    /// A constant, trained or a statistic.
    pub fn constant(&mut self, name: &str, kind: Kind, shape: impl Into<Shape>, value: f32) -> ParameterId {
        self.add(name, kind, Tensor::full(shape, value))
    }

    fn draw(&mut self, name: &str, kind: Kind, shape: Shape, distribution: impl Distribution<f32>) -> ParameterId {
        let value = match &mut self.random {
            Some(random) => Tensor::new(shape, distribution.sample_iter(random).take(shape.len()).collect()),
            None => Tensor::full(shape, 0.0),
        };
        self.add(name, kind, value)
    }

    fn add(&mut self, name: &str, kind: Kind, value: Tensor) -> ParameterId {
        let prefix = self.path.iter().map(|part| format!("{part}.")).collect::<String>();
        self.parameters.add(prefix + name, kind, value)
    }
}
