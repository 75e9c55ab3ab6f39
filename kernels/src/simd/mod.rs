//! One trait for eight f32 lanes, one token per instruction set, and the dispatcher that chooses when the program runs.
//!
//! Whatever adds lanes to each other has eight of them everywhere ([`Simd`]), so that sums have one order; what each lane does by itself
//! ([`Lanes`]) may have as many as the machine, for the bits are the same.
//!
//! A body is a type that implements [`Body`]: its fields are the arguments, its `run` is generic over the token. [`Isa::run`]
//! calls it inside a function compiled with that instruction set's target features. What `run` calls must be part of that function, or it
//! loses the features and passes vectors through memory; and whether the compiler inlines what does not say so depends on the
//! profile of the program that is built. So below `run`:
//!
//! * every `fn` is `#[inline(always)]`; nothing that matters is in a closure;
//! * loops go by an index, by one iterator of slices, or by `zip` of this module; `copy` copies. Of the standard library
//!   `Iterator::zip`, `array::from_fn`, `[T; N]::map` and `copy_from_slice` may stay calls.
//!
//! `kernels/README.md` says how to look for calls that are left.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2Fma;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use portable::Portable;

/// Lanes of a vector, for every instruction set: sums over lanes then have the same order everywhere.
pub const LANES: usize = 8;

