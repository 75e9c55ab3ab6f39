//! Multiplication with the constant matrices, in both directions of a square of vectors.

use super::grid::TILE;
use crate::simd::{Lanes, Simd};
use std::hint::black_box;

/// Side of the window under a tile, of stride 1.
const WINDOW: usize = TILE + 2;

/// B' d of one column of a window.
#[derive(Clone, Copy)]
pub(super) struct WindowTransform;
impl Transform<WINDOW, WINDOW> for WindowTransform {
    #[inline(always)]
    fn apply<S: Lanes>(self, simd: S, d: [S::F32; WINDOW]) -> [S::F32; WINDOW] {
        let [two, four, five] = [simd.splat(2.0), simd.splat(4.0), simd.splat(-5.0)];
        let negative_four = simd.splat(-4.0);
        let (a, b) = (simd.mul_add(negative_four, d[2], d[4]), simd.mul_add(negative_four, d[1], d[3]));
        let (c, e) = (simd.sub(d[4], d[2]), simd.mul(two, simd.sub(d[3], d[1])));
        [
            simd.mul_add(four, d[0], simd.mul_add(five, d[2], d[4])),
            simd.add(a, b),
            simd.sub(a, b),
            simd.add(c, e),
            simd.sub(c, e),
            simd.mul_add(four, d[1], simd.mul_add(five, d[3], d[5])),
        ]
    }
}

/// A' m of one column of products.
#[derive(Clone, Copy)]
pub(super) struct OutputTransform<const RELU: bool, const ADD: bool>;
impl<const RELU: bool, const ADD: bool> Transform<WINDOW, TILE> for OutputTransform<RELU, ADD> {
    const ADDS: bool = ADD;

    #[inline(always)]
    fn apply<S: Lanes>(self, simd: S, m: [S::F32; WINDOW]) -> [S::F32; TILE] {
        let [two, four, eight] = [simd.splat(2.0), simd.splat(4.0), simd.splat(8.0)];
        let (s, d) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
        let (s2, d2) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
        [
            simd.add(simd.add(m[0], s), s2),
            simd.mul_add(two, d2, d),
            simd.mul_add(four, s2, s),
            simd.add(simd.mul_add(eight, d2, d), m[5]),
        ]
    }

    #[inline(always)]
    fn finish<S: Lanes>(self, simd: S, y: S::F32) -> S::F32 {
        if RELU { simd.max(simd.splat(0.0), y) } else { y }
    }
}

/// A y of one column of a tile.
#[derive(Clone, Copy)]
pub(super) struct GradientTransform;
impl Transform<TILE, WINDOW> for GradientTransform {
    #[inline(always)]
    fn apply<S: Lanes>(self, simd: S, y: [S::F32; TILE]) -> [S::F32; WINDOW] {
        let [two, four, eight] = [simd.splat(2.0), simd.splat(4.0), simd.splat(8.0)];
        let (even, odd) = (simd.add(y[0], y[2]), simd.add(y[1], y[3]));
        let (even2, odd2) = (simd.mul_add(four, y[2], y[0]), simd.mul_add(eight, y[3], simd.mul(two, y[1])));
        [y[0], simd.add(even, odd), simd.sub(even, odd), simd.add(even2, odd2), simd.sub(even2, odd2), y[3]]
    }
}

/// G g of one column of a kernel.
#[derive(Clone, Copy)]
pub(super) struct KernelTransform;
impl Transform<3, WINDOW> for KernelTransform {
    #[inline(always)]
    fn apply<S: Lanes>(self, simd: S, g: [S::F32; 3]) -> [S::F32; WINDOW] {
        let [quarter, sixth, twelfth, last] =
            [simd.splat(1.0 / 4.0), simd.splat(1.0 / 6.0), simd.splat(1.0 / 12.0), simd.splat(1.0 / 24.0)];
        let (a, b) = (simd.mul(sixth, simd.add(g[0], g[2])), simd.mul(sixth, g[1]));
        let (c, d) = (simd.mul_add(last, g[0], simd.mul(sixth, g[2])), simd.mul(twelfth, g[1]));
        let zero = simd.splat(0.0);
        [simd.mul(quarter, g[0]), simd.sub(zero, simd.add(a, b)), simd.sub(b, a), simd.add(c, d), simd.sub(c, d), g[2]]
    }
}

