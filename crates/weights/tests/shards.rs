//! Models in several files.

mod common;

use common::{Item, file, folder, item, model};
use llorch_weights::{Error, Weights};

const INDEX: &str = "model.safetensors.index.json";

/// A folder of two shards, `a` and `b`, and an index with this weight_map.
fn sharded(a: &[Item], b: &[Item], weight_map: &str) -> tempfile::TempDir {
    let index = format!(r#"{{"metadata": {{"total_size": 1}}, "weight_map": {weight_map}}}"#);
    folder([
        ("a.safetensors", &file(a)),
        ("b.safetensors", &file(b)),
        (INDEX, index.as_bytes()),
    ])
}

fn map_of(parts: &[(&[Item], &str)]) -> String {
    let lines = parts.iter().flat_map(|(items, file)| {
        items
            .iter()
            .map(move |item| format!(r#""{}": "{file}""#, item.key))
    });
    format!("{{{}}}", lines.collect::<Vec<_>>().join(","))
}

#[test]
fn shards_are_one_model() {
    let items = model("transformer.");
    let (a, b) = items.split_at(7);
    let dir = sharded(a, b, &map_of(&[(a, "a.safetensors"), (b, "b.safetensors")]));
    for path in [dir.path().to_path_buf(), dir.path().join(INDEX)] {
        let weights = Weights::open(path).unwrap();
        let report = weights.check(&common::config()).unwrap();
        assert_eq!((report.tensors, report.missing.len()), (16, 0));
        // One tensor of each shard.
        assert_eq!(
            weights.tensor("wpe.weight", &[3, 4]).unwrap().as_slice()[1],
            101.0
        );
        assert_eq!(
            weights.tensor("ln_f.bias", &[4]).unwrap().as_slice()[1],
            1501.0
        );
        assert_eq!(weights.paths().count(), 2);
    }
}

#[test]
fn an_index_that_is_not_one() {
    for text in [
        "",
        "{",
        "{}",
        r#"{"weight_map": 3}"#,
        r#"{"weight_map": {"a": 1}}"#,
    ] {
        let dir = folder([(INDEX, text.as_bytes())]);
        let error = Weights::open(dir.path()).unwrap_err();
        assert!(matches!(error, Error::Index { .. }), "{text}: {error}");
        assert!(
            error.to_string().contains(INDEX) && error.to_string().contains("line 1"),
            "{error}"
        );
    }
    let dir = folder([(INDEX, b"\xff")]);
    let error = Weights::open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, Error::Read { path, .. } if path.ends_with(INDEX)),
        "{error}"
    );
    let dir = folder([(INDEX, br#"{"weight_map": {"a": "x", "a": "y"}}"#)]);
    let error = Weights::open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, Error::DuplicateKey { key, .. } if key == "a"),
        "{error}"
    );
}

#[test]
fn an_index_that_points_elsewhere() {
    for name in [
        "../a.safetensors",
        "/etc/passwd",
        "x/a.safetensors",
        "..",
        ".",
        "",
        "a/",
        "./a",
    ] {
        let dir = sharded(&[], &[], &format!(r#"{{"t": "{name}"}}"#));
        let error = Weights::open(dir.path()).unwrap_err();
        assert!(
            matches!(&error, Error::ShardName { file, .. } if file == name),
            "{error}"
        );
    }
    let dir = sharded(&[], &[], r#"{"t": "c.safetensors"}"#);
    let error = Weights::open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, Error::NotFound { path } if path.ends_with("c.safetensors")),
        "{error}"
    );
}

#[test]
fn an_index_and_shards_that_disagree() {
    let (one, two) = ([item("one", &[1], 0.0)], [item("two", &[1], 0.0)]);
    let (a, b) = ("a.safetensors", "b.safetensors");
    for (map, key, listed, holder) in [
        (
            r#"{"one": "a.safetensors", "two": "b.safetensors", "zero": "a.safetensors"}"#,
            "zero",
            a,
            "no file",
        ),
        (
            r#"{"one": "b.safetensors", "two": "a.safetensors"}"#,
            "one",
            b,
            a,
        ),
        (
            r#"{"one": "a.safetensors", "one.more": "b.safetensors"}"#,
            "one.more",
            b,
            "no file",
        ),
    ] {
        let error = Weights::open(sharded(&one, &two, map).path()).unwrap_err();
        let Error::Shards {
            key: k,
            expected,
            found,
            ..
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!((&k[..], &expected[..], &found[..]), (key, listed, holder));
    }
    // A tensor in a shard that the index leaves out.
    let both = [one[0].clone(), two[0].clone()];
    let dir = sharded(&both, &two, r#"{"one": "a.safetensors"}"#);
    let error = Weights::open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, Error::Shards { key, expected, .. } if key == "two" && expected == "no file")
    );
}

/// The figure comes from `sha256sum a.safetensors b.safetensors | sha256sum`.
#[test]
fn the_hash_of_shards() {
    let (one, two) = ([item("one", &[1], 1.0)], [item("two", &[1], 2.0)]);
    let dir = sharded(
        &one,
        &two,
        &map_of(&[(&one, "a.safetensors"), (&two, "b.safetensors")]),
    );
    assert_eq!(
        Weights::open(dir.path()).unwrap().sha256(),
        "2277b3c884902978cf94ab5e7e61129c205a117694cdbe3a5baec923dbcb0f53"
    );
}
