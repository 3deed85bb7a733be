//! The witness's own inputs in, the witness's queries, keys and values expected.

mod common;

use common::{Parts, assert_pass, judge};
use llorch_fixtures::CASES;

#[test]
fn every_layer_agrees_with_the_witness() {
    assert_pass(&judge(&CASES, Parts::forward));
}
