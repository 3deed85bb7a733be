//! One implementation through the gate, up to the first checkpoint that is not a PASS.

use llorch_parity::{Difference, Failure, Judgement, Masking, Mismatch, Verdict};

use super::{Catalogue, inputs};
use crate::checkpoints::{CHECKPOINTS, Run};
use crate::port::Port;

/// Where the gate stopped, and at what.
pub struct Caught {
    pub checkpoint: usize,
    /// The name of an input of its own, where the references' cases did not show it.
    pub input: Option<&'static str>,
    pub by: By,
    /// The first thing that was wrong, without its case and call: `h.0.attn.q`; of an error what it expected.
    pub site: String,
    /// How wrong it was.
    pub size: String,
}

/// What told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Values,
    Shape,
    Mask,
    NotFinite,
    /// R, the error against the truth; every value was within the tolerance.
    Ratio,
    Choice,
    /// Two runs that must be equal to the bit.
    Bits,
    /// An error of the implementation itself.
    Error,
    /// Nothing that the catalogue expects anywhere.
    Other,
}

impl By {
    pub fn name(self) -> &'static str {
        match self {
            By::Values => "values",
            By::Shape => "shape",
            By::Mask => "mask",
            By::NotFinite => "not finite",
            By::Ratio => "R",
            By::Choice => "choice",
            By::Bits => "bits",
            By::Error => "error",
            By::Other => "other",
        }
    }
}

/// Runs the checkpoints in order, each on the references' cases and then on the inputs of its own.
pub fn run(catalogue: &Catalogue, port: &dyn Port) -> Option<Caught> {
    let run = Run {
        port,
        model: catalogue.model,
        cases: &catalogue.references.cases,
        missing: &catalogue.references.missing,
        refs_command: format!(
            "cargo xtask refs --model {}",
            catalogue.model.path.display()
        ),
        evidence: catalogue.evidence.clone(),
    };
    for checkpoint in CHECKPOINTS.into_iter().take(catalogue.last) {
        let number = checkpoint.number;
        let judgement = run.judge(checkpoint);
        if let Some(caught) = caught(number, None, &judgement) {
            return Some(caught);
        }
        for input in inputs::of(number) {
            let judgement = input.judge(&run);
            if let Some(caught) = caught(number, Some(input.name), &judgement) {
                return Some(caught);
            }
        }
    }
    None
}

fn caught(checkpoint: usize, input: Option<&'static str>, judgement: &Judgement) -> Option<Caught> {
    let first = match judgement.verdict() {
        Verdict::Pass(_) => return None,
        Verdict::Fail(failures) => failures.first().map(describe),
        Verdict::Inconclusive(reasons) => reasons.first().map(|reason| {
            let site = "INCONCLUSIVE".to_owned();
            (By::Other, site, reason.to_string())
        }),
    };
    let nameless = || (By::Other, "-".to_owned(), String::new());
    let (by, site, size) = first.unwrap_or_else(nameless);
    Some(Caught {
        checkpoint,
        input,
        by,
        site,
        size,
    })
}

fn describe(failure: &Failure) -> (By, String, String) {
    match failure {
        Failure::Mismatch { key, mismatch } => {
            let (by, size) = of_mismatch(mismatch);
            (by, without_call(&key.name).to_owned(), size)
        }
        Failure::Choice {
            key,
            expected,
            found,
            margin,
            ..
        } => {
            let size = format!("{found} for {expected}, margin {margin:.1e}");
            let site = key.name.split(" of ").next().unwrap_or(&key.name);
            (By::Choice, site.to_owned(), size)
        }
        Failure::Budget {
            kind,
            expected,
            found,
            ..
        } => {
            let size = format!("R {found:.1}, at most {expected}");
            (By::Ratio, kind.clone(), size)
        }
        Failure::Determinism { run, mismatch } => {
            let (_, size) = of_mismatch(mismatch);
            // `steps, position by position: 1/h.0.attn.q` without its case and tensor.
            let run = run.split_once(", ").map_or(&run[..], |(_case, run)| run);
            let run = run.split_once(": ").map_or(run, |(run, _tensor)| run);
            (By::Bits, run.to_owned(), size)
        }
        Failure::Broken { what } => {
            let (expected, found) = what.split_once(", ").unwrap_or((what, ""));
            (By::Error, expected.to_owned(), found.to_owned())
        }
        other => (By::Other, "-".to_owned(), other.to_string()),
    }
}

fn of_mismatch(mismatch: &Mismatch) -> (By, String) {
    match mismatch {
        Mismatch::Values(comparison) => (By::Values, of_values(&comparison.worst)),
        Mismatch::Shape { expected, found } => (By::Shape, format!("{found:?} for {expected:?}")),
        Mismatch::Mask {
            index,
            found: Masking::Open,
            ..
        } => (By::Mask, format!("open at {index:?}")),
        Mismatch::Mask { index, .. } => (By::Mask, format!("hidden at {index:?}")),
        Mismatch::NotFinite { index, found, .. } => {
            (By::NotFinite, format!("{found} at {index:?}"))
        }
        other => (By::Other, other.to_string()),
    }
}

fn of_values(worst: &Difference) -> String {
    let difference = worst.difference;
    match worst.allowed {
        0.0 => format!("{difference:.1e}, none allowed"),
        allowed => format!("{difference:.1e}, allowed {allowed:.1e}"),
    }
}

/// `0/h.0.ln_1` is `h.0.ln_1`.
fn without_call(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_call, site)| site)
}
