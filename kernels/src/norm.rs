//! Batch normalisation (Ioffe and Szegedy 2015, algorithm 1): each channel to mean 0 and variance 1 over all pixels of the
//! batch, then scaled and shifted.
//!
//! Statistics are sums over fixed chunks of pixels, combined in f64 in the chunks' order. Within a chunk values are taken
//! relative to a pilot, the mean of the chunk's first pixels: a large mean with a small variance does not cancel.

use crate::elementwise::{PixelMap, PixelSums, add_pixels, chunk_pixels, map_pixels, pixel_sum_roundings, update_pixels};
use crate::par;
use crate::simd::{Body, Isa, Simd};

/// `pixels` is batch * rows * columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NormShape {
    /// Pixels of all images of the batch together.
    pub pixels: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// Whether the output is `max(output, 0)`: ReLU in the same pass.
    pub relu: bool,
}

impl NormShape {
    /// Values of the input, and of the output.
    pub fn len(&self) -> usize {
        self.pixels * self.channels
    }

    /// Whether there is nothing to normalise.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pixels that are summed in f32, 16 together; such sums are combined in f64.
    pub fn chunk_pixels(&self) -> usize {
        chunk_pixels(self.channels)
    }

    fn chunks(&self) -> usize {
        self.pixels.div_ceil(self.chunk_pixels())
    }
}

/// Pixels whose mean is a chunk's pilot: [`pilot_growth`].
const PILOT_PIXELS: usize = 32;

/// The most roundings that one term of a sum over pixels goes through, in [`forward_training`] and in [`backward`], for bounds of
/// their errors: those of the f32 sum of a chunk of `n` pixels, in groups of 16. `min(n, 16) + ceil(n / 16) - 1`, its product
/// included; chunks are combined in f64.
pub fn sum_roundings(shape: NormShape) -> usize {
    pixel_sum_roundings(shape.pixels.min(shape.chunk_pixels()))
}

/// How many times what it is around the mean the sum of squares of a chunk can be around its pilot, at most: `1 + n / 32` with the
/// mean of the first 32 of `n` pixels as pilot. Were it farther off, those 32 alone would make the variance larger.
pub fn pilot_growth(shape: NormShape) -> f64 {
    1.0 + shape.pixels.min(shape.chunk_pixels()) as f64 / PILOT_PIXELS as f64
}

/// Channels that one task combines: 16 * 4 = one cache line.
const COMBINE_CHANNELS: usize = 16;

/// Length of the scratch that each of this module's kernels needs.
pub fn scratch_len(shape: NormShape) -> usize {
    // Three partial results a channel and chunk, and three vectors of channels.
    (3 * shape.chunks() + 3) * shape.channels
}

/// `output = (input - mean) / sqrt(variance + epsilon) * gamma + beta` with the batch's own mean and (biased) variance, which
/// the backward and [`update_running`] need again.
pub fn forward_training(
    isa: Isa,
    shape: NormShape,
    epsilon: f32,
    input: &[f32],        // (pixels, channels)
    gamma: &[f32],        // (channels)
    beta: &[f32],         // (channels)
    output: &mut [f32],   // (pixels, channels)
    mean: &mut [f32],     // (channels)
    inv_std: &mut [f32],  // (channels) 1 / sqrt(variance + epsilon)
    variance: &mut [f32], // (channels)
    scratch: &mut [f32],
) {
    let NormShape { pixels, channels, .. } = shape;
    check(shape, &[input, output], &[gamma, beta, mean, inv_std, variance], scratch);
    let (partial, scale) = scratch.split_at_mut(3 * shape.chunks() * channels);
    let chunk = chunk_pixels(channels);
    // partial: (chunks, 3, channels): the chunk's mean, its sum of squares around that mean, and its pilot.
    par::chunks_mut(partial, 3 * channels, |i, partial| {
        let input = &input[i * chunk * channels..pixels.min((i + 1) * chunk) * channels];
        let (mean, rest) = partial.split_at_mut(channels);
        let (squares, pilot) = rest.split_at_mut(channels);
        isa.run(Moments { channels, input, mean, squares, pilot });
    });
    let partial = &*partial;
    par::chunks_mut2((mean, COMBINE_CHANNELS), (variance, COMBINE_CHANNELS), |i, mean, variance| {
        combine_moments(shape, chunk, partial, i * COMBINE_CHANNELS, mean, variance);
    });
    for c in 0..channels {
        inv_std[c] = inverse_std(variance[c], epsilon);
        scale[c] = gamma[c] * inv_std[c];
    }
    normalise(isa, shape, input, mean, &scale[..channels], beta, output);
}

