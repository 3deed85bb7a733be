//! The gate: what passes, what stops it, and where.

use ndarray::{Axis, Slice, concatenate};

use crate::support::{Copies, outcome, unread, xtask};

#[test]
fn the_embedded_model_passes_all_twelve() {
    let (code, printed) = outcome(&xtask(&["validate"], &["--verbose"]));
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("PASS: 12 of 12 on tiny"), "{printed}");
    assert!(printed.contains("attn.scores"), "{printed}");
    let sampled = printed.lines().filter(|line| line.contains(" 0.0000 to "));
    let of_sampling = sampled.filter(|line| line.contains(" at sampling "));
    let columns: Vec<_> = of_sampling
        .map(|line| (line.find("values"), line.find("worst")))
        .collect();
    assert!(
        columns.len() > 9 && columns.iter().all(|c| *c == columns[0]),
        "{printed}"
    );
    assert!(
        printed.lines().all(|line| line == line.trim_end()),
        "{printed}"
    );
}

/// Whoever stops reading gets the same exit code, not a panic's.
#[test]
fn nobody_needs_to_read_what_is_printed() {
    assert_eq!(
        unread(&[
            "validate",
            "--checkpoint",
            "1",
            "--refs",
            env!("CARGO_MANIFEST_DIR")
        ]),
        Some(3)
    );
    assert_eq!(
        unread(&["trace", "--tokens", "x", "--out", "x.npz"]),
        Some(2)
    );
}

#[test]
fn a_checkpoint_runs_those_before_it_and_none_behind() {
    let (code, printed) = outcome(&xtask(&["validate", "--json"], &["--checkpoint", "3"]));
    assert_eq!(code, Some(0), "{printed}");
    let verdict: serde_json::Value = serde_json::from_str(&printed).expect("JSON alone");
    let numbers: Vec<_> = verdict["checkpoints"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (row["number"].as_u64(), row["verdict"].as_str()))
        .collect();
    let pass = Some("PASS");
    assert_eq!(numbers, [(Some(1), pass), (Some(2), pass), (Some(3), pass)]);
    for hash in ["weights_sha256", "inputs_sha256", "references_sha256"] {
        let hash = verdict["checkpoints"][0]["evidence"][hash].as_str();
        assert_eq!(hash.map(str::len), Some(64));
    }
}

/// Every tensor of the model, changed a little, fails at the first checkpoint that is about it.
#[test]
fn a_wrong_weight_fails_at_its_checkpoint() {
    let wrong = [
        ("h.1.ln_1.weight", 1, "h.1.ln_1"),
        ("h.2.ln_2.bias", 1, "h.2.ln_2"),
        ("ln_f.weight", 1, "ln_f"),
        ("h.3.attn.c_attn.weight", 2, "h.3.attn."),
        ("h.0.attn.c_proj.weight", 5, "h.0.attn.out"),
        ("h.1.attn.c_proj.bias", 5, "h.1.attn.out"),
        ("h.2.mlp.c_fc.weight", 6, "h.2.mlp.fc"),
        ("h.2.mlp.c_proj.weight", 6, "h.2.mlp.out"),
        ("wpe.weight", 7, "embed"),
        ("wte.weight", 7, "embed"),
    ];
    for (tensor, checkpoint, site) in wrong {
        let copies = Copies::new("wrong-weight");
        copies.change_weights(|name, numbers| {
            if name == tensor {
                numbers.iter_mut().for_each(|x| *x *= 1.01);
            }
            true
        });
        copies.claim_weights();
        let (code, printed) = outcome(&copies.validate(&[]));
        assert_eq!(code, Some(1), "{tensor}: {printed}");
        let stop = format!("FAIL at checkpoint {checkpoint} ");
        assert!(printed.contains(&stop), "{tensor}: {printed}");
        let first = printed.lines().find(|line| line.starts_with("      "));
        let first = first.expect("a first failure");
        assert!(first.contains(&format!("/{site}")), "{tensor}: {first}");
    }
}

/// What the attention half of a model is: checkpoints 1 to 5, and then the names of what is missing.
#[test]
fn missing_weights_are_inconclusive_by_name() {
    let copies = Copies::new("half-model");
    copies.change_weights(|name, _| !name.ends_with("mlp.c_fc.weight"));
    copies.claim_weights();
    let (code, printed) = outcome(&copies.validate(&[]));
    assert_eq!(code, Some(3), "{printed}");
    assert!(
        printed.contains("INCONCLUSIVE at checkpoint 6"),
        "{printed}"
    );
    assert!(printed.contains("h.3.mlp.c_fc.weight"), "{printed}");
    let (code, printed) = outcome(&copies.validate(&["--checkpoint", "5"]));
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("isolated: each component on"), "{printed}");
}

