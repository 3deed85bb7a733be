//! Collecting comparisons until a verdict can be given.

mod choice;
mod evidence;
mod expectation;
mod finding;
mod judgement;
mod tally;
mod verdict;

pub use choice::Choice;
pub use evidence::Evidence;
pub use expectation::{Expectation, Key};
pub use finding::{Failure, Reason};
pub use judgement::Judgement;
pub use tally::{KindSummary, Worst};
pub use verdict::{Passed, Verdict};

use crate::budget::{BUDGET, Budget};
use crate::compare::{Reference, compare};
use crate::measure::Comparison;
use crate::mismatch::Mismatch;
use crate::tensor::Tensor;
use crate::tolerance::Rule;
use crate::trace::Trace;
use expectation::Measure;
use std::collections::{BTreeMap, BTreeSet};
use tally::Tally;
use verdict::Counts;

/// Holds what arrives against what was expected. It makes every comparison itself: a result from elsewhere
/// cannot be handed to it, and what it is not shown it misses.
#[derive(Debug)]
pub struct Judge {
    hint: String,
    expected: Vec<Expectation>,
    places: BTreeMap<Key, usize>,
    seen: BTreeSet<Key>,
    tally: Tally,
    budget: Budget,
    runs: Vec<String>,
    run_names: BTreeSet<String>,
    failures: Vec<Failure>,
    reasons: Vec<Reason>,
}

impl Judge {
    /// A judge that expects `expected`, in the order of execution; `hint` says how to get references that
    /// are absent.
    pub fn new(expected: Vec<Expectation>, hint: impl Into<String>) -> Judge {
        let mut places = BTreeMap::new();
        let mut failures = Vec::new();
        for (place, expectation) in expected.iter().enumerate() {
            if places.insert(expectation.key.clone(), place).is_some() {
                failures.push(Failure::ExpectedTwice {
                    key: expectation.key.clone(),
                });
            }
        }
        Judge {
            hint: hint.into(),
            expected,
            places,
            seen: BTreeSet::new(),
            tally: Tally::default(),
            budget: Budget::new(),
            runs: Vec::new(),
            run_names: BTreeSet::new(),
            failures,
            reasons: Vec::new(),
        }
    }

    /// Compares one tensor. Ours missing is a failure, the reference missing is a reason to be inconclusive;
    /// a name that is not expected, or comes again, is a failure.
    pub fn compare(&mut self, key: &Key, ours: Option<&Tensor>, reference: Option<Reference<'_>>) {
        let Some((kind, measure)) = self.admit(key) else {
            return;
        };
        let Measure::Tensor { rule, truth } = measure else {
            return self.wrong_measure(key, measure, "a tensor");
        };
        let Some(reference) = reference else {
            return self.absent_reference(format!("the reference of {key}"));
        };
        if truth && reference.delta.is_none() {
            self.absent_reference(format!("the truth of {key}"));
        }
        let result = match ours {
            Some(ours) => compare(ours, reference, rule),
            None => Err(Mismatch::Missing),
        };
        self.record(key, &kind, rule, result);
    }

    /// Compares everything that is expected of `case`, in the expected order, then fails whatever `ours` has
    /// besides. `truth` holds truth - witness under the same names.
    pub fn compare_case(
        &mut self,
        case: &str,
        ours: &Trace,
        witness: &Trace,
        truth: Option<&Trace>,
    ) {
        let of_case = self
            .expected
            .iter()
            .map(|e| &e.key)
            .filter(|key| key.case == case);
        let keys: Vec<Key> = of_case.cloned().collect();
        for key in &keys {
            let delta = truth.and_then(|truth| truth.get(&key.name));
            let reference = witness
                .get(&key.name)
                .map(|witness| Reference { witness, delta });
            self.compare(key, ours.get(&key.name), reference);
        }
        for (name, _) in ours.iter() {
            let key = Key::new(case, name);
            if !self.places.contains_key(&key) {
                self.fail(&key, Mismatch::Extra);
            }
        }
    }

    /// Compares one choice: equal ids count, unequal ids fail, and where the margin does not exceed what is
    /// needed neither says anything.
    pub fn compare_choice(&mut self, key: &Key, choice: Choice) {
        let Some((kind, measure)) = self.admit(key) else {
            return;
        };
        if measure != Measure::Choice {
            return self.wrong_measure(key, measure, "a choice");
        }
        let Choice {
            ours,
            reference,
            margin,
            needed,
        } = choice;
        let key = key.clone();
        if !choice.is_settled() {
            self.reasons.push(Reason::Margin {
                key,
                margin,
                needed,
            });
        } else if ours != reference {
            let (expected, found) = (reference, ours);
            self.failures.push(Failure::Choice {
                key,
                expected,
                found,
                margin,
                needed,
            });
        } else {
            self.tally.add_choice(&kind);
        }
    }

