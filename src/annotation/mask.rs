//! Outlines to pixels, pixels to outlines.
//!
//! The rule: a pixel belongs to an outline if its centre lies inside, by the even-odd rule where a polygon crosses itself. A
//! centre on a left or upper edge is inside, on a right or lower edge outside, so that outlines with a common edge share no
//! pixel. A spot covers the pixel that it lies in.

use super::{Form, Point};
use crate::image::Size;
use std::collections::HashMap;

/// Pixels of a picture, as runs `[row, first column, length]` in the order of rows and columns, none touching another in its row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    runs: Vec<[u32; 3]>,
}

impl Mask {
    /// The pixels of a picture that a form covers. What reaches out of the picture is cut off.
    pub fn of(form: &Form, size: Size) -> Self {
        match form {
            Form::Polygon(corners) => polygon(corners, size),
            &Form::Rectangle([[left, top], [right, bottom]]) => {
                polygon(&[[left, top], [right, top], [right, bottom], [left, bottom]], size)
            }
            &Form::Circle([[x, y], rim]) => {
                let radius = (rim[0] - x).hypot(rim[1] - y);
                let rows = span(y - radius, y + radius, size.rows);
                Mask::from_runs(rows.filter_map(|row| {
                    let down = row as f64 + 0.5 - y;
                    let half = (radius * radius - down * down).max(0.0).sqrt();
                    run(row, span(x - half, x + half, size.columns))
                }))
            }
            &Form::Point([[x, y]]) => {
                let inside = (0.0..size.columns as f64).contains(&x) && (0.0..size.rows as f64).contains(&y);
                Mask::from_runs(inside.then_some([y as u32, x as u32, 1]))
            }
            Form::Mask(bitmap) => bitmap.mask.moved(bitmap.origin(), size),
        }
    }

    /// The same pixels so many columns and rows further, as far as the picture has them.
    pub fn moved(&self, [right, down]: [i64; 2], size: Size) -> Self {
        Mask::from_runs(self.runs.iter().filter_map(|&[row, first, length]| {
            let row = usize::try_from(i64::from(row) + down).ok().filter(|row| *row < size.rows)?;
            let column = |at: i64| at.clamp(0, size.columns as i64) as usize;
            let first = i64::from(first) + right;
            run(row, column(first)..column(first + i64::from(length)))
        }))
    }

    /// How many sides of pixels part it from what is around it.
    pub(super) fn sides(&self) -> usize {
        let below = Mask { runs: self.runs.iter().map(|&[row, first, length]| [row + 1, first, length]).collect() };
        2 * (self.area() + self.runs.len() - self.overlap(&below))
    }

    /// The pixels of runs `[row, first column, length]` in any order, which may overlap.
    pub fn from_runs(runs: impl IntoIterator<Item = [u32; 3]>) -> Self {
        let mut all: Vec<[u32; 3]> = runs.into_iter().filter(|run| run[2] > 0).collect();
        all.sort_unstable();
        let mut runs: Vec<[u32; 3]> = Vec::with_capacity(all.len());
        for [row, first, length] in all {
            match runs.last_mut() {
                Some(last) if last[0] == row && last[1] + last[2] >= first => {
                    last[2] = last[2].max(first + length - last[1]);
                }
                _ => runs.push([row, first, length]),
            }
        }
        Mask { runs }
    }

