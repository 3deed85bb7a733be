//! The two products of attention: queries with keys, probabilities with values.

use std::slice::from_mut;

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::isa::{Isa, Kernel, dispatch_on};
use crate::panel::{self, CHUNK, Lanes, Product, SCORE_CHUNK, WIDTH};
use crate::panels::{ByChannel, ByPosition, Panels};
use crate::simd::{LANES, Simd, store};

impl Panels<ByPosition> {
    /// `out = (queries . keys) * scale` of one head, for as many keys as `out` has columns; queries are
    /// [M, D], out [M, <= S].
    pub(crate) fn scores(
        &self,
        isa: Isa,
        (batch, head): (usize, usize),
        queries: ArrayView2<f32>,
        scale: f64,
        out: ArrayViewMut2<f32>,
    ) {
        let scores = Scores {
            queries,
            panels: self.head(batch, head),
            dim: self.extent.dim,
            scale,
            out,
        };
        dispatch_on(isa, scores);
    }
}

struct Scores<'a> {
    queries: ArrayView2<'a, f32>,
    panels: &'a [Lanes],
    dim: usize,
    scale: f64,
    out: ArrayViewMut2<'a, f32>,
}

impl Kernel for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let queries: Vec<&[f32]> = slices(&self.queries).collect();
        let mut out: Vec<&mut [f32]> = slices_mut(&mut self.out).collect();
        // A scale rounded to float32 first would put every score off to the same side; one that is a
        // float32 gives the same bits either way.
        let exact = f64::from(self.scale as f32) == self.scale;
        let short = simd.splat(self.scale as f32);
        let long = simd.splat_f64(self.scale);
        let seen = out.first().map_or(0, |out| out.len());
        let panels = self.panels.chunks_exact(self.dim);
        for (panel, first) in panels.zip((0..seen).step_by(WIDTH)) {
            for block in panel::blocks(queries.len()) {
                let queries = &queries[block.clone()];
                let mut tile = panel::ZERO;
                let product = Product {
                    rows: queries,
                    panels: panel,
                    inputs: panel.len(),
                    apart: None,
                    k: 0..panel.len(),
                    causal: false,
                    next: &[],
                    fetched: 0..0,
                    tiles: from_mut(&mut tile),
                };
                product.run::<S, SCORE_CHUNK>(simd);
                for (lanes, out) in tile.iter().zip(&mut out[block]) {
                    for (vector, sums) in lanes.iter().enumerate() {
                        let sums = simd.load(sums);
                        let scaled = if exact {
                            simd.mul(sums, short)
                        } else {
                            simd.narrow(simd.mul_f64(simd.widen(sums), long))
                        };
                        let out = out.get_mut(first + vector * LANES..);
                        store(simd, scaled, out.unwrap_or_default());
                    }
                }
            }
        }
    }
}

impl Panels<ByChannel> {
    /// `out[m] = sum of probabilities[m, s] * value s` of one head over the first `seen + m` positions;
    /// probabilities are [M, >= seen + M - 1], out [M, D].
    pub(crate) fn average(
        &self,
        isa: Isa,
        (batch, head): (usize, usize),
        probabilities: ArrayView2<f32>,
        seen: usize,
        out: ArrayViewMut2<f32>,
    ) {
        let average = Average {
            probabilities,
            panels: self.head(batch, head),
            capacity: self.extent.capacity,
            seen,
            out,
        };
        dispatch_on(isa, average);
    }
}

struct Average<'a> {
    probabilities: ArrayView2<'a, f32>,
    panels: &'a [Lanes],
    capacity: usize,
    seen: usize,
    out: ArrayViewMut2<'a, f32>,
}

impl Kernel for Average<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let rows: Vec<&[f32]> = slices(&self.probabilities).collect();
        let mut out: Vec<&mut [f32]> = slices_mut(&mut self.out).collect();
        let panels = self.panels.chunks_exact(self.capacity);
        for (panel, first) in panels.zip((0..).step_by(WIDTH)) {
            for block in panel::blocks(rows.len()) {
                let seen = self.seen + block.start;
                let rows = &rows[block.clone()];
                let mut tile = panel::ZERO;
                let product = Product {
                    rows,
                    panels: panel,
                    inputs: panel.len(),
                    apart: None,
                    k: 0..seen,
                    causal: true,
                    next: &[],
                    fetched: 0..0,
                    tiles: from_mut(&mut tile),
                };
                product.run::<S, CHUNK>(simd);
                for (lanes, out) in tile.iter().zip(&mut out[block]) {
                    for (vector, sums) in lanes.iter().enumerate() {
                        let out = out.get_mut(first + vector * LANES..);
                        store(simd, simd.load(sums), out.unwrap_or_default());
                    }
                }
            }
        }
    }
}

/// The rows of an array; empty where they do not lie in order, which the callers rule out.
fn slices<'a>(rows: &'a ArrayView2<f32>) -> impl Iterator<Item = &'a [f32]> {
    let rows = rows.rows().into_iter();
    rows.map(|row| row.to_slice().unwrap_or_default())
}

fn slices_mut<'a>(rows: &'a mut ArrayViewMut2<f32>) -> impl Iterator<Item = &'a mut [f32]> {
    let rows = rows.rows_mut().into_iter();
    rows.map(|row| row.into_slice().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array4};

    use super::*;
    use crate::cpu::Cpu;
    use crate::panels::{Extent, Layout};
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
        panels.write(&Cpu::default(), 0, new.view());
        panels
    }

    fn array(seed: u64, rows: usize, columns: usize) -> Array2<f32> {
        Array2::from_shape_vec((rows, columns), values(seed, rows * columns)).unwrap()
    }

    #[test]
    fn scores_have_equal_bits_on_every_instruction_set() {
        let keys = filled::<ByPosition>();
        for (queries, positions) in [(1, 1), (2, 32), (7, 33), (13, 75)] {
            let queries = array(2, queries, EXTENT.dim);
            for scale in [0.125, 1.0 / 41.0_f64.sqrt()] {
                assert_equal_on_every_isa(|isa| {
                    let mut out = Array2::zeros((queries.nrows(), positions));
                    keys.scores(isa, (1, 2), queries.view(), scale, out.view_mut());
                    bits(out.as_slice().unwrap())
                });
            }
        }
    }

    #[test]
    fn averages_have_equal_bits_on_every_instruction_set() {
        let values = filled::<ByChannel>();
        for (rows, seen) in [(1, 1), (2, 31), (7, 33), (13, 63)] {
            let probabilities = array(2, rows, seen + rows - 1);
            assert_equal_on_every_isa(|isa| {
                let mut out = Array2::zeros((rows, EXTENT.dim));
                values.average(isa, (1, 2), probabilities.view(), seen, out.view_mut());
                bits(out.as_slice().unwrap())
            });
        }
    }
}