    /// Compares what two runs gave that must agree to the bit. Masks are compared as masks.
    pub fn identical(&mut self, run: &str, a: &Tensor, b: &Tensor) {
        if !self.run_names.insert(run.to_owned()) {
            return self.failures.push(Failure::Twice {
                name: run.to_owned(),
            });
        }
        match compare(b, Reference::witness(a), Rule::exact().masked()) {
            Ok(_) => self.runs.push(run.to_owned()),
            Err(mismatch) => {
                self.failures.push(Failure::Determinism {
                    run: run.to_owned(),
                    mismatch,
                });
            }
        }
    }

    /// Records that something needed is not there, and how to get it.
    pub fn absent(&mut self, what: impl Into<String>, hint: impl Into<String>) {
        self.reasons.push(Reason::Absent {
            what: what.into(),
            hint: hint.into(),
        });
    }

    /// Records that another witness contradicts ours, and so, where ours is right by the first, that one too.
    pub fn dissent(&mut self, witness: impl Into<String>, because: impl Into<String>) {
        self.reasons.push(Reason::Dissent {
            witness: witness.into(),
            because: because.into(),
        });
    }

    /// Records that ours gave up on an input it should have taken: a failure, whatever else was compared.
    pub fn broken(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.failures.push(Failure::Broken { what });
    }

    /// Gives the verdict. PASS needs every expected comparison made and held, every R within [`BUDGET`], at
    /// least one pair of runs equal to the bit, and complete evidence.
    pub fn finish(mut self, evidence: Evidence) -> Judgement {
        self.miss();
        self.judge_budget();
        let kinds = &self.tally.kinds;
        let sites = kinds.iter().map(|kind| kind.sites).sum();
        let elements = kinds.iter().map(|kind| kind.elements).sum();
        let counts = Counts {
            sites,
            elements,
            runs: self.runs.len(),
        };
        let (verdict, pending) = Verdict::weigh(self.failures, self.reasons, counts, &evidence);
        Judgement {
            verdict,
            pending,
            sites,
            elements,
            worst: self.tally.worst(),
            kinds: self.tally.kinds,
            pools: self.budget.pools().to_vec(),
            runs: self.runs,
            evidence,
        }
    }

    /// How `key` is to be judged, if it is expected and new.
    fn admit(&mut self, key: &Key) -> Option<(String, Measure)> {
        let Some(&place) = self.places.get(key) else {
            self.fail(key, Mismatch::Extra);
            return None;
        };
        if !self.seen.insert(key.clone()) {
            self.failures.push(Failure::Twice {
                name: key.to_string(),
            });
            return None;
        }
        let expectation = &self.expected[place];
        Some((expectation.kind.clone(), expectation.measure))
    }

    /// Counts what was measured, also where it was too much: its R and its place say how much.
    fn record(&mut self, key: &Key, kind: &str, rule: Rule, result: Result<Comparison, Mismatch>) {
        let measured = match &result {
            Ok(comparison) => Some(comparison),
            Err(Mismatch::Values(comparison)) => Some(comparison.as_ref()),
            Err(_) => None,
        };
        if let Some(comparison) = measured {
            self.tally.add(key, kind, rule, comparison);
            if let Some(errors) = comparison.errors {
                self.budget.add(kind, &key.case, errors);
            }
        }
        if let Err(mismatch) = result {
            self.fail(key, mismatch);
        }
    }

    fn fail(&mut self, key: &Key, mismatch: Mismatch) {
        self.failures.push(Failure::Mismatch {
            key: key.clone(),
            mismatch,
        });
    }

    fn wrong_measure(&mut self, key: &Key, expected: Measure, found: &'static str) {
        let (key, expected) = (key.clone(), expected.name());
        self.failures.push(Failure::Measure {
            key,
            expected,
            found,
        });
    }

    fn absent_reference(&mut self, what: String) {
        let hint = self.hint.clone();
        self.absent(what, hint);
    }

    /// Names what was expected and never came.
    fn miss(&mut self) {
        if self.expected.is_empty() {
            self.reasons.push(Reason::NothingExpected);
        }
        let all = self.expected.iter().map(|expectation| &expectation.key);
        let keys: Vec<Key> = all
            .filter(|key| !self.seen.contains(key))
            .cloned()
            .collect();
        if !keys.is_empty() {
            self.reasons.push(Reason::NotCompared { keys });
        }
    }

    fn judge_budget(&mut self) {
        for pool in self.budget.pools().iter().filter(|pool| !pool.holds()) {
            self.failures.push(Failure::Budget {
                kind: pool.kind.clone(),
                case: pool.case.clone(),
                expected: BUDGET,
                found: pool.ratio,
            });
        }
    }
}
