//! Products with weights.

use anyhow::{Result, ensure};
use ndarray::{Array2, Array3, ArrayView1, ArrayView2, ArrayView3};

/// A linear layer as Hugging Face's `Conv1D` stores it: y = x @ weight + bias.
#[derive(Clone, Copy, Debug)]
pub struct Conv1d<'a> {
    /// [in, out].
    pub weight: ArrayView2<'a, f32>,
    /// \[out\].
    pub bias: ArrayView1<'a, f32>,
}

/// x @ weight, plus the bias if there is one: [B, T, in] by [in, out] is [B, T, out].
pub fn product(
    x: ArrayView3<f32>,
    weight: ArrayView2<f32>,
    bias: Option<ArrayView1<f32>>,
) -> Result<Array3<f32>> {
    let (batch, tokens, inputs) = x.dim();
    let outputs = weight.ncols();
    ensure!(
        inputs == weight.nrows() && bias.is_none_or(|bias| bias.len() == outputs),
        "expected x and bias to fit a weight of {:?}, found {:?} and {:?}",
        weight.shape(),
        x.shape(),
        bias.map(|bias| bias.len())
    );
    let mut y = Array3::zeros((batch, tokens, outputs));
    for (x, mut y) in x.outer_iter().zip(y.outer_iter_mut()) {
        let mut sums = sums(x, weight);
        if let Some(bias) = bias {
            sums += &bias.mapv(f64::from);
        }
        y.assign(&sums.mapv(|sum| sum as f32));
    }
    Ok(y)
}

/// x @ weight, unrounded: every output's sum is one chain in the order of the inputs.
pub fn sums(x: ArrayView2<f32>, weight: ArrayView2<f32>) -> Array2<f64> {
    let outputs = weight.ncols();
    let weight = weight.as_standard_layout();
    let mut y = Array2::zeros((x.nrows(), outputs));
    // Standard layout is a slice.
    let weight = weight.as_slice().unwrap_or_default();
    let rows = y.as_slice_mut().unwrap_or_default();
    for (x, sums) in x
        .rows()
        .into_iter()
        .zip(rows.chunks_exact_mut(outputs.max(1)))
    {
        for (&x, weights) in x.iter().zip(weight.chunks_exact(outputs.max(1))) {
            let x = f64::from(x);
            for (sum, &weight) in sums.iter_mut().zip(weights) {
                *sum += x * f64::from(weight);
            }
        }
    }
    y
}
