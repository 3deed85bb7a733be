//! GPT-2's causal attention: every position averages the values of the positions up to itself, weighed
//! by how well its query fits their keys.
//!
//! scores = q . k / sqrt(D), the future left out; probs = softmax(scores); the heads' averages are
//! merged, head h into channels h D to (h + 1) D, and projected by c_proj in Conv1D's layout [C, C]
//! (Vaswani et al., <https://arxiv.org/abs/1706.03762>, section 3.2; `eager_attention_forward` and
//! `GPT2Attention` in Hugging Face's `modeling_gpt2.py`). c_proj is square: a transpose would pass
//! every shape check.
//!
//! Keys and values come as [`KvPanels`], which hold S = past + T positions; the last T of them are the
//! queries' own. A row's result depends on nothing but its own query and the positions it may see, so
//! chunked, cached and whole prompts give the same bits.
//!
//! ```
//! use llorch_attention::Attention;
//! use llorch_numerics::{Cpu, KvPanels};
//! use ndarray::{array, Array1, Array2};
//!
//! // One row, two positions, one head of D = 2; c_proj is the identity.
//! let attention = Attention::new(Array2::eye(2).view(), Array1::zeros(2).view(), 1)?;
//! let q = array![[[[1.0, 0.0]], [[0.0, 0.0]]]];
//! let k = array![[[[9.0, 0.0]], [[0.0, 9.0]]]];
//! let v = array![[[[1.0, 2.0]], [[3.0, 4.0]]]];
//! let mut panels = KvPanels::new(1, 2, 1, 2)?;
//! panels.append(&Cpu::default(), k.view(), v.view())?;
//!
//! let out = attention.forward(q.view(), &panels, &mut ())?;
//! // Position 0 sees itself alone; position 1's query fits both keys equally.
//! assert_eq!(out, array![[[1.0, 2.0], [2.0, 3.0]]]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod block;
mod error;

pub use error::Error;
use llorch_numerics::{Cpu, Dim, KvPanels, PackedMatrix, Probe, check_shape, offer};
use ndarray::{Array1, Array2, Array3, Array4, ArrayView1, ArrayView2, ArrayView4};

/// What this crate's own types are made of, for those who depend on it alone.
pub use llorch_numerics as numerics;
pub use ndarray;

/// Causal attention of H heads with its output projection `c_proj`.
#[derive(Clone, Debug)]
pub struct Attention {
    weight: PackedMatrix,
    bias: Array1<f32>,
    heads: usize,
    scale: f64,
    cpu: Cpu,
}

impl Attention {
    /// Takes `c_proj`'s weight, [C, C] as the file holds it ([in, out]), its bias, `[C]`, and the number
    /// of heads. Scores are scaled by 1 / sqrt(D).
    ///
    /// # Errors
    /// [`Error::Shape`] where the arrays do not fit each other or are empty, [`Error::Heads`] where the
    /// heads do not divide C.
    pub fn new(
        weight: ArrayView2<f32>,
        bias: ArrayView1<f32>,
        heads: usize,
    ) -> Result<Self, Error> {
        let channels = weight.nrows();
        // First that there are channels: a size of zero cannot be what the other one must be.
        check_shape("weight", weight.shape(), &[Dim::Any("C"); 2])?;
        let square = [Dim::Any("C"), Dim::Is(channels)];
        check_shape("weight", weight.shape(), &square)?;
        check_shape("bias", bias.shape(), &[Dim::Is(channels)])?;
        if heads == 0 || !channels.is_multiple_of(heads) {
            return Err(Error::Heads { channels, heads });
        }
        let dim = channels / heads;
        Ok(Attention {
            weight: PackedMatrix::from_in_out(&Cpu::default(), weight)?,
            bias: bias.to_owned(),
            heads,
            scale: 1.0 / (dim as f64).sqrt(),
            cpu: Cpu::default(),
        })
    }

