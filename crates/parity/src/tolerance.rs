//! How far apart two values may be, and what a site may hold besides numbers.

use serde::Serialize;
use std::fmt;

/// How far ours may be from the reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tolerance {
    /// `|a - b| <= t * max(1, |b|)`, b the reference: absolute near zero, relative for large values.
    /// A `t` that is not between 0 and 1 admits nothing, not even equality.
    Within(f64),
    /// Equal to the bit. `-0.0` and `0.0` are different bits; NaN is equal to nothing.
    Exact,
}

impl Tolerance {
    /// The largest `|a - b|` admitted where the reference is `reference`; NaN where nothing is.
    pub fn allowed(self, reference: f64) -> f64 {
        match self {
            Tolerance::Within(t) if 0.0 < t && t < 1.0 => t * reference.abs().max(1.0),
            Tolerance::Within(_) => f64::NAN,
            Tolerance::Exact => 0.0,
        }
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tolerance::Within(t) => write!(f, "{t:e}"),
            Tolerance::Exact => f.write_str("exact"),
        }
    }
}

/// How one site is compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rule {
    /// How far apart values may be. Integers are equal or not, whatever stands here.
    pub tolerance: Tolerance,
    /// Whether -inf may stand in this site as a mask; it must then stand in the same places in both.
    pub masked: bool,
}

impl Rule {
    /// Finite values within `t`.
    pub fn within(t: f64) -> Rule {
        Rule {
            tolerance: Tolerance::Within(t),
            masked: false,
        }
    }

    /// Finite values equal to the bit.
    pub fn exact() -> Rule {
        Rule {
            tolerance: Tolerance::Exact,
            masked: false,
        }
    }

    /// The same, with -inf as a mask.
    pub fn masked(self) -> Rule {
        Rule {
            masked: true,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_absolute_below_one_and_relative_above() {
        assert_eq!(Tolerance::Within(1e-4).allowed(0.5), 1e-4);
        assert_eq!(Tolerance::Within(1e-4).allowed(-2000.0), 0.2);
        assert_eq!(Tolerance::Exact.allowed(2000.0), 0.0);
    }

    #[test]
    fn a_senseless_tolerance_admits_nothing() {
        for t in [f64::NAN, f64::INFINITY, -1e-9, 0.0, 1.0] {
            assert!(Tolerance::Within(t).allowed(0.0).is_nan(), "{t}");
        }
    }

    #[test]
    fn tolerances_are_printed_short() {
        assert_eq!(Tolerance::Within(1e-5).to_string(), "1e-5");
        assert_eq!(Tolerance::Exact.to_string(), "exact");
    }
}
