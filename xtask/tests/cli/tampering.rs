//! Files changed behind the gate's back, the manifest with them where a forger would: not one run is a PASS.
//! The same for tensors in memory is in crates/parity/tests/tampering.rs.

use std::fs;
use std::path::Path;

use ndarray::{ArrayD, Axis, IxDyn, concatenate};

use crate::support::{Copies, outcome};

/// Runs the gate on what was tampered with.
#[track_caller]
fn assert_no_pass(copies: &Copies, code: i32, says: &str) {
    let (found, printed) = outcome(&copies.validate(&[]));
    assert_eq!(found, Some(code), "{printed}");
    // A line may be broken at any space.
    let printed: Vec<_> = printed.split_whitespace().collect();
    let printed = printed.join(" ");
    assert!(printed.contains(says), "expected {says:?} in {printed}");
    assert!(!printed.contains("PASS: "), "{printed}");
}

#[test]
fn a_trace_deleted() {
    for file in [
        "batch.hf.npz",
        "steps.isolated.npz",
        "chunks.propagated.npz",
    ] {
        let copies = Copies::new("trace-deleted");
        fs::remove_file(copies.refs().join(file)).expect("a file");
        assert_no_pass(&copies, 3, &format!("{file}: expected a file, found none"));
    }
}

#[test]
fn a_part_of_a_case_deleted_from_the_manifest_too() {
    for part in ["isolated", "propagated"] {
        let copies = Copies::new("part-deleted");
        copies.change_manifest(|manifest| {
            let cases = manifest["cases"].as_array_mut().expect("cases");
            let case = cases.iter_mut().find(|case| case["name"] == "steps");
            let files = case.expect("steps")["files"].as_object_mut();
            files.expect("files").remove(part).expect("a part");
        });
        assert_no_pass(&copies, 3, "the truth of steps");
    }
}

#[test]
fn a_site_renamed() {
    let copies = Copies::new("site-renamed");
    copies.change_trace("steps", |name, tensor| {
        let name = name.replace("0/h.1.attn.q", "0/h.1.attn.query");
        vec![(name, tensor.clone())]
    });
    assert_no_pass(&copies, 3, "the reference of steps 0/h.1.attn.q");
}

#[test]
fn nan_at_one_place_of_the_witness() {
    let copies = Copies::new("witness-nan");
    copies.change_witness("steps", "2/h.3.mlp.act", |mut values| {
        values[[0, 0, 7]] = f32::NAN;
        values
    });
    assert_no_pass(&copies, 1, "found NaN at [0, 0, 7] of the reference");
}

#[test]
fn a_shape_with_a_1_inserted() {
    let copies = Copies::new("one-inserted");
    copies.change_witness("steps", "0/h.2.mlp.out", |values| {
        values.insert_axis(Axis(1))
    });
    assert_no_pass(
        &copies,
        1,
        "shape: expected [1, 1, 7, 144], found [1, 7, 144]",
    );
}

#[test]
fn an_empty_tensor() {
    let copies = Copies::new("empty-tensor");
    copies.change_witness("steps", "0/h.2.mlp.out", |_| {
        ArrayD::zeros(IxDyn(&[0, 144]))
    });
    assert_no_pass(&copies, 1, "shape: expected [0, 144], found [1, 7, 144]");
}

#[test]
fn float64_for_float32() {
    let copies = Copies::new("float64");
    copies.change_trace("steps", |name, tensor| {
        let wider = match tensor.view::<f32, IxDyn>() {
            Some(values) if name == "0/h.2.mlp.out" => values.mapv(f64::from).into(),
            _ => tensor.clone(),
        };
        vec![(name.to_owned(), wider)]
    });
    assert_no_pass(&copies, 1, "dtype: expected float64, found float32");
}

/// More positions than the case says it has: what is behind them would never be compared.
#[test]
fn a_trace_longer_than_the_case() {
    let copies = Copies::new("longer-trace");
    copies.change_trace("two-tokens", |name, tensor| {
        let longer = match tensor.view::<i64, IxDyn>() {
            Some(tokens) if name == "0/tokens" => {
                let twice = concatenate(Axis(1), &[tokens.clone(), tokens]);
                twice.expect("four tokens").into()
            }
            _ => tensor.clone(),
        };
        vec![(name.to_owned(), longer)]
    });
    assert_no_pass(&copies, 3, "in place of two-tokens");
}

/// A call that no entry of the manifest speaks of.
#[test]
fn a_trace_with_one_call_more() {
    let copies = Copies::new("one-call-more");
    copies.change_trace("two-tokens", |name, tensor| {
        let next = name.replacen("0/", "1/", 1);
        [name.to_owned(), next]
            .map(|name| (name, tensor.clone()))
            .into()
    });
    assert_no_pass(&copies, 3, "in place of two-tokens");
}

#[test]
fn the_references_of_another_model() {
    let copies = Copies::new("other-model");
    let half = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/refs/gpt2-124m-attention");
    for entry in fs::read_dir(half).expect("references") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), copies.refs().join(entry.file_name())).expect("a copy");
    }
    assert_no_pass(&copies, 3, "references of another model");
}

/// No verdict is ever read: what stands in the file is written over.
#[test]
fn a_verdict_edited_by_hand() {
    let copies = Copies::new("edited-verdict");
    let wrong = |name: &str, numbers: &mut Vec<f32>| {
        if name == "h.0.ln_1.bias" {
            numbers[0] += 1.0;
        }
        true
    };
    copies.change_weights(wrong);
    copies.claim_weights();
    assert_no_pass(&copies, 1, "FAIL at checkpoint 1");
    let file = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = file.join("../target/parity/edited-verdict/verdict.json");
    let verdict = fs::read_to_string(&file).expect("a verdict");
    fs::write(&file, verdict.replace("FAIL", "PASS")).expect("editing it");
    assert_no_pass(&copies, 1, "FAIL at checkpoint 1");
    let verdict = fs::read_to_string(&file).expect("a verdict");
    let verdict: serde_json::Value = serde_json::from_str(&verdict).expect("JSON");
    assert_eq!(verdict["verdict"], "FAIL");
}
