//! Batch normalisation (Ioffe and Szegedy 2015, algorithm 1) as nested loops over (pixels, channels).

/// What the training forward gives.
pub struct Normalised {
    /// `(x - mean) / sqrt(variance + epsilon) * gamma + beta`, (pixels, channels)
    pub output: Vec<f64>,
    /// `sum over p of x[p, c] / pixels`
    pub mean: Vec<f64>,
    /// `1 / sqrt(variance + epsilon)`
    pub inv_std: Vec<f64>,
    /// `sum over p of (x[p, c] - mean[c])^2 / pixels`
    pub variance: Vec<f64>,
}

/// With the batch's own mean and biased variance.
pub fn forward_training(epsilon: f64, input: &[f64], gamma: &[f64], beta: &[f64]) -> Normalised {
    let channels = gamma.len();
    let pixels = input.len() / channels;
    let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
    for p in 0..pixels {
        for c in 0..channels {
            mean[c] += input[p * channels + c] / pixels as f64;
        }
    }
    for p in 0..pixels {
        for c in 0..channels {
            variance[c] += (input[p * channels + c] - mean[c]).powi(2) / pixels as f64;
        }
    }
    let inv_std = variance.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect();
    let output = forward_inference(epsilon, input, gamma, beta, &mean, &variance);
    Normalised { output, mean, inv_std, variance }
}

/// `running + momentum * (batch - running)` of mean and variance, the latter unbiased: `variance * pixels / (pixels - 1)`.
pub fn update_running(
    momentum: f64,
    pixels: usize,
    mean: &[f64],
    variance: &[f64],
    running_mean: &[f64],
    running_var: &[f64],
) -> [Vec<f64>; 2] {
    let unbiased = pixels as f64 / (pixels as f64 - 1.0);
    let moved = |running: &[f64], batch: &[f64], factor: f64| -> Vec<f64> {
        running.iter().zip(batch).map(|(r, b)| r + momentum * (b * factor - r)).collect()
    };
    [moved(running_mean, mean, 1.0), moved(running_var, variance, unbiased)]
}

/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta`
pub fn forward_inference(epsilon: f64, input: &[f64], gamma: &[f64], beta: &[f64], mean: &[f64], variance: &[f64]) -> Vec<f64> {
    let channels = gamma.len();
    let mut output = vec![0.0; input.len()];
    for i in 0..input.len() {
        let c = i % channels;
        output[i] = (input[i] - mean[c]) / (variance[c] + epsilon).sqrt() * gamma[c] + beta[c];
    }
    output
}

/// `(x - mean) * inv_std * gamma + beta`, the last line of the training forward from its other results.
pub fn normalise(input: &[f64], gamma: &[f64], beta: &[f64], mean: &[f64], inv_std: &[f64]) -> Vec<f64> {
    let channels = gamma.len();
    let mut output = vec![0.0; input.len()];
    for i in 0..input.len() {
        let c = i % channels;
        output[i] = (input[i] - mean[c]) * inv_std[c] * gamma[c] + beta[c];
    }
    output
}

/// Gradients of the input, gamma and beta. With `x' = (x - mean) * inv_std`:
/// `grad_beta = sum over p of g`, `grad_gamma = sum over p of g x'`,
/// `grad_x = gamma * inv_std * (g - (grad_beta + x' grad_gamma) / pixels)`.
pub fn backward(input: &[f64], grad_output: &[f64], gamma: &[f64], mean: &[f64], inv_std: &[f64]) -> [Vec<f64>; 3] {
    let channels = gamma.len();
    let pixels = (input.len() / channels) as f64;
    let (mut grad_gamma, mut grad_beta) = (vec![0.0; channels], vec![0.0; channels]);
    for i in 0..input.len() {
        let c = i % channels;
        grad_beta[c] += grad_output[i];
        grad_gamma[c] += grad_output[i] * (input[i] - mean[c]) * inv_std[c];
    }
    let mut grad_input = vec![0.0; input.len()];
    for i in 0..input.len() {
        let c = i % channels;
        let normal = (input[i] - mean[c]) * inv_std[c];
        grad_input[i] = gamma[c] * inv_std[c] * (grad_output[i] - (grad_beta[c] + normal * grad_gamma[c]) / pixels);
    }
    [grad_input, grad_gamma, grad_beta]
}
