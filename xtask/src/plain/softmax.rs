use ndarray::ArrayViewMut1;

/// e^x over the sum of all e^x, in place; -inf becomes 0.
///
/// With `overflowing` the exponentials are float32's and no maximum is subtracted first.
pub fn softmax(mut row: ArrayViewMut1<f64>, overflowing: bool) {
    if overflowing {
        row.mapv_inplace(|x| f64::from((x as f32).exp()));
    } else {
        let maximum = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.mapv_inplace(|x| (x - maximum).exp());
    }
    let sum: f64 = row.iter().sum();
    row.mapv_inplace(|x| x / sum);
}
