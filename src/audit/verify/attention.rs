//! What attention does to maps, computed again.

use super::{Allowed, Audited, Bound, Check, Expected, FLUSHED, Part, U, Wide, absolute, reduce_shape};
use crate::Result;
use crate::autograd::ops::{ChannelStats, ScaleAddRelu, ScaleChannels, ScalePixels, ScaledStats, pixels};
use osteon_kernels::attention as kernel;
use osteon_reference as reference;
use reference::attention;
use reference::reduce::ReduceShape;

/// Mean and maximum over the channels of x, whose values have `before` roundings already. The maximum is one of the values.
fn stats(shape: ReduceShape, values: Vec<f64>, x: &[f64], before: f64) -> Expected {
    let (sizes, _) = attention::channel_stats(shape, &absolute(x));
    let steps = kernel::channel_mean_roundings(shape.channels) as f64 + before;
    let allowed = sizes.chunks(2).zip(values.chunks(2)).flat_map(|(sizes, values)| {
        let of_maximum = before * U * values[1].abs();
        [steps * U * sizes[0] + FLUSHED, if before > 0.0 { of_maximum + FLUSHED } else { 0.0 }]
    });
    let allowed = Allowed::Each(allowed.collect());
    Expected { bound: Bound::Sum, values, allowed }
}

impl Audited for ChannelStats {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        attention::channel_stats(reduce_shape(pixels(inputs[0].shape)), inputs[0].values).0
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        if at.part() == Part::Gradient(0) {
            let shape = at.pixels(None)?;
            let maps = shape.batch * shape.pixels;
            let (g, argmax) = (at.exactly(0, 2 * maps)?, at.indices(1, maps)?);
            let sum = |g: &[f64]| attention::channel_stats_backward(shape, &argmax, g);
            return Ok(Expected::within(Bound::Rounding, 3.0, sum(&g), &sum(&absolute(&g))));
        }
        let (shape, x) = (at.pixels(Some(0))?, at.floats(0)?);
        let (values, argmax) = attention::channel_stats(shape, &x);
        match at.part() {
            Part::Output => Ok(stats(shape, values, &x, 0.0)),
            _ => at.maxima((Vec::new(), argmax)),
        }
    }
}

/// Of x, factors and the gradient of the result, the gradients of x and factors.
type Gradients = fn(ReduceShape, &[f64], &[f64], &[f64]) -> [Vec<f64>; 2];

/// x times a factor for each channel or pixel: the passes, and how many factors there are.
struct Scale {
    forward: fn(ReduceShape, &[f64], &[f64]) -> Vec<f64>,
    backward: Gradients,
    factors: fn(ReduceShape) -> usize,
    /// Of a term of a factor's gradient.
    roundings: fn(ReduceShape) -> usize,
}

impl Scale {
    fn expected(&self, at: &Check) -> Result<Expected> {
        let shape = match at.part() {
            Part::Gradient(1) => at.pixels(Some(1))?,
            Part::Output | Part::Gradient(0) => at.pixels(None)?,
            _ => return Err(at.misfit()),
        };
        let factors = (self.factors)(shape);
        let all = shape.batch * shape.pixels * shape.channels;
        if at.part() != Part::Gradient(1) {
            // The gradient of x is scaled as x itself.
            return Ok(Expected::rounded(1.0, (self.forward)(shape, &at.exactly(0, all)?, &at.exactly(1, factors)?)));
        }
        let (g, x) = (at.exactly(0, all)?, at.exactly(1, all)?);
        let products = |g: &[f64], x: &[f64]| {
            let [_, products] = (self.backward)(shape, x, &vec![0.0; factors], g);
            products
        };
        let steps = (self.roundings)(shape) as f64;
        Ok(Expected::within(Bound::Sum, steps, products(&g, &x), &products(&absolute(&g), &absolute(&x))))
    }
}

impl Audited for ScaleChannels {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        attention::scale_channels(reduce_shape(pixels(inputs[0].shape)), inputs[0].values, inputs[1].values)
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        Scale {
            forward: attention::scale_channels,
            backward: attention::scale_channels_backward,
            factors: |shape| shape.batch * shape.channels,
            roundings: |shape| kernel::scale_channels_sum_roundings(shape.pixels, shape.channels),
        }
        .expected(at)
    }
}

impl Audited for ScalePixels {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        attention::scale_pixels(reduce_shape(pixels(inputs[0].shape)), inputs[0].values, inputs[1].values)
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        Scale {
            forward: attention::scale_pixels,
            backward: attention::scale_pixels_backward,
            factors: |shape| shape.batch * shape.pixels,
            roundings: |shape| kernel::channel_sum_roundings(shape.channels),
        }
        .expected(at)
    }
}

