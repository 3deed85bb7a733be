//! The activations of GPT-2 checkpoints.

use std::f64::consts::FRAC_1_SQRT_2;

use crate::exp::exp_lanes;
use crate::isa::{Isa, Kernel, dispatch_on};
use crate::simd::{LANES, Simd};

/// What is applied to every element between the two products of a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// GELU in its tanh form, 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))): Hugging Face's `gelu_new`
    /// and `gelu_pytorch_tanh`, all published GPT-2s (Hendrycks and Gimpel,
    /// <https://arxiv.org/abs/1606.08415>, section 2).
    GeluTanh,
    /// GELU in its exact form, x (1 + erf(x / sqrt 2)) / 2: Hugging Face's `gelu`.
    GeluErf,
    /// max(x, 0), NaN staying NaN: `relu`.
    Relu,
}

impl Activation {
    /// Applies the activation to every value.
    pub fn apply(self, isa: Isa, values: &mut [f32]) {
        let activation = self;
        dispatch_on(isa, Apply { activation, values });
    }

    /// Applies it to sixteen values.
    #[inline(always)]
    pub(crate) fn lanes<S: Simd>(self, simd: S, x: S::F32) -> S::F32 {
        match self {
            Activation::GeluTanh => gelu_tanh(simd, x),
            Activation::GeluErf => {
                let mut lanes = [0.0; LANES];
                simd.store(x, &mut lanes);
                simd.load(&lanes.map(gelu_erf))
            }
            Activation::Relu => simd.max(simd.splat(0.0), x),
        }
    }
}

/// x / (1 + exp(-2u)), which is the same function, (1 + tanh u) / 2 being 1 / (1 + exp(-2u)), and loses
/// nothing where tanh comes close to -1.
#[inline(always)]
fn gelu_tanh<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
    let cube = simd.mul(simd.mul(x, x), x);
    let inner = simd.fma(cube, simd.splat(0.044715), x);
    let power = exp_lanes(
        simd,
        simd.mul(inner, simd.splat((-2.0 * SQRT_2_OVER_PI) as f32)),
    );
    simd.div(x, simd.add(power, simd.splat(1.0)))
}

fn gelu_erf(x: f32) -> f32 {
    let x = f64::from(x);
    // erfc keeps its digits where 1 + erf would cancel.
    (0.5 * x * libm::erfc(-x * FRAC_1_SQRT_2)) as f32
}

struct Apply<'a> {
    activation: Activation,
    values: &'a mut [f32],
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (whole, rest) = self.values.as_chunks_mut();
        for values in whole {
            simd.store(self.activation.lanes(simd, simd.load(values)), values);
        }
        let mut padded = [0.0; LANES];
        padded[..rest.len()].copy_from_slice(rest);
        simd.store(self.activation.lanes(simd, simd.load(&padded)), &mut padded);
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_equal_on_every_isa, bits, values};

    #[test]
    fn bits_are_equal_on_every_instruction_set() {
        for activation in [Activation::GeluTanh, Activation::GeluErf, Activation::Relu] {
            assert_equal_on_every_isa(|isa| {
                let mut row: Vec<f32> = values(1, 1001).iter().map(|x| 12.0 * x).collect();
                activation.apply(isa, &mut row);
                bits(&row)
            });
        }
    }
}
