//! How keys and values lie in memory, so that attention is the same product as everything else.
//!
//! A score is a query times a key: keys are panels of 32 positions, `[B][H][capacity / 32][D][32]`. A
//! head's output is its probabilities times the values: values are panels of 32 channels,
//! `[B][H][D / 32][capacity][32]`.

use std::marker::PhantomData;

use ndarray::{Array4, ArrayView4};

use crate::isa::{Isa, Kernel, dispatch_on};
use crate::panel::{CHUNK, Lanes, SCORE_CHUNK, WIDTH, product};

/// The sizes of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) batch: usize,
    pub(crate) capacity: usize,
    pub(crate) heads: usize,
    pub(crate) dim: usize,
}

/// Where a head's positions and channels are.
pub(crate) trait Layout {
    /// A row times a panel, summed as this layout's products are.
    fn product(row: &[f32], panel: &[Lanes]) -> [f32; WIDTH];
    /// Panels of one head.
    fn panels(extent: &Extent) -> usize;
    /// Rows of one panel.
    fn rows(extent: &Extent) -> usize;
    /// Row (counted over the head's panels) and lane.
    fn place(extent: &Extent, position: usize, channel: usize) -> (usize, usize);
}

/// `[capacity / 32][D][32]`: keys.
#[derive(Clone, Debug)]
pub(crate) struct ByPosition;

impl Layout for ByPosition {
    #[inline(always)]
    fn product(row: &[f32], panel: &[Lanes]) -> [f32; WIDTH] {
        let [sums] = product::<1, SCORE_CHUNK>([row], panel);
        sums
    }

    fn panels(extent: &Extent) -> usize {
        extent.capacity.div_ceil(WIDTH)
    }

    fn rows(extent: &Extent) -> usize {
        extent.dim
    }

    fn place(extent: &Extent, position: usize, channel: usize) -> (usize, usize) {
        (position / WIDTH * extent.dim + channel, position % WIDTH)
    }
}

/// `[D / 32][capacity][32]`: values.
#[derive(Clone, Debug)]
pub(crate) struct ByChannel;

impl Layout for ByChannel {
    #[inline(always)]
    fn product(row: &[f32], panel: &[Lanes]) -> [f32; WIDTH] {
        let [sums] = product::<1, CHUNK>([row], panel);
        sums
    }

    fn panels(extent: &Extent) -> usize {
        extent.dim.div_ceil(WIDTH)
    }

    fn rows(extent: &Extent) -> usize {
        extent.capacity
    }

    fn place(extent: &Extent, position: usize, channel: usize) -> (usize, usize) {
        (
            channel / WIDTH * extent.capacity + position,
            channel % WIDTH,
        )
    }
}

/// The panels of every batch row's head, one after the other in one allocation.
#[derive(Clone, Debug)]
pub(crate) struct Panels<L> {
    extent: Extent,
    lanes: Vec<Lanes>,
    layout: PhantomData<L>,
}

impl<L: Layout> Panels<L> {
    /// Zeroed panels; `None` where they do not fit into memory.
    pub(crate) fn new(extent: Extent) -> Option<Self> {
        let lanes = [extent.heads, L::panels(&extent), L::rows(&extent)]
            .iter()
            .try_fold(extent.batch, |all, &size| all.checked_mul(size))?;
        let mut store = Vec::new();
        store.try_reserve_exact(lanes).ok()?;
        store.resize(lanes, Lanes::ZERO);
        Some(Panels {
            extent,
            lanes: store,
            layout: PhantomData,
        })
    }

    /// Writes [B, T, H, D] at the positions from `start` on; the caller has checked that they fit.
    pub(crate) fn write(&mut self, start: usize, new: ArrayView4<f32>) {
        for ((b, t, h, d), &value) in new.indexed_iter() {
            let (row, lane) = L::place(&self.extent, start + t, d);
            let head = self.head_range(b, h);
            self.lanes[head][row].0[lane] = value;
        }
    }

    /// The first `stored` positions in standard layout, [B, S, H, D].
    pub(crate) fn to_array(&self, stored: usize) -> Array4<f32> {
        let Extent {
            batch, heads, dim, ..
        } = self.extent;
        Array4::from_shape_fn((batch, stored, heads, dim), |(b, s, h, d)| {
            let (row, lane) = L::place(&self.extent, s, d);
            self.lanes[self.head_range(b, h)][row].0[lane]
        })
    }

    /// `out = x @ panels` of one head: as many columns as `out` has, the first `x.len()` rows of each.
    pub(crate) fn multiply(&self, batch: usize, head: usize, x: &[f32], out: &mut [f32]) {
        self.multiply_on(Isa::best(), (batch, head), x, out);
    }

    fn multiply_on(&self, isa: Isa, (batch, head): (usize, usize), x: &[f32], out: &mut [f32]) {
        let kernel = Multiply::<L> {
            x,
            panels: &self.lanes[self.head_range(batch, head)],
            rows: L::rows(&self.extent),
            out,
            layout: PhantomData,
        };
        dispatch_on(isa, kernel);
    }

    fn head_range(&self, batch: usize, head: usize) -> std::ops::Range<usize> {
        let length = L::panels(&self.extent) * L::rows(&self.extent);
        let start = (batch * self.extent.heads + head) * length;
        start..start + length
    }
}

struct Multiply<'a, L> {
    x: &'a [f32],
    panels: &'a [Lanes],
    rows: usize,
    out: &'a mut [f32],
    layout: PhantomData<L>,
}

impl<L: Layout> Kernel for Multiply<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let panels = self.panels.chunks_exact(self.rows);
        for (out, panel) in self.out.chunks_mut(WIDTH).zip(panels) {
            let sums = L::product(self.x, &panel[..self.x.len()]);
            out.copy_from_slice(&sums[..out.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_equal_on_every_isa, bits, values};

    const EXTENT: Extent = Extent {
        batch: 2,
        capacity: 75,
        heads: 3,
        dim: 41,
    };

    fn filled<L: Layout>() -> Panels<L> {
        let shape = (EXTENT.batch, EXTENT.capacity, EXTENT.heads, EXTENT.dim);
        let count = EXTENT.batch * EXTENT.capacity * EXTENT.heads * EXTENT.dim;
        let new = Array4::from_shape_vec(shape, values(1, count)).unwrap();
        let mut panels = Panels::new(EXTENT).unwrap();
        panels.write(0, new.view());
        panels
    }

    #[track_caller]
    fn assert_equal_products<L: Layout>(inputs: usize, outputs: usize) {
        let panels = filled::<L>();
        let x = values(2, inputs);
        assert_equal_on_every_isa(|isa| {
            let mut out = vec![0.0; outputs];
            panels.multiply_on(isa, (1, 2), &x, &mut out);
            bits(&out)
        });
    }

    #[test]
    fn scores_have_equal_bits_on_every_instruction_set() {
        for positions in [1, 32, 33, 75] {
            assert_equal_products::<ByPosition>(EXTENT.dim, positions);
        }
    }

    #[test]
    fn averages_have_equal_bits_on_every_instruction_set() {
        for positions in [1, 32, 33, 75] {
            assert_equal_products::<ByChannel>(positions, EXTENT.dim);
        }
    }
}
