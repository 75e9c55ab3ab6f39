//! The kernels once more, as plain f64 loops: slow, obvious, and what the fast ones are compared with.

pub mod adam;
pub mod adaptive;
pub mod attention;
pub mod bias;
pub mod concat;
pub mod conv;
pub mod dropout;
pub mod elementwise;
pub mod gemm;
pub mod golden;
pub mod linear;
pub mod norm;
pub mod pool;
pub mod reduce;
pub mod softmax;
