//! Figures that cannot be judged are no PASS.

use serde_json::json;

use super::*;

#[test]
fn a_text_without_a_tokenizer_is_no_pass() {
    let empty = tempfile::tempdir().expect("a folder");
    let folder = ModelDir {
        path: empty.path().to_owned(),
        ..tiny()
    };
    let rooms = rooms(&folder);
    for checkpoint in JUDGED {
        let judgement = judge(&file(), checkpoint, rooms.model().expect("whole"), &folder);
        let Verdict::Inconclusive(reasons) = judgement.verdict() else {
            panic!("expected INCONCLUSIVE, found {}", judgement.verdict());
        };
        let said = reasons[0].to_string();
        assert!(
            said.contains("tokenizer.json") && said.contains(SOURCE),
            "{said}"
        );
    }
}

#[test]
fn a_text_that_is_encoded_as_other_tokens_than_were_made_is_no_pass() {
    let file = spoilt("generated text", "/greedy/tokens", json!(13));
    for checkpoint in [10, 12] {
        let judgement = judged(&file, checkpoint);
        let said = judgement.verdict().to_string();
        assert_eq!(judgement.verdict().exit_code(), 3, "{said}");
    }
}

#[test]
fn a_figure_that_says_nothing_is_no_pass() {
    for (name, pointer, checkpoint) in [
        ("last hidden state", "/final_hidden/first", 8),
        ("logprobs after the end of text", "/logprobs/values/each", 8),
        ("generated ids", "/greedy/continuation/ids", 10),
        ("generated ids", "/greedy/prompt/ids", 12),
    ] {
        let judgement = judged(&spoilt(name, pointer, json!([])), checkpoint);
        assert!(!judgement.verdict().is_pass(), "{name} {pointer}");
    }
}

#[test]
fn one_name_twice_in_a_source_is_no_pass() {
    let mut file = file();
    let figures = &mut file["models"][0]["sources"][0]["figures"];
    let name = figures[1]["name"].clone();
    figures[2]["name"] = name;
    // Two figures, whose comparisons are called otherwise, but not their runs.
    assert_eq!(judged(&file, 8).verdict().exit_code(), 1);
}
