//! Figures that are numbers: the last normalisation's output, logits, logarithms of probabilities.

use anyhow::{Context, Result, ensure};
use llorch_model::{Tokenizer, tokens};
use ndarray::{ArrayView1, ArrayView3, Axis, Ix3};

use super::file::{FinalHidden, Logprobs, NextToken, Values};
use super::ids::best;
use super::trial::{Answer, Claim, Ready};
use crate::checkpoints::Recorder;
use crate::checkpoints::propagated::last_logits_of;
use crate::port::Model;

impl FinalHidden {
    pub fn ready(&self, tokenizer: Option<&Tokenizer>) -> Result<Ready<'_>> {
        let Some(prompt) = self.prompt.ids(tokenizer)? else {
            return Ok(Ready::without_tokenizer());
        };
        let position = self.position;
        let channels = self.first.iter().enumerate();
        let claims = channels.map(|(channel, &value)| {
            let name = format!("ln_f[{position}, {channel}]");
            Claim::number(name, "ln_f", value, self.tolerance.rule(value))
        });
        Ok(Ready::trial(claims.collect(), move |model| {
            let found = hidden(model, &prompt, position)?;
            ensure!(
                found.len() >= self.first.len(),
                "expected {} channels, found {}",
                self.first.len(),
                found.len()
            );
            let first = found.iter().take(self.first.len());
            Ok(first.map(|&x| Answer::Number(x.into())).collect())
        }))
    }
}

/// `ln_f` at a position, \[C\].
fn hidden(model: &dyn Model, prompt: &[u32], position: usize) -> Result<Vec<f32>> {
    let mut recorder = Recorder::new(|name: &str| name == "0/ln_f");
    let mut session = model.session(1, prompt.len())?;
    session.forward(tokens(&[prompt])?.view(), recorder.call(0))?;
    let trace = recorder.finish()?;
    let hidden = trace.array::<f32, Ix3>("0/ln_f")?;
    one_row("ln_f", hidden.view(), prompt.len())?;
    ensure!(
        position < hidden.dim().1,
        "expected a position below {}, found {position}",
        hidden.dim().1
    );
    let row = hidden.index_axis(Axis(0), 0);
    Ok(row.row(position).to_vec())
}

/// Sees that an output is [1, T, ..] for the T tokens that were fed.
fn one_row(site: &str, found: ArrayView3<f32>, fed: usize) -> Result<()> {
    let (batch, positions, _) = found.dim();
    ensure!(
        (batch, positions) == (1, fed),
        "{site}: expected shape [1, {fed}, ..], found {:?}",
        found.shape()
    );
    Ok(())
}

impl Logprobs {
    pub fn ready(&self, tokenizer: Option<&Tokenizer>) -> Result<Ready<'_>> {
        let prompt = self.prompt.ids(tokenizer)?;
        let (Some(prompt), Some(continuation)) = (prompt, self.continuation.ids(tokenizer)?) else {
            return Ok(Ready::without_tokenizer());
        };
        let claim = |name: &str, value: f64| {
            Claim::number(name, "logprob", value, self.tolerance.rule(value))
        };
        let claims = match &self.values {
            Values::Each(each) => {
                let each = each.iter().enumerate();
                each.map(|(token, &value)| claim(&format!("logprob of token {token}"), value))
                    .collect()
            }
            Values::Sum(sum) => vec![claim("sum of logprobs", *sum)],
            Values::MeanLoss(loss) => vec![claim("mean loss", *loss)],
        };
        Ok(Ready::trial(claims, move |model| {
            let each = logprobs(model, &prompt, &continuation)?;
            let sum: f64 = each.iter().sum();
            Ok(match self.values {
                Values::Each(_) => each.into_iter().map(Answer::Number).collect(),
                Values::Sum(_) => vec![Answer::Number(sum)],
                Values::MeanLoss(_) => vec![Answer::Number(-sum / each.len() as f64)],
            })
        }))
    }
}

/// The logarithm of the probability of every token of a continuation.
fn logprobs(model: &dyn Model, prompt: &[u32], continuation: &[u32]) -> Result<Vec<f64>> {
    let empty = "expected a prompt and a continuation, found none";
    ensure!(!continuation.is_empty(), empty);
    let before = prompt.len().checked_sub(1).context(empty)?;
    let all = [prompt, continuation].concat();
    let fed = &all[..all.len() - 1];
    let mut session = model.session(1, fed.len())?;
    let logits = session.forward(tokens(&[fed])?.view(), &mut ())?;
    one_row("logits", logits.view(), fed.len())?;
    let rows = logits.rows().into_iter().skip(before);
    let each = rows.zip(continuation);
    each.map(|(logits, &id)| logprob(logits, id)).collect()
}

/// The logarithm of one token's probability, in float64: what the logits are is all that is judged.
fn logprob(logits: ArrayView1<f32>, id: u32) -> Result<f64> {
    let logit = logit(logits, id)?;
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let largest = f64::from(largest);
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - largest).exp()).sum();
    Ok(logit - largest - sum.ln())
}

impl NextToken {
    pub fn ready(&self, tokenizer: Option<&Tokenizer>) -> Result<Ready<'_>> {
        let Some(prompt) = self.prompt.ids(tokenizer)? else {
            return Ok(Ready::without_tokenizer());
        };
        let name = format!("logit of token {}", self.id);
        let rule = self.tolerance.rule(self.logit);
        let claims = vec![
            Claim::token("best token", self.id),
            Claim::number(name, "logit", self.logit, rule),
        ];
        Ok(Ready::trial(claims, move |model| {
            let logits = last_logits_of(model, tokens(&[&prompt])?.view())?;
            let best = best(model, logits.view())?;
            let number = Answer::Number(logit(logits.row(0), self.id)?);
            Ok(vec![best, number])
        }))
    }
}

fn logit(logits: ArrayView1<f32>, id: u32) -> Result<f64> {
    let logit = logits.get(id as usize);
    let logit = logit.with_context(|| format!("expected a logit of token {id}, found none"))?;
    Ok((*logit).into())
}
