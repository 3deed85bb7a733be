//! Moments, normalisation and softmax against exact arithmetic and against float64.

mod common;

use common::{ROUNDING, bits, values};
use llorch_numerics::{Dim, Isa, Moments, ShapeError, normalize};
use proptest::prelude::*;

fn moments(row: &[f32]) -> Moments {
    llorch_numerics::moments(Isa::best(), row)
}

/// Mean and variance of whole numbers, exact but for the last division.
fn exact_moments(row: &[i64]) -> Moments {
    let n = row.len() as i128;
    let sum: i128 = row.iter().map(|&x| i128::from(x)).sum();
    let squares: i128 = row.iter().map(|&x| i128::from(x) * i128::from(x)).sum();
    Moments {
        mean: sum as f64 / n as f64,
        variance: (n * squares - sum * sum) as f64 / (n * n) as f64,
    }
}

fn relative(found: f64, expected: f64) -> f64 {
    (found - expected).abs() / expected.abs()
}

/// Whole numbers `spread` around `mean`, all of them float32.
fn whole_numbers(mean: i64, spread: f32, count: usize) -> (Vec<i64>, Vec<f32>) {
    let values = values(7, count);
    let whole: Vec<i64> = values
        .iter()
        .map(|x| mean + (x * spread).round() as i64)
        .collect();
    let row = whole.iter().map(|&x| x as f32).collect();
    (whole, row)
}

/// Uniform numbers of spread s have a standard deviation of s / sqrt 3: mean over deviation is 50, then 5,000.
#[test]
fn moments_far_from_zero_keep_their_digits() {
    for (mean, spread) in [(50_000, 1732.0), (5_000_000, 1732.0), (-50_000, 1732.0)] {
        for count in [2, 17, 144, 768, 1001] {
            let (whole, row) = whole_numbers(mean, spread, count);
            let (found, expected) = (moments(&row), exact_moments(&whole));
            assert!(
                relative(found.mean, expected.mean) < 1e-15,
                "{found:?} {expected:?}"
            );
            assert!(
                relative(found.variance, expected.variance) < 1e-13,
                "{found:?} {expected:?}"
            );
        }
    }
}

/// What the two passes are for: E[x^2] - E[x]^2 in float32 misses what LayerNorm is allowed.
#[test]
fn one_pass_in_float32_would_lose_the_variance() {
    let (whole, row) = whole_numbers(50_000, 1732.0, 768);
    let n = row.len() as f32;
    let (sum, squares) = row.iter().fold((0.0_f32, 0.0_f32), |(sum, squares), x| {
        (sum + x, squares + x * x)
    });
    let one_pass = f64::from(squares / n - (sum / n) * (sum / n));
    let expected = exact_moments(&whole).variance;
    assert!(relative(one_pass, expected) > 1e-4);
    assert!(relative(moments(&row).variance, expected) < 1e-13);
}

#[test]
fn the_variance_is_divided_by_n() {
    assert_eq!(
        moments(&[1.0, 3.0]),
        Moments {
            mean: 2.0,
            variance: 1.0
        }
    );
    assert_eq!(
        moments(&[5.0]),
        Moments {
            mean: 5.0,
            variance: 0.0
        }
    );
    let nothing = moments(&[]);
    assert!(nothing.mean.is_nan() && nothing.variance.is_nan());
}

#[test]
fn a_normalised_row_is_rounded_once() {
    for (mean, count) in [(0, 1), (0, 144), (50_000, 144), (50_000, 1001)] {
        let (whole, row) = whole_numbers(mean, 1732.0, count);
        let (weight, bias) = (values(2, count), values(3, count));
        let mut found = vec![0.0; count];
        normalize(Isa::best(), &row, 1e-5, &weight, &bias, &mut found).expect("equal lengths");
        let Moments { mean, variance } = exact_moments(&whole);
        for (i, &found) in found.iter().enumerate() {
            let standard = (f64::from(row[i]) - mean) / (variance + 1e-5).sqrt();
            let expected = standard * f64::from(weight[i]) + f64::from(bias[i]);
            let allowed = ROUNDING * expected.abs() + 1e-12;
            assert!(
                (f64::from(found) - expected).abs() <= allowed,
                "{found} {expected}"
            );
        }
    }
}

#[test]
fn rows_that_do_not_fit_each_other_are_refused_by_name() {
    for (place, what) in ["x", "weight", "bias", "out"].into_iter().enumerate() {
        for wrong in [0, 2, 4] {
            let mut lengths = [3; 4];
            lengths[place] = wrong;
            let [x, weight, bias, mut out] = lengths.map(|length| vec![1.0_f32; length]);
            let found = normalize(Isa::best(), &x, 1e-5, &weight, &bias, &mut out);
            let error = match (what, wrong) {
                ("x", 0) => ShapeError {
                    what,
                    expected: vec![Dim::Any("C")],
                    found: vec![0],
                },
                // What is held against another x is the weight.
                ("x", _) => ShapeError {
                    what: "weight",
                    expected: vec![Dim::Is(wrong)],
                    found: vec![3],
                },
                _ => ShapeError {
                    what,
                    expected: vec![Dim::Is(3)],
                    found: vec![wrong],
                },
            };
            assert_eq!(found, Err(error));
            assert_eq!(out, vec![1.0; lengths[3]], "untouched");
        }
    }
}

