//! What holds at any size, and what is refused.

mod common;

use common::Parts;
use llorch_fixtures::{integers, of_cases, shape_error};
use llorch_mlp::{Activation, Error, Mlp};
use llorch_numerics::Dim;
use llorch_parity::{Mismatch, Reference, Rule, Tensor, compare};
use ndarray::{Array1, Array2, Array3, s};
use proptest::prelude::*;

proptest! {
    #![proptest_config(of_cases(64))]

    /// The definition, element by element, with an activation that keeps integers integers.
    #[test]
    fn integers_come_out_exactly(
        [batch, tokens] in [1usize..4, 1usize..8],
        [channels, inner] in [1usize..40, 1usize..70],
        seed in any::<u32>(),
    ) {
        let mut next = integers(seed);
        let parts = Parts {
            fc: Array2::from_shape_simple_fn((channels, inner), &mut next),
            fc_bias: Array1::from_shape_simple_fn(inner, &mut next),
            proj: Array2::from_shape_simple_fn((inner, channels), &mut next),
            proj_bias: Array1::from_shape_simple_fn(channels, &mut next),
            activation: Activation::Relu,
        };
        let x = Array3::from_shape_simple_fn((batch, tokens, channels), &mut next);
        let inside = Array3::from_shape_fn((batch, tokens, inner), |(b, t, i)| {
            let products = (0..channels).map(|c| x[[b, t, c]] * parts.fc[[c, i]]);
            (products.sum::<f32>() + parts.fc_bias[i]).max(0.0)
        });
        let expected = Array3::from_shape_fn((batch, tokens, channels), |(b, t, c)| {
            let products = (0..inner).map(|i| inside[[b, t, i]] * parts.proj[[i, c]]);
            products.sum::<f32>() + parts.proj_bias[c]
        });
        let found = parts.build().forward(x.view(), &mut ()).expect("an output");
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_c_fc_without_rows_or_columns_is_refused(size in 0usize..20, rows in any::<bool>()) {
        let fc = if rows { [size, 0] } else { [0, size] };
        let refused = build(fc, 1, [1, 1], 1).expect_err("nothing");
        prop_assert_eq!(refused, Error::Shape(shape_error("c_fc weight", &[Dim::Any("C"), Dim::Any("I")], &fc)));
    }

    #[test]
    fn a_c_fc_bias_of_another_length_is_refused(fc in size2(), length in 0usize..20) {
        let [channels, inner] = fc;
        prop_assume!(length != inner);
        let refused = build(fc, length, [inner, channels], channels).expect_err("another length");
        prop_assert_eq!(refused, Error::Shape(shape_error("c_fc bias", &[Dim::Is(inner)], &[length])));
    }

    #[test]
    fn a_c_proj_of_another_shape_is_refused(fc in size2(), proj in [0usize..20, 0usize..20]) {
        let [channels, inner] = fc;
        prop_assume!(proj != [inner, channels]);
        let refused = build(fc, inner, proj, channels).expect_err("another shape");
        let expected = [Dim::Is(inner), Dim::Is(channels)];
        prop_assert_eq!(refused, Error::Shape(shape_error("c_proj weight", &expected, &proj)));
    }

    #[test]
    fn a_c_proj_bias_of_another_length_is_refused(fc in size2(), length in 0usize..20) {
        let [channels, inner] = fc;
        prop_assume!(length != channels);
        let refused = build(fc, inner, [inner, channels], length).expect_err("another length");
        prop_assert_eq!(refused, Error::Shape(shape_error("c_proj bias", &[Dim::Is(channels)], &[length])));
    }

    #[test]
    fn an_input_of_another_shape_is_refused(
        fc in size2(),
        found in (0usize..3, 0usize..3, 0usize..20),
    ) {
        let [channels, inner] = fc;
        let (batch, tokens, width) = found;
        prop_assume!(batch == 0 || tokens == 0 || width != channels);
        let mlp = build(fc, inner, [inner, channels], channels).expect("a layer");
        let refused = mlp.forward(Array3::zeros(found).view(), &mut ());
        let expected = [Dim::Any("B"), Dim::Any("T"), Dim::Is(channels)];
        let refused = refused.expect_err("another shape");
        prop_assert_eq!(refused, Error::Shape(shape_error("x", &expected, &[batch, tokens, width])));
    }
}

/// C and I.
fn size2() -> impl Strategy<Value = [usize; 2]> {
    [1usize..20, 1usize..20]
}

fn build(fc: [usize; 2], fc_bias: usize, proj: [usize; 2], proj_bias: usize) -> Result<Mlp, Error> {
    Mlp::new(
        Array2::zeros(fc).view(),
        Array1::zeros(fc_bias).view(),
        Array2::zeros(proj).view(),
        Array1::zeros(proj_bias).view(),
        Activation::GeluTanh,
    )
}

/// Each size of x too small, too large or zero, and no chance about it.
#[test]
fn every_wrong_size_of_an_input_is_refused() {
    let mlp = build([4, 8], 8, [8, 4], 4).expect("a layer");
    for found in [[0, 1, 4], [1, 0, 4], [1, 1, 0], [1, 1, 3], [1, 1, 5]] {
        let refused = mlp
            .forward(Array3::zeros(found).view(), &mut ())
            .expect_err("a wrong size");
        let expected = [Dim::Any("B"), Dim::Any("T"), Dim::Is(4)];
        assert_eq!(refused, Error::Shape(shape_error("x", &expected, &found)));
    }
}

#[test]
fn errors_name_what_was_expected_and_what_was_found() {
    let messages = [
        (
            build([0, 8], 8, [8, 4], 4),
            "c_fc weight: expected shape [C, I], found [0, 8]",
        ),
        (
            build([4, 0], 8, [8, 4], 4),
            "c_fc weight: expected shape [C, I], found [4, 0]",
        ),
        (
            build([4, 8], 0, [8, 4], 4),
            "c_fc bias: expected shape [8], found [0]",
        ),
        (
            build([4, 8], 9, [8, 4], 4),
            "c_fc bias: expected shape [8], found [9]",
        ),
        (
            build([4, 8], 8, [4, 8], 4),
            "c_proj weight: expected shape [8, 4], found [4, 8]",
        ),
        (
            build([4, 8], 8, [0, 4], 4),
            "c_proj weight: expected shape [8, 4], found [0, 4]",
        ),
        (
            build([4, 8], 8, [8, 0], 4),
            "c_proj weight: expected shape [8, 4], found [8, 0]",
        ),
        (
            build([4, 8], 8, [8, 4], 0),
            "c_proj bias: expected shape [4], found [0]",
        ),
        (
            build([4, 8], 8, [8, 4], 5),
            "c_proj bias: expected shape [4], found [5]",
        ),
    ];
    for (built, message) in messages {
        assert_eq!(built.expect_err(message).to_string(), message);
    }
}

/// x @ weight + bias in float64.
fn linear(x: &Array2<f64>, weight: &Array2<f32>, bias: &Array1<f32>) -> Array2<f64> {
    x.dot(&weight.mapv(f64::from)) + &bias.mapv(f64::from)
}

/// Real weights cut to I = C: c_proj is then square, and a transpose passes every check of shapes. The layer
/// must be told from it by its numbers, here against the formula in float64.
#[test]
fn a_transposed_square_c_proj_has_the_right_shape_and_other_values() {
    let fixture = llorch_fixtures::tiny();
    let mut parts = Parts::of(&fixture, 0);
    let channels = fixture.config.n_embd();
    parts.fc = parts.fc.slice(s![.., ..channels]).to_owned();
    parts.fc_bias = parts.fc_bias.slice(s![..channels]).to_owned();
    parts.proj = parts.proj.slice(s![..channels, ..]).to_owned();
    parts.activation = Activation::Relu;
    let x = fixture.case("two-tokens").stream(0, "h.0.ln_2");

    let row = x.index_axis(ndarray::Axis(0), 0).mapv(f64::from);
    let inside = linear(&row, &parts.fc, &parts.fc_bias).mapv(|x| x.max(0.0));
    let out = linear(&inside, &parts.proj, &parts.proj_bias).insert_axis(ndarray::Axis(0));
    let formula = Tensor::from(out.mapv(|x| x as f32));
    let held = |parts: &Parts| {
        let out = parts.build().forward(x.view(), &mut ()).expect("an output");
        compare(
            &Tensor::from(out),
            Reference::witness(&formula),
            Rule::within(1e-4),
        )
    };
    held(&parts).unwrap_or_else(|mismatch| panic!("the right layer: {mismatch}"));
    parts.proj = parts.proj.reversed_axes();
    let mismatch = held(&parts).expect_err("a transposed c_proj");
    assert!(matches!(mismatch, Mismatch::Values(_)), "{mismatch}");
}
