use anyhow::Result;
use llorch_model::{Probe, Sampling};
use llorch_numerics::offer;
use ndarray::{Array1, Array2, Array3, Array4, ArrayView1, ArrayView2, ArrayView4, ArrayViewD};

use super::{Attended, CacheSize, LayerCache, Model, OnHeads, OnStream, Port, Session};
use crate::plain::{self, Bug, Cut, Weights};

/// The plain implementation, with one bug or none.
pub struct Plain<'a> {
    pub weights: &'a Weights,
    pub bug: Option<Bug>,
}

impl Port for Plain<'_> {
    fn layer_norm(&self, name: &str) -> Result<OnStream<'_>> {
        let norm = self.weights.norm(name, self.bug)?;
        let epsilon = self.weights.config.layer_norm_epsilon();
        Ok(Box::new(move |x, probe| {
            let y = plain::layer_norm(x, norm, epsilon, self.bug)?;
            offer(probe, "", || y);
            Ok(())
        }))
    }

    fn qkv(&self, layer: usize) -> Result<OnStream<'_>> {
        let c_attn = self.weights.conv1d(&format!("h.{layer}.attn.c_attn"))?;
        let heads = self.weights.config.n_head();
        Ok(Box::new(move |x, probe| {
            let heads = plain::qkv(x, c_attn, heads, self.bug)?;
            offer(probe, "q", || heads.q);
            offer(probe, "k", || heads.k);
            offer(probe, "v", || heads.v);
            Ok(())
        }))
    }

    fn cache(&self, size: CacheSize) -> Result<Box<dyn LayerCache + '_>> {
        Ok(Box::new(Cache {
            held: plain::Cache::new(size.batch, size.capacity, size.heads, size.dim),
            bug: self.bug,
        }))
    }

    fn attention(&self, layer: usize) -> Result<OnHeads<'_>> {
        let scale = plain::attention_scale(&self.weights.config, layer, self.bug);
        let c_proj = self.weights.conv1d(&format!("h.{layer}.attn.c_proj"))?;
        Ok(Box::new(move |Attended { q, k, v }, probe| {
            let scores = plain::scores(q.view(), k.view(), scale, self.bug)?;
            offer(probe, "scores", || scores.view());
            let probs = plain::probabilities(scores.view(), self.bug);
            offer(probe, "probs", || probs.view());
            let out = plain::attention_out(probs.view(), v.view(), c_proj, self.bug)?;
            offer(probe, "out", || out);
            Ok(())
        }))
    }

    fn mlp(&self, layer: usize) -> Result<OnStream<'_>> {
        let conv1d = |name: &str| self.weights.conv1d(&format!("h.{layer}.mlp.{name}"));
        let (c_fc, c_proj) = (conv1d("c_fc")?, conv1d("c_proj")?);
        let activation = self.weights.config.activation();
        Ok(Box::new(move |x, probe| {
            let mlp = plain::mlp(x, c_fc, c_proj, activation, self.bug)?;
            offer(probe, "fc", || mlp.fc);
            offer(probe, "act", || mlp.act);
            offer(probe, "out", || mlp.out);
            Ok(())
        }))
    }

    fn model(&self) -> Option<&dyn Model> {
        self.weights.is_whole().then_some(self)
    }
}

struct Cache {
    held: plain::Cache,
    bug: Option<Bug>,
}

impl LayerCache for Cache {
    fn append(&mut self, k: ArrayView4<f32>, v: ArrayView4<f32>) -> Result<()> {
        self.held.append(k, v, self.bug)
    }

    fn reset(&mut self) {
        self.held.truncate(0, self.bug);
    }

    fn keys(&self) -> Array4<f32> {
        self.held.keys(self.bug)
    }

    fn values(&self) -> Array4<f32> {
        self.held.values(self.bug)
    }
}

impl Model for Plain<'_> {
    fn session(&self, batch: usize, positions: usize) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Cached {
            plain: self,
            caches: plain::new_caches(&self.weights.config, batch, positions, self.bug),
        }))
    }

    fn greedy(&self, logits: ArrayView2<f32>) -> Result<Vec<u32>> {
        Ok(plain::greedy(logits, self.bug))
    }

    fn distribution(&self, sampling: &Sampling, logits: ArrayView1<f32>) -> Result<Array1<f32>> {
        let &Sampling {
            temperature,
            top_k,
            top_p,
        } = sampling;
        let cut = Cut { top_k, top_p };
        Ok(plain::distribution(logits, temperature, cut, self.bug))
    }

    fn generate(&self, prompt: &[u32], new: usize) -> Result<Vec<u32>> {
        plain::generate(self.weights, prompt, new, self.bug)
    }
}

struct Cached<'a> {
    plain: &'a Plain<'a>,
    caches: Vec<plain::Cache>,
}

impl Session for Cached<'_> {
    fn forward(&mut self, tokens: ArrayView2<u32>, probe: &mut dyn Probe) -> Result<Array3<f32>> {
        let Plain { weights, bug } = *self.plain;
        let mut record = |site: &str, values: ArrayViewD<f32>| offer(probe, site, || values);
        plain::forward(weights, tokens, &mut self.caches, bug, &mut record)
    }

    fn forward_last(&mut self, tokens: ArrayView2<u32>) -> Result<Array2<f32>> {
        let Plain { weights, bug } = *self.plain;
        plain::forward_last(weights, tokens, &mut self.caches, bug)
    }
}
