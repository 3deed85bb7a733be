//! What the unit tests of the kernels share.

use std::fmt::Debug;

use crate::isa::Isa;

/// Values between -1 and 1, the same in every run: the upper bits of Knuth's MMIX generator.
pub(crate) fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Runs on every instruction set of this processor; all must give what [`Isa::Portable`] gives.
#[track_caller]
pub(crate) fn assert_equal_on_every_isa<T: PartialEq + Debug>(run: impl Fn(Isa) -> T) {
    let portable = run(Isa::Portable);
    for isa in Isa::available() {
        assert_eq!(run(isa), portable, "{isa:?}");
    }
}
