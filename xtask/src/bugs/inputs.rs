//! Inputs that show what the references' cases cannot, each with a truth computed here in float64.

use anyhow::{Context, Result};
use llorch_model::Sampling;
use llorch_parity::{
    Evidence, Expectation, Judge, Judgement, Key, Reference, Rule, Tensor, Tolerance, sha256_hex,
};
use ndarray::{Array1, Array3, Array4, ArrayView1, Axis, Ix4, concatenate};

use crate::checkpoints::{Recorder, Run, sites};
use crate::explain;
use crate::port::{Attended, CacheSize, Model};

/// An input of a checkpoint.
pub struct Input {
    pub name: &'static str,
    checkpoint: usize,
    tolerance: Tolerance,
    /// What the implementation gives, and the truth.
    run: fn(&Run) -> Result<Pair>,
}

struct Pair {
    ours: Tensor,
    truth: Tensor,
}

const INPUTS: [Input; 8] = [
    Input {
        name: "mean of 50 deviations",
        checkpoint: 1,
        tolerance: Tolerance::Within(sites::LAYER_NORM),
        run: far_from_zero,
    },
    Input {
        name: "two rows",
        checkpoint: 2,
        tolerance: Tolerance::Within(sites::HIDDEN),
        run: two_rows,
    },
    Input {
        name: "a cache after a reset",
        checkpoint: 3,
        tolerance: Tolerance::Exact,
        run: after_reset,
    },
    Input {
        name: "scores of 200",
        checkpoint: 5,
        tolerance: Tolerance::Within(sites::HIDDEN),
        run: large_scores,
    },
    Input {
        name: "equal logits",
        checkpoint: 10,
        tolerance: Tolerance::Exact,
        run: equal_logits,
    },
    Input {
        name: "logits of 200",
        checkpoint: 11,
        tolerance: Tolerance::Within(sites::PROBABILITIES),
        run: large_logits,
    },
    Input {
        name: "equals of the k-th",
        checkpoint: 11,
        tolerance: Tolerance::Within(sites::PROBABILITIES),
        run: equals_of_the_kth,
    },
    Input {
        name: "top-p at temperature 2",
        checkpoint: 11,
        tolerance: Tolerance::Within(sites::PROBABILITIES),
        run: top_p_after_temperature,
    },
];

/// The inputs of a checkpoint.
pub fn of(checkpoint: usize) -> impl Iterator<Item = &'static Input> {
    let own = move |input: &&Input| input.checkpoint == checkpoint;
    INPUTS.iter().filter(own)
}

impl Input {
    /// Judges an implementation on this input, and that it gives the same bits again.
    pub fn judge(&self, run: &Run) -> Judgement {
        let key = Key::new(self.name, self.name);
        let rule = Rule {
            tolerance: self.tolerance,
            masked: false,
        };
        let expected = Expectation::tensor_without_truth(key.clone(), self.name, rule);
        let mut judge = Judge::new(vec![expected], "");
        match (self.run)(run).and_then(|first| Ok((first, (self.run)(run)?))) {
            Ok((first, again)) => {
                let truth = Reference::witness(&first.truth);
                judge.compare(&key, Some(&first.ours), Some(truth));
                judge.identical("again", &first.ours, &again.ours);
            }
            Err(error) => judge.broken(explain(&error)),
        }
        judge.finish(Evidence {
            // It is made of the name alone.
            inputs_sha256: sha256_hex(self.name.as_bytes()),
            ..run.evidence.clone()
        })
    }
}

