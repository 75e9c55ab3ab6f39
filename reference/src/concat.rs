//! Joining channels, as nested loops over (pixels, channels).

/// `y[p, first(k) + c] = x_k[p, c]`, where `first(k)` is the number of channels of the parts before `k`. Parts come with their
/// channels.
pub fn forward(parts: &[(&[f64], usize)]) -> Vec<f64> {
    let pixels = parts.first().map_or(0, |(part, channels)| part.len() / channels);
    let mut output = Vec::new();
    for p in 0..pixels {
        for (part, channels) in parts {
            output.extend((0..*channels).map(|c| part[p * channels + c]));
        }
    }
    output
}

/// `grad_x_k[p, c] = g[p, first(k) + c]`
pub fn backward(channels: &[usize], k: usize, grad_output: &[f64]) -> Vec<f64> {
    let (all, first) = (channels.iter().sum::<usize>(), channels[..k].iter().sum::<usize>());
    let mut grad = Vec::new();
    for p in 0..grad_output.len() / all {
        grad.extend((0..channels[k]).map(|c| grad_output[p * all + first + c]));
    }
    grad
}
