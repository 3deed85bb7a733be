//! Caches that are wrong in one thing each, and how the judgement says so.

mod common;

use common::{Contents, contents, filled, judge};
use llorch_fixtures::{assert_pass, first_mismatch, tiny};
use llorch_parity::Mismatch;
use ndarray::{Array4, Axis, Slice, concatenate, s};

const CAPACITY: usize = 20;
/// The cases of more than one call: a batch of 1 and a batch of 2.
const CALLS: [&str; 2] = ["steps", "chunks"];

#[track_caller]
fn assert_values(cases: &[&str], place: &str, cached: impl FnMut(&[Contents]) -> Contents) {
    let judgement = judge(&tiny(), cases, cached);
    let (key, mismatch) = first_mismatch(&judgement);
    assert_eq!(key.to_string(), place);
    assert!(matches!(mismatch, Mismatch::Values(_)), "{mismatch}");
}

#[track_caller]
fn assert_shape(
    place: &str,
    expected: [usize; 4],
    found: [usize; 4],
    cached: impl FnMut(&[Contents]) -> Contents,
) {
    let judgement = judge(&tiny(), &["chunks"], cached);
    let (key, mismatch) = first_mismatch(&judgement);
    assert_eq!(key.to_string(), place);
    let [expected, found] = [expected, found].map(Vec::from);
    assert_eq!(*mismatch, Mismatch::Shape { expected, found });
}

/// The right contents, keys and values changed alike.
fn changed(calls: &[Contents], change: impl Fn(Array4<f32>) -> Array4<f32>) -> Contents {
    let (k, v) = contents(&filled(CAPACITY, calls));
    (change(k), change(v))
}

/// The calls, keys and values of the last changed alike.
fn last_changed(calls: &[Contents], change: impl Fn(&Array4<f32>) -> Array4<f32>) -> Vec<Contents> {
    let mut calls = calls.to_vec();
    if let Some((k, v)) = calls.last_mut() {
        (*k, *v) = (change(k), change(v));
    }
    calls
}

/// A plain buffer in which every call is written `offset` beside its start, read up to the right length.
fn misplaced(calls: &[Contents], offset: isize) -> Contents {
    let write = |pick: fn(&Contents) -> &Array4<f32>| {
        let (batch, _, heads, dim) = pick(&calls[0]).dim();
        let mut buffer = Array4::zeros((batch, CAPACITY, heads, dim));
        let mut start = 0_usize;
        for new in calls.iter().map(pick) {
            let (at, tokens) = (start.saturating_add_signed(offset), new.dim().1);
            let mut place = buffer.slice_mut(s![.., at..at + tokens, .., ..]);
            place.assign(new);
            start += tokens;
        }
        buffer.slice_move(s![.., ..start, .., ..])
    };
    (write(|(k, _)| k), write(|(_, v)| v))
}

#[test]
fn the_buffer_that_is_misplaced_below_is_right_in_its_place() {
    let judgement = judge(&tiny(), &CALLS, |calls| misplaced(calls, 0));
    assert_pass(&judgement);
}

#[test]
fn a_start_one_position_late_fails() {
    assert_values(&CALLS, "steps 0/h.0.attn.cache.k", |calls| {
        misplaced(calls, 1)
    });
}

/// The first call starts at 0 and cannot be early.
#[test]
fn a_start_one_position_early_fails_from_the_second_call_on() {
    assert_values(&CALLS, "steps 1/h.0.attn.cache.k", |calls| {
        misplaced(calls, -1)
    });
}

#[test]
fn a_call_over_the_last_position_of_the_one_before_fails() {
    assert_shape(
        "chunks 1/h.0.attn.cache.k",
        [2, 12, 6, 24],
        [2, 11, 6, 24],
        |calls| {
            let (last, before) = calls.split_last().expect("a call");
            let mut cache = filled(CAPACITY, &calls[..1]);
            if !before.is_empty() {
                cache.truncate(cache.len() - 1);
                cache.append(last.0.view(), last.1.view()).expect("room");
            }
            contents(&cache)
        },
    );
}

#[test]
fn keys_and_values_swapped_fail() {
    assert_values(&CALLS, "steps 0/h.0.attn.cache.k", |calls| {
        let (k, v) = contents(&filled(CAPACITY, calls));
        (v, k)
    });
}

