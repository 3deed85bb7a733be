//! One register of AVX-512 for sixteen float32, two for sixteen float64.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{LANES, Simd};
use crate::isa::Kernel;

/// Proof that the processor has AVX-512F, AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        found.then_some(Avx512(()))
    }
}

#[target_feature(enable = "avx512f,avx2,fma")]
#[inline(never)]
fn run<K: Kernel>(simd: Avx512, kernel: K) -> K::Output {
    kernel.run(simd)
}

/// A mask of the first `count` lanes, all of them where there are not more.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    match count {
        0..LANES => (1 << count) - 1,
        _ => __mmask16::MAX,
    }
}

/// Methods that are one instruction each.
macro_rules! instructions {
    ($($name:ident($($x:ident),+) -> $out:ty = $intrinsic:ident;)+) => {
        $(#[inline(always)]
        fn $name(self, $($x: $out),+) -> $out {
            // SAFETY: `self` was made by `detect`, so the processor has the instruction.
            unsafe { $intrinsic($($x),+) }
        })+
    };
}

/// The same on both halves of sixteen float64.
macro_rules! instructions_f64 {
    ($($name:ident($($x:ident),+) = $intrinsic:ident;)+) => {
        $(#[inline(always)]
        fn $name(self, $($x: [__m512d; 2]),+) -> [__m512d; 2] {
            // SAFETY: `self` was made by `detect`, so the processor has the instruction.
            unsafe { [$intrinsic($($x[0]),+), $intrinsic($($x[1]),+)] }
        })+
    };
}

impl Simd for Avx512 {
    type F32 = __m512;
    type F64 = [__m512d; 2];
    const VECTORS: usize = 2;

    instructions! {
        add(a, b) -> __m512 = _mm512_add_ps;
        sub(a, b) -> __m512 = _mm512_sub_ps;
        mul(a, b) -> __m512 = _mm512_mul_ps;
        div(a, b) -> __m512 = _mm512_div_ps;
        fma(a, b, c) -> __m512 = _mm512_fmadd_ps;
        max(a, b) -> __m512 = _mm512_max_ps;
        min(a, b) -> __m512 = _mm512_min_ps;
    }

    instructions_f64! {
        add_f64(a, b) = _mm512_add_pd;
        sub_f64(a, b) = _mm512_sub_pd;
        mul_f64(a, b) = _mm512_mul_pd;
        fma_f64(a, b, c) = _mm512_fmadd_pd;
    }

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` was made by `detect`, so the processor has what `run` is compiled for.
        unsafe { run(self, kernel) }
    }

    #[inline(always)]
    fn prefetch(self, lanes: &[[f32; LANES]; 2]) {
        for lanes in lanes {
            // SAFETY: a prefetch changes nothing that a program can see.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(lanes.as_ptr().cast()) }
        }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` was made by `detect`, so the processor has the instruction.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> __m512 {
        // SAFETY: as in `splat`; sixteen floats are read where sixteen are, at any alignment.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, x: __m512, to: &mut [f32; LANES]) {
        // SAFETY: as in `splat`; sixteen floats are written where sixteen are, at any alignment.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn load_part(self, values: &[f32]) -> __m512 {
        // SAFETY: as in `splat`; what the mask leaves out is not read.
        unsafe { _mm512_maskz_loadu_ps(first(values.len()), values.as_ptr()) }
    }

    #[inline(always)]
    fn exponent(self, a: __m512) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a))) }
    }

    #[inline(always)]
    fn scale(self, a: __m512, n: __m512) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe { _mm512_scalef_ps(a, n) }
    }

    #[inline(always)]
    fn splat_f64(self, x: f64) -> [__m512d; 2] {
        // SAFETY: as in `splat`.
        unsafe { [_mm512_set1_pd(x); 2] }
    }

    #[inline(always)]
    fn load_f64(self, x: &[f64; LANES]) -> [__m512d; 2] {
        let (low, high) = x.split_at(LANES / 2);
        // SAFETY: as in `splat`; eight floats are read from each half, which holds eight.
        unsafe {
            [
                _mm512_loadu_pd(low.as_ptr()),
                _mm512_loadu_pd(high.as_ptr()),
            ]
        }
    }

    #[inline(always)]
    fn store_f64(self, x: [__m512d; 2], to: &mut [f64; LANES]) {
        let (low, high) = to.split_at_mut(LANES / 2);
        // SAFETY: as in `splat`; eight floats are written to each half, which holds eight.
        unsafe {
            _mm512_storeu_pd(low.as_mut_ptr(), x[0]);
            _mm512_storeu_pd(high.as_mut_ptr(), x[1]);
        }
    }

    #[inline(always)]
    fn widen(self, x: __m512) -> [__m512d; 2] {
        // SAFETY: as in `splat`.
        unsafe {
            let high = _mm512_castpd_ps(_mm512_castps_pd(_mm512_shuffle_f32x4::<0b1110>(x, x)));
            [
                _mm512_cvtps_pd(_mm512_castps512_ps256(x)),
                _mm512_cvtps_pd(_mm512_castps512_ps256(high)),
            ]
        }
    }

    #[inline(always)]
    fn narrow(self, x: [__m512d; 2]) -> __m512 {
        // SAFETY: as in `splat`.
        unsafe {
            let low = _mm512_castps256_ps512(_mm512_cvtpd_ps(x[0]));
            let high = _mm512_castps256_ps512(_mm512_cvtpd_ps(x[1]));
            _mm512_shuffle_f32x4::<0b0100_0100>(low, high)
        }
    }
}
