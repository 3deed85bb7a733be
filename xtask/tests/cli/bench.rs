//! `cargo xtask bench`: what it refuses, and that it says everything that it measures.

use serde_json::Value;

use crate::support::{outcome, xtask};

#[test]
fn misuse_exits_2_and_says_why() {
    let misused: [(&[&str], &str); 7] = [
        (&["--shape", "gpt3"], "gpt2-xl"),
        (&["--threads", "0"], "--threads"),
        (&["--rounds", "0"], "--rounds"),
        (&["--model", "tiny", "--shape", "gpt2"], "--shape"),
        (&["--model", "no/such/folder"], "no/such/folder"),
        (&["--model", env!("CARGO_MANIFEST_DIR")], "config.json"),
        (&["--first-token"], "--model"),
    ];
    for (arguments, says) in misused {
        let (code, printed) = outcome(&xtask(&["bench"], arguments));
        assert_eq!(code, Some(2), "{arguments:?}: {printed}");
        assert!(printed.contains(says), "{arguments:?}: {printed}");
    }
}

/// Every number in a value, with where it is.
fn numbers(at: &str, value: &Value, found: &mut Vec<(String, f64)>) {
    match value {
        Value::Number(number) => found.push((at.to_owned(), number.as_f64().expect("a number"))),
        Value::Array(values) => {
            for (i, value) in values.iter().enumerate() {
                numbers(&format!("{at}.{i}"), value, found);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                numbers(&format!("{at}.{name}"), value, found);
            }
        }
        _ => {}
    }
}

/// How large they are is no matter of a test.
#[test]
fn all_figures_of_the_embedded_model_are_numbers() {
    let arguments = ["--model", "tiny", "--rounds", "1"];
    let output = xtask(&["bench", "--as-built", "--json"], &arguments);
    let (code, printed) = outcome(&output);
    assert_eq!(code, Some(0), "{printed}");
    let report: Value = serde_json::from_str(&printed).expect("JSON alone");

    // Two prompts that fit 160 positions, and two pasts for each of three batches.
    let figures = report["figures"].as_array().expect("figures");
    let tasks: Vec<_> = figures.iter().map(|figure| &figure["task"]).collect();
    let count = |kind: &str| tasks.iter().filter(|task| task["task"] == kind).count();
    assert_eq!((count("prefill"), count("decode")), (2, 6), "{tasks:?}");
    for figure in figures {
        for name in [
            "seconds",
            "tokens_per_second",
            "of_read",
            "of_multiply_adds",
        ] {
            assert!(figure[name].is_f64(), "{name}: {figure}");
        }
        assert_eq!(figure["repetitions"].as_array().map(Vec::len), Some(1));
    }
    let grown = figures.iter().filter(|figure| !figure["growth"].is_null());
    assert_eq!(grown.count(), 1 + 4);
    assert_eq!(report["first_token"]["prompt"], 64);
    assert_eq!(report["threads"], 1);
    for name in ["read", "multiply_adds", "round_trip"] {
        assert!(report["limits"][name]["median"].is_f64(), "{name}");
    }

    let mut found = Vec::new();
    numbers("", &report, &mut found);
    assert!(found.len() > 100, "{found:?}");
    for (at, number) in found {
        assert!(number > 0.0, "{at}: {number}");
    }
}
