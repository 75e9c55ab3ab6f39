//! The network's input, with what is known of the study behind it.

use super::{CountScale, Measures};
use crate::image::Image;

/// The network's input, and how many counts its values stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// As [`network_input`](super::views::network_input).
    pub image: Image,
    /// Of each value; a level of 0 where there are no counts.
    pub counts: CountScale,
    /// What the study is like that it was made of.
    pub measures: Measures,
}
