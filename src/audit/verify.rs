//! Computes each operation of a trace again from its recorded inputs, by the plain f64 loops of `osteon_reference`, and compares.
//!
//! Each operation is judged by itself: its inputs are what was recorded, not what was computed again, so errors do not add up
//! along the network. How far a value may be off is a named [`Bound`], in units of f32's rounding error [`U`]; where an
//! operation is made of several, its bound is made of theirs.

use super::log::{Equation, Folder, Header, Part, Record, TensorReader, Type, Values};
use crate::{Error, Result, files};
use osteon_kernels::conv::Algorithm;
use osteon_kernels::norm::NormShape;
use osteon_kernels::{par, simd};
use osteon_reference as reference;
use reference::adaptive::AdaptiveShape;
use reference::conv::ConvShape;
use reference::pool::PoolShape;
use reference::reduce::ReduceShape;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Largest relative error of one rounding to f32: half of 2^-23.
pub const U: f64 = 0.5 * f32::EPSILON as f64;

/// Results below 2^-126 = 1.2e-38 are flushed to zero. A sum of 10^7 of them is still below this, which every value may be off.
const FLUSHED: f64 = 1e-30;

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

/// What came of one operation.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Its number.
    pub number: usize,
    /// What it did.
    pub name: String,
    /// The layer that did it.
    pub layer: String,
    /// What its error was held against.
    pub bound: Bound,
    /// The error that is nearest to what is allowed: of one value, or, where the bound is one of l2, of all together.
    pub error: f64,
    /// What is allowed there.
    pub allowed: f64,
    /// What is wrong beside the error: bytes that do not have their hash, values that are not as described.
    pub damage: Option<String>,
}

impl Verdict {
    /// Whether the operation is what the trace says it is.
    pub fn holds(&self) -> bool {
        self.error <= self.allowed && self.damage.is_none()
    }

    /// The error as a share of what is allowed; 0 where both are.
    pub fn share(&self) -> f64 {
        if self.error == 0.0 { 0.0 } else { self.error / self.allowed }
    }
}

/// Computes every operation of a trace again, or one. `progress` hears how many are done of how many, from any thread.
///
/// # Errors
/// A trace that is damaged so far that it cannot be read; an operation that there is not; inputs that do not fit their operation.
pub fn verify(
    folder: &Path,
    operation: Option<usize>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<(Header, Vec<Verdict>)> {
    let folder = Folder(folder.to_owned());
    let (header, records) = folder.read()?;
    let tensors = TensorReader::open(folder.file(Folder::TENSORS), &records)?;
    let wanted: Vec<&Record> = match operation {
        None => records.iter().collect(),
        Some(number) => vec![records.get(number).ok_or_else(|| {
            let remedy = format!("give one from 0 to {}", records.len().saturating_sub(1));
            Error::setting(format!("--operation {number}: the trace has {} operations", records.len()), remedy)
        })?],
    };
    let mut verdicts: Vec<Option<Result<Verdict>>> = wanted.iter().map(|_| None).collect();
    let done = AtomicUsize::new(0);
    par::chunks_mut(&mut verdicts, 1, |i, verdict| {
        let operation_ = Operation { folder: &folder, records: &records, tensors: &tensors, record: wanted[i] };
        verdict[0] = Some(operation_.judge(operation.is_some()));
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, wanted.len());
    });
    Ok((header, verdicts.into_iter().flatten().collect::<Result<_>>()?))
}

/// What an operation should have given.
struct Expected {
    bound: Bound,
    values: Vec<f64>,
    allowed: Allowed,
}

enum Allowed {
    /// By value.
    Each(Vec<f64>),
    /// In all: the l2 norm of the errors, relative to this.
    Norm { claim: f64, size: f64 },
}

impl Expected {
    fn exact(values: Vec<f64>) -> Self {
        let allowed = Allowed::Each(vec![0.0; values.len()]);
        Expected { bound: Bound::Exact, values, allowed }
    }

    /// `steps` roundings of `sizes`.
    fn within(bound: Bound, steps: f64, values: Vec<f64>, sizes: &[f64]) -> Self {
        let allowed = Allowed::Each(sizes.iter().map(|size| steps * U * size.abs() + FLUSHED).collect());
        Expected { bound, values, allowed }
    }

    /// `steps` roundings of the value itself.
    fn rounded(steps: f64, values: Vec<f64>) -> Self {
        let sizes = values.clone();
        Expected::within(Bound::Rounding, steps, values, &sizes)
    }

    /// The larger of it and 0, which is nowhere farther off.
    fn relu(mut self, relu: bool) -> Self {
        if relu {
            self.values = reference::elementwise::relu(&self.values);
        }
        self
    }

    /// Error and what is allowed where it is nearest to that.
    fn compare(&self, actual: &[f64]) -> (f64, f64) {
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

/// A record with all that it refers to.
struct Operation<'a> {
    folder: &'a Folder,
    records: &'a [Record],
    tensors: &'a TensorReader,
    record: &'a Record,
}

impl Operation<'_> {
    /// Compares; with `alone`, also the hashes of the inputs, which nobody else looks at then.
    fn judge(&self, alone: bool) -> Result<Verdict> {
        let record = self.record;
        let bytes = self.tensors.bytes(record)?;
        let mut damage = Vec::new();
        if files::sha256(&bytes) != record.sha256 {
            damage.push("its bytes do not have their hash".to_owned());
        }
        let values = Values::from_bytes(record.dtype, &bytes);
        drop(bytes);
        if values.summary() != record.summary {
            damage.push("its values are not as described".to_owned());
        }
        for &input in record.inputs.iter().filter(|_| alone) {
            if files::sha256(&self.tensors.bytes(&self.records[input])?) != self.records[input].sha256 {
                damage.push(format!("the bytes of its input {input} do not have their hash"));
            }
        }
        let (bound, (error, allowed)) = if record.equation == Equation::Given {
            (Bound::Recorded, (0.0, 0.0))
        } else {
            let expected = self.expected()?;
            let actual = values.wide();
            self.ensure(expected.values.len() == actual.len())?;
            (expected.bound, expected.compare(&actual))
        };
        Ok(Verdict {
            number: record.number,
            name: record.name.clone(),
            layer: record.layer.clone(),
            bound,
            error,
            allowed,
            damage: (!damage.is_empty()).then(|| damage.join(", ")),
        })
    }

    fn misfit(&self) -> Error {
        let problem = format!("operation {} ({}) has inputs that do not fit it", self.record.number, self.record.name);
        Error::file(self.folder.file(Folder::RECORDS), problem, "run `osteon audit trace` again")
    }

    fn ensure(&self, holds: bool) -> Result<()> {
        if holds { Ok(()) } else { Err(self.misfit()) }
    }

    fn input(&self, k: usize) -> Result<&Record> {
        self.record.inputs.get(k).map(|&number| &self.records[number]).ok_or_else(|| self.misfit())
    }

    fn shape(&self, k: usize) -> Result<&[usize]> {
        Ok(&self.input(k)?.shape)
    }

    /// The sizes of an input that must have `N` dimensions, none of them empty.
    fn sizes<const N: usize>(&self, k: usize) -> Result<[usize; N]> {
        self.dimensions(self.shape(k)?)
    }

    /// The same of the result.
    fn result<const N: usize>(&self) -> Result<[usize; N]> {
        self.dimensions(&self.record.shape)
    }

    fn dimensions<const N: usize>(&self, shape: &[usize]) -> Result<[usize; N]> {
        shape.try_into().ok().filter(|sizes: &[usize; N]| !sizes.contains(&0)).ok_or_else(|| self.misfit())
    }

