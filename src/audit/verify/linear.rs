//! The fully connected layer computed again.

use super::{Audited, Bound, Check, Expected, Part, Wide, absolute};
use crate::Result;
use crate::autograd::ops::Linear;
use osteon_kernels::linear as kernel;
use osteon_reference::linear;

impl Audited for Linear {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        linear::forward(inputs[0].shape[1], inputs[0].values, inputs[1].values, inputs[2].values)
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        let sum = |terms, values, sizes: &[f64]| {
            Ok(Expected::within(Bound::Sum, kernel::backward_roundings(terms) as f64, values, sizes))
        };
        match at.part() {
            Part::Output => {
                let [(shape, x), (_, w), (_, bias)] = at.operands(self)?;
                let features = shape[1];
                let values = linear::forward(features, &x, &w, &bias);
                let sizes = linear::forward(features, &absolute(&x), &absolute(&w), &absolute(&bias));
                Ok(Expected::within(Bound::Sum, kernel::forward_roundings(features) as f64, values, &sizes))
            }
            Part::Gradient(0) => {
                let ([batch, outputs], [expected, features]) = (at.sizes(0)?, at.sizes(1)?);
                at.ensure(outputs == expected && at.result()?[..] == [batch, features])?;
                let (g, w, x) = (at.floats(0)?, at.floats(1)?, vec![0.0; batch * features]);
                let [values, ..] = linear::backward(features, &x, &w, &g);
                let [sizes, ..] = linear::backward(features, &x, &absolute(&w), &absolute(&g));
                sum(outputs, values, &sizes)
            }
            Part::Gradient(1) => {
                let ([batch, outputs], [expected, features]) = (at.sizes(0)?, at.sizes(1)?);
                at.ensure(batch == expected && at.result()?[..] == [outputs, features])?;
                let (g, x, w) = (at.floats(0)?, at.floats(1)?, vec![0.0; outputs * features]);
                let [_, values, _] = linear::backward(features, &x, &w, &g);
                let [_, sizes, _] = linear::backward(features, &absolute(&x), &w, &absolute(&g));
                sum(batch, values, &sizes)
            }
            Part::Gradient(2) => {
                let [batch, outputs] = at.sizes(0)?;
                at.ensure(at.result()?[..] == [outputs])?;
                let (g, x, w) = (at.floats(0)?, vec![0.0; batch], vec![0.0; outputs]);
                let [_, _, values] = linear::backward(1, &x, &w, &g);
                let [_, _, sizes] = linear::backward(1, &x, &w, &absolute(&g));
                sum(batch, values, &sizes)
            }
            Part::Gradient(_) | Part::Saved => Err(at.misfit()),
        }
    }
}
