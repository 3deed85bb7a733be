//! Where a model's references are, and what is in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use llorch_parity::{Case, Manifest, ManifestError, Tensor, Trace, TraceError, sha256_hex};
use ndarray::{Array, Dimension};

use crate::cases;
use crate::checkpoints::Basis;
use crate::model_dir::ModelDir;
use crate::root;
use crate::witnesses::Testimony;

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
    /// What `hf` gave. Components are fed with it, whoever judges.
    pub witness: Arc<Trace>,
    /// float64 modules on the witness's own inputs, minus the witness.
    pub isolated: Option<Arc<Trace>>,
    /// The whole model in float64, minus the witness.
    pub propagated: Option<Arc<Trace>>,
    /// What another implementation gave, where that one judges in the place of `hf`.
    pub testimony: Option<Testimony>,
}

impl CaseTraces {
    /// What is right, as the one who judges has it.
    pub fn expected(&self, basis: Basis) -> &Trace {
        match &self.testimony {
            Some(testimony) => testimony.trace(basis),
            None => &self.witness,
        }
    }

    /// The truth less what `hf` gave. Another's own errors are its witness.json's to tell: no R is taken of them.
    pub fn truths(&self, basis: Basis) -> Option<&Trace> {
        match (&self.testimony, basis) {
            (Some(_), _) => None,
            (None, Basis::Isolated) => self.isolated.as_deref(),
            (None, _) => self.propagated.as_deref(),
        }
    }

    /// What the whole model gives in float64: the witness's tensor with its difference added.
    ///
    /// # Errors
    /// [`TraceError`] where either is not there or they do not fit each other.
    pub fn truth<D: Dimension>(&self, name: &str) -> Result<Array<f64, D>, TraceError> {
        let witness = self.witness.array::<f32, D>(name)?;
        let absent = || TraceError::Missing {
            name: format!("the difference of {name} to float64"),
        };
        let deltas = self.propagated.as_ref().ok_or_else(absent)?;
        let delta = deltas.array::<f32, D>(name)?;
        if witness.shape() != delta.shape() {
            return Err(absent());
        }
        Ok(witness.mapv(f64::from) + delta.mapv(f64::from))
    }
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
                &cases::COMMITTED[..]
            } else {
                &cases::AT_LEAST
            };
            return Self::load(manifest(model, dir)?, whole);
        }
        let own = own(&model.name);
        match manifest(model, &committed(&model.name)) {
            // None are committed, or those of another model of the same name.
            Err(ManifestError::MissingFile { .. } | ManifestError::OtherModel { .. })
                if own.is_dir() && !model.is_embedded =>
            {
                Self::load(manifest(model, &own)?, &cases::AT_LEAST)
            }
            committed => Self::load(committed?, &cases::COMMITTED),
        }
    }

    fn load(manifest: Manifest, whole: &[&[&str]]) -> Result<Self, ManifestError> {
        let traces = manifest
            .cases()
            .iter()
            .map(|case| {
                let part = |part: &str| manifest.load(&case.name, part);
                let optional = |name: &str| {
                    let present = case.parts().any(|part| part == name);
                    present.then(|| part(name)).transpose()
                };
                Ok(CaseTraces {
                    witness: Arc::new(part("hf")?),
                    isolated: optional("isolated")?.map(Arc::new),
                    propagated: optional("propagated")?.map(Arc::new),
                    testimony: None,
                    case: case.clone(),
                })
            })
            .collect::<Result<Vec<_>, ManifestError>>()?;
        let missing = match manifest.kind() {
            "attention-half" => cases::missing(&traces, &cases::HALF, &cases::HALF_AT_LEAST),
            _ => cases::missing(&traces, &cases::WHOLE, whole),
        };
        Ok(References {
            manifest,
            cases: traces,
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

/// The manifest in a folder, if it is of this model.
fn manifest(model: &ModelDir, dir: &Path) -> Result<Manifest, ManifestError> {
    let manifest = Manifest::open(dir)?;
    manifest.check_model(&model.weights_sha256, &model.config_sha256)?;
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
