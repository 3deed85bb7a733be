/// What can be wrong with a model, its files or its input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// config.json was refused.
    #[error(transparent)]
    Config(#[from] llorch_weights::ConfigError),
    /// The weights were refused.
    #[error(transparent)]
    Weights(#[from] llorch_weights::Error),
    /// An array has another shape than it must have.
    #[error(transparent)]
    Shape(#[from] llorch_numerics::ShapeError),
    /// A weight could not be packed.
    #[error(transparent)]
    Pack(#[from] llorch_numerics::PackError),
    /// The threads or the instruction set asked for are not to be had.
    #[error(transparent)]
    Cpu(#[from] llorch_numerics::CpuError),
    /// A layer normalisation was refused.
    #[error(transparent)]
    LayerNorm(#[from] llorch_layernorm::Error),
    /// A projection into heads was refused.
    #[error(transparent)]
    Qkv(#[from] llorch_qkv::Error),
    /// The cache could not be made or added to.
    #[error(transparent)]
    Cache(#[from] llorch_kv_cache::Error),
    /// Attention was refused.
    #[error(transparent)]
    Attention(#[from] llorch_attention::Error),
    /// A feed-forward layer was refused.
    #[error(transparent)]
    Mlp(#[from] llorch_mlp::Error),
    /// There is nothing to continue.
    #[error("expected at least one token, found an empty prompt")]
    EmptyPrompt,
    /// The rows of a batch must be equally long; GPT-2 has no padding token.
    #[error(
        "expected rows of equal length, found {expected} tokens in row 0 and {found} in row {row}"
    )]
    Ragged {
        /// The first row of another length.
        row: usize,
        /// The length of row 0.
        expected: usize,
        /// The length of that row.
        found: usize,
    },
    /// A token that the model has no embedding for.
    #[error(
        "expected token ids below {vocabulary}, found {found} in row {row} at position {position}"
    )]
    Token {
        /// V.
        vocabulary: usize,
        /// The id found.
        found: u32,
        /// Its row.
        row: usize,
        /// Its position among the new tokens.
        position: usize,
    },
    /// A cache or a prompt for more positions than the model has embeddings for.
    #[error("expected at most {limit} positions, found {found}")]
    Positions {
        /// `n_positions`.
        limit: usize,
        /// The positions asked for.
        found: usize,
    },
    /// A cache that was made for another model.
    #[error("expected a cache of {expected} layers, found {found}")]
    Layers {
        /// L.
        expected: usize,
        /// The cache's layers.
        found: usize,
    },
    /// A setting of the sampler that has no meaning.
    #[error("{setting}: expected {expected}, found {found}")]
    Sampling {
        /// Which setting.
        setting: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it was.
        found: f64,
    },
    /// Logits that no token can be chosen from.
    #[error("expected finite logits, found {found} for token {token}")]
    Logits {
        /// The token.
        token: usize,
        /// Its logit.
        found: f32,
    },
    /// No logits at all.
    #[error("expected the logits of at least one token, found none")]
    NoLogits,
    /// The tokenizer's files are not there.
    #[error("{}: expected tokenizer.json, or vocab.json and merges.txt, found neither", dir.display())]
    NoTokenizer {
        /// The folder.
        dir: std::path::PathBuf,
    },
    /// A tokenizer's file was refused.
    #[error("{}: expected a tokenizer: {source}", path.display())]
    TokenizerFile {
        /// tokenizer.json; or vocab.json, which stands for merges.txt beside it as well.
        path: std::path::PathBuf,
        /// What is wrong with it.
        source: tokenizers::Error,
    },
    /// The tokenizer refused a text or ids.
    #[error("tokenizer: {0}")]
    Tokenizer(tokenizers::Error),
}
