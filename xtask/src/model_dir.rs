//! What `--model` means.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use llorch_parity::sha256_hex;
use llorch_weights::hub::{Cache, MAIN, Repo};
use llorch_weights::{Config, Missing, Weights};

use crate::root;

/// What the embedded model is called.
pub const EMBEDDED: &str = "tiny";

/// A model folder, opened: what is there has been checked, and what is missing is known.
pub struct ModelDir {
    /// The folder's own name, or the repository's.
    pub name: String,
    pub path: PathBuf,
    /// Whether it was asked for as [`EMBEDDED`].
    pub is_embedded: bool,
    pub config: Config,
    pub config_sha256: String,
    pub weights: Weights,
    pub weights_sha256: String,
    pub missing: Vec<Missing>,
}

impl ModelDir {
    /// Opens `tiny`, the embedded model, the folder at a path, or a repository in the Hugging Face cache.
    pub fn open(model: &str) -> Result<Self> {
        Self::open_at(Place::find(model)?)
    }

    /// Opens the model at a place.
    pub fn open_at(place: Place) -> Result<Self> {
        let Place {
            name,
            path,
            is_embedded,
        } = place;
        let config_path = path.join("config.json");
        let config_text = std::fs::read(&config_path)
            .with_context(|| format!("cannot read {}", config_path.display()))?;
        let config = Config::open(&path)?;
        let weights = Weights::open(&path)?;
        // A part of a model is welcome: the checkpoints that need what is missing say so.
        let missing = match weights.check(&config) {
            Ok(_) => Vec::new(),
            Err(llorch_weights::Error::Missing { missing }) => missing,
            Err(error) => return Err(error.into()),
        };
        Ok(ModelDir {
            name,
            path,
            is_embedded,
            config_sha256: sha256_hex(&config_text),
            config,
            weights_sha256: weights.sha256(),
            weights,
            missing,
        })
    }
}

/// Where a model is, nothing of it opened yet.
pub struct Place {
    /// The folder's own name, or the repository's.
    pub name: String,
    pub path: PathBuf,
    is_embedded: bool,
}

impl Place {
    /// Finds `tiny`, the embedded model, the folder at a path, or a repository in the Hugging Face cache.
    pub fn find(model: &str) -> Result<Self> {
        let is_embedded = model == EMBEDDED;
        let path = if is_embedded {
            root().join("fixtures").join(EMBEDDED)
        } else if Path::new(model).is_dir() {
            model.into()
        } else {
            return Self::fetched(model);
        };
        let path = relative(path);
        let full = path
            .canonicalize()
            .with_context(|| format!("cannot open {}", path.display()))?;
        let name = full.file_name().map_or_else(
            || "model".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        Ok(Place {
            name,
            path,
            is_embedded,
        })
    }

    /// Finds what `cargo xtask fetch` has brought.
    fn fetched(model: &str) -> Result<Self> {
        let Some(repo) = Repo::new(model) else {
            bail!(
                "--model {model}: expected `tiny`, the path of a model folder or the name of a repository, \
                 found none of them"
            );
        };
        let cache = Cache::from_env();
        let path = cache.and_then(|cache| cache.snapshot(&repo, MAIN));
        let path = path.with_context(|| {
            format!(
                "--model {model}: no folder is there, and no such repository in the Hugging Face cache; \
                 `cargo xtask fetch {model}` fetches it"
            )
        })?;
        Ok(Place {
            name: repo.to_string(),
            path,
            is_embedded: false,
        })
    }
}

/// The path as seen from here, where it lies below.
pub fn relative(path: PathBuf) -> PathBuf {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    below.filter(|below| below != Path::new("")).unwrap_or(path)
}
