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
//! assert_eq!(mlp.forward(array![[[2.0]]].view(), &mut ())?, array![[[11.85417]]]);
//! # Ok::<(), llorch_mlp::Error>(())
//! ```
#![forbid(unsafe_code)]

mod error;

pub use error::Error;
pub use llorch_numerics::Activation;
use llorch_numerics::{Cpu, Dim, PackedMatrix, Probe, check_shape, offer};
use ndarray::{Array1, Array3, ArrayView1, ArrayView2, ArrayView3};

/// What this crate's own types are made of, for those who depend on it alone.
pub use llorch_numerics as numerics;
pub use ndarray;

/// The feed-forward layer with its two products.
#[derive(Clone, Debug)]
pub struct Mlp {
    fc: PackedMatrix,
    fc_bias: Array1<f32>,
    proj: PackedMatrix,
    proj_bias: Array1<f32>,
    activation: Activation,
    cpu: Cpu,
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
            fc: PackedMatrix::from_in_out(&Cpu::default(), fc)?,
            fc_bias: fc_bias.to_owned(),
            proj: PackedMatrix::from_in_out(&Cpu::default(), proj)?,
            proj_bias: proj_bias.to_owned(),
            activation,
            cpu: Cpu::default(),
        })
    }

    /// The same layer on other threads or another instruction set than [`Cpu::default`]'s; same bits.
    pub fn on(self, cpu: &Cpu) -> Self {
        let cpu = cpu.clone();
        Mlp { cpu, ..self }
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
        let (fc, bias) = (&self.fc, Some(self.fc_bias.view()));
        let inner = if probe.wants("fc") {
            // The same function of the same elements, so the same bits, one pass later.
            let mut inner = fc.multiply(&self.cpu, x, bias, None)?;
            probe.record("fc", inner.view().into_dyn());
            let isa = self.cpu.isa();
            // A product is in standard layout, so it is a slice.
            self.activation
                .apply(isa, inner.as_slice_mut().unwrap_or_default());
            inner
        } else {
            fc.multiply(&self.cpu, x, bias, Some(self.activation))?
        };
        offer(probe, "act", || inner.view());
        let bias = Some(self.proj_bias.view());
        let out = self.proj.multiply(&self.cpu, inner.view(), bias, None)?;
        self.cpu.recycle(inner);
        offer(probe, "out", || out.view());
        Ok(out)
    }
}

/// Keeps the example in README.md true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
