//! Further witnesses beside `hf`: their traces, and what they say of themselves.

pub mod make;
pub mod matrix;
pub mod page;
pub mod quorum;
mod testimony;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use llorch_parity::{Dtype, Manifest, Trace};
use serde::Deserialize;

use crate::model_dir::ModelDir;
use crate::references::References;
use crate::root;

pub use testimony::{Stance, Testimony};

/// All that there are programs for, in the order of the page.
pub const NAMES: [&str; 7] = [
    "hf-sdpa",
    "tinygrad",
    "mlx",
    "transformer-lens",
    "llama-cpp",
    "onnxruntime",
    "candle",
];

/// Where a model's witnesses are kept: beside its references, committed or the user's own. A fetched model's name,
/// and so its folder, has two parts.
pub fn folder(references: &Path) -> Option<PathBuf> {
    ["fixtures", "target"].iter().find_map(|kept| {
        let kept = root().join(kept);
        let model = references.strip_prefix(kept.join("refs")).ok()?;
        (model != Path::new("")).then(|| kept.join("witnesses").join(model))
    })
}

/// A witness whose every file has been hashed.
pub struct Witness {
    pub about: About,
    /// By case and basis.
    pub traces: BTreeMap<(String, String), Trace>,
}

/// `witness.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    pub name: String,
    /// `model`: a complete model by others; `kernels`: others' kernels, put together by us or by an export.
    pub label: String,
    pub model_code: String,
    pub kernels: String,
    pub how: String,
    pub versions: BTreeMap<String, String>,
    /// The hash of the manifest of the references that it was made beside.
    pub references_sha256: String,
    /// The layers that isolated traces show.
    pub layers: Vec<usize>,
    /// Kinds of site, and why they are not there.
    pub not_shown: BTreeMap<String, String>,
    pub floor_measured: String,
    pub floor: Floors,
}

/// By basis and site.
pub type Floors = BTreeMap<String, BTreeMap<String, Floor>>;

/// Errors against the truth, in units of max(1, |hf|).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    pub rms: f64,
    pub worst: f64,
}

impl Witness {
    /// Opens the traces in `dir`, which must be of this model.
    ///
    /// # Errors
    /// Where a file is not there, not as it was written, or of another model.
    pub fn open(dir: &Path, model: &ModelDir) -> Result<Self> {
        let manifest = Manifest::open(dir)?;
        manifest.check_model(&model.weights_sha256, &model.config_sha256)?;
        let shown = dir.display();
        let about = manifest.about()?;
        let about =
            about.with_context(|| format!("{shown}: expected a witness.json, found none"))?;
        let about: About = serde_json::from_slice(&about)
            .with_context(|| format!("{shown}: cannot read witness.json"))?;
        ensure!(
            about.name == manifest.witness(),
            "{shown}: the manifest is of {}, witness.json of {}",
            manifest.witness(),
            about.name
        );
        let layers = model.config.n_layer();
        ensure!(
            about.layers.iter().all(|layer| *layer < layers),
            "{shown}: witness.json: expected layers under {layers}, found {:?}",
            about.layers
        );
        let mut traces = BTreeMap::new();
        for case in manifest.cases() {
            for basis in case.parts() {
                let key = (case.name.clone(), basis.to_owned());
                traces.insert(key, manifest.load(&case.name, basis)?);
            }
        }
        ensure!(!traces.is_empty(), "{shown}: no traces");
        let witness = Witness { about, traces };
        witness.check_floor().with_context(|| format!("{shown}"))?;
        Ok(witness)
    }

    /// Whether all floats that it shows have a floor: one without would be taken for not shown.
    fn check_floor(&self) -> Result<()> {
        for ((case, basis), trace) in &self.traces {
            let floats = trace
                .iter()
                .filter(|(_, tensor)| tensor.dtype() != Dtype::Int64);
            for (name, _) in floats {
                let site = testimony::site(name);
                let floor = self
                    .about
                    .floor
                    .get(basis)
                    .and_then(|sites| sites.get(site));
                let floor = floor.map(|floor| floor.worst);
                ensure!(
                    floor.is_some_and(f64::is_finite),
                    "witness.json: expected a floor of {site} ({case}, {basis}), found {floor:?}"
                );
            }
        }
        Ok(())
    }

    /// Whether it was fed with these references.
    ///
    /// # Errors
    /// Where it was made beside others.
    pub fn check_references(&self, references: &References) -> Result<()> {
        let (expected, found) = (references.manifest.sha256(), &self.about.references_sha256);
        ensure!(
            expected == found,
            "made beside other references (expected {expected}, found {found})"
        );
        Ok(())
    }
}

/// Those of a model that are there, in the order of [`NAMES`].
///
/// # Errors
/// Where one is there and not whole.
pub fn open(dir: &Path, model: &ModelDir, references: &References) -> Result<Vec<Witness>> {
    let present = NAMES.iter().map(|name| dir.join(name));
    present
        .filter(|dir| dir.is_dir())
        .map(|dir| {
            let witness = Witness::open(&dir, model)?;
            let checked = witness.check_references(references);
            checked.with_context(|| format!("{}", dir.display()))?;
            Ok(witness)
        })
        .collect()
}
