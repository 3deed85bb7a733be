//! The right projection, taken apart so that a test can change one thing of it.
#![allow(dead_code, reason = "each test file uses its share of what is common")]

use llorch_fixtures::{Fixture, tiny};
use llorch_parity::{Judgement, Rule};
use llorch_qkv::{Heads, Qkv};
use ndarray::{Array1, Array2, ArrayView3};

/// What the projection is built from.
#[derive(Clone)]
pub struct Parts {
    pub weight: Array2<f32>,
    pub bias: Array1<f32>,
    pub heads: usize,
}

impl Parts {
    /// The embedded model's, of a layer.
    pub fn of(fixture: &Fixture, layer: usize) -> Parts {
        let channels = fixture.config.n_embd();
        let name = format!("h.{layer}.attn.c_attn");
        Parts {
            weight: fixture.matrix(&format!("{name}.weight"), [channels, 3 * channels]),
            bias: fixture.vector(&format!("{name}.bias"), 3 * channels),
            heads: fixture.config.n_head(),
        }
    }

    pub fn build(&self) -> Qkv {
        Qkv::new(self.weight.view(), self.bias.view(), self.heads).expect("a projection")
    }

    pub fn forward(&self, x: ArrayView3<f32>) -> Heads {
        self.build().forward(x).expect("heads")
    }
}

/// Judges what `ours` makes of the witness's inputs, at q, k and v of every layer.
pub fn judge(cases: &[&str], ours: impl Fn(&Parts, ArrayView3<f32>) -> Heads) -> Judgement {
    let fixture = tiny();
    let parts: Vec<Parts> = (0..fixture.config.n_layer())
        .map(|layer| Parts::of(&fixture, layer))
        .collect();
    let rules = ["attn.q", "attn.k", "attn.v"].map(|site| (site, Rule::within(1e-4)));
    fixture.judge(cases, &rules, |case, call, layer| {
        let x = case.stream(call, &format!("h.{layer}.ln_1"));
        let Heads { q, k, v } = ours(&parts[layer], x.view());
        vec![
            ("attn.q", q.into_dyn()),
            ("attn.k", k.into_dyn()),
            ("attn.v", v.into_dyn()),
        ]
    })
}
