//! What a test says of an error.
#![allow(dead_code)] // Each test program uses some of it.

use llorch_model::Error;

#[track_caller]
pub fn assert_says(error: &Error, words: &str) {
    assert!(
        error.to_string().contains(words),
        "expected {words:?} in {error:?}"
    );
}

/// 161 positions, and the embedded model has 160.
pub fn is_one_position_too_many(error: &Error) -> bool {
    matches!(
        error,
        Error::Positions {
            limit: 160,
            found: 161
        }
    )
}
