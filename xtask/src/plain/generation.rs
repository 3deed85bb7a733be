//! Checkpoint 12.

use anyhow::{Context, Result};
use ndarray::ArrayView2;

use super::{Bug, Weights, forward_last, greedy, new_caches};

/// Greedy generation: `new` tokens behind a prompt.
pub fn generate(
    weights: &Weights,
    prompt: &[u32],
    new: usize,
    bug: Option<Bug>,
) -> Result<Vec<u32>> {
    let limit = weights.config.n_positions();
    let mut caches = new_caches(&weights.config, 1, limit, bug);
    let mut tokens = prompt.to_vec();
    let mut fed = prompt.to_vec();
    for _ in 0..new {
        let batch = ArrayView2::from_shape((1, fed.len()), &fed)?;
        let logits = forward_last(weights, batch, &mut caches, bug)?;
        let next = greedy(logits.view(), bug);
        let next = *next.first().context("a token")?;
        tokens.push(next);
        fed = match bug {
            Some(Bug::GenerationPromptAgain) => tokens.clone(),
            Some(Bug::GenerationForgetsLast) => vec![tokens[tokens.len() - 2]],
            _ => vec![next],
        };
    }
    if bug == Some(Bug::GenerationOneLess) {
        tokens.pop();
    }
    Ok(tokens.split_off(prompt.len()))
}
