//! Adam (Kingma and Ba 2015, algorithm 1) in one pass over a parameter, with PyTorch's details: epsilon outside the square root;
//! weight decay as an L2 term of the gradient, or beside it (AdamW: Loshchilov and Hutter 2019, algorithm 2).

use crate::elementwise::CHUNK;
use crate::par;
use crate::simd::{Body, Isa, LANES, Simd};

/// The settings of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// How far a step goes.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Keeps the division finite.
    pub epsilon: f32,
    /// Times the parameter, added to its gradient; or, [`decoupled`](Self::decoupled), taken off the parameter.
    pub weight_decay: f32,
    /// Whether the decay passes the moments by: the parameter first loses `learning_rate * weight_decay` of itself.
    pub decoupled: bool,
    /// Number of this step, from 1.
    pub step: u64,
}

/// One step: `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`,
/// `parameter -= learning_rate m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + epsilon)`, where weight decay either is part of
/// g or has multiplied the parameter by `1 - learning_rate weight_decay`.
pub fn step(
    isa: Isa,
    adam: &AdamStep,
    gradient: &[f32],
    parameter: &mut [f32],
    first_moment: &mut [f32],
    second_moment: &mut [f32],
) {
    assert!(adam.step > 0, "steps count from 1");
    assert!(gradient.len() == parameter.len(), "gradient and parameter of unequal lengths");
    assert!(first_moment.len() == parameter.len() && second_moment.len() == parameter.len(), "moments of other lengths");
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(adam.step as f64);
    let step_size = (f64::from(adam.learning_rate) / correction(adam.beta1)) as f32;
    let inverse_root = (1.0 / correction(adam.beta2).sqrt()) as f32;
    par::chunks_mut_each([parameter, first_moment, second_moment], [CHUNK / 4; 3], |i, [parameter, first, second]| {
        let gradient = &gradient[i * (CHUNK / 4)..][..parameter.len()];
        isa.run(Chunk { adam, step_size, inverse_root, gradient, parameter, first, second });
    });
}

struct Chunk<'a> {
    adam: &'a AdamStep,
    step_size: f32,
    inverse_root: f32,
    gradient: &'a [f32],
    parameter: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl Body for Chunk<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let adam = self.adam;
        let (penalty, kept) = match adam.decoupled {
            true => (0.0, (1.0 - f64::from(adam.learning_rate) * f64::from(adam.weight_decay)) as f32),
            false => (adam.weight_decay, 1.0),
        };
        let (beta2, penalty, kept) = (simd.splat(adam.beta2), simd.splat(penalty), simd.splat(kept));
        let (rest1, rest2) = (simd.splat(1.0 - adam.beta1), simd.splat(1.0 - adam.beta2));
        let (epsilon, inverse_root) = (simd.splat(adam.epsilon), simd.splat(self.inverse_root));
        let backwards = simd.splat(-self.step_size);
        for i in (0..self.parameter.len()).step_by(LANES) {
            let (parameter, gradient) = (&mut self.parameter[i..], &self.gradient[i..]);
            let (first, second) = (&mut self.first[i..], &mut self.second[i..]);
            let p = simd.load_part(parameter, 0.0);
            let g = simd.mul_add(penalty, p, simd.load_part(gradient, 0.0));
            let m = simd.load_part(first, 0.0);
            let m = simd.mul_add(rest1, simd.sub(g, m), m);
            let v = simd.load_part(second, 0.0);
            let v = simd.mul_add(simd.mul(rest2, g), g, simd.mul(beta2, v));
            let denominator = simd.mul_add(simd.sqrt(v), inverse_root, epsilon);
            let p = simd.mul_add(backwards, simd.div(m, denominator), simd.mul(kept, p));
            simd.store_part(p, parameter);
            simd.store_part(m, first);
            simd.store_part(v, second);
        }
    }
}
