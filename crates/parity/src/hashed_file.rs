//! Files that are hashed before anybody looks into them.

use crate::error::ManifestError;
use crate::hash::{is_sha256, sha256_hex};
use serde::Deserialize;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// A file and the hash of its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashedFile {
    /// A plain file name, without a path.
    pub file: String,
    /// 64 lowercase hexadecimal digits.
    pub sha256: String,
}

impl HashedFile {
    /// A name that cannot lead anywhere but into the folder, on any system, and a well-formed hash.
    pub(crate) fn check(&self) -> Result<(), ManifestError> {
        let leads_out = self.file.contains(['/', '\\', ':', '\0']) || self.file.contains("..");
        if leads_out || self.file.is_empty() || self.file == "." {
            return Err(ManifestError::FileName {
                found: self.file.clone(),
            });
        }
        check_hash(&self.file, &self.sha256)
    }
}

pub(crate) fn check_hash(of: &str, found: &str) -> Result<(), ManifestError> {
    if is_sha256(found) {
        return Ok(());
    }
    Err(ManifestError::Hash {
        of: of.to_owned(),
        found: found.to_owned(),
    })
}

/// The hash in a file of one `sha256sum` line about the manifest.
pub(crate) fn recorded_hash(path: &Path) -> Result<String, ManifestError> {
    let bytes = read(path)?;
    let line = String::from_utf8_lossy(&bytes);
    let hash = line
        .strip_suffix('\n')
        .unwrap_or(&line)
        .strip_suffix("  manifest.json");
    match hash {
        Some(hash) if is_sha256(hash) => Ok(hash.to_owned()),
        _ => Err(ManifestError::Checksum {
            file: path.display().to_string(),
            found: line.chars().take(100).collect(),
        }),
    }
}

pub(crate) fn read_hashed(path: &Path, expected: &str) -> Result<Vec<u8>, ManifestError> {
    let bytes = read(path)?;
    let found = sha256_hex(&bytes);
    if found != expected {
        let file = path.display().to_string();
        return Err(ManifestError::Tampered {
            file,
            expected: expected.to_owned(),
            found,
        });
    }
    Ok(bytes)
}

fn read(path: &Path) -> Result<Vec<u8>, ManifestError> {
    fs::read(path).map_err(|source| {
        let file = path.display().to_string();
        match source.kind() {
            ErrorKind::NotFound => ManifestError::MissingFile { file },
            _ => ManifestError::Io { file, source },
        }
    })
}