/// Numbers in [-1, 1) without a pattern, the same everywhere.
fn numbers() -> impl FnMut() -> f32 {
    let mut state = 1u64;
    move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// The float64 numbers as a reference of float32.
fn rounded(truth: &[f64], shape: &[usize]) -> Result<Tensor> {
    let rounded = truth.iter().map(|&x| x as f32).collect();
    Ok(ndarray::ArrayD::from_shape_vec(shape, rounded)?.into())
}

/// ln_1 of layer 0 where the mean square less the square of the mean cancels.
fn far_from_zero(run: &Run) -> Result<Pair> {
    let (weights, config) = (&run.model.weights, &run.model.config);
    let channels = config.n_embd();
    let mut number = numbers();
    let x = Array3::from_shape_simple_fn((1, 3, channels), || number() + 29.0);
    let learned = |name: &str| weights.tensor(name, &[channels]);
    let (weight, bias) = (learned("h.0.ln_1.weight")?, learned("h.0.ln_1.bias")?);
    let mut truth = Vec::new();
    for row in x.rows() {
        let count = channels as f64;
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let squares = row.iter().map(|&x| (f64::from(x) - mean).powi(2));
        let deviation = (squares.sum::<f64>() / count + config.layer_norm_epsilon()).sqrt();
        for ((&x, &weight), &bias) in row.iter().zip(weight.as_slice()).zip(bias.as_slice()) {
            let normal = (f64::from(x) - mean) / deviation;
            truth.push(normal * f64::from(weight) + f64::from(bias));
        }
    }
    let mut recorder = Recorder::new(|_: &str| true);
    run.port.layer_norm("h.0.ln_1")?(x.view(), recorder.call(0))?;
    Ok(Pair {
        ours: recorded(recorder.finish()?, "0/")?,
        truth: rounded(&truth, x.shape())?,
    })
}

/// q, k and v of a batch: an attention half's one case of checkpoint 2 has one row.
fn two_rows(run: &Run) -> Result<Pair> {
    let (weights, config) = (&run.model.weights, &run.model.config);
    let (channels, heads, dim) = (config.n_embd(), config.n_head(), config.head_dim());
    let weight = weights.tensor("h.0.attn.c_attn.weight", &[channels, 3 * channels])?;
    let bias = weights.tensor("h.0.attn.c_attn.bias", &[3 * channels])?;
    let x = Array3::from_shape_simple_fn((2, 3, channels), numbers());
    let rows = x.mapv(f64::from).into_shape_with_order((6, channels))?;
    let fused = rows.dot(&weight.view2()?.mapv(f64::from)) + bias.view1()?.mapv(f64::from);
    let third = |third: usize| {
        Array4::from_shape_fn((2, 3, heads, dim), |(b, t, h, d)| {
            fused[[3 * b + t, third * channels + h * dim + d]] as f32
        })
    };
    let mut recorder = Recorder::new(|_: &str| true);
    run.port.qkv(0)?(x.view(), recorder.call(0))?;
    let trace = recorder.finish()?;
    let [q, k, v] = ["0/q", "0/k", "0/v"].map(|name| trace.array::<f32, Ix4>(name));
    let truth = [0, 1, 2].map(third);
    Ok(Pair {
        ours: concatenate(Axis(3), &[q?, k?, v?])?.into(),
        truth: concatenate(Axis(3), &truth.each_ref().map(|third| third.view()))?.into(),
    })
}

/// What a cache holds that was filled, reset and filled again.
fn after_reset(run: &Run) -> Result<Pair> {
    let (heads, dim) = (run.model.config.n_head(), run.model.config.head_dim());
    let mut cache = run.port.cache(CacheSize {
        batch: 2,
        capacity: 8,
        heads,
        dim,
    })?;
    let mut number = numbers();
    let mut new = |positions| Array4::from_shape_simple_fn((2, positions, heads, dim), &mut number);
    let (k, v) = (new(5), new(5));
    cache.append(k.view(), v.view())?;
    cache.reset();
    let (k, v) = (new(3), new(3));
    cache.append(k.view(), v.view())?;
    let both = |k: &Array4<f32>, v: &Array4<f32>| concatenate(Axis(3), &[k.view(), v.view()]);
    Ok(Pair {
        ours: both(&cache.keys(), &cache.values())?.into(),
        truth: both(&k, &v)?.into(),
    })
}

/// The probabilities of scores whose exponentials float32 cannot hold.
fn large_scores(run: &Run) -> Result<Pair> {
    let config = &run.model.config;
    let (heads, dim) = (config.n_head(), config.head_dim());
    let (tokens, root) = (3, (dim as f64).sqrt());
    // Only the first channel counts; the scores are 200, 199, 198 or as close as float32 comes.
    let first = |d: usize, x: f64| if d == 0 { x as f32 } else { 0.0 };
    let shape = (1, tokens, heads, dim);
    let q = Array4::from_shape_fn(shape, |(.., d)| first(d, root));
    let k = Array4::from_shape_fn(shape, |(_, s, _, d)| first(d, 200.0 - s as f64));
    let mut truth = Vec::new();
    for _ in 0..heads {
        for t in 0..tokens {
            let weight = |s: usize| if s <= t { (-(s as f64)).exp() } else { 0.0 };
            let sum: f64 = (0..tokens).map(weight).sum();
            truth.extend((0..tokens).map(|s| weight(s) / sum));
        }
    }
    let mut recorder = Recorder::new(|name: &str| name == "0/probs");
    let attended = Attended { q, v: k.clone(), k };
    run.port.attention(0)?(&attended, recorder.call(0))?;
    Ok(Pair {
        ours: recorded(recorder.finish()?, "0/probs")?,
        truth: rounded(&truth, &[1, heads, tokens, tokens])?,
    })
}

fn recorded(trace: llorch_parity::Trace, name: &str) -> Result<Tensor> {
    let tensor = trace.get(name).with_context(|| format!("no {name}"))?;
    Ok(tensor.clone())
}

/// The greedy tokens of rows with several largest logits.
fn equal_logits(run: &Run) -> Result<Pair> {
    let rows = ndarray::array![
        [0.5f32, 2.0, -1.0, 2.0, 2.0],
        [3.0, 3.0, 3.0, 3.0, 3.0],
        [-0.0, -1.0, 0.0, -2.0, -0.5],
    ];
    let tokens = model(run)?.greedy(rows.view())?;
    let tokens: Array1<i64> = tokens.into_iter().map(i64::from).collect();
    let first = |row: ArrayView1<f32>| {
        let best = |&n: &usize| row.iter().all(|&other| other <= row[n]);
        (0..row.len()).find(best).map(|n| n as i64)
    };
    let truth: Option<Array1<i64>> = rows.rows().into_iter().map(first).collect();
    Ok(Pair {
        ours: tokens.into(),
        truth: truth.context("a largest logit")?.into(),
    })
}

fn large_logits(run: &Run) -> Result<Pair> {
    let logits = Array1::from_iter((0..12).map(|n| 200.0 - 0.75 * n as f32));
    distribution(run, &Sampling::default(), &logits)
}

fn equals_of_the_kth(run: &Run) -> Result<Pair> {
    let logits = ndarray::array![1.0f32, 0.25, 2.0, 1.0, -1.0, 1.0];
    let sampling = Sampling {
        top_k: Some(2),
        ..Sampling::default()
    };
    distribution(run, &sampling, &logits)
}

fn top_p_after_temperature(run: &Run) -> Result<Pair> {
    let logits = ndarray::array![0.0f32, 3.0, 1.0, 2.0, -1.0];
    let sampling = Sampling {
        temperature: 2.0,
        top_p: Some(0.75),
        ..Sampling::default()
    };
    distribution(run, &sampling, &logits)
}

/// A distribution beside the rules of checkpoint 11 as they are said: k tokens or their equals have at least
/// this logit; those better than a kept one have less than p between them.
fn distribution(run: &Run, sampling: &Sampling, logits: &Array1<f32>) -> Result<Pair> {
    let ours = model(run)?.distribution(sampling, logits.view())?;
    let x = &logits.mapv(|x| f64::from(x) / f64::from(sampling.temperature));
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weight = |x: f64| (x - largest).exp();
    let better = |n: usize| x.iter().filter(move |&&other| other > x[n]);
    let all: f64 = x.iter().map(|&x| weight(x)).sum();
    let kept = |n: usize| {
        let mass = better(n).map(|&x| weight(x)).sum::<f64>() / all;
        sampling.top_k.is_none_or(|k| better(n).count() < k)
            && sampling.top_p.is_none_or(|p| mass < p)
    };
    let weights: Vec<f64> = (0..x.len())
        .map(|n| if kept(n) { weight(x[n]) } else { 0.0 })
        .collect();
    let sum: f64 = weights.iter().sum();
    let truth: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
    Ok(Pair {
        ours: ours.into(),
        truth: rounded(&truth, &[x.len()])?,
    })
}

fn model<'a>(run: &Run<'a>) -> Result<&'a dyn Model> {
    run.port
        .model()
        .context("expected the whole model, found a part")
}
