//! What the pixels of one view say against its being an upright whole body, hot on dark: black on white, lying, two bodies, none.
//!
//! Each check compares a measure with a threshold. How far phantoms, scans that are no
//! upright body, and the thresholds lie apart is in `benches/NOTES.md`, and the tests hold it.

use crate::image::{Image, body_level, critical_points};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Why the pixels of a view are not those of an upright whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Finding {
    /// Black on white.
    Inverted,
    /// Nothing that forms a body.
    NoBody,
    /// A body or a part of one that is hardly taller than wide.
    NotTall,
    /// The body lies on its side.
    Lying,
    /// The head is at the bottom.
    UpsideDown,
    /// Two bodies, one beside the other.
    SideBySide,
    /// Two bodies, one above the other.
    Stacked,
}

impl Finding {
    /// Every finding.
    pub const ALL: [Finding; 7] = [
        Finding::Inverted,
        Finding::NoBody,
        Finding::NotTall,
        Finding::Lying,
        Finding::UpsideDown,
        Finding::SideBySide,
        Finding::Stacked,
    ];

    /// What is wrong, and why it matters: the part of the sentence behind the file's name.
    pub fn problem(self) -> &'static str {
        match self {
            Finding::Inverted => "is black on white: its border is the brightest part, so the body would be read as a hole",
            Finding::NoBody => "shows no body: nothing in it stands out from the rest as one, so there is nothing to classify",
            Finding::NotTall => {
                "shows no whole body: what is in it is hardly taller than wide, as in a spot view, which no model has learnt"
            }
            Finding::Lying => "lies on its side: its head is not up, as in every scan that a model learns from",
            Finding::UpsideDown => "is turned upside down: its feet are up, as in no scan that a model learns from",
            Finding::SideBySide => "shows two bodies side by side, which would be read as one",
            Finding::Stacked => "shows two bodies, one above the other, which would be read as one",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Finding::Inverted => "say --inverted, or in a manifest write yes in the column inverted",
            Finding::NoBody | Finding::NotTall => "give a planar whole-body scan, or say --any-image",
            Finding::Lying => "turn it by 90 degrees so that the head is up, or say --any-image",
            Finding::UpsideDown => "turn it by 180 degrees, or say --any-image",
            Finding::SideBySide | Finding::Stacked => {
                "cut the picture into its two views and give both as FILE,FILE, or say --any-image"
            }
        }
    }
}

impl fmt::Display for Finding {
    /// The problem and the remedy, without a file's name.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}; {}", self.problem(), self.remedy())
    }
}

/// What speaks against a view's being an upright whole body, hot on dark; `None` where nothing does.
///
/// `pixel_mm` is the height and the width of a pixel in millimetres; without it pixels count as square, and a body that is squashed
/// or stretched is still known by its outline. Some milliseconds for 1024x256 pixels.
pub fn finding(view: &Image, pixel_mm: Option<[f64; 2]>) -> Option<Finding> {
    let view = without_frame(view);
    if border(&view).is_some_and(Border::is_brightest) {
        return Some(Finding::Inverted);
    }
    Measures::of(&view, pixel_mm).map_or(Some(Finding::NoBody), |measures| measures.finding())
}

/// Whether a view is black on white: its border is the brightest part.
pub fn is_inverted(view: &Image) -> bool {
    border(&without_frame(view)).is_some_and(Border::is_brightest)
}

/// A frame drawn around a picture is at most this share of its shorter side wide, and at least a pixel.
const FRAME: usize = 32;
/// The values of a frame differ by less than this share of the picture's, as a JPEG leaves them.
const FRAME_SPREAD: f32 = 0.1;

/// The view without the outermost rows and columns that have one value all around.
fn without_frame(view: &Image) -> Cow<'_, Image> {
    let (rows, columns) = (view.rows, view.columns);
    let most = (rows.min(columns) / FRAME).max(1);
    if rows.min(columns) <= 2 * most || view.pixels.len() != rows * columns {
        return Cow::Borrowed(view);
    }
    let spread = |values: &mut dyn Iterator<Item = f32>| {
        let (low, high) = values.fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(value), high.max(value)));
        high - low
    };
    let allowed = FRAME_SPREAD * spread(&mut view.pixels.iter().copied());
    let ring = |depth: usize| {
        let (left, right) = (depth, columns - 1 - depth);
        let ends = [depth, rows - 1 - depth].into_iter().flat_map(move |row| &view.row(row)[left..=right]);
        let sides = (depth..rows - depth).flat_map(move |row| [&view.row(row)[left], &view.row(row)[right]]);
        ends.chain(sides).copied()
    };
    match (0..most).take_while(|depth| spread(&mut ring(*depth)) <= allowed).count() {
        0 => Cow::Borrowed(view),
        depth => {
            let pixels = (depth..rows - depth).flat_map(|row| &view.row(row)[depth..columns - depth]).copied().collect();
            Cow::Owned(Image { rows: rows - 2 * depth, columns: columns - 2 * depth, pixels })
        }
    }
}

