use std::path::PathBuf;

use safetensors::SafeTensorError;
use thiserror::Error;

use crate::Missing;

/// Why weights were refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing is at the path.
    #[error("{}: expected a model folder or a .safetensors file, found neither", path.display())]
    NotFound {
        /// The path that was looked for.
        path: PathBuf,
    },
    /// The folder holds no weights.
    #[error(
        "{}: expected model.safetensors or model.safetensors.index.json in this folder, found neither",
        dir.display()
    )]
    NoWeights {
        /// The folder.
        dir: PathBuf,
    },
    /// The weights are pickled: a program to run, not data to read.
    #[error(
        "expected safetensors, found the pickle {}, which is never read; convert it in Python: \
         GPT2LMHeadModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)",
        path.display()
    )]
    Pickle {
        /// The pickled file.
        path: PathBuf,
    },
    /// A file could not be opened or mapped.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The safetensors crate refused the header: too short, too long, not JSON, offsets that
    /// overlap, leave holes or disagree with the shapes.
    #[error("{}: expected a safetensors file: {source}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: SafeTensorError,
    },
    /// A JSON object names a tensor twice.
    #[error("{}: expected each key once, found {key:?} twice", path.display())]
    DuplicateKey {
        /// The safetensors file or index.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A tensor lies outside its file.
    #[error("{}: expected {name} to end within {len} bytes of data, found {end}", path.display())]
    PastEnd {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Where its header says it ends, in bytes from the start of the data.
        end: u64,
        /// The bytes of data in the file.
        len: u64,
    },
    /// Two keys, or two shards, name one tensor.
    #[error("expected {name} once, found {first} and {second}")]
    DuplicateTensor {
        /// The tensor's name without prefix.
        name: String,
        /// The key and file seen first.
        first: String,
        /// The key and file seen second.
        second: String,
    },
    /// The list of shards is not the JSON it should be; the message ends with line and column.
    #[error("{}: expected an object with a weight_map of names to files: {source}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong in it.
        source: serde_json::Error,
    },
    /// The list of shards points out of its folder.
    #[error("{}: expected the plain name of a file beside it, found {file:?}", path.display())]
    ShardName {
        /// The index.
        path: PathBuf,
        /// The name found.
        file: String,
    },
    /// The list of shards and the shards disagree.
    #[error("{}: expected {key} in {expected}, found it in {found}", path.display())]
    Shards {
        /// The index.
        path: PathBuf,
        /// The key as the files have it.
        key: String,
        /// The file that the index names, or "no file".
        expected: String,
        /// The file that holds it, or "no file".
        found: String,
    },
    /// Tensors of the model are not in the file.
    #[error("expected the whole model, found {} tensors missing: {}", missing.len(), list(missing))]
    Missing {
        /// Every one of them, in the model's order.
        missing: Vec<Missing>,
    },
    /// `tie_word_embeddings` is false and the file has no head.
    #[error("expected lm_head.weight, as tie_word_embeddings is false, found none")]
    NoHead,
    /// Tensors that the model does not have.
    #[error("expected only the model's tensors, found also {}", names.join(", "))]
    Extra {
        /// Every one of them, sorted.
        names: Vec<String>,
    },
    /// A tensor's elements are no floats that are read here.
    #[error("{name}: expected F32, F16 or BF16, found {found}")]
    Dtype {
        /// The tensor.
        name: String,
        /// The type found, as safetensors spells it.
        found: String,
    },
    /// A tensor's shape is not the one that was asked for.
    #[error("{name}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// The shape expected.
        expected: Vec<usize>,
        /// The shape found.
        found: Vec<usize>,
    },
    /// A tensor was to be viewed with another number of dimensions than it has.
    #[error("{name}: expected {expected} dimensions, found shape {found:?}")]
    Rank {
        /// The tensor.
        name: String,
        /// The number of dimensions asked for.
        expected: usize,
        /// The tensor's shape.
        found: Vec<usize>,
    },
    /// NaN or an infinity among the weights.
    #[error("{name}: expected finite numbers, found {found} at {index:?}")]
    NotFinite {
        /// The tensor.
        name: String,
        /// The first place, one index per dimension.
        index: Vec<usize>,
        /// What is there.
        found: f32,
    },
}

fn list(missing: &[Missing]) -> String {
    let names: Vec<String> = missing.iter().map(Missing::to_string).collect();
    names.join(", ")
}
