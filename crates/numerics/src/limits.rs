//! What this machine gives, measured: the limits that a benchmark holds its figures against.
//!
//! Nobody computes with these. They read and multiply as fast as the same threads, instruction set and
//! memory let any program, so a figure that comes close has nothing left to gain.
//!
//! ```
//! use llorch_numerics::{Cpu, limits};
//!
//! let cpu = Cpu::default();
//! let memory = limits::Memory::new(&cpu, 1 << 20).expect("a mebibyte");
//! assert!(memory.read_bandwidth(&cpu).bytes_per_second > 0.0);
//! assert!(limits::multiply_adds(&cpu) > 0.0);
//! ```

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::cpu::Cpu;
use crate::isa::{Kernel, dispatch_on};
use crate::panel::Lanes;
use crate::simd::{LANES, Simd};

/// How long multiply-adds run at a time: longer than a thread takes to wake up, by far.
const MULTIPLYING: Duration = Duration::from_millis(8);

/// Links of a chain between two looks at the clock.
const LINKS: usize = 1 << 12;

/// Float32 operations per second on all the threads of `cpu` at once, a fused multiply-add being two.
pub fn multiply_adds(cpu: &Cpu) -> f64 {
    // Wakes the threads.
    cpu.for_each(&mut vec![(); cpu.threads()], |()| ());
    median([(); 3].map(|()| multiply_adds_once(cpu)))
}

fn multiply_adds_once(cpu: &Cpu) -> f64 {
    let isa = cpu.isa();
    let start = Instant::now();
    // As many as there are threads; one that comes late finds its piece taken and done by another.
    let mut operations = vec![0_u64; cpu.threads()];
    cpu.for_each(&mut operations, |operations| {
        while start.elapsed() < MULTIPLYING {
            *operations += dispatch_on(isa, Chains);
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    operations.iter().sum::<u64>() as f64 / seconds
}

/// Of three measurements one may have been interrupted, and one in a moment when the clock was high.
fn median(mut rates: [f64; 3]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[1]
}

/// Chains of multiply-adds that do not wait for each other; how many operations they were.
struct Chains;

impl Kernel for Chains {
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> u64 {
        // Twice as many as two units of a latency of four need, or as the registers hold.
        if S::VECTORS == 2 {
            chains::<S, 16>(simd)
        } else {
            chains::<S, 6>(simd)
        }
    }
}

#[inline(always)]
fn chains<S: Simd, const N: usize>(simd: S) -> u64 {
    // The compiler must not know them; the sums tend to 2, far from anything denormal.
    let (half, one) = (simd.splat(black_box(0.5)), simd.splat(black_box(1.0)));
    let mut sums = [one; N];
    for _ in 0..LINKS {
        for sum in &mut sums {
            *sum = simd.fma(*sum, half, one);
        }
    }
    for sum in sums {
        let mut out = [0.0; LANES];
        simd.store(sum, &mut out);
        black_box(out);
    }
    (2 * LANES * N * LINKS) as u64
}

/// Seconds that it takes to hand one piece of empty work to each thread and to know that all are done.
pub fn round_trip(cpu: &Cpu) -> f64 {
    const TIMES: u32 = 1000;
    let mut items = vec![(); cpu.threads()];
    // Wakes the threads.
    cpu.for_each(&mut items, |()| ());
    let start = Instant::now();
    for _ in 0..TIMES {
        cpu.for_each(black_box(&mut items), |()| ());
    }
    start.elapsed().as_secs_f64() / f64::from(TIMES)
}

/// Memory to be read; larger than every cache, if what is measured shall be the memory's speed.
#[derive(Debug)]
pub struct Memory(Arena);

/// How fast memory was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// On all threads together.
    pub bytes_per_second: f64,
    /// The way of reading that was the fastest.
    pub way: Way,
}

/// A way of reading memory in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The places at which each thread reads side by side: 1, 2 or 4.
    pub streams: usize,
    /// How many bytes ahead of a stream it asks for what comes, 0 for not asking.
    pub ahead: usize,
}

impl Way {
    /// Which is the best depends on the processor and on how many threads read.
    const ALL: [Way; 6] = {
        let mut all = [Way {
            streams: 1,
            ahead: 0,
        }; 6];
        let mut i = 0;
        while i < all.len() {
            all[i] = Way {
                streams: 1 << (i / 2),
                ahead: [0, 1024][i % 2],
            };
            i += 1;
        }
        all
    };
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.streams == 1 { "" } else { "s" };
        write!(f, "{} stream{plural}", self.streams)?;
        match self.ahead {
            0 => f.write_str(", no prefetch"),
            ahead => write!(f, ", prefetch {ahead} bytes ahead"),
        }
    }
}

