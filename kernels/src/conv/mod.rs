//! 2-D convolution (cross-correlation, as the field has it): shape, choice of algorithm, and its three passes.
//!
//! `y[n, i, j, k] = sum over r, s, c of x[n, i * stride - padding + r, j * stride - padding + s, c] * w[r, s, c, k]`
//!
//! Activations are (batch, rows, columns, channels), weights (kernel rows, kernel columns, in channels, out channels).

mod implicit_gemm;
mod max_pool;
mod winograd;

use crate::pool::PoolShape;
use crate::simd::Isa;

/// Everything that a convolution's cost and result depend on but its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Rows of the input.
    pub rows: usize,
    /// Columns of the input.
    pub columns: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Step between outputs, in input rows and columns.
    pub stride: [usize; 2],
    /// Zeros at the top and bottom, and left and right.
    pub padding: [usize; 2],
}

impl ConvShape {
    /// Rows of the output; 0 where the kernel does not fit.
    pub fn out_rows(&self) -> usize {
        out_size(self.rows, self.kernel[0], self.stride[0], self.padding[0])
    }

    /// Columns of the output; 0 where the kernel does not fit.
    pub fn out_columns(&self) -> usize {
        out_size(self.columns, self.kernel[1], self.stride[1], self.padding[1])
    }

    /// Values in the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.rows * self.columns * self.in_channels
    }

    /// Values in the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_rows() * self.out_columns() * self.out_channels
    }

    /// Values in the weights.
    pub fn weight_len(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.in_channels * self.out_channels
    }

    /// Multiplications and additions of a direct forward pass, padding included; either backward pass has as many.
    pub fn flops(&self) -> u64 {
        2 * (self.output_len() * self.kernel[0] * self.kernel[1] * self.in_channels) as u64
    }
}

fn out_size(size: usize, kernel: usize, stride: usize, padding: usize) -> usize {
    (size + 2 * padding).checked_sub(kernel).map_or(0, |room| room / stride + 1)
}

/// What a forward pass does to its outputs while they are in the cache: batch normalisation with known statistics is a factor,
/// which the weights can hold, and a bias.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Added to every output pixel: (out channels).
    pub bias: Option<&'a [f32]>,
    /// With a bias: then the larger of the output and 0; NaN stays NaN.
    pub relu: bool,
}

impl Epilogue<'_> {
    fn has_relu(self) -> bool {
        self.relu && self.bias.is_some()
    }
}

/// What a convolution is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// The output.
    Forward,
    /// The gradient with respect to the input.
    BackwardData,
    /// The gradient with respect to the weights.
    BackwardWeights,
}

impl Pass {
    /// Every pass.
    pub const ALL: [Pass; 3] = [Pass::Forward, Pass::BackwardData, Pass::BackwardWeights];

    /// Its name, as `osteon bench` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::BackwardData => "backward data",
            Pass::BackwardWeights => "backward weights",
        }
    }
}

/// Tiles whose multiplications cost as much as rotating and transforming the weights, which backward-data does in each step.
/// Measured with `osteon bench`: direct wins up to 16 tiles at 256 channels, Winograd from 32.
const PACKING_TILES: usize = 75;

/// Tiles whose multiplications cost as much as the sums of backward-weights, which are written and transformed in each step.
/// Measured with `osteon bench`: direct wins up to 16 tiles at 128 channels, up to 8 at 256 channels.
const SUMS_TILES: usize = 40;

/// Tiles of an image from which Winograd with stride 2 pays for weights that are nine times as many. Measured at 16, with one image: as
/// fast as direct; with eight: a third faster.
const STRIDED_TILES: usize = 16;

