use std::path::PathBuf;

use thiserror::Error;

/// Why a config.json was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file that was looked for.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file was read and its contents refused; what [`Config::open`](crate::Config::open) returns.
    #[error("{}: {source}", path.display())]
    In {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: Box<ConfigError>,
    },
    /// Not one JSON object; the message ends with line and column.
    #[error("expected one JSON object, found malformed JSON: {0}")]
    Json(serde_json::Error),
    /// A field is given twice.
    #[error("expected each field once, found {field:?} twice")]
    DuplicateField {
        /// The field.
        field: String,
    },
    /// A field's value has another type.
    #[error("{field}: expected {expected}, found {found}")]
    WrongType {
        /// The field.
        field: String,
        /// The type expected.
        expected: &'static str,
        /// The value found, as JSON.
        found: String,
    },
    /// A field and its alias differ.
    #[error(
        "expected {field} and {alias} (its alias) to be equal, found {value} and {alias_value}"
    )]
    Conflict {
        /// The field.
        field: &'static str,
        /// Its other name.
        alias: &'static str,
        /// The field's value.
        value: usize,
        /// The alias's value.
        alias_value: usize,
    },
    /// A size is zero.
    #[error("{field}: expected at least 1, found 0")]
    Zero {
        /// The field.
        field: &'static str,
    },
    /// A size is beyond what this crate computes with.
    #[error("{field}: expected at most {limit}, found {found}")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// The largest size accepted.
        limit: usize,
        /// The size found.
        found: usize,
    },
    /// The heads do not share the width evenly.
    #[error("expected n_head to divide n_embd, found n_head {n_head} and n_embd {n_embd}")]
    HeadsDoNotDivide {
        /// The width C.
        n_embd: usize,
        /// The heads H.
        n_head: usize,
    },
    /// The epsilon under LayerNorm's root is not a positive number.
    #[error("layer_norm_epsilon: expected a positive number, found {found}")]
    Epsilon {
        /// The value found.
        found: f64,
    },
    /// An activation function that is not implemented.
    #[error(
        "activation_function: expected gelu_new, gelu_pytorch_tanh, gelu or relu, found {found:?}"
    )]
    Activation {
        /// The name found.
        found: String,
    },
    /// Another kind of model.
    #[error("model_type: expected \"gpt2\", found {found:?}")]
    ModelType {
        /// The name found.
        found: String,
    },
    /// A model with another head than the language model's.
    #[error("architectures: expected GPT2LMHeadModel or GPT2Model, found {found:?}")]
    Architectures {
        /// The names found.
        found: Vec<String>,
    },
    /// A known field has a value that changes the numbers in a way that is not implemented.
    #[error("{field}: expected {expected} (anything else changes the numbers), found {found}")]
    Unsupported {
        /// The field.
        field: String,
        /// The values accepted, as JSON.
        expected: String,
        /// The value found, as JSON.
        found: String,
    },
    /// A field that neither GPT-2 nor the general part of a Hugging Face config has.
    #[error(
        "expected only fields of a GPT-2 config, found {field:?}, which could change the numbers"
    )]
    UnknownField {
        /// The field.
        field: String,
    },
}