    /// The pixels of any of the masks.
    pub fn union<'a>(masks: impl IntoIterator<Item = &'a Mask>) -> Self {
        Mask::from_runs(masks.into_iter().flat_map(|mask| mask.runs.iter().copied()))
    }

    /// Runs `[row, first column, length]`.
    pub fn runs(&self) -> &[[u32; 3]] {
        &self.runs
    }

    /// Whether it has no pixel.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The number of pixels.
    pub fn area(&self) -> usize {
        self.runs.iter().map(|run| run[2] as usize).sum()
    }

    /// The pixels as (row, column).
    pub fn pixels(&self) -> impl Iterator<Item = (usize, usize)> {
        let columns = |[row, first, length]: [u32; 3]| (first..first + length).map(move |column| (row as usize, column as usize));
        self.runs.iter().copied().flat_map(columns)
    }

    /// Pixels of both.
    pub fn overlap(&self, other: &Mask) -> usize {
        let mut rows: HashMap<u32, Vec<[u32; 3]>> = HashMap::new();
        other.runs.iter().for_each(|run| rows.entry(run[0]).or_default().push(*run));
        let common = |[_, a, m]: [u32; 3], [_, b, n]: [u32; 3]| (a + m).min(b + n).saturating_sub(a.max(b)) as usize;
        let with = |run: [u32; 3]| rows.get(&run[0]).into_iter().flatten().map(move |other| common(run, *other)).sum::<usize>();
        self.runs.iter().copied().map(with).sum()
    }

    /// The pieces that do not touch, neither side to side nor corner to corner; in the order of their first pixel.
    pub fn pieces(&self) -> Vec<Mask> {
        // Each run knows a run that was before it in its piece, or itself.
        let mut parents: Vec<usize> = (0..self.runs.len()).collect();
        fn root(parents: &mut [usize], mut at: usize) -> usize {
            while parents[at] != at {
                parents[at] = parents[parents[at]];
                at = parents[at];
            }
            at
        }
        let mut above = 0; // the first run of the row above that may still touch
        for at in 0..self.runs.len() {
            let [row, first, length] = self.runs[at];
            while above < at
                && (self.runs[above][0] + 1 < row || {
                    let [other, start, long] = self.runs[above];
                    other + 1 == row && start + long < first
                })
            {
                above += 1;
            }
            for other in (above..at).take_while(|&other| self.runs[other][0] < row && self.runs[other][1] <= first + length) {
                let (a, b) = (root(&mut parents, at), root(&mut parents, other));
                parents[a.max(b)] = a.min(b);
            }
        }
        let mut piece_of: HashMap<usize, usize> = HashMap::new();
        let mut pieces: Vec<Mask> = Vec::new();
        for at in 0..self.runs.len() {
            let piece = *piece_of.entry(root(&mut parents, at)).or_insert(pieces.len());
            if piece == pieces.len() {
                pieces.push(Mask::default());
            }
            pieces[piece].runs.push(self.runs[at]);
        }
        pieces
    }

    /// The edges between its pixels and others, along pixels' sides, each with the inside at its right; as loops of corners.
    fn loops(&self) -> Vec<Vec<[u32; 2]>> {
        // Where each side leads from a corner; two may begin where pixels touch at their corners.
        let mut sides: HashMap<[u32; 2], Vec<[u32; 2]>> = HashMap::new();
        let mut starts = Vec::new();
        let mut add = |from: [u32; 2], to: [u32; 2]| {
            starts.push(from);
            sides.entry(from).or_default().push(to);
        };
        let rows: HashMap<u32, &[[u32; 3]]> = self.runs.chunk_by(|a, b| a[0] == b[0]).map(|runs| (runs[0][0], runs)).collect();
        let inside = |row: Option<u32>, column: u32| {
            let runs = row.and_then(|row| rows.get(&row)).copied().unwrap_or_default();
            let behind = runs.partition_point(|run| run[1] <= column);
            runs[..behind].last().is_some_and(|&[_, first, length]| column < first + length)
        };
        for &[row, first, length] in &self.runs {
            let end = first + length;
            for column in first..end {
                if !inside(row.checked_sub(1), column) {
                    add([column, row], [column + 1, row]);
                }
                if !inside(Some(row + 1), column) {
                    add([column + 1, row + 1], [column, row + 1]);
                }
            }
            add([first, row + 1], [first, row]);
            add([end, row], [end, row + 1]);
        }
        let mut loops = Vec::new();
        for start in starts {
            let mut corners = vec![start];
            let mut at = start;
            while let Some(next) = sides.get_mut(&at).and_then(Vec::pop) {
                corners.push(next);
                at = next;
            }
            if corners.len() > 1 {
                corners.pop(); // it is the first again
                loops.push(without_straight(&corners));
            }
        }
        loops
    }

    /// A polygon a piece that covers exactly its pixels, along their sides. A hole is joined to the rim by a cut of no width,
    /// which the even-odd rule does not see.
    pub fn polygons(&self) -> Vec<Vec<Point>> {
        let polygon = |piece: Mask| {
            let loops = piece.loops();
            let mut corners: Vec<[u32; 2]> = Vec::new();
            for inner in &loops {
                corners.extend(inner);
                corners.push(inner[0]);
            }
            // Back along the cuts.
            corners.extend(loops.iter().rev().skip(1).map(|inner| inner[0]));
            corners.pop(); // a polygon closes itself
            corners.into_iter().map(|corner| corner.map(f64::from)).collect()
        };
        self.pieces().into_iter().map(polygon).collect()
    }
}

