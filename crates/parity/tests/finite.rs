//! NaN, infinities and masks.

mod common;

use common::{constant, mismatch};
use llorch_parity::{
    Comparison, Masking, Mismatch, NonFinite, Reference, Rule, Side, Tensor, compare,
};
use ndarray::array;

const INF: f32 = f32::INFINITY;

fn held(ours: &Tensor, witness: &Tensor, rule: Rule) -> Comparison {
    compare(ours, Reference::witness(witness), rule).unwrap()
}

fn not_finite(found: Mismatch) -> (Side, Vec<usize>, NonFinite) {
    match found {
        Mismatch::NotFinite { side, index, found } => (side, index, found),
        other => panic!("expected NotFinite, found {other}"),
    }
}

#[test]
fn nan_is_never_equal_not_even_to_itself() {
    let (nan, one) = (constant(&[2], f32::NAN), constant(&[2], 1.0));
    for rule in [
        Rule::exact(),
        Rule::within(1e-4),
        Rule::within(1e-4).masked(),
    ] {
        let of_reference = (Side::Reference, vec![0], NonFinite::NaN);
        assert_eq!(not_finite(mismatch(&nan, &nan.clone(), rule)), of_reference);
        assert_eq!(not_finite(mismatch(&one, &nan, rule)), of_reference);
        assert_eq!(
            not_finite(mismatch(&nan, &one, rule)),
            (Side::Ours, vec![0], NonFinite::NaN)
        );
    }
}

#[test]
fn infinity_is_refused_at_its_place() {
    let one = constant(&[2, 2], 1.0);
    let plus = array![[1.0, 1.0], [1.0, INF]].into();
    let place = vec![1, 1];
    // +inf is no mask, and equal infinities are no agreement.
    for rule in [Rule::within(1e-4), Rule::within(1e-4).masked()] {
        let found = not_finite(mismatch(&plus, &one, rule));
        assert_eq!(found, (Side::Ours, place.clone(), NonFinite::PlusInfinity));
        let found = not_finite(mismatch(&plus, &plus.clone(), rule));
        assert_eq!(
            found,
            (Side::Reference, place.clone(), NonFinite::PlusInfinity)
        );
    }
    let minus: Tensor = array![[1.0, 1.0], [1.0, -INF]].into();
    let found = not_finite(mismatch(&minus, &minus.clone(), Rule::exact()));
    assert_eq!(found, (Side::Reference, place, NonFinite::MinusInfinity));
}

#[test]
fn a_mask_lost_or_moved_or_added_is_a_mask_mismatch() {
    let rule = Rule::within(1e-4).masked();
    let reference = array![[0.5, -INF], [1.0, 2.0]].into();
    let found = mismatch(
        &array![[0.5f32, -1e30], [1.0, 2.0]].into(),
        &reference,
        rule,
    );
    let (masked, open) = (Masking::Masked, Masking::Open);
    assert_eq!(
        found,
        Mismatch::Mask {
            index: vec![0, 1],
            expected: masked,
            found: open
        }
    );
    assert_eq!(
        found.to_string(),
        "mask: expected -inf (masked), found a number (not masked) at [0, 1]"
    );
    let found = mismatch(&array![[-INF, 0.5], [1.0, 2.0]].into(), &reference, rule);
    assert_eq!(
        found,
        Mismatch::Mask {
            index: vec![0, 0],
            expected: open,
            found: masked
        }
    );
    let found = mismatch(&array![[0.5, -INF], [-INF, 2.0]].into(), &reference, rule);
    assert_eq!(
        found,
        Mismatch::Mask {
            index: vec![1, 0],
            expected: open,
            found: masked
        }
    );
}

#[test]
fn masked_places_are_not_counted_as_compared() {
    let rule = Rule::within(1e-4).masked();
    let scores: Tensor = array![[0.5, -INF], [1.0, -2.0]].into();
    let comparison = held(&scores, &scores.clone(), rule);
    assert_eq!(comparison.elements, 3);
    assert_eq!((comparison.range.min, comparison.range.max), (-2.0, 1.0));
    let all = constant(&[2, 2], -INF);
    let found = mismatch(&all, &all.clone(), rule);
    assert_eq!(found, Mismatch::Empty { shape: vec![2, 2] });
    assert_eq!(
        found.to_string(),
        "expected elements to compare, found none in shape [2, 2]"
    );
}