/// The border's level (see [`Border`]) from which a view is black on white.
const INVERTED_LEVEL: f64 = 0.72;
/// The border's excess below which it is not the brightest part: a saturated body that fills its picture.
const INVERTED_EXCESS: f64 = -0.15;

/// How bright the border is, where 0 is the first and 1 the last percentile of the picture's values.
#[derive(Clone, Copy, Debug)]
struct Border {
    /// The median of the border.
    level: f64,
    /// The mean of the border less the mean of what it encloses.
    excess: f64,
}

impl Border {
    fn is_brightest(self) -> bool {
        self.level >= INVERTED_LEVEL && self.excess >= INVERTED_EXCESS
    }
}

/// The border is 1/12 of the shorter side wide, so that a frame drawn around the picture is the smaller part of it. `None` where it
/// encloses nothing, or the picture has one value.
fn border(view: &Image) -> Option<Border> {
    let (rows, columns) = (view.rows, view.columns);
    let width = rows.min(columns).div_ceil(12).max(2);
    if rows.min(columns) <= 2 * width || view.pixels.len() != rows * columns {
        return None;
    }
    let mut sorted = view.pixels.clone();
    let [low, high] = [0.01, 0.99].map(|share| quantile(&mut sorted, share));
    let range = f64::from(high) - f64::from(low);
    if range.is_nan() || range <= 0.0 {
        return None;
    }
    let place = |value: f32| ((f64::from(value) - f64::from(low)) / range).clamp(0.0, 1.0);
    let (mut ring, mut ring_sum, mut inner_sum) = (Vec::new(), 0.0, 0.0);
    for row in 0..rows {
        let line = view.row(row);
        if row < width || row >= rows - width {
            ring.extend_from_slice(line);
            continue;
        }
        ring.extend_from_slice(&line[..width]);
        ring.extend_from_slice(&line[columns - width..]);
        inner_sum += line[width..columns - width].iter().map(|value| place(*value)).sum::<f64>();
    }
    ring_sum += ring.iter().map(|value| place(*value)).sum::<f64>();
    let inner = (rows * columns - ring.len()) as f64;
    let excess = ring_sum / ring.len() as f64 - inner_sum / inner;
    Some(Border { level: place(quantile(&mut ring, 0.5)), excess })
}

/// The value below which `share` of some values lie; their order is changed.
fn quantile(values: &mut [f32], share: f64) -> f32 {
    let at = ((values.len() - 1) as f64 * share) as usize;
    *values.select_nth_unstable_by(at, f32::total_cmp).1
}

/// A pixel is body from this share of the body's level, as in view aggregation.
const BODY: f32 = 0.15;

/// Less unevenness is that of noise, or of a saturated body that fills its picture.
const UNEVEN: f64 = 0.35;
/// The outline and the symmetry left to right, added, of what is no noise, where a picture is as even as noise.
const LIKE_NO_NOISE: f64 = 1.0;
/// The same of a body: headless ones have a poor outline, and turned ones a poor symmetry, neither both.
const LIKE_A_BODY: f64 = 0.55;
/// Less of the box filled are single counts here and there.
const FILLED: f64 = 0.2;
/// The symmetry, left to right or top to bottom, of two bodies one above the other; noise has none.
const SYMMETRIC: f64 = 0.25;
/// A valley between rows of at least this depth parts two bodies; that at the neck or the knees is shallower. A faint waist may be as
/// deep, but with it the outline is that of one whole body, [`WHOLE`].
const STACKED: f64 = 0.45;
/// A valley between columns of at least this depth parts two bodies; that between trunk and arm is shallower.
const SIDE_BY_SIDE: f64 = 0.42;
/// The outline of something like a body, be it without head or feet.
const ALIKE: f64 = 0.45;
/// The outline of a whole body, whatever shape its pixels have.
const WHOLE: f64 = 0.85;
/// The lower end of a whole body, its feet; that of a trunk is broader.
const NARROW_END: f64 = 0.34;
/// A box that is more slender is a body's, be it without head or feet.
const TALL: f64 = 1.7;
/// A box that is less slender is that of a lying body.
const WIDE: f64 = 0.6;
/// A body that is more symmetric top to bottom than left to right, by at least this, lies.
const LYING: f64 = 0.35;
/// An outline that is a whole body's from the bottom, and by how much more than from the top.
const UPENDED: f64 = 0.85;
const UPENDED_BY: f64 = 0.5;

