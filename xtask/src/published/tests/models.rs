//! Which model a file is about.

use super::*;

#[test]
fn a_model_that_no_file_is_about_has_no_figures() {
    assert!(
        Published::of(&tiny())
            .expect("the committed file")
            .is_none()
    );
}

#[test]
fn a_name_is_not_enough_where_the_weights_are_known() {
    for name in ["gpt2", "openai-community/gpt2"] {
        let tuned = ModelDir {
            name: name.to_owned(),
            ..tiny()
        };
        assert!(
            Published::of(&tuned).expect("the committed file").is_none(),
            "{name}"
        );
    }
    let real = ModelDir {
        weights_sha256: "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"
            .to_owned(),
        ..tiny()
    };
    assert!(Published::of(&real).expect("the committed file").is_some());
}

#[test]
fn only_a_repository_s_name_says_which_model_it_is() {
    for (name, known) in [
        ("openai-community/gpt2-medium", true),
        ("gpt2-medium", false),
    ] {
        let model = ModelDir {
            name: name.to_owned(),
            ..tiny()
        };
        let published = Published::of(&model).expect("the committed file");
        assert_eq!(published.is_some(), known, "{name}");
    }
    let mut file = file();
    let about = file["models"][0].as_object_mut().expect("a model");
    about.remove("weights_sha256");
    assert!(parse(&file, &tiny()).expect("a file").is_none());
}

#[test]
fn what_is_not_judged_is_named_with_its_reason() {
    let published = parse(&file(), &tiny()).expect("a file").expect("figures");
    let named: Vec<_> = published.not_judged().collect();
    let case = format!("{SOURCE}, none of those that are");
    assert_eq!(named, [(case, "one for the tests")]);
}
