//! ReLU, sigmoid, sums and dropout computed again.

use super::{Audited, Bound, Check, Expected, Part, U, Wide, absolute};
use crate::Result;
use crate::autograd::ops::{Add, AddHalves, AddRelu, AddScaled, Dropout, Relu, Sigmoid};
use osteon_kernels::simd;
use osteon_reference as reference;
use reference::elementwise;

impl Audited for Relu {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        elementwise::relu(inputs[0].values)
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        match at.part() {
            Part::Output => Ok(Expected::exact(at.recomputed::<1>(self)?)),
            Part::Gradient(0) => masked(at),
            _ => Err(at.misfit()),
        }
    }
}

/// The gradient of a term beneath a ReLU: g where the result, input 1, is above 0.
fn masked(at: &Check) -> Result<Expected> {
    let (g, y) = (at.exactly(0, at.len())?, at.exactly(1, at.len())?);
    Ok(Expected::exact(elementwise::relu_backward(&y, &g)))
}

impl Audited for Sigmoid {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        elementwise::sigmoid(inputs[0].values)
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        match at.part() {
            Part::Output => {
                let values = at.recomputed::<1>(self)?;
                // The exponential's error, of at most the whole value; sum and quotient.
                Ok(Expected::within(Bound::Exponential, simd::MAX_EXP_ERROR / U + 2.0, values.clone(), &values))
            }
            Part::Gradient(0) => {
                let (g, y) = (at.exactly(0, at.len())?, at.exactly(1, at.len())?);
                Ok(Expected::rounded(3.0, elementwise::sigmoid_backward(&y, &g)))
            }
            _ => Err(at.misfit()),
        }
    }

    /// Its exponential, and some roundings.
    fn gradient_claim(&self) -> f64 {
        simd::MAX_EXP_ERROR + 8.0 * U
    }

    /// dx = g y (1 - y), and of a y near 1 the difference is as exact as 1 is.
    fn gradient_size(&self, _: &[f64], of_result: &[f64], result: &[f64]) -> f64 {
        of_result.iter().zip(result).map(|(g, y)| (g * y).powi(2)).sum::<f64>().sqrt()
    }
}

impl Audited for Add {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        elementwise::add(inputs[0].values, inputs[1].values)
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        match at.part() {
            Part::Output => Ok(Expected::rounded(1.0, at.recomputed::<2>(self)?)),
            Part::Gradient(_) => Ok(Expected::exact(at.exactly(0, at.len())?)),
            Part::Saved => Err(at.misfit()),
        }
    }
}

impl Audited for AddRelu {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        elementwise::relu(&Add {}.reference(inputs, &[]))
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        match at.part() {
            Part::Output => Ok(Expected::rounded(1.0, at.recomputed::<2>(self)?)),
            Part::Gradient(_) => masked(at),
            Part::Saved => Err(at.misfit()),
        }
    }
}

impl Audited for AddScaled {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        elementwise::add_scaled(self.weight.into(), inputs[0].values, inputs[1].values)
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        match at.part() {
            Part::Output => {
                let [(_, a), (_, b)] = at.operands(self)?;
                let sum = |a: &[f64], b: &[f64], weight: f32| elementwise::add_scaled(weight.into(), a, b);
                let sizes = sum(&absolute(&a), &absolute(&b), self.weight.abs());
                Ok(Expected::within(Bound::Rounding, 2.0, sum(&a, &b, self.weight), &sizes))
            }
            Part::Gradient(0) => Ok(Expected::exact(at.exactly(0, at.len())?)),
            Part::Gradient(1) => Ok(Expected::rounded(1.0, elementwise::scale(self.weight.into(), &at.exactly(0, at.len())?))),
            _ => Err(at.misfit()),
        }
    }
}

impl Audited for AddHalves {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        let (a, b) = inputs[0].values.split_at(inputs[0].values.len() / 2);
        elementwise::add(a, b)
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        at.ensure(at.part() == Part::Output)?;
        Ok(Expected::rounded(1.0, at.recomputed::<1>(self)?))
    }
}

fn mask(dropout: &Dropout, len: usize) -> Vec<f64> {
    let Dropout { rate, seed, step, place } = *dropout;
    reference::dropout::mask(reference::dropout::Dropout { rate: rate.into(), seed, step, place }, len)
}

impl Audited for Dropout {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        reference::dropout::apply(&mask(self, inputs[0].values.len()), inputs[0].values)
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        match at.part() {
            Part::Saved => {
                at.ensure(at.fitting(crate::autograd::Operation::shape(self, &[at.shape(0)?]))? == at.result()?)?;
                Ok(Expected::rounded(2.0, mask(self, at.len())))
            }
            Part::Output | Part::Gradient(0) => {
                let (x, mask) = (at.exactly(0, at.len())?, at.exactly(1, at.len())?);
                Ok(Expected::rounded(1.0, reference::dropout::apply(&mask, &x)))
            }
            Part::Gradient(_) => Err(at.misfit()),
        }
    }
}
