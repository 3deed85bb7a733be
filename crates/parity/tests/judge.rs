//! What is expected, and every way in which names can be missed.

mod common;

use common::{
    constant, counting, evidence, expected, first_failure, first_reason, judge, judged, keys,
    truth, witness, witness_with,
};
use llorch_parity::{
    Expectation, Failure, Judge, Key, Mismatch, Reason, Reference, Rule, Tensor, Trace, Verdict,
};
use ndarray::array;

#[test]
fn complete_and_equal_passes() {
    let judgement = judged(&witness());
    let Verdict::Pass(passed) = judgement.verdict() else {
        panic!("{:?}", judgement.verdict())
    };
    assert_eq!(judgement.verdict().exit_code(), 0);
    assert_eq!(
        (
            passed.sites().get(),
            passed.elements().get(),
            passed.runs().get()
        ),
        (2, 9, 1)
    );
    assert_eq!(passed.evidence(), &evidence());
    assert_eq!((judgement.sites(), judgement.elements()), (2, 9));
    // None is worse than another, so the first is named.
    assert_eq!(judgement.worst().unwrap().key, keys()[0]);
    assert_eq!(judgement.runs(), ["two runs"]);
    assert!(judgement.pending().is_empty());
    let kinds: Vec<_> = judgement
        .kinds()
        .iter()
        .map(|k| (k.kind.as_str(), k.elements))
        .collect();
    assert_eq!(kinds, [("norm", 6), ("scores", 3)]);
    assert_eq!(judgement.kinds()[0].rules, [Rule::within(1e-5)]);
    let range = judgement.kinds()[1].range.unwrap();
    assert_eq!((range.min, range.max), (-0.25, 2.0));
    assert!(judgement.pools().iter().all(|pool| pool.ratio == 1.0));
}

#[test]
fn every_pair_of_runs_counts() {
    let mut judge = judge();
    judge.identical("in pieces", &counting(&[2, 3]), &counting(&[2, 3]));
    judge.compare_case("steps", &witness(), &witness(), Some(&truth()));
    let judgement = judge.finish(evidence());
    let Verdict::Pass(passed) = judgement.verdict() else {
        panic!("{:?}", judgement.verdict())
    };
    assert_eq!(passed.runs().get(), 2);
    assert_eq!(judgement.runs(), ["two runs", "in pieces"]);
}

#[test]
fn the_worst_place_is_named_over_all_kinds() {
    let scores: Tensor = array![[0.5, f32::NEG_INFINITY], [-0.25, 2.0001]].into();
    let judgement = judged(&witness_with("0/scores", Some(scores)));
    let worst = judgement.worst().unwrap();
    assert_eq!(worst.key, keys()[1]);
    assert_eq!(worst.difference.index, [1, 1]);
    assert!((worst.difference.share() - 0.5).abs() < 1e-3);
}

#[test]
fn ours_that_does_not_run_is_a_failure() {
    let mut judge = Judge::new(Vec::new(), "");
    judge.broken("an error");
    let judgement = judge.finish(evidence());
    let Verdict::Fail(failures) = judgement.verdict() else {
        panic!("{}", judgement.verdict());
    };
    let what = "an error".to_owned();
    assert_eq!(failures[..], [Failure::Broken { what }]);
    assert_eq!(
        failures[0].to_string(),
        "expected ours to run, found an error"
    );
}

#[test]
fn nothing_expected_is_inconclusive() {
    let mut judge = Judge::new(Vec::new(), "");
    judge.identical("two runs", &counting(&[2]), &counting(&[2]));
    let judgement = judge.finish(evidence());
    assert_eq!(
        first_reason(&judgement),
        "expected something to judge, found an empty list"
    );
}

#[test]
fn nothing_compared_is_inconclusive_and_names_what_was_expected() {
    let judgement = judge().finish(evidence());
    assert_eq!(
        first_reason(&judgement),
        "expected 2 more comparisons, found none; the first is steps 0/norm"
    );
    assert_eq!(judgement.sites(), 0);
    assert!(judgement.worst().is_none());
}

#[test]
fn one_comparison_left_out_is_inconclusive() {
    let mut judge = judge();
    let (witness, truth) = (witness(), truth());
    let [norm, scores] = keys();
    let reference =
        Reference::with_truth(witness.get("0/norm").unwrap(), truth.get("0/norm").unwrap());
    judge.compare(&norm, Some(&counting(&[2, 3])), Some(reference));
    let judgement = judge.finish(evidence());
    let Verdict::Inconclusive(reasons) = judgement.verdict() else {
        panic!()
    };
    assert_eq!(reasons, &[Reason::NotCompared { keys: vec![scores] }]);
}

#[test]
fn a_tensor_missing_from_ours_fails() {
    let judgement = judged(&witness_with("0/norm", None));
    let missing = "steps 0/norm: missing: expected a tensor, found none";
    assert_eq!(first_failure(&judgement), missing);
}

