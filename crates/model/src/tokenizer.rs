use std::path::{Path, PathBuf};

use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as Inner};

use crate::{Error, TextStream};

/// The one special token that GPT-2's vocabulary has.
const END_OF_TEXT: &str = "<|endoftext|>";

/// A byte-level BPE tokenizer: every Unicode text has ids, and they decode to that text again.
#[derive(Clone, Debug)]
pub struct Tokenizer(Inner);

impl Tokenizer {
    /// Opens a model folder's `tokenizer.json`, or its `vocab.json` and `merges.txt` where it has only these.
    /// Truncation and padding that a tokenizer.json asks for are left out, as Hugging Face's tokenizers do
    /// unless a call asks for them.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`] where neither is there, [`Error::TokenizerFile`] where what is there is refused.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref();
        let whole = dir.join("tokenizer.json");
        if whole.is_file() {
            let mut inner = Inner::from_file(&whole).map_err(|source| refused(whole, source))?;
            // Settings for batches in training, which would cut a text short or fill it up.
            inner.with_truncation(None).map_err(Error::Tokenizer)?;
            inner.with_padding(None);
            return Ok(Tokenizer(inner));
        }
        let (vocabulary, merges) = (dir.join("vocab.json"), dir.join("merges.txt"));
        if !(vocabulary.is_file() && merges.is_file()) {
            return Err(Error::NoTokenizer { dir: dir.into() });
        }
        let bpe = BPE::from_file(&vocabulary.to_string_lossy(), &merges.to_string_lossy());
        let bpe = bpe.build().map_err(|source| refused(vocabulary, source))?;
        let mut inner = Inner::new(bpe);
        inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        inner.with_decoder(Some(ByteLevel::default()));
        if inner.token_to_id(END_OF_TEXT).is_some() {
            inner
                .add_special_tokens([AddedToken::from(END_OF_TEXT, true)])
                .map_err(Error::Tokenizer)?;
        }
        Ok(Tokenizer(inner))
    }

    /// The ids of a text; nothing is added in front or behind.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self.0.encode(text, false).map_err(Error::Tokenizer)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of ids, special tokens written out. Bytes that are no UTF-8 become U+FFFD, and an id that
    /// the vocabulary lacks adds nothing.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        self.0.decode(ids, false).map_err(Error::Tokenizer)
    }

    /// Decodes ids as they come, never half a character.
    ///
    /// ```
    /// # use llorch_model::Tokenizer;
    /// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tiny");
    /// let tokenizer = Tokenizer::open(folder)?;
    /// let mut stream = tokenizer.stream();
    /// let mut text = String::new();
    /// for id in tokenizer.encode("世界")? {
    ///     text += &stream.push(id)?;
    /// }
    /// text += &stream.finish()?;
    /// assert_eq!(text, "世界");
    /// # Ok::<(), llorch_model::Error>(())
    /// ```
    pub fn stream(&self) -> TextStream<'_> {
        TextStream::new(self)
    }
}

fn refused(path: PathBuf, source: tokenizers::Error) -> Error {
    Error::TokenizerFile { path, source }
}
