//! The witness's own keys and values, call after call: read back equal to the bit.

mod common;

use common::{contents, filled, judge};
use llorch_fixtures::{CASES, assert_pass, tiny};

#[test]
fn what_the_witness_appended_is_what_the_witness_reads() {
    let fixture = tiny();
    let capacity = fixture.config.n_positions();
    let judgement = judge(&fixture, &CASES, |calls| contents(&filled(capacity, calls)));
    assert_pass(&judgement);
    // 12 calls in the six cases, keys and values in every layer.
    assert_eq!(judgement.sites(), 12 * 2 * fixture.config.n_layer());
    assert!(judgement.pools().iter().all(|pool| pool.ratio == 0.0));
}

#[test]
fn a_cache_without_a_position_to_spare_is_enough() {
    let judgement = judge(&tiny(), &["steps", "chunks"], |calls| {
        let needed = calls.iter().map(|(k, _)| k.dim().1).sum();
        contents(&filled(needed, calls))
    });
    assert_pass(&judgement);
}
