//! The exponential, as a polynomial of our own.

use std::f32::consts::{LN_2, LOG2_E};

use crate::isa::{Isa, Kernel, dispatch_on};
use crate::simd::{LANES, ROUND, Simd};

/// e^x, within one unit in the last place.
///
/// Above 88.73 the result is infinite, below -103.98 zero; NaN stays NaN.
pub fn exp(x: f32) -> f32 {
    dispatch_on(Isa::best(), Exp(x))
}

struct Exp(f32);

impl Kernel for Exp {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let mut lanes = [0.0; LANES];
        simd.store(exp_lanes(simd, simd.splat(self.0)), &mut lanes);
        lanes[0]
    }
}

/// e^x in every lane.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r is 1 + (r + r^2 q(r)), q having the Taylor coefficients to
/// r^8, whose remainder there is under 3e-10.
#[inline(always)]
pub(crate) fn exp_lanes<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    const TAYLOR: [f32; 7] = [
        1.0 / 40320.0,
        1.0 / 5040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        1.0 / 2.0,
    ];
    // Adding it rounds to an integer.
    let round = simd.splat(ROUND);
    // -ln 2 in two parts.
    let (high, low) = (simd.splat(-LN_2), simd.splat(1.904_654_3e-9));

    // The ends stand in for everything beyond them; written so that NaN stays.
    let x = simd.min(simd.splat(89.0), simd.max(simd.splat(-104.0), x));
    let n = simd.sub(simd.fma(x, simd.splat(LOG2_E), round), round);
    let r = simd.fma(n, low, simd.fma(n, high, x));
    let mut q = simd.splat(TAYLOR[0]);
    for coefficient in &TAYLOR[1..] {
        q = simd.fma(q, r, simd.splat(*coefficient));
    }
    let power = simd.add(simd.fma(simd.mul(r, r), q, r), simd.splat(1.0));

    simd.scale(power, n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_equal_on_every_isa, bits};

    /// The reference is the platform's own float64 exponential, good to about 1e-16.
    #[test]
    fn is_within_a_unit_in_the_last_place() {
        let mut worst: f64 = 0.0;
        for i in -870_000..=887_000 {
            let x = i as f32 * 1e-4;
            let truth = f64::from(x).exp();
            let unit = f64::from((truth as f32).next_up()) - f64::from(truth as f32);
            worst = worst.max((f64::from(exp(x)) - truth).abs() / unit);
        }
        assert!(worst < 1.0, "worst error {worst} units in the last place");
        assert!(worst > 0.5, "better than any float32 can be: {worst}");
    }

    #[test]
    fn bits_are_equal_on_every_instruction_set() {
        let inputs: Vec<f32> = (-1100..=900).map(|i| i as f32 * 0.1).collect();
        assert_equal_on_every_isa(|isa| {
            let powers = inputs.iter().map(|&x| dispatch_on(isa, Exp(x)));
            bits(&powers.collect::<Vec<_>>())
        });
    }

    #[test]
    fn ends_are_what_float32_can_hold() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-104.0), 0.0);
        assert_eq!(exp(-103.9), f32::from_bits(1));
        assert_eq!(exp(88.8), f32::INFINITY);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(1.0), std::f32::consts::E);
    }
}
