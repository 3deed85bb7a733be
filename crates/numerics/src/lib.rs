//! The only loops over floats in this workspace, each with one fixed order of evaluation.
//!
//! A library of transformer steps that promises the same bits for the same input cannot leave the
//! order of its sums to a BLAS: that order changes with the shape, the thread count and the
//! processor. Here every output element is reduced in an order that depends on its own inputs alone:
//!
//! - a product sums over k in chunks of [`CHUNK`] (queries times keys: [`SCORE_CHUNK`]), each chunk one
//!   chain of fused multiply-adds, the chunks added one after the other ([`PackedMatrix`], [`KvPanels`]);
//! - a sum (mean, variance, softmax) runs over 16 virtual lanes in float64, combined by a fixed tree;
//! - `exp` is a polynomial of our own, so that no two C libraries can disagree about it.
//!
//! The same source is compiled for several instruction sets and chosen at run time ([`Isa`]); fused
//! multiply-add is exact on all of them, so the bits are equal on all of them.
//!
//! ```
//! use llorch_numerics::{Cpu, PackedMatrix};
//! use ndarray::array;
//!
//! // Conv1D's layout, [in, out]: y = x @ W + b.
//! let cpu = Cpu::default();
//! let weight = PackedMatrix::from_in_out(&cpu, array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]].view())?;
//! let bias = array![0.5, 0.5, 0.5];
//! let y = weight.multiply(&cpu, array![[1.0, 10.0]].view(), Some(bias.view()), None)?;
//! assert_eq!(y, array![[41.5, 52.5, 63.5]]);
//! # Ok::<(), llorch_numerics::PackError>(())
//! ```
#![deny(unsafe_code)]

mod activation;
mod arena;
mod attend;
mod cpu;
mod exp;
mod isa;
mod kv_panels;
pub mod limits;
mod multiply;
mod packed;
mod panel;
mod panels;
mod pool;
mod probe;
mod recycle;
mod reduce;
mod shape;
mod simd;
#[cfg(test)]
mod testing;

pub use activation::Activation;
pub use cpu::{Cpu, CpuError};
pub use exp::exp;
pub use isa::{Isa, IsaNameError};
pub use kv_panels::{KvPanels, ReadError, StoreError};
pub use packed::{PackError, PackedMatrix};
pub use panel::{CHUNK, SCORE_CHUNK};
pub use probe::{Probe, Scoped, offer};
pub use reduce::{Moments, moments, normalize, softmax};
pub use shape::{Dim, ShapeError, check_shape};

/// What goes in and comes out, for those who depend on this crate alone.
pub use ndarray;

/// Keeps the example in README.md true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
