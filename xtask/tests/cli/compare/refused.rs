//! What can not be judged, and what is misuse.

use std::fs;

use llorch_parity::Tensor;

use super::{changed, compare, folder, judged, npy, text, written};
use crate::support::{outcome, xtask};

#[test]
fn where_nothing_can_be_said_nothing_passes() {
    let folder = folder();
    let other_tokens = changed(&folder, "two-tokens", |name, tensor| match name {
        "0/tokens" => Some(Tensor::from(ndarray::array![[353i64, 506]])),
        _ => Some(tensor),
    });
    let (code, report) = judged(&other_tokens, &[]);
    assert_eq!(
        (code, &report["verdict"]),
        (Some(3), &"INCONCLUSIVE".into()),
        "{report}"
    );
    assert!(
        report["because"][0]
            .as_str()
            .is_some_and(|why| why.contains("353 506")),
        "{report}"
    );
    let (code, _) = judged(&other_tokens, &["--case", "two-tokens"]);
    assert_eq!(code, Some(3));

    let unknown = changed(&folder, "two-tokens", |name, tensor| {
        (name == "0/tokens").then_some(tensor)
    });
    let (code, report) = judged(&unknown, &[]);
    assert_eq!(code, Some(3), "{report}");

    let strange = Tensor::from(ndarray::array![1.0f32]);
    let path = written(&folder, [("conv1".to_owned(), strange)]);
    let (code, printed) = outcome(&compare(&path, &[]));
    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.contains("--map FILE.toml"), "{printed}");
    let (code, _) = judged(&path, &["--names", "llorch", "--case", "two-tokens"]);
    assert_eq!(code, Some(3));
}

#[test]
fn misuse_is_told_apart_from_a_wrong_port() {
    let folder = folder();
    let good = changed(&folder, "two-tokens", |_, tensor| Some(tensor));
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path
    };
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    let objects = folder.path().join("objects");
    fs::create_dir(&objects).expect("a folder");
    fs::write(objects.join("embed.npy"), npy("|O", "(1,)", &[0; 8])).expect("a file");
    let short = folder.path().join("short");
    fs::create_dir(&short).expect("a folder");
    fs::write(short.join("embed.npy"), npy("<f4", "(2, 144)", &[0; 8])).expect("a file");
    let broken = [
        (folder.path().join("nothing.npz"), "found nothing"),
        (empty, "expected .npy files, found none"),
        (
            file("broken.npz", b"PK\x03\x04 and so on"),
            "expected an npz archive",
        ),
        (
            file("broken.safetensors", &[255; 64]),
            "expected a safetensors file",
        ),
        (file("dump.pt", b"pickled"), "by its name"),
        (objects, "found |O"),
        (short, "expected 1152 bytes"),
    ];
    for (path, what) in &broken {
        let (code, printed) = outcome(&compare(path, &[]));
        assert_eq!(code, Some(2), "{what}: {printed}");
        assert!(printed.contains(what), "{what}: {printed}");
    }
    let map = file("wrong.toml", b"[tensors]\n'a' = 'h.{i}.conv'\n");
    let wrong: [&[&str]; 9] = [
        &["--names", "onnx"],
        &["--case", "greedy"],
        &["--layout", "XYZ"],
        &["--map", text(&map)],
        &["--map", "/nowhere.toml"],
        &["--map", text(&map), "--names", "llorch"],
        &["--tokens", "two-tokens"],
        &["--model", "/nowhere"],
        &["--checkpoint", "3"],
    ];
    for arguments in wrong {
        let (code, printed) = outcome(&compare(&good, arguments));
        assert_eq!(code, Some(2), "{arguments:?}: {printed}");
        assert!(printed.contains("error"), "{arguments:?}: {printed}");
    }
    assert_eq!(outcome(&xtask(&["compare"], &[])).0, Some(2));
    let without_tokens = changed(&folder, "two-tokens", |name, tensor| {
        (name != "0/tokens").then_some(tensor)
    });
    let (code, printed) = outcome(&compare(&without_tokens, &[]));
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("--case"), "{printed}");
    assert_eq!(
        judged(&without_tokens, &["--case", "two-tokens"]).0,
        Some(0)
    );
}

/// Without references nothing is known of a port.
#[test]
fn without_references_nothing_is_said() {
    let folder = folder();
    let good = changed(&folder, "two-tokens", |_, tensor| Some(tensor));
    let (code, report) = judged(&good, &["--refs", text(folder.path())]);
    assert_eq!(
        (code, &report["verdict"]),
        (Some(3), &"INCONCLUSIVE".into()),
        "{report}"
    );
}
