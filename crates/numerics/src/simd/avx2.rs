//! Two registers of AVX2 for sixteen float32, four for sixteen float64.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{LANES, Simd};
use crate::isa::Kernel;

/// Proof that the processor has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        found.then_some(Avx2(()))
    }
}

#[target_feature(enable = "avx2,fma")]
#[inline(never)]
fn run<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
    kernel.run(simd)
}

/// Methods that are one instruction for each register.
macro_rules! instructions {
    ($($name:ident($($x:ident),+) = $intrinsic:ident;)+) => {
        $(#[inline(always)]
        fn $name(self, $($x: [__m256; 2]),+) -> [__m256; 2] {
            // SAFETY: `self` was made by `detect`, so the processor has the instruction.
            unsafe { [$intrinsic($($x[0]),+), $intrinsic($($x[1]),+)] }
        })+
    };
}

/// The same for sixteen float64.
macro_rules! instructions_f64 {
    ($($name:ident($($x:ident),+) = $intrinsic:ident;)+) => {
        $(#[inline(always)]
        fn $name(self, $($x: [__m256d; 4]),+) -> [__m256d; 4] {
            // SAFETY: `self` was made by `detect`, so the processor has the instruction.
            unsafe {
                [
                    $intrinsic($($x[0]),+),
                    $intrinsic($($x[1]),+),
                    $intrinsic($($x[2]),+),
                    $intrinsic($($x[3]),+),
                ]
            }
        })+
    };
}

impl Simd for Avx2 {
    type F32 = [__m256; 2];
    type F64 = [__m256d; 4];
    const VECTORS: usize = 1;

    instructions! {
        add(a, b) = _mm256_add_ps;
        sub(a, b) = _mm256_sub_ps;
        mul(a, b) = _mm256_mul_ps;
        div(a, b) = _mm256_div_ps;
        fma(a, b, c) = _mm256_fmadd_ps;
        max(a, b) = _mm256_max_ps;
        min(a, b) = _mm256_min_ps;
    }

    instructions_f64! {
        add_f64(a, b) = _mm256_add_pd;
        sub_f64(a, b) = _mm256_sub_pd;
        mul_f64(a, b) = _mm256_mul_pd;
        fma_f64(a, b, c) = _mm256_fmadd_pd;
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
    fn splat(self, x: f32) -> [__m256; 2] {
        // SAFETY: `self` was made by `detect`, so the processor has the instruction.
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> [__m256; 2] {
        let (low, high) = x.split_at(LANES / 2);
        // SAFETY: as in `splat`; eight floats are read from each half, which holds eight.
        unsafe {
            [
                _mm256_loadu_ps(low.as_ptr()),
                _mm256_loadu_ps(high.as_ptr()),
            ]
        }
    }

    #[inline(always)]
    fn store(self, x: [__m256; 2], to: &mut [f32; LANES]) {
        let (low, high) = to.split_at_mut(LANES / 2);
        // SAFETY: as in `splat`; eight floats are written to each half, which holds eight.
        unsafe {
            _mm256_storeu_ps(low.as_mut_ptr(), x[0]);
            _mm256_storeu_ps(high.as_mut_ptr(), x[1]);
        }
    }

    #[inline(always)]
    fn exponent(self, a: [__m256; 2]) -> [__m256; 2] {
        let [low, high] = a;
        // SAFETY: as in `splat`.
        unsafe {
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(low))),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(high))),
            ]
        }
    }

    #[inline(always)]
    fn splat_f64(self, x: f64) -> [__m256d; 4] {
        // SAFETY: as in `splat`.
        unsafe { [_mm256_set1_pd(x); 4] }
    }

    #[inline(always)]
    fn load_f64(self, x: &[f64; LANES]) -> [__m256d; 4] {
        // SAFETY: as in `splat`; four floats are read from each quarter of sixteen.
        unsafe {
            [
                _mm256_loadu_pd(x.as_ptr()),
                _mm256_loadu_pd(x[4..].as_ptr()),
                _mm256_loadu_pd(x[8..].as_ptr()),
                _mm256_loadu_pd(x[12..].as_ptr()),
            ]
        }
    }

    #[inline(always)]
    fn store_f64(self, x: [__m256d; 4], to: &mut [f64; LANES]) {
        for (to, x) in to.chunks_exact_mut(LANES / 4).zip(x) {
            // SAFETY: as in `splat`; four floats are written to a chunk of four.
            unsafe { _mm256_storeu_pd(to.as_mut_ptr(), x) }
        }
    }

    #[inline(always)]
    fn widen(self, [low, high]: [__m256; 2]) -> [__m256d; 4] {
        // SAFETY: as in `splat`.
        unsafe {
            [
                _mm256_cvtps_pd(_mm256_castps256_ps128(low)),
                _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(low)),
                _mm256_cvtps_pd(_mm256_castps256_ps128(high)),
                _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(high)),
            ]
        }
    }

    #[inline(always)]
    fn narrow(self, [a, b, c, d]: [__m256d; 4]) -> [__m256; 2] {
        // SAFETY: as in `splat`.
        unsafe {
            [
                _mm256_set_m128(_mm256_cvtpd_ps(b), _mm256_cvtpd_ps(a)),
                _mm256_set_m128(_mm256_cvtpd_ps(d), _mm256_cvtpd_ps(c)),
            ]
        }
    }
}
