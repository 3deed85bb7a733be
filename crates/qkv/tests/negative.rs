//! Each test changes one thing of the right projection, and the judge must say so for the right reason.

mod common;

use common::{Parts, judge};
use llorch_fixtures::{assert_pass, assert_shape_fails, assert_values_fail, first_failure};
use llorch_parity::Failure;
use llorch_qkv::{Error, Heads, Qkv};
use ndarray::{Array4, ArrayView3, Axis, s};

const CASES: [&str; 2] = ["batch", "chunks"];

/// The right parts but for one change.
fn changed(change: impl Fn(&mut Parts)) -> impl Fn(&Parts, ArrayView3<f32>) -> Heads {
    move |parts, x| {
        let mut parts = parts.clone();
        change(&mut parts);
        parts.forward(x)
    }
}

/// The right weights with their columns where `place` takes (third, head, channel) from.
fn rearranged(place: impl Fn(&Parts, [usize; 3]) -> usize) -> impl Fn(&mut Parts) {
    move |parts| {
        let dim = parts.weight.nrows() / parts.heads;
        let columns: Vec<usize> = (0..parts.weight.ncols())
            .map(|column| {
                let (head, channel) = (column / dim, column % dim);
                place(parts, [head / parts.heads, head % parts.heads, channel])
            })
            .collect();
        parts.weight = parts.weight.select(Axis(1), &columns);
        parts.bias = parts.bias.select(Axis(0), &columns);
    }
}

#[test]
fn nothing_changed_passes() {
    assert_pass(&judge(&CASES, changed(|_| ())));
    let in_place = |parts: &Parts, [third, head, channel]: [usize; 3]| {
        let dim = parts.weight.nrows() / parts.heads;
        (third * parts.heads + head) * dim + channel
    };
    assert_pass(&judge(&CASES, changed(rearranged(in_place))));
}

/// [3C, C] is refused; read as [C, 3C] it has the right shape and the wrong numbers.
#[test]
fn a_transposed_weight_fails() {
    let transpose = |parts: &mut Parts| {
        let shape = parts.weight.dim();
        let transposed = parts.weight.t();
        let refused = Qkv::new(transposed, parts.bias.view(), parts.heads).expect_err("[3C, C]");
        assert!(matches!(refused, Error::Shape(_)), "{refused}");
        let transposed = transposed.as_standard_layout().into_owned();
        parts.weight = transposed.into_shape_with_order(shape).expect("as many");
    };
    assert_values_fail(&judge(&CASES, changed(transpose)), "attn.q");
}

/// A head's q, k and v side by side, as in GPT-NeoX, instead of three thirds.
#[test]
fn interleaved_heads_fail() {
    let interleaved = |parts: &Parts, [third, head, channel]: [usize; 3]| {
        let dim = parts.weight.nrows() / parts.heads;
        (head * 3 + third) * dim + channel
    };
    assert_values_fail(&judge(&CASES, changed(rearranged(interleaved))), "attn.q");
}

/// Channel d of head h at d H + h instead of h D + d: the shapes are right.
#[test]
fn h_and_d_exchanged_inside_a_third_fail() {
    let exchanged = |parts: &Parts, [third, head, channel]: [usize; 3]| {
        third * parts.weight.nrows() + channel * parts.heads + head
    };
    assert_values_fail(&judge(&CASES, changed(rearranged(exchanged))), "attn.q");
}

/// D heads of H channels instead of H heads of D.
#[test]
fn h_and_d_exchanged_in_the_split_fail_by_the_shape() {
    let exchange = |parts: &mut Parts| parts.heads = parts.weight.nrows() / parts.heads;
    let judgement = judge(&CASES, changed(exchange));
    assert_shape_fails(&judgement, &[3, 11, 6, 24], &[3, 11, 24, 6]);
}

/// [B, H, T, D], as Hugging Face's modules have it.
#[test]
fn heads_before_tokens_fail_by_the_shape() {
    let judgement = judge(&CASES, |parts, x| {
        let Heads { q, k, v } = parts.forward(x);
        let [q, k, v] = [q, k, v].map(|part: Array4<f32>| part.permuted_axes([0, 2, 1, 3]));
        Heads { q, k, v }
    });
    assert_shape_fails(&judgement, &[3, 11, 6, 24], &[3, 6, 11, 24]);
}

#[test]
fn swapped_keys_and_values_fail_at_the_keys() {
    let judgement = judge(&CASES, |parts, x| {
        let Heads { q, k, v } = parts.forward(x);
        Heads { q, k: v, v: k }
    });
    assert_values_fail(&judgement, "attn.k");
}

#[test]
fn swapped_queries_and_keys_fail() {
    let judgement = judge(&CASES, |parts, x| {
        let Heads { q, k, v } = parts.forward(x);
        Heads { q: k, k: q, v }
    });
    assert_values_fail(&judgement, "attn.q");
}

#[test]
fn a_zeroed_bias_fails() {
    let judgement = judge(&CASES, changed(|parts| parts.bias.fill(0.0)));
    assert_values_fail(&judgement, "attn.q");
}

#[test]
fn a_bias_zeroed_for_the_values_alone_fails_at_the_values() {
    let zero = |parts: &mut Parts| {
        let values = 2 * parts.weight.nrows();
        parts.bias.slice_mut(s![values..]).fill(0.0);
    };
    assert_values_fail(&judge(&CASES, changed(zero)), "attn.v");
}

#[test]
fn weights_1_percent_too_large_fail() {
    let judgement = judge(&CASES, changed(|parts| parts.weight *= 1.01));
    assert_values_fail(&judgement, "attn.q");
}

#[test]
fn weights_5_millionths_too_large_pass_the_tolerance_and_fail_by_the_budget() {
    let judgement = judge(&CASES, changed(|parts| parts.weight *= 1.000_005));
    let first = first_failure(&judgement);
    assert!(matches!(first, Failure::Budget { .. }), "{first}");
}
