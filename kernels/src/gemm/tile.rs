//! The register tile: the only place where multiplications of convolutions and products happen.

use crate::simd::{LANES, Lanes, Simd, copy};

/// Rows of a tile. 6 * 16 is 12 accumulators of 8 lanes; with two for B and one for the broadcast of A that is 15 of the 16
/// vector registers, and 12 independent chains hide the latency of 4 cycles of two FMA pipes (at least 8 are needed).
pub const MR: usize = 6;

/// Rows of a short tile, whose 8 accumulators just hide the latency: 8 or 10 rows take 8 or 10 rows' time, not 12.
pub(crate) const SHORT: usize = 4;

/// Rows of a tall tile, where there are 32 registers of 16 lanes: with two panels 16 accumulators, and as many addresses as the
/// general registers hold.
pub(crate) const TALL: usize = 8;

/// How many rows the next tile should have where `left` remain: TALL (only with vectors of 16 lanes), MR or SHORT.
#[inline(always)]
pub(crate) fn strip_rows<S: Simd>(left: usize) -> usize {
    if left <= SHORT {
        SHORT
    } else if left <= MR {
        MR
    } else if S::Wide::COUNT == NR {
        TALL
    } else if left <= 2 * SHORT {
        SHORT
    } else {
        MR
    }
}

/// Columns of a panel of B: two vectors of eight lanes, or one of sixteen.
pub const NR: usize = 2 * LANES;

/// Columns of the widest tile, two panels.
const WIDE: usize = 2 * NR;

/// How many columns the next tile should have where `left` remain. Of vectors of 16 lanes it takes two panels: then a value of A is
/// loaded once for two products, not for one, and two loads a cycle feed two FMA pipes of 512 bits.
#[inline(always)]
pub(crate) fn strip_columns<S: Simd>(left: usize) -> usize {
    left.min(if S::Wide::COUNT == NR { WIDE } else { NR })
}

/// Where the rows of a tile begin.
pub(crate) trait Rows<const R: usize>: Copy {
    /// The beginning of row i.
    fn at(self, i: usize) -> usize;
    /// The largest of all.
    fn last(self) -> usize;
}

/// Anywhere.
impl<const R: usize> Rows<R> for [usize; R] {
    #[inline(always)]
    fn at(self, i: usize) -> usize {
        self[i]
    }
    #[inline(always)]
    fn last(self) -> usize {
        let mut last = 0;
        for row in self {
            last = row.max(last);
        }
        last
    }
}

/// Evenly, `step` apart: the addresses of all rows then are reckoned from a few.
#[derive(Clone, Copy)]
pub(crate) struct Every {
    pub first: usize,
    pub step: usize,
}

impl<const R: usize> Rows<R> for Every {
    #[inline(always)]
    fn at(self, i: usize) -> usize {
        self.first + i * self.step
    }
    #[inline(always)]
    fn last(self) -> usize {
        self.first.checked_add((R - 1).checked_mul(self.step).expect("rows of a tile")).expect("rows of a tile")
    }
}

/// Where the operands of one tile lie: of A, row i, segment s, element p is `a[rows.at(i) + s * segment + p * step]`; of B it is
/// the NR values from `s * b_segment + p * NR` on, and where the tile has two panels those `b_panel` further on.
///
/// A packed strip of a matrix has one segment and `step` MR; a convolution reads the padded image in place, a segment for each
/// row of its kernel.
pub(crate) struct Strip<'a, A> {
    pub a: &'a [f32],
    pub rows: A,
    pub step: usize,
    pub segments: usize,
    pub length: usize,
    pub segment: usize,
    pub b_segment: usize,
    pub b_panel: usize,
    pub prefetch: Prefetch<'a>,
}

/// What the tile prefetches while it computes, for those after it: of each slice one cache line with each step of the sums. All at once
/// they would fill the core's few slots for misses, and the products would wait.
pub(crate) type Prefetch<'a> = [&'a [f32]; 2];

/// No prefetch.
pub(crate) const NO_PREFETCH: Prefetch = [&[]; 2];

