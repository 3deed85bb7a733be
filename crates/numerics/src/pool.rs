//! Threads that wait for work by spinning, then by sleeping.
//!
//! A token's forward pass hands out work a hundred times, each time for some ten microseconds: waking a
//! sleeping thread takes longer than that. So a thread spins for as long as the next piece of the same
//! pass may take to come, and sleeps when there is no pass.
#![allow(unsafe_code)]

use std::hint;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a thread spins before it sleeps.
const SPIN: Duration = Duration::from_micros(100);

/// A fixed number of threads that all run the same closure, together with the thread that asks for it.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

type Job = &'static (dyn Fn() + Sync);
type Panic = Box<dyn std::any::Any + Send>;

#[derive(Default)]
struct Shared {
    /// Held while a job runs: a second caller does its work alone.
    turn: Mutex<()>,
    /// The job that workers may still join.
    job: Mutex<Option<Job>>,
    /// Counts jobs, so that a worker sees a new one without a lock.
    round: AtomicUsize,
    /// Workers inside the job.
    joined: AtomicUsize,
    panic: Mutex<Option<Panic>>,
    /// Workers asleep or about to be.
    sleepers: AtomicUsize,
    bed: Mutex<()>,
    wake: Condvar,
    stop: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// No data is left half changed under these locks, so a panic elsewhere does not matter to them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Starts `workers` threads.
    ///
    /// # Errors
    /// Where the system starts no more threads; those that were started are stopped.
    pub(crate) fn new(workers: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut pool = Pool {
            shared,
            workers: Vec::new(),
        };
        for number in 1..=workers {
            let shared = Arc::clone(&pool.shared);
            let builder = thread::Builder::new().name(format!("llorch-{number}"));
            pool.workers.push(builder.spawn(move || shared.work())?);
        }
        Ok(pool)
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Runs `job` on the caller's thread and on every worker that comes in time, and returns when all
    /// have left it. The job must share out its work by itself, and be done when one thread has run it.
    ///
    /// A panic in any of them is continued in the caller. Inside a job, and while another caller's job
    /// runs, the caller runs its job alone.
    pub(crate) fn run(&self, job: &(dyn Fn() + Sync)) {
        let _turn = match self.shared.turn.try_lock() {
            Ok(turn) => turn,
            // An earlier job panicked; it has been closed since.
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => return job(),
        };
        // One that was left when the caller panicked too. Not dropped: a payload's drop is foreign code.
        mem::forget(lock(&self.shared.panic).take());
        // SAFETY: the reference is copied by workers only while it is in `shared.job`, and they count
        // themselves into `joined` under its lock. `Open`, dropped before this function returns or
        // unwinds, takes it out and waits until none of them is left, so no copy outlives `job`.
        let lasting = unsafe { mem::transmute::<&(dyn Fn() + Sync), Job>(job) };
        let open = Open::new(&self.shared, lasting);
        job();
        drop(open);
        if let Some(panic) = lock(&self.shared.panic).take() {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.shared.announce();
        for worker in self.workers.drain(..) {
            // A worker catches what a job throws; it has nothing to report.
            let _ = worker.join();
        }
    }
}

/// A job that workers may join; closed when dropped, also by a panic.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared, job: Job) -> Self {
        *lock(&shared.job) = Some(job);
        shared.announce();
        Open(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        *lock(&self.0.job) = None;
        let mut spins = 0_u32;
        while self.0.joined.load(SeqCst) > 0 {
            spins += 1;
            // With more threads than cores the one that is waited for may not be running.
            if spins.is_multiple_of(256) {
                thread::yield_now();
            }
            hint::spin_loop();
        }
    }
}

impl Shared {
    fn announce(&self) {
        self.round.fetch_add(1, SeqCst);
        if self.sleepers.load(SeqCst) > 0 {
            // Under the lock, so that it cannot fall between a worker's last look and its sleep.
            let _bed = lock(&self.bed);
            self.wake.notify_all();
        }
    }

    /// A worker's life.
    fn work(&self) {
        let mut seen = 0;
        while !self.stop.load(SeqCst) {
            seen = self.next_round(seen);
            let job = {
                let job = lock(&self.job);
                if job.is_some() {
                    self.joined.fetch_add(1, SeqCst);
                }
                *job
            };
            if let Some(job) = job {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
                    mem::forget(lock(&self.panic).replace(panic));
                }
                self.joined.fetch_sub(1, SeqCst);
            }
        }
    }

    /// Waits until the round is another than `seen`, and returns it.
    fn next_round(&self, seen: usize) -> usize {
        let start = Instant::now();
        loop {
            for _ in 0..64 {
                let round = self.round.load(SeqCst);
                if round != seen {
                    return round;
                }
                hint::spin_loop();
            }
            if start.elapsed() > SPIN {
                break;
            }
        }
        let mut bed = lock(&self.bed);
        self.sleepers.fetch_add(1, SeqCst);
        let round = loop {
            let round = self.round.load(SeqCst);
            if round != seen {
                break round;
            }
            bed = self.wake.wait(bed).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, SeqCst);
        round
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Its drop panics, as a payload's may.
    struct Trap;

    impl Drop for Trap {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn panics_of_several_threads_leave_a_pool_that_works() {
        let pool = Pool::new(3).unwrap();
        let arrived = AtomicUsize::new(0);
        let job = || {
            arrived.fetch_add(1, SeqCst);
            panic_any(Trap);
        };
        for _ in 0..50 {
            let panic = catch_unwind(AssertUnwindSafe(|| pool.run(&job)));
            mem::forget(panic.expect_err("every thread panics"));
        }
        assert!(arrived.load(SeqCst) >= 50);

        let runs = AtomicUsize::new(0);
        pool.run(&|| {
            runs.fetch_add(1, SeqCst);
        });
        assert!(runs.load(SeqCst) >= 1);
        assert_eq!(pool.shared.joined.load(SeqCst), 0);
    }
}
