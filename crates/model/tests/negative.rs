//! The plain model with one thing wrong at a time: the judge must say so, and name the first site that is
//! wrong.

mod common {
    pub mod plain;
    pub mod references;
}

use common::plain::{Plain, plain};
use common::references::{CASES, judge};
use llorch_fixtures::{assert_pass, assert_values_fail_at};

/// Two rows, seven tokens and then five more: every mistake below shows in it.
const CHUNKS: [&str; 1] = ["chunks"];

#[track_caller]
fn assert_first_wrong(plain: &Plain, cases: &[&str], site: &str) {
    let judgement = judge(cases, |case| plain.run(case));
    assert_values_fail_at(&judgement, site);
}

#[test]
fn without_a_mistake_the_composition_passes() {
    let plain = plain();
    assert_pass(&judge(&CASES, |case| plain.run(case)));
    assert_pass(&judge(&["greedy", "sampling"], |case| plain.run(case)));
}

#[test]
fn normalising_after_the_rooms_fails_at_the_first_normalisation() {
    let wrong = Plain {
        norm_first: false,
        ..plain()
    };
    assert_first_wrong(&wrong, &CHUNKS, "0/h.0.ln_1");
}

#[test]
fn without_the_first_residual_the_second_normalisation_fails() {
    let wrong = Plain {
        after_attention: |_, _, out| out.clone(),
        ..plain()
    };
    assert_first_wrong(&wrong, &CHUNKS, "0/h.0.ln_2");
}

#[test]
fn without_the_second_residual_the_block_fails() {
    let wrong = Plain {
        after_mlp: |_, _, out| out.clone(),
        ..plain()
    };
    assert_first_wrong(&wrong, &CHUNKS, "0/h.0");
}

#[test]
fn a_first_residual_taken_after_the_normalisation_fails() {
    let wrong = Plain {
        after_attention: |_, normal, out| normal + out,
        ..plain()
    };
    assert_first_wrong(&wrong, &CHUNKS, "0/h.0.ln_2");
}

#[test]
fn a_second_residual_taken_after_the_normalisation_fails() {
    let wrong = Plain {
        after_mlp: |_, normal, out| normal + out,
        ..plain()
    };
    assert_first_wrong(&wrong, &CHUNKS, "0/h.0");
}

#[test]
fn the_first_token_s_logits_for_the_last_s_fail() {
    let wrong = Plain {
        last: |_| 0,
        ..plain()
    };
    assert_first_wrong(&wrong, &["sampling"], "0/logits_last");
}

#[test]
fn positions_off_by_one_fail_at_the_embedding() {
    let wrong = Plain {
        position: |past, place| past + place + 1,
        ..plain()
    };
    assert_first_wrong(&wrong, &CHUNKS, "0/embed");
}

#[test]
fn positions_that_restart_at_a_chunk_fail_at_that_chunk() {
    let wrong = Plain {
        position: |_, place| place,
        ..plain()
    };
    assert_first_wrong(&wrong, &CHUNKS, "1/embed");
    assert_first_wrong(&wrong, &["steps"], "1/embed");
}

#[test]
fn a_skipped_layer_fails_where_it_should_have_been() {
    let mut wrong = plain();
    wrong.layers.remove(1);
    assert_first_wrong(&wrong, &CHUNKS, "0/h.1.ln_1");
}

#[test]
fn layers_in_reverse_fail_at_the_first() {
    let mut wrong = plain();
    wrong.layers.reverse();
    assert_first_wrong(&wrong, &CHUNKS, "0/h.0.ln_1");
}

#[test]
fn without_ln_f_its_site_fails() {
    let wrong = Plain {
        ln_f: None,
        ..plain()
    };
    assert_first_wrong(&wrong, &CHUNKS, "0/ln_f");
}

#[test]
fn ln_1_for_ln_2_fails_at_ln_2() {
    let mut wrong = plain();
    for layer in &mut wrong.layers {
        layer.ln_2 = layer.ln_1.clone();
    }
    assert_first_wrong(&wrong, &CHUNKS, "0/h.0.ln_2");
}
