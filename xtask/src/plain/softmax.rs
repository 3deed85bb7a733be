use ndarray::ArrayViewMut1;

use super::Bug;

/// e^x over the sum of all e^x, in place; -inf becomes 0.
pub fn softmax(mut row: ArrayViewMut1<f64>, bug: Option<Bug>) {
    match bug {
        Some(Bug::SoftmaxWithoutMaximum | Bug::SamplingWithoutMaximum) => {
            row.mapv_inplace(|x| f64::from((x as f32).exp()));
        }
        _ => {
            let maximum = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let base = if bug == Some(Bug::SoftmaxBaseTwo) {
                f64::exp2
            } else {
                f64::exp
            };
            row.mapv_inplace(|x| base(x - maximum));
        }
    }
    let sum: f64 = row.iter().sum();
    row.mapv_inplace(|x| x / sum);
}
