//! Operations on each value by itself: ReLU, sum, product, sigmoid. Also the loops that they share with the
//! channel-wise kernels: `map_pixels` and `add_pixels`.

use crate::par;
use crate::simd::{self, Body, Isa, LANES, Simd, zip};
use std::iter::StepBy;
use std::ops::Range;

/// Values that one call of a body gets: 32768 * 4 = 128 KB, so that a chunk and its output stay in a core's L2 cache, and a
/// chunk is work enough for another thread.
pub(crate) const CHUNK: usize = 1 << 15;

/// Pixels in a chunk of [`CHUNK`] values.
pub(crate) fn chunk_pixels(channels: usize) -> usize {
    (CHUNK / channels.max(1)).max(1)
}

/// Vectors of channels that a body works on at once: with them, two sums each and their operands, the 16 registers are full.
pub(crate) const VECTORS: usize = 4;

/// Channels in [`VECTORS`].
pub(crate) const BLOCK: usize = VECTORS * LANES;

/// Where the blocks of a pixel's channels start: those of [`VECTORS`] vectors, then those of one, the last perhaps not full.
#[inline(always)]
pub(crate) fn blocks(channels: usize) -> (StepBy<Range<usize>>, StepBy<Range<usize>>) {
    let whole = channels - channels % BLOCK;
    ((0..whole).step_by(BLOCK), (whole..channels).step_by(LANES))
}

/// What is done with eight channels of a pixel: `inputs` from `N` arrays of pixels, `vectors` from `M` vectors of channels.
pub(crate) trait PixelMap<const N: usize, const M: usize>: Copy + Sync {
    /// The output's eight channels. Mark the implementation `#[inline(always)]`.
    fn apply<S: Simd>(self, simd: S, inputs: [S::F32; N], vectors: [S::F32; M]) -> S::F32;
}

/// `output[p][c] = f(inputs[..][p][c], vectors[..][c])` over all pixels, in fixed chunks on all workers.
pub(crate) fn map_pixels<F: PixelMap<N, M>, const N: usize, const M: usize>(
    isa: Isa,
    function: F,
    channels: usize,
    inputs: [&[f32]; N],  // each (pixels, channels)
    vectors: [&[f32]; M], // each (channels)
    output: &mut [f32],   // (pixels, channels)
) {
    assert!(inputs.iter().all(|input| input.len() == output.len()), "inputs and output of unequal lengths");
    assert!(vectors.iter().all(|vector| vector.len() == channels), "a vector is not as long as a pixel");
    let chunk = chunk_pixels(channels) * channels.max(1);
    par::chunks_mut(output, chunk, |i, output| {
        let inputs = inputs.map(|input| &input[i * chunk..][..output.len()]);
        isa.run(MapChunk { function, channels, inputs, vectors, output });
    });
}

/// [`map_pixels`] without vectors.
fn map<F: PixelMap<N, 0>, const N: usize>(isa: Isa, function: F, inputs: [&[f32]; N], output: &mut [f32]) {
    assert!(inputs.iter().all(|input| input.len() == output.len()), "inputs and output of unequal lengths");
    par::chunks_mut(output, CHUNK, |i, output| {
        let inputs = inputs.map(|input| &input[i * CHUNK..][..output.len()]);
        isa.run(MapChunk { function, channels: output.len(), inputs, vectors: [], output });
    });
}

/// [`map_pixels`] of one chunk.
pub(crate) struct MapChunk<'a, F, const N: usize, const M: usize> {
    pub function: F,
    pub channels: usize,
    pub inputs: [&'a [f32]; N],
    pub vectors: [&'a [f32]; M],
    pub output: &'a mut [f32],
}

impl<F: PixelMap<N, M>, const N: usize, const M: usize> Body for MapChunk<'_, F, N, M> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (large, small) = blocks(self.channels);
        let mut start = 0;
        for output in self.output.chunks_exact_mut(self.channels) {
            let mut rows = [&[][..]; N];
            for n in 0..N {
                rows[n] = &self.inputs[n][start..][..self.channels];
            }
            start += self.channels;
            for c in large.clone() {
                map_block::<S, F, N, M, VECTORS>(simd, self.function, c, &rows, &self.vectors, output);
            }
            for c in small.clone() {
                map_block::<S, F, N, M, 1>(simd, self.function, c, &rows, &self.vectors, output);
            }
        }
    }
}

