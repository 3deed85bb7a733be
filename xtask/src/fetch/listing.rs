//! What the hub says of a repository: the commit, and each file's size and hash.

use anyhow::{Context, Result, ensure};
use llorch_weights::hub::is_commit;
use serde::Deserialize;

use super::digest::Digest;

/// A revision of a repository, as the hub lists it.
pub struct Listing {
    /// The commit's full hash.
    pub commit: String,
    siblings: Vec<Sibling>,
}

/// A file to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    /// In bytes.
    pub size: u64,
    pub digest: Digest,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

/// What the hub calls a file.
#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

/// Where a file is too large for git.
#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Listing {
    /// Reads the hub's answer.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let Answer { sha, siblings } = serde_json::from_slice(json)?;
        ensure!(is_commit(&sha), "expected a commit's hash, found {sha:?}");
        Ok(Listing {
            commit: sha,
            siblings,
        })
    }

    /// Whether the repository has a file of this name.
    pub fn has(&self, name: &str) -> bool {
        self.siblings.iter().any(|file| file.rfilename == name)
    }

    /// A file's size and hash; without both it could not be checked, and is not fetched.
    pub fn entry(&self, name: &str) -> Result<Entry> {
        let mut files = self.siblings.iter();
        let file = files.find(|file| file.rfilename == name);
        let file = file.with_context(|| format!("the repository has no {name}"))?;
        let (size, digest) = match (&file.lfs, &file.blob_id) {
            (Some(lfs), _) => (Some(lfs.size), Digest::sha256(&lfs.sha256)),
            (None, Some(id)) => (file.size, Digest::git_blob(id)),
            (None, None) => (None, None),
        };
        let problem =
            || format!("the hub says no size and hash of {name}, so it could not be checked");
        Ok(Entry {
            name: name.to_owned(),
            size: size.with_context(problem)?,
            digest: digest.with_context(problem)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "607a30d783dfa663caf39e06633721c8d4cfcd7e";

    fn listing(files: &str) -> Result<Listing> {
        Listing::parse(format!(r#"{{"sha": "{COMMIT}", "siblings": [{files}]}}"#).as_bytes())
    }

    #[test]
    fn a_large_file_goes_by_its_sha256_and_not_by_its_pointer() {
        let sha256 = "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707";
        let listing = listing(&format!(
            r#"{{"rfilename": "model.safetensors", "size": 548105171, "blobId": "{COMMIT}",
                 "lfs": {{"sha256": "{sha256}", "size": 548105171, "pointerSize": 134}}}}"#
        ));
        let entry = listing.unwrap().entry("model.safetensors").unwrap();
        assert_eq!(entry.size, 548_105_171);
        assert_eq!(Some(entry.digest), Digest::sha256(sha256));
    }

    #[test]
    fn what_cannot_be_checked_is_refused_by_name() {
        let files = [
            r#"{"rfilename": "config.json"}"#,
            r#"{"rfilename": "config.json", "size": 1, "blobId": "../../x"}"#,
            r#"{"rfilename": "config.json", "blobId": "607a30d783dfa663caf39e06633721c8d4cfcd7e"}"#,
        ];
        for file in files {
            let error = listing(file).unwrap().entry("config.json").unwrap_err();
            assert!(error.to_string().contains("config.json"), "{error}");
        }
        let error = listing("").unwrap().entry("config.json").unwrap_err();
        assert!(error.to_string().contains("no config.json"), "{error}");
        assert!(Listing::parse(br#"{"sha": "../..", "siblings": []}"#).is_err());
    }
}
