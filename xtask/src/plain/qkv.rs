//! Checkpoint 2.

use anyhow::{Result, ensure};
use half::bf16;
use ndarray::{Array1, Array2, Array3, Array4, ArrayView3, Axis, Slice};

use super::{Bug, Conv1d, product};

/// Queries, keys and values, [B, T, H, D] each.
#[derive(Clone, Debug)]
pub struct Heads {
    pub q: Array4<f32>,
    pub k: Array4<f32>,
    pub v: Array4<f32>,
}

/// Projects x, [B, T, C], by `c_attn`, [C, 3C], and splits each third into heads.
pub fn qkv(x: ArrayView3<f32>, c_attn: Conv1d, heads: usize, bug: Option<Bug>) -> Result<Heads> {
    let (batch, tokens, channels) = x.dim();
    ensure!(
        heads > 0 && channels % heads == 0 && c_attn.weight.dim() == (channels, 3 * channels),
        "expected c_attn [{channels}, {}] and heads that divide {channels}, found {:?} and {heads}",
        3 * channels,
        c_attn.weight.shape()
    );
    let x = match bug {
        Some(Bug::QkvBatchJoined) => {
            x.to_owned()
                .into_shape_with_order((1, batch * tokens, channels))?
        }
        _ => x.to_owned(),
    };
    let bias = bias(c_attn, bug);
    let weight = weight(c_attn, bug)?;
    let fused = match bug {
        Some(Bug::QkvOneOtherSum) if tokens == 1 => {
            let one = x.index_axis(Axis(1), 0).dot(&weight) + &bias;
            one.insert_axis(Axis(1))
        }
        _ => product(x.view(), weight.view(), Some(bias.view()))?,
    };
    let third = |third: usize| split(&fused, third, heads, bug);
    let [mut q, k, v] = match bug {
        Some(Bug::QkvKeysValuesSwapped) => [0, 2, 1],
        Some(Bug::QkvQueriesKeysSwapped) => [1, 0, 2],
        _ => [0, 1, 2],
    }
    .map(third);
    if bug == Some(Bug::QkvQueriesScaled) {
        q /= (channels as f32 / heads as f32).sqrt();
    }
    Ok(Heads { q, k, v })
}

/// One of q, k and v: C of the fused projection's channels, head after head.
fn split(fused: &Array3<f32>, third: usize, heads: usize, bug: Option<Bug>) -> Array4<f32> {
    let (batch, tokens, fused_channels) = fused.dim();
    let channels = fused_channels / 3;
    let (heads, dim) = match bug {
        Some(Bug::QkvHeadsDimsExchanged) => (channels / heads, heads),
        _ => (heads, channels / heads),
    };
    Array4::from_shape_fn((batch, tokens, heads, dim), |(b, t, h, d)| {
        let (t, channel) = match bug {
            Some(Bug::QkvInterleaved) => (t, (3 * h + third) * dim + d),
            Some(Bug::QkvReshapedHeadsFirst) => {
                let flat = (h * tokens + t) * dim + d;
                (flat / channels, third * channels + flat % channels)
            }
            _ => (t, third * channels + h * dim + d),
        };
        fused[[b, t, channel]]
    })
}

fn weight(c_attn: Conv1d, bug: Option<Bug>) -> Result<Array2<f32>> {
    let mut weight = c_attn.weight.to_owned();
    let (channels, fused) = weight.dim();
    match bug {
        Some(Bug::QkvThirdsTransposed) => {
            for third in 0..3 {
                let columns = Slice::from(third * channels..(third + 1) * channels);
                let square = c_attn.weight.slice_axis(Axis(1), columns);
                weight.slice_axis_mut(Axis(1), columns).assign(&square.t());
            }
        }
        Some(Bug::QkvReadAsOutIn) => {
            let read = weight.into_shape_with_order((fused, channels))?;
            weight = read.t().as_standard_layout().into_owned();
        }
        Some(Bug::QkvBfloat16) => weight.mapv_inplace(|x| bf16::from_f32(x).to_f32()),
        _ => {}
    }
    Ok(weight)
}

fn bias(c_attn: Conv1d, bug: Option<Bug>) -> Array1<f32> {
    let bias = c_attn.bias.to_owned();
    match bug {
        Some(Bug::QkvBiasMissing) => bias * 0.0,
        Some(Bug::QkvBiasTwice) => bias * 2.0,
        Some(Bug::QkvBiasOfKeysMissing) => {
            let third = bias.len() / 3;
            let keys = third..2 * third;
            bias.iter()
                .enumerate()
                .map(|(i, &b)| if keys.contains(&i) { 0.0 } else { b })
                .collect()
        }
        _ => bias,
    }
}
