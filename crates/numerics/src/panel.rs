//! The inner product of everything: rows times panels of 32 columns.
#![allow(
    clippy::needless_range_loop,
    reason = "loops that count keep the sums in registers; iterators over arrays of vectors do not"
)]

use std::ops::Range;

use crate::isa::Kernel;
use crate::simd::{LANES, Simd};

/// How many terms of a product with weights or values are summed in one chain of fused multiply-adds
/// before the chain's total is added up.
///
/// One chain over all of k is no faster and too inaccurate: its error grows with its length. On GPT-2's
/// own attention weights R of `attn.q` is 0.86 with 128, 0.67 with 64 and 0.56 with 32
/// (`cargo xtask validate` prints R).
pub const CHUNK: usize = 32;

/// The same for queries and keys, whose product is only D terms long.
pub const SCORE_CHUNK: usize = 8;

/// The columns of a panel: output elements that are computed side by side.
pub(crate) const WIDTH: usize = 2 * LANES;

/// One k of a panel: what `WIDTH` output elements multiply with the same input element.
pub(crate) type Lanes = [[f32; LANES]; 2];

/// The most rows that share one pass over a panel. Their sums and totals stay in registers; more would
/// read the panel less often than the cache can give it, and no longer fit.
pub(crate) const ROWS: usize = 6;

/// What up to [`ROWS`] rows times a panel give.
pub(crate) type Tile = [Lanes; ROWS];

pub(crate) const ZERO: Tile = [[[0.0; LANES]; 2]; ROWS];

/// Terms whose loop is unrolled.
const STEP: usize = 8;

/// Up to [`ROWS`] rows times some panels that lie one after the other.
pub(crate) struct Product<'a> {
    /// As long as the panels, or longer.
    pub(crate) rows: &'a [&'a [f32]],
    pub(crate) panels: &'a [Lanes],
    /// Rows of a panel.
    pub(crate) inputs: usize,
    /// The rows that are multiplied; they start with a chunk.
    pub(crate) k: Range<usize>,
    /// Whether row m is over the first `k.end + m` rows alone, which is what a causal mask leaves.
    pub(crate) causal: bool,
    /// Panels that are multiplied next, and the rows of each that are fetched meanwhile.
    pub(crate) next: &'a [Lanes],
    pub(crate) fetched: Range<usize>,
    /// One for each panel. Where k does not start at 0 they hold what an earlier product left.
    pub(crate) tiles: &'a mut [Tile],
}

impl Product<'_> {
    /// Runs it, with sums in chunks of `LENGTH`.
    #[inline(always)]
    pub(crate) fn run<S: Simd, const LENGTH: usize>(self, simd: S) {
        // The numbers of rows and vectors are constants: only then do the sums stay in registers.
        match self.rows.len() {
            1 => self.height::<S, 1, LENGTH>(simd),
            2 => self.height::<S, 2, LENGTH>(simd),
            3 => self.height::<S, 3, LENGTH>(simd),
            4 => self.height::<S, 4, LENGTH>(simd),
            5 => self.height::<S, 5, LENGTH>(simd),
            6 => self.height::<S, 6, LENGTH>(simd),
            // `blocks` makes none that is higher.
            _ => {}
        }
    }

    #[inline(always)]
    fn height<S: Simd, const M: usize, const LENGTH: usize>(mut self, simd: S) {
        if S::VECTORS == 2 {
            simd.call(Tiles::<M, 2, 0, LENGTH>(&mut self));
        } else {
            simd.call(Tiles::<M, 1, 0, LENGTH>(&mut self));
            simd.call(Tiles::<M, 1, 1, LENGTH>(&mut self));
        }
    }
}

/// A product of M rows with V of each panel's two vectors, from `FIRST` on, in chunks of `LENGTH`.
///
/// The sums of chunks are added up one after the other. This is the one order in which products are
/// summed: an element's bits depend on its own row and column and not on M, on the other rows, or on
/// how many columns there are.
struct Tiles<'a, 'b, const M: usize, const V: usize, const FIRST: usize, const LENGTH: usize>(
    &'b mut Product<'a>,
);

impl<const M: usize, const V: usize, const FIRST: usize, const LENGTH: usize> Kernel
    for Tiles<'_, '_, M, V, FIRST, LENGTH>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Product {
            rows,
            panels,
            inputs,
            ref k,
            causal,
            next,
            ref fetched,
            ref mut tiles,
        } = *self.0;
        let rows: [&[f32]; M] = std::array::from_fn(|m| &rows[m][k.start..]);
        for (p, tile) in tiles.iter_mut().enumerate() {
            let panel = &panels[p * inputs + k.start..(p + 1) * inputs];
            let ahead = p * inputs + fetched.start..p * inputs + fetched.end;
            let ahead = next.get(ahead).unwrap_or_default();
            let mut total = [[simd.splat(0.0); V]; M];
            if k.start > 0 {
                for m in 0..M {
                    for v in 0..V {
                        total[m][v] = simd.load(&tile[m][FIRST + v]);
                    }
                }
            }
            let total = if causal {
                Self::staircase(simd, rows, panel, k.len(), total)
            } else {
                Self::whole(simd, rows, &panel[..k.len()], ahead, total)
            };
            for m in 0..M {
                for v in 0..V {
                    simd.store(total[m][v], &mut tile[m][FIRST + v]);
                }
            }
        }
    }
}

