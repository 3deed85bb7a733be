//! Checkpoints 7 to 9: the steps composed.

use anyhow::{Context, Result, ensure};
use llorch_weights::Config;
use ndarray::{Array, Array2, Array3, ArrayView2, ArrayView3, ArrayViewD, Axis, Dimension, Slice};

use super::{
    Bug, Cache, Weights, attention_out, attention_scale, layer_norm, mlp, probabilities, product,
    qkv, scores,
};

/// Is shown every site in the order of execution.
pub type Record<'a> = &'a mut dyn FnMut(&str, ArrayViewD<f32>);

/// An empty cache for every layer, for B rows of at most `capacity` positions.
pub fn new_caches(config: &Config, batch: usize, capacity: usize, bug: Option<Bug>) -> Vec<Cache> {
    let capacity = match bug {
        Some(Bug::CacheOfAllLayers) => capacity * config.n_layer(),
        _ => capacity,
    };
    let cache = || Cache::new(batch, capacity, config.n_head(), config.head_dim());
    // One more, for the bug that runs a layer twice.
    (0..=config.n_layer()).map(|_| cache()).collect()
}

/// The logits, [B, T, V], of the tokens, [B, T], that follow those in the caches.
pub fn forward(
    weights: &Weights,
    tokens: ArrayView2<u32>,
    caches: &mut [Cache],
    bug: Option<Bug>,
    record: Record,
) -> Result<Array3<f32>> {
    let hidden = hidden(weights, tokens, caches, bug, record)?;
    let logits = logits(hidden.view(), weights, bug)?;
    show(record, "logits", &logits);
    Ok(logits)
}

/// The logits of the last of the tokens alone, [B, V].
pub fn forward_last(
    weights: &Weights,
    tokens: ArrayView2<u32>,
    caches: &mut [Cache],
    bug: Option<Bug>,
) -> Result<Array2<f32>> {
    let hidden = hidden(weights, tokens, caches, bug, &mut |_, _| ())?;
    let last = match bug {
        Some(Bug::LogitsOfFirst) => 0,
        _ => hidden.dim().1 - 1,
    };
    let hidden = hidden.slice_axis(Axis(1), Slice::from(last..=last));
    if bug == Some(Bug::LastLogitsOtherSum) {
        let hidden = hidden.index_axis(Axis(1), 0);
        return Ok(hidden.dot(&weights.head()?));
    }
    Ok(logits(hidden, weights, bug)?.remove_axis(Axis(1)))
}

/// The stream after the last normalisation, [B, T, C].
fn hidden(
    weights: &Weights,
    tokens: ArrayView2<u32>,
    caches: &mut [Cache],
    bug: Option<Bug>,
    record: Record,
) -> Result<Array3<f32>> {
    let past = caches.first().context("a layer")?.len();
    let mut x = embed(tokens, past, weights.wte()?, weights.wpe()?, bug)?;
    show(record, "embed", &x);
    for (place, layer) in layers(weights.config.n_layer(), bug)
        .into_iter()
        .enumerate()
    {
        let cache = match bug {
            Some(Bug::CacheOfAllLayers) => &mut caches[0],
            _ => &mut caches[place],
        };
        let mut scoped =
            |site: &str, values: ArrayViewD<f32>| record(&format!("h.{place}.{site}"), values);
        x = block(weights, layer, x, cache, bug, &mut scoped)?;
        show(record, &format!("h.{place}"), &x);
    }
    last_norm(weights, x, bug, record)
}

/// The stream, [B, T, C], as the head reads it: through ln_f.
pub fn last_norm(
    weights: &Weights,
    x: Array3<f32>,
    bug: Option<Bug>,
    record: Record,
) -> Result<Array3<f32>> {
    let ln_f = weights.norm("ln_f", bug)?;
    let epsilon = weights.config.layer_norm_epsilon();
    let normal = match bug {
        Some(Bug::LnFMissing) => x.clone(),
        _ => layer_norm(x.view(), ln_f, epsilon, bug)?,
    };
    show(record, "ln_f", &normal);
    match bug {
        Some(Bug::LogitsBeforeLnF) => Ok(x),
        Some(Bug::LnFTwice) => layer_norm(normal.view(), ln_f, epsilon, bug),
        _ => Ok(normal),
    }
}

