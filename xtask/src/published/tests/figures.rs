//! Every figure about `tiny` holds, and one wrong value of each kind fails.

use serde_json::{Value, json};

use super::*;

/// The one failure of a judgement, which names the source and the figure.
#[track_caller]
fn failure(judgement: &Judgement, name: &str) -> String {
    let failures = failures(judgement);
    assert_eq!(failures.len(), 1, "{failures:?}");
    let case = format!("{SOURCE}, {name}:");
    assert!(failures[0].starts_with(&case), "{}", failures[0]);
    failures[0].clone()
}

/// Asserts that one wrong value fails, with what was expected.
#[track_caller]
fn fails(checkpoint: usize, name: &str, pointer: &str, value: Value, expected: &str) {
    let judgement = judged(&spoilt(name, pointer, value), checkpoint);
    let said = failure(&judgement, name);
    assert!(
        said.contains(&format!("expected {expected}, found ")),
        "{said}"
    );
}

#[test]
fn our_model_passes_by_every_figure_about_tiny() {
    let sites = JUDGED.map(|checkpoint| {
        let judgement = judged(&file(), checkpoint);
        let verdict = judgement.verdict();
        assert!(verdict.is_pass(), "checkpoint {checkpoint}: {verdict}");
        judgement.sites()
    });
    // 5 channels, 14 logprobs, a sum and a loss; an id and a logit; 24 ids; the same, their text, an id list
    // and its text.
    assert_eq!(sites, [21, 2, 24, 27]);
}

#[test]
fn a_checkpoint_without_figures_is_not_judged() {
    let folder = tiny();
    let rooms = rooms(&folder);
    let published = parse(&file(), &folder).expect("a file").expect("figures");
    for checkpoint in (1..=12).filter(|checkpoint| !JUDGED.contains(checkpoint)) {
        let evidence = judged(&file(), 9).evidence().clone();
        let judgement =
            published.judge(checkpoint, rooms.model().expect("whole"), &folder, evidence);
        assert!(judgement.expect("no error").is_none(), "{checkpoint}");
    }
}

#[test]
fn a_wrong_hidden_state_fails() {
    let name = "last hidden state";
    fails(8, name, "/final_hidden/first/3", json!(2.05), "2.05e0");
}

#[test]
fn a_wrong_logprob_fails_in_each_form() {
    let each = "logprobs after the end of text";
    fails(8, each, "/logprobs/values/each/4", json!(-2.85), "-2.85e0");
    let sum = "logprob of a continuation";
    fails(
        8,
        sum,
        "/logprobs/values/sum",
        json!(-33.3992),
        "-3.33992e1",
    );
    fails(
        8,
        "loss",
        "/logprobs/values/mean_loss",
        json!(3.937),
        "3.937e0",
    );
}

#[test]
fn a_wrong_next_token_or_logit_fails() {
    let name = "best token";
    fails(9, name, "/next_token/logit", json!(6.211), "6.211e0");
    // Another token has another logit, too.
    let judgement = judged(&spoilt(name, "/next_token/id", json!(13)), 9);
    let said = &failures(&judgement)[0];
    assert!(
        said.contains("best token: best token: expected 13, found 12"),
        "{said}"
    );
}

#[test]
fn a_wrong_greedy_id_fails_where_forced_and_where_free() {
    let last = "/greedy/continuation/ids/11";
    for checkpoint in [10, 12] {
        fails(checkpoint, "generated ids", last, json!(764), "764");
    }
}

#[test]
fn a_wrong_greedy_text_fails() {
    let text = "/greedy/continuation/text";
    let wrong = json!("'d,\nAnd, by the body of the");
    let judgement = judged(&spoilt("generated text", text, wrong.clone()), 10);
    failure(&judgement, "generated text");
    // The text itself was not made, which a failure does not hide.
    let judgement = judged(&spoilt("generated text", text, wrong), 12);
    failure(&judgement, "generated text");
    assert_eq!(judgement.pending().len(), 1, "{:?}", judgement.pending());
}

#[test]
fn wrong_ids_of_a_text_fail() {
    let judgement = judged(&spoilt("ids of a text", "/tokenized/ids/13", json!(15)), 12);
    // The text that they are decoded to is another, too.
    let case = format!("{SOURCE}, ids of a text:");
    let said = failures(&judgement);
    assert!(said[0].starts_with(&format!("{case} ids")), "{said:?}");
    assert!(said[1].starts_with(&format!("{case} text")), "{said:?}");
}
