//! The embedded model.
#![allow(dead_code)] // Each test program uses some of it.

use llorch_model::{Cpu, Gpt2};

pub fn tiny() -> Gpt2 {
    tiny_on(&Cpu::default())
}

pub fn tiny_on(cpu: &Cpu) -> Gpt2 {
    Gpt2::open_on(llorch_fixtures::tiny_path(), cpu).expect("the embedded model")
}
