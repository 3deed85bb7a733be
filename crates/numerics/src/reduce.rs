//! Sums and what is made of them: moments, normalisation, softmax.

use crate::exp::exp_f64;
use crate::isa::{Isa, Kernel, dispatch_on};
use crate::shape::{Dim, ShapeError, check_shape};

/// Virtual lanes of a sum: element i goes to lane i mod 16, whatever the processor's vectors hold.
const LANES: usize = 16;

/// The sum of `term(x)` in float64, in the one order this crate knows.
#[inline(always)]
fn sum(values: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let mut chunks = values.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += term(f64::from(x));
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += term(f64::from(x));
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Mean and variance of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// The arithmetic mean.
    pub mean: f64,
    /// The mean squared distance from the mean: divided by N, not by N - 1.
    pub variance: f64,
}

/// Mean and variance in two passes in float64.
///
/// `E[x^2] - E[x]^2` would lose the variance of rows that lie far from zero.
/// An empty row has NaN for both.
pub fn moments(row: &[f32]) -> Moments {
    dispatch_on(Isa::best(), Row(row))
}

struct Row<'a>(&'a [f32]);

impl Kernel for Row<'_> {
    type Output = Moments;

    #[inline(always)]
    fn run(self) -> Moments {
        let n = self.0.len() as f64;
        let mean = sum(self.0, |x| x) / n;
        let variance = sum(self.0, |x| (x - mean) * (x - mean)) / n;
        Moments { mean, variance }
    }
}

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias` over one row, in float64, rounded once.
///
/// All four slices are `[C]`.
///
/// # Errors
/// [`ShapeError`] where their lengths differ or are zero.
pub fn normalize(
    x: &[f32],
    epsilon: f64,
    weight: &[f32],
    bias: &[f32],
    out: &mut [f32],
) -> Result<(), ShapeError> {
    check_shape("x", &[x.len()], &[Dim::Any("C")])?;
    let expected = [Dim::Is(x.len())];
    check_shape("weight", &[weight.len()], &expected)?;
    check_shape("bias", &[bias.len()], &expected)?;
    check_shape("out", &[out.len()], &expected)?;
    dispatch_on(
        Isa::best(),
        Normalize {
            x,
            epsilon,
            weight,
            bias,
            out,
        },
    );
    Ok(())
}

struct Normalize<'a> {
    x: &'a [f32],
    epsilon: f64,
    weight: &'a [f32],
    bias: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Moments { mean, variance } = Row(self.x).run();
        let inverse = 1.0 / (variance + self.epsilon).sqrt();
        let affine = self.weight.iter().zip(self.bias);
        for ((out, &x), (&weight, &bias)) in self.out.iter_mut().zip(self.x).zip(affine) {
            let standard = (f64::from(x) - mean) * inverse;
            *out = standard.mul_add(f64::from(weight), f64::from(bias)) as f32;
        }
    }
}

/// Replaces a row of scores by their softmax: the maximum subtracted, the sum in float64.
///
/// -inf is a masked score and becomes exactly 0; a row of nothing else has no softmax and becomes NaN.
pub fn softmax(row: &mut [f32]) {
    dispatch_on(Isa::best(), Softmax(row));
}

struct Softmax<'a>(&'a mut [f32]);

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let max = self.0.iter().fold(f32::NEG_INFINITY, |max, &x| max.max(x));
        let max = f64::from(max);
        for x in self.0.iter_mut() {
            *x = exp_f64(f64::from(*x) - max) as f32;
        }
        let inverse = 1.0 / sum(self.0, |x| x);
        for x in self.0.iter_mut() {
            *x = (f64::from(*x) * inverse) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_equal_on_every_isa, bits, values};

    const LENGTHS: [usize; 6] = [1, 15, 16, 17, 144, 1001];

    #[test]
    fn moments_have_equal_bits_on_every_instruction_set() {
        for length in LENGTHS {
            let row = values(1, length);
            assert_equal_on_every_isa(|isa| {
                let Moments { mean, variance } = dispatch_on(isa, Row(&row));
                [mean.to_bits(), variance.to_bits()]
            });
        }
    }

    #[test]
    fn normalisation_has_equal_bits_on_every_instruction_set() {
        for length in LENGTHS {
            let [x, weight, bias] = [1, 2, 3].map(|seed| values(seed, length));
            assert_equal_on_every_isa(|isa| {
                let mut out = vec![0.0; length];
                let kernel = Normalize {
                    x: &x,
                    epsilon: 1e-5,
                    weight: &weight,
                    bias: &bias,
                    out: &mut out,
                };
                dispatch_on(isa, kernel);
                bits(&out)
            });
        }
    }

    #[test]
    fn softmax_has_equal_bits_on_every_instruction_set() {
        for length in LENGTHS {
            assert_equal_on_every_isa(|isa| {
                let mut row: Vec<f32> = values(1, length).iter().map(|x| 20.0 * x).collect();
                row[length / 2] = f32::NEG_INFINITY;
                row[0] = 7.0;
                dispatch_on(isa, Softmax(&mut row));
                bits(&row)
            });
        }
    }
}
