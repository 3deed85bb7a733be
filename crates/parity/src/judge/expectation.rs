//! What a judgement must contain, said before anything is run.

use crate::tolerance::Rule;
use serde::Serialize;
use std::fmt;

/// The name of one comparison: a case, and a tensor's name in that case's trace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key {
    /// The case.
    pub case: String,
    /// The tensor's name, with the call it belongs to.
    pub name: String,
}

impl Key {
    /// The comparison of `name` in `case`.
    pub fn new(case: impl Into<String>, name: impl Into<String>) -> Key {
        Key {
            case: case.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.case, self.name)
    }
}

/// One comparison that must be made, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    pub(super) key: Key,
    pub(super) kind: String,
    pub(super) measure: Measure,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Measure {
    Tensor { rule: Rule, truth: bool },
    Choice,
}

impl Measure {
    pub(super) fn name(self) -> &'static str {
        match self {
            Measure::Tensor { .. } => "a tensor",
            Measure::Choice => "a choice",
        }
    }
}

impl Expectation {
    /// A tensor, compared by `rule` and pooled for the budget under `kind`. The truth is needed too.
    pub fn tensor(key: Key, kind: impl Into<String>, rule: Rule) -> Expectation {
        Expectation {
            key,
            kind: kind.into(),
            measure: Measure::Tensor { rule, truth: true },
        }
    }

    /// A tensor for which there is no truth to be had: ids, text, what must be equal to the bit.
    pub fn tensor_without_truth(key: Key, kind: impl Into<String>, rule: Rule) -> Expectation {
        Expectation {
            key,
            kind: kind.into(),
            measure: Measure::Tensor { rule, truth: false },
        }
    }

    /// A [`Choice`](crate::Choice) between candidates.
    pub fn choice(key: Key, kind: impl Into<String>) -> Expectation {
        Expectation {
            key,
            kind: kind.into(),
            measure: Measure::Choice,
        }
    }

    /// Its key.
    pub fn key(&self) -> &Key {
        &self.key
    }
}
