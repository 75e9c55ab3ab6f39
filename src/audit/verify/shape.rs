//! Joined channels and flattened maps computed again.

use super::{Audited, Check, Expected, Part, Wide};
use crate::Result;
use crate::autograd::ops::{Concat, Flatten};
use osteon_reference as reference;

impl Audited for Concat {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        let channels = |input: &Wide| input.shape.last().copied().unwrap_or(0);
        reference::concat::forward(&inputs.iter().map(|input| (input.values, channels(input))).collect::<Vec<_>>())
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        match at.part() {
            Part::Output => Ok(Expected::exact(at.recomputed::<4>(self)?)),
            // Inputs: g, and then the parts, whose channels tell where this one lies.
            Part::Gradient(k) => {
                let channels = [1, 2, 3, 4].map(|part| Ok(at.pixels(Some(part))?.channels));
                let channels = channels.into_iter().collect::<Result<Vec<usize>>>()?;
                let shape = at.pixels(Some(0))?;
                at.ensure(channels.iter().sum::<usize>() == shape.channels && k < channels.len())?;
                Ok(Expected::exact(reference::concat::backward(&channels, k, &at.floats(0)?)))
            }
            Part::Saved => Err(at.misfit()),
        }
    }
}

impl Audited for Flatten {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        inputs[0].values.to_vec()
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        Ok(Expected::exact(at.exactly(0, at.len())?))
    }
}
