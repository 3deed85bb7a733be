//! Files and tensors changed behind the gate's back: not one may end in PASS.

mod common;

use common::{
    constant, counting, first_failure, first_reason, gate, manifest_json, references, witness,
    witness_with, write_manifest,
};
use llorch_parity::{Manifest, ManifestError, Tensor, Trace, sha256_hex};
use ndarray::array;
use std::fs;
use std::path::Path;

fn flip_a_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_untouched_folder_passes() {
    let dir = references();
    assert!(gate(dir.path(), &witness()).verdict().is_pass());
}

#[test]
fn a_byte_changed_in_a_trace() {
    let dir = references();
    flip_a_byte(&dir.path().join("steps.hf.npz"));
    let reason = first_reason(&gate(dir.path(), &witness()));
    assert!(reason.contains("steps.hf.npz: expected sha256"), "{reason}");
}

#[test]
fn a_byte_changed_in_the_manifest() {
    let dir = references();
    flip_a_byte(&dir.path().join("manifest.json"));
    let reason = first_reason(&gate(dir.path(), &witness()));
    assert!(
        reason.contains("manifest.json: expected sha256"),
        "{reason}"
    );
}

#[test]
fn a_byte_changed_in_the_checksum() {
    let dir = references();
    flip_a_byte(&dir.path().join("manifest.json.sha256"));
    first_reason(&gate(dir.path(), &witness()));
}

#[test]
fn a_byte_changed_in_the_weights() {
    let dir = references();
    let manifest = Manifest::open(dir.path()).unwrap();
    let (weights, config) = (sha256_hex(b"weights"), sha256_hex(b"config"));
    manifest.check_model(&weights, &config).unwrap();
    let error = manifest
        .check_model(&sha256_hex(b"weighus"), &config)
        .unwrap_err();
    assert!(
        matches!(
            &error,
            ManifestError::OtherModel {
                what: "weights",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn the_manifest_of_another_model() {
    let dir = references();
    let manifest = Manifest::open(dir.path()).unwrap();
    let error = manifest
        .check_model(&sha256_hex(b"weights"), &sha256_hex(b"other"))
        .unwrap_err();
    assert!(
        matches!(&error, ManifestError::OtherModel { what: "config", .. }),
        "{error}"
    );
    assert!(error.to_string().ends_with("references of another model"));
}

#[test]
fn a_trace_deleted() {
    let dir = references();
    fs::remove_file(dir.path().join("steps.propagated.npz")).unwrap();
    let reason = first_reason(&gate(dir.path(), &witness()));
    assert!(
        reason.contains("steps.propagated.npz: expected a file, found none"),
        "{reason}"
    );
}

#[test]
fn a_site_renamed_in_the_references() {
    let dir = references();
    let mut renamed = witness_with("0/norm", None);
    renamed.insert("0/norm_1", counting(&[2, 3])).unwrap();
    let path = dir.path().join("steps.hf.npz");
    renamed.write_npz(&path).unwrap();
    let truth = fs::read(dir.path().join("steps.propagated.npz")).unwrap();
    let files = [
        ("hf", "steps.hf.npz", fs::read(path).unwrap()),
        ("propagated", "steps.propagated.npz", truth),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(p, f, b)| (*p, *f, b.as_slice()))
        .collect();
    write_manifest(dir.path(), &manifest_json(&files));
    let reason = first_reason(&gate(dir.path(), &witness()));
    assert!(
        reason.starts_with("expected the reference of steps 0/norm"),
        "{reason}"
    );
}

fn failure_of(name: &str, tensor: impl Into<Tensor>) -> String {
    let dir = references();
    first_failure(&gate(dir.path(), &witness_with(name, Some(tensor.into()))))
}

#[test]
fn nan_at_one_place() {
    let failure = failure_of("0/norm", array![[0.0, 1.0, 2.0], [3.0, f32::NAN, 5.0]]);
    assert!(failure.contains("found NaN at [1, 1] of ours"), "{failure}");
}

#[test]
fn a_mask_lost() {
    let failure = failure_of("0/scores", array![[0.5f32, 0.5], [-0.25, 2.0]]);
    assert!(
        failure.contains("mask: expected -inf (masked)"),
        "{failure}"
    );
}

#[test]
fn a_shape_with_a_1_inserted() {
    let failure = failure_of("0/norm", counting(&[2, 1, 3]));
    assert!(
        failure.contains("shape: expected [2, 3], found [2, 1, 3]"),
        "{failure}"
    );
}

#[test]
fn float64_for_float32() {
    let failure = failure_of("0/norm", array![[0.0f64, 1.0, 2.0], [3.0, 4.0, 5.0]]);
    assert!(
        failure.contains("dtype: expected float32, found float64"),
        "{failure}"
    );
}

#[test]
fn an_empty_tensor() {
    let failure = failure_of("0/norm", constant(&[0, 3], 0.0));
    assert!(
        failure.contains("shape: expected [2, 3], found [0, 3]"),
        "{failure}"
    );
}

#[test]
fn an_empty_trace() {
    let dir = references();
    let failure = first_failure(&gate(dir.path(), &Trace::new()));
    assert!(failure.contains("missing"), "{failure}");
}

#[test]
fn a_trace_longer_than_the_other() {
    let dir = references();
    let mut longer = witness();
    longer.insert("1/norm", counting(&[2, 3])).unwrap();
    let failure = first_failure(&gate(dir.path(), &longer));
    assert_eq!(
        failure,
        "steps 1/norm: extra: expected none, found a tensor"
    );
    let failure = failure_of("0/norm", counting(&[3, 3]));
    assert!(
        failure.contains("shape: expected [2, 3], found [3, 3]"),
        "{failure}"
    );
}

/// A verdict on disk is read by nobody: what an edited file says changes no judgement, for there is no way
/// from a file to a verdict (see the compile_fail examples of `Passed`).
#[test]
fn a_verdict_file_edited_by_hand() {
    let dir = references();
    let path = dir.path().join("verdict.json");
    let failed = gate(dir.path(), &Trace::new());
    let text = serde_json::to_string(&failed)
        .unwrap()
        .replace("FAIL", "PASS");
    fs::write(&path, text).unwrap();
    assert_eq!(gate(dir.path(), &Trace::new()).verdict().exit_code(), 1);
}
