//! The figures of one comparison, once both tensors are known to be comparable.

use crate::compare::Reference;
use crate::elements::{Pair, index_of, masking, pairs, values};
use crate::mismatch::Masking;
use crate::tensor::Tensor;
use crate::tolerance::Tolerance;
use serde::Serialize;

/// What was measured on one site. Masked places take no part in any of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The number of elements compared, at least one.
    pub elements: usize,
    /// The number of elements further apart than allowed.
    pub over: usize,
    /// The element that uses most of what it is allowed.
    pub worst: Difference,
    /// The largest relative error: `|a - b| / max(|b|, RMS of b)`. Per element where the reference is above
    /// its own RMS; elsewhere relative to the RMS, for a quotient by something near zero says nothing.
    /// Infinite where the reference is 0 throughout and ours is not.
    pub worst_relative: f64,
    /// The range of our values.
    pub range: Range,
    /// The squared errors against the truth, where the truth was given.
    pub errors: Option<SquaredErrors>,
}

/// Two values at one place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The place, one index an axis.
    pub index: Vec<usize>,
    /// Our value.
    pub ours: f64,
    /// The reference's value.
    pub reference: f64,
    /// `|ours - reference|`.
    pub difference: f64,
    /// The largest difference the tolerance admits here.
    pub allowed: f64,
}

impl Difference {
    /// The difference in units of what is allowed: over 1 is too much. Where only equality is allowed, 0 for
    /// equal bits and infinity for others.
    pub fn share(&self) -> f64 {
        let same = self.ours.to_bits() == self.reference.to_bits() && self.difference == 0.0;
        share(self.difference, self.allowed, same)
    }
}

/// The smallest and the largest value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Range {
    /// The range of nothing, which any value widens.
    pub(crate) const NOTHING: Range = Range {
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
    };

    /// The range that covers both.
    pub fn cover(self, other: Range) -> Range {
        Range {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

/// Sums over the elements, in float64, every error in units of `max(1, |witness|)`, as tolerances are.
///
/// Without that unit a few channels of large values, which trained models have, would be all that counts:
/// their rounding alone would decide R, and an error everywhere else would not be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SquaredErrors {
    /// The sum of `((ours - truth) / max(1, |witness|))^2`, where `ours - truth = (ours - witness) - delta`.
    pub ours: f64,
    /// The sum of `((witness - truth) / max(1, |witness|))^2`.
    pub witness: f64,
}

/// Measures all places that are not masked; `rms` is the reference's.
pub(crate) fn measure(
    ours: &Tensor,
    reference: Reference<'_>,
    tolerance: Tolerance,
    rms: f64,
) -> Comparison {
    let witness = reference.witness;
    let mut deltas = reference.delta.map(values);
    let mut errors = SquaredErrors::default();
    let mut worst = Worst::default();
    let (mut elements, mut over, mut worst_relative) = (0, 0, 0.0f64);
    let mut range = Range::NOTHING;
    for (flat, pair) in pairs(ours, witness).enumerate() {
        // Without a truth there are no errors to report; with one there is a delta for every pair.
        let delta = deltas.as_mut().and_then(Iterator::next).unwrap_or_default();
        if masking(pair.reference) == Masking::Masked {
            continue;
        }
        elements += 1;
        range = range.cover(Range {
            min: pair.ours,
            max: pair.ours,
        });
        let allowed = pair.allowed(tolerance);
        over += usize::from(!pair.is_within(allowed));
        worst.see(
            share(pair.difference, allowed, pair.same),
            flat,
            pair,
            allowed,
        );
        // 0 / 0 where the reference is 0 throughout: no number, which `max` passes over.
        worst_relative = worst_relative.max(pair.difference / pair.reference.abs().max(rms));
        let unit = pair.reference.abs().max(1.0);
        errors.ours += (((pair.ours - pair.reference) - delta) / unit).powi(2);
        errors.witness += (delta / unit).powi(2);
    }
    Comparison {
        elements,
        over,
        worst: worst.difference(witness.shape()),
        worst_relative,
        range,
        errors: reference.delta.map(|_| errors),
    }
}

/// See [`Difference::share`]. With a NaN as `allowed` nothing is enough.
fn share(difference: f64, allowed: f64, same: bool) -> f64 {
    if allowed > 0.0 {
        difference / allowed
    } else if allowed == 0.0 && same {
        0.0
    } else {
        f64::INFINITY
    }
}

/// The pair with the largest share so far; of equal ones the larger difference, then the first.
#[derive(Default)]
struct Worst {
    seen: Option<(f64, usize, Pair, f64)>,
}

impl Worst {
    fn see(&mut self, share: f64, flat: usize, pair: Pair, allowed: f64) {
        let worse = self.seen.is_none_or(|(most, _, worst, _)| {
            share > most || (share == most && pair.difference > worst.difference)
        });
        if worse {
            self.seen = Some((share, flat, pair, allowed));
        }
    }

    fn difference(&self, shape: &[usize]) -> Difference {
        // Something was seen: tensors without an open place are refused before they are measured.
        let (_, flat, pair, allowed) = self.seen.unwrap_or_default();
        Difference {
            index: index_of(flat, shape),
            ours: pair.ours,
            reference: pair.reference,
            difference: pair.difference,
            allowed,
        }
    }
}
