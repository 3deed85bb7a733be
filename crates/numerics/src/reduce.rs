//! Sums and what is made of them: moments, normalisation, softmax.

use crate::exp::exp_lanes;
use crate::isa::{Isa, Kernel, dispatch_on};
use crate::shape::{Dim, ShapeError, check_shape};
use crate::simd::{LANES, Simd, load, store};

/// Sixteen running sums in float64: element i of a row goes to lane i mod 16, whatever the processor's
/// vectors hold. This is the one order in which rows are summed.
struct Sum<S: Simd> {
    simd: S,
    lanes: S::F64,
}

impl<S: Simd> Sum<S> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        let lanes = simd.splat_f64(0.0);
        Sum { simd, lanes }
    }

    /// Adds the first `count` of sixteen terms.
    #[inline(always)]
    fn add(&mut self, terms: S::F64, count: usize) {
        let simd = self.simd;
        if count == LANES {
            self.lanes = simd.add_f64(self.lanes, terms);
            return;
        }
        let [mut sums, mut last] = [[0.0; LANES]; 2];
        simd.store_f64(self.lanes, &mut sums);
        simd.store_f64(terms, &mut last);
        for (sum, term) in sums.iter_mut().zip(&last[..count]) {
            *sum += term;
        }
        self.lanes = simd.load_f64(&sums);
    }

    /// The lanes 8 apart are added, then 4, 2 and 1.
    #[inline(always)]
    fn total(self) -> f64 {
        let mut sums = [0.0; LANES];
        self.simd.store_f64(self.lanes, &mut sums);
        let mut apart = LANES / 2;
        while apart > 0 {
            for lane in 0..apart {
                sums[lane] += sums[lane + apart];
            }
            apart /= 2;
        }
        sums[0]
    }
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
pub fn moments(isa: Isa, row: &[f32]) -> Moments {
    dispatch_on(isa, Row(row))
}

struct Row<'a>(&'a [f32]);

impl Kernel for Row<'_> {
    type Output = Moments;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Moments {
        let n = self.0.len() as f64;
        let mut sum = Sum::new(simd);
        for values in self.0.chunks(LANES) {
            sum.add(simd.widen(load(simd, values)), values.len());
        }
        let mean = sum.total() / n;
        let center = simd.splat_f64(mean);
        let mut squares = Sum::new(simd);
        for values in self.0.chunks(LANES) {
            let distance = simd.sub_f64(simd.widen(load(simd, values)), center);
            squares.add(simd.mul_f64(distance, distance), values.len());
        }
        let variance = squares.total() / n;
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
    isa: Isa,
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
    let kernel = Normalize {
        x,
        epsilon,
        weight,
        bias,
        out,
    };
    dispatch_on(isa, kernel);
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
    fn run<S: Simd>(self, simd: S) {
        let Moments { mean, variance } = Row(self.x).run(simd);
        let mean = simd.splat_f64(mean);
        let inverse = simd.splat_f64(1.0 / (variance + self.epsilon).sqrt());
        let affine = self.weight.chunks(LANES).zip(self.bias.chunks(LANES));
        let values = self.x.chunks(LANES).zip(affine);
        for (out, (x, (weight, bias))) in self.out.chunks_mut(LANES).zip(values) {
            let x = simd.widen(load(simd, x));
            let weight = simd.widen(load(simd, weight));
            let bias = simd.widen(load(simd, bias));
            let standard = simd.mul_f64(simd.sub_f64(x, mean), inverse);
            store(simd, simd.narrow(simd.fma_f64(standard, weight, bias)), out);
        }
    }
}

/// Replaces a row of scores by their softmax: the maximum subtracted, the sum in float64.
///
/// -inf is a masked score and becomes exactly 0; a row of nothing else has no softmax and becomes NaN.
pub fn softmax(isa: Isa, row: &mut [f32]) {
    dispatch_on(isa, Softmax(row));
}

struct Softmax<'a>(&'a mut [f32]);

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let max = simd.splat(maximum(simd, self.0));
        let mut sum = Sum::new(simd);
        let (whole, rest) = self.0.as_chunks_mut();
        for values in whole.iter_mut() {
            let power = exp_lanes(simd, simd.sub(simd.load(values), max));
            sum.add(simd.widen(power), LANES);
            simd.store(power, values);
        }
        if !rest.is_empty() {
            let power = exp_lanes(simd, simd.sub(load(simd, rest), max));
            store(simd, power, rest);
            // The lanes beyond the row's end add zero, which changes no sum of powers.
            sum.add(simd.widen(load(simd, rest)), LANES);
        }
        let inverse = simd.splat_f64(1.0 / sum.total());
        for values in whole {
            let power = simd.widen(simd.load(values));
            simd.store(simd.narrow(simd.mul_f64(power, inverse)), values);
        }
        let power = simd.widen(load(simd, rest));
        store(simd, simd.narrow(simd.mul_f64(power, inverse)), rest);
    }
}

/// The greatest value, in any order: there is no rounding. Where one is NaN, it may be NaN or not.
#[inline(always)]
fn maximum<S: Simd>(simd: S, values: &[f32]) -> f32 {
    let Some(last) = values.last_chunk() else {
        return values.iter().fold(f32::NEG_INFINITY, |max, &x| max.max(x));
    };
    let mut vector = simd.load(last);
    for values in values.as_chunks().0 {
        vector = simd.max(vector, simd.load(values));
    }
    let mut lanes = [0.0; LANES];
    simd.store(vector, &mut lanes);
    let mut apart = LANES / 2;
    while apart > 0 {
        for lane in 0..apart {
            lanes[lane] = lanes[lane].max(lanes[lane + apart]);
        }
        apart /= 2;
    }
    lanes[0]
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
                let Moments { mean, variance } = moments(isa, &row);
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
                normalize(isa, &x, 1e-5, &weight, &bias, &mut out).unwrap();
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
                softmax(isa, &mut row);
                bits(&row)
            });
        }
    }
}
