//! R: how far ours is from the truth, in units of how far the witness is.
//!
//! A tolerance is wide enough for every honest implementation, and so for some dishonest ones. The witness
//! shows how close float32 comes to the truth on the same input; ours may be a few times further, no more.

use crate::measure::SquaredErrors;
use serde::Serialize;

/// The largest R that passes.
pub const BUDGET: f64 = 4.0;

/// Squared errors, pooled per kind of site and case.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    pools: Vec<Pool>,
}

/// The pooled errors of one kind of site in one case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pool {
    /// The kind of site, the caller's word.
    pub kind: String,
    /// The case.
    pub case: String,
    /// The sums over all comparisons of this kind and case.
    pub errors: SquaredErrors,
    /// `RMS(ours - truth) / RMS(witness - truth)`, errors in units of `max(1, |witness|)`; see
    /// [`SquaredErrors::ratio`].
    pub ratio: f64,
}

impl Pool {
    /// Whether R is a number and at most [`BUDGET`].
    pub fn holds(&self) -> bool {
        self.ratio <= BUDGET
    }
}

impl SquaredErrors {
    /// R. Where the witness has no error ours may have none: 0 if so, else infinity. Sums that are no
    /// numbers give NaN, which no budget holds.
    pub fn ratio(self) -> f64 {
        if self.witness == 0.0 {
            return if self.ours == 0.0 { 0.0 } else { f64::INFINITY };
        }
        (self.ours / self.witness).sqrt()
    }
}

impl Budget {
    /// Without any errors.
    pub fn new() -> Budget {
        Budget::default()
    }

    /// Adds the errors of one comparison.
    pub fn add(&mut self, kind: &str, case: &str, errors: SquaredErrors) {
        let known = self
            .pools
            .iter_mut()
            .find(|pool| pool.kind == kind && pool.case == case);
        match known {
            Some(pool) => {
                pool.errors.ours += errors.ours;
                pool.errors.witness += errors.witness;
                pool.ratio = pool.errors.ratio();
            }
            None => self.pools.push(Pool {
                kind: kind.to_owned(),
                case: case.to_owned(),
                errors,
                ratio: errors.ratio(),
            }),
        }
    }

    /// The pools in the order in which their first comparison came.
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }
}
