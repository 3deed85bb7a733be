//! The cases that references consist of.

use llorch_parity::Tensor;

use crate::references::CaseTraces;

/// A case as the gate knows it. References that say otherwise would be judged on less.
pub struct Known {
    name: &'static str,
    selection: &'static str,
    /// The tokens of each call; empty for one call of any length.
    calls: &'static [usize],
    batch: usize,
}

impl Known {
    /// Whether a case is this one: what its entry says, and what its files hold, no more calls than that.
    fn is(&self, traces: &CaseTraces) -> bool {
        let case = &traces.case;
        let any_length = self.calls.is_empty() && case.calls.len() == 1;
        self.name == case.name
            && self.selection == case.selection
            && (any_length || self.calls == case.calls)
            && self.batch == case.batch
            && case
                .text
                .as_ref()
                .is_none_or(|text| text.len() == case.batch)
            && (0..case.calls.len()).all(|call| inputs_fit(traces, call))
            && inputs(traces, case.calls.len()).next().is_none()
    }
}

/// Whether what a call starts from, where it is stored, has the rows and positions that the entry says.
fn inputs_fit(traces: &CaseTraces, call: usize) -> bool {
    let expected = [traces.case.batch, traces.case.calls[call]];
    inputs(traces, call).all(|inputs| inputs.shape().starts_with(&expected))
}

/// What a call starts from, as far as it is stored.
fn inputs(traces: &CaseTraces, call: usize) -> impl Iterator<Item = &Tensor> {
    let names = ["tokens", "embed"].map(|site| format!("{call}/{site}"));
    names
        .into_iter()
        .filter_map(|name| traces.witness.get(&name))
}

const fn known(
    name: &'static str,
    selection: &'static str,
    calls: &'static [usize],
    batch: usize,
) -> Known {
    Known {
        name,
        selection,
        calls,
        batch,
    }
}

/// The cases of a whole model. All of them where references are committed.
pub const WHOLE: [Known; 10] = [
    known("two-tokens", "all", &[2], 1),
    known("one-token", "all", &[1], 1),
    known("multibyte", "all", &[37], 1),
    known("full-context", "selected", &[], 1),
    known("long", "selected", &[80], 1),
    known("batch", "all", &[11], 3),
    known("steps", "all", &[7, 1, 1, 1, 1, 1], 1),
    known("chunks", "all", &[7, 5], 2),
    known("greedy", "greedy", &[9], 2),
    known("sampling", "sampling", &[9], 2),
];

/// What the references of any whole model have at least, alternatives beside each other.
pub const AT_LEAST: [&[&str]; 5] = [
    &["two-tokens"],
    &["chunks"],
    &["full-context", "long"],
    &["greedy"],
    &["sampling"],
];

/// The same for those that are committed.
pub const COMMITTED: [&[&str]; 9] = [
    &["two-tokens"],
    &["one-token"],
    &["multibyte"],
    &["full-context", "long"],
    &["batch"],
    &["steps"],
    &["chunks"],
    &["greedy"],
    &["sampling"],
];

/// The cases of a model's attention half, and what its references have at least.
pub const HALF: [Known; 4] = [
    known("attention", "isolated", &[13], 1),
    known("attention-batch", "attention-out", &[7], 2),
    known("attention-steps", "attention-out", &[9, 4], 1),
    known("attention-long", "attention-last", &[36, 4], 1),
];
pub const HALF_AT_LEAST: [&[&str]; 4] = [
    &["attention"],
    &["attention-batch"],
    &["attention-steps"],
    &["attention-long"],
];

/// The cases that are not there, and those that are not what the gate knows under their name.
///
/// `at_least` holds what must be there, alternatives beside each other.
pub fn missing(cases: &[CaseTraces], known: &[Known], at_least: &[&[&str]]) -> Vec<String> {
    let has = |name: &&str| cases.iter().any(|traces| traces.case.name == **name);
    let absent = at_least.iter().filter(|names| !names.iter().any(has));
    let absent = absent.map(|names| format!("case {}", names.join(" or ")));
    let strange = cases
        .iter()
        .filter(|traces| !known.iter().any(|known| known.is(traces)));
    let strange = strange.map(|traces| {
        let case = &traces.case;
        format!(
            "a known case in place of {} ({}, calls {:?}, batch {})",
            case.name, case.selection, case.calls, case.batch
        )
    });
    absent.chain(strange).collect()
}
