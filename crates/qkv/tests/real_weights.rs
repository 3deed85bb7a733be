//! The witness's own inputs in, the witness's queries, keys and values expected.

mod common;

use common::{Parts, judge};
use llorch_fixtures::{CASES, assert_pass};

#[test]
fn every_layer_agrees_with_the_witness() {
    assert_pass(&judge(&CASES, Parts::forward));
}
