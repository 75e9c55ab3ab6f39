//! 2-D convolution (cross-correlation, as the field has it): shape, choice of algorithm, and its three passes.
//!
//! `y[n, i, j, k] = sum over r, s, c of x[n, i * stride - padding + r, j * stride - padding + s, c] * w[r, s, c, k]`
//!
//! Activations are (batch, rows, columns, channels), weights (kernel rows, kernel columns, in channels, out channels).

mod max_pool;

use crate::pool::PoolShape;
use crate::simd::Isa;

/// Everything that a convolution's cost depends on, and its result beside the values.
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

/// A pass of a convolution.
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

/// What an algorithm is, in its own file: figures, and functions of which this file's methods assert what they are given.
#[expect(clippy::type_complexity, reason = "each argument is named")]
struct Functions {
    /// As [`Algorithm::name`].
    name: &'static str,
    /// As [`Algorithm::max_error`].
    max_error: f64,
    /// As [`Algorithm::adds`].
    adds: bool,
    supports: fn(Pass, ConvShape) -> bool,
    /// Whether the network uses it for a pass that it supports, rather than those above it in the list. Of the forward pass it must
    /// not depend on the batch.
    pays: fn(Pass, ConvShape) -> bool,
    packed_len: fn(ConvShape) -> usize,
    pack: fn(Isa, ConvShape, weights: &[f32], packed: &mut [f32]),
    forward_scratch_len: fn(ConvShape) -> usize,
    forward: fn(Isa, ConvShape, input: &[f32], packed: &[f32], Epilogue, output: &mut [f32], scratch: &mut [f32]),
    backward_data_scratch_len: fn(ConvShape) -> usize,
    /// The gradient of the input, and whether it is added to what is there: only where the algorithm `adds`.
    backward_data: fn(Isa, ConvShape, grad_output: &[f32], weights: &[f32], grad_input: (&mut [f32], bool), scratch: &mut [f32]),
    backward_weights_scratch_len: fn(ConvShape) -> usize,
    backward_weights: fn(Isa, ConvShape, input: &[f32], grad_output: &[f32], grad_weights: &mut [f32], scratch: &mut [f32]),
}

/// Declares the modules of the algorithms, each with its `FUNCTIONS`, and [`Algorithm`].
macro_rules! algorithms {
    ($($(#[$doc:meta])* $name:ident = $module:ident,)*) => {
        $(mod $module;)*

        /// A way to compute a convolution.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Algorithm {
            $($(#[$doc])* $name,)*
        }

        impl Algorithm {
            /// Every algorithm.
            pub const ALL: [Algorithm; [$(stringify!($name)),*].len()] = [$(Algorithm::$name),*];

            fn functions(self) -> &'static Functions {
                match self {
                    $(Algorithm::$name => &$module::FUNCTIONS,)*
                }
            }
        }
    };
}

// From the one that computes every shape to those that compute some faster.
algorithms! {
    /// Blocked GEMM whose A operand is read from a padded band of the image in place. Computes every shape.
    ImplicitGemm = implicit_gemm,
    /// Winograd's F(4x4, 3x3): a quarter of the multiplications. 3x3 kernels of stride 1, in the forward pass also of stride 2 (9 of
    /// 16 multiplications); padding of at most 2, channels in multiples of 8.
    Winograd = winograd,
}

impl Algorithm {
    /// The one that the network uses for a pass over `shape`. That of the forward pass does not depend on the batch: so an
    /// image's result is the same bits whatever images are with it.
    pub fn choose(pass: Pass, shape: ConvShape) -> Algorithm {
        let fits = |algorithm: &Algorithm| algorithm.supports(pass, shape) && (algorithm.functions().pays)(pass, shape);
        Algorithm::ALL.into_iter().rev().find(fits).expect("the first computes every shape")
    }

    /// Whether it can compute a pass over `shape`.
    pub fn supports(self, pass: Pass, shape: ConvShape) -> bool {
        (self.functions().supports)(pass, shape)
    }

    /// Its name, as `osteon bench` prints it.
    pub fn name(self) -> &'static str {
        self.functions().name
    }

    /// The relative l2 error of its passes against f64 that it promises.
    pub fn max_error(self) -> f64 {
        self.functions().max_error
    }

    /// Length of the packed weights of [`pack`](Self::pack).
    pub fn packed_len(self, shape: ConvShape) -> usize {
        (self.functions().packed_len)(shape)
    }

    /// Lays weights out as [`forward`](Self::forward) reads them; depends on the weights and on nothing of `shape` but kernel
    /// and channels.
    pub fn pack(self, isa: Isa, shape: ConvShape, weights: &[f32], packed: &mut [f32]) {
        self.check(Pass::Forward, shape);
        assert_eq!(weights.len(), shape.weight_len(), "conv: length of weights");
        assert_eq!(packed.len(), self.packed_len(shape), "conv: length of packed weights");
        (self.functions().pack)(isa, shape, weights, packed);
    }

    /// Length of the scratch of [`forward`](Self::forward) in the current thread pool.
    pub fn forward_scratch_len(self, shape: ConvShape) -> usize {
        (self.functions().forward_scratch_len)(shape)
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
        (self.functions().forward)(isa, shape, input, packed, epilogue, output, scratch);
    }

    /// Length of the scratch of [`backward_data`](Self::backward_data) in the current thread pool.
    pub fn backward_data_scratch_len(self, shape: ConvShape) -> usize {
        (self.functions().backward_data_scratch_len)(shape)
    }

    /// Whether [`backward_data`](Self::backward_data) can add to what is there.
    pub fn adds(self) -> bool {
        self.functions().adds
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
        (self.functions().backward_data)(isa, shape, grad_output, weights, (grad_input, add), scratch);
    }

    /// Length of the scratch of [`backward_weights`](Self::backward_weights) in the current thread pool.
    pub fn backward_weights_scratch_len(self, shape: ConvShape) -> usize {
        (self.functions().backward_weights_scratch_len)(shape)
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
        (self.functions().backward_weights)(isa, shape, input, grad_output, grad_weights, scratch);
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