/// A way to compute a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Blocked GEMM whose A operand is read from a padded band of the image in place. Computes every shape.
    ImplicitGemm,
    /// Winograd's F(4x4, 3x3): a quarter of the multiplications. 3x3 kernels of stride 1, in the forward pass also of stride 2 (9 of
    /// 16 multiplications); padding of at most 2, channels in multiples of 8.
    Winograd,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Algorithm; 2] = [Algorithm::ImplicitGemm, Algorithm::Winograd];

    /// The one that the network uses for a pass over `shape`. That of the forward pass does not depend on the batch: so an
    /// image's result is the same bits whatever images are with it.
    pub fn choose(pass: Pass, shape: ConvShape) -> Algorithm {
        if !Algorithm::Winograd.supports(pass, shape) {
            return Algorithm::ImplicitGemm;
        }
        let image = ConvShape { batch: 1, ..shape };
        let (winograd, direct) = (winograd::multiplications(image), image.flops() as usize / 2);
        // Weights are packed for all forward passes together; the backward passes treat them anew.
        let once = |tiles: usize| tiles * winograd / winograd::tiles(image).max(1);
        let pays_with = |once: usize| 3 * shape.batch * winograd / 2 + once <= shape.batch * direct;
        let pays = match pass {
            Pass::Forward if shape.stride == [1, 1] => 2 * winograd <= direct,
            // The fewer multiplications are saved, the more the transforms count.
            Pass::Forward => 3 * winograd <= 2 * direct && winograd::tiles(image) >= STRIDED_TILES,
            Pass::BackwardData => pays_with(once(PACKING_TILES)) && 2 * winograd <= direct,
            Pass::BackwardWeights => pays_with(once(SUMS_TILES)) && 2 * winograd <= direct,
        };
        if pays { Algorithm::Winograd } else { Algorithm::ImplicitGemm }
    }

    /// Whether it can compute a pass over `shape`.
    pub fn supports(self, pass: Pass, shape: ConvShape) -> bool {
        match self {
            Algorithm::ImplicitGemm => true,
            Algorithm::Winograd => winograd::supports(pass, shape),
        }
    }

    /// Its name, as `osteon bench` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::ImplicitGemm => "implicit-gemm",
            Algorithm::Winograd => "winograd",
        }
    }

    /// The relative l2 error of its passes against f64 that it promises.
    pub fn max_error(self) -> f64 {
        match self {
            Algorithm::ImplicitGemm => implicit_gemm::MAX_ERROR,
            Algorithm::Winograd => winograd::MAX_ERROR,
        }
    }

    /// Length of the packed weights of [`pack`](Self::pack).
    pub fn packed_len(self, shape: ConvShape) -> usize {
        match self {
            Algorithm::ImplicitGemm => implicit_gemm::packed_len(shape),
            Algorithm::Winograd => winograd::packed_len(shape),
        }
    }

    /// Lays weights out as [`forward`](Self::forward) reads them; depends on the weights and on nothing of `shape` but kernel
    /// and channels.
    pub fn pack(self, isa: Isa, shape: ConvShape, weights: &[f32], packed: &mut [f32]) {
        self.check(Pass::Forward, shape);
        assert_eq!(weights.len(), shape.weight_len(), "conv: length of weights");
        assert_eq!(packed.len(), self.packed_len(shape), "conv: length of packed weights");
        match self {
            Algorithm::ImplicitGemm => implicit_gemm::pack(isa, shape, weights, packed),
            Algorithm::Winograd => winograd::pack(isa, shape, weights, packed),
        }
    }

    /// Length of the scratch of [`forward`](Self::forward) in the current thread pool.
    pub fn forward_scratch_len(self, shape: ConvShape) -> usize {
        match self {
            Algorithm::ImplicitGemm => implicit_gemm::forward_scratch_len(shape),
            Algorithm::Winograd => winograd::forward_scratch_len(shape),
        }
    }

    /// Overwrites `output` with the convolution of `input` with weights from [`pack`](Self::pack), and what `epilogue` says.
    pub fn forward(
        self,
        isa: Isa,
        shape: ConvShape,
        input: &[f32],
        packed: &[f32],
        epilogue: Epilogue,
        output: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.check(Pass::Forward, shape);
        assert_eq!(input.len(), shape.input_len(), "conv: length of input");
        assert_eq!(packed.len(), self.packed_len(shape), "conv: length of packed weights");
        assert_eq!(output.len(), shape.output_len(), "conv: length of output");
        assert!(scratch.len() >= self.forward_scratch_len(shape), "conv: length of scratch");
        assert!(epilogue.bias.is_none_or(|bias| bias.len() == shape.out_channels), "conv: length of the bias");
        match self {
            Algorithm::ImplicitGemm => implicit_gemm::forward(isa, shape, input, packed, epilogue, output, scratch),
            Algorithm::Winograd => winograd::forward(isa, shape, input, packed, epilogue, output, scratch),
        }
    }

    /// Length of the scratch of [`backward_data`](Self::backward_data) in the current thread pool.
    pub fn backward_data_scratch_len(self, shape: ConvShape) -> usize {
        match self {
            Algorithm::ImplicitGemm => implicit_gemm::backward_data_scratch_len(shape),
            Algorithm::Winograd => winograd::backward_data_scratch_len(shape),
        }
    }

    /// Whether [`backward_data`](Self::backward_data) can add to what is there.
    pub fn adds(self) -> bool {
        self == Algorithm::Winograd
    }

    /// Overwrites `grad_input` with the gradient with respect to the input, or where it [can](Self::adds) and `add` says so, adds the
    /// gradient to it: the bits of that gradient by itself and a sum.
    pub fn backward_data(
        self,
        isa: Isa,
        shape: ConvShape,
        grad_output: &[f32],
        weights: &[f32],
        (grad_input, add): (&mut [f32], bool),
        scratch: &mut [f32],
    ) {
        self.check(Pass::BackwardData, shape);
        assert!(!add || self.adds(), "conv: {} cannot add", self.name());
        assert_eq!(grad_output.len(), shape.output_len(), "conv: length of grad_output");
        assert_eq!(weights.len(), shape.weight_len(), "conv: length of weights");
        assert_eq!(grad_input.len(), shape.input_len(), "conv: length of grad_input");
        assert!(scratch.len() >= self.backward_data_scratch_len(shape), "conv: length of scratch");
        match self {
            Algorithm::ImplicitGemm => implicit_gemm::backward_data(isa, shape, grad_output, weights, grad_input, scratch),
            Algorithm::Winograd => winograd::backward_data(isa, shape, grad_output, weights, (grad_input, add), scratch),
        }
    }

    /// Length of the scratch of [`backward_weights`](Self::backward_weights) in the current thread pool.
    pub fn backward_weights_scratch_len(self, shape: ConvShape) -> usize {
        match self {
            Algorithm::ImplicitGemm => implicit_gemm::backward_weights_scratch_len(shape),
            Algorithm::Winograd => winograd::backward_weights_scratch_len(shape),
        }
    }

    /// Overwrites `grad_weights` with the gradient with respect to the weights, summed over batch and pixels.
    pub fn backward_weights(
        self,
        isa: Isa,
        shape: ConvShape,
        input: &[f32],
        grad_output: &[f32],
        grad_weights: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.check(Pass::BackwardWeights, shape);
        assert_eq!(input.len(), shape.input_len(), "conv: length of input");
        assert_eq!(grad_output.len(), shape.output_len(), "conv: length of grad_output");
        assert_eq!(grad_weights.len(), shape.weight_len(), "conv: length of grad_weights");
        assert!(scratch.len() >= self.backward_weights_scratch_len(shape), "conv: length of scratch");
        match self {
            Algorithm::ImplicitGemm => implicit_gemm::backward_weights(isa, shape, input, grad_output, grad_weights, scratch),
            Algorithm::Winograd => winograd::backward_weights(isa, shape, input, grad_output, grad_weights, scratch),
        }
    }

    fn check(self, pass: Pass, shape: ConvShape) {
        assert!(self.supports(pass, shape), "conv: {} cannot compute the {} pass of {shape:?}", self.name(), pass.name());
    }
}

