//! Text to ids and back.

use llorch_fixtures::of_cases;
use llorch_model::{Error, Tokenizer};
use proptest::prelude::*;
use tempfile::TempDir;

const END_OF_TEXT: &str = "<|endoftext|>";

fn tiny() -> Tokenizer {
    Tokenizer::open(llorch_fixtures::tiny_path()).expect("the embedded model's tokenizer")
}

/// The same tokenizer from vocab.json and merges.txt alone.
fn from_two_files() -> Tokenizer {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for name in ["vocab.json", "merges.txt"] {
        let copied = std::fs::copy(
            llorch_fixtures::tiny_path().join(name),
            dir.path().join(name),
        );
        copied.expect("a copy");
    }
    Tokenizer::open(dir.path()).expect("a tokenizer")
}

/// A tokenizer.json saved after training often has both.
#[test]
fn truncation_and_padding_in_the_file_change_no_ids() {
    let text = std::fs::read_to_string(llorch_fixtures::tiny_path().join("tokenizer.json"));
    let mut json: serde_json::Value = serde_json::from_str(&text.expect("a file")).expect("JSON");
    json["truncation"] = serde_json::json!({
        "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0
    });
    json["padding"] = serde_json::json!({
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": END_OF_TEXT
    });
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).expect("a file");
    let text = "What say you to that, my lord?";
    let ids = Tokenizer::open(dir.path()).and_then(|tokenizer| tokenizer.encode(text));
    assert_eq!(ids.expect("ids"), tiny().encode(text).expect("ids"));
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    let mut stream = tokenizer.stream();
    let push = |&id| stream.push(id).expect("a text");
    let mut pieces: Vec<String> = ids.iter().map(push).collect();
    pieces.push(stream.finish().expect("a text"));
    pieces
}

/// Any text, now and then with what a tokenizer could stumble over in it.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        Just(END_OF_TEXT.to_owned()),
        Just("  \r\n\u{feff}\u{fffd}".to_owned()),
        Just("👩‍👩‍👧 e\u{301}".to_owned()),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(of_cases(128))]

    #[test]
    fn any_text_comes_back(text in text()) {
        let tokenizer = tiny();
        let ids = tokenizer.encode(&text).expect("ids");
        prop_assert!(ids.iter().all(|&id| id < 1001));
        prop_assert_eq!(tokenizer.decode(&ids).expect("a text"), text.clone());
        prop_assert_eq!(streamed(&tokenizer, &ids).concat(), text);
    }

    /// A model may choose any ids, also such as make no UTF-8.
    #[test]
    fn a_stream_of_any_ids_is_their_decoding(ids in proptest::collection::vec(0..1003u32, 0..40)) {
        let tokenizer = tiny();
        prop_assert_eq!(streamed(&tokenizer, &ids).concat(), tokenizer.decode(&ids).expect("a text"));
    }

    #[test]
    fn tokenizer_json_and_its_two_older_files_agree(text in text()) {
        let (one, two) = (tiny(), from_two_files());
        let ids = one.encode(&text).expect("ids");
        prop_assert_eq!(two.encode(&text).expect("ids"), ids.clone());
        prop_assert_eq!(two.decode(&ids).expect("a text"), text);
    }
}

#[test]
fn the_end_of_text_is_one_token_and_written_out() {
    for tokenizer in [tiny(), from_two_files()] {
        let ids = tokenizer.encode(END_OF_TEXT).expect("ids");
        assert_eq!(ids, [0]);
        assert_eq!(tokenizer.decode(&ids).expect("a text"), END_OF_TEXT);
    }
}

#[test]
fn nothing_is_put_in_front_or_behind() {
    let tokenizer = tiny();
    assert!(tokenizer.encode("").expect("ids").is_empty());
    assert_eq!(tokenizer.decode(&[]).expect("a text"), "");
}

#[test]
fn characters_without_a_token_become_their_bytes() {
    let tokenizer = tiny();
    for (text, bytes) in [("🙂", 4), ("世", 3), ("\u{10ffff}", 4)] {
        let ids = tokenizer.encode(text).expect("ids");
        assert_eq!(ids.len(), bytes, "{text}");
        assert_eq!(tokenizer.decode(&ids).expect("a text"), text);
    }
}

#[test]
fn a_stream_never_shows_half_a_character() {
    let tokenizer = tiny();
    let ids = tokenizer.encode("a🙂b").expect("ids");
    let pieces = streamed(&tokenizer, &ids);
    assert_eq!(pieces, ["a", "", "", "", "🙂", "b", ""]);
}

#[test]
fn bytes_that_end_in_the_middle_of_a_character_are_not_lost() {
    let tokenizer = tiny();
    let ids = tokenizer.encode("a🙂").expect("ids");
    let pieces = streamed(&tokenizer, &ids[..3]);
    assert_eq!(pieces, ["a", "", "", "\u{fffd}"]);
}

#[test]
fn a_replacement_character_of_the_text_s_own_is_not_lost() {
    let tokenizer = tiny();
    let ids = tokenizer.encode("a\u{fffd}").expect("ids");
    assert_eq!(streamed(&tokenizer, &ids).concat(), "a\u{fffd}");
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).expect("a written file");
    }
    dir
}

#[test]
fn a_folder_without_a_whole_tokenizer_is_refused() {
    let folders: [&[(&str, &[u8])]; 3] = [&[], &[("vocab.json", b"{}")], &[("merges.txt", b"")]];
    for files in folders {
        let dir = folder(files);
        let error = Tokenizer::open(dir.path()).expect_err("no tokenizer");
        assert!(matches!(error, Error::NoTokenizer { .. }), "{error}");
    }
    let error = Tokenizer::open(folder(&[]).path().join("nowhere")).expect_err("no folder");
    assert!(matches!(error, Error::NoTokenizer { .. }), "{error}");
}

#[test]
fn a_malformed_tokenizer_is_refused_with_its_file() {
    let whole = std::fs::read(llorch_fixtures::tiny_path().join("tokenizer.json"));
    let whole = whole.expect("tokenizer.json");
    let bad: [&[u8]; 7] = [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff\xfe",
        br#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["b c"]}}"#,
        &whole[..whole.len() / 2],
    ];
    for bytes in bad {
        assert_refused(&[("tokenizer.json", bytes)], "tokenizer.json");
    }
    assert_refused(&[("vocab.json", b"{"), ("merges.txt", b"")], "vocab.json");
    assert_refused(
        &[("vocab.json", br#"{"a": 0}"#), ("merges.txt", b"b c\n")],
        "vocab.json",
    );
    assert_refused(
        &[
            ("vocab.json", br#"{"a": 0}"#),
            ("merges.txt", b"\xff \xff\n"),
        ],
        "vocab.json",
    );
}

#[track_caller]
fn assert_refused(files: &[(&str, &[u8])], name: &str) {
    let dir = folder(files);
    let error = Tokenizer::open(dir.path()).expect_err("a malformed file");
    let named = matches!(&error, Error::TokenizerFile { path, .. } if path.ends_with(name));
    assert!(named, "{files:?}: {error}");
    assert!(error.to_string().contains(name), "{error}");
}
