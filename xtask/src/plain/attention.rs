//! Checkpoints 4 and 5.

use std::f64::consts::LN_2;

use anyhow::{Context, Result, ensure};
use llorch_weights::Config;
use ndarray::{Array3, Array4, ArrayView2, ArrayView4, Axis};

use super::linear::sums;
use super::softmax::softmax;
use super::{Bug, Conv1d, product};

/// What queries times keys are multiplied by in a layer, counted from 0.
pub fn attention_scale(config: &Config, layer: usize, bug: Option<Bug>) -> f64 {
    let root = (config.head_dim() as f64).sqrt();
    if config.scale_attn_by_inverse_layer_idx() || bug == Some(Bug::ScaleByLayer) {
        1.0 / (root * (layer + 1) as f64)
    } else {
        1.0 / root
    }
}

/// q, [B, T, H, D], of the last T positions against k, [B, S, H, D], of all: [B, H, T, S], the future -inf.
pub fn scores(
    q: ArrayView4<f32>,
    k: ArrayView4<f32>,
    scale: f64,
    bug: Option<Bug>,
) -> Result<Array4<f32>> {
    let (batch, new, heads, dim) = q.dim();
    let all = k.dim().1;
    ensure!(
        k.dim() == (batch, all, heads, dim),
        "expected keys to fit queries {:?}, found {:?}",
        q.shape(),
        k.shape()
    );
    let past = all.checked_sub(new).context("fewer keys than queries")?;
    let scale = match bug {
        Some(Bug::ScaleMissing) => 1.0,
        Some(Bug::ScaleTwice) => scale * scale,
        Some(Bug::ScaleByDim) => 1.0 / dim as f64,
        Some(Bug::ScaleByWidth) => 1.0 / ((heads * dim) as f64).sqrt(),
        _ => scale,
    };
    // How many keys query t sees, its own among them.
    let seen = |t: usize| match bug {
        Some(Bug::MaskMissing) => all,
        Some(Bug::MaskLostWithCache) if past > 0 => all,
        Some(Bug::MaskOneMore) => past + t + 2,
        Some(Bug::MaskOneLess) => past + t,
        Some(Bug::MaskAlignedLeft) => t + 1,
        _ => past + t + 1,
    };
    let masked = match bug {
        Some(Bug::MaskFinite) => f32::MIN,
        _ => f32::NEG_INFINITY,
    };
    let mut scores = Array4::from_elem((batch, heads, new, all), masked);
    for (b, h) in each_head(batch, heads) {
        let sums = sums(head(q, b, h), head(k, b, h).reversed_axes());
        for ((t, s), sum) in sums.indexed_iter().filter(|((t, s), _)| *s < seen(*t)) {
            scores[[b, h, t, s]] = (sum * scale) as f32;
        }
    }
    Ok(scores)
}

fn each_head(batch: usize, heads: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..batch).flat_map(move |b| (0..heads).map(move |h| (b, h)))
}

/// One row's head, [S, D], of [B, S, H, D].
fn head(all: ArrayView4<f32>, b: usize, h: usize) -> ArrayView2<f32> {
    all.index_axis_move(Axis(0), b).index_axis_move(Axis(1), h)
}

/// Softmax of the scores, [B, H, T, S], over the keys.
pub fn probabilities(scores: ArrayView4<f32>, bug: Option<Bug>) -> Array4<f32> {
    let keys = match bug {
        Some(Bug::SoftmaxOverQueries) => Axis(2),
        _ => Axis(3),
    };
    let mut probs = scores.mapv(f64::from);
    if bug == Some(Bug::SoftmaxBaseTwo) {
        probs *= LN_2;
    }
    for row in probs.lanes_mut(keys) {
        softmax(row, bug == Some(Bug::SoftmaxWithoutMaximum));
    }
    probs.mapv(|p| p as f32)
}

/// The values, [B, S, H, D], averaged with the probabilities, [B, H, T, S], merged and projected: [B, T, C].
pub fn attention_out(
    probs: ArrayView4<f32>,
    v: ArrayView4<f32>,
    c_proj: Conv1d,
    bug: Option<Bug>,
) -> Result<Array3<f32>> {
    let (batch, heads, new, all) = probs.dim();
    let dim = v.dim().3;
    ensure!(
        v.dim() == (batch, all, heads, dim),
        "expected values to fit probabilities {:?}, found {:?}",
        probs.shape(),
        v.shape()
    );
    let mut average = Array4::zeros((batch, heads, new, dim));
    for (b, h) in each_head(batch, heads) {
        let probs = probs.index_axis(Axis(0), b).index_axis_move(Axis(0), h);
        let of_head = average.index_axis_mut(Axis(0), b);
        let sums = sums(probs, head(v, b, h));
        of_head
            .index_axis_move(Axis(0), h)
            .assign(&sums.mapv(|sum| sum as f32));
    }
    let merged = match bug {
        Some(Bug::MergeWithoutTranspose) => average,
        _ => average.permuted_axes([0, 2, 1, 3]),
    };
    let merged = merged.as_standard_layout().into_owned();
    let merged = merged.into_shape_with_order((batch, new, heads * dim))?;
    let weight = match bug {
        Some(Bug::ProjMissing) => return Ok(merged),
        Some(Bug::ProjTransposed) => c_proj.weight.reversed_axes(),
        _ => c_proj.weight,
    };
    let bias = Some(c_proj.bias).filter(|_| bug != Some(Bug::ProjBiasMissing));
    product(merged.view(), weight, bias)
}
