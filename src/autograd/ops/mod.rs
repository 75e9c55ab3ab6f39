//! The operations of the tape. Each is one struct in one file of this folder: its attributes, its shape check, its description, its
//! forward and backward pass, and the ONNX nodes that it is. Nothing about an operation stands elsewhere in the program but how an
//! auditor computes it again (`audit/verify`, in the same division).
//!
//! To add one:
//! 1. its kernel in `kernels/src`, the same arithmetic as a plain f64 loop in `reference/src`, and in `kernels/tests/ops` a proptest that
//!    compares them, with a line in the lists for thread counts and NaN;
//! 2. a struct of its attributes here, in the file of its family, that implements [`Operation`]; `shape` refuses bad attributes too;
//! 3. its line in the list `operations!`, below;
//! 4. the trait `Audited` for it in `audit/verify`: the reference and the bound of its error;
//! 5. its golden: a case in `reference/scripts/goldens.py`, which writes the file, and in `tests/goldens/operations.rs`.
//!
//! Once a tape applies it, the compiler names what is missing of 2 to 4. A network calls it by `tape.apply(Name { .. }, [x, ..])`; a method
//! in `build.rs` is for what many layers call. Trace, verify, gradient check, ONNX, `model info`, `bench` and the tape's memory follow.

mod attention;
mod conv;
mod elementwise;
mod linear;
mod loss;
mod norm;
mod onnx;
mod pool;
mod saved;
mod shape;

pub use attention::*;
pub use conv::*;
pub use elementwise::*;
pub use linear::*;
pub use loss::*;
pub use norm::*;
pub use onnx::*;
pub use pool::*;
pub use saved::*;
pub use shape::*;

use super::packed::PackedConv;
use super::{ParameterId, Parameters};
use crate::tensor::{Buffer, Buffers, Shape};
use osteon_kernels::concat::MAX_PARTS;
use osteon_kernels::conv::ConvShape;
use osteon_kernels::pool::PoolShape;
use osteon_kernels::reduce::ReduceShape;
use osteon_kernels::simd::Isa;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;

/// The most inputs that an operation has: x, weight, gamma, beta, running mean and running variance of a convolution with batch norm.
pub const MAX_INPUTS: usize = 6;

/// The most inputs that can have a gradient: those of an inception block's end.
pub const MAX_GRADIENTS: usize = MAX_PARTS;

/// Calls a macro with every operation, in one list.
macro_rules! operations {
    ($use:ident) => {
        $use! {
            Conv, ConvBias, ConvNorm, ConvNormPool,
            BatchNorm, FrozenNorm,
            Relu, Sigmoid, Add, AddRelu, AddScaled, AddHalves, Dropout,
            Concat, Flatten,
            MaxPool, AveragePool, AdaptiveAverage, GlobalAverage, GlobalMax, GlobalStats,
            ChannelStats, ScaleChannels, ScalePixels, ScaledStats, ScaleAddRelu,
            Linear,
            Softmax, CrossEntropy, WeightedCrossEntropy,
        }
    };
}
pub(crate) use operations;

macro_rules! enumerate {
    ($($name:ident),* $(,)?) => {
        /// Any operation. What a trace writes of one is this, as JSON: its kind and its attributes.
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        #[allow(missing_docs)] // each is documented where it is
        pub enum Op {
            $($name($name)),*
        }

        impl Deref for Op {
            type Target = dyn Operation;
            fn deref(&self) -> &Self::Target {
                match self {
                    $(Op::$name(op) => op),*
                }
            }
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Op {
                Op::$name(op)
            }
        })*
    };
}
operations!(enumerate);

/// What every operation says and does. Shapes have been [checked](Self::shape) wherever values are given.
pub trait Operation: fmt::Debug {
    /// What it does, as a trace and `model info` show it.
    fn name(&self) -> &'static str;

    /// The shape of its result from those of its inputs, as many as it has.
    ///
    /// # Errors
    /// What does not fit, in words that follow the layer's name.
    fn shape(&self, inputs: &[Shape]) -> Result<Shape, String>;

    /// All that is asked of an operation but its values.
    fn describe(&self, inputs: &[Shape]) -> Description;

    /// Overwrites `output`, and gives what the backward pass needs beside inputs and output.
    fn forward(&self, inputs: &[Operand], output: &mut [f32], run: &mut Run) -> Saved;

    /// Overwrites `gradients` from `gradient`, that of the result; see [`Backward`]. Values that the description does not
    /// [retain](Description::retains_inputs) are empty slices.
    fn backward(&self, forward: &Forward, gradient: &mut [f32], gradients: &mut [&mut [f32]], run: &mut Run);

