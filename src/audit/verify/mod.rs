//! Computes each operation of a trace again from its recorded inputs, by the plain f64 loops of `osteon_reference`, and compares.
//!
//! Each operation is judged by itself: its inputs are what was recorded, not what was computed again, so errors do not add up
//! along the network. How far a value may be off is a named [`Bound`]; where an operation is made of several, its bound is made of
//! theirs. There is one file a family of operations, in the division of [`ops`](crate::autograd::ops); each says what its operation
//! should have given by [`Audited`]. How many roundings a term of a sum goes through is asked of the kernel that sums.

mod attention;
mod bounds;
mod conv;
mod elementwise;
mod linear;
mod loss;
mod norm;
mod pool;
mod shape;
mod training;

#[cfg(test)]
mod tests;

pub use bounds::{Bound, U};

use super::log::{Equation, Folder, Header, OtherEquation, Part, Record, TensorReader, Type, Values};
use crate::autograd::{Op, Operation};
use crate::tensor::Shape;
use crate::text::counted;
use crate::{Error, Result, files, interrupt};
use bounds::{Allowed, Expected, FLUSHED, absolute, spread, squared};
use osteon_kernels::{par, pool as kernels_pool, reduce};
use osteon_reference as reference;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How an auditor computes an operation again.
pub trait Audited: Operation {
    /// Its result by plain loops, from its inputs and, of a loss, its labels.
    fn reference(&self, inputs: &[Wide], labels: &[u32]) -> Vec<f64>;

    /// What a record of it should hold, and how far that may be off. Inputs of the record: of its result what its description
    /// [reads](crate::autograd::ops::Description::reads); of a gradient first that of the result, then what the input's
    /// `gradient_reads` lists, and last the result where `gradients_read_output` says so.
    ///
    /// # Errors
    /// Inputs that do not fit.
    fn expected(&self, at: &Check) -> Result<Expected>;

    /// The error that its gradients may have in the gradient check, relative to [their size](Self::gradient_size), where no convolution's
    /// algorithm has a claim of its own: of values that are rounded a few times, or sums in groups of terms with signs, whose roundings
    /// add up as the root of their number.
    fn gradient_claim(&self) -> f64 {
        16.0 * U
    }

    /// What the error of a gradient is relative to: its l2 norm.
    fn gradient_size(&self, gradient: &[f64], _of_result: &[f64], _result: &[f64]) -> f64 {
        gradient.iter().map(|g| g * g).sum::<f64>().sqrt()
    }
}

macro_rules! audited {
    ($($name:ident),* $(,)?) => {
        impl Deref for AuditedOp<'_> {
            type Target = dyn Audited;
            fn deref(&self) -> &Self::Target {
                match self.0 {
                    $(Op::$name(op) => op),*
                }
            }
        }
    };
}
crate::autograd::ops::operations!(audited);

/// An operation as an auditor sees it.
pub struct AuditedOp<'a>(pub &'a Op);

/// A tensor in f64.
#[derive(Clone, Copy)]
pub struct Wide<'a> {
    /// Its shape.
    pub shape: Shape,
    /// Its values.
    pub values: &'a [f64],
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
            Error::setting(format!("--operation {number}: the trace has {}", counted(records.len(), "operation")), remedy)
        })?],
    };
    let mut verdicts: Vec<Option<Result<Verdict>>> = wanted.iter().map(|_| None).collect();
    let done = AtomicUsize::new(0);
    par::chunks_mut(&mut verdicts, 1, |i, verdict| {
        let check = Check { folder: &folder, records: &records, tensors: &tensors, record: wanted[i] };
        verdict[0] = Some(interrupt::check().and_then(|()| check.judge(operation.is_some())));
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, wanted.len());
    });
    Ok((header, verdicts.into_iter().flatten().collect::<Result<_>>()?))
}

/// A record with all that it refers to.
pub struct Check<'a> {
    folder: &'a Folder,
    records: &'a [Record],
    tensors: &'a TensorReader,
    record: &'a Record,
}

