//! Checkpoint 11: the distributions that tokens are drawn from.

use anyhow::{Context, Result};
use llorch_model::{Gpt2, Sampling};
use llorch_parity::{Choice, Expectation, Judge, Key, Reference, Rule, Tensor, Trace};
use ndarray::{Array2, ArrayView2, Ix2};

use super::propagated::all_tokens;
use super::{Run, sites};
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
enum From {
    Witness,
    Ours,
}

impl From {
    fn key(self, case: &str, name: &str) -> Key {
        let label = match self {
            From::Witness => "isolated",
            From::Ours => "propagated",
        };
        Key::new(case, format!("{label} {name}"))
    }

    fn tolerance(self) -> f64 {
        match self {
            From::Witness => sites::PROBABILITIES,
            From::Ours => sites::HIDDEN,
        }
    }

    fn truth(self, traces: &CaseTraces) -> Option<&Trace> {
        match self {
            From::Witness => traces.isolated.as_ref(),
            From::Ours => traces.propagated.as_ref(),
        }
    }
}

const BOTH: [From; 2] = [From::Witness, From::Ours];

/// Compares every distribution, and the set of tokens that each keeps.
pub fn run(gpt2: &Gpt2, run: &Run, judge: &mut Judge) -> Result<()> {
    for traces in of_sampling(&run.references.cases) {
        let case = &traces.case.name;
        let tokens = all_tokens(traces)?;
        let mut cache = gpt2.cache(traces.case.batch, tokens.ncols())?;
        let own = gpt2.forward_last(tokens.view(), &mut cache, &mut ())?;
        let witness = traces.witness.array(LOGITS)?;
        for from in BOTH {
            let logits = match from {
                From::Witness => witness,
                From::Ours => own.view(),
            };
            for (name, sampling) in &DISTRIBUTIONS {
                let key = from.key(case, name);
                let ours = distribution(sampling, logits)?;
                let reference = traces.witness.get(name).map(|witness| Reference {
                    witness,
                    delta: from.truth(traces).and_then(|truth| truth.get(name)),
                });
                let tensor = Tensor::from(ours.view());
                judge.compare(&key, Some(&tensor), reference);
                let again = Tensor::from(distribution(sampling, logits)?);
                judge.identical(&format!("{key}, again"), &tensor, &again);
                if sampling.top_k.is_some() || sampling.top_p.is_some() {
                    kept(name, from, sampling, &ours, traces, judge)?;
                }
            }
        }
    }
    Ok(())
}

/// Compares which tokens are kept, row by row, where the truth is away from the cut.
fn kept(
    name: &str,
    from: From,
    sampling: &Sampling,
    ours: &Array2<f32>,
    traces: &CaseTraces,
    judge: &mut Judge,
) -> Result<()> {
    let reference = traces.witness.array::<f32, Ix2>(name)?;
    let logits = traces.witness.array::<f32, Ix2>(LOGITS)?.mapv(f64::from);
    let truth = match from {
        From::Witness => logits,
        From::Ours => {
            let deltas = traces.propagated.as_ref();
            let deltas = deltas.context("the case has no propagated truth")?;
            logits + deltas.array::<f32, Ix2>(LOGITS)?.mapv(f64::from)
        }
    };
    for row in 0..traces.case.batch {
        let (ours, reference) = (ours.row(row), reference.row(row));
        let pairs = ours.iter().zip(reference);
        let differ = pairs.filter(|(ours, reference)| (**ours > 0.0) != (**reference > 0.0));
        let (margin, needed) = cut(sampling, from, truth.row(row).to_vec());
        let choice = Choice {
            ours: differ.count() as i64,
            reference: 0,
            margin,
            needed,
        };
        judge.compare_choice(&kept_key(from, &traces.case.name, name, row), choice);
    }
    Ok(())
}

/// How far the truth is from keeping another token, and how far both sides may be off.
fn cut(sampling: &Sampling, from: From, mut truth: Vec<f64>) -> (f64, f64) {
    truth.sort_by(|a, b| b.total_cmp(a));
    if let Some(k) = sampling.top_k {
        let needed = match from {
            From::Witness => 0.0,
            From::Ours => 2.0 * sites::LOGITS * truth[0].abs().max(1.0),
        };
        let margin = match truth.get(k - 1..=k) {
            Some(pair) => pair[0] - pair[1],
            None => f64::MAX,
        };
        return (margin, needed);
    }
    let limit = sampling.top_p.unwrap_or(1.0);
    let weights: Vec<f64> = truth.iter().map(|logit| (logit - truth[0]).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut reached = 0.0;
    let distances = weights.iter().map(|weight| {
        reached += weight / total;
        (reached - limit).abs()
    });
    (distances.fold(f64::MAX, f64::min), from.tolerance())
}

/// The distributions and kept sets expected of a case.
pub fn expectations(traces: &CaseTraces) -> Vec<Expectation> {
    let case = &traces.case;
    let mut expected = Vec::new();
    for from in BOTH {
        for (name, sampling) in of_sampling([traces]).flat_map(|_| &DISTRIBUTIONS) {
            let rule = Rule::within(from.tolerance());
            expected.push(Expectation::tensor(from.key(&case.name, name), *name, rule));
            if sampling.top_k.is_some() || sampling.top_p.is_some() {
                let keys = (0..case.batch).map(|row| kept_key(from, &case.name, name, row));
                expected.extend(keys.map(|key| Expectation::choice(key, format!("{name} kept"))));
            }
        }
    }
    expected
}

fn kept_key(from: From, case: &str, name: &str, row: usize) -> Key {
    let key = from.key(case, name);
    Key::new(key.case, format!("{}, tokens kept in row {row}", key.name))
}

fn of_sampling<'a>(
    cases: impl IntoIterator<Item = &'a CaseTraces>,
) -> impl Iterator<Item = &'a CaseTraces> {
    cases
        .into_iter()
        .filter(|traces| traces.case.selection == "sampling")
}

fn distribution(sampling: &Sampling, logits: ArrayView2<f32>) -> Result<Array2<f32>> {
    let mut all = Array2::zeros(logits.dim());
    for (mut out, logits) in all.rows_mut().into_iter().zip(logits.rows()) {
        out.assign(&sampling.probabilities(logits)?);
    }
    Ok(all)
}
