//! GPT-2's feed-forward layer: expand, activate, project back.
//!
//! out = act(x @ W_fc + b_fc) @ W_proj + b_proj, the weights in Conv1D's layout, [C, I] and [I, C], with
//! I = 4 C unless the config's `n_inner` says otherwise (`GPT2MLP` in Hugging Face's
//! `modeling_gpt2.py`). GPT-2's activation is the tanh form of GELU, which differs from the erf form by
//! up to 4.7e-4 near |x| = 2.7 (Hendrycks and Gimpel, <https://arxiv.org/abs/1606.08415>).
//!
//! ```
//! use llorch_mlp::{Activation, Mlp};
//! use ndarray::array;
//!
//! let (fc, fc_bias) = (array![[1.0, -1.0]], array![0.0, 0.5]);
//! let (proj, proj_bias) = (array![[1.0], [1.0]], array![10.0]);
//! let mlp = Mlp::new(fc.view(), fc_bias.view(), proj.view(), proj_bias.view(), Activation::GeluTanh)?;
//! // gelu(2) = 1.9545977, gelu(-1.5) = -0.10042843
//! assert_eq!(mlp.forward(array![[[2.0]]].view(), &mut ())?, array![[[11.854169]]]);
//! # Ok::<(), llorch_mlp::Error>(())
//! ```
#![forbid(unsafe_code)]

mod error;

pub use error::Error;
use llorch_numerics::{Dim, PackedMatrix, Probe, check_shape, gelu_erf, gelu_tanh, offer, relu};
use ndarray::{Array1, Array3, ArrayView1, ArrayView2, ArrayView3};

/// What this crate's own types are made of, for those who depend on it alone.
pub use llorch_numerics as numerics;
pub use ndarray;

/// What is applied between the two products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// GELU in its tanh form: `gelu_new` and `gelu_pytorch_tanh`, all published GPT-2s.
    GeluTanh,
    /// GELU with the error function: `gelu`.
    GeluErf,
    /// max(x, 0): `relu`.
    Relu,
}

/// The feed-forward layer with its two products.
#[derive(Clone, Debug)]
pub struct Mlp {
    fc: PackedMatrix,
    fc_bias: Array1<f32>,
    proj: PackedMatrix,
    proj_bias: Array1<f32>,
    activation: Activation,
}

impl Mlp {
    /// Takes `c_fc` ([C, I], \[I\]) and `c_proj` ([I, C], \[C\]), weights as the file holds them.
    ///
    /// # Errors
    /// [`Error::Shape`] where they do not fit each other or are empty.
    pub fn new(
        fc: ArrayView2<f32>,
        fc_bias: ArrayView1<f32>,
        proj: ArrayView2<f32>,
        proj_bias: ArrayView1<f32>,
        activation: Activation,
    ) -> Result<Self, Error> {
        let (channels, inner) = fc.dim();
        check_shape("c_fc weight", fc.shape(), &[Dim::Any("C"), Dim::Any("I")])?;
        check_shape("c_fc bias", fc_bias.shape(), &[Dim::Is(inner)])?;
        let expected = [Dim::Is(inner), Dim::Is(channels)];
        check_shape("c_proj weight", proj.shape(), &expected)?;
        check_shape("c_proj bias", proj_bias.shape(), &[Dim::Is(channels)])?;
        Ok(Mlp {
            fc: PackedMatrix::from_in_out(fc)?,
            fc_bias: fc_bias.to_owned(),
            proj: PackedMatrix::from_in_out(proj)?,
            proj_bias: proj_bias.to_owned(),
            activation,
        })
    }

    /// Feeds x, [B, T, C], through the layer; the result is [B, T, C].
    ///
    /// The probe is offered `fc` (before the activation) and `act`, both [B, T, I], and `out`, [B, T, C].
    ///
    /// # Errors
    /// [`Error::Shape`] where x has another shape or a size of zero.
    pub fn forward(&self, x: ArrayView3<f32>, probe: &mut dyn Probe) -> Result<Array3<f32>, Error> {
        let expected = [Dim::Any("B"), Dim::Any("T"), Dim::Is(self.fc.inputs())];
        check_shape("x", x.shape(), &expected)?;
        let mut inner = self.fc.multiply(x, Some(self.fc_bias.view()))?;
        offer(probe, "fc", || inner.view());
        // A product is in standard layout, so it is a slice.
        let values = inner.as_slice_mut().unwrap_or_default();
        match self.activation {
            Activation::GeluTanh => gelu_tanh(values),
            Activation::GeluErf => gelu_erf(values),
            Activation::Relu => relu(values),
        }
        offer(probe, "act", || inner.view());
        let out = self
            .proj
            .multiply(inner.view(), Some(self.proj_bias.view()))?;
        offer(probe, "out", || out.view());
        Ok(out)
    }
}
