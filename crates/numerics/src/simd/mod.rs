//! Sixteen lanes of floats, however many the processor holds in one register.
//!
//! A kernel is written once over [`Simd`] and compiled for each implementation. Every operation is exact
//! or rounds once per lane, as IEEE 754 defines it, so all implementations give the same bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

use crate::isa::Kernel;

/// The lanes of a vector, and the virtual lanes of a sum.
pub(crate) const LANES: usize = 16;

/// Adding it rounds to an integer and leaves that integer, plus the exponent's bias, in the low bits.
pub(crate) const ROUND: f32 = (3 << 22) as f32 + 127.0;

/// Operations on sixteen lanes. A value of the type is proof that the processor has the instructions.
pub(crate) trait Simd: Copy {
    /// Sixteen float32.
    type F32: Copy;
    /// Sixteen float64.
    type F64: Copy;
    /// How many vectors of sixteen a product holds sums for beside each other, 1 or 2: as many as leave
    /// the registers room for the sums of [`crate::panel::ROWS`] rows.
    const VECTORS: usize;

    /// Runs a kernel in a function of its own, compiled for these instructions: the compiler then shares out
    /// the registers for that kernel alone.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;
    /// Asks for 128 bytes that are wanted soon, where the processor can be asked.
    fn prefetch(self, lanes: &[[f32; LANES]; 2]);
    fn splat(self, x: f32) -> Self::F32;
    fn load(self, x: &[f32; LANES]) -> Self::F32;
    fn store(self, x: Self::F32, to: &mut [f32; LANES]);
    /// Fewer than sixteen values, zeros after them.
    #[inline(always)]
    fn load_part(self, values: &[f32]) -> Self::F32 {
        let mut padded = [0.0; LANES];
        padded[..values.len()].copy_from_slice(values);
        self.load(&padded)
    }
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The greater; `b` where either is NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The lesser; `b` where either is NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The float whose bits are those of `a`, as an integer, shifted left into the exponent: 2^n for the
    /// float 2^23 + 2^22 + 127 + n, if -127 < n < 128.
    fn exponent(self, a: Self::F32) -> Self::F32;
    /// `a * 2^n`, rounded once, for integers n from -150 to 128 and an `a` near 1.
    #[inline(always)]
    fn scale(self, a: Self::F32, n: Self::F32) -> Self::F32 {
        // In two factors: 2^-150 and 2^128 are no float32. The first product is exact.
        let round = self.splat(ROUND);
        let half = self.sub(self.fma(n, self.splat(0.5), round), round);
        let rest = self.sub(n, half);
        let (half, rest) = (self.add(half, round), self.add(rest, round));
        self.mul(self.mul(a, self.exponent(half)), self.exponent(rest))
    }

    fn splat_f64(self, x: f64) -> Self::F64;
    fn load_f64(self, x: &[f64; LANES]) -> Self::F64;
    fn store_f64(self, x: Self::F64, to: &mut [f64; LANES]);
    /// Exact.
    fn widen(self, x: Self::F32) -> Self::F64;
    /// Rounds to nearest, ties to even.
    fn narrow(self, x: Self::F64) -> Self::F32;
    fn add_f64(self, a: Self::F64, b: Self::F64) -> Self::F64;
    fn sub_f64(self, a: Self::F64, b: Self::F64) -> Self::F64;
    fn mul_f64(self, a: Self::F64, b: Self::F64) -> Self::F64;
    /// `a * b + c`, rounded once.
    fn fma_f64(self, a: Self::F64, b: Self::F64, c: Self::F64) -> Self::F64;
}

/// The first sixteen values, zeros where there are fewer.
#[inline(always)]
pub(crate) fn load<S: Simd>(simd: S, values: &[f32]) -> S::F32 {
    match values.first_chunk() {
        Some(values) => simd.load(values),
        None => simd.load_part(values),
    }
}

/// Writes sixteen values, or as many as there is room for.
#[inline(always)]
pub(crate) fn store<S: Simd>(simd: S, values: S::F32, to: &mut [f32]) {
    if let Some(to) = to.first_chunk_mut() {
        simd.store(values, to);
    } else {
        let mut lanes = [0.0; LANES];
        simd.store(values, &mut lanes);
        to.copy_from_slice(&lanes[..to.len()]);
    }
}
