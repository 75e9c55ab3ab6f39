//! The tape: operations run as they are called, and are recorded where a gradient will be asked for.
//!
//! A [`Var`] is an index into the tape. It cannot be copied: an operation consumes its inputs, and [`Tape::share`] says that a
//! value is used once more. So the tape knows when a value is dead, and gives its buffer back at once: in inference always, in
//! training where no backward pass reads it. The tape is also the audit log: printing it prints the network.

mod op;
mod parameters;
mod record;

pub use op::{Op, Saved};
pub use parameters::{Kind, Parameter, ParameterId, Parameters};
pub use record::{Event, Recorder};

use crate::tensor::{Buffer, Context, Shape};
use crate::{Error, Result};
use osteon_kernels::adaptive::AdaptiveShape;
use osteon_kernels::concat::{ConcatShape, MAX_PARTS};
use osteon_kernels::conv::{Algorithm, ConvShape, Pass};
use osteon_kernels::dropout::Dropout;
use osteon_kernels::elementwise;
use osteon_kernels::linear::LinearShape;
use osteon_kernels::norm::{self, NormShape};
use osteon_kernels::par;
use osteon_kernels::pool::PoolShape;
use osteon_kernels::reduce::ReduceShape;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The name of a layer, such as `layer1.0.conv1`.
pub type Name = Arc<str>;

/// What a tape is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything is recorded; batch norm uses the batch's own statistics and moves the running ones.
    Training,
    /// Nothing is recorded; batch norm uses the running statistics.
    Inference,
    /// Recorded, with the running statistics: gradients of a network as it predicts.
    Frozen,
    /// Recorded but not computed: shapes alone.
    Plan,
}

/// A value on a tape, to be used once.
#[derive(Debug)]
#[must_use = "a value that nothing uses keeps its buffer"]
pub struct Var(usize);

/// One recorded operation.
#[derive(Clone, PartialEq)]
pub struct Node {
    /// What was done.
    pub op: Op,
    /// The layer that did it.
    pub layer: Name,
    /// The shape of the result.
    pub shape: Shape,
    inputs: [usize; MAX_INPUTS],
    arity: usize,
}

/// Inputs of a convolution with batch normalisation: x, weight, gamma, beta, running mean, running variance.
const MAX_INPUTS: usize = 6;

/// Inputs of an operation that can have a gradient: those of an inception block's end.
pub(crate) const MAX_GRADIENTS: usize = MAX_PARTS;

impl Node {
    /// Indices on the tape of the operation's inputs.
    pub fn inputs(&self) -> &[usize] {
        &self.inputs[..self.arity]
    }

    /// Of those inputs whose values the backward pass reads, or with them [`Op::forward_again`].
    fn reread(&self) -> &[usize] {
        &self.inputs[..self.op.rereads().0]
    }
}

/// What the tape holds of one value.
struct Slot {
    shape: Shape,
    value: Value,
    saved: Saved,
    /// Vars that point here.
    uses: usize,
    /// Whether some backward pass reads the value.
    reread: bool,
    wants_gradient: bool,
    gradient: Option<Buffer>,
}

enum Value {
    Owned(Buffer),
    Parameter(ParameterId),
    /// Dead, or never computed.
    Gone,
}

/// Records operations of layers on parameters, with buffers from a context.
pub struct Tape<'a> {
    parameters: &'a Parameters,
    context: &'a mut Context,
    mode: Mode,
    layer: Name,
    nodes: Vec<Node>,
    slots: Vec<Slot>,
    /// Slots that inference may use again.
    vacant: Vec<usize>,
    statistics: Vec<(ParameterId, Buffer)>,
    /// In place of the layers' own.
    momentum: Option<f32>,
    /// Dropouts so far.
    dropouts: u32,
    /// Looks through every result, if told to.
    inspection: Option<Inspection>,
}

/// A search for the first value that is NaN or infinite.
#[derive(Debug, Default)]
struct Inspection {
    found: Option<String>,
}

/// Measures an operation where it is recorded.
struct Stopwatch(Option<Instant>);

impl Stopwatch {
    fn start(context: &Context) -> Self {
        Stopwatch(context.recorder.is_some().then(Instant::now))
    }

    fn time(&self) -> Duration {
        self.0.map(|start| start.elapsed()).unwrap_or_default()
    }
}

// What every value goes through, from its leaf or operation to its release.
impl<'a> Tape<'a> {
    /// An empty tape.
    pub fn new(mode: Mode, parameters: &'a Parameters, context: &'a mut Context) -> Self {
        let (nodes, slots, vacant, statistics, momentum, dropouts, inspection) = Default::default();
        let layer = Name::from("input");
        Tape { parameters, context, mode, layer, nodes, slots, vacant, statistics, momentum, dropouts, inspection }
    }

    /// Names the layer whose operations follow.
    pub fn enter(&mut self, layer: &Name) {
        self.layer = layer.clone();
    }

    /// From here on every batch normalisation moves its running statistics by this share of the batch's, whatever its layer
    /// says.
    pub fn set_momentum(&mut self, momentum: f32) {
        self.momentum = Some(momentum);
    }

    /// From here on looks through the result of every operation, and the running statistics of every batch normalisation, for NaN
    /// and infinity: a pass over each.
    pub fn inspect(&mut self) {
        self.inspection = Some(Inspection::default());
    }

    /// The first layer since [`inspect`](Self::inspect) that gave NaN or infinity, in words: `conv1 (conv) gave 3 NaN and 1 infinite of 4096
    /// values`.
    pub fn first_not_finite(&self) -> Option<&str> {
        self.inspection.as_ref()?.found.as_deref()
    }