/// `wte[token] + wpe[position]`, [B, T, C]; the first position is `past`.
pub fn embed(
    tokens: ArrayView2<u32>,
    past: usize,
    wte: ArrayView2<f32>,
    wpe: ArrayView2<f32>,
    bug: Option<Bug>,
) -> Result<Array3<f32>> {
    let (batch, new) = tokens.dim();
    let (vocabulary, channels) = wte.dim();
    let (vocabulary, limit) = (vocabulary as u32, wpe.nrows());
    ensure!(!tokens.is_empty(), "expected tokens, found none");
    ensure!(
        past + new <= limit && tokens.iter().all(|&token| token < vocabulary),
        "expected tokens under {vocabulary} at positions under {limit}, found {new} behind {past}"
    );
    let position = |t: usize| match bug {
        // The last position has none behind it.
        Some(Bug::WpeOffset) => (past + t + 1).min(limit - 1),
        Some(Bug::PositionsRestart) => t,
        _ => past + t,
    };
    Ok(Array3::from_shape_fn(
        (batch, new, channels),
        |(b, t, c)| {
            let (token, position) = (wte[[tokens[[b, t]] as usize, c]], wpe[[position(t), c]]);
            match bug {
                Some(Bug::WteMissing) => position,
                Some(Bug::WpeMissing) => token,
                Some(Bug::WpeMissingForOne) if new == 1 => token,
                Some(Bug::EmbedScaled) => token * (channels as f32).sqrt() + position,
                _ => token + position,
            }
        },
    ))
}

/// The layers in the order in which they run.
fn layers(count: usize, bug: Option<Bug>) -> Vec<usize> {
    let all = 0..count;
    match bug {
        Some(Bug::LayersReversed) => all.rev().collect(),
        Some(Bug::LayerSkipped) => all.filter(|&layer| layer != 1).collect(),
        Some(Bug::LayerTwice) => all
            .flat_map(|layer| vec![layer; 1 + usize::from(layer == 1)])
            .collect(),
        _ => all.collect(),
    }
}

/// x + attn(ln_1(x)), then x + mlp(ln_2(x)): [B, T, C].
pub fn block(
    weights: &Weights,
    layer: usize,
    x: Array3<f32>,
    cache: &mut Cache,
    bug: Option<Bug>,
    record: Record,
) -> Result<Array3<f32>> {
    let (config, h) = (&weights.config, format!("h.{layer}"));
    let norm = |name: &str, x: &Array3<f32>, record: Record| -> Result<Array3<f32>> {
        let norm = weights.norm(&format!("{h}.{name}"), bug)?;
        let normal = layer_norm(x.view(), norm, config.layer_norm_epsilon(), bug)?;
        show(record, name, &normal);
        Ok(normal)
    };
    let post_norm = bug == Some(Bug::PostNorm);

    let normal = if post_norm {
        x.clone()
    } else {
        norm("ln_1", &x, record)?
    };
    let out = attend(weights, layer, &normal, cache, bug, record)?;
    let block_input = x;
    let mut x = match bug {
        Some(Bug::FirstResidualMissing) => out,
        Some(Bug::ResidualFromNorm) => normal + out,
        _ => &block_input + &out,
    };

    let normal = match bug {
        Some(Bug::PostNorm) => {
            x = norm("ln_1", &x, record)?;
            x.clone()
        }
        Some(Bug::ParallelMlp) => norm("ln_2", &block_input, record)?,
        _ => norm("ln_2", &x, record)?,
    };
    let [c_fc, c_proj] = ["c_fc", "c_proj"].map(|name| weights.conv1d(&format!("{h}.mlp.{name}")));
    let mlp = mlp(normal.view(), c_fc?, c_proj?, config.activation(), bug)?;
    show(record, "mlp.fc", &mlp.fc);
    show(record, "mlp.act", &mlp.act);
    show(record, "mlp.out", &mlp.out);
    let x = match bug {
        Some(Bug::SecondResidualMissing) => mlp.out,
        Some(Bug::SecondResidualFromNorm) => normal + mlp.out,
        _ => x + mlp.out,
    };
    if post_norm {
        return norm("ln_2", &x, record);
    }
    Ok(x)
}

