//! A verdict with the figures it rests on.

use super::{Evidence, KindSummary, Reason, Verdict, Worst};
use crate::budget::Pool;
use serde::Serialize;

/// What [`Judge::finish`](crate::Judge::finish) gives: the verdict, and what there is to print. It can be
/// written as JSON and not be read back.
#[derive(Debug, Serialize)]
pub struct Judgement {
    #[serde(flatten)]
    pub(super) verdict: Verdict,
    pub(super) pending: Vec<Reason>,
    pub(super) sites: usize,
    pub(super) elements: usize,
    pub(super) worst: Option<Worst>,
    pub(super) kinds: Vec<KindSummary>,
    pub(super) pools: Vec<Pool>,
    pub(super) runs: Vec<String>,
    pub(super) evidence: Evidence,
}

impl Judgement {
    /// The verdict.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// What was unknown in a run that failed; empty otherwise.
    pub fn pending(&self) -> &[Reason] {
        &self.pending
    }

    /// The number of comparisons that came as far as the values.
    pub fn sites(&self) -> usize {
        self.sites
    }

    /// The number of elements compared.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// The element that used most of its tolerance, over all kinds.
    pub fn worst(&self) -> Option<&Worst> {
        self.worst.as_ref()
    }

    /// Sums per kind of site, in the order in which the kinds were met.
    pub fn kinds(&self) -> &[KindSummary] {
        &self.kinds
    }

    /// R per kind of site and case, in the order in which they were met.
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// The pool with the largest R; one that is no number is larger than any.
    pub fn largest_ratio(&self) -> Option<&Pool> {
        // Without its sign: the NaN that inf / inf gives is the smallest of all on x86-64.
        let r = |pool: &Pool| pool.ratio.abs();
        self.pools.iter().max_by(|a, b| r(a).total_cmp(&r(b)))
    }

    /// The names of the pairs of runs that were equal to the bit.
    pub fn runs(&self) -> &[String] {
        &self.runs
    }

    /// The hashes and the commit, as given.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }
}
