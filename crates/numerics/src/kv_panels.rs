//! The store that passes from the cache to attention.

use ndarray::{Array4, ArrayView2, ArrayView4, ArrayViewMut2, CowArray};

use crate::cpu::Cpu;
use crate::isa::Isa;
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
    pub fn append(
        &mut self,
        cpu: &Cpu,
        k: ArrayView4<f32>,
        v: ArrayView4<f32>,
    ) -> Result<(), StoreError> {
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
        self.keys.write(cpu, self.stored, k);
        self.values.write(cpu, self.stored, v);
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

    /// `out[m, s] = (queries[m] . key s) * scale` of one head of one batch row, for as many positions as
    /// out has columns; queries are `[M, D]`, out is `[M, <= S]`.
    ///
    /// # Errors
    /// [`ReadError::Outside`], [`ReadError::Shape`].
    pub fn scores(
        &self,
        isa: Isa,
        (batch, head): (usize, usize),
        queries: ArrayView2<f32>,
        scale: f64,
        out: ArrayViewMut2<f32>,
    ) -> Result<(), ReadError> {
        let [rows, positions] = [out.nrows(), out.ncols()];
        self.check_inside(batch, head, positions)?;
        let expected = [Dim::Is(rows), Dim::Is(self.extent.dim)];
        check_shape("queries", queries.shape(), &expected)?;
        let queries = in_rows(queries);
        write_in_rows(out, |out| {
            self.keys
                .scores(isa, (batch, head), queries.view(), scale, out);
        });
        Ok(())
    }

    /// `out[m] = sum over s < seen + m of probabilities[m, s] * value s` of one head of one batch row:
    /// row m sees one position more than the row before it. Probabilities are `[M, seen + M - 1]`, out is
    /// `[M, D]`. What a row does not see is not read.
    ///
    /// # Errors
    /// [`ReadError::Outside`], [`ReadError::Shape`].
    pub fn average(
        &self,
        isa: Isa,
        (batch, head): (usize, usize),
        probabilities: ArrayView2<f32>,
        seen: usize,
        out: ArrayViewMut2<f32>,
    ) -> Result<(), ReadError> {
        let rows = probabilities.nrows();
        let positions = seen.saturating_add(rows.saturating_sub(1));
        self.check_inside(batch, head, positions)?;
        let expected = [Dim::Any("M"), Dim::Is(positions)];
        check_shape("probabilities", probabilities.shape(), &expected)?;
        let expected = [Dim::Is(rows), Dim::Is(self.extent.dim)];
        check_shape("out", out.shape(), &expected)?;
        let probabilities = in_rows(probabilities);
        write_in_rows(out, |out| {
            let probabilities = probabilities.view();
            self.values
                .average(isa, (batch, head), probabilities, seen, out);
        });
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

/// The array with every row a slice: itself, or else a copy.
fn in_rows<'a>(array: ArrayView2<'a, f32>) -> CowArray<'a, f32, ndarray::Ix2> {
    if array.strides()[1] == 1 || array.ncols() == 1 {
        array.into()
    } else {
        array.as_standard_layout().into_owned().into()
    }
}

/// Fills an array through a view whose rows are slices: its own, or else a copy's.
fn write_in_rows(mut out: ArrayViewMut2<f32>, fill: impl FnOnce(ArrayViewMut2<f32>)) {
    if out.strides()[1] == 1 || out.ncols() == 1 {
        fill(out);
    } else {
        let mut copy = ndarray::Array2::zeros(out.dim());
        fill(copy.view_mut());
        out.assign(&copy);
    }
}
