//! Checkpoints 1 to 6: each room alone, on the witness's inputs.

use anyhow::{Context, Result};
use llorch_attention::Attention;
use llorch_kv_cache::KvCache;
use llorch_layernorm::LayerNorm;
use llorch_mlp::Mlp;
use llorch_model::{self as model, Cpu, Probe};
use llorch_numerics::{KvPanels, Scoped, offer};
use llorch_parity::{Judge, Trace};
use llorch_qkv::Qkv;
use ndarray::{Array3, Array4, Axis, concatenate};

use super::inputs::{Attended, Inputs};
use super::pieces::{Cut, part};
use super::{Recorder, Run, identical, sites};
use crate::references::CaseTraces;

/// Compares every case with the witness, and with the same input handed over again and in pieces.
pub fn run(checkpoint: usize, run: &Run, judge: &mut Judge) -> Result<()> {
    let rooms = rooms(checkpoint, run)?;
    for traces in &run.references.cases {
        let case = &traces.case.name;
        let names = sites::names(checkpoint, traces, run.model.config.n_layer());
        if names.is_empty() {
            continue;
        }
        let wanted = |name: &str| names.iter().any(|wanted| wanted == name);
        let ours = |cut| ours(&rooms, traces, cut, &wanted).with_context(|| format!("case {case}"));
        let whole = ours(Cut::Whole)?;
        judge.compare_case(case, &whole, &traces.witness, traces.isolated.as_ref());
        let again = ours(Cut::Whole)?;
        identical(judge, &format!("{case}, again"), &whole, &again);
        let pieces = ours(Cut::Positions)?;
        identical(
            judge,
            &format!("{case}, position by position"),
            &whole,
            &pieces,
        );
    }
    Ok(())
}

