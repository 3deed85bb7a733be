//! R, and what it catches that a tolerance lets through.

mod common;

use common::{constant, counting, evidence, first_failure, judged, witness, witness_with};
use llorch_parity::{
    BUDGET, Budget, Expectation, Judge, Key, Mismatch, Reference, Rule, SquaredErrors, Tensor,
    Verdict, compare,
};
use ndarray::Array1;

fn errors(ours: f64, witness: f64) -> SquaredErrors {
    SquaredErrors { ours, witness }
}

#[test]
fn r_is_the_quotient_of_the_pooled_rms() {
    let mut budget = Budget::new();
    budget.add("norm", "steps", errors(1.0, 1.0));
    budget.add("norm", "chunks", errors(4.0, 1.0));
    budget.add("norm", "steps", errors(17.0, 1.0));
    budget.add("probs", "steps", errors(0.0, 1.0));
    let found: Vec<_> = budget
        .pools()
        .iter()
        .map(|p| (p.kind.as_str(), p.case.as_str(), p.ratio))
        .collect();
    assert_eq!(
        found,
        [
            ("norm", "steps", 3.0),
            ("norm", "chunks", 2.0),
            ("probs", "steps", 0.0)
        ]
    );
}

#[test]
fn r_holds_up_to_the_budget_and_never_for_what_is_no_number() {
    let holds = |ours, witness| {
        let mut budget = Budget::new();
        budget.add("norm", "steps", errors(ours, witness));
        budget.pools()[0].holds()
    };
    assert!(holds(BUDGET * BUDGET, 1.0));
    assert!(!holds((BUDGET * BUDGET).next_up() * 1.0001, 1.0));
    assert!(holds(0.0, 0.0));
    assert!(!holds(1e-300, 0.0));
    assert!(!holds(f64::NAN, 1.0));
    assert!(!holds(0.0, f64::NAN));
    assert!(!holds(f64::INFINITY, f64::INFINITY));
}

#[test]
fn r_that_is_no_number_is_the_largest() {
    let key = |name| Key::new("steps", name);
    let expected = ["good", "bad"]
        .map(|name| Expectation::tensor(key(name), name, Rule::within(1e-4)))
        .to_vec();
    let mut judge = Judge::new(expected, "none");
    let witness = counting(&[4]);
    for (name, error) in [("good", 1e-8), ("bad", 1e200)] {
        let delta = Tensor::from(Array1::from_elem(4, error));
        let reference = Reference::with_truth(&witness, &delta);
        judge.compare(&key(name), Some(&witness.clone()), Some(reference));
    }
    let judgement = judge.finish(evidence());
    let largest = judgement.largest_ratio().unwrap();
    assert!(
        largest.kind == "bad" && largest.ratio.is_nan(),
        "{largest:?}"
    );
    assert!(!judgement.verdict().is_pass());
}

#[test]
fn where_the_witness_has_no_error_ours_must_have_none() {
    let (witness, zero) = (counting(&[4]), constant(&[4], 0.0));
    let reference = Reference::with_truth(&witness, &zero);
    let same = compare(&witness.clone(), reference, Rule::within(1e-4)).unwrap();
    assert_eq!(same.errors.unwrap().ratio(), 0.0);
    let Tensor::F32(mut ours) = witness.clone() else {
        unreachable!()
    };
    ours[[2]] = 2.0f32.next_up();
    let off = compare(&ours.into(), reference, Rule::within(1e-4)).unwrap();
    assert_eq!(off.errors.unwrap().ratio(), f64::INFINITY);
}

fn layer_norm(x: &[f64], epsilon: f64) -> Vec<f64> {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64;
    x.iter()
        .map(|v| (v - mean) / (variance + epsilon).sqrt())
        .collect()
}

fn to_f32(values: &[f64]) -> Tensor {
    Array1::from_iter(values.iter().map(|&v| v as f32)).into()
}

