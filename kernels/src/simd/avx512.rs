//! AVX-512: eight lanes as AVX2 has them, and sixteen where lanes do not meet.

use super::avx2::{Avx, lanes};
use super::{Body, Lanes};
use std::arch::x86_64::*;

/// Proof that this machine has AVX-512, its forms for 256 bits, AVX2 and FMA.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Avx512(());

/// As [`Avx512`], for sixteen lanes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sixteen(());

impl Avx512 {
    /// The token, where the processor has all of it.
    pub fn detect() -> Option<Self> {
        let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
        (avx512 && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx512(()))
    }

    #[inline]
    pub(super) fn run<B: Body>(self, body: B) -> B::Output {
        #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
        fn with_features<B: Body>(token: Avx512, body: B) -> B::Output {
            body.run(token)
        }
        // SAFETY: the token exists only where `detect` found all features.
        unsafe { with_features(self, body) }
    }
}

impl Avx for Avx512 {
    type Widest = Sixteen;

    #[inline(always)]
    fn widest(self) -> Sixteen {
        Sixteen(())
    }
}

lanes!(Avx512, 8);
lanes!(Sixteen, 16);
