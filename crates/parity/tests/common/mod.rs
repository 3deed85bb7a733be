//! A folder of references for one case, and a judge for it.
#![allow(
    dead_code,
    missing_docs,
    reason = "every test file uses its own part of this"
)]

use llorch_parity::{
    Evidence, Expectation, Judge, Judgement, Key, Manifest, Mismatch, Reference, Rule, Tensor,
    Trace, Verdict, sha256_hex,
};
use ndarray::{ArrayD, IxDyn};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// float32 0, 1, 2, ... in a shape.
pub fn counting(shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>();
    let values = (0..count).map(|v| v as f32).collect();
    Tensor::F32(ArrayD::from_shape_vec(IxDyn(shape), values).unwrap())
}

/// One value throughout a shape.
pub fn constant(shape: &[usize], value: f32) -> Tensor {
    Tensor::F32(ArrayD::from_elem(IxDyn(shape), value))
}

pub fn evidence() -> Evidence {
    Evidence {
        weights_sha256: sha256_hex(b"weights"),
        inputs_sha256: sha256_hex(b"inputs"),
        references_sha256: sha256_hex(b"references"),
        commit: "0123456789abcdef0123456789abcdef01234567".into(),
        dirty: false,
    }
}

/// Two sites of the case `steps`, in the order of execution.
pub fn keys() -> [Key; 2] {
    [Key::new("steps", "0/norm"), Key::new("steps", "0/scores")]
}

pub fn expected() -> Vec<Expectation> {
    let [norm, scores] = keys();
    vec![
        Expectation::tensor(norm, "norm", Rule::within(1e-5)),
        Expectation::tensor(scores, "scores", Rule::within(1e-4).masked()),
    ]
}

/// What the witness gave for [`expected`].
pub fn witness() -> Trace {
    let scores = vec![0.5, f32::NEG_INFINITY, -0.25, 2.0];
    let mut trace = Trace::new();
    trace.insert("0/norm", counting(&[2, 3])).unwrap();
    let scores = ArrayD::from_shape_vec(IxDyn(&[2, 2]), scores).unwrap();
    trace.insert("0/scores", scores).unwrap();
    trace
}

/// truth - witness for [`witness`].
pub fn truth() -> Trace {
    let mut trace = Trace::new();
    trace.insert("0/norm", constant(&[2, 3], 1e-7)).unwrap();
    let scores = ArrayD::from_shape_vec(IxDyn(&[2, 2]), vec![1e-7f32, 0.0, 1e-7, 1e-7]).unwrap();
    trace.insert("0/scores", scores).unwrap();
    trace
}

/// [`witness`] with one tensor replaced, or removed.
pub fn witness_with(name: &str, tensor: Option<Tensor>) -> Trace {
    let mut trace = Trace::new();
    for (old, kept) in witness().iter().filter(|(old, _)| *old != name) {
        trace.insert(old, kept.clone()).unwrap();
    }
    if let Some(tensor) = tensor {
        trace.insert(name, tensor).unwrap();
    }
    trace
}

/// A judge for [`expected`] that has seen two equal runs.
pub fn judge() -> Judge {
    let mut judge = Judge::new(expected(), "run `make refs`");
    judge.identical("two runs", &counting(&[2, 3]), &counting(&[2, 3]));
    judge
}

/// The judgement on `ours`, everything else being in order.
pub fn judged(ours: &Trace) -> Judgement {
    let mut judge = judge();
    judge.compare_case("steps", ours, &witness(), Some(&truth()));
    judge.finish(evidence())
}

/// The first failure's words, of a judgement that must be a FAIL.
pub fn first_failure(judgement: &Judgement) -> String {
    assert_eq!(judgement.verdict().exit_code(), 1);
    match judgement.verdict() {
        Verdict::Fail(failures) => failures[0].to_string(),
        other => panic!("expected FAIL, found {other}"),
    }
}

/// The first reason's words, of a judgement that must be INCONCLUSIVE.
pub fn first_reason(judgement: &Judgement) -> String {
    assert_eq!(judgement.verdict().exit_code(), 3);
    match judgement.verdict() {
        Verdict::Inconclusive(reasons) => reasons[0].to_string(),
        other => panic!("expected INCONCLUSIVE, found {other}"),
    }
}

/// Compares without a truth.
pub fn mismatch(ours: &Tensor, witness: &Tensor, rule: Rule) -> Mismatch {
    llorch_parity::compare(ours, Reference::witness(witness), rule).unwrap_err()
}

/// A manifest of the case `steps`, for the files given by name and bytes.
pub fn manifest_json(files: &[(&str, &str, &[u8])]) -> Value {
    let mut parts = serde_json::Map::new();
    for (part, file, bytes) in files {
        let entry = json!({"file": file, "sha256": sha256_hex(bytes)});
        let list = parts.entry(*part).or_insert(json!([]));
        list.as_array_mut().unwrap().push(entry);
    }
    json!({
        "format": 1, "model": "toy", "kind": "whole", "witness": "hf",
        "weights": {"file": "model.safetensors", "sha256": sha256_hex(b"weights")},
        "config_sha256": sha256_hex(b"config"),
        "versions": {"numpy": "2.0"},
        "cases": [{
            "name": "steps", "selection": "all", "calls": [7, 1], "batch": 1, "files": parts,
        }],
    })
}

/// Writes a manifest and its checksum.
pub fn write_manifest(dir: &Path, manifest: &Value) {
    let text = serde_json::to_string_pretty(manifest).unwrap() + "\n";
    let line = format!("{}  manifest.json\n", sha256_hex(text.as_bytes()));
    fs::write(dir.join("manifest.json"), text).unwrap();
    fs::write(dir.join("manifest.json.sha256"), line).unwrap();
}

/// A whole folder of references: [`witness`] and [`truth`].
pub fn references() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("hf", "steps.hf.npz", witness()),
        ("propagated", "steps.propagated.npz", truth()),
    ];
    let written = files.map(|(part, file, trace)| {
        let path = dir.path().join(file);
        trace.write_npz(&path).unwrap();
        (part, file, fs::read(path).unwrap())
    });
    let listed: Vec<_> = written
        .iter()
        .map(|(p, f, b)| (*p, *f, b.as_slice()))
        .collect();
    write_manifest(dir.path(), &manifest_json(&listed));
    dir
}

/// Opens the folder and judges `ours` against it, as a gate would: what cannot be loaded is absent.
pub fn gate(dir: &Path, ours: &Trace) -> Judgement {
    let mut judge = judge();
    let loaded = Manifest::open(dir).and_then(|manifest| {
        Ok((
            manifest.load("steps", "hf")?,
            manifest.load("steps", "propagated")?,
        ))
    });
    match loaded {
        Ok((witness, truth)) => judge.compare_case("steps", ours, &witness, Some(&truth)),
        Err(error) => judge.absent(error.to_string(), "run `make refs`"),
    }
    judge.finish(evidence())
}
