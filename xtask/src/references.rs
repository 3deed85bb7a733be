//! Where a model's references are, and what is in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use llorch_parity::{Case, Manifest, ManifestError, Tensor, Trace, sha256_hex};

use crate::model_dir::ModelDir;
use crate::root;

/// A case as the gate knows it. References that say otherwise would be judged on less.
pub struct Known {
    name: &'static str,
    selection: &'static str,
    /// The tokens of each call; empty for one call of any length.
    calls: &'static [usize],
    batch: usize,
}

const fn known(
    name: &'static str,
    selection: &'static str,
    calls: &'static [usize],
    batch: usize,
) -> Known {
    Known {
        name,
        selection,
        calls,
        batch,
    }
}

/// The cases of a whole model. All of them where references are committed.
const WHOLE: [Known; 10] = [
    known("two-tokens", "all", &[2], 1),
    known("one-token", "all", &[1], 1),
    known("multibyte", "all", &[37], 1),
    known("full-context", "selected", &[], 1),
    known("long", "selected", &[80], 1),
    known("batch", "all", &[11], 3),
    known("steps", "all", &[7, 1, 1, 1, 1, 1], 1),
    known("chunks", "all", &[7, 5], 2),
    known("greedy", "greedy", &[9], 2),
    known("sampling", "sampling", &[9], 2),
];

/// What the references of any whole model have at least, alternatives beside each other.
const AT_LEAST: [&[&str]; 5] = [
    &["two-tokens"],
    &["chunks"],
    &["full-context", "long"],
    &["greedy"],
    &["sampling"],
];

/// The same for those that are committed.
const COMMITTED: [&[&str]; 9] = [
    &["two-tokens"],
    &["one-token"],
    &["multibyte"],
    &["full-context", "long"],
    &["batch"],
    &["steps"],
    &["chunks"],
    &["greedy"],
    &["sampling"],
];

/// The cases of a model's attention half, and what its references have at least.
const HALF: [Known; 4] = [
    known("attention", "isolated", &[13], 1),
    known("attention-batch", "attention-out", &[7], 2),
    known("attention-steps", "attention-out", &[9, 4], 1),
    known("attention-long", "attention-last", &[36, 4], 1),
];
const HALF_AT_LEAST: [&[&str]; 4] = [
    &["attention"],
    &["attention-batch"],
    &["attention-steps"],
    &["attention-long"],
];

/// A model's references, every file read and hashed.
pub struct References {
    pub manifest: Manifest,
    pub cases: Vec<CaseTraces>,
    /// What is not there or not as the gate knows it.
    pub missing: Vec<String>,
}

/// One case with its traces.
pub struct CaseTraces {
    pub case: Case,
    pub witness: Trace,
    /// float64 modules on the witness's own inputs, minus the witness.
    pub isolated: Option<Trace>,
    /// The whole model in float64, minus the witness.
    pub propagated: Option<Trace>,
}

/// Where the committed references of a model are.
pub fn committed(model: &str) -> PathBuf {
    root().join("fixtures").join("refs").join(model)
}

/// Whether the committed references under the model's name are of this model, and not of another so named.
pub fn is_committed(model: &ModelDir) -> bool {
    manifest(model, &committed(&model.name)).is_ok()
}

/// Where the references of a user's model are written.
pub fn own(model: &str) -> PathBuf {
    root().join("target").join("refs").join(model)
}

impl References {
    /// Opens the references in `dir`, or else the committed ones of these very weights, or else the user's own.
    pub fn open(model: &ModelDir, dir: Option<&Path>) -> Result<Self, ManifestError> {
        if let Some(dir) = dir {
            let whole = if is_committed(model) {
                &COMMITTED[..]
            } else {
                &AT_LEAST
            };
            return Self::load(manifest(model, dir)?, whole);
        }
        let own = own(&model.name);
        match manifest(model, &committed(&model.name)) {
            // None are committed, or those of another model of the same name.
            Err(ManifestError::MissingFile { .. } | ManifestError::OtherModel { .. })
                if own.is_dir() && !model.is_embedded =>
            {
                Self::load(manifest(model, &own)?, &AT_LEAST)
            }
            committed => Self::load(committed?, &COMMITTED),
        }
    }

    fn load(manifest: Manifest, whole: &[&[&str]]) -> Result<Self, ManifestError> {
        let cases = manifest
            .cases()
            .iter()
            .map(|case| {
                let part = |part: &str| manifest.load(&case.name, part);
                let optional = |name: &str| {
                    let present = case.parts().any(|part| part == name);
                    present.then(|| part(name)).transpose()
                };
                Ok(CaseTraces {
                    witness: part("hf")?,
                    isolated: optional("isolated")?,
                    propagated: optional("propagated")?,
                    case: case.clone(),
                })
            })
            .collect::<Result<Vec<_>, ManifestError>>()?;
        let (known, at_least) = match manifest.kind() {
            "attention-half" => (&HALF[..], &HALF_AT_LEAST[..]),
            _ => (&WHOLE[..], whole),
        };
        let missing = missing(&cases, known, at_least);
        Ok(References {
            manifest,
            cases,
            missing,
        })
    }

    /// The hash of what all cases start from: the tokens, or the stream where there are none.
    pub fn inputs_sha256(&self) -> String {
        let mut inputs = String::new();
        for traces in &self.cases {
            for (name, tensor) in traces.witness.iter() {
                if name.ends_with("/tokens") || name.ends_with("/embed") {
                    inputs += &format!("{} {name} {}\n", traces.case.name, digest(tensor));
                }
            }
        }
        sha256_hex(inputs.as_bytes())
    }
}

/// The cases that are not there, and those that are not what the gate knows under their name.
fn missing(cases: &[CaseTraces], known: &[Known], at_least: &[&[&str]]) -> Vec<String> {
    let has = |name: &&str| cases.iter().any(|traces| traces.case.name == **name);
    let absent = at_least.iter().filter(|names| !names.iter().any(has));
    let absent = absent.map(|names| format!("case {}", names.join(" or ")));
    let unknown = cases.iter().map(|traces| &traces.case).filter(|case| {
        let is_known = |known: &Known| {
            let any_length = known.calls.is_empty() && case.calls.len() == 1;
            known.name == case.name
                && known.selection == case.selection
                && (any_length || known.calls == case.calls)
                && known.batch == case.batch
        };
        !known.iter().any(is_known)
    });
    let unknown = unknown.map(|case| {
        format!(
            "a known case in place of {} ({}, calls {:?}, batch {})",
            case.name, case.selection, case.calls, case.batch
        )
    });
    absent.chain(unknown).collect()
}

/// The manifest in a folder, if it is of this model.
fn manifest(model: &ModelDir, dir: &Path) -> Result<Manifest, ManifestError> {
    let manifest = Manifest::open(dir)?;
    manifest.check_model(&model.weights.sha256(), &model.config_sha256)?;
    Ok(manifest)
}

fn digest(tensor: &Tensor) -> String {
    let bytes: Vec<u8> = match tensor {
        Tensor::F32(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Tensor::F64(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Tensor::I64(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
    };
    format!("{:?} {}", tensor.shape(), sha256_hex(&bytes))
}

/// The versions of what made the references, in one line.
pub fn versions(versions: &BTreeMap<String, String>) -> String {
    let named = versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"));
    named.collect::<Vec<_>>().join(", ")
}