/// A closed line without the corners at which it goes straight on.
fn without_straight(corners: &[[u32; 2]]) -> Vec<[u32; 2]> {
    let count = corners.len();
    let turns = |at: usize| {
        let [before, here, after] = [corners[(at + count - 1) % count], corners[at], corners[(at + 1) % count]];
        !(0..2).any(|axis| before[axis] == here[axis] && here[axis] == after[axis])
    };
    (0..count).filter(|&at| turns(at)).map(|at| corners[at]).collect()
}

/// The pixels, of `count` in a line, whose centres lie from `from` up to but not at `to`.
fn span(from: f64, to: f64, count: usize) -> std::ops::Range<usize> {
    // A centre at c + 0.5 is not before `from` where c >= from - 0.5. Casts saturate.
    let first = ((from - 0.5).ceil().max(0.0) as usize).min(count);
    let end = ((to - 0.5).ceil().max(0.0) as usize).min(count);
    first..end.max(first)
}

/// How many rows the sides of a form cross, counted a side: the work of filling it.
pub(super) fn rows_crossed(form: &Form, size: Size) -> usize {
    let rows = |a: &Point, b: &Point| span(a[1].min(b[1]), a[1].max(b[1]), size.rows).len();
    match form {
        Form::Polygon(corners) => (0..corners.len()).map(|at| rows(&corners[at], &corners[(at + 1) % corners.len()])).sum(),
        Form::Rectangle([a, b]) => 2 * rows(a, b),
        Form::Circle(_) => size.rows,
        Form::Point(_) => 1,
        Form::Mask(bitmap) => bitmap.mask.runs().len(),
    }
}

fn run(row: usize, columns: std::ops::Range<usize>) -> Option<[u32; 3]> {
    (!columns.is_empty()).then_some([row as u32, columns.start as u32, columns.len() as u32])
}

/// Scanline fill: of each row the crossings of the line through its centres with the polygon's sides, in order; between the first
/// and the second is inside, and so on.
fn polygon(corners: &[Point], size: Size) -> Mask {
    let mut crossings: Vec<(usize, f64)> = Vec::new();
    for (at, &corner) in corners.iter().enumerate() {
        let next = corners[(at + 1) % corners.len()];
        // From top to bottom, so that a side that is gone along twice is crossed twice at the same point.
        let [[x0, y0], [x1, y1]] = if corner[1] <= next[1] { [corner, next] } else { [next, corner] };
        for row in span(y0, y1, size.rows) {
            crossings.push((row, x0 + (row as f64 + 0.5 - y0) * (x1 - x0) / (y1 - y0)));
        }
    }
    crossings.sort_unstable_by(|(row, x), (other, y)| row.cmp(other).then(x.total_cmp(y)));
    let pairs = crossings.chunk_by(|a, b| a.0 == b.0).flat_map(|row| row.chunks_exact(2));
    Mask::from_runs(pairs.filter_map(|pair| run(pair[0].0, span(pair[0].1, pair[1].1, size.columns))))
}