/// Cells of the body's box: rows, columns.
const CELLS: [usize; 2] = [64, 32];

/// Parts of a body's length in [`WHOLE_BODY`].
const PARTS: usize = 16;

/// How much of a body's counts, each pixel's clamped at the body's level, lies in each sixteenth of its length from the crown of the
/// head: the mean of 120 views of phantoms. What is compared is the shape, so the scale is of no account.
const WHOLE_BODY: [f64; PARTS] =
    [0.034, 0.036, 0.073, 0.111, 0.115, 0.109, 0.109, 0.102, 0.077, 0.050, 0.043, 0.040, 0.030, 0.023, 0.026, 0.021];

/// What is measured in a view. Counts are clamped at the body's level first, so that no hot spot decides.
#[derive(Clone, Copy, Debug)]
struct Measures {
    /// How unequal the 16 x 8 parts of the picture are: the standard deviation of their means over the mean. Noise is even.
    unevenness: f64,
    /// The share of the body's box that is body.
    fill: f64,
    /// The height of the body's box over its width, in millimetres.
    slenderness: f64,
    /// Correlation of the box with its mirror image, left and right exchanged.
    left_right: f64,
    /// Correlation of the box with its mirror image, top and bottom exchanged.
    top_bottom: f64,
    /// Correlation of the counts along the box's length with those of a whole body.
    outline: f64,
    /// The counts in the lowest sixteenth of the box over those of the sixteenth with most.
    lower_end: f64,
    /// The outline from the bottom.
    outline_reversed: f64,
    /// The deepest valley between columns of the upper part of the box, see [`valley`].
    between_columns: f64,
    /// The deepest valley between rows of the box.
    between_rows: f64,
}

impl Measures {
    /// `None` where nothing forms a body.
    fn of(view: &Image, pixel_mm: Option<[f64; 2]>) -> Option<Measures> {
        if view.rows == 0 || view.columns == 0 || view.pixels.len() != view.rows * view.columns {
            return None;
        }
        // Below zero where a rescale has made most counts negative.
        let level = body_level(&view.pixels).filter(|level| level.is_finite() && *level > 0.0)?;
        let points = critical_points(view, BODY)?;
        let [rows, columns] = [points.ceil..points.floor + 1, points.left..points.right + 1];
        let pixel_mm = pixel_mm.filter(|sides| sides.iter().all(|side| side.is_finite() && *side > 0.0)).unwrap_or([1.0; 2]);
        let slenderness = rows.len() as f64 * pixel_mm[0] / (columns.len() as f64 * pixel_mm[1]);

        let picture = means(view, [0..view.rows, 0..view.columns], [16, 8], level);
        let mean = picture.iter().sum::<f64>() / picture.len() as f64;
        let variance = picture.iter().map(|part| (part - mean).powi(2)).sum::<f64>() / picture.len() as f64;

        let [high, wide] = CELLS;
        let cells = means(view, [rows, columns], CELLS, level);
        let at = |row: usize, column: usize| cells[row * wide + column];
        let mirrored: Vec<f64> = (0..high * wide).map(|cell| at(cell / wide, wide - 1 - cell % wide)).collect();
        let upended: Vec<f64> = (0..high * wide).map(|cell| at(high - 1 - cell / wide, cell % wide)).collect();
        let along: Vec<f64> = cells.chunks_exact(wide).map(|row| row.iter().sum()).collect();
        // The legs stand beside each other, too: they are below.
        let across: Vec<f64> = (0..wide).map(|column| (0..high * 5 / 8).map(|row| at(row, column)).sum()).collect();
        let mut parts: Vec<f64> = along.chunks_exact(high / PARTS).map(|part| part.iter().sum()).collect();
        let outline = correlation(&parts, &WHOLE_BODY);
        let lower_end = parts[PARTS - 1] / parts.iter().copied().fold(0.0, f64::max);
        parts.reverse();
        Some(Measures {
            unevenness: variance.sqrt() / mean,
            fill: cells.iter().filter(|cell| **cell >= f64::from(BODY * level)).count() as f64 / cells.len() as f64,
            slenderness,
            left_right: correlation(&cells, &mirrored),
            top_bottom: correlation(&cells, &upended),
            outline,
            lower_end,
            outline_reversed: correlation(&parts, &WHOLE_BODY),
            between_columns: valley(&across),
            between_rows: valley(&along),
        })
    }

