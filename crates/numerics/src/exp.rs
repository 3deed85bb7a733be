//! The exponential, as a polynomial of our own.

use crate::isa::{Isa, Kernel, dispatch_on};

/// e^x, rounded to float32 from a float64 value that is within 1e-14 of it, relatively.
///
/// Above 88.73 the result is infinite, below -103.98 zero; NaN stays NaN.
pub fn exp(x: f32) -> f32 {
    dispatch_on(Isa::best(), Exp(x))
}

struct Exp(f32);

impl Kernel for Exp {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        exp_f64(f64::from(self.0)) as f32
    }
}

/// e^x for |x| up to 708, the ends standing in for everything beyond them.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r is its Taylor polynomial of degree 13, whose remainder there
/// is under 5e-18; 2^n is written into the exponent's bits.
#[inline(always)]
pub(crate) fn exp_f64(x: f64) -> f64 {
    // Adding it rounds to an integer and leaves that integer in the low bits of the sum.
    const ROUND: f64 = 1.5 * (1u64 << 52) as f64;
    // ln 2 in two parts, the first with so few bits that its product with n is exact.
    const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const TAYLOR: [f64; 14] = inverse_factorials();

    let x = x.clamp(-708.0, 708.0);
    let shifted = x.mul_add(std::f64::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    let mut power = TAYLOR[13];
    let mut degree = 13;
    while degree > 0 {
        degree -= 1;
        power = power.mul_add(r, TAYLOR[degree]);
    }
    let two_to_the_n = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52));
    power * two_to_the_n
}

/// 1 / k! for k from 0.
const fn inverse_factorials<const N: usize>() -> [f64; N] {
    let mut inverse = [1.0; N];
    let mut factorial = 1.0;
    let mut k = 1;
    while k < N {
        factorial *= k as f64;
        inverse[k] = 1.0 / factorial;
        k += 1;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_equal_on_every_isa, bits};

    /// The reference is the platform's own float64 exponential, good to about 1e-16.
    #[test]
    fn agrees_with_the_standard_library_in_float64() {
        let mut worst: f64 = 0.0;
        for i in -700_000..=700_000 {
            let x = f64::from(i) * 1e-3 + 1e-7;
            worst = worst.max((exp_f64(x) / x.exp() - 1.0).abs());
        }
        assert!(worst < 1e-14, "worst relative error {worst:e}");
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
        assert_eq!(exp(88.8), f32::INFINITY);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(1.0), std::f32::consts::E);
    }
}