    /// Keeps in mind the first values that are not finite, if it was told to look.
    fn look(&mut self, what: &str, values: &[f32]) {
        if let Some(inspection) = self.inspection.as_mut().filter(|inspection| inspection.found.is_none()) {
            inspection.found = not_finite(values).map(|count| format!("{} ({what}) gave {count}", self.layer));
        }
    }

    /// The operations so far; none in inference.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// What the tape is for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// A tensor from outside. With `wants_gradient`, [`gradient`](Self::gradient) has its gradient after the backward pass.
    pub fn input(&mut self, shape: impl Into<Shape>, values: &[f32], wants_gradient: bool) -> Result<Var> {
        let shape = shape.into();
        if self.mode == Mode::Plan {
            return Ok(self.push(Op::Input, &[], shape, (Value::Gone, Saved::default()), wants_gradient, Duration::ZERO));
        }
        if values.len() != shape.len() {
            return Err(self.misfit(format!("{} values for the shape {shape}", values.len())));
        }
        let mut buffer = self.context.take(values.len());
        buffer.copy_from_slice(values);
        Ok(self.push(Op::Input, &[], shape, (Value::Owned(buffer), Saved::default()), wants_gradient, Duration::ZERO))
    }

    /// A parameter of the network.
    pub fn parameter(&mut self, id: ParameterId) -> Var {
        let parameter = self.parameters.get(id);
        let (shape, trained) = (parameter.value.shape(), parameter.is_trained());
        self.push(Op::Parameter(id), &[], shape, (Value::Parameter(id), Saved::default()), trained, Duration::ZERO)
    }

    /// The same value, to be used once more.
    pub fn share(&mut self, var: &Var) -> Var {
        self.slots[var.0].uses += 1;
        Var(var.0)
    }

    /// The shape of a value.
    pub fn shape(&self, var: &Var) -> Shape {
        self.slots[var.0].shape
    }

    /// A value. Empty where the tape is a plan.
    pub fn value(&self, var: &Var) -> &[f32] {
        self.value_at(var.0)
    }

    fn value_at(&self, index: usize) -> &[f32] {
        match &self.slots[index].value {
            Value::Owned(buffer) => buffer,
            Value::Parameter(id) => self.parameters.get(*id).value.values(),
            Value::Gone => &[],
        }
    }

    /// Runs an operation whose shapes have been checked, records it, and lets go of its inputs.
    fn apply<const N: usize>(&mut self, op: Op, inputs: [Var; N], shape: impl Into<Shape>, labels: &[u32]) -> Var {
        let shape = shape.into();
        let (mut value, mut saved) = (Value::Gone, Saved::default());
        let watch = Stopwatch::start(self.context);
        if self.mode != Mode::Plan {
            let (floats, indices) = op.saved_len(shape.len(), self.records());
            saved = Saved { floats: self.context.take(floats), indices: self.context.take_indices(indices) };
            saved.indices[..labels.len()].copy_from_slice(labels);
            let output = self.run(&op, &inputs, shape.len(), &mut saved);
            self.look(op.name(), &output);
            value = Value::Owned(output);
        }
        let time = watch.time();
        let wants_gradient = inputs[..op.differentiates()].iter().any(|var| self.slots[var.0].wants_gradient);
        let (rereads_inputs, rereads_output) = op.rereads();
        for var in &inputs[..rereads_inputs] {
            self.slots[var.0].reread |= wants_gradient && self.records();
        }
        let output = self.push(op, &inputs, shape, (value, saved), wants_gradient, time);
        self.slots[output.0].reread = wants_gradient && rereads_output;
        inputs.into_iter().for_each(|var| self.release(var));
        output
    }

    fn run(&mut self, op: &Op, inputs: &[Var], output_len: usize, saved: &mut Saved) -> Buffer {
        let isa = self.context.isa;
        let mut output = self.context.take(output_len);
        let scratch_len = op.forward_scratch_len();
        let mut scratch = self.context.take_scratch(scratch_len);
        // Weights change with every training step; in inference their packed form is kept beside them.
        let (mut fresh, mut kept) = (Buffer::default(), None);
        let parameter = |var: &Var| match self.slots[var.0].value {
            Value::Parameter(id) => Some(id),
            _ => None,
        };
        match (*op, parameter(&inputs[1.min(inputs.len() - 1)])) {
            (Op::ConvNorm { shape, epsilon, .. } | Op::ConvNormPool { shape, epsilon, .. }, Some(weight)) => {
                let norm: Vec<ParameterId> = inputs[2..].iter().filter_map(parameter).collect();
                kept = Some(self.parameters.packed(weight, Some((&norm, epsilon)), shape, isa));
            }
            (Op::Conv(shape) | Op::ConvBias { shape, .. }, Some(weight)) if !self.records() => {
                kept = Some(self.parameters.packed(weight, None, shape, isa));
            }
            (Op::Conv(shape) | Op::ConvBias { shape, .. }, _) => {
                let algorithm = Algorithm::choose(Pass::Forward, shape);
                fresh = self.context.take(algorithm.packed_len(shape));
                algorithm.pack(isa, shape, self.value(&inputs[1]), &mut fresh);
            }
            _ => {}
        }
        let mut values: [&[f32]; MAX_INPUTS] = [&[]; MAX_INPUTS];
        for (value, var) in values.iter_mut().zip(inputs) {
            *value = self.value(var);
        }
        match (op, &kept) {
            (Op::ConvNorm { .. } | Op::ConvNormPool { .. } | Op::Conv(_), Some(kept)) => {
                [values[1], values[2]] = [&kept.weights, &kept.bias]
            }
            (Op::ConvBias { .. }, Some(kept)) => values[1] = &kept.weights,
            (Op::Conv(_) | Op::ConvBias { .. }, None) => values[1] = &fresh,
            _ => {}
        }
        op.forward(isa, &values[..inputs.len()], &mut output, saved, &mut scratch[..scratch_len]);
        output
    }

