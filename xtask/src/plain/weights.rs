//! A model's tensors, copied.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use llorch_weights::Config;
use ndarray::{Array2, ArrayD, ArrayView2, Dimension};

use super::{Bug, Conv1d, Norm};

/// All of a model's tensors that its files have, and its config.
pub struct Weights {
    pub config: Config,
    tensors: BTreeMap<String, ArrayD<f32>>,
    missing: usize,
    /// [C, V], where the file has it.
    head: Option<Array2<f32>>,
}

impl Weights {
    /// Copies every tensor that is there; a part of a model is welcome.
    pub fn load(weights: &llorch_weights::Weights, config: &Config) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        let missing = weights.missing(config);
        for (name, shape) in weights.expected(config) {
            if missing.iter().any(|missing| missing.name == name) {
                continue;
            }
            let values = weights.tensor(&name, &shape)?.as_slice().to_vec();
            tensors.insert(name, ArrayD::from_shape_vec(shape, values)?);
        }
        let own = tensors.get("lm_head.weight");
        let tied = tensors.get("wte.weight");
        let head = own.or(tied.filter(|_| config.tie_word_embeddings()));
        let head = head.map(|head| -> Result<_> {
            let head = head.view().into_dimensionality::<ndarray::Ix2>()?;
            Ok(head.t().as_standard_layout().into_owned())
        });
        Ok(Weights {
            config: config.clone(),
            head: head.transpose()?,
            missing: missing.len(),
            tensors,
        })
    }

    /// Whether nothing of the model is missing.
    pub fn is_whole(&self) -> bool {
        self.head.is_some() && self.missing == 0
    }

    /// The layer normalisation `h.0.ln_1`, `h.0.ln_2`, ..., `ln_f`.
    pub fn norm(&self, site: &str, bug: Option<Bug>) -> Result<Norm<'_>> {
        let site = match bug {
            Some(Bug::NormFirstForSecond) => &site.replace("ln_2", "ln_1"),
            _ => site,
        };
        Ok(Norm {
            weight: self.array(&format!("{site}.weight"))?,
            bias: self.array(&format!("{site}.bias"))?,
        })
    }

    /// The linear layer `h.0.attn.c_attn`, `h.0.attn.c_proj`, `h.0.mlp.c_fc`, `h.0.mlp.c_proj`, ...
    pub fn conv1d(&self, name: &str) -> Result<Conv1d<'_>> {
        Ok(Conv1d {
            weight: self.array(&format!("{name}.weight"))?,
            bias: self.array(&format!("{name}.bias"))?,
        })
    }

    /// The embeddings of tokens, [V, C].
    pub fn wte(&self) -> Result<ArrayView2<'_, f32>> {
        self.array("wte.weight")
    }

    /// The embeddings of positions, [`n_positions`, C].
    pub fn wpe(&self) -> Result<ArrayView2<'_, f32>> {
        self.array("wpe.weight")
    }

    /// What the stream is multiplied with for logits, [C, V]: the file's own head or the tied `wte`, transposed.
    pub fn head(&self) -> Result<ArrayView2<'_, f32>> {
        let head = self.head.as_ref().context("the weights have no head")?;
        Ok(head.view())
    }

    fn array<D: Dimension>(&self, name: &str) -> Result<ndarray::ArrayView<'_, f32, D>> {
        let tensor = self.tensors.get(name);
        let tensor = tensor.with_context(|| format!("expected {name} in the weights"))?;
        Ok(tensor.view().into_dimensionality()?)
    }
}