/// `target[p][c] = f(input[p][c], target[p][c], vectors[..][c])` over all pixels, in fixed chunks on all workers: in place.
pub(crate) fn update_pixels<F: PixelMap<2, M>, const M: usize>(
    isa: Isa,
    function: F,
    channels: usize,
    input: &[f32],        // (pixels, channels)
    vectors: [&[f32]; M], // each (channels)
    target: &mut [f32],   // (pixels, channels)
) {
    assert_eq!(input.len(), target.len(), "input and target of unequal lengths");
    assert!(vectors.iter().all(|vector| vector.len() == channels), "a vector is not as long as a pixel");
    let chunk = chunk_pixels(channels) * channels.max(1);
    par::chunks_mut(target, chunk, |i, target| {
        isa.run(UpdateChunk { function, channels, input: &input[i * chunk..][..target.len()], vectors, target });
    });
}

/// [`update_pixels`] of one chunk.
struct UpdateChunk<'a, F, const M: usize> {
    function: F,
    channels: usize,
    input: &'a [f32],
    vectors: [&'a [f32]; M],
    target: &'a mut [f32],
}

impl<F: PixelMap<2, M>, const M: usize> Body for UpdateChunk<'_, F, M> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (large, small) = blocks(self.channels);
        let pixels = self.input.chunks_exact(self.channels);
        for (target, input) in zip(self.target.chunks_exact_mut(self.channels), pixels) {
            for c in large.clone() {
                update_block::<S, F, M, VECTORS>(simd, self.function, c, input, &self.vectors, target);
            }
            for c in small.clone() {
                update_block::<S, F, M, 1>(simd, self.function, c, input, &self.vectors, target);
            }
        }
    }
}

/// The channels of one pixel from `c` on, `V` vectors.
#[inline(always)]
fn update_block<S: Simd, F: PixelMap<2, M>, const M: usize, const V: usize>(
    simd: S,
    function: F,
    c: usize,
    input: &[f32],
    vectors: &[&[f32]; M],
    target: &mut [f32],
) {
    let x = load_blocks::<S, 1, V>(simd, &[input], c);
    let v = load_blocks::<S, M, V>(simd, vectors, c);
    let mut y = simd.load_block::<V>(&target[c..], 0.0);
    for i in 0..V {
        y[i] = function.apply(simd, [x[0][i], y[i]], each(simd, &v, i));
    }
    simd.store_block(y, &mut target[c..]);
}

/// The channels of one pixel from `c` on, `V` vectors.
#[inline(always)]
fn map_block<S: Simd, F: PixelMap<N, M>, const N: usize, const M: usize, const V: usize>(
    simd: S,
    function: F,
    c: usize,
    rows: &[&[f32]; N],
    vectors: &[&[f32]; M],
    output: &mut [f32],
) {
    let x = load_blocks::<S, N, V>(simd, rows, c);
    let v = load_blocks::<S, M, V>(simd, vectors, c);
    let mut y = [simd.splat(0.0); V];
    for i in 0..V {
        y[i] = function.apply(simd, each(simd, &x, i), each(simd, &v, i));
    }
    simd.store_block(y, &mut output[c..]);
}

/// `V` vectors from place `c` of each row.
#[inline(always)]
fn load_blocks<S: Simd, const N: usize, const V: usize>(simd: S, rows: &[&[f32]; N], c: usize) -> [[S::F32; V]; N] {
    let mut blocks = [[simd.splat(0.0); V]; N];
    for n in 0..N {
        blocks[n] = simd.load_block(&rows[n][c..], 0.0);
    }
    blocks
}

/// Vector `i` of each block.
#[inline(always)]
fn each<S: Simd, const N: usize, const V: usize>(simd: S, blocks: &[[S::F32; V]; N], i: usize) -> [S::F32; N] {
    let mut vectors = [simd.splat(0.0); N];
    for n in 0..N {
        vectors[n] = blocks[n][i];
    }
    vectors
}

/// Terms of `K` sums over pixels, for eight channels: `inputs` from `N` arrays of pixels, `vectors` from `M` vectors of channels.
pub(crate) trait PixelSums<const N: usize, const M: usize, const K: usize>: Copy {
    /// The sums with this pixel's terms added. Mark the implementation `#[inline(always)]`.
    fn add<S: Simd>(self, simd: S, inputs: [S::F32; N], vectors: [S::F32; M], sums: [S::F32; K]) -> [S::F32; K];
}

/// Pixels whose terms are summed in registers before the sums in memory take them: few enough that the pixels are read nearly
/// in the order of memory, enough that the sums' own traffic hardly counts.
pub(crate) const PIXELS: usize = 16;

