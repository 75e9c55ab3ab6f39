//! The size of a picture, written rows x columns everywhere: in arguments, in configuration files, in messages.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Rows and columns in pixels, written `1024x256`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Size {
    /// Height.
    pub rows: usize,
    /// Width.
    pub columns: usize,
}

impl Size {
    /// The largest side: a square of it in f32 is 1 GB.
    pub const MAX_SIDE: usize = 16384;

    /// As `[rows, columns]`.
    pub fn array(self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Number of pixels.
    pub fn pixels(self) -> usize {
        self.rows * self.columns
    }
}

impl From<[usize; 2]> for Size {
    fn from([rows, columns]: [usize; 2]) -> Self {
        Size { rows, columns }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.rows, self.columns)
    }
}

impl From<Size> for String {
    fn from(size: Size) -> String {
        size.to_string()
    }
}

impl TryFrom<String> for Size {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| text.parse().ok().filter(|side| (1..=Size::MAX_SIDE).contains(side));
        text.split_once('x')
            .and_then(|(rows, columns)| Some(Size { rows: side(rows)?, columns: side(columns)? }))
            .ok_or_else(|| format!("`{text}` is no size; write rows x columns, such as 1024x256"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_first() {
        let size: Size = "1024x256".parse().unwrap();
        assert_eq!(size.array(), [1024, 256]);
        assert_eq!(size.to_string(), "1024x256");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "x", "256", "0x5", "5x0", "-1x5", "1024X256", "1024x256x1", "99999x2", "18446744073709551616x1"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
