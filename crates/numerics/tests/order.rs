//! The order of evaluation, written down once more as plain loops: equal to the bit.

mod common;

use common::{bits, matrix, values};
use llorch_numerics::{
    CHUNK, Cpu, Isa, KvPanels, PackedMatrix, SCORE_CHUNK, exp, moments, softmax,
};
use ndarray::{Array1, Array2, Array4, s};

/// Chunks of k, each a chain of fused multiply-adds from 0; their totals added up from 0.
fn in_chunks<'a>(
    length: usize,
    a: impl IntoIterator<Item = &'a f32>,
    b: impl IntoIterator<Item = &'a f32>,
) -> f32 {
    let pairs: Vec<(f32, f32)> = a.into_iter().copied().zip(b.into_iter().copied()).collect();
    let chain = |chunk: &[(f32, f32)]| chunk.iter().fold(0.0_f32, |sum, &(a, b)| a.mul_add(b, sum));
    pairs
        .chunks(length)
        .map(chain)
        .fold(0.0, |total, sum| total + sum)
}

/// Element i to lane i mod 16 in float64; then lanes 8, 4, 2 and 1 apart.
fn in_lanes(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut lanes = [0.0; 16];
    for (i, value) in values.into_iter().enumerate() {
        lanes[i % 16] += value;
    }
    for apart in [8, 4, 2, 1] {
        for lane in 0..apart {
            lanes[lane] += lanes[lane + apart];
        }
    }
    lanes[0]
}

#[test]
fn a_product_is_summed_in_chunks_and_the_bias_comes_last() {
    let cpu = Cpu::default();
    let small = [(5, 1), (1, 31), (6, 32), (7, 33), (13, 144), (5, 577)];
    let small = small.map(|(rows, inputs)| (rows, inputs, 37));
    // So large that panels go in groups and k in strips, with some of either left over.
    let large = [(150, 700, 150), (13, 6200, 40), (1, 3100, 180)];
    for (rows, inputs, outputs) in small.into_iter().chain(large) {
        let (x, weight) = (matrix(1, rows, inputs), matrix(2, inputs, outputs));
        let bias = Array1::from_vec(values(3, outputs));
        let packed = PackedMatrix::from_in_out(&cpu, weight.view()).expect("a matrix");
        let found = packed
            .multiply(&cpu, x.view(), Some(bias.view()), None)
            .expect("[M, K]");
        for ((m, n), found) in found.indexed_iter() {
            let expected = in_chunks(CHUNK, x.row(m), weight.column(n)) + bias[n];
            assert_eq!(
                found.to_bits(),
                expected.to_bits(),
                "{inputs} in, [{m}, {n}]"
            );
        }
    }
}

/// 2 rows of 3 heads, 70 positions of 41 channels: keys, values and their store.
fn store() -> (Array4<f32>, Array4<f32>, KvPanels) {
    let shape = (2, 70, 3, 41);
    let array = |seed| Array4::from_shape_vec(shape, values(seed, 2 * 70 * 3 * 41));
    let (k, v) = (array(1).expect("values"), array(2).expect("values"));
    let mut panels = KvPanels::new(2, 90, 3, 41).expect("a store");
    panels
        .append(&Cpu::default(), k.view(), v.view())
        .expect("room");
    (k, v, panels)
}

/// Whether the scale is a float32 makes no difference to the order, nor to the one rounding.
#[test]
fn scores_are_summed_in_shorter_chunks_and_scaled_in_float64() {
    let (k, _, panels) = store();
    for (b, h, rows, seen) in [(0, 0, 1, 70), (0, 2, 6, 33), (1, 1, 7, 1), (1, 2, 13, 70)] {
        let queries = matrix(3, rows, 41);
        for scale in [1.0 / 41.0_f64.sqrt(), 0.125] {
            let mut found = Array2::zeros((rows, seen));
            panels
                .scores(Isa::best(), (b, h), queries.view(), scale, found.view_mut())
                .expect("stored positions");
            let expected = Array2::from_shape_fn((rows, seen), |(m, s)| {
                let sum = in_chunks(SCORE_CHUNK, queries.row(m), k.slice(s![b, s, h, ..]));
                (f64::from(sum) * scale) as f32
            });
            assert_eq!(bits(&found), bits(&expected), "{rows} rows, {seen} seen");
        }
    }
}

/// Each row over one position more than the row before it, in chunks from the first position on.
#[test]
fn averages_are_summed_over_the_positions_in_chunks() {
    let (_, v, panels) = store();
    let rows = [
        (1, 1),
        (1, 32),
        (1, 33),
        (1, 70),
        (2, 31),
        (6, 27),
        (7, 2),
        (13, 1),
        (13, 58),
        (40, 31),
    ];
    for (i, (rows, seen)) in rows.into_iter().enumerate() {
        let (b, h) = (i % 2, i % 3);
        let probabilities = matrix(3, rows, seen + rows - 1);
        let mut found = Array2::zeros((rows, 41));
        panels
            .average(
                Isa::best(),
                (b, h),
                probabilities.view(),
                seen,
                found.view_mut(),
            )
            .expect("stored positions");
        let expected = Array2::from_shape_fn((rows, 41), |(m, d)| {
            let visible = ..seen + m;
            let row = probabilities.slice(s![m, visible]);
            in_chunks(CHUNK, row.iter(), v.slice(s![b, visible, h, d]))
        });
        assert_eq!(bits(&found), bits(&expected), "{rows} rows, {seen} seen");
    }
}

#[test]
fn moments_are_summed_in_sixteen_lanes() {
    for length in [1, 15, 16, 17, 144, 1001] {
        let row = values(1, length);
        let each = || row.iter().map(|&x| f64::from(x));
        let mean = in_lanes(each()) / length as f64;
        let variance = in_lanes(each().map(|x| (x - mean) * (x - mean))) / length as f64;
        let found = moments(Isa::best(), &row);
        assert_eq!(found.mean.to_bits(), mean.to_bits(), "{length}");
        assert_eq!(found.variance.to_bits(), variance.to_bits(), "{length}");
    }
}

/// Whole numbers, so that x - max is exact in float32 too and the public exponential can be asked.
#[test]
fn softmax_sums_rounded_exponentials_in_sixteen_lanes() {
    for length in [1, 16, 17, 160] {
        let row: Vec<f32> = values(1, length)
            .iter()
            .map(|x| (20.0 * x).round())
            .collect();
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f64> = row.iter().map(|x| f64::from(exp(x - max))).collect();
        let inverse = 1.0 / in_lanes(powers.iter().copied());
        let expected: Vec<f32> = powers
            .iter()
            .map(|power| (power * inverse) as f32)
            .collect();
        let mut found = row.clone();
        softmax(Isa::best(), &mut found);
        assert_eq!(bits(&found), bits(&expected));
    }
}
