//! The list of a model's reference files, with the hash of each.

use crate::error::ManifestError;
use crate::hashed_file::{HashedFile, check_hash, read_hashed, recorded_hash};
use crate::trace::Trace;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The format number that this crate reads.
pub const FORMAT: u64 = 1;

const MANIFEST: &str = "manifest.json";
const CHECKSUM: &str = "manifest.json.sha256";

/// A folder of references, opened and found whole.
///
/// [`Manifest::open`] is the only way to one, and [`Manifest::load`] the only way through one to a trace:
/// no byte is parsed whose hash has not been compared.
#[derive(Debug)]
pub struct Manifest {
    dir: PathBuf,
    sha256: String,
    document: Document,
}

/// One case: a list of forward calls and the files that hold what came out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name, different from every other case's.
    pub name: String,
    /// Which sites were stored; the writer's word.
    pub selection: String,
    /// The number of tokens in each call.
    pub calls: Vec<usize>,
    /// The number of rows in each call.
    pub batch: usize,
    /// One text a row, where the case has text.
    pub text: Option<Vec<String>>,
    /// The files of every part, in the order they were split.
    pub files: BTreeMap<String, Vec<HashedFile>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "format")]
    _format: u64,
    model: String,
    kind: String,
    weights: HashedFile,
    config_sha256: String,
    witness: String,
    versions: BTreeMap<String, String>,
    about: Option<HashedFile>,
    cases: Vec<Case>,
}

/// Read before the rest, so that a later format is told from a broken file.
#[derive(Deserialize)]
struct Format {
    format: u64,
}

impl Manifest {
    /// Opens the references in `dir`: compares `manifest.json` with `manifest.json.sha256`, then reads it.
    ///
    /// # Errors
    ///
    /// [`ManifestError`], for either file missing, the hash unequal, another format, an unknown or missing
    /// field, a file name with a path in it, a malformed hash, a case listed twice.
    pub fn open(dir: &Path) -> Result<Manifest, ManifestError> {
        let path = dir.join(MANIFEST);
        let file = path.display().to_string();
        let expected = recorded_hash(&dir.join(CHECKSUM))?;
        let bytes = read_hashed(&path, &expected)?;
        let broken = |e: serde_json::Error| ManifestError::Parse {
            file: file.clone(),
            reason: e.to_string(),
        };
        let Format { format } = serde_json::from_slice(&bytes).map_err(broken)?;
        if format != FORMAT {
            return Err(ManifestError::Format {
                file,
                expected: FORMAT,
                found: format,
            });
        }
        let document: Document = serde_json::from_slice(&bytes).map_err(broken)?;
        document.check()?;
        Ok(Manifest {
            dir: dir.to_owned(),
            sha256: expected,
            document,
        })
    }

    /// The trace of one part of a case. Every file is read once and hashed before it is parsed.
    ///
    /// # Errors
    ///
    /// [`ManifestError::NoCase`], [`ManifestError::NoPart`], [`ManifestError::MissingFile`],
    /// [`ManifestError::Tampered`], and [`ManifestError::Trace`] with what is wrong in the file.
    pub fn load(&self, case: &str, part: &str) -> Result<Trace, ManifestError> {
        let case = self.case(case)?;
        let files = case.files.get(part).filter(|files| !files.is_empty());
        let files = files.ok_or_else(|| ManifestError::NoPart {
            case: case.name.clone(),
            expected: case.parts().map(str::to_owned).collect(),
            found: part.to_owned(),
        })?;
        let mut trace = Trace::new();
        for HashedFile { file, sha256 } in files {
            let path = self.dir.join(file);
            let bytes = read_hashed(&path, sha256)?;
            trace.merge(Trace::from_npz(&path.display().to_string(), &bytes)?)?;
        }
        Ok(trace)
    }

    /// What the writer says of the witness in a file of its own, if there is one; its hash has been compared.
    ///
    /// # Errors
    ///
    /// [`ManifestError::MissingFile`], [`ManifestError::Tampered`].
    pub fn about(&self) -> Result<Option<Vec<u8>>, ManifestError> {
        let about = self.document.about.as_ref();
        about
            .map(|about| read_hashed(&self.dir.join(&about.file), &about.sha256))
            .transpose()
    }

    /// The case of that name.
    ///
    /// # Errors
    ///
    /// [`ManifestError::NoCase`], which lists those there are.
    pub fn case(&self, name: &str) -> Result<&Case, ManifestError> {
        self.cases()
            .iter()
            .find(|case| case.name == name)
            .ok_or_else(|| ManifestError::NoCase {
                expected: self.cases().iter().map(|case| case.name.clone()).collect(),
                found: name.to_owned(),
            })
    }

    /// Compares the hashes of a model's weights and config with those the references were made from.
    ///
    /// # Errors
    ///
    /// [`ManifestError::OtherModel`].
    pub fn check_model(&self, weights: &str, config: &str) -> Result<(), ManifestError> {
        let document = &self.document;
        let pairs = [
            ("weights", &document.weights.sha256, weights),
            ("config", &document.config_sha256, config),
        ];
        for (what, expected, found) in pairs {
            if expected != found {
                let (expected, found) = (expected.clone(), found.to_owned());
                return Err(ManifestError::OtherModel {
                    what,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }

    /// The folder it was opened in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The hash of `manifest.json`, which through it stands for every reference file.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.document.model
    }

    /// What there is of the model; the writer's word.
    pub fn kind(&self) -> &str {
        &self.document.kind
    }

    /// The weight file the references were made from.
    pub fn weights(&self) -> &HashedFile {
        &self.document.weights
    }

    /// The hash of the model's configuration.
    pub fn config_sha256(&self) -> &str {
        &self.document.config_sha256
    }

    /// The name of the implementation that wrote the traces.
    pub fn witness(&self) -> &str {
        &self.document.witness
    }

    /// The versions of the programs that wrote the traces.
    pub fn versions(&self) -> &BTreeMap<String, String> {
        &self.document.versions
    }

    /// The cases in the writer's order.
    pub fn cases(&self) -> &[Case] {
        &self.document.cases
    }
}

impl Case {
    /// The parts that have files.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.files
            .iter()
            .filter(|(_, files)| !files.is_empty())
            .map(|(part, _)| part.as_str())
    }
}

impl Document {
    fn check(&self) -> Result<(), ManifestError> {
        self.weights.check()?;
        self.about.iter().try_for_each(HashedFile::check)?;
        check_hash("config", &self.config_sha256)?;
        let mut names = BTreeSet::new();
        for case in &self.cases {
            if !names.insert(&case.name) {
                return Err(ManifestError::DuplicateCase {
                    case: case.name.clone(),
                });
            }
            case.files
                .values()
                .flatten()
                .try_for_each(HashedFile::check)?;
        }
        Ok(())
    }
}
