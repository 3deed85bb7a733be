//! What holds at any size, and what is refused.

use llorch_fixtures::{integers, of_cases, shape_error};
use llorch_numerics::Dim;
use llorch_qkv::{Error, Qkv};
use ndarray::{Array1, Array2, Array3, Array4, ArrayView1};
use proptest::prelude::*;

/// B, T, H and D.
fn sizes() -> impl Strategy<Value = [usize; 4]> {
    [1usize..4, 1usize..8, 1usize..6, 1usize..12]
}

proptest! {
    #![proptest_config(of_cases(64))]

    /// The definition, element by element: head h of third i takes columns i C + h D to i C + (h + 1) D.
    #[test]
    fn integers_come_out_exactly_where_they_belong(sizes in sizes(), seed in any::<u32>()) {
        let [batch, tokens, heads, dim] = sizes;
        let channels = heads * dim;
        let mut next = integers(seed);
        let weight = Array2::from_shape_simple_fn((channels, 3 * channels), &mut next);
        let bias = Array1::from_shape_simple_fn(3 * channels, &mut next);
        let x = Array3::from_shape_simple_fn((batch, tokens, channels), &mut next);
        let qkv = Qkv::new(weight.view(), bias.view(), heads).expect("a projection");
        let found = qkv.forward(x.view()).expect("heads");
        for (third, found) in [found.q, found.k, found.v].into_iter().enumerate() {
            let expected = Array4::from_shape_fn((batch, tokens, heads, dim), |(b, t, h, d)| {
                let column = third * channels + h * dim + d;
                let products = (0..channels).map(|c| x[[b, t, c]] * weight[[c, column]]);
                products.sum::<f32>() + bias[column]
            });
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_weight_that_is_not_c_by_3c_is_refused(channels in 1usize..20, width in 1usize..60) {
        prop_assume!(width != 3 * channels);
        let refused = build([channels, width], width, 1).expect_err("another width");
        let expected = [Dim::Is(channels), Dim::Is(3 * channels)];
        prop_assert_eq!(refused, Error::Shape(shape_error("weight", &expected, &[channels, width])));
    }

    #[test]
    fn a_weight_without_rows_or_columns_is_refused(size in 0usize..60, rows in any::<bool>()) {
        let found = if rows { [size, 0] } else { [0, size] };
        let refused = build(found, 3, 1).expect_err("nothing");
        let expected = [Dim::Any("C"), Dim::Any("3C")];
        prop_assert_eq!(refused, Error::Shape(shape_error("weight", &expected, &found)));
    }

    #[test]
    fn a_bias_of_another_length_is_refused(channels in 1usize..20, length in 0usize..60) {
        prop_assume!(length != 3 * channels);
        let refused = build([channels, 3 * channels], length, 1).expect_err("another length");
        prop_assert_eq!(refused, Error::Shape(shape_error("bias", &[Dim::Is(3 * channels)], &[length])));
    }

    #[test]
    fn heads_that_do_not_divide_the_channels_are_refused(channels in 1usize..40, heads in 0usize..50) {
        let built = build([channels, 3 * channels], 3 * channels, heads);
        if (1..=channels).any(|dim| dim * heads == channels) {
            prop_assert!(built.is_ok());
        } else {
            prop_assert_eq!(built.expect_err("no even split"), Error::Heads { channels, heads });
        }
    }

    #[test]
    fn an_input_of_another_shape_is_refused(
        channels in 1usize..20,
        found in (0usize..3, 0usize..3, 0usize..20),
    ) {
        let (batch, tokens, width) = found;
        prop_assume!(batch == 0 || tokens == 0 || width != channels);
        let qkv = build([channels, 3 * channels], 3 * channels, 1).expect("a projection");
        let refused = qkv.forward(Array3::zeros(found).view()).expect_err("another shape");
        let expected = [Dim::Any("B"), Dim::Any("T"), Dim::Is(channels)];
        prop_assert_eq!(refused, Error::Shape(shape_error("x", &expected, &[batch, tokens, width])));
    }
}

fn build(weight: [usize; 2], bias: usize, heads: usize) -> Result<Qkv, Error> {
    Qkv::new(
        Array2::zeros(weight).view(),
        Array1::zeros(bias).view(),
        heads,
    )
}

/// Each size of x too small, too large or zero, and no chance about it.
#[test]
fn every_wrong_size_of_an_input_is_refused() {
    let qkv = build([4, 12], 12, 2).expect("a projection");
    for found in [[0, 1, 4], [1, 0, 4], [1, 1, 0], [1, 1, 3], [1, 1, 5]] {
        let refused = qkv
            .forward(Array3::zeros(found).view())
            .expect_err("a wrong size");
        let expected = [Dim::Any("B"), Dim::Any("T"), Dim::Is(4)];
        assert_eq!(refused, Error::Shape(shape_error("x", &expected, &found)));
    }
}

#[test]
fn errors_name_what_was_expected_and_what_was_found() {
    let messages = [
        (
            build([4, 11], 12, 2),
            "weight: expected shape [4, 12], found [4, 11]",
        ),
        (
            build([4, 13], 12, 2),
            "weight: expected shape [4, 12], found [4, 13]",
        ),
        (
            build([12, 4], 12, 2),
            "weight: expected shape [12, 36], found [12, 4]",
        ),
        (
            build([0, 12], 12, 2),
            "weight: expected shape [C, 3C], found [0, 12]",
        ),
        (
            build([4, 0], 12, 2),
            "weight: expected shape [C, 3C], found [4, 0]",
        ),
        (build([4, 12], 0, 2), "bias: expected shape [12], found [0]"),
        (
            build([4, 12], 11, 2),
            "bias: expected shape [12], found [11]",
        ),
        (
            build([4, 12], 13, 2),
            "bias: expected shape [12], found [13]",
        ),
        (
            build([4, 12], 12, 0),
            "heads: expected a number that divides 4 channels, found 0",
        ),
        (
            build([4, 12], 12, 3),
            "heads: expected a number that divides 4 channels, found 3",
        ),
        (
            build([4, 12], 12, 8),
            "heads: expected a number that divides 4 channels, found 8",
        ),
    ];
    for (built, message) in messages {
        assert_eq!(built.expect_err(message).to_string(), message);
    }
}

/// A view may claim more columns than there is memory; three times its rows must not overflow.
#[test]
fn a_weight_of_absurd_size_is_refused() {
    let one = [0.0];
    let weight = ArrayView1::from(&one);
    let rows = isize::MAX as usize;
    let weight = weight.broadcast((rows, 1)).expect("a view of one element");
    let refused = Qkv::new(weight, Array1::zeros(3).view(), 1).expect_err("one column");
    let expected = [Dim::Is(rows), Dim::Is(usize::MAX)];
    assert_eq!(
        refused,
        Error::Shape(shape_error("weight", &expected, &[rows, 1]))
    );
}
