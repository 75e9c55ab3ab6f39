//! Pictures of another size or at another place: weighted sums along rows and columns.

use crate::image::Image;

/// A picture of another size: area mean where it shrinks, linear interpolation where it grows, a copy where it stays.
pub(super) fn resized(image: &Image, rows: usize, columns: usize) -> Image {
    sample(image, &Taps::resizing(image.rows, rows), &Taps::resizing(image.columns, columns))
}

/// Where the values of one output line come from: value `i` is the sum over `k` of `weights[i * width + k]` times source
/// value `first[i] + k`.
pub(super) struct Taps {
    width: usize,
    first: Vec<usize>,
    weights: Vec<f32>,
}

impl Taps {
    /// From each output value's sources and weights; sources outside `0..length` count nothing.
    fn new(length: usize, sources: impl Iterator<Item = Vec<(i64, f32)>>) -> Self {
        let inside = |(at, weight): &(i64, f32)| *at >= 0 && *at < length as i64 && *weight != 0.0;
        let sources: Vec<Vec<(i64, f32)>> = sources.map(|list| list.into_iter().filter(inside).collect()).collect();
        let width = sources.iter().map(Vec::len).max().unwrap_or(0);
        let mut taps = Taps { width, first: vec![0; sources.len()], weights: vec![0.0; width * sources.len()] };
        for (at, list) in sources.iter().enumerate() {
            // All `width` sources must exist; the surplus ones weigh nothing.
            let first = list.first().map_or(0, |(first, _)| *first as usize).min(length - width);
            taps.first[at] = first;
            list.iter().for_each(|(source, weight)| taps.weights[at * width + *source as usize - first] = *weight);
        }
        taps
    }

    /// Linear interpolation at the coordinates `at` (pixel centres at whole numbers); zero outside.
    pub(super) fn linear(length: usize, at: impl Iterator<Item = f64>) -> Self {
        Taps::new(
            length,
            at.map(|at| {
                let (below, fraction) = (at.floor(), (at - at.floor()) as f32);
                vec![(below as i64, 1.0 - fraction), (below as i64 + 1, fraction)]
            }),
        )
    }

    /// A line of `from` values to one of `to`: area mean, or linear interpolation where it grows.
    fn resizing(from: usize, to: usize) -> Self {
        if to > from {
            let centre = |at: usize| (at as f64 + 0.5) * from as f64 / to as f64 - 0.5;
            return Taps::linear(from, (0..to).map(|at| centre(at).clamp(0.0, from as f64 - 1.0)));
        }
        // In units of 1/to of a source pixel everything is whole: an output pixel covers `start..end`.
        Taps::new(
            from,
            (0..to).map(|at| {
                let (start, end) = (at * from, (at + 1) * from);
                let covered = |source: usize| end.min((source + 1) * to) - start.max(source * to);
                (start / to..end.div_ceil(to)).map(|source| (source as i64, covered(source) as f32 / from as f32)).collect()
            }),
        )
    }

    /// Each output value is its own source value.
    fn is_identity(&self, length: usize) -> bool {
        let own = self.first.iter().enumerate().all(|(at, first)| at == *first);
        own && self.width == 1 && self.first.len() == length && self.weights.iter().all(|weight| *weight == 1.0)
    }
}

/// Weighted sums along columns and rows: a picture of `rows.first.len()` x `columns.first.len()`.
pub(super) fn sample(image: &Image, rows: &Taps, columns: &Taps) -> Image {
    let mut output = Image::zeros(rows.first.len(), columns.first.len());
    if output.pixels.is_empty() || rows.width == 0 || columns.width == 0 {
        return output;
    }
    let copies = columns.is_identity(image.columns);
    let mut line = vec![0f32; image.columns]; // the rows' sum
    let lines = rows.first.iter().zip(rows.weights.chunks_exact(rows.width));
    for ((first, weights), out) in lines.zip(output.pixels.chunks_exact_mut(columns.first.len())) {
        let sum = if copies { &mut *out } else { &mut line[..] };
        sum.fill(0.0);
        for (row, weight) in weights.iter().enumerate() {
            sum.iter_mut().zip(image.row(first + row)).for_each(|(sum, pixel)| *sum += weight * pixel);
        }
        if copies {
            continue;
        }
        for ((first, weights), out) in columns.first.iter().zip(columns.weights.chunks_exact(columns.width)).zip(out) {
            *out = weights.iter().zip(&line[*first..first + columns.width]).map(|(weight, pixel)| weight * pixel).sum();
        }
    }
    output
}
