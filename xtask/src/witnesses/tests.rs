use std::fs;
use std::path::Path;

use llorch_parity::{Tensor, sha256_hex};
use ndarray::IxDyn;
use serde_json::Value;
use tempfile::TempDir;

use super::matrix::{HF, OURS, Table, tables};
use super::*;

/// A witness that shows every kind of an isolated site, and is not the only one.
const NAME: &str = "onnxruntime";
const CASE: &str = "two-tokens";

pub fn embedded() -> (ModelDir, References) {
    let model = ModelDir::open("tiny").expect("the embedded model");
    let references = References::open(&model, None).expect("its references");
    (model, references)
}

/// The committed traces of one witness, to be spoilt, in a folder of its name.
pub struct Copied(TempDir);

impl Copied {
    pub fn path(&self) -> PathBuf {
        self.0.path().join(NAME)
    }
}

pub fn copied() -> Copied {
    let copy = Copied(tempfile::tempdir().expect("a folder"));
    let committed = root().join("fixtures/witnesses/tiny").join(NAME);
    fs::create_dir(copy.path()).expect("its folder");
    for entry in fs::read_dir(committed).expect("the traces") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("a copy");
    }
    copy
}

fn refusal(dir: &Path) -> String {
    let (model, references) = embedded();
    let opened = Witness::open(dir, &model);
    let used = opened.and_then(|witness| witness.check_references(&references));
    format!("{:#}", used.expect_err("a refusal"))
}

fn rewrite(path: &Path, change: impl FnOnce(&mut Value)) -> String {
    let mut value = serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON");
    change(&mut value);
    let text = serde_json::to_vec(&value).expect("JSON");
    fs::write(path, &text).expect("writing it back");
    sha256_hex(&text)
}

/// Changes witness.json and every hash that stands for it: what a forger would do.
pub fn forge(dir: &Path, change: impl FnOnce(&mut Value)) {
    let about = rewrite(&dir.join("witness.json"), change);
    let manifest = rewrite(&dir.join("manifest.json"), |manifest| {
        manifest["about"]["sha256"] = about.into();
    });
    let line = format!("{manifest}  manifest.json\n");
    fs::write(dir.join("manifest.json.sha256"), line).expect("writing the checksum");
}

#[test]
fn witnesses_are_kept_beside_the_references_of_their_model() {
    let kept = |references: &str| folder(&root().join(references));
    for model in ["tiny", "openai-community/gpt2"] {
        for at in ["fixtures", "target"] {
            let expected = root().join(at).join("witnesses").join(model);
            assert_eq!(kept(&format!("{at}/refs/{model}")), Some(expected));
        }
    }
    assert_eq!(kept("fixtures/refs"), None);
    assert_eq!(kept("elsewhere/refs/tiny"), None);
}

#[test]
fn a_byte_changed_in_any_file_is_refused() {
    for file in ["two-tokens.isolated.npz", "witness.json", "manifest.json"] {
        let copy = copied();
        let path = copy.path().join(file);
        let mut bytes = fs::read(&path).expect("a file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("writing it back");
        let said = refusal(&copy.path());
        assert!(
            said.contains(file) && said.contains("expected sha256"),
            "{said}"
        );
    }
}

#[test]
fn a_witness_made_beside_other_references_is_refused() {
    let copy = copied();
    forge(&copy.path(), |about| {
        about["references_sha256"] = sha256_hex(b"others").into();
    });
    let said = refusal(&copy.path());
    assert!(said.contains("made beside other references"), "{said}");
}

#[test]
fn what_has_no_floor_is_not_taken_for_not_shown() {
    let copy = copied();
    forge(&copy.path(), |about| {
        let sites = about["floor"]["isolated"].as_object_mut();
        sites.expect("floors").remove("h.1.ln_1");
    });
    let said = refusal(&copy.path());
    assert!(said.contains("expected a floor of h.1.ln_1"), "{said}");
}

#[test]
fn a_witness_under_another_name_is_refused() {
    let copy = copied();
    forge(&copy.path(), |about| about["name"] = "tinygrad".into());
    assert!(refusal(&copy.path()).contains("the manifest is of onnxruntime"));
}

/// Those of `tiny`, one of them with its isolated trace of a case rebuilt.
fn with(change: impl Fn(&str, Tensor) -> Option<Tensor>) -> Result<Vec<Table>> {
    let (model, references) = embedded();
    let dir = folder(references.manifest.dir()).expect("a place");
    let mut witnesses = open(&dir, &model, &references).expect("the committed ones");
    let changed = witnesses.iter_mut().find(|w| w.about.name == NAME);
    let key = (CASE.to_owned(), "isolated".to_owned());
    let trace = changed.expect("it is committed").traces.get_mut(&key);
    let trace = trace.expect("the case");
    let mut rebuilt = Trace::new();
    for (name, tensor) in trace.iter() {
        if let Some(tensor) = change(name, tensor.clone()) {
            rebuilt.insert(name, tensor).expect("a new name");
        }
    }
    *trace = rebuilt;
    tables(&model, &references, &witnesses)
}

fn of<'a>(tables: &'a [Table], kind: &str) -> &'a Table {
    let table = tables
        .iter()
        .find(|table| table.basis == "isolated" && table.kind == kind);
    table.expect("the kind")
}

