use crate::{Error, Tokenizer};

/// Decodes ids as they come; made by [`Tokenizer::stream`].
///
/// What [`TextStream::push`] and [`TextStream::finish`] return is, put together, what
/// [`Tokenizer::decode`] makes of all the ids.
#[derive(Clone, Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Ids whose text is still held back.
    pending: Vec<u32>,
}

impl<'a> TextStream<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        let pending = Vec::new();
        TextStream { tokenizer, pending }
    }

    /// The text that is complete with this id: nothing while a character may still be missing bytes.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn push(&mut self, id: u32) -> Result<String, Error> {
        self.pending.push(id);
        let text = self.tokenizer.decode(&self.pending)?;
        // The next id may bring the bytes that make a character of it.
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.pending.clear();
        Ok(text)
    }

    /// The text still held back, when no more ids will come; its incomplete characters become U+FFFD.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn finish(self) -> Result<String, Error> {
        self.tokenizer.decode(&self.pending)
    }
}
