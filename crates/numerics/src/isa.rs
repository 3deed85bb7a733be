//! One source, several instruction sets: which compiled copy of a kernel runs.

use std::fmt;
use std::str::FromStr;

#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Portable, Simd};

/// An instruction set that the kernels are compiled for.
///
/// All of them give the same bits; they differ in speed only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// x86-64 with AVX-512F, AVX2 and FMA.
    Avx512,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// What the compiler's target guarantees. On x86-64 fused multiply-add is then a call of the C
    /// library: slow, and right to the bit where that library rounds once, as IEEE 754 asks.
    Portable,
}

impl Isa {
    const ALL: [Isa; 3] = [Isa::Avx512, Isa::Avx2, Isa::Portable];

    /// Every instruction set of this processor, the best first; [`Isa::Portable`] is always the last.
    pub fn available() -> impl Iterator<Item = Isa> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The best instruction set of this processor.
    pub fn best() -> Isa {
        Self::available().next().unwrap_or(Isa::Portable)
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Avx512::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512 | Isa::Avx2 => false,
            Isa::Portable => true,
        }
    }

    /// The name it has on a command line: `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Portable => "portable",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No instruction set has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected avx512, avx2 or portable, found {found:?}")]
pub struct IsaNameError {
    /// The name given.
    pub found: String,
}

impl FromStr for Isa {
    type Err = IsaNameError;

    fn from_str(name: &str) -> Result<Self, IsaNameError> {
        let found = || name.to_owned();
        let isa = Self::ALL.into_iter().find(|isa| isa.name() == name);
        isa.ok_or_else(|| IsaNameError { found: found() })
    }
}

/// A piece of arithmetic that can be compiled for any instruction set.
///
/// `run` must be `#[inline(always)]`, and so must what it calls: only then is it compiled anew inside
/// each [`Simd::call`].
pub(crate) trait Kernel {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs the kernel on a given instruction set, or on [`Isa::Portable`] where this processor lacks it.
#[inline]
pub(crate) fn dispatch_on<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    match isa {
        Isa::Avx512 => {
            if let Some(simd) = Avx512::detect() {
                return simd.call(kernel);
            }
        }
        Isa::Avx2 => {
            if let Some(simd) = Avx2::detect() {
                return simd.call(kernel);
            }
        }
        Isa::Portable => {}
    }
    let _ = isa;
    Portable.call(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_comes_first_and_the_portable_last() {
        let all: Vec<Isa> = Isa::available().collect();
        assert_eq!(all.first(), Some(&Isa::best()));
        assert_eq!(all.last(), Some(&Isa::Portable));
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        let error = "AVX512".parse::<Isa>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected avx512, avx2 or portable, found \"AVX512\""
        );
    }
}
