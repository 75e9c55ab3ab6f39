//! AVX2 with FMA, by `std::arch`.

use super::{Body, LANES, Simd};
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

// SAFETY of every intrinsic below: `self` proves the features; loads and stores are bounded by the slice or by the caller.
impl Simd for Avx2Fma {
    type F32 = __m256;

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    fn load(self, slice: &[f32]) -> __m256 {
        let slice = &slice[..LANES];
        unsafe { _mm256_loadu_ps(slice.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, vector: __m256, slice: &mut [f32]) {
        let slice = &mut slice[..LANES];
        unsafe { _mm256_storeu_ps(slice.as_mut_ptr(), vector) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, pointer: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(pointer) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, vector: __m256, pointer: *mut f32) {
        unsafe { _mm256_storeu_ps(pointer, vector) }
    }
    #[inline(always)]
    fn prefetch(self, pointer: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(pointer.cast()) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
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
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn select_gt(self, a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
        unsafe { _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) }
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
    fn splat_bits(self, value: u32) -> __m256 {
        unsafe { _mm256_castsi256_ps(_mm256_set1_epi32(value.cast_signed())) }
    }
    #[inline(always)]
    fn load_bits(self, slice: &[u32]) -> __m256 {
        let slice = &slice[..LANES];
        unsafe { _mm256_loadu_ps(slice.as_ptr().cast()) }
    }
    #[inline(always)]
    fn store_bits(self, vector: __m256, slice: &mut [u32]) {
        let slice = &mut slice[..LANES];
        unsafe { _mm256_storeu_ps(slice.as_mut_ptr().cast(), vector) }
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
    fn to_array(self, a: __m256) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        self.store(a, &mut lanes);
        lanes
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
