use anyhow::Result;
use llorch_model::{
    self as model, Cache, Config, Cpu, Gpt2, KvCache, Probe, Sampler, Sampling, Weights,
};
use llorch_numerics::{KvPanels, offer};
use ndarray::{Array1, Array2, Array3, Array4, ArrayView1, ArrayView2, ArrayView4};

use super::{Attended, CacheSize, LayerCache, Model, OnHeads, OnStream, Port, Session};
use crate::model_dir::ModelDir;

/// Our own crates: each room built on its own, and the whole model that users run.
pub struct Rooms<'a> {
    weights: &'a Weights,
    config: &'a Config,
    cpu: Cpu,
    gpt2: Option<Gpt2>,
}

impl<'a> Rooms<'a> {
    /// The rooms of a model; and the model itself, where it is asked for and whole.
    pub fn new(model: &'a ModelDir, cpu: &Cpu, whole: bool) -> Result<Self> {
        let (weights, config) = (&model.weights, &model.config);
        let whole = whole && model.missing.is_empty();
        Ok(Rooms {
            weights,
            config,
            cpu: cpu.clone(),
            gpt2: whole
                .then(|| Gpt2::load(weights, config, cpu))
                .transpose()?,
        })
    }
}

impl Port for Rooms<'_> {
    fn layer_norm(&self, name: &str) -> Result<OnStream<'_>> {
        let norm = model::layer_norm(self.weights, self.config, name)?.on(&self.cpu);
        Ok(Box::new(move |x, probe| {
            let y = norm.forward(x)?;
            offer(probe, "", || y);
            Ok(())
        }))
    }

    fn qkv(&self, layer: usize) -> Result<OnStream<'_>> {
        let qkv = model::qkv(self.weights, self.config, layer)?.on(&self.cpu);
        Ok(Box::new(move |x, probe| {
            let heads = qkv.forward(x)?;
            offer(probe, "q", || heads.q);
            offer(probe, "k", || heads.k);
            offer(probe, "v", || heads.v);
            Ok(())
        }))
    }

    fn cache(&self, size: CacheSize) -> Result<Box<dyn LayerCache + '_>> {
        let cache = KvCache::new(size.batch, size.capacity, size.heads, size.dim)?;
        Ok(Box::new(cache.on(&self.cpu)))
    }

    fn attention(&self, layer: usize) -> Result<OnHeads<'_>> {
        let attention = model::attention(self.weights, self.config, layer)?.on(&self.cpu);
        Ok(Box::new(move |Attended { q, k, v }, probe| {
            let (batch, seen, heads, dim) = k.dim();
            let mut panels = KvPanels::new(batch, seen, heads, dim)?;
            panels.append(&self.cpu, k.view(), v.view())?;
            attention.forward(q.view(), &panels, probe)?;
            Ok(())
        }))
    }

    fn mlp(&self, layer: usize) -> Result<OnStream<'_>> {
        let mlp = model::mlp(self.weights, self.config, layer)?.on(&self.cpu);
        Ok(Box::new(move |x, probe| {
            mlp.forward(x, probe)?;
            Ok(())
        }))
    }

    fn model(&self) -> Option<&dyn Model> {
        self.gpt2.as_ref().map(|gpt2| gpt2 as &dyn Model)
    }
}

impl LayerCache for KvCache {
    fn append(&mut self, k: ArrayView4<f32>, v: ArrayView4<f32>) -> Result<()> {
        KvCache::append(self, k, v)?;
        Ok(())
    }

    fn reset(&mut self) {
        self.truncate(0);
    }

    fn keys(&self) -> Array4<f32> {
        KvCache::keys(self)
    }

    fn values(&self) -> Array4<f32> {
        KvCache::values(self)
    }
}

impl Model for Gpt2 {
    fn session(&self, batch: usize, positions: usize) -> Result<Box<dyn Session + '_>> {
        let cache = self.cache(batch, positions)?;
        Ok(Box::new(Cached { gpt2: self, cache }))
    }

    fn greedy(&self, logits: ArrayView2<f32>) -> Result<Vec<u32>> {
        let rows = logits.rows().into_iter();
        Ok(rows.map(model::greedy).collect::<Result<_, _>>()?)
    }

    fn distribution(&self, sampling: &Sampling, logits: ArrayView1<f32>) -> Result<Array1<f32>> {
        Ok(sampling.probabilities(logits)?)
    }

    fn generate(&self, prompt: &[u32], new: usize) -> Result<Vec<u32>> {
        let tokens = model::generate(self, prompt, new, Sampler::new(Sampling::GREEDY, 0)?)?;
        Ok(tokens.collect::<Result<_, _>>()?)
    }
}

struct Cached<'a> {
    gpt2: &'a Gpt2,
    cache: Cache,
}

impl Session for Cached<'_> {
    fn forward(&mut self, tokens: ArrayView2<u32>, probe: &mut dyn Probe) -> Result<Array3<f32>> {
        Ok(self.gpt2.forward(tokens, &mut self.cache, probe)?)
    }

    fn forward_last(&mut self, tokens: ArrayView2<u32>) -> Result<Array2<f32>> {
        Ok(self.gpt2.forward_last(tokens, &mut self.cache, &mut ())?)
    }
}