/// Recomputes the output of [`forward_training`] from its input and what it returned: the same bits.
pub fn recompute(
    isa: Isa,
    shape: NormShape,
    input: &[f32],      // (pixels, channels)
    gamma: &[f32],      // (channels)
    beta: &[f32],       // (channels)
    mean: &[f32],       // (channels) of the batch
    inv_std: &[f32],    // (channels) of the batch
    output: &mut [f32], // (pixels, channels)
    scratch: &mut [f32],
) {
    check(shape, &[input, output], &[gamma, beta, mean, inv_std], scratch);
    let scale = &mut scratch[..shape.channels];
    for c in 0..shape.channels {
        scale[c] = gamma[c] * inv_std[c];
    }
    normalise(isa, shape, input, mean, scale, beta, output);
}

fn normalise(isa: Isa, shape: NormShape, input: &[f32], mean: &[f32], scale: &[f32], beta: &[f32], output: &mut [f32]) {
    if shape.relu {
        map_pixels(isa, NormaliseRelu, shape.channels, [input], [mean, scale, beta], output);
    } else {
        map_pixels(isa, Normalise, shape.channels, [input], [mean, scale, beta], output);
    }
}

/// 1 / sqrt(variance + epsilon), rounded once.
fn inverse_std(variance: f32, epsilon: f32) -> f32 {
    (1.0 / (f64::from(variance) + f64::from(epsilon)).sqrt()) as f32
}

/// `(x - mean) * scale + beta`: the difference is taken first, so a mean much larger than the spread does no harm.
#[derive(Clone, Copy)]
struct Normalise;
impl PixelMap<1, 3> for Normalise {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [x]: [S::F32; 1], [mean, scale, beta]: [S::F32; 3]) -> S::F32 {
        simd.mul_add(simd.sub(x, mean), scale, beta)
    }
}

/// The larger of [`Normalise`] and 0; NaN stays NaN.
#[derive(Clone, Copy)]
struct NormaliseRelu;
impl PixelMap<1, 3> for NormaliseRelu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: [S::F32; 1], vectors: [S::F32; 3]) -> S::F32 {
        simd.max(simd.splat(0.0), Normalise.apply(simd, x, vectors))
    }
}

/// The gradient that reaches the normalised value beneath a ReLU: `g` where that value is above 0, else 0.
#[inline(always)]
fn beneath_relu<S: Simd>(simd: S, x: S::F32, vectors: [S::F32; 3], g: S::F32) -> S::F32 {
    simd.keep_gt(Normalise.apply(simd, [x], vectors), simd.splat(0.0), g)
}

/// Mean and sum of squares around it, of one chunk.
struct Moments<'a> {
    channels: usize,
    input: &'a [f32],       // (pixels of the chunk, channels)
    mean: &'a mut [f32],    // (channels)
    squares: &'a mut [f32], // (channels)
    pilot: &'a mut [f32],   // (channels)
}

impl Body for Moments<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Moments { channels, input, mean, squares, pilot } = self;
        let pixels = input.len() / channels;
        let first = pixels.min(PILOT_PIXELS);
        pilot.fill(0.0);
        add_pixels(simd, Values, channels, [&input[..first * channels]], [], [&mut *pilot]);
        for pilot in &mut *pilot {
            *pilot /= first as f32;
        }
        mean.fill(0.0);
        squares.fill(0.0);
        add_pixels(simd, Differences, channels, [input], [pilot], [&mut *mean, &mut *squares]);
        for c in 0..channels {
            let offset = mean[c] / pixels as f32;
            squares[c] -= mean[c] * offset;
            mean[c] = pilot[c] + offset;
        }
    }
}

/// `sum x`
#[derive(Clone, Copy)]
struct Values;
impl PixelSums<1, 0, 1> for Values {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, [x]: [S::F32; 1], []: [S::F32; 0], [sum]: [S::F32; 1]) -> [S::F32; 1] {
        [simd.add(sum, x)]
    }
}

/// `sum (x - pilot)` and `sum (x - pilot)^2`
#[derive(Clone, Copy)]
struct Differences;
impl PixelSums<1, 1, 2> for Differences {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, [x]: [S::F32; 1], [pilot]: [S::F32; 1], [sum, square]: [S::F32; 2]) -> [S::F32; 2] {
        let difference = simd.sub(x, pilot);
        [simd.add(sum, difference), simd.mul_add(difference, difference, square)]
    }
}