/// Vectors of f32 and the arithmetic that each lane does by itself, so that a result does not depend on how many there are. The
/// token's existence proves that the machine has the instructions.
pub trait Lanes: Copy + Send + Sync + 'static {
    /// A vector.
    type F32: Copy + Send + Sync;
    /// Its lanes.
    const COUNT: usize;

    /// All lanes `value`.
    fn splat(self, value: f32) -> Self::F32;
    /// # Safety
    /// As many f32 as there are lanes can be read at `pointer`.
    unsafe fn load_ptr(self, pointer: *const f32) -> Self::F32;
    /// # Safety
    /// As many f32 as there are lanes can be written at `pointer`.
    unsafe fn store_ptr(self, vector: Self::F32, pointer: *mut f32);
    /// `a + b`
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a - b`
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b`
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`; rounded once where the instruction set has a fused multiply-add, twice otherwise.
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `if a > b { a } else { b }`, so `b` where either is NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// Prefetches the cache line at `pointer`, which need not be readable; does nothing where there is no such instruction.
    #[inline(always)]
    fn prefetch(self, _pointer: *const f32) {}
}

/// Eight f32 lanes and all that can be done with them. What has a body here is made of the rest; an instruction set may have a
/// faster way to the same bits.
pub trait Simd: Lanes {
    /// The machine's widest vectors.
    type Wide: Lanes;

    /// The token of the widest vectors.
    fn wide(self) -> Self::Wide;
    /// `a / b`
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Square root.
    fn sqrt(self, a: Self::F32) -> Self::F32;
    /// `yes` where `a > b`, else `no`.
    fn select_gt(self, a: Self::F32, b: Self::F32, yes: Self::F32, no: Self::F32) -> Self::F32;
    /// `yes` where `a > b` or `a` is NaN, else `no`: a running maximum that keeps NaN.
    fn select_gt_or_nan(self, a: Self::F32, b: Self::F32, yes: Self::F32, no: Self::F32) -> Self::F32;
    /// `yes` where `a` and `b` have equal bits, else `no`. For lanes that carry indices.
    fn select_same_bits(self, a: Self::F32, b: Self::F32, yes: Self::F32, no: Self::F32) -> Self::F32;
    /// Rounds to the nearest integer, ties to even.
    fn round(self, a: Self::F32) -> Self::F32;
    /// `2^a` for integral `a` in -126..=127.
    fn exp2_integral(self, a: Self::F32) -> Self::F32;

    /// `if a < b { a } else { b }`, so `b` where either is NaN.
    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        self.select_gt(b, a, a, b)
    }
    /// `value` where `a > b`, else 0.
    #[inline(always)]
    fn keep_gt(self, a: Self::F32, b: Self::F32, value: Self::F32) -> Self::F32 {
        self.select_gt(a, b, value, self.splat(0.0))
    }
    /// The first eight values of `slice`.
    #[inline(always)]
    fn load(self, slice: &[f32]) -> Self::F32 {
        const { assert!(Self::COUNT == LANES) };
        let slice = &slice[..LANES];
        // SAFETY (of this and the next three): the slice has as many values as there are lanes.
        unsafe { self.load_ptr(slice.as_ptr()) }
    }
    /// Overwrites the first eight values of `slice`.
    #[inline(always)]
    fn store(self, vector: Self::F32, slice: &mut [f32]) {
        const { assert!(Self::COUNT == LANES) };
        let slice = &mut slice[..LANES];
        unsafe { self.store_ptr(vector, slice.as_mut_ptr()) }
    }
    /// The first eight values of `slice`, as bits: indices, which may be loaded, stored, selected and compared by their bits, no more.
    #[inline(always)]
    fn load_bits(self, slice: &[u32]) -> Self::F32 {
        const { assert!(Self::COUNT == LANES) };
        let slice = &slice[..LANES];
        unsafe { self.load_ptr(slice.as_ptr().cast()) }
    }
    /// Overwrites the first eight values of `slice` with the lanes' bits.
    #[inline(always)]
    fn store_bits(self, vector: Self::F32, slice: &mut [u32]) {
        const { assert!(Self::COUNT == LANES) };
        let slice = &mut slice[..LANES];
        unsafe { self.store_ptr(vector, slice.as_mut_ptr().cast()) }
    }
    /// All lanes the bits of `value`, an index as in [`load_bits`](Simd::load_bits).
    #[inline(always)]
    fn splat_bits(self, value: u32) -> Self::F32 {
        self.splat(f32::from_bits(value))
    }
    /// The lanes as an array.
    #[inline(always)]
    fn to_array(self, a: Self::F32) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        self.store(a, &mut lanes);
        lanes
    }
    /// As [`load`](Simd::load); where `slice` is shorter than a vector, the lanes beyond it are `fill`.
    #[inline(always)]
    fn load_part(self, slice: &[f32], fill: f32) -> Self::F32 {
        if slice.len() >= LANES {
            return self.load(slice);
        }
        let mut lanes = [fill; LANES];
        copy(slice, &mut lanes[..slice.len()]);
        self.load(&lanes)
    }
    /// As [`store`](Simd::store); where `slice` is shorter than a vector, only the lanes that fit.
    #[inline(always)]
    fn store_part(self, vector: Self::F32, slice: &mut [f32]) {
        if slice.len() >= LANES {
            return self.store(vector, slice);
        }
        copy(&self.to_array(vector)[..slice.len()], slice);
    }
    /// The first `V` vectors of `slice`; a single vector as by [`load_part`](Simd::load_part).
    #[inline(always)]
    fn load_block<const V: usize>(self, slice: &[f32], fill: f32) -> [Self::F32; V] {
        let mut block = [self.splat(fill); V];
        if V == 1 {
            block[0] = self.load_part(slice, fill);
        } else {
            let slice = &slice[..V * LANES];
            for i in 0..V {
                block[i] = self.load(&slice[i * LANES..]);
            }
        }
        block
    }
    /// The inverse of [`load_block`](Simd::load_block).
    #[inline(always)]
    fn store_block<const V: usize>(self, block: [Self::F32; V], slice: &mut [f32]) {
        if V == 1 {
            self.store_part(block[0], slice);
        } else {
            let slice = &mut slice[..V * LANES];
            for i in 0..V {
                self.store(block[i], &mut slice[i * LANES..]);
            }
        }
    }
    /// As [`load_block`](Simd::load_block) for bits; lanes beyond the slice are 0.
    #[inline(always)]
    fn load_bits_block<const V: usize>(self, slice: &[u32]) -> [Self::F32; V] {
        let mut block = [self.splat_bits(0); V];
        if V == 1 && slice.len() < LANES {
            let mut lanes = [0; LANES];
            copy(slice, &mut lanes[..slice.len()]);
            block[0] = self.load_bits(&lanes);
        } else {
            let slice = &slice[..V * LANES];
            for i in 0..V {
                block[i] = self.load_bits(&slice[i * LANES..]);
            }
        }
        block
    }
    /// The inverse of [`load_bits_block`](Simd::load_bits_block).
    #[inline(always)]
    fn store_bits_block<const V: usize>(self, block: [Self::F32; V], slice: &mut [u32]) {
        if V == 1 && slice.len() < LANES {
            let mut lanes = [0; LANES];
            self.store_bits(block[0], &mut lanes);
            copy(&lanes[..slice.len()], slice);
        } else {
            let slice = &mut slice[..V * LANES];
            for i in 0..V {
                self.store_bits(block[i], &mut slice[i * LANES..]);
            }
        }
    }

    /// Sum of the lanes in a fixed order: ((0+4)+(2+6)) + ((1+5)+(3+7)).
    #[inline(always)]
    fn sum(self, a: Self::F32) -> f32 {
        let l = self.to_array(a);
        ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
    }

    /// Smallest lane.
    #[inline(always)]
    fn min_lane(self, a: Self::F32) -> f32 {
        let l = self.to_array(a);
        let mut least = l[0];
        for x in l {
            least = if x < least { x } else { least };
        }
        least
    }

    /// Largest lane.
    #[inline(always)]
    fn max_lane(self, a: Self::F32) -> f32 {
        let l = self.to_array(a);
        let mut largest = l[0];
        for x in l {
            largest = if x > largest { x } else { largest };
        }
        largest
    }
}

/// As [`std::iter::zip`], of which the steps are functions of their own where a program is not optimised as a whole: each would lose the
/// instruction set.
#[inline(always)]
pub(crate) fn zip<A: IntoIterator, B: IntoIterator>(a: A, b: B) -> Zip<A::IntoIter, B::IntoIter> {
    Zip(a.into_iter(), b.into_iter())
}

/// See [`zip`].
pub(crate) struct Zip<A, B>(A, B);

impl<A: Iterator, B: Iterator> Iterator for Zip<A, B> {
    type Item = (A::Item, B::Item);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        match (self.0.next(), self.1.next()) {
            (Some(a), Some(b)) => Some((a, b)),
            _ => None,
        }
    }
}

/// As `copy_from_slice`, inlined for the same reason: of a length that the compiler knows it is a few moves and no call.
#[inline(always)]
pub(crate) fn copy<T: Copy>(source: &[T], target: &mut [T]) {
    assert!(source.len() == target.len(), "copy of {} values to {}", source.len(), target.len());
    // SAFETY: both have as many values, and what is borrowed mutably does not overlap with anything.
    unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), target.as_mut_ptr(), target.len()) }
}

/// A computation that is written once for every instruction set.
pub trait Body {
    /// What it returns.
    type Output;
    /// The computation. Mark the implementation `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set that this machine has: only a successful check makes one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2Fma(Avx2Fma),
    Portable,
}

