//! Operations on each value by itself.

/// `max(x, 0)`; NaN stays NaN.
pub fn relu(input: &[f64]) -> Vec<f64> {
    input.iter().map(|&x| if x <= 0.0 { 0.0 } else { x }).collect()
}

/// `g` where the forward's output is above 0, else 0.
pub fn relu_backward(output: &[f64], grad_output: &[f64]) -> Vec<f64> {
    output.iter().zip(grad_output).map(|(&y, &g)| if y > 0.0 { g } else { 0.0 }).collect()
}

/// `a + b`
pub fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// `a + weight b`
pub fn add_scaled(weight: f64, a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + weight * b).collect()
}

/// `factor x`
pub fn scale(factor: f64, input: &[f64]) -> Vec<f64> {
    input.iter().map(|x| factor * x).collect()
}

/// `1 / (1 + e^-x)`
pub fn sigmoid(input: &[f64]) -> Vec<f64> {
    input.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect()
}

/// `g y (1 - y)`
pub fn sigmoid_backward(output: &[f64], grad_output: &[f64]) -> Vec<f64> {
    output.iter().zip(grad_output).map(|(y, g)| g * y * (1.0 - y)).collect()
}
