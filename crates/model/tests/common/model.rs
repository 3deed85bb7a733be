//! The embedded model, and what its cache holds.
#![allow(dead_code)] // Each test program uses some of it.

use llorch_model::{Cache, Cpu, Gpt2, KvCache};

pub fn tiny() -> Gpt2 {
    tiny_on(&Cpu::default())
}

pub fn tiny_on(cpu: &Cpu) -> Gpt2 {
    Gpt2::open_on(llorch_fixtures::tiny_path(), cpu).expect("the embedded model")
}

/// Of every layer its length and the bits of its keys and values.
pub fn contents(cache: &Cache) -> Vec<(usize, Vec<u32>)> {
    let of_layer = |layer: &KvCache| {
        let (keys, values) = (layer.keys(), layer.values());
        let all = keys.iter().chain(&values).map(|x| x.to_bits());
        (layer.len(), all.collect())
    };
    cache.layers().iter().map(of_layer).collect()
}
