//! Kernels, blocks and the whole network against PyTorch, on every instruction set of this machine.
//!
//! `cargo test --test goldens -- --nocapture` prints the worst errors. The expected values are in `reference/goldens`, made by
//! `reference/scripts/goldens.py`; inputs and weights are formulas of `osteon_reference::golden`.

mod compare;
mod network;
mod operations;
