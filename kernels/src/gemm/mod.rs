//! Matrix product. The loops carry the names of the BLIS papers (Van Zee and van de Geijn, BLIS, ACM TOMS 41, 2015): loop 4
//! walks over k in blocks of KC, loop 3 over m in blocks of MC, loop 2 over panels of NR columns, loop 1 over strips of MR rows.
//!
//! The product is built of `tile`, the register tile, and so are the convolutions; but they have loops of their own and use nothing else of
//! [`gemm`]. It is the tile's yardstick: the tests and `benches/gemm.rs` hold it beside other implementations. Its speed is not that of
//! the network, and the linear layers do not use it, for their sums have another order.

mod tile;

pub(crate) use tile::{
    Every, Finish, NO_PREFETCH, Place, Prefetch, SHORT, Strip, TALL, part_of, prefetch_sums, strip_columns, strip_rows, tile,
};
pub use tile::{MR, NR};

use crate::par::{self, WorkerScratch};
use crate::simd::{Body, Isa, Simd};

/// Depth of a block: a panel of B is 384 * 16 * 4 = 24 KB of a 32 KB L1 cache and leaves room for a strip of A.
pub const KC: usize = 384;

/// Rows of A that one task packs: 96 * 384 * 4 = 147 KB of a 512 KB L2 cache. A multiple of MR.
const MC: usize = 96;

/// Values of B that stay in an L2 cache of 512 KB beside the rows of A.
const IN_CACHE: usize = 64 << 10;

/// C (m, n) = op(A) (m, k) * op(B) (k, n), all row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GemmShape {
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Length of each sum.
    pub k: usize,
    /// A is stored as (k, m).
    pub transpose_a: bool,
    /// B is stored as (n, k).
    pub transpose_b: bool,
}

impl GemmShape {
    /// Multiplications and additions.
    pub fn flops(&self) -> u64 {
        2 * (self.m * self.n * self.k) as u64
    }
}

/// Length of the scratch that [`gemm`] needs in the current thread pool.
pub fn scratch_len(shape: GemmShape) -> usize {
    shape.k * shape.n.next_multiple_of(NR) + par::workers() * MC * KC
}

/// Overwrites `c` with op(A) op(B).
pub fn gemm(isa: Isa, shape: GemmShape, a: &[f32], b: &[f32], c: &mut [f32], scratch: &mut [f32]) {
    let GemmShape { m, n, k, transpose_a, transpose_b } = shape;
    assert_eq!(a.len(), m * k, "gemm: length of A");
    assert_eq!(b.len(), k * n, "gemm: length of B");
    assert_eq!(c.len(), m * n, "gemm: length of C");
    if c.is_empty() {
        return;
    }
    if k == 0 {
        c.fill(0.0);
        return;
    }
    let columns = n.next_multiple_of(NR);
    let (packed_b, scratch) = scratch.split_at_mut(k * columns);
    // A block of packed B is (panels, depth, NR).
    par::chunks_mut(packed_b, KC * columns, |block, packed| {
        let depth = packed.len() / columns;
        for (panel, packed) in packed.chunks_exact_mut(depth * NR).enumerate() {
            let width = NR.min(n - panel * NR);
            for (p, row) in packed.chunks_exact_mut(NR).enumerate() {
                let p = block * KC + p;
                if transpose_b {
                    (0..width).for_each(|j| row[j] = b[(panel * NR + j) * k + p]);
                } else if width == NR {
                    // A length that the compiler knows, and so no call.
                    row.copy_from_slice(&b[p * n + panel * NR..][..NR]);
                } else {
                    row[..width].copy_from_slice(&b[p * n + panel * NR..][..width]);
                }
                row[width..].fill(0.0);
            }
        }
    });
    let workers = WorkerScratch::new(scratch, MC * KC);
    // Loop 3: each task owns MC rows of C.
    par::chunks_mut(c, MC * n, |task, c| {
        workers.with(|packed_a| {
            isa.run(Rows { n, k, m, row: task * MC, transpose_a, a, packed_a, packed_b, c });
        });
    });
}

struct Rows<'a> {
    m: usize,
    n: usize,
    k: usize,
    row: usize, // first row of C that `c` holds
    transpose_a: bool,
    a: &'a [f32],
    packed_a: &'a mut [f32], // (strips, depth, MR)
    packed_b: &'a [f32],     // (blocks, panels, depth, NR)
    c: &'a mut [f32],        // (rows, n)
}

/// A strip of `depth` columns of packed A, and B's panels one after the other.
fn packed_strip<'a>(a: &'a [f32], depth: usize, prefetch: Prefetch<'a>) -> Strip<'a, Every> {
    let rows = Every { first: 0, step: 1 };
    Strip { a, rows, step: MR, segments: 1, length: depth, segment: 0, b_segment: 0, b_panel: depth * NR, prefetch }
}

impl Body for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Rows { m, n, k, row, transpose_a, a, packed_a, packed_b, c } = self;
        let rows = c.len() / n;
        let columns = n.next_multiple_of(NR);
        // Loop 4.
        for first in (0..k).step_by(KC) {
            let depth = KC.min(k - first);
            for (strip, packed) in packed_a.chunks_exact_mut(depth * MR).take(rows.div_ceil(MR)).enumerate() {
                let height = MR.min(rows - strip * MR);
                for (p, column) in packed.chunks_exact_mut(MR).enumerate() {
                    for (i, value) in column.iter_mut().enumerate() {
                        let (i, p) = (row + strip * MR + i.min(height - 1), first + p);
                        *value = if transpose_a { a[p * m + i] } else { a[i * k + p] };
                    }
                }
            }
            let block = &packed_b[first * columns..][..depth * columns];
            // Loop 2.
            let mut column = 0;
            while column < n {
                let width = strip_columns::<S>(n - column);
                let (b, next) = block[column * depth..].split_at(width.next_multiple_of(NR) * depth);
                // The next panels, where the block is too large for all of it to stay in the L2 cache.
                let next = if block.len() > IN_CACHE { &next[..next.len().min(b.len())] } else { &[] };
                let strips = rows.div_ceil(MR);
                // Loop 1.
                for (strip, a) in packed_a.chunks_exact(depth * MR).take(strips).enumerate() {
                    let row = strip * MR;
                    let place = Place { rows: Every { first: row * n + column, step: n }, height: MR.min(rows - row), width };
                    let a = packed_strip(a, depth, [part_of(next, [strip, strips]), &[]]);
                    let finish = Finish { add: first > 0, ..Finish::default() };
                    prefetch_sums::<S, MR>(simd, c, &place);
                    tile::<S, MR>(simd, &a, b, c, &place, finish);
                }
                column += width;
            }
        }
    }
}
