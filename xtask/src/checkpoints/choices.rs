//! Checkpoint 10: the greedy token, wherever the truth's margin settles which it is.

use anyhow::{Context, Result, ensure};
use llorch_parity::{Choice, Expectation, Judge, Key, Tensor};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayView3, Axis};

use super::propagated::{all_tokens, last_logits_of, last_of_steps, stored_last};
use super::{Basis, Run};
use crate::port::Model;
use crate::references::CaseTraces;

/// Compares the greedy token of every row: after each case's tokens, and after each step of those that
/// were generated.
pub fn run(model: &dyn Model, run: &Run, judge: &mut Judge) -> Result<()> {
    for traces in run.cases {
        let case = &traces.case;
        let stepwise = last_of_steps(model, traces)?;
        let tokens = all_tokens(traces)?;
        let whole = last_logits_of(model, tokens.view())?;
        for place in places(traces) {
            let reference = place.logits(traces)?;
            let ours = match &place {
                Place::Step(name) => stepwise.array(name)?.to_owned(),
                Place::LastOf(_) => whole.clone(),
            };
            for (row, chosen) in greedy(model, ours.view())?.into_iter().enumerate() {
                let choice = choose(
                    chosen,
                    ours.row(row),
                    reference.witness.row(row),
                    reference.truth.row(row),
                )?;
                judge.compare_choice(&place.key(case.name.as_str(), row), choice);
            }
        }
        let mut alone = Vec::new();
        for row in tokens.axis_chunks_iter(Axis(0), 1) {
            let logits = last_logits_of(model, row)?;
            alone.extend(greedy(model, logits.view())?);
        }
        let [whole, alone] = [greedy(model, whole.view())?, alone].map(|ids| {
            let ids = ids.into_iter().map(i64::from);
            Tensor::from(ids.collect::<Array1<_>>())
        });
        let run = format!("{}, every row alone", case.name);
        judge.identical(&run, &whole, &alone);
    }
    Ok(())
}

/// Every row's token of logits, [B, V].
pub fn greedy(model: &dyn Model, logits: ArrayView2<f32>) -> Result<Vec<u32>> {
    let tokens = model.greedy(logits)?;
    ensure!(
        tokens.len() == logits.nrows(),
        "expected a greedy token for each of {} rows, found {}",
        logits.nrows(),
        tokens.len()
    );
    Ok(tokens)
}

/// Where a case's greedy tokens are chosen.
enum Place {
    /// After a step of the generation; the name of its logits.
    Step(String),
    /// After the last token of the last call; the name of that call's logits.
    LastOf(String),
}

/// What the witness and the truth have at a place, [B, V] each.
struct Logits {
    witness: Array2<f32>,
    truth: Array2<f64>,
}

impl Place {
    fn name(&self) -> &str {
        match self {
            Place::Step(name) | Place::LastOf(name) => name,
        }
    }

    fn key(&self, case: &str, row: usize) -> Key {
        Key::new(case, format!("greedy token of {}, row {row}", self.name()))
    }

    fn logits(&self, traces: &CaseTraces) -> Result<Logits> {
        let witness = traces.expected(Basis::Propagated);
        Ok(match self {
            Place::Step(name) => Logits {
                witness: witness.array(name)?.to_owned(),
                truth: traces.truth(name)?,
            },
            Place::LastOf(name) => Logits {
                witness: last(witness.array(name)?)?,
                truth: last(traces.truth(name)?.view())?,
            },
        })
    }
}

/// The last position of [B, T, V].
fn last<T: Clone>(all: ArrayView3<T>) -> Result<Array2<T>> {
    let last = all.dim().1.checked_sub(1);
    let last = last.context("logits of no position")?;
    Ok(all.index_axis(Axis(1), last).to_owned())
}

fn places(traces: &CaseTraces) -> Vec<Place> {
    // A witness of components alone has no logits to choose from.
    if traces.expected(Basis::Propagated).is_empty() {
        return Vec::new();
    }
    match traces.case.selection.as_str() {
        "all" | "selected" => {
            let last = traces.case.calls.len().saturating_sub(1);
            vec![Place::LastOf(format!("{last}/logits"))]
        }
        _ => stored_last(traces).map(Place::Step).collect(),
    }
}

/// The greedy tokens expected of a case.
pub fn expectations(traces: &CaseTraces) -> Vec<Expectation> {
    let rows = 0..traces.case.batch;
    let places = places(traces);
    let keys = places
        .iter()
        .flat_map(|place| rows.clone().map(|row| place.key(&traces.case.name, row)));
    keys.map(|key| Expectation::choice(key, "greedy")).collect()
}

/// The witness's greedy token, found here: with ours to find it, a wrong choice would be made on both sides.
fn first_largest(logits: ArrayView1<f32>) -> Result<i64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let first = logits.iter().position(|&logit| logit == largest);
    Ok(first.context("logits of no token")? as i64)
}

/// Both sides' greedy tokens, ours `chosen`, and whether the truth settles which it must be: its margin between
/// its two best logits, and what that must exceed, twice the larger error of either side's logits, measured.
///
/// The tolerance would be no measure: at logits near -100, as the real GPT-2 has them, it is far wider than
/// any error, and hardly a token would be settled. That the errors are within it is checkpoint 9's to say.
pub fn choose(
    chosen: u32,
    ours: ArrayView1<f32>,
    witness: ArrayView1<f32>,
    truth: ArrayView1<f64>,
) -> Result<Choice> {
    let error = |logits: ArrayView1<f32>| {
        let off = logits.iter().zip(truth);
        off.map(|(&logit, truth)| (f64::from(logit) - truth).abs())
            .fold(0.0, f64::max)
    };
    let mut best = [f64::NEG_INFINITY; 2];
    for &logit in truth {
        if logit > best[0] {
            best = [logit, best[0]];
        } else if logit > best[1] {
            best[1] = logit;
        }
    }
    Ok(Choice {
        ours: chosen.into(),
        reference: first_largest(witness)?,
        margin: best[0] - best[1],
        needed: 2.0 * error(ours).max(error(witness)),
    })
}
