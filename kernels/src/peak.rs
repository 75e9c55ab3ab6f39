//! The machine's multiply-add peak: what the figures of every other kernel are a share of.

use crate::par;
use crate::simd::{Body, Isa, Lanes, Simd, zip};
use std::hint::black_box;
use std::time::Instant;

/// Independent chains of multiply-adds: more than 4 cycles of latency times 2 units, and few enough for 16 registers.
const CHAINS: usize = 12;

/// Multiply-adds of each chain in one measurement: some 20 ms on one core.
const LENGTH: usize = 10_000_000;

struct Chains {
    start: f32,
    length: usize,
}

impl Body for Chains {
    /// The lanes of all chains, of the machine's widest vectors.
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<f32> {
        chains(simd.wide(), self)
    }
}

#[inline(always)]
fn chains<W: Lanes>(simd: W, Chains { start, length }: Chains) -> Vec<f32> {
    let (factor, addend) = (simd.splat(0.999_999), simd.splat(1e-6));
    let mut chains = [simd.splat(start); CHAINS];
    for _ in 0..length {
        for chain in &mut chains {
            *chain = simd.mul_add(*chain, factor, addend);
        }
    }
    let mut lanes = vec![0.0; CHAINS * W::COUNT];
    for (chain, lanes) in zip(chains, lanes.chunks_exact_mut(W::COUNT)) {
        // SAFETY: the chunk has as many values as the vector.
        unsafe { simd.store_ptr(chain, lanes.as_mut_ptr()) };
    }
    lanes
}

/// Floating-point operations a second (a multiply-add is two) of all workers of the current pool together, operands in
/// registers: the best of `rounds` measurements of some 20 ms each.
pub fn measure(isa: Isa, rounds: usize) -> f64 {
    let workers = rayon::current_num_threads();
    let lanes = isa.run(Chains { start: 0.0, length: 0 }).len();
    let work = (workers * LENGTH * lanes * 2) as f64;
    let round = || {
        let start = Instant::now();
        par::for_each(workers, |i| {
            black_box(isa.run(Chains { start: black_box(i as f32), length: black_box(LENGTH) }));
        });
        work / start.elapsed().as_secs_f64()
    };
    (0..rounds.max(1)).map(|_| round()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::LANES;

    /// Every chain tends to `addend / (1 - factor)` = 1 and none may be optimised away.
    #[test]
    fn chains_compute() {
        for isa in Isa::all() {
            let chains = isa.run(Chains { start: 3.0, length: 10 });
            assert!(chains.len().is_multiple_of(CHAINS) && chains.len() >= CHAINS * LANES, "{isa:?}");
            assert!(chains.iter().all(|x| (2.9999..3.0).contains(x)), "{isa:?}: {chains:?}");
        }
    }

    #[test]
    fn a_core_does_between_a_hundred_million_and_ten_trillion() {
        for isa in Isa::all() {
            let flops = par::Pool::new(1).unwrap().run(|| measure(isa, 1));
            assert!((1e8..1e13).contains(&flops), "{isa:?}: {flops:e}");
        }
    }
}
