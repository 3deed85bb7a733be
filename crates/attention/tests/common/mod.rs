//! The right attention of a layer, what it is fed with, and how any attention is judged.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use llorch_attention::Attention;
use llorch_fixtures::{Case, Fixture, bits};
use llorch_numerics::{Cpu, KvPanels, Probe};
use llorch_parity::{Judgement, Rule};
use ndarray::{Array1, Array2, Array3, Array4, ArrayD, ArrayViewD, s};

/// What one forward call gives: scores and probs [B, H, T, S], out [B, T, C].
#[derive(Clone, Debug, Default)]
pub struct Sites {
    pub scores: Array4<f32>,
    pub probs: Array4<f32>,
    pub out: Array3<f32>,
}

/// Keeps all three sites; anything else is not expected.
impl Probe for Sites {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn record(&mut self, site: &str, values: ArrayViewD<f32>) {
        let values = values.to_owned();
        let four = |values: ArrayD<f32>| values.into_dimensionality().expect("[B, H, T, S]");
        match site {
            "scores" => self.scores = four(values),
            "probs" => self.probs = four(values),
            "out" => self.out = values.into_dimensionality().expect("[B, T, C]"),
            other => panic!("expected scores, probs or out, found {other}"),
        }
    }
}

/// The witness's own input of one call and layer: q [B, T, H, D], k and v [B, S, H, D].
#[derive(Clone, Debug)]
pub struct Input {
    pub layer: usize,
    pub q: Array4<f32>,
    pub k: Array4<f32>,
    pub v: Array4<f32>,
}

impl Input {
    pub fn new(case: &Case, call: usize, layer: usize) -> Input {
        let site = |name| case.heads(call, &format!("h.{layer}.attn.{name}"));
        let (q, k, v) = (site("q"), site("cache.k"), site("cache.v"));
        Input { layer, q, k, v }
    }

    pub fn tokens(&self) -> usize {
        self.q.dim().1
    }

    pub fn past(&self) -> usize {
        self.k.dim().1 - self.tokens()
    }

    /// The first `stored` positions as attention reads them.
    pub fn panels(&self, stored: usize) -> KvPanels {
        let (batch, _, heads, dim) = self.k.dim();
        let mut panels = KvPanels::new(batch, stored, heads, dim).expect("panels");
        let first = s![.., ..stored, .., ..];
        let appended = panels.append(&Cpu::default(), self.k.slice(first), self.v.slice(first));
        appended.expect("room for the positions");
        panels
    }

    /// The attention of the whole call.
    pub fn attend(&self, attention: &Attention) -> Sites {
        let mut sites = Sites::default();
        let panels = self.panels(self.k.dim().1);
        let out = attention.forward(self.q.view(), &panels, &mut sites);
        assert_eq!(bits(&out.expect("queries that fit")), bits(&sites.out));
        sites
    }

    /// Query by query, query t with the first `visible(t)` positions alone; scores and probs of the whole
    /// call are put together around them. Right where `visible` is past + t + 1.
    pub fn attend_seeing(&self, attention: &Attention, visible: impl Fn(usize) -> usize) -> Sites {
        let (batch, tokens, heads, dim) = self.q.dim();
        let shape = (batch, heads, tokens, self.past() + tokens);
        let mut all = Sites {
            scores: Array4::from_elem(shape, f32::NEG_INFINITY),
            probs: Array4::zeros(shape),
            out: Array3::zeros((batch, tokens, heads * dim)),
        };
        for t in 0..tokens {
            let seen = visible(t);
            let mut one = Sites::default();
            let q = self.q.slice(s![.., t..=t, .., ..]);
            let out = attention.forward(q, &self.panels(seen), &mut one);
            let place = s![.., .., t..=t, ..seen];
            all.scores.slice_mut(place).assign(&one.scores);
            all.probs.slice_mut(place).assign(&one.probs);
            all.out
                .slice_mut(s![.., t..=t, ..])
                .assign(&out.expect("a query that fits"));
        }
        all
    }
}

/// A layer's c_proj: weight [C, C] in Conv1D's layout and bias [C].
pub fn c_proj(fixture: &Fixture, layer: usize) -> (Array2<f32>, Array1<f32>) {
    let channels = fixture.config.n_embd();
    let name = |part| format!("h.{layer}.attn.c_proj.{part}");
    let weight = fixture.matrix(&name("weight"), [channels, channels]);
    (weight, fixture.vector(&name("bias"), channels))
}

/// The right attention of a layer.
pub fn attention(fixture: &Fixture, layer: usize) -> Attention {
    let (weight, bias) = c_proj(fixture, layer);
    let attention = Attention::new(weight.view(), bias.view(), fixture.config.n_head());
    attention.expect("weights that fit")
}

/// Judges all three sites of every call and layer.
pub fn judge(
    fixture: &Fixture,
    cases: &[&str],
    mut attend: impl FnMut(&Input) -> Sites,
) -> Judgement {
    let rule = Rule::within(1e-4);
    let rules = [
        ("attn.scores", rule.masked()),
        ("attn.probs", rule),
        ("attn.out", rule),
    ];
    fixture.judge(cases, &rules, |case, call, layer| {
        let Sites { scores, probs, out } = attend(&Input::new(case, call, layer));
        vec![
            ("attn.scores", scores.into_dyn()),
            ("attn.probs", probs.into_dyn()),
            ("attn.out", out.into_dyn()),
        ]
    })
}

#[track_caller]
pub fn assert_same_bits(a: &Sites, b: &Sites) {
    assert_eq!(a.scores.shape(), b.scores.shape());
    assert_eq!(a.out.shape(), b.out.shape());
    assert_eq!(bits(&a.scores), bits(&b.scores), "scores");
    assert_eq!(bits(&a.probs), bits(&b.probs), "probs");
    assert_eq!(bits(&a.out), bits(&b.out), "out");
}
