mod changed;
mod figures;
mod form;
mod lacking;
mod models;

use llorch_model::Cpu;
use llorch_parity::Verdict;
use serde_json::Value;

use super::*;
use crate::port::{Port, Rooms};

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

/// Our own model in a folder.
fn rooms(folder: &ModelDir) -> Rooms<'_> {
    Rooms::new(folder, &Cpu::from_env().expect("a CPU"), true).expect("the rooms")
}

/// Our own model, held against a file.
fn judged(file: &Value, checkpoint: usize) -> Judgement {
    let folder = tiny();
    let rooms = rooms(&folder);
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

/// The failures of a judgement, in words.
#[track_caller]
fn failures(judgement: &Judgement) -> Vec<String> {
    let Verdict::Fail(failures) = judgement.verdict() else {
        panic!("expected a failure, found {}", judgement.verdict());
    };
    failures.iter().map(ToString::to_string).collect()
}
