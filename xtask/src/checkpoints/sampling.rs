//! Checkpoint 11: the distributions that tokens are drawn from.

use anyhow::{Result, ensure};
use llorch_model::Sampling;
use llorch_parity::{Expectation, Judge, Key, Reference, Rule, Tensor};
use ndarray::{Array1, Array2, ArrayView2, Ix2};

use super::cut::{self, Errors};
use super::propagated::{all_tokens, last_logits_of};
use super::{Basis, Run, sites};
use crate::port::Model;
use crate::references::CaseTraces;

/// The logits that the distributions are made from.
const LOGITS: &str = "0/logits_last";

/// The distributions, by the names that the references use.
const DISTRIBUTIONS: [(&str, Sampling); 5] = {
    const fn sampling(temperature: f32, top_k: Option<usize>, top_p: Option<f64>) -> Sampling {
        Sampling {
            temperature,
            top_k,
            top_p,
        }
    }
    [
        ("t0.5", sampling(0.5, None, None)),
        ("t1", sampling(1.0, None, None)),
        ("t2", sampling(2.0, None, None)),
        ("top_k40", sampling(1.0, Some(40), None)),
        ("top_p0.9", sampling(1.0, None, Some(0.9))),
    ]
};

/// Whose logits a distribution is made from, and how close it must then be.
///
/// On the reference's logits the sampler is on its own, and judged sharply. On our own the logits' errors
/// come with it: two float32 models whose logits are 1e-5 apart, as on the real GPT-2 they are, differ by
/// more than 1e-6 in a probability near one half.
#[derive(Clone, Copy)]
enum LogitsOf {
    Witness,
    Ours,
}

impl LogitsOf {
    /// What a distribution is called, and pooled under: each basis has a truth, and so an R, of its own.
    fn kind(self, name: &str) -> String {
        format!("{} {name}", self.basis().name())
    }

    fn key(self, case: &str, name: &str) -> Key {
        Key::new(case, self.kind(name))
    }

    fn rule(self) -> Rule {
        Rule::within(match self {
            LogitsOf::Witness => sites::PROBABILITIES,
            LogitsOf::Ours => sites::HIDDEN,
        })
    }

    fn basis(self) -> Basis {
        match self {
            LogitsOf::Witness => Basis::Isolated,
            LogitsOf::Ours => Basis::Propagated,
        }
    }

    /// The logits that the truth was made from, [B, V].
    fn true_logits(self, traces: &CaseTraces) -> Result<Array2<f64>> {
        match self {
            LogitsOf::Witness => Ok(traces.witness.array::<f32, Ix2>(LOGITS)?.mapv(f64::from)),
            LogitsOf::Ours => Ok(traces.truth(LOGITS)?),
        }
    }

    /// How far our logits and the witness's are from the truth's, measured; 9 has judged that.
    fn errors(
        self,
        traces: &CaseTraces,
        ours: ArrayView2<f32>,
        truth: ArrayView2<f64>,
    ) -> Result<Errors> {
        let witness = traces.expected(self.basis()).array::<f32, Ix2>(LOGITS)?;
        let mut logit: f64 = 0.0;
        for (&truth, (&ours, &witness)) in truth.iter().zip(ours.iter().zip(witness)) {
            logit = logit.max((f64::from(ours) - truth).abs());
            logit = logit.max((f64::from(witness) - truth).abs());
        }
        // An error e in every logit moves a sum of probabilities by at most e; and adding V float32
        // numbers up to 1 is off by about the root of V half units, four times that being rare.
        let mass = logit + 4.0 * (truth.ncols() as f64).sqrt() * f64::from(f32::EPSILON) / 2.0;
        Ok(Errors { logit, mass })
    }
}

/// Those that are compared with what the one who judges has. Only `hf`'s own sampler ran on `hf`'s logits.
fn sources(traces: &CaseTraces) -> &'static [LogitsOf] {
    match &traces.testimony {
        Some(_) => &[LogitsOf::Ours],
        None => &[LogitsOf::Witness, LogitsOf::Ours],
    }
}

/// The distributions that the one who judges can judge.
fn judged(
    traces: &CaseTraces,
    from: LogitsOf,
) -> impl Iterator<Item = &'static (&'static str, Sampling)> {
    DISTRIBUTIONS
        .iter()
        .filter(move |(name, _)| sites::is_judged(traces, 11, name, from.rule()))
}

/// The distributions from a model's own logits, as a case's traces name them.
pub fn tensors(traces: &CaseTraces) -> Vec<(String, Rule)> {
    let distributions = of_sampling([traces]).flat_map(|_| &DISTRIBUTIONS);
    let rule = LogitsOf::Ours.rule();
    distributions
        .map(|(name, _)| ((*name).to_owned(), rule))
        .collect()
}

