//! Runs that must agree to the bit.

mod common;

use common::{constant, evidence, expected, first_failure, first_reason, judge, truth, witness};
use llorch_parity::{Failure, Judge, Judgement, Mismatch, Tensor, Verdict};
use ndarray::array;

fn judged_runs(runs: &[(&str, Tensor, Tensor)]) -> Judgement {
    let mut judge = Judge::new(expected(), "");
    for (name, a, b) in runs {
        judge.identical(name, a, b);
    }
    judge.compare_case("steps", &witness(), &witness(), Some(&truth()));
    judge.finish(evidence())
}

#[test]
fn no_determinism_run_is_inconclusive() {
    let reason = "expected at least one determinism run, found none";
    assert_eq!(first_reason(&judged_runs(&[])), reason);
}

#[test]
fn runs_that_differ_in_one_bit_or_in_shape_or_hold_nothing_fail() {
    let one = constant(&[2], 1.0);
    let off: Tensor = array![1.0, 1.0f32.next_up()].into();
    let failure = first_failure(&judged_runs(&[("chunks", one.clone(), off)]));
    assert!(
        failure.starts_with("determinism, chunks: values: 1 of 2"),
        "{failure}"
    );
    let minus = (constant(&[2], 0.0), constant(&[2], -0.0));
    let failure = first_failure(&judged_runs(&[("signs", minus.0, minus.1)]));
    assert!(
        failure.starts_with("determinism, signs: values: 2 of 2"),
        "{failure}"
    );
    let failure = first_failure(&judged_runs(&[(
        "rows",
        one.clone(),
        constant(&[1, 2], 1.0),
    )]));
    assert_eq!(
        failure,
        "determinism, rows: shape: expected [2], found [1, 2]"
    );
    let nothing = constant(&[0], 1.0);
    let failure = first_failure(&judged_runs(&[("nothing", nothing.clone(), nothing)]));
    assert_eq!(
        failure,
        "determinism, nothing: expected elements to compare, found none in shape [0]"
    );
    let nan = constant(&[2], f32::NAN);
    let failure = first_failure(&judged_runs(&[("nan", nan.clone(), nan)]));
    assert!(
        failure.starts_with("determinism, nan: not finite"),
        "{failure}"
    );
}

#[test]
fn a_run_compared_with_itself_or_named_twice_fails() {
    let one = constant(&[2], 1.0);
    let mut judge = judge();
    judge.identical("again", &one, &one);
    judge.identical("two runs", &one, &one.clone());
    let judgement = judge.finish(evidence());
    let Verdict::Fail(failures) = judgement.verdict() else {
        panic!()
    };
    assert_eq!(
        failures,
        &[
            Failure::Determinism {
                run: "again".into(),
                mismatch: Mismatch::Itself
            },
            Failure::Twice {
                name: "two runs".into()
            },
        ]
    );
    assert_eq!(judgement.runs(), ["two runs"]);
}
