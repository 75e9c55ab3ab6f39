//! Layers: what they compute on the tape, and the names of their parameters, which are torchvision's.

mod attention;
mod block;
mod builder;
mod layers;

#[cfg(test)]
mod tests;

pub use attention::{Attention, AttentionSettings, ChannelAttention, SpatialAttention};
pub use block::{Block, BlockSettings, Placement};
pub use builder::Builder;
pub use layers::{BatchNorm, BiasConv, Conv, Linear, NormSettings};
