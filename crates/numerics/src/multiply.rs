//! The loop over rows, strips of k and panels around the inner product.

use std::ops::Range;

use ndarray::ArrayViewMut2;

use crate::activation::Activation;
use crate::isa::Kernel;
use crate::panel::{self, CHUNK, Lanes, Product, Tile, WIDTH};
use crate::simd::{LANES, Simd, load, store};

/// Rows of a panel that all rows of x are multiplied with before the next ones are. A longer panel would
/// not stay in the second-level cache from one block of rows to the next.
const STRIP: usize = 3072;

/// Bytes of panels that a block of rows is multiplied with while it is near. An x that has fewer stays near
/// anyway.
const CACHE: usize = 400 << 10;

/// Some of a matrix's panels and the columns of the product that are theirs.
pub(crate) struct Multiply<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) inputs: usize,
    pub(crate) panels: &'a [Lanes],
    /// From the first of these columns on.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) activation: Option<Activation>,
    pub(crate) out: ArrayViewMut2<'a, f32>,
}

impl Kernel for &mut Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let inputs = self.inputs;
        let rows: Vec<&[f32]> = self.x.chunks_exact(inputs).collect();
        let blocks: Vec<Range<usize>> = panel::blocks(rows.len()).collect();
        let strips: Vec<Range<usize>> = strips(inputs).collect();
        let size = match blocks.len() {
            // Nothing is read twice: as many as make the way into the kernel worth while.
            1 => 16,
            _ if size_of_val(self.x) > CACHE => (CACHE / (inputs * size_of::<Lanes>())).max(1),
            _ => 1,
        };
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
                        k: k.clone(),
                        causal: false,
                        next,
                        fetched: fetched(k.len(), b, blocks.len()),
                        tiles: &mut *tiles,
                    };
                    product.run::<S, CHUNK>(simd);
                    if k.end == inputs {
                        for (tile, panel) in tiles.iter().zip(start..) {
                            self.finish(simd, tile, block.clone(), panel);
                        }
                    }
                }
            }
        }
    }
}

/// What one of several blocks of rows fetches of a strip that is multiplied next. A single block fetches
/// nothing: it reads as fast as memory gives.
fn fetched(strip: usize, block: usize, blocks: usize) -> Range<usize> {
    match blocks {
        1 => 0..0,
        _ => block * strip / blocks..(block + 1) * strip / blocks,
    }
}

/// Cuts k into strips of about equal length; a chunk of a sum is never cut.
fn strips(inputs: usize) -> impl Iterator<Item = Range<usize>> {
    let length = inputs
        .div_ceil(inputs.div_ceil(STRIP))
        .next_multiple_of(CHUNK);
    let starts = (0..inputs).step_by(length);
    starts.map(move |start| start..inputs.min(start + length))
}

impl Multiply<'_> {
    /// Adds the bias, applies the activation and stores a tile of some rows and one panel's columns.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, tile: &Tile, rows: Range<usize>, panel: usize) {
        for (lanes, m) in tile.iter().zip(rows) {
            let mut out = self.out.row_mut(m);
            // A row of a part of the columns of an array in standard layout.
            let out = out.as_slice_mut().unwrap_or_default();
            for (vector, sums) in lanes.iter().enumerate() {
                let first = panel * WIDTH + vector * LANES;
                let mut sums = simd.load(sums);
                if let Some(bias) = self.bias {
                    sums = simd.add(sums, load(simd, bias.get(first..).unwrap_or_default()));
                }
                if let Some(activation) = self.activation {
                    sums = activation.lanes(simd, sums);
                }
                let out = out.get_mut(first..);
                store(simd, sums, out.unwrap_or_default());
            }
        }
    }
}
