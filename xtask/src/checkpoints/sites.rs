//! Which tensors each checkpoint expects of each case, and by which rule they are compared.

use llorch_parity::{Expectation, Key, Rule};

use super::{Basis, Run};
use crate::references::CaseTraces;
use crate::witnesses::Stance;

/// The kind of a block's output.
const BLOCK: &str = "h";

/// Upper bounds on |ours - witness| / max(1, |witness|).
pub const LAYER_NORM: f64 = 1e-5;
pub const HIDDEN: f64 = 1e-4;
pub const LOGITS: f64 = 1e-3;
pub const PROBABILITIES: f64 = 1e-6;

/// The sites of a layer in the order of execution; the empty one is the layer's own output.
const IN_LAYER: [&str; 14] = [
    "ln_1",
    "attn.q",
    "attn.k",
    "attn.v",
    "attn.cache.k",
    "attn.cache.v",
    "attn.scores",
    "attn.probs",
    "attn.out",
    "ln_2",
    "mlp.fc",
    "mlp.act",
    "mlp.out",
    "",
];

/// Every kind of site in the order of execution, as [`kind`] names it.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    let in_layer = IN_LAYER.iter().map(|site| match *site {
        "" => BLOCK,
        site => site,
    });
    ["embed"]
        .into_iter()
        .chain(in_layer)
        .chain(["ln_f", "logits"])
}

/// Everything a checkpoint expects, in the order of execution.
pub fn expectations(checkpoint: usize, run: &Run) -> Vec<Expectation> {
    let layers = run.model.config.n_layer();
    run.cases
        .iter()
        .flat_map(|traces| match checkpoint {
            1..=8 => of_calls(checkpoint, traces, layers),
            9 => super::propagated::last_logits(traces),
            10 => super::choices::expectations(traces),
            11 => super::sampling::expectations(traces),
            _ => super::generation::expectations(traces),
        })
        .collect()
}

/// The sites of every call of a case.
fn of_calls(checkpoint: usize, traces: &CaseTraces, layers: usize) -> Vec<Expectation> {
    names(checkpoint, traces, layers)
        .into_iter()
        .map(|name| {
            let site = name.split_once('/').map_or(&name[..], |(_call, site)| site);
            let (kind, rule) = (kind(site), rule(checkpoint, &name));
            expectation(traces, Key::new(&traces.case.name, &name), kind, rule)
        })
        .collect()
}

/// What is expected of a tensor: with its truth, where `hf` judges.
pub fn expectation(
    traces: &CaseTraces,
    key: Key,
    kind: impl Into<String>,
    rule: Rule,
) -> Expectation {
    match traces.testimony {
        Some(_) => Expectation::tensor_without_truth(key, kind, rule),
        None => Expectation::tensor(key, kind, rule),
    }
}

/// Whether the one who judges a case can judge a tensor of it; `hf` judges all.
pub fn is_judged(traces: &CaseTraces, checkpoint: usize, name: &str, rule: Rule) -> bool {
    let basis = basis(checkpoint);
    let testimony = traces.testimony.as_ref();
    testimony.is_none_or(|testimony| testimony.stance(basis, name, rule) == Stance::Judges)
}

/// What components are fed at a checkpoint, sampling from one's own logits included.
pub fn basis(checkpoint: usize) -> Basis {
    match checkpoint {
        1..=6 => Basis::Isolated,
        _ => Basis::Propagated,
    }
}

/// The names of the tensors that one of the checkpoints 1 to 8 expects of a case; none where the case does
/// not show what the checkpoint is about.
pub fn names(checkpoint: usize, traces: &CaseTraces, layers: usize) -> Vec<String> {
    let selection = &traces.case.selection;
    let sites = match checkpoint {
        1..=6 => isolated(checkpoint, selection, layers),
        7 => blocks(selection, layers),
        _ => logits(selection),
    };
    let count = traces.case.calls.len();
    // A long case stores its last call alone.
    let first = if selection == "attention-last" {
        count.saturating_sub(1)
    } else {
        0
    };
    (first..count)
        .flat_map(|call| sites.iter().map(move |site| format!("{call}/{site}")))
        .filter(|name| is_judged(traces, checkpoint, name, rule(checkpoint, name)))
        .collect()
}

/// The tensors that a checkpoint compares of a case, each with its rule; 10 and 12 compare choices.
pub fn tensors(checkpoint: usize, traces: &CaseTraces, layers: usize) -> Vec<(String, Rule)> {
    let names = match checkpoint {
        1..=8 => names(checkpoint, traces, layers),
        9 => super::propagated::stored_last(traces).collect(),
        11 => return super::sampling::tensors(traces),
        _ => Vec::new(),
    };
    let ruled = |name: String| {
        let rule = rule(checkpoint, &name);
        (name, rule)
    };
    names.into_iter().map(ruled).collect()
}

/// The sites of checkpoints 1 to 6 that a selection stores, with their inputs.
fn isolated(checkpoint: usize, selection: &str, layers: usize) -> Vec<String> {
    let sites: &[&str] = match (checkpoint, selection) {
        (1, "all" | "isolated") => &["ln_1", "ln_2"],
        (2, "all" | "isolated") => &["attn.q", "attn.k", "attn.v"],
        (3, "all" | "isolated" | "attention-out" | "selected") => &["attn.cache.k", "attn.cache.v"],
        (4, "all" | "isolated") => &["attn.scores"],
        (5, "all" | "isolated") => &["attn.probs", "attn.out"],
        (5, "attention-out" | "attention-last" | "selected") => &["attn.out"],
        (6, "all") => &["mlp.fc", "mlp.act", "mlp.out"],
        _ => &[],
    };
    let mut names = in_layers(sites, layers);
    if checkpoint == 1 && !names.is_empty() {
        names.push("ln_f".to_owned());
    }
    names
}

/// The sites from the embedding to the last block, the whole model running.
fn blocks(selection: &str, layers: usize) -> Vec<String> {
    let sites: &[&str] = match selection {
        "all" => &IN_LAYER,
        "selected" => &[""],
        _ => return Vec::new(),
    };
    let mut names = vec!["embed".to_owned()];
    names.extend(in_layers(sites, layers));
    names
}

fn logits(selection: &str) -> Vec<String> {
    match selection {
        "all" | "selected" => vec!["ln_f".to_owned(), "logits".to_owned()],
        _ => Vec::new(),
    }
}

/// The sites of every layer, layer by layer; the empty site is the layer's own output.
fn in_layers(sites: &[&str], layers: usize) -> Vec<String> {
    (0..layers)
        .flat_map(|layer| {
            sites.iter().map(move |site| match *site {
                "" => format!("h.{layer}"),
                site => format!("h.{layer}.{site}"),
            })
        })
        .collect()
}

/// What R is pooled by: the site without its layer; a block's output is `h`.
pub fn kind(site: &str) -> &str {
    match site.strip_prefix("h.").map(|rest| rest.split_once('.')) {
        None => site,
        Some(None) => BLOCK,
        Some(Some((_layer, site))) => site,
    }
}

/// How a tensor of one of the checkpoints 1 to 9 is compared.
pub fn rule(checkpoint: usize, name: &str) -> Rule {
    match checkpoint {
        1 => Rule::within(LAYER_NORM),
        3 => Rule::exact(),
        8 | 9 => Rule::within(LOGITS),
        _ if name.ends_with("attn.scores") => Rule::within(HIDDEN).masked(),
        _ => Rule::within(HIDDEN),
    }
}
