//! The loop over rows, strips of k and panels around the inner product.

use std::ops::Range;

use ndarray::ArrayViewMut2;

use crate::activation::Activation;
use crate::isa::Kernel;
use crate::panel::{self, CHUNK, Lanes, Product, ROWS, Tile, WIDTH};
use crate::simd::{LANES, Simd, load, store};

/// Rows of a panel that all rows of x are multiplied with before the next ones are. A longer panel would
/// not stay in the second-level cache from one block of rows to the next.
const STRIP: usize = 3072;

/// The same where that cache is to hold an x that stays near, too, and what is fetched for the next strip.
const SHORT_STRIP: usize = STRIP / 2;

/// Bytes of panels that a block of rows is multiplied with while it is near. An x that has fewer stays near
/// anyway.
const CACHE: usize = 400 << 10;

/// Tiles of one block of rows that are computed before they are stored: as many as make the way into the kernel
/// worth while.
const TILES: usize = 16;

/// Some of a matrix's panels and the columns of the product that are theirs.
pub(crate) struct Multiply<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) inputs: usize,
    pub(crate) panels: &'a [Lanes],
    pub(crate) finish: Finish<'a>,
    pub(crate) out: ArrayViewMut2<'a, f32>,
}

impl Kernel for &mut Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let inputs = self.inputs;
        // Rows of some columns of an array in standard layout.
        let out = self.out.rows_mut().into_iter();
        let mut out: Vec<&mut [f32]> = out
            .map(|row| row.into_slice().unwrap_or_default())
            .collect();
        let rows: Vec<&[f32]> = self.x.chunks_exact(inputs).collect();
        if rows.len() <= ROWS {
            stream(simd, &rows, self.panels, self.finish, &mut out);
            return;
        }
        let blocks: Vec<Range<usize>> = panel::blocks(rows.len()).collect();
        let (size, strip) = match size_of_val(self.x) > CACHE {
            true => ((CACHE / (inputs * size_of::<Lanes>())).max(1), STRIP),
            false => (1, SHORT_STRIP),
        };
        let strips: Vec<Range<usize>> = strips(inputs, strip).collect();
        // Between strips every tile waits in a place of its own.
        let places = if strips.len() > 1 { blocks.len() } else { 1 };
        let mut tiles = vec![panel::ZERO; places * size];
        for (group, start) in self.panels.chunks(size * inputs).zip((0..).step_by(size)) {
            let count = group.len() / inputs;
            for k in &strips {
                let next = match k.end == inputs {
                    true => &self.panels[start * inputs + group.len()..],
                    false => &group[k.end..],
                };
                for (b, block) in blocks.iter().enumerate() {
                    let tiles = &mut tiles[b % places * size..][..count];
                    let product = Product {
                        rows: &rows[block.clone()],
                        panels: group,
                        inputs,
                        apart: None,
                        k: k.clone(),
                        causal: false,
                        next,
                        fetched: b * k.len() / blocks.len()..(b + 1) * k.len() / blocks.len(),
                        tiles: &mut *tiles,
                    };
                    product.run::<S, CHUNK>(simd);
                    if k.end == inputs {
                        for (tile, panel) in tiles.iter().zip(start..) {
                            let out = &mut out[block.clone()];
                            self.finish.store(simd, tile, out, panel * WIDTH);
                        }
                    }
                }
            }
        }
    }
}

/// One block of rows, for which every panel is read once, as fast as memory gives.
///
/// Panels that are multiplied side by side are as far apart as they can be, and each is followed by the one that
/// lies behind it: a few long streams are read faster than neighbouring short ones.
#[inline(always)]
fn stream<S: Simd>(
    simd: S,
    rows: &[&[f32]],
    panels: &[Lanes],
    finish: Finish,
    out: &mut [&mut [f32]],
) {
    let inputs = rows.first().map_or(1, |row| row.len());
    let count = panels.len() / inputs;
    let streams = panel::together::<S>(rows.len());
    let length = count / streams;
    let mut tiles = [panel::ZERO; TILES];
    // The panels that are left over are a stream of their own.
    for (first, streams, length) in [
        (0, streams, length),
        (streams * length, 1, count - streams * length),
    ] {
        let passes = TILES / streams;
        for start in (0..length).step_by(passes) {
            let tiles = &mut tiles[..passes.min(length - start) * streams];
            let product = Product {
                rows,
                panels: &panels[(first + start) * inputs..],
                inputs,
                apart: (streams > 1).then_some(length * inputs),
                k: 0..inputs,
                causal: false,
                next: &[],
                fetched: 0..0,
                tiles: &mut *tiles,
            };
            product.run::<S, CHUNK>(simd);
            for (t, tile) in tiles.iter().enumerate() {
                let panel = first + start + t / streams + t % streams * length;
                finish.store(simd, tile, out, panel * WIDTH);
            }
        }
    }
}

/// Cuts k into strips of about equal length, at most `longest`; a chunk of a sum is never cut.
fn strips(inputs: usize, longest: usize) -> impl Iterator<Item = Range<usize>> {
    let length = inputs
        .div_ceil(inputs.div_ceil(longest))
        .next_multiple_of(CHUNK);
    let starts = (0..inputs).step_by(length);
    starts.map(move |start| start..inputs.min(start + length))
}

/// What is done to an element before it is stored.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// From the first of the columns on.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) activation: Option<Activation>,
}

impl Finish<'_> {
    /// Adds the bias, applies the activation and stores a tile in the columns from `first` on.
    #[inline(always)]
    fn store<S: Simd>(self, simd: S, tile: &Tile, out: &mut [&mut [f32]], first: usize) {
        let places = [first, first + LANES];
        // What changes no number where it is added, not even the sign of a zero.
        let mut bias = [simd.splat(-0.0); 2];
        if let Some(all) = self.bias {
            for (bias, first) in bias.iter_mut().zip(places) {
                *bias = load(simd, all.get(first..).unwrap_or_default());
            }
        }
        for (out, lanes) in out.iter_mut().zip(tile) {
            for vector in 0..2 {
                let mut sums = simd.add(simd.load(&lanes[vector]), bias[vector]);
                if let Some(activation) = self.activation {
                    sums = activation.lanes(simd, sums);
                }
                let out = out.get_mut(places[vector]..);
                store(simd, sums, out.unwrap_or_default());
            }
        }
    }
}
