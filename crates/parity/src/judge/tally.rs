//! What was measured, summed up for the reader.

use super::Key;
use crate::measure::{Comparison, Difference, Range};
use crate::tolerance::Rule;
use serde::Serialize;

/// The element that used most of its tolerance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Worst {
    /// The comparison it is in.
    pub key: Key,
    /// Its place and values.
    pub difference: Difference,
}

/// All comparisons of one kind of site.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindSummary {
    /// The kind, the caller's word.
    pub kind: String,
    /// The rules used, each once.
    pub rules: Vec<Rule>,
    /// The number of comparisons.
    pub sites: usize,
    /// The number of elements compared.
    pub elements: usize,
    /// The element that used most of its tolerance; none where only choices were compared.
    pub worst: Option<Worst>,
    /// The largest relative error; see [`Comparison::worst_relative`].
    pub worst_relative: f64,
    /// The range of our values; none where only choices were compared.
    pub range: Option<Range>,
}

/// Sums per kind, in the order in which kinds were first met.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) kinds: Vec<KindSummary>,
}

impl Tally {
    pub(super) fn add(&mut self, key: &Key, kind: &str, rule: Rule, comparison: &Comparison) {
        let summary = self.kind(kind);
        summary.sites += 1;
        summary.elements += comparison.elements;
        if !summary.rules.contains(&rule) {
            summary.rules.push(rule);
        }
        summary.worst_relative = summary.worst_relative.max(comparison.worst_relative);
        let range = summary
            .range
            .unwrap_or(Range::NOTHING)
            .cover(comparison.range);
        summary.range = Some(range);
        let worst = Worst {
            key: key.clone(),
            difference: comparison.worst.clone(),
        };
        summary.worst = worse(summary.worst.take(), Some(worst));
    }

    pub(super) fn add_choice(&mut self, kind: &str) {
        let summary = self.kind(kind);
        summary.sites += 1;
        summary.elements += 1;
    }

    pub(super) fn worst(&self) -> Option<Worst> {
        self.kinds
            .iter()
            .fold(None, |worst, kind| worse(worst, kind.worst.clone()))
    }

    fn kind(&mut self, kind: &str) -> &mut KindSummary {
        let at = self.kinds.iter().position(|summary| summary.kind == kind);
        let at = at.unwrap_or_else(|| {
            self.kinds.push(KindSummary {
                kind: kind.to_owned(),
                rules: Vec::new(),
                sites: 0,
                elements: 0,
                worst: None,
                worst_relative: 0.0,
                range: None,
            });
            self.kinds.len() - 1
        });
        &mut self.kinds[at]
    }
}

/// The one with the larger share; of equal ones the first.
fn worse(a: Option<Worst>, b: Option<Worst>) -> Option<Worst> {
    match (a, b) {
        (Some(a), Some(b)) if b.difference.share() > a.difference.share() => Some(b),
        (Some(a), _) => Some(a),
        (None, b) => b,
    }
}