impl Check<'_> {
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
        let expected = match &record.equation {
            Equation::Other(OtherEquation::Given) => None,
            Equation::Other(other) => Some(other.expected(self)?),
            Equation::Operation(op) => Some(AuditedOp(op).expected(self)?),
        };
        let (bound, (error, allowed)) = match expected {
            None => (Bound::Recorded, (0.0, 0.0)),
            Some(expected) => {
                let actual = values.wide();
                self.ensure(expected.values.len() == actual.len())?;
                (expected.bound, expected.compare(&actual))
            }
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

    /// Which of the operation's results the record is about.
    fn part(&self) -> Part {
        self.record.part
    }

    /// The number of values that the record has.
    fn len(&self) -> usize {
        self.record.shape.iter().product()
    }

    fn misfit(&self) -> Error {
        let problem = format!("operation {} ({}) has inputs that do not fit it", self.record.number, self.record.name);
        Error::file(self.folder.file(Folder::RECORDS), problem, "run `osteon audit trace` again")
    }

    fn ensure(&self, holds: bool) -> Result<()> {
        if holds { Ok(()) } else { Err(self.misfit()) }
    }

    /// What fits, or the error of what does not.
    fn fitting<T>(&self, result: Result<T, String>) -> Result<T> {
        result.map_err(|_| self.misfit())
    }

    fn input(&self, k: usize) -> Result<&Record> {
        self.record.inputs.get(k).map(|&number| &self.records[number]).ok_or_else(|| self.misfit())
    }

    /// The shape of an input, of which no dimension is empty.
    fn shape(&self, k: usize) -> Result<Shape> {
        self.whole(&self.input(k)?.shape)
    }

    /// The same of the record itself.
    fn result(&self) -> Result<Shape> {
        self.whole(&self.record.shape)
    }

    fn whole(&self, shape: &[usize]) -> Result<Shape> {
        self.ensure(!shape.contains(&0))?;
        Shape::try_from(shape).map_err(|()| self.misfit())
    }

    /// The sizes of an input that must have `N` dimensions.
    fn sizes<const N: usize>(&self, k: usize) -> Result<[usize; N]> {
        self.shape(k)?[..].try_into().map_err(|_| self.misfit())
    }

    /// Input `k`, which must be maps (batch, rows, columns, channels), as pixels; or where there is none the record itself.
    fn pixels(&self, k: Option<usize>) -> Result<reference::reduce::ReduceShape> {
        let shape = k.map_or_else(|| self.result(), |k| self.shape(k))?;
        self.ensure(shape.iter().count() == 4)?;
        Ok(reduce_shape(crate::autograd::ops::pixels(shape)))
    }

    /// Channels of the record.
    fn channels(&self) -> Result<usize> {
        self.result()?.last().copied().ok_or_else(|| self.misfit())
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

    /// Where maxima were, or labels, in an input, `len` of them.
    fn indices(&self, k: usize, len: usize) -> Result<Vec<u32>> {
        match self.values(k, Type::U32)? {
            Values::Indices(indices) if indices.len() == len => Ok(indices),
            _ => Err(self.misfit()),
        }
    }

    /// The first `N` inputs, whose shapes are those of an operation that gives the record.
    fn operands<const N: usize>(&self, op: &dyn Operation) -> Result<[(Shape, Vec<f64>); N]> {
        let mut operands: [(Shape, Vec<f64>); N] = std::array::from_fn(|_| Default::default());
        for (k, (shape, _)) in operands.iter_mut().enumerate() {
            *shape = self.shape(k)?;
        }
        let shapes = operands.each_ref().map(|(shape, _)| *shape);
        let result = self.fitting(op.shape(&shapes))?;
        self.ensure(self.part() != Part::Output || result[..] == self.record.shape[..])?;
        // Only now: what is claimed has been held against what there is.
        for (k, (_, values)) in operands.iter_mut().enumerate() {
            *values = self.floats(k)?;
        }
        Ok(operands)
    }

    /// The result by the reference, of the first `N` inputs.
    fn recomputed<const N: usize>(&self, op: &dyn Audited) -> Result<Vec<f64>> {
        let operands = self.operands::<N>(op)?;
        Ok(op.reference(&operands.each_ref().map(|(shape, values)| Wide { shape: *shape, values }), &[]))
    }

    /// The gradient in input 0, without what a ReLU that gave input `k` stops.
    fn beneath_relu(&self, k: usize) -> Result<Vec<f64>> {
        let g = self.floats(0)?;
        Ok(reference::elementwise::relu_backward(&self.exactly(k, g.len())?, &g))
    }

    /// Maxima and where they are: of the record, one of the two.
    fn maxima(&self, (maxima, argmax): (Vec<f64>, Vec<u32>)) -> Result<Expected> {
        match self.part() {
            Part::Output => Ok(Expected::exact(maxima)),
            Part::Saved => Ok(Expected::exact(argmax.into_iter().map(f64::from).collect())),
            Part::Gradient(_) => Err(self.misfit()),
        }
    }
}

/// The reference's shape of what a kernel reduces.
fn reduce_shape(shape: reduce::ReduceShape) -> reference::reduce::ReduceShape {
    let reduce::ReduceShape { batch, pixels, channels } = shape;
    reference::reduce::ReduceShape { batch, pixels, channels }
}

/// The reference's shape of a kernel's windows.
fn pool_shape(shape: kernels_pool::PoolShape) -> reference::pool::PoolShape {
    let kernels_pool::PoolShape { batch, rows, columns, channels, kernel, stride, padding, ceil_mode } = shape;
    reference::pool::PoolShape { batch, rows, columns, channels, kernel, stride, padding, ceil_mode }
}