impl Isa {
    /// The fastest of this machine.
    pub fn detect() -> Isa {
        Isa::all()[0]
    }

    /// Every one that this machine has, fastest first. Tests go through them all.
    pub fn all() -> Vec<Isa> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx512::detect().map(|token| Isa(Kind::Avx512(token))));
            all.extend(Avx2Fma::detect().map(|token| Isa(Kind::Avx2Fma(token))));
        }
        all.push(Isa(Kind::Portable));
        all
    }

    /// The one of that name, if this machine has it.
    pub fn named(name: &str) -> Option<Isa> {
        Isa::all().into_iter().find(|isa| isa.name() == name)
    }

    /// `avx512`, `avx2+fma` or `portable`. The first two give the same bits.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2Fma(_) => "avx2+fma",
            Kind::Portable => "portable",
        }
    }

    /// Runs `body` with this instruction set.
    #[inline]
    pub fn run<B: Body>(self, body: B) -> B::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(token) => token.run(body),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2Fma(token) => token.run(body),
            Kind::Portable => body.run(Portable),
        }
    }
}

impl std::fmt::Debug for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// `exp` relative error, claimed and tested against f64 over the whole range.
pub const MAX_EXP_ERROR: f64 = 3e-7;

/// `e^x`, 0 below -87.3 and clamped to `e^88.3` above; NaN stays NaN.
///
/// Range reduction `x = n ln 2 + r`, |r| <= ln 2 / 2, then a Taylor polynomial of degree 7 in `r` (Muller, Elementary
/// Functions, ch. 9): the first dropped term is (ln 2 / 2)^8 / 8! = 5e-9.
#[inline(always)]
pub fn exp<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    let low = simd.splat(-87.3);
    // `x` stands second in both, so NaN passes through.
    let clamped = simd.min(simd.splat(88.3), simd.max(low, x));
    let n = simd.round(simd.mul(clamped, simd.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts: the first has 9 trailing zero bits, so n * LN2_HIGH is exact.
    let r = simd.mul_add(n, simd.splat(-0.693_359_4), clamped);
    let r = simd.mul_add(n, simd.splat(2.121_944_4e-4), r);
    let mut p = simd.splat(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = simd.mul_add(p, r, simd.splat(coefficient));
    }
    let value = simd.mul(p, simd.exp2_integral(n));
    simd.select_gt(low, x, simd.splat(0.0), value)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    let one = simd.splat(1.0);
    let e = exp(simd, simd.sub(simd.splat(0.0), x));
    simd.div(one, simd.add(one, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct ExpOf<'a>(&'a [f32], &'a mut [f32]);
    impl Body for ExpOf<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for (x, y) in self.0.chunks_exact(LANES).zip(self.1.chunks_exact_mut(LANES)) {
                simd.store(exp(simd, simd.load(x)), y);
            }
        }
    }

    #[test]
    fn exp_error_is_as_claimed_on_every_isa() {
        let x: Vec<f32> = (0..1 << 16).map(|i| -87.0 + 175.0 * i as f32 / 65536.0).collect();
        for isa in Isa::all() {
            let mut y = vec![0.0; x.len()];
            isa.run(ExpOf(&x, &mut y));
            let worst = x.iter().zip(&y).map(|(&x, &y)| (f64::from(y) / f64::from(x).exp() - 1.0).abs()).fold(0.0, f64::max);
            assert!(worst < MAX_EXP_ERROR, "{isa:?}: {worst:e}");
        }
    }

    #[test]
    fn exp_of_extremes() {
        let x = [-1e30, -100.0, f32::NEG_INFINITY, 0.0, 1e30, 88.0, -87.0, 1.0];
        for isa in Isa::all() {
            let mut y = [0.0; LANES];
            isa.run(ExpOf(&x, &mut y));
            assert_eq!(&y[..4], &[0.0, 0.0, 0.0, 1.0], "{isa:?}");
            assert!(y[4].is_finite() && y[4] > 1e38);
            isa.run(ExpOf(&[f32::NAN; LANES], &mut y));
            assert!(y.iter().all(|y| y.is_nan()), "{isa:?}");
        }
    }
}
