//! Gaussian blur.

/// Blurs a picture in place with a Gaussian of `sigma` pixels, cut off at three of them; outside the picture there is nothing.
pub(crate) fn blur(image: &mut [f32], rows: usize, columns: usize, sigma: f32) {
    let reach = (3.0 * sigma).ceil() as usize;
    let mut kernel: Vec<f32> = (0..=reach).map(|k| (-0.5 * (k as f32 / sigma).powi(2)).exp()).collect();
    let sum = kernel[0] + 2.0 * kernel[1..].iter().sum::<f32>();
    kernel.iter_mut().for_each(|weight| *weight /= sum);
    let mut line = vec![0.0; columns + 2 * reach];
    for row in image.chunks_exact_mut(columns) {
        line[reach..reach + columns].copy_from_slice(row);
        for (c, value) in row.iter_mut().enumerate() {
            *value = kernel[0] * line[reach + c];
        }
        for (k, &weight) in kernel.iter().enumerate().skip(1) {
            let (before, after) = (&line[reach - k..], &line[reach + k..]);
            for ((value, a), b) in row.iter_mut().zip(before).zip(after) {
                *value += weight * (a + b);
            }
        }
    }
    // Down the columns, a whole row at a time; rows above the current one are kept as they were in a ring.
    let mut ring = vec![0.0; (reach + 1) * columns];
    for row in 0..rows {
        let slot = |r: usize| (r % (reach + 1)) * columns;
        let (above, below) = image.split_at_mut((row + 1) * columns);
        let current = &mut above[row * columns..];
        ring[slot(row)..][..columns].copy_from_slice(current);
        current.iter_mut().for_each(|value| *value *= kernel[0]);
        for (k, &weight) in kernel.iter().enumerate().skip(1) {
            if k <= row {
                for (value, a) in current.iter_mut().zip(&ring[slot(row - k)..][..columns]) {
                    *value += weight * a;
                }
            }
            if row + k < rows {
                for (value, b) in current.iter_mut().zip(&below[(k - 1) * columns..][..columns]) {
                    *value += weight * b;
                }
            }
        }
    }
}
