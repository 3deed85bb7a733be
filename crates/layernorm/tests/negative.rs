//! Each test changes one thing of the right normalisation, and the judge must say so for the right reason.

mod common;

use common::{Parts, formula, judge, judge_last, moments};
use llorch_fixtures::{assert_pass, assert_values_fail, failures};
use llorch_parity::{Failure, Judgement};
use ndarray::{Array3, ArrayView1, ArrayView3};

const CASES: [&str; 2] = ["batch", "chunks"];

/// The right parts but for one change.
fn changed(change: impl Fn(&mut Parts)) -> impl Fn(&Parts, ArrayView3<f32>) -> Array3<f32> {
    move |parts, x| {
        let mut parts = parts.clone();
        change(&mut parts);
        parts.forward(x)
    }
}

/// The right formula but for its statistics.
fn with_statistics(
    statistics: impl Fn(ArrayView1<f32>) -> (f64, f64),
) -> impl Fn(&Parts, ArrayView3<f32>) -> Array3<f32> {
    move |parts, x| formula(parts, x, &statistics).mapv(|y| y as f32)
}

/// The first site is wrong already.
#[track_caller]
fn assert_fails_at_once(judgement: &Judgement) {
    assert_values_fail(judgement, "ln_1");
}

#[track_caller]
fn assert_only_the_budget_fails(judgement: &Judgement, pools: usize) {
    let failures = failures(judgement);
    let budgets = failures
        .iter()
        .filter(|failure| matches!(failure, Failure::Budget { .. }));
    assert_eq!(budgets.count(), failures.len(), "{failures:?}");
    assert_eq!(failures.len(), pools, "{failures:?}");
}

#[test]
fn nothing_changed_passes() {
    assert_pass(&judge(&CASES, changed(|_| ())));
    assert_pass(&judge(&CASES, with_statistics(moments)));
}

#[test]
fn epsilon_1e_3_fails() {
    assert_fails_at_once(&judge(&CASES, changed(|parts| parts.epsilon = 1e-3)));
}

/// The first rows of the stream have variances near 0.01, where the tolerance alone finds it.
#[test]
fn epsilon_1e_6_fails() {
    assert_fails_at_once(&judge(&CASES, changed(|parts| parts.epsilon = 1e-6)));
}

/// Epsilon 1e-6 makes a row longer by 4.5e-6 / variance, which is within 1e-5 where the variance is over 1,
/// as it is behind the last layer in the short cases.
#[test]
fn epsilon_1e_6_passes_the_tolerance_on_large_variances_and_fails_by_the_budget() {
    let short = ["two-tokens", "one-token"];
    assert_pass(&judge_last(&short, changed(|_| ())));
    let judgement = judge_last(&short, changed(|parts| parts.epsilon = 1e-6));
    assert_only_the_budget_fails(&judgement, short.len());
}

#[test]
fn swapped_weight_and_bias_fail() {
    let swap = |parts: &mut Parts| std::mem::swap(&mut parts.weight, &mut parts.bias);
    assert_fails_at_once(&judge(&CASES, changed(swap)));
}

#[test]
fn weights_1_percent_too_large_fail() {
    assert_fails_at_once(&judge(&CASES, changed(|parts| parts.weight *= 1.01)));
}

#[test]
fn weights_2_millionths_too_large_pass_the_tolerance_and_fail_by_the_budget() {
    let judgement = judge(&CASES, changed(|parts| parts.weight *= 1.000_002));
    assert_only_the_budget_fails(&judgement, 2 * CASES.len());
}

#[test]
fn a_zeroed_bias_fails() {
    assert_fails_at_once(&judge(&CASES, changed(|parts| parts.bias.fill(0.0))));
}

#[test]
fn a_variance_divided_by_n_minus_1_fails() {
    let unbiased = |row: ArrayView1<f32>| {
        let (mean, variance) = moments(row);
        let n = row.len() as f64;
        (mean, variance * n / (n - 1.0))
    };
    assert_fails_at_once(&judge(&CASES, with_statistics(unbiased)));
}

#[test]
fn rms_norm_fails() {
    let about_zero = |row: ArrayView1<f32>| {
        let (mean, variance) = moments(row);
        (0.0, variance + mean * mean)
    };
    assert_fails_at_once(&judge(&CASES, with_statistics(about_zero)));
}
