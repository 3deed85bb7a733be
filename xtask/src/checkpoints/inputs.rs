//! What an isolated component is fed: the witness's own tensors.

use anyhow::{Result, ensure};
use llorch_parity::{Trace, TraceError};
use ndarray::{Array3, Array4, ArrayView4, Axis, Slice};

use crate::port::Attended;
use crate::references::CaseTraces;

/// The witness's tensors of one call of a case.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    traces: &'a CaseTraces,
    pub call: usize,
}

impl<'a> Inputs<'a> {
    /// Every call of a case.
    pub fn of(traces: &'a CaseTraces) -> impl Iterator<Item = Inputs<'a>> {
        (0..traces.case.calls.len()).map(move |call| Inputs { traces, call })
    }

    /// The positions of all calls.
    pub fn positions(&self) -> usize {
        self.traces.case.calls.iter().sum()
    }

    /// Whether no call follows.
    pub fn is_last(&self) -> bool {
        self.call + 1 == self.traces.case.calls.len()
    }

    /// Every call up to this one.
    pub fn up_to(self) -> impl Iterator<Item = Inputs<'a>> {
        (0..=self.call).map(move |call| Inputs { call, ..self })
    }

    fn witness(&self) -> &'a Trace {
        &self.traces.witness
    }

    /// A [B, T, C] site.
    pub fn stream(&self, site: &str) -> Result<Array3<f32>, TraceError> {
        let name = format!("{}/{site}", self.call);
        Ok(self.witness().array(&name)?.to_owned())
    }

    fn heads(&self, site: &str) -> Result<Array4<f32>, TraceError> {
        let name = format!("{}/{site}", self.call);
        Ok(self.witness().array(&name)?.to_owned())
    }

    /// The input of layer `layer`'s first normalisation; for the number of layers, the last one's.
    ///
    /// The attention half has no block output: its stream goes on as x + attn(ln_1(x)).
    pub fn block(&self, layer: usize) -> Result<Array3<f32>> {
        match layer.checked_sub(1) {
            None => Ok(self.stream("embed")?),
            Some(previous) if self.traces.case.selection == "isolated" => {
                self.after_attention(previous)
            }
            Some(previous) => Ok(self.stream(&format!("h.{previous}"))?),
        }
    }

    /// The input of layer `layer`'s second normalisation: one float32 addition of the witness's tensors.
    pub fn after_attention(&self, layer: usize) -> Result<Array3<f32>> {
        let block = self.block(layer)?;
        let attended = self.stream(&format!("h.{layer}.attn.out"))?;
        ensure!(
            attended.dim() == block.dim(),
            "the reference's {}/h.{layer}.attn.out: expected shape {:?}, found {:?}",
            self.call,
            block.shape(),
            attended.shape()
        );
        Ok(block + attended)
    }

    /// What layer `layer`'s attention reads.
    pub fn attended(&self, layer: usize) -> Result<Attended> {
        let q = self.heads(&format!("h.{layer}.attn.q"))?;
        let [k, v] = self.cached(layer)?;
        ensure!(
            q.dim().0 == k.dim().0,
            "the reference's {}/h.{layer}.attn.q: expected {} rows as its cache has, found {}",
            self.call,
            k.dim().0,
            q.dim().0
        );
        Ok(Attended { q, k, v })
    }

    /// The keys and values in layer `layer`'s cache after this call, [B, S, H, D] each.
    fn cached(&self, layer: usize) -> Result<[Array4<f32>; 2]> {
        let k = self.heads(&format!("h.{layer}.attn.cache.k"))?;
        let v = self.heads(&format!("h.{layer}.attn.cache.v"))?;
        ensure!(
            k.dim() == v.dim(),
            "the reference's {}/h.{layer}.attn.cache.v: expected shape {:?} as its keys, found {:?}",
            self.call,
            k.shape(),
            v.shape()
        );
        Ok([k, v])
    }

    /// The keys and values that this call appends to layer `layer`'s cache, [B, T, H, D] each.
    ///
    /// Cases that store no k and v have them as the end of the cache they were appended to.
    pub fn appended(&self, layer: usize) -> Result<[Array4<f32>; 2]> {
        if matches!(&*self.traces.case.selection, "attention-out" | "selected") {
            let [k, v] = self.cached(layer)?;
            return Ok([self.last(k.view()), self.last(v.view())]);
        }
        Ok([
            self.heads(&format!("h.{layer}.attn.k"))?,
            self.heads(&format!("h.{layer}.attn.v"))?,
        ])
    }

    fn last(&self, cached: ArrayView4<f32>) -> Array4<f32> {
        let new = self.traces.case.calls[self.call].min(cached.dim().1);
        let start = cached.dim().1 - new;
        let slice = Slice::from(start..);
        cached.slice_axis(Axis(1), slice).to_owned()
    }
}
