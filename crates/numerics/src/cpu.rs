//! What a computation runs on: an instruction set and a number of threads.

use std::env::{self, VarError};
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ndarray::{Array, Dimension, IntoDimension};

use crate::isa::Isa;
use crate::pool::Pool;
use crate::recycle::Spare;

/// Why there is no such [`Cpu`].
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// This processor lacks the instruction set.
    #[error(
        "expected an instruction set of this processor ({}), found {found}",
        available()
    )]
    Isa {
        /// The one asked for.
        found: Isa,
    },
    /// More threads than any machine has use for.
    #[error("expected at most {} threads, found {found}", Cpu::MOST_THREADS)]
    TooMany {
        /// How many were asked for.
        found: NonZeroUsize,
    },
    /// The system does not start as many threads.
    #[error("expected to start {threads} threads")]
    Threads {
        /// How many were asked for.
        threads: NonZeroUsize,
        /// What the system said.
        source: io::Error,
    },
    /// An environment variable that cannot be understood.
    #[error("{name}: expected {expected}, found {found:?}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

fn available() -> String {
    let names: Vec<&str> = Isa::available().map(Isa::name).collect();
    names.join(", ")
}

/// An instruction set and a number of threads, which a clone shares.
///
/// The bits of a result depend on neither, as long as its numbers are: which NaN a NaN is, is not promised,
/// nor anything where a program has changed how the processor rounds or treats denormal numbers. Nothing is global: two of them in one process have threads of
/// their own, and a server gives all its models the same one, which caps what they use together. While
/// one caller's work runs on the threads, another's runs on its own thread alone.
///
/// The default is the caller's thread and the best instruction set.
#[derive(Clone, Debug)]
pub struct Cpu {
    isa: Isa,
    /// The threads besides the caller's.
    pool: Option<Arc<Pool>>,
    spare: Arc<Spare>,
}

impl Default for Cpu {
    fn default() -> Self {
        Cpu {
            isa: Isa::best(),
            pool: None,
            spare: Arc::default(),
        }
    }
}

impl Cpu {
    /// The most threads that can be asked for.
    pub const MOST_THREADS: usize = 1024;

    /// That many threads, the caller's among them, and the best instruction set.
    ///
    /// # Errors
    /// [`CpuError::TooMany`], [`CpuError::Threads`].
    pub fn new(threads: NonZeroUsize) -> Result<Self, CpuError> {
        if threads.get() > Self::MOST_THREADS {
            return Err(CpuError::TooMany { found: threads });
        }
        let pool = match threads.get() - 1 {
            0 => None,
            workers => {
                let pool = Pool::new(workers);
                let pool = pool.map_err(|source| CpuError::Threads { threads, source })?;
                Some(Arc::new(pool))
            }
        };
        Ok(Cpu {
            pool,
            ..Cpu::default()
        })
    }

    /// What the environment asks for: `LLORCH_THREADS` (as many as the machine has where it is not set)
    /// and `LLORCH_ISA` (`avx512`, `avx2` or `portable`; the best where it is not set).
    ///
    /// # Errors
    /// [`CpuError`], also where a variable holds something else.
    pub fn from_env() -> Result<Self, CpuError> {
        let threads = variable("LLORCH_THREADS", "a number above 0")?
            .or_else(|| thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN);
        let cpu = Cpu::new(threads)?;
        match variable("LLORCH_ISA", "avx512, avx2 or portable")? {
            Some(isa) => cpu.with_isa(isa),
            None => Ok(cpu),
        }
    }

    /// The same threads with another instruction set.
    ///
    /// # Errors
    /// [`CpuError::Isa`] where this processor lacks it.
    pub fn with_isa(self, isa: Isa) -> Result<Self, CpuError> {
        if !isa.is_available() {
            return Err(CpuError::Isa { found: isa });
        }
        Ok(Cpu { isa, ..self })
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The number of threads, the caller's among them.
    pub fn threads(&self) -> usize {
        1 + self.pool.as_ref().map_or(0, |pool| pool.workers())
    }

    /// Runs `run` on every item, on all threads; which thread has which item is left to chance.
    pub fn for_each<T: Send>(&self, items: &mut [T], run: impl Fn(&mut T) + Sync) {
        self.for_each_with(items, || (), |(), item| run(item));
    }

    /// Like [`Cpu::for_each`], with a value that each thread makes once and hands to all its items.
    #[allow(unsafe_code)]
    pub fn for_each_with<S, T: Send>(
        &self,
        items: &mut [T],
        make: impl Fn() -> S + Sync,
        run: impl Fn(&mut S, &mut T) + Sync,
    ) {
        let pool = match &self.pool {
            Some(pool) if items.len() > 1 => pool,
            _ => {
                let mut own = make();
                return items.iter_mut().for_each(|item| run(&mut own, item));
            }
        };
        let items = Items(items.as_mut_ptr(), items.len());
        let next = AtomicUsize::new(0);
        pool.run(&|| {
            let mut own = None;
            while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                // SAFETY: every index is handed out once, so no other thread has this item, and the
                // items are borrowed until `run` returns, when every thread has left this closure.
                let item = unsafe { &mut *item };
                run(own.get_or_insert_with(&make), item);
            }
        });
    }

    /// An array for intermediate values, in standard layout. It holds anything: the memory is that of an
    /// array of about this size that was handed back with [`Cpu::recycle`], where there is one.
    pub fn array<S: IntoDimension>(&self, shape: S) -> Array<f32, S::Dim> {
        let shape = shape.into_dimension();
        let values = self.spare.take(shape.size());
        // As many values as the shape has.
        Array::from_shape_vec(shape.clone(), values).unwrap_or_else(|_| Array::zeros(shape))
    }

    /// Takes the memory of an array that is not needed any more, for [`Cpu::array`].
    pub fn recycle<D: Dimension>(&self, array: Array<f32, D>) {
        self.spare.give(array.into_raw_vec_and_offset().0);
    }

    /// Of so many pieces of work of one size, how many to give out at a time (at least 1): all of them to
    /// one thread, otherwise so few that a thread which is late or slow is waited for only shortly.
    pub fn share(&self, pieces: usize) -> usize {
        match self.threads() {
            1 => pieces.max(1),
            threads => pieces.div_ceil(16 * threads).max(1),
        }
    }
}

/// A slice whose elements are given to different threads.
struct Items<T>(*mut T, usize);

impl<T> Items<T> {
    fn get(&self, index: usize) -> Option<*mut T> {
        // Within the slice, so it cannot wrap.
        (index < self.1).then(|| self.0.wrapping_add(index))
    }
}

#[allow(unsafe_code)]
// SAFETY: it only gives out addresses, and `T: Send` lets an element be used by another thread.
unsafe impl<T: Send> Sync for Items<T> {}

/// An environment variable; `None` where it is not set or empty.
fn variable<T: std::str::FromStr>(
    name: &'static str,
    expected: &'static str,
) -> Result<Option<T>, CpuError> {
    let wrong = |found| CpuError::Variable {
        name,
        expected,
        found,
    };
    match env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => value.parse().map(Some).map_err(|_| wrong(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(value)) => Err(wrong(value.to_string_lossy().into_owned())),
    }
}