#[test]
fn a_missing_case_is_inconclusive_by_name() {
    let copies = Copies::new("missing-case");
    copies.change_manifest(|manifest| {
        let cases = manifest["cases"].as_array_mut().expect("cases");
        cases.retain(|case| case["name"] != "chunks");
    });
    let (code, printed) = outcome(&copies.validate(&[]));
    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.contains("case chunks"), "{printed}");
    // What would make it, into the folder that was read.
    let refs = copies.refs();
    let refs = format!("--refs {}` makes it", refs.display());
    assert!(printed.replace("\n     ", "").contains(&refs), "{printed}");
}

/// References that say less than they should would be judged on less, and nothing would be missed.
#[test]
fn a_case_that_is_not_what_the_gate_knows_is_inconclusive_by_name() {
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change); 7] = [
        ("two-tokens", |case| case["selection"] = "selected".into()),
        ("two-tokens", |case| case["selection"] = "alll".into()),
        ("steps", |case| case["calls"] = [7].into()),
        ("chunks", |case| case["batch"] = 1.into()),
        ("one-token", |case| case["name"] = "no-token".into()),
        ("multibyte", |case| case["text"] = [""; 0].into()),
        ("multibyte", |case| case["text"] = ["one", "two"].into()),
    ];
    for (name, change) in changes {
        let copies = Copies::new("unknown-case");
        copies.change_manifest(|manifest| {
            let cases = manifest["cases"].as_array_mut().expect("cases");
            let case = cases.iter_mut().find(|case| case["name"] == name);
            change(case.expect("the case"));
        });
        let (code, printed) = outcome(&copies.validate(&[]));
        assert_eq!(code, Some(3), "{name}: {printed}");
        assert!(printed.contains("a known case in place of"), "{printed}");
    }
}

/// Another case's files hold fewer tokens than the entry says.
#[test]
fn swapped_files_are_inconclusive_by_name() {
    let copies = Copies::new("swapped-files");
    copies.change_manifest(|manifest| {
        let cases = manifest["cases"].as_array_mut().expect("cases");
        let named = |name| move |case: &&serde_json::Value| case["name"] == name;
        let short = cases.iter().find(named("one-token")).expect("one-token");
        let files = short["files"].clone();
        let long = cases.iter_mut().find(|case| case["name"] == "two-tokens");
        long.expect("two-tokens")["files"] = files;
    });
    let (code, printed) = outcome(&copies.validate(&[]));
    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.contains("in place of two-tokens"), "{printed}");
}

/// References whose tensors do not fit each other stop ours with an error, not with a panic.
#[test]
fn misshapen_references_are_named() {
    let copies = Copies::new("misshapen-stream");
    let tensor = "0/h.1.attn.out";
    copies.change_witness("two-tokens", tensor, |values| {
        values.slice_axis(Axis(2), Slice::from(..9)).to_owned()
    });
    let (code, printed) = outcome(&copies.validate(&["--checkpoint", "1"]));
    assert_eq!(code, Some(1), "{printed}");
    let says = "h.1.attn.out: expected shape [1, 2, 144], found [1, 2, 9]";
    assert!(printed.replace("\n     ", "").contains(says), "{printed}");

    let copies = Copies::new("misshapen-queries");
    copies.change_witness("full-context", "0/h.1.attn.q", |values| {
        concatenate(Axis(0), &[values.view(), values.view()]).expect("two rows")
    });
    let (code, printed) = outcome(&copies.validate(&["--checkpoint", "5"]));
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("FAIL at checkpoint 5"), "{printed}");
    assert!(
        printed.contains("0/h.1.attn.q: expected 1 rows"),
        "{printed}"
    );
}

/// References with text, and nothing here that could make it.
#[test]
fn a_missing_tokenizer_is_inconclusive_by_name() {
    let copies = Copies::new("no-tokenizer");
    for file in ["tokenizer.json", "vocab.json"] {
        std::fs::remove_file(copies.model().join(file)).expect("a file");
    }
    let (code, printed) = outcome(&copies.validate(&[]));
    assert_eq!(code, Some(3), "{printed}");
    assert!(
        printed.contains("INCONCLUSIVE at checkpoint 12"),
        "{printed}"
    );
    assert!(printed.contains("tokenizer.json"), "{printed}");
}

