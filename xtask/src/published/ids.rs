//! Figures that are tokens: what greedy decoding makes, and the ids of a text.

use anyhow::{Context, Result, bail, ensure};
use llorch_model::{Tokenizer, tokens};
use llorch_parity::Tensor;
use ndarray::ArrayView2;

use super::file::{Greedy, Passage, Tokenized};
use super::trial::{Answer, Claim, Ready, ids_tensor};
use crate::port::Model;

/// How a model is asked for what follows a prompt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Greedily {
    /// Token by token, each after what is published before it.
    Forced,
    /// As a user would, each after its own.
    Freely,
}

impl Greedy {
    pub fn ready<'a>(
        &'a self,
        tokenizer: Option<&'a Tokenizer>,
        how: Greedily,
    ) -> Result<Ready<'a>> {
        let prompt = self.prompt.ids(tokenizer)?;
        let (Some(prompt), Some(published)) = (prompt, self.continuation.ids(tokenizer)?) else {
            return Ok(Ready::without_tokenizer());
        };
        if let Some(made) = self.tokens.filter(|&made| made != published.len()) {
            return Ok(Ready::Absent {
                what: format!("the {made} tokens that were made"),
                hint: format!("its text alone is encoded as {}", published.len()),
            });
        }
        let steps = published.iter().enumerate();
        let mut claims: Vec<Claim> = steps
            .map(|(step, &id)| Claim::token(format!("token {step}"), id))
            .collect();
        let text = match (&self.continuation, tokenizer) {
            (Passage::Text(text), Some(tokenizer)) if how == Greedily::Freely => {
                claims.push(Claim::text(text));
                Some(tokenizer)
            }
            _ => None,
        };
        Ok(Ready::trial(claims, move |model| {
            let mut answers = forced(model, &prompt, &published)?;
            if how == Greedily::Freely {
                let ours = model.generate(&prompt, published.len())?;
                let agreed = free(&mut answers, &ours, &published)?;
                if let (Some(tokenizer), true) = (text, agreed) {
                    let ours = Tensor::from_text(&tokenizer.decode(&ours)?);
                    answers.push(Answer::Exactly(ours));
                }
            }
            Ok(answers)
        }))
    }
}

/// The model's token after the prompt, and after each published one but the last.
fn forced(model: &dyn Model, prompt: &[u32], published: &[u32]) -> Result<Vec<Answer>> {
    let last = published.len().checked_sub(1).context("no token")?;
    let mut session = model.session(1, prompt.len() + last)?;
    let mut answers = Vec::new();
    let steps = published[..last].chunks(1);
    for fed in [prompt].into_iter().chain(steps) {
        let logits = session.forward_last(tokens(&[fed])?.view())?;
        answers.push(best(model, logits.view())?);
    }
    Ok(answers)
}

/// Puts the tokens of a free run in the place of the forced ones, with the margins that these have: both stand
/// after the same tokens as long as the run is the published one. Where it leaves it, the rest says nothing.
fn free(answers: &mut Vec<Answer>, ours: &[u32], published: &[u32]) -> Result<bool> {
    ensure!(
        ours.len() == published.len(),
        "expected {} tokens, found {}",
        published.len(),
        ours.len()
    );
    for (answer, &own) in answers.iter_mut().zip(ours) {
        if let Answer::Token { id, .. } = answer {
            *id = own;
        }
    }
    let left = ours.iter().zip(published).position(|(a, b)| a != b);
    if let Some(left) = left {
        answers.truncate(left + 1);
    }
    Ok(left.is_none())
}

/// The model's best token by the logits of one row, [1, V].
pub fn best(model: &dyn Model, logits: ArrayView2<f32>) -> Result<Answer> {
    let chosen = model.greedy(logits)?;
    let [id] = chosen[..] else {
        bail!("expected one greedy token, found {}", chosen.len());
    };
    ensure!(
        logits.nrows() == 1,
        "expected logits of one row, found {}",
        logits.nrows()
    );
    Ok(Answer::token(id, logits.row(0)))
}

impl Tokenized {
    pub fn ready<'a>(&'a self, tokenizer: Option<&'a Tokenizer>) -> Ready<'a> {
        let Some(tokenizer) = tokenizer else {
            return Ready::without_tokenizer();
        };
        let claims = vec![Claim::ids(&self.ids), Claim::text(&self.text)];
        Ready::trial(claims, move |_| {
            let text = Tensor::from_text(&tokenizer.decode(&self.ids)?);
            let ids = ids_tensor(&tokenizer.encode(&self.text)?);
            Ok(vec![Answer::Exactly(ids), Answer::Exactly(text)])
        })
    }
}
