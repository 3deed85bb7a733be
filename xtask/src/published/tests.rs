use std::cell::Cell;

use llorch_model::{Cpu, Sampling};
use llorch_parity::{Reason, Verdict};
use ndarray::{Array1, Array2, Array3, ArrayView1, ArrayView2};
use serde_json::{Value, json};

use super::*;
use crate::plain::{Bug, Weights};
use crate::port::{Plain, Port, Rooms, Session};

/// The checkpoints that figures belong to.
const JUDGED: [usize; 4] = [8, 9, 10, 12];
/// The source of the figures about `tiny`.
const SOURCE: &str =
    "huggingface/transformers src/transformers/models/gpt2/modeling_gpt2.py @5.23.0";

fn read(path: &str) -> Value {
    let text = fs::read(root().join(path)).expect("a file of figures");
    serde_json::from_slice(&text).expect("JSON")
}

/// The file about `tiny`, which `reference/published_tiny.py` writes.
fn file() -> Value {
    read("xtask/tests/published/tiny.json")
}

fn tiny() -> ModelDir {
    ModelDir::open("tiny").expect("the embedded model")
}

fn parse(file: &Value, model: &ModelDir) -> Result<Option<Published>> {
    Published::parse(file.to_string().as_bytes(), model)
}

fn judge(file: &Value, checkpoint: usize, model: &dyn Model, folder: &ModelDir) -> Judgement {
    let published = parse(file, folder).expect("a file of this form");
    let published = published.expect("figures about the model");
    let evidence = Evidence {
        weights_sha256: folder.weights_sha256.clone(),
        inputs_sha256: String::new(),
        references_sha256: String::new(),
        commit: "unknown".to_owned(),
        dirty: true,
    };
    let judgement = published.judge(checkpoint, model, folder, evidence);
    judgement.expect("a run").expect("figures of a checkpoint")
}

/// Our own model, held against a file.
fn judged(file: &Value, checkpoint: usize) -> Judgement {
    let folder = tiny();
    let rooms = Rooms::new(&folder, &Cpu::from_env().expect("a CPU"), true).expect("the rooms");
    judge(file, checkpoint, rooms.model().expect("whole"), &folder)
}

/// The file with one figure changed.
fn spoilt(name: &str, pointer: &str, value: Value) -> Value {
    let mut file = file();
    let figures = file["models"][0]["sources"][0]["figures"].as_array_mut();
    let mut figures = figures.expect("figures").iter_mut();
    let figure = figures.find(|figure| figure["name"] == name);
    let figure = figure.expect("a figure of this name");
    let place = figure["figure"].pointer_mut(pointer).expect(pointer);
    assert_ne!(*place, value, "nothing is changed");
    *place = value;
    file
}

/// The one failure of a judgement, which names the source and the figure.
#[track_caller]
fn failure(judgement: &Judgement, name: &str) -> String {
    let Verdict::Fail(failures) = judgement.verdict() else {
        panic!("expected a failure, found {}", judgement.verdict());
    };
    let [failure] = &failures[..] else {
        panic!("expected one failure, found {failures:?}");
    };
    let said = failure.to_string();
    let case = format!("{SOURCE}, {name},");
    assert!(said.starts_with(&case), "{said}");
    said
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
    let rooms = Rooms::new(&folder, &Cpu::from_env().expect("a CPU"), true).expect("the rooms");
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
    let Verdict::Fail(failures) = judgement.verdict() else {
        panic!("expected a failure, found {}", judgement.verdict());
    };
    let said = failures[0].to_string();
    assert!(said.contains("best token: expected 13, found 12"), "{said}");
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
    let Verdict::Fail(failures) = judgement.verdict() else {
        panic!("expected a failure, found {}", judgement.verdict());
    };
    // The text that they are decoded to is another, too.
    let case = format!("{SOURCE}, ids of a text,");
    let said: Vec<String> = failures.iter().map(ToString::to_string).collect();
    assert!(said[0].starts_with(&format!("{case} ids")), "{said:?}");
    assert!(said[1].starts_with(&format!("{case} text")), "{said:?}");
}

/// A model whose last logits or generated ids are changed.
struct Changed<'a> {
    model: &'a dyn Model,
    logits: &'a dyn Fn(f32) -> f32,
    generated: fn(Vec<u32>) -> Vec<u32>,
}

struct ChangedSession<'a> {
    session: Box<dyn Session + 'a>,
    logits: &'a dyn Fn(f32) -> f32,
}

