//! Values that need no storing, and what is stored of those that are too large: the Rust side of `scripts/fill.py`.
//!
//! The network has 15 million weights and as many gradients, so neither stands in `goldens/`. Weights and inputs are a formula of
//! (name, index), the same bits here and in Python. Of a large gradient `g` a golden file holds its norm, [`SAMPLES`] of its
//! values, and the sums `p_j = sum_i s_ji g_i` under [`PROJECTIONS`] rows of pseudo-random signs `s_ji`. For an error vector
//! `e = g' - g` the expectation of `(p'_j - p_j)^2` over the signs is exactly `|e|^2`, since the signs of different entries are
//! uncorrelated, and its variance is at most `2 |e|^4`. So the root mean square over 64 rows estimates `|e|` without knowing
//! `e`, with a standard error of at most `sqrt(2 / 64) / 2 = 9 %`: a claim that stays far below its bound is proved (Alon,
//! Matias and Szegedy 1996; Achlioptas 2003), wherever in the tensor the error sits.

/// Rows of signs, one for each bit of a hash.
pub const PROJECTIONS: usize = 64;

/// Values kept of a large tensor.
pub const SAMPLES: usize = 256;

/// SplitMix64 (Steele, Lea and Flood 2014) from a state that is the FNV-1a hash of a name.
#[derive(Clone, Debug)]
pub struct Bits(u64);

impl Bits {
    /// The stream of that name.
    pub fn new(name: &str) -> Self {
        Bits::from_state(name.bytes().fold(0xCBF2_9CE4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)))
    }

    /// The stream that begins at this state.
    pub fn from_state(state: u64) -> Self {
        Bits(state)
    }
}

impl Iterator for Bits {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Some(z ^ (z >> 31))
    }
}

/// `len` values uniform in `centre` ± `scale`.
pub fn fill(name: &str, len: usize, centre: f64, scale: f64) -> Vec<f32> {
    let uniform = |z: u64| (2.0 * (z >> 41) as f64 + 1.0 - 8_388_608.0) / 8_388_608.0; // odd multiples of 2^-23 in (-1, 1)
    Bits::new(name).take(len).map(|z| (centre + scale * uniform(z)) as f32).collect()
}

/// A plausible value for the parameter or running statistic of that name, `shape` as PyTorch has it.
pub fn parameter(name: &str, shape: &[usize]) -> Vec<f32> {
    let (centre, scale) = match shape {
        [out, _, rows, columns] => (0.0, (6.0 / (out * rows * columns) as f64).sqrt()), // the variance of He normal, fan out
        [_, inputs] => (0.0, (1.0 / *inputs as f64).sqrt()),                            // PyTorch's linear layer
        _ if name.ends_with("running_var") => (1.0, 0.5),
        _ if name.ends_with("running_mean") => (0.0, 0.25),
        _ if name.ends_with("weight") => (1.0, 0.25), // batch norm
        _ => (0.5, 0.25),
    };
    fill(name, shape.iter().product(), centre, scale)
}

/// Network inputs, (batch, rows, columns): a grid of 8x8 grey patches, each image its own and brighter than the last, plus noise.
pub fn images(name: &str, batch: usize, rows: usize, columns: usize) -> Vec<f32> {
    let patches = fill(&format!("{name}.patches"), batch * 64, 0.0, 3.0);
    let noise = fill(name, batch * rows * columns, 0.0, 1.0).into_iter().enumerate();
    let image = noise.map(|(i, noise)| {
        let (n, row, column) = (i / (rows * columns), i / columns % rows, i % columns);
        let patch = patches[n * 64 + row * 8 / rows * 8 + column * 8 / columns];
        ((n + 1) as f64 * (f64::from(patch) + f64::from(noise))) as f32
    });
    image.collect()
}

/// The indices of the [`SAMPLES`] values kept of a tensor of `len`.
pub fn sample_indices(len: usize) -> impl Iterator<Item = usize> {
    (0..SAMPLES).map(move |i| i * len / SAMPLES)
}

