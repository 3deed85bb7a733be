//! A forward pass that fails leaves the cache as it was, and what follows has the same bits as if nothing
//! had happened. (A failure in a later layer cannot be had from outside: `src/cache.rs` has that test.)

mod common {
    pub mod model;
    pub mod references;
    pub mod refusals;
}

use common::model::{contents, tiny};
use common::references::Case;
use common::refusals::is_one_position_too_many;
use llorch_model::Error;
use ndarray::{Array2, ArrayView2, s};

/// Two rows of 80 tokens.
fn rows() -> Array2<u32> {
    let text = Case::open("full-context").calls[0].clone();
    text.into_shape_with_order((2, 80)).expect("160 tokens")
}

/// Runs ten tokens, then what must fail, then ten more.
fn assert_harmless(capacity: usize, bad: ArrayView2<u32>, is_expected: fn(&Error) -> bool) {
    let (model, rows) = (tiny(), rows());
    let mut cache = model.cache(2, capacity).expect("a cache");
    let first = model.forward(rows.slice(s![.., ..10]), &mut cache, &mut ());
    first.expect("logits");
    let mut untouched = cache.clone();

    let error = model
        .forward(bad, &mut cache, &mut ())
        .expect_err("a failure");
    assert!(is_expected(&error), "{error}");
    assert_eq!(contents(&cache), contents(&untouched));
    let error = model
        .forward_last(bad, &mut cache, &mut ())
        .expect_err("a failure");
    assert!(is_expected(&error), "{error}");
    assert_eq!(contents(&cache), contents(&untouched));

    let next = rows.slice(s![.., 10..20]);
    let [after, without] = [&mut cache, &mut untouched].map(|cache| {
        let logits = model.forward(next, cache, &mut ()).expect("logits");
        logits.mapv(f32::to_bits)
    });
    assert_eq!(after, without);
    assert_eq!(contents(&cache), contents(&untouched));
    assert_eq!(cache.len(), 20);
}

#[test]
fn a_token_out_of_range_is_harmless() {
    let mut bad = rows().slice(s![.., 10..15]).to_owned();
    bad[[1, 4]] = 1001;
    assert_harmless(40, bad.view(), |error| matches!(error, Error::Token { .. }));
}

#[test]
fn more_than_the_cache_has_room_for_is_harmless() {
    let bad = rows();
    assert_harmless(20, bad.slice(s![.., 10..21]), |error| {
        matches!(error, Error::Cache(llorch_kv_cache::Error::Full { .. }))
    });
}

#[test]
fn more_than_the_model_has_positions_for_is_harmless() {
    let bad = Array2::zeros((2, 151));
    assert_harmless(160, bad.view(), is_one_position_too_many);
}

#[test]
fn another_batch_is_harmless() {
    let bad = Array2::zeros((3, 2));
    assert_harmless(40, bad.view(), |error| {
        matches!(error, Error::Cache(llorch_kv_cache::Error::Shape(_)))
    });
}

#[test]
fn nothing_at_all_is_harmless() {
    let bad = Array2::zeros((2, 0));
    assert_harmless(40, bad.view(), |error| matches!(error, Error::EmptyPrompt));
}

/// What undoes a guess that was rejected.
#[test]
fn a_truncated_cache_continues_as_if_it_had_never_been_longer() {
    let (model, rows) = (tiny(), rows());
    let [mut guessed, mut plain] = [(); 2].map(|()| {
        let mut cache = model.cache(2, 40).expect("a cache");
        let first = model.forward_last(rows.slice(s![.., ..10]), &mut cache, &mut ());
        first.expect("logits");
        cache
    });
    let guess = model.forward_last(rows.slice(s![.., 50..57]), &mut guessed, &mut ());
    guess.expect("logits");
    guessed.truncate(10);
    assert_eq!(contents(&guessed), contents(&plain));
    let next = rows.slice(s![.., 10..13]);
    let [a, b] = [&mut guessed, &mut plain].map(|cache| {
        let logits = model.forward(next, cache, &mut ()).expect("logits");
        logits.mapv(f32::to_bits)
    });
    assert_eq!(a, b);
}
