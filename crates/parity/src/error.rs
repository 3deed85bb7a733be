//! What can be wrong with the files: traces and manifests.

use crate::tensor::Dtype;
use std::io;
use thiserror::Error;

/// What is wrong with a trace or a trace file.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The operating system refused to read or write the file.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// The system's word.
        source: io::Error,
    },
    /// Not a zip archive, a damaged one, or one that needs what traces do not use.
    #[error("{file}: expected an npz archive, found: {reason}")]
    Zip {
        /// The file.
        file: String,
        /// The zip reader's word.
        reason: String,
    },
    /// An archive without a single tensor.
    #[error("{file}: expected at least one tensor, found none")]
    Empty {
        /// The file.
        file: String,
    },
    /// An archive entry that is no `.npy`.
    #[error("{file}: expected entries named NAME.npy, found {entry:?}")]
    EntryName {
        /// The file.
        file: String,
        /// The entry's name.
        entry: String,
    },
    /// Two archive entries, or two merged traces, have the same name.
    #[error("{file}: expected every name once, found {name:?} twice")]
    Duplicate {
        /// The file, or the operation that met the second one.
        file: String,
        /// The name.
        name: String,
    },
    /// An entry is not a readable `.npy`.
    #[error("{file}: {entry}: expected a numpy array, found: {reason}")]
    Npy {
        /// The file.
        file: String,
        /// The entry's name.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry's element type is none of ours.
    #[error("{file}: {entry}: expected dtype <f4, <f8 or <i8, found {found}")]
    UnsupportedDtype {
        /// The file.
        file: String,
        /// The entry's name.
        entry: String,
        /// numpy's descriptor.
        found: String,
    },
    /// An entry holds more or fewer bytes than its shape needs.
    #[error("{file}: {entry}: expected {expected} bytes for shape {shape:?}, found {found}")]
    Length {
        /// The file.
        file: String,
        /// The entry's name.
        entry: String,
        /// The shape its header claims.
        shape: Vec<usize>,
        /// Bytes the shape needs; a shape whose size overflows needs `u128::MAX`.
        expected: u128,
        /// Bytes there are.
        found: usize,
    },
    /// An entry unpacks to more than [`MAX_TENSOR_BYTES`](crate::MAX_TENSOR_BYTES).
    #[error("{file}: {entry}: expected at most {limit} bytes, found more")]
    TooLarge {
        /// The file.
        file: String,
        /// The entry's name.
        entry: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The trace has no tensor of that name.
    #[error("expected a tensor named {name:?}, found none")]
    Missing {
        /// The name asked for.
        name: String,
    },
    /// The tensor has another element type.
    #[error("{name}: expected {expected}, found {found}")]
    Dtype {
        /// The tensor's name.
        name: String,
        /// The type asked for.
        expected: Dtype,
        /// The type it has.
        found: Dtype,
    },
    /// The tensor has another rank.
    #[error("{name}: expected {expected} axes, found shape {found:?}")]
    Rank {
        /// The tensor's name.
        name: String,
        /// The rank asked for.
        expected: usize,
        /// The shape it has.
        found: Vec<usize>,
    },
}

/// What is wrong with a folder of references.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// A file that should be there is not.
    #[error("{file}: expected a file, found none")]
    MissingFile {
        /// Its path.
        file: String,
    },
    /// The operating system refused to read a file.
    #[error("{file}: {source}")]
    Io {
        /// Its path.
        file: String,
        /// The system's word.
        source: io::Error,
    },
    /// A file's bytes are not those that were written.
    #[error("{file}: expected sha256 {expected}, found {found}")]
    Tampered {
        /// Its path.
        file: String,
        /// The hash on record.
        expected: String,
        /// The hash of what is there.
        found: String,
    },
    /// The checksum file is not one line of `sha256sum`.
    #[error("{file}: expected \"<64 hex digits>  manifest.json\", found {found:?}")]
    Checksum {
        /// Its path.
        file: String,
        /// What it holds.
        found: String,
    },
    /// Not JSON, or fields missing, unknown or of the wrong kind.
    #[error("{file}: expected a manifest, found: {reason}")]
    Parse {
        /// Its path.
        file: String,
        /// The parser's word, with line and column.
        reason: String,
    },
    /// A format this crate does not read.
    #[error("{file}: expected format {expected}, found {found}")]
    Format {
        /// Its path.
        file: String,
        /// The format read here.
        expected: u64,
        /// The format on record.
        found: u64,
    },
    /// A file name that could lead out of the folder.
    #[error("expected a plain file name, found {found:?}")]
    FileName {
        /// The name on record.
        found: String,
    },
    /// A hash on record that is none.
    #[error("{of}: expected a sha256 of 64 lowercase hex digits, found {found:?}")]
    Hash {
        /// What it is the hash of.
        of: String,
        /// What stands there.
        found: String,
    },
    /// Two cases of one name.
    #[error("expected every case once, found {case:?} twice")]
    DuplicateCase {
        /// The name.
        case: String,
    },
    /// There is no such case.
    #[error("expected one of the cases {expected:?}, found {found:?}")]
    NoCase {
        /// The cases there are.
        expected: Vec<String>,
        /// The case asked for.
        found: String,
    },
    /// The case has no files for that part.
    #[error("case {case}: expected one of the parts {expected:?}, found {found:?}")]
    NoPart {
        /// The case.
        case: String,
        /// The parts that have files.
        expected: Vec<String>,
        /// The part asked for.
        found: String,
    },
    /// The references were made from another model.
    #[error("{what}: expected sha256 {expected}, found {found}: references of another model")]
    OtherModel {
        /// `weights` or `config`.
        what: &'static str,
        /// The hash the references were made from.
        expected: String,
        /// The hash of the model at hand.
        found: String,
    },
    /// A trace file, though its hash is right, cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
}