/// The most roundings that a term of [`add_pixels`] goes through: its product, or its sum with 0, which is exact, and then
/// 15 additions in its group of [`PIXELS`]; the first group's sum is added to 0, then `ceil(pixels / 16) - 1` others to it.
/// `16 + ceil(pixels / 16) - 1`.
pub(crate) fn pixel_sum_roundings(pixels: usize) -> usize {
    (PIXELS.min(pixels) + pixels.div_ceil(PIXELS)).saturating_sub(1)
}

/// `sums[..][c] += sum over p of the terms of (inputs[..][p][c], vectors[..][c])`.
#[inline(always)]
pub(crate) fn add_pixels<S: Simd, F: PixelSums<N, M, K>, const N: usize, const M: usize, const K: usize>(
    simd: S,
    function: F,
    channels: usize,
    inputs: [&[f32]; N],       // each (pixels, channels)
    vectors: [&[f32]; M],      // each (channels)
    mut sums: [&mut [f32]; K], // each (channels)
) {
    let (large, small) = blocks(channels);
    let pixels = inputs[0].len() / channels;
    for first in (0..pixels).step_by(PIXELS) {
        let group = first..pixels.min(first + PIXELS);
        for c in large.clone() {
            add_block::<S, F, N, M, K, VECTORS>(simd, function, channels, c, group.clone(), &inputs, &vectors, &mut sums);
        }
        for c in small.clone() {
            add_block::<S, F, N, M, K, 1>(simd, function, channels, c, group.clone(), &inputs, &vectors, &mut sums);
        }
    }
}

/// The channels from `c` on, `V` vectors, of a group of pixels.
#[inline(always)]
fn add_block<S: Simd, F: PixelSums<N, M, K>, const N: usize, const M: usize, const K: usize, const V: usize>(
    simd: S,
    function: F,
    channels: usize,
    c: usize,
    group: Range<usize>,
    inputs: &[&[f32]; N],
    vectors: &[&[f32]; M],
    sums: &mut [&mut [f32]; K],
) {
    let v = load_blocks::<S, M, V>(simd, vectors, c);
    let mut group_sums = [[simd.splat(0.0); K]; V];
    for pixel in group {
        let mut rows = [&[][..]; N];
        for n in 0..N {
            rows[n] = &inputs[n][pixel * channels..][..channels];
        }
        let x = load_blocks::<S, N, V>(simd, &rows, c);
        for i in 0..V {
            group_sums[i] = function.add(simd, each(simd, &x, i), each(simd, &v, i), group_sums[i]);
        }
    }
    for k in 0..K {
        let total = &mut sums[k][c..];
        let mut block = simd.load_block::<V>(total, 0.0);
        for i in 0..V {
            block[i] = simd.add(block[i], group_sums[i][k]);
        }
        simd.store_block(block, total);
    }
}

/// `output = max(input, 0)`; NaN stays NaN.
pub fn relu(isa: Isa, input: &[f32], output: &mut [f32]) {
    map(isa, Relu, [input], output);
}

#[derive(Clone, Copy)]
struct Relu;
impl PixelMap<1, 0> for Relu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [x]: [S::F32; 1], []: [S::F32; 0]) -> S::F32 {
        simd.max(simd.splat(0.0), x)
    }
}

/// `grad = grad` where the forward's `output` is above 0, else 0: from the output's gradient to the input's, in place.
pub fn relu_backward(isa: Isa, output: &[f32], grad: &mut [f32]) {
    assert_eq!(output.len(), grad.len(), "output and gradient of unequal lengths");
    par::chunks_mut(grad, CHUNK, |i, target| {
        let input = &output[i * CHUNK..][..target.len()];
        isa.run(UpdateChunk { function: ReluBackward, channels: input.len(), input, vectors: [], target });
    });
}

/// [`relu_backward`] with a copy of the gradient: for a sum whose terms each get it.
pub fn relu_backward_both(isa: Isa, output: &[f32], grad: &mut [f32], copy: &mut [f32]) {
    assert!(output.len() == grad.len() && grad.len() == copy.len(), "output and gradients of unequal lengths");
    par::chunks_mut2((grad, CHUNK), (copy, CHUNK), |i, target, copy| {
        let input = &output[i * CHUNK..][..target.len()];
        // In parts that stay in the L1 cache for the copy.
        for ((target, copy), input) in target.chunks_mut(PART).zip(copy.chunks_mut(PART)).zip(input.chunks(PART)) {
            isa.run(UpdateChunk { function: ReluBackward, channels: input.len(), input, vectors: [], target: &mut *target });
            copy.copy_from_slice(target);
        }
    });
}

/// Values of 8 KB.
const PART: usize = 1 << 11;

