//! The embedded model.

use llorch_model::Gpt2;

pub fn tiny() -> Gpt2 {
    Gpt2::open(llorch_fixtures::tiny_path()).expect("the embedded model")
}