impl Audited for ScaledStats {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        let shape = reduce_shape(pixels(inputs[0].shape));
        attention::scaled_channel_stats(shape, inputs[0].values, inputs[1].values).0
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        match at.part() {
            Part::Gradient(0) => {
                let shape = at.pixels(None)?;
                let maps = shape.batch * shape.pixels;
                let (g, factor) = (at.exactly(0, 2 * maps)?, at.exactly(1, shape.batch * shape.channels)?);
                let argmax = at.indices(2, maps)?;
                let sum = |g: &[f64]| {
                    let g = attention::channel_stats_backward(shape, &argmax, g);
                    attention::scale_channels(shape, &g, &factor)
                };
                // The rounded share, the product with it, the sum, the product with the factor.
                Ok(Expected::within(Bound::Rounding, 4.0, sum(&g), &sum(&absolute(&g))))
            }
            Part::Gradient(1) => {
                let shape = at.pixels(Some(1))?;
                let maps = shape.batch * shape.pixels;
                let (g, x, argmax) = (at.exactly(0, 2 * maps)?, at.floats(1)?, at.indices(2, maps)?);
                let products = |g: &[f64], x: &[f64]| {
                    let ones = vec![1.0; shape.batch * shape.channels];
                    let [_, products] = attention::scaled_channel_stats_backward(shape, x, &ones, &argmax, g);
                    products
                };
                // The gradient of x by its channels has 3 roundings already.
                let steps = kernel::pixel_sum_roundings(shape.pixels) as f64 + 3.0;
                Ok(Expected::within(Bound::Sum, steps, products(&g, &x), &products(&absolute(&g), &absolute(&x))))
            }
            Part::Gradient(_) => Err(at.misfit()),
            part @ (Part::Output | Part::Saved) => {
                let shape = at.pixels(Some(0))?;
                let (x, factor) = (at.floats(0)?, at.exactly(1, shape.batch * shape.channels)?);
                let mut scaled = attention::scale_channels(shape, &x, &factor);
                if part == Part::Saved {
                    // Rounded, two products can be equal; of two f32 the f64 product is exact, and so rounded once.
                    scaled.iter_mut().for_each(|x| *x = f64::from(*x as f32));
                    return at.maxima((Vec::new(), attention::channel_stats(shape, &scaled).1));
                }
                let (values, _) = attention::channel_stats(shape, &scaled);
                Ok(stats(shape, values, &scaled, 1.0))
            }
        }
    }
}

impl Audited for ScaleAddRelu {
    fn reference(&self, inputs: &[Wide], _: &[u32]) -> Vec<f64> {
        let [x, channels, by_pixel, shortcut] = [0, 1, 2, 3].map(|k| inputs[k].values);
        attention::scale_add_relu(reduce_shape(pixels(inputs[0].shape)), x, channels, by_pixel, shortcut)
    }

    fn expected(&self, at: &Check) -> Result<Expected> {
        match at.part() {
            Part::Output => {
                let [(shape, x), (_, channels), (_, by_pixel), (_, shortcut)] = at.operands(self)?;
                let shape = reduce_shape(pixels(shape));
                let scaled = attention::scale_channels(shape, &x, &channels);
                let scaled = attention::scale_pixels(shape, &scaled, &by_pixel);
                let sizes: Vec<f64> = scaled.iter().zip(&shortcut).map(|(a, b)| a.abs() + b.abs()).collect();
                let values = reference::elementwise::add(&scaled, &shortcut);
                Ok(Expected::within(Bound::Rounding, 3.0, values, &sizes).relu(true))
            }
            Part::Gradient(3) => Ok(Expected::exact(at.beneath_relu(1)?)),
            Part::Gradient(k @ 0..3) => {
                let shape = at.pixels(Some(0))?;
                let (vectors, maps) = (shape.batch * shape.channels, shape.batch * shape.pixels);
                // Of x and its factors the other two; in place of the gradient's own, which it does not read, ones.
                let lens = [shape.batch * shape.pixels * shape.channels, vectors, maps];
                let mut arrays: [Vec<f64>; 3] = lens.map(|len| vec![1.0; len]);
                for (i, other) in (0..3).filter(|&other| other != k).enumerate() {
                    arrays[other] = at.exactly(i + 1, lens[other])?;
                }
                let [g, output] = [at.exactly(0, lens[0])?, at.exactly(3, lens[0])?];
                let gradient = |[x, channels, by_pixel]: [&[f64]; 3], g: &[f64]| {
                    let grads = attention::scale_add_relu_backward(shape, x, channels, by_pixel, &output, g);
                    grads.into_iter().nth(k).expect("one of four")
                };
                let values = gradient(arrays.each_ref().map(|array| &array[..]), &g);
                let sizes = arrays.map(|array| absolute(&array));
                let sizes = gradient(sizes.each_ref().map(|array| &array[..]), &absolute(&g));
                // The product with the other factor, before the sum.
                let (bound, steps) = match k {
                    0 => (Bound::Rounding, 2),
                    1 => (Bound::Sum, kernel::pixel_sum_roundings(shape.pixels) + 1),
                    _ => (Bound::Sum, kernel::channel_sum_roundings(shape.channels) + 1),
                };
                Ok(Expected::within(bound, steps as f64, values, &sizes))
            }
            Part::Gradient(_) | Part::Saved => Err(at.misfit()),
        }
    }
}
