//! The machine's limits, measured beside every figure.

use std::cell::RefCell;
use std::num::NonZeroUsize;

use anyhow::{Context, Result};
use llorch_model::Cpu;
use llorch_numerics::limits::{Memory, multiply_adds, round_trip};
use serde::Serialize;

/// Far more than caches hold.
const BYTES: usize = 256 << 20;

/// Under so much per thread, threads share the units of one core.
const SIBLINGS: f64 = 0.65;

/// The limits at one moment, or the better ones of two.
#[derive(Clone, Debug, Serialize)]
pub struct Limits {
    /// Bytes a second that all threads together read.
    pub read: f64,
    /// How they read it.
    pub way: String,
    /// Float32 operations a second of all threads together.
    pub multiply_adds: f64,
    /// Seconds to hand work to every thread and get it back.
    pub round_trip: f64,
    /// Where there are several threads.
    pub placement: Option<Placement>,
}

/// What tells where the system has put the threads.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Placement {
    /// Operations of all threads together over those of one.
    pub multiply_adds_ratio: f64,
    /// Bytes read by all threads together over those of one.
    pub read_ratio: f64,
    /// Whether threads share one core.
    pub siblings: bool,
}

impl Limits {
    /// What the machine gave at least at one of two moments; the placement is the worse one.
    fn better(&self, other: &Limits) -> Limits {
        let reading = if self.read < other.read { other } else { self };
        let placement = self.placement.zip(other.placement);
        Limits {
            read: reading.read,
            way: reading.way.clone(),
            multiply_adds: self.multiply_adds.max(other.multiply_adds),
            round_trip: self.round_trip.min(other.round_trip),
            placement: placement.map(|(a, b)| Placement {
                multiply_adds_ratio: a.multiply_adds_ratio.min(b.multiply_adds_ratio),
                read_ratio: a.read_ratio.min(b.read_ratio),
                siblings: a.siblings || b.siblings,
            }),
        }
    }
}

/// Measures the limits of the threads that a model runs on.
pub struct Prober {
    cpu: Cpu,
    /// One thread, to compare with.
    one: Option<Cpu>,
    memory: Memory,
    found: RefCell<Vec<Limits>>,
}

impl Prober {
    pub fn new(cpu: &Cpu) -> Result<Self> {
        let one = (cpu.threads() > 1)
            .then(|| Cpu::new(NonZeroUsize::MIN)?.with_isa(cpu.isa()))
            .transpose()?;
        let memory = Memory::new(cpu, BYTES);
        Ok(Prober {
            cpu: cpu.clone(),
            one,
            memory: memory.context("no memory to measure its speed with")?,
            found: RefCell::default(),
        })
    }

    /// The limits now.
    pub fn probe(&self) -> Limits {
        let reading = self.memory.read_bandwidth(&self.cpu);
        let operations = multiply_adds(&self.cpu);
        let placement = self.one.as_ref().map(|one| {
            let ratio = operations / multiply_adds(one);
            let alone = self.memory.read_bandwidth(one);
            Placement {
                multiply_adds_ratio: ratio,
                read_ratio: reading.bytes_per_second / alone.bytes_per_second,
                siblings: ratio < SIBLINGS * self.cpu.threads() as f64,
            }
        });
        let limits = Limits {
            read: reading.bytes_per_second,
            way: reading.way.to_string(),
            multiply_adds: operations,
            round_trip: round_trip(&self.cpu),
            placement,
        };
        self.found.borrow_mut().push(limits.clone());
        limits
    }

    /// Writes to half as much memory again as so many bytes and leaves it: a program that starts next finds
    /// memory which the host of a virtual machine has given before, as it finds its files in memory. Having it
    /// given takes up to a second, which says nothing about the program.
    pub fn warm_memory(&self, bytes: f64) -> Result<()> {
        let memory = Memory::new(&self.cpu, (1.5 * bytes) as usize);
        memory.map(drop).context("no memory to start a program in")
    }

    /// Repeats something in alternation with the limits, the first time for nothing; each result comes
    /// with the better limits of those before and after it.
    pub fn alternate<T>(
        &self,
        rounds: usize,
        mut repetition: impl FnMut() -> Result<T>,
    ) -> Result<Vec<(T, Limits)>> {
        repetition()?;
        let mut before = self.probe();
        (0..rounds)
            .map(|_| {
                let result = repetition()?;
                let after = self.probe();
                let limits = before.better(&after);
                before = after;
                Ok((result, limits))
            })
            .collect()
    }

    /// All limits that were measured.
    pub fn found(&self) -> Vec<Limits> {
        self.found.borrow().clone()
    }
}
