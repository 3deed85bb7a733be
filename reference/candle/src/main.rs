//! GPT-2's modules on candle-nn's kernels, each on an input of its own.
//!
//!     candle-witness MODEL.safetensors FED.safetensors OUT.safetensors HEADS EPSILON
//!
//! Candle has no GPT-2: what puts its kernels together is this file. What is fed is named like the module that it
//! is for, [B, T, C]; an attention's are `h.i.attn.q`, [B, H, T, D], `.k` and `.v`, [B, H, S, D]. What comes out is
//! named and shaped like the sites of docs/ARCHITECTURE.md.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use candle_core::{D, DType, Device, Module, Tensor, safetensors};
use candle_nn::{Activation, LayerNorm, Linear, ops};

type Tensors = HashMap<String, Tensor>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, fed, out, heads, epsilon] = &arguments[..] else {
        bail!("expected MODEL FED OUT HEADS EPSILON");
    };
    let mut harness = Harness {
        weights: weights(model)?,
        heads: heads.parse()?,
        epsilon: epsilon.parse()?,
        sites: Tensors::new(),
    };
    let fed = safetensors::load(fed, &Device::Cpu)?;
    for (name, x) in &fed {
        let (of, part) = name.rsplit_once('.').unwrap_or(("", name));
        match part {
            "ln_1" | "ln_2" | "ln_f" => harness.norm(name, x)?,
            "c_attn" => harness.project(of, x)?,
            "q" => {
                let part = |letter| fed.get(&format!("{of}.{letter}"));
                let k = part("k").with_context(|| format!("no {of}.k"))?;
                let v = part("v").with_context(|| format!("no {of}.v"))?;
                harness.attend(of, x, k, v)?;
            }
            "k" | "v" => {}
            "mlp" => harness.mlp(name, x)?,
            _ => bail!("{name}: no module of GPT-2"),
        }
    }
    safetensors::save(&harness.sites, out)?;
    Ok(())
}

/// A model's tensors in float32, by the names that have no `transformer.` in front.
fn weights(path: &str) -> Result<Tensors> {
    let mut weights = Tensors::new();
    for (name, tensor) in safetensors::load(path, &Device::Cpu)? {
        let name = name.strip_prefix("transformer.").unwrap_or(&name);
        weights.insert(name.to_owned(), tensor.to_dtype(DType::F32)?);
    }
    Ok(weights)
}

struct Harness {
    weights: Tensors,
    heads: usize,
    epsilon: f64,
    sites: Tensors,
}

impl Harness {
    fn weight(&self, name: &str, part: &str) -> Result<Tensor> {
        let name = format!("{name}.{part}");
        let weight = self.weights.get(&name);
        Ok(weight.with_context(|| format!("no {name}"))?.clone())
    }

    /// The file holds [in, out], candle_nn's Linear [out, in].
    fn linear(&self, name: &str) -> Result<Linear> {
        let weight = self.weight(name, "weight")?.t()?.contiguous()?;
        Ok(Linear::new(weight, Some(self.weight(name, "bias")?)))
    }

    fn norm(&mut self, name: &str, x: &Tensor) -> Result<()> {
        let (weight, bias) = (self.weight(name, "weight")?, self.weight(name, "bias")?);
        let normed = LayerNorm::new(weight, bias, self.epsilon).forward(x)?;
        self.sites.insert(name.to_owned(), normed);
        Ok(())
    }

    /// q, k and v are thirds of the columns, heads inside of each.
    fn project(&mut self, attn: &str, x: &Tensor) -> Result<()> {
        let projected = self.linear(&format!("{attn}.c_attn"))?.forward(x)?;
        for (letter, third) in ["q", "k", "v"].iter().zip(projected.chunk(3, D::Minus1)?) {
            let (batch, new, width) = third.dims3()?;
            let heads = third.reshape((batch, new, self.heads, width / self.heads))?;
            self.sites.insert(format!("{attn}.{letter}"), heads);
        }
        Ok(())
    }

    fn attend(&mut self, attn: &str, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<()> {
        let (batch, heads, new, size) = q.dims4()?;
        let products = q.matmul(&k.t()?)?;
        let scaled = (products * (1.0 / (size as f64).sqrt()))?;
        let scores = scaled.broadcast_add(&mask(new, k.dim(2)?)?)?;
        let probs = ops::softmax_last_dim(&scores)?;
        let merged = probs.matmul(v)?.transpose(1, 2)?;
        let merged = merged.reshape((batch, new, heads * size))?;
        let out = self.linear(&format!("{attn}.c_proj"))?.forward(&merged)?;
        for (site, values) in [("scores", scores), ("probs", probs), ("out", out)] {
            self.sites.insert(format!("{attn}.{site}"), values);
        }
        Ok(())
    }

    fn mlp(&mut self, mlp: &str, x: &Tensor) -> Result<()> {
        let fc = self.linear(&format!("{mlp}.c_fc"))?.forward(x)?;
        // The tanh form; `Activation::Gelu` is the one with erf.
        let act = Activation::NewGelu.forward(&fc)?;
        let out = self.linear(&format!("{mlp}.c_proj"))?.forward(&act)?;
        for (site, values) in [("fc", fc), ("act", act), ("out", out)] {
            self.sites.insert(format!("{mlp}.{site}"), values);
        }
        Ok(())
    }
}

/// [T, S]: 0 on what the last T of S tokens see, -inf on their future.
fn mask(new: usize, total: usize) -> Result<Tensor> {
    let past = total.checked_sub(new).context("fewer keys than queries")?;
    let rows = (past..total).flat_map(|row| (0..total).map(move |at| at > row));
    let mask: Vec<f32> = rows
        .map(|is_future| if is_future { f32::NEG_INFINITY } else { 0.0 })
        .collect();
    Ok(Tensor::from_vec(mask, (new, total), &Device::Cpu)?)
}