    /// Overwrites `output` with what [`forward`](Self::forward) made of the same inputs, bit for bit, for what the description says is
    /// [recomputed](Description::recomputed).
    fn recompute(&self, inputs: &[Operand], _saved: &Saved, output: &mut [f32], run: &mut Run) {
        self.forward(inputs, output, run);
    }

    /// The ONNX nodes that it is, from the names of its inputs to that of its result. Nothing where only training has it.
    fn onnx(&self, inputs: &[&str], output: &str, nodes: &mut OnnxNodes) -> Option<()>;
}

/// What is asked of an operation: by the tape, the trace, the gradient check, the memory's plan.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Where its equation is written.
    pub source: &'static str,
    /// Where the equation of its gradient is written.
    pub gradient_source: &'static str,
    /// Its inputs. Those that can have a gradient come first.
    pub inputs: &'static [Input],
    /// What its equation reads.
    pub reads: &'static [Read],
    /// Whether the equations of its gradients read its result too: a ReLU at its end, or a function whose slope its value tells.
    pub gradients_read_output: bool,
    /// Inputs whose values its backward pass or its recomputation reads: the tape retains them. That need not be what the equations read:
    /// a ReLU's mask may be computed from an input, parameters are there anyway, and of some inputs the shape is enough.
    pub retains_inputs: &'static [usize],
    /// Whether its backward pass reads the values of its result.
    pub retains_output: bool,
    /// Its work.
    pub flops: Flops,
    /// The convolution that it is or holds.
    pub convolution: Option<ConvShape>,
    /// How its backward pass writes.
    pub backward: Backward,
    /// Whether its result is released once the forward pass has used it, and computed again when the backward pass reads it.
    pub recomputed: bool,
    /// Whether its result is linear in each input by itself.
    pub linear: bool,
}

impl Description {
    /// Of an operation that inference alone runs.
    fn without_gradient(
        source: &'static str,
        inputs: &'static [Input],
        reads: &'static [Read],
        flops: Flops,
        convolution: Option<ConvShape>,
    ) -> Self {
        Description {
            source,
            gradient_source: "in inference only",
            inputs,
            reads,
            gradients_read_output: false,
            retains_inputs: &[],
            retains_output: false,
            flops,
            convolution,
            backward: Backward::default(),
            recomputed: false,
            linear: false,
        }
    }

    /// How many inputs, from the first, can have a gradient.
    pub fn differentiable(&self) -> usize {
        self.inputs.iter().take_while(|input| input.gradient_reads.is_some()).count()
    }
}

/// One input of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// What the equation calls it.
    pub name: &'static str,
    /// What the equation of its gradient reads beside the gradient of the result; `None` where it has no gradient.
    pub gradient_reads: Option<&'static [Read]>,
}

impl Input {
    /// With a gradient, whose equation reads these.
    pub const fn of(name: &'static str, gradient_reads: &'static [Read]) -> Self {
        Input { name, gradient_reads: Some(gradient_reads) }
    }

    /// Without a gradient.
    pub const fn fixed(name: &'static str) -> Self {
        Input { name, gradient_reads: None }
    }
}

/// Something that an equation reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The input of this number.
    Input(usize),
    /// What was [saved](Saved::values) under this number.
    Saved(usize),
}

/// The first inputs in their order, of which an operation reads as many as it has.
const IN: [Read; MAX_INPUTS] = [Read::Input(0), Read::Input(1), Read::Input(2), Read::Input(3), Read::Input(4), Read::Input(5)];

/// The first `N` inputs.
const fn first<const N: usize>() -> &'static [Read] {
    IN.split_at(N).0
}

/// Multiplications, additions, divisions, roots and exponentials that the equations ask for; comparisons are free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flops {
    /// Of products with weights in the forward pass: convolutions and linear layers.
    pub products: u64,
    /// Of the rest of the forward pass.
    pub rest: u64,
    /// Of the gradient of each input.
    pub gradients: [u64; MAX_GRADIENTS],
}

impl Flops {
    /// Without products.
    fn new(rest: usize, gradients: [usize; MAX_GRADIENTS]) -> Self {
        Flops { products: 0, rest: rest as u64, gradients: gradients.map(|flops| flops as u64) }
    }
}

/// How a backward pass writes the gradients of the inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backward {
    /// It turns the gradient of the result into the first input's in the same buffer: then `gradient` is empty, and the first of
    /// `gradients` holds the result's.
    pub in_place: bool,
    /// Where [`Forward::accumulate`] says so, it adds the first input's gradient to what is there in place of overwriting it.
    pub accumulates: bool,
    /// It computes none whose slice is empty: of an input that wants no gradient it is.
    pub skips: bool,
}

/// One input as a forward or backward pass sees it.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Its shape.
    pub shape: Shape,
    /// Its values.
    pub values: &'a [f32],
    /// The parameter that it is, if it is one.
    pub parameter: Option<ParameterId>,
}

