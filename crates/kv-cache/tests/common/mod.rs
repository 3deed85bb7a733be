//! The right cache of a case, and how any cache is judged.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use llorch_fixtures::{Case, Fixture};
use llorch_kv_cache::KvCache;
use llorch_parity::{Judgement, Rule};
use ndarray::Array4;

/// What a cache holds, both [B, S, H, D].
pub type Contents = (Array4<f32>, Array4<f32>);

/// The witness's keys and values of every call up to and including `call`.
pub fn appended(case: &Case, call: usize, layer: usize) -> Vec<Contents> {
    let site = |call, name| case.heads(call, &format!("h.{layer}.attn.{name}"));
    (0..=call)
        .map(|call| (site(call, "k"), site(call, "v")))
        .collect()
}

/// The right cache: call after call, as it comes.
pub fn filled(capacity: usize, calls: &[Contents]) -> KvCache {
    let (batch, _, heads, dim) = calls[0].0.dim();
    let mut cache = KvCache::new(batch, capacity, heads, dim).expect("a cache");
    for (k, v) in calls {
        cache.append(k.view(), v.view()).expect("room for a call");
    }
    cache
}

pub fn contents(cache: &KvCache) -> Contents {
    (cache.keys(), cache.values())
}

/// Judges what `cached` makes of all calls so far, in every call and layer.
pub fn judge(
    fixture: &Fixture,
    cases: &[&str],
    mut cached: impl FnMut(&[Contents]) -> Contents,
) -> Judgement {
    let rules = ["attn.cache.k", "attn.cache.v"].map(|site| (site, Rule::exact()));
    fixture.judge(cases, &rules, |case, call, layer| {
        let (keys, values) = cached(&appended(case, call, layer));
        vec![
            ("attn.cache.k", keys.into_dyn()),
            ("attn.cache.v", values.into_dyn()),
        ]
    })
}
