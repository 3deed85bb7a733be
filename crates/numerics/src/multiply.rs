//! The loop over rows, strips of k and panels around the inner product.

use std::ops::Range;

use ndarray::ArrayViewMut2;

use crate::activation::Activation;
use crate::isa::Kernel;
use crate::panel::{self, CHUNK, Lanes, Product, Tile, WIDTH};
use crate::simd::{LANES, Simd, load, store};

/// The longest panel that all rows of x are multiplied with from end to end. A longer one would not stay in
/// the second-level cache from one block of rows to the next.
const WHOLE: usize = 3072;

/// The same where few rows leave little time to fetch the next panel: beside it and x, both have to stay.
const WHOLE_FOR_FEW: usize = 1600;

/// Rows of a strip of such a panel.
const STRIP_FOR_FEW: usize = 800;

/// Bytes of panels that a block of rows is multiplied with while it is near. An x that has fewer stays near
/// anyway.
const CACHE: usize = 400 << 10;

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
        let blocks: Vec<Range<usize>> = panel::blocks(rows.len()).collect();
        let (strip, size) = match blocks.len() {
            // Nothing is read twice: as many as make the way into the kernel worth while.
            1 => (inputs, 16),
            _ if size_of_val(self.x) > CACHE => {
                let panels = CACHE / (inputs * size_of::<Lanes>());
                (WHOLE, panels.max(1))
            }
            _ if inputs <= WHOLE_FOR_FEW => (inputs, 1),
            _ => (STRIP_FOR_FEW, 1),
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
                        k: k.clone(),
                        causal: false,
                        next,
                        fetched: fetched(k.len(), b, blocks.len()),
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

/// What one of several blocks of rows fetches of a strip that is multiplied next. A single block fetches
/// nothing: it reads as fast as memory gives.
fn fetched(strip: usize, block: usize, blocks: usize) -> Range<usize> {
    match blocks {
        1 => 0..0,
        _ => block * strip / blocks..(block + 1) * strip / blocks,
    }
}

/// Cuts k into strips of about equal length; a chunk of a sum is never cut.
fn strips(inputs: usize, strip: usize) -> impl Iterator<Item = Range<usize>> {
    let length = inputs
        .div_ceil(inputs.div_ceil(strip))
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
