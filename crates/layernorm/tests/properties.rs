//! What holds for any rows, and what is refused.

mod common;

use common::{Parts, formula, moments};
use llorch_fixtures::{of_cases, shape_error};
use llorch_layernorm::{Error, LayerNorm};
use llorch_numerics::Dim;
use ndarray::{Array1, Array3, ArrayView1};
use proptest::prelude::*;

/// The largest relative error of rounding to float32.
const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

/// One row, [1, 1, C].
fn row() -> impl Strategy<Value = Array3<f32>> {
    let length = 2usize..200;
    let scale = prop::sample::select(vec![1e-3f32, 0.1, 1.0, 100.0]);
    (length, scale).prop_flat_map(|(length, scale)| {
        prop::collection::vec(-1.0f32..1.0, length).prop_map(move |values| {
            let row: Array1<f32> = values.iter().map(|x| x * scale).collect();
            row.into_shape_with_order((1, 1, length)).expect("one row")
        })
    })
}

fn only_row(x: &Array3<f32>) -> ArrayView1<'_, f32> {
    x.slice(ndarray::s![0, 0, ..])
}

proptest! {
    #![proptest_config(of_cases(64))]

    /// |y| has RMS at most 1, so rounding moves the mean by at most `ROUNDING` and the variance by twice that.
    #[test]
    fn without_weight_and_bias_a_row_has_mean_0_and_variance_1(x in row(), epsilon in 1e-12..1e-3) {
        let y = Parts::plain(x.len(), epsilon).forward(x.view());
        let (_, before) = moments(only_row(&x));
        let (mean, after) = moments(only_row(&y));
        prop_assert!(mean.abs() <= 1.01 * ROUNDING, "mean {mean:e}");
        let expected = before / (before + epsilon);
        prop_assert!((after - expected).abs() <= 2.01 * ROUNDING, "variance {after}, not {expected}");
    }

    /// The shifted row is rounded by at most `moved` an element. That moves a distance from the mean by at
    /// most twice as much and the root by at most as much; the two outputs are rounded besides.
    #[test]
    fn a_shift_of_the_whole_row_changes_nothing(x in row(), shift in -50.0f32..50.0) {
        let parts = Parts::plain(x.len(), 1e-5);
        let shifted = &x + shift;
        let (y, y_shifted) = (parts.forward(x.view()), parts.forward(shifted.view()));
        let moved = ROUNDING * shifted.iter().fold(0.0, |most: f64, &x| most.max(f64::from(x).abs()));
        let (_, variance) = moments(only_row(&shifted));
        let root = (variance + parts.epsilon).sqrt();
        for (&a, &b) in y.iter().zip(&y_shifted) {
            let (a, b) = (f64::from(a), f64::from(b));
            let bound = (2.0 + a.abs()) * moved / root + ROUNDING * (a.abs() + b.abs());
            prop_assert!((a - b).abs() <= 1.001 * bound + 1e-12, "{a} and {b}, bound {bound:e}");
        }
    }

    /// Float64 statistics in another order of summation, rounded once: half a unit in the last place and
    /// what float64 loses.
    #[test]
    fn a_row_far_from_zero_is_as_exact_as_any_other(x in row(), ratio in 40.0f32..60.0) {
        let (_, variance) = moments(only_row(&x));
        let far = &x + ratio * variance.sqrt() as f32;
        let parts = Parts::plain(x.len(), 1e-5);
        let y = parts.forward(far.view());
        for (&y, expected) in y.iter().zip(formula(&parts, far.view(), moments)) {
            let bound = ROUNDING * expected.abs() + 1e-11;
            prop_assert!((f64::from(y) - expected).abs() <= bound, "{y}, not {expected}");
        }
    }

    #[test]
    fn weight_and_bias_of_unequal_lengths_are_refused(weight in 1usize..20, bias in 0usize..20) {
        prop_assume!(weight != bias);
        let refused = build(weight, bias, 1e-5).expect_err("unequal lengths");
        prop_assert_eq!(refused, Error::Shape(shape_error("bias", &[Dim::Is(weight)], &[bias])));
    }

    #[test]
    fn an_input_of_another_shape_is_refused(
        channels in 1usize..20,
        found in (0usize..3, 0usize..3, 0usize..20),
    ) {
        let (batch, tokens, width) = found;
        prop_assume!(batch == 0 || tokens == 0 || width != channels);
        let norm = build(channels, channels, 1e-5).expect("a normalisation");
        let refused = norm.forward(Array3::zeros(found).view()).expect_err("another shape");
        let expected = [Dim::Any("B"), Dim::Any("T"), Dim::Is(channels)];
        prop_assert_eq!(refused, Error::Shape(shape_error("x", &expected, &[batch, tokens, width])));
    }
}