    fn finding(&self) -> Option<Finding> {
        let whole = self.outline >= WHOLE && self.lower_end <= NARROW_END;
        let symmetric = self.left_right.max(self.top_bottom) >= SYMMETRIC;
        let stacked = self.between_rows >= STACKED && symmetric && self.outline < WHOLE;
        let turned = self.top_bottom - self.left_right >= LYING;
        let upended = self.outline_reversed >= UPENDED && self.outline_reversed - self.outline >= UPENDED_BY;
        let least = if self.unevenness < UNEVEN { LIKE_NO_NOISE } else { LIKE_A_BODY };
        let shapeless = self.outline + self.left_right < least && !(stacked || turned || upended);
        if self.fill < FILLED || shapeless {
            Some(Finding::NoBody)
        } else if stacked {
            Some(Finding::Stacked)
        } else if self.between_columns >= SIDE_BY_SIDE && self.outline >= ALIKE {
            Some(Finding::SideBySide)
        } else if turned || self.slenderness < WIDE && !whole {
            Some(Finding::Lying)
        } else if upended {
            Some(Finding::UpsideDown)
        } else if self.slenderness < TALL && !whole {
            Some(Finding::NotTall)
        } else {
            None
        }
    }
}

/// The least share of the counts on either side of a valley: an arm beside the body has less.
const SMALLER_BODY: f64 = 0.12;
/// A share of the counts that no part of a single body has beside a valley.
const BALANCED: f64 = 0.3;

/// How deep the deepest valley of a profile is: 0 is none, 1 goes down to zero. A valley is a place with at least [`SMALLER_BODY`] of
/// the sum on either side; its depth is measured from the lower of the two peaks beside it, and counts in full where either side has
/// [`BALANCED`] of the sum.
fn valley(profile: &[f64]) -> f64 {
    let sum: f64 = profile.iter().sum();
    let (mut before, mut deepest) = (0.0, 0f64);
    for (at, height) in profile.iter().enumerate() {
        let after = sum - before - height;
        if before.min(after) >= SMALLER_BODY * sum {
            let peak = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
            let shore = peak(&profile[..at]).min(peak(&profile[at + 1..]));
            if shore > 0.0 {
                let balance = (before.min(after) / (BALANCED * sum)).min(1.0);
                deepest = deepest.max(balance * (1.0 - height / shore));
            }
        }
        before += height;
    }
    deepest
}

/// Pearson's; 0 where one of them has one value only.
fn correlation(one: &[f64], other: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (one_mean, other_mean) = (mean(one), mean(other));
    let [mut both, mut one_square, mut other_square] = [0.0; 3];
    for (one, other) in one.iter().zip(other) {
        let (one, other) = (one - one_mean, other - other_mean);
        both += one * other;
        one_square += one * one;
        other_square += other * other;
    }
    let scale = (one_square * other_square).sqrt();
    if scale > 0.0 { both / scale } else { 0.0 }
}

/// The mean count of each of `cells[0]` x `cells[1]` equal parts of the box of rows and columns, row after row, counts clamped at `top`.
fn means(view: &Image, [rows, columns]: [Range<usize>; 2], cells: [usize; 2], top: f32) -> Vec<f64> {
    let area = (rows.len() * columns.len()) as f64 / (cells[0] * cells[1]) as f64;
    let counts = |row: usize| view.row(row)[columns.clone()].iter().map(|count| f64::from(count.clamp(0.0, top)));
    let lines: Vec<Vec<f64>> = rows.map(|row| sums_of_parts(counts(row), cells[1])).collect();
    let mut means = vec![0.0; cells[0] * cells[1]];
    for column in 0..cells[1] {
        for (row, sum) in sums_of_parts(lines.iter().map(|line| line[column]), cells[0]).into_iter().enumerate() {
            means[row * cells[1] + column] = sum / area;
        }
    }
    means
}

/// The sum of each of `parts` equal parts of some values. A value on the border of parts counts for each by its share.
fn sums_of_parts(values: impl ExactSizeIterator<Item = f64>, parts: usize) -> Vec<f64> {
    let scale = parts as f64 / values.len() as f64;
    let mut sums = vec![0.0; parts];
    for (at, value) in values.enumerate() {
        let (first, end) = (at as f64 * scale, (at + 1) as f64 * scale);
        for (part, sum) in sums.iter_mut().enumerate().take(parts.min(end.ceil() as usize)).skip(first as usize) {
            let share = end.min((part + 1) as f64) - first.max(part as f64);
            *sum += value * share.max(0.0) / scale;
        }
    }
    sums
}
