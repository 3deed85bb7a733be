//! Dumps that real programs wrote, and the session that the page shows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{compare, folder, judged, text};
use crate::support::{outcome, xtask};

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/dumps")
        .join(name)
}

/// What implementations that others wrote gave, as reference/dump_*.py recorded it.
#[test]
fn real_ports_are_judged_through_their_own_names() {
    let passing = [
        ("transformers.safetensors", "transformers:", "float32"),
        (
            "transformers-float16.safetensors",
            "transformers:",
            "float16",
        ),
        ("transformer-lens.npz", "transformer-lens:", "float32"),
    ];
    for (name, map, dtype) in passing {
        let (code, report) = judged(&recorded(name), &[]);
        assert_eq!(
            (code, &report["verdict"]),
            (Some(0), &"PASS".into()),
            "{name}: {report}"
        );
        assert!(
            report["map"]
                .as_str()
                .is_some_and(|names| names.contains(map)),
            "{name}"
        );
        let sites = report["sites"].as_array().expect("sites");
        assert_eq!(sites.len(), 20, "{name}");
        assert!(
            sites
                .iter()
                .all(|site| site["verdict"] == "right" && site["dtype"] == dtype)
        );
    }
}

#[test]
fn mistakes_in_real_ports_are_named_where_they_are() {
    let failing = [
        ("transformers-erf.safetensors", "0/h.0.mlp.act", "GeluErf"),
        (
            "transformer-lens-swapped.npz",
            "0/h.0.attn.k",
            "QkvKeysValuesSwapped",
        ),
        // Nobody put this one in: ggml looks GELU up in a table of float16.
        ("llama-cpp.npz", "0/h.0.mlp.act", "GeluHalfTable"),
    ];
    for (name, site, cause) in failing {
        let (code, report) = judged(&recorded(name), &[]);
        assert_eq!(
            (code, &report["verdict"]),
            (Some(1), &"FAIL".into()),
            "{name}: {report}"
        );
        assert_eq!(report["first_wrong"]["site"], site, "{name}");
        let diagnosis = &report["diagnosis"];
        assert_eq!(diagnosis["is_certain"], true, "{name}: {diagnosis}");
        assert_eq!(diagnosis["causes"][0]["id"], cause, "{name}: {diagnosis}");
        assert_eq!(
            diagnosis["causes"][0]["reach"]["until"],
            Value::Null,
            "{name}: {diagnosis}"
        );
    }
}

#[test]
fn what_trace_writes_agrees() {
    let folder = folder();
    let path = folder.path().join("trace.npz");
    let tokens = outcome(&xtask(&["compare", "--tokens", "two-tokens"], &[]));
    assert_eq!(tokens, (Some(0), "[[353,505]]\n".to_owned()));
    let traced = outcome(&xtask(
        &["trace", "--tokens", "353,505", "--out", text(&path)],
        &[],
    ));
    assert_eq!(traced.0, Some(0), "{}", traced.1);
    let (code, printed) = outcome(&compare(&path, &["--verbose"]));
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("PASS over 59 tensors"), "{printed}");
    assert!(printed.contains("0/h.3.attn.scores"), "{printed}");
}

/// What docs/porting.md shows is what the command prints.
#[test]
fn the_session_in_the_docs_is_what_happens() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/porting.md")).expect("the page");
    let mut sessions = 0;
    for block in page.split("```text\n$ cargo xtask compare ").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        let (arguments, shown) = block
            .split_once('\n')
            .expect("a command and what it prints");
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .arg("compare")
            .args(arguments.split(' '))
            .current_dir(&root)
            .output()
            .expect("xtask runs");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            shown,
            "{arguments}"
        );
        sessions += 1;
    }
    assert_eq!(sessions, 4);
}
