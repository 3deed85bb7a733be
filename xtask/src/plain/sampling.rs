//! Checkpoints 10 and 11.

use ndarray::{Array1, ArrayView1, ArrayView2, Axis};

use super::Bug;
use super::softmax::softmax;

/// Under this temperature the best token is certain.
const GREEDY_BELOW: f32 = 1e-6;

/// Which tokens a distribution keeps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cut {
    /// The k best, and those equal to the last of them.
    pub top_k: Option<usize>,
    /// The best until their probabilities reach p, the one that crosses included.
    pub top_p: Option<f64>,
}

/// The token with the largest logit of every row of [B, V], the first of equals.
pub fn greedy(logits: ArrayView2<f32>, bug: Option<Bug>) -> Vec<u32> {
    let tokens = match bug {
        Some(Bug::ArgmaxOverRows) => Axis(0),
        _ => Axis(1),
    };
    let better = |logit: f32, best: f32| match bug {
        Some(Bug::TiesUpward) => logit >= best,
        _ => logit > best,
    };
    let best = |row: ArrayView1<f32>| {
        let mut best = 0;
        for (token, &logit) in row.indexed_iter() {
            if better(logit, row[best]) {
                best = token;
            }
        }
        best as u32
    };
    logits.lanes(tokens).into_iter().map(best).collect()
}

/// The probability of every token, \[V\], from logits, \[V\]: temperature, top-k, top-p, softmax.
pub fn distribution(
    logits: ArrayView1<f32>,
    temperature: f32,
    cut: Cut,
    bug: Option<Bug>,
) -> Array1<f32> {
    if temperature < GREEDY_BELOW {
        let best = greedy(logits.insert_axis(Axis(0)), bug);
        let certain = |token| f32::from(best.first() == Some(&(token as u32)));
        return Array1::from_shape_fn(logits.len(), certain);
    }
    let mut x = logits.to_owned();
    let before_temperature = bug == Some(Bug::TopPBeforeTemperature);
    if let Some(p) = cut.top_p.filter(|_| before_temperature) {
        keep_top_p(&mut x, p, bug);
    }
    match bug {
        Some(Bug::TemperatureMultiplied) => x *= temperature,
        _ => x /= temperature,
    }
    let uncut = x.clone();
    if let Some(k) = cut.top_k {
        keep_top_k(&mut x, k, bug);
    }
    if let Some(p) = cut.top_p.filter(|_| !before_temperature) {
        keep_top_p(&mut x, p, bug);
    }
    let summed = match bug {
        Some(Bug::CutWithoutSoftmax) => uncut,
        _ => x.clone(),
    };
    let mut probabilities = summed.mapv(f64::from);
    let overflowing = bug == Some(Bug::SamplingWithoutMaximum);
    softmax(probabilities.view_mut(), overflowing);
    let kept = |(&p, &x): (&f64, &f32)| {
        if x == f32::NEG_INFINITY {
            0.0
        } else {
            p as f32
        }
    };
    probabilities.iter().zip(&x).map(kept).collect()
}

/// -inf for every token under the k-th largest.
fn keep_top_k(x: &mut Array1<f32>, k: usize, bug: Option<Bug>) {
    let k = match bug {
        Some(Bug::TopKOneMore) => k + 1,
        Some(Bug::TopKOneLess) => k - 1,
        _ => k,
    };
    let order = best_first(x);
    for (place, &token) in order.iter().enumerate().skip(k) {
        let is_equal = x[token] == x[order[k.saturating_sub(1)]];
        if !is_equal || bug == Some(Bug::TopKByCount) {
            // Behind this one all are worse, or as little wanted.
            order[place..]
                .iter()
                .for_each(|&token| x[token] = f32::NEG_INFINITY);
            return;
        }
    }
}

/// -inf for every token that the best, together at p without it, do not need.
fn keep_top_p(x: &mut Array1<f32>, p: f64, bug: Option<Bug>) {
    let order = match bug {
        Some(Bug::TopPUnsorted) => (0..x.len()).collect(),
        _ => best_first(x),
    };
    let mut probabilities = x.mapv(f64::from);
    softmax(probabilities.view_mut(), false);
    // The sum of a token and all that are worse: it is cut while that stays within 1 - p.
    let mut rest = 0.0;
    for &token in order.iter().skip(1).rev() {
        rest += f64::from(probabilities[token] as f32);
        let crosses = rest > 1.0 - p;
        if crosses && bug != Some(Bug::TopPDropsCrossing) {
            break;
        }
        x[token] = f32::NEG_INFINITY;
        if crosses {
            break;
        }
    }
}

/// Tokens by their logits, of equals the first first.
fn best_first(x: &Array1<f32>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    // The sort keeps the order of equals; adding 0 makes -0 equal to 0.
    order.sort_by(|&a, &b| (x[b] + 0.0).total_cmp(&(x[a] + 0.0)));
    order
}