    fn records(&self) -> bool {
        self.mode != Mode::Inference
    }

    fn push(
        &mut self,
        op: Op,
        inputs: &[Var],
        shape: Shape,
        (value, saved): (Value, Saved),
        wants_gradient: bool,
        time: Duration,
    ) -> Var {
        let wants_gradient = wants_gradient && self.records();
        let vacant = if self.records() { None } else { self.vacant.pop() };
        let output = vacant.unwrap_or(self.slots.len());
        if let Some(recorder) = &mut self.context.recorder {
            let mut indices = [0; MAX_INPUTS];
            indices.iter_mut().zip(inputs).for_each(|(index, var)| *index = var.0);
            let (layer, value) = match &value {
                Value::Owned(buffer) => (&*self.layer, &buffer[..]),
                Value::Parameter(id) => {
                    let parameter = self.parameters.get(*id);
                    (&*parameter.name, parameter.value.values())
                }
                Value::Gone => (&*self.layer, &[][..]),
            };
            let inputs = &indices[..inputs.len()];
            recorder.record(Event::Forward { op: &op, layer, inputs, output, shape, value, saved: &saved, time });
        }
        let mut slot = Slot { shape, value, saved, uses: 1, reread: false, wants_gradient, gradient: None };
        if !wants_gradient {
            self.recycle(std::mem::take(&mut slot.saved));
        }
        if self.records() {
            let mut indices = [0; MAX_INPUTS];
            for (index, var) in indices.iter_mut().zip(inputs) {
                *index = var.0;
            }
            self.nodes.push(Node { op, layer: self.layer.clone(), shape, inputs: indices, arity: inputs.len() });
        }
        match vacant {
            Some(index) => self.slots[index] = slot,
            None => self.slots.push(slot),
        }
        Var(output)
    }

    /// Ends a use of a value. After the last one its buffer goes back, unless a backward pass reads it; and even then, if it can
    /// be had again at little cost.
    pub fn release(&mut self, var: Var) {
        let slot = &mut self.slots[var.0];
        slot.uses -= 1;
        if slot.uses == 0 && (!slot.reread || self.can_be_had_again(var.0)) {
            self.free_value(var.0);
            if !self.records() {
                self.vacant.push(var.0);
            }
        }
    }

    /// Whether [`restore`](Self::restore) can compute a value once more: its operation is cheap, and the inputs that it reads
    /// stay, or can be had again themselves.
    fn can_be_had_again(&self, index: usize) -> bool {
        let stays = |input: &usize| self.slots[*input].reread || matches!(self.slots[*input].value, Value::Parameter(_));
        self.nodes.get(index).is_some_and(|node| node.op.is_had_again() && node.reread().iter().all(stays))
    }

    /// Computes a value once more that was let go of because it can be had again.
    fn restore(&mut self, index: usize) {
        if !matches!(self.slots[index].value, Value::Gone) || !self.nodes[index].op.is_had_again() {
            return;
        }
        let node = self.nodes[index].clone();
        node.reread().iter().for_each(|&input| self.restore(input));
        let mut output = self.context.take(node.shape.len());
        let scratch_len = node.op.forward_scratch_len();
        let mut scratch = self.context.take_scratch(scratch_len);
        let mut values: [&[f32]; MAX_INPUTS] = [&[]; MAX_INPUTS];
        for (value, &input) in values.iter_mut().zip(node.inputs()) {
            *value = self.value_at(input);
        }
        let (isa, saved) = (self.context.isa, &self.slots[index].saved);
        node.op.forward_again(isa, &values[..node.arity], saved, &mut output, &mut scratch[..scratch_len]);
        self.slots[index].value = Value::Owned(output);
    }

    fn free_value(&mut self, index: usize) {
        self.slots[index].value = Value::Gone;
    }

    fn recycle(&mut self, saved: Saved) {
        self.context.give_indices(saved.indices);
    }

    fn misfit(&self, problem: impl Into<String>) -> Error {
        Error::shape(&*self.layer, problem)
    }
}

