//! The bitmaps of LabelMe's `mask` shapes (5.3 and later): a PNG of 0 and 1 in base64 that fills the box of two points, which are the
//! first and the last pixel of it.

use super::{Mask, Point};
use crate::image::Size;
use crate::intake::picture;
use crate::text::counted;
use base64ct::{Base64, Encoding};
use image::{ColorType, ImageFormat, ImageReader, Limits};
use std::io::Cursor;

/// Pixels of all bitmaps of a file together: a hundred of a whole 1024x256 picture have 26 million.
const MAX_BITMAP_PIXELS: usize = 32_000_000;
/// Runs of all bitmaps of a file together: a hundred lesions have 10,000.
const MAX_RUNS: usize = 1_000_000;
/// A corner further from the picture's is no place in one.
const MAX_COORDINATE: f64 = 1e6;

/// Pixels in a box of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Bitmap {
    /// Its first and its last pixel: whole columns and rows, which may lie outside the picture.
    pub(super) corners: [Point; 2],
    /// Its pixels, counted from its first.
    pub(super) mask: Mask,
}

/// What the bitmaps of a file may still have.
pub(super) struct Budget {
    pixels: usize,
    runs: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { pixels: MAX_BITMAP_PIXELS, runs: MAX_RUNS }
    }
}

impl Bitmap {
    /// Reads a shape's points and picture; the error follows "outline N (LABEL)". Points between pixels, as a shape that was moved
    /// has them, count as the pixels that they lie in.
    pub(super) fn decode(
        points: &[Point],
        png: Option<&str>,
        picture: Option<Size>,
        budget: &mut Budget,
    ) -> Result<Bitmap, String> {
        let &[a, b] = points else {
            return Err(format!(
                "is a mask of {}, and it takes the first and the last pixel of its box",
                counted(points.len(), "point")
            ));
        };
        if [a, b].iter().flatten().any(|value| !(-MAX_COORDINATE..=MAX_COORDINATE).contains(value)) {
            return Err(format!("has a coordinate that is no number from -{MAX_COORDINATE} to {MAX_COORDINATE}"));
        }
        let corners = [[a[0].min(b[0]), a[1].min(b[1])], [a[0].max(b[0]), a[1].max(b[1])]].map(|corner| corner.map(f64::floor));
        let bitmap = Bitmap { corners, mask: Mask::default() };
        let (size, most) = (bitmap.size(), picture.unwrap_or(Size { rows: Size::MAX_SIDE, columns: Size::MAX_SIDE }));
        if size.rows > most.rows || size.columns > most.columns {
            let than = if picture.is_some() { "than the picture of" } else { "than" };
            return Err(format!("is a mask in a box of {size} pixels (rows x columns), more {than} {most}"));
        }
        budget.pixels = budget.pixels.checked_sub(size.pixels()).ok_or_else(|| {
            format!("and those before it are masks of more than {MAX_BITMAP_PIXELS} pixels, their boxes taken together")
        })?;
        let png = png.ok_or("is a mask without a picture of it")?;
        let bare: String = png.split_ascii_whitespace().collect();
        let png = Base64::decode_vec(&bare).map_err(|error| format!("is a mask whose picture is no base64 ({error})"))?;
        let pixels = pixels(&png, size)?;
        let mut runs: Vec<[u32; 3]> = Vec::new();
        for (row, pixels) in pixels.chunks_exact(size.columns).enumerate() {
            let mut column = 0;
            for run in pixels.chunk_by(|a, b| (*a == 0) == (*b == 0)) {
                if run[0] != 0 {
                    budget.runs =
                        budget.runs.checked_sub(1).ok_or("and those before it are masks of more pieces than a hand draws")?;
                    runs.push([row as u32, column, run.len() as u32]);
                }
                column += run.len() as u32;
            }
        }
        Ok(Bitmap { mask: Mask::from_runs(runs), ..bitmap })
    }

    /// Rows and columns of its box.
    pub fn size(&self) -> Size {
        let [first, last] = self.corners;
        let side = |axis: usize| (last[axis] - first[axis]) as usize + 1;
        Size { rows: side(1), columns: side(0) }
    }

    /// Column and row of its first pixel.
    pub(super) fn origin(&self) -> [i64; 2] {
        self.corners[0].map(|coordinate| coordinate as i64)
    }

    /// Its picture as LabelMe writes it: an 8-bit PNG of 0 and 1 in base64.
    pub(super) fn encode(&self) -> String {
        let size = self.size();
        let mut pixels = vec![0; size.pixels()];
        self.mask.pixels().for_each(|(row, column)| pixels[row * size.columns + column] = 1);
        Base64::encode_string(&picture::encode_gray8(size.rows, size.columns, &pixels).expect("a byte a pixel of one or more"))
    }
}

/// The pixels of a PNG of this size: 0, and one other value.
fn pixels(png: &[u8], size: Size) -> Result<Vec<u8>, String> {
    let reader = || {
        let mut reader = ImageReader::with_format(Cursor::new(png), ImageFormat::Png);
        let mut limits = Limits::default();
        // Beside the pixels, of eight channels' bytes at most, there is what the decoder works with.
        limits.max_alloc = Some((8 * size.pixels() + (1 << 20)) as u64);
        reader.limits(limits);
        reader
    };
    let damaged = |_| "is a mask whose picture is no whole PNG".to_owned();
    let (columns, rows) = reader().into_dimensions().map_err(damaged)?;
    if (rows as usize, columns as usize) != (size.rows, size.columns) {
        return Err(format!("is a mask of {rows}x{columns} pixels (rows x columns) in a box of {size}"));
    }
    let picture = reader().decode().map_err(damaged)?;
    let grey = picture.color() == ColorType::L8;
    let pixels = picture.into_bytes();
    let highest = pixels.iter().copied().max().unwrap_or(0);
    match grey && [0, 1, 255].contains(&highest) && pixels.iter().all(|&pixel| pixel == 0 || pixel == highest) {
        true => Ok(pixels),
        false => Err("is a mask whose picture is not one of 0 and 1, or of 0 and 255, in one channel of 1 or 8 bits".to_owned()),
    }
}
