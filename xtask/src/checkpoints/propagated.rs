//! Checkpoints 7 to 9: the whole model on the tokens alone.

use anyhow::Result;
use llorch_parity::{Expectation, Judge, Key, Tensor, Trace};
use ndarray::{Array2, Array3, ArrayView2, Axis, Ix2, Ix3, Slice, concatenate};

use super::{Basis, Recorder, Run, identical, sites};
use crate::port::Model;
use crate::references::CaseTraces;

/// Compares every case with the witness, and with other ways to run the same tokens.
pub fn run(checkpoint: usize, model: &dyn Model, run: &Run, judge: &mut Judge) -> Result<()> {
    for traces in run.cases {
        let case = &traces.case.name;
        if checkpoint == 9 {
            last(model, traces, judge)?;
            continue;
        }
        let names = sites::names(checkpoint, traces, run.model.config.n_layer());
        if names.is_empty() {
            continue;
        }
        let wanted = |name: &str| names.iter().any(|wanted| wanted == name);
        let record = || trace(model, traces, wanted);
        let ours = record()?;
        let basis = Basis::Propagated;
        judge.compare_case(case, &ours, traces.expected(basis), traces.truths(basis));
        identical(judge, &format!("{case}, again"), &ours, &record()?);
        if checkpoint == 8 && traces.testimony.is_none() {
            chunkings(model, traces, &ours, judge)?;
        }
    }
    Ok(())
}

/// What a model gives on a case's tokens at the wanted sites, every call through one cache.
pub fn trace(
    model: &dyn Model,
    traces: &CaseTraces,
    wanted: impl Fn(&str) -> bool,
) -> Result<Trace> {
    let mut recorder = Recorder::new(wanted);
    let mut session = model.session(traces.case.batch, traces.case.calls.iter().sum())?;
    for call in 0..traces.case.calls.len() {
        let tokens = tokens(traces, call)?;
        session.forward(tokens.view(), recorder.call(call))?;
    }
    Ok(recorder.finish()?)
}

/// The same tokens without a probe in other chunks, and every row alone: equal logits, to the bit.
fn chunkings(
    model: &dyn Model,
    traces: &CaseTraces,
    ours: &Trace,
    judge: &mut Judge,
) -> Result<()> {
    let all = all_tokens(traces)?;
    let (batch, total) = all.dim();
    let calls: Vec<_> = (0..traces.case.calls.len())
        .map(|call| ours.array::<f32, Ix3>(&format!("{call}/logits")))
        .collect::<Result<_, _>>()?;
    let ours = Tensor::from(concatenate(Axis(1), &calls)?);
    for (label, chunk) in [("whole", total), ("token by token", 1), ("in sevens", 7)] {
        let logits = logits(model, all.view(), chunk)?;
        let run = format!("{}, {label}", traces.case.name);
        judge.identical(&run, &ours, &Tensor::from(logits));
    }
    // A recorder that wants every site must not change a bit of what runs without one.
    let mut everything = Recorder::new(|_: &str| true);
    let mut session = model.session(batch, total)?;
    let heard = session.forward(all.view(), &mut everything)?;
    let run = format!("{}, every site recorded", traces.case.name);
    judge.identical(&run, &ours, &Tensor::from(heard));
    if batch > 1 {
        let rows = (0..batch)
            .map(|row| {
                let row = all.slice_axis(Axis(0), Slice::from(row..row + 1));
                logits(model, row, total)
            })
            .collect::<Result<Vec<_>>>()?;
        let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
        let run = format!("{}, every row alone", traces.case.name);
        judge.identical(&run, &ours, &Tensor::from(concatenate(Axis(0), &views)?));
    }
    Ok(())
}

/// The logits of all positions, [B, T, V], the tokens handed over in chunks.
fn logits(model: &dyn Model, tokens: ArrayView2<u32>, chunk: usize) -> Result<Array3<f32>> {
    let mut session = model.session(tokens.nrows(), tokens.ncols())?;
    let chunks = tokens
        .axis_chunks_iter(Axis(1), chunk)
        .map(|tokens| session.forward(tokens, &mut ()))
        .collect::<Result<Vec<_>>>()?;
    let views: Vec<_> = chunks.iter().map(|chunk| chunk.view()).collect();
    Ok(concatenate(Axis(1), &views)?)
}

