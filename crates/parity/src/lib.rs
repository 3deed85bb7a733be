//! The ruler: traces, comparison, budgets and verdicts that cannot pass by accident.
//!
//! A port of a model is right when it agrees, step by step, with somebody else's implementation and with
//! the truth. Checks of that kind mostly fail by passing: two arrays are compared where both have values
//! and their shapes never are; a missing output is skipped; an empty list has no mismatches; a determinism
//! test is switched off; the bound is so wide that a wrong constant fits in. This crate is built the other
//! way round:
//!
//! - **What must be compared is said first.** A [`Judge`] starts from a list of [`Expectation`]s. What is
//!   missing, extra, compared twice or never compared is not a PASS.
//! - **The judge compares.** [`compare`] goes through dtype, shape, finite values and mask before it looks
//!   at a number, and stops at the first stage that fails with a typed [`Mismatch`]. No result from
//!   elsewhere can be handed in.
//! - **A tolerance is not enough.** [`Tolerance`] bounds every element against a witness; [`Budget`] bounds
//!   the error against the truth by [`BUDGET`] times the witness's own, pooled per kind of site and case.
//! - **A PASS is a value that only the judge can make.** [`Passed`] has no public constructor and cannot be
//!   cloned or read from a file; it needs at least one comparison, one element and one pair of runs equal
//!   to the bit, and the hashes of weights, inputs and references in an [`Evidence`].
//! - **Files are hashed, then parsed.** A [`Manifest`] lists every trace file's hash and is itself checked
//!   against one; a [`Trace`] believes no size that a file claims.
//!
//! It knows of no particular model: names, kinds of site, cases and parts are the caller's words.
//!
//! # Example
//!
//! Our port of a step gave `ours`; the witness gave `witness`, and the same step in float64 gave the truth,
//! which is stored as the difference to the witness.
//!
//! ```
//! use llorch_parity::{Evidence, Expectation, Judge, Key, Reference, Rule, Tensor, Verdict, sha256_hex};
//! use ndarray::array;
//!
//! let ours = Tensor::from(array![[0.5f32, 1.0]]);
//! let witness = Tensor::from(array![[0.5f32, 1.0000001]]);
//! let delta = Tensor::from(array![[2e-8f32, -6e-8]]);
//!
//! let judge = |ours: &Tensor| {
//!     let key = Key::new("two-tokens", "0/norm");
//!     let expected = vec![Expectation::tensor(key.clone(), "norm", Rule::within(1e-5))];
//!     let mut judge = Judge::new(expected, "run `make refs`");
//!     judge.compare(&key, Some(ours), Some(Reference::with_truth(&witness, &delta)));
//!     judge.identical("two runs", ours, &ours.clone());
//!     judge.finish(Evidence {
//!         weights_sha256: sha256_hex(b"weights"),
//!         inputs_sha256: sha256_hex(b"inputs"),
//!         references_sha256: sha256_hex(b"references"),
//!         commit: "unknown".into(),
//!         dirty: true,
//!     })
//! };
//!
//! let judgement = judge(&ours);
//! assert!(judgement.verdict().is_pass());
//! assert_eq!(judgement.elements(), 2);
//! assert!(judgement.pools()[0].ratio < 1.1);
//!
//! // The same numbers without the outer axis: no value is looked at.
//! let judgement = judge(&Tensor::from(array![0.5f32, 1.0]));
//! let Verdict::Fail(failures) = judgement.verdict() else { panic!("{}", judgement.verdict()) };
//! assert_eq!(failures[0].to_string(), "two-tokens 0/norm: shape: expected [1, 2], found [2]");
//! assert_eq!(judgement.verdict().exit_code(), 1);
//! ```

#![forbid(unsafe_code)]

mod budget;
mod compare;
mod elements;
mod error;
mod hash;
mod hashed_file;
mod judge;
mod manifest;
mod measure;
mod mismatch;
mod npy;
mod npz;
mod tensor;
mod tolerance;
mod trace;

pub use budget::{BUDGET, Budget, Pool};
pub use compare::{Reference, compare};
pub use error::{ManifestError, TraceError};
pub use hash::{sha256_hex, sha256_reader};
pub use hashed_file::HashedFile;
pub use judge::{
    Choice, Evidence, Expectation, Failure, Judge, Judgement, Key, KindSummary, Passed, Reason,
    Verdict, Worst,
};
pub use manifest::{Case, FORMAT, Manifest};
pub use measure::{Comparison, Difference, Range, SquaredErrors};
pub use mismatch::{Masking, Mismatch, NonFinite, Side};
pub use npy::StoredArray;
pub use npz::{MAX_TENSOR_BYTES, read_arrays};
pub use tensor::{Dtype, Element, Tensor};
pub use tolerance::{Rule, Tolerance};
pub use trace::Trace;

/// What a [`Tensor`] is made of, for those who depend on this crate alone.
pub use ndarray;

/// Keeps the example in README.md true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
