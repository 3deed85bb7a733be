//! One input handed over whole or position by position: the bits must not tell.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Result};
use llorch_parity::Trace;
use ndarray::{Array, ArrayD, ArrayView, Axis, Dimension, Slice, concatenate};

/// How an input is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// As the case has it.
    Whole,
    /// Every row's every position on its own.
    Positions,
}

impl Cut {
    /// Runs `f` on the rows and positions of every piece of [B, T, ..] and puts what it recorded together again.
    pub fn run(
        self,
        batch: usize,
        tokens: usize,
        mut f: impl FnMut(Range<usize>, Range<usize>) -> Result<Trace>,
    ) -> Result<Trace> {
        if self == Cut::Whole {
            return f(0..batch, 0..tokens);
        }
        let mut rows = Vec::new();
        for b in 0..batch {
            let mut pieces = Vec::new();
            for t in 0..tokens {
                pieces.push(f(b..b + 1, t..t + 1)?);
            }
            rows.push(join(&pieces, position_axis)?);
        }
        join(&rows, |_| Axis(0))
    }
}

/// [B, T, ..], but [B, H, T, S] for what attention weighs.
fn position_axis(name: &str) -> Axis {
    Axis(if is_square(name) { 2 } else { 1 })
}

fn is_square(name: &str) -> bool {
    name.ends_with("attn.scores") || name.ends_with("attn.probs")
}

/// Joins equally named tensors along an axis.
fn join(pieces: &[Trace], axis: impl Fn(&str) -> Axis) -> Result<Trace> {
    let mut parts: BTreeMap<&str, Vec<ArrayD<f32>>> = BTreeMap::new();
    for (name, tensor) in pieces.iter().flat_map(Trace::iter) {
        let array = tensor.view().context("a recorded tensor is float32")?;
        parts.entry(name).or_default().push(array.to_owned());
    }
    let mut joined = Trace::new();
    for (name, mut arrays) in parts {
        if is_square(name) {
            pad(name, &mut arrays);
        }
        let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
        joined.insert(name, concatenate(axis(name), &views)?)?;
    }
    Ok(joined)
}

/// Widens the rows of earlier positions by the future that they did not see: -inf as a score, 0 as a
/// probability.
fn pad(name: &str, arrays: &mut [ArrayD<f32>]) {
    let unseen = if name.ends_with("attn.scores") {
        f32::NEG_INFINITY
    } else {
        0.0
    };
    let width = arrays.iter().map(|array| array.len_of(Axis(3))).max();
    for array in arrays {
        let mut shape = array.raw_dim();
        shape[3] = width.unwrap_or_default();
        let mut padded = ArrayD::from_elem(shape, unseen);
        let seen = Slice::from(..array.len_of(Axis(3)));
        padded.slice_axis_mut(Axis(3), seen).assign(array);
        *array = padded;
    }
}

/// The rows and positions of a piece out of [B, T, ..].
pub fn part<D: Dimension>(
    array: ArrayView<f32, D>,
    rows: Range<usize>,
    positions: Range<usize>,
) -> Array<f32, D> {
    array
        .slice_axis(Axis(0), Slice::from(rows))
        .slice_axis(Axis(1), Slice::from(positions))
        .to_owned()
}
