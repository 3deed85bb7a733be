//! GPT-2's projection of a position into a query, a key and a value, and their split into heads.
//!
//! One product, x @ W + b with W in Conv1D's layout [C, 3C], gives three C-wide thirds: q, k, v in this
//! order. The heads lie inside each third, head h being channels h D to (h + 1) D of it; they are not
//! interleaved. No transpose is wanted anywhere (`Conv1D` in Hugging Face's `pytorch_utils.py`;
//! `GPT2Attention.forward` in its `modeling_gpt2.py`).
//!
//! ```
//! use llorch_qkv::Qkv;
//! use ndarray::{array, Array1, Array2};
//!
//! // C = 2, one head; W puts x into q, 2x into k and 3x into v.
//! let weight = array![
//!     [1.0, 0.0, 2.0, 0.0, 3.0, 0.0],
//!     [0.0, 1.0, 0.0, 2.0, 0.0, 3.0],
//! ];
//! let qkv = Qkv::new(weight.view(), Array1::zeros(6).view(), 1)?;
//! let heads = qkv.forward(array![[[5.0, 7.0]]].view())?;
//! assert_eq!(heads.q, array![[[[5.0, 7.0]]]]);
//! assert_eq!(heads.k, array![[[[10.0, 14.0]]]]);
//! assert_eq!(heads.v, array![[[[15.0, 21.0]]]]);
//! # Ok::<(), llorch_qkv::Error>(())
//! ```
#![forbid(unsafe_code)]

mod error;

pub use error::Error;
use llorch_numerics::{Cpu, Dim, PackedMatrix, ShapeError, check_shape};
use ndarray::{Array1, Array4, ArrayView1, ArrayView2, ArrayView3, Axis, Slice};

/// What this crate's own types are made of, for those who depend on it alone.
pub use llorch_numerics as numerics;
pub use ndarray;

/// The projection `c_attn`.
#[derive(Clone, Debug)]
pub struct Qkv {
    q: Third,
    k: Third,
    v: Third,
    heads: usize,
    cpu: Cpu,
}

/// C of the fused projection's 3C columns: [C, C] and \[C\]. Packed apart, each third is made where it is
/// wanted and never copied out of the whole.
#[derive(Clone, Debug)]
struct Third {
    weight: PackedMatrix,
    bias: Array1<f32>,
}

/// Queries, keys and values of T positions, each [B, T, H, D].
#[derive(Clone, Debug, PartialEq)]
pub struct Heads {
    /// What each position looks for.
    pub q: Array4<f32>,
    /// What each position is found by.
    pub k: Array4<f32>,
    /// What each position gives.
    pub v: Array4<f32>,
}

impl Qkv {
    /// Takes `c_attn`'s weight, [C, 3C] as the file holds it, its bias, \[3C\], and the number of heads.
    ///
    /// # Errors
    /// [`Error::Shape`] where the arrays do not fit each other or are empty, [`Error::Heads`] where the
    /// heads do not divide C.
    pub fn new(
        weight: ArrayView2<f32>,
        bias: ArrayView1<f32>,
        heads: usize,
    ) -> Result<Self, Error> {
        // First that there are channels: a size of zero cannot be what the other one must be.
        check_shape("weight", weight.shape(), &[Dim::Any("C"), Dim::Any("3C")])?;
        let channels = weight.nrows();
        let expected = [Dim::Is(channels), Dim::Is(channels.saturating_mul(3))];
        check_shape("weight", weight.shape(), &expected)?;
        check_shape("bias", bias.shape(), &[Dim::Is(weight.ncols())])?;
        if heads == 0 || !channels.is_multiple_of(heads) {
            return Err(Error::Heads { channels, heads });
        }
        let third = |index: usize| -> Result<Third, Error> {
            let columns = Slice::from(index * channels..(index + 1) * channels);
            let weight = weight.slice_axis(Axis(1), columns);
            Ok(Third {
                weight: PackedMatrix::from_in_out(&Cpu::default(), weight)?,
                bias: bias.slice_axis(Axis(0), columns).to_owned(),
            })
        };
        Ok(Qkv {
            q: third(0)?,
            k: third(1)?,
            v: third(2)?,
            heads,
            cpu: Cpu::default(),
        })
    }

    /// The same layer on other threads or another instruction set than [`Cpu::default`]'s; same bits.
    pub fn on(self, cpu: &Cpu) -> Self {
        let cpu = cpu.clone();
        Qkv { cpu, ..self }
    }

    /// Projects x, [B, T, C].
    ///
    /// # Errors
    /// [`Error::Shape`] where x has another shape or a size of zero.
    pub fn forward(&self, x: ArrayView3<f32>) -> Result<Heads, Error> {
        let channels = self.q.weight.inputs();
        let expected = [Dim::Any("B"), Dim::Any("T"), Dim::Is(channels)];
        check_shape("x", x.shape(), &expected)?;
        let (batch, tokens, _) = x.dim();
        let split = [batch, tokens, self.heads, channels / self.heads];
        // A position's C channels are its heads' D channels, one head after the other.
        let heads = |third: &Third| -> Result<Array4<f32>, Error> {
            let bias = Some(third.bias.view());
            let fused = third.weight.multiply(&self.cpu, x, bias, None)?;
            let found = fused.shape().to_vec();
            fused.into_shape_with_order(split).map_err(|_| {
                let expected = split.map(Dim::Is).to_vec();
                Error::Shape(ShapeError {
                    what: "heads",
                    expected,
                    found,
                })
            })
        };
        Ok(Heads {
            q: heads(&self.q)?,
            k: heads(&self.k)?,
            v: heads(&self.v)?,
        })
    }
}

/// Keeps the example in README.md true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
