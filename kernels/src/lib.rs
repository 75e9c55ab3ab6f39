//! The arithmetic of Osteon on plain slices.
//!
//! A kernel takes slices, a small shape struct, and scratch whose length its `scratch_len` gives. It asserts lengths at entry,
//! allocates nothing, and gives the same bits for any number of threads. Activations are NHWC. The first argument of each
//! kernel is the instruction set, an [`Isa`](simd::Isa): each body is written once against the trait [`Simd`](simd::Simd).

// Loops by an index below a function with target features: the standard library's adaptors may not be inlined there (`simd`).
#![allow(clippy::needless_range_loop)]

pub mod adam;
pub mod adaptive;
pub mod attention;
pub mod bias;
pub mod concat;
pub mod conv;
pub mod dropout;
pub mod elementwise;
pub mod gemm;
pub mod linear;
pub mod norm;
pub mod par;
pub mod peak;
pub mod pool;
pub mod reduce;
pub mod simd;
pub mod softmax;