/// A LayerNorm with epsilon 1e-6 for 1e-5: its values stay within 1e-5 of the right ones.
#[test]
fn epsilon_1e_6_is_let_through_by_the_bound_and_not_by_r() {
    let x: Vec<f64> = (0..64)
        .map(|i| f64::from(i * 37 % 64) / 32.0 - 1.0)
        .map(|v| v * 1.5)
        .collect();
    let right = layer_norm(&x, 1e-5);
    let witness = to_f32(&right);
    let Tensor::F32(stored) = &witness else {
        unreachable!()
    };
    let delta: Vec<f64> = right
        .iter()
        .zip(stored)
        .map(|(t, &w)| t - f64::from(w))
        .collect();
    let delta = to_f32(&delta);
    let reference = Reference::with_truth(&witness, &delta);

    let honest = compare(&witness.clone(), reference, Rule::within(1e-5)).unwrap();
    assert!(honest.errors.unwrap().ratio() <= 1.0);

    let wrong = compare(
        &to_f32(&layer_norm(&x, 1e-6)),
        reference,
        Rule::within(1e-5),
    )
    .unwrap();
    assert_eq!(wrong.over, 0);
    assert!(wrong.errors.unwrap().ratio() > BUDGET);
}

#[test]
fn a_judge_fails_what_is_within_the_tolerance_and_over_the_budget() {
    // The witness is 1e-7 off the truth; ours is 1e-6 off and more, on the other side.
    let Some(Tensor::F32(norm)) = witness().get("0/norm").cloned() else {
        unreachable!()
    };
    let off = norm.mapv(|v| v - 5e-6 * v.max(1.0) / 5.0);
    let judgement = judged(&witness_with("0/norm", Some(off.into())));
    assert!(judgement.worst().unwrap().difference.share() < 1.0);
    let failure = first_failure(&judgement);
    assert!(
        failure.starts_with("norm in steps: expected R at most 4, found "),
        "{failure}"
    );
    let largest = judgement.largest_ratio().unwrap();
    assert_eq!(
        (largest.kind.as_str(), largest.case.as_str()),
        ("norm", "steps")
    );
    let scores = &judgement.pools()[1];
    assert_eq!((scores.kind.as_str(), scores.ratio), ("scores", 1.0));
}

#[test]
fn the_budget_also_counts_what_the_tolerance_failed() {
    let judgement = judged(&witness_with("0/norm", Some(constant(&[2, 3], 7.0))));
    let Verdict::Fail(failures) = judgement.verdict() else {
        panic!("{}", judgement.verdict())
    };
    assert!(
        failures[0]
            .to_string()
            .starts_with("steps 0/norm: values: "),
        "{}",
        failures[0]
    );
    assert!(matches!(
        &failures[0],
        llorch_parity::Failure::Mismatch {
            mismatch: Mismatch::Values(_),
            ..
        }
    ));
    assert!(matches!(&failures[1], llorch_parity::Failure::Budget { kind, .. } if kind == "norm"));
    assert_eq!(failures.len(), 2);
}

/// The real GPT-2 has channels over 1,000 at position 0. There, one float32 rounding is larger than any error
/// elsewhere may be.
#[test]
fn large_channels_neither_hide_an_error_nor_make_one() {
    let large = 3000.0f32;
    let mut values = vec![0.5f32; 100];
    values[7] = large;
    let witness = Tensor::from(Array1::from(values.clone()));
    // The witness is exact at the large channel by luck, and off by 1e-7 elsewhere.
    let mut deltas = vec![1e-7f32; 100];
    deltas[7] = 1e-6;
    let delta = Tensor::from(Array1::from(deltas));
    let reference = Reference::with_truth(&witness, &delta);
    let ratio = |ours: Vec<f32>| {
        let ours = Tensor::from(Array1::from(ours));
        let comparison =
            compare(&ours, reference, Rule::within(1e-4)).expect("within the tolerance");
        comparison.errors.expect("a truth").ratio()
    };

    let mut rounded = values.clone();
    rounded[7] = large.next_up();
    assert!(ratio(rounded) < BUDGET, "one rounding of a large value");
    let mut wrong: Vec<f32> = values.iter().map(|x| x + 1e-5).collect();
    wrong[7] = large;
    assert!(ratio(wrong) > BUDGET, "wrong everywhere else");
}
