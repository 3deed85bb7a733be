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

/// What half precision may cost, in units of its unit roundoff u. A port rounds every tensor once, by at most u of
/// its size, and hands the rounded one on; over the layers the errors add up like a random walk. `DUE` is what
/// the root mean square of a site's error may be expected to be beside that of its numbers, and 4 times that is
/// refused, as the gate does with R; `WORST` bounds every number. transformers itself in these types stays under
/// half of either.
const DUE: f64 = 2.0;
const WORST: f64 = 64.0;

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

    /// Whether the truth is what errors are measured by. Numbers of half precision are further from it than any
    /// float32 witness, whoever computed them.
    pub fn is_full(self) -> bool {
        matches!(self, Precision::Float64 | Precision::Float32)
    }

    /// The error that half precision owes to its type, root mean square over that of the numbers, both in units of
    /// max(1, |expected|).
    pub fn due(self) -> f64 {
        DUE * self.unit_roundoff()
    }

    /// The gate's rule for a site, as wide as this type needs it: logits twice as wide as what leads to them.
    pub fn rule(self, gate: Rule) -> Rule {
        match gate.tolerance {
            Tolerance::Within(t) if !self.is_full() => {
                let logits = if t > 1e-4 { 2.0 } else { 1.0 };
                Rule {
                    tolerance: Tolerance::Within(logits * WORST * self.unit_roundoff()),
                    ..gate
                }
            }
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
        let t = |precision: Precision, gate: f64| precision.rule(Rule::within(gate).masked());
        let expected = |t: f64| Rule::within(t).masked();
        assert_eq!(t(Precision::Float16, 1e-4), expected(2f64.powi(-5)));
        assert_eq!(t(Precision::Bfloat16, 1e-4), expected(2f64.powi(-2)));
        assert_eq!(t(Precision::Bfloat16, 1e-3), expected(2f64.powi(-1)));
        assert_eq!(Precision::Bfloat16.due(), 2f64.powi(-7));
    }
}
