//! The register tile: the only place where multiplications of convolutions and products happen.

use crate::simd::{LANES, Simd};

/// Rows of a tile. 6 * 16 is 12 accumulators of 8 lanes; with two for B and one for the broadcast of A that is 15 of the 16
/// vector registers, and 12 independent chains hide the latency of 4 cycles of two FMA pipes (at least 8 are needed).
pub const MR: usize = 6;

/// Rows of a short tile, whose 8 accumulators just hide the latency: 8 or 10 rows take 8 or 10 rows' time, not 12.
pub(crate) const SHORT: usize = 4;

/// How many rows the next tile should have, MR or SHORT, where `left` remain.
pub(crate) fn strip_rows(left: usize) -> usize {
    if left <= SHORT || left == SHORT + 3 || left == 2 * SHORT { SHORT } else { MR }
}

/// Columns of a tile: two vectors.
pub const NR: usize = 2 * LANES;

/// Where the operands of one tile lie: of A, row i, segment s, element p is `a[offsets[i] + s * segment + p * step]`; of B it is
/// the NR values from `s * b_segment + p * NR` on.
///
/// A packed strip of a matrix has one segment and `step` MR; a convolution reads the padded image in place, a segment for each
/// row of its kernel.
pub(crate) struct Strip<'a, const R: usize> {
    pub a: &'a [f32],
    pub offsets: [usize; R],
    pub step: usize,
    pub segments: usize,
    pub length: usize,
    pub segment: usize,
    pub b_segment: usize,
}

/// Where the results of one tile go: row i to the `width` values from `c[rows[i]]` on, for the first `height` rows.
pub(crate) struct Place<const R: usize> {
    pub rows: [usize; R],
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

impl Finish<'_> {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, bias: S::F32, sum: S::F32) -> S::F32 {
        let sum = if self.bias.is_some() { simd.add(sum, bias) } else { sum };
        if self.bias.is_some() && self.relu { simd.max(simd.splat(0.0), sum) } else { sum }
    }
}

/// `C[i][0..width] (+)= sum over s, p of A[i][s][p] * B[s][p][0..width]`.
///
/// Sums run in the order of s and p, one accumulator an element; then `finish`.
#[inline(always)]
pub(crate) fn tile<S: Simd, const R: usize>(
    simd: S,
    strip: &Strip<R>,
    b: &[f32],
    c: &mut [f32],
    place: &Place<R>,
    finish: Finish,
) {
    let Strip { a, offsets, step, segments, length, segment, b_segment } = *strip;
    let (segments_before, length_before) = (segments.max(1) - 1, length.max(1) - 1);
    assert!(segments * length == 0 || segments_before * b_segment + length * NR <= b.len());
    let last = segments_before * segment + length_before * step;
    assert!(offsets.iter().all(|offset| offset + last < a.len()));
    // The sums arrive when the loops are done.
    for i in 0..R {
        simd.prefetch(c.as_ptr().wrapping_add(place.rows[i]));
    }
    let mut sums = [[simd.splat(0.0); 2]; R];
    // SAFETY: the assertions above bound every offset into `a` and `b` that the loops form.
    unsafe {
        let mut b = b.as_ptr();
        let mut rows = offsets.map(|offset| a.as_ptr().add(offset));
        for s in 0..segments {
            let mut p = 0;
            while p + 2 <= length {
                step_of(simd, &rows, p * step, b, &mut sums);
                step_of(simd, &rows, (p + 1) * step, b.add(NR), &mut sums);
                b = b.add(2 * NR);
                p += 2;
            }
            if p < length {
                step_of(simd, &rows, p * step, b, &mut sums);
                b = b.add(NR);
            }
            if s + 1 < segments {
                rows = rows.map(|row| row.add(segment));
                b = b.add(b_segment - length * NR);
            }
        }
    }
    let Place { rows, height, width } = *place;
    let zero = simd.splat(0.0);
    let bias = match finish.bias {
        None => [zero; 2],
        Some(bias) => {
            let (left, right) = bias[..width].split_at(LANES.min(width));
            [simd.load_part(left, 0.0), simd.load_part(right, 0.0)]
        }
    };
    if height == R && width == NR {
        assert!(rows.iter().all(|row| row + NR <= c.len()));
        for i in 0..R {
            // SAFETY: the assertion above.
            unsafe {
                let c = c.as_mut_ptr().add(rows[i]);
                let [mut left, mut right] = sums[i];
                if finish.add {
                    left = simd.add(simd.load_ptr(c), left);
                    right = simd.add(simd.load_ptr(c.add(LANES)), right);
                }
                simd.store_ptr(finish.apply(simd, bias[0], left), c);
                simd.store_ptr(finish.apply(simd, bias[1], right), c.add(LANES));
            }
        }
        return;
    }
    // Through memory: were `sums` indexed by a variable below, the compiler would keep it in memory inside the loops above.
    let mut done = [[0.0; NR]; R];
    for (row, done) in rows.iter().zip(&mut done).take(height).filter(|_| finish.add) {
        done[..width].copy_from_slice(&c[*row..][..width]);
    }
    for i in 0..R {
        for (half, done) in done[i].chunks_exact_mut(LANES).enumerate() {
            let sum = if finish.add { simd.add(simd.load(done), sums[i][half]) } else { sums[i][half] };
            simd.store(finish.apply(simd, bias[half], sum), done);
        }
    }
    for (row, done) in rows.iter().zip(&done).take(height) {
        c[*row..][..width].copy_from_slice(&done[..width]);
    }
}

/// One step of the sums. Two to a turn of the loop above: with 24 instructions a step, its end costs 4 % otherwise.
///
/// # Safety
/// `at` values on from each of `rows` one value must be readable, from `b` on NR.
#[inline(always)]
unsafe fn step_of<S: Simd, const R: usize>(
    simd: S,
    rows: &[*const f32; R],
    at: usize,
    b: *const f32,
    sums: &mut [[S::F32; 2]; R],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let b0 = simd.load_ptr(b);
        let b1 = simd.load_ptr(b.add(LANES));
        for i in 0..R {
            let x = simd.splat(*rows[i].add(at));
            sums[i][0] = simd.mul_add(x, b0, sums[i][0]);
            sums[i][1] = simd.mul_add(x, b1, sums[i][1]);
        }
    }
}

/// Asks for the cache lines of one of `parts` parts of `values`: of the next panel of B, a part with each strip of A, where the
/// panels are too many to stay in the L2 cache.
#[inline(always)]
pub(crate) fn prefetch_part<S: Simd>(simd: S, values: &[f32], [part, parts]: [usize; 2]) {
    let lines = values.len().div_ceil(LINE);
    for line in lines * part / parts..lines * (part + 1) / parts {
        simd.prefetch(values.as_ptr().wrapping_add(line * LINE));
    }
}

/// Values of a cache line.
const LINE: usize = 16;
