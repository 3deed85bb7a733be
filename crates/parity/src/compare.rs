//! One tensor of ours against the reference's.
//!
//! The stages run in a fixed order, dtype, shape, finite and mask, values, and the first that fails is the
//! answer: a shape is never worked around to get at the values.

use crate::elements::{index_of, masking, pairs, values};
use crate::measure::{Comparison, measure};
use crate::mismatch::{Masking, Mismatch, NonFinite, Side};
use crate::tensor::{Dtype, Tensor};
use crate::tolerance::Rule;

/// What ours is held against.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// What somebody else's implementation gave.
    pub witness: &'a Tensor,
    /// truth - witness, of the same shape; 0 in masked places.
    pub delta: Option<&'a Tensor>,
}

impl<'a> Reference<'a> {
    /// A witness alone: there will be no R.
    pub fn witness(witness: &'a Tensor) -> Reference<'a> {
        Reference {
            witness,
            delta: None,
        }
    }

    /// A witness with `delta` = truth - witness.
    pub fn with_truth(witness: &'a Tensor, delta: &'a Tensor) -> Reference<'a> {
        Reference {
            witness,
            delta: Some(delta),
        }
    }
}

/// Compares `ours` with the reference by `rule`.
///
/// # Errors
///
/// The [`Mismatch`] of the first stage that fails.
pub fn compare(
    ours: &Tensor,
    reference: Reference<'_>,
    rule: Rule,
) -> Result<Comparison, Mismatch> {
    let witness = reference.witness;
    if std::ptr::eq(ours, witness) {
        return Err(Mismatch::Itself);
    }
    if ours.dtype() != witness.dtype() {
        return Err(Mismatch::Dtype {
            expected: witness.dtype(),
            found: ours.dtype(),
        });
    }
    if ours.shape() != witness.shape() {
        let (expected, found) = (witness.shape().to_vec(), ours.shape().to_vec());
        return Err(Mismatch::Shape { expected, found });
    }
    if let Some(delta) = reference.delta {
        check_truth(witness, delta)?;
    }
    let scale = check_finite(ours, witness, rule.masked)?;
    let comparison = measure(ours, reference, rule.tolerance, scale);
    if comparison.over > 0 {
        return Err(Mismatch::Values(Box::new(comparison)));
    }
    Ok(comparison)
}

/// The truth of floats is finite floats of the same shape; integers have none.
fn check_truth(witness: &Tensor, delta: &Tensor) -> Result<(), Mismatch> {
    let describe = |t: &Tensor| format!("{} {:?}", t.dtype(), t.shape());
    if witness.dtype() == Dtype::Int64 {
        return Err(Mismatch::Truth {
            expected: "none for int64".into(),
            found: describe(delta),
        });
    }
    if delta.dtype() == Dtype::Int64 || delta.shape() != witness.shape() {
        let expected = format!("floats {:?}", witness.shape());
        return Err(Mismatch::Truth {
            expected,
            found: describe(delta),
        });
    }
    for (flat, value) in values(delta).enumerate() {
        if let Some(found) = NonFinite::of(value) {
            let index = index_of(flat, witness.shape());
            return Err(Mismatch::NotFinite {
                side: Side::Truth,
                index,
                found,
            });
        }
    }
    Ok(())
}

/// Finds the first value that is not finite and no common mask; gives the RMS of the reference.
fn check_finite(ours: &Tensor, witness: &Tensor, masked: bool) -> Result<f64, Mismatch> {
    let (mut sum, mut count) = (0.0, 0usize);
    for (flat, pair) in pairs(ours, witness).enumerate() {
        let index = || index_of(flat, witness.shape());
        for (side, value) in [(Side::Reference, pair.reference), (Side::Ours, pair.ours)] {
            match NonFinite::of(value) {
                None => {}
                Some(NonFinite::MinusInfinity) if masked => {}
                Some(found) => {
                    return Err(Mismatch::NotFinite {
                        side,
                        index: index(),
                        found,
                    });
                }
            }
        }
        match (masking(pair.reference), masking(pair.ours)) {
            (Masking::Masked, Masking::Masked) => {}
            (Masking::Open, Masking::Open) => {
                sum += pair.reference * pair.reference;
                count += 1;
            }
            (expected, found) => {
                return Err(Mismatch::Mask {
                    index: index(),
                    expected,
                    found,
                });
            }
        }
    }
    if count == 0 {
        return Err(Mismatch::Empty {
            shape: witness.shape().to_vec(),
        });
    }
    Ok((sum / count as f64).sqrt())
}
