//! Maxima and means over pixels computed again.

use super::{Audited, Bound, Check, Expected, Part, Wide, absolute, pool_shape, reduce_shape};
use crate::Result;
use crate::autograd::Operation;
use crate::autograd::ops::{AdaptiveAverage, AveragePool, GlobalAverage, GlobalMax, GlobalStats, MaxPool, pixels, windows};
use crate::tensor::Shape;
use osteon_kernels::{adaptive, pool, reduce};
use osteon_reference as reference;

impl Check<'_> {
    /// The shape of x: of the gradient of x the record's own, and input 0 is that of the result.
    fn pooled(&self, op: &dyn Operation) -> Result<Shape> {
        let (x, y) = match self.part() {
            Part::Output | Part::Saved => (self.shape(0)?, self.result()?),
            Part::Gradient(0) => (self.result()?, self.shape(0)?),
            Part::Gradient(_) => return Err(self.misfit()),
        };
        self.ensure(self.fitting(op.shape(&[x]))? == y)?;
        Ok(x)
    }
}

impl Audited for MaxPool {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        let shape = pool_shape(windows(inputs[0].shape, self.window(), self.ceil_mode));
        reference::pool::max_pool(shape, inputs[0].values).0
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        let shape = pool_shape(windows(at.pooled(self)?, self.window(), self.ceil_mode));
        let x = at.floats(0)?;
        if at.part() != Part::Gradient(0) {
            return at.maxima(reference::pool::max_pool(shape, &x));
        }
        let argmax = at.indices(1, x.len())?;
        let sum = |g: &[f64]| reference::pool::max_pool_backward(shape, &argmax, g);
        let steps = pool::max_backward_roundings(self.kernel, self.stride) as f64;
        Ok(Expected::within(Bound::Sum, steps, sum(&x), &sum(&absolute(&x))))
    }
}

impl Audited for AveragePool {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        reference::pool::average_pool(pool_shape(windows(inputs[0].shape, self.window(), false)), inputs[0].values)
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        at.ensure(at.part() != Part::Saved)?;
        let shape = pool_shape(windows(at.pooled(self)?, self.window(), false));
        let backward = at.part() != Part::Output;
        let pass = if backward { reference::pool::average_pool_backward } else { reference::pool::average_pool };
        let x = at.floats(0)?;
        let steps = pool::average_roundings(self.kernel) as f64;
        Ok(Expected::within(Bound::Sum, steps, pass(shape, &x), &pass(shape, &absolute(&x))))
    }
}

/// The division of x into the windows of y, in the kernel's words and the reference's.
fn division(x: Shape, y: Shape) -> (adaptive::AdaptiveShape, reference::adaptive::AdaptiveShape) {
    let (batch, size, channels, windows) = (x[0], [x[1], x[2]], x[3], [y[1], y[2]]);
    let kernel = adaptive::AdaptiveShape { batch, size, channels, windows };
    (kernel, reference::adaptive::AdaptiveShape { batch, size, channels, windows })
}

impl Audited for AdaptiveAverage {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        let [over, across] = self.windows;
        reference::adaptive::forward(division(inputs[0].shape, [0, over, across, 0].into()).1, inputs[0].values)
    }

    /// Traces of before do not say the windows: they are those of the result.
    fn expected(&self, at: &Check) -> Result<Expected> {
        let [a, b] = [at.shape(0)?, at.result()?];
        at.ensure(a.iter().count() == 4 && b.iter().count() == 4)?;
        at.ensure(a[0] == b[0] && a[3] == b[3])?;
        let x = at.floats(0)?;
        type Pass = fn(reference::adaptive::AdaptiveShape, &[f64]) -> Vec<f64>;
        let (shape, steps, pass): (_, _, Pass) = match at.part() {
            Part::Output => {
                let (kernel, shape) = division(a, b);
                (shape, adaptive::forward_roundings(kernel), reference::adaptive::forward)
            }
            Part::Gradient(0) => {
                let (kernel, shape) = division(b, a);
                (shape, adaptive::backward_roundings(kernel), reference::adaptive::backward)
            }
            _ => return Err(at.misfit()),
        };
        Ok(Expected::within(Bound::Sum, steps as f64, pass(shape, &x), &pass(shape, &absolute(&x))))
    }
}

/// Means over all pixels, and how far they may be off.
fn averages(at: &Check, shape: reference::reduce::ReduceShape) -> Result<Expected> {
    let x = at.floats(0)?;
    let average = |x: &[f64]| reference::reduce::global_average(shape, x);
    let steps = reduce::average_roundings(shape.pixels) as f64;
    Ok(Expected::within(Bound::Sum, steps, average(&x), &average(&absolute(&x))))
}

impl Audited for GlobalAverage {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        reference::reduce::global_average(reduce_shape(pixels(inputs[0].shape)), inputs[0].values)
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        at.ensure(at.part() != Part::Saved)?;
        let shape = reduce_shape(pixels(at.pooled(self)?));
        if at.part() == Part::Output {
            return averages(at, shape);
        }
        Ok(Expected::rounded(2.0, reference::reduce::global_average_backward(shape, &at.floats(0)?)))
    }
}

impl Audited for GlobalMax {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        reference::reduce::global_max(reduce_shape(pixels(inputs[0].shape)), inputs[0].values).0
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        let shape = reduce_shape(pixels(at.pooled(self)?));
        let x = at.floats(0)?;
        if at.part() != Part::Gradient(0) {
            return at.maxima(reference::reduce::global_max(shape, &x));
        }
        let argmax = at.indices(1, x.len())?;
        Ok(Expected::exact(reference::reduce::global_max_backward(shape, &argmax, &x)))
    }
}

impl Audited for GlobalStats {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        let (average, maximum) = (GlobalAverage {}.reference(inputs, &[]), GlobalMax {}.reference(inputs, &[]));
        [average, maximum].concat()
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        at.ensure(at.part() == Part::Output)?;
        let shape = reduce_shape(pixels(at.pooled(self)?));
        let mut expected = averages(at, shape)?;
        expected.values.extend(reference::reduce::global_max(shape, &at.floats(0)?).0);
        expected.exact_from_here();
        Ok(expected)
    }
}