// Backward.
impl Tape<'_> {
    /// Walks back from `output`, whose gradient is `seed`, and gives the gradient of every parameter that took part. Each
    /// value and gradient is released as soon as nothing earlier needs it.
    ///
    /// # Errors
    /// A seed whose length is not the output's, and a tape that has not recorded.
    pub fn backward(&mut self, output: Var, seed: &[f32]) -> Result<Gradients> {
        let len = self.shape(&output).len();
        if seed.len() != len || !matches!(self.mode, Mode::Training | Mode::Frozen) {
            return Err(self.misfit(format!(
                "a seed of {} values for an output of {len} on a tape for {:?}",
                seed.len(),
                self.mode
            )));
        }
        let mut gradients = Gradients { of: Vec::new() };
        gradients.of.resize_with(self.parameters.iter().len(), || None);
        let mut gradient = self.context.take(len);
        gradient.copy_from_slice(seed);
        let last = output.0;
        if let Some(recorder) = &mut self.context.recorder {
            recorder.record(Event::Seed { slot: last, gradient: seed });
        }
        self.slots[last].gradient = Some(gradient);
        self.release(output);
        for index in (0..=last).rev() {
            let Some(gradient) = self.slots[index].gradient.take() else { continue };
            match self.nodes[index].op {
                Op::Input => self.slots[index].gradient = Some(gradient),
                Op::Parameter(id) => {
                    let watch = Stopwatch::start(self.context);
                    let sum = accumulate(self.context, &mut gradients.of[id.0], gradient);
                    if let Some(recorder) = &mut self.context.recorder {
                        recorder.record(Event::Parameter { slot: index, id, gradient: sum, time: watch.time() });
                    }
                }
                // The sum's gradient is both inputs' gradient: one gets a copy, one the buffer itself.
                Op::Add => {
                    let [a, b] = [self.nodes[index].inputs[0], self.nodes[index].inputs[1]];
                    let watch = Stopwatch::start(self.context);
                    let mut copy = self.context.take(gradient.len());
                    copy.copy_from_slice(&gradient);
                    let time = watch.time();
                    self.tell_backward(index, &[a, b], [&copy, &gradient, &[], &[]], time);
                    self.hand(a, copy);
                    self.hand(b, gradient);
                }
                op => self.step_back(index, op, gradient),
            }
            let saved = std::mem::take(&mut self.slots[index].saved);
            self.recycle(saved);
            self.free_unless_held(index);
        }
        Ok(gradients)
    }

    /// From the gradient of node `index` to those of its inputs.
    fn step_back(&mut self, index: usize, op: Op, mut gradient: Buffer) {
        if !op.rereads().1 {
            self.free_unless_held(index); // so that a gradient below may have the buffer
        }
        let node = self.nodes[index].clone();
        node.reread().iter().for_each(|&input| self.restore(input));
        let inputs = &node.inputs()[..op.differentiates()];
        let watch = Stopwatch::start(self.context);
        op.prepare(self.context.isa, self.value_at(index), &mut gradient);
        let mut grads: [Buffer; MAX_GRADIENTS] = Default::default();
        // The first input's gradient so far, to which this one is added. A recorder hears of both, and of their sum: for it they are
        // added afterwards, which gives the same bits.
        let adds = op.adds() && self.context.recorder.is_none();
        let mut sum = if adds { self.slots[inputs[0]].gradient.take() } else { None };
        let add = sum.is_some();
        for (grad, &input) in grads.iter_mut().zip(inputs) {
            let slot = &self.slots[input];
            if let Some(sum) = sum.take() {
                *grad = sum;
            } else if op.is_in_place() && !gradient.is_empty() {
                *grad = std::mem::take(&mut gradient);
            } else if slot.wants_gradient || !matches!(op, Op::Conv(_) | Op::ConvBias { .. }) {
                *grad = self.context.take(slot.shape.len());
            }
        }
        let scratch_len = op.backward_scratch_len();
        let mut scratch = self.context.take_scratch(scratch_len);
        let mut values: [&[f32]; MAX_GRADIENTS] = [&[]; MAX_GRADIENTS];
        for (value, &input) in values.iter_mut().zip(inputs) {
            *value = self.value_at(input);
        }
        let values = (&values[..inputs.len()], self.value_at(index));
        let (isa, saved) = (self.context.isa, &self.slots[index].saved);
        let mut slices: [&mut [f32]; MAX_GRADIENTS] = grads.each_mut().map(|grad| &mut grad[..]);
        let slices = (&mut slices[..inputs.len()], add);
        op.backward(isa, values, saved, &gradient, slices, &mut scratch[..scratch_len]);
        let time = watch.time();
        self.tell_backward(index, inputs, grads.each_ref().map(|grad| &grad[..]), time);
        let mut grads = grads.into_iter().zip(inputs);
        if add {
            let (sum, &input) = grads.next().expect("it was added to");
            self.slots[input].gradient = Some(sum);
        }
        for (grad, &input) in grads {
            self.hand(input, grad);
        }
    }

    /// Adds a gradient to that of a value.
    fn hand(&mut self, index: usize, gradient: Buffer) {
        let slot = &mut self.slots[index];
        if slot.wants_gradient {
            let (watch, is_sum) = (Stopwatch::start(self.context), slot.gradient.is_some());
            let gradient = accumulate(self.context, &mut slot.gradient, gradient);
            if let Some(recorder) = self.context.recorder.as_mut().filter(|_| is_sum) {
                recorder.record(Event::Sum { slot: index, gradient, time: watch.time() });
            }
        }
    }

    /// Tells of the gradients that operation `index` gives to those of its inputs that want one.
    fn tell_backward(&mut self, index: usize, inputs: &[usize], grads: [&[f32]; MAX_GRADIENTS], time: Duration) {
        let Some(recorder) = &mut self.context.recorder else { return };
        let mut gradients: [(usize, &[f32]); MAX_GRADIENTS] = [(0, &[]); MAX_GRADIENTS];
        for ((gradient, &input), grad) in gradients.iter_mut().zip(inputs).zip(grads) {
            *gradient = (input, if self.slots[input].wants_gradient { grad } else { &[] });
        }
        let node = &self.nodes[index];
        recorder.record(Event::Backward { op: &node.op, layer: &node.layer, of: index, gradients, time });
    }

    fn free_unless_held(&mut self, index: usize) {
        if self.slots[index].uses == 0 {
            self.free_value(index);
        }
    }

    /// After the backward pass, the gradient of an input that wanted it.
    pub fn gradient(&self, input: &Var) -> Option<&[f32]> {
        self.slots[input.0].gradient.as_deref()
    }

    /// The running statistics as this tape's batch moves them.
    pub fn take_statistics(&mut self) -> Vec<(ParameterId, Buffer)> {
        std::mem::take(&mut self.statistics)
    }
}

/// Adds a gradient to a sum, and gives the sum.
fn accumulate<'a>(context: &Context, sum: &'a mut Option<Buffer>, gradient: Buffer) -> &'a [f32] {
    match sum {
        None => sum.insert(gradient),
        Some(sum) => {
            elementwise::add_assign(context.isa, sum, &gradient);
            sum
        }
    }
}

impl Drop for Tape<'_> {
    fn drop(&mut self) {
        for slot in std::mem::take(&mut self.slots) {
            self.recycle(slot.saved);
        }
    }
}

