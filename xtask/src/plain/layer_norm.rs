//! Checkpoint 1.

use anyhow::{Result, ensure};
use ndarray::{Array1, Array3, ArrayView1, ArrayView3, Axis};

use super::Bug;

/// What a layer normalisation has learned, \[C\] each.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    pub weight: ArrayView1<'a, f32>,
    pub bias: ArrayView1<'a, f32>,
}

/// (x - mean) / sqrt(variance + epsilon) * weight + bias over the channels of x, [B, T, C].
pub fn layer_norm(
    x: ArrayView3<f32>,
    norm: Norm,
    epsilon: f64,
    bug: Option<Bug>,
) -> Result<Array3<f32>> {
    let channels = x.dim().2;
    ensure!(
        norm.weight.len() == channels && norm.bias.len() == channels,
        "expected weight and bias of {channels}, found {} and {}",
        norm.weight.len(),
        norm.bias.len()
    );
    let epsilon = match bug {
        Some(Bug::NormEpsilonTooSmall) => 1e-6,
        Some(Bug::NormEpsilonBert) => 1e-12,
        _ => epsilon,
    };
    let axis = Axis(match bug {
        Some(Bug::NormOverPositions) => 1,
        _ => 2,
    });
    let mut y = x.mapv(f64::from);
    for mut lane in y.lanes_mut(axis) {
        let mean = match bug {
            Some(Bug::NormRms) => 0.0,
            _ => mean(lane.view(), |x| x),
        };
        let variance = variance(lane.view(), mean, bug);
        let deviation = match bug {
            Some(Bug::NormEpsilonOutside) => variance.sqrt() + epsilon,
            _ => (variance + epsilon).sqrt(),
        };
        lane.mapv_inplace(|x| (x - mean) / deviation);
    }
    let (weight, bias) = learned(norm, bug);
    Ok((y * weight + bias).mapv(|y| y as f32))
}

fn mean(row: ArrayView1<f64>, f: impl Fn(f64) -> f64) -> f64 {
    row.iter().map(|&x| f(x)).sum::<f64>() / row.len() as f64
}

fn variance(row: ArrayView1<f64>, mean: f64, bug: Option<Bug>) -> f64 {
    let count = row.len() as f64;
    let squares = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    match bug {
        Some(Bug::NormSampleVariance) => squares / (count - 1.0),
        Some(Bug::NormSinglePass) => {
            let row = row.mapv(|x| x as f32);
            let mean = row.iter().sum::<f32>() / row.len() as f32;
            let of_squares = row.iter().map(|x| x * x).sum::<f32>() / row.len() as f32;
            f64::from(of_squares - mean * mean)
        }
        _ => squares / count,
    }
}

fn learned(norm: Norm, bug: Option<Bug>) -> (Array1<f64>, Array1<f64>) {
    let [weight, bias] = [norm.weight, norm.bias].map(|learned| learned.mapv(f64::from));
    match bug {
        Some(Bug::NormWeightBiasSwapped) => (bias, weight),
        Some(Bug::NormBiasMissing) => (weight, bias * 0.0),
        Some(Bug::NormWeightPlusOne) => (weight + 1.0, bias),
        _ => (weight, bias),
    }
}
