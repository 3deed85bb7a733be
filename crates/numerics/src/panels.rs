//! How keys and values lie in memory, so that attention is the same product as everything else.
//!
//! A score is a query times a key: keys are panels of 32 positions, `[B][H][capacity / 32][D][32]`. A
//! head's output is its probabilities times the values: values are panels of 32 channels,
//! `[B][H][D / 32][capacity][32]`.

use std::marker::PhantomData;

use ndarray::{Array4, ArrayView4, Axis};

use crate::arena::Arena;
use crate::cpu::Cpu;
use crate::panel::{Lanes, WIDTH};

/// The sizes of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) batch: usize,
    pub(crate) capacity: usize,
    pub(crate) heads: usize,
    pub(crate) dim: usize,
}

/// Where a head's positions and channels are.
pub(crate) trait Layout: Sync {
    /// Panels of one head.
    fn panels(extent: &Extent) -> usize;
    /// Rows of one panel.
    fn rows(extent: &Extent) -> usize;
    /// Writes the channels of one position into a head's panels.
    fn write(extent: &Extent, head: &mut [Lanes], position: usize, channels: &[f32]);
    /// Row (counted over the head's panels) and lane.
    fn place(extent: &Extent, position: usize, channel: usize) -> (usize, usize);
}

/// `[capacity / 32][D][32]`: keys.
#[derive(Clone, Debug)]
pub(crate) struct ByPosition;

impl Layout for ByPosition {
    fn panels(extent: &Extent) -> usize {
        extent.capacity.div_ceil(WIDTH)
    }

    fn rows(extent: &Extent) -> usize {
        extent.dim
    }

    fn write(extent: &Extent, head: &mut [Lanes], position: usize, channels: &[f32]) {
        let (first, lane) = Self::place(extent, position, 0);
        for (lanes, &value) in head[first..].iter_mut().zip(channels) {
            lanes.as_flattened_mut()[lane] = value;
        }
    }

    fn place(extent: &Extent, position: usize, channel: usize) -> (usize, usize) {
        (position / WIDTH * extent.dim + channel, position % WIDTH)
    }
}

/// `[D / 32][capacity][32]`: values.
#[derive(Clone, Debug)]
pub(crate) struct ByChannel;

impl Layout for ByChannel {
    fn panels(extent: &Extent) -> usize {
        extent.dim.div_ceil(WIDTH)
    }

    fn rows(extent: &Extent) -> usize {
        extent.capacity
    }

    fn write(extent: &Extent, head: &mut [Lanes], position: usize, channels: &[f32]) {
        let panels = head.chunks_exact_mut(extent.capacity);
        for (panel, channels) in panels.zip(channels.chunks(WIDTH)) {
            panel[position].as_flattened_mut()[..channels.len()].copy_from_slice(channels);
        }
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
    pub(crate) extent: Extent,
    lanes: Arena,
    layout: PhantomData<L>,
}

impl<L: Layout> Panels<L> {
    /// Zeroed panels; `None` where they do not fit into memory.
    pub(crate) fn new(extent: Extent) -> Option<Self> {
        let lanes = [extent.heads, L::panels(&extent), L::rows(&extent)]
            .iter()
            .try_fold(extent.batch, |all, &size| all.checked_mul(size))?;
        Some(Panels {
            extent,
            lanes: Arena::zeroed(lanes)?,
            layout: PhantomData,
        })
    }

    /// Writes [B, T, H, D] at the positions from `start` on; the caller has checked that they fit.
    pub(crate) fn write(&mut self, cpu: &Cpu, start: usize, new: ArrayView4<f32>) {
        let extent = self.extent;
        let length = L::panels(&extent) * L::rows(&extent);
        let heads = self.lanes.chunks_exact_mut(length).enumerate();
        let mut heads: Vec<_> = heads.collect();
        cpu.for_each(&mut heads, |(index, lanes)| {
            let new = new.index_axis(Axis(0), *index / extent.heads);
            let new = new.index_axis(Axis(1), *index % extent.heads);
            for (row, position) in new.rows().into_iter().zip(start..) {
                match row.as_slice() {
                    Some(row) => L::write(&extent, lanes, position, row),
                    None => L::write(&extent, lanes, position, &row.to_vec()),
                }
            }
        });
    }

    /// The first `stored` positions in standard layout, [B, S, H, D].
    pub(crate) fn to_array(&self, stored: usize) -> Array4<f32> {
        let Extent {
            batch, heads, dim, ..
        } = self.extent;
        Array4::from_shape_fn((batch, stored, heads, dim), |(b, s, h, d)| {
            let (row, lane) = L::place(&self.extent, s, d);
            self.head(b, h)[row].as_flattened()[lane]
        })
    }

    pub(crate) fn head(&self, batch: usize, head: usize) -> &[Lanes] {
        let length = L::panels(&self.extent) * L::rows(&self.extent);
        &self.lanes[(batch * self.extent.heads + head) * length..][..length]
    }
}
