//! Kernels, blocks and the whole network against PyTorch, on every instruction set of this machine.
//!
//! `cargo test --test goldens -- --nocapture` prints the worst errors. The expected values are in `reference/goldens`, made by
//! `reference/scripts/goldens.py`; inputs and weights are formulas of `osteon_reference::golden`. The metrics are held against
//! scikit-learn's on the predictions of `reference/scripts/check_metrics.py`.

mod compare;
mod metrics;
mod network;
mod operations;
