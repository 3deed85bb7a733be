//! Our own column: the rooms on `hf`'s inputs, and the whole model on the tokens.

use anyhow::Result;
use llorch_model::{self as model, Cpu, Gpt2, Probe};
use llorch_numerics::{KvPanels, Scoped, offer};
use llorch_parity::{Trace, TraceError};
use ndarray::{Array, Array3, Array4, Dimension, Ix2};

use crate::checkpoints::Recorder;
use crate::model_dir::ModelDir;
use crate::references::CaseTraces;

/// Every site of a case, the whole model running on the case's tokens.
pub fn propagated(model: &ModelDir, cpu: &Cpu, traces: &CaseTraces) -> Result<Trace> {
    let gpt2 = Gpt2::load(&model.weights, &model.config, cpu)?;
    let mut recorder = Recorder::new(|_: &str| true);
    let mut cache = gpt2.cache(traces.case.batch, traces.case.calls.iter().sum())?;
    for call in 0..traces.case.calls.len() {
        let ids = traces
            .witness
            .array::<i64, Ix2>(&format!("{call}/tokens"))?;
        let rows: Vec<Vec<u32>> = ids
            .rows()
            .into_iter()
            .map(|row| row.iter().map(|&id| u32::try_from(id)).collect())
            .collect::<Result<_, _>>()?;
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let tokens = model::tokens(&rows)?;
        gpt2.forward(tokens.view(), &mut cache, recorder.call(call))?;
    }
    Ok(recorder.finish()?)
}

/// Every room of these layers on what `hf` stored.
pub fn isolated(
    model: &ModelDir,
    cpu: &Cpu,
    traces: &CaseTraces,
    layers: &[usize],
) -> Result<Trace> {
    let mut recorder = Recorder::new(|_: &str| true);
    for call in 0..traces.case.calls.len() {
        let rooms = Rooms {
            model,
            cpu,
            traces,
            call,
        };
        let probe = recorder.call(call);
        for &layer in layers {
            rooms.layer(layer, probe)?;
        }
        rooms.norm("ln_f", rooms.block(model.config.n_layer())?, probe)?;
    }
    Ok(recorder.finish()?)
}

struct Rooms<'a> {
    model: &'a ModelDir,
    cpu: &'a Cpu,
    traces: &'a CaseTraces,
    call: usize,
}

impl Rooms<'_> {
    fn layer(&self, layer: usize, probe: &mut dyn Probe) -> Result<()> {
        let (weights, config) = (&self.model.weights, &self.model.config);
        let site = |name: &str| format!("h.{layer}.{name}");
        self.norm(&site("ln_1"), self.block(layer)?, probe)?;

        let stream: Array3<f32> = self.stored(&site("ln_1"))?;
        let heads = model::qkv(weights, config, layer)?
            .on(self.cpu)
            .forward(stream.view())?;
        offer(probe, &site("attn.q"), || heads.q);
        offer(probe, &site("attn.k"), || heads.k);
        offer(probe, &site("attn.v"), || heads.v);

        let [q, k, v]: [Array4<f32>; 3] = [
            self.stored(&site("attn.q"))?,
            self.stored(&site("attn.cache.k"))?,
            self.stored(&site("attn.cache.v"))?,
        ];
        let (batch, seen, heads, dim) = k.dim();
        let mut cached = KvPanels::new(batch, seen, heads, dim)?;
        cached.append(self.cpu, k.view(), v.view())?;
        let attention = model::attention(weights, config, layer)?.on(self.cpu);
        attention.forward(q.view(), &cached, &mut Scoped::new(&site("attn."), probe))?;

        self.norm(&site("ln_2"), self.after_attention(layer)?, probe)?;
        if self.model.missing.is_empty() {
            let stream: Array3<f32> = self.stored(&site("ln_2"))?;
            let mlp = model::mlp(weights, config, layer)?.on(self.cpu);
            mlp.forward(stream.view(), &mut Scoped::new(&site("mlp."), probe))?;
        }
        Ok(())
    }

    fn norm(&self, name: &str, x: Array3<f32>, probe: &mut dyn Probe) -> Result<()> {
        let norm = model::layer_norm(&self.model.weights, &self.model.config, name)?;
        let y = norm.on(self.cpu).forward(x.view())?;
        offer(probe, name, || y);
        Ok(())
    }

    fn stored<D: Dimension>(&self, site: &str) -> Result<Array<f32, D>, TraceError> {
        let name = format!("{}/{site}", self.call);
        Ok(self.traces.witness.array(&name)?.to_owned())
    }

    /// A block's input; the attention half has no blocks, and its stream goes on as x + attn(ln_1(x)).
    fn block(&self, layer: usize) -> Result<Array3<f32>, TraceError> {
        match layer.checked_sub(1) {
            None => self.stored("embed"),
            Some(previous) if self.traces.case.selection == "isolated" => {
                self.after_attention(previous)
            }
            Some(previous) => self.stored(&format!("h.{previous}")),
        }
    }

    fn after_attention(&self, layer: usize) -> Result<Array3<f32>, TraceError> {
        let attended: Array3<f32> = self.stored(&format!("h.{layer}.attn.out"))?;
        Ok(self.block(layer)? + attended)
    }
}
