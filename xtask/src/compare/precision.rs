//! How exact a dump's numbers can be, and what may be asked of them.

use std::fmt;

use llorch_parity::{Rule, Tolerance};
use serde::Serialize;

/// The float types that a dump may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    Float64,
    Float32,
    Float16,
    Bfloat16,
}

/// Half-precision tolerances in units of the unit roundoff.
///
/// A port in half precision rounds every tensor once, by at most u of its size, and hands the rounded one
/// on. Of the sites of one block a dozen lie in a row; their errors add up like a random walk over the
/// layers, whose branches are small beside the stream. `reference/judge_dumps.py` prints what transformers
/// itself needs in these types.
const ROUNDINGS: f64 = 32.0;

impl Precision {
    /// Half the distance from 1 to the next number.
    pub fn unit_roundoff(self) -> f64 {
        match self {
            Precision::Float64 => f64::EPSILON / 2.0,
            Precision::Float32 => f64::from(f32::EPSILON) / 2.0,
            Precision::Float16 => 2f64.powi(-11),
            Precision::Bfloat16 => 2f64.powi(-8),
        }
    }

    /// Whether errors are measured against the truth as well: numbers of half precision are further away
    /// than any float32 witness, whoever computed them.
    pub fn has_budget(self) -> bool {
        matches!(self, Precision::Float64 | Precision::Float32)
    }

    /// The gate's rule for a site, as wide as this type needs it.
    pub fn rule(self, gate: Rule) -> Rule {
        let wider = |t: f64| t.max(ROUNDINGS * self.unit_roundoff());
        match gate.tolerance {
            Tolerance::Within(t) if !self.has_budget() => Rule {
                tolerance: Tolerance::Within(wider(t)),
                ..gate
            },
            _ => gate,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::Float64 => "float64",
            Precision::Float32 => "float32",
            Precision::Float16 => "float16",
            Precision::Bfloat16 => "bfloat16",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_and_double_precision_have_the_gates_bounds() {
        for precision in [Precision::Float32, Precision::Float64] {
            assert_eq!(precision.rule(Rule::within(1e-4)), Rule::within(1e-4));
        }
    }

    #[test]
    fn half_precision_has_bounds_of_its_own_roundoff() {
        let t = |precision: Precision| precision.rule(Rule::within(1e-4).masked());
        assert_eq!(t(Precision::Float16), Rule::within(2f64.powi(-6)).masked());
        assert_eq!(t(Precision::Bfloat16), Rule::within(2f64.powi(-3)).masked());
    }
}
