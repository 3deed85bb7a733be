//! Numbers for the tests.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use std::num::NonZeroUsize;

use llorch_numerics::{Cpu, KvPanels};
use ndarray::{Array2, Array4};

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

pub fn cpu(threads: usize) -> Cpu {
    let threads = NonZeroUsize::new(threads).expect("some");
    Cpu::new(threads).expect("so few threads")
}

pub fn array(seed: u64, shape: [usize; 4]) -> Array4<f32> {
    let values = values(seed, shape.iter().product());
    Array4::from_shape_vec(shape, values).expect("as many values")
}

/// A store of 2 rows, 3 heads and 5 channels with room for 8 positions, 6 of them taken.
pub fn store() -> KvPanels {
    let mut panels = KvPanels::new(2, 8, 3, 5).expect("a store");
    let shape = [2, 6, 3, 5];
    let appended = panels.append(
        &Cpu::default(),
        array(1, shape).view(),
        array(2, shape).view(),
    );
    appended.expect("room");
    panels
}