#[test]
fn values_that_are_the_keys_fail() {
    assert_values(&CALLS, "steps 0/h.0.attn.cache.v", |calls| {
        let (k, _) = contents(&filled(CAPACITY, calls));
        (k.clone(), k)
    });
}

/// Positions of an earlier sequence that were given up are read again, the count being right.
#[test]
fn a_stale_tail_in_place_of_the_last_call_fails() {
    assert_values(&CALLS, "steps 1/h.0.attn.cache.k", |calls| {
        let stale = last_changed(calls, |new| new + 1.0);
        let given_up = if calls.len() > 1 { &stale } else { calls };
        contents(&filled(CAPACITY, given_up))
    });
}

/// The cache is longer than what is stored, and all of it is read.
#[test]
fn a_stale_tail_behind_what_is_stored_fails() {
    assert_shape(
        "chunks 0/h.0.attn.cache.k",
        [2, 7, 6, 24],
        [2, 14, 6, 24],
        |calls| {
            let twice: Vec<Contents> = calls.iter().chain(calls).cloned().collect();
            contents(&filled(2 * CAPACITY, &twice))
        },
    );
}

#[test]
fn a_position_dropped_between_two_calls_fails() {
    assert_shape(
        "chunks 1/h.0.attn.cache.k",
        [2, 12, 6, 24],
        [2, 11, 6, 24],
        |calls| {
            if calls.len() == 1 {
                return contents(&filled(CAPACITY, calls));
            }
            let dropped = last_changed(calls, |new| new.slice(s![.., 1.., .., ..]).to_owned());
            contents(&filled(CAPACITY, &dropped))
        },
    );
}

/// The same with the right number of positions: the last one is there twice.
#[test]
fn a_position_dropped_and_another_repeated_fails() {
    assert_values(&["chunks"], "chunks 1/h.0.attn.cache.k", |calls| {
        if calls.len() == 1 {
            return contents(&filled(CAPACITY, calls));
        }
        let shifted = last_changed(calls, |new| {
            let [kept, last] = [Slice::from(1..), Slice::from(-1..)];
            let parts = [kept, last].map(|part| new.slice_axis(Axis(1), part));
            concatenate(Axis(1), &parts).expect("parts of one array")
        });
        contents(&filled(CAPACITY, &shifted))
    });
}

#[test]
fn batch_rows_exchanged_fail() {
    assert_values(&["chunks"], "chunks 0/h.0.attn.cache.k", |calls| {
        changed(calls, |held| held.slice_move(s![..;-1, .., .., ..]))
    });
}

#[test]
fn heads_before_positions_fail_by_their_shape() {
    assert_shape(
        "chunks 0/h.0.attn.cache.k",
        [2, 7, 6, 24],
        [2, 6, 7, 24],
        |calls| changed(calls, |held| held.permuted_axes([0, 2, 1, 3])),
    );
}

/// Memory in the order [B, H, S, D] under the right shape.
#[test]
fn heads_before_positions_fail_where_the_shape_is_made_right() {
    assert_values(&["chunks"], "chunks 0/h.0.attn.cache.k", |calls| {
        changed(calls, |held| {
            let shape = held.raw_dim();
            let by_heads = held.permuted_axes([0, 2, 1, 3]);
            let by_heads = by_heads.as_standard_layout().into_owned();
            by_heads
                .into_shape_with_order(shape)
                .expect("as many elements")
        })
    });
}

/// An audit found [12, 12, 64] under a PASS where [2, 12, 64] was right: every value the two share is equal.
#[test]
fn more_rows_than_the_batch_has_fail_though_the_shared_ones_are_equal() {
    assert_shape(
        "chunks 0/h.0.attn.cache.k",
        [2, 7, 6, 24],
        [12, 7, 6, 24],
        |calls| {
            changed(calls, |held| {
                concatenate(Axis(0), &[held.view(); 6]).expect("equal shapes")
            })
        },
    );
}

#[test]
fn the_whole_capacity_in_place_of_what_is_stored_fails() {
    assert_shape(
        "chunks 0/h.0.attn.cache.k",
        [2, 7, 6, 24],
        [2, CAPACITY, 6, 24],
        |calls| {
            changed(calls, |held| {
                let (batch, stored, heads, dim) = held.dim();
                let mut all = Array4::zeros((batch, CAPACITY, heads, dim));
                all.slice_mut(s![.., ..stored, .., ..]).assign(&held);
                all
            })
        },
    );
}