    fn values(&self, k: usize, dtype: Type) -> Result<Values> {
        let input = self.input(k)?;
        self.ensure(input.dtype == dtype && !input.shape.contains(&0))?;
        Ok(Values::from_bytes(dtype, &self.tensors.bytes(input)?))
    }

    /// The values of an input.
    fn floats(&self, k: usize) -> Result<Vec<f64>> {
        Ok(self.values(k, Type::F32)?.wide())
    }

    /// The values of an input of `len` values.
    fn exactly(&self, k: usize, len: usize) -> Result<Vec<f64>> {
        let values = self.floats(k)?;
        self.ensure(values.len() == len)?;
        Ok(values)
    }

    /// The places or labels in an input, `len` of them.
    fn indices(&self, k: usize, len: usize) -> Result<Vec<u32>> {
        match self.values(k, Type::U32)? {
            Values::Indices(indices) if indices.len() == len => Ok(indices),
            _ => Err(self.misfit()),
        }
    }

    /// Input (batch, rows, columns, channels), or one like it, as pixels.
    fn pixels(&self, shape: &[usize]) -> Result<ReduceShape> {
        let [batch, rows, columns, channels] = self.dimensions(shape)?;
        Ok(ReduceShape { batch, pixels: rows * columns, channels })
    }

    /// The convolution of a tensor of shape `x` with weights of shape `w` that gives one of shape `y`.
    fn conv(&self, x: &[usize], w: &[usize], y: &[usize], stride: [usize; 2], padding: [usize; 2]) -> Result<ConvShape> {
        let shape = self.conv_of(x, w, stride, padding)?;
        let [out_rows, out_columns] = shape.out();
        self.ensure(y == [shape.batch, out_rows, out_columns, shape.out_channels])?;
        Ok(shape)
    }

    /// The convolution of a tensor of shape `x` with weights of shape `w`.
    fn conv_of(&self, x: &[usize], w: &[usize], stride: [usize; 2], padding: [usize; 2]) -> Result<ConvShape> {
        let [batch, rows, columns, in_channels] = self.dimensions(x)?;
        let [kernel_rows, kernel_columns, expected, out_channels] = self.dimensions(w)?;
        let kernel = [kernel_rows, kernel_columns];
        let shape = ConvShape { batch, rows, columns, in_channels, out_channels, kernel, stride, padding };
        self.ensure(expected == in_channels && !stride.contains(&0) && padding.iter().all(|&padding| padding < 1 << 20))?;
        Ok(shape)
    }

    /// A convolution, input 0 with the weights of input 1, and batch normalisation over running statistics, inputs 2 to 5. The weights
    /// hold the normalisation: y = (w factor) * x + (beta - mean factor). One rounding of the weights and two of the sum join the
    /// convolution's own error.
    fn conv_norm(&self, shape: ConvShape, epsilon: f32) -> Result<Expected> {
        let channels = shape.out_channels;
        let (x, w) = (self.floats(0)?, self.floats(1)?);
        let [gamma, beta, mean, variance] = [2, 3, 4, 5].map(|k| self.exactly(k, channels));
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let y = reference::conv::forward(shape, &x, &w);
        let squares = reference::conv::forward(shape, &squared(&x), &squared(&w));
        let epsilon = f64::from(epsilon);
        let values = reference::norm::forward_inference(epsilon, &y, &gamma, &beta, &mean, &variance);
        let size = y.iter().zip(&squares).enumerate().map(|(i, (y, square))| {
            let c = i % channels;
            let factor = gamma[c] / (variance[c] + epsilon).sqrt();
            factor * factor * (y * y + square) + (beta[c] - mean[c] * factor).powi(2)
        });
        let allowed = Allowed::Norm { claim: self.claim()?.1 + 3.0 * U, size: size.sum::<f64>().sqrt() };
        Ok(Expected { bound: self.claim()?.0, values, allowed })
    }

