//! `compare` on dumps of other people's ports, and on what is no dump.

mod judged;
mod maps;
mod recorded;
mod refused;

use std::path::{Path, PathBuf};
use std::process::Output;

use llorch_parity::{Tensor, Trace};
use ndarray::{ArrayD, IxDyn};
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

/// What the witness gave in a case of `tiny`.
fn witness(case: &str) -> Trace {
    let refs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/refs/tiny");
    Trace::read_npz(&refs.join(format!("{case}.hf.npz"))).expect("a witness")
}

/// A dump of these tensors.
fn written(folder: &TempDir, tensors: impl IntoIterator<Item = (String, Tensor)>) -> PathBuf {
    let mut dump = Trace::new();
    for (name, tensor) in tensors {
        dump.insert(name, tensor).expect("a new name");
    }
    let path = folder.path().join("dump.npz");
    dump.write_npz(&path).expect("writing the dump");
    path
}

/// A dump under our own names: what the witness gave, changed.
fn changed(
    folder: &TempDir,
    case: &str,
    change: impl Fn(&str, Tensor) -> Option<Tensor>,
) -> PathBuf {
    let witness = witness(case);
    let tensors = witness.iter().filter_map(|(name, tensor)| {
        let tensor = change(name, tensor.clone())?;
        Some((name.to_owned(), tensor))
    });
    written(folder, tensors)
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