/// Part `part` of `parts` of what several tiles prefetch.
pub(crate) fn part_of(values: &[f32], [part, parts]: [usize; 2]) -> &[f32] {
    let lines = values.len().div_ceil(LINE);
    let at = |part: usize| values.len().min(lines * part / parts.max(1) * LINE);
    &values[at(part)..at(part + 1)]
}

/// Where the results of one tile go: row i to the `width` values from `c[rows.at(i)]` on, for the first `height` rows. The width is at
/// most that of [`strip_columns`].
pub(crate) struct Place<C> {
    pub rows: C,
    pub height: usize,
    pub width: usize,
}

/// What becomes of the sums before they are written.
#[derive(Clone, Copy, Default)]
pub(crate) struct Finish<'a> {
    /// They continue the sums that C holds.
    pub add: bool,
    /// They are the last: a value for each column of the tile joins them.
    pub bias: Option<&'a [f32]>,
    /// With a bias: the larger of each and 0; NaN stays NaN.
    pub relu: bool,
}

/// `C[i][0..width] (+)= sum over s, p of A[i][s][p] * B[s][p][0..width]`.
///
/// Sums run in the order of s and p, one accumulator an element; then `finish`.
#[inline(always)]
pub(crate) fn tile<S: Simd, const R: usize>(
    simd: S,
    strip: &Strip<impl Rows<R>>,
    b: &[f32],
    c: &mut [f32],
    place: &Place<impl Rows<R>>,
    finish: Finish,
) {
    match S::Wide::COUNT {
        NR if place.width > NR => tile_of::<_, 2, R>(simd.wide(), strip, b, c, place, finish),
        NR => tile_of::<_, 1, R>(simd.wide(), strip, b, c, place, finish),
        _ => tile_of::<_, 2, R>(simd, strip, b, c, place, finish),
    }
}

/// Prefetches the sums that a tile of R rows will continue, where they are not in the nearest cache.
#[inline(always)]
pub(crate) fn prefetch_sums<S: Simd, const R: usize>(simd: S, c: &[f32], place: &Place<impl Rows<R>>) {
    for i in 0..place.height.min(R) {
        let row = c.as_ptr().wrapping_add(place.rows.at(i));
        simd.prefetch(row);
        simd.prefetch(row.wrapping_add(place.width.saturating_sub(1)));
    }
}

/// [`tile`] with V vectors a row: of one panel, or of two.
#[inline(always)]
fn tile_of<W: Lanes, const V: usize, const R: usize>(
    simd: W,
    strip: &Strip<impl Rows<R>>,
    b: &[f32],
    c: &mut [f32],
    place: &Place<impl Rows<R>>,
    finish: Finish,
) {
    assert!(V * W::COUNT == NR || V * W::COUNT == WIDE);
    let columns = V * W::COUNT;
    let Strip { a, rows, step, segments, length, segment, b_segment, b_panel, prefetch } = *strip;
    let (segments_before, length_before) = (segments.max(1) - 1, length.max(1) - 1);
    let last_panel = if columns > NR { b_panel } else { 0 };
    assert!(segments * length == 0 || last_panel + segments_before * b_segment + length * NR <= b.len());
    let last = segments_before * segment + length_before * step;
    assert!(rows.last() + last < a.len());
    let mut sums = [[simd.splat(0.0); V]; R];
    // SAFETY: the assertions above bound every offset into `a` and `b` that the loops form.
    unsafe {
        let mut b = b.as_ptr();
        let start = rows;
        let mut rows = [a.as_ptr(); R];
        for i in 0..R {
            rows[i] = a.as_ptr().add(start.at(i));
        }
        for s in 0..segments {
            let mut prefetch = prefetch;
            for values in &mut prefetch {
                *values = values.get(s * length * LINE..).unwrap_or_default();
            }
            let mut p = 0;
            while p + 2 <= length {
                step_of(simd, &rows, p * step, b, b_panel, &mut sums);
                step_of(simd, &rows, (p + 1) * step, b.add(NR), b_panel, &mut sums);
                // A loop by value, with no counter but `p`, keeps the sums in registers.
                for prefetch in prefetch {
                    if p * LINE < prefetch.len() {
                        simd.prefetch(prefetch.as_ptr().wrapping_add(p * LINE));
                        simd.prefetch(prefetch.as_ptr().wrapping_add((p + 1) * LINE));
                    }
                }
                b = b.add(2 * NR);
                p += 2;
            }
            if p < length {
                step_of(simd, &rows, p * step, b, b_panel, &mut sums);
                b = b.add(NR);
            }
            if s + 1 < segments {
                for i in 0..R {
                    rows[i] = rows[i].add(segment);
                }
                b = b.add(b_segment - length * NR);
            }
        }
    }
    let Place { rows, height, width } = *place;
    let mut bias = [0.0; WIDE];
    if let Some(values) = finish.bias {
        copy(&values[..width], &mut bias[..width]);
    }
    let mut bias_vectors = [simd.splat(0.0); V];
    for v in 0..V {
        // SAFETY: V vectors are at most WIDE values.
        bias_vectors[v] = unsafe { simd.load_ptr(bias.as_ptr().add(v * W::COUNT)) };
    }
    if height == R && width == columns {
        assert!(rows.last() + columns <= c.len());
        let c = c.as_mut_ptr();
        let mut targets = [c; R];
        // SAFETY: the assertion above.
        unsafe {
            for i in 0..R {
                targets[i] = c.add(rows.at(i));
            }
            finish_rows(simd, sums, bias_vectors, finish, targets);
        }
        return;
    }
    let mut done = [[0.0; WIDE]; R];
    if finish.add {
        for i in 0..height {
            copy(&c[rows.at(i)..][..width], &mut done[i][..width]);
        }
    }
    let mut targets = [std::ptr::null_mut(); R];
    for i in 0..R {
        targets[i] = done[i].as_mut_ptr();
    }
    // SAFETY: a row of `done` has WIDE values.
    unsafe { finish_rows(simd, sums, bias_vectors, finish, targets) };
    for i in 0..height {
        copy(&done[i][..width], &mut c[rows.at(i)..][..width]);
    }
}