    /// The same layer on other threads or another instruction set than [`Cpu::default`]'s; same bits.
    pub fn on(self, cpu: &Cpu) -> Self {
        let cpu = cpu.clone();
        Attention { cpu, ..self }
    }

    /// The same attention with another factor on its scores than 1 / sqrt(D): what
    /// `scale_attn_by_inverse_layer_idx` asks for.
    ///
    /// # Errors
    /// [`Error::Scale`] where the factor is not finite and positive.
    pub fn with_scale(self, scale: f64) -> Result<Self, Error> {
        if !(scale.is_finite() && scale > 0.0) {
            return Err(Error::Scale { found: scale });
        }
        Ok(Attention { scale, ..self })
    }

    /// Attends with the queries of the last T positions, q [B, T, H, D], to all S positions of `cached`;
    /// the result is [B, T, C].
    ///
    /// The probe is offered `scores` (scaled, the future -inf) and `probs`, both [B, H, T, S], and
    /// `out`, [B, T, C].
    ///
    /// # Errors
    /// [`Error::Shape`] where q does not fit the heads or the cache, [`Error::Positions`] where the
    /// cache holds fewer positions than there are queries.
    pub fn forward(
        &self,
        q: ArrayView4<f32>,
        cached: &KvPanels,
        probe: &mut dyn Probe,
    ) -> Result<Array3<f32>, Error> {
        let past = self.check(q, cached)?;
        let merged = self.average(q, cached, past, probe)?;
        let bias = Some(self.bias.view());
        let out = self.weight.multiply(&self.cpu, merged.view(), bias, None)?;
        self.cpu.recycle(merged);
        offer(probe, "out", || out.view());
        Ok(out)
    }

    /// Checks all shapes and returns the number of positions before the first query's.
    fn check(&self, q: ArrayView4<f32>, cached: &KvPanels) -> Result<usize, Error> {
        let [batch, stored, heads, dim] = cached.shape();
        let own_dim = self.bias.len() / self.heads;
        let expected = [
            Dim::Any("B"),
            Dim::Any("S"),
            Dim::Is(self.heads),
            Dim::Is(own_dim),
        ];
        check_shape("keys and values", &[batch, stored, heads, dim], &expected)?;
        let expected = [Dim::Is(batch), Dim::Any("T"), Dim::Is(heads), Dim::Is(dim)];
        check_shape("q", q.shape(), &expected)?;
        let tokens = q.dim().1;
        stored.checked_sub(tokens).ok_or(Error::Positions {
            queries: tokens,
            stored,
        })
    }

    /// The heads' averages, merged: [B, T, C].
    fn average(
        &self,
        q: ArrayView4<f32>,
        cached: &KvPanels,
        past: usize,
        probe: &mut dyn Probe,
    ) -> Result<Array3<f32>, Error> {
        let (batch, tokens, heads, dim) = q.dim();
        let stored = past + tokens;
        let full = |site: &str, outside: f32| {
            let wanted = probe.wants(site);
            wanted.then(|| Array4::from_elem((batch, heads, tokens, stored), outside))
        };
        let mut scores = full("scores", f32::NEG_INFINITY);
        let mut probs = full("probs", 0.0);
        let mut merged = self.cpu.array((batch, tokens, heads * dim));

        let kept = [scores.as_mut(), probs.as_mut()];
        let mut blocks = block::cut(q, past, &mut merged, kept);
        // A little more than a row needs: rows a power of two apart would share places in the cache.
        let room = (block::QUERIES.min(tokens), stored + 16);
        self.cpu.for_each_with(
            &mut blocks,
            || Array2::zeros(room),
            |buffer, block| block.attend(self.cpu.isa(), cached, self.scale, buffer),
        );
        blocks.into_iter().try_for_each(|block| block.outcome)?;
        for (site, values) in [("scores", scores), ("probs", probs)] {
            if let Some(values) = values {
                probe.record(site, values.view().into_dyn());
            }
        }
        Ok(merged)
    }
}

/// Keeps the example in README.md true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
