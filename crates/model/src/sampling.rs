//! From logits to a token.

use llorch_numerics::{Isa, softmax};
use ndarray::{Array1, ArrayView1};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::Error;

/// Under this temperature the best token is taken.
const GREEDY_BELOW: f32 = 1e-6;

/// How a distribution is made from logits, in the order of Hugging Face's `generate`: temperature,
/// top-k, top-p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// What logits are divided by; under 1e-6 the best token is certain.
    pub temperature: f32,
    /// Keep the k best tokens, and those equal to the last of them (`TopKLogitsWarper`).
    pub top_k: Option<usize>,
    /// Keep the best tokens until their probabilities reach p, the one that crosses included
    /// (`TopPLogitsWarper`; Holtzman et al., <https://arxiv.org/abs/1904.09751>).
    pub top_p: Option<f64>,
}

impl Default for Sampling {
    /// The model's own distribution.
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_k: None,
            top_p: None,
        }
    }
}

impl Sampling {
    /// Takes the best token at every step.
    pub const GREEDY: Sampling = Sampling {
        temperature: 0.0,
        top_k: None,
        top_p: None,
    };

    /// The probability of every token, `[V]`, from logits, `[V]`; tokens that are not kept have exactly 0.
    ///
    /// ```
    /// use llorch_model::{Error, Sampling};
    /// use ndarray::array;
    ///
    /// let logits = array![0.0, (2.0f32).ln(), (5.0f32).ln()];
    /// let top_k = Sampling { top_k: Some(2), ..Sampling::default() };
    /// let probabilities = top_k.probabilities(logits.view())?;
    /// assert_eq!(probabilities[0], 0.0);
    /// assert!((probabilities[2] - 5.0 / 7.0).abs() < 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Sampling`] where a setting has no meaning; those of [`greedy`], [`Error::Logits`] also
    /// where the best logit is no longer finite when divided by the temperature.
    pub fn probabilities(&self, logits: ArrayView1<f32>) -> Result<Array1<f32>, Error> {
        self.check()?;
        let best = greedy(logits)?;
        if self.temperature < GREEDY_BELOW {
            let certain = |token| if token == best as usize { 1.0 } else { 0.0 };
            return Ok(Array1::from_shape_fn(logits.len(), certain));
        }
        let mut row: Vec<f32> = logits.iter().map(|x| x / self.temperature).collect();
        finite(best as usize, row[best as usize])?;
        if let Some(k) = self.top_k {
            keep_top_k(&mut row, k);
        }
        if let Some(p) = self.top_p {
            keep_top_p(&mut row, p);
        }
        softmax(Isa::best(), &mut row);
        Ok(row.into())
    }

    fn check(&self) -> Result<(), Error> {
        let refuse = |setting, expected, found| {
            Err(Error::Sampling {
                setting,
                expected,
                found,
            })
        };
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            let found = self.temperature.into();
            return refuse("temperature", "a finite number from 0", found);
        }
        if self.top_k == Some(0) {
            return refuse("top-k", "at least 1", 0.0);
        }
        match self.top_p {
            Some(p) if !(p > 0.0 && p <= 1.0) => refuse("top-p", "above 0 and at most 1", p),
            _ => Ok(()),
        }
    }
}

/// Masks all but the k largest logits; equals of the k-th stay.
fn keep_top_k(logits: &mut [f32], k: usize) {
    let mut sorted = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let Some(&least) = sorted.get(k - 1) else {
        return;
    };
    for logit in logits {
        if *logit < least {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Masks the tokens, worst first, whose probabilities together stay within 1 - p; the best one stays.
fn keep_top_p(logits: &mut [f32], p: f64) {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    // Of equals the first is the better one, as it is to `greedy`; adding 0 makes -0 equal to it.
    let logit = |token: usize| logits[token] + 0.0;
    order.sort_by(|&a, &b| logit(a).total_cmp(&logit(b)).then(b.cmp(&a)));
    let mut probabilities = logits.to_vec();
    softmax(Isa::best(), &mut probabilities);
    order.pop();
    let mut below = 0.0;
    for token in order {
        below += f64::from(probabilities[token]);
        if below > 1.0 - p {
            break;
        }
        logits[token] = f32::NEG_INFINITY;
    }
}

/// The token with the largest logit, the first of equals, from logits, `[V]`.
///
/// # Errors
/// [`Error::Logits`] where a logit is not finite, [`Error::NoLogits`] where there are none.
pub fn greedy(logits: ArrayView1<f32>) -> Result<u32, Error> {
    let mut best: Option<(usize, f32)> = None;
    for (token, &logit) in logits.indexed_iter() {
        finite(token, logit)?;
        if best.is_none_or(|(_, highest)| logit > highest) {
            best = Some((token, logit));
        }
    }
    best.map(|(token, _)| token as u32).ok_or(Error::NoLogits)
}

fn finite(token: usize, found: f32) -> Result<(), Error> {
    match found.is_finite() {
        true => Ok(()),
        false => Err(Error::Logits { token, found }),
    }
}

/// Draws tokens; the same seed and logits give the same tokens everywhere.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
}

impl Sampler {
    /// Draws from the distributions that `sampling` makes.
    ///
    /// # Errors
    /// [`Error::Sampling`] where a setting has no meaning.
    pub fn new(sampling: Sampling, seed: u64) -> Result<Self, Error> {
        sampling.check()?;
        let random = ChaCha8Rng::seed_from_u64(seed);
        Ok(Sampler { sampling, random })
    }

    /// The next token from logits, `[V]`.
    ///
    /// # Errors
    /// Those of [`Sampling::probabilities`].
    pub fn choose(&mut self, logits: ArrayView1<f32>) -> Result<u32, Error> {
        let probabilities = self.sampling.probabilities(logits)?;
        let total: f64 = probabilities.iter().map(|&p| f64::from(p)).sum();
        // 53 random bits are a float64 in [0, 1).
        let unit = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut left = unit * total;
        let mut chosen = 0;
        for (token, &p) in probabilities.indexed_iter().filter(|&(_, &p)| p > 0.0) {
            chosen = token;
            left -= f64::from(p);
            if left < 0.0 {
                break;
            }
        }
        Ok(chosen as u32)
    }
}
