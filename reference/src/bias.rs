//! A bias for each channel, as nested loops over (pixels, channels).

/// `y[p, c] = x[p, c] + b[c]`
pub fn forward(input: &[f64], bias: &[f64]) -> Vec<f64> {
    input.iter().enumerate().map(|(i, x)| x + bias[i % bias.len()]).collect()
}

/// `grad_b[c] = sum over p of g[p, c]`
pub fn backward(channels: usize, grad_output: &[f64]) -> Vec<f64> {
    let mut grad_bias = vec![0.0; channels];
    for (i, g) in grad_output.iter().enumerate() {
        grad_bias[i % channels] += g;
    }
    grad_bias
}
