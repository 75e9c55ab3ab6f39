//! The walk back: from the gradient of a tape's last value to those of all parameters.

use super::ops::{Forward, MAX_GRADIENTS, Run};
use super::tape::{Stopwatch, operand, operands};
use super::{Context, Gradients, Mode, Origin, ParameterId, Tape, TapeEvent, Var};
use crate::tensor::Buffer;
use crate::{Result, interrupt};
use osteon_kernels::{elementwise, par};
use std::time::Duration;

impl Tape<'_> {
    /// Walks back from `output`, whose gradient is `seed`, and gives the gradient of every parameter that took part. Each
    /// value and gradient is released as soon as nothing earlier needs it.
    ///
    /// # Errors
    /// A seed whose length is not the output's, and a tape that has not recorded; the [wish to stop](interrupt).
    pub fn backward(&mut self, output: Var, seed: &[f32]) -> Result<Gradients> {
        let len = self.shape(&output).len();
        if seed.len() != len || self.mode == Mode::Inference || !self.computes {
            let (values, mode) = (seed.len(), self.mode);
            return Err(self.misfit(format!("a seed of {values} values for an output of {len} on a tape for {mode:?}")));
        }
        let mut gradients = Gradients { of: Vec::new() };
        gradients.of.resize_with(self.parameters.iter().len(), || None);
        let mut gradient = self.context.take(len);
        gradient.copy_from_slice(seed);
        let last = output.0;
        if let Some(recorder) = &mut self.context.recorder {
            recorder.record(TapeEvent::Seed { slot: last, gradient: seed });
        }
        self.slots[last].gradient = Some(gradient);
        self.release(output);
        for index in (0..=last).rev() {
            let Some(gradient) = self.slots[index].gradient.take() else { continue };
            match self.nodes[index].origin {
                Origin::Input => self.slots[index].gradient = Some(gradient),
                Origin::Parameter(id) => {
                    let watch = Stopwatch::start(self.context);
                    let sum = sum(self.context, &mut gradients.of[id.index()], gradient);
                    if let Some(recorder) = &mut self.context.recorder {
                        recorder.record(TapeEvent::Parameter { slot: index, id, gradient: sum, time: watch.time() });
                    }
                }
                Origin::Operation(..) => {
                    par::abandonable(interrupt::flag(), || self.step_back(index, gradient));
                    interrupt::check()?; // it may be unfinished
                }
            }
            if !self.keeps_values {
                std::mem::take(&mut self.slots[index].saved).recycle(self.context);
            }
            self.free_unless_used(index);
        }
        Ok(gradients)
    }

    /// From the gradient of the value `index` to those of its operation's inputs.
    fn step_back(&mut self, index: usize, mut gradient: Buffer) {
        let node = self.nodes[index].clone();
        let Origin::Operation(op, description) = node.origin else { return };
        if !description.retains_output {
            self.free_unless_used(index); // so that a gradient below may have the buffer
        }
        node.retained().for_each(|input| self.restore(input));
        let inputs = &node.inputs()[..description.differentiable()];
        let writes = description.backward;
        let watch = Stopwatch::start(self.context);
        let mut grads: [Buffer; MAX_GRADIENTS] = Default::default();
        // The first input's gradient so far, to which this one is added. A recorder hears of both, and of their sum: for it they are
        // added afterwards, which gives the same bits.
        let accumulates = writes.accumulates && self.context.recorder.is_none();
        let mut so_far = if accumulates { self.slots[inputs[0]].gradient.take() } else { None };
        let accumulate = so_far.is_some();
        for (grad, &input) in grads.iter_mut().zip(inputs) {
            let slot = &self.slots[input];
            if let Some(so_far) = so_far.take() {
                *grad = so_far;
            } else if writes.in_place && !gradient.is_empty() {
                *grad = std::mem::take(&mut gradient);
            } else if slot.wants_gradient || !writes.skips {
                *grad = self.context.take(slot.shape.len());
            }
        }
        let Tape { parameters, context, slots, .. } = self;
        let operands = operands(slots, parameters, node.inputs());
        let (output, saved) = (operand(slots, parameters, index).values, &slots[index].saved);
        let forward = Forward { inputs: &operands[..node.inputs().len()], output, saved, accumulate };
        let mut slices: [&mut [f32]; MAX_GRADIENTS] = grads.each_mut().map(|grad| &mut grad[..]);
        let Context { isa, buffers, .. } = &mut **context;
        let mut run = Run { isa: *isa, labels: &[], differentiable: true, buffers, parameters };
        op.backward(&forward, &mut gradient, &mut slices[..inputs.len()], &mut run);
        let time = watch.time();
        self.tell_backward(index, inputs, grads.each_ref().map(|grad| &grad[..]), time);
        for (k, (grad, &input)) in grads.into_iter().zip(inputs).enumerate() {
            if k == 0 && accumulate {
                self.slots[input].gradient = Some(grad);
            } else {
                self.accumulate(input, grad);
            }
        }
    }

    /// Adds a gradient to that of a value.
    fn accumulate(&mut self, index: usize, gradient: Buffer) {
        let slot = &mut self.slots[index];
        if slot.wants_gradient {
            let (watch, is_sum) = (Stopwatch::start(self.context), slot.gradient.is_some());
            let gradient = sum(self.context, &mut slot.gradient, gradient);
            if let Some(recorder) = self.context.recorder.as_mut().filter(|_| is_sum) {
                recorder.record(TapeEvent::Sum { slot: index, gradient, time: watch.time() });
            }
        }
    }

    /// Tells of the gradients that operation `index` gives to those of its inputs that want one.
    fn tell_backward(&mut self, index: usize, inputs: &[usize], grads: [&[f32]; MAX_GRADIENTS], time: Duration) {
        let Some(recorder) = &mut self.context.recorder else { return };
        let node = &self.nodes[index];
        let Origin::Operation(op, description) = &node.origin else { return };
        let mut gradients: [(usize, &[f32]); MAX_GRADIENTS] = [(0, &[]); MAX_GRADIENTS];
        for ((gradient, &input), grad) in gradients.iter_mut().zip(inputs).zip(grads) {
            *gradient = (input, if self.slots[input].wants_gradient { grad } else { &[] });
        }
        recorder.record(TapeEvent::Backward { op, description, layer: &node.layer, of: index, gradients, time });
    }

    fn free_unless_used(&mut self, index: usize) {
        if self.slots[index].uses == 0 && !self.keeps_values {
            self.free_value(index);
        }
    }

    /// After the backward pass, the gradient of an input that wanted it.
    pub fn gradient(&self, input: &Var) -> Option<&[f32]> {
        self.slots[input.0].gradient.as_deref()
    }

    /// As [`gradient`](Self::gradient), and the next backward pass begins from none.
    pub fn take_gradient(&mut self, input: &Var) -> Option<Buffer> {
        self.slots[input.0].gradient.take()
    }

    /// The running statistics as this tape's batch moves them.
    pub fn take_statistics(&mut self) -> Vec<(ParameterId, Buffer)> {
        std::mem::take(&mut self.statistics)
    }
}

/// Adds a gradient to a sum, and gives the sum.
fn sum<'a>(context: &Context, sum: &'a mut Option<Buffer>, gradient: Buffer) -> &'a [f32] {
    match sum {
        None => sum.insert(gradient),
        Some(sum) => {
            elementwise::add_assign(context.isa, sum, &gradient);
            sum
        }
    }
}
