//! The one door for untrusted model files: config.json and safetensors in, a checked [`Config`] and
//! checked, borrowed [`Tensor`]s out.
//!
//! # Why
//!
//! A model folder is somebody else's data. What goes wrong in it goes wrong quietly: a setting that
//! the code does not implement, a tensor of the right size and the wrong shape, a key that occurs
//! twice, a NaN. Behind this door nothing has to be doubted again:
//!
//! - A [`Config`] holds only settings that are computed as Hugging Face's GPT-2 computes them. A field
//!   that could change the numbers and is not implemented, or not known, is refused by name.
//! - [`Weights`] opens folders in every form that GPT-2 comes in: one file or shards, keys with and
//!   without `transformer.`, float32, float16 or bfloat16, with or without mask buffers and a head of
//!   their own. Pickles are never read.
//! - [`Weights::check`] compares all names, types and shapes with the config, both ways.
//! - [`Weights::tensor`] yields finite float32 numbers of the shape the caller names, straight from
//!   the memory map where the file allows it. Conv1D weights stay `[in, out]`, as stored: `x @ W + b`.
//!
//! Nothing that a file holds makes this crate panic; every refusal is a variant of [`Error`] or
//! [`ConfigError`] that says what was expected and what was found.
//!
//! # The head
//!
//! `tie_word_embeddings` true: logits are made with `wte.weight`, unless the file has an
//! `lm_head.weight` of its own, which is then used. This is what transformers 5 does (it unties a
//! model whose file has two different matrices). False: the file must have
//! one; transformers would go on with random numbers. A tied file that has only `lm_head.weight` is
//! refused for its missing `wte.weight`.
//!
//! # Example
//!
//! ```
//! use llorch_weights::{Config, Error, Weights};
//! use safetensors::{Dtype, serialize_to_file, tensor::TensorView};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::from_json(r#"{"n_embd": 6, "n_head": 2, "activation_function": "relu"}"#)?;
//! assert_eq!((config.head_dim(), config.n_inner()), (3, 24));
//! assert!(Config::from_json(r#"{"reorder_and_upcast_attn": true}"#).is_err());
//!
//! // A file with one matrix [2, 3], as a model folder would have it.
//! let folder = tempfile::tempdir()?;
//! let bytes: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|x| x.to_le_bytes()).collect();
//! let matrix = TensorView::new(Dtype::F32, vec![2, 3], &bytes)?;
//! let file = folder.path().join("model.safetensors");
//! serialize_to_file([("transformer.wpe.weight", matrix)], None, &file)?;
//!
//! let weights = Weights::open(folder.path())?;
//! let wpe = weights.tensor("wpe.weight", &[2, 3])?;
//! assert_eq!(wpe.view2()?[[1, 0]], 4.0);
//!
//! // The same numbers in another shape are not the same tensor.
//! let error = weights.tensor("wpe.weight", &[3, 2]).unwrap_err();
//! assert_eq!(error.to_string(), "wpe.weight: expected shape [3, 2], found [2, 3]");
//! // And this is not a whole model.
//! assert!(weights.missing(&config).iter().any(|tensor| tensor.name == "wte.weight"));
//! assert!(weights.check(&config).is_err());
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

mod check;
mod config;
mod error;
mod files;
mod header;
pub mod hub;
mod json;
mod layout;
mod map;
mod tensor;
mod weights;

pub use check::{Head, Report};
pub use config::{Activation, Config, ConfigError};
pub use error::Error;
pub use layout::Missing;
pub use tensor::Tensor;
pub use weights::Weights;

/// What [`Tensor`]'s views are made of, for those who depend on this crate alone.
pub use ndarray;

/// Keeps the example in README.md true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
