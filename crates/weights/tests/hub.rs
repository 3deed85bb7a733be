//! What the Hugging Face cache holds, and what only looks like it.

use std::fs;
use std::path::Path;

use llorch_weights::hub::{Cache, Repo, is_revision};

const COMMIT: &str = "607a30d783dfa663caf39e06633721c8d4cfcd7e";

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, text).expect("a file");
}

#[test]
fn a_revision_is_found_when_its_config_and_weights_are_there() {
    let root = tempfile::tempdir().expect("a folder");
    let cache = Cache::at(root.path());
    let repo = Repo::new("openai-community/gpt2").expect("a name");
    let folder = root.path().join("models--openai-community--gpt2");
    let snapshot = folder.join("snapshots").join(COMMIT);

    write(&folder.join("refs/main"), COMMIT);
    write(&snapshot.join("config.json"), "{}");
    assert_eq!(cache.snapshot(&repo, "main"), None, "no weights yet");

    write(&snapshot.join("model.safetensors"), "");
    assert_eq!(cache.snapshot(&repo, "main"), Some(snapshot.clone()));
    assert_eq!(cache.snapshot(&repo, COMMIT), Some(snapshot.clone()));
    assert_eq!(cache.snapshot(&repo, "other"), None);
    assert_eq!(cache.snapshot(&repo, "../refs/main"), None);

    fs::remove_file(snapshot.join("model.safetensors")).expect("removed");
    write(&snapshot.join("model.safetensors.index.json"), "{}");
    assert_eq!(cache.snapshot(&repo, "main"), Some(snapshot.clone()));

    write(&folder.join("refs/main"), "../../..");
    assert_eq!(cache.snapshot(&repo, "main"), None, "a ref is a commit");
}

#[test]
fn names_that_lead_elsewhere_are_none() {
    let good = ["gpt2", "openai-community/gpt2", "a/b.c_d-e"];
    let bad = [
        "", "a/", "/a", "a/b/c", "../a", "a/..", "a--b/c", "a/b c", "-a", "a\\b",
    ];
    for name in good {
        assert_eq!(Repo::new(name).expect(name).name(), name);
    }
    for name in bad {
        assert_eq!(Repo::new(name), None, "{name:?}");
    }
    for revision in ["main", "refs/pr/1", "v1.0"] {
        assert!(is_revision(revision), "{revision}");
    }
    for revision in ["", "..", "a/../b", "/a", "a//b", "a?b", "a#b"] {
        assert!(!is_revision(revision), "{revision:?}");
    }
}
