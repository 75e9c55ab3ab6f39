//! Convolutions computed again.

use super::{Allowed, Audited, Bound, Check, Expected, Part, U, Wide, absolute, pool_shape, squared};
use crate::Result;
use crate::autograd::ops::{Conv, ConvBias, ConvNorm, ConvNormPool, conv_shape, windowed, windows};
use crate::tensor::Shape;
use osteon_kernels::bias;
use osteon_kernels::conv::{self, Algorithm};
use osteon_reference as reference;
use reference::conv::ConvShape;

fn wide(shape: conv::ConvShape) -> ConvShape {
    let conv::ConvShape { batch, rows, columns, in_channels, out_channels, kernel, stride, padding } = shape;
    ConvShape { batch, rows, columns, in_channels, out_channels, kernel, stride, padding }
}

fn outputs(shape: ConvShape) -> Shape {
    let [rows, columns] = shape.out();
    [shape.batch, rows, columns, shape.out_channels].into()
}

/// Of inputs that were checked.
fn of(inputs: &[Wide], stride: [usize; 2], padding: [usize; 2]) -> ConvShape {
    wide(conv_shape(inputs[0].shape, inputs[1].shape, stride, padding).expect("the shapes were checked"))
}

impl Check<'_> {
    /// The claim of the algorithm that computed a convolution.
    fn claim(&self) -> Result<(Bound, f64)> {
        let name = self.record.algorithm.as_deref();
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| Some(algorithm.name()) == name);
        let algorithm = algorithm.ok_or_else(|| self.misfit())?;
        let bound = match algorithm {
            Algorithm::ImplicitGemm => Bound::ImplicitGemm,
            Algorithm::Winograd => Bound::Winograd,
        };
        Ok((bound, algorithm.max_error()))
    }

    /// The convolution of tensors of shape x and w, which gives one of shape y.
    fn conv(&self, [x, w, y]: [Shape; 3], stride: [usize; 2], padding: [usize; 2]) -> Result<ConvShape> {
        let shape = wide(self.fitting(conv_shape(x, w, stride, padding))?);
        self.ensure(outputs(shape) == y)?;
        Ok(shape)
    }

    /// A convolution's result or gradient, by one of the reference's passes: of inputs 0 and 1, where the second or the first is `g`.
    fn convolution(&self, stride: [usize; 2], padding: [usize; 2], masked: Option<Vec<f64>>) -> Result<Expected> {
        let (a, b, result) = (self.shape(0)?, self.shape(1)?, self.result()?);
        type Pass = fn(ConvShape, &[f64], &[f64]) -> Vec<f64>;
        let (shape, pass): (_, Pass) = match self.part() {
            Part::Output => (self.conv([a, b, result], stride, padding)?, reference::conv::forward),
            Part::Gradient(0) => (self.conv([result, b, a], stride, padding)?, reference::conv::backward_data),
            Part::Gradient(1) => {
                let swapped = |shape, g: &[f64], x: &[f64]| reference::conv::backward_weights(shape, x, g);
                (self.conv([b, result, a], stride, padding)?, swapped)
            }
            _ => return Err(self.misfit()),
        };
        let (a, b) = (masked.map_or_else(|| self.floats(0), Ok)?, self.floats(1)?);
        let values = pass(shape, &a, &b);
        let squares = pass(shape, &squared(&a), &squared(&b));
        let size = values.iter().zip(&squares).map(|(y, square)| y * y + square).sum::<f64>().sqrt();
        let (bound, claim) = self.claim()?;
        Ok(Expected { bound, values, allowed: Allowed::Norm { claim, size } })
    }

    /// A convolution, input 0 with the weights of input 1, and batch normalisation over running statistics, inputs 2 to 5. The weights
    /// hold the normalisation: y = (w factor) * x + (beta - mean factor). One rounding of the weights and two of the sum join the
    /// convolution's own error.
    fn conv_norm(&self, shape: ConvShape, epsilon: f32) -> Result<Expected> {
        let channels = shape.out_channels;
        let (x, w) = (self.floats(0)?, self.floats(1)?);
        let [gamma, beta, mean, variance] = [2, 3, 4, 5].map(|k| self.exactly(k, channels));
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let y = reference::conv::forward(shape, &x, &w);
        let squares = reference::conv::forward(shape, &squared(&x), &squared(&w));
        let epsilon = f64::from(epsilon);
        let values = reference::norm::forward_inference(epsilon, &y, &gamma, &beta, &mean, &variance);
        let size = y.iter().zip(&squares).enumerate().map(|(i, (y, square))| {
            let c = i % channels;
            let factor = gamma[c] / (variance[c] + epsilon).sqrt();
            factor * factor * (y * y + square) + (beta[c] - mean[c] * factor).powi(2)
        });
        let (bound, claim) = self.claim()?;
        Ok(Expected { bound, values, allowed: Allowed::Norm { claim: claim + 3.0 * U, size: size.sum::<f64>().sqrt() } })
    }
}

impl Audited for Conv {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        reference::conv::forward(of(inputs, self.stride, self.padding), inputs[0].values, inputs[1].values)
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        at.convolution(self.stride, self.padding, None)
    }
}

