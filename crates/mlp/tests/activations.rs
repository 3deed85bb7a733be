//! The activations against their formulas in float64.

mod common;

use common::Sites;
use llorch_mlp::{Activation, Mlp};
use ndarray::{Array1, array};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

/// x from -12 to 12; every one is exact in float32.
fn grid() -> Array1<f32> {
    (-12 * 512..=12 * 512).map(|i| i as f32 / 512.0).collect()
}

/// What the layer makes of every x between its two products, the first being a product with 1.
fn activate(activation: Activation, x: &Array1<f32>) -> Vec<f32> {
    let (one, zero) = (array![[1.0]], array![0.0]);
    let mlp = Mlp::new(one.view(), zero.view(), one.view(), zero.view(), activation);
    let mut sites = Sites::default();
    let x = x.to_shape((1, x.len(), 1)).expect("[1, T, 1]");
    let run = mlp.and_then(|mlp| mlp.forward(x.view(), &mut sites));
    run.expect("an output");
    sites.take("act").iter().copied().collect()
}

/// So many roundings of half a unit in the last place, and what the formula itself loses in float64 where
/// its bracket of size 1 cancels.
#[track_caller]
fn assert_rounded(activation: Activation, formula: fn(f64) -> f64, roundings: impl Fn(f64) -> f64) {
    let grid = grid();
    for (&x, y) in grid.iter().zip(activate(activation, &grid)) {
        let x = f64::from(x);
        let expected = formula(x);
        let unit = expected.abs() * f64::from(f32::EPSILON) / 2.0;
        let bound = roundings(x) * unit + 4.0 * x.abs() * f64::EPSILON;
        let off = (f64::from(y) - expected).abs();
        assert!(
            off <= bound,
            "{activation:?}({x}) = {y:e}, not {expected:e}"
        );
    }
}

fn tanh_form(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

fn erf_form(x: f64) -> f64 {
    let z = x.abs() * FRAC_1_SQRT_2;
    let above = if z < 2.0 { 1.0 - erf(z) } else { erfc(z) };
    0.5 * x * if x < 0.0 { above } else { 2.0 - above }
}

/// The series whose terms have one sign, for small z (Abramowitz and Stegun, 7.1.6).
fn erf(z: f64) -> f64 {
    let terms = (1..100).scan(z, |term, n| {
        *term *= 2.0 * z * z / f64::from(2 * n + 1);
        Some(*term)
    });
    FRAC_2_SQRT_PI * (-z * z).exp() * (z + terms.sum::<f64>())
}

/// The continued fraction for large z (Abramowitz and Stegun, 7.1.14).
fn erfc(z: f64) -> f64 {
    let fraction = (1..100)
        .rev()
        .fold(z, |below, n| z + 0.5 * f64::from(n) / below);
    0.5 * FRAC_2_SQRT_PI * (-z * z).exp() / fraction
}

/// It is x / (1 + E), E = exp(a), a = -2 sqrt(2/pi) (x + 0.044715 x^3), in float32. a takes six roundings
/// (two of x^3, two constants, the sum, the product), which E makes |a| times as large; E itself is within a
/// unit, two roundings; both count for E's share of 1 + E. The sum and the quotient are rounded once each.
#[test]
fn the_tanh_form_of_gelu_is_its_formula_but_for_its_roundings() {
    let roundings = |x: f64| {
        let power = -2.0 * (2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3));
        let share = 1.0 / (1.0 + (-power).exp());
        1.01 * ((6.0 * power.abs() + 2.0) * share + 2.0)
    };
    assert_rounded(Activation::GeluTanh, tanh_form, roundings);
}

#[test]
fn the_erf_form_of_gelu_is_its_formula_rounded_once() {
    assert_rounded(Activation::GeluErf, erf_form, |_| 1.0);
}

/// 1 + erf would be 0 there; the value is small and has all its digits.
#[test]
fn the_erf_form_keeps_its_digits_far_below_zero() {
    let x: Array1<f32> = grid().iter().copied().filter(|&x| x < -4.0).collect();
    for (&x, y) in x.iter().zip(activate(Activation::GeluErf, &x)) {
        let expected = erf_form(f64::from(x));
        let off = (f64::from(y) / expected - 1.0).abs();
        assert!(
            off <= f64::from(f32::EPSILON),
            "gelu({x}) = {y:e}, not {expected:e}"
        );
    }
}

#[test]
fn relu_is_its_formula() {
    assert_rounded(Activation::Relu, |x| x.max(0.0), |_| 0.0);
}

#[test]
fn the_two_forms_of_gelu_differ_most_near_2_7_by_4_7e_4() {
    let x = grid();
    let [tanh, erf] = [Activation::GeluTanh, Activation::GeluErf].map(|form| activate(form, &x));
    let differences = x
        .iter()
        .zip(tanh.iter().zip(&erf))
        .map(|(&x, (a, b))| ((a - b).abs(), x));
    let (most, place) = differences.fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a });
    assert!((4.65e-4..4.75e-4).contains(&most), "{most:e}");
    assert!((2.6..2.8).contains(&place.abs()), "at {place}");
}

/// Far out GELU is x or 0, and nothing on the way overflows.
#[test]
fn the_ends_are_finite() {
    let x = array![f32::MAX, 1e20, 100.0, 0.0, -100.0, -1e20, f32::MIN];
    for activation in [Activation::GeluTanh, Activation::GeluErf, Activation::Relu] {
        let y = activate(activation, &x);
        assert_eq!(
            y,
            [f32::MAX, 1e20, 100.0, 0.0, 0.0, 0.0, 0.0],
            "{activation:?}"
        );
    }
}

#[test]
fn nan_stays_nan() {
    for activation in [Activation::GeluTanh, Activation::GeluErf, Activation::Relu] {
        let y = activate(activation, &array![f32::NAN]);
        assert!(y[0].is_nan(), "{activation:?} gave {}", y[0]);
    }
}