/// Sums of `values` under the rows of signs that belong to `name`: bit `j` of entry `i`, set for plus, is the sign of value `i` in
/// sum `j`.
pub fn projections(name: &str, values: &[f64]) -> [f64; PROJECTIONS] {
    let mut sums = [0.0; PROJECTIONS];
    for (&value, z) in values.iter().zip(Bits::new(&format!("projections of {name}"))) {
        for (j, sum) in sums.iter_mut().enumerate() {
            // Bit 0 becomes the sign bit of a float.
            let minus = (!z >> j & 1) << 63;
            *sum += f64::from_bits(value.to_bits() ^ minus);
        }
    }
    sums
}

/// `|actual - expected| / |expected|` in the l2 norm; infinite where a value is not finite or the expected norm is zero and the
/// other is not.
pub fn relative_error(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "unequal lengths");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut actual.iter().zip(expected).map(|(a, e)| a - e));
    let size = norm(&mut expected.iter().copied());
    match error / size {
        ratio if ratio.is_finite() => ratio,
        _ if error == 0.0 => 0.0,
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by `python scripts/fill.py`.
    #[test]
    fn the_same_bits_as_python() {
        let bits: Vec<u64> = Bits::new("conv1.weight").take(3).collect();
        assert_eq!(bits, [0x8b8a_08a8_5128_a1b0, 0xbec2_eba8_2f6f_054f, 0x05de_32ee_ed3c_84ab]);
        let python = [1.0225374698638916_f64, 1.122580885887146, 0.7614609003067017, 1.1180988550186157];
        assert_eq!(fill("conv1.weight", 4, 1.0, 0.25), python.map(|x| x as f32));
        let fifth = [&[8, 3, 3, 3][..], &[4, 64], &[16]].map(|shape| parameter("x.weight", shape)[5]);
        assert_eq!(fifth, [0.25230878591537476_f64, 0.1092529147863388, 1.218505859375].map(|x| x as f32));
        let values: Vec<f64> = fill("x", 1000, 0.0, 1.0).into_iter().map(f64::from).collect();
        let sums = projections("x", &values);
        for (j, python) in [(0, -16.470048189163208), (1, -22.62163782119751), (63, -57.20978331565857)] {
            assert!((sums[j] - python).abs() < 1e-9, "row {j}: {} here, {python} in Python", sums[j]);
        }
    }

    /// The claim of the module's doc: an error anywhere shows in the projections at its own size.
    #[test]
    fn projections_estimate_the_norm_of_an_error() {
        for (case, len) in [("one entry", 100_000), ("a block", 40_000), ("everything", 10_000)] {
            let mut error = vec![0.0; len];
            match case {
                "one entry" => error[77_777] = 3.0,
                "a block" => error[5_000..6_000].fill(-0.25),
                _ => error.iter_mut().zip(fill("error", len, 0.0, 0.1)).for_each(|(e, x)| *e = f64::from(x)),
            }
            let truth = error.iter().map(|e| e * e).sum::<f64>().sqrt();
            let sums = projections(case, &error);
            let estimate = (sums.iter().map(|p| p * p).sum::<f64>() / PROJECTIONS as f64).sqrt();
            assert!((estimate / truth - 1.0).abs() < 0.27, "{case}: {estimate} estimated, {truth} true");
        }
    }

    #[test]
    fn relative_error_of_what_is_not_finite_is_infinite() {
        assert_eq!(relative_error(&[f64::NAN, 1.0], &[1.0, 1.0]), f64::INFINITY);
        assert_eq!(relative_error(&[1.0], &[0.0]), f64::INFINITY);
        assert_eq!(relative_error(&[0.0], &[0.0]), 0.0);
        assert_eq!(relative_error(&[3.0, 4.5], &[3.0, 4.0]), 0.1);
    }
}
