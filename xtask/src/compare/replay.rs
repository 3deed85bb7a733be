//! The plain model on the reference's own tensors, from any block on, with a mistake or without.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use llorch_parity::Element;
use ndarray::{Array2, Array4, ArrayD, ArrayViewD, Axis, Dimension, Slice};

use super::reference::Call;
use crate::plain::{Bug, Cache, Weights, block, embed, last_norm, logits};
use crate::references::CaseTraces;

/// What a replay gave, by site.
pub type Sites = BTreeMap<String, ArrayD<f64>>;

/// Runs the plain model on one call of a case.
pub struct Replay<'a> {
    pub weights: &'a Weights,
    pub traces: &'a CaseTraces,
    pub call: usize,
    pub reference: &'a Call,
}

/// Where a replay begins and ends. Blocks are counted from 0; the number of layers stands for `ln_f` and head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Nothing: from the tokens.
    pub from: Option<usize>,
    pub to: usize,
}

impl Replay<'_> {
    /// Every site from the span's beginning to its end, `plan` saying for each block whose layer's weights it has,
    /// and its mistake. Where a mistake ends the run, the sites before that.
    ///
    /// # Errors
    /// Where the reference has not what the span begins with.
    pub fn run(&self, span: Span, plan: &dyn Fn(usize) -> (usize, Option<Bug>)) -> Result<Sites> {
        let start = match span.from {
            None => None,
            Some(layer) => {
                let stream = self.reference.stream(layer);
                Some(
                    stream
                        .with_context(|| format!("no input of block {layer}"))?
                        .clone(),
                )
            }
        };
        let mut sites = Sites::new();
        // A mistake may make arrays that the next step refuses: what there was by then is what counts.
        let _ = self.fill(&mut sites, start, span, plan);
        Ok(sites)
    }

    fn fill(
        &self,
        sites: &mut Sites,
        start: Option<ArrayD<f64>>,
        span: Span,
        plan: &dyn Fn(usize) -> (usize, Option<Bug>),
    ) -> Result<()> {
        let config = &self.weights.config;
        let mut x = match start {
            Some(stream) => stream.mapv(|x| x as f32).into_dimensionality()?,
            None => {
                let past: usize = self.traces.case.calls[..self.call].iter().sum();
                let (wte, wpe) = (self.weights.wte()?, self.weights.wpe()?);
                let x = embed(self.tokens()?.view(), past, wte, wpe, plan(0).1)?;
                put(sites, "embed", x.view().into_dyn());
                x
            }
        };
        for layer in span.from.unwrap_or(0)..config.n_layer().min(span.to + 1) {
            let (weights_of, bug) = plan(layer);
            let mut cache = self.cache(layer, bug)?;
            let input = x.view().into_dyn().mapv(f64::from);
            let mut record = |site: &str, values: ArrayViewD<f32>| {
                put(sites, &format!("h.{layer}.{site}"), values);
            };
            let output = block(self.weights, weights_of, x, &mut cache, bug, &mut record);
            derive(sites, layer, &input, bug);
            x = output?;
            put(sites, &format!("h.{layer}"), x.view().into_dyn());
        }
        if span.to >= config.n_layer() {
            let bug = plan(config.n_layer()).1;
            let mut record = |site: &str, values: ArrayViewD<f32>| put(sites, site, values);
            let normal = last_norm(self.weights, x, bug, &mut record)?;
            let logits = logits(normal.view(), self.weights, bug)?;
            put(sites, "logits", logits.view().into_dyn());
        }
        Ok(())
    }

    fn tokens(&self) -> Result<Array2<u32>> {
        let ids = self
            .traces
            .witness
            .array::<i64, _>(&format!("{}/tokens", self.call))?;
        Ok(ids.mapv(|id: i64| u32::try_from(id).unwrap_or(u32::MAX)))
    }

    /// A layer's cache as the calls before this one left it, filled with the witness's keys and values.
    fn cache(&self, layer: usize, bug: Option<Bug>) -> Result<Cache> {
        let config = &self.weights.config;
        let capacity = self.traces.case.calls.iter().sum();
        let batch = self.traces.case.batch;
        let (heads, dim) = match bug {
            Some(Bug::QkvHeadsDimsExchanged) => (config.head_dim(), config.n_head()),
            _ => (config.n_head(), config.head_dim()),
        };
        let mut cache = Cache::new(batch, capacity, heads, dim);
        for call in 0..self.call {
            let new = self.traces.case.calls[call];
            let [k, v] = ["k", "v"].map(|letter| self.appended(call, layer, letter, new));
            cache.append(k?.view(), v?.view(), bug)?;
        }
        Ok(cache)
    }

    /// What an earlier call put into the cache: the end of what was in it then.
    fn appended(&self, call: usize, layer: usize, letter: &str, new: usize) -> Result<Array4<f32>> {
        let name = format!("{call}/h.{layer}.attn.cache.{letter}");
        let all = array::<f32, _>(self.traces, &name)?;
        let from = all.shape()[1].saturating_sub(new);
        Ok(all.slice_axis(Axis(1), Slice::from(from..)).to_owned())
    }
}

fn array<T: Element, D: Dimension>(
    traces: &CaseTraces,
    name: &str,
) -> Result<ndarray::Array<T, D>> {
    Ok(traces.witness.array::<T, D>(name)?.to_owned())
}

fn put(sites: &mut Sites, site: &str, values: ArrayViewD<f32>) {
    sites.insert(site.to_owned(), values.mapv(f64::from));
}

/// The sites that no probe is offered, from those that one is.
fn derive(sites: &mut Sites, layer: usize, input: &ArrayD<f64>, bug: Option<Bug>) {
    let at = |site: &str| format!("h.{layer}.{site}");
    if let (Some(probs), Some(v)) = (sites.get(&at("attn.probs")), sites.get(&at("attn.cache.v")))
        && let Some(heads) = super::reference::weighted(probs, v)
    {
        sites.insert(at("attn.heads"), heads);
    }
    let Some(out) = sites.get(&at("attn.out")) else {
        return;
    };
    let mid = match (bug, sites.get(&at("ln_1"))) {
        (Some(Bug::FirstResidualMissing), _) => out.clone(),
        (Some(Bug::ResidualFromNorm), Some(normal)) => normal + out,
        _ => input + out,
    };
    sites.insert(at("mid"), mid);
}
