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
use llorch_numerics::{Dim, check_shape, normalize};
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
        })
    }

    /// Normalises every position of x, [B, T, C], over its channels; the result is [B, T, C].
    ///
    /// # Errors
    /// [`Error::Shape`] where x has another shape or a size of zero.
    pub fn forward(&self, x: ArrayView3<f32>) -> Result<Array3<f32>, Error> {
        let expected = [Dim::Any("B"), Dim::Any("T"), Dim::Is(self.weight.len())];
        check_shape("x", x.shape(), &expected)?;
        let mut y = x.as_standard_layout().into_owned();
        let mut row = vec![0.0; self.weight.len()];
        for mut out in y.rows_mut() {
            row.clear();
            row.extend(&out);
            // All three are in standard layout; an empty slice would be refused.
            normalize(
                &row,
                self.epsilon,
                self.weight.as_slice().unwrap_or_default(),
                self.bias.as_slice().unwrap_or_default(),
                out.as_slice_mut().unwrap_or_default(),
            )?;
        }
        Ok(y)
    }
}

/// Keeps the example in README.md true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
