//! A second GPT-2, written as plainly as possible from the pages in docs/checkpoints.
//!
//! It shares no arithmetic with the crates: every sum is one loop in float64, rounded to float32 once. That is
//! as exact as float32 admits, slow, and its bits depend on nothing but an element's own inputs. Each step is a
//! function on arrays that can be called alone, and is told which [`Bug`] to make, if any.

mod attention;
mod bug;
mod cache;
mod generation;
mod layer_norm;
mod linear;
mod mlp;
mod model;
mod qkv;
mod sampling;
mod softmax;
mod weights;

pub use attention::{attention_out, attention_scale, probabilities, scores};
pub use bug::Bug;
pub use cache::Cache;
pub use generation::generate;
pub use layer_norm::{Norm, layer_norm};
pub use linear::{Conv1d, product};
pub use mlp::{activate, mlp};
pub use model::{block, embed, forward, forward_last, last_norm, logits, new_caches};
pub use qkv::qkv;
pub use sampling::{Cut, distribution, greedy};
pub use weights::Weights;
