//! Equal to the bit, however the positions come in.

mod common;

use std::num::NonZeroUsize;

use common::{Contents, appended, contents, filled};
use llorch_fixtures::{assert_is_on_its_cpu, bits, tiny};
use llorch_kv_cache::KvCache;
use llorch_numerics::Cpu;
use ndarray::{Array4, Axis, concatenate, s};

/// The keys and values of all calls of the case `chunks`, a batch of 2 and 7 + 5 positions.
fn chunks() -> Vec<Contents> {
    let case = tiny().case("chunks");
    appended(&case, case.calls - 1, 2)
}

/// What the calls hold together.
fn whole(calls: &[Contents]) -> Contents {
    let join = |pick: fn(&Contents) -> &Array4<f32>| {
        let views: Vec<_> = calls.iter().map(|call| pick(call).view()).collect();
        concatenate(Axis(1), &views).expect("calls of one case")
    };
    (join(|(k, _)| k), join(|(_, v)| v))
}

#[track_caller]
fn assert_holds(cache: &KvCache, (k, v): &Contents) {
    assert_eq!(cache.keys().shape(), k.shape());
    assert_eq!(bits(&cache.keys()), bits(k));
    assert_eq!(bits(&cache.values()), bits(v));
}

#[test]
fn two_runs_are_equal() {
    let calls = chunks();
    let [first, second] = [(); 2].map(|()| filled(20, &calls));
    assert_holds(&first, &contents(&second));
}

#[test]
fn any_number_of_threads_holds_the_same() {
    let calls = chunks();
    for threads in [1, 2, 3, 8].map(NonZeroUsize::new) {
        let cpu = Cpu::new(threads.expect("some")).expect("so few threads");
        let mut cache = KvCache::new(2, 20, 6, 24).expect("a cache").on(&cpu);
        for (k, v) in &calls {
            cache.append(k.view(), v.view()).expect("room for a call");
        }
        assert_holds(&cache, &whole(&calls));
    }
}

#[test]
fn the_cache_is_on_the_threads_it_is_given() {
    let cache = KvCache::new(2, 20, 6, 24).expect("a cache");
    assert_is_on_its_cpu(|cpu| cache.on(cpu));
}

#[test]
fn chunks_positions_one_by_one_and_the_whole_are_equal() {
    let calls = chunks();
    let all = whole(&calls);
    assert_holds(&filled(12, &calls), &all);
    assert_holds(&filled(12, std::slice::from_ref(&all)), &all);

    let (k, v) = &all;
    let mut cache = KvCache::new(2, 12, 6, 24).expect("a cache");
    for position in 0..12 {
        let one = s![.., position..=position, .., ..];
        let start = cache.append(k.slice(one), v.slice(one)).expect("room");
        assert_eq!(start, position);
    }
    assert_holds(&cache, &all);
}

#[test]
fn each_row_alone_holds_what_it_holds_in_a_batch_of_up_to_four() {
    let (k, v) = whole(&chunks());
    for rows in [vec![0], vec![1, 0], vec![0, 1, 1], vec![1, 1, 0, 1]] {
        let batch = [(k.select(Axis(0), &rows), v.select(Axis(0), &rows))];
        let (keys, values) = contents(&filled(12, &batch));
        for (place, &row) in rows.iter().enumerate() {
            let alone = |all: &Array4<f32>| all.slice(s![row..=row, .., .., ..]).to_owned();
            let of_batch = s![place..=place, .., .., ..];
            let expected = contents(&filled(12, &[(alone(&k), alone(&v))]));
            assert_eq!(bits(keys.slice(of_batch)), bits(&expected.0));
            assert_eq!(bits(values.slice(of_batch)), bits(&expected.1));
        }
    }
}

/// Hugging Face's [B, H, S, D], turned by a view and not by a copy.
#[test]
fn views_in_another_memory_order_are_read_by_their_axes() {
    let (k, v) = whole(&chunks());
    let by_heads = |all: &Array4<f32>| {
        let turned = all.view().permuted_axes([0, 2, 1, 3]);
        turned.as_standard_layout().into_owned()
    };
    let (turned_k, turned_v) = (by_heads(&k), by_heads(&v));
    let mut cache = KvCache::new(2, 12, 6, 24).expect("a cache");
    let back = [0, 2, 1, 3];
    let (view_k, view_v) = (
        turned_k.view().permuted_axes(back),
        turned_v.view().permuted_axes(back),
    );
    assert!(!view_k.is_standard_layout());
    cache.append(view_k, view_v).expect("room");
    assert_holds(&cache, &(k, v));
}

#[test]
fn what_was_truncated_and_appended_again_equals_a_fresh_cache() {
    let calls = chunks();
    let mut cache = filled(20, &[calls[0].clone(), calls[1].clone(), calls[0].clone()]);
    cache.truncate(7);
    assert_holds(&cache, &calls[0]);
    let start = cache.append(calls[1].0.view(), calls[1].1.view());
    assert_eq!(start, Ok(7));
    assert_holds(&cache, &whole(&calls));
}

/// What a rejected guess must not do to the sequence it was made for.
#[test]
fn a_clone_goes_its_own_way() {
    let calls = chunks();
    let original = filled(20, &calls[..1]);
    let mut guess = original.clone();
    guess
        .append(calls[1].0.view(), calls[1].1.view())
        .expect("room");
    assert_holds(&original, &calls[0]);
    assert_holds(&guess, &whole(&calls));
}

#[test]
fn odd_bit_patterns_come_back_as_they_are() {
    let patterns = [
        0x8000_0000,
        0x0000_0001,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_1234,
        0x3f80_0001,
    ];
    let k = Array4::from_shape_fn((1, 6, 1, 1), |(_, t, _, _)| f32::from_bits(patterns[t]));
    let cache = filled(6, &[(k.clone(), k.clone())]);
    assert_eq!(bits(&cache.keys()), patterns);
    assert_eq!(bits(&cache.values()), patterns);
}