/// What a backward pass knows of the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// The inputs.
    pub inputs: &'a [Operand<'a>],
    /// The result's values.
    pub output: &'a [f32],
    /// What the forward pass saved.
    pub saved: &'a Saved,
    /// Whether the first input's gradient is to be added to what is there; only where [`Backward::accumulates`].
    pub accumulate: bool,
}

/// Where an operation runs: an instruction set, buffers, and the cache of packed weights.
#[derive(Debug)]
pub struct Run<'a> {
    /// The instruction set.
    pub isa: Isa,
    /// Labels of a loss, one an image.
    pub labels: &'a [u32],
    /// Whether a backward pass may follow.
    pub differentiable: bool,
    pub(super) buffers: &'a mut Buffers,
    pub(super) parameters: &'a Parameters,
}

impl Run<'_> {
    /// A buffer to be overwritten.
    pub fn buffer(&mut self, len: usize) -> Buffer {
        self.buffers.take(len)
    }

    /// A buffer of indices to be overwritten.
    pub fn indices(&mut self, len: usize) -> Vec<u32> {
        self.buffers.take_indices(len)
    }

    /// Workspace of a kernel.
    pub fn workspace(&mut self, len: usize) -> Buffer {
        self.buffers.take_scratch(len)
    }

    /// Weights of a convolution as its forward pass reads them: kept beside the parameters where they do not change from pass to pass.
    pub(super) fn packed(&mut self, shape: ConvShape, weight: &Operand) -> PackedWeights {
        use osteon_kernels::conv::{Algorithm, Pass};
        if let Some(id) = weight.parameter.filter(|_| !self.differentiable) {
            return PackedWeights::Kept(self.parameters.packed(id, None, shape, self.isa));
        }
        let algorithm = Algorithm::choose(Pass::Forward, shape);
        let mut packed = self.buffers.take(algorithm.packed_len(shape));
        algorithm.pack(self.isa, shape, weight.values, &mut packed);
        PackedWeights::Fresh(packed)
    }
}

/// The packed weights of a convolution.
pub(super) enum PackedWeights {
    /// From the cache.
    Kept(std::sync::Arc<PackedConv>),
    /// Packed for this pass.
    Fresh(Buffer),
}

impl Deref for PackedWeights {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match self {
            PackedWeights::Kept(packed) => &packed.weights,
            PackedWeights::Fresh(packed) => packed,
        }
    }
}

/// The sizes of an input that must have `N` dimensions.
fn sizes<const N: usize>(what: &str, shape: Shape) -> Result<[usize; N], String> {
    shape[..].try_into().map_err(|_| format!("{what} of shape {shape} where {N} dimensions were expected"))
}

/// That an input has this shape.
fn expect(what: &str, shape: Shape, expected: impl Into<Shape>) -> Result<(), String> {
    let expected = expected.into();
    if shape == expected { Ok(()) } else { Err(format!("{what} of shape {shape} where {expected} was expected")) }
}

/// The sizes of shapes that were checked. Of maps that is (batch, rows, columns, channels).
fn checked<const N: usize>(shape: Shape) -> [usize; N] {
    shape[..].try_into().expect("the shape was checked")
}

/// Maps (batch, rows, columns, channels) as pixels.
pub(crate) fn pixels(shape: Shape) -> ReduceShape {
    let [batch, rows, columns, channels] = checked(shape);
    ReduceShape { batch, pixels: rows * columns, channels }
}

/// Windows over maps (batch, rows, columns, channels).
pub(crate) fn windows(shape: Shape, [kernel, stride, padding]: [[usize; 2]; 3], ceil_mode: bool) -> PoolShape {
    let [batch, rows, columns, channels] = checked(shape);
    PoolShape { batch, rows, columns, channels, kernel, stride, padding, ceil_mode }
}

/// The shape of what windows over maps give.
pub(crate) fn windowed(shape: Shape, window: [[usize; 2]; 3], ceil_mode: bool) -> Result<Shape, String> {
    let [batch, rows, columns, channels] = sizes("an input", shape)?;
    for (side, size) in [rows, columns].into_iter().enumerate() {
        let [kernel, stride, padding] = window.map(|sides| sides[side]);
        let fits =
            kernel > 0 && stride > 0 && padding <= kernel / 2 && size.checked_add(2 * padding).is_some_and(|all| all >= kernel);
        if !fits {
            return Err(format!("no pool of kernel {kernel}, stride {stride} and padding {padding} on {size} pixels"));
        }
    }
    let shape = windows([batch, rows, columns, channels].into(), window, ceil_mode);
    Ok([batch, shape.out_rows(), shape.out_columns(), channels].into())
}