fn build(weight: usize, bias: usize, epsilon: f64) -> Result<LayerNorm, Error> {
    LayerNorm::new(
        Array1::ones(weight).view(),
        Array1::zeros(bias).view(),
        epsilon,
    )
}

/// Shows that rows far from zero are a test at all: in one pass in float32 they lose their variance.
#[test]
fn one_pass_in_float32_would_miss_the_tolerance_on_real_rows_50_deviations_from_zero() {
    let fixture = llorch_fixtures::tiny();
    let channels = fixture.config.n_embd();
    let parts = Parts::plain(channels, fixture.config.layer_norm_epsilon());
    let real = fixture.case("multibyte").block_input(0, 1);
    let far = parts.forward(real.view()) + 50.0;
    let truth = formula(&parts, far.view(), moments);
    let worst = |y: &Array3<f64>| {
        let differences = y.iter().zip(&truth).map(|(y, truth)| (y - truth).abs());
        differences.fold(0.0, f64::max)
    };
    let one_pass = |row: ArrayView1<f32>| {
        let n = row.len() as f32;
        let mean = row.sum() / n;
        let square = row.iter().map(|x| x * x).sum::<f32>() / n;
        (f64::from(mean), f64::from(square - mean * mean))
    };
    let ours = worst(&parts.forward(far.view()).mapv(f64::from));
    let naive = worst(&formula(&parts, far.view(), one_pass));
    assert!(ours < 1e-6, "ours is off by {ours:e}");
    assert!(naive > 1e-4, "one pass is off by {naive:e} only");
}

/// Each size of x too small, too large or zero, and no chance about it.
#[test]
fn every_wrong_size_of_an_input_is_refused() {
    let norm = build(4, 4, 1e-5).expect("a normalisation");
    for found in [[0, 1, 4], [1, 0, 4], [1, 1, 0], [1, 1, 3], [1, 1, 5]] {
        let refused = norm
            .forward(Array3::zeros(found).view())
            .expect_err("a wrong size");
        let expected = [Dim::Any("B"), Dim::Any("T"), Dim::Is(4)];
        assert_eq!(refused, Error::Shape(shape_error("x", &expected, &found)));
    }
}

#[test]
fn no_channels_and_a_bias_of_another_length_are_refused() {
    let refused = build(0, 0, 1e-5).expect_err("no channels");
    assert_eq!(
        refused,
        Error::Shape(shape_error("weight", &[Dim::Any("C")], &[0]))
    );
    assert_eq!(refused.to_string(), "weight: expected shape [C], found [0]");
    for bias in [0, 3, 5] {
        let refused = build(4, bias, 1e-5).expect_err("another length");
        assert_eq!(
            refused,
            Error::Shape(shape_error("bias", &[Dim::Is(4)], &[bias]))
        );
    }
}

#[test]
fn an_epsilon_that_is_not_finite_or_not_positive_is_refused() {
    let wrong = [0.0, -0.0, -1e-5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    for epsilon in wrong {
        let refused = build(4, 4, epsilon).expect_err("no epsilon");
        let Error::Epsilon { found } = refused else {
            panic!("{epsilon}: {refused}");
        };
        assert_eq!(found.to_bits(), epsilon.to_bits());
    }
    let refused = build(4, 4, -1.0).expect_err("no epsilon");
    assert_eq!(
        refused.to_string(),
        "epsilon: expected a finite number above 0, found -1"
    );
}
