//! The piece of attention that one thread computes: some neighbouring queries of one head.

use llorch_numerics::{Isa, KvPanels, ReadError, softmax};
use ndarray::{
    Array2, Array3, Array4, ArrayView2, ArrayView4, ArrayViewMut, ArrayViewMut2, Axis, Dimension,
    Slice,
};

/// Queries of a block; the first is at a multiple of it, counted over the whole text. Their scores stay
/// in the second-level cache, and hardly one of their keys is multiplied that none of them sees.
pub(crate) const QUERIES: usize = 36;

/// Neighbouring queries of one head of one batch row, and where what is made of them goes.
pub(crate) struct Block<'a> {
    /// Batch row and head.
    head: (usize, usize),
    /// Positions that the first query sees.
    seen: usize,
    /// [M, D].
    queries: ArrayView2<'a, f32>,
    /// [M, D].
    out: ArrayViewMut2<'a, f32>,
    /// [M, S] each, where a probe wants them.
    scores: Option<ArrayViewMut2<'a, f32>>,
    probs: Option<ArrayViewMut2<'a, f32>>,
    pub(crate) outcome: Result<(), ReadError>,
}

/// Cuts queries, [B, T, H, D], into blocks of one head, and the places of their results with them:
/// `merged` is [B, T, H D], the scores and probabilities that are kept for a probe are [B, H, T, S].
pub(crate) fn cut<'a>(
    queries: ArrayView4<'a, f32>,
    past: usize,
    merged: &'a mut Array3<f32>,
    kept: [Option<&'a mut Array4<f32>>; 2],
) -> Vec<Block<'a>> {
    let (_, tokens, heads, dim) = queries.dim();
    let first = QUERIES - past % QUERIES;
    let rows = move |head: ArrayViewMut2<'a, f32>| pieces(head, Axis(0), first, QUERIES);
    let merged = merged.axis_iter_mut(Axis(0));
    let heads_out = merged.flat_map(|row| pieces(row, Axis(1), dim, dim));
    let [mut scores, mut probs] = kept.map(|whole| {
        let all = whole
            .into_iter()
            .flat_map(|whole| whole.axis_iter_mut(Axis(0)));
        let heads = all.flat_map(|row| pieces(row, Axis(0), 1, 1));
        heads.flat_map(move |head| rows(head.index_axis_move(Axis(0), 0)))
    });
    let mut blocks = Vec::new();
    for (index, out) in heads_out.enumerate() {
        let head = (index / heads, index % heads);
        let mut start = 0;
        for out in rows(out) {
            let end = start + out.nrows();
            let queries = queries.index_axis_move(Axis(0), head.0);
            let mut queries = queries.index_axis_move(Axis(1), head.1);
            queries.slice_axis_inplace(Axis(0), Slice::from(start..end));
            blocks.push(Block {
                head,
                seen: past + start + 1,
                queries,
                out,
                scores: scores.next(),
                probs: probs.next(),
                outcome: Ok(()),
            });
            start = end;
        }
        debug_assert_eq!(start, tokens);
    }
    blocks
}

/// Cuts an array along an axis: a piece of `first`, then pieces of `size`, the last what is left.
fn pieces<D: Dimension>(
    mut whole: ArrayViewMut<f32, D>,
    axis: Axis,
    first: usize,
    size: usize,
) -> Vec<ArrayViewMut<f32, D>> {
    let mut pieces = Vec::new();
    let mut next = first;
    while whole.len_of(axis) > next {
        let (piece, rest) = whole.split_at(axis, next);
        pieces.push(piece);
        whole = rest;
        next = size;
    }
    pieces.push(whole);
    pieces
}

impl Block<'_> {
    /// Scores, softmax, average. The buffer has room for a block's scores and keeps nothing.
    pub(crate) fn attend(
        &mut self,
        isa: Isa,
        cached: &KvPanels,
        scale: f64,
        buffer: &mut Array2<f32>,
    ) {
        let (rows, seen) = (self.queries.nrows(), self.seen);
        let mut part = buffer.view_mut();
        part.slice_axis_inplace(Axis(0), Slice::from(..rows));
        part.slice_axis_inplace(Axis(1), Slice::from(..seen + rows - 1));
        self.outcome = cached
            .scores(isa, self.head, self.queries, scale, part.view_mut())
            .and_then(|()| {
                keep(&mut self.scores, part.view(), seen);
                for (m, mut row) in part.rows_mut().into_iter().enumerate() {
                    let row = row.as_slice_mut().unwrap_or_default();
                    softmax(isa, &mut row[..seen + m]);
                }
                keep(&mut self.probs, part.view(), seen);
                cached.average(isa, self.head, part.view(), seen, self.out.view_mut())
            });
    }
}

/// Copies what each row sees into the whole that a probe has asked for.
fn keep(whole: &mut Option<ArrayViewMut2<f32>>, part: ArrayView2<f32>, seen: usize) {
    if let Some(whole) = whole {
        for (m, (mut to, from)) in whole.rows_mut().into_iter().zip(part.rows()).enumerate() {
            let visible = Slice::from(..seen + m);
            to.slice_axis_mut(Axis(0), visible)
                .assign(&from.slice_axis(Axis(0), visible));
        }
    }
}
