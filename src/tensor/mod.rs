//! Dense f32 tensors of up to four dimensions, and the buffers they live in. Activations are (batch, rows, columns, channels).
//!
//! Arithmetic is in the kernels, differentiation in [`autograd`](crate::autograd); a tensor here is only a shape and its values.

mod arena;
mod buffers;
pub mod file;

pub use arena::Buffer;
pub use buffers::Buffers;

use std::fmt;
use std::ops::Deref;

/// Up to four dimensions, slowest first. Derefs to the slice of them; no dimensions is a scalar.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Shape {
    sizes: [usize; 4],
    rank: u8,
}

impl Shape {
    /// Number of values: the product of the sizes, 1 for a scalar.
    #[allow(clippy::len_without_is_empty)] // a shape is not a collection
    pub fn len(&self) -> usize {
        self.iter().product()
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(from: [usize; N]) -> Self {
        const { assert!(N <= 4, "a shape has at most four dimensions") };
        let mut sizes = [0; 4];
        sizes[..N].copy_from_slice(&from);
        Shape { sizes, rank: N as u8 }
    }
}

impl TryFrom<&[usize]> for Shape {
    type Error = ();
    /// Errs where there are more than four dimensions.
    fn try_from(from: &[usize]) -> Result<Self, ()> {
        let mut sizes = [0; 4];
        sizes.get_mut(..from.len()).ok_or(())?.copy_from_slice(from);
        Ok(Shape { sizes, rank: from.len() as u8 })
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.sizes[..usize::from(self.rank)]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.iter().map(usize::to_string).collect();
        write!(f, "({})", sizes.join(", "))
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A shape and its values, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Shape,
    values: Vec<f32>,
}

impl Tensor {
    /// A tensor of these values.
    ///
    /// # Panics
    /// Where their number is not the shape's.
    pub fn new(shape: impl Into<Shape>, values: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(values.len(), shape.len(), "number of values of a tensor {shape}");
        Tensor { shape, values }
    }

    /// A tensor whose values are all `value`.
    pub fn full(shape: impl Into<Shape>, value: f32) -> Self {
        let shape = shape.into();
        Tensor { shape, values: vec![value; shape.len()] }
    }

    /// Its shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Its values.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Its values, to change.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Its values, kept without the shape.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}
