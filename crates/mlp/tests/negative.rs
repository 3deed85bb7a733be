//! Each test changes one thing of the right layer, and the judge must say so for the right reason.

mod common;

use common::{Parts, SITES, judge};
use llorch_fixtures::{assert_pass, assert_shape_fails, assert_values_fail, first_failure};
use llorch_mlp::{Activation, Error, Mlp};
use llorch_numerics::{Cpu, Isa, PackedMatrix};
use llorch_parity::{Failure, Judgement};
use ndarray::{Array1, Array2, Array3, ArrayD, ArrayView3, s};

const CASES: [&str; 2] = ["batch", "chunks"];

/// The right parts but for one change.
fn judge_changed(change: impl Fn(&mut Parts)) -> Judgement {
    judge(&CASES, &SITES, |parts, x| {
        let mut parts = parts.clone();
        change(&mut parts);
        parts.forward(x)
    })
}

#[test]
fn nothing_changed_passes() {
    assert_pass(&judge_changed(|_| ()));
}

#[test]
fn the_erf_form_of_gelu_fails_at_the_activation() {
    let judgement = judge_changed(|parts| parts.activation = Activation::GeluErf);
    assert_values_fail(&judgement, "mlp.act");
}

#[test]
fn relu_fails_at_the_activation() {
    let judgement = judge_changed(|parts| parts.activation = Activation::Relu);
    assert_values_fail(&judgement, "mlp.act");
}

#[test]
fn a_zeroed_c_fc_bias_fails() {
    assert_values_fail(&judge_changed(|parts| parts.fc_bias.fill(0.0)), "mlp.fc");
}

#[test]
fn a_zeroed_c_proj_bias_fails_at_the_output() {
    assert_values_fail(&judge_changed(|parts| parts.proj_bias.fill(0.0)), "mlp.out");
}

#[test]
fn c_fc_weights_1_percent_too_large_fail() {
    assert_values_fail(&judge_changed(|parts| parts.fc *= 1.01), "mlp.fc");
}

#[test]
fn c_proj_weights_1_percent_too_large_fail_at_the_output() {
    assert_values_fail(&judge_changed(|parts| parts.proj *= 1.01), "mlp.out");
}

#[test]
fn weights_5_millionths_too_large_pass_the_tolerance_and_fail_by_the_budget() {
    let judgement = judge_changed(|parts| parts.fc *= 1.000_005);
    let first = first_failure(&judgement);
    assert!(matches!(first, Failure::Budget { .. }), "{first}");
}

/// [C, I] is refused; read as [I, C] it has the right shape and the wrong numbers.
#[test]
fn a_transposed_c_proj_fails_at_the_output() {
    let judgement = judge_changed(|parts| {
        let shape = parts.proj.dim();
        let transposed = parts.proj.t();
        let refused = Mlp::new(
            parts.fc.view(),
            parts.fc_bias.view(),
            transposed,
            parts.proj_bias.view(),
            parts.activation,
        );
        let refused = refused.expect_err("[C, I]");
        assert!(matches!(refused, Error::Shape(_)), "{refused}");
        let transposed = transposed.as_standard_layout().into_owned();
        parts.proj = transposed.into_shape_with_order(shape).expect("as many");
    });
    assert_values_fail(&judgement, "mlp.out");
}

#[test]
fn a_transposed_c_fc_fails() {
    let judgement = judge_changed(|parts| {
        let shape = parts.fc.dim();
        let transposed = parts.fc.t().as_standard_layout().into_owned();
        parts.fc = transposed.into_shape_with_order(shape).expect("as many");
    });
    assert_values_fail(&judgement, "mlp.fc");
}

/// A layer that expands to 2 C or 3 C works, and is not GPT-2's.
#[test]
fn a_wrong_expansion_fails_by_the_shape() {
    for expansion in [2, 3] {
        let judgement = judge_changed(|parts| {
            let inner = expansion * parts.fc.nrows();
            parts.fc = parts.fc.slice(s![.., ..inner]).to_owned();
            parts.fc_bias = parts.fc_bias.slice(s![..inner]).to_owned();
            parts.proj = parts.proj.slice(s![..inner, ..]).to_owned();
        });
        assert_shape_fails(&judgement, &[3, 11, 576], &[3, 11, expansion * 144]);
    }
}

/// x @ weight + bias.
fn linear(x: &Array3<f32>, weight: &Array2<f32>, bias: &Array1<f32>) -> Array3<f32> {
    let weight = PackedMatrix::from_in_out(&Cpu::default(), weight.view()).expect("a matrix");
    weight
        .multiply(&Cpu::default(), x.view(), Some(bias.view()), None)
        .expect("a product")
}

fn activate(mut x: Array3<f32>) -> Array3<f32> {
    let values = x.as_slice_mut().expect("standard layout");
    Activation::GeluTanh.apply(Isa::best(), values);
    x
}

/// The layer put together by hand; one that activates elsewhere has no `act` to judge.
fn by_hand(
    inside: fn(Array3<f32>) -> Array3<f32>,
    behind: fn(Array3<f32>) -> Array3<f32>,
) -> Judgement {
    let ours = |parts: &Parts, x: ArrayView3<f32>| -> Vec<(&'static str, ArrayD<f32>)> {
        let fc = linear(&x.to_owned(), &parts.fc, &parts.fc_bias);
        let out = linear(&inside(fc.clone()), &parts.proj, &parts.proj_bias);
        vec![
            ("mlp.fc", fc.into_dyn()),
            ("mlp.out", behind(out).into_dyn()),
        ]
    };
    judge(&CASES, &["mlp.fc", "mlp.out"], ours)
}

#[test]
fn an_activation_behind_c_proj_fails_at_the_output() {
    assert_pass(&by_hand(activate, |out| out));
    assert_values_fail(&by_hand(|fc| fc, activate), "mlp.out");
}

#[test]
fn a_second_activation_behind_c_proj_fails_at_the_output() {
    assert_values_fail(&by_hand(activate, activate), "mlp.out");
}

#[test]
fn no_activation_fails_at_the_output() {
    assert_values_fail(&by_hand(|fc| fc, |out| out), "mlp.out");
}
