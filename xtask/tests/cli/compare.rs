//! Dumps of other people's ports, and what is no dump.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use llorch_parity::{Tensor, Trace};
use ndarray::{ArrayD, Axis, IxDyn, Slice};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{outcome, xtask};

fn compare(dump: &Path, arguments: &[&str]) -> Output {
    xtask(&["compare", text(dump)], arguments)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The exit code, and what is printed with `--json`.
fn judged(dump: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, printed) = outcome(&compare(dump, &[arguments, &["--json"]].concat()));
    let report = serde_json::from_str(&printed);
    (
        code,
        report.unwrap_or_else(|error| panic!("{error}: {printed}")),
    )
}

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/dumps")
        .join(name)
}

/// A dump under our own names: what the witness gave, changed.
fn changed(
    folder: &TempDir,
    case: &str,
    change: impl Fn(&str, Tensor) -> Option<Tensor>,
) -> PathBuf {
    let refs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/refs/tiny");
    let mut dump = Trace::new();
    let witness = Trace::read_npz(&refs.join(format!("{case}.hf.npz"))).expect("a witness");
    for (name, tensor) in witness.iter() {
        if let Some(tensor) = change(name, tensor.clone()) {
            dump.insert(name, tensor).expect("a new name");
        }
    }
    let path = folder.path().join("dump.npz");
    dump.write_npz(&path).expect("writing the dump");
    path
}

fn floats(tensor: &Tensor) -> ArrayD<f32> {
    tensor.view::<f32, IxDyn>().expect("float32").to_owned()
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// One array as numpy writes it.
fn npy(descriptor: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header =
        format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).expect("a short header");
    [
        b"\x93NUMPY\x01\x00",
        &length.to_le_bytes()[..],
        header.as_bytes(),
        data,
    ]
    .concat()
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

#[test]
fn float64_is_judged_as_float32_is() {
    let folder = folder();
    let widened = |_: &str, tensor: Tensor| match &tensor {
        Tensor::F32(values) => Some(Tensor::from(values.mapv(f64::from))),
        _ => Some(tensor),
    };
    let (code, report) = judged(&changed(&folder, "two-tokens", widened), &[]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["checkpoints"][0]["verdict"], "PASS");
}

#[test]
fn a_partial_dump_names_what_lies_between() {
    let folder = folder();
    let path = changed(&folder, "multibyte", |name, tensor| match name {
        "0/tokens" | "0/h.1" => Some(tensor),
        "0/h.2.mlp.fc" => Some(Tensor::from(floats(&tensor) * 1.5)),
        _ => None,
    });
    let (code, report) = judged(&path, &[]);
    assert_eq!(code, Some(1), "{report}");
    let wrong = &report["first_wrong"];
    assert_eq!(
        (&wrong["site"], &wrong["last_right"]),
        (&"0/h.2.mlp.fc".into(), &"0/h.1".into())
    );
    let between = wrong["between"].as_array().expect("names");
    assert_eq!(between.first(), Some(&"h.2.ln_1".into()));
    assert_eq!(between.last(), Some(&"h.2.ln_2".into()));
    let (_, printed) = outcome(&compare(&path, &[]));
    assert!(
        printed.contains("FAIL: first wrong at or before 0/h.2.mlp.fc"),
        "{printed}"
    );
    assert!(
        printed.contains("1.500000 times what it should be"),
        "{printed}"
    );
}

#[test]
fn logits_alone_are_enough_to_say_from_where_on_they_part() {
    let folder = folder();
    let wrong_from = |from: usize| {
        let path = changed(&folder, "multibyte", |name, tensor| match name {
            "0/tokens" => Some(tensor),
            "0/logits" => {
                let mut logits = floats(&tensor);
                let mut rest = logits.slice_axis_mut(Axis(1), Slice::from(from..));
                rest.mapv_inplace(|x| x + (2.0 * x).cos());
                Some(Tensor::from(logits))
            }
            _ => None,
        });
        judged(&path, &[])
    };
    let (code, report) = wrong_from(37);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(
        report["not_in_the_dump"][0]["sites"]
            .as_array()
            .map(Vec::len),
        Some(18),
        "{report}"
    );
    let (code, report) = wrong_from(20);
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["first_wrong"]["right_positions"], 20);
    assert_eq!(report["diagnosis"]["is_certain"], false);
}

/// Not one of these numbers is near what it should be, or is one.
#[test]
fn spoilt_tensors_fail_where_they_are() {
    type Spoil<'a> = &'a dyn Fn(ArrayD<f32>) -> ArrayD<f32>;
    let spoilt: [(&str, Spoil); 4] = [
        ("not finite", &|mut values| {
            values
                .iter_mut()
                .skip(7)
                .take(1)
                .for_each(|x| *x = f32::NAN);
            values
        }),
        ("shape", &|values| {
            values.insert_axis(Axis(1)).insert_axis(Axis(1))
        }),
        ("shape", &|values| {
            values.slice_axis(Axis(2), Slice::from(1..)).to_owned()
        }),
        ("differ too much", &|values| values.mapv(|x| x + 2e-3)),
    ];
    for (what, spoil) in spoilt {
        let folder = folder();
        let path = changed(&folder, "two-tokens", |name, tensor| match name {
            "0/h.2.ln_2" => Some(Tensor::from(spoil(floats(&tensor)))),
            _ => Some(tensor),
        });
        let (code, report) = judged(&path, &[]);
        assert_eq!(code, Some(1), "{what}: {report}");
        assert_eq!(report["first_wrong"]["site"], "0/h.2.ln_2", "{what}");
        let said = report["first_wrong"]["what"].as_str().expect("a sentence");
        assert!(said.contains(what), "{what}: {said}");
    }
}

