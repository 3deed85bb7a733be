//! Checkpoint 6.

use std::f64::consts::PI;

use anyhow::Result;
use half::f16;
use llorch_weights::Activation;
use ndarray::{Array2, Array3, ArrayView3, Axis, Slice};

use super::{Bug, Conv1d, product};

/// What the feed-forward layer makes.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// Before the activation, [B, T, I].
    pub fc: Array3<f32>,
    /// After it, [B, T, I].
    pub act: Array3<f32>,
    /// [B, T, C].
    pub out: Array3<f32>,
}

/// Expands x, [B, T, C], by `c_fc`, [C, I], activates it and projects it back by `c_proj`, [I, C].
pub fn mlp(
    x: ArrayView3<f32>,
    c_fc: Conv1d,
    c_proj: Conv1d,
    activation: Activation,
    bug: Option<Bug>,
) -> Result<Mlp> {
    let channels = x.dim().2;
    let inner = match bug {
        Some(Bug::ExpansionTwo) => 2 * channels,
        Some(Bug::ExpansionThree) => 3 * channels,
        _ => c_fc.bias.len(),
    }
    .min(c_fc.bias.len());
    let used = Slice::from(..inner);
    let read;
    let weight = match bug {
        Some(Bug::FcReadAsOutIn) => {
            read = read_as_out_in(c_fc)?;
            read.t()
        }
        _ => c_fc.weight.slice_axis(Axis(1), used),
    };
    let bias = c_fc.bias.slice_axis(Axis(0), used);
    let bias = Some(bias).filter(|_| bug != Some(Bug::FcBiasMissing));
    let fc = product(x, weight, bias)?;
    let f = |x: f32| activate(x, activation, bug);
    let act = match bug {
        Some(Bug::ActivationAfterProj | Bug::ActivationMissing) => fc.clone(),
        _ => fc.mapv(f),
    };
    let weight = c_proj.weight.slice_axis(Axis(0), used);
    let bias = Some(c_proj.bias).filter(|_| bug != Some(Bug::MlpProjBiasMissing));
    let mut out = product(act.view(), weight, bias)?;
    if bug == Some(Bug::ActivationAfterProj) {
        out.mapv_inplace(f);
    }
    Ok(Mlp { fc, act, out })
}

/// The memory of a weight [in, out] taken for [out, in].
fn read_as_out_in(layer: Conv1d) -> Result<Array2<f32>> {
    let (inputs, outputs) = layer.weight.dim();
    let weight = layer.weight.as_standard_layout().into_owned();
    Ok(weight.into_shape_with_order((outputs, inputs))?)
}

/// The activation of one number.
pub fn activate(x: f32, activation: Activation, bug: Option<Bug>) -> f32 {
    let root = match bug {
        Some(Bug::GeluShortConstant) => 0.7979,
        _ => (2.0 / PI).sqrt(),
    };
    let half = |x: f64| f16::from_f64(x).to_f64();
    let x = f64::from(x);
    let y = match (bug, activation) {
        (Some(Bug::GeluErf), _) => gelu_erf(x),
        (Some(Bug::GeluSigmoid), _) => x / (1.0 + (-1.702 * x).exp()),
        (Some(Bug::GeluHalfTable), _) => half(gelu_tanh(half(x), root)),
        (Some(Bug::Relu), _) => x.max(0.0),
        (Some(Bug::Silu), _) => x / (1.0 + (-x).exp()),
        (_, Activation::GeluTanh) => gelu_tanh(x, root),
        (_, Activation::GeluErf) => gelu_erf(x),
        (_, Activation::Relu) => x.max(0.0),
    };
    y as f32
}

/// 0.5 x (1 + tanh(u)), u = root (x + 0.044715 x^3), root = sqrt(2 / pi), written so that nothing cancels near
/// tanh = -1.
fn gelu_tanh(x: f64, root: f64) -> f64 {
    let u = root * (x + 0.044715 * x.powi(3));
    x / (1.0 + (-2.0 * u).exp())
}

/// 0.5 x (1 + erf(x / sqrt 2)).
fn gelu_erf(x: f64) -> f64 {
    0.5 * x * libm::erfc(-x / 2f64.sqrt())
}