/// The last-position logits that checkpoint 9 expects of a case: those that were stored as such.
pub fn last_logits(traces: &CaseTraces) -> Vec<Expectation> {
    stored_last(traces)
        .map(|name| (sites::rule(9, &name), name))
        .filter(|(rule, name)| sites::is_judged(traces, 9, name, *rule))
        .map(|(rule, name)| {
            let key = Key::new(&traces.case.name, name);
            sites::expectation(traces, key, "logits_last", rule)
        })
        .collect()
}

/// The steps whose last logits a case stores: after the prompt, and after each generated token but the last.
pub fn stored_last(traces: &CaseTraces) -> impl Iterator<Item = String> {
    let steps = match traces.case.selection.as_str() {
        "greedy" => generated_steps(traces).unwrap_or_default(),
        "sampling" => 1,
        _ => 0,
    };
    (0..steps).map(|step| format!("{step}/logits_last"))
}

/// How many tokens a case's `generated`, [B, n], has a row; nothing where it generates none.
pub fn generated_steps(traces: &CaseTraces) -> Option<usize> {
    let generated = traces.witness.get("generated")?;
    Some(generated.shape().get(1).copied().unwrap_or_default())
}

/// Checkpoint 9 for one case: the last position's logits are our own last row of all logits, to the bit,
/// and where the witness stored them step by step they are compared with it.
fn last(model: &dyn Model, traces: &CaseTraces, judge: &mut Judge) -> Result<()> {
    let case = &traces.case;
    let tokens = all_tokens(traces)?;
    let last = last_logits_of(model, tokens.view())?;
    let all = logits(model, tokens.view(), tokens.ncols())?;
    let row = all.index_axis(Axis(1), tokens.ncols() - 1);
    let run = format!("{}, last row of all logits", case.name);
    judge.identical(&run, &Tensor::from(last), &Tensor::from(row));

    if !last_logits(traces).is_empty() {
        let (ours, basis) = (last_of_steps(model, traces)?, Basis::Propagated);
        let (expected, truths) = (traces.expected(basis), traces.truths(basis));
        judge.compare_case(&case.name, &ours, expected, truths);
    }
    Ok(())
}

/// The logits of the last of the tokens, [B, T], alone: [B, V].
pub fn last_logits_of(model: &dyn Model, tokens: ArrayView2<u32>) -> Result<Array2<f32>> {
    let mut session = model.session(tokens.nrows(), tokens.ncols())?;
    session.forward_last(tokens)
}

/// The logits after the prompt and after each of the witness's own tokens, through the cache.
pub fn last_of_steps(model: &dyn Model, traces: &CaseTraces) -> Result<Trace> {
    let mut ours = Trace::new();
    let names: Vec<String> = stored_last(traces).collect();
    let mut new = all_tokens(traces)?;
    let positions = new.ncols() + names.len().saturating_sub(1);
    let mut session = model.session(traces.case.batch, positions)?;
    for (step, name) in names.iter().enumerate() {
        if step > 0 {
            let ids = ids(&traces.witness, "generated")?;
            let column = Slice::from(step - 1..step);
            new = ids.slice_axis(Axis(1), column).to_owned();
        }
        let logits = session.forward_last(new.view())?;
        ours.insert(name, logits)?;
    }
    Ok(ours)
}

/// The tokens of all calls, [B, T].
pub fn all_tokens(traces: &CaseTraces) -> Result<Array2<u32>> {
    let calls = (0..traces.case.calls.len())
        .map(|call| tokens(traces, call))
        .collect::<Result<Vec<_>>>()?;
    let views: Vec<_> = calls.iter().map(|call| call.view()).collect();
    Ok(concatenate(Axis(1), &views)?)
}

/// The tokens of one call, [B, T].
fn tokens(traces: &CaseTraces, call: usize) -> Result<Array2<u32>> {
    ids(&traces.witness, &format!("{call}/tokens"))
}

/// A reference's ids as tokens; what is no token id becomes one that no model has.
pub fn ids(witness: &Trace, name: &str) -> Result<Array2<u32>> {
    let ids = witness.array::<i64, Ix2>(name)?;
    Ok(ids.mapv(|id| u32::try_from(id).unwrap_or(u32::MAX)))
}
