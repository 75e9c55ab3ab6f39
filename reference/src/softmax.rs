//! Softmax and cross-entropy as nested loops over (batch, classes).

/// `p[n, k] = e^x[n, k] / sum over j of e^x[n, j]`
pub fn softmax(classes: usize, logits: &[f64]) -> Vec<f64> {
    let mut probabilities = Vec::new();
    for row in logits.chunks_exact(classes) {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|x| (x - largest).exp()).sum();
        probabilities.extend(row.iter().map(|x| (x - largest).exp() / sum));
    }
    probabilities
}

/// `sum over n of (ln sum over j of e^x[n, j] - x[n, label[n]]) / batch`
pub fn cross_entropy(classes: usize, logits: &[f64], labels: &[u32]) -> f64 {
    let mut loss = 0.0;
    for (row, &label) in logits.chunks_exact(classes).zip(labels) {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|x| (x - largest).exp()).sum();
        loss += largest + sum.ln() - row[label as usize];
    }
    loss / labels.len() as f64
}

/// `grad_x[n, k] = grad_loss / batch * (p[n, k] - [k = label[n]])`
pub fn cross_entropy_backward(classes: usize, probabilities: &[f64], labels: &[u32], grad_loss: f64) -> Vec<f64> {
    let mut grad = probabilities.to_vec();
    for (row, &label) in grad.chunks_exact_mut(classes).zip(labels) {
        row[label as usize] -= 1.0;
    }
    grad.iter().map(|g| g * grad_loss / labels.len() as f64).collect()
}

/// `sum over n of w[label[n]] (ln sum over j of e^x[n, j] - x[n, label[n]]) / sum over n of w[label[n]]`
pub fn weighted_cross_entropy(classes: usize, logits: &[f64], labels: &[u32], weights: &[f64]) -> f64 {
    let (mut loss, mut total) = (0.0, 0.0);
    for (row, &label) in logits.chunks_exact(classes).zip(labels) {
        let weight = weights[label as usize];
        loss += weight * cross_entropy(classes, row, &[label]);
        total += weight;
    }
    loss / total
}

/// `grad_x[n, k] = grad_loss * w[label[n]] / sum over m of w[label[m]] * (p[n, k] - [k = label[n]])`
pub fn weighted_cross_entropy_backward(
    classes: usize,
    probabilities: &[f64],
    labels: &[u32],
    weights: &[f64],
    grad_loss: f64,
) -> Vec<f64> {
    let total: f64 = labels.iter().map(|&label| weights[label as usize]).sum();
    let mut grad = probabilities.to_vec();
    for (row, &label) in grad.chunks_exact_mut(classes).zip(labels) {
        row[label as usize] -= 1.0;
        row.iter_mut().for_each(|g| *g *= grad_loss * weights[label as usize] / total);
    }
    grad
}
