mod error;
mod fields;
mod read;

use std::path::Path;

pub use error::ConfigError;

/// The function between the MLP's two layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`: `gelu_new`, `gelu_pytorch_tanh`.
    GeluTanh,
    /// `x Phi(x)` by the error function: `gelu`.
    GeluErf,
    /// `max(x, 0)`: `relu`.
    Relu,
}

// The limits below keep every product of sizes under 2^60.
const _: () = assert!(usize::BITS >= 64, "models are computed on 64-bit machines");

/// The shape and the settings of one GPT-2, read from a Hugging Face `config.json` and checked.
///
/// A value of this type always satisfies: sizes at least 1 and within the limits below, `n_head`
/// divides `n_embd`, epsilon finite and positive. So products of two sizes, and the size of the whole
/// model in bytes, fit a 64-bit `usize`.
///
/// | field | at most |
/// |---|---|
/// | `n_layer` | 4,096 |
/// | `n_embd`, `n_head` | 2^20 |
/// | `n_inner` | 2^22 |
/// | `n_positions`, `vocab_size` | 2^24 |
///
/// What happens to every other field that a config.json can hold is said at [`Config::from_json`].
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    n_embd: usize,
    n_head: usize,
    n_layer: usize,
    n_positions: usize,
    vocab_size: usize,
    n_inner: usize,
    layer_norm_epsilon: f64,
    activation: Activation,
    scale_attn_by_inverse_layer_idx: bool,
    tie_word_embeddings: bool,
    bos_token_id: Option<u32>,
    eos_token_ids: Vec<u32>,
}

impl Config {
    /// Reads `config.json` in the model folder `dir`.
    ///
    /// # Errors
    /// [`ConfigError::Read`] if there is none; [`ConfigError::In`] with the path and what is wrong.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = dir.as_ref().join("config.json");
        match std::fs::read_to_string(&path) {
            Err(source) => Err(ConfigError::Read { path, source }),
            Ok(text) => Self::from_json(&text).map_err(|source| ConfigError::In {
                path,
                source: Box::new(source),
            }),
        }
    }

    /// Reads the text of a config.json.
    ///
    /// An absent field has the default of Hugging Face's `GPT2Config` (the shape of GPT-2 124M), and
    /// the aliases of its `attribute_map` are read: `hidden_size`, `num_attention_heads`,
    /// `num_hidden_layers`, `max_position_embeddings`. Beyond the fields of this struct:
    ///
    /// - **read and checked**, since another value would change the numbers: `model_type`,
    ///   `architectures` (one of them `GPT2LMHeadModel`, or `GPT2Model`, to which the tied head is
    ///   added as Hugging Face's `GPT2LMHeadModel.from_pretrained` does), `scale_attn_weights`,
    ///   `reorder_and_upcast_attn`, `add_cross_attention`, `cross_attention_hidden_size`,
    ///   `is_encoder_decoder`, `tie_encoder_decoder`, `pruned_heads`, `quantization_config`,
    ///   `per_layer_config`, `use_bfloat16`, `auto_map`;
    /// - **accepted unread**, since Hugging Face's GPT-2 computes the same logits whatever they say:
    ///   dropouts and initialisation (training), labels and `summary_*` (other heads), what is
    ///   returned and cached, `dtype` (this crate always yields float32), `n_ctx` (transformers reads
    ///   `n_positions`; the file's `wpe.weight` has to agree with that), names and versions, and the
    ///   settings of `generate` (temperature, top_k...), which choose tokens after the logits;
    /// - **refused by name**: any other field.
    ///
    /// Token ids need not be inside the vocabulary: small models are often saved with GPT-2's own
    /// 50256, and Hugging Face opens them.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the field, what was expected and what was found.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        read::config(text)
    }

    /// C, the width of the stream.
    pub fn n_embd(&self) -> usize {
        self.n_embd
    }

    /// H, the attention heads of a layer.
    pub fn n_head(&self) -> usize {
        self.n_head
    }

    /// L, the layers.
    pub fn n_layer(&self) -> usize {
        self.n_layer
    }

    /// The longest sequence, in tokens.
    pub fn n_positions(&self) -> usize {
        self.n_positions
    }

    /// V, the tokens of the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The MLP's inner width; `4 * n_embd` where the file says null or nothing.
    pub fn n_inner(&self) -> usize {
        self.n_inner
    }

    /// D = C / H, the width of a head.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// What LayerNorm adds to the variance.
    pub fn layer_norm_epsilon(&self) -> f64 {
        self.layer_norm_epsilon
    }

    /// The MLP's activation.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Whether layer i's scores are divided by i + 1 as well.
    pub fn scale_attn_by_inverse_layer_idx(&self) -> bool {
        self.scale_attn_by_inverse_layer_idx
    }

    /// Whether `lm_head` is `wte` unless the file has its own.
    pub fn tie_word_embeddings(&self) -> bool {
        self.tie_word_embeddings
    }

    /// The token that begins a text; perhaps outside the vocabulary.
    pub fn bos_token_id(&self) -> Option<u32> {
        self.bos_token_id
    }

    /// The tokens that end a text; perhaps outside the vocabulary.
    pub fn eos_token_ids(&self) -> &[u32] {
        &self.eos_token_ids
    }

    /// What q · k is multiplied by in `layer` (counted from 0): `1/sqrt(D)`, with
    /// `scale_attn_by_inverse_layer_idx` divided by `layer + 1`.
    ///
    /// Source: `GPT2Attention.__init__` in Hugging Face's modeling_gpt2.py.
    pub fn attention_scale(&self, layer: usize) -> f64 {
        let scale = 1.0 / (self.head_dim() as f64).sqrt();
        if self.scale_attn_by_inverse_layer_idx {
            scale / (layer as f64 + 1.0)
        } else {
            scale
        }
    }
}