    /// The claim of the algorithm that computed a convolution.
    fn claim(&self) -> Result<(Bound, f64)> {
        let name = self.record.algorithm.as_deref();
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| Some(algorithm.name()) == name);
        let algorithm = algorithm.ok_or_else(|| self.misfit())?;
        let bound = match algorithm {
            Algorithm::ImplicitGemm => Bound::ImplicitGemm,
            Algorithm::Winograd => Bound::Winograd,
        };
        Ok((bound, algorithm.max_error()))
    }

    /// The windows of a pool over a tensor of shape `x` that gives one of shape `y`.
    fn pool(&self, x: &[usize], y: &[usize], [kernel, stride, padding]: [[usize; 2]; 3], ceil_mode: bool) -> Result<PoolShape> {
        let [batch, rows, columns, channels] = self.dimensions(x)?;
        for (side, size) in [rows, columns].into_iter().enumerate() {
            let (kernel, padding) = (kernel[side], padding[side]);
            self.ensure(stride[side] > 0 && padding < kernel && kernel < 1 << 20 && size + 2 * padding >= kernel)?;
        }
        let shape = PoolShape { batch, rows, columns, channels, kernel, stride, padding, ceil_mode };
        let [out_rows, out_columns] = shape.out();
        self.ensure(y == [batch, out_rows, out_columns, channels])?;
        Ok(shape)
    }

    /// The division of a tensor of shape `x` into windows that gives one of shape `y`.
    fn adaptive(&self, x: &[usize], y: &[usize]) -> Result<AdaptiveShape> {
        let ([batch, rows, columns, channels], [images, over, across, same]) = (self.dimensions(x)?, self.dimensions(y)?);
        self.ensure(batch == images && channels == same)?;
        Ok(AdaptiveShape { batch, size: [rows, columns], channels, windows: [over, across] })
    }

    /// A convolution's result or gradient, by one of the reference's passes: of inputs 0 and 1, where the second or the first is `g`.
    fn convolution(&self, part: Part, stride: [usize; 2], padding: [usize; 2], masked: Option<Vec<f64>>) -> Result<Expected> {
        let (a, b, result) = (self.shape(0)?, self.shape(1)?, &self.record.shape[..]);
        type Pass = fn(ConvShape, &[f64], &[f64]) -> Vec<f64>;
        let (shape, pass): (_, Pass) = match part {
            Part::Output => (self.conv(a, b, result, stride, padding)?, reference::conv::forward),
            Part::Gradient(0) => (self.conv(result, b, a, stride, padding)?, reference::conv::backward_data),
            Part::Gradient(1) => {
                let swapped = |shape, g: &[f64], x: &[f64]| reference::conv::backward_weights(shape, x, g);
                (self.conv(b, result, a, stride, padding)?, swapped)
            }
            _ => return Err(self.misfit()),
        };
        let (a, b) = (masked.map_or_else(|| self.floats(0), Ok)?, self.floats(1)?);
        let values = pass(shape, &a, &b);
        let squares = pass(shape, &squared(&a), &squared(&b));
        let size = values.iter().zip(&squares).map(|(y, square)| y * y + square).sum::<f64>().sqrt();
        let (bound, claim) = self.claim()?;
        Ok(Expected { bound, values, allowed: Allowed::Norm { claim, size } })
    }

    /// The gradient in input 0, without what a ReLU that gave input `k` stops.
    fn beneath_relu(&self, k: usize) -> Result<Vec<f64>> {
        let g = self.floats(0)?;
        Ok(reference::elementwise::relu_backward(&self.exactly(k, g.len())?, &g))
    }

    /// What the record's equation says of its inputs.
    fn expected(&self) -> Result<Expected> {
        let (record, result) = (self.record, &self.record.shape[..]);
        let len: usize = result.iter().product();
        match (record.equation, record.part) {
            (Equation::Conv { stride, padding }, part) => self.convolution(part, stride, padding, None),
            (Equation::ConvBias { relu, .. }, Part::Gradient(2)) => {
                let g = if relu { self.beneath_relu(1)? } else { self.floats(0)? };
                self.ensure(self.shape(0)?.last() == Some(&len))?;
                let sum = |g: &[f64]| reference::bias::backward(len, g);
                // As batch normalisation's sums: chunks of pixels, 16 together, then f64.
                let steps = pixel_sum(chunk(g.len() / len, len)) + 1.0;
                Ok(Expected::within(Bound::Sum, steps, sum(&g), &sum(&absolute(&g))))
            }
            (Equation::ConvBias { stride, padding, relu }, Part::Gradient(_)) => {
                let masked = if relu { Some(self.beneath_relu(2)?) } else { None };
                self.convolution(record.part, stride, padding, masked)
            }
            // One rounding of the sum joins the convolution's own error.
            (Equation::ConvBias { stride, padding, relu }, Part::Output) => {
                let mut expected = self.convolution(Part::Output, stride, padding, None)?;
                let channels = *result.last().ok_or_else(|| self.misfit())?;
                let bias = self.exactly(2, channels)?;
                expected.values = reference::bias::forward(&expected.values, &bias);
                if let Allowed::Norm { claim, size } = &mut expected.allowed {
                    let squares = bias.iter().map(|bias| bias * bias).sum::<f64>() * (len / channels) as f64;
                    (*claim, *size) = (*claim + U, (*size * *size + squares).sqrt());
                }
                Ok(expected.relu(relu))
            }
            (Equation::ConvNorm { stride, padding, epsilon, relu }, Part::Output) => {
                let shape = self.conv(self.shape(0)?, self.shape(1)?, result, stride, padding)?;
                Ok(self.conv_norm(shape, epsilon)?.relu(relu))
            }
            // A maximum is no farther off than the farthest of its window, and a value is in so many windows.
            (Equation::ConvNormPool { stride, padding, epsilon, pool, pool_stride, pool_padding }, Part::Output) => {
                let shape = self.conv_of(self.shape(0)?, self.shape(1)?, stride, padding)?;
                let [rows, columns] = shape.out();
                let outputs = [shape.batch, rows, columns, shape.out_channels];
                let windows = self.pool(&outputs, result, [pool, pool_stride, pool_padding], false)?;
                let mut expected = self.conv_norm(shape, epsilon)?;
                expected.values = reference::pool::max_pool(windows, &expected.values).0;
                if let Allowed::Norm { size, .. } = &mut expected.allowed {
                    *size *= ((pool[0].div_ceil(pool_stride[0]) * pool[1].div_ceil(pool_stride[1])) as f64).sqrt();
                }
                Ok(expected.relu(true))
            }
            (Equation::BatchNorm { epsilon, .. }, Part::Saved) => self.statistics(epsilon),
            (Equation::BatchNorm { relu, .. }, Part::Output) => {
                let channels = *self.shape(0)?.last().ok_or_else(|| self.misfit())?;
                let (x, gamma, beta) = (self.exactly(0, len)?, self.exactly(1, channels)?, self.exactly(2, channels)?);
                let statistics = self.exactly(3, 3 * channels)?;
                let (mean, inv_std) = (&statistics[..channels], &statistics[channels..2 * channels]);
                let values = reference::norm::normalise(&x, &gamma, &beta, mean, inv_std);
                // The difference, the scale, and their product with the shift.
                let size = |(i, x): (usize, &f64)| {
                    let c = i % channels;
                    ((x - mean[c]) * inv_std[c] * gamma[c]).abs() + beta[c].abs()
                };
                let sizes: Vec<f64> = x.iter().enumerate().map(size).collect();
                Ok(Expected::within(Bound::Rounding, 4.0, values, &sizes).relu(relu))
            }
            (Equation::BatchNorm { relu, .. }, Part::Gradient(k)) => self.norm_gradient(k, relu),
            (Equation::FrozenNorm { epsilon, relu }, Part::Output) => {
                let channels = *self.shape(0)?.last().ok_or_else(|| self.misfit())?;
                let x = self.exactly(0, len)?;
                let [gamma, beta, mean, variance] = [1, 2, 3, 4].map(|k| self.exactly(k, channels));
                let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
                let norm =
                    |beta: &[f64]| reference::norm::forward_inference(f64::from(epsilon), &x, &gamma, beta, &mean, &variance);
                let (values, scaled) = (norm(&beta), norm(&vec![0.0; channels]));
                let sizes: Vec<f64> = scaled.iter().enumerate().map(|(i, y)| y.abs() + beta[i % channels].abs()).collect();
                Ok(Expected::within(Bound::Rounding, 5.0, values, &sizes).relu(relu))
            }
            (Equation::FrozenNorm { epsilon, relu }, Part::Gradient(0)) => {
                let channels = *result.last().ok_or_else(|| self.misfit())?;
                let (mut g, gamma, variance) = (self.exactly(0, len)?, self.exactly(1, channels)?, self.exactly(2, channels)?);
                if relu {
                    g = reference::elementwise::relu_backward(&self.exactly(3, len)?, &g);
                }
                let zeros = vec![0.0; channels];
                let values = reference::norm::forward_inference(f64::from(epsilon), &g, &gamma, &zeros, &zeros, &variance);
                Ok(Expected::rounded(5.0, values))
            }
            (Equation::RunningMean { .. } | Equation::RunningVariance { .. }, Part::Output) => {
                let (statistics, running) = (self.exactly(0, 3 * len)?, self.exactly(1, len)?);
                let (mean, variance) = (&statistics[..len], &statistics[2 * len..]);
                let moved = |momentum, pixels| {
                    reference::norm::update_running(f64::from(momentum), pixels, mean, variance, &running, &running)
                };
                let (values, batch) = match record.equation {
                    Equation::RunningMean { momentum } => (moved(momentum, 2).into_iter().next(), mean),
                    Equation::RunningVariance { momentum, pixels } => {
                        self.ensure(pixels > 1)?;
                        (moved(momentum, pixels).into_iter().nth(1), variance)
                    }
                    _ => (None, mean),
                };
                // The unbiased variance is at most twice the biased one.
                let sizes: Vec<f64> =
                    running.iter().zip(batch).map(|(running, batch)| running.abs() + 2.0 * batch.abs()).collect();
                Ok(Expected::within(Bound::Rounding, 1.0, values.ok_or_else(|| self.misfit())?, &sizes))
            }
            (Equation::Relu, Part::Output) => Ok(Expected::exact(reference::elementwise::relu(&self.exactly(0, len)?))),
            (Equation::Relu | Equation::AddRelu, Part::Gradient(_)) => {
                let (g, y) = (self.exactly(0, len)?, self.exactly(1, len)?);
                Ok(Expected::exact(reference::elementwise::relu_backward(&y, &g)))
            }
            (Equation::Sigmoid, Part::Output) => {
                let values = reference::elementwise::sigmoid(&self.exactly(0, len)?);
                // The exponential's error, of at most the whole value; sum and quotient.
                Ok(Expected::within(Bound::Exponential, simd::MAX_EXP_ERROR / U + 2.0, values.clone(), &values))
            }
            (Equation::Sigmoid, Part::Gradient(0)) => {
                let (g, y) = (self.exactly(0, len)?, self.exactly(1, len)?);
                Ok(Expected::rounded(3.0, reference::elementwise::sigmoid_backward(&y, &g)))
            }
            (Equation::Add | Equation::AddRelu, Part::Output) => {
                let values = reference::elementwise::add(&self.exactly(0, len)?, &self.exactly(1, len)?);
                Ok(Expected::rounded(1.0, values).relu(record.equation == Equation::AddRelu))
            }
            (Equation::Add, Part::Gradient(_)) | (Equation::AddScaled { .. }, Part::Gradient(0)) | (Equation::Flatten, _) => {
                Ok(Expected::exact(self.exactly(0, len)?))
            }
            (Equation::AddScaled { weight }, Part::Output) => {
                let (a, b) = (self.exactly(0, len)?, self.exactly(1, len)?);
                let sum = |a: &[f64], b: &[f64], weight: f32| reference::elementwise::add_scaled(weight.into(), a, b);
                let sizes = sum(&absolute(&a), &absolute(&b), weight.abs());
                Ok(Expected::within(Bound::Rounding, 2.0, sum(&a, &b, weight), &sizes))
            }
            (Equation::AddScaled { weight }, Part::Gradient(1)) => {
                Ok(Expected::rounded(1.0, reference::elementwise::scale(weight.into(), &self.exactly(0, len)?)))
            }
            (Equation::Concat, Part::Output) => {
                let channels = (0..record.inputs.len()).map(|k| Ok(self.pixels(self.shape(k)?)?.channels));
                let channels = channels.collect::<Result<Vec<usize>>>()?;
                let shape = self.pixels(result)?;
                self.ensure(channels.iter().sum::<usize>() == shape.channels)?;
                let pixels = shape.batch * shape.pixels;
                let parts = channels.iter().enumerate().map(|(k, channels)| self.exactly(k, pixels * channels));
                let parts = parts.collect::<Result<Vec<_>>>()?;
                let parts: Vec<(&[f64], usize)> = parts.iter().map(Vec::as_slice).zip(channels).collect();
                Ok(Expected::exact(reference::concat::forward(&parts)))
            }
            // Inputs: g, and then the parts, whose channels tell where this one lies.
            (Equation::Concat, Part::Gradient(k)) => {
                let channels = (1..record.inputs.len()).map(|k| Ok(self.pixels(self.shape(k)?)?.channels));
                let channels = channels.collect::<Result<Vec<usize>>>()?;
                let shape = self.pixels(self.shape(0)?)?;
                self.ensure(channels.iter().sum::<usize>() == shape.channels && k < channels.len())?;
                let g = self.floats(0)?;
                Ok(Expected::exact(reference::concat::backward(&channels, k, &g)))
            }
            (Equation::Dropout { rate, seed, step, place }, Part::Saved) => {
                self.ensure((0.0..1.0).contains(&rate) && self.shape(0)? == result)?;
                let dropout = reference::dropout::Dropout { rate: rate.into(), seed, step, place };
                Ok(Expected::rounded(2.0, reference::dropout::mask(dropout, len)))
            }
            (Equation::Dropout { .. }, Part::Output | Part::Gradient(0)) => {
                let (x, mask) = (self.exactly(0, len)?, self.exactly(1, len)?);
                Ok(Expected::rounded(1.0, reference::dropout::apply(&mask, &x)))
            }
            (Equation::MaxPool { kernel, stride, padding, ceil_mode }, part) => {
                let window = [kernel, stride, padding];
                if let Part::Gradient(0) = part {
                    let shape = self.pool(result, self.shape(0)?, window, ceil_mode)?;
                    let g = self.floats(0)?;
                    let places = self.indices(1, g.len())?;
                    let sum = |g: &[f64]| reference::pool::max_pool_backward(shape, &places, g);
                    let windows = kernel[0].div_ceil(stride[0]) * kernel[1].div_ceil(stride[1]);
                    return Ok(Expected::within(Bound::Sum, windows as f64, sum(&g), &sum(&absolute(&g))));
                }
                let shape = self.pool(self.shape(0)?, result, window, ceil_mode)?;
                self.maxima(reference::pool::max_pool(shape, &self.floats(0)?))
            }
            (Equation::AveragePool { kernel, stride, padding }, part) => {
                let window = [kernel, stride, padding];
                let x = self.floats(0)?;
                let (values, sizes) = if part == Part::Output {
                    let shape = self.pool(self.shape(0)?, result, window, false)?;
                    [&x, &absolute(&x)].map(|x| reference::pool::average_pool(shape, x)).into()
                } else {
                    let shape = self.pool(result, self.shape(0)?, window, false)?;
                    [&x, &absolute(&x)].map(|x| reference::pool::average_pool_backward(shape, x)).into()
                };
                // The terms, the rounded share, and the product with it.
                Ok(Expected::within(Bound::Sum, (kernel[0] * kernel[1] + 2) as f64, values, &sizes))
            }
            (Equation::AdaptiveAverage, part) => {
                let x = self.floats(0)?;
                type Pass = fn(AdaptiveShape, &[f64]) -> Vec<f64>;
                let (shape, pass): (_, Pass) = match part {
                    Part::Output => (self.adaptive(self.shape(0)?, result)?, reference::adaptive::forward),
                    Part::Gradient(0) => (self.adaptive(result, self.shape(0)?)?, reference::adaptive::backward),
                    _ => return Err(self.misfit()),
                };
                // The terms, and each one's rounded share.
                let [[rows, columns], [over, across]] = [shape.size, shape.windows];
                let terms = |pixels: usize, windows: usize| pixels.div_ceil(windows).max(windows.div_ceil(pixels)) + 1;
                let steps = terms(rows, over) * terms(columns, across) + 2;
                Ok(Expected::within(Bound::Sum, steps as f64, pass(shape, &x), &pass(shape, &absolute(&x))))
            }
            (equation @ (Equation::GlobalAverage | Equation::GlobalStats), Part::Output) => {
                let shape = self.pixels(self.shape(0)?)?;
                let x = self.floats(0)?;
                let average = |x: &[f64]| reference::reduce::global_average(shape, x);
                // Segments of 128 pixels, then their sums; the rounded share, and the product with it.
                let steps = 128.0_f64.min(shape.pixels as f64) + shape.pixels as f64 / 128.0 + 3.0;
                let (mut values, mut sizes) = (average(&x), average(&absolute(&x)));
                if equation == Equation::GlobalStats {
                    self.ensure(result == [2 * shape.batch, shape.channels])?;
                    values.extend(reference::reduce::global_max(shape, &x).0);
                    sizes.resize(values.len(), 0.0);
                }
                Ok(Expected::within(Bound::Sum, steps, values, &sizes))
            }
            (Equation::AddHalves, Part::Output) => {
                let x = self.exactly(0, 2 * len)?;
                Ok(Expected::rounded(1.0, reference::elementwise::add(&x[..len], &x[len..])))
            }
            (Equation::GlobalAverage, Part::Gradient(0)) => {
                let shape = self.pixels(result)?;
                let g = self.exactly(0, shape.batch * shape.channels)?;
                Ok(Expected::rounded(2.0, reference::reduce::global_average_backward(shape, &g)))
            }
            (Equation::GlobalMax, Part::Gradient(0)) => {
                let shape = self.pixels(result)?;
                let vectors = shape.batch * shape.channels;
                let (g, places) = (self.exactly(0, vectors)?, self.indices(1, vectors)?);
                Ok(Expected::exact(reference::reduce::global_max_backward(shape, &places, &g)))
            }
            (Equation::GlobalMax, _) => {
                let shape = self.pixels(self.shape(0)?)?;
                self.maxima(reference::reduce::global_max(shape, &self.floats(0)?))
            }
            (Equation::ChannelStats, Part::Gradient(0)) => {
                let shape = self.pixels(result)?;
                let (g, places) =
                    (self.exactly(0, 2 * shape.batch * shape.pixels)?, self.indices(1, shape.batch * shape.pixels)?);
                let sum = |g: &[f64]| reference::attention::channel_stats_backward(shape, &places, g);
                Ok(Expected::within(Bound::Rounding, 3.0, sum(&g), &sum(&absolute(&g))))
            }
            (Equation::ChannelStats, part) => {
                let shape = self.pixels(self.shape(0)?)?;
                let x = self.floats(0)?;
                let (values, places) = reference::attention::channel_stats(shape, &x);
                if part == Part::Saved {
                    return self.maxima((Vec::new(), places));
                }
                Ok(channel_stats(shape, values, &x, 0.0))
            }
            (Equation::ScaleChannels | Equation::ScalePixels, part) => {
                let by_channel = record.equation == Equation::ScaleChannels;
                let shape = self.pixels(if part == Part::Gradient(1) { self.shape(1)? } else { result })?;
                let factors = shape.batch * if by_channel { shape.channels } else { shape.pixels };
                let all = shape.batch * shape.pixels * shape.channels;
                let scale = if by_channel { reference::attention::scale_channels } else { reference::attention::scale_pixels };
                if part != Part::Gradient(1) {
                    // The gradient of x is scaled as x itself.
                    return Ok(Expected::rounded(1.0, scale(shape, &self.exactly(0, all)?, &self.exactly(1, factors)?)));
                }
                let (g, x) = (self.exactly(0, all)?, self.exactly(1, all)?);
                let backward = match by_channel {
                    true => reference::attention::scale_channels_backward,
                    false => reference::attention::scale_pixels_backward,
                };
                let products = |g: &[f64], x: &[f64]| {
                    let [_, products] = backward(shape, x, &vec![0.0; factors], g);
                    products
                };
                // Pixels are summed 16 together; channels eight beside each other, and then the eight.
                let steps = if by_channel { pixel_sum(shape.pixels) } else { shape.channels as f64 / 8.0 + 5.0 };
                Ok(Expected::within(Bound::Sum, steps, products(&g, &x), &products(&absolute(&g), &absolute(&x))))
            }
            (Equation::ScaledStats, Part::Gradient(0)) => {
                let shape = self.pixels(result)?;
                let maps = shape.batch * shape.pixels;
                let (g, factor) = (self.exactly(0, 2 * maps)?, self.exactly(1, shape.batch * shape.channels)?);
                let places = self.indices(2, maps)?;
                let sum = |g: &[f64]| {
                    let g = reference::attention::channel_stats_backward(shape, &places, g);
                    reference::attention::scale_channels(shape, &g, &factor)
                };
                // The rounded share, the product with it, the sum, the product with the factor.
                Ok(Expected::within(Bound::Rounding, 4.0, sum(&g), &sum(&absolute(&g))))
            }
            (Equation::ScaledStats, Part::Gradient(1)) => {
                let shape = self.pixels(self.shape(1)?)?;
                let maps = shape.batch * shape.pixels;
                let (g, x, places) = (self.exactly(0, 2 * maps)?, self.floats(1)?, self.indices(2, maps)?);
                let products = |g: &[f64], x: &[f64]| {
                    let ones = vec![1.0; shape.batch * shape.channels];
                    let [_, products] = reference::attention::scaled_channel_stats_backward(shape, x, &ones, &places, g);
                    products
                };
                let steps = pixel_sum(shape.pixels) + 3.0;
                Ok(Expected::within(Bound::Sum, steps, products(&g, &x), &products(&absolute(&g), &absolute(&x))))
            }
            (Equation::ScaledStats, part) => {
                let shape = self.pixels(self.shape(0)?)?;
                let (x, factor) = (self.floats(0)?, self.exactly(1, shape.batch * shape.channels)?);
                let mut scaled = reference::attention::scale_channels(shape, &x, &factor);
                if part == Part::Saved {
                    // Rounded, two products can be equal; of two f32 the f64 product is exact, and so rounded once.
                    scaled.iter_mut().for_each(|x| *x = f64::from(*x as f32));
                    return self.maxima((Vec::new(), reference::attention::channel_stats(shape, &scaled).1));
                }
                let (values, _) = reference::attention::channel_stats(shape, &scaled);
                Ok(channel_stats(shape, values, &scaled, 1.0))
            }
            (Equation::ScaleAddRelu, Part::Output) => {
                let shape = self.pixels(self.shape(0)?)?;
                let (x, channels) = (self.exactly(0, len)?, self.exactly(1, shape.batch * shape.channels)?);
                let (pixels, shortcut) = (self.exactly(2, shape.batch * shape.pixels)?, self.exactly(3, len)?);
                let scaled = reference::attention::scale_channels(shape, &x, &channels);
                let scaled = reference::attention::scale_pixels(shape, &scaled, &pixels);
                let sizes: Vec<f64> = scaled.iter().zip(&shortcut).map(|(a, b)| a.abs() + b.abs()).collect();
                Ok(Expected::within(Bound::Rounding, 3.0, reference::elementwise::add(&scaled, &shortcut), &sizes).relu(true))
            }
            (Equation::ScaleAddRelu, Part::Gradient(3)) => Ok(Expected::exact(self.beneath_relu(1)?)),
            (Equation::ScaleAddRelu, Part::Gradient(k @ 0..3)) => {
                let shape = self.pixels(self.shape(0)?)?;
                let (vectors, maps) = (shape.batch * shape.channels, shape.batch * shape.pixels);
                // Of x and its factors the other two; in place of the gradient's own, which it does not read, ones.
                let lens = [shape.batch * shape.pixels * shape.channels, vectors, maps];
                let mut arrays: [Vec<f64>; 3] = lens.map(|len| vec![1.0; len]);
                for (i, other) in (0..3).filter(|&other| other != k).enumerate() {
                    arrays[other] = self.exactly(i + 1, lens[other])?;
                }
                let [g, output] = [self.exactly(0, lens[0])?, self.exactly(3, lens[0])?];
                let gradient = |[x, channels, pixels]: [&[f64]; 3], g: &[f64]| {
                    let grads = reference::attention::scale_add_relu_backward(shape, x, channels, pixels, &output, g);
                    grads.into_iter().nth(k).expect("one of four")
                };
                let values = gradient(arrays.each_ref().map(|array| &array[..]), &g);
                let sizes = arrays.map(|array| absolute(&array));
                let sizes = gradient(sizes.each_ref().map(|array| &array[..]), &absolute(&g));
                // Pixels are summed 16 together; channels eight beside each other, and then the eight.
                let (bound, steps) = match k {
                    0 => (Bound::Rounding, 2.0),
                    1 => (Bound::Sum, pixel_sum(shape.pixels) + 1.0),
                    _ => (Bound::Sum, shape.channels as f64 / 8.0 + 6.0),
                };
                Ok(Expected::within(bound, steps, values, &sizes))
            }
            (Equation::Linear, part) => self.linear(part),
            (Equation::Softmax, Part::Output) => {
                let [batch, classes] = self.result()?;
                let logits = self.exactly(0, batch * classes)?;
                let values = reference::softmax::softmax(classes, &logits);
                // Both exponentials of the quotient with their arguments' rounding; the sum, the inverse, the product.
                let steps = 2.0 * (simd::MAX_EXP_ERROR / U + spread(classes, &logits)) + classes as f64 + 2.0;
                Ok(Expected::within(Bound::Exponential, steps, values.clone(), &values))
            }
            (Equation::CrossEntropy, Part::Output) => {
                let [batch, classes] = self.sizes(0)?;
                let (logits, labels) = (self.floats(0)?, self.labels(1, batch, classes)?);
                let loss = reference::softmax::cross_entropy(classes, &logits, &labels);
                // ln moves by its argument's relative error; the rest is f64, rounded once.
                let size = simd::MAX_EXP_ERROR / U + spread(classes, &logits) + classes as f64 + loss.abs();
                Ok(Expected::within(Bound::Exponential, 1.0, vec![loss], &[size]))
            }
            (Equation::CrossEntropy, Part::Gradient(0)) => {
                let [batch, classes] = self.result()?;
                let (g, probabilities) = (self.exactly(0, 1)?, self.exactly(1, batch * classes)?);
                let labels = self.labels(2, batch, classes)?;
                Ok(Expected::rounded(3.0, reference::softmax::cross_entropy_backward(classes, &probabilities, &labels, g[0])))
            }
            (Equation::WeightedCrossEntropy, Part::Output) => {
                let [batch, classes] = self.sizes(0)?;
                let (logits, weights) = (self.floats(0)?, self.weights(1, classes)?);
                let labels = self.labels(2, batch, classes)?;
                let loss = reference::softmax::weighted_cross_entropy(classes, &logits, &labels, &weights);
                // As of the plain mean: each term counts by its share.
                let size = simd::MAX_EXP_ERROR / U + spread(classes, &logits) + classes as f64 + loss.abs();
                Ok(Expected::within(Bound::Exponential, 1.0, vec![loss], &[size]))
            }
            (Equation::WeightedCrossEntropy, Part::Gradient(0)) => {
                let [batch, classes] = self.result()?;
                let (g, probabilities) = (self.exactly(0, 1)?, self.exactly(1, batch * classes)?);
                let (labels, weights) = (self.labels(2, batch, classes)?, self.weights(3, classes)?);
                let values =
                    reference::softmax::weighted_cross_entropy_backward(classes, &probabilities, &labels, &weights, g[0]);
                Ok(Expected::rounded(4.0, values))
            }
            (Equation::Adam { learning_rate, beta1, beta2, epsilon, weight_decay }, Part::Output) => {
                let (g, p) = (self.exactly(0, len)?, self.exactly(1, len)?);
                let [learning_rate, beta1, beta2, epsilon, weight_decay] =
                    [learning_rate, beta1, beta2, epsilon, weight_decay].map(f64::from);
                let adam =
                    reference::adam::AdamStep { learning_rate, beta1, beta2, epsilon, weight_decay, decoupled: false, step: 1 };
                let zeros = vec![0.0; len];
                let [values, first, second] = reference::adam::step(&adam, &g, &p, &zeros, &zeros);
                let size = |i: usize| {
                    let denominator = (second[i] / (1.0 - beta2)).sqrt() + epsilon;
                    let moment = (first[i].abs() + weight_decay * p[i].abs() * (1.0 - beta1)) / (1.0 - beta1);
                    p[i].abs() + learning_rate * moment / denominator
                };
                Ok(Expected::within(Bound::Adam, 16.0, values, &(0..len).map(size).collect::<Vec<_>>()))
            }
            _ => Err(self.misfit()),
        }
    }

    /// Maxima and where they are: of the record, one of the two.
    fn maxima(&self, (maxima, places): (Vec<f64>, Vec<u32>)) -> Result<Expected> {
        match self.record.part {
            Part::Output => Ok(Expected::exact(maxima)),
            Part::Saved => Ok(Expected::exact(places.into_iter().map(f64::from).collect())),
            Part::Gradient(_) => Err(self.misfit()),
        }
    }

    /// Labels that are classes.
    fn labels(&self, k: usize, batch: usize, classes: usize) -> Result<Vec<u32>> {
        let labels = self.indices(k, batch)?;
        self.ensure(labels.iter().all(|&label| (label as usize) < classes))?;
        Ok(labels)
    }

    /// Weights of classes, all of which are above 0.
    fn weights(&self, k: usize, classes: usize) -> Result<Vec<f64>> {
        let weights = self.exactly(k, classes)?;
        self.ensure(weights.iter().all(|&weight| weight > 0.0))?;
        Ok(weights)
    }

    /// Mean, 1/std and variance of a batch.
    fn statistics(&self, epsilon: f32) -> Result<Expected> {
        let x = self.floats(0)?;
        let channels = *self.shape(0)?.last().ok_or_else(|| self.misfit())?;
        let (pixels, epsilon) = (x.len() / channels, f64::from(epsilon));
        let ones = vec![1.0; channels];
        let normalised = reference::norm::forward_training(epsilon, &x, &ones, &ones);
        let n = chunk(pixels, channels);
        let (steps, pilot) = (pixel_sum(n), 1.0 + n as f64 / 32.0);
        let of_mean = |mean: f64, variance: f64| 2.0 * U * mean.abs() + steps * U * (pilot * variance).sqrt();
        let (mut means, mut variances, mut inverses) = (Vec::new(), Vec::new(), Vec::new());
        for (&mean, &variance) in normalised.mean.iter().zip(&normalised.variance) {
            let moved = of_mean(mean, variance);
            let of_variance = (steps + 4.0) * U * pilot * variance + 2.0 * moved * variance.sqrt() + moved * moved + FLUSHED;
            let inverse = 1.0 / (variance + epsilon).sqrt();
            means.push(moved + FLUSHED);
            inverses.push(inverse * (0.5 * of_variance / (variance + epsilon) + 2.0 * U));
            variances.push(of_variance);
        }
        let values = [normalised.mean, normalised.inv_std, normalised.variance].concat();
        let allowed = Allowed::Each([means, inverses, variances].concat());
        Ok(Expected { bound: Bound::Statistics, values, allowed })
    }

    /// Gradient of batch normalisation's x, gamma or beta, from g, x, gamma, statistics and, with ReLU, the output.
    fn norm_gradient(&self, k: usize, relu: bool) -> Result<Expected> {
        let (mut g, x) = (self.floats(0)?, self.floats(1)?);
        let channels = *self.shape(1)?.last().ok_or_else(|| self.misfit())?;
        let (gamma, statistics) = (self.exactly(2, channels)?, self.exactly(3, 3 * channels)?);
        self.ensure(g.len() == x.len())?;
        if relu {
            g = reference::elementwise::relu_backward(&self.exactly(4, x.len())?, &g);
        }
        let (mean, inv_std) = (&statistics[..channels], &statistics[channels..2 * channels]);
        let gradients = reference::norm::backward(&x, &g, &gamma, mean, inv_std);
        let pixels = x.len() / channels;
        let steps = pixel_sum(chunk(pixels, channels));
        // Per channel: the sums of |g| and of |g x'|.
        let (mut sum, mut product) = (vec![0.0; channels], vec![0.0; channels]);
        let normal = |i: usize| ((x[i] - mean[i % channels]) * inv_std[i % channels]).abs();
        for (i, g) in g.iter().enumerate() {
            sum[i % channels] += g.abs();
            product[i % channels] += g.abs() * normal(i);
        }
        let values = gradients.into_iter().nth(k).ok_or_else(|| self.misfit())?;
        Ok(match k {
            0 => {
                let size = |(i, g): (usize, &f64)| {
                    let c = i % channels;
                    (gamma[c] * inv_std[c]).abs() * (g.abs() + (sum[c] + normal(i) * product[c]) / pixels as f64)
                };
                let sizes: Vec<f64> = g.iter().enumerate().map(size).collect();
                Expected::within(Bound::NormGradient, steps + 10.0, values, &sizes)
            }
            1 => Expected::within(Bound::NormGradient, steps + 3.0, values, &product),
            _ => Expected::within(Bound::Sum, steps + 1.0, values, &sum),
        })
    }

    fn linear(&self, part: Part) -> Result<Expected> {
        let backward = |features: usize, x: &[f64], w: &[f64], g: &[f64]| reference::linear::backward(features, x, w, g);
        match part {
            Part::Output => {
                let ([batch, features], [outputs, expected]) = (self.sizes(0)?, self.sizes(1)?);
                self.ensure(features == expected && self.record.shape == [batch, outputs])?;
                let (x, w, bias) = (self.floats(0)?, self.floats(1)?, self.exactly(2, outputs)?);
                let values = reference::linear::forward(features, &x, &w, &bias);
                let sizes = reference::linear::forward(features, &absolute(&x), &absolute(&w), &absolute(&bias));
                // 32 products beside each other, then the 32 in five steps, and the bias.
                Ok(Expected::within(Bound::Sum, features as f64 / 32.0 + 7.0, values, &sizes))
            }
            Part::Gradient(0) => {
                let ([batch, outputs], [expected, features]) = (self.sizes(0)?, self.sizes(1)?);
                self.ensure(outputs == expected && self.record.shape == [batch, features])?;
                let (g, w, x) = (self.floats(0)?, self.floats(1)?, vec![0.0; batch * features]);
                let [values, ..] = backward(features, &x, &w, &g);
                let [sizes, ..] = backward(features, &x, &absolute(&w), &absolute(&g));
                Ok(Expected::within(Bound::Sum, outputs as f64, values, &sizes))
            }
            Part::Gradient(1) => {
                let ([batch, outputs], [expected, features]) = (self.sizes(0)?, self.sizes(1)?);
                self.ensure(batch == expected && self.record.shape == [outputs, features])?;
                let (g, x, w) = (self.floats(0)?, self.floats(1)?, vec![0.0; outputs * features]);
                let [_, values, _] = backward(features, &x, &w, &g);
                let [_, sizes, _] = backward(features, &absolute(&x), &w, &absolute(&g));
                Ok(Expected::within(Bound::Sum, batch as f64, values, &sizes))
            }
            Part::Gradient(2) => {
                let [batch, outputs] = self.sizes(0)?;
                self.ensure(self.record.shape == [outputs])?;
                let (g, x, w) = (self.floats(0)?, vec![0.0; batch], vec![0.0; outputs]);
                let [_, _, values] = backward(1, &x, &w, &g);
                let [_, _, sizes] = backward(1, &x, &w, &absolute(&g));
                Ok(Expected::within(Bound::Sum, batch as f64, values, &sizes))
            }
            _ => Err(self.misfit()),
        }
    }
}