#[test]
fn one_wrong_number_stands_out_in_its_own_column_alone() {
    let sound = with(|_, tensor| Some(tensor)).expect("tables");
    let spoilt = with(|name, tensor| {
        if name != "0/h.1.ln_1" {
            return Some(tensor);
        }
        let mut values = tensor.view::<f32, IxDyn>()?.to_owned();
        *values.first_mut()? += 1.0;
        Some(Tensor::from(values))
    })
    .expect("tables");
    let (sound, spoilt) = (of(&sound, "ln_1"), of(&spoilt, "ln_1"));
    let at = spoilt.columns.iter().position(|c| c.name == NAME);
    let at = at.expect("its column");
    for (before, after) in sound.columns.iter().zip(&spoilt.columns) {
        let grew = after.error > 1e3 * before.error;
        assert_eq!(grew, after.name == NAME, "{}", after.name);
        let differs = after.differences[at] > 0.1;
        assert_eq!(differs, after.name != NAME, "{}", after.name);
    }
    let names: Vec<&str> = sound.columns.iter().map(|c| &*c.name).collect();
    assert_eq!(names[..2], [OURS, HF]);
}

#[test]
fn a_kind_shown_in_part_is_no_table() {
    let tables = with(|name, tensor| (name != "0/h.1.ln_1").then_some(tensor));
    let said = format!("{:#}", tables.err().expect("a refusal"));
    assert!(said.contains("0/h.1.ln_1"), "{said}");
}

#[test]
fn the_page_is_what_the_traces_give() {
    let (model, references) = embedded();
    let dir = folder(references.manifest.dir()).expect("a place");
    let witnesses = open(&dir, &model, &references).expect("the committed ones");
    let tables = tables(&model, &references, &witnesses).expect("tables");
    let page = fs::read_to_string(page::path()).expect("the page");
    let made = page::replaced(&page, "tiny", &witnesses, &tables).expect("a place for it");
    assert!(made == page, "`cargo xtask refs --matrix` writes it anew");
}

/// A folder of another name would be read by nobody, and nobody would miss it.
#[test]
fn every_committed_trace_is_of_a_witness_that_there_is_a_program_for() {
    let programs = fs::read_to_string(root().join("reference/witness.py")).expect("the programs");
    for name in NAMES {
        assert!(programs.contains(&format!("\"{name}\": \"")), "{name}");
    }
    for model in fs::read_dir(root().join("fixtures/witnesses")).expect("the models") {
        for committed in fs::read_dir(model.expect("a model").path()).expect("its witnesses") {
            let name = committed.expect("a witness").file_name();
            assert!(NAMES.iter().any(|known| name == *known), "{name:?}");
        }
    }
}

#[test]
fn candle_was_run_in_the_versions_that_its_harness_locks() {
    let lock = root().join("reference/candle/Cargo.lock");
    let lock: toml::Table = fs::read_to_string(lock)
        .expect("the lock file")
        .parse()
        .expect("TOML");
    let packages = lock["package"].as_array().expect("packages");
    for model in ["tiny", "gpt2-124m-attention"] {
        let about = root().join("fixtures/witnesses").join(model);
        let about = fs::read(about.join("candle/witness.json")).expect("the witness");
        let about: About = serde_json::from_slice(&about).expect("what it says of itself");
        assert_eq!(about.label, "kernels");
        for name in ["candle-core", "candle-nn", "gemm"] {
            let locked: Vec<_> = packages
                .iter()
                .filter(|package| package["name"].as_str() == Some(name))
                .map(|package| package["version"].as_str())
                .collect();
            assert_eq!(locked, [Some(about.versions[name].as_str())], "{name}");
        }
    }
}