impl<const M: usize, const V: usize, const FIRST: usize, const LENGTH: usize>
    Tiles<'_, '_, M, V, FIRST, LENGTH>
{
    /// Adds the rows times a panel to the totals.
    #[inline(always)]
    fn whole<S: Simd>(
        simd: S,
        rows: [&[f32]; M],
        panel: &[Lanes],
        ahead: &[Lanes],
        mut total: [[S::F32; V]; M],
    ) -> [[S::F32; V]; M] {
        let (steps, rest) = panel.as_chunks::<STEP>();
        let chunks = panel.len().div_ceil(LENGTH);
        let mut ahead = ahead.chunks(ahead.len().div_ceil(chunks.max(1)).max(1));
        for start in (0..panel.len().div_ceil(STEP)).step_by(LENGTH / STEP) {
            let end = steps.len().min(start + LENGTH / STEP);
            for lanes in ahead.next().unwrap_or_default() {
                simd.prefetch(lanes);
            }
            let mut sum = [[simd.splat(0.0); V]; M];
            for i in start..end {
                let rows: [&[f32; STEP]; M] = rows.map(|row| &row.as_chunks().0[i]);
                for k in 0..STEP {
                    Self::step(simd, &mut sum, rows.map(|row| &row[..]), k, &steps[i][k]);
                }
            }
            if end - start < LENGTH / STEP {
                let rows = rows.map(|row| &row[end * STEP..]);
                for k in 0..rest.len() {
                    Self::step(simd, &mut sum, rows, k, &rest[k]);
                }
            }
            add(simd, &mut total, sum);
        }
        total
    }

    /// Row m over the first `seen + m` rows of the panel. What a row does not see is not multiplied by zero,
    /// it is not looked at.
    #[inline(always)]
    fn staircase<S: Simd>(
        simd: S,
        rows: [&[f32]; M],
        panel: &[Lanes],
        seen: usize,
        total: [[S::F32; V]; M],
    ) -> [[S::F32; V]; M] {
        let whole = seen / LENGTH * LENGTH;
        let mut total = Self::whole(simd, rows, &panel[..whole], &[], total);
        let mut sum = [[simd.splat(0.0); V]; M];
        for k in whole..seen {
            Self::step(simd, &mut sum, rows, k, &panel[k]);
        }
        for m in 0..M {
            for v in 0..V {
                for k in seen..seen + m {
                    if k % LENGTH == 0 {
                        total[m][v] = simd.add(total[m][v], sum[m][v]);
                        sum[m][v] = simd.splat(0.0);
                    }
                    let lanes = simd.load(&panel[k][FIRST + v]);
                    sum[m][v] = simd.fma(simd.splat(rows[m][k]), lanes, sum[m][v]);
                }
            }
        }
        add(simd, &mut total, sum);
        total
    }

    /// One link of the chains of fused multiply-adds.
    #[inline(always)]
    fn step<S: Simd>(
        simd: S,
        sum: &mut [[S::F32; V]; M],
        rows: [&[f32]; M],
        k: usize,
        lanes: &Lanes,
    ) {
        let mut vectors = [simd.splat(0.0); V];
        for v in 0..V {
            vectors[v] = simd.load(&lanes[FIRST + v]);
        }
        for m in 0..M {
            let x = simd.splat(rows[m][k]);
            for v in 0..V {
                sum[m][v] = simd.fma(x, vectors[v], sum[m][v]);
            }
        }
    }
}

#[inline(always)]
fn add<S: Simd, const M: usize, const V: usize>(
    simd: S,
    total: &mut [[S::F32; V]; M],
    sum: [[S::F32; V]; M],
) {
    for m in 0..M {
        for v in 0..V {
            total[m][v] = simd.add(total[m][v], sum[m][v]);
        }
    }
}

/// Splits rows into blocks of at most [`ROWS`], as equal as can be: sixteen are 6, 5 and 5.
pub(crate) fn blocks(count: usize) -> impl Iterator<Item = Range<usize>> {
    let blocks = count.div_ceil(ROWS);
    (0..blocks).map(move |i| i * count / blocks..(i + 1) * count / blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_all_rows_and_none_is_too_high() {
        for count in 0..100 {
            let mut next = 0;
            for block in blocks(count) {
                assert_eq!(block.start, next);
                assert!((1..=ROWS).contains(&block.len()), "{count}: {block:?}");
                next = block.end;
            }
            assert_eq!(next, count);
        }
    }
}
