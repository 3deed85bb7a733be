//! GPT-2's layer normalisation: every position's channels are brought to mean 0 and variance 1, then
//! scaled and shifted by learned vectors.
//!
//! y = (x - mean) / sqrt(variance + epsilon) * weight + bias, the variance divided by C
//! (Ba, Kiros and Hinton, <https://arxiv.org/abs/1607.06450>; `torch.nn.LayerNorm` is what Hugging
//! Face's `modeling_gpt2.py` calls). Statistics take two passes in float64 and the result is rounded
//! once, so the same row gives the same bits in any batch and on any processor.
//!
//! ```
//! use llorch_layernorm::LayerNorm;
//! use ndarray::array;
//!
//! let (weight, bias) = (array![1.0, 1.0, 1.0, 2.0], array![0.0, 0.0, 0.5, 0.0]);
//! let norm = LayerNorm::new(weight.view(), bias.view(), 1e-5)?;
//! let y = norm.forward(array![[[1.0, 2.0, 3.0, 4.0]]].view())?;
//! // mean 2.5, variance 1.25
//! assert_eq!(y, array![[[-1.3416355, -0.4472118, 0.9472118, 2.683271]]]);
//! # Ok::<(), llorch_layernorm::Error>(())
//! ```
#![forbid(unsafe_code)]

mod error;

pub use error::Error;
use llorch_numerics::{Cpu, Dim, check_shape, normalize};
use ndarray::{Array1, Array3, ArrayView1, ArrayView3};

/// What this crate's own types are made of, for those who depend on it alone.
pub use llorch_numerics as numerics;
pub use ndarray;

/// A layer normalisation with its learned scale and shift.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Array1<f32>,
    bias: Array1<f32>,
    epsilon: f64,
    cpu: Cpu,
}

impl LayerNorm {
    /// Takes `weight` and `bias`, \[C\] each, and the epsilon that is added to the variance under the
    /// root (`layer_norm_epsilon` in config.json; 1e-5 in every GPT-2).
    ///
    /// # Errors
    /// [`Error::Shape`] where the two differ or are empty, [`Error::Epsilon`] where epsilon is not
    /// finite or not positive.
    pub fn new(
        weight: ArrayView1<f32>,
        bias: ArrayView1<f32>,
        epsilon: f64,
    ) -> Result<Self, Error> {
        check_shape("weight", weight.shape(), &[Dim::Any("C")])?;
        check_shape("bias", bias.shape(), &[Dim::Is(weight.len())])?;
        if !(epsilon.is_finite() && epsilon > 0.0) {
            return Err(Error::Epsilon { found: epsilon });
        }
        Ok(LayerNorm {
            // Not `to_owned`, which would keep a reversed view's order in memory: these are read as slices.
            weight: weight.iter().copied().collect(),
            bias: bias.iter().copied().collect(),
            epsilon,
            cpu: Cpu::default(),
        })
    }

    /// The same layer on other threads or another instruction set than [`Cpu::default`]'s; same bits.
    pub fn on(self, cpu: &Cpu) -> Self {
        let cpu = cpu.clone();
        LayerNorm { cpu, ..self }
    }

    /// Normalises every position of x, [B, T, C], over its channels; the result is [B, T, C].
    ///
    /// # Errors
    /// [`Error::Shape`] where x has another shape or a size of zero.
    pub fn forward(&self, x: ArrayView3<f32>) -> Result<Array3<f32>, Error> {
        let expected = [Dim::Any("B"), Dim::Any("T"), Dim::Is(self.weight.len())];
        check_shape("x", x.shape(), &expected)?;
        let channels = self.weight.len();
        let x = x.as_standard_layout();
        let mut y = self.cpu.array(x.dim());
        // All four are in standard layout, so slices; an empty one would be refused.
        let weight = self.weight.as_slice().unwrap_or_default();
        let bias = self.bias.as_slice().unwrap_or_default();
        let share = self.cpu.share(x.len() / channels) * channels;
        let from = x.as_slice().unwrap_or_default().chunks(share);
        let to = y.as_slice_mut().unwrap_or_default().chunks_mut(share);
        let mut shares: Vec<_> = from.zip(to).map(|(x, y)| (x, y, Ok(()))).collect();
        self.cpu.for_each(&mut shares, |(x, y, outcome)| {
            let mut rows = x.chunks_exact(channels).zip(y.chunks_exact_mut(channels));
            let (isa, epsilon) = (self.cpu.isa(), self.epsilon);
            *outcome = rows.try_for_each(|(x, y)| normalize(isa, x, epsilon, weight, bias, y));
        });
        shares.into_iter().try_for_each(|(.., outcome)| outcome)?;
        Ok(y)
    }
}

/// Keeps the example in README.md true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
