//! The hashes by which the hub knows files: git's own, or SHA-256 where a file is kept beside git (LFS).

use std::fmt;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result};
use llorch_parity::sha256_reader;
use sha1::{Digest as _, Sha1};

/// A hash in lowercase hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-1 of git's header and the file.
    GitBlob(String),
    /// SHA-256 of the file.
    Sha256(String),
}

impl Digest {
    /// A blob's hash in git, if it has the form of one.
    pub fn git_blob(hex: &str) -> Option<Self> {
        is_hex(hex, 40).then(|| Digest::GitBlob(hex.to_owned()))
    }

    /// A SHA-256, if it has the form of one.
    pub fn sha256(hex: &str) -> Option<Self> {
        is_hex(hex, 64).then(|| Digest::Sha256(hex.to_owned()))
    }

    /// The digits, by which the cache names the file.
    pub fn hex(&self) -> &str {
        match self {
            Digest::GitBlob(hex) | Digest::Sha256(hex) => hex,
        }
    }

    /// The same kind of hash of the file at a path.
    pub fn of_file(&self, path: &Path) -> Result<Self> {
        let problem = || format!("cannot read {}", path.display());
        Ok(match self {
            Digest::GitBlob(_) => Digest::GitBlob(git_blob(&fs::read(path).with_context(problem)?)),
            Digest::Sha256(_) => {
                let file = File::open(path).with_context(problem)?;
                Digest::Sha256(sha256_reader(BufReader::new(file)).with_context(problem)?)
            }
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Digest::GitBlob(hex) => write!(f, "git blob {hex}"),
            Digest::Sha256(hex) => write!(f, "sha256 {hex}"),
        }
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == digits && text.bytes().all(digit)
}

fn git_blob(bytes: &[u8]) -> String {
    let hash = Sha1::new()
        .chain_update(format!("blob {}\0", bytes.len()))
        .chain_update(bytes)
        .finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_has_the_hash_that_git_gives_it() {
        // echo hello | git hash-object --stdin
        let hello = "ce013625030ba8dba906f756967f9e9ca394464a";
        assert_eq!(git_blob(b"hello\n"), hello);
        assert_eq!(
            Digest::git_blob(hello).expect("a hash").to_string(),
            format!("git blob {hello}")
        );
    }

    #[test]
    fn what_could_be_a_path_is_no_hash() {
        let path = "../../../../../../../../../../etc/passwd";
        assert_eq!(path.len(), 40);
        assert_eq!(Digest::git_blob(path), None);
        assert_eq!(Digest::sha256(&"A".repeat(64)), None);
        assert_eq!(Digest::sha256(""), None);
    }
}
