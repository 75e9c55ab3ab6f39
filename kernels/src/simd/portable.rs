//! Any processor, by the crate `wide`.

use super::{LANES, Lanes, Simd};
use wide::{f32x8, i32x8};

/// Needs no proof.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Portable;

impl Lanes for Portable {
    type F32 = f32x8;
    const COUNT: usize = LANES;

    #[inline(always)]
    fn splat(self, value: f32) -> f32x8 {
        f32x8::splat(value)
    }
    #[inline(always)]
    unsafe fn load_ptr(self, pointer: *const f32) -> f32x8 {
        // SAFETY: the caller's promise; an array of f32 needs no more alignment than an f32.
        f32x8::new(unsafe { pointer.cast::<[f32; LANES]>().read() })
    }
    #[inline(always)]
    unsafe fn store_ptr(self, vector: f32x8, pointer: *mut f32) {
        // SAFETY: as above.
        unsafe { pointer.cast::<[f32; LANES]>().write(vector.to_array()) }
    }
    #[inline(always)]
    fn add(self, a: f32x8, b: f32x8) -> f32x8 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32x8, b: f32x8) -> f32x8 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32x8, b: f32x8) -> f32x8 {
        a * b
    }
    #[inline(always)]
    fn mul_add(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a * b + c
    }
    #[inline(always)]
    fn max(self, a: f32x8, b: f32x8) -> f32x8 {
        self.select_gt(a, b, a, b)
    }
}

impl Simd for Portable {
    type Wide = Self;

    #[inline(always)]
    fn wide(self) -> Self {
        self
    }

    #[inline(always)]
    fn div(self, a: f32x8, b: f32x8) -> f32x8 {
        a / b
    }
    #[inline(always)]
    fn sqrt(self, a: f32x8) -> f32x8 {
        a.sqrt()
    }
    #[inline(always)]
    fn select_gt(self, a: f32x8, b: f32x8, yes: f32x8, no: f32x8) -> f32x8 {
        blend(a.simd_gt(b), yes, no)
    }
    #[inline(always)]
    fn select_gt_or_nan(self, a: f32x8, b: f32x8, yes: f32x8, no: f32x8) -> f32x8 {
        blend(a.simd_gt(b) | a.simd_ne(a), yes, no)
    }
    #[inline(always)]
    fn select_same_bits(self, a: f32x8, b: f32x8, yes: f32x8, no: f32x8) -> f32x8 {
        let (a, b, yes, no) = (a.to_array(), b.to_array(), yes.to_array(), no.to_array());
        let mut lanes = [0.0; LANES];
        for i in 0..LANES {
            lanes[i] = if a[i].to_bits() == b[i].to_bits() { yes[i] } else { no[i] };
        }
        f32x8::new(lanes)
    }
    #[inline(always)]
    fn round(self, a: f32x8) -> f32x8 {
        a.round()
    }
    #[inline(always)]
    fn exp2_integral(self, a: f32x8) -> f32x8 {
        let bits: i32x8 = (a.fast_round_int() + i32x8::splat(127)) << 23;
        let (bits, mut lanes) = (bits.to_array(), [0.0; LANES]);
        for i in 0..LANES {
            lanes[i] = f32::from_bits(bits[i].cast_unsigned());
        }
        f32x8::new(lanes)
    }
}

/// `yes` where all bits of `mask` are set, `no` where none is.
#[inline(always)]
fn blend(mask: f32x8, yes: f32x8, no: f32x8) -> f32x8 {
    no ^ ((no ^ yes) & mask)
}
