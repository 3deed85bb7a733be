//! The ways in which a tensor is not the one expected.

use crate::measure::Comparison;
use crate::tensor::Dtype;
use serde::Serialize;
use std::fmt;
use thiserror::Error;

/// The first stage at which a comparison failed, in the order of the variants.
#[derive(Clone, Debug, PartialEq, Error, Serialize)]
pub enum Mismatch {
    /// The reference has this tensor, ours has not.
    #[error("missing: expected a tensor, found none")]
    Missing,
    /// Ours has this tensor, and nobody expects it.
    #[error("extra: expected none, found a tensor")]
    Extra,
    /// One and the same tensor was given as ours and as the reference.
    #[error("expected two tensors, found one compared with itself")]
    Itself,
    /// Another element type.
    #[error("dtype: expected {expected}, found {found}")]
    Dtype {
        /// The reference's.
        expected: Dtype,
        /// Ours.
        found: Dtype,
    },
    /// Another shape. Shapes are equal axis by axis or they are not equal.
    #[error("shape: expected {expected:?}, found {found:?}")]
    Shape {
        /// The reference's.
        expected: Vec<usize>,
        /// Ours.
        found: Vec<usize>,
    },
    /// The truth does not belong to the witness.
    #[error("truth: expected {expected}, found {found}")]
    Truth {
        /// What the witness calls for.
        expected: String,
        /// What the difference to the truth is.
        found: String,
    },
    /// A value that no site may hold there.
    #[error("not finite: expected a number, found {found} at {index:?} of {side}")]
    NotFinite {
        /// Whose value it is.
        side: Side,
        /// Its place.
        index: Vec<usize>,
        /// The value.
        found: NonFinite,
    },
    /// -inf stands in one of the two only.
    #[error("mask: expected {expected}, found {found} at {index:?}")]
    Mask {
        /// The first such place.
        index: Vec<usize>,
        /// The reference's state there.
        expected: Masking,
        /// Ours.
        found: Masking,
    },
    /// No element to compare: an axis of length zero, or nothing but mask.
    #[error("expected elements to compare, found none in shape {shape:?}")]
    Empty {
        /// The shape of both.
        shape: Vec<usize>,
    },
    /// Values are further apart than the tolerance admits.
    #[error(
        "values: {} of {} elements differ too much, the worst at {:?}: expected {:e}, found {:e}, \
         |difference| {:e}, allowed {:e}",
        .0.over, .0.elements, .0.worst.index, .0.worst.reference, .0.worst.ours,
        .0.worst.difference, .0.worst.allowed
    )]
    Values(Box<Comparison>),
}

/// Whose value it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// What is judged.
    Ours,
    /// What it is held against.
    Reference,
    /// The stored difference between truth and reference.
    Truth,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Ours => "ours",
            Side::Reference => "the reference",
            Side::Truth => "the truth",
        })
    }
}

/// A float that is no number, named: JSON cannot write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum NonFinite {
    /// Not a number.
    NaN,
    /// Positive infinity.
    PlusInfinity,
    /// Negative infinity, where it is no mask.
    MinusInfinity,
}

impl NonFinite {
    /// The name of `value`, or `None` for a finite number.
    pub fn of(value: f64) -> Option<NonFinite> {
        match value {
            v if v.is_nan() => Some(NonFinite::NaN),
            f64::INFINITY => Some(NonFinite::PlusInfinity),
            f64::NEG_INFINITY => Some(NonFinite::MinusInfinity),
            _ => None,
        }
    }
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NonFinite::NaN => "NaN",
            NonFinite::PlusInfinity => "+inf",
            NonFinite::MinusInfinity => "-inf",
        })
    }
}

/// Whether a place is masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Masking {
    /// -inf stands there.
    Masked,
    /// A number stands there.
    Open,
}

impl fmt::Display for Masking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Masking::Masked => "-inf (masked)",
            Masking::Open => "a number (not masked)",
        })
    }
}
