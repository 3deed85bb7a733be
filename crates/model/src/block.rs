use llorch_attention::Attention;
use llorch_kv_cache::KvCache;
use llorch_layernorm::LayerNorm;
use llorch_mlp::Mlp;
use llorch_numerics::{Cpu, Probe, Scoped, offer};
use llorch_qkv::Qkv;
use llorch_weights::{Config, Weights};
use ndarray::Array3;

use crate::{Error, load};

/// One transformer block, normalisation first: x + attn(ln_1(x)), then x + mlp(ln_2(x)).
#[derive(Clone, Debug)]
pub struct Block {
    ln_1: LayerNorm,
    qkv: Qkv,
    attention: Attention,
    ln_2: LayerNorm,
    mlp: Mlp,
    cpu: Cpu,
}

impl Block {
    /// Builds the block of a layer, counted from 0.
    ///
    /// # Errors
    /// [`Error::Weights`] where a tensor is missing or refused.
    pub fn load(weights: &Weights, config: &Config, layer: usize) -> Result<Self, Error> {
        Ok(Block {
            ln_1: load::layer_norm(weights, config, &format!("h.{layer}.ln_1"))?,
            qkv: load::qkv(weights, config, layer)?,
            attention: load::attention(weights, config, layer)?,
            ln_2: load::layer_norm(weights, config, &format!("h.{layer}.ln_2"))?,
            mlp: load::mlp(weights, config, layer)?,
            cpu: Cpu::default(),
        })
    }

    /// The same block on other threads or another instruction set than [`Cpu::default`]'s; same bits.
    pub fn on(self, cpu: &Cpu) -> Self {
        Block {
            ln_1: self.ln_1.on(cpu),
            qkv: self.qkv.on(cpu),
            attention: self.attention.on(cpu),
            ln_2: self.ln_2.on(cpu),
            mlp: self.mlp.on(cpu),
            cpu: cpu.clone(),
        }
    }

    /// Runs the block over x, [B, T, C], the positions that follow those in the cache.
    ///
    /// The probe is offered `ln_1`, `attn.q`, `.k`, `.v`, `.cache.k`, `.cache.v`, `.scores`, `.probs`, `.out`,
    /// `ln_2`, `mlp.fc`, `.act` and `.out`, in this order.
    ///
    /// # Errors
    /// Those of the rooms. The cache may then hold the new positions already: [`crate::Gpt2`] truncates it.
    pub fn forward(
        &self,
        mut x: Array3<f32>,
        cache: &mut KvCache,
        probe: &mut dyn Probe,
    ) -> Result<Array3<f32>, Error> {
        let normal = self.ln_1.forward(x.view())?;
        offer(probe, "ln_1", || normal.view());
        let heads = self.qkv.forward(normal.view())?;
        offer(probe, "attn.q", || heads.q.view());
        offer(probe, "attn.k", || heads.k.view());
        offer(probe, "attn.v", || heads.v.view());
        self.cpu.recycle(normal);
        cache.append(heads.k.view(), heads.v.view())?;
        self.cpu.recycle(heads.k);
        self.cpu.recycle(heads.v);
        offer(probe, "attn.cache.k", || cache.keys());
        offer(probe, "attn.cache.v", || cache.values());
        let mut scoped = Scoped::new("attn.", probe);
        let attention = &self.attention;
        let out = attention.forward(heads.q.view(), cache.panels(), &mut scoped)?;
        self.cpu.recycle(heads.q);
        x += &out;
        self.cpu.recycle(out);

        let normal = self.ln_2.forward(x.view())?;
        offer(probe, "ln_2", || normal.view());
        let mut scoped = Scoped::new("mlp.", probe);
        let out = self.mlp.forward(normal.view(), &mut scoped)?;
        self.cpu.recycle(normal);
        x += &out;
        self.cpu.recycle(out);
        Ok(x)
    }
}
