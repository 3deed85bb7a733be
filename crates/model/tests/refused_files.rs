//! Bad files: a typed error that says what was expected and found, and which file or tensor it was.

mod common {
    pub mod folder;
    pub mod refusals;
}

use std::fs;

use common::folder::Folder;
use common::refusals::assert_says;
use llorch_model::{Error, Gpt2, Tokenizer};
use ndarray::arr1;

#[test]
fn a_missing_folder_is_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let error = Gpt2::open(dir.path().join("nowhere")).expect_err("no folder");
    assert!(matches!(error, Error::Config(_)), "{error}");
    assert_says(&error, "nowhere");
}

#[test]
fn a_config_that_would_change_the_numbers_is_refused_by_field() {
    for (field, value) in [
        ("reorder_and_upcast_attn", true),
        ("scale_attn_weights", false),
    ] {
        let error = Folder::tiny()
            .with(field, value)
            .open()
            .expect_err("a refused config");
        assert!(matches!(error, Error::Config(_)), "{error}");
        assert_says(&error, field);
    }
    let dir = Folder::tiny().write();
    fs::write(dir.path().join("config.json"), "{").expect("a written file");
    let error = Gpt2::open(dir.path()).expect_err("a malformed config");
    assert!(matches!(error, Error::Config(_)), "{error}");
    assert_says(&error, "config.json");
}

#[track_caller]
fn weights_error(folder: &Folder) -> llorch_weights::Error {
    match folder.open() {
        Err(Error::Weights(error)) => error,
        Err(error) => panic!("expected an error of the weights, found {error}"),
        Ok(_) => panic!("expected an error of the weights, found a model"),
    }
}

#[test]
fn a_missing_tensor_is_named() {
    for name in [
        "wpe.weight",
        "h.2.attn.c_proj.bias",
        "ln_f.weight",
        "h.3.mlp.c_fc.weight",
    ] {
        let mut folder = Folder::tiny();
        folder.remove(name);
        let error = weights_error(&folder);
        let named =
            matches!(&error, llorch_weights::Error::Missing { missing } if missing[0].name == name);
        assert!(named, "{error}");
    }
}

#[test]
fn a_misshapen_tensor_is_named() {
    let mut folder = Folder::tiny();
    let transposed = folder.get("h.1.attn.c_attn.weight").reversed_axes();
    folder.set("h.1.attn.c_attn.weight", &transposed);
    let error = weights_error(&folder);
    let words = "h.1.attn.c_attn.weight: expected shape [144, 432], found [432, 144]";
    assert_eq!(error.to_string(), words);
}

#[test]
fn numbers_that_are_not_finite_are_named_wherever_they_are() {
    for name in [
        "wte.weight",
        "wpe.weight",
        "h.0.ln_2.bias",
        "h.3.mlp.c_proj.weight",
        "ln_f.bias",
    ] {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut folder = Folder::tiny();
            let mut values = folder.get(name);
            *values.iter_mut().nth(77).expect("78 elements") = bad;
            folder.set(name, &values);
            let error = weights_error(&folder);
            let named = matches!(&error, llorch_weights::Error::NotFinite { name: found, .. } if found == name);
            assert!(named, "{error}");
        }
    }
}

#[test]
fn an_untied_model_needs_a_head() {
    let folder = Folder::tiny().with("tie_word_embeddings", false);
    let error = weights_error(&folder);
    assert!(matches!(error, llorch_weights::Error::NoHead), "{error}");
}

#[test]
fn a_tensor_of_another_model_is_named() {
    let mut folder = Folder::tiny();
    folder.add("h.4.ln_1.weight", &arr1(&[1.0; 144]));
    let error = weights_error(&folder);
    assert!(
        matches!(error, llorch_weights::Error::Extra { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("h.4.ln_1.weight"), "{error}");
}

#[test]
fn truncated_weights_are_refused() {
    let dir = Folder::tiny().write();
    let path = dir.path().join("model.safetensors");
    let bytes = fs::read(&path).expect("the file");
    for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).expect("a written file");
        let error = Gpt2::open(dir.path()).expect_err("a truncated file");
        assert!(
            matches!(error, Error::Weights(_)),
            "{length} bytes: {error}"
        );
    }
}

#[test]
fn a_missing_tokenizer_says_what_was_looked_for() {
    let dir = Folder::tiny().write();
    let error = Tokenizer::open(dir.path()).expect_err("no tokenizer");
    assert!(matches!(error, Error::NoTokenizer { .. }), "{error}");
    assert_says(
        &error,
        "expected tokenizer.json, or vocab.json and merges.txt, found neither",
    );
}

#[test]
fn a_text_that_a_tokenizer_has_no_token_for_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let words = r#"{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "none"}}"#;
    fs::write(dir.path().join("tokenizer.json"), words).expect("a written file");
    let tokenizer = Tokenizer::open(dir.path()).expect("a tokenizer");
    assert_eq!(tokenizer.encode("a").expect("ids"), [0]);
    let error = tokenizer.encode("b").expect_err("no token");
    assert!(matches!(error, Error::Tokenizer(_)), "{error}");
}
