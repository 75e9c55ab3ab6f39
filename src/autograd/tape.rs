//! The tape: runs an operation when it is called, and records it where a gradient will be asked for.
//!
//! A [`Var`] is an index into the tape. It cannot be copied: an operation consumes its inputs, and [`Tape::retain`] says that a value is
//! used once more. So the tape knows when a value is dead, and releases its buffer at once: in inference always, in training where no
//! backward pass reads it, or where it can be computed again from what is retained. The tape is also the audit log: printing it prints
//! the network.

use super::ops::{Description, MAX_INPUTS, Op, Operand, Run, Saved};
use super::{Context, Name, ParameterId, Parameters, TapeEvent, not_finite};
use crate::tensor::{Buffer, Shape};
use crate::{Error, Result, interrupt};
use osteon_kernels::par;
use std::fmt;
use std::time::{Duration, Instant};

/// What a tape is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything is recorded; batch norm uses the batch's own statistics and moves the running ones.
    Training,
    /// Nothing is recorded; batch norm uses the running statistics.
    Inference,
    /// The operations of inference, recorded: the gradient of an answer by its input. Parameters have none.
    Frozen,
}

/// A value on a tape, to be used once.
#[derive(Debug)]
#[must_use = "a value that nothing uses keeps its buffer"]
pub struct Var(pub(super) usize);

/// Where a value comes from.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant)] // nearly all are operations
pub enum Origin {
    /// From outside.
    Input,
    /// A parameter of the network.
    Parameter(ParameterId),
    /// Computed.
    Operation(Op, Description),
}

/// One recorded value.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it comes from.
    pub origin: Origin,
    /// The layer that made it.
    pub layer: Name,
    /// Its shape.
    pub shape: Shape,
    inputs: [usize; MAX_INPUTS],
    arity: usize,
}

impl Node {
    /// Indices on the tape of the operation's inputs; none of a leaf.
    pub fn inputs(&self) -> &[usize] {
        &self.inputs[..self.arity]
    }

    /// The operation and what it says of itself; none of a leaf.
    pub fn operation(&self) -> Option<(&Op, &Description)> {
        match &self.origin {
            Origin::Operation(op, description) => Some((op, description)),
            Origin::Input | Origin::Parameter(_) => None,
        }
    }

    /// Indices of the inputs whose values its backward pass or its recomputation reads.
    pub(super) fn retained(&self) -> impl Iterator<Item = usize> + use<> {
        let retained = self.operation().map_or(&[][..], |(_, description)| description.retains_inputs);
        let inputs = self.inputs;
        retained.iter().map(move |&k| inputs[k])
    }
}

/// What the tape holds of one value.
pub(super) struct Slot {
    pub shape: Shape,
    pub value: Value,
    pub saved: Saved,
    /// Vars that point here.
    pub uses: usize,
    /// Whether some backward pass reads the value.
    pub retained: bool,
    pub wants_gradient: bool,
    pub gradient: Option<Buffer>,
}

pub(super) enum Value {
    Owned(Buffer),
    Parameter(ParameterId),
    /// Dead, or never computed.
    Gone,
}

/// Records operations of layers on parameters, with buffers from a context.
pub struct Tape<'a> {
    pub(super) parameters: &'a Parameters,
    pub(super) context: &'a mut Context,
    pub(super) mode: Mode,
    /// Whether values are computed; a plan has shapes alone.
    pub(super) computes: bool,
    pub(super) layer: Name,
    pub(super) nodes: Vec<Node>,
    pub(super) slots: Vec<Slot>,
    /// Slots that inference may use again.
    vacant: Vec<usize>,
    /// Whether values stay for another backward pass.
    pub(super) keeps_values: bool,
    /// Running statistics as this batch moves them.
    pub(super) statistics: Vec<(ParameterId, Buffer)>,
    /// In place of the layers' own.
    pub(super) momentum: Option<f32>,
    /// Dropouts so far.
    pub(super) dropouts: u32,
    /// Looks through every result, if told to.
    inspection: Option<Inspection>,
}

/// A search for the first value that is NaN or infinite.
#[derive(Debug, Default)]
struct Inspection {
    found: Option<String>,
}

/// Measures an operation where somebody records it.
pub(super) struct Stopwatch(Option<Instant>);

impl Stopwatch {
    pub fn start(context: &Context) -> Self {
        Stopwatch(context.recorder.is_some().then(Instant::now))
    }