#[test]
fn a_tensor_nobody_expects_fails() {
    let mut ours = witness();
    ours.insert("0/other", counting(&[1])).unwrap();
    let extra = "steps 0/other: extra: expected none, found a tensor";
    assert_eq!(first_failure(&judged(&ours)), extra);
    let mut judge = judge();
    judge.compare_case("steps", &witness(), &witness(), Some(&truth()));
    judge.compare(&Key::new("steps", "0/other"), Some(&counting(&[1])), None);
    assert_eq!(first_failure(&judge.finish(evidence())), extra);
    // The same name in another case is another name.
    let mut judge = common::judge();
    judge.compare_case("steps", &witness(), &witness(), Some(&truth()));
    judge.compare_case("chunks", &witness(), &witness(), None);
    let judgement = judge.finish(evidence());
    assert_eq!(
        first_failure(&judgement),
        "chunks 0/norm: extra: expected none, found a tensor"
    );
}

#[test]
fn a_renamed_site_fails_as_missing_and_as_extra() {
    let mut ours = witness_with("0/norm", None);
    ours.insert("0/norm_1", counting(&[2, 3])).unwrap();
    let judgement = judged(&ours);
    let Verdict::Fail(failures) = judgement.verdict() else {
        panic!()
    };
    let extra = Key::new("steps", "0/norm_1");
    let [missing, _] = keys();
    assert_eq!(
        failures,
        &[
            Failure::Mismatch {
                key: missing,
                mismatch: Mismatch::Missing
            },
            Failure::Mismatch {
                key: extra,
                mismatch: Mismatch::Extra
            },
        ]
    );
}

#[test]
fn an_absent_reference_is_inconclusive_and_says_how_to_get_it() {
    let mut judge = judge();
    let kept = witness_with("0/norm", None);
    judge.compare_case("steps", &witness(), &kept, Some(&truth()));
    let judgement = judge.finish(evidence());
    assert_eq!(
        first_reason(&judgement),
        "expected the reference of steps 0/norm, found none; run `make refs`"
    );
}

#[test]
fn an_absent_truth_is_inconclusive_unless_none_is_to_be_had() {
    let mut judge = judge();
    judge.compare_case("steps", &witness(), &witness(), None);
    let judgement = judge.finish(evidence());
    assert_eq!(
        first_reason(&judgement),
        "expected the truth of steps 0/norm, found none; run `make refs`"
    );

    let key = Key::new("greedy", "generated");
    let ids: Tensor = array![[3i64, 4], [5, 6]].into();
    let expected = vec![Expectation::tensor_without_truth(
        key.clone(),
        "ids",
        Rule::exact(),
    )];
    let mut judge = Judge::new(expected, "");
    judge.identical("two runs", &ids, &ids.clone());
    judge.compare(&key, Some(&ids.clone()), Some(Reference::witness(&ids)));
    let judgement = judge.finish(evidence());
    assert!(judgement.verdict().is_pass());
    assert!(judgement.pools().is_empty());
}

#[test]
fn a_second_comparison_of_one_name_fails() {
    let mut judge = judge();
    let (reference, delta) = (witness(), truth());
    judge.compare_case(
        "steps",
        &witness_with("0/norm", Some(constant(&[2, 3], 9.0))),
        &reference,
        Some(&delta),
    );
    // Now with the right values: the first result must stand.
    judge.compare_case("steps", &witness(), &reference, Some(&delta));
    let judgement = judge.finish(evidence());
    assert!(first_failure(&judgement).starts_with("steps 0/norm: values"));
    let Verdict::Fail(failures) = judgement.verdict() else {
        panic!()
    };
    assert!(failures.contains(&Failure::Twice {
        name: "steps 0/norm".into()
    }));
    assert_eq!(judgement.sites(), 2);
}

#[test]
fn a_name_expected_twice_fails() {
    let mut twice = expected();
    twice.push(expected().remove(0));
    let mut judge = Judge::new(twice, "");
    judge.identical("two runs", &counting(&[2]), &counting(&[2]));
    judge.compare_case("steps", &witness(), &witness(), Some(&truth()));
    let judgement = judge.finish(evidence());
    assert_eq!(
        first_failure(&judgement),
        "steps 0/norm: expected it once, found it twice in what is expected"
    );
}

#[test]
fn failures_come_in_the_order_of_execution_not_of_names() {
    let order = ["0/embed", "0/h.10", "0/h.2", "0/a"];
    let expected = order.map(|name| {
        Expectation::tensor_without_truth(Key::new("steps", name), "block", Rule::exact())
    });
    let (mut ours, mut reference) = (Trace::new(), Trace::new());
    for name in order {
        ours.insert(name, constant(&[1], 1.0)).unwrap();
        reference.insert(name, constant(&[1], 2.0)).unwrap();
    }
    let mut judge = Judge::new(expected.to_vec(), "");
    judge.compare_case("steps", &ours, &reference, None);
    let judgement = judge.finish(evidence());
    let Verdict::Fail(failures) = judgement.verdict() else {
        panic!()
    };
    let found: Vec<_> = failures
        .iter()
        .map(|failure| match failure {
            Failure::Mismatch { key, .. } => key.name.as_str(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(found, order);
}
