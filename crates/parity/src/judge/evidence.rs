//! What a verdict was reached on.

use super::Reason;
use crate::hash::is_sha256;
use serde::Serialize;

/// The hashes that say what was judged against what, and by which state of the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The weight file's SHA-256: 64 lowercase hexadecimal digits.
    pub weights_sha256: String,
    /// The SHA-256 of the inputs.
    pub inputs_sha256: String,
    /// The SHA-256 of the references: their manifest's.
    pub references_sha256: String,
    /// The commit, or `unknown`.
    pub commit: String,
    /// Whether the tree differed from the commit.
    pub dirty: bool,
}

impl Evidence {
    /// What is missing or malformed.
    pub(super) fn gaps(&self) -> Vec<Reason> {
        let hashes = [
            ("weights_sha256", &self.weights_sha256),
            ("inputs_sha256", &self.inputs_sha256),
            ("references_sha256", &self.references_sha256),
        ];
        let mut gaps: Vec<Reason> = hashes
            .into_iter()
            .filter(|(_, hash)| !is_sha256(hash))
            .map(|(field, hash)| Reason::Evidence {
                field,
                expected: "64 lowercase hex digits, not the hash of nothing",
                found: hash.clone(),
            })
            .collect();
        if self.commit.trim().is_empty() {
            let found = self.commit.clone();
            gaps.push(Reason::Evidence {
                field: "commit",
                expected: "a commit or unknown",
                found,
            });
        }
        gaps
    }
}
