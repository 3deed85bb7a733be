//! What a verdict rests on, how reasons are weighed, and how it is written.

mod common;

use common::{evidence, first_failure, first_reason, judge, judged, truth, witness, witness_with};
use llorch_parity::{Evidence, Trace, sha256_hex};

#[test]
fn absent_weights_are_inconclusive_though_all_else_holds() {
    let mut judge = judge();
    judge.compare_case("steps", &witness(), &witness(), Some(&truth()));
    judge.absent("h.0.mlp.c_fc.weight", "give a whole model with --model");
    let judgement = judge.finish(evidence());
    let reason = "expected h.0.mlp.c_fc.weight, found none; give a whole model with --model";
    assert_eq!(first_reason(&judgement), reason);
}

#[test]
fn where_witnesses_contradict_each_other_nothing_is_known() {
    let mut judge = judge();
    judge.compare_case("steps", &witness(), &witness(), Some(&truth()));
    judge.dissent("tinygrad", "steps 0/norm: expected 1, found 2");
    let judgement = judge.finish(evidence());
    let reason = "expected tinygrad to agree too, found steps 0/norm: expected 1, found 2";
    assert_eq!(first_reason(&judgement), reason);
}

#[test]
fn malformed_evidence_is_inconclusive() {
    let hash = sha256_hex(b"weights");
    let bad = [
        String::new(),
        "unknown".into(),
        hash[1..].to_owned(),
        hash.to_uppercase(),
        format!("{hash}\n"),
        sha256_hex(b""),
    ];
    let with = |change: &dyn Fn(&mut Evidence)| {
        let mut evidence = evidence();
        change(&mut evidence);
        let mut judge = judge();
        judge.compare_case("steps", &witness(), &witness(), Some(&truth()));
        first_reason(&judge.finish(evidence))
    };
    for bad in &bad {
        for (field, reason) in [
            ("weights_sha256", with(&|e| e.weights_sha256 = bad.clone())),
            ("inputs_sha256", with(&|e| e.inputs_sha256 = bad.clone())),
            (
                "references_sha256",
                with(&|e| e.references_sha256 = bad.clone()),
            ),
        ] {
            let start = format!("{field}: expected 64 lowercase hex digits");
            assert!(reason.starts_with(&start), "{reason}");
        }
    }
    let reason = with(&|e| e.commit = " ".into());
    assert_eq!(reason, "commit: expected a commit or unknown, found \" \"");
}

#[test]
fn an_unknown_commit_and_a_dirty_tree_are_recorded_and_pass() {
    let mut judge = judge();
    judge.compare_case("steps", &witness(), &witness(), Some(&truth()));
    let evidence = Evidence {
        commit: "unknown".into(),
        dirty: true,
        ..evidence()
    };
    let judgement = judge.finish(evidence);
    assert!(judgement.verdict().is_pass());
    assert!(judgement.evidence().dirty);
}

#[test]
fn a_failure_outweighs_what_is_unknown_and_both_are_told() {
    let mut judge = judge();
    judge.absent("the weights", "download them");
    judge.compare_case("steps", &Trace::new(), &witness(), Some(&truth()));
    let judgement = judge.finish(Evidence {
        commit: String::new(),
        ..evidence()
    });
    assert!(first_failure(&judgement).starts_with("steps 0/norm: missing"));
    assert_eq!(judgement.pending().len(), 2);
}

#[test]
fn a_judgement_is_written_with_its_figures_and_hashes() {
    let json = serde_json::to_value(judged(&witness())).unwrap();
    assert_eq!(json["verdict"], "PASS");
    assert_eq!(json["because"]["elements"], 9);
    assert_eq!(json["evidence"]["weights_sha256"], sha256_hex(b"weights"));
    assert_eq!(json["pools"][0]["ratio"], 1.0);
    assert_eq!(json["kinds"][0]["rules"][0]["tolerance"]["within"], 1e-5);
    let json = serde_json::to_value(judged(&witness_with("0/norm", None))).unwrap();
    assert_eq!(json["verdict"], "FAIL");
    assert_eq!(json["because"][0]["Mismatch"]["key"]["name"], "0/norm");
    let json = serde_json::to_value(judge().finish(evidence())).unwrap();
    assert_eq!(json["verdict"], "INCONCLUSIVE");
    assert_eq!(
        json["because"][0]["NotCompared"]["keys"][1]["name"],
        "0/scores"
    );
}

#[test]
fn verdicts_are_printed_in_capitals() {
    assert_eq!(judged(&witness()).verdict().to_string(), "PASS");
    assert_eq!(judged(&Trace::new()).verdict().to_string(), "FAIL");
    assert_eq!(
        judge().finish(evidence()).verdict().to_string(),
        "INCONCLUSIVE"
    );
}
