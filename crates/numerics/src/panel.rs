//! The inner product of everything: rows times one panel of 32 columns.

/// How many terms of a product with weights or values are summed in one chain of fused multiply-adds
/// before the chain's total is added up.
///
/// One chain over all of k is a little faster and too inaccurate: its error grows with its length. On
/// GPT-2's own attention weights R of `attn.q` is 0.86 with 128, 0.67 with 64 and 0.56 with 32
/// (`cargo xtask validate` prints R), and shorter chunks begin to cost time.
pub const CHUNK: usize = 32;

/// The same for queries and keys, whose product is only D terms long.
pub const SCORE_CHUNK: usize = 8;

/// The columns of a panel: output elements that are computed side by side.
pub(crate) const WIDTH: usize = 32;

/// One k of a panel: what `WIDTH` output elements multiply with the same input element.
#[derive(Clone, Copy, Debug)]
#[repr(align(128))]
pub(crate) struct Lanes(pub(crate) [f32; WIDTH]);

impl Lanes {
    pub(crate) const ZERO: Lanes = Lanes([0.0; WIDTH]);
}

/// `rows[m] @ panel` for M rows of the panel's length, summed in chunks of `LENGTH`.
///
/// This is the one order in which products are summed: an element's bits depend on its own row and
/// column and not on M, on the other rows, or on how many columns there are. The loops count instead
/// of iterating because iterators over nested arrays keep the sums in memory, at a tenth of the speed.
#[inline(always)]
pub(crate) fn product<const M: usize, const LENGTH: usize>(
    rows: [&[f32]; M],
    panel: &[Lanes],
) -> [[f32; WIDTH]; M] {
    let mut total = [[0.0; WIDTH]; M];
    for (chunk, start) in panel.chunks(LENGTH).zip((0..).step_by(LENGTH)) {
        let rows = rows.map(|row| &row[start..start + chunk.len()]);
        let mut sum = [[0.0f32; WIDTH]; M];
        for k in 0..chunk.len() {
            let lanes = chunk[k].0;
            for m in 0..M {
                let x = rows[m][k];
                for lane in 0..WIDTH {
                    sum[m][lane] = x.mul_add(lanes[lane], sum[m][lane]);
                }
            }
        }
        for m in 0..M {
            for lane in 0..WIDTH {
                total[m][lane] += sum[m][lane];
            }
        }
    }
    total
}