/// Whatever stops a run, the verdict of an earlier one must not stand for it.
#[test]
fn an_earlier_verdict_does_not_outlive_a_run_that_fails_to_load() {
    let copies = Copies::new("earlier-verdict");
    let verdict = || {
        let file = "../target/parity/earlier-verdict/verdict.json";
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read(file).expect("a verdict");
        let verdict: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(verdict["model"], "earlier-verdict");
        let because = verdict["because"].as_str();
        let explained = because.is_none_or(|because| because.contains("expected"));
        assert!(explained, "{because:?}");
        verdict["verdict"].as_str().expect("a verdict").to_owned()
    };
    assert_eq!(outcome(&copies.validate(&["--checkpoint", "7"])).0, Some(0));
    assert_eq!(verdict(), "PASS");
    copies.change_weights(|_, numbers| {
        numbers[0] = f32::NAN;
        true
    });
    copies.claim_weights();
    let (code, printed) = outcome(&copies.validate(&[]));
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("NaN"), "{printed}");
    assert_eq!(verdict(), "INCONCLUSIVE");

    let again = Copies::new("earlier-verdict");
    assert_eq!(outcome(&again.validate(&["--checkpoint", "1"])).0, Some(0));
    assert_eq!(verdict(), "PASS");
    std::fs::write(again.model().join("model.safetensors"), b"{").expect("writing");
    assert_eq!(outcome(&again.validate(&[])).0, Some(2));
    assert_eq!(verdict(), "INCONCLUSIVE");
}

/// The command that helps can be copied into a shell.
#[test]
fn a_folder_with_a_space_is_quoted() {
    let copies = Copies::new("a model");
    std::fs::remove_file(copies.refs().join("manifest.json")).expect("a file");
    let (code, printed) = outcome(&copies.validate(&["--json"]));
    assert_eq!(code, Some(3), "{printed}");
    let model = format!("--model '{}' --refs", copies.model().display());
    let verdict: serde_json::Value = serde_json::from_str(&printed).expect("JSON alone");
    let because = verdict["because"].as_str().expect("a reason");
    assert!(because.contains(&model), "{because}");
}

#[test]
fn a_changed_byte_is_never_a_pass() {
    for file in [
        "manifest.json",
        "manifest.json.sha256",
        "batch.hf.npz",
        "steps.isolated.npz",
    ] {
        let copies = Copies::new("changed-byte");
        copies.flip(&copies.refs().join(file), 40);
        let (code, printed) = outcome(&copies.validate(&[]));
        assert_eq!(code, Some(3), "{file}: {printed}");
        assert!(printed.contains("INCONCLUSIVE"), "{file}: {printed}");
        assert!(
            printed.contains("manifest.json") || printed.contains(file),
            "{printed}"
        );
    }
    let copies = Copies::new("changed-weight");
    let weights = copies.model().join("model.safetensors");
    copies.flip(&weights, 400_000);
    let (code, printed) = outcome(&copies.validate(&[]));
    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.contains("weights"), "{printed}");
}

#[test]
fn misuse_exits_2_and_says_why() {
    let misused: [(&[&str], &str); 7] = [
        (&["validate", "--checkpoint", "0"], "1..=12"),
        (&["validate", "--model", "gtp2"], "gtp2"),
        (
            &["validate", "--model", env!("CARGO_MANIFEST_DIR")],
            "config.json",
        ),
        (&["trace", "--out", "x.npz"], "--prompt"),
        (&["trace", "--tokens", "1,x", "--out", "x.npz"], "\"x\""),
        (&["trace", "--tokens", "-1", "--out", "x.npz"], "\"-1\""),
        (
            &["trace", "--tokens", "1", "--out", "no/such/x.npz"],
            "expected a folder that exists, found none at no/such",
        ),
    ];
    for (arguments, says) in misused {
        let (code, printed) = outcome(&xtask(arguments, &[]));
        assert_eq!(code, Some(2), "{arguments:?}: {printed}");
        assert!(printed.contains(says), "{arguments:?}: {printed}");
    }
}

#[test]
fn broken_model_files_are_named() {
    let broken: [(&str, &[u8], &str); 3] = [
        ("config.json", b"{", "malformed JSON"),
        ("model.safetensors", b"\x10\0\0\0", "model.safetensors"),
        ("config.json", br#"{"n_embd": 144, "n_head": 5}"#, "n_head"),
    ];
    for (file, bytes, says) in broken {
        let copies = Copies::new("broken-file");
        std::fs::write(copies.model().join(file), bytes).expect("writing");
        let (code, printed) = outcome(&copies.validate(&[]));
        assert_eq!(code, Some(2), "{file}: {printed}");
        assert!(printed.contains(says), "{file}: {printed}");
        assert_eq!(printed.lines().count(), 1, "{printed}");
    }
}
