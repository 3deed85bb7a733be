//! The activations and the exponential against float64.

mod common;

use common::ROUNDING;
use llorch_numerics::{Activation, Isa, exp};
use proptest::prelude::*;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

const ALL: [Activation; 3] = [Activation::GeluTanh, Activation::GeluErf, Activation::Relu];

fn applied(activation: Activation, x: f32) -> f32 {
    let mut values = [x];
    activation.apply(Isa::best(), &mut values);
    values[0]
}

/// -12 to 12 in steps that no float32 hits twice.
fn inputs() -> impl Iterator<Item = f32> {
    (-12_000..=12_000).map(|i| i as f32 * 1e-3)
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

/// What float32 may lose in x / (1 + E), E = exp(a), a = -2 sqrt(2/pi) (x + 0.044715 x^3), in roundings: a
/// takes six (two of x^3, two constants, the sum, the product), which E makes |a| times as large; E itself
/// a unit in the last place, two roundings; both count for E's share of 1 + E. The sum and the quotient
/// take one each. 1e-15 is for the reference's own cancellation where it comes close to 0.
#[test]
fn the_tanh_form_loses_what_its_roundings_may() {
    for x in inputs() {
        let wide = f64::from(x);
        let power = -2.0 * (2.0 / PI).sqrt() * (wide + 0.044715 * wide.powi(3));
        let share = 1.0 / (1.0 + (-power).exp());
        let roundings = (6.0 * power.abs() + 2.0) * share + 2.0;
        let expected = tanh_form(wide);
        let allowed = 1.01 * roundings * ROUNDING * expected.abs() + 1e-15 * wide.abs();
        let found = applied(Activation::GeluTanh, x);
        assert!(
            (f64::from(found) - expected).abs() <= allowed,
            "{x}: {found:e}, not {expected:e}"
        );
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
        let found = applied(Activation::GeluErf, x);
        assert!(
            (f64::from(found) - expected).abs() <= allowed,
            "{x}: {found}, not {expected}"
        );
    }
}

/// Their distance is why one cannot stand in for the other: 4.7e-4 near |x| = 2.7, over the tolerance 1e-4.
#[test]
fn the_two_forms_of_gelu_differ_most_near_2_7() {
    let distance =
        |x: &f32| (applied(Activation::GeluTanh, *x) - applied(Activation::GeluErf, *x)).abs();
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
    for gelu in [Activation::GeluTanh, Activation::GeluErf] {
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
    Activation::Relu.apply(Isa::best(), &mut values);
    assert_eq!(values, [0.0, 0.0, 0.0, 1e-30, 2.5, 0.0, f32::INFINITY]);
}

#[test]
fn nan_stays_nan_and_stays_in_its_place() {
    for activation in ALL {
        let mut values = [1.0, f32::NAN, 2.0];
        activation.apply(Isa::best(), &mut values);
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
    fn exp_is_within_a_unit_in_the_last_place(x in -87.0..88.0_f32) {
        let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
        let below = expected as f32;
        let unit = f64::from(below.next_up()) - f64::from(below);
        prop_assert!((found - expected).abs() < unit, "{found} {expected}");
    }

    #[test]
    fn the_place_in_a_row_does_not_matter(row in prop::collection::vec(-9.0..9.0_f32, 1..70)) {
        for activation in ALL {
            let mut together = row.clone();
            activation.apply(Isa::best(), &mut together);
            for (found, &x) in together.iter().zip(&row) {
                prop_assert_eq!(found.to_bits(), applied(activation, x).to_bits());
            }
        }
    }
}