/// Writes the sums to `rows`. Loops this short are unrolled: were `sums` indexed by a variable, the compiler would keep it in memory,
/// also where it adds the products, which then take twice as long.
///
/// # Safety
/// V vectors can be read and written at each of `rows`.
#[inline(always)]
unsafe fn finish_rows<W: Lanes, const V: usize, const R: usize>(
    simd: W,
    mut sums: [[W::F32; V]; R],
    bias: [W::F32; V],
    finish: Finish,
    rows: [*mut f32; R],
) {
    if finish.add {
        for i in 0..R {
            for v in 0..V {
                // SAFETY (here and below): the caller's promise.
                sums[i][v] = simd.add(unsafe { simd.load_ptr(rows[i].add(v * W::COUNT)) }, sums[i][v]);
            }
        }
    }
    if finish.bias.is_some() {
        for i in 0..R {
            for v in 0..V {
                sums[i][v] = simd.add(sums[i][v], bias[v]);
            }
        }
        if finish.relu {
            let zero = simd.splat(0.0);
            for i in 0..R {
                for v in 0..V {
                    sums[i][v] = simd.max(zero, sums[i][v]);
                }
            }
        }
    }
    for i in 0..R {
        for v in 0..V {
            unsafe { simd.store_ptr(sums[i][v], rows[i].add(v * W::COUNT)) };
        }
    }
}

/// One step of the sums. The loop above takes two a turn, so that its end counts little beside their 24 instructions each.
///
/// # Safety
/// `at` values on from each of `rows` one value must be readable, from `b` on NR, and `b_panel` further on where V vectors are more.
#[inline(always)]
unsafe fn step_of<W: Lanes, const V: usize, const R: usize>(
    simd: W,
    rows: &[*const f32; R],
    at: usize,
    b: *const f32,
    b_panel: usize,
    sums: &mut [[W::F32; V]; R],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut columns = [simd.splat(0.0); V];
        for v in 0..V {
            let column = v * W::COUNT;
            columns[v] = simd.load_ptr(b.add(column / NR * b_panel + column % NR));
        }
        for i in 0..R {
            let x = simd.splat(*rows[i].add(at));
            for v in 0..V {
                sums[i][v] = simd.mul_add(x, columns[v], sums[i][v]);
            }
        }
    }
}

/// Values of a cache line.
const LINE: usize = 16;
