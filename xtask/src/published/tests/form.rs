//! The files' own form.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;

#[test]
fn a_field_that_the_form_does_not_have_is_refused() {
    for place in [
        "",
        "/models/0",
        "/models/0/sources/0",
        "/models/0/sources/0/not_judged/0",
        "/models/0/sources/0/figures/0",
        "/models/0/sources/0/figures/0/figure/final_hidden",
        "/models/0/sources/0/figures/0/figure/final_hidden/tolerance",
        "/models/0/sources/0/figures/1/figure/logprobs",
        "/models/0/sources/0/figures/4/figure/next_token",
        "/models/0/sources/0/figures/5/figure/greedy",
        "/models/0/sources/0/figures/7/figure/tokenized",
    ] {
        let mut file = file();
        let object = file.pointer_mut(place).and_then(Value::as_object_mut);
        object
            .expect(place)
            .insert("colour".to_owned(), json!("blue"));
        let refusal = parse(&file, &tiny()).err();
        let said = refusal.expect("a refusal").to_string();
        assert!(said.contains("colour"), "{place}: {said}");
    }
}

/// The kinds of figure in a file, and the forms of what has several.
fn kinds(file: &Value) -> BTreeSet<String> {
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let mut kinds = BTreeSet::new();
    for model in list(&file["models"]) {
        for source in list(&model["sources"]) {
            for figure in list(&source["figures"]) {
                for (kind, fields) in figure["figure"].as_object().expect("a kind") {
                    for part in ["values", "prompt", "continuation", "tolerance"] {
                        let forms = fields[part].as_object();
                        for form in forms.iter().flat_map(|forms| forms.keys()) {
                            kinds.insert(format!("{kind} {part} {form}"));
                        }
                    }
                    kinds.insert(kind.clone());
                }
            }
        }
    }
    kinds
}

#[test]
fn the_tests_have_every_kind_of_figure_that_is_published() {
    let (tested, published) = (kinds(&file()), kinds(&read("fixtures/published.json")));
    let kinds = [
        "final_hidden",
        "greedy",
        "logprobs",
        "next_token",
        "tokenized",
    ];
    for kind in kinds {
        assert!(published.contains(kind), "{kind}");
    }
    let untested: Vec<_> = published.difference(&tested).collect();
    assert!(untested.is_empty(), "{untested:?}");
}
