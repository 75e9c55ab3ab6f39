//! AVX2 with FMA, by `std::arch`.

use super::{Body, Lanes, Simd};
use std::arch::x86_64::*;

/// Proof that this machine has AVX2 and FMA.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Avx2Fma(());

impl Avx2Fma {
    /// The token, where the processor has both.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2Fma(()))
    }

    #[inline]
    pub(super) fn run<B: Body>(self, body: B) -> B::Output {
        #[target_feature(enable = "avx2,fma")]
        fn with_features<B: Body>(token: Avx2Fma, body: B) -> B::Output {
            body.run(token)
        }
        // SAFETY: the token exists only where `detect` found both features.
        unsafe { with_features(self, body) }
    }
}

/// Implements [`Lanes`] for a token by the intrinsics of eight or sixteen lanes.
macro_rules! lanes {
    ($token:ty, 8) => {
        lanes!(
            $token,
            __m256,
            _mm256_set1_ps,
            _mm256_loadu_ps,
            _mm256_storeu_ps,
            _mm256_add_ps,
            _mm256_sub_ps,
            _mm256_mul_ps,
            _mm256_fmadd_ps,
            _mm256_max_ps
        );
    };
    ($token:ty, 16) => {
        lanes!(
            $token,
            __m512,
            _mm512_set1_ps,
            _mm512_loadu_ps,
            _mm512_storeu_ps,
            _mm512_add_ps,
            _mm512_sub_ps,
            _mm512_mul_ps,
            _mm512_fmadd_ps,
            _mm512_max_ps
        );
    };
    (
        $token:ty, $vector:ty, $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident, $mul:ident, $mul_add:ident,
        $max:ident
    ) => {
        // SAFETY of every intrinsic: `self` proves the features; loads and stores are bounded by the caller.
        impl Lanes for $token {
            type F32 = $vector;
            const COUNT: usize = size_of::<$vector>() / size_of::<f32>();

            #[inline(always)]
            fn splat(self, value: f32) -> $vector {
                unsafe { $splat(value) }
            }
            #[inline(always)]
            unsafe fn load_ptr(self, pointer: *const f32) -> $vector {
                unsafe { $load(pointer) }
            }
            #[inline(always)]
            unsafe fn store_ptr(self, vector: $vector, pointer: *mut f32) {
                unsafe { $store(pointer, vector) }
            }
            #[inline(always)]
            fn prefetch(self, pointer: *const f32) {
                unsafe { _mm_prefetch::<_MM_HINT_T0>(pointer.cast()) }
            }
            #[inline(always)]
            fn add(self, a: $vector, b: $vector) -> $vector {
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            fn sub(self, a: $vector, b: $vector) -> $vector {
                unsafe { $sub(a, b) }
            }
            #[inline(always)]
            fn mul(self, a: $vector, b: $vector) -> $vector {
                unsafe { $mul(a, b) }
            }
            #[inline(always)]
            fn mul_add(self, a: $vector, b: $vector, c: $vector) -> $vector {
                unsafe { $mul_add(a, b, c) }
            }
            #[inline(always)]
            fn max(self, a: $vector, b: $vector) -> $vector {
                unsafe { $max(a, b) }
            }
        }
    };
}
pub(super) use lanes;

lanes!(Avx2Fma, 8);

/// A processor with AVX2 and FMA, and perhaps more: what it does with eight lanes stands below, once for all of them.
pub trait Avx: Lanes<F32 = __m256> {
    /// [`Simd::Wide`].
    type Widest: Lanes;
    /// [`Simd::wide`].
    fn widest(self) -> Self::Widest;
}

impl Avx for Avx2Fma {
    type Widest = Self;
    #[inline(always)]
    fn widest(self) -> Self {
        self
    }
}

// SAFETY of every intrinsic below: `self` proves the features; loads and stores are bounded by the slice or by the caller.
impl<T: Avx> Simd for T {
    type Wide = T::Widest;

    #[inline(always)]
    fn wide(self) -> T::Widest {
        self.widest()
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn select_gt(self, a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
        unsafe { _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) }
    }
    // Not as a selection: where the value comes from memory the compiler makes that a masked load of AVX-512, which waits for the
    // comparison.
    #[inline(always)]
    fn keep_gt(self, a: __m256, b: __m256, value: __m256) -> __m256 {
        unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, b), value) }
    }
    #[inline(always)]
    fn select_gt_or_nan(self, a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
        unsafe {
            let greater = _mm256_cmp_ps::<_CMP_GT_OQ>(a, b);
            let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
            _mm256_blendv_ps(no, yes, _mm256_or_ps(greater, nan))
        }
    }
    #[inline(always)]
    fn select_same_bits(self, a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
        unsafe {
            let same = _mm256_cmpeq_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b));
            _mm256_blendv_ps(no, yes, _mm256_castsi256_ps(same))
        }
    }
    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn exp2_integral(self, a: __m256) -> __m256 {
        // The exponent field of an f32 is biased by 127 and starts at bit 23.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        // The same order as the trait's.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn max_lane(self, a: __m256) -> f32 {
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn min_lane(self, a: __m256) -> f32 {
        unsafe {
            let four = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_min_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_min_ss(two, _mm_movehdup_ps(two)))
        }
    }
}
