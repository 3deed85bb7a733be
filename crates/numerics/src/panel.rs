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

/// Up to [`ROWS`] rows times some panels.
pub(crate) struct Product<'a> {
    /// As long as the panels, or longer.
    pub(crate) rows: &'a [&'a [f32]],
    pub(crate) panels: &'a [Lanes],
    /// Rows of a panel.
    pub(crate) inputs: usize,
    /// Panels that are multiplied side by side lie one after the other, or else that many rows apart; each is
    /// then followed by the next one of its own.
    pub(crate) apart: Option<usize>,
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
        // The numbers of rows and vectors are constants: only then do the sums stay in registers. Few rows
        // leave room for the sums of several panels, and memory gives several streams faster than one.
        if S::VECTORS == 2 {
            match self.rows.len() {
                1 => self.pass::<S, 1, 8, 0, LENGTH>(simd),
                2 => self.pass::<S, 2, 4, 0, LENGTH>(simd),
                3 => self.pass::<S, 3, 4, 0, LENGTH>(simd),
                4 => self.pass::<S, 4, 2, 0, LENGTH>(simd),
                5 => self.pass::<S, 5, 2, 0, LENGTH>(simd),
                6 => self.pass::<S, 6, 2, 0, LENGTH>(simd),
                // `blocks` makes none that is higher.
                _ => {}
            }
        } else {
            match self.rows.len() {
                1 => self.pass::<S, 1, 2, 0, LENGTH>(simd),
                2 => self.twice::<S, 2, LENGTH>(simd),
                3 => self.twice::<S, 3, LENGTH>(simd),
                4 => self.twice::<S, 4, LENGTH>(simd),
                5 => self.twice::<S, 5, LENGTH>(simd),
                6 => self.twice::<S, 6, LENGTH>(simd),
                _ => {}
            }
        }
    }

    /// One of the panels' two vectors after the other.
    #[inline(always)]
    fn twice<S: Simd, const M: usize, const LENGTH: usize>(mut self, simd: S) {
        simd.call(Tiles::<M, 1, 0, LENGTH>(&mut self));
        simd.call(Tiles::<M, 1, 1, LENGTH>(&mut self));
    }

    /// V vectors at a time; the panels that are left over, two.
    #[inline(always)]
    fn pass<S: Simd, const M: usize, const V: usize, const FIRST: usize, const LENGTH: usize>(
        mut self,
        simd: S,
    ) {
        let together = V.div_ceil(2);
        let whole = self.tiles.len() / together * together;
        let (tiles, rest) = self.tiles.split_at_mut(whole);
        let mut last = Product {
            panels: self.panels.get(whole * self.inputs..).unwrap_or_default(),
            next: self.next.get(whole * self.inputs..).unwrap_or_default(),
            k: self.k.clone(),
            fetched: self.fetched.clone(),
            tiles: rest,
            ..self
        };
        if !last.tiles.is_empty() {
            simd.call(Tiles::<M, 2, FIRST, LENGTH>(&mut last));
        }
        self.tiles = tiles;
        if !self.tiles.is_empty() {
            simd.call(Tiles::<M, V, FIRST, LENGTH>(&mut self));
        }
    }
}

/// A product of M rows with V vectors of the panels, in chunks of `LENGTH`: both vectors of each of V / 2
/// panels, or vector `FIRST` of one.
///
/// The sums of chunks are added up one after the other. This is the one order in which products are
/// summed: an element's bits depend on its own row and column and not on M, on the other rows, or on
/// how many columns there are.
struct Tiles<'a, 'b, const M: usize, const V: usize, const FIRST: usize, const LENGTH: usize>(
    &'b mut Product<'a>,
);

/// Steps that few rows ask for their panels ahead: two kilobytes of each.
const AHEAD: usize = 2;

/// The most panels at a time.
const PANELS: usize = 4;

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
            apart,
            ref k,
            causal,
            next,
            ref fetched,
            ref mut tiles,
        } = *self.0;
        let rows: [&[f32]; M] = std::array::from_fn(|m| &rows[m][k.start..]);
        let together = V.div_ceil(2);
        let (apart, step) = match apart {
            Some(apart) => (apart, inputs),
            None => (inputs, together * inputs),
        };
        for (p, tiles) in tiles.chunks_mut(together).enumerate() {
            let first = p * step;
            let mut part: [&[Lanes]; PANELS] = Default::default();
            for (i, part) in part.iter_mut().take(together).enumerate() {
                let start = first + i * apart;
                *part = &panels[start + k.start..start + inputs];
            }
            let ahead = first + fetched.start..first + fetched.end;
            let ahead = next.get(ahead).unwrap_or_default();
            let mut total = [[simd.splat(0.0); V]; M];
            if k.start > 0 {
                for m in 0..M {
                    for v in 0..V {
                        total[m][v] = simd.load(&tiles[v / 2][m][(FIRST + v) % 2]);
                    }
                }
            }
            let total = if causal {
                Self::staircase(simd, rows, part, k.len(), total)
            } else {
                Self::whole(simd, rows, part, k.len(), ahead, total)
            };
            for m in 0..M {
                for v in 0..V {
                    simd.store(total[m][v], &mut tiles[v / 2][m][(FIRST + v) % 2]);
                }
            }
        }
    }
}