/// Compares every distribution, and which tokens each keeps.
pub fn run(model: &dyn Model, run: &Run, judge: &mut Judge) -> Result<()> {
    for traces in of_sampling(run.cases) {
        let tokens = all_tokens(traces)?;
        let own = last_logits_of(model, tokens.view())?;
        for &from in sources(traces) {
            let logits = match from {
                LogitsOf::Witness => traces.witness.array(LOGITS)?,
                LogitsOf::Ours => own.view(),
            };
            for (name, sampling) in judged(traces, from) {
                let key = from.key(&traces.case.name, name);
                let ours = distribution(model, sampling, logits)?;
                let tensor = Tensor::from(ours.view());
                let again = Tensor::from(distribution(model, sampling, logits)?);
                judge.identical(&format!("{key}, again"), &tensor, &again);
                if cuts(sampling) && !kept(name, from, sampling, logits, &ours, traces, judge)? {
                    continue;
                }
                let (expected, truths) =
                    (traces.expected(from.basis()), traces.truths(from.basis()));
                let reference = expected.get(name).map(|witness| Reference {
                    witness,
                    delta: truths.and_then(|truths| truths.get(name)),
                });
                judge.compare(&key, Some(&tensor), reference);
            }
        }
    }
    Ok(())
}

/// Compares which tokens are kept, but for those so close to the cut that the errors of either side could
/// move them over it. Returns whether those agree too: else the probabilities cannot be compared.
fn kept(
    name: &str,
    from: LogitsOf,
    sampling: &Sampling,
    logits: ArrayView2<f32>,
    ours: &Array2<f32>,
    traces: &CaseTraces,
    judge: &mut Judge,
) -> Result<bool> {
    let reference = traces.expected(from.basis()).array::<f32, Ix2>(name)?;
    let truth = from.true_logits(traces)?;
    let errors = from.errors(traces, logits, truth.view())?;
    let mut settled = Vec::new();
    for row in truth.rows() {
        settled.extend(cut::settled(sampling, &row.to_vec(), errors));
    }
    if !settled.contains(&Some(true)) {
        judge.absent(
            format!("a token that {name} surely keeps"),
            "the errors are too large",
        );
        return Ok(false);
    }
    let mask = |probabilities: ArrayView2<f32>| -> Vec<i64> {
        let fates = probabilities.iter().zip(&settled);
        let fates = fates.map(|(&p, fate)| fate.map_or(UNSETTLED, |_| i64::from(p > 0.0)));
        fates.collect()
    };
    let [own, witness] =
        [ours.view(), reference].map(|kept| Tensor::from(Array1::from(mask(kept))));
    let key = kept_key(from, &traces.case.name, name);
    judge.compare(&key, Some(&own), Some(Reference::witness(&witness)));

    let mut close = ours.iter().zip(reference).zip(&settled);
    let differ =
        close.any(|((ours, witness), fate)| fate.is_none() && (*ours > 0.0) != (*witness > 0.0));
    if differ {
        let what = format!("a prompt whose {name} cut lies apart from rounding ({key})");
        judge.absent(what, "the tokens kept differ, and may");
    }
    Ok(!differ)
}

/// Stands for a token whose fate is not settled, on both sides.
const UNSETTLED: i64 = -1;

fn cuts(sampling: &Sampling) -> bool {
    sampling.top_k.is_some() || sampling.top_p.is_some()
}

/// The distributions and kept sets expected of a case.
pub fn expectations(traces: &CaseTraces) -> Vec<Expectation> {
    let case = &traces.case;
    let mut expected = Vec::new();
    for &from in sources(traces) {
        for (name, sampling) in of_sampling([traces]).flat_map(|_| judged(traces, from)) {
            let key = from.key(&case.name, name);
            expected.push(sites::expectation(
                traces,
                key,
                from.kind(name),
                from.rule(),
            ));
            if cuts(sampling) {
                let key = kept_key(from, &case.name, name);
                let kind = format!("{} kept", from.kind(name));
                expected.push(Expectation::tensor_without_truth(key, kind, Rule::exact()));
            }
        }
    }
    expected
}

fn kept_key(from: LogitsOf, case: &str, name: &str) -> Key {
    let key = from.key(case, name);
    Key::new(key.case, format!("{}, tokens kept", key.name))
}

fn of_sampling<'a>(
    cases: impl IntoIterator<Item = &'a CaseTraces>,
) -> impl Iterator<Item = &'a CaseTraces> {
    cases
        .into_iter()
        .filter(|traces| traces.case.selection == "sampling")
}

fn distribution(
    model: &dyn Model,
    sampling: &Sampling,
    logits: ArrayView2<f32>,
) -> Result<Array2<f32>> {
    let mut all = Array2::zeros(logits.dim());
    for (mut out, logits) in all.rows_mut().into_iter().zip(logits.rows()) {
        let probabilities = model.distribution(sampling, logits)?;
        ensure!(
            probabilities.len() == logits.len(),
            "expected {} probabilities, found {}",
            logits.len(),
            probabilities.len()
        );
        out.assign(&probabilities);
    }
    Ok(all)
}