/// Length of the scratch of [`forward_max_pool`] in the current thread pool.
pub fn forward_max_pool_scratch_len(shape: ConvShape, pool: PoolShape) -> usize {
    max_pool::scratch_len(shape, pool)
}

/// Overwrites `output` with the maximum over the windows of `pool` of the convolution's outputs and `bias`, or 0 where that is larger:
/// the bits of [`Algorithm::ImplicitGemm`] and its epilogue, of [`max_pool`](crate::pool::max_pool) and of ReLU, without the
/// convolution's outputs in memory. `packed` is that algorithm's.
pub fn forward_max_pool(
    isa: Isa,
    shape: ConvShape,
    pool: PoolShape,
    input: &[f32],
    packed: &[f32],
    bias: &[f32],
    output: &mut [f32],
    scratch: &mut [f32],
) {
    assert_eq!(input.len(), shape.input_len(), "conv: length of input");
    assert_eq!(packed.len(), Algorithm::ImplicitGemm.packed_len(shape), "conv: length of packed weights");
    assert!(shape.weight_len() > 0, "conv: no weights");
    assert_eq!(bias.len(), shape.out_channels, "conv: length of the bias");
    assert!(scratch.len() >= forward_max_pool_scratch_len(shape, pool), "conv: length of scratch");
    let outputs = [pool.batch, pool.rows, pool.columns, pool.channels];
    assert_eq!(outputs, [shape.batch, shape.out_rows(), shape.out_columns(), shape.out_channels], "conv: input of the pool");
    pool.check(shape.output_len(), output.len());
    max_pool::forward(isa, (shape, pool), input, packed, bias, output, scratch);
}
