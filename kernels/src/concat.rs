//! The channels of several arrays of pixels one after the other in one, as the branches of an inception block are joined
//! (Szegedy et al. 2015, figure 2).

use crate::elementwise::chunk_pixels;
use crate::par;

/// The most arrays that are joined.
pub const MAX_PARTS: usize = 4;

/// `pixels` is batch * rows * columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConcatShape {
    /// Pixels of each array.
    pub pixels: usize,
    /// Channels of each array; 0 where there are fewer arrays.
    pub channels: [usize; MAX_PARTS],
}

impl ConcatShape {
    /// Channels of a pixel of the output.
    pub fn out_channels(&self) -> usize {
        self.channels.iter().sum()
    }

    /// Where the channels of part `k` lie in a pixel of the output.
    fn place(&self, k: usize) -> std::ops::Range<usize> {
        let first = self.channels[..k].iter().sum();
        first..first + self.channels[k]
    }
}

/// Joins the arrays.
pub fn forward(
    shape: ConcatShape,
    parts: &[&[f32]],   // each (pixels, its channels)
    output: &mut [f32], // (pixels, all channels)
) {
    let channels = shape.out_channels();
    assert_eq!(output.len(), shape.pixels * channels, "output length of {shape:?}");
    for (k, &channels) in shape.channels.iter().enumerate() {
        assert_eq!(parts.get(k).map_or(0, |part| part.len()), shape.pixels * channels, "length of part {k} of {shape:?}");
    }
    let chunk = chunk_pixels(channels);
    par::chunks_mut(output, chunk * channels.max(1), |i, output| {
        for (pixel, output) in output.chunks_exact_mut(channels).enumerate() {
            for (k, part) in parts.iter().enumerate() {
                let width = shape.channels[k];
                output[shape.place(k)].copy_from_slice(&part[(i * chunk + pixel) * width..][..width]);
            }
        }
    });
}

/// The gradient of part `k`: its channels of the output's.
pub fn backward(
    shape: ConcatShape,
    k: usize,
    grad_output: &[f32],   // (pixels, all channels)
    grad_part: &mut [f32], // (pixels, channels of part k)
) {
    let (channels, width) = (shape.out_channels(), shape.channels[k]);
    assert_eq!(grad_output.len(), shape.pixels * channels, "grad_output length of {shape:?}");
    assert_eq!(grad_part.len(), shape.pixels * width, "grad_part length of {shape:?}");
    let chunk = chunk_pixels(width);
    par::chunks_mut(grad_part, chunk * width.max(1), |i, part| {
        for (pixel, part) in part.chunks_exact_mut(width).enumerate() {
            part.copy_from_slice(&grad_output[(i * chunk + pixel) * channels..][..channels][shape.place(k)]);
        }
    });
}
