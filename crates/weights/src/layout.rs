//! Which tensors a GPT-2 has: Hugging Face's names without `transformer.`, and their shapes.

use std::fmt;

use crate::Config;

/// The language model's head, `[V, C]`; most files leave it out, as it is `wte.weight`.
pub(crate) const HEAD: &str = "lm_head.weight";
/// The token embedding, `[V, C]`.
pub(crate) const WTE: &str = "wte.weight";

/// A tensor that the model has and the file has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name without prefix.
    pub name: String,
    /// The shape it should have.
    pub shape: Vec<usize>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.shape)
    }
}

/// Names and shapes in the order of computation; `own_head` adds `lm_head.weight`.
pub(crate) fn tensors(config: &Config, own_head: bool) -> Vec<(String, Vec<usize>)> {
    let (c, v) = (config.n_embd(), config.vocab_size());
    let mut list = vec![
        (WTE.to_string(), vec![v, c]),
        ("wpe.weight".to_string(), vec![config.n_positions(), c]),
    ];
    for layer in 0..config.n_layer() {
        block(config, &format!("h.{layer}"), &mut list);
    }
    norm("ln_f", c, &mut list);
    if own_head {
        list.push((HEAD.to_string(), vec![v, c]));
    }
    list
}

fn block(config: &Config, h: &str, list: &mut Vec<(String, Vec<usize>)>) {
    let (c, inner) = (config.n_embd(), config.n_inner());
    norm(&format!("{h}.ln_1"), c, list);
    conv1d(&format!("{h}.attn.c_attn"), c, 3 * c, list);
    conv1d(&format!("{h}.attn.c_proj"), c, c, list);
    norm(&format!("{h}.ln_2"), c, list);
    conv1d(&format!("{h}.mlp.c_fc"), c, inner, list);
    conv1d(&format!("{h}.mlp.c_proj"), inner, c, list);
}

fn norm(name: &str, c: usize, list: &mut Vec<(String, Vec<usize>)>) {
    list.push((format!("{name}.weight"), vec![c]));
    list.push((format!("{name}.bias"), vec![c]));
}

fn conv1d(name: &str, input: usize, output: usize, list: &mut Vec<(String, Vec<usize>)>) {
    list.push((format!("{name}.weight"), vec![input, output]));
    list.push((format!("{name}.bias"), vec![output]));
}

/// The name without `transformer.`.
pub(crate) fn without_prefix(key: &str) -> &str {
    key.strip_prefix("transformer.").unwrap_or(key)
}

/// Whether the name is one of the causal-mask buffers that older versions of transformers saved
/// (`h.{i}.attn.bias`, `h.{i}.attn.masked_bias`). The mask follows from the positions, so they are
/// not read.
pub(crate) fn is_mask_buffer(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    match parts[..] {
        ["h", layer, "attn", "bias" | "masked_bias"] => layer.parse::<usize>().is_ok(),
        _ => false,
    }
}