/// Mean and maximum over the channels of x, whose values have `before` roundings already: eight channels beside each other are
/// summed, and then the eight; share and product round twice. The maximum is one of the values.
fn channel_stats(shape: ReduceShape, values: Vec<f64>, x: &[f64], before: f64) -> Expected {
    let (sizes, _) = reference::attention::channel_stats(shape, &absolute(x));
    let steps = shape.channels as f64 / 8.0 + 6.0 + before;
    let allowed = sizes.chunks(2).zip(values.chunks(2)).flat_map(|(sizes, values)| {
        let of_maximum = before * U * values[1].abs();
        [steps * U * sizes[0] + FLUSHED, if before > 0.0 { of_maximum + FLUSHED } else { 0.0 }]
    });
    let allowed = Allowed::Each(allowed.collect());
    Expected { bound: Bound::Sum, values, allowed }
}

/// Pixels of a chunk of batch normalisation's sums.
fn chunk(pixels: usize, channels: usize) -> usize {
    pixels.min(NormShape { pixels, channels, relu: false }.chunk_pixels())
}

/// Roundings of a term of a sum over pixels: 16 are summed in registers, then their sum joins the others.
fn pixel_sum(pixels: usize) -> f64 {
    16.0_f64.min(pixels as f64) + (pixels as f64 / 16.0).ceil() + 1.0
}

