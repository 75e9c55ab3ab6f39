//! Pooling over windows as nested loops; layouts and names as in `osteon_kernels::pool`.

/// As `osteon_kernels::pool::PoolShape`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct PoolShape {
    pub batch: usize,
    pub rows: usize,
    pub columns: usize,
    pub channels: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub ceil_mode: bool,
}

impl PoolShape {
    /// Rows and columns of the output.
    pub fn out(&self) -> [usize; 2] {
        let size = [self.rows, self.columns];
        [0, 1].map(|a| {
            let room = size[a] + 2 * self.padding[a] - self.kernel[a];
            if !self.ceil_mode {
                return room / self.stride[a] + 1;
            }
            // Every window that begins within the image or the padding before it, up to the first that reaches its end.
            let begins = (0..).map(|o| o * self.stride[a]).take_while(|&start| start < size[a] + self.padding[a]);
            begins.take_while(|&start| start < room + self.stride[a]).count()
        })
    }

    /// Calls `visit(y, x, pixel)` for each pair of an output's flat place and an input's in its window, windows in scan order
    /// and within a window its pixels in scan order; `pixel` is the input pixel's index within its plane.
    fn each_pair(&self, mut visit: impl FnMut(usize, usize, u32)) {
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
                            let pixel = (row - self.padding[0]) * self.columns + column - self.padding[1];
                            for c in 0..self.channels {
                                visit(
                                    ((n * out_rows + i) * out_columns + j) * self.channels + c,
                                    (n * self.rows * self.columns + pixel) * self.channels + c,
                                    pixel as u32,
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    fn input_len(&self) -> usize {
        self.batch * self.rows * self.columns * self.channels
    }

    fn output_len(&self) -> usize {
        let [out_rows, out_columns] = self.out();
        self.batch * out_rows * out_columns * self.channels
    }
}

/// `y[n, i, j, c] = max over r, s of x[n, i * stride - padding + r, j * stride - padding + s, c]` inside the image, and the
/// first pixel that has it.
pub fn max_pool(shape: PoolShape, input: &[f64]) -> (Vec<f64>, Vec<u32>) {
    let mut best: Vec<Option<(f64, u32)>> = vec![None; shape.output_len()];
    shape.each_pair(|y, x, pixel| {
        if best[y].is_none_or(|(value, _)| input[x] > value || input[x].is_nan()) {
            best[y] = Some((input[x], pixel));
        }
    });
    best.into_iter().map(|best| best.expect("a window without pixels")).unzip()
}

/// Each window's gradient goes to the pixel that won it.
pub fn max_pool_backward(shape: PoolShape, argmax: &[u32], grad_output: &[f64]) -> Vec<f64> {
    let mut grad_input = vec![0.0; shape.input_len()];
    shape.each_pair(|y, x, pixel| {
        if argmax[y] == pixel {
            grad_input[x] += grad_output[y];
        }
    });
    grad_input
}

/// The window's sum over the kernel's area: pixels outside the image are zeros that count.
pub fn average_pool(shape: PoolShape, input: &[f64]) -> Vec<f64> {
    let area = (shape.kernel[0] * shape.kernel[1]) as f64;
    let mut output = vec![0.0; shape.output_len()];
    shape.each_pair(|y, x, _| output[y] += input[x] / area);
    output
}

/// Each pixel gets its share of every window over it.
pub fn average_pool_backward(shape: PoolShape, grad_output: &[f64]) -> Vec<f64> {
    let area = (shape.kernel[0] * shape.kernel[1]) as f64;
    let mut grad_input = vec![0.0; shape.input_len()];
    shape.each_pair(|y, x, _| grad_input[x] += grad_output[y] / area);
    grad_input
}
