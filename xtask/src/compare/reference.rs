//! What a call of a case should have given at every site.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use llorch_parity::{Element, Tensor, Trace};
use llorch_weights::Config;
use ndarray::{ArrayD, Axis, IxDyn, Slice};

use super::site::{Lengths, Site};
use crate::references::CaseTraces;

/// One call of a case: tensors in float64 as the witness gave them in float32, by site.
pub struct Call {
    pub lengths: Lengths,
    pub sites: BTreeMap<String, Reference>,
}

/// What a site is held against.
#[derive(Clone)]
pub struct Reference {
    pub witness: ArrayD<f64>,
    /// The truth minus the witness; none for sites that follow from others, and those that are not stored.
    pub delta: Option<ArrayD<f64>>,
    /// The witness's own rounding error, root mean square in units of max(1, |witness|), where it is known: of
    /// the whole model, or else of the step alone.
    pub rounding: Option<f64>,
}

impl Call {
    /// Reads a call of a case, and derives the two kinds of site that no witness stores.
    ///
    /// # Errors
    /// Where the case has no such call.
    pub fn of(traces: &CaseTraces, call: usize, config: &Config, sites: &[Site]) -> Result<Self> {
        let case = &traces.case;
        let tokens = *case.calls.get(call).with_context(|| {
            format!(
                "case {} has {} calls, the dump has call {call}",
                case.name,
                case.calls.len()
            )
        })?;
        let total = case.calls[..=call].iter().sum();
        let mut read = Call {
            lengths: Lengths::of(config, case.batch, tokens, total),
            sites: BTreeMap::new(),
        };
        for site in sites {
            let name = format!("{call}/{}", site.name);
            let Some(witness) = traces.witness.get(&name).and_then(widened::<f32>) else {
                continue;
            };
            let delta_of = |deltas: Option<&Trace>| {
                let delta = widened::<f32>(deltas?.get(&name)?)?;
                (delta.shape() == witness.shape()).then_some(delta)
            };
            let delta = delta_of(traces.propagated.as_deref());
            let isolated = delta_of(traces.isolated.as_deref());
            let known = delta.as_ref().or(isolated.as_ref());
            let rounding = known.map(|delta| {
                let pairs = witness.iter().zip(delta);
                root_mean_square(pairs.map(|(w, d)| d / w.abs().max(1.0)))
            });
            let reference = Reference {
                witness,
                delta,
                rounding,
            };
            read.sites.insert(site.name.clone(), reference);
        }
        for layer in 0..config.n_layer() {
            read.derive_heads(layer);
            read.derive_mid(layer);
        }
        Ok(read)
    }

    pub fn witness(&self, site: &str) -> Option<&ArrayD<f64>> {
        self.sites.get(site).map(|reference| &reference.witness)
    }

    /// The stream that block `layer` reads; for the number of layers, what `ln_f` reads.
    pub fn stream(&self, layer: usize) -> Option<&ArrayD<f64>> {
        match layer.checked_sub(1) {
            None => self.witness("embed"),
            // An attention half goes on without its MLPs.
            Some(before) => {
                let block = self.witness(&format!("h.{before}"));
                block.or_else(|| self.witness(&format!("h.{before}.mid")))
            }
        }
    }

    /// `attn.heads`: probabilities times values, [B, T, H, D].
    fn derive_heads(&mut self, layer: usize) {
        let at = |site: &str| format!("h.{layer}.attn.{site}");
        let (Some(probs), Some(v)) = (self.witness(&at("probs")), self.witness(&at("cache.v")))
        else {
            return;
        };
        if let Some(heads) = weighted(probs, v) {
            self.add(at("heads"), heads);
        }
    }

    /// `mid`: the stream with attention's share, [B, T, C].
    fn derive_mid(&mut self, layer: usize) {
        let out = self.witness(&format!("h.{layer}.attn.out"));
        if let (Some(stream), Some(out)) = (self.stream(layer), out) {
            let mid = stream + out;
            self.add(format!("h.{layer}.mid"), mid);
        }
    }

    fn add(&mut self, site: String, witness: ArrayD<f64>) {
        let reference = Reference {
            witness,
            delta: None,
            rounding: None,
        };
        self.sites.insert(site, reference);
    }
}

impl Reference {
    /// The last position alone, of a site whose positions are its second axis.
    pub fn last(&self) -> Self {
        let last = |all: &ArrayD<f64>| {
            let from = all.shape()[1].saturating_sub(1);
            all.slice_axis(Axis(1), Slice::from(from..)).to_owned()
        };
        Reference {
            witness: last(&self.witness),
            delta: self.delta.as_ref().map(last),
            rounding: self.rounding,
        }
    }
}

/// Probabilities, [B, H, T, S], times values, [B, S, H, D]: [B, T, H, D]. Nothing where they do not fit.
pub fn weighted(probs: &ArrayD<f64>, v: &ArrayD<f64>) -> Option<ArrayD<f64>> {
    let (&[batch, heads, tokens, total], &[rows, held, of, dim]) = (probs.shape(), v.shape())
    else {
        return None;
    };
    if (batch, heads, total) != (rows, of, held) {
        return None;
    }
    let shape = [batch, tokens, heads, dim];
    Some(ArrayD::from_shape_fn(IxDyn(&shape), |at| {
        let (b, t, h, d) = (at[0], at[1], at[2], at[3]);
        (0..total)
            .map(|s| probs[[b, h, t, s]] * v[[b, s, h, d]])
            .sum()
    }))
}

/// Of nothing it is 0.
pub fn root_mean_square(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), x| (sum + x * x, count + 1));
    (sum / count.max(1) as f64).sqrt()
}

fn widened<T: Element + Into<f64>>(tensor: &Tensor) -> Option<ArrayD<f64>> {
    Some(tensor.view::<T, IxDyn>()?.mapv(Into::into))
}
