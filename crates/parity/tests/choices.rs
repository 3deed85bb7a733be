//! Ids: exact where the margin settles which is right, and nowhere else.

mod common;

use common::{counting, evidence, expected, first_failure, first_reason, keys};
use llorch_parity::{Choice, Expectation, Judge, Judgement, Key, Reference};

fn chosen(choice: Choice) -> Judgement {
    let key = Key::new("greedy", "id 3 of row 1");
    let mut judge = Judge::new(vec![Expectation::choice(key.clone(), "ids")], "");
    judge.identical("two runs", &counting(&[2]), &counting(&[2]));
    judge.compare_choice(&key, choice);
    judge.finish(evidence())
}

const EQUAL: Choice = Choice {
    ours: 7,
    reference: 7,
    margin: 0.5,
    needed: 2e-3,
};

#[test]
fn equal_choices_count_where_the_margin_settles_them() {
    let judgement = chosen(EQUAL);
    assert!(judgement.verdict().is_pass());
    assert_eq!((judgement.sites(), judgement.elements()), (1, 1));
}

#[test]
fn unequal_choices_fail_where_the_margin_settles_them() {
    let failure = first_failure(&chosen(Choice { ours: 8, ..EQUAL }));
    let expected = "greedy id 3 of row 1: expected 7, found 8 (margin 5e-1, needed 2e-3)";
    assert_eq!(failure, expected);
}

#[test]
fn a_margin_that_settles_nothing_is_inconclusive_by_name_equal_or_not() {
    for ours in [7, 8] {
        for (margin, needed) in [
            (2e-3, 2e-3),
            (0.0, 2e-3),
            (f64::NAN, 2e-3),
            (f64::INFINITY, 2e-3),
            (0.5, f64::NAN),
            (0.5, -1.0),
        ] {
            let judgement = chosen(Choice {
                ours,
                margin,
                needed,
                ..EQUAL
            });
            let reason = first_reason(&judgement);
            assert!(
                reason.starts_with("greedy id 3 of row 1: expected a margin over "),
                "{reason}"
            );
        }
    }
}

#[test]
fn a_tensor_for_a_choice_and_a_choice_for_a_tensor_fail() {
    let key = Key::new("greedy", "id");
    let tensor = counting(&[1]);
    let mut judge = Judge::new(vec![Expectation::choice(key.clone(), "ids")], "");
    judge.compare(
        &key,
        Some(&tensor.clone()),
        Some(Reference::witness(&tensor)),
    );
    let failure = first_failure(&judge.finish(evidence()));
    assert_eq!(failure, "greedy id: expected a choice, found a tensor");
    let mut judge = Judge::new(expected(), "");
    judge.compare_choice(&keys()[0], EQUAL);
    let failure = first_failure(&judge.finish(evidence()));
    assert_eq!(failure, "steps 0/norm: expected a tensor, found a choice");
    let mut judge = Judge::new(Vec::new(), "");
    judge.compare_choice(&key, EQUAL);
    let failure = first_failure(&judge.finish(evidence()));
    assert_eq!(failure, "greedy id: extra: expected none, found a tensor");
}
