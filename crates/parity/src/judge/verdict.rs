//! The verdict, and the only place where a PASS is made.

use super::{Evidence, Failure, Reason};
use serde::Serialize;
use std::fmt;
use std::num::NonZeroUsize;

/// PASS, FAIL or INCONCLUSIVE.
#[derive(Debug, Serialize)]
#[serde(tag = "verdict", content = "because", rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Everything expected was compared and held, on complete evidence.
    Pass(Passed),
    /// Something is wrong; the first that was found comes first. Whatever is unknown besides.
    Fail(Vec<Failure>),
    /// Nothing is known to be wrong, and not everything is known.
    Inconclusive(Vec<Reason>),
}

/// The proof of a PASS. There is no way to make one but [`Judge::finish`](crate::Judge::finish): not by hand,
///
/// ```compile_fail,E0451
/// fn forge(evidence: llorch_parity::Evidence) -> llorch_parity::Passed {
///     let one = std::num::NonZeroUsize::MIN;
///     llorch_parity::Passed { sites: one, elements: one, runs: one, evidence }
/// }
/// ```
///
/// not from nothing, not from another,
///
/// ```compile_fail,E0277
/// fn needs<T: Default>() {}
/// needs::<llorch_parity::Passed>();
/// ```
///
/// ```compile_fail,E0277
/// fn needs<T: Clone>() {}
/// needs::<llorch_parity::Passed>();
/// ```
///
/// and not from a file: a verdict is written and never read.
///
/// ```compile_fail,E0277
/// fn needs<T: serde::de::DeserializeOwned>() {}
/// needs::<llorch_parity::Passed>();
/// ```
#[derive(Debug, Serialize)]
pub struct Passed {
    sites: NonZeroUsize,
    elements: NonZeroUsize,
    runs: NonZeroUsize,
    evidence: Evidence,
}

impl Passed {
    /// The number of comparisons.
    pub fn sites(&self) -> NonZeroUsize {
        self.sites
    }

    /// The number of elements compared.
    pub fn elements(&self) -> NonZeroUsize {
        self.elements
    }

    /// The number of determinism runs, each equal to the bit.
    pub fn runs(&self) -> NonZeroUsize {
        self.runs
    }

    /// What it was reached on.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }
}

impl Verdict {
    /// PASS 0, FAIL 1, INCONCLUSIVE 3. (2 is misuse, which has no verdict.)
    pub fn exit_code(&self) -> u8 {
        match self {
            Verdict::Pass(_) => 0,
            Verdict::Fail(_) => 1,
            Verdict::Inconclusive(_) => 3,
        }
    }

    /// Whether this is a PASS.
    pub fn is_pass(&self) -> bool {
        matches!(self, Verdict::Pass(_))
    }

    /// Weighs what was found. A failure outweighs whatever is unknown; the second value is then what was
    /// unknown besides.
    pub(super) fn weigh(
        failures: Vec<Failure>,
        mut reasons: Vec<Reason>,
        counts: Counts,
        evidence: &Evidence,
    ) -> (Verdict, Vec<Reason>) {
        reasons.extend(evidence.gaps());
        let counted = (
            NonZeroUsize::new(counts.sites),
            NonZeroUsize::new(counts.elements),
            NonZeroUsize::new(counts.runs),
        );
        if counts.runs == 0 {
            reasons.push(Reason::NoDeterminism);
        }
        if !failures.is_empty() {
            return (Verdict::Fail(failures), reasons);
        }
        let verdict = match counted {
            (Some(sites), Some(elements), Some(runs)) if reasons.is_empty() => {
                Verdict::Pass(Passed {
                    sites,
                    elements,
                    runs,
                    evidence: evidence.clone(),
                })
            }
            _ => Verdict::Inconclusive(reasons),
        };
        (verdict, Vec::new())
    }
}

/// How much there was.
pub(super) struct Counts {
    pub(super) sites: usize,
    pub(super) elements: usize,
    pub(super) runs: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Pass(_) => "PASS",
            Verdict::Fail(_) => "FAIL",
            Verdict::Inconclusive(_) => "INCONCLUSIVE",
        })
    }
}