impl fmt::Debug for Tape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.nodes.iter().enumerate() {
            writeln!(f, "{index:4} {:40} {:22} {:?} -> {}", node.layer, node.op.name(), node.inputs(), node.shape)?;
        }
        Ok(())
    }
}

/// The gradients of a network's parameters, by [`ParameterId`].
#[derive(Debug)]
pub struct Gradients {
    of: Vec<Option<Buffer>>,
}

/// How many of the values are NaN and how many infinite, in words; `None` where all are finite.
pub fn not_finite(values: &[f32]) -> Option<String> {
    // Free of branches: nearly always there is nothing to count.
    if values.iter().fold(true, |finite, value| finite & value.is_finite()) {
        return None;
    }
    let nan = values.iter().filter(|value| value.is_nan()).count();
    let infinite = values.iter().filter(|value| value.is_infinite()).count();
    Some(format!("{nan} NaN and {infinite} infinite of {} values", values.len()))
}

impl Gradients {
    /// The gradient of one, in its parameter's memory order; none where the parameter took no part.
    pub fn get(&self, id: ParameterId) -> Option<&[f32]> {
        self.of[id.0].as_deref()
    }

    /// The l2 norm of all of them together.
    pub fn norm(&self) -> f64 {
        const CHUNK: usize = 1 << 16;
        // Sixteen running sums, so that the loop is not one chain of additions.
        let square = |values: &[f32]| {
            let mut sums = [0.0f64; 16];
            for chunk in values.chunks(sums.len()) {
                for (sum, &x) in sums.iter_mut().zip(chunk) {
                    *sum += f64::from(x) * f64::from(x);
                }
            }
            sums.iter().sum::<f64>()
        };
        let chunks: Vec<&[f32]> = self.of.iter().flatten().flat_map(|gradient| gradient.chunks(CHUNK)).collect();
        let mut squares = vec![0.0; chunks.len()];
        par::chunks_mut(&mut squares, 1, |i, sum| sum[0] = square(chunks[i]));
        squares.iter().sum::<f64>().sqrt()
    }

    /// Multiplies all of them.
    pub fn scale(&mut self, factor: f32) {
        for gradient in self.of.iter_mut().flatten() {
            gradient.iter_mut().for_each(|value| *value *= factor);
        }
    }
}