/// The largest distance of a row's logit from its largest: the size of an exponential's argument. Below -87.3 the exponential is 0.
fn spread(classes: usize, logits: &[f64]) -> f64 {
    let of_row = |row: &[f64]| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter().map(|logit| (largest - logit).min(100.0)).fold(0.0, f64::max)
    };
    logits.chunks(classes).map(of_row).fold(0.0, f64::max)
}

fn absolute(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value.abs()).collect()
}

fn squared(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value * value).collect()
}

#[cfg(test)]
mod tests {
    use super::super::log::Summary;
    use super::super::trace::tests::{model, step, study};
    use super::super::{TraceOptions, trace};
    use super::*;
    use std::collections::BTreeMap;
    use std::fs::{self, OpenOptions};
    use std::io::{Seek, SeekFrom, Write};

    fn all(folder: &Path) -> Vec<Verdict> {
        verify(folder, None, &|_, _| ()).unwrap().1
    }

    fn one(folder: &Path, number: usize) -> Result<Verdict> {
        verify(folder, Some(number), &|_, _| ()).map(|(_, verdicts)| verdicts.into_iter().next().unwrap())
    }

    #[test]
    fn whole_networks_verify() {
        let folder = tempfile::tempdir().unwrap();
        let (inference, step) = (TraceOptions::default(), step());
        for (architecture, spatial_norm, options) in [
            ("inrac", true, &inference),
            ("inrac", true, &step),
            ("outrac", false, &inference),
            ("inrac-no-residual", false, &step),
            ("inrac-no-residual-no-attention", false, &inference),
            ("vgg-11", false, &inference),
            ("vgg-11", false, &step),
            ("inception-v1", false, &inference),
            ("inception-v1", false, &step),
        ] {
            let (model, output) = (model(folder.path(), architecture, spatial_norm), folder.path().join("trace"));
            let header = trace(&model, &study(), options, &output).unwrap();
            let verdicts = all(&output);
            assert_eq!(verdicts.len(), header.operations);
            for verdict in &verdicts {
                assert!(verdict.holds(), "{architecture} {}: {verdict:?}", header.run);
            }
            fs::remove_dir_all(output).unwrap();
        }
    }