/// Attention with its cache, from the output of ln_1, [B, T, C].
fn attend(
    weights: &Weights,
    layer: usize,
    x: &Array3<f32>,
    cache: &mut Cache,
    bug: Option<Bug>,
    record: Record,
) -> Result<Array3<f32>> {
    let (config, attn) = (&weights.config, format!("h.{layer}.attn"));
    let c_attn = weights.conv1d(&format!("{attn}.c_attn"))?;
    let heads = qkv(x.view(), c_attn, config.n_head(), bug)?;
    show(record, "attn.q", &heads.q);
    show(record, "attn.k", &heads.k);
    show(record, "attn.v", &heads.v);
    cache.append(heads.k.view(), heads.v.view(), bug)?;
    let (k, v) = (cache.keys(bug), cache.values(bug));
    show(record, "attn.cache.k", &k);
    show(record, "attn.cache.v", &v);
    let scale = attention_scale(config, layer, bug);
    let scores = scores(heads.q.view(), k.view(), scale, bug)?;
    show(record, "attn.scores", &scores);
    let probs = probabilities(scores.view(), bug);
    show(record, "attn.probs", &probs);
    let c_proj = weights.conv1d(&format!("{attn}.c_proj"))?;
    let out = attention_out(probs.view(), v.view(), c_proj, bug)?;
    show(record, "attn.out", &out);
    Ok(out)
}

/// The stream after ln_f, [B, T, C], against every token of the vocabulary: [B, T, V].
pub fn logits(x: ArrayView3<f32>, weights: &Weights, bug: Option<Bug>) -> Result<Array3<f32>> {
    let head = weights.head()?;
    let (channels, vocabulary) = head.dim();
    let wrong = match bug {
        // Numbers from nowhere, as an untied head has them that no file filled.
        Some(Bug::HeadNotLoaded) => Array2::from_shape_fn(head.dim(), |(c, token)| {
            (0.02 * ((c * vocabulary + token) as f64).sin()) as f32
        }),
        Some(Bug::HeadReadAsInOut) => {
            let memory = head.t().as_standard_layout().into_owned();
            memory.into_shape_with_order((channels, vocabulary))?
        }
        Some(Bug::VocabularyPadded) => {
            let mut padded = Array2::zeros((channels, vocabulary.next_multiple_of(64)));
            padded
                .slice_axis_mut(Axis(1), Slice::from(..vocabulary))
                .assign(&head);
            padded
        }
        _ => return product(x, head, None),
    };
    product(x, wrong.view(), None)
}

fn show<D: Dimension>(record: Record, site: &str, values: &Array<f32, D>) {
    record(site, values.view().into_dyn());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_dir::ModelDir;
    use crate::references::References;
    use llorch_parity::Trace;
    use ndarray::{IxDyn, Zip};

    /// Every site of every call through one cache, under `{call}/{site}`.
    fn trace(weights: &Weights, calls: &[ArrayView2<u32>]) -> Trace {
        let mut trace = Trace::new();
        let positions = calls.iter().map(|tokens| tokens.ncols()).sum();
        let mut caches = new_caches(&weights.config, calls[0].nrows(), positions, None);
        for (call, tokens) in calls.iter().enumerate() {
            let mut record = |site: &str, values: ArrayViewD<f32>| {
                let inserted = trace.insert(format!("{call}/{site}"), values);
                inserted.expect("a site once");
            };
            forward(weights, *tokens, &mut caches, None, &mut record).expect("a run");
        }
        trace
    }

    /// Every call of two cases, through a cache, at every site.
    #[test]
    fn every_site_agrees_with_the_witness() {
        let model = ModelDir::open("tiny").expect("the embedded model");
        let references = References::open(&model, None).expect("its references");
        let weights = Weights::load(&model.weights, &model.config).expect("weights");
        for name in ["chunks", "steps"] {
            let traces = references
                .cases
                .iter()
                .find(|traces| traces.case.name == name);
            let traces = traces.expect("a case");
            let tokens = |call| {
                let ids = traces
                    .witness
                    .array::<i64, ndarray::Ix2>(&format!("{call}/tokens"));
                ids.expect("tokens").mapv(|id| id as u32)
            };
            let calls: Vec<Array2<u32>> = (0..traces.case.calls.len()).map(tokens).collect();
            let views: Vec<_> = calls.iter().map(|tokens| tokens.view()).collect();
            let ours = trace(&weights, &views);
            assert_eq!(ours.len(), views.len() * (3 + 14 * 4));
            for (site, tensor) in ours.iter() {
                let ours = tensor.view::<f32, IxDyn>().expect("float32");
                let witness = traces.witness.array::<f32, IxDyn>(site).expect(site);
                assert_eq!(ours.shape(), witness.shape(), "{site}");
                Zip::from(ours).and(witness).for_each(|&ours, &witness| {
                    let close = (ours - witness).abs() <= 1e-4 * witness.abs().max(1.0);
                    assert!(close || ours == witness, "{site}: {ours} for {witness}");
                });
            }
        }
    }
}
