//! Threads: every item once, whoever calls, and however an item ends.

mod common;

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;

use common::cpu;
use llorch_numerics::{Cpu, CpuError, Isa};
use ndarray::Array2;

const THREADS: [usize; 4] = [1, 2, 3, 8];

/// How often each of so many items is visited.
fn visits(cpu: &Cpu, items: usize) -> Vec<usize> {
    let mut counts: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
    cpu.for_each(&mut counts, |count| {
        count.fetch_add(1, SeqCst);
    });
    counts.into_iter().map(AtomicUsize::into_inner).collect()
}

#[track_caller]
fn assert_works(cpu: &Cpu) {
    for items in [0, 1, 2, 3, 100] {
        assert_eq!(visits(cpu, items), vec![1; items]);
    }
}

#[test]
fn every_item_is_visited_once() {
    for threads in THREADS {
        let cpu = cpu(threads);
        assert_works(&cpu);
        assert_eq!(visits(&cpu, 10_000), vec![1; 10_000]);
        // As often as a pass hands out work.
        for _ in 0..1000 {
            assert_eq!(visits(&cpu, 5), [1; 5]);
        }
    }
}

/// Counts its items, and tells how many they were when it is dropped.
struct Own<'a>(usize, &'a AtomicUsize);

impl Drop for Own<'_> {
    fn drop(&mut self) {
        self.1.fetch_add(self.0, SeqCst);
    }
}

#[test]
fn each_thread_makes_its_own_value_once_at_most() {
    for threads in THREADS {
        for items in [1, 2, 1000] {
            let [made, visited] = [(); 2].map(|()| AtomicUsize::new(0));
            let make = || {
                made.fetch_add(1, SeqCst);
                Own(0, &visited)
            };
            cpu(threads).for_each_with(&mut vec![(); items], make, |own, ()| own.0 += 1);
            assert_eq!(visited.into_inner(), items);
            let made = made.into_inner();
            assert!((1..=threads.min(items)).contains(&made), "{made}");
        }
    }
}

/// Each of as many items as threads waits for all others, so each thread has one.
#[test]
fn all_threads_take_part() {
    for threads in THREADS {
        let (cpu, all_here) = (cpu(threads), Barrier::new(threads));
        let mut ids = vec![None; threads];
        cpu.for_each(&mut ids, |id| {
            *id = Some(thread::current().id());
            all_here.wait();
        });
        assert!(ids.contains(&Some(thread::current().id())));
        for (i, id) in ids.iter().enumerate() {
            assert!(id.is_some() && !ids[..i].contains(id));
        }
    }
}

#[test]
fn an_item_may_hand_out_items_itself() {
    for threads in THREADS {
        let cpu = cpu(threads);
        let mut outer: Vec<Vec<usize>> = (0..20).map(|i| vec![i; i]).collect();
        cpu.for_each(&mut outer, |inner| cpu.for_each(inner, |item| *item += 1));
        let expected: Vec<Vec<usize>> = (0..20).map(|i| vec![i + 1; i]).collect();
        assert_eq!(outer, expected);
        assert_works(&cpu);
    }
}

/// The first caller's item does not end before the second caller is through.
#[test]
fn a_second_caller_does_its_work_alone() {
    for threads in [2, 3, 8] {
        let cpu = cpu(threads);
        let [busy, through] = [(); 2].map(|()| Barrier::new(2));
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                let mut items = [0, 1, 2];
                cpu.for_each(&mut items, |item| {
                    if *item == 0 {
                        busy.wait();
                        through.wait();
                    }
                    *item += 10;
                });
                items
            });
            busy.wait();
            let mut ids = vec![None; 100];
            cpu.for_each(&mut ids, |id| *id = Some(thread::current().id()));
            through.wait();
            assert_eq!(ids, [Some(thread::current().id()); 100]);
            assert_eq!(first.join().expect("its items"), [10, 11, 12]);
        });
        assert_works(&cpu);
    }
}

#[test]
fn many_callers_at_once_all_have_their_items_visited() {
    let (cpu, start) = (cpu(3), Barrier::new(4));
    thread::scope(|scope| {
        let calls = [(); 4].map(|()| {
            scope.spawn(|| {
                start.wait();
                (0..500).all(|_| visits(&cpu, 7) == [1; 7])
            })
        });
        for call in calls {
            assert!(call.join().expect("a caller"));
        }
    });
}

/// What a run with an item that panics ends with; not by `panic!`, which would print.
fn caught(cpu: &Cpu, panics: impl Fn(usize) -> bool + Sync, items: usize) -> Option<&'static str> {
    let mut items: Vec<usize> = (0..items).collect();
    let run = || {
        cpu.for_each(&mut items, |item| {
            if panics(*item) {
                resume_unwind(Box::new("an item's own words"));
            }
        });
    };
    let payload = catch_unwind(AssertUnwindSafe(run)).err()?;
    payload.downcast_ref().copied()
}

#[test]
fn a_panic_reaches_the_caller_and_the_threads_go_on() {
    for threads in THREADS {
        let cpu = cpu(threads);
        for items in [1, 2, 50] {
            let last = caught(&cpu, |item| item + 1 == items, items);
            assert_eq!(last, Some("an item's own words"));
            assert_eq!(caught(&cpu, |_| true, items), Some("an item's own words"));
            assert_eq!(
                caught(&cpu, |_| false, items),
                None,
                "an old panic came back"
            );
            assert_works(&cpu);
        }
    }
}