#[test]
fn a_map_of_ones_own_and_a_folder_of_npy() {
    let folder = folder();
    let witness =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/refs/tiny/multibyte.hf.npz");
    let witness = Trace::read_npz(&witness).expect("a witness");
    let ids: Vec<u8> = witness
        .get("0/tokens")
        .map(|tensor| {
            let ids = tensor.view::<i64, IxDyn>().expect("ids").to_owned();
            ids.iter()
                .flat_map(|id| (*id as i32).to_le_bytes())
                .collect()
        })
        .expect("tokens");
    // Heads in front, no batch axis, float16: [H, T, D].
    let q =
        floats(witness.get("0/h.1.attn.q").expect("queries")).permuted_axes(IxDyn(&[0, 2, 1, 3]));
    let half = |x: &f32| half_bits(*x).to_le_bytes();
    let q: Vec<u8> = q.iter().flat_map(half).collect();
    let dump = folder.path().join("dump");
    fs::create_dir(&dump).expect("a folder");
    fs::write(dump.join("ids.npy"), npy("<i4", "(37,)", &ids)).expect("ids");
    fs::write(dump.join("query_1.npy"), npy("<f2", "(6, 37, 24)", &q)).expect("queries");
    let map = folder.path().join("mine.toml");
    fs::write(
        &map,
        "[tensors]\n'ids' = 'tokens'\n'query_{i}' = 'h.{i}.attn.q'\n",
    )
    .expect("a map");
    let (code, report) = judged(&dump, &["--map", text(&map)]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["sites"][0]["dtype"], "float16");
    assert_eq!(
        report["assumed"][0],
        "attn.q: axes HTD, the only order of this shape"
    );
    // The other order is another tensor's, and not this one's.
    let (code, report) = judged(&dump, &["--map", text(&map), "--layout", "THD"]);
    assert_eq!(code, Some(1), "{report}");
    let (code, report) = judged(&dump, &["--map", text(&map), "--layout", "HTD"]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["assumed"][0], "attn.q: axes HTD");
}

/// A float32 that is rounded towards zero to a float16, as its bits. Ordinary numbers alone.
fn half_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    let exponent = i32::try_from(bits >> 23 & 0xff).expect("eight bits") - 127 + 15;
    let sign = (bits >> 16 & 0x8000) as u16;
    if exponent <= 0 {
        return sign;
    }
    sign | u16::try_from(exponent).expect("five bits") << 10 | (bits >> 13 & 0x3ff) as u16
}

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

    let mut dump = Trace::new();
    dump.insert("conv1", Tensor::from(ndarray::array![1.0f32]))
        .expect("a new name");
    let path = folder.path().join("dump.npz");
    dump.write_npz(&path).expect("writing the dump");
    let (code, printed) = outcome(&compare(&path, &[]));
    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.contains("--map FILE.toml"), "{printed}");
    let (code, _) = judged(&path, &["--names", "llorch", "--case", "two-tokens"]);
    assert_eq!(code, Some(3));
}

/// What stands at a site that the map knows is judged, or is a reason to know nothing.
#[test]
fn what_a_map_knows_is_not_left_out() {
    let folder = folder();
    let integers = changed(&folder, "two-tokens", |name, tensor| match name {
        "0/logits" => Some(Tensor::from(floats(&tensor).mapv(|x| x as i64))),
        _ => Some(tensor),
    });
    let (code, report) = judged(&integers, &[]);
    assert_eq!(code, Some(3), "{report}");
    assert_eq!(
        report["because"][0],
        "0/logits: expected floats for logits, found integers"
    );

    let witness =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/refs/tiny/two-tokens.hf.npz");
    let witness = Trace::read_npz(&witness).expect("a witness");
    let mut dump = Trace::new();
    for (name, of) in [
        ("0/tokens", "0/tokens"),
        ("0/h.3", "0/h.3"),
        ("0/h.4", "0/h.3"),
    ] {
        let tensor = witness.get(of).expect("a tensor").clone();
        dump.insert(name, tensor).expect("a new name");
    }
    let path = folder.path().join("fifth.npz");
    dump.write_npz(&path).expect("writing the dump");
    let (code, report) = judged(&path, &[]);
    assert_eq!(code, Some(3), "{report}");
    assert_eq!(report["because"][0], "0/h.4: expected one of 4 layers");
}

/// Calls and names that a PASS is not about are said where it is.
#[test]
fn a_pass_says_what_it_is_not_about() {
    let folder = folder();
    let first_call = changed(&folder, "steps", |name, tensor| {
        name.starts_with("0/").then_some(tensor)
    });
    let (code, printed) = outcome(&compare(&first_call, &[]));
    assert_eq!(code, Some(0), "{printed}");
    assert!(
        printed.contains("not in the dump calls 1..=5: embed, ln_1,"),
        "{printed}"
    );

    let witness =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/refs/tiny/two-tokens.hf.npz");
    let mut dump = Trace::new();
    for (name, tensor) in Trace::read_npz(&witness).expect("a witness").iter() {
        let name = name.replace("h.2.mlp.act", "h.2.mlp.atc");
        dump.insert(name, tensor.clone()).expect("a new name");
    }
    let path = folder.path().join("misspelt.npz");
    dump.write_npz(&path).expect("writing the dump");
    let (code, printed) = outcome(&compare(&path, &[]));
    assert_eq!(code, Some(0), "{printed}");
    assert!(
        printed.contains("no such name    0/h.2.mlp.atc"),
        "{printed}"
    );
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
