use ndarray::{Array2, ArrayView2, Axis};

use crate::{Cache, Error, Gpt2, Sampler, tokens};

/// Continues a prompt, token by token; see [`generate`].
#[derive(Clone, Debug)]
pub struct Generation<'a> {
    model: &'a Gpt2,
    cache: Cache,
    sampler: Sampler,
    /// What the model has not seen yet: the prompt, then each new token.
    unseen: Array2<u32>,
    left: usize,
}

/// Continues a prompt by `new` tokens, one at each call of the iterator's `next`.
///
/// Nothing is computed before the first call. A stop at an end-of-text token is the caller's to make.
///
/// # Errors
/// [`Error::EmptyPrompt`]; [`Error::Positions`] where prompt and new tokens together are more than the
/// model has positions for (the last new token needs none). The iterator's items are the errors of
/// [`Gpt2::forward_last`]; after one it ends.
pub fn generate<'a>(
    model: &'a Gpt2,
    prompt: &[u32],
    new: usize,
    sampler: Sampler,
) -> Result<Generation<'a>, Error> {
    let unseen = tokens(&[prompt])?;
    let positions = prompt.len().saturating_add(new.saturating_sub(1));
    Ok(Generation {
        model,
        cache: model.cache(1, positions)?,
        sampler,
        unseen,
        left: new,
    })
}

impl Generation<'_> {
    fn step(&mut self, unseen: ArrayView2<u32>) -> Result<u32, Error> {
        let logits = self.model.forward_last(unseen, &mut self.cache, &mut ())?;
        self.sampler.choose(logits.index_axis(Axis(0), 0))
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<u32, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let unseen = std::mem::take(&mut self.unseen);
        let token = self.step(unseen.view());
        match token {
            Ok(token) => self.unseen = Array2::from_elem((1, 1), token),
            Err(_) => self.left = 0,
        }
        Some(token)
    }
}
