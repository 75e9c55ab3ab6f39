//! Where the body is in a view: its level of counts and its critical points.

use super::Image;
use serde::Serialize;

/// The critical points of the body in one view: its outermost rows and columns, all inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Points {
    /// First row (the crown of the head).
    pub ceil: usize,
    /// Last row (the toes).
    pub floor: usize,
    /// First column.
    pub left: usize,
    /// Last column.
    pub right: usize,
}

impl Points {
    /// First and end (one past the last) along `axis`: 0 for rows, 1 for columns.
    pub fn extent(self, axis: usize) -> [f64; 2] {
        let [first, last] = [[self.ceil, self.floor], [self.left, self.right]][axis];
        [first as f64, last as f64 + 1.0]
    }
}

/// The body's critical points (paper: View aggregation, "Pixel aligning"): a horizontal line sweeps down and up, a vertical
/// line from the left and the right, each until it meets the body. `None` where nothing forms a body.
///
/// What counts as body decides how robust this is. A pixel is body where its count, smoothed over a square of 1/50 of the
/// width, reaches `threshold` times the body's level; of the pieces that these pixels form, those below 1/100 of the whole
/// are dropped. So neither a hot pixel nor a spill of the injection beside the arm stops a sweep; a foot or a hand cut off
/// from the body by cold pixels does, being larger.
pub fn critical_points(image: &Image, threshold: f32) -> Option<Points> {
    let level = body_level(&image.pixels)?;
    let smooth = smoothed(image, image.columns / 100);
    let runs = body_runs(&smooth, image.columns, threshold * level);
    runs.into_iter().fold(None, |points: Option<Points>, Run { row, start, end, .. }| {
        let so_far = points.unwrap_or(Points { ceil: row, floor: row, left: start, right: end - 1 });
        Some(Points { floor: row, left: so_far.left.min(start), right: so_far.right.max(end - 1), ..so_far })
    })
}

/// The pixels of the body in a picture where it has at least `least`: those pieces of them that are no noise or spilt activity.
pub fn body_pixels(image: &Image, least: f32) -> Vec<bool> {
    let mut pixels = vec![false; image.pixels.len()];
    for Run { row, start, end, .. } in body_runs(&image.pixels, image.columns, least) {
        pixels[row * image.columns..][start..end].fill(true);
    }
    pixels
}

/// Pieces of the body below this share of it are noise or spilt activity; a hand of a real scan is above.
const SMALL_PIECE: f64 = 0.01;

/// The count of an ordinary body pixel, whatever the activity given and however hot the bladder: the mean of the pixels above
/// the picture's mean, both of counts clamped at the 99th percentile of the positive ones. `None` where no count is positive.
pub fn body_level(pixels: &[f32]) -> Option<f32> {
    let mut positive: Vec<f32> = pixels.iter().copied().filter(|count| *count > 0.0).collect();
    if positive.is_empty() {
        return None;
    }
    let at = (positive.len() - 1) * 99 / 100;
    let top = *positive.select_nth_unstable_by(at, f32::total_cmp).1;
    let mean = pixels.iter().map(|count| count.min(top) as f64).sum::<f64>() / pixels.len() as f64;
    let (mut sum, mut above) = (0.0, 0u32);
    for count in pixels.iter().map(|count| count.min(top) as f64) {
        let counts = count >= mean;
        sum += if counts { count } else { 0.0 };
        above += counts as u32;
    }
    // Rounding may leave nothing above the mean of a picture of one value.
    Some(if above > 0 { sum / above as f64 } else { mean } as f32)
}

/// The mean over the square of `2 * radius + 1` pixels around each pixel; outside the picture there is nothing.
fn smoothed(image: &Image, radius: usize) -> Vec<f32> {
    let (rows, columns) = (image.rows, image.columns);
    let weight = 1.0 / (2 * radius + 1).pow(2) as f64;
    let mut smooth = Vec::with_capacity(rows * columns);
    // Sums over the window's rows, a row entering and a row leaving at a time; then the same along the row.
    let mut line = vec![0f64; columns];
    for row in 0..rows + radius {
        if row < rows {
            line.iter_mut().zip(image.row(row)).for_each(|(sum, count)| *sum += *count as f64);
        }
        if row > 2 * radius {
            line.iter_mut().zip(image.row(row - 2 * radius - 1)).for_each(|(sum, count)| *sum -= *count as f64);
        }
        if row < radius {
            continue;
        }
        let mut sum: f64 = line.iter().take(radius).sum();
        for column in 0..columns {
            sum += line.get(column + radius).unwrap_or(&0.0);
            smooth.push((sum * weight) as f32);
            sum -= column.checked_sub(radius).map_or(0.0, |leaving| line[leaving]);
        }
    }
    smooth
}

/// Neighbouring body pixels of one row, `start..end`.
struct Run {
    row: usize,
    start: usize,
    end: usize,
    /// A run of the same piece that stands before this one, or itself.
    parent: usize,
}

/// The runs of pixels that reach `least`, row after row, without those of pieces (4-connected) below [`SMALL_PIECE`] of all;
/// the largest piece always stays.
fn body_runs(pixels: &[f32], columns: usize, least: f32) -> Vec<Run> {
    fn root(runs: &[Run], mut run: usize) -> usize {
        while runs[run].parent != run {
            run = runs[run].parent;
        }
        run
    }
    let mut runs: Vec<Run> = Vec::new();
    let mut above = 0..0;
    for (row, line) in pixels.chunks_exact(columns).enumerate() {
        let first = runs.len();
        let mut end = 0;
        while let Some(start) = line[end..].iter().position(|pixel| *pixel >= least).map(|at| end + at) {
            end = line[start..].iter().position(|pixel| *pixel < least).map_or(columns, |at| start + at);
            let this = runs.len();
            runs.push(Run { row, start, end, parent: this });
            for other in above.clone() {
                if runs[other].start < end && start < runs[other].end {
                    let (one, two) = (root(&runs, other), root(&runs, this));
                    runs[one.max(two)].parent = one.min(two);
                }
            }
        }
        above = first..runs.len();
    }
    let mut sizes = vec![0; runs.len()]; // of the piece, at its root
    for (at, run) in runs.iter().enumerate() {
        sizes[root(&runs, at)] += run.end - run.start;
    }
    let total: usize = sizes.iter().sum();
    let largest = sizes.iter().copied().max().unwrap_or(0);
    let stays: Vec<bool> = (0..runs.len())
        .map(|at| sizes[root(&runs, at)])
        .map(|size| size == largest || size as f64 >= SMALL_PIECE * total as f64)
        .collect();
    runs.into_iter().zip(stays).filter_map(|(run, stays)| stays.then_some(run)).collect()
}
