//! What the checkpoints ask of an implementation of GPT-2: its components alone, and the whole model.

mod plain;
mod rooms;

use anyhow::Result;
use llorch_model::{Probe, Sampling};
use ndarray::{Array1, Array2, Array3, Array4, ArrayView1, ArrayView2, ArrayView3, ArrayView4};

pub use plain::Plain;
pub use rooms::Rooms;

/// An implementation with the weights of one model. A component is asked for once and run many times; where
/// its weights are missing, asking is an error.
pub trait Port {
    /// The normalisation `h.i.ln_1`, `h.i.ln_2` or `ln_f`; it offers its output as the site without a name.
    fn layer_norm(&self, name: &str) -> Result<OnStream<'_>>;
    /// The projection of layer `layer`; it offers `q`, `k` and `v`.
    fn qkv(&self, layer: usize) -> Result<OnStream<'_>>;
    /// An empty cache of one layer.
    fn cache(&self, size: CacheSize) -> Result<Box<dyn LayerCache + '_>>;
    /// The attention of layer `layer`; it offers `scores`, `probs` and `out`.
    fn attention(&self, layer: usize) -> Result<OnHeads<'_>>;
    /// The feed-forward layer of layer `layer`; it offers `fc`, `act` and `out`.
    fn mlp(&self, layer: usize) -> Result<OnStream<'_>>;
    /// The whole model, where all of its weights are there.
    fn model(&self) -> Option<&dyn Model>;
}

/// Runs on x, [B, T, C], and offers what it makes.
pub type OnStream<'a> = Box<dyn Fn(ArrayView3<f32>, &mut dyn Probe) -> Result<()> + 'a>;

/// Runs on queries with the keys and values that they may see, and offers what it makes.
pub type OnHeads<'a> = Box<dyn Fn(&Attended, &mut dyn Probe) -> Result<()> + 'a>;

/// Queries of the last T of S positions, with the keys and values of all.
pub struct Attended {
    /// [B, T, H, D].
    pub q: Array4<f32>,
    /// [B, S, H, D].
    pub k: Array4<f32>,
    /// [B, S, H, D].
    pub v: Array4<f32>,
}

/// B, the positions there is room for, H and D.
#[derive(Clone, Copy, Debug)]
pub struct CacheSize {
    pub batch: usize,
    pub capacity: usize,
    pub heads: usize,
    pub dim: usize,
}

/// The keys and values of one layer.
pub trait LayerCache {
    /// Puts new positions, [B, T, H, D] each, behind those that are there.
    fn append(&mut self, k: ArrayView4<f32>, v: ArrayView4<f32>) -> Result<()>;
    /// Forgets everything.
    fn reset(&mut self);
    /// All keys, [B, S, H, D].
    fn keys(&self) -> Array4<f32>;
    /// All values, [B, S, H, D].
    fn values(&self) -> Array4<f32>;
}

/// The whole model, and what chooses tokens from its logits.
pub trait Model {
    /// Starts B rows of at most `positions` positions.
    fn session(&self, batch: usize, positions: usize) -> Result<Box<dyn Session + '_>>;
    /// The best token of every row of logits, [B, V].
    fn greedy(&self, logits: ArrayView2<f32>) -> Result<Vec<u32>>;
    /// The probability of every token, \[V\], from logits, \[V\].
    fn distribution(&self, sampling: &Sampling, logits: ArrayView1<f32>) -> Result<Array1<f32>>;
    /// Continues a prompt greedily by `new` tokens, as a user would.
    fn generate(&self, prompt: &[u32], new: usize) -> Result<Vec<u32>>;
}

/// Calls of a model through one cache.
pub trait Session {
    /// The logits, [B, T, V], of the next tokens, [B, T]; the probe is offered every site.
    fn forward(&mut self, tokens: ArrayView2<u32>, probe: &mut dyn Probe) -> Result<Array3<f32>>;
    /// The logits of the last of the next tokens alone, [B, V].
    fn forward_last(&mut self, tokens: ArrayView2<u32>) -> Result<Array2<f32>>;
}
