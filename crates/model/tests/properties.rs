//! What holds for any prompt, any cut and any logits.

mod common {
    pub mod model;
}

use std::sync::LazyLock;

use common::model::tiny;
use llorch_fixtures::of_cases;
use llorch_model::{Gpt2, Sampler, Sampling, greedy};
use ndarray::{Array1, Array2, Axis, Slice};
use proptest::collection::vec;
use proptest::prelude::*;

static MODEL: LazyLock<Gpt2> = LazyLock::new(tiny);

/// [B, T] token ids.
fn prompt() -> impl Strategy<Value = Array2<u32>> {
    let rows = |(batch, length)| {
        let ids = vec(0..1001u32, batch * length);
        ids.prop_map(move |ids| Array2::from_shape_vec((batch, length), ids).expect("B x T ids"))
    };
    (1..4usize, 2..24usize).prop_flat_map(rows)
}

fn logits() -> impl Strategy<Value = Array1<f32>> {
    vec(-50.0..50.0f32, 1..60).prop_map(Array1::from)
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let top_k = proptest::option::of(1..70usize);
    let top_p = proptest::option::of(0.001..=1.0f64);
    (0.0..5.0f32, top_k, top_p).prop_map(|(temperature, top_k, top_p)| Sampling {
        temperature,
        top_k,
        top_p,
    })
}

proptest! {
    #![proptest_config(of_cases(32))]

    #[test]
    fn any_cut_of_any_prompt_gives_the_whole_prompt_s_last_logits(
        prompt in prompt(),
        lengths in vec(1..9usize, 24),
    ) {
        let (batch, total) = prompt.dim();
        let mut whole = MODEL.cache(batch, total).expect("a cache");
        let expected = MODEL.forward_last(prompt.view(), &mut whole, &mut ()).expect("logits");

        let mut cache = MODEL.cache(batch, total).expect("a cache");
        let mut last = None;
        for length in lengths {
            let start = cache.len();
            let piece = Slice::from(start..total.min(start + length));
            let piece = prompt.slice_axis(Axis(1), piece);
            if !piece.is_empty() {
                last = Some(MODEL.forward_last(piece, &mut cache, &mut ()).expect("logits"));
            }
        }
        prop_assert_eq!(last.map(|x| x.mapv(f32::to_bits)), Some(expected.mapv(f32::to_bits)));
    }

    #[test]
    fn later_tokens_never_reach_back(prompt in prompt(), other in 0..1001u32) {
        let (batch, total) = prompt.dim();
        let mut changed = prompt.clone();
        changed.column_mut(total - 1).fill(other);
        let [a, b] = [&prompt, &changed].map(|prompt| {
            let mut cache = MODEL.cache(batch, total).expect("a cache");
            let mut logits = MODEL.forward(prompt.view(), &mut cache, &mut ()).expect("logits");
            logits.slice_axis_inplace(Axis(1), Slice::from(..total - 1));
            logits.mapv(f32::to_bits)
        });
        prop_assert_eq!(a, b);
    }
}

proptest! {
    #![proptest_config(of_cases(512))]

    #[test]
    fn probabilities_sum_to_one_and_rise_with_the_logits(logits in logits(), sampling in sampling()) {
        let ours = sampling.probabilities(logits.view()).expect("probabilities");
        prop_assert_eq!(ours.len(), logits.len());
        prop_assert!((ours.sum() - 1.0).abs() < 1e-5, "{}", ours.sum());
        for (p, x) in ours.iter().zip(&logits) {
            for (q, y) in ours.iter().zip(&logits) {
                // Equal logits may be on either side of what is kept.
                prop_assert!(!(x > y && p < q), "{x} has {p}, {y} has {q}");
            }
        }
        let best = greedy(logits.view()).expect("a token") as usize;
        let top = ours.iter().copied().fold(0.0, f32::max);
        prop_assert!(ours[best] == top || logits.iter().filter(|&&x| x == logits[best]).count() > 1);
    }

    #[test]
    fn what_is_drawn_can_be_drawn(logits in logits(), sampling in sampling(), seed: u64) {
        let probabilities = sampling.probabilities(logits.view()).expect("probabilities");
        let mut sampler = Sampler::new(sampling, seed).expect("settings");
        for _ in 0..20 {
            let token = sampler.choose(logits.view()).expect("a token") as usize;
            prop_assert!(probabilities[token] > 0.0);
        }
    }
}
