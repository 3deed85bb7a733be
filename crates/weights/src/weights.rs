use std::{collections::BTreeMap, ops::Range, path::Path};

use safetensors::Dtype;

use crate::{
    Config, Error, Missing, Report, Tensor, check, files, layout, map::Mapped, tensor::Pages,
};

/// The tensors of one model folder, memory-mapped.
///
/// Names are Hugging Face's without `transformer.` (`wte.weight`, `h.0.attn.c_attn.weight`, ...);
/// files come with and without that prefix. Conv1D weights stay `[in, out]`, as they are stored.
///
/// The files must not be changed while a `Weights` is open: they are mapped, not copied.
#[derive(Debug)]
pub struct Weights {
    pub(crate) files: Vec<Mapped>,
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) ignored: Vec<String>,
}

/// Where one tensor lies.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its name in the file.
    pub key: String,
    pub file: usize,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Its bytes in that file.
    pub bytes: Range<usize>,
}

impl Weights {
    /// Opens a model folder, a `.safetensors` file or a `.safetensors.index.json`.
    ///
    /// In a folder `model.safetensors` is looked for first, then `model.safetensors.index.json` and
    /// the shards it names. Every header is checked here; values are read by [`Weights::tensor`].
    ///
    /// # Errors
    /// With the path in each: [`Error::NotFound`], [`Error::NoWeights`], [`Error::Pickle`],
    /// [`Error::Read`]; [`Error::Safetensors`], [`Error::DuplicateKey`], [`Error::PastEnd`] and
    /// [`Error::DuplicateTensor`] for a header; [`Error::Index`], [`Error::ShardName`] and
    /// [`Error::Shards`] for an index.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        files::open(path.as_ref())
    }

    /// The names and shapes that the files must hold for `config`, in the order of computation; with
    /// `lm_head.weight` if the config unties it or the file has one.
    pub fn expected(&self, config: &Config) -> Vec<(String, Vec<usize>)> {
        let own = !config.tie_word_embeddings() || self.entries.contains_key(layout::HEAD);
        layout::tensors(config, own)
    }

    /// Every tensor that `config` wants and the files do not have.
    pub fn missing(&self, config: &Config) -> Vec<Missing> {
        let absent = |(name, _): &(String, _)| !self.entries.contains_key(name);
        let expected = self.expected(config).into_iter().filter(absent);
        expected
            .map(|(name, shape)| Missing { name, shape })
            .collect()
    }

    /// Checks that the files hold the whole model: [`Weights::check_present`], then nothing missing.
    ///
    /// # Errors
    /// Those of [`Weights::check_present`]; [`Error::NoHead`] and [`Error::Missing`] with every name.
    pub fn check(&self, config: &Config) -> Result<Report, Error> {
        check::whole(self, config)
    }

    /// Checks names, types and shapes of the tensors that are there, and reports what is missing:
    /// for a folder that holds a part of a model on purpose.
    ///
    /// # Errors
    /// [`Error::Extra`], [`Error::Dtype`], [`Error::Shape`].
    pub fn check_present(&self, config: &Config) -> Result<Report, Error> {
        check::present(self, config)
    }

    /// The tensor `name` (without prefix), of the shape that the caller relies on.
    ///
    /// Reads every element once, to see that it is finite.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Dtype`], [`Error::Shape`], [`Error::NotFinite`], in this order.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<'_>, Error> {
        let entry = self.entries.get(name).ok_or_else(|| Error::Missing {
            missing: vec![Missing {
                name: name.to_string(),
                shape: shape.to_vec(),
            }],
        })?;
        check::entry(name, entry, shape)?;
        Tensor::decode(name, entry.dtype, shape, self.pages(entry))
    }

    /// The tensor that makes logits, `[V, C]`: `lm_head.weight` if the file has one, else `wte.weight`.
    ///
    /// # Errors
    /// [`Error::NoHead`] if the config unties the head and the file has none; those of [`Weights::tensor`].
    pub fn head(&self, config: &Config) -> Result<Tensor<'_>, Error> {
        let name = match self.entries.contains_key(layout::HEAD) {
            true => layout::HEAD,
            false if config.tie_word_embeddings() => layout::WTE,
            false => return Err(Error::NoHead),
        };
        self.tensor(name, &[config.vocab_size(), config.n_embd()])
    }

    /// The files' SHA-256 in hexadecimal, of exactly the bytes that are mapped.
    ///
    /// Of shards, the SHA-256 of the list that `sha256sum` prints for them in the order of their names.
    pub fn sha256(&self) -> String {
        files::sha256(&self.files)
    }

    /// The files, in the order of their names.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// The names of all tensors but the ignored buffers, without prefix, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub(crate) fn bytes(&self, entry: &Entry) -> &[u8] {
        // The range was checked against the file when it was opened, and a map keeps its length.
        &self.files[entry.file].bytes()[entry.bytes.clone()]
    }

    fn pages(&self, entry: &Entry) -> Pages<'_> {
        Pages {
            file: &self.files[entry.file],
            range: entry.bytes.clone(),
        }
    }
}