#[test]
fn a_panic_on_any_one_thread_or_on_all_of_them_reaches_the_caller() {
    let caller = thread::current().id();
    for threads in [2, 3, 8] {
        let (cpu, all_here) = (cpu(threads), Barrier::new(threads));
        for (on_caller, on_others) in [(false, true), (true, false), (true, true)] {
            let panics = |_| {
                all_here.wait();
                let here = thread::current().id() == caller;
                if here { on_caller } else { on_others }
            };
            assert_eq!(caught(&cpu, panics, threads), Some("an item's own words"));
            assert_works(&cpu);
        }
    }
}

/// A thread's own values are dropped when it ends, and dropping a [`Cpu`] waits for that.
#[test]
fn threads_end_with_the_last_clone() {
    struct Ends(Arc<AtomicUsize>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    thread_local!(static ENDS: std::cell::OnceCell<Ends> = const { std::cell::OnceCell::new() });

    let (cpu, all_here) = (cpu(3), Barrier::new(3));
    let (ended, caller) = (Arc::new(AtomicUsize::new(0)), thread::current().id());
    cpu.for_each(&mut [(); 3], |()| {
        all_here.wait();
        if thread::current().id() != caller {
            ENDS.with(|ends| ends.get_or_init(|| Ends(Arc::clone(&ended))).0.load(SeqCst));
        }
    });
    let clone = cpu.clone();
    drop(cpu);
    assert_works(&clone);
    assert_eq!(ended.load(SeqCst), 0);
    drop(clone);
    assert_eq!(ended.load(SeqCst), 2);
}

#[test]
fn it_says_what_it_is() {
    assert_eq!(
        (Cpu::default().threads(), Cpu::default().isa()),
        (1, Isa::best())
    );
    for threads in THREADS {
        for isa in Isa::available() {
            let cpu = cpu(threads).with_isa(isa).expect("an instruction set");
            assert_eq!((cpu.threads(), cpu.isa()), (threads, isa));
            assert_eq!((cpu.clone().threads(), cpu.clone().isa()), (threads, isa));
        }
    }
}

#[test]
fn an_instruction_set_that_is_not_there_is_refused() {
    for isa in [Isa::Avx512, Isa::Avx2, Isa::Portable] {
        match Cpu::default().with_isa(isa) {
            Ok(cpu) => assert!(isa.is_available() && cpu.isa() == isa),
            Err(error) => {
                assert!(!isa.is_available());
                assert!(matches!(error, CpuError::Isa { found } if found == isa));
            }
        }
    }
}

#[test]
fn errors_say_what_was_expected_and_what_was_found() {
    let names: Vec<&str> = Isa::available().map(Isa::name).collect();
    let isa = CpuError::Isa { found: Isa::Avx2 };
    let expected = format!(
        "expected an instruction set of this processor ({}), found avx2",
        names.join(", ")
    );
    assert_eq!(isa.to_string(), expected);
    let threads = CpuError::Threads {
        threads: NonZeroUsize::MIN.saturating_add(6),
        source: std::io::Error::other("no more"),
    };
    assert_eq!(threads.to_string(), "expected to start 7 threads");
    let source = std::error::Error::source(&threads).expect("the system's own words");
    assert_eq!(source.to_string(), "no more");
}

/// Pieces are handed out often enough for every thread, and none is left over.
#[test]
fn a_share_is_some_of_the_pieces() {
    for threads in THREADS {
        let cpu = cpu(threads);
        for pieces in [1, 2, 31, 32, 33, 1571] {
            let share = cpu.share(pieces);
            assert!((1..=pieces).contains(&share));
            assert!(threads == 1 || share * threads <= pieces.max(threads));
        }
        assert_eq!(cpu.share(1571) == 1571, threads == 1);
    }
}

/// What is left in it tells whose memory it is: fresh memory is zero.
#[test]
fn memory_that_was_handed_back_is_used_again() {
    let (cpu, other) = (cpu(2), cpu(2));
    let mut array: Array2<f32> = cpu.array((20, 50));
    assert!(array.is_standard_layout() && array.dim() == (20, 50));
    array.fill(7.0);
    cpu.clone().recycle(array);
    assert_eq!(other.array(1000).sum(), 0.0, "another's memory");
    assert_eq!(cpu.array(1001).sum(), 0.0, "too small for it");

    let smaller: Array2<f32> = cpu.array((18, 40));
    assert!(smaller.is_standard_layout() && smaller.dim() == (18, 40));
    assert!(smaller.iter().all(|&x| x == 7.0));
    assert!(smaller.into_raw_vec_and_offset().0.capacity() >= 1000);
    assert_eq!(cpu.array(720).sum(), 0.0, "it was there once");
    assert_eq!(cpu.array((0, 3)).len(), 0);
}

#[test]
fn more_threads_than_any_machine_has_are_refused() {
    let most = NonZeroUsize::new(Cpu::MOST_THREADS + 1).expect("not zero");
    let error = Cpu::new(most).expect_err("too many");
    assert_eq!(
        error.to_string(),
        "expected at most 1024 threads, found 1025"
    );
}