#[derive(Clone, Copy)]
struct ReluBackward;
impl PixelMap<2, 0> for ReluBackward {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [y, grad]: [S::F32; 2], []: [S::F32; 0]) -> S::F32 {
        simd.keep_gt(y, simd.splat(0.0), grad)
    }
}

/// `output = a + b`. Its backward passes the gradient on unchanged to both.
pub fn add(isa: Isa, a: &[f32], b: &[f32], output: &mut [f32]) {
    map(isa, Add, [a, b], output);
}

#[derive(Clone, Copy)]
struct Add;
impl PixelMap<2, 0> for Add {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [a, b]: [S::F32; 2], []: [S::F32; 0]) -> S::F32 {
        simd.add(a, b)
    }
}

/// `output = max(a + b, 0)`; NaN stays NaN. Its backward is [`relu_backward`]'s, which is the gradient of both.
pub fn add_relu(isa: Isa, a: &[f32], b: &[f32], output: &mut [f32]) {
    map(isa, AddRelu, [a, b], output);
}

#[derive(Clone, Copy)]
struct AddRelu;
impl PixelMap<2, 0> for AddRelu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [a, b]: [S::F32; 2], []: [S::F32; 0]) -> S::F32 {
        simd.max(simd.splat(0.0), simd.add(a, b))
    }
}

/// `output = a + weight * b`. Its backward passes the gradient on unchanged to `a`, and [`scale`]d by the weight to `b`.
pub fn add_scaled(isa: Isa, weight: f32, a: &[f32], b: &[f32], output: &mut [f32]) {
    map(isa, AddScaled(weight), [a, b], output);
}

#[derive(Clone, Copy)]
struct AddScaled(f32);
impl PixelMap<2, 0> for AddScaled {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [a, b]: [S::F32; 2], []: [S::F32; 0]) -> S::F32 {
        simd.mul_add(simd.splat(self.0), b, a)
    }
}

/// `output = factor * input`.
pub fn scale(isa: Isa, factor: f32, input: &[f32], output: &mut [f32]) {
    map(isa, Scale(factor), [input], output);
}

#[derive(Clone, Copy)]
struct Scale(f32);
impl PixelMap<1, 0> for Scale {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [x]: [S::F32; 1], []: [S::F32; 0]) -> S::F32 {
        simd.mul(simd.splat(self.0), x)
    }
}

/// `output = a * b`.
pub(crate) fn multiply(isa: Isa, a: &[f32], b: &[f32], output: &mut [f32]) {
    map(isa, Multiply, [a, b], output);
}

#[derive(Clone, Copy)]
struct Multiply;
impl PixelMap<2, 0> for Multiply {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [a, b]: [S::F32; 2], []: [S::F32; 0]) -> S::F32 {
        simd.mul(a, b)
    }
}

/// `target += b`.
pub fn add_assign(isa: Isa, target: &mut [f32], b: &[f32]) {
    assert_eq!(target.len(), b.len(), "inputs of unequal lengths");
    par::chunks_mut(target, CHUNK, |i, target| isa.run(AddAssign { b: &b[i * CHUNK..][..target.len()], target }));
}

struct AddAssign<'a> {
    target: &'a mut [f32],
    b: &'a [f32],
}
impl Body for AddAssign<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (target, b) in zip(self.target.chunks_mut(LANES), self.b.chunks(LANES)) {
            simd.store_part(simd.add(simd.load_part(target, 0.0), simd.load_part(b, 0.0)), target);
        }
    }
}

/// `output = 1 / (1 + e^-input)`.
pub fn sigmoid(isa: Isa, input: &[f32], output: &mut [f32]) {
    map(isa, Sigmoid, [input], output);
}

#[derive(Clone, Copy)]
struct Sigmoid;
impl PixelMap<1, 0> for Sigmoid {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [x]: [S::F32; 1], []: [S::F32; 0]) -> S::F32 {
        simd::sigmoid(simd, x)
    }
}

/// `grad_input = grad_output * output * (1 - output)`, `output` being the forward's.
pub fn sigmoid_backward(isa: Isa, output: &[f32], grad_output: &[f32], grad_input: &mut [f32]) {
    map(isa, SigmoidBackward, [output, grad_output], grad_input);
}

#[derive(Clone, Copy)]
struct SigmoidBackward;
impl PixelMap<2, 0> for SigmoidBackward {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, [y, grad]: [S::F32; 2], []: [S::F32; 0]) -> S::F32 {
        simd.mul(grad, simd.mul(y, simd.sub(simd.splat(1.0), y)))
    }
}