    pub fn time(&self) -> Duration {
        self.0.map(|start| start.elapsed()).unwrap_or_default()
    }
}

impl<'a> Tape<'a> {
    /// An empty tape.
    pub fn new(mode: Mode, parameters: &'a Parameters, context: &'a mut Context) -> Self {
        let (nodes, slots, vacant, keeps_values, statistics, momentum, dropouts, inspection) = Default::default();
        let (computes, layer) = (true, Name::from("input"));
        Tape {
            parameters,
            context,
            mode,
            computes,
            layer,
            nodes,
            slots,
            vacant,
            keeps_values,
            statistics,
            momentum,
            dropouts,
            inspection,
        }
    }

    /// A tape that computes nothing: it records the operations that a tape of this mode runs, and their shapes.
    pub fn plan(mode: Mode, parameters: &'a Parameters, context: &'a mut Context) -> Self {
        let mut tape = Tape::new(mode, parameters, context);
        tape.computes = false;
        tape
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

    /// From here on a backward pass leaves the values that it reads, so that another can follow. That one's output has to be
    /// [retained](Self::retain), and the gradients of inputs [taken](Self::take_gradient) before.
    pub fn keep_values(&mut self) {
        self.keeps_values = true;
    }

    /// From here on looks through the result of every operation, and the running statistics of every batch normalisation, for NaN
    /// and infinity: a pass over each.
    pub fn inspect(&mut self) {
        self.inspection = Some(Inspection::default());
    }

    /// The first layer since [`inspect`](Self::inspect) that gave NaN or infinity, in words: `conv1 (conv) gave 3 NaN and 1 infinite of
    /// 4096 values`.
    pub fn first_not_finite(&self) -> Option<&str> {
        self.inspection.as_ref()?.found.as_deref()
    }

    /// Notes the first values that are not finite, if it was told to look.
    pub(super) fn look(&mut self, what: &str, values: &[f32]) {
        if let Some(inspection) = self.inspection.as_mut().filter(|inspection| inspection.found.is_none()) {
            inspection.found = not_finite(values).map(|count| format!("{} ({what}) gave {count}", self.layer));
        }
    }

    /// The recorded values so far; none in inference but of a plan.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A tensor from outside. With `wants_gradient`, [`gradient`](Self::gradient) has its gradient after the backward pass. A plan takes
    /// any number of values.
    ///
    /// # Errors
    /// Another number of values than the shape's.
    pub fn input(&mut self, shape: impl Into<Shape>, values: &[f32], wants_gradient: bool) -> Result<Var> {
        let shape = shape.into();
        if !self.computes {
            return Ok(self.leaf(Origin::Input, shape, Value::Gone, wants_gradient));
        }
        if values.len() != shape.len() {
            return Err(self.misfit(format!("{} values for the shape {shape}", values.len())));
        }
        let mut buffer = self.context.take(values.len());
        buffer.copy_from_slice(values);
        Ok(self.leaf(Origin::Input, shape, Value::Owned(buffer), wants_gradient))
    }

    /// A parameter of the network.
    pub fn parameter(&mut self, id: ParameterId) -> Var {
        let parameter = self.parameters.get(id);
        let (shape, trains) = (parameter.value.shape(), parameter.is_trained() && self.mode == Mode::Training);
        self.leaf(Origin::Parameter(id), shape, Value::Parameter(id), trains)
    }

    fn leaf(&mut self, origin: Origin, shape: Shape, value: Value, wants_gradient: bool) -> Var {
        let var = self.push(origin, &[], shape, (value, Saved::Nothing), wants_gradient);
        let Tape { context, slots, parameters, layer, .. } = self;
        if let Some(recorder) = &mut context.recorder {
            let (parameter, layer) = match origin {
                Origin::Parameter(id) => (Some(id), &*parameters.get(id).name),
                _ => (None, &**layer),
            };
            let value = operand(slots, parameters, var.0).values;
            recorder.record(TapeEvent::Leaf { parameter, layer, slot: var.0, shape, value });
        }
        var
    }

    /// How many values stay for a backward pass when every [`Var`] has been released: those that some operation retains, but for
    /// parameters and for what is recomputed. Of a plan as of a tape that computes.
    pub fn kept_values(&self) -> usize {
        let is_parameter = |index: usize| matches!(self.slots[index].value, Value::Parameter(_));
        let stays = |index: &usize| self.slots[*index].retained && !is_parameter(*index) && !self.can_be_recomputed(*index);
        (0..self.slots.len()).filter(stays).map(|index| self.slots[index].shape.len()).sum()
    }

    /// The same value, to be used once more.
    pub fn retain(&mut self, var: &Var) -> Var {
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

    /// The value of a recorded [node](Self::nodes), by its index; empty where it was released.
    pub fn node_value(&self, index: usize) -> &[f32] {
        self.value_at(index)
    }

    pub(super) fn value_at(&self, index: usize) -> &[f32] {
        operand(&self.slots, self.parameters, index).values
    }

    /// Runs an operation, records it, and ends this use of its inputs.
    ///
    /// # Errors
    /// Shapes that do not fit, under the layer's name; an operation without a gradient where one may be asked for; the
    /// [wish to stop](interrupt).
    ///
    /// # Panics
    /// With another number of inputs than the operation has.
    pub fn apply<const N: usize>(&mut self, op: impl Into<Op>, inputs: [Var; N]) -> Result<Var> {
        self.apply_labelled(op, inputs, &[])
    }

    /// As [`apply`](Self::apply), for an operation with labels.
    pub(super) fn apply_labelled<const N: usize>(&mut self, op: impl Into<Op>, inputs: [Var; N], labels: &[u32]) -> Result<Var> {
        let (op, indices) = (op.into(), inputs.each_ref().map(|var| var.0));
        let shapes = indices.map(|input| self.slots[input].shape);
        let shape = op.shape(&shapes).map_err(|problem| self.misfit(problem))?;
        let description = op.describe(&shapes);
        assert_eq!(N, description.inputs.len(), "inputs of `{}`", op.name());
        let differentiable = &indices[..description.differentiable()];
        if differentiable.is_empty() && self.mode != Mode::Inference {
            return Err(self.misfit(format!("an operation without a gradient on a tape for {:?}", self.mode)));
        }
        let wants_gradient = differentiable.iter().any(|&input| self.slots[input].wants_gradient);
        let (mut value, mut saved) = (Value::Gone, Saved::Nothing);
        let watch = Stopwatch::start(self.context);
        if self.computes {
            let (output, own) = par::abandonable(interrupt::flag(), || self.forward(&op, &indices, shape.len(), labels));
            interrupt::check()?; // it may be unfinished
            self.look(op.name(), &output);
            (value, saved) = (Value::Owned(output), own);
        }
        let time = watch.time();
        for &k in description.retains_inputs {
            self.slots[indices[k]].retained |= wants_gradient;
        }
        let var = self.push(Origin::Operation(op, description), &indices, shape, (value, saved), wants_gradient);
        let (output, context) = (var.0, &mut *self.context);
        self.slots[output].retained = wants_gradient && description.retains_output;
        if let Some(recorder) = &mut context.recorder {
            let slot = &self.slots[output];
            let (value, saved, layer) = (operand(&self.slots, self.parameters, output).values, &slot.saved, &*self.layer);
            let (op, description, inputs) = (&op, &description, &indices);
            recorder.record(TapeEvent::Forward { op, description, layer, inputs, output, shape, value, saved, time });
        }
        if !wants_gradient {
            std::mem::take(&mut self.slots[output].saved).recycle(context);
        }
        inputs.into_iter().for_each(|var| self.release(var));
        Ok(var)
    }

    fn forward(&mut self, op: &Op, inputs: &[usize], len: usize, labels: &[u32]) -> (Buffer, Saved) {
        let mut output = self.context.take(len);
        let Tape { parameters, context, slots, mode, .. } = self;
        let operands = operands(slots, parameters, inputs);
        let differentiable = *mode != Mode::Inference;
        let Context { isa, buffers, .. } = &mut **context;
        let mut run = Run { isa: *isa, labels, differentiable, buffers, parameters };
        let saved = op.forward(&operands[..inputs.len()], &mut output, &mut run);
        (output, saved)
    }

    fn push(
        &mut self,
        origin: Origin,
        inputs: &[usize],
        shape: Shape,
        (value, saved): (Value, Saved),
        wants_gradient: bool,
    ) -> Var {
        let wants_gradient = wants_gradient && self.mode != Mode::Inference;
        let slot = Slot { shape, value, saved, uses: 1, retained: false, wants_gradient, gradient: None };
        if self.keeps_nodes() {
            let mut indices = [0; MAX_INPUTS];
            indices[..inputs.len()].copy_from_slice(inputs);
            self.nodes.push(Node { origin, layer: self.layer.clone(), shape, inputs: indices, arity: inputs.len() });
        } else if let Some(vacant) = self.vacant.pop() {
            self.slots[vacant] = slot;
            return Var(vacant);
        }
        self.slots.push(slot);
        Var(self.slots.len() - 1)
    }

    /// Whether the tape is kept to its end: for a backward pass, or because it is what was asked for.
    fn keeps_nodes(&self) -> bool {
        self.mode != Mode::Inference || !self.computes
    }

    /// Ends a use of a value. After the last one its buffer is released, unless a backward pass reads it; and even then, if it can be
    /// recomputed.
    pub fn release(&mut self, var: Var) {
        let slot = &mut self.slots[var.0];
        slot.uses -= 1;
        if slot.uses == 0 && (!slot.retained || self.can_be_recomputed(var.0)) {
            self.free_value(var.0);
            if !self.keeps_nodes() {
                self.vacant.push(var.0);
            }
        }
    }

    /// Whether [`restore`](Self::restore) can recompute a value: its operation is cheap, and the inputs that it reads are retained, or
    /// can be recomputed themselves.
    fn can_be_recomputed(&self, index: usize) -> bool {
        let stays = |input: usize| self.slots[input].retained || matches!(self.slots[input].value, Value::Parameter(_));
        self.nodes.get(index).is_some_and(|node| node.is_recomputed() && node.retained().all(stays))
    }

    /// Recomputes a value that was released because it can be.
    pub(super) fn restore(&mut self, index: usize) {
        let node = self.nodes[index].clone();
        let Origin::Operation(op, _) = node.origin else { return };
        if !matches!(self.slots[index].value, Value::Gone) || !node.is_recomputed() {
            return;
        }
        node.retained().for_each(|input| self.restore(input));
        let mut output = self.context.take(node.shape.len());
        let Tape { parameters, context, slots, .. } = self;
        let operands = operands(slots, parameters, node.inputs());
        let Context { isa, buffers, .. } = &mut **context;
        let mut run = Run { isa: *isa, labels: &[], differentiable: true, buffers, parameters };
        op.recompute(&operands[..node.arity], &slots[index].saved, &mut output, &mut run);
        self.slots[index].value = Value::Owned(output);
    }

    pub(super) fn free_value(&mut self, index: usize) {
        self.slots[index].value = Value::Gone;
    }

    pub(super) fn misfit(&self, problem: impl Into<String>) -> Error {
        Error::shape(&*self.layer, problem)
    }
}

impl Node {
    fn is_recomputed(&self) -> bool {
        self.operation().is_some_and(|(_, description)| description.recomputed)
    }
}

/// A value of a tape as an operation sees it.
pub(super) fn operand<'s>(slots: &'s [Slot], parameters: &'s Parameters, index: usize) -> Operand<'s> {
    let Slot { shape, value, .. } = &slots[index];
    let (values, parameter) = match value {
        Value::Owned(buffer) => (&buffer[..], None),
        Value::Parameter(id) => (parameters.get(*id).value.values(), Some(*id)),
        Value::Gone => (&[][..], None),
    };
    Operand { shape: *shape, values, parameter }
}

/// The values of these slots, and behind them nothing.
pub(super) fn operands<'s>(slots: &'s [Slot], parameters: &'s Parameters, inputs: &[usize]) -> [Operand<'s>; MAX_INPUTS] {
    let mut operands = [Operand { shape: Shape::default(), values: &[], parameter: None }; MAX_INPUTS];
    for (target, &input) in operands.iter_mut().zip(inputs) {
        *target = operand(slots, parameters, input);
    }
    operands
}

impl Drop for Tape<'_> {
    fn drop(&mut self) {
        for slot in std::mem::take(&mut self.slots) {
            slot.saved.recycle(self.context);
        }
    }
}

impl fmt::Debug for Tape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.nodes.iter().enumerate() {
            let name = match &node.origin {
                Origin::Input => "input",
                Origin::Parameter(_) => "parameter",
                Origin::Operation(op, _) => op.name(),
            };
            writeln!(f, "{index:4} {:40} {name:22} {:?} -> {}", node.layer, node.inputs(), node.shape)?;
        }
        Ok(())
    }
}
