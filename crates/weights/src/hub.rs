//! The folder in which Hugging Face's tools keep what they have fetched from their hub, and ours do too.
//!
//! ```text
//! models--openai-community--gpt2/
//!     refs/main                        the commit that `main` was when it was fetched
//!     snapshots/<commit>/config.json   -> ../../blobs/<hash>
//!     blobs/<hash>
//! ```
//!
//! Nothing here asks a network.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::files::{INDEX, SINGLE};

/// The branch that a name alone means.
pub const MAIN: &str = "main";

/// A repository's name on the hub: `openai-community/gpt2`, or `gpt2` as the oldest are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repo(String);

impl Repo {
    /// The repository of this name, unless the hub could have none that is called so.
    ///
    /// ```
    /// use llorch_weights::hub::Repo;
    ///
    /// assert!(Repo::new("openai-community/gpt2").is_some());
    /// assert!(Repo::new("../gpt2").is_none());
    /// ```
    pub fn new(name: &str) -> Option<Self> {
        let part = |part: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            part.bytes().all(plain)
                && !part.is_empty()
                && !part.starts_with(['-', '.'])
                && !part.ends_with(['-', '.'])
        };
        let good = name.len() <= 96
            && name.split('/').count() <= 2
            && name.split('/').all(part)
            && !name.contains("--")
            && !name.contains("..");
        good.then(|| Repo(name.to_owned()))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The cache's folder; perhaps it is not there yet.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache in this folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Cache { root: root.into() }
    }

    /// Where the environment says it is: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else
    /// `huggingface/hub` in `XDG_CACHE_HOME` or in the user's `.cache`. `None` where there is no user either.
    pub fn from_env() -> Option<Self> {
        let folder = |variable| env::var_os(variable).filter(|value| !value.is_empty());
        let home = || {
            let caches = match folder("XDG_CACHE_HOME") {
                Some(caches) => PathBuf::from(caches),
                None => env::home_dir()?.join(".cache"),
            };
            Some(caches.join("huggingface"))
        };
        if let Some(root) = folder("HF_HUB_CACHE") {
            return Some(Self::at(root));
        }
        let home = folder("HF_HOME").map(PathBuf::from).or_else(home)?;
        Some(Self::at(home.join("hub")))
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a repository's refs, snapshots and blobs.
    pub fn folder(&self, repo: &Repo) -> PathBuf {
        self.root.join(folder_name(repo))
    }

    /// Where it is said which process is fetching what; Hugging Face's own tools look there too.
    pub fn locks(&self, repo: &Repo) -> PathBuf {
        self.root.join(".locks").join(folder_name(repo))
    }

    /// The model folder of a revision (a branch, a tag or a commit), if its config and weights are there.
    pub fn snapshot(&self, repo: &Repo, revision: &str) -> Option<PathBuf> {
        if !is_revision(revision) {
            return None;
        }
        let folder = self.folder(repo);
        let commit = std::fs::read_to_string(folder.join("refs").join(revision));
        let commit = commit.as_deref().map_or(revision, str::trim);
        let snapshot = folder.join("snapshots").join(commit);
        let has = |name: &str| snapshot.join(name).is_file();
        let is_there = is_commit(commit) && has("config.json") && (has(SINGLE) || has(INDEX));
        is_there.then_some(snapshot)
    }
}

/// The folder that `model` names: itself, where it is a folder's path, or what the cache holds of the
/// repository of this name.
pub fn model_folder(model: &Path) -> Option<PathBuf> {
    if model.exists() {
        return Some(model.to_owned());
    }
    let repo = Repo::new(model.to_str()?)?;
    Cache::from_env()?.snapshot(&repo, MAIN)
}

/// Whether a branch, a tag or a commit may be called so.
pub fn is_revision(revision: &str) -> bool {
    let part = |part: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        !part.is_empty() && part.bytes().all(plain) && !part.starts_with('.')
    };
    revision.split('/').all(part)
}

/// Whether this is a commit's full hash.
pub fn is_commit(revision: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    revision.len() == 40 && revision.bytes().all(digit)
}

fn folder_name(repo: &Repo) -> String {
    format!("models--{}", repo.name().replace('/', "--"))
}
