//! Global pooling, (batch, pixels, channels) to (batch, channels), as nested loops.

/// As `osteon_kernels::reduce::ReduceShape`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct ReduceShape {
    pub batch: usize,
    pub pixels: usize,
    pub channels: usize,
}

/// One input value.
pub(crate) struct Place {
    /// Its flat place.
    pub x: usize,
    /// The flat place in a (batch, channels) array.
    pub vector: usize,
    /// The flat place in a (batch, pixels) array.
    pub pixel: usize,
    /// The pixel within its image.
    pub p: usize,
    /// The channel.
    pub c: usize,
}

impl ReduceShape {
    pub(crate) fn each(&self, mut visit: impl FnMut(Place)) {
        for n in 0..self.batch {
            for p in 0..self.pixels {
                for c in 0..self.channels {
                    let (pixel, vector) = (n * self.pixels + p, n * self.channels + c);
                    visit(Place { x: pixel * self.channels + c, vector, pixel, p, c });
                }
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.batch * self.pixels * self.channels
    }
}

/// `y[n, c] = sum over p of x[n, p, c] / pixels`
pub fn global_average(shape: ReduceShape, input: &[f64]) -> Vec<f64> {
    let mut output = vec![0.0; shape.batch * shape.channels];
    shape.each(|Place { x, vector, .. }| output[vector] += input[x] / shape.pixels as f64);
    output
}

/// `grad_x[n, p, c] = g[n, c] / pixels`
pub fn global_average_backward(shape: ReduceShape, grad_output: &[f64]) -> Vec<f64> {
    let mut grad_input = vec![0.0; shape.len()];
    shape.each(|Place { x, vector, .. }| grad_input[x] = grad_output[vector] / shape.pixels as f64);
    grad_input
}

/// `y[n, c] = max over p of x[n, p, c]`, and the first `p` that has it.
pub fn global_max(shape: ReduceShape, input: &[f64]) -> (Vec<f64>, Vec<u32>) {
    let mut output = vec![f64::NEG_INFINITY; shape.batch * shape.channels];
    let mut argmax = vec![0; output.len()];
    shape.each(|Place { x, vector, p, .. }| {
        if input[x] > output[vector] || input[x].is_nan() {
            (output[vector], argmax[vector]) = (input[x], p as u32);
        }
    });
    (output, argmax)
}

/// The winning pixel gets the gradient.
pub fn global_max_backward(shape: ReduceShape, argmax: &[u32], grad_output: &[f64]) -> Vec<f64> {
    let mut grad_input = vec![0.0; shape.len()];
    shape.each(|Place { x, vector, p, .. }| grad_input[x] = if argmax[vector] == p as u32 { grad_output[vector] } else { 0.0 });
    grad_input
}