/// Mean and variance of all pixels from those of the chunks (Chan, Golub and LeVeque 1979), in f64, for the channels from
/// `first` on.
fn combine_moments(shape: NormShape, chunk: usize, partial: &[f32], first: usize, mean: &mut [f32], variance: &mut [f32]) {
    let width = mean.len();
    let count = |i: usize| shape.pixels.min((i + 1) * chunk).saturating_sub(i * chunk) as f64;
    let rows = || partial.chunks_exact(3 * shape.channels).enumerate();
    let mut total = [0.0_f64; COMBINE_CHANNELS];
    for (i, row) in rows() {
        for (total, &mean) in total.iter_mut().zip(&row[first..][..width]) {
            *total += count(i) * f64::from(mean);
        }
    }
    let total = total.map(|t| t / shape.pixels as f64);
    let mut squares = [0.0_f64; COMBINE_CHANNELS];
    for (i, row) in rows() {
        let (means, sums) = (&row[first..][..width], &row[shape.channels + first..][..width]);
        for (c, square) in squares[..width].iter_mut().enumerate() {
            let offset = f64::from(means[c]) - total[c];
            *square += f64::from(sums[c]) + count(i) * offset * offset;
        }
    }
    for c in 0..width {
        mean[c] = total[c] as f32;
        variance[c] = (squares[c] / shape.pixels as f64).max(0.0) as f32;
    }
}

/// Moves the running averages: `running += momentum * (batch - running)`, with the unbiased variance, as PyTorch does.
pub fn update_running(
    momentum: f32,
    pixels: usize,
    mean: &[f32],             // (channels)
    variance: &[f32],         // (channels) biased, of the batch
    running_mean: &mut [f32], // (channels)
    running_var: &mut [f32],  // (channels) unbiased
) {
    let channels = mean.len();
    assert!(variance.len() == channels && running_mean.len() == channels && running_var.len() == channels);
    let (old, new) = (1.0 - f64::from(momentum), f64::from(momentum));
    let unbiased = pixels as f64 / (pixels as f64 - 1.0).max(1.0);
    for c in 0..channels {
        running_mean[c] = (old * f64::from(running_mean[c]) + new * f64::from(mean[c])) as f32;
        running_var[c] = (old * f64::from(running_var[c]) + new * unbiased * f64::from(variance[c])) as f32;
    }
}

/// As [`forward_training`] with the running averages in place of the batch's.
pub fn forward_inference(
    isa: Isa,
    shape: NormShape,
    epsilon: f32,
    input: &[f32],        // (pixels, channels)
    gamma: &[f32],        // (channels)
    beta: &[f32],         // (channels)
    running_mean: &[f32], // (channels)
    running_var: &[f32],  // (channels)
    output: &mut [f32],   // (pixels, channels)
    scratch: &mut [f32],
) {
    check(shape, &[input, output], &[gamma, beta, running_mean, running_var], scratch);
    let scale = &mut scratch[..shape.channels];
    for c in 0..shape.channels {
        scale[c] = gamma[c] * inverse_std(running_var[c], epsilon);
    }
    normalise(isa, shape, input, running_mean, scale, beta, output);
}

/// Gradients of [`forward_training`]; that of the output becomes that of the input in place. With `x' = (x - mean) * inv_std` and `n` pixels:
/// `grad_beta = sum g`, `grad_gamma = sum g x'`, `grad_input = gamma * inv_std * (g - grad_beta / n - x' grad_gamma / n)`.
pub fn backward(
    isa: Isa,
    shape: NormShape,
    input: &[f32],          // (pixels, channels)
    gamma: &[f32],          // (channels)
    beta: &[f32],           // (channels)
    mean: &[f32],           // (channels) of the batch
    inv_std: &[f32],        // (channels) of the batch
    grad: &mut [f32],       // (pixels, channels)
    grad_gamma: &mut [f32], // (channels)
    grad_beta: &mut [f32],  // (channels)
    scratch: &mut [f32],
) {
    let NormShape { pixels, channels, .. } = shape;
    check(shape, &[input, grad], &[gamma, beta, mean, inv_std, grad_gamma, grad_beta], scratch);
    let (partial, vectors) = scratch.split_at_mut(2 * shape.chunks() * channels);
    let (scale, vectors) = vectors.split_at_mut(channels);
    for c in 0..channels {
        scale[c] = gamma[c] * inv_std[c];
    }
    let (scale, grad_output) = (&*scale, &*grad);
    let chunk = chunk_pixels(channels);
    // partial: (chunks, 2, channels): the sums of g and of g (x - mean).
    par::chunks_mut(partial, 2 * channels, |i, partial| {
        let range = i * chunk * channels..pixels.min((i + 1) * chunk) * channels;
        let (sum, product) = partial.split_at_mut(channels);
        let vectors = [mean, scale, beta];
        isa.run(GradientSums { shape, input: &input[range.clone()], grad: &grad_output[range], vectors, sum, product });
    });
    let partial = &*partial;
    par::chunks_mut2((grad_beta, COMBINE_CHANNELS), (grad_gamma, COMBINE_CHANNELS), |i, beta, gamma| {
        let first = i * COMBINE_CHANNELS;
        let mut sums = [[0.0_f64; COMBINE_CHANNELS]; 2];
        for row in partial.chunks_exact(channels * 2) {
            for (sums, row) in sums.iter_mut().zip([&row[first..], &row[channels + first..]]) {
                for (sum, &value) in sums.iter_mut().zip(&row[..beta.len()]) {
                    *sum += f64::from(value);
                }
            }
        }
        for c in 0..beta.len() {
            beta[c] = sums[0][c] as f32;
            gamma[c] = (sums[1][c] * f64::from(inv_std[first + c])) as f32;
        }
    });
    let (mean_grad, slope) = vectors.split_at_mut(channels);
    let slope = &mut slope[..channels];
    for c in 0..channels {
        mean_grad[c] = grad_beta[c] / pixels as f32;
        slope[c] = grad_gamma[c] * inv_std[c] / pixels as f32;
    }
    if shape.relu {
        let vectors = [mean, scale, mean_grad, slope, beta];
        update_pixels(isa, GradInputRelu, channels, input, vectors, grad);
    } else {
        update_pixels(isa, GradInput, channels, input, [mean, scale, mean_grad, slope], grad);
    }
}

