//! Checkpoints 4 and 5.

use anyhow::{Context, Result, ensure};
use llorch_weights::Config;
use ndarray::{Array3, Array4, ArrayView4, Axis};

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
    let dot = |b: usize, h: usize, t: usize, s: usize| -> f64 {
        let mut sum = 0.0;
        for d in 0..dim {
            sum += f64::from(q[[b, t, h, d]]) * f64::from(k[[b, s, h, d]]);
        }
        sum
    };
    Ok(Array4::from_shape_fn(
        (batch, heads, new, all),
        |(b, h, t, s)| {
            if s < seen(t) {
                (dot(b, h, t, s) * scale) as f32
            } else {
                masked
            }
        },
    ))
}

/// Softmax of the scores, [B, H, T, S], over the keys.
pub fn probabilities(scores: ArrayView4<f32>, bug: Option<Bug>) -> Array4<f32> {
    let keys = match bug {
        Some(Bug::SoftmaxOverQueries) => Axis(2),
        _ => Axis(3),
    };
    let mut probs = scores.mapv(f64::from);
    for row in probs.lanes_mut(keys) {
        softmax(row, bug);
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
    let average = |b: usize, h: usize, t: usize, d: usize| -> f64 {
        let mut sum = 0.0;
        for s in 0..all {
            sum += f64::from(probs[[b, h, t, s]]) * f64::from(v[[b, s, h, d]]);
        }
        sum
    };
    let merged = Array3::from_shape_fn((batch, new, heads * dim), |(b, t, c)| {
        let (h, t, d) = match bug {
            Some(Bug::MergeWithoutTranspose) => {
                let flat = t * heads * dim + c;
                (flat / (new * dim), flat / dim % new, flat % dim)
            }
            _ => (c / dim, t, c % dim),
        };
        average(b, h, t, d) as f32
    });
    let weight = match bug {
        Some(Bug::ProjMissing) => return Ok(merged),
        Some(Bug::ProjTransposed) => c_proj.weight.reversed_axes(),
        _ => c_proj.weight,
    };
    let bias = Some(c_proj.bias).filter(|_| bug != Some(Bug::ProjBiasMissing));
    product(merged.view(), weight, bias)
}
