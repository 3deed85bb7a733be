//! The elements of tensors in pairs, and where they stand.

use crate::mismatch::Masking;
use crate::tensor::Tensor;
use crate::tolerance::Tolerance;

/// Two values at the same place.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pair {
    pub ours: f64,
    pub reference: f64,
    pub difference: f64,
    /// The elements themselves are equal to the bit.
    pub same: bool,
    integer: bool,
}

impl Pair {
    fn float(ours: f64, reference: f64) -> Pair {
        let same = ours.to_bits() == reference.to_bits();
        Pair {
            ours,
            reference,
            difference: (ours - reference).abs(),
            same,
            integer: false,
        }
    }

    /// The difference is taken before rounding to float64, so that ids above 2^53 stay apart.
    fn integer(ours: i64, reference: i64) -> Pair {
        Pair {
            ours: ours as f64,
            reference: reference as f64,
            difference: ours.abs_diff(reference) as f64,
            same: ours == reference,
            integer: true,
        }
    }

    /// The largest difference that `tolerance` admits here; integers are equal or not.
    pub fn allowed(&self, tolerance: Tolerance) -> f64 {
        if self.integer {
            0.0
        } else {
            tolerance.allowed(self.reference)
        }
    }

    /// Whether the difference is no more than `allowed`. No difference is within NaN, and within 0 only
    /// equal bits are.
    pub fn is_within(&self, allowed: f64) -> bool {
        self.difference <= allowed && (allowed > 0.0 || self.same)
    }
}

/// Whether `value` is a mask.
pub(crate) fn masking(value: f64) -> Masking {
    if value == f64::NEG_INFINITY {
        Masking::Masked
    } else {
        Masking::Open
    }
}

/// The values in standard order; float32 and float64 unchanged, integers rounded.
pub(crate) fn values(tensor: &Tensor) -> Box<dyn Iterator<Item = f64> + '_> {
    match tensor {
        Tensor::F32(a) => Box::new(a.iter().map(|&v| f64::from(v))),
        Tensor::F64(a) => Box::new(a.iter().copied()),
        Tensor::I64(a) => Box::new(a.iter().map(|&v| v as f64)),
    }
}

/// The pairs in standard order, of tensors that have one dtype and one shape.
pub(crate) fn pairs<'a>(
    ours: &'a Tensor,
    reference: &'a Tensor,
) -> Box<dyn Iterator<Item = Pair> + 'a> {
    match (ours, reference) {
        (Tensor::I64(a), Tensor::I64(b)) => {
            Box::new(a.iter().zip(b).map(|(&a, &b)| Pair::integer(a, b)))
        }
        _ => Box::new(
            values(ours)
                .zip(values(reference))
                .map(|(a, b)| Pair::float(a, b)),
        ),
    }
}

/// The index of the element that is number `flat` in standard order.
pub(crate) fn index_of(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (place, &axis) in index.iter_mut().zip(shape).rev() {
        *place = flat % axis.max(1);
        flat /= axis.max(1);
    }
    index
}
