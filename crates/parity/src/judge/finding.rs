//! What keeps a judgement from being a PASS.

use super::Key;
use crate::mismatch::Mismatch;
use serde::Serialize;
use thiserror::Error;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Error, Serialize)]
pub enum Failure {
    /// A tensor is not the one expected.
    #[error("{key}: {mismatch}")]
    Mismatch {
        /// The comparison.
        key: Key,
        /// What is wrong with it.
        mismatch: Mismatch,
    },
    /// The ids differ where the margin settles which is right.
    #[error("{key}: expected {expected}, found {found} (margin {margin:e}, needed {needed:e})")]
    Choice {
        /// The comparison.
        key: Key,
        /// The reference's choice.
        expected: i64,
        /// Ours.
        found: i64,
        /// The truth's margin between its two best.
        margin: f64,
        /// The margin that settles it.
        needed: f64,
    },
    /// Ours is within the tolerance and yet further from the truth than the budget admits.
    #[error("{kind} in {case}: expected R at most {expected}, found {found:.3}")]
    Budget {
        /// The kind of site.
        kind: String,
        /// The case.
        case: String,
        /// The limit.
        expected: f64,
        /// R, infinite where the witness has no error and ours has one.
        found: f64,
    },
    /// Two runs that must give the same bits did not.
    #[error("determinism, {run}: {mismatch}")]
    Determinism {
        /// The pair of runs.
        run: String,
        /// Where they differ.
        mismatch: Mismatch,
    },
    /// One name was judged twice: the second could hide the first.
    #[error("{name}: expected one comparison, found a second")]
    Twice {
        /// The comparison or run.
        name: String,
    },
    /// One name was expected twice.
    #[error("{key}: expected it once, found it twice in what is expected")]
    ExpectedTwice {
        /// The comparison.
        key: Key,
    },
    /// A tensor was given for a choice, or the reverse.
    #[error("{key}: expected {expected}, found {found}")]
    Measure {
        /// The comparison.
        key: Key,
        /// What was announced.
        expected: &'static str,
        /// What came.
        found: &'static str,
    },
    /// Ours could not be run at all.
    #[error("expected ours to run, found {what}")]
    Broken {
        /// What it said.
        what: String,
    },
}

/// Something that is not known.
#[derive(Clone, Debug, PartialEq, Error, Serialize)]
pub enum Reason {
    /// Something needed is not there: a reference, its truth, weights.
    #[error("expected {what}, found none; {hint}")]
    Absent {
        /// What is missing.
        what: String,
        /// How to get it.
        hint: String,
    },
    /// Witnesses contradict each other, so that who is right is not known.
    #[error("expected {witness} to agree too, found {because}")]
    Dissent {
        /// Who does not agree.
        witness: String,
        /// Its first failure.
        because: String,
    },
    /// Nothing was expected, so nothing can have been shown.
    #[error("expected something to judge, found an empty list")]
    NothingExpected,
    /// Comparisons were expected and never made.
    #[error("expected {} more comparisons, found none; the first is {}", .keys.len(), first(.keys))]
    NotCompared {
        /// Their names, in the order expected.
        keys: Vec<Key>,
    },
    /// The margin does not settle which choice is right.
    #[error(
        "{key}: expected a margin over {needed:e}, found {margin:e}: either choice may be right"
    )]
    Margin {
        /// The comparison.
        key: Key,
        /// The truth's margin between its two best.
        margin: f64,
        /// The margin that would settle it.
        needed: f64,
    },
    /// No two runs were compared.
    #[error("expected at least one determinism run, found none")]
    NoDeterminism,
    /// A piece of evidence is missing or malformed.
    #[error("{field}: expected {expected}, found {found:?}")]
    Evidence {
        /// Which one.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

fn first(keys: &[Key]) -> String {
    keys.first().map(Key::to_string).unwrap_or_default()
}
