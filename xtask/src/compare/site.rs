//! The sites a dump can be judged at, in the order of execution.

use std::collections::BTreeMap;

use llorch_weights::Config;

/// A kind of site: what it is called in a layer, which checkpoint is about it, its axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The site's name without its layer.
    pub name: &'static str,
    /// The checkpoint of the gate that is about this step.
    pub checkpoint: usize,
    /// One letter an axis: B batch, T new tokens, S tokens so far, C n_embd, H heads, D head size,
    /// I n_inner, V vocabulary.
    pub axes: &'static str,
}

impl Kind {
    /// Its name, `h` for a block's output.
    pub fn title(&self) -> &'static str {
        if self.name.is_empty() { "h" } else { self.name }
    }

    /// The checkpoint whose rule it is compared by, the whole model having run: 8 for what is behind the blocks.
    pub fn judged_at(&self) -> usize {
        if *self == LN_F || *self == LOGITS {
            8
        } else {
            7
        }
    }
}

const fn kind(name: &'static str, checkpoint: usize, axes: &'static str) -> Kind {
    Kind {
        name,
        checkpoint,
        axes,
    }
}

pub const EMBED: Kind = kind("embed", 7, "BTC");
pub const LN_F: Kind = kind("ln_f", 1, "BTC");
pub const LOGITS: Kind = kind("logits", 8, "BTV");

/// A layer's sites. `attn.heads` (probabilities times values, before `c_proj`) and `mid` (the stream with
/// attention's share) are none of the gate's: ports show them, and they follow from the references.
pub const LAYER: [Kind; 16] = [
    kind("ln_1", 1, "BTC"),
    kind("attn.q", 2, "BTHD"),
    kind("attn.k", 2, "BTHD"),
    kind("attn.v", 2, "BTHD"),
    kind("attn.cache.k", 3, "BSHD"),
    kind("attn.cache.v", 3, "BSHD"),
    kind("attn.scores", 4, "BHTS"),
    kind("attn.probs", 5, "BHTS"),
    kind("attn.heads", 5, "BTHD"),
    kind("attn.out", 5, "BTC"),
    kind("mid", 7, "BTC"),
    kind("ln_2", 1, "BTC"),
    kind("mlp.fc", 6, "BTI"),
    kind("mlp.act", 6, "BTI"),
    kind("mlp.out", 6, "BTC"),
    kind("", 7, "BTC"),
];

/// A step's output in a model of so many layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// `h.0.attn.q`, `embed`, ...
    pub name: String,
    pub kind: Kind,
    pub layer: Option<usize>,
}

/// All sites of one call, in the order of execution.
pub fn all(layers: usize) -> Vec<Site> {
    let outer = |kind: Kind| Site {
        name: kind.name.to_owned(),
        kind,
        layer: None,
    };
    let inner = (0..layers).flat_map(|layer| LAYER.iter().map(move |kind| of_layer(layer, *kind)));
    let mut sites = vec![outer(EMBED)];
    sites.extend(inner);
    sites.extend([LN_F, LOGITS].map(outer));
    sites
}

fn of_layer(layer: usize, kind: Kind) -> Site {
    let name = match kind.name {
        "" => format!("h.{layer}"),
        name => format!("h.{layer}.{name}"),
    };
    Site {
        name,
        kind,
        layer: Some(layer),
    }
}

/// The length of every axis of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lengths(BTreeMap<char, usize>);

impl Lengths {
    /// Of a call with `tokens` new tokens in each of `batch` rows, the last of `total`.
    pub fn of(config: &Config, batch: usize, tokens: usize, total: usize) -> Self {
        Lengths(BTreeMap::from([
            ('B', batch),
            ('T', tokens),
            ('S', total),
            ('C', config.n_embd()),
            ('H', config.n_head()),
            ('D', config.head_dim()),
            ('I', config.n_inner()),
            ('V', config.vocab_size()),
            ('1', 1),
            ('3', 3),
        ]))
    }

    /// The same with another length of one axis.
    pub fn with(&self, axis: char, length: usize) -> Self {
        let mut changed = self.clone();
        changed.0.insert(axis, length);
        changed
    }

    /// The length of an axis; a letter that is none has length 0, which no tensor's axis has.
    pub fn get(&self, axis: char) -> usize {
        self.0.get(&axis).copied().unwrap_or_default()
    }

    /// The shape of a tensor with these axes.
    pub fn shape(&self, axes: &str) -> Vec<usize> {
        axes.chars().map(|axis| self.get(axis)).collect()
    }
}