// The operations: each checks its shapes, here and nowhere else.
impl Tape<'_> {
    /// The sizes of a value that must have `N` dimensions.
    fn sizes<const N: usize>(&self, what: &str, var: &Var) -> Result<[usize; N]> {
        let shape = self.shape(var);
        shape[..].try_into().map_err(|_| self.misfit(format!("{what} of shape {shape} where {N} dimensions were expected")))
    }

    /// That a value has this shape.
    fn expect(&self, what: &str, var: &Var, expected: impl Into<Shape>) -> Result<()> {
        let (shape, expected) = (self.shape(var), expected.into());
        if shape == expected {
            Ok(())
        } else {
            Err(self.misfit(format!("{what} of shape {shape} where {expected} was expected")))
        }
    }

    /// Convolution without bias: x (batch, rows, columns, in), weight (kernel rows, kernel columns, in, out).
    pub fn conv(&mut self, x: Var, weight: Var, stride: [usize; 2], padding: [usize; 2]) -> Result<Var> {
        let shape = self.conv_shape(&x, &weight, stride, padding)?;
        Ok(self.apply(
            Op::Conv(shape),
            [x, weight],
            [shape.batch, shape.out_rows(), shape.out_columns(), shape.out_channels],
            &[],
        ))
    }

    /// As [`conv`](Self::conv), plus a bias (out); with `relu` the larger of that and 0.
    pub fn conv_bias(
        &mut self,
        x: Var,
        weight: Var,
        bias: Var,
        stride: [usize; 2],
        padding: [usize; 2],
        relu: bool,
    ) -> Result<Var> {
        let shape = self.conv_shape(&x, &weight, stride, padding)?;
        self.expect("a bias", &bias, [shape.out_channels])?;
        let out = [shape.batch, shape.out_rows(), shape.out_columns(), shape.out_channels];
        Ok(self.apply(Op::ConvBias { shape, relu }, [x, weight, bias], out, &[]))
    }

    /// A convolution and batch normalisation over the running statistics, in one pass; for [`Mode::Inference`], as it has no
    /// gradient.
    ///
    /// # Errors
    /// Shapes that do not fit; another mode.
    pub fn conv_norm(
        &mut self,
        x: Var,
        weight: ParameterId,
        stride: [usize; 2],
        padding: [usize; 2],
        affine: [ParameterId; 2],
        running: [ParameterId; 2],
        epsilon: f32,
        relu: bool,
    ) -> Result<Var> {
        let (shape, inputs) = self.conv_norm_inputs(x, weight, stride, padding, affine, running)?;
        let out = [shape.batch, shape.out_rows(), shape.out_columns(), shape.out_channels];
        Ok(self.apply(Op::ConvNorm { shape, epsilon, relu }, inputs, out, &[]))
    }

    /// [`conv_norm`](Self::conv_norm), the maximum of `windows` (kernel, stride, padding) and ReLU; in one pass, but for what Winograd
    /// computes.
    ///
    /// # Errors
    /// Shapes that do not fit; another mode.
    pub fn conv_norm_pool(
        &mut self,
        x: Var,
        weight: ParameterId,
        stride: [usize; 2],
        padding: [usize; 2],
        affine: [ParameterId; 2],
        running: [ParameterId; 2],
        epsilon: f32,
        windows: [[usize; 2]; 3],
    ) -> Result<Var> {
        let (shape, inputs) = self.conv_norm_inputs(x, weight, stride, padding, affine, running)?;
        let outputs = [shape.batch, shape.out_rows(), shape.out_columns(), shape.out_channels];
        let pool = self.pool_shape(outputs, windows[0], windows[1], windows[2])?;
        if Algorithm::choose(Pass::Forward, shape) != Algorithm::ImplicitGemm {
            let y = self.apply(Op::ConvNorm { shape, epsilon, relu: false }, inputs, outputs, &[]);
            let y = self.max_pool_of(y, pool)?;
            return Ok(self.relu(y));
        }
        let out = [shape.batch, pool.out_rows(), pool.out_columns(), shape.out_channels];
        Ok(self.apply(Op::ConvNormPool { shape, epsilon, pool }, inputs, out, &[]))
    }

    fn conv_norm_inputs(
        &mut self,
        x: Var,
        weight: ParameterId,
        stride: [usize; 2],
        padding: [usize; 2],
        affine: [ParameterId; 2],
        running: [ParameterId; 2],
    ) -> Result<(ConvShape, [Var; MAX_INPUTS])> {
        self.expect_inference()?;
        let weight = self.parameter(weight);
        let shape = self.conv_shape(&x, &weight, stride, padding)?;
        let [gamma, beta, mean, variance] = [affine[0], affine[1], running[0], running[1]].map(|id| self.parameter(id));
        for var in [&gamma, &beta, &mean, &variance] {
            self.expect("a parameter", var, [shape.out_channels])?;
        }
        Ok((shape, [x, weight, gamma, beta, mean, variance]))
    }

    fn expect_inference(&self) -> Result<()> {
        match self.mode {
            Mode::Inference => Ok(()),
            mode => Err(self.misfit(format!("an operation without a gradient on a tape for {mode:?}"))),
        }
    }

    fn conv_shape(&self, x: &Var, weight: &Var, stride: [usize; 2], padding: [usize; 2]) -> Result<ConvShape> {
        let [batch, rows, columns, in_channels] = self.sizes("an input", x)?;
        let [kernel_rows, kernel_columns, expected_channels, out_channels] = self.sizes("a weight", weight)?;
        let kernel = [kernel_rows, kernel_columns];
        if in_channels != expected_channels {
            return Err(self.misfit(format!("an input of {in_channels} channels where {expected_channels} were expected")));
        }
        let shape = ConvShape { batch, rows, columns, in_channels, out_channels, kernel, stride, padding };
        if stride.contains(&0) || shape.output_len() == 0 {
            return Err(self.misfit(format!("no room for a {kernel_rows}x{kernel_columns} kernel in {rows}x{columns} pixels")));
        }
        Ok(shape)
    }

    /// Batch normalisation of x (batch, rows, columns, channels): over the batch in training, which also moves the running
    /// statistics by `momentum`, over the running statistics otherwise. `gamma`, `beta` and the two statistics are (channels).
    pub fn batch_norm(
        &mut self,
        x: Var,
        affine: [ParameterId; 2],
        running: [ParameterId; 2],
        epsilon: f32,
        momentum: f32,
        relu: bool,
    ) -> Result<Var> {
        let [batch, rows, columns, channels] = self.sizes("an input", &x)?;
        let [gamma, beta, mean, variance] = [affine[0], affine[1], running[0], running[1]].map(|id| self.parameter(id));
        for var in [&gamma, &beta, &mean, &variance] {
            self.expect("a parameter", var, [channels])?;
        }
        let shape = NormShape { pixels: batch * rows * columns, channels, relu };
        let inputs = [x, gamma, beta, mean, variance];
        if self.mode != Mode::Training {
            return Ok(self.apply(Op::FrozenNorm(shape, epsilon), inputs, [batch, rows, columns, channels], &[]));
        }
        if shape.pixels < 2 {
            return Err(self.misfit("a batch of one pixel a channel has no variance to train with"));
        }
        let output = self.apply(Op::BatchNorm(shape, epsilon), inputs, [batch, rows, columns, channels], &[]);
        let [mut mean, mut variance] = running.map(|id| {
            let mut moved = self.context.take(channels);
            moved.copy_from_slice(self.parameters.get(id).value.values());
            moved
        });
        let batch = &self.slots[output.0].saved.floats;
        let momentum = self.momentum.unwrap_or(momentum);
        norm::update_running(momentum, shape.pixels, &batch[..channels], &batch[2 * channels..], &mut mean, &mut variance);
        if let Some(recorder) = &mut self.context.recorder {
            let moved = [&mean[..], &variance[..]];
            recorder.record(Event::Statistics { of: output.0, momentum, pixels: shape.pixels, running, moved });
        }
        self.look("running mean", &mean);
        self.look("running variance", &variance);
        self.statistics.extend([(running[0], mean), (running[1], variance)]);
        Ok(output)
    }

    /// `max(x, 0)`
    pub fn relu(&mut self, x: Var) -> Var {
        let shape = self.shape(&x);
        self.apply(Op::Relu, [x], shape, &[])
    }

    /// `1 / (1 + e^-x)`
    pub fn sigmoid(&mut self, x: Var) -> Var {
        let shape = self.shape(&x);
        self.apply(Op::Sigmoid, [x], shape, &[])
    }

    /// `a + b`, of one shape.
    pub fn add(&mut self, a: Var, b: Var) -> Result<Var> {
        let shape = self.shape(&a);
        self.expect("a second term", &b, shape)?;
        Ok(self.apply(Op::Add, [a, b], shape, &[]))
    }

    /// `max(a + b, 0)`, of one shape.
    pub fn add_relu(&mut self, a: Var, b: Var) -> Result<Var> {
        let shape = self.shape(&a);
        self.expect("a second term", &b, shape)?;
        Ok(self.apply(Op::AddRelu, [a, b], shape, &[]))
    }

    /// `a + weight * b`, of one shape.
    pub fn add_scaled(&mut self, a: Var, b: Var, weight: f32) -> Result<Var> {
        let shape = self.shape(&a);
        self.expect("a second term", &b, shape)?;
        Ok(self.apply(Op::AddScaled(weight), [a, b], shape, &[]))
    }

    /// Four values (batch, rows, columns, channels), of any channels each, joined: (batch, rows, columns, all channels).
    pub fn concat(&mut self, parts: [Var; MAX_PARTS]) -> Result<Var> {
        let [batch, rows, columns, _] = self.sizes("an input", &parts[0])?;
        let mut shape = ConcatShape { pixels: batch * rows * columns, channels: [0; MAX_PARTS] };
        for (channels, part) in shape.channels.iter_mut().zip(&parts) {
            *channels = self.sizes::<4>("an input", part)?[3];
            self.expect("a part", part, [batch, rows, columns, *channels])?;
        }
        Ok(self.apply(Op::Concat(shape), parts, [batch, rows, columns, shape.out_channels()], &[]))
    }

    /// x (batch, rows, columns, channels) as (batch, rows * columns * channels).
    pub fn flatten(&mut self, x: Var) -> Result<Var> {
        let [batch, rows, columns, channels] = self.sizes("an input", &x)?;
        Ok(self.apply(Op::Flatten, [x], [batch, rows * columns * channels], &[]))
    }

    /// In training, where the [context](Context::dropout) has drops, each value 0 with the probability `rate` and else divided by
    /// `1 - rate`; elsewhere x itself.
    pub fn dropout(&mut self, x: Var, rate: f32) -> Result<Var> {
        if !(0.0..1.0).contains(&rate) {
            return Err(self.misfit(format!("a dropout of {rate}, which is not from 0 to below 1")));
        }
        let Some(drops) = self.context.dropout.filter(|_| self.mode == Mode::Training && rate > 0.0) else { return Ok(x) };
        let (shape, place) = (self.shape(&x), self.dropouts);
        self.dropouts += 1;
        Ok(self.apply(Op::Dropout(Dropout { rate, seed: drops.seed, step: drops.step, place }), [x], shape, &[]))
    }

    /// Maximum of windows of x (batch, rows, columns, channels).
    pub fn max_pool(&mut self, x: Var, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Result<Var> {
        let shape = self.pool_shape(self.sizes("an input", &x)?, kernel, stride, padding)?;
        self.max_pool_of(x, shape)
    }

    /// As [`max_pool`](Self::max_pool), with one more window where pixels at the far edges would be in none (PyTorch's `ceil_mode`).
    pub fn ceil_max_pool(&mut self, x: Var, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Result<Var> {
        let shape = self.pool_shape(self.sizes("an input", &x)?, kernel, stride, padding)?;
        self.max_pool_of(x, PoolShape { ceil_mode: true, ..shape })
    }

    fn max_pool_of(&mut self, x: Var, shape: PoolShape) -> Result<Var> {
        Ok(self.apply(Op::MaxPool(shape), [x], [shape.batch, shape.out_rows(), shape.out_columns(), shape.channels], &[]))
    }

    /// Mean of windows of x (batch, rows, columns, channels); padding counts as zeros.
    pub fn average_pool(&mut self, x: Var, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Result<Var> {
        let shape = self.pool_shape(self.sizes("an input", &x)?, kernel, stride, padding)?;
        Ok(self.apply(Op::AveragePool(shape), [x], [shape.batch, shape.out_rows(), shape.out_columns(), shape.channels], &[]))
    }

    /// Mean of the windows that divide x (batch, rows, columns, channels) into so many rows and columns.
    pub fn adaptive_average(&mut self, x: Var, windows: [usize; 2]) -> Result<Var> {
        let [batch, rows, columns, channels] = self.sizes("an input", &x)?;
        if windows.contains(&0) || [batch, rows, columns, channels].contains(&0) {
            return Err(self.misfit(format!("no division of {rows}x{columns} pixels into {}x{} windows", windows[0], windows[1])));
        }
        let shape = AdaptiveShape { batch, size: [rows, columns], channels, windows };
        Ok(self.apply(Op::AdaptiveAverage(shape), [x], [batch, windows[0], windows[1], channels], &[]))
    }

    fn pool_shape(
        &self,
        [batch, rows, columns, channels]: [usize; 4],
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Result<PoolShape> {
        for (side, size) in [rows, columns].into_iter().enumerate() {
            let [kernel, stride, padding] = [kernel[side], stride[side], padding[side]];
            if kernel == 0 || stride == 0 || 2 * padding > kernel || size + 2 * padding < kernel {
                let problem = format!("no pool of kernel {kernel}, stride {stride} and padding {padding} on {size} pixels");
                return Err(self.misfit(problem));
            }
        }
        Ok(PoolShape { batch, rows, columns, channels, kernel, stride, padding, ceil_mode: false })
    }

    fn reduce_shape(&self, x: &Var) -> Result<ReduceShape> {
        let [batch, rows, columns, channels] = self.sizes("an input", x)?;
        Ok(ReduceShape { batch, pixels: rows * columns, channels })
    }

    /// Mean over the pixels of x (batch, rows, columns, channels): (batch, channels).
    pub fn global_average(&mut self, x: Var) -> Result<Var> {
        let shape = self.reduce_shape(&x)?;
        Ok(self.apply(Op::GlobalAverage(shape), [x], [shape.batch, shape.channels], &[]))
    }

    /// Maximum over the pixels of x (batch, rows, columns, channels): (batch, channels).
    pub fn global_max(&mut self, x: Var) -> Result<Var> {
        let shape = self.reduce_shape(&x)?;
        Ok(self.apply(Op::GlobalMax(shape), [x], [shape.batch, shape.channels], &[]))
    }

    /// Means over the pixels of x (batch, rows, columns, channels), and then maxima, in one pass: (2 * batch, channels); for
    /// [`Mode::Inference`], as it has no gradient.
    ///
    /// # Errors
    /// Shapes that do not fit; another mode.
    pub fn global_stats(&mut self, x: Var) -> Result<Var> {
        self.expect_inference()?;
        let shape = self.reduce_shape(&x)?;
        Ok(self.apply(Op::GlobalStats(shape), [x], [2 * shape.batch, shape.channels], &[]))
    }

    /// The sum of the halves of x (2 * n, channels): (n, channels); for [`Mode::Inference`], as it has no gradient.
    ///
    /// # Errors
    /// Shapes that do not fit; another mode.
    pub fn add_halves(&mut self, x: Var) -> Result<Var> {
        self.expect_inference()?;
        let [rows, channels] = self.sizes("an input", &x)?;
        self.expect("halves", &x, [rows / 2 * 2, channels])?;
        Ok(self.apply(Op::AddHalves, [x], [rows / 2, channels], &[]))
    }

    /// Mean and maximum over the channels of x (batch, rows, columns, channels): (batch, rows, columns, 2).
    pub fn channel_stats(&mut self, x: Var) -> Result<Var> {
        let [batch, rows, columns, _] = self.sizes("an input", &x)?;
        let shape = self.reduce_shape(&x)?;
        Ok(self.apply(Op::ChannelStats(shape), [x], [batch, rows, columns, 2], &[]))
    }

    /// x (batch, rows, columns, channels) times `factor` (batch, channels).
    pub fn scale_channels(&mut self, x: Var, factor: Var) -> Result<Var> {
        let shape = self.reduce_shape(&x)?;
        self.expect("a factor", &factor, [shape.batch, shape.channels])?;
        let output = self.shape(&x);
        Ok(self.apply(Op::ScaleChannels(shape), [x, factor], output, &[]))
    }

    /// x (batch, rows, columns, channels) times `factor` (batch, rows, columns, 1).
    pub fn scale_pixels(&mut self, x: Var, factor: Var) -> Result<Var> {
        let [batch, rows, columns, _] = self.sizes("an input", &x)?;
        self.expect("a factor", &factor, [batch, rows, columns, 1])?;
        let (shape, output) = (self.reduce_shape(&x)?, self.shape(&x));
        Ok(self.apply(Op::ScalePixels(shape), [x, factor], output, &[]))
    }

    /// [`channel_stats`](Self::channel_stats) of x times `factor` (batch, channels), in one pass.
    pub fn scaled_stats(&mut self, x: Var, factor: Var) -> Result<Var> {
        let [batch, rows, columns, channels] = self.sizes("an input", &x)?;
        self.expect("a factor", &factor, [batch, channels])?;
        let shape = self.reduce_shape(&x)?;
        Ok(self.apply(Op::ScaledStats(shape), [x, factor], [batch, rows, columns, 2], &[]))
    }

    /// `max(x * channels * pixels + shortcut, 0)`, with factors `channels` (batch, channels) and `pixels` (batch, rows, columns,
    /// 1), in one pass.
    pub fn scale_add_relu(&mut self, x: Var, channels: Var, pixels: Var, shortcut: Var) -> Result<Var> {
        let [batch, rows, columns, _] = self.sizes("an input", &x)?;
        let (shape, output) = (self.reduce_shape(&x)?, self.shape(&x));
        self.expect("a factor", &channels, [batch, shape.channels])?;
        self.expect("a factor", &pixels, [batch, rows, columns, 1])?;
        self.expect("a shortcut", &shortcut, output)?;
        Ok(self.apply(Op::ScaleAddRelu(shape), [x, channels, pixels, shortcut], output, &[]))
    }

    /// `x W^T + b`: x (batch, in), weight (out, in), bias (out).
    pub fn linear(&mut self, x: Var, weight: Var, bias: Var) -> Result<Var> {
        let [batch, in_features] = self.sizes("an input", &x)?;
        let [out_features, expected] = self.sizes("a weight", &weight)?;
        self.expect("an input", &x, [batch, expected])?;
        self.expect("a bias", &bias, [out_features])?;
        let shape = LinearShape { batch, in_features, out_features };
        Ok(self.apply(Op::Linear(shape), [x, weight, bias], [batch, out_features], &[]))
    }

    /// Mean over the batch of `-log softmax(logits)[label]`: logits (batch, classes), a scalar.
    pub fn cross_entropy(&mut self, logits: Var, labels: &[u32]) -> Result<Var> {
        let [batch, classes] = self.labelled(&logits, labels)?;
        Ok(self.apply(Op::CrossEntropy { batch, classes }, [logits], [], labels))
    }

    /// [`cross_entropy`](Self::cross_entropy) as a weighted mean, in which each image counts by its class's weight: `weights`
    /// (classes), all above 0. PyTorch's `CrossEntropyLoss(weight=weights)`.
    pub fn weighted_cross_entropy(&mut self, logits: Var, weights: Var, labels: &[u32]) -> Result<Var> {
        let [batch, classes] = self.labelled(&logits, labels)?;
        self.expect("a list of weights", &weights, [classes])?;
        Ok(self.apply(Op::WeightedCrossEntropy { batch, classes }, [logits, weights], [], labels))
    }

    /// The sizes of logits (batch, classes) that have a label each.
    fn labelled(&self, logits: &Var, labels: &[u32]) -> Result<[usize; 2]> {
        let [batch, classes] = self.sizes("an input", logits)?;
        if labels.len() != batch {
            return Err(self.misfit(format!("{} labels for {batch} images", labels.len())));
        }
        if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
            return Err(self.misfit(format!("the label {label} where there are {classes} classes")));
        }
        Ok([batch, classes])
    }
}
