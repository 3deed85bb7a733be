//! Checkpoint 12: generated ids and text.

use anyhow::Result;
use llorch_model::{Error, Tokenizer};
use llorch_parity::{Choice, Expectation, Judge, Key, Reference, Rule, Tensor};
use ndarray::{Array1, ArrayView2, Ix2};

use super::choices::{choose, greedy};
use super::propagated::{all_tokens, generated_steps, ids, last_logits_of, last_of_steps};
use super::{Basis, Run};
use crate::port::Model;
use crate::references::CaseTraces;

/// Generates from every prompt, and encodes and decodes every text.
pub fn run(model: &dyn Model, run: &Run, judge: &mut Judge) -> Result<()> {
    for traces in run.cases {
        if traces.case.selection == "greedy" {
            generated(model, traces, judge)?;
        }
        if traces.testimony.is_some() {
            continue;
        }
        match &traces.case.text {
            Some(_) => match Tokenizer::open(&run.model.path) {
                Ok(tokenizer) => text(&tokenizer, traces, judge)?,
                Err(error @ Error::NoTokenizer { .. }) => {
                    judge.absent("the model's tokenizer", error.to_string());
                }
                Err(error) => return Err(error.into()),
            },
            None if ["greedy", "multibyte", "long"].contains(&&*traces.case.name) => {
                let what = format!("the text of case {}", traces.case.name);
                judge.absent(what, "references made beside a tokenizer have it");
            }
            None => {}
        }
    }
    Ok(())
}

/// Greedy generation, each row as a user would run it, against the witness and against a model that
/// recomputes everything at every step.
fn generated(model: &dyn Model, traces: &CaseTraces, judge: &mut Judge) -> Result<()> {
    let case = &traces.case;
    let expected = traces.expected(Basis::Propagated);
    let (prompts, reference) = (all_tokens(traces)?, ids(expected, "generated")?);
    let stepwise = last_of_steps(model, traces)?;
    for row in 0..case.batch {
        let prompt = prompts.row(row).to_vec();
        let new = reference.ncols();
        let ours = model.generate(&prompt, new)?;
        for (step, (&ours, &reference)) in ours.iter().zip(reference.row(row)).enumerate() {
            let name = format!("{step}/logits_last");
            let own = stepwise.array::<f32, Ix2>(&name)?;
            let witness = expected.array::<f32, Ix2>(&name)?;
            let choice = Choice {
                reference: reference.into(),
                ..choose(
                    ours,
                    own.row(row),
                    witness.row(row),
                    traces.truth::<Ix2>(&name)?.row(row),
                )?
            };
            judge.compare_choice(&id_key(traces, row, step), choice);
        }
        let recomputed = recompute(model, prompt, new)?;
        let run = format!("{}, row {row} without a cache", case.name);
        judge.identical(&run, &as_tensor(&ours), &as_tensor(&recomputed));
    }
    Ok(())
}

/// Greedy generation that forgets its cache after every token.
fn recompute(model: &dyn Model, mut tokens: Vec<u32>, new: usize) -> Result<Vec<u32>> {
    let prompt = tokens.len();
    for _ in 0..new {
        let batch = ArrayView2::from_shape((1, tokens.len()), &tokens)?;
        let logits = last_logits_of(model, batch)?;
        tokens.extend(greedy(model, logits.view())?);
    }
    Ok(tokens.split_off(prompt))
}

/// Each row's text must encode to the row's ids, and these decode to the text again.
fn text(tokenizer: &Tokenizer, traces: &CaseTraces, judge: &mut Judge) -> Result<()> {
    let case = &traces.case;
    let prompts = all_tokens(traces)?;
    for (row, text) in case.text.iter().flatten().enumerate() {
        let mut reference = prompts.row(row).to_vec();
        if case.selection == "greedy" {
            reference.extend(ids(&traces.witness, "generated")?.row(row));
        }
        let [decoded, encoded] = text_keys(traces, row);
        let witness = Tensor::from_text(text);
        let ours = Tensor::from_text(&tokenizer.decode(&reference)?);
        judge.compare(&decoded, Some(&ours), Some(Reference::witness(&witness)));
        if case.selection != "greedy" {
            let ours = as_tensor(&tokenizer.encode(text)?);
            let witness = as_tensor(&reference);
            judge.compare(&encoded, Some(&ours), Some(Reference::witness(&witness)));
        }
    }
    Ok(())
}

/// The new tokens that references have at least.
const LEAST: usize = 8;

/// The ids and texts expected of a case.
pub fn expectations(traces: &CaseTraces) -> Vec<Expectation> {
    let case = &traces.case;
    let greedy = case.selection == "greedy";
    let steps = match generated_steps(traces) {
        Some(steps) if greedy => steps.max(LEAST),
        _ => 0,
    };
    let mut expected = Vec::new();
    for row in 0..case.batch {
        let keys = (0..steps).map(|step| id_key(traces, row, step));
        expected.extend(keys.map(|key| Expectation::choice(key, "ids")));
    }
    // Text is the tokenizer's, which another implementation of the model says nothing of.
    let texts = match &traces.testimony {
        Some(_) => 0,
        None => case.text.as_ref().map_or(0, Vec::len),
    };
    for row in 0..texts {
        let keys = text_keys(traces, row).into_iter();
        // Ids that a model chose need not be those its text is encoded as.
        for key in keys.take(if greedy { 1 } else { 2 }) {
            expected.push(Expectation::tensor_without_truth(
                key,
                "text",
                Rule::exact(),
            ));
        }
    }
    expected
}

fn id_key(traces: &CaseTraces, row: usize, step: usize) -> Key {
    Key::new(
        &traces.case.name,
        format!("generated token {step} of row {row}"),
    )
}

fn text_keys(traces: &CaseTraces, row: usize) -> [Key; 2] {
    ["text of", "ids of the text of"]
        .map(|what| Key::new(&traces.case.name, format!("{what} row {row}")))
}

fn as_tensor(ids: &[u32]) -> Tensor {
    let ids: Array1<i64> = ids.iter().map(|&id| i64::from(id)).collect();
    ids.into()
}
