//! The witness's own inputs in, the witness's activations and outputs expected.

mod common;

use common::{Parts, SITES, judge};
use llorch_fixtures::{CASES, assert_pass};

#[test]
fn every_layer_agrees_with_the_witness() {
    assert_pass(&judge(&CASES, &SITES, Parts::forward));
}
