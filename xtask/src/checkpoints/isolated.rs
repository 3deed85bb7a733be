//! Checkpoints 1 to 6: each component alone, on the witness's inputs.

use anyhow::{Context, Result};
use llorch_model::Probe;
use llorch_numerics::{Scoped, offer};
use llorch_parity::{Judge, Trace};
use ndarray::{Array4, Axis, concatenate};

use super::inputs::Inputs;
use super::pieces::{Cut, part};
use super::{Basis, Recorder, Run, identical, sites};
use crate::port::{Attended, CacheSize, OnHeads, OnStream, Port};
use crate::references::CaseTraces;

/// Compares every case with the witness, and with the same input handed over again and in pieces.
pub fn run(checkpoint: usize, run: &Run, judge: &mut Judge) -> Result<()> {
    let layers = run.model.config.n_layer();
    let components = components(checkpoint, run.port, layers)?;
    for traces in run.cases {
        let case = &traces.case.name;
        let names = sites::names(checkpoint, traces, layers);
        if names.is_empty() {
            continue;
        }
        let wanted = |name: &str| names.iter().any(|wanted| wanted == name);
        let ours = |cut| {
            let ours = ours(&components, run.port, traces, cut, &wanted);
            ours.with_context(|| format!("case {case}"))
        };
        let whole = ours(Cut::Whole)?;
        let basis = Basis::Isolated;
        judge.compare_case(case, &whole, traces.expected(basis), traces.truths(basis));
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

/// What a port's components give on the witness's inputs, at every site of a case but the cache's, which copies
/// what it is given. Of an attention half, without the feed-forward layers.
pub fn trace(port: &dyn Port, traces: &CaseTraces, layers: usize) -> Result<Trace> {
    let mut trace = Trace::new();
    for checkpoint in [1, 2, 5, 6] {
        if !sites::names(checkpoint, traces, layers).is_empty() {
            let components = components(checkpoint, port, layers)?;
            trace.merge(ours(&components, port, traces, Cut::Whole, &|_| true)?)?;
        }
    }
    Ok(trace)
}

/// Our tensors for all calls of a case; those alone whose name is wanted.
fn ours(
    components: &[Component],
    port: &dyn Port,
    traces: &CaseTraces,
    cut: Cut,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Trace> {
    let mut trace = Trace::new();
    for component in components {
        let is_stored =
            |inputs: &Inputs| traces.case.selection != "attention-last" || inputs.is_last();
        for inputs in Inputs::of(traces).filter(is_stored) {
            trace.merge(component.run(port, inputs, cut, wanted)?)?;
        }
    }
    Ok(trace)
}

/// A component and where in the model it is from.
struct Component<'a> {
    /// The site it makes, or what its sites begin with.
    site: String,
    layer: usize,
    kind: Kind<'a>,
}

enum Kind<'a> {
    /// ln_1 and ln_f, fed with what the block before gave.
    NormOfBlock(OnStream<'a>),
    /// ln_2, fed with the stream that attention was added to.
    NormOfAttention(OnStream<'a>),
    /// Fed with ln_1.
    Qkv(OnStream<'a>),
    Cache,
    Attention(OnHeads<'a>),
    /// Fed with ln_2.
    Mlp(OnStream<'a>),
}

/// The components of a checkpoint, in the order of execution.
fn components(checkpoint: usize, port: &dyn Port, layers: usize) -> Result<Vec<Component<'_>>> {
    let mut components = Vec::new();
    let mut add = |layer, site, kind| components.push(Component { site, layer, kind });
    for layer in 0..layers {
        let site = |name: &str| format!("h.{layer}.{name}");
        match checkpoint {
            1 => {
                let (first, second) = (site("ln_1"), site("ln_2"));
                let kind = Kind::NormOfBlock(port.layer_norm(&first)?);
                add(layer, first, kind);
                let kind = Kind::NormOfAttention(port.layer_norm(&second)?);
                add(layer, second, kind);
            }
            2 => add(layer, site("attn."), Kind::Qkv(port.qkv(layer)?)),
            3 => add(layer, site("attn.cache."), Kind::Cache),
            4 | 5 => {
                let attention = port.attention(layer)?;
                add(layer, site("attn."), Kind::Attention(attention));
            }
            _ => add(layer, site("mlp."), Kind::Mlp(port.mlp(layer)?)),
        }
    }
    if checkpoint == 1 {
        let ln_f = Kind::NormOfBlock(port.layer_norm("ln_f")?);
        add(layers, "ln_f".to_owned(), ln_f);
    }
    Ok(components)
}

impl Component<'_> {
    /// Runs the component on one call's inputs.
    fn run(
        &self,
        port: &dyn Port,
        inputs: Inputs,
        cut: Cut,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Trace> {
        let layer = self.layer;
        let (x, component) = match &self.kind {
            Kind::NormOfBlock(norm) => (inputs.block(layer)?, norm),
            Kind::NormOfAttention(norm) => (inputs.after_attention(layer)?, norm),
            Kind::Qkv(qkv) => (inputs.stream(&format!("h.{layer}.ln_1"))?, qkv),
            Kind::Mlp(mlp) => (inputs.stream(&format!("h.{layer}.ln_2"))?, mlp),
            Kind::Attention(attention) => return self.attend(attention, inputs, cut, wanted),
            Kind::Cache => return self.cache(port, inputs, cut, wanted),
        };
        cut.run(x.dim().0, x.dim().1, |rows, positions| {
            let x = part(x.view(), rows, positions);
            let run = |probe: &mut dyn Probe| component(x.view(), probe);
            self.record(inputs, wanted, run)
        })
    }

    /// What is offered of the wanted sites, behind the component's own.
    fn record(
        &self,
        inputs: Inputs,
        wanted: &dyn Fn(&str) -> bool,
        run: impl FnOnce(&mut dyn Probe) -> Result<()>,
    ) -> Result<Trace> {
        let mut recorder = Recorder::new(wanted);
        run(&mut Scoped::new(&self.site, recorder.call(inputs.call)))?;
        Ok(recorder.finish()?)
    }

    /// Queries with the keys and values that they may see: the piece's last position is the last stored.
    fn attend(
        &self,
        attention: &OnHeads,
        inputs: Inputs,
        cut: Cut,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Trace> {
        let Attended { q, k, v } = inputs.attended(self.layer)?;
        let (batch, tokens, ..) = q.dim();
        let past = k.dim().1.checked_sub(tokens);
        let past = past.context("a reference's cache is shorter than its queries")?;
        cut.run(batch, tokens, |rows, positions| {
            let seen = 0..past + positions.end;
            let piece = Attended {
                k: part(k.view(), rows.clone(), seen.clone()),
                v: part(v.view(), rows.clone(), seen),
                q: part(q.view(), rows, positions),
            };
            self.record(inputs, wanted, |probe| attention(&piece, probe))
        })
    }

    /// The cache after this call, with room for all: every call up to it is appended, whole or position by
    /// position with each row in a cache of its own.
    fn cache(
        &self,
        port: &dyn Port,
        inputs: Inputs,
        cut: Cut,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Trace> {
        let mut k = Vec::new();
        let mut v = Vec::new();
        for inputs in inputs.up_to() {
            let [new_k, new_v] = inputs.appended(self.layer)?;
            k.push(new_k);
            v.push(new_v);
        }
        let fill = |k: &[Array4<f32>], v: &[Array4<f32>]| fill(port, inputs.positions(), k, v);
        let (keys, values) = match cut {
            Cut::Whole => fill(&k, &v)?,
            Cut::Positions => {
                let (k, v) = (join(&k, 1)?, join(&v, 1)?);
                let mut rows = (Vec::new(), Vec::new());
                for row in 0..k.dim().0 {
                    let positions_of = |whole: &Array4<f32>| -> Vec<Array4<f32>> {
                        let positions = 0..whole.dim().1;
                        let each = positions.map(|t| part(whole.view(), row..row + 1, t..t + 1));
                        each.collect()
                    };
                    let (keys, values) = fill(&positions_of(&k), &positions_of(&v))?;
                    rows.0.push(keys);
                    rows.1.push(values);
                }
                (join(&rows.0, 0)?, join(&rows.1, 0)?)
            }
        };
        self.record(inputs, wanted, |probe| {
            offer(probe, "k", || keys);
            offer(probe, "v", || values);
            Ok(())
        })
    }
}

/// Appends piece after piece to one cache, with room for `positions` or all of them, and reads it back.
fn fill(
    port: &dyn Port,
    positions: usize,
    k: &[Array4<f32>],
    v: &[Array4<f32>],
) -> Result<(Array4<f32>, Array4<f32>)> {
    let first = k.first().context("a case without calls")?;
    let (batch, _, heads, dim) = first.dim();
    let stored: usize = k.iter().map(|k| k.dim().1).sum();
    let mut cache = port.cache(CacheSize {
        batch,
        capacity: stored.max(positions),
        heads,
        dim,
    })?;
    for (k, v) in k.iter().zip(v) {
        cache.append(k.view(), v.view())?;
    }
    Ok((cache.keys(), cache.values()))
}

fn join(parts: &[Array4<f32>], axis: usize) -> Result<Array4<f32>> {
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    Ok(concatenate(Axis(axis), &views)?)
}
