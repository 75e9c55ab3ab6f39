//! Mean over the windows that divide an image, as nested loops; names as in `osteon_kernels::adaptive`.

/// As `osteon_kernels::adaptive::AdaptiveShape`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct AdaptiveShape {
    pub batch: usize,
    pub size: [usize; 2],
    pub channels: usize,
    pub windows: [usize; 2],
}

impl AdaptiveShape {
    /// Calls `visit(y, x, area)` for each pair of an output's flat place and an input's in its window, with the window's pixels.
    fn each_pair(&self, mut visit: impl FnMut(usize, usize, f64)) {
        let ([rows, columns], [out_rows, out_columns]) = (self.size, self.windows);
        let begin = |o: usize, n: usize, m: usize| (o as f64 * m as f64 / n as f64).floor() as usize;
        let end = |o: usize, n: usize, m: usize| ((o + 1) as f64 * m as f64 / n as f64).ceil() as usize;
        for n in 0..self.batch {
            for i in 0..out_rows {
                for j in 0..out_columns {
                    let (top, bottom) = (begin(i, out_rows, rows), end(i, out_rows, rows));
                    let (left, right) = (begin(j, out_columns, columns), end(j, out_columns, columns));
                    let area = ((bottom - top) * (right - left)) as f64;
                    for row in top..bottom {
                        for column in left..right {
                            for c in 0..self.channels {
                                let y = ((n * out_rows + i) * out_columns + j) * self.channels + c;
                                visit(y, ((n * rows + row) * columns + column) * self.channels + c, area);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `y[n, i, j, c] = mean of x[n, r, s, c]` over `floor(i rows / windows) <= r < ceil((i + 1) rows / windows)`, and `s` likewise.
pub fn forward(shape: AdaptiveShape, input: &[f64]) -> Vec<f64> {
    let mut output = vec![0.0; shape.batch * shape.windows[0] * shape.windows[1] * shape.channels];
    shape.each_pair(|y, x, area| output[y] += input[x] / area);
    output
}

/// Each pixel gets its share of every window over it.
pub fn backward(shape: AdaptiveShape, grad_output: &[f64]) -> Vec<f64> {
    let mut grad_input = vec![0.0; shape.batch * shape.size[0] * shape.size[1] * shape.channels];
    shape.each_pair(|y, x, area| grad_input[x] += grad_output[y] / area);
    grad_input
}
