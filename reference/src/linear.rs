//! The fully connected layer as nested loops; weight (out_features, in_features).

/// `y[n, o] = b[o] + sum over i of x[n, i] w[o, i]`
pub fn forward(in_features: usize, input: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let mut output = Vec::new();
    for row in input.chunks_exact(in_features) {
        for (o, bias) in bias.iter().enumerate() {
            let mut sum = *bias;
            for i in 0..in_features {
                sum += row[i] * weight[o * in_features + i];
            }
            output.push(sum);
        }
    }
    output
}

/// `grad_x[n, i] = sum over o of g[n, o] w[o, i]`, `grad_w[o, i] = sum over n of g[n, o] x[n, i]`,
/// `grad_b[o] = sum over n of g[n, o]`
pub fn backward(in_features: usize, input: &[f64], weight: &[f64], grad_output: &[f64]) -> [Vec<f64>; 3] {
    let (batch, out_features) = (input.len() / in_features, weight.len() / in_features);
    let (mut grad_input, mut grad_weight) = (vec![0.0; input.len()], vec![0.0; weight.len()]);
    let mut grad_bias = vec![0.0; out_features];
    for n in 0..batch {
        for o in 0..out_features {
            let g = grad_output[n * out_features + o];
            grad_bias[o] += g;
            for i in 0..in_features {
                grad_input[n * in_features + i] += g * weight[o * in_features + i];
                grad_weight[o * in_features + i] += g * input[n * in_features + i];
            }
        }
    }
    [grad_input, grad_weight, grad_bias]
}
