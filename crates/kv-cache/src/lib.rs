//! A bounded cache for the keys and values of one transformer layer.
//!
//! Generating token after token, a layer needs the keys and values of all earlier positions; they never
//! change, so they are kept. The cache holds at most the positions it was made for: appending past
//! its end is an error that leaves it as it was. [`KvCache::append`] returns the position at which the
//! new entries start, so a caller never keeps that count itself.
//!
//! ```
//! use llorch_kv_cache::KvCache;
//! use ndarray::Array4;
//!
//! // Two rows, room for 8 positions, 3 heads of 4 channels.
//! let mut cache = KvCache::new(2, 8, 3, 4)?;
//! let k = Array4::from_shape_fn((2, 5, 3, 4), |(b, t, h, d)| (b * 1000 + t * 100 + h * 10 + d) as f32);
//! let v = -&k;
//! assert_eq!(cache.append(k.view(), v.view())?, 0);
//! assert_eq!(cache.keys(), k); // [B, S, H, D], equal to the bit
//! assert_eq!(cache.values(), v);
//!
//! let error = cache.append(k.view(), v.view()).unwrap_err();
//! assert_eq!(error.to_string(), "expected at most 8 positions, found 5 stored and 5 new");
//! assert_eq!(cache.keys(), k); // unchanged
//! # Ok::<(), llorch_kv_cache::Error>(())
//! ```
#![forbid(unsafe_code)]

pub use llorch_numerics::StoreError as Error;
use llorch_numerics::{Cpu, KvPanels};
use ndarray::{Array4, ArrayView4};

/// What this crate's own types are made of, for those who depend on it alone.
pub use llorch_numerics as numerics;
pub use ndarray;

/// Keys and values of one layer, in one allocation each.
#[derive(Clone, Debug)]
pub struct KvCache {
    panels: KvPanels,
    cpu: Cpu,
}

impl KvCache {
    /// An empty cache for B rows of at most `capacity` positions, H heads of D channels.
    ///
    /// # Errors
    /// [`Error::Shape`] where a size is zero, [`Error::TooLarge`] where it does not fit into memory.
    pub fn new(batch: usize, capacity: usize, heads: usize, dim: usize) -> Result<Self, Error> {
        let panels = KvPanels::new(batch, capacity, heads, dim)?;
        let cpu = Cpu::default();
        Ok(KvCache { panels, cpu })
    }

    /// The same cache on other threads or another instruction set than [`Cpu::default`]'s; same bits.
    pub fn on(self, cpu: &Cpu) -> Self {
        let cpu = cpu.clone();
        KvCache { cpu, ..self }
    }

    /// Appends the keys and values of the next T positions, [B, T, H, D] each, and returns the position
    /// of the first of them.
    ///
    /// # Errors
    /// [`Error::Shape`] where either has another shape than the cache or a size of zero,
    /// [`Error::Full`] where they do not fit; the cache is then unchanged.
    pub fn append(&mut self, k: ArrayView4<f32>, v: ArrayView4<f32>) -> Result<usize, Error> {
        let start = self.len();
        self.panels.append(&self.cpu, k, v)?;
        Ok(start)
    }

    /// S, the positions held.
    pub fn len(&self) -> usize {
        self.panels.shape()[1]
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The positions there is room for.
    pub fn capacity(&self) -> usize {
        self.panels.capacity()
    }

    /// Forgets every position from `len` on: what undoes a forward pass that failed, or a guess that
    /// was rejected. Forgets nothing where there are no more.
    pub fn truncate(&mut self, len: usize) {
        self.panels.truncate(len);
    }

    /// What attention reads.
    pub fn panels(&self) -> &KvPanels {
        &self.panels
    }

    /// The keys held, copied into standard layout, [B, S, H, D].
    pub fn keys(&self) -> Array4<f32> {
        self.panels.keys()
    }

    /// The values held, copied into standard layout, [B, S, H, D].
    pub fn values(&self) -> Array4<f32> {
        self.panels.values()
    }
}

/// Keeps the example in README.md true.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
