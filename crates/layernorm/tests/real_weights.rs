//! The witness's own inputs in, the witness's outputs expected.

mod common;

use common::{Parts, judge, judge_last};
use llorch_fixtures::{CASES, assert_pass};

#[test]
fn every_normalisation_of_every_layer_agrees_with_the_witness() {
    assert_pass(&judge(&CASES, Parts::forward));
}

#[test]
fn the_last_normalisation_agrees_with_the_witness() {
    assert_pass(&judge_last(&CASES, Parts::forward));
}
