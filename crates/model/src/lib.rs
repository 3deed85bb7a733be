//! GPT-2 on the CPU, composed of rooms that are each proven on their own.
//!
//! [`Gpt2`] is `wte` and `wpe`, L [`Block`]s, a last layer normalisation and the head (Radford et al.,
//! "Language Models are Unsupervised Multitask Learners", 2019; `modeling_gpt2.py` in Hugging Face's
//! transformers). The same weights and tokens give the same bits whatever the other rows of the batch,
//! however the prompt is cut into chunks, cached or recomputed, with or without a [`Probe`] listening.
//!
//! ```
//! use llorch_model::{Gpt2, Tokenizer, tokens};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tiny");
//! let model = Gpt2::open(folder)?;
//! let tokenizer = Tokenizer::open(folder)?;
//!
//! let ids = tokenizer.encode("What say you")?;
//! let mut cache = model.cache(1, model.config().n_positions())?;
//! let logits = model.forward_last(tokens(&[&ids])?.view(), &mut cache, &mut ())?;
//! assert_eq!(logits.dim(), (1, 1001)); // [B, V]
//! assert_eq!(cache.len(), ids.len());
//!
//! // Token by token through a cache: the same bits.
//! let mut steps = model.cache(1, ids.len())?;
//! let mut last = None;
//! for id in &ids {
//!     last = Some(model.forward_last(tokens(&[&[*id]])?.view(), &mut steps, &mut ())?);
//! }
//! assert_eq!(last, Some(logits));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod block;
mod cache;
mod error;
mod generate;
mod gpt2;
mod load;
mod sampling;
mod text_stream;
mod tokenizer;
mod tokens;

pub use block::Block;
pub use cache::Cache;
pub use error::Error;
pub use generate::{Generation, generate};
pub use gpt2::Gpt2;
pub use llorch_attention::Attention;
pub use llorch_kv_cache::KvCache;
pub use llorch_layernorm::LayerNorm;
pub use llorch_mlp::Mlp;
pub use llorch_numerics::{Cpu, CpuError, Isa, Probe};
pub use llorch_qkv::Qkv;
pub use llorch_weights::{Config, Weights};
pub use load::{attention, layer_norm, mlp, qkv};
pub use sampling::{Sampler, Sampling, greedy};
pub use text_stream::TextStream;
pub use tokenizer::Tokenizer;
pub use tokens::tokens;

/// What this crate's own types are made of, for those who depend on it alone.
pub use llorch_numerics as numerics;
pub use llorch_weights as weights;
pub use ndarray;

/// Keeps the example in README.md true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
