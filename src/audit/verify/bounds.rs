//! How far a recomputed value may be off, and why: named bounds, in units of f32's rounding error [`U`].

use osteon_reference as reference;

/// Largest relative error of one rounding to f32: half of 2^-23.
pub const U: f64 = 0.5 * f32::EPSILON as f64;

/// Results below 2^-126 = 1.2e-38 are flushed to zero. A sum of 10^7 of them is still below this, which every value may be off.
pub const FLUSHED: f64 = 1e-30;

/// How far an operation's values may be off, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// Nothing was computed; the hash alone is checked.
    Recorded,
    /// Values are chosen or copied: not at all.
    Exact,
    /// `k U` of the value, or of the terms that may cancel in it, for the `k` roundings that a value goes through.
    Rounding,
    /// `n U` of the sum of the terms' absolute values, for terms that go through at most `n` roundings (Higham 2002, section
    /// 4.2). `n` is the number of terms, or less where they are summed in groups.
    Sum,
    /// The relative l2 error that implicit GEMM claims, `Algorithm::max_error`: 2e-6. The size that it is relative to is
    /// `sqrt(y^2 + sum of squared terms)` for each value, which is y's own where terms do not cancel.
    ImplicitGemm,
    /// The same of Winograd: 1e-5.
    Winograd,
    /// `MAX_EXP_ERROR` = 3e-7 for an exponential, and the rounding of its argument, `U` times its size.
    Exponential,
    /// Mean and variance of chunks, which are f32 sums around a pilot, combined in f64. A chunk of `n` pixels is summed in
    /// groups of 16, so a term goes through `s = 16 + n / 16` roundings; the pilot makes the sum of squares at most
    /// `1 + n / 32` times what it is around the mean.
    /// Mean: `2 U |mean| + s U sqrt((1 + n / 32) variance)`. Variance: `(s + 4) U (1 + n / 32) variance`, and what the error
    /// `d` of a mean moves it, `2 d std + d^2`. 1 / std: half the relative error of the variance, and `U`.
    Statistics,
    /// Batch normalisation's gradient is what is left of g without its mean and its slope along the normal values x': the error
    /// is relative to `scale (|g| + mean |g| + |x'| mean |g x'|)`, times `s + 10` roundings, with `s` as in
    /// [`Statistics`](Bound::Statistics): the sum's terms have 2 before it and it has one, the slope 2, the difference and its
    /// product 2, the sum 1, the scale 2.
    NormGradient,
    /// `16 U` of `|p| + learning rate |m| / (sqrt(v) + epsilon)`, m and v corrected: the gradient with its penalty has 2
    /// roundings, the first moment 3, the second 4 of which the root halves, the denominator 4, quotient and step 4.
    Adam,
}

impl Bound {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Bound::Recorded => "recorded",
            Bound::Exact => "exact",
            Bound::Rounding => "rounding",
            Bound::Sum => "sum",
            Bound::ImplicitGemm => "implicit GEMM, l2",
            Bound::Winograd => "Winograd, l2",
            Bound::Exponential => "exponential",
            Bound::Statistics => "statistics",
            Bound::NormGradient => "norm gradient",
            Bound::Adam => "Adam",
        }
    }
}

/// What an operation should have given.
pub struct Expected {
    /// The kind of claim.
    pub bound: Bound,
    /// The values.
    pub values: Vec<f64>,
    /// How far the actual ones may be off.
    pub allowed: Allowed,
}

/// How far values may be off.
pub enum Allowed {
    /// By value.
    Each(Vec<f64>),
    /// In all: the l2 norm of the errors, relative to this.
    Norm {
        /// The share.
        claim: f64,
        /// Of this.
        size: f64,
    },
}

impl Expected {
    /// Nothing may be off.
    pub fn exact(values: Vec<f64>) -> Self {
        let allowed = Allowed::Each(vec![0.0; values.len()]);
        Expected { bound: Bound::Exact, values, allowed }
    }

    /// `steps` roundings of `sizes`.
    pub fn within(bound: Bound, steps: f64, values: Vec<f64>, sizes: &[f64]) -> Self {
        let allowed = Allowed::Each(sizes.iter().map(|size| steps * U * size.abs() + FLUSHED).collect());
        Expected { bound, values, allowed }
    }

    /// `steps` roundings of the value itself.
    pub fn rounded(steps: f64, values: Vec<f64>) -> Self {
        let sizes = values.clone();
        Expected::within(Bound::Rounding, steps, values, &sizes)
    }

    /// Values without a bound yet may not be off at all.
    pub fn exact_from_here(&mut self) {
        if let Allowed::Each(allowed) = &mut self.allowed {
            allowed.resize(self.values.len(), 0.0);
        }
    }

    /// The larger of it and 0, which is nowhere farther off.
    pub fn relu(mut self, relu: bool) -> Self {
        if relu {
            self.values = reference::elementwise::relu(&self.values);
        }
        self
    }

    /// Error and what is allowed where it is nearest to that.
    pub fn compare(&self, actual: &[f64]) -> (f64, f64) {
        // A value that is not finite must be the same on both sides; one too large for f32 is infinite there.
        let differ = |a: f64, e: f64| match a.is_finite() && e.is_finite() {
            true => (a - e).abs(),
            false if (a.is_nan() && e.is_nan()) || a == f64::from(e as f32) => 0.0,
            false => f64::INFINITY,
        };
        let differences = actual.iter().zip(&self.values).map(|(&a, &e)| differ(a, e));
        match &self.allowed {
            Allowed::Norm { claim, size } => {
                let error = differences.map(|difference| difference * difference).sum::<f64>().sqrt();
                let size = if size.is_finite() { size.max(FLUSHED) } else { FLUSHED };
                (error / size, *claim)
            }
            Allowed::Each(allowed) => {
                let mut worst = (0.0, 0.0, -1.0);
                for (error, &allowed) in differences.zip(allowed) {
                    // Of a value that is not finite nothing but the same is allowed.
                    let allowed = if allowed.is_finite() { allowed } else { 0.0 };
                    let share = if error == 0.0 { 0.0 } else { error / allowed };
                    if share > worst.2 {
                        worst = (error, allowed, share);
                    }
                }
                (worst.0, worst.1)
            }
        }
    }
}

/// The largest distance of a row's logit from its largest: the size of an exponential's argument. Below -87.3 the exponential is 0.
pub fn spread(classes: usize, logits: &[f64]) -> f64 {
    let of_row = |row: &[f64]| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter().map(|logit| (largest - logit).min(100.0)).fold(0.0, f64::max)
    };
    logits.chunks(classes).map(of_row).fold(0.0, f64::max)
}

/// Each without its sign.
pub fn absolute(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value.abs()).collect()
}

/// Each times itself.
pub fn squared(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value * value).collect()
}