/// Our tensors for all calls of a case; those alone whose name is wanted.
fn ours(
    rooms: &[Room],
    traces: &CaseTraces,
    cut: Cut,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Trace> {
    let mut trace = Trace::new();
    for room in rooms {
        let is_stored =
            |inputs: &Inputs| traces.case.selection != "attention-last" || inputs.is_last();
        for inputs in Inputs::of(traces).filter(is_stored) {
            trace.merge(room.run(inputs, cut, wanted)?)?;
        }
    }
    Ok(trace)
}

/// A room and where in the model it is from.
struct Room {
    /// The site it makes, or what its sites begin with.
    site: String,
    layer: usize,
    kind: Kind,
    cpu: Cpu,
}

enum Kind {
    /// ln_1 and ln_f, fed with what the block before gave.
    NormOfBlock(LayerNorm),
    /// ln_2, fed with the stream that attention was added to.
    NormOfAttention(LayerNorm),
    Qkv(Qkv),
    Cache,
    Attention(Attention),
    Mlp(Mlp),
}

/// The rooms of a checkpoint, in the order of execution.
fn rooms(checkpoint: usize, run: &Run) -> Result<Vec<Room>> {
    let (weights, config, cpu) = (&run.model.weights, &run.model.config, &run.cpu);
    let norm = |name: &str| model::layer_norm(weights, config, name).map(|norm| norm.on(cpu));
    let mut rooms = Vec::new();
    let mut add = |layer, site: String, kind| {
        let cpu = cpu.clone();
        rooms.push(Room {
            site,
            layer,
            kind,
            cpu,
        });
    };
    let layers = config.n_layer();
    for layer in 0..layers {
        let site = |name: &str| format!("h.{layer}.{name}");
        match checkpoint {
            1 => {
                let (first, second) = (site("ln_1"), site("ln_2"));
                let kind = Kind::NormOfBlock(norm(&first)?);
                add(layer, first, kind);
                let kind = Kind::NormOfAttention(norm(&second)?);
                add(layer, second, kind);
            }
            2 => {
                let qkv = model::qkv(weights, config, layer)?.on(cpu);
                add(layer, site("attn."), Kind::Qkv(qkv));
            }
            3 => add(layer, site("attn.cache."), Kind::Cache),
            4 | 5 => {
                let attention = model::attention(weights, config, layer)?.on(cpu);
                add(layer, site("attn."), Kind::Attention(attention));
            }
            _ => {
                let mlp = model::mlp(weights, config, layer)?.on(cpu);
                add(layer, site("mlp."), Kind::Mlp(mlp));
            }
        }
    }
    if checkpoint == 1 {
        add(layers, "ln_f".to_owned(), Kind::NormOfBlock(norm("ln_f")?));
    }
    Ok(rooms)
}

impl Room {
    /// Runs the room on one call's inputs.
    fn run(&self, inputs: Inputs, cut: Cut, wanted: &dyn Fn(&str) -> bool) -> Result<Trace> {
        let (site, layer) = (&self.site, self.layer);
        let on_stream = |x: Array3<f32>, f: &OnStream| {
            cut.run(x.dim().0, x.dim().1, |rows, positions| {
                let mut recorder = Recorder::new(wanted);
                let x = part(x.view(), rows, positions);
                f(x, recorder.call(inputs.call))?;
                Ok(recorder.finish()?)
            })
        };
        match &self.kind {
            Kind::NormOfBlock(norm) => on_stream(inputs.block(layer)?, &|x, probe| {
                let y = norm.forward(x.view())?;
                offer(probe, site, || y);
                Ok(())
            }),
            Kind::NormOfAttention(norm) => {
                on_stream(inputs.after_attention(layer)?, &|x, probe| {
                    let y = norm.forward(x.view())?;
                    offer(probe, site, || y);
                    Ok(())
                })
            }
            Kind::Qkv(qkv) => {
                let x = inputs.stream(&format!("h.{layer}.ln_1"))?;
                on_stream(x, &|x, probe| {
                    let heads = qkv.forward(x.view())?;
                    for (name, values) in [("q", heads.q), ("k", heads.k), ("v", heads.v)] {
                        offer(probe, &format!("{site}{name}"), || values);
                    }
                    Ok(())
                })
            }
            Kind::Mlp(mlp) => {
                let x = inputs.stream(&format!("h.{layer}.ln_2"))?;
                on_stream(x, &|x, probe| {
                    mlp.forward(x.view(), &mut Scoped::new(site, probe))?;
                    Ok(())
                })
            }
            Kind::Attention(attention) => self.attend(attention, inputs, cut, wanted),
            Kind::Cache => self.cache(inputs, cut, wanted),
        }
    }

    /// Queries with the keys and values that they may see: the piece's last position is the last stored.
    fn attend(
        &self,
        attention: &Attention,
        inputs: Inputs,
        cut: Cut,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Trace> {
        let Attended { q, k, v } = inputs.attended(self.layer)?;
        let (batch, tokens, heads, dim) = q.dim();
        let past = k.dim().1.checked_sub(tokens);
        let past = past.context("a reference's cache is shorter than its queries")?;
        cut.run(batch, tokens, |rows, positions| {
            let seen = 0..past + positions.end;
            let mut panels = KvPanels::new(rows.len(), seen.len(), heads, dim)?;
            let k = part(k.view(), rows.clone(), seen.clone());
            let v = part(v.view(), rows.clone(), seen);
            panels.append(&self.cpu, k.view(), v.view())?;
            let mut recorder = Recorder::new(wanted);
            let probe = recorder.call(inputs.call);
            let q = part(q.view(), rows, positions);
            attention.forward(q.view(), &panels, &mut Scoped::new(&self.site, probe))?;
            Ok(recorder.finish()?)
        })
    }

    /// The cache after this call: every call up to it is appended, whole or position by position with
    /// each row in a cache of its own.
    fn cache(&self, inputs: Inputs, cut: Cut, wanted: &dyn Fn(&str) -> bool) -> Result<Trace> {
        let mut k = Vec::new();
        let mut v = Vec::new();
        for inputs in inputs.up_to() {
            let [new_k, new_v] = inputs.appended(self.layer)?;
            k.push(new_k);
            v.push(new_v);
        }
        let (keys, values) = match cut {
            Cut::Whole => fill(&self.cpu, &k, &v)?,
            Cut::Positions => {
                let (k, v) = (join(&k, 1)?, join(&v, 1)?);
                let mut rows = (Vec::new(), Vec::new());
                for row in 0..k.dim().0 {
                    let positions_of = |whole: &Array4<f32>| -> Vec<Array4<f32>> {
                        let positions = 0..whole.dim().1;
                        let each = positions.map(|t| part(whole.view(), row..row + 1, t..t + 1));
                        each.collect()
                    };
                    let (keys, values) = fill(&self.cpu, &positions_of(&k), &positions_of(&v))?;
                    rows.0.push(keys);
                    rows.1.push(values);
                }
                (join(&rows.0, 0)?, join(&rows.1, 0)?)
            }
        };
        let mut recorder = Recorder::new(wanted);
        let probe = recorder.call(inputs.call);
        offer(probe, &format!("{}k", self.site), || keys);
        offer(probe, &format!("{}v", self.site), || values);
        Ok(recorder.finish()?)
    }
}

/// What runs on a stream, [B, T, C], and records what it makes.
type OnStream<'a> = dyn Fn(Array3<f32>, &mut dyn Probe) -> Result<()> + 'a;

/// Appends piece after piece to one cache and reads it back.
fn fill(cpu: &Cpu, k: &[Array4<f32>], v: &[Array4<f32>]) -> Result<(Array4<f32>, Array4<f32>)> {
    let first = k.first().context("a case without calls")?;
    let (batch, _, heads, dim) = first.dim();
    let positions = k.iter().map(|k| k.dim().1).sum();
    let mut cache = KvCache::new(batch, positions, heads, dim)?.on(cpu);
    for (k, v) in k.iter().zip(v) {
        cache.append(k.view(), v.view())?;
    }
    Ok((cache.keys(), cache.values()))
}

fn join(parts: &[Array4<f32>], axis: usize) -> Result<Array4<f32>> {
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    Ok(concatenate(Axis(axis), &views)?)
}
