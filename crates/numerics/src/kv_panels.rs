//! The store that passes from the cache to attention.

use ndarray::{Array4, ArrayView4};

use crate::panels::{ByChannel, ByPosition, Extent, Panels};
use crate::shape::{Dim, ShapeError, check_shape};

/// Why a store of keys and values could not be made or added to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// An array has another shape than the store needs, or a size is zero.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The new positions do not fit behind those that are there.
    #[error("expected at most {capacity} positions, found {stored} stored and {new} new")]
    Full {
        /// Positions the store was made for.
        capacity: usize,
        /// Positions it holds.
        stored: usize,
        /// Positions that were to be added.
        new: usize,
    },
    /// A store of this shape does not fit into memory.
    #[error("expected a store that fits into memory, found {shape:?} ([B, capacity, H, D])")]
    TooLarge {
        /// [B, capacity, H, D].
        shape: [usize; 4],
    },
}

/// Why keys or values could not be multiplied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// An array has another shape than the store needs.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A batch row, a head or a number of positions that the store does not have.
    #[error("{what}: expected less than {limit}, found {found}")]
    Outside {
        /// What was asked for.
        what: &'static str,
        /// The first number that is not there.
        limit: usize,
        /// The number asked for.
        found: usize,
    },
}

/// Keys and values of one layer, with room for a fixed number of positions.
///
/// They are appended and read back as [B, S, H, D]; inside they lie as the products of attention want
/// them. Nothing is reallocated when positions are appended.
#[derive(Clone, Debug)]
pub struct KvPanels {
    extent: Extent,
    keys: Panels<ByPosition>,
    values: Panels<ByChannel>,
    stored: usize,
}

impl KvPanels {
    /// An empty store for `capacity` positions.
    ///
    /// # Errors
    /// [`StoreError::Shape`] where a size is zero, [`StoreError::TooLarge`].
    pub fn new(
        batch: usize,
        capacity: usize,
        heads: usize,
        dim: usize,
    ) -> Result<Self, StoreError> {
        let shape = [batch, capacity, heads, dim];
        check_shape("store", &shape, &["B", "capacity", "H", "D"].map(Dim::Any))?;
        let extent = Extent {
            batch,
            capacity,
            heads,
            dim,
        };
        let too_large = StoreError::TooLarge { shape };
        Ok(KvPanels {
            extent,
            keys: Panels::new(extent).ok_or_else(|| too_large.clone())?,
            values: Panels::new(extent).ok_or(too_large)?,
            stored: 0,
        })
    }

    /// Appends the keys and values, [B, T, H, D], of the next T positions: both or neither.
    ///
    /// # Errors
    /// [`StoreError::Shape`], [`StoreError::Full`]; the store is then unchanged.
    pub fn append(&mut self, k: ArrayView4<f32>, v: ArrayView4<f32>) -> Result<(), StoreError> {
        let [batch, _, heads, dim] = self.shape().map(Dim::Is);
        check_shape("k", k.shape(), &[batch, Dim::Any("T"), heads, dim])?;
        let new = k.dim().1;
        check_shape("v", v.shape(), &[batch, Dim::Is(new), heads, dim])?;
        if new > self.extent.capacity - self.stored {
            return Err(StoreError::Full {
                capacity: self.extent.capacity,
                stored: self.stored,
                new,
            });
        }
        self.keys.write(self.stored, k);
        self.values.write(self.stored, v);
        self.stored += new;
        Ok(())
    }

    /// Forgets every position from `stored` on; forgets nothing where there are no more.
    pub fn truncate(&mut self, stored: usize) {
        self.stored = self.stored.min(stored);
    }

    /// The stored keys, copied into standard layout, [B, S, H, D].
    pub fn keys(&self) -> Array4<f32> {
        self.keys.to_array(self.stored)
    }

    /// The stored values, copied into standard layout, [B, S, H, D].
    pub fn values(&self) -> Array4<f32> {
        self.values.to_array(self.stored)
    }

    /// [B, S, H, D], S being the positions stored now.
    pub fn shape(&self) -> [usize; 4] {
        let Extent {
            batch, heads, dim, ..
        } = self.extent;
        [batch, self.stored, heads, dim]
    }

    /// The positions there is room for.
    pub fn capacity(&self) -> usize {
        self.extent.capacity
    }

    /// `out[s] = (query . key s) * scale` for the first `out.len()` positions of one head of one batch
    /// row; the query is `[D]`.
    ///
    /// # Errors
    /// [`ReadError::Outside`], [`ReadError::Shape`].
    pub fn scores(
        &self,
        (batch, head): (usize, usize),
        query: &[f32],
        scale: f64,
        out: &mut [f32],
    ) -> Result<(), ReadError> {
        self.check_inside(batch, head, out.len())?;
        check_shape("query", &[query.len()], &[Dim::Is(self.extent.dim)])?;
        self.keys.multiply(batch, head, query, out);
        for score in out {
            // A scale rounded to float32 first would put every score off to the same side.
            *score = (f64::from(*score) * scale) as f32;
        }
        Ok(())
    }

    /// `out = sum over s of probabilities[s] * value s` over the first `probabilities.len()` positions
    /// of one head of one batch row; out is `[D]`.
    ///
    /// # Errors
    /// [`ReadError::Outside`], [`ReadError::Shape`].
    pub fn average(
        &self,
        (batch, head): (usize, usize),
        probabilities: &[f32],
        out: &mut [f32],
    ) -> Result<(), ReadError> {
        self.check_inside(batch, head, probabilities.len())?;
        check_shape("out", &[out.len()], &[Dim::Is(self.extent.dim)])?;
        self.values.multiply(batch, head, probabilities, out);
        Ok(())
    }

    fn check_inside(&self, batch: usize, head: usize, positions: usize) -> Result<(), ReadError> {
        let asked = [
            ("batch row", self.extent.batch, batch),
            ("head", self.extent.heads, head),
            ("number of positions", self.stored + 1, positions),
        ];
        for (what, limit, found) in asked {
            if found >= limit {
                return Err(ReadError::Outside { what, limit, found });
            }
        }
        Ok(())
    }
}