/// G' m of one column of sums.
#[derive(Clone, Copy)]
pub(super) struct WeightTransform;
impl Transform<WINDOW, 3> for WeightTransform {
    #[inline(always)]
    fn apply<S: Lanes>(self, simd: S, m: [S::F32; WINDOW]) -> [S::F32; 3] {
        let [quarter, sixth, twelfth, last] =
            [simd.splat(1.0 / 4.0), simd.splat(1.0 / 6.0), simd.splat(1.0 / 12.0), simd.splat(1.0 / 24.0)];
        let (s, d) = (simd.mul(sixth, simd.add(m[1], m[2])), simd.sub(m[2], m[1]));
        let (s2, d2) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
        [
            simd.mul_add(quarter, m[0], simd.mul_add(last, s2, simd.sub(simd.splat(0.0), s))),
            simd.mul_add(sixth, d, simd.mul(twelfth, d2)),
            simd.add(simd.mul_add(sixth, s2, simd.sub(simd.splat(0.0), s)), m[5]),
        ]
    }
}

/// Side of the window under a tile, of stride 2.
const STRIDED: usize = 2 * TILE + 1;

/// B' d of one column of a window, of stride 2: five values of its even rows, of which the first and the last kernel row make
/// outputs as F(4, 2) does with the points 0, 1, -1, 2 and infinity; then its odd rows, which the middle kernel row meets.
#[derive(Clone, Copy)]
pub(super) struct StridedWindow;
impl Transform<STRIDED, STRIDED> for StridedWindow {
    #[inline(always)]
    fn apply<S: Lanes>(self, simd: S, d: [S::F32; STRIDED]) -> [S::F32; STRIDED] {
        let two = simd.splat(2.0);
        let [a, b, c] = [simd.sub(d[6], d[2]), simd.sub(d[6], d[4]), simd.sub(d[2], d[4])];
        // d6 - d4 - 2 d2; d6 - 3 d4 + 2 d2; d8 - 2 d6 - d4 + 2 d2
        let last = simd.sub(simd.sub(d[8], d[4]), simd.mul(two, a));
        [
            simd.add(simd.mul(two, simd.sub(d[0], d[4])), a),
            simd.sub(b, simd.mul(two, d[2])),
            simd.mul_add(two, c, b),
            a,
            last,
            d[1],
            d[3],
            d[5],
            d[7],
        ]
    }
}

/// A' m of one column of products, of stride 2.
#[derive(Clone, Copy)]
pub(super) struct StridedOutput<const RELU: bool>;
impl<const RELU: bool> Transform<STRIDED, TILE> for StridedOutput<RELU> {
    #[inline(always)]
    fn apply<S: Lanes>(self, simd: S, m: [S::F32; STRIDED]) -> [S::F32; TILE] {
        let [two, four, eight] = [simd.splat(2.0), simd.splat(4.0), simd.splat(8.0)];
        let (s, d) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
        [
            simd.add(simd.add(simd.add(m[0], s), m[3]), m[5]),
            simd.add(simd.mul_add(two, m[3], d), m[6]),
            simd.add(simd.mul_add(four, m[3], s), m[7]),
            simd.add(simd.mul_add(eight, m[3], d), simd.add(m[4], m[8])),
        ]
    }

    #[inline(always)]
    fn finish<S: Lanes>(self, simd: S, y: S::F32) -> S::F32 {
        if RELU { simd.max(simd.splat(0.0), y) } else { y }
    }
}

/// G g of one column of a kernel, of stride 2.
#[derive(Clone, Copy)]
pub(super) struct StridedKernel;
impl Transform<3, STRIDED> for StridedKernel {
    #[inline(always)]
    fn apply<S: Lanes>(self, simd: S, g: [S::F32; 3]) -> [S::F32; STRIDED] {
        let [half, sixth] = [simd.splat(1.0 / 2.0), simd.splat(1.0 / 6.0)];
        let (first, last) = (simd.mul(half, g[0]), simd.mul(half, g[2]));
        let zero = simd.splat(0.0);
        [
            first,
            simd.sub(zero, simd.add(first, last)),
            simd.mul(sixth, simd.sub(g[2], g[0])),
            simd.mul(sixth, simd.add(g[0], simd.add(g[2], g[2]))),
            g[2],
            g[1],
            g[1],
            g[1],
            g[1],
        ]
    }
}