impl Model for Changed<'_> {
    fn session(&self, batch: usize, positions: usize) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(ChangedSession {
            session: self.model.session(batch, positions)?,
            logits: self.logits,
        }))
    }

    fn greedy(&self, logits: ArrayView2<f32>) -> Result<Vec<u32>> {
        self.model.greedy(logits)
    }

    fn distribution(&self, sampling: &Sampling, logits: ArrayView1<f32>) -> Result<Array1<f32>> {
        self.model.distribution(sampling, logits)
    }

    fn generate(&self, prompt: &[u32], new: usize) -> Result<Vec<u32>> {
        Ok((self.generated)(self.model.generate(prompt, new)?))
    }
}

impl Session for ChangedSession<'_> {
    fn forward(
        &mut self,
        tokens: ArrayView2<u32>,
        probe: &mut dyn llorch_model::Probe,
    ) -> Result<Array3<f32>> {
        self.session.forward(tokens, probe)
    }

    fn forward_last(&mut self, tokens: ArrayView2<u32>) -> Result<Array2<f32>> {
        Ok(self.session.forward_last(tokens)?.mapv(self.logits))
    }
}

fn changed(
    checkpoint: usize,
    logits: &dyn Fn(f32) -> f32,
    generated: fn(Vec<u32>) -> Vec<u32>,
) -> Judgement {
    let folder = tiny();
    let rooms = Rooms::new(&folder, &Cpu::from_env().expect("a CPU"), true).expect("the rooms");
    let model = rooms.model().expect("whole");
    let model = Changed {
        model,
        logits,
        generated,
    };
    judge(&file(), checkpoint, &model, &folder)
}

#[test]
fn a_margin_that_rounding_can_close_settles_nothing() {
    for checkpoint in [10, 12] {
        let judgement = changed(checkpoint, &|logit| logit * 1e-6, |ids| ids);
        let Verdict::Inconclusive(reasons) = judgement.verdict() else {
            panic!("expected INCONCLUSIVE, found {}", judgement.verdict());
        };
        let margins = reasons
            .iter()
            .filter(|r| matches!(r, Reason::Margin { .. }));
        assert_eq!(margins.count(), 24);
        let said = reasons[0].to_string();
        assert!(
            said.contains(&format!("{SOURCE}, generated ids, token 0")),
            "{said}"
        );
    }
}

#[test]
fn a_model_that_answers_otherwise_when_asked_again_fails() {
    let asked = Cell::new(0.0f32);
    let drifting = |logit: f32| {
        asked.set(asked.get() + 1e-9);
        logit + asked.get()
    };
    let judgement = changed(9, &drifting, |ids| ids);
    let Verdict::Fail(failures) = judgement.verdict() else {
        panic!("expected a failure, found {}", judgement.verdict());
    };
    let said = failures[0].to_string();
    assert!(
        said.starts_with("determinism") && said.contains("best token"),
        "{said}"
    );
}

#[test]
fn what_a_user_would_get_is_judged_and_not_the_forced_run_alone() {
    let swapped = |mut ids: Vec<u32>| {
        ids.swap(3, 4);
        ids
    };
    let judgement = changed(12, &|logit| logit, swapped);
    let Verdict::Fail(failures) = judgement.verdict() else {
        panic!("expected a failure, found {}", judgement.verdict());
    };
    let said = failures[0].to_string();
    assert!(
        said.contains("generated ids, token 3: expected 412, found 308"),
        "{said}"
    );
    let short = |mut ids: Vec<u32>| {
        ids.pop();
        ids
    };
    let judgement = changed(12, &|logit| logit, short);
    let said = judgement.verdict().to_string();
    assert_eq!(judgement.verdict().exit_code(), 1, "{said}");
}

#[test]
fn a_port_with_a_mistake_fails() {
    let folder = tiny();
    let weights = Weights::load(&folder.weights, &folder.config).expect("plain weights");
    let right = Plain {
        weights: &weights,
        bug: None,
    };
    let wrong = Plain {
        weights: &weights,
        bug: Some(Bug::GeluErf),
    };
    for checkpoint in [8, 9] {
        let judgement = judge(&file(), checkpoint, right.model().expect("whole"), &folder);
        assert!(judgement.verdict().is_pass(), "{}", judgement.verdict());
        let judgement = judge(&file(), checkpoint, wrong.model().expect("whole"), &folder);
        assert_eq!(
            judgement.verdict().exit_code(),
            1,
            "{}",
            judgement.verdict()
        );
    }
}

#[test]
fn a_text_without_a_tokenizer_is_no_pass() {
    let empty = tempfile::tempdir().expect("a folder");
    let folder = ModelDir {
        path: empty.path().to_owned(),
        ..tiny()
    };
    let rooms = Rooms::new(&folder, &Cpu::from_env().expect("a CPU"), true).expect("the rooms");
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
    let case = format!("{SOURCE}, none of those that are,");
    assert_eq!(named, [(case, "one for the tests")]);
}

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
fn kinds(file: &Value) -> std::collections::BTreeSet<String> {
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let mut kinds = std::collections::BTreeSet::new();
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