    /// One operation of each kind and part, by its number.
    fn kinds(records: &[Record]) -> Vec<usize> {
        let mut kinds = BTreeMap::new();
        for record in records.iter().filter(|record| record.equation != Equation::Given) {
            let kind =
                format!("{} {:?} {:?}", serde_json::to_value(record.equation).unwrap()["kind"], record.part, record.algorithm);
            kinds.entry(kind).or_insert(record.number);
        }
        kinds.into_values().collect()
    }

    /// Overwrites a tensor; its record says what is there now.
    fn replace(folder: &Folder, header: &mut Header, records: &mut [Record], number: usize, bytes: &[u8]) {
        let tensors = TensorReader::open(folder.file(Folder::TENSORS), records).unwrap();
        let mut file = OpenOptions::new().write(true).open(folder.file(Folder::TENSORS)).unwrap();
        file.seek(SeekFrom::Start(tensors.place(number))).unwrap();
        file.write_all(bytes).unwrap();
        let record = &mut records[number];
        (record.sha256, record.summary) = (files::sha256(bytes), Values::from_bytes(record.dtype, bytes).summary());
        folder.write(header, records).unwrap();
    }

    /// No bound is so wide that a wrong value fits in: the largest of each result, off by one percent, is seen by its error
    /// alone. Where terms cancel, by one percent of the largest of them: less may be left of them than their rounding.
    #[test]
    fn a_wrong_value_is_above_the_bound_of_every_kind_of_operation() {
        let scratch = tempfile::tempdir().unwrap();
        let mut seen = 0;
        for (kind, options) in [("inference", TraceOptions::default()), ("step", step())] {
            let folder = Folder(scratch.path().join(kind));
            trace(&model(scratch.path(), "inrac", false), &study(), &options, &folder.0).unwrap();
            let (mut header, mut records) = folder.read().unwrap();
            let tensors = TensorReader::open(folder.file(Folder::TENSORS), &records).unwrap();
            for number in kinds(&records) {
                let record = records[number].clone();
                let bytes = tensors.bytes(&record).unwrap();
                let mut wrong = bytes.clone();
                match Values::from_bytes(record.dtype, &bytes) {
                    Values::Floats(values) => {
                        let (at, value) = values.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).unwrap();
                        let cancels = matches!(one(&folder.0, number).unwrap().bound, Bound::Sum | Bound::NormGradient);
                        let [input, own] = [&records[record.inputs[0]].summary, &record.summary];
                        let largest = |summary: &Summary| summary.max.unwrap().max(-summary.min.unwrap());
                        let size = if cancels { largest(input).max(largest(own)) } else { largest(own) };
                        wrong[4 * at..4 * at + 4].copy_from_slice(&(value + 0.01 * size as f32).to_le_bytes());
                    }
                    Values::Indices(values) => wrong[..4].copy_from_slice(&(values[0] ^ 1).to_le_bytes()),
                }
                replace(&folder, &mut header, &mut records, number, &wrong);
                let verdict = one(&folder.0, number).unwrap();
                assert!(verdict.error > verdict.allowed && verdict.damage.is_none() && !verdict.holds(), "{verdict:?}");
                replace(&folder, &mut header, &mut records, number, &bytes);
                assert!(one(&folder.0, number).unwrap().holds());
                seen += 1;
            }
        }
        assert!(seen >= 40, "{seen} kinds");
    }

    #[test]
    fn a_flipped_bit_is_seen_in_the_operation_and_in_its_reader() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder(scratch.path().join("trace"));
        trace(&model(scratch.path(), "inrac-no-residual-no-attention", false), &study(), &TraceOptions::default(), &folder.0)
            .unwrap();
        let (_, records) = folder.read().unwrap();
        let number = records.iter().position(|record| record.name.contains("max pool")).unwrap();
        let place = TensorReader::open(folder.file(Folder::TENSORS), &records).unwrap().place(number) as usize;
        let mut bytes = fs::read(folder.file(Folder::TENSORS)).unwrap();
        bytes[place] ^= 1; // the last bit of a value
        fs::write(folder.file(Folder::TENSORS), &bytes).unwrap();
        let verdicts = all(&folder.0);
        let broken: Vec<usize> = verdicts.iter().filter(|verdict| !verdict.holds()).map(|verdict| verdict.number).collect();
        assert!(broken.contains(&number) && verdicts[number].damage.as_ref().unwrap().contains("hash"), "{broken:?}");
        let reader = records.iter().find(|record| record.inputs.contains(&number)).unwrap().number;
        let damage = one(&folder.0, reader).unwrap().damage.unwrap();
        assert!(damage.contains(&format!("input {number}")), "{damage}");
    }

    /// A trace whose records do not fit together is refused in a sentence, whatever is wrong with them.
    #[test]
    fn records_that_do_not_fit_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let mut refused = 0;
        for (pass, options) in [("step", step()), ("inference", TraceOptions::default())] {
            let folder = Folder(scratch.path().join(pass));
            trace(&model(scratch.path(), "inrac", false), &study(), &options, &folder.0).unwrap();
            let (mut header, records) = folder.read().unwrap();
            let labels = records.iter().position(|record| record.name == "labels").unwrap_or(0);
            for number in kinds(&records) {
                let changes: [&dyn Fn(&mut Record); 6] = [
                    &|record| record.inputs.clear(),
                    &|record| record.inputs.iter_mut().for_each(|input| *input = 0),
                    &|record| record.inputs.iter_mut().for_each(|input| *input = labels.min(number - 1)),
                    &|record| record.inputs.reverse(),
                    &|record| record.part = Part::Gradient(7),
                    &|record| {
                        let mut equation = serde_json::to_value(record.equation).unwrap();
                        for key in ["stride", "padding", "kernel", "pool", "pool_stride", "pool_padding"] {
                            if equation.get(key).is_some() {
                                equation[key] = serde_json::json!([0, usize::MAX]);
                            }
                        }
                        record.equation = serde_json::from_value(equation).unwrap();
                    },
                ];
                for change in changes {
                    let mut records = records.clone();
                    change(&mut records[number]);
                    folder.write(&mut header, &records).unwrap();
                    // Some changes are still a computation, right or wrong; none may panic.
                    if let Err(error) = one(&folder.0, number) {
                        assert!(error.to_string().contains("do not fit it"), "{error}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(refused > 100, "{refused}");
    }

    #[test]
    fn files_that_are_cut_off_or_strange_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder(scratch.path().join("trace"));
        trace(&model(scratch.path(), "inrac-no-residual-no-attention", false), &study(), &TraceOptions::default(), &folder.0)
            .unwrap();
        let refuses = |part: &str| {
            let error = verify(&folder.0, None, &|_, _| ()).unwrap_err().to_string();
            assert!(error.contains(part), "`{error}` does not say `{part}`");
        };
        for name in [Folder::TENSORS, Folder::RECORDS, Folder::HEADER] {
            let whole = fs::read(folder.file(name)).unwrap();
            for cut in [0, 1, 7, 9, 200, whole.len() / 2, whole.len() - 2] {
                fs::write(folder.file(name), &whole[..cut]).unwrap();
                refuses(name);
            }
            fs::write(folder.file(name), &whole).unwrap();
        }
        let (mut header, records) = folder.read().unwrap();
        let mut swapped = records.clone();
        swapped.swap(3, 4);
        folder.write(&mut header, &swapped).unwrap();
        refuses("out of order");
        let mut early = records.clone();
        early[6].inputs = vec![6];
        folder.write(&mut header, &early).unwrap();
        refuses("out of order");
        let mut large = records.clone();
        large[6].shape = vec![usize::MAX, 2];
        folder.write(&mut header, &large).unwrap();
        refuses("tensor `6` is not the one");
        header.format = 2;
        folder.write(&mut header, &records).unwrap();
        refuses("format 2");
        assert!(verify(scratch.path(), None, &|_, _| ()).unwrap_err().to_string().contains("is not a trace"));
    }

    #[test]
    fn values_that_are_not_finite_must_be_the_same() {
        let infinity = f64::INFINITY;
        let holds = |expected: f64, actual: f64| {
            let sum = |allowed| Expected { bound: Bound::Sum, values: vec![expected, 1.0], allowed };
            let both =
                [Allowed::Each(vec![1e-6 * expected.abs(), 1e-6]), Allowed::Norm { claim: 1e-6, size: expected.abs() + 1.0 }];
            both.map(|allowed| {
                let (error, allowed) = sum(allowed).compare(&[actual, 1.0]);
                error <= allowed
            })
        };
        for (expected, actual, same) in [
            (f64::NAN, f64::NAN, true),
            (f64::NAN, 1.0, false),
            (1.0, f64::NAN, false),
            (infinity, infinity, true),
            (infinity, -infinity, false),
            (1e39, infinity, true), // too large for f32
            (1.0, infinity, false),
            (1.0, 1.0 + 1e-7, true),
            (1.0, 1.0 + 1e-5, false),
        ] {
            assert_eq!(holds(expected, actual), [same; 2], "{expected} {actual}");
        }
    }
}