/// L: multiplies a column of N vectors to M. A trait, and loops below, because a closure would lose the instruction set.
pub(super) trait Transform<const N: usize, const M: usize>: Copy + Sync {
    /// Whether the results are added to what is there.
    const ADDS: bool = false;

    fn apply<S: Lanes>(self, simd: S, column: [S::F32; N]) -> [S::F32; M];

    /// What happens to each value of the result before it is stored.
    #[inline(always)]
    fn finish<S: Lanes>(self, _: S, value: S::F32) -> S::F32 {
        value
    }
}

/// Where a square of runs of `len` values lies in a slice: the one at (i, j) begins at `first + i * row + j * column`.
#[derive(Clone, Copy)]
pub(super) struct Square {
    pub first: usize,
    pub row: usize,
    pub column: usize,
}

impl Square {
    /// Runs of `len` values one after the other, `side` of them a row.
    pub fn dense(side: usize, len: usize) -> Self {
        Square { first: 0, row: side * len, column: len }
    }

    /// The end of the last run of a square of `side`.
    fn end(self, side: usize, len: usize) -> usize {
        self.first + (side - 1) * (self.row + self.column) + len
    }
}

/// Overwrites the M x M runs of `target`, or adds to them, with `L x L'` of the N x N runs of `source`, all of `len` values, value by
/// value.
#[inline(always)]
pub(super) fn both_ways<S: Simd, T: Transform<N, M>, const N: usize, const M: usize>(
    simd: S,
    transform: T,
    len: usize,
    source: (&[f32], Square),
    target: (&mut [f32], Square),
) {
    if len.is_multiple_of(<S::Wide as Lanes>::COUNT) {
        both_ways_by(simd.wide(), transform, len, source, target);
    } else {
        both_ways_by(simd, transform, len, source, target);
    }
}

#[inline(always)]
fn both_ways_by<W: Lanes, T: Transform<N, M>, const N: usize, const M: usize>(
    simd: W,
    transform: T,
    len: usize,
    (source, from): (&[f32], Square),
    (target, to): (&mut [f32], Square),
) {
    assert!(len.is_multiple_of(W::COUNT) && from.end(N, len) <= source.len() && to.end(M, len) <= target.len());
    let zero = simd.splat(0.0);
    for start in (0..len).step_by(W::COUNT) {
        // Were the compiler to see that the strides are the same in each turn, it would keep the N * N + M * M offsets in
        // memory, for want of registers, and spend more on reading them than on an addition each.
        let (from, to) = (black_box(from), black_box(to));
        // SAFETY (here and below): start + LANES is at most `len`, so each vector lies in a run, which the assertion found in
        // `source` or `target`.
        let mut column = unsafe { source.as_ptr().add(from.first + start) };
        let mut half = [[zero; N]; M]; // L x
        for j in 0..N {
            let mut x = [zero; N];
            let mut pointer = column;
            for x in &mut x {
                *x = unsafe { simd.load_ptr(pointer) };
                pointer = pointer.wrapping_add(from.row);
            }
            column = column.wrapping_add(from.column);
            let done = transform.apply(simd, x);
            for i in 0..M {
                half[i][j] = done[i];
            }
        }
        let mut row = unsafe { target.as_mut_ptr().add(to.first + start) };
        for half in &half {
            let mut pointer = row;
            for done in transform.apply(simd, *half) {
                let mut value = transform.finish(simd, done);
                if T::ADDS {
                    value = simd.add(unsafe { simd.load_ptr(pointer) }, value);
                }
                unsafe { simd.store_ptr(value, pointer) };
                pointer = pointer.wrapping_add(to.column);
            }
            row = row.wrapping_add(to.row);
        }
    }
}