impl Audited for ConvBias {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        let convolved = Conv { stride: self.stride, padding: self.padding }.reference(inputs, &[]);
        let sum = reference::bias::forward(&convolved, inputs[2].values);
        if self.relu { reference::elementwise::relu(&sum) } else { sum }
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        match at.part() {
            Part::Gradient(2) => {
                let g = if self.relu { at.beneath_relu(1)? } else { at.floats(0)? };
                let channels = at.len();
                at.ensure(at.shape(0)?.last() == Some(&channels))?;
                let sum = |g: &[f64]| reference::bias::backward(channels, g);
                let steps = bias::backward_roundings(g.len() / channels, channels) as f64;
                Ok(Expected::within(Bound::Sum, steps, sum(&g), &sum(&absolute(&g))))
            }
            Part::Gradient(_) => {
                let masked = if self.relu { Some(at.beneath_relu(2)?) } else { None };
                at.convolution(self.stride, self.padding, masked)
            }
            // One rounding of the sum joins the convolution's own error.
            Part::Output => {
                let mut expected = at.convolution(self.stride, self.padding, None)?;
                let (channels, len) = (at.channels()?, at.len());
                let bias = at.exactly(2, channels)?;
                expected.values = reference::bias::forward(&expected.values, &bias);
                if let Allowed::Norm { claim, size } = &mut expected.allowed {
                    let squares = bias.iter().map(|bias| bias * bias).sum::<f64>() * (len / channels) as f64;
                    (*claim, *size) = (*claim + U, (*size * *size + squares).sqrt());
                }
                Ok(expected.relu(self.relu))
            }
            Part::Saved => Err(at.misfit()),
        }
    }
}

/// By the parts that are fused.
fn conv_norm(inputs: &[Wide], stride: [usize; 2], padding: [usize; 2], epsilon: f32) -> Vec<f64> {
    let y = Conv { stride, padding }.reference(inputs, &[]);
    let [gamma, beta, mean, variance] = [2, 3, 4, 5].map(|k| inputs[k].values);
    reference::norm::forward_inference(epsilon.into(), &y, gamma, beta, mean, variance)
}

impl Audited for ConvNorm {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        let y = conv_norm(inputs, self.stride, self.padding, self.epsilon);
        if self.relu { reference::elementwise::relu(&y) } else { y }
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        if at.part() == Part::Output {
            let shape = at.conv([at.shape(0)?, at.shape(1)?, at.result()?], self.stride, self.padding)?;
            return Ok(at.conv_norm(shape, self.epsilon)?.relu(self.relu));
        }
        // Three roundings of a factor and its product join the convolution's own error.
        let mut g = if self.relu { at.beneath_relu(4)? } else { at.floats(0)? };
        let channels = at.shape(1)?.last().copied().unwrap_or_default();
        let (gamma, variance) = (at.exactly(2, channels)?, at.exactly(3, channels)?);
        let factors = gamma.iter().zip(&variance).map(|(gamma, variance)| gamma / (variance + f64::from(self.epsilon)).sqrt());
        let factors: Vec<f64> = factors.collect();
        g.iter_mut().zip(factors.iter().cycle()).for_each(|(g, factor)| *g *= factor);
        let mut expected = at.convolution(self.stride, self.padding, Some(g))?;
        if let Allowed::Norm { claim, .. } = &mut expected.allowed {
            *claim += 3.0 * U;
        }
        Ok(expected)
    }
}

/// The most outputs of a convolution for each maximum: of windows of 8 x 8. More than that a record may claim, but no network has, and
/// they are not recorded, so that nothing else bounds the memory for them.
const OUTPUTS_A_MAXIMUM: usize = 64;

impl Audited for ConvNormPool {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        let shape = outputs(of(inputs, self.stride, self.padding));
        let y = conv_norm(inputs, self.stride, self.padding, self.epsilon);
        let (maxima, _) = reference::pool::max_pool(pool_shape(windows(shape, self.window(), false)), &y);
        reference::elementwise::relu(&maxima)
    }

    /// A maximum is no farther off than the farthest of its window, and a value is in so many windows.
    fn expected(&self, at: &Check) -> Result<Expected> {
        at.ensure(at.part() == Part::Output)?;
        let shape = wide(at.fitting(conv_shape(at.shape(0)?, at.shape(1)?, self.stride, self.padding))?);
        let convolved = outputs(shape);
        at.ensure(at.fitting(windowed(convolved, self.window(), false))? == at.result()?)?;
        let values = convolved.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        at.ensure(values.is_some_and(|values| values / OUTPUTS_A_MAXIMUM <= at.len()))?;
        let mut expected = at.conv_norm(shape, self.epsilon)?;
        expected.values = reference::pool::max_pool(pool_shape(windows(convolved, self.window(), false)), &expected.values).0;
        if let Allowed::Norm { size, .. } = &mut expected.allowed {
            let windows = [0, 1].map(|side| self.pool[side].div_ceil(self.pool_stride[side]));
            *size *= ((windows[0] * windows[1]) as f64).sqrt();
        }
        Ok(expected.relu(true))
    }
}
