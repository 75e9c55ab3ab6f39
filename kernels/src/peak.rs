//! The machine's multiply-add peak: what the figures of every other kernel are a share of.

use crate::par;
use crate::simd::{Body, Isa, LANES, Simd};
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
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let (factor, addend) = (simd.splat(0.999_999), simd.splat(1e-6));
        let mut chains = [simd.splat(self.start); CHAINS];
        for _ in 0..self.length {
            for chain in &mut chains {
                *chain = simd.mul_add(*chain, factor, addend);
            }
        }
        let mut sum = chains[0];
        for chain in &chains[1..] {
            sum = simd.add(sum, *chain);
        }
        simd.sum(sum)
    }
}

/// Floating-point operations a second (a multiply-add is two) of all workers of the current pool together, operands in
/// registers: the best of `rounds` measurements of some 20 ms each.
pub fn measure(isa: Isa, rounds: usize) -> f64 {
    let workers = rayon::current_num_threads();
    let work = (workers * LENGTH * CHAINS * LANES * 2) as f64;
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

    /// Every chain tends to `addend / (1 - factor)` = 1 and none may be optimised away.
    #[test]
    fn chains_compute() {
        for isa in Isa::all() {
            let sum = isa.run(Chains { start: 3.0, length: 10 });
            let expected = (CHAINS * LANES) as f32 * 3.0;
            assert!((sum - expected).abs() < 0.1 && sum < expected, "{isa:?}: {sum}");
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
