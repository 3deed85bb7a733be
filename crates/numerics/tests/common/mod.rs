//! Numbers for the tests.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use ndarray::Array2;

/// Half a unit in the last place of 1: the most that one rounding to float32 is off, relatively.
pub const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;

/// Values between -1 and 1, the same in every run: the upper bits of Knuth's MMIX generator.
pub fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

pub fn matrix(seed: u64, rows: usize, columns: usize) -> Array2<f32> {
    let values = values(seed, rows * columns);
    Array2::from_shape_vec((rows, columns), values).expect("as many values")
}

pub fn bits<'a>(values: impl IntoIterator<Item = &'a f32>) -> Vec<u32> {
    values.into_iter().map(|value| value.to_bits()).collect()
}
