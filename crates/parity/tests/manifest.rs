//! Opening a folder of references, and every reason to refuse it.

mod common;

use common::{manifest_json, references, truth, witness, write_manifest};
use llorch_parity::{Manifest, ManifestError, Trace, TraceError, sha256_hex};
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

/// The error of opening a folder whose manifest was changed and hashed again.
fn refused(change: impl FnOnce(&mut Value)) -> ManifestError {
    let dir = references();
    let text = fs::read_to_string(dir.path().join("manifest.json")).unwrap();
    let mut manifest = serde_json::from_str(&text).unwrap();
    change(&mut manifest);
    write_manifest(dir.path(), &manifest);
    Manifest::open(dir.path()).unwrap_err()
}

/// A folder with the files given, listed as they are.
fn folder(files: &[(&str, &str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (_, file, bytes) in files {
        fs::write(dir.path().join(file), bytes).unwrap();
    }
    write_manifest(dir.path(), &manifest_json(files));
    dir
}

#[test]
fn a_whole_folder_opens_and_loads() {
    let dir = references();
    let manifest = Manifest::open(dir.path()).unwrap();
    let text = fs::read(dir.path().join("manifest.json")).unwrap();
    assert_eq!(manifest.sha256(), sha256_hex(&text));
    assert_eq!(manifest.dir(), dir.path());
    assert_eq!(
        (manifest.model(), manifest.kind(), manifest.witness()),
        ("toy", "whole", "hf")
    );
    assert_eq!(manifest.weights().file, "model.safetensors");
    assert_eq!(manifest.config_sha256(), sha256_hex(b"config"));
    assert_eq!(manifest.versions()["numpy"], "2.0");
    let case = manifest.case("steps").unwrap();
    assert_eq!(
        (case.calls.as_slice(), case.batch, &case.text),
        (&[7, 1][..], 1, &None)
    );
    assert_eq!(case.parts().collect::<Vec<_>>(), ["hf", "propagated"]);
    assert_eq!(manifest.cases().len(), 1);
    assert_eq!(manifest.load("steps", "hf").unwrap(), witness());
    assert_eq!(manifest.load("steps", "propagated").unwrap(), truth());
}

fn npz(name: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.npz");
    let mut trace = Trace::new();
    trace.insert(name, common::counting(&[2])).unwrap();
    trace.write_npz(&path).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn a_part_split_over_files_is_one_trace() {
    let (a, b) = (npz("a"), npz("b"));
    let dir = folder(&[("hf", "s.hf.0.npz", &a), ("hf", "s.hf.1.npz", &b)]);
    let trace = Manifest::open(dir.path())
        .unwrap()
        .load("steps", "hf")
        .unwrap();
    assert_eq!(
        trace.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        ["a", "b"]
    );
}

#[test]
fn a_name_in_two_files_of_a_part_is_refused() {
    let a = npz("a");
    let dir = folder(&[("hf", "s.hf.0.npz", &a), ("hf", "s.hf.1.npz", &a)]);
    let error = Manifest::open(dir.path())
        .unwrap()
        .load("steps", "hf")
        .unwrap_err();
    assert!(
        matches!(&error, ManifestError::Trace(TraceError::Duplicate { name, .. }) if name == "a"),
        "{error}"
    );
}

#[test]
fn missing_files_are_named() {
    let empty = tempfile::tempdir().unwrap();
    let error = Manifest::open(empty.path()).unwrap_err();
    assert!(
        matches!(&error, ManifestError::MissingFile { file } if file.ends_with("manifest.json.sha256"))
    );
    let dir = references();
    fs::remove_file(dir.path().join("manifest.json")).unwrap();
    let error = Manifest::open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, ManifestError::MissingFile { file } if file.ends_with("manifest.json"))
    );
}

#[test]
fn a_folder_in_the_place_of_a_file_is_an_io_error() {
    let dir = references();
    fs::remove_file(dir.path().join("manifest.json")).unwrap();
    fs::create_dir(dir.path().join("manifest.json")).unwrap();
    let error = Manifest::open(dir.path()).unwrap_err();
    assert!(matches!(&error, ManifestError::Io { file, .. } if file.ends_with("manifest.json")));
}

#[test]
fn a_trace_file_is_hashed_before_it_is_parsed() {
    let dir = references();
    let path = dir.path().join("steps.hf.npz");
    let listed = sha256_hex(&fs::read(&path).unwrap());
    fs::write(&path, "no archive at all").unwrap();
    let error = Manifest::open(dir.path())
        .unwrap()
        .load("steps", "hf")
        .unwrap_err();
    let ManifestError::Tampered {
        file,
        expected,
        found,
    } = &error
    else {
        panic!("{error}")
    };
    assert!(file.ends_with("steps.hf.npz"));
    assert_eq!(
        (expected, found),
        (&listed, &sha256_hex(b"no archive at all"))
    );
}

#[test]
fn a_broken_trace_with_a_right_hash_is_named() {
    let dir = folder(&[("hf", "s.npz", b"no archive at all")]);
    let error = Manifest::open(dir.path())
        .unwrap()
        .load("steps", "hf")
        .unwrap_err();
    assert!(
        matches!(&error, ManifestError::Trace(TraceError::Zip { file, .. }) if file.ends_with("s.npz")),
        "{error}"
    );
}

#[test]
fn the_checksum_must_be_one_sha256sum_line_about_the_manifest() {
    let dir = references();
    let path = dir.path().join("manifest.json.sha256");
    let line = fs::read_to_string(&path).unwrap();
    let hash = &line[..64];
    for text in [
        String::new(),
        hash.to_owned(),
        format!("{hash} manifest.json\n"),
        format!("{hash}  other.json\n"),
        format!("{line}{line}"),
        line.to_uppercase(),
    ] {
        fs::write(&path, &text).unwrap();
        let error = Manifest::open(dir.path()).unwrap_err();
        assert!(
            matches!(error, ManifestError::Checksum { .. }),
            "{text:?}: {error}"
        );
    }
    fs::write(&path, line.trim_end()).unwrap();
    Manifest::open(dir.path()).unwrap();
}

#[test]
fn another_format_is_refused_before_its_fields_are_looked_at() {
    let error = refused(|manifest| {
        manifest["format"] = json!(2);
        manifest["new_field"] = json!(true);
    });
    assert!(
        matches!(
            error,
            ManifestError::Format {
                expected: 1,
                found: 2,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn unknown_missing_and_mistyped_fields_are_refused() {
    let changes: [fn(&mut Value); 6] = [
        |m| m["extra"] = json!(1),
        |m| m["cases"][0]["extra"] = json!(1),
        |m| m["weights"]["extra"] = json!(1),
        |m| drop(m.as_object_mut().unwrap().remove("witness")),
        |m| m["cases"][0]["calls"] = json!([-1]),
        |m| m["cases"][0]["text"] = json!("one string"),
    ];
    for change in changes {
        let error = refused(change);
        assert!(matches!(&error, ManifestError::Parse { .. }), "{error}");
    }
    let error = refused(|manifest| *manifest = json!([]));
    assert!(matches!(&error, ManifestError::Parse { .. }), "{error}");
}

#[test]
fn file_names_that_lead_out_of_the_folder_are_refused() {
    for name in [
        "../steps.hf.npz",
        "/etc/passwd",
        "a/b.npz",
        "..",
        ".",
        "",
        "a\\b.npz",
        "c:x.npz",
        "a..b",
    ] {
        let error = refused(|m| m["cases"][0]["files"]["hf"][0]["file"] = json!(name));
        assert!(
            matches!(&error, ManifestError::FileName { found } if found == name),
            "{error}"
        );
    }
    let error = refused(|m| m["weights"]["file"] = json!("../model.safetensors"));
    assert!(matches!(&error, ManifestError::FileName { .. }), "{error}");
}

#[test]
fn malformed_hashes_are_refused() {
    let error = refused(|m| m["cases"][0]["files"]["hf"][0]["sha256"] = json!("abc"));
    assert!(
        matches!(&error, ManifestError::Hash { of, found } if of == "steps.hf.npz" && found == "abc")
    );
    let error = refused(|m| m["config_sha256"] = json!(""));
    assert!(
        matches!(&error, ManifestError::Hash { of, .. } if of == "config"),
        "{error}"
    );
    let error = refused(|m| m["weights"]["sha256"] = json!(sha256_hex(b"")));
    assert!(matches!(&error, ManifestError::Hash { .. }), "{error}");
}

#[test]
fn a_case_listed_twice_is_refused() {
    let error = refused(|m| {
        let case = m["cases"][0].clone();
        m["cases"].as_array_mut().unwrap().push(case);
    });
    assert!(
        matches!(&error, ManifestError::DuplicateCase { case } if case == "steps"),
        "{error}"
    );
}

#[test]
fn unknown_cases_and_parts_are_refused_with_those_there_are() {
    let dir = references();
    let manifest = Manifest::open(dir.path()).unwrap();
    let error = manifest.load("stepz", "hf").unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"expected one of the cases ["steps"], found "stepz""#
    );
    let error = manifest.load("steps", "isolated").unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"case steps: expected one of the parts ["hf", "propagated"], found "isolated""#
    );
}

#[test]
fn a_part_without_files_is_no_part() {
    let dir = references();
    let text = fs::read_to_string(dir.path().join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    manifest["cases"][0]["files"]["hf"] = json!([]);
    write_manifest(dir.path(), &manifest);
    let error = Manifest::open(dir.path())
        .unwrap()
        .load("steps", "hf")
        .unwrap_err();
    assert!(
        matches!(&error, ManifestError::NoPart { found, .. } if found == "hf"),
        "{error}"
    );
}

#[test]
fn what_is_said_about_a_witness_is_hashed_like_its_traces() {
    let dir = references();
    assert!(
        Manifest::open(dir.path())
            .unwrap()
            .about()
            .unwrap()
            .is_none()
    );

    let text = fs::read_to_string(dir.path().join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    manifest["about"] = json!({"file": "witness.json", "sha256": sha256_hex(b"{}")});
    write_manifest(dir.path(), &manifest);
    let about = || Manifest::open(dir.path()).unwrap().about();
    assert!(matches!(about(), Err(ManifestError::MissingFile { .. })));
    fs::write(dir.path().join("witness.json"), "{}").unwrap();
    assert_eq!(about().unwrap().unwrap(), b"{}");
    fs::write(dir.path().join("witness.json"), "{ }").unwrap();
    assert!(matches!(about(), Err(ManifestError::Tampered { .. })));

    let elsewhere = |manifest: &mut Value| {
        manifest["about"] = json!({"file": "../witness.json", "sha256": sha256_hex(b"{}")});
    };
    assert!(matches!(refused(elsewhere), ManifestError::FileName { .. }));
}
