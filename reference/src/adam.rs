//! Adam (Kingma and Ba 2015, algorithm 1) and AdamW (Loshchilov and Hutter 2019, algorithm 2) with PyTorch's details, value by value.

/// As `osteon_kernels::adam::AdamStep`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct AdamStep {
    pub learning_rate: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
    pub decoupled: bool,
    pub step: u64,
}

/// The new parameter, first and second moment: with `g = gradient + weight_decay * parameter`, or, decoupled, `g = gradient` and
/// first `parameter *= 1 - learning_rate * weight_decay`,
/// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`,
/// `parameter - learning_rate * m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + epsilon)`.
pub fn step(adam: &AdamStep, gradient: &[f64], parameter: &[f64], first: &[f64], second: &[f64]) -> [Vec<f64>; 3] {
    let mut new = [parameter.to_vec(), first.to_vec(), second.to_vec()];
    let [parameter, first, second] = &mut new;
    for i in 0..gradient.len() {
        let g = gradient[i] + if adam.decoupled { 0.0 } else { adam.weight_decay * parameter[i] };
        if adam.decoupled {
            parameter[i] *= 1.0 - adam.learning_rate * adam.weight_decay;
        }
        first[i] = adam.beta1 * first[i] + (1.0 - adam.beta1) * g;
        second[i] = adam.beta2 * second[i] + (1.0 - adam.beta2) * g * g;
        let m = first[i] / (1.0 - adam.beta1.powf(adam.step as f64));
        let v = second[i] / (1.0 - adam.beta2.powf(adam.step as f64));
        parameter[i] -= adam.learning_rate * m / (v.sqrt() + adam.epsilon);
    }
    new
}
