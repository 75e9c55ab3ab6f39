//! 2-D convolution as nested loops; layouts and names as in `osteon_kernels::conv`.
//!
//! `y[n, i, j, k] = sum over r, s, c of x[n, i * stride - padding + r, j * stride - padding + s, c] * w[r, s, c, k]`

/// As `osteon_kernels::conv::ConvShape`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct ConvShape {
    pub batch: usize,
    pub rows: usize,
    pub columns: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
}

impl ConvShape {
    /// Rows and columns of the output.
    pub fn out(&self) -> [usize; 2] {
        let size = [self.rows, self.columns];
        [0, 1].map(|a| (size[a] + 2 * self.padding[a]).checked_sub(self.kernel[a]).map_or(0, |room| room / self.stride[a] + 1))
    }

    /// Calls `visit(x, w, y)` with the flat places of each product x * w that y sums.
    fn each_product(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let [out_rows, out_columns] = self.out();
        for n in 0..self.batch {
            for i in 0..out_rows {
                for j in 0..out_columns {
                    for r in 0..self.kernel[0] {
                        for s in 0..self.kernel[1] {
                            let (row, column) = (i * self.stride[0] + r, j * self.stride[1] + s);
                            let inside = row >= self.padding[0] && row < self.rows + self.padding[0];
                            if !inside || column < self.padding[1] || column >= self.columns + self.padding[1] {
                                continue;
                            }
                            let (row, column) = (row - self.padding[0], column - self.padding[1]);
                            for c in 0..self.in_channels {
                                for k in 0..self.out_channels {
                                    visit(
                                        ((n * self.rows + row) * self.columns + column) * self.in_channels + c,
                                        ((r * self.kernel[1] + s) * self.in_channels + c) * self.out_channels + k,
                                        ((n * out_rows + i) * out_columns + j) * self.out_channels + k,
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `y`.
pub fn forward(shape: ConvShape, input: &[f64], weights: &[f64]) -> Vec<f64> {
    let [out_rows, out_columns] = shape.out();
    let mut output = vec![0.0; shape.batch * out_rows * out_columns * shape.out_channels];
    shape.each_product(|x, w, y| output[y] += input[x] * weights[w]);
    output
}

/// `dx = sum of dy * w` over the products that x takes part in.
pub fn backward_data(shape: ConvShape, grad_output: &[f64], weights: &[f64]) -> Vec<f64> {
    let mut grad_input = vec![0.0; shape.batch * shape.rows * shape.columns * shape.in_channels];
    shape.each_product(|x, w, y| grad_input[x] += grad_output[y] * weights[w]);
    grad_input
}

/// `dw = sum of dy * x` over the products that w takes part in.
pub fn backward_weights(shape: ConvShape, input: &[f64], grad_output: &[f64]) -> Vec<f64> {
    let mut grad_weights = vec![0.0; shape.kernel[0] * shape.kernel[1] * shape.in_channels * shape.out_channels];
    shape.each_product(|x, w, y| grad_weights[w] += grad_output[y] * input[x]);
    grad_weights
}