/// `scale * ((g - mean_grad) - (x - mean) * slope)`
#[derive(Clone, Copy)]
struct GradInput;
impl PixelMap<2, 4> for GradInput {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [x, g]: [S::F32; 2], [mean, scale, mean_grad, slope]: [S::F32; 4]) -> S::F32 {
        // mean - x, so that the product is subtracted by one fused multiply-add.
        simd.mul(scale, simd.mul_add(simd.sub(mean, x), slope, simd.sub(g, mean_grad)))
    }
}

/// [`GradInput`] of the gradient beneath the ReLU.
#[derive(Clone, Copy)]
struct GradInputRelu;
impl PixelMap<2, 5> for GradInputRelu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [x, g]: [S::F32; 2], [mean, scale, mean_grad, slope, beta]: [S::F32; 5]) -> S::F32 {
        let g = beneath_relu(simd, x, [mean, scale, beta], g);
        GradInput.apply(simd, [x, g], [mean, scale, mean_grad, slope])
    }
}

struct GradientSums<'a> {
    shape: NormShape,
    input: &'a [f32],        // (pixels of the chunk, channels)
    grad: &'a [f32],         // (pixels of the chunk, channels)
    vectors: [&'a [f32]; 3], // mean, scale, beta
    sum: &'a mut [f32],      // (channels)
    product: &'a mut [f32],  // (channels)
}

impl Body for GradientSums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let GradientSums { shape, input, grad, vectors, sum, product } = self;
        sum.fill(0.0);
        product.fill(0.0);
        if shape.relu {
            add_pixels(simd, ProductsRelu, shape.channels, [input, grad], vectors, [sum, product]);
        } else {
            add_pixels(simd, Products, shape.channels, [input, grad], [vectors[0]], [sum, product]);
        }
    }
}

/// `sum g` and `sum g (x - mean)`
#[derive(Clone, Copy)]
struct Products;
impl PixelSums<2, 1, 2> for Products {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, [x, g]: [S::F32; 2], [mean]: [S::F32; 1], [sum, product]: [S::F32; 2]) -> [S::F32; 2] {
        [simd.add(sum, g), simd.mul_add(g, simd.sub(x, mean), product)]
    }
}

/// [`Products`] of the gradient beneath the ReLU.
#[derive(Clone, Copy)]
struct ProductsRelu;
impl PixelSums<2, 3, 2> for ProductsRelu {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, [x, g]: [S::F32; 2], vectors: [S::F32; 3], sums: [S::F32; 2]) -> [S::F32; 2] {
        let g = beneath_relu(simd, x, vectors, g);
        Products.add(simd, [x, g], [vectors[0]], sums)
    }
}

fn check(shape: NormShape, pixels: &[&[f32]], vectors: &[&[f32]], scratch: &[f32]) {
    assert!(!shape.is_empty(), "nothing to normalise: {shape:?}");
    assert!(pixels.iter().all(|array| array.len() == shape.len()), "an array's length is not that of {shape:?}");
    assert!(vectors.iter().all(|vector| vector.len() == shape.channels), "a vector's length is not that of {shape:?}");
    assert!(scratch.len() >= scratch_len(shape), "scratch too short");
}
