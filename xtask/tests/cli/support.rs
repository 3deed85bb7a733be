//! A model folder and a folder of references, to be spoilt.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use llorch_parity::{Tensor, Trace, sha256_hex};
use ndarray::{ArrayD, IxDyn};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

/// Copies of the embedded model and of its references.
pub struct Copies {
    name: &'static str,
    folder: TempDir,
}

impl Copies {
    /// `name` becomes the model's, and no other test may use it: verdicts are written under it.
    pub fn new(name: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let copies = Copies { name, folder };
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
        copy(&fixtures.join("tiny"), &copies.model());
        copy(&fixtures.join("refs/tiny"), &copies.refs());
        copies
    }

    pub fn model(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    pub fn refs(&self) -> PathBuf {
        self.folder.path().join("refs")
    }

    /// Runs `cargo xtask validate` on the copies.
    pub fn validate(&self, arguments: &[&str]) -> Output {
        let (model, refs) = (self.model(), self.refs());
        xtask(
            &["validate", "--model", text(&model), "--refs", text(&refs)],
            arguments,
        )
    }

    /// Rewrites the weights: `change` gets every tensor's name and numbers, and keeps those it says yes to.
    pub fn change_weights(&self, mut change: impl FnMut(&str, &mut Vec<f32>) -> bool) {
        let path = self.model().join("model.safetensors");
        let bytes = fs::read(&path).expect("weights");
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        let mut kept: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        for (name, tensor) in tensors.tensors() {
            let (numbers, _) = tensor.data().as_chunks::<4>();
            let mut numbers: Vec<f32> = numbers.iter().map(|b| f32::from_le_bytes(*b)).collect();
            if change(name.trim_start_matches("transformer."), &mut numbers) {
                let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
                kept.push((name, tensor.shape().to_vec(), bytes));
            }
        }
        let views = kept.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
            (name, view.expect("a tensor"))
        });
        let bytes = safetensors::serialize(views, None::<HashMap<_, _>>).expect("a file");
        fs::write(&path, bytes).expect("writing weights");
    }

    /// Makes the references claim to be of the weights that are there now: what a forger would do, and what
    /// lets a test see a wrong model fail by its numbers.
    pub fn claim_weights(&self) {
        let weights = fs::read(self.model().join("model.safetensors")).expect("weights");
        self.change_manifest(|manifest| {
            manifest["weights"]["sha256"] = sha256_hex(&weights).into();
        });
    }

    /// Rewrites one tensor of a case's witness, and the manifest with it.
    pub fn change_witness(
        &self,
        case: &str,
        tensor: &str,
        change: impl Fn(ArrayD<f32>) -> ArrayD<f32>,
    ) {
        self.change_trace(case, |name, values| {
            let changed = match values.view::<f32, IxDyn>() {
                Some(values) if name == tensor => Tensor::from(change(values.to_owned())),
                _ => values.clone(),
            };
            vec![(name.to_owned(), changed)]
        });
    }

    /// Rewrites a case's witness, and the manifest with it: `change` says what becomes of each tensor.
    pub fn change_trace(
        &self,
        case: &str,
        change: impl Fn(&str, &Tensor) -> Vec<(String, Tensor)>,
    ) {
        let name = format!("{case}.hf.npz");
        let file = self.refs().join(&name);
        let mut changed = Trace::new();
        for (name, tensor) in Trace::read_npz(&file).expect("a trace").iter() {
            for (name, tensor) in change(name, tensor) {
                changed.insert(name, tensor).expect("a new name");
            }
        }
        changed.write_npz(&file).expect("writing the trace");
        let hash = sha256_hex(&fs::read(&file).expect("the trace"));
        self.change_manifest(|manifest| {
            let cases = manifest["cases"].as_array_mut().expect("cases");
            let entry = cases.iter_mut().find(|entry| entry["name"] == case);
            let files = entry.expect("the case")["files"]["hf"].as_array_mut();
            let of_file = files
                .expect("files")
                .iter_mut()
                .find(|entry| entry["file"] == *name);
            of_file.expect("the file")["sha256"] = hash.into();
        });
    }

    /// Rewrites the manifest and its checksum.
    pub fn change_manifest(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.refs().join("manifest.json");
        let text = fs::read(&path).expect("a manifest");
        let mut manifest = serde_json::from_slice(&text).expect("JSON");
        change(&mut manifest);
        let text = serde_json::to_vec(&manifest).expect("JSON");
        let checksum = format!("{}  manifest.json\n", sha256_hex(&text));
        fs::write(&path, text).expect("writing the manifest");
        fs::write(self.refs().join("manifest.json.sha256"), checksum)
            .expect("writing its checksum");
    }

    /// Changes one byte of a file.
    pub fn flip(&self, path: &Path, at: usize) {
        let mut bytes = fs::read(path).expect("a file");
        bytes[at] ^= 1;
        fs::write(path, bytes).expect("writing it back");
    }
}

/// The exit code of the command where nobody reads what it prints.
pub fn unread(arguments: &[&str]) -> Option<i32> {
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(arguments)
        .stdout(closed())
        .stderr(closed())
        .status()
        .expect("xtask runs")
        .code()
}

/// Runs the command itself.
pub fn xtask(first: &[&str], rest: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(first)
        .args(rest)
        .output()
        .expect("xtask runs")
}

/// Runs the command with environment variables set.
pub fn xtask_with(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("xtask runs")
}

/// The exit code and everything that was printed.
pub fn outcome(output: &Output) -> (Option<i32>, String) {
    let printed = [&output.stdout[..], &output.stderr[..]].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&printed).into_owned(),
    )
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}
