//! Unequal shapes are never equal, whatever values they hold.

mod common;

use common::{constant, counting, mismatch};
use llorch_parity::{Mismatch, Rule};

fn assert_unequal(a: &[usize], b: &[usize]) {
    for (ours, reference) in [(a, b), (b, a)] {
        // Equal values throughout, so that nothing but the shape can tell them apart.
        let found = mismatch(
            &constant(ours, 1.0),
            &constant(reference, 1.0),
            Rule::within(1e-4),
        );
        assert_eq!(
            found,
            Mismatch::Shape {
                expected: reference.to_vec(),
                found: ours.to_vec()
            }
        );
    }
}

/// A key-value cache gave [12, 12, 64] for [2, 12, 64]: values were compared where both arrays had one.
#[test]
fn the_audits_story_12_12_64_for_2_12_64_in_either_order() {
    assert_unequal(&[12, 12, 64], &[2, 12, 64]);
    // Also where all values of the smaller one agree with the beginning of the larger.
    let (large, small) = (counting(&[12, 12, 64]), counting(&[2, 12, 64]));
    for (ours, reference) in [(&large, &small), (&small, &large)] {
        assert!(matches!(
            mismatch(ours, reference, Rule::exact()),
            Mismatch::Shape { .. }
        ));
    }
}

#[test]
fn shapes_that_broadcast_are_unequal() {
    assert_unequal(&[1, 3], &[3]);
    assert_unequal(&[2, 1, 3], &[2, 3]);
    assert_unequal(&[2, 1, 3], &[2, 4, 3]);
    assert_unequal(&[1], &[]);
    assert_unequal(&[1, 1], &[1]);
}

#[test]
fn shapes_with_as_many_elements_are_unequal() {
    assert_unequal(&[2, 3], &[3, 2]);
    assert_unequal(&[6], &[2, 3]);
    assert_unequal(&[2, 12, 6, 24], &[2, 6, 12, 24]);
}

#[test]
fn empty_shapes_are_unequal_to_others_and_no_pass_among_themselves() {
    assert_unequal(&[0, 3], &[3, 0]);
    assert_unequal(&[0], &[1]);
    let found = mismatch(
        &constant(&[2, 0], 1.0),
        &constant(&[2, 0], 1.0),
        Rule::exact(),
    );
    assert_eq!(found, Mismatch::Empty { shape: vec![2, 0] });
}
