use std::path::Path;

use llorch_kv_cache::KvCache;
use llorch_layernorm::LayerNorm;
use llorch_numerics::{Cpu, PackedMatrix, Probe, Scoped, offer};
use llorch_weights::{Config, Head, Weights};
use ndarray::{Array2, Array3, ArrayView2, Axis};

use crate::block::Block;
use crate::{Cache, Error, load};

/// A whole GPT-2 with its language-model head.
#[derive(Clone, Debug)]
pub struct Gpt2 {
    config: Config,
    /// `wte` as [C, V] panels: embeddings are its columns, and a tied head multiplies with it.
    wte: PackedMatrix,
    wpe: Array2<f32>,
    blocks: Vec<Block>,
    ln_f: LayerNorm,
    /// The head of an untied model.
    lm_head: Option<PackedMatrix>,
    cpu: Cpu,
}

impl Gpt2 {
    /// Opens a Hugging Face model folder, config.json and safetensors, on what the environment asks for
    /// ([`Cpu::from_env`]: all threads and the best instruction set, unless it says otherwise).
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Weights`], which say what was expected and found; [`Error::Cpu`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_on(dir, &Cpu::from_env()?)
    }

    /// Opens a model folder on these threads and this instruction set.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Weights`].
    pub fn open_on(dir: impl AsRef<Path>, cpu: &Cpu) -> Result<Self, Error> {
        let config = Config::open(&dir)?;
        Self::load(&Weights::open(&dir)?, &config, cpu)
    }

    /// Builds the model from tensors. They are repacked, every thread some of them; the weights are not
    /// needed afterwards.
    ///
    /// # Errors
    /// [`Error::Weights`] where a tensor is missing, extra or refused.
    pub fn load(weights: &Weights, config: &Config, cpu: &Cpu) -> Result<Self, Error> {
        let report = weights.check(config)?;
        let (vocabulary, channels) = (config.vocab_size(), config.n_embd());
        let embedding = |name: &str| -> Result<_, Error> {
            let tensor = weights.tensor(name, &[vocabulary, channels])?;
            Ok(PackedMatrix::from_out_in(cpu, tensor.view2()?)?)
        };
        // The largest first: a tensor's pages in the file are given back when it has been packed, and none
        // of the others takes much beside the whole model.
        let wte = embedding("wte.weight")?;
        let mut blocks: Vec<_> = (0..config.n_layer()).map(|layer| (layer, None)).collect();
        cpu.for_each(&mut blocks, |(layer, block)| {
            *block = Some(Block::load(weights, config, *layer));
        });
        let blocks = blocks.into_iter().filter_map(|(_, block)| block);
        let wpe = weights.tensor("wpe.weight", &[config.n_positions(), channels])?;
        Ok(Gpt2 {
            config: config.clone(),
            wte,
            wpe: wpe.view2()?.to_owned(),
            blocks: blocks
                .map(|block| Ok(block?.on(cpu)))
                .collect::<Result<_, Error>>()?,
            ln_f: load::layer_norm(weights, config, "ln_f")?.on(cpu),
            lm_head: match report.head {
                Head::Tied => None,
                Head::Own => Some(embedding("lm_head.weight")?),
            },
            cpu: cpu.clone(),
        })
    }

    /// The threads and the instruction set that it runs on.
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// The model's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// An empty cache for B rows of at most `capacity` positions.
    ///
    /// # Errors
    /// [`Error::Positions`] where the capacity is over `n_positions`, [`Error::Cache`] where a size is
    /// zero or the cache does not fit into memory.
    pub fn cache(&self, batch: usize, capacity: usize) -> Result<Cache, Error> {
        let limit = self.config.n_positions();
        if capacity > limit {
            return Err(Error::Positions {
                limit,
                found: capacity,
            });
        }
        let (heads, dim) = (self.config.n_head(), self.config.head_dim());
        let layers = (0..self.config.n_layer())
            .map(|_| Ok(KvCache::new(batch, capacity, heads, dim)?.on(&self.cpu)))
            .collect::<Result<_, Error>>()?;
        Ok(Cache { layers })
    }

    /// Runs the tokens, [B, T], that follow those in the cache and returns the logits of every one of
    /// them, [B, T, V].
    ///
    /// The probe is offered `embed`, `h.i.` and [`Block::forward`]'s sites for every layer, `h.i`, `ln_f`
    /// and `logits`, in this order.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`], [`Error::Positions`], [`Error::Token`]; [`Error::Layers`] and
    /// [`Error::Cache`] where the cache is for another model or batch, or too full; those of the rooms.
    /// Every layer's cache is then as it was.
    pub fn forward(
        &self,
        tokens: ArrayView2<u32>,
        cache: &mut Cache,
        probe: &mut dyn Probe,
    ) -> Result<Array3<f32>, Error> {
        let hidden = self.hidden(tokens, cache, probe)?;
        let logits = self.head().multiply(&self.cpu, hidden.view(), None, None)?;
        self.cpu.recycle(hidden);
        offer(probe, "logits", || logits.view());
        Ok(logits)
    }

    /// Like [`Gpt2::forward`], and returns the last position's logits alone, [B, V]; the others are not
    /// computed, and the probe is not offered `logits`.
    ///
    /// # Errors
    /// Those of [`Gpt2::forward`].
    pub fn forward_last(
        &self,
        tokens: ArrayView2<u32>,
        cache: &mut Cache,
        probe: &mut dyn Probe,
    ) -> Result<Array2<f32>, Error> {
        let hidden = self.hidden(tokens, cache, probe)?;
        let last = hidden.index_axis(Axis(1), hidden.dim().1 - 1);
        let logits = self.head().multiply(&self.cpu, last, None, None)?;
        self.cpu.recycle(hidden);
        Ok(logits)
    }

    fn head(&self) -> &PackedMatrix {
        self.lm_head.as_ref().unwrap_or(&self.wte)
    }

    /// The stream after the last normalisation, [B, T, C]; undoes what a failure left in the cache.
    fn hidden(
        &self,
        tokens: ArrayView2<u32>,
        cache: &mut Cache,
        probe: &mut dyn Probe,
    ) -> Result<Array3<f32>, Error> {
        if cache.layers.len() != self.blocks.len() {
            return Err(Error::Layers {
                expected: self.blocks.len(),
                found: cache.layers.len(),
            });
        }
        let past = cache.len();
        let hidden = self.run(tokens, past, cache, probe);
        if hidden.is_err() {
            cache.truncate(past);
        }
        hidden
    }

    fn run(
        &self,
        tokens: ArrayView2<u32>,
        past: usize,
        cache: &mut Cache,
        probe: &mut dyn Probe,
    ) -> Result<Array3<f32>, Error> {
        let mut x = self.embed(tokens, past)?;
        offer(probe, "embed", || x.view());
        for (layer, (block, cache)) in self.blocks.iter().zip(&mut cache.layers).enumerate() {
            let prefix = format!("h.{layer}.");
            x = block.forward(x, cache, &mut Scoped::new(&prefix, probe))?;
            offer(probe, &format!("h.{layer}"), || x.view());
        }
        let last = self.ln_f.forward(x.view())?;
        self.cpu.recycle(x);
        offer(probe, "ln_f", || last.view());
        Ok(last)
    }

    /// `wte[token] + wpe[position]`, [B, T, C]; the first position is `past`.
    fn embed(&self, tokens: ArrayView2<u32>, past: usize) -> Result<Array3<f32>, Error> {
        let (batch, new) = tokens.dim();
        if tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        let limit = self.config.n_positions();
        if new > limit - past.min(limit) {
            return Err(Error::Positions {
                limit,
                found: past.saturating_add(new),
            });
        }
        let mut x = self.cpu.array((batch, new, self.config.n_embd()));
        let mut rows = Vec::new();
        for (((row, position), &token), x) in tokens.indexed_iter().zip(x.rows_mut()) {
            let embedding = self.wte.column(token as usize).ok_or(Error::Token {
                vocabulary: self.config.vocab_size(),
                found: token,
                row,
                position,
            })?;
            rows.push((x, embedding, self.wpe.row(past + position)));
        }
        self.cpu.for_each(&mut rows, |(x, embedding, position)| {
            for ((x, token), position) in x.iter_mut().zip(embedding).zip(&*position) {
                *x = token + position;
            }
        });
        Ok(x)
    }
}
