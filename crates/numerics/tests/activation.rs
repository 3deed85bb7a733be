//! The activations and the exponential against float64.

mod common;

use common::ROUNDING;
use llorch_numerics::{exp, gelu_erf, gelu_tanh, relu};
use proptest::prelude::*;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

fn applied(activation: fn(&mut [f32]), x: f32) -> f32 {
    let mut values = [x];
    activation(&mut values);
    values[0]
}

/// -12 to 12 in steps that no float32 hits twice.
fn inputs() -> impl Iterator<Item = f32> {
    (-12_000..=12_000).map(|i| i as f32 * 1e-3)
}

/// One rounding; 1e-15 for the reference's own cancellation where it comes close to 0.
#[track_caller]
fn assert_rounded_once(found: f32, expected: f64, x: f32) {
    let allowed = 1.01 * ROUNDING * expected.abs() + 1e-15 * f64::from(x).abs() + 1e-16;
    assert!(
        (f64::from(found) - expected).abs() <= allowed,
        "{x}: {found:e}, not {expected:e}"
    );
}

/// The formula as Hugging Face's NewGELUActivation writes it.
fn tanh_form(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

/// 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x, by Simpson's rule.
fn erf(x: f64) -> f64 {
    const STEPS: usize = 2000;
    let h = x / STEPS as f64;
    let term = |i: usize| {
        let weight = match i {
            0 | STEPS => 1.0,
            i if i % 2 == 1 => 4.0,
            _ => 2.0,
        };
        weight * (-(i as f64 * h).powi(2)).exp()
    };
    FRAC_2_SQRT_PI * h / 3.0 * (0..=STEPS).map(term).sum::<f64>()
}

#[test]
fn the_tanh_form_is_rounded_once() {
    for x in inputs() {
        assert_rounded_once(applied(gelu_tanh, x), tanh_form(x.into()), x);
    }
}

/// Digits of erf from Abramowitz and Stegun, table 7.1: the reference itself is checked, then used.
#[test]
fn the_exact_form_is_the_normal_distribution() {
    let table = [
        (0.5, 0.520_499_877_8),
        (1.0, 0.842_700_792_9),
        (2.0, 0.995_322_265_0),
    ];
    for (x, digits) in table {
        assert!((erf(x) - digits).abs() < 1e-10, "{x}");
    }
    for x in inputs().step_by(40).filter(|x| x.abs() <= 8.0) {
        let expected = 0.5 * f64::from(x) * (1.0 + erf(f64::from(x) * FRAC_1_SQRT_2));
        let allowed = 1.01 * ROUNDING * expected.abs() + 1e-11;
        let found = applied(gelu_erf, x);
        assert!(
            (f64::from(found) - expected).abs() <= allowed,
            "{x}: {found}, not {expected}"
        );
    }
}

/// Their distance is why one cannot stand in for the other: 4.7e-4 near |x| = 2.7, over the tolerance 1e-4.
#[test]
fn the_two_forms_of_gelu_differ_most_near_2_7() {
    let distance = |x: &f32| (applied(gelu_tanh, *x) - applied(gelu_erf, *x)).abs();
    let most = inputs()
        .max_by(|a, b| distance(a).total_cmp(&distance(b)))
        .expect("inputs");
    assert!((2.5..2.9).contains(&most.abs()), "{most}");
    assert!(
        (4.5e-4..4.9e-4).contains(&distance(&most)),
        "{}",
        distance(&most)
    );
}

#[test]
fn gelu_keeps_its_ends() {
    for gelu in [gelu_tanh, gelu_erf] {
        for x in [30.0, 1e4, f32::MAX, f32::INFINITY] {
            assert_eq!(applied(gelu, x), x);
            if x.is_finite() {
                assert_eq!(applied(gelu, -x), 0.0);
            }
        }
        assert_eq!(applied(gelu, 0.0).to_bits(), 0);
    }
}

#[test]
fn relu_cuts_what_is_below_zero() {
    let mut values = [
        -1.0,
        -f32::MIN_POSITIVE,
        0.0,
        1e-30,
        2.5,
        f32::NEG_INFINITY,
        f32::INFINITY,
    ];
    relu(&mut values);
    assert_eq!(values, [0.0, 0.0, 0.0, 1e-30, 2.5, 0.0, f32::INFINITY]);
}

#[test]
fn nan_stays_nan_and_stays_in_its_place() {
    for activation in [gelu_tanh, gelu_erf, relu] {
        let mut values = [1.0, f32::NAN, 2.0];
        activation(&mut values);
        assert!(values[1].is_nan());
        for (place, x) in [(0, 1.0), (2, 2.0)] {
            assert_eq!(values[place].to_bits(), applied(activation, x).to_bits());
        }
    }
    assert!(exp(f32::NAN).is_nan());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exp_is_rounded_once(x in -87.0..88.0_f32) {
        let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
        prop_assert!((found - expected).abs() <= 1.01 * ROUNDING * expected, "{found} {expected}");
    }

    #[test]
    fn the_place_in_a_row_does_not_matter(row in prop::collection::vec(-9.0..9.0_f32, 1..70)) {
        for activation in [gelu_tanh, gelu_erf, relu] {
            let mut together = row.clone();
            activation(&mut together);
            for (found, &x) in together.iter().zip(&row) {
                prop_assert_eq!(found.to_bits(), applied(activation, x).to_bits());
            }
        }
    }
}