impl<const M: usize, const V: usize, const FIRST: usize, const LENGTH: usize>
    Tiles<'_, '_, M, V, FIRST, LENGTH>
{
    /// Adds the rows times the first `length` rows of the panels to the totals.
    #[inline(always)]
    fn whole<S: Simd>(
        simd: S,
        rows: [&[f32]; M],
        panels: [&[Lanes]; PANELS],
        length: usize,
        ahead: &[Lanes],
        mut total: [[S::F32; V]; M],
    ) -> [[S::F32; V]; M] {
        let steps: [&[[Lanes; STEP]]; PANELS] =
            panels.map(|panel| panel[..panel.len().min(length)].as_chunks().0);
        let count = length / STEP;
        let mut ahead = ahead.chunks(ahead.len().div_ceil(count.max(1)).max(1));
        for start in (0..length.div_ceil(STEP)).step_by(LENGTH / STEP) {
            let end = count.min(start + LENGTH / STEP);
            let mut sum = [[simd.splat(0.0); V]; M];
            for i in start..end {
                // A few at a time: behind many that wait for memory, the panel's own would wait, too.
                if V <= 2 {
                    for lanes in ahead.next().unwrap_or_default() {
                        simd.prefetch(lanes);
                    }
                }
                let rows: [&[f32; STEP]; M] = rows.map(|row| &row.as_chunks().0[i]);
                for k in 0..STEP {
                    // Few rows wait for memory.
                    if V > 2 && i + AHEAD < count {
                        for panel in 0..V / 2 {
                            simd.prefetch(&steps[panel][i + AHEAD][k]);
                        }
                    }
                    let mut vectors = [simd.splat(0.0); V];
                    for v in 0..V {
                        vectors[v] = simd.load(&steps[v / 2][i][k][(FIRST + v) % 2]);
                    }
                    for m in 0..M {
                        let x = simd.splat(rows[m][k]);
                        for v in 0..V {
                            sum[m][v] = simd.fma(x, vectors[v], sum[m][v]);
                        }
                    }
                }
            }
            if end - start < LENGTH / STEP {
                for k in end * STEP..length {
                    Self::step(simd, &mut sum, rows, panels, k);
                }
            }
            add(simd, &mut total, sum);
        }
        total
    }

    /// Row m over the first `seen + m` rows of the panels. What a row does not see is not multiplied by zero,
    /// it is not looked at.
    #[inline(always)]
    fn staircase<S: Simd>(
        simd: S,
        rows: [&[f32]; M],
        panels: [&[Lanes]; PANELS],
        seen: usize,
        total: [[S::F32; V]; M],
    ) -> [[S::F32; V]; M] {
        let whole = seen / LENGTH * LENGTH;
        let mut total = Self::whole(simd, rows, panels, whole, &[], total);
        let mut sum = [[simd.splat(0.0); V]; M];
        for k in whole..seen {
            Self::step(simd, &mut sum, rows, panels, k);
        }
        for m in 0..M {
            for v in 0..V {
                for k in seen..seen + m {
                    if k % LENGTH == 0 {
                        total[m][v] = simd.add(total[m][v], sum[m][v]);
                        sum[m][v] = simd.splat(0.0);
                    }
                    let lanes = simd.load(&panels[v / 2][k][(FIRST + v) % 2]);
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
        panels: [&[Lanes]; PANELS],
        k: usize,
    ) {
        for m in 0..M {
            let x = simd.splat(rows[m][k]);
            for v in 0..V {
                let lanes = simd.load(&panels[v / 2][k][(FIRST + v) % 2]);
                sum[m][v] = simd.fma(x, lanes, sum[m][v]);
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

/// The panels that so few rows are multiplied with side by side.
#[inline(always)]
pub(crate) fn together<S: Simd>(rows: usize) -> usize {
    match (S::VECTORS, rows) {
        (2, 1) => 4,
        (2, 2 | 3) => 2,
        _ => 1,
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
