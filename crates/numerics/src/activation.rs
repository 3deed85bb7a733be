//! The activations of GPT-2 checkpoints, in float64, rounded once.

use std::f64::consts::FRAC_1_SQRT_2;

use crate::exp::exp_f64;
use crate::isa::{Isa, Kernel, dispatch_on};

/// GELU in its tanh form, 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))): Hugging Face's `gelu_new` and
/// `gelu_pytorch_tanh` (Hendrycks and Gimpel, <https://arxiv.org/abs/1606.08415>, section 2).
///
/// Written as x / (1 + exp(-2u)), which is the same function, (1 + tanh u) / 2 being 1 / (1 + exp(-2u)),
/// and loses nothing where tanh comes close to -1.
pub fn gelu_tanh(values: &mut [f32]) {
    dispatch_on(Isa::best(), GeluTanh(values));
}

struct GeluTanh<'a>(&'a mut [f32]);

impl Kernel for GeluTanh<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
        for value in self.0.iter_mut() {
            let x = f64::from(*value);
            let u = SQRT_2_OVER_PI * (0.044715 * x * x).mul_add(x, x);
            *value = (x / (1.0 + exp_f64(-2.0 * u))) as f32;
        }
    }
}

/// GELU in its exact form, x (1 + erf(x / sqrt 2)) / 2: Hugging Face's `gelu`.
pub fn gelu_erf(values: &mut [f32]) {
    for value in values {
        let x = f64::from(*value);
        // erfc keeps its digits where 1 + erf would cancel.
        *value = (0.5 * x * libm::erfc(-x * FRAC_1_SQRT_2)) as f32;
    }
}

/// max(x, 0); NaN stays NaN.
pub fn relu(values: &mut [f32]) {
    for value in values {
        if *value < 0.0 {
            *value = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_equal_on_every_isa, bits, values};

    #[test]
    fn gelu_tanh_has_equal_bits_on_every_instruction_set() {
        assert_equal_on_every_isa(|isa| {
            let mut row: Vec<f32> = values(1, 1001).iter().map(|x| 12.0 * x).collect();
            dispatch_on(isa, GeluTanh(&mut row));
            bits(&row)
        });
    }
}