impl Memory {
    /// That many bytes on huge pages where the system has them, rounded up; `None` where they are not to
    /// be had.
    pub fn new(cpu: &Cpu, bytes: usize) -> Option<Self> {
        // Four streams must have something to read.
        let mut arena = Arena::zeroed(bytes.div_ceil(size_of::<Lanes>()).max(4))?;
        // Pages that were never written to are all the same one, which a cache holds.
        let mut pieces: Vec<_> = arena.chunks_mut(PIECE).collect();
        cpu.for_each(&mut pieces, |piece| piece.fill([[1.0; LANES]; 2]));
        Some(Memory(arena))
    }

    /// How fast the threads of `cpu` read all of it: in every [`Way`] the median of three times, and of
    /// these the best.
    pub fn read_bandwidth(&self, cpu: &Cpu) -> Reading {
        let reading = |way| Reading {
            bytes_per_second: median([(); 3].map(|()| self.read(cpu, way))),
            way,
        };
        let [first, others @ ..] = Way::ALL;
        let better = |best: Reading, found: Reading| {
            let is_better = found.bytes_per_second > best.bytes_per_second;
            if is_better { found } else { best }
        };
        others.map(reading).into_iter().fold(reading(first), better)
    }

    /// Bytes a second of reading all of it once.
    fn read(&self, cpu: &Cpu, way: Way) -> f64 {
        let isa = cpu.isa();
        let mut pieces: Vec<&[Lanes]> = self.0.chunks(PIECE).collect();
        let start = Instant::now();
        cpu.for_each(&mut pieces, |lanes| {
            let ahead = way.ahead / size_of::<Lanes>();
            let sum = match way.streams {
                1 => dispatch_on(isa, Sum::<1> { lanes, ahead }),
                2 => dispatch_on(isa, Sum::<2> { lanes, ahead }),
                _ => dispatch_on(isa, Sum::<4> { lanes, ahead }),
            };
            black_box(sum);
        });
        let seconds = start.elapsed().as_secs_f64();
        size_of_val::<[Lanes]>(&self.0) as f64 / seconds
    }
}

/// What a thread takes at a time: so much that the start of a stream costs nothing, so little that a
/// thread which is held up does not hold up the others. 8 MiB.
const PIECE: usize = 1 << 16;

/// Reads lanes at several places side by side.
struct Sum<'a, const STREAMS: usize> {
    lanes: &'a [Lanes],
    ahead: usize,
}

impl<const STREAMS: usize> Kernel for Sum<'_, STREAMS> {
    type Output = [f32; LANES];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [f32; LANES] {
        let length = self.lanes.len() / STREAMS;
        let mut streams = [self.lanes; STREAMS];
        for (s, stream) in streams.iter_mut().enumerate() {
            *stream = &self.lanes[s * length..][..length];
        }
        let mut sums = [[simd.splat(0.0); 2]; STREAMS];
        for k in 0..length {
            for s in 0..STREAMS {
                if self.ahead > 0 {
                    simd.prefetch(&streams[s][(k + self.ahead).min(length - 1)]);
                }
                for v in 0..2 {
                    sums[s][v] = simd.add(sums[s][v], simd.load(&streams[s][k][v]));
                }
            }
        }
        let mut total = simd.splat(0.0);
        for sum in sums {
            total = simd.add(total, simd.add(sum[0], sum[1]));
        }
        let mut out = [0.0; LANES];
        simd.store(total, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    /// What a way of reading leaves out would make it look fast.
    #[test]
    fn every_way_reads_everything() {
        let memory = Memory::new(&Cpu::default(), 1 << 18).unwrap();
        let all = memory.0.len() as f32;
        for isa in Isa::available() {
            for ahead in [0, 4] {
                let lanes = &memory.0;
                let sums = [
                    dispatch_on(isa, Sum::<1> { lanes, ahead }),
                    dispatch_on(isa, Sum::<2> { lanes, ahead }),
                    dispatch_on(isa, Sum::<4> { lanes, ahead }),
                ];
                assert_eq!(sums, [[2.0 * all; LANES]; 3], "{isa}, {ahead} ahead");
            }
        }
    }

    #[test]
    fn limits_are_positive_on_any_number_of_threads() {
        for threads in [1, 2, 3] {
            let cpu = Cpu::new(threads.try_into().unwrap()).unwrap();
            // Smaller than four streams need, too.
            for bytes in [0, 1 << 18] {
                let memory = Memory::new(&cpu, bytes).unwrap();
                let found = memory.read_bandwidth(&cpu).bytes_per_second;
                assert!(found.is_finite() && found > 0.0, "{threads}: {found}");
            }
            for found in [multiply_adds(&cpu), round_trip(&cpu)] {
                assert!(found.is_finite() && found > 0.0, "{threads}: {found}");
            }
        }
    }

    #[test]
    fn a_way_says_what_it_is() {
        let ways = Way::ALL.map(|way| way.to_string());
        assert_eq!(ways[0], "1 stream, no prefetch");
        assert_eq!(ways[5], "4 streams, prefetch 1024 bytes ahead");
    }
}
