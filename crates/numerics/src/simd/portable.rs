//! Plain arrays: the compiler makes vectors of them where its target has any.

use super::{LANES, Simd};
use crate::isa::Kernel;

/// Any processor.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// One operation on each lane.
macro_rules! lane_by_lane {
    ($($name:ident($($x:ident),+) -> $float:ty = $lane:expr;)+) => {
        $(#[inline(always)]
        fn $name(self, $($x: [$float; LANES]),+) -> [$float; LANES] {
            let mut out = [0.0; LANES];
            for i in 0..LANES {
                out[i] = $lane($($x[i]),+);
            }
            out
        })+
    };
}

impl Simd for Portable {
    type F32 = [f32; LANES];
    type F64 = [f64; LANES];
    const VECTORS: usize = 1;

    lane_by_lane! {
        add(a, b) -> f32 = |a, b| a + b;
        sub(a, b) -> f32 = |a, b| a - b;
        mul(a, b) -> f32 = |a, b| a * b;
        div(a, b) -> f32 = |a, b| a / b;
        fma(a, b, c) -> f32 = f32::mul_add;
        max(a, b) -> f32 = |a, b| if a > b { a } else { b };
        min(a, b) -> f32 = |a, b| if a < b { a } else { b };
        exponent(a) -> f32 = |a: f32| f32::from_bits(a.to_bits() << 23);
        add_f64(a, b) -> f64 = |a, b| a + b;
        sub_f64(a, b) -> f64 = |a, b| a - b;
        mul_f64(a, b) -> f64 = |a, b| a * b;
        fma_f64(a, b, c) -> f64 = f64::mul_add;
    }

    #[inline(never)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn prefetch(self, _: &[[f32; LANES]; 2]) {}

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; LANES] {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> [f32; LANES] {
        *x
    }

    #[inline(always)]
    fn store(self, x: [f32; LANES], to: &mut [f32; LANES]) {
        *to = x;
    }

    #[inline(always)]
    fn splat_f64(self, x: f64) -> [f64; LANES] {
        [x; LANES]
    }

    #[inline(always)]
    fn load_f64(self, x: &[f64; LANES]) -> [f64; LANES] {
        *x
    }

    #[inline(always)]
    fn store_f64(self, x: [f64; LANES], to: &mut [f64; LANES]) {
        *to = x;
    }

    #[inline(always)]
    fn widen(self, x: [f32; LANES]) -> [f64; LANES] {
        x.map(f64::from)
    }

    #[inline(always)]
    fn narrow(self, x: [f64; LANES]) -> [f32; LANES] {
        x.map(|x| x as f32)
    }
}
