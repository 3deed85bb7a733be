//! The model folder that the cache shows of a commit.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use llorch_weights::hub::{Cache, Repo};
use tempfile::NamedTempFile;

use super::download::create_dir;

/// A commit's folder of names, each of which leads to a blob.
pub struct Snapshot {
    folder: PathBuf,
    dir: PathBuf,
    commit: String,
}

impl Snapshot {
    /// The snapshot of a commit; perhaps nothing is in it yet.
    pub fn new(cache: &Cache, repo: &Repo, commit: &str) -> Self {
        let folder = cache.folder(repo);
        Snapshot {
            dir: folder.join("snapshots").join(commit),
            folder,
            commit: commit.to_owned(),
        }
    }

    /// The folder as a model's.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Shows a blob under a file's name.
    pub fn show(&self, name: &str, blob: &Path) -> Result<()> {
        create_dir(&self.dir)?;
        let shown = self.dir.join(name);
        let problem = || format!("cannot link {}", shown.display());
        // Somebody may be reading it.
        if shown.canonicalize().ok() == Some(blob.canonicalize().with_context(problem)?) {
            return Ok(());
        }
        match fs::remove_file(&shown) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(problem),
            _ => link(blob, &shown).with_context(problem),
        }
    }

    /// Makes a branch or tag mean this commit: said last, when all of it is there.
    pub fn name(&self, revision: &str) -> Result<()> {
        if revision == self.commit {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        let dir = path.parent().unwrap_or(&self.folder);
        create_dir(dir)?;
        let problem = || format!("cannot write {}", path.display());
        let mut file = NamedTempFile::new_in(dir).with_context(problem)?;
        file.write_all(self.commit.as_bytes())
            .with_context(problem)?;
        file.persist(&path).with_context(problem)?;
        Ok(())
    }
}

/// As Hugging Face's tools do it: relative, so that the cache can be moved.
#[cfg(unix)]
fn link(blob: &Path, shown: &Path) -> std::io::Result<()> {
    let hash = blob.file_name().unwrap_or_default();
    std::os::unix::fs::symlink(Path::new("../../blobs").join(hash), shown)
}

#[cfg(not(unix))]
fn link(blob: &Path, shown: &Path) -> std::io::Result<()> {
    fs::hard_link(blob, shown)
}