fn softmaxed(row: &[f32]) -> Vec<f32> {
    let mut row = row.to_vec();
    llorch_numerics::softmax(Isa::best(), &mut row);
    row
}

/// Of a score d under the greatest, the exponential is off by its own unit in the last place (two
/// roundings) and by the rounding of d, which it makes |d| times as large; their sum by the mean of that,
/// weighted with the probabilities; the quotient is rounded once.
fn check_softmax(row: &[f32]) -> Result<(), String> {
    let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let distances: Vec<f64> = row.iter().map(|&x| f64::from(x) - max).collect();
    let powers: Vec<f64> = distances.iter().map(|d| d.exp()).collect();
    let sum: f64 = powers.iter().sum();
    // A masked score has no power, hence no error.
    let of_power = |i: usize| {
        if powers[i] > 0.0 {
            2.0 + distances[i].abs()
        } else {
            0.0
        }
    };
    let of_sum = (0..row.len())
        .map(|i| powers[i] / sum * of_power(i))
        .sum::<f64>();
    for (i, found) in softmaxed(row).into_iter().enumerate() {
        let expected = powers[i] / sum;
        let roundings = of_power(i) + of_sum + 1.0;
        // Below the smallest normal number a unit is absolute: one, and half of one for the quotient.
        let allowed = 1.01 * roundings * ROUNDING * expected + 1.5 * f64::from(f32::from_bits(1));
        if (f64::from(found) - expected).abs() > allowed {
            return Err(format!("{i}: expected {expected:e}, found {found:e}"));
        }
    }
    Ok(())
}

#[test]
fn large_scores_do_not_overflow() {
    for offset in [1e4, -1e4, 3e38, -3e38] {
        let row: Vec<f32> = [0.0, 1.0, -3.0, 0.5].iter().map(|x| x + offset).collect();
        assert_eq!(check_softmax(&row), Ok(()));
    }
    assert_eq!(softmaxed(&[1e4, -1e4]), [1.0, 0.0]);
    assert_eq!(softmaxed(&[f32::MAX, f32::MIN]), [1.0, 0.0]);
}

#[test]
fn a_masked_score_is_exactly_zero_and_changes_nothing_else() {
    let masked = f32::NEG_INFINITY;
    let found = softmaxed(&[masked, 2.0, masked, 1.0]);
    assert_eq!([found[0].to_bits(), found[2].to_bits()], [0, 0]);
    assert_eq!(check_softmax(&[masked, 2.0, masked, 1.0]), Ok(()));
    assert_eq!(softmaxed(&[-1e4, masked]), [1.0, 0.0]);
}

#[test]
fn rows_without_a_softmax_are_nan_throughout_and_never_a_number() {
    let inf = f32::INFINITY;
    for row in [
        &[-inf][..],
        &[-inf; 17],
        &[1.0, f32::NAN, 2.0],
        &[inf, 1.0],
        &[f32::NAN],
    ] {
        assert!(softmaxed(row).iter().all(|x| x.is_nan()), "{row:?}");
    }
}

#[test]
fn one_score_has_all_of_it_and_no_score_is_no_panic() {
    for score in [0.0, -0.0, 1e4, -1e4, f32::MAX, f32::MIN] {
        assert_eq!(softmaxed(&[score]), [1.0]);
    }
    assert!(softmaxed(&[]).is_empty());
}

fn scores() -> impl Strategy<Value = Vec<f32>> {
    let score = prop_oneof![8 => -30.0..30.0_f32, 1 => -1e4..1e4_f32, 1 => Just(f32::NEG_INFINITY)];
    prop::collection::vec(score, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn softmax_is_right_and_sums_to_one(mut row in scores(), finite in -30.0..30.0_f32) {
        row[0] = finite;
        prop_assert_eq!(check_softmax(&row), Ok(()));
        let sum: f64 = softmaxed(&row).iter().map(|&x| f64::from(x)).sum();
        // Each term is rounded once after the division; together they are one.
        prop_assert!((sum - 1.0).abs() <= 1.01 * ROUNDING, "{sum}");
    }

    /// Whole numbers stay exact when they are moved, so nothing but the maximum can tell.
    #[test]
    fn softmax_does_not_see_a_shift(
        row in prop::collection::vec(-40..40_i16, 1..100),
        shift in -10_000..10_000_i16,
    ) {
        let [here, there] = [0, shift].map(|shift| -> Vec<f32> {
            softmaxed(&row.iter().map(|&x| f32::from(x) + f32::from(shift)).collect::<Vec<_>>())
        });
        prop_assert_eq!(bits(&here), bits(&there));
    }

    #[test]
    fn a_normalised_row_has_mean_zero_and_variance_one(
        row in prop::collection::vec(-1000.0..1000.0_f32, 2..300),
    ) {
        prop_assume!(moments(&row).variance > 1.0);
        let (weight, bias) = (vec![1.0; row.len()], vec![0.0; row.len()]);
        let mut out = vec![0.0; row.len()];
        normalize(Isa::best(), &row, 0.0, &weight, &bias, &mut out).expect("equal lengths");
        let Moments { mean, variance } = moments(&out);
        prop_assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-6, "{mean} {variance}");
    }
}
